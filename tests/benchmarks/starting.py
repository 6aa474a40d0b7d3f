"""Import times over torch's own, notebooks against their budgets, and the slowest tests."""

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import lessons_lib
from tests.benchmarks.measuring import ROOT, python, table
from tools.execute import course_notebooks, execute

IMPORT = (
    "import sys, time, importlib, torch; start = time.process_time();"
    "importlib.import_module(sys.argv[1]); print(time.process_time() - start)"
)
BUDGET, LARGE_BUDGET, LARGE = 60, 90, ("02", "06", "07")  # CPU seconds


def modules() -> list[str]:
    """All modules of the library but the command, which runs when it is imported."""
    found = pkgutil.walk_packages(lessons_lib.__path__, "lessons_lib.")
    return sorted(module.name for module in found if not module.name.endswith("__main__"))


def imports(names: list[str] | None = None, rounds: int = 3) -> str:
    """CPU seconds for each module after `import torch`, each in a fresh process: the least."""
    names = names or modules()
    taken: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            taken[name].append(float(python(IMPORT, name)))
    rows = sorted(((name, min(taken[name])) for name in names), key=lambda row: -row[1])
    return f"The least of {rounds}, budget 0.2 s\n\n" + table(("module", "CPU s"), rows)


def notebooks(paths: list[Path] | None = None) -> str:
    """CPU seconds of every notebook's kernel, its start and imports included."""
    rows = []
    for path in paths or course_notebooks():
        lesson = path.parent.name == "notebooks"
        budget = LARGE_BUDGET if path.name.startswith(LARGE) else BUDGET
        _, cpu = execute(path)
        rows.append((f"{path.parent.name}/{path.name}", cpu, budget if lesson else "–"))
    return table(("notebook", "CPU s", "budget"), rows)


def slowest(count: int = 10, *arguments: str) -> str:
    """The whole test command, its time, and its slowest items."""
    command = [sys.executable, "-m", "pytest", "-q", f"--durations={count}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    lines = done.stdout.splitlines()
    items = [m for line in lines if (m := re.match(r"([\d.]+)s (call|setup|teardown) +(.+)", line))]
    rows = [(item[3], item[2], float(item[1])) for item in items]
    summary = lines[-1].strip("= ") if lines else done.stderr
    return f"{summary}\n\n" + table(("item", "part", "seconds"), rows)
