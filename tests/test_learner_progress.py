"""The record of verdicts that `check` keeps in work/, and the table that `progress` shows."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from lessons_lib.checks import check
from lessons_lib.checks.engine import EXERCISES
from lessons_lib.learner.notebook import lessons
from lessons_lib.learner.record import forget, recorded, remember
from tests.learner_course import ROOT, Course

RIGHT = EXERCISES["teacher_forcing"].oracle


def stub(tgt):
    raise NotImplementedError


@pytest.fixture
def course(tmp_path):
    return Course(tmp_path / "course").open()


def entry(status, sentence="It adds the padding.", misconception=None):
    return {"status": status, "misconception": misconception, "sentence": sentence}


# --- recording ---------------------------------------------------------------------------------


def test_a_check_in_work_records_the_last_verdict(course, monkeypatch):
    mistake = EXERCISES["teacher_forcing"].misconceptions[0]
    monkeypatch.chdir(course.work / "exercises")
    check("teacher_forcing", RIGHT)
    assert recorded(course.work)["teacher_forcing"]["status"] == "pass"
    check("teacher_forcing", mistake.answer)
    assert recorded(course.work)["teacher_forcing"] == {
        "status": "fail",
        "misconception": mistake.slug,
        "sentence": mistake.sentence,
    }
    check("teacher_forcing", stub)
    assert recorded(course.work)["teacher_forcing"]["status"] == "todo"


@pytest.mark.parametrize("place", [".", "exercises", "work/solutions", ".."])
def test_elsewhere_nothing_is_recorded(course, monkeypatch, place):
    (course.work / "solutions").mkdir()
    monkeypatch.chdir(course.folder / place)
    check("teacher_forcing", RIGHT)
    assert not (course.work / ".progress.json").exists()


def test_what_the_tests_expect_is_not_recorded(course, monkeypatch):
    monkeypatch.chdir(course.work)
    monkeypatch.setenv("LESSONS_EXPECT", "pass")
    check("teacher_forcing", RIGHT)
    assert recorded(course.work) == {}


DAMAGE = [b"", b"{", b"[1, 2]", b'{"x": 3}', b'{"x": {"status": "?"}}', b"\xff", b"[" * 100_000]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_hinders_no_check_and_is_mended_by_it(course, monkeypatch, damage):
    (course.work / ".progress.json").write_bytes(damage)
    monkeypatch.chdir(course.work)
    wanted = repr(check("teacher_forcing", RIGHT))
    assert list(recorded(course.work)) == ["teacher_forcing"]
    monkeypatch.chdir(ROOT)
    assert repr(check("teacher_forcing", RIGHT)) == wanted


def folder_in_the_way(course, monkeypatch):
    (course.work / ".progress.json").mkdir()


def lock_in_the_way(course, monkeypatch):
    (course.work / ".progress.lock").mkdir()


def full_disk(course, monkeypatch):
    def fsync(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)


def spoilt_by_the_learner(course, monkeypatch):
    monkeypatch.setattr(json, "dumps", None)


def deleted_folder(course, monkeypatch):
    monkeypatch.chdir(course.work / "exercises")
    for file in (course.work / "exercises").iterdir():
        file.unlink()
    (course.work / "exercises").rmdir()


@pytest.mark.parametrize(
    "hinder",
    [folder_in_the_way, lock_in_the_way, full_disk, spoilt_by_the_learner, deleted_folder],
)
def test_whatever_hinders_the_record_the_check_goes_on_in_silence(
    course, monkeypatch, capsys, hinder
):
    monkeypatch.chdir(course.work)
    hinder(course, monkeypatch)
    assert check("teacher_forcing", RIGHT).status == "pass"
    assert capsys.readouterr() == ("", "")


def test_kernels_at_once_lose_no_entry(course):
    program = """if True:
        import sys
        from lessons_lib.learner.record import remember
        for number in range(25):
            remember(f"{sys.argv[1]}_{number}", "pass", None, "Right.")
    """
    kernels = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(kernel)],
            cwd=course.work,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for kernel in range(4)
    ]
    assert [kernel.wait(120) for kernel in kernels] == [0] * 4
    found = Counter(name.partition("_")[0] for name in recorded(course.work))
    assert found == {str(kernel): 25 for kernel in range(4)}


def test_forgetting_one_keeps_the_others(course, monkeypatch):
    monkeypatch.chdir(course.work)
    for name in ("one", "two"):
        remember(name, "pass", None, "Right.")
    forget(course.work, "one")
    forget(course.work, "unknown")
    assert list(recorded(course.work)) == ["two"]


def test_recording_does_not_import_torch():
    program = "import sys, lessons_lib.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


# --- the table ---------------------------------------------------------------------------------


def test_the_notebooks_have_all_exercises_that_can_be_checked():
    found = [exercise for lesson in lessons(ROOT) for exercise in lesson.exercises]
    assert {exercise.id for exercise in found} == set(EXERCISES)
    for lesson in lessons(ROOT):
        assert lesson.title[0].isupper()
        for exercise in lesson.exercises:
            assert exercise.title
            assert str(EXERCISES[exercise.id].lesson) == lesson.number
            assert EXERCISES[exercise.id].signature.startswith(f"{exercise.function}(")


def shown(course, record, **environment):
    (course.work / ".progress.json").write_text(json.dumps(record))
    exit_status, output, complaint = course.run("progress", **environment)
    assert (exit_status, complaint) == (0, "")
    return output


def test_it_says_what_is_solved_and_what_comes_next(course):
    output = shown(course, {"one": entry("pass"), "three": entry("fail"), "gone": entry("fail")})
    (first,) = [line for line in output.splitlines() if "First" in line]
    assert first.split() == ["1", "First", "●", "○", "◐", "1", "1", "1"]
    (second,) = [line for line in output.splitlines() if "Second" in line]
    assert second.split() == ["2", "Second", "○", "○", "2"]
    assert "1 of 5 solved" in output
    assert "three: It adds the padding." in output
    assert "next:      two · The task of two" in output
    assert "work/exercises/01_first.ipynb" in output


def test_the_last_try_is_the_one_that_was_made_last(course):
    record = {"two": entry("fail", "Second."), "one": entry("fail", "First.")}
    assert "one: First." in shown(course, record)


def test_all_solved(course):
    names = ("one", "two", "three", "four", "five")
    output = shown(course, {name: entry("pass") for name in names})
    assert "5 of 5 solved" in output
    assert "every exercise is solved" in output


def test_without_a_record_all_is_to_do(course):
    exit_status, output, _ = course.run("progress")
    assert exit_status == 0
    assert "0 of 5 solved" in output
    assert not (course.work / ".progress.json").exists()


def test_a_damaged_record_is_said_and_what_is_whole_in_it_counts(course):
    output = shown(course, {"one": entry("pass"), "two": 3})
    assert "1 of 5 solved" in output
    assert "is damaged" in output
    (course.work / ".progress.json").write_bytes(b"{")
    assert "is damaged" in course.run("progress")[1]


def test_no_colours_outside_a_terminal(course):
    output = shown(course, {"one": entry("fail")})
    assert "\x1b" not in output


@pytest.mark.parametrize("variables", [{"FORCE_COLOR": "1"}, {"NO_COLOR": "1"}])
def test_colours(course, variables):
    environment = {"TERM": "xterm-256color", "FORCE_COLOR": "1", **variables}
    output = shown(course, {"one": entry("pass")}, **environment)
    assert ("\x1b[32m" in output) == ("NO_COLOR" not in variables)


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_it_fits_into_narrow_terminals(course, columns):
    sentence = "This is what you get when the softmax runs over the queries instead of the keys."
    output = shown(course, {"one": entry("fail", sentence)}, COLUMNS=str(columns))
    assert max(len(line.rstrip()) for line in output.splitlines()) <= columns
    assert "01_first.ipynb" in "".join(output.split())


def test_a_terminal_without_the_signs(course):
    output = shown(course, {"one": entry("pass")}, PYTHONIOENCODING="ascii")
    (first,) = [line for line in output.splitlines() if "First" in line]
    assert first.replace("|", " ").split() == ["1", "First", "#", ".", ".", "1", "2"]
    output.encode("ascii")
