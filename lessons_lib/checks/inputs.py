"""Inputs that the cases of several lessons share."""

import torch


def normal(seed: int, *shape: int, scale: float = 1.0) -> torch.Tensor:
    """Normal random numbers, the same on every run."""
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(shape, generator=generator, dtype=torch.float32)
