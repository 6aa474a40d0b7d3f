"""Measure the course against what a learner would pick instead.

    python -m tests.benchmarks                 all sections: about an hour
    python -m tests.benchmarks tokens writing  these only

Needs the extra `benchmark`. Every section writes its tables, and pictures where it draws, into
`tests/benchmarks/results/`. All figures are ratios of sides that take turns in one run: one thread,
CPU time, median and quartiles.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from tests.benchmarks import attention, bahdanau, gpu, pairs, starting, training, writing
from tests.benchmarks.measuring import machine

RESULTS = Path(__file__).with_name("results")

SECTIONS: dict[str, tuple[str, Callable]] = {
    "tokens": (
        "Training: CPU time per token",
        lambda: "\n".join(training.per_token(d_model) for d_model in (64, 128)),
    ),
    "to_099": ("Training: time to 0.99 exact match", training.to_099),
    "writing": ("Greedy decoding", lambda: f"{writing.whole()}\n{writing.growth()}"),
    "attention": ("Attention", lambda: f"{attention.time()}\n{attention.memory()}"),
    "bahdanau": ("Bahdanau training", bahdanau.section),
    "pairs": ("Training on 30,000 pairs", pairs.sweep),
    "imports": ("Import times over torch's own", starting.imports),
    "notebooks": ("Notebooks", starting.notebooks),
    "tests": ("The test command", starting.slowest),
    "gpu": ("On a GPU", gpu.section),
}


def write(name: str, folder: Path = RESULTS) -> str:
    """Run a section; store its text and its pictures. Returns the text."""
    title, measure = SECTIONS[name]
    measured = measure()
    text, drawn = measured if isinstance(measured, tuple) else (measured, [])
    folder.mkdir(exist_ok=True)
    text = f"# {title}\n\n{machine()}\n\n{text}"
    for n, picture in enumerate(drawn, start=1):
        file = folder / f"{name}_{n}.png"
        file.write_bytes(picture.png())
        text += f"\n![{picture.alt}]({file.name})\n"
    (folder / f"{name}.md").write_text(text, encoding="utf-8", newline="\n")
    return text


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}")
    names = parser.parse_args(words).sections or list(SECTIONS)
    for name in set(names) - set(SECTIONS):
        parser.error(f"sections are {', '.join(SECTIONS)}, got {name!r}")
    torch.set_num_threads(1)
    for name in names:
        print(write(name), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
