import json

import nbformat.v4
import pytest

from tests.laws.claims import ASSERTS, BOUNDS, violations
from tests.laws.planted import code, none, only, plant, plant_notebook, text
from tests.laws.project import ROOT


def claims(name: str):
    cell = text("It stays flat.", "claim")
    cell.metadata["claim"] = name
    return cell


def prints(words: str):
    stream = nbformat.v4.new_output("stream", name="stdout", text=words)
    return code("f()", "number", outputs=[stream])


def planted(root, *cells, tests="", spread=None):
    plant(root, {"tests/seeds/test_masking.py": tests})
    if spread is not None:
        stored = {"04_masking": {"number": spread}}
        plant(root, {"tests/spread.json": json.dumps(stored)})
    return plant_notebook(root, "notebooks/04_masking.ipynb", *cells)


def test_repository():
    none(violations(ROOT))


def test_claim_and_test_find_each_other(tmp_path):
    none(violations(planted(tmp_path, claims("flat"), tests="def test_flat(seed): assert 1\n")))


def test_claim_without_a_test(tmp_path):
    only(violations(planted(tmp_path, claims("flat"))), "[claim]", "write test_flat")


def test_test_without_a_claim(tmp_path):
    found = violations(planted(tmp_path, "1", tests="def test_flat(seed): assert 1\n"))
    only(found, "tests/seeds/test_masking.py", "no cell")


@pytest.mark.parametrize("words", ["right ≈ 0.53", "right ≈ 0.53 ± 0.08", "≈ 53% ± 10"])
def test_tolerance_of_its_own(tmp_path, words):
    own = [[float(words.split("± ")[1]), 0.05 if "%" not in words else 5.0]] if "±" in words else []
    none(violations(planted(tmp_path, prints(words), spread=own)))


@pytest.mark.parametrize(
    "words, spread, says",
    [
        ("right ≈ 0.53 ± 0.08", [[0.08, 0.03]], "the spread is 0.03"),
        ("right ≈ 0.53 ± 0.08", None, "run `python -m tools.spread notebooks/04_masking.ipynb`"),
        ("right ≈ 0.53 ± 0.08", [[0.07, 0.05]], "run `python -m tools.spread"),
        ("right ≈ 0.53", [[0.08, 0.05]], "run `python -m tools.spread"),
        ("right ≈ 0.53 ± 0.20", [[0.2, 0.15]], "wider than 0.1 of a share"),
        ("right ≈ 53% ± 20", [[20, 15]], "wider than 0.1 of a share"),
    ],
)
def test_tolerance_without_a_measurement(tmp_path, words, spread, says):
    only(violations(planted(tmp_path, prints(words), spread=spread)), "[number]", says)


def test_too_many_asserts(tmp_path):
    cells = ["assert a\n" * 20 for _ in range(ASSERTS // 20)]
    none(violations(planted(tmp_path, *cells)))
    only(violations(planted(tmp_path, *cells, "if a:\n    assert b")), f"at most {ASSERTS}")


def test_too_many_printed_bounds(tmp_path):
    words = "lesson 1: above 0.97\nbetween 20 and 80 of 100\nthe rest below: see there\n"
    none(violations(planted(tmp_path, *[prints(words.replace("1", "a"))] * (BOUNDS // 2))))
    found = violations(planted(tmp_path, *[prints(words)] * (BOUNDS // 2 + 1)))
    only(found, f"at most {BOUNDS}")
