"""The launcher, run as a learner runs it: as a program, in a small course of its own.

Two things are stand-ins there, because a real install takes a minute: `venv` makes an environment
without pip, and `pip` notes how it is called and then installs empty packages, fails or waits.
All else is real, the processes included.
"""

import ast
import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from lessons_lib.learner.notebook import without_outputs

ROOT = Path(__file__).resolve().parents[1]
LESSON = "notebooks/01_rnn_bottleneck.ipynb"
needs_signals = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")

FAKE_VENV = """
import shutil, sys, sysconfig
from pathlib import Path

stand_ins = str(Path(__file__).parent)
sys.path.remove(stand_ins)
import venv

folder = sys.argv[1]
venv.create(folder, with_pip=False, symlinks=sys.platform != "win32")
packages = sysconfig.get_path("purelib", "venv", {"base": folder, "platbase": folder})
shutil.copy(Path(stand_ins, "fake_pip.py"), Path(packages, "pip.py"))
"""

# Says how it was called, and ends with the exit code that the test asked for.
RECORDER = """
import json, os, sys

if __name__ == "__main__":
    call = {"arguments": sys.argv[1:], "folder": os.getcwd(), "name": NAME}
    call["jupyter_config_path"] = os.environ.get("JUPYTER_CONFIG_PATH")
    print(json.dumps(call), flush=True)
    sys.exit(int(os.environ.get("EXIT_CODE", 0)))
"""

FAKE_PIP = """
import json, os, sys, sysconfig, time
from pathlib import Path

if __name__ == "__main__":
    with open("pip_calls.txt", "a") as calls:
        print(json.dumps(sys.argv[1:]), file=calls)
    if "PIP_FAILS" in os.environ:
        sys.exit(os.environ["PIP_FAILS"])
    print("Installing collected packages: torch", flush=True)
    while "PIP_WAITS" in os.environ and not Path("go").exists():
        Path("pip_waits").write_text(str(os.getpid()))
        time.sleep(0.05)
    for name in ("jupyterlab", "pytest", "torch"):
        recorder = Path("recorder.py").read_text().replace("NAME", repr(name))
        Path(sysconfig.get_path("purelib"), name + ".py").write_text(recorder)
"""


class Course:
    """A small copy of the course, with the real course.py."""

    def __init__(self, folder):
        self.folder = folder
        self.stand_ins = folder.parent / "stand_ins"
        self.stand_ins.mkdir()
        self.write("../stand_ins/venv.py", FAKE_VENV)
        self.write("../stand_ins/fake_pip.py", FAKE_PIP)
        self.write("course.py", (ROOT / "course.py").read_text(encoding="utf-8"))
        self.write("recorder.py", RECORDER)
        self.write("lessons_lib/__main__.py", RECORDER.replace("NAME", '"lessons_lib"'))
        self.write("pyproject.toml", "[project]\n")
        self.write("constraints.txt", "numpy==1.2\ntorch==3.4\n")
        self.write(LESSON, "lesson 1")
        self.write("exercises/01_rnn_bottleneck.ipynb", "exercise 1")
        self.write("exercises/.ipynb_checkpoints/01_rnn_bottleneck-checkpoint.ipynb", "old")

    def write(self, path, text):
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def read(self, path):
        return (self.folder / path).read_text(encoding="utf-8")

    def start(self, *arguments, python=sys.executable, patch="", **environment):
        """Start course.py, after the lines of `patch` that make this computer another one."""
        program = "import runpy, sys\nsys.argv[0] = 'course.py'\n" + textwrap.dedent(patch)
        program += "\nrunpy.run_path('course.py', run_name='__main__')"
        path = [str(self.stand_ins), *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.Popen(
            [str(python), "-c", program, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments, **options):
        """Run course.py to its end; return (exit code, stdout, stderr)."""
        process = self.start(*arguments, **options)
        output, errors = process.communicate(timeout=60)
        return process.returncode, output, errors

    def opens(self, *arguments, **options):
        """Run course.py, which must succeed; return what it started, and what it said before."""
        exit_code, output, errors = self.run(*arguments, **options)
        assert exit_code == 0, output + errors
        *said, call = output.splitlines()
        return json.loads(call), said

    def refuses(self, *arguments, **options):
        """Run course.py, which must refuse with one sentence; return the sentence."""
        exit_code, _, errors = self.run(*arguments, **options)
        assert exit_code == 1, errors
        assert len(errors.splitlines()) == 1, errors
        assert errors.rstrip().endswith("."), errors
        return errors

    def installs(self):
        """Return the arguments of every call of pip that installs the course."""
        file = self.folder / "pip_calls.txt"
        calls = map(json.loads, file.read_text().splitlines()) if file.exists() else ()
        return [call for call in calls if "-e" in call]

    def wait_for_pip(self):
        """Wait until pip is in the middle of its work, and return its process id."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            text = self.read("pip_waits") if (self.folder / "pip_waits").exists() else ""
            if text:
                return int(text)
            time.sleep(0.02)
        raise TimeoutError("pip did not start")

    def venv_python(self):
        return self.folder / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def package(self, name):
        (file,) = (self.folder / ".venv").rglob(f"{name}.py")
        return file


@pytest.fixture
def course(tmp_path):
    folder = tmp_path.resolve() / "a course"
    folder.mkdir()
    return Course(folder)


def load(course):
    """Return the launcher of this course as a module, to look at one function."""
    spec = importlib.util.spec_from_file_location("course_under_test", course.folder / "course.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- opening the course ------------------------------------------------------------------------


def test_the_first_start_installs_copies_and_opens_lesson_1(course):
    call, said = course.opens("--no-browser", "--port", "9000")

    assert call["name"] == "jupyterlab"
    assert Path(call["folder"]) == course.folder / "work"
    assert f"--ServerApp.root_dir={course.folder / 'work'}" in call["arguments"]
    assert f"--LabApp.default_url=/lab/tree/{LESSON}" in call["arguments"]
    assert call["arguments"][-3:] == ["--no-browser", "--port", "9000"]

    (install,) = course.installs()
    assert install[install.index("-e") + 1] == "."
    assert install[install.index("-c") + 1] == "constraints.txt"

    files = {p for p in (course.folder / "work").rglob("*") if p.is_file()}
    originals = {p for p in files if ".originals" in p.parts}
    assert files - originals == {
        course.folder / "work" / LESSON,
        course.folder / "work/exercises/01_rnn_bottleneck.ipynb",
    }
    assert course.read(f"work/{LESSON}") == "lesson 1"
    assert sorted(p.read_text() for p in originals) == ["exercise 1", "lesson 1"]
    assert len(said) <= 4


def test_the_next_start_installs_nothing(course):
    course.opens()
    _, said = course.opens()
    assert len(course.installs()) == 1
    assert len(said) == 1


def test_what_the_learner_has_is_never_overwritten_and_what_lacks_is_copied(course):
    course.opens()
    course.write(f"work/{LESSON}", "my answers")
    (course.folder / "work/exercises/01_rnn_bottleneck.ipynb").unlink()
    course.write(LESSON, "a newer lesson")
    course.write("notebooks/02_bahdanau_attention.ipynb", "lesson 2")
    course.opens()
    assert course.read(f"work/{LESSON}") == "my answers"
    assert course.read("work/exercises/01_rnn_bottleneck.ipynb") == "exercise 1"
    assert course.read("work/notebooks/02_bahdanau_attention.ipynb") == "lesson 2"


def test_an_interrupted_copy_leaves_no_half_notebook(course):
    full_disk = """
        import pathlib
        def write_bytes(path, content):
            open(path, "wb").write(content[:3])
            raise OSError(28, "No space left on device")
        pathlib.Path.write_bytes = write_bytes
    """
    assert "disk is full" in course.refuses(patch=full_disk)
    assert not (course.folder / "work" / LESSON).exists()
    course.opens()
    assert course.read(f"work/{LESSON}") == "lesson 1"
    assert not list((course.folder / "work").rglob("*.unfinished"))


def notebook(*cells, **other):
    return {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5, **other}


CODE = {
    "cell_type": "code",
    "id": "sum",
    "metadata": {"jupyter": {"source_hidden": True}, "tags": ["ä"]},
    "source": ["1 + 1  # zwölf"],
    "execution_count": 7,
    "outputs": [{"output_type": "execute_result", "data": {"text/plain": ["2"]}, "metadata": {}}],
}
TEXT = {"cell_type": "markdown", "id": "text", "metadata": {}, "source": ["What is 1 + 1?"]}


def test_copies_come_without_outputs_and_with_all_else(course):
    given = notebook(TEXT, CODE)
    course.write(LESSON, json.dumps(given))
    course.write("solutions/01_rnn_bottleneck.ipynb", json.dumps(given))
    load(course).copy_missing_notebooks()
    wanted = notebook(TEXT, {**CODE, "execution_count": None, "outputs": []})
    for path in (LESSON, "solutions/01_rnn_bottleneck.ipynb"):
        assert json.loads(course.read(f"work/{path}")) == wanted
        room, _, name = path.partition("/")
        (original,) = course.folder.glob(f"work/.originals/{room}/{name[:-6]}.*.ipynb")
        assert original.read_bytes() == (course.folder / "work" / path).read_bytes()
    assert json.loads(course.read(LESSON)) == given


ODD = {
    "empty": b"",
    "half": b'{"cells": [',
    "no text": b"\xff\xfe",
    "a picture": b"\x89PNG\r\n",
    "another format": json.dumps(notebook(CODE, nbformat=3)).encode(),
    "no format": b'{"cells": []}',
    "no cells": b'{"nbformat": 4}',
    "cells are words": b'{"nbformat": 4, "cells": ["code"]}',
    "cells are numbers": b'{"nbformat": 4, "cells": [1]}',
    "cells are nothing": b'{"nbformat": 4, "cells": null}',
    "a cell of no kind": b'{"nbformat": 4, "cells": [{"outputs": [1]}]}',
    "a list": b"[]",
    "a number": b"4",
    "a word": b'"nbformat"',
    "deep": b"[" * 100_000,
    "deep in a cell": b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": '
    + b"[" * 900
    + b"]" * 900
    + b"}]}",
}


@pytest.mark.parametrize("kind", [kind for kind in ODD if kind != "deep in a cell"])
def test_what_is_no_notebook_is_copied_as_it_is(course, kind):
    (course.folder / LESSON).write_bytes(ODD[kind])
    load(course).copy_missing_notebooks()
    assert (course.folder / "work" / LESSON).read_bytes() == ODD[kind]


def test_course_py_and_the_library_make_the_same_copies(course):
    """What one has copied, the other knows as its own: byte for byte."""
    of_launcher = load(course).without_outputs
    stored = [path.read_bytes() for path in ROOT.glob("*/[0-9][0-9]_*.ipynb")]
    assert len(stored) >= 25
    strange = [
        notebook({**CODE, "source": "lone \ud800, \u2028, 我"}, number=float("nan")),
        notebook({"cell_type": "code", "source": ""}, TEXT, {"cell_type": "raw", "outputs": [1]}),
    ]
    strange = [json.dumps(one).encode() for one in strange]
    with_mark = b"\xef\xbb\xbf" + strange[0]
    for content in (*stored, *strange, with_mark, *ODD.values()):
        copy = of_launcher(content)
        assert copy == without_outputs(content)
        assert of_launcher(copy) == copy  # a copy of a copy is the same copy
    for content in (*stored, *strange, with_mark):
        cells = json.loads(of_launcher(content))["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        assert all((cell["outputs"], cell["execution_count"]) == ([], None) for cell in code)


def test_the_settings_for_jupyterlab_come_before_the_users_own(course):
    call, _ = course.opens(JUPYTER_CONFIG_PATH="mine")
    ours = str(course.folder / "lessons_lib" / "jupyterlab")
    assert call["jupyter_config_path"] == ours + os.pathsep + "mine"
    assert (ROOT / "lessons_lib" / "jupyterlab").is_dir()


@pytest.mark.parametrize(("user", "allowed"), [(0, True), (1000, False)])
def test_jupyterlab_is_allowed_to_run_as_root(course, monkeypatch, user, allowed):
    monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)
    assert ("--allow-root" in load(course).jupyterlab_command()) == allowed


# --- the other words ---------------------------------------------------------------------------


def test_test_installs_the_extra_and_passes_arguments_and_exit_code_on(course):
    exit_code, output, _ = course.run("test", "-k", "a name", EXIT_CODE="3")
    call = json.loads(output.splitlines()[-1])
    assert exit_code == 3
    assert (call["name"], call["arguments"]) == ("pytest", ["-k", "a name"])
    assert Path(call["folder"]) == course.folder
    (install,) = course.installs()
    assert install[install.index("-e") + 1] == ".[test]"
    assert not (course.folder / "work").exists()


def test_the_extra_is_added_once_and_then_kept(course):
    course.opens()
    course.opens("test")
    course.opens("test")
    course.opens()
    assert len(course.installs()) == 2


def test_any_other_word_goes_to_lessons_lib(course):
    exit_code, output, _ = course.run("reset", "token_loss", "--yes", EXIT_CODE="2")
    call = json.loads(output.splitlines()[-1])
    assert exit_code == 2
    assert (call["name"], call["arguments"]) == ("lessons_lib", ["reset", "token_loss", "--yes"])


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_sets_nothing_up(course, word):
    exit_code, output, _ = course.run(word)
    assert exit_code == 0
    assert "python course.py test" in output
    assert not (course.folder / ".venv").exists()


@pytest.mark.parametrize(
    ("words", "exit_code", "answer"),
    [([], 0, "python course.py"), (["help"], 0, "python course.py"), (["fly"], 2, "'fly'")],
)
def test_the_lessons_lib_command(words, exit_code, answer):
    command = [sys.executable, "-m", "lessons_lib", *words]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == exit_code
    assert answer in result.stdout + result.stderr
    assert exit_code == 0 or len(result.stderr.splitlines()) == 1


# --- keeping the environment whole -------------------------------------------------------------


@pytest.mark.parametrize("file", ["constraints.txt", "pyproject.toml"])
def test_a_change_of_versions_is_installed_with_all_extras(course, file):
    course.opens("test")
    course.write(file, course.read(file) + "# changed\n")
    course.opens()
    first, second = course.installs()
    assert first == second
    course.opens()
    assert len(course.installs()) == 2


def test_a_moved_course_is_set_up_again(course, tmp_path):
    course.opens()
    course.folder = course.folder.rename(tmp_path.resolve() / "elsewhere")
    call, said = course.opens()
    assert "the course was moved" in said[0]
    assert Path(call["folder"]) == course.folder / "work"
    assert len(course.installs()) == 2


def break_python(course):
    course.venv_python().unlink()


def replace_python(course):
    course.venv_python().unlink()
    course.venv_python().write_text("not a program")


def lose_torch(course):
    course.package("torch").unlink()


def lose_pip(course):
    course.package("pip").unlink()


def lose_configuration(course):
    (course.folder / ".venv" / "pyvenv.cfg").unlink()


@pytest.mark.parametrize(
    "damage", [break_python, replace_python, lose_torch, lose_pip, lose_configuration]
)
def test_a_broken_environment_is_set_up_again(course, damage):
    course.opens()
    damage(course)
    _, said = course.opens()
    assert said[0].startswith("Rebuilding .venv, because its Python does not start")
    assert len(course.installs()) == 2
    course.opens()
    assert len(course.installs()) == 2


def test_an_environment_of_another_python_is_set_up_again(course):
    course.opens()
    file = course.folder / ".venv" / "course_installed.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "python": "3.5"}))
    _, said = course.opens()
    assert said[0] == "Rebuilding .venv, because its Python is another one now."


def test_an_unreadable_record_means_installing_again(course):
    course.opens()
    course.write(".venv/course_installed.json", "{")
    course.opens()
    assert len(course.installs()) == 2


def test_the_python_that_would_be_deleted_says_so(course):
    course.opens()
    course.package("torch").unlink()
    python = course.venv_python()
    assert "`deactivate`" in course.refuses(python=python)
    assert python.exists()


def make_file(venv):
    venv.write_text("precious")


def make_folder(venv):
    venv.mkdir()
    (venv / "precious.txt").write_text("precious")


def make_link(venv):
    target = venv.with_name("precious")
    target.mkdir()
    try:
        venv.symlink_to(target, target_is_directory=True)
    except OSError:
        pytest.skip("this user cannot make links")
    (target / "precious.txt").write_text("precious")


@pytest.mark.parametrize("make", [make_file, make_folder, make_link])
def test_what_is_no_environment_is_not_touched(course, make):
    venv = course.folder / ".venv"
    make(venv)
    assert "is no virtual environment: move it away" in course.refuses()
    precious = venv if venv.is_file() else venv / "precious.txt"
    assert precious.read_text() == "precious"
    assert course.installs() == []


def test_an_empty_folder_and_an_environment_of_the_users_are_used(course):
    (course.folder / ".venv").mkdir()
    course.opens()
    (course.folder / ".venv" / "course_installed.json").unlink()
    _, said = course.opens()
    assert not any("Rebuilding" in sentence for sentence in said)
    assert len(course.installs()) == 2


# --- interruptions and two launches at once ----------------------------------------------------


def test_a_killed_install_is_started_over(course):
    process = course.start(PIP_WAITS="1")
    pip = course.wait_for_pip()
    process.kill()
    process.communicate()
    os.kill(pip, signal.SIGTERM)
    _, said = course.opens()
    assert "Rebuilding .venv, because the last installation was interrupted." in said
    _, said = course.opens()
    assert not any("Rebuilding" in sentence for sentence in said)


@needs_signals
def test_while_a_killed_launcher_leaves_pip_at_work_the_next_one_waits(course):
    first = course.start(PIP_WAITS="1")
    course.wait_for_pip()
    first.kill()
    first.communicate()
    second = course.start()
    assert "waiting for it to finish" in second.stdout.readline()
    course.write("go", "")
    output, errors = second.communicate(timeout=60)
    assert second.returncode == 0, errors
    assert "the last installation was interrupted" in output


def test_two_launches_at_once_install_once(course):
    first = course.start(PIP_WAITS="1")
    course.wait_for_pip()
    second = course.start()
    assert "waiting for it to finish" in second.stdout.readline()
    course.write("go", "")
    for process in (first, second):
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, output + errors
    assert len(course.installs()) == 1


@needs_signals
@pytest.mark.parametrize(("sign", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_an_install_is_quiet_and_stops_pip(course, sign, exit_code):
    # As in a terminal: where the tests themselves are a background job, Ctrl-C begins as ignored.
    terminal = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)"
    process = course.start(PIP_WAITS="1", patch=terminal)
    pip = course.wait_for_pip()
    process.send_signal(sign)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (exit_code, "")
    with pytest.raises(ProcessLookupError):
        os.kill(pip, 0)


@needs_signals
def test_ending_the_launcher_ends_what_it_runs(course):
    course.opens()
    course.write(
        "lessons_lib/__main__.py",
        "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n",
    )
    process = course.start("wait")
    command = int(process.stdout.readline())
    process.terminate()
    process.communicate(timeout=30)
    with pytest.raises(ProcessLookupError):
        os.kill(command, 0)


# --- what a computer may lack ------------------------------------------------------------------


@pytest.mark.parametrize("version", [(3, 10, 9), (3, 15, 0), (4, 0, 0)])
def test_a_python_too_old_or_too_new(course, version):
    sentence = course.refuses(patch=f"sys.version_info = {version}")
    assert "needs Python 3.11, 3.12, 3.13 or 3.14" in sentence
    assert f"this is {version[0]}.{version[1]}:" in sentence
    assert not (course.folder / ".venv").exists()


def test_old_pythons_can_read_the_launcher():
    tree = ast.parse((ROOT / "course.py").read_text(encoding="utf-8"), feature_version=(3, 6))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
        # Annotations are evaluated, and the modern ones fail in an old Python.
        assert getattr(node, "returns", None) is None
        assert getattr(node, "annotation", None) is None
    assert imported <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("patch", "sentence"),
    [
        ("sys.maxsize = 2**31 - 1", "64-bit"),
        (
            "import platform\nsys.platform = 'darwin'\nplatform.machine = lambda: 'x86_64'",
            "Intel Macs",
        ),
        ("sys.modules['ensurepip'] = None", "sudo apt install python3."),
        ("sys.modules['venv'] = None", "sudo apt install python3."),
    ],
)
def test_a_computer_that_cannot_run_the_course(course, patch, sentence):
    assert sentence in course.refuses(patch=patch)
    assert not (course.folder / ".venv").exists()


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError("
            "<...>: Failed to establish a new connection: [Errno -3] Temporary failure in name "
            "resolution')\nERROR: No matching distribution found for hatchling",
            "internet",
        ),
        ("ERROR: HTTPSConnectionPool: Read timed out.", "internet"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("OSError: [Errno 13] Permission denied: 'x'", "folder of yours"),
        ("PermissionError: [WinError 32] used by another process", "close JupyterLab"),
        ("OSError: [Errno 2] ... HINT: Enable Windows Long Path support", "path too long"),
        ("SSLError(... CERTIFICATE_VERIFY_FAILED ...)", "certificate"),
        ("ERROR: No matching distribution found for torch==3.4", "no build for this system"),
        ("Collecting torch\nERROR: A riddle.\n\nhint: none", "(ERROR: A riddle.)"),
        ("", "(no message)"),
    ],
)
def test_a_failure_of_pip_gets_one_sentence_and_spoils_nothing(course, said, sentence):
    assert sentence in course.refuses(PIP_FAILS=said or "\n")
    _, spoken = course.opens()
    assert not any("Rebuilding" in line for line in spoken)


def test_a_failed_update_leaves_the_old_record_so_that_the_next_start_tries_again(course):
    course.opens()
    course.write("constraints.txt", "numpy==1.2\ntorch==3.5\n")
    assert "internet" in course.refuses(PIP_FAILS="ERROR: Max retries exceeded with url")
    _, said = course.opens()
    assert "Installing what changed since the last time." in said
    assert len(course.installs()) == 3


def test_after_a_failure_in_the_middle_of_installing_the_environment_is_made_anew(course):
    course.refuses(PIP_FAILS="Installing collected packages: numpy\nOSError: [Errno 28] full")
    _, said = course.opens()
    assert "Rebuilding .venv, because the last installation was interrupted." in said


@pytest.mark.parametrize("number", [13, 30])
def test_a_folder_that_cannot_be_written(course, number):
    patch = f"""
        import builtins, os
        true_open = builtins.open
        def read_only(file, mode="r", *rest, **more):
            if "w" in mode or "a" in mode:
                raise OSError({number}, os.strerror({number}), str(file))
            return true_open(file, mode, *rest, **more)
        builtins.open = read_only
    """
    assert "copy the course to a folder of yours" in course.refuses(patch=patch)


# --- PyTorch for the CPU -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "machine", "driver", "wanted"),
    [
        ("linux", "x86_64", None, True),
        ("linux", "x86_64", "/usr/bin/nvidia-smi", False),
        ("linux", "aarch64", None, False),
        ("darwin", "arm64", None, False),
        ("win32", "AMD64", None, False),
    ],
)
def test_where_the_cpu_build_is_asked_for(course, monkeypatch, system, machine, driver, wanted):
    launcher = load(course)
    monkeypatch.setattr(launcher.sys, "platform", system)
    monkeypatch.setattr(launcher.platform, "machine", lambda: machine)
    monkeypatch.setattr(launcher.shutil, "which", lambda name: driver)
    monkeypatch.setattr(launcher.Path, "exists", lambda path: False)
    assert launcher.wants_cpu_torch() == wanted


def test_the_cpu_index_is_tried_once_and_quietly(course, monkeypatch):
    launcher = load(course)
    answers = [(1, "ERROR: Max retries exceeded"), (0, "Installing collected packages: torch")]
    calls = []

    def run_quietly(command, lock_file):
        calls.append(command)
        return answers[len(calls) - 1]

    monkeypatch.setattr(launcher, "wants_cpu_torch", lambda: True)
    monkeypatch.setattr(launcher, "run_quietly", run_quietly)
    launcher.install_packages([], lock_file=None)

    cpu, everything = calls
    assert "torch==3.4" in cpu
    assert "--no-deps" in cpu
    assert cpu[cpu.index("--index-url") + 1] == "https://download.pytorch.org/whl/cpu"
    assert cpu[cpu.index("--retries") + 1] == "0"
    assert int(cpu[cpu.index("--timeout") + 1]) <= 10
    assert "--index-url" not in everything
