"""The order of diagnosis: one small function for each thing that can be wrong with an answer."""

import dis
import inspect
import linecache
import math
import re
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass
from pathlib import Path

import numpy as np
import torch

from lessons_lib.checks import calling, python_values
from lessons_lib.checks.calling import Outcome
from lessons_lib.checks.exercise import Case, Exercise, Facts
from lessons_lib.checks.python_values import ABSOLUTE, RELATIVE

FEW_IDS, FEW_NUMBERS = 16, 12  # tensors up to this size are shown in full
ROW_IDS = 24  # of a row of ids that is not shown in full
PRINTED_LINES, LINE_WIDTH = 10, 200  # of what the answer printed
# How much must speak for a name: one wrong number with digits, or three wrong whole numbers or
# truth values, which often agree by chance.
ENOUGH = 3
INFINITE = "log(0), where a small p was rounded to 0; an e^x too large; a division by 0"


@dataclass(frozen=True)
class Finding:
    """What is wrong. `nameable`: a known mistake may explain it."""

    sentence: str
    facts: Facts = ()
    status: str = "fail"
    nameable: bool = True


@dataclass(frozen=True)
class Trial:
    """One case, tried twice with different random numbers, and the value expected of it."""

    exercise: Exercise
    case: Case
    expected: object
    first: Outcome
    second: Outcome
    before: Outcome | None = None  # of the case before

    def returned(self) -> Iterator[tuple[str, object, torch.Tensor]]:
        """Name, value got and value expected, for each thing that the exercise returns."""
        names = self.exercise.returns
        if len(names) == 1:
            yield names[0], self.first.value, self.expected
        else:
            yield from zip(names, self.first.value, self.expected, strict=True)

    def tensors(self) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """The same, for what is a tensor; lists, text and the like have neither shape nor dtype."""
        return (part for part in self.returned() if is_plain(part[2]))

    def arguments(self) -> list[tuple[str, object]]:
        """The arguments of the case with their names."""
        names = inspect.signature(self.exercise.oracle).parameters
        return list(zip(names, self.case.args, strict=False))

    def facts(self, *rows: tuple[str, str]) -> Facts:
        """`rows`, then what every finding tells: the case, its input, prints and warnings."""
        about = [("case", self.case.idea)]
        if given := ", ".join(describe(name, value) for name, value in self.arguments()):
            about.append(("input", given))
        for label, text in (("printed", self.first.printed), ("warning", self.first.warned)):
            if lines := text.rstrip().splitlines():
                about.append((label, "\n".join(map(readable, lines[:PRINTED_LINES]))))
        return (*rows, *about)

    def difference(self, name: str, wrong, got, expected) -> Facts:
        """The first wrong element; and its row in ids that are too many to be shown in full."""
        rows = first_difference(name, wrong, got, expected)
        tables = [
            (name, value)
            for name, value in self.arguments()
            if isinstance(value, torch.Tensor) and value.dim() == 2
            if not value.is_floating_point() and value.shape[:1] == wrong.shape[:1]
        ]
        if not all(is_small(table) for _, table in tables):
            row, *column = wrong.nonzero()[0].tolist()
            place = column[0] if column else 0
            ids = [f"{name} {ids_around(table[row].tolist(), place)}" for name, table in tables]
            rows += ((f"row {row}", readable(" | ".join(ids))),)
        if (wrong & (got == torch.inf) & expected.isfinite()).any():
            rows += (("look for", INFINITE),)
        return self.facts(*rows)


def ids_around(ids: list[int], place: int) -> str:
    """A row of ids; of a long one those around a place, with dots for what is left out."""
    first = max(0, min(place - ROW_IDS // 2, len(ids) - ROW_IDS))
    shown = [str(i) for i in ids[first : first + ROW_IDS]]
    return " ".join(["…"] * (first > 0) + shown + ["…"] * (first + ROW_IDS < len(ids)))


def stub_left_in(trial: Trial) -> Finding | None:
    """`raise NotImplementedError` still stands in the learner's own code."""
    error = trial.first.error
    if not isinstance(error, NotImplementedError):
        return None
    deepest = error.__traceback__
    while deepest.tb_next:
        deepest = deepest.tb_next
    code = deepest.tb_frame.f_code
    # torch raises this error too, but from C: then the deepest step in Python is not a `raise`.
    raised_in_python = code.co_code[deepest.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    if is_library(code.co_filename) or not raised_in_python:
        return None
    sentence = "Write your answer instead of `raise NotImplementedError`."
    facts = (("wanted", trial.exercise.signature),)
    return Finding(sentence, facts, status="todo", nameable=False)


def exception(trial: Trial) -> Finding | None:
    """The answer raised, did not end, or cannot be called with these arguments."""
    error = trial.first.error
    if error is None:
        return None
    if isinstance(error, calling.WaitLimitReached):
        sentence = f"{trial.exercise.id} was stopped: it waited for {calling.WAIT_LIMIT:g} seconds."
        facts = trial.facts(("look for", "sleep, input(), another program"))
        return Finding(sentence, facts, nameable=False)
    if isinstance(error, calling.TimeLimitReached):
        sentence = (
            f"{trial.exercise.id} was stopped after computing {calling.TIME_LIMIT:g} seconds."
        )
        facts = trial.facts(("look for", "a loop that never ends"))
        return Finding(sentence, facts, nameable=False)
    reason = ("error", readable(": ".join(filter(None, [type(error).__name__, said(error)]))))
    frames = [
        (number, linecache.getline(frame.f_code.co_filename, number).strip())
        for frame, number in traceback.walk_tb(error.__traceback__)
        if not is_library(frame.f_code.co_filename)
    ]
    if not frames:
        if isinstance(error, TypeError):
            sentence = "Your function cannot be called with the arguments of this exercise."
            return Finding(sentence, trial.facts(reason, ("expected", trial.exercise.signature)))
        return Finding("Your function stopped with an error.", trial.facts(reason))
    # An endless recursion is reported where it began: its depth is an accident.
    number, line = frames[0 if isinstance(error, RecursionError) else -1]
    sentence = f"Your function stopped with an error in line {number}."
    return Finding(sentence, trial.facts((f"line {number}", readable(line)), reason))


def input_changed(trial: Trial) -> Finding | None:
    """An argument no longer holds what it held before the call."""
    for (name, before), after in zip(trial.arguments(), trial.first.args, strict=False):
        if not alike(contents(before), contents(after)):
            rows = (("before", describe(name, before)), ("after", describe(name, after)))
            if isinstance(before, torch.Tensor) and before.shape == after.shape:
                where, old, new = first_difference(name, ~close(after, before), after, before)
                rows = (where, ("before", old[1]), ("after", new[1]))
            sentence = f"Your function changes its input `{name}` in place."
            return Finding(sentence, trial.facts(*rows), nameable=False)
    return None


def settings_changed(trial: Trial) -> Finding | None:
    """A setting of torch, NumPy or Python is another one after the call."""
    if not trial.first.settings:
        return None
    return Finding(
        "Your function changes a setting and leaves it so.",
        trial.facts(("changed", ", ".join(trial.first.settings))),
        nameable=False,
    )


def none_returned(trial: Trial) -> Finding | None:
    """A forgotten `return`."""
    if trial.first.value is not None:
        return None
    return Finding("Your function returns None: is a `return` missing?", trial.facts())


def wrong_type(trial: Trial) -> Finding | None:
    """Something of another kind than what is wanted, or another number of things."""
    names, value = trial.exercise.returns, trial.first.value
    if len(names) > 1 and not (isinstance(value, (tuple, list)) and len(value) == len(names)):
        many = f"{len(names)} {'tensors' if all(map(is_plain, trial.expected)) else 'values'}"
        rows = (("expected", f"{many}: {', '.join(names)}"), ("got", kind(value)))
        return Finding(f"Your function should return {many}.", trial.facts(*rows))
    for name, got, expected in trial.returned():
        if is_plain(expected) and not is_plain(got):
            rows = (("expected", "a torch.Tensor"), ("got", kind(got)))
            return Finding(f"`{name}` should be a tensor.", trial.facts(*rows))
        if not is_plain(expected) and not python_values.fits(got, expected):
            wanted = python_values.KINDS[type(expected)]
            rows = (("expected", wanted), ("got", kind(got)))
            return Finding(f"`{name}` should be {wanted}.", trial.facts(*rows))
    return None


def wrong_shape(trial: Trial) -> Finding | None:
    """A tensor of another shape."""
    for name, got, expected in trial.tensors():
        if got.shape != expected.shape:
            shapes = (("expected", sized(expected)), ("got", sized(got)))
            facts = trial.facts(("where", f"shape of {name}"), *shapes)
            return Finding(f"`{name}` has the wrong shape.", facts)
    return None


def wrong_dtype(trial: Trial) -> Finding | None:
    """Numbers of another kind, or on another device."""
    for name, got, expected in trial.tensors():
        for what in ("dtype", "device"):
            if getattr(got, what) != getattr(expected, what):
                facts = trial.facts(
                    ("where", f"{what} of {name}"),
                    ("expected", str(getattr(expected, what))),
                    ("got", str(getattr(got, what))),
                )
                return Finding(f"`{name}` has the wrong {what}.", facts)
    return None


def not_a_number(trial: Trial) -> Finding | None:
    """NaN where a number is expected."""
    for name, got, expected in trial.tensors():
        wrong = got.isnan() & ~expected.isnan()
        if wrong.any():
            facts = trial.difference(name, wrong, got, expected)
            return Finding(f"`{name}` is not a number (NaN).", facts)
    return None


def not_repeatable(trial: Trial) -> Finding | None:
    """Two calls, two answers."""
    if trial.second.error is None and alike(trial.first.value, trial.second.value):
        return None
    return Finding(
        "Called twice with the same input, your function answers differently.",
        trial.facts(
            (
                "look for",
                "random numbers, something kept between calls, or a fit (lstsq) to a table",
            )
        ),
        nameable=False,
    )


def earlier_value_changed(trial: Trial) -> Finding | None:
    """What was returned for the case before holds something else now."""
    before = trial.before
    if before is None or alike(calling.snapshot(before.returned), before.value):
        return None
    return Finding(
        "What your function returned before changes when it is called again.",
        trial.facts(("look for", "a tensor that is kept between calls and written into")),
        nameable=False,
    )


def wrong_value(trial: Trial) -> Finding | None:
    """The first element that differs."""
    for name, got, expected in trial.returned():
        if not is_plain(expected):
            if not python_values.equal(got, expected):
                rows = python_values.difference(name, got, expected)
                facts = trial.facts(*((label, readable(text)) for label, text in rows))
                return Finding(f"`{name}` has a wrong value.", facts)
            continue
        wrong = ~close(got, expected)
        if wrong.any():
            facts = trial.difference(name, wrong, got, expected)
            return Finding(f"`{name}` has a wrong value.", facts)
    return None


Step = Callable[[Trial], Finding | None]
STEPS: tuple[Step, ...] = (
    stub_left_in,
    exception,
    input_changed,
    settings_changed,
    none_returned,
    wrong_type,
    wrong_shape,
    wrong_dtype,
    not_a_number,
    not_repeatable,
    earlier_value_changed,
    wrong_value,
)


def close(got: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Compare two tensors of one shape and dtype, element by element; NaN is close to NaN."""
    if not expected.is_floating_point():
        return got == expected
    return torch.isclose(got, expected, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)


def alike(one: object, other: object) -> bool:
    """Tell whether two results are the same in structure, type, shape, dtype and values."""
    if is_plain(one) and is_plain(other):
        same_kind = all(
            getattr(one, what) == getattr(other, what) for what in ("shape", "dtype", "device")
        )
        return same_kind and bool(close(one, other).all())
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        return python_values.nearly(one, other)
    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        return False  # one of them at least is sparse or nested, and cannot be compared
    return type(one) is type(other) and one == other


def evidence(value: object, expected: object) -> int:
    """How much of a wrong outcome can speak for its cause: ENOUGH for a wrong number with digits.

    A whole number, truth value or text counts 1, as does an entry of a dict; NaN, infinity and None
    nothing. Of a result in another shape, type or number, all elements count.
    """
    if isinstance(value, (tuple, list)):
        fits = isinstance(expected, (tuple, list)) and len(expected) == len(value)
        return sum(map(evidence, value, expected if fits else [None] * len(value)))
    if isinstance(value, (str, bytes, dict)):
        return python_values.n_wrong(value, expected)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        value = torch.from_numpy(value)
    if isinstance(value, (bool, int, float)):
        if python_values.equal(value, expected):
            return 0
        return ENOUGH * math.isfinite(value) if isinstance(value, float) else 1
    if not is_plain(value):
        return 0
    wrong = torch.ones(value.shape, dtype=torch.bool)
    if is_plain(expected) and (value.shape, value.dtype) == (expected.shape, expected.dtype):
        wrong = ~close(value, expected)
    if value.is_floating_point():
        return ENOUGH * int((wrong & value.isfinite()).sum())
    return int(wrong.sum())


def is_plain(value: object) -> bool:
    """Tell whether something is a tensor that has all its elements in rows of one length."""
    return isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_nested


def contents(argument: object) -> object:
    """A tensor or number itself; of any other object, what it holds."""
    if isinstance(argument, torch.Tensor) or not hasattr(argument, "__dict__"):
        return argument
    return tuple(vars(argument).items())


def first_difference(name: str, wrong, got, expected) -> Facts:
    """Where in the tensor `name` the first True of `wrong` stands, and the two numbers there."""
    index = tuple(wrong.nonzero()[0].tolist())
    where = f"{name}[{', '.join(map(str, index))}]" if index else name
    if wrong.numel() > 1:
        count = int(wrong.sum())
        which = "the only wrong one" if count == 1 else f"the first of {count} wrong ones"
        where += f", {which} of {wrong.numel()}"
    numbers = expected[index].item(), got[index].item()
    numbers = [value + 0.0 if isinstance(value, float) else value for value in numbers]  # no -0
    texts = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in numbers]
    if texts[0] == texts[1]:  # four digits do not show the difference
        texts = [f"{value:.9g}" for value in numbers]
    return (("where", where), ("expected", texts[0]), ("got", texts[1]))


def kind(value: object) -> str:
    """What something is, in words: "one tensor", "a tuple of 3", "a NumPy array"."""
    if isinstance(value, torch.Tensor):
        unusual = "a nested tensor" if value.is_nested else "a sparse tensor"
        return "one tensor" if is_plain(value) else unusual
    if isinstance(value, np.ndarray):
        return "a NumPy array"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a value of type {type(value).__name__}"


def describe(name: str, value: object) -> str:
    """An argument: a number, something small in full, or the shape and dtype of a large tensor."""
    if isinstance(value, torch.Tensor):
        if is_small(value):
            return f"{name} {listed(value)}"
        return f"{name} {tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, (list, tuple, dict, str, bytes)):
        return python_values.described(name, value)
    return f"{name} {value!r}" if isinstance(value, (int, float)) or is_dataclass(value) else name


def sized(tensor: torch.Tensor) -> str:
    """A shape, and what is in it if it is small."""
    shape = str(tuple(tensor.shape))
    return f"{shape}: {listed(tensor)}" if is_small(tensor) and tensor.dim() else shape


def is_small(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor can be shown in full."""
    few = FEW_NUMBERS if tensor.is_floating_point() else FEW_IDS
    return 0 < tensor.numel() <= few and not tensor.is_meta


def listed(tensor: torch.Tensor) -> str:
    """A tensor as a list, its numbers with four decimals, or four digits if those say nothing."""
    return str(rounded(tensor.double().tolist() if tensor.is_floating_point() else tensor.tolist()))


def rounded(value: object) -> object:
    """Numbers, in lists or alone, as `listed` shows them; whole numbers and truth values stay."""
    if isinstance(value, list):
        return [rounded(part) for part in value]
    if not isinstance(value, float) or not math.isfinite(value):
        return value
    short = round(value, 4)
    return short if abs(short - value) <= 1e-3 * abs(value) else float(f"{value:.4g}")


def said(error: BaseException) -> str:
    """The first line of an error's text that is not empty."""
    try:
        return next(filter(str.strip, str(error).splitlines()), "")
    except Exception:  # its own __str__ fails
        return ""


def readable(line: str) -> str:
    """A line of text, not too long, without addresses and places, which differ between machines.

    Bytes such as 0xff stay.
    """
    line = re.sub(r" \(Triggered internally at .*\)", "", line)  # torch's warnings end like this
    line = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", line)
    return re.sub(r"0x[0-9a-fA-F]{4,}", "0x…", line)[:LINE_WIDTH]


PACKAGE = Path(__file__).resolve().parents[1]
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib")).resolve()


def is_library(filename: str) -> bool:
    """Tell whether a line of Python belongs to a library, this one included, not to the learner."""
    path = Path(filename)
    if {"site-packages", "dist-packages"} & set(path.parts) or filename.startswith("<frozen"):
        return True
    resolved = path.resolve()
    return PACKAGE in resolved.parents or STANDARD_LIBRARY in resolved.parents
