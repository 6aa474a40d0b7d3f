"""Claims and numbers: what a lesson claims, a test holds for three seeds; what it prints, it shows.

A cell that makes a claim on trained models names it in its metadata, `"claim": "stays_flat"`, and
`tests/seeds/test_<stem>.py` has `test_stays_flat`, and no test without a claim. A number after ≈
that names its own tolerance names none wider than twice what `python -m tools.spread` found. The
lessons print numbers, and few bounds; they assert little, where the assertion is the lesson.
"""

import ast
import json
import re
from pathlib import Path

from tests.laws.project import Cell, cells, lessons
from tools.measured import WIDEST_SHARE
from tools.spread import numbers

ASSERTS, BOUNDS = 80, 15  # in all lessons together
_BOUND = re.compile(
    r"\b(above|below|at least|at most|fewer than|more than|less than|between)\b[^\n]*?\d"
)


def violations(root: Path) -> list[str]:
    found, asserts, bounds = [], 0, 0
    spreads = _spreads(root)
    for path in lessons(root):
        notebook = cells(root, path)
        found += _claims(root, path, notebook)
        for cell in notebook:
            asserts += sum(isinstance(node, ast.Assert) for node in ast.walk(cell.tree))
            bounds += sum(len(_BOUND.findall(text)) for text in _printed(cell))
            found += _tolerances(cell, spreads.get(path.stem, {}).get(cell.node.get("id"), []))
    if asserts > ASSERTS:
        found.append(f"notebooks/: {asserts} asserts, at most {ASSERTS}: move them into tests")
    if bounds > BOUNDS:
        found.append(f"notebooks/: {bounds} printed bounds, at most {BOUNDS}: print the numbers")
    return found


def _claims(root: Path, path: Path, notebook: list[Cell]) -> list[str]:
    tests = root / "tests" / "seeds" / f"test_{path.stem.partition('_')[2]}.py"
    tree = ast.parse(tests.read_text(encoding="utf-8") if tests.is_file() else "")
    held = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    held = {name.removeprefix("test_") for name in held if name.startswith("test_")}
    made = {
        claim: cell.where for cell in notebook if (claim := cell.node.metadata.get("claim", ""))
    }
    name = tests.relative_to(root).as_posix()
    return [
        f"{made[claim]}: claims {claim!r}: write test_{claim} in {name}"
        for claim in sorted(made.keys() - held)
    ] + [
        f"{name}: test_{claim} holds what no cell of the lesson claims in its metadata"
        for claim in sorted(held - made.keys())
    ]


def _printed(cell: Cell) -> list[str]:
    outputs = cell.node.get("outputs", ())
    return [output.text for output in outputs if output.get("name") == "stdout"]


def _tolerances(cell: Cell, spreads: list[list[float]]) -> list[str]:
    own = [number for number in numbers(cell.node) if number.own is not None]
    found = [
        f"{cell.where}: {number.text!r} is wider than {WIDEST_SHARE:g} of a share: print no number"
        for number in own
        if number.is_share and number.own > WIDEST_SHARE * (100 if number.is_percent else 1)
    ]
    if [number.own for number in own] != [tolerance for tolerance, _ in spreads]:
        return [*found, f"{cell.where}: run `python -m tools.spread {cell.notebook}`"]
    return found + [
        f"{cell.where}: {number.text!r}: the spread is {spread:g}, at most twice that is allowed"
        for number, (tolerance, spread) in zip(own, spreads, strict=True)
        if tolerance > 2 * spread
    ]


def _spreads(root: Path) -> dict:
    path = root / "tests" / "spread.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
