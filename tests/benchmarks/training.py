"""Training: CPU time per token at equal size, and time until 99 of 100 numbers come out right."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from lessons_lib.kit.batches import bucketed_batches, trim
from lessons_lib.kit.tasks import Task, number_words
from lessons_lib.kit.training import learning_rate, teacher_forcing, token_loss
from lessons_lib.kit.vocabulary import PAD
from tests.benchmarks.measuring import alternate, ratios, seconds, spread, table
from tests.benchmarks.sides import Torch, transformers

RATES = (1e-3, 1.5e-3, 2e-3, 3e-3, 4e-3, 6e-3)
SEEDS = (0, 1, 2)
STEPS, EVERY, ENOUGH = 600, 25, 0.99
OURS = ("course, pre-norm", "course, post-norm")
TORCH = tuple(f"torch.nn.Transformer, {norm}" for norm in ("pre-norm", "post-norm"))


class Trainer:
    """`kit.training.train`, one step at a time, so that sides can take turns. A test compares."""

    def __init__(self, model: nn.Module, lr: float, steps: int, fused: bool | None = True):
        self.model, self.lr, self.steps, self.done = model.train(), lr, steps, 0
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=lr, betas=(0.9, 0.98), fused=fused
        )

    def step(self, src, tgt) -> torch.Tensor:
        """Learn from one batch, src (B, T_src), tgt (B, T_tgt); returns the loss, ()."""
        tgt_in, labels = teacher_forcing(tgt)  # (B, T_tgt - 1) each
        self.optimizer.param_groups[0]["lr"] = learning_rate(self.done, self.steps, self.lr)
        loss = token_loss(self.model(src, tgt_in), labels)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=1.0)
        self.optimizer.step()
        self.done += 1
        return loss


def take_turns(
    trainers: dict[str, Trainer], task: Task, steps: int, device: str = "cpu", warm_up: int = 5
) -> tuple[dict[str, list[float]], int]:
    """Train all on the same batches, in turn: seconds of every step, and the count of real tokens.

    Real tokens are those of the source and the labels, padding left out.
    """
    batches = bucketed_batches(*task.train)
    names = list(trainers)
    n_tokens, times = 0, {name: [] for name in names}
    for n in range(warm_up + steps):
        src, tgt = (ids.to(device) for ids in next(batches))
        first = n % len(names)
        works = {
            name: partial(trainers[name].step, src, tgt) for name in names[first:] + names[:first]
        }
        for name, (taken,) in alternate(works, rounds=1, device=device, warm_up=0).items():
            if n >= warm_up:
                times[name].append(taken)
        if n >= warm_up:
            n_tokens += int((src != PAD).sum() + (tgt[:, 1:] != PAD).sum())
    return times, n_tokens


def per_token(d_model: int, steps: int = 60, n_train: int = 8000, device: str = "cpu") -> str:
    """Seconds of a training step, every side on the same batches, for each real token.

    Beside the sides of the race: torch's without any bias, and torch's with the form of AdamW that
    torch takes by itself, not the fused one.
    """
    task = number_words(max_digits=9, n_train=n_train, n_test=1)
    sizes = len(task.src_vocab), len(task.tgt_vocab), d_model
    bare, default = f"{TORCH[0]}, no biases at all", f"{TORCH[0]}, AdamW by default"
    sides = transformers(*sizes)
    sides |= {bare: Torch(*sizes, norm_first=True, bias=False), default: Torch(*sizes, True)}
    trainers = {
        name: Trainer(side.to(device), 1e-3, 10**9, fused=None if name == default else True)
        for name, side in sides.items()
    }
    times, n_tokens = take_turns(trainers, task, steps, device)
    compared = [ratios(times, name) for name in TORCH]
    rows = []
    for name, side in sides.items():
        n_parameters = sum(parameter.numel() for parameter in side.parameters())
        per_token = 1e6 * sum(times[name]) / n_tokens
        rows.append((name, n_parameters, per_token, *(ratio[name] for ratio in compared)))
    header = ("side", "parameters", "µs per token", *(f"time / {name}" for name in TORCH))
    return f"d_model {d_model}, {steps} batches of 64 pairs\n\n" + table(header, rows)


@dataclass
class Runner:
    """One side in the race to 0.99."""

    name: str
    lr: float
    trainer: Trainer
    seconds: float = 0.0
    reached: dict[int, float] = field(default_factory=dict)  # step → exact match

    @property
    def arrived(self) -> bool:
        return bool(self.reached) and list(self.reached.values())[-1] >= ENOUGH

    @property
    def result(self) -> tuple[float, int]:
        """CPU seconds until it arrived, without end if it did not, and the steps it took."""
        return self.seconds if self.arrived else float("inf"), self.trainer.done


@torch.no_grad()
def greedy_exact_match(model: nn.Module, src: torch.Tensor, tgt: torch.Tensor) -> float:
    """Share of sentences that greedy decoding gets right, (N, T_src), (N, T_tgt) → 0 … 1.

    One pass is enough: greedy decoding writes exactly `tgt` if, and only if, the most probable
    word after every beginning of `tgt` is its next word.
    """
    model.eval()
    tgt_in, labels = teacher_forcing(trim(tgt))  # (N, T) each
    right = model(trim(src), tgt_in).argmax(dim=-1) == labels  # (N, T)
    model.train()
    return (right | (labels == PAD)).all(dim=1).float().mean().item()


def race(runners: list[Runner], task: Task, seed: int, steps: int, every: int) -> None:
    """Train all on the same batches, in turn, until each has arrived or `steps` are over."""
    batches = bucketed_batches(*task.train, seed=seed)
    test = [ids[:500] for ids in task.test]
    for step in range(1, steps + 1):
        src, tgt = next(batches)
        running = [runner for runner in runners if not runner.arrived]
        for runner in running:
            runner.seconds += seconds(partial(runner.trainer.step, src, tgt))
        if step % every == 0:
            for runner in running:
                runner.reached[step] = greedy_exact_match(runner.trainer.model, *test)


def runners(task: Task, seed: int, rates: dict[str, Sequence[float]], steps: int) -> list[Runner]:
    """One runner for each side and each of its rates."""
    vocabularies = len(task.src_vocab), len(task.tgt_vocab)
    names = {(name, lr) for name, lrs in rates.items() for lr in lrs}
    return [
        Runner(name, lr, Trainer(transformers(*vocabularies, 64, seed)[name], lr, steps))
        for name, lr in sorted(names)
    ]


def to_099(
    names: tuple[str, ...] | None = None, grid=RATES, seeds=SEEDS, steps=STEPS, every=EVERY,
    n_train: int = 8000,
) -> str:  # fmt: skip
    """CPU seconds of training until exact match on 500 held-out numbers is 0.99."""
    task = number_words(max_digits=9, n_train=n_train, n_test=500)
    names = names or tuple(name for name in transformers(5, 5, 64) if name != "x-transformers")
    found: dict[tuple[str, float], list[Runner]] = {(n, lr): [] for n in names for lr in grid}
    for seed in seeds:
        search = runners(task, seed, dict.fromkeys(names, grid), steps)
        race(search, task, seed, steps, every)
        for runner in search:
            found[runner.name, runner.lr].append(runner)
    best = {name: min((total_steps(found[name, lr]), lr) for lr in grid)[1] for name in names}
    finals = {name: [] for name in names}
    for seed in seeds:
        final = runners(task, seed, {name: (lr,) for name, lr in best.items()}, steps)
        race(final, task, seed, steps, every)
        for runner in final:
            finals[runner.name].append(runner.result)
    shown = ", ".join(map(str, seeds))
    text = f"Steps to 0.99 with the seeds {shown}, at each learning rate (– : not reached)\n\n"
    text += table(("side", *grid), [(n, *(arrivals(found[n, lr]) for lr in grid)) for n in names])
    rows = []
    for name in names:
        taken, steps_needed = zip(*finals[name], strict=True)
        cost = " ".join(map(str, steps_needed)), " ".join(f"{second:.1f}" for second in taken)
        against = [ratio_to(finals[ours], finals[name]) for ours in OURS if ours in names]
        rows.append((name, best[name], *cost, *against))
    header = ("side", "rate", "steps", "CPU s", *(f"{o} / it" for o in OURS if o in names))
    return f"{text}\nEach side at its best rate, once more, seeds {shown}\n\n" + table(header, rows)


def total_steps(runners: list[Runner]) -> float:
    """Steps of all seeds together, without end if one did not arrive."""
    return sum(runner.trainer.done if runner.arrived else float("inf") for runner in runners)


def arrivals(runners: list[Runner]) -> str:
    """The steps that each seed took to arrive."""
    return " ".join(str(runner.trainer.done) if runner.arrived else "–" for runner in runners)


def ratio_to(ours: list[tuple[float, int]], other: list[tuple[float, int]]) -> object:
    """Our CPU seconds divided by the other side's, seed by seed; – if one never arrived."""
    times = [(a, b) for (a, _), (b, _) in zip(ours, other, strict=True)]
    if float("inf") in (second for pair in times for second in pair):
        return "–"
    return spread([a / b for a, b in times])
