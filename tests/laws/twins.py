"""Law 1, twins: what the library holds, a lesson has built, token for token.

A lesson cell that builds a library definition carries `# twin: lessons_lib.<module>.<name>`. Its
tokens equal the library's: comments count, docstrings and layout do not. A block of comments that
stands directly on a definition belongs to it.
"""

import ast
import io
import re
import tokenize
from itertools import zip_longest
from pathlib import Path

from tests.laws.project import Cell, cells, concept_modules, definitions, lessons, modules

MARK = re.compile(r"^# twin: lessons_lib\.([a-z_][\w.]*)\.(\w+)$", re.MULTILINE)
_LIKE_A_MARK = re.compile(r"^[ \t]*#+[ \t]*twin\b.*$", re.MULTILINE | re.IGNORECASE)


def violations(root: Path) -> list[str]:
    library = modules(root)
    concepts = [
        (module, name)
        for module in concept_modules(library)
        for name in definitions(library.get(f"lessons_lib.{module}", ast.parse("")))
        if not name.startswith("_")
    ]
    found, built = [], set()
    for path in lessons(root):
        for cell in cells(root, path):
            if cell.is_code:
                marks = MARK.findall(cell.source)
                found += _malformed_marks(cell)
                found += _unbuilt_imports(cell, built, concept_modules(library))
                found += _redefinitions(cell, marks, {name for _, name in concepts})
                found += _differences(root, cell, marks, library)
                built.update(marks)
    for module, name in concepts:
        if (module, name) not in built:
            found.append(f"lessons_lib.{module}.{name} has no twin: build it in a lesson")
    return found + _long_checks(library)


def _malformed_marks(cell: Cell) -> list[str]:
    return [
        f"{cell.where}: '{line.strip()}' is no mark: "
        "write '# twin: lessons_lib.<module>.<name>' at the start of a line"
        for line in _LIKE_A_MARK.findall(cell.source)
        if not MARK.match(line)
    ]


def _unbuilt_imports(cell: Cell, built: set[tuple[str, str]], concepts: list[str]) -> list[str]:
    """Imports of concepts that neither an earlier cell nor an earlier lesson has built."""
    wanted, whole = [], []
    for node in ast.walk(cell.tree):
        match node:
            case ast.ImportFrom(module="lessons_lib", names=names):
                whole += [alias.name for alias in names if alias.name in concepts]
            case ast.ImportFrom(module=str(module), names=names):
                module = module.removeprefix("lessons_lib.")
                wanted += [(module, alias.name) for alias in names if module in concepts]
            case ast.Import(names=names):
                imported = [alias.name.removeprefix("lessons_lib.") for alias in names]
                whole += [name for name in imported if name in concepts]
    return [
        f"{cell.where}: imports the whole of lessons_lib.{module}: import its names, one by one"
        for module in whole
    ] + [
        f"{cell.where}: imports lessons_lib.{module}.{name}, which no earlier cell or lesson has "
        "built: build it first"
        for module, name in wanted
        if (module, name) not in built
    ]


def _redefinitions(cell: Cell, marks: list, concepts: set[str]) -> list[str]:
    """Library names that the cell binds, although no mark says that it builds them."""
    names = set(_bound_names(cell.tree)) & concepts - {name for _, name in marks}
    return [
        f"{cell.where}: redefines the library's {name} without a mark: mark it as a twin, "
        "or choose another name"
        for name in sorted(names)
    ]


def _bound_names(tree: ast.Module) -> list[str]:
    """Names bound at a cell's top level: by definition, assignment, loop, or import from others."""
    bound, todo = [], list(tree.body)
    while todo:
        node = todo.pop()
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                bound.append(name)
                continue  # what it binds inside is its own business
            case ast.ClassDef(name=name):
                bound.append(name)
                continue
            case ast.Lambda() | ast.comprehension():
                continue
            case ast.ImportFrom(module=str(module), names=names) if module.startswith(
                "lessons_lib"
            ):
                bound += [alias.asname for alias in names if alias.asname not in (None, alias.name)]
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                bound += [alias.asname or alias.name.split(".")[0] for alias in names]
            case ast.Name(id=name, ctx=ast.Store()):
                bound.append(name)
        todo += ast.iter_child_nodes(node)
    return bound


def _differences(root: Path, cell: Cell, marks: list, library: dict) -> list[str]:
    """Where a marked cell is not the library's code, or holds more than it."""
    found, here = [], definitions(cell.tree)
    for module, name in marks:
        tree = library.get(f"lessons_lib.{module}")
        if tree is None or name not in definitions(tree):
            found.append(f"{cell.where}: marks lessons_lib.{module}.{name}: the library has none")
        elif name not in here:
            found.append(f"{cell.where}: marks {name} but does not define it")
        else:
            text = _module_path(root, module).read_text(encoding="utf-8")
            theirs, ours = _tokens(text, definitions(tree)[name]), _tokens(cell.source, here[name])
            if difference := _first_difference(theirs, ours):
                found.append(f"{cell.where}: {name} is no twin of the library's: {difference}")
    marked = {name for _, name in marks}
    for node in cell.tree.body if marks else []:
        name = next((name for name, defined in here.items() if defined is node), None)
        if not isinstance(node, ast.Import | ast.ImportFrom) and name not in marked:
            found.append(
                f"{cell.where}: line {node.lineno} is not a marked definition: "
                "move it to another cell"
            )
    return found


def _module_path(root: Path, module: str) -> Path:
    path = root.joinpath("lessons_lib", *module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _tokens(text: str, node: ast.stmt) -> list[str]:
    """The tokens of one top-level definition, without docstrings and layout."""
    lines = text.splitlines()
    first = min([node.lineno, *(line.lineno for line in getattr(node, "decorator_list", []))]) - 1
    while first > 0 and lines[first - 1].startswith("#") and not MARK.match(lines[first - 1]):
        first -= 1
    last = node.end_lineno
    while last < len(lines) and re.match(r"\s*$|\s+#", lines[last]):
        last += 1  # a comment that ends the body is part of it
    docstrings = {line - first for line in _docstring_starts(node)}

    tokens, in_docstring = [], False
    source = io.StringIO("\n".join(lines[first:last]) + "\n")
    for token in tokenize.generate_tokens(source.readline):
        if token.type == tokenize.STRING and (in_docstring or token.start[0] in docstrings):
            in_docstring = True
        elif token.type == tokenize.NEWLINE and in_docstring:
            in_docstring = False
        elif token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            tokens.append(f"<{tokenize.tok_name[token.type].lower()}>")
        elif token.type not in (tokenize.NL, tokenize.ENDMARKER):
            tokens.append(token.string)
    return tokens


def _docstring_starts(node: ast.AST) -> list[int]:
    """The first lines of all docstrings in a definition."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    inner = [part for part in ast.walk(node) if isinstance(part, kinds)]
    return [part.body[0].lineno for part in inner if ast.get_docstring(part) is not None]


def _first_difference(theirs: list[str], ours: list[str]) -> str:
    """The first place where two token streams part, with the tokens before it; or nothing."""
    for n, (their, our) in enumerate(zip_longest(theirs, ours, fillvalue="<the end>")):
        if their != our:
            before = " ".join(theirs[max(0, n - 4) : n])
            return f"after '{before}' the library has '{their}', the cell '{our}'"
    return ""


def _long_checks(library: dict[str, ast.Module]) -> list[str]:
    """Argument checks in concepts that are more than one-line calls into the kit."""
    found = []
    for module in concept_modules(library):
        tree = library.get(f"lessons_lib.{module}", ast.parse(""))
        checks = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "lessons_lib.kit.arguments"
            for alias in node.names
        }
        for node in ast.walk(tree):
            match node:
                case ast.Raise() | ast.Assert() if "NotImplementedError" not in ast.dump(node):
                    wrong = "checks an argument by itself"
                case ast.Call(func=ast.Name(id=name)) if name in checks:
                    wrong = f"calls {name} over several lines" * (node.end_lineno > node.lineno)
                case _:
                    continue
            if wrong:
                found.append(
                    f"lessons_lib/{module}.py line {node.lineno}: {wrong}: "
                    "make it a one-line call into lessons_lib.kit.arguments"
                )
    return found
