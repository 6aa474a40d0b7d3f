"""Every section of the benchmark runs in a tiny size, and its sides do the same work.

Nothing here is timed. Without the extra `benchmark` only the arithmetic of ratios is tested.
"""

import importlib.util
import re
from typing import ClassVar

import pytest
import torch

from lessons_lib.decoding import greedy_decode
from lessons_lib.kit.metrics import exact_match
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.tasks import number_words
from lessons_lib.kit.training import train
from lessons_lib.kit.vocabulary import PAD
from lessons_lib.transformer import CachedTransformer
from tests.benchmarks import attention, bahdanau, pairs, starting
from tests.benchmarks.measuring import alternate, ratios, spread, table
from tests.benchmarks.training import (
    Trainer,
    greedy_exact_match,
    per_token,
    ratio_to,
    take_turns,
    to_099,
)

needs_peer = pytest.mark.skipif(
    importlib.util.find_spec("x_transformers") is None, reason="the extra `benchmark` is missing"
)
pytestmark = pytest.mark.filterwarnings("default")  # a peer's warnings are its own


def cells(text):
    """The cells of the last Markdown table in a text, without its header."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    start = max(n for n, line in enumerate(lines) if set(line) <= set("|- ")) + 1
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:]]


def test_a_ratio_is_taken_round_by_round():
    times = {"a": [1.0, 2.0, 30.0, 4.0, 5.0], "b": [2.0, 4.0, 10.0, 8.0, 10.0]}
    assert str(ratios(times, "b")["a"]) == "0.5 (0.5–0.5)"
    assert ratios(times, "a")["a"].middle == 1.0
    assert spread([3.0, 1.0, 2.0, 5.0, 4.0]) == spread([5.0, 4.0, 3.0, 2.0, 1.0])
    assert str(spread([1.0, 2.0, 3.0, 4.0, 5.0])) == "3 (2–4)"
    assert spread([7.0]).middle == 7.0


def test_sides_take_turns_and_each_begins():
    order = []
    sides = {name: lambda name=name: order.append(name) for name in "abc"}
    times = alternate(sides, rounds=3, warm_up=0)
    assert "".join(order) == "abcbcacab"
    assert {name: len(taken) for name, taken in times.items()} == dict.fromkeys("abc", 3)


def test_a_table_is_markdown():
    assert table(("x", "y"), [("a", 1.23456)]) == "| x | y |\n| --- | --- |\n| a | 1.23 |\n"


def test_the_three_forms_of_attention_are_one():
    x = torch.randn(1, 9, 16)
    outputs = [form(x) for form in attention.forms(16, 2).values()]
    for output in outputs[1:]:
        torch.testing.assert_close(output, outputs[0])


def test_attention_tiny():
    assert [row[:2] for row in cells(attention.time((8,), rounds=1, d_model=16))] == [
        ["forwards", "8"],
        ["and gradient", "8"],
    ]


def test_keys_again_gives_the_same_output():
    task = bahdanau.made_up(5, n=3)
    sides = bahdanau.decoders(len(task.src_vocab), len(task.tgt_vocab), 8)
    src, tgt = task.train
    torch.testing.assert_close(sides[bahdanau.KEYS](src, tgt), sides[bahdanau.OURS](src, tgt))
    assert sides[bahdanau.STEPWISE](src, tgt).shape == (3, 5, len(task.tgt_vocab))


def test_bahdanau_tiny():
    rows = cells(bahdanau.section((4,), (8,), (3, 10), steps=1, n_train=64))
    assert len(rows) == 9
    assert {row[4] for row in rows if row[2] == bahdanau.OURS} == {"1 (1–1)"}


def test_made_up_text_is_read_with_the_vocabulary_asked_for(tmp_path):
    rate, _ = pairs.measure(300, vocabulary=50, length=5, layers=1, steps=1).split()
    assert float(rate) > 0
    pairs.write_text(tmp_path / "a", 100, 10)
    lines = (tmp_path / "a").read_text(encoding="utf-8").splitlines()
    lengths = [line.split("\t")[0].count(" ") + 1 for line in lines]
    assert 8 <= sorted(lengths)[50] <= 12


def test_imports_tiny():
    assert float(cells(starting.imports(["lessons_lib.kit.seeding"], rounds=1))[0][1]) < 1
    assert "lessons_lib.transformer" in starting.modules()


def test_the_slowest_items_are_read_from_pytest():
    text = starting.slowest(3, "-n0", "tests/kit/test_arguments.py")
    assert re.match(r"\d+ passed", text), text


def test_greedy_exact_match_needs_one_pass():
    task = number_words(max_digits=2, n_train=60, n_test=30)
    seed_everything(0)
    model = CachedTransformer(len(task.src_vocab), len(task.tgt_vocab), d_model=32)
    train(model, task, steps=120, lr=4e-3)
    src, tgt = task.test
    free_running = exact_match(greedy_decode(model, src), tgt).float().mean().item()
    assert 0.05 < free_running < 0.95  # some right, some wrong
    assert greedy_exact_match(model, src, tgt) == pytest.approx(free_running)


def test_a_trainer_does_what_train_does():
    task = number_words(max_digits=2, n_train=80, n_test=1)

    def model():
        seed_everything(0)
        return CachedTransformer(len(task.src_vocab), len(task.tgt_vocab), d_model=16)

    class Remembering(Trainer):
        losses: ClassVar = []

        def step(self, src, tgt):
            self.losses.append(super().step(src, tgt).item())

    take_turns({"it": Remembering(model(), 4e-3, 5)}, task, steps=5, warm_up=0)
    assert train(model(), task, steps=5, lr=4e-3) == Remembering.losses


@needs_peer
def test_all_sides_read_the_past_only_and_ignore_padding():
    from tests.benchmarks.sides import transformers

    src = torch.tensor([[5, 6, 7, 2, PAD, PAD]])
    tgt = torch.tensor([[1, 8, 9, 10]])
    for name, side in transformers(20, 20, 16).items():
        side.train()
        with torch.no_grad():
            logits = side(src, tgt)
            torch.testing.assert_close(side(src[:, :4], tgt), logits, msg=f"{name}: padding")
            torch.testing.assert_close(side(src, tgt[:, :3]), logits[:, :3], msg=f"{name}: future")


@needs_peer
def test_training_tiny():
    rows = {row[0]: row for row in cells(per_token(16, steps=1, n_train=64))}
    pre, post = (rows[f"torch.nn.Transformer, {norm}"] for norm in ("pre-norm", "post-norm"))
    assert pre[3] == post[4] == "1 (1–1)"
    assert int(rows["torch.nn.Transformer, pre-norm, no biases at all"][1]) < int(pre[1])
    text = to_099(("course, pre-norm", "x-transformers"), (1e-3,), (0,), 2, 1, n_train=64)
    assert [(row[0], row[2], row[4]) for row in cells(text)] == [
        ("course, pre-norm", "2", "–"),
        ("x-transformers", "2", "–"),
    ]


def test_the_ratio_of_a_race_is_taken_seed_by_seed():
    ours, other = [(1.0, 25), (4.0, 50)], [(2.0, 25), (8.0, 50)]
    assert ratio_to(ours, other).middle == 0.5
    assert ratio_to([(float("inf"), 600), (4.0, 50)], other) == "–"


@needs_peer
def test_writing_tiny():
    from tests.benchmarks.writing import growth, sentences, whole, writers

    assert len(cells(whole(2, 3, rounds=1))) == 5
    assert len(cells(growth(2, (2, 3), rounds=1))) == 3
    for name, side in writers().items():
        assert side.write(sentences(2), 4).shape == (2, 4), name


@needs_peer
def test_a_section_is_stored_with_the_machine(tmp_path, monkeypatch):
    from tests.benchmarks import __main__ as command

    monkeypatch.setitem(command.SECTIONS, "gpu", ("On a GPU", lambda: "nothing\n"))
    command.write("gpu", tmp_path)
    stored = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert stored.startswith("# On a GPU\n\n") and "torch" in stored and "nothing" in stored


@needs_peer
def test_without_a_gpu_its_section_says_so(monkeypatch):
    from tests.benchmarks import gpu

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.section() == gpu.NONE
    assert len(cells(gpu.attention_ratios("cpu", (8,), rounds=1, d_model=16))) == 1
