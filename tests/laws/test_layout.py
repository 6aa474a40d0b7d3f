import pytest

from tests.laws.layout import TOP_LEVEL, violations
from tests.laws.planted import code, none, only, plant, plant_notebook, text
from tests.laws.project import ROOT

ROOMS = (
    "exercises/04_masking.ipynb",
    "solutions/04_masking.ipynb",
    "lessons_lib/masking.py",
    "lessons_lib/checks/masking.py",
    "tests/test_masking.py",
)


def planted(root, *cells):
    """A whole house: every name of the top level, and lesson 4 in all its rooms."""
    for name in TOP_LEVEL:
        is_file = "." in name[1:] or name in ("LICENSE", ".gitignore", ".gitattributes")
        plant(root, {name if is_file else f"{name}/a.txt": "words\n"})
    for name in ROOMS:
        if name.endswith(".py"):
            plant(root, {name: "x = 1\n"})
        else:
            plant_notebook(root, name, "x = 1")
    return plant_notebook(root, "notebooks/04_masking.ipynb", *(cells or ("x = 1",)))


def test_repository():
    none(violations(ROOT))


def test_sound_tree(tmp_path):
    root = planted(tmp_path)
    plant(root, {"work/notebooks/mine.py": "", ".venv/x.py": "", "tests/__pycache__/a.pyc": ""})
    assert violations(root) == []


def test_stranger_at_the_top_level(tmp_path):
    only(violations(plant(planted(tmp_path), {"scratch/a.py": ""})), "scratch does not belong")


@pytest.mark.parametrize("name", ["environment.yml", "LICENSE"])
def test_missing_at_the_top_level(tmp_path, name):
    root = planted(tmp_path)
    (root / name).unlink()
    only(violations(root), f"{name} is missing at the top level")


@pytest.mark.parametrize("name", ROOMS)
def test_lesson_without_one_of_its_rooms(tmp_path, name):
    root = planted(tmp_path)
    (root / name).unlink()
    only(violations(root), f"{name} is missing", "notebooks/04_masking.ipynb needs it")


def test_lesson_without_number(tmp_path):
    root = plant_notebook(planted(tmp_path), "notebooks/extra.ipynb", "x = 1")
    only(violations(root), "notebooks/extra.ipynb", "two-digit number")


@pytest.mark.parametrize("name", ["lessons_lib/utils.py", "tests/helpers.py", "tools/utils/a.py"])
def test_name_that_says_nothing(tmp_path, name):
    only(violations(plant(planted(tmp_path), {name: ""})), name, "says nothing")


# Written in two halves, so that this file does not hold what it plants.
@pytest.mark.parametrize("path", ["/ho" + "me/ada/data", "/tm" + "p/x", "C:\\" + "Users\\ada"])
def test_path_of_one_machine(tmp_path, path):
    root = plant(planted(tmp_path), {"tools/a.py": f"first = 1\npath = r'{path}'\n"})
    only(violations(root), "tools/a.py line 2", "path of one machine")


def test_path_of_one_machine_in_a_stored_output(tmp_path):
    shown = {"output_type": "stream", "name": "stdout", "text": "/ho" + "me/ada/lesson"}
    root = planted(tmp_path, code("1", "talks", outputs=[shown]))
    only(violations(root), "notebooks/04_masking.ipynb [talks]", "path of one machine")


def test_relative_paths_and_addresses_are_fine(tmp_path):
    words = "work/notebooks ./tm" + "p/x https://example.org/ho" + "me/x and/or A/B\n"
    assert violations(plant(planted(tmp_path), {"README.md": words})) == []


@pytest.mark.parametrize("host", ["py" + "pi.org", "python" + "hosted.org"])
def test_host_of_a_registry(tmp_path, host):
    root = plant(planted(tmp_path), {".ci/run": f"pip install -i https://{host}/simple x\n"})
    only(violations(root), ".ci/run line 1", host)
    root = planted(plant(root, {".ci/run": ""}), text(f"See {host}.", "says"))
    only(violations(root), "[says]", host)
