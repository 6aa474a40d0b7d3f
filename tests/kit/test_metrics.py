"""Exact match, means by length, and how far a memory moves."""

import pytest
import torch

from lessons_lib.kit.metrics import exact_match, influence, mean_by_length
from lessons_lib.kit.vocabulary import BOS, EOS, PAD

TGT = torch.tensor([[BOS, 7, 8, EOS, PAD], [BOS, 9, EOS, PAD, PAD], [BOS, 5, 6, 7, EOS]])


@pytest.mark.parametrize(
    ("predicted", "right"),
    [
        ([[7, 8, EOS, PAD], [9, EOS, PAD, PAD], [5, 6, 7, EOS]], [True, True, True]),
        ([[7, 8, EOS, 4], [9, EOS, 9, EOS], [5, 6, 7, EOS]], [True, True, True]),  # after EOS
        ([[7, 8, EOS], [9, EOS, PAD], [5, 6, 7]], [True, True, False]),  # no EOS in time
        ([[7, 8, 8, EOS], [9, 9, EOS, PAD], [5, 6, EOS, PAD]], [False, False, False]),
        ([[7, EOS, PAD, PAD, PAD, PAD]] * 3, [False, False, False]),
        ([[PAD, PAD], [9, PAD], [5, 6]], [False, False, False]),
    ],
)
def test_exact_match_wants_every_word_and_the_end(predicted, right):
    assert exact_match(torch.tensor(predicted), TGT).tolist() == right


def test_exact_match_leaves_its_inputs_alone():
    predicted = torch.tensor([[7, 8, EOS, 4]] * 3)
    before = predicted.clone(), TGT.clone()
    exact_match(predicted, TGT)
    assert torch.equal(predicted, before[0]) and torch.equal(TGT, before[1])


def test_mean_by_length_counts_words_without_eos():
    src = torch.zeros(4, 8, dtype=torch.long)
    for row, n_words in enumerate((4, 4, 5, 7)):
        src[row, :n_words] = 9
        src[row, n_words] = EOS
    means = mean_by_length(torch.tensor([True, False, True, True]), src)
    assert means == {"1–4": 0.5, "5–8": 1.0}


def memory_of_two_words(src):
    """A memory that knows its last two words exactly: one-hot, (N, 2 · 10)."""
    last = (src != PAD).sum(dim=1) - 2
    rows = torch.arange(len(src))
    one_hot = torch.nn.functional.one_hot
    return torch.cat([one_hot(src[rows, last - back], 10).float() for back in (0, 1)], dim=1)


def test_influence_is_zero_for_words_that_a_memory_does_not_hold():
    src = torch.tensor([[4, 5, 6, EOS, PAD], [7, 8, 9, 4, EOS], [9, 8, 5, EOS, PAD]])
    moved = influence(memory_of_two_words, src, positions=3, n_words=10)
    # a swapped word moves one of two one-hot halves; two sentences differ in both
    assert moved == pytest.approx([0.5**0.5, 0.5**0.5, 0.0], abs=1e-6)


def test_influence_swaps_every_word_for_another_one_and_keeps_src():
    src = torch.tensor([[4, 5, 6, EOS], [7, 8, 9, EOS]])
    before, seen = src.clone(), []

    def memory(ids):
        seen.append(ids)
        return ids.float()

    influence(memory, src, positions=3, n_words=10)
    assert torch.equal(src, before)
    for n, changed in enumerate(seen[1:]):
        differs = changed != src
        assert differs.sum(dim=1).tolist() == [1, 1] and differs[:, 2 - n].all()
        assert changed[:, :3].min() >= 4 and changed.max() <= 9


def test_influence_refuses_more_positions_than_the_shortest_sentence_has():
    with pytest.raises(ValueError, match="positions must be at most 2, got 3"):
        influence(lambda s: s.float(), torch.tensor([[4, 5, EOS]]), positions=3, n_words=10)
