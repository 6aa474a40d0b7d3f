"""Where the learner's files are, and how to change them so that nothing is lost at any moment."""

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

ROOMS = ("notebooks", "exercises", "solutions")


class Refusal(Exception):
    """The command cannot do what is asked; the message is one sentence that says what to do."""

    def __init__(self, sentence: str, exit_status: int = 1):
        super().__init__(sentence)
        self.exit_status = exit_status


class SavedMeanwhile(Exception):
    """Another program wrote the file after it had been read."""


def course_folder(place: Path) -> Path | None:
    """The course that `place` lies in, itself included, or None: it has course.py in it."""
    for folder in (place, *place.parents):
        if (folder / "course.py").is_file() and (folder / "lessons_lib").is_dir():
            return folder
    return None


def read(path: Path) -> bytes | None:
    """What the file holds, or None if there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all; see `replace`."""
    replace(path, content, read(path))


def replace(path: Path, content: bytes, seen: bytes | None) -> None:
    """Put `content` where `seen` was read before; whoever reads finds the old or the new.

    It is written beside, sent to the disk, and renamed. Raises SavedMeanwhile, and changes
    nothing, if the file no longer holds `seen` right before it is renamed.
    """
    path = path.resolve()  # a link stays a link
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.unfinished")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if read(path) != seen:
            raise SavedMeanwhile(path)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Send the names in a folder to the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def back_up(work: Path, command: str, contents: dict[Path, bytes]) -> Path:
    """Write what the files of work/ hold into a new folder of work/.backups/; returns it."""
    now = time.strftime("%Y-%m-%d_%H-%M-%S")
    number = 1
    while True:
        folder = work / ".backups" / (f"{now}_{command}" + (f"_{number}" if number > 1 else ""))
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            break
        number += 1
    for path, content in contents.items():
        write_whole(folder / path.relative_to(work), content)
    return folder


@contextlib.contextmanager
def lock(path: Path, patience: float, waiting: str = "") -> Iterator[None]:
    """Hold the lock that belongs to the file `path`, which is made if it is missing.

    `waiting` is said once if the lock has to be waited for.

    The operating system frees it when the process ends, however it ends. Raises TimeoutError if
    it is still taken after `patience` seconds.
    """
    with open(path, "a") as file:
        deadline = time.monotonic() + patience
        while not took_lock(file.fileno()):
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{path} is locked")
            if waiting:
                print(waiting, flush=True)
                waiting = ""
            time.sleep(0.01)
        yield


def took_lock(number: int) -> bool:
    """Lock the open file, or return False if another process holds it."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some network disks have no locks: go on without one there.
        return error.errno in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
    return True
