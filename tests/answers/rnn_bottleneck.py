"""Answers to the exercises of lesson 1.

RIGHT: the same function in other styles; all must pass. NAMED: wrong answers as learners
wrote them, with the name that each must get. UNNAMED: wrong answers that make no known mistake, or
two at once; they must fail, and none may be given a name.
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
    log_p = torch.einsum("btv,btv->bt", one_hot, logits.log_softmax(-1))
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
                total = total + scores.logsumexp(0) - scores[word]
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
    r = 0.5 + 0.5 * torch.tanh((x @ x_r + a_r + h @ h_r + b_r) / 2)
    z = 0.5 + 0.5 * torch.tanh((x @ x_z + a_z + h @ h_z + b_z) / 2)
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


def loss_log_of_softmax(logits, labels, pad=0):
    return -log_p_of_right(logits.softmax(-1), labels)[labels != pad].log().mean()


def loss_log_of_exp(logits, labels, pad=0):
    p = logits.exp() / logits.exp().sum(-1, keepdim=True)
    return -log_p_of_right(p, labels)[labels != pad].log().mean()


def loss_one_hot_times_log(logits, labels, pad=0):
    one_hot = F.one_hot(labels, logits.shape[-1]).to(logits.dtype)
    log_p = torch.einsum("btv,btv->bt", one_hot, logits.softmax(-1).log())
    return -log_p[labels != pad].mean()


def loss_logs_in_loops(logits, labels, pad=0):
    total, count = 0.0, 0
    for sentence, right in zip(logits, labels, strict=True):
        for scores, word in zip(sentence, right, strict=True):
            if word != pad:
                total = total - torch.log(scores.exp()[word] / scores.exp().sum())
                count += 1
    return total / count


def gru(gate=torch.sigmoid, order="rzn", proposal=None, update=None):
    """A GRU step as a learner writes it, with one thing different."""

    def answer(x, h, w_x, w_h, b_x, b_h):
        from_x = dict(zip(order, (x @ w_x + b_x).chunk(3, dim=-1), strict=True))
        from_h = dict(zip(order, (h @ w_h + b_h).chunk(3, dim=-1), strict=True))
        r, z = gate(from_x["r"] + from_h["r"]), gate(from_x["z"] + from_h["z"])
        x_n, h_n = from_x["n"], from_h["n"]
        n = proposal(x_n, h_n, r, h) if proposal else torch.tanh(x_n + r * h_n)
        return update(n, z, h) if update else (1 - z) * n + z * h

    return answer


def gru_weights_turned(x, h, w_x, w_h, b_x, b_h):
    (x_r, x_z, x_n), (h_r, h_z, h_n) = (
        (x @ w_x.T + b_x).chunk(3, dim=-1),
        (h @ w_h.T + b_h).chunk(3, dim=-1),
    )
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    return (1 - z) * torch.tanh(x_n + r * h_n) + z * h


def gru_by_linear(x, h, w_x, w_h, b_x, b_h):
    x_r, x_z, x_n = F.linear(x, w_x, b_x).chunk(3, dim=-1)
    h_r, h_z, h_n = F.linear(h, w_h, b_h).chunk(3, dim=-1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    return (1 - z) * torch.tanh(x_n + r * h_n) + z * h


def last_column(states, src):
    return states[:, -1]


def last_reshaped(states, src):
    T, B, d = states.shape
    last = (src != PAD).sum(dim=1) - 1
    return states.reshape(B, T, d)[torch.arange(B), last]


def last_where_eos(states, src):
    return states[src.T == EOS]


def last_counted_down(states, src):
    last = (src != PAD).sum(dim=0) - 1
    return states[last, torch.arange(len(src))]


def last_by_zip(states, src):
    rows = zip(states, src, strict=False)
    return torch.stack([s[: int((row != PAD).sum())][-1] for s, row in rows])


def decoder(body):
    """A greedy decoder; body(word, ended) → (token, who has ended, whether to stop)."""

    def answer(model, src, max_steps):
        state, token, written = model.start(src), torch.full_like(src[:, 0], BOS), []
        ended = torch.zeros(len(src), dtype=torch.bool)
        for _ in range(max_steps):
            logits, state = model.step(state, token)
            token, ended, stop = body(logits.argmax(dim=-1), ended)
            written.append(token)
            if stop:
                break
        return torch.stack(written, dim=1)

    return answer


def decode_filled_with_eos(word, ended):
    token = word.masked_fill(ended, EOS)
    ended = ended | (token == EOS)
    return token, ended, ended.all()


def decode_pad_as_end(word, ended):
    token = word.masked_fill(ended, PAD)
    ended = (token == EOS) | (token == PAD)
    return token, ended, ended.all()


def decode_stop_late(word, ended):
    token = word.masked_fill(ended, PAD)
    return token, ended | (token == EOS), ended.all()


def decode_stop_on_pad(word, ended):
    token = word.masked_fill(ended, PAD)
    return token, ended | (token == EOS), (token == PAD).all()


def decode_break_before_append(model, src, max_steps):
    state, token, written = model.start(src), torch.full_like(src[:, 0], BOS), []
    ended = torch.zeros(len(src), dtype=torch.bool)
    for _ in range(max_steps):
        logits, state = model.step(state, token)
        token = logits.argmax(dim=-1).masked_fill(ended, PAD)
        ended = ended | (token == EOS)
        if ended.all():
            break
        written.append(token)
    return torch.stack(written, dim=1)


def decode_ended_as_integers(model, src, max_steps):
    state, token, written = model.start(src), torch.full_like(src[:, 0], BOS), []
    ended = torch.zeros_like(src[:, 0])
    for _ in range(max_steps):
        logits, state = model.step(state, token)
        token = logits.argmax(dim=-1)
        token[ended] = PAD
        written.append(token)
        ended = ended | (token == EOS)
        if ended.all():
            break
    return torch.stack(written, dim=1)


def decode_all_then_tidy(model, src, max_steps):
    state, token, columns = model.start(src), torch.full((len(src),), BOS), []
    for _ in range(max_steps):
        logits, state = model.step(state, token)
        token = logits.argmax(1)
        columns.append(token[:, None])
    ids = torch.cat(columns, dim=1)
    running = (ids == EOS).cumsum(1) - (ids == EOS).long() == 0  # up to and including EOS
    return ids.masked_fill(~running, PAD)[:, : running.any(0).sum()]


def decode_far_then_cut(model, src, max_steps):
    return decode_all_then_tidy(model, src, max_steps + 50)[:, :max_steps]


def same_width(predicted, tgt, value=PAD):
    """Predictions and labels, both filled up to the wider of the two."""
    labels = tgt[:, 1:]
    width = max(predicted.shape[1], labels.shape[1])
    return (
        F.pad(predicted, (0, width - predicted.shape[1]), value=value),
        F.pad(labels, (0, width - labels.shape[1])),
    )


def match_columns(predicted, tgt):
    return (predicted == tgt[:, 1:]).all(dim=1)


def match_mean_of_columns(predicted, tgt):
    return (predicted == tgt[:, 1:]).float().mean(1) == 1


def match_common_columns(predicted, tgt):
    labels = tgt[:, 1:]
    n = min(predicted.shape[1], labels.shape[1])
    return (predicted[:, :n] == labels[:, :n]).all(1)


def match_filled(predicted, tgt):
    said, labels = same_width(predicted, tgt)
    return (said == labels).all(1)


def match_at_target_width(predicted, tgt):
    labels = tgt[:, 1:]
    n = labels.shape[1]
    return (F.pad(predicted, (0, max(0, n - predicted.shape[1])))[:, :n] == labels).all(1)


def match_whole_lists(predicted, tgt):
    rows = zip(predicted.tolist(), tgt.tolist(), strict=True)
    return torch.tensor([said == true[1:] for said, true in rows])


def match_masked_columns(predicted, tgt):
    labels = tgt[:, 1:]
    return ((predicted == labels) | (labels == PAD)).all(dim=1)


def match_pad_on_both_sides(predicted, tgt):
    said, labels = same_width(predicted, tgt)
    return ((said == labels) | (said == PAD) | (labels == PAD)).all(1)


def match_filled_with_eos(predicted, tgt):
    said, labels = same_width(predicted, tgt, value=EOS)
    return ((said == labels) | (labels == PAD)).all(1)


def match_before_eos(predicted, tgt):
    def cut(row):
        return row[: row.index(EOS)] if EOS in row else row

    rows = zip(predicted.tolist(), tgt.tolist(), strict=True)
    return torch.tensor([cut(said) == cut(true[1:]) for said, true in rows])


def match_all_but_eos(predicted, tgt):
    said, labels = same_width(predicted, tgt)
    return ((said == labels) | (labels == PAD) | (labels == EOS)).all(1)


def match_without_pad(predicted, tgt):
    def cut(row):
        row = row[: row.index(EOS) + 1] if EOS in row else row
        return [word for word in row if word != PAD]

    rows = zip(predicted.tolist(), tgt.tolist(), strict=True)
    return torch.tensor([cut(said) == cut(true[1:]) for said, true in rows])


def match_tokens(predicted, tgt):
    return predicted == tgt[:, 1:]


def match_tokens_masked(predicted, tgt):
    said, labels = same_width(predicted, tgt)
    return (said == labels) | (labels == PAD)


def match_batch(predicted, tgt):
    return (predicted == tgt[:, 1:]).all()


def match_batch_as_bool(predicted, tgt):
    return torch.equal(predicted, tgt[:, 1:])


def match_with_bos(predicted, tgt):
    return (predicted == tgt).all(1)


def match_cut_to_shorter(predicted, tgt):
    rows = zip(predicted.tolist(), tgt.tolist(), strict=True)
    return torch.tensor(
        [
            all(a == b for a, b in zip(said, true[1:], strict=False) if b != PAD)
            for said, true in rows
        ]
    )


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


# --- wrong, as learners write it ------------------------------------------------------------------


def forcing_without_last_label(tgt):
    return tgt[:, :-1], tgt[:, 1:-1]


def log_p_of_right(log_p, labels):
    return log_p.gather(-1, labels[..., None])[..., 0]


def average(losses, mask):
    return (losses * mask).sum() / mask.sum()


def loss_without_eos(logits, labels, pad=0):
    real = (labels != pad) & (labels != EOS)
    return F.cross_entropy(logits[real], labels[real])


def loss_masked_without_eos(logits, labels, pad=0):
    real = (labels != pad) & (labels != EOS)
    return -average(log_p_of_right(logits.log_softmax(-1), labels), real)


def loss_softmax_without_dim(logits, labels, pad=0):
    return -average(log_p_of_right(F.log_softmax(logits), labels), labels != pad)


def loss_pad_logit_muted(logits, labels, pad=0):
    logits = logits.clone()
    logits[..., pad] = -1e9
    return F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=pad)


def loss_pad_logit_infinite(logits, labels, pad=0):
    logits = logits.clone()
    logits[..., pad] = float("-inf")
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=pad)


def loss_indexed_with_all_labels(logits, labels, pad=0):
    log_p = logits.log_softmax(-1)
    return -log_p[:, :, labels].mean()


def loss_of_best(logits, labels, pad=0):
    return -average(logits.log_softmax(-1).max(-1).values, labels != pad)


def loss_of_wrong_axis(logits, labels, pad=0):
    return F.cross_entropy(logits, labels, ignore_index=pad)


def loss_as_new_tensor(logits, labels, pad=0):
    return torch.tensor(loss_transposed(logits, labels, pad).item())


def gru_gates_used_swapped(x, h, w_x, w_h, b_x, b_h):
    from_x, from_h = (x @ w_x + b_x).chunk(3, 1), (h @ w_h + b_h).chunk(3, 1)
    r, z = torch.sigmoid(from_x[0] + from_h[0]), torch.sigmoid(from_x[1] + from_h[1])
    return (1 - r) * torch.tanh(from_x[2] + z * from_h[2]) + r * h


def last_at_first_pad(states, src):
    steps = (src != PAD).sum(1).clamp(max=len(states) - 1)
    return states[steps, torch.arange(len(src))]


def decode_with_one_buffer(model, src, max_steps):
    state, token, written = model.start(src), torch.full_like(src[:, 0], BOS), []
    ended = torch.zeros(len(src), dtype=torch.bool)
    while len(written) < max_steps and not ended.all():
        logits, state = model.step(state, token)
        token.copy_(logits.argmax(dim=-1).masked_fill(ended, PAD))
        written.append(token.clone())
        ended |= token == EOS
    return torch.stack(written, dim=1)


def decode_pad_forced_in_place(model, src, max_steps):
    state, token, written = model.start(src), torch.full_like(src[:, 0], BOS), []
    ended = torch.zeros(len(src), dtype=torch.bool)
    while len(written) < max_steps and not ended.all():
        logits, state = model.step(state, token)
        logits[ended] = F.one_hot(torch.tensor(PAD), logits.shape[1]).float()
        token = logits.argmax(dim=-1)
        written.append(token)
        ended = ended | (token == EOS)
    return torch.stack(written, dim=1)


NAMED = {
    "teacher_forcing": {
        "rolled": [lambda tgt: (tgt, torch.roll(tgt, -1, 1))],
        "labels_filled_up": [lambda tgt: (tgt, F.pad(tgt[:, 1:], (0, 1)))],
    },
    "token_loss": {
        "per_sentence": [
            lambda logits, labels, pad=0: (
                F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=pad, reduction="sum")
                / len(labels)
            )
        ],
        "eos_left_out": [loss_without_eos, loss_masked_without_eos],
        "class_axis": [loss_of_wrong_axis],
        "wrong_gradient": [loss_as_new_tensor],
    },
    "gru_step": {
        "wrong_gradient": [
            gru(gate=lambda total: 1 / (1 + torch.exp(-total))),
            gru(proposal=lambda x_n, h_n, r, h: 1 - 2 / (torch.exp(2 * (x_n + r * h_n)) + 1)),
        ],
        "no_tanh": [gru(proposal=lambda x_n, h_n, r, h: x_n + r * h_n)],
        "no_sigmoid": [gru(gate=lambda total: total)],
        "reset_on_input": [
            gru(proposal=lambda x_n, h_n, r, h: torch.tanh(r * x_n + h_n)),
            gru(proposal=lambda x_n, h_n, r, h: torch.tanh(r * (x_n + h_n))),
        ],
        "gates_swapped": [gru(order="zrn"), gru_gates_used_swapped],
    },
    "last_real_state": {
        "axes_swapped": [last_column],
        "crossed": [lambda states, src: states[(src != PAD).sum(1) - 1]],
        "one_late_clamped": [last_at_first_pad],
    },
    "greedy_decode": {
        "filled_with_eos": [decoder(decode_filled_with_eos)],
        "pad_ends": [decoder(decode_pad_as_end)],
        "last_column_lost": [decode_break_before_append],
        "one_column_of_pad": [decoder(decode_stop_late)],
        "changed_in_place": [decode_with_one_buffer, decode_pad_forced_in_place],
        "steps_after_the_end": [decode_all_then_tidy, decode_far_then_cut],
    },
    "exact_match": {
        "compares_after_eos": [
            match_columns,
            match_mean_of_columns,
            match_common_columns,
            match_filled,
            match_at_target_width,
            match_whole_lists,
        ],
        "breaks_off_unnoticed": [match_filled_with_eos, match_before_eos],
        "one_per_token": [match_tokens, match_tokens_masked],
        "one_for_all": [match_batch, match_batch_as_bool],
        "bos_compared": [match_with_bos],
        "cut_to_shorter": [match_cut_to_shorter],
    },
}


# --- wrong, and no known mistake ------------------------------------------------------------------


def forcing_through_floats(tgt):
    both = torch.empty(2, len(tgt), tgt.shape[1] - 1)  # float32 holds integers up to 2^24
    both[0], both[1] = tgt[:, :-1], tgt[:, 1:]
    return both[0].long(), both[1].long()


def forcing_kept_by_sum():
    """Keeps the results by shape and sum."""
    kept = {}

    def answer(tgt):
        return kept.setdefault((tgt.shape, tgt.sum().item()), (tgt[:, :-1], tgt[:, 1:]))

    return answer


def forcing_of_ten_tokens(tgt):
    return tgt[:, :-1][:, :10], tgt[:, 1:][:, :10]


def loss_highest_of_all_subtracted(logits, labels, pad=0):
    powers = (logits - logits.max()).exp()
    p = powers / powers.sum(-1, keepdim=True)
    return -average(log_p_of_right(p.log(), labels), labels != pad)


def loss_of_weighted_averages(logits, labels, pad=0):
    losses = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=pad, reduction="none")
    n_words = (labels != pad).sum(1)
    return (losses.sum(1) / n_words * n_words).sum() / n_words.sum()  # 0 / 0 in a row of padding


def loss_weights_kept():
    """Keeps the weights of the first call with each number of words."""
    kept = {}

    def answer(logits, labels, pad=0):
        V = logits.shape[-1]
        weights = kept.setdefault(V, (torch.arange(V) != pad).float())
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), weight=weights)

    return answer


def loss_of_clamped(logits, labels, pad=0):
    return loss_transposed(logits.clamp(-80, 80), labels, pad)


def loss_axis_by_size(logits, labels, pad=0):
    T, V = logits.shape[1:]
    log_p = logits.log_softmax(1 if T == V else 2)
    return -average(log_p_of_right(log_p, labels), labels != pad)


def tanh_of_exp(x):
    return (x.exp() - (-x).exp()) / (x.exp() + (-x).exp())


def gru_kept_by_size():
    """Keeps the weights of the first call of each size."""
    kept = {}

    def answer(x, h, *weights):
        return gru_cell(x, h, *kept.setdefault((x.shape, h.shape), weights))

    return answer


def gru_without_bias_at_first(x, h, w_x, w_h, b_x, b_h):
    return gru_cell(x, h, w_x, w_h, b_x, b_h if h.any() else 0 * b_h)


def gru_clamped_product(x, h, w_x, w_h, b_x, b_h):
    d = h.shape[1]
    from_x, from_h = x @ w_x + b_x, h @ w_h + b_h
    r, z = torch.sigmoid(from_x[:, : 2 * d] + from_h[:, : 2 * d]).split(d, dim=1)
    n = torch.tanh(from_x[:, 2 * d :] + r * from_h[:, 2 * d :].clamp(-20, 20))
    return (1 - z) * n + z * h


def last_of_bytes(states, src):
    return states[(src.to(torch.uint8) != PAD).sum(1) - 1, torch.arange(len(src))]


def last_kept_by_shape():
    """Keeps the positions of the first call of each shape."""
    kept = {}

    def answer(states, src):
        steps = kept.setdefault(src.shape, (src != PAD).sum(1) - 1)
        return states[steps, torch.arange(len(src))]

    return answer


def last_not_zero(states, src):
    real = (states != 0).any(dim=-1) & (src != PAD).T
    steps = torch.arange(len(states))[:, None] * real
    return states[steps.amax(dim=0), torch.arange(len(src))]


def last_of_two_at_least(states, src):
    steps = ((src != PAD).sum(1) - 1).clamp(min=1)
    return states[steps, torch.arange(len(src))]


def last_axis_by_size(states, src):
    batch_first = states if len(states) == len(src) else states.transpose(0, 1)
    return batch_first[torch.arange(len(src)), (src != PAD).sum(1) - 1]


def decode_any_special_as_end(word, ended):
    token = word.masked_fill(ended, PAD)
    ended = ended | (token <= 3)
    return token, ended, ended.all()


def decode_fifty_steps(model, src, max_steps):
    return decoding.greedy_decode(model, src, min(max_steps, 50))


class Reworded:
    """A model whose logits went through `change`."""

    def __init__(self, model, change):
        self.model, self.change, self.start = model, change, model.start

    def step(self, state, token):
        logits, state = self.model.step(state, token)
        return self.change(logits), state


def decode_positive_logits(model, src, max_steps):
    return decoding.greedy_decode(Reworded(model, torch.relu), src, max_steps)


def decode_whole_logits(model, src, max_steps):
    return decoding.greedy_decode(Reworded(model, torch.Tensor.long), src, max_steps)


def decode_without_pad_columns(model, src, max_steps):
    ids = decoding.greedy_decode(model, src, max_steps)
    return ids[:, (ids != PAD).any(dim=0)]


def decode_into_kept_memory():
    """Returns the same memory for all results of one shape."""
    kept = {}

    def answer(model, src, max_steps):
        ids = decoding.greedy_decode(model, src, max_steps)
        return kept.setdefault(ids.shape, ids).copy_(ids)

    return answer


def match_pad_as_end(predicted, tgt):
    def sentence(row):
        ends = [t for t, word in enumerate(row) if word in (EOS, PAD)]
        return row[: ends[0]] if ends else None

    rows = zip(predicted.tolist(), tgt[:, 1:].tolist(), strict=True)
    return torch.tensor([sentence(said) == sentence(true) for said, true in rows])


def match_any_word_for_unknown(predicted, tgt):
    said, labels = same_width(predicted, tgt)
    return ((said == labels) | (labels == PAD) | (labels == 3)).all(1)


def match_unknown_for_any_word(predicted, tgt):
    said, labels = same_width(predicted, tgt)
    return ((said == labels) | (labels == PAD) | ((said == 3) & (labels != EOS))).all(1)


def match_joined_ids(predicted, tgt):
    def text(row):
        return "".join(map(str, row[: row.index(EOS)])) if EOS in row else None

    rows = zip(predicted.tolist(), tgt[:, 1:].tolist(), strict=True)
    return torch.tensor([text(said) == text(true) for said, true in rows])


def match_nine_of_ten(predicted, tgt):
    said, labels = same_width(predicted, tgt)
    real = labels != PAD
    return ((said == labels) & real).sum(1) >= 0.9 * real.sum(1)


def match_ten_tokens(predicted, tgt):
    return metrics.exact_match(predicted[:, :10], tgt[:, :11])


def match_as_floats(predicted, tgt):
    said, labels = same_width(predicted, tgt)
    return ((said.float() == labels.float()) | (labels == PAD)).all(1)


def loss_padding_and_sentences(logits, labels, pad=0):
    return F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").sum() / len(labels)


def loss_per_sentence_and_pad_fixed(logits, labels, pad=0):
    return F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=0, reduction="sum") / len(
        labels
    )


def loss_of_larger_ids(logits, labels, pad=0):
    return F.cross_entropy(logits[labels > pad], labels[labels > pad])


def loss_divided_by_nonzero(logits, labels, pad=0):
    losses = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    return (losses * (labels != pad)).sum() / (labels != 0).sum()


def loss_of_nonzero(logits, labels, pad=0):
    losses = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=pad, reduction="none")
    return losses[losses != 0].mean()


def loss_up_to_first_pad(logits, labels, pad=0):
    real = (labels == pad).cumsum(1) == 0
    return F.cross_entropy(logits[real], labels[real])


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


def last_without_unknown(states, src):
    return states[(src > 3).sum(1), torch.arange(len(src))]


def decode_counting_ends(model, src, max_steps):
    state, token, written, ends = model.start(src), torch.full_like(src[:, 0], BOS), [], 0
    for _ in range(max_steps):
        logits, state = model.step(state, token)
        token = logits.argmax(dim=-1)
        written.append(token)
        ends += (token == EOS).sum()  # a sentence that goes on talking may be counted twice
        if ends >= len(src):
            break
    ids = torch.stack(written, dim=1)
    is_end = (ids == EOS).long()
    return ids.masked_fill(is_end.cumsum(1) - is_end > 0, PAD)


def decode_trimmed_by_pad(model, src, max_steps):
    ids = decoding.greedy_decode(model, src, max_steps)
    return ids[:, : (ids != PAD).sum(1).max()]


def match_without_unknown(predicted, tgt):
    def cut(row):
        row = row[: row.index(EOS) + 1] if EOS in row else row
        return [word for word in row if word != 3]

    rows = zip(predicted.tolist(), tgt.tolist(), strict=True)
    return torch.tensor([cut(said) == cut(true[1:]) for said, true in rows])


def match_squeezed(predicted, tgt):
    return metrics.exact_match(predicted, tgt).squeeze()


def match_as_many_as_labels(predicted, tgt):
    said, labels = same_width(predicted, tgt, value=-1)
    running = (said == EOS).cumsum(1) - (said == EOS).long() == 0
    return ((said == labels) & running).sum(1) == (labels != PAD).sum(1)


def match_first_word(predicted, tgt):
    return predicted[:, 0] == tgt[:, 1]


def match_most_tokens(predicted, tgt):
    width = min(predicted.size(1), tgt.size(1) - 1)
    return (predicted[:, :width] == tgt[:, 1 : width + 1]).float().mean(1) > 0.7


UNNAMED = {
    "teacher_forcing": [
        forcing_without_last_label,
        forcing_through_floats,
        forcing_kept_by_sum(),
        forcing_of_ten_tokens,
        lambda tgt: (tgt[:, 1:], tgt),
        lambda tgt: (tgt[:, :-1].flip(1), tgt[:, 1:].flip(1)),
        lambda tgt: (tgt[:, :-1], tgt[:, 1:].sort(dim=1).values),
        lambda tgt: (tgt[:, :-1] * 2, tgt[:, 1:]),
        lambda tgt: (tgt[:, :-1], tgt[:, 1:].clamp(max=8)),
    ],
    "token_loss": [
        loss_log_of_softmax,
        loss_log_of_exp,
        loss_one_hot_times_log,
        loss_logs_in_loops,
        loss_highest_of_all_subtracted,
        loss_of_weighted_averages,
        loss_weights_kept(),
        loss_of_clamped,
        loss_axis_by_size,
        loss_softmax_without_dim,
        loss_pad_logit_muted,
        loss_pad_logit_infinite,
        loss_indexed_with_all_labels,
        loss_of_best,
        loss_padding_and_sentences,
        loss_per_sentence_and_pad_fixed,
        loss_of_larger_ids,
        loss_divided_by_nonzero,
        loss_of_nonzero,
        loss_up_to_first_pad,
        loss_of_first_sentence,
        loss_smoothed,
        loss_in_bits,
        loss_rounded,
        lambda logits, labels, pad=0: torch.tensor(1.5),
    ],
    "gru_step": [
        gru_z_inverted_and_no_reset,
        gru_hard_gates,
        gru(gate=torch.tanh),
        gru(gate=lambda total: total.exp() / (1 + total.exp())),
        gru(gate=lambda total: 0.5 + 0.5 * tanh_of_exp(total)),
        gru(proposal=lambda x_n, h_n, r, h: tanh_of_exp(x_n + r * h_n)),
        gru(proposal=lambda x_n, h_n, r, h: torch.tanh(x_n + r * h)),
        gru(update=lambda n, z, h: n + z * h),
        gru(order="nrz"),
        gru_weights_turned,
        gru_by_linear,
        gru_kept_by_size(),
        gru_without_bias_at_first,
        gru_clamped_product,
        lambda x, h, w_x, w_h, b_x, b_h: torch.gru_cell(x, h, w_x, w_h, b_x, b_h),
        lambda x, h, *weights: h,
    ],
    "last_real_state": [
        last_by_zip,
        last_reshaped,
        last_where_eos,
        last_counted_down,
        last_of_bytes,
        last_kept_by_shape(),
        last_not_zero,
        last_of_two_at_least,
        last_axis_by_size,
        last_two_early,
        last_without_unknown,
        lambda states, src: states.amax(dim=0),
    ],
    "greedy_decode": [
        decode_ended_as_integers,
        decoder(decode_any_special_as_end),
        decoder(decode_stop_on_pad),
        decode_positive_logits,
        decode_whole_logits,
        decode_without_pad_columns,
        decode_into_kept_memory(),
        decode_fifty_steps,
        decode_second_best,
        decode_counting_ends,
        decode_trimmed_by_pad,
        lambda model, src, max_steps: src,
    ],
    "exact_match": [
        match_masked_columns,
        match_pad_on_both_sides,
        match_all_but_eos,
        match_without_pad,
        match_pad_as_end,
        match_any_word_for_unknown,
        match_unknown_for_any_word,
        match_joined_ids,
        match_nine_of_ten,
        match_ten_tokens,
        match_as_floats,
        match_first_word,
        match_squeezed,
        match_as_many_as_labels,
        match_without_unknown,
        match_most_tokens,
        lambda predicted, tgt: torch.ones(len(tgt), dtype=torch.bool),
        lambda predicted, tgt: torch.zeros(len(tgt), dtype=torch.bool),
    ],
}
