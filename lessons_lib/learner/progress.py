"""The command `progress`: what is solved, what was tried, what comes next."""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lessons_lib.learner.notebook import Exercise, Lesson, lessons
from lessons_lib.learner.record import NAME, Record, is_whole, recorded

# A shape beside the colour, which not everybody sees; the last ones are for the oldest terminals.
LOOKS = {
    "pass": ("solved", "green", "●", "#"),
    "fail": ("tried", "yellow", "◐", "+"),
    "todo": ("to do", "dim", "○", "."),
}


def progress(root: Path, console: Console) -> int:
    """Show one row for each lesson, then what comes next; returns the exit status."""
    found, record = lessons(root), recorded(root / "work")
    for part in (overview(found, record, console.encoding), ending(found, record)):
        console.print(Padding(part, (1, 0, 0, 1), expand=False))
    console.print()
    if not is_whole(root / "work"):
        console.print(f"work/{NAME} is damaged. What it lacks comes back when a check is run.")
    return 0


def overview(found: list[Lesson], record: Record, encoding: str) -> Table:
    """The table: a mark for each exercise, and how many are solved, tried and to do."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, header_style="bold")
    table.add_column("", style="dim", no_wrap=True)
    table.add_column("Lesson")
    table.add_column("Exercises", no_wrap=True)
    for word, colour, _, _ in LOOKS.values():
        table.add_column(word, justify="right", no_wrap=True, style=colour)
    for lesson in found:
        statuses = [status(exercise, record) for exercise in lesson.exercises]
        marks = Text(" ").join(mark(one, encoding) for one in statuses)
        counts = (statuses.count(one) for one in LOOKS)
        table.add_row(lesson.number, lesson.title, marks, *(str(n) if n else "" for n in counts))
    return table


def ending(found: list[Lesson], record: Record) -> Table:
    """Below the table: all in all, the mistake that was made last, and the next exercise."""
    every = [exercise for lesson in found for exercise in lesson.exercises]
    known = {exercise.id: exercise for exercise in every}
    solved = [exercise for exercise in every if status(exercise, record) == "pass"]
    tried = [known[name] for name in record if name in known and record[name]["status"] == "fail"]
    left = [exercise for exercise in every if exercise not in solved]

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    table.add_row("all:", f"{len(solved)} of {len(every)} solved")
    if tried:
        last = tried[-1].id
        table.add_row("last try:", Text(f"{last}: {record[last]['sentence']}", style="yellow"))
    if left:
        place = f"work/exercises/{left[0].notebook.name}"
        table.add_row("next:", Text(f"{left[0].id} · {left[0].title}", style="bold"))
        table.add_row("", Text(place, style="cyan", overflow="fold"))
    elif every:
        table.add_row("next:", "nothing: every exercise is solved.")
    return table


def status(exercise: Exercise, record: Record) -> str:
    """The last verdict on an exercise, "todo" if there is none."""
    return str(record[exercise.id]["status"]) if exercise.id in record else "todo"


def mark(verdict: str, encoding: str) -> Text:
    """The mark of a verdict, in a form that the terminal can show."""
    _, colour, shape, plain = LOOKS[verdict]
    try:
        shape.encode(encoding)
    except UnicodeEncodeError:
        shape = plain
    return Text(shape, style=colour)
