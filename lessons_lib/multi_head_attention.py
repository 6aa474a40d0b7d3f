"""Multi-head attention (Vaswani et al. 2017, arXiv 1706.03762, section 3.2.2)."""

import torch
from torch import nn

from lessons_lib.kit.arguments import (
    check_divisible,
    check_layer_mask,
    check_positive,
    check_projected,
    check_shape,
)
from lessons_lib.masking import masked_softmax
from lessons_lib.self_attention import dot_product_scores, fused_attention


def split_heads(x: torch.Tensor, n_heads: int) -> torch.Tensor:
    """Cut every vector into `n_heads` pieces of equal width: (B, T, D) → (B, H, T, D/H).

    Raises:
        ValueError: if D is not divisible by `n_heads`, or x has not three axes, none of them empty.
    """
    check_shape("x", x, ("B", "T", "D"))
    check_positive("n_heads", n_heads)
    check_divisible("the last axis of x", x.shape[-1], by=n_heads)
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)  # (B, T, H, D/H) → (B, H, T, D/H)


def merge_heads(x: torch.Tensor) -> torch.Tensor:
    """Put the pieces side by side again: (B, H, T, d) → (B, T, H·d). Undoes `split_heads`.

    Raises:
        ValueError: if x has not four axes, none of them empty.
    """
    check_shape("x", x, ("B", "H", "T", "d"))
    return x.transpose(1, 2).flatten(2)  # (B, T, H, d) → (B, T, H·d)


def for_all_heads(mask: torch.Tensor | None, query, key) -> torch.Tensor | None:
    """Insert the axis of the heads: mask (B, T_q or 1, T_k) → (B, 1, T_q or 1, T_k).

    A mask (T_q, T_k), and none at all, fit the scores (B, H, T_q, T_k) as they are. `query` and
    `key` (B, H, T, d_k) say what the mask must fit.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if it is none of (T_q, T_k), (B, 1, T_k) and (B, T_q, T_k).
    """
    check_layer_mask("mask", mask, query, key)
    if mask is None or mask.dim() == 2:
        return mask
    return mask[:, None]  # (B, 1, T_q or 1, T_k): the same for all heads


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each on its own slice of the width (section 3.2.2).

    Use: `projected = attend.project(x)`, then `attend(x, projected, mask)`. Another x for the query
    attends from one sequence to another. Equal to `torch.nn.MultiheadAttention` with the same
    weights; as there, `bias=False` leaves out the biases, which the paper does not have.

    A mask is boolean, True = may attend: (T_q, T_k), (B, 1, T_k) or (B, T_q, T_k), the same for all
    heads. A query without any allowed key gets a context of zeros from every head, and so the bias
    of `w_o` as its output, with finite gradients. All inputs must be finite, the masked ones too: a
    weight of 0 times NaN is NaN. A subclass may keep something else than keys and values
    (`project`), make of it what the heads compare (`per_head`), or compare otherwise (`scores`; the
    attention then goes step by step, and otherwise runs torch's fast form, which never stores the
    weights).

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if d_model is not divisible by n_heads, or a shape does not fit.
    """

    def __init__(self, d_model: int, n_heads: int, bias: bool = True):
        super().__init__()
        check_positive("n_heads", n_heads)
        check_divisible("d_model", d_model, by=n_heads)
        self.n_heads = n_heads
        self.w_q = nn.Linear(d_model, d_model, bias)
        self.w_k = nn.Linear(d_model, d_model, bias)
        self.w_v = nn.Linear(d_model, d_model, bias)
        self.w_o = nn.Linear(d_model, d_model, bias)

    def project(self, key_value):
        """What is attended to, computed once: (B, T_k, d_model) → key, value (B, H, T_k, d_k)."""
        check_shape("key_value", key_value, ("B", "T_k", self.w_k.in_features))
        key, value = self.w_k(key_value), self.w_v(key_value)  # (B, T_k, d_model) each
        return split_heads(key, self.n_heads), split_heads(value, self.n_heads)

    def per_head(self, query, projected):
        """What the heads compare: query (B, T_q, d_model) → query, key, value (B, H, T, d_k).

        Where T_k is larger than T_q, the queries stand at the last T_q of the T_k positions.
        """
        check_projected(query, self.w_q.in_features, projected, n_heads=self.n_heads)
        return split_heads(self.w_q(query), self.n_heads), *projected

    def scores(self, query, key):
        """Query (B, H, T_q, d_k), key (B, H, T_k, d_k) → (B, H, T_q, T_k)."""
        return dot_product_scores(query, key)  # (B, H, T_q, T_k)

    def weights(self, query, projected, mask=None):
        """Who attends to whom, head by head: query (B, T_q, d_model) → (B, H, T_q, T_k)."""
        query, key, _ = self.per_head(query, projected)  # (B, H, T, d_k) each
        return masked_softmax(self.scores(query, key), for_all_heads(mask, query, key))

    def forward(self, query, projected, mask=None):
        """query (B, T_q, d_model) → (B, T_q, d_model)."""
        query, key, value = self.per_head(query, projected)  # (B, H, T, d_k) each
        mask = for_all_heads(mask, query, key)
        if type(self).scores is MultiHeadAttention.scores:
            context = fused_attention(query, key, value, mask)  # (B, H, T_q, d_k)
        else:  # a subclass has scores of its own
            context = masked_softmax(self.scores(query, key), mask) @ value  # (B, H, T_q, d_k)
        return self.w_o(merge_heads(context))  # (B, T_q, d_model)
