"""Calling an answer that may print, raise, change its input, leave, or never end."""

import contextlib
import copy
import ctypes
import io
import random
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

TIME_LIMIT = 5.0  # seconds for one call
REPEAT = 0.1  # seconds between further interruptions, in case the answer caught the first


class TimeLimitReached(BaseException):
    """The answer was stopped. Not an Exception, so that `except Exception` lets it through."""


@dataclass(frozen=True)
class Outcome:
    """What one call led to: a value or an error, the arguments as it left them, and its noise."""

    value: object
    error: BaseException | None
    args: tuple
    printed: str
    warned: str = ""


def call(answer: Callable, args: tuple, seed: int = 0) -> Outcome:
    """Call `answer(*args)` on copies of `args`; whatever it does ends up in the outcome.

    Random numbers start from `seed`, and the caller's go on as if nothing had happened. Prints and
    warnings are kept from the notebook, and in the outcome. Only the user's own interrupt
    (KeyboardInterrupt) comes through.
    """
    args = copy.deepcopy(args)
    value, error, printed = None, None, io.StringIO()
    with (
        own_torch_defaults(),
        own_random_numbers(seed),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        recorded_warnings() as caught,
        torch.enable_grad(),
    ):
        try:
            with time_limit(TIME_LIMIT):
                value = snapshot(answer(*args))
        except KeyboardInterrupt:
            raise
        except BaseException as raised:  # SystemExit and the time limit too
            error = raised
    warned = "\n".join(dict.fromkeys(str(warning.message) for warning in caught))
    text = "" if printed.closed else printed.getvalue()
    return Outcome(value, error, args, text, warned)


def snapshot(value: object) -> object:
    """Copy the tensors of a result, so that no later call can change them; gradients dropped."""
    if isinstance(value, torch.Tensor) and not value.is_nested:
        return value.detach().clone()
    if type(value) in (tuple, list):
        return type(value)(snapshot(part) for part in value)
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
def own_torch_defaults() -> Iterator[None]:
    """float32, one thread of the CPU inside the block; what was set before is put back after it."""
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    device = torch.get_default_device()
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(1)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
        if torch.get_default_device() != device:
            torch.set_default_device(device)


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
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimitReached inside the block when `seconds` are over.

    A signal where there is one (main thread, not on Windows): it also wakes a sleeping call.
    Elsewhere a second thread plants the exception, which strikes at the next line of Python. Two
    things are beyond both, and only restarting the kernel helps: a single call into C that never
    comes back, and a loop that catches BaseException over and over.
    """
    has_signal = hasattr(signal, "setitimer")
    if has_signal and threading.current_thread() is threading.main_thread():
        stop = start_alarm(seconds)
    else:
        stop = start_watcher(seconds)
    try:
        try:
            yield
        finally:
            stop()
    finally:
        stop()  # once more, because the limit may strike in the middle of the first


def start_alarm(seconds: float) -> Callable[[], None]:
    """Ask the operating system for a signal; returns the function that cancels it."""

    def interrupt(number, frame):
        raise TimeLimitReached

    previous = signal.signal(signal.SIGALRM, interrupt)
    others = signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT)  # pytest-timeout's, say

    def stop():
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        signal.setitimer(signal.ITIMER_REAL, *others)

    return stop


def start_watcher(seconds: float) -> Callable[[], None]:
    """Let a second thread interrupt this one; returns the function that ends it."""
    watched, done = ctypes.c_ulong(threading.get_ident()), threading.Event()
    plant = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def watch():
        wait = seconds
        while not done.wait(wait):
            plant(watched, ctypes.py_object(TimeLimitReached))
            wait = REPEAT

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()

    def stop():
        done.set()
        watcher.join()
        plant(watched, None)  # takes back an exception that has not struck yet

    return stop
