"""A small course of two lessons with a learner in it, for the tests of the learner's commands."""

import copy
import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIRST, SECOND = "exercises/01_first.ipynb", "exercises/02_second.ipynb"
STUB = "raise NotImplementedError  # your answer"
NBGRADER = {"grade": False, "grade_id": "x", "locked": False, "schema_version": 3}


def md(name, text):
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text.splitlines(True)}


def code(name, text, shown="", **metadata):
    return {
        "cell_type": "code",
        "id": name,
        "metadata": metadata,
        "source": text.splitlines(True),
        "execution_count": 1,
        "outputs": [stream(shown)] if shown else [],
    }


def notebook(*cells):
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel}
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def task(function):
    """The three cells of one exercise."""
    slug = function.replace("_", "-")
    return [
        md(f"{slug}-task", f"## The task of {function}\n\nWrite it."),
        code(slug, f"def {function}(x):\n    {STUB}", nbgrader={**NBGRADER, "solution": True}),
        code(
            f"{slug}-check",
            f'from lessons_lib.checks import check\n\ncheck("{function}", {function})',
            "to do",
            nbgrader={**NBGRADER, "grade": True, "points": 1, "solution": False},
        ),
    ]


def lesson(title, *names):
    exercises = [cell for name in names for cell in task(name)]
    return notebook(md("title", f"# {title}: exercises"), *exercises, md("end", "Done."))


def to_bytes(nb):
    return (json.dumps(nb, indent=1, sort_keys=True) + "\n").encode()


class Course:
    """The folder of a course; `tracked` is what git would hold, `work` what the learner has."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.work = self.folder / "work"
        (self.folder / "lessons_lib").mkdir(parents=True)
        shutil.copy(ROOT / "course.py", self.folder)
        self.track("notebooks/01_first.ipynb", notebook(md("title", "# 1 · First"), code("a", "1")))
        self.track(FIRST, lesson("1 · First", "one", "two", "three"))
        self.track(SECOND, lesson("2 · Second", "four", "five"))

    def track(self, path, nb):
        """Put a notebook (or bytes) where `git pull` would."""
        file = self.folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(nb if isinstance(nb, bytes) else to_bytes(nb))

    def open(self):
        """What `python course.py` does before it opens JupyterLab."""
        runpy.run_path(str(self.folder / "course.py"))["copy_missing_notebooks"]()
        return self

    def open_first_edition(self):
        """What it did in the first edition: copies with the outputs that the course had stored."""
        for given in self.folder.glob("*/*.ipynb"):
            content = given.read_bytes()
            version = hashlib.sha256(content).hexdigest()[:16]
            room = given.parent.name
            original = self.work / ".originals" / room / f"{given.stem}.{version}.ipynb"
            for target in (original, self.work / room / given.name):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        return self

    def tracked(self, path=FIRST):
        return json.loads((self.folder / path).read_bytes())

    def given(self, path=FIRST):
        """The tracked notebook as a copy holds it: without outputs."""
        return unrun(self.tracked(path))

    def mine(self, path=FIRST):
        return json.loads((self.work / path).read_bytes())

    def save(self, nb, path=FIRST):
        """What JupyterLab does when the learner saves."""
        (self.work / path).write_text(
            json.dumps(nb, indent=1, ensure_ascii=False), encoding="utf-8"
        )

    def answer(self, name, text, path=FIRST):
        """Let the learner write into a cell, run it, and save."""
        nb = self.mine(path)
        cell(nb, name)["source"] = text
        if cell(nb, name)["cell_type"] == "code":
            cell(nb, name)["execution_count"] = 7
        self.save(nb, path)

    def upstream(self, name, text, path=FIRST):
        """Let the course change the text of a cell."""
        nb = self.tracked(path)
        cell(nb, name)["source"] = text
        self.track(path, nb)

    def ids(self, path=FIRST):
        return [cell["id"] for cell in self.mine(path)["cells"]]

    def text(self, name, path=FIRST):
        return source(cell(self.mine(path), name))

    def backups(self):
        """The backups' files, the newest run last."""
        return [file for file in sorted((self.work / ".backups").rglob("*")) if file.is_file()]

    def run(self, *words, place=".", **environment):
        """Run the command as a program; return (exit status, what it said, what it complained)."""
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        result = subprocess.run(
            [sys.executable, "-m", "lessons_lib", *words],
            cwd=self.folder / place,
            env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", **environment},
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
        return result.returncode, result.stdout, result.stderr


def cell(nb, name):
    return next(cell for cell in nb["cells"] if cell.get("id") == name)


def source(cell):
    return "".join(cell["source"])


def unrun(nb):
    """The notebook as if no cell had ever been run."""
    cells = [
        {**each, "outputs": [], "execution_count": None} if each["cell_type"] == "code" else each
        for each in nb["cells"]
    ]
    return {**nb, "cells": cells}


def stream(text):
    return {"output_type": "stream", "name": "stdout", "text": [text]}


def answered(function, words="my answer"):
    return f"def {function}(x):\n    return x  # {words}"


def clone(nb):
    return copy.deepcopy(nb)
