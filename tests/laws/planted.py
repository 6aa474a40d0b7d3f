"""Small trees for the laws' tests: a sound one, and faults to plant in it."""

from itertools import count
from pathlib import Path

import nbformat.v4
from nbformat import NotebookNode

from tools.execute import canonical_bytes


def plant(root: Path, files: dict[str, str]) -> Path:
    """Write text files under `root`, replacing what is there."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def plant_notebook(root: Path, name: str, *cells: str | NotebookNode) -> Path:
    """Write a notebook as if it had been run; a string becomes a code cell."""
    nodes = [
        code(cell, f"cell-{n}") if isinstance(cell, str) else cell for n, cell in enumerate(cells)
    ]
    in_turn = count(1)
    for node in nodes:
        if node.get("execution_count") == "in turn":
            node.execution_count = next(in_turn)
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(canonical_bytes(NotebookNode(cells=nodes)))
    return root


def code(source: str, id: str, run: int | str | None = "in turn", outputs=(), tags=()):
    """A code cell; nothing is validated, so that any fault can be planted."""
    metadata = {"tags": list(tags)} if tags else {}
    cell = {"cell_type": "code", "id": id, "source": source, "metadata": metadata}
    return nbformat.from_dict(cell | {"execution_count": run, "outputs": list(outputs)})


def text(source: str, id: str = "a-text"):
    """A markdown cell."""
    return nbformat.from_dict({"cell_type": "markdown", "id": id, "source": source, "metadata": {}})


def html(markup: str):
    """A displayed output that is HTML."""
    return nbformat.v4.new_output("display_data", data={"text/html": markup, "text/plain": "it"})


def none(violations: list[str]) -> None:
    """Assert that no fault was found; show all of them otherwise."""
    assert not violations, "\n" + "\n".join(violations)


def only(violations: list[str], *fragments: str) -> None:
    """Assert that exactly one fault was found, and that its sentence holds these fragments."""
    assert len(violations) == 1, violations
    missing = [fragment for fragment in fragments if fragment not in violations[0]]
    assert not missing, f"{missing} not in {violations[0]!r}"
