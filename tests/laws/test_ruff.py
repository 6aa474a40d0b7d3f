"""ruff lints and formats all Python, that of the notebooks included."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.laws.planted import code, none, only, plant, plant_notebook
from tests.laws.project import ROOT


def violations(root: Path) -> list[str]:
    found = []
    for command in (["check", "--output-format=concise"], ["format", "--check"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", command[0], "--no-cache", *command[1:], "."],
            cwd=root,
            capture_output=True,
            encoding="utf-8",
        )
        if result.returncode != 0:
            found.append(f"ruff {command[0]}:\n{result.stdout}{result.stderr}")
    return found


def planted(root, source="x = 1\n", cell="x = 1\nx"):
    plant(root, {"lessons_lib/masking.py": source})
    shutil.copy(ROOT / "pyproject.toml", root)
    return plant_notebook(root, "notebooks/01_a.ipynb", code(cell, "cell"))


def test_repository():
    none(violations(ROOT))


def test_sound_tree(tmp_path):
    none(violations(planted(tmp_path)))


@pytest.mark.parametrize(
    "fault, says", [("import os", "ruff check"), ("x = {'a':1}", "ruff format")]
)
def test_planted_fault(tmp_path, fault, says):
    only(violations(planted(tmp_path, source=fault + "\n")), says, "masking.py")
    only(violations(planted(tmp_path, cell=fault)), says, "01_a.ipynb")
