"""A trained model on disk: its weights, and the words that they stand for."""

import os
from pathlib import Path

import torch
from torch import nn

from lessons_lib.kit.tasks import Task


def save_checkpoint(path: str | Path, model: nn.Module, task: Task) -> None:
    """Write the weights and both vocabularies. A file that stands there is replaced as a whole.

    It is written beside and then renamed: who is interrupted keeps the old file.
    """
    path = Path(path)
    beside = path.with_name(f"{path.name}.part")
    content = {
        "weights": model.state_dict(),
        "src_vocab": task.src_vocab,
        "tgt_vocab": task.tgt_vocab,
    }
    torch.save(content, beside)
    os.replace(beside, path)


def load_checkpoint(path: str | Path, model: nn.Module, task: Task) -> None:
    """Read weights into `model`, which must have the shapes, and `task` the words, of the saved.

    Nothing but tensors and words is read from the file (`weights_only`): it cannot run code. If it
    does not fit, the model stays as it was.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: "path: …" if it is no checkpoint, if a weight is missing, unknown or of another
            shape, or if the vocabularies differ.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        weights = content["weights"]
        vocabularies = {name: content[name] for name in ("src_vocab", "tgt_vocab")}
    except OSError:
        raise
    except Exception as error:  # torch raises many kinds for a file that is not its own
        raise ValueError(
            f"{path}: expected a checkpoint of save_checkpoint, got a file that cannot be read as "
            f"one ({type(error).__name__})"
        ) from None
    for name, words in vocabularies.items():
        wanted = getattr(task, name)
        if words != wanted:
            raise ValueError(
                f"{path}: {name} must be the words of the task ({len(wanted)}), got {len(words)} "
                "words that are not the same"
            )
    own = model.state_dict()
    for name in own | weights:
        given, expected = (
            tuple(side[name].shape) if name in side else "no such weight" for side in (weights, own)
        )
        if given != expected:
            raise ValueError(f"{path}: {name} must have shape {expected}, got {given}")
    model.load_state_dict(weights)
