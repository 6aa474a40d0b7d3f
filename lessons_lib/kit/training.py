"""The training loop of all lessons, its loss, and its one line of progress."""

from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib.kit.batches import bucketed_batches
from lessons_lib.kit.device import check_device, on_device_of
from lessons_lib.kit.tasks import Task
from lessons_lib.kit.vocabulary import PAD


def teacher_forcing(tgt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Split targets into what the decoder reads and what it must answer.

    The decoder reads the true previous word and answers with the next one: BOS a b EOS becomes
    BOS a b → a b EOS. Both results have shape (B, T − 1) for `tgt` of shape (B, T).
    """
    return tgt[:, :-1], tgt[:, 1:]  # (B, T-1) each


def token_loss(logits: torch.Tensor, labels: torch.Tensor, pad: int = PAD) -> torch.Tensor:
    """Average −log p(right word) over the real words: (B, T, V), (B, T) → ().

    Positions whose label is `pad` don't count, neither above nor below the fraction.
    """
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=pad)  # ()


def learning_rate(step: int, steps: int, peak: float, warmup: float = 0.1) -> float:
    """Learning rate at `step` (from 0): a linear climb to `peak`, then a line down to zero.

    The climb takes the share `warmup` of all steps.
    """
    climb = max(1, round(warmup * steps))
    return peak * min((step + 1) / climb, (steps - step) / max(1, steps - climb))


def fit(
    model: nn.Module,
    loss_of: Callable[..., torch.Tensor],
    batches: Iterator[tuple[torch.Tensor, ...]],
    steps: int,
    lr: float = 3e-3,
    warmup: float = 0.1,
    groups: list[dict] | None = None,
) -> list[float]:
    """Train `model` on `steps` batches with the loss `loss_of(*batch)`, where its weights are.

    AdamW (betas 0.9 and 0.98), linear warm-up over the share `warmup` of the steps, linear decay,
    gradients clipped to length 1. `groups` are the optimizer's parameter groups; one with an "lr"
    keeps its ratio to `lr` all the way. Without them all parameters are trained alike.

    Prints one line of progress, and returns the loss of every step. A GPU is waited for every ten
    steps, to print the loss.
    """
    groups = groups or [{"params": list(model.parameters())}]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=True)
    peaks = [group["lr"] for group in optimizer.param_groups]
    losses: list[float] = []
    unread: list[torch.Tensor] = []  # a number that is read is waited for: ten at once
    model.train()
    for step in range(steps):
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = learning_rate(step, steps, peak, warmup)
        loss = loss_of(*(on_device_of(model, ids) for ids in next(batches)))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        unread.append(loss.detach())
        if (step + 1) % 10 == 0 or step + 1 == steps:
            losses += torch.stack(unread).tolist()
            unread.clear()
            print_progress(step + 1, steps, losses)
    model.eval()
    return losses


def train(
    model: nn.Module,
    task: Task,
    steps: int = 400,
    lr: float = 3e-3,
    batch_size: int = 64,
    seed: int = 0,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = token_loss,
    warmup: float = 0.1,
    device: str | torch.device | None = None,
) -> list[float]:
    """Train `model(src, decoder input) → logits (B, T, V)` on `task.train` with teacher forcing.

    `fit` does it, with batches of similar length. `loss_of` takes logits and labels. Returns the
    loss of every step.

    `device` is where the model moves before it is trained, and stays: "cuda", "mps" or "cpu", or
    what `lessons_lib.kit.device.best_device` finds; without it the model is trained where it is.
    The task stays on the CPU.

    Raises:
        ValueError: if this computer does not have the device.
    """
    if device is not None:
        check_device("device", device)
        model.to(device)

    def loss(src, tgt):
        decoder_input, labels = teacher_forcing(tgt)  # (B, T-1) each
        return loss_of(model(src, decoder_input), labels)

    batches = bucketed_batches(*task.train, batch_size=batch_size, seed=seed)
    return fit(model, loss, batches, steps, lr, warmup)


def print_progress(step: int, steps: int, losses: list[float], width: int = 24) -> None:
    """Rewrite one line: a bar, the steps, the loss averaged over the last 50 steps.

    No times and one decimal: the last frame is the same on every run and every machine.
    """
    done = width * step // steps
    recent = losses[-50:]
    bar = "█" * done + "░" * (width - done)
    end = "\n" if step == steps else ""
    loss = sum(recent) / len(recent)
    print(f"\r{bar} {step}/{steps} steps, loss {loss:.1f}", end=end, flush=True)
