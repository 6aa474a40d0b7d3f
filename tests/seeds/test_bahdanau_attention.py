"""What lesson 2 claims, for three seeds: each test has a cell of its name."""

from functools import cache
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib.bahdanau_attention import (
    AdditiveAttention,
    AttentionDecoder,
    AttentionEncoderDecoder,
    DotAttention,
    GeneralAttention,
    alignment,
)
from lessons_lib.decoding import greedy_decode
from lessons_lib.kit.metrics import exact_match, influence, mean_by_length
from lessons_lib.kit.numbers import spell
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.tasks import number_words
from lessons_lib.kit.training import teacher_forcing, train
from lessons_lib.kit.vocabulary import EOS, lengths

pytestmark = pytest.mark.seeds

SEEDS = range(3)


@cache
def task():
    return number_words(target="de", max_digits=12, n_train=8000, n_test=1000)


@cache
def trained(seed):
    seed_everything(seed)
    model = AttentionEncoderDecoder(len(task().src_vocab), len(task().tgt_vocab), 56, 128)
    train(model, task(), steps=400, lr=7e-3)
    return model


@cache
def pairs():
    """Where tens and units stand side by side: sentence, their places, the step of "und"."""
    src, tgt = task().test
    tens, units = ([spell(n, "en")[0] for n in r] for r in (range(20, 100, 10), range(1, 10)))
    is_ten, is_unit = (
        torch.isin(src, torch.tensor([task().src_vocab.index(word) for word in words]))
        for words in (tens, units)
    )
    _, labels = teacher_forcing(tgt)
    row, ten = (is_ten[:, :-1] & is_unit[:, 1:]).nonzero(as_tuple=True)  # (pairs,) each
    same_row, und = (labels == task().tgt_vocab.index("und")).nonzero(as_tuple=True)
    assert torch.equal(row, same_row)
    return SimpleNamespace(row=row, ten=ten, unit=ten + 1, und=und, labels=labels)


@cache
@torch.no_grad()
def states(seed):
    """The state before each step, with the true words read in, and what the attention projects."""
    src, tgt = task().test
    hidden, mask, *projected = trained(seed).start(src)
    before = [hidden]
    for token in teacher_forcing(tgt)[0].unbind(dim=1):  # (N,)
        _, (hidden, *_) = trained(seed).step((before[-1], mask, *projected), token)
        before.append(hidden)
    return torch.stack(before, dim=1), projected  # (N, T + 1, d_hidden)


@torch.no_grad()
def forced(seed, at, onto):
    """The words at step `at` of each pair's sentence, all weight on position `onto`: (pairs,)."""
    src, tgt = task().test
    (before, projected), row = states(seed), pairs().row
    only = F.one_hot(onto, src.shape[1]).bool()[:, None]  # (pairs, 1, T_src)
    state = (before[row, at], only, *(part[row] for part in projected))
    logits, _ = trained(seed).step(state, teacher_forcing(tgt)[0][row, at])  # (pairs, V)
    return logits.argmax(dim=-1)


def share(is_so):
    return is_so.float().mean().item()


@pytest.mark.parametrize("seed", SEEDS)
def test_stays_flat(seed):
    src, tgt = task().test
    by_length = mean_by_length(exact_match(greedy_decode(trained(seed), src), tgt), src)
    assert min(by_length.values()) > 0.95


class EqualAttention(DotAttention):
    """Every annotation has the same weight: all are kept, none is chosen."""

    def scores(self, query, key):
        return query.new_zeros(len(key), query.shape[1], key.shape[1])  # (B, T_q, T_k)


def on_six_digits(attend, seed):
    """The lesson's small training: exact match by length."""
    six_digits = number_words(target="de", max_digits=6)
    sizes = len(six_digits.src_vocab), len(six_digits.tgt_vocab)
    seed_everything(seed)
    model = AttentionEncoderDecoder(*sizes, d_embed=48, d_hidden=96, attend=attend())
    train(model, six_digits, steps=200, lr=1e-2)
    src, tgt = six_digits.test
    return mean_by_length(exact_match(greedy_decode(model, src), tgt), src)


@pytest.mark.parametrize("seed", SEEDS)
def test_any_score_will_do(seed):
    for attend in (
        lambda: AdditiveAttention(d_query=96, d_key=96, d_a=48),
        lambda: GeneralAttention(d_query=96, d_key=96),
        DotAttention,
    ):
        by_length = on_six_digits(attend, seed)
        assert min(by_length.values()) > 0.9
        assert by_length["9–12"] > 0.97


@pytest.mark.parametrize("seed", SEEDS)
def test_equal_weights_fall_with_length(seed):
    short, middle, long = on_six_digits(EqualAttention, seed).values()
    assert short > 0.85
    assert 0.6 < middle < 0.8
    assert long < 0.3


@pytest.mark.parametrize("seed", SEEDS)
def test_units_and_tens_cross(seed):
    src, tgt = task().test
    weights = alignment(trained(seed), src, teacher_forcing(tgt)[0])  # (N, T, T_src)
    p = pairs()
    at = torch.arange(len(p.row))
    zwei, vierzig = weights[p.row, p.und - 1], weights[p.row, p.und + 1]  # (pairs, T_src) each
    to_unit = zwei[at, p.unit] > vierzig[at, p.unit]
    to_ten = vierzig[at, p.ten] > zwei[at, p.ten]
    assert share(to_unit & to_ten) > 0.98
    assert share((zwei.argmax(dim=1) == p.unit) & (vierzig.argmax(dim=1) == p.ten)) > 0.94


class StateOnly(AttentionDecoder):
    """The lesson's decoder without the wire from the context to the logits."""

    def __init__(self, n_words, d_embed, d_hidden, attend, d_key):
        super().__init__(n_words, d_embed, d_hidden, attend, d_key)
        self.to_logits = nn.Linear(d_hidden, n_words)

    def forward(self, tgt_in, projected, mask, state):
        states = []
        for from_word in self.rnn.x_to_gates(self.embed(tgt_in)).unbind(dim=1):
            context = self.attend(state[:, None], projected, mask)[:, 0]  # (B, d_key)
            state = self.rnn.step(from_word + self.context_to_gates(context), state)
            states.append(state)
        return self.to_logits(torch.stack(states, dim=1)), state  # (B, T, V), (B, d_hidden)


@pytest.mark.parametrize("seed", SEEDS)
def test_without_the_wire_fewer_pairs_pass(seed):
    n_src, n_tgt = len(task().src_vocab), len(task().tgt_vocab)
    seed_everything(seed)
    model = AttentionEncoderDecoder(n_src, n_tgt, 56, 128)
    model.decoder = StateOnly(n_tgt, 56, 128, AdditiveAttention(128, 128, d_a=64), d_key=128)
    train(model, task(), steps=400, lr=7e-3)
    src, tgt = task().test
    assert share(exact_match(greedy_decode(model, src), tgt)) > 0.99
    weights, p = alignment(model, src, teacher_forcing(tgt)[0]), pairs()  # (N, T, T_src)
    zwei, vierzig = (weights[p.row, p.und + k].argmax(dim=1) for k in (-1, 1))  # (pairs,) each
    assert share((zwei == p.unit) & (vierzig == p.ten)) < 0.92


@pytest.mark.parametrize("seed", SEEDS)
def test_the_row_of_the_units_leans_towards_the_tens(seed):
    src, tgt = task().test
    weights = alignment(trained(seed), src, teacher_forcing(tgt)[0])  # (N, T, T_src)
    p = pairs()
    zwei, vierzig = (weights[p.row, p.und + k].argmax(dim=1) for k in (-1, 1))  # (pairs,) each
    fails = (zwei != p.unit) | (vierzig != p.ten)
    assert share(zwei[fails] == p.ten[fails]) > 0.6
    on_unit = weights[p.row, p.und - 1, p.unit]  # (pairs,): the unit's weight at zwei
    assert 0.25 < on_unit[fails].mean() < 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_the_attended_number_word_is_written(seed):
    src, _ = task().test
    p = pairs()
    due, then = p.labels[p.row, p.und - 1], p.labels[p.row, p.und + 1]  # zwei, vierzig
    assert share(forced(seed, p.und - 1, p.unit) == due) > 0.98
    onto_tens = forced(seed, p.und - 1, p.ten)
    assert share(onto_tens == due) < 0.12
    assert share(onto_tens == then) > 0.85
    nine, neun = task().src_vocab.index("nine"), task().tgt_vocab.index("neun")
    elsewhere = (src[p.row] == nine).any(dim=1) & (src[p.row, p.unit] != nine)
    first_nine = (src == nine).int().argmax(dim=1)[p.row]
    assert share(forced(seed, p.und - 1, first_nine)[elsewhere] == neun) > 0.95


@pytest.mark.parametrize("seed", SEEDS)
def test_und_needs_no_source(seed):
    src, _ = task().test
    p = pairs()
    end = lengths(src)[p.row] - 1
    assert share(forced(seed, p.und, end) == p.labels[p.row, p.und]) > 0.7
    onto_end = forced(seed, p.und - 1, end)
    assert share(onto_end == p.labels[p.row, p.und - 1]) < 0.2
    assert 0.4 < share(onto_end == EOS) < 0.7


@pytest.mark.parametrize("seed", SEEDS)
def test_contexts_reach_all_annotations_are_local(seed):
    src, tgt = task().test
    long = lengths(src) - 1 >= 17
    src, tgt_in, model = src[long], teacher_forcing(tgt[long])[0], trained(seed)
    rows, end = torch.arange(len(src)), lengths(src) - 1
    n_words = len(task().src_vocab)
    seed_everything(seed)
    untrained = AttentionEncoderDecoder(n_words, len(task().tgt_vocab), 56, 128)
    for of in (model, untrained):
        moved = influence(
            lambda s, of=of: (alignment(of, s, tgt_in) @ of.encoder(s)).flatten(1), src, 17, n_words
        )
        assert max(moved) < 1.6 * min(moved)
    annotation = influence(lambda s: model.encoder(s)[rows, end], src, 17, n_words)
    assert annotation[0] > 0.8
    assert max(annotation[10:]) < 0.02
