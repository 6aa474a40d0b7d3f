"""Decoding: how a trained model turns its probabilities into a sentence.

Works with any model that has
    start(src (B, T_src)) → state, a tuple of tensors whose first axis is B
    step(state, token (B,)) → (logits (B, V), state)
"""

import torch

from lessons_lib.kit.arguments import check_positive
from lessons_lib.kit.tasks import Task
from lessons_lib.kit.vocabulary import BOS, EOS, PAD


@torch.no_grad()
def greedy_decode(model, src: torch.Tensor, max_steps: int = 40) -> torch.Tensor:
    """Translate by taking the most probable word at every step: (B, T_src) → (B, T).

    The first word read is BOS; then the model reads what it wrote itself. A row is its words, EOS,
    then PAD. Decoding stops when every row has ended, or after `max_steps` words.

    Raises:
        ValueError: if `max_steps` is not a whole number of at least 1.
    """
    check_positive("max_steps", max_steps)
    state = model.start(src)
    token = src.new_full((len(src),), BOS)  # (B,)
    ended = torch.zeros(len(src), dtype=torch.bool, device=src.device)  # (B,)
    written = []
    for _ in range(max_steps):
        logits, state = model.step(state, token)  # (B, V)
        token = logits.argmax(dim=-1).masked_fill(ended, PAD)  # (B,): PAD where a row has ended
        written.append(token)
        ended = ended | (token == EOS)
        if ended.all():
            break
    return torch.stack(written, dim=1)  # (B, T)


def translate(model, task: Task, sentence: str, max_steps: int = 40) -> str:
    """Translate one sentence greedily: "forty two", or "42", → "zwei und vierzig".

    Raises:
        ValueError: if the sentence is empty or holds a word that the task does not know.
    """
    src = task.encode(sentence)[None]  # (1, T_src)
    return task.decode(greedy_decode(model, src, max_steps)[0])
