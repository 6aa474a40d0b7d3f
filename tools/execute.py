"""Execute notebooks so that the same code always gives the same bytes.

    python tools/execute.py [notebook ...]           execute in place
    python tools/execute.py --check [notebook ...]   write nothing; exit 1 if a cell would change

Without arguments: all notebooks of the course. A notebook runs in its own folder, in a fresh
kernel. `--check` compares everything but what tests/nbval_sanitize.cfg names: the pixels of images,
because another machine draws text with other fonts, and the weights of live maps. A number after ≈
may differ a little (tools/measured.py). The CPU seconds printed are the kernel's own, its start and
imports included.
"""

import argparse
import json
import os
import re
import sys
from itertools import zip_longest
from pathlib import Path

import nbformat.v4
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbclient.util import run_sync
from nbformat import NotebookNode
from nbval.plugin import get_sanitize_patterns

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script finds the modules of its own folder only

from tools.measured import agreed  # noqa: E402

ROOMS = ("notebooks", "exercises", "solutions")
SANITIZE = ROOT / "tests" / "nbval_sanitize.cfg"  # what nbval does not compare, nor --check
CELL_TIMEOUT = 900  # seconds; far above a lesson's budget, so only a hanging cell meets it

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# Cell metadata that says how a cell was last run or looked at, not what it is.
TRANSIENT = ("ExecuteTime", "collapsed", "execution", "scrolled", "trusted")


class NotebookFailed(Exception):
    """A cell raised, hung or killed its kernel; the message names the cell."""


def course_notebooks(root: Path = ROOT) -> list[Path]:
    """All notebooks of the course, lessons first."""
    return [path for room in ROOMS for path in sorted((root / room).glob("*.ipynb"))]


def read(path: Path) -> NotebookNode:
    """A notebook as stored: nothing repaired, nothing converted.

    Raises ValueError if the file is not a notebook of format 4.5 or newer (cells have ids).
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        version = raw["nbformat"], raw["nbformat_minor"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"not a notebook ({error!r})") from error
    if version < (4, 5) or version[0] > 4:
        raise ValueError(f"notebook format {version}; expected 4.5 or newer")
    return nbformat.v4.to_notebook(raw)


def canonical_bytes(nb: NotebookNode) -> bytes:
    """The one way to store a notebook: sorted keys, no trace of when or where it was run."""
    cells = []
    for cell in nb.cells:
        kept = {key: value for key, value in cell.metadata.items() if key not in TRANSIENT}
        cells.append(NotebookNode(cell, metadata=NotebookNode(kept)))
    clean = NotebookNode(
        cells=cells, metadata=nbformat.from_dict(METADATA), nbformat=4, nbformat_minor=5
    )
    return (nbformat.v4.writes(clean) + "\n").encode()


def write(path: Path, content: bytes) -> None:
    """Write beside, then rename: a half-written file is impossible."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(content)
    os.replace(beside, path)


def execute(path: Path) -> tuple[NotebookNode, float]:
    """Run every code cell of the stored notebook in a fresh kernel; the file stays as it is.

    Returns the notebook with its new outputs, and the kernel's CPU seconds (user + system).
    Raises NotebookFailed, or nbformat.ValidationError for a malformed notebook.
    """
    nb = read(path)
    nbformat.validate(nbformat.from_dict(nb))  # a copy, because it repairs what it checks
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        nb,
        kernel_name="python3",
        timeout=CELL_TIMEOUT,
        record_timing=False,
        coalesce_streams=True,
        force_raise_errors=True,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.reset_execution_trackers()
    # No MPLBACKEND: the kernel then draws as a learner's kernel does.
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    environment.setdefault("OMP_NUM_THREADS", "1")
    with client.setup_kernel(env=environment):
        for index, cell in enumerate(nb.cells):
            try:
                client.execute_cell(cell, index)
            except CellExecutionError as error:
                reason = f"{error.ename}: {error.evalue}"
            except CellTimeoutError:
                reason = f"still running after {CELL_TIMEOUT} s"
            except DeadKernelError:
                reason = "the kernel died"
            else:
                continue
            raise NotebookFailed(f"[{cell.id}] {reason}")
        return nb, _cpu_seconds(client)


def _cpu_seconds(client: NotebookClient) -> float:
    """CPU seconds of the kernel, which it is asked for without leaving a trace in the notebook."""
    question = {"cpu": "__import__('time').process_time()"}

    async def ask():
        return await client.kc.execute("", silent=True, user_expressions=question, reply=True)

    reply = run_sync(ask)()
    return float(reply["content"]["user_expressions"]["cpu"]["data"]["text/plain"])


def changed_cells(stored: NotebookNode, fresh: NotebookNode) -> list[str]:
    """One sentence for each cell whose outputs differ in more than nbval leaves out.

    The outputs of a cell marked NBVAL_IGNORE_OUTPUT (a timing) may differ.
    """
    changes = []
    for old, new in zip(stored.cells, fresh.cells, strict=True):
        if "NBVAL_IGNORE_OUTPUT" in old.source:
            continue
        if old.cell_type == "code":
            new = NotebookNode(new, outputs=agreed(new.outputs, old.outputs))
        stored_text, fresh_text = _comparable(old), _comparable(new)
        if stored_text != fresh_text:
            pairs = enumerate(zip_longest(stored_text, fresh_text))
            start = max(0, next(n for n, (one, other) in pairs if one != other) - 20)
            was, now = (text[start : start + 60] for text in (stored_text, fresh_text))
            changes.append(f"[{old.id}] would change from {was!r} to {now!r}")
    return changes


def _comparable(cell: NotebookNode) -> str:
    """A cell as JSON, without the pixels of its images and what nbval leaves out."""
    patterns = get_sanitize_patterns(SANITIZE.read_text(encoding="utf-8"))
    text = json.dumps(_sanitized(cell, patterns), sort_keys=True, ensure_ascii=False)
    return re.sub(r'("image/\w+": )"[^"]*"', r'\1"IMAGE"', text)


def _sanitized(node, patterns: list[tuple[str, str]]):
    """The same tree with every pattern replaced in its strings."""
    if isinstance(node, dict):
        return {key: _sanitized(value, patterns) for key, value in node.items()}
    if isinstance(node, list):
        return [_sanitized(value, patterns) for value in node]
    for pattern, replacement in patterns if isinstance(node, str) else ():
        node = re.sub(pattern, replacement, node)
    return node


def process(path: Path, check: bool) -> tuple[str, bool]:
    """Execute one notebook; store it unless `check`. Returns what to report, and success."""
    try:
        fresh, cpu = execute(path)
    except (NotebookFailed, nbformat.ValidationError, ValueError) as error:
        return f"{path}: {error}\n  the file was left as it was", False
    stored, content = path.read_bytes(), canonical_bytes(fresh)
    summary = f"{path}: {cpu:.1f} CPU s"
    if not check:
        if content == stored:
            return f"{summary}, unchanged", True
        write(path, content)
        return f"{summary}, written", True
    changes = changed_cells(read(path), fresh)
    if canonical_bytes(read(path)) != stored:
        changes.append("the file is not stored in canonical form")
    lines = [f"{path} {change}" for change in changes]
    return "\n  ".join([f"{summary}, {'differs' if changes else 'unchanged'}", *lines]), not changes


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description="Execute notebooks reproducibly.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of the course")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on a change")
    options = parser.parse_args(arguments)
    paths = options.notebooks or course_notebooks()
    for path in paths:
        if not path.is_file():
            parser.error(f"{path}: no such notebook")
    succeeded = True
    for path in paths:
        report, success = process(path, options.check)
        print(report, flush=True)
        succeeded &= success
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
