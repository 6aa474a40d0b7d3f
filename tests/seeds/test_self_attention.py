"""What lesson 3 claims, for three seeds: each test has a cell of its name."""

from functools import cache, partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib.kit.recall import learn, predecessors, recall
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.self_attention import SelfAttention, dot_product_scores

pytestmark = pytest.mark.seeds

SEEDS = range(3)
LINE = "the animal did not cross the street because it was too tired"
WORDS = LINE.split()
VOCABULARY = sorted({*WORDS, "wide"})
IT, ANIMAL, STREET = (WORDS.index(word) for word in ("it", "animal", "street"))


def sentences(embed):
    """The two sentences, tired and wide: (2, T, d_model)."""
    lines = [[*WORDS[:-1], ending] for ending in ("tired", "wide")]
    return embed(torch.tensor([[VOCABULARY.index(word) for word in line] for line in lines]))


def scores_of_it(attend, x):
    return attend.scores(attend.w_q(x), attend.project(x)[0])[:, IT]  # (2, T)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_layer_keeps_the_ratio(seed):
    seed_everything(seed)
    x = sentences(nn.Embedding(len(VOCABULARY), 16))
    for _ in range(300):
        tired, wide = scores_of_it(SelfAttention(16, 16, 16), x)[:, [ANIMAL, STREET]]
        torch.testing.assert_close(tired, wide, rtol=0, atol=1e-6)


@cache
def resolved(n_layers, seed):
    """Layers trained on the two sentences, what their last layer reads, its scores, the loss."""
    seed_everything(seed)
    embed = nn.Embedding(len(VOCABULARY), 16).requires_grad_(False)
    seed_everything(seed)
    layers = nn.ModuleList(SelfAttention(16, 16, 16) for _ in range(n_layers))
    optimizer = torch.optim.Adam(layers.parameters(), lr=1e-2)
    for _ in range(200):
        x = sentences(embed)
        for attend in layers[:-1]:
            x = x + attend(x, attend.project(x))
        scores = scores_of_it(layers[-1], x)  # (2, T)
        loss = F.cross_entropy(scores, torch.tensor([ANIMAL, STREET]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return layers, x.detach(), scores.detach(), loss.item()


@pytest.mark.parametrize("seed", SEEDS)
def test_only_two_layers_resolve_it(seed):
    for n_layers in (1, 2):
        _, _, scores, loss = resolved(n_layers, seed)
        tired, wide = scores.softmax(dim=-1)[:, ANIMAL].tolist()
        if n_layers == 1:
            assert tired == pytest.approx(0.5, abs=0.05)
            assert wide == pytest.approx(0.5, abs=0.05)
            assert loss == pytest.approx(0.693, abs=0.01)
        else:
            assert tired > 0.99
            assert wide < 0.01


@torch.no_grad()
@pytest.mark.parametrize("seed", SEEDS)
def test_one_changed_word_is_enough(seed):
    """One word as it is in the other sentence turns both answers: `street`, or else `it`."""
    layers, x, _, _ = resolved(2, seed)  # (2, T, d_model): as the second layer reads them
    turned = []
    for word in (IT, STREET):
        swapped = x.clone()
        swapped[:, word] = x.flip(0)[:, word]
        scores = scores_of_it(layers[-1], swapped)  # (2, T)
        tired, wide = scores[:, ANIMAL] - scores[:, STREET]
        turned.append(bool(tired < 0 < wide))
    assert any(turned)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_layer_changes_what_a_word_receives(seed):
    seed_everything(seed)
    moved = []
    for _ in range(20):
        attend, words = SelfAttention(16, 16, 16), torch.randn(4, 16)  # 好吃, 新款, 的, 苹果
        x = torch.stack([words[[0, 2, 3]], words[[1, 2, 3]]])  # (2, 3, 16)
        first, second = attend(x, attend.project(x))[:, 2]  # (d_v,) each
        moved.append(((first - second).norm() / first.norm()).item())
    assert min(moved) > 0.1
    assert sum(moved) / len(moved) > 0.3


@pytest.mark.parametrize("seed", SEEDS)
def test_undivided_scores_start_with_a_hard_choice(seed):
    seed_everything(seed)
    scaled = dot_product_scores(torch.randn(500, 1, 1024), torch.randn(500, 16, 1024))
    for scores, hard in ((scaled, False), (scaled * 32, True)):
        w = scores.softmax(dim=-1)  # (500, 1, 16)
        entropy = -(w * (w + 1e-30).log()).sum(dim=-1).mean().item()
        gradient = (w * (1 - w)).sum(dim=-1).mean().item()
        assert entropy < 0.15 if hard else 2.2 < entropy < 2.5
        assert gradient < 0.1 if hard else gradient > 0.8

    for d, hard in ((64, False), (1024, True)):  # torch's small first weights
        attend, x = SelfAttention(d, d, d).requires_grad_(False), torch.randn(100, 16, d)
        raw = attend.scores(attend.w_q(x), attend.w_k(x)) * d**0.5  # (100, 16, 16)
        w = raw.softmax(dim=-1)
        entropy = -(w * (w + 1e-30).log()).sum(dim=-1).mean().item()
        assert raw.var().item() == pytest.approx(d / 9, rel=0.1)
        assert entropy < 0.5 if hard else entropy > 1


class Recaller(nn.Module):
    """Lesson 3's small model: embeddings, positions if wanted, layers of attention, logits."""

    def __init__(self, n_in, n_out, layers, n_positions=0, d=32):
        super().__init__()
        self.embed = nn.Embedding(n_in, d)
        self.positions = nn.Embedding(n_positions, d) if n_positions else None
        self.layers = nn.ModuleList(layers)
        self.to_logits = nn.Linear(d, n_out)

    def forward(self, tokens):
        x = self.embed(tokens).sum(dim=2)
        if self.positions is not None:
            x = x + self.positions.weight[: x.shape[1]]
        for attend in self.layers:
            x = x + attend(x, attend.project(x))
        return self.to_logits(x)


class LookBack(SelfAttention):
    """Each position attends to the one before."""

    def scores(self, query, key):
        one_left = torch.diag(query.new_full((query.shape[1] - 1,), 30.0), diagonal=-1)
        return one_left.expand(len(query), -1, -1)


@cache
def trained(n_pairs, layout, seed):
    """A model that learned to recall, and the share that it gets right."""
    seed_everything(seed)
    first = [LookBack(32, 32, 32)] if layout == "two layers" else []
    n_positions = 48 if layout == "alternating" else 0
    model = Recaller(33, 16, [*first, SelfAttention(32, 32, 32)], n_positions)
    task = partial(recall, n_pairs=n_pairs, n_symbols=16, joined=layout == "one token")
    return model, learn(model, task, steps=300, seed=seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_pairs", [2, 16])
def test_one_layer_recalls_only_pairs_in_one_token(n_pairs, seed):
    seed_everything(seed)
    values = torch.randint(16, (10_000, n_pairs))  # (N, n_pairs)
    commonest = F.one_hot(values).sum(dim=1).amax(dim=1).float().mean().item() / n_pairs
    assert trained(n_pairs, "one token", seed)[1] > 0.99
    assert trained(n_pairs, "alternating", seed)[1] == pytest.approx(commonest, abs=0.03)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_pairs", [2, 16])
def test_two_layers_recall_alternating_pairs(n_pairs, seed):
    assert trained(n_pairs, "two layers", seed)[1] > 0.99


@pytest.mark.parametrize("seed", SEEDS)
def test_a_question_attends_to_its_value(seed):
    model, _ = trained(16, "two layers", seed)
    draw = torch.Generator().manual_seed(seed)
    tokens, _ = recall(200, draw, n_pairs=3, n_symbols=16, joined=False)  # (200, 9, 1)
    ids = tokens[:, :, 0]
    with torch.no_grad():
        x = model.embed(ids)
        first, second = model.layers
        x = x + first(x, first.project(x))
        weights = second.weights(x, second.project(x))[:, 6:]  # (200, 3 questions, 9)
    places = (ids[:, 6:, None] == ids[:, None, 0:6:2]).int().argmax(dim=2) * 2 + 1  # (200, 3)
    to_value = weights.gather(2, places[:, :, None])  # (200, 3, 1)
    assert to_value.mean() > 0.95


@pytest.mark.parametrize("seed", SEEDS)
def test_one_matrix_hardly_looks_left(seed):
    task = partial(predecessors, n_tokens=16, n_symbols=16)
    right = {}
    for tied in (False, True):
        seed_everything(seed)
        attend = SelfAttention(32, 32, 32)
        if tied:
            attend.w_k = attend.w_q
        model = Recaller(16, 16, [attend], n_positions=16)
        right[tied] = learn(model, task, steps=200, seed=seed)
    assert right[False] > 0.99
    assert 0.72 < right[True] < 0.84


@pytest.mark.parametrize("seed", SEEDS)
def test_padding_moves_contexts(seed):
    seed_everything(seed)
    attend = SelfAttention(16, 16, 16)
    sentence, padding = torch.randn(1, 4, 16), torch.randn(1, 1, 16).expand(1, 3, 16)
    padded = torch.cat([sentence, padding], dim=1)  # (1, 7, d_model)
    real = (torch.arange(7) < 4)[None, None]  # (B, 1, T)
    alone = attend(sentence, attend.project(sentence))
    moved, same = (attend(padded, attend.project(padded), m)[:, :4] - alone for m in (None, real))
    assert moved.abs().max() > 0.2
    assert same.abs().max() < 1e-5
