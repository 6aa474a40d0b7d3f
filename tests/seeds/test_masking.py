"""What lesson 4 claims, for three seeds."""

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib.bahdanau_attention import AdditiveAttention, AttentionEncoderDecoder, alignment
from lessons_lib.decoding import greedy_decode
from lessons_lib.kit.batches import bucketed_batches
from lessons_lib.kit.metrics import exact_match
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.sequences import reverse_letters
from lessons_lib.kit.tasks import number_words
from lessons_lib.kit.training import teacher_forcing, token_loss, train
from lessons_lib.kit.vocabulary import PAD
from lessons_lib.masking import causal_mask
from lessons_lib.self_attention import SelfAttention

pytestmark = pytest.mark.seeds
each_seed = pytest.mark.parametrize("seed", range(3))


class Reverser(nn.Module):
    """The lesson's model: one layer that predicts the next token, with or without a mask."""

    def __init__(self, n_words, n_positions, causal, d_model=64):
        super().__init__()
        self.embed = nn.Embedding(n_words, d_model)
        self.position = nn.Embedding(n_positions, d_model)
        self.attend = SelfAttention(d_model, d_model, d_model)
        self.to_logits = nn.Linear(d_model, n_words)
        self.causal = causal

    def embedded(self, ids, first=0):
        positions = torch.arange(first, first + ids.shape[1], device=ids.device)  # (T,)
        return self.embed(ids) + self.position(positions)  # (B, T, d_model)

    def mask(self, T):
        return causal_mask(T) if self.causal else None

    def predict(self, ids):
        x = self.embedded(ids)  # (B, T, d_model)
        context = self.attend(x, self.attend.project(x), self.mask(ids.shape[1]))
        return self.to_logits(x + context)  # (B, T, V)

    def forward(self, src, tgt_in):
        return self.predict(torch.cat([src, tgt_in], dim=1))[:, src.shape[1] :]  # (B, T, V)

    def start(self, src):
        return (src,)

    def step(self, state, token):
        ids = torch.cat([state[0], token[:, None]], dim=1)  # (B, T)
        return self.predict(ids)[:, -1], (ids,)  # (B, V)


class Stutterer(Reverser):
    """The third patient: every new token is embedded as if it were the first."""

    def start(self, src):
        return (self.embedded(src),)

    def first(self, x):
        return 0

    def step(self, state, token):
        new = self.embedded(token[:, None], self.first(state[0]))  # (B, 1, d_model)
        x = torch.cat([state[0], new], dim=1)  # (B, T, d_model)
        context = self.attend(new, self.attend.project(x))  # (B, 1, d_model)
        return self.to_logits(new + context)[:, 0], (x,)  # (B, V)


class Cured(Stutterer):
    """The same, with its positions counted on."""

    def first(self, x):
        return x.shape[1]


class OnlyInTraining(Reverser):
    """The third author's model: causal in training, without a mask in evaluation."""

    def mask(self, T):
        return causal_mask(T) if self.training else None


class TwoLayers(OnlyInTraining):
    """The same, with self-attention twice."""

    def __init__(self, n_words, n_positions, causal, d_model=64):
        super().__init__(n_words, n_positions, causal, d_model)
        self.second = SelfAttention(d_model, d_model, d_model)

    def predict(self, ids):
        x = self.embedded(ids)  # (B, T, d_model)
        for attend in (self.attend, self.second):
            x = x + attend(x, attend.project(x), self.mask(ids.shape[1]))
        return self.to_logits(x)  # (B, T, V)


class Unmasked(AdditiveAttention):
    """Lesson 2's attention, without the mask that it is given."""

    def weights(self, query, projected, mask=None):
        return super().weights(query, projected, mask=None)


@functools.cache
def reversers(seed):
    """The task; the model with the mask and the one without it, both trained."""
    task, models = reverse_letters(length=8, seed=seed), []
    for causal in (True, False):
        seed_everything(seed)
        model = Reverser(len(task.src_vocab), 18, causal)
        train(model, task, steps=200, lr=1e-2)
        models.append(model.eval())
    return task, *models


@functools.cache
def translators(seed):
    """The task; the translator with the mask and the one without it, each with its last loss."""
    numbers, found = number_words(max_digits=4, n_train=4000, n_test=500, seed=seed), []
    for kind in (AdditiveAttention, Unmasked):
        seed_everything(seed)
        attend = kind(64, 64, 21)
        sizes = len(numbers.src_vocab), len(numbers.tgt_vocab), 48, 64
        model = AttentionEncoderDecoder(*sizes, attend=attend)
        losses = train(model, numbers, steps=150, lr=1e-2)
        found.append((model.eval(), sum(losses[-20:]) / 20))
    return numbers, *found


def share_right(model, src, tgt):
    """Exact match of what the model writes by itself, with room for one more word than needed."""
    written = greedy_decode(model, src, max_steps=tgt.shape[1] + 4)
    return exact_match(written, tgt).float().mean().item()


def padded(src, columns):
    """The same sentences with more columns of padding: (B, T + columns)."""
    return F.pad(src, (0, columns), value=PAD)


@each_seed
def test_loss_hides_the_leak(seed):
    task, honest, cheat = reversers(seed)
    src, tgt = task.test
    tgt_in, labels = teacher_forcing(tgt)
    with torch.no_grad():
        assert max(token_loss(model(src, tgt_in), labels) for model in (honest, cheat)) < 0.005
    assert share_right(honest, src, tgt) > 0.99
    assert share_right(cheat, src, tgt) < 0.1


@each_seed
def test_answer_or_mirror(seed):
    """With the mask every letter attends to its mirror; without it some attend to the answer."""
    task, honest, cheat = reversers(seed)
    src, tgt = task.test
    ids = torch.cat([src, tgt[:, :-1]], dim=1)  # (500, 18)
    row, found = torch.arange(8), []
    for model in (honest, cheat):
        with torch.no_grad():
            x = model.embedded(ids)  # (500, 18, d_model)
            weights = model.attend.weights(x, model.attend.project(x), model.mask(18))[:, 9:17]
        found.append((weights[:, row, row + 10], weights[:, row, 7 - row]))  # (500, 8) each
    (_, honest_mirror), (answer, mirror) = found
    assert (honest_mirror > 0.5).float().mean() > 0.99
    assert ((answer > 0.5) | (mirror > 0.5)).float().mean() > 0.9
    assert 1 <= (answer > 0.5).float().sum(dim=1).mean() <= 7.5


@each_seed
def test_third_author(seed):
    """Without its mask one layer writes the same; two layers write worse, at a higher loss."""
    task = reverse_letters(length=8, seed=seed)
    src, tgt = task.test
    tgt_in, labels = teacher_forcing(tgt)
    for kind in (OnlyInTraining, TwoLayers):
        seed_everything(seed)
        model = kind(len(task.src_vocab), 18, causal=True)
        train(model, task, steps=200, lr=1e-2)
        losses, written = [], []
        for training in (True, False):
            model.train(training)
            with torch.no_grad():
                losses.append(token_loss(model(src, tgt_in), labels))
            written.append(greedy_decode(model, src, max_steps=9))
        with_mask, without = (exact_match(each, tgt).float().mean() for each in written)
        assert with_mask > 0.98
        if kind is OnlyInTraining:
            assert torch.equal(*written)
        else:
            assert without < with_mask - 0.01
            assert losses[1] > 10 * losses[0]


@each_seed
def test_it_stutters(seed):
    task, honest, _ = reversers(seed)
    src, tgt = task.test
    for kind, low, high in ((Stutterer, 0.0, 0.02), (Cured, 0.99, 1.0)):
        model = kind(len(task.src_vocab), 18, causal=True)
        model.load_state_dict(honest.state_dict())
        written = greedy_decode(model.eval(), src, max_steps=9)
        assert low <= exact_match(written, tgt).float().mean() <= high


@each_seed
def test_more_padding_breaks_the_unmasked(seed):
    numbers, (masked, _), (unmasked, _) = translators(seed)
    src, tgt = numbers.test
    with_mask = [share_right(masked, padded(src, columns), tgt) for columns in (0, 40)]
    without = [share_right(unmasked, padded(src, columns), tgt) for columns in (0, 40)]
    assert min(with_mask) > 0.98
    assert abs(with_mask[0] - with_mask[1]) < 0.005
    assert without[0] > 0.98
    assert without[1] < 0.8


@each_seed
def test_many_small_weights_add_up(seed):
    numbers, _, (unmasked, _) = translators(seed)
    src, tgt = numbers.test
    tgt_in, labels = teacher_forcing(tgt)
    asks, word, pad, together = (labels != PAD)[:, :, None], [], [], []  # (500, T, 1)
    for columns in (0, 10, 40):
        wider = padded(src, columns)  # (500, T_src + columns)
        weights = alignment(unmasked, wider, tgt_in)  # (500, T, T_src + columns)
        pads = asks & (wider == PAD)[:, None]  # (500, T, T_src + columns)
        word.append(weights[asks & ~pads].mean())
        pad.append(weights[pads].mean())
        together.append(weights[pads].sum() / asks.sum())
    assert 0.01 < pad[0] < 0.8 * word[0]
    assert pad[0] > pad[1] > pad[2] and pad[2] < 0.025
    assert together[0] < 0.06 and together[2] > 0.3


@each_seed
def test_a_pad_is_like_any_unwanted_word(seed):
    """Untrained, a PAD gets a word's weight; trained, that of a word that is not the heaviest."""
    numbers, _, (trained, _) = translators(seed)
    src, tgt = numbers.test
    tgt_in, labels = teacher_forcing(tgt)
    seed_everything(seed)
    sizes = len(numbers.src_vocab), len(numbers.tgt_vocab), 48, 64
    untrained = AttentionEncoderDecoder(*sizes, attend=Unmasked(64, 64, 21)).eval()
    asks = (labels != PAD)[:, :, None]  # (500, T, 1)
    word, other, pad = [], [], []
    for model in (untrained, trained):
        weights = alignment(model, src, tgt_in)  # (500, T, T_src)
        words = asks & (src != PAD)[:, None]  # (500, T, T_src)
        word.append(weights[words].mean())
        heaviest = (weights * words).amax(dim=-1).sum()
        other.append((weights[words].sum() - heaviest) / (words.sum() - asks.sum()))
        pad.append(weights[asks & (src == PAD)[:, None]].mean())
    assert abs(pad[0] / word[0] - 1) < 0.1
    assert 0.01 < pad[1] < 0.8 * pad[0]
    assert 0.4 < pad[1] / other[1] < 1.6
    batches = bucketed_batches(*numbers.train)
    met = [(next(batches)[0] == PAD).sum(dim=1).float().mean() for _ in range(150)]
    assert sum(met) / 150 < 0.1 < (src == PAD).sum(dim=1).float().mean()


@each_seed
def test_training_loss_hides_it(seed):
    _, (_, with_mask), (_, without) = translators(seed)
    assert abs(with_mask - without) < 0.02
