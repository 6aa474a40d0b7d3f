"""Bahdanau attention: equal to slow loops and to torch, the contract of attention, bad input."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lessons_lib.bahdanau_attention import (
    AdditiveAttention,
    AttentionDecoder,
    AttentionEncoderDecoder,
    BidirectionalEncoder,
    DotAttention,
    GeneralAttention,
    alignment,
    reverse_tokens,
)
from lessons_lib.decoding import greedy_decode
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.training import token_loss
from lessons_lib.kit.vocabulary import BOS, EOS, PAD, lengths
from lessons_lib.self_attention import SelfAttention

SRC = torch.tensor([[5, 7, 4, 9, 6, EOS, PAD], [8, 6, EOS, PAD, PAD, PAD, PAD]])  # (B, T_src)
TGT_IN = torch.tensor([[BOS, 6, 4, 10], [BOS, 8, 5, 7]])  # (B, T)
B, T_Q, T_K, D_QUERY, D_KEY, D_A = 2, 3, 5, 4, 6, 7


@pytest.fixture(autouse=True)
def seeded():
    seed_everything(0)


def kinds():
    """Each kind of attention with the width of its query."""
    return {
        "additive": (AdditiveAttention(D_QUERY, D_KEY, D_A), D_QUERY),
        "dot": (DotAttention(), D_KEY),
        "general": (GeneralAttention(D_QUERY, D_KEY), D_QUERY),
    }


@pytest.fixture(params=["additive", "dot", "general"])
def attended(request):
    """An attention, a query, annotations, and a mask with one row of padding only."""
    attend, d_query = kinds()[request.param]
    mask = torch.tensor([[[True, True, True, False, False]], [[False] * 5]])  # (B, 1, T_k)
    return attend, torch.randn(B, T_Q, d_query), torch.randn(B, T_K, D_KEY), mask


def model_of(attend=None, **sizes):
    return AttentionEncoderDecoder(10, 12, **({"d_embed": 6, "d_hidden": 8} | sizes), attend=attend)


# --- equality -------------------------------------------------------------------------------------


def test_reverse_tokens_is_a_loop_over_rows():
    x = torch.randn(3, 4, 2)
    expected = x.clone()
    for b, length in enumerate((4, 1, 3)):
        expected[b, :length] = x[b, :length].flip(0)
    reversed_x = reverse_tokens(x, torch.tensor([4, 1, 3]))
    assert torch.equal(reversed_x, expected)
    assert torch.equal(reverse_tokens(reversed_x, torch.tensor([4, 1, 3])), x)


def test_encoder_is_torchs_bidirectional_gru_on_packed_sequences():
    encoder = BidirectionalEncoder(n_words=10, d_embed=5, d_hidden=14)
    theirs = nn.GRU(5, 7, batch_first=True, bidirectional=True)
    for end, ours in (("l0", encoder.forwards), ("l0_reverse", encoder.backwards)):
        for kind, linear in (("ih", ours.x_to_gates), ("hh", ours.h_to_gates)):
            setattr(theirs, f"weight_{kind}_{end}", linear.weight)
            setattr(theirs, f"bias_{kind}_{end}", linear.bias)
    packed = pack_padded_sequence(encoder.embed(SRC), lengths(SRC), batch_first=True)
    expected, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True)  # (B, 6, 14)
    real = (SRC != PAD)[:, :6]
    assert torch.allclose(encoder(SRC)[:, :6][real], expected[real], atol=1e-6)


def score_by_hand(attend, s, h):
    """The paper's formula, for one state and one annotation."""
    match attend:
        case AdditiveAttention():
            w_a, u_a, v_a = attend.w_a.weight, attend.u_a.weight, attend.v_a.weight[0]
            return v_a @ torch.tanh(w_a @ s + u_a @ h)
        case GeneralAttention():
            return s @ attend.w_a.weight @ h
        case DotAttention():
            return s @ h


def test_scores_weights_and_context_are_the_papers(attended):
    attend, query, annotations, _ = attended
    projected = attend.project(annotations)
    scores = attend.scores(query, projected[0])
    assert scores.shape == (B, T_Q, T_K)
    for b in range(B):
        for i in range(T_Q):
            e = [score_by_hand(attend, query[b, i], h) for h in annotations[b]]
            assert torch.allclose(scores[b, i], torch.stack(e), atol=1e-6)
            a = torch.stack(e).softmax(dim=0)  # (T_k,)
            context = sum(share * h for share, h in zip(a, annotations[b], strict=True))
            assert torch.allclose(attend.weights(query, projected)[b, i], a, atol=1e-6)
            assert torch.allclose(attend(query, projected)[b, i], context, atol=1e-6)


def test_decoder_is_a_slow_loop_with_torchs_gru_cell():
    attend = AdditiveAttention(8, 6, 5)
    decoder = AttentionDecoder(12, 7, 8, attend, d_key=6)
    annotations, state = torch.randn(2, 5, 6), torch.randn(2, 8)
    mask = torch.tensor([[[True] * 5], [[True, True, False, False, False]]])
    logits, last = decoder(TGT_IN, attend.project(annotations), mask, state)

    cell = nn.GRUCell(7 + 6, 8)
    with torch.no_grad():
        cell.weight_ih.copy_(
            torch.cat([decoder.rnn.x_to_gates.weight, decoder.context_to_gates.weight], dim=1)
        )
    cell.bias_ih, cell.bias_hh = decoder.rnn.x_to_gates.bias, decoder.rnn.h_to_gates.bias
    cell.weight_hh = decoder.rnn.h_to_gates.weight
    for t in range(TGT_IN.shape[1]):
        context = attend(state[:, None], attend.project(annotations), mask)[:, 0]
        state = cell(torch.cat([decoder.embed(TGT_IN[:, t]), context], dim=-1), state)
        expected = decoder.to_logits(torch.cat([state, context], dim=-1))
        assert torch.allclose(logits[:, t], expected, atol=1e-6)
    assert torch.allclose(last, state, atol=1e-6)


# --- the contract of attention --------------------------------------------------------------------


def test_context_is_weights_times_annotations_with_every_mask(attended):
    attend, query, annotations, padding = attended
    projected = attend.project(annotations)
    square = torch.rand(B, T_Q, T_K) > 0.4
    for mask in (None, padding, square, square[0]):  # (B, 1, T_k), (B, T_q, T_k), (T_q, T_k)
        weights = attend.weights(query, projected, mask)
        assert weights.shape == (B, T_Q, T_K)
        assert torch.allclose(weights @ annotations, attend(query, projected, mask), atol=1e-6)
        if mask is not None:
            assert (weights[~mask.expand(B, T_Q, T_K)] == 0).all()
            alive = mask.expand(B, T_Q, T_K).any(dim=-1)
            assert torch.allclose(weights.sum(dim=-1), alive.float())


def test_projected_may_be_a_list(attended):
    attend, query, annotations, mask = attended
    hidden, *projected = query, *attend.project(annotations)
    context = attend(query, attend.project(annotations), mask)
    assert torch.equal(attend(hidden, projected, mask), context)


def test_scores_can_be_overridden():
    class LooksAtTheFirst(AdditiveAttention):
        def scores(self, query, key):
            scores = torch.zeros(len(query), query.shape[1], key.shape[1])  # (B, T_q, T_k)
            return scores.index_fill(2, torch.tensor([0]), 1e4)

    attend = LooksAtTheFirst(D_QUERY, D_KEY, D_A)
    annotations = torch.randn(B, T_K, D_KEY)
    context = attend(torch.randn(B, T_Q, D_QUERY), attend.project(annotations))
    assert torch.allclose(context, annotations[:, :1].expand(B, T_Q, D_KEY))


def test_a_row_of_padding_gives_zeros_and_finite_gradients(attended):
    attend, query, annotations, mask = attended
    query.requires_grad_(), annotations.requires_grad_()
    context = attend(query, attend.project(annotations), mask)
    assert (context[1] == 0).all() and (context[0] != 0).any()
    context.square().sum().backward()
    for tensor in (query, annotations, *attend.parameters()):
        assert tensor.grad is None or tensor.grad.isfinite().all()


def test_the_model_projects_once_for_each_sentence():
    class Counting(GeneralAttention):
        calls = 0

        def project(self, annotations):
            type(self).calls += 1
            return super().project(annotations)

    model = model_of(Counting(8, 8))
    model(SRC, TGT_IN)
    assert Counting.calls == 1
    greedy_decode(model, SRC, max_steps=5)
    assert Counting.calls == 2


# --- the model ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attend", [None, DotAttention(), GeneralAttention(8, 8), SelfAttention(8, 5, 8)]
)
def test_step_by_step_equals_all_at_once(attend):
    model = model_of(attend)
    logits = model(SRC, TGT_IN)
    state = model.start(SRC)
    for t in range(TGT_IN.shape[1]):
        step_logits, state = model.step(state, TGT_IN[:, t])
        assert torch.allclose(step_logits, logits[:, t], atol=1e-6)
    assert isinstance(state, tuple) and all(len(part) == len(SRC) for part in state)


def test_rows_of_the_state_can_be_reordered_and_repeated():
    model, order = model_of(), torch.tensor([1, 0, 1])
    state = tuple(part[order] for part in model.start(SRC))
    logits, _ = model.step(state, torch.full((3,), BOS))
    expected, _ = model.step(model.start(SRC[order]), torch.full((3,), BOS))
    assert torch.allclose(logits, expected, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_more_padding_changes_nothing(training):
    model = model_of().train(training)
    wider = torch.cat([SRC, torch.full((2, 3), PAD)], dim=1)
    alone = SRC[1:, :3]
    assert torch.allclose(model(SRC, TGT_IN), model(wider, TGT_IN), atol=1e-6)
    assert torch.allclose(model(SRC, TGT_IN)[1:], model(alone, TGT_IN[1:]), atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_a_later_target_word_changes_nothing_before_it(training):
    model = model_of().train(training)
    changed = TGT_IN.clone()
    changed[:, 3] = 9
    assert torch.equal(model(SRC, TGT_IN)[:, :3], model(SRC, changed)[:, :3])
    assert not torch.allclose(model(SRC, TGT_IN)[:, 3], model(SRC, changed)[:, 3])


def test_alignment_has_the_weights_behind_every_word():
    model = model_of()
    weights = alignment(model, SRC, TGT_IN)
    assert weights.shape == (2, 4, 7)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(2, 4))
    assert (weights[1, :, 3:] == 0).all()
    hidden, mask, key, annotations = model.start(SRC)
    first = model.decoder.attend.weights(hidden[:, None], (key, annotations), mask)
    assert torch.equal(weights[:, :1], first)


def test_every_parameter_gets_a_gradient():
    model = model_of()
    token_loss(model(SRC, TGT_IN), TGT_IN + 1).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.encoder.embed.weight.grad[8].abs().sum() > 0


# --- bad input ------------------------------------------------------------------------------------


def test_half_precision_runs_and_stays_half(attended):
    attend, query, annotations, mask = attended
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        attend.to(dtype)
        query, annotations = query.to(dtype), annotations.to(dtype)
        context = attend(query, attend.project(annotations), mask)
        assert context.dtype == dtype and context.isfinite().all()
    model = model_of().to(torch.float16)
    assert model(SRC, TGT_IN).dtype == torch.float16
    assert greedy_decode(model, SRC, max_steps=4).shape[0] == 2


def test_a_sentence_of_padding_only_is_finite():
    src = torch.cat([SRC[:1], torch.full((1, 7), PAD)])
    model = model_of()
    logits = model(src, TGT_IN)
    assert logits.isfinite().all()
    logits.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", ["additive", "dot", "general"])
def test_wrong_shapes_are_named(name):
    attend, d_query = kinds()[name]
    good = attend.project(torch.randn(B, T_K, D_KEY))
    for annotations in (torch.randn(T_K, D_KEY), torch.randn(B, 0, D_KEY)):
        with pytest.raises(ValueError, match="annotations must have shape"):
            attend.project(annotations)
    for shape in ((B, d_query), (B + 1, T_Q, d_query), (B, T_Q, d_query + 1), (B, 0, d_query)):
        with pytest.raises(ValueError, match=r"(query|key) must have shape"):
            attend(torch.randn(shape), good)
    with pytest.raises(TypeError, match="projected must be the pair that `project` returns"):
        attend(torch.randn(B, T_Q, d_query), torch.randn(B, T_K, D_KEY))
    if name != "dot":
        with pytest.raises(ValueError, match=rf"annotations must have .*{D_KEY}.*{D_KEY + 1}"):
            attend.project(torch.randn(B, T_K, D_KEY + 1))


def test_wrong_masks_are_named(attended):
    attend, query, annotations, mask = attended
    projected = attend.project(annotations)
    for wrong in (mask.float(), mask.long()):
        with pytest.raises(TypeError, match="mask must be boolean"):
            attend(query, projected, wrong)
    for wrong in (mask[..., :4], mask[:, 0], torch.ones(3, 1, T_K, dtype=torch.bool)):
        with pytest.raises(ValueError, match="mask must broadcast"):
            attend(query, projected, wrong)


def test_wrong_ids_and_lengths_are_named():
    model = model_of()
    with pytest.raises(ValueError, match="src must have shape"):
        model(SRC[0], TGT_IN)
    with pytest.raises(ValueError, match="src must have shape"):
        model(SRC[:, :0], TGT_IN)
    with pytest.raises(TypeError, match="src must hold word ids"):
        model(SRC.float(), TGT_IN)
    with pytest.raises(ValueError, match="src must hold ids from 0 to 9, got 10"):
        model(SRC + 1, TGT_IN)
    with pytest.raises(ValueError, match="tgt_in must have shape"):
        model(SRC, TGT_IN[:, :0])
    with pytest.raises(ValueError, match="d_hidden must be divisible by 2, got 7"):
        model_of(d_hidden=7)
    with pytest.raises(ValueError, match="lengths must have shape"):
        reverse_tokens(torch.randn(3, 4, 2), torch.tensor([4, 1]))


def test_inputs_that_share_memory_are_read_only(attended):
    attend, query, _, _ = attended
    shared = torch.randn(1, 1, D_KEY).expand(B, T_K, D_KEY)  # one row in memory, seen B·T_k times
    before = shared.clone()
    weights = attend.weights(query, attend.project(shared))
    assert torch.allclose(weights, torch.full((B, T_Q, T_K), 1 / T_K))
    assert torch.equal(shared, before)
    first, second = model_of()(SRC[:1].expand(2, 7), TGT_IN[:1].expand(2, 4))
    assert torch.allclose(first, second)
