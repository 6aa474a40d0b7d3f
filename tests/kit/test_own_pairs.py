"""A learner's own 30,000 sentence pairs load, train, translate and are kept, in bounded memory."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

N_PAIRS, N_WORDS = 30_000, 9_000

# Runs in a process of its own, because a process tells only the peak of its whole life.
PROGRAM = """
import sys

import torch

from lessons_lib.decoding import translate
from lessons_lib.kit.checkpoints import load_checkpoint, save_checkpoint
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.tasks import read_pairs
from lessons_lib.kit.training import train
from lessons_lib.transformer import CachedTransformer, Transformer

folder = sys.argv[1]
task = read_pairs(f"{folder}/pairs.tsv", max_words=8000)
seed_everything(0)
words = len(task.src_vocab), len(task.tgt_vocab)
model = Transformer(*words, d_model=128, n_heads=4, d_ff=512)
print("pairs", len(task.train[0]) + len(task.test[0]), "words", *words)
losses = train(model, task, steps=12, lr=2e-3)
print("falls", sum(losses[:3]) > sum(losses[-3:]))
save_checkpoint(f"{folder}/model.pt", model, task)
loaded = CachedTransformer(*words, d_model=128, n_heads=4, d_ff=512).eval()
load_checkpoint(f"{folder}/model.pt", loaded, task)
sentence = "s5 s17 neverseen s8"
print("unknown", task.encode(sentence).tolist().count(3))
print("same", translate(model, task, sentence) == translate(loaded, task, sentence))
if sys.platform == "linux":  # not ru_maxrss: there a child inherits its parent's peak
    status = dict(line.split(":") for line in open("/proc/self/status"))
    print("peak", int(status["VmHWM"].split()[0]) // 1024)
"""


def write_pairs(path: Path) -> None:
    """Made-up text with the statistics that matter: Zipf's law, and some long sentences."""
    draw = random.Random(0)
    frequency = [1 / (rank + 5) for rank in range(N_WORDS)]
    with path.open("w", encoding="utf-8") as file:
        for n in range(N_PAIRS):
            length = 200 if n % 1000 == 0 else max(2, min(60, int(draw.lognormvariate(2.2, 0.5))))
            words = draw.choices(range(N_WORDS), frequency, k=length)
            src, tgt = ([f"{side}{word}" for word in words] for side in "st")
            file.write(" ".join(src) + "\t" + " ".join(reversed(tgt)) + "\n")


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    write_pairs(folder / "pairs.tsv")
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.split("\n") if " " in line)


def test_all_pairs_are_loaded_with_vocabularies_of_thousands(answers):
    assert answers["pairs"] == f"{N_PAIRS} words 8004 8004"


def test_training_shows_progress_and_the_loss_falls(answers):
    assert any("12/12 steps, loss" in value for value in answers.values())
    assert answers["falls"] == "True"


def test_a_kept_model_translates_a_sentence_with_an_unknown_word(answers):
    assert answers["unknown"] == "1" and answers["same"] == "True"


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
@pytest.mark.skipif("LESSONS_ROUNDING" in os.environ, reason="moving results takes memory, too")
def test_memory_is_bounded(answers):
    """In MiB, torch and the 30,000 pairs included; sentences of 200 words are among them."""
    assert int(answers["peak"]) < 1500
