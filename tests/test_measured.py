"""A number after ≈ may drift a little, in nbval's own run and in tools/execute.py; no further."""

import nbformat.v4
import pytest

from tests.laws.planted import code, plant_notebook
from tests.strictly import run_strictly
from tools.execute import changed_cells, read
from tools.measured import measured, with_stored_numbers


@pytest.mark.parametrize(
    "text, value, tolerance",
    [
        ("right ≈ 0.53", 0.53, 0.0265),
        ("right ≈ 0.30 of 1,000", 0.30, 0.02),
        ("right ≈ .04", 0.04, 0.02),
        ("right ≈ 1.00", 1.0, 0.05),
        ("loss ≈ 0.125", 0.125, 0.00625),
        ("loss ≈ 2.5", 2.5, 0.125),
        ("≈ 12,500 words", 12_500, 625),
        ("≈  -3.0", -3.0, 0.15),
        ("≈ −3", -3.0, 0.15),
        ("≈ 3e-05", 3e-5, 1.5e-6),
        ("≈ 30%", 30, 2),
        ("≈ 90 %", 90, 4.5),
        ("≈ 0.53 ± 0.08", 0.53, 0.08),
        ("≈ 5% ± 7", 5, 7),
        ("≈ 53% ± 10 points", 53, 10),
    ],
)
def test_value_and_tolerance(text, value, tolerance):
    (number,) = measured(text)
    assert (number.value, number.tolerance) == (value, pytest.approx(tolerance))


def test_text_without_numbers():
    assert measured("step 3 of 4, 0.53; A ≈ B, ≈ a third") == []


@pytest.mark.parametrize(
    "stored, fresh",
    [
        ("≈ 0.53 and ≈ 2.0\n", "≈ 0.55 and ≈ 1.9\n"),
        ("≈ 0.53 ± 0.08", "≈ 0.60 ± 0.08"),
        ("≈ 9.9 s", "≈ 10.1 s"),
        ("≈  9%", "≈ 11%"),
    ],
)
def test_small_drift_agrees(stored, fresh):
    assert with_stored_numbers(fresh, stored) == stored


@pytest.mark.parametrize(
    "stored, fresh",
    [
        ("≈ 0.53", "≈ 0.56"),
        ("≈ 0.12", "≈ 0.15"),
        ("≈ 2.5", "≈ 2.7"),
        ("≈ 50%", "≈ 53%"),
        ("≈ 0.53 ± 0.08", "≈ 0.62 ± 0.08"),
        ("≈ 0.53 ± 0.08", "≈ 0.53 ± 0.09"),  # another tolerance is another text
        ("≈ 0.53 ± 0.08", "≈ 0.53"),
        ("≈ 5%", "≈ 5"),
        ("≈ 0.53 right", "≈ 0.53 wrong"),
        ("0.53", "0.54"),  # without ≈ a number is exact
        ("≈ 0.53", "≈ 0.53 ≈ 0.53"),
        ("≈ 1", "≈ nan"),
    ],
)
def test_drift_beyond_it_and_other_text_differ(stored, fresh):
    assert with_stored_numbers(fresh, stored) != stored


def printed(text: str) -> list:
    return [nbformat.v4.new_output("stream", name="stdout", text=text + "\n")]


SHOWN = """class Shown:
    def _repr_mimebundle_(self, **_):
        return {"text/html": f"<b>≈ {0.52:.2f}</b>", "text/plain": "it"}
Shown()"""


def shown(html: str) -> list:
    data = {"text/html": html, "text/plain": "it"}
    return [nbformat.v4.new_output("execute_result", data=data, execution_count=1)]


@pytest.mark.parametrize(
    "source, outputs, holds",
    [
        ("print('right ≈ 0.52')", printed("right ≈ 0.53"), True),
        ("print('right ≈ 0.52')", printed("right ≈ 0.55"), False),
        ("print('left ≈ 0.53')", printed("right ≈ 0.53"), False),
        ("print('right 0.52')", printed("right 0.53"), False),
        (SHOWN, shown("<b>≈ 0.53</b>"), True),
        (SHOWN, shown("<b>≈ 0.55</b>"), False),
        (SHOWN, shown("<i>≈ 0.53</i>"), False),
    ],
)
def test_planted_drift_in_a_strict_run(tmp_path, source, outputs, holds):
    """Through nbval, in a pytest and a kernel of their own."""
    plant_notebook(tmp_path, "a.ipynb", code(source, "measured", outputs=outputs))
    result = run_strictly(tmp_path / "a.ipynb")
    assert (result.returncode == 0) == holds, result.stdout
    assert holds or "Cell outputs differ" in result.stdout


@pytest.mark.parametrize("drift, changes", [("0.54", 0), ("0.56", 1)])
def test_check_of_execute_agrees(tmp_path, drift, changes):
    def notebook(text):
        plant_notebook(tmp_path, "a.ipynb", code("1", "measured", outputs=printed(text)))
        return read(tmp_path / "a.ipynb")

    assert len(changed_cells(notebook("≈ 0.53"), notebook(f"≈ {drift}"))) == changes
