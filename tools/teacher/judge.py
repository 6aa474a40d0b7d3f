"""nbgrader's autograding, where no submission can grade itself.

A point needs two things. The check passes in the submission's own process, which has the learner's
names, errors and gradients. And what the answer returned there on every case is right when it is
compared here, where no line of the learner's code runs. So a check that the submission replaced
says what it likes and earns nothing.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_grade

from lessons_lib.checks.calling import call
from lessons_lib.checks.diagnosis import alike
from lessons_lib.checks.engine import find
from lessons_lib.checks.exercise import Exercise
from lessons_lib.checks.verdict import LOOKS, Verdict

ROOT = Path(__file__).resolve().parents[2]
TOTAL_LIMIT = 300  # seconds for one submission
CHECK = re.compile(r'^check\("(\w+)", (\w+)\)$', re.MULTILINE)
PASSED_INSIDE_ONLY = "passed_inside_only"
ENVIRONMENT = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


class Judge(NbGraderPreprocessor):
    """Stands where nbgrader executes a notebook; fills in outputs and verdicts."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        cells = [cell for cell in nb.cells if cell.cell_type == "code"]
        plan = [{"source": cell.source, "graded": exercise_of(cell)} for cell in cells]
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            run_apart(folder, plan)
            for number, (cell, planned) in enumerate(zip(cells, plan, strict=True)):
                cell.metadata.pop("verdict", None)
                if planned["graded"]:
                    show(cell, verdict(planned["graded"][0], folder / f"{number}.json"))
                else:
                    cell.outputs = outputs(folder / f"{number}.json")
        must_be_untouched()
        return nb, resources


class RestoreMarks(NbGraderPreprocessor):
    """Gives cells back the marks that the release had, before nbgrader restores their source.

    Without it, nbgrader stops at a submission whose graded cell calls itself an answer.
    """

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        about = resources["nbgrader"]
        with Gradebook(about["db_url"]) as gradebook:
            released = gradebook.find_notebook(about["notebook"], about["assignment"])
            graded = {cell.name for cell in released.grade_cells}
            answers = {cell.name for cell in released.solution_cells}
        for cell in nb.cells:
            mark = cell.metadata.get("nbgrader", {})
            if (name := mark.get("grade_id")) in graded | answers:
                is_graded = name in graded
                mark.update(grade=is_graded, locked=is_graded, solution=name in answers, task=False)
        return nb, resources


def exercise_of(cell: NotebookNode) -> tuple[str, str] | None:
    """Exercise id and answer's name of a graded cell, whose source nbgrader has just restored."""
    if not is_grade(cell):
        return None
    return CHECK.search(cell.source).groups()


def run_apart(folder: Path, plan: list[dict]) -> None:
    """Run the submission in a process that gets no more than it needs, and end all it started."""
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    copy = folder / "library" / "lessons_lib"
    shutil.copytree(ROOT / "lessons_lib", copy, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    environment |= {"HOME": str(folder), "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-I", str(Path(__file__).with_name("submission.py")), str(folder)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(TOTAL_LIMIT)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def outputs(path: Path) -> list[NotebookNode]:
    """What an ordinary cell showed, or nothing if it was not reached or wrote nonsense."""
    try:
        shown = json.loads(path.read_text(encoding="utf-8"))["outputs"]
        return [new_output(**output) for output in shown]
    except Exception:  # the submission can write anything into that file
        return []


def verdict(exercise_id: str, path: Path) -> Verdict:
    """What the submission's process says of an answer, held against what the answer returned."""
    exercise = find(exercise_id)
    mistakes = {named.slug for named in (*exercise.misconceptions, *exercise.properties)}
    try:
        said = json.loads(path.read_text(encoding="utf-8"))["verdict"]
        facts = tuple((str(label), str(text)) for label, text in said["facts"])
        status = said["status"] if said["status"] in LOOKS else "fail"
        slug = said["misconception"] if said["misconception"] in mistakes else None
        sentence = str(said["sentence"])
    except (OSError, ValueError, LookupError, TypeError):
        sentence = "The submission ended before this check, or took too long."
        return Verdict(exercise_id, "fail", None, sentence)
    if status == "pass" and not right_values(exercise, path.with_suffix(".pt")):
        sentence = "The check said passed, but outside the notebook the values are wrong."
        return Verdict(exercise_id, "fail", PASSED_INSIDE_ONLY, sentence)
    hints = () if status == "pass" else exercise.hints
    return Verdict(exercise_id, status, slug, sentence, facts, hints)


def right_values(exercise: Exercise, path: Path) -> bool:
    """Tell whether the stored values are the reference's, on every case."""
    try:
        # weights_only: tensors, numbers and lists, never code of the submission
        values = torch.load(path, weights_only=True)
        pairs = list(zip(exercise.cases, values, strict=True))
    except Exception:  # whatever stands in that file, it is not what an answer returns
        return False
    return all(alike(call(exercise.oracle, case.args).value, value) for case, value in pairs)


def show(cell: NotebookNode, verdict: Verdict) -> None:
    """Write a verdict into a graded cell: for the eye, for the score, and for the class report."""
    # nbgrader's page takes the triangle from what can be unfolded
    html = verdict.html().replace("<summary>", '<summary style="display: list-item">')
    data = {"text/plain": repr(verdict), "text/html": html}
    cell.outputs = [new_output("display_data", data=data)]
    if verdict.status != "pass":  # an error is what nbgrader takes the points off for
        line = f"No points yet: {verdict.exercise_id}"
        error = new_output("error", ename="NotYet", evalue=verdict.sentence, traceback=[line])
        cell.outputs.append(error)
    cell.metadata["verdict"] = {
        "exercise": verdict.exercise_id,
        "status": verdict.status,
        "misconception": verdict.misconception,
        "sentence": verdict.sentence,
    }


def fingerprint() -> str:
    """One hash of all that decides on points: the library and these scripts."""
    files = [path for room in ("lessons_lib", "tools") for path in (ROOT / room).rglob("*.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


UNTOUCHED = fingerprint()


def must_be_untouched() -> None:
    """Raise RuntimeError if a submission has written into the course's own files."""
    if fingerprint() != UNTOUCHED:
        raise RuntimeError(
            "this submission, or one just before it, changed the library or the teacher's scripts: "
            "look at `git status`, restore them, and grade again"
        )
