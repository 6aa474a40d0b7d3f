"""Lesson 1's networks equal torch's, step by step and at once, and learn a small task."""

import pytest
import torch
from torch import nn

from lessons_lib.decoding import greedy_decode
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.tasks import number_words
from lessons_lib.kit.training import teacher_forcing
from lessons_lib.kit.vocabulary import BOS, EOS, PAD
from lessons_lib.rnn_bottleneck import GRU, LSTM, RNN, Decoder, Encoder, EncoderDecoder

B, T, D_IN, D_HIDDEN = 3, 11, 5, 7
CELLS = [(RNN, nn.RNN), (GRU, nn.GRU), (LSTM, nn.LSTM)]
THEIR_ORDER = ("weight_ih_l0", "bias_ih_l0", "weight_hh_l0", "bias_hh_l0")


def twins(ours_class, theirs_class):
    """Our cell and torch's with the same weights."""
    torch.manual_seed(1)
    ours, theirs = ours_class(D_IN, D_HIDDEN), theirs_class(D_IN, D_HIDDEN, batch_first=True)
    with torch.no_grad():
        for name, parameter in zip(THEIR_ORDER, ours.parameters(), strict=True):
            parameter.copy_(getattr(theirs, name))
    return ours, theirs


def flat(last):
    """The last state of any cell as one tensor."""
    parts = last if isinstance(last, tuple) else (last,)
    return torch.cat([part.reshape(B, D_HIDDEN) for part in parts], dim=1)


@pytest.mark.parametrize(("ours_class", "theirs_class"), CELLS)
@pytest.mark.parametrize("with_state", [False, True])
def test_equal_to_torch_forward_and_gradient(ours_class, theirs_class, with_state):
    ours, theirs = twins(ours_class, theirs_class)
    torch.manual_seed(2)
    n_states = 2 if ours_class is LSTM else 1
    states = [torch.randn(B, D_HIDDEN) for _ in range(n_states)]
    weight = torch.randn(B, T, D_HIDDEN) / (B * T)
    results = []
    for cell in (ours, theirs):
        torch.manual_seed(3)
        x = torch.randn(B, T, D_IN, requires_grad=True)
        start = [s.clone().requires_grad_() for s in states]
        given = start if cell is ours else [s[None] for s in start]
        given = tuple(given) if n_states == 2 else given[0]
        out, last = cell(x, given) if with_state else cell(x)
        ((out * weight).sum() + flat(last).mean()).backward()
        grads = [x.grad, *([s.grad for s in start] if with_state else [])]
        names = THEIR_ORDER if cell is theirs else [n for n, _ in ours.named_parameters()]
        parameters = dict(cell.named_parameters())
        results.append([out, flat(last), *grads, *(parameters[n].grad for n in names)])
    for a, b in zip(*results, strict=True):
        assert (a - b).abs().max() <= 1e-6


@pytest.mark.parametrize(("ours_class", "theirs_class"), CELLS)
def test_reading_in_two_parts_equals_reading_at_once(ours_class, theirs_class):
    cell, _ = twins(ours_class, theirs_class)
    x = torch.randn(B, T, D_IN)
    whole, _ = cell(x)
    first, state = cell(x[:, :4])
    second, _ = cell(x[:, 4:], state)
    assert torch.allclose(torch.cat([first, second], dim=1), whole, atol=1e-6)


@pytest.mark.parametrize(("ours_class", "_"), CELLS)
@pytest.mark.parametrize("shape", [(B, T), (B, T, D_IN + 1), (B, 0, D_IN), (0, T, D_IN)])
def test_a_wrong_shape_is_named(ours_class, _, shape):
    with pytest.raises(ValueError, match=r"x must have shape \(B, T, 5\)"):
        ours_class(D_IN, D_HIDDEN)(torch.zeros(shape))


@pytest.fixture(scope="module")
def model():
    seed_everything(0)
    return EncoderDecoder(n_src=13, n_tgt=17, d_embed=6, d_hidden=8).eval()


SRC = torch.tensor([[4, 5, 6, EOS], [7, EOS, PAD, PAD], [8, 9, EOS, PAD]])


def test_shapes(model):
    states, context = model.encoder(SRC)
    assert states.shape == (3, 4, 8) and context.shape == (3, 8)
    assert model(SRC, torch.full((3, 6), 5)).shape == (3, 6, 17)
    state = model.start(SRC)
    assert [part.shape for part in state] == [(3, 8), (3, 8)]
    logits, state = model.step(state, torch.full((3,), BOS))
    assert logits.shape == (3, 17) and [part.shape for part in state] == [(3, 8), (3, 8)]


def test_the_context_is_the_state_after_the_last_real_token(model):
    states, context = model.encoder(SRC)
    for row, last in enumerate((3, 1, 2)):
        assert torch.equal(context[row], states[row, last])


def test_padding_changes_nothing(model):
    wider = torch.cat([SRC, torch.full((3, 5), PAD)], dim=1)
    tgt_in = torch.full((3, 4), 5)
    assert torch.allclose(model(SRC, tgt_in), model(wider, tgt_in), atol=1e-6)
    alone = model(SRC[1:2, :2], tgt_in[:1])
    assert torch.allclose(model(SRC, tgt_in)[1:2], alone, atol=1e-6)


def test_step_by_step_equals_all_at_once(model):
    tgt_in = torch.tensor([[BOS, 5, 6, 7, 8], [BOS, 9, 9, 4, 5], [BOS, 11, 12, 13, 14]])
    at_once = model(SRC, tgt_in)
    state = model.start(SRC)
    for t in range(tgt_in.shape[1]):
        logits, state = model.step(state, tgt_in[:, t])
        assert torch.allclose(logits, at_once[:, t], atol=1e-6)


def test_the_decoder_sees_the_source_through_the_context_only(model):
    _, context = model.encoder(SRC)
    logits, _ = model.decoder(torch.full((3, 4), 5), context, context)
    assert torch.equal(logits, model(SRC, torch.full((3, 4), 5)))


def test_a_future_target_word_changes_nothing_before_it(model):
    tgt_in = torch.full((3, 6), 5)
    changed = tgt_in.clone()
    changed[:, 4] = 9
    before, after = model(SRC, tgt_in), model(SRC, changed)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m(SRC.float(), SRC), TypeError, "src must hold word ids"),
        (lambda m: m(SRC[0], SRC), ValueError, r"src must have shape \(B, T_src\)"),
        (lambda m: m(SRC + 9, SRC), ValueError, "src must hold ids from 0 to 12, got 18"),
        (lambda m: m(SRC, SRC + 9), ValueError, "tgt_in must hold ids from 0 to 16, got 18"),
        (lambda m: m(SRC[:, :0], SRC), ValueError, "no empty axis"),
    ],
)
def test_wrong_ids_are_named(model, call, error, message):
    with pytest.raises(error, match=message):
        call(model)


def test_gradients_reach_the_first_source_word():
    seed_everything(0)
    encoder, decoder = Encoder(9, 6, 8), Decoder(9, 6, 8)
    _, context = encoder(torch.tensor([[8, 5, 6, EOS]]))
    logits, _ = decoder(torch.tensor([[BOS, 4]]), context, context)
    logits.sum().backward()
    assert encoder.embed.weight.grad[8].abs().sum() > 0


def test_a_small_task_is_learned_to_the_word():
    """Numbers up to 99, all of them seen in training: free-running decoding gets them right."""
    from lessons_lib.kit.metrics import exact_match
    from lessons_lib.kit.training import train

    task = number_words(max_digits=2, n_train=90, n_test=10)
    seed_everything(0)
    model = EncoderDecoder(len(task.src_vocab), len(task.tgt_vocab), d_embed=32, d_hidden=48)
    train(model, task, steps=150, lr=1e-2, batch_size=30)
    src, tgt = task.train
    assert exact_match(greedy_decode(model, src), tgt).float().mean() > 0.95
    decoder_input, labels = teacher_forcing(tgt)
    assert model(src, decoder_input).shape[:2] == labels.shape


def test_twice_the_hidden_size_is_three_point_four_times_the_parameters():
    task = number_words(n_train=8, n_test=1)
    V_src, V_tgt = len(task.src_vocab), len(task.tgt_vocab)
    n_small, n_large = (
        sum(p.numel() for p in EncoderDecoder(V_src, V_tgt, d_hidden=d).parameters())
        for d in (128, 256)
    )
    assert round(n_large / n_small, 1) == 3.4
