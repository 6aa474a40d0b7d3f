"""The class report: which mistake was made how often, as CSV and as a picture."""

import csv
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt

from lessons_lib.kit.figures import BLUE, DPI, FAINT, GREEN, INK, ORANGE, STYLE
from tools.execute import read

PASSED, TO_DO, UNNAMED = "passed", "to do", "no known mistake"
COLOURS = {PASSED: GREEN, TO_DO: FAINT, UNNAMED: BLUE}  # every named mistake is orange

Row = tuple[str, str, str, int]  # exercise, outcome, sentence, number of submissions


def report(course: Path, name: str) -> tuple[Path, Path]:
    """Write `report/NAME.csv` and `report/NAME.png`; returns both paths.

    Raises FileNotFoundError if nothing of that name has been graded.
    """
    graded = sorted((course / "autograded").glob(f"*/{name}/{name}.ipynb"))
    if not graded:
        raise FileNotFoundError(f"nothing is graded yet: run `nbgrader autograde {name}` first")
    rows = count(graded)
    folder = course / "report"
    folder.mkdir(exist_ok=True)
    table, picture = folder / f"{name}.csv", folder / f"{name}.png"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("exercise", "outcome", "sentence", "submissions"))
        writer.writerows(rows)
    draw(rows, f"{name}: what {len(graded)} submissions show", picture)
    return table, picture


def count(graded: list[Path]) -> list[Row]:
    """One row for each outcome of each exercise: passed first, the most frequent mistake next.

    `sentence` is what learners were told; it is left empty where it differs between them.
    """
    told: dict[str, Counter] = {}
    for path in graded:
        for cell in read(path).cells:
            if verdict := cell.metadata.get("verdict"):
                named = verdict["misconception"]
                outcome = named or {"pass": PASSED, "todo": TO_DO}.get(verdict["status"], UNNAMED)
                sentence = verdict["sentence"] if named else ""
                told.setdefault(verdict["exercise"], Counter())[outcome, sentence] += 1
    order = {PASSED: 0, UNNAMED: 2, TO_DO: 3}
    return [
        (exercise, outcome, sentence, times)
        for exercise, outcomes in told.items()
        for (outcome, sentence), times in sorted(
            outcomes.items(), key=lambda item: (order.get(item[0][0], 1), -item[1], item[0])
        )
    ]


def draw(rows: list[Row], title: str, path: Path) -> None:
    """One bar for each row, the exercises apart."""
    places, labels, headings, y = [], [], [], 0.0
    for number, (exercise, outcome, _, _) in enumerate(rows):
        if number == 0 or exercise != rows[number - 1][0]:
            y += 0.5
            headings.append((y, exercise))
            y += 1
        places.append(y)
        labels.append(outcome)
        y += 1
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(12, 1.2 + 0.3 * y), layout="constrained")
        colours = [COLOURS.get(outcome, ORANGE) for outcome in labels]
        times = [times for _, _, _, times in rows]
        axes.barh(places, times, height=0.72, color=colours)
        for place, (_, _, sentence, number) in zip(places, rows, strict=True):
            axes.annotate(
                f"{number}  {sentence}",
                (number, place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=11,
            )
        axes.set_yticks(places, labels)
        for place, exercise in headings:
            axes.annotate(
                exercise,
                (0, place),
                xycoords=axes.get_yaxis_transform(),
                xytext=(-4, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontweight="bold",
                color=INK,
            )
        axes.set(title=title, xlim=(0, 2.2 * max(times)), ylim=(y, -0.2), xticks=[])
        axes.spines["bottom"].set_visible(False)
        axes.grid(visible=False)
        axes.tick_params(axis="y", length=0)
        figure.savefig(path, dpi=DPI)
        plt.close(figure)
