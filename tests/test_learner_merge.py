"""Random edits on both sides: what the learner wrote is always there after a merge."""

import random

import pytest

from lessons_lib.learner.merge import merge
from lessons_lib.learner.notebook import parse, parse_given, source, to_bytes
from tests.learner_course import clone, code, lesson, md


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
