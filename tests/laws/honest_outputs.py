"""Law 3, honest outputs: what a notebook shows is what its code printed, on a full run in order.

This is the part that can be read off the files. That the outputs are the right ones is shown by
running the notebooks strictly, which pytest does beside these tests.
"""

import ast
import re
import tomllib
from pathlib import Path

from tests.laws.project import Cell, cells, shown
from tools.execute import ROOMS, canonical_bytes, course_notebooks, read

# Comments and tags with which a cell escapes the strict comparison.
_ESCAPE = re.compile(r"nbval[-_]\w|pytest[-_]validate|raises[-_]exception|skip[-_]execution", re.I)
_TIMING = "NBVAL_IGNORE_OUTPUT"
_WALL_CLOCKS = {"time", "perf_counter", "monotonic", "time_ns", "perf_counter_ns", "now"}
_CPU_CLOCKS = {"process_time", "process_time_ns"}
# Ordinary output, which no sanitize pattern may touch.
_ORDINARY = "step 400 of 400  loss 0.3\n13-16 words: below 0.30\ntensor([[0.25, -1.5]])\npass: drei"


def violations(root: Path) -> list[str]:
    found = []
    for path in course_notebooks(root):
        code = [cell for cell in cells(root, path) if cell.is_code]
        for turn, cell in enumerate(code, start=1):
            found += _run_in_order(cell, turn) + _bad_outputs(cell) + _escapes(cell)
        if canonical_bytes(read(path)) != path.read_bytes():
            found.append(
                f"{shown(root, path)} was not stored by tools/execute.py: run it on this notebook"
            )
    return found + _loose_settings(root) + _loose_sanitizing(root)


def _run_in_order(cell: Cell, turn: int) -> list[str]:
    count = cell.node.execution_count
    if count == turn:
        return []
    was = "was never run" if count is None else f"was run as number {count}"
    return [f"{cell.where}: {was}, it is cell {turn}: execute the notebook from the start"]


def _bad_outputs(cell: Cell) -> list[str]:
    found = []
    for output in cell.node.outputs:
        if output.output_type == "error":
            found.append(f"{cell.where}: stores the error {output.get('ename')}: mend the cell")
        if output.get("name") == "stderr":
            found.append(f"{cell.where}: writes to stderr: remove the cause of the warning")
    return found


def _escapes(cell: Cell) -> list[str]:
    comments = [line.strip() for line in cell.source.splitlines() if line.strip().startswith("#")]
    tags = list(cell.node.metadata.get("tags", []))
    found = [
        f"{cell.where}: '{escape}' escapes the strict comparison: remove it"
        for escape in comments + tags
        if _ESCAPE.search(escape) and escape != f"# {_TIMING}"
    ]
    if f"# {_TIMING}" in comments and (lacks := _lacks_as_timing(cell.tree)):
        found.append(
            f"{cell.where}: may ignore its output only for a timing, but {lacks}: "
            "assert a ratio of CPU times"
        )
    return found


def _lacks_as_timing(tree: ast.Module) -> str:
    """What a cell lacks to be a timing: a CPU clock, no wall clock, an asserted ratio."""
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }
    ratios = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _divides(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    asserted = any(
        isinstance(compare, ast.Compare)
        and (_divides(compare) or any(getattr(n, "id", None) in ratios for n in ast.walk(compare)))
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
        for compare in ast.walk(node.test)
    )
    if called & _WALL_CLOCKS:
        return "it reads a wall clock"
    if not (called & _CPU_CLOCKS or any(name.startswith("cpu_") for name in called)):
        return "it reads no CPU clock (time.process_time)"
    return "" if asserted else "it asserts no ratio"


def _divides(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Div) for part in ast.walk(node))


def _loose_settings(root: Path) -> list[str]:
    """The one pytest call must run all notebooks, strictly."""
    path = root / "pyproject.toml"
    settings = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    pytest = settings.get("tool", {}).get("pytest", {}).get("ini_options", {})
    options = pytest.get("addopts", [])
    options = options.split() if isinstance(options, str) else options
    found = [
        f"pyproject.toml: testpaths lacks {room}: its notebooks are never tested"
        for room in ROOMS
        if room not in pytest.get("testpaths", [])
    ]
    if "--nbval" not in options or "--nbval-lax" in options:
        found.append("pyproject.toml: addopts must hold --nbval, not --nbval-lax")
    return found


def _loose_sanitizing(root: Path) -> list[str]:
    """The sanitize file: few patterns, each with its reason, none that touches ordinary output."""
    name = "tests/nbval_sanitize.cfg"
    if not (root / name).is_file():
        return [f"{name} is missing"]
    text = (root / name).read_text(encoding="utf-8")
    found = []
    for entry in text.split("\n\n"):
        if pattern := re.search(r"^regex: (.*)$", entry, re.MULTILINE):
            if not entry.startswith("# "):
                found.append(f"{name}: {pattern[1]!r} has no reason: say why above it")
            if re.search(pattern[1], _ORDINARY):
                found.append(f"{name}: {pattern[1]!r} hides ordinary output: narrow it")
    if len(re.findall(r"^regex: ", text, re.MULTILINE)) > 3:
        found.append(f"{name} has more than 3 patterns: mend the outputs instead")
    return found
