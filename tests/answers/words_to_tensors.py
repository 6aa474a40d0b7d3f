"""Answers to the exercises of lesson 0.

RIGHT: the same function in other styles; all must pass. NAMED: wrong answers as learners
wrote them, with the name that each must get. UNNAMED: wrong answers that make no known mistake, or
two at once; they must fail, and none may be given a name.
"""

from collections import Counter
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib.kit.vocabulary import pad_rows

PAD, BOS, EOS, UNK = 0, 1, 2, 3


# --- encode_batch ---------------------------------------------------------------------------------


def encode_by_dict(sentences, vocab):
    ids = {word: i for i, word in enumerate(vocab)}
    return pad_rows([[ids.get(word, UNK) for word in s] + [EOS] for s in sentences])


def encode_into_a_table(sentences, vocab):
    table = torch.full((len(sentences), max(map(len, sentences)) + 1), PAD)
    for row, sentence in enumerate(sentences):
        for t, word in enumerate(sentence):
            table[row, t] = vocab.index(word) if word in vocab else UNK
        table[row, len(sentence)] = EOS
    return table


def encode_pad_sequence(sentences, vocab):
    def row(sentence):
        words = [vocab.index(w) if w in vocab else UNK for w in sentence]
        return torch.tensor([*words, EOS])

    return nn.utils.rnn.pad_sequence([row(s) for s in sentences], batch_first=True)


def encode_appending_words(sentences, vocab):
    width = max(len(s) for s in sentences) + 1
    filled = [[*s, "<eos>"] + ["<pad>"] * (width - 1 - len(s)) for s in sentences]
    return torch.LongTensor(
        [[vocab.index(w) if w in vocab else vocab.index("<unk>") for w in row] for row in filled]
    )


def encode_numpy(sentences, vocab):
    table = np.zeros((len(sentences), max(len(s) for s in sentences) + 1), dtype=np.int64)
    for row, sentence in zip(table, sentences, strict=True):
        found = [vocab.index(word) if word in vocab else UNK for word in sentence]
        row[: len(found)] = found
        row[len(found)] = EOS
    return torch.from_numpy(table)


def encode_catching(sentences, vocab):
    rows = []
    for sentence in sentences:
        row = []
        for word in sentence:
            try:
                row.append(vocab.index(word))
            except ValueError:
                row.append(UNK)
        rows.append(torch.tensor([*row, EOS]))
    width = max(len(row) for row in rows)
    return torch.stack([F.pad(row, (0, width - len(row))) for row in rows])


def encode_without_end(sentences, vocab):
    ids = {word: i for i, word in enumerate(vocab)}
    return pad_rows([[ids.get(word, UNK) for word in s] for s in sentences])


def encode_without_end_in_one_tensor(sentences, vocab):
    rows = [[vocab.index(w) if w in vocab else UNK for w in s] for s in sentences]
    width = max(map(len, rows))
    return torch.tensor([row + [PAD] * (width - len(row)) for row in rows])


def encode_without_end_stacked(sentences, vocab):
    rows = [[vocab.index(w) if w in vocab else UNK for w in s] for s in sentences]
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def encode_without_end_in_its_column(sentences, vocab):
    table = torch.zeros(len(sentences), max(map(len, sentences)) + 1, dtype=torch.int64)
    for row, sentence in enumerate(sentences):
        for t, word in enumerate(sentence):
            table[row, t] = vocab.index(word) if word in vocab else UNK
    return table


def encode_target(sentences, vocab):
    ids = {word: i for i, word in enumerate(vocab)}
    return pad_rows([[BOS, *(ids.get(word, UNK) for word in s), EOS] for s in sentences])


def encode_zeros(sentences, vocab):
    table = torch.zeros(len(sentences), max(map(len, sentences)) + 1)
    for row, sentence in enumerate(sentences):
        words = [vocab.index(w) if w in vocab else UNK for w in sentence]
        table[row, : len(words) + 1] = torch.tensor([*words, EOS])
    return table


def encode_columns(sentences, vocab):
    rows = [[vocab.index(w) if w in vocab else UNK for w in s] + [EOS] for s in sentences]
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows])


def encode_get_zero(sentences, vocab):
    ids = {word: i for i, word in enumerate(vocab)}
    return pad_rows([[ids.get(word, 0) for word in s] + [EOS] for s in sentences])


def encode_known_only(sentences, vocab):
    return pad_rows([[vocab.index(w) for w in s if w in vocab] + [EOS] for s in sentences])


def encode_end_last(sentences, vocab):
    words = encode_without_end(sentences, vocab)
    return F.pad(words, (0, 1), value=EOS)


def encode_lower(sentences, vocab):
    ids = {word: i for i, word in enumerate(vocab)}
    return pad_rows([[ids.get(word.lower(), UNK) for word in s] + [EOS] for s in sentences])


def encode_all_lower(sentences, vocab):
    ids = {word.lower(): i for i, word in enumerate(vocab)}
    return pad_rows([[ids.get(word.lower(), UNK) for word in s] + [EOS] for s in sentences])


def encode_lower_without_end(sentences, vocab):
    ids = {word: i for i, word in enumerate(vocab)}
    return pad_rows([[ids.get(word.lower(), UNK) for word in s] for s in sentences])


def encode_or_crash(sentences, vocab):
    return pad_rows([[vocab.index(word) for word in s] + [EOS] for s in sentences])


def encode_from_one(sentences, vocab):
    ids = {word: i for i, word in enumerate(vocab, start=1)}
    return pad_rows([[ids.get(word, UNK) for word in s] + [EOS] for s in sentences])


def encode_one_column_more(sentences, vocab):
    return F.pad(encode_by_dict(sentences, vocab), (0, 1))


def encode_cut(sentences, vocab):
    rows = [[vocab.index(w) if w in vocab else UNK for w in s] + [EOS] for s in sentences]
    return torch.tensor(list(zip(*rows, strict=False))).T


def encode_ten_wide(sentences, vocab):
    ids = encode_by_dict(sentences, vocab)
    return F.pad(ids, (0, max(0, 10 - ids.shape[1])))


def encode_unsorted_set(sentences, vocab):
    used = sorted({word for sentence in sentences for word in sentence})
    return encode_by_dict(sentences, vocab[:4] + used)


def encode_padded_with_ends(sentences, vocab):
    ids = encode_by_dict(sentences, vocab)
    return ids.masked_fill(ids == PAD, EOS)


def encode_short_integers(sentences, vocab):
    return encode_by_dict(sentences, vocab).int()


def encode_as_lists(sentences, vocab):
    return encode_by_dict(sentences, vocab).tolist()


def encode_in_place(sentences, vocab):
    for sentence in sentences:
        sentence.append("<eos>")
    return pad_rows([[vocab.index(w) if w in vocab else UNK for w in s] for s in sentences])


def encode_front_without_end(sentences, vocab):
    rows = [[vocab.index(w) if w in vocab else UNK for w in s] for s in sentences]
    width = max(map(len, rows))
    return torch.tensor([[PAD] * (width - len(row)) + row for row in rows]).long()


# --- cross_entropy --------------------------------------------------------------------------------


def entropy_torch(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


def entropy_shifted(logits, labels):
    z = logits - logits.max(dim=1, keepdim=True).values
    return z.exp().sum(dim=1).log() - z[torch.arange(len(labels)), labels]


def entropy_logsumexp(logits, labels):
    return logits.logsumexp(1) - logits.gather(1, labels.unsqueeze(1)).squeeze(1)


def entropy_one_hot(logits, labels):
    one_hot = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return -(one_hot * torch.log_softmax(logits, dim=-1)).sum(-1)


def entropy_in_a_loop(logits, labels):
    losses = []
    for z, label in zip(logits, labels, strict=True):
        z = z - z.max()
        losses.append(torch.log(torch.exp(z).sum()) - z[label])
    return torch.stack(losses)


def entropy_nll(logits, labels):
    return nn.NLLLoss(reduction="none")(nn.LogSoftmax(dim=1)(logits), labels)


def entropy_differences(logits, labels):
    right = logits[torch.arange(len(labels)), labels]
    return torch.logsumexp(logits - right[:, None], dim=1)


def entropy_distribution(logits, labels):
    return -torch.distributions.Categorical(logits=logits).log_prob(labels)


def entropy_positive(logits, labels):
    return F.log_softmax(logits, 1)[torch.arange(len(labels)), labels]


def entropy_p(logits, labels):
    return F.softmax(logits, 1)[torch.arange(len(labels)), labels]


def entropy_mean(logits, labels):
    return F.cross_entropy(logits, labels)


def entropy_dim_0(logits, labels):
    return -F.log_softmax(logits, dim=0)[torch.arange(len(labels)), labels]


def entropy_all_labels(logits, labels):
    return -F.log_softmax(logits, dim=1)[:, labels]


def entropy_gathered(logits, labels):
    return -F.log_softmax(logits, dim=1).gather(1, labels.view(-1, 1))


def entropy_log2(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none") / np.log(2)


def entropy_epsilon(logits, labels):
    z = logits - logits.max(1, keepdim=True).values
    p = z.exp() / z.exp().sum(1, keepdim=True)
    return -torch.log(p[torch.arange(len(labels)), labels] + 1e-9)


def entropy_overflows(logits, labels):
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    return -p[torch.arange(len(labels)), labels].log()


def entropy_underflows(logits, labels):
    return -logits.softmax(1)[torch.arange(len(labels)), labels].log()


def entropy_one_shift(logits, labels):
    z = logits - logits.max()
    return z.exp().sum(dim=1).log() - z[torch.arange(len(labels)), labels]


def entropy_without_sum(logits, labels):
    return -logits[torch.arange(len(labels)), labels]


def entropy_summed(logits, labels):
    return F.cross_entropy(logits, labels, reduction="sum")


def entropy_of_the_most_probable(logits, labels):
    return -logits.log_softmax(1).max(dim=1).values


def entropy_clamped(logits, labels):
    return F.cross_entropy(logits.clamp(-50, 50), labels, reduction="none")


def entropy_detached(logits, labels):
    return torch.tensor(F.cross_entropy(logits, labels, reduction="none").tolist())


def entropy_shifts_the_input(logits, labels):
    logits -= logits.max(dim=1, keepdim=True).values
    return logits.exp().sum(1).log() - logits[torch.arange(len(labels)), labels]


def entropy_all_words(logits, labels):
    return -logits.log_softmax(1)


def entropy_averaged_p(logits, labels):
    return -logits.softmax(1)[torch.arange(len(labels)), labels].mean().log()


# --- bigram_counts --------------------------------------------------------------------------------


def counts_by_bincount(ids, V):
    first, second = ids[:, :-1].flatten(), ids[:, 1:].flatten()
    real = (first != PAD) & (second != PAD)
    return torch.bincount(first[real] * V + second[real], minlength=V * V).view(V, V)


def counts_by_counter(ids, V):
    pairs = Counter(pair for row in ids.tolist() for pair in pairwise(row) if 0 not in pair)
    return torch.tensor([[pairs[first, second] for second in range(V)] for first in range(V)])


def counts_accumulated(ids, V):
    first, second = ids[:, :-1], ids[:, 1:]
    real = (first != PAD) & (second != PAD)
    counts = torch.zeros(V, V, dtype=torch.long)
    return counts.index_put((first, second), real.long(), accumulate=True)


def counts_one_hot(ids, V):
    hot = F.one_hot(ids, V)
    hot[..., PAD] = 0
    return torch.einsum("btv,btw->vw", hot[:, :-1], hot[:, 1:])


def counts_everything_then_clears(ids, V):
    counts = torch.zeros(V, V, dtype=torch.int64)
    for t in range(ids.shape[1] - 1):
        for first, second in zip(ids[:, t], ids[:, t + 1], strict=True):
            counts[first, second] += 1
    counts[PAD], counts[:, PAD] = 0, 0
    return counts


def counts_numpy(ids, V):
    counts = np.zeros((V, V), dtype=np.int64)
    np.add.at(counts, (ids[:, :-1].numpy(), ids[:, 1:].numpy()), 1)
    counts[0, :] = counts[:, 0] = 0
    return torch.from_numpy(counts)


def counts_turned(ids, V):
    counts = torch.zeros(V, V, dtype=torch.long)
    for row in ids.tolist():
        for first, second in pairwise(row):
            if first and second:
                counts[second, first] += 1
    return counts


def counts_all(ids, V):
    counts = torch.zeros(V, V, dtype=torch.long)
    for row in ids.tolist():
        for first, second in pairwise(row):
            counts[first, second] += 1
    return counts


def counts_flat(ids, V):
    flat = ids.flatten()
    first, second = flat[:-1], flat[1:]
    real = (first != PAD) & (second != PAD)
    return torch.bincount(first[real] * V + second[real], minlength=V * V).view(V, V)


def counts_indexed_once(ids, V):
    counts = torch.zeros(V, V, dtype=torch.long)
    first, second = ids[:, :-1], ids[:, 1:]
    real = (first != PAD) & (second != PAD)
    counts[first[real], second[real]] += 1
    return counts


def counts_in_floats(ids, V):
    return torch.zeros(V, V) + counts_by_bincount(ids, V)


def counts_as_shares(ids, V):
    counts = counts_by_bincount(ids, V).float()
    return counts / counts.sum(1, keepdim=True).clamp(min=1e-9)


def counts_label_only(ids, V):
    first, second = ids[:, :-1].flatten(), ids[:, 1:].flatten()
    real = first != PAD
    return torch.bincount(first[real] * V + second[real], minlength=V * V).view(V, V)


def counts_without_padding_columns(ids, V):
    return counts_by_bincount(ids, V)[1:, 1:]


def counts_two_apart(ids, V):
    first, second = ids[:, :-2].flatten(), ids[:, 2:].flatten()
    real = (first != PAD) & (second != PAD)
    return torch.bincount(first[real] * V + second[real], minlength=V * V).view(V, V)


def counts_padding_closed_up(ids, V):
    """Padding taken out first: what stood on both sides of it becomes neighbours."""
    counts = torch.zeros(V, V, dtype=torch.long)
    for row in ids:
        for first, second in pairwise(row[row != PAD].tolist()):
            counts[first, second] += 1
    return counts


def counts_up_to_the_end(ids, V):
    """Whatever stands behind EOS is left out."""
    ended = (ids == EOS).cumsum(dim=1) - (ids == EOS).long() > 0
    return counts_by_bincount(ids.masked_fill(ended, PAD), V)


def counts_up_to_padding(ids, V):
    """Whatever stands behind the first PAD is left out."""
    return counts_by_bincount(ids * (ids != PAD).cumprod(dim=1), V)


def counts_second_word_not_padding(ids, V):
    return counted_by(ids, V, ids[:, 1:] != PAD)


def counted_by(ids, V, real):
    pairs = ids[:, :-1][real] * V + ids[:, 1:][real]
    return torch.bincount(pairs, minlength=V * V).view(V, V)


def counts_in_bytes(ids, V):
    return counts_by_bincount(ids, V).to(torch.uint8).long()


def counts_of_words(ids, V):
    return torch.bincount(ids.flatten(), minlength=V).expand(V, V).contiguous()


def counts_ten_columns(ids, V):
    return counts_by_bincount(ids[:, :10], V)


def counts_to_the_largest_id(ids, V):
    width = int(ids.max()) + 1
    return counts_by_bincount(ids, V)[:width, :width]


def counts_kept():
    counts = {}

    def answer(ids, V):
        table = counts.setdefault(V, torch.zeros(V, V, dtype=torch.long))
        table += counts_by_bincount(ids, V)
        return table

    return answer


def counts_first_row_alone(ids, V):
    return counts_by_bincount(ids[:1], V)


def counts_turned_and_all(ids, V):
    return counts_all(ids, V).T.contiguous()


RIGHT = {
    "encode_batch": [
        encode_by_dict,
        encode_into_a_table,
        encode_pad_sequence,
        encode_appending_words,
        encode_numpy,
        encode_catching,
    ],
    "cross_entropy": [
        entropy_torch,
        entropy_shifted,
        entropy_logsumexp,
        entropy_one_hot,
        entropy_in_a_loop,
        entropy_nll,
        entropy_differences,
        entropy_distribution,
    ],
    "bigram_counts": [
        counts_by_bincount,
        counts_by_counter,
        counts_accumulated,
        counts_one_hot,
        counts_everything_then_clears,
        counts_numpy,
    ],
}

NAMED = {
    "encode_batch": {
        "without_eos": [
            encode_without_end,
            encode_without_end_in_one_tensor,
            encode_without_end_stacked,
            encode_without_end_in_its_column,
        ],
        "bos_in_front": [encode_target],
        "floats": [encode_zeros],
        "time_first": [encode_columns],
        "unknown_as_pad": [encode_get_zero],
        "unknown_left_out": [encode_known_only],
        "eos_behind_padding": [encode_end_last],
        "lower_cased": [encode_lower, encode_all_lower],
    },
    "cross_entropy": {
        "sign": [entropy_positive],
        "probability": [entropy_p],
        "averaged": [entropy_mean],
        "softmax_over_rows": [entropy_dim_0],
        "every_pair": [entropy_all_labels],
        "column_kept": [entropy_gathered],
        "other_base": [entropy_log2],
        "probability_kept_above_zero": [entropy_epsilon],
    },
    "bigram_counts": {
        "turned": [counts_turned],
        "counts_padding": [counts_all],
        "across_rows": [counts_flat],
        "counted_once": [counts_indexed_once],
        "floats": [counts_in_floats],
        "shares": [counts_as_shares],
        "counts_end_and_padding": [counts_label_only],
    },
}

UNNAMED = {
    "encode_batch": [
        encode_or_crash,
        encode_from_one,
        encode_one_column_more,
        encode_cut,
        encode_ten_wide,
        encode_unsorted_set,
        encode_padded_with_ends,
        encode_short_integers,
        encode_as_lists,
        encode_in_place,
        encode_front_without_end,
        encode_lower_without_end,
    ],
    "cross_entropy": [
        entropy_overflows,
        entropy_underflows,
        entropy_one_shift,
        entropy_without_sum,
        entropy_summed,
        entropy_of_the_most_probable,
        entropy_clamped,
        entropy_shifts_the_input,
        entropy_all_words,
        entropy_averaged_p,
    ],
    "bigram_counts": [
        counts_without_padding_columns,
        counts_two_apart,
        counts_padding_closed_up,
        counts_up_to_the_end,
        counts_up_to_padding,
        counts_second_word_not_padding,
        counts_in_bytes,
        counts_of_words,
        counts_ten_columns,
        counts_to_the_largest_id,
        counts_kept(),
        counts_first_row_alone,
        counts_turned_and_all,
    ],
}
