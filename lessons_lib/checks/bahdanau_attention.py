"""The exercises of lesson 2, as data: reference, cases, known mistakes, hints."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from lessons_lib.checks.diagnosis import first_difference
from lessons_lib.checks.exercise import Case, Exercise, Facts, Misconception, Property, several
from lessons_lib.checks.inputs import normal, truths
from lessons_lib.checks.properties import same_gradient

# --- additive_scores ------------------------------------------------------------------------------


def score_pair_by_pair(query, key, w_a, u_a, v_a):
    """One query and one key at a time."""
    rows = [
        [[torch.tanh(s @ w_a + h @ u_a) @ v_a for h in key[b]] for s in query[b]]
        for b in range(len(query))
    ]
    return torch.stack([torch.stack([torch.stack(row) for row in rows_b]) for rows_b in rows])


def pairs(query, key, w_a, u_a):
    """Every projected query plus every projected key: (B, T_q, T_k, d_a)."""
    return (query @ w_a)[:, :, None] + (key @ u_a)[:, None]


def scored_by(score):
    """A wrong answer from score(sums (B, T_q, T_k, d_a), v_a)."""
    return lambda query, key, w_a, u_a, v_a: score(pairs(query, key, w_a, u_a), v_a)


def added_by(add):
    """A wrong answer from add(query (B, T_q, d_a), key (B, T_k, d_a)), both projected."""
    return lambda query, key, w_a, u_a, v_a: torch.tanh(add(query @ w_a, key @ u_a)) @ v_a


def projected_by(project):
    """A wrong answer from project(query, key, w_a, u_a) → both, (B, T_q, d_a) and (B, T_k, d_a)."""

    def additive_scores(query, key, w_a, u_a, v_a):
        ours, theirs = project(query, key, w_a, u_a)
        return torch.tanh(ours[:, :, None] + theirs[:, None]) @ v_a

    return additive_scores


def squashed_before(of_query, of_key):
    """A wrong answer that squashes the projections, and not their sum."""
    return lambda query, key, w_a, u_a, v_a: (
        (of_query(query @ w_a)[:, :, None] + of_key(key @ u_a)[:, None]) @ v_a
    )


def additive_inputs(seed, B, T_q, T_k, d_q, d_k, d_a):
    """Random arguments of additive_scores."""
    shapes = ((B, T_q, d_q), (B, T_k, d_k), (d_q, d_a), (d_k, d_a), (d_a,))
    return tuple(normal(seed + i, *shape) for i, shape in enumerate(shapes))


LARGE_SUMS = (
    torch.tensor([[[1000.0], [-1000.0]]]),
    torch.tensor([[[0.5], [-0.25]]]),
    torch.tensor([[1.0, -1.0]]),
    torch.ones(1, 2),
    torch.tensor([0.75, 0.5]),
)
ALL_FOUR = additive_inputs(120, 4, 4, 4, 4, 4, 4)
OTHER_FOUR = additive_inputs(125, 4, 4, 4, 4, 4, 4)

NOTES = torch.tensor([[[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]])  # (1, 3, 2): the lesson's by hand

score_names = ("query", "key", "w_a", "u_a", "v_a")

additive_scores = Exercise(
    id="additive_scores",
    lesson=2,
    signature="additive_scores(query (B, T_q, d_q), key (B, T_k, d_k), w_a (d_q, d_a), "
    "u_a (d_k, d_a), v_a (d_a,)) → scores (B, T_q, T_k)",
    returns=("scores",),
    oracle=score_pair_by_pair,
    cases=(
        Case(
            "the three notes of the lesson",
            (torch.tensor([[[3.0, -1.0]]]), NOTES, torch.eye(2), torch.eye(2), torch.ones(2)),
        ),
        Case("one query, all widths different", additive_inputs(10, 1, 1, 4, 3, 5, 2)),
        Case("several queries", additive_inputs(20, 1, 3, 4, 5, 2, 6)),
        Case("several sentences", additive_inputs(30, 2, 5, 3, 4, 6, 7)),
        Case("as many queries as keys", additive_inputs(45, 2, 3, 3, 4, 6, 5)),
        Case("a single key", additive_inputs(100, 2, 3, 1, 4, 5, 6)),
        Case("d_a is 1", additive_inputs(110, 2, 3, 4, 5, 6, 1)),
        Case("all sizes are 4", ALL_FOUR),
        Case("the same sizes, other numbers", OTHER_FOUR),
        Case(
            "the same keys, other queries and weights", (ALL_FOUR[0], OTHER_FOUR[1], *ALL_FOUR[2:])
        ),
        Case("sums of 1,000 and of -1,000 inside the tanh", LARGE_SUMS),
        Case(
            "1,000 and -999.5, which add up to 0.5",
            (
                torch.tensor([[[1000.0]]]),
                torch.tensor([[[-999.5]]]),
                torch.ones(1, 1),
                torch.ones(1, 1),
                torch.ones(1),
            ),
        ),
        Case("250 keys", additive_inputs(130, 1, 2, 250, 3, 2, 4)),
    ),
    misconceptions=(
        Misconception(
            "no_tanh",
            "Your scores are what you get without the tanh.",
            scored_by(lambda sums, v_a: sums @ v_a),
        ),
        Misconception(
            "tanh_outside",
            "Your scores are the tanh of a sum; the tanh belongs inside, before v_a.",
            scored_by(lambda sums, v_a: torch.tanh(sums @ v_a)),
        ),
        Misconception(
            "tanh_of_each",
            "Your scores are what you get when query and key go through tanh one by one.",
            squashed_before(torch.tanh, torch.tanh),
        ),
        Misconception(
            "no_v",
            "Your scores are what you get without v_a: a plain sum of the tanh values.",
            scored_by(lambda sums, v_a: torch.tanh(sums).sum(dim=-1)),
        ),
        Misconception(
            "same_place_only",
            "Your scores pair query i with key i alone; every query meets every key.",
            added_by(lambda ours, theirs: ours + theirs),
        ),
        *(
            Misconception(
                "one_axis_missing",
                "Your scores are what you get when only query or key is given a new axis.",
                added_by(add),
            )
            for add in (
                lambda ours, theirs: ours[:, :, None] + theirs,
                lambda ours, theirs: theirs + ours[:, :, None],
                lambda ours, theirs: ours + theirs[:, None],
                lambda ours, theirs: theirs[:, None] + ours,
            )
        ),
        Misconception(
            "weights_swapped",
            "Your scores are what you get when w_a and u_a change places.",
            projected_by(lambda query, key, w_a, u_a: (query @ u_a, key @ w_a)),
        ),
        Misconception(
            "linear_convention",
            "Your scores are what you get with w_a and u_a transposed, as F.linear does.",
            projected_by(lambda query, key, w_a, u_a: (query @ w_a.T, key @ u_a.T)),
        ),
        Misconception(
            "scaled",
            "Your scores are divided by the square root of d_a; these scores are not scaled.",
            scored_by(lambda sums, v_a: torch.tanh(sums) @ v_a / len(v_a) ** 0.5),
        ),
        Misconception(
            "transposed",
            "Your scores are (B, T_k, T_q): queries are the rows, keys the columns.",
            scored_by(lambda sums, v_a: (torch.tanh(sums) @ v_a).transpose(1, 2)),
        ),
        *(
            Misconception(
                "softmaxed",
                "Your scores are weights, after a softmax; the scores before it are wanted.",
                scored_by(lambda sums, v_a, dim=dim: (torch.tanh(sums) @ v_a).softmax(dim)),
            )
            for dim in (-1, 1)
        ),
        Misconception(
            "squeezed_all",
            "Your scores lack every axis of size 1, as after squeeze() without an axis.",
            scored_by(lambda sums, v_a: (torch.tanh(sums) @ v_a).squeeze()),
        ),
    ),
    hints=(
        "How many scores does a sentence have if there are three queries and four keys?",
        "Project both first. Then every query must be added to every key: give one of them an"
        " axis of size 1 where the other one has its T.",
        "(query @ w_a)[:, :, None] is (B, T_q, 1, d_a) and (key @ u_a)[:, None] is (B, 1, T_k, "
        "d_a). Their sum goes through torch.tanh, and @ v_a makes one number of d_a.",
    ),
    properties=(
        same_gradient(score_pair_by_pair, score_names, additive_inputs(40, 2, 2, 3, 4, 2, 3)),
        same_gradient(
            score_pair_by_pair,
            score_names,
            LARGE_SUMS,
            "the gradient where sums inside the tanh are near 1,000 and -1,000",
        ),
    ),
)


# --- context --------------------------------------------------------------------------------------


def mix_one_by_one(scores, annotations, mask):
    """Softmax over the allowed words of each sentence alone, then the weighted sum."""
    rows = [
        [e[mask[b, 0]].softmax(dim=0) @ annotations[b][mask[b, 0]] for e in scores[b]]
        for b in range(len(scores))
    ]
    return torch.stack([torch.stack(row) for row in rows])  # (B, T_q, d)


def right_weights(scores, mask):
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)  # (B, T_q, T_k)


def divided_again(scores, mask):
    """Masked after the softmax, then divided by the sum again, which may be 0 by then."""
    weights = scores.softmax(dim=-1) * mask  # (B, T_q, T_k)
    return weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-9)


def mixed_by(weigh):
    """A wrong answer from weigh(scores, mask), weights (B, T_q, T_k)."""
    return lambda scores, annotations, mask: weigh(scores, mask) @ annotations


def words(*lengths: int) -> torch.Tensor:
    """A padding mask (B, 1, T_k) for sentences of these lengths."""
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])[:, None]


context_names = ("scores", "annotations", "mask")
context_inputs = (normal(61, 3, 2, 5), normal(62, 3, 5, 4), words(3, 5, 2))

context = Exercise(
    id="context",
    lesson=2,
    signature="context(scores (B, T_q, T_k), annotations (B, T_k, d), mask (B, 1, T_k)) → "
    "context (B, T_q, d)",
    returns=("context",),
    oracle=mix_one_by_one,
    cases=(
        Case(
            "one query, two words, no padding",
            (torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[4.0], [8.0]]]), words(2)),
        ),
        Case("several queries", (normal(51, 1, 3, 4), normal(52, 1, 4, 2), words(4))),
        Case("three lengths, so there is padding", context_inputs),
        Case(
            "the highest score stands on padding",
            (
                torch.tensor([[[1.0, 2.0, 9.0]], [[0.5, 0.2, 3.0]]]),
                NOTES.repeat(2, 1, 1),
                torch.tensor([[[True, True, False]], [[True, False, False]]]),
            ),
        ),
        Case(
            "real scores of -10,000, and 10,000 on padding",
            (
                torch.tensor([[[-10080.0, -10000.0, 10000.0]]]),
                torch.tensor([[[4.0], [8.0], [100.0]]]),
                words(2, 3)[:1],
            ),
        ),
        Case(
            "one query's scores near 10,000, another's near -10,000",
            (
                torch.tensor([[[10000.0, 9920.0], [-10000.0, -9920.0]]]),
                torch.tensor([[[4.0], [8.0]]]),
                words(2),
            ),
        ),
        Case(
            "a very large annotation at padding, whose weight is 0",
            (torch.zeros(1, 1, 3), torch.tensor([[[1.0], [2.0], [1e30]]]), words(2, 3)[:1]),
        ),
        Case("real scores of -50", (normal(55, 2, 3, 4) - 50, normal(56, 2, 4, 5), words(2, 4))),
        Case(
            "scores of hundreds, and a word left out in the middle",
            (
                200 * normal(53, 2, 3, 4),
                normal(54, 2, 4, 5),
                truths("1011", "0110")[:, None],
            ),
        ),
        Case("all sizes are 3", (normal(57, 3, 3, 3), normal(58, 3, 3, 3), words(3, 1, 2))),
        Case(
            "the same sizes, other numbers",
            (normal(63, 3, 3, 3), normal(64, 3, 3, 3), words(2, 3, 1)),
        ),
        Case("300 words", (normal(59, 2, 2, 300), normal(60, 2, 300, 3), words(300, 120))),
    ),
    misconceptions=(
        Misconception(
            "mask_ignored",
            "Your output is what you get without the mask: padding takes a share.",
            mixed_by(lambda scores, mask: scores.softmax(dim=-1)),
        ),
        Misconception(
            "masked_after",
            "Your output is what you get when the mask is applied after the softmax.",
            mixed_by(lambda scores, mask: scores.softmax(dim=-1) * mask),
        ),
        Misconception(
            "masked_too_late",
            "Beside a high masked score the others get no weight: mask before the softmax.",
            mixed_by(divided_again),
        ),
        Misconception(
            "score_zero",
            "Your output is what you get with a score of 0 at padding; exp(0) is 1.",
            mixed_by(lambda scores, mask: (scores * mask).softmax(dim=-1)),
        ),
        *several(
            "mask_inverted",
            "Your output is what you get with the mask inverted: True means may attend.",
            mixed_by(lambda scores, mask: scores.masked_fill(mask, -torch.inf).softmax(dim=-1)),
            mixed_by(lambda scores, mask: scores.masked_fill(mask, -1e9).softmax(dim=-1)),
        ),
        *several(
            "softmax_over_queries",
            "Your output is what you get when the softmax runs over the queries.",
            mixed_by(lambda scores, mask: scores.masked_fill(~mask, -1e9).softmax(dim=1) * mask),
            mixed_by(lambda scores, mask: scores.masked_fill(~mask, -torch.inf).softmax(dim=1)),
            mixed_by(lambda scores, mask: scores.masked_fill(~mask, -1e9).softmax(dim=1)),
        ),
        Misconception(
            "softmax_twice",
            "Your output is what you get with two softmaxes, one after the other.",
            mixed_by(lambda scores, mask: right_weights(scores.softmax(dim=-1), mask)),
        ),
        Misconception(
            "mask_added",
            "Your output is what you get when the mask is added to the scores, True as 1.",
            mixed_by(lambda scores, mask: (scores + mask).softmax(dim=-1)),
        ),
        *several(
            "not_low_enough",
            "Padding takes a share where real scores are low: its score must be lower.",
            *(
                mixed_by(lambda scores, mask, low=low: scores.masked_fill(~mask, low).softmax(-1))
                for low in (-10.0, -30.0, -100.0, -10000.0)
            ),
        ),
        Misconception(
            "no_softmax",
            "Your output is what you get with the scores as weights, without a softmax.",
            mixed_by(lambda scores, mask: scores * mask),
        ),
    ),
    hints=(
        "Which weight must padding have, and what must the weights of the real words add up to?",
        "A score of minus infinity gives a weight of exactly 0, and the softmax then shares 1"
        " among the rest. So the mask acts on the scores.",
        "scores.masked_fill(~mask, -torch.inf).softmax(dim=-1) gives weights (B, T_q, T_k). The "
        "weighted sum over T_k is a matrix product with the annotations (B, T_k, d).",
    ),
    properties=(
        same_gradient(mix_one_by_one, context_names, context_inputs),
        same_gradient(
            mix_one_by_one,
            context_names,
            (
                torch.tensor([[[0.0, 1.0, 10000.0]]]),
                torch.tensor([[[4.0], [8.0], [100.0]]]),
                words(2, 3)[:1],
            ),
            "the gradient where padding has the score 10,000, and the words 0 and 1",
        ),
    ),
)


# --- bidirectional --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reader:
    """A function (B, T, d) → (B, T, d) that reads from left to right, with a name to show."""

    name: str
    read: Callable[[torch.Tensor], torch.Tensor]

    def __call__(self, x):
        return self.read(x)

    def __repr__(self) -> str:
        return self.name


def fade(x):
    """Halve what is known, then add the new word."""
    state, states = torch.zeros_like(x[:, 0]), []  # (B, d)
    for word in x.unbind(dim=1):
        state = 0.5 * state + word  # (B, d)
        states.append(state)
    return torch.stack(states, dim=1)  # (B, T, d)


running_sum = Reader("running_sum", lambda x: x.cumsum(dim=1))
fading_sum = Reader("fading_sum", fade)
counting_sum = Reader("counting_sum", lambda x: (x + 1).cumsum(dim=1))  # zeros are a step, too
mixing_sum = Reader("mixing_sum", lambda x: x.cumsum(dim=1).cumsum(dim=2))  # mixes the features
echo = Reader("echo", lambda x: x)  # returns the very tensor that it is given


def read_each_sentence_alone(x, lengths, ahead, back):
    """Cut the padding off, read in both directions, fill up with zeros."""
    B, T, d = x.shape
    annotations = x.new_zeros(B, T, 2 * d)
    for b, n in enumerate(lengths.tolist()):
        real = x[b : b + 1, :n]  # (1, n, d)
        annotations[b, :n, :d] = ahead(real)[0]
        annotations[b, :n, d:] = back(real.flip(1)).flip(1)[0]
    return annotations


def turned(x, lengths):
    """Each row's real tokens reversed, the padding in its place."""
    rows = [torch.cat([row[:n].flip(0), row[n:]]) for row, n in zip(x, lengths, strict=True)]
    return torch.stack(rows)


def cleared(x, lengths):
    """Zeros at padding."""
    real = torch.arange(x.shape[1]) < lengths[:, None]  # (B, T)
    return x * real[..., None]


def joined_by(second, zeroed=True):
    """A wrong answer whose backward half is second(x, lengths, back)."""

    def bidirectional(x, lengths, ahead, back):
        both = torch.cat([ahead(x), second(x, lengths, back)], dim=-1)  # (B, T, 2·d)
        return cleared(both, lengths) if zeroed else both

    return bidirectional


def right_back(x, lengths, back):
    return turned(back(turned(x, lengths)), lengths)


def zeroed_backwards_only(x, lengths, ahead, back):
    return torch.cat([ahead(x), cleared(right_back(x, lengths, back), lengths)], dim=-1)


def zeroed_forwards_only(x, lengths, ahead, back):
    return torch.cat([cleared(ahead(x), lengths), right_back(x, lengths, back)], dim=-1)


def zeroed_one_late(x, lengths, ahead, back):
    both = torch.cat([ahead(x), right_back(x, lengths, back)], dim=-1)
    return cleared(both, lengths + 1)


def zeroed_before_only(x, lengths, ahead, back):
    x = cleared(x, lengths)
    return torch.cat([ahead(x), right_back(x, lengths, back)], dim=-1)


def readers_swapped(x, lengths, ahead, back):
    return read_each_sentence_alone(x, lengths, back, ahead)


def halves_swapped(x, lengths, ahead, back):
    return read_each_sentence_alone(x, lengths, ahead, back).roll(x.shape[-1], dims=-1)


def one_reader(x, lengths, ahead, back):
    return read_each_sentence_alone(x, lengths, ahead, ahead)


def changed_in_place(bidirectional) -> Facts | None:
    """A tensor that a reader was given or returned, and that holds something else later."""
    seen = []

    def listening(reader, name):
        def read(x):
            returned = reader(x)
            seen.append((f"what {name} was given", x, x.clone()))
            seen.append((f"what {name} returned", returned, returned.clone()))
            return returned

        return Reader(name, read)

    x, lengths = normal(78, 2, 3, 2), torch.tensor([3, 1])
    bidirectional(x, lengths, listening(running_sum, "ahead"), listening(fading_sum, "back"))
    for name, tensor, copy in seen:
        if not torch.equal(tensor, copy):
            where, before, after = first_difference(name, tensor != copy, tensor, copy)
            return (where, ("expected", f"{before[1]}, as it was"), after)
    return None


bidirectional = Exercise(
    id="bidirectional",
    lesson=2,
    signature="bidirectional(x (B, T, d), lengths (B,), ahead, back) → annotations (B, T, 2·d)",
    returns=("annotations",),
    oracle=read_each_sentence_alone,
    cases=(
        Case(
            "one sentence of three words, no padding",
            (torch.tensor([[[1.0], [2.0], [4.0]]]), torch.tensor([3]), running_sum, fading_sum),
        ),
        Case(
            "a sentence of one word, with two columns of padding",
            (
                torch.tensor([[[1.0], [2.0], [4.0]], [[1.0], [8.0], [8.0]]]),
                torch.tensor([3, 1]),
                running_sum,
                fading_sum,
            ),
        ),
        Case(
            "a word whose only number is 0",
            (
                torch.tensor([[[2.0], [0.0], [1.0]], [[3.0], [0.0], [8.0]]]),
                torch.tensor([3, 2]),
                running_sum,
                fading_sum,
            ),
        ),
        Case(
            "three lengths, the readers changed",
            (normal(72, 3, 4, 2), torch.tensor([2, 4, 1]), fading_sum, running_sum),
        ),
        Case(
            "readers that add 1 at every step",
            (normal(74, 3, 5, 2), torch.tensor([3, 1, 4]), counting_sum, counting_sum),
        ),
        Case(
            "readers that mix the features",
            (normal(75, 2, 4, 3), torch.tensor([2, 3]), mixing_sum, mixing_sum),
        ),
        Case(
            "readers that return the tensor that they are given",
            (torch.tensor([[[1.0], [2.0], [8.0]]]), torch.tensor([2]), echo, echo),
        ),
        Case("all sizes are 3", (normal(76, 3, 3, 3), torch.tensor([2, 3, 1]), fading_sum, echo)),
        Case(
            "300 words beside a short sentence",
            (normal(77, 2, 300, 2), torch.tensor([300, 17]), fading_sum, fading_sum),
        ),
    ),
    misconceptions=(
        Misconception(
            "not_turned_back",
            "The backward half is not turned back: its first row is the last word's.",
            joined_by(lambda x, lengths, back: back(turned(x, lengths))),
        ),
        Misconception(
            "padding_read_first",
            "Your backward half has read the padding first, as when whole rows are flipped.",
            joined_by(lambda x, lengths, back: back(x.flip(1)).flip(1)),
        ),
        Misconception(
            "padding_zeroed_first",
            "Your backward half has read zeros in place of padding; zeros are steps too.",
            joined_by(lambda x, lengths, back: back(cleared(x, lengths).flip(1)).flip(1)),
        ),
        *several(
            "turned_two_ways",
            "Your backward half is turned in two ways; turn within the length both times.",
            joined_by(lambda x, lengths, back: back(turned(x, lengths)).flip(1)),
            joined_by(lambda x, lengths, back: turned(back(x.flip(1)), lengths)),
        ),
        Misconception(
            "both_forwards",
            "Your backward half is what `back` returns when it reads forwards.",
            joined_by(lambda x, lengths, back: back(x)),
        ),
        *several(
            "padding_kept",
            "Your annotations at padding are not zero.",
            joined_by(right_back, zeroed=False),
            zeroed_backwards_only,
            zeroed_forwards_only,
            zeroed_one_late,
            zeroed_before_only,
        ),
        Misconception(
            "halves_swapped",
            "Your backward half stands first; the forward half should.",
            halves_swapped,
        ),
        Misconception(
            "one_reader",
            "Your backward half is what `ahead` returns when it reads backwards; use `back`.",
            one_reader,
        ),
        Misconception(
            "readers_swapped",
            "Your halves have each other's reader: `ahead` reads forwards, `back` backwards.",
            readers_swapped,
        ),
    ),
    hints=(
        "What is the first thing that your backward reader reads in a row with padding?",
        "Each row must be turned within its own length. It must be turned a second time after"
        " reading, so that both halves stand at the same word.",
        "For one row: turned = torch.cat([row[:n].flip(0), row[n:]]). Turn, read with back, turn "
        "again, torch.cat with what ahead returns, and put 0 at all positions from n on.",
    ),
    properties=(
        same_gradient(
            read_each_sentence_alone,
            ("x", "lengths", "ahead", "back"),
            (normal(73, 2, 4, 3), torch.tensor([4, 2]), running_sum, fading_sum),
        ),
        Property(
            "changed_in_place",
            "what the readers were given and returned",
            "You change a tensor in place that a reader was given or returned.",
            changed_in_place,
        ),
    ),
)


# --- crossings ------------------------------------------------------------------------------------


def count_pair_by_pair(weights):
    """Compare every word with every later one."""
    attended = weights.argmax(dim=1).tolist()  # T_q positions
    T_q = len(attended)
    crossed = [attended[i] > attended[k] for i in range(T_q) for k in range(i + 1, T_q)]
    return torch.tensor(sum(crossed))


def counted_by(crossed, axis=1):
    """A wrong answer from crossed(earlier (T_q, 1), later (1, T_q), is_later (T_q, T_q))."""

    def crossings(weights):
        attended = weights.argmax(dim=axis)
        order = torch.arange(len(attended))
        return crossed(attended[:, None], attended[None], order[:, None] < order[None]).sum()

    return crossings


def neighbours_only(weights):
    attended = weights.argmax(dim=1)  # (T_q,)
    return (attended[:-1] > attended[1:]).sum()


def average_position(weights):
    positions = weights @ torch.arange(float(weights.shape[1]))  # (T_q,)
    return (positions[:, None] > positions).triu(diagonal=1).sum()


def more_than_the_other(weights):
    """The lesson's count: each of two words gives its own source word more than the other does."""
    attended = weights.argmax(dim=1)  # (T_q,)
    given = weights[:, attended]  # (T_q, T_q): what word i gives the source word of k
    more = given.diagonal()[None] > given  # k gives its own source word more than i does
    return ((attended[:, None] > attended) & more & more.T).triu(diagonal=1).sum()


def share_of_pairs(weights):
    T_q = len(weights)
    return count_pair_by_pair(weights) / max(1, T_q * (T_q - 1) // 2)


FORTY_TWO = torch.tensor([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])

crossings = Exercise(
    id="crossings",
    lesson=2,
    signature="crossings(weights (T_q, T_k)) → count () int64",
    returns=("count",),
    oracle=count_pair_by_pair,
    cases=(
        Case("two words that change places", (torch.tensor([[0.1, 0.9, 0.0], [0.7, 0.2, 0.1]]),)),
        Case("zwei und vierzig <eos>: und attends to forty", (FORTY_TWO,)),
        Case(
            "another word gives the first one's source word more than the first one does",
            (torch.tensor([[0.3, 0.36, 0.34], [0.55, 0.45, 0.0]]),),
        ),
        Case("two words in order", (torch.tensor([[0.7, 0.3], [0.4, 0.6]]),)),
        Case("the same weights, in the other order", (torch.tensor([[0.3, 0.7], [0.6, 0.4]]),)),
        Case(
            "weights that differ in the fifth digit",
            (torch.tensor([[0.3, 0.34999, 0.35001], [0.1, 0.5, 0.4]]),),
        ),
        Case(
            "0.35 and, to the right of it, the next larger number",
            (torch.tensor([[0.3, 0.35, 0.35000002], [0.1, 0.5, 0.4]]),),
        ),
        Case("a straight line", (torch.eye(5)[:4],)),
        Case("all backwards", (torch.eye(6).flip(0)[:5],)),
        Case("a single written word", (torch.tensor([[0.2, 0.5, 0.3]]),)),
        Case("many words", (normal(82, 9, 7).softmax(dim=1),)),
        Case("as many written words as source words", (normal(83, 6, 6).softmax(dim=1),)),
        Case("nearly equal weights", (normal(84, 8, 5, scale=0.05).softmax(dim=1),)),
        Case("sharp weights", (normal(85, 7, 12, scale=4.0).softmax(dim=1),)),
        Case("and ten words more", (normal(86, 17, 11, scale=0.5).softmax(dim=1),)),
        Case("300 words, all backwards", (torch.eye(300).flip(0),)),
    ),
    misconceptions=(
        Misconception(
            "neighbours_only",
            "Your count is that of neighbouring pairs; every pair of written words counts.",
            neighbours_only,
        ),
        Misconception(
            "same_word_counted",
            "Your count includes pairs that attend to the same word; those don't cross.",
            counted_by(lambda one, other, later: (one >= other) & later),
        ),
        Misconception(
            "each_twice",
            "Your count is twice the number of crossing pairs.",
            counted_by(
                lambda one, other, later: ((one > other) & later) | ((one < other) & later.T)
            ),
        ),
        Misconception(
            "straight_counted",
            "Your count is that of the pairs that keep their order; the others cross.",
            counted_by(lambda one, other, later: (one < other) & later),
        ),
        Misconception(
            "any_order",
            "Your count is that of pairs that attend to different words, crossed or not.",
            counted_by(lambda one, other, later: (one != other) & later),
        ),
        Misconception(
            "wrong_axis",
            "Your count is what you get with argmax down the columns; use dim=1.",
            counted_by(lambda one, other, later: (one > other) & later, axis=0),
        ),
        Misconception(
            "average_position",
            "Your count is what you get from average positions; take the highest weight.",
            average_position,
        ),
        Misconception(
            "lesson_count",
            "Your count is the lesson's; here each row's highest weight alone decides.",
            more_than_the_other,
        ),
        Misconception(
            "share",
            "Your count is the share of pairs that cross; their number is wanted.",
            share_of_pairs,
        ),
    ),
    hints=(
        "Which word has the highest weight in each row? Draw four of them as dots, and lines.",
        "Two lines cross if the earlier word attends further to the right. Compare each position"
        " with all later ones, not with the next one alone.",
        "With p = weights.argmax(dim=1), p[:, None] > p[None] compares all pairs at once; "
        "torch.triu(…, diagonal=1) keeps those whose second word is later. Sum them up.",
    ),
)


# --- words_looked_at ------------------------------------------------------------------------------


def spread_row_by_row(weights):
    """exp of the entropy, over the weights that are not 0."""
    rows = [torch.stack([-(a[a > 0] * a[a > 0].log()).sum() for a in rows_b]) for rows_b in weights]
    return torch.stack(rows).exp()  # (B, T_q)


def entropy(weights, dim=-1):
    return torch.special.entr(weights).sum(dim=dim)


def spread_of_shares(weights):
    """The weights divided by their sum again: the same numbers, and another gradient."""
    return spread_row_by_row(weights / weights.sum(dim=-1, keepdim=True))


spread_inputs = (normal(94, 2, 3, 4).softmax(dim=-1),)
of_the_weights = same_gradient(spread_row_by_row, ("weights",), spread_inputs)
of_shares = same_gradient(spread_of_shares, ("weights",), spread_inputs)


def gradient_at_the_weights(answer) -> Facts | None:
    """Each row adds up to 1: an answer that divides it by its sum again is right, too."""
    facts = of_the_weights.counterexample(answer)
    return None if facts and not of_shares.counterexample(answer) else facts


words_looked_at = Exercise(
    id="words_looked_at",
    lesson=2,
    signature="words_looked_at(weights (B, T_q, T_k)) → count (B, T_q)",
    returns=("count",),
    oracle=spread_row_by_row,
    cases=(
        Case("the same weight for four words", (torch.full((1, 1, 4), 0.25),)),
        Case("unequal weights", (normal(91, 1, 3, 5).softmax(dim=-1),)),
        Case(
            "padding, whose weight is 0",
            (torch.tensor([[[0.5, 0.3, 0.2, 0.0], [0.1, 0.0, 0.9, 0.0]]]),),
        ),
        Case(
            "zeros in the first row, none in the second",
            (torch.tensor([[[0.6, 0.4, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]]]),),
        ),
        Case("several sentences", (normal(92, 3, 2, 6, scale=2.0).softmax(dim=-1),)),
        Case("a weight of 1", (torch.tensor([[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]]),)),
        Case("all sizes are 4", (normal(93, 4, 4, 4).softmax(dim=-1),)),
        Case("1,000 words of equal weight", (torch.full((1, 1, 1000), 0.001),)),
        Case(
            "two words of equal weight, and 1,000 columns of padding",
            (torch.tensor([0.5, 0.5] + [0.0] * 1000)[None, None],),
        ),
        Case(
            "one word, and 1,000 others of 0.0000001 each",
            (torch.tensor([0.9999] + [1e-7] * 1000)[None, None],),
        ),
    ),
    misconceptions=(
        Misconception(
            "no_exp",
            "Your count is the entropy; exp turns it into a number of words.",
            entropy,
        ),
        Misconception(
            "sign",
            "Your count is 1 divided by the right one: entropy is the sum of -a log a.",
            lambda weights: (-entropy(weights)).exp(),
        ),
        *several(
            "two_bases",
            "Your count mixes two bases: exp belongs to log, 2 ** x to log2.",
            lambda weights: 2 ** entropy(weights),
            lambda weights: (entropy(weights) / math.log(2)).exp(),
        ),
        Misconception(
            "averaged",
            "Your count is what you get from the average of -a log a; entropy is the sum.",
            lambda weights: (entropy(weights) / weights.shape[-1]).exp(),
        ),
        Misconception(
            "over_queries",
            "Your count is what you get from a sum over the queries; sum over the words.",
            lambda weights: entropy(weights, dim=1).exp(),
        ),
        Misconception(
            "exp_first",
            "Your count is what you get with exp before the sum; sum first, then exp.",
            lambda weights: torch.special.entr(weights).exp().sum(dim=-1),
        ),
        Misconception(
            "not_zero",
            "Your count is the number of weights above 0, however small they are.",
            lambda weights: (weights > 0).sum(dim=-1).float(),
        ),
    ),
    hints=(
        "What must come out if one weight is 1, and what if four weights are 0.25 each?",
        "Entropy is the sum of -a log a over the words; exp of it is the number wanted. A weight"
        " of 0 should add 0, but its logarithm is minus infinity.",
        "logs = weights.clamp(min=1e-30).log() is finite everywhere; where the weight is 0, it is "
        "multiplied by 0. Sum weights * logs over the last axis, turn the sign, and take exp.",
    ),
    properties=(replace(of_the_weights, counterexample=gradient_at_the_weights),),
)


EXERCISES = (additive_scores, context, bidirectional, crossings, words_looked_at)
