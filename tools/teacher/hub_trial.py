"""Try jupyterhub_config.py: simulated learners log in and run lesson 1, all at once.

    python tools/teacher/hub_trial.py [learners]

Needs jupyterhub, nbgitpuller and the course in this Python, configurable-http-proxy and git on the
PATH, and Linux, for the memory is read from /proc. Everything listens on 127.0.0.1 alone, writes
into a temporary folder and ends with this script. In two things the trial is not the real hub: one
password for all, and no accounts of the system.
"""

import argparse
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import requests
import websocket

ROOT = Path(__file__).resolve().parents[2]
LESSON = "notebooks/01_rnn_bottleneck.ipynb"
CELL_LIMIT = 900  # seconds


def main() -> int:
    parser = argparse.ArgumentParser(description="Try the hub with simulated learners.")
    parser.add_argument("learners", nargs="?", type=int, default=5)
    learners = parser.parse_args().learners
    for program in ("jupyterhub", "configurable-http-proxy", "git"):
        if not shutil.which(program, path=search_path()):
            parser.error(f"{program} is not on the PATH: CLASS.md says how to install it")
    names = [f"learner{number}" for number in range(1, learners + 1)]
    with tempfile.TemporaryDirectory(prefix="hub-trial-") as scratch:
        memory = Memory(scratch, names)
        with hub(Path(scratch)) as (url, password):
            repository = course_repository(Path(scratch))
            threading.Thread(target=memory.watch, daemon=True).start()
            with ThreadPoolExecutor(learners) as class_room:
                visits = [
                    class_room.submit(lesson, url, password, name, repository) for name in names
                ]
            memory.done.set()
            results = [visit.result() for visit in visits]
        left = processes(scratch)
    print("learner     cells  seconds  CPU s  MiB of its own  MiB resident")
    for name, (cells, seconds) in zip(names, results, strict=True):
        use = memory.use[name]
        print(
            f"{name:<10} {cells:>6} {seconds:>8.0f} {use.cpu:>6.0f}"
            f" {use.shared_out:>15.0f} {use.resident:>13.0f}"
        )
    print(f"all learners together: {memory.together:.0f} MiB at most")
    print(f"processes left: {len(left)}")
    return 1 if left else 0


def search_path() -> str:
    """This Python's programs first, as in an active environment."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


@contextlib.contextmanager
def hub(scratch: Path):
    """Run the hub; yields its address and the learners' password; ends all that it started."""
    port, proxy_port, hub_port = free_ports(3)
    password = secrets.token_hex(16)
    url = f"http://127.0.0.1:{port}"
    arguments = [
        f"--config={Path(__file__).with_name('jupyterhub_config.py')}",
        f"--JupyterHub.bind_url={url}",
        f"--JupyterHub.hub_port={hub_port}",
        f"--ConfigurableHTTPProxy.api_url=http://127.0.0.1:{proxy_port}",
        "--JupyterHub.authenticator_class=shared-password",
        f"--SharedPasswordAuthenticator.user_password={password}",
        "--JupyterHub.spawner_class=simple",
        f"--SimpleLocalProcessSpawner.home_dir_template={scratch}/{{username}}",
        "--Spawner.start_timeout=300",
        "--Spawner.http_timeout=300",
    ]
    if os.geteuid() == 0:  # in containers, the user is often root
        arguments.append("--Spawner.args=--allow-root")
    log = scratch / "hub.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [shutil.which("jupyterhub", path=search_path()), *arguments],
            cwd=scratch,
            env={**os.environ, "PATH": search_path(), "HUB_TRIAL": str(scratch)},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(f"{url}/hub/health", process)
        yield url, password
    except BaseException:
        print(log.read_text(encoding="utf-8")[-5000:], file=sys.stderr)
        raise
    finally:
        process.terminate()  # the hub ends its servers and its proxy
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        for process_id in processes(str(scratch)):  # should it have failed to
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        process.wait()
        time.sleep(1)


def free_ports(number: int) -> list[int]:
    """Ports of the loopback device that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(url: str, process: subprocess.Popen, seconds: float = 120) -> None:
    """Return when the address answers; RuntimeError if the process ends or time is up."""
    for _ in range(int(seconds * 2)):
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(url, timeout=10).ok:
                return
        if process.poll() is not None:
            break
        time.sleep(0.5)
    raise RuntimeError("the hub did not start")


def course_repository(scratch: Path) -> Path:
    """A git repository with the course as it is now, for nbgitpuller to fetch."""
    repository = scratch / "attention-lessons"
    ignore = shutil.ignore_patterns(".git", ".venv", "work", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, repository, ignore=ignore)
    author = ["-c", "user.name=trial", "-c", "user.email=trial@localhost"]
    for command in (
        ["init", "--quiet", "--initial-branch=main"],
        ["add", "--all"],
        [*author, "commit", "--quiet", "--message=The course"],
    ):
        subprocess.run(["git", *command], cwd=repository, check=True)
    return repository


def lesson(url: str, password: str, name: str, repository: Path) -> tuple[int, float]:
    """Log in, follow the nbgitpuller link, run lesson 1; returns cells and seconds."""
    with requests.Session() as browser:
        browser.get(f"{url}/hub/login", timeout=60)
        form = {"username": name, "password": password, "_xsrf": browser.cookies["_xsrf"]}
        browser.post(f"{url}/hub/login", data=form, timeout=600).raise_for_status()
        browser.get(f"{url}/hub/home", timeout=60).raise_for_status()
        xsrf = next(cookie.value for cookie in browser.cookies if cookie.path == "/hub/")
        answer = browser.post(
            f"{url}/hub/api/users/{name}/tokens",
            headers={"X-XSRFToken": xsrf, "Referer": f"{url}/hub/token"},
            json={"note": "trial"},
            timeout=60,
        )
        answer.raise_for_status()
        api = requests.Session()
        api.headers["Authorization"] = f"token {answer.json()['token']}"
        start_server(api, url, name)
        wanted = {"repo": str(repository), "branch": "main"}
        page = browser.get(f"{url}/hub/user-redirect/git-pull", params=wanted, timeout=300)
        page.raise_for_status()
        if f"/user/{name}/git-pull" not in page.url:
            raise RuntimeError(f"the nbgitpuller link led to {page.url}")
    fetch(api, url, name, wanted)
    started = time.monotonic()
    cells = run_notebook(api, f"{url}/user/{name}", f"{repository.name}/{LESSON}")
    return cells, time.monotonic() - started


def start_server(api: requests.Session, url: str, name: str) -> None:
    """Ask the hub for the learner's JupyterLab, and wait until it answers."""
    place = f"{url}/hub/api/users/{name}"
    api.post(f"{place}/server", timeout=600).raise_for_status()
    for _ in range(600):
        if api.get(place, timeout=60).json()["servers"].get("", {}).get("ready"):
            return
        time.sleep(0.5)
    raise RuntimeError(f"the server of {name} did not start")


def fetch(api: requests.Session, url: str, name: str, wanted: dict[str, str]) -> None:
    """Do what the page behind an nbgitpuller link does: bring the repository to the learner."""
    answer = api.get(f"{url}/user/{name}/git-pull/api", params=wanted, timeout=300)
    answer.raise_for_status()
    if '"phase": "finished"' not in answer.text:
        raise RuntimeError(f"nbgitpuller did not finish: {answer.text[-500:]}")


def run_notebook(api: requests.Session, server: str, path: str) -> int:
    """Run a notebook's cells in a kernel of the server; RuntimeError at the first that fails."""
    notebook = api.get(f"{server}/api/contents/{path}", timeout=60).json()["content"]
    request = {"path": path, "type": "notebook", "name": path, "kernel": {"name": "python3"}}
    session = api.post(f"{server}/api/sessions", json=request, timeout=120)
    session.raise_for_status()
    kernel = session.json()["kernel"]["id"]
    channels = websocket.create_connection(
        f"{server.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels",
        header={"Authorization": api.headers["Authorization"]},
        timeout=CELL_LIMIT,
    )
    sources = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    with contextlib.closing(channels):
        for number, source in enumerate(sources):
            reply = execute(channels, source)
            if reply["status"] != "ok":
                raise RuntimeError(f"cell {number}: {reply['ename']}: {reply['evalue']}")
    return len(sources)


def execute(channels: websocket.WebSocket, source: str) -> dict:
    """Run one cell; returns the content of the kernel's reply."""
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3"}
    header |= {"username": "", "session": uuid.uuid4().hex}
    content = {"code": source, "silent": False, "store_history": True, "stop_on_error": True}
    content |= {"user_expressions": {}, "allow_stdin": False}
    message = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}}
    channels.send(json.dumps({**message, "content": content}))
    while True:
        answer = json.loads(channels.recv())
        is_ours = answer["parent_header"].get("msg_id") == header["msg_id"]
        if is_ours and answer["header"]["msg_type"] == "execute_reply":
            return answer["content"]


@dataclass
class Use:
    """What a learner's processes held at most, in MiB, and the CPU seconds they have taken."""

    shared_out: float = 0.0  # memory that several processes share counts in parts
    resident: float = 0.0  # memory that several processes share counts for each
    cpu: float = 0.0


class Memory:
    """Watches what the learners' servers and kernels hold."""

    def __init__(self, scratch: str, names: list[str]) -> None:
        self.scratch, self.done = scratch, threading.Event()
        self.use = {name: Use() for name in names}
        self.together = 0.0

    def watch(self) -> None:
        """Look once a second until `done` is set."""
        while not self.done.wait(1):
            now = {name: Use() for name in self.use}
            for process_id, home in processes(self.scratch).items():
                if (name := Path(home).name) not in now:
                    continue
                with contextlib.suppress(OSError):
                    place = Path("/proc", str(process_id))
                    sizes = dict(
                        re.findall(r"(\w+): +(\d+) kB", (place / "smaps_rollup").read_text())
                    )
                    now[name].shared_out += int(sizes["Pss"]) / 1024
                    now[name].resident += int(sizes["Rss"]) / 1024
                    ticks = (place / "stat").read_text().rpartition(")")[2].split()[11:13]
                    now[name].cpu += sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
            self.together = max(self.together, sum(use.shared_out for use in now.values()))
            for name, use in now.items():
                most = self.use[name]
                self.use[name] = Use(
                    max(most.shared_out, use.shared_out),
                    max(most.resident, use.resident),
                    max(most.cpu, use.cpu),
                )


def processes(scratch: str) -> dict[int, str]:
    """The processes that belong to this trial, by their environment, and their home."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (place / "environ").read_bytes().decode(errors="replace")
            if scratch in environment:
                home = re.search(r"(?:^|\0)HOME=([^\0]*)", environment)
                found[int(place.name)] = home[1] if home else ""
    return found


if __name__ == "__main__":
    sys.exit(main())
