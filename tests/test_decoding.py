"""Greedy decoding under the start/step contract."""

import pytest
import torch

from lessons_lib.decoding import greedy_decode, translate
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.tasks import number_words
from lessons_lib.kit.vocabulary import BOS, EOS, PAD
from lessons_lib.rnn_bottleneck import EncoderDecoder

V = 11


class Script:
    """Writes the given rows word by word, whatever it reads; remembers what it read."""

    def __init__(self, rows):
        self.rows = rows
        self.read = []

    def start(self, src):
        return (torch.zeros(len(src), 1, dtype=torch.long),)  # (B, 1): words written so far

    def step(self, state, token):
        self.read.append(token.tolist())
        (place,) = state
        logits = torch.zeros(len(token), V)
        for row, written in enumerate(place[:, 0].tolist()):
            logits[row, self.rows[row][written]] = 1.0
        return logits, (place + 1,)


SRC = torch.full((2, 3), 5)


def test_rows_end_with_eos_and_padding():
    model = Script([[7, 8, 9, EOS], [6, EOS, 7, 7]])
    assert greedy_decode(model, SRC).tolist() == [[7, 8, 9, EOS], [6, EOS, PAD, PAD]]


def test_it_reads_bos_first_and_then_what_it_wrote_itself():
    model = Script([[7, 8, EOS], [6, 5, EOS]])
    greedy_decode(model, SRC)
    assert model.read == [[BOS, BOS], [7, 6], [8, 5]]


def test_it_stops_when_all_rows_have_ended():
    model = Script([[EOS] * 40, [EOS] * 40])
    assert greedy_decode(model, SRC).tolist() == [[EOS], [EOS]]
    assert len(model.read) == 1


def test_it_stops_after_max_steps():
    model = Script([[7] * 50, [8] * 50])
    assert greedy_decode(model, SRC, max_steps=4).shape == (2, 4)


@pytest.mark.parametrize("max_steps", [0, -1, 2.0])
def test_max_steps_is_checked(max_steps):
    with pytest.raises(ValueError, match="max_steps must be a whole number of at least 1"):
        greedy_decode(Script([[EOS]]), SRC, max_steps=max_steps)


@pytest.fixture(scope="module")
def task_and_model():
    task = number_words(max_digits=4, n_train=300, n_test=50)
    seed_everything(0)
    return task, EncoderDecoder(len(task.src_vocab), len(task.tgt_vocab), 8, 12).eval()


def test_a_batch_decodes_like_its_rows_alone(task_and_model):
    task, model = task_and_model
    src = task.test[0]
    together = greedy_decode(model, src, max_steps=12)
    for row in range(0, 50, 7):
        alone = greedy_decode(model, src[row : row + 1], max_steps=12)
        assert torch.equal(alone[0], together[row, : alone.shape[1]])


def test_decoding_takes_the_most_probable_word_of_teacher_forcing(task_and_model):
    task, model = task_and_model
    src = task.test[0]
    written = greedy_decode(model, src, max_steps=9)  # (N, T)
    read = torch.cat([torch.full((len(src), 1), BOS), written[:, :-1]], dim=1)
    again = model(src, read).argmax(dim=-1)
    real = written != PAD
    assert torch.equal(written[real], again[real])


def test_no_gradient_is_kept(task_and_model):
    _, model = task_and_model
    grads = []
    step = model.step
    model.step = lambda state, token: grads.append(torch.is_grad_enabled()) or step(state, token)
    greedy_decode(model, torch.tensor([[5, EOS]]), max_steps=2)
    del model.step
    assert grads and not any(grads)


def test_translate_goes_from_words_to_words(task_and_model):
    task, model = task_and_model
    text = translate(model, task, "forty-two", max_steps=5)
    ids = greedy_decode(model, task.encode("forty two")[None], max_steps=5)[0]
    assert text == task.decode(ids)
    with pytest.raises(ValueError, match="unknown word 'fortytwo'"):
        translate(model, task, "fortytwo")
