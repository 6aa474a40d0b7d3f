"""The stored outputs hold on other processors: every notebook, strictly, on two instruction sets.

torch picks its code by the processor; ATEN_CPU_CAPABILITY makes it take an older processor's. The
numbers then differ in the last digits, and a notebook that prints too many of them fails. This
takes twice as long as all other tests: it runs with `python course.py test -m instruction_sets`.
"""

import platform

import pytest
import torch

from tests.laws.planted import code, plant_notebook
from tests.strictly import run_strictly
from tools.execute import ROOT, course_notebooks

NATIVE = torch.backends.cpu.get_cpu_capability()

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"),
    reason="torch offers several instruction sets on x86-64 only",
)


@pytest.mark.instruction_sets
@pytest.mark.parametrize("capability", ["avx2", "default"])
@pytest.mark.parametrize(
    "notebook", course_notebooks(), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_notebook(notebook, capability):
    if capability == "avx2" and NATIVE == "DEFAULT":
        pytest.skip("this processor has no AVX2")
    result = run_strictly(notebook, ATEN_CPU_CAPABILITY=capability)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "capability, stored, passes",
    [("avx2", "AVX2", True), ("default", "DEFAULT", True), ("default", "AVX2", False)],
)
def test_the_instruction_set_takes_effect_in_the_kernel(tmp_path, capability, stored, passes):
    """By the same road as above, a notebook passes only if it stores the name of the set in use."""
    if capability == "avx2" and NATIVE == "DEFAULT":
        pytest.skip("this processor has no AVX2")
    ask = "import torch\n\nprint(torch.backends.cpu.get_cpu_capability())"
    printed = {"output_type": "stream", "name": "stdout", "text": f"{stored}\n"}
    plant_notebook(tmp_path, "ask.ipynb", code(ask, "ask", outputs=[printed]))
    result = run_strictly(tmp_path / "ask.ipynb", ATEN_CPU_CAPABILITY=capability)
    assert (result.returncode == 0) == passes, result.stdout + result.stderr
    assert passes or capability.upper() in result.stdout
