"""The exercises of lesson 0, as data: reference, cases, known mistakes, hints.

Sentences to encode are lists of words; ids are rows BOS, words, EOS, PAD …
"""

from itertools import pairwise

import torch

from lessons_lib.checks.exercise import Case, Exercise, Misconception, several
from lessons_lib.checks.inputs import normal
from lessons_lib.checks.properties import same_gradient
from lessons_lib.kit.vocabulary import BOS, EOS, PAD, SPECIALS, UNK


def ids_of(*rows: list[int]) -> torch.Tensor:
    """Token ids, (B, T)."""
    return torch.tensor(rows)


# --- encode_batch ---------------------------------------------------------------------------------


def rows_of(sentences, vocab, unknown=UNK):
    """Word by word: the position in the vocabulary, or the id `unknown`."""
    return [[vocab.index(word) if word in vocab else unknown for word in s] for s in sentences]


def rectangle(rows, left=False):
    """Fill up with PAD behind each row, or in front of it."""
    width = max(len(row) for row in rows)
    filled = []
    for row in rows:
        padding = [PAD] * (width - len(row))
        filled.append(padding + row if left else row + padding)
    return torch.tensor(filled, dtype=torch.int64)


def look_up_word_by_word(sentences, vocab):
    return rectangle([[*row, EOS] for row in rows_of(sentences, vocab)])


def without_eos(sentences, vocab):
    return rectangle(rows_of(sentences, vocab))


def without_eos_in_floats(sentences, vocab):
    """torch.tensor makes floating-point numbers of rows without a number."""
    ids = without_eos(sentences, vocab)
    return ids if ids.numel() else ids.float()


def without_eos_stacked(sentences, vocab):
    """Row by row: the kind of number that the first row has."""
    ids = without_eos(sentences, vocab)
    return ids if sentences[0] else ids.float()


def pad_for_eos(sentences, vocab):
    """Wide enough for EOS, but it is never written."""
    ids = look_up_word_by_word(sentences, vocab)
    return ids.masked_fill(ids == EOS, PAD)


def with_bos(sentences, vocab):
    return rectangle([[BOS, *row, EOS] for row in rows_of(sentences, vocab)])


def padded_in_front(sentences, vocab):
    return rectangle([[*row, EOS] for row in rows_of(sentences, vocab)], left=True)


def eos_behind_padding(sentences, vocab):
    words = rectangle(rows_of(sentences, vocab))  # (B, T-1)
    return torch.cat([words, torch.full((len(sentences), 1), EOS)], dim=1)


def unknown_left_out(sentences, vocab):
    known = [[word for word in sentence if word in vocab] for sentence in sentences]
    return look_up_word_by_word(known, vocab)


def unknown_as_pad(sentences, vocab):
    return rectangle([[*row, EOS] for row in rows_of(sentences, vocab, unknown=PAD)])


def lower_cased(words):
    return [word.lower() for word in words]


def without_capitals(sentences, vocab):
    return look_up_word_by_word([lower_cased(sentence) for sentence in sentences], vocab)


def without_capitals_in_vocab(sentences, vocab):
    return without_capitals(sentences, lower_cased(vocab))


def many(n, words):
    """A long sentence: n words out of `words`, some of them often."""
    return [words[t * t % len(words)] for t in range(n)]


small = [*SPECIALS, "two", "forty"]
german = [*SPECIALS, "ein", "eins", "zwei", "und", "vierzig", "zig", "hundert"]
large = [*SPECIALS, *(f"word{i}" for i in range(400))]

encode_batch = Exercise(
    id="encode_batch",
    lesson=0,
    signature="encode_batch(sentences, vocab) → ids (B, T)",
    returns=("ids",),
    oracle=look_up_word_by_word,
    cases=(
        Case("the example: two known sentences", ([["forty", "two"], ["two"]], small)),
        Case("one sentence", ([["zwei", "und", "vierzig"]], german)),
        Case("the same sizes, other words", ([["eins", "hundert", "zwei"]], german)),
        Case("an unknown word in the middle", ([["zwei", "oder", "vierzig"], ["ein"]], german)),
        Case(
            "unknown words in front and at the end, a word twice",
            ([["zwölf", "und", "und"], ["ein", "hundert", "Zwei", "dreißig"], ["hund"]], german),
        ),
        Case(
            "capitals in the sentences, and one in the vocabulary",
            (
                [["Zwei", "und", "Vierzig"], ["zwei", "Und", "VIERZIG"]],
                [*SPECIALS, "zwei", "Und", "vierzig"],
            ),
        ),
        Case("an empty sentence among others", ([["eins"], [], ["zwei", "und"]], german)),
        Case("as many sentences as positions", ([["ein", "zig"], ["eins"], ["und"]], german)),
        Case("sentences of the same length", ([["two", "two"], ["forty", "two"]], small)),
        Case("a vocabulary of special tokens alone", ([["two", "forty"], ["two"]], SPECIALS)),
        Case(
            "another vocabulary, another order", ([["two"], ["forty"]], [*SPECIALS, "forty", "two"])
        ),
        Case("nothing but an empty sentence", ([[]], small)),
        Case("300 words beside one, 404 entries", ([many(300, large[4:]), ["word7"]], large)),
        Case("17 sentences", ([many(n % 5, german[4:]) for n in range(17)], german)),
        Case("a single word", ([["vierzig"]], german)),
    ),
    misconceptions=(
        *several(
            "without_eos",
            "Your rows lack the id of <eos>: nothing says where a sentence ends.",
            without_eos,
            without_eos_in_floats,
            without_eos_stacked,
            pad_for_eos,
        ),
        Misconception(
            "bos_in_front",
            "Your rows begin with <bos>; here they begin with the first word.",
            with_bos,
        ),
        Misconception(
            "padded_in_front",
            "Your padding stands in front of the words; it belongs behind <eos>.",
            padded_in_front,
        ),
        Misconception(
            "eos_behind_padding",
            "Your <eos> stands in the last column, behind the padding.",
            eos_behind_padding,
        ),
        Misconception(
            "unknown_left_out",
            "Your rows leave unknown words out; each becomes <unk>.",
            unknown_left_out,
        ),
        Misconception(
            "unknown_as_pad",
            "Your unknown words get the id of <pad>; they become <unk>.",
            unknown_as_pad,
        ),
        *several(
            "lower_cased",
            "Your words are lower-cased before you look them up; capitals count.",
            without_capitals,
            without_capitals_in_vocab,
        ),
        *several(
            "floats",
            "Your ids are floating-point numbers; torch.int64 is wanted.",
            lambda sentences, vocab: look_up_word_by_word(sentences, vocab).float(),
            lambda sentences, vocab: look_up_word_by_word(sentences, vocab).double(),
        ),
        Misconception(
            "time_first",
            "Your ids are (T, B): a sentence is a column. A row for each is wanted.",
            lambda sentences, vocab: look_up_word_by_word(sentences, vocab).T.contiguous(),
        ),
    ),
    hints=(
        "Which id has the first word of the first sentence? What stands behind its last word?",
        "Make a list of ids for each sentence first: each word's position in vocab, UNK if it is"
        " not there, then EOS. The longest list says how wide the rectangle is.",
        "{word: id for id, word in enumerate(vocab)}.get(word, UNK) looks a word up. pad_rows from"
        " lessons_lib.kit.vocabulary fills lists up; or add [PAD] * (T - len(row)) to each row"
        " before torch.tensor(rows).",
    ),
)


# --- cross_entropy --------------------------------------------------------------------------------


def loss_by_loss(logits, labels):
    """Sentence by sentence, −log p of the right word, from torch's log_softmax."""
    rows = zip(logits, labels.tolist(), strict=True)
    return torch.stack([-row.log_softmax(dim=0)[label] for row, label in rows])  # (B,)


def p_right(logits, labels):
    """The probability of each right word, (B,)."""
    return logits.softmax(dim=1).gather(1, labels[:, None]).squeeze(1)


def log_plus(small_number):
    """The loss with a small number added inside the logarithm, or p kept above it."""
    return lambda logits, labels: -(p_right(logits, labels) + small_number).log()


def over_the_batch(logits, labels):
    return -logits.log_softmax(dim=0).gather(1, labels[:, None]).squeeze(1)


EPSILONS = (1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5)

# So far apart that the last digit of a thousand decides nothing.
extremes = (torch.tensor([[1000.0, -1000, 0], [0, -1000, 1000]]), torch.tensor([1, 0]))
cross_entropy_inputs = (normal(1, 3, 5, scale=2.0), torch.tensor([4, 0, 2]))

cross_entropy = Exercise(
    id="cross_entropy",
    lesson=0,
    signature="cross_entropy(logits (B, V), labels (B,)) → losses (B,)",
    returns=("losses",),
    oracle=loss_by_loss,
    cases=(
        Case("the example", (torch.tensor([[1.0, 2, 0], [0, 0, 0]]), torch.tensor([2, 1]))),
        Case("three rows, five words", cross_entropy_inputs),
        Case("the same sizes, other numbers", (normal(2, 3, 5), torch.tensor([1, 1, 3]))),
        Case("a single row", (normal(3, 1, 4), torch.tensor([0]))),
        Case("as many rows as words", (normal(4, 4, 4), torch.tensor([3, 0, 0, 2]))),
        Case("a vocabulary of one word", (torch.tensor([[2.5]]), torch.tensor([0]))),
        Case("17 rows of 300 words", (normal(5, 17, 300), torch.arange(17) * 17)),
        Case(
            "logits near 1,000, and near -1,000",
            (torch.tensor([[1000.0, 999, 998], [-1000, -999, -998]]), torch.tensor([2, 1])),
        ),
        Case("all logits 1,000", (torch.full((2, 4), 1000.0), torch.tensor([0, 3]))),
        Case(
            "a right word 40 below, another one 40 above",
            (torch.tensor([[40.0, 0, 0], [0, 40, 0]]), torch.tensor([1, 1])),
        ),
        Case("the right word is 2,000 behind, or 1,000", extremes),
        Case(
            "the right word has -1,000, two others 1,000",
            (torch.tensor([[1000.0, 1000, -1000], [-1000, -1000, 1000]]), torch.tensor([2, 2])),
        ),
        Case(
            "large and small logits in one batch",
            (torch.tensor([[1000.0, 0], [0, 1], [-999, -1000]]), torch.tensor([1, 1, 0])),
        ),
    ),
    misconceptions=(
        Misconception(
            "sign",
            "Your losses have the wrong sign: log p is negative, the loss is -log p.",
            lambda logits, labels: -loss_by_loss(logits, labels),
        ),
        Misconception(
            "probability",
            "Your losses are the probabilities of the right words, without -log.",
            p_right,
        ),
        Misconception(
            "averaged",
            "Your answer is the average of the losses; one loss for each row is wanted.",
            lambda logits, labels: loss_by_loss(logits, labels).mean(),
        ),
        Misconception(
            "softmax_over_rows",
            "Your losses are what you get when the softmax runs over the rows (axis 0).",
            over_the_batch,
        ),
        Misconception(
            "every_pair",
            "Your answer is (B, B): every row meets the labels of all rows.",
            lambda logits, labels: -logits.log_softmax(dim=1)[:, labels],
        ),
        Misconception(
            "column_kept",
            "Your losses are right, but a column (B, 1); (B,) is wanted.",
            lambda logits, labels: loss_by_loss(logits, labels)[:, None],
        ),
        *several(
            "other_base",
            "Your losses use a logarithm to another base; the natural one is wanted.",
            lambda logits, labels: loss_by_loss(logits, labels) / torch.tensor(2.0).log(),
            lambda logits, labels: loss_by_loss(logits, labels) / torch.tensor(10.0).log(),
        ),
        *several(
            "probability_kept_above_zero",
            "Your losses stop growing: p is kept above a small number before the log.",
            *map(log_plus, EPSILONS),
        ),
    ),
    hints=(
        "Add the same number to all logits of a row: what happens to the probabilities?",
        "Take each row's largest logit off all its logits: no e^z is too large then. And log p ="
        " z of the right word − log(sum of all e^z): no p is needed that could be 0.",
        "logits.log_softmax(dim=1) does both, as does logits.logsumexp(dim=1) for the second part."
        " To pick one number in each row: table[torch.arange(len(labels)), labels], or gather.",
    ),
    properties=(
        same_gradient(loss_by_loss, ("logits", "labels"), cross_entropy_inputs),
        same_gradient(
            loss_by_loss,
            ("logits", "labels"),
            extremes,
            "the gradient where logits are 1,000 and -1,000",
        ),
    ),
)


# --- bigram_counts --------------------------------------------------------------------------------


def count_pair_by_pair(ids, V):
    """One pair of neighbours after the other."""
    return counted(ids, V, lambda first, second: first != PAD and second != PAD)


def counted(ids, V, wanted):
    """Count the pairs of neighbours that are `wanted`."""
    counts = torch.zeros(V, V, dtype=torch.int64)
    for row in ids.tolist():
        for first, second in pairwise(row):
            if wanted(first, second):
                counts[first, second] += 1
    return counts


def across_rows(ids, V):
    return count_pair_by_pair(ids.reshape(1, -1), V)


def shares(ids, V):
    counts = count_pair_by_pair(ids, V)
    return counts / counts.sum(dim=1, keepdim=True)


def shares_without_nan(ids, V):
    counts = count_pair_by_pair(ids, V)
    return counts / counts.sum(dim=1, keepdim=True).clamp(min=1)


def words_only(ids, V):
    special = (PAD, BOS, EOS)
    return counted(ids, V, lambda first, second: first not in special and second not in special)


def random_rows(seed, lengths, V):
    """Rows BOS, words, EOS, PAD …; `lengths` counts the words."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.full((len(lengths), max(lengths) + 2), PAD)
    for row, n in zip(rows, lengths, strict=True):
        words = torch.randint(UNK, V, (n,), generator=generator)
        row[: n + 2] = torch.cat([torch.tensor([BOS]), words, torch.tensor([EOS])])
    return rows


bigram_counts = Exercise(
    id="bigram_counts",
    lesson=0,
    signature="bigram_counts(ids (B, T), V) → counts (V, V)",
    returns=("counts",),
    oracle=count_pair_by_pair,
    cases=(
        Case("the example: one sentence", (ids_of([1, 4, 3, 4, 2]), 5)),
        Case("two lengths, so there is padding", (ids_of([1, 5, 2, 0, 0], [1, 4, 6, 5, 2]), 7)),
        Case("the same sizes, other ids", (ids_of([1, 6, 4, 6, 2], [1, 6, 4, 2, 0]), 7)),
        Case("a pair that comes again and again", (ids_of([1, 4, 4, 4, 4, 2, 0]), 6)),
        Case("the same pair in three rows", (ids_of(*[[1, 4, 5, 2]] * 3), 6)),
        Case("as many rows as columns and words", (random_rows(1, [4, 2, 3, 1, 4, 0], 6), 6)),
        Case("words that never occur", (ids_of([1, 3, 2], [1, 8, 2]), 12)),
        Case("empty sentences", (ids_of([1, 2, 0], [1, 2, 0]), 4)),
        Case("nothing but padding", (ids_of([0, 0, 0]), 4)),
        Case("a single column: no pairs", (ids_of([1], [4], [2]), 5)),
        Case("a single id, one word", (ids_of([0]), 1)),
        Case("a word behind EOS", (ids_of([1, 4, 2, 5]), 6)),
        Case("padding in front and in the middle", (ids_of([0, 4, 0, 5, 2]), 6)),
        Case(
            "all of that, and BOS and EOS often",
            (ids_of([0, 0, 1, 4, 0, 5, 2], [1] * 7, [1, 4, 2, 1, 5, 2, 2]), 6),
        ),
        Case("300 times the same word", (torch.cat([ids_of([1]), ids_of([4] * 300)], dim=1), 5)),
        Case("300 words", (random_rows(2, [290, 12], 300), 300)),
        Case("17 sentences", (random_rows(3, [n % 6 for n in range(17)], 8), 8)),
    ),
    misconceptions=(
        Misconception(
            "turned",
            "Your table is turned: a row belongs to the first word of a pair.",
            lambda ids, V: count_pair_by_pair(ids, V).T.contiguous(),
        ),
        Misconception(
            "counts_padding",
            "Your table counts pairs with padding in them, too.",
            lambda ids, V: counted(ids, V, lambda first, second: True),
        ),
        Misconception(
            "counts_end_and_padding",
            "Your table leaves out only what follows padding; <eos>, <pad> is in it.",
            lambda ids, V: counted(ids, V, lambda first, second: first != PAD),
        ),
        Misconception(
            "across_rows",
            "Your table counts the end of a row and the start of the next as a pair.",
            across_rows,
        ),
        Misconception(
            "counted_once",
            "Your table holds 1 for every pair that occurs, however often it does.",
            lambda ids, V: count_pair_by_pair(ids, V).clamp(max=1),
        ),
        *several(
            "shares",
            "Your table holds shares of its rows; the counts themselves are wanted.",
            shares,
            shares_without_nan,
        ),
        *several(
            "floats",
            "Your counts are right, but floating-point numbers; torch.int64 is wanted.",
            lambda ids, V: count_pair_by_pair(ids, V).float(),
            lambda ids, V: count_pair_by_pair(ids, V).double(),
        ),
        Misconception(
            "words_only",
            "Your table leaves out the pairs with <bos> or <eos>; they count, too.",
            words_only,
        ),
        Misconception(
            "both_directions",
            "Your table counts each pair in both directions.",
            lambda ids, V: count_pair_by_pair(ids, V) + count_pair_by_pair(ids, V).T,
        ),
    ),
    hints=(
        "Write one row of ids on paper. Which pairs of neighbours are in it, and which count?",
        "The first words of all pairs are ids[:, :-1], the second ones ids[:, 1:]. A pair counts if"
        " neither of the two is PAD.",
        "Two loops will do: counts[first, second] += 1. Without loops: number each pair first * V +"
        " second, count the numbers with torch.bincount(…, minlength=V * V), reshape to (V, V).",
    ),
)

EXERCISES = (encode_batch, cross_entropy, bigram_counts)
