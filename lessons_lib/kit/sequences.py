"""Side tasks on letters, where they show one idea better than number words do."""

import random

import torch

from lessons_lib.kit.arguments import check_at_most, check_positive
from lessons_lib.kit.tasks import Task
from lessons_lib.kit.vocabulary import BOS, EOS, SPECIALS

LETTERS = [chr(ord("a") + i) for i in range(26)]


def reverse_letters(length: int = 8, n_train: int = 4000, n_test: int = 500, seed: int = 0) -> Task:
    """Letters → the same letters backwards, "abc" → "c b a". Every sequence has `length` letters.

    All sequences are different, so those for the test are held out.

    Raises:
        ValueError: if a number is below 1, or if there are not enough different sequences.
    """
    for name, value in (("length", length), ("n_train", n_train), ("n_test", n_test)):
        check_positive(name, value)
    check_at_most("n_train + n_test", n_train + n_test, len(LETTERS) ** length)
    draw = random.Random(seed)
    ids = range(len(SPECIALS), len(SPECIALS) + len(LETTERS))
    rows: dict[tuple[int, ...], None] = {}  # a dict keeps the order and takes nothing twice
    while len(rows) < n_train + n_test:
        rows[tuple(draw.choices(ids, k=length))] = None
    letters = torch.tensor(list(rows))  # (N, length)
    begin, end = (letters.new_full((len(letters), 1), token) for token in (BOS, EOS))  # (N, 1)
    src = torch.cat([letters, end], dim=1)  # (N, length + 1)
    tgt = torch.cat([begin, letters.flip(1), end], dim=1)  # (N, length + 2)
    vocab = SPECIALS + LETTERS
    return Task(
        vocab,
        vocab,
        train=(src[:n_train], tgt[:n_train]),
        test=(src[n_train:], tgt[n_train:]),
        split=list,
    )
