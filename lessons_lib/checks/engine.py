"""`check`: judge an answer, and name the mistake only when it is certain."""

import difflib
import os
import threading
from collections.abc import Callable

from lessons_lib.checks import (
    bahdanau_attention,
    decoding,
    diagnosis,
    masking,
    multi_head_attention,
    positional_encoding,
    rnn_bottleneck,
    self_attention,
    tokenization,
    transformer,
    words_to_tensors,
)
from lessons_lib.checks.calling import Outcome, call
from lessons_lib.checks.diagnosis import Finding, Trial, alike
from lessons_lib.checks.exercise import Case, Exercise, Misconception, Property
from lessons_lib.checks.verdict import Verdict
from lessons_lib.learner.record import remember

LESSONS = (
    words_to_tensors,
    rnn_bottleneck,
    bahdanau_attention,
    self_attention,
    masking,
    multi_head_attention,
    positional_encoding,
    transformer,
    decoding,
    tokenization,
)
EXERCISES = {exercise.id: exercise for lesson in LESSONS for exercise in lesson.EXERCISES}

# Standard output, random numbers and defaults belong to the whole process, not to a thread.
ONE_AT_A_TIME = threading.RLock()


def check(exercise_id: str, answer: Callable) -> Verdict:
    """Judge `answer`, the learner's function, for the exercise `exercise_id`.

    Prints nothing; the verdict shows itself as the last expression of a cell. In the learner's
    folder work/ it is recorded for `python -m lessons_lib progress`. The environment variable
    LESSONS_EXPECT ("todo" or "pass") says which verdict is expected.

    Raises:
        ValueError: if there is no such exercise, or LESSONS_EXPECT has another value.
        AssertionError: if LESSONS_EXPECT is set and the verdict is another one.
    """
    expected_status = os.environ.get("LESSONS_EXPECT", "")
    if expected_status not in ("", "todo", "pass"):
        raise ValueError(f'LESSONS_EXPECT must be "todo" or "pass", got "{expected_status}"')
    with ONE_AT_A_TIME:
        verdict = judge(find(exercise_id), answer)
    if not expected_status:
        remember(exercise_id, verdict.status, verdict.misconception, verdict.sentence)
    if expected_status not in ("", verdict.status):
        raise AssertionError(f"expected {expected_status}, got {verdict.status}\n{verdict!r}")
    return verdict


def find(exercise_id: str) -> Exercise:
    """The exercise of that id; ValueError names the ids that come close, or all."""
    if isinstance(exercise_id, str) and exercise_id in EXERCISES:
        return EXERCISES[exercise_id]
    near = difflib.get_close_matches(str(exercise_id), EXERCISES) or list(EXERCISES)
    raise ValueError(f"there is no exercise {exercise_id!r}; did you mean: {', '.join(near)}?")


def judge(exercise: Exercise, answer: Callable) -> Verdict:
    """Try the cases, then the properties; the first thing that is wrong ends it."""
    if not callable(answer):
        sentence = "check needs your function itself, not what it returns."
        facts = (("expected", exercise.signature), ("got", diagnosis.kind(answer)))
        return Verdict(exercise.id, "fail", None, sentence, facts, exercise.hints)
    prints, before = False, None
    for case in exercise.cases:
        trial = try_case(exercise, answer, case, before)
        before = trial.first
        for step in diagnosis.STEPS:
            if finding := step(trial):
                name = sure_name(exercise, answer) if finding.nameable else None
                return explain(exercise, finding, name)
        prints = prints or trial.first.printed != ""
    for law in exercise.properties:
        if broken := broken_law(exercise, answer, law):
            return broken
    facts = (("printed", "left out, because all is well"),) if prints else ()
    sentence = f"Right on all {len(exercise.cases)} cases."
    return Verdict(exercise.id, "pass", None, sentence, facts)


def try_case(
    exercise: Exercise, answer: Callable, case: Case, before: Outcome | None = None
) -> Trial:
    """Call the answer twice and the reference once; `before` is the outcome of the case before."""
    expected = call(exercise.oracle, case.args).value
    first = call(answer, case.args, seed=0)
    second = first if first.error else call(answer, case.args, seed=1)
    return Trial(exercise, case, expected, first, second, before)


def sure_name(exercise: Exercise, answer: Callable) -> Misconception | None:
    """The known mistake that leads to the same outcome on all cases, if there is exactly one.

    And if the outcomes say enough: NaN and errors have many causes.
    """
    candidates, evidence = list(exercise.misconceptions), 0
    for case in exercise.cases:
        outcome = call(answer, case.args)
        candidates = [
            mistake for mistake in candidates if same(call(mistake.answer, case.args), outcome)
        ]
        if not candidates:
            return None
        evidence += diagnosis.evidence(outcome.value, call(exercise.oracle, case.args).value)
    one_name = len({mistake.slug for mistake in candidates}) == 1
    return candidates[0] if one_name and evidence >= diagnosis.ENOUGH else None


def same(one: Outcome, other: Outcome) -> bool:
    """Like values, or the same error with the same text: other errors have other causes."""
    errors = [(type(outcome.error), diagnosis.said(outcome.error)) for outcome in (one, other)]
    return errors[0] == errors[1] and alike(one.value, other.value)


def explain(exercise: Exercise, finding: Finding, name: Misconception | None) -> Verdict:
    """Put a finding into words: the mistake's own sentence if it has a name."""
    slug, sentence = (name.slug, name.sentence) if name else (None, finding.sentence)
    return Verdict(exercise.id, finding.status, slug, sentence, finding.facts, exercise.hints)


def broken_law(exercise: Exercise, answer: Callable, law: Property) -> Verdict | None:
    """The verdict on an answer that breaks a property, or None."""
    outcome = call(lambda: law.counterexample(answer), ())
    trial = Trial(exercise, Case(law.idea, law.args), None, outcome, outcome)
    for step in (diagnosis.stub_left_in, diagnosis.exception):
        if finding := step(trial):
            return explain(exercise, finding, None)
    if outcome.value is None:
        return None
    facts = trial.facts(*outcome.value)
    return Verdict(exercise.id, "fail", law.slug, law.sentence, facts, exercise.hints)
