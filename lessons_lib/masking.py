"""Masks: which query may attend to which key, and a softmax that keeps to it.

A mask is boolean, True = may attend, as in `torch.nn.functional.scaled_dot_product_attention`, and
broadcasts to the scores. Masks handed to a layer are (T_q, T_k), (B, 1, T_k) or (B, T_q, T_k).
"""

import torch

from lessons_lib.kit.arguments import (
    check_broadcast,
    check_lengths,
    check_mask,
    check_positive,
)


def masked_softmax(scores: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Softmax over the keys that a query may attend to: scores (…, T_q, T_k) → weights.

    Every row sums to 1; a row without any allowed key is all zeros, with finite gradients. Works in
    every floating-point type. Vaswani et al. 2017 (arXiv 1706.03762), section 3.2.3, do the same
    with scores of minus infinity, and leave the row without a key undefined.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if the mask does not broadcast to the scores.
    """
    if mask is None:
        return scores.softmax(dim=-1)
    check_mask("mask", mask, scores.shape)
    lowest = torch.finfo(scores.dtype).min  # not −inf: a fully masked row would be NaN on the way
    return scores.masked_fill(~mask, lowest).softmax(dim=-1).masked_fill(~mask, 0.0)


def causal_mask(T: int, device=None) -> torch.Tensor:
    """Let position t attend to itself and what came before: (T, T).

    Vaswani et al. 2017, section 3.2.3: the decoder must not see the words it is to predict. It
    is made on `device`, which should be that of the scores; without one, on the CPU.

    Raises:
        ValueError: if T is not a whole number of at least 1.
    """
    check_positive("T", T)
    return torch.ones(T, T, dtype=torch.bool, device=device).tril()  # (T, T)


def padding_mask(lengths: torch.Tensor, T: int) -> torch.Tensor:
    """Let every query attend to the real tokens of its sentence: lengths (B,) → (B, 1, T).

    The axis of size 1 stands where the queries are: all of them get the same row. A length of 0
    blocks the whole sentence.

    Raises:
        TypeError: if `lengths` is not a tensor of integers.
        ValueError: if it is not one length in 0 … T for each sentence, or T is below 1.
    """
    check_positive("T", T)
    check_lengths("lengths", lengths, T)
    real = torch.arange(T, device=lengths.device) < lengths[:, None]  # (B, T)
    return real[:, None, :]  # (B, 1, T)


def combine_masks(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Allow only what both masks allow, such as (T, T) and (B, 1, T) → (B, T, T).

    Raises:
        TypeError: if a mask is not boolean.
        ValueError: if the masks don't broadcast to one shape.
    """
    check_broadcast("masks", first, second)
    return first & second


def to_blocked(mask: torch.Tensor) -> torch.Tensor:
    """Turn True = may attend into True = blocked, as `nn.MultiheadAttention` wants it.

    Raises:
        TypeError: if the mask is not boolean.
    """
    check_mask("mask", mask, mask.shape)
    return ~mask


def to_additive(mask: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Turn the mask into numbers to add to the scores: 0 = may attend, −inf = blocked.

    Raises:
        TypeError: if the mask is not boolean.
    """
    check_mask("mask", mask, mask.shape)
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, -torch.inf)
