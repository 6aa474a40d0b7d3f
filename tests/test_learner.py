"""`update` and `reset`: what they change, what they keep, and what they say."""

import contextlib
import errno
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import nbformat
import pytest

from lessons_lib.__main__ import main
from lessons_lib.learner import change, files
from lessons_lib.learner.notebook import lessons
from tests.learner_course import (
    FIRST,
    SECOND,
    STUB,
    Course,
    answered,
    cell,
    clone,
    code,
    lesson,
    md,
    source,
    stream,
    to_bytes,
    unrun,
)

LESSON = "notebooks/01_first.ipynb"


class Learner(Course):
    """A course whose commands run in this process."""

    def do(self, *words):
        """Run a command; return (exit status, all that it said)."""
        said = io.StringIO()
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            contextlib.chdir(self.folder),
        ):
            return main(list(words)), said.getvalue()

    def update(self):
        """Update, which must succeed; return what it said. All notebooks are valid afterwards."""
        exit_status, said = self.do("update")
        assert exit_status == 0, said
        for path in self.work.glob("*/*.ipynb"):
            nbformat.validate(nbformat.reads(path.read_text(encoding="utf-8"), as_version=4))
        return said

    def keeps(self, path, content):
        """Whether a backup holds what a file in work/ held before."""
        return any(file.read_bytes() == content for file in self.backups() if file.match(path))


@pytest.fixture
def learner(tmp_path):
    return Learner(tmp_path / "a course").open()


# --- update: who changed what ------------------------------------------------------------------


def test_nothing_new(learner):
    learner.answer("one", answered("one"))
    before = (learner.work / FIRST).read_bytes()
    assert "up to date" in learner.update()
    assert (learner.work / FIRST).read_bytes() == before
    assert not (learner.work / ".backups").exists()


def test_an_untouched_notebook_becomes_the_new_one_byte_by_byte(learner):
    learner.upstream("end", "All done?")
    old = (learner.work / FIRST).read_bytes()
    said = learner.update()
    assert f"work/{FIRST}" in said
    assert (learner.work / FIRST).read_bytes() == to_bytes(learner.given())
    assert learner.keeps(FIRST, old)
    assert "up to date" in learner.update()


def test_an_answer_carries_over_and_the_text_around_it_is_renewed(learner):
    learner.answer("two", answered("two"))
    old = (learner.work / FIRST).read_bytes()
    learner.upstream("two-task", "## The task of two\n\nRead it anew.")
    said = learner.update()
    assert learner.text("two") == answered("two")
    assert learner.text("two-task").endswith("anew.")
    assert "changed: two-task" in said
    assert learner.keeps(FIRST, old)
    assert ".backups/" in said
    assert "Reload Notebook from Disk" in said


def test_an_answer_whose_stub_changed_too_stays_and_the_new_stub_stands_below_as_text(learner):
    learner.answer("two", answered("two"))
    learner.upstream("two", f'def two(x):\n    """Better."""\n    {STUB}')
    assert "yours kept, the new one below it: two" in learner.update()
    assert learner.text("two") == answered("two")
    names = learner.ids()
    assert names[names.index("two") + 1] == "two-new"
    notice = cell(learner.mine(), "two-new")
    assert notice["cell_type"] == "markdown"
    assert "Better" in source(notice)
    assert "up to date" in learner.update()

    # Once deleted, it stays deleted, until the course changes that cell again.
    nb = learner.mine()
    nb["cells"].remove(cell(nb, "two-new"))
    learner.save(nb)
    learner.upstream("end", "Bye.")
    learner.update()
    assert "two-new" not in learner.ids()
    learner.upstream("two", f'def two(x):\n    """Best."""\n    {STUB}')
    learner.update()
    assert "Best" in learner.text("two-new")


def test_a_text_that_both_changed(learner):
    learner.answer("end", "I am done.")
    learner.upstream("end", "Well done.")
    learner.update()
    assert learner.text("end") == "I am done."
    assert "Well done." in learner.text("end-new")


def test_both_made_the_same_change(learner):
    learner.answer("end", "Finished.")
    learner.upstream("end", "Finished.")
    learner.update()
    assert learner.text("end") == "Finished."
    assert "end-new" not in learner.ids()


def test_points_for_the_teacher_are_renewed_in_an_answered_cell(learner):
    learner.answer("one", answered("one"))
    nb = learner.tracked()
    cell(nb, "one")["metadata"]["nbgrader"]["grade_id"] = "other"
    learner.track(FIRST, nb)
    learner.update()
    assert cell(learner.mine(), "one")["metadata"]["nbgrader"]["grade_id"] == "other"
    assert learner.text("one") == answered("one")


def test_other_stored_outputs_are_no_news(learner):
    nb = learner.tracked()
    cell(nb, "one-check")["outputs"] = [stream("still to do")]
    learner.track(FIRST, nb)
    assert "up to date" in learner.update()


def test_outputs_of_the_learner_stay_and_no_others_come(learner):
    nb = learner.tracked()
    cell(nb, "two-check")["outputs"] = [stream("still to do")]
    cell(nb, "end")["source"] = "New."
    learner.track(FIRST, nb)
    mine = learner.mine()
    # What the course has stored too: in a copy that came without, it can only be the learner's.
    cell(mine, "one-check").update(outputs=[stream("to do")], execution_count=1)
    learner.save(mine)
    learner.update()
    assert learner.text("end") == "New."
    assert cell(learner.mine(), "one-check")["outputs"] == [stream("to do")]
    assert cell(learner.mine(), "two-check")["outputs"] == []
    learner.upstream("end", "Newer.")
    learner.update()
    assert cell(learner.mine(), "one-check")["outputs"] == [stream("to do")]


def test_outputs_never_stand_below_code_that_did_not_make_them(learner):
    mine = learner.mine()
    for name in ("one-check", "two-check"):
        cell(mine, name).update(outputs=[stream("passed")], execution_count=3)
    learner.save(mine)
    before = (learner.work / FIRST).read_bytes()
    learner.upstream("one-check", 'check("one", one)  # new')
    learner.upstream("three-check", 'check("three", three)  # new')
    said = learner.update()
    assert "changed, so run it again: one-check" in said
    assert "changed: three-check" in said
    assert cell(learner.mine(), "one-check")["outputs"] == []
    assert cell(learner.mine(), "one-check")["execution_count"] is None
    assert cell(learner.mine(), "two-check")["outputs"] == [stream("passed")]
    assert learner.keeps(FIRST, before)


def test_what_the_course_folds_is_folded_and_what_the_learner_unfolds_stays_so(learner):
    folded = {"source_hidden": True}
    nb = learner.tracked()
    for name in ("one-check", "two-check"):
        cell(nb, name)["metadata"]["jupyter"] = folded
    learner.track(FIRST, nb)
    mine = learner.mine()
    cell(mine, "one-check").update(outputs=[stream("passed")], execution_count=3)
    cell(mine, "one-check")["metadata"]["tags"] = ["mine"]
    learner.save(mine)
    assert "what is folded" in learner.update()
    metadata = cell(learner.mine(), "one-check")["metadata"]
    assert (metadata["jupyter"], metadata["tags"]) == (folded, ["mine"])
    assert cell(learner.mine(), "one-check")["outputs"] == [stream("passed")]

    mine = learner.mine()
    del cell(mine, "two-check")["metadata"]["jupyter"]
    learner.save(mine)
    learner.upstream("end", "Bye.")
    learner.update()
    assert "jupyter" not in cell(learner.mine(), "two-check")["metadata"]
    assert cell(learner.mine(), "one-check")["metadata"]["jupyter"] == folded


def test_what_jupyterlab_changes_by_saving_is_no_change(learner):
    mine = learner.mine()
    mine["metadata"]["language_info"] = {"name": "python", "version": "3.11.7"}
    for each in mine["cells"]:
        each["source"] = source(each)
        if each["cell_type"] == "code":
            each["execution_count"] = 31
    learner.save(mine)
    assert "up to date" in learner.update()
    learner.upstream("one", f"def one(y):\n    {STUB}")
    learner.update()
    assert learner.text("one") == f"def one(y):\n    {STUB}"
    assert learner.mine()["metadata"]["language_info"]["version"] == "3.11.7"


# --- update: cells that come, go and move ------------------------------------------------------


def test_cells_added_moved_and_removed_by_the_course(learner):
    learner.answer("one", answered("one"))
    learner.answer("three", answered("three"))
    learner.track(FIRST, lesson("1 · First", "two", "one", "zero"))
    said = learner.update()
    names = learner.ids()
    two, one, zero = ([f"{name}-task", name, f"{name}-check"] for name in ("two", "one", "zero"))
    # What went upstream is gone, but not an answer: it stays below the cell it stood below.
    assert names == ["title", *two, "three", *one, *zero, "end"]
    assert learner.text("one") == answered("one")
    assert learner.text("three") == answered("three")
    assert "gone: three-task, three-check" in said
    assert "new: zero-task, zero, zero-check" in said
    assert "up to date" in learner.update()


def test_the_learners_own_cells_stay_where_they_are(learner):
    mine = learner.mine()
    for before, name in (("title", "top"), ("two", "mid"), ("end", "low")):
        at = [each["id"] for each in mine["cells"]].index(before)
        mine["cells"].insert(at, code(name, f"# my {name}"))
    mine["cells"].append(md("last", "my last"))
    learner.save(mine)
    nb = lesson("1 · First", "one", "two", "three")
    nb["cells"].insert(5, md("added", "Added."))
    learner.track(FIRST, nb)
    learner.update()
    names = learner.ids()
    assert names[0] == "top"
    assert names[names.index("two") - 1] == "mid"
    assert names[names.index("end") - 1] == "low"
    assert names[-1] == "last"
    assert names[names.index("added") - 1] == "two-task"


def test_own_cells_follow_the_cell_above_when_the_course_moves_it(learner):
    mine = learner.mine()
    at = learner.ids().index("one")
    mine["cells"].insert(at + 1, code("trial", "one(3)"))
    learner.save(mine)
    learner.track(FIRST, lesson("1 · First", "two", "three", "one"))
    assert "the order" in learner.update()
    names = learner.ids()
    assert names[names.index("trial") - 1] == "one"
    assert names.index("three") < names.index("one")


def test_the_learners_order_stays_if_the_course_kept_its_own(learner):
    mine = learner.mine()
    mine["cells"].reverse()
    learner.save(mine)
    learner.upstream("end", "Bye.")
    learner.update()
    assert learner.ids() == [each["id"] for each in mine["cells"]]


def test_what_the_learner_deleted_stays_deleted(learner):
    mine = learner.mine()
    mine["cells"] = [each for each in mine["cells"] if each["id"] != "one-task"]
    learner.save(mine)
    learner.upstream("end", "Bye.")
    learner.update()
    assert "one-task" not in learner.ids()


@pytest.mark.parametrize("stays", ["first half", "second half", "neither"])
def test_a_split_answer(learner, stays):
    """JupyterLab gives one of the halves a new id; other programs give both a new one."""
    mine = learner.mine()
    at = learner.ids().index("two")
    names = {"first half": ("two", "x1"), "second half": ("x1", "two"), "neither": ("x1", "x2")}
    first, second = names[stays]
    halves = [code(first, "factor = 3"), code(second, "def two(x):\n    return factor * x")]
    mine["cells"][at : at + 1] = halves
    learner.save(mine)
    learner.upstream("two", f'def two(x):\n    """New."""\n    {STUB}')
    learner.update()
    texts = [source(each) for each in learner.mine()["cells"] if each["cell_type"] == "code"]
    at = texts.index("factor = 3")
    assert texts[at + 1] == "def two(x):\n    return factor * x"
    # No stub may stand behind the answer, or it would take its place.
    assert not any("def two" in text for text in texts[at + 2 :])
    assert any("New." in source(each) for each in learner.mine()["cells"])


@pytest.mark.parametrize("answer_in", ["original", "copy"])
def test_a_copied_answer(learner, answer_in):
    mine = learner.mine()
    at = learner.ids().index("two")
    mine["cells"].insert(at + 1, {**clone(mine["cells"][at]), "id": "0badcafe"})
    cell(mine, "two" if answer_in == "original" else "0badcafe")["source"] = answered("two")
    learner.save(mine)
    before = [source(each) for each in mine["cells"]]
    learner.upstream("end", "Bye.")
    learner.update()
    assert [source(each) for each in learner.mine()["cells"]][:-1] == before[:-1]


def test_an_answer_whose_id_the_course_changed(learner):
    learner.answer("two", answered("two"))
    nb = learner.tracked()
    cell(nb, "two")["id"] = "second"
    learner.track(FIRST, nb)
    learner.update()
    assert learner.text("second") == answered("two")
    assert "two" not in learner.ids()
    assert STUB not in learner.text("second")


def test_a_cell_whose_id_the_course_changed_keeps_what_the_learner_ran(learner):
    mine = learner.mine()
    cell(mine, "two-check").update(outputs=[stream("passed")], execution_count=3)
    learner.save(mine)
    nb = learner.tracked()
    cell(nb, "two-check")["id"] = "second-check"
    learner.track(FIRST, nb)
    learner.update()
    assert cell(learner.mine(), "second-check")["outputs"] == [stream("passed")]
    assert learner.ids() == [each["id"] for each in nb["cells"]]


def test_duplicate_and_missing_ids(learner):
    mine = learner.mine()
    at = learner.ids().index("two")
    mine["cells"].insert(at + 1, code("two", answered("two", "the second")))
    mine["cells"].append(code("two", answered("two", "the third")))
    for name in ("end", "three", "one-task"):
        del cell(mine, name)["id"]
    learner.save(mine)
    learner.upstream("one", f"def one(y):\n    {STUB}")
    learner.update()
    names = learner.ids()
    assert len(set(names)) == len(names)
    assert names[at : at + 2] == ["two", "two-2"]
    assert learner.text("two-2") == answered("two", "the second")
    assert learner.text("two-3") == answered("two", "the third")
    assert {"end", "three", "one-task"} <= set(names)
    assert "def one(y)" in learner.text("one")


def test_a_notebook_of_another_program_without_any_ids(learner):
    mine = learner.mine()
    cell(mine, "two")["source"] = answered("two")
    for each in mine["cells"]:
        del each["id"]
    mine["nbformat_minor"] = 2
    learner.save(mine)
    learner.upstream("two-task", "## The task of two\n\nAnew.")
    learner.update()
    assert learner.ids() == [each["id"] for each in learner.tracked()["cells"]]
    assert learner.text("two") == answered("two")


def test_a_new_lesson_and_a_deleted_copy(learner):
    learner.track("exercises/03_third.ipynb", lesson("3 · Third", "six"))
    (learner.work / SECOND).unlink()
    said = learner.update()
    assert "work/exercises/03_third.ipynb: new" in said
    for path in (SECOND, "exercises/03_third.ipynb"):
        assert (learner.work / path).read_bytes() == to_bytes(learner.given(path))


# --- update: a work/ of the first edition, whose copies came with outputs ----------------------


@pytest.fixture
def early(tmp_path):
    return Learner(tmp_path / "an early course").open_first_edition()


def test_outputs_that_only_the_course_had_made_go(early):
    """Untouched, saved by JupyterLab, answered and not run, moved: nobody has run these cells."""
    mine = early.mine()
    mine["cells"].append(mine["cells"].pop(3))
    early.save(mine)
    mine = early.mine()
    cell(mine, "two")["source"] = answered("two")
    cell(mine, "two-check")["source"] = 'check("two", two)  # mine'
    early.save(mine)
    before = (early.work / FIRST).read_bytes()
    said = early.update()
    second = "renewed; you had changed nothing in it, and its outputs come when you run it"
    assert f"work/{SECOND}: {second}" in said
    assert "the course's own outputs are gone: run the cells to see yours" in said
    assert early.mine() == unrun(mine)
    assert early.mine(SECOND) == early.given(SECOND)
    assert early.keeps(FIRST, before)
    assert "up to date" in early.update()


def test_what_the_learner_had_run_stays(early):
    mine = early.mine()
    cell(mine, "one-check").update(outputs=[stream("passed")], execution_count=4)
    cell(mine, "two-check").update(execution_count=5)  # run, with the same result
    cell(mine, "three-check")["metadata"]["execution"] = {"iopub.execute_input": "today"}
    mine["cells"].insert(3, code("own", "1 + 1", "2"))
    early.save(mine)
    early.upstream("end", "Bye.")
    early.update()
    for name in ("one-check", "two-check", "three-check", "own"):
        assert cell(early.mine(), name) == cell(mine, name)
    assert cell(early.mine(), "one")["execution_count"] is None
    assert early.text("end") == "Bye."


def test_run_again_after_the_update_they_stay_even_if_they_are_what_was_stored(early):
    early.answer("one", answered("one"))
    early.update()
    # A folder that was copied has lost the times by which originals are told old from new.
    for number, path in enumerate(sorted((early.work / ".originals").rglob("01_first.*.ipynb"))):
        os.utime(path, (number, number))
    for path in change.originals(early.folder, early.folder / FIRST)[:1]:
        assert b"to do" in path
    mine = early.mine()
    for given, each in zip(early.tracked()["cells"], mine["cells"], strict=True):
        if given["cell_type"] == "code":
            each.update(outputs=given["outputs"], execution_count=given["execution_count"])
    early.save(mine)
    assert "up to date" in early.update()
    early.upstream("end", "Bye.")
    early.update()
    assert cell(early.mine(), "one-check")["outputs"] == [stream("to do")]


def test_a_tab_of_the_first_edition_saved_over_the_update(early):
    early.answer("one", answered("one"))
    tab = early.mine()
    early.upstream("end", "Bye.")
    early.update()
    early.save(tab)
    early.update()
    assert early.text("end") == "Bye."
    assert early.text("one") == answered("one")
    assert cell(early.mine(), "two-check")["outputs"] == []


def test_copies_and_halves_of_cells_lose_the_courses_outputs_too(early):
    mine = early.mine()
    at = early.ids().index("two-check")
    mine["cells"].insert(at + 1, {**clone(mine["cells"][at]), "id": "0badcafe"})
    first, second = source(cell(mine, "three-check")).split("\n\n")
    at = [each["id"] for each in mine["cells"]].index("three-check")
    mine["cells"][at]["source"] = second
    mine["cells"].insert(at, {**clone(mine["cells"][at]), "id": "00half00", "source": first})
    early.save(mine)
    early.update()
    names = ("two-check", "0badcafe", "three-check", "00half00")
    assert [cell(early.mine(), name)["outputs"] for name in names] == [[]] * 4


def test_reset_gives_an_exercise_without_outputs(early):
    early.answer("two", answered("two"))
    early.do("reset", "two")
    for name in ("two-task", "two", "two-check"):
        assert cell(early.mine(), name) == cell(early.given(), name)
    assert cell(early.mine(), "one-check")["outputs"] == [stream("to do")]
    early.update()
    assert early.mine() == early.given()


def test_without_its_original_nobody_knows_whose_outputs_they_are(early):
    shutil.rmtree(early.work / ".originals")
    early.answer("one", answered("one"))
    early.upstream("three-task", "## Three\n\nNew.")
    early.update()
    assert early.text("one") == answered("one")
    assert cell(early.mine(), "one-check")["outputs"] == [stream("to do")]


# --- update: which version the learner's notebook stands on ------------------------------------


def test_an_older_work_without_originals_loses_nothing(learner):
    shutil.rmtree(learner.work / ".originals")
    learner.answer("one", answered("one"))
    nb = lesson("1 · First", "one", "two", "three", "four")
    cell(nb, "end")["source"] = "Bye."
    learner.track(FIRST, nb)
    learner.update()
    assert learner.text("one") == answered("one")
    assert learner.text("two") == f"def two(x):\n    {STUB}"
    assert learner.text("four") == f"def four(x):\n    {STUB}"
    # Nobody can tell who wrote "Done.": both texts are there.
    assert learner.text("end") == "Done."
    assert "Bye." in learner.text("end-new")
    assert "up to date" in learner.update()


def test_an_open_tab_that_saves_the_old_notebook_over_the_new_one(learner):
    learner.answer("one", answered("one"))
    tab = learner.mine()
    learner.track(FIRST, lesson("1 · First", "zero", "one", "two", "three"))
    learner.update()
    cell(tab, "two")["source"] = answered("two")
    learner.save(tab)
    learner.update()
    assert "zero" in learner.ids()
    assert learner.text("one") == answered("one")
    assert learner.text("two") == answered("two")


def test_two_updates_in_a_row(learner):
    learner.answer("one", answered("one"))
    learner.upstream("two-task", "## Two\n\nFirst change.")
    learner.update()
    learner.answer("two", answered("two"))
    learner.upstream("two-task", "## Two\n\nSecond change.")
    learner.upstream("three", f"def three(z):\n    {STUB}")
    said = learner.update()
    assert "changed: two-task, three" in said
    assert "yours" not in said
    assert [learner.text(name) for name in ("one", "two")] == [answered("one"), answered("two")]


def test_a_damaged_original_is_not_believed(learner):
    learner.answer("one", answered("one"))
    for file in (learner.work / ".originals").rglob("01_first.*.ipynb"):
        file.write_bytes(file.read_bytes()[:-40])
    learner.upstream("end", "Bye.")
    learner.update()
    assert learner.text("one") == answered("one")
    assert "Bye." in learner.text("end-new")


# --- update: what is in the way ----------------------------------------------------------------


@pytest.mark.parametrize(
    "spoilt",
    [b"", b"{", b"<<<<<<< HEAD\n{}", b'{"nbformat": 4}', b"[]", b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "half", "git", "no cells", "list", "no text", "deep"],
)
def test_a_broken_notebook_is_left_alone_and_the_new_one_put_beside(learner, spoilt):
    (learner.work / FIRST).write_bytes(spoilt)
    learner.answer("four", answered("four"), SECOND)
    learner.upstream("four-task", "## Four\n\nNew.", SECOND)
    exit_status, said = learner.do("update")
    assert exit_status == 1
    assert f"work/{FIRST} is no valid notebook" in said
    assert (learner.work / FIRST).read_bytes() == spoilt
    beside = "exercises/01_first.new.ipynb"
    assert learner.mine(beside) == learner.given()
    assert learner.text("four", SECOND) == answered("four")
    assert learner.text("four-task", SECOND).endswith("New.")

    # The learner goes on in the new one, and the next update treats it like any other.
    learner.answer("one", answered("one"), beside)
    learner.upstream("end", "Bye.")
    learner.do("update")
    assert learner.text("one", beside) == answered("one")
    assert learner.text("end", beside) == "Bye."
    assert (learner.work / FIRST).read_bytes() == spoilt


def test_a_broken_notebook_of_the_course(learner):
    learner.answer("one", answered("one"))
    before = (learner.work / FIRST).read_bytes()
    learner.track(FIRST, b"<<<<<<< HEAD")
    learner.upstream("end", "Bye.", SECOND)
    exit_status, said = learner.do("update")
    assert exit_status == 1
    assert f"{FIRST} itself is no valid notebook" in said
    assert (learner.work / FIRST).read_bytes() == before
    assert learner.text("end", SECOND) == "Bye."
    for words in (["reset", "four"], ["progress"]):
        exit_status, said = learner.do(*words)
        assert exit_status == 1
        assert len(said.splitlines()) == 1


def test_a_notebook_saved_by_jupyterlab_in_the_middle(learner, monkeypatch):
    learner.answer("one", answered("one"))
    learner.upstream("end", "Bye.")
    true_fsync, saved = os.fsync, []

    def fsync(number):
        true_fsync(number)
        if not saved and learner.backups():
            saved.append(answered("one", "saved in the middle"))
            learner.answer("one", saved[0])

    monkeypatch.setattr(os, "fsync", fsync)
    exit_status, said = learner.do("update")
    assert exit_status == 1
    assert "saved by another program" in said
    assert learner.text("one") == saved[0]
    learner.update()
    assert learner.text("one") == saved[0]
    assert learner.text("end") == "Bye."


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("words", [["update"], ["reset", "one"]])
def test_a_write_that_fails_anywhere(learner, monkeypatch, number, words):
    """Each write in turn is the one that fails, in the middle of it."""
    learner.answer("one", answered("one"))
    learner.answer("two", answered("two"))
    learner.upstream("end", "Bye.")
    before = (learner.work / FIRST).read_bytes()
    true_fsync = os.fsync
    for failing in range(100):
        (learner.work / FIRST).write_bytes(before)
        calls = []

        def fsync(file, calls=calls, failing=failing):
            calls.append(file)
            if len(calls) == failing + 1:
                raise OSError(number, os.strerror(number))
            true_fsync(file)

        monkeypatch.setattr(os, "fsync", fsync)
        exit_status, said = learner.do(*words)
        monkeypatch.setattr(os, "fsync", true_fsync)
        unfinished = list(learner.work.rglob("*.unfinished"))
        assert unfinished == []
        assert learner.text("two") == answered("two")
        assert learner.text("one") == answered("one") or learner.keeps(FIRST, before)
        if len(calls) <= failing:
            break
        if exit_status == 1:
            sentence = said.splitlines()[-1]
            assert "disk is full" in sentence or "may not be written" in sentence
    assert failing >= 3
    assert exit_status == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and Linux's mount")
def test_a_disk_that_is_really_full(tmp_path):
    """A file system of 300 kB, filled up."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount")
    try:
        learner = Learner(disk / "course").open()
        learner.answer("one", answered("one"))
        learner.upstream("end", "Bye.")
        before = (learner.work / FIRST).read_bytes()
        room = disk / "rubbish"
        with contextlib.suppress(OSError), open(room, "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 1024)
        exit_status, said = learner.do("update")
        assert exit_status == 1
        assert "The disk is full" in said
        assert (learner.work / FIRST).read_bytes() == before
        assert [*learner.work.rglob("*.unfinished")] == []
        room.unlink()
        learner.update()
        assert learner.text("one") == answered("one")
        assert learner.text("end") == "Bye."
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")
@pytest.mark.parametrize("closed", ["work/exercises", "work", "."])
def test_a_folder_that_is_really_read_only(closed):
    """As another user, if this one may write everywhere."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        learner = Learner(Path(folder) / "course").open()
        learner.answer("one", answered("one"))
        learner.upstream("end", "Bye.")
        before = (learner.work / FIRST).read_bytes()
        for path in [learner.folder, *learner.folder.rglob("*")]:
            path.chmod(0o777 if path.is_dir() else 0o666)
        (learner.folder / closed).chmod(0o555)
        program = f"""if True:
            import fcntl, os, sys
            from lessons_lib.__main__ import main
            os.chdir({str(learner.folder)!r})
            main(["update", "--dry-run"])  # imports all, where that user may not read
            if os.geteuid() == 0:
                os.setgid(65534), os.setuid(65534)
            sys.exit(main(["update"]))
        """
        result = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
        )
        (learner.folder / closed).chmod(0o777)
        assert result.returncode == 1, result.stdout + result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert "may not be written" in result.stderr
        assert (learner.work / FIRST).read_bytes() == before
        learner.update()
        assert learner.text("end") == "Bye."


def test_two_commands_at_once_take_turns(learner):
    learner.answer("one", answered("one"))
    learner.upstream("end", "Bye.")
    with files.lock(learner.folder / ".course.lock", 0):
        results = []
        waiting = threading.Thread(target=lambda: results.append(learner.run("update")))
        waiting.start()
        time.sleep(1.0)
        assert results == []
        assert learner.text("end") == "Done."
        assert learner.do("update", "--dry-run")[0] == 0
    waiting.join()
    exit_status, said, _ = results[0]
    assert exit_status == 0
    assert "Another command is at work here" in said
    assert learner.text("end") == "Bye."


def test_many_updates_at_once_are_one(learner):
    learner.answer("one", answered("one"))
    learner.upstream("end", "Bye.")
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(learner.run("update"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result[0] for result in results] == [0] * 4
    assert sum("changed: end" in result[1] for result in results) == 1
    assert len(learner.backups()) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for rights to make links")
def test_a_link_stays_a_link(learner, tmp_path):
    elsewhere = tmp_path / "elsewhere.ipynb"
    (learner.work / FIRST).rename(elsewhere)
    (learner.work / FIRST).symlink_to(elsewhere)
    learner.upstream("end", "Bye.")
    learner.update()
    assert (learner.work / FIRST).is_symlink()
    assert b"Bye." in elsewhere.read_bytes()


def everything(learner):
    return {path: path.read_bytes() for path in learner.folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("words", [["update"], ["reset", "one"]])
def test_dry_run_says_it_and_writes_nothing(learner, words):
    learner.answer("one", answered("one"))
    learner.upstream("end", "Bye.")
    before = everything(learner)
    exit_status, said = learner.do(*words, "--dry-run")
    assert exit_status == 0
    assert f"would change work/{FIRST}" in said
    assert everything(learner) == before


def test_text_that_is_no_ordinary_text_survives(learner):
    strange = "x = '我爱你 \\ud800 🙂 \u2028 \x85'  # my\r\n"
    mine = learner.mine()
    mine["cells"].insert(2, md("pasted", "![a](attachment:a.png)"))
    cell(mine, "pasted")["attachments"] = {"a.png": {"image/png": "AAAA"}}
    cell(mine, "one")["source"] = [strange, "lone \ud800"]
    (learner.work / FIRST).write_bytes(json.dumps(mine).encode())
    learner.upstream("end", "Bye.")
    exit_status, said = learner.do("update")
    assert exit_status == 0, said
    assert learner.text("one") == strange + "lone \ud800"
    assert cell(learner.mine(), "pasted")["attachments"] == {"a.png": {"image/png": "AAAA"}}


# --- reset -------------------------------------------------------------------------------------


def test_reset_restores_one_exercise_and_nothing_else(learner):
    for name in ("one", "two", "end"):
        learner.answer(name, answered(name))
    learner.answer("two-task", "scribbled over")
    learner.answer("two-check", "1 + 1")
    before = (learner.work / FIRST).read_bytes()
    exit_status, said = learner.do("reset", "two")
    assert exit_status == 0
    given = learner.given()
    for name in ("two-task", "two", "two-check"):
        assert cell(learner.mine(), name) == cell(given, name)
    assert learner.text("one") == answered("one")
    assert learner.text("end") == answered("end")
    assert learner.ids() == [each["id"] for each in given["cells"]]
    assert learner.keeps(FIRST, before)
    assert ".backups/" in said
    assert "Reload Notebook from Disk" in said
    assert "is as it was given" in learner.do("reset", "two")[1]
    assert len(learner.backups()) == 1


def test_reset_after_splitting_copying_moving_and_deleting(learner):
    mine = learner.mine()
    mine["cells"] = [each for each in mine["cells"] if each["id"] != "two"]
    mine["cells"].insert(0, code("copy", answered("two", "a copy")))
    mine["cells"].append(code("late", "y = 3\ndef two(x):\n    return 3"))
    mine["cells"].append(code("mine", "two(3)"))
    mine["cells"].insert(2, mine["cells"].pop(6))
    learner.save(mine)
    learner.do("reset", "two")
    names = learner.ids()
    at = names.index("two-task")
    assert names[at : at + 3] == ["two-task", "two", "two-check"]
    definitions = [each["id"] for each in learner.mine()["cells"] if "def two(" in source(each)]
    assert definitions == ["two"]
    assert STUB in learner.text("two")
    assert learner.text("mine") == "two(3)"


def test_reset_takes_away_what_update_put_beside(learner):
    learner.answer("two", answered("two"))
    learner.upstream("two", f'def two(x):\n    """New."""\n    {STUB}')
    learner.update()
    assert "two-new" in learner.ids()
    learner.do("reset", "two")
    assert "two-new" not in learner.ids()
    assert "New." in learner.text("two")


def test_reset_does_not_hide_from_update_what_else_is_new(learner):
    learner.upstream("two-task", "## Two\n\nNew.")
    learner.upstream("end", "Bye.")
    learner.answer("two", answered("two"))
    learner.do("reset", "two")
    assert learner.text("end") == "Done."
    learner.update()
    assert learner.text("end") == "Bye."


def test_reset_forgets_the_verdict(learner):
    entry = {"status": "pass", "misconception": None, "sentence": "Right."}
    record = learner.work / ".progress.json"
    record.write_text(json.dumps({"one": entry, "two": entry}))
    learner.answer("two", answered("two"))
    learner.do("reset", "two", "--dry-run")
    assert set(json.loads(record.read_text())) == {"one", "two"}
    learner.do("reset", "two")
    assert set(json.loads(record.read_text())) == {"one"}


def test_reset_of_a_broken_or_missing_notebook(learner):
    (learner.work / FIRST).write_bytes(b"{")
    exit_status, said = learner.do("reset", "two")
    assert (exit_status, len(said.splitlines())) == (1, 1)
    assert (learner.work / FIRST).read_bytes() == b"{"
    (learner.work / FIRST).unlink()
    exit_status, said = learner.do("reset", "two")
    assert (exit_status, len(said.splitlines())) == (1, 1)


# --- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, exit_status, sentence",
    [
        (["reset", "tow"], 2, "did you mean: two"),
        (["reset", "banana"], 2, "did you mean: one, two, three, four, five?"),
        (["reset"], 2, "Which exercise?"),
        (["reset", "one", "two"], 2, "'one two'"),
        (["progres"], 2, "did you mean: progress"),
        (["update", "now"], 2, "'now'"),
    ],
)
def test_wrong_words(learner, words, exit_status, sentence):
    before = everything(learner)
    result, output, complaint = learner.run(*words)
    assert (result, output) == (exit_status, "")
    assert len(complaint.splitlines()) == 1
    assert sentence in complaint
    assert {**everything(learner), learner.folder / ".course.lock": b""} == {
        **before,
        learner.folder / ".course.lock": b"",
    }


@pytest.mark.parametrize("words", [["progress"], ["update"], ["reset", "one"]])
def test_elsewhere_and_before_the_first_start(learner, tmp_path, words):
    exit_status, _, complaint = learner.run(*words, place="..")
    assert exit_status == 1
    assert complaint == "This is no folder of the course: go to the one with course.py in it.\n"
    shutil.rmtree(learner.work)
    exit_status, _, complaint = learner.run(*words)
    assert exit_status == 1
    assert complaint.startswith("There is no work/ yet: ")
    assert len(complaint.splitlines()) == 1


@pytest.mark.parametrize("place", [".", "work", "work/exercises"])
def test_the_commands_work_in_every_folder_of_the_course(learner, place):
    learner.upstream("end", "Bye.")
    exit_status, said, complaint = learner.run("update", place=place)
    assert (exit_status, complaint) == (0, "")
    assert f"work/{FIRST}" in said


def test_course_py_and_the_library_name_originals_alike(learner):
    for room in files.ROOMS[:2]:
        for given in (learner.folder / room).glob("*.ipynb"):
            copied = (learner.work / given.relative_to(learner.folder)).read_bytes()
            assert change.originals(learner.folder, given) == [copied]


def test_helper_notebooks_are_like_the_real_ones(learner):
    (first, second) = lessons(learner.folder)
    assert [exercise.id for exercise in first.exercises] == ["one", "two", "three"]
    assert first.exercises[1].cells == ("two-task", "two", "two-check")
    assert (second.number, second.title) == ("2", "Second")
