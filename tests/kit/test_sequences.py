"""Letters and the same letters backwards."""

import pytest

from lessons_lib.kit.sequences import reverse_letters
from lessons_lib.kit.vocabulary import BOS, EOS


def test_targets_are_the_sources_backwards():
    task = reverse_letters(length=5, n_train=30, n_test=7)
    for (src, tgt), count in ((task.train, 30), (task.test, 7)):
        assert src.shape == (count, 6) and tgt.shape == (count, 7)
        assert (src[:, -1] == EOS).all() and (tgt[:, -1] == EOS).all() and (tgt[:, 0] == BOS).all()
        for row, back in zip(src.tolist(), tgt.tolist(), strict=True):
            assert row[:-1] == back[1:-1][::-1] and min(row[:-1]) >= 4


def test_test_sequences_are_held_out_and_the_draw_is_repeatable():
    one, other = (reverse_letters(length=2, n_train=500, n_test=176, seed=3) for _ in range(2))
    rows = [tuple(row) for src, _ in (one.train, one.test) for row in src.tolist()]
    assert len(set(rows)) == 26**2
    assert rows == [tuple(row) for src, _ in (other.train, other.test) for row in src.tolist()]


def test_words_of_your_own():
    task = reverse_letters(length=3, n_train=3, n_test=2)
    assert task.words(task.encode("cab")) == ["c", "a", "b", "<eos>"]
    with pytest.raises(ValueError, match="unknown word 'é'"):
        task.encode("né")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 5, 5), "length must be .* at least 1, got 0"),
        ((3, 0, 5), "n_train must be .* got 0"),
        ((3, 5, 0), "n_test must be .* got 0"),
        ((1, 20, 7), r"n_train \+ n_test must be at most 26, got 27"),
    ],
)
def test_wrong_sizes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        reverse_letters(*arguments)
