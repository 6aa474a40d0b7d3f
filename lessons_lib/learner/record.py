"""The record of verdicts, work/.progress.json: for each exercise the last one.

It looks like {"token_loss": {"status": "fail", "misconception": "counts-padding", "sentence":
"..."}}; the exercise that was checked last stands last.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from lessons_lib.learner.files import course_folder, lock, read, write_whole

NAME = ".progress.json"
STATUSES = ("pass", "fail", "todo")
PATIENCE = 5.0  # seconds; another kernel holds the lock for milliseconds

Record = dict[str, dict[str, str | None]]


def remember(exercise_id: str, status: str, misconception: str | None, sentence: str) -> None:
    """Record a verdict if the kernel runs in work/; whatever hinders it, a check goes on.

    A kernel in work/solutions/ judges answers that are not the learner's: not recorded.
    """
    # Whatever goes wrong here is no business of the answer that is being checked.
    with contextlib.suppress(Exception):
        here = Path.cwd()
        root = course_folder(here)
        if root is None or not here.is_relative_to(root / "work"):
            return
        if here.is_relative_to(root / "work" / "solutions"):
            return
        with changed(root / "work") as record:
            record.pop(exercise_id, None)
            record[exercise_id] = {
                "status": status,
                "misconception": misconception,
                "sentence": sentence,
            }


def forget(work: Path, exercise_id: str) -> None:
    """Drop the verdict on one exercise. Raises OSError if the record cannot be written."""
    if exercise_id in recorded(work):
        with changed(work) as record:
            record.pop(exercise_id, None)


@contextlib.contextmanager
def changed(work: Path) -> Iterator[Record]:
    """Lend the record to be changed, while no other process can do so."""
    with lock(work / ".progress.lock", PATIENCE):
        record = recorded(work)
        yield record
        write_whole(work / NAME, (json.dumps(record, indent=1) + "\n").encode())


def recorded(work: Path) -> Record:
    """The record. What is lost or damaged is left out, and comes back when its check is run."""
    entries = stored(work)
    if not isinstance(entries, dict):
        return {}
    return {name: entry for name, entry in entries.items() if is_entry(entry)}


def is_whole(work: Path) -> bool:
    """Whether nothing in the record is damaged; one that was never written is whole."""
    entries = stored(work)
    return isinstance(entries, dict) and all(map(is_entry, entries.values()))


def stored(work: Path) -> object:
    """What the file holds, None if that is no JSON."""
    try:
        return json.loads(read(work / NAME) or b"{}")
    except (OSError, ValueError, RecursionError):
        return None


def is_entry(entry: object) -> bool:
    """Whether this is what `remember` writes for one exercise."""
    return (
        isinstance(entry, dict)
        and entry.get("status") in STATUSES
        and isinstance(entry.get("sentence"), str)
    )
