"""Inputs that the cases of several lessons share."""

import torch


def normal(seed: int, *shape: int, scale: float = 1.0) -> torch.Tensor:
    """Normal random numbers, the same on every run."""
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(shape, generator=generator, dtype=torch.float32)


def truths(*rows: str) -> torch.Tensor:
    """Rows of 0 and 1 as truth values: truths("10", "11") is (2, 2)."""
    return torch.tensor([[letter == "1" for letter in row] for row in rows])
