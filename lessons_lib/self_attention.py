"""Scaled dot-product attention (Vaswani et al. 2017, arXiv 1706.03762, section 3.2.1).

The seams for what comes later: `mask`; `scores`, which a subclass may override; attention that is
handed into a layer (`project` once, then `attend(query, projected, mask)`); separate inputs for the
query and for key and value.
"""

from math import sqrt

import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib.kit.arguments import check_attention, check_shape
from lessons_lib.masking import masked_softmax


def dot_product_scores(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """How well each key answers each query: (…, T_q, d_k), (…, T_k, d_k) → (…, T_q, T_k).

    Divided by √d_k, so that their spread does not grow with d_k (equation 1).
    """
    return query @ key.transpose(-2, -1) / sqrt(query.shape[-1])  # (…, T_q, T_k)


def sdpa(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Scaled dot-product attention, every step in sight (equation 1).

    query (…, T_q, d_k), key (…, T_k, d_k), value (…, T_k, d_v) → context (…, T_q, d_v). Equal to
    `torch.nn.functional.scaled_dot_product_attention`, which is faster; a query without any allowed
    key gets zeros.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if the shapes don't fit together.
    """
    check_attention(query, key, value)
    scores = dot_product_scores(query, key)  # (…, T_q, T_k)
    weights = masked_softmax(scores, mask)  # (…, T_q, T_k), every row sums to 1
    return weights @ value  # (…, T_q, d_v)


class SelfAttention(nn.Module):
    """Attention with learned projections, one head (Vaswani et al. 2017, section 3.2).

    Use: `projected = attend.project(x)`, then `attend(x, projected, mask)`. For self-attention both
    get the same x; with another x for the query it attends from one sequence to another.
    """

    def __init__(self, d_model: int, d_k: int, d_v: int):
        super().__init__()
        self.w_q = nn.Linear(d_model, d_k, bias=False)
        self.w_k = nn.Linear(d_model, d_k, bias=False)
        self.w_v = nn.Linear(d_model, d_v, bias=False)

    def project(self, key_value):
        """What is attended to, computed once: (B, T_k, d_model) → key, value."""
        check_shape("key_value", key_value, ("B", "T_k", self.w_k.in_features))
        return self.w_k(key_value), self.w_v(key_value)  # (B, T_k, d_k), (B, T_k, d_v)

    def scores(self, query, key):
        """Projected query (B, T_q, d_k), key (B, T_k, d_k) → (B, T_q, T_k). Override for others."""
        return dot_product_scores(query, key)

    def weights(self, query, projected, mask=None):
        """Who looks at whom, for pictures: query (B, T_q, d_model) → (B, T_q, T_k)."""
        key, _ = projected
        return masked_softmax(self.scores(self.w_q(query), key), mask)  # (B, T_q, T_k)

    def forward(self, query, projected, mask=None):
        """query (B, T_q, d_model) → context (B, T_q, d_v). All inputs must be finite."""
        key, value = projected
        if type(self).scores is not SelfAttention.scores:
            return self.weights(query, projected, mask) @ value  # (B, T_q, d_v)
        return F.scaled_dot_product_attention(self.w_q(query), key, value, attn_mask=mask)
