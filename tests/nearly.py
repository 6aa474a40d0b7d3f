"""A plugin of pytest: nbval compares a number after ≈ within its tolerance (tools/measured.py)."""

from nbval.plugin import IPyNbCell

from tools.measured import agreed

_compare_exactly = IPyNbCell.compare_outputs


def _compare(cell, test, ref, skip_compare=None) -> bool:
    """nbval's own comparison, after numbers that hold are written as they are stored."""
    return _compare_exactly(cell, agreed(test, ref), ref, skip_compare)


IPyNbCell.compare_outputs = _compare
