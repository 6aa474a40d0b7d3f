"""Argument checks name the argument, what was given and what was expected."""

import pytest
import torch

from lessons_lib.kit.arguments import (
    check_at_most,
    check_divisible,
    check_ids,
    check_positive,
    check_shape,
    check_vectors,
)


def test_fitting_arguments_pass():
    check_shape("x", torch.zeros(2, 3), ("B", 3))
    check_ids("src", torch.tensor([[0, 4]]), ("B", "T"), 5)
    check_positive("steps", 1)
    check_at_most("places", 3, 3)
    check_divisible("d_hidden", 6, by=2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: check_shape("x", [1], ("B",)), TypeError, "x must be a tensor, got list"),
        (
            lambda: check_shape("x", torch.zeros(2, 4), ("B", 3)),
            ValueError,
            r"x must have shape \(B, 3\) with no empty axis, got \(2, 4\)",
        ),
        (
            lambda: check_shape("x", torch.zeros(2), ("B", 3)),
            ValueError,
            r"x must have shape \(B, 3\) with no empty axis, got \(2,\)",
        ),
        (
            lambda: check_shape("x", torch.zeros(0, 3), ("B", 3)),
            ValueError,
            r"x must have shape \(B, 3\) with no empty axis, got \(0, 3\)",
        ),
        (
            lambda: check_shape("x", torch.zeros(1, 2), ("B",)),
            ValueError,
            r"x must have shape \(B,\)",
        ),
        (
            lambda: check_ids("src", torch.zeros(1, 2), ("B", "T"), 5),
            TypeError,
            r"src must hold word ids \(torch.int64\), got torch.float32",
        ),
        (
            lambda: check_ids("src", torch.tensor([[0, 5]]), ("B", "T"), 5),
            ValueError,
            "src must hold ids from 0 to 4, got 5",
        ),
        (
            lambda: check_ids("src", torch.tensor([[-1, 9]]), ("B", "T"), 5),
            ValueError,
            "src must hold ids from 0 to 4, got -1",
        ),
        (lambda: check_positive("steps", 0), ValueError, "steps must be .* at least 1, got 0"),
        (lambda: check_positive("steps", True), ValueError, "steps must be .* got True"),
        (lambda: check_at_most("places", 4, 3), ValueError, "places must be at most 3, got 4"),
        (lambda: check_vectors("x", [1.0]), TypeError, "x must hold floating.* got list"),
        (
            lambda: check_vectors("x", torch.ones(2, 3).int()),
            TypeError,
            "x must hold floating-point numbers, got torch.int32",
        ),
        (
            lambda: check_vectors("x", torch.ones(4)),
            ValueError,
            r"x must have shape \(…, T, d\) with no empty axis, got \(4,\)",
        ),
        (lambda: check_vectors("x", torch.ones(3, 0, 4)), ValueError, r"got \(3, 0, 4\)"),
        (lambda: check_divisible("d", 7, 2), ValueError, "d must be divisible by 2, got 7"),
        (lambda: check_divisible("d", 0, 2), ValueError, "d must be a whole number"),
    ],
)
def test_what_is_wrong_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
