"""The command `python -m lessons_lib`."""

import contextlib
import difflib
import errno
import os
import sys
from pathlib import Path

from lessons_lib.learner.change import reset, update
from lessons_lib.learner.files import Refusal, course_folder

HELP = """\
The attention lessons. Run these in the folder of the course:

python course.py                           open the lessons in JupyterLab
python course.py test                      run all their tests

python -m lessons_lib progress             what is solved, and the next exercise
python -m lessons_lib reset EXERCISE       give one exercise back as it was
python -m lessons_lib update               after `git pull`: renew the notebooks in work/

`reset` and `update` keep what was there in work/.backups/ and say where. With --dry-run they say
what they would do and write nothing. `python course.py progress` does the same as
`python -m lessons_lib progress`, and so on.
"""

COMMANDS = ("progress", "reset", "update", "help")


def main(words: list[str]) -> int:
    """Do what the words ask for. Returns the exit status: 0, 1 if it failed, 2 for wrong words."""
    for stream in (sys.stdout, sys.stderr):
        # A sign that the terminal lacks becomes a question mark, not an error.
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")
    try:
        return run(words)
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return refusal.exit_status
    except KeyboardInterrupt:
        print("Stopped; running it again goes on from here.", file=sys.stderr)
        return 130
    except OSError as error:
        print(said(error), file=sys.stderr)
        return 1


def run(words: list[str]) -> int:
    """Find the command that is meant, and run it."""
    dry_run = "--dry-run" in words
    match [word for word in words if word != "--dry-run"]:
        case [] | ["help" | "-h" | "--help", *_]:
            print(HELP, end="")
            return 0
        case ["progress"]:
            # Only this command needs rich.
            from rich.console import Console

            from lessons_lib.learner.progress import progress

            return progress(course(), Console(highlight=False))
        case ["reset", exercise_id]:
            return reset(course(), exercise_id, dry_run)
        case ["update"]:
            return update(course(), dry_run)
        case ["reset"]:
            raise Refusal("Which exercise? `progress` shows the next one: `reset token_loss`.", 2)
        case [word, *rest] if word in COMMANDS:
            raise Refusal(f"`{word}` does not know what {' '.join(rest)!r} means.", 2)
        case [word, *_]:
            near = difflib.get_close_matches(word, COMMANDS) or COMMANDS
            raise Refusal(f"No command is called {word!r}; did you mean: {', '.join(near)}?", 2)


def course() -> Path:
    """The course's folder, in which there is a work/; Refusal if this is another place."""
    root = course_folder(Path.cwd())
    if root is None:
        raise Refusal("This is no folder of the course: go to the one with course.py in it.")
    if not (root / "work").is_dir():
        raise Refusal("There is no work/ yet: `python course.py` makes it and opens the lessons.")
    return root


def said(error: OSError) -> str:
    """One sentence on what the operating system refused."""
    place = f" ({os.path.relpath(error.filename)})" if isinstance(error.filename, str) else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full{place}: make room and run it again; no answer was lost."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"This may not be written{place}: make it writable, close what uses it, try again."
    return f"It did not work ({error}): no answer was lost; run it again."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
