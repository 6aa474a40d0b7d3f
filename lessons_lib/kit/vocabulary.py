"""Words to ids and back: special ids, vocabularies, padding."""

from collections import Counter
from collections.abc import Iterable, Sequence

import torch

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIALS = ["<pad>", "<bos>", "<eos>", "<unk>"]


def build_vocabulary(sentences: Iterable[Sequence[str]], max_words: int | None = None) -> list[str]:
    """List the special tokens, then the words of `sentences`, the most frequent first.

    A word's place in the list is its id. Words that are equally frequent stand in order of first
    appearance. With `max_words`, rarer words are left out and become `<unk>`.
    """
    counts = Counter(word for sentence in sentences for word in sentence)
    return SPECIALS + [word for word, _ in counts.most_common(max_words)]


def pad_rows(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Stack id lists of unequal length into one tensor (N, T), filled up with PAD on the right."""
    longest = max((len(row) for row in rows), default=0)
    return torch.tensor(
        [[*row, *[PAD] * (longest - len(row))] for row in rows], dtype=torch.long
    ).reshape(len(rows), longest)  # (N, T), also for N = 0


def lengths(ids: torch.Tensor) -> torch.Tensor:
    """Count the tokens of each row that are not PAD: (N, T) → (N,)."""
    return (ids != PAD).sum(dim=1)  # (N,)
