"""What lesson 0 claims, for three seeds."""

import functools
from math import log

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib.checks.words_to_tensors import count_pair_by_pair
from lessons_lib.kit.metrics import exact_match
from lessons_lib.kit.numbers import read_number
from lessons_lib.kit.tasks import number_words
from lessons_lib.kit.training import token_loss
from lessons_lib.kit.vocabulary import BOS, EOS, PAD

pytestmark = pytest.mark.seeds
each_seed = pytest.mark.parametrize("seed", range(3))


class Bigram(nn.Module):
    """The lesson's model: a table of logits, one row for each word that is read."""

    def __init__(self, n_words):
        super().__init__()
        self.table = nn.Embedding(n_words, n_words)
        nn.init.zeros_(self.table.weight)

    def forward(self, src, tgt_in):
        return self.table(tgt_in)  # (B, T, V)


@functools.cache
def trained(seed):
    """The task, the model trained by the lesson's loop, and its losses."""
    task = number_words("de", seed=seed)
    model = Bigram(len(task.tgt_vocab))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    slower = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 200)
    losses = []
    for _ in range(200):
        tgt = task.train[1][torch.randint(8000, (64,), generator=generator)]  # (B, T_tgt)
        logits, labels = model(None, tgt[:, :-1]), tgt[:, 1:]  # (B, T, V), (B, T)
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        slower.step()
        losses.append(loss.item())
    return task, model, losses


def held_out_loss(table, task):
    """The loss per word of a table of logits on the held-out sentences."""
    tgt = task.test[1]  # (N, T_tgt)
    return token_loss(table[tgt[:, :-1]], tgt[:, 1:]).item()


@each_seed
def test_half_of_the_loss_goes(seed):
    task, _, losses = trained(seed)
    assert 0.45 < sum(losses[-50:]) / 50 / log(len(task.tgt_vocab)) < 0.55


@each_seed
def test_tens_follow_und(seed):
    task, model, _ = trained(seed)
    p_next = model.table.weight.softmax(dim=-1)  # (V, V)
    tens = [i for i, word in enumerate(task.tgt_vocab) if word.endswith(("zig", "ßig"))]
    assert len(tens) == 8
    assert p_next[task.tgt_vocab.index("und"), tens].sum() > 0.95


@each_seed
def test_short_sentences_are_numbers(seed):
    task, model, _ = trained(seed)
    p_next = model.table.weight.detach().softmax(dim=-1)  # (V, V)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.full((10_000, 1), BOS)  # (N, 1)
    for _ in range(40):
        p = p_next[ids[:, -1]]  # (N, V)
        ids = torch.cat([ids, torch.multinomial(p, 1, generator=generator)], dim=1)
    drawn = [task.decode(row).split() for row in ids]

    def share(low, high):
        lengths = [words for words in drawn if low <= len(words) <= high]
        return sum(read_number(words, "de") is not None for words in lengths) / len(lengths)

    assert share(1, 4) > 0.85
    assert 0.4 < share(5, 12) < 0.6
    assert share(13, 40) < 0.05


@each_seed
def test_one_endless_sentence_for_every_number(seed):
    task, model, _ = trained(seed)
    src, tgt = task.test
    written = src.new_full((len(src), 1), BOS)  # (N, 1)
    for _ in range(30):
        last = model(src, written)[:, -1]  # (N, V)
        written = torch.cat([written, last.argmax(dim=-1, keepdim=True)], dim=1)
    predicted = written[:, 1:]  # (N, 30)
    assert exact_match(predicted, tgt).sum() == 0
    assert len(predicted.unique(dim=0)) == 1
    assert not (predicted == EOS).any()


@each_seed
def test_counting_is_as_good_as_training(seed):
    """Every pair once more than it was seen, so that none is impossible."""
    task, model, _ = trained(seed)
    counts = count_pair_by_pair(task.train[1], len(task.tgt_vocab)) + 1  # (V, V)
    assert held_out_loss(counts.double().log(), task) < held_out_loss(model.table.weight, task)
