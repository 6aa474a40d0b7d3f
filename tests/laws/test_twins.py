import pytest

from tests.laws.planted import code, none, only, plant, plant_notebook, text
from tests.laws.project import ROOT
from tests.laws.twins import violations

LIBRARY = '''"""A module."""

from torch import nn

from lessons_lib.kit.arguments import check_ids


# The doorman:
# he keeps padding out.
class Doorman(nn.Module):
    """The library's words."""

    def forward(self, scores, mask):
        check_ids("mask", mask)
        for step in range(3):
            scores = scores + 1  # (B, T)
        return scores


def open_door(door: int = 3) -> int:
    """Open it."""
    return door  # a comment
    # a last word


def _hidden():
    return 0
'''

DOORMAN = '''# twin: lessons_lib.masking.Doorman
# The doorman:
# he keeps padding out.
class Doorman(nn.Module):
    def forward(self, scores, mask):
        """Other words,

        on more lines."""

        check_ids("mask", mask)
        for step in range(3):

            scores = scores + 1  # (B, T)
        return scores'''

OPEN_DOOR = """from torch import nn

# twin: lessons_lib.masking.open_door
def open_door(
    door: int = 3
) -> int:
    return door  # a comment
    # a last word"""

USES = "from lessons_lib.masking import Doorman\nDoorman()"


def planted(root, *first, second=(USES,)):
    """Two lessons; the first builds both concepts, unless told otherwise."""
    plant(
        root, {"lessons_lib/masking.py": LIBRARY, "lessons_lib/kit/masks.py": "def cover(): ...\n"}
    )
    plant_notebook(root, "notebooks/04_masking.ipynb", *(first or (DOORMAN, OPEN_DOOR)))
    return plant_notebook(root, "notebooks/05_more.ipynb", *second)


def test_repository():
    none(violations(ROOT))


def test_docstrings_layout_and_order_of_lessons_do_not_matter(tmp_path):
    assert violations(planted(tmp_path)) == []


def test_kit_is_no_concept_but_may_have_a_twin(tmp_path):
    twin = "# twin: lessons_lib.kit.masks.cover\ndef cover(): ..."
    free = "def cover():\n    return 1"
    imported = "from lessons_lib.kit.masks import cover\ncover()"
    assert violations(planted(tmp_path, imported, twin, DOORMAN, OPEN_DOOR, free)) == []
    drifted = planted(tmp_path, twin.replace("...", "1"), DOORMAN, OPEN_DOOR)
    only(violations(drifted), "[cell-0]", "cover is no twin", "'...'", "'1'")


@pytest.mark.parametrize(
    "old, new",
    [
        ("scores + 1", "scores + 2"),
        ("# (B, T)", "# (T, B)"),
        ("# he keeps padding out.", "# he lets padding in."),
        ("        return scores", "            return scores"),
        ("return scores", "return scores\n        # and more"),
        ('check_ids("mask", mask)', ""),
    ],
)
def test_any_other_token_is_drift(tmp_path, old, new):
    assert old in DOORMAN
    found = violations(planted(tmp_path, DOORMAN.replace(old, new), OPEN_DOOR))
    only(found, "notebooks/04_masking.ipynb [cell-0]", "Doorman is no twin")


def test_a_last_comment_is_part_of_the_definition(tmp_path):
    found = violations(planted(tmp_path, DOORMAN, OPEN_DOOR.replace("    # a last word", "")))
    only(found, "[cell-1]", "open_door", "# a last word")


@pytest.mark.parametrize(
    "binding",
    [
        "def open_door():\n    return 1",
        "open_door = 3",
        "for open_door in range(3):\n    pass",
        "from torch.nn import Module as open_door",
        "from lessons_lib.kit.masks import cover as open_door",
    ],
)
def test_redefinition_without_mark(tmp_path, binding):
    found = violations(planted(tmp_path, DOORMAN, OPEN_DOOR, code(binding, "late")))
    only(found, "[late]", "redefines", "open_door", "mark it as a twin")


def test_a_local_name_is_no_redefinition(tmp_path):
    local = (
        "def visit():\n    open_door = 3\n    return open_door\n[open_door for open_door in 'ab']"
    )
    assert violations(planted(tmp_path, DOORMAN, OPEN_DOOR, local)) == []


@pytest.mark.parametrize(
    "mark, says",
    [
        ("lessons_lib.masking.close_door", "the library has none"),
        ("lessons_lib.doors.open_door", "the library has none"),
        ("lessons_lib.masking._hidden", "does not define it"),
    ],
)
def test_mark_that_names_nothing(tmp_path, mark, says):
    marked = code(f"# twin: {mark}\nimport math", "marked")
    only(violations(planted(tmp_path, DOORMAN, OPEN_DOOR, marked)), "[marked]", says)


@pytest.mark.parametrize("line", ["#twin: lessons_lib.masking.Doorman", "# twin: masking.Doorman"])
def test_malformed_mark(tmp_path, line):
    found = violations(planted(tmp_path, DOORMAN, OPEN_DOOR, code(line, "marked")))
    only(found, "[marked]", "is no mark")


def test_import_before_the_cell_that_builds(tmp_path):
    early = "def late():\n    from lessons_lib.masking import open_door"
    found = violations(planted(tmp_path, DOORMAN, code(early, "early"), OPEN_DOOR))
    only(found, "[early]", "lessons_lib.masking.open_door", "build it first")


def test_import_before_the_lesson_that_builds(tmp_path):
    found = violations(planted(tmp_path, USES, second=(DOORMAN, OPEN_DOOR)))
    only(found, "04_masking.ipynb [cell-0]", "lessons_lib.masking.Doorman", "build it first")


@pytest.mark.parametrize(
    "line", ["import lessons_lib.masking", "from lessons_lib import masking as doors"]
)
def test_import_of_a_whole_module(tmp_path, line):
    found = violations(planted(tmp_path, second=(code(line, "whole"),)))
    only(found, "[whole]", "the whole of lessons_lib.masking")


def test_concept_without_twin(tmp_path):
    found = violations(planted(tmp_path, DOORMAN, text("# twin: lessons_lib.masking.open_door")))
    only(found, "lessons_lib.masking.open_door has no twin")


@pytest.mark.parametrize("extra", ["door = 3", "Doorman()", "def other():\n    return 1"])
def test_marked_cell_holds_something_else(tmp_path, extra):
    found = violations(planted(tmp_path, f"{DOORMAN}\n\n{extra}", OPEN_DOOR))
    only(found, "[cell-0]", "line 16 is not a marked definition")


@pytest.mark.parametrize(
    "check, says",
    [
        ('if mask is None:\n            raise ValueError("mask")', "checks an argument by itself"),
        ("assert mask is not None", "checks an argument by itself"),
        ('check_ids(\n            "mask", mask\n        )', "over several lines"),
    ],
)
def test_long_argument_check(tmp_path, check, says):
    root = planted(tmp_path, DOORMAN.replace('check_ids("mask", mask)', check), OPEN_DOOR)
    library = LIBRARY.replace('check_ids("mask", mask)', check)
    plant(root, {"lessons_lib/masking.py": library})
    only(violations(root), "lessons_lib/masking.py line", says, "one-line call")
