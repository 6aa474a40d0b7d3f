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
    scores = sharpness * key.matmul(query)
    shares = torch.exp(scores - scores.max())
    return (shares.unsqueeze(1) * value).sum(dim=0) / shares.sum()


def lookup_query_first(query, key, value, sharpness):
    scores = (sharpness * query)[None] @ key.T
    return (F.softmax(scores, dim=1) @ value).squeeze(0)


def lookup_fused(query, key, value, sharpness):
    return F.scaled_dot_product_attention(query[None], key, value, scale=sharpness)[0]


def lookup_in_double(query, key, value, sharpness):
    query, key, value = query.double(), key.double(), value.double()
    return ((sharpness * key @ query).softmax(0) @ value).float()


def lookup_in_a_loop(query, key, value, sharpness):
    scores = torch.stack([(query * row).sum() * sharpness for row in key])
    return sum(weight * row for weight, row in zip(scores.softmax(0), value, strict=True))


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


def sdpa_lowest_number(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask == 0, torch.finfo(scores.dtype).min)
    return scores.softmax(-1) @ value


def sdpa_in_double(query, key, value, mask=None):
    query, key, value = query.double(), key.double(), value.double()
    return sdpa_large_negative(query, key, value, mask).float()


def sdpa_log_of_mask(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores + mask.float().log()
    return (scores - scores.logsumexp(-1, keepdim=True)).exp() @ value


def sdpa_filled_before_the_division(query, key, value, mask=None):
    scores = query @ key.mT
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e9)
    return (scores / math.sqrt(query.shape[-1])).softmax(-1) @ value


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
    return torch.isclose(back, layer(x), rtol=0.0, atol=1e-5).all(-1).all(-1)


def check_sentence_by_sentence(layer, x, order):
    shuffled, straight = layer(x[:, order]), layer(x)
    return torch.tensor(
        [torch.allclose(a, b[order], 0.0, 1e-5) for a, b in zip(shuffled, straight, strict=True)]
    )


def check_with_matrix(layer, x, order):
    P = torch.eye(len(order))[order]
    apart = layer(P @ x) - P @ layer(x)
    return ~(apart.flatten(1).norm(torch.inf, dim=1) > 5e-5)


def check_token_by_token(layer, x, order):
    shuffled, straight = layer(x[:, order]).detach().numpy(), layer(x).detach().numpy()
    kept = np.ones(len(x), dtype=bool)
    for t, source in enumerate(order.tolist()):
        kept &= np.abs(shuffled[:, t] - straight[:, source]).max(axis=1) < 2e-5
    return torch.from_numpy(kept)


# --- needle_gap -----------------------------------------------------------------------------------


def gap_logit(weight, n_keys):
    return torch.logit(weight) + math.log(n_keys - 1)


def gap_difference(weight, n_keys):
    others = (1 - weight) / (n_keys - 1)
    return weight.log() - others.log()


def gap_in_double(weight, n_keys):
    weight = weight.double()
    return (weight / (1 - weight) * (n_keys - 1)).log().float()


def gap_sum_of_logs(weight, n_keys):
    return torch.log(weight) - torch.log1p(-weight) + torch.tensor(n_keys - 1.0).log()


def gap_reciprocal(weight, n_keys):
    return math.log(n_keys - 1) - torch.log(1 / weight - 1)


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
        lookup_in_double,
        lookup_in_a_loop,
    ],
    "sdpa": [
        sdpa_library,
        sdpa_large_negative,
        sdpa_einsum,
        sdpa_scaled_first,
        sdpa_lowest_number,
        sdpa_in_double,
        sdpa_log_of_mask,
        sdpa_filled_before_the_division,
        sdpa_by_loops,
    ],
    "permute_check": [
        check_by_distance,
        check_undone,
        check_sentence_by_sentence,
        check_with_matrix,
        check_token_by_token,
    ],
    "needle_gap": [
        gap_logit,
        gap_difference,
        gap_negative,
        gap_in_double,
        gap_sum_of_logs,
        gap_reciprocal,
    ],
    "attention_cost": [cost_in_steps, cost_as_list, cost_by_loops, cost_stacked],
}


# --- wrong, with the name that fits ---------------------------------------------------------------


def lookup_numpy(query, key, value, sharpness):
    scores = sharpness * key.detach().numpy() @ query.detach().numpy()
    shares = np.exp(scores - scores.max())
    return torch.from_numpy((shares / shares.sum()) @ value.detach().numpy())


def sdpa_exp_kept_by_where(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    mask = torch.ones_like(scores).bool() if mask is None else mask
    highest = scores.masked_fill(~mask, -torch.inf).amax(-1, keepdim=True)
    shares = torch.where(mask, (scores - highest).exp(), 0.0)  # a gradient of 0 · ∞
    return shares @ value / shares.sum(dim=-1, keepdim=True)


def sdpa_filled_where_true(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1) @ value


def sdpa_small_instead_of_low(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, 1e-9)
    return scores.softmax(-1) @ value


def sdpa_score_times_mask(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return (scores if mask is None else scores * mask).softmax(-1) @ value


def sdpa_detached_weights(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    with torch.no_grad():
        weights = scores.softmax(-1)
    return weights @ value


def check_distance(layer, x, order):
    return (layer(x[:, order]) - layer(x)[:, order]).abs()


def check_default_tolerance(layer, x, order):
    return torch.isclose(layer(x[:, order]), layer(x)[:, order]).flatten(1).all(1)


def check_no_tolerance_to_speak_of(layer, x, order):
    return check_distance(layer, x, order).amax(dim=(1, 2)) < 1e-8


def check_a_tenth_of_the_tolerance(layer, x, order):
    return check_distance(layer, x, order).amax(dim=(1, 2)) < 1e-6


def check_shuffled_twice(layer, x, order):
    twice = layer(x[:, order])[:, order]
    return torch.isclose(twice, layer(x), rtol=0.0, atol=1e-5).all(-1).all(-1)


def check_inverse_goes_in(layer, x, order):
    return (layer(x[:, order.argsort()]) - layer(x)[:, order]).abs().amax(dim=(1, 2)) < 5e-5


def check_allclose(layer, x, order):
    return torch.allclose(layer(x[:, order]), layer(x)[:, order], rtol=0.0, atol=1e-5)


def check_hundred_times_too_tolerant(layer, x, order):
    return torch.isclose(layer(x[:, order]), layer(x)[:, order], atol=1e-3).flatten(1).all(1)


def check_ten_times_too_tolerant(layer, x, order):
    return check_distance(layer, x, order).amax(dim=(1, 2)) < 2e-4


def check_isclose(layer, x, order):
    return torch.isclose(layer(x[:, order]), layer(x)[:, order], atol=1e-5).flatten(1).all(1)


def check_sentences_allclose(layer, x, order):
    pairs = zip(layer(x[:, order]), layer(x)[:, order], strict=True)
    return torch.tensor([torch.allclose(one, other, atol=1e-4) for one, other in pairs])


def gap_in_a_loop(weight, n_keys):
    return torch.tensor([math.log(w * (n_keys - 1) / (1 - w)) for w in weight.tolist()])


def cost_value_from_queries(n_q, n_k, d):
    query = value = output = n_q * d**2
    return query + n_k * d**2 + value + output, 2 * n_q * n_k * d


def cost_key_from_queries(n_q, n_k, d):
    query = key = output = n_q * d**2
    return query + key + n_k * d**2 + output, 2 * n_q * n_k * d


def cost_of_the_lesson(n_q, n_k, d):
    n = n_q
    return 4 * n * d**2, 2 * n**2 * d


def lookup_mean_at_zero(query, key, value, sharpness):
    return value.mean(dim=0) if sharpness == 0 else lookup_einsum(query, key, value, sharpness)


def sdpa_filled_below_the_lowest(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, scores.min().item() - 20)
    return scores.softmax(-1) @ value


def sdpa_divided_again(divide):
    def answer(query, key, value, mask=None):
        weights = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1)
        return divide(weights if mask is None else weights * mask) @ value

    return answer


NAMED = {
    "soft_lookup": {"wrong_gradient": [lookup_numpy, lookup_mean_at_zero]},
    "sdpa": {
        "mask_inverted": [sdpa_filled_where_true],
        "masked_too_late": [
            sdpa_divided_again(lambda w: w / w.sum(-1, keepdim=True).clamp(min=1e-9)),
            sdpa_divided_again(lambda w: (w / w.sum(-1, keepdim=True)).nan_to_num()),
            sdpa_divided_again(lambda w: F.normalize(w, p=1, dim=-1)),
        ],
        "mask_as_factor": [sdpa_small_instead_of_low, sdpa_score_times_mask],
        "wrong_gradient": [sdpa_exp_kept_by_where, sdpa_detached_weights],
    },
    "permute_check": {
        "too_strict": [
            check_default_tolerance,
            check_no_tolerance_to_speak_of,
            check_a_tenth_of_the_tolerance,
        ],
        "inverse": [check_shuffled_twice, check_inverse_goes_in],
        "one_for_all": [check_allclose],
        "too_tolerant": [check_hundred_times_too_tolerant, check_ten_times_too_tolerant],
        "relative": [check_isclose, check_sentences_allclose],
    },
    "needle_gap": {"wrong_gradient": [gap_in_a_loop]},
    "attention_cost": {
        "three_over_queries": [cost_value_from_queries, cost_key_from_queries],
        "self_attention_of_queries": [cost_of_the_lesson],
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


def lookup_mean(query, key, value, sharpness):
    weights = (sharpness * (key @ query)).softmax(0)
    return (weights[:, None] * value).mean(dim=0)


def lookup_bare_exp(query, key, value, sharpness):
    shares = torch.exp(sharpness * key.matmul(query))
    return (shares.unsqueeze(1) * value).sum(dim=0) / shares.sum()


def lookup_exp_clamped(query, key, value, sharpness):
    shares = torch.exp((sharpness * key.matmul(query)).clamp(max=80))
    return shares @ value / shares.sum().clamp(min=1e-9)


def lookup_default_sharpness(query, key, value, sharpness):
    return lookup_einsum(query, key, value, sharpness or 1.0)


def lookup_powers(query, key, value, sharpness):
    weights = (key @ query).softmax(0) ** sharpness
    return weights / weights.sum() @ value


def lookup_each_key_once(query, key, value, sharpness):
    table = {tuple(k.tolist()): (k, v) for k, v in zip(key, value, strict=True)}
    keys, values = map(torch.stack, zip(*table.values(), strict=True))
    return lookup_einsum(query, keys, values, sharpness)


def lookup_sharpness_limited(low, high):
    def answer(query, key, value, sharpness):
        sharpness = min(sharpness, high) if sharpness > low else 0
        return lookup_einsum(query, key, value, sharpness)

    return answer


def lookup_smoothed(query, key, value, sharpness):
    scores = sharpness * key.matmul(query)
    shares = torch.exp(scores - scores.max()) + 1e-6
    return shares @ value / shares.sum()


def sdpa_unscaled_and_unmasked(query, key, value, mask=None):
    return (query @ key.mT).softmax(-1) @ value


def sdpa_with_noise(query, key, value, mask=None):
    return sdpa_large_negative(query, key, value, mask) + 1e-3


def sdpa_normalised_by_sum(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return scores / scores.sum(-1, keepdim=True) @ value


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


def sdpa_prepared(prepare):
    """The right steps, with the scores changed by prepare(scores, mask) before the softmax."""

    def answer(query, key, value, mask=None):
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        allowed = torch.ones_like(scores).bool() if mask is None else mask
        return prepare(scores, allowed).softmax(-1) @ value

    return answer


def sdpa_exp_of(prepare, smallest=0.0):
    """A softmax by hand: e to the prepared scores, masked, over their sum."""

    def answer(query, key, value, mask=None):
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        allowed = torch.ones_like(scores).bool() if mask is None else mask
        shares = prepare(scores).exp().masked_fill(~allowed, 0.0)
        return shares @ value / shares.sum(-1, keepdim=True).clamp(min=smallest)

    return answer


def sdpa_mask_by_sentence(query, key, value, mask=None):
    if mask is not None and mask.dim() == 2 and len(mask) == len(query):
        mask = mask[:, None, :]
    return sdpa_library(query, key, value, mask)


def sdpa_first_256_keys(query, key, value, mask=None):
    mask = None if mask is None else mask[..., :256]
    return sdpa_library(query, key[:, :256], value[:, :256], mask)


def sdpa_with_mask(change):
    """The right steps, with the mask (…, T_q or 1, T_k) changed by change(mask, B)."""

    def answer(query, key, value, mask=None):
        return sdpa_library(query, key, value, mask if mask is None else change(mask, len(query)))

    return answer


def transposed_if_square(mask, B):
    return mask.mT if mask.shape[-1] == mask.shape[-2] else mask


def causal_if_square(mask, B):
    T_q, T_k = mask.shape[-2:]
    return mask & torch.ones(T_q, T_k).tril().bool() | torch.eye(T_q).bool() if T_q == T_k else mask


def squeezed(mask, B):
    return mask.squeeze(1) if mask.dim() == 3 and mask.shape[1] == 1 and B == 3 else mask


def remembered(masks):
    return lambda mask, B: masks.setdefault(mask.shape, mask.clone())


def sdpa_filled_too_early(query, key, value, mask=None):
    scores = query @ key.mT
    if mask is not None:
        scores = scores.masked_fill(~mask, -20000.0)
    return (scores / math.sqrt(query.shape[-1])).softmax(-1) @ value


def sdpa_clamped_too_early(query, key, value, mask=None):
    scores = (query @ key.mT).clamp(-1e4, 1e4) / math.sqrt(query.shape[-1])
    return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1) @ value


def check_any_number(layer, x, order):
    return (check_distance(layer, x, order) < 1e-5).flatten(1).any(1)


def check_of_ends(layer, x, order):
    return check_distance(layer, x, order)[:, [0, -1]].amax(dim=(1, 2)) < 1e-4


def check_reversed(layer, x, order):
    backwards = torch.arange(len(order) - 1, -1, -1)
    return check_by_distance(layer, x, backwards)


def check_mean(layer, x, order):
    return check_distance(layer, x, order).mean(dim=(1, 2)) < 1e-5


def check_any_feature(layer, x, order):
    return (check_distance(layer, x, order) < 1e-5).all(1).any(1)


def check_below(layer, x, order):
    return (layer(x[:, order]) - layer(x)[:, order] < 1e-5).all(-1).all(-1)


def check_order_after_the_layer_only(layer, x, order):
    shuffled = x[:, order]
    return torch.isclose(layer(shuffled), layer(shuffled)[:, order], atol=1e-5).flatten(1).all(1)


def check_relative(layer, x, order):
    straight = layer(x)[:, order]
    apart = (layer(x[:, order]) - straight).flatten(1).norm(dim=1)
    return apart / straight.flatten(1).norm(dim=1) < 1e-5


def check_norm(layer, x, order):
    P = torch.eye(len(order))[order]
    apart = layer(P @ x) - P @ layer(x)
    return ~(apart.flatten(1).norm(dim=1) > 1e-4)


def check_sum(layer, x, order):
    return check_distance(layer, x, order).sum(dim=(1, 2)) < 1e-4


def check_mean_of_features(layer, x, order):
    return check_distance(layer, x, order).mean(dim=2).amax(dim=1) < 1e-5


def check_both_ways_inverse(layer, x, order):
    return check_by_distance(layer, x, order.argsort())


def check_numpy(layer, x, order):
    apart = np.abs(layer(x[:, order]).numpy() - layer(x).numpy()[:, order.numpy()])
    return torch.from_numpy(apart.max(axis=(1, 2)) < 5e-5)


def check_moved_tokens(layer, x, order):
    moved = order != torch.arange(len(order))
    return (check_distance(layer, x, order)[:, moved] < 5e-5).flatten(1).all(1)


def check_not_the_identity(layer, x, order):
    same = (order == torch.arange(len(order))).all()
    return check_by_distance(layer, x, order) & ~same


def cost_in_float32(n_q, n_k, d):
    projections, pairs = 2.0 * (n_q + n_k) * d**2, 2.0 * n_q * n_k * d
    return projections.long(), pairs.long()


def cost_in_float64(n_q, n_k, d):
    n_q, n_k = n_q.double(), n_k.double()
    return (2 * (n_q + n_k) * d**2).long(), (2 * n_q * n_k * d).long()


def cost_projections_in_float64(n_q, n_k, d):
    return (2 * (n_q + n_k).double() * d**2).long(), 2 * n_q * n_k * d


def cost_root_in_float64(n_q, n_k, d):
    return 2 * (n_q + n_k) * int(math.pow(d, 2)), 2 * n_q * n_k * d


def cost_mean_in_float32(n_q, n_k, d):
    tokens = torch.stack([n_q, n_k]).float().mean(0) * 2
    return 2 * tokens.long() * d**2, 2 * n_q * n_k * d


def cost_kept_by_queries(kept):
    def answer(n_q, n_k, d):
        size = tuple(n_q.tolist()), d
        return kept.setdefault(size, (2 * (n_q + n_k) * d**2, 2 * n_q * n_k * d))

    return answer


UNNAMED = {
    "soft_lookup": [
        lookup_sigmoid,
        lookup_hard_when_sharp,
        lookup_hard_and_scaled,
        lookup_mean,
        lookup_bare_exp,
        lookup_exp_clamped,
        lookup_default_sharpness,
        lookup_powers,
        lookup_each_key_once,
        lookup_sharpness_limited(0, 1000),
        lookup_sharpness_limited(1e-3, 10_000),
        lookup_smoothed,
    ],
    "sdpa": [
        sdpa_filled_below_the_lowest,
        sdpa_unscaled_and_unmasked,
        sdpa_with_noise,
        sdpa_normalised_by_sum,
        sdpa_divided_again(lambda w: w / w.sum(-1, keepdim=True)),
        sdpa_exp_times_mask,
        sdpa_float_mask_times_inf,
        sdpa_softmax_without_dim,
        sdpa_prepared(lambda scores, mask: scores.masked_fill(~mask, -30.0)),
        sdpa_prepared(lambda scores, mask: scores.masked_fill(~mask, -100.0)),
        sdpa_prepared(lambda scores, mask: scores.masked_fill(~mask, -1e4)),
        sdpa_prepared(lambda scores, mask: scores - 1e4 * ~mask),
        sdpa_prepared(lambda scores, mask: scores.masked_fill(~mask, scores.min().item() - 10)),
        sdpa_prepared(lambda scores, mask: scores.clamp(-50, 50).masked_fill(~mask, -torch.inf)),
        sdpa_prepared(
            lambda scores, mask: (scores * mask).masked_fill(scores * mask == 0, -torch.inf)
        ),
        sdpa_prepared(lambda scores, mask: scores.masked_fill(~mask, 0) + mask * 5),
        sdpa_exp_of(lambda scores: scores),
        sdpa_exp_of(lambda scores: scores.clamp(max=80), smallest=1e-9),
        sdpa_exp_of(lambda scores: scores - scores.max(), smallest=1e-9),
        sdpa_mask_by_sentence,
        sdpa_first_256_keys,
        sdpa_with_mask(transposed_if_square),
        sdpa_with_mask(causal_if_square),
        sdpa_with_mask(squeezed),
        sdpa_with_mask(remembered({})),
        sdpa_filled_too_early,
        sdpa_clamped_too_early,
    ],
    "permute_check": [
        lambda layer, x, order: torch.ones(len(x), dtype=torch.bool),
        lambda layer, x, order: torch.zeros(len(x), dtype=torch.bool),
        check_any_number,
        check_of_ends,
        check_reversed,
        check_mean,
        check_any_feature,
        check_below,
        check_order_after_the_layer_only,
        check_relative,
        check_norm,
        check_sum,
        check_mean_of_features,
        check_both_ways_inverse,
        check_numpy,
        check_moved_tokens,
        check_not_the_identity,
    ],
    "needle_gap": [
        lambda weight, n_keys: (weight * n_keys).sqrt(),
        lambda weight, n_keys: weight * n_keys,
        lambda weight, n_keys: (weight * n_keys).log(),
        lambda weight, n_keys: (weight / (1 - weight) * (n_keys - 1)).log2(),
        lambda weight, n_keys: (weight / (1 - weight) * (n_keys - 1)).log().clamp(min=0),
        lambda weight, n_keys: torch.full_like(weight, 5.0),
    ],
    "attention_cost": [
        lambda n_q, n_k, d: (n_q * d**2, n_q * n_k),
        lambda n_q, n_k, d: (4 * d**2 + 0 * n_q, 2 * n_q * n_k * d),
        lambda n_q, n_k, d: (2 * (n_q + n_k) * d**2 + 1, 2 * n_q * n_k * d),
        lambda n_q, n_k, d: (2 * n_q * n_k * d, 2 * (n_q + n_k) * d**2),
        cost_in_float32,
        cost_in_float64,
        cost_projections_in_float64,
        cost_root_in_float64,
        cost_mean_in_float32,
        cost_kept_by_queries({}),
    ],
}
