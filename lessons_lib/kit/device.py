"""Where a model computes: on the CPU, or on a GPU where there is one.

A model moves to a GPU when `train(…, device=…)` asks for it, and stays there. Data stays on the
CPU: what trains a model or decodes with it brings each batch to it.

A GPU works through a queue, and to ask for one number is to wait until the queue is empty. So the
values of ids are checked on the CPU only: a wrong id stops a GPU with an error of its own, which
names nothing. The same call on the CPU says what is wrong.
"""

import torch
from torch import nn


def best_device() -> str:
    """Name the fastest place to train: "cuda" (NVIDIA, AMD), "mps" (Apple), or else "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_device(name: str, device: str | torch.device) -> None:
    """Raise unless `device` is the name of one that this computer has.

    Raises:
        TypeError: if it is neither a name nor a `torch.device`.
        ValueError: naming the devices that are here.
    """
    if not isinstance(device, str | torch.device):
        raise TypeError(
            f'{name} must be the name of a device, such as "cpu", got {type(device).__name__}'
        )
    here = ["cpu"]
    here += ["cuda"] * torch.cuda.is_available()
    here += [f"cuda:{n}" for n in range(torch.cuda.device_count())]
    here += ["mps", "mps:0"] * torch.backends.mps.is_available()
    if str(device) not in here:
        names = " or ".join(f'"{known}"' for known in here)
        raise ValueError(f'{name} must be {names} on this computer, got "{device}"')


def on_device_of(model: object, ids: torch.Tensor) -> torch.Tensor:
    """Bring ids (B, T) to where the weights of `model` are; without weights they stay."""
    weights = model.parameters() if isinstance(model, nn.Module) else iter(())
    device = next((weight.device for weight in weights), ids.device)
    # Sent without waiting, but not to Apple's GPUs: there such a copy may read what is gone.
    return ids.to(device, non_blocking=device.type == "cuda")
