"""Scaled dot-product attention (Vaswani et al. 2017, arXiv 1706.03762, section 3.2.1).

The seams for what comes later: `mask`; `scores`, which a subclass may override; attention that is
handed into a layer (`project` once, then `attend(query, projected, mask)`); separate inputs for the
query and for key and value.
"""

from math import sqrt

import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib.kit.arguments import check_projected, check_shape
from lessons_lib.masking import masked_softmax


def dot_product_scores(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """How well each key answers each query: (…, T_q, d_k), (…, T_k, d_k) → (…, T_q, T_k).

    Divided by √d_k, so that their spread does not grow with d_k (section 3.2.1, equation 1).
    """
    return query @ key.transpose(-2, -1) / sqrt(query.shape[-1])  # (…, T_q, T_k)


def fused_attention(query, key, value, mask=None):
    """softmax(Q·Kᵀ/√d_k)·V (equation 1) in one call; where it can, torch stores no weights.

    query (B, H, T_q, d_k), key (B, H, T_k, d_k), value (B, H, T_k, d_v) → (B, H, T_q, d_v). The
    mask, (T_q, T_k), (B, 1, T_k) or (B, T_q, T_k), is the same for all heads.
    """
    if mask is not None and mask.is_cpu and mask.all():  # on a GPU, reading it would stall
        mask = None  # it blocks nothing: torch need not read it
    elif mask is not None and mask.dim() == 3:
        mask = mask[:, None]  # (B, 1, T_q or 1, T_k)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)  # (B, H, T_q, d_v)


class SelfAttention(nn.Module):
    """Scaled dot-product attention with learned projections, one head (section 3.2.1).

    Use: `projected = attend.project(x)`, then `attend(x, projected, mask)`. For self-attention both
    get the same x; with another x for the query it attends from one sequence to another.

    A mask is boolean, True = may attend: (T_q, T_k), (B, 1, T_k) or (B, T_q, T_k). A query without
    any allowed key gets a context of zeros, with finite gradients. All inputs must be finite, the
    masked ones too: a weight of 0 times NaN is NaN.

    torch's fast form, which never stores the weights, runs on a CPU where d_k = d_v.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if a shape does not fit; the message names the argument.
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
        """Projected query (B, T_q, d_k), key (B, T_k, d_k) → (B, T_q, T_k)."""
        return dot_product_scores(query, key)  # (B, T_q, T_k)

    def weights(self, query, projected, mask=None):
        """Who attends to whom, step by step: query (B, T_q, d_model) → (B, T_q, T_k)."""
        check_projected(query, self.w_q.in_features, projected, mask)
        key, _ = projected
        return masked_softmax(self.scores(self.w_q(query), key), mask)  # (B, T_q, T_k)

    def forward(self, query, projected, mask=None):
        """query (B, T_q, d_model) → context (B, T_q, d_v)."""
        check_projected(query, self.w_q.in_features, projected, mask)
        key, value = projected
        if type(self).scores is not SelfAttention.scores:  # a subclass has scores of its own
            return self.weights(query, projected, mask) @ value  # (B, T_q, d_v)
        q, k, v = (x[:, None] for x in (self.w_q(query), key, value))  # one head: (B, 1, T, d)
        return fused_attention(q, k, v, mask)[:, 0]  # (B, T_q, d_v)
