"""Measure the scoreboard of the course: every model, each at its own best learning rate.

    python tools/scoreboard.py           train what is missing in lessons_lib/scoreboard.json
    python tools/scoreboard.py --again   train everything again

Each model is first trained once at every learning rate, then with three seeds at its best one, for
each budget of steps. It takes about twenty minutes of one core. Rows are written as they come: an
interrupted run goes on where it stopped.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path

from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script finds the modules of its own folder only

from lessons_lib.bahdanau_attention import AttentionEncoderDecoder  # noqa: E402
from lessons_lib.decoding import greedy_decode  # noqa: E402
from lessons_lib.kit.metrics import exact_match, mean_by_length  # noqa: E402
from lessons_lib.kit.scoreboard import RESULTS, Row, best_rate, scoreboard  # noqa: E402
from lessons_lib.kit.seeding import seed_everything  # noqa: E402
from lessons_lib.kit.tasks import Task, number_words  # noqa: E402
from lessons_lib.kit.training import train  # noqa: E402
from lessons_lib.multi_head_attention import MultiHeadAttention  # noqa: E402
from lessons_lib.rnn_bottleneck import GRU, EncoderDecoder  # noqa: E402
from lessons_lib.transformer import CachedTransformer, PostNorm, PreNorm  # noqa: E402

RATES = (2e-3, 4e-3, 7e-3, 1e-2, 1.5e-2)
BUDGETS = (400, 600)  # steps of 64 sentence pairs
SEEDS = (0, 1, 2)


class ForwardEncoder(nn.Module):
    """Annotations of one GRU that reads forwards: what does reading in both directions add?"""

    def __init__(self, n_words: int, d_embed: int, d_hidden: int):
        super().__init__()
        self.embed = nn.Embedding(n_words, d_embed)
        self.rnn = GRU(d_embed, d_hidden)

    def forward(self, src):
        """src (B, T_src) → annotations (B, T_src, d_hidden)."""
        states, _ = self.rnn(self.embed(src))  # (B, T_src, d_hidden)
        return states


def reading_forwards(n_src: int, n_tgt: int) -> nn.Module:
    model = AttentionEncoderDecoder(n_src, n_tgt, d_embed=56)
    model.encoder = ForwardEncoder(n_src, d_embed=56, d_hidden=128)
    return model


Build = Callable[[int, int], nn.Module]
MODELS: dict[str, Build] = {
    "GRU, one vector": lambda src, tgt: EncoderDecoder(src, tgt),
    "GRU with attention": lambda src, tgt: AttentionEncoderDecoder(src, tgt, d_embed=56),
    "GRU with attention, reading forwards": reading_forwards,
    "GRU with 4 heads": lambda src, tgt: AttentionEncoderDecoder(
        src, tgt, d_embed=48, attend=MultiHeadAttention(128, n_heads=4)
    ),
    "Transformer, post-norm": lambda src, tgt: CachedTransformer(src, tgt, residual=PostNorm),
    "Transformer, pre-norm": lambda src, tgt: CachedTransformer(src, tgt, residual=PreNorm),
}


@cache
def task() -> Task:
    return number_words()


def measure(name: str, lr: float, steps: int, seed: int) -> Row:
    """Train one model and let it translate the held-out numbers, free-running."""
    seed_everything(seed)
    model = MODELS[name](len(task().src_vocab), len(task().tgt_vocab))
    train(model, task(), steps=steps, lr=lr, seed=seed)
    src, tgt = task().test
    right = exact_match(greedy_decode(model, src), tgt)  # (N,)
    return Row(
        name,
        lr,
        steps,
        seed,
        n_parameters=sum(parameter.numel() for parameter in model.parameters()),
        exact_match=round(right.float().mean().item(), 3),
        by_length={k: round(share, 3) for k, share in mean_by_length(right, src).items()},
    )


def missing(rows: list[Row]) -> Iterator[tuple[str, float, int, int]]:
    """What is still to be trained. Reads `rows` anew each time: they grow meanwhile."""

    def done(*key):
        return key in {(row.model, row.lr, row.steps, row.seed) for row in rows}

    for name in MODELS:
        search = [(name, lr, min(BUDGETS), 0) for lr in RATES]
        yield from (key for key in search if not done(*key))
        lr = best_rate(rows, name)
        final = [(name, lr, steps, seed) for steps in BUDGETS for seed in SEEDS]
        yield from (key for key in final if not done(*key))


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--again", action="store_true", help="forget the rows that are there")
    rows = [] if parser.parse_args(words).again or not RESULTS.exists() else scoreboard()
    for key in missing(rows):
        start = time.process_time()
        rows.append(measure(*key))
        beside = RESULTS.with_suffix(".part")
        lines = ",\n".join(json.dumps(asdict(row), ensure_ascii=False) for row in rows)
        beside.write_text(f"[\n{lines}\n]\n", encoding="utf-8", newline="\n")
        os.replace(beside, RESULTS)
        print(*key, rows[-1].exact_match, f"{time.process_time() - start:.0f} CPU s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
