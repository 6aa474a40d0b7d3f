"""The side tasks are right by their own rules, repeatable, and can be learned."""

import pytest
import torch
from torch import nn

from lessons_lib.kit.recall import NOTHING, learn, neighbours, predecessors, recall, share_right


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("joined", [True, False])
def test_every_question_has_the_value_of_its_key(joined):
    tokens, labels = recall(50, rng(), n_pairs=5, n_symbols=9, joined=joined)
    assert tokens.shape == ((50, 10, 2) if joined else (50, 15, 1))
    assert labels.shape == tokens.shape[:2]
    n = tokens.shape[1] - 5
    pairs = tokens[:, :n].reshape(50, 5, 2)
    for row in range(50):
        values = {key: value - 9 for key, value in pairs[row].tolist()}
        assert len(values) == 5 and set(values.values()) <= set(range(9))
        asked = tokens[row, n:, 0].tolist()
        assert sorted(asked) == sorted(values)
        assert labels[row, n:].tolist() == [values[key] for key in asked]
    assert (labels[:, :n] == NOTHING).all()
    if joined:
        assert (tokens[:, n:, 1] == 18).all()


def test_the_answer_to_predecessors_stands_one_place_before():
    tokens, labels = predecessors(20, rng(), n_tokens=7, n_symbols=6)
    assert tokens.shape == (20, 7, 1) and (labels[:, 0] == NOTHING).all()
    assert torch.equal(labels[:, 1:], tokens[:, :-1, 0])
    assert tokens.min() == 0 and tokens.max() == 5


def test_the_answer_to_neighbours_is_the_pair_around_each_place():
    tokens, labels = neighbours(20, rng(), n_tokens=7, n_symbols=6)
    assert tokens.shape == (20, 7, 1) and tokens.min() == 0 and tokens.max() == 5
    for row, answers in zip(tokens[..., 0].tolist(), labels.tolist(), strict=True):
        assert answers[0] == answers[-1] == NOTHING
        for t in range(1, 6):
            assert divmod(answers[t], 6) == (row[t - 1], row[t + 1])


def test_the_same_seed_gives_the_same_rows():
    for one, other in zip(
        recall(9, rng(3), 2, 4, True) + predecessors(9, rng(3), 5, 4),
        recall(9, rng(3), 2, 4, True) + predecessors(9, rng(3), 5, 4),
        strict=True,
    ):
        assert torch.equal(one, other)
    assert not torch.equal(recall(9, rng(3), 2, 4, True)[0], recall(9, rng(4), 2, 4, True)[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recall(4, rng(), 5, 4, True), "n_pairs must be at most 4, got 5"),
        (lambda: recall(4, rng(), 0, 4, True), "n_pairs must be a whole number"),
        (lambda: predecessors(4, rng(), 3, 0), "n_symbols must be a whole number"),
    ],
)
def test_wrong_sizes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_learn_learns_and_share_right_counts_wanted_answers_only():
    def copy(n_rows, draw):
        symbols = torch.randint(5, (n_rows, 4), generator=draw)
        labels = symbols.clone()
        labels[:, 0] = NOTHING
        return symbols[:, :, None], labels

    torch.manual_seed(0)
    model = Table()
    assert learn(model, copy, steps=60, lr=0.3) == 1.0
    tokens, labels = copy(8, rng())
    labels[:, 1] = (labels[:, 1] + 1) % 5  # one of the three answers is wrong
    assert share_right(model, (tokens, labels)) == pytest.approx(2 / 3)


class Table(nn.Module):
    """Logits for each symbol, looked up."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Embedding(5, 5)

    def forward(self, tokens):
        return self.logits(tokens[:, :, 0])
