"""Bahdanau training, against decoders that compute again at every step what does not change."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lessons_lib.bahdanau_attention import AdditiveAttention, AttentionEncoderDecoder
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.tasks import Task, number_words
from lessons_lib.kit.vocabulary import PAD
from tests.benchmarks.measuring import ratios, table
from tests.benchmarks.training import Trainer, take_turns

OURS, KEYS, STEPWISE = "course", "keys again at every step", "everything step by step"


class KeysAgain(AdditiveAttention):
    """U_a h_j is computed for every word that is written, not once for each sentence."""

    def project(self, annotations):
        return annotations, annotations  # (B, T_k, d_key) each

    def scores(self, query, key):
        return super().scores(query, self.u_a(key))  # (B, T_q, T_k)


class Stepwise(AttentionEncoderDecoder):
    """The loop as tutorials write it: one word at a time goes through all of the decoder.

    Embedding, gates, keys and logits are computed in the loop, by `torch.nn.GRU` on one word. The
    encoder is torch's own bidirectional GRU, on packed sequences.
    """

    def __init__(self, n_src, n_tgt, d_embed: int, d_hidden: int, attend: nn.Module):
        super().__init__(n_src, n_tgt, d_embed, d_hidden, attend)
        self.encoder.forwards = self.encoder.backwards = self.decoder.rnn = None
        self.reader = nn.GRU(d_embed, d_hidden // 2, batch_first=True, bidirectional=True)
        self.rnn = nn.GRU(d_embed + d_hidden, d_hidden, batch_first=True)

    def forward(self, src, tgt_in):
        lengths = (src != PAD).sum(dim=1)  # (B,)
        x = self.encoder.embed(src)  # (B, T_src, d_embed)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        annotations, _ = pad_packed_sequence(self.reader(packed)[0], batch_first=True)
        state = torch.tanh(self.to_state(annotations[:, 0].chunk(2, dim=-1)[1]))  # (B, d_hidden)
        mask = (src != PAD)[:, None, :]  # (B, 1, T_src)
        projected = self.decoder.attend.project(annotations)
        logits = []
        for token in tgt_in.unbind(dim=1):  # (B,)
            context = self.decoder.attend(state[:, None], projected, mask)  # (B, 1, d_hidden)
            x = torch.cat([self.decoder.embed(token)[:, None], context], dim=-1)
            _, state = self.rnn(x, state[None])  # (1, B, d_hidden)
            state = state[0]  # (B, d_hidden)
            logits.append(self.decoder.to_logits(torch.cat([state, context[:, 0]], dim=-1)))
        return torch.stack(logits, dim=1)  # (B, T, V)


def decoders(n_src: int, n_tgt: int, d_hidden: int) -> dict[str, nn.Module]:
    """The three models. The second has the weights, and so the output, of the first."""

    def keys_again():
        return KeysAgain(d_hidden, d_hidden, d_hidden // 2)

    sizes = n_src, n_tgt, d_hidden // 2, d_hidden
    sides: dict[str, nn.Module] = {}
    for name, kind, attend in (
        (OURS, AttentionEncoderDecoder, lambda: None),
        (KEYS, AttentionEncoderDecoder, keys_again),
        (STEPWISE, Stepwise, keys_again),
    ):
        seed_everything(0)
        sides[name] = kind(*sizes, attend())
    sides[KEYS].load_state_dict(sides[OURS].state_dict())
    return sides


def made_up(length: int, n: int = 640, n_words: int = 40) -> Task:
    """Pairs of random words, `length` of them in source and target: only their cost counts."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(4, n_words, (2, n, length), generator=draw)  # (2, n, length)
    words = [str(i) for i in range(n_words)]
    return Task(words, words, (ids[0], ids[1]), (ids[0][:1], ids[1][:1]), split=str.split)


def per_step(task: Task, d_hidden: int, steps: int) -> list[tuple]:
    """Training steps of all three on the same batches, in turn: one row for each side."""
    sides = decoders(len(task.src_vocab), len(task.tgt_vocab), d_hidden)
    trainers = {name: Trainer(side, 1e-3, 10**9) for name, side in sides.items()}
    times, _ = take_turns(trainers, task, steps, warm_up=2)
    compared = ratios(times, OURS)
    return [(name, 1000 * sum(times[name]) / steps, compared[name]) for name in sides]


def section(
    lengths=(20, 60), widths=(128, 256), paper=(30, 1000), steps: int = 12, n_train: int = 8000
) -> str:
    """Number words as in lesson 2, longer sentences and wider models, and the paper's size.

    `paper`: Bahdanau et al. train on sentences of up to 30 words (and of up to 50) with 1000 hidden
    units (section 4.2). A step takes seconds there, so only a quarter of the steps is taken.
    """
    numbers = number_words(n_train=n_train, n_test=1)
    cases = [("number words", numbers, widths[0], steps)]
    cases += [(f"{n} random words", made_up(n), width, steps) for n in lengths for width in widths]
    n, width = paper
    cases += [(f"{n} random words (the paper's)", made_up(n), width, max(2, steps // 4))]
    rows = [
        (what, width, *row)
        for what, task, width, n_steps in cases
        for row in per_step(task, width, n_steps)
    ]
    header = ("sentences", "d_hidden", "side", "ms a step", f"time, {OURS} = 1 (quartiles)")
    what = f"Batches of 64 pairs, {steps} steps each, {max(2, steps // 4)} at the paper's size"
    return f"{what}\n\n" + table(header, rows)
