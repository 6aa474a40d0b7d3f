"""Answers to the exercises of lesson 3, as learners might write them.

RIGHT: the same function in other styles; all must pass. NAMED: wrong answers as learners write
them, with the name that each must get. UNNAMED: wrong answers that make no known mistake, or two at
once; they must fail, and none may be given a name.
"""

import math

import numpy as np
import torch
from torch.nn import functional as F

from lessons_lib.masking import masked_softmax
from lessons_lib.self_attention import dot_product_scores

# --- soft_lookup ----------------------------------------------------------------------------------


def lookup_einsum(query, key, value, sharpness):
    weights = torch.einsum("d,nd->n", query, key).mul(sharpness).softmax(-1)
    return torch.einsum("n,nv->v", weights, value)


def lookup_by_hand(query, key, value, sharpness):
    shares = torch.exp(sharpness * key.matmul(query))
    return (shares.unsqueeze(1) * value).sum(dim=0) / shares.sum()


def lookup_query_first(query, key, value, sharpness):
    scores = (sharpness * query)[None] @ key.T
    return (F.softmax(scores, dim=1) @ value).squeeze(0)


def lookup_fused(query, key, value, sharpness):
    return F.scaled_dot_product_attention(query[None], key, value, scale=sharpness)[0]


def lookup_numpy(query, key, value, sharpness):
    scores = sharpness * key.numpy() @ query.numpy()
    shares = np.exp(scores - scores.max())
    return torch.from_numpy((shares / shares.sum()) @ value.numpy())


# --- sdpa -----------------------------------------------------------------------------------------


def sdpa_library(query, key, value, mask=None):
    return masked_softmax(dot_product_scores(query, key), mask) @ value


def sdpa_large_negative(query, key, value, mask=None):
    scores = torch.bmm(query, key.transpose(1, 2)) / query.size(-1) ** 0.5
    if mask is not None:
        scores = torch.where(mask, scores, -1e9)
    return torch.bmm(F.softmax(scores, dim=2), value)


def sdpa_einsum(query, key, value, mask=None):
    scores = torch.einsum("bqd,bkd->bqk", query, key) * query.shape[2] ** -0.5
    if mask is not None:
        scores = scores + torch.zeros(mask.shape).masked_fill(mask.logical_not(), float("-inf"))
    weights = torch.softmax(scores, -1)
    return torch.einsum("bqk,bkv->bqv", weights, value)


def sdpa_scaled_first(query, key, value, mask=None):
    root = query.shape[-1] ** 0.25
    scores = (query / root) @ (key / root).permute(0, 2, 1)
    if mask is not None:
        scores = scores - 1e9 * (~mask)
    shares = (scores - scores.amax(-1, keepdim=True)).exp()
    return shares @ value / shares.sum(dim=-1, keepdim=True)


def sdpa_by_loops(query, key, value, mask=None):
    B, T_q, d_k = query.shape
    T_k = key.shape[1]
    allowed = (
        torch.ones(B, T_q, T_k, dtype=torch.bool) if mask is None else mask.expand(B, T_q, T_k)
    )
    rows = []
    for b in range(B):
        for t in range(T_q):
            keep = allowed[b, t]
            scores = torch.stack([query[b, t] @ k for k in key[b, keep]]) / math.sqrt(d_k)
            rows.append(scores.softmax(0) @ value[b, keep])
    return torch.stack(rows).view(B, T_q, -1)


# --- permute_check --------------------------------------------------------------------------------


def check_by_distance(layer, x, order):
    apart = (layer(x[:, order]) - layer(x)[:, order]).abs()
    return apart.amax(dim=(1, 2)) < 1e-4


def check_undone(layer, x, order):
    back = layer(x.index_select(1, order))[:, torch.argsort(order)]
    return torch.isclose(back, layer(x), atol=1e-5).all(-1).all(-1)


def check_sentence_by_sentence(layer, x, order):
    shuffled, straight = layer(x[:, order]), layer(x)
    return torch.tensor(
        [torch.allclose(a, b[order], atol=1e-5) for a, b in zip(shuffled, straight, strict=True)]
    )


def check_with_matrix(layer, x, order):
    P = torch.eye(len(order))[order]
    apart = layer(P @ x) - P @ layer(x)
    return ~(apart.flatten(1).norm(dim=1) > 1e-4)


def check_rounded_up(layer, x, order):
    a, b = layer(x[:, order]), layer(x)[:, order]
    return ((a - b).abs() <= 1e-5 + 1e-4 * b.abs()).flatten(1).min(dim=1).values


# --- needle_gap -----------------------------------------------------------------------------------


def gap_logit(weight, n_keys):
    return torch.logit(weight) + math.log(n_keys - 1)


def gap_difference(weight, n_keys):
    others = (1 - weight) / (n_keys - 1)
    return weight.log() - others.log()


def gap_loop(weight, n_keys):
    return torch.tensor([math.log(w * (n_keys - 1) / (1 - w)) for w in weight.tolist()])


def gap_negative(weight, n_keys):
    return -torch.log((1 / weight - 1) / (n_keys - 1))


# --- attention_cost -------------------------------------------------------------------------------


def cost_in_steps(n_q, n_k, d):
    query = output = n_q * d * d
    key = value = n_k * d * d
    scores = n_q * d * n_k
    mix = n_q * n_k * d
    return query + key + value + output, scores + mix


def cost_as_list(n_q, n_k, d):
    return [(n_q + n_k) * (2 * d**2), n_q.mul(n_k).mul(2 * d)]


def cost_by_loops(n_q, n_k, d):
    rows = [
        (2 * d * d * (a + b), 2 * a * b * d)
        for a, b in zip(n_q.tolist(), n_k.tolist(), strict=True)
    ]
    return tuple(torch.tensor(column) for column in zip(*rows, strict=True))


def cost_stacked(n_q, n_k, d):
    both = torch.stack([n_q, n_k])
    return 2 * d * d * both.sum(0), 2 * d * both.prod(0)


RIGHT = {
    "soft_lookup": [
        lookup_einsum,
        lookup_by_hand,
        lookup_query_first,
        lookup_fused,
        lookup_numpy,
    ],
    "sdpa": [sdpa_library, sdpa_large_negative, sdpa_einsum, sdpa_scaled_first, sdpa_by_loops],
    "permute_check": [
        check_by_distance,
        check_undone,
        check_sentence_by_sentence,
        check_with_matrix,
        check_rounded_up,
    ],
    "needle_gap": [gap_logit, gap_difference, gap_loop, gap_negative],
    "attention_cost": [cost_in_steps, cost_as_list, cost_by_loops, cost_stacked],
}


# --- wrong, with the name that fits ---------------------------------------------------------------


def sdpa_exp_times_mask(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    shares = (scores - scores.amax(-1, keepdim=True)).exp()
    if mask is not None:
        shares = shares * mask
    return shares @ value / shares.sum(dim=-1, keepdim=True)


def sdpa_float_mask_times_inf(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores + (1 - mask.float()) * float("-inf")
    return scores.softmax(-1) @ value


def sdpa_softmax_without_dim(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e9)
    return F.softmax(scores) @ value


def sdpa_small_instead_of_low(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, 1e-9)
    return scores.softmax(-1) @ value


def check_default_tolerance(layer, x, order):
    return torch.isclose(layer(x[:, order]), layer(x)[:, order]).flatten(1).all(1)


def check_no_tolerance_to_speak_of(layer, x, order):
    return check_distance(layer, x, order).amax(dim=(1, 2)) < 1e-8


def check_shuffled_twice(layer, x, order):
    return torch.isclose(layer(x[:, order])[:, order], layer(x), atol=1e-5).all(-1).all(-1)


def check_distance(layer, x, order):
    return (layer(x[:, order]) - layer(x)[:, order]).abs()


def check_reversed(layer, x, order):
    backwards = torch.arange(len(order) - 1, -1, -1)
    return torch.isclose(layer(x[:, backwards]), layer(x)[:, backwards], atol=1e-5).all(-1).all(-1)


def check_mean(layer, x, order):
    return check_distance(layer, x, order).mean(dim=(1, 2)) < 0.1


def check_any_feature(layer, x, order):
    return (check_distance(layer, x, order) < 1e-5).all(1).any(1)


def check_allclose(layer, x, order):
    return torch.allclose(layer(x[:, order]), layer(x)[:, order], atol=1e-5)


def check_below(layer, x, order):
    return (layer(x[:, order]) - layer(x)[:, order] < 1e-5).all(-1).all(-1)


def lookup_mean(query, key, value, sharpness):
    weights = (sharpness * (key @ query)).softmax(0)
    return (weights[:, None] * value).mean(dim=0)


NAMED = {
    "soft_lookup": {"averaged_again": [lookup_mean]},
    "sdpa": {
        "masked_too_late": [sdpa_exp_times_mask],
        "inf_times_zero": [sdpa_float_mask_times_inf],
        "softmax_over_batch": [sdpa_softmax_without_dim],
        "mask_as_factor": [sdpa_small_instead_of_low],
    },
    "permute_check": {
        "order_ignored": [check_reversed],
        "too_strict": [check_default_tolerance, check_no_tolerance_to_speak_of],
        "inverse": [check_shuffled_twice],
        "too_tolerant": [check_mean],
        "one_feature": [check_any_feature],
        "one_for_all": [check_allclose],
        "no_abs": [check_below],
    },
}


# --- wrong, and no known mistake ------------------------------------------------------------------


def lookup_sigmoid(query, key, value, sharpness):
    weights = torch.sigmoid(sharpness * (key @ query))
    return weights / weights.sum() @ value


def lookup_hard_when_sharp(query, key, value, sharpness):
    if sharpness > 10:
        return value[(key @ query).argmax()]
    return lookup_einsum(query, key, value, sharpness)


def lookup_hard_and_scaled(query, key, value, sharpness):
    return sharpness * value[(key @ query).argmax()]


def sdpa_unscaled_and_unmasked(query, key, value, mask=None):
    return (query @ key.mT).softmax(-1) @ value


def sdpa_with_noise(query, key, value, mask=None):
    return sdpa_large_negative(query, key, value, mask) + 1e-3


def sdpa_normalised_by_sum(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return scores / scores.sum(-1, keepdim=True) @ value


def check_any_number(layer, x, order):
    return (check_distance(layer, x, order) < 1e-5).flatten(1).any(1)


def check_of_ends(layer, x, order):
    apart = (layer(x[:, order]) - layer(x)[:, order]).abs()
    return apart[:, [0, -1]].amax(dim=(1, 2)) < 1e-4


UNNAMED = {
    "soft_lookup": [lookup_sigmoid, lookup_hard_when_sharp, lookup_hard_and_scaled],
    "sdpa": [sdpa_unscaled_and_unmasked, sdpa_with_noise, sdpa_normalised_by_sum],
    "permute_check": [
        lambda layer, x, order: torch.ones(len(x), dtype=torch.bool),
        lambda layer, x, order: torch.zeros(len(x), dtype=torch.bool),
        check_any_number,
        check_of_ends,
    ],
    "needle_gap": [
        lambda weight, n_keys: (weight * n_keys).sqrt(),
        lambda weight, n_keys: weight * n_keys,
        lambda weight, n_keys: torch.full_like(weight, 5.0),
    ],
    "attention_cost": [
        lambda n_q, n_k, d: (n_q * d**2, n_q * n_k),
        lambda n_q, n_k, d: (4 * d**2 + 0 * n_q, 2 * n_q * n_k * d),
        lambda n_q, n_k, d: (2 * (n_q + n_k) * d**2 + 1, 2 * n_q * n_k * d),
    ],
}
