import pytest

from tests.laws.notebook_shape import SECTIONS, violations
from tests.laws.planted import code, none, only, plant_notebook, text
from tests.laws.project import ROOT

TEMPLATE = "\n\n".join(f"## {section}: words\n\nText." for section in SECTIONS)
TWENTY_FIVE = "\n\n".join(f"x{n} = {n}" for n in range(25))
CLASS_TWIN = "# twin: lessons_lib.masking.A\nclass A:\n" + "\n".join(
    f"    x{n} = {n}" for n in range(38)
)
DOCSTRING = 'def f():\n    """One.\n\n    Two.\n    """\n'
PLOT = """from lessons_lib.kit.figures import curve
by_length = [1, 2]
figure = curve(
    by_length,
    title="A",
)
figure"""


def planted(root, *cells, template=TEMPLATE, room="notebooks"):
    return plant_notebook(root, f"{room}/01_a.ipynb", text(template, "words"), *cells)


def test_repository():
    none(violations(ROOT))


def test_sound_tree(tmp_path):
    root = planted(tmp_path, TWENTY_FIVE, CLASS_TWIN, f"{DOCSTRING}{indented(24)}", PLOT)
    assert violations(root) == []


def indented(count):
    return "\n".join(f"    x{n} = {n}" for n in range(count))


@pytest.mark.parametrize("room", ["notebooks", "exercises", "solutions"])
@pytest.mark.parametrize(
    "source",
    [
        f"{TWENTY_FIVE}\nx = 1",
        f"{TWENTY_FIVE}\n# a comment",
        f"class A:\n{indented(25)}",
        f"# twin: lessons_lib.masking.f\ndef f():\n{indented(24)}",
        f"{DOCSTRING}{indented(25)}",
    ],
)
def test_long_cell(tmp_path, room, source):
    root = planted(tmp_path, code(source, "long"), room=room)
    only(violations(root), f"{room}/01_a.ipynb [long]", "26 lines of code, at most 25")


def test_long_class_twin(tmp_path):
    root = planted(tmp_path, code(f"{CLASS_TWIN}\n    x = 1", "long"))
    only(violations(root), "[long]", "41 lines of code, at most 40")


@pytest.mark.parametrize("source", ["%matplotlib inline", "!ls", "def f(:"])
def test_magic(tmp_path, source):
    only(violations(planted(tmp_path, code(source, "magic"))), "[magic]", "not plain Python")


@pytest.mark.parametrize("source", ["x = 1;", "x = 1\nx;  # quiet", "x = 1 ; \n\n"])
def test_semicolon_at_a_lines_end(tmp_path, source):
    only(violations(planted(tmp_path, code(source, "quiet"))), "[quiet]", "ends with ';'")


def test_semicolon_inside_a_string(tmp_path):
    assert violations(planted(tmp_path, 'x = """\na;\n"""  # b;')) == []


@pytest.mark.parametrize(
    "source",
    [
        "import matplotlib.pyplot as p",
        "from matplotlib import figure",
        "plt.plot([1])",
        "def f():\n    import seaborn",
    ],
)
def test_plotting_past_the_kit(tmp_path, source):
    only(violations(planted(tmp_path, code(source, "plot"))), "[plot]", "lessons_lib.kit.figures")


@pytest.mark.parametrize(
    "source",
    [
        PLOT.replace("curve(\n", "curve(\n    'one',\n    'more',\n"),
        "def draw():\n" + indented(4) + "\n    return curve(x1)",
        "from lessons_lib.kit import figures\nfor n in range(3):\n" + indented(4) + "\n    figures",
        PLOT.replace("kit.figures", "kit.diagrams").replace("curve(\n", "curve(\n    1,\n    2,\n"),
        "from lessons_lib.kit import sketches\ndef f():\n" + indented(4) + "\n    sketches",
    ],
)
def test_long_plot(tmp_path, source):
    root = planted(tmp_path, "from lessons_lib.kit.figures import curve", code(source, "plot"))
    only(violations(root), "[plot]", "6 lines of plotting, at most 5")


@pytest.mark.parametrize("section", SECTIONS)
def test_missing_section(tmp_path, section):
    root = planted(tmp_path, template=TEMPLATE.replace(f"## {section}", f"### {section}"))
    only(violations(root), "notebooks/01_a.ipynb", f"0 sections '## {section}'")


def test_section_inside_a_code_fence_does_not_count(tmp_path):
    fenced = TEMPLATE.replace("## Idea: words", "```\n## Idea: words\n```")
    only(violations(planted(tmp_path, template=fenced)), "0 sections '## Idea'")


def test_section_that_stands_twice(tmp_path):
    root = planted(tmp_path, template=f"{TEMPLATE}\n\n## Recap\n")
    only(violations(root), "2 sections '## Recap'")


def test_sections_out_of_order(tmp_path):
    swapped = TEMPLATE.replace("## Idea", "## X").replace("## Code", "## Idea")
    swapped = swapped.replace("## X", "## Code")
    only(violations(planted(tmp_path, template=swapped)), "Question, Code", "put them in order")


def test_exercises_need_no_sections_and_lessons_may_have_more(tmp_path):
    planted(tmp_path, template="## Task 1", room="exercises")
    assert violations(planted(tmp_path, template=f"## Self-test\n\n{TEMPLATE}")) == []


@pytest.mark.parametrize("id", ["a1b2c3d4", "3f9a1c2e-7a10-4d3b", "By-Hand", "by--hand", "7"])
def test_unreadable_id(tmp_path, id):
    root = planted(tmp_path, code("1", id), room="solutions")
    only(violations(root), f"solutions/01_a.ipynb [{id}]", "not readable")


def test_duplicate_id(tmp_path):
    root = planted(tmp_path, code("1", "again"), text("2", "again"), room="exercises")
    only(violations(root), "[again]", "2 cells have this id")


PICTURE = [
    {"output_type": "display_data", "metadata": {}, "data": {"image/png": "", "text/plain": ""}}
]


@pytest.mark.parametrize(
    "room, is_folded", [("notebooks", False), ("notebooks", True), ("exercises", False)]
)
def test_cell_that_draws_is_folded_in_a_lesson(tmp_path, room, is_folded):
    cell = code("curve(by_length)", "curve", outputs=PICTURE)
    cell.metadata["jupyter"] = {"source_hidden": is_folded}
    found = violations(planted(tmp_path, cell, room=room))
    if room == "notebooks" and not is_folded:
        only(found, "[curve]", "is not folded")
    else:
        none(found)
