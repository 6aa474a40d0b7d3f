"""Predictions can be made: nothing between a question and its reveal gives the answer away.

A cell that asks the reader to predict says so in bold, **Predict**, and its metadata hold

    "prediction": {"answer": ["0.35", "a third"], "reveal": "id-of-a-later-cell"}

The answer, one of these strings at least, stands in what the reveal shows: the output of a code
cell, the text right below it, or a text that is folded until it is asked for. It stands nowhere
before: in no source from the question to the reveal's own (titles, alt texts, assertions, printed
bounds) and in no output between them.
"""

import re
from pathlib import Path

from tests.laws.project import Cell, cells, lessons
from tests.laws.twins import MARK

FARTHEST = 8  # cells from a question to its answer


def violations(root: Path) -> list[str]:
    found = []
    for path in lessons(root):
        notebook = cells(root, path)
        for place, cell in enumerate(notebook):
            asks = not cell.is_code and "**Predict" in cell.source
            prediction = cell.node.metadata.get("prediction")
            if asks and prediction is None:
                found.append(f"{cell.where}: asks for a prediction: say its answer in the metadata")
            elif prediction is not None and not asks:
                found.append(f"{cell.where}: has an answer and no question with **Predict** in it")
            elif prediction is not None:
                found += _prediction(notebook, place, prediction)
    return found


def _prediction(notebook: list[Cell], place: int, prediction: dict) -> list[str]:
    cell = notebook[place]
    answers, id = prediction.get("answer"), prediction.get("reveal")
    if not answers or not isinstance(answers, list) or not all(answers):
        return [f"{cell.where}: its prediction has no list of answers"]
    after = notebook[place + 1 : place + 1 + FARTHEST]
    ids = [later.node.get("id") for later in after]
    if id not in ids:
        return [f"{cell.where}: its reveal {id!r} is none of the next {FARTHEST} cells"]
    way, reveal = after[: ids.index(id)], after[ids.index(id)]
    below = notebook[place + 2 + ids.index(id) : place + 3 + ids.index(id)]
    found = []
    if reveal.is_code:
        shown = [reveal.shown_text] + [text.source for text in below if not text.is_code]
    else:
        shown = re.findall(r"<details>.*?</details>", reveal.source, re.DOTALL)
    if not any(_holds(text, answer) for text in shown for answer in answers):
        found.append(f"{cell.where}: none of its answers {answers} stands in [{id}]")
    for later in way:
        found += _gives_away(cell, later, answers, _read(later), "")
        found += _gives_away(cell, later, answers, later.shown_text, "what is shown by ")
    open_text = reveal.source if reveal.is_code else _unfolded(reveal.source)
    return found + _gives_away(cell, reveal, answers, open_text, "")


def _read(cell: Cell) -> str:
    """What a reader sees of a cell; a twin is the library's code, and stays as it is."""
    return "" if MARK.search(cell.source) and cell.is_code else _unfolded(cell.source)


def _unfolded(text: str) -> str:
    return re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)


def _gives_away(cell: Cell, later: Cell, answers: list[str], text: str, what: str) -> list[str]:
    return [
        f"{cell.where}: {what}[{later.node.get('id')}] gives the answer {answer!r} away"
        for answer in answers
        if _holds(text, answer)
    ]


def _holds(text: str, answer: str) -> bool:
    """Whether an answer occurs as words or as a number of their own: .35 is not in 0.351."""
    return (
        re.search(rf"(?<![\w.]){re.escape(answer)}(?![\w]|\.\d)", text, re.IGNORECASE) is not None
    )
