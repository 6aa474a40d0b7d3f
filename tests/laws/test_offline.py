"""Law 8, offline: the whole suite runs with the network blocked, in every Python process.

192.0.2.1 is an address reserved for documentation: nobody answers there.
"""

import os
import shutil
import socket
import subprocess
import sys

import pytest
from network_guard import NetworkForbidden

from tests.laws.planted import plant, plant_notebook
from tests.laws.project import ROOT
from tools.execute import execute

PHONE = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=0.2)"


@pytest.mark.parametrize(
    "reach",
    [
        lambda: socket.create_connection(("192.0.2.1", 80), timeout=0.2),
        lambda: socket.socket().connect_ex(("192.0.2.1", 80)),
        lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 80)),
        lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 80)),
        lambda: socket.getaddrinfo("example.org", 80),
        lambda: socket.gethostbyname("example.org"),
        lambda: socket.gethostbyaddr("192.0.2.1"),
        lambda: socket.getnameinfo(("192.0.2.1", 80), 0),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_this_process_reaches_no_other_machine(reach):
    with pytest.raises(NetworkForbidden, match=r"without a network.*(192.0.2.1|2001:|example.org)"):
        reach()


def test_this_machine_stays_reachable(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname(), timeout=5) as client:
            accepted, address = server.accept()
            accepted.close()
            assert address == client.getsockname()
        socket.create_connection(("localhost", server.getsockname()[1]), timeout=5).close()
    if hasattr(socket, "AF_UNIX"):
        monkeypatch.chdir(tmp_path)  # the path of such a socket must be short
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind("a")
            server.listen()
            client.connect("a")


def test_subprocess_reaches_no_other_machine():
    result = subprocess.run([sys.executable, "-c", PHONE], capture_output=True, encoding="utf-8")
    assert result.returncode == 1
    assert "NetworkForbidden: the tests run without a network" in result.stderr


def test_kernel_reaches_no_other_machine(tmp_path):
    source = f"try:\n    {PHONE}\nexcept OSError as error:\n    print(type(error).__name__)"
    plant_notebook(tmp_path, "a.ipynb", source)
    notebook, _ = execute(tmp_path / "a.ipynb")
    assert notebook.cells[0].outputs[0].text == "NetworkForbidden\n"


def test_the_environments_own_sitecustomize_still_runs(tmp_path):
    plant(tmp_path, {"sitecustomize.py": "import sys\nsys.planted = 'planted'\n"})
    guard = os.environ["PYTHONPATH"].split(os.pathsep)[0]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([guard, str(tmp_path)])}
    command = [sys.executable, "-c", f"import sys; print(sys.planted); {PHONE}"]
    result = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
    assert result.stdout == "planted\n"
    assert "NetworkForbidden" in result.stderr


@pytest.fixture
def suite(tmp_path):
    """A small suite with the project's own set-up, and pytest run on it without ours."""
    shutil.copy(ROOT / "conftest.py", tmp_path)
    shutil.copytree(ROOT / "tests" / "start", tmp_path / "tests" / "start")
    for name in ("tests/nearly.py", "tools/measured.py"):  # what conftest.py imports
        plant(tmp_path, {name: (ROOT / name).read_text(encoding="utf-8")})
    plant(tmp_path, {"pytest.ini": "[pytest]\n", "tests/test_a.py": "def test_quick(): ...\n"})
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*options: str) -> str:
        command = [sys.executable, "-m", "pytest", "--nbval", *options]
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8"
        )
        return result.stdout

    return run


def test_a_notebook_that_phones_fails_by_name(tmp_path, suite):
    plant_notebook(tmp_path, "notebooks/00_phones.ipynb", "x = 1", PHONE)
    printed = suite("-n0")
    assert "1 failed, 2 passed" in printed, printed
    assert "FAILED notebooks/00_phones.ipynb::Cell 1" in printed
    assert "NetworkForbidden" in printed
    assert "the tests run without a network" in printed


def test_a_notebook_stays_in_one_kernel(tmp_path, suite):
    """Each cell needs the one before it: they pass only in order, in one process."""
    counts = ["x = 1", *(f"x += 1\nassert x == {n}" for n in range(2, 6))]
    for name in ("01_a", "02_b"):
        plant_notebook(tmp_path, f"notebooks/{name}.ipynb", *counts)
    printed = suite("-v", "-n2")
    assert "11 passed" in printed, printed
    for name in ("01_a", "02_b"):
        done = [line for line in printed.splitlines() if f"] PASSED notebooks/{name}" in line]
        assert len({line.split()[0] for line in done}) == 1, printed


def test_what_takes_longest_comes_first(tmp_path, suite):
    plant_notebook(tmp_path, "notebooks/01_a.ipynb", "x = 1", "y = x")
    assert suite("-n0", "-q", "--collect-only").split("\n")[:3] == [
        "notebooks/01_a.ipynb::Cell 0",
        "notebooks/01_a.ipynb::Cell 1",
        "tests/test_a.py::test_quick",
    ]
