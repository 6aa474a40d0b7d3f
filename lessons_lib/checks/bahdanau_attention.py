"""The exercises of lesson 2, as data: reference, cases, known mistakes, hints."""

import math

import torch

from lessons_lib.checks.exercise import Case, Exercise, Misconception
from lessons_lib.checks.inputs import normal
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


def product_of_projections(query, key, w_a, u_a, v_a):
    return (query @ w_a) @ (key @ u_a).transpose(1, 2)


def reshaped(query, key, w_a, u_a, v_a):
    turned = torch.tanh((key @ u_a)[:, :, None] + (query @ w_a)[:, None]) @ v_a  # (B, T_k, T_q)
    return turned.reshape(len(query), query.shape[1], key.shape[1])


def additive_inputs(seed, B, T_q, T_k, d_q, d_k, d_a):
    """Random arguments of additive_scores."""
    shapes = ((B, T_q, d_q), (B, T_k, d_k), (d_q, d_a), (d_k, d_a), (d_a,))
    return tuple(normal(seed + i, *shape) for i, shape in enumerate(shapes))


NOTES = torch.tensor([[[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]])  # (1, 3, 2): the lesson's by hand

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
    ),
    misconceptions=(
        Misconception(
            "no_tanh",
            "Your scores are what you get without the tanh.",
            scored_by(lambda sums, v_a: sums @ v_a),
        ),
        Misconception(
            "tanh_outside",
            "Your tanh is taken of the finished score; it belongs around the sum.",
            scored_by(lambda sums, v_a: torch.tanh(sums @ v_a)),
        ),
        Misconception(
            "tanh_of_each",
            "You take the tanh of query and key before adding them: add first.",
            squashed_before(torch.tanh, torch.tanh),
        ),
        Misconception(
            "no_v",
            "Your scores add up the tanh values: v_a, which weighs them, is missing.",
            scored_by(lambda sums, v_a: torch.tanh(sums).sum(dim=-1)),
        ),
        Misconception(
            "same_place_only",
            "Your query axis is lost: make room, so that every query meets every key.",
            added_by(lambda ours, theirs: ours + theirs),
        ),
        *(
            Misconception(
                "one_axis_missing",
                "You make room on one side only; query and key both need a new axis.",
                added_by(add),
            )
            for add in (
                lambda ours, theirs: ours[:, :, None] + theirs,
                lambda ours, theirs: theirs + ours[:, :, None],
                lambda ours, theirs: ours + theirs[:, None],
                lambda ours, theirs: theirs[:, None] + ours,
            )
        ),
        *(
            Misconception(
                "weights_swapped",
                "w_a projects the query, u_a the key: one of them is in the wrong place.",
                projected_by(project),
            )
            for project in (
                lambda query, key, w_a, u_a: (query @ u_a, key @ w_a),
                lambda query, key, w_a, u_a: (query @ w_a, key @ w_a),
            )
        ),
        *(
            Misconception(
                "linear_convention",
                "These weights are applied as x @ w; F.linear and .T want them turned.",
                projected_by(project),
            )
            for project in (
                lambda query, key, w_a, u_a: (query @ w_a.T, key @ u_a),
                lambda query, key, w_a, u_a: (query @ w_a, key @ u_a.T),
            )
        ),
        Misconception(
            "transposed",
            "Your scores are (B, T_k, T_q): queries are the rows, keys the columns.",
            scored_by(lambda sums, v_a: (torch.tanh(sums) @ v_a).transpose(1, 2)),
        ),
        *(
            Misconception(
                "softmaxed",
                "You return weights, after a softmax; the scores before it are wanted.",
                scored_by(lambda sums, v_a, dim=dim: (torch.tanh(sums) @ v_a).softmax(dim)),
            )
            for dim in (-1, 1)
        ),
        Misconception(
            "squeezed_all",
            "squeeze() drops every axis of size 1, be it batch or query: name the axis.",
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
        same_gradient(
            score_pair_by_pair,
            ("query", "key", "w_a", "u_a", "v_a"),
            additive_inputs(40, 2, 2, 3, 4, 2, 3),
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


def mixed_by(weigh):
    """A wrong answer from weigh(scores, mask), weights (B, T_q, T_k)."""
    return lambda scores, annotations, mask: weigh(scores, mask) @ annotations


def overflowing(scores, mask):
    powers = scores.exp() * mask  # (B, T_q, T_k)
    return powers / powers.sum(dim=-1, keepdim=True)


def renormalised(scores, mask):
    weights = scores.softmax(dim=-1) * mask  # (B, T_q, T_k)
    return weights / weights.sum(dim=-1, keepdim=True)


def summed_over_queries(scores, annotations, mask):
    return (right_weights(scores, mask)[..., None] * annotations[:, None]).sum(dim=1)


def heaviest_only(scores, annotations, mask):
    heaviest = right_weights(scores, mask).argmax(dim=-1)  # (B, T_q)
    return annotations[torch.arange(len(scores))[:, None], heaviest]


def uniform(scores, mask):
    return (mask / mask.sum(dim=-1, keepdim=True)).expand_as(scores)


def words(*lengths: int) -> torch.Tensor:
    """A padding mask (B, 1, T_k) for sentences of these lengths."""
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])[:, None]


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
            "scores above 100",
            (200 * normal(53, 2, 3, 4), normal(54, 2, 4, 5), words(4, 3)),
        ),
    ),
    misconceptions=(
        Misconception(
            "mask_ignored",
            "Your context holds padding too: the mask is not used.",
            mixed_by(lambda scores, mask: scores.softmax(dim=-1)),
        ),
        Misconception(
            "masked_after",
            "Padding still takes a share in the softmax: real weights don't add up to 1.",
            mixed_by(lambda scores, mask: scores.softmax(dim=-1) * mask),
        ),
        Misconception(
            "score_zero",
            "You give padding a score of 0, or nearly 0; exp(0) is 1, a real share.",
            mixed_by(lambda scores, mask: (scores * mask).softmax(dim=-1)),
        ),
        Misconception(
            "mask_inverted",
            "You block the real words and let padding in: True means may attend.",
            mixed_by(lambda scores, mask: scores.masked_fill(mask, -torch.inf).softmax(dim=-1)),
        ),
        Misconception(
            "softmax_over_queries",
            "Your softmax runs over the queries; each query's weights must sum to 1.",
            mixed_by(
                lambda scores, mask: scores.masked_fill(~mask, -1e9).softmax(dim=1) * mask,
            ),
        ),
        Misconception(
            "softmax_over_queries",
            "Your softmax runs over the queries; each query's weights must sum to 1.",
            mixed_by(lambda scores, mask: scores.masked_fill(~mask, -torch.inf).softmax(dim=1)),
        ),
        Misconception(
            "softmax_twice",
            "You take two softmaxes: the second one evens out what the first one says.",
            mixed_by(lambda scores, mask: right_weights(scores.softmax(dim=-1), mask)),
        ),
        Misconception(
            "mask_added",
            "You add the mask to the scores: True counts as 1, and nothing is hidden.",
            mixed_by(lambda scores, mask: (scores + mask).softmax(dim=-1)),
        ),
        *(
            Misconception(
                "not_low_enough",
                "Padding's score is not low enough: it still takes a share. Try -inf.",
                mixed_by(lambda scores, mask, low=low: scores.masked_fill(~mask, low).softmax(-1)),
            )
            for low in (-10.0, -100.0)
        ),
        Misconception(
            "no_softmax",
            "You weigh with the raw scores: the softmax is missing.",
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
    properties=(same_gradient(mix_one_by_one, ("scores", "annotations", "mask"), context_inputs),),
)


# --- bidirectional --------------------------------------------------------------------------------


def running_sum(x):
    """A reader (B, T, d) → (B, T, d) that adds up what it has read."""
    return x.cumsum(dim=1)


def fading_sum(x):
    """A reader (B, T, d) → (B, T, d) that halves what it knows, then adds the new word."""
    state, states = torch.zeros_like(x[:, 0]), []  # (B, d)
    for word in x.unbind(dim=1):
        state = 0.5 * state + word  # (B, d)
        states.append(state)
    return torch.stack(states, dim=1)  # (B, T, d)


def counting_sum(x):
    """A reader (B, T, d) → (B, T, d) to which a step over zeros is a step, too."""
    return fading_sum(x + 1)


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


def joined_by(second, first=lambda x, ahead: ahead(x), zeroed=True, late=0):
    """A wrong answer whose halves are first(x, ahead) and second(x, lengths, back)."""

    def bidirectional(x, lengths, ahead, back):
        both = torch.cat([first(x, ahead), second(x, lengths, back)], dim=-1)  # (B, T, 2·d)
        return cleared(both, lengths + late) if zeroed else both

    return bidirectional


def right_back(x, lengths, back):
    return turned(back(turned(x, lengths)), lengths)


def halves_swapped(x, lengths, ahead, back):
    return read_each_sentence_alone(x, lengths, ahead, back).roll(x.shape[-1], dims=-1)


def one_reader(x, lengths, ahead, back):
    return read_each_sentence_alone(x, lengths, ahead, ahead)


def halves_added(x, lengths, ahead, back):
    return sum(read_each_sentence_alone(x, lengths, ahead, back).chunk(2, dim=-1))


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
            "one sentence, two columns of padding",
            (normal(71, 1, 5, 2), torch.tensor([3]), running_sum, fading_sum),
        ),
        Case(
            "three lengths, the readers changed",
            (normal(72, 3, 4, 2), torch.tensor([2, 4, 1]), fading_sum, running_sum),
        ),
        Case(
            "readers that add 1 at every step",
            (normal(74, 3, 5, 2), torch.tensor([3, 1, 4]), counting_sum, counting_sum),
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
            "Your backward reader reads the padding first: whole rows are flipped.",
            joined_by(lambda x, lengths, back: back(x.flip(1)).flip(1)),
        ),
        Misconception(
            "padding_zeroed_first",
            "Your backward reader still reads the padding first; zeros are steps too.",
            joined_by(lambda x, lengths, back: back(cleared(x, lengths).flip(1)).flip(1)),
        ),
        *(
            Misconception(
                "turned_two_ways",
                "You turn in two ways; both times, turn each row within its length.",
                joined_by(second),
            )
            for second in (
                lambda x, lengths, back: back(turned(x, lengths)).flip(1),
                lambda x, lengths, back: turned(back(x.flip(1)), lengths),
            )
        ),
        Misconception(
            "both_forwards",
            "Both of your readers read forwards.",
            joined_by(lambda x, lengths, back: back(x)),
        ),
        Misconception(
            "padding_kept",
            "Your annotations at padding are not zero.",
            joined_by(right_back, zeroed=False),
        ),
        Misconception(
            "halves_swapped",
            "The backward half stands first; the forward half should.",
            halves_swapped,
        ),
        Misconception(
            "one_reader",
            "You use `ahead` for both directions; `back` reads backwards.",
            one_reader,
        ),
    ),
    hints=(
        "What is the first thing that your backward reader sees in a row with padding?",
        "Each row must be turned within its own length. It must be turned a second time after"
        " reading, so that both halves speak of the same word.",
        "For one row: turned = torch.cat([row[:n].flip(0), row[n:]]). Turn, read with back, turn "
        "again, torch.cat with what ahead says, and set all places from n on to 0.",
    ),
    properties=(
        same_gradient(
            read_each_sentence_alone,
            ("x", "lengths", "ahead", "back"),
            (normal(73, 2, 4, 3), torch.tensor([4, 2]), running_sum, fading_sum),
        ),
    ),
)


# --- crossings ------------------------------------------------------------------------------------


def count_pair_by_pair(weights):
    """Compare every word with every later one."""
    looks = weights.argmax(dim=1).tolist()  # T_q places
    T_q = len(looks)
    crossed = [looks[i] > looks[k] for i in range(T_q) for k in range(i + 1, T_q)]
    return torch.tensor(sum(crossed))


def counted_by(crossed, axis=1):
    """A wrong answer from crossed(earlier (T_q, 1), later (1, T_q), is_later (T_q, T_q))."""

    def crossings(weights):
        looks = weights.argmax(dim=axis)
        place = torch.arange(len(looks))
        return crossed(looks[:, None], looks[None], place[:, None] < place[None]).sum()

    return crossings


def neighbours_only(weights):
    looks = weights.argmax(dim=1)  # (T_q,)
    return (looks[:-1] > looks[1:]).sum()


def average_place(weights):
    places = weights @ torch.arange(float(weights.shape[1]))  # (T_q,)
    return (places[:, None] > places).triu(diagonal=1).sum()


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
        Case("zwei und vierzig <eos>: und looks at forty", (FORTY_TWO,)),
        Case("a straight line", (torch.eye(5)[:4],)),
        Case("all backwards", (torch.eye(6).flip(0)[:5],)),
        Case("many words", (normal(82, 9, 7).softmax(dim=1),)),
    ),
    misconceptions=(
        Misconception(
            "neighbours_only",
            "You compare neighbours only: every pair of written words counts.",
            neighbours_only,
        ),
        Misconception(
            "same_place_counted",
            "You count pairs that look at the same word: those don't cross.",
            counted_by(lambda one, other, later: (one >= other) & later),
        ),
        Misconception(
            "each_twice",
            "You count every pair twice, once from each of its words.",
            counted_by(
                lambda one, other, later: ((one > other) & later) | ((one < other) & later.T)
            ),
        ),
        Misconception(
            "straight_counted",
            "You count the pairs that keep their order; the others cross.",
            counted_by(lambda one, other, later: (one < other) & later),
        ),
        Misconception(
            "any_order",
            "You count pairs that look at different words, crossed or not.",
            counted_by(lambda one, other, later: (one != other) & later),
        ),
        Misconception(
            "wrong_axis",
            "Your argmax runs down the columns: each row is one written word.",
            counted_by(lambda one, other, later: (one > other) & later, axis=0),
        ),
        Misconception(
            "average_place",
            "You compare average places; here the highest weight alone decides.",
            average_place,
        ),
        Misconception(
            "share",
            "You return the share of pairs that cross; their number is wanted.",
            share_of_pairs,
        ),
    ),
    hints=(
        "Where does each written word look most? Draw four such places as dots, and lines.",
        "Two written words cross if the earlier one looks further right. Compare each place with"
        " all later ones, not with the next one alone.",
        "looks = weights.argmax(dim=1). looks[:, None] > looks[None] compares all pairs at once; "
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
        Case("several sentences", (normal(92, 3, 2, 6, scale=2.0).softmax(dim=-1),)),
    ),
    misconceptions=(
        Misconception(
            "no_exp",
            "You return the entropy; exp turns it into a number of words.",
            entropy,
        ),
        Misconception(
            "sign",
            "You lost the minus sign: entropy is the sum of -a log a.",
            lambda weights: (-entropy(weights)).exp(),
        ),
        Misconception(
            "two_bases",
            "You mix two bases: exp belongs to log, 2 ** x to log2.",
            lambda weights: 2 ** entropy(weights),
        ),
        Misconception(
            "two_bases",
            "You mix two bases: exp belongs to log, 2 ** x to log2.",
            lambda weights: (entropy(weights) / math.log(2)).exp(),
        ),
        Misconception(
            "averaged",
            "You average -a log a over the words; entropy is their sum.",
            lambda weights: (entropy(weights) / weights.shape[-1]).exp(),
        ),
        Misconception(
            "over_queries",
            "You sum over the queries: each query has an entropy of its own.",
            lambda weights: entropy(weights, dim=1).exp(),
        ),
        Misconception(
            "exp_first",
            "exp comes last: first the sum of -a log a over the words, then exp.",
            lambda weights: torch.special.entr(weights).exp().sum(dim=-1),
        ),
        Misconception(
            "not_zero",
            "You count the weights above 0, however small they are.",
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
)


EXERCISES = (additive_scores, context, bidirectional, crossings, words_looked_at)
