"""What lesson 1 claims of its encoder–decoder, for three seeds."""

import functools

import pytest
import torch

from lessons_lib.decoding import greedy_decode
from lessons_lib.kit.metrics import exact_match, influence, mean_by_length
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.tasks import number_words
from lessons_lib.kit.training import teacher_forcing, train
from lessons_lib.kit.vocabulary import PAD, SPECIALS, lengths
from lessons_lib.rnn_bottleneck import EncoderDecoder

pytestmark = pytest.mark.seeds
each_seed = pytest.mark.parametrize("seed", range(3))

FRAME = {"hundert", "und", "tausend", "million", "millionen", "milliarde", "milliarden"}


@functools.cache
def the_task():
    return number_words(target="de", max_digits=12, n_train=8000, n_test=1000)


@functools.cache
def trained(seed, steps=400):
    """The lesson's network after so many steps."""
    task = the_task()
    seed_everything(seed)
    model = EncoderDecoder(len(task.src_vocab), len(task.tgt_vocab), d_hidden=128)
    train(model, task, steps=steps, lr=1e-2, seed=seed)
    return model


def longest(pair):
    """Of sources and targets, those with 17 English words or more."""
    src, tgt = pair
    return src[lengths(src) - 1 >= 17], tgt[lengths(src) - 1 >= 17]


def share_right(model, src, tgt):
    return exact_match(greedy_decode(model, src), tgt).float().mean().item()


@functools.cache
def word_by_word(seed):
    """Given the true words before: which words are right, real, number words; each (1000, T)."""
    src, tgt = the_task().test
    tgt_in, labels = teacher_forcing(tgt)
    with torch.no_grad():
        right = trained(seed)(src, tgt_in).argmax(dim=-1) == labels
    frame = FRAME | set(SPECIALS)
    is_number = torch.tensor([word not in frame for word in the_task().tgt_vocab])  # (V,)
    return right, labels != PAD, is_number[labels]


def moved(model):
    """How far the context of long sentences moves, by the position of the swapped word."""
    src, _ = longest(the_task().test)
    return influence(lambda s: model.encoder(s)[1], src, 17, len(the_task().src_vocab))


@each_seed
def test_falls_with_length(seed):
    src, tgt = the_task().test
    share = mean_by_length(exact_match(greedy_decode(trained(seed), src), tgt), src)
    assert share["1–4"] > 0.93 and 0.4 < share["9–12"] < 0.7 and share["17–19"] < 0.1
    assert sorted(share.values(), reverse=True) == list(share.values())


@each_seed
def test_single_words_get_harder(seed):
    right, real, number = word_by_word(seed)
    src, _ = the_task().test
    for words, short, long in ((real, 0.98, 0.9), (number, 0.98, 0.82)):
        share = mean_by_length((right & words).sum(dim=1) / words.sum(dim=1), src)
        assert share["1–4"] > short and share["17–19"] < long


@each_seed
def test_training_bends_the_curve_into_a_u(seed):
    """Untrained, older words move the context less and less; trained, the middle ones least."""
    seed_everything(seed)
    V_src, V_tgt = len(the_task().src_vocab), len(the_task().tgt_vocab)
    untrained = moved(EncoderDecoder(V_src, V_tgt, d_hidden=128))
    assert untrained[0] > 0.85 and max(untrained[10:]) < 0.02
    assert sorted(untrained[:9], reverse=True) == untrained[:9]
    u = moved(trained(seed))
    end, middle, beginning = (sum(part) / len(part) for part in (u[:2], u[6:10], u[15:]))
    assert middle + 0.08 < end and middle + 0.12 < beginning


@each_seed
def test_the_middle_third_is_worst(seed):
    right, real, number = word_by_word(seed)
    src, _ = the_task().test
    position = torch.arange(real.shape[1]) / real.sum(dim=1, keepdim=True)  # (1000, T): 0 to 1
    counted = number & (lengths(src) - 1 >= 17)[:, None]  # (1000, T)
    thirds = [counted & (position >= k / 3) & (position < (k + 1) / 3) for k in range(3)]
    first, second, third = (right[part].float().mean().item() for part in thirds)
    assert second + 0.03 < min(first, third)


@each_seed
def test_there_is_room_for_new_ones(seed):
    """Long numbers never seen come out whole, far from all; those trained on nearly always."""
    model = trained(seed, steps=1200)
    seen, new = longest(the_task().train), longest(the_task().test)
    assert share_right(model, *seen) > 0.95
    assert 0.15 < share_right(model, *new) < 0.5
