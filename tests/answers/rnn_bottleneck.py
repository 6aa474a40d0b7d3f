"""Answers to the exercises of lesson 1.

RIGHT: the same function in other styles; all must pass. UNNAMED: wrong answers that make no known
mistake, or two at once; they must fail, and none may be given a name.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib import decoding
from lessons_lib.kit import metrics, training

PAD, BOS, EOS = 0, 1, 2


# --- teacher_forcing ------------------------------------------------------------------------------


def forcing_narrow(tgt):
    width = tgt.shape[1] - 1
    return tgt.narrow(1, 0, width), tgt.narrow(1, 1, width)


def forcing_as_a_list_of_copies(tgt):
    return [tgt[:, :-1].clone(), tgt[:, 1:].contiguous()]


def forcing_by_columns(tgt):
    columns = tgt.unbind(dim=1)
    return torch.stack(columns[:-1], dim=1), torch.stack(columns[1:], dim=1)


def forcing_by_lists(tgt):
    rows = tgt.tolist()
    return torch.tensor([row[:-1] for row in rows]), torch.tensor([row[1:] for row in rows])


def forcing_windows(tgt):
    return tgt.unfold(1, 2, 1).unbind(dim=-1)


def forcing_rolled_then_cut(tgt):
    return tgt[:, : tgt.size(1) - 1], torch.roll(tgt, -1, dims=1)[:, :-1]


def forcing_numpy(tgt):
    array = tgt.numpy()
    return torch.from_numpy(np.delete(array, -1, axis=1)), torch.from_numpy(array[:, 1:].copy())


def forcing_in_place_on_a_copy(tgt):
    shifted = tgt.clone()
    shifted[:, :-1] = tgt[:, 1:]
    return tgt[:, :-1], shifted[:, :-1]


# --- token_loss -----------------------------------------------------------------------------------


def loss_transposed(logits, labels, pad=0):
    return F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=pad)


def loss_of_selected(logits, labels, pad=0):
    real = labels != pad
    return nn.CrossEntropyLoss()(logits[real], labels[real])


def loss_gathered(logits, labels, pad=0):
    log_p = torch.log_softmax(logits, dim=-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    mask = (labels != pad).float()
    return -(log_p * mask).sum() / mask.sum()


def loss_one_hot(logits, labels, pad=0):
    one_hot = F.one_hot(labels, logits.shape[-1]).to(logits.dtype)
    log_p = torch.einsum("btv,btv->bt", one_hot, logits.softmax(-1).log())
    return -log_p[labels != pad].mean()


def loss_by_logsumexp(logits, labels, pad=0):
    B, T, V = logits.shape
    flat, right = logits.view(B * T, V), labels.view(-1)
    losses = flat.logsumexp(dim=1) - flat[torch.arange(B * T), right]
    return torch.where(right == pad, 0.0, losses).sum() / (right != pad).sum()


def loss_by_loops(logits, labels, pad=0):
    total, count = 0.0, 0
    for sentence, right in zip(logits, labels, strict=True):
        for scores, word in zip(sentence, right, strict=True):
            if word != pad:
                total = total - torch.log(scores.exp()[word] / scores.exp().sum())
                count += 1
    return total / count


def loss_double_inside(logits, labels, pad=0):
    log_p = torch.distributions.Categorical(logits=logits.double()).log_prob(labels)
    return -(log_p.masked_fill(labels == pad, 0).sum() / (labels != pad).sum()).float()


def loss_zeroed_in_place(logits, labels, pad=0):
    losses = F.nll_loss(F.log_softmax(logits, -1).permute(0, 2, 1), labels, reduction="none")
    losses[labels == pad] = 0
    return losses.sum().div(labels.ne(pad).sum())


# --- gru_step -------------------------------------------------------------------------------------


def gru_cell(x, h, w_x, w_h, b_x, b_h):
    cell = nn.GRUCell(w_x.shape[0], w_h.shape[0])
    weights = {"weight_ih": w_x.T, "weight_hh": w_h.T, "bias_ih": b_x, "bias_hh": b_h}
    return torch.func.functional_call(cell, weights, (x, h))


def gru_by_slices(x, h, w_x, w_h, b_x, b_h):
    d = h.shape[1]
    from_x, from_h = torch.addmm(b_x, x, w_x), torch.addmm(b_h, h, w_h)
    r, z = torch.sigmoid(from_x[:, : 2 * d] + from_h[:, : 2 * d]).split(d, dim=1)
    n = torch.tanh(from_x[:, 2 * d :] + r * from_h[:, 2 * d :])
    return n + z * (h - n)


def gru_six_products(x, h, w_x, w_h, b_x, b_h):
    (x_r, x_z, x_n), (h_r, h_z, h_n) = w_x.chunk(3, 1), w_h.chunk(3, 1)
    (a_r, a_z, a_n), (b_r, b_z, b_n) = b_x.chunk(3), b_h.chunk(3)
    r = 1 / (1 + torch.exp(-(x @ x_r + a_r + h @ h_r + b_r)))
    z = 1 / (1 + torch.exp(-(x @ x_z + a_z + h @ h_z + b_z)))
    n = (x @ x_n + a_n + r * (h @ h_n + b_n)).tanh()
    return z * h + (1 - z) * n


def gru_einsum(x, h, w_x, w_h, b_x, b_h):
    d = w_h.shape[0]
    from_x = torch.einsum("bi,igd->gbd", x, w_x.view(-1, 3, d)) + b_x.view(3, 1, d)
    from_h = torch.einsum("bi,igd->gbd", h, w_h.view(-1, 3, d)) + b_h.view(3, 1, d)
    gate = (from_x[:2] + from_h[:2]).sigmoid()
    return torch.lerp((from_x[2] + gate[0] * from_h[2]).tanh(), h, gate[1])


# --- last_real_state ------------------------------------------------------------------------------


def last_gathered(states, src):
    steps = (src != PAD).sum(1) - 1
    index = steps[None, :, None].expand(1, -1, states.shape[-1])
    return states.gather(0, index).squeeze(0)


def last_by_list(states, src):
    ends = (src == EOS).long().argmax(dim=1)
    return torch.stack([states[end, row] for row, end in enumerate(ends)])


def last_batch_first(states, src):
    states = states.transpose(0, 1)
    return states[range(len(src)), src.ne(PAD).sum(-1) - 1]


def last_by_mask(states, src):
    following = torch.cat([src[:, 1:], torch.zeros_like(src[:, :1])], dim=1)
    is_last = (src != PAD) & (following == PAD)
    return torch.einsum("tbd,bt->bd", states, is_last.to(states.dtype))


def last_packed(states, src):
    kept = states[0]
    for t in range(1, len(states)):
        kept = torch.where((src[:, t] != PAD)[:, None], states[t], kept)
    return kept


# --- greedy_decode --------------------------------------------------------------------------------


def decode_into_a_table(model, src, max_steps):
    table = torch.zeros(src.shape[0], max_steps, dtype=torch.long)
    running, token = torch.ones(src.shape[0], dtype=torch.bool), torch.tensor([BOS] * len(src))
    state, t = model.start(src), 0
    while t < max_steps and running.any():
        logits, state = model.step(state, token)
        token = torch.softmax(logits, dim=1).max(dim=1).indices
        table[running, t] = token[running]
        running &= token != EOS
        t += 1
    return table[:, :t]


def decode_only_the_running(model, src, max_steps):
    state, token = model.start(src), src.new_ones(len(src))
    rows, words = torch.arange(len(src)), [[] for _ in src]
    for _ in range(max_steps):
        logits, state = model.step(state, token)
        token = logits.topk(1).indices[:, 0]
        for row, word in zip(rows.tolist(), token.tolist(), strict=True):
            words[row].append(word)
        going = token != EOS
        state, token, rows = tuple(part[going] for part in state), token[going], rows[going]
        if len(rows) == 0:
            break
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in words], batch_first=True)


def decode_all_then_tidy(model, src, max_steps):
    state, token, columns = model.start(src), torch.full((len(src),), BOS), []
    for _ in range(max_steps):
        logits, state = model.step(state, token)
        token = logits.argmax(1)
        columns.append(token[:, None])
    ids = torch.cat(columns, dim=1)
    ended = (ids == EOS).cumsum(1) - (ids == EOS).long() > 0
    ids = ids.masked_fill(ended, PAD)
    return ids[:, : (ids != PAD).any(0).sum()]


def decode_each_sentence(model, src, max_steps):
    rows = [decoding.greedy_decode(model, row[None], max_steps)[0] for row in src]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


# --- exact_match ----------------------------------------------------------------------------------


def match_by_text(predicted, tgt):
    def text(row):
        words = [str(token) for token in row]
        return " ".join(words[: words.index(str(EOS)) + 1] if str(EOS) in words else words)

    return torch.tensor(
        [text(a) == text(b[1:]) for a, b in zip(predicted.tolist(), tgt.tolist(), strict=True)]
    )


def match_by_length(predicted, tgt):
    matched = []
    for said, true in zip(predicted, tgt, strict=True):
        true = true[1 : int((true == EOS).nonzero()[0]) + 1]
        matched.append(torch.equal(said[: len(true)], true))
    return torch.tensor(matched, dtype=torch.bool)


def match_padded_wide(predicted, tgt):
    labels = tgt[:, 1:]
    width = max(predicted.size(1), labels.size(1))
    wide = torch.full((2, len(tgt), width), PAD)
    wide[0, :, : predicted.size(1)] = predicted
    wide[1, :, : labels.size(1)] = labels
    real = wide[1] != PAD
    return ((wide[0] == wide[1]) & real).sum(1) == real.sum(1)


def match_by_product(predicted, tgt):
    predicted = torch.cat([predicted, predicted.new_zeros(len(tgt), tgt.size(1))], dim=1)
    labels = tgt[:, 1:]
    right = predicted[:, : labels.size(1)].eq(labels) | labels.eq(PAD)
    return right.long().prod(dim=1).bool()


def match_numpy(predicted, tgt):
    labels = tgt.numpy()[:, 1:]
    said = np.zeros_like(labels)
    width = min(predicted.shape[1], labels.shape[1])
    said[:, :width] = predicted.numpy()[:, :width]
    return torch.from_numpy(np.all((said == labels) | (labels == PAD), axis=1))


RIGHT = {
    "teacher_forcing": [
        training.teacher_forcing,
        forcing_narrow,
        forcing_as_a_list_of_copies,
        forcing_by_columns,
        forcing_by_lists,
        forcing_windows,
        forcing_rolled_then_cut,
        forcing_numpy,
        forcing_in_place_on_a_copy,
    ],
    "token_loss": [
        training.token_loss,
        loss_transposed,
        loss_of_selected,
        loss_gathered,
        loss_one_hot,
        loss_by_logsumexp,
        loss_by_loops,
        loss_double_inside,
        loss_zeroed_in_place,
    ],
    "gru_step": [gru_cell, gru_by_slices, gru_six_products, gru_einsum],
    "last_real_state": [
        last_gathered,
        last_by_list,
        last_batch_first,
        last_by_mask,
        last_packed,
    ],
    "greedy_decode": [
        decoding.greedy_decode,
        decode_into_a_table,
        decode_only_the_running,
        decode_all_then_tidy,
        decode_each_sentence,
    ],
    "exact_match": [
        metrics.exact_match,
        match_by_text,
        match_by_length,
        match_padded_wide,
        match_by_product,
        match_numpy,
    ],
}


# --- wrong, and no known mistake ------------------------------------------------------------------


def loss_padding_and_sentences(logits, labels, pad=0):
    return F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").sum() / len(labels)


def loss_per_sentence_and_pad_fixed(logits, labels, pad=0):
    return F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=0, reduction="sum") / len(
        labels
    )


def loss_that_skips_eos(logits, labels, pad=0):
    real = (labels != pad) & (labels != EOS)
    return F.cross_entropy(logits[real], labels[real])


def loss_of_larger_ids(logits, labels, pad=0):
    return F.cross_entropy(logits[labels > pad], labels[labels > pad])


def loss_of_first_sentence(logits, labels, pad=0):
    return F.cross_entropy(logits[0], labels[0], ignore_index=pad)


def loss_smoothed(logits, labels, pad=0):
    logits = logits.transpose(1, 2)
    return F.cross_entropy(logits, labels, ignore_index=pad, label_smoothing=0.1)


def loss_in_bits(logits, labels, pad=0):
    return loss_transposed(logits, labels, pad) / torch.log(torch.tensor(2.0))


def loss_rounded(logits, labels, pad=0):
    return loss_transposed(logits, labels, pad) + 1e-3


def gru_z_inverted_and_no_reset(x, h, w_x, w_h, b_x, b_h):
    (_, x_z, x_n), (_, h_z, h_n) = (x @ w_x + b_x).chunk(3, 1), (h @ w_h + b_h).chunk(3, 1)
    z = torch.sigmoid(x_z + h_z)
    return z * torch.tanh(x_n + h_n) + (1 - z) * h


def gru_hard_gates(x, h, w_x, w_h, b_x, b_h):
    (x_r, x_z, x_n), (h_r, h_z, h_n) = (x @ w_x + b_x).chunk(3, 1), (h @ w_h + b_h).chunk(3, 1)
    r, z = F.hardsigmoid(x_r + h_r), F.hardsigmoid(x_z + h_z)
    return (1 - z) * torch.tanh(x_n + r * h_n) + z * h


def last_two_early(states, src):
    return states[((src != PAD).sum(1) - 3).clamp(min=0), torch.arange(len(src))]


def decode_second_best(model, src, max_steps):
    state, token, columns = model.start(src), src.new_ones(len(src)), []
    for _ in range(max_steps):
        logits, state = model.step(state, token)
        token = logits.topk(2).indices[:, 1]
        columns.append(token)
    return torch.stack(columns, dim=1)


def match_first_word(predicted, tgt):
    return predicted[:, 0] == tgt[:, 1]


def match_most_tokens(predicted, tgt):
    width = min(predicted.size(1), tgt.size(1) - 1)
    return (predicted[:, :width] == tgt[:, 1 : width + 1]).float().mean(1) > 0.7


UNNAMED = {
    "teacher_forcing": [
        lambda tgt: (tgt[:, 1:], tgt),
        lambda tgt: (tgt[:, :-1].flip(1), tgt[:, 1:].flip(1)),
        lambda tgt: (tgt[:, :-1], tgt[:, 1:].sort(dim=1).values),
        lambda tgt: (tgt[:, :-1] * 2, tgt[:, 1:]),
        lambda tgt: (tgt[:, :-1], tgt[:, 1:].clamp(max=8)),
    ],
    "token_loss": [
        loss_padding_and_sentences,
        loss_per_sentence_and_pad_fixed,
        loss_that_skips_eos,
        loss_of_larger_ids,
        loss_of_first_sentence,
        loss_smoothed,
        loss_in_bits,
        loss_rounded,
        lambda logits, labels, pad=0: torch.tensor(1.5),
    ],
    "gru_step": [gru_z_inverted_and_no_reset, gru_hard_gates, lambda x, h, *weights: h],
    "last_real_state": [last_two_early, lambda states, src: states.amax(dim=0)],
    "greedy_decode": [decode_second_best, lambda model, src, max_steps: src],
    "exact_match": [
        match_first_word,
        match_most_tokens,
        lambda predicted, tgt: torch.ones(len(tgt), dtype=torch.bool),
        lambda predicted, tgt: torch.zeros(len(tgt), dtype=torch.bool),
    ],
}
