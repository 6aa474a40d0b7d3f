"""Law 5: every exercise is a tested artefact. Loops over all exercises of all lessons."""

import doctest
import importlib
import inspect
import itertools
import os
import subprocess
import sys

import pytest
import torch

from lessons_lib.checks import calling, check
from lessons_lib.checks.calling import call
from lessons_lib.checks.engine import EXERCISES, LESSONS, same
from tests.laws.project import ROOT, Cell, cells

STEMS = [lesson.__name__.rpartition(".")[2] for lesson in LESSONS]
RIGHT, NAMED, UNNAMED = {}, {}, {}
for stem in STEMS:
    answers = importlib.import_module(f"tests.answers.{stem}")
    RIGHT |= answers.RIGHT
    NAMED |= getattr(answers, "NAMED", {})
    UNNAMED |= answers.UNNAMED


def each(collection):
    """One parameter per exercise and function."""
    return [
        pytest.param(id, answer, id=f"{id}-{number}-{answer.__name__}")
        for id, answers in collection.items()
        for number, answer in enumerate(answers)
    ]


def each_mistake():
    return [
        pytest.param(exercise, mistake, id=f"{exercise.id}-{mistake.slug}")
        for exercise in EXERCISES.values()
        for mistake in exercise.misconceptions
    ]


@pytest.fixture(params=EXERCISES.values(), ids=list(EXERCISES))
def exercise(request):
    return request.param


def first_sentence(verdict):
    return verdict.message.splitlines()[0]


def test_ids_are_unique():
    assert len(EXERCISES) == sum(len(lesson.EXERCISES) for lesson in LESSONS)


@pytest.mark.parametrize("mistake_of, mistake", each_mistake())
def test_known_mistake_gets_its_own_name(mistake_of, mistake):
    verdict = check(mistake_of.id, mistake.answer)
    assert (verdict.status, verdict.misconception) == ("fail", mistake.slug)
    assert first_sentence(verdict) == mistake.sentence
    assert len(mistake.sentence) <= 80
    assert {"expected", "got"} <= {label for label, _ in verdict.facts} or "error" in dict(
        verdict.facts
    )


def test_known_mistakes_are_pairwise_distinguishable(exercise):
    outcomes = [
        (mistake.slug, [call(mistake.answer, case.args) for case in exercise.cases])
        for mistake in exercise.misconceptions
    ]
    assert len({slug for slug, _ in outcomes}) >= 3
    for (one, ones), (other, others) in itertools.combinations(outcomes, 2):
        assert not all(map(same, ones, others)), f"{one} and {other} do the same on all cases"


@pytest.mark.parametrize("id, answer", each(RIGHT))
def test_right_answer_in_another_style_passes(id, answer):
    verdict = check(id, answer)
    assert verdict.status == "pass", verdict
    assert len(first_sentence(verdict)) <= 80


def test_enough_answers_are_tried(exercise):
    assert len(RIGHT[exercise.id]) >= 4
    assert len(UNNAMED[exercise.id]) >= 2
    assert check(exercise.id, exercise.oracle).status == "pass"


@pytest.mark.parametrize(
    "id, slug, answer",
    [
        pytest.param(id, slug, answer, id=f"{id}-{slug}-{answer.__name__}")
        for id, answers in NAMED.items()
        for slug, of_that_name in answers.items()
        for answer in of_that_name
    ],
)
def test_attempt_of_a_learner_gets_the_right_name(id, slug, answer):
    verdict = check(id, answer)
    assert (verdict.status, verdict.misconception) == ("fail", slug), verdict
    assert len(first_sentence(verdict)) <= 80


@pytest.mark.parametrize("id, answer", each(UNNAMED))
def test_wrong_answer_of_no_known_kind_fails_without_a_name(id, answer):
    verdict = check(id, answer)
    assert (verdict.status, verdict.misconception) == ("fail", None), verdict
    assert len(first_sentence(verdict)) <= 80


def test_unsolved_is_to_do(exercise):
    def stub(*args):
        raise NotImplementedError

    verdict = check(exercise.id, stub)
    assert verdict.status == "todo"
    assert exercise.signature in verdict.message


def test_hints_grow(exercise):
    sizes = [len(hint) for hint in exercise.hints]
    assert len(sizes) == 3
    assert sizes[0] >= 20
    assert sizes == sorted(set(sizes)), "each hint says more than the one before"
    assert "(" not in exercise.hints[0], "the first hint asks, it gives no code away"
    assert check(exercise.id, None).hints == exercise.hints


def test_signature_names_the_parameters_in_order(exercise):
    head = exercise.signature.partition("(")[2].partition("→")[0]
    places = [head.index(name) for name in inspect.signature(exercise.oracle).parameters]
    assert places == sorted(places)
    assert exercise.signature.startswith(f"{exercise.id}(")


def test_cases_differ_in_idea(exercise):
    """Those of the properties too: a verdict shows no more of them than the idea and the input."""
    assert len(exercise.cases) >= 3
    ideas = [judged.idea for judged in (*exercise.cases, *exercise.properties)]
    assert len(set(ideas)) == len(ideas)


def sizes(case):
    """What a function could keep results by: shapes and dtypes of tensors, and other numbers."""
    return [
        (tuple(arg.shape), arg.dtype) if isinstance(arg, torch.Tensor) else repr(arg)
        for arg in case.args
    ]


def test_two_cases_in_a_row_have_the_same_sizes_and_other_numbers(exercise):
    """Whoever keeps results by their sizes, or returns the same memory again, is found out."""
    tensors = [[arg for arg in case.args if torch.is_tensor(arg)] for case in exercise.cases]
    if not any(tensors):
        return
    assert any(
        sizes(one) == sizes(other) and not all(map(torch.equal, ones, others))
        for (one, ones), (other, others) in itertools.pairwise(
            zip(exercise.cases, tensors, strict=True)
        )
    )


def test_check_is_quick_enough_to_be_used(exercise, monkeypatch):
    """No call may come near the time limit: a tenth of it is plenty."""
    monkeypatch.setattr(calling, "TIME_LIMIT", calling.TIME_LIMIT / 10)
    assert check(exercise.id, exercise.oracle).status == "pass"


# --- the notebooks --------------------------------------------------------------------------------

NOTEBOOKS = sorted(path.name for path in (ROOT / "solutions").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS)
def name(request):
    return request.param


def checked_ids(notebook: list[Cell]) -> dict[str, Cell]:
    """The check cells of a notebook by exercise id."""
    return {
        id: cell
        for cell in notebook
        for id in EXERCISES
        if cell.is_code and f'check("{id}", {id})' in cell.source
    }


@pytest.mark.parametrize("room, status", [("exercises", "todo"), ("solutions", "pass")])
def test_notebook_says_what_it_should(room, status, name, monkeypatch):
    """Run the cells with LESSONS_EXPECT set, which raises on any other verdict."""
    monkeypatch.setenv("LESSONS_EXPECT", status)
    notebook, namespace = cells(ROOT, ROOT / room / name), {}
    assert checked_ids(notebook)
    for cell in notebook:
        if cell.is_code:
            exec(compile(cell.source, f"<{cell.where}>", "exec"), namespace)
    word = {"todo": "to do", "pass": "passed"}[status]
    for id, cell in checked_ids(notebook).items():
        assert f"{word}: {id}" in cell.shown_text


OWED = (
    "**What every answer owes.** What you are given stays as it is: change nothing in place. "
    "Numbers come back in the dtype of the inputs, torch.float32; ids, positions and counts as "
    "torch.int64; masks and other truth values as torch.bool. Gradients flow from every "
    "floating-point number that you return to every input of floating-point numbers. The same "
    "input gives the same answer, no later call changes an answer that was given, and torch's "
    "settings stay as they are. Sizes are any sizes from 1 on; tensors are contiguous."
)


OWED_WITHOUT_TENSORS = (
    "**What every answer owes.** What you are given stays as it is: change nothing in place. "
    "Nothing here is a tensor: lists come back as lists, whole numbers as int, "
    "other numbers as float, text as str, bytes as bytes. "
    "The same input gives the same answer, no later call changes an answer that was given, "
    "and the settings of Python and torch stay as they are."
)


def test_notebook_says_what_every_check_demands(name):
    lesson = int(name.partition("_")[0])
    exercises = [exercise for exercise in EXERCISES.values() if exercise.lesson == lesson]
    given = [arg for exercise in exercises for case in exercise.cases for arg in case.args]
    owed = OWED if any(map(torch.is_tensor, given)) else OWED_WITHOUT_TENSORS
    assert cells(ROOT, ROOT / "exercises" / name)[0].source.endswith(owed)


def test_every_exercise_of_the_lesson_is_in_its_notebook(name):
    lesson = int(name.partition("_")[0])
    wanted = [exercise.id for exercise in EXERCISES.values() if exercise.lesson == lesson]
    assert list(checked_ids(cells(ROOT, ROOT / "exercises" / name))) == wanted


def test_notebook_gives_signature_and_example(name):
    """The signature stands above the stub, and the example in its docstring is true."""
    notebook, namespace = cells(ROOT, ROOT / "solutions" / name), {}
    prose = "\n".join(cell.source for cell in notebook if not cell.is_code)
    for cell in notebook:
        if cell.is_code:
            exec(compile(cell.source, f"<{cell.where}>", "exec"), namespace)
    for id in checked_ids(notebook):
        assert f"`{EXERCISES[id].signature}`" in prose
        examples = doctest.DocTestFinder().find(namespace[id], id, globs=namespace)
        results = [doctest.DocTestRunner(verbose=False).run(example) for example in examples]
        assert sum(result.attempted for result in results) >= 1
        assert sum(result.failed for result in results) == 0


# --- deterministic text ---------------------------------------------------------------------------

ALL_TEXT = """
from lessons_lib.checks import check
from lessons_lib.checks.engine import EXERCISES

for exercise in EXERCISES.values():
    for answer in [exercise.oracle, *(mistake.answer for mistake in exercise.misconceptions)]:
        verdict = check(exercise.id, answer)
        print(verdict, verdict._repr_mimebundle_()["text/html"])
"""


def test_text_is_the_same_in_every_process():
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ALL_TEXT],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        for seed in ("1", "2")
    ]
    texts = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert texts[0] == texts[1]
    assert b"0x" not in texts[0] and len(texts[0]) > 10_000
