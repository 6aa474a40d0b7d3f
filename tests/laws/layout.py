"""The house: a fixed top level, one stem in all rooms, and files that belong to no one machine."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.laws.project import all_cells, files, lessons, shown, texts

TOP_LEVEL = {
    *("notebooks", "lessons_lib", "exercises", "solutions", "tests", "tools", ".ci", ".github"),
    *("README.md", "NOTATION.md", "DECISIONS.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"),
    *("environment.yml", "pyproject.toml", "constraints.txt", "course.py", "conftest.py"),
    *(".gitattributes", ".gitignore"),
}
_CATCH_ALLS = {"utils", "util", "helpers", "helper", "misc"}
_TEXT = r"\.(py|md|toml|txt|ya?ml|cfg|sh|json|tsv|csv)$|^\.ci/|^\.git\w+$|^LICENSE$"
_MACHINE_PATH = re.compile(
    r"(?<![\w.~/}-])/(?:home|Users|root|tmp|work|mnt|opt|private|var)/\w|\b[A-Z]:\\+Users\b"
)
_REGISTRY = re.compile(r"\b(?:pypi|pythonhosted|anaconda|npmjs|jfrog|conda-forge)\.(?:org|com|io)")


def violations(root: Path) -> list[str]:
    checks = (_top_level, _stems, _catch_alls, _foreign_places)
    return [sentence for check in checks for sentence in check(root)]


def _top_level(root: Path) -> Iterator[str]:
    present = {shown(root, path).split("/")[0] for path in files(root)}
    for name in sorted(present - TOP_LEVEL):
        yield f"{name} does not belong at the top level: put it into a room"
    for name in sorted(TOP_LEVEL - present):
        yield f"{name} is missing at the top level"


def _stems(root: Path) -> Iterator[str]:
    """Every lesson has exercises; every one but the first, a module of its own, and its tests."""
    for path in lessons(root):
        number, _, stem = path.stem.partition("_")
        if not re.fullmatch(r"\d\d", number):
            yield f"{shown(root, path)}: its name does not start with a two-digit number"
            continue
        rooms = [
            f"exercises/{path.name}",
            f"solutions/{path.name}",
            f"lessons_lib/checks/{stem}.py",
        ]
        if number != "00":
            rooms += [f"lessons_lib/{stem}.py", f"tests/test_{stem}.py"]
        for room in rooms:
            if not (root / room).is_file():
                yield f"{room} is missing: {shown(root, path)} needs it"


def _catch_alls(root: Path) -> Iterator[str]:
    for path in files(root):
        for part in path.relative_to(root).with_suffix("").parts:
            if part in _CATCH_ALLS:
                yield f"{shown(root, path)}: '{part}' says nothing: name it after what it holds"


def _foreign_places(root: Path) -> Iterator[str]:
    """Paths of one machine, and hosts of package registries, in files and stored outputs."""
    places = [*texts(root, _TEXT)]
    places += [(cell.where, f"{cell.source}\n{cell.shown_text}") for cell in all_cells(root)]
    for where, text in places:
        for number, line in enumerate(text.splitlines(), start=1):
            place = f"{where} line {number}"
            if path := _MACHINE_PATH.search(line):
                yield f"{place}: '{path[0]}' is a path of one machine: make it relative"
            if host := _REGISTRY.search(line):
                yield f"{place}: names {host[0]}: leave the registry to pip's settings"
