"""The exercises of lesson 3, as data: reference, cases, known mistakes, hints.

Masks are True where a query may attend; every query has a key that it may attend to. Scores near
10,000 are whole numbers and 100 apart: a float32 of that size has no digits for less, and a right
answer may round on its way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import log, sqrt

import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib.checks.exercise import Case, Exercise, Misconception, several
from lessons_lib.checks.inputs import normal, truths
from lessons_lib.checks.properties import same_gradient

# --- sdpa -----------------------------------------------------------------------------------------


def torch_sdpa(query, key, value, mask=None):
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def blocked(scores, mask, low=-torch.inf):
    """Scores with minus infinity, or something else, where the mask says no."""
    return scores if mask is None else scores.masked_fill(~mask, low)


def attend(query, key, value, mask=None, scale=None, dim=-1, low=-torch.inf):
    """Attention with another scale, with a softmax along another axis, or masked otherwise."""
    scale = 1 / sqrt(query.shape[-1]) if scale is None else scale
    return blocked(query @ key.mT * scale, mask, low).softmax(dim) @ value


def attend_masked_late(query, key, value, mask=None):
    weights = (query @ key.mT / sqrt(query.shape[-1])).softmax(-1)
    return (weights if mask is None else weights * mask) @ value


def attend_divided_again(query, key, value, mask=None, divide=None):
    """Masked after the softmax, then divided by the sum again: divide(weights, sums)."""
    weights = (query @ key.mT / sqrt(query.shape[-1])).softmax(-1)
    if mask is not None:
        weights = divide(weights * mask, (weights * mask).sum(-1, keepdim=True))
    return weights @ value


def attend_inverted(query, key, value, mask=None, low=-torch.inf):
    return attend(query, key, value, None if mask is None else ~mask, low=low)


def attend_scaled_late(query, key, value, mask=None):
    return attend(query, key, value, mask, scale=1.0) / sqrt(query.shape[-1])


def attend_reshaped(query, key, value, mask=None):
    B, T_k, d_k = key.shape
    scores = query @ key.reshape(B, d_k, T_k) / sqrt(d_k)
    return blocked(scores, mask).softmax(-1) @ value


def tensors(seed: int, B: int, T_q: int, T_k: int, d_k: int, d_v: int, scale: float = 1.0):
    """A query, a key and a value of these sizes."""
    query, key = normal(seed, B, T_q, d_k, scale=scale), normal(seed + 1, B, T_k, d_k, scale=scale)
    return query, key, normal(seed + 2, B, T_k, d_v)


def rows_of(*rows) -> torch.Tensor:
    """One sentence, (1, T, d)."""
    return torch.tensor([rows], dtype=torch.float32)


pair_mask = truths("10010", "01110", "11001")
padding = truths("1111000", "1100000")[:, None, :]  # (2, 1, 7)
padding_of_three = truths("1000", "1110", "0111")[:, None, :]  # (3, 1, 4)
square_mask = truths("110", "011", "101")
two_tables = torch.stack([truths("1000", "0110", "1101"), truths("1111", "0010", "1001")])
example = (rows_of([1] * 4), rows_of([1, 1, 0, 0], [0] * 4), rows_of([10], [20]))
both_ends = (rows_of([1], [-1]), rows_of([10000], [9920], [9840]), rows_of([1], [2], [5]))
wide = (
    rows_of([50] * 16, [-50] * 16),
    rows_of([50] * 16, [49] * 16, [48] * 16),
    rows_of([1], [2], [5]),
)
far_apart = (rows_of([1]), rows_of([10000], [-10000]), rows_of([1], [2]), truths("01"))
silent = (
    rows_of([1, 0, 2]),
    rows_of([0, 2, 0], [1, 1, 0], [2, 0, 1], [1, 1, 1]),
    normal(49, 1, 4, 2),
    truths("1101"),
)
names = ("query", "key", "value", "mask")

sdpa = Exercise(
    id="sdpa",
    lesson=3,
    signature=(
        "sdpa(query (B, T_q, d_k), key (B, T_k, d_k), value (B, T_k, d_v), mask=None)"
        " → context (B, T_q, d_v)"
    ),
    returns=("context",),
    oracle=torch_sdpa,
    cases=(
        Case("the example: one query, two keys", example),
        Case("three queries, five keys", tensors(0, 1, 3, 5, 4, 2)),
        Case("a batch of two", tensors(10, 2, 4, 6, 9, 5, scale=1.5)),
        Case("all five sizes are 3", tensors(60, 3, 3, 3, 3, 3)),
        Case("a mask of its own for every query", (*tensors(20, 4, 3, 5, 8, 6), pair_mask)),
        Case("a mask for the padding of each sentence", (*tensors(30, 2, 4, 7, 3, 5), padding)),
        Case(
            "a mask of its own for every query of every sentence",
            (*tensors(70, 2, 3, 4, 5, 6), two_tables),
        ),
        Case(
            "a mask (T_q, T_k), with as many sentences as queries",
            (*tensors(80, 3, 3, 5, 2, 4), pair_mask),
        ),
        Case(
            "a mask (B, 1, T_k), with as many sentences as queries",
            (*tensors(100, 3, 3, 4, 2, 5), padding_of_three),
        ),
        Case(
            "as many queries as keys, and a mask that is not symmetric",
            (*tensors(110, 2, 3, 3, 4, 5), square_mask),
        ),
        Case(
            "the same sizes, other numbers, the opposite mask",
            (*tensors(120, 2, 3, 3, 4, 5), ~square_mask),
        ),
        Case("scores near 10,000, and near -10,000", both_ends),
        Case("a masked key has the highest score", (*both_ends, truths("011", "110"))),
        Case("a masked key has the highest score, at a width of 16", (*wide, truths("011", "110"))),
        Case("a masked key scores 10,000, the other one -10,000", far_apart),
        Case("a key that may be attended to and scores 0", silent),
        Case(
            "a masked key whose value is a billion",
            (
                torch.zeros(1, 1, 2),
                torch.tensor([[[1.0, 2.0], [0.0, 1.0], [2.0, 0.0]]]),
                torch.tensor([[[1.0], [2.0], [1e9]]]),
                truths("110"),
            ),
        ),
        Case(
            "17 sentences, 300 keys",
            (*tensors(90, 17, 2, 300, 18, 19), normal(93, 2, 300) > 0),
        ),
    ),
    misconceptions=(
        Misconception(
            "not_scaled",
            "Your scores are not divided by √d_k.",
            lambda query, key, value, mask=None: attend(query, key, value, mask, scale=1.0),
        ),
        Misconception(
            "divided_by_d_k",
            "Your scores are divided by d_k, not by its square root.",
            lambda query, key, value, mask=None: attend(
                query, key, value, mask, 1 / query.shape[-1]
            ),
        ),
        Misconception(
            "reshaped_not_transposed",
            "Your output is what you get when key is reshaped, not transposed: key.mT.",
            attend_reshaped,
        ),
        Misconception(
            "scaled_after_softmax",
            "Your output is what you get when √d_k divides after the softmax, not before.",
            attend_scaled_late,
        ),
        *several(
            "softmax_over_queries",
            "Your output is what you get when the softmax runs over the queries.",
            *(partial(attend, dim=-2, low=low) for low in (-torch.inf, -1e9)),
        ),
        Misconception(
            "mask_ignored",
            "Your output is what you get when nothing is masked.",
            lambda query, key, value, mask=None: attend(query, key, value),
        ),
        *several(
            "mask_inverted",
            "Your output is that of the inverted mask: True means may attend.",
            *(partial(attend_inverted, low=low) for low in (-torch.inf, -1e9)),
        ),
        Misconception(
            "masked_after_softmax",
            "Your weights are masked after the softmax: the rest no longer sums to 1.",
            attend_masked_late,
        ),
        *several(
            "masked_too_late",
            "Beside a high masked score the others get no weight: mask before the softmax.",
            partial(attend_divided_again, divide=lambda weights, sums: weights / (sums + 1e-9)),
            partial(
                attend_divided_again, divide=lambda weights, sums: (weights / sums).nan_to_num(0.0)
            ),
        ),
        Misconception(
            "mask_as_factor",
            "Your masked keys have the score 0; in the softmax they still weigh e⁰ = 1.",
            partial(attend, low=0.0),
        ),
    ),
    hints=(
        "Three steps: compare, turn into weights, mix. Where does the mask belong among them?",
        "Scores are query times key transposed, over the root of the width of a key. A masked"
        " score must come out of the softmax as 0.",
        "scores = query @ key.mT / sqrt(d_k); then scores.masked_fill(~mask, -torch.inf) if there"
        " is a mask; then the softmax over the last axis, the keys; then weights @ value.",
    ),
    properties=(
        same_gradient(torch_sdpa, names, (*tensors(40, 2, 3, 5, 6, 4), pair_mask)),
        same_gradient(
            torch_sdpa,
            names[:3],
            tensors(45, 2, 3, 4, 5, 6),
            "the gradient that flows back to the inputs, without a mask",
        ),
        same_gradient(
            torch_sdpa,
            names,
            far_apart,
            "the gradient where a masked key scores 10,000, the other one -10,000",
        ),
    ),
)


# --- soft_lookup ----------------------------------------------------------------------------------


def look_up_key_by_key(query, key, value, sharpness):
    """Weigh every key by e to how far its sharpened score lies below the best one's."""
    query, key, value = query.double(), key.double(), value.double()
    scores = torch.stack([sharpness * (row @ query) for row in key])  # (N,)
    shares = (scores - scores.max()).exp()
    rows = [share / shares.sum() * row for share, row in zip(shares, value, strict=True)]
    return torch.stack(rows).sum(dim=0).float()  # (d_v,)


lookup_table = (normal(51, 4, 3), normal(52, 4, 2))
near_ten_thousand = torch.tensor([[10000.0], [9920.0], [9840.0]])
two_values = torch.tensor([[10.0], [20.0]])
three_values = torch.tensor([[1.0], [2.0], [5.0]])

soft_lookup = Exercise(
    id="soft_lookup",
    lesson=3,
    signature="soft_lookup(query (d_k,), key (N, d_k), value (N, d_v), sharpness) → answer (d_v,)",
    returns=("answer",),
    oracle=look_up_key_by_key,
    cases=(
        Case(
            "the example: two keys, sharpness 2",
            (torch.tensor([1.0, 0.0]), torch.eye(2), torch.tensor([[10.0], [20.0]]), 2),
        ),
        Case("four keys, sharpness 1", (normal(50, 3), *lookup_table, 1)),
        Case("twice as sharp", (normal(50, 3), *lookup_table, 2)),
        Case(
            "just as sharp, other numbers", (normal(62, 3), normal(63, 4, 3), normal(64, 4, 2), 2)
        ),
        Case("blunt: half as sharp", (normal(53, 5), normal(54, 7, 5), normal(55, 7, 3), 0.5)),
        Case("sharpness 0: every value counts the same", (normal(50, 3), *lookup_table, 0)),
        Case("so sharp that one key gets nearly all", (normal(50, 3), *lookup_table, 12)),
        Case(
            "just as sharp, but two keys fit nearly alike",
            (
                torch.tensor([1.0, 0.5]),
                torch.tensor([[2.0, 0.0], [1.0, 1.9], [-1.0, 1.0]]),
                torch.tensor([[1.0], [0.0], [5.0]]),
                20,
            ),
        ),
        Case("all scores near 10,000", (torch.tensor([1.0]), near_ten_thousand, three_values, 1)),
        Case("all scores near -10,000", (torch.tensor([-1.0]), near_ten_thousand, three_values, 1)),
        Case(
            "a sharpness of 5,000",
            (torch.tensor([1.0]), torch.tensor([[-2.0], [2.0], [1.0]]), three_values, 5000),
        ),
        Case(
            "a sharpness of 5,000, and two keys that fit equally well",
            (
                torch.tensor([1.0, 1.0]),
                torch.tensor([[1.0, -1.0], [2.0, -2.0], [-1.0, -1.0]]),
                three_values,
                5000,
            ),
        ),
        Case(
            "a sharpness of 2,000, and keys that are 0.001 apart",
            (torch.tensor([1.0]), torch.tensor([[0.001], [0.0]]), two_values, 2000),
        ),
        Case(
            "a sharpness of 0.0005, and keys that are 4,000 apart",
            (torch.tensor([1.0]), torch.tensor([[4000.0], [0.0]]), two_values, 0.0005),
        ),
        Case(
            "two keys are equal, their values are not",
            (torch.tensor([1.0]), torch.tensor([[1.0], [1.0], [0.0]]), three_values, 1),
        ),
        Case(
            "a key that weighs 0, with a value of a million",
            (
                torch.tensor([1.0]),
                torch.tensor([[0.0], [-200.0]]),
                torch.tensor([[1.0], [1e6]]),
                1,
            ),
        ),
        Case("N, d_k and d_v are 3", (normal(56, 3), normal(57, 3, 3), normal(58, 3, 3), 1.5)),
        Case("300 keys", (normal(59, 4), normal(60, 300, 4), normal(61, 300, 2), 0.7)),
    ),
    misconceptions=(
        Misconception(
            "hard",
            "Your answer is the value of the best key alone: nothing is mixed.",
            lambda query, key, value, sharpness: value[(key @ query).argmax()],
        ),
        Misconception(
            "sharpness_ignored",
            "Your answer is the same for every sharpness.",
            lambda query, key, value, sharpness: (key @ query).softmax(0) @ value,
        ),
        Misconception(
            "sharpness_inverted",
            "Your scores are divided by the sharpness, not multiplied by it.",
            lambda query, key, value, sharpness: ((key @ query) / sharpness).softmax(0) @ value,
        ),
        Misconception(
            "sharpness_after_softmax",
            "Your answer is multiplied by the sharpness; the scores should be.",
            lambda query, key, value, sharpness: sharpness * (key @ query).softmax(0) @ value,
        ),
        Misconception(
            "also_divided",
            "Your scores are divided by √d_k too; here the sharpness takes its place.",
            lambda query, key, value, sharpness: (
                (sharpness * (key @ query) / sqrt(len(query))).softmax(0) @ value
            ),
        ),
        Misconception(
            "no_softmax",
            "Your weights are the scores themselves: they need not sum to 1.",
            lambda query, key, value, sharpness: sharpness * (key @ query) @ value,
        ),
        Misconception(
            "sign",
            "Your scores have the wrong sign: the key that fits worst gets most.",
            lambda query, key, value, sharpness: (-sharpness * (key @ query)).softmax(0) @ value,
        ),
    ),
    hints=(
        "How well does each key fit the query? One number for each key, before anything else.",
        "The scores are key @ query, shape (N,). Sharpness makes their differences larger, so it"
        " must act before the softmax.",
        "weights = (sharpness * (key @ query)).softmax(dim=0) has the shape (N,), one weight for"
        " each row of value; weights @ value adds the weighted rows up to (d_v,).",
    ),
    properties=(
        same_gradient(
            look_up_key_by_key,
            ("query", "key", "value", "sharpness"),
            (normal(50, 3), *lookup_table, 2),
        ),
        same_gradient(
            look_up_key_by_key,
            ("query", "key", "value", "sharpness"),
            (normal(50, 3), *lookup_table, 0),
            "the gradient that flows back to the inputs, with sharpness 0",
        ),
    ),
)


# --- permute_check --------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Layer:
    """A layer (B, T, d) → (B, T, d) whose formula is shown where it is an input."""

    formula: str
    function: Callable

    def __call__(self, x):
        return self.function(x)

    def __repr__(self):
        return f"= {self.formula}"


def add_positions(x):
    """A layer that knows positions."""
    return x + torch.arange(x.shape[1])[:, None]


def odd_positions(x):
    """1 at the positions 1, 3, 5, …, 0 elsewhere: (T, 1)."""
    return (torch.arange(x.shape[1]) % 2)[:, None]


def add_total(x):
    """Each token and the sum of all, added up one after the other: order shows in rounding."""
    total = torch.zeros_like(x[:, 0])  # (B, d)
    for t in range(x.shape[1]):
        total = total + x[:, t]
    return x + total[:, None]


def mixed_company(x):
    """Sentences with a positive sum get positions; the others are left alone."""
    positive = x.sum(dim=(1, 2), keepdim=True) > 0  # (B, 1, 1)
    return torch.where(positive, add_positions(x), x)


def add_to_last(x):
    """A layer that knows only which token is the last."""
    return x + (torch.arange(x.shape[1]) == x.shape[1] - 1)[:, None]


def add_to_inner(x):
    """A layer that tells the ends of a sentence from what lies between."""
    positions = torch.arange(x.shape[1])
    return x + ((positions > 0) & (positions < x.shape[1] - 1))[:, None]


def add_a_little(x, little):
    """The last number of the first token grows a little, and nothing else."""
    grown = x.clone()
    grown[:, 0, -1] += little
    return grown


def add_first_to_last(x):
    """The last token grows by the first one."""
    grown = x.clone()
    grown[:, -1] += x[:, 0]
    return grown


def add_positions_after_two(x):
    """A sentence that begins with the number 2 gets positions; the others are left alone."""
    return torch.where(x[:, :1, :1] == 2, add_positions(x), x)


def carry_over(x):
    """Positions again, but what one number gains another loses; the first number stays."""
    positions = torch.arange(x.shape[1])[:, None]  # (T, 1)
    return x + positions * torch.tensor([0.0, 1.0, -1.0])  # (B, T, 3)


squash = Layer("tanh(x)", torch.tanh)
with_positions = Layer("x + position", add_positions)
running_total = Layer("x.cumsum(dim=1)", lambda x: x.cumsum(dim=1))
right_neighbour = Layer("x.roll(-1, dims=1)", lambda x: x.roll(-1, dims=1))
with_total = Layer("x + x.sum(dim=1)", add_total)
mean_of_all = Layer(
    "x.mean(dim=1), for every token", lambda x: x.mean(dim=1, keepdim=True).expand_as(x)
)
sort_numbers = Layer("x.sort(dim=1)", lambda x: x.sort(dim=1).values)
zeros = Layer("0 · x", torch.zeros_like)
for_some = Layer("x + position if x.sum() > 0 in that sentence, else x", mixed_company)
last_known = Layer("x + 1 at the last position, x elsewhere", add_to_last)
inner_known = Layer("x at the first and the last position, x + 1 between", add_to_inner)
with_first = Layer("x + x[:, :1]", lambda x: x + x[:, :1])
a_little = Layer("x, but x[:, 0, -1] + 0.00012", lambda x: add_a_little(x, 1.2e-4))
a_little_more = Layer("x, but x[:, 0, -1] + 0.0005", lambda x: add_a_little(x, 5e-4))
rounding = Layer("x + 0.000009 · (position % 2)", lambda x: x + 9e-6 * odd_positions(x))
first_to_last = Layer("x, but x[:, -1] + x[:, 0]", add_first_to_last)
after_two = Layer("x + position if x[0, 0] == 2 in that sentence, else x", add_positions_after_two)
turn = nn.Parameter(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]))
with_parameters = Layer("x @ W, W a parameter", lambda x: x @ turn)
carried = Layer("x + position · (0, 1, -1)", carry_over)
carried_first = Layer("x + position · (-1, 1, 0)", lambda x: carry_over(x.roll(1, 2)).roll(-1, 2))


def compare_token_by_token(layer, x, order):
    """Token order[t] of the straight sentence must be what token t of the shuffled one is."""
    straight, shuffled = layer(x), layer(x[:, order])
    kept = [
        all(
            torch.allclose(shuffled[b, t], straight[b, order[t]], rtol=0.0, atol=3e-5)
            for t in range(len(order))
        )
        for b in range(len(x))
    ]
    return torch.tensor(kept)  # (B,)


def near(one, other):
    """Whether two outputs agree, sentence by sentence: (B, T, d) twice → (B,)."""
    return torch.isclose(one, other, rtol=0.0, atol=3e-5).all(dim=-1).all(dim=-1)


def compare_within(layer, x, order, rtol, atol):
    """With another tolerance than the one that is wanted."""
    shuffled, straight = layer(x[:, order]), layer(x)[:, order]
    return torch.isclose(shuffled, straight, rtol=rtol, atol=atol).flatten(1).all(1)


def one_verdict(layer, x, order, form, rtol):
    """The same for all sentences, as a tensor of one, a Python bool, or repeated."""
    return form(compare_within(layer, x, order, rtol=rtol, atol=1e-5).all(), len(x))


def distances(layer, x, order):
    """How far the two outputs lie apart, number by number: (B, T, d)."""
    return (layer(x[:, order]) - layer(x)[:, order]).abs()


def order_of(*positions: int) -> torch.Tensor:
    return torch.tensor(positions)


three_tokens = rows_of([1], [2], [3])

permute_check = Exercise(
    id="permute_check",
    lesson=3,
    signature="permute_check(layer, x (B, T, d), order (T,)) → kept (B,) bool",
    returns=("kept",),
    oracle=compare_token_by_token,
    cases=(
        Case("the example: each token for itself", (squash, three_tokens, order_of(2, 0, 1))),
        Case("the example: a running total", (running_total, three_tokens, order_of(2, 0, 1))),
        Case("two tokens change places", (squash, normal(61, 2, 3, 4), order_of(1, 0, 2))),
        Case(
            "a layer that knows positions; the first and the last token stay",
            (with_positions, normal(62, 5, 4, 2), order_of(0, 2, 1, 3)),
        ),
        Case(
            "a layer that reads in order",
            (running_total, normal(63, 2, 4, 3), order_of(1, 3, 0, 2)),
        ),
        Case(
            "each token and the sum of all: equal up to rounding",
            (with_total, normal(154, 3, 7, 9, scale=3.0), order_of(4, 2, 6, 0, 5, 3, 1)),
        ),
        Case(
            "all tokens get the same", (mean_of_all, normal(65, 2, 5, 3), order_of(3, 1, 4, 0, 2))
        ),
        Case("all outputs are 0", (zeros, normal(73, 2, 3, 2), order_of(2, 0, 1))),
        Case(
            "each token gets its neighbour",
            (right_neighbour, normal(66, 2, 4, 3), order_of(2, 0, 1, 3)),
        ),
        Case("a layer that sorts", (sort_numbers, normal(67, 2, 4, 3), order_of(1, 3, 0, 2))),
        Case(
            "positions for some sentences, not for others",
            (for_some, normal(68, 17, 3, 2), order_of(1, 2, 0)),
        ),
        Case("the same sizes, other numbers", (for_some, normal(80, 17, 3, 2), order_of(2, 0, 1))),
        Case(
            "only the last position is known, and its token stays",
            (last_known, normal(69, 2, 4, 2), order_of(1, 0, 2, 3)),
        ),
        Case(
            "the two inner positions are alike, and change their tokens",
            (inner_known, normal(70, 2, 4, 3), order_of(0, 2, 1, 3)),
        ),
        Case(
            "each token and the first one, which was the largest, or the smallest",
            (
                with_first,
                torch.tensor(
                    [[[3.0, 4.0], [1.0, 2.0], [2.0, 0.0]], [[0.0, 1.0], [3.0, 2.0], [2.0, 5.0]]]
                ),
                order_of(1, 2, 0),
            ),
        ),
        Case("an order that moves nothing", (running_total, three_tokens, order_of(0, 1, 2))),
        Case("a single token", (with_positions, rows_of([2]), order_of(0))),
        Case("a layer with parameters", (with_parameters, normal(77, 2, 3, 2), order_of(2, 0, 1))),
        Case(
            "only the token that stays gets something else",
            (first_to_last, three_tokens, order_of(1, 0, 2)),
        ),
        Case(
            "the inverse order would show what this one does not",
            (after_two, three_tokens, order_of(2, 0, 1)),
        ),
        Case(
            "600 numbers, each differs by 0.000009",
            (rounding, normal(78, 2, 4, 150, scale=0.3), order_of(1, 0, 3, 2)),
        ),
        Case(
            "a single number differs by 0.00012",
            (a_little, rows_of([0.5, 0], [0.25, 0], [1, 0]), order_of(1, 2, 0)),
        ),
        Case(
            "what one number gains another loses",
            (carried, normal(72, 3, 3, 3), order_of(1, 2, 0)),
        ),
        Case(
            "the last number of each token stays",
            (carried_first, normal(76, 3, 3, 3), order_of(2, 0, 1)),
        ),
        Case(
            "as many sentences as tokens, and as many numbers",
            (right_neighbour, normal(74, 4, 4, 4), order_of(3, 0, 1, 2)),
        ),
        Case(
            "a single number among 3,000 differs by 0.00012",
            (a_little, normal(75, 3, 60, 50, scale=0.01), torch.arange(60).roll(1)),
        ),
        Case(
            "among numbers near 100, a single one differs by 0.0005",
            (a_little_more, 100 + normal(79, 4, 3, 2), order_of(1, 2, 0)),
        ),
    ),
    misconceptions=(
        Misconception(
            "invariance",
            "Your result is what layer(x[:, order]) and layer(x) give, compared directly.",
            lambda layer, x, order: near(layer(x[:, order]), layer(x)),
        ),
        *several(
            "too_strict",
            "Sentences that are equal up to rounding are False in your result.",
            partial(compare_within, rtol=0.0, atol=1e-8),
            partial(compare_within, rtol=0.0, atol=1e-6),
            partial(compare_within, rtol=1e-5, atol=1e-8),  # torch's own
        ),
        *several(
            "too_tolerant",
            "In your result, a number that is off by 0.00012 counts as rounding.",
            *(partial(compare_within, rtol=0.0, atol=atol) for atol in (2.5e-4, 1e-3)),
        ),
        Misconception(
            "relative",
            "Where numbers are near 100, a difference of 0.0005 is rounding in your result.",
            partial(compare_within, rtol=1e-5, atol=1e-5),
        ),
        Misconception(
            "one_feature",
            "Your result is that of comparing the first number of each token only.",
            lambda layer, x, order: distances(layer, x, order)[:, :, 0].amax(1) < 3e-5,
        ),
        Misconception(
            "negated",
            "Your result is the opposite: True means that the output moved along.",
            lambda layer, x, order: ~near(layer(x[:, order]), layer(x)[:, order]),
        ),
        Misconception(
            "inverse",
            "Your result is that of shuffling one side by order, the other by its inverse.",
            lambda layer, x, order: near(layer(x[:, order]), layer(x)[:, order.argsort()]),
        ),
        *several(
            "one_for_all",
            "Your result is the same for the whole batch; one per sentence is wanted.",
            *(
                partial(one_verdict, form=form, rtol=rtol)
                for rtol in (0.0, 1e-5)  # torch's own is 1e-5
                for form in (
                    lambda verdict, n_sentences: verdict,
                    lambda verdict, n_sentences: bool(verdict),
                    lambda verdict, n_sentences: verdict.expand(n_sentences),
                )
            ),
        ),
    ),
    hints=(
        "Two outputs must be compared. What goes into the layer for each, and is one shuffled?",
        "One output belongs to the shuffled tokens. The other one belongs to the straight tokens,"
        " and is shuffled afterwards, in the same way.",
        "Compare layer(x[:, order]) with layer(x)[:, order]. torch.isclose(a, b, rtol=0, atol=1e-5)"
        " allows for rounding, number by number; then .all over the last two axes.",
    ),
)


# --- needle_gap -----------------------------------------------------------------------------------


def log_odds(weight, n_keys):
    """Torch's log(weight / (1 - weight)), the lead over one other key, and the others besides."""
    return (torch.logit(weight.double()) + log(n_keys - 1)).float()


needle_gap = Exercise(
    id="needle_gap",
    lesson=3,
    signature="needle_gap(weight (N,), n_keys) → lead (N,)",
    returns=("lead",),
    oracle=log_odds,
    cases=(
        Case("half of the weight, eleven keys", (torch.tensor([0.5]), 11)),
        Case("the example: two weights among a thousand", (torch.tensor([0.5, 0.9]), 1000)),
        Case("three weights among ten", (torch.tensor([0.5, 0.9, 0.943]), 10)),
        Case("three other weights among ten", (torch.tensor([0.1, 0.3, 0.7]), 10)),
        Case("less than an equal share", (torch.tensor([0.05]), 10)),
        Case("just an equal share: no lead", (torch.tensor([0.125]), 8)),
        Case("two keys", (torch.tensor([0.75, 0.5, 0.25]), 2)),
        Case("as many weights as keys", (torch.tensor([0.1, 0.2, 0.7]), 3)),
        Case("very small and very large weights", (torch.tensor([1e-6, 0.01, 0.99, 0.9999]), 1000)),
        Case("300 weights", (torch.linspace(0.001, 0.999, 300), 50)),
        Case("a million keys", (torch.tensor([1e-4, 0.129, 0.5]), 1_000_000)),
    ),
    misconceptions=(
        Misconception(
            "counts_the_needle",
            "Your lead has n_keys where n_keys - 1, the number of others, is wanted.",
            lambda weight, n_keys: (weight / (1 - weight) * n_keys).log(),
        ),
        Misconception(
            "others_forgotten",
            "Your lead does not depend on n_keys: it beats one other key, not all.",
            lambda weight, n_keys: (weight / (1 - weight)).log(),
        ),
        Misconception(
            "sign",
            "Your lead has the wrong sign: the needle would score below the others.",
            lambda weight, n_keys: -(weight / (1 - weight) * (n_keys - 1)).log(),
        ),
        Misconception(
            "divided_by_others",
            "Your lead is log(weight / (1 - weight) / (n_keys - 1)): it falls with n_keys.",
            lambda weight, n_keys: (weight / (1 - weight) / (n_keys - 1)).log(),
        ),
        Misconception(
            "rest_forgotten",
            "Your lead is log(weight · (n_keys - 1)): the others' weight is missing.",
            lambda weight, n_keys: (weight * (n_keys - 1)).log(),
        ),
        Misconception(
            "odds_inverted",
            "Your lead is log((1 - weight) / weight · (n_keys - 1)): the odds are inverted.",
            lambda weight, n_keys: ((1 - weight) / weight * (n_keys - 1)).log(),
        ),
        Misconception(
            "no_log",
            "Your result is e to the lead: the logarithm is missing.",
            lambda weight, n_keys: weight / (1 - weight) * (n_keys - 1),
        ),
    ),
    hints=(
        "Write the weight of the needle as a fraction. What does every other key add below?",
        "With all other scores at 0, weight = e^lead / (e^lead + n_keys - 1). Solve for e^lead.",
        "e^lead = (n_keys - 1) · weight / (1 - weight): the odds of the needle, times how many"
        " others there are. The lead is the natural logarithm of that.",
    ),
    properties=(
        same_gradient(log_odds, ("weight", "n_keys"), (torch.tensor([0.05, 0.5, 0.9]), 10)),
    ),
)


# --- attention_cost -------------------------------------------------------------------------------


def count_product_by_product(n_q, n_k, d):
    """Each matrix product (a, b) @ (b, c) takes a·b·c multiplications."""
    projections, pairs = [], []
    for queries, keys in zip(n_q.tolist(), n_k.tolist(), strict=True):
        rows = {"query": queries, "key": keys, "value": keys, "output": queries}
        projections.append(sum(n * d * d for n in rows.values()))
        pairs.append(queries * d * keys + queries * keys * d)  # scores, weighted sum
    return torch.tensor(projections), torch.tensor(pairs)


def counts(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers)


def projections_of(n_q, n_k, d):
    return 2 * (n_q + n_k) * d**2


def pairs_of(n_q, n_k, d):
    return 2 * n_q * n_k * d


attention_cost = Exercise(
    id="attention_cost",
    lesson=3,
    signature="attention_cost(n_q (N,), n_k (N,), d) → projections (N,), pairs (N,)",
    returns=("projections", "pairs"),
    oracle=count_product_by_product,
    cases=(
        Case("the example: one query, one key, width 10", (counts(1), counts(1), 10)),
        Case("one query, four keys", (counts(1), counts(4), 3)),
        Case("more queries than keys", (counts(7, 5), counts(2, 3), 4)),
        Case("the same queries and width, other keys", (counts(7, 5), counts(9, 1), 4)),
        Case("the same keys and width, other queries", (counts(2, 8), counts(9, 1), 4)),
        Case("as many texts as the width", (counts(3, 4, 2), counts(3, 5, 6), 3)),
        Case("long texts, width 512", (counts(10, 1000, 128), counts(4000, 30, 64), 512)),
        Case("counts beyond 2²⁴, odd sizes", (counts(1001, 77, 5), counts(3333, 909, 4999), 511)),
        Case("300 texts", (torch.arange(1, 301), torch.arange(2, 602, 2), 6)),
        Case(
            "pairs beyond 2⁵³: a hundred million tokens",
            (counts(100_000_001, 3), counts(100_000_002, 5), 11),
        ),
        Case(
            "projections beyond 2⁵³: a width of 100,000,001",
            (counts(1, 4), counts(2, 3), 100_000_001),
        ),
    ),
    misconceptions=(
        Misconception(
            "scores_only",
            "Your pairs are n_q·n_k·d: scores and weighted sum take that much each.",
            lambda n_q, n_k, d: (projections_of(n_q, n_k, d), n_q * n_k * d),
        ),
        Misconception(
            "three_projections",
            "Your projections are (n_q + 2·n_k)·d²: three matrices, but there are four.",
            lambda n_q, n_k, d: ((n_q + 2 * n_k) * d**2, pairs_of(n_q, n_k, d)),
        ),
        Misconception(
            "all_from_queries",
            "Your projections are 4·n_q·d²; two of the four run over n_k rows.",
            lambda n_q, n_k, d: (4 * n_q * d**2, pairs_of(n_q, n_k, d)),
        ),
        Misconception(
            "all_from_keys",
            "Your projections are 4·n_k·d²; two of the four run over n_q rows.",
            lambda n_q, n_k, d: (4 * n_k * d**2, pairs_of(n_q, n_k, d)),
        ),
        Misconception(
            "self_attention_of_queries",
            "Your counts are 4·n_q·d² and 2·n_q²·d: n_q tokens that attend to themselves.",
            lambda n_q, n_k, d: (4 * n_q * d**2, 2 * n_q**2 * d),
        ),
        Misconception(
            "self_attention_of_keys",
            "Your counts are 4·n_k·d² and 2·n_k²·d: n_k tokens that attend to themselves.",
            lambda n_q, n_k, d: (4 * n_k * d**2, 2 * n_k**2 * d),
        ),
        Misconception(
            "three_over_keys",
            "Your projections are (n_q + 3·n_k)·d²; two of the four run over n_q rows.",
            lambda n_q, n_k, d: ((n_q + 3 * n_k) * d**2, pairs_of(n_q, n_k, d)),
        ),
        Misconception(
            "three_over_queries",
            "Your projections are (3·n_q + n_k)·d²; two of the four run over n_k rows.",
            lambda n_q, n_k, d: ((3 * n_q + n_k) * d**2, pairs_of(n_q, n_k, d)),
        ),
        Misconception(
            "both_texts_four_times",
            "Your projections are 4·(n_q + n_k)·d²: each row counts in two of the four.",
            lambda n_q, n_k, d: (4 * (n_q + n_k) * d**2, pairs_of(n_q, n_k, d)),
        ),
        Misconception(
            "width_not_squared",
            "Your projections are 2·(n_q + n_k)·d; each takes d² multiplications a row.",
            lambda n_q, n_k, d: (2 * (n_q + n_k) * d, pairs_of(n_q, n_k, d)),
        ),
    ),
    hints=(
        "Which matrices meet, and how many rows has each? Count one product after the other.",
        "A product of shapes (a, b) and (b, c) takes a·b·c multiplications. Four projections: two"
        " run over the queries' rows, two over the keys'.",
        "Query and output: n_q rows each. Key and value: n_k rows each. Every row costs d². The"
        " scores take n_q·d·n_k, and the weighted sum takes n_q·n_k·d once more.",
    ),
)


EXERCISES = (soft_lookup, sdpa, permute_check, needle_gap, attention_cost)
