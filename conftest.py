"""How pytest runs here: no network, one thread, and one kernel for each notebook."""

import os
import sys
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

_START = str(Path(__file__).resolve().parent / "tests" / "start")

# What this process sets, notebook kernels and subprocesses inherit.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
_inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
os.environ["PYTHONPATH"] = os.pathsep.join(
    [_START, *(entry for entry in _inherited if entry not in ("", _START))]
)
sys.path.append(_START)

from network_guard import forbid_network  # noqa: E402
from other_rounding import round_otherwise  # noqa: E402

pytest_plugins = ["tests.nearly"]  # what nbval takes for equal

forbid_network()
if seed := os.environ.get("LESSONS_ROUNDING"):
    round_otherwise(int(seed))


class _OneKernelPerNotebook(LoadScopeScheduling):
    """Hands out notebooks as a whole and tests one by one; the longest notebooks go first.

    xdist's own `--dist=loadgroup` silently stops grouping under pytest 9.2 (xdist 3.8).
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::")[0]
        # What these prepare once, a graded class and a training, all their tests share.
        together = (".ipynb", "test_teacher.py", "test_own_pairs.py")
        return path if path.endswith(together) else nodeid


def pytest_xdist_make_scheduler(config, log) -> LoadScopeScheduling:
    """Replace the scheduler that `--dist` names."""
    return _OneKernelPerNotebook(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with what takes longest, the notebooks, so that no worker is left alone with one."""
    items.sort(key=lambda item: item.path.suffix != ".ipynb")
