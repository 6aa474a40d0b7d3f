"""Answers to the exercises of lesson 4.

RIGHT: the same function in other styles; all must pass. UNNAMED: wrong answers that make no known
mistake, or two at once; they must fail, and none may be given a name.
"""

import numpy as np
import torch

from lessons_lib import masking

# --- causal_mask ----------------------------------------------------------------------------------


def causal_compared(T):
    places = torch.arange(T)
    return places[None, :] <= places[:, None]


def causal_not_triu(T):
    return ~torch.ones(T, T).bool().triu(diagonal=1)


def causal_numpy(T):
    return torch.from_numpy(np.tri(T, dtype=bool))


def causal_cumulative(T):
    return torch.eye(T).cumsum(dim=0) > 0


def causal_in_a_loop(T):
    mask = torch.zeros(T, T, dtype=torch.bool)
    for query in range(T):
        mask[query, : query + 1] = True
    return mask


def causal_from_additive(T):
    return torch.full((T, T), float("-inf")).triu(1) == 0


def causal_two_ahead(T):
    return torch.ones(T, T, dtype=torch.bool).tril(2)


def causal_anti_diagonal(T):
    return causal_compared(T).flip(1)


# --- padding_mask ---------------------------------------------------------------------------------


def padding_compared(lengths, T):
    return lengths.view(-1, 1, 1) > torch.arange(T)


def padding_unsqueezed(lengths, T):
    return (torch.arange(T)[None] < lengths.unsqueeze(1)).unsqueeze(1)


def padding_in_a_loop(lengths, T):
    mask = torch.zeros(len(lengths), 1, T, dtype=torch.bool)
    for row, length in zip(mask, lengths.tolist(), strict=True):
        row[:, :length] = True
    return mask


def padding_from_padding(lengths, T):
    padding = torch.arange(T).expand(len(lengths), T) >= lengths[:, None]
    return padding.logical_not().reshape(len(lengths), 1, T)


def padding_cumulative(lengths, T):
    ends = torch.zeros(len(lengths), T + 1).scatter_(1, lengths[:, None], 1.0)
    return (ends.cumsum(dim=1) == 0)[:, None, :T]


def padding_all_real(lengths, T):
    return torch.ones(len(lengths), 1, T, dtype=torch.bool)


def padding_flat(lengths, T):
    return (torch.arange(T) < lengths[:, None]).flatten()


# --- masked_softmax -------------------------------------------------------------------------------


def softmax_where(scores, mask):
    filled = torch.where(mask, scores, torch.finfo(scores.dtype).min)
    return torch.where(mask, filled.softmax(-1), 0.0)


def softmax_minus_1e9_then_zero(scores, mask):
    return scores.masked_fill(mask == 0, -1e9).softmax(dim=-1) * mask


def softmax_by_exp(scores, mask):
    highest = scores.masked_fill(~mask, -1e9).amax(dim=-1, keepdim=True)
    e = torch.exp((scores - highest).masked_fill(~mask, 0.0)) * mask
    return e / e.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(scores.dtype).tiny)


def softmax_open_dead_rows(scores, mask):
    alive = mask.any(dim=-1, keepdim=True)
    weights = scores.masked_fill(~mask & alive, float("-inf")).softmax(dim=-1)
    return weights * alive


def softmax_in_double(scores, mask):
    return masking.masked_softmax(scores.double(), mask).to(scores.dtype)


def softmax_in_place_on_a_copy(scores, mask):
    copy, mask = scores.clone(), mask.expand_as(scores)
    copy[~mask] = -1e30
    weights = copy.softmax(-1).clone()
    weights[~mask] = 0
    return weights


def softmax_over_the_batch(scores, mask):
    return scores.masked_fill(~mask, -1e9).softmax(dim=0) * mask


def softmax_half_blocked(scores, mask):
    return (scores - 5.0 * ~mask).softmax(dim=-1)


# --- combine_masks --------------------------------------------------------------------------------


def blocked_or(future, padding):
    return future | padding.unsqueeze(1)


def blocked_logical(future, padding):
    return torch.logical_or(future[None], padding[:, None, :])


def blocked_de_morgan(future, padding):
    return ~(~future & ~padding[:, None])


def blocked_sum(future, padding):
    return (future.int() + padding[:, None, :].int()) > 0


def blocked_stacked(future, padding):
    return torch.stack([future | row for row in padding])


def blocked_transposed(future, padding):
    return future.T[:1] | padding[:, None, :]


def blocked_nothing(future, padding):
    return torch.zeros(len(padding), *future.shape, dtype=torch.bool)


# --- to_mha_mask ----------------------------------------------------------------------------------


def mha_interleaved(mask, n_heads):
    return (~mask).repeat_interleave(n_heads, 0)


def mha_expanded(mask, n_heads):
    B, T_q, T_k = mask.shape
    return mask.logical_not()[:, None].expand(B, n_heads, T_q, T_k).reshape(B * n_heads, T_q, T_k)


def mha_indexed(mask, n_heads):
    return ~mask[torch.arange(len(mask) * n_heads) // n_heads]


def mha_flattened(mask, n_heads):
    return torch.stack([mask == 0] * n_heads, dim=1).flatten(0, 1)


def mha_by_kron(mask, n_heads):
    return torch.cat([(~one)[None].repeat(n_heads, 1, 1) for one in mask])


def mha_all_blocked(mask, n_heads):
    return torch.ones(len(mask) * n_heads, *mask.shape[1:], dtype=torch.bool)


def mha_shifted(mask, n_heads):
    return (~mask).repeat_interleave(n_heads, 0).roll(1, dims=-1)


# --- first_leak -----------------------------------------------------------------------------------


def leak_with_new_numbers(model, x):
    model.eval()
    before = model(x)
    for t in range(x.shape[0]):
        changed = torch.cat([x[: t + 1], torch.randn_like(x[t + 1 :])])
        if (model(changed)[t] != before[t]).any():
            return torch.tensor(t)
    return torch.tensor(x.shape[0])


def leak_by_gradient(model, x):
    jacobian = torch.autograd.functional.jacobian(model.eval(), x)  # (T, d, T, d)
    seen = jacobian.abs().sum(dim=(1, 3)) > 0  # (T, T): who depends on whom
    leaks = seen.triu(1).any(dim=1).nonzero()[:, 0]
    return leaks[0] if len(leaks) else torch.tensor(len(x))


def leak_by_single_changes(model, x):
    model.train(False)
    before, leaking = model(x), [len(x)]
    for changed_place in range(len(x)):
        changed = x.clone()
        changed[changed_place] = -7.0
        moved = (model(changed) != before).any(dim=1)[:changed_place]
        leaking += moved.nonzero()[:, 0].tolist()
    return torch.tensor(min(leaking))


def leak_restoring_the_mode(model, x):
    was = model.training
    model.eval()
    try:
        return leak_with_new_numbers(model, x)
    finally:
        model.train(was)


def leak_by_cutting(model, x):
    model.eval()
    before = model(x)
    for t in range(len(x)):
        zeros = x.clone()
        zeros[t + 1 :] = 0
        if not torch.allclose(model(zeros)[t], before[t]):
            return torch.tensor(t)
    return torch.tensor(len(x))


def leak_one_too_far(model, x):
    return leak_with_new_numbers(model, x) + 1


def leak_never(model, x):
    return torch.tensor(len(x))


RIGHT = {
    "causal_mask": [
        masking.causal_mask,
        causal_compared,
        causal_not_triu,
        causal_numpy,
        causal_cumulative,
        causal_in_a_loop,
        causal_from_additive,
    ],
    "padding_mask": [
        masking.padding_mask,
        padding_compared,
        padding_unsqueezed,
        padding_in_a_loop,
        padding_from_padding,
        padding_cumulative,
    ],
    "masked_softmax": [
        masking.masked_softmax,
        softmax_where,
        softmax_minus_1e9_then_zero,
        softmax_by_exp,
        softmax_open_dead_rows,
        softmax_in_double,
        softmax_in_place_on_a_copy,
    ],
    "combine_masks": [
        blocked_or,
        blocked_logical,
        blocked_de_morgan,
        blocked_sum,
        blocked_stacked,
    ],
    "to_mha_mask": [mha_interleaved, mha_expanded, mha_indexed, mha_flattened, mha_by_kron],
    "first_leak": [
        leak_with_new_numbers,
        leak_by_gradient,
        leak_by_single_changes,
        leak_restoring_the_mode,
        leak_by_cutting,
    ],
}

UNNAMED = {
    "causal_mask": [causal_two_ahead, causal_anti_diagonal],
    "padding_mask": [padding_all_real, padding_flat],
    "masked_softmax": [softmax_over_the_batch, softmax_half_blocked],
    "combine_masks": [blocked_transposed, blocked_nothing],
    "to_mha_mask": [mha_all_blocked, mha_shifted],
    "first_leak": [leak_one_too_far, leak_never],
}
