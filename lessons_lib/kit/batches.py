"""Batches of sentences of similar length, so that little padding is computed."""

from collections.abc import Iterator

import torch

from lessons_lib.kit.vocabulary import lengths


def bucketed_batches(
    src: torch.Tensor, tgt: torch.Tensor, batch_size: int = 64, seed: int = 0
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches (src (B, T_src), tgt (B, T_tgt)) without end, each cut to its longest row.

    Every epoch shuffles the pairs, sorts them by length, cuts them into batches and shuffles the
    batches: rows of a batch have about the same length, and the order still differs each time. The
    last batch of an epoch can be smaller.
    """
    shuffle = torch.Generator().manual_seed(seed)
    length = lengths(src) + lengths(tgt)  # (N,)
    while True:
        order = torch.randperm(len(src), generator=shuffle)  # (N,)
        order = order[length[order].argsort(stable=True)]  # (N,)
        batches = order.split(batch_size)
        for i in torch.randperm(len(batches), generator=shuffle).tolist():
            rows = batches[i]  # (B,)
            yield trim(src[rows]), trim(tgt[rows])


def trim(ids: torch.Tensor) -> torch.Tensor:
    """Cut off the columns that hold nothing but padding: (B, T) → (B, longest row)."""
    return ids[:, : int(lengths(ids).max())]  # (B, longest row)
