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
each_seed = pytest.mark.parametrize("seed", range(3))
CUTS = {
    "single": list,
    "reversed": lambda digits: list(digits[::-1]),
    "right": lambda digits: f"{int(digits):,}".split(","),
    "left": lambda digits: wrap(digits, 3),
}
task = functools.cache(lambda name: number_digits(CUTS[name]))


@functools.cache
def right(name, seed, lr=4e-3, steps=400):
    """Which held-out numbers come out right: (N,)."""
    own = task(name)
    seed_everything(seed)
    model = CachedTransformer(len(own.src_vocab), len(own.tgt_vocab))
    train(model, own, steps=steps, lr=lr, seed=seed)
    share = exact_match(greedy_decode(model, own.test[0]), own.test[1]).float()
    print(f"{name}, seed {seed}, rate {lr:g}, {steps} steps: {share.mean():.3f}")
    return share


@each_seed
def test_order_and_cut_decide(seed):
    assert right("reversed", seed).mean() > 0.97
    assert right("right", seed).mean() > 0.93
    assert right("left", seed).mean() < 0.35
    assert right("single", seed).mean() < 0.85
    # At half the rate single digits are at their best of four; the order stays.
    assert right("left", seed).mean() + 0.2 < right("single", seed, 2e-3).mean() < 0.97


@each_seed
def test_single_digits_depend_on_the_length(seed):
    n_digits = lengths(task("single").test[0]) - 1  # (N,)
    shares = {n: right("single", seed)[n_digits == n].mean() for n in (4, 5, 6)}
    print(f"seed {seed}:", {n: round(share.item(), 2) for n, share in shares.items()})
    assert max(shares.values()) > 0.9
    assert max(shares.values()) - min(shares.values()) > 0.25


@each_seed
def test_single_digits_need_more_steps(seed):
    assert right("single", seed, steps=1200).mean() > 0.97
