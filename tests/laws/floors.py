"""Law 2, floors: a module of the library imports only from floors below its own; no cycles."""

import ast
from pathlib import Path

from tests.laws.project import lessons, modules

# Ground up. The modules of `kit`, of `learner` and of `checks` may import each other.
_PART_ONE = (
    {"kit"},
    {"masking", "positional_encoding"},
    {"self_attention"},
    {"decoding"},
    {"rnn_bottleneck"},
    {"bahdanau_attention"},
    {"multi_head_attention"},
    {"transformer"},
)
_TOP = ({"learner"}, {"checks"}, {"__main__"})
_ROOMS_OF_MANY = ("kit", "learner", "checks")
_ABOVE_THE_LIBRARY = {"course", "conftest", "tests", "tools"}


def violations(root: Path) -> list[str]:
    library, floors = modules(root), _floors(root)
    found = [
        f"{name} stands on no floor: it is no lesson's module, nor named in tests/laws/floors.py"
        for name in library
        if name != "lessons_lib" and _floor(name, floors) is None
    ]
    graph: dict[str, set[str]] = {}
    for name, tree in library.items():
        graph[name] = set()
        for line, target in _imports(name, tree, library):
            graph[name].add(target)
            if fault := _fault(name, target, library, floors):
                found.append(f"{name} line {line}: imports {target}, {fault}")
    return found + _cycles(graph)


def _floors(root: Path) -> list[set[str]]:
    """Part I as it is built; then one floor for each later lesson, in their order."""
    built = set().union(*_PART_ONE)
    stems = [path.stem.partition("_")[2] for path in lessons(root)]
    return [*_PART_ONE, *({stem} for stem in stems if stem not in built), *_TOP]


def _floor(module: str, floors: list[set[str]]) -> int | None:
    room = module.split(".")[1] if "." in module else None
    return next((n for n, floor in enumerate(floors) if room in floor), None)


def _fault(name: str, target: str, library: dict, floors: list[set[str]]) -> str:
    """What is wrong with `name` importing `target`; empty if nothing is."""
    if target.split(".")[0] in _ABOVE_THE_LIBRARY:
        return "which is no part of the library: move what is needed into the library"
    if target not in library:
        return "which does not exist: name a module of the library"
    if target == "lessons_lib":
        return "which holds nothing: name the module that is meant"
    own, other = _floor(name, floors), _floor(target, floors)
    if own is None or other is None or other < own:
        return ""
    if own == other and name.split(".")[1] in _ROOMS_OF_MANY:
        return ""
    where = "its own floor" if own == other else "a floor above it"
    return f"which stands on {where}: move what both need further down"


def _imports(name: str, tree: ast.Module, library: dict) -> list[tuple[int, str]]:
    """Line and module of everything of this project that a module imports, wherever it does so."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found += [(node.lineno, alias.name) for alias in names]
            case ast.ImportFrom(module=module, names=names, level=level):
                base = _resolve(name, module, level, library)
                for alias in names:
                    whole = f"{base}.{alias.name}"
                    # `from package import x`: a module, or a name that the package holds.
                    is_module = whole in library or base == "lessons_lib"
                    found.append((node.lineno, whole if is_module else base))
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module"),
                args=[ast.Constant(value=str(target)), *_],
            ):
                found.append((node.lineno, target))
    ours = _ABOVE_THE_LIBRARY | {"lessons_lib"}
    return sorted({(line, target) for line, target in found if target.split(".")[0] in ours})


def _resolve(name: str, module: str | None, level: int, library: dict) -> str:
    """The absolute name behind `from ..module import`, written in module `name`."""
    if level == 0:
        return module or ""
    is_package = any(other.startswith(f"{name}.") for other in library)
    parts = name.split(".")
    parts = parts[: len(parts) - level + is_package]
    return ".".join([*parts, *([module] if module else [])])


def _cycles(graph: dict[str, set[str]]) -> list[str]:
    """One sentence for each import cycle, found by walking down from every module."""
    found: dict[frozenset[str], str] = {}

    def walk(path: list[str]) -> None:
        for target in sorted(graph.get(path[-1], ())):
            if target in path:
                cycle = path[path.index(target) :]
                sentence = f"{' imports '.join([*cycle, target])}: break this cycle"
                found.setdefault(frozenset(cycle), sentence)
            else:
                walk([*path, target])

    for name in sorted(graph):
        walk([name])
    return list(found.values())
