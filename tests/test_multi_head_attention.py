"""Multi-head attention: equal to torch's, explicit equal to fused, the contract, and bad input."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lessons_lib.bahdanau_attention import AttentionEncoderDecoder, alignment
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.masking import to_blocked
from lessons_lib.multi_head_attention import MultiHeadAttention, merge_heads, split_heads
from lessons_lib.self_attention import SelfAttention, dot_product_scores
from tests.masks import BAD_CALLS as BAD_CALLS_OF_ANY_LAYER
from tests.masks import one_of_each_shape

B, T_Q, T_K, D_MODEL, H = 2, 5, 7, 12, 3  # all different, d_k = 4 as well
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


class Explicit(MultiHeadAttention):
    """The same scores, overridden: so the explicit form runs."""

    def scores(self, query, key):
        return dot_product_scores(query, key)


FORMS = [MultiHeadAttention, Explicit]
each_form = pytest.mark.parametrize("form", FORMS, ids=["fused", "explicit"])


def inputs(dtype=torch.float32, rows=B):
    torch.manual_seed(1)
    query = torch.randn(rows, T_Q, D_MODEL, dtype=dtype)
    return query, torch.randn(rows, T_K, D_MODEL, dtype=dtype)


def layer(form=MultiHeadAttention, dtype=torch.float32, n_heads=H):
    torch.manual_seed(0)
    return form(D_MODEL, n_heads).to(dtype)


def masks(rows=B):
    return one_of_each_shape(rows, T_Q, T_K)


def with_a_fully_masked_row():
    mask = masks()["B T_q T_k"]
    mask[0, 3] = mask[1, 0] = False
    return mask


MASKS = [*masks()]
each_mask = pytest.mark.parametrize("name", MASKS)


def torchs(ours):
    """`nn.MultiheadAttention` with the weights and biases of `ours`."""
    d_model = ours.w_q.in_features
    theirs = nn.MultiheadAttention(d_model, ours.n_heads, batch_first=True)
    three = (ours.w_q, ours.w_k, ours.w_v)
    with torch.no_grad():
        for ours_too in (*three, ours.w_o):
            ours_too.bias.normal_()  # torch starts them at 0, where a lost one would not show
        theirs.in_proj_weight.copy_(torch.cat([w.weight for w in three]))
        theirs.in_proj_bias.copy_(torch.cat([w.bias for w in three]))
        theirs.out_proj.load_state_dict(ours.w_o.state_dict())
    return theirs


def blocked_for_torch(mask, rows, n_heads):
    """torch's convention: True = blocked, (B·H, T_q, T_k)."""
    if mask is None:
        return None
    return to_blocked(mask).expand(rows, T_Q, T_K).repeat_interleave(n_heads, dim=0)


# --- equal to torch -------------------------------------------------------------------------------


@each_form
@each_mask
@pytest.mark.parametrize("n_heads", [1, 2, 3, 12])
@pytest.mark.parametrize("rows", [2, 3])  # with 3 heads, B = H: a lost axis goes unnoticed
def test_cross_attention_equals_torch_forward_and_gradient(rows, n_heads, name, form):
    ours = layer(form, n_heads=n_heads)
    theirs, mask = torchs(ours), masks(rows)[name]
    results = []
    for attend in (
        lambda q, kv: (ours(q, ours.project(kv), mask), ours.weights(q, ours.project(kv), mask)),
        lambda q, kv: theirs(
            q,
            kv,
            kv,
            attn_mask=blocked_for_torch(mask, rows, n_heads),
            average_attn_weights=False,
        ),
    ):
        query, key_value = (x.requires_grad_() for x in inputs(rows=rows))
        context, weights = attend(query, key_value)
        (context * torch.linspace(1, 2, context.numel()).view_as(context)).sum().backward()
        results.append((context, weights, query.grad, key_value.grad))
    for mine, other in zip(*results, strict=True):
        assert mine.shape == other.shape
        assert (mine - other).abs().max() <= 1e-5
    gradients = [torch.cat([w.weight.grad for w in (ours.w_q, ours.w_k, ours.w_v)])]
    gradients += [torch.cat([w.bias.grad for w in (ours.w_q, ours.w_k, ours.w_v)])]
    gradients += [ours.w_o.weight.grad, ours.w_o.bias.grad]
    for mine, other in zip(gradients, (p.grad for p in theirs.parameters()), strict=True):
        assert torch.allclose(mine, other, rtol=1e-4, atol=1e-4)


@each_form
def test_self_attention_equals_torch_with_causal_and_padding_masks(form):
    ours = layer(form)
    theirs, (_, x) = torchs(ours), inputs()
    causal = torch.ones(T_K, T_K, dtype=torch.bool).tril()
    real = torch.arange(T_K) < torch.tensor([T_K, 4])[:, None]  # (B, T)
    mine = ours(x, ours.project(x), causal & real[:, None, :])
    other, _ = theirs(x, x, x, attn_mask=to_blocked(causal), key_padding_mask=to_blocked(real))
    assert (mine - other).abs().max() <= 1e-6


def test_the_fast_path_of_torch_in_evaluation_mode_agrees():
    ours = layer()
    theirs, (x, _) = torchs(ours).eval(), inputs()
    with torch.no_grad():
        assert (ours(x, ours.project(x)) - theirs(x, x, x)[0]).abs().max() <= 1e-6


@each_form
def test_in_double_precision_the_difference_is_rounding(form):
    ours = layer(form)
    theirs = torchs(ours).double()
    ours, (query, key_value) = ours.double(), inputs(torch.float64)
    mask = masks()["B T_q T_k"]
    other, _ = theirs(query, key_value, key_value, attn_mask=blocked_for_torch(mask, B, H))
    assert (ours(query, ours.project(key_value), mask) - other).abs().max() <= 1e-14


@each_mask
def test_every_head_is_an_attention_of_its_own(name):
    """Head by head with lesson 3's attention on slices of the weights, then side by side."""
    ours, (query, key_value), mask = layer(), inputs(), masks()[name]
    with torch.no_grad():
        for w in (ours.w_q, ours.w_k, ours.w_v):
            w.bias.zero_()
    contexts = []
    for head in range(H):
        one = SelfAttention(D_MODEL, D_MODEL // H, D_MODEL // H)
        rows = slice(head * D_MODEL // H, (head + 1) * D_MODEL // H)
        with torch.no_grad():
            pairs = ((one.w_q, ours.w_q), (one.w_k, ours.w_k), (one.w_v, ours.w_v))
            for part, whole in pairs:
                part.weight.copy_(whole.weight[rows])
        contexts.append(one(query, one.project(key_value), mask))
    by_hand = ours.w_o(torch.cat(contexts, dim=-1))
    assert torch.allclose(ours(query, ours.project(key_value), mask), by_hand, atol=1e-6)


# --- splitting and merging ------------------------------------------------------------------------


def test_split_cuts_each_vector_and_merge_undoes_it():
    x = torch.arange(B * T_Q * D_MODEL).view(B, T_Q, D_MODEL)
    split = split_heads(x, H)
    assert split.shape == (B, H, T_Q, D_MODEL // H)
    for b in range(B):
        for t in range(T_Q):
            for head, piece in enumerate(x[b, t].chunk(H)):
                assert torch.equal(split[b, head, t], piece)
    assert torch.equal(merge_heads(split), x)
    assert torch.equal(split_heads(merge_heads(split), H), split)


def test_gradients_flow_through_split_and_merge():
    x = torch.randn(B, T_Q, D_MODEL, requires_grad=True)
    factor = torch.randn(B, T_Q, D_MODEL)
    (merge_heads(split_heads(x, H)) * factor).sum().backward()
    assert torch.equal(x.grad, factor)


def test_split_and_merge_take_transposed_memory():
    x = torch.randn(D_MODEL, T_Q, B).permute(2, 1, 0)  # not contiguous
    assert torch.equal(merge_heads(split_heads(x, H)), x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: split_heads(torch.zeros(2, 3), 1), r"x must have shape \(B, T, D\)"),
        (lambda: split_heads(torch.zeros(2, 0, 4), 1), "x must .* no empty axis"),
        (lambda: split_heads(torch.zeros(2, 3, 4), 3), "last axis of x must be divisible by 3"),
        (lambda: split_heads(torch.zeros(2, 3, 4), 8), "last axis of x must be divisible by 8"),
        (lambda: split_heads(torch.zeros(2, 3, 4), 0), "n_heads must be a whole number"),
        (lambda: split_heads(torch.zeros(2, 3, 4), -2), "n_heads must be .* got -2"),
        (lambda: split_heads(torch.zeros(2, 3, 4), 2.0), "n_heads must be .* got 2.0"),
        (lambda: merge_heads(torch.zeros(2, 3, 4)), r"x must have shape \(B, H, T, d\)"),
        (lambda: merge_heads(torch.zeros(2, 3, 0, 4)), "x must .* no empty axis"),
        (lambda: MultiHeadAttention(10, 3), "d_model must be divisible by 3, got 10"),
        (lambda: MultiHeadAttention(0, 1), "d_model must be a whole number of at least 1"),
        (lambda: MultiHeadAttention(8, 0), "n_heads must be a whole number of at least 1, got 0"),
        (lambda: MultiHeadAttention(8, -2), "n_heads must be .* got -2"),
        (lambda: MultiHeadAttention(8, True), "n_heads must be .* got True"),
    ],
)
def test_bad_sizes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- the contract ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*MASKS, "fully masked rows"])
def test_weights_and_forward_agree_forward_and_gradient(name):
    mask = with_a_fully_masked_row() if name == "fully masked rows" else masks()[name]
    results = []
    for form in FORMS:
        attend = layer(form)
        query, key_value = (x.requires_grad_() for x in inputs())
        projected = attend.project(key_value)
        assert projected[0].shape == projected[1].shape == (B, H, T_K, D_MODEL // H)
        context = attend(query, projected, mask)
        weights = attend.weights(query, projected, mask)
        assert context.shape == (B, T_Q, D_MODEL) and weights.shape == (B, H, T_Q, T_K)
        by_hand = attend.w_o(merge_heads(weights @ projected[1]))
        assert torch.allclose(context, by_hand, atol=1e-6)
        (context * torch.linspace(1, 2, context.numel()).view_as(context)).sum().backward()
        grads = [query.grad, key_value.grad, *(p.grad for p in attend.parameters())]
        results.append([context, *grads])
    for fused, explicit in zip(*results, strict=True):
        assert torch.allclose(fused, explicit, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [*MASKS, "fully masked rows"])
def test_weights_sum_to_one_over_the_allowed_keys_in_every_head(name):
    mask = with_a_fully_masked_row() if name == "fully masked rows" else masks()[name]
    attend, (query, key_value) = layer(), inputs()
    weights = attend.weights(query, attend.project(key_value), mask)
    alive = torch.ones(B, H, T_Q)
    if mask is not None:
        open_keys = mask.expand(B, T_Q, T_K)[:, None].expand_as(weights)
        assert (weights[~open_keys] == 0).all() and (weights[open_keys] > 0).all()
        alive = open_keys.any(dim=-1).float()
    assert torch.allclose(weights.sum(dim=-1), alive, atol=1e-6)
    assert not torch.allclose(weights[:, 0], weights[:, 1], atol=1e-3)


@each_form
def test_each_sentence_keeps_its_own_mask_where_batch_and_heads_are_alike(form):
    """B = H = 3: were the head axis missing, sentence b's mask would go to head b instead."""
    attend, (query, key_value) = layer(form), inputs(rows=H)
    mask = masks(rows=H)["B T_q T_k"]
    together = attend(query, attend.project(key_value), mask)
    for b in range(H):
        one = attend(query[b : b + 1], attend.project(key_value[b : b + 1]), mask[b])
        assert torch.allclose(together[b], one[0], atol=1e-6)
        weights = attend.weights(query, attend.project(key_value), mask)[b]
        assert (weights[:, ~mask[b]] == 0).all() and (weights[:, mask[b]] > 0).all()


def test_overridden_scores_are_used_by_both_code_paths():
    class OnlyFirst(MultiHeadAttention):
        def scores(self, query, key):
            scores = query.new_zeros(len(query), self.n_heads, query.shape[2], key.shape[2])
            scores[..., 0] = 1e4
            return scores

    attend, (query, key_value) = layer(OnlyFirst), inputs()
    projected = attend.project(key_value)
    assert (attend.weights(query, projected)[..., 0] == 1).all()
    first = attend.w_o(attend.w_v(key_value[:, :1])).expand(-1, T_Q, -1)
    assert torch.allclose(attend(query, projected), first, atol=1e-6)


def test_the_fused_path_stores_no_weights():
    def largest_kept(attend, mask):
        sizes, x = [], torch.randn(1, 300, D_MODEL)

        def remember(tensor):
            sizes.append(tensor.untyped_storage().nbytes())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
            attend(x, attend.project(x), mask)
        return max(sizes)

    one_head = 300 * 300 * 4  # bytes
    real = torch.arange(300) < torch.tensor([[[299]]])  # (B, 1, T_k)
    for mask in (None, real):
        assert largest_kept(layer(), mask) < one_head < largest_kept(layer(Explicit), mask)


@pytest.mark.parametrize("dtype", DTYPES)
@each_form
def test_a_fully_masked_row_gives_the_bias_and_finite_gradients(form, dtype):
    attend = layer(form, dtype)
    query, key_value = (x.requires_grad_() for x in inputs(dtype))
    projected = attend.project(key_value)
    context = attend(query, projected, with_a_fully_masked_row())
    assert context.dtype == dtype and context.isfinite().all()
    for row in (context[0, 3], context[1, 0]):  # 0 @ w_o + bias, rounded once at most
        assert torch.allclose(row, attend.w_o.bias, rtol=1e-2 if dtype.itemsize == 2 else 1e-6)
    weights = attend.weights(query, projected, with_a_fully_masked_row())
    assert weights.dtype == dtype and (weights[0, :, 3] == 0).all()
    (context.sum() + weights[..., 1].sum()).backward()
    for tensor in (query, key_value, *attend.parameters()):
        assert tensor.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@each_form
def test_half_precision_stays_near_the_whole_one(form, dtype):
    (query, key_value), mask = inputs(), masks()["B T_q T_k"]
    whole, half = layer(form), layer(form, dtype)
    got = half(query.to(dtype), half.project(key_value.to(dtype)), mask)
    expected = whole(query, whole.project(key_value), mask)
    assert got.dtype == dtype
    assert (got.float() - expected).abs().max() < 0.02


@each_form
def test_inputs_that_share_memory_are_read_and_left_alone(form):
    attend = layer(form)
    one = torch.randn(1, 1, D_MODEL).expand(B, T_K, -1)  # every row the same memory
    flipped = torch.randn(D_MODEL, T_K, B).permute(2, 1, 0)
    mask = torch.ones(1, T_K, dtype=torch.bool).expand(T_K, T_K)
    for x in (one, flipped):
        copy = x.clone()
        got = attend(x, attend.project(x), mask)
        assert torch.equal(x, copy)
        assert torch.allclose(got, attend(copy, attend.project(copy)), atol=1e-6)
    query, key_value = inputs()
    projected, mask = attend.project(key_value), masks()["B T_q T_k"]
    kept = [part.clone() for part in (query, *projected, mask)]
    attend(query, projected, mask)
    for now, then in zip((query, *projected, mask), kept, strict=True):
        assert torch.equal(now, then)


def test_nan_behind_a_mask_leaks_in_both_forms():
    """The documented limit: inputs must be finite, masked ones too."""
    query, key_value = inputs()
    key_value[0, 4] = torch.nan
    mask = (torch.arange(T_K) != 4)[None]
    for form in FORMS:
        context = layer(form)(query, layer(form).project(key_value), mask)
        assert context[0].isnan().all() and context[1].isfinite().all()


def test_parameters_do_not_depend_on_the_number_of_heads():
    for n_heads in (1, 2, 8):
        assert sum(p.numel() for p in MultiHeadAttention(64, n_heads).parameters()) == 16_640
        bare = MultiHeadAttention(64, n_heads, bias=False)
        assert sum(p.numel() for p in bare.parameters()) == 16_384


def test_matrices_three_without_w_o_and_four_with_it():
    assert sum(p.numel() for p in SelfAttention(64, 64, 64).parameters()) == 3 * 64**2
    assert sum(p.numel() for p in MultiHeadAttention(64, 1, bias=False).parameters()) == 4 * 64**2


@pytest.mark.parametrize("n_heads", [1, 2, 8])
def test_multiplications_do_not_depend_on_the_number_of_heads_or_a_mask(n_heads):
    n, d = 50, 64
    x, attend = torch.randn(1, n, d), MultiHeadAttention(d, n_heads)
    for mask in (None, torch.ones(n, n, dtype=torch.bool).tril()):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            projected = attend.project(x)
            attend.w_o(merge_heads(attend.weights(x, projected, mask) @ projected[1]))
        operations = counter.get_total_flops()  # a multiplication and an addition are two
        assert operations == 2 * (4 * n * d**2 + 2 * n**2 * d)


def test_without_biases_it_equals_torchs_without_biases():
    ours = MultiHeadAttention(D_MODEL, H, bias=False)
    theirs = nn.MultiheadAttention(D_MODEL, H, bias=False, batch_first=True)
    with torch.no_grad():
        three = torch.cat([w.weight for w in (ours.w_q, ours.w_k, ours.w_v)])
        theirs.in_proj_weight.copy_(three)
        theirs.out_proj.weight.copy_(ours.w_o.weight)
    query, key_value = inputs()
    expected, _ = theirs(query, key_value, key_value)
    assert (ours(query, ours.project(key_value)) - expected).abs().max() <= 1e-6


def test_shuffled_words_give_shuffled_contexts():
    attend, (_, x) = layer(), inputs()
    order = torch.randperm(T_K)
    straight, moved = (attend(y, attend.project(y)) for y in (x, x[:, order]))
    assert torch.allclose(moved, straight[:, order], atol=1e-6)


def test_heads_go_into_the_decoder_of_lesson_2():
    seed_everything(0)
    attend = MultiHeadAttention(8, 2)
    model = AttentionEncoderDecoder(20, 30, d_embed=6, d_hidden=8, attend=attend)
    src = torch.tensor([[5, 6, 7, 2], [8, 9, 2, 0], [4, 2, 0, 0]])
    tgt_in = torch.tensor([[1, 5, 6, 7, 8]]).expand(3, -1)
    weights = alignment(model, src, tgt_in)
    assert weights.shape == (3, 2, 5, 4)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(3, 2, 5), atol=1e-6)
    assert (weights.permute(0, 3, 1, 2)[src == 0] == 0).all()  # padding
    logits = model(src, tgt_in)
    state, steps = model.start(src), []
    for token in tgt_in.unbind(dim=1):
        step, state = model.step(state, token)
        steps.append(step)
    assert torch.allclose(torch.stack(steps, dim=1), logits, atol=1e-6)


# --- bad input ------------------------------------------------------------------------------------

BAD_CALLS = BAD_CALLS_OF_ANY_LAYER | {
    "query rank": (
        lambda a, q, p: a(q[0], p),
        ValueError,
        r"query must have shape \(B, T_q, 12\)",
    ),
    "query width": (lambda a, q, p: a(q[..., :9], p), ValueError, r"query .* got \(2, 5, 9\)"),
    "other batch": (lambda a, q, p: a(q[:1], p), ValueError, r"key must have shape \(1, 3, T_k"),
    "other heads": (
        lambda a, q, p: a(q, tuple(split_heads(merge_heads(x), 2) for x in p)),
        ValueError,
        r"key must have shape \(2, 3, T_k, d_k\) .* got \(2, 2, 7, 6\)",
    ),
    "heads not split": (
        lambda a, q, p: a(q, tuple(map(merge_heads, p))),
        ValueError,
        r"key must have shape \(2, 3, T_k, d_k\) .* got \(2, 7, 12\)",
    ),
    "no keys": (
        lambda a, q, p: a(q, (p[0][:, :, :0], p[1])),
        ValueError,
        "key must .* no empty axis",
    ),
    "values lack": (
        lambda a, q, p: a(q, (p[0], p[1][:, :, :6])),
        ValueError,
        r"value must have shape \(2, 3, 7, d_v\)",
    ),
    "additive mask": (
        lambda a, q, p: a(q, p, torch.zeros(T_Q, T_K).fill_(-torch.inf)),
        TypeError,
        "mask must be boolean",
    ),
    "mask of keys alone": (
        lambda a, q, p: a(q, p, torch.ones(T_K, dtype=torch.bool)),
        ValueError,
        r"mask must be \(T_q, T_k\), \(B, 1, T_k\) or \(B, T_q, T_k\), got \(7,\)",
    ),
    "mask of keys by queries": (
        lambda a, q, p: a(q, p, torch.ones(T_K, T_Q, dtype=torch.bool)),
        ValueError,
        r"mask must broadcast to the scores \(2, 5, 7\), got \(7, 5\)",
    ),
    "mask of padding without its axis": (
        lambda a, q, p: a(q, p, torch.ones(B, T_K, dtype=torch.bool)),
        ValueError,
        r"mask must broadcast to the scores \(2, 5, 7\), got \(2, 7\)",
    ),
    "mask with heads": (
        lambda a, q, p: a(q, p, torch.ones(B, H, T_Q, T_K, dtype=torch.bool)),
        ValueError,
        "mask must broadcast",
    ),
    "mask in torch's shape": (
        lambda a, q, p: a(q, p, torch.ones(B * H, T_Q, T_K, dtype=torch.bool)),
        ValueError,
        r"mask must broadcast to the scores \(2, 5, 7\), got \(6, 5, 7\)",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
@pytest.mark.parametrize("method", ["forward", "weights"])
@each_form
def test_bad_input_is_named(form, method, name):
    call, error, message = BAD_CALLS[name]
    attend, (query, key_value) = layer(form), inputs()
    with pytest.raises(error, match=message):
        call(getattr(attend, method), query, attend.project(key_value))


@pytest.mark.parametrize("shape", [(T_K, D_MODEL), (B, 0, D_MODEL), (B, T_K, D_MODEL + 1)])
def test_bad_key_value_is_named(shape):
    with pytest.raises(ValueError, match=r"key_value must have shape \(B, T_k, 12\)"):
        layer().project(torch.zeros(shape))


def test_torchs_fused_attention_agrees_on_split_heads():
    attend, (query, key_value) = layer(), inputs()
    key, value = attend.project(key_value)
    context = F.scaled_dot_product_attention(split_heads(attend.w_q(query), H), key, value)
    expected = attend.w_o(merge_heads(context))
    assert torch.allclose(attend(query, (key, value)), expected, atol=1e-6)
