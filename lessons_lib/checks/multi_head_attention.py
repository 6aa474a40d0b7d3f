"""The exercises of lesson 5, as data: reference, cases, known mistakes, hints.

Masks are True where a query may attend; every query has a key that it may attend to.
"""

from functools import partial
from math import sqrt

import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib.checks.exercise import Case, Exercise, Misconception
from lessons_lib.checks.inputs import normal
from lessons_lib.checks.properties import same_gradient


def counted(*shape: int) -> torch.Tensor:
    """0, 1, 2 … in this shape, so that each number tells where it comes from."""
    return torch.arange(float(torch.Size(shape).numel())).view(shape)


# --- split_heads ----------------------------------------------------------------------------------


def cut_token_by_token(x, n_heads):
    """One token and one head at a time."""
    d = x.shape[-1] // n_heads
    pieces = [[[t[h * d : (h + 1) * d] for t in row] for h in range(n_heads)] for row in x]
    return torch.stack([torch.stack([torch.stack(head) for head in row]) for row in pieces])


split_heads = Exercise(
    id="split_heads",
    lesson=5,
    signature="split_heads(x (B, T, D), n_heads) → heads (B, H, T, D/H)",
    returns=("heads",),
    oracle=cut_token_by_token,
    cases=(
        Case("one token, two heads", (counted(1, 1, 4), 2)),
        Case("two tokens, two heads", (counted(1, 2, 4), 2)),
        Case("a batch, all sizes different", (counted(2, 3, 20), 4)),
        Case("a single head", (counted(3, 4, 5), 1)),
    ),
    misconceptions=(
        Misconception(
            "viewed",
            "Your tokens are scrambled: view cuts memory, it does not move the heads' axis.",
            lambda x, n_heads: x.reshape(len(x), n_heads, x.shape[1], -1),
        ),
        Misconception(
            "swapped_before_the_cut",
            "You swap tokens and numbers before you cut; cut first, then swap T and H.",
            lambda x, n_heads: x.transpose(1, 2).reshape(len(x), n_heads, x.shape[1], -1),
        ),
        Misconception(
            "interleaved",
            "Your head 0 takes every H-th number; it should take the first D/H of them.",
            lambda x, n_heads: x.unflatten(-1, (-1, n_heads)).permute(0, 3, 1, 2),
        ),
        Misconception(
            "not_moved",
            "Your result is (B, T, H, D/H): the heads still stand behind the tokens.",
            lambda x, n_heads: x.unflatten(-1, (n_heads, -1)),
        ),
        Misconception(
            "pieces_of_width_h",
            "Your pieces are H numbers wide, so there are D/H heads instead of H.",
            lambda x, n_heads: x.unflatten(-1, (-1, n_heads)).transpose(1, 2),
        ),
        Misconception(
            "wrong_axes_swapped",
            "You swap the tokens with the numbers of a head, not with the heads.",
            lambda x, n_heads: x.unflatten(-1, (n_heads, -1)).transpose(1, 3),
        ),
        Misconception(
            "heads_transposed",
            "Your heads are (D/H, T), as a key is for the scores; (T, D/H) is wanted.",
            lambda x, n_heads: x.unflatten(-1, (n_heads, -1)).permute(0, 2, 3, 1),
        ),
        Misconception(
            "heads_in_front",
            "Your heads stand before the batch: (H, B, T, D/H).",
            lambda x, n_heads: torch.stack(x.chunk(n_heads, dim=-1)),
        ),
        Misconception(
            "joined_with_batch",
            "Your heads share one axis with the batch: (B·H, T, D/H).",
            lambda x, n_heads: cut_token_by_token(x, n_heads).flatten(0, 1),
        ),
        Misconception(
            "whole_for_each",
            "Each of your heads gets the whole vector; it should get its piece of it.",
            lambda x, n_heads: x[:, None].expand(-1, n_heads, -1, -1),
        ),
        Misconception(
            "tuple_of_heads",
            "Your heads are several tensors; one tensor with an axis of heads is wanted.",
            lambda x, n_heads: x.chunk(n_heads, dim=-1),
        ),
        Misconception(
            "heads_last",
            "Your heads stand last: (B, T, D/H, H). They belong right behind the batch.",
            lambda x, n_heads: torch.stack(x.chunk(n_heads, dim=-1), dim=-1),
        ),
        Misconception(
            "tokens_cut",
            "You deal out the tokens; every head gets all of them, and a piece of each.",
            lambda x, n_heads: x.reshape(len(x), n_heads, -1, x.shape[-1]),
        ),
        Misconception(
            "tokens_cut",
            "You deal out the tokens; every head gets all of them, and a piece of each.",
            lambda x, n_heads: torch.stack(x.chunk(n_heads, dim=1), dim=1),
        ),
    ),
    properties=(same_gradient(cut_token_by_token, ("x", "n_heads"), (normal(3, 2, 3, 8), 2)),),
    hints=(
        "Where does the axis of heads stand right after cutting?",
        "Cut every token first: (B, T, H, D/H). Then the axes T and H change places.",
        "x.unflatten(-1, (n_heads, -1)) cuts the last axis, as a view of (B, T, H, -1) would; then"
        " transpose(1, 2).",
    ),
)


# --- merge_heads ----------------------------------------------------------------------------------


def glue_token_by_token(x):
    """For each token, its pieces one after the other."""
    rows = [[torch.cat([head[t] for head in row]) for t in range(x.shape[2])] for row in x]
    return torch.stack([torch.stack(row) for row in rows])


merge_heads = Exercise(
    id="merge_heads",
    lesson=5,
    signature="merge_heads(x (B, H, T, d)) → merged (B, T, H·d)",
    returns=("merged",),
    oracle=glue_token_by_token,
    cases=(
        Case("one token, two heads", (counted(1, 2, 1, 2),)),
        Case("two tokens, two heads", (counted(1, 2, 2, 2),)),
        Case("a batch, all sizes different", (counted(2, 4, 3, 5),)),
        Case("a single head", (counted(3, 1, 4, 5),)),
    ),
    misconceptions=(
        Misconception(
            "viewed",
            "Your tokens are scrambled: the axes must change places before they are joined.",
            lambda x: x.reshape(len(x), x.shape[2], -1),
        ),
        Misconception(
            "view_after_transpose",
            "After transpose, view can't read the memory in order; use reshape or flatten.",
            lambda x: x.transpose(1, 2).view(len(x), x.shape[2], -1),
        ),
        Misconception(
            "interleaved",
            "Your heads take turns number by number; the pieces should stay in one piece.",
            lambda x: x.permute(0, 2, 3, 1).flatten(2),
        ),
        Misconception(
            "not_joined",
            "Your result still has an axis of heads: (B, T, H, d).",
            lambda x: x.transpose(1, 2),
        ),
        Misconception(
            "joined_with_tokens",
            "You join the heads with the tokens: (B, H·T, d).",
            lambda x: x.flatten(1, 2),
        ),
        Misconception(
            "joined_with_tokens",
            "You join the heads with the tokens: (B, H·T, d).",
            lambda x: x.transpose(1, 2).flatten(1, 2),
        ),
        Misconception(
            "not_swapped",
            "You join the tokens with their numbers: (B, H, T·d). First swap H and T.",
            lambda x: x.flatten(2),
        ),
        Misconception(
            "joined_with_batch",
            "You join the heads with the batch: its axis is H times as long.",
            lambda x: torch.cat(x.unbind(dim=1)),
        ),
        Misconception(
            "averaged",
            "You average the heads; they should stand side by side.",
            lambda x: x.mean(dim=1),
        ),
        Misconception(
            "summed",
            "You add up the heads; they should stand side by side.",
            lambda x: x.sum(dim=1),
        ),
        Misconception(
            "first_head",
            "Your result holds the first head only.",
            lambda x: x[:, 0],
        ),
        Misconception(
            "wrong_axes_swapped",
            "You swap the heads with their numbers, not with the tokens.",
            lambda x: x.transpose(1, 3).flatten(2),
        ),
        Misconception(
            "tokens_in_front",
            "Your tokens stand before the batch: (T, B, H·d).",
            lambda x: x.permute(2, 0, 1, 3).flatten(2),
        ),
        Misconception(
            "tokens_joined",
            "You join the tokens as well: (B, T·H·d).",
            lambda x: x.transpose(1, 2).flatten(1),
        ),
        Misconception(
            "tokens_joined",
            "You join the tokens as well: (B, T·H·d).",
            lambda x: x.flatten(1),
        ),
        Misconception(
            "batch_swapped",
            "You swap the heads with the batch, not with the tokens.",
            lambda x: x.transpose(0, 1).flatten(2),
        ),
    ),
    properties=(same_gradient(glue_token_by_token, ("x",), (normal(4, 2, 3, 4, 2),)),),
    hints=(
        "It undoes the split. Which two axes become one, in which order?",
        "First H and T change places: (B, T, H, d). Then the last two axes become one.",
        "x.transpose(1, 2).flatten(2), or reshape instead of flatten. A view fails here, because"
        " transpose has moved no number in memory.",
    ),
)


# --- attention_params -----------------------------------------------------------------------------


def count_in_layers(d_model, n_heads, d_k, d_v):
    """Build the four projections, and count."""
    widths = [(d_model, n_heads * d_k)] * 2 + [(d_model, n_heads * d_v), (n_heads * d_v, d_model)]
    layers = [nn.Linear(d_in, d_out, device="meta") for d_in, d_out in widths]
    return torch.tensor(sum(p.numel() for layer in layers for p in layer.parameters()))


def tally(q=1, v=1, o=1, b_in=1, b_o=1):
    """The right sum with factors: queries and keys, values, output, their biases."""

    def answer(d_model, n_heads, d_k, d_v):
        d_q, d_c = n_heads * d_k, n_heads * d_v
        matrices = q * 2 * d_model * d_q + v * d_model * d_c + o * d_c * d_model
        return torch.tensor(matrices + b_in * (2 * d_q + d_c) + b_o * d_model)

    return answer


def counts(formula):
    """A wrong count, as a tensor."""
    return lambda *args: torch.tensor(formula(*args))


def right_count(d_model, n_heads, d_k, d_v):
    return int(count_in_layers(d_model, n_heads, d_k, d_v))


attention_params = Exercise(
    id="attention_params",
    lesson=5,
    signature="attention_params(d_model, n_heads, d_k, d_v) → count ()",
    returns=("count",),
    oracle=count_in_layers,
    cases=(
        Case("one head as wide as the model", (8, 1, 8, 8)),
        Case("two heads share the width", (8, 2, 4, 4)),
        Case("heads wider than their share", (6, 2, 5, 5)),
        Case("values narrower than keys", (10, 3, 7, 2)),
    ),
    misconceptions=(
        Misconception(
            "no_biases",
            "Your count is that of the four matrices; their biases are missing.",
            tally(b_in=0, b_o=0),
        ),
        Misconception(
            "no_output_projection",
            "Your count lacks w_o: it is that of queries, keys and values.",
            tally(o=0, b_o=0),
        ),
        Misconception(
            "no_output_bias",
            "Your count lacks the bias of w_o.",
            tally(b_o=0),
        ),
        Misconception(
            "only_output_bias",
            "Your count has the bias of w_o only; the other three have one as well.",
            tally(b_in=0),
        ),
        Misconception(
            "wide_output_bias",
            "Your bias of w_o is H·d_v wide; it is added to the output, of width d_model.",
            counts(lambda d, h, k, v: right_count(d, h, k, v) - d + h * v),
        ),
        Misconception(
            "width_shared",
            "Your count is 4d² + 4d: it holds only where d_k and d_v are d_model / H.",
            counts(lambda d, h, k, v: 4 * d**2 + 4 * d),
        ),
        Misconception(
            "one_head_only",
            "Your count is that of a single head; d_k and d_v are the widths of each.",
            counts(lambda d, h, k, v: right_count(d, 1, k, v)),
        ),
        Misconception(
            "layer_for_each_head",
            "You count a whole layer for each head; w_o and its bias are there once.",
            counts(lambda d, h, k, v: h * right_count(d, 1, k, v)),
        ),
        Misconception(
            "heads_as_wide_as_model",
            "You count H layers of full width; a head is d_k or d_v numbers wide.",
            counts(lambda d, h, k, v: h * (4 * d**2 + 4 * d)),
        ),
        Misconception(
            "values_as_wide_as_keys",
            "You count the values as wide as the keys: d_v is missing.",
            counts(lambda d, h, k, v: right_count(d, h, k, k)),
        ),
        Misconception(
            "keys_as_wide_as_values",
            "You count the keys as wide as the values: d_k is missing.",
            counts(lambda d, h, k, v: right_count(d, h, v, v)),
        ),
        Misconception(
            "output_from_keys",
            "Your w_o takes H·d_k numbers; what it mixes are contexts, of width d_v.",
            counts(lambda d, h, k, v: right_count(d, h, k, v) + h * (k - v) * d),
        ),
        Misconception(
            "one_number_as_bias",
            "You count one number as a bias; there is one for each output of a matrix.",
            counts(lambda d, h, k, v: int(tally(b_in=0, b_o=0)(d, h, k, v)) + 4),
        ),
        Misconception(
            "biases_as_wide_as_the_model",
            "You count four biases d_model wide; a bias is as wide as what it is added to.",
            counts(lambda d, h, k, v: int(tally(b_in=0, b_o=0)(d, h, k, v)) + 4 * d),
        ),
        Misconception(
            "biases_of_one_head",
            "You count the biases of one head; every head has its own.",
            counts(lambda d, h, k, v: int(tally(b_in=0)(d, h, k, v)) + 2 * k + v),
        ),
        Misconception(
            "output_of_one_head",
            "Your w_o starts from one head; it mixes all heads, H·d_v numbers.",
            counts(lambda d, h, k, v: right_count(d, h, k, v) - (h - 1) * v * d),
        ),
        Misconception(
            "square_output",
            "Your w_o is d_model × d_model; what it mixes is H·d_v numbers wide.",
            counts(lambda d, h, k, v: right_count(d, h, k, v) + (d - h * v) * d),
        ),
        Misconception(
            "queries_or_keys_forgotten",
            "You count one projection of width H·d_k; queries and keys have one each.",
            counts(lambda d, h, k, v: right_count(d, h, k, v) - (d + 1) * h * k),
        ),
        Misconception(
            "widths_swapped",
            "You take d_k for d_v: queries and keys are d_k wide, values d_v.",
            counts(lambda d, h, k, v: right_count(d, h, v, k)),
        ),
    ),
    hints=(
        "How many numbers go into each of the four projections, and how many come out?",
        "Queries and keys: from d_model to n_heads · d_k. Values: to n_heads · d_v. And w_o starts"
        " from what the heads bring, side by side.",
        "A projection from a to b has a·b numbers in its matrix and b in its bias. Add up"
        " (d_model, H·d_k) twice, (d_model, H·d_v) and (H·d_v, d_model) once; torch.tensor(count).",
    ),
)


# --- drop_head ------------------------------------------------------------------------------------


def sum_of_the_others(context, w_o, head):
    """Every head goes through its own rows of w_o; all of them but one are added up."""
    n_heads, d = context.shape[1], context.shape[3]
    rows = w_o.view(n_heads, d, -1)
    return sum(context[:, h] @ rows[h] for h in range(n_heads) if h != head)


def merged(context):
    return context.transpose(1, 2).flatten(2)


def zeroed(x, dim, places):
    """A copy of x with zeros at these places of one axis."""
    return x.index_fill(dim, torch.as_tensor(places), 0.0)


def head_places(context, head):
    d = context.shape[-1]
    return list(range(head * d, (head + 1) * d))


def others(context, head):
    return [h for h in range(context.shape[1]) if h != head]


def drop_and_view(context, w_o, head):
    B, _, T, _ = context.shape
    return zeroed(context, 1, [head]).reshape(B, T, -1) @ w_o


def drop_rows_left(context, w_o, head):
    rest = merged(context[:, others(context, head)])
    return rest @ w_o[: rest.shape[-1]]


def drop_replaced(context, w_o, head):
    heads = list(context.unbind(dim=1))
    heads[head] = context[:, others(context, head)].mean(dim=1)
    return torch.cat(heads, dim=-1) @ w_o


def cleared(place):
    """Set a part of a copy to 0 by its index, and go on as if it were the head."""

    def answer(context, w_o, head):
        copy = context.clone()
        copy[place(head)] = 0.0
        return merged(copy) @ w_o

    return answer


def drop_piece_of_width_h(context, w_o, head):
    copy, H = merged(context).clone(), context.shape[1]
    copy[..., head * H : (head + 1) * H] = 0.0
    return copy @ w_o


dropped = (normal(5, 2, 3, 4, 2), normal(6, 6, 7), 1)  # B, H, T, d and d_model: all different

drop_head = Exercise(
    id="drop_head",
    lesson=5,
    signature="drop_head(context (B, H, T, d), w_o (H·d, d_model), head) → output (B, T, d_model)",
    returns=("output",),
    oracle=sum_of_the_others,
    cases=(
        Case("two heads, one token", (normal(1, 1, 2, 1, 3), normal(2, 6, 4), 0)),
        Case("a batch, all sizes different", dropped),
        Case("the last of four heads", (normal(7, 3, 4, 5, 2), normal(8, 8, 9), 3)),
    ),
    misconceptions=(
        Misconception(
            "nothing_dropped",
            "Your output is that of all heads.",
            lambda context, w_o, head: merged(context) @ w_o,
        ),
        Misconception(
            "kept_only",
            "Your output is that of this head alone; it is the one to leave out.",
            lambda context, w_o, head: merged(zeroed(context, 1, others(context, head))) @ w_o,
        ),
        Misconception(
            "counted_from_1",
            "You leave out the head before: heads are counted from 0.",
            lambda context, w_o, head: sum_of_the_others(context, w_o, (head or len(w_o)) - 1),
        ),
        Misconception(
            "counted_from_1",
            "You leave out the head before: heads are counted from 0.",
            cleared(lambda head: (slice(None), head - 1)),
        ),
        Misconception(
            "sentence_dropped",
            "You leave out a sentence: axis 0 of the context. The heads are axis 1.",
            cleared(lambda head: head),
        ),
        Misconception(
            "number_dropped",
            "You leave out one number of every head: axis 3. The heads are axis 1.",
            cleared(lambda head: (..., head)),
        ),
        Misconception(
            "from_head_on",
            "You leave out this head and all behind it.",
            cleared(lambda head: (slice(None), slice(head, None))),
        ),
        Misconception(
            "every_hth",
            "You leave out every H-th number of the merged vector; a head is one piece.",
            lambda context, w_o, head: (
                zeroed(merged(context), 2, list(range(head, len(w_o), context.shape[1]))) @ w_o
            ),
        ),
        Misconception(
            "output_zeroed",
            "You clear a piece of the output; after w_o every head is everywhere in it.",
            lambda context, w_o, head: (
                merged(context)
                @ zeroed(w_o, 1, [p for p in head_places(context, head) if p < w_o.shape[1]])
            ),
        ),
        Misconception(
            "one_number",
            "You leave out one number of the merged vector; a head has d of them.",
            lambda context, w_o, head: zeroed(merged(context), 2, [head]) @ w_o,
        ),
        Misconception(
            "piece_of_width_h",
            "You leave out a piece H numbers wide; a head has d of them.",
            drop_piece_of_width_h,
        ),
        Misconception(
            "head_cut_out",
            "You cut the head out: set its numbers to 0, then the width fits w_o.",
            lambda context, w_o, head: merged(context[:, others(context, head)]) @ w_o,
        ),
        Misconception(
            "token_dropped",
            "You leave out a token: axis 2 of the context. The heads are axis 1.",
            lambda context, w_o, head: merged(zeroed(context, 2, [head])) @ w_o,
        ),
        Misconception(
            "viewed",
            "Your tokens are scrambled: the heads are merged by a view, without transpose.",
            drop_and_view,
        ),
        Misconception(
            "rows_shifted",
            "Your heads move up, but not their rows of w_o: they meet another head's.",
            drop_rows_left,
        ),
        Misconception(
            "scaled_up",
            "You scale the others up, as dropout does; here nothing is made up for.",
            lambda context, w_o, head: (
                sum_of_the_others(context, w_o, head) * context.shape[1] / (context.shape[1] - 1)
            ),
        ),
        Misconception(
            "replaced_by_mean",
            "You put the average of the others in its place; zeros are wanted.",
            drop_replaced,
        ),
        Misconception(
            "not_mixed",
            "Your output is the merged context: w_o is missing.",
            lambda context, w_o, head: merged(zeroed(context, 1, [head])),
        ),
    ),
    properties=(same_gradient(sum_of_the_others, ("context", "w_o", "head"), dropped),),
    hints=(
        "Where does one head stand in the context, and where after merging?",
        "Make a copy of the context in which this head is all zeros, merge the heads, apply w_o.",
        "Multiply the context by a mask: keep = torch.ones(H), keep[head] = 0, context * keep[:,"
        " None, None]. Then transpose(1, 2).flatten(2) @ w_o. Don't change the context itself.",
    ),
)


# --- head_offset ----------------------------------------------------------------------------------


def weigh_offset_by_offset(weights, lengths):
    """For each head, add up the weight at each offset key − query of the real queries."""
    B, H, T, _ = weights.shape
    found = []
    for head in range(H):
        total = dict.fromkeys(range(-T + 1, T), 0.0)
        for b in range(B):
            for query in range(lengths[b]):
                for key in range(T):
                    total[key - query] += weights[b, head, query, key].item()
        found.append(max(total, key=total.get))
    return torch.tensor(found)


def offsets(T):
    """(T, T): key − query."""
    place = torch.arange(T)
    return place - place[:, None]


def without_padding(weights, lengths):
    real = torch.arange(weights.shape[-1]) < lengths[:, None]
    return weights * real[:, None, :, None]


def strongest(
    weights, lengths, of=offsets, pad=False, mean=False, start=None, pool=torch.sum, only=None
):
    """The offset with the most weight, with one thing changed.

    Other offsets, padding counted, averaged along each, numbered from 0, sentences pooled in
    another way, or only some offsets looked at.
    """
    T = weights.shape[-1]
    w = pool(weights if pad else without_padding(weights, lengths), dim=0)  # (H, T, T)
    choices = [o for o in of(T).unique().tolist() if only is None or only(o)]
    total = torch.stack([w[:, of(T) == o].sum(dim=1) for o in choices])  # (offsets, H)
    if mean:
        total = total / torch.tensor([(of(T) == o).sum() for o in choices])[:, None]
    best = total.argmax(dim=0)
    return best if start == 0 else torch.tensor(choices)[best]


def vote(weights, lengths):
    """The offset that most queries give their heaviest weight to."""
    real = torch.arange(weights.shape[-1]) < lengths[:, None]  # (B, T)
    heaviest = weights.argmax(dim=-1) - torch.arange(weights.shape[-1])  # (B, H, T)
    return torch.stack([heaviest[:, h][real].mode().values for h in range(weights.shape[1])])


def by_sentence(weights, lengths):
    """The answer for each sentence alone: (B, H)."""
    pairs = zip(weights, lengths, strict=True)
    return torch.stack([strongest(w[None], n[None]) for w, n in pairs])


def heaviest_cell(weights, lengths, pool=torch.sum):
    T = weights.shape[-1]
    cell = pool(without_padding(weights, lengths), dim=0).flatten(1).argmax(dim=1)  # (H,)
    return cell % T - cell // T


def with_length(change):
    """Sentences that end somewhere else."""
    return lambda weights, lengths: strongest(weights, change(lengths).expand(len(lengths)))


def average_offset(weights, lengths):
    w = without_padding(weights, lengths)
    return (w * offsets(w.shape[-1])).sum(dim=(0, 2, 3)) / lengths.sum()


def planted(seed, lengths, wanted, T, strength=1.0):
    """Random weights (B, H, T, T) of heads that prefer these offsets; no weight on padding.

    The padded queries all look at the first word.
    """
    at = offsets(T) == torch.tensor(wanted)[:, None, None]  # (H, T, T)
    scores = normal(seed, len(lengths), len(wanted), T, T) + strength * at
    real = torch.arange(T) < torch.tensor(lengths)[:, None]  # (B, T)
    weights = scores.masked_fill(~real[:, None, None], -torch.inf).softmax(dim=-1)
    first = F.one_hot(torch.zeros(T, dtype=torch.long), T).float()  # (T, T)
    return torch.where(real[:, None, :, None], weights, first), torch.tensor(lengths)


def uneven(seed, lengths, n_heads, T):
    """Random weights (B, H, T, T), mostly on one word or two; no weight on padding."""
    lengths = torch.tensor(lengths)
    draw = torch.Generator().manual_seed(seed)
    weights = torch.rand(len(lengths), n_heads, T, T, generator=draw) ** 6
    weights = weights * (torch.arange(T) < lengths[:, None])[:, None, None]
    return weights / weights.sum(dim=-1, keepdim=True), lengths


sharp = F.one_hot(torch.tensor([0, 0, 1, 2]), 4).float()[None, None]  # (1, 1, 4, 4)

head_offset = Exercise(
    id="head_offset",
    lesson=5,
    signature="head_offset(weights (B, H, T, T), lengths (B,)) → offset (H,)",
    returns=("offset",),
    oracle=weigh_offset_by_offset,
    cases=(
        Case("one head that looks at the word before", (sharp, torch.tensor([4]))),
        Case("two heads look to different sides", planted(1, [6], [2, -1], 6, strength=3.0)),
        Case("soft weights, several sentences", planted(18, [7, 7, 7], [1, -2, 0], 7)),
        Case("padded queries look at the first word", planted(4, [4, 3, 2, 3], [1, 0], 5)),
        Case("unequal sentences, six heads", uneven(14933, [4, 6, 2], 6, 6)),
    ),
    misconceptions=(
        Misconception(
            "sign_flipped",
            "Your offsets have the wrong sign: key minus query is wanted.",
            lambda weights, lengths: -weigh_offset_by_offset(weights, lengths),
        ),
        Misconception(
            "padding_counted",
            "You count padded queries; a sentence ends at its length.",
            lambda weights, lengths: strongest(weights, lengths, pad=True),
        ),
        Misconception(
            "distance",
            "You give the distance; an offset has a sign, negative for a key on the left.",
            lambda weights, lengths: strongest(weights, lengths, of=lambda T: offsets(T).abs()),
        ),
        Misconception(
            "distance",
            "You give the distance; an offset has a sign, negative for a key on the left.",
            lambda weights, lengths: weigh_offset_by_offset(weights, lengths).abs(),
        ),
        Misconception(
            "index_of_diagonal",
            "You number the diagonals from 0; the word itself has the offset 0.",
            lambda weights, lengths: strongest(weights, lengths, start=0),
        ),
        Misconception(
            "averaged_along",
            "You average along each offset; far offsets have few pairs. Add up instead.",
            lambda weights, lengths: strongest(weights, lengths, mean=True),
        ),
        Misconception(
            "voted",
            "You count the heaviest key of each query; all of the weight should count.",
            vote,
        ),
        Misconception(
            "mean_offset",
            "You average the offsets, weighted; wanted is the one with the most weight.",
            average_offset,
        ),
        Misconception(
            "mean_rounded",
            "You round the average offset; wanted is the one with the most weight.",
            lambda weights, lengths: average_offset(weights, lengths).round().long(),
        ),
        Misconception(
            "key_not_offset",
            "You give the place of the key with the most weight, not how far away it is.",
            lambda weights, lengths: (
                without_padding(weights, lengths).sum(dim=(0, 2)).argmax(dim=-1)
            ),
        ),
        Misconception(
            "one_for_all_heads",
            "You give one offset for all heads together; each has its own.",
            lambda weights, lengths: strongest(weights.mean(1, keepdim=True), lengths)[0],
        ),
        Misconception(
            "one_for_all_heads",
            "You give one offset for all heads together; each has its own.",
            lambda weights, lengths: strongest(weights.mean(1, keepdim=True), lengths).expand(
                weights.shape[1]
            ),
        ),
        Misconception(
            "axes_swapped",
            "You swap queries and keys: rows are queries, columns are keys.",
            lambda weights, lengths: strongest(weights.mT, lengths),
        ),
        Misconception(
            "one_for_each_sentence",
            "You give offsets for each sentence; add up over the sentences first.",
            by_sentence,
        ),
        Misconception(
            "first_sentence_only",
            "You look at the first sentence only.",
            lambda weights, lengths: strongest(weights[:1], lengths[:1]),
        ),
        *(
            Misconception(
                "one_length_for_all",
                "You cut all sentences at one length; each has its own.",
                with_length(change),
            )
            for change in (lambda n: n[:1], lambda n: n.max(), lambda n: n.min())
        ),
        *(
            Misconception(
                "length_off_by_one",
                "Your sentences are one word too long or too short: the last is lengths − 1.",
                with_length(change),
            )
            for change in (lambda n: n + 1, lambda n: n - 1)
        ),
        Misconception(
            "voted_by_sentence",
            "Your sentences vote, one voice each; add up their weights instead.",
            lambda weights, lengths: by_sentence(weights, lengths).mode(dim=0).values,
        ),
        Misconception(
            "sentences_averaged",
            "You divide by each sentence's length: short ones count too much. Add up.",
            lambda weights, lengths: strongest(weights / lengths[:, None, None, None], lengths),
        ),
        Misconception(
            "largest_over_sentences",
            "You take the largest weight over the sentences; add them up.",
            lambda weights, lengths: strongest(weights, lengths, pool=torch.amax),
        ),
        Misconception(
            "off_by_one",
            "Your offsets are one too small: the first diagonal is −(T − 1), not −T.",
            lambda weights, lengths: weigh_offset_by_offset(weights, lengths) - 1,
        ),
        *(
            Misconception(
                "one_side_only",
                "You look to one side only; offsets go from −(T − 1) to T − 1.",
                partial(strongest, only=only),
            )
            for only in (lambda o: o >= 0, lambda o: o <= 0)
        ),
        Misconception(
            "heaviest_cell",
            "You take the heaviest cell of the map; add up each diagonal first.",
            heaviest_cell,
        ),
        Misconception(
            "heaviest_cell",
            "You take the heaviest cell of the map; add up each diagonal first.",
            partial(heaviest_cell, pool=torch.amax),
        ),
        Misconception(
            "heads_added",
            "You add up the heads, not the sentences: one offset for each sentence.",
            lambda weights, lengths: by_sentence(weights.sum(1, keepdim=True), lengths)[:, 0],
        ),
    ),
    hints=(
        "All pairs with one offset lie on one line of the map. Which line is the darkest?",
        "Leave the padded queries out, add up over the sentences: (H, T, T). Then add up each"
        " diagonal: diagonal number o holds the pairs with key − query = o.",
        "real = torch.arange(T) < lengths[:, None], (B, T), multiplies the rows as real[:, None, :,"
        " None]. For o in range(-T + 1, T): summed.diagonal(o, 1, 2).sum(-1) is (H,). Stack them,"
        " argmax over the offsets, and subtract T − 1.",
    ),
)


# --- multi_head -----------------------------------------------------------------------------------


def head_by_head(query, key_value, w_q, w_k, w_v, w_o, n_heads, mask):
    """torch's attention for each head, with its columns of the matrices; then side by side."""
    contexts = []
    for columns in torch.arange(w_q.shape[1]).chunk(n_heads):
        q, k, v = query @ w_q[:, columns], key_value @ w_k[:, columns], key_value @ w_v[:, columns]
        contexts.append(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
    return torch.cat(contexts, dim=-1) @ w_o


def cut(x, n_heads):
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def cut_by_view(x, n_heads):
    return x.reshape(len(x), n_heads, x.shape[1], -1)


def cut_interleaved(x, n_heads):
    return x.unflatten(-1, (-1, n_heads)).permute(0, 3, 1, 2)


def merged_by_view(context):
    return context.reshape(len(context), context.shape[2], -1)


def merged_interleaved(context):
    return context.permute(0, 2, 3, 1).flatten(2)


def hidden(scores, mask):
    return scores.masked_fill(~mask[:, None], -1e9)


def parts(
    split=cut,
    merge=merged,
    scale=lambda d_model, d_k: 1 / sqrt(d_k),
    masked=hidden,
    dim=-1,
    mix=True,
    order=(0, 1, 2),
    turned=(),
    shared=False,
):
    """Multi-head attention with one of its parts exchanged."""

    def answer(query, key_value, w_q, w_k, w_v, w_o, n_heads, mask):
        w = [*((w_q, w_k, w_v)[i] for i in order), w_o]
        w_q, w_k, w_v, w_o = (m.mT if i in turned else m for i, m in enumerate(w))
        pairs = ((query, w_q), (key_value, w_k), (key_value, w_v))
        q, k, v = (split(x @ m, n_heads) for x, m in pairs)
        scores = q @ k.mT * scale(query.shape[-1], q.shape[-1])
        weights = masked(scores, mask).softmax(dim=dim)
        context = merge((weights.mean(dim=1, keepdim=True) if shared else weights) @ v)
        return context @ w_o if mix else context

    return answer


def masked_late(query, key_value, w_q, w_k, w_v, w_o, n_heads, mask):
    q, k, v = (
        cut(query @ w_q, n_heads),
        cut(key_value @ w_k, n_heads),
        cut(key_value @ w_v, n_heads),
    )
    weights = (q @ k.mT / sqrt(q.shape[-1])).softmax(dim=-1) * mask[:, None]
    return merged(weights @ v) @ w_o


def fused(mask_of):
    """With torch's function for all heads at once, and another mask."""

    def answer(query, key_value, w_q, w_k, w_v, w_o, n_heads, mask):
        pairs = ((query, w_q), (key_value, w_k), (key_value, w_v))
        q, k, v = (cut(x @ m, n_heads) for x, m in pairs)
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_of(mask))
        return merged(context) @ w_o

    return answer


def layer_inputs(seed, B, T_q, T_k, d_model, n_heads, masked=True):
    """Inputs, four matrices, heads, and a mask in which every query has a key."""
    matrices = [normal(seed + i, d_model, d_model, scale=0.6) for i in range(4)]
    mask = (normal(seed + 4, B, T_q, T_k) > (0.2 if masked else -100.0)).index_fill(
        2, torch.tensor([seed % T_k]), True
    )
    x, y = normal(seed + 5, B, T_q, d_model), normal(seed + 6, B, T_k, d_model)
    return (x, y, *matrices, n_heads, mask)


LAYER = ("query", "key_value", "w_q", "w_k", "w_v", "w_o", "n_heads", "mask")

multi_head = Exercise(
    id="multi_head",
    lesson=5,
    signature=(
        "multi_head(query (B, T_q, D), key_value (B, T_k, D), w_q, w_k, w_v, w_o (D, D) each, "
        "n_heads, mask (B, T_q, T_k)) → output (B, T_q, D)"
    ),
    returns=("output",),
    oracle=head_by_head,
    cases=(
        Case("one head, all is allowed", layer_inputs(10, 1, 2, 3, 4, 1, masked=False)),
        Case("two heads, all is allowed", layer_inputs(20, 1, 3, 4, 8, 2, masked=False)),
        Case("a mask, one sentence", layer_inputs(30, 1, 5, 4, 6, 2)),
        Case("a mask for each sentence", layer_inputs(40, 2, 5, 7, 12, 3)),
        Case("as many sentences as heads", layer_inputs(50, 3, 4, 5, 6, 3)),
    ),
    misconceptions=(
        Misconception(
            "scaled_by_d_model",
            "You divide by the root of the whole width; a head is d_model / H wide.",
            parts(scale=lambda d_model, d_k: 1 / sqrt(d_model)),
        ),
        Misconception(
            "unscaled",
            "Your scores are not divided by the root of d_k.",
            parts(scale=lambda d_model, d_k: 1.0),
        ),
        Misconception(
            "divided_by_d_k",
            "You divide by d_k itself; its square root is wanted.",
            parts(scale=lambda d_model, d_k: 1 / d_k),
        ),
        Misconception(
            "split_by_view",
            "Your tokens are scrambled: you split by a view, without transpose.",
            parts(split=cut_by_view),
        ),
        Misconception(
            "merged_by_view",
            "Your tokens are scrambled: you merge by a view, without transpose.",
            parts(merge=merged_by_view),
        ),
        Misconception(
            "split_and_merged_by_view",
            "Your tokens are scrambled twice: split and merged by a view.",
            parts(split=cut_by_view, merge=merged_by_view),
        ),
        Misconception(
            "interleaved",
            "Your heads take every H-th number; a head is one piece of the vector.",
            parts(split=cut_interleaved),
        ),
        Misconception(
            "interleaved",
            "Your heads take every H-th number; a head is one piece of the vector.",
            parts(split=cut_interleaved, merge=merged_interleaved),
        ),
        Misconception(
            "head_axis_missing",
            "Your mask has no axis for the heads: its B meets H, and B = H hides it.",
            parts(masked=lambda scores, mask: scores.masked_fill(~mask, -1e9)),
        ),
        Misconception(
            "head_axis_missing",
            "Your mask has no axis for the heads: its B meets H, and B = H hides it.",
            fused(lambda mask: mask),
        ),
        Misconception(
            "mask_ignored",
            "Your weights pay no heed to the mask.",
            parts(masked=lambda scores, mask: scores),
        ),
        Misconception(
            "mask_inverted",
            "You close what the mask allows: True = may attend.",
            parts(masked=lambda scores, mask: hidden(scores, ~mask)),
        ),
        Misconception(
            "mask_inverted",
            "You close what the mask allows: True = may attend.",
            parts(masked=lambda scores, mask: scores.masked_fill(mask[:, None], -torch.inf)),
        ),
        Misconception(
            "mask_inverted",
            "You close what the mask allows: True = may attend.",
            fused(lambda mask: ~mask[:, None]),
        ),
        Misconception(
            "score_zero",
            "You set hidden scores to 0, which is no low score; −inf keeps a key out.",
            parts(masked=lambda scores, mask: scores * mask[:, None]),
        ),
        Misconception(
            "mask_added",
            "You add 0 or 1 to the scores; −inf must stand where the mask is False.",
            parts(masked=lambda scores, mask: scores + mask[:, None]),
        ),
        Misconception(
            "masked_late",
            "You mask after the softmax: your weights no longer sum to 1.",
            masked_late,
        ),
        Misconception(
            "softmax_over_queries",
            "Your softmax runs over the queries; it should run over the keys.",
            parts(dim=-2),
        ),
        Misconception(
            "softmax_over_queries",
            "Your softmax runs over the queries; it should run over the keys.",
            parts(
                masked=lambda scores, mask: scores.masked_fill(~mask[:, None], -torch.inf), dim=-2
            ),
        ),
        Misconception(
            "softmax_over_heads",
            "Your softmax runs over the heads; it should run over the keys.",
            parts(dim=1),
        ),
        Misconception(
            "softmax_over_heads",
            "Your softmax runs over the heads; it should run over the keys.",
            parts(
                masked=lambda scores, mask: scores.masked_fill(~mask[:, None], -torch.inf), dim=1
            ),
        ),
        Misconception(
            "not_mixed",
            "Your output is the merged context: w_o is missing.",
            parts(mix=False),
        ),
        Misconception(
            "heads_ignored",
            "Your output is that of one head of full width.",
            parts(split=lambda x, n_heads: cut(x, 1)),
        ),
        Misconception(
            "matrices_transposed",
            "You apply the matrices transposed; here it is x @ w.",
            parts(turned=range(4)),
        ),
        Misconception(
            "values_not_projected",
            "Your values are not projected by w_v.",
            lambda *args: head_by_head(*args[:4], torch.eye(len(args[4])), *args[5:]),
        ),
        Misconception(
            "values_not_projected",
            "Your values are not projected by w_v.",
            parts(order=(0, 1, 1)),
        ),
        Misconception(
            "keys_and_values_swapped",
            "You use w_v for the keys and w_k for the values.",
            parts(order=(0, 2, 1)),
        ),
        Misconception(
            "queries_and_keys_swapped",
            "You use w_k for the queries and w_q for the keys.",
            parts(order=(1, 0, 2)),
        ),
        Misconception(
            "output_transposed",
            "You apply w_o transposed; here it is context @ w_o.",
            parts(turned=(3,)),
        ),
        Misconception(
            "weights_averaged",
            "You average the weights over the heads; each head keeps its own.",
            parts(shared=True),
        ),
    ),
    properties=(same_gradient(head_by_head, LAYER, layer_inputs(60, 2, 3, 4, 6, 3)),),
    hints=(
        "Six steps: project, split, score, softmax, merge, mix. Write the shape after each.",
        "Split all three of query, key and value to (B, H, T, D/H). The scores are (B, H, T_q,"
        " T_k); the mask has no H. What is d_k of one head?",
        "q = split(query @ w_q), and so on; scores = q @ k.transpose(-2, -1) / sqrt(D / n_heads);"
        " masked_fill(~mask[:, None], -1e9), softmax(dim=-1) @ v; then transpose(1, 2).flatten(2)"
        " @ w_o.",
    ),
)


EXERCISES = (split_heads, merge_heads, attention_params, drop_head, head_offset, multi_head)
