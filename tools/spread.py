"""How far the measured numbers of a notebook drift on other processors, and what must be mended.

    python -m tools.spread notebooks/05_multi_head_attention.ipynb ...

Runs each notebook five times: as it is, with torch's code for two older instruction sets, and with
two imitations of another processor's rounding (CONTRIBUTING.md, "Other processors"). It prints all
numbers that do not hold, and all other text that changes, and exits with 1 if there is any. What
numbers with a tolerance of their own came out as goes to tests/spread.json: a law reads there that
no tolerance is wider than twice the spread.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nbformat import NotebookNode

from tools.execute import ROOT, changed_cells, execute
from tools.measured import Measured, measured

STORED = ROOT / "tests" / "spread.json"
PROCESSORS = {
    "as it is": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "default": {"ATEN_CPU_CAPABILITY": "default"},
    "rounding 1": {"LESSONS_ROUNDING": "1"},
    "rounding 2": {"LESSONS_ROUNDING": "2"},
}


@contextmanager
def processor(environment: dict[str, str]) -> Iterator[None]:
    """Kernels that start inside compute as another processor would."""
    start = os.pathsep.join(filter(None, [str(ROOT / "tests" / "start"), os.getenv("PYTHONPATH")]))
    kept = dict(os.environ)
    os.environ.update(environment, PYTHONPATH=start)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def runs(path: Path) -> dict[str, NotebookNode]:
    """The notebook as each processor leaves it."""
    found = {}
    for name, environment in PROCESSORS.items():
        with processor(environment):
            found[name], cpu = execute(path)
        print(f"  {name}: {cpu:.0f} CPU s", flush=True)
    return found


def numbers(cell: NotebookNode) -> list[Measured]:
    """All measured numbers in the outputs of a cell, once where they are shown in two forms."""
    texts = []
    for output in cell.get("outputs", ()):
        shown = output.get("data", {})
        texts += [output.get("text", ""), shown.get("text/plain") or shown.get("text/html", "")]
    return [number for text in texts for number in measured(text)]


def spreads(notebooks: list[NotebookNode]) -> dict[str, list[tuple[Measured, list[float]]]]:
    """By cell: each number as the first run has it, and its value in all runs."""
    found = {}
    for cells in zip(*(notebook.cells for notebook in notebooks), strict=True):
        rows = [numbers(cell) for cell in cells]
        if rows[0] and all(len(row) == len(rows[0]) for row in rows):
            columns = zip(*rows, strict=True)
            found[cells[0].id] = [(column[0], [n.value for n in column]) for column in columns]
    return found


def report(path: Path) -> tuple[list[str], dict[str, list]]:
    """What does not hold in one notebook, and what its own tolerances rest on."""
    notebooks = runs(path)
    native = notebooks["as it is"]
    wrong, rest_on = [], {}
    for id, row in spreads(list(notebooks.values())).items():
        for number, values in row:
            spread = max(values) - min(values)
            facts = f"[{id}] {number.text!r}: {min(values):g} to {max(values):g}"
            if any(abs(value - number.value) > number.tolerance for value in values):
                wrong.append(f"{facts}, tolerance {number.tolerance:g}: name a wider one, or none")
            if number.own is not None:
                rest_on.setdefault(id, []).append([number.own, round(spread, 6)])
                if number.own > 2 * spread:
                    wrong.append(f"{facts}: its own tolerance is more than twice the spread")
    for name, notebook in notebooks.items():
        wrong += [f"{name}: {change}" for change in changed_cells(native, notebook)]
    return wrong, rest_on


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("notebooks", nargs="+", type=Path)
    all_hold = True
    for path in parser.parse_args(arguments).notebooks:
        print(path, flush=True)
        wrong, rest_on = report(path)
        print("".join(f"  {line}\n" for line in wrong) or "  all numbers hold")
        all_hold &= not wrong
        stored = json.loads(STORED.read_text(encoding="utf-8")) if STORED.is_file() else {}
        stored[path.stem] = rest_on
        text = json.dumps(dict(sorted(stored.items())), indent=1)
        STORED.write_text(text + "\n", encoding="utf-8")
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
