"""Random edits on both sides: what the learner wrote and ran is always there after a merge."""

import random

import pytest

from lessons_lib.learner.merge import merge
from lessons_lib.learner.notebook import parse, parse_given, source, to_bytes
from tests.learner_course import clone, code, lesson, md, stream, unrun


def edited(rng, notebook, who):
    """A notebook after a few random edits, and the texts that were written."""
    cells, written = clone(notebook)["cells"], []
    for number in range(rng.randrange(1, 6)):
        at = rng.randrange(len(cells))
        words = f"{who} {number} {rng.random()}"
        match rng.choice(["write", "answer", "add", "copy", "move", "delete", "rename", "split"]):
            case "write":
                cells[at] = {**cells[at], "source": words}
                written.append(words)
            case "answer" if "def " in source(cells[at]):
                cells[at] = {**cells[at], "source": source(cells[at]) + f"  # {words}"}
                written.append(source(cells[at]))
            case "add":
                cells.insert(at, rng.choice([md, code])(f"{who}-{rng.random():.9f}"[:30], words))
                written.append(words)
            case "copy":
                cells.insert(at, {**cells[at], "id": f"{who}-{rng.random():.9f}"[:30]})
            case "move":
                cells.insert(rng.randrange(len(cells)), cells.pop(at))
            case "delete" if len(cells) > 3:
                cells.pop(at)
            case "rename":
                cells[at] = {**cells[at], "id": f"{who}-{rng.random():.9f}"[:30]}
            case "split":
                cells.insert(at + 1, md(f"{who}-{rng.random():.9f}"[:30], words))
                written.append(words)
    alive = {source(cell) for cell in cells}
    return {**notebook, "cells": cells}, [text for text in written if text in alive]


@pytest.mark.parametrize("seed", range(300))
def test_nothing_that_the_learner_wrote_is_lost(seed):
    rng = random.Random(seed)
    given = lesson("1 · First", "one", "two", "three")
    mine, written = edited(rng, given, "my")
    if seed % 3 == 0:  # other programs drop ids, or leave some twice
        for cell in rng.sample(mine["cells"], 2):
            cell["id"] = rng.choice(["", "two"])
    theirs, _ = edited(rng, given, "their")
    known = [given] if seed % 4 else []
    merged, _ = merge(mine, theirs, known)
    parse_given(to_bytes(merged))
    texts = [source(cell) for cell in merged["cells"]]
    assert not [text for text in written if text not in texts]

    # Once more changes nothing: not before, and not after, the new version is known.
    for versions in (known, [*known, theirs]):
        again, words = merge(parse(to_bytes(merged)), theirs, versions)
        assert [source(cell) for cell in again["cells"]] == texts, words


def stored():
    """A notebook as the first edition copied it: each code cell shows something, but for stubs."""
    notebook = lesson("1 · First", "one", "two", "three")
    code_cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code_cells, start=1):
        cell["execution_count"] = number
        cell["outputs"] = [stream(f"stored {number}")] if "def " not in source(cell) else []
    return notebook


def shown(notebook):
    """What each cell shows, with the code that it stands below."""
    return [
        (source(cell), output["text"][0])
        for cell in notebook["cells"]
        for output in cell.get("outputs", ())
    ]


def ran(rng, notebook):
    """The notebook after the learner ran some of its cells; some show again what was stored."""
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code" and rng.random() < 0.5:
            cell["execution_count"] = 100 + number
            if rng.random() < 0.7:
                cell["outputs"] = [stream(f"mine {number}")]
    return notebook


def is_mine(cell):
    return cell["cell_type"] == "code" and (cell["execution_count"] or 0) >= 100


@pytest.mark.parametrize("seed", range(300))
def test_outputs_of_own_runs_stay_below_their_code_and_stored_ones_go(seed):
    rng = random.Random(seed)
    given = stored()
    mine = ran(rng, edited(rng, given, "my")[0])
    theirs = unrun(edited(rng, given, "their")[0])
    merged, _ = merge(parse(to_bytes(mine)), theirs, [given])

    after = shown(merged)
    assert set(after) <= set(shown(mine))  # nothing new, and nothing below other code
    texts = [source(cell) for cell in merged["cells"]]
    changed = {source(cell) for cell in given["cells"]} - {source(cell) for cell in theirs["cells"]}
    for cell in filter(is_mine, mine["cells"]):
        for output in cell["outputs"]:
            pair = source(cell), output["text"][0]
            assert pair in after or source(cell) not in texts or source(cell) in changed

    names = {cell["id"] for cell in given["cells"]}
    for cell in merged["cells"]:
        known = cell["id"] in names or any(source(cell) == source(one) for one in given["cells"])
        if known and cell["cell_type"] == "code" and not is_mine(cell):
            assert (cell["outputs"], cell["execution_count"]) == ([], None)

    # The learner runs on; from now on all that is shown is the learner's.
    later = ran(rng, clone(merged))
    for versions in ([given, theirs], [theirs]):
        again, words = merge(parse(to_bytes(later)), theirs, versions)
        assert shown(again) == shown(later), words
