"""Greedy decoding and beam search under the start/step contract."""

import itertools

import pytest
import torch

from lessons_lib.decoding import (
    beam_decode,
    best_continuations,
    greedy_decode,
    length_penalty,
    next_word_p,
    sample,
    translate,
)
from lessons_lib.kit.batches import trim
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


@pytest.mark.parametrize("decode", [greedy_decode, beam_decode, sample])
def test_what_is_written_can_be_trained_on(task_and_model, decode):
    """Ids made in inference mode could not: the gradient would ask for them."""
    task, model = task_and_model
    ids = decode(model, task.test[0][:3])
    embed = torch.nn.Embedding(len(task.tgt_vocab), 4)
    embed(ids).sum().backward()
    assert not ids.is_inference() and embed.weight.grad.abs().sum() > 0


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


# --- beam search ----------------------------------------------------------------------------------


class Table:
    """A model whose next word depends on the last one only: a table of probabilities (V, V)."""

    def __init__(self, table):
        self.log_p = table.log()

    def start(self, src):
        return (torch.zeros(len(src), 1),)

    def step(self, state, token):
        return self.log_p[token], state


def random_table(seed, n_words=7):
    """Probabilities (V, V); PAD, BOS and UNK are never written."""
    torch.manual_seed(seed)
    table = torch.rand(n_words, n_words)
    table[:, [PAD, BOS, 3]] = 0
    return table / table.sum(dim=1, keepdim=True)


def exhaustive(table, alpha, max_steps):
    """The best of all sentences with up to `max_steps` words, tried one by one."""
    log_p, best = table.log(), (-torch.inf, None)
    for T in range(1, max_steps + 1):
        for words in itertools.product(range(len(table)), repeat=T):
            # an ending of its own, or one that max_steps cuts off
            if EOS in words[:-1] or (words[-1] != EOS and max_steps > T):
                continue
            total = sum(log_p[pair].item() for pair in itertools.pairwise((BOS, *words)))
            best = max(best, (total / ((5 + T) / 6) ** alpha, words))
    return list(best[1])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_beam_as_wide_as_all_sentences_finds_the_best(seed, alpha):
    table = random_table(seed)
    found = beam_decode(Table(table), SRC[:1], width=200, alpha=alpha, max_steps=4)
    assert found[0].tolist() == exhaustive(table, alpha, max_steps=4)


def test_two_beams_find_what_greedy_misses():
    table = torch.zeros(8, 8)
    table[BOS, [4, 5]] = torch.tensor([0.6, 0.4])
    table[4, [6, 7]], table[5, 6], table[[6, 7], EOS] = 0.5, 1.0, 1.0
    model = Table(table)
    assert greedy_decode(model, SRC[:1]).tolist() == [[4, 6, EOS]]
    assert beam_decode(model, SRC[:1], width=2, alpha=0.0).tolist() == [[5, 6, EOS]]


def test_a_finished_beam_stays_in_the_race_and_may_win():
    table = torch.zeros(6, 6)
    table[BOS, [EOS, 4]] = torch.tensor([0.4, 0.6])
    table[4, [4, EOS]] = torch.tensor([0.5, 0.5])  # never better than 0.3
    assert beam_decode(Table(table), SRC, width=2, alpha=0.0).tolist() == [[EOS], [EOS]]
    longer = beam_decode(Table(table), SRC, width=2, alpha=4.0, max_steps=6)
    assert longer.shape[1] > 1, "a strong length penalty prefers the longer sentence"


def test_length_penalty_is_equation_14():
    assert length_penalty(1, 0.6) == 1.0
    assert length_penalty(7, 1.0) == pytest.approx(2.0)
    assert length_penalty(19, 0.5) == pytest.approx(2.0)
    assert length_penalty(19, 0.0) == 1.0
    assert torch.equal(length_penalty(torch.tensor([1, 7]), 1.0), torch.tensor([1.0, 2.0]))


def test_best_continuations_by_a_loop():
    torch.manual_seed(0)
    B, width, V, alpha = 3, 4, 6, 0.7
    logits, log_p = torch.randn(B, width, V), -torch.rand(B, width)
    n_words = torch.randint(1, 5, (B, width))
    ended = torch.tensor([[False, True, False, False]] * B)
    beam, word, new = best_continuations(logits, log_p, n_words, ended, alpha)
    for b in range(B):
        ways = []
        for k, v in itertools.product(range(width), range(V)):
            if ended[b, k] and v != PAD:
                continue
            step = 0.0 if ended[b, k] else logits[b, k].log_softmax(0)[v].item()
            total = log_p[b, k].item() + step
            T = n_words[b, k].item() + (0 if ended[b, k] else 1)
            ways.append((total / length_penalty(T, alpha), k, v, total))
        best = sorted(ways, reverse=True)[:width]
        assert list(zip(beam[b].tolist(), word[b].tolist(), strict=True)) == [w[1:3] for w in best]
        assert new[b].tolist() == pytest.approx([w[3] for w in best], abs=1e-5)


def test_best_continuations_leaves_its_inputs_alone():
    inputs = torch.randn(2, 3, 5), -torch.rand(2, 3), torch.ones(2, 3), torch.eye(3)[:2] > 0
    before = [x.clone() for x in inputs]
    best_continuations(*inputs, 0.6)
    assert all(map(torch.equal, inputs, before))


@pytest.mark.parametrize("name", ["width", "max_steps"])
@pytest.mark.parametrize("value", [0, -2, 1.5, True])
def test_width_and_max_steps_are_checked(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1"):
        beam_decode(Table(random_table(0)), SRC, **{name: value})


def test_a_beam_may_be_wider_than_the_vocabulary():
    found = beam_decode(Table(random_table(1)), SRC, width=50, max_steps=1)
    assert torch.equal(found, greedy_decode(Table(random_table(1)), SRC, max_steps=1))


def test_width_one_is_greedy(task_and_model):
    task, model = task_and_model
    src = task.test[0]
    greedy = greedy_decode(model, src, max_steps=12)
    beam = beam_decode(model, src, width=1, max_steps=12)
    assert torch.equal(beam, trim(greedy))


def test_a_batch_of_beams_decodes_like_its_rows_alone(task_and_model):
    task, model = task_and_model
    src = task.test[0][:20]
    together = beam_decode(model, src, width=3, max_steps=12)
    for row in range(0, 20, 3):
        alone = beam_decode(model, src[row : row + 1], width=3, max_steps=12)
        assert torch.equal(alone[0], trim(together[row : row + 1])[0])


def test_no_gradient_is_kept_by_a_beam(task_and_model):
    task, model = task_and_model
    seen = []
    step = model.step
    model.step = lambda state, token: seen.append(torch.is_grad_enabled()) or step(state, token)
    beam_decode(model, task.test[0][:2], width=2, max_steps=3)
    del model.step
    assert seen and not any(seen)


def test_an_empty_source_is_named(task_and_model):
    _, model = task_and_model
    with pytest.raises(ValueError, match=r"src must have shape \(B, T_src\) with no empty axis"):
        beam_decode(model, torch.zeros(2, 0, dtype=torch.long))


def test_next_word_p_is_the_softmax_of_divided_logits():
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, -torch.inf, 3.0]])
    for temperature in (0.1, 1.0, 100.0):
        expected = (logits / temperature).softmax(dim=-1)
        assert torch.allclose(next_word_p(logits, temperature), expected, atol=1e-6)


def test_top_p_keeps_the_word_that_crosses_it():
    logits = torch.tensor([[0.1, 0.5, 0.05, 0.35]]).log()
    for top_p, kept in ((0.01, [1]), (0.49, [1]), (0.6, [1, 3]), (0.9, [0, 1, 3]), (1.0, range(4))):
        p = next_word_p(logits, top_p=top_p)
        assert p.nonzero()[:, 1].tolist() == list(kept)
        assert p.sum().item() == pytest.approx(1.0)
        share = logits.exp()[0, list(kept)]
        assert torch.allclose(p[0, list(kept)], share / share.sum(), atol=1e-6)


def test_words_are_drawn_with_their_probabilities():
    table = torch.zeros(6, 6)
    table[BOS, [3, 4, 5]] = torch.tensor([0.5, 0.3, 0.2])
    table[[3, 4, 5], EOS] = 1.0
    torch.manual_seed(0)
    drawn = sample(Table(table), torch.full((20_000, 1), EOS))
    assert drawn.shape == (20_000, 2) and (drawn[:, 1] == EOS).all()
    shares = drawn[:, 0].bincount(minlength=6) / 20_000
    assert shares.tolist() == pytest.approx(table[BOS].tolist(), abs=0.015)
    kept = sample(Table(table), torch.full((2000, 1), EOS), top_p=0.6)
    assert set(kept[:, 0].tolist()) == {3, 4}


def test_an_impossible_word_is_never_drawn(monkeypatch):
    """Not at the ends of u either: PAD, the first word, and the last one are impossible here."""
    table = torch.zeros(6, 6)
    table[BOS, [3, 4]] = torch.tensor([0.5, 0.5])
    table[[3, 4], EOS] = 1.0
    for rand, word in ((0.0, 4), (1 - 2**-24, 3)):
        monkeypatch.setattr(torch, "rand_like", lambda x, rand=rand: torch.full_like(x, rand))
        assert sample(Table(table), SRC).tolist() == [[word, EOS]] * 2


def test_a_cold_sample_is_greedy_and_a_seed_repeats(task_and_model):
    task, model = task_and_model
    src = task.test[0][:20]
    greedy = greedy_decode(model, src, max_steps=12)
    assert torch.equal(sample(model, src, temperature=1e-6, max_steps=12), greedy)
    pair = []
    for _ in range(2):
        torch.manual_seed(3)
        pair.append(sample(model, src, max_steps=12))
    assert torch.equal(*pair)


def test_a_sample_ends_with_eos_and_padding_and_checks_max_steps():
    model = Script([[7, 8, 9, EOS], [6, EOS, 7, 7]])
    written = sample(model, SRC, temperature=0.01)
    assert written.tolist() == [[7, 8, 9, EOS], [6, EOS, PAD, PAD]]
    with pytest.raises(ValueError, match="max_steps must be a whole number of at least 1"):
        sample(model, SRC, max_steps=0)
