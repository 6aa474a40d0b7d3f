"""Calling an answer that may print, raise, change its input, leave, or never end."""

import contextlib
import copy
import ctypes
import io
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

# A call may compute for so many CPU seconds: on a busy machine a right answer, too, is slow by the
# clock on the wall. One that computes nothing, but sleeps or waits, is stopped by that clock.
TIME_LIMIT = 5.0
WAIT_LIMIT = 60.0
REPEAT = 0.1  # seconds between two looks at the clocks, also after the answer was interrupted


class TimeLimitReached(BaseException):
    """The answer was stopped. Not an Exception, so that `except Exception` lets it through."""


class WaitLimitReached(TimeLimitReached):
    """The answer was stopped although it had not computed for long."""


TINY = torch.tensor([1e-40], dtype=torch.float32, device="cpu")  # 0 where such are flushed


def put_back_folder(folder: str | None) -> None:
    """Go back to the working directory, if there was one: somebody may have deleted it."""
    if folder is not None:
        os.chdir(folder)


def folder() -> str | None:
    """The working directory, or None if it has been deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def put_back_environment(kept: dict[str, str]) -> None:
    """Make the environment variables of this process what they were."""
    os.environ.clear()
    os.environ.update(kept)


# What a program can ask torch, NumPy and Python for, and set: its name, and how to do both. An
# answer may change any of them.
SETTINGS = (
    ("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    ("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
    ("whether gradients are recorded", torch.is_grad_enabled, torch.set_grad_enabled),
    ("torch's anomaly detection", torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    (
        "the precision of torch's matrix products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    (
        "torch's deterministic mode",
        torch.get_deterministic_debug_mode,
        torch.set_deterministic_debug_mode,
    ),
    (
        "what torch does with the tiniest numbers",
        lambda: (TINY * 1).item() == 0,
        torch.set_flush_denormal,
    ),
    (
        "torch's print options",
        torch._tensor_str.get_printoptions,
        lambda kept: torch.set_printoptions(**kept),
    ),
    ("NumPy's print options", np.get_printoptions, lambda kept: np.set_printoptions(**kept)),
    ("NumPy's handling of errors", np.geterr, lambda kept: np.seterr(**kept)),
    ("Python's recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    ("the working directory", folder, put_back_folder),
    ("the environment", lambda: dict(os.environ), put_back_environment),
)


@dataclass(frozen=True)
class Outcome:
    """What one call led to: a value or an error, the arguments as it left them, and its noise.

    `value` is a copy of what was `returned`, which a later call may change. `settings` names those
    that the answer left changed.
    """

    value: object
    error: BaseException | None
    args: tuple
    printed: str
    warned: str = ""
    returned: object = None
    settings: tuple[str, ...] = ()


def call(answer: Callable, args: tuple, seed: int = 0) -> Outcome:
    """Call `answer(*args)` on copies of `args`; whatever it does ends up in the outcome.

    Random numbers start from `seed`, and the caller's go on as if nothing had happened; settings
    that it changes are put back. Prints and warnings are kept from the notebook, and in the
    outcome. Only the user's own interrupt (KeyboardInterrupt) comes through.
    """
    args = copy.deepcopy(args)
    returned, value, error, printed = None, None, None, io.StringIO()
    with (
        own_settings() as left_changed,
        own_random_numbers(seed),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        recorded_warnings() as caught,
    ):
        try:
            with time_limit(TIME_LIMIT, WAIT_LIMIT):
                returned = answer(*args)
                value = snapshot(returned)
        except KeyboardInterrupt:
            raise
        except BaseException as raised:  # SystemExit and the time limit too
            error = raised
    warned = "\n".join(dict.fromkeys(str(warning.message) for warning in caught))
    text = "" if printed.closed else printed.getvalue()
    return Outcome(value, error, args, text, warned, returned, tuple(left_changed))


def snapshot(value: object) -> object:
    """Copy a result, so that no later call can change it; gradients dropped."""
    if isinstance(value, torch.Tensor) and not value.is_nested:
        return value.detach().clone()
    if type(value) in (tuple, list):
        return type(value)(snapshot(part) for part in value)
    if isinstance(value, dict):
        return {key: snapshot(part) for key, part in value.items()}
    return value


@contextlib.contextmanager
def own_random_numbers(seed: int) -> Iterator[None]:
    """Seed all random numbers inside the block and put the old ones back after it.

    Of torch's, those of the CPU, where all answers run: `torch.manual_seed` would change those of
    every other device for good, and is slow: it notes the place of the call for each of them.
    """
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.set_rng_state(kept[2])


@contextlib.contextmanager
def own_settings() -> Iterator[list[str]]:
    """float32, gradients, one thread of the CPU inside the block; after it all is as it was before.

    Yields a list, which names afterwards what the block left changed.
    """
    before, device = values_of_settings(), torch.get_default_device()
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(1)
    torch.set_grad_enabled(True)
    inside = values_of_settings()
    left_changed: list[str] = []
    try:
        with torch.device("cpu"):
            yield left_changed
    finally:
        for name, get, put_back in SETTINGS:
            if get() != inside[name]:
                left_changed.append(name)
            if get() != before[name]:
                put_back(before[name])
        if torch.get_default_device() != device:
            torch.set_default_device(device)


def values_of_settings() -> dict[str, object]:
    """What all SETTINGS are now."""
    return {name: get() for name, get, _ in SETTINGS}


@contextlib.contextmanager
def recorded_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Record all warnings inside the block, also those that torch gives once in a process."""
    kept = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield caught
    finally:
        torch.set_warn_always(kept)


@contextlib.contextmanager
def time_limit(computing: float, waiting: float) -> Iterator[None]:
    """Raise inside the block after so many CPU seconds, or after so many on the clock on the wall.

    TimeLimitReached after the first, WaitLimitReached after the second.

    A signal where there is one (main thread, not on Windows): it also wakes a sleeping call.
    Elsewhere a second thread plants the exception, which strikes at the next line of Python. Two
    things are beyond both, and only restarting the kernel helps: a single call into C that never
    comes back, and a loop that catches BaseException over and over.
    """
    has_signal = hasattr(signal, "setitimer")
    over = clocks(computing, waiting)
    if has_signal and threading.current_thread() is threading.main_thread():
        stop = start_alarm(over, first=min(computing, waiting))
    else:
        stop = start_watcher(over)
    try:
        try:
            yield
        finally:
            stop()
    finally:
        stop()  # once more, because the limit may strike in the middle of the first


def clocks(computing: float, waiting: float) -> Callable[[], type[TimeLimitReached] | None]:
    """Start two clocks; returns the function that tells which limit is over, if one is."""
    cpu_limit, wall_limit = time.process_time() + computing, time.monotonic() + waiting

    def over():
        if time.process_time() >= cpu_limit:
            return TimeLimitReached
        return WaitLimitReached if time.monotonic() >= wall_limit else None

    return over


def start_alarm(over: Callable, first: float) -> Callable[[], None]:
    """Ask the operating system for signals, the first after `first` seconds.

    Returns the function that cancels them.
    """

    def look(number, frame):
        if limit := over():
            raise limit

    previous = signal.signal(signal.SIGALRM, look)
    others = signal.setitimer(signal.ITIMER_REAL, first, REPEAT)  # pytest-timeout's, say

    def stop():
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        signal.setitimer(signal.ITIMER_REAL, *others)

    return stop


def start_watcher(over: Callable) -> Callable[[], None]:
    """Let a second thread interrupt this one; returns the function that ends it."""
    watched, done = ctypes.c_ulong(threading.get_ident()), threading.Event()
    plant = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def watch():
        while not done.wait(REPEAT):
            if limit := over():
                plant(watched, ctypes.py_object(limit))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()

    def stop():
        done.set()
        watcher.join()
        plant(watched, None)  # takes back an exception that has not struck yet

    return stop
