"""What every Python process of the tests starts with, kernels and subprocesses too.

No network; and another processor's rounding, where the environment asks for it.

Python runs the first `sitecustomize` on its path at start-up. conftest.py puts this folder first
on PYTHONPATH; a `sitecustomize` further down the path, the environment's own, then runs as usual.
"""

import importlib.util
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from network_guard import forbid_network
from other_rounding import round_otherwise

forbid_network()
if seed := os.environ.get("LESSONS_ROUNDING"):
    round_otherwise(int(seed))

_here = Path(__file__).resolve().parent
_next = PathFinder.find_spec(
    "sitecustomize", [entry for entry in sys.path if Path(entry).resolve() != _here]
)
if _next is not None:
    _next.loader.exec_module(importlib.util.module_from_spec(_next))
