"""Set the course up in the folder .venv beside this file, and open it.

    python course.py                  open the lessons in JupyterLab, at lesson 1
    python course.py --no-browser     arguments that begin with "-" go to JupyterLab
    python course.py test             run all tests; more arguments go to pytest
    python course.py progress         show what is solved, and what comes next
    python course.py reset EXERCISE   give one exercise back as it was
    python course.py update           after `git pull`: renew the notebooks that you work on
    python course.py WORD ...         run `python -m lessons_lib WORD ...`

The lessons that you work on are copies, in the folder work/. They come without outputs: run a
cell to see what it shows. Opening them overwrites nothing; `reset` and `update` keep what was
there in work/.backups/.
Running this again is quick and safe: it installs only what is missing.
"""

# This file uses the standard library alone, and syntax that Python 3.6 can read:
# otherwise an old Python would answer with a syntax error, not with a sentence.

import contextlib
import errno
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 14)

ROOT = Path(__file__).resolve().parent
WORK = ROOT / "work"
ROOMS = ("notebooks", "exercises", "solutions")
FIRST_LESSON = "notebooks/01_rnn_bottleneck.ipynb"

VENV = ROOT / ".venv"
VENV_PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
# The record of an install is written as INSTALLING and renamed to INSTALLED as the very last
# step: whoever finds INSTALLING finds an interrupted install.
INSTALLING = VENV / "course_installing.json"
INSTALLED = VENV / "course_installed.json"

CPU_TORCH_INDEX = "https://download.pytorch.org/whl/cpu"

# What a failed command may have said, and what to do about it. The first match counts.
CURES = (
    (
        ("No space left", "[Errno 28]", "[WinError 112]", "Disk quota exceeded"),
        "The disk is full: the course needs about 2 GB, so make room and start again.",
    ),
    (
        ("Enable Windows Long Path", "enable-long-paths"),
        r"Windows finds a path too long: move the course to a short one like C:\course.",
    ),
    (
        ("[WinError 5]", "[WinError 32]"),
        f"Windows lets no file in {ROOT} be changed: close JupyterLab and start again.",
    ),
    (
        ("Permission denied", "Read-only file system", "[Errno 13]", "[Errno 30]"),
        f"Nothing can be written in {ROOT}: copy the course to a folder of yours and start there.",
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED", "SSLError"),
        "The secure connection for downloads was refused: set pip's `cert` option to the "
        "certificate of your network, or use another network, and start again.",
    ),
    (
        (
            "Failed to establish a new connection",
            "NameResolutionError",
            "Max retries exceeded",
            "Read timed out",
            "Connection aborted",
            "ConnectTimeoutError",
            "ConnectionResetError",
            "IncompleteRead",
            "ProtocolError",
            "ProxyError",
        ),
        "The packages could not be downloaded: connect this computer to the internet "
        "(behind a proxy, set HTTPS_PROXY) and start again.",
    ),
    (
        ("No matching distribution found",),
        "A package has no build for this system: the course needs 64-bit Linux with glibc, "
        "Windows, or macOS 14 or later on Apple silicon.",
    ),
)


def say(sentence):
    print(sentence, flush=True)


def main(arguments):
    """Set up what the arguments need, run what they ask for, and return its exit code."""
    if arguments[:1] in (["-h"], ["--help"]):
        say(__doc__.strip())
        return 0
    check_computer()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    word = arguments[0] if arguments and not arguments[0].startswith("-") else None
    with lock() as lock_file:
        install(["test"] if word == "test" else [], lock_file)
        if word is None:
            copy_missing_notebooks()

    if word == "test":
        return run([VENV_PYTHON, "-m", "pytest", *arguments[1:]], ROOT)
    if word is not None:
        return run([VENV_PYTHON, "-m", "lessons_lib", *arguments], ROOT)
    say("Opening JupyterLab on lesson 1. To end it, press Ctrl-C twice in this window.")
    # These settings switch off the teacher's tools, which come with the packages for the tests.
    settings = [str(ROOT / "lessons_lib" / "jupyterlab"), os.environ.get("JUPYTER_CONFIG_PATH")]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, settings))
    return run([*jupyterlab_command(), *arguments], WORK)


def check_computer():
    """Stop with one sentence where PyTorch cannot be installed."""
    if not OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        sys.exit(
            "The course needs Python 3.11, 3.12, 3.13 or 3.14, and this is {}.{}: install one of "
            "them and start it by name, as in `python3.12 course.py` (Windows: "
            "`py -3.12 course.py`).".format(*sys.version_info[:2])
        )
    if sys.maxsize < 2**32:
        sys.exit("PyTorch needs a 64-bit Python, and this is a 32-bit one: install the 64-bit one.")
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        sys.exit(
            "PyTorch is no longer built for Intel Macs: use another computer, or, if this Mac has "
            "Apple silicon, install a Python built for it (arm64)."
        )


# --- the environment -------------------------------------------------------------------------


@contextlib.contextmanager
def lock():
    """Hold the lock that lets one course.py at a time change .venv and work/; yield its file.

    The operating system frees the lock when the last process that holds it ends, however it
    ends: there are no stale locks.
    """
    with open(ROOT / ".course.lock", "a") as lock_file:
        waiting = False
        while not took_lock(lock_file):
            if not waiting:
                say("Another course.py is at work in this folder: waiting for it to finish.")
                waiting = True
            time.sleep(0.2)
        yield lock_file


def took_lock(lock_file):
    """Lock the open file and return True, or return False if another process holds it."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(lock_file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some network disks have no locks: go on without one there.
        return error.errno in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
    return True


def install(extras, lock_file):
    """Leave a working .venv with the course and these extras in it; if it is there, do nothing."""
    record = read_record()
    reason = reason_to_rebuild(record)
    if reason:
        if Path(sys.prefix).resolve() == VENV:
            sys.exit(f".venv must be rebuilt ({reason}): run `deactivate` and start again.")
        say(f"Rebuilding .venv, because {reason}.")
        remove_venv()
    if not VENV_PYTHON.exists():
        record = {}
        say("Setting up the course in .venv. This happens once and takes a few minutes.")
        create_venv(lock_file)

    wanted = {
        "root": str(ROOT),
        "python": venv_python_version(),
        "extras": sorted({*extras, *record.get("extras", [])}),
        "versions": versions_digest(),
    }
    if record == wanted:
        return
    INSTALLING.write_text(json.dumps(wanted), encoding="utf-8")
    if record:
        say("Installing what changed since the last time.")
    install_packages(wanted["extras"], lock_file)
    os.replace(INSTALLING, INSTALLED)
    say("Everything is installed.")


def read_record():
    """Return what the last finished install wrote, or {} if there is none that can be read."""
    try:
        return dict(json.loads(INSTALLED.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def versions_digest():
    """Return one hash for the two files that say what to install."""
    files = (ROOT / "pyproject.toml", ROOT / "constraints.txt")
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def reason_to_rebuild(record):
    """Return why .venv cannot be used, as half a sentence, or None if it can, or is not there.

    What is called .venv but is no virtual environment is not ours to delete: stop there.
    """
    if not os.path.lexists(VENV) or (VENV.is_dir() and not any(VENV.iterdir())):
        return None
    marks = (VENV / "pyvenv.cfg", INSTALLING, INSTALLED)
    if VENV.is_symlink() or not any(mark.exists() for mark in marks):
        sys.exit(f"{VENV} is no virtual environment: move it away and start again.")
    if INSTALLING.exists():
        return "the last installation was interrupted"
    if record.get("root", str(ROOT)) != str(ROOT):
        return "the course was moved"
    version = venv_python_version()
    if version is None:
        return "its Python does not start, or packages are missing from it"
    if record.get("python", version) != version:
        return "its Python is another one now"
    if not OLDEST_PYTHON <= tuple(map(int, version.split("."))) <= NEWEST_PYTHON:
        return f"its Python {version} is too old or too new"
    return None


def venv_python_version():
    """Return the version of .venv's Python, such as "3.11", or None if it does not work.

    A finished install must also find the packages without which nothing runs.
    """
    needed = ["pip", "jupyterlab", "torch"] if INSTALLED.exists() else ["pip"]
    code = (
        "import sys; from importlib.util import find_spec\n"
        f"assert all(map(find_spec, {needed!r}))\n"
        "print('{}.{}'.format(*sys.version_info))"
    )
    try:
        # -I: this folder and PYTHONPATH must not lend it what it lacks.
        answer = subprocess.run(
            [str(VENV_PYTHON), "-I", "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def remove_venv():
    try:
        shutil.rmtree(VENV)
    except OSError as error:
        sys.exit(
            f"{VENV} cannot be deleted ({error.strerror}): close the programs that use it, "
            "delete it and start again."
        )


def create_venv(lock_file):
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            sys.exit(
                "This Python cannot make virtual environments: on Debian and Ubuntu, run "
                "`sudo apt install python{}.{}-venv` and start again.".format(*sys.version_info)
            )
    VENV.mkdir(exist_ok=True)
    INSTALLING.touch()
    exit_code, output = run_quietly([sys.executable, "-m", "venv", str(VENV)], lock_file)
    if exit_code != 0:
        sys.exit(cure(output))


def install_packages(extras, lock_file):
    """Install the course, editable, with the versions of constraints.txt."""
    pip = [VENV_PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    pip += ["--progress-bar", "off"]
    # Before pip says this, it has changed nothing: .venv is as good as it was.
    changes_begin = "Installing collected packages"

    if wants_cpu_torch():
        # The default index's torch would bring 3 GB of packages for an NVIDIA GPU. If the index
        # for CPUs cannot be reached, the install below brings that torch.
        pin = re.search(r"^torch==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
        source = ["--index-url", CPU_TORCH_INDEX, "--retries", "0", "--timeout", "10"]
        exit_code, output = run_quietly([*pip, "--no-deps", pin.group(), *source], lock_file)
        if exit_code != 0 and changes_begin in output:
            sys.exit(cure(output))

    course = ".[{}]".format(",".join(extras)) if extras else "."
    exit_code, output = run_quietly([*pip, "-c", "constraints.txt", "-e", course], lock_file)
    if exit_code != 0:
        if changes_begin not in output:
            INSTALLING.unlink()
        sys.exit(cure(output))


def wants_cpu_torch():
    """Return whether this is a system for which torch has a smaller build without GPU parts."""
    has_nvidia_driver = shutil.which("nvidia-smi") or Path("/proc/driver/nvidia").exists()
    on_linux_x86 = sys.platform == "linux" and platform.machine() == "x86_64"
    return on_linux_x86 and not has_nvidia_driver


def cure(output):
    """Return the sentence that says what to do about a command that failed with this output."""
    for signs, sentence in CURES:
        if any(sign in output for sign in signs):
            return sentence
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(ERROR|\w+Error): ", line)]
    last = (errors or lines or ["no message"])[-1]
    return f"The set-up failed ({last}): start again, or install by hand as README.md says."


# --- the learner's copies --------------------------------------------------------------------


def copy_missing_notebooks():
    """Copy into work/ what it lacks of the lessons, exercises and solutions; overwrite nothing."""
    for room in ROOMS:
        for source in sorted((ROOT / room).rglob("*")):
            path = source.relative_to(ROOT)
            copy = WORK / path
            hidden = any(part.startswith((".", "__")) for part in path.parts)
            if hidden or source.is_dir() or os.path.lexists(copy):
                continue
            content = without_outputs(source.read_bytes())
            # By what was copied, `update` will know what the learner has changed since.
            version = hashlib.sha256(content).hexdigest()[:16]
            original = path.with_name(f"{path.stem}.{version}{path.suffix}")
            for target in (WORK / ".originals" / original, copy):
                target.parent.mkdir(parents=True, exist_ok=True)
                # Renamed when complete: a copy that was interrupted is no notebook.
                unfinished = target.with_name(f".{target.name}.unfinished")
                unfinished.write_bytes(content)
                os.replace(unfinished, target)


def without_outputs(content):
    """Return what a copy of this file holds: of a notebook, all but what running it showed.

    The learner is asked to predict, and must not read the answer below. lessons_lib/learner makes
    the same bytes. What is no notebook of format 4 stays as it is.
    """
    try:
        notebook = json.loads(content.decode("utf-8-sig"))
        if notebook["nbformat"] != 4:
            return content
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None
        return (json.dumps(notebook, indent=1, sort_keys=True) + "\n").encode()
    except (ValueError, LookupError, TypeError, RecursionError):
        return content


# --- running things --------------------------------------------------------------------------


def jupyterlab_command():
    """Return the command that starts JupyterLab in work/, at the first lesson."""
    command = [VENV_PYTHON, "-m", "jupyterlab", "--ServerApp.log_level=WARN"]
    command += [f"--ServerApp.root_dir={WORK}", f"--LabApp.default_url=/lab/tree/{FIRST_LESSON}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # in containers, the user is often root
    return command


def run(command, folder):
    """Run a command in this window and return its exit code."""
    with subprocess.Popen([str(part) for part in command], cwd=str(folder)) as process:
        try:
            while True:
                # Ctrl-C reaches the command too: what it means there is for the command to say.
                with contextlib.suppress(KeyboardInterrupt):
                    return process.wait()
        finally:
            process.terminate()


def run_quietly(command, lock_file):
    """Run a command in ROOT and return its exit code and all that it said.

    In a terminal, its latest step shows in one line. The command holds the lock too, so that no
    other course.py touches .venv as long as it runs, even if this process is killed.
    """
    heirs = {"pass_fds": (lock_file.fileno(),)} if os.name == "posix" else {}
    output = []
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=str(ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        **heirs,
    ) as process:
        try:
            for line in process.stdout:
                output.append(line)
                step = line.strip()
                if sys.stdout.isatty() and step.startswith(("Collecting", "Downloading", "Inst")):
                    print("\r  " + step[:74].ljust(74), end="", flush=True)
        except BaseException:
            process.terminate()
            raise
        finally:
            if sys.stdout.isatty():
                print("\r" + " " * 76 + "\r", end="", flush=True)
    if process.returncode < 0:
        output.append(f"ERROR: stopped by signal {-process.returncode}")
    return process.returncode, "".join(output)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        say("\nStopped.")
        sys.exit(130)
    except OSError as error:
        sys.exit(cure(str(error)))
