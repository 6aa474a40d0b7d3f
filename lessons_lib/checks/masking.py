"""The exercises of lesson 4, as data: reference, cases, known mistakes, hints.

A mask is boolean, True = may attend, unless an exercise asks for another convention.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lessons_lib.checks.exercise import Case, Exercise, Facts, Misconception, Property, several
from lessons_lib.checks.inputs import normal, truths
from lessons_lib.checks.properties import gradients, same_gradient

ONES_AND_ZEROS = "Your mask holds the numbers 1 and 0; torch.bool is wanted."
ADDITIVE = "Your mask is the additive one, 0 and very low numbers; torch.bool is wanted."


def in_numbers(answer: Callable) -> list[Callable]:
    """The same mask as numbers 1 and 0, in every type that comes to mind."""
    kinds = (torch.float32, torch.float64, torch.float16, torch.uint8, torch.int32, torch.int64)
    return [lambda *args, kind=kind: answer(*args).to(kind) for kind in kinds]


def to_be_added(answer: Callable) -> list[Callable]:
    """The same mask, True = may attend, as numbers to add to the scores."""
    return [
        lambda *args, low=low: torch.zeros(()).where(answer(*args), low)
        for low in (-torch.inf, -1e9)
    ]


# --- causal_mask ----------------------------------------------------------------------------------


def row_by_row(T):
    """Query by query: all keys up to its own position."""
    mask = torch.zeros(T, T, dtype=torch.bool)
    for query in range(T):
        mask[query, : query + 1] = True
    return mask


causal_mask = Exercise(
    id="causal_mask",
    lesson=4,
    signature="causal_mask(T) → mask (T, T) bool",
    returns=("mask",),
    oracle=row_by_row,
    cases=(
        Case("three tokens", (3,)),
        Case("a single token", (1,)),
        Case("seven tokens", (7,)),
        Case("300 tokens", (300,)),
        Case("four tokens, after a longer mask", (4,)),
        Case("seven tokens again", (7,)),
    ),
    misconceptions=(
        Misconception(
            "looks_ahead",
            "Your mask lets a query attend to itself and the future, not to the past.",
            lambda T: row_by_row(T).T,
        ),
        Misconception(
            "blocked",
            "Your mask is True where attention is blocked; True = may attend.",
            lambda T: ~row_by_row(T),
        ),
        Misconception(
            "self_blocked",
            "Your diagonal is False: a token may attend to itself.",
            lambda T: row_by_row(T).tril(-1),
        ),
        Misconception(
            "one_ahead",
            "Your mask lets each query attend to the token after it: the answer.",
            lambda T: torch.ones(T, T, dtype=torch.bool).tril(1),
        ),
        Misconception(
            "all_allowed",
            "Your mask allows every pair, the future too.",
            lambda T: torch.ones(T, T, dtype=torch.bool),
        ),
        *several("ones_and_zeros", ONES_AND_ZEROS, *in_numbers(row_by_row)),
        *several("additive", ADDITIVE, *to_be_added(row_by_row)),
    ),
    hints=(
        "Row by row: how many keys may the first query attend to, how many the last one?",
        "Row t holds True in the columns 0 … t. That is a lower triangle with its diagonal.",
        "Start from torch.ones(T, T, dtype=torch.bool), and keep its lower triangle with tril; or"
        " compare a row of positions with a column of positions.",
    ),
)


# --- padding_mask ---------------------------------------------------------------------------------


def count_positions(lengths, T):
    """Sentence by sentence, position by position."""
    return torch.tensor([[[t < length for t in range(T)]] for length in lengths.tolist()])


padding_mask = Exercise(
    id="padding_mask",
    lesson=4,
    signature="padding_mask(lengths (B,), T) → mask (B, 1, T) bool",
    returns=("mask",),
    oracle=count_positions,
    cases=(
        Case("the example: two lengths, four positions", (torch.tensor([2, 4]), 4)),
        Case("both sentences have three tokens", (torch.tensor([3, 3]), 4)),
        Case("one sentence of two tokens, padded to five", (torch.tensor([2]), 5)),
        Case("three lengths", (torch.tensor([4, 1, 3]), 6)),
        Case("one sentence fills all positions", (torch.tensor([2, 7, 5, 6]), 7)),
        Case("as many sentences as positions", (torch.tensor([3, 1, 2]), 3)),
        Case("no sentence fills all positions", (torch.tensor([1, 2]), 9)),
        Case("600 positions", (torch.tensor([599, 1, 600, 257]), 600)),
        Case("twenty sentences", (torch.arange(1, 21), 20)),
        Case("a single position, after a longer mask", (torch.tensor([1, 1]), 1)),
    ),
    misconceptions=(
        Misconception(
            "query_axis_missing",
            "Your mask is (B, T): the axis of the queries, of size 1, is missing.",
            lambda lengths, T: count_positions(lengths, T)[:, 0],
        ),
        Misconception(
            "queries_masked",
            "Your mask is (B, T, 1): it blocks queries; it is the keys that are padding.",
            lambda lengths, T: count_positions(lengths, T).transpose(1, 2),
        ),
        Misconception(
            "marks_padding",
            "Your mask is True on padding; True = may attend.",
            lambda lengths, T: ~count_positions(lengths, T),
        ),
        Misconception(
            "one_too_many",
            "Your mask allows one position too many: the first padding.",
            lambda lengths, T: count_positions(lengths + 1, T),
        ),
        Misconception(
            "one_too_few",
            "Your mask allows one token too few: the last real one is blocked.",
            lambda lengths, T: count_positions(lengths - 1, T),
        ),
        Misconception(
            "last_positions",
            "Your mask allows the last positions of a sentence; padding stands behind.",
            lambda lengths, T: count_positions(lengths, T).flip(-1),
        ),
        Misconception(
            "longest_sentence",
            "Your mask is as wide as the longest sentence; it should be T wide.",
            lambda lengths, T: count_positions(lengths, int(lengths.max())),
        ),
        Misconception(
            "copied_for_queries",
            "Your mask holds a copy for every query; an axis of 1 broadcasts.",
            lambda lengths, T: count_positions(lengths, T).expand(-1, T, -1),
        ),
        *several("ones_and_zeros", ONES_AND_ZEROS, *in_numbers(count_positions)),
        *several("additive", ADDITIVE, *to_be_added(count_positions)),
    ),
    hints=(
        "Number the positions 0, 1, 2 and so on. Which of them are real in a sentence of length 2?",
        "Compare the positions (T,) with the lengths as a column (B, 1): broadcasting gives"
        " (B, T).",
        "torch.arange(T) < lengths[:, None] is (B, T). What is missing is the axis of the queries,"
        " of size 1, in the middle: index with [:, None, :].",
    ),
)


# --- masked_softmax -------------------------------------------------------------------------------


def softmax_row_by_row(scores, mask):
    """For each row, torch's softmax over the allowed keys only; a fully masked row stays zero."""
    mask = mask.expand(scores.shape)
    rows = []
    for row, allowed in zip(scores.flatten(0, -2), mask.flatten(0, -2), strict=True):
        kept = row[allowed].softmax(dim=0)  # (number of allowed keys,)
        rows.append(torch.zeros_like(row).index_put((allowed.nonzero()[:, 0],), kept))
    return torch.stack(rows).view(scores.shape)


def filled(value, dim=-1, again=False):
    """Softmax with `value` where the mask is False; with `again`, zeros there afterwards."""

    def answer(scores, mask):
        weights = scores.masked_fill(~mask, value).softmax(dim=dim)
        return weights * mask if again else weights

    return answer


def added(low):
    """Softmax with `low` added where the mask is False."""
    return lambda scores, mask: (scores + ~mask * low).softmax(dim=-1)


def divided_again(scores, mask):
    """Masked after the softmax, then divided by the sum again, which may be 0 by then."""
    weights = scores.softmax(dim=-1) * mask
    return weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-9)


def backward_fails(answer) -> Facts | None:
    """Something that the backward pass needs was changed in place."""
    try:
        gradients(answer, masked_row)
    except RuntimeError as error:
        if "inplace operation" in str(error):
            return (("expected", "a backward pass"), ("got", "RuntimeError: inplace operation"))
        raise
    return None


def blocked_above_zero(answer) -> Facts | None:
    """A blocked weight that is close to 0, but is not 0."""
    scores, mask = own_keys
    weights = answer(scores, mask)
    wrong = (weights != 0) & ~mask
    if not wrong.any():
        return None
    index = tuple(wrong.nonzero()[0].tolist())
    return (
        ("where", f"weights[{', '.join(map(str, index))}]"),
        ("expected", "0"),
        ("got", f"{weights[index].item():.4g}"),
    )


def sum_not_one(answer) -> Facts | None:
    """The weights of a row sum to almost 1: something small was added to the denominator."""
    scores, mask = own_keys
    sums = answer(scores, mask).double().sum(dim=-1)  # (T_q,)
    wrong = (sums - 1).abs() > 2e-5
    if not wrong.any():
        return None
    row = wrong.nonzero()[0].item()
    return (
        ("where", f"weights[{row}].sum()"),
        ("expected", "1.000000"),
        ("got", f"{sums[row].item():.6f}"),
    )


def nan_in_gradient(answer) -> Facts | None:
    """The gradient that reaches scores with a fully masked row holds NaN."""
    gradient, _ = gradients(answer, masked_row)
    if gradient is None or not gradient.isnan().any():
        return None
    wrong = tuple(gradient.isnan().nonzero()[0].tolist())
    return (
        ("where", f"gradient of scores[{', '.join(map(str, wrong))}]"),
        ("expected", "a finite number"),
        ("got", "nan"),
    )


own_keys = (normal(1, 3, 5), truths("10011", "01100", "11101"))
masked_row = (normal(4, 4, 3), truths("110", "000", "011", "111"))
example = (torch.tensor([[1.0, 1.0, 9.0], [1.0, 1.0, 9.0]]), truths("110", "000"))
masked_sentence = (normal(5, 3, 2, 4), truths("1100", "0000", "1111")[:, None, :])
high_key = torch.tensor([[1.0, 2.0, 1e4], [900.0, 1.0, 3.0]])
both_ends = torch.tensor([[10000.0, 9900.0, 9800.0], [-10000.0, -9900.0, -9800.0]])
near_ties = torch.tensor([[10000.0, 9999.0, 9998.0], [-10000.0, -9999.0, -10000.0]])
long_rows = torch.stack([torch.arange(300) < 256, normal(9, 300) > 0])  # (2, 300)
far_below = torch.tensor([[10000.0, -10000.0]])
far_rows = (
    torch.tensor([[10000.0, -10000.0, 9000.0], [1.0, 2.0, 10000.0], [10000.0, 1.0, 2.0]]),
    truths("010", "110", "000"),
)

masked_softmax = Exercise(
    id="masked_softmax",
    lesson=4,
    signature="masked_softmax(scores (…, T_q, T_k), mask) → weights (…, T_q, T_k)",
    returns=("weights",),
    oracle=softmax_row_by_row,
    cases=(
        Case("nothing is blocked", (normal(0, 2, 4), truths("1111", "1111"))),
        Case("each query has its own keys", own_keys),
        Case("other scores, other keys", (normal(10, 3, 5), truths("01110", "10000", "00111"))),
        Case(
            "a padding mask that broadcasts over queries",
            (normal(2, 2, 3, 4), truths("1100", "1110")[:, None, :]),
        ),
        Case("one mask for every sentence", (normal(3, 3, 4, 5), truths("10000", *["11010"] * 3))),
        Case(
            "sentences, queries and keys: three each",
            (normal(6, 3, 3, 3), truths("100", "101", "011")),
        ),
        Case(
            "an axis for heads, too",
            (normal(7, 2, 3, 4, 5), truths("11100", "11111")[:, None, None, :]),
        ),
        Case("scores that are all 0", (torch.zeros(2, 3), truths("111", "110"))),
        Case("scores near 10,000, and near -10,000", (both_ends, truths("111", "111"))),
        Case("scores of 10,000 that differ by 1", (near_ties, truths("111", "111"))),
        Case("a blocked key with a very high score", (high_key, truths("110", "011"))),
        Case("a blocked key scores 10,000, the other one -10,000", (far_below, truths("01"))),
        Case("300 keys, the first query may attend to 256", (normal(8, 2, 300), long_rows)),
        Case("the example: the second row is fully masked", example),
        Case("one query may attend to nothing", masked_row),
        Case("one sentence may attend to nothing", masked_sentence),
        Case("large scores, and a fully masked row", far_rows),
    ),
    misconceptions=(
        Misconception(
            "uniform_on_dead_rows",
            "Your fully masked row gives all keys the same weight; zeros are wanted.",
            filled(-1e9),
        ),
        *several(
            "weights_on_dead_rows",
            "Your fully masked row still gets weights that sum to 1; zeros are wanted.",
            added(-1e9),
            added(-1e6),
        ),
        *several(
            "not_low_enough",
            "Your blocked scores are not low enough: an allowed one is as low or lower.",
            *(filled(low, again=again) for low in (-10.0, -100.0, -1e4) for again in (False, True)),
        ),
        *several(
            "score_zero",
            "Your blocked scores are 0 in the softmax, where they still weigh e⁰ = 1.",
            filled(0.0),
            filled(0.0, again=True),
        ),
        Misconception(
            "after_the_softmax",
            "Your weights are masked after the softmax: the rest no longer sums to 1.",
            lambda scores, mask: scores.softmax(dim=-1) * mask,
        ),
        Misconception(
            "masked_too_late",
            "Beside a high blocked score the others get no weight: mask before the softmax.",
            divided_again,
        ),
        *several(
            "inverted",
            "Your weights go to the blocked keys: True means may attend.",
            lambda scores, mask: filled(-1e9, again=True)(scores, ~mask),
            lambda scores, mask: filled(-1e9)(scores, ~mask),
            lambda scores, mask: filled(-torch.inf)(scores, ~mask),
        ),
        *several(
            "over_queries",
            "Your softmax runs over the queries; the weights of one query sum to 1.",
            filled(-1e9, dim=-2),
            filled(-1e9, dim=-2, again=True),
            filled(-torch.inf, dim=-2),
        ),
        Misconception(
            "mask_ignored",
            "Your mask has no effect: this is the softmax of all scores.",
            lambda scores, mask: scores.softmax(dim=-1),
        ),
    ),
    hints=(
        "What must a blocked score be before the softmax, so that its weight is 0 after it?",
        "Fill blocked scores with a very low number, not -inf: a row of -inf becomes NaN. What"
        " are the weights of a fully masked row then, and what should they be?",
        "Fill twice: scores.masked_fill(~mask, very low) before the softmax over the last axis, and"
        " masked_fill(~mask, 0.0) after it. torch.finfo(scores.dtype).min is the lowest number.",
    ),
    properties=(
        Property(
            "in_place_on_the_weights",
            "the backward pass",
            "You change the weights in place, but the backward pass still needs them.",
            backward_fails,
            masked_row,
        ),
        Property(
            "nearly_zero",
            "the weights of blocked keys",
            "Your blocked weights are close to 0, but not exactly 0.",
            blocked_above_zero,
            own_keys,
        ),
        Property(
            "sum_not_one",
            "the sum of the weights of a row",
            "Your weights of a row do not sum to 1, but to almost 1.",
            sum_not_one,
            own_keys,
        ),
        Property(
            "nan_gradient",
            "the gradient that flows back to the scores, with a fully masked row",
            "The weights are right, but the gradient of the scores is NaN.",
            nan_in_gradient,
            masked_row,
        ),
        same_gradient(
            softmax_row_by_row,
            ("scores", "mask"),
            masked_row,
            "the gradient that flows back to the inputs, with a fully masked row",
        ),
        same_gradient(
            softmax_row_by_row,
            ("scores", "mask"),
            far_rows,
            "the gradient where scores are near 10,000, with a fully masked row",
        ),
    ),
)


# --- combine_masks --------------------------------------------------------------------------------


def blocked_if_either(future, padding):
    """Pair by pair: blocked if the key lies in the future or is padding."""
    rows = [
        [
            [by_future or by_padding for by_future, by_padding in zip(row, pad, strict=True)]
            for row in future.tolist()
        ]
        for pad in padding.tolist()
    ]
    return torch.tensor(rows)  # (B, T_q, T_k)


square = truths("011", "001", "000")

combine_masks = Exercise(
    id="combine_masks",
    lesson=4,
    signature="combine_masks(future (T_q, T_k), padding (B, T_k)) → blocked (B, T_q, T_k) bool",
    returns=("blocked",),
    oracle=blocked_if_either,
    cases=(
        Case("the example: two sentences, two tokens", (truths("01", "00"), truths("00", "01"))),
        Case("one sentence, no padding", (square, truths("000"))),
        Case("one sentence, padded", (square, truths("001"))),
        Case("two sentences, one is padded", (square, truths("000", "001"))),
        Case("a sentence that is all padding", (square, truths("011", "111"))),
        Case("the future blocks a whole row", (truths("1111", "0001"), truths("0000", "0001"))),
        Case(
            "more keys than queries, padding in front and in the middle",
            (truths("000011", "000001"), truths("110000", "001100")),
        ),
        Case(
            "more queries than keys",
            (truths("0111", "0011", "0001", "0000", "1000"), truths("0011", "0001", "0000")),
        ),
        Case("a single query", (truths("0010"), truths("0001", "1000", "0000"))),
        Case("a single key", (truths("0", "1"), truths("0", "1", "0"))),
        Case(
            "as many sentences as tokens",
            (square, truths("011", "000", "001")),
        ),
        Case(
            "300 keys, twenty queries",
            (torch.ones(20, 300, dtype=torch.bool).triu(270), normal(20, 2, 300) > 1),
        ),
    ),
    misconceptions=(
        Misconception(
            "and_for_or",
            "You block only what both masks block; here True = blocked, so one is enough.",
            lambda future, padding: future & padding[:, None, :],
        ),
        Misconception(
            "allowed",
            "Your result is True where attention is allowed; True must mean blocked.",
            lambda future, padding: ~(future | padding[:, None, :]),
        ),
        Misconception(
            "exactly_one",
            "Your result is False where both masks block; one is enough, and so are both.",
            lambda future, padding: future ^ padding[:, None, :],
        ),
        Misconception(
            "query_axis_missing",
            "Your result is future | padding: padding needs an axis for queries, (B, 1, T_k).",
            lambda future, padding: future | padding,
        ),
        Misconception(
            "queries_padded",
            "Your result blocks padded queries; it is the padded keys that are to be blocked.",
            lambda future, padding: future | padding[:, :, None],
        ),
        *several(
            "numbers",
            "Your result holds numbers; torch.bool is wanted.",
            *in_numbers(blocked_if_either),
            *in_numbers(lambda future, padding: future.int() + padding[:, None, :].int()),
        ),
        *several(
            "additive",
            ADDITIVE,
            *to_be_added(lambda future, padding: ~blocked_if_either(future, padding)),
        ),
        *several(
            "one_inverted",
            "Your result is that of one mask inverted; True means blocked in both.",
            lambda future, padding: future | ~padding[:, None, :],
            lambda future, padding: ~future | padding[:, None, :],
            lambda future, padding: future & ~padding[:, None, :],
            lambda future, padding: ~future & padding[:, None, :],
        ),
    ),
    hints=(
        "A key is in the future and no padding. Blocked or not? Mind what True means here.",
        "Blocked by one is blocked. And the padding (B, T_k) needs an axis where the queries are.",
        "With True = may attend two masks join with `&`; with True = blocked they join with `|`."
        " Give the padding its axis with padding[:, None, :] before.",
    ),
)


# --- to_mha_mask ----------------------------------------------------------------------------------


def head_by_head(mask, n_heads):
    """One mask after the other, in the order in which nn.MultiheadAttention numbers them."""
    wanted = [~mask[sentence] for sentence in range(len(mask)) for _ in range(n_heads)]
    return torch.stack(wanted)  # (B·n_heads, T_q, T_k)


mha_two = torch.stack([truths("100", "110"), truths("110", "011")])  # (2, 2, 3)
mha_three = (normal(7, 3, 5, 4) > -0.4, 2)  # B, T_q, T_k, n_heads: all different

to_mha_mask = Exercise(
    id="to_mha_mask",
    lesson=4,
    signature="to_mha_mask(mask (B, T_q, T_k), n_heads) → attn_mask (B·n_heads, T_q, T_k) bool",
    returns=("attn_mask",),
    oracle=head_by_head,
    cases=(
        Case("the example: two sentences, two heads", (truths("10", "11")[:, None, :], 2)),
        Case("one sentence, one head", (mha_two[:1], 1)),
        Case("one sentence, three heads", (mha_two[:1], 3)),
        Case("two sentences, three heads", (mha_two, 3)),
        Case("two other sentences, three heads", (mha_two.flip(2), 3)),
        Case("and two others", (mha_two.flip(1), 3)),
        Case("three sentences, two heads", mha_three),
        Case("sentences, heads, queries and keys: three each", (normal(8, 3, 3, 3) > 0, 3)),
        Case("sixteen heads, 100 keys", (normal(9, 2, 4, 100) > 0, 16)),
    ),
    misconceptions=(
        Misconception(
            "uninverted",
            "Your mask still says True = may attend; True must mean blocked.",
            lambda mask, n_heads: mask.repeat_interleave(n_heads, dim=0),
        ),
        Misconception(
            "heads_outside",
            "Your masks repeat the whole batch; each sentence's copies stand side by side.",
            lambda mask, n_heads: ~mask.repeat(n_heads, 1, 1),
        ),
        Misconception(
            "uninverted_heads_outside",
            "True still means may attend, and sentences and heads are in the wrong order.",
            lambda mask, n_heads: mask.repeat(n_heads, 1, 1),
        ),
        Misconception(
            "no_heads",
            "Your result has one mask per sentence; one per sentence and head is wanted.",
            lambda mask, n_heads: ~mask,
        ),
        Misconception(
            "head_axis",
            "Your mask has an axis of its own for the heads: join it with the batch's.",
            lambda mask, n_heads: ~mask[:, None].expand(-1, n_heads, -1, -1),
        ),
        Misconception(
            "transposed",
            "Queries and keys are swapped in your mask.",
            lambda mask, n_heads: ~mask.transpose(1, 2).repeat_interleave(n_heads, dim=0),
        ),
        *several("additive", ADDITIVE, *to_be_added(lambda *args: ~head_by_head(*args))),
        *several("ones_and_zeros", ONES_AND_ZEROS, *in_numbers(head_by_head)),
    ),
    hints=(
        "Two things change: what True means, and how many masks there are.",
        "The order is: sentence 0 for every head, then sentence 1 for every head, and so on.",
        "~mask inverts the meaning. `repeat` puts copies of the whole batch one behind the"
        " other; repeat_interleave(n_heads, dim=0) puts the copies of each sentence together.",
    ),
)


# --- first_leak -----------------------------------------------------------------------------------


@dataclass(eq=False, repr=False, slots=True)
class Suspect:
    """A layer x (T, d) → (T, d) that adds up vectors. It starts in training mode.

    `weights` (T, T) says how much of which vector goes into which output, or (d, T, T), for each of
    the d numbers of a vector; `in_training` are others for training mode. With `dropout` the
    outputs are random in training mode, as with nn.Dropout. `leak` makes something else of what
    later positions contribute. A `centred` layer takes off each vector's mean first, as layer norm
    does. One that `compares` weighs vectors by a softmax over their dot products. `offset` is added
    to all outputs.
    """

    weights: torch.Tensor
    in_training: torch.Tensor | None = None
    dropout: bool = False
    leak: Callable | None = None
    centred: bool = False
    compares: bool = False
    offset: float = 0.0
    training: bool = True
    # The flag of a layer inside: `train` and `eval` switch it too, setting `training` does not.
    training_inside: bool = True

    def __eq__(self, other):  # whatever its mode
        return isinstance(other, Suspect) and torch.equal(self.weights, other.weights)

    def __repr__(self):
        notes = [leaks_of(self.weights)]
        if self.leak is not None:
            notes.append(f"leaks {self.leak.__name__.replace('_', ' ')}")
        if self.in_training is not None:
            notes.append(f"in training mode {leaks_of(self.in_training)}")
        if self.dropout:
            notes.append("dropout in training mode")
        if self.offset:
            notes.append(f"adds {self.offset:g}")
        return f"Suspect({'; '.join(notes)})"

    def train(self, mode=True):
        """Switch to training mode, or with False to evaluation mode."""
        self.training = self.training_inside = mode
        return self

    def eval(self):
        """Switch to evaluation mode."""
        return self.train(False)

    def __call__(self, x):
        other = self.training_inside and self.in_training is not None
        weights = self.in_training if other else self.weights
        if len(x) != weights.shape[-1]:
            raise ValueError(f"this layer takes {weights.shape[-1]} vectors, got {len(x)}")
        seen = x - x.mean(dim=1, keepdim=True) if self.centred else x  # (T, d)
        if self.compares:
            out = (seen @ seen.T).masked_fill(weights == 0, -torch.inf).softmax(dim=-1) @ seen
        elif self.leak is not None:
            out = weights.tril() @ seen + self.leak(seen, weights.triu(1))
        elif weights.dim() == 3:
            out = (weights @ seen.T[:, :, None])[:, :, 0].T
        else:
            out = weights @ seen  # (T, d)
        out = out + self.offset if self.offset else out
        return out * (torch.rand_like(out) + 0.5) if self.training_inside and self.dropout else out


def products(seen, ahead):
    """Each later number times the position's own one."""
    return seen * (ahead @ seen)


def negative_vectors(seen, ahead):
    """Later vectors, but only those whose numbers are all below 0."""
    return ahead @ (seen * (seen < 0).all(dim=1, keepdim=True))


def signs(seen, ahead):
    """The signs of later numbers."""
    return ahead @ seen.sign()


def pairs_ahead(weights):
    """Who takes in something of a later position: (T, T) bool."""
    T = weights.shape[-1]
    return (weights != 0).view(-1, T, T).any(dim=0).triu(1)


def leaks_of(weights):
    """In words which positions attend to later ones: "causal, but 3 attends to 4"."""
    T = weights.shape[-1]
    leaks = pairs_ahead(weights).nonzero().tolist()
    if not leaks:
        return "causal"
    if len(leaks) == T * (T - 1) // 2 > 1:
        return "no mask"
    return "causal, but " + " and ".join(f"{query} attends to {key}" for query, key in leaks)


def read_inside(model, x):
    """What no answer can do: read the weights that the model uses."""
    leaking = pairs_ahead(model.weights).any(dim=1).nonzero()[:, 0]
    return leaking[0] if len(leaking) else torch.tensor(len(x))


def notices(model, x, watched, part):
    """Whether in twenty trials an output moves when other vectors stand in a part of x."""
    for _ in range(20):
        one = torch.randn_like(x)
        other = one.clone()
        other[part] = torch.randn_like(x[part])
        if not torch.equal(model(one)[watched], model(other)[watched]):
            return True
    return False


def everything_behind(t, T):
    return slice(t + 1, T)


def itself(t):
    return t


def leak_search(
    part=everything_behind, watched=itself, training=False, order=iter, no_leak=lambda T: T
):
    """A search that changes a part of x for each position t, and stops where t notices it."""

    def search(model, x):
        model.train(training)
        T = len(x)
        found = (t for t in order(range(T)) if notices(model, x, watched(t), part(t, T)))
        return torch.tensor(next(found, no_leak(T)))

    return search


def source_of_the_leak(model, x):
    """The first position whose change moves an output before it."""
    model.eval()
    found = (t for t in range(len(x)) if notices(model, x, slice(t), slice(t, t + 1)))
    return torch.tensor(next(found, len(x)))


def triangle(T, entries):
    """Causal weights (T, T) of 1, but for some entries {(query, key): number}."""
    weights = torch.ones(T, T).tril()
    for pair, number in entries.items():
        weights[pair] = number
    return weights


three, tight, five = triangle(3, {}), triangle(4, {}), triangle(5, {(1, 3): 1})
used, trained = triangle(6, {(2, 5): 1, (4, 5): 1}), triangle(6, {(1, 0): 0})
far = triangle(6, {(1, 4): 1, (4, 5): 1})
in_the_last_number = torch.stack([tight, tight, triangle(4, {(1, 3): 1})])  # (d, T, T)
whole_numbers = torch.tensor([[3.0, 1.0], [2.0, 6.0], [0.0, 4.0], [5.0, 3.0], [1.0, 7.0]])

first_leak = Exercise(
    id="first_leak",
    lesson=4,
    signature="first_leak(model, x (T, d)) → position ()",
    returns=("position",),
    oracle=read_inside,
    cases=(
        Case("the example", (Suspect(truths("100", "111", "111").float()), torch.ones(3, 2))),
        Case("every position attends to all", (Suspect(torch.ones(4, 4)), normal(10, 4, 2))),
        Case("no leak: the answer is T", (Suspect(tight), normal(11, 4, 3))),
        Case(
            "one position: nothing stands behind it", (Suspect(torch.ones(1, 1)), normal(9, 1, 4))
        ),
        Case(
            "a leak from the next position",
            (Suspect(triangle(7, {(2, 3): 1, (5, 6): 1})), normal(12, 7, 2)),
        ),
        Case(
            "the first leak is neither the nearest nor the farthest",
            (Suspect(triangle(7, {(1, 5): 1, (3, 4): 1, (4, 6): 1})), normal(18, 7, 2)),
        ),
        Case("a leak from farther away", (Suspect(far), normal(13, 6, 3))),
        Case("the same layer, and all vectors are 0", (Suspect(far), torch.zeros(6, 3))),
        Case(
            "a leak into the last position but one",
            (Suspect(triangle(4, {(2, 3): 1})), normal(16, 4, 2)),
        ),
        Case("another mask in training mode", (Suspect(used, trained), normal(14, 6, 2))),
        Case(
            "a leak in training mode only",
            (Suspect(three, triangle(3, {(0, 2): 1})), normal(22, 3, 2)),
        ),
        Case(
            "no leak, but dropout in training mode",
            (Suspect(three, dropout=True), normal(15, 3, 2)),
        ),
        Case(
            "only the last number of each vector leaks",
            (Suspect(in_the_last_number), normal(19, 4, 3)),
        ),
        Case(
            "vectors are weighed by a softmax",
            (Suspect(triangle(6, {(2, 3): 1, (4, 5): 1}), compares=True), normal(20, 6, 3)),
        ),
        Case(
            "vectors are weighed by a softmax, no leak",
            (Suspect(three, compares=True), normal(21, 3, 2)),
        ),
        Case(
            "each vector's mean is taken off first: adding 1 to all its numbers shows nothing",
            (Suspect(triangle(5, {(1, 3): 1, (3, 4): 1}), centred=True), whole_numbers),
        ),
        Case(
            "the difference of two later vectors leaks",
            (Suspect(triangle(6, {(2, 4): 1, (2, 5): -1})), torch.arange(12.0).view(6, 2)),
        ),
        Case(
            "a ten-thousandth leaks, beside outputs of 100",
            (Suspect(triangle(5, {(1, 4): 1e-4}), offset=100.0), normal(17, 5, 3)),
        ),
        Case(
            "position 1 times position 3: while one is 0, nothing shows",
            (Suspect(five, leak=products), torch.zeros(5, 2)),
        ),
        Case(
            "only a vector whose numbers are all below 0 leaks",
            (Suspect(five, leak=negative_vectors), torch.ones(5, 2)),
        ),
        Case(
            "a sign leaks: as long as it stays the same, nothing shows",
            (Suspect(triangle(4, {(1, 2): 1}), leak=signs), torch.ones(4, 1)),
        ),
        Case(
            "the same, from the last position to the first",
            (Suspect(triangle(3, {(0, 2): 1}), leak=signs), torch.ones(3, 1)),
        ),
        Case(
            "only a vector whose numbers are all below 0 leaks, four positions",
            (Suspect(triangle(4, {(1, 2): 1}), leak=negative_vectors), torch.zeros(4, 2)),
        ),
        Case("twenty positions", (Suspect(triangle(20, {(8, 18): 1})), normal(23, 20, 2))),
    ),
    misconceptions=(
        Misconception(
            "always_0",
            "Your answer is 0 for every model, as when position t itself is changed, too.",
            leak_search(lambda t, T: slice(t, T)),
        ),
        Misconception(
            "all_rows_compared",
            "Your answer is 0 wherever T is above 1, as when rows behind t are compared, too.",
            leak_search(watched=lambda t: slice(None)),
        ),
        Misconception(
            "training_mode",
            "Your answers are those of training mode; call model.eval() first.",
            leak_search(training=True),
        ),
        Misconception(
            "only_the_next",
            "Your answers are those of a test that changes the next position only.",
            leak_search(lambda t, T: slice(t + 1, t + 2)),
        ),
        Misconception(
            "only_the_last",
            "Your answers are those of a test that changes the last position only.",
            leak_search(lambda t, T: slice(max(t + 1, T - 1), T)),
        ),
        Misconception(
            "skips_the_next",
            "Your answers are those of a test that leaves the next position as it is.",
            leak_search(lambda t, T: slice(t + 2, T)),
        ),
        Misconception(
            "the_source",
            "Your answer is the position that was changed; the one that moved is wanted.",
            source_of_the_leak,
        ),
        *several(
            "no_leak_is_T",
            "Without a leak the answer is T, the number of positions.",
            leak_search(no_leak=lambda T: T - 1),
            leak_search(no_leak=lambda T: -1),
        ),
        Misconception(
            "the_last_leak",
            "Your answer is the last position that leaks; the first is wanted.",
            leak_search(order=reversed),
        ),
    ),
    hints=(
        "What may a position depend on? Change everything else, and watch that position only.",
        "For each position t in turn, twenty times: random vectors, and the same ones with others"
        " behind t. Is the output at t the same for both? And in which mode does a model answer"
        " the same twice?",
        "First model.eval(). In the two loops: one = torch.randn_like(x); other = one.clone();"
        " other[t + 1:] = torch.randn_like(x[t + 1:]); and if model(one)[t] and model(other)[t] are"
        " not torch.equal, t is the answer, as torch.tensor(t). After the loops it is"
        " torch.tensor(len(x)).",
    ),
)


EXERCISES = (causal_mask, padding_mask, masked_softmax, combine_masks, to_mha_mask, first_leak)
