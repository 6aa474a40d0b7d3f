import nbformat.v4
import pytest

from tests.laws.honest_outputs import violations
from tests.laws.planted import code, none, only, plant, plant_notebook, text
from tests.laws.project import ROOT
from tools.execute import ROOMS

SETTINGS = """
[tool.pytest.ini_options]
testpaths = ["tests", "notebooks", "exercises", "solutions"]
addopts = ["--nbval", "-n2"]
"""
SANITIZE = """# What is not compared.

# Pixels: fonts differ.
regex: base64,[A-Z]+
replace: base64,IMAGE
"""
TIMING = """# NBVAL_IGNORE_OUTPUT
start = time.process_time()
slow()
slow_time = time.process_time() - start
ratio = slow_time / fast_time
assert ratio > 2
print(ratio)"""


def planted(root, *cells, room="notebooks", **files):
    plant(root, {"pyproject.toml": SETTINGS, "tests/nbval_sanitize.cfg": SANITIZE})
    return plant_notebook(root, f"{room}/01_a.ipynb", *(cells or ("1 + 1", text("## Idea"), "2")))


def test_repository():
    none(violations(ROOT))


def test_sound_tree(tmp_path):
    assert violations(planted(tmp_path, "1", TIMING, TIMING.replace("ratio >", "a / b >"))) == []


@pytest.mark.parametrize("room", ROOMS)
def test_cell_that_was_never_run(tmp_path, room):
    found = violations(planted(tmp_path, "1", code("2", "lazy", run=None), room=room))
    only(found, f"{room}/01_a.ipynb [lazy]", "was never run")


def test_cells_run_out_of_order(tmp_path):
    found = violations(planted(tmp_path, code("1", "first", run=2), code("2", "second", run=1)))
    assert len(found) == 2
    only(found[:1], "[first]", "run as number 2, it is cell 1")


def test_error_output(tmp_path):
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
    only(violations(planted(tmp_path, code("1", "bad", outputs=[error]))), "[bad]", "ValueError")


def test_stderr_output(tmp_path):
    warning = nbformat.v4.new_output("stream", name="stderr", text="careful")
    only(violations(planted(tmp_path, code("1", "bad", outputs=[warning]))), "[bad]", "stderr")


@pytest.mark.parametrize(
    "comment",
    ["# NBVAL_SKIP", "#NBVAL_RAISES_EXCEPTION", "# PYTEST_VALIDATE_IGNORE_OUTPUT"],
)
def test_comment_that_escapes(tmp_path, comment):
    found = violations(planted(tmp_path, code(f"{comment}\n1 + 1", "sly")))
    only(found, "[sly]", comment, "escapes")


@pytest.mark.parametrize(
    "tag", ["nbval-skip", "raises-exception", "nbval-ignore-output", "skip-execution"]
)
def test_tag_that_escapes(tmp_path, tag):
    found = violations(planted(tmp_path, code("1 + 1", "sly", tags=[tag])))
    only(found, "[sly]", tag, "escapes")


@pytest.mark.parametrize(
    "old, new, says",
    [
        ("time.process_time()", "clock()", "no CPU clock"),
        ("time.process_time()", "time.perf_counter()", "wall clock"),
        ("assert ratio > 2", "", "no ratio"),
        ("assert ratio > 2", "assert slow_time > 2", "no ratio"),
        ("assert ratio > 2", "assert ratio", "no ratio"),
    ],
)
def test_ignored_output_that_is_no_timing(tmp_path, old, new, says):
    assert old in TIMING
    found = violations(planted(tmp_path, code(TIMING.replace(old, new), "timing")))
    only(found, "[timing]", "only for a timing", says)


def test_bytes_that_the_tool_would_not_write(tmp_path):
    root = planted(tmp_path)
    path = root / "notebooks/01_a.ipynb"
    path.write_bytes(path.read_bytes().replace(b'"metadata": {}', b'"metadata": {"scrolled": 1}'))
    only(violations(root), "notebooks/01_a.ipynb", "tools/execute.py")


@pytest.mark.parametrize(
    "old, new, says",
    [
        ('"--nbval"', '"--nbval-lax"', "--nbval"),
        ('"--nbval"', '"-q"', "--nbval"),
        (', "solutions"', "", "testpaths lacks solutions"),
    ],
)
def test_settings_that_test_less(tmp_path, old, new, says):
    root = plant(planted(tmp_path), {"pyproject.toml": SETTINGS.replace(old, new)})
    only(violations(root), "pyproject.toml", says)


@pytest.mark.parametrize(
    "entry, says",
    [
        ("regex: deadbeef\nreplace: x", "has no reason"),
        (r"# Numbers." + "\nregex: \\d+\nreplace: 0", "hides ordinary output"),
        ("# All.\nregex: .*\nreplace: 0", "hides ordinary output"),
        ("\n\n".join(["# Odd.\nregex: qqq\nreplace: x"] * 3), "more than 3 patterns"),
    ],
)
def test_sanitizing_too_much(tmp_path, entry, says):
    root = plant(planted(tmp_path), {"tests/nbval_sanitize.cfg": f"{SANITIZE}\n{entry}\n"})
    only(violations(root), "tests/nbval_sanitize.cfg", says)
