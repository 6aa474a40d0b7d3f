"""Tokenization: text of any kind becomes ids, by byte-pair encoding.

Sennrich et al. 2016 (arXiv 1508.07909), on bytes as in GPT-2 (Radford et al. 2019, section 2.2). It
learns the same merges as the library `tokenizers`, in the same order, and gives the same ids.
"""

import re
from collections import Counter, defaultdict
from heapq import heappop, heappush
from itertools import pairwise

from lessons_lib.kit.arguments import (
    check_merges,
    check_not_negative,
    check_some_pair,
    check_text,
    check_token_ids,
)

# GPT-2's order of the 256 bytes: first those that are visible signs in Latin-1, then the others.
BYTES = sorted(range(256), key=lambda byte: byte == 32 or not chr(byte).isprintable())


def split_text(text: str) -> list[str]:
    """Cut a text where no token may reach across: "I'm 42, ja" → "I", "'m", " 42", ",", " ja".

    The pieces are words, numbers and runs of other signs, each with one space before it, and the
    rest of the white space; joined they are the text again (GPT-2's rule).

    Raises:
        TypeError: if text is not a string.
        ValueError: if it holds half a character (a lone surrogate).
    """
    check_text("text", text)
    # What `re` counts as a letter and Unicode as a number: ², ½, Ⅷ. (一 is a letter to both.)
    others = "".join(sign for sign in set(text) if sign.isnumeric() and not sign.isalpha())
    endings = r"'(?:s|t|re|ve|m|ll|d)"  # it's, don't, you're, …
    words, numbers, signs = rf" ?[^\W\d_{others}]+", rf" ?[\d{others}]+", r" ?(?:[^\w\s]|_)+"
    spaces = r"\s+(?!\S)|\s+"  # if it can, a run leaves its last space to the next piece
    return re.findall("|".join([endings, words, numbers, signs, spaces]), text)


def byte_ids(word: str) -> tuple[int, ...]:
    """The bytes of a word (UTF-8) as ids below 256: their places in `BYTES`."""
    return tuple(BYTES.index(byte) for byte in word.encode())


def count_pairs(words: dict[tuple[int, ...], int]) -> Counter:
    """Count how often each pair of neighbours occurs: {word: its count} → {pair: count}."""
    counts = Counter()
    for word, n in words.items():
        for pair in pairwise(word):
            counts[pair] += n
    return counts


def holders_of(words: dict[tuple[int, ...], int]) -> defaultdict:
    """Which words hold a pair: {pair: a set of words}, empty for a pair that is new."""
    holders = defaultdict(set)
    for word in words:
        for pair in pairwise(word):
            holders[pair].add(word)
    return holders


def merge(ids: tuple[int, ...], pair: tuple[int, int], new: int) -> tuple[int, ...]:
    """Replace each occurrence of `pair` by `new`, from left to right: a a a → new a."""
    merged, i = [], 0
    while i < len(ids):
        found = ids[i : i + 2] == pair
        merged.append(new if found else ids[i])
        i += 2 if found else 1
    return tuple(merged)


def learn_merges(text: str, n_merges: int) -> dict[tuple[int, int], int]:
    """Learn which pairs to merge: {pair: new id}, the first learnt first, new ids from 256 on.

    Each time the most frequent pair is merged in all words; of equally frequent ones, the pair with
    the lowest ids. Where nothing is left to merge, there are fewer than `n_merges`. Sennrich et al.
    2016, section 3.2, algorithm 1; here only words that change are counted again.

    Raises:
        TypeError: if text is not a string.
        ValueError: if `n_merges` is no whole number of at least 0, or no two bytes of the text may
            be merged.
    """
    check_not_negative("n_merges", n_merges)
    words = {byte_ids(word): n for word, n in Counter(split_text(text)).items()}
    counts = count_pairs(words)
    check_some_pair("text", text, counts)
    queue = sorted((-n, pair) for pair, n in counts.items())  # the most frequent pair first
    holders, merges = holders_of(words), {}
    while queue and len(merges) < n_merges:
        n, best = heappop(queue)
        if -n != counts[best]:  # it is rarer by now: back into the queue
            heappush(queue, (-counts[best], best))
        elif n < 0:
            new = merges[best] = 256 + len(merges)
            old = {word: words.pop(word) for word in holders[best] & words.keys()}
            changed = {merge(word, best, new): n for word, n in old.items()}
            words |= changed
            counts.subtract(count_pairs(old))
            found = count_pairs(changed)
            counts.update(found)
            for pair in found:
                heappush(queue, (-counts[pair], pair))
            for pair, those in holders_of(changed).items():
                holders[pair] |= those
    return merges


class BytePairs:
    """A tokenizer made of merges: any text → ids, and back.

    Ids below 256 are single bytes, in the order of `BYTES`; each merge adds one.

    Raises:
        TypeError: if `merges` is no {(id, id): id}.
        ValueError: if the new ids are not 256, 257, … or a pair holds an id that is made later.
    """

    def __init__(self, merges: dict[tuple[int, int], int]):
        check_merges("merges", merges)
        self.merges = dict(merges)
        self.tokens = [bytes([byte]) for byte in BYTES]  # id → its bytes
        for left, right in merges:
            self.tokens.append(self.tokens[left] + self.tokens[right])

    @classmethod
    def train(cls, text: str, n_merges: int):
        """Learn `n_merges` merges from a text."""
        return cls(learn_merges(text, n_merges))

    def __len__(self):
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """Text → ids. In each word the merge that was learnt first is done first."""
        words = split_text(text)
        ids = {word: self._merged(byte_ids(word)) for word in set(words)}
        return [i for word in words for i in ids[word]]

    def _merged(self, ids):
        while known := self.merges.keys() & pairwise(ids):
            first = min(known, key=self.merges.get)
            ids = merge(ids, first, self.merges[first])
        return ids

    def decode(self, ids) -> str:
        """Ids → text. Bytes that are no character become �.

        Raises:
            TypeError: if an id is not a whole number.
            ValueError: if it is not in the vocabulary.
        """
        check_token_ids("ids", ids, len(self))
        return b"".join(self.tokens[i] for i in ids).decode(errors="replace")

    def token(self, i: int) -> str:
        r"""One token to be read: a space is ␣, a new line ↵, bytes of no character like \xe4."""
        check_token_ids("i", [i], len(self))
        return self.tokens[i].decode(errors="backslashreplace").translate({32: "␣", 10: "↵"})
