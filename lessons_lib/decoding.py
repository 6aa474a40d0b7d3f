"""Decoding: how a trained model turns its probabilities into a sentence.

Works with any model that has
    start(src (B, T_src)) → state, a tuple of tensors whose first axis is B
    step(state, token (B,)) → (logits (B, V), state)

A model writes where its weights are: ids are brought there, and what is written stays there. A GPU
is waited for once a word, to see whether all sentences have ended.
"""

import torch

from lessons_lib.kit.arguments import check_positive
from lessons_lib.kit.batches import trim
from lessons_lib.kit.device import on_device_of
from lessons_lib.kit.tasks import Task
from lessons_lib.kit.vocabulary import BOS, EOS, PAD


def greedy_decode(model, src: torch.Tensor, max_steps: int = 40) -> torch.Tensor:
    """Translate by taking the most probable word at every step: (B, T_src) → (B, T).

    The first word read is BOS; then the model reads what it wrote itself. A row is its words, EOS,
    then PAD. Decoding stops when every row has ended, or after `max_steps` words.

    Raises:
        ValueError: if `max_steps` is not a whole number of at least 1.
    """
    check_positive("max_steps", max_steps)
    src = on_device_of(model, src)  # (B, T_src)
    written = []
    with torch.inference_mode():  # no gradients
        state = model.start(src)
        token = torch.full((len(src),), BOS, device=src.device)  # (B,)
        ended = torch.zeros(len(src), dtype=torch.bool, device=src.device)  # (B,)
        for _ in range(max_steps):
            logits, state = model.step(state, token)  # (B, V)
            token = logits.argmax(dim=-1).masked_fill(ended, PAD)  # (B,): PAD where a row has ended
            written.append(token)
            ended = ended | (token == EOS)
            if ended.all():
                break
    return torch.stack(written, dim=1)  # (B, T)


def length_penalty(T, alpha: float):
    """What log p is divided by, so that long sentences stay in the race: ((5 + T) / 6)^alpha.

    T, a number or a tensor, counts the words written, EOS included; the result has its shape. With
    alpha 0 nothing is divided. Wu et al. 2016 (arXiv 1609.08144), section 7, equation 14.
    """
    return ((5 + T) / 6) ** alpha


def best_continuations(logits, log_p, n_words, ended, alpha: float):
    """Choose the `width` best of all width·V continuations: logits (B, width, V).

    `log_p`, `n_words` and `ended` (B, width) belong to the beams so far. Returns which beam grows,
    by which word, and the log p of the result, each (B, width), the best first. An ended beam
    stays as it is: its one continuation is PAD, at no cost.
    """
    width, V = logits.shape[1:]
    step = logits.log_softmax(dim=-1).masked_fill(ended[..., None], -torch.inf)  # (B, width, V)
    step[..., PAD] = torch.where(ended, 0.0, step[..., PAD])
    total = log_p[..., None] + step  # (B, width, V)
    # One word more for a beam that still writes: ~ended counts 1 there, and 0 for an ended one.
    rank = total / length_penalty(n_words + ~ended, alpha)[..., None]  # (B, width, V)
    best = rank.flatten(1).topk(width).indices  # (B, width): indices into width·V
    return best // V, best % V, total.flatten(1).gather(1, best)  # (B, width) each


def beam_decode(model, src, width: int = 4, alpha: float = 0.6, max_steps: int = 40):
    """Translate by keeping the `width` best beginnings at every step: (B, T_src) → (B, T).

    Returns, for each sentence, the beam with the highest log p / `length_penalty`, written as
    `greedy_decode` writes it; with width 1 that is what greedy decoding gives. The search stops
    when all beams have ended, or after `max_steps` words; then a beam may win without an end.

    Raises:
        ValueError: if `width` or `max_steps` is not a whole number of at least 1.
    """
    check_positive("width", width)
    check_positive("max_steps", max_steps)
    src, B = on_device_of(model, src), len(src)  # (B, T_src)
    with torch.inference_mode():  # no gradients
        state = tuple(x.repeat_interleave(width, dim=0) for x in model.start(src))  # (B·width, …)
        token = torch.full((B * width,), BOS, device=src.device)  # (B·width,)
        written = token.new_empty(B, width, 0)  # (B, width, 0)
        log_p = torch.full((B, width), -torch.inf, device=src.device)  # (B, width)
        log_p[:, 0] = 0.0  # all beams are equal at first: only one of them may grow
        row = torch.arange(B, device=src.device)[:, None]  # (B, 1)
        for _ in range(max_steps):
            logits, state = model.step(state, token)  # (B·width, V)
            n_words = (written != PAD).sum(dim=-1)  # (B, width)
            ended = (written == EOS).any(dim=-1)  # (B, width)
            logits = logits.unflatten(0, (B, width))  # (B, width, V)
            beam, word, log_p = best_continuations(logits, log_p, n_words, ended, alpha)
            written = torch.cat([written[row, beam], word[..., None]], dim=-1)  # (B, width, T + 1)
            if (written == EOS).any(dim=-1).all():
                break
            grows = (row * width + beam).flatten()  # (B·width,)
            state, token = tuple(x[grows] for x in state), word.flatten()
    return trim(written[:, 0]).clone()  # (B, T)


def next_word_p(logits, temperature: float = 1.0, top_p: float = 1.0):
    """Probabilities of the next word, from which one may be drawn: (B, V) → (B, V).

    The temperature, above 0, divides the logits: below 1 probable words gain, above 1 the others.
    `top_p`, above 0, keeps the most probable words until together they reach it, the word that
    crosses it included, and gives the rest 0. Holtzman et al. 2020 (arXiv 1904.09751), section 3.1.
    """
    p = (logits / temperature).softmax(dim=-1)  # (B, V)
    ordered, words = p.sort(dim=-1, descending=True)  # (B, V) each
    before = ordered.cumsum(dim=-1) - ordered  # (B, V): what more probable words hold together
    p = p.scatter(1, words, ordered.masked_fill(before >= top_p, 0.0))  # (B, V)
    return p / p.sum(dim=-1, keepdim=True)


def sample(model, src, temperature: float = 1.0, top_p: float = 1.0, max_steps: int = 40):
    """Write by drawing every word from `next_word_p`: (B, T_src) → (B, T).

    What is written looks as `greedy_decode` writes it. The randomness is torch's: the same seed
    gives the same sentences.

    Raises:
        ValueError: if `max_steps` is not a whole number of at least 1.
    """
    check_positive("max_steps", max_steps)
    src = on_device_of(model, src)  # (B, T_src)
    with torch.inference_mode():  # no gradients
        state = model.start(src)
        token = torch.full((len(src),), BOS, device=src.device)  # (B,)
        written = token.new_empty(len(src), 0)  # (B, 0)
        for _ in range(max_steps):
            logits, state = model.step(state, token)  # (B, V)
            total = next_word_p(logits, temperature, top_p).cumsum(dim=-1)  # (B, V)
            u = 1 - torch.rand_like(total[:, :1])  # (B, 1): above 0, and 1 at most
            token = (total < u * total[:, -1:]).sum(dim=-1)  # (B,): how many pieces end before u
            token = token.masked_fill((written == EOS).any(dim=-1), PAD)  # (B,)
            written = torch.cat([written, token[:, None]], dim=1)  # (B, T + 1)
            if (written == EOS).any(dim=-1).all():
                break
    return written.clone()  # (B, T)


def translate(model, task: Task, sentence: str, max_steps: int = 40) -> str:
    """Translate one sentence greedily: "forty two", or "42", → "zwei und vierzig".

    Raises:
        ValueError: if the sentence is empty or holds a word that the task does not know.
    """
    src = task.encode(sentence)[None]  # (1, T_src)
    return task.decode(greedy_decode(model, src, max_steps)[0])
