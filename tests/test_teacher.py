"""What the teacher's commands and nbgrader make of submissions, honest and not.

One course, one release, one autograding of all submissions: nbgrader is slow to start.
"""

import csv
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from nbformat import reads

from lessons_lib.checks.engine import EXERCISES
from lessons_lib.learner.notebook import without_outputs
from tests.laws.project import ROOT, files
from tools.execute import canonical_bytes, read, write
from tools.teacher import __main__ as teacher
from tools.teacher import judge
from tools.teacher.rehearsal import BORROWED, rehearse

pytestmark = pytest.mark.skipif(os.name == "nt", reason="nbgrader grades on Linux and macOS")

NAME = "01_rnn_bottleneck"
SOLUTION = ROOT / "solutions" / f"{NAME}.ipynb"
IDS = [exercise.id for exercise in EXERCISES.values() if exercise.lesson == 1]
POINTS = 2

# What a submission tries, written into its first answer. Its other answers are stubs, but for
# `exact_match`, which is right and earns its points in spite of everything.
FAKE_VERDICT = """\
from lessons_lib.checks.verdict import Verdict

def always(id, answer):
    return Verdict(id, "pass", None, "Right.")
"""
CHEATS = {
    # the check that the notebook sees is another one, and nothing is expected of it
    "other_check": f"""\
import os, sys, types
import lessons_lib.checks
{FAKE_VERDICT}
check = lessons_lib.checks.check = always
sys.modules["lessons_lib.checks"] = types.SimpleNamespace(check=always)
os.environ.pop("LESSONS_EXPECT", None)
os.environ["LESSONS_EXPECT"] = "todo"
""",
    # the engine itself is rewritten, under all names that it goes by
    "other_engine": f"""\
from lessons_lib.checks import diagnosis, engine
{FAKE_VERDICT}
def judged(exercise, answer):
    from lessons_lib.checks.verdict import Verdict
    return Verdict(exercise.id, "pass", None, "Right.")

engine.judge.__code__ = judged.__code__
diagnosis.alike.__code__ = (lambda one, other: True).__code__
diagnosis.STEPS = ()
""",
    # the files are written over: the library, and what the checks say; then the process ends
    "other_files": """\
import atexit, json, os, pathlib
import lessons_lib.checks.engine

pathlib.Path(lessons_lib.checks.engine.__file__).write_text("check = judge = print")
said = {"exercise_id": "", "status": "pass", "misconception": None, "sentence": "", "facts": []}
for number in range(40):
    pathlib.Path(f"{number}.json").write_text(json.dumps({"verdict": said, "outputs": []}))
    pathlib.Path(f"{number}.pt").write_bytes(b"all is well")
os._exit(0)
""",
}


def submission(notebook, answers):
    """A notebook with other sources in the cells of these ids."""
    for cell in notebook.cells:
        cell.source = answers.get(cell.id, cell.source)
    return notebook


def copy_in_work(path):
    """A notebook of the course as learners have it: without outputs."""
    notebook = reads(without_outputs((ROOT / path).read_bytes()).decode(), as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    return notebook


def cells_changed(notebook, solved):
    """Locked cells: one edited, one deleted, one disguised, one worth a hundred points."""
    notebook = submission(notebook, {"exact-match": solved["exact-match"]})
    by_id = {cell.id: cell for cell in notebook.cells}
    by_id["teacher-forcing-check"].source = "print('passed')"
    by_id["gru-step-check"].metadata.nbgrader.update(locked=False, solution=True)
    by_id["last-real-state-check"].source = 'check("exact_match", exact_match)'
    by_id["greedy-decode-check"].cell_type = "raw"
    by_id["exact-match-check"].metadata.nbgrader["points"] = 100
    notebook.cells.remove(by_id["token-loss-check"])
    return notebook


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course folder with all submissions graded."""
    course = tmp_path_factory.mktemp("course")
    released = teacher.release(SOLUTION, course, POINTS)
    solved = {cell.id: cell.source for cell in read(SOLUTION).cells}
    right = {id.replace("_", "-"): solved[id.replace("_", "-")] for id in IDS}
    wrong = BORROWED.format(id="token_loss", slug="counts_padding")
    own = "class_wide = 1 / 0\n\ndef gru_step(*args):\n    return None"
    partly = {**right, "token-loss": wrong, "gru-step": own, "last-real-state": "last = None"}
    handed_in = {
        "unsolved": read(released),
        # what learners have who never got the teacher's file: their copy of the course's own
        "right": submission(copy_in_work(f"exercises/{NAME}.ipynb"), right),
        "partly": submission(read(released), partly),
        "cells_changed": cells_changed(read(released), solved),
    }
    for name, cheat in CHEATS.items():
        answers = {"exact-match": solved["exact-match"]}
        handed_in[name] = submission(read(released), {"teacher-forcing": cheat, **answers})
        stub = "\n\ndef teacher_forcing(tgt):\n    return tgt, tgt"
        handed_in[name].cells[3].source += stub if name != "other_files" else ""
    for name, notebook in handed_in.items():
        path = course / "submitted" / name / NAME / f"{NAME}.ipynb"
        path.parent.mkdir(parents=True)
        write(path, canonical_bytes(notebook))
    teacher.nbgrader(course, "autograde", NAME)
    return course


@pytest.fixture(scope="module")
def scores(course):
    return points_in(course)


def points_in(course):
    """Points by submission and exercise, as nbgrader exports them to its database."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course}/gradebook.db") as gradebook:
        return {
            submission.student.id: {
                grade.name.removesuffix("-check").replace("-", "_"): grade.auto_score
                for grade in submission.notebooks[0].grades
            }
            for submission in gradebook.assignment_submissions(NAME)
        }


def verdicts(course, name):
    """Status and named mistake by exercise."""
    graded = read(course / "autograded" / name / NAME / f"{NAME}.ipynb")
    found = [cell.metadata["verdict"] for cell in graded.cells if "verdict" in cell.metadata]
    return {one["exercise"]: (one["status"], one["misconception"]) for one in found}


def points(*earned):
    return {id: POINTS * (id in earned) for id in IDS}


def test_release_hides_the_solutions_and_locks_the_checks(course):
    released = read(course / "release" / NAME / f"{NAME}.ipynb")
    graded = [cell for cell in released.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    assert len(graded) == len(IDS)
    for cell in graded:
        assert cell.source.startswith("from lessons_lib.checks import check\n")
        assert not cell.metadata["editable"] and not cell.metadata["deletable"]
        assert cell.metadata["nbgrader"]["locked"]
        assert cell.metadata["nbgrader"]["points"] == POINTS
    answers = [cell for cell in released.cells if cell.metadata.get("nbgrader", {}).get("solution")]
    stored = {cell.id: cell.source for cell in read(ROOT / "exercises" / f"{NAME}.ipynb").cells}
    assert [cell.source for cell in answers] == [stored[cell.id] for cell in answers]
    assert len(answers) == len(IDS)


def test_unsolved(course, scores):
    assert scores["unsolved"] == points()
    assert verdicts(course, "unsolved") == dict.fromkeys(IDS, ("todo", None))


def test_right(course, scores):
    assert scores["right"] == points(*IDS)
    assert verdicts(course, "right") == dict.fromkeys(IDS, ("pass", None))


def test_partly_right(course, scores):
    assert scores["partly"] == points("teacher_forcing", "greedy_decode", "exact_match")
    said = verdicts(course, "partly")
    assert said["token_loss"] == ("fail", "counts_padding")
    assert said["gru_step"] == ("fail", None)


@pytest.mark.parametrize("cheat", ["other_check", "other_engine"])
def test_a_check_that_was_replaced_earns_nothing(scores, cheat):
    assert scores[cheat] == points("exact_match")


def test_a_verdict_that_the_values_deny_is_told_apart(course):
    said = verdicts(course, "other_engine")
    assert said.pop("exact_match") == ("pass", None)
    assert set(said.values()) == {("fail", judge.PASSED_INSIDE_ONLY)}


def test_files_written_over_earn_nothing(scores):
    assert scores["other_files"] == points()


def test_locked_cells_that_were_changed_or_deleted_are_restored(scores):
    assert scores["cells_changed"] == points("exact_match")


def test_feedback_names_the_mistake(course):
    teacher.nbgrader(course, "generate_feedback", NAME, "--student=partly")
    page = (course / "feedback" / "partly" / NAME / f"{NAME}.html").read_text(encoding="utf-8")
    assert "Your loss is the average over all positions, padding counted in." in page
    assert "counts_padding" in page and "last_real_state</code> is not defined" in page
    assert "ZeroDivisionError" in page


def test_report_counts_the_mistakes(course):
    assert teacher.main(["report", "1", str(course)]) == 0
    with (course / "report" / f"{NAME}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    counted = {(row["exercise"], row["outcome"]): int(row["submissions"]) for row in rows}
    assert counted["token_loss", "counts_padding"] == 1
    assert counted["token_loss", judge.PASSED_INSIDE_ONLY] == 2
    for id in IDS:
        assert sum(times for (exercise, _), times in counted.items() if exercise == id) == 7
    assert (course / "report" / f"{NAME}.png").read_bytes().startswith(b"\x89PNG")


def test_rehearsal_hands_in_right_answers_and_mistakes(course, tmp_path):
    place = tmp_path / "release" / NAME
    shutil.copytree(course / "release" / NAME, place)
    rehearse(tmp_path, SOLUTION, learners=3)
    sources = [
        cell.source
        for path in sorted(tmp_path.glob(f"submitted/*/{NAME}/{NAME}.ipynb"))
        for cell in read(path).cells
    ]
    assert any("mistakes[" in source for source in sources)
    assert any("return tgt[:, :-1], tgt[:, 1:]" in source for source in sources)
    assert not any("SOLUTION" in source for source in sources)


def test_a_gradebook_of_the_first_edition_goes_on(tmp_path):
    """It grades what was handed in then, again, and a copy of today; and releases the lesson."""
    course = tmp_path / "class"
    with zipfile.ZipFile(ROOT / "tests/fixtures/first_edition/teacher.zip") as pack:
        pack.extractall(course)
    (course / "nbgrader_config.py").write_text(teacher.SETTINGS, encoding="utf-8")
    before = points_in(course)
    assert before == {"ada": points(*IDS), "bob": points("exact_match")}

    solved = {cell.id: cell.source for cell in read(SOLUTION).cells}
    right = {id.replace("_", "-"): solved[id.replace("_", "-")] for id in IDS[:3]}
    path = course / "submitted" / "cyd" / NAME / f"{NAME}.ipynb"
    path.parent.mkdir(parents=True)
    today = submission(copy_in_work(f"exercises/{NAME}.ipynb"), right)
    write(path, canonical_bytes(today))
    teacher.nbgrader(course, "autograde", NAME, "--force")
    now = {**before, "cyd": points(*IDS[:3])}
    assert points_in(course) == now
    assert verdicts(course, "bob")["token_loss"] == ("fail", "counts_padding")

    teacher.release(SOLUTION, course, POINTS)
    assert points_in(course) == now


def test_course_in_the_repository_is_refused(capsys):
    assert teacher.main(["release", "1", str(ROOT / "course")]) == 1
    assert "inside the repository" in capsys.readouterr().err
    assert not (ROOT / "course").exists()


def test_lesson_without_exercises_is_refused(capsys, tmp_path):
    assert teacher.main(["release", "99", str(tmp_path)]) == 1
    assert "lesson 99 has no exercises" in capsys.readouterr().err


def test_report_before_grading_says_what_to_do(capsys, tmp_path):
    assert teacher.main(["report", "1", str(tmp_path)]) == 1
    assert "nbgrader autograde" in capsys.readouterr().err


def test_changed_course_files_stop_the_grading(monkeypatch):
    judge.must_be_untouched()
    monkeypatch.setattr(judge, "UNTOUCHED", "another")
    with pytest.raises(RuntimeError, match="git status"):
        judge.must_be_untouched()


@pytest.mark.parametrize("lesson", sorted({exercise.lesson for exercise in EXERCISES.values()}))
def test_every_lesson_can_be_released(lesson):
    solution = teacher.solution_of(lesson)
    graded = [
        judge.exercise_of(cell)
        for cell in teacher.master(read(solution), 1).cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    ]
    wanted = [exercise.id for exercise in EXERCISES.values() if exercise.lesson == lesson]
    assert [id for id, _ in graded] == wanted


def test_no_learner_loads_the_settings():
    """nbgrader reads its settings from the folder that JupyterLab starts in, and from no other."""
    places = [path for path in files(ROOT) if path.name == "nbgrader_config.py"]
    assert places == [ROOT / "tools" / "teacher" / "nbgrader_config.py"]
    assert "LESSONS_EXPECT" not in places[0].read_text(encoding="utf-8")


def test_hub_settings_are_valid():
    """Loaded as JupyterHub loads them; JupyterHub itself is not among the packages for tests."""
    code = (
        "from traitlets.config import PyFileConfigLoader as Loader\n"
        "config = Loader('jupyterhub_config.py', path='tools/teacher').load_config()\n"
        "print(config.JupyterHub.bind_url, config.Spawner.environment['JUPYTER_CONFIG_PATH'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, text=True
    )
    url, panels = done.stdout.split(maxsplit=1)
    assert url.startswith("http://127.0.0.1:")
    assert (Path(panels.strip()) / "labconfig" / "page_config.json").is_file()
