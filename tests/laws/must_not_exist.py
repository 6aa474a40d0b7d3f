"""What must not exist: shortcuts that make code harder to follow, and outputs that do not last.

Unused imports and argument lists that grow are ruff's business.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from tests.laws.project import (
    all_cells,
    cells,
    concept_modules,
    definitions,
    lessons,
    modules,
    texts,
)

_DOWNLOADERS = {"urllib", "http", "ftplib", "requests", "httpx", "aiohttp", "wget", "gdown"}
_DOWNLOADERS |= {"datasets", "torchtext", "huggingface_hub"}
_CONFIG = re.compile(r"(^|_)(config|cfg|hparams|hyperparameters|settings|options)$", re.I)
_REMOTE_IMAGE = re.compile(
    r"!\[[^\]]*\]\(\s*<?(https?:)?//|url\(\s*[\"']?(https?:)?//"
    r"|<(img|source|image)\b[^>]*\b(src|srcset|href)\s*=\s*[\"']?(https?:)?//"
)


def violations(root: Path) -> list[str]:
    checks = (
        _star_imports,
        _re_exports,
        _kwargs,
        _config_dictionaries,
        _stashed_state,
        _bolted_on_methods,
        _commented_out_code,
        _downloads,
        _remote_images,
        _svg_outputs,
    )
    return [sentence for check in checks for sentence in check(root)]


def _taught_code(root: Path) -> Iterator[tuple[str, ast.Module]]:
    """The code that learners read: the library and the cells."""
    yield from modules(root).items()
    for cell in all_cells(root):
        yield cell.where, cell.tree


def _star_imports(root: Path) -> Iterator[str]:
    everything = [(name, ast.parse(text)) for name, text in texts(root, r"\.py$")]
    for where, tree in everything + [(cell.where, cell.tree) for cell in all_cells(root)]:
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                yield f"{where} line {node.lineno}: star import: import the names that are used"


def _re_exports(root: Path) -> Iterator[str]:
    """Library names that a library module imports only to pass them on."""
    for module, tree in modules(root).items():
        used = {
            node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        }
        for node in ast.walk(tree):
            match node:
                case ast.ImportFrom(module=source, level=level) if level or (
                    source or ""
                ).startswith("lessons_lib"):
                    names = {alias.asname or alias.name for alias in node.names}
                case _:
                    continue
            for name in sorted(names - used):
                if (module, name) != ("lessons_lib.checks", "check"):
                    yield f"{module} line {node.lineno}: re-exports {name}: import it where it is"


def _kwargs(root: Path) -> Iterator[str]:
    for module, tree in modules(root).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.arguments) and node.kwarg:
                place = f"{module} line {node.kwarg.lineno}"
                yield f"{place}: takes **{node.kwarg.arg}: name each argument"


def _config_dictionaries(root: Path) -> Iterator[str]:
    for where, tree in _taught_code(root):
        for node in ast.walk(tree):
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict())
                    | ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str()))
                ) if _CONFIG.search(name):
                    place = f"{where} line {node.lineno}"
                    yield f"{place}: {name} is a config dictionary: use named arguments"


def _stashed_state(root: Path) -> Iterator[str]:
    """Only `__init__` of a concept stores on `self`; attention weights are returned, not kept."""
    library = modules(root)
    for module in concept_modules(library):
        for function in ast.walk(library.get(f"lessons_lib.{module}", ast.parse(""))):
            if not isinstance(function, ast.FunctionDef) or function.name == "__init__":
                continue
            for node in ast.walk(function):
                match node:
                    case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                        place = f"lessons_lib/{module}.py line {node.lineno}"
                        yield f"{place}: {function.name} stores self.{name}: return it instead"


def _bolted_on_methods(root: Path) -> Iterator[str]:
    """A class is built in one piece: no cell sets its attributes or derives it from itself."""
    for path in lessons(root):
        classes: set[str] = set()
        for cell in cells(root, path):
            for node in ast.walk(cell.tree):
                match node:
                    case ast.ImportFrom(module=str(module)) if module.startswith("lessons_lib"):
                        classes |= {alias.asname or alias.name for alias in node.names}
            here = definitions(cell.tree).items()
            classes |= {name for name, node in here if isinstance(node, ast.ClassDef)}
            for node in ast.walk(cell.tree):
                match node:
                    case ast.Attribute(value=ast.Name(id=name), ctx=ast.Store()):
                        extended = name
                    case ast.Call(func=ast.Name(id="setattr"), args=[ast.Name(id=name), *_]):
                        extended = name
                    case ast.ClassDef(name=name, bases=[ast.Name(id=base), *_]) if base == name:
                        extended = name
                    case _:
                        continue
                if extended in classes:
                    place = f"{cell.where} line {node.lineno}"
                    yield f"{place}: adds to {extended} afterwards: build it in one cell"


def _commented_out_code(root: Path) -> Iterator[str]:
    """Comment lines that are statements; words, shapes and marks are not."""
    sources = [*texts(root, r"\.py$")]
    sources += [(cell.where, cell.source) for cell in all_cells(root) if cell.is_code]
    for where, source in sources:
        for number, line in enumerate(source.splitlines(), start=1):
            comment = re.match(r"\s*#+(.*\S)", line)
            if comment and _is_statement(comment[1].strip()):
                yield f"{where} line {number}: commented-out code: delete it"


def _is_statement(text: str) -> bool:
    if not re.search(r"[(\[=<>]|^(import|from) ", text):
        return False
    try:
        with warnings.catch_warnings(action="ignore"):
            body = ast.parse(text + " pass" if text.endswith(":") else text).body
    except (SyntaxError, ValueError):
        return False
    match body:
        case [ast.Expr(value=value)]:
            return isinstance(value, ast.Call | ast.Await | ast.Yield)
        case [ast.AnnAssign(value=None)]:  # 'note: see (3)'
            return False
    return bool(body)


def _downloads(root: Path) -> Iterator[str]:
    """Modules that fetch things, where the library or a lesson uses them."""
    for where, tree in _taught_code(root):
        for node in ast.walk(tree):
            match node:
                case ast.Import(names=names):
                    used = [alias.name for alias in names]
                case ast.ImportFrom(module=str(module), names=names):
                    used = [f"{module}.{alias.name}" for alias in names]
                case ast.Attribute(value=ast.Name(id="torch"), attr="hub"):
                    used = ["torch.hub"]
                case _:
                    continue
            for name in used:
                if name.split(".")[0] in _DOWNLOADERS or name.startswith("torch.hub"):
                    yield f"{where} line {node.lineno}: {name} downloads: keep the data in the tree"


def _remote_images(root: Path) -> Iterator[str]:
    places = [*texts(root, r"\.md$")]
    places += [(cell.where, f"{cell.source}\n{cell.shown_text}") for cell in all_cells(root)]
    for where, text in places:
        if _REMOTE_IMAGE.search(text):
            yield f"{where}: shows a remote image: keep the image in the tree"


def _svg_outputs(root: Path) -> Iterator[str]:
    for cell in all_cells(root):
        for output in cell.node.get("outputs", ()):
            data = output.get("data", {})
            if "image/svg+xml" in data or "<svg" in data.get("text/html", ""):
                yield f"{cell.where}: its output is SVG, compared byte by byte: show a PNG"
