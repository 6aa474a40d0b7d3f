"""Results that are no tensors: numbers, text, bytes, and lists, tuples and dicts of them."""

import math
from itertools import zip_longest
from numbers import Integral

import torch

from lessons_lib.checks.exercise import Facts

# A right answer in another style adds up in another order: float32 leaves it about 1e-6 away.
RELATIVE, ABSOLUTE = 1e-4, 1e-5
WIDTH = 60  # characters up to which a value is shown in full
AROUND = 24  # of a longer text, the characters shown around what is wrong
KINDS = {
    str: "text (str)",
    bytes: "bytes",
    dict: "a dict",
    list: "a list",
    tuple: "a tuple",
    bool: "a truth value",
    int: "a whole number (int)",
    float: "a number (float)",
}


class Missing:
    """What stands where one of two values holds nothing."""

    def __repr__(self):
        return "nothing"


MISSING = Missing()


def fits(got: object, expected: object) -> bool:
    """Tell whether `got` is of the kind of `expected`; a whole number is a number, True is none."""
    if isinstance(expected, bool) or isinstance(got, bool):
        return isinstance(expected, bool) and isinstance(got, bool)
    if isinstance(expected, float):
        return isinstance(got, (int, float))
    return isinstance(got, Integral if isinstance(expected, int) else type(expected))


def equal(got: object, expected: object) -> bool:
    """Tell whether two values are equal, kind for kind, part for part; floats nearly."""
    if isinstance(got, torch.Tensor) or not fits(got, expected):
        return False
    if isinstance(expected, dict):
        return got.keys() == expected.keys() and all(equal(got[key], expected[key]) for key in got)
    if isinstance(expected, (list, tuple)):
        return len(got) == len(expected) and all(map(equal, got, expected))
    return nearly(got, expected) if isinstance(expected, float) else got == expected


def nearly(one: float, other: float) -> bool:
    """Compare two numbers; NaN is near NaN."""
    try:
        both_nan = math.isnan(one) and math.isnan(other)
        return both_nan or math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    except OverflowError:  # a whole number too large for a float
        return False


def n_wrong(got: object, expected: object) -> int:
    """How many parts of `got` are wrong: entries of a dict or list, or the whole value: 1."""
    if not fits(got, expected) or not isinstance(expected, (dict, list, tuple)):
        return int(not equal(got, expected))
    return sum(not equal(*parts) for _, *parts in places(got, expected))


def places(got, expected):
    """Key or index, part got, part expected: for each place of two dicts or lists."""
    if isinstance(expected, dict):
        keys = [*expected, *(key for key in got if key not in expected)]
        return [(key, got.get(key, MISSING), expected.get(key, MISSING)) for key in keys]
    pairs = zip_longest(got, expected, fillvalue=MISSING)
    return [(i, *parts) for i, parts in enumerate(pairs)]


def difference(name: str, got: object, expected: object) -> Facts:
    """Where the two differ first, and both: in full if they are short, else what is there."""
    where, place = name, None
    if isinstance(expected, (dict, list, tuple)):
        wrong = [parts for parts in places(got, expected) if not equal(*parts[1:])]
        place = wrong[0][0]
        where = f"{name}[{place!r}]"
        if len(wrong) > 1:
            where += f", the first of {len(wrong)} wrong ones"
        if max(len(written(got)), len(written(expected))) > WIDTH:
            _, got, expected = wrong[0]
            place = None
    if isinstance(expected, (str, bytes)) and type(got) is type(expected):
        pairs = zip_longest(got, expected)
        place = next(i for i, (one, other) in enumerate(pairs) if one != other)
    rows = (("expected", shown(expected, place)), ("got", shown(got, place)))
    return (("where", where), *rows) if where != name else rows


def shown(value: object, place: object = None) -> str:
    """A value as Python writes it; of a long text, what is around `place`."""
    if isinstance(value, (str, bytes)) and len(value) > WIDTH and isinstance(place, int):
        first = max(0, place - AROUND // 2)
        part = value[first : first + AROUND]
        return f"… {part!r} … (from character {first})" if part else f"ends before {place}"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = written(value)
    return text if len(text) <= 2 * WIDTH else f"{text[: 2 * WIDTH]} …"


def written(value: object) -> str:
    """A value as Python writes it, whatever the learner put into it."""
    try:
        return repr(value)
    except Exception:  # its own __repr__ fails
        return f"a value of type {type(value).__name__}"


def described(name: str, value: object) -> str:
    """An argument: in full if it is short, else how long it is."""
    text = repr(value)
    if len(text) <= WIDTH:
        return f"{name} {text}"
    unit = {str: "characters", bytes: "bytes", dict: "entries"}.get(type(value), "items")
    return f"{name}, {len(value)} {unit}"
