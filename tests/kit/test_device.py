"""A GPU, where there is one: pretended by torch's meta device, and a real one where a test has it.

The meta device knows shapes and no numbers. So every tensor that is made on the CPU by mistake, and
every question that a GPU would have to be waited for, can be seen and counted without a GPU.
"""

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lessons_lib.bahdanau_attention import (
    AttentionEncoderDecoder,
    DotAttention,
    GeneralAttention,
    alignment,
)
from lessons_lib.decoding import beam_decode, greedy_decode, translate
from lessons_lib.kit.checkpoints import load_checkpoint, save_checkpoint
from lessons_lib.kit.device import best_device, check_device, on_device_of
from lessons_lib.kit.metrics import exact_match, influence
from lessons_lib.kit.recall import learn, recall
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.tasks import number_words
from lessons_lib.kit.training import train
from lessons_lib.masking import causal_mask, padding_mask
from lessons_lib.multi_head_attention import MultiHeadAttention
from lessons_lib.positional_encoding import angles, rotate
from lessons_lib.rnn_bottleneck import LSTM, RNN, EncoderDecoder
from lessons_lib.self_attention import SelfAttention
from lessons_lib.transformer import (
    CachedTransformer,
    PostNorm,
    Transformer,
    cross_attention_maps,
)

aten = torch.ops.aten


class PretendedGPU(TorchDispatchMode):
    """Let the meta device stand for a GPU: numbers that are asked for are 0, and it is counted.

    `waits` counts the questions, `sent` the tensors brought over from the CPU; `mixed` lists the
    operations on tensors of both, which a GPU refuses, or copies and waits.
    """

    def __init__(self):
        super().__init__()
        self.waits, self.sent, self.mixed = 0, 0, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        here = [x for x in given if not x.is_meta]
        there = [x for x in given if x.is_meta]
        if there and function in (aten._local_scalar_dense.default, aten.is_nonzero.default):
            self.waits += 1
            return 0
        if there and function is aten.index.Tensor and args[1][0].dtype == torch.bool:
            self.waits += 1  # how many are chosen? All of them, say
            return args[0].flatten(0, args[1][0].dim() - 1)
        if function is aten._to_copy.default and "device" in kwargs:
            target = torch.device(kwargs["device"]).type
            if there and target == "cpu":
                self.waits += 1
                return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
            self.sent += bool(here) and target == "meta"
        elif there and any(x.dim() for x in here):
            self.mixed.append(str(function))
        return function(*args, **kwargs)


@pytest.fixture(autouse=True)
def another_optimizer_on_meta(monkeypatch):
    """torch's fused AdamW waits for no GPU, but it does not know the meta device."""
    adam = torch.optim.AdamW

    def optimizer(groups, lr, **others):
        groups = list(groups)
        first = groups[0]["params"][0] if isinstance(groups[0], dict) else groups[0]
        on_meta = first.is_meta
        return torch.optim.SGD(groups, lr) if on_meta else adam(groups, lr, **others)

    monkeypatch.setattr(torch.optim, "AdamW", optimizer)


@pytest.fixture(scope="module")
def task():
    return number_words(max_digits=2, n_train=70, n_test=20)


def attending(kind):
    return lambda *words: AttentionEncoderDecoder(*words, 8, 12, attend=kind)


MODELS = {
    "Transformer": lambda *words: Transformer(*words, 12, n_heads=3, d_ff=8, dropout=0.1),
    "PostNorm": lambda *words: Transformer(*words, 12, 2, 8, n_layers=1, residual=PostNorm),
    "CachedTransformer": lambda *words: CachedTransformer(*words, 12, 2, 8),
    "EncoderDecoder": lambda *words: EncoderDecoder(*words, 8, 12),
    "additive": attending(None),
    "dot": attending(DotAttention()),
    "general": attending(GeneralAttention(12, 12)),
    "heads": attending(MultiHeadAttention(12, 3)),
}


def model_for(task, name):
    """A fresh model of that name, on the CPU."""
    seed_everything(0)
    return copy.deepcopy(MODELS[name](len(task.src_vocab), len(task.tgt_vocab)))


@pytest.fixture(params=MODELS)
def far_model(request, task):
    return model_for(task, request.param).to("meta")


# --- how often a GPU is waited for --------------------------------------------------------------


def test_a_training_step_sends_its_batch_and_waits_for_nothing_but_the_loss(far_model, task):
    with PretendedGPU() as gpu:
        train(far_model, task, steps=1, batch_size=8)
    assert (gpu.waits, gpu.sent, gpu.mixed) == (1, 2, [])


def test_the_loss_is_waited_for_every_ten_steps(task):
    model = model_for(task, "EncoderDecoder").to("meta")
    with PretendedGPU() as gpu:
        losses = train(model, task, steps=21, batch_size=8)
    assert len(losses) == 21 and gpu.sent == 2 * 21
    assert gpu.waits == 3, "at steps 10, 20 and 21, to print it"


def test_decoding_waits_once_a_word(far_model, task):
    src = task.test[0]
    with PretendedGPU() as gpu:
        words = greedy_decode(far_model.eval(), src, max_steps=4)
    assert words.is_meta and words.shape == (20, 4)
    assert (gpu.waits, gpu.sent, gpu.mixed) == (4, 1, []), "have all sentences ended?"
    with PretendedGPU() as gpu:
        beam_decode(far_model, src, width=3, max_steps=4)
    assert (gpu.waits, gpu.sent, gpu.mixed) == (5, 1, []), "and at the end: how long is the best?"


def test_a_translation_is_read_once(far_model, task):
    with PretendedGPU() as gpu:
        assert translate(far_model.eval(), task, "42", max_steps=5) == ""  # its ids are all PAD
    assert (gpu.waits, gpu.sent, gpu.mixed) == (5 + 1, 1, [])


def test_maps_are_not_waited_for(task):
    src, tgt = (ids.to("meta") for ids in task.test)
    transformer, gru = (model_for(task, name).to("meta") for name in ("Transformer", "additive"))
    with PretendedGPU() as gpu:
        maps = cross_attention_maps(transformer, src, tgt)
        weights = alignment(gru, src, tgt)
    assert maps.is_meta and weights.is_meta
    assert (gpu.waits, gpu.sent, gpu.mixed) == (0, 0, [])


@pytest.mark.parametrize("shape", [(5, 5), (2, 1, 5), (2, 5, 5)])
@pytest.mark.parametrize("attend", [SelfAttention(6, 4, 3), MultiHeadAttention(6, 2)])
def test_attention_does_not_ask_what_a_mask_holds(attend, shape):
    attend, x = copy.deepcopy(attend).to("meta"), torch.ones(2, 5, 6, device="meta")
    mask = torch.ones(shape, dtype=torch.bool, device="meta")
    with PretendedGPU() as gpu:
        attend(x, attend.project(x), mask).sum().backward()
        attend.weights(x, attend.project(x), mask)
    assert (gpu.waits, gpu.sent, gpu.mixed) == (0, 0, [])


def test_what_the_library_makes_is_made_beside_its_inputs():
    x = torch.ones(2, 5, 6, device="meta")
    with PretendedGPU() as gpu:
        assert rotate(x).is_meta and angles(5, 6, x.device).is_meta
        assert causal_mask(5, x.device).is_meta
        assert padding_mask(torch.ones(2, dtype=torch.long, device="meta"), 5).is_meta
        for reader in (RNN(6, 4), LSTM(6, 4)):
            assert reader.to("meta")(x)[0].is_meta
    assert (gpu.waits, gpu.mixed) == (0, [])


def test_a_side_task_is_learned_where_the_model_is():
    model = nn.Sequential(nn.Flatten(2), nn.Embedding(17, 6), nn.Flatten(2), nn.Linear(12, 8))
    model = model.to("meta")
    with PretendedGPU() as gpu:
        share = learn(model, lambda n, draw: recall(n, draw, 3, 8, True), steps=5)
    assert share == 0.0 and gpu.mixed == []
    assert gpu.sent == 2 * 6, "tokens and labels of five batches, and of the rows of the test"
    assert gpu.waits == 2, "which answers are wanted, and the share of right ones"


def test_measuring_brings_the_answer_back(task):
    src, tgt = task.test
    with PretendedGPU() as gpu:
        right = exact_match(tgt[:, 1:].to("meta"), tgt)
        assert right.device.type == "cpu"
        moved = influence(lambda ids: ids[:, :2].float(), src[:, :4].to("meta"), 1, 30)
    assert moved == [0.0] and gpu.mixed == []


# --- where a model is ----------------------------------------------------------------------------


def test_without_a_device_a_model_stays_where_it_is(task):
    model = model_for(task, "Transformer")
    train(model, task, steps=2)
    assert {weight.device.type for weight in model.parameters()} == {"cpu"}


def test_asking_for_the_cpu_changes_no_bit(task):
    runs = [train(model_for(task, "Transformer"), task, steps=12, device=d) for d in (None, "cpu")]
    assert runs[0] == runs[1]


def test_training_moves_a_model_to_the_device_before_the_first_step(task, monkeypatch):
    monkeypatch.setattr("lessons_lib.kit.training.check_device", lambda name, device: None)
    model = model_for(task, "Transformer")
    with PretendedGPU() as gpu:
        train(model, task, steps=1, device="meta")
    assert all(weight.is_meta for weight in model.parameters()) and gpu.mixed == []


def test_ids_go_to_the_weights_and_stay_where_there_are_none():
    ids = torch.tensor([[4, 5]])
    assert on_device_of(nn.Linear(2, 3), ids) is ids
    assert on_device_of(nn.Linear(2, 3, device="meta"), ids).is_meta
    assert on_device_of(nn.ReLU(), ids) is ids and on_device_of(object(), ids) is ids


@pytest.mark.parametrize(
    ("cuda", "mps", "best"),
    [(True, False, "cuda"), (True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_best_device(monkeypatch, cuda, mps, best):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2 * cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert best_device() == best
    check_device("device", best)
    check_device("device", torch.device(best))


def test_a_device_that_is_not_here_is_named(task, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for wrong in ("cuda", "gpu", "cuda:1", "meta", ""):
        with pytest.raises(ValueError, match=f'must be "cpu" on this computer, got "{wrong}"'):
            train(model_for(task, "Transformer"), task, steps=1, device=wrong)
    with pytest.raises(TypeError, match=r"device must be the name of a device, .*, got int"):
        train(model_for(task, "Transformer"), task, steps=1, device=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=r'"cpu" or "cuda" or "cuda:0" on this .*, got "cuda:1"'):
        check_device("device", "cuda:1")


# --- a real one ----------------------------------------------------------------------------------

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU that torch can compute on"
)


@needs_gpu
@pytest.mark.parametrize("name", MODELS)
def test_a_gpu_computes_what_the_cpu_computes(task, name):
    near = model_for(task, name).eval()
    far = copy.deepcopy(near).to("cuda")
    src, tgt = task.test
    expected = near(src, tgt)  # (N, T, V)
    assert torch.allclose(far(src.cuda(), tgt.cuda()).cpu(), expected, atol=1e-3)


@needs_gpu
def test_a_model_is_trained_on_a_gpu_and_kept_for_the_cpu(task, tmp_path):
    model = model_for(task, "CachedTransformer")
    losses = train(model, task, steps=60, lr=3e-3, device=best_device())
    assert next(model.parameters()).is_cuda and sum(losses[-5:]) < sum(losses[:5])
    assert exact_match(greedy_decode(model, task.test[0]), task.test[1]).device.type == "cpu"
    assert beam_decode(model, task.test[0]).is_cuda
    save_checkpoint(tmp_path / "model.pt", model, task)
    again = model_for(task, "CachedTransformer").eval()
    load_checkpoint(tmp_path / "model.pt", again, task)
    src, tgt = task.test
    with torch.no_grad():
        assert torch.allclose(model(src.cuda(), tgt.cuda()).cpu(), again(src, tgt), atol=1e-3)
    load_checkpoint(tmp_path / "model.pt", model, task)
    assert next(model.parameters()).is_cuda and isinstance(translate(model, task, "42"), str)


@needs_gpu
@pytest.mark.parametrize("name", MODELS)
def test_a_gpu_is_not_waited_for_within_a_training_step(task, name):
    model = model_for(task, name).to("cuda")
    src, tgt = (ids.cuda() for ids in task.test)
    model(src, tgt).sum().backward()  # the first call sets torch's own libraries up
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        model(src, tgt).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
