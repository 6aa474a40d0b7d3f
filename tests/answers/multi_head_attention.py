"""Answers to the exercises of lesson 5.

RIGHT: the same function in other styles; all must pass. NAMED: wrong answers as learners write
them, with the name that each must get. UNNAMED: wrong answers that make no known mistake, or two at
once; they must fail, and none may be given a name.
"""

from math import sqrt

import torch
from torch.nn import functional as F

from lessons_lib import multi_head_attention as lesson

# --- split_heads ----------------------------------------------------------------------------------


def split_by_view(x, n_heads):
    B, T, D = x.shape
    return x.view(B, T, n_heads, D // n_heads).permute(0, 2, 1, 3)


def split_stacked(x, n_heads):
    return torch.stack(x.split(x.shape[-1] // n_heads, dim=-1), dim=1)


def split_in_loops(x, n_heads):
    B, T, D = x.shape
    d = D // n_heads
    out = x.new_empty(B, n_heads, T, d)
    for head in range(n_heads):
        out[:, head] = x[..., head * d : (head + 1) * d]
    return out


def split_by_unfold(x, n_heads):
    d = x.shape[-1] // n_heads
    return x.unfold(-1, d, d).swapaxes(1, 2)


def split_reversed(x, n_heads):
    return lesson.split_heads(x, n_heads).flip(1)


def split_tokens(x, n_heads):
    return x.repeat_interleave(n_heads, dim=1).view(len(x), n_heads, x.shape[1], -1)


def split_into_a_buffer(dtype=None, back=False, longest=None):
    """Head by head into a buffer of this dtype, for sentences up to this length."""

    def answer(x, n_heads):
        B, T, D = x.shape
        d = D // n_heads
        out = torch.zeros(B, n_heads, T, d, dtype=dtype)
        for head in range(n_heads):
            out[:, head, :longest] = x[:, :longest, head * d : (head + 1) * d]
        return out.to(x.dtype) if back else out

    return answer


def kept_by(key, function):
    """The first answer for each key is kept."""
    kept = {}

    def answer(*args):
        if args[0].requires_grad:
            return function(*args)
        return kept.setdefault(key(*args), function(*args))

    return answer


def into_one_buffer(function):
    """All answers of one size share their memory."""
    buffers = {}

    def answer(*args):
        value = function(*args)
        if value.requires_grad:
            return value
        size = (value.shape, value.dtype)
        return buffers.setdefault(size, torch.empty_like(value)).copy_(value)

    return answer


def split_unless_equal(x, n_heads):
    if x.shape[1] == n_heads:  # taken for an axis of heads
        return x.view(len(x), n_heads, x.shape[1], -1)
    return lesson.split_heads(x, n_heads)


# --- merge_heads ----------------------------------------------------------------------------------


def merge_concatenated(x):
    return torch.cat(list(x.unbind(dim=1)), dim=-1)


def merge_contiguous(x):
    B, H, T, d = x.shape
    return x.permute(0, 2, 1, 3).contiguous().view(B, T, H * d)


def merge_reshaped(x):
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)


def merge_by_einsum(x):
    return torch.einsum("bhtd->bthd", x).flatten(-2)


def merge_reversed(x):
    return x.flip(1).transpose(1, 2).flatten(2)


def merge_maximum(x):
    return x.amax(dim=1)


def merge_into_a_buffer(dtype=None, back=False, longest=None):
    """Token by token into a buffer of this dtype, for sentences up to this length."""

    def answer(x):
        B, H, T, d = x.shape
        out = torch.zeros(B, T, H * d, dtype=dtype)
        for t in range(min(T, longest or T)):
            out[:, t] = x[:, :, t].flatten(1)
        return out.to(x.dtype) if back else out

    return answer


def merge_view_after_transpose(x):
    return x.permute(0, 2, 1, 3).view(x.shape[0], x.shape[2], -1)


# --- attention_params -----------------------------------------------------------------------------


def params_factored(d_model, n_heads, d_k, d_v):
    return torch.tensor(n_heads * (2 * d_k + d_v) * (d_model + 1) + (n_heads * d_v + 1) * d_model)


def params_from_tensors(d_model, n_heads, d_k, d_v):
    shapes = [(d_model + 1, n_heads * d_k)] * 2
    shapes += [(d_model + 1, n_heads * d_v), (n_heads * d_v + 1, d_model)]
    return torch.tensor(sum(torch.empty(shape, device="meta").numel() for shape in shapes))


def params_head_by_head(d_model, n_heads, d_k, d_v):
    count = d_model
    for _ in range(n_heads):
        count += 2 * (d_model * d_k + d_k) + d_model * d_v + d_v + d_v * d_model
    return torch.tensor(count)


def params_from_modules(d_model, n_heads, d_k, d_v, device="meta"):
    with torch.device(device):
        layers = torch.nn.ModuleList(
            [
                torch.nn.Linear(d_model, n_heads * d_k),
                torch.nn.Linear(d_model, n_heads * d_k),
                torch.nn.Linear(d_model, n_heads * d_v),
                torch.nn.Linear(n_heads * d_v, d_model),
            ]
        )
    return torch.tensor(sum(p.numel() for p in layers.parameters()))


def params_plus_one(d_model, n_heads, d_k, d_v):
    return params_factored(d_model, n_heads, d_k, d_v) + 1


def params_doubled(d_model, n_heads, d_k, d_v):
    return params_factored(d_model, n_heads, d_k, d_v) * 2


def params_in_float32(d_model, n_heads, d_k, d_v):
    sizes = torch.tensor([2 * d_k + d_v, d_v], dtype=torch.float32) * n_heads
    return (sizes[0] * (d_model + 1) + sizes[1] * d_model + d_model).long()


def params_in_float64(d_model, n_heads, d_k, d_v):
    sizes = torch.tensor([2 * d_k + d_v, d_v], dtype=torch.float64) * n_heads
    return (sizes[0] * (d_model + 1) + sizes[1] * d_model + d_model).long()


def params_no_wider_than_the_model(d_model, n_heads, d_k, d_v):
    return params_factored(d_model, n_heads, min(d_k, d_model), min(d_v, d_model))


def params_kept_by_the_sum():
    """The count is kept by the width of keys and values together."""
    kept = {}

    def answer(d_model, n_heads, d_k, d_v):
        count = params_factored(d_model, n_heads, d_k, d_v)
        return kept.setdefault((d_model, n_heads, d_k + d_v), count)

    return answer


def params_square_output(d_model, n_heads, d_k, d_v):
    return torch.tensor(n_heads * (2 * d_k + d_v) * (d_model + 1) + d_model * d_model + d_model)


def params_by_torch(d_model, n_heads, d_k, d_v):
    layer = torch.nn.MultiheadAttention(n_heads * d_k, n_heads, device="meta")
    return torch.tensor(sum(p.numel() for p in layer.parameters()))


# --- drop_head ------------------------------------------------------------------------------------


def drop_on_a_copy(context, w_o, head):
    copy = context.clone()
    copy[:, head] = 0
    return lesson.merge_heads(copy) @ w_o


def drop_columns(context, w_o, head):
    d = context.shape[-1]
    merged = torch.cat(context.unbind(1), dim=-1)
    rest = [i for i in range(len(w_o)) if i // d != head]
    return merged[..., rest] @ w_o[rest]


def drop_subtracted(context, w_o, head):
    d = context.shape[-1]
    own = context[:, head] @ w_o[head * d : (head + 1) * d]
    return lesson.merge_heads(context) @ w_o - own


def drop_by_einsum(context, w_o, head):
    keep = (torch.arange(context.shape[1]) != head).float()
    rows = w_o.view(context.shape[1], context.shape[3], -1)
    return torch.einsum("bhtd,h,hdm->btm", context, keep, rows)


def drop_two(context, w_o, head):
    return drop_on_a_copy(context * (torch.arange(len(context[0])) > 0)[:, None, None], w_o, head)


def drop_with_where(context, w_o, head):
    here = torch.arange(context.shape[1])[:, None, None] == head
    return lesson.merge_heads(torch.where(here, 0.0, context)) @ w_o


def drop_cut_out(context, w_o, head):
    return lesson.merge_heads(torch.cat([context[:, :head], context[:, head + 1 :]], dim=1)) @ w_o


def drop_in_place(context, w_o, head):
    context[:, head] = 0
    return lesson.merge_heads(context) @ w_o


def drop_scaled_up(context, w_o, head):
    return drop_on_a_copy(context, w_o, head) * context.shape[1] / (context.shape[1] - 1)


def drop_from_one_digit(context, w_o, head):
    return drop_on_a_copy(context, w_o, head % 10)


def drop_detached(context, w_o, head):
    return drop_on_a_copy(context.detach(), w_o, head)


def drop_without_gradients(context, w_o, head):
    with torch.no_grad():
        return drop_on_a_copy(context, w_o, head)


def drop_halved(context, w_o, head):
    full = lesson.merge_heads(context) @ w_o
    return (full + drop_on_a_copy(context, w_o, head)) / 2


def drop_all_equal(context, w_o, head):
    equal = (context == context[:, [head]]).all(dim=(0, 2, 3))  # (H,)
    return lesson.merge_heads(context * ~equal[:, None, None]) @ w_o


def drop_nearly(context, w_o, head):
    keep = torch.ones(context.shape[1])
    keep[head] = 1e-9
    return lesson.merge_heads(context * keep[:, None, None]) @ w_o


def drop_with_a_kept_mask():
    """The mask over the merged vector is kept by head and width."""
    kept = {}

    def answer(context, w_o, head):
        H, d = context.shape[1], context.shape[3]
        mask = kept.setdefault((head, d), (torch.arange(H * d) // d != head).float())
        return (lesson.merge_heads(context) * mask) @ w_o

    return answer


def drop_columns_of_w_o(context, w_o, head):
    d, copy = context.shape[-1], w_o.clone()
    copy[:, head * d : (head + 1) * d] = 0
    return lesson.merge_heads(context) @ copy


def drop_from_the_output(context, w_o, head):
    d, output = context.shape[-1], lesson.merge_heads(context) @ w_o
    return torch.cat(
        [
            output[..., : head * d],
            torch.zeros_like(output[..., head * d : (head + 1) * d]),
            output[..., (head + 1) * d :],
        ],
        dim=-1,
    )


# --- head_offset ----------------------------------------------------------------------------------


def offset_by_bins(weights, lengths):
    T = weights.shape[-1]
    real = (torch.arange(T) < lengths[:, None]).float()
    summed = torch.einsum("bhqk,bq->hqk", weights, real)
    index = (torch.arange(T) - torch.arange(T)[:, None] + T - 1).flatten()
    bins = torch.zeros(len(summed), 2 * T - 1).index_add(1, index, summed.flatten(1))
    return bins.argmax(dim=1) - T + 1


def offset_in_loops(weights, lengths):
    B, H, T, _ = weights.shape
    best = []
    for h in range(H):
        scores = {}
        for b in range(B):
            for q in range(int(lengths[b])):
                for k in range(T):
                    scores[k - q] = scores.get(k - q, 0) + float(weights[b, h, q, k])
        best.append(max(scores, key=lambda o: scores[o]))
    return torch.tensor(best)


def offset_by_traces(weights, lengths):
    T = weights.shape[-1]
    parts = [weights[b, :, :n, :T] for b, n in enumerate(lengths.tolist())]
    total = []
    for o in range(1 - T, T):
        total.append(sum(torch.diagonal(p, o, -2, -1).sum(-1) for p in parts))
    return torch.stack(total).max(dim=0).indices + 1 - T


def offset_masked(weights, lengths):
    T = weights.shape[-1]
    padded = torch.arange(T)[None, :] >= lengths[:, None]
    w = weights.masked_fill(padded[:, None, :, None], 0.0).sum(0)
    away = torch.arange(T)[None, :] - torch.arange(T)[:, None]
    choices = torch.arange(1 - T, T)
    total = (w[:, None] * (away == choices[:, None, None])).sum(dim=(-2, -1))
    return choices[total.argmax(-1)]


def offset_of_the_largest(weights, lengths):
    T = weights.shape[-1]
    real = torch.arange(T) < lengths[:, None]
    flat = (weights * real[:, None, :, None]).transpose(0, 1).flatten(1)  # (H, B·T·T)
    cell = flat.argmax(dim=1) % (T * T)
    return cell % T - cell // T


def offset_least(weights, lengths):
    T = weights.shape[-1]
    summed = weights.sum(dim=0)
    total = torch.stack([summed.diagonal(o, 1, 2).sum(-1) for o in range(-T + 1, T)])
    return total.argmin(dim=0) - T + 1


def offset_heads_swapped(weights, lengths):
    return offset_by_bins(weights, lengths).flip(0) + 1


def offset_of_rows(rows):
    """As learners write it, with these queries (B, T) counted as real."""

    def answer(weights, lengths):
        T = weights.shape[-1]
        real = rows(torch.arange(T), lengths)  # (B, T)
        summed = (weights * real[:, None, :, None]).sum(0)
        total = torch.stack([summed.diagonal(o, 1, 2).sum(-1) for o in range(-T + 1, T)])
        return total.argmax(0) - (T - 1)

    return answer


def offset_nearby(weights, lengths):
    T = weights.shape[-1]
    real = torch.arange(T) < lengths[:, None]
    summed = (weights * real[:, None, :, None]).sum(0)
    near = range(max(-2, 1 - T), min(2, T - 1) + 1)
    total = torch.stack([summed.diagonal(o, 1, 2).sum(-1) for o in near])
    return torch.tensor(near)[total.argmax(0)]


def offset_of_heavy(weights, lengths):
    return offset_by_bins((weights > 0.5).float(), lengths)


def offset_by_sentence(weights, lengths):
    pairs = zip(weights, lengths, strict=True)
    each = torch.stack([offset_by_bins(w[None], n[None]) for w, n in pairs])  # (B, H)
    return each.mode(dim=0).values


def offset_within(reach):
    """Only offsets up to this far away."""

    def answer(weights, lengths):
        T = weights.shape[-1]
        away = (torch.arange(T) - torch.arange(T)[:, None]).abs()
        return offset_by_bins(weights * (away <= reach), lengths)

    return answer


def offset_in_int32(weights, lengths):
    return offset_by_bins(weights, lengths).int()


def offset_of_rounded_totals(weights, lengths):
    T = weights.shape[-1]
    real = torch.arange(T) < lengths[:, None]
    summed = (weights * real[:, None, :, None]).sum(0)
    total = torch.stack([summed.diagonal(o, 1, 2).sum(-1) for o in range(-T + 1, T)])
    return total.half().argmax(0) - (T - 1)


# --- multi_head -----------------------------------------------------------------------------------


def multi_by_torch(query, key_value, w_q, w_k, w_v, w_o, n_heads, mask):
    blocked = (~mask).repeat_interleave(n_heads, dim=0)
    theirs = torch.nn.MultiheadAttention(len(w_q), n_heads, bias=False, batch_first=True)
    parameters = {
        "in_proj_weight": torch.cat([w_q.T, w_k.T, w_v.T]),
        "out_proj.weight": w_o.T,
    }
    call = torch.func.functional_call
    return call(theirs, parameters, (query, key_value, key_value), {"attn_mask": blocked})[0]


def multi_fused(query, key_value, w_q, w_k, w_v, w_o, n_heads, mask):
    q, k, v = (
        lesson.split_heads(x, n_heads) for x in (query @ w_q, key_value @ w_k, key_value @ w_v)
    )
    context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.unsqueeze(1))
    return lesson.merge_heads(context) @ w_o


def multi_by_einsum(query, key_value, w_q, w_k, w_v, w_o, n_heads, mask):
    wq, wk, wv = (w.view(len(w), n_heads, -1) for w in (w_q, w_k, w_v))
    q = torch.einsum("btm,mhd->bhtd", query, wq)
    k = torch.einsum("btm,mhd->bhtd", key_value, wk)
    v = torch.einsum("btm,mhd->bhtd", key_value, wv)
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) * q.shape[-1] ** -0.5
    scores = torch.where(mask[:, None], scores, -1e9)
    return torch.einsum(
        "bhqk,bhkd,hdm->bqm", scores.softmax(-1), v, w_o.view(n_heads, q.shape[-1], -1)
    )


def multi_in_a_loop(query, key_value, w_q, w_k, w_v, w_o, n_heads, mask):
    d = w_q.shape[1] // n_heads
    output = 0
    for h in range(n_heads):
        own = slice(h * d, (h + 1) * d)
        scores = (query @ w_q[:, own]) @ (key_value @ w_k[:, own]).mT / sqrt(d)
        weights = scores.masked_fill(mask.logical_not(), float("-inf")).softmax(-1)
        output = output + weights @ (key_value @ w_v[:, own]) @ w_o[own]
    return output


def multi_with(scale=None, view=False, mask_axis=1, close=None, dim=-1):
    """As learners write it, with one thing changed."""

    def answer(query, key_value, w_q, w_k, w_v, w_o, n_heads, mask):
        B, T_q, D = query.shape
        d = D // n_heads

        def split(x):
            if view:
                return x.view(B, n_heads, -1, d)
            return x.view(B, -1, n_heads, d).transpose(1, 2)

        q, k, v = split(query @ w_q), split(key_value @ w_k), split(key_value @ w_v)
        scores = torch.matmul(q, k.transpose(-1, -2)) / sqrt(scale or d)
        if mask_axis is not None:
            mask = mask.unsqueeze(mask_axis)
        scores = close(scores, mask) if close else scores.masked_fill(mask == 0, float("-inf"))
        weights = F.softmax(scores, dim=dim)
        context = (weights @ v).transpose(1, 2).reshape(B, T_q, D)
        return context @ w_o

    return answer


def multi_with_weights(weights_of):
    """As learners write it, with weights computed from scores and mask (B, 1, T_q, T_k)."""

    def answer(query, key_value, w_q, w_k, w_v, w_o, n_heads, mask):
        q, k, v = (
            lesson.split_heads(x, n_heads) for x in (query @ w_q, key_value @ w_k, key_value @ w_v)
        )
        weights = weights_of(q @ k.mT / sqrt(q.shape[-1]), mask[:, None])
        return lesson.merge_heads(weights @ v) @ w_o

    return answer


def blocked_at(score):
    return multi_with_weights(lambda scores, mask: scores.masked_fill(~mask, score).softmax(-1))


def bare_exp(scores, mask):
    weights = scores.exp() * mask
    return weights / weights.sum(dim=-1, keepdim=True)


def highest_of_all_subtracted(scores, mask):
    return bare_exp(scores - scores.max(), mask)


def highest_of_the_row_subtracted(scores, mask):
    scores = scores.masked_fill(~mask, -torch.inf)
    return bare_exp(scores - scores.amax(dim=-1, keepdim=True), mask)


def by_logsumexp(scores, mask):
    scores = scores.masked_fill(~mask, -torch.inf)
    return (scores - scores.logsumexp(dim=-1, keepdim=True)).exp()


def log_of_the_mask_added(scores, mask):
    return (scores + mask.float().log()).softmax(dim=-1)


def large_number_added(scores, mask):
    return (scores + (~mask) * -1e9).softmax(dim=-1)


def normalised_again(scores, mask):
    weights = scores.softmax(dim=-1) * mask
    return weights / weights.sum(dim=-1, keepdim=True)


def clamped(scores, mask):
    return scores.clamp(-50, 50).masked_fill(~mask, -torch.inf).softmax(dim=-1)


def a_little_for_all(scores, mask):
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1) + 1e-3


def multi_in_float64(query, key_value, w_q, w_k, w_v, w_o, n_heads, mask):
    numbers = (x.double() for x in (query, key_value, w_q, w_k, w_v, w_o))
    return multi_fused(*numbers, n_heads, mask).float()


def multi_with_a_kept_split():
    """The sizes of a head are kept for each length, whatever the number of heads."""
    kept = {}

    def answer(*args):
        n_heads = kept.setdefault(args[0].shape, args[6])
        return multi_fused(*args[:6], n_heads, args[7])

    return answer


def multi_up_to(longest):
    def answer(query, key_value, *rest):
        mask = rest[-1].clone()
        mask[:, :, longest:] = False
        return multi_fused(query, key_value, *rest[:-1], mask)

    return answer


def multi_guessing_causal(*args):
    mask = args[-1]
    if mask.shape[1] == mask.shape[2] and not mask[:, 0, 1:].any() and mask[:, -1].all():
        mask = torch.ones_like(mask).tril()
    return multi_fused(*args[:-1], mask)


def multi_with_kept_keys():
    """The projected keys and values are kept by what they were made from, without the matrices."""
    kept = {}

    def answer(query, key_value, w_q, w_k, w_v, w_o, n_heads, mask):
        if not w_k.requires_grad:
            key = (key_value.shape, key_value.sum().item())
            w_k, w_v = kept.setdefault(key, (w_k, w_v))
        return multi_fused(query, key_value, w_q, w_k, w_v, w_o, n_heads, mask)

    return answer


def multi_of_few_heads(*args):
    return multi_fused(*args[:6], args[6] if args[6] <= 16 else 1, args[7])


def multi_without_gradients(*args):
    value = multi_fused(*args)
    torch.set_grad_enabled(False)
    return value


def multi_interleaved(query, key_value, w_q, w_k, w_v, w_o, n_heads, mask):
    q, k, v = (
        x.view(*x.shape[:2], -1, n_heads).permute(0, 3, 1, 2)
        for x in (query @ w_q, key_value @ w_k, key_value @ w_v)
    )
    context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.unsqueeze(1))
    return context.permute(0, 2, 3, 1).reshape(query.shape) @ w_o


def multi_unscaled_and_ignored(query, key_value, w_q, w_k, w_v, w_o, n_heads, mask):
    q, k, v = (
        lesson.split_heads(x, n_heads) for x in (query @ w_q, key_value @ w_k, key_value @ w_v)
    )
    return lesson.merge_heads((q @ k.mT).softmax(-1) @ v) @ w_o


def multi_query_unprojected(query, key_value, w_q, w_k, w_v, w_o, n_heads, mask):
    return multi_fused(query, key_value, torch.eye(len(w_q)), w_k, w_v, w_o, n_heads, mask)


RIGHT = {
    "split_heads": [
        lesson.split_heads,
        split_by_view,
        split_stacked,
        split_in_loops,
        split_by_unfold,
    ],
    "merge_heads": [
        lesson.merge_heads,
        merge_concatenated,
        merge_contiguous,
        merge_reshaped,
        merge_by_einsum,
    ],
    "attention_params": [
        params_factored,
        params_from_tensors,
        params_head_by_head,
        params_from_modules,
    ],
    "drop_head": [drop_on_a_copy, drop_columns, drop_by_einsum, drop_with_where],
    "head_offset": [offset_by_bins, offset_in_loops, offset_by_traces, offset_masked],
    "multi_head": [
        multi_by_torch,
        multi_fused,
        multi_by_einsum,
        multi_in_a_loop,
        multi_in_float64,
        multi_with(),
        multi_with_weights(highest_of_the_row_subtracted),
        multi_with_weights(by_logsumexp),
        multi_with_weights(log_of_the_mask_added),
        multi_with_weights(large_number_added),
        blocked_at(-1e9),
        blocked_at(torch.finfo(torch.float32).min),
    ],
}

NAMED = {
    "split_heads": {
        "viewed": [lambda x, n: x.view(x.shape[0], n, x.shape[1], x.shape[2] // n)],
        "not_moved": [lambda x, n: x.view(*x.shape[:2], n, -1)],
        "interleaved": [lambda x, n: torch.stack([x[..., h::n] for h in range(n)], dim=1)],
        "joined_with_batch": [
            lambda x, n: split_by_view(x, n).reshape(-1, x.shape[1], x.shape[2] // n)
        ],
        "tuple_of_heads": [lambda x, n: torch.tensor_split(x, n, dim=-1)],
        "swapped_before_the_cut": [
            lambda x, n: x.mT.contiguous().view(x.shape[0], n, -1, x.shape[2] // n)
        ],
        "wrong_gradient": [lambda x, n: lesson.split_heads(x.detach(), n)],
    },
    "merge_heads": {
        "viewed": [lambda x: x.view(x.shape[0], x.shape[2], x.shape[1] * x.shape[3])],
        "joined_with_tokens": [
            lambda x: torch.cat(x.unbind(1), dim=1),
            lambda x: x.permute(0, 2, 1, 3).reshape(x.shape[0], -1, x.shape[3]),
        ],
        "not_swapped": [lambda x: x.reshape(*x.shape[:2], -1)],
        "wrong_gradient": [lambda x: torch.tensor(lesson.merge_heads(x).tolist())],
    },
    "attention_params": {
        "no_biases": [
            lambda d, h, k, v: torch.tensor(2 * d * h * k + 2 * d * h * v),
        ],
        "width_shared": [lambda d, h, k, v: torch.tensor(4 * (d * d + d))],
        "values_projected_as_keys": [
            lambda d, h, k, v: torch.tensor(3 * (d * h * k + h * k) + h * v * d + d),
        ],
        "widths_swapped": [lambda d, h, k, v: params_factored(d, h, v, k)],
        "queries_or_keys_forgotten": [
            lambda d, h, k, v: torch.tensor(h * (k + v) * (d + 1) + h * v * d + d),
        ],
        "biases_as_wide_as_the_model": [
            lambda d, h, k, v: torch.tensor(2 * d * h * (k + v) + 4 * d),
        ],
    },
    "drop_head": {
        "sentence_dropped": [
            lambda c, w, h: (
                lesson.merge_heads(c.index_put((torch.tensor(h),), torch.tensor(0.0))) @ w
            )
        ],
        "piece_of_width_h": [
            lambda c, w, h: lesson.merge_heads(c) * (torch.arange(len(w)) // c.shape[1] != h) @ w
        ],
        "zeros_in_the_output": [drop_columns_of_w_o, drop_from_the_output],
        "kept_only": [
            lambda c, w, h: c[:, h] @ w[h * c.shape[-1] : (h + 1) * c.shape[-1]],
        ],
        "not_mixed": [
            lambda c, w, h: (
                (c * (torch.arange(c.shape[1]) != h)[:, None, None]).transpose(1, 2).flatten(2)
            )
        ],
        "wrong_gradient": [drop_detached, drop_without_gradients],
    },
    "head_offset": {
        "padding_counted": [
            lambda w, lengths: offset_by_bins(w, torch.full_like(lengths, w.shape[-1])),
        ],
        "one_query_too_many": [
            offset_of_rows(lambda position, n: position <= n[:, None]),
        ],
        "distance": [
            lambda w, lengths: torch.stack(
                [
                    sum(
                        (
                            w.diagonal(s * o, 2, 3)
                            * (
                                torch.arange(w.shape[-1])[max(-s * o, 0) :][: w.shape[-1] - o]
                                < lengths[:, None]
                            )[:, None]
                        ).sum((0, 2))
                        for s in ((1,) if o == 0 else (1, -1))
                    )
                    for o in range(w.shape[-1])
                ]
            ).argmax(0),
            lambda w, lengths: offset_masked(w, lengths).abs(),
        ],
        "one_for_all_heads": [
            lambda w, lengths: offset_masked(w.sum(1, keepdim=True), lengths).repeat(len(w[0])),
        ],
        "heaviest_cell": [offset_of_the_largest],
        "sign_flipped": [lambda w, lengths: -offset_in_loops(w, lengths)],
    },
    "multi_head": {
        "scaled_by_d_model": [
            lambda q, kv, w_q, *rest: multi_with(scale=len(w_q))(q, kv, w_q, *rest)
        ],
        "split_by_view": [multi_with(view=True)],
        "head_axis_missing": [multi_with(mask_axis=None), multi_with(mask_axis=0)],
        "mask_inverted": [
            multi_with(close=lambda scores, mask: scores.masked_fill(mask, float("-inf"))),
            multi_with(close=lambda scores, mask: scores.masked_fill(mask, -1e9)),
            lambda *args: multi_fused(*args[:-1], ~args[-1]),
        ],
        "score_zero": [
            multi_with(close=lambda scores, mask: scores * mask),
            multi_with(close=lambda scores, mask: scores.masked_fill(~mask, 0.0)),
        ],
        "softmax_over_queries": [multi_with(dim=-2)],
        "mask_ignored": [multi_with(close=lambda scores, mask: scores)],
        "masked_late": [multi_with_weights(lambda scores, mask: scores.softmax(-1) * mask)],
        "split_and_merged_by_view": [
            lambda q, kv, w_q, w_k, w_v, w_o, n, mask: (
                F.scaled_dot_product_attention(
                    *(
                        (x @ w).view(len(x), n, x.shape[1], -1)
                        for x, w in ((q, w_q), (kv, w_k), (kv, w_v))
                    ),
                    attn_mask=mask[:, None],
                )
                .contiguous()
                .view(q.shape)
                @ w_o
            ),
        ],
        "one_head": [
            lambda q, kv, w_q, w_k, w_v, w_o, n, mask: (
                F.scaled_dot_product_attention(q @ w_q, kv @ w_k, kv @ w_v, attn_mask=mask) @ w_o
            ),
        ],
        "wrong_gradient": [lambda *args: multi_fused(*args).detach()],
    },
}

UNNAMED = {
    "split_heads": [
        split_reversed,
        split_tokens,
        split_unless_equal,
        split_into_a_buffer(),
        split_into_a_buffer(back=True),
        split_into_a_buffer(torch.float64, back=True),
        split_into_a_buffer(longest=1024),
        kept_by(lambda x, n: (x.shape, x.dtype, n), lesson.split_heads),
        into_one_buffer(lesson.split_heads),
        lambda x, n: lesson.split_heads(x if x.is_floating_point() else x.abs(), n),
        lambda x, n: lesson.split_heads(x.clamp(-1e6, 1e6) if x.is_floating_point() else x, n),
        lambda x, n: x.reshape(x.shape[0], n, -1, x.shape[2]),
    ],
    "merge_heads": [
        merge_reversed,
        merge_maximum,
        merge_view_after_transpose,
        merge_into_a_buffer(),
        merge_into_a_buffer(back=True),
        merge_into_a_buffer(torch.float64, back=True),
        merge_into_a_buffer(longest=1024),
        kept_by(lambda x: (x.shape, x.dtype, x.sum().item()), lesson.merge_heads),
        into_one_buffer(lesson.merge_heads),
        lambda x: lesson.merge_heads(x.clamp(-1e6, 1e6) if x.is_floating_point() else x),
        lambda x: lesson.merge_heads(x[:, :64]),
        lambda x: lesson.merge_heads(x)[..., :1024],
    ],
    "attention_params": [
        params_plus_one,
        params_doubled,
        params_in_float32,
        params_in_float64,
        params_no_wider_than_the_model,
        params_kept_by_the_sum(),
        lambda *sizes: params_from_modules(*sizes, device="cpu"),
        lambda *sizes: params_factored(*sizes).int().long(),
        lambda *sizes: params_factored(*sizes) % 2**40,
        params_square_output,
        params_by_torch,
    ],
    "drop_head": [
        drop_two,
        drop_halved,
        drop_cut_out,
        drop_in_place,
        drop_scaled_up,
        drop_subtracted,
        drop_all_equal,
        drop_nearly,
        drop_with_a_kept_mask(),
        into_one_buffer(drop_on_a_copy),
        drop_from_one_digit,
    ],
    "head_offset": [
        offset_least,
        offset_heads_swapped,
        offset_nearby,
        offset_of_heavy,
        offset_by_sentence,
        offset_in_int32,
        offset_within(3),
        offset_within(128),
        lambda w, n: offset_in_loops(w.mT, n),
        lambda w, n: offset_by_bins(w[:1], n[:1]),
        lambda w, n: offset_by_bins(w / n.view(-1, 1, 1, 1), n),
        offset_of_rounded_totals,
        lambda w, n: offset_by_bins(w.bfloat16().float(), n),
        lambda w, n: offset_by_bins((w * 100).round(), n),
        kept_by(lambda w, n: w.shape, offset_by_bins),
        into_one_buffer(offset_by_bins),
        offset_of_rows(lambda position, n: position < n[:, None] - 1),
        offset_of_rows(lambda position, n: (position < n[0])[None]),
        offset_of_rows(lambda position, n: (position < n.max())[None]),
    ],
    "multi_head": [
        multi_without_gradients,
        multi_unscaled_and_ignored,
        multi_query_unprojected,
        multi_interleaved,
        multi_with_a_kept_split(),
        multi_with_kept_keys(),
        multi_guessing_causal,
        multi_of_few_heads,
        into_one_buffer(multi_fused),
        multi_up_to(256),
        blocked_at(-30.0),
        blocked_at(-100.0),
        blocked_at(-1e4),
        multi_with_weights(bare_exp),
        multi_with_weights(highest_of_all_subtracted),
        multi_with_weights(normalised_again),
        multi_with_weights(clamped),
        multi_with(dim=1),
        multi_with_weights(a_little_for_all),
        multi_with(close=lambda scores, mask: scores + mask.float()),
        lambda *args: multi_in_a_loop(*args[:4], args[3], *args[5:]),
        lambda *args: multi_fused(*args[:4], torch.eye(len(args[4])), *args[5:]),
        lambda *args: multi_fused(*args[:5], args[5].T, *args[6:]),
    ],
}
