"""Notebooks and tests in a pytest of their own, in another environment."""

import os
import subprocess
import sys
from pathlib import Path

from tools.execute import ROOT


def run_strictly(path: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run one notebook, strictly and in its own kernel, or one file of tests."""
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "--dist=no", "-p", "no:cacheprovider"]
    command += ["-p", "tests.nearly"]  # for a planted notebook, too, which has no conftest
    return subprocess.run(
        [*command, "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), str(path)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        encoding="utf-8",
    )
