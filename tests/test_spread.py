"""What `python -m tools.spread` says of planted notebooks, whose numbers drift or stay."""

import json

import pytest

import tools.spread
from tests.laws.planted import code, plant_notebook

PREPARE = """import os
here = os.environ.get("LESSONS_ROUNDING", "0"), os.environ.get("ATEN_CPU_CAPABILITY", "")
drift = {"1": 0.03, "2": -0.03}.get(here[0], 0.0)
"""


@pytest.fixture
def spread(tmp_path, monkeypatch, capsys):
    """The exit status for a notebook with one cell, what it says, and what it writes."""
    monkeypatch.setattr(tools.spread, "STORED", tmp_path / "spread.json")

    def measure(source):
        plant_notebook(tmp_path, "01_a.ipynb", code(PREPARE + source, "number"))
        status = tools.spread.main([str(tmp_path / "01_a.ipynb")])
        stored = json.loads((tmp_path / "spread.json").read_text(encoding="utf-8"))
        return status, capsys.readouterr().out, stored["01_a"]

    return measure


def test_numbers_that_hold(spread):
    status, said, stored = spread("print(f'≈ {2 + drift:.3f}, ≈ {0.5 + drift:.3f} ± 0.05')")
    assert (status, stored) == (0, {"number": [[0.05, 0.06]]})
    assert "all numbers hold" in said


@pytest.mark.parametrize(
    "source, says",
    [
        ("print(f'≈ {0.5 + drift:.3f}')", "0.47 to 0.53, tolerance 0.025: name a wider one"),
        ("print(f'≈ {0.5 + drift:.3f} ± 0.2')", "more than twice the spread"),
        ("print(f'{0.5 + drift:.3f}')", "rounding 1: [number] would change"),
        ("print(here[1])", "avx2: [number] would change"),
    ],
)
def test_numbers_that_do_not(spread, source, says):
    status, said, _ = spread(source)
    assert status == 1
    assert says in said
