"""Answers to the exercises of lesson 6.

RIGHT: the same function in other styles; all must pass. NAMED: wrong answers as learners wrote
them, with the name that each must get. UNNAMED: wrong answers that make no known mistake, or two at
once; they must fail, and none may be given a name.
"""

from math import log, sqrt

import numpy as np
import torch

from lessons_lib import positional_encoding as lesson

# --- positional_encoding --------------------------------------------------------------------------


def encoding_in_slices(T, d_model):
    table = torch.zeros(T, d_model)
    speed = torch.exp(torch.arange(0, d_model, 2) * (-log(10000.0) / d_model))
    table[:, 0::2] = torch.sin(torch.arange(T)[:, None] * speed)
    table[:, 1::2] = torch.cos(torch.arange(T)[:, None] * speed)
    return table


def encoding_in_numpy(T, d_model):
    columns = np.arange(d_model)
    turned = np.arange(T)[:, None] / 10000 ** (columns // 2 * 2 / d_model)
    return torch.from_numpy(np.where(columns % 2, np.cos(turned), np.sin(turned))).float()


def interleaved(turned):
    return torch.stack([turned.sin(), turned.cos()], dim=-1).flatten(1)


def encoding_of_phases(T, d_model):
    clock = torch.arange(d_model) // 2
    phase = torch.arange(d_model) % 2 * torch.pi / 2
    return torch.sin(torch.arange(T)[:, None] / 10000 ** (2 * clock / d_model) + phase)


def encoding_complex(T, d_model):
    turned = lesson.angles(T, d_model)
    spun = torch.polar(torch.ones_like(turned), torch.pi / 2 - turned)
    return torch.view_as_real(spun).flatten(1)  # the tip of a hand that goes clockwise


def encoding_step_by_step(T, d_model):
    row = torch.tensor([0.0, 1.0]).repeat(d_model // 2)
    step = step_matrix_interleaved(1, d_model)
    rows = [row]
    for _ in range(T - 1):
        rows.append(rows[-1] @ step)
    return torch.stack(rows)


def step_matrix_interleaved(k, d_model):
    turned = lesson.angles(2, d_model)[1] * k
    return torch.block_diag(
        *[torch.tensor([[a.cos(), -a.sin()], [a.sin(), a.cos()]]) for a in turned]
    )


def encoding_by_the_sum_of_steps(T, d_model):
    speed = 1 / 10000 ** (torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    turned = speed.expand(T, -1).cumsum(dim=0) - speed
    return interleaved(turned).float()


def encoding_of_5000(T, d_model):
    return lesson.positional_encoding(5000, d_model)[:T]


def encoding_up_to_position_511(T, d_model):
    return lesson.positional_encoding(T, d_model)[torch.arange(T).clamp(max=511)]


def kept_by(key, function):
    """The first answer of each key serves for good."""
    kept = {}

    def answer(*args):
        return kept.setdefault(key(*args), function(*args)).clone()

    return answer


def written_into(key, function):
    """Every answer of a key lies in the same memory."""
    kept = {}

    def answer(*args):
        value = function(*args)
        return kept.setdefault(key(*args), torch.empty(value.numel())).view_as(value).copy_(value)

    return answer


def encoding_with_clocks_by_position(T, d_model):
    """An axis taken for another one where they are equally long."""
    table = lesson.positional_encoding(T, d_model)
    return table.T if d_model == T else table


# --- shift_matrix ---------------------------------------------------------------------------------


def halves(T, d_model):
    turned = lesson.angles(T, d_model)
    return torch.cat([turned.sin(), turned.cos()], dim=1)


def shift_reordered(k, d_model):
    order = torch.cat([torch.arange(0, d_model, 2), torch.arange(1, d_model, 2)])
    return step_matrix_interleaved(k, d_model)[order][:, order]


def shift_by_power(k, d_model):
    return torch.linalg.matrix_power(shift_reordered(1, d_model), k)


def shift_by_kron(k, d_model):
    turned = k * 10000.0 ** (-torch.arange(0, d_model, 2) / d_model)
    same, other = torch.eye(2), torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    return torch.kron(same, turned.cos().diag()) + torch.kron(other, turned.sin().diag())


def shift_step_after_step(k, d_model):
    matrix = torch.eye(d_model)
    for _ in range(k):
        matrix = matrix @ shift_reordered(1, d_model)
    return matrix


def shift_filled(k, d_model):
    matrix, half = torch.zeros(d_model, d_model), d_model // 2
    for i in range(half):
        angle = torch.tensor(k * 10000.0 ** (-2 * i / d_model))
        matrix[i, i] = matrix[i + half, i + half] = torch.cos(angle)
        matrix[i + half, i] = torch.sin(angle)
        matrix[i, i + half] = -torch.sin(angle)
    return matrix


def shift_from_the_table(k, d_model):
    sin, cos = halves(abs(k) + 1, d_model)[-1].chunk(2)
    sin = sin if k >= 0 else -sin
    matrix = torch.zeros(d_model, d_model)
    i = torch.arange(d_model // 2)
    matrix[i, i] = matrix[i + d_model // 2, i + d_model // 2] = cos
    matrix[i + d_model // 2, i], matrix[i, i + d_model // 2] = sin, -sin
    return matrix


def shift_fitted(rows):
    """A fit in float64 to a table of so many rows."""

    def fitted(k, d_model):
        first = max(0, -k)
        places = torch.arange(rows + first, dtype=torch.float64)[:, None]
        speed = 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)

        def table(t):
            return torch.cat([(t * speed).sin(), (t * speed).cos()], dim=1)

        return torch.linalg.lstsq(table(places), table(places + k)).solution.float()

    return fitted


def shift_fitted_in_float32(rows):
    """As the lesson found its matrix. What rounding leaves differs from call to call."""

    def fitted(k, d_model):
        table = halves(rows + abs(k), d_model)
        here, there = table[:rows], table[abs(k) :]
        here, there = (here, there) if k >= 0 else (there, here)
        return torch.linalg.lstsq(here, there).solution

    return fitted


def shift_from_a_table_of_50(k, d_model):
    row = halves(50, d_model)[min(abs(k), 49)]
    sin, cos = row.chunk(2)
    sin = sin if k >= 0 else -sin
    return torch.cat(
        [torch.cat([cos.diag(), -sin.diag()], 1), torch.cat([sin.diag(), cos.diag()], 1)]
    )


# --- rope -----------------------------------------------------------------------------------------


def attended(query, key, value):
    return (query @ key.mT / sqrt(query.shape[-1])).softmax(-1) @ value


def rope_padded(query, key, value, first):
    front = query.new_zeros(len(query), first, query.shape[-1])
    query = lesson.rotate(torch.cat([front, query], dim=1))[:, first:]
    return attended(query, lesson.rotate(key), value)


def rope_by_the_lessons_rotate(query, key, value, first):
    return attended(lesson.rotate(query, first), lesson.rotate(key), value)


def rope_by_matrices(query, key, value, first):
    d = query.shape[-1]
    queries = [q @ step_matrix_interleaved(-(first + m), d) for m, q in enumerate(query.unbind(1))]
    keys = [k @ step_matrix_interleaved(-n, d) for n, k in enumerate(key.unbind(1))]
    return attended(torch.stack(queries, dim=1), torch.stack(keys, dim=1), value)


def rope_of_swapped(query, key, value, first):
    def turn(x, start):
        places = torch.arange(start, start + x.shape[1])[:, None]
        angle = (
            places * 10000.0 ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
        ).repeat_interleave(2, dim=-1)
        swapped = torch.stack([-x[..., 1::2], x[..., 0::2]], dim=-1).flatten(-2)
        return x * angle.cos() + swapped * angle.sin()

    return attended(turn(query, first), turn(key, 0), value)


def rope_keys_moved_instead(query, key, value, first):
    front = key.new_zeros(len(key), 50, key.shape[-1])
    moved = lesson.rotate(torch.cat([front, key], dim=1))[:, 50:]
    front = query.new_zeros(len(query), 50 + first, query.shape[-1])
    return attended(lesson.rotate(torch.cat([front, query], 1))[:, 50 + first :], moved, value)


def rope_by_torch(query, key, value, first):
    front = query.new_zeros(len(query), first, query.shape[-1])
    query = lesson.rotate(torch.cat([front, query], dim=1))[:, first:]
    return torch.nn.functional.scaled_dot_product_attention(query, lesson.rotate(key), value)


def rope_after_the_keys(query, key, value, first):
    line = lesson.rotate(torch.cat([key, query], dim=1))
    return attended(line[:, -query.shape[1] :], line[:, : key.shape[1]], value)


def rope_by_d(query, key, value, first):
    front = query.new_zeros(len(query), first, query.shape[-1])
    query = lesson.rotate(torch.cat([front, query], dim=1))[:, first:]
    return torch.softmax(query @ lesson.rotate(key).mT / query.shape[-1], dim=-1) @ value


def rope_values_and_halves(query, key, value, first):
    return rope_padded(query.flip(-1), key.flip(-1), lesson.rotate(value), first)


def rope_in_float64(query, key, value, first):
    def turn(x, start):
        d = x.shape[-1]
        even = torch.arange(0, d, 2, dtype=torch.float64)
        angle = torch.arange(start, start + x.shape[1])[:, None] * 10000.0 ** (-even / d)
        even, odd = x[..., 0::2].double(), x[..., 1::2].double()
        cos, sin = angle.cos(), angle.sin()
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)

    scores = torch.einsum("bqd,bkd->bqk", turn(query, first), turn(key, 0))
    weights = torch.softmax(scores / query.shape[-1] ** 0.5, dim=-1)
    return torch.einsum("bqk,bkd->bqd", weights, value.double()).float()


def rope_with_weights(weigh):
    """Other weights than softmax's."""

    def answer(query, key, value, first):
        front = query.new_zeros(len(query), first, query.shape[-1])
        query = lesson.rotate(torch.cat([front, query], dim=1))[:, first:]
        return weigh(query @ lesson.rotate(key).mT / sqrt(query.shape[-1])) @ value

    return answer


def bare_exp(scores):
    weights = scores.exp()
    return weights / weights.sum(dim=-1, keepdim=True)


def less_the_highest_of_all(scores):
    return bare_exp(scores - scores.max())


def rope_from_a_table_of(length):
    def answer(query, key, value, first):
        turned = lesson.angles(length, query.shape[-1])

        def turn(x, places):
            cos, sin = turned[places].cos(), turned[places].sin()
            even, odd = x[..., 0::2], x[..., 1::2]
            return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)

        places = (first + torch.arange(query.shape[1])).clamp(max=length - 1)
        return attended(turn(query, places), turn(key, torch.arange(key.shape[1])), value)

    return answer


def rope_along_the_sentences(query, key, value, first):
    def turn(x):
        return lesson.rotate(x.transpose(0, 1)).transpose(0, 1)

    return attended(turn(query), turn(key), value)


# --- alibi_bias -----------------------------------------------------------------------------------


def alibi_einsum(slopes, T_q, T_k):
    back = torch.relu(torch.arange(T_k - T_q, T_k)[:, None] - torch.arange(T_k)).float()
    return -torch.einsum("h,qk->hqk", slopes, back)


def alibi_cut(slopes, T_q, T_k):
    places = torch.arange(T_k)
    back = (places[:, None] - places).clamp(min=0)
    return (-slopes.view(-1, 1, 1) * back)[:, -T_q:]


def alibi_tril(slopes, T_q, T_k):
    away = torch.arange(T_k).float() - torch.arange(T_k).float()[:, None]
    return (slopes[:, None, None] * away.tril())[:, T_k - T_q :]


def alibi_backwards(slopes, T_q, T_k):
    return alibi_cut(slopes, T_q, T_k).flip(1)


def alibi_stacked(slopes, T_q, T_k):
    rows = [(torch.arange(T_k) - place).clamp(max=0) for place in range(T_k - T_q, T_k)]
    return torch.stack([slope * torch.stack(rows) for slope in slopes])


def alibi_outer(slopes, T_q, T_k):
    back = [[max(0, T_k - T_q + m - n) for n in range(T_k)] for m in range(T_q)]
    return -torch.outer(slopes, torch.tensor(back, dtype=torch.float32).flatten()).view(
        len(slopes), T_q, T_k
    )


def alibi_without_gradient(slopes, T_q, T_k):
    return torch.stack([alibi_cut(slopes[h : h + 1], T_q, T_k)[0] for h in range(len(slopes))]).data


def alibi_of_512(slopes, T_q, T_k):
    back = (torch.arange(T_k - T_q, T_k)[:, None] - torch.arange(T_k)).clamp(0, 511)
    return -slopes[:, None, None] * back


def alibi_by_query(slopes, T_q, T_k):
    """The slopes of the heads along the queries where there are as many."""
    if len(slopes) == T_q:
        return alibi_cut(torch.ones(len(slopes)), T_q, T_k) * slopes[:, None]
    return alibi_cut(slopes, T_q, T_k)


# --- relative_bias --------------------------------------------------------------------------------


def relative_embedding(table, T):
    reach = (table.shape[0] - 1) // 2
    away = torch.arange(T)[None, :] - torch.arange(T)[:, None]
    rows = away.clamp(-reach, reach) + reach
    return torch.nn.functional.embedding(rows, table).movedim(-1, 0)


def relative_one_hot(table, T):
    reach = len(table) // 2
    away = (torch.arange(T) - torch.arange(T)[:, None]).clamp(-reach, reach) + reach
    return torch.einsum("qkr,rh->hqk", torch.nn.functional.one_hot(away, len(table)).float(), table)


def relative_by_head(table, T):
    reach = len(table) // 2
    away = (torch.arange(T) - torch.arange(T)[:, None]).clamp(-reach, reach) + reach
    return torch.stack([column[away] for column in table.T])


def relative_with_reach(table, T, reach):
    query, key = torch.meshgrid(torch.arange(T), torch.arange(T), indexing="ij")
    rows = torch.clamp(key - query, -reach, reach) + reach
    return torch.stack([table[:, head][rows] for head in range(table.shape[1])])


def relative_windows(table, T):
    reach = len(table) // 2
    rows = torch.arange(1 - T, T).clamp(-reach, reach) + reach  # for each distance
    return table[rows].T.unfold(1, T, 1).flip(1)


def relative_of_128(table, T):
    near = relative_by_head(table, min(T, 128))
    return torch.nn.functional.pad(near, (0, T - near.shape[-1], 0, T - near.shape[-1]))


def relative_by_query(table, T):
    """Heads and queries in each other's places where there are as many."""
    bias = relative_by_head(table, T)
    return bias.transpose(0, 1) if table.shape[1] == T else bias


def relative_without_gradient(table, T):
    return relative_by_head(torch.tensor(table.tolist()), T)


RIGHT = {
    "positional_encoding": [
        lesson.positional_encoding,
        encoding_in_slices,
        encoding_in_numpy,
        encoding_of_phases,
        encoding_complex,
        encoding_step_by_step,
        encoding_by_the_sum_of_steps,
    ],
    "shift_matrix": [
        shift_reordered,
        shift_by_power,
        shift_by_kron,
        shift_filled,
        shift_from_the_table,
    ],
    "rope": [
        rope_padded,
        rope_by_the_lessons_rotate,
        rope_by_matrices,
        rope_of_swapped,
        rope_keys_moved_instead,
        rope_by_torch,
        rope_in_float64,
    ],
    "alibi_bias": [alibi_einsum, alibi_cut, alibi_tril, alibi_stacked, alibi_outer],
    "relative_bias": [relative_embedding, relative_one_hot, relative_by_head, relative_windows],
}


def encoding_by_adding_up(T, d_model):
    """Adds one step after the other to the angles, and with them their rounding."""
    speed = 10000.0 ** (-torch.arange(0, d_model, 2) / d_model)  # (d_model/2,)
    angles, rows = torch.zeros(d_model // 2), []
    for _ in range(T):
        rows.append(torch.stack([angles.sin(), angles.cos()], dim=-1).flatten())  # (d_model,)
        angles = angles + speed
    return torch.stack(rows)  # (T, d_model)


NAMED = {
    "positional_encoding": {
        "halves": [halves],
        "long_table": [
            encoding_of_5000,
            encoding_up_to_position_511,
            encoding_by_adding_up,
            lambda T, d_model: lesson.positional_encoding(5200, d_model)[torch.arange(T) % 5200],
        ],
        "faster_and_faster": [
            lambda T, d_model: interleaved(
                torch.arange(T)[:, None] * 10000.0 ** (torch.arange(0, d_model, 2) / d_model)
            )
        ],
        "from_one": [lambda T, d_model: lesson.positional_encoding(T + 1, d_model)[1:]],
    },
    "shift_matrix": {
        "pair_by_pair": [step_matrix_interleaved],
        "slow_clocks": [
            shift_fitted(200),
            shift_fitted(5000),
            *(shift_fitted_in_float32(rows) for rows in (100, 1000)),
            lambda k, d_model: (
                shift_reordered(k, d_model) * (shift_filled(k, d_model).abs() > 1e-3)
            ),
        ],
        "many_steps": [
            lambda k, d_model: shift_reordered(max(-512, min(512, k)), d_model),
            lambda k, d_model: shift_reordered(torch.tensor(k).bfloat16().float(), d_model),
        ],
        "backwards": [lambda k, d_model: shift_reordered(k, d_model).T],
        "no_way_back": [shift_step_after_step],
        "quarter_turn": [lambda k, d_model: torch.cat(shift_reordered(k, d_model).chunk(2)[::-1])],
    },
    "rope": {
        "same_start": [
            lambda query, key, value, first: attended(
                lesson.rotate(query), lesson.rotate(key), value
            )
        ],
        "last_places": [
            lambda query, key, value, first: rope_padded(
                query, key, value, max(0, key.shape[1] - query.shape[1])
            )
        ],
        "behind_the_keys": [rope_after_the_keys],
        "values_too": [
            lambda query, key, value, first: rope_padded(query, key, lesson.rotate(value), first)
        ],
        "divided_by_d": [rope_by_d],
    },
    "alibi_bias": {
        "one_too_many": [
            lambda slopes, T_q, T_k: (
                -slopes[:, None, None]
                * (torch.arange(T_k - T_q, T_k)[:, None] - torch.arange(T_k) + 1).relu()
            )
        ],
        "wrong_gradient": [alibi_without_gradient],
        "own_slopes": [
            lambda slopes, T_q, T_k: lesson.alibi_bias(T_k, len(slopes))[:, T_k - T_q :]
        ],
        "from_zero": [lambda slopes, T_q, T_k: alibi_einsum(slopes, T_k, T_k)[:, :T_q]],
        "one_too_few": [
            lambda slopes, T_q, T_k: (
                -slopes[:, None, None]
                * (torch.arange(T_k - T_q, T_k)[:, None] - torch.arange(T_k) - 1).relu()
            )
        ],
    },
    "relative_bias": {
        "wrong_gradient": [relative_without_gradient],
        "mirrored": [lambda table, T: relative_by_head(table, T).mT],
        "last_row_unused": [
            lambda table, T: table[
                (torch.arange(T) - torch.arange(T)[:, None] + len(table) // 2).clamp(
                    0, len(table) - 2
                )
            ].permute(2, 0, 1)
        ],
    },
}

UNNAMED = {
    "positional_encoding": [
        lambda T, d_model: torch.zeros(T, d_model),
        lambda T, d_model: lesson.positional_encoding(T, d_model).flip(1),
        kept_by(lambda T, d_model: T, lesson.positional_encoding),
        kept_by(lambda T, d_model: d_model, lesson.positional_encoding),
        encoding_with_clocks_by_position,
        lambda T, d_model: (halves if T == 1 else lesson.positional_encoding)(T, d_model),
        written_into(lambda T, d_model: T * d_model, lesson.positional_encoding),
    ],
    "shift_matrix": [
        lambda k, d_model: torch.eye(d_model),
        lambda k, d_model: shift_reordered(k + 1, d_model),
        shift_from_a_table_of_50,
        kept_by(lambda k, d_model: d_model, shift_reordered),
        kept_by(lambda k, d_model: (abs(k), d_model), shift_reordered),
        written_into(lambda k, d_model: d_model, shift_reordered),
    ],
    "rope": [
        lambda query, key, value, first: value[:, :1] + 0 * query,
        rope_values_and_halves,
        rope_with_weights(bare_exp),
        rope_with_weights(less_the_highest_of_all),
        rope_with_weights(lambda scores: scores.clamp(-50, 50).softmax(dim=-1)),
        rope_with_weights(lambda scores: scores.clamp(max=80).softmax(dim=-1)),
        rope_with_weights(lambda scores: scores.softmax(dim=-2)),
        rope_from_a_table_of(512),
        rope_from_a_table_of(5000),
        rope_along_the_sentences,
        lambda query, key, value, first: rope_padded(
            query, key.split(first + 1, 1)[0], value.split(first + 1, 1)[0], first
        ),
    ],
    "alibi_bias": [
        alibi_backwards,
        lambda slopes, T_q, T_k: torch.zeros(len(slopes), T_q, T_k),
        lambda slopes, T_q, T_k: alibi_einsum(slopes.flip(0), T_q, T_k) * 2,
        alibi_of_512,
        alibi_by_query,
        lambda slopes, T_q, T_k: alibi_cut(slopes, T_q, T_k).masked_fill(
            torch.ones(T_q, T_k).triu(T_k - T_q + 1).bool(), -torch.inf
        ),
        kept_by(lambda slopes, T_q, T_k: (len(slopes), T_q, T_k), alibi_cut),
        lambda slopes, T_q, T_k: alibi_cut(
            slopes + (slopes.round(decimals=2) - slopes).detach(), T_q, T_k
        ),
    ],
    "relative_bias": [
        lambda table, T: torch.zeros(table.shape[1], T, T),
        lambda table, T: relative_by_head(table, T).flip(0) + 1,
        lambda table, T: relative_with_reach(table, T, (len(table) + 1) // 2),
        lambda table, T: relative_with_reach(table, T, len(table)),
        relative_of_128,
        relative_by_query,
        kept_by(lambda table, T: (table.shape, T), relative_by_head),
        lambda table, T: relative_by_head(table, T).clamp(-30, 30),
        lambda table, T: relative_by_head(
            torch.nn.functional.embedding(torch.arange(len(table)), table * 1, max_norm=10.0), T
        ),
    ],
}
