"""Batches of sentences of similar length, so that little padding is computed."""

from collections.abc import Iterator

import torch

from lessons_lib.kit.vocabulary import lengths


def bucketed_batches(
    *columns: torch.Tensor, batch_size: int = 64, seed: int = 0, max_tokens: int = 8192
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield batches without end, such as (src (B, T_src), tgt (B, T_tgt)).

    A column (N, T) holds ids, padded; source and target are two columns. Each is cut to its own
    longest row of the batch: what must stay as wide as another is made after the batch is drawn.

    Every epoch shuffles the rows, sorts them by length, cuts them into batches and shuffles the
    batches: rows of a batch have about the same length, and the order still differs each time.

    Two kinds of batches are smaller: the last one, and those of long sentences, because all columns
    together, padding counted, have at most `max_tokens` tokens (if one row has more, it stands
    alone). So the memory of a training step does not grow with the longest sentence.
    """
    shuffle = torch.Generator().manual_seed(seed)
    length = sum(lengths(ids) for ids in columns)  # (N,)
    while True:
        order = torch.randperm(len(length), generator=shuffle)  # (N,)
        order = order[length[order].argsort(stable=True)]  # (N,)
        batches = []
        for rows in order.split(batch_size):
            longest = sum(int(lengths(ids[rows]).max()) for ids in columns)
            batches += rows.split(max(1, max_tokens // longest))
        for i in torch.randperm(len(batches), generator=shuffle).tolist():
            yield tuple(trim(ids[batches[i]]) for ids in columns)  # (B, T) each


def trim(ids: torch.Tensor) -> torch.Tensor:
    """Cut off the columns that hold nothing but padding: (B, T) → (B, longest row)."""
    return ids[:, : int(lengths(ids).max())]  # (B, longest row)
