"""Those who began with the first edition: their work/, and their saved model, under this one.

What tests/fixtures/first_edition/make.py says it made meets the course as it is now.
"""

import contextlib
import io
import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from lessons_lib.__main__ import main
from lessons_lib.checks import check
from lessons_lib.kit.checkpoints import load_checkpoint
from lessons_lib.kit.tasks import number_words
from lessons_lib.learner.files import ROOMS
from lessons_lib.learner.notebook import exercises, lessons, outputs, parse_given, source
from lessons_lib.transformer import Transformer

ROOT = Path(__file__).resolve().parents[1]
FIXTURE = ROOT / "tests" / "fixtures" / "first_edition"
LEARNERS = json.loads((FIXTURE / "learner.json").read_text(encoding="utf-8"))
SOLVED = {
    "exercises/04_masking.ipynb": [
        *("causal_mask", "padding_mask", "masked_softmax", "combine_masks", "to_mha_mask"),
    ],
    "exercises/01_rnn_bottleneck.ipynb": ["teacher_forcing", "token_loss", "exact_match"],
}


class Work:
    """The learner's work/ in a folder with the course of today."""

    def __init__(self, folder):
        self.folder, self.work = folder, folder / "work"
        for room in ROOMS:
            shutil.copytree(ROOT / room, folder / room)
        shutil.copy(ROOT / "course.py", folder)
        (folder / "lessons_lib").mkdir()
        with zipfile.ZipFile(FIXTURE / "learner.zip") as pack:
            pack.extractall(self.work)
        self.before = {name: self.bytes(name) for name in LEARNERS}

    def bytes(self, name):
        return (self.work / name).read_bytes()

    def do(self, *words):
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.chdir(self.folder):
            assert main(list(words)) == 0
        return said.getvalue()


@pytest.fixture(scope="module")
def updated(tmp_path_factory):
    work = Work(tmp_path_factory.mktemp("course"))
    work.said = work.do("update")
    return work


def cells(content):
    return parse_given(content)["cells"]


def shown(content):
    """For each cell that shows something: its text, and what it shows."""
    return [(source(cell), outputs(cell)) for cell in cells(content) if cell.get("outputs")]


@pytest.mark.parametrize("name", LEARNERS)
def test_what_the_learner_wrote_is_there_and_a_backup_has_all(updated, name):
    texts = [source(cell) for cell in cells(updated.bytes(name))]
    for cell_id, text in LEARNERS[name]["written"].items():
        assert text in texts, cell_id
    backups = [path.read_bytes() for path in updated.work.glob(f".backups/*/{name}")]
    assert backups == [updated.before[name]]


@pytest.mark.parametrize("name", LEARNERS)
def test_what_the_learner_ran_shows_its_outputs_and_nothing_else_does(updated, name):
    ran = [cell for cell in cells(updated.before[name]) if cell["id"] in LEARNERS[name]["ran"]]
    own = [(source(cell), outputs(cell)) for cell in ran if cell["outputs"]]
    assert len(own) >= 4
    now = shown(updated.bytes(name))
    assert all(pair in own for pair in now)
    # Gone from sight, though never from the backup, is only what another text would stand above.
    texts = [source(cell) for cell in cells(updated.bytes(name))]
    assert [pair for pair in own if pair[0] in texts] == now
    assert len(now) >= 2  # the cells that are the learner's own


def test_untouched_copies_and_new_lessons_are_those_of_today(updated):
    for room in ROOMS:
        for given in (ROOT / room).glob("*.ipynb"):
            copy = updated.work / room / given.name
            if f"{room}/{given.name}" not in LEARNERS:
                assert shown(copy.read_bytes()) == []
                today = [(cell["id"], source(cell)) for cell in cells(given.read_bytes())]
                assert [(cell["id"], source(cell)) for cell in cells(copy.read_bytes())] == today


def test_the_next_update_has_nothing_to_do(updated):
    assert "up to date" in updated.do("update")


@pytest.mark.parametrize("name", SOLVED)
def test_old_answers_pass_todays_checks(updated, name):
    """As Run All would: every cell in order, each check with the answer that it finds."""
    names, verdicts = {}, {}
    given = exercises(Path(name), cells((ROOT / name).read_bytes()))
    answers = {exercise.id: exercise.function for exercise in given}
    for cell in cells(updated.bytes(name)):
        if cell["cell_type"] != "code":
            continue
        found = [id for id in answers if f'check("{id}"' in source(cell)]
        if found:
            verdicts[found[0]] = check(found[0], names[answers[found[0]]])
        else:
            exec(source(cell), names)
    passed = [id for id, verdict in verdicts.items() if verdict.status == "pass"]
    assert sorted(passed) == sorted(SOLVED[name])
    if "first_leak" in verdicts:
        assert verdicts["first_leak"].status == "fail"


def test_progress_counts_what_was_solved_before(updated):
    known = {exercise.id for lesson in lessons(ROOT) for exercise in lesson.exercises}
    solved = [id for ids in SOLVED.values() for id in ids]
    assert set(solved) <= known
    said = updated.do("progress")
    assert f"{len(solved)} of {len(known)} solved" in " ".join(said.split())
    assert "first_leak: " in said  # the last try, which was wrong


def test_reset_gives_one_exercise_as_it_is_today(tmp_path):
    work = Work(tmp_path)
    name = "exercises/01_rnn_bottleneck.ipynb"
    work.do("reset", "token_loss")
    now = {cell["id"]: cell for cell in cells(work.bytes(name))}
    assert not any("def token_loss" in source(now[id]) for id in now if id != "token-loss")
    assert (now["token-loss-check"]["outputs"], now["token-loss"]["outputs"]) == ([], [])
    assert "NotImplementedError" in source(now["token-loss"])
    work.do("update")
    texts = [source(cell) for cell in cells(work.bytes(name))]
    written = LEARNERS[name]["written"]
    assert all(written[id] in texts for id in ("teacher-forcing", "exact-match", "later"))


def test_a_model_of_the_first_edition_is_loaded_and_says_the_same():
    told = json.loads((FIXTURE / "model.json").read_text())
    task = number_words(**told["task"])
    model = Transformer(len(task.src_vocab), len(task.tgt_vocab), **told["sizes"]).eval()
    load_checkpoint(FIXTURE / "model.pt", model, task)
    src, tgt = torch.tensor(told["src"]), torch.tensor(told["tgt"])
    with torch.no_grad():
        logits = model(src, tgt[:, :-1])[:, 0]
    torch.testing.assert_close(logits, torch.tensor(told["first_logits"]), atol=1e-5, rtol=1e-4)


def test_a_model_that_no_longer_fits_says_why():
    """A model built otherwise than the saved one: the sentence names the file and the weight."""
    told = json.loads((FIXTURE / "model.json").read_text())
    task = number_words(**told["task"])
    sizes = {**told["sizes"], "d_model": 24}
    model = Transformer(len(task.src_vocab), len(task.tgt_vocab), **sizes)
    with pytest.raises(ValueError, match=r"model\.pt: .*weight must have shape \(.*\), got \(.*\)"):
        load_checkpoint(FIXTURE / "model.pt", model, task)
