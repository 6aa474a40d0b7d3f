"""The commands that change notebooks in work/: `update` and `reset`."""

import contextlib
import difflib
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lessons_lib.learner.files import (
    ROOMS,
    Refusal,
    SavedMeanwhile,
    back_up,
    lock,
    read,
    replace,
    write_whole,
)
from lessons_lib.learner.merge import merge, restore
from lessons_lib.learner.notebook import (
    Exercise,
    lessons,
    parse,
    parse_given,
    to_bytes,
    without_outputs,
)
from lessons_lib.learner.record import forget

RELOAD = "Where one is open in JupyterLab, reload its tab: File > Reload Notebook from Disk."


@dataclass(frozen=True)
class Change:
    """What one file in work/ is to become. `seen` is what it held, None if it was not there."""

    path: Path
    seen: bytes | None
    content: bytes
    said: str


@dataclass(frozen=True)
class Plan:
    """What `update` found for one notebook of the course."""

    given: Path
    version: bytes  # what the course gives now: its notebook, without outputs
    change: Change
    problem: str = ""


def update(root: Path, dry_run: bool) -> int:
    """Bring what is new in the tracked folders into work/; returns the exit status."""
    with alone(root, dry_run):
        plans, problems = [], []
        for given in (path for room in ROOMS for path in sorted((root / room).glob("*.ipynb"))):
            try:
                plan = planned(root, given, root / "work" / given.relative_to(root))
            except ValueError:
                name = shown(root, given)
                problems.append(
                    f"{name} itself is no valid notebook, so work/ keeps what it has: copy it "
                    f"if you worked there, then `git checkout {name}` restores it."
                )
            else:
                plans.append(plan)
                problems += filter(None, [plan.problem])
        news = [plan.change for plan in plans if plan.change.content != plan.change.seen]
        print("\n".join(problems), end="\n" if problems else "")
        if not news:
            print("The notebooks in work/ are up to date.")
        if dry_run:
            return announced(root, news)
        back_up_old(root, "update", news)
        done = [written(root, plan.change) and keep_original(root, plan) for plan in plans]
        return 0 if all(done) and not problems else 1


def planned(root: Path, given: Path, path: Path) -> Plan:
    """What `path` in work/ is to become. Raises ValueError if the course's notebook is broken."""
    version, mine = without_outputs(given.read_bytes()), read(path)
    new = parse_given(version)
    known = originals(root, given)
    if mine is None:
        return Plan(given, version, Change(path, None, version, "new"))
    if mine == version or mine in known:
        said = "renewed; you had changed nothing in it"
        if mine != without_outputs(mine):
            said += ", and its outputs come when you run it"
        return Plan(given, version, Change(path, mine, version, said))
    try:
        old = parse(mine)
    except ValueError:
        beside = path.with_name(f"{path.stem}.new.ipynb")
        # The learner may have gone on there: it is treated like any copy.
        plan = planned(root, given, beside)
        problem = (
            f"{shown(root, path)} is no valid notebook and is left alone; the course's version "
            f"stands beside it: {beside.name}."
        )
        return Plan(given, version, plan.change, problem)
    merged, words = merge(old, new, [parse_given(content) for content in known])
    content = mine if merged == old else to_bytes(merged)
    said = "; ".join(words) or "new marks: what is folded, or how it is graded"
    return Plan(given, version, Change(path, mine, content, said))


def reset(root: Path, exercise_id: str, dry_run: bool) -> int:
    """Restore one exercise in work/ as the course gives it; returns the exit status."""
    with alone(root, dry_run):
        exercise = find(root, exercise_id)
        path = root / "work" / exercise.notebook.relative_to(root)
        given, mine = without_outputs(exercise.notebook.read_bytes()), read(path)
        if mine is None:
            raise Refusal(f"There is no {shown(root, path)}: `python course.py update` makes it.")
        try:
            old = parse(mine)
        except ValueError as error:
            raise Refusal(
                f"{shown(root, path)} is no valid notebook and was left alone: rename it, and "
                "`python course.py update` makes a new one."
            ) from error
        restored = restore(old, parse_given(given), exercise)
        if restored == old:
            print(f"{exercise.id} in {shown(root, path)} is as it was given.")
        content = mine if restored == old else to_bytes(restored)
        change = Change(path, mine, content, f"{exercise.id} is as it was given")
        if dry_run:
            return announced(root, [change] if content != mine else [])
        back_up_old(root, "reset", [change])
        if not written(root, change):
            return 1
        forget(root / "work", exercise.id)
        return 0


def find(root: Path, exercise_id: str) -> Exercise:
    """The exercise of that id; Refusal names the ids that come close, or all."""
    known = {exercise.id: exercise for lesson in lessons(root) for exercise in lesson.exercises}
    if exercise_id in known:
        return known[exercise_id]
    near = difflib.get_close_matches(exercise_id, known) or list(known)
    raise Refusal(f"There is no exercise {exercise_id!r}; did you mean: {', '.join(near)}?", 2)


def announced(root: Path, changes: list[Change]) -> int:
    """Say what would be done; returns the exit status."""
    for change in changes:
        print(f"would change {shown(root, change.path)}: {change.said}")
    print("Nothing was written, because of --dry-run.")
    return 0


def back_up_old(root: Path, command: str, changes: list[Change]) -> None:
    """Keep what the files held that are to be changed, and say where."""
    old = {
        change.path: change.seen
        for change in changes
        if change.seen is not None and change.seen != change.content
    }
    if old:
        folder = back_up(root / "work", command, old)
        print(f"What was there is kept in {shown(root, folder)}/")
        print(RELOAD, flush=True)


def written(root: Path, change: Change) -> bool:
    """Write one file and say so; False, and nothing written, if another program just did."""
    if change.content == change.seen:
        return True
    name = shown(root, change.path)
    try:
        replace(change.path, change.content, change.seen)
    except SavedMeanwhile:
        print(f"{name} was saved by another program just now and is left as it is: run this again.")
        return False
    print(f"{name}: {change.said}", flush=True)
    return True


@contextlib.contextmanager
def alone(root: Path, dry_run: bool) -> Iterator[None]:
    """Let one command at a time change work/, by the lock that course.py takes too."""
    if dry_run:
        yield
        return
    with lock(root / ".course.lock", math.inf, "Another command is at work here: waiting for it."):
        yield


def originals(root: Path, given: Path) -> list[bytes]:
    """The versions of a notebook that copies in work/ were made from, oldest first.

    Once copies came with the outputs that the course had stored. Such versions are the older ones,
    whatever the times of the files say: by them `update` knows which outputs nobody else made.
    """
    folder = root / "work" / ".originals" / given.parent.name
    paths = sorted(folder.glob(f"{given.stem}.*.ipynb"), key=lambda path: path.stat().st_mtime_ns)
    contents = [(path, path.read_bytes()) for path in paths]
    sound = [content for path, content in contents if path.name == versioned(given, content)]
    return sorted(sound, key=lambda content: content == without_outputs(content))


def keep_original(root: Path, plan: Plan) -> bool:
    """Remember which version the copy in work/ stands on now; True when that is done.

    Only after the copy itself: a version that is known counts as brought in.
    """
    folder = root / "work" / ".originals" / plan.given.parent.name
    path = folder / versioned(plan.given, plan.version)
    if plan.change.content != plan.change.seen or not path.exists():
        write_whole(path, plan.version)
    return True


def versioned(given: Path, version: bytes) -> str:
    """The name of an original; it tells a spoilt file from a sound one. course.py makes it too."""
    return f"{given.stem}.{hashlib.sha256(version).hexdigest()[:16]}.ipynb"


def shown(root: Path, path: Path) -> str:
    """How a path is written in a message."""
    return path.relative_to(root).as_posix()
