"""Laws that values cannot show."""

from collections.abc import Callable

import torch

from lessons_lib.checks.diagnosis import alike, close, first_difference
from lessons_lib.checks.exercise import Facts, Property


def same_gradient(
    oracle: Callable,
    names: tuple[str, ...],
    args: tuple,
    idea: str = "the gradient that flows back to the inputs",
) -> Property:
    """The gradient that reaches each floating-point argument is the reference's.

    `names` are the names of `args`; `idea` says what is special about them. An answer with the
    right values fails when it is cut off from its inputs, so that a model could not be trained
    through it.
    """

    def counterexample(answer: Callable) -> Facts | None:
        pairs = zip(names, gradients(answer, args), gradients(oracle, args), strict=True)
        for name, got, expected in pairs:
            if expected is None or (got is not None and alike(got, expected)):
                continue
            if got is None:
                cuts = (
                    ".item(), .tolist(), torch.tensor(…), nn.Parameter(…), .data, .detach() and "
                    "torch.no_grad(), torch.set_grad_enabled(False): they cut gradients off; or a "
                    f"branch that does not use {name}"
                )
                return (
                    ("expected", f"a gradient for {name}"),
                    ("got", "none"),
                    ("look for", cuts),
                )
            return first_difference(f"gradient of {name}", ~close(got, expected), got, expected)
        return None

    return Property(
        "wrong_gradient",
        idea,
        "The values are right, but the gradient that flows back is not.",
        counterexample,
        args,
    )


def gradients(function: Callable, args: tuple) -> list[torch.Tensor | None]:
    """The gradient of a weighted sum of all outputs for each argument; None where none arrives."""
    inputs = [
        arg.clone().requires_grad_()
        if isinstance(arg, torch.Tensor) and arg.is_floating_point()
        else arg
        for arg in args
    ]
    with torch.enable_grad():  # of its own: another function may have switched gradients off
        output = function(*inputs)
    parts = output if isinstance(output, (tuple, list)) else (output,)
    output = torch.cat([part.flatten() for part in parts if part.is_floating_point()])
    if output.requires_grad:
        # unequal weights, so that swapped elements show
        weights = torch.linspace(1, 2, output.numel(), dtype=output.dtype)
        (output * weights).sum().backward()
    return [getattr(value, "grad", None) for value in inputs]
