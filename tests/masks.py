"""Masks for the tests of lessons 3 and 5."""

import torch


def one_of_each_shape(B: int, T_q: int, T_k: int) -> dict[str, torch.Tensor | None]:
    """A mask of each shape that a layer takes, every query with a key of its own."""
    torch.manual_seed(2)
    lengths = torch.randint(1, T_k, (B, 1, 1))
    masks = {
        "none": None,
        "T_q T_k": torch.rand(T_q, T_k) < 0.6,
        "B 1 T_k": torch.arange(T_k) < lengths,
        "B T_q T_k": torch.rand(B, T_q, T_k) < 0.5,
    }
    for mask in masks.values():
        if mask is not None:
            mask[..., 0] = True
    return masks
