import nbformat.v4
import pytest

from tests.laws.must_not_exist import violations
from tests.laws.planted import code, html, none, only, plant, plant_notebook, text
from tests.laws.project import ROOT

SOUND = {
    "README.md": "![A map of attention](notebooks/map.png)\n",
    "lessons_lib/__init__.py": '"""The library."""\n',
    "lessons_lib/checks/__init__.py": "from lessons_lib.checks.engine import check\n",
    "lessons_lib/kit/seeding.py": "def seed_everything(seed: int = 0):\n    return seed\n",
    "lessons_lib/masking.py": """from lessons_lib.kit.seeding import seed_everything


class Doorman:
    def __init__(self):
        self.seed = seed_everything()  # (B, T)

    def forward(self, x):
        # The doorman: True = may attend (see lesson 4)
        # (B, T)
        x.seen = self.seed
        return x
""",
}
SOUND_CELL = """from lessons_lib.masking import Doorman
doorman = Doorman()
doorman.seed = 4
# weigh what the doorman lets in: all of it
class Own(Doorman):
    pass"""


def planted(root, files=(), *cells):
    plant(root, SOUND | dict(files))
    return plant_notebook(root, "notebooks/01_a.ipynb", code(SOUND_CELL, "sound"), *cells)


def test_repository():
    none(violations(ROOT))


def test_sound_tree(tmp_path):
    image = html('<img alt="a curve" src="data:image/png;base64,AAAA">')
    local = text("![a map](map.png), [a link](https://example.org)", "links")
    assert violations(planted(tmp_path, {}, local, code("1", "shows", outputs=[image]))) == []


@pytest.mark.parametrize("name", ["lessons_lib/masking.py", "tests/test_a.py", "course.py"])
def test_star_import(tmp_path, name):
    root = planted(tmp_path, {name: "from math import *\n"})
    only(violations(root), name, "line 1", "star import")


def test_star_import_in_a_cell(tmp_path):
    root = planted(tmp_path, {}, code("from math import *", "stars"))
    only(violations(root), "[stars]", "star import")


@pytest.mark.parametrize(
    "name, line",
    [
        ("__init__.py", "from lessons_lib.masking import Doorman\n"),
        (
            "kit/__init__.py",
            "from .seeding import seed_everything\n\n__all__ = ['seed_everything']\n",
        ),
        ("decoding.py", "from lessons_lib.masking import Doorman as Doorman\n"),
        ("checks/__init__.py", "from lessons_lib.checks.engine import verdict\n"),
    ],
)
def test_re_export(tmp_path, name, line):
    root = planted(tmp_path, {f"lessons_lib/{name}": line})
    only(violations(root), "line 1", "re-exports")


def test_kwargs(tmp_path):
    source = "def draw(x, **kwargs):\n    return plot(x, **kwargs)\n"
    root = planted(tmp_path, {"lessons_lib/kit/figures.py": source})
    only(violations(root), "lessons_lib.kit.figures line 1", "**kwargs")


@pytest.mark.parametrize("line", ['model_config = {"d_model": 64}', 'print(cfg["d_model"])'])
def test_config_dictionary(tmp_path, line):
    root = planted(tmp_path, {}, code(line, "config"))
    only(violations(root), "[config]", "config dictionary")
    root = planted(tmp_path, {"lessons_lib/decoding.py": line + "\n"})
    only(violations(root), "lessons_lib.decoding", "config dictionary")


@pytest.mark.parametrize("line", ["self.weights = x", "self.n, y = 1, 2", "self.calls += 1"])
def test_state_stashed_on_self(tmp_path, line):
    source = SOUND["lessons_lib/masking.py"].replace("x.seen = self.seed", line)
    root = planted(tmp_path, {"lessons_lib/masking.py": source})
    only(violations(root), "lessons_lib/masking.py line 11", "forward stores self.")


@pytest.mark.parametrize(
    "line",
    [
        "Doorman.forward = print",
        "setattr(Doorman, 'forward', print)",
        "class Own(Own):\n    pass",
        "Own.late = 1",
    ],
)
def test_method_bolted_on(tmp_path, line):
    root = planted(tmp_path, {}, code(line, "later"))
    only(violations(root), "[later]", "afterwards", "build it in one cell")


@pytest.mark.parametrize(
    "comment",
    ["scores = query @ key", "print(x)", "if x > 3:", "import torch", "for x in range(3):"],
)
def test_commented_out_code(tmp_path, comment):
    root = planted(tmp_path, {}, code(f"x = 1\n# {comment}", "old"))
    only(violations(root), "[old] line 2", "commented-out")
    root = planted(tmp_path, {"tests/test_a.py": f"def f():\n    #{comment}\n    pass\n"})
    only(violations(root), "tests/test_a.py line 2", "commented-out")


@pytest.mark.parametrize(
    "line",
    [
        "import urllib.request",
        "from urllib import request",
        "def f():\n    import requests",
        "import torch\ntorch.hub.load('a', 'b')",
        "from torch import hub",
    ],
)
def test_download(tmp_path, line):
    only(violations(planted(tmp_path, {}, code(line, "fetch"))), "[fetch]", "downloads")
    root = planted(tmp_path, {"lessons_lib/kit/tasks.py": line + "\n"})
    only(violations(root), "lessons_lib.kit.tasks", "downloads")


@pytest.mark.parametrize(
    "image",
    [
        "![badge](https://example.org/a.png)",
        '<img alt="a" src="//example.org/a.png">',
        "[![badge](http://example.org/a.png)](notes.md)",
    ],
)
def test_remote_image(tmp_path, image):
    only(violations(planted(tmp_path, {"README.md": image})), "README.md", "remote image")
    only(violations(planted(tmp_path, {}, text(image, "far"))), "[far]", "remote image")
    shows = code("1", "shows", outputs=[html('<img src="https://example.org/a.png">')])
    only(violations(planted(tmp_path, {}, shows)), "[shows]", "remote image")


@pytest.mark.parametrize("data", [{"image/svg+xml": "<svg/>"}, {"text/html": "<p><svg></svg></p>"}])
def test_svg_output(tmp_path, data):
    drawn = nbformat.v4.new_output("display_data", data=data)
    root = planted(tmp_path, {}, code("1", "drawn", outputs=[drawn]))
    only(violations(root), "[drawn]", "SVG")
