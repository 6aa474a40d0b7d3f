"""What an exercise is made of. Nothing here runs an answer."""

from collections.abc import Callable
from dataclasses import dataclass

Facts = tuple[tuple[str, str], ...]  # rows of (label, text), such as ("expected", "2.31")


@dataclass(frozen=True)
class Case:
    """One call of the answer: what is new in it, and the arguments, handed over by position."""

    idea: str
    args: tuple


@dataclass(frozen=True)
class Misconception:
    """A mistake that learners make, as a function that makes it.

    `sentence` says what the learner's output is evidence of, in at most 80 characters. A mistake
    that can be made in several ways stands several times, with one slug.
    """

    slug: str
    sentence: str
    answer: Callable


def several(slug: str, sentence: str, *answers: Callable) -> list[Misconception]:
    """One mistake that can be made in several ways."""
    return [Misconception(slug, sentence, answer) for answer in answers]


@dataclass(frozen=True)
class Property:
    """A law that values cannot show. `counterexample(answer)` gives facts that break it, or None.

    `idea` says what is looked at, `sentence` what is wrong when the law is broken, in at most 80
    characters. `args` are the arguments that the answer is called with, where there is one call.
    """

    slug: str
    idea: str
    sentence: str
    counterexample: Callable[[Callable], Facts | None]
    args: tuple = ()


@dataclass(frozen=True)
class Exercise:
    """One function to write, and all that is needed to judge it.

    `returns` names what is returned: one name for one tensor, several for a tuple of them. Where
    the oracle returns a list, a dict, text, bytes or a number in place of a tensor, so does a right
    answer.
    `oracle` is torch's own function or a slow loop, with the parameter names of the exercise.
    `cases` stand simplest first, and each brings one new idea.
    """

    id: str
    lesson: int
    signature: str
    returns: tuple[str, ...]
    oracle: Callable
    cases: tuple[Case, ...]
    misconceptions: tuple[Misconception, ...]
    hints: tuple[str, str, str]
    properties: tuple[Property, ...] = ()
