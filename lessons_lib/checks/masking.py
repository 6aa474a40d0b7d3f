"""The exercises of lesson 4, as data: reference, cases, known mistakes, hints.

A mask is boolean, True = may attend, unless an exercise asks for another convention.
"""

from dataclasses import dataclass

import torch

from lessons_lib.checks.exercise import Case, Exercise, Facts, Misconception, Property
from lessons_lib.checks.properties import gradients, same_gradient


def normal(seed: int, *shape: int) -> torch.Tensor:
    """Normal random numbers, the same on every run."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float32)


def truths(*rows: str) -> torch.Tensor:
    """Rows of 0 and 1 as truth values: truths("10", "11") is (2, 2)."""
    return torch.tensor([[letter == "1" for letter in row] for row in rows])


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
        Misconception(
            "ones_and_zeros",
            "Your mask holds the numbers 1 and 0; truth values are wanted.",
            lambda T: torch.ones(T, T).tril(),
        ),
        Misconception(
            "additive",
            "Your mask is the additive one, 0 and -inf; truth values are wanted.",
            lambda T: torch.full((T, T), -torch.inf).triu(1),
        ),
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
        Misconception(
            "ones_and_zeros",
            "Your mask holds the numbers 1 and 0; truth values are wanted.",
            lambda lengths, T: count_places(lengths, T).float(),
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


def filled(scores, mask, value=-torch.inf, dim=-1):
    """Softmax of the scores with `value` where the mask is False."""
    return scores.masked_fill(~mask, value).softmax(dim=dim)


def zeroed_scores(scores, mask):
    return (scores * mask).softmax(dim=-1)


def zeroed_weights(scores, mask):
    return scores.softmax(dim=-1) * mask


def divided_again(scores, mask):
    after = scores.softmax(dim=-1) * mask
    return after / after.sum(dim=-1, keepdim=True)


def divided_safely(scores, mask):
    after = scores.softmax(dim=-1) * mask
    return after / after.sum(dim=-1, keepdim=True).clamp_min(1e-9)


def bare_exp(scores, mask):
    after = scores.exp() * mask
    return after / after.sum(dim=-1, keepdim=True)


def bare_exp_safely(scores, mask):
    after = scores.exp() * mask
    return after / after.sum(dim=-1, keepdim=True).clamp_min(1e-9)


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


dead_row = (normal(4, 4, 3), truths("110", "000", "011", "111"))
loud_key = torch.tensor([[1.0, 2.0, 200.0], [100.0, 1.0, 3.0]])

masked_softmax = Exercise(
    id="masked_softmax",
    lesson=4,
    signature="masked_softmax(scores (…, T_q, T_k), mask) → weights (…, T_q, T_k)",
    returns=("weights",),
    oracle=softmax_row_by_row,
    cases=(
        Case("nothing is blocked", (normal(0, 2, 4), truths("1111", "1111"))),
        Case("each query has its own keys", (normal(1, 3, 5), truths("10011", "01100", "11101"))),
        Case(
            "a padding mask that broadcasts over queries",
            (normal(2, 2, 3, 4), truths("1100", "1110")[:, None, :]),
        ),
        Case("one mask for every sentence", (normal(3, 3, 4, 5), truths("10000", *["11010"] * 3))),
        Case("a blocked key with a huge score", (loud_key, truths("110", "011"))),
        Case("a dead row: one query may look at nothing", dead_row),
    ),
    misconceptions=(
        Misconception(
            "nan_on_dead_rows",
            "Your dead row is NaN: a softmax in which every score is -inf.",
            filled,
        ),
        Misconception(
            "uniform_on_dead_rows",
            "Your dead row looks at everything alike: all its scores are the same.",
            lambda scores, mask: filled(scores, mask, -1e9),
        ),
        Misconception(
            "score_zero",
            "Your blocked scores are 0, which is not no: e to the 0 is 1.",
            zeroed_scores,
        ),
        Misconception(
            "after_the_softmax",
            "Your rows don't sum to 1: you mask after the softmax.",
            zeroed_weights,
        ),
        Misconception(
            "divided_again",
            "You mask after the softmax and divide again: 0/0 where a key was loud.",
            divided_again,
        ),
        Misconception(
            "divided_safely",
            "You mask after the softmax: a loud blocked key has silenced the others.",
            divided_safely,
        ),
        Misconception(
            "bare_exp",
            "You take exp of the scores as they are: large ones overflow.",
            bare_exp,
        ),
        Misconception(
            "bare_exp_safely",
            "Dead rows are right, but you take exp of scores that overflow.",
            bare_exp_safely,
        ),
        Misconception(
            "inverted",
            "Your weights go to the blocked keys: True = may attend.",
            lambda scores, mask: filled(scores, ~mask, torch.finfo(scores.dtype).min) * ~mask,
        ),
        Misconception(
            "over_queries",
            "Your softmax runs over the queries; the weights of one query sum to 1.",
            lambda scores, mask: filled(scores, mask, torch.finfo(scores.dtype).min, -2) * mask,
        ),
        Misconception(
            "over_queries_nan",
            "Your softmax runs over the queries, and a column without a query is NaN.",
            lambda scores, mask: filled(scores, mask, dim=-2),
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
        Misconception(
            "numbers",
            "Your result holds numbers; truth values are wanted.",
            lambda future, padding: future.float() + padding[:, None, :].float(),
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
        Misconception(
            "additive",
            "Your mask is the additive one, 0 and -inf; truth values are wanted.",
            lambda mask, n_heads: (
                torch.zeros(mask.shape)
                .masked_fill(~mask, -torch.inf)
                .repeat_interleave(n_heads, dim=0)
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
    the outputs are random in training mode, as with nn.Dropout.
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
        share = torch.arange(1.0, len(mask) + 1)  # (T,): unequal, so that nothing cancels
        out = (mask * share) @ x  # (T, d)
        return out * (torch.rand_like(out) + 0.5) if self.training and self.dropout else out


def try_every_position(model, x):
    """In evaluation mode, change everything behind a position, and see whether it moves."""
    model.eval()
    before = model(x)
    for t in range(len(x)):
        changed = x.clone()
        changed[t + 1 :] += 1.0
        if not torch.equal(model(changed)[t], before[t]):
            return torch.tensor(t)
    return torch.tensor(len(x))


def leak_search(first=lambda t: t + 1, end=lambda t: None, training=False, keep=min):
    """A search that changes the places first(t) … end(t) − 1, and keeps one of those it finds."""

    def search(model, x):
        model.train(training)
        before, found = model(x), []
        for t in range(len(x)):
            changed = x.clone()
            changed[first(t) : end(t)] += 1.0
            if not torch.equal(model(changed)[t], before[t]):
                found.append(t)
        return torch.tensor(keep(found, default=len(x)))

    return search


def last_changed(model, x):
    """Change the last position once, and see who moves before it."""
    model.eval()
    changed = x.clone()
    changed[-1] += 1.0
    moved = (model(changed) != model(x)).any(dim=1)[:-1].tolist()
    return torch.tensor(moved.index(True) if True in moved else len(x))


def changed_key(model, x):
    """The first position whose change moves something before it."""
    model.eval()
    before = model(x)
    for t in range(len(x)):
        changed = x.clone()
        changed[t] += 1.0
        if not torch.equal(model(changed)[:t], before[:t]):
            return torch.tensor(t)
    return torch.tensor(len(x))


tight = torch.ones(5, 5).tril()
far = torch.ones(6, 6).tril().index_put((torch.tensor([1, 4]), torch.tensor([4, 5])), torch.ones(2))
near = (
    torch.ones(7, 7).tril().index_put((torch.tensor([3, 5]), torch.tensor([4, 6])), torch.ones(2))
)

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
            "a mask in training mode only",
            (Suspect(far, torch.ones(6, 6).tril()), normal(14, 6, 2)),
        ),
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
            "sees_what_may_move",
            "You see what may move: the position itself, or an output behind it.",
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
            changed_key,
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
