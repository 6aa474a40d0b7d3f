"""Every encoding is what its paper says, keeps its law of positions, and names wrong input."""

from math import cos, sin

import pytest
import torch

from lessons_lib.checks import check
from lessons_lib.masking import causal_mask
from lessons_lib.positional_encoding import (
    LearnedPositions,
    alibi_bias,
    angles,
    positional_encoding,
    rotate,
)
from lessons_lib.self_attention import SelfAttention
from lessons_lib.transformer import Cache
from tests.relative import Biased, Rotary

B, H, T, D = 2, 3, 7, 10
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def seeded(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def behind(x, shift):
    """x (…, T, d) with rows in front, so that it stands some positions later; rotated."""
    front = torch.ones(*x.shape[:-2], shift, x.shape[-1], dtype=x.dtype)
    return rotate(torch.cat([front, x], dim=-2))[..., shift:, :]


# --- sinusoids ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "width"), [(1, 2), (5, 12), (40, 6), (8, 8)])
def test_sinusoids_equal_the_papers_formula(length, width):
    encoding = positional_encoding(length, width)
    assert encoding.shape == (length, width) and encoding.dtype == torch.float32
    for t in range(length):
        for i in range(width // 2):
            angle = t / 10000 ** (2 * i / width)
            assert encoding[t, 2 * i].item() == pytest.approx(sin(angle), abs=1e-5)
            assert encoding[t, 2 * i + 1].item() == pytest.approx(cos(angle), abs=1e-5)


def test_angles_are_positions_times_speeds():
    turned = angles(T, D)
    assert turned.shape == (T, D // 2)
    assert (turned[0] == 0).all() and torch.equal(turned[:, 0], torch.arange(float(T)))
    assert (turned[1].diff() < 0).all()  # each clock is slower than the one before


def test_a_shorter_table_is_the_beginning_of_a_longer_one():
    """Up to rounding: a processor may take another way through a longer row of numbers."""
    longer = positional_encoding(3 * T, D)[:T]
    assert torch.allclose(positional_encoding(T, D), longer, rtol=0, atol=1e-6)


@pytest.mark.parametrize("step", [1, 4, 20])
def test_a_step_is_the_same_rotation_from_every_position(step):
    encoding = positional_encoding(50, D).double()
    found = torch.linalg.lstsq(encoding[:-step, :4], encoding[step:, :4]).solution  # two clocks
    assert torch.allclose(encoding[:-step, :4] @ found, encoding[step:, :4], atol=1e-5)
    assert torch.allclose(found @ found.T, torch.eye(4).double(), atol=1e-4)
    for clock in range(D // 2):
        a = torch.tensor(step * 10000.0 ** (-2 * clock / D))
        turn = torch.tensor([[a.cos(), -a.sin()], [a.sin(), a.cos()]]).double()
        pair = encoding[:, 2 * clock : 2 * clock + 2]
        assert torch.allclose(pair[:-step] @ turn, pair[step:], atol=1e-5)


def test_dot_products_depend_on_the_distance_only():
    products = positional_encoding(30, D) @ positional_encoding(30, D).T
    for k in range(-29, 30):
        along = products.diagonal(k)
        assert torch.allclose(along, along[0].expand_as(along), atol=1e-4)
    assert torch.allclose(products, products.T) and products[0, 1] > products[0, 5] + 0.1


@pytest.mark.parametrize("function", [angles, positional_encoding])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((T, 7), "d_model must be divisible by 2, got 7"),
        ((T, 0), "d_model must be a whole number of at least 1, got 0"),
        ((0, D), "T must be a whole number of at least 1, got 0"),
        ((-3, D), "T must be .* at least 1, got -3"),
        ((2.5, D), "T must be a whole number .* got 2.5"),
        ((T, 4.0), "d_model must be a whole number .* got 4.0"),
    ],
)
def test_wrong_sizes_are_named(function, given, message):
    with pytest.raises(ValueError, match=message):
        function(*given)


# --- the learned table ----------------------------------------------------------------------------


def test_the_table_gives_its_first_rows_and_learns_them():
    table = LearnedPositions(T, D)
    assert torch.equal(table(4), table.table.weight[:4]) and table(T).shape == (T, D)
    table(4).sum().backward()
    assert (table.table.weight.grad[:4] == 1).all() and (table.table.weight.grad[4:] == 0).all()


def test_the_table_follows_its_module():
    table = LearnedPositions(T, D).half()
    assert table(3).dtype == torch.float16
    assert table.to("meta")(3).device.type == "meta"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LearnedPositions(T, D)(T + 1), "T must be at most 7, got 8"),
        (lambda: LearnedPositions(T, D)(0), "T must be .* at least 1, got 0"),
        (lambda: LearnedPositions(0, D), "max_len must be .* at least 1, got 0"),
        (lambda: LearnedPositions(T, -1), "d_model must be .* at least 1, got -1"),
    ],
)
def test_beyond_the_table(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- RoPE -----------------------------------------------------------------------------------------


def spun(x):
    """The same with complex numbers, in double precision."""
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))  # (…, T, d/2)
    speed = 10000.0 ** (-torch.arange(0, x.shape[-1], 2).double() / x.shape[-1])
    angle = torch.arange(x.shape[-2])[:, None] * speed
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(-2)


@pytest.mark.parametrize("shape", [(T, D), (B, T, D), (B, H, T, D), (1, 2)])
def test_rotation_equals_a_product_of_complex_numbers(shape):
    x = seeded(*shape).requires_grad_()
    out = rotate(x)
    assert out.shape == shape and torch.allclose(out.double(), spun(x.detach()), atol=1e-5)
    weights = seeded(*shape, seed=1)
    mine = torch.autograd.grad((out * weights).sum(), x)[0]
    theirs = torch.autograd.grad((spun(x) * weights).sum(), x)[0]
    assert torch.allclose(mine, theirs, atol=1e-5)


def test_rotation_keeps_lengths_and_the_first_position():
    x = seeded(B, T, D)
    assert torch.allclose(rotate(x).norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    assert torch.equal(rotate(x)[:, 0], x[:, 0])


@pytest.mark.parametrize("shift", [1, 7, 100])
def test_scores_are_relative(shift):
    query, key = seeded(B, T, D), seeded(B, T, D, seed=1)
    scores = rotate(query) @ rotate(key).mT
    both = behind(query, shift) @ behind(key, shift).mT
    assert torch.allclose(both, scores, atol=1e-4)
    one = behind(query, shift) @ rotate(key).mT
    assert not torch.allclose(one, scores, atol=1e-2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_type_and_device_stay(dtype):
    x = seeded(B, 300, D)
    out = rotate(x.to(dtype))
    assert out.dtype == dtype
    # the angles are exact in every type: what is left is the rounding of x and of the result
    assert torch.allclose(out.float(), rotate(x), atol=6 * torch.finfo(dtype).eps + 1e-6)
    assert rotate(x.to("meta")).device.type == "meta"


def test_input_stays_as_it_is_even_when_rows_share_memory():
    row = seeded(D)
    out = rotate(row.expand(T, D))
    assert torch.equal(row, seeded(D)) and torch.allclose(out, rotate(row.repeat(T, 1)))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.ones(T, 5), ValueError, "the last axis of x must be divisible by 2, got 5"),
        (torch.ones(D), ValueError, r"x must have shape \(…, T, d\) .* got \(10,\)"),
        (torch.ones(B, 0, D), ValueError, r"no empty axis, got \(2, 0, 10\)"),
        (torch.ones(T, D).int(), TypeError, "x must hold floating-point numbers, got torch.int32"),
        (torch.ones(T, D).bool(), TypeError, "x must hold .* got torch.bool"),
        ([[1.0, 2.0]], TypeError, "x must hold .* got list"),
    ],
)
def test_what_cannot_be_rotated_is_named(x, error, message):
    with pytest.raises(error, match=message):
        rotate(x)


# --- ALiBi ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_heads", [1, 3, 8])
def test_bias_equals_the_papers_formula(n_heads):
    bias = alibi_bias(T, n_heads)
    assert bias.shape == (n_heads, T, T) and bias.dtype == torch.float32
    for h in range(n_heads):
        for query in range(T):
            for key in range(T):
                wanted = -(2 ** (-8 * (h + 1) / n_heads)) * max(0, query - key)
                assert bias[h, query, key].item() == pytest.approx(wanted, abs=1e-6)


def test_the_slopes_of_eight_heads_are_the_papers():
    slopes = -alibi_bias(2, 8)[:, 1, 0]
    assert torch.equal(slopes, 0.5 ** torch.arange(1, 9))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0, 2), "T must be .* at least 1, got 0"),
        ((T, 0), "n_heads must be .* at least 1, got 0"),
        ((T, 2.0), "n_heads must be a whole number .* got 2.0"),
    ],
)
def test_wrong_sizes_of_the_bias_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        alibi_bias(*given)


@pytest.mark.parametrize("first", [0, 1, 9])
def test_rotation_begins_at_first(first):
    x = seeded(B, H, T, D)
    assert torch.allclose(rotate(x, first), behind(x, first), atol=1e-6)


@pytest.mark.parametrize("first", [-1, 0.5, True])
def test_a_wrong_first_position_is_named(first):
    with pytest.raises(ValueError, match="first must be a whole number of at least 0, got"):
        rotate(seeded(1, 2, 2), first)


# --- what attention makes of it -------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Rotary, Biased])
def test_relative_attention_does_not_see_a_shift(kind):
    torch.manual_seed(0)
    attend, x = kind(12, n_heads=3), seeded(B, T, 12)
    moved = torch.cat([seeded(B, 5, 12, seed=1), x], dim=1)
    mask = causal_mask(T + 5) & (torch.arange(T + 5) >= 5)
    late = attend(moved, attend.project(moved), mask)[:, 5:]
    assert torch.allclose(late, attend(x, attend.project(x), causal_mask(T)), atol=1e-5)


@pytest.mark.parametrize("kind", [Rotary, Biased])
def test_relative_attention_sees_order(kind):
    torch.manual_seed(0)
    attend, x = kind(12, n_heads=3), seeded(B, T, 12)
    order = torch.tensor([1, 0, *range(2, T)])
    last, of_swapped = (
        attend(y, attend.project(y), causal_mask(T))[:, -1] for y in (x, x[:, order])
    )
    assert not torch.allclose(last, of_swapped, atol=1e-4)


@pytest.mark.parametrize("kind", [Rotary, Biased])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_read_in_steps_is_read_at_once(kind, n):
    """Queries are the last T_q of T_k positions: so relative positions hold with a cache, too."""
    torch.manual_seed(0)
    attend, x = kind(12, n_heads=3), seeded(B, T, 12)
    whole, past = attend(x, attend.project(x), causal_mask(T)), [torch.zeros(B, 0, 1).bool()]
    for first in range(0, T, n):
        new, cache = x[:, first : first + n], Cache(past, first, min(n, T - first))
        mask = causal_mask(T)[first : first + n, : first + n]
        out = attend(new, cache.extend(attend.project(new)), mask)
        assert torch.allclose(out, whole[:, first : first + n], atol=1e-5)
        past = cache.kept


@pytest.mark.parametrize("kind", [Rotary, Biased])
def test_half_precision_runs_through(kind):
    attend, x = kind(12, n_heads=3).bfloat16(), seeded(B, T, 12).bfloat16()
    out = attend(x, attend.project(x), causal_mask(T))
    assert out.dtype == torch.bfloat16 and out.isfinite().all()


@pytest.mark.parametrize("seed", range(5))
def test_one_causal_layer_sees_a_set_of_the_past_and_two_see_order(seed):
    torch.manual_seed(seed)
    layers = [SelfAttention(D, D, D).double() for _ in range(2)]
    x = seeded(1, 4, D, seed=seed).double()

    def last(x, layers):
        for layer in layers:
            x = x + layer(x, layer.project(x), causal_mask(4))
        return x[0, -1]

    swapped = x[:, [1, 0, 2, 3]]
    assert torch.allclose(last(x, layers[:1]), last(swapped, layers[:1]), atol=1e-12)
    assert (last(x, layers) - last(swapped, layers)).norm() > 1e-3


# --- the exercises say which mistake it was -------------------------------------------------------


def test_the_lessons_own_functions_get_named_where_the_task_is_another():
    def lessons_rope(query, key, value, first):
        scores = rotate(query) @ rotate(key).mT / query.shape[-1] ** 0.5
        return scores.softmax(-1) @ value

    def lessons_alibi(slopes, T_q, T_k):
        return alibi_bias(T_k, len(slopes))[:, T_k - T_q :]

    assert check("rope", lessons_rope).misconception == "same_start"
    assert check("alibi_bias", lessons_alibi).misconception == "own_slopes"
    assert check("positional_encoding", positional_encoding).status == "pass"
