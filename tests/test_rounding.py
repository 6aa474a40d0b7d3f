"""What is claimed holds when the last bits come out otherwise, as on another maker's processor.

Under `LESSONS_ROUNDING`, with the number of a seed, results move by a unit in the last place:
tests/start/other_rounding.py says which. `python course.py test -m rounding` runs every notebook
strictly under two seeds, and the library's own tests under one.
"""

import os
import subprocess
import sys

import pytest
import torch
from other_rounding import imitate
from torch.nn import functional as F

from tests.laws.planted import code, plant_notebook
from tests.laws.project import ROOT
from tests.strictly import run_strictly
from tools.execute import course_notebooks

SEEDS = ("1", "2")
STEMS = [path.stem for path in (ROOT / "lessons_lib").glob("[!_]*.py")]
LIBRARY_TESTS = [
    *sorted((ROOT / "tests" / "kit").glob("test_*.py")),
    *(ROOT / "tests" / f"test_{stem}.py" for stem in sorted(STEMS)),
    ROOT / "tests" / "test_cached_transformer.py",
    ROOT / "tests" / "test_exercises.py",
]


def ids(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.rounding
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("notebook", course_notebooks(), ids=ids)
def test_notebook(notebook, seed):
    result = run_strictly(notebook, LESSONS_ROUNDING=seed)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.rounding
@pytest.mark.parametrize("path", LIBRARY_TESTS, ids=ids)
def test_library(path):
    result = run_strictly(path, LESSONS_ROUNDING=SEEDS[0])
    assert result.returncode == 0, result.stdout + result.stderr


def test_one_lesson_holds_under_another_rounding():
    """One notebook in the test command itself; `-m rounding` runs them all."""
    result = run_strictly(ROOT / "notebooks" / "04_masking.ipynb", LESSONS_ROUNDING="1")
    assert result.returncode == 0, result.stdout + result.stderr


# --- the imitation itself -------------------------------------------------------------------------

PREPARE = "import torch\n\nx, w = torch.randn(5, 64), torch.randn(64, 32)\n"


@pytest.mark.parametrize(
    "claim, holds",
    [
        ("assert torch.equal(x @ w, x @ w)", True),
        ("assert torch.equal((x @ w)[:3], x[:3] @ w)", False),
        ("assert torch.allclose((x @ w)[:3], x[:3] @ w, atol=1e-5)", True),
    ],
)
def test_exact_comparison_across_shapes_is_caught(tmp_path, claim, holds):
    """By the same road as above: a kernel, strict validation, the seed in the environment."""
    plant_notebook(tmp_path, "claim.ipynb", code(PREPARE + claim, "claim"))
    result = run_strictly(tmp_path / "claim.ipynb", LESSONS_ROUNDING="1")
    assert (result.returncode == 0) == holds, result.stdout + result.stderr
    assert holds or "AssertionError" in result.stdout


def test_subprocess_rounds_otherwise_too():
    command = [sys.executable, "-c", PREPARE + "print(torch.equal((x @ w)[:3], x[:3] @ w))"]
    environment = os.environ | {"LESSONS_ROUNDING": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
    assert result.stdout == "False\n", result.stderr


def units_apart(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """How many units in the last place lie between two tensors of one sign."""
    integer = {torch.float32: torch.int32, torch.float64: torch.int64}[one.dtype]
    return one.view(integer) - other.view(integer)


OPERATIONS = {
    "matmul": lambda x: x @ x.mT,
    "batched": lambda x: x[None] @ x.mT[None],
    "linear": lambda x: F.linear(x, x, x[0, :1]),
    "einsum": lambda x: torch.einsum("td,sd->ts", x, x),
    "softmax": lambda x: x.softmax(-1),
    "log_softmax": lambda x: x.log_softmax(-1),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[-1:]),
    "sum": lambda x: x.sum(-1),
    "mean": lambda x: x.mean(0),
    "std": lambda x: x.std(0),
    "norm": lambda x: x.norm(dim=-1),
    "tanh": torch.tanh,
    "exp": torch.exp,
    "in_place": lambda x: x.clone().exp_(),
    "attention": lambda x: F.scaled_dot_product_attention(*[x[None, None]] * 3),
    "loss": lambda x: F.cross_entropy(x, torch.arange(len(x)))[None],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_results_move_by_one_unit_in_the_last_place_at_most(operation, dtype):
    x = torch.rand(7, 9, dtype=dtype, generator=torch.Generator().manual_seed(0)) + 0.1
    here = operation(x)
    with imitate(seed=3):
        there, again = operation(x), operation(x)
    assert torch.equal(there, again)
    if operation is not OPERATIONS["loss"]:  # one number, of two steps, may stay by chance
        assert (units_apart(here, there) != 0).any()
    # two operations in a row may move it twice, and what they compute in between counts more
    assert units_apart(here, there).abs().max() <= 4


def test_every_third_result_stays_and_the_others_move_both_ways():
    x = torch.rand(300, 50, generator=torch.Generator().manual_seed(0))
    with imitate(seed=3):
        moved = x.exp()
    moves = units_apart(moved, x.exp()).flatten()
    assert set(moves.tolist()) == {-1, 0, 1}
    shares = torch.stack([(moves == move).float().mean() for move in (-1, 0, 1)])
    assert (shares - 1 / 3).abs().max() < 0.02


def test_gradients_and_steps_of_an_optimizer_move():
    w = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))

    def gradient_and_step():
        weight = w.clone().requires_grad_()
        optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
        (weight @ w.T).tanh().sum().backward()
        gradient = weight.grad.clone()
        weight.grad = torch.ones_like(weight)  # the same for both
        optimizer.step()
        return gradient, weight.detach()

    here = gradient_and_step()
    with imitate(seed=3):
        there = gradient_and_step()
    for one, other in zip(here, there, strict=True):
        assert not torch.equal(one, other) and torch.allclose(one, other, atol=1e-5)


def test_what_is_exact_on_every_machine_stays():
    """Small whole numbers, copies, comparisons, single products; no number, infinity, nothing."""
    x = torch.arange(12.0).view(3, 4)
    special = torch.tensor([0.0, 1.0, -torch.inf, torch.inf, torch.nan])
    y = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    operations = [
        lambda: x @ x.T,
        lambda: F.one_hot(torch.tensor([2, 0]), 3).float() @ x,
        lambda: torch.cumsum(x, 0),
        lambda: special.sum(),
        lambda: torch.tensor([-1], dtype=torch.int32).view(torch.float32).exp(),  # all bits 1: NaN
        lambda: special[[0, 2, 3]].exp(),
        lambda: torch.where(y > 0.5, y, -y) * y + y / 3 - y.sqrt(),
        lambda: F.embedding(torch.tensor([1, 2]), y),
        lambda: y.masked_fill(y > 0.5, torch.finfo(torch.float32).min).amax(0),
        lambda: torch.zeros(0, 4) @ y.T,
    ]
    for operation in operations:
        here = operation()
        with imitate(seed=3):
            there = operation()
        assert torch.equal(here.nan_to_num(7.0), there.nan_to_num(7.0))


def test_seeds_shapes_and_operations_have_moves_of_their_own():
    x = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) + 0.1

    def moved(seed, operation):
        with imitate(seed):
            return operation(x)

    assert not torch.equal(moved(1, torch.exp), moved(2, torch.exp))
    assert not torch.equal(moved(1, torch.exp)[:5], moved(1, lambda x: x[:5].exp()))
    one = units_apart(moved(1, torch.exp), x.exp())
    assert not torch.equal(one, units_apart(moved(1, torch.tanh), x.tanh()))


def test_large_results_are_moved_as_well():
    x = torch.rand(1100, 1000, generator=torch.Generator().manual_seed(0)) + 0.1
    with imitate(seed=3):
        moved = x.exp()
    assert (units_apart(moved, x.exp())[-1] != 0).any()
