"""The exercises of lesson 4, as data: reference, cases, known mistakes, hints.

A mask is boolean, True = may attend, unless an exercise asks for another convention.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lessons_lib.checks.exercise import Case, Exercise, Facts, Misconception, Property, several
from lessons_lib.checks.inputs import normal, truths
from lessons_lib.checks.properties import gradients, same_gradient

ONES_AND_ZEROS = "Your mask holds the numbers 1 and 0; truth values are wanted."
ADDITIVE = "Your mask is the additive one, 0 and very low; truth values are wanted."


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


def compare_places(T):
    """Query by query, key by key: the key must not come after the query."""
    return torch.tensor([[key <= query for key in range(T)] for query in range(T)])  # (T, T)


causal_mask = Exercise(
    id="causal_mask",
    lesson=4,
    signature="causal_mask(T) → mask (T, T) bool",
    returns=("mask",),
    oracle=compare_places,
    cases=(
        Case("three tokens", (3,)),
        Case("a single token", (1,)),
        Case("seven tokens", (7,)),
    ),
    misconceptions=(
        Misconception(
            "looks_ahead",
            "Your mask lets a query attend to itself and the future, not to the past.",
            lambda T: compare_places(T).T,
        ),
        Misconception(
            "blocked",
            "Your mask is True where attention is blocked; True = may attend.",
            lambda T: ~compare_places(T),
        ),
        Misconception(
            "self_blocked",
            "Your diagonal is False: a token may look at itself.",
            lambda T: compare_places(T).tril(-1),
        ),
        Misconception(
            "one_ahead",
            "Your mask lets each query see one token ahead: the answer.",
            lambda T: torch.ones(T, T, dtype=torch.bool).tril(1),
        ),
        Misconception(
            "all_allowed",
            "Your mask allows every pair, the future too.",
            lambda T: torch.ones(T, T, dtype=torch.bool),
        ),
        Misconception(
            "only_self",
            "Your mask allows the diagonal only: the past is missing.",
            lambda T: torch.eye(T, dtype=torch.bool),
        ),
        *several("ones_and_zeros", ONES_AND_ZEROS, *in_numbers(compare_places)),
        *several("additive", ADDITIVE, *to_be_added(compare_places)),
    ),
    hints=(
        "Row by row: how many keys may the first query see, how many the last one?",
        "Row t holds True in the columns 0 … t. That is a lower triangle with its diagonal.",
        "Start from torch.ones(T, T, dtype=torch.bool), and keep its lower triangle with tril; or"
        " compare a row of places with a column of places.",
    ),
)


# --- padding_mask ---------------------------------------------------------------------------------


def count_places(lengths, T):
    """Sentence by sentence, place by place."""
    return torch.tensor([[[place < length for place in range(T)]] for length in lengths.tolist()])


padding_mask = Exercise(
    id="padding_mask",
    lesson=4,
    signature="padding_mask(lengths (B,), T) → mask (B, 1, T) bool",
    returns=("mask",),
    oracle=count_places,
    cases=(
        Case("one sentence of two tokens, padded to five", (torch.tensor([2]), 5)),
        Case("three lengths", (torch.tensor([4, 1, 3]), 6)),
        Case("one of them fills all places", (torch.tensor([2, 7, 5, 6]), 7)),
        Case("as many sentences as places", (torch.tensor([3, 1, 2]), 3)),
    ),
    misconceptions=(
        Misconception(
            "query_axis_missing",
            "Your mask is (B, T); without the query's axis it is read as (T_q, T_k).",
            lambda lengths, T: count_places(lengths, T)[:, 0],
        ),
        Misconception(
            "queries_masked",
            "Your mask is (B, T, 1): it closes rows, queries, where keys are meant.",
            lambda lengths, T: count_places(lengths, T).transpose(1, 2),
        ),
        Misconception(
            "axis_in_front",
            "Your mask is (1, B, T): the batch stands where the queries belong.",
            lambda lengths, T: count_places(lengths, T).transpose(0, 1),
        ),
        Misconception(
            "marks_padding",
            "Your mask is True on padding; True = may attend.",
            lambda lengths, T: ~count_places(lengths, T),
        ),
        Misconception(
            "one_too_many",
            "Your mask allows one place too many: the first padding.",
            lambda lengths, T: count_places(lengths + 1, T),
        ),
        Misconception(
            "one_too_few",
            "Your mask allows one token too few: the last real one is closed.",
            lambda lengths, T: count_places(lengths - 1, T),
        ),
        Misconception(
            "padding_in_front",
            "Your mask expects the padding in front; here it stands behind.",
            lambda lengths, T: count_places(lengths, T).flip(-1),
        ),
        Misconception(
            "cut_to_longest",
            "Your mask is as wide as the longest sentence, not T wide.",
            lambda lengths, T: count_places(lengths, int(lengths.max())),
        ),
        Misconception(
            "copied_for_queries",
            "Your mask holds a copy for every query; an axis of 1 broadcasts.",
            lambda lengths, T: count_places(lengths, T).expand(-1, T, -1),
        ),
        *several("ones_and_zeros", ONES_AND_ZEROS, *in_numbers(count_places)),
        *several("additive", ADDITIVE, *to_be_added(count_places)),
        Misconception(
            "queries_closed_too",
            "Your mask is (B, T, T): it closes padded queries too; (B, 1, T) is enough.",
            lambda lengths, T: count_places(lengths, T) & count_places(lengths, T).mT,
        ),
        Misconception(
            "marks_padding_late",
            "Your mask is True on padding, and that from its second place on.",
            lambda lengths, T: ~count_places(lengths + 1, T),
        ),
        Misconception(
            "marks_padding_flat",
            "Your mask is True on padding and has no axis for the queries.",
            lambda lengths, T: ~count_places(lengths, T)[:, 0],
        ),
    ),
    hints=(
        "Number the places 0, 1, 2 and so on. Which of them are real in a sentence of length 2?",
        "Compare the places (T,) with the lengths as a column (B, 1): broadcasting gives (B, T).",
        "torch.arange(T) < lengths[:, None] is (B, T). What is missing is the axis of the queries,"
        " of size 1, in the middle: index with [:, None, :].",
    ),
)


# --- masked_softmax -------------------------------------------------------------------------------


def softmax_row_by_row(scores, mask):
    """For each row, torch's softmax over the allowed keys only; an empty row stays zero."""
    mask = mask.expand(scores.shape)
    rows = []
    for row, allowed in zip(scores.flatten(0, -2), mask.flatten(0, -2), strict=True):
        kept = row[allowed].softmax(dim=0)  # (number of allowed keys,)
        rows.append(torch.zeros_like(row).index_put((allowed.nonzero()[:, 0],), kept))
    return torch.stack(rows).view(scores.shape)


def filled(value, dim=-1, again=False):
    """Softmax with `value` where the mask is False; with `again`, zeros there afterwards."""

    def answer(scores, mask):
        low = scores.masked_fill(~mask, value)
        weights = softmax_without_dim(low) if dim is None else low.softmax(dim=dim)
        return weights * mask if again else weights

    return answer


def softmax_without_dim(scores):
    """F.softmax without `dim` guesses: axis 0 of three, axis 1 of two or four."""
    return scores.softmax(dim=0 if scores.dim() == 3 else 1)


def divided(numerators, division):
    """Numerators, such as e to the scores, and how they are divided by their sum."""

    def answer(scores, mask):
        parts = numerators(scores, mask)
        return division(parts, parts.sum(dim=-1, keepdim=True))

    return answer


def plainly(parts, total):
    return parts / total


def safely(parts, total):
    return parts / total.clamp_min(1e-9)


def where_positive(parts, total):
    return torch.where(total > 0, parts / total, 0.0)


def without_nan(parts, total):
    return (parts / total).nan_to_num(0.0)


def exp_then_zero(scores, mask):
    return scores.exp() * mask


def exp_of_filled(scores, mask):
    return scores.masked_fill(~mask, -torch.inf).exp()


def exp_below_all(scores, mask):
    return (scores - scores.max()).exp() * mask


def exp_below_all_allowed(scores, mask):
    low = scores.masked_fill(~mask, -torch.inf)
    return (low - low.max()).exp()


def weights_then_zero(scores, mask):
    return scores.softmax(dim=-1) * mask


def dead_row_let_in(scores, mask):
    return filled(-torch.inf)(scores, mask | ~mask.any(dim=-1, keepdim=True))


def backward_fails(answer) -> Facts | None:
    """Something that the backward pass needs was changed in place."""
    try:
        gradients(answer, dead_row)
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


def nan_in_gradient(answer) -> Facts | None:
    """The gradient that reaches the scores of a batch with a dead row holds NaN."""
    gradient, _ = gradients(answer, dead_row)
    if gradient is None or not gradient.isnan().any():
        return None
    wrong = tuple(gradient.isnan().nonzero()[0].tolist())
    return (
        ("where", f"gradient of scores[{', '.join(map(str, wrong))}]"),
        ("expected", "a finite number"),
        ("got", "nan"),
    )


own_keys = (normal(1, 3, 5), truths("10011", "01100", "11101"))
dead_row = (normal(4, 4, 3), truths("110", "000", "011", "111"))
loud_key = torch.tensor([[1.0, 2.0, 3e4], [900.0, 1.0, 3.0]])
far_apart = torch.tensor([[800.0, 799.0, 0.0], [1.0, 2.0, 3.0]])
far_below = torch.tensor([[-300.0, -301.0, 0.0]])

masked_softmax = Exercise(
    id="masked_softmax",
    lesson=4,
    signature="masked_softmax(scores (…, T_q, T_k), mask) → weights (…, T_q, T_k)",
    returns=("weights",),
    oracle=softmax_row_by_row,
    cases=(
        Case("nothing is blocked", (normal(0, 2, 4), truths("1111", "1111"))),
        Case("each query has its own keys", own_keys),
        Case(
            "a padding mask that broadcasts over queries",
            (normal(2, 2, 3, 4), truths("1100", "1110")[:, None, :]),
        ),
        Case("one mask for every sentence", (normal(3, 3, 4, 5), truths("10000", *["11010"] * 3))),
        Case("scores that are all 0", (torch.zeros(2, 3), truths("111", "110"))),
        Case("one query's scores are large", (far_apart, truths("111", "111"))),
        Case("a blocked key with a huge score", (loud_key, truths("110", "011"))),
        Case("allowed scores far below a blocked one", (far_below, truths("110"))),
        Case("a dead row: one query may look at nothing", dead_row),
    ),
    misconceptions=(
        Misconception(
            "nan_on_dead_rows",
            "Your dead row is NaN: with every key closed it comes down to 0/0.",
            filled(-torch.inf),
        ),
        Misconception(
            "uniform_on_dead_rows",
            "Your dead row looks at everything alike: all its scores are the same.",
            filled(-1e9),
        ),
        Misconception(
            "dead_row_let_in",
            "Your dead row is a softmax over keys that it may not attend to.",
            dead_row_let_in,
        ),
        *several(
            "not_low_enough",
            "Your blocked scores are not low enough: an allowed one is lower.",
            filled(-10.0),
            filled(-50.0),
            filled(-10.0, again=True),
            filled(-50.0, again=True),
            lambda scores, mask: filled(-50.0)(scores, mask) * mask.any(dim=-1, keepdim=True),
            divided(filled(-50.0, again=True), plainly),
            lambda scores, mask: (scores - 20.0 * ~mask).softmax(dim=-1),
            lambda scores, mask: (scores - 1e3 * ~mask).softmax(dim=-1),
            lambda scores, mask: (scores - 1e3 * ~mask).softmax(dim=-1) * mask,
        ),
        *several(
            "score_zero",
            "Your blocked scores are 0, which is not no: e to the 0 is 1.",
            lambda scores, mask: (scores * mask).softmax(dim=-1),
            lambda scores, mask: (scores * mask).softmax(dim=-1) * mask,
        ),
        *several(
            "truth_values_added",
            "Your allowed scores are only 1 higher: blocked ones must be far lower.",
            lambda scores, mask: (scores + mask).softmax(dim=-1),
            lambda scores, mask: (scores + mask).softmax(dim=-1) * mask,
        ),
        Misconception(
            "zero_times_infinity",
            "All is NaN, as when truth values are multiplied by -inf: 0 times infinity.",
            lambda scores, mask: (scores + ~mask * -torch.inf).softmax(dim=-1),
        ),
        Misconception(
            "after_the_softmax",
            "Your rows don't sum to 1: you mask after the softmax.",
            weights_then_zero,
        ),
        Misconception(
            "divided_again",
            "You mask after the softmax and divide again: 0/0 where a key was loud.",
            divided(weights_then_zero, plainly),
        ),
        Misconception(
            "divided_safely",
            "A blocked key with a huge score silences the allowed ones in your rows.",
            divided(weights_then_zero, safely),
        ),
        *several(
            "bare_exp",
            "You take exp of the scores as they are: large ones overflow.",
            divided(exp_then_zero, plainly),
            divided(exp_of_filled, plainly),
        ),
        *several(
            "bare_exp_safely",
            "Dead rows are right, but you take exp of scores that overflow.",
            divided(exp_then_zero, safely),
            divided(exp_then_zero, where_positive),
            divided(exp_then_zero, without_nan),
            divided(exp_of_filled, safely),
            divided(exp_of_filled, without_nan),
        ),
        *several(
            "one_maximum_for_all",
            "Your rows share one maximum: in a row far below it every exp is 0.",
            divided(exp_below_all, plainly),
            divided(exp_below_all, safely),
            divided(exp_below_all_allowed, plainly),
            divided(exp_below_all_allowed, safely),
        ),
        *several(
            "inverted",
            "Your weights go to the blocked keys: True = may attend.",
            lambda scores, mask: filled(-1e9, again=True)(scores, ~mask),
            lambda scores, mask: filled(-1e9)(scores, ~mask),
            lambda scores, mask: filled(-torch.inf)(scores, ~mask),
        ),
        *several(
            "one_inverted",
            "You close the door twice, once on the wrong keys: True = may attend.",
            lambda scores, mask: filled(-1e9)(scores, ~mask) * mask,
            lambda scores, mask: filled(-1e9)(scores, mask) * ~mask,
        ),
        *several(
            "over_queries",
            "Your softmax runs over the queries; the weights of one query sum to 1.",
            filled(-1e9, dim=-2),
            filled(-1e9, dim=-2, again=True),
        ),
        Misconception(
            "over_queries_nan",
            "Your softmax runs over the queries, and a column without a query is NaN.",
            filled(-torch.inf, dim=-2),
        ),
        *several(
            "fixed_axis",
            "Your softmax's axis is counted from the front; the keys are dim=-1.",
            *(
                filled(value, dim, again)
                for dim in (0, 1, None)
                for value, again in ((-torch.inf, False), (-1e9, False), (-1e9, True))
            ),
        ),
        Misconception(
            "mask_ignored",
            "Your mask has no effect: this is the softmax of all scores.",
            lambda scores, mask: scores.softmax(dim=-1),
        ),
    ),
    hints=(
        "What must a blocked score be before the softmax, so that its weight is 0 after it?",
        "Fill blocked scores with a very low number, not -inf: a row of -inf becomes NaN. What do"
        " the weights of a dead row look like then, and what should they be?",
        "Fill twice: scores.masked_fill(~mask, very low) before the softmax over the last axis, and"
        " masked_fill(~mask, 0.0) after it. torch.finfo(scores.dtype).min is the lowest number.",
    ),
    properties=(
        Property(
            "in_place_on_the_weights",
            "the backward pass",
            "You change the weights in place, but the backward pass still needs them.",
            backward_fails,
        ),
        Property(
            "nearly_zero",
            "the weights of blocked keys",
            "Your blocked weights are close to 0, but not exactly 0.",
            blocked_above_zero,
        ),
        Property(
            "nan_gradient",
            "the gradient that flows back to the scores, with a dead row",
            "The weights are right, but the gradient of a dead row is NaN.",
            nan_in_gradient,
        ),
        same_gradient(softmax_row_by_row, ("scores", "mask"), dead_row),
    ),
)


# --- combine_masks --------------------------------------------------------------------------------


def blocked_if_either(future, padding):
    """Pair by pair: blocked if the key lies in the future or is padding."""
    rows = [
        [[bool(future[q, k] or pad[k]) for k in range(len(pad))] for q in range(len(future))]
        for pad in padding
    ]
    return torch.tensor(rows)  # (B, T_q, T_k)


combine_masks = Exercise(
    id="combine_masks",
    lesson=4,
    signature="combine_masks(future (T_q, T_k), padding (B, T_k)) → blocked (B, T_q, T_k) bool",
    returns=("blocked",),
    oracle=blocked_if_either,
    cases=(
        Case("one sentence, no padding", (truths("011", "001", "000"), truths("000"))),
        Case("two sentences, one is padded", (truths("011", "001", "000"), truths("000", "001"))),
        Case(
            "more queries than keys",
            (truths("0111", "0011", "0001", "0000", "1000"), truths("0011", "0001", "0000")),
        ),
        Case("as many sentences as tokens", (truths("01", "00"), truths("01", "00"))),
    ),
    misconceptions=(
        Misconception(
            "and_for_or",
            "You block only what both masks block; here True = blocked, so one is enough.",
            lambda future, padding: future & padding[:, None, :],
        ),
        Misconception(
            "allowed",
            "Your result is True where attention is allowed; True = blocked is wanted.",
            lambda future, padding: ~(future | padding[:, None, :]),
        ),
        Misconception(
            "allowed_by_habit",
            "You read both masks as True = may attend; here True = blocked.",
            lambda future, padding: ~(future & padding[:, None, :]),
        ),
        Misconception(
            "exactly_one",
            "A key that both masks block is open in yours: or, not either-or.",
            lambda future, padding: future ^ padding[:, None, :],
        ),
        Misconception(
            "query_axis_missing",
            "The padding needs an axis for the queries: (B, 1, T_k).",
            lambda future, padding: future | padding,
        ),
        Misconception(
            "queries_padded",
            "You block padded queries, rows; it is the keys that must not be seen.",
            lambda future, padding: future | padding[:, :, None],
        ),
        Misconception(
            "only_future",
            "Your result holds the future only: padding may be attended to.",
            lambda future, padding: future.expand(len(padding), -1, -1),
        ),
        Misconception(
            "only_padding",
            "Your result holds the padding only: the future may be attended to.",
            lambda future, padding: padding[:, None, :].expand(-1, len(future), -1),
        ),
        *several(
            "numbers",
            "Your result holds numbers; truth values are wanted.",
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
            "You turn only one of the two masks round; both mean True = blocked.",
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
        Case("one sentence, one head", (mha_two[:1], 1)),
        Case("one sentence, three heads", (mha_two[:1], 3)),
        Case("two sentences, three heads", (mha_two, 3)),
        Case("three sentences, two heads", mha_three),
    ),
    misconceptions=(
        Misconception(
            "uninverted",
            "Your mask still says True = may attend; True = blocked is wanted.",
            lambda mask, n_heads: mask.repeat_interleave(n_heads, dim=0),
        ),
        Misconception(
            "heads_outside",
            "You repeat the whole batch; each sentence's heads stand side by side.",
            lambda mask, n_heads: ~mask.repeat(n_heads, 1, 1),
        ),
        Misconception(
            "uninverted_heads_outside",
            "True still means may attend, and sentences and heads are in the wrong order.",
            lambda mask, n_heads: mask.repeat(n_heads, 1, 1),
        ),
        Misconception(
            "no_heads",
            "Your mask has one table per sentence; one per sentence and head is wanted.",
            lambda mask, n_heads: ~mask,
        ),
        Misconception(
            "head_axis",
            "Your mask has an axis of its own for the heads: join it with the batch's.",
            lambda mask, n_heads: ~mask[:, None].expand(-1, n_heads, -1, -1),
        ),
        Misconception(
            "transposed",
            "Queries and keys have changed places in your mask.",
            lambda mask, n_heads: ~mask.transpose(1, 2).repeat_interleave(n_heads, dim=0),
        ),
        *several("additive", ADDITIVE, *to_be_added(lambda *args: ~head_by_head(*args))),
        *several("ones_and_zeros", ONES_AND_ZEROS, *in_numbers(head_by_head)),
        Misconception(
            "bitwise_not_on_numbers",
            "Your mask blocks everything, as ~ on numbers does: -1 and -2 are both true.",
            lambda mask, n_heads: torch.ones_like(head_by_head(mask, n_heads)),
        ),
        Misconception(
            "rows_repeated",
            "Your mask repeats each query's row; a sentence's whole table is wanted.",
            lambda mask, n_heads: (
                (~mask).repeat_interleave(n_heads, dim=1).view(-1, *mask.shape[1:])
            ),
        ),
    ),
    hints=(
        "Two things change: what True means, and how many tables there are.",
        "The order is: sentence 0 for every head, then sentence 1 for every head, and so on.",
        "~mask turns the meaning round. `repeat` puts copies of the whole batch one behind the"
        " other; repeat_interleave(n_heads, dim=0) puts the copies of each sentence together.",
    ),
)


# --- first_leak -----------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class Suspect:
    """A layer x (T, d) → (T, d) that sums up what its mask allows. Starts in training mode.

    `mask` (T, T) says who sees whom; `in_training` is another one for training mode. With `dropout`
    the outputs are random in training mode, as with nn.Dropout. A shorter x uses the mask's corner.
    """

    mask: torch.Tensor
    in_training: torch.Tensor | None = None
    dropout: bool = False
    training: bool = True

    def __eq__(self, other):  # whatever its mode
        return isinstance(other, Suspect) and torch.equal(self.mask, other.mask)

    def train(self, mode=True):
        """Switch to training mode, or with False to evaluation mode."""
        self.training = mode
        return self

    def eval(self):
        """Switch to evaluation mode."""
        return self.train(False)

    def __call__(self, x):
        other = self.training and self.in_training is not None
        mask = self.in_training if other else self.mask  # (T, T)
        share = torch.arange(1.0, len(x) + 1)  # (T,): unequal, so that nothing cancels
        out = (mask[: len(x), : len(x)] * share) @ x  # (T, d)
        return out * (torch.rand_like(out) + 0.5) if self.training and self.dropout else out


def first_moved(model, x, before):
    """The first position whose output is no longer `before` when what stands behind it changes."""
    for t in range(len(x)):
        changed = x.clone()
        changed[t + 1 :] += 1.0
        if not torch.equal(model(changed)[t], before[t]):
            return torch.tensor(t)
    return torch.tensor(len(x))


def try_every_position(model, x):
    """In evaluation mode, change everything behind a position, and see whether it moves."""
    model.eval()
    return first_moved(model, x, model(x))


def leak_search(
    first=lambda t: t + 1,
    end=lambda t: None,
    training=False,
    keep=min,
    no_leak=lambda T: T,
    tolerance=0.0,
):
    """A search that changes the places first(t) … end(t) − 1, and keeps one of those it finds."""

    def search(model, x):
        model.train(training)
        before, found = model(x), []
        for t in range(len(x)):
            changed = x.clone()
            changed[first(t) : end(t)] += 1.0
            if not torch.allclose(model(changed)[t], before[t], rtol=0.0, atol=tolerance):
                found.append(t)
        return torch.tensor(keep(found, default=no_leak(len(x))))

    return search


def both_modes(model, x):
    """The smaller of what the two modes show."""
    return torch.min(leak_search()(model, x), leak_search(training=True)(model, x))


def eval_too_late(model, x):
    """Compares outputs in evaluation mode with one in training mode."""
    before = model(x)
    model.eval()
    return first_moved(model, x, before)


def future_reordered(model, x):
    """Turn the order of the future round."""
    model.eval()
    before = model(x)
    for t in range(len(x)):
        changed = torch.cat([x[: t + 1], x[t + 1 :].flip(0)])  # (T, d)
        if not torch.allclose(model(changed)[t], before[t]):
            return torch.tensor(t)
    return torch.tensor(len(x))


def last_changed(model, x):
    """Change the last position once, and see who moves before it."""
    model.eval()
    changed = x.clone()
    changed[-1] += 1.0
    moved = (model(changed) != model(x)).any(dim=1)[:-1].tolist()
    return torch.tensor(moved.index(True) if True in moved else len(x))


def changed_key(shift=0):
    """The first position whose change moves something before it, and how far from it to point."""

    def search(model, x):
        model.eval()
        before = model(x)
        for t in range(len(x)):
            changed = x.clone()
            changed[t] += 1.0
            if not torch.equal(model(changed)[:t], before[:t]):
                return torch.tensor(t + shift)
        return torch.tensor(len(x))

    return search


def triangle(T, entries):
    """A causal mask (T, T) of numbers, but for some entries {(query, key): number}."""
    mask = torch.ones(T, T).tril()
    for place, number in entries.items():
        mask[place] = number
    return mask


tight = triangle(5, {})
near = triangle(7, {(3, 4): 1, (5, 6): 1})
far = triangle(6, {(1, 4): 1, (4, 5): 1})
used, trained = triangle(6, {(2, 5): 1, (4, 5): 1}), triangle(6, {(1, 0): 0})

first_leak = Exercise(
    id="first_leak",
    lesson=4,
    signature="first_leak(model, x (T, d)) → position ()",
    returns=("position",),
    oracle=try_every_position,
    cases=(
        Case("everybody sees everything", (Suspect(torch.ones(4, 4)), normal(10, 4, 2))),
        Case("no leak: the answer is T", (Suspect(tight), normal(11, 5, 3))),
        Case("a leak from the next position", (Suspect(near), normal(12, 7, 2))),
        Case("a leak from farther away", (Suspect(far), normal(13, 6, 3))),
        Case(
            "a leak into the last position but one",
            (Suspect(triangle(4, {(2, 3): 1})), normal(16, 4, 2)),
        ),
        Case("a faint leak", (Suspect(triangle(8, {(2, 6): 1e-4})), normal(17, 8, 3))),
        Case("another mask in training mode", (Suspect(used, trained), normal(14, 6, 2))),
        Case(
            "no leak, but dropout in training mode", (Suspect(tight, None, True), normal(15, 5, 2))
        ),
    ),
    misconceptions=(
        Misconception(
            "changes_the_past",
            "You change the past: that may move a position; only the future may not.",
            leak_search(first=lambda t: 0, end=lambda t: t),
        ),
        Misconception(
            "always_0",
            "Your answer is always 0, as if whatever you change were a leak.",
            leak_search(first=lambda t: t),
        ),
        Misconception(
            "training_mode",
            "You test in training mode: dropout looks like a leak, and hides real ones.",
            leak_search(training=True),
        ),
        Misconception(
            "only_the_next",
            "You change the next position only: leaks from farther away stay hidden.",
            leak_search(end=lambda t: t + 2),
        ),
        Misconception(
            "only_the_last",
            "You change the last position only: leaks from nearer ones stay hidden.",
            last_changed,
        ),
        Misconception(
            "the_source",
            "You give the position that was changed; wanted is the one that moved.",
            changed_key(),
        ),
        Misconception(
            "before_the_source",
            "You give the position before the one changed; wanted is the one that moved.",
            changed_key(shift=-1),
        ),
        *several(
            "no_leak_is_T",
            "Without a leak the answer is T, the number of positions.",
            leak_search(no_leak=lambda T: T - 1),
            leak_search(no_leak=lambda T: -1),
        ),
        Misconception(
            "skips_the_next",
            "You leave the next position as it is: a leak from there stays hidden.",
            leak_search(first=lambda t: t + 2),
        ),
        Misconception(
            "tolerant",
            "You overlook a faint leak: your comparison tolerates too much.",
            leak_search(tolerance=1e-2),
        ),
        Misconception(
            "reorders_the_future",
            "You reorder the future: where only one position is left, nothing changes.",
            future_reordered,
        ),
        Misconception(
            "both_modes",
            "You look in both modes: dropout in training mode looks like a leak.",
            both_modes,
        ),
        Misconception(
            "eval_too_late",
            "You compare with an output in training mode: eval() comes too late.",
            eval_too_late,
        ),
        Misconception(
            "the_last_leak",
            "You give the last position that leaks; the first is wanted.",
            leak_search(keep=max),
        ),
    ),
    hints=(
        "What may a position depend on? Change everything else, and look at that position only.",
        "For each position t in turn: copy x, change all that stands behind t, and compare the"
        " output at t with what it was. And in which mode does a model answer the same twice?",
        "First model.eval() and before = model(x). In the loop: changed = x.clone(), then"
        " changed[t + 1:] += 1, and if model(changed)[t] differs from before[t], t is the answer,"
        " as torch.tensor(t). After the loop it is torch.tensor(len(x)).",
    ),
)


EXERCISES = (causal_mask, padding_mask, masked_softmax, combine_masks, to_mha_mask, first_leak)
