"""The exercises of lesson 6, as data: reference, cases, known mistakes, hints."""

from inspect import signature
from math import cos, sin, sqrt

import torch

from lessons_lib.checks.diagnosis import first_difference
from lessons_lib.checks.exercise import Case, Exercise, Misconception, Property
from lessons_lib.checks.inputs import normal
from lessons_lib.checks.properties import same_gradient


def speeds(d_model, exponent=lambda i: 2 * i):
    """How far each clock turns in a position: (d_model/2,)."""
    return torch.tensor([10000.0 ** (-exponent(i) / d_model) for i in range(d_model // 2)])


def right_for_large(slug, sentence, oracle, returned, args, tolerance=1e-2, advice=()):
    """A law for a large table or matrix. Large angles need a tolerance: float32 rounds them."""

    def counterexample(answer):
        got, expected = answer(*args), oracle(*args)
        if got.shape != expected.shape:
            shapes = (("expected", str(tuple(expected.shape))), ("got", str(tuple(got.shape))))
            return (("where", f"shape of {returned}"), *shapes)
        wrong = ~torch.isclose(got, expected, rtol=0, atol=tolerance)  # NaN is wrong
        if not wrong.any():
            return None
        return (*first_difference(returned, wrong, got, expected), *advice)

    names = signature(oracle).parameters
    idea = ", ".join(f"{name} {value}" for name, value in zip(names, args, strict=True))
    return Property(slug, idea, sentence, counterexample)


# --- positional_encoding --------------------------------------------------------------------------


def position_by_position(T, d_model):
    """Clock by clock."""
    rows = []
    for t in range(T):
        angles = [t / 10000 ** (2 * i / d_model) for i in range(d_model // 2)]
        rows.append([hand(angle) for angle in angles for hand in (sin, cos)])
    return torch.tensor(rows)  # (T, d_model)


def clock_table(sines=torch.sin, cosines=torch.cos, first=0, exponent=lambda i: 2 * i):
    """An answer with other hands, another first position or other speeds."""

    def answer(T, d_model):
        turned = torch.arange(first, first + T)[:, None] * speeds(d_model, exponent)  # (T, d/2)
        return torch.stack([sines(turned), cosines(turned)], dim=-1).flatten(1)  # (T, d)

    return answer


def own_speeds(T, d_model):
    """Every column has a clock of its own."""
    turned = torch.arange(T)[:, None] * 10000.0 ** (-torch.arange(d_model) / d_model)  # (T, d)
    return torch.where(torch.arange(d_model) % 2 == 0, turned.sin(), turned.cos())


def faster_in_float32(T, d_model):
    """No minus, and speeds so high that the rounding of torch's power shows in the sines."""
    turned = torch.arange(T)[:, None] * 10000.0 ** (torch.arange(0, d_model, 2) / d_model)
    return torch.stack([turned.sin(), turned.cos()], dim=-1).flatten(1)  # (T, d)


positional_encoding = Exercise(
    id="positional_encoding",
    lesson=6,
    signature="positional_encoding(T, d_model) → encoding (T, d_model)",
    returns=("encoding",),
    oracle=position_by_position,
    cases=(
        Case("position 0", (1, 2)),
        Case("one clock", (4, 2)),
        Case("two clocks", (3, 4)),
        Case("fewer positions, more clocks", (2, 6)),  # as many numbers as in the case before
        Case("one position, two clocks", (1, 4)),
        Case("more positions, three clocks", (11, 6)),
        Case("as many positions as columns", (8, 8)),
        Case("fewer positions than columns", (5, 32)),
        Case("as many positions as before, fewer columns", (5, 6)),
        Case("fewer positions than before, as many columns", (2, 6)),
    ),
    properties=(
        right_for_large(
            "long_table",
            "Your short tables are right, a table of 6,000 positions is not.",
            position_by_position,
            "encoding",
            (6000, 8),
        ),
    ),
    misconceptions=(
        Misconception(
            "halves",
            "All your sines stand first, then all cosines; wanted is pair by pair.",
            lambda T, d_model: torch.cat(
                [position_by_position(T, d_model)[:, i::2] for i in (0, 1)], dim=1
            ),
        ),
        Misconception(
            "cosine_first",
            "Your cosines stand before their sines; column 2i holds the sine.",
            clock_table(torch.cos, torch.sin),
        ),
        Misconception(
            "own_speeds",
            "Your cosine has another speed than its sine: both belong to one clock.",
            own_speeds,
        ),
        Misconception(
            "exponent_halved",
            "Your exponent is i/d_model; it is 2i/d_model for clock i.",
            clock_table(exponent=lambda i: i),
        ),
        Misconception(
            "exponent_doubled",
            "Your exponent is 4i/d_model; it is 2i/d_model for clock i.",
            clock_table(exponent=lambda i: 4 * i),
        ),
        Misconception(
            "faster_and_faster",
            "Your clocks get faster from left to right; the exponent is -2i/d_model.",
            clock_table(exponent=lambda i: -2 * i),
        ),
        Misconception(
            "faster_and_faster",
            "Your clocks get faster from left to right; the exponent is -2i/d_model.",
            faster_in_float32,
        ),
        Misconception(
            "from_one",
            "Your positions start at 1; the first one is 0.",
            clock_table(first=1),
        ),
    ),
    hints=(
        "How many clocks are there, how fast is each, and which two columns belong to one?",
        "Clock i has turned by t · 10000^(-2i/d_model) at position t. Its sine goes to column 2i,"
        " its cosine to column 2i + 1.",
        "torch.arange(0, d_model, 2) holds the numbers 2i. A column of positions times a row of"
        " speeds gives all angles (T, d_model/2); write .sin() to columns 0::2 of a table of zeros"
        " and .cos() to columns 1::2.",
    ),
)


# --- shift_matrix ---------------------------------------------------------------------------------


def two_corners(k, d_model):
    """Number by number, for a table that has all sines first."""
    half = d_model // 2
    matrix = torch.zeros(d_model, d_model)
    for i in range(half):
        angle = k / 10000 ** (2 * i / d_model)
        matrix[i, i] = matrix[half + i, half + i] = cos(angle)
        matrix[half + i, i], matrix[i, half + i] = sin(angle), -sin(angle)
    return matrix


def shifting(angle=lambda k, d_model: k * speeds(d_model), sign=-1.0):
    """A matrix with other angles, or another sign in the upper right."""

    def answer(k, d_model):
        a = angle(k, d_model)  # (d_model/2,)
        c, s = a.cos().diag(), a.sin().diag()  # (d_model/2, d_model/2) each
        return torch.cat([torch.cat([c, sign * s], dim=1), torch.cat([s, c], dim=1)])

    return answer


def pair_by_pair(k, d_model):
    """The lesson's matrix, for a table with sine and cosine side by side."""
    turned = k * speeds(d_model)
    return torch.block_diag(
        *[torch.tensor([[a.cos(), -a.sin()], [a.sin(), a.cos()]]) for a in turned]
    )


shift_matrix = Exercise(
    id="shift_matrix",
    lesson=6,
    signature="shift_matrix(k, d_model) → matrix (d_model, d_model)",
    returns=("matrix",),
    oracle=two_corners,
    cases=(
        Case("one clock, one step", (1, 2)),
        Case("two clocks, one step", (1, 4)),
        Case("three steps", (3, 4)),
        Case("three steps back", (-3, 4)),
        Case("no step", (0, 4)),
        Case("two steps back", (-2, 2)),
        Case("as many steps as columns", (4, 4)),
        Case("a hundred steps", (100, 4)),
    ),
    properties=(
        right_for_large(
            "three_clocks",
            "Your matrix is right for one clock and for two, but not for three.",
            two_corners,
            "matrix",
            (3, 6),
        ),
        right_for_large(
            "slow_clocks",
            "Your matrix is right for a few clocks, but not for 64, most of them slow.",
            two_corners,
            "matrix",
            (5, 128),
            tolerance=1e-5,
            advice=(
                ("look for", "a fit to a table: rounding spoils it. Write it from the angles"),
            ),
        ),
        right_for_large(
            "many_steps",
            "Your matrix is right for up to 100 steps, but not for 601.",
            two_corners,
            "matrix",
            (601, 4),
        ),
    ),
    misconceptions=(
        Misconception(
            "pair_by_pair",
            "Your matrix fits the lesson's table; in this one all sines stand first.",
            pair_by_pair,
        ),
        Misconception(
            "backwards",
            "Your matrix leads k positions back, not further.",
            shifting(lambda k, d_model: -k * speeds(d_model)),
        ),
        Misconception(
            "mirror",
            "Both sines are positive in your matrix: that is no rotation.",
            shifting(sign=1.0),
        ),
        Misconception(
            "quarter_turn",
            "Your sines stand where the cosines belong: for k = 0 nothing may move.",
            shifting(lambda k, d_model: torch.pi / 2 - k * speeds(d_model)),
        ),
        Misconception(
            "quarter_turn",
            "Your sines stand where the cosines belong: for k = 0 nothing may move.",
            lambda k, d_model: two_corners(k, d_model).roll(d_model // 2, dims=0),
        ),
        Misconception(
            "no_sign",
            "For a negative k you return the matrix of -k, which leads further.",
            lambda k, d_model: two_corners(abs(k), d_model),
        ),
        Misconception(
            "no_way_back",
            "For a negative k you return the identity; it leads back.",
            lambda k, d_model: two_corners(max(k, 0), d_model),
        ),
        Misconception(
            "power_of_elements",
            "Your matrix is one step with each number to the power k.",
            lambda k, d_model: two_corners(1, d_model) ** k,
        ),
        Misconception(
            "exponent_halved",
            "Your exponent is i/d_model; it is 2i/d_model for clock i.",
            shifting(lambda k, d_model: k * speeds(d_model, exponent=lambda i: i)),
        ),
    ),
    hints=(
        "In this table, which two columns belong to clock number i?",
        "sin(a + b) = sin a · cos b + cos a · sin b; cos(a + b) = cos a · cos b - sin a · sin b."
        " Column i of the product is the new sine of clock i.",
        "Four blocks of size d_model/2, each with numbers on its diagonal only: cosines in the"
        " upper left and lower right, sines in the lower left, minus sines in the upper right, all"
        " of k · speed. torch.diag makes such a block, torch.cat joins them.",
    ),
)


# --- rope -----------------------------------------------------------------------------------------


def turned(x, first=0, step=1):
    """Rotate the pairs of columns of x (B, T, d), whose first row stands at `first`."""
    position = first + step * torch.arange(x.shape[-2])  # (T,)
    angle = position[:, None] * speeds(x.shape[-1])  # (T, d/2)
    even, odd = x[..., 0::2], x[..., 1::2]  # (B, T, d/2) each
    pair = [even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos()]
    return torch.stack(pair, dim=-1).flatten(-2)  # (B, T, d)


def turned_in_halves(x, first=0):
    """Rotate column i with column i + d/2, as some libraries do."""
    d = x.shape[-1]
    order = torch.arange(d).view(2, d // 2).T.flatten()  # (d,): 0, d/2, 1, d/2 + 1, …
    return turned(x[..., order], first)[..., order.argsort()]


def with_complex_numbers(query, key, value, first):
    """The columns 2i and 2i + 1 are a complex number, and turning is a product."""

    def spun(x, start):
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))  # (B, T, d/2)
        angle = torch.arange(start, start + x.shape[1])[:, None] * speeds(x.shape[-1])
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(-2)

    scores = spun(query, first) @ spun(key, 0).mT / sqrt(query.shape[-1])  # (B, T_q, T_k)
    return scores.softmax(dim=-1) @ value  # (B, T_q, d)


def roped(
    turn_query=turned,
    turn_key=turned,
    turn_value=lambda v: v,
    scale=sqrt,
    start=lambda query, key, first: first,
    causal=False,
):
    """An answer that turns or scales otherwise, counts from elsewhere, or masks."""

    def answer(query, key, value, first):
        first = start(query, key, first)
        scores = turn_query(query, first) @ turn_key(key).mT  # (B, T_q, T_k)
        scores = scores / scale(query.shape[-1])
        if causal:
            ahead = torch.arange(key.shape[1]) > first + torch.arange(query.shape[1])[:, None]
            scores = scores.masked_fill(ahead, -torch.inf)
        return scores.softmax(dim=-1) @ turn_value(value)  # (B, T_q, d)

    return answer


def case_of_three(seed, B, T_q, T_k, d, first, scale=1.0):
    """Query, key, value and where the first query stands."""
    return (
        normal(seed, B, T_q, d, scale=scale),
        normal(seed + 1, B, T_k, d, scale=scale),
        normal(seed + 2, B, T_k, d),
        first,
    )


ramp = torch.linspace(-2, 2, 24).view(1, 4, 6)

rope = Exercise(
    id="rope",
    lesson=6,
    signature="rope(query (B, T_q, d), key (B, T_k, d), value (B, T_k, d), first)"
    " → context (B, T_q, d)",
    returns=("context",),
    oracle=with_complex_numbers,
    cases=(
        Case("everything from position 0, one clock", case_of_three(0, 1, 3, 3, 2, 0)),
        Case("two clocks, keys after the last query", case_of_three(3, 2, 3, 5, 4, 0)),
        Case("one query, at position 4", case_of_three(6, 2, 1, 5, 6, 4)),
        Case("the same sizes, other numbers", case_of_three(40, 2, 1, 5, 6, 4)),
        Case("the example: one query, at position 3", (ramp[:, 3:], ramp, ramp, 3)),
        Case("two queries, from position 5", case_of_three(9, 3, 2, 7, 4, 5)),
        Case("B, T_q, T_k and d are 4", case_of_three(12, 4, 4, 4, 4, 1)),
        Case("17 sentences, eight clocks", case_of_three(44, 17, 2, 3, 16, 2)),
        Case("scores of 7,000 and of -7,000", case_of_three(36, 2, 4, 3, 4, 2, scale=80.0)),
        Case("far behind the last key: position 5,200", case_of_three(18, 1, 2, 3, 2, 5200)),
    ),
    properties=(
        same_gradient(
            with_complex_numbers,
            ("query", "key", "value", "first"),
            case_of_three(20, 2, 3, 5, 4, 2),
        ),
    ),
    misconceptions=(
        Misconception(
            "values_too",
            "Your output is what you get when the values are turned, too.",
            roped(turn_value=turned),
        ),
        Misconception(
            "same_start",
            "Your output is what you get when queries and keys start at the same position.",
            roped(turn_query=lambda q, first: turned(q)),
        ),
        Misconception(
            "halves",
            "You turn column i with column i + d/2; here 2i turns with 2i + 1.",
            roped(turned_in_halves, turned_in_halves),
        ),
        Misconception(
            "unscaled",
            "Your scores are not divided by √d.",
            roped(scale=lambda d: 1),
        ),
        Misconception(
            "divided_by_d",
            "Your scores are divided by d, not by √d.",
            roped(scale=lambda d: d),
        ),
        Misconception(
            "last_places",
            "Your first query stands at T_k - T_q; wanted is `first`.",
            roped(start=lambda query, key, first: key.shape[1] - query.shape[1]),
        ),
        Misconception(
            "last_places",
            "Your first query stands at max(0, T_k - T_q); wanted is `first`.",
            roped(start=lambda query, key, first: max(0, key.shape[1] - query.shape[1])),
        ),
        Misconception(
            "behind_the_keys",
            "Your queries stand after the last key; the first stands at `first`.",
            roped(start=lambda query, key, first: key.shape[1]),
        ),
        Misconception(
            "masked",
            "Keys after a query get no weight from you; here all keys count.",
            roped(causal=True),
        ),
        Misconception(
            "all_at_first",
            "All your queries stand at `first`; the second stands at first + 1.",
            roped(turn_query=lambda q, first: turned(q, first, step=0)),
        ),
    ),
    hints=(
        "Where does each query stand, and where each key? What is compared, and what is fetched?",
        "Key number n stands at position n, query number m at first + m. Turn both, take the scores"
        " as always, and leave the values alone.",
        "Without a second argument rotate starts at position 0; rotate(query, first) starts at"
        " `first`. Or put `first` rows in front before you rotate, and cut them off after. Then"
        " softmax(q @ k.mT / sqrt(d)) @ value.",
    ),
)


# --- alibi_bias -----------------------------------------------------------------------------------


def pair_by_pair_bias(slopes, T_q, T_k):
    """Pair by pair: how far back each key stands from each query, then times each slope."""
    back = [[max(0, T_k - T_q + m - n) for n in range(T_k)] for m in range(T_q)]
    bias = torch.stack([-slope * torch.tensor(back) for slope in slopes])  # (H, T_q, T_k)
    return bias + 0.0  # no -0


def tilted(lost=lambda back: back.clamp(min=0), first=lambda T_q, T_k: T_k - T_q, slope=None):
    """A bias that loses something else, or whose first query stands elsewhere."""

    def answer(slopes, T_q, T_k):
        back = first(T_q, T_k) + torch.arange(T_q)[:, None] - torch.arange(T_k)  # (T_q, T_k)
        slopes = slopes if slope is None else slope(slopes)
        return -slopes[:, None, None] * lost(back)  # (H, T_q, T_k)

    return answer


alibi_bias = Exercise(
    id="alibi_bias",
    lesson=6,
    signature="alibi_bias(slopes (H,), T_q, T_k) → bias (H, T_q, T_k)",
    returns=("bias",),
    oracle=pair_by_pair_bias,
    cases=(
        Case("one head, as many queries as keys", (torch.tensor([1.0]), 3, 3)),
        Case("the example: two heads", (torch.tensor([1.0, 0.5]), 2, 3)),
        Case("the same sizes, other slopes", (torch.tensor([0.5, 0.25]), 2, 3)),
        Case("one query, four keys", (torch.tensor([0.5, 2.0]), 1, 4)),
        Case("two queries, six keys", (torch.tensor([0.7, 0.1, 0.3]), 2, 6)),
        Case("H, T_q and T_k are 3", (torch.tensor([0.2, 0.9, 0.4]), 3, 3)),
        Case("16 heads: slopes 1/3, 1/6, 1/9, …", (1 / (3.0 * torch.arange(1, 17)), 2, 4)),
        Case("the last query of a long text", (torch.tensor([0.3]), 1, 2100)),
    ),
    properties=(
        same_gradient(
            pair_by_pair_bias,
            ("slopes", "T_q", "T_k"),
            (torch.tensor([0.7, 0.1, 0.3]), 2, 6),
        ),
    ),
    misconceptions=(
        Misconception(
            "from_zero",
            "Your first query stands at position 0; the queries stand at the last T_q.",
            tilted(first=lambda T_q, T_k: 0),
        ),
        Misconception(
            "reward",
            "Your bias is positive: the further back a key, the higher its score.",
            tilted(lambda back: -back.clamp(min=0)),
        ),
        Misconception(
            "symmetric",
            "Keys after the query lose something too; their bias is 0.",
            tilted(torch.abs),
        ),
        Misconception(
            "future_rewarded",
            "Keys after the query gain something; their bias is 0.",
            tilted(lambda back: back),
        ),
        Misconception(
            "one_too_few",
            "Your bias is one slope too high: a key one position back loses nothing.",
            tilted(lambda back: (back - 1).clamp(min=0)),
        ),
        Misconception(
            "one_too_many",
            "Your bias is one slope too low: the query's own key loses something, too.",
            tilted(lambda back: (back + 1).clamp(min=0)),
        ),
        Misconception(
            "own_slopes",
            "Your slopes are 2^(-8(h+1)/H); take those that are given.",
            tilted(
                slope=lambda slopes: 2.0 ** (-8 * torch.arange(1, len(slopes) + 1) / len(slopes))
            ),
        ),
    ),
    hints=(
        "At which position does the last query stand, and at which the first?",
        "Query number m stands at position T_k - T_q + m. A key at position n stands further"
        " back by the difference, if that is positive.",
        "A column torch.arange(T_k - T_q, T_k)[:, None] minus a row torch.arange(T_k) gives how far"
        " back each key stands, (T_q, T_k). Clamp it at 0, and multiply by -slopes[:, None, None].",
    ),
)


# --- relative_bias --------------------------------------------------------------------------------


def look_up(table, T):
    """Pair by pair; clipped on both sides."""
    reach = len(table) // 2
    rows = [
        [max(-reach, min(reach, key - query)) + reach for key in range(T)] for query in range(T)
    ]
    return table[torch.tensor(rows)].permute(2, 0, 1)  # (H, T, T)


def distances(T):
    """Key minus query: (T, T)."""
    return torch.arange(T) - torch.arange(T)[:, None]


def looked_up(row):
    """An answer that takes another row of the table: row(distance, reach)."""
    return lambda table, T: table[row(distances(T), len(table) // 2)].permute(2, 0, 1)


relative_bias = Exercise(
    id="relative_bias",
    lesson=6,
    signature="relative_bias(table (2R+1, H), T) → bias (H, T, T)",
    returns=("bias",),
    oracle=look_up,
    cases=(
        Case("one head, two words", (torch.tensor([[-1.0], [0.0], [1.0]]), 2)),
        Case("the example: three words", (torch.tensor([[-1.0], [0.0], [1.0]]), 3)),
        Case("the same sizes, another table", (torch.tensor([[4.0], [2.0], [7.0]]), 3)),
        Case("two heads", (normal(30, 5, 2), 3)),
        Case(
            "zeros, and numbers up to 50",
            (torch.tensor([[-50.0, 3.0], [0.0, 40.0], [7.0, 0.0]]), 4),
        ),
        Case("words further apart than the table reaches", (normal(31, 3, 2), 5)),
        Case("a table that reaches further than the words", (normal(32, 11, 3), 4)),
        Case("H, T and 2R + 1 are 3", (normal(34, 3, 3), 3)),
        Case("one word", (normal(35, 5, 2), 1)),
        Case("R = 0: one row", (torch.tensor([[1.0, 2.0]]), 3)),
        Case("16 heads", (normal(37, 5, 16), 4)),
        Case("130 words", (normal(36, 201, 1), 130)),
    ),
    properties=(same_gradient(look_up, ("table", "T"), (normal(33, 5, 2), 6)),),
    misconceptions=(
        Misconception(
            "mirrored",
            "Left and right are swapped: the distance is key minus query.",
            looked_up(lambda away, reach: (-away).clamp(-reach, reach) + reach),
        ),
        Misconception(
            "middle_is_not_0",
            "Distance 0 takes row 0 of the table from you; its row is the middle one, R.",
            looked_up(lambda away, reach: away.clamp(-reach, reach)),
        ),
        Misconception(
            "no_direction",
            "You take the distance without its sign: left is like right.",
            looked_up(lambda away, reach: away.abs().clamp(max=reach) + reach),
        ),
        Misconception(
            "far_is_zero",
            "Keys beyond the table get 0 from you; they take the table's outermost row.",
            lambda table, T: look_up(table, T).where(distances(T).abs() <= len(table) // 2, 0.0),
        ),
        Misconception(
            "last_row_unused",
            "You take the row before the last where the last one belongs.",
            looked_up(lambda away, reach: away.clamp(-reach, reach - 1) + reach),
        ),
        Misconception(
            "heads_last",
            "Your heads stand in the last axis; they come first.",
            lambda table, T: look_up(table, T).permute(1, 2, 0),
        ),
        Misconception(
            "reshaped",
            "Your reshape mixes heads and positions; permute moves the axis of the heads.",
            lambda table, T: look_up(table, T).permute(1, 2, 0).reshape(-1, T, T),
        ),
    ),
    hints=(
        "Which row of the table belongs to a key at the query's own position?",
        "The distance key - query goes from -(T-1) to T-1. Clip it to -R … R, then add R: that is"
        " the row.",
        "away = torch.arange(T) - torch.arange(T)[:, None] is (T, T). table[away.clamp(-R, R) + R]"
        " is (T, T, H), with R = len(table) // 2; permute brings the heads to the front.",
    ),
)


EXERCISES = (positional_encoding, shift_matrix, rope, alibi_bias, relative_bias)
