import pytest

from tests.laws.no_dangling_comparison import violations
from tests.laws.planted import code, none, only, plant, plant_notebook
from tests.laws.project import ROOT

SOUND_TEST = """import torch


def test_sound():
    assert torch.equal(a, b)
    equal = a == b
    assert equal
"""


def planted(root, test=SOUND_TEST, cell="same = 1 == 1\nassert same\nsame"):
    plant(root, {"tests/test_a.py": test, "lessons_lib/masking.py": "x = 1 == 2\n"})
    return plant_notebook(root, "notebooks/01_a.ipynb", code(cell, "compare"))


def test_repository():
    none(violations(ROOT))


def test_sound_tree(tmp_path):
    assert violations(planted(tmp_path)) == []


@pytest.mark.parametrize("noqa", ["", "  # noqa: B015"])
def test_dangling_in_a_test(tmp_path, noqa):
    root = planted(tmp_path, test=f"def test_it():\n    x = 1\n    x == 2{noqa}\n")
    only(violations(root), "tests/test_a.py line 3", "comparison")


def test_dangling_in_the_library(tmp_path):
    root = plant(planted(tmp_path), {"lessons_lib/masking.py": "x = 1\nx == 2\nx = 3\n"})
    only(violations(root), "lessons_lib/masking.py line 2", "comparison")


def test_dangling_in_a_cell(tmp_path):
    only(violations(planted(tmp_path, cell="x = 1\nx == 2\nx")), "01_a.ipynb cell 1 line 2")


def test_comparison_at_the_end_of_a_cell(tmp_path):
    root = planted(tmp_path, cell="x = 1\nx == 2")
    only(violations(root), "01_a.ipynb [compare]", "ends with a comparison")


LOST = [
    "torch.equal(x, y)",
    "torch.allclose(x, y)",
    "x.equal(y)",
    "(x == y).all()",
    "x == 1 and y == 2",
    "not x",
]


@pytest.mark.parametrize("lost", LOST)
def test_truth_value_that_is_lost_in_a_test(tmp_path, lost):
    root = planted(tmp_path, test=f"def test_it():\n    {lost}\n")
    only(violations(root), "tests/test_a.py line 2", "assert it")


@pytest.mark.parametrize("lost", LOST)
def test_truth_value_that_is_lost_in_a_cell(tmp_path, lost):
    root = planted(tmp_path, cell=f"x = y = 1\n{lost}")
    only(violations(root), "01_a.ipynb [compare]", "line 2", "assert it")
