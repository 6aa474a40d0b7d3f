"""Batches of sentences of similar length, so that little padding is computed."""

from collections.abc import Iterator

import torch

from lessons_lib.kit.vocabulary import lengths


def bucketed_batches(
    src: torch.Tensor,
    tgt: torch.Tensor,
    batch_size: int = 64,
    seed: int = 0,
    max_tokens: int = 8192,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches (src (B, T_src), tgt (B, T_tgt)) without end, each cut to its longest row.

    Every epoch shuffles the pairs, sorts them by length, cuts them into batches and shuffles the
    batches: rows of a batch have about the same length, and the order still differs each time.

    Two kinds of batches are smaller: the last one, and those of long sentences, because source and
    target together, padding counted, have at most `max_tokens` tokens (if one pair has more, it
    stands alone). So the memory of a training step does not grow with the longest sentence.
    """
    shuffle = torch.Generator().manual_seed(seed)
    length = lengths(src) + lengths(tgt)  # (N,)
    while True:
        order = torch.randperm(len(src), generator=shuffle)  # (N,)
        order = order[length[order].argsort(stable=True)]  # (N,)
        batches = []
        for rows in order.split(batch_size):
            longest = int(lengths(src[rows]).max() + lengths(tgt[rows]).max())
            batches += rows.split(max(1, max_tokens // longest))
        for i in torch.randperm(len(batches), generator=shuffle).tolist():
            rows = batches[i]  # (B,)
            yield trim(src[rows]), trim(tgt[rows])


def trim(ids: torch.Tensor) -> torch.Tensor:
    """Cut off the columns that hold nothing but padding: (B, T) → (B, longest row)."""
    return ids[:, : int(lengths(ids).max())]  # (B, longest row)
