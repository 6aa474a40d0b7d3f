"""How everything here is measured: sides take turns in one run, and what counts is their ratio."""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of repeated measurements."""

    low: float
    middle: float
    high: float

    def __str__(self) -> str:
        return f"{digits(self.middle)} ({digits(self.low)}–{digits(self.high)})"


def digits(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles; of a single value, that value."""
    values = list(values)
    if len(values) == 1:
        values *= 2
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


def ratios(times: Mapping[str, Sequence[float]], base: str) -> dict[str, Spread]:
    """Each side's time divided by the base's time of the same round: median and quartiles."""
    return {
        name: spread([t / b for t, b in zip(values, times[base], strict=True)])
        for name, values in times.items()
    }


def seconds(work: Callable[[], object], device: str = "cpu") -> float:
    """CPU seconds of this process, or the GPU's own seconds between two of its events."""
    if device == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000


def alternate(
    sides: Mapping[str, Callable[[], object]], rounds: int, device: str = "cpu", warm_up: int = 1
) -> dict[str, list[float]]:
    """Seconds of every side in every round. A round runs each side once, in turn.

    Each round begins with another side, because what a side leaves in caches and in memory slows
    down or speeds up the next one.
    """
    names = list(sides)
    times: dict[str, list[float]] = {name: [] for name in names}
    for n in range(warm_up + rounds):
        first = n % len(names)
        for name in names[first:] + names[:first]:
            taken = seconds(sides[name], device)
            if n >= warm_up:
                times[name].append(taken)
    return times


def python(program: str, *arguments: object) -> str:
    """What a program prints that runs in a fresh Python of its own, from the project's root."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise RuntimeError(f"the measured program failed:\n{done.stderr}")
    return done.stdout


def peak_memory() -> float:
    """The most memory that this process has held so far, in MiB; NaN on Windows, which hides it."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux: its getrusage counts the parent's memory in, too
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10  # KiB
    if sys.platform == "win32":
        return float("nan")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; floats get three digits."""

    def line(cells: Sequence[object]) -> str:
        shown = (digits(cell) if isinstance(cell, float) else str(cell) for cell in cells)
        return f"| {' | '.join(shown)} |"

    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)]) + "\n"


def machine() -> str:
    """What the figures were taken on, in one line."""
    parts = [
        f"{os.cpu_count()} cores {platform.machine()} ({torch.backends.cpu.get_cpu_capability()})",
        f"{torch.get_num_threads()} thread in use",
        f"Python {platform.python_version()}",
        f"torch {torch.__version__}",
        f"x-transformers {version('x-transformers')}",
    ]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)
