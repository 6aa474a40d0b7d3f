"""The exercises of lesson 1, as data: reference, cases, known mistakes, hints.

Targets are rows BOS, words, EOS, PAD …; sources are rows of words, EOS, PAD …
"""

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch.nn import functional as F

from lessons_lib.checks.diagnosis import first_difference
from lessons_lib.checks.exercise import Case, Exercise, Facts, Misconception, Property, several
from lessons_lib.checks.inputs import normal
from lessons_lib.checks.properties import same_gradient
from lessons_lib.kit.vocabulary import BOS, EOS, PAD, UNK, lengths


def ids(*rows: list[int]) -> torch.Tensor:
    """Token ids, (B, T)."""
    return torch.tensor(rows)


# --- teacher_forcing ------------------------------------------------------------------------------


def cut_token_by_token(tgt):
    """Read a token, answer with the next one: one pair for each position but the last."""
    pairs = torch.tensor([list(pairwise(row)) for row in tgt.tolist()])  # (B, T-1, 2)
    return pairs[..., 0], pairs[..., 1]  # (B, T-1) each


def shift_right(tgt):
    start = torch.full_like(tgt[:, :1], BOS)  # (B, 1)
    return torch.cat([start, tgt[:, :-1]], dim=1), tgt


def fill_up_labels(tgt):
    return tgt, torch.cat([tgt[:, 1:], torch.full_like(tgt[:, :1], PAD)], dim=1)


teacher_forcing = Exercise(
    id="teacher_forcing",
    lesson=1,
    signature="teacher_forcing(tgt (B, T)) → decoder input (B, T-1), labels (B, T-1)",
    returns=("decoder input", "labels"),
    oracle=cut_token_by_token,
    cases=(
        Case("one sentence, no padding", (ids([1, 7, 4, 9, 2]),)),
        Case("the same words in another order", (ids([1, 9, 7, 4, 2]),)),
        Case("two lengths, so there is padding", (ids([1, 5, 8, 2, 0, 0], [1, 6, 4, 7, 9, 2]),)),
        Case(
            "an empty sentence among others",
            (ids([1, 2, 0, 0], [1, 9, 5, 2], [1, 4, 2, 0], [1, 3, 3, 2], [1, 8, 2, 0]),),
        ),
        Case(
            "more padding than the longest sentence needs",
            (ids([1, 6, 5, 2, 0, 0, 0], [1, 4, 2, 0, 0, 0, 0], [1, 7, 7, 8, 2, 0, 0]),),
        ),
        Case("nothing but BOS and EOS", (ids([1, 2]),)),
        Case("as many sentences as columns", (ids([1, 5, 2], [1, 2, 0], [1, 7, 2]),)),
        Case(
            "any ids anywhere, above 2^53 too",
            (ids([1, 2**53 + 1, 0, 16777219, 2, 0, 3, 1], [1, 0, 2, 5, 2, 33554433, 2, 0]),),
        ),
        Case("a sentence of 300 words", (torch.arange(302).roll(-3)[None],)),
    ),
    misconceptions=(
        Misconception(
            "swapped",
            "Your two tensors are right, but in the wrong order: decoder input first.",
            lambda tgt: (tgt[:, 1:], tgt[:, :-1]),
        ),
        Misconception(
            "labels_repeat_input",
            "Your labels are the decoder input: nothing is one ahead.",
            lambda tgt: (tgt[:, :-1], tgt[:, :-1]),
        ),
        Misconception(
            "not_shifted",
            "Both of your tensors are the whole target: nothing is shifted.",
            lambda tgt: (tgt, tgt),
        ),
        Misconception(
            "input_keeps_last_column",
            "Your decoder input keeps the last column, for which there is no label.",
            lambda tgt: (tgt, tgt[:, 1:]),
        ),
        Misconception(
            "rolled",
            "Both tensors have T columns, and the labels end with BOS; T-1 are wanted.",
            lambda tgt: (tgt, tgt.roll(-1, dims=1)),
        ),
        Misconception(
            "labels_filled_up",
            "Both tensors have T columns, the last one of the labels PAD; T-1 are wanted.",
            fill_up_labels,
        ),
        Misconception(
            "bos_twice",
            "Your decoder input starts with two BOS: the target brings its own.",
            shift_right,
        ),
        # Harmless in training, as the label after it is PAD; but the task is to shift only.
        Misconception(
            "input_without_eos",
            "Your decoder input has PAD where EOS stood; only a shift is wanted.",
            lambda tgt: (tgt[:, :-1].masked_fill(tgt[:, :-1] == EOS, PAD), tgt[:, 1:]),
        ),
        Misconception(
            "pad_replaced",
            "Your labels hold -100 where PAD stood; only a shift is wanted.",
            lambda tgt: (tgt[:, :-1], tgt[:, 1:].masked_fill(tgt[:, 1:] == PAD, -100)),
        ),
    ),
    hints=(
        "Write BOS, two words and EOS on paper. When the decoder reads BOS, what must it say?",
        "Both results come from the same target and are one column shorter: one lacks the first"
        " column, the other one the last.",
        "A slice of columns is tgt[:, a:b]. The decoder input begins with BOS, so it is the one"
        " that goes without the last column; the labels go without the first.",
    ),
)


# --- token_loss -----------------------------------------------------------------------------------


def average_word_by_word(logits, labels, pad=0):
    """Collect −log p of every real word, then average once."""
    log_p = logits.log_softmax(dim=-1)  # (B, T, V)
    real = [
        -log_p[b, t, labels[b, t]]
        for b in range(labels.shape[0])
        for t in range(labels.shape[1])
        if labels[b, t] != pad
    ]
    return torch.stack(real).mean()  # ()


def each_loss(logits, labels):
    """−log p of every label, padding too: (B, T)."""
    return F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")


def real_losses(logits, labels, pad):
    """The same with zeros where padding stands: (B, T)."""
    return each_loss(logits, labels) * (labels != pad)


def average_of_averages(fewest):
    """Sentences count alike. Each sum is divided by the number of words, `fewest` at least."""

    def loss(logits, labels, pad=0):
        n_words = (labels != pad).sum(1).clamp(min=fewest)  # (B,)
        return (real_losses(logits, labels, pad).sum(1) / n_words).mean()

    return loss


def wrong_class_axis(logits, labels, pad=0):
    return F.cross_entropy(logits, labels, ignore_index=pad)


def reshape_to_class_axis(logits, labels, pad=0):
    B, T, V = logits.shape
    return F.cross_entropy(logits.reshape(B, V, T), labels, ignore_index=pad)


def flat_loss(logits, labels, pad):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=pad)


def without_eos(fewest):
    """EOS does not count. The sum is divided by the number of words, `fewest` at least."""

    def loss(logits, labels, pad=0):
        words = (labels != pad) & (labels != EOS)
        return (each_loss(logits, labels) * words).sum() / words.sum().clamp(min=fewest)

    return loss


def labels_of(T, n):
    """One row of labels, (T,): n words out of 3 and 4, EOS, PAD …"""
    return F.pad(torch.tensor([3 + t % 2 for t in range(n)] + [EOS]), (0, T - n - 1), value=PAD)


token_loss_inputs = (
    normal(1, 3, 5, 6, scale=2.0),
    ids([5, 4, 2, 0, 0], [4, 4, 5, 5, 2], [3, 2, 0, 0, 0]),
)

token_loss_extremes = (torch.tensor([[[1000.0, 1000, -1000]]]), ids([2]))

token_loss = Exercise(
    id="token_loss",
    lesson=1,
    signature="token_loss(logits (B, T, V), labels (B, T), pad=0) → loss ()",
    returns=("loss",),
    oracle=average_word_by_word,
    cases=(
        Case("all words equally likely", (torch.zeros(1, 3, 5), ids([4, 2, 0]))),
        Case("one sentence, no padding", (normal(0, 1, 4, 7), ids([5, 6, 4, 2]))),
        Case("three lengths, so there is padding", token_loss_inputs),
        Case(
            "the same sizes, other numbers",
            (normal(7, 3, 5, 6), ids([3, 2, 0, 0, 0], [5, 3, 4, 4, 2], [4, 5, 5, 2, 0])),
        ),
        Case(
            "a long sentence beside a short one",
            (normal(2, 2, 8, 9), ids([2, 0, 0, 0, 0, 0, 0, 0], [7, 5, 8, 4, 6, 5, 7, 2])),
        ),
        Case(
            "another id for padding, also in front; id 0 is a word",
            (normal(3, 4, 6, 10), ids(*[[0, 5, 2, 8, 8, 8], [8, 4, 0, 6, 7, 2]] * 2), 8),
        ),
        Case(
            "the same sizes, id 3 for padding",
            (normal(8, 4, 6, 10), ids(*[[0, 5, 8, 2, 3, 3], [9, 4, 0, 6, 8, 2]] * 2), 3),
        ),
        Case("a row of nothing but padding", (normal(9, 2, 2, 5), ids([4, 2], [0, 0]))),
        Case("a single word", (normal(4, 1, 1, 5), ids([2]))),
        Case(
            "words of which the model is sure: losses of 0 and of 40",
            (
                torch.eye(5)[None, 3:4].repeat(1, 3, 1) * torch.tensor([[[40.0], [0.0], [40.0]]]),
                ids([3, 2, 1]),
            ),
        ),
        Case(
            "logits near 1,000, and near -1,000",
            (torch.tensor([[[1000.0, 999, 998], [-1000, -999, -998]]]), ids([2, 1])),
        ),
        Case(
            "a right word with a logit of -1,000, two others with 1,000",
            token_loss_extremes,
        ),
        Case(
            "as many sentences as positions and words",
            (normal(5, 4, 4, 4), ids([1, 2, 0, 0], [3, 1, 3, 2], [2, 0, 0, 0], [3, 1, 2, 0])),
        ),
        Case(
            "a sentence of 300 words beside a short one",
            (normal(6, 2, 300, 5), torch.stack([labels_of(300, 299), labels_of(300, 7)])),
        ),
    ),
    misconceptions=(
        Misconception(
            "counts_padding",
            "Your loss is the average over all positions, padding counted in.",
            lambda logits, labels, pad=0: each_loss(logits, labels).mean(),
        ),
        Misconception(
            "divides_by_all",
            "Your loss leaves padding out of the sum, but divides by all positions.",
            lambda logits, labels, pad=0: real_losses(logits, labels, pad).mean(),
        ),
        *several(
            "average_of_averages",
            "Your loss averages each sentence first: short sentences weigh too much.",
            average_of_averages(fewest=0),
            average_of_averages(fewest=1),
        ),
        Misconception(
            "per_sentence",
            "Your loss is the sum over the real words, divided by the number of sentences.",
            lambda logits, labels, pad=0: real_losses(logits, labels, pad).sum() / len(labels),
        ),
        Misconception(
            "sum",
            "Your loss is the sum over the real words, not their average.",
            lambda logits, labels, pad=0: real_losses(logits, labels, pad).sum(),
        ),
        Misconception(
            "pad_fixed_at_0",
            "Your loss leaves out the label 0, whatever `pad` says.",
            lambda logits, labels, pad=0: flat_loss(logits, labels, 0),
        ),
        Misconception(
            "sign",
            "Your loss has the wrong sign: log p is negative, the loss is -log p.",
            lambda logits, labels, pad=0: -flat_loss(logits, labels, pad),
        ),
        Misconception(
            "softmax_twice",
            "Your loss is what you get when softmax is taken twice.",
            lambda logits, labels, pad=0: flat_loss(logits.softmax(-1), labels, pad),
        ),
        Misconception(
            "class_axis",
            "Your loss is what you get when cross_entropy takes axis 1 for the words.",
            wrong_class_axis,
        ),
        Misconception(
            "reshaped_class_axis",
            "Your loss is what you get when (B, T, V) is reshaped, not transposed.",
            reshape_to_class_axis,
        ),
        *several(
            "eos_left_out",
            "Your loss leaves EOS out; it is a real token too.",
            without_eos(fewest=0),
            without_eos(fewest=1),
        ),
    ),
    hints=(
        "Each position has one number: -log of the probability of the right word. Which of them"
        " count, and how many are they?",
        "log_softmax over the last axis, which never overflows, gives all log-probabilities; gather"
        " picks the right word's. F.cross_entropy does both.",
        "F.cross_entropy wants logits (N, V) and labels (N,): flatten B and T into one axis. "
        "Its ignore_index leaves the padding out above and below the fraction line.",
    ),
    properties=(
        same_gradient(average_word_by_word, ("logits", "labels"), token_loss_inputs),
        same_gradient(
            average_word_by_word,
            ("logits", "labels"),
            token_loss_extremes,
            "the gradient where logits are as large as 1,000",
        ),
    ),
)


# --- gru_step -------------------------------------------------------------------------------------


def torch_gru_step(x, h, w_x, w_h, b_x, b_h):
    """torch keeps its weights as (d_out, d_in)."""
    return torch.gru_cell(x, h, w_x.T, w_h.T, b_x, b_h)


def gates(x, h, w_x, w_h, b_x, b_h):
    """The parts from x and from h for r, z and n: six tensors (B, d_hidden)."""
    return *(x @ w_x + b_x).chunk(3, dim=-1), *(h @ w_h + b_h).chunk(3, dim=-1)


def blend(h, z, n):
    return (1 - z) * n + z * h


def gru_with(proposal, update=blend, gate=torch.sigmoid):
    """A GRU step with its own proposal(x_n, h_n, r), update(h, z, n) and gate(sum)."""

    def step(x, h, w_x, w_h, b_x, b_h):
        x_r, x_z, x_n, h_r, h_z, h_n = gates(x, h, w_x, w_h, b_x, b_h)
        r, z = gate(x_r + h_r), gate(x_z + h_z)
        return update(h, z, proposal(x_n, h_n, r))

    return step


def right_proposal(x_n, h_n, r):
    return torch.tanh(x_n + r * h_n)


def reset_before_matrix(x, h, w_x, w_h, b_x, b_h):
    x_r, x_z, x_n, h_r, h_z, _ = gates(x, h, w_x, w_h, b_x, b_h)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    h_n = (r * h) @ w_h.chunk(3, dim=-1)[2] + b_h.chunk(3)[2]  # (B, d_hidden)
    return blend(h, z, torch.tanh(x_n + h_n))


def reset_without_bias(x, h, w_x, w_h, b_x, b_h):
    x_r, x_z, x_n, h_r, h_z, h_n = gates(x, h, w_x, w_h, b_x, b_h)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    bias = b_h.chunk(3)[2]  # (d_hidden,)
    return blend(h, z, torch.tanh(x_n + r * (h_n - bias) + bias))


def gates_swapped(x, h, w_x, w_h, b_x, b_h):
    x_z, x_r, x_n, h_z, h_r, h_n = gates(x, h, w_x, w_h, b_x, b_h)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    return blend(h, z, right_proposal(x_n, h_n, r))


def gru_inputs(seed, B, d_in, d_hidden, biases):
    """Random arguments of gru_step."""
    return (
        normal(seed, B, d_in),
        normal(seed + 1, B, d_hidden, scale=0.8),
        normal(seed + 2, d_in, 3 * d_hidden, scale=0.7),
        normal(seed + 3, d_hidden, 3 * d_hidden, scale=0.7),
        normal(seed + 4, 3 * d_hidden, scale=biases),
        normal(seed + 5, 3 * d_hidden, scale=biases),
    )


gru_extremes = (
    torch.tensor([[1.0], [-1.0]]),
    torch.tensor([[0.5, -0.5], [0.25, 0.75]]),
    torch.tensor([[900.0, -900, 900, -900, 900, -900]]),
    torch.zeros(2, 6),
    torch.zeros(6),
    torch.tensor([0.0, 0, 0, 0, 1, -1]),
)

gru_step = Exercise(
    id="gru_step",
    lesson=1,
    signature="gru_step(x (B, d_in), h (B, d_hidden), w_x (d_in, 3·d_hidden), "
    "w_h (d_hidden, 3·d_hidden), b_x (3·d_hidden,), b_h (3·d_hidden,)) → new h (B, d_hidden)",
    returns=("new h",),
    oracle=torch_gru_step,
    cases=(
        Case(
            "one number of memory, both gates half open",
            (
                torch.ones(1, 1),
                torch.full((1, 1), 0.5),
                torch.tensor([[0.0, 0.0, 1.0]]),
                torch.tensor([[0.0, 0.0, 1.0]]),
                torch.zeros(3),
                torch.zeros(3),
            ),
        ),
        Case(
            "three numbers of memory, no biases",
            (*gru_inputs(10, 1, 2, 3, biases=1.0)[:4], torch.zeros(9), torch.zeros(9)),
        ),
        Case("with biases", gru_inputs(20, 2, 3, 4, biases=1.0)),
        Case("a batch, more inputs than memory", gru_inputs(30, 5, 6, 2, biases=1.0)),
        Case("the same sizes, other numbers", gru_inputs(31, 5, 6, 2, biases=1.0)),
        Case("batch, inputs and memory of one size", gru_inputs(37, 3, 3, 3, biases=1.0)),
        Case(
            "the first step: a state of zeros, with biases",
            (normal(50, 2, 3), torch.zeros(2, 4), *gru_inputs(51, 2, 3, 4, biases=1.0)[2:]),
        ),
        Case("sums of 900 and of -900 in the gates", gru_extremes),
        Case(
            "parts of 1,000 and of about -1,000 that add up to little",
            (
                torch.ones(1, 1),
                torch.ones(1, 1),
                torch.tensor([[993.0, 1000, 0]]),
                torch.tensor([[-1000.0, -999, 900]]),
                torch.zeros(3),
                torch.zeros(3),
            ),
        ),
        Case("40 numbers in, 60 of memory", gru_inputs(44, 2, 40, 60, biases=1.0)),
    ),
    misconceptions=(
        Misconception(
            "z_inverted",
            "Your output is what you get when z and 1 - z change places: z is kept.",
            gru_with(right_proposal, lambda h, z, n: z * n + (1 - z) * h),
        ),
        Misconception(
            "reset_before_matrix",
            "Your reset gate acts on h before w_h; here it acts on the product.",
            reset_before_matrix,
        ),
        Misconception(
            "reset_without_bias",
            "Your reset gate leaves out the bias b_h of the proposal.",
            reset_without_bias,
        ),
        *several(
            "reset_on_input",
            "Your reset gate acts on the part from x; it is for the past only.",
            gru_with(lambda x_n, h_n, r: torch.tanh(r * (x_n + h_n))),
            gru_with(lambda x_n, h_n, r: torch.tanh(r * x_n + h_n)),
        ),
        Misconception(
            "no_b_h",
            "Your output is what you get without the bias b_h.",
            lambda x, h, w_x, w_h, b_x, b_h: torch_gru_step(x, h, w_x, w_h, b_x, 0 * b_h),
        ),
        Misconception(
            "no_reset",
            "Your output is what you get without a reset gate.",
            gru_with(lambda x_n, h_n, r: torch.tanh(x_n + h_n)),
        ),
        Misconception(
            "gates_swapped",
            "Your output is what you get when r and z change places.",
            gates_swapped,
        ),
        Misconception(
            "no_sigmoid",
            "Your gates are what you get without the sigmoid.",
            gru_with(right_proposal, gate=lambda total: total),
        ),
        Misconception(
            "no_tanh",
            "Your proposal n is what you get without the tanh.",
            gru_with(lambda x_n, h_n, r: x_n + r * h_n),
        ),
    ),
    hints=(
        "Compute everything that comes from x, and everything that comes from h. Keep the two "
        "apart at first: which of them does r touch?",
        "Cut x @ w_x + b_x and h @ w_h + b_h into three parts each, with chunk(3, dim=-1). r "
        "and z are sigmoids of the sum of their two parts.",
        "In n, the part from h is multiplied by r before it is added: n = tanh(x_n + r * h_n). "
        "The new state is a blend, z of the old state and 1 - z of n.",
    ),
    properties=(
        same_gradient(
            torch_gru_step, ("x", "h", "w_x", "w_h", "b_x", "b_h"), gru_inputs(40, 2, 4, 3, 1.0)
        ),
        same_gradient(
            torch_gru_step,
            ("x", "h", "w_x", "w_h", "b_x", "b_h"),
            gru_extremes,
            "the gradient where the parts from x are 900 and -900",
        ),
    ),
)


# --- last_real_state ------------------------------------------------------------------------------


def walk_to_the_end(states, src):
    """Follow each sentence; the last state before padding stays."""
    last = []
    for b, tokens in enumerate(src.tolist()):
        for t, token in enumerate(tokens):
            if token != PAD:
                kept = states[t, b]  # (d_hidden,)
        last.append(kept)
    return torch.stack(last)  # (B, d_hidden)


def pick(states, positions):
    """The state of each sentence at its own position: (T, B, d_hidden), (B,) → (B, d_hidden)."""
    return states[positions, torch.arange(len(positions))]


last_real_state_inputs = (
    normal(51, 5, 3, 4),
    ids([6, UNK, 2, 0, 0], [7, 4, 8, 5, 2], [9, 2, 0, 0, 0]),
)

last_real_state = Exercise(
    id="last_real_state",
    lesson=1,
    signature="last_real_state(states (T, B, d_hidden), src (B, T)) → state (B, d_hidden)",
    returns=("state",),
    oracle=walk_to_the_end,
    cases=(
        Case(
            "one sentence, one column of padding",
            (torch.tensor([[[0.1, 0.2]], [[0.3, 0.4]], [[0.5, 0.6]]]), ids([5, 2, 0])),
        ),
        Case("three lengths", last_real_state_inputs),
        Case(
            "the same three lengths in other rows",
            (normal(56, 5, 3, 4), ids([8, 2, 0, 0, 0], [6, 4, 2, 0, 0], [7, 5, 9, 4, 2])),
        ),
        Case(
            "words with the ids 256, 2,000,000 and 2^32",
            (
                normal(57, 4, 3, 2),
                ids([256, 512, 2, 0], [2_000_000, 7, 5, 2], [2**32, 2, 0, 0]),
            ),
        ),
        Case(
            "more padding than the longest sentence needs",
            (normal(52, 6, 2, 3), ids([5, 7, 4, 2, 0, 0], [8, 2, 0, 0, 0, 0])),
        ),
        Case(
            "more sentences than words",
            (normal(53, 3, 5, 2), ids([4, 5, 2], [6, 2, 0], [7, 2, 0], [8, 8, 2], [9, 2, 0])),
        ),
        Case(
            "as many sentences as words, one of them empty",
            (normal(54, 4, 4, 4), ids([2, 0, 0, 0], [5, 6, 7, 2], [4, 2, 0, 0], [9, 3, 2, 0])),
        ),
        Case(
            "states of zeros",
            (torch.tensor([[[0.5]], [[0.0]], [[0.25]]]), ids([7, 2, 0])),
        ),
        Case(
            "a sentence of 300 words beside an empty one",
            (normal(55, 301, 2, 3), torch.stack([labels_of(301, 300), labels_of(301, 0)])),
        ),
    ),
    misconceptions=(
        Misconception(
            "last_of_all",
            "Your states are all of the last step, after the padding was read.",
            lambda states, src: states[-1],
        ),
        Misconception(
            "longest_for_all",
            "Your states are all of one step: the end of the longest sentence.",
            lambda states, src: states[lengths(src).max() - 1],
        ),
        *several(
            "before_eos",
            "You take the state before EOS was read: EOS is a real token too.",
            lambda states, src: pick(states, lengths(src) - 2),
            lambda states, src: pick(states, (lengths(src) - 2).clamp(min=0)),
        ),
        Misconception(
            "one_late",
            "Your states are those one step after the last real token.",
            lambda states, src: pick(states, lengths(src)),
        ),
        Misconception(
            "one_late_clamped",
            "You take the state after the first PAD was read, where there is one.",
            lambda states, src: pick(states, lengths(src).clamp(max=src.shape[1] - 1)),
        ),
        Misconception(
            "crossed",
            "You pair every sentence with every length: that is one axis too many.",
            lambda states, src: states[lengths(src) - 1],
        ),
        Misconception(
            "axes_swapped",
            "You index the sentence first; here the first axis is time.",
            lambda states, src: states[torch.arange(len(src)), lengths(src) - 1],
        ),
        Misconception(
            "axes_swapped",
            "You take the last sentence: [:, -1] is its axis; the first axis is time.",
            lambda states, src: states[:, -1],
        ),
    ),
    hints=(
        "Padding stands on the right and has the id 0. How many tokens of each row are real?",
        "The last real token of a row stands at its number of real tokens minus 1. That differs"
        " from row to row, so one slice cannot pick them all.",
        "Index with two tensors of length B, time first: states[steps, rows], where rows is "
        "torch.arange(B) and steps is (src != PAD).sum(dim=1) - 1.",
    ),
    properties=(same_gradient(walk_to_the_end, ("states", "src"), last_real_state_inputs),),
)


# --- greedy_decode --------------------------------------------------------------------------------


def beginning(plan: list[int]) -> str:
    """The first words of a plan."""
    return " ".join(map(str, plan[:8])) + (" …" if len(plan) > 8 else "")


@dataclass(frozen=True, eq=False, repr=False)
class ScriptedModel:
    """A model that knows its answers by heart: to a source that begins with 4 + i it says plans[i].

    As any trained model, it goes on after EOS. It says the next word of its plan only if it is
    given the word before (BOS first); otherwise it says other words. To PAD it says EOS.
    """

    plans: list[list[int]]
    n_words: int

    def __repr__(self) -> str:
        said = [f"{word} → {beginning(plan)}" for word, plan in enumerate(self.plans, 4)]
        return f"({', '.join(said)})"

    def start(self, src):
        """src (B, T_src) → which plan (B,), and how many words were said (B,)."""
        return src[:, 0] - 4, torch.zeros_like(src[:, 0])

    def step(self, state, token):
        """token (B,) → logits (B, V), and the new state."""
        plan, said = state
        if token.shape != plan.shape or token.dtype != torch.long:
            given = f"{tuple(token.shape)} {token.dtype}"
            raise ValueError(f"token must be {tuple(plan.shape)} torch.int64, got {given}")
        plans = torch.tensor(self.plans)  # (number of plans, words)
        before = plans[plan, (said - 1) % plans.shape[1]]  # (B,)
        before = torch.where(said == 0, BOS, before)  # (B,)
        lost = 4 + (token + 3 * said) % (self.n_words - 4)  # (B,): some word, never EOS
        lost = torch.where(token == PAD, EOS, lost)  # (B,)
        word = torch.where(token == before, plans[plan, said % plans.shape[1]], lost)  # (B,)
        logits = 0.001 * F.one_hot(word, self.n_words) - 10.5  # (B, V): a close race
        return logits, (plan, said + 1)


@dataclass(frozen=True, eq=False, repr=False)
class ListeningModel(ScriptedModel):
    """A model that keeps the states in which it was asked for a word.

    And all tensors that it was given or returned: name, the tensor, what it held at that time.
    """

    asked: list[tuple] = field(default_factory=list)
    seen: list[tuple[str, torch.Tensor, torch.Tensor]] = field(default_factory=list)

    def step(self, state, token):
        logits, new_state = super().step(state, token)
        self.asked.append(state)
        tensors = [("token", token), ("logits", logits)]
        tensors += [("state", part) for part in (*state, *new_state)]
        self.seen.extend((name, tensor, tensor.clone()) for name, tensor in tensors)
        return logits, new_state


def asked_in_vain(decode) -> Facts | None:
    """Steps at which no sentence of those given to the model needs another word."""
    for first_words, max_steps in (([4, 5, 6], 12), ([8, 4], 4)):
        model = ListeningModel(talkers.plans, talkers.n_words)
        decode(model, ids(*[[word, EOS] for word in first_words]), max_steps)
        wanted = torch.tensor([[*plan, EOS].index(EOS) + 1 for plan in model.plans])
        wanted = wanted.clamp(max=max_steps)  # (number of plans,): words up to EOS
        in_vain = sum(not (said < wanted[plan]).any() for plan, said in model.asked)
        if in_vain:
            calls = f"{len(model.asked)} calls of model.step, {in_vain} of them for nothing"
            return (("expected", "no call after the last word that is written"), ("got", calls))
    return None


def changed_in_place(decode) -> Facts | None:
    """A tensor that model.step was given or returned, and that holds something else later."""
    model = ListeningModel(talkers.plans, talkers.n_words)
    decode(model, ids([4, EOS], [5, EOS], [6, EOS]), 12)
    for name, tensor, copy in model.seen:
        if not torch.equal(tensor, copy):
            which = first_difference(name, tensor != copy, tensor, copy)
            return (which[0], ("expected", f"{which[1][1]}, as it was"), which[2])
    return None


def decode_one_by_one(model, src, max_steps):
    """Each sentence on its own; then all are filled up with PAD to the longest."""
    sentences = []
    for row in src:
        state, token, words = model.start(row[None]), torch.tensor([BOS]), []
        while len(words) < max_steps and EOS not in words:
            logits, state = model.step(state, token)  # (1, V)
            token = logits.argmax(dim=-1)  # (1,)
            words.append(token.item())
        sentences.append(words)
    longest = max(map(len, sentences))
    return torch.tensor([words + [PAD] * (longest - len(words)) for words in sentences])  # (B, T)


def decoder_with(
    hear=lambda token: token,
    keep_state=True,
    write=lambda token, ended: token.masked_fill(ended, PAD),
    remember=torch.logical_or,
    stop=torch.all,
    is_end=lambda token: token == EOS,
    truth=torch.bool,
):
    """A greedy decoder of which one part can be exchanged for a wrong one."""

    def decode(model, src, max_steps):
        state, token = model.start(src), torch.full_like(src[:, 0], BOS)
        ended, written = torch.zeros_like(token, dtype=truth), []
        while len(written) < max_steps and not (written and stop(ended)):
            logits, new_state = model.step(state, hear(token))  # (B, V)
            state = new_state if keep_state else state
            word = logits.argmax(dim=-1)  # (B,)
            token = write(word, ended)
            ended = remember(ended, is_end(token))
            written.append(token)
        return torch.stack(written, dim=1)  # (B, T)

    return decode


def stop_only_together(model, src, max_steps):
    state, token = model.start(src), torch.full_like(src[:, 0], BOS)
    ended, written = torch.zeros_like(token, dtype=torch.bool), []
    while len(written) < max_steps and not (token == EOS).all():
        logits, state = model.step(state, token)  # (B, V)
        token = logits.argmax(dim=-1).masked_fill(ended, PAD)  # (B,)
        ended = ended | (token == EOS)
        written.append(token)
    return torch.stack(written, dim=1)  # (B, T)


def eos_overwritten(model, src, max_steps):
    state, token = model.start(src), torch.full_like(src[:, 0], BOS)
    ended, written = torch.zeros_like(token, dtype=torch.bool), []
    while len(written) < max_steps and not ended.all():
        logits, state = model.step(state, token)  # (B, V)
        token = logits.argmax(dim=-1)  # (B,)
        ended = ended | (token == EOS)
        token = token.masked_fill(ended, PAD)  # (B,)
        written.append(token)
    return torch.stack(written, dim=1)  # (B, T)


def last_column_lost(model, src, max_steps):
    written = decoder_with()(model, src, max_steps)  # (B, T)
    all_ended = bool((written == EOS).any(dim=1).all())
    return written[:, :-1] if all_ended else written


def one_column_of_pad(model, src, max_steps):
    written = decoder_with()(model, src, max_steps)  # (B, T)
    too_many = bool((written == EOS).any(dim=1).all()) and written.shape[1] < max_steps
    return F.pad(written, (0, 1), value=PAD) if too_many else written


talkers = ScriptedModel(
    plans=[
        [7, 5, 2, 9, 8, 2, 6, 4],
        [6, 2, 8, 8, 5, 7, 2, 9],
        [9, 4, 7, 6, 5, 2, 4, 8],
        [2, 6, 2, 5, 4, 8, 7, 2],
        [5, 8, 8, 4, 6, 9, 7, 5],
        [7, 0, 5, 2, 9, 6, 8, 4],
        [3, 1, 6, 3, 2, 7, 5, 2],
    ],
    n_words=11,
)

long_talkers = ScriptedModel(
    plans=[[4 + t % 36 for t in range(60)] + [EOS], [7, 5, EOS] + [6] * 58], n_words=40
)

greedy_decode = Exercise(
    id="greedy_decode",
    lesson=1,
    signature="greedy_decode(model, src (B, T_src), max_steps) → ids (B, T)",
    returns=("ids",),
    oracle=decode_one_by_one,
    cases=(
        Case("one sentence that ends by itself", (talkers, ids([4, 2]), 6)),
        Case("two sentences, one ends earlier", (talkers, ids([4, 9, 2], [5, 2, 0]), 7)),
        Case("the same two the other way round", (talkers, ids([5, 9, 2], [4, 2, 0]), 7)),
        Case("a sentence that max_steps cuts off", (talkers, ids([5, 2], [8, 2], [4, 2]), 5)),
        Case("one that ends at once", (talkers, ids([7, 2], [6, 2], [5, 2], [4, 2]), 8)),
        Case("a single step", (talkers, ids([6, 4, 2], [7, 2, 0]), 1)),
        Case("one sentence, with PAD before EOS", (talkers, ids([9, 2]), 8)),
        Case("one sentence, cut off after a PAD", (talkers, ids([9, 2]), 2)),
        Case("a model that says PAD before EOS", (talkers, ids([9, 2], [5, 2]), 8)),
        Case("PAD before EOS, beside a longer sentence", (talkers, ids([9, 2], [8, 2]), 5)),
        Case("a model that says UNK and BOS before EOS", (talkers, ids([10, 2], [5, 2]), 8)),
        Case(
            "as many sentences as tokens, all of one kind",
            (talkers, ids([4, 6, 2], [4, 2, 0], [4, 9, 2]), 8),
        ),
        Case(
            "a sentence of 60 words, 40 words to choose from",
            (long_talkers, ids([4, 2], [5, 2]), 100),
        ),
    ),
    misconceptions=(
        Misconception(
            "talks_after_eos",
            "Your ids have words after EOS; a sentence that has ended is filled with PAD.",
            decoder_with(write=lambda word, ended: word),
        ),
        Misconception(
            "stops_with_first",
            "Your ids stop where the first sentence has ended; the others are not done.",
            decoder_with(stop=torch.any),
        ),
        Misconception(
            "never_stops",
            "Your ids always have max_steps columns, even when all sentences have ended.",
            decoder_with(stop=lambda ended: False),
        ),
        Misconception(
            "forgets_the_ended",
            "In your ids only the step right after EOS is PAD; then words follow again.",
            decoder_with(remember=lambda ended, ending: ending),
        ),
        Misconception(
            "not_repaired",
            "Your ids go on after EOS until all sentences say EOS at the same step.",
            decoder_with(write=lambda word, ended: word, remember=lambda ended, ending: ending),
        ),
        Misconception(
            "stops_only_together",
            "Your ids stop only where all sentences say EOS at the same step.",
            stop_only_together,
        ),
        Misconception(
            "pad_ends",
            "In your ids PAD ends a sentence; the model may say PAD, only EOS ends it.",
            decoder_with(is_end=lambda token: (token == EOS) | (token == PAD)),
        ),
        Misconception(
            "filled_with_eos",
            "Your ids hold EOS after a sentence has ended; PAD is wanted.",
            decoder_with(write=lambda word, ended: word.masked_fill(ended, EOS)),
        ),
        Misconception(
            "eos_overwritten",
            "Your ids have PAD where EOS stands: PAD begins one column later.",
            eos_overwritten,
        ),
        Misconception(
            "last_column_lost",
            "Your ids lack the last column, in which the last sentence ends.",
            last_column_lost,
        ),
        Misconception(
            "one_column_of_pad",
            "Your ids end in a column of PAD, written after all sentences have ended.",
            one_column_of_pad,
        ),
    ),
    hints=(
        "The broken one checks the last step only. What must it remember about each sentence?",
        "Keep a torch.bool tensor (B,) that says which sentences have ended. It only ever gains "
        "True. A sentence that has ended gets PAD, whatever the model says.",
        "Before the loop, ended is all False. In each step fill the new tokens with PAD where "
        "ended, append them, then ended = ended | (token == EOS), and stop when ended.all().",
    ),
    properties=(
        Property(
            "steps_after_the_end",
            "how often the model is asked",
            "The model is asked for words that are not needed.",
            asked_in_vain,
        ),
        Property(
            "changed_in_place",
            "what model.step was given and returned",
            "You change a tensor in place that model.step was given or returned.",
            changed_in_place,
        ),
    ),
)


# --- exact_match ----------------------------------------------------------------------------------


def compare_as_lists(predicted, tgt):
    """Cut every row after its first EOS, then compare."""

    def sentence(row):
        return row[: row.index(EOS) + 1] if EOS in row else row

    rows = zip(predicted.tolist(), tgt[:, 1:].tolist(), strict=True)
    return torch.tensor([sentence(said) == sentence(true) for said, true in rows])  # (B,)


def widened(row_ids, width):
    """Fill rows up with PAD: (B, T) → (B, width)."""
    return F.pad(row_ids, (0, width - row_ids.shape[1]), value=PAD)


def side_by_side(predicted, tgt):
    """Labels and predictions at the same width, and which labels are real: three (B, T)."""
    labels = tgt[:, 1:]
    width = max(predicted.shape[1], labels.shape[1])
    labels = widened(labels, width)
    return widened(predicted, width), labels, labels != PAD


def words_only(row):
    """The words before EOS."""
    return row[: row.index(EOS)] if EOS in row else row


def words_alone(predicted, tgt):
    rows = zip(predicted.tolist(), tgt[:, 1:].tolist(), strict=True)
    return torch.tensor([words_only(said) == words_only(true) for said, true in rows])


def shorter_width(predicted, tgt):
    width = min(predicted.shape[1], tgt.shape[1] - 1)
    labels = tgt[:, 1 : width + 1]
    return ((predicted[:, :width] == labels) | (labels == PAD)).all(dim=1)


def token_accuracy(predicted, tgt):
    said, labels, real = side_by_side(predicted, tgt)
    return ((said == labels) & real).sum(dim=1) / real.sum(dim=1)


def all_columns(predicted, tgt):
    said, labels, _ = side_by_side(predicted, tgt)
    return (said == labels).all(dim=1)


def bos_compared(predicted, tgt):
    width = max(predicted.shape[1], tgt.shape[1])
    return (widened(predicted, width) == widened(tgt, width)).all(dim=1)


def as_wide_as_labels(predicted, tgt):
    """Predictions filled up or cut to the width of the labels, and the labels: two (B, T-1)."""
    labels = tgt[:, 1:]
    return widened(predicted, labels.shape[1]), labels


def common_columns(predicted, tgt):
    width = min(predicted.shape[1], tgt.shape[1] - 1)
    return (predicted[:, :width] == tgt[:, 1 : width + 1]).all(dim=1)


def columns_of_labels(predicted, tgt):
    said, labels = as_wide_as_labels(predicted, tgt)
    return (said == labels).all(dim=1)


def rows_as_they_are(predicted, tgt):
    rows = zip(predicted.tolist(), tgt[:, 1:].tolist(), strict=True)
    return torch.tensor([said == true for said, true in rows])


def each_token(predicted, tgt):
    said, labels, real = side_by_side(predicted, tgt)
    return (said == labels) | ~real


def each_label(predicted, tgt):
    said, labels = as_wide_as_labels(predicted, tgt)
    return (said == labels) | (labels == PAD)


def one_wrong_in(n):
    """n words, predicted and true: all right; then the first, the middle, the last, EOS wrong."""
    true = torch.tensor([BOS] + [4 + t % 7 for t in range(n)] + [EOS]).repeat(5, 1)
    said = true[:, 1:].clone()  # (5, n + 1)
    said[[1, 2, 3, 4], [0, n // 2, n - 1, n]] = 11
    return said, true


exact_match = Exercise(
    id="exact_match",
    lesson=1,
    signature="exact_match(predicted (B, T_out), tgt (B, T)) → matched (B,) bool",
    returns=("matched",),
    oracle=compare_as_lists,
    cases=(
        Case(
            "one right, one wrong",
            (ids([7, 4, 2], [7, 5, 2]), ids([1, 7, 4, 2], [1, 7, 4, 2])),
        ),
        Case(
            "the same sizes, other words",
            (ids([6, 4, 2], [6, 9, 2]), ids([1, 6, 5, 2], [1, 6, 9, 2])),
        ),
        Case(
            "two lengths, so there is padding",
            (
                ids([6, 2, 0, 0], [5, 8, 9, 2], [5, 8, 4, 2]),
                ids([1, 6, 2, 0, 0], [1, 5, 8, 9, 2], [1, 5, 9, 4, 2]),
            ),
        ),
        Case(
            "anything may follow EOS",
            (
                ids(
                    [8, 5, 2, 9, 4],
                    [8, 2, 5, 0, 2],
                    [4, 4, 4, 4, 2],
                    [6, 2, 2, 2, 2],
                    [5, 2, 2, 2, 2],
                ),
                ids(
                    [1, 8, 5, 2, 0, 0],
                    [1, 8, 2, 0, 0, 0],
                    [1, 4, 4, 4, 4, 2],
                    [1, 6, 9, 2, 0, 0],
                    [1, 5, 2, 0, 0, 0],
                ),
            ),
        ),
        Case(
            "the right words in another order",
            (ids([5, 6, 7, 2], [7, 6, 5, 2]), ids([1, 6, 5, 7, 2], [1, 7, 6, 5, 2])),
        ),
        Case(
            "a prediction that was cut off before its end",
            (
                ids([9, 4, 7], [9, 4, 2], [9, 4, 7], [5, 5, 8], [4, 8, 6]),
                ids(
                    [1, 9, 4, 7, 2, 0],
                    [1, 9, 4, 2, 0, 0],
                    [1, 9, 4, 7, 5, 2],
                    [1, 5, 5, 8, 2, 0],
                    [1, 4, 8, 6, 2, 0],
                ),
            ),
        ),
        Case(
            "a prediction longer than all targets",
            (
                ids([6, 5, 8, 8, 8, 8], [6, 2, 0, 0, 0, 0], [6, 5, 2, 2, 7, 0], [5, 5, 5, 2, 0, 0]),
                ids([1, 6, 5, 2], [1, 6, 2, 0], [1, 6, 5, 2], [1, 5, 5, 2]),
            ),
        ),
        Case(
            "as wide as the target with its BOS",
            (
                ids([4, 9, 2, 0], [1, 4, 9, 2], [4, 2, 0, 0], [1, 4, 2, 0]),
                ids([1, 4, 9, 2], [1, 4, 9, 2], [1, 4, 2, 0], [1, 4, 2, 0]),
            ),
        ),
        Case(
            "PAD or UNK inside a prediction",
            (
                ids([7, 0, 4, 2], [7, 0, 2, 0], [7, 3, 2, 0], [7, 3, 2, 0], [7, 0, 2, 0]),
                ids(
                    [1, 7, 4, 2, 0],
                    [1, 7, 4, 2, 0],
                    [1, 7, 3, 2, 0],
                    [1, 7, 2, 0, 0],
                    [1, 2, 0, 0, 0],
                ),
            ),
        ),
        Case(
            "PAD where EOS should stand",
            (
                ids([7, 4, 0, 2], [7, 4, 0, 0], [7, 4, 2, 0]),
                ids([1, 7, 4, 2], [1, 7, 4, 2], [1, 7, 4, 2]),
            ),
        ),
        Case(
            "UNK for a word, and a word for UNK",
            (ids([7, 3, 2], [7, 9, 2], [7, 3, 2]), ids([1, 7, 4, 2], [1, 7, 3, 2], [1, 7, 3, 2])),
        ),
        Case(
            "the word 74 for the words 7 and 4",
            (ids([74, 2, 0], [7, 4, 2]), ids([1, 7, 4, 2], [1, 7, 4, 2])),
        ),
        Case(
            "a batch of one sentence, and it is empty",
            (ids([2]), ids([1, 2])),
        ),
        Case("forty words, one of them wrong", one_wrong_in(40)),
        Case(
            "ids above 2^53",
            (ids([2**53 + 1, 2], [2**53, 2]), ids([1, 2**53, 2], [1, 2**53, 2])),
        ),
        Case("three hundred words, one of them wrong", one_wrong_in(300)),
        Case(
            "as many sentences as columns",
            (ids([7, 4, 2], [7, 2, 7], [2, 4, 2]), ids([1, 7, 4, 2], [1, 7, 2, 0], [1, 4, 2, 0])),
        ),
    ),
    misconceptions=(
        Misconception(
            "token_accuracy",
            "Your answer is the share of right tokens; one wrong token spoils the sentence.",
            token_accuracy,
        ),
        *(
            Misconception(
                "compares_after_eos",
                "Your answer depends on what stands after EOS; the sentence is over there.",
                answer,
            )
            for answer in (
                all_columns,
                common_columns,
                columns_of_labels,
                rows_as_they_are,
                lambda predicted, tgt: (predicted == tgt[:, 1:]).all(dim=1),
            )
        ),
        *(
            Misconception(
                "bos_compared",
                "You compare with BOS, which predictions do not have: drop that column.",
                answer,
            )
            for answer in (bos_compared, lambda said, tgt: (said == tgt).all(dim=1))
        ),
        Misconception(
            "cut_to_shorter",
            "What a narrow prediction lacks goes unnoticed: fill it up instead of cutting.",
            shorter_width,
        ),
        # Filling narrow predictions up with EOS instead of PAD gives the same answers.
        Misconception(
            "breaks_off_unnoticed",
            "A prediction that breaks off before EOS counts as right: EOS must be said.",
            words_alone,
        ),
        *(
            Misconception(
                "one_per_token",
                "Your answer has one value for each token; one for each sentence is wanted.",
                answer,
            )
            for answer in (each_token, each_label, lambda said, tgt: said == tgt[:, 1:])
        ),
        *(
            Misconception(
                "one_for_all",
                "Your answer is one value for the whole batch; each sentence has its own.",
                answer,
            )
            for answer in (
                lambda predicted, tgt: compare_as_lists(predicted, tgt).all(),
                lambda predicted, tgt: (predicted == tgt[:, 1:]).all(),
                lambda predicted, tgt: torch.equal(predicted, tgt[:, 1:]),
            )
        ),
    ),
    hints=(
        "Drop the column that only the target has. Which of its other tokens must be equal?",
        "All labels up to EOS must be equal, EOS too. Where the label is PAD, anything goes. "
        "Fill a prediction that is too narrow up with PAD.",
        "Once predictions are as wide as the labels: ((predicted == labels) | (labels == "
        "PAD)).all(dim=1). A prediction that is wider can be cut: EOS has been compared by "
        "then.",
    ),
)


EXERCISES = (teacher_forcing, token_loss, gru_step, last_real_state, greedy_decode, exact_match)
