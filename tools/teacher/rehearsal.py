"""Submissions of a class that does not exist, to try everything before the first real one."""

import random
import re
from pathlib import Path

from lessons_lib.checks.engine import EXERCISES
from tools.execute import canonical_bytes, read, write

BORROWED = """\
from lessons_lib.checks.engine import find

mistakes = {{known.slug: known.answer for known in find("{id}").misconceptions}}
{id} = mistakes["{slug}"]"""
REGION = re.compile(r"\n *### (BEGIN|END) SOLUTION")


def rehearse(course: Path, solution: Path, learners: int = 20) -> Path:
    """Write submissions to `submitted/`: right answers, known mistakes, some left undone.

    Raises FileNotFoundError if the exercises have not been released.
    """
    name = solution.stem
    released = course / "release" / name / f"{name}.ipynb"
    if not released.is_file():
        raise FileNotFoundError(f"{name} is not released yet: run the command `release` first")
    solved = {cell.id: REGION.sub("", cell.source) for cell in read(solution).cells}
    dice = random.Random(0)
    for learner in range(1, learners + 1):
        notebook = read(released)
        for cell in notebook.cells:
            exercise = EXERCISES.get(cell.id.replace("-", "_"))
            fate = dice.random()
            if exercise is None or fate < 0.08:
                continue
            cell.source = solved[cell.id]
            if fate > 0.6:  # the first mistakes of a list are the frequent ones
                place = int(dice.expovariate(0.5)) % len(exercise.misconceptions)
                slug = exercise.misconceptions[place].slug
                cell.source = BORROWED.format(id=exercise.id, slug=slug)
        handed_in = course / "submitted" / f"learner{learner:02}" / name / f"{name}.ipynb"
        handed_in.parent.mkdir(parents=True, exist_ok=True)
        write(handed_in, canonical_bytes(notebook))
    return course / "submitted"
