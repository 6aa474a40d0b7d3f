"""The exercises of lesson 1, as data: reference, cases, known mistakes, hints.

Targets are rows BOS, words, EOS, PAD …; sources are rows of words, EOS, PAD …
"""

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch.nn import functional as F

from lessons_lib.checks.exercise import Case, Exercise, Facts, Misconception, Property
from lessons_lib.checks.inputs import normal
from lessons_lib.checks.properties import same_gradient
from lessons_lib.kit.vocabulary import BOS, EOS, PAD, UNK, lengths


def ids(*rows: list[int]) -> torch.Tensor:
    """Token ids, (B, T)."""
    return torch.tensor(rows)


# --- teacher_forcing ------------------------------------------------------------------------------


def cut_token_by_token(tgt):
    """Read a token, answer with the next one: one pair for each place but the last."""
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
    ),
    misconceptions=(
        Misconception(
            "swapped",
            "Decoder input and labels have changed places.",
            lambda tgt: (tgt[:, 1:], tgt[:, :-1]),
        ),
        Misconception(
            "labels_repeat_input",
            "Your labels are the decoder input: the model would learn to copy.",
            lambda tgt: (tgt[:, :-1], tgt[:, :-1]),
        ),
        Misconception(
            "input_is_the_answer",
            "Your decoder input is the labels: the model would read the answer.",
            lambda tgt: (tgt[:, 1:], tgt[:, 1:]),
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
            "labels_keep_bos",
            "Your labels start with BOS, which the decoder never has to say.",
            lambda tgt: (tgt[:, :-1], tgt),
        ),
        Misconception(
            "rolled",
            "Your labels are rolled around: BOS comes back at the end.",
            lambda tgt: (tgt, tgt.roll(-1, dims=1)),
        ),
        Misconception(
            "labels_filled_up",
            "Your labels are filled up with PAD to T columns; T-1 are wanted.",
            fill_up_labels,
        ),
        Misconception(
            "bos_twice",
            "Your decoder input starts with two BOS: the target brings its own.",
            shift_right,
        ),
        Misconception(
            "bos_lost",
            "Your decoder input has lost BOS, from which the first word is said.",
            lambda tgt: (tgt[:, 1:-1], tgt[:, 2:]),
        ),
        Misconception(
            "two_ahead",
            "Your labels are two words ahead of the decoder input, not one.",
            lambda tgt: (tgt[:, :-2], tgt[:, 2:]),
        ),
        Misconception(
            "rows_cut",
            "You cut off rows, not columns: the first axis counts sentences.",
            lambda tgt: (tgt[:-1], tgt[1:]),
        ),
        Misconception(
            "labels_without_eos",
            "Your labels hold no EOS: the model would never learn to stop.",
            lambda tgt: (tgt[:, :-1], tgt[:, 1:].masked_fill(tgt[:, 1:] == EOS, PAD)),
        ),
        Misconception(
            "labels_without_eos",
            "Your labels lack the last column: the longest sentence loses its EOS.",
            lambda tgt: (tgt[:, :-1], tgt[:, 1:-1]),
        ),
        # Harmless in training, as the label behind it is PAD; but the task is to shift only.
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


def average_of_averages(logits, labels, pad=0):
    return (real_losses(logits, labels, pad).sum(1) / (labels != pad).sum(1)).mean()


def zero_padded_logits(logits, labels, pad=0):
    return each_loss(logits * (labels != pad)[..., None], labels).mean()


def wrong_class_axis(logits, labels, pad=0):
    return F.cross_entropy(logits, labels, ignore_index=pad)


def reshape_to_class_axis(logits, labels, pad=0):
    B, T, V = logits.shape
    return F.cross_entropy(logits.reshape(B, V, T), labels, ignore_index=pad)


def flat_loss(logits, labels, pad):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=pad)


def masked_average(losses, mask):
    return (losses * mask).sum() / mask.sum()


def pad_word_muted(logits, labels, pad=0):
    muted = torch.arange(logits.shape[-1]) == pad  # (V,)
    return flat_loss(logits.masked_fill(muted, -1e9), labels, pad)


token_loss_inputs = (
    normal(1, 3, 5, 6, scale=2.0),
    ids([5, 4, 2, 0, 0], [4, 4, 5, 5, 2], [3, 2, 0, 0, 0]),
)

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
            "a long sentence beside a short one",
            (normal(2, 2, 8, 9), ids([2, 0, 0, 0, 0, 0, 0, 0], [7, 5, 8, 4, 6, 5, 7, 2])),
        ),
        Case(
            "another id for padding, also in front; id 0 is a word",
            (normal(3, 4, 6, 9), ids(*[[0, 5, 2, 8, 8, 8], [8, 4, 0, 6, 7, 2]] * 2), 8),
        ),
        Case("a single word", (normal(4, 1, 1, 5), ids([2]))),
        Case(
            "words of which the model is sure: losses of 0 and of 40",
            (
                torch.eye(5)[None, 3:4].repeat(1, 3, 1) * torch.tensor([[[40.0], [0.0], [40.0]]]),
                ids([3, 2, 1]),
            ),
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
        Misconception(
            "average_of_averages",
            "Your loss averages each sentence first: short sentences weigh too much.",
            average_of_averages,
        ),
        Misconception(
            "sum",
            "Your loss is the sum over the real words, not their average.",
            lambda logits, labels, pad=0: real_losses(logits, labels, pad).sum(),
        ),
        Misconception(
            "per_sentence",
            "Your loss is divided by the number of sentences, not of real words.",
            lambda logits, labels, pad=0: real_losses(logits, labels, pad).sum() / len(labels),
        ),
        Misconception(
            "one_per_position",
            "Your loss keeps a number for every position; one average is wanted.",
            lambda logits, labels, pad=0: real_losses(logits, labels, pad),
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
            "no_softmax",
            "Your loss averages -logit of the right words: the softmax is missing.",
            lambda logits, labels, pad=0: F.nll_loss(
                logits.transpose(1, 2), labels, ignore_index=pad
            ),
        ),
        Misconception(
            "no_log",
            "Your loss averages -p of the right words: the logarithm is missing.",
            lambda logits, labels, pad=0: F.nll_loss(
                logits.softmax(-1).transpose(1, 2), labels, ignore_index=pad
            ),
        ),
        Misconception(
            "softmax_over_time",
            "Your softmax runs over the positions of a sentence, not over the words.",
            lambda logits, labels, pad=0: F.nll_loss(
                logits.log_softmax(1).transpose(1, 2), labels, ignore_index=pad
            ),
        ),
        Misconception(
            "shifted_again",
            "Your loss shifts the labels once more: they are one ahead already.",
            lambda logits, labels, pad=0: flat_loss(logits[:, :-1], labels[:, 1:], pad),
        ),
        Misconception(
            "padded_logits_zeroed",
            "You set the logits of padding to zero; each still adds log V to the loss.",
            zero_padded_logits,
        ),
        Misconception(
            "class_axis",
            "cross_entropy looks for the words on axis 1, and finds the positions there.",
            wrong_class_axis,
        ),
        Misconception(
            "reshaped_class_axis",
            "You reshape (B, T, V) to (B, V, T): that mixes the numbers up; transpose.",
            reshape_to_class_axis,
        ),
        Misconception(
            "eos_left_out",
            "Your loss leaves EOS out: the model would never learn to stop.",
            lambda logits, labels, pad=0: masked_average(
                each_loss(logits, labels), (labels != pad) & (labels != EOS)
            ),
        ),
        Misconception(
            "softmax_over_sentences",
            "Your softmax runs over the sentences of the batch, not over the words.",
            lambda logits, labels, pad=0: F.nll_loss(
                logits.log_softmax(0).transpose(1, 2), labels, ignore_index=pad
            ),
        ),
        Misconception(
            "pad_word_muted",
            "You take `pad` out of the softmax; only positions are left out, no word.",
            pad_word_muted,
        ),
        Misconception(
            "crossed",
            "You pair every position with every label: gather takes one label for each.",
            lambda logits, labels, pad=0: -logits.log_softmax(-1)[:, :, labels].mean(),
        ),
        Misconception(
            "best_instead_of_right",
            "Your loss takes the most probable word, not the right one.",
            lambda logits, labels, pad=0: masked_average(
                -logits.log_softmax(-1).amax(-1), labels != pad
            ),
        ),
    ),
    hints=(
        "Each position has one number: -log of the probability of the right word. Which of them"
        " count, and how many are they?",
        "log_softmax over the last axis gives all log-probabilities, and gather picks the right"
        " word's. Or let F.cross_entropy do both.",
        "F.cross_entropy wants logits (N, V) and labels (N,): flatten B and T into one axis. "
        "Its ignore_index leaves the padding out above and below the fraction line.",
    ),
    properties=(same_gradient(average_word_by_word, ("logits", "labels"), token_loss_inputs),),
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


def proposal_first(x, h, w_x, w_h, b_x, b_h):
    x_n, x_r, x_z, h_n, h_r, h_z = gates(x, h, w_x, w_h, b_x, b_h)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    return blend(h, z, right_proposal(x_n, h_n, r))


def reset_without_matrix(x, h, w_x, w_h, b_x, b_h):
    x_r, x_z, x_n, h_r, h_z, _ = gates(x, h, w_x, w_h, b_x, b_h)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    return blend(h, z, torch.tanh(x_n + r * h))


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
        Case("three numbers of memory, no biases", gru_inputs(10, 1, 2, 3, biases=0.0)),
        Case("with biases", gru_inputs(20, 2, 3, 4, biases=1.0)),
        Case("a batch, more inputs than memory", gru_inputs(30, 5, 6, 2, biases=1.0)),
    ),
    misconceptions=(
        Misconception(
            "z_inverted",
            "z and 1 - z have changed places: here z says how much is kept.",
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
        Misconception(
            "reset_on_input",
            "Your reset gate acts on the part from x; it is for the past only.",
            gru_with(lambda x_n, h_n, r: torch.tanh(r * (x_n + h_n))),
        ),
        Misconception(
            "reset_on_input",
            "Your reset gate acts on the part from x; it is for the past only.",
            gru_with(lambda x_n, h_n, r: torch.tanh(r * x_n + h_n)),
        ),
        Misconception(
            "reset_without_matrix",
            "Your reset gate acts on h itself; here it acts on h @ w_h + b_h.",
            reset_without_matrix,
        ),
        Misconception(
            "no_reset",
            "Your output is what you get without a reset gate.",
            gru_with(lambda x_n, h_n, r: torch.tanh(x_n + h_n)),
        ),
        Misconception(
            "gates_swapped",
            "You read the gates as z, r, n; the columns stand in the order r, z, n.",
            gates_swapped,
        ),
        Misconception(
            "proposal_first",
            "You read the columns as n, r, z; they stand in the order r, z, n.",
            proposal_first,
        ),
        Misconception(
            "no_sigmoid",
            "Your gates are what you get without the sigmoid.",
            gru_with(right_proposal, gate=lambda total: total),
        ),
        Misconception(
            "tanh_gates",
            "Your gates go through a tanh; a gate is a sigmoid, between 0 and 1.",
            gru_with(right_proposal, gate=torch.tanh),
        ),
        Misconception(
            "no_tanh",
            "Your proposal n is what you get without the tanh.",
            gru_with(lambda x_n, h_n, r: x_n + r * h_n),
        ),
        Misconception(
            "sigmoid_proposal",
            "Your proposal n goes through a sigmoid; it is a tanh.",
            gru_with(lambda x_n, h_n, r: torch.sigmoid(x_n + r * h_n)),
        ),
        Misconception(
            "proposal_only",
            "You return the proposal n alone: nothing of the old state is kept.",
            gru_with(right_proposal, lambda h, z, n: n),
        ),
        Misconception(
            "not_a_blend",
            "Your result is n + z * h: of n, only the share 1 - z comes in.",
            gru_with(right_proposal, lambda h, z, n: n + z * h),
        ),
        Misconception(
            "weights_transposed",
            "These weights are (in, out), used as x @ w; nn.Linear keeps (out, in).",
            lambda x, h, w_x, w_h, b_x, b_h: F.linear(x, w_x, b_x) + F.linear(h, w_h, b_h),
        ),
        Misconception(
            "weights_transposed",
            "These weights are (in, out), used as x @ w; torch's GRU keeps (out, in).",
            lambda x, h, w_x, w_h, b_x, b_h: torch.gru_cell(x, h, w_x, w_h, b_x, b_h),
        ),
        Misconception(
            "no_b_h",
            "Your output is what you get without the bias b_h.",
            lambda x, h, w_x, w_h, b_x, b_h: torch_gru_step(x, h, w_x, w_h, b_x, 0 * b_h),
        ),
        Misconception(
            "no_b_x",
            "Your output is what you get without the bias b_x.",
            lambda x, h, w_x, w_h, b_x, b_h: torch_gru_step(x, h, w_x, w_h, 0 * b_x, b_h),
        ),
        Misconception(
            "no_biases",
            "Your output is what you get without both biases.",
            lambda x, h, w_x, w_h, b_x, b_h: torch_gru_step(x, h, w_x, w_h, 0 * b_x, 0 * b_h),
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


def reshaped_axes(states, src):
    T, B, d_hidden = states.shape
    return states.reshape(B, T, d_hidden)[torch.arange(B), lengths(src) - 1]


def rows_of_time(states, src):
    rows = [steps[:n][-1] for steps, n in zip(states, lengths(src), strict=False)]
    return torch.stack(rows)


def mask_by_time(src):
    """Which tokens are real, time first: (T, B, 1)."""
    return (src != PAD).T[..., None]


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
            "more padding than the longest sentence needs",
            (normal(52, 6, 2, 3), ids([5, 7, 4, 2, 0, 0], [8, 2, 0, 0, 0, 0])),
        ),
        Case(
            "more sentences than words",
            (normal(53, 3, 5, 2), ids([4, 5, 2], [6, 2, 0], [7, 2, 0], [8, 8, 2], [9, 2, 0])),
        ),
    ),
    misconceptions=(
        Misconception(
            "last_of_all",
            "You take the last step for all: the state after the padding was read.",
            lambda states, src: states[-1],
        ),
        Misconception(
            "longest_for_all",
            "You take one step for all: the end of the longest sentence.",
            lambda states, src: states[lengths(src).max() - 1],
        ),
        Misconception(
            "first_for_all",
            "You take one step for all: the end of the first sentence.",
            lambda states, src: states[lengths(src)[0] - 1],
        ),
        Misconception(
            "before_eos",
            "You take the state before EOS was read: EOS is a real token too.",
            lambda states, src: pick(states, lengths(src) - 2),
        ),
        Misconception(
            "one_late",
            "You count from 1: step `length` is one behind the last real token.",
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
            "You index the sentence first; here the first axis is time.",
            rows_of_time,
        ),
        Misconception(
            "axes_swapped",
            "You take the last sentence: [:, -1] is its axis; the first axis is time.",
            lambda states, src: states[:, -1],
        ),
        Misconception(
            "reshaped_axes",
            "You reshape (T, B, d) to (B, T, d): that mixes sentences up; transpose.",
            reshaped_axes,
        ),
        Misconception(
            "order_of_time",
            "Your states stand in the order in which the sentences end, not as in src.",
            lambda states, src: states[src.T == EOS],
        ),
        Misconception(
            "counted_down_columns",
            "You count the tokens of each column; dim=1 counts those of each sentence.",
            lambda states, src: states[(src != PAD).sum(dim=0) - 1, torch.arange(len(src))],
        ),
        Misconception(
            "first_state",
            "You take the state after the first word.",
            lambda states, src: states[0],
        ),
        Misconception(
            "average_of_real",
            "You average the states of the real tokens; only the last one is wanted.",
            lambda states, src: (states * mask_by_time(src)).sum(0) / mask_by_time(src).sum(0),
        ),
        Misconception(
            "average_of_all",
            "You average all states, padding too; only the last real one is wanted.",
            lambda states, src: states.mean(dim=0),
        ),
        Misconception(
            "padding_zeroed",
            "You set the padded states to zero and take the last step for all.",
            lambda states, src: (states * mask_by_time(src))[-1],
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


@dataclass(frozen=True, eq=False, repr=False)
class ScriptedModel:
    """A model that knows its answers by heart: a source whose first word is 4 + i says plans[i].

    As any trained model, it goes on talking after EOS. It speaks the next word of its plan only if
    it is handed the word before (BOS first); otherwise it loses the thread. To PAD it says EOS.
    """

    plans: list[list[int]]
    n_words: int

    def __repr__(self) -> str:
        said = [f"{word} → {' '.join(map(str, plan))}" for word, plan in enumerate(self.plans, 4)]
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
        logits = 2.0 * F.one_hot(word, self.n_words) - 1.0  # (B, V)
        return logits, (plan, said + 1)


@dataclass(frozen=True, eq=False, repr=False)
class ListeningModel(ScriptedModel):
    """A model that keeps the states in which it was asked for a word."""

    asked: list[tuple] = field(default_factory=list)

    def step(self, state, token):
        self.asked.append(state)
        return super().step(state, token)


def asked_in_vain(decode) -> Facts | None:
    """Steps at which no sentence of those handed over wants another word."""
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


def last_column_lost(model, src, max_steps):
    written = decoder_with()(model, src, max_steps)  # (B, T)
    all_ended = bool((written == EOS).any(dim=1).all())
    return written[:, :-1] if all_ended else written


def one_column_of_pad(model, src, max_steps):
    written = decoder_with()(model, src, max_steps)  # (B, T)
    too_many = bool((written == EOS).any(dim=1).all()) and written.shape[1] < max_steps
    return F.pad(written, (0, 1), value=PAD) if too_many else written


def eos_unwritten(model, src, max_steps):
    written = decoder_with()(model, src, max_steps)
    return written.masked_fill(written == EOS, PAD)


def bos_written(model, src, max_steps):
    written = decoder_with()(model, src, max_steps)
    return torch.cat([torch.full_like(src[:, :1], BOS), written], dim=1)


talkers = ScriptedModel(
    plans=[
        [7, 5, 2, 9, 8, 2, 6, 4],
        [6, 2, 8, 8, 5, 7, 2, 9],
        [9, 4, 7, 6, 5, 2, 4, 8],
        [2, 6, 2, 5, 4, 8, 7, 2],
        [5, 8, 8, 4, 6, 9, 7, 5],
        [7, 0, 5, 2, 9, 6, 8, 4],
    ],
    n_words=11,
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
        Case("a sentence that max_steps cuts off", (talkers, ids([5, 2], [8, 2], [4, 2]), 5)),
        Case("one that ends at once", (talkers, ids([7, 2], [6, 2], [5, 2], [4, 2]), 8)),
        Case("a single step", (talkers, ids([6, 4, 2], [7, 2, 0]), 1)),
        Case("a model that says PAD before EOS", (talkers, ids([9, 2], [5, 2]), 8)),
    ),
    misconceptions=(
        Misconception(
            "talks_after_eos",
            "Words stand after EOS: a sentence that has ended is filled with PAD.",
            decoder_with(write=lambda word, ended: word),
        ),
        Misconception(
            "stops_with_first",
            "You stop when the first sentence has ended; the others are not done.",
            decoder_with(stop=torch.any),
        ),
        Misconception(
            "never_stops",
            "You always write max_steps columns, even when all sentences have ended.",
            decoder_with(stop=lambda ended: False),
        ),
        Misconception(
            "forgets_the_ended",
            "Sentences that have ended speak again: only the last step's EOS counts.",
            decoder_with(remember=lambda ended, ending: ending),
        ),
        Misconception(
            "not_repaired",
            "Sentences talk on behind EOS, and all must say EOS together to stop.",
            decoder_with(write=lambda word, ended: word, remember=lambda ended, ending: ending),
        ),
        Misconception(
            "stops_only_together",
            "You stop only when all sentences say EOS at the same step.",
            stop_only_together,
        ),
        Misconception(
            "hears_only_bos",
            "The model hears BOS at every step, not the word that it has just said.",
            decoder_with(hear=lambda token: torch.full_like(token, BOS)),
        ),
        Misconception(
            "state_not_kept",
            "Every step starts from the first state: the new one is not carried on.",
            decoder_with(keep_state=False),
        ),
        Misconception(
            "bos_written",
            "Your sentences start with BOS, which is heard, but not said.",
            bos_written,
        ),
        Misconception(
            "eos_unwritten",
            "Your sentences lack EOS: it belongs to what the model says.",
            eos_unwritten,
        ),
        Misconception(
            "one_step_short",
            "You take one step fewer than max_steps.",
            lambda model, src, max_steps: decoder_with()(model, src, max_steps - 1),
        ),
        Misconception(
            "one_step_long",
            "You take one step more than max_steps.",
            lambda model, src, max_steps: decoder_with()(model, src, max_steps + 1),
        ),
        Misconception(
            "pad_ends",
            "A sentence ends with PAD in yours; the model may say PAD, only EOS ends it.",
            decoder_with(is_end=lambda token: (token == EOS) | (token == PAD)),
        ),
        Misconception(
            "filled_with_eos",
            "You fill sentences that have ended with EOS; PAD is wanted.",
            decoder_with(write=lambda word, ended: word.masked_fill(ended, EOS)),
        ),
        Misconception(
            "last_column_lost",
            "Your last column is missing: you stop before it is appended.",
            last_column_lost,
        ),
        Misconception(
            "one_column_of_pad",
            "You notice one step too late that all have ended: a column of PAD follows.",
            one_column_of_pad,
        ),
        Misconception(
            "ended_not_bool",
            "Integers pick rows by number: `ended` as an index needs dtype=torch.bool.",
            decoder_with(
                write=lambda word, ended: word.index_fill(0, ended, PAD),
                remember=torch.bitwise_or,
                truth=torch.long,
            ),
        ),
    ),
    hints=(
        "The broken one looks at the last step only. What must it remember about each sentence?",
        "Keep a tensor (B,) of truth values that says who has ended. It only ever gains True. "
        "Whoever has ended gets PAD, whatever the model says.",
        "Before the loop, ended is all False. In each step fill the new tokens with PAD where "
        "ended, append them, then ended = ended | (token == EOS), and stop when ended.all().",
    ),
    properties=(
        Property(
            "steps_after_the_end",
            "how often the model is asked",
            "The model is asked for more words after all sentences have ended.",
            asked_in_vain,
        ),
    ),
)


# --- exact_match ----------------------------------------------------------------------------------


def compare_as_lists(predicted, tgt):
    """Cut every row behind its first EOS, then compare."""

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


def order_left_out(predicted, tgt):
    rows = zip(predicted.tolist(), tgt[:, 1:].tolist(), strict=True)
    return torch.tensor(
        [sorted(words_only(said)) == sorted(words_only(true)) for said, true in rows]
    )


def shorter_width(predicted, tgt):
    width = min(predicted.shape[1], tgt.shape[1] - 1)
    labels = tgt[:, 1 : width + 1]
    return ((predicted[:, :width] == labels) | (labels == PAD)).all(dim=1)


def token_accuracy(predicted, tgt):
    said, labels, real = side_by_side(predicted, tgt)
    return ((said == labels) & real).sum(dim=1) / real.sum(dim=1)


def padding_accuracy(predicted, tgt):
    said, labels, _ = side_by_side(predicted, tgt)
    return (said == labels).float().mean(dim=1)


def any_token(predicted, tgt):
    said, labels, real = side_by_side(predicted, tgt)
    return ((said == labels) & real).any(dim=1)


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


def pad_dropped(predicted, tgt):
    def words(row):
        return [word for word in (row[: row.index(EOS) + 1] if EOS in row else row) if word != PAD]

    rows = zip(predicted.tolist(), tgt[:, 1:].tolist(), strict=True)
    return torch.tensor([words(said) == words(true) for said, true in rows])


def pad_matches_anything(predicted, tgt):
    said, labels, real = side_by_side(predicted, tgt)
    return ((said == labels) | (said == PAD) | ~real).all(dim=1)


def anything_for_eos(predicted, tgt):
    said, labels, real = side_by_side(predicted, tgt)
    return ((said == labels) | ~real | (labels == EOS)).all(dim=1)


def each_token(predicted, tgt):
    said, labels, real = side_by_side(predicted, tgt)
    return (said == labels) | ~real


def each_label(predicted, tgt):
    said, labels = as_wide_as_labels(predicted, tgt)
    return (said == labels) | (labels == PAD)


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
            "two lengths, so there is padding",
            (
                ids([6, 2, 0, 0], [5, 8, 9, 2], [5, 8, 4, 2]),
                ids([1, 6, 2, 0, 0], [1, 5, 8, 9, 2], [1, 5, 9, 4, 2]),
            ),
        ),
        Case(
            "anything may follow EOS",
            (
                ids([8, 5, 2, 9, 4], [8, 2, 5, 0, 2], [4, 4, 4, 4, 2], [6, 2, 2, 2, 2]),
                ids([1, 8, 5, 2, 0, 0], [1, 8, 2, 0, 0, 0], [1, 4, 4, 4, 4, 2], [1, 6, 9, 2, 0, 0]),
            ),
        ),
        Case(
            "the right words in another order",
            (ids([5, 6, 7, 2], [7, 6, 5, 2]), ids([1, 6, 5, 7, 2], [1, 7, 6, 5, 2])),
        ),
        Case(
            "a prediction that was cut off before its end",
            (
                ids([9, 4, 7], [9, 4, 2], [9, 4, 7]),
                ids([1, 9, 4, 7, 2, 0], [1, 9, 4, 2, 0, 0], [1, 9, 4, 7, 5, 2]),
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
            (ids([4, 9, 2, 0], [1, 4, 9, 2]), ids([1, 4, 9, 2], [1, 4, 9, 2])),
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
            "a batch of one sentence, and it is empty",
            (ids([2]), ids([1, 2])),
        ),
    ),
    misconceptions=(
        Misconception(
            "token_accuracy",
            "You give the share of right tokens; one wrong token spoils the sentence.",
            token_accuracy,
        ),
        Misconception(
            "token_accuracy_with_padding",
            "You give the share of equal columns, padding counted in.",
            padding_accuracy,
        ),
        Misconception(
            "any_token",
            "Your answer is True as soon as one token is right; all must be.",
            any_token,
        ),
        *(
            Misconception(
                "compares_after_eos",
                "You compare what stands after EOS too; the sentence is over there.",
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
            "same_width_assumed",
            "You compare column by column; predictions may be wider or narrower.",
            lambda predicted, tgt: ((predicted == tgt[:, 1:]) | (tgt[:, 1:] == PAD)).all(dim=1),
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
        Misconception(
            "eos_left_out",
            "Where the target has EOS you accept anything: EOS must be said too.",
            anything_for_eos,
        ),
        Misconception(
            "pad_dropped",
            "You drop PAD inside a prediction; before EOS it is a wrong word like others.",
            pad_dropped,
        ),
        Misconception(
            "pad_matches_anything",
            "PAD in a prediction counts as right: a sentence that breaks off passes.",
            pad_matches_anything,
        ),
        *(
            Misconception(
                "one_per_token",
                "You give a truth value for each token; each sentence has one, for all.",
                answer,
            )
            for answer in (each_token, each_label, lambda said, tgt: said == tgt[:, 1:])
        ),
        Misconception(
            "order_left_out",
            "You compare which words occur, not their order.",
            order_left_out,
        ),
        *(
            Misconception(
                "one_for_all",
                "You give one answer for the whole batch; each sentence has its own.",
                answer,
            )
            for answer in (
                lambda predicted, tgt: compare_as_lists(predicted, tgt).all(),
                lambda predicted, tgt: (predicted == tgt[:, 1:]).all(),
                lambda predicted, tgt: torch.equal(predicted, tgt[:, 1:]),
            )
        ),
        Misconception(
            "share_of_sentences",
            "You give the share of right sentences; one truth value each is wanted.",
            lambda predicted, tgt: compare_as_lists(predicted, tgt).float().mean(),
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
