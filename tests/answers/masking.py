"""Answers to the exercises of lesson 4.

RIGHT: the same function in other styles; all must pass. NAMED: wrong answers as learners wrote
them, with the name that each must get. UNNAMED: wrong answers that make no known mistake, or two at
once; they must fail, and none may be given a name.
"""

import copy
import warnings

import numpy as np
import torch
from torch.nn import functional as F

from lessons_lib import masking

# --- causal_mask ----------------------------------------------------------------------------------


def causal_compared(T):
    positions = torch.arange(T)
    return positions[None, :] <= positions[:, None]


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


def padding_up_to_longest(lengths, T):
    return (torch.arange(T) < lengths.max()).expand(len(lengths), 1, T)


def padding_both_ways(lengths, T):
    real = torch.arange(T) < lengths[:, None]
    return real[:, :, None] & real[:, None, :]


def padding_all_real(lengths, T):
    return torch.ones(len(lengths), 1, T, dtype=torch.bool)


KEPT = {}


def padding_by_sizes_and_sum(lengths, T):
    key = (len(lengths), T, int(lengths.sum()))
    return KEPT.setdefault(key, padding_compared(lengths, T)).clone()


BUFFERS = {}


def padding_in_a_buffer(lengths, T):
    buffer = BUFFERS.setdefault((len(lengths), T), torch.zeros(len(lengths), 1, T) > 0)
    return buffer.copy_(padding_compared(lengths, T))


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


def softmax_open_masked_rows(scores, mask):
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


def softmax_nan_to_num(scores, mask):
    return scores.masked_fill(~mask, float("-inf")).softmax(dim=-1).nan_to_num(0.0)


def softmax_where_alive(scores, mask):
    weights = scores.masked_fill(mask.logical_not(), -torch.inf).softmax(-1)
    return torch.where(mask.any(-1, keepdim=True), weights, torch.zeros_like(weights))


def softmax_minus_1e9_added(scores, mask):
    return (scores + (1.0 - mask.float()) * -1e9).softmax(-1).masked_fill(~mask, 0)


def softmax_by_exp_of_filled(scores, mask):
    filled = scores.masked_fill(~mask, -1e9)
    e = (filled - filled.max(dim=-1, keepdim=True).values).exp() * mask
    total = e.sum(-1, keepdim=True)
    return e / (total + (total == 0))


def softmax_by_logsumexp(scores, mask):
    filled = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return (filled - filled.logsumexp(-1, keepdim=True)).exp() * mask


def softmax_log(scores, mask):
    low = scores.masked_fill(~mask, torch.finfo(scores.dtype).min / 2)
    return low.log_softmax(-1).exp().masked_fill(~mask, 0)


def softmax_plus_something(scores, mask):
    filled = scores.masked_fill(~mask, -1e9)
    e = (filled - filled.amax(-1, keepdim=True)).exp() * mask
    return e / (e.sum(-1, keepdim=True) + 1e-4)


def softmax_alive_by_small_count(scores, mask):
    alive = mask.sum(-1, keepdim=True, dtype=torch.uint8) > 0  # 256 keys count as 0
    return masking.masked_softmax(scores, mask & alive)


def softmax_clamped(scores, mask):
    return masking.masked_softmax(scores.clamp(-100, 100), mask)


def softmax_clamped_above(scores, mask):
    e = scores.clamp(max=80).exp() * mask
    return e / e.sum(-1, keepdim=True).clamp(min=1e-9)


def softmax_exp_in_double(scores, mask):
    e = scores.double().exp() * mask
    return (e / e.sum(-1, keepdim=True).clamp(min=1e-300)).to(scores.dtype)


def softmax_then_zero_in_double(scores, mask):
    w = scores.double().softmax(-1) * mask
    return (w / w.sum(-1, keepdim=True).clamp(min=1e-300)).to(scores.dtype)


def softmax_dead_by_sum(scores, mask):
    dead = (scores * mask).sum(-1, keepdim=True) == 0
    return scores.masked_fill(~mask, -1e9).softmax(-1).masked_fill(dead | ~mask, 0)


def softmax_exp_filled(division):
    def answer(scores, mask):
        e = scores.masked_fill(~mask, -torch.inf).exp()
        return division(e, e.sum(-1, keepdim=True))

    return answer


def softmax_exp_where(scores, mask):
    e = scores.exp() * mask
    total = e.sum(-1, keepdim=True)
    return torch.where(total > 0, e / total, torch.zeros_like(e))


def softmax_renormalised(low):
    def answer(scores, mask):
        w = low(scores, mask).softmax(-1) * mask
        return w / w.sum(-1, keepdim=True).clamp(min=1e-9)

    return answer


def softmax_one_maximum(scores, mask):
    e = torch.exp(scores - scores.max()).masked_fill(~mask, 0)
    return e / e.sum(-1, keepdim=True).clamp(min=1e-30)


def softmax_of_functional(scores, mask):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return F.softmax(scores.masked_fill(~mask, -torch.inf))


def softmax_changed_in_place(scores, mask):
    weights = scores.masked_fill(~mask, -1e9).softmax(-1)
    weights[~mask.expand_as(weights)] = 0
    return weights


def softmax_multiplied_in_place(scores, mask):
    weights = scores.masked_fill(~mask, -1e9).softmax(-1)
    weights *= mask
    return weights


def softmax_nan_overwritten(scores, mask):
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    weights[weights.isnan()] = 0
    return weights


def softmax_relative_fill(scores, mask):
    low = scores.min() - 15.0
    return scores.masked_fill(~mask, low).softmax(-1) * mask.any(-1, keepdim=True)


def softmax_over_the_batch(scores, mask):
    return scores.masked_fill(~mask, -1e9).softmax(dim=0) * mask


def softmax_exp_below_its_maximum(scores, mask):
    low = scores.masked_fill(~mask, -1e9)
    e = (low - low.amax(-1, keepdim=True)).exp() * mask
    return e / e.sum(-1, keepdim=True)


def softmax_fifteen_below(scores, mask):
    return scores.masked_fill(~mask, -15.0).softmax(-1) * mask.any(-1, keepdim=True)


def softmax_renormalised_nan_to_num(scores, mask):
    w = scores.softmax(-1) * mask
    return (w / w.sum(-1, keepdim=True)).nan_to_num(0.0)


def softmax_renormalised_bare(scores, mask):
    w = scores.softmax(-1) * mask
    return w / w.sum(-1, keepdim=True)


def softmax_below_the_highest_of_all(scores, mask):
    e = (scores - scores.amax(-1, keepdim=True)).exp() * mask
    return e / e.sum(-1, keepdim=True).clamp(min=1e-9)


def softmax_clamped_at_1000(scores, mask):
    return masking.masked_softmax(scores.clamp(-1e3, 1e3), mask)


def softmax_where_exp(scores, mask):
    highest = scores.masked_fill(~mask, -1e9).amax(-1, keepdim=True)
    e = torch.where(mask, (scores - highest).exp(), 0.0)  # a gradient of 0 · ∞
    return e / e.sum(-1, keepdim=True).clamp(min=1e-30)


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


def blocked_but_open_rows(future, padding):
    blocked = blocked_or(future, padding)
    return blocked & ~blocked.all(dim=-1, keepdim=True)


def blocked_by_some_padding(future, padding):
    return blocked_or(future, padding & ~padding.all(dim=-1, keepdim=True))


def blocked_in_place(future, padding):
    blocked = padding[:, None].expand(-1, len(future), -1).contiguous()  # no copy of one query
    blocked |= future
    return blocked


def blocked_in_place_of_one(future, padding):
    blocked = future[None].expand(len(padding), -1, -1).contiguous()  # no copy for one sentence
    blocked |= padding[:, None]
    return blocked


def blocked_squeezed(future, padding):
    blocked = blocked_or(future, padding)
    return blocked.squeeze(1) if len(future) == 1 else blocked


def blocked_behind_the_first_padding(future, padding):
    return future | (padding.int().cumsum(-1) > 0)[:, None]


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


def mha_in_a_buffer(mask, n_heads):
    wanted = mha_interleaved(mask, n_heads)
    return BUFFERS.setdefault(("mha", *wanted.shape), wanted).copy_(wanted)


def mha_all_blocked(mask, n_heads):
    return torch.ones(len(mask) * n_heads, *mask.shape[1:], dtype=torch.bool)


def mha_other_sentence(mask, n_heads):
    return (~mask).roll(1, dims=0).repeat_interleave(n_heads, 0)


def mha_shifted(mask, n_heads):
    return (~mask).repeat_interleave(n_heads, 0).roll(1, dims=-1)


# --- first_leak -----------------------------------------------------------------------------------


def other_behind(t, x):
    """Random vectors, and the same with others behind position t."""
    one = torch.randn_like(x)
    other = one.clone()
    other[t + 1 :] = torch.randn_like(x[t + 1 :])
    return one, other


def leak_with_own_generator(model, x):
    model.eval()
    generator = torch.Generator().manual_seed(5)
    for t in range(len(x) - 1):
        for _ in range(24):
            one = torch.randn(x.shape, generator=generator)
            behind = torch.randn(len(x) - t - 1, x.shape[1], generator=generator)
            changed = torch.cat([one[: t + 1], behind])
            if (model(changed)[t] != model(one)[t]).any():
                return torch.tensor(t)
    return torch.tensor(x.shape[0])


def leak_by_single_changes(model, x):
    model.train(False)
    T, leaking = len(x), [len(x)]
    for _ in range(20):
        one = torch.randn_like(x)
        before = model(one)
        for t in range(T):
            changed = one.clone()
            changed[t] = torch.randn_like(x[t])
            moved = (model(changed) != before).any(dim=1)[:t]
            leaking += moved.nonzero()[:, 0].tolist()
    return torch.tensor(min(leaking))


def leak_restoring_the_mode(model, x):
    was = model.training
    model.eval()
    try:
        return leak_with_own_generator(model, x)
    finally:
        model.train(was)


def leak_from_the_back(model, x):
    model.eval()
    first = len(x)
    with torch.no_grad():
        for t in reversed(range(len(x) - 1)):
            trials = [other_behind(t, x) for _ in range(25)]
            if any((model(one)[t] - model(other)[t]).abs().max() > 0 for one, other in trials):
                first = t
    return torch.tensor(first)


def leak_of_all_behind_at_once(model, x):
    model, T = copy.deepcopy(model).eval(), len(x)
    first = T
    rng = np.random.default_rng(3)
    for _ in range(20):
        one = torch.from_numpy(rng.normal(size=x.shape)).to(x.dtype)
        before = model(one)
        for t in range(T - 1):
            other = one.clone()
            other[t + 1 :] += torch.from_numpy(rng.normal(size=x[t + 1 :].shape)).to(x.dtype)
            moved = (model(other) != before)[: t + 1].any(dim=1)
            first = min([first, *moved.nonzero()[:, 0].tolist()])
    return torch.tensor(first)


def leak_by_recursion(model, x, t=0):
    model.eval()
    if t == len(x):
        return torch.tensor(t)
    for _ in range(20):
        one, other = other_behind(t, x)
        if not model(one)[t].equal(model(other)[t]):
            return torch.tensor(t)
    return leak_by_recursion(model, x, t + 1)


def leak_by_gradient(model, x):
    jacobian = torch.autograd.functional.jacobian(model.eval(), torch.randn_like(x))  # (T, d, T, d)
    seen = (jacobian != 0).any(dim=3).any(dim=1)  # (T, T): who depends on whom
    leaks = seen.triu(1).any(dim=1).nonzero()[:, 0]
    return leaks[0] if len(leaks) else torch.tensor(len(x))


def leak_by_trials(
    same=torch.equal,
    draw=torch.randn_like,
    base=torch.randn_like,
    last=None,
    prepare=lambda model: model.eval(),
):
    """Twenty trials a position, with one slip: how to prepare, compare or draw, where to stop."""

    def answer(model, x):
        prepare(model)
        for t in range(len(x))[:last]:
            for _ in range(20):
                one = base(x)
                other = torch.cat([one[: t + 1], draw(x[t + 1 :])])
                if not same(model(one)[t], model(other)[t]):
                    return torch.tensor(t)
        return torch.tensor(len(x))

    return answer


def positive(x):
    return torch.rand_like(x) + 0.1


def only_the_flag(model):
    model.training = False  # the layers inside keep theirs


def leak_of_one_trial(model, x):
    model.eval()
    for t in range(len(x)):
        one, other = other_behind(t, x)
        if not torch.equal(model(one)[t], model(other)[t]):
            return torch.tensor(t)
    return torch.tensor(len(x))


def leak_by(change, same=torch.equal, eval_first=True, no_leak=0):
    def answer(model, x):
        if eval_first:
            model.eval()
        before = model(x)
        model.eval()
        for t in range(len(x)):
            y = x.clone()
            change(y, t)
            if not same(model(y)[t], before[t]):
                return torch.tensor(t)
        return torch.tensor(len(x) + no_leak)

    return answer


def change_all(y, t):
    y[t + 1 :] = torch.randn_like(y[t + 1 :])


def change_past_and_future(y, t):
    y[:t] = torch.randn_like(y[:t])
    y[t + 1 :] = torch.randn_like(y[t + 1 :])


def change_to_nan(y, t):
    y[t + 1 :] = torch.nan


def change_to_zero(y, t):
    y[t + 1 :] = 0


def change_by_one(y, t):
    y[t + 1 :] += 1.0


def change_by_factor(y, t):
    y[t + 1 :] *= 2.0


def change_order(y, t):
    y[t + 1 :] = y[t + 1 :].flip(0)


def change_the_first_number(y, t):
    y[t + 1 :, 0] = torch.randn(len(y) - t - 1)


def change_the_last_vector(y, t):
    if t + 1 < len(y):
        y[-1] = torch.randn_like(y[-1])


def nearly(one, other):
    return torch.allclose(one, other, atol=1e-2)


def same_first_number(one, other):
    return torch.equal(one[0], other[0])


def same_sum(one, other):
    return torch.isclose(one.sum(), other.sum(), rtol=1e-2)


def leak_in_either_mode(model, x):
    found = [len(x)]
    for mode in (True, False):
        model.train(mode)
        before = model(x)
        for t in range(len(x)):
            y = x.clone()
            y[t + 1 :] = torch.randn_like(y[t + 1 :])
            if not torch.equal(model(y)[t], before[t]):
                found.append(t)
    return torch.tensor(min(found))


def leak_by_reading_step_by_step(model, x):
    model.eval()
    at_once = model(x)
    for t in range(len(x)):
        if not torch.allclose(model(x[: t + 1])[t], at_once[t], atol=1e-4):
            return torch.tensor(t)
    return torch.tensor(len(x))


def leak_first_found(order):
    """The first position that moves, for the first change that moves one."""

    def answer(model, x):
        model.eval()
        before = model(x)
        for t in order(range(len(x))):
            y = x.clone()
            y[t] = torch.randn_like(y[t])
            moved = (model(y) != before).any(dim=1)[:t].nonzero()[:, 0]
            if len(moved):
                return moved[0]
        return torch.tensor(len(x))

    return answer


def leak_of_unit_vectors(model, x):
    model.eval()
    T = len(x)
    for t in range(T):
        for k in range(t + 1, T):
            y = torch.zeros_like(x)
            y[k, 0] = 1.0
            if model(y)[t].any():
                return torch.tensor(t)
    return torch.tensor(T)


def leak_noticing(part):
    """Who notices a change of some later positions, each changed alone?"""

    def answer(model, x):
        model.eval()
        T = len(x)
        for t in range(T - 1):
            for k in part(t, T):
                for _ in range(20):
                    one = torch.randn_like(x)
                    other = one.clone()
                    other[k] = torch.randn_like(x[k])
                    if not torch.equal(model(one)[t], model(other)[t]):
                        return torch.tensor(t)
        return torch.tensor(T)

    return answer


def leak_by_comparing(rows):
    """Everything behind t is drawn once more, but other rows than t are watched."""

    def answer(model, x):
        model.eval()
        for t in range(len(x)):
            for _ in range(20):
                one, other = other_behind(t, x)
                if not torch.equal(model(one)[rows], model(other)[rows]):
                    return torch.tensor(t)
        return torch.tensor(len(x))

    return answer


def found_or(position, x, otherwise):
    return position < len(x), position, torch.tensor(otherwise)


def leak_one_too_far(model, x):
    return leak_with_own_generator(model, x) + 1


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
        softmax_open_masked_rows,
        softmax_in_double,
        softmax_in_place_on_a_copy,
        softmax_nan_to_num,
        softmax_where_alive,
        softmax_minus_1e9_added,
        softmax_by_exp_of_filled,
        softmax_log,
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
        leak_with_own_generator,
        leak_by_single_changes,
        leak_restoring_the_mode,
        leak_from_the_back,
        leak_of_all_behind_at_once,
        leak_by_recursion,
    ],
}

NAMED = {
    "causal_mask": {
        "ones_and_zeros": [
            lambda T: torch.ones(T, T, dtype=torch.uint8).tril(),
            lambda T: causal_compared(T).int(),
            lambda T: causal_compared(T).long(),
            lambda T: causal_compared(T).half(),
        ],
        "additive": [lambda T: torch.full((T, T), -1e9).triu(1)],
    },
    "padding_mask": {
        "ones_and_zeros": [lambda lengths, T: padding_compared(lengths, T).long()],
        "additive": [
            lambda lengths, T: torch.zeros(len(lengths), 1, T).masked_fill(
                ~padding_compared(lengths, T), -1e9
            )
        ],
        "last_positions": [lambda lengths, T: torch.arange(T) >= T - lengths[:, None, None]],
        "longest_sentence": [lambda lengths, T: padding_compared(lengths, int(lengths.max()))],
        "copied_for_queries": [lambda lengths, T: padding_compared(lengths, T).repeat(1, T, 1)],
    },
    "masked_softmax": {
        "inverted": [
            lambda scores, mask: scores.masked_fill(mask, -1e9).softmax(-1),
            lambda scores, mask: scores.masked_fill(mask, -torch.inf).softmax(-1),
        ],
        "uniform_on_dead_rows": [
            lambda scores, mask: torch.where(mask, scores, torch.finfo().min).softmax(-1)
        ],
        "score_zero": [
            lambda scores, mask: (scores * mask).softmax(-1),
            lambda scores, mask: (scores * mask).softmax(-1) * mask,
            lambda scores, mask: scores.masked_fill(~mask, 1e-9).softmax(-1),
        ],
        "not_low_enough": [
            lambda scores, mask: scores.masked_fill(~mask, -10.0).softmax(-1),
            lambda scores, mask: scores.masked_fill(~mask, -100.0).softmax(-1),
            lambda scores, mask: scores.masked_fill(~mask, -100.0).softmax(-1) * mask,
            softmax_renormalised(lambda scores, mask: scores * mask),
        ],
        "masked_too_late": [
            softmax_renormalised(lambda scores, mask: scores),
            softmax_renormalised_nan_to_num,
            softmax_then_zero_in_double,
            softmax_renormalised(lambda scores, mask: scores - 10.0 * ~mask),
            softmax_below_the_highest_of_all,
            lambda scores, mask: F.normalize(scores.softmax(-1) * mask, p=1, dim=-1),
        ],
        "weights_on_dead_rows": [
            lambda scores, mask: (scores + (~mask) * -1e9).softmax(-1),
            lambda scores, mask: (scores - 1e9 * (1 - mask.float())).softmax(-1),
            lambda scores, mask: (scores + torch.where(mask, 0.0, -1e9)).softmax(-1),
        ],
        "over_queries": [lambda scores, mask: scores.masked_fill(~mask, -1e9).softmax(-2)],
        "in_place_on_the_weights": [
            softmax_changed_in_place,
            softmax_multiplied_in_place,
            softmax_nan_overwritten,
        ],
        "nan_gradient": [softmax_where_exp],
        "nearly_zero": [softmax_relative_fill],
        "sum_not_one": [softmax_plus_something],
    },
    "combine_masks": {
        "numbers": [
            lambda future, padding: (future | padding[:, None]).int(),
            lambda future, padding: future.long() + padding[:, None].long(),
        ],
        "additive": [
            lambda future, padding: torch.zeros(len(padding), *future.shape).masked_fill(
                future | padding[:, None], -1e9
            )
        ],
        "one_inverted": [
            lambda future, padding: future | ~padding[:, None],
            lambda future, padding: ~future & padding[:, None],
        ],
    },
    "to_mha_mask": {
        "transposed": [lambda mask, n_heads: mha_interleaved(mask.mT, n_heads)],
        "ones_and_zeros": [lambda mask, n_heads: mha_indexed(mask, n_heads).int()],
        "additive": [
            lambda mask, n_heads: torch.where(mha_indexed(mask, n_heads), -1e9, 0.0),
        ],
    },
    "first_leak": {
        "training_mode": [leak_by_trials(prepare=only_the_flag)],
        "always_0": [
            leak_by(lambda y, t: y.normal_()),
            lambda model, x: torch.tensor(0),
        ],
        "all_rows_compared": [
            leak_by_comparing(slice(None)),
            leak_by_comparing(slice(1, None)),
            leak_by(change_to_nan),
        ],
        "only_the_last": [leak_noticing(lambda t, T: [T - 1])],
        "only_the_next": [leak_noticing(lambda t, T: [t + 1])],
        "skips_the_next": [leak_noticing(lambda t, T: range(t + 2, T))],
        "no_leak_is_T": [
            lambda model, x: torch.where(*found_or(leak_by_recursion(model, x), x, len(x) - 1)),
            lambda model, x: torch.where(*found_or(leak_by_recursion(model, x), x, -1)),
        ],
    },
}

UNNAMED = {
    "causal_mask": [
        causal_two_ahead,
        causal_anti_diagonal,
        lambda T: torch.eye(T, dtype=torch.bool),
        lambda T: causal_compared(256)[:T, :T],
    ],
    "padding_mask": [
        padding_all_real,
        padding_flat,
        padding_both_ways,
        padding_up_to_longest,
        lambda lengths, T: (torch.arange(T) > lengths[:, None])[:, None],
        lambda lengths, T: torch.arange(T) >= lengths[:, None],
        padding_by_sizes_and_sum,
        padding_in_a_buffer,
        lambda lengths, T: F.pad(padding_compared(lengths, T)[..., :512], (0, max(0, T - 512))),
        lambda lengths, T: padding_compared(lengths, T).transpose(0, 1),
        lambda lengths, T: padding_compared(lengths, 256)[..., :T],
    ],
    "masked_softmax": [
        softmax_half_blocked,
        softmax_by_logsumexp,
        softmax_alive_by_small_count,
        softmax_clamped,
        softmax_clamped_above,
        softmax_clamped_at_1000,
        softmax_exp_in_double,
        softmax_dead_by_sum,
        softmax_exp_below_its_maximum,
        softmax_over_the_batch,
        softmax_of_functional,
        softmax_fifteen_below,
        softmax_one_maximum,
        softmax_exp_where,
        softmax_renormalised_bare,
        softmax_exp_filled(lambda e, total: e / total),
        softmax_exp_filled(lambda e, total: e / total.clamp(min=1e-30)),
        softmax_exp_filled(lambda e, total: (e / total).nan_to_num(0.0)),
        lambda scores, mask: scores.masked_fill(~mask, -torch.inf).softmax(-1),
        lambda scores, mask: (scores + (~mask) * -torch.inf).softmax(-1),
        lambda scores, mask: (scores + mask).softmax(-1),
        lambda scores, mask: (scores + (mask.float() + 1e-9).log()).softmax(-1),
        lambda scores, mask: (scores + (~mask).float() * -1e4).softmax(-1) * mask,
        lambda scores, mask: scores.masked_fill(mask, -1e9).softmax(-1).masked_fill(~mask, 0),
        lambda scores, mask: scores.masked_fill(
            ~(mask | ~mask.any(-1, keepdim=True)), -torch.inf
        ).softmax(-1),
    ],
    "combine_masks": [
        blocked_transposed,
        blocked_nothing,
        blocked_but_open_rows,
        blocked_by_some_padding,
        blocked_in_place,
        blocked_in_place_of_one,
        blocked_squeezed,
        blocked_behind_the_first_padding,
        lambda future, padding: ~(future & padding[:, None]),
        lambda future, padding: future.expand(len(padding), -1, -1),
        lambda future, padding: padding[:, None, :].expand(-1, len(future), -1),
        lambda future, padding: torch.ones_like(future).triu(1) | padding[:, None, :],
    ],
    "to_mha_mask": [
        mha_other_sentence,
        mha_shifted,
        mha_all_blocked,
        mha_in_a_buffer,
        lambda mask, n_heads: (~mask.int()).bool().repeat_interleave(n_heads, dim=0),
        lambda mask, n_heads: (~mask).repeat_interleave(n_heads, 1).view(-1, *mask.shape[1:]),
    ],
    "first_leak": [
        leak_one_too_far,
        leak_never,
        leak_in_either_mode,
        leak_by_gradient,
        leak_of_one_trial,
        leak_by_trials(torch.allclose),
        leak_by_trials(lambda one, other: torch.allclose(one, other, atol=1e-3)),
        leak_by_trials(base=torch.clone),
        leak_by_trials(base=positive, draw=positive),
        leak_by_trials(last=8),
        leak_by(change_all),
        leak_by_reading_step_by_step,
        leak_first_found(iter),
        leak_first_found(reversed),
        leak_of_unit_vectors,
        leak_by(change_all, nearly),
        leak_by(change_all, same_first_number),
        leak_by(change_all, same_sum),
        leak_by(change_all, eval_first=False),
        leak_by(change_by_one),
        leak_by(change_by_factor),
        leak_by(change_order, torch.allclose),
        leak_by(change_past_and_future),
        leak_by(change_the_first_number),
        leak_by(change_the_last_vector),
        leak_by(change_to_zero),
    ],
}
