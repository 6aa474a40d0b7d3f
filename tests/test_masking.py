"""Masks mean what torch means; fully masked rows are zeros; the properties of lesson 4 hold."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib.checks import check
from lessons_lib.kit.arguments import check_lengths
from lessons_lib.masking import (
    causal_mask,
    combine_masks,
    masked_softmax,
    padding_mask,
    to_additive,
    to_blocked,
)
from lessons_lib.self_attention import SelfAttention

B, T_Q, T_K, D = 3, 4, 6, 5
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def random_mask(*shape):
    """A mask in which every row allows something and blocks something."""
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(1)) > 0.5
    mask[..., 0], mask[..., 1] = True, False
    return mask


# --- masked_softmax -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(T_Q, T_K), (B, 1, T_K), (B, T_Q, T_K), (1, T_K), (T_K,)])
def test_equal_to_a_softmax_over_the_allowed_keys(shape):
    torch.manual_seed(0)
    scores, mask = 5 * torch.randn(B, T_Q, T_K), random_mask(*shape)
    weights = masked_softmax(scores, mask)
    for row, allowed, got in zip(
        scores.flatten(0, 1),
        mask.expand_as(scores).flatten(0, 1),
        weights.flatten(0, 1),
        strict=True,
    ):
        assert torch.allclose(got[allowed], row[allowed].softmax(0), atol=1e-7)
        assert (got[~allowed] == 0).all()


def test_context_equals_scaled_dot_product_attention():
    torch.manual_seed(0)
    query, key, value = torch.randn(B, T_Q, D), torch.randn(B, T_K, D), torch.randn(B, T_K, 2)
    mask = random_mask(B, T_Q, T_K)
    mask[1, 2] = False  # a fully masked row
    weights = masked_softmax(query @ key.transpose(1, 2) / D**0.5, mask)
    for given in (mask, to_additive(mask)):
        theirs = F.scaled_dot_product_attention(query, key, value, attn_mask=given)
        assert torch.allclose(weights @ value, theirs, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fully_masked_rows_are_zero_with_finite_gradients(dtype):
    scores = (3 * torch.randn(B, T_Q, T_K)).to(dtype).requires_grad_()
    mask = padding_mask(torch.tensor([2, 0, T_K]), T_K)
    weights = masked_softmax(scores, mask)
    assert weights.dtype == dtype and (weights[1] == 0).all()
    (weights * torch.arange(T_K)).sum().backward()
    assert scores.grad.isfinite().all() and (scores.grad[1] == 0).all()
    assert (scores.grad[0, :, :2] != 0).any()
    assert torch.allclose(weights[0].float().sum(-1), torch.ones(T_Q), atol=1e-2)


def test_no_nan_is_made_on_the_way():
    """As the lesson says: −inf and two fills give the same, and a NaN that anomaly mode finds."""
    mask = torch.tensor([[True, True, False], [False, False, False]])  # (T_q, T_k)

    def two_fills(scores, mask):
        return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1).masked_fill(~mask, 0.0)

    scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]])  # (T_q, T_k)
    found = []
    for way in (masked_softmax, two_fills):
        rows = scores.clone().requires_grad_()
        weights = way(rows, mask)  # (T_q, T_k)
        weights[0, 0].backward()
        found.append(torch.cat([weights.detach(), rows.grad]))
    assert torch.equal(*found)
    with torch.autograd.set_detect_anomaly(True):
        masked_softmax(rows, mask)[0, 0].backward()
        with pytest.warns(UserWarning), pytest.raises(RuntimeError, match="returned nan values"):
            two_fills(rows, mask)[0, 0].backward()


@pytest.mark.parametrize("hidden", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_what_a_blocked_score_is_does_not_matter(hidden):
    scores, mask = torch.randn(T_Q, T_K), random_mask(T_Q, T_K)
    loud = scores.masked_fill(~mask, hidden).requires_grad_()
    weights = masked_softmax(loud, mask)
    assert torch.equal(weights, masked_softmax(scores, mask))
    weights[:, 0].sum().backward()
    assert loud.grad.isfinite().all() and (loud.grad[~mask] == 0).all()


def test_without_a_mask_and_with_nothing_blocked():
    scores = torch.randn(B, T_Q, T_K)
    assert torch.equal(masked_softmax(scores), scores.softmax(-1))
    all_open = torch.ones(T_Q, T_K, dtype=torch.bool)
    assert torch.equal(masked_softmax(scores, all_open), scores.softmax(-1))


def test_inputs_stay_as_they_are_even_when_they_share_memory():
    row = torch.randn(T_K)
    scores, mask = row.expand(T_Q, T_K), causal_mask(T_K)[:1].expand(T_Q, T_K)
    kept = row.clone(), mask.clone()
    weights = masked_softmax(scores, mask)
    assert torch.equal(row, kept[0]) and torch.equal(mask, kept[1])
    weights.mul_(2)
    assert torch.equal(row, kept[0])


def test_zero_queries_or_keys_give_an_empty_result():
    for shape in ((B, 0, T_K), (B, T_Q, 0), (0, T_Q, T_K)):
        mask = torch.ones(shape, dtype=torch.bool)
        assert masked_softmax(torch.zeros(shape), mask).shape == shape


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (torch.ones(T_Q, T_K), TypeError, r"mask must be boolean \(True = may attend\), got .*32"),
        (torch.ones(T_Q, T_K).int(), TypeError, "mask must be boolean .* got torch.int32"),
        ([[True]], TypeError, "mask must be boolean .* got list"),
        (causal_mask(T_K), ValueError, r"scores \(3, 4, 6\), got \(6, 6\)"),
        (random_mask(B, T_K), ValueError, r"scores \(3, 4, 6\), got \(3, 6\)"),
        (random_mask(1, B, T_Q, T_K), ValueError, r"scores \(3, 4, 6\), got \(1, 3, 4, 6\)"),
        (random_mask(2, 1, T_K), ValueError, r"scores \(3, 4, 6\), got \(2, 1, 6\)"),
    ],
)
def test_a_wrong_mask_is_named(mask, error, message):
    with pytest.raises(error, match=message):
        masked_softmax(torch.zeros(B, T_Q, T_K), mask)


# --- the masks ------------------------------------------------------------------------------------


def test_causal_mask_equals_torchs():
    theirs = nn.Transformer.generate_square_subsequent_mask(T_K)  # additive
    assert torch.equal(to_additive(causal_mask(T_K)), theirs)
    assert torch.equal(causal_mask(1), torch.tensor([[True]]))


def test_padding_mask_counts_real_tokens():
    lengths = torch.tensor([2, 0, T_K])
    mask = padding_mask(lengths, T_K)
    assert mask.shape == (B, 1, T_K) and mask.dtype == torch.bool
    assert torch.equal(mask.sum(-1)[:, 0], lengths)
    assert mask[0, 0].tolist() == [True] * 2 + [False] * 4
    assert torch.equal(padding_mask(lengths.int(), T_K), mask)


def test_combined_masks_allow_what_both_allow():
    causal, padding = causal_mask(T_K), padding_mask(torch.tensor([2, 5, T_K]), T_K)
    both = combine_masks(causal, padding)
    assert both.shape == (B, T_K, T_K)
    for b, q, k in ((0, 1, 1), (0, 1, 2), (0, 5, 2), (1, 3, 4), (2, 5, 5)):
        assert both[b, q, k] == (causal[q, k] and padding[b, 0, k])
    assert torch.equal(both, combine_masks(padding, causal))


@pytest.mark.parametrize("convert", ["blocked", "additive"])
def test_converted_masks_give_multihead_attention_the_same_weights(convert):
    torch.manual_seed(0)
    theirs, ours = nn.MultiheadAttention(D, 1, batch_first=True), SelfAttention(D, D, D)
    for layer, weight in zip(
        (ours.w_q, ours.w_k, ours.w_v), theirs.in_proj_weight.chunk(3), strict=True
    ):
        layer.weight = nn.Parameter(weight.detach().clone())
    x = torch.randn(B, T_K, D)
    causal, padding = causal_mask(T_K), padding_mask(torch.tensor([2, 5, T_K]), T_K)
    change = to_blocked if convert == "blocked" else to_additive
    out, weights = theirs(x, x, x, attn_mask=change(causal), key_padding_mask=change(padding)[:, 0])
    projected, both = ours.project(x), combine_masks(causal, padding)
    assert torch.allclose(weights, ours.weights(x, projected, both), atol=1e-6)
    assert torch.allclose(out, theirs.out_proj(ours(x, projected, both)), atol=1e-6)


def test_multihead_attention_without_weights_hides_an_inverted_mask():
    """The lesson's first patient: no NaN in output or gradient, if no weights are asked for."""
    torch.manual_seed(0)
    layer, x = nn.MultiheadAttention(8, 1, batch_first=True), torch.randn(2, 5, 8)
    for need_weights in (True, False):
        layer.zero_grad()
        out, _ = layer(x, x, x, attn_mask=causal_mask(5), need_weights=need_weights)
        out[:, :4].sum().backward()
        assert out.isnan().any() == need_weights
        assert layer.in_proj_weight.grad.isnan().any() == need_weights


def test_additive_masks_come_in_every_type():
    for dtype in DTYPES:
        added = to_additive(causal_mask(3), dtype)
        assert added.dtype == dtype and added[0].tolist() == [0.0, -torch.inf, -torch.inf]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: causal_mask(0), ValueError, "T must be a whole number of at least 1, got 0"),
        (lambda: causal_mask(2.0), ValueError, "T must be .* got 2.0"),
        (lambda: padding_mask([2], 3), TypeError, "lengths must be a tensor, got list"),
        (lambda: padding_mask(torch.tensor([2.0]), 3), TypeError, "lengths .* got torch.float32"),
        (lambda: padding_mask(torch.tensor([[2]]), 3), ValueError, r"lengths must have shape \(B,"),
        (lambda: padding_mask(torch.tensor([2, 4]), 3), ValueError, "lengths .* 0 … 3, got 4"),
        (lambda: padding_mask(torch.tensor([-1]), 3), ValueError, "lengths .* 0 … 3, got -1"),
        (lambda: padding_mask(torch.tensor([1]), 0), ValueError, "T must be .* got 0"),
        (
            lambda: combine_masks(causal_mask(3), causal_mask(4)),
            ValueError,
            r"masks must broadcast to one shape, got \(3, 3\) and \(4, 4\)",
        ),
        (
            lambda: combine_masks(causal_mask(3), torch.ones(3, 3)),
            TypeError,
            "masks must be boolean .* got torch.float32",
        ),
        (lambda: to_blocked(torch.zeros(2, 2)), TypeError, "mask must be boolean"),
        (lambda: to_additive(torch.zeros(2, 2).long()), TypeError, "mask must be .* torch.int64"),
        (lambda: check_lengths("n", torch.zeros(0).long(), 3), ValueError, "no empty axis"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- the properties that lesson 4 teaches ---------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_a_future_token_moves_nothing_before_it(training):
    torch.manual_seed(0)
    attend, x = SelfAttention(D, D, D).train(training), torch.randn(B, T_K, D)
    other = x.clone()
    other[:, 4] += 1
    before, after = (attend(each, attend.project(each), causal_mask(T_K)) for each in (x, other))
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4], after[:, 4])


def test_more_padding_changes_nothing():
    torch.manual_seed(0)
    attend, x, lengths = SelfAttention(D, D, D), torch.randn(B, T_K, D), torch.tensor([2, 5, 6])
    wider = torch.cat([x, torch.randn(B, 7, D)], dim=1)
    contexts = [
        attend(each, attend.project(each), padding_mask(lengths, each.shape[1]))[:, :T_K]
        for each in (x, wider)
    ]
    assert torch.allclose(*contexts, atol=1e-6)


def test_token_by_token_equals_all_at_once():
    torch.manual_seed(0)
    attend, x = SelfAttention(D, D, D), torch.randn(B, T_K, D)
    at_once = attend(x, attend.project(x), causal_mask(T_K))
    for t in range(T_K):
        last = attend(x[:, t : t + 1], attend.project(x[:, : t + 1]))
        assert torch.allclose(last[:, 0], at_once[:, t], atol=1e-6)


# --- what values cannot show in the exercises -----------------------------------------------------


def test_a_nan_gradient_behind_right_weights_is_named():
    def additive_then_zero(scores, mask):
        blocked = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
        return (scores + blocked).softmax(dim=-1).nan_to_num(0.0)

    verdict = check("masked_softmax", additive_then_zero)
    assert (verdict.status, verdict.misconception) == ("fail", "nan_gradient")


def test_weights_cut_off_from_the_scores_are_noticed():
    verdict = check("masked_softmax", lambda scores, mask: masked_softmax(scores.detach(), mask))
    assert (verdict.status, verdict.misconception) == ("fail", "wrong_gradient")


def test_the_mask_asked_for_is_the_one_that_multihead_attention_takes():
    torch.manual_seed(0)
    n_heads, mask = 2, random_mask(B, T_K, T_K)
    layer, x = nn.MultiheadAttention(4, n_heads, batch_first=True), torch.randn(B, T_K, 4)
    together, _ = layer(x, x, x, attn_mask=(~mask).repeat_interleave(n_heads, dim=0))
    for b in range(B):
        alone, _ = layer(x[b : b + 1], x[b : b + 1], x[b : b + 1], attn_mask=~mask[b])
        assert torch.allclose(together[b : b + 1], alone, atol=1e-6)
