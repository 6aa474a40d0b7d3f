"""The Transformer: equal to torch's, forward and gradient; its contract, and bad input."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib.decoding import greedy_decode
from lessons_lib.kit.metrics import exact_match
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.tasks import number_words
from lessons_lib.kit.training import train
from lessons_lib.kit.vocabulary import BOS, EOS, PAD
from lessons_lib.masking import causal_mask, padding_mask
from lessons_lib.multi_head_attention import MultiHeadAttention
from lessons_lib.positional_encoding import positional_encoding
from lessons_lib.transformer import (
    Cached,
    Decoder,
    DecoderLayer,
    Embedding,
    Encoder,
    EncoderDecoderTransformer,
    EncoderLayer,
    FeedForward,
    PostNorm,
    PreNorm,
    Transformer,
    cross_attention_maps,
    layer_norm,
)
from tests.relative import Rotary

B, T, T_SRC, D_MODEL, N_HEADS, D_FF, N_LAYERS = 3, 5, 7, 12, 4, 10, 2
N_SRC, N_TGT = 11, 9
RESIDUALS = [PreNorm, PostNorm]
REAL = padding_mask(torch.tensor([4, 7, 2]), T_SRC)  # (B, 1, T_src)
PAST = causal_mask(T)


@pytest.fixture(autouse=True)
def seed():
    seed_everything(0)


def heads():
    return MultiHeadAttention(D_MODEL, N_HEADS)


def model_of(residual=PreNorm, dropout=0.0, max_len=20):
    sizes = {"d_model": D_MODEL, "n_heads": N_HEADS, "d_ff": D_FF, "n_layers": N_LAYERS}
    extra = {"residual": residual, "dropout": dropout, "max_len": max_len}
    return Transformer(N_SRC, N_TGT, **sizes, **extra)


def sentences():
    src = torch.tensor(
        [[5, 9, 6, EOS, PAD, PAD, PAD], [4, 6, 10, 7, 9, 5, EOS], [8, EOS, *[PAD] * 5]]
    )
    tgt_in = torch.tensor([[BOS, 4, 8, 5, 7], [BOS, 6, PAD, PAD, PAD], [BOS, 5, 5, 8, PAD]])
    return src, tgt_in  # (B, T_src), (B, T)


def torch_layer(kind, residual):
    return kind(D_MODEL, N_HEADS, D_FF, 0.0, batch_first=True, norm_first=residual is PreNorm)


def names_of_torch(ours: nn.Module) -> dict[str, nn.Parameter]:
    """Our parameters under torch's names, q, k and v still apart."""
    n_norms = 3 if hasattr(ours, "cross") else 2
    parts = {
        "attend.w_o": "self_attn.out_proj",
        "cross.w_o": "multihead_attn.out_proj",
        "feed_forward.w_1": "linear1",
        "feed_forward.w_2": "linear2",
        "around_attend.norm": "norm1",
        "around_cross.norm": "norm2",
        "around_feed_forward.norm": f"norm{n_norms}",
        **{f"attend.w_{part}": f"self_attn.in_proj.{part}" for part in "qkv"},
        **{f"cross.w_{part}": f"multihead_attn.in_proj.{part}" for part in "qkv"},
    }
    named = {}
    for name, weight in ours.named_parameters():
        part, _, kind = name.rpartition(".")
        named[f"{parts[part]}.{kind}"] = weight
    return named


def stacked(ours: nn.Module, theirs: nn.Module, of):
    """`of(weight)` for each of our parameters, stacked as torch's layer keeps them.

    An attention of ours may lack the biases, which torch's begins with at 0.
    """
    named = names_of_torch(ours)
    for name, weight in theirs.named_parameters():
        parts = [name]
        if "in_proj" in name:
            attention, kind = name.split(".in_proj_")
            parts = [f"{attention}.in_proj.{part}.{kind}" for part in "qkv"]
        if all(part in named for part in parts):
            yield weight, torch.cat([of(named.pop(part)) for part in parts])
        else:
            assert name.endswith(("in_proj_bias", "out_proj.bias")) and not weight.any()
    assert not named, "a weight is left over"


@torch.no_grad()
def copy_layer(ours: nn.Module, theirs: nn.Module) -> None:
    """Draw every weight of ours, the norms' too, and give them to torch's layer."""
    for weight in ours.parameters():
        weight.normal_(std=0.3)
    for weight, value in stacked(ours, theirs, lambda weight: weight):
        weight.copy_(value)


def assert_close(ours, theirs, at_most=2e-5):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= at_most * max(1.0, theirs.abs().max().item())


def assert_same_gradients(ours, theirs, pairs):
    """Run both backwards from a sum with unequal weights; compare all gradients."""
    share = torch.linspace(-1, 2, ours.numel()).view_as(ours)
    for output in (ours, theirs):
        (output * share).sum().backward()
    for layer, torchs in pairs:
        for weight, grad in stacked(layer, torchs, lambda weight: weight.grad):
            assert_close(grad, weight.grad)


@pytest.mark.parametrize("shape", [(D_MODEL,), (B, D_MODEL), (B, T, D_MODEL)])
def test_layer_norm_equals_torchs_forward_and_gradient(shape):
    results = []
    for norm in (layer_norm, lambda x, g, b: F.layer_norm(x, (D_MODEL,), g, b)):
        torch.manual_seed(1)
        x, gamma, beta = (torch.randn(s) for s in (shape, (D_MODEL,), (D_MODEL,)))
        inputs = [tensor.requires_grad_() for tensor in (x * 3 + 2, gamma, beta)]
        out = norm(*(tensor.detach().requires_grad_() for tensor in inputs))
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        (norm(*leaves) * torch.linspace(1, 2, out.numel()).view_as(out)).sum().backward()
        results.append([out, *(leaf.grad for leaf in leaves)])
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours, theirs)


def test_layer_norm_of_equal_numbers_is_the_shift():
    beta = torch.randn(D_MODEL)
    assert torch.equal(
        layer_norm(torch.full((2, D_MODEL), 7.0), torch.ones(D_MODEL), beta)[1], beta
    )


def test_feed_forward_treats_every_position_alike():
    feed_forward, x = FeedForward(D_MODEL, D_FF), torch.randn(B, T, D_MODEL)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert_close(feed_forward(x[:, order]), feed_forward(x)[:, order])
    assert_close(feed_forward(x[:, 2:3]), feed_forward(x)[:, 2:3])


@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("mask", ["none", "padding", "causal"])
def test_encoder_layer_equals_torchs_forward_and_gradient(residual, mask):
    ours = EncoderLayer(heads(), D_MODEL, D_FF, residual)
    theirs = torch_layer(nn.TransformerEncoderLayer, residual)
    copy_layer(ours, theirs)
    x = torch.randn(B, T_SRC, D_MODEL)
    own, given = {
        "none": (None, {}),
        "padding": (REAL, {"src_key_padding_mask": ~REAL[:, 0]}),
        "causal": (causal_mask(T_SRC), {"src_mask": ~causal_mask(T_SRC)}),
    }[mask]
    a, b = ours(x, own), theirs(x, **given)
    assert_close(a, b)
    assert_same_gradients(a, b, [(ours, theirs)])


@pytest.mark.parametrize("residual", RESIDUALS)
def test_decoder_layer_equals_torchs_forward_and_gradient(residual):
    ours = DecoderLayer(heads(), heads(), D_MODEL, D_FF, residual)
    theirs = torch_layer(nn.TransformerDecoderLayer, residual)
    copy_layer(ours, theirs)
    inputs = torch.randn(B, T, D_MODEL), torch.randn(B, T_SRC, D_MODEL)
    mine, other = ([x.clone().requires_grad_() for x in inputs] for _ in range(2))
    a = ours(*mine, PAST, REAL)
    b = theirs(*other, tgt_mask=~PAST, memory_key_padding_mask=~REAL[:, 0])
    assert_close(a, b)
    assert_same_gradients(a, b, [(ours, theirs)])
    for x, y in zip(mine, other, strict=True):
        assert_close(x.grad, y.grad)


@pytest.mark.parametrize("residual", RESIDUALS)
def test_transformer_equals_torchs_forward_and_gradient(residual):
    ours = model_of(residual)
    encoder = nn.TransformerEncoder(
        torch_layer(nn.TransformerEncoderLayer, residual),
        N_LAYERS,
        nn.LayerNorm(D_MODEL),
        enable_nested_tensor=False,  # which pre-norm cannot use, and says so in a warning
    )
    theirs = nn.Transformer(
        *(D_MODEL, N_HEADS, N_LAYERS, N_LAYERS, D_FF, 0.0),
        custom_encoder=encoder,
        batch_first=True,
        norm_first=residual is PreNorm,
    )
    if residual is PostNorm:  # the paper's stacks end without a norm of their own
        theirs.encoder.norm = theirs.decoder.norm = None
    layers = [
        *zip(ours.encoder.layers, theirs.encoder.layers, strict=True),
        *zip(ours.decoder.layers, theirs.decoder.layers, strict=True),
    ]
    for pair in layers:
        copy_layer(*pair)
    if residual is PreNorm:
        for side in ("encoder", "decoder"):
            norm = getattr(ours, side).norm
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
            getattr(theirs, side).norm.load_state_dict(norm.state_dict())
    src, tgt_in = sentences()
    masks = {"src_key_padding_mask": src == PAD, "memory_key_padding_mask": src == PAD}
    embedded = ours.encoder.embed(src).detach(), ours.decoder.embed(tgt_in).detach()
    a = ours(src, tgt_in)
    b = ours.decoder.to_logits(theirs(*embedded, tgt_mask=~PAST, **masks))
    assert a.shape == (B, T, N_TGT)
    assert_close(a, b)
    assert_same_gradients(a, b, layers)


class Nothing(nn.Module):
    """An attention that adds nothing: the seam for a decoder without a source."""

    def project(self, key_value):
        return key_value

    def forward(self, query, projected, mask=None):
        return torch.zeros_like(query)


def test_a_causal_encoder_layer_is_a_decoder_layer_without_cross_attention():
    encoder_layer = EncoderLayer(heads(), D_MODEL, D_FF)
    decoder_layer = DecoderLayer(encoder_layer.attend, Nothing(), D_MODEL, D_FF)
    missing = decoder_layer.load_state_dict(encoder_layer.state_dict(), strict=False)
    assert missing.missing_keys == ["around_cross.norm.weight", "around_cross.norm.bias"]
    x, memory = torch.randn(B, T, D_MODEL), torch.randn(B, T_SRC, D_MODEL)
    assert torch.equal(decoder_layer(x, memory, PAST), encoder_layer(x, PAST))
    assert not torch.allclose(encoder_layer(x), encoder_layer(x, PAST))


def test_embedding_is_words_times_the_root_plus_positions():
    embed, ids = Embedding(N_SRC, D_MODEL, max_len=9), torch.tensor([[4, 7, 4], [5, 5, 8]])
    expected = embed.words.weight[ids] * D_MODEL**0.5 + positional_encoding(3, D_MODEL)
    assert_close(embed(ids), expected)
    later = embed.words.weight[ids] * D_MODEL**0.5 + positional_encoding(9, D_MODEL)[6:]
    assert_close(embed(ids, first=6), later)
    assert "positions" not in embed.state_dict()


def test_memory_and_logits_ignore_padding():
    model = model_of().eval()
    src, tgt_in = sentences()
    for row, n in enumerate((4, 7, 2)):
        alone = model(src[row : row + 1, :n], tgt_in[row : row + 1])
        assert_close(model(src, tgt_in)[row : row + 1], alone)


@pytest.mark.parametrize("training", [False, True])
def test_no_later_word_moves_an_earlier_logit(training):
    model = model_of().train(training)
    src, tgt_in = sentences()
    before = model(src, tgt_in)
    for t in range(1, T):
        changed = tgt_in.clone()
        changed[:, t] = torch.where(changed[:, t] == 4, 5, 4)
        after = model(src, changed)
        assert torch.allclose(before[:, :t], after[:, :t], atol=1e-6)
        assert not torch.allclose(before[:, t], after[:, t], atol=1e-3)


@pytest.mark.parametrize("residual", RESIDUALS)
def test_step_by_step_equals_all_at_once(residual):
    model = model_of(residual).eval()
    src, tgt_in = sentences()
    state, rows = model.start(src), []
    for token in tgt_in.unbind(dim=1):
        logits, state = model.step(state, token)
        rows.append(logits)
    assert_close(torch.stack(rows, dim=1), model(src, tgt_in))
    assert all(len(tensor) == B for tensor in state)


@pytest.mark.parametrize("residual", RESIDUALS)
def test_an_all_padding_row_is_finite_with_finite_gradients(residual):
    model = model_of(residual)
    src, tgt_in = sentences()
    src[1] = PAD
    logits = model(src, tgt_in)
    logits.square().sum().backward()
    assert logits.isfinite().all()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())


@pytest.mark.parametrize("residual", RESIDUALS)
def test_dropout_acts_in_training_mode_only(residual):
    src, tgt_in = sentences()
    model = model_of(residual, dropout=0.4)
    plain = model_of(residual)
    plain.load_state_dict(model.state_dict())
    assert not torch.equal(model(src, tgt_in), model(src, tgt_in))
    model.eval()
    assert torch.equal(model(src, tgt_in), plain(src, tgt_in))


def test_maps_are_weights_of_every_layer_and_head_and_leave_no_hook():
    model = model_of().eval()
    src, tgt_in = sentences()
    maps = cross_attention_maps(model, src, tgt_in)
    assert maps.shape == (N_LAYERS, B, N_HEADS, T, T_SRC)
    assert torch.allclose(maps.sum(dim=-1), torch.ones(N_LAYERS, B, N_HEADS, T), atol=1e-6)
    padding = (src == PAD)[:, None, None].expand(-1, N_HEADS, T, -1)  # (B, H, T, T_src)
    assert (maps[:, padding] == 0).all()
    assert not any(layer.cross._forward_hooks for layer in model.decoder.layers)

    # The first layer's map, from the parts.
    memory, mask = model.encode(src)
    layer, x = model.decoder.layers[0], model.decoder.embed(tgt_in)
    x = layer.around_attend(x, lambda x: layer.attend(x, layer.attend.project(x), PAST))
    projected = layer.cross.project(memory)
    expected = layer.cross.weights(layer.around_cross.norm(x), projected, mask)
    assert_close(maps[0], expected)


def test_maps_leave_no_hook_when_the_model_raises():
    model = model_of()
    with pytest.raises(ValueError, match="ids must hold ids from 0 to"):
        cross_attention_maps(model, *[torch.full((1, 2), 99)] * 2)
    assert not any(layer.cross._forward_hooks for layer in model.decoder.layers)


@pytest.mark.parametrize("residual", RESIDUALS)
def test_it_learns_a_small_task_and_decodes_it(residual):
    task = number_words(max_digits=2, n_train=60, n_test=10)
    sizes = {"d_model": 32, "n_heads": 2, "d_ff": 64, "n_layers": 1}
    model = Transformer(len(task.src_vocab), len(task.tgt_vocab), **sizes, residual=residual)
    losses = train(model, task, steps=100, lr=1e-2)
    assert sum(losses[-10:]) / 10 < 0.1 < 1.0 < losses[0]
    src, tgt = task.train
    right = exact_match(greedy_decode(model, src), tgt)  # (N,)
    assert right.float().mean() > 0.9


@pytest.mark.parametrize("warmup", [0.1, 0.0])
@pytest.mark.parametrize("residual", RESIDUALS)
def test_at_the_lessons_rate_it_learns_without_warm_up_too(residual, warmup):
    """Lesson 7 says so, below its experiment at a high rate."""
    task = number_words(max_digits=6, n_train=4000, n_test=500)
    model = Transformer(len(task.src_vocab), len(task.tgt_vocab), residual=residual)
    losses = train(model, task, steps=200, lr=4e-3, warmup=warmup)
    assert sum(losses[-20:]) / 20 < 0.3


def test_half_precision_keeps_its_type():
    model = model_of().to(torch.bfloat16)
    logits = model(*sentences())
    assert logits.dtype == torch.bfloat16 and logits.isfinite().all()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"d_model": 10, "n_heads": 4}, "d_model must be divisible by 4, got 10"),
        ({"d_model": 9, "n_heads": 3}, "d_model must be divisible by 2, got 9"),
        ({"d_model": 8, "n_heads": 0}, "must be a whole number of at least 1, got 0"),
        ({"d_ff": 0}, "d_ff must be a whole number of at least 1, got 0"),
        ({"n_layers": 0}, "n_layers must be a whole number of at least 1, got 0"),
        ({"max_len": 0}, "must be a whole number of at least 1, got 0"),
    ],
)
def test_sizes_that_cannot_be(sizes, message):
    with pytest.raises(ValueError, match=message):
        Transformer(N_SRC, N_TGT, **sizes)


@pytest.mark.parametrize(
    ("src", "tgt_in", "error", "message"),
    [
        ([[4, N_SRC, EOS]], [[BOS, 4]], ValueError, "must hold ids from 0 to 10, got 11"),
        ([[4, EOS]], [[BOS, -1]], ValueError, "must hold ids from 0 to 8, got -1"),
        ([[]], [[BOS]], ValueError, r"must have shape \(B, T\) with no empty axis, got \(1, 0\)"),
        ([[4, EOS]], [[]], ValueError, r"must have shape \(B, T\) with no empty axis"),
        ([[4.0, 2.0]], [[BOS]], TypeError, "must hold word ids"),
        ([[4] * 21], [[BOS]], ValueError, "must be at most 20, got 21"),
        ([[4, EOS]], [[4] * 21], ValueError, "must be at most 20, got 21"),
        ([[4, EOS]] * 2, [[BOS]] * 3, ValueError, r"key must have shape \(3, 4, T_k, d_k\)"),
    ],
)  # fmt: skip
def test_sentences_that_cannot_be(src, tgt_in, error, message):
    src = torch.tensor(src, dtype=None if src != [[]] else torch.long)
    tgt_in = torch.tensor(tgt_in, dtype=torch.long)
    with pytest.raises(error, match=message):
        model_of()(src, tgt_in)


def test_an_empty_sentence_and_an_unknown_word_are_refused_before_the_model():
    task = number_words(max_digits=2, n_train=20, n_test=2)
    with pytest.raises(ValueError, match="sentence must have at least one word"):
        task.encode("  ")
    with pytest.raises(ValueError, match="zebra"):
        task.encode("forty zebra")


def test_a_layer_takes_any_attention_under_the_contract():
    class Mean(nn.Module):
        def project(self, key_value):
            return key_value.mean(dim=1, keepdim=True)  # (B, 1, d_model)

        def forward(self, query, projected, mask=None):
            return projected.expand_as(query)  # (B, T, d_model)

    x, memory = torch.randn(B, T, D_MODEL), torch.randn(B, T_SRC, D_MODEL)
    layer = DecoderLayer(Mean(), Mean(), D_MODEL, D_FF)
    around = layer.around_attend, layer.around_cross, layer.around_feed_forward
    y = x + around[0].norm(x).mean(dim=1, keepdim=True)
    y = y + memory.mean(dim=1, keepdim=True)
    assert_close(layer(x, memory), y + layer.feed_forward(around[2].norm(y)))
    encoder = Encoder(nn.Identity(), [EncoderLayer(Mean(), D_MODEL, D_FF)], nn.Identity())
    decoder = Decoder(nn.Identity(), [layer], nn.Identity(), nn.Linear(D_MODEL, N_TGT))
    assert decoder(x, encoder(memory)).shape == (B, T, N_TGT)


class Doubled(nn.Module):
    """A feed-forward of another kind."""

    def __init__(self, d_model, d_ff):
        super().__init__()
        self.sizes = d_model, d_ff

    def forward(self, x):
        return 2 * x


class WithoutNorm(PreNorm):
    new_norm = last = nn.Identity


def test_layers_take_another_feed_forward_and_another_norm():
    torch.manual_seed(0)
    attend, cross = (MultiHeadAttention(12, 3) for _ in range(2))
    x, memory = torch.randn(2, 5, 12), torch.randn(2, 4, 12)
    encoder = EncoderLayer(attend, 12, 7, WithoutNorm, feed_forward=Doubled)
    assert encoder.feed_forward.sizes == (12, 7)
    h = x + attend(x, attend.project(x))
    assert torch.allclose(encoder(x), 3 * h, atol=1e-5)
    decoder = DecoderLayer(attend, cross, 12, 7, WithoutNorm, feed_forward=Doubled)
    wanted = 3 * (h + cross(h, cross.project(memory)))
    assert torch.allclose(decoder(x, memory), wanted, atol=1e-5)


def test_any_encoder_and_decoder_make_a_model_and_its_steps_may_be_cached():
    """Another attention, other feed-forwards: the steps with a cache equal all at once."""
    torch.manual_seed(0)
    sizes = 12, 7, PreNorm, 0.0, Doubled

    def parts():
        encoder = Encoder(
            Embedding(9, 12, 20), [EncoderLayer(Rotary(12, 2), *sizes)], nn.Identity()
        )
        layer = DecoderLayer(Rotary(12, 2), MultiHeadAttention(12, 2), *sizes)
        return encoder, Decoder(Embedding(8, 12, 20), [layer], nn.Identity(), nn.Linear(12, 8))

    model, cached = EncoderDecoderTransformer(*parts()).eval(), Cached(*parts()).eval()
    cached.load_state_dict(model.state_dict())
    src, words = torch.tensor([[5, 6, 7, 2], [4, 2, 0, 0]]), torch.randint(1, 8, (2, 6))
    with torch.no_grad():
        whole, state = model(src, words), cached.start(src)  # (B, T, V)
        for t, token in enumerate(words.unbind(dim=1)):
            logits, state = cached.step(state, token)
            assert torch.allclose(logits, whole[:, t], atol=1e-5)
