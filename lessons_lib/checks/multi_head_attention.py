"""The exercises of lesson 5, as data: reference, cases, known mistakes, hints.

Masks are True where a query may attend; every query has a key that it may attend to.
"""

from functools import partial
from math import sqrt

import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib.checks.exercise import Case, Exercise, Misconception, several
from lessons_lib.checks.inputs import normal, truths
from lessons_lib.checks.properties import same_gradient


def counted(*shape: int, start: float = 0.0) -> torch.Tensor:
    """start, start + 1 … in this shape, so that each number tells where it comes from.

    A start without a decimal point gives torch.int64.
    """
    return torch.arange(start, start + torch.Size(shape).numel()).view(shape)


# The first whole number that torch.float64 has to round; torch.float32 rounds from 2^24 + 1 on.
LARGE = 2**53 + 1


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
        Case("the example: whole numbers", (counted(1, 2, 4, start=1), 2)),
        Case("the same sizes, negative", (counted(1, 2, 4, start=-9), 2)),
        Case("a batch, all sizes different", (normal(1, 2, 3, 20), 4)),
        Case("the same shape, other heads", (normal(2, 2, 3, 20), 5)),
        Case("a single head", (normal(4, 3, 4, 5), 1)),
        Case("heads one number wide", (normal(5, 2, 4, 3), 3)),
        Case("B = T = H = D/H", (normal(6, 3, 3, 9), 3)),
        Case("whole numbers beyond 2^53", (counted(1, 1, 4, start=LARGE), 2)),
        Case("numbers up to 2e30", (torch.tensor([[[1e30, -2e30, 3.0, -4.0]]]), 2)),
        Case("seventeen heads", (normal(8, 2, 3, 34), 17)),
        Case("a sentence of 1100 tokens", (normal(7, 1, 1100, 6), 2)),
    ),
    misconceptions=(
        Misconception(
            "viewed",
            "Your output is x viewed as (B, H, T, D/H): that mixes the tokens.",
            lambda x, n_heads: x.reshape(len(x), n_heads, x.shape[1], -1),
        ),
        Misconception(
            "swapped_before_the_cut",
            "Your output is what you get when T and D are swapped before the cut.",
            lambda x, n_heads: x.transpose(1, 2).reshape(len(x), n_heads, x.shape[1], -1),
        ),
        Misconception(
            "interleaved",
            "Your head 0 holds every H-th number; it should hold the first D/H numbers.",
            lambda x, n_heads: x.unflatten(-1, (-1, n_heads)).permute(0, 3, 1, 2),
        ),
        Misconception(
            "not_moved",
            "Your output is (B, T, H, D/H): the heads still stand behind the tokens.",
            lambda x, n_heads: x.unflatten(-1, (n_heads, -1)),
        ),
        Misconception(
            "pieces_of_width_h",
            "Your output is (B, D/H, T, H): pieces H numbers wide, D/H of them.",
            lambda x, n_heads: x.unflatten(-1, (-1, n_heads)).transpose(1, 2),
        ),
        Misconception(
            "heads_in_front",
            "Your output is (H, B, T, D/H): the heads stand before the batch.",
            lambda x, n_heads: torch.stack(x.chunk(n_heads, dim=-1)),
        ),
        Misconception(
            "joined_with_batch",
            "Your output is (B·H, T, D/H): the heads share one axis with the batch.",
            lambda x, n_heads: cut_token_by_token(x, n_heads).flatten(0, 1),
        ),
        Misconception(
            "tuple_of_heads",
            "Your output is H tensors, one for each head; one tensor is wanted.",
            lambda x, n_heads: x.chunk(n_heads, dim=-1),
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
        Case("the example: whole numbers", (torch.tensor([[[[1, 2], [5, 6]], [[3, 4], [7, 8]]]]),)),
        Case(
            "the same sizes and the same sum",
            (torch.tensor([[[[-1, 2], [5, -6]], [[3, 40], [-7, 0]]]]),),
        ),
        Case("a batch, all sizes different", (normal(1, 2, 4, 3, 5),)),
        Case("a single head", (normal(2, 3, 1, 4, 5),)),
        Case("heads one number wide", (normal(3, 2, 3, 4, 1),)),
        Case("B = H = T = d", (normal(5, 3, 3, 3, 3),)),
        Case("whole numbers beyond 2^53", (counted(1, 2, 1, 2, start=LARGE),)),
        Case("numbers up to 2e30", (torch.tensor([[[[1e30, -2e30]], [[3.0, -4.0]]]]),)),
        Case("65 heads, 1040 numbers side by side", (normal(7, 1, 65, 2, 16),)),
        Case("a sentence of 1100 tokens", (normal(6, 1, 2, 1100, 3),)),
    ),
    misconceptions=(
        Misconception(
            "viewed",
            "Your output is x viewed as (B, T, H·d): that mixes the tokens.",
            lambda x: x.reshape(len(x), x.shape[2], -1),
        ),
        Misconception(
            "interleaved",
            "Your heads take turns number by number; the pieces should stay in one piece.",
            lambda x: x.permute(0, 2, 3, 1).flatten(2),
        ),
        Misconception(
            "not_joined",
            "Your output still has an axis of heads: (B, T, H, d).",
            lambda x: x.transpose(1, 2),
        ),
        *several(
            "joined_with_tokens",
            "Your heads and tokens share one axis: (B, H·T, d).",
            lambda x: x.flatten(1, 2),
            lambda x: x.transpose(1, 2).flatten(1, 2),
        ),
        Misconception(
            "not_swapped",
            "Your tokens and their numbers share one axis: (B, H, T·d).",
            lambda x: x.flatten(2),
        ),
        Misconception(
            "averaged",
            "Your output is the average of the heads; they should stand side by side.",
            lambda x: x.mean(dim=1),
        ),
        Misconception(
            "summed",
            "Your output is the sum of the heads; they should stand side by side.",
            lambda x: x.sum(dim=1),
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
        Case("the example: two heads share the width", (64, 2, 32, 32)),
        Case("heads wider than their share", (6, 2, 5, 5)),
        Case("values narrower than keys", (10, 3, 7, 2)),
        Case("values wider than keys", (9, 4, 3, 5)),
        Case("a single head, all widths different", (7, 1, 4, 6)),
        Case("a single head with values wider than the model", (4, 1, 4, 8)),
        Case("a single head with keys wider than the model", (4, 1, 8, 4)),
        Case("n_heads = d_model = d_k", (5, 5, 5, 3)),
        Case("a count beyond 2^24", (1025, 64, 65, 63)),
        Case("a count beyond 2^53: too many to be built", (100_000_001, 2, 15_000_000, 10_000_000)),
        Case("small again, another d_model", (65, 2, 32, 32)),
    ),
    misconceptions=(
        Misconception(
            "no_biases",
            "Your count is 2·d_model·H·(d_k + d_v): the four matrices without biases.",
            counts(lambda d, h, k, v: 2 * d * h * (k + v)),
        ),
        Misconception(
            "no_output_projection",
            "Your count is (d_model + 1)·H·(2·d_k + d_v): all but w_o and its bias.",
            counts(lambda d, h, k, v: (d + 1) * h * (2 * k + v)),
        ),
        Misconception(
            "no_output_bias",
            "Your count is d_model too small: w_o has a bias of that size.",
            counts(lambda d, h, k, v: right_count(d, h, k, v) - d),
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
            "values_as_wide_as_keys",
            "Your count is that of a layer with d_v = d_k.",
            counts(lambda d, h, k, v: right_count(d, h, k, k)),
        ),
        Misconception(
            "values_projected_as_keys",
            "Your count has three projections to H·d_k; the one of the values is to H·d_v.",
            counts(lambda d, h, k, v: right_count(d, h, k, v) + (d + 1) * h * (k - v)),
        ),
        Misconception(
            "widths_swapped",
            "Your count is what you get with d_k and d_v swapped.",
            counts(lambda d, h, k, v: right_count(d, h, v, k)),
        ),
        Misconception(
            "biases_as_wide_as_the_model",
            "Your count has 4·d_model for the biases; each is as wide as its matrix's output.",
            counts(lambda d, h, k, v: 2 * d * h * (k + v) + 4 * d),
        ),
        Misconception(
            "queries_or_keys_forgotten",
            "Your count is (d_model + 1)·H·d_k too small: that is one projection.",
            counts(lambda d, h, k, v: right_count(d, h, k, v) - (d + 1) * h * k),
        ),
    ),
    hints=(
        "How many numbers go into each of the four projections, and how many come out?",
        "Queries and keys: from d_model to n_heads · d_k. Values: to n_heads · d_v. And w_o starts"
        " from the outputs of all heads, side by side.",
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


def zeroed(x, dim, positions):
    """A copy of x with zeros at these positions of one axis."""
    return x.index_fill(dim, torch.tensor(positions, dtype=torch.long), 0.0)


def others(context, head):
    return [h for h in range(context.shape[1]) if h != head]


def drop_and_view(context, w_o, head):
    B, _, T, _ = context.shape
    return zeroed(context, 1, [head]).reshape(B, T, -1) @ w_o


def cleared(index):
    """Set a part of a copy to 0 by its index, and go on as if it were the head."""

    def answer(context, w_o, head):
        copy = context.clone()
        copy[index(head)] = 0.0
        return merged(copy) @ w_o

    return answer


def drop_piece_of_width_h(context, w_o, head):
    copy, H = merged(context).clone(), context.shape[1]
    copy[..., head * H : (head + 1) * H] = 0.0
    return copy @ w_o


def zeros_in_the_output(context, w_o, head):
    """Columns of w_o instead of rows, or the numbers of the output instead of the context's."""
    d, output = context.shape[3], merged(context) @ w_o
    return zeroed(output, 2, list(range(output.shape[2]))[head * d : (head + 1) * d])


def beside_a_million():
    """One token; the numbers of head 1 are millions, all others around 1."""
    context = torch.tensor([[[[1.0, 2.0]], [[1e6, -1e6]], [[3.0, -1.0]]]])
    return context, normal(13, 6, 5), 1


dropped = (normal(5, 2, 3, 4, 2), normal(6, 6, 7), 1)  # B, H, T, d and d_model: all different

drop_head = Exercise(
    id="drop_head",
    lesson=5,
    signature="drop_head(context (B, H, T, d), w_o (H·d, d_model), head) → output (B, T, d_model)",
    returns=("output",),
    oracle=sum_of_the_others,
    cases=(
        Case("one token, two heads", (counted(1, 2, 1, 1) + 1, torch.tensor([[2.0], [10.0]]), 0)),
        Case("the example: w_o changes nothing", (counted(1, 2, 1, 2) + 1, torch.eye(4), 0)),
        Case("a batch, all sizes different", dropped),
        Case("the same sizes, other numbers", (normal(14, 2, 3, 4, 2), normal(15, 6, 7), 1)),
        Case("the same, but another head", (*dropped[:2], 2)),
        Case(
            "as many numbers in each head, but five heads",
            (normal(16, 2, 5, 4, 2), normal(17, 10, 7), 1),
        ),
        Case("the last of four heads", (normal(7, 3, 4, 5, 2), normal(8, 8, 9), 3)),
        Case("B = H = T = d", (normal(9, 3, 3, 3, 3), normal(10, 9, 9), 1)),
        Case("two equal heads", (torch.ones(1, 2, 1, 1), torch.tensor([[2.0], [10.0]]), 0)),
        Case("a head of millions, the others around 1", beside_a_million()),
        Case("17 heads, 300 tokens", (normal(11, 1, 17, 300, 2), normal(12, 34, 5), 16)),
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
        *several(
            "counted_from_1",
            "Your output lacks the head before this one: heads are counted from 0.",
            lambda context, w_o, head: sum_of_the_others(context, w_o, (head or len(w_o)) - 1),
            cleared(lambda head: (slice(None), head - 1)),
        ),
        Misconception(
            "sentence_dropped",
            "Your output lacks one sentence: axis 0 of the context. The heads are axis 1.",
            cleared(lambda head: head),
        ),
        Misconception(
            "every_hth",
            "Your output lacks every H-th number of the merged vector; a head is one piece.",
            lambda context, w_o, head: (
                zeroed(merged(context), 2, list(range(head, len(w_o), context.shape[1]))) @ w_o
            ),
        ),
        Misconception(
            "piece_of_width_h",
            "Your output lacks a piece H numbers wide; a head has d of them.",
            drop_piece_of_width_h,
        ),
        Misconception(
            "zeros_in_the_output",
            "Your output has zeros where the head stood before w_o, which mixes the heads.",
            zeros_in_the_output,
        ),
        Misconception(
            "viewed",
            "Your output is what you get when a view, without transpose, merges the heads.",
            drop_and_view,
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


def weigh_query_by_query(weights, lengths):
    """For each head, add up the weight at each offset key − query of the real queries."""
    B, H, T, _ = weights.shape
    total = torch.zeros(H, 2 * T - 1, dtype=torch.float64)  # offsets −(T − 1) … T − 1
    for b in range(B):
        for query in range(lengths[b]):
            first = T - 1 - query  # the offset of key 0 is −query
            total[:, first : first + T] += weights[b, :, query]
    return total.argmax(dim=1) - (T - 1)


def without_padding(weights, lengths):
    real = torch.arange(weights.shape[-1]) < lengths[:, None]
    return weights * real[:, None, :, None]


def along_diagonals(weights):
    """(B, H, T, T) to (H, 2T − 1): the weight of all sentences at each offset."""
    T, summed = weights.shape[-1], weights.sum(dim=0)
    return torch.stack([summed.diagonal(o, 1, 2).sum(dim=-1) for o in range(-T + 1, T)], dim=1)


def strongest(weights):
    """The offset with the most weight, of all queries, for each head."""
    return along_diagonals(weights).argmax(dim=1) - (weights.shape[-1] - 1)


def one_query_too_many(weights, lengths):
    return strongest(without_padding(weights, lengths + 1))


def averaged_along(weights, lengths):
    T = weights.shape[-1]
    pairs = T - torch.arange(-T + 1, T).abs()
    return (along_diagonals(without_padding(weights, lengths)) / pairs).argmax(dim=1) - (T - 1)


def by_distance(weights, lengths):
    T = weights.shape[-1]
    total = along_diagonals(without_padding(weights, lengths))
    right, left = total[:, T - 1 :], total[:, : T - 1].flip(1)
    return (right + F.pad(left, (1, 0))).argmax(dim=1)


def vote(weights, lengths):
    """The offset that most queries give their heaviest weight to."""
    real = torch.arange(weights.shape[-1]) < lengths[:, None]  # (B, T)
    heaviest = weights.argmax(dim=-1) - torch.arange(weights.shape[-1])  # (B, H, T)
    return torch.stack([heaviest[:, h][real].mode().values for h in range(weights.shape[1])])


def of_heads_together(weights, lengths):
    return strongest(without_padding(weights, lengths).mean(dim=1, keepdim=True))


def heaviest_cell(weights, lengths, pool=torch.sum):
    T = weights.shape[-1]
    cell = pool(without_padding(weights, lengths), dim=0).flatten(1).argmax(dim=1)  # (H,)
    return cell % T - cell // T


def planted(seed, lengths, wanted, T, strength=1.0):
    """Random weights (B, H, T, T) of heads that prefer these offsets; no weight on padding.

    The padded queries all attend to the first word.
    """
    position = torch.arange(T)
    at = position - position[:, None] == torch.tensor(wanted)[:, None, None]  # (H, T, T)
    scores = normal(seed, len(lengths), len(wanted), T, T) + strength * at
    real = position < torch.tensor(lengths)[:, None]  # (B, T)
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


def attending(*rows):
    """One sentence and one head with these weights, and the length of the sentence."""
    return torch.tensor([[rows]], dtype=torch.float32), torch.tensor([len(rows)])


def nearly_equal():
    """Seventeen words: all but the first attend to the word before and, a bit more, to itself."""
    weights = torch.diag(torch.full((17,), 0.5001)) + torch.diag(torch.full((16,), 0.4999), -1)
    weights[0] = F.one_hot(torch.tensor(1), 17)  # the first attends to the next one
    return weights[None, None], torch.tensor([17])


def farthest():
    """Two heads: the last word attends to the first, and the first to the last."""
    weights = torch.full((1, 2, 4, 4), 0.25)
    weights[0, 0, 3] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    weights[0, 1, 0] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    return weights, torch.tensor([4])


head_offset = Exercise(
    id="head_offset",
    lesson=5,
    signature="head_offset(weights (B, H, T, T), lengths (B,)) → offset (H,)",
    returns=("offset",),
    oracle=weigh_query_by_query,
    cases=(
        Case("two words: the second attends to the first", attending([0.4, 0.6], [0.9, 0.1])),
        Case("the example: one back", attending([1, 0, 0], [1, 0, 0], [0, 1, 0])),
        Case("a sentence of one word", attending([1])),
        Case("two heads attend to different sides", planted(1, [6], [2, -1], 6, strength=3.0)),
        Case("the first and the last offset: −(T − 1) and T − 1", farthest()),
        Case("soft weights, several sentences", planted(18, [7, 7, 7], [1, -2, 0], 7)),
        Case("padded queries attend to the first word", planted(4, [4, 3, 2, 3], [1, 0], 5)),
        Case("unequal sentences, six heads", uneven(14933, [4, 6, 2], 6, 6)),
        Case("the same sizes, other numbers", uneven(31, [3, 6, 4], 6, 6)),
        Case("B = H = T", uneven(3, [4, 1, 3, 2], 4, 4)),
        Case("16 times .4999 one back and .5001 for the word itself", nearly_equal()),
        Case("a sentence of 200 words, 150 back", planted(5, [200], [-150], 260, strength=5.0)),
    ),
    misconceptions=(
        Misconception(
            "sign_flipped",
            "Your offsets have the wrong sign: key minus query is wanted.",
            lambda weights, lengths: -weigh_query_by_query(weights, lengths),
        ),
        Misconception(
            "padding_counted",
            "Your offsets are what you get when padded queries count, too.",
            lambda weights, lengths: strongest(weights),
        ),
        Misconception(
            "one_query_too_many",
            "Your offsets are what you get when the first padded query counts, too.",
            one_query_too_many,
        ),
        *several(
            "distance",
            "Your offsets are distances; an offset has a sign: negative for a key before.",
            by_distance,
            lambda weights, lengths: weigh_query_by_query(weights, lengths).abs(),
        ),
        Misconception(
            "index_of_diagonal",
            "Your offsets are T − 1 too large: the word itself has the offset 0.",
            lambda weights, lengths: weigh_query_by_query(weights, lengths) + weights.shape[-1] - 1,
        ),
        Misconception(
            "averaged_along",
            "Your offsets have the highest average along a diagonal, not the highest sum.",
            averaged_along,
        ),
        Misconception(
            "voted",
            "Your offsets are where most queries have their heaviest key; add up weight.",
            vote,
        ),
        *several(
            "one_for_all_heads",
            "Your offset is that of all heads together; each head has its own.",
            lambda weights, lengths: of_heads_together(weights, lengths)[0],
            lambda weights, lengths: of_heads_together(weights, lengths).expand(weights.shape[1]),
        ),
        *several(
            "heaviest_cell",
            "Your offsets are those of a single heaviest pair; add up each diagonal first.",
            heaviest_cell,
            partial(heaviest_cell, pool=torch.amax),
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


def merged_by_view(context):
    return context.reshape(len(context), context.shape[2], -1)


def hidden(scores, mask):
    return scores.masked_fill(~mask[:, None], -1e9)


def hidden_by_infinity(scores, mask):
    return scores.masked_fill(~mask[:, None], -torch.inf)


def parts(
    split=cut,
    merge=merged,
    scale=lambda d_model, d_k: 1 / sqrt(d_k),
    masked=hidden,
    dim=-1,
    late=lambda weights, mask: weights,
    mix=True,
):
    """Multi-head attention with one of its parts exchanged."""

    def answer(query, key_value, w_q, w_k, w_v, w_o, n_heads, mask):
        pairs = ((query, w_q), (key_value, w_k), (key_value, w_v))
        q, k, v = (split(x @ w, n_heads) for x, w in pairs)
        scores = q @ k.mT * scale(query.shape[-1], q.shape[-1])
        weights = late(masked(scores, mask).softmax(dim=dim), mask)
        context = merge(weights @ v)
        return context @ w_o if mix else context

    return answer


def fused(mask_of):
    """With torch's function for all heads at once, and another mask."""

    def answer(query, key_value, w_q, w_k, w_v, w_o, n_heads, mask):
        pairs = ((query, w_q), (key_value, w_k), (key_value, w_v))
        q, k, v = (cut(x @ m, n_heads) for x, m in pairs)
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_of(mask))
        return merged(context) @ w_o

    return answer


def layer_inputs(seed, B, T_q, T_k, d_model, n_heads, masked=True):
    """Inputs, four matrices, heads, and a mask in which every query has a key.

    Wide matrices hold smaller numbers, else outputs get so large that a right answer's rounding
    shows in those near 0.
    """
    scale = min(0.6, 1.0 / d_model**0.5)
    matrices = [normal(seed + i, d_model, d_model, scale=scale) for i in range(4)]
    mask = (normal(seed + 4, B, T_q, T_k) > (0.2 if masked else -100.0)).index_fill(
        2, torch.tensor([seed % T_k]), True
    )
    x, y = normal(seed + 5, B, T_q, d_model), normal(seed + 6, B, T_k, d_model)
    return (x, y, *matrices, n_heads, mask)


def example():
    """The one in the exercise's text: one key, which gets all the weight."""
    one, eye = torch.ones(1, 1, 4), torch.eye(4)
    return (one, 3 * one, eye, eye, eye, 2 * eye, 2, torch.ones(1, 1, 1, dtype=torch.bool))


def small():
    """One head, one query and two keys, both allowed; numbers that can be followed by hand."""
    tables = ([[1, 0], [0, 0.5]], [[1, 2], [0, 1]], [[1, 2], [3, 4]], [[1, 0], [2, 1]])
    matrices = [torch.tensor(table, dtype=torch.float32) for table in tables]
    query, key_value = torch.tensor([[[1.0, 2.0]]]), torch.eye(2)[None]
    return (query, key_value, *matrices, 1, torch.tensor([[[True, True]]]))


def large_scores():
    """Two heads one number wide; the second key is blocked, for the first query the third too.

    A key's first number is its score, times 1 for head 0 and −1 for head 1; its second number is
    its value. So head 0 scores −10,000, 10,000 and −9,920, and head 1 the opposite. These scores
    are exact, and the softmax has nothing to round: any order of the steps gives these outputs.
    """
    query = torch.tensor([[[1.0, -1.0], [1.0, -1.0]]])
    key_value = torch.tensor([[[-10000.0, 1.0], [10000.0, 4.0], [-9920.0, 2.0]]])
    w_k, w_v = torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    mask = torch.tensor([[[True, False, False], [True, False, True]]])
    return (query, key_value, torch.eye(2), w_k, w_v, torch.eye(2), 2, mask)


def nearly_causal():
    """Three queries: the first and the last attend as under a causal mask, the second doesn't."""
    mask = truths("100", "010", "111")[None]
    return (*layer_inputs(110, 1, 3, 3, 4, 2)[:-1], mask)


def three_of_one_size():
    """Three inputs: the second differs from the first in its matrices, the third in the rest."""
    one, two, three = (layer_inputs(seed, 2, 5, 7, 12, 3) for seed in (40, 120, 130))
    return one, (*one[:2], *two[2:7], one[7]), (*three[:2], *two[2:7], three[7])


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
        Case("the example: a single key", example()),
        Case("one head, two keys", small()),
        Case("two heads, all is allowed", layer_inputs(20, 1, 3, 4, 8, 2, masked=False)),
        Case("a mask, one sentence", layer_inputs(30, 1, 5, 4, 6, 2)),
        Case("the same shapes, other heads", layer_inputs(70, 1, 5, 4, 6, 3)),
        Case("a square mask that looks causal, but is not", nearly_causal()),
        Case("a mask for each sentence", three_of_one_size()[0]),
        Case("the same sentences, other matrices", three_of_one_size()[1]),
        Case("the same matrices, other sentences", three_of_one_size()[2]),
        Case("as many sentences as heads", layer_inputs(50, 3, 4, 5, 6, 3)),
        Case("B = H = d_k, T_q = T_k = D", layer_inputs(80, 2, 4, 4, 4, 2)),
        Case("scores of ±10,000, the second key is blocked", large_scores()),
        Case("seventeen heads", layer_inputs(100, 1, 3, 4, 34, 17)),
        Case("300 queries, 280 keys", layer_inputs(90, 1, 300, 280, 4, 2)),
    ),
    misconceptions=(
        Misconception(
            "scaled_by_d_model",
            "Your scores are divided by the root of D; a head is D / H wide.",
            parts(scale=lambda d_model, d_k: 1 / sqrt(d_model)),
        ),
        Misconception(
            "unscaled",
            "Your scores are not divided by the root of d_k.",
            parts(scale=lambda d_model, d_k: 1.0),
        ),
        Misconception(
            "split_by_view",
            "Your output is what you get when you split by a view, without transpose.",
            parts(split=cut_by_view),
        ),
        Misconception(
            "merged_by_view",
            "Your output is what you get when you merge by a view, without transpose.",
            parts(merge=merged_by_view),
        ),
        Misconception(
            "split_and_merged_by_view",
            "Your output is what you get when views, without transpose, split and merge.",
            parts(split=cut_by_view, merge=merged_by_view),
        ),
        Misconception(
            "one_head",
            "Your output is that of a single head as wide as the model.",
            parts(split=lambda x, n_heads: x[:, None]),
        ),
        *several(
            "head_axis_missing",
            "This is what happens when the mask has no axis for the heads behind the batch.",
            parts(masked=lambda scores, mask: scores.masked_fill(~mask, -1e9)),
            fused(lambda mask: mask),
        ),
        Misconception(
            "mask_ignored",
            "Your output is what you get without the mask.",
            parts(masked=lambda scores, mask: scores),
        ),
        *several(
            "mask_inverted",
            "Your output is that of the opposite mask: True = may attend.",
            parts(masked=lambda scores, mask: hidden(scores, ~mask)),
            parts(masked=lambda scores, mask: hidden_by_infinity(scores, ~mask)),
            fused(lambda mask: ~mask[:, None]),
        ),
        Misconception(
            "score_zero",
            "Your blocked keys have the score 0, and so some weight; −inf keeps a key out.",
            parts(masked=lambda scores, mask: scores * mask[:, None]),
        ),
        Misconception(
            "masked_late",
            "Your mask comes after the softmax: the weights no longer sum to 1.",
            parts(
                masked=lambda scores, mask: scores,
                late=lambda weights, mask: weights * mask[:, None],
            ),
        ),
        *several(
            "softmax_over_queries",
            "Your output is what you get when the softmax runs over the queries.",
            parts(dim=-2),
            parts(masked=hidden_by_infinity, dim=-2),
        ),
        Misconception(
            "not_mixed",
            "Your output is the merged context: w_o is missing.",
            parts(mix=False),
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
