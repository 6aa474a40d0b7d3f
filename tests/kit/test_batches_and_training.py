"""Batches, the loss, the schedule and the training loop."""

import math

import pytest
import torch
from torch import nn

from lessons_lib.kit.batches import bucketed_batches, trim
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.tasks import number_words
from lessons_lib.kit.training import fit, learning_rate, teacher_forcing, token_loss, train
from lessons_lib.kit.vocabulary import BOS, EOS, PAD, build_vocabulary, lengths, pad_rows
from lessons_lib.rnn_bottleneck import EncoderDecoder


@pytest.fixture(scope="module")
def task():
    return number_words(max_digits=9, n_train=330, n_test=20)


def test_an_epoch_holds_every_pair_once(task):
    src, tgt = task.train
    batches = bucketed_batches(src, tgt, batch_size=64)
    seen = []
    for _ in range(math.ceil(330 / 64)):
        batch_src, batch_tgt = next(batches)
        assert len(batch_src) == len(batch_tgt) <= 64
        seen += [tuple(row[row != PAD].tolist()) for row in torch.cat([batch_src, batch_tgt], 1)]
    wanted = [tuple(row[row != PAD].tolist()) for row in torch.cat([src, tgt], 1)]
    assert sorted(seen) == sorted(wanted)


def test_batches_hold_little_padding_and_differ_between_epochs(task):
    batches = bucketed_batches(*task.train, batch_size=30)
    epochs = [[next(batches) for _ in range(11)] for _ in range(2)]
    share = [
        (torch.cat([(tgt == PAD).flatten() for _, tgt in epoch]).float().mean()) for epoch in epochs
    ]
    assert max(share) < 0.1 < (task.train[1] == PAD).float().mean()
    assert [len(b[0]) for b in epochs[0]] and any(
        a.shape != b.shape or not torch.equal(a, b) for (a, _), (b, _) in zip(*epochs, strict=True)
    )


def test_the_same_seed_gives_the_same_batches(task):
    one, two = (bucketed_batches(*task.train, seed=5) for _ in range(2))
    assert all(torch.equal(next(one)[0], next(two)[0]) for _ in range(9))


def test_a_batch_of_long_sentences_has_fewer_rows(task):
    """Padding counted, source and target of a batch stay within `max_tokens`; nothing is lost."""
    src, tgt = task.train
    batches = bucketed_batches(src, tgt, batch_size=64, max_tokens=300)
    sizes, rows = set(), 0
    while rows < len(src):
        batch_src, batch_tgt = next(batches)
        assert batch_src.numel() + batch_tgt.numel() <= 300
        sizes.add(len(batch_src))
        rows += len(batch_src)
    assert rows == len(src) and len(sizes) > 3


def test_a_pair_longer_than_a_batch_may_be_stands_alone(task):
    batches = bucketed_batches(*task.train, max_tokens=1)
    assert {len(next(batches)[0]) for _ in range(40)} == {1}


def test_trim_cuts_what_is_padding_in_every_row():
    assert trim(torch.tensor([[4, 5, 0, 0], [4, 0, 0, 0]])).tolist() == [[4, 5], [4, 0]]


def test_pad_rows_and_lengths():
    ids = pad_rows([[4, 5, 6], [7], []])
    assert ids.tolist() == [[4, 5, 6], [7, 0, 0], [0, 0, 0]]
    assert lengths(ids).tolist() == [3, 1, 0]
    assert pad_rows([]).shape == (0, 0)


def test_build_vocabulary_orders_by_frequency_then_by_appearance():
    vocab = build_vocabulary([["b", "a"], ["c", "a"]], max_words=2)
    assert vocab[4:] == ["a", "b"]


def test_teacher_forcing_shifts_by_one():
    tgt = torch.tensor([[BOS, 7, 8, EOS, PAD], [BOS, 9, EOS, PAD, PAD]])
    decoder_input, labels = teacher_forcing(tgt)
    assert decoder_input.tolist() == [[BOS, 7, 8, EOS], [BOS, 9, EOS, PAD]]
    assert labels.tolist() == [[7, 8, EOS, PAD], [9, EOS, PAD, PAD]]


def test_token_loss_is_the_mean_over_real_words_only():
    logits = torch.randn(3, 5, 7)
    labels = torch.tensor([[1, 2, 3, 4, 5], [6, 2, 0, 0, 0], [3, 0, 0, 0, 0]])
    total = count = 0.0
    for b in range(3):
        for t in range(5):
            if labels[b, t] != PAD:
                total -= torch.log_softmax(logits[b, t], -1)[labels[b, t]].item()
                count += 1
    assert token_loss(logits, labels).item() == pytest.approx(total / count, abs=1e-5)


def test_learning_rate_climbs_to_its_peak_and_falls_to_zero():
    rates = [learning_rate(step, 100, 2.0) for step in range(100)]
    assert max(rates) == rates[9] == 2.0
    assert rates[0] == pytest.approx(0.2) and 0 < rates[-1] < 0.03
    assert rates[:10] == sorted(rates[:10]) and rates[9:] == sorted(rates[9:], reverse=True)
    assert all(rate > 0 for rate in (learning_rate(0, 1, 1.0), learning_rate(1, 2, 1.0)))


def model_for(task, seed=0):
    seed_everything(seed)
    return EncoderDecoder(len(task.src_vocab), len(task.tgt_vocab), d_embed=16, d_hidden=24)


def test_training_repeats_bit_for_bit_and_shows_one_line(task, capsys):
    runs = [train(model_for(task), task, steps=25) for _ in range(2)]
    assert runs[0] == runs[1] and len(runs[0]) == 25
    assert sum(runs[0][-5:]) < sum(runs[0][:5])
    out = capsys.readouterr().out
    frames = out.split("\n")[0].split("\r")
    assert frames[-1].endswith(f"25/25 steps, loss {sum(runs[0]) / 25:.1f}")
    assert out.count("\n") == 2  # one line a run


def test_training_moves_every_parameter_and_leaves_the_model_in_eval_mode(task):
    model = model_for(task)
    before = {name: p.clone() for name, p in model.named_parameters()}
    train(model, task, steps=2, batch_size=200)
    assert not model.training
    assert all(not torch.equal(before[name], p) for name, p in model.named_parameters())


def test_training_takes_another_loss_and_another_warm_up(task):
    def halved(logits, labels):
        return token_loss(logits, labels) / 2

    usual = train(model_for(task), task, steps=3)
    assert train(model_for(task), task, steps=3, loss_of=halved)[0] == pytest.approx(usual[0] / 2)
    slow = train(model_for(task), task, steps=3, warmup=1.0)
    assert slow[0] == usual[0] and slow[2] != usual[2]


def test_training_clips_gradients_to_length_one(task, monkeypatch):
    seen = []
    real = nn.utils.clip_grad_norm_

    def spy(parameters, max_norm):
        parameters = list(parameters)
        norm = real(parameters, max_norm=max_norm)
        seen.append(torch.stack([p.grad.norm() for p in parameters]).norm().item())
        return norm

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", spy)
    train(model_for(task), task, steps=3)
    assert len(seen) == 3 and max(seen) <= 1.0001


def test_seed_everything_seeds_all_generators_and_uses_one_thread():
    import random

    import numpy as np

    def draw():
        seed_everything(11)
        return random.random(), np.random.rand(), torch.rand(()).item()

    assert draw() == draw()
    assert torch.get_num_threads() == 1


def test_columns_may_be_one_or_three(task):
    src, tgt = task.train
    (alone,) = next(bucketed_batches(src))
    assert alone.shape == (64, int(lengths(alone).max()))
    three = next(bucketed_batches(src, tgt, src))
    assert torch.equal(three[0], three[2]) and three[1].shape[1] == int(lengths(three[1]).max())


def test_fit_keeps_the_ratio_of_rates_between_groups(monkeypatch):
    """One group asks for ten times the rate, and a third of the weights is left as it is."""
    seen, adam = [], torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        seen.append([group["lr"] for group in self.param_groups])
        return adam(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    slow, fast, still = (nn.Linear(3, 3) for _ in range(3))
    model, before = nn.Sequential(slow, fast, still), still.weight.clone()
    groups = [{"params": slow.parameters()}, {"params": fast.parameters(), "lr": 1e-1}]
    batches = iter([(torch.randn(2, 3), torch.randn(2, 3))] * 8)
    losses = fit(
        model, lambda x, y: (model(x) - y).square().mean(), batches, 8, 1e-2, groups=groups
    )
    assert len(losses) == 8 and losses[-1] < losses[0]
    assert all(b == pytest.approx(10 * a) for a, b in seen)
    assert [a for a, _ in seen] == pytest.approx([learning_rate(n, 8, 1e-2) for n in range(8)])
    assert torch.equal(still.weight, before) and not model.training
