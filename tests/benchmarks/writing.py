"""Greedy decoding: 100 sentences of 100 words, and the cost of a word as the output grows."""

import torch

from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.vocabulary import EOS
from tests.benchmarks.measuring import alternate, ratios, spread, table
from tests.benchmarks.sides import Cached, Plain, Torch, X

OURS = "course, cache"
N_SRC, N_TGT = 40, 45  # about the vocabularies of number words


def writers(d_model: int = 64) -> dict[str, torch.nn.Module]:
    """All sides, untrained. The course's never write EOS, so that all write to the end."""
    sizes = N_SRC, N_TGT, d_model
    builds = {
        OURS: lambda: Cached(*sizes),
        "course, no cache": lambda: Plain(*sizes),
        "torch.nn.Transformer, no cache": lambda: Torch(*sizes, norm_first=True),
        "x-transformers, cache": lambda: X(*sizes, flash=False),
        "x-transformers, cache, flash": lambda: X(*sizes, flash=True),
    }
    sides = {}
    for name, build in builds.items():
        seed_everything(0)
        sides[name] = build().eval()
    for name in (OURS, "course, no cache"):
        sides[name].decoder.to_logits.bias.data[EOS] = -1e4
    return sides


def sentences(n: int, length: int = 20) -> torch.Tensor:
    """Made-up sources without padding, (n, length)."""
    return torch.randint(4, N_SRC, (n, length), generator=torch.Generator().manual_seed(0))


def whole(n: int = 100, steps: int = 100, rounds: int = 5, device: str = "cpu") -> str:
    """Milliseconds for `n` sentences of `steps` words."""
    src = sentences(n).to(device)
    sides = {name: side.to(device) for name, side in writers().items()}
    works = {name: lambda w=side: w.write(src, steps) for name, side in sides.items()}
    times = alternate(works, rounds, device)
    compared = ratios(times, OURS)
    rows = [(name, spread([1000 * t for t in times[name]]), compared[name]) for name in sides]
    return f"{n} sentences × {steps} words, {rounds} rounds\n\n" + table(
        ("side", "ms (quartiles)", f"time, {OURS} = 1 (quartiles)"), rows
    )


def growth(n: int = 100, lengths=(25, 50, 100, 200, 400), rounds: int = 3) -> str:
    """Microseconds for each word of outputs of several lengths, for those that have a cache."""
    src = sentences(n)
    sides = {name: side for name, side in writers().items() if ", cache" in name}
    works = {
        (name, steps): lambda w=side, steps=steps: w.write(src, steps)
        for name, side in sides.items()
        for steps in lengths
    }
    times = alternate(works, rounds)
    rows = []
    for name in sides:
        cost = {steps: spread(times[name, steps]).middle / steps for steps in lengths}
        rows.append((name, *(1e6 * cost[steps] / n for steps in lengths)))
    return "Microseconds for a word, the mean over an output of this length\n\n" + table(
        ("side", *lengths), rows
    )
