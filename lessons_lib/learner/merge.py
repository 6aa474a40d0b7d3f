"""Bring two versions of a notebook together: the learner's, and the course's newer one.

Cells are recognised by their ids, and by the function that they define where the id is gone.
"""

from lessons_lib.learner.notebook import (
    Cell,
    Exercise,
    Notebook,
    functions,
    run,
    source,
    text,
)

NOTICE = "newer_version_of"  # the mark, in the metadata, of a cell that shows what is new
RUN_AGAIN = "changed, so run it again"  # its outputs were those of other code
BOTH = "yours kept, the new one below it"


def merge(mine: Notebook, theirs: Notebook, known: list[Notebook]) -> tuple[Notebook, list[str]]:
    """The learner's notebook with the course's changes, and a few words on each.

    `known` are versions that the course had before, oldest first. What differs from them is the
    learner's; without any, all that differs from `theirs` is. `theirs` has no outputs.
    """
    base = closest(mine, known)
    old = by_id(base["cells"]) if base else {}
    own = with_ids(mine["cells"], theirs["cells"] + list(old.values()))
    shown_by_course = [cell["id"] for cell in own if stands_unrun(cell, old)]
    own = [cleared(cell) if cell["id"] in shown_by_course else cell for cell in own]
    partners = matched(own, theirs["cells"], old if base else None)

    kept = {}
    words = {name: [] for name in ("new", "changed", RUN_AGAIN, "gone", BOTH)}
    for cell in theirs["cells"]:
        name = cell["id"]
        if name not in partners:
            if name not in old:
                words["new"].append(name)
                kept[name] = [cell]
            continue  # else the learner deleted it
        my = partners[name]
        before = old.get(my["id"], old.get(name))
        kept[name] = settled(before, my, cell)
        if len(kept[name]) == 2 and not any(text(kept[name][1]) == text(other) for other in own):
            words[BOTH].append(name)
        else:
            kept[name] = kept[name][:1]
            if text(kept[name][0]) != text(my):
                words[RUN_AGAIN if my.get("outputs") else "changed"].append(name)

    place = {cell["id"]: name for name, cell in partners.items()}  # my id -> its new one
    for cell in own:
        name = cell["id"]
        if name in place:
            continue
        if name in old and text(cell) == text(old[name]):
            words["gone"].append(name)
        else:
            kept[name] = [cell]

    my_order = [place.get(cell["id"], cell["id"]) for cell in own]
    their_order = [cell["id"] for cell in theirs["cells"]]
    my_order, their_order = ([n for n in order if n in kept] for order in (my_order, their_order))
    moved = base is not None and not same_order(list(old), their_order)
    order = weave(their_order, my_order) if moved else weave(my_order, their_order)
    if moved and order != weave(my_order, their_order):
        words["changed"].append("the order")

    cells = unique([cell for name in order for cell in kept[name]])
    said = [f"{word}: {', '.join(names)}" for word, names in words.items() if names]
    if shown_by_course:
        said.append("the course's own outputs are gone: run the cells to see yours")
    return renewed(mine, theirs, cells), said


def restore(mine: Notebook, theirs: Notebook, exercise: Exercise) -> Notebook:
    """The learner's notebook with one exercise as the course gives it.

    Other definitions of its function go: the check would find them instead of the stub.
    """
    own = with_ids(mine["cells"], theirs["cells"])
    given = {name: cell for name, cell in by_id(theirs["cells"]).items() if name in exercise.cells}
    partners = matched(own, theirs["cells"], None)
    place = {cell["id"]: name for name, cell in partners.items()}

    kept = dict(given)
    for cell in own:
        name = place.get(cell["id"], cell["id"])
        notice = cell.get("metadata", {}).get(NOTICE) in given
        if name not in given and not notice and exercise.function not in functions(cell):
            kept[name] = cell

    my_order = [place.get(cell["id"], cell["id"]) for cell in own]
    their_order = [cell["id"] for cell in theirs["cells"]]
    my_order, their_order = ([n for n in order if n in kept] for order in (my_order, their_order))
    if not same_order(my_order, list(given)):
        my_order = [name for name in my_order if name not in given]
    cells = [kept[name] for name in weave(my_order, their_order)]
    return renewed(mine, theirs, unique(cells))


def closest(mine: Notebook, known: list[Notebook]) -> Notebook | None:
    """The version that the learner's notebook stands on: the one it has most in common with.

    Not simply the newest: JupyterLab may have saved an older notebook over an updated one.
    """
    texts = {cell.get("id"): text(cell) for cell in mine["cells"]}

    def differences(notebook: Notebook) -> int:
        others = {cell["id"]: text(cell) for cell in notebook["cells"]}
        return sum(texts.get(name) != others.get(name) for name in texts.keys() | others.keys())

    return min(reversed(known), key=differences, default=None)


def stands_unrun(cell: Cell, old: dict[str, Cell]) -> bool:
    """Whether a cell of the learner's still shows what the course had stored, and nothing else.

    Copies of one and halves of a split one carry the stored outputs with them. Who has run the
    cell since has another number beside it, even if the outputs are the same.
    """
    if cell["cell_type"] != "code" or run(cell) == run(cleared(cell)):
        return False
    return any(
        run(cell) == run(origin) and (cell["id"] == name or source(cell) in source(origin))
        for name, origin in old.items()
    )


def cleared(cell: Cell) -> Cell:
    """The code cell as one that was never run."""
    return {**cell, "outputs": [], "execution_count": None}


def settled(before: Cell | None, my: Cell, their: Cell) -> list[Cell]:
    """The cell that stays; if both sides changed it, also one that shows the course's version.

    Outputs stay below the code that made them, and never below other code.
    """
    mine_stays = {**my, "id": their["id"], "metadata": marks(before, my, their)}
    if text(my) == text(their):
        return [mine_stays]
    if before is not None and text(my) == text(before):
        return [their]
    if before is not None and text(their) == text(before):
        return [mine_stays]
    return [mine_stays, notice_of(their)]


def marks(before: Cell | None, my: Cell, their: Cell) -> dict:
    """The metadata of the learner's cell with what the course changed in its own: what is folded.

    What the learner unfolded stays so. The marks for nbgrader are the teacher's in any case.
    """
    mine, new = my.get("metadata", {}), their.get("metadata", {})
    renewed = {"nbgrader"} & new.keys()
    if before is not None:
        old = before.get("metadata", {})
        renewed |= {key for key in old | new if mine.get(key) == old.get(key)}
    kept = {key: value for key, value in mine.items() if key not in renewed}
    return kept | {key: new[key] for key in renewed if key in new}


def notice_of(cell: Cell) -> Cell:
    """A text cell that shows what the course has now. Nothing in it runs or is taken for code."""
    shown = source(cell)
    if cell["cell_type"] == "code":
        fence = "```"
        while fence in shown:
            fence += "`"
        shown = f"{fence}python\n{shown}\n{fence}"
    words = "**The course has a newer version of the cell above, which you changed.** Yours stays."
    return {
        "cell_type": "markdown",
        "id": f"{cell['id'][:60]}-new",
        "metadata": {NOTICE: cell["id"]},
        "source": f"{words} Take over what you like, then delete this cell:\n\n{shown}",
    }


def with_ids(cells: list[Cell], known: list[Cell]) -> list[Cell]:
    """The cells, each with an id of its own; one that lost its id gets that of a like cell.

    Of several cells with one id, the first keeps it: in the notebook they stay side by side.
    """
    taken = {cell.get("id") for cell in cells}
    result = []
    for cell in cells:
        if not cell.get("id"):
            alike = (other["id"] for other in known if text(other) == text(cell))
            found = next((name for name in alike if name not in taken), "own")
            taken.add(found)
            cell = {**cell, "id": found}
        result.append(cell)
    return unique(result)


def unique(cells: list[Cell]) -> list[Cell]:
    """The cells, with a number added to each id that occurred before."""
    taken = {cell["id"] for cell in cells}
    seen = set()
    result = []
    for cell in cells:
        name, number = cell["id"], 2
        if name in seen:
            while (name := f"{cell['id'][:58]}-{number}") in taken:
                number += 1
            taken.add(name)
        seen.add(name)
        result.append({**cell, "id": name})
    return result


def matched(own: list[Cell], theirs: list[Cell], old: dict[str, Cell] | None) -> dict[str, Cell]:
    """Which of the learner's cells belongs to which of the course's, by the course's id.

    A split or copied cell may have a new id, and a renewed one of the course too: then the
    function that both define tells, and where there is none, the same text. `old` are the cells
    that the learner started from, if known: a cell that is new on both sides is no pair.
    """
    mine = by_id(own)
    partners = {cell["id"]: mine[cell["id"]] for cell in theirs if cell["id"] in mine}
    their_names = {cell["id"] for cell in theirs}
    strangers = [cell for cell in own if cell["id"] not in their_names]
    for cell in theirs:
        wanted = functions(cell)
        if cell["id"] in partners:
            continue
        # From the end, because the last definition is the one that a check has seen.
        for stranger in reversed(strangers):
            known = old is None or cell["id"] in old or stranger["id"] in old
            same = text(stranger) == text(cell)
            if known and (wanted[0] in functions(stranger) if wanted else same):
                partners[cell["id"]] = stranger
                strangers.remove(stranger)
                break
    return partners


def by_id(cells: list[Cell]) -> dict[str, Cell]:
    return {cell["id"]: cell for cell in cells}


def same_order(one: list[str], other: list[str]) -> bool:
    """Whether the names that both lists have come in the same order."""
    both = set(one) & set(other)
    return [name for name in one if name in both] == [name for name in other if name in both]


def weave(main: list[str], other: list[str]) -> list[str]:
    """`main`, with the names that only `other` has behind those that they follow there."""
    woven, at = list(main), 0
    for name in other:
        if name in main:
            at = woven.index(name)
        else:
            woven.insert(at, name)
        at += 1
    return woven


def renewed(mine: Notebook, theirs: Notebook, cells: list[Cell]) -> Notebook:
    """The learner's notebook with other cells; cell ids need format 4.5."""
    metadata = mine.get("metadata") or theirs["metadata"]
    minor = max(mine.get("nbformat_minor", 5), theirs["nbformat_minor"], 5)
    return {**mine, "cells": cells, "metadata": metadata, "nbformat_minor": minor}
