"""Self-attention: equal to torch's, explicit equal to fused, the contract, and bad input."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib.kit.recall import learn, predecessors, recall
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.self_attention import SelfAttention, dot_product_scores
from tests.masks import BAD_CALLS as BAD_CALLS_OF_ANY_LAYER
from tests.masks import one_of_each_shape

B, T_Q, T_K, D_MODEL, D_K, D_V = 3, 5, 7, 10, 6, 8
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


class Explicit(SelfAttention):
    """The same scores, overridden: so the explicit form runs."""

    def scores(self, query, key):
        return dot_product_scores(query, key)


def inputs(dtype=torch.float32):
    torch.manual_seed(1)
    return torch.randn(B, T_Q, D_MODEL, dtype=dtype), torch.randn(B, T_K, D_MODEL, dtype=dtype)


def pair_of_forms(dtype=torch.float32):
    torch.manual_seed(0)
    fused, explicit = SelfAttention(D_MODEL, D_K, D_V), Explicit(D_MODEL, D_K, D_V)
    explicit.load_state_dict(fused.state_dict())
    return fused.to(dtype), explicit.to(dtype)


def with_dead_rows():
    mask = torch.rand(B, T_Q, T_K) < 0.5
    mask[..., 0] = True
    mask[0, 3] = mask[2, 0] = False
    return mask


ALL_MASKS = one_of_each_shape(B, T_Q, T_K)


@pytest.mark.parametrize("name", ALL_MASKS)
def test_equal_to_torch_with_projections_by_hand(name):
    attend, _ = pair_of_forms()
    query, key_value = inputs()
    q, k, v = attend.w_q(query), attend.w_k(key_value), attend.w_v(key_value)
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=ALL_MASKS[name])
    ours = attend(query, attend.project(key_value), ALL_MASKS[name])
    assert ours.shape == (B, T_Q, D_V)
    assert (ours - theirs).abs().max() <= 1e-6


def test_equal_to_torchs_multi_head_attention_with_one_head():
    theirs = nn.MultiheadAttention(D_MODEL, 1, bias=False, batch_first=True)
    ours = SelfAttention(D_MODEL, D_MODEL, D_MODEL)
    with torch.no_grad():
        theirs.out_proj.weight.copy_(torch.eye(D_MODEL))
        layers = (ours.w_q, ours.w_k, ours.w_v)
        for layer, weight in zip(layers, theirs.in_proj_weight.chunk(3), strict=True):
            layer.weight.copy_(weight)
    query, key_value = inputs()
    context, weights = theirs(query, key_value, key_value)
    projected = ours.project(key_value)
    assert (ours(query, projected) - context).abs().max() <= 1e-6
    assert (ours.weights(query, projected) - weights).abs().max() <= 1e-6


@pytest.mark.parametrize("shape", [(T_Q, T_K), (B, 1, T_K), (B, T_Q, T_K)])
def test_a_mask_that_blocks_nothing_is_not_handed_on(shape, monkeypatch):
    """Reading a mask costs torch time, and most batches of similar lengths need none."""
    handed_on, torchs = [], F.scaled_dot_product_attention

    def spy(*inputs, attn_mask):
        handed_on.append(attn_mask)
        return torchs(*inputs, attn_mask=attn_mask)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    (query, key_value), (attend, _) = inputs(), pair_of_forms()
    projected, mask = attend.project(key_value), torch.ones(shape, dtype=torch.bool)
    assert torch.equal(attend(query, projected, mask), attend(query, projected))
    mask[..., -1] = False
    attend(query, projected, mask)
    assert [mask is None for mask in handed_on] == [True, True, False]


@pytest.mark.parametrize("name", [*ALL_MASKS, "dead rows"])
def test_explicit_equals_fused_forward_and_gradient(name):
    mask = with_dead_rows() if name == "dead rows" else ALL_MASKS[name]
    results = []
    for attend in pair_of_forms():
        query, key_value = (x.requires_grad_() for x in inputs())
        context = attend(query, attend.project(key_value), mask)
        (context * torch.linspace(1, 2, context.numel()).view_as(context)).sum().backward()
        grads = [query.grad, key_value.grad, *(p.grad for p in attend.parameters())]
        results.append([context, *grads])
    for fused, explicit in zip(*results, strict=True):
        assert torch.allclose(fused, explicit, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", [0, 1], ids=["fused", "explicit"])
def test_a_dead_row_gives_zeros_and_finite_gradients(form, dtype):
    attend = pair_of_forms(dtype)[form]
    query, key_value = (x.requires_grad_() for x in inputs(dtype))
    projected = attend.project(key_value)
    context = attend(query, projected, with_dead_rows())
    assert (context[0, 3] == 0).all() and (context[2, 0] == 0).all()
    assert context[1].abs().sum(dim=-1).min() > 0 and context.isfinite().all()
    weights = attend.weights(query, projected, with_dead_rows())
    assert weights.dtype == dtype and (weights[0, 3] == 0).all()
    (context.sum() + weights[..., 1].sum()).backward()
    for tensor in (query, key_value, *attend.parameters()):
        assert tensor.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", [0, 1], ids=["fused", "explicit"])
def test_half_precision_stays_near_the_whole_one(form, dtype):
    query, key_value = inputs()
    whole, half = pair_of_forms()[form], pair_of_forms(dtype)[form]
    got = half(query.to(dtype), half.project(key_value.to(dtype)), ALL_MASKS["T_q T_k"])
    assert got.dtype == dtype
    expected = whole(query, whole.project(key_value), ALL_MASKS["T_q T_k"])
    assert (got.float() - expected).abs().max() < 0.02


@pytest.mark.parametrize("name", [*ALL_MASKS, "dead rows"])
def test_weights_sum_to_one_and_give_the_context(name):
    mask = with_dead_rows() if name == "dead rows" else ALL_MASKS[name]
    attend, _ = pair_of_forms()
    query, key_value = inputs()
    projected = attend.project(key_value)
    weights = attend.weights(query, projected, mask)
    assert weights.shape == (B, T_Q, T_K)
    dead = torch.zeros(B, T_Q, dtype=torch.bool)
    if mask is not None:
        mask = mask.expand(B, T_Q, T_K)
        assert (weights[~mask] == 0).all() and (weights[mask] > 0).all()
        dead = ~mask.any(dim=-1)
    assert torch.allclose(weights.sum(dim=-1), (~dead).float(), atol=1e-6)
    assert torch.allclose(weights @ projected[1], attend(query, projected, mask), atol=1e-6)


def test_a_masked_key_changes_nothing():
    attend, _ = pair_of_forms()
    query, key_value = inputs()
    changed = key_value.clone()
    changed[:, 4] += 100.0
    mask = torch.arange(T_K) != 4
    before = attend(query, attend.project(key_value), mask[None])
    assert torch.equal(before, attend(query, attend.project(changed), mask[None]))


def test_nan_behind_a_mask_leaks_in_both_forms():
    """The documented limit: inputs must be finite, masked ones too."""
    query, key_value = inputs()
    key_value[0, 4] = torch.nan
    mask = (torch.arange(T_K) != 4)[None]
    for attend in pair_of_forms():
        context = attend(query, attend.project(key_value), mask)
        assert context[0].isnan().all() and context[1:].isfinite().all()


def test_overridden_scores_are_used():
    class Uniform(SelfAttention):
        def scores(self, query, key):
            return query.new_zeros(len(query), query.shape[1], key.shape[1])

    attend = Uniform(D_MODEL, D_K, D_V)
    query, key_value = inputs()
    projected = attend.project(key_value)
    assert torch.allclose(attend.weights(query, projected), torch.full((B, T_Q, T_K), 1 / T_K))
    mean = projected[1].mean(dim=1, keepdim=True).expand(-1, T_Q, -1)
    assert torch.allclose(attend(query, projected), mean, atol=1e-6)


def test_scores_have_variance_one_at_every_width():
    torch.manual_seed(0)
    for d_k in (4, 64, 1024):
        scores = dot_product_scores(torch.randn(2000, d_k), torch.randn(2001, d_k))
        assert scores.shape == (2000, 2001)
        assert abs(scores.var().item() - 1) < 0.05
    assert 0.31 < (scores.abs() > 1).float().mean() < 0.33


def test_self_attention_is_permutation_equivariant():
    attend, _ = pair_of_forms()
    x, _ = inputs()
    order = torch.randperm(T_Q)
    moved = x[:, order]
    straight = attend(x, attend.project(x))
    assert torch.allclose(attend(moved, attend.project(moved)), straight[:, order], atol=1e-6)


def test_a_third_word_never_changes_the_score_of_a_pair():
    attend, _ = pair_of_forms()
    x, _ = inputs()
    changed = x.clone()
    changed[:, 4] = torch.randn(B, D_MODEL)
    before, after = (attend.scores(attend.w_q(y), attend.project(y)[0]) for y in (x, changed))
    assert torch.equal(before[:, :4, :4], after[:, :4, :4])
    assert not torch.equal(before[:, :, 4], after[:, :, 4])


@pytest.mark.parametrize("form", [0, 1], ids=["fused", "explicit"])
def test_inputs_that_share_memory_are_read_and_left_alone(form):
    attend = pair_of_forms()[form]
    one = torch.randn(1, 1, D_MODEL).expand(B, T_K, -1)  # every row the same memory
    flipped = torch.randn(D_MODEL, T_K, B).permute(2, 1, 0)
    for x in (one, flipped):
        copy = x.clone()
        mask = torch.ones(1, T_K, dtype=torch.bool).expand(T_K, T_K)
        got = attend(x, attend.project(x), mask)
        assert torch.equal(x, copy)
        assert torch.allclose(got, attend(copy, attend.project(copy)), atol=1e-6)
    x, _ = inputs()
    before = [x.clone(), ALL_MASKS["T_q T_k"].clone()]
    _, key_value = inputs()
    projected = attend.project(key_value)
    kept = [part.clone() for part in projected]
    attend(x, projected, ALL_MASKS["T_q T_k"])
    for now, then in zip([x, ALL_MASKS["T_q T_k"], *projected], before + kept, strict=True):
        assert torch.equal(now, then)


def test_one_token_attends_to_itself():
    attend, _ = pair_of_forms()
    x = torch.randn(1, 1, D_MODEL)
    assert torch.allclose(attend(x, attend.project(x)), attend.w_v(x), atol=1e-6)


BAD_CALLS = BAD_CALLS_OF_ANY_LAYER | {
    "query rank": (lambda a, q, p: a(q[0], p), ValueError, r"query must have shape \(B, T_q, 10\)"),
    "query width": (lambda a, q, p: a(q[..., :9], p), ValueError, r"query .* got \(3, 5, 9\)"),
    "other batch": (
        lambda a, q, p: a(q[:2], p),
        ValueError,
        r"key must have shape \(2, T_k, d_k\)",
    ),
    "no keys": (
        lambda a, q, p: a(q, (p[0][:, :0], p[1])),
        ValueError,
        "key must .* no empty axis",
    ),
    "values lack": (
        lambda a, q, p: a(q, (p[0], p[1][:, :6])),
        ValueError,
        r"value must have shape \(3, 7, d_v\)",
    ),
    "list mask": (lambda a, q, p: a(q, p, [[True]]), TypeError, "mask must be boolean .* got list"),
    "mask of keys by queries": (
        lambda a, q, p: a(q, p, torch.ones(T_K, T_Q, dtype=torch.bool)),
        ValueError,
        r"mask must broadcast to the scores \(3, 5, 7\), got \(7, 5\)",
    ),
    "mask of padding without its axis": (
        lambda a, q, p: a(q, p, torch.ones(B, T_K, dtype=torch.bool)),
        ValueError,
        r"mask must broadcast to the scores \(3, 5, 7\), got \(3, 7\)",
    ),
    "mask with heads": (
        lambda a, q, p: a(q, p, torch.ones(B, 1, T_Q, T_K, dtype=torch.bool)),
        ValueError,
        "mask must broadcast",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
@pytest.mark.parametrize("method", ["forward", "weights"])
@pytest.mark.parametrize("form", [0, 1], ids=["fused", "explicit"])
def test_bad_input_is_named(form, method, name):
    call, error, message = BAD_CALLS[name]
    attend = pair_of_forms()[form]
    query, key_value = inputs()
    with pytest.raises(error, match=message):
        call(getattr(attend, method), query, attend.project(key_value))


@pytest.mark.parametrize("shape", [(T_K, D_MODEL), (B, 0, D_MODEL), (B, T_K, D_MODEL + 1)])
def test_bad_key_value_is_named(shape):
    attend, _ = pair_of_forms()
    with pytest.raises(ValueError, match=r"key_value must have shape \(B, T_k, 10\)"):
        attend.project(torch.zeros(shape))


def test_an_empty_mask_axis_is_named():
    attend, _ = pair_of_forms()
    query, key_value = inputs()
    with pytest.raises(ValueError, match="mask must broadcast"):
        attend(query, attend.project(key_value), torch.ones(T_Q, 0, dtype=torch.bool))


@pytest.mark.parametrize("mask", [None, torch.ones(300, 300, dtype=torch.bool).tril()])
def test_the_fused_form_keeps_less_for_the_backward_pass(mask):
    """torch's fast form never stores (B, T, T) weights, with a mask of two axes neither.

    It needs an axis of heads, and d_k = d_v.
    """

    def kept(attend):
        sizes = {}
        x = torch.randn(5, 300, D_MODEL)

        def remember(tensor):
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
            attend(x, attend.project(x), mask)
        return sum(sizes.values())

    fused, explicit = kept(SelfAttention(D_MODEL, 8, 8)), kept(Explicit(D_MODEL, 8, 8))
    assert explicit > 5 * 300 * 300 * 4 > 2 * fused


class OneLayer(nn.Module):
    """Lesson 3's small model: embeddings, positions if wanted, one layer, logits."""

    def __init__(self, n_in, n_out, n_positions=0):
        super().__init__()
        self.embed, self.attend = nn.Embedding(n_in, 32), SelfAttention(32, 32, 32)
        self.positions = nn.Embedding(n_positions, 32) if n_positions else None
        self.to_logits = nn.Linear(32, n_out)

    def forward(self, tokens):
        x = self.embed(tokens).sum(dim=2)
        if self.positions is not None:
            x = x + self.positions.weight[: x.shape[1]]
        return self.to_logits(x + self.attend(x, self.attend.project(x)))


@pytest.mark.parametrize(("joined", "low", "high"), [(True, 0.97, 1.0), (False, 0.1, 0.4)])
def test_recall_is_learned_in_one_layer_if_key_and_value_share_a_token(joined, low, high):
    seed_everything(1)
    model = OneLayer(33, 16, n_positions=0 if joined else 24)
    task = partial(recall, n_pairs=8, n_symbols=16, joined=joined)
    assert low <= learn(model, task, steps=200, seed=1) <= high


@pytest.mark.parametrize(("tied", "low", "high"), [(False, 0.97, 1.0), (True, 0.5, 0.9)])
def test_who_precedes_me_needs_two_projections(tied, low, high):
    seed_everything(1)
    model = OneLayer(16, 16, n_positions=16)
    if tied:
        model.attend.w_k = model.attend.w_q
    task = partial(predecessors, n_tokens=16, n_symbols=16)
    assert low <= learn(model, task, steps=300, seed=1) <= high
