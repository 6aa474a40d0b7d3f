"""Translation tasks: number words without end, or the learner's own sentence pairs."""

import difflib
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lessons_lib.kit.arguments import check_at_most, check_positive
from lessons_lib.kit.numbers import MAX_DIGITS, SCALES, number_vocabulary, spell
from lessons_lib.kit.pair_files import read_columns
from lessons_lib.kit.vocabulary import (
    BOS,
    EOS,
    PAD,
    SPECIALS,
    UNK,
    build_vocabulary,
    pad_rows,
)

Split = Callable[[str], list[str]]


@dataclass(frozen=True)
class Task:
    """Sentence pairs as padded ids, with the vocabularies that made them.

    `train` and `test` are each a pair `(src, tgt)` of integer tensors, (N, T_src) and (N, T_tgt).
    A row of `src` is: words, EOS, PAD … A row of `tgt` is: BOS, words, EOS, PAD …
    """

    src_vocab: list[str]
    tgt_vocab: list[str]
    train: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]
    split: Split = field(repr=False)  # a source sentence → its words
    knows_unk: bool = False  # map unknown words to <unk>, or raise?

    def encode(self, sentence: str) -> torch.Tensor:
        """Turn a source sentence into ids that end in EOS: (T_src,).

        Raises:
            ValueError: if the sentence has no words, or (number tasks) an unknown word.
        """
        words = self.split(sentence)
        if not words:
            raise ValueError(f"sentence must have at least one word, got {sentence!r}")
        ids = {word: i for i, word in enumerate(self.src_vocab)}
        if not self.knows_unk:
            for word in words:
                if word not in ids or word in SPECIALS:
                    raise ValueError(_unknown_word(word, self.src_vocab))
        return torch.tensor([*(ids.get(word, UNK) for word in words), EOS])  # (T_src,)

    def decode(self, ids: torch.Tensor | Sequence[int]) -> str:
        """Turn target ids into words, up to the first EOS. BOS and PAD are skipped.

        Raises:
            ValueError: if an id is not in the target vocabulary.
        """
        words = []
        for i in torch.as_tensor(ids).tolist():
            if i == EOS:
                break
            if not 0 <= i < len(self.tgt_vocab):
                raise ValueError(f"ids must lie in 0 … {len(self.tgt_vocab) - 1}, got {i}")
            if i not in (PAD, BOS):
                words.append(self.tgt_vocab[i])
        return " ".join(words)

    def words(self, src: torch.Tensor | Sequence[int]) -> list[str]:
        """List the words of a source row, EOS included, padding left out: (T_src,) → T words."""
        return [self.src_vocab[i] for i in torch.as_tensor(src).tolist() if i != PAD]


def number_words(
    target: str = "de",
    max_digits: int = 12,
    n_train: int = 8000,
    n_test: int = 1000,
    seed: int = 0,
) -> Task:
    """English number words → number words of another language ("de" or "ja").

    All numbers are different, so the test numbers are held out. The number of digits is drawn
    evenly from 1 to `max_digits`. A quarter of the numbers are round: they end in zeros, as numbers
    that people say often do.

    Raises:
        ValueError: for an unknown target language, too many digits, or more numbers than there are.
    """
    if target not in SCALES:
        raise ValueError(f"target must be one of {sorted(SCALES)}, got {target!r}")
    numbers = _draw_numbers(max_digits, n_train, n_test, seed)
    src_vocab = SPECIALS + number_vocabulary("en", max_digits)
    tgt_vocab = SPECIALS + number_vocabulary(target, max_digits)
    pairs = [(spell(n, "en"), spell(n, target)) for n in numbers]
    return _task(pairs, n_train, src_vocab, tgt_vocab, split_number, knows_unk=False)


def number_digits(
    cut: Split, max_digits: int = 6, n_train: int = 4000, n_test: int = 500, seed: int = 0
) -> Task:
    """Draw numbers as `number_words` does; source: their digits, cut into tokens; target: German.

    `cut` takes the digits, such as "4207", and gives the tokens, such as ["4", "207"]. The source
    vocabulary is what the training numbers hold; other tokens become `<unk>`.

    Raises:
        ValueError: for too many digits, or more numbers than there are.
    """
    numbers = _draw_numbers(max_digits, n_train, n_test, seed)
    pairs = [(cut(str(n)), spell(n, "de")) for n in numbers]
    src_vocab = build_vocabulary(src for src, _ in pairs[:n_train])
    tgt_vocab = SPECIALS + number_vocabulary("de", max_digits)
    return _task(pairs, n_train, src_vocab, tgt_vocab, cut, knows_unk=True)


def read_pairs(
    path: str | Path,
    max_words: int = 10_000,
    max_length: int = 200,
    n_test: int = 1000,
    seed: int = 0,
    swap: bool = False,
) -> Task:
    """Read your own sentence pairs: a UTF-8 text file, one pair a line, two columns and a tab.

    A third column, which says who wrote the pair in many collections, is left out, and a printed
    line says so; then every line has three. With `swap` the second column is the source. A gzip
    file is unpacked. Windows line ends and blank lines are accepted.

    Text is lower-cased and split into words, punctuation marks and single Chinese or Japanese
    characters. A vocabulary holds the `max_words` most frequent words of the training pairs; other
    words become `<unk>`. A tenth of the source sentences, at most `n_test`, is held out for tests.
    All rows are padded to the longest: that is why a sentence has at most `max_length` words.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: "path:line: …" for a line that is not UTF-8, has another number of columns than
            the first, an empty one or too many words, and for a first line that is a header or
            comes from a .csv; "path: …" for a file that is no text or has no pair.
    """
    for name, value in (("max_words", max_words), ("max_length", max_length), ("n_test", n_test)):
        check_positive(name, value)
    pairs = []
    for where, columns in read_columns(Path(path)):
        src, tgt = (split_text(column) for column in (reversed(columns) if swap else columns))
        if max(len(src), len(tgt)) > max_length:
            raise ValueError(
                f"{where}: expected at most {max_length} words in a sentence (max_length), got "
                f"{max(len(src), len(tgt))}"
            )
        pairs.append((src, tgt))
    sources = list(dict.fromkeys(tuple(src) for src, _ in pairs))
    random.Random(seed).shuffle(sources)
    held_out = set(sources[: min(n_test, len(sources) // 10)])
    train = [pair for pair in pairs if tuple(pair[0]) not in held_out]
    test = [pair for pair in pairs if tuple(pair[0]) in held_out]
    src_vocab = build_vocabulary((src for src, _ in train), max_words)
    tgt_vocab = build_vocabulary((tgt for _, tgt in train), max_words)
    return Task(
        src_vocab,
        tgt_vocab,
        train=_to_ids(train, src_vocab, tgt_vocab),
        test=_to_ids(test, src_vocab, tgt_vocab),
        split=split_text,
        knows_unk=True,
    )


def split_number(sentence: str) -> list[str]:
    """Split an English number into words; "and", commas and hyphens are dropped.

    Digits are written out first: "342,000" gives three, hundred, forty, two, thousand.
    """
    digits = re.sub(r"[\s,_]", "", sentence)
    if re.fullmatch("[0-9]+", digits):
        return spell(int(digits), "en")
    return [word for word in re.split(r"[\s,-]+", sentence.lower()) if word not in ("", "and")]


def split_text(sentence: str) -> list[str]:
    """Split a sentence into lower-case words, punctuation marks and single CJK characters."""
    return re.findall(
        r"[\u3040-\u30ff\u4e00-\u9fff]|[^\W\u3040-\u30ff\u4e00-\u9fff]+|[^\w\s]", sentence.lower()
    )


def _draw_numbers(max_digits: int, n_train: int, n_test: int, seed: int) -> list[int]:
    """Different numbers in the order in which they were drawn: first those to train on."""
    for name, value in (("max_digits", max_digits), ("n_train", n_train), ("n_test", n_test)):
        check_positive(name, value)
    check_at_most("max_digits", max_digits, MAX_DIGITS)
    if n_train + n_test > 10**max_digits:
        raise ValueError(
            f"n_train + n_test must be at most {10**max_digits}, the count of different numbers "
            f"with up to {max_digits} digits, got {n_train + n_test}"
        )
    rng, numbers = random.Random(seed), {}  # a dict keeps the order in which they were drawn
    while len(numbers) < n_train + n_test:
        n_digits = rng.randint(1, max_digits)
        number = rng.randrange(10**n_digits)
        if rng.random() < 0.25:
            zeros = 10 ** rng.randrange(n_digits)
            number = number // zeros * zeros
        numbers[number] = None
    return list(numbers)


def _task(pairs, n_train: int, src_vocab, tgt_vocab, split: Split, knows_unk: bool) -> Task:
    """The first `n_train` pairs to train on, the others to test with."""
    train, test = (
        _to_ids(part, src_vocab, tgt_vocab) for part in (pairs[:n_train], pairs[n_train:])
    )
    return Task(src_vocab, tgt_vocab, train, test, split, knows_unk)


def _to_ids(
    pairs: Sequence[tuple[Sequence[str], Sequence[str]]],
    src_vocab: Sequence[str],
    tgt_vocab: Sequence[str],
) -> tuple[torch.Tensor, torch.Tensor]:
    src_ids = {word: i for i, word in enumerate(src_vocab)}
    tgt_ids = {word: i for i, word in enumerate(tgt_vocab)}
    src = pad_rows([[*(src_ids.get(w, UNK) for w in s), EOS] for s, _ in pairs])  # (N, T_src)
    tgt = pad_rows([[BOS, *(tgt_ids.get(w, UNK) for w in t), EOS] for _, t in pairs])  # (N, T_tgt)
    return src, tgt


def _unknown_word(word: str, vocabulary: Sequence[str]) -> str:
    known = vocabulary[len(SPECIALS) :]
    close = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known[:5])}, …"
    return f"sentence holds the unknown word {word!r}; {hint}"
