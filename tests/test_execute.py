import json
import tomllib

import nbformat.v4
import pytest
from nbformat import NotebookNode

from tests.laws.planted import code, only, plant_notebook, text
from tools import execute as tool
from tools.execute import canonical_bytes, changed_cells, course_notebooks, execute, main, read

HTML = """from IPython.display import HTML

HTML('<img alt="a curve" src="data:image/png;base64,{pixels}">')"""


def notebook(root, *cells):
    plant_notebook(root, "a.ipynb", *cells)
    return root / "a.ipynb"


def test_executing_twice_gives_the_same_bytes(tmp_path, capsys):
    path = notebook(
        tmp_path,
        text("# Ein Wörtchen"),
        code("print('eins')\nprint('zwei')", "counts", run=None),
        code("print('half\\rwhole')\n1 + 1", "adds", run=7),
        code(HTML.format(pixels="AAAA"), "draws", run=None),
    )
    assert main([str(path)]) == 0
    first = path.read_bytes()
    assert main([str(path)]) == 0
    assert path.read_bytes() == first

    reports = capsys.readouterr().out.splitlines()
    assert [report.split(", ")[-1] for report in reports] == ["written", "unchanged"]
    assert float(reports[0].split(": ")[-1].split(" CPU s")[0]) > 0.1
    cells = read(path).cells
    assert [cell.execution_count for cell in cells[1:]] == [1, 2, 3]
    assert [output.text for output in cells[1].outputs] == ["eins\nzwei\n"]
    assert cells[2].outputs[0].text == "whole\n"
    assert cells[2].outputs[1].data == {"text/plain": "2"}


def test_no_trace_of_when_and_where_it_was_run(tmp_path):
    path = notebook(tmp_path, "1 + 1")
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["metadata"]["language_info"]["version"] = "3.0"
    raw["metadata"]["widgets"] = {}
    raw["cells"][0]["metadata"] = {"execution": {"iopub.execute_input": "2020"}, "tags": ["kept"]}
    path.write_text(json.dumps(raw), encoding="utf-8")
    assert main([str(path)]) == 0

    stored = path.read_bytes()
    raw = json.loads(stored)
    assert raw["metadata"]["language_info"] == {"name": "python"}
    assert raw["metadata"]["kernelspec"]["name"] == "python3"
    assert sorted(raw["metadata"]) == ["kernelspec", "language_info"]
    assert raw["cells"][0]["metadata"] == {"tags": ["kept"]}
    assert stored.endswith(b"}\n") and b"\r" not in stored
    assert stored.startswith(b'{\n "cells": [\n')
    assert canonical_bytes(read(path)) == stored


def test_it_runs_in_its_own_folder_on_one_thread(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    source = "import os\nprint(os.path.exists('beside.txt'), os.environ['OMP_NUM_THREADS'])"
    (tmp_path / "beside.txt").touch()
    executed, _ = execute(notebook(tmp_path, source))
    assert executed.cells[0].outputs[0].text == "True 1\n"


def test_an_error_leaves_the_file_untouched(tmp_path, capsys):
    path = notebook(tmp_path, "x = 1", code("[][x]", "breaks"), code("2", "after"))
    before = path.read_bytes()
    assert main([str(path)]) == 1
    assert path.read_bytes() == before
    report = capsys.readouterr().out
    for part in (f"{path}: [breaks] IndexError: list index out of range", "left as it was"):
        assert part in report
    assert [file.name for file in tmp_path.iterdir()] == ["a.ipynb"]


def test_a_tag_does_not_hide_an_error(tmp_path):
    assert main([str(notebook(tmp_path, code("1 / 0", "a", tags=["raises-exception"])))]) == 1


def test_a_dying_kernel_is_reported(tmp_path, capsys):
    path = notebook(tmp_path, code("import os\nos._exit(1)", "dies"))
    assert main([str(path)]) == 1
    assert "[dies] the kernel died" in capsys.readouterr().out


def test_one_failure_does_not_stop_the_others(tmp_path, capsys):
    bad = notebook(tmp_path, "1 / 0")
    plant_notebook(tmp_path, "b.ipynb", "2")
    assert main([str(bad), str(tmp_path / "b.ipynb")]) == 1
    assert "b.ipynb" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content, says", [("half a file", "not a notebook"), ('{"nbformat": 3}', "not a notebook")]
)
def test_what_is_no_notebook(tmp_path, capsys, content, says):
    path = tmp_path / "a.ipynb"
    path.write_text(content, encoding="utf-8")
    assert main([str(path)]) == 1
    assert f"{path}: {says}" in capsys.readouterr().out


def test_an_old_format_is_refused(tmp_path):
    path = notebook(tmp_path, "1")
    old = path.read_text(encoding="utf-8").replace('"nbformat_minor": 5', '"nbformat_minor": 4')
    path.write_text(old, encoding="utf-8")
    with pytest.raises(ValueError, match=r"format \(4, 4\); expected 4.5"):
        read(path)


def test_a_missing_notebook_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path / "none.ipynb")])
    assert "none.ipynb: no such notebook" in capsys.readouterr().err


def test_check_passes_when_nothing_changed_but_pixels(tmp_path, capsys):
    path = notebook(tmp_path, "print(1)", code(HTML.format(pixels="AAAA"), "draws"))
    main([str(path)])
    stored = path.read_bytes().replace(b'base64,AAAA\\">\\n', b'base64,BBBB\\">\\n')
    path.write_bytes(stored)
    assert main(["--check", str(path)]) == 0
    assert path.read_bytes() == stored
    assert "unchanged" in capsys.readouterr().out


def test_check_names_each_cell_that_would_change(tmp_path, capsys):
    path = notebook(tmp_path, code("print(1)", "same"), code("print(1)", "counts"), text("x"))
    main([str(path)])
    nb = read(path)
    nb.cells[1].source = "print(2)"
    path.write_bytes(canonical_bytes(nb))
    before = path.read_bytes()
    assert main(["--check", str(path)]) == 1
    assert path.read_bytes() == before
    changes = [line for line in capsys.readouterr().out.splitlines() if "would change" in line]
    only(changes, f"{path} [counts]", '"text": "1', '"text": "2')


def test_check_finds_a_file_that_the_tool_would_store_otherwise(tmp_path, capsys):
    path = notebook(tmp_path, "1")
    main([str(path)])
    path.write_bytes(path.read_bytes().replace(b'\n "', b'\n  "', 1))
    assert main(["--check", str(path)]) == 1
    assert "canonical form" in capsys.readouterr().out


@pytest.mark.parametrize(
    "data, differs",
    [
        ({"image/png": "BBBB", "text/plain": "a curve"}, False),
        ({"image/png": "AAAA", "text/plain": "another"}, True),
        ({"text/plain": "a curve"}, True),
    ],
)
def test_only_pixels_may_differ(data, differs):
    def drawing(data):
        output = nbformat.v4.new_output("display_data", data=data)
        return NotebookNode(cells=[code("draw()", "draws", outputs=[output])])

    stored = drawing({"image/png": "AAAA", "text/plain": "a curve"})
    assert bool(changed_cells(stored, drawing(data))) == differs


def test_what_nbval_leaves_out_is_left_out_here(tmp_path, monkeypatch):
    """One file says it for both: another rule in it, and another output may differ."""
    settings = tomllib.loads((tool.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    options = settings["tool"]["pytest"]["ini_options"]["addopts"]
    assert f"--nbval-sanitize-with={tool.SANITIZE.relative_to(tool.ROOT).as_posix()}" in options

    def printing(text):
        output = nbformat.v4.new_output("stream", text=text)
        return NotebookNode(cells=[code("print(fruit)", "prints", outputs=[output])])

    assert changed_cells(printing("an apple"), printing("a pear"))
    rules = tmp_path / "rules.cfg"
    rules.write_text("# Fruit.\nregex: an apple|a pear\nreplace: FRUIT\n", encoding="utf-8")
    monkeypatch.setattr(tool, "SANITIZE", rules)
    assert changed_cells(printing("an apple"), printing("a pear")) == []
    assert changed_cells(printing("an apple"), printing("a fig"))


def test_a_timing_may_print_another_number():
    def timing(number):
        output = nbformat.v4.new_output("stream", text=number)
        cell = code("# NBVAL_IGNORE_OUTPUT\nprint(ratio)", "timing", outputs=[output])
        return NotebookNode(cells=[cell])

    assert changed_cells(timing("2.1"), timing("2.2")) == []


def test_by_default_all_rooms_are_executed(tmp_path):
    for name in ("solutions/01_a", "notebooks/01_a", "exercises/01_a", "notebooks/00_a", "work/a"):
        plant_notebook(tmp_path, f"{name}.ipynb", "1")
    found = [path.relative_to(tmp_path).as_posix() for path in course_notebooks(tmp_path)]
    rooms = ["notebooks/00_a", "notebooks/01_a", "exercises/01_a", "solutions/01_a"]
    assert found == [f"{name}.ipynb" for name in rooms]
