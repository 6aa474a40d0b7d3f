"""Exercises that say which mistake was made: `check("token_loss", token_loss)`.

An exercise is data (`exercise.py`): a reference to compare with, cases, the mistakes that learners
make, hints. The engine calls an answer safely (`calling.py`), looks for the first thing that is
wrong (`diagnosis.py`), names the mistake if it is sure of it (`engine.py`) and shows it
(`verdict.py`). The exercises of a lesson live in the module that bears the lesson's name.
"""

from lessons_lib.checks.engine import check

__all__ = ["check"]
