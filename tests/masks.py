"""What the tests of the attention layers of lessons 3 and 5 share: masks, and bad calls."""

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


# name → call of a layer with query (B, 5, d) and what it projects, error, message
BAD_CALLS = {
    "no queries": (lambda a, q, p: a(q[:, :0], p), ValueError, "query .* no empty axis"),
    "no batch": (lambda a, q, p: a(q[:0], p), ValueError, "query .* no empty axis"),
    "not projected": (
        lambda a, q, p: a(q, q),
        TypeError,
        "projected must be the pair that `project` returns, got Tensor",
    ),
    "float mask": (
        lambda a, q, p: a(q, p, torch.ones(5, 7)),
        TypeError,
        r"mask must be boolean \(True = may attend\), got torch.float32",
    ),
    "integer mask": (
        lambda a, q, p: a(q, p, torch.ones(5, 7).long()),
        TypeError,
        "mask must be boolean .* got torch.int64",
    ),
}
