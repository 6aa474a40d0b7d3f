"""Training on 30,000 pairs: tokens a second and peak memory, by vocabulary, length and layers.

The text is made up, with the statistics that matter: Zipf's law, lengths spread around a median.
"""

import random
import tempfile
from pathlib import Path

from lessons_lib.kit.batches import bucketed_batches
from lessons_lib.kit.figures import Picture, curves
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.tasks import read_pairs
from lessons_lib.kit.training import train
from lessons_lib.kit.vocabulary import PAD
from lessons_lib.transformer import Transformer
from tests.benchmarks.measuring import peak_memory, python, seconds, table

FACTORS = (0.5, 1, 2, 4)
VOCABULARY, LENGTH, LAYERS = 4000, 10, 2  # the middle of the measurements
DIFFERENT = 20_000  # words that the text draws from


def write_text(path: Path, n_pairs: int, length: int) -> None:
    """Pairs of sentences of `length` words in the median; the target is the source, backwards."""
    draw = random.Random(0)
    total, frequency = 0.0, []
    for rank in range(DIFFERENT):
        total += 1 / (rank + 5)
        frequency.append(total)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(n_pairs):
            count = max(2, min(100, int(length * draw.lognormvariate(0, 0.4))))
            words = draw.choices(range(DIFFERENT), cum_weights=frequency, k=count)
            src, tgt = ([f"{side}{word}" for word in words] for side in "st")
            file.write(" ".join(src) + "\t" + " ".join(reversed(tgt)) + "\n")


def measure(n_pairs: int, vocabulary: int, length: int, layers: int, steps: int) -> str:
    """Train a few steps: tokens for each CPU second, and peak memory in MiB, as two numbers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pairs.tsv")
        write_text(path, n_pairs, length)
        task = read_pairs(path, max_words=vocabulary)
    words = len(task.src_vocab), len(task.tgt_vocab)
    seed_everything(0)
    model = Transformer(*words, d_model=128, n_heads=4, d_ff=512, n_layers=layers)
    train(model, task, steps=2)  # to warm up
    taken = seconds(lambda: train(model, task, steps=steps))
    batches = bucketed_batches(*task.train)  # the same that `train` took
    pairs = [next(batches) for _ in range(steps)]
    n_tokens = sum(int((src != PAD).sum() + (tgt[:, 1:] != PAD).sum()) for src, tgt in pairs)
    return f"{n_tokens / taken} {peak_memory()}"


def sweep(n_pairs: int = 30_000, steps: int = 20, factors=FACTORS) -> tuple[str, list[Picture]]:
    """Change one thing at a time. Returns the table, and a picture of time and of memory."""
    program = (
        "import sys; from tests.benchmarks.pairs import measure;"
        "print('\\n' + measure(*map(int, sys.argv[1:])))"
    )
    middle = {"vocabulary": VOCABULARY, "length": LENGTH, "layers": LAYERS}
    found: dict[tuple[int, ...], tuple[float, float]] = {}
    rows, cost, memory = [], {}, {}
    for what in middle:
        cost[what], memory[what] = [], []
        for factor in factors:
            sizes = {**middle, what: round(middle[what] * factor)}
            key = tuple(sizes.values())
            if key not in found:
                printed = python(program, n_pairs, *key, steps)
                rate, mib = map(float, printed.splitlines()[-1].split())
                found[key] = rate, mib
                rows.append((*key, round(rate), round(mib)))
            cost[what].append(1e6 / found[key][0])
            memory[what].append(found[key][1])
    text = f"{n_pairs:,} pairs, d_model 128, 4 heads, d_ff 512, batch 64, {steps} steps each\n\n"
    text += table((*middle, "tokens / CPU s", "peak MiB"), rows)
    axis = f"times the middle: {VOCABULARY} words, {LENGTH} words a sentence, {LAYERS} layers"
    drawn = []
    for series, title, label in (
        (cost, "What a token costs", "CPU µs per token"),
        (memory, "What training holds in memory", "peak MiB"),
    ):
        ends = [f"{name} from {y[0]:.0f} to {y[-1]:.0f}" for name, y in series.items()]
        alt = f"{title}, {label}, from {factors[0]} to {factors[-1]} {axis}: {'; '.join(ends)}."
        picture = curves(series, title, axis, label, alt, x=factors)
        picture.figure.axes[0].set_ylim(bottom=0)
        drawn.append(picture)
    return text, drawn
