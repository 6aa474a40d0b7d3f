"""The engine of the exercises: whatever an answer does, it gets the right sentence."""

import contextlib
import itertools
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lessons_lib.checks import calling, check, diagnosis, engine
from lessons_lib.checks.exercise import Case, Exercise, Misconception
from lessons_lib.kit.seeding import seed_everything


def forcing(tgt):
    """The right answer to the exercise on which most of these tests are made."""
    return tgt[:, :-1], tgt[:, 1:]


def loss(logits, labels, pad=0):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=pad)


def stub(tgt):
    raise NotImplementedError


def stub_with_a_text(tgt):
    """A docstring and a line before the stub."""
    width = tgt.shape[1]
    raise NotImplementedError(f"your turn, {width}")


def unsupported_by_torch(tgt):
    return torch.softmax(tgt, dim=-1)  # torch raises NotImplementedError for whole numbers


def raises(tgt):
    labels = tgt[:, 1:]
    return tgt @ labels


def has_no_such_column(tgt):
    raise KeyError("tgt")


def leaves(tgt):
    sys.exit(3)


def calls_itself(tgt):
    return calls_itself(tgt)


def takes_two(tgt, labels):
    return tgt, labels


def takes_keywords(*, tgt):
    return forcing(tgt)


def changes_input(tgt):
    tgt[tgt == 2] = 0
    return forcing(tgt)


def transposes_input(tgt):
    tgt.t_()
    return forcing(tgt.t())


def forgets_return(tgt):
    forcing(tgt)


def one_of_two(tgt):
    return tgt[:, :-1]


def three(tgt):
    return *forcing(tgt), tgt


def lists(tgt):
    return tuple(part.tolist() for part in forcing(tgt))


def arrays(tgt):
    return tuple(part.numpy() for part in forcing(tgt))


def generates(tgt):
    yield from forcing(tgt)


def sparse(tgt):
    return tuple(part.to_sparse() for part in forcing(tgt))


def nested(tgt):
    return torch.nested.nested_tensor(list(tgt)), tgt


def transposed(tgt):
    return tuple(part.T for part in forcing(tgt))


def int32(tgt):
    return tuple(part.int() for part in forcing(tgt))


def elsewhere(tgt):
    return tuple(part.to("meta") for part in forcing(tgt))


def elsewhere_and_whole(tgt):
    return tgt.to("meta"), tgt.to("meta")


def wrong_once(tgt):
    first, second = forcing(tgt)
    return first, second.clamp(max=8)


def random_labels(tgt):
    return tgt[:, :-1], torch.randint(4, 10, (tgt.shape[0], tgt.shape[1] - 1))


def python_random(tgt):
    return tgt[:, :-1] + random.randrange(1000), tgt[:, 1:]


def numpy_random(tgt):
    return tgt[:, :-1] + int(np.random.randint(1000)), tgt[:, 1:]


def keeps_a_list(tgt, seen=[]):  # noqa: B006, the mistake under test
    seen.append(0)
    return tgt[:, :-1] + len(seen) - 1, tgt[:, 1:]


def reuses_its_buffer(tgt, buffer=torch.zeros(2, 8, 8, dtype=torch.long)):  # noqa: B008, as above
    B, T = tgt.shape
    first, second = buffer[:, :B, : T - 1]
    first.copy_(tgt[:, :-1]), second.copy_(tgt[:, 1:])
    return first, second


def not_a_number(logits, labels, pad=0):
    return loss(logits, labels, pad) * float("nan")


def nan_for_short_rows(logits, labels, pad=0):
    return loss(logits, labels, pad) / (labels.shape[1] > 1)  # infinite for a single word


def detached(logits, labels, pad=0):
    return loss(logits, labels, pad).detach()


def half_detached(logits, labels, pad=0):
    value = loss(logits, labels, pad)
    return value / 2 + value.detach() / 2


def switches_gradients_off(logits, labels, pad=0):
    torch.set_grad_enabled(False)
    return loss(logits, labels, pad)


def without_gradient(logits, labels, pad=0):
    with torch.no_grad():
        return loss(logits, labels, pad)


def half(logits, labels, pad=0):
    return loss(logits, labels, pad) / 2


def number(logits, labels, pad=0):
    return loss(logits, labels, pad).item()


def one_row(logits, labels, pad=0):
    return loss(logits, labels, pad)[None]


def in_double(logits, labels, pad=0):
    return loss(logits.double(), labels, pad)


# What an answer does → exercise, status, name, the first sentence, and a fact (label, text).
def right_on_all(exercise_id):
    return f"Right on all {len(engine.EXERCISES[exercise_id].cases)} cases."


BEHAVIOURS = {
    stub: ("teacher_forcing", "todo", None, "Write your answer instead", ("wanted", "(B, T-1)")),
    stub_with_a_text: ("teacher_forcing", "todo", None, "Write your answer instead", None),
    unsupported_by_torch: (
        "teacher_forcing",
        "fail",
        None,
        "Your function stopped with an error in line",
        ("error", "NotImplementedError: "),
    ),
    raises: (
        "teacher_forcing",
        "fail",
        None,
        "Your function stopped with an error in line",
        (f"line {raises.__code__.co_firstlineno + 2}", "return tgt @ labels"),
    ),
    has_no_such_column: ("teacher_forcing", "fail", None, "Your f", ("error", "KeyError: 'tgt'")),
    leaves: ("teacher_forcing", "fail", None, "Your function stopped", ("error", "SystemExit: 3")),
    calls_itself: (
        "teacher_forcing",
        "fail",
        None,
        "Your function stopped with an error in line",
        ("error", "RecursionError"),
    ),
    takes_two: (
        "teacher_forcing",
        "fail",
        None,
        "Your function cannot be called with the arguments of this exercise.",
        ("error", "missing 1 required positional argument"),
    ),
    takes_keywords: ("teacher_forcing", "fail", None, "Your function cannot be called", None),
    changes_input: (
        "teacher_forcing",
        "fail",
        None,
        "Your function changes its input `tgt` in place.",
        ("where", "tgt[0, 4]"),
    ),
    transposes_input: (
        "teacher_forcing",
        "fail",
        None,
        "Your function changes its input `tgt` in place.",
        ("after", "[[1], [7], [4], [9], [2]]"),
    ),
    forgets_return: ("teacher_forcing", "fail", None, "Your function returns None", None),
    one_of_two: (
        "teacher_forcing",
        "fail",
        None,
        "Your function should return 2 tensors.",
        ("got", "one tensor"),
    ),
    three: ("teacher_forcing", "fail", None, "Your function should", ("got", "a tuple of 3")),
    lists: (
        "teacher_forcing",
        "fail",
        None,
        "`decoder input` should be a tensor.",
        ("got", "a list of 1"),
    ),
    arrays: ("teacher_forcing", "fail", None, "`decoder input` should", ("got", "a NumPy array")),
    generates: ("teacher_forcing", "fail", None, "Your function should", ("got", "generator")),
    sparse: ("teacher_forcing", "fail", None, "`decoder input` sh", ("got", "a sparse tensor")),
    nested: ("teacher_forcing", "fail", None, "`decoder input` s", ("got", "a nested tensor")),
    transposed: (
        "teacher_forcing",
        "fail",
        None,
        "`decoder input` has the wrong shape.",
        ("got", "(4, 1): [[1], [7], [4], [9]]"),
    ),
    int32: (
        "teacher_forcing",
        "fail",
        None,
        "`decoder input` has the wrong dtype.",
        ("got", "torch.int32"),
    ),
    elsewhere: ("teacher_forcing", "fail", None, "`decoder input` has the wrong device", None),
    elsewhere_and_whole: (
        "teacher_forcing",
        "fail",
        None,
        "`decoder input` has the wrong shape.",
        ("got", "(1, 5)"),
    ),
    wrong_once: (
        "teacher_forcing",
        "fail",
        None,
        "`labels` has a wrong value.",
        ("where", "labels[0, 2], the only wrong one of 4"),
    ),
    random_labels: ("teacher_forcing", "fail", None, "Called twice with the same input", None),
    python_random: ("teacher_forcing", "fail", None, "Called twice with the same input", None),
    numpy_random: ("teacher_forcing", "fail", None, "Called twice with the same input", None),
    keeps_a_list: ("teacher_forcing", "fail", None, "Called twice with the same input", None),
    reuses_its_buffer: (
        "teacher_forcing",
        "fail",
        None,
        "What your function returned before changes when it is called again.",
        ("look for", "kept between calls"),
    ),
    not_a_number: ("token_loss", "fail", None, "`loss` is not a number (NaN).", ("got", "nan")),
    nan_for_short_rows: (
        "token_loss",
        "fail",
        None,
        "`loss` has a wrong value.",
        ("got", "inf"),
    ),
    detached: (
        "token_loss",
        "fail",
        "wrong_gradient",
        "The values are right, but the gradient that flows back is not.",
        ("expected", "a gradient for logits"),
    ),
    without_gradient: (
        "token_loss",
        "fail",
        "wrong_gradient",
        "The values are right, but",
        (
            "look for",
            ".item(), .tolist(), torch.tensor(…), nn.Parameter(…), .data, .detach() and "
            "torch.no_grad(), torch.set_grad_enabled(False): they cut gradients off",
        ),
    ),
    switches_gradients_off: (
        "token_loss",
        "fail",
        None,
        "Your function changes a setting and leaves it so.",
        ("changed", "whether gradients are recorded"),
    ),
    half_detached: (
        "token_loss",
        "fail",
        "wrong_gradient",
        "The values are right, but",
        ("where", "gradient of logits[0, 0, 0]"),
    ),
    number: ("token_loss", "fail", None, "`loss` should be a tensor.", ("got", "type float")),
    one_row: ("token_loss", "fail", None, "`loss` has the wrong shape.", ("got", "(1,)")),
    in_double: ("token_loss", "fail", None, "`loss` has the wrong dtype.", ("got", "float64")),
    forcing: ("teacher_forcing", "pass", None, right_on_all("teacher_forcing"), None),
    loss: ("token_loss", "pass", None, right_on_all("token_loss"), None),
}


def judged_wrongly(answer):
    """What is not as BEHAVIOURS says, or None."""
    exercise_id, status, name, sentence, fact = BEHAVIOURS[answer]
    verdict = check(exercise_id, answer)
    if (verdict.status, verdict.misconception) != (status, name):
        return f"{verdict.status} {verdict.misconception}"
    if not verdict.message.startswith(sentence) or len(verdict.message.splitlines()[0]) > 80:
        return verdict.message
    if fact and fact[1] not in dict(verdict.facts).get(fact[0], ""):
        return f"{fact} not in {verdict.facts}"
    return None


@pytest.mark.parametrize("answer", BEHAVIOURS, ids=lambda answer: answer.__name__)
def test_behaviour_gets_its_sentence(answer):
    assert judged_wrongly(answer) is None


def test_a_failed_gradient_shows_for_which_input():
    def mean_without_a_query(query, key, value, sharpness):
        return (sharpness * (key @ query)).softmax(0) @ value if sharpness else value.mean(0)

    verdict = check("soft_lookup", mean_without_a_query)
    facts = dict(verdict.facts)
    assert verdict.misconception == "wrong_gradient"
    assert facts["case"].endswith("with sharpness 0")
    assert facts["input"].startswith("query [") and facts["input"].endswith("sharpness 0")
    assert "a branch that does not use query" in facts["look for"]


@pytest.mark.parametrize("step", diagnosis.STEPS, ids=lambda step: step.__name__)
def test_each_step_of_the_diagnosis_is_needed(step, monkeypatch):
    """Without it, some answer gets another verdict, or the engine breaks."""
    fewer = tuple(other for other in diagnosis.STEPS if other is not step)
    monkeypatch.setattr(diagnosis, "STEPS", fewer)

    def breaks(answer):
        try:
            return judged_wrongly(answer) is not None
        except Exception:
            return True

    assert any(breaks(answer) for answer in BEHAVIOURS)


@pytest.mark.parametrize(
    "first, second",
    [
        (diagnosis.exception, diagnosis.stub_left_in),
        (diagnosis.none_returned, diagnosis.input_changed),
        (diagnosis.wrong_value, diagnosis.not_repeatable),
    ],
)
def test_order_of_the_diagnosis_matters(first, second, monkeypatch):
    def changes_input_and_forgets_return(tgt):
        tgt += 1

    monkeypatch.setitem(
        BEHAVIOURS, changes_input_and_forgets_return, (*BEHAVIOURS[changes_input][:4], None)
    )
    assert judged_wrongly(changes_input_and_forgets_return) is None
    steps = [step for step in diagnosis.STEPS if step is not first]
    steps.insert(steps.index(second), first)
    monkeypatch.setattr(diagnosis, "STEPS", tuple(steps))
    assert any(judged_wrongly(answer) for answer in BEHAVIOURS)


# --- naming a mistake -----------------------------------------------------------------------------


def small_exercise(monkeypatch, *mistakes, cases=((1.0,), (2.0,), (3.0,))):
    """Double a number, with known mistakes given as (slug, function)."""
    exercise = Exercise(
        id="double",
        lesson=1,
        signature="double(x ()) → doubled ()",
        returns=("doubled",),
        oracle=lambda x: 2 * x,
        cases=tuple(
            Case(f"case {number}", (torch.tensor(value),))
            for number, (value,) in enumerate(cases, start=1)
        ),
        misconceptions=tuple(
            Misconception(slug, f"You make the mistake {slug}.", answer)
            for slug, answer in mistakes
        ),
        hints=("Add.", "Add x.", "Add x to x."),
    )
    monkeypatch.setitem(engine.EXERCISES, "double", exercise)


def test_mistake_is_named(monkeypatch):
    small_exercise(monkeypatch, ("square", lambda x: x * x), ("same", lambda x: x))
    verdict = check("double", lambda x: x**2)
    assert (verdict.status, verdict.misconception) == ("fail", "square")
    assert verdict.message.startswith("You make the mistake square.")


def test_mistake_must_agree_on_all_cases(monkeypatch):
    small_exercise(monkeypatch, ("square", lambda x: x * x))
    verdict = check("double", lambda x: x * x if x < 3 else x)
    assert (verdict.status, verdict.misconception) == ("fail", None)
    assert dict(verdict.facts)["case"] == "case 1"


def test_two_mistakes_with_one_outcome_name_none(monkeypatch):
    small_exercise(monkeypatch, ("square", lambda x: x * x), ("power", lambda x: x**2))
    assert check("double", lambda x: x * x).misconception is None


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_equal_nan_or_infinity_names_nothing(monkeypatch, value):
    """Many mistakes end there; a wrong number beside them is evidence again."""
    small_exercise(monkeypatch, ("overflow", lambda x: 0 * x + value))
    assert check("double", lambda x: 0 * x + value).misconception is None
    small_exercise(monkeypatch, ("overflow", lambda x: x if x > 2 else 0 * x + value))
    assert check("double", lambda x: x if x > 2 else 0 * x + value).misconception == "overflow"


def test_equal_errors_alone_name_nothing(monkeypatch):
    def breaks(x):
        raise ValueError("too large")

    small_exercise(monkeypatch, ("breaks", breaks))
    assert check("double", breaks).misconception is None


@pytest.mark.parametrize("n_wrong, name", [(1, None), (2, None), (3, "off_by_one")])
def test_few_wrong_whole_numbers_name_nothing(monkeypatch, n_wrong, name):
    """One or two of them may agree by chance."""
    cases = [(value,) for value in (1, 2, 3)]
    small_exercise(monkeypatch, ("off_by_one", lambda x: 2 * x + (x <= n_wrong)), cases=cases)
    verdict = check("double", lambda x: 2 * x + (x <= n_wrong))
    assert (verdict.status, verdict.misconception) == ("fail", name)


def test_raising_mistake_needs_the_same_error(monkeypatch):
    def broken(text):
        def answer(x):
            if x > 1:
                raise ValueError(text)
            return x

        return answer

    small_exercise(monkeypatch, ("breaks", broken("too large")))
    assert check("double", broken("too large")).misconception == "breaks"
    assert check("double", broken("too small")).misconception is None
    assert check("double", lambda x: x).misconception is None


def test_mistake_in_another_dtype_is_not_named(monkeypatch):
    small_exercise(monkeypatch, ("square", lambda x: x * x))
    assert check("double", lambda x: x.double() ** 2).misconception is None


def test_random_answer_is_never_named(monkeypatch):
    """Even if its first calls happen to agree with a known mistake."""
    small_exercise(monkeypatch, ("same", lambda x: x))
    calls = []

    def first_call_of_each_pair(x):
        calls.append(x)
        return x if len(calls) != 2 else x + 1

    assert check("double", first_call_of_each_pair).misconception is None


def test_diagnosis_stops_at_the_first_failing_case(monkeypatch):
    small_exercise(monkeypatch)
    verdict = check("double", lambda x: 2 * x if x < 2 else None)
    assert dict(verdict.facts)["case"] == "case 2"
    assert verdict.message.startswith("Your function returns None")


def test_numbers_that_look_alike_are_shown_in_full(monkeypatch):
    small_exercise(monkeypatch, cases=((1.0,), (1234.0,)))
    facts = dict(check("double", lambda x: 2 * x * 1.00015).facts)
    assert (facts["expected"], facts["got"]) == ("2", "2.00029993")


@pytest.mark.parametrize("factor, status", [(1 + 2e-6, "pass"), (1 + 2e-3, "fail")])
def test_tolerance(monkeypatch, factor, status):
    small_exercise(monkeypatch)
    assert check("double", lambda x: 2 * x * factor).status == status


# --- results that are no tensors ------------------------------------------------------------------


def groups(digits, n):
    """The right answer to from_right."""
    first = len(digits) % n
    return [digits[:first]] * (first > 0) + [
        digits[i : i + n] for i in range(first, len(digits), n)
    ]


def pair_counts(words):
    """The right answer to count_pairs."""
    pairs = [pair for word in words for pair in itertools.pairwise(word)]
    return {pair: pairs.count(pair) for pair in pairs}


def kept_dict():
    counts = {}

    def answer(words):
        counts.clear()
        counts.update(pair_counts(words))
        return counts

    return answer


def empties_words(words):
    counts = pair_counts(words)
    words.clear()
    return counts


class Nameless:
    def __repr__(self):
        raise ZeroDivisionError


NAMELESS = Nameless()
UNFINISHED = (
    "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xc3 in position 1: unexpected end of data"
)


# What an answer returns → exercise, answer, the first sentence, and facts.
WITHOUT_TENSORS = {
    "another kind": (
        "from_right",
        lambda digits, n: tuple(groups(digits, n)),
        "`groups` should be a list.",
        {"expected": "a list", "got": "a tuple of 2"},
    ),
    "a tensor": (
        "bits_per_character",
        lambda nll, n_tokens, text: torch.tensor(1.0),
        "`bits` should be a number (float).",
        {"got": "one tensor"},
    ),
    "True is no number": (
        "bits_per_character",
        lambda nll, n_tokens, text: True,
        "`bits` should be a number (float).",
        {"got": "a value of type bool"},
    ),
    "a number too large for a float": (
        "bits_per_character",
        lambda nll, n_tokens, text: 10**400,
        "`bits` has a wrong value.",
        {"expected": "1"},
    ),
    "no number": (
        "bits_per_character",
        lambda nll, n_tokens, text: float("nan"),
        "`bits` has a wrong value.",
        {"got": "nan"},
    ),
    "one of two": (
        "whole_text",
        lambda data: data.decode(),
        "Your function should return 2 values.",
        {"expected": "2 values: text, rest", "got": "a value of type str"},
    ),
    "the second of another kind": (
        "whole_text",
        lambda data: (data.decode(), ""),
        "`rest` should be bytes.",
        {"input": "data b'two'"},
    ),
    "a short list is shown in full": (
        "from_right",
        lambda digits, n: ["12", "3456"],
        "`groups` has a wrong value.",
        {
            "where": "groups[0], the first of 2 wrong ones",
            "expected": "['123', '456']",
            "got": "['12', '3456']",
            "input": "digits '123456', n 3",
        },
    ),
    "a long list is shown where it is wrong": (
        "from_right",
        lambda digits, n: groups(digits, n)[: 40 if n == 7 else None],
        "`groups` has a wrong value.",
        {"where": "groups[40], the first of 3 wrong ones", "got": "nothing"},
    ),
    "an entry too few": (
        "count_pairs",
        lambda words: dict(list(pair_counts(words).items())[:1]),
        "`counts` has a wrong value.",
        {"where": "counts[(6, 5)]", "got": "{(5, 6): 2}"},
    ),
    "floats in place of whole numbers": (
        "count_pairs",
        lambda words: {pair: float(n) for pair, n in pair_counts(words).items()},
        "`counts` has a wrong value.",
        {"expected": "{(5, 6): 1}", "got": "{(5, 6): 1.0}"},
    ),
    "something that cannot be written": (
        "from_right",
        lambda digits, n: [NAMELESS],
        "`groups` has a wrong value.",
        {"got": "a value of type list"},
    ),
    "an address": (
        "from_right",
        lambda digits, n: [groups],
        "`groups` has a wrong value.",
        {"got": "[<function groups at 0x…>]"},
    ),
    "long text": (
        "whole_text",
        lambda data: (
            (data.decode(errors="replace")[:400], b"")
            if len(data) > 400
            else engine.EXERCISES["whole_text"].oracle(data)
        ),
        "`text` has a wrong value.",
        {"got": "… 'e語Z😀QäJßE語B😀' … (from character 388)"},
    ),
    "an error that names a byte": (
        "whole_text",
        lambda data: (data.decode(), b""),
        "Your function stopped with an error in line",
        {"error": UNFINISHED},
    ),
    "a dict kept between calls": (
        "count_pairs",
        kept_dict(),
        "What your function returned before changes when it is called again.",
        {},
    ),
    "a changed list": (
        "count_pairs",
        empties_words,
        "Your function changes its input `words` in place.",
        {"before": "words [[5, 6]]", "after": "words []"},
    ),
}


@pytest.mark.parametrize(
    "exercise_id, answer, sentence, facts", WITHOUT_TENSORS.values(), ids=WITHOUT_TENSORS
)
def test_lists_dicts_text_and_numbers_get_their_sentence(exercise_id, answer, sentence, facts):
    verdict = check(exercise_id, answer)
    assert (verdict.status, verdict.misconception) == ("fail", None)
    assert verdict.message.startswith(sentence)
    for label, text in facts.items():
        assert dict(verdict.facts)[label] == text


@pytest.mark.parametrize("kind", [dict, Counter, lambda counts: defaultdict(int, counts)])
def test_any_dict_is_a_dict(kind):
    assert check("count_pairs", lambda words: kind(pair_counts(words))).status == "pass"


@pytest.mark.parametrize(
    "value, expected, n",
    [
        ([1, 2, 3], [1, 2, 3], 0),
        ([1, 5, 3], [1, 2, 3], 1),
        ([1, 5], [1, 2, 3], 2),  # of another length: all its elements
        (["12", "3"], ["1", "23"], 2),
        ({1: 2, 3: 4}, {1: 2, 5: 4}, 2),  # one too many, one missing
        ((b"a", "b"), (b"a", "c"), 1),
        (1.5, 1.5 + 1e-9, 0),
        (1.5, 2.5, diagnosis.ENOUGH),
        (float("inf"), 2.5, 0),
        (10**400, 3, 1),
    ],
)
def test_evidence_of_what_is_no_tensor(value, expected, n):
    assert diagnosis.evidence(value, expected) == n


# --- calling safely -------------------------------------------------------------------------------


@pytest.fixture
def short_limit(monkeypatch):
    monkeypatch.setattr(calling, "TIME_LIMIT", 0.3)
    monkeypatch.setattr(calling, "WAIT_LIMIT", 3)


def loops(tgt):
    while True:
        pass


def loops_and_catches(tgt):
    while True:
        with contextlib.suppress(Exception):
            tgt = tgt + 0


def sleeps(tgt):
    time.sleep(60)


def hangs_on_long_sentences(tgt):
    while tgt.shape[1] > 5:
        pass
    return tgt, tgt


@pytest.mark.parametrize("answer", [loops, loops_and_catches])
def test_endless_answer_is_stopped(answer, short_limit):
    verdict = check("teacher_forcing", answer)
    assert verdict.status == "fail"
    assert verdict.message.startswith("teacher_forcing was stopped after computing 0.3 seconds.")


def test_sleeping_answer_is_stopped_by_the_clock_on_the_wall(short_limit):
    verdict = check("teacher_forcing", sleeps)
    assert verdict.status == "fail"
    assert verdict.message.startswith("teacher_forcing was stopped: it waited for 3 seconds.")


def test_slow_machine_is_no_mistake(short_limit):
    """One second on the wall, of which the answer computes nothing, as beside other programs."""

    def waits(tgt):
        time.sleep(0.1)
        return forcing(tgt)

    assert check("teacher_forcing", waits).status == "pass"
    verdicts = []
    thread = threading.Thread(target=lambda: verdicts.append(check("teacher_forcing", waits)))
    thread.start()
    thread.join(timeout=20)
    assert verdicts[0].status == "pass"


def test_hanging_on_a_later_case_names_nothing(short_limit):
    verdict = check("teacher_forcing", hangs_on_long_sentences)
    assert (verdict.status, verdict.misconception) == ("fail", None)


@pytest.mark.parametrize("answer", [loops, loops_and_catches])
def test_endless_answer_is_stopped_where_there_are_no_signals(answer, short_limit):
    """In another thread, as on Windows."""
    verdicts = []
    thread = threading.Thread(target=lambda: verdicts.append(check("teacher_forcing", answer)))
    thread.start()
    thread.join(timeout=20)
    sentence = "teacher_forcing was stopped after computing 0.3 seconds."
    assert verdicts[0].message.startswith(sentence)


def test_time_limit_leaves_nothing_behind(short_limit):
    check("teacher_forcing", forcing)
    started = time.monotonic()
    while time.monotonic() - started < 0.5:
        pass


def test_interrupt_by_the_user_comes_through():
    def interrupted(tgt):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check("teacher_forcing", interrupted)


def test_printing_is_shown_in_the_verdict_only(capfd):
    def prints(tgt):
        print("shape", tuple(tgt.shape))
        print("oh", file=sys.stderr)
        warnings.warn("careful", stacklevel=1)
        return tgt

    verdict = check("teacher_forcing", prints)
    assert dict(verdict.facts)["printed"] == "shape (1, 5)\noh"
    assert dict(verdict.facts)["warning"] == "careful"
    assert capfd.readouterr() == ("", "")


def test_warnings_are_shown_every_time_and_without_paths():
    """torch gives this one once in a process, and ends it with a line of its source."""

    def turns_all_axes(states, src):
        return states.T

    verdict = check("last_real_state", turns_all_axes)
    assert dict(verdict.facts)["warning"].startswith("The use of `x.T` on tensors of dimension")
    assert "Triggered" not in verdict.message
    assert check("last_real_state", turns_all_axes) == verdict


def test_warning_of_a_right_answer_is_left_out():
    def warns(tgt):
        warnings.warn("careful", stacklevel=1)
        return forcing(tgt)

    assert check("teacher_forcing", warns).facts == ()


def test_row_of_large_inputs_is_shown():
    def columns(predicted, tgt):
        return (predicted == tgt[:, 1:]).all(dim=1)

    facts = dict(check("exact_match", columns).facts)
    assert facts["where"].startswith("matched[0]")
    assert facts["row 0"] == "predicted 8 5 2 9 4 | tgt 1 8 5 2 0 0"
    assert not any(label.startswith("row") for label, _ in check("token_loss", half).facts)


@pytest.mark.parametrize("place, shown", [(0, "0 … 23 …"), (50, "… 38 … 61 …"), (99, "… 76 … 99")])
def test_long_row_is_shown_around_what_is_wrong(place, shown):
    ids = diagnosis.ids_around(list(range(100)), place).split()
    numbers = [int(word) for word in ids if word != "…"]
    assert numbers == list(range(numbers[0], numbers[0] + 24)) and place in numbers
    dots = ["…"] * (ids[0] == "…"), ["…"] * (ids[-1] == "…")
    assert " ".join([*dots[0], str(numbers[0]), "…", str(numbers[-1]), *dots[1]]) == shown
    assert diagnosis.ids_around([5, 6], 1) == "5 6"


def test_numbers_of_an_input_are_rounded_but_never_away():
    numbers = torch.tensor([[0.1, 1e-6, 0.00012346], [10001.0, -2.34567, torch.inf]])
    assert diagnosis.listed(numbers) == "[[0.1, 1e-06, 0.0001235], [10001.0, -2.3457, inf]]"
    assert diagnosis.listed(torch.tensor([2**40, -1])) == f"[{2**40}, -1]"


def test_negative_zero_is_zero():
    verdict = check("token_loss", lambda logits, labels, pad=0: -0.0 * logits.sum())
    assert dict(verdict.facts)["got"] == "0"


def test_model_shows_what_it_says():
    verdict = check("greedy_decode", lambda model, src, max_steps: src + 1)
    assert "model (4 → 7 5 2 9 8 2 6 4, 5 → 6 2 8" in dict(verdict.facts)["input"]


def test_long_printing_is_cut():
    def prints(tgt):
        for _ in range(1000):
            print("x" * 1000)

    printed = dict(check("teacher_forcing", prints).facts)["printed"].splitlines()
    assert len(printed) == 10
    assert all(len(line) <= 200 for line in printed)


def test_printing_of_a_right_answer_is_mentioned(capfd):
    def prints(tgt):
        print("shape", tuple(tgt.shape))
        return forcing(tgt)

    verdict = check("teacher_forcing", prints)
    assert verdict.status == "pass"
    assert "printed" in dict(verdict.facts)
    assert capfd.readouterr() == ("", "")


def test_memory_addresses_are_left_out():
    def prints(tgt):
        print(object())
        raise ValueError(f"bad {object()}")

    verdict = check("teacher_forcing", prints)
    assert "object at 0x…>" in verdict.message
    assert verdict.message == check("teacher_forcing", prints).message


@pytest.mark.parametrize("answer", [wrong_once, raises, random_labels, detached])
def test_text_is_the_same_every_time(answer):
    exercise_id = BEHAVIOURS[answer][0]
    first, second = check(exercise_id, answer), check(exercise_id, answer)
    assert first == second
    assert first._repr_mimebundle_() == second._repr_mimebundle_()


def test_random_numbers_of_the_notebook_go_on():
    def seeds_and_draws(tgt):
        torch.manual_seed(5), random.seed(5), np.random.seed(5)
        return forcing(tgt)

    def draw():
        return torch.rand(1).item(), random.random(), np.random.rand()

    seed_everything(1)
    undisturbed = draw()
    seed_everything(1)
    assert check("teacher_forcing", seeds_and_draws).status == "pass"
    assert draw() == undisturbed


def test_gradients_switched_off_in_the_notebook_do_no_harm():
    with torch.no_grad():
        assert check("token_loss", loss).status == "pass"


class Answer:
    """A callable object instead of a function."""

    def __call__(self, tgt):
        return forcing(tgt)


@pytest.mark.parametrize("answer", [Answer(), torch.no_grad()(forcing), lambda tgt: forcing(tgt)])
def test_anything_callable_is_an_answer(answer):
    assert check("teacher_forcing", answer).status == "pass"


@pytest.mark.parametrize("answer", [None, 3, forcing(torch.ones(2, 3)), "teacher_forcing"])
def test_not_callable(answer):
    verdict = check("teacher_forcing", answer)
    assert verdict.status == "fail"
    assert verdict.message.startswith("check needs your function itself")


def test_model_changed_in_place_is_noticed():
    def spoils_model(model, src, max_steps):
        model.plans[0][0] = 9
        return src

    verdict = check("greedy_decode", spoils_model)
    assert verdict.message.startswith("Your function changes its input `model` in place.")
    assert check("greedy_decode", engine.EXERCISES["greedy_decode"].oracle).status == "pass"


# --- check itself ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "exercise_id, says",
    [
        ("tokenloss", "token_loss"),
        ("teacher-forcing", "teacher_forcing"),
        ("qqq", "exact_match"),
        (forcing, "teacher_forcing"),
        ([], "teacher_forcing"),
    ],
)
def test_unknown_id(exercise_id, says):
    with pytest.raises(ValueError, match=says):
        check(exercise_id, forcing)


@pytest.mark.parametrize("expected", ["todo", "pass"])
def test_expected_verdict(monkeypatch, expected):
    monkeypatch.setenv("LESSONS_EXPECT", expected)
    answers = {"todo": stub, "pass": forcing, "fail": lists}
    assert check("teacher_forcing", answers.pop(expected)).status == expected
    for status, answer in answers.items():
        with pytest.raises(AssertionError, match=f"expected {expected}, got {status}") as caught:
            check("teacher_forcing", answer)
        assert "teacher_forcing" in str(caught.value)


def test_expected_verdict_with_another_value(monkeypatch):
    monkeypatch.setenv("LESSONS_EXPECT", "passed")
    with pytest.raises(ValueError, match='"todo" or "pass", got "passed"'):
        check("teacher_forcing", forcing)


def test_nothing_is_raised_by_default(monkeypatch):
    monkeypatch.delenv("LESSONS_EXPECT", raising=False)
    assert [check("teacher_forcing", answer).status for answer in (stub, lists, forcing)] == [
        "todo",
        "fail",
        "pass",
    ]


# --- display --------------------------------------------------------------------------------------


def test_display():
    def breaks(tgt):
        raise ValueError("a < b & <script>")

    bundle = check("teacher_forcing", breaks)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    html, plain = bundle["text/html"], bundle["text/plain"]
    assert "<script>" not in html and "a &lt; b &amp; &lt;script&gt;" in html
    assert "✗ not yet" in html and html.count("<details") == 3 and " open" not in html
    assert plain.startswith("✗ not yet: teacher_forcing\nYour function stopped")
    assert plain.count("\n") < 10 and "<" not in plain.replace("a < b & <script>", "")


def test_display_of_a_pass_has_no_hints():
    bundle = check("teacher_forcing", forcing)._repr_mimebundle_()
    assert bundle["text/plain"] == "✓ passed: teacher_forcing\n" + right_on_all("teacher_forcing")
    assert "<details" not in bundle["text/html"]


# --- what check leaves behind, and what it stands ---------------------------------------------


@pytest.fixture
def torch_defaults():
    """Two threads, double precision and the meta device, put back after the test."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    yield
    torch.set_default_device("cpu")
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)


def test_torch_defaults_of_the_notebook_neither_count_nor_change(torch_defaults):
    assert check("teacher_forcing", forcing).status == "pass"
    assert torch.get_num_threads() == 2
    assert torch.get_default_dtype() == torch.float64
    assert torch.get_default_device().type == "meta"


SET_BY_AN_ANSWER = {
    "dtype": (torch.get_default_dtype, lambda: torch.set_default_dtype(torch.float64)),
    "threads": (torch.get_num_threads, lambda: torch.set_num_threads(3)),
    "gradients": (torch.is_grad_enabled, lambda: torch.set_grad_enabled(False)),
    "anomaly": (torch.is_anomaly_enabled, lambda: torch.set_anomaly_enabled(True)),
    "precision": (
        torch.get_float32_matmul_precision,
        lambda: torch.set_float32_matmul_precision("medium"),
    ),
    "deterministic": (
        torch.are_deterministic_algorithms_enabled,
        lambda: torch.use_deterministic_algorithms(True),
    ),
    "printing": (
        lambda: repr(torch.tensor([1 / 3])),
        lambda: torch.set_printoptions(precision=2),
    ),
    "numpy_printing": (
        lambda: repr(np.array([1 / 3])),
        lambda: np.set_printoptions(precision=2),
    ),
    "tiny_numbers": (
        lambda: (torch.tensor([1e-40]) * 1).item(),
        lambda: torch.set_flush_denormal(True),
    ),
    "numpy_errors": (np.geterr, lambda: np.seterr(all="raise")),
    "recursion": (sys.getrecursionlimit, lambda: sys.setrecursionlimit(5000)),
    "folder": (os.getcwd, lambda: os.chdir(os.sep)),
    "environment": (lambda: dict(os.environ), lambda: os.environ.update(NEW="1")),
    "warnings": (lambda: list(warnings.filters), lambda: warnings.simplefilter("ignore")),
}


@pytest.mark.parametrize("get, change", SET_BY_AN_ANSWER.values(), ids=SET_BY_AN_ANSWER)
def test_settings_that_an_answer_changes_are_put_back(get, change):
    def changes_and_answers(tgt):
        change()
        return forcing(tgt)

    before = get()
    verdict = check("teacher_forcing", changes_and_answers)
    assert get() == before
    if change is SET_BY_AN_ANSWER["warnings"][1]:  # recorded anyway, and put back by Python
        assert verdict.status == "pass"
    else:
        assert (verdict.status, verdict.misconception) == ("fail", None)
        assert verdict.message.startswith("Your function changes a setting and leaves it so.")
        assert dict(verdict.facts)["changed"].count(",") <= 1  # one setting may bring another


class Unspeakable(Exception):
    def __str__(self):
        raise ZeroDivisionError


def raises_unspeakable(tgt):
    raise Unspeakable


def returns_what_cannot_be_copied(tgt):
    return torch.zeros(1).long().expand(10**7, 10**7), tgt


def closes_stdout(tgt):
    sys.stdout.close()
    return tgt, tgt


@pytest.mark.parametrize(
    "answer", [raises_unspeakable, returns_what_cannot_be_copied, closes_stdout]
)
def test_check_itself_never_fails(answer):
    assert check("teacher_forcing", answer).status == "fail"


def test_an_error_text_is_shown_from_its_first_full_line_and_printable():
    def raises_strange_text(tgt):
        raise ValueError("\n\nlone \ud800 and \x1b[31m red")

    verdict = check("teacher_forcing", raises_strange_text)
    assert ("error", "ValueError: lone \ufffd and \ufffd[31m red") in verdict.facts
    repr(verdict).encode("utf-8")


def test_parallel_checks_leave_standard_output_alone():
    before = sys.stdout, sys.stderr
    threads = [threading.Thread(target=check, args=("token_loss", loss)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_an_alarm_of_somebody_else_goes_on():
    signal.setitimer(signal.ITIMER_REAL, 60)
    try:
        check("teacher_forcing", forcing)
        assert 30 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
