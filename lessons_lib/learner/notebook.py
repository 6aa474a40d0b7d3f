"""Notebooks as plain JSON: reading, comparing cells, finding the exercises."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from lessons_lib.learner.files import Refusal

Cell = dict
Notebook = dict


@dataclass(frozen=True)
class Exercise:
    """One exercise, as its notebook has it."""

    id: str  # "token_loss"
    title: str  # "The loss of a padded batch"
    notebook: Path  # the tracked one
    function: str  # the name of the answer
    cells: tuple[str, ...]  # ids of its cells, from its heading to its check


@dataclass(frozen=True)
class Lesson:
    """The exercises of one lesson, in order."""

    number: str  # "1"
    title: str  # "The RNN bottleneck"
    exercises: tuple[Exercise, ...]


def parse(content: bytes) -> Notebook:
    """The notebook in these bytes. Raises ValueError if there is none of format 4."""
    try:
        notebook = json.loads(content.decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
        raise ValueError("no notebook of format 4")
    cells = notebook.get("cells")
    minor = notebook.get("nbformat_minor", 0)
    if not isinstance(minor, int) or not isinstance(cells, list) or not all(map(is_cell, cells)):
        raise ValueError("cells are missing or malformed")
    return notebook


def parse_given(content: bytes) -> Notebook:
    """A notebook of the course; raises ValueError also if a cell has no id of its own."""
    notebook = parse(content)
    names = [cell.get("id") for cell in notebook["cells"]]
    if None in names or len(set(names)) < len(names):
        raise ValueError("cell ids are missing or occur twice")
    return notebook


def is_cell(cell: object) -> bool:
    """Whether a cell has what is relied on here."""
    return (
        isinstance(cell, dict)
        and cell.get("cell_type") in ("code", "markdown", "raw")
        and isinstance(cell.get("id", ""), str)
        and isinstance(cell.get("metadata", {}), dict)
        and isinstance(joined(cell.get("source")), str)
    )


def to_bytes(notebook: Notebook) -> bytes:
    """The notebook as a file; pure ASCII, so that even half a surrogate pair survives."""
    return (json.dumps(notebook, indent=1, sort_keys=True) + "\n").encode()


def without_outputs(content: bytes) -> bytes:
    """What a copy of a notebook in work/ holds: all but what running its cells showed.

    Who is asked to predict must not read the answer below. The bytes are always the same for the
    same content; course.py makes them too. What is no notebook of format 4 stays as it is.
    """
    try:
        notebook = json.loads(content.decode("utf-8-sig"))
        if notebook["nbformat"] != 4:
            return content
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None
        return to_bytes(notebook)
    except (ValueError, LookupError, TypeError, RecursionError):
        return content


def joined(value: object) -> object:
    """The value with all lists of lines made one string, as both forms mean the same."""
    if isinstance(value, list):
        if all(isinstance(line, str) for line in value):
            return "".join(value)
        return [joined(part) for part in value]
    if isinstance(value, dict):
        return {key: joined(part) for key, part in value.items()}
    return value


def source(cell: Cell) -> str:
    """The text of a cell."""
    return joined(cell["source"]).replace("\r\n", "\n")


def text(cell: Cell) -> tuple:
    """What a person wrote in a cell: its kind, its text, its pasted images."""
    return cell["cell_type"], source(cell).rstrip(), joined(cell.get("attachments") or {})


def outputs(cell: Cell) -> object:
    """What running a cell showed."""
    return [
        {key: joined(part) for key, part in output.items() if key != "execution_count"}
        if isinstance(output, dict)
        else output
        for output in cell.get("outputs") or []
    ]


def run(cell: Cell) -> tuple:
    """All that running a code cell leaves in it: what it showed, when in turn, and the times."""
    times = cell.get("metadata", {}).get("execution")
    return outputs(cell), cell.get("execution_count"), times


def functions(cell: Cell) -> list[str]:
    """The functions and classes that a code cell defines; it may be broken, or half of one."""
    if cell["cell_type"] != "code":
        return []
    return re.findall(r"^(?:async +)?(?:def|class) +(\w+)", source(cell), re.MULTILINE)


def lessons(root: Path) -> list[Lesson]:
    """All lessons with exercises, as the course has them; Refusal if a notebook is broken."""
    found = []
    for path in sorted((root / "exercises").glob("*.ipynb")):
        try:
            cells = parse_given(path.read_bytes())["cells"]
        except ValueError as error:
            name = f"exercises/{path.name}"
            raise Refusal(
                f"{name} is no valid notebook: copy it if you worked there, then "
                f"`git checkout {name}` restores it."
            ) from error
        title = re.match(r"# (?:\w+ · )?(.+?)(?:: exercises)?$", source(cells[0]), re.MULTILINE)
        number = path.stem.partition("_")[0].removeprefix("0")
        found.append(Lesson(number, title[1] if title else path.stem, exercises(path, cells)))
    return found


def exercises(path: Path, cells: list[Cell]) -> tuple[Exercise, ...]:
    """The exercises in the cells of a tracked notebook: each runs from a heading to its check."""
    found, section, heading = [], [], ""
    for cell in cells:
        section.append(cell["id"])
        if cell["cell_type"] == "markdown" and (title := re.match("## (.+)", source(cell))):
            section, heading = [cell["id"]], title[1]
        elif call := re.search(r'^check\("(\w+)", (\w+)\)', source(cell), re.MULTILINE):
            found.append(Exercise(call[1], heading, path, call[2], tuple(section)))
    return tuple(found)
