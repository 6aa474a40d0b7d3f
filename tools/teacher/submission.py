"""Run one submission: its cells, and the checks of its answers. Started by `judge.py`.

    python submission.py FOLDER

The learner's code has this process to itself, with a copy of the library that is thrown away.
FOLDER holds `library/` and `plan.json`: the cells in order, each with its source, and for a graded
cell the exercise and the name of the answer. For cell n, `n.json` gets what it showed and, for a
graded cell, the verdict; `n.pt` gets what the answer returned on each case. Nothing in these files
is believed: the code that runs here could have written them.
"""

import dataclasses
import json
import sys
from pathlib import Path

FOLDER = Path(sys.argv[1])
sys.path.insert(0, str(FOLDER / "library"))

import torch  # noqa: E402
from IPython.core.interactiveshell import InteractiveShell  # noqa: E402
from IPython.utils.capture import capture_output  # noqa: E402
from traitlets.config import Config  # noqa: E402

from lessons_lib.checks.calling import call, time_limit  # noqa: E402
from lessons_lib.checks.engine import find, judge  # noqa: E402
from lessons_lib.checks.verdict import Verdict  # noqa: E402

CELL_LIMIT = 30.0  # seconds for a cell that is not graded


def run(shell: InteractiveShell, source: str) -> list[dict]:
    """Run an ordinary cell; returns its outputs. An error is shown, and the next cell goes on."""
    with capture_output() as captured, time_limit(CELL_LIMIT, CELL_LIMIT):
        shell.run_cell(source)
    outputs = [
        {"output_type": "stream", "name": name, "text": text}
        for name, text in (("stdout", captured.stdout), ("stderr", captured.stderr))
        if text
    ]
    for shown in captured.outputs:
        data = {mime: value for mime, value in shown.data.items() if isinstance(value, str)}
        outputs.append({"output_type": "display_data", "data": data, "metadata": {}})
    return outputs


def verdict_on(exercise_id: str, name: str, names: dict, place: Path) -> Verdict:
    """Judge an answer; if it passes, store what it returns on each case."""
    if name not in names:
        return Verdict(exercise_id, "fail", None, f"`{name}` is not defined.")
    exercise = find(exercise_id)
    verdict = judge(exercise, names[name])
    if verdict.status == "pass":
        values = [call(names[name], case.args).value for case in exercise.cases]
        torch.save(values, place.with_suffix(".pt"))
    return verdict


def main() -> None:
    quiet = Config()
    quiet.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=quiet, colors="nocolor")
    plan = json.loads((FOLDER / "plan.json").read_text(encoding="utf-8"))
    for number, cell in enumerate(plan):
        place = FOLDER / f"{number}.json"
        if cell["graded"]:
            found = {
                "verdict": dataclasses.asdict(verdict_on(*cell["graded"], shell.user_ns, place))
            }
        else:
            found = {"outputs": run(shell, cell["source"])}
        place.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
