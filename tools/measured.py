"""Measured numbers in a notebook's outputs: `≈ 0.53` stands for a number near it.

Another processor adds up in another order, and what is trained there comes out a little different.
So a number after ≈ is compared with its stored value within a tolerance, and all else exactly:

    ≈ 12.4           5% of the stored number
    ≈ 0.53           .02, because two digits from 0 to 1 are a share (5% where that is more)
    ≈ 53%            2 points
    ≈ 0.53 ± 0.08    what it names itself
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from nbformat import NotebookNode

RELATIVE, SHARE = 0.05, 0.02
WIDEST_SHARE = 0.1  # what a share may name as its own tolerance
_NUMBER = re.compile(
    r"≈(?P<value> *[-−]?(?:\d[\d,]*)?\.?\d+(?:e[-+]?\d+)?)(?P<percent> ?%)?"
    r"(?: ?± ?(?P<own>\d*\.?\d+))?"
)


@dataclass(frozen=True)
class Measured:
    """A number after ≈: its value, the tolerance that it names, and how it is written."""

    text: str
    value: float
    own: float | None
    is_percent: bool

    @property
    def is_share(self) -> bool:
        """Whether it is a part of a whole: a percentage, or two digits from 0 to 1."""
        return self.is_percent or re.search(r"≈ *(0?\.\d\d|1\.00)(?!\d)", self.text) is not None

    @property
    def tolerance(self) -> float:
        """How far another run's number may lie from this one."""
        if self.own is not None:
            return self.own
        points = SHARE * (100 if self.is_percent else 1) if self.is_share else 0.0
        return max(RELATIVE * abs(self.value), points)

    def holds(self, other: "Measured") -> bool:
        """Whether another run's number is written alike and lies within the tolerance."""
        alike = (self.own, self.is_percent) == (other.own, other.is_percent)
        return alike and abs(other.value - self.value) <= self.tolerance * (1 + 1e-9)


def measured(text: str) -> list[Measured]:
    """All numbers after ≈ in a text, in order."""
    return [_measured(match) for match in _NUMBER.finditer(text)]


def _measured(match: re.Match) -> Measured:
    value = float(match["value"].strip().replace("−", "-").replace(",", ""))
    own = float(match["own"]) if match["own"] else None
    return Measured(match[0], value, own, bool(match["percent"]))


def with_stored_numbers(fresh: str, stored: str) -> str:
    """The fresh text, with each measured number that holds written as it is stored.

    So what is equal afterwards agrees. With more numbers or fewer, the text stays as it is.
    """
    known = measured(stored)
    if len(known) != len(measured(fresh)):
        return fresh
    in_order = iter(known)

    def written(match: re.Match) -> str:
        before = next(in_order)
        return before.text if before.holds(_measured(match)) else match[0]

    return _NUMBER.sub(written, fresh)


def agreed(fresh: Iterable[NotebookNode], stored: Iterable[NotebookNode]) -> list[NotebookNode]:
    """The fresh outputs of a cell, with the stored numbers wherever they hold."""
    fresh, stored = list(fresh), list(stored)
    if len(fresh) != len(stored):
        return fresh
    return [_agreed(one, other) for one, other in zip(fresh, stored, strict=True)]


def _agreed(fresh: NotebookNode, stored: NotebookNode) -> NotebookNode:
    result = NotebookNode(fresh)
    if isinstance(fresh.get("text"), str) and isinstance(stored.get("text"), str):
        result["text"] = with_stored_numbers(fresh["text"], stored["text"])
    if "data" in fresh and "data" in stored:
        result["data"] = NotebookNode(
            {
                mime: with_stored_numbers(content, stored["data"][mime])
                if mime.startswith("text/") and mime in stored["data"]
                else content
                for mime, content in fresh["data"].items()
            }
        )
    return result
