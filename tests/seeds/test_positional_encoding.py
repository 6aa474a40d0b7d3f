"""What lesson 6 claims, for three seeds."""

import functools
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib.kit.seeding import seed_everything
from lessons_lib.masking import causal_mask
from lessons_lib.multi_head_attention import MultiHeadAttention
from lessons_lib.positional_encoding import (
    LearnedPositions,
    positional_encoding,
    rotate,
)
from lessons_lib.self_attention import SelfAttention
from tests.relative import Biased, Rotary

pytestmark = pytest.mark.seeds
each_seed = pytest.mark.parametrize("seed", range(3))


class LookBack(nn.Module):
    """The lesson's model: symbols, positions if wanted, one causal layer, logits."""

    def __init__(self, kind, positions=None, d_model=64):
        super().__init__()
        self.embed = nn.Embedding(16, d_model)
        self.attend = kind(d_model, n_heads=4)
        self.to_logits = nn.Linear(d_model, 16)
        self.positions = positions

    def forward(self, symbols, blocked=()):
        x, mask = self.read(symbols, blocked)
        return self.to_logits(x + self.attend(x, self.attend.project(x), mask))  # (B, T, V)

    def read(self, symbols, blocked=()):
        T = symbols.shape[1]
        x = self.embed(symbols)  # (B, T, d_model)
        x = x if self.positions is None else x + self.positions(T)
        back = torch.arange(T)[:, None] - torch.arange(T)  # (T, T)
        return x, causal_mask(T) & ~torch.isin(back, torch.tensor([*blocked], dtype=torch.long))


MODELS = {
    "RoPE": lambda: LookBack(Rotary),
    "sinusoids": lambda: LookBack(MultiHeadAttention, partial(positional_encoding, d_model=64)),
    "table": lambda: LookBack(MultiHeadAttention, LearnedPositions(48, 64)),
    "ALiBi": lambda: LookBack(Biased),
    "none": lambda: LookBack(MultiHeadAttention),
}
TEST = torch.randint(16, (500, 48), generator=torch.Generator().manual_seed(1))  # (N, T)
FAR = tuple(range(16, 48))


@functools.cache
def trained(name, seed):
    seed_everything(seed)
    model = MODELS[name]()
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98))
    for step in range(600):
        T = int(torch.randint(4, 17, (), generator=draw))
        symbols = torch.randint(16, (64, T), generator=draw)  # (B, T)
        logits = model(symbols)[:, 3:]  # (B, T-3, V)
        loss = F.cross_entropy(logits.flatten(0, 1), symbols[:, :-3].flatten())
        optimizer.param_groups[0]["lr"] = 3e-3 * min((step + 1) / 50, 1, 2 * (1 - step / 600))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@functools.cache
def right(name, seed, blocked=()):
    """The share of right answers by position, from 3 on: (T-3,)."""
    model = trained(name, seed)
    with torch.no_grad():
        answers = model(TEST, blocked)[:, 3:].argmax(dim=-1)  # (N, T-3)
    return (answers == TEST[:, :-3]).float().mean(dim=0)


def at(share, first, last):
    """The shares at the positions from first to last."""
    return share[first - 3 : last - 2]


@each_seed
def test_two_causal_layers_tell_order(seed):
    torch.manual_seed(seed)
    layers, x = [SelfAttention(16, 16, 16) for _ in range(2)], torch.randn(1, 4, 16)

    def last(x, layers):
        for layer in layers:
            x = x + layer(x, layer.project(x), causal_mask(4))
        return x[0, -1]

    swapped = x[:, [1, 0, 2, 3]]
    assert torch.allclose(last(x, layers[:1]), last(swapped, layers[:1]), atol=1e-5)
    assert (last(x, layers) - last(swapped, layers)).norm() > 0.02 * last(x, layers).norm()


@each_seed
def test_three_of_five_learn_three_back(seed):
    within = {name: at(right(name, seed), 3, 15) for name in MODELS}
    assert min(within["RoPE"].min(), within["table"].min()) > 0.97
    assert within["sinusoids"].mean() > 0.9
    for name in ("ALiBi", "none"):
        assert 0.2 < within[name].mean() < 0.4
        assert within[name][0] > 0.25  # one of three earlier symbols


@each_seed
def test_table_falls_at_once(seed):
    share = right("table", seed)
    assert at(share, 15, 15) > 0.97 and at(share, 16, 47).mean() < 0.12
    assert at(share, 16, 16) < 0.2


@each_seed
def test_rope_falls_in_two_steps(seed):
    share = right("RoPE", seed)
    assert at(share, 3, 21).min() > 0.95  # the first new positions do no harm
    assert at(share, 22, 22) < 0.8 and at(share, 40, 40) - at(share, 41, 41) > 0.1
    assert at(share, 22, 40).min() > at(share, 41, 47).max()
    sinusoids = right("sinusoids", seed)
    assert sinusoids[:5].mean() > at(sinusoids, 14, 15).mean() + 0.05
    assert at(sinusoids, 17, 22).mean() < 0.3
    assert at(sinusoids, 34, 36).min() > 0.5 and at(sinusoids, 40, 47).max() < 0.5  # come back
    beyond = [at(right(name, seed), 16, 47).mean() for name in ("RoPE", "sinusoids", "table")]
    assert beyond[0] > beyond[1] + 0.1 and beyond[1] > beyond[2] + 0.1


@each_seed
def test_three_distances_look_alike(seed):
    model = trained("RoPE", seed)
    with torch.no_grad():
        x, mask = model.read(TEST)
        weights = model.attend.weights(x, model.attend.project(x), mask)  # (N, H, T, T)
    by_distance = weights[:, :, -1].mean(dim=(0, 1)).flip(0)  # (T,)
    assert sorted(by_distance.topk(3).indices.tolist()) == [3, 22, 41]
    assert by_distance[[3, 22, 41]].sum() > 0.4


@each_seed
def test_two_distances_are_ropes_trouble(seed):
    blocked = {name: at(right(name, seed, (22, 41)), 16, 47).mean() for name in MODELS}
    assert blocked["RoPE"] > 0.95
    assert max(blocked["sinusoids"], blocked["table"]) < 0.4
    assert right("RoPE", seed, FAR).min() > 0.97
    assert at(right("table", seed, FAR), 16, 47).mean() < 0.25


@each_seed
def test_sinusoids_gain_and_stay_wrong(seed):
    share = at(right("sinusoids", seed, FAR), 16, 47)
    assert share.mean() > at(right("sinusoids", seed), 16, 47).mean() + 0.05
    assert share.median() < 0.5


@each_seed
def test_two_fastest_hands_make_the_score(seed):
    model = trained("RoPE", seed)
    with torch.no_grad():
        projections, symbols = (model.attend.w_q, model.attend.w_k), model.embed.weight
        query, key = (w(symbols).mean(dim=0).view(4, 1, 16) for w in projections)  # (H, 1, d_k)
        turned = rotate(query.expand(4, 48, 16))  # (H, T, d_k)
        hands = (turned * key).unflatten(-1, (8, 2)).sum(dim=-1).mean(dim=0) / 4  # (T, d_k/2)
    for distance in (3, 22, 41):
        first, second, *slower = hands[distance].tolist()
        assert first > 3 * second and second > 3 * max(map(abs, slower))
