"""How the laws see the project: its files, its notebooks, their cells.

A law is a function `violations(root)` that reads the tree under `root` and returns one sentence
for each fault: where it is, what is wrong, what to do. Its tests plant faults in a small tree.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nbformat import NotebookNode

from tools.execute import course_notebooks, read

ROOT = Path(__file__).resolve().parents[2]

# The rooms of the library whose public names are no concepts.
_NO_CONCEPTS = {"lessons_lib", "kit", "learner", "checks", "__main__"}

# Used where there is no git to say what is ignored.
_NOT_PROJECT = {"__pycache__", "work", "build", "dist"}


@dataclass(frozen=True)
class Cell:
    """One cell of a notebook."""

    notebook: str  # its path from the root, with slashes
    node: NotebookNode

    @property
    def where(self) -> str:
        return f"{self.notebook} [{self.node.get('id')}]"

    @property
    def source(self) -> str:
        return self.node.source

    @property
    def is_code(self) -> bool:
        return self.node.cell_type == "code"

    @property
    def shown_text(self) -> str:
        """What the stored outputs show as text or HTML, without the pixels of images."""
        shown = []
        for output in self.node.get("outputs", ()):
            shown.append(output.get("text", ""))
            shown += [text for mime, text in output.get("data", {}).items() if "text/" in mime]
        return re.sub(r"base64,[A-Za-z0-9+/=]+", "base64,IMAGE", "\n".join(shown))

    @cached_property
    def tree(self) -> ast.Module:
        """The cell's code; empty if it is not plain Python, which law 6 reports."""
        try:
            return ast.parse(self.source if self.is_code else "")
        except SyntaxError:
            return ast.parse("")


def lessons(root: Path) -> list[Path]:
    """The lesson notebooks, in the order in which they are read."""
    return [path for path in course_notebooks(root) if path.parent.name == "notebooks"]


def cells(root: Path, path: Path) -> list[Cell]:
    """The cells of one notebook."""
    return [Cell(shown(root, path), node) for node in read(path).cells]


def all_cells(root: Path) -> Iterator[Cell]:
    """The cells of all notebooks."""
    for path in course_notebooks(root):
        yield from cells(root, path)


def shown(root: Path, path: Path) -> str:
    """How a path is written in a violation."""
    return path.relative_to(root).as_posix()


def files(root: Path) -> list[Path]:
    """The project's files: what git tracks or would track; without git, all but caches."""
    if (root / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listing = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8")
        if listing.returncode == 0:
            paths = (root / name for name in sorted(set(listing.stdout.split("\0"))) if name)
            return [path for path in paths if path.is_file()]
    return [
        path
        for path in sorted(root.rglob("*"))
        if path.is_file() and not any(_is_ignored(part) for part in path.relative_to(root).parts)
    ]


def _is_ignored(part: str) -> bool:
    hidden = part.startswith(".") and part not in (".ci", ".github", ".gitattributes", ".gitignore")
    return hidden or part in _NOT_PROJECT or part.endswith(".egg-info")


def texts(root: Path, pattern: str) -> Iterator[tuple[str, str]]:
    """Path and text of every project file whose path matches the regular expression."""
    for path in files(root):
        name = shown(root, path)
        if re.search(pattern, name):
            yield name, path.read_text(encoding="utf-8")


def modules(root: Path) -> dict[str, ast.Module]:
    """The library's modules by dotted name, `lessons_lib.kit` for its `__init__.py`."""
    found = {}
    for path in sorted((root / "lessons_lib").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def concept_modules(library: dict[str, ast.Module]) -> list[str]:
    """The modules whose public names are concepts, each of which some lesson builds.

    All of the library's, that is, but the kit, what serves the learner, and the checks.
    """
    tops = dict.fromkeys(name.removeprefix("lessons_lib.").split(".")[0] for name in library)
    return [name for name in tops if name not in _NO_CONCEPTS]


def definitions(tree: ast.Module) -> dict[str, ast.stmt]:
    """The functions, classes and constants that a module or a cell defines at its top level."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found[node.name] = node
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = node
    return found
