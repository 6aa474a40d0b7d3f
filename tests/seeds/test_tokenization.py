"""What lesson 9 claims, for three seeds: of the weights, and of the order of the batches."""

import functools
from textwrap import wrap

import pytest

from lessons_lib.decoding import greedy_decode
from lessons_lib.kit.metrics import exact_match
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.tasks import number_digits
from lessons_lib.kit.training import train
from lessons_lib.kit.vocabulary import lengths
from lessons_lib.transformer import CachedTransformer

pytestmark = pytest.mark.seeds
CUTS = {
    "as written": list,
    "reversed": lambda digits: list(reversed(digits)),
    "threes from the right": lambda digits: f"{int(digits):,}".split(","),
    "threes from the left": lambda digits: wrap(digits, 3),
}
task = functools.cache(lambda name: number_digits(CUTS[name]))


@functools.cache
def right(name, seed, steps, lr=4e-3):
    """Which held-out numbers come out right: (N,)."""
    own = task(name)
    seed_everything(seed)
    model = CachedTransformer(len(own.src_vocab), len(own.tgt_vocab))
    train(model, own, steps=steps, lr=lr, seed=seed)
    share = exact_match(greedy_decode(model, own.test[0]), own.test[1]).float()
    print(f"{name}, seed {seed}, rate {lr:g}, {steps} steps: {share.mean():.3f}")
    return share


each_seed = pytest.mark.parametrize("seed", range(3))


@each_seed
def test_order_decides(seed):
    assert right("reversed", seed, 250).mean() > 0.94
    assert right("as written", seed, 250).mean() < 0.5
    assert right("as written", seed, 250, lr=2e-3).mean() < 0.6  # its best of three rates


@each_seed
def test_as_written_depends_on_the_length(seed):
    n_digits = lengths(task("as written").test[0]) - 1  # (N,)
    shares = [right("as written", seed, 250)[n_digits == n].mean() for n in (4, 5, 6)]
    print(f"seed {seed}:", [round(share.item(), 2) for share in shares])
    assert max(shares) > 0.5 and min(shares) < 0.2


@each_seed
def test_as_written_needs_more_steps(seed):
    assert right("as written", seed, 1200).mean() > 0.97


@each_seed
def test_threes_from_the_right_win(seed):
    assert right("threes from the right", seed, 400).mean() > 0.93
    assert right("threes from the left", seed, 400).mean() < 0.4
