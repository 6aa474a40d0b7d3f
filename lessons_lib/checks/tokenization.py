"""The exercises of lesson 9, as data: reference, cases, known mistakes, hints.

Nothing here is a tensor: words are lists of ids, texts are str, what comes from a file is bytes.
"""

import codecs
from collections import Counter
from itertools import combinations, pairwise
from math import log

from lessons_lib.checks.exercise import Case, Exercise, Misconception, several

# --- count_pairs ----------------------------------------------------------------------------------


def count_each(words):
    """List every pair of neighbours, then count each in the list."""
    pairs = [(word[i], word[i + 1]) for word in words for i in range(len(word) - 1)]
    return {pair: pairs.count(pair) for pair in pairs}


def counting(pairs_of_word):
    """Count what `pairs_of_word`(word) lists."""
    return lambda words: dict(Counter(pair for word in words for pair in pairs_of_word(word)))


def across_words(words):
    return count_each([[i for word in words for i in word]])


def runs_without_overlap(words):
    """Each pair counted as str.count does: an id counts in one occurrence of it only."""
    counts = Counter()
    for pair in count_each(words):
        for word in words:
            i = 0
            while i < len(word) - 1:
                found = (word[i], word[i + 1]) == pair
                counts[pair] += found
                i += 2 if found else 1
    return dict(counts)


def distinct_words_once(words):
    return count_each(list(dict.fromkeys(map(tuple, words))))


count_pairs = Exercise(
    id="count_pairs",
    lesson=9,
    signature="count_pairs(words: list[list[int]]) → counts: dict[(int, int), int]",
    returns=("counts",),
    oracle=count_each,
    cases=(
        Case("one word of two ids", ([[5, 6]],)),
        Case("the example", ([[5, 6, 5], [5, 6]],)),
        Case("three different ids", ([[1, 2, 3]],)),
        Case("the same sizes, other ids", ([[4, 9, 2]],)),
        Case("no words", ([],)),
        Case("an empty word", ([[]],)),
        Case("a single id", ([[7]],)),
        Case("a pair and the same pair turned", ([[8, 3, 8], [3, 8]],)),
        Case("three equal ids hold two pairs", ([[7, 7, 7]],)),
        Case("four equal ids hold three pairs", ([[7, 7, 7, 7], [1, 7, 7]],)),
        Case("equal ids among others", ([[4, 7, 7, 7, 4, 7, 7], [7, 7]],)),
        Case("the end of a word and the start of the next", ([[1, 2], [3, 4], [5]],)),
        Case("the same word three times", ([[1, 2, 3], [4, 2], [1, 2, 3], [1, 2, 3]],)),
        Case("two words, each of them twice", ([[5, 8, 9], [6, 1], [6, 1], [5, 8, 9]],)),
        Case("a pair twice in one word", ([[1, 2, 5, 1, 2], [1, 2]],)),
        Case("empty and short words among others", ([[], [3, 1], [9], [], [3, 1, 3], []],)),
        Case("ids of 0", ([[0, 0], [0, 3, 0, 0], [3, 0]],)),
        Case("ids above 255, made by merges", ([[256, 300, 256, 300], [300, 7, 256]],)),
        Case("pairs whose digits look alike", ([[1, 23], [12, 3], [123, 1], [1, 231]],)),
        Case("pairs whose numbers look alike", ([[0, 256], [1, 0], [0, 1000]],)),
        Case("very large ids", ([[2**60, 2**60 + 1], [2**60 + 1, 2**60, 2**60]],)),
        Case("300 times the same id", ([[9] * 300],)),
        Case("a long word of many ids", ([[n * n % 97 for n in range(400)]],)),
        Case("17 words", ([[n * k % 5 for k in range(n)] for n in range(17)],)),
        Case("the example again", ([[5, 6, 5], [5, 6]],)),
    ),
    misconceptions=(
        Misconception(
            "across_words",
            "Your counts hold pairs of the end of a word and the start of the next.",
            across_words,
        ),
        Misconception(
            "overlap_left_out",
            "Your counts use each of three equal ids once; 7 7 7 holds (7, 7) twice.",
            runs_without_overlap,
        ),
        Misconception(
            "unordered",
            "Your counts throw (1, 2) and (2, 1) together; the order of a pair matters.",
            counting(lambda word: [tuple(sorted(pair)) for pair in pairwise(word)]),
        ),
        Misconception(
            "turned",
            "Your pairs are turned: the left id comes first.",
            counting(lambda word: [(right, left) for left, right in pairwise(word)]),
        ),
        Misconception(
            "once_a_word",
            "Your counts are of words that hold a pair, not of the pairs.",
            counting(lambda word: list(dict.fromkeys(pairwise(word)))),
        ),
        Misconception(
            "equal_words_once",
            "Your counts are right if equal words count once; each of them counts.",
            distinct_words_once,
        ),
        Misconception(
            "presence",
            "Your counts are 1 for every pair that occurs, however often it does.",
            lambda words: dict.fromkeys(count_each(words), 1),
        ),
        Misconception(
            "last_pair_left_out",
            "Your counts leave out the last pair of each word.",
            counting(lambda word: list(pairwise(word))[:-1]),
        ),
        Misconception(
            "every_other",
            "Your counts skip every other pair: those that begin at places 1, 3, 5, …",
            counting(lambda word: list(pairwise(word))[::2]),
        ),
        Misconception(
            "no_neighbours",
            "Your counts hold ids that stand apart; only neighbours are pairs.",
            counting(lambda word: list(combinations(word, 2))),
        ),
    ),
    hints=(
        "How many pairs of neighbours has a word of n ids, and a word of none?",
        "Two loops: over the words, and in a word over the places 0, 1, … but the last. The pair"
        " at place i is (word[i], word[i + 1]); add 1 to its count, which is 0 at first.",
        "for pair in zip(word, word[1:]): counts[pair] = counts.get(pair, 0) + 1. For a word of no"
        " or one id zip gives nothing. itertools.pairwise(word) does the same, and a"
        " collections.Counter starts each count at 0.",
    ),
)


# --- merge_pair -----------------------------------------------------------------------------------


def replace_letters(ids, pair, new):
    """Give every id a letter, and let str.replace do it."""
    letters = {i: chr(0x4E00 + k) for k, i in enumerate(dict.fromkeys([*ids, *pair, new]))}
    text = "".join(letters[i] for i in ids)
    text = text.replace(letters[pair[0]] + letters[pair[1]], letters[new])
    id_of = {letter: i for i, letter in letters.items()}
    return [id_of[letter] for letter in text]


def starts(ids, pair):
    """For each place: does the pair begin there?"""
    return [i + 1 < len(ids) and (ids[i], ids[i + 1]) == tuple(pair) for i in range(len(ids))]


def overlapping(ids, pair, new):
    """Every place where the pair begins becomes the new id; what it covers goes."""
    begins = starts(ids, pair)
    merged = []
    for i, here in enumerate(begins):
        if here:
            merged.append(new)
        elif not (i and begins[i - 1]):
            merged.append(ids[i])
    return merged


def first_only(ids, pair, new):
    begins = starts(ids, pair)
    if True not in begins:
        return list(ids)
    i = begins.index(True)
    return [*ids[:i], new, *ids[i + 2 :]]


def from_the_right(ids, pair, new):
    return replace_letters(ids[::-1], pair[::-1], new)[::-1]


def second_kept(ids, pair, new):
    return [new if here else i for i, here in zip(ids, starts(ids, pair), strict=True)]


def last_lost(ids, pair, new):
    """A loop over all places but the last: an id that stays alone at the end gets lost."""
    merged, i = [], 0
    while i < len(ids) - 1:
        found = (ids[i], ids[i + 1]) == tuple(pair)
        merged.append(new if found else ids[i])
        i += 2 if found else 1
    return merged


def either_order(ids, pair, new):
    merged, i = [], 0
    while i < len(ids):
        found = ids[i : i + 2] in ([*pair], [*pair[::-1]])
        merged.append(new if found else ids[i])
        i += 2 if found else 1
    return merged


def until_none_is_left(ids, pair, new):
    while any(starts(ids, pair)):
        ids = replace_letters(ids, pair, new)
    return list(ids)


def in_place_order(ids, pair, new):
    """Looks again at what it has just written: the new id may begin the next pair."""
    ids, i = list(ids), 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) == tuple(pair):
            ids[i : i + 2] = [new]
        else:
            i += 1
    return ids


def equal_ids_apart(text):
    """Ids that are equal, but numbers of their own: `is` tells them apart."""
    return [int(i) for i in text.split()]


merge_pair = Exercise(
    id="merge_pair",
    lesson=9,
    signature=("merge_pair(ids: list[int], pair: tuple[int, int], new: int) → merged: list[int]"),
    returns=("merged",),
    oracle=replace_letters,
    cases=(
        Case("the pair alone", ([1, 2], (1, 2), 256)),
        Case("the example", ([1, 2, 3, 1, 2], (1, 2), 256)),
        Case("the same sizes, other ids", ([4, 6, 4, 6, 5], (4, 6), 257)),
        Case("no ids", ([], (1, 2), 256)),
        Case("one id", ([1], (1, 2), 256)),
        Case("a pair that occurs nowhere", ([1, 3, 2, 4], (1, 2), 256)),
        Case("the pair turned stays", ([2, 1, 1, 2, 1], (1, 2), 256)),
        Case("an id of the pair at the end, alone", ([3, 1, 2, 1], (1, 2), 256)),
        Case("the pair at the end", ([3, 3, 1, 2], (1, 2), 300)),
        Case("two equal ids", ([7, 7], (7, 7), 256)),
        Case("three equal ids: the left two", ([7, 7, 7], (7, 7), 256)),
        Case("four equal ids", ([7, 7, 7, 7], (7, 7), 256)),
        Case("five equal ids, others around", ([1, 7, 7, 7, 7, 7, 2, 7], (7, 7), 256)),
        Case("the first id of the pair twice", ([1, 1, 2, 2, 1, 1, 1, 2], (1, 2), 256)),
        Case("ids above 255: a merge of merges", ([256, 300, 256, 256, 300], (256, 300), 301)),
        Case(
            "ids of two sources",
            (equal_ids_apart("300 301 5 300 301"), tuple(equal_ids_apart("300 301")), 302),
        ),
        Case("ids of 0, and the new one is 0", ([0, 0, 3, 0, 4, 3], (4, 3), 0)),
        Case("a pair of zeros", ([0, 0, 0, 5, 0], (0, 0), 256)),
        Case("the new id is there already", ([256, 1, 2, 256, 2], (1, 2), 256)),
        Case("what was written is not merged again, on its left", ([1, 2, 2, 2], (1, 2), 1)),
        Case("the same among others", ([3, 1, 2, 2, 4, 1, 2, 2, 1], (1, 2), 1)),
        Case("what was written is not merged again, on its right", ([1, 1, 1, 2], (1, 2), 2)),
        Case("the new id is that of the pair", ([7, 7, 7, 7, 7, 7, 7], (7, 7), 7)),
        Case("ids whose digits look alike", ([11, 2, 1, 12, 1, 2, 21, 2], (1, 2), 112)),
        Case("very large ids", ([2**60, 2**60 + 1, 2**60], (2**60, 2**60 + 1), 2**61)),
        Case("400 ids", ([n * n % 7 for n in range(400)], (4, 2), 256)),
        Case("301 times the same id", ([9] * 301, (9, 9), 256)),
        Case("the example again", ([1, 2, 3, 1, 2], (1, 2), 256)),
    ),
    misconceptions=(
        Misconception(
            "overlapping",
            "Your output uses an id twice: 7 7 7 holds one pair to merge, not two.",
            overlapping,
        ),
        Misconception(
            "first_only",
            "Your output has the first occurrence replaced only; replace them all.",
            first_only,
        ),
        Misconception(
            "from_the_right",
            "Your output is what you get from right to left: 7 7 7 becomes 7 new.",
            from_the_right,
        ),
        Misconception(
            "second_kept",
            "Your output keeps the second id of each pair; the new id stands for both.",
            second_kept,
        ),
        Misconception(
            "last_lost",
            "Your output lacks the last id where it is not part of a pair.",
            last_lost,
        ),
        Misconception(
            "either_order",
            "Your output has the turned pair replaced, too; its order matters.",
            either_order,
        ),
        *several(
            "merged_again",
            "Your output has new ids that were merged again; one pass is wanted.",
            until_none_is_left,
            in_place_order,
        ),
        Misconception(
            "nothing_merged",
            "Your output is always the list that you were given: nothing is merged.",
            lambda ids, pair, new: list(ids),
        ),
    ),
    hints=(
        "After a pair has been replaced, at which place do you look next?",
        "Walk with an index i of your own, in a while loop. If the pair begins at i, write the new"
        " id and go on two places; if not, write ids[i] and go on one. Mind the last id: nothing"
        " stands behind it.",
        "found = ids[i : i + 2] == list(pair): at the last place the slice holds one id, and is not"
        " equal. list(…), because in Python a list never equals a tuple. merged.append(new if found"
        " else ids[i]), then i += 2 if found else 1.",
    ),
)


# --- encode_word ----------------------------------------------------------------------------------


def replace_in_order(ids, merges):
    """Letters again: one str.replace for each merge, in the order in which they were learnt."""
    text = "".join(chr(0x4E00 + i) for i in ids)
    for new, (left, right) in sorted((new, pair) for pair, new in merges.items()):
        text = text.replace(chr(0x4E00 + left) + chr(0x4E00 + right), chr(0x4E00 + new))
    return [ord(letter) - 0x4E00 for letter in text]


def repeatedly(choose, join=replace_letters):
    """While there is something to merge: `choose`(known pairs, merges, ids) says which is next."""

    def answer(ids, merges):
        ids = list(ids)
        while known := [pair for pair in pairwise(ids) if pair in merges]:
            pair = choose(known, merges, ids)
            ids = join(ids, pair, merges[pair])
        return ids

    return answer


def earliest(known, merges, ids=()):
    return min(known, key=merges.get)


def latest(known, merges, ids):
    return max(known, key=merges.get)


def listed_first(known, merges, ids):
    return next(pair for pair in merges if pair in known)


def leftmost(known, merges, ids):
    return known[0]


def most_frequent(known, merges, ids):
    """The pair that this word holds most often; the earliest learnt of several."""
    counts = Counter(known)
    return min(known, key=lambda pair: (-counts[pair], merges[pair]))


def scan_again_and_again(ids, merges):
    """Merge from left to right whatever the table holds, and again until nothing changes."""
    ids, before = list(ids), None
    while ids != before:
        before, merged, i = ids, [], 0
        while i < len(ids):
            pair = tuple(ids[i : i + 2])
            merged.append(merges[pair] if pair in merges else ids[i])
            i += 2 if pair in merges else 1
        ids = merged
    return ids


def longest_match(ids, merges):
    """From left to right the longest token that fits, as a dictionary would be used."""
    parts = {i: (i,) for i in range(256)}
    for new, (left, right) in sorted((new, pair) for pair, new in merges.items()):
        parts[new] = parts[left] + parts[right]
    id_of = {part: i for i, part in parts.items()}
    encoded, i = [], 0
    while i < len(ids):
        fitting = [end for end in range(i + 1, len(ids) + 1) if tuple(ids[i:end]) in id_of]
        encoded.append(id_of[tuple(ids[i : fitting[-1]])])
        i = fitting[-1]
    return encoded


def as_listed(ids, merges):
    """Each merge once, as the dict lists them."""
    for pair, new in merges.items():
        ids = replace_letters(ids, pair, new)
    return list(ids)


def one_merge_only(ids, merges):
    known = [pair for pair in pairwise(ids) if pair in merges]
    if not known:
        return list(ids)
    return replace_letters(ids, earliest(known, merges), merges[earliest(known, merges)])


def one_round(ids, merges):
    """Merges only what the bytes themselves hold: no merge of merges."""
    known = sorted({pair for pair in pairwise(ids) if pair in merges}, key=merges.get)
    for pair in known:
        ids = replace_letters(ids, pair, merges[pair])
    return list(ids)


def learnt(*pairs, turned=False):
    """A table: the pairs get the ids 256, 257, …; `turned` lists the last one first."""
    table = list(zip(pairs, range(256, 256 + len(pairs)), strict=True))
    return dict(table[::-1] if turned else table)


def learnt_from(ids, n):
    """A table of n merges, learnt from one row of ids."""
    merges = {}
    for new in range(256, 256 + n):
        counts = Counter(pairwise(ids))
        pair = min(counts, key=lambda pair: (-counts[pair], pair))
        merges[pair] = new
        ids = replace_letters(ids, pair, new)
    return merges


def digits_of(number):
    """The digits of a large number as ids: a row without a period."""
    return [int(digit) for digit in str(number)]


def shuffled(merges):
    """The same table, listed in another order."""
    return dict(sorted(merges.items(), key=lambda item: item[1] * 37 % 101))


BENT = learnt((2, 3), (1, 2), (257, 3))  # 1 2 3: the longest match is 258, merging gives 1, 256
LARGE = learnt_from(digits_of(7**700), 60)
EIGHTS = learnt((7, 7), (256, 256), (257, 257))

encode_word = Exercise(
    id="encode_word",
    lesson=9,
    signature="encode_word(ids: list[int], merges: dict[(int, int), int]) → encoded: list[int]",
    returns=("encoded",),
    oracle=replace_in_order,
    cases=(
        Case("one merge", ([1, 2, 3], learnt((1, 2)))),
        Case("the example: a merge of a merge", ([1, 2, 3], learnt((1, 2), (256, 3)))),
        Case("the same sizes, other ids", ([4, 5, 6], learnt((5, 6), (4, 256)))),
        Case("no ids", ([], learnt((1, 2)))),
        Case("one id", ([1], learnt((1, 2)))),
        Case("an empty table", ([1, 2, 3], {})),
        Case("nothing to merge", ([2, 1, 3], learnt((1, 2), (256, 3)))),
        Case("two occurrences", ([1, 2, 5, 1, 2, 1], learnt((1, 2)))),
        Case("the second pair was learnt first", ([1, 2, 3], learnt((2, 3), (1, 2)))),
        Case(
            "the same, the table listed from the end",
            ([1, 2, 3], learnt((2, 3), (1, 2), turned=True)),
        ),
        Case("the longest token is not what merging gives", ([1, 2, 3], BENT)),
        Case("the same in the middle of a word", ([9, 1, 2, 3, 1, 2, 9], BENT)),
        Case(
            "a merge of merges of merges", ([1, 2, 1, 2, 3], learnt((1, 2), (256, 256), (257, 3)))
        ),
        Case(
            "merges of merges, the last listed first",
            ([1, 2, 1, 2, 3], learnt((1, 2), (256, 256), (257, 3), turned=True)),
        ),
        Case("three equal ids", ([7, 7, 7], learnt((7, 7)))),
        Case("eleven equal ids: four twice, then two, then one", ([7] * 11, EIGHTS)),
        Case("301 equal ids", ([7] * 301, EIGHTS)),
        Case(
            "five equal ids, where 7 and two of them may merge", ([7] * 5, learnt((7, 7), (7, 256)))
        ),
        Case(
            "a later pair is more frequent",
            ([1, 2, 3, 2, 3, 1, 2, 3], learnt((1, 2), (2, 3), (257, 256))),
        ),
        Case(
            "an earlier merge takes a later one's id away",
            ([4, 1, 2, 3, 4], learnt((2, 3), (4, 1), (3, 4), (1, 2))),
        ),
        Case("ids of 0", ([0, 0, 1, 0, 0], learnt((0, 0), (256, 1), (1, 256)))),
        Case(
            "the bytes 254 and 255",
            ([255, 254, 255, 254], learnt((254, 255), (255, 254), (255, 256))),
        ),
        Case("60 merges", (digits_of(7**60), LARGE)),
        Case("60 merges, listed in another order", (digits_of(3**180), shuffled(LARGE))),
        Case("the example again", ([1, 2, 3], learnt((1, 2), (256, 3)))),
    ),
    misconceptions=(
        Misconception(
            "longest_match",
            "Your output is the longest token that fits at each place, from the left.",
            longest_match,
        ),
        *several(
            "from_the_left",
            "Your output is what you get by merging from the left whatever may merge.",
            repeatedly(leftmost),
            scan_again_and_again,
        ),
        *several(
            "as_listed",
            "Your output follows the order of the dict; the lowest new id comes first.",
            as_listed,
            repeatedly(listed_first),
        ),
        *several(
            "latest_first",
            "Your output is what you get with the merge learnt last done first.",
            repeatedly(latest),
            repeatedly(latest, join=first_only),
        ),
        Misconception(
            "most_frequent_first",
            "Your output is what you get with this word's most frequent pair first.",
            repeatedly(most_frequent),
        ),
        Misconception(
            "one_merge_only",
            "Your output is what you get after one merge; go on until none is left.",
            one_merge_only,
        ),
        Misconception(
            "no_merge_of_merges",
            "Your output has no merges of merged ids; new pairs may merge again.",
            one_round,
        ),
        Misconception(
            "nothing_merged",
            "Your output is always the list that you were given: nothing is merged.",
            lambda ids, merges: list(ids),
        ),
    ),
    hints=(
        "Two pairs of a word may merge, and share an id. Which of the two was learnt earlier?",
        "Again and again: list the word's pairs of neighbours that are in the table, take the one"
        " with the lowest new id, merge it in the whole word. Stop when the table holds none of"
        " its pairs.",
        "known = [pair for pair in zip(ids, ids[1:]) if pair in merges]; while there are any, best"
        " = min(known, key=merges.get) was learnt first: ids = merge_pair(ids, best, merges[best])."
        " Then make the list anew: the new id has made new pairs. The order in which the dict lists"
        " its merges plays no part.",
    ),
)


# --- from_right -----------------------------------------------------------------------------------


def digit_by_digit(digits, n):
    """Walk from the last digit to the first; a group that holds n digits is full."""
    groups = []
    for digit in reversed(digits):
        if not groups or len(groups[0]) == n:
            groups.insert(0, "")
        groups[0] = digit + groups[0]
    return groups


def from_the_left(digits, n):
    return [digits[i : i + n] for i in range(0, len(digits), n)]


def turned_groups(digits, n):
    """Cut the digits backwards, and leave both the groups and their digits like that."""
    return from_the_left(digits[::-1], n)


def with_empty_group(digits, n):
    first = len(digits) % n
    return [digits[:first], *from_the_left(digits[first:], n)]


def without_the_rest(digits, n):
    return from_the_left(digits[len(digits) % n :], n)


def rest_at_the_end(digits, n):
    """Full groups from the right, the short one behind them."""
    first = len(digits) % n
    return from_the_left(digits[first:], n) + ([digits[:first]] if first else [])


from_right = Exercise(
    id="from_right",
    lesson=9,
    signature="from_right(digits: str, n: int) → groups: list[str]",
    returns=("groups",),
    oracle=digit_by_digit,
    cases=(
        Case("six digits, two groups", ("123456", 3)),
        Case("the example", ("1234567", 3)),
        Case("the same sizes, other digits", ("9081726", 3)),
        Case("five digits in pairs", ("54321", 2)),
        Case("no digits", ("", 3)),
        Case("one digit", ("7", 3)),
        Case("as many digits as a group holds", ("987", 3)),
        Case("n is larger than the number of digits", ("42", 5)),
        Case("n is 1", ("2026", 1)),
        Case("one digit, n is 1", ("5", 1)),
        Case("zeros in front stay", ("0012", 3)),
        Case("zeros in front of full groups", ("000123", 3)),
        Case("groups that begin with zeros", ("1002003", 3)),
        Case("nothing but zeros", ("00000", 2)),
        Case("a single zero", ("0", 2)),
        Case("groups of four", ("1234567890", 4)),
        Case("one digit more than fits", ("12345", 4)),
        Case("12 digits in groups of five", ("314159265358", 5)),
        Case("eleven digits, n is ten", ("12345678901", 10)),
        Case("300 digits in sevens", ("".join(str(n * n % 10) for n in range(300)), 7)),
        Case("30 digits, n is 1", ("".join(str(n * n % 10) for n in range(30)), 1)),
        Case("the example again", ("1234567", 3)),
    ),
    misconceptions=(
        Misconception(
            "from_the_left",
            "Your groups are counted from the left: the last one is short, not the first.",
            from_the_left,
        ),
        Misconception(
            "last_group_first",
            "Your groups are right, but the last one comes first.",
            lambda digits, n: digit_by_digit(digits, n)[::-1],
        ),
        *several(
            "digits_turned",
            "Your groups hold their digits backwards.",
            lambda digits, n: [group[::-1] for group in digit_by_digit(digits, n)],
            turned_groups,
        ),
        Misconception(
            "empty_group",
            "Your groups begin with an empty one where the digits fill all groups.",
            with_empty_group,
        ),
        Misconception(
            "rest_lost",
            "Your groups lack the digits that fill no whole group.",
            without_the_rest,
        ),
        Misconception(
            "rest_at_the_end",
            "Your short group stands at the end; it holds the first digits.",
            rest_at_the_end,
        ),
        *several(
            "zeros_lost",
            "Your groups have lost zeros: digits are text here, not numbers.",
            lambda digits, n: [str(int(group)) for group in digit_by_digit(digits, n)],
            lambda digits, n: digit_by_digit(str(int(digits)) if digits else "", n),
        ),
        Misconception(
            "filled_with_zeros",
            "Your first group is filled up with zeros; it may be shorter.",
            lambda digits, n: [group.zfill(n) for group in digit_by_digit(digits, n)],
        ),
        Misconception(
            "whole_turned",
            "Your groups are what you get when the number is read backwards.",
            lambda digits, n: digit_by_digit(digits[::-1], n),
        ),
    ),
    hints=(
        "How long is the first group of seven digits in threes? And of six?",
        "The first group takes what is left over: the remainder of the number of digits by n. After"
        " it, cut from left to right as usual. If nothing is left over there is no such group.",
        "first = len(digits) % n; the groups after it are digits[i : i + n] for i in range(first,"
        " len(digits), n). In front of them stands digits[:first], if first is not 0. Or turn the"
        " text around, digits[::-1], cut it, and turn both the groups and their order back.",
    ),
)


# --- whole_text -----------------------------------------------------------------------------------


def incremental(data):
    """Python's own decoder for data that come in pieces."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    return text, decoder.getstate()[0]


def cut_rest(data):
    """The data without the rest, and the rest."""
    rest = incremental(data)[1]
    return data[: len(data) - len(rest)], rest


def stops_at_invalid(data):
    """Up to the first byte that does not decode, and everything from there on."""
    try:
        return data.decode(), b""
    except UnicodeDecodeError as error:
        return data[: error.start].decode(), data[error.start :]


def one_for_each_byte(data):
    """Like the right answer, but each byte of an invalid sequence gets a sign of its own."""
    whole, rest = cut_rest(data)
    text = whole.decode(errors="surrogateescape")
    return "".join("\ufffd" if 0xDC80 <= ord(sign) <= 0xDCFF else sign for sign in text), rest


def finished_held_back(data):
    """All bytes of the last character, if it is not ASCII, are kept for later."""
    end = len(data)
    while end and 0x80 <= data[end - 1] <= 0xBF:
        end -= 1
    if end and data[end - 1] >= 0xC0:
        end -= 1
    return data[:end].decode(errors="replace"), data[end:]


def invalid_held_back(data):
    """Whatever does not decode at the end is kept, be it invalid or unfinished."""
    for length in range(min(4, len(data) + 1)):
        whole = data[: len(data) - length]
        text = whole.decode(errors="replace")
        if not text.endswith("\ufffd") or whole.endswith(b"\xef\xbf\xbd"):
            return text, data[len(data) - length :]
    return data.decode(errors="replace"), b""


NUMBERS = "zwölf 三百 €5 😀 fünf"
TEXT = "".join(chr(65 + n * n % 50) + "äß語😀"[n % 4] for n in range(300))

whole_text = Exercise(
    id="whole_text",
    lesson=9,
    signature="whole_text(data: bytes) → text: str, rest: bytes",
    returns=("text", "rest"),
    oracle=incremental,
    cases=(
        Case("letters of one byte", (b"two",)),
        Case("ü, two bytes", ("fünf".encode(),)),
        Case("the example: ü is not finished", (b"f\xc3",)),
        Case("the same size, finished", ("ß".encode(),)),
        Case("no bytes", (b"",)),
        Case("three bytes: €", ("5 €".encode(),)),
        Case("one byte of three", (b"5 \xe2",)),
        Case("two bytes of three", (b"5 \xe2\x82",)),
        Case("four bytes: 😀", ("😀".encode(),)),
        Case("one byte of four", (b"ab\xf0",)),
        Case("two bytes of four", (b"ab\xf0\x9f",)),
        Case("three bytes of four", (b"ab\xf0\x9f\x98",)),
        Case("nothing but a beginning", (b"\xe4\xb8",)),
        Case("finished characters, then a beginning", (NUMBERS.encode() + b"\xc3",)),
        Case("many characters of two bytes, the last half", ("äöüß".encode()[:-1],)),
        Case("an invalid byte in the middle", (b"a\xffb",)),
        Case("an invalid byte in the middle, and a beginning", (b"a\xffb\xe2\x82",)),
        Case("an unfinished character in the middle", (b"a\xe2\x82b",)),
        Case("an unfinished one before another one", (b"\xf0\x9f\x98\xc3\xbc",)),
        Case("one that is never finished, then a beginning", (b"\xc3\xc3",)),
        Case("two bytes of four, then a beginning", (b"\xf0\x9f\xc3",)),
        Case("an invalid byte at the end", (b"two\xff",)),
        Case("a byte at the end that continues nothing", (b"two\x80",)),
        Case("one byte too many behind a finished character", ("fü".encode() + b"\xbc",)),
        Case("four bytes that continue nothing", (b"a\x80\x81\xbe\xbf",)),
        Case(r"\xc0 and \xf5 at the end open nothing", (b"a\xc0 \xf5",)),
        Case(r"\xc0 at the end opens nothing", (b"a\xc0",)),
        Case(r"\xc1 at the end opens nothing", (b"\xc1",)),
        Case(r"\xc2 opens two bytes", (b"\xc2",)),
        Case(r"\xdf opens two bytes", (b"\xdf\xbf\xdf",)),
        Case(r"\xe0 opens three bytes", (b"\xe0\xa0",)),
        Case(r"\xef opens three bytes", (b"\xef\xbf",)),
        Case(r"\xf4 opens four bytes", (b"\xf4\x8f\xbf",)),
        Case("a letter behind a beginning: it is no beginning any more", (b"\xe2a",)),
        Case("two bytes of four, and a letter behind them", (b"\xf0\x9fa",)),
        Case("� itself at the end, a character of the text", ("a\ufffd".encode(),)),
        Case("� itself, then a beginning", ("\ufffd".encode() + b"\xe2",)),
        Case("the first letters of a file: a mark of three bytes", ("\ufeffab".encode(),)),
        Case("lines, and a byte of 0", (b"one\r\ntwo\x00\n",)),
        Case("the last character of two bytes, and the last of three", ("\u07ff\uffff".encode(),)),
        Case("the first of four bytes, and the last", ("\U00010000\U0010ffff".encode(),)),
        Case("600 characters, the last one half", (TEXT.encode()[:-2],)),
        Case("600 characters", (TEXT.encode(),)),
        Case("the example again", (b"f\xc3",)),
    ),
    misconceptions=(
        Misconception(
            "replaced_at_the_end",
            "Your text has � where a character is not finished; its bytes are the rest.",
            lambda data: (data.decode(errors="replace"), b""),
        ),
        Misconception(
            "rest_lost",
            "Your rest is always empty: what is not finished is lost.",
            lambda data: (incremental(data)[0], b""),
        ),
        *several(
            "left_out",
            "Your text leaves invalid bytes out; each becomes �.",
            lambda data: (cut_rest(data)[0].decode(errors="ignore"), cut_rest(data)[1]),
            lambda data: (data.decode(errors="ignore"), b""),
        ),
        Misconception(
            "stops_at_invalid",
            "Your text ends at the first invalid byte; it becomes �, and reading goes on.",
            stops_at_invalid,
        ),
        Misconception(
            "one_for_each_byte",
            'Your text has a � for each byte; decode(errors="replace") gives fewer.',
            one_for_each_byte,
        ),
        Misconception(
            "finished_held_back",
            "Your rest holds the last character although it is finished.",
            finished_held_back,
        ),
        Misconception(
            "invalid_held_back",
            "Your rest holds invalid bytes, which nothing can finish; they become �.",
            invalid_held_back,
        ),
        Misconception(
            "both",
            "Your text has � for the same bytes that your rest keeps: they come twice.",
            lambda data: (data.decode(errors="replace"), incremental(data)[1]),
        ),
        Misconception(
            "one_byte_a_character",
            "Your text has a character for each byte (Latin-1); UTF-8 is wanted.",
            lambda data: (data.decode("latin-1"), b""),
        ),
    ),
    hints=(
        "Look at the end of the data only: how many bytes can be waiting there, at most?",
        "Go back from the end, over at most three bytes, to the byte that opens a character. Its"
        " value says how many bytes belong to it. If fewer are there, they are the rest; all that"
        " comes before is decoded, invalid bytes become �.",
        r"for length in 1, 2, 3: the byte data[-length] opens two bytes from \xc2 to \xdf, three up"
        r" to \xef, four up to \xf4; others open nothing. Is that more than length? Then"
        ' data[-length:] is the rest, and data[:-length].decode(errors="replace") the text. Stop'
        " at the first opening byte. Mind data that are shorter than length.",
    ),
)


# --- bits_per_character ---------------------------------------------------------------------------


LN_2 = log(2)


def bits_by_steps(nll, n_tokens, text):
    """All the nats, then all the bits, then those of one character."""
    nats = sum(nll for _ in range(n_tokens))
    return nats / LN_2 / sum(1 for _ in text)


def bits_by(nats=lambda nll, n_tokens: nll * n_tokens, unit=LN_2, length=len):
    """The right answer, with the steps at which learners go astray as arguments."""
    return lambda nll, n_tokens, text: nats(nll, n_tokens) / unit / length(text)


def n_bytes(text):
    return len(text.encode())


bits_per_character = Exercise(
    id="bits_per_character",
    lesson=9,
    signature="bits_per_character(nll: float, n_tokens: int, text: str) → bits: float",
    returns=("bits",),
    oracle=bits_by_steps,
    cases=(
        Case("one character, one token, one bit", (log(2), 1, "a")),
        Case("the example", (2.0, 3, "eleven")),
        Case("the same sizes, another loss", (1.25, 3, "twelve")),
        Case("one token, five characters", (3.5, 1, "seven")),
        Case("as many tokens as characters", (1.7, 4, "nine")),
        Case("ü has two bytes, and is one character", (1.1, 3, "fünf")),
        Case("twelve characters, 36 bytes", (0.9, 36, "三百四十二万一千五百六十")),
        Case("more tokens than characters", (2.2, 9, "三百四")),
        Case("😀 has four bytes, and is one character", (4.0, 4, "😀 ok")),
        Case("an accent of its own is a character", (1.5, 2, "e\u0301a")),
        Case("spaces and line ends are characters", (2.5, 7, " two words\nand two lines\n")),
        Case("nothing but spaces", (0.4, 2, "    ")),
        Case("a loss of 0", (0.0, 5, "three")),
        Case("a small loss", (0.013, 5, "ab")),
        Case("a large loss", (11.3, 2, "xyzzy")),
        Case("200 tokens, 900 characters", (1.9, 200, "fünf und " * 100)),
        Case("one character, 50 tokens", (0.8, 50, "x")),
        Case("the example again", (2.0, 3, "eleven")),
    ),
    misconceptions=(
        Misconception(
            "nats",
            "Your output is in nats; one bit is ln 2 of them.",
            bits_by(unit=1),
        ),
        Misconception(
            "times_ln_2",
            "Your output is multiplied by ln 2; from nats to bits one divides by it.",
            bits_by(unit=1 / LN_2),
        ),
        Misconception(
            "per_token",
            "Your output is bits for each token; the length of the text plays no part.",
            lambda nll, n_tokens, text: nll / LN_2,
        ),
        Misconception(
            "of_the_whole_text",
            "Your output is the bits of the whole text, not of one character.",
            bits_by(length=lambda text: 1),
        ),
        Misconception(
            "per_byte",
            "Your output is bits for each byte; ü is two bytes, and one character.",
            bits_by(length=n_bytes),
        ),
        Misconception(
            "tokens_left_out",
            "Your output takes the mean loss for the loss of all tokens together.",
            bits_by(nats=lambda nll, n_tokens: nll),
        ),
        Misconception(
            "turned",
            "Your output is multiplied by characters and divided by tokens.",
            lambda nll, n_tokens, text: nll / LN_2 * len(text) / n_tokens,
        ),
        Misconception(
            "other_base",
            "Your output is divided by ln 10; a bit is ln 2 nats.",
            bits_by(unit=log(10)),
        ),
    ),
    hints=(
        "What does the whole text cost, if a token costs so much on average?",
        "All the nats together are the mean times the number of tokens. Divided by ln 2 they are"
        " bits, divided by the number of characters they are what is asked.",
        "nll * n_tokens / math.log(2) / len(text). math.log is the natural logarithm. In Python len"
        " of a str counts characters; len(text.encode()) would count bytes: 5 for fünf, not 4.",
    ),
)


EXERCISES = (count_pairs, merge_pair, encode_word, from_right, whole_text, bits_per_character)
