"""Where a word stands: sinusoids, learned positions, rotary positions, linear biases.

Vaswani et al. 2017 (arXiv 1706.03762), section 3.5; Su et al. 2021 (RoPE, arXiv 2104.09864);
Press et al. 2021 (ALiBi, arXiv 2108.12409).
"""

import torch
from torch import nn

from lessons_lib.kit.arguments import (
    check_at_most,
    check_divisible,
    check_not_negative,
    check_positive,
    check_vectors,
)


def angles(T: int, d_model: int, device=None) -> torch.Tensor:
    """How far the hand of each clock has turned at each position: (T, d_model/2), in radians.

    Clock i turns by 10000^(−2i/d_model) radians a position: the first by 1, the last hardly at all
    (Vaswani et al. 2017, section 3.5). They are computed on `device`; without one, on the CPU.

    Raises:
        ValueError: if T is no whole number of at least 1, or d_model no even one.
    """
    check_positive("T", T)
    check_divisible("d_model", d_model, by=2)
    speed = 10000.0 ** (-torch.arange(0, d_model, 2, device=device) / d_model)  # (d_model/2,)
    return torch.arange(T, device=device)[:, None] * speed  # (T, d_model/2)


def positional_encoding(T: int, d_model: int) -> torch.Tensor:
    """Write each position as sines and cosines, to be added to the words: (T, d_model).

    Column 2i holds the sine, column 2i + 1 the cosine of clock i (Vaswani et al. 2017, section
    3.5). The result is float32 on the CPU, so that every position is exact; for words `x` of
    another type or on another device, add `positional_encoding(T, d_model).to(x)`.

    Raises:
        ValueError: if T is no whole number of at least 1, or d_model no even one.
    """
    turned = angles(T, d_model)  # (T, d_model/2)
    return torch.stack([turned.sin(), turned.cos()], dim=-1).flatten(1)  # (T, d_model)


class LearnedPositions(nn.Module):
    """A table with one trained vector for each position (Gehring et al. 2017, arXiv 1705.03122).

    Raises:
        ValueError: if a size is below 1, or a sentence is longer than the table.
    """

    def __init__(self, max_len: int, d_model: int):
        super().__init__()
        check_positive("max_len", max_len)
        check_positive("d_model", d_model)
        self.table = nn.Embedding(max_len, d_model)

    def forward(self, T: int):
        """The vectors of the first T positions, (T, d_model)."""
        check_positive("T", T)
        check_at_most("T", T, self.table.num_embeddings)
        return self.table.weight[:T]  # (T, d_model)


def rotate(x: torch.Tensor, first: int = 0) -> torch.Tensor:
    """Turn each pair of columns of a query or key by the angle of its position (RoPE).

    x (…, T, d), which stands at the positions first, first + 1, … → the same shape, type and
    device; columns 2i and 2i + 1 turn like clock i. The dot product of a rotated query and a
    rotated key depends on how far apart they stand, and on nothing else about their positions (Su
    et al. 2021, section 3.2, equations 14 to 16). The angles are computed in float32, whatever the
    type of x.

    Raises:
        TypeError: if x is not a tensor of floating-point numbers.
        ValueError: if x has fewer than two axes, T is 0, d is odd or `first` is below 0.
    """
    check_vectors("x", x)
    check_not_negative("first", first)
    check_divisible("the last axis of x", x.shape[-1], by=2)
    T, d = x.shape[-2:]
    turned = angles(first + T, d, x.device)[first:]  # (T, d/2)
    cos, sin = turned.cos().to(x), turned.sin().to(x)  # (T, d/2) each
    even, odd = x[..., 0::2], x[..., 1::2]  # (…, T, d/2) each
    pair = [even * cos - odd * sin, even * sin + odd * cos]  # (…, T, d/2) each
    return torch.stack(pair, dim=-1).flatten(-2)  # (…, T, d)


def alibi_bias(T: int, n_heads: int) -> torch.Tensor:
    """What to add to the scores: the further back a key stands, the lower (ALiBi), (H, T, T).

    Head h (from 0) subtracts 2^(−8(h+1)/H) for each position between query and key (Press et al.
    2021, section 3). Meant for causal attention: keys ahead of the query get 0, and the mask blocks
    them. The result is float32 on the CPU; add `alibi_bias(T, n_heads).to(scores)`.

    Raises:
        ValueError: if T or n_heads is no whole number of at least 1.
    """
    check_positive("T", T)
    check_positive("n_heads", n_heads)
    position = torch.arange(T)
    back = (position[:, None] - position).clamp(min=0)  # (T, T): how far back the key stands
    slope = 2.0 ** (-8 * torch.arange(1, n_heads + 1) / n_heads)  # (H,): one for each head
    return -slope[:, None, None] * back  # (H, T, T)
