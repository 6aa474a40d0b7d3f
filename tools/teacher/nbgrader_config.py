"""nbgrader's settings. A course folder loads this file; JupyterLab for learners never does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    ClearOutput,
    DeduplicateIds,
    LimitOutput,
    OverwriteCells,
    OverwriteKernelspec,
    SaveAutoGrades,
)

from tools.exercises import STUB
from tools.teacher.judge import Judge, RestoreMarks

c = get_config()  # noqa: F821, defined by whoever loads this file
c.ClearSolutions.code_stub = {"python": STUB}
c.OverwriteCells.add_missing_cells = True
# as nbgrader has it, with RestoreMarks before OverwriteCells
c.Autograde.sanitize_preprocessors = [
    ClearOutput,
    DeduplicateIds,
    OverwriteKernelspec,
    RestoreMarks,
    OverwriteCells,
    CheckCellMetadata,
]
# as nbgrader has it, with Judge in the place of Execute
c.Autograde.autograde_preprocessors = [
    Judge,
    LimitOutput,
    SaveAutoGrades,
    AssignLatePenalties,
    CheckCellMetadata,
]
