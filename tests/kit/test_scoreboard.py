"""The scoreboard is complete, and what it says can be measured again."""

import pytest

from lessons_lib.kit.scoreboard import Row, best_rate, finals, mean_by_length, scoreboard
from tools.scoreboard import BUDGETS, MODELS, RATES, SEEDS, measure, missing


@pytest.fixture(scope="module")
def rows():
    return scoreboard()


def test_nothing_is_missing_and_nothing_stands_twice(rows):
    assert list(missing(rows)) == []
    keys = [(row.model, row.lr, row.steps, row.seed) for row in rows]
    assert len(set(keys)) == len(keys)
    assert {row.model for row in rows} == set(MODELS)


def test_a_missing_row_is_noticed(rows):
    for gone in (rows[0], rows[-1]):
        left = [row for row in rows if row != gone]
        assert (gone.model, gone.lr, gone.steps, gone.seed) in list(missing(left))


@pytest.mark.parametrize("model", MODELS)
def test_the_best_rate_lies_inside_the_rates_that_were_tried(rows, model):
    assert min(RATES) < best_rate(rows, model) < max(RATES)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("steps", BUDGETS)
def test_the_final_rows_have_all_seeds(rows, model, steps):
    assert sorted(row.seed for row in finals(rows, model, steps)) == list(SEEDS)


def test_the_transformer_reaches_99_percent_with_every_seed(rows):
    last = finals(rows, "Transformer, pre-norm", max(BUDGETS))
    assert min(row.exact_match for row in last) >= 0.99


def test_attention_alone_makes_the_curve_flat(rows):
    """Lesson 2 changes two things; reading in both directions is not the one that counts."""
    for row in finals(rows, "GRU with attention, reading forwards", 400):
        assert min(row.by_length.values()) > 0.98


def test_a_row_can_be_measured_again(rows):
    """Another instruction set moves exact match between the extremes by points (DECISIONS.md)."""
    row = next(row for row in finals(rows, "Transformer, pre-norm", 400) if row.seed == 0)
    again = measure(row.model, row.lr, row.steps, row.seed)
    assert again.n_parameters == row.n_parameters
    assert again.exact_match == pytest.approx(row.exact_match, abs=0.05)
    assert again.by_length == pytest.approx(row.by_length, abs=0.15)


def test_the_mean_by_length_is_taken_bin_by_bin():
    rows = [Row("m", 1e-3, 9, seed, 5, 0.5, {"1–4": share}) for seed, share in enumerate((0, 1))]
    assert mean_by_length(rows) == {"1–4": 0.5}
