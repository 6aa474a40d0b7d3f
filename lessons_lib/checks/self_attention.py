"""The exercises of lesson 3, as data: reference, cases, known mistakes, hints.

Masks are True where a query may attend; every query has a key that it may attend to.
"""

from functools import partial
from math import exp, sqrt

import torch
from torch.nn import functional as F

from lessons_lib.checks.exercise import Case, Exercise, Misconception
from lessons_lib.checks.inputs import normal
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


def raw_weights(query, key):
    return (query @ key.mT / sqrt(query.shape[-1])).softmax(-1)


def attend_mask_as_factor(query, key, value, mask=None):
    scores = query @ key.mT / sqrt(query.shape[-1])
    return (scores if mask is None else scores * mask).softmax(-1) @ value


def attend_mask_added(query, key, value, mask=None):
    scores = query @ key.mT / sqrt(query.shape[-1])
    return (scores if mask is None else scores + mask).softmax(-1) @ value


def attend_masked_late(query, key, value, mask=None):
    weights = raw_weights(query, key)
    return (weights if mask is None else weights * mask) @ value


def attend_inverted(query, key, value, mask=None):
    return attend(query, key, value, None if mask is None else ~mask)


def attend_without_softmax(query, key, value, mask=None):
    scores = query @ key.mT / sqrt(query.shape[-1])
    return (scores if mask is None else scores * mask) @ value


def attend_scaled_late(query, key, value, mask=None):
    return attend(query, key, value, mask, scale=1.0) / sqrt(query.shape[-1])


def attend_rescaled(query, key, value, mask=None):
    weights = raw_weights(query, key)
    if mask is not None:
        weights = weights * mask / (weights * mask).sum(dim=-1, keepdim=True)
    return weights @ value


def attend_zeros_masked(query, key, value, mask=None):
    scores = query @ key.mT / sqrt(query.shape[-1])
    scores = scores if mask is None else (scores * mask).masked_fill(scores * mask == 0, -torch.inf)
    return scores.softmax(-1) @ value


def attend_inf_times_zero(query, key, value, mask=None):
    scores = query @ key.mT / sqrt(query.shape[-1])
    return (scores if mask is None else scores + ~mask * -torch.inf).softmax(-1) @ value


def attend_reshaped(query, key, value, mask=None):
    B, T_k, d_k = key.shape
    scores = query @ key.reshape(B, d_k, T_k) / sqrt(d_k)
    return blocked(scores, mask).softmax(-1) @ value


def attend_over_all_pairs(query, key, value, mask=None):
    scores = blocked(query @ key.mT / sqrt(query.shape[-1]), mask)  # (B, T_q, T_k)
    return scores.flatten(1).softmax(-1).view(scores.shape) @ value


def only_weights(query, key, value, mask=None):
    return blocked(query @ key.mT / sqrt(query.shape[-1]), mask).softmax(-1)


def tensors(seed: int, B: int, T_q: int, T_k: int, d_k: int, d_v: int, scale: float = 1.0):
    """A query, a key and a value of these sizes."""
    query, key = normal(seed, B, T_q, d_k, scale=scale), normal(seed + 1, B, T_k, d_k, scale=scale)
    return query, key, normal(seed + 2, B, T_k, d_v)


pair_mask = torch.tensor(
    [
        [True, False, False, True, False],
        [False, True, True, True, False],
        [True, True, False, False, True],
    ]
)
padding = torch.tensor([[[True] * 4 + [False] * 3], [[True] * 2 + [False] * 5]])  # (2, 1, 7)
loud = (
    torch.tensor([[[30.0, 0.0, 1.0, 0.0], [0.0, 2.0, 0.0, 1.0]]]),
    torch.tensor([[[10.0, 1.0, 0.0, 1.0], [0.0, 1.0, 2.0, 0.0], [0.0, -1.0, 1.0, 2.0]]]),
    normal(48, 1, 3, 2),
    torch.tensor([[False, True, True], [True, True, False]]),
)
silent = (
    torch.tensor([[[1.0, 0.0, 2.0]]]),
    torch.tensor([[[0.0, 2.0, 0.0], [1.0, 1.0, 0.0], [2.0, 0.0, 1.0], [1.0, 1.0, 1.0]]]),
    normal(49, 1, 4, 2),
    torch.tensor([[True, True, False, True]]),
)
gradient_inputs = (*tensors(40, 2, 3, 5, 6, 4), pair_mask)

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
        Case(
            "one query, two keys, a value of one number",
            (
                torch.tensor([[[1.0, 1.0, 0.0, 1.0]]]),
                torch.tensor([[[2.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, -1.0]]]),
                torch.tensor([[[1.0], [0.0]]]),
            ),
        ),
        Case("three queries, five keys", tensors(0, 1, 3, 5, 4, 2)),
        Case("a batch of two", tensors(10, 2, 4, 6, 9, 5, scale=1.5)),
        Case("a mask of its own for every query", (*tensors(20, 4, 3, 5, 8, 6), pair_mask)),
        Case("a mask for the padding of each sentence", (*tensors(30, 2, 4, 7, 3, 5), padding)),
        Case("a masked key whose score is 150", loud),
        Case("a key that may be attended to and scores 0", silent),
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
            "multiplied",
            "Your scores are multiplied by √d_k; they must be divided by it.",
            lambda query, key, value, mask=None: attend(
                query, key, value, mask, sqrt(query.shape[-1])
            ),
        ),
        Misconception(
            "root_of_keys",
            "Your scores are divided by √T_k, the number of keys; √d_k is wanted.",
            lambda query, key, value, mask=None: attend(
                query, key, value, mask, 1 / sqrt(key.shape[-2])
            ),
        ),
        Misconception(
            "root_of_d_v",
            "Your scores are divided by √d_v, the width of a value; √d_k is wanted.",
            lambda query, key, value, mask=None: attend(
                query, key, value, mask, 1 / sqrt(value.shape[-1])
            ),
        ),
        Misconception(
            "root_of_queries",
            "Your scores are divided by √T_q, the number of queries; √d_k is wanted.",
            lambda query, key, value, mask=None: attend(
                query, key, value, mask, 1 / sqrt(query.shape[-2])
            ),
        ),
        Misconception(
            "reshaped_not_transposed",
            "Your key is reshaped, which mixes its rows up; transpose it: key.mT.",
            attend_reshaped,
        ),
        Misconception(
            "scaled_after_softmax",
            "You divide by √d_k after the softmax: the weights no longer sum to 1.",
            attend_scaled_late,
        ),
        *(
            Misconception(
                f"softmax_over_{name}",
                f"Your output is what you get when the softmax runs over the {name}.",
                partial(attend, dim=dim, low=low),
            )
            for name, dim in (("queries", -2), ("batch", 0))
            for low in (-torch.inf, -1e9)
        ),
        Misconception(
            "softmax_over_all",
            "Your softmax runs over all pairs at once; each query wants weights of its own.",
            attend_over_all_pairs,
        ),
        Misconception(
            "no_softmax",
            "Your weights are the scores themselves: the softmax is missing.",
            attend_without_softmax,
        ),
        Misconception(
            "weights_returned",
            "You return the weights; they still have to be multiplied by the values.",
            only_weights,
        ),
        Misconception(
            "mask_ignored",
            "Your output is what you get when nothing is masked.",
            lambda query, key, value, mask=None: attend(query, key, value),
        ),
        Misconception(
            "mask_inverted",
            "Your mask is upside down: True means that the query may attend.",
            attend_inverted,
        ),
        Misconception(
            "masked_after_softmax",
            "You mask after the softmax: what is left no longer sums to 1.",
            attend_masked_late,
        ),
        Misconception(
            "mask_as_factor",
            "You set masked scores to 0; after the softmax they still weigh e⁰ = 1.",
            attend_mask_as_factor,
        ),
        Misconception(
            "mask_added",
            "You add the mask as 0 and 1: masked keys lose a little and stay.",
            attend_mask_added,
        ),
        Misconception(
            "masked_too_late",
            "A masked key with a huge score spoils the rest: mask before the softmax.",
            attend_rescaled,
        ),
        Misconception(
            "zeros_masked",
            "You mask every score that is 0; a key that may be attended to can score 0.",
            attend_zeros_masked,
        ),
        Misconception(
            "inf_times_zero",
            "0 · ∞ is NaN: your mask spoils the scores that it should let through.",
            attend_inf_times_zero,
        ),
        *(
            Misconception(
                "mask_too_weak",
                "Your masked scores are lowered too little: masked keys still get weight.",
                partial(attend, low=low),
            )
            for low in (-1.0, -10.0)
        ),
    ),
    hints=(
        "Three steps: compare, turn into weights, mix. Where does the mask belong among them?",
        "Scores are query times key transposed, over the root of the width of a key. A masked"
        " score must come out of the softmax as 0.",
        "scores = query @ key.mT / sqrt(d_k); then scores.masked_fill(~mask, -torch.inf) if there"
        " is a mask; then the softmax over the last axis, the keys; then weights @ value.",
    ),
    properties=(same_gradient(torch_sdpa, ("query", "key", "value", "mask"), gradient_inputs),),
)


# --- soft_lookup ----------------------------------------------------------------------------------


def look_up_key_by_key(query, key, value, sharpness):
    """Weigh every key by e to the sharpened score, then divide by the sum."""
    shares = [exp(sharpness * float(row.double() @ query.double())) for row in key]
    rows = [share / sum(shares) * row.double() for share, row in zip(shares, value, strict=True)]
    return torch.stack(rows).sum(dim=0).float()  # (d_v,)


def one_over_sharpness(query, key, value, sharpness):
    return ((key @ query) / sharpness).softmax(0) @ value


def shares_of_scores(query, key, value, sharpness):
    scores = sharpness * (key @ query)
    return scores / scores.sum() @ value


def product_of_sharpened(query, key, value, sharpness):
    return ((sharpness * key) @ (sharpness * query)).softmax(0) @ value


def cosines(query, key, value, sharpness):
    return (sharpness * F.cosine_similarity(key, query[None])).softmax(0) @ value


lookup_table = (normal(51, 4, 3), normal(52, 4, 2))

soft_lookup = Exercise(
    id="soft_lookup",
    lesson=3,
    signature="soft_lookup(query (d_k,), key (N, d_k), value (N, d_v), sharpness) → answer (d_v,)",
    returns=("answer",),
    oracle=look_up_key_by_key,
    cases=(
        Case(
            "two keys, sharpness 1",
            (
                torch.tensor([1.0, 0.0]),
                torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
                torch.tensor([[1.0], [0.0]]),
                1,
            ),
        ),
        Case("four keys", (normal(50, 3), *lookup_table, 1)),
        Case("twice as sharp", (normal(50, 3), *lookup_table, 2)),
        Case("blunt: half as sharp", (normal(53, 5), normal(54, 7, 5), normal(55, 7, 3), 0.5)),
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
            "Your look-up gets blunter as sharpness grows: multiply, don't divide.",
            one_over_sharpness,
        ),
        Misconception(
            "sharpness_after_softmax",
            "You multiply by the sharpness after the softmax: that scales the answer.",
            lambda query, key, value, sharpness: sharpness * (key @ query).softmax(0) @ value,
        ),
        Misconception(
            "also_divided",
            "You divide by √d_k too; here the sharpness takes its place.",
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
            "shares_of_scores",
            "You divide the scores by their sum; the softmax exponentiates first.",
            shares_of_scores,
        ),
        Misconception(
            "not_normalised",
            "Your weights e^score do not sum to 1: divide them by their sum.",
            lambda query, key, value, sharpness: (sharpness * (key @ query)).exp() @ value,
        ),
        Misconception(
            "softmax_twice",
            "Your softmax runs twice: the second one makes the weights nearly alike.",
            lambda query, key, value, sharpness: (
                (sharpness * (key @ query)).softmax(0).softmax(0) @ value
            ),
        ),
        Misconception(
            "sign",
            "Your scores have the wrong sign: the key that fits worst gets most.",
            lambda query, key, value, sharpness: (-sharpness * (key @ query)).softmax(0) @ value,
        ),
        Misconception(
            "sharpness_squared",
            "You multiply by the sharpness twice: scores have it once.",
            product_of_sharpened,
        ),
        Misconception(
            "cosine",
            "You divide by the lengths of query and key; the dot product alone is wanted.",
            cosines,
        ),
        Misconception(
            "averaged_again",
            "You divide by the number of keys; the weights average already.",
            lambda query, key, value, sharpness: (
                (sharpness * (key @ query)).softmax(0) @ value / len(key)
            ),
        ),
        Misconception(
            "not_summed",
            "You weigh the values but do not add them up: one answer is wanted.",
            lambda query, key, value, sharpness: (
                (sharpness * (key @ query)).softmax(0)[:, None] * value
            ),
        ),
    ),
    hints=(
        "How well does each key fit the query? One number for each key, before anything else.",
        "The scores are key @ query, shape (N,). Sharpness makes their differences larger, so it"
        " must act before the softmax.",
        "weights = (sharpness * (key @ query)).softmax(dim=0) has the shape (N,), one weight for"
        " each row of value; weights @ value adds the weighted rows up to (d_v,).",
    ),
)


# --- permute_check --------------------------------------------------------------------------------


def squash(x):
    """Each token for itself."""
    return x.tanh()


def add_places(x):
    """A layer that knows places."""
    return x + torch.arange(x.shape[1])[:, None]


def running_total(x):
    """A layer that reads from left to right."""
    return x.cumsum(dim=1)


def right_neighbour(x):
    """Each token gets the one on its right; the last one the first."""
    return x.roll(-1, dims=1)


def add_total(x):
    """Each token and the sum of all, added up one after the other: order shows in rounding."""
    total = torch.zeros_like(x[:, 0])  # (B, d)
    for t in range(x.shape[1]):
        total = total + x[:, t]
    return x + total[:, None]


def mean_of_all(x):
    """The same for all tokens."""
    return x.mean(dim=1, keepdim=True).expand_as(x)


def sort_numbers(x):
    """The numbers of each column by size: whatever the order of the tokens, the same comes out."""
    return x.sort(dim=1).values


def mixed_company(x):
    """Sentences with a positive sum get places; the others are left alone."""
    positive = x.sum(dim=(1, 2), keepdim=True) > 0  # (B, 1, 1)
    return torch.where(positive, add_places(x), x)


def add_to_last(x):
    """A layer that knows only which token is the last."""
    return x + (torch.arange(x.shape[1]) == x.shape[1] - 1)[:, None]


def add_to_inner(x):
    """A layer that tells the ends of a sentence from what lies between."""
    places = torch.arange(x.shape[1])
    return x + ((places > 0) & (places < x.shape[1] - 1))[:, None]


def add_first(x):
    """Each token and the first one."""
    return x + x[:, :1]


def whisper(x):
    """The last number of the first token grows by 0.001, and nothing else."""
    grown = x.clone()
    grown[:, 0, -1] += 1e-3
    return grown


def carry_over(x):
    """Places again, but what one number gains another loses; the first number stays."""
    places = torch.arange(x.shape[1])[:, None]  # (T, 1)
    return x + places * torch.tensor([0.0, 1.0, -1.0])  # (B, T, 3)


def compare_token_by_token(layer, x, order):
    """Token order[t] of the straight sentence must be what token t of the shuffled one is."""
    straight, shuffled = layer(x), layer(x[:, order])
    kept = [
        all(
            torch.allclose(shuffled[b, t], straight[b, order[t]], rtol=1e-4, atol=1e-5)
            for t in range(len(order))
        )
        for b in range(len(x))
    ]
    return torch.tensor(kept)  # (B,)


def near(one, other):
    """Whether two outputs agree, sentence by sentence: (B, T, d) twice → (B,)."""
    return torch.isclose(one, other, rtol=1e-4, atol=1e-5).all(dim=-1).all(dim=-1)


def compare_strictly(layer, x, order, rtol):
    """With less than torch's own tolerance, or just that."""
    shuffled, straight = layer(x[:, order]), layer(x)[:, order]
    return torch.isclose(shuffled, straight, rtol=rtol, atol=1e-8).flatten(1).all(1)


def one_verdict(layer, x, order, form):
    """The same for all sentences, as a tensor of one, a Python bool, or repeated."""
    return form(near(layer(x[:, order]), layer(x)[:, order]).all(), len(x))


def distances(layer, x, order):
    """How far the two outputs lie apart, number by number: (B, T, d)."""
    return (layer(x[:, order]) - layer(x)[:, order]).abs()


def order_of(*places: int) -> torch.Tensor:
    return torch.tensor(places)


permute_check = Exercise(
    id="permute_check",
    lesson=3,
    signature="permute_check(layer, x (B, T, d), order (T,)) → kept (B,) bool",
    returns=("kept",),
    oracle=compare_token_by_token,
    cases=(
        Case("each token for itself", (squash, normal(60, 1, 3, 2), order_of(2, 0, 1))),
        Case("two tokens change places", (squash, normal(61, 2, 3, 4), order_of(1, 0, 2))),
        Case(
            "a layer that knows places; the first and the last token stay",
            (add_places, normal(62, 5, 4, 2), order_of(0, 2, 1, 3)),
        ),
        Case(
            "a layer that reads in order",
            (running_total, normal(63, 2, 4, 3), order_of(1, 3, 0, 2)),
        ),
        Case(
            "each token and the sum of all: equal up to rounding",
            (add_total, normal(154, 3, 7, 9, scale=3.0), order_of(4, 2, 6, 0, 5, 3, 1)),
        ),
        Case(
            "all tokens get the same", (mean_of_all, normal(65, 2, 5, 3), order_of(3, 1, 4, 0, 2))
        ),
        Case(
            "each token gets its neighbour",
            (right_neighbour, normal(66, 2, 4, 3), order_of(2, 0, 1, 3)),
        ),
        Case("a layer that sorts", (sort_numbers, normal(67, 2, 4, 3), order_of(1, 3, 0, 2))),
        Case(
            "places for some sentences, not for others",
            (mixed_company, normal(68, 6, 3, 2), order_of(1, 2, 0)),
        ),
        Case(
            "only the last place is known, and its token stays",
            (add_to_last, normal(69, 2, 4, 2), order_of(1, 0, 2, 3)),
        ),
        Case(
            "the two inner places are alike, and change their tokens",
            (add_to_inner, normal(70, 2, 4, 3), order_of(0, 2, 1, 3)),
        ),
        Case(
            "each token and the first one, which was the largest, or the smallest",
            (
                add_first,
                torch.tensor(
                    [[[3.0, 4.0], [1.0, 2.0], [2.0, 0.0]], [[0.0, 1.0], [3.0, 2.0], [2.0, 5.0]]]
                ),
                order_of(1, 2, 0),
            ),
        ),
        Case("a single number differs by 0.001", (whisper, normal(71, 2, 3, 4), order_of(1, 2, 0))),
        Case(
            "what one number gains another loses",
            (carry_over, normal(72, 3, 3, 3), order_of(1, 2, 0)),
        ),
    ),
    misconceptions=(
        Misconception(
            "invariance",
            "You ask whether nothing changes; the outputs should move with the tokens.",
            lambda layer, x, order: near(layer(x[:, order]), layer(x)),
        ),
        *(
            Misconception(
                "too_strict",
                "You allow less than rounding needs: about 1e-5.",
                partial(compare_strictly, rtol=rtol),
            )
            for rtol in (0.0, 1e-5)
        ),
        Misconception(
            "too_tolerant",
            "You allow too much: a difference of 0.001 is more than rounding.",
            lambda layer, x, order: distances(layer, x, order).amax(dim=(1, 2)) < 1e-2,
        ),
        Misconception(
            "no_abs",
            "You look for large differences only; very negative ones count too: .abs().",
            lambda layer, x, order: (
                (layer(x[:, order]) - layer(x)[:, order]).flatten(1).max(1).values < 1e-5
            ),
        ),
        Misconception(
            "one_feature",
            "One number of a token may differ while another agrees: compare them all.",
            lambda layer, x, order: distances(layer, x, order)[:, :, 0].amax(1) < 1e-5,
        ),
        Misconception(
            "features_summed",
            "You compare sums over the numbers of a token: they may agree by chance.",
            lambda layer, x, order: near(
                layer(x[:, order]).sum(2, keepdim=True), layer(x)[:, order].sum(2, keepdim=True)
            ),
        ),
        Misconception(
            "any_token",
            "One token that agrees is enough for you; all of them must.",
            lambda layer, x, order: (distances(layer, x, order).amax(2) < 1e-4).any(1),
        ),
        Misconception(
            "order_ignored",
            "You shuffle in an order of your own; use the `order` that is given.",
            lambda layer, x, order: near(layer(x.flip(1)), layer(x).flip(1)),
        ),
        Misconception(
            "negated",
            "Your verdict is upside down: True means that the output moved along.",
            lambda layer, x, order: ~near(layer(x[:, order]), layer(x)[:, order]),
        ),
        Misconception(
            "inverse",
            "Your outputs are lined up the wrong way: layer(x)[:, order] is wanted.",
            lambda layer, x, order: near(layer(x[:, order]), layer(x)[:, order.argsort()]),
        ),
        Misconception(
            "compared_with_input",
            "You compare with the shuffled input; the layer must see that one too.",
            lambda layer, x, order: near(layer(x[:, order]), x[:, order]),
        ),
        Misconception(
            "sums",
            "You compare sums over the tokens: they agree even when places differ.",
            lambda layer, x, order: near(
                layer(x[:, order]).sum(1, keepdim=True), layer(x).sum(1, keepdim=True)
            ),
        ),
        Misconception(
            "output_only",
            "You never hand the layer the shuffled tokens.",
            lambda layer, x, order: near(layer(x)[:, order], layer(x)),
        ),
        *(
            Misconception(
                "one_for_all",
                "You return one verdict for the whole batch; one per sentence is wanted.",
                partial(one_verdict, form=form),
            )
            for form in (
                lambda verdict, n_sentences: verdict,
                lambda verdict, n_sentences: bool(verdict),
                lambda verdict, n_sentences: verdict.expand(n_sentences),
            )
        ),
    ),
    hints=(
        "Two outputs must be compared. What goes into the layer for each, and is one shuffled?",
        "One output belongs to the shuffled tokens. The other one belongs to the straight tokens,"
        " and is shuffled afterwards, in the same way.",
        "Compare layer(x[:, order]) with layer(x)[:, order]. torch.isclose(a, b, atol=1e-5) allows"
        " for rounding, number by number; then .all over the last two axes.",
    ),
)


# --- needle_gap -----------------------------------------------------------------------------------


def halve_until_found(weight, n_keys):
    """Try leads; halve the interval until the needle has the weight."""
    leads = []
    for wanted in weight.double().tolist():
        low, high = -60.0, 60.0
        for _ in range(200):
            middle = (low + high) / 2
            got = 1 / (1 + (n_keys - 1) * exp(-middle))
            low, high = (middle, high) if got < wanted else (low, middle)
        leads.append(low)
    return torch.tensor(leads)


needle_gap = Exercise(
    id="needle_gap",
    lesson=3,
    signature="needle_gap(weight (N,), n_keys) → lead (N,)",
    returns=("lead",),
    oracle=halve_until_found,
    cases=(
        Case("half of the weight, eleven keys", (torch.tensor([0.5]), 11)),
        Case("three weights among ten", (torch.tensor([0.5, 0.9, 0.943]), 10)),
        Case("less than an equal share", (torch.tensor([0.05]), 10)),
        Case("among a thousand", (torch.tensor([0.01, 0.129, 0.5, 0.99]), 1000)),
    ),
    misconceptions=(
        Misconception(
            "counts_the_needle",
            "You count the needle among the others: they are n_keys - 1.",
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
            "Your lead falls as keys are added: the others' share must be outweighed.",
            lambda weight, n_keys: (weight / (1 - weight) / (n_keys - 1)).log(),
        ),
        Misconception(
            "rest_forgotten",
            "You take log(weight · others): what is left to the others is missing.",
            lambda weight, n_keys: (weight * (n_keys - 1)).log(),
        ),
        Misconception(
            "odds_inverted",
            "Your odds are upside down: the needle's weight stands over the rest.",
            lambda weight, n_keys: ((1 - weight) / weight * (n_keys - 1)).log(),
        ),
        Misconception(
            "weight_forgotten",
            "You take log(others / rest): the needle's own weight is missing above.",
            lambda weight, n_keys: ((n_keys - 1) / (1 - weight)).log(),
        ),
        Misconception(
            "wrong_way_round",
            "You compute a weight from a lead; the lead for a weight is wanted.",
            lambda weight, n_keys: weight.exp() / (weight.exp() + n_keys - 1),
        ),
        Misconception(
            "compared_with_uniform",
            "You compare with an equal share, 1/n_keys, not with what the others keep.",
            lambda weight, n_keys: (weight * n_keys).log(),
        ),
        Misconception(
            "no_log",
            "Your result is e to the lead: the logarithm is missing.",
            lambda weight, n_keys: weight / (1 - weight) * (n_keys - 1),
        ),
        Misconception(
            "log_to_base_2",
            "Your logarithm has base 2; the softmax raises e.",
            lambda weight, n_keys: (weight / (1 - weight) * (n_keys - 1)).log2(),
        ),
        Misconception(
            "log_to_base_10",
            "Your logarithm has base 10; the softmax raises e.",
            lambda weight, n_keys: (weight / (1 - weight) * (n_keys - 1)).log10(),
        ),
    ),
    hints=(
        "Write the weight of the needle as a fraction. What does every other key add below?",
        "With all other scores at 0, weight = e^lead / (e^lead + n_keys - 1). Solve for e^lead.",
        "e^lead = (n_keys - 1) · weight / (1 - weight): the odds of the needle, times how many"
        " others there are. The lead is the natural logarithm of that.",
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


attention_cost = Exercise(
    id="attention_cost",
    lesson=3,
    signature="attention_cost(n_q (N,), n_k (N,), d) → projections (N,), pairs (N,)",
    returns=("projections", "pairs"),
    oracle=count_product_by_product,
    cases=(
        Case("two tokens look at themselves, width 3", (counts(2), counts(2), 3)),
        Case("one query, four keys", (counts(1), counts(4), 3)),
        Case("more queries than keys", (counts(7, 5), counts(2, 3), 4)),
        Case("long texts, width 512", (counts(10, 1000, 128), counts(4000, 30, 64), 512)),
    ),
    misconceptions=(
        Misconception(
            "scores_only",
            "Your pairs count the scores; the weighted sum of values costs as much.",
            lambda n_q, n_k, d: (projections_of(n_q, n_k, d), n_q * n_k * d),
        ),
        Misconception(
            "output_forgotten",
            "Your projections lack the fourth matrix, which is applied to the output.",
            lambda n_q, n_k, d: ((n_q + 2 * n_k) * d**2, 2 * n_q * n_k * d),
        ),
        Misconception(
            "one_length_queries",
            "You count as if there were n_q keys: keys and values have n_k rows.",
            lambda n_q, n_k, d: (4 * n_q * d**2, 2 * n_q**2 * d),
        ),
        Misconception(
            "one_length_keys",
            "You count as if there were n_k queries: queries and outputs have n_q rows.",
            lambda n_q, n_k, d: (4 * n_k * d**2, 2 * n_k**2 * d),
        ),
        Misconception(
            "all_from_queries",
            "You project n_q rows four times: keys and values have n_k rows.",
            lambda n_q, n_k, d: (4 * n_q * d**2, 2 * n_q * n_k * d),
        ),
        Misconception(
            "all_from_keys",
            "You project n_k rows four times: queries and outputs have n_q rows.",
            lambda n_q, n_k, d: (4 * n_k * d**2, 2 * n_q * n_k * d),
        ),
        Misconception(
            "output_on_keys",
            "You apply the output matrix to n_k rows; the context has n_q.",
            lambda n_q, n_k, d: ((n_q + 3 * n_k) * d**2, 2 * n_q * n_k * d),
        ),
        Misconception(
            "value_on_queries",
            "You project values from n_q rows; values belong to the keys, n_k rows.",
            lambda n_q, n_k, d: ((3 * n_q + n_k) * d**2, 2 * n_q * n_k * d),
        ),
        Misconception(
            "both_texts_four_times",
            "You project both texts four times: each matrix applies to one of them.",
            lambda n_q, n_k, d: (4 * (n_q + n_k) * d**2, 2 * n_q * n_k * d),
        ),
        Misconception(
            "pairs_of_queries",
            "Your pairs are queries with queries: a query meets n_k keys.",
            lambda n_q, n_k, d: (projections_of(n_q, n_k, d), 2 * n_q**2 * d),
        ),
        Misconception(
            "pairs_of_keys",
            "Your pairs are keys with keys: a key meets n_q queries.",
            lambda n_q, n_k, d: (projections_of(n_q, n_k, d), 2 * n_k**2 * d),
        ),
        Misconception(
            "total_returned",
            "You return one total; projections and pairs are wanted apart.",
            lambda n_q, n_k, d: projections_of(n_q, n_k, d) + 2 * n_q * n_k * d,
        ),
        Misconception(
            "width_not_squared",
            "Your projections count d for each row; each of d results takes d products.",
            lambda n_q, n_k, d: (2 * (n_q + n_k) * d, 2 * n_q * n_k * d),
        ),
        Misconception(
            "width_forgotten",
            "Your pairs count weights, not multiplications: each takes d of them.",
            lambda n_q, n_k, d: (projections_of(n_q, n_k, d), 2 * n_q * n_k),
        ),
        Misconception(
            "swapped",
            "Projections and pairs have changed places.",
            lambda n_q, n_k, d: (2 * n_q * n_k * d, projections_of(n_q, n_k, d)),
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
