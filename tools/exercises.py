"""Make the exercise notebooks from the solution notebooks.

    python tools/exercises.py [solution ...]   write exercises/*.ipynb, executed
    python tools/exercises.py --check          write nothing; exit 1 on a difference

A solution stands between `### BEGIN SOLUTION` and `### END SOLUTION`. nbgrader's ClearSolutions
puts the stub in its place; everything else, cell ids included, stays as it is.
"""

import argparse
import copy
import sys
import tempfile
from pathlib import Path

from nbformat import NotebookNode
from nbgrader.preprocessors import ClearSolutions

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script finds the modules of its own folder only

from tools.execute import canonical_bytes, execute, read, write  # noqa: E402

STUB = "raise NotImplementedError  # your answer"


def strip(solution: NotebookNode) -> NotebookNode:
    """The exercise notebook that belongs to a solution notebook, without outputs."""
    clear = ClearSolutions(code_stub={"python": STUB})
    exercise, _ = clear.preprocess(copy.deepcopy(solution), {})
    for cell in exercise.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return exercise


def make(solution: Path, exercise: Path) -> None:
    """Strip and execute one solution notebook; raises NotebookFailed and then writes nothing."""
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / exercise.name
        draft.write_bytes(canonical_bytes(strip(read(solution))))
        executed, _ = execute(draft)
    exercise.parent.mkdir(exist_ok=True)
    write(exercise, canonical_bytes(executed))


def differences(root: Path) -> list[str]:
    """One sentence for each exercise notebook that is not what its solution would make of it."""
    found = []
    solutions = {path.name: path for path in sorted((root / "solutions").glob("*.ipynb"))}
    exercises = {path.name: path for path in sorted((root / "exercises").glob("*.ipynb"))}
    for name in sorted(exercises.keys() - solutions.keys()):
        found.append(f"exercises/{name} has no solution notebook: exercises are generated")
    for name in sorted(solutions.keys() - exercises.keys()):
        found.append(f"exercises/{name} is missing: run python tools/exercises.py")
    for name in sorted(solutions.keys() & exercises.keys()):
        wanted, stored = (
            identities(nb) for nb in (strip(read(solutions[name])), read(exercises[name]))
        )
        if [cell["id"] for cell in wanted] != [cell["id"] for cell in stored]:
            found.append(f"exercises/{name} has other cells than solutions/{name}")
            continue
        for want, store in zip(wanted, stored, strict=True):
            if want != store:
                found.append(f"exercises/{name} [{want['id']}] differs from the stripped solution")
    return found


def identities(nb: NotebookNode) -> list[dict]:
    """What a cell is, without what running it showed."""
    keys = ("id", "cell_type", "source", "metadata")
    return [{key: cell[key] for key in keys} for cell in nb.cells]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description="Make exercise notebooks from solutions.")
    parser.add_argument("solutions", nargs="*", type=Path, help="default: all in solutions/")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 on a difference"
    )
    options = parser.parse_args(arguments)
    if options.check:
        found = differences(ROOT)
        print("\n".join(found) or "all exercises equal their stripped solutions")
        return 1 if found else 0
    for solution in options.solutions or sorted((ROOT / "solutions").glob("*.ipynb")):
        make(solution, ROOT / "exercises" / solution.name)
        print(f"exercises/{solution.name} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
