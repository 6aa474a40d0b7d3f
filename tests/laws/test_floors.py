import pytest

from tests.laws.floors import violations
from tests.laws.planted import none, only, plant, plant_notebook
from tests.laws.project import ROOT

SOUND = {
    "lessons_lib/__init__.py": '"""The library."""\n',
    "lessons_lib/kit/__init__.py": "",
    "lessons_lib/kit/seeding.py": "import random\n",
    "lessons_lib/kit/training.py": "from lessons_lib.kit.seeding import seed\n",
    "lessons_lib/masking.py": "import torch\n",
    "lessons_lib/positional_encoding.py": "from lessons_lib.kit import training\n",
    "lessons_lib/decoding.py": "from .kit.seeding import seed\n",
    "lessons_lib/rnn_bottleneck.py": "from . import decoding\n",
    "lessons_lib/checks/__init__.py": "from lessons_lib.checks.engine import check\n",
    "lessons_lib/checks/engine.py": "from ..rnn_bottleneck import GRU\n",
    "lessons_lib/__main__.py": "def run():\n    from lessons_lib.checks import check\n",
}


def test_repository():
    none(violations(ROOT))


def test_sound_tree(tmp_path):
    assert violations(plant(tmp_path, SOUND)) == []


@pytest.mark.parametrize(
    "line",
    [
        "from lessons_lib.rnn_bottleneck import GRU",
        "import lessons_lib.rnn_bottleneck",
        "import lessons_lib.rnn_bottleneck as below",
        "from lessons_lib import rnn_bottleneck",
        "from .rnn_bottleneck import GRU",
        "from . import rnn_bottleneck",
        "def late():\n    from . import rnn_bottleneck",
        "import importlib\nimportlib.import_module('lessons_lib.rnn_bottleneck')",
    ],
)
def test_import_from_a_higher_floor(tmp_path, line):
    """However it is written: masking stands below rnn_bottleneck."""
    root = plant(tmp_path, SOUND | {"lessons_lib/masking.py": line + "\n"})
    only(violations(root), "lessons_lib.masking", "lessons_lib.rnn_bottleneck", "a floor above it")


def test_import_from_a_higher_floor_out_of_a_package(tmp_path):
    line = "from ..masking import mask\n"
    root = plant(tmp_path, SOUND | {"lessons_lib/kit/seeding.py": line})
    only(violations(root), "lessons_lib.kit.seeding", "lessons_lib.masking", "a floor above it")


@pytest.mark.parametrize("name, fault", [("llama", False), ("gpt", True)])
def test_later_lessons_stand_in_their_order(tmp_path, name, fault):
    """Their floors follow the notebooks; 11 must not import from 12."""
    other = {"gpt": "llama", "llama": "gpt"}[name]
    modules = {f"lessons_lib/{name}.py": f"from lessons_lib.{other} import x\n"}
    root = plant(tmp_path, SOUND | {f"lessons_lib/{other}.py": "x = 1\n"} | modules)
    for lesson in ("11_gpt", "12_llama"):
        plant_notebook(root, f"notebooks/{lesson}.ipynb", "x = 1")
    if fault:
        only(violations(root), "lessons_lib.gpt", "lessons_lib.llama", "a floor above it")
    else:
        none(violations(root))


def test_import_from_the_same_floor(tmp_path):
    line = "from lessons_lib.positional_encoding import encode\n"
    root = plant(tmp_path, SOUND | {"lessons_lib/masking.py": line})
    only(violations(root), "lessons_lib.masking", "its own floor")


def test_cycle_inside_the_kit(tmp_path):
    line = "def late():\n    from lessons_lib.kit.training import train\n"
    root = plant(tmp_path, SOUND | {"lessons_lib/kit/seeding.py": line})
    only(violations(root), "lessons_lib.kit.seeding imports lessons_lib.kit.training", "cycle")


def test_module_without_a_floor(tmp_path):
    root = plant(tmp_path, SOUND | {"lessons_lib/attic.py": "import torch\n"})
    only(violations(root), "lessons_lib.attic stands on no floor")


@pytest.mark.parametrize(
    "line, says",
    [
        ("from lessons_lib.cellar import wine", "does not exist"),
        ("from lessons_lib import cellar", "does not exist"),
        ("import lessons_lib", "holds nothing"),
        ("from tools.execute import read", "no part of the library"),
    ],
)
def test_import_of_something_else(tmp_path, line, says):
    root = plant(tmp_path, SOUND | {"lessons_lib/masking.py": line + "\n"})
    only(violations(root), "lessons_lib.masking line 1", says)
