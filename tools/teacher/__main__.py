"""What a teacher needs beside nbgrader's own commands.

    python -m tools.teacher release 3 COURSE    make lesson 3's exercises, to hand out
    python -m tools.teacher rehearse 3 COURSE   write 20 submissions, to try the rest
    python -m tools.teacher report 3 COURSE     count the mistakes of the class

COURSE is a folder outside this repository; `release` makes it. README.md beside this file is the
guide.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from nbformat import NotebookNode

from lessons_lib.checks.engine import EXERCISES
from tools.execute import canonical_bytes, read, write
from tools.teacher.rehearsal import rehearse
from tools.teacher.report import report

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = f"""\
# nbgrader's settings for this course. Yours go below the line that loads those of the lessons.
c = get_config()
load_subconfig("nbgrader_config.py", path={str(ROOT / "tools" / "teacher")!r})
"""


class Refused(Exception):
    """A request that cannot be met; the message says why, and what to do."""


def solution_of(lesson: int) -> Path:
    """The solution notebook of a lesson."""
    found = sorted((ROOT / "solutions").glob(f"{lesson:02}_*.ipynb"))
    if not found:
        numbers = sorted({exercise.lesson for exercise in EXERCISES.values()})
        raise Refused(f"lesson {lesson} has no exercises; these have: {numbers}")
    return found[0]


def master(solution: NotebookNode, points: float) -> NotebookNode:
    """The notebook that nbgrader calls the source: solution, points, no outputs.

    Raises Refused if an exercise of the notebook has no answer cell or no locked check.
    """
    for cell in solution.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs, cell.execution_count = [], None
        mark = cell.metadata.get("nbgrader", {})
        if mark.get("grade"):
            mark["points"] = points
        if ("### BEGIN SOLUTION" in cell.source) != bool(mark.get("solution")):
            raise Refused(f"[{cell.id}]: its solution region and its nbgrader mark do not agree")
        if mark.get("grade") and not mark["locked"]:
            raise Refused(f"[{cell.id}] is graded, but not locked")
    return solution


def release(solution: Path, course: Path, points: float = 1) -> Path:
    """Make the release version of a solution notebook; returns the notebook to hand out.

    Raises Refused if the course folder is inside the repository.
    """
    if course.is_relative_to(ROOT) and not course.is_relative_to(ROOT / "work"):
        raise Refused(f"{course} is inside the repository: choose a folder outside")
    name = solution.stem
    source = course / "source" / name / solution.name
    source.parent.mkdir(parents=True, exist_ok=True)
    write(source, canonical_bytes(master(read(solution), points)))
    settings = course / "nbgrader_config.py"
    if not settings.exists():
        settings.write_text(SETTINGS, encoding="utf-8")
    nbgrader(course, "generate_assignment", name, "--force")
    return course / "release" / name / solution.name


def nbgrader(course: Path, *arguments: str) -> None:
    """Run an nbgrader command in the course folder; Refused if it fails, with what it said."""
    command = [sys.executable, "-m", "nbgrader", *arguments]
    # nbgrader starts `alembic` by name: it is found even where the environment is not active
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        command,
        cwd=course,
        env={**os.environ, "PATH": path},
        capture_output=True,
        encoding="utf-8",
    )
    if done.returncode != 0:
        raise Refused(f"nbgrader {arguments[0]} failed:\n{done.stdout}{done.stderr}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.teacher", description="Hand exercises out, and see what went wrong."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for command, purpose in (
        ("release", "make the exercises of a lesson, to hand out"),
        ("rehearse", "write 20 submissions, to try the rest"),
        ("report", "count the mistakes of a class"),
    ):
        subparser = commands.add_parser(command, help=purpose)
        subparser.add_argument("lesson", type=int)
        subparser.add_argument("course", type=Path, help="a folder outside this repository")
        if command == "release":
            subparser.add_argument(
                "--points", type=float, default=1, help="for each exercise; default: 1"
            )
    options = parser.parse_args(arguments)
    course = options.course.resolve()
    try:
        solution = solution_of(options.lesson)
        if options.command == "release":
            written = [release(solution, course, options.points)]
        elif options.command == "rehearse":
            written = [rehearse(course, solution)]
        else:
            written = report(course, solution.stem)
    except (Refused, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    print(*written, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
