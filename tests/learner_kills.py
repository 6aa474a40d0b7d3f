"""Kill `update` and `reset` at many points, and count the answers and outputs that are lost.

    python tests/learner_kills.py POINTS

A program of its own, because it forks: each child runs a command on a fresh copy of a small course
and dies, without any clean-up, at one point; the parent looks at what it left, and runs the
command again. The points are the lines of lessons_lib/learner as they are run, and each moment in
which a file is half on the disk, before and after it is renamed. Prints the counts as JSON.
"""

import io
import json
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lessons_lib.__main__ import main
from lessons_lib.learner import files
from tests.learner_course import (
    FIRST,
    SECOND,
    STUB,
    Course,
    answered,
    cell,
    code,
    lesson,
    stream,
)

LEARNER = str(Path(files.__file__).parent)
ANSWERS = {"one": FIRST, "two": FIRST, "three": FIRST, "four": SECOND}
OWN, OWN_OUTPUT = "# a cell of the learner's own", "what the learner's own run showed"
STORED = "to do"  # what the first edition's copies showed below the checks


class Points:
    """Counts the points that a command passes, and dies at the one that was chosen."""

    def __init__(self, fatal):
        self.fatal = fatal
        self.passed = 0
        self.disk_points = []

    def reached(self):
        self.passed += 1
        if self.passed == self.fatal:
            os._exit(9)

    def on_disk(self):
        self.reached()
        self.disk_points.append(self.passed)

    def trace(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(LEARNER):
            return None
        if event == "line":
            self.reached()
        return self.trace

    def watch(self):
        """Put a point before and behind each step to the disk, and into each file."""
        true_replace = os.replace

        def fsync(number):
            self.on_disk()
            if self.passed + 1 == self.fatal and not os.path.isdir(f"/proc/self/fd/{number}"):
                # What a power failure may leave of a file that is not sent to the disk yet.
                os.ftruncate(number, os.fstat(number).st_size // 2)
            self.on_disk()

        def replace(old, new):
            self.on_disk()
            true_replace(old, new)
            self.on_disk()

        os.fsync, os.replace = fsync, replace
        sys.settrace(self.trace)


def make(folder):
    """A course of the first edition in which everything happens.

    Answers, own cells, outputs of own runs and the course's, and all kinds of news.
    """
    course = Course(folder).open_first_edition()
    for name, path in ANSWERS.items():
        course.answer(name, answered(name), path)
    nb = course.mine()
    nb["cells"].insert(3, code("mine", OWN, OWN_OUTPUT))
    cell(nb, "three-check").update(outputs=[stream(OWN_OUTPUT)], execution_count=8)
    course.save(nb)
    news = lesson("1 · First", "two", "one", "zero", "three")
    cell(news, "two")["source"] = f'def two(x):\n    """New."""\n    {STUB}'
    course.track(FIRST, news)
    course.upstream("end", "Bye.", SECOND)
    course.track("exercises/03_third.ipynb", lesson("3 · Third", "six"))
    entries = {
        name: {"status": "pass", "misconception": None, "sentence": "Right."} for name in ANSWERS
    }
    (course.work / ".progress.json").write_text(json.dumps(entries))
    return course


def run(course, words):
    """Run a command here, quietly; returns its exit status."""
    sys.stdout = sys.stderr = io.StringIO()
    try:
        os.chdir(course.folder)
        return main(words)
    finally:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


def in_child(course, words, fatal):
    """Run a command in a child; returns its exit status, its number of points, those on disk."""
    sys.stdout.flush()
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            points = Points(fatal)
            points.watch()
            status = run(course, words)
            sys.settrace(None)
            os.write(sending, json.dumps([points.passed, points.disk_points]).encode())
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    os.close(sending)
    with open(receiving, "rb") as pipe:
        told = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, *(json.loads(told) if told else (0, []))


def state(course):
    """What the learner's notebooks, their originals and the record hold."""
    return {
        str(path.relative_to(course.work)): path.read_bytes()
        for path in course.work.rglob("*")
        if path.is_file() and ".backups" not in path.parts and not path.name.endswith(".lock")
    }


def faults(course, words):
    """What is wrong in a course right after the kill: lost answers, broken notebooks."""
    found = Counter()
    texts, outputs = [], []
    for path in course.work.glob("*/*.ipynb"):
        try:
            cells = json.loads(path.read_bytes())["cells"]
        except (ValueError, KeyError):
            found["broken notebooks"] += 1
        else:
            texts += ["".join(cell["source"]) for cell in cells]
            outputs += [output for cell in cells for output in cell.get("outputs", ())]
    kept = [file.read_text() for file in course.backups() if file.suffix == ".ipynb"]
    for name in ANSWERS:
        in_work = answered(name) in texts
        # Only the answer that is being reset may leave work/, and then a backup has it.
        in_backup = any(json.dumps(answered(name))[1:-1] in text for text in kept)
        found["lost answers"] += not (in_work or (words == ["reset", name] and in_backup))
    found["lost own cells"] += OWN not in texts
    found["lost own outputs"] += outputs.count(stream(OWN_OUTPUT)) != 2
    return found


def outputs_of_the_course(course):
    """How many cells of work/ still show what only the course had made."""
    copies = [path.read_text(encoding="utf-8") for path in course.work.glob("*/*.ipynb")]
    return sum(copy.count(f'"{STORED}"') for copy in copies)


def main_program(n_points):
    """Kill at `n_points` points in all, spread over both commands; returns the counts."""
    # Sending to the disk takes most of the time, and does nothing for a process that is killed.
    os.fsync = lambda number: None
    counts = Counter()
    rng = random.Random(0)
    memory = Path("/dev/shm")  # copying the course a thousand times is faster there
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        folder = Path(folder)
        template = make(folder / "template")

        def fresh():
            shutil.rmtree(folder / "course", ignore_errors=True)
            shutil.copytree(template.folder, folder / "course")
            course = Course.__new__(Course)
            course.folder, course.work = folder / "course", folder / "course" / "work"
            return course

        for words, share in ((["update"], 0.6), (["reset", "two"], 0.4)):
            course = fresh()
            status, n_passed, disk_points = in_child(course, words, fatal=0)
            assert status == 0
            finished = state(course)
            assert faults(course, words) == Counter()
            if words == ["update"]:
                assert outputs_of_the_course(template) > 0 == outputs_of_the_course(course)
            counts[f"possible points of {words[0]}"] = n_passed
            # All moments on the disk, and lines drawn evenly from the others.
            others = sorted(set(range(1, n_passed + 1)) - set(disk_points))
            wanted = round(n_points * share) - len(disk_points)
            assert 0 < wanted <= len(others), (wanted, len(others))
            counts["points on the disk"] += len(disk_points)
            for fatal in sorted(disk_points + rng.sample(others, wanted)):
                course = fresh()
                status, *_ = in_child(course, words, fatal)
                counts["killed"] += status == 9
                counts.update(faults(course, words))
                counts["second runs that failed"] += run(course, words) != 0
                counts["not finished by the second run"] += state(course) != finished
    return counts


if __name__ == "__main__":
    result = main_program(int(sys.argv[1]))
    print(json.dumps(result))
