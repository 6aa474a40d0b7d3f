"""Law 6, notebook shape: small cells, figures from the kit, folded where they are drawn, the
template's sections, readable ids.

Counted are lines that are neither blank nor part of a docstring.
"""

import ast
import io
import re
import tokenize
from collections import Counter
from itertools import pairwise
from pathlib import Path

from tests.laws.project import Cell, cells, definitions, lessons
from tests.laws.twins import MARK
from tools.execute import course_notebooks

SECTIONS = (
    "Question",
    "Idea",
    "By hand",
    "Equation",
    "Code",
    "See it",
    "Experiment",
    "Where it breaks",
    "In today's models",
    "Recap",
    "Explain it",
    "On one page",
    "What next",
)
CELL_LINES, CLASS_TWIN_LINES, PLOT_LINES = 25, 40, 5
_FIGURES = {"figures", "diagrams", "sketches"}  # the modules of the kit that draw
_PLOTTING = {"matplotlib", "pylab", "seaborn", "plotly", "bokeh", "altair"}


def violations(root: Path) -> list[str]:
    found = []
    for path in course_notebooks(root):
        notebook = cells(root, path)
        found += _ids(notebook) + _plots(notebook)
        for cell in notebook:
            if cell.is_code:
                found += _plain_python(cell) + _length(cell) + _semicolons(cell)
        if path in lessons(root):
            found += _sections(notebook) + _unfolded(notebook)
    return found


def _plain_python(cell: Cell) -> list[str]:
    try:
        ast.parse(cell.source)
    except SyntaxError as error:
        return [f"{cell.where}: line {error.lineno} is not plain Python: write it without magic"]
    return []


def _length(cell: Cell) -> list[str]:
    built = {name for _, name in MARK.findall(cell.source)}
    here = definitions(cell.tree)
    is_class_twin = any(isinstance(here.get(name), ast.ClassDef) for name in built)
    limit = CLASS_TWIN_LINES if is_class_twin else CELL_LINES
    lines = {n for n, line in enumerate(cell.source.splitlines(), start=1) if line.strip()}
    lines -= _docstring_lines(cell.tree)
    if len(lines) <= limit:
        return []
    return [f"{cell.where}: {len(lines)} lines of code, at most {limit}: split it"]


def _docstring_lines(tree: ast.Module) -> set[int]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    strings = [
        node.body[0]
        for node in ast.walk(tree)
        if isinstance(node, kinds) and ast.get_docstring(node) is not None
    ]
    return {n for string in strings for n in range(string.lineno, string.end_lineno + 1)}


def _semicolons(cell: Cell) -> list[str]:
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(cell.source + "\n").readline))
    except (tokenize.TokenError, SyntaxError):
        return []  # not plain Python, which is reported
    ends = (tokenize.NEWLINE, tokenize.NL, tokenize.COMMENT)
    return [
        f"{cell.where}: line {token.start[0]} ends with ';': remove it"
        for token, after in pairwise(tokens)
        if token.string == ";" and after.type in ends
    ]


def _plots(notebook: list[Cell]) -> list[str]:
    """Figures come from the modules of the kit that draw, and a cell spends few lines on them."""
    found, figures = [], set()
    for cell in notebook:
        for node in ast.walk(cell.tree):
            match node:
                case ast.ImportFrom(module=str(module), names=names) if module in {
                    f"lessons_lib.kit.{name}" for name in _FIGURES
                }:
                    figures |= {alias.asname or alias.name for alias in names}
                case ast.ImportFrom(module="lessons_lib.kit", names=names):
                    figures |= {
                        alias.asname or alias.name for alias in names if alias.name in _FIGURES
                    }
        if _imported(cell.tree) & _PLOTTING or "plt" in _names(cell.tree):
            found.append(f"{cell.where}: plots by itself: use lessons_lib.kit.figures")
        plotting = [
            node
            for node in cell.tree.body
            if not isinstance(node, ast.Import | ast.ImportFrom) and figures & _names(node)
        ]
        lines = sum(node.end_lineno - node.lineno + 1 for node in plotting)
        if lines > PLOT_LINES:
            found.append(
                f"{cell.where}: {lines} lines of plotting, at most {PLOT_LINES}: "
                "move the work into lessons_lib.kit.figures"
            )
    return found


def _unfolded(notebook: list[Cell]) -> list[str]:
    """A cell that draws is folded: its code, titles and alt text would tell what is to be seen."""
    return [
        f"{cell.where}: draws and is not folded: set jupyter.source_hidden in its metadata"
        for cell in notebook
        if any("image/png" in output.get("data", {}) for output in cell.node.get("outputs", ()))
        and not cell.node.metadata.get("jupyter", {}).get("source_hidden")
    ]


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _imported(tree: ast.AST) -> set[str]:
    """The outermost packages that a piece of code imports."""
    modules = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                modules += [alias.name for alias in names]
            case ast.ImportFrom(module=str(module)):
                modules.append(module)
    return {module.split(".")[0] for module in modules}


def _sections(notebook: list[Cell]) -> list[str]:
    """The template's sections, each once, in order; other sections may stand between them."""
    name = notebook[0].where.split(" ")[0] if notebook else "an empty notebook"
    present = []
    for heading in _headings(notebook):
        for section in SECTIONS:
            if re.match(rf"{section}\b", heading):
                present.append(section)
    found = []
    for section in SECTIONS:
        count = present.count(section)
        if count != 1:
            found.append(f"{name}: has {count} sections '## {section}', expected one, in order")
    if not found and present != list(SECTIONS):
        found.append(f"{name}: its sections stand as {', '.join(present)}: put them in order")
    return found


def _headings(notebook: list[Cell]) -> list[str]:
    """All `## ` headings, but for lines inside fenced code."""
    text = "\n".join(cell.source for cell in notebook if cell.node.cell_type == "markdown")
    text = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^## +(.*)$", text, re.MULTILINE)


def _ids(notebook: list[Cell]) -> list[str]:
    """Ids are words, so that they can be talked about, and unique, so that they name one cell."""
    found = []
    for cell in notebook:
        id = cell.node.get("id") or ""
        slug = re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", id)
        random = re.fullmatch(r"(?=.*\d)[0-9a-f]{6,}(-[0-9a-f-]+)?", id)
        if not slug or random:
            found.append(f"{cell.where}: the id is not readable: use lower-case words with hyphens")
    counts = Counter(cell.where for cell in notebook)
    return found + [
        f"{where}: {count} cells have this id: rename all but one"
        for where, count in counts.items()
        if count > 1
    ]
