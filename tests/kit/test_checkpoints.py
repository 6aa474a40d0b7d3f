"""A trained model on disk: nothing but tensors and words, and never half a file."""

import pickle

import pytest
import torch
from torch import nn

from lessons_lib.decoding import translate
from lessons_lib.kit.checkpoints import load_checkpoint, save_checkpoint
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.tasks import number_words
from lessons_lib.transformer import PostNorm, Transformer


@pytest.fixture(scope="module")
def task():
    return number_words(max_digits=3, n_train=50, n_test=5)


def model_for(task, d_model=12, n_layers=1, residual=PostNorm):
    sizes = {"d_model": d_model, "n_heads": 3, "d_ff": 20, "n_layers": n_layers}
    return Transformer(len(task.src_vocab), len(task.tgt_vocab), **sizes, residual=residual).eval()


def same_weights(one: nn.Module, two: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_what_is_loaded_is_what_was_saved(task, tmp_path):
    seed_everything(0)
    saved, loaded = model_for(task), model_for(task)
    assert not same_weights(saved, loaded)
    save_checkpoint(tmp_path / "model.pt", saved, task)
    load_checkpoint(tmp_path / "model.pt", loaded, task)
    assert same_weights(saved, loaded)
    assert translate(saved, task, "321") == translate(loaded, task, "321")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_a_checkpoint_of_another_shape_is_refused_and_the_model_stays(task, tmp_path):
    seed_everything(0)
    save_checkpoint(tmp_path / "model.pt", model_for(task, d_model=24), task)
    model = model_for(task)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    words = len(task.src_vocab)
    shapes = rf"must have shape \({words}, 12\), got \({words}, 24\)"
    with pytest.raises(ValueError, match=rf"model.pt: encoder.embed.words.weight {shapes}"):
        load_checkpoint(tmp_path / "model.pt", model, task)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


def test_a_checkpoint_with_more_or_fewer_layers_is_refused(task, tmp_path):
    save_checkpoint(tmp_path / "two.pt", model_for(task, n_layers=2), task)
    save_checkpoint(tmp_path / "one.pt", model_for(task), task)
    with pytest.raises(ValueError, match=r"layers\.1\..* must have shape no such weight, got \("):
        load_checkpoint(tmp_path / "two.pt", model_for(task), task)
    with pytest.raises(ValueError, match=r"layers\.1\..*, got no such weight"):
        load_checkpoint(tmp_path / "one.pt", model_for(task, n_layers=2), task)


def test_other_words_are_refused_even_if_all_shapes_fit(task, tmp_path):
    save_checkpoint(tmp_path / "model.pt", model_for(task), task)
    other = number_words(max_digits=3, n_train=50, n_test=5)
    other.tgt_vocab.reverse()
    with pytest.raises(ValueError, match=r"model.pt: tgt_vocab must be the words of the task"):
        load_checkpoint(tmp_path / "model.pt", model_for(task), other)


class Exploit:
    def __reduce__(self):
        return print, ("this file ran code",)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", pickle.dumps(Exploit()), None])
def test_a_file_that_is_no_checkpoint_is_refused_and_runs_nothing(task, tmp_path, content, capsys):
    path = tmp_path / "model.pt"
    if content is None:
        torch.save({"weights": Exploit()}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model.pt: expected a checkpoint of save_checkpoint"):
        load_checkpoint(path, model_for(task), task)
    assert "ran code" not in capsys.readouterr().out


def test_a_missing_file_is_named(task, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_checkpoint(tmp_path / "nowhere.pt", model_for(task), task)


def test_an_interrupted_save_leaves_the_old_file(task, tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    save_checkpoint(path, model_for(task), task)
    before = path.read_bytes()

    def full_disk(content, beside):
        beside.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, model_for(task), task)
    assert path.read_bytes() == before
