"""What the lessons measure: exact match, by sentence length, and how far a memory moves."""

from collections.abc import Callable

import torch

from lessons_lib.kit.arguments import check_at_most, check_positive
from lessons_lib.kit.vocabulary import EOS, PAD, SPECIALS, lengths

LENGTH_BINS = [(1, 4), (5, 8), (9, 12), (13, 16), (17, 19)]  # English words of a number


def exact_match(predicted: torch.Tensor, tgt: torch.Tensor) -> torch.Tensor:
    """Tell for each sentence whether the whole prediction is right: (N, T), (N, T_tgt) → (N,) bool.

    `predicted` is what decoding returns: words, EOS, then anything. `tgt` is as in a task: BOS,
    words, EOS, PAD … What stands after the first EOS is ignored. The answer is where `tgt` is, also
    if a model on a GPU made the prediction.
    """
    labels = tgt[:, 1:]  # (N, T_tgt - 1)
    width = max(predicted.shape[1], labels.shape[1])
    pair = [pad_after_eos(ids, width) for ids in (predicted.to(labels.device), labels)]
    return (pair[0] == pair[1]).all(dim=1)  # (N,)


def pad_after_eos(ids: torch.Tensor, width: int) -> torch.Tensor:
    """Replace everything after the first EOS by PAD and widen the rows: (N, T) → (N, width)."""
    ended = (ids == EOS).cumsum(dim=1) - (ids == EOS).long() > 0  # (N, T): an EOS came before
    padded = ids.new_full((len(ids), width), PAD)  # (N, width)
    padded[:, : ids.shape[1]] = ids.masked_fill(ended, PAD)
    return padded


def mean_by_length(
    scores: torch.Tensor, src: torch.Tensor, bins: list[tuple[int, int]] = LENGTH_BINS
) -> dict[str, float]:
    """Average one score per sentence (N,) within bins of source length, in words without EOS.

    With the result of `exact_match` this is exact match by length. Returns a dict such as
    {"1–4": 0.95, …}; a bin without sentences is left out.
    """
    n_words = lengths(src) - 1  # (N,), EOS is no word
    shares = {}
    for low, high in bins:
        inside = (n_words >= low) & (n_words <= high)  # (N,)
        if inside.any():
            shares[f"{low}–{high}"] = scores[inside].float().mean().item()
    return shares


@torch.no_grad()
def influence(
    memory: Callable[[torch.Tensor], torch.Tensor],
    src: torch.Tensor,
    positions: int,
    n_words: int,
    seed: int = 0,
) -> list[float]:
    """How far does `memory(src)` (N, d) move when the word n positions back is another one?

    The word is swapped for a random other word of the vocabulary (`n_words` entries). The distance
    is averaged over the sentences and divided by the average distance between the memories of two
    different sentences, so 1 means: as far as to another sentence. Returns one value for each
    n = 0 … positions − 1; n = 0 is the last word before EOS.

    Raises:
        ValueError: if a sentence has fewer than `positions` words.
    """
    check_positive("positions", positions)
    last = lengths(src) - 2  # (N,): the last word, EOS stands after it
    check_at_most("positions", positions, int(last.min()) + 1)
    draw = torch.Generator().manual_seed(seed)
    rows = torch.arange(len(src), device=src.device)  # (N,)
    before = memory(src)  # (N, d)
    apart = (before - before.roll(1, dims=0)).norm(dim=1).mean()  # between two sentences
    n_real = n_words - len(SPECIALS)
    moved = []
    for n in range(positions):
        offset = torch.randint(1, n_real, (len(src),), generator=draw)  # (N,): another word
        word = src[rows, last - n] - len(SPECIALS)  # (N,): counted from the first real word
        changed = src.clone()  # (N, T_src)
        changed[rows, last - n] = (word + offset.to(src.device)) % n_real + len(SPECIALS)
        moved.append(((memory(changed) - before).norm(dim=1).mean() / apart).item())
    return moved
