"""What lesson 5 claims, for three seeds: each test has a cell of its name."""

import copy
from functools import cache, partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib.bahdanau_attention import AttentionEncoderDecoder, alignment
from lessons_lib.decoding import greedy_decode
from lessons_lib.kit.metrics import exact_match
from lessons_lib.kit.numbers import spell
from lessons_lib.kit.recall import learn, neighbours
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.tasks import number_words
from lessons_lib.kit.training import teacher_forcing, train
from lessons_lib.kit.vocabulary import PAD
from lessons_lib.multi_head_attention import MultiHeadAttention

pytestmark = pytest.mark.seeds

SEEDS = range(3)
each_seed = pytest.mark.parametrize("seed", SEEDS)
NEIGHBOURS = partial(neighbours, n_tokens=16, n_symbols=16)
N, H, D_K = 300, 4, 32  # sentences to translate, and the translator's heads


class Neighbourly(nn.Module):
    """The lesson's small model: embeddings, a vector for each position, one layer, logits."""

    def __init__(self, n_heads):
        super().__init__()
        self.embed, self.positions = nn.Embedding(16, 32), nn.Embedding(16, 32)
        self.attend = MultiHeadAttention(32, n_heads)
        self.to_logits = nn.Linear(32, 256)

    def embedded(self, tokens):
        return self.embed(tokens[..., 0]) + self.positions.weight

    def forward(self, tokens):
        x = self.embedded(tokens)
        return self.to_logits(x + self.attend(x, self.attend.project(x)))


@cache
def learned(n_heads, steps, seed):
    """The share of pairs right, and the weights of left and right neighbours: (2, H, 14)."""
    seed_everything(seed)
    model = Neighbourly(n_heads)
    share = learn(model, NEIGHBOURS, steps=steps, seed=seed)
    tokens, _ = NEIGHBOURS(200, torch.Generator().manual_seed(9))
    with torch.no_grad():
        x = model.embedded(tokens)
        weights = model.attend.weights(x, model.attend.project(x)).mean(dim=0)  # (H, T, T)
    left, right = weights.diagonal(-1, 1, 2)[:, :-1], weights.diagonal(1, 1, 2)[:, 1:]
    return share, torch.stack([left, right])


def test_one_head_can():
    assert max(learned(1, 450, seed)[0] for seed in SEEDS) > 0.97


@each_seed
def test_two_heads_learn_it_sooner(seed):
    assert learned(2, 150, seed)[0] > 0.97 > learned(1, 150, seed)[0]


@each_seed
def test_two_heads_divide_the_work(seed):
    heavier = learned(2, 150, seed)[1].argmax(dim=0)  # (H, 14): 0 left, 1 right
    assert (heavier[0] != heavier[1]).sum() >= 12


def test_one_head_prefers_one_side():
    found = [learned(1, 450, seed) for seed in SEEDS]
    for sides in (sides for share, sides in found if share > 0.97):
        preferred = sides[:, 0].amax(dim=0)  # (14,)
        assert preferred.min() > 0.55 and preferred.mean() < 0.8


@cache
def translator(seed):
    """The lesson's translator, some held-out sentences, and its weights (N, H, T, T_src)."""
    task = number_words(target="de", max_digits=12)
    seed_everything(seed)
    model = AttentionEncoderDecoder(
        len(task.src_vocab),
        len(task.tgt_vocab),
        d_embed=56,
        d_hidden=H * D_K,
        attend=MultiHeadAttention(H * D_K, H),
    )
    train(model, task, steps=400, lr=7e-3)
    src, tgt = (ids[:N] for ids in task.test)
    return task, model, src, tgt, alignment(model, src, teacher_forcing(tgt)[0])


@each_seed
def test_heads_overlap(seed):
    task, _, src, tgt, weights = translator(seed)
    tens, units = ([spell(n, "en")[0] for n in r] for r in (range(20, 100, 10), range(1, 10)))
    is_ten, is_unit = (
        torch.isin(src, torch.tensor([task.src_vocab.index(word) for word in words]))
        for words in (tens, units)
    )
    row, ten = (is_ten[:, :-1] & is_unit[:, 1:]).nonzero(as_tuple=True)
    same_row, und = (teacher_forcing(tgt)[1] == task.tgt_vocab.index("und")).nonzero(as_tuple=True)
    assert torch.equal(row, same_row)  # one und for each pair, in the same order
    at_units, at_tens = weights[row, :, und - 1, ten + 1], weights[row, :, und + 1, ten]
    due = torch.stack([at_units.mean(dim=0), at_tens.mean(dim=0)])  # (2, H)
    assert (due > 0.5).sum(dim=1).min() >= 2 and due.min() < 0.5


@each_seed
def test_three_heads_do_most_of_the_work(seed):
    _, model, src, tgt, _ = translator(seed)
    of_head = torch.arange(H * D_K).view(H, D_K)

    def without(columns):
        changed = copy.deepcopy(model)
        with torch.no_grad():
            changed.decoder.attend.w_o.weight[:, columns] = 0.0
        return exact_match(greedy_decode(changed, src), tgt).float().mean().item()

    others = [of_head[torch.arange(H) != head].flatten() for head in range(H)]
    assert min(without(columns) for columns in of_head) > 0.65
    assert max(without(columns) for columns in others) < 0.55


@each_seed
def test_the_largest_weight_matters_most(seed):
    _, model, src, tgt, weights = translator(seed)
    tgt_in, labels = teacher_forcing(tgt)
    mean = weights.mean(dim=1)  # (N, T, T_src)
    largest, second = mean.topk(2).indices.unbind(dim=-1)
    chance = torch.rand(mean.shape, generator=torch.Generator().manual_seed(seed))
    chance = chance.masked_fill(src[:, None] == PAD, -1.0).scatter(2, largest[..., None], -1.0)

    @torch.no_grad()
    def written(masked=None):
        state, words = model.start(src), []
        for t, token in enumerate(tgt_in.unbind(dim=1)):
            hidden, mask, *projected = state
            if masked is not None:
                mask = mask & ~F.one_hot(masked[:, t], src.shape[1]).bool()[:, None]
            words.append(model.step((hidden, mask, *projected), token)[0].argmax(dim=-1))
            state = model.step(state, token)[1]
        return torch.stack(words, dim=1)[labels != PAD]

    said = written()
    masked = (largest, second, chance.argmax(dim=-1))
    shares = [(written(m) != said).float().mean().item() for m in masked]
    assert 0.35 < shares[0] < 0.8 and shares[1] < 0.15 and shares[2] < 0.02
