"""Law 4, exercises equal stripped solutions: cell by cell, ids included."""

import pytest

from tests.laws.planted import code, none, only, plant_notebook, text
from tests.laws.project import ROOT, cells
from tools.execute import canonical_bytes, read
from tools.exercises import STUB, differences, main, make, strip

SOLVED = "def f(x):\n    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION"
MARKED = {"grade": False, "grade_id": "f", "locked": False, "schema_version": 3, "solution": True}


def planted(root):
    """A solution notebook of one exercise, and the exercise notebook that belongs to it."""
    answer = code(SOLVED, "f")
    answer.metadata["nbgrader"] = MARKED
    plant_notebook(root, "solutions/01_a.ipynb", text("## Write f", "task"), answer)
    exercise = strip(read(root / "solutions/01_a.ipynb"))
    (root / "exercises").mkdir()
    save(root, exercise)
    return root, exercise


def save(root, exercise):
    (root / "exercises/01_a.ipynb").write_bytes(canonical_bytes(exercise))


def test_repository():
    none(differences(ROOT))
    assert main(["--check"]) == 0


def test_sound_tree(tmp_path):
    root, exercise = planted(tmp_path)
    assert differences(root) == []
    assert exercise.cells[1].source == f"def f(x):\n    {STUB}"


def test_solution_left_in(tmp_path):
    root, _ = planted(tmp_path)
    save(root, read(root / "solutions/01_a.ipynb"))
    only(differences(root), "exercises/01_a.ipynb [f]", "differs")


def test_edited_task(tmp_path):
    root, exercise = planted(tmp_path)
    exercise.cells[0].source += " now"
    save(root, exercise)
    only(differences(root), "[task]", "differs")


def test_other_id(tmp_path):
    root, exercise = planted(tmp_path)
    exercise.cells[0].id = "other"
    save(root, exercise)
    only(differences(root), "exercises/01_a.ipynb", "other cells")


def test_other_metadata(tmp_path):
    root, exercise = planted(tmp_path)
    exercise.cells[1].metadata["nbgrader"]["locked"] = True
    save(root, exercise)
    only(differences(root), "[f]", "differs")


def test_missing_exercise(tmp_path):
    root, _ = planted(tmp_path)
    (root / "exercises/01_a.ipynb").unlink()
    only(differences(root), "exercises/01_a.ipynb is missing")


def test_exercise_without_solution(tmp_path):
    root, _ = planted(tmp_path)
    (root / "solutions/01_a.ipynb").unlink()
    only(differences(root), "exercises/01_a.ipynb has no solution")


def test_solution_region_that_never_ends(tmp_path):
    answer = code(SOLVED.replace("### END SOLUTION", "pass"), "f")
    answer.metadata["nbgrader"] = MARKED
    plant_notebook(tmp_path, "solutions/01_a.ipynb", answer)
    with pytest.raises(RuntimeError, match="no end solution"):
        strip(read(tmp_path / "solutions/01_a.ipynb"))


def test_making_twice_gives_the_same_bytes(tmp_path):
    root, _ = planted(tmp_path)
    solution, exercise = root / "solutions/01_a.ipynb", root / "exercises/01_a.ipynb"
    made = []
    for _ in range(2):
        make(solution, exercise)
        made.append(exercise.read_bytes())
    assert made[0] == made[1]
    assert [cell.node.get("execution_count", 0) for cell in cells(root, exercise)] == [0, 1]
    assert differences(root) == []
