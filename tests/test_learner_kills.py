"""Killed at any moment, `update` and `reset` lose nothing, and running them again finishes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.learner_course import ROOT, Course
from tests.learner_kills import faults, make, state

PROGRAM = Path(__file__).with_name("learner_kills.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_thousand_kills_lose_no_answer():
    result = subprocess.run(
        [sys.executable, str(PROGRAM), "1000"], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    counts = json.loads(result.stdout)
    assert counts["killed"] == 1000
    assert counts["points on the disk"] >= 60
    for fault in (
        "lost answers",
        "lost own cells",
        "lost own outputs",
        "broken notebooks",
        "second runs that failed",
        "not finished by the second run",
    ):
        assert counts.get(fault, 0) == 0, counts


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
@pytest.mark.parametrize("words", [["update"], ["reset", "two"]])
def test_real_kills_at_random_times(tmp_path, words):
    """The whole program, killed from outside, on notebooks that take a while to write."""
    rng = random.Random(1)
    finished, killed = None, 0
    for number in range(30):
        course = make(tmp_path / str(number))
        fill(course)
        command = [sys.executable, "-m", "lessons_lib", *words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        start = time.monotonic()
        process = subprocess.Popen(
            command, cwd=course.folder, env=environment, stdout=subprocess.DEVNULL
        )
        if number == 0:  # not killed: it shows how long a run takes
            assert process.wait(60) == 0
            duration = time.monotonic() - start
            finished = state(course)
            continue
        time.sleep(duration * rng.uniform(0.5, 1.0))
        process.send_signal(signal.SIGKILL)
        landed = process.wait(60) == -signal.SIGKILL
        killed += landed
        duration *= 1.0 if landed else 0.9  # quicker than the run that was timed: kill earlier
        assert sum(faults(course, words).values()) == 0
        assert course.run(*words)[0] == 0
        assert state(course) == finished
        if killed == 5:
            return
    pytest.fail(f"only {killed} of 29 kills met a running program")


def fill(course: Course) -> None:
    """Make the notebooks as large as those with pictures are."""
    for path in course.work.glob("exercises/*.ipynb"):
        nb = json.loads(path.read_bytes())
        nb["cells"][0]["source"] = "x" * 1_000_000
        path.write_text(json.dumps(nb))
