"""Answers to the exercises of lesson 9.

RIGHT: the same function in other styles; all must pass. NAMED: wrong answers as learners
wrote them, with the name that each must get. UNNAMED: wrong answers that make no known mistake, or
two at once; they must fail, and none may be given a name.
"""

import codecs
import io
import math
import re
from collections import Counter, defaultdict, deque
from functools import reduce
from itertools import chain, groupby, pairwise, zip_longest

import numpy as np
import torch

# --- count_pairs ----------------------------------------------------------------------------------


def pairs_by_counter(words):
    return Counter(pair for word in words for pair in pairwise(word))


def pairs_by_default(words):
    counts = defaultdict(int)
    for word in words:
        for i in range(1, len(word)):
            counts[word[i - 1], word[i]] += 1
    return counts


def pairs_by_zip(words):
    counts = {}
    for left, right in chain(*(zip(word, word[1:], strict=False) for word in words)):  # noqa: RUF007
        counts.setdefault((left, right), 0)
        counts[left, right] += 1
    return counts


def pairs_by_update(words):
    counts = Counter()
    for word in words:
        counts.update(zip(word[:-1], word[1:], strict=True))  # noqa: RUF007
    return dict(counts)


def pairs_sorted_and_grouped(words):
    pairs = sorted((word[i], word[i + 1]) for word in words for i in range(len(word) - 1))
    return {pair: len(list(group)) for pair, group in groupby(pairs)}


def pairs_remembering_the_last(words):
    counts = {}
    for word in words:
        last = None
        for i in word:
            if last is not None:
                counts[(last, i)] = counts.get((last, i), 0) + 1
            last = i
    return counts


def pairs_by_recursion(words):
    if not words:
        return {}
    counts = pairs_by_recursion(words[1:])
    for pair in pairwise(words[0]):
        counts[pair] = counts.get(pair, 0) + 1
    return counts


def pairs_by_reduce(words):
    return reduce(lambda counts, word: counts + Counter(pairwise(word)), words, Counter())


def pairs_with_a_wall(words):
    """All words in one row, with None between them."""
    row = [i for word in words for i in [*word, None]]
    return Counter(pair for pair in pairwise(row) if None not in pair)


def pairs_numpy(words):
    counts = Counter()
    for word in words:
        row = np.array(word, dtype=np.int64)
        counts.update(map(tuple, np.stack([row[:-1], row[1:]], axis=1).tolist()))
    return counts


def pairs_of_numpy_ids(words):
    """Its ids and counts are NumPy's whole numbers."""
    counts = {}
    for word in words:
        row = np.array(word, dtype=np.int64)
        for i in range(len(row) - 1):
            pair = (row[i], row[i + 1])
            counts[pair] = counts.get(pair, np.int64(0)) + np.int64(1)
    return counts


def pairs_of_a_flat_text(words):
    return Counter(pairwise(i for word in words for i in word))


def pairs_last_kept_across_words(words):
    counts, last = {}, None
    for word in words:
        for i in word:
            if last is not None:
                counts[last, i] = counts.get((last, i), 0) + 1
            last = i
    return counts


def pairs_skipping_equal_ones(words):
    """Like a merge would: after 7 7 the second 7 is used up, but only for (7, 7)."""
    counts = Counter()
    for word in words:
        run = 0
        for left, right in pairwise(word):
            run = run + 1 if left == right else 0
            if run % 2 or left != right:
                counts[left, right] += 1
    return counts


def pairs_sorted(words):
    return Counter((min(pair), max(pair)) for word in words for pair in pairwise(word))


def pairs_right_first(words):
    return Counter((word[i], word[i - 1]) for word in words for i in range(1, len(word)))


def pairs_as_set(words):
    return Counter(pair for word in words for pair in set(pairwise(word)))


def pairs_of_distinct_words(words):
    return Counter(pair for word in {tuple(word) for word in words} for pair in pairwise(word))


def pairs_one_short(words):
    counts = Counter()
    for word in words:
        for i in range(len(word) - 2):
            counts[word[i], word[i + 1]] += 1
    return counts


def pairs_step_two(words):
    counts = Counter()
    for word in words:
        for i in range(0, len(word) - 1, 2):
            counts[word[i], word[i + 1]] += 1
    return counts


def pairs_set_to_one(words):
    return {pair: 1 for word in words for pair in pairwise(word)}


def pairs_of_all_places(words):
    return Counter(
        (word[i], word[j])
        for word in words
        for i in range(len(word))
        for j in range(i + 1, len(word))
    )


def pairs_wrapped(words):
    """word[i - 1] at i = 0 is the last id."""
    return Counter((word[i - 1], word[i]) for word in words for i in range(len(word)))


def pairs_from_zero(words):
    counts = {}
    for word in words:
        for pair in pairwise(word):
            counts[pair] = counts[pair] + 1 if pair in counts else 0
    return counts


def pairs_as_text(words):
    return Counter(f"{left},{right}" for word in words for left, right in pairwise(word))


def pairs_in_a_table(words):
    V = max(i for word in words for i in word) + 1
    counts = torch.zeros(V, V, dtype=torch.long)
    for word in words:
        for left, right in pairwise(word):
            counts[left, right] += 1
    return {(i, j): counts[i, j].item() for i, j in counts.nonzero().tolist()}


def pairs_as_one_number(words):
    codes = Counter(256 * left + right for word in words for left, right in pairwise(word))
    return {divmod(code, 256): n for code, n in codes.items()}


def pairs_truthy(words):
    counts = Counter()
    for word in words:
        last = 0
        for i in word:
            if last:
                counts[last, i] += 1
            last = i
    return counts


def pairs_by_index(words):
    counts = Counter()
    for word in words:
        for i in word:
            if word.index(i) + 1 < len(word):
                counts[i, word[word.index(i) + 1]] += 1
    return counts


def pairs_in_floats(words):
    counts = {}
    for word in words:
        for pair in pairwise(word):
            counts[pair] = counts.get(pair, 0.0) + 1
    return counts


def pairs_with_zeros(words):
    counts = pairs_by_counter(words)
    ids = sorted({i for word in words for i in word})
    return {(i, j): counts[i, j] for i in ids for j in ids}


def pairs_as_shares(words):
    counts = pairs_by_counter(words)
    return {pair: n / counts.total() for pair, n in counts.items()}


def pairs_of_the_first_word(words):
    return Counter(pairwise(words[0]))


def pairs_as_list(words):
    return pairs_by_counter(words).most_common()


def pairs_above_one(words):
    return {pair: n for pair, n in pairs_by_counter(words).items() if n > 1}


def pairs_emptying_words(words):
    counts = Counter()
    for word in words:
        while len(word) > 1:
            counts[word[-2], word.pop()] += 1
    return counts


def pairs_kept_in_a_default(words, counts=Counter()):  # noqa: B006, the mistake under test
    counts.update(pair for word in words for pair in pairwise(word))
    return counts


def pairs_kept_by_size():
    kept = {}

    def answer(words):
        sizes = tuple(map(len, words))
        return kept.setdefault(sizes, pairs_by_counter(words))

    return answer


def pairs_cleared():
    counts = {}

    def answer(words):
        counts.clear()
        counts.update(pairs_by_counter(words))
        return counts

    return answer


def pairs_sorted_across_words(words):
    row = [i for word in words for i in word]
    return Counter(tuple(sorted(pair)) for pair in pairwise(row))


# --- merge_pair -----------------------------------------------------------------------------------


def merge_by_slices(ids, pair, new):
    merged, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged.append(new)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def merge_appending(ids, pair, new):
    """Keeps what it wrote apart from what it read."""
    merged, waiting = [], None
    for i in ids:
        if waiting is not None and (waiting, i) == pair:
            merged.append(new)
            waiting = None
        else:
            if waiting is not None:
                merged.append(waiting)
            waiting = i
    return merged if waiting is None else [*merged, waiting]


def merge_by_recursion(ids, pair, new):
    for i in range(len(ids) - 1):
        if (ids[i], ids[i + 1]) == pair:
            return [*ids[:i], new, *merge_by_recursion(ids[i + 2 :], pair, new)]
    return ids


def merge_skipping(ids, pair, new):
    merged, skip = [], False
    for i, here in enumerate(ids):
        if skip:
            skip = False
        elif i + 1 < len(ids) and here == pair[0] and ids[i + 1] == pair[1]:
            merged.append(new)
            skip = True
        else:
            merged.append(here)
    return merged


def merge_in_a_copy(ids, pair, new):
    ids, i = list(ids), 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) == pair:
            ids[i : i + 2] = [new]
        i += 1
    return ids


def merge_by_iterator(ids, pair, new):
    row, merged = deque(ids), []
    while row:
        first = row.popleft()
        if row and (first, row[0]) == pair:
            row.popleft()
            first = new
        merged.append(first)
    return merged


def merge_in_brackets(ids, pair, new):
    text = "".join(f"<{i}>" for i in ids).replace("<{}><{}>".format(*pair), f"<{new}>")
    return [int(i) for i in re.findall(r"\d+", text)]


def merge_from_marks(ids, pair, new):
    ends = {-1}
    for i, here in enumerate(pairwise(ids)):
        if here == pair and i not in ends:
            ends.add(i + 1)
    return [
        new if i + 1 in ends else here for i, here in enumerate(ids) if i not in ends or i == -1
    ]


def merge_generated(ids, pair, new):
    def walk():
        i = 0
        while i < len(ids):
            found = i + 1 < len(ids) and [*pair] == [ids[i], ids[i + 1]]
            yield new if found else ids[i]
            i += 1 + found

    return list(walk())


def merge_overlapping(ids, pair, new):
    merged = []
    for i, here in enumerate(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged.append(new)
        elif i == 0 or tuple(ids[i - 1 : i + 1]) != pair:
            merged.append(here)
    return merged


def merge_once(ids, pair, new):
    for i in range(len(ids) - 1):
        if (ids[i], ids[i + 1]) == pair:
            return [*ids[:i], new, *ids[i + 2 :]]
    return ids


def merge_backwards(ids, pair, new):
    """From the right, and what it has written is looked at again: two mistakes."""
    ids = ids[:]
    for i in range(len(ids) - 2, -1, -1):
        if ids[i : i + 2] == list(pair):
            ids[i : i + 2] = [new]
    return ids


def merge_turned_lists(ids, pair, new):
    return merge_by_slices(ids[::-1], pair[::-1], new)[::-1]


def merge_keeping_the_second(ids, pair, new):
    return [new if tuple(ids[i : i + 2]) == pair else ids[i] for i in range(len(ids))]


def merge_to_the_last_but_one(ids, pair, new):
    merged, i = [], 0
    while i < len(ids) - 1:
        if ids[i] == pair[0] and ids[i + 1] == pair[1]:
            merged.append(new)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def merge_sets(ids, pair, new):
    merged, i = [], 0
    while i < len(ids):
        two = ids[i : i + 2]
        if len(two) == 2 and sorted(two) == sorted(pair):
            merged.append(new)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def merge_while_any(ids, pair, new):
    while pair in list(pairwise(ids)):
        ids = merge_by_slices(ids, pair, new)
    return ids


def merge_looking_back(ids, pair, new):
    merged = []
    for i in ids:
        if merged and (merged[-1], i) == pair:
            merged[-1] = new
        else:
            merged.append(i)
    return merged


def merge_staying(ids, pair, new):
    ids, i = list(ids), 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) == pair:
            ids[i : i + 2] = [new]
        else:
            i += 1
    return ids


def merge_list_against_tuple(ids, pair, new):
    merged, i = [], 0
    while i < len(ids):
        found = ids[i : i + 2] == pair
        merged.append(new if found else ids[i])
        i += 2 if found else 1
    return merged


def merge_into_a_tuple(ids, pair, new):
    return tuple(merge_by_slices(ids, pair, new))


def merge_in_place(ids, pair, new):
    i = 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) == pair:
            ids[i : i + 2] = [new]
        i += 1
    return ids


def merge_digits(ids, pair, new):
    text = " ".join(map(str, ids)).replace("{} {}".format(*pair), str(new))
    return [int(i) for i in text.split()]


def merge_bytes(ids, pair, new):
    text = "".join(map(chr, ids)).replace(chr(pair[0]) + chr(pair[1]), chr(new))
    return [ord(letter) for letter in text]


def merge_zero_as_mark(ids, pair, new):
    ids = list(ids)
    for i in range(len(ids) - 1):
        if (ids[i], ids[i + 1]) == pair:
            ids[i], ids[i + 1] = new, 0
    return [i for i in ids if i]


def merge_past_the_end(ids, pair, new):
    merged, i = [], 0
    while i < len(ids):
        if ids[i] == pair[0] and ids[i + 1] == pair[1]:
            merged.append(new)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def merge_first_id_alone(ids, pair, new):
    merged, i = [], 0
    while i < len(ids):
        found = ids[i] == pair[0] and i + 1 < len(ids)
        merged.append(new if found else ids[i])
        i += 1 + found
    return merged


def merge_keeping_both(ids, pair, new):
    merged = []
    for i, here in enumerate(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged.append(new)
        merged.append(here)
    return merged


def merge_with_256(ids, pair, new):
    return merge_by_slices(ids, pair, 256)


def merge_by_identity(ids, pair, new):
    merged, i = [], 0
    while i < len(ids):
        found = i + 1 < len(ids) and ids[i] is pair[0] and ids[i + 1] is pair[1]
        merged.append(new if found else ids[i])
        i += 1 + found
    return merged


def merge_generator(ids, pair, new):
    return (i for i in merge_by_slices(ids, pair, new))


def merge_without_the_pair(ids, pair, new):
    merged = merge_by_slices(ids, pair, new)
    return [i for i in merged if i not in pair]


def merge_tensor(ids, pair, new):
    return torch.tensor(merge_by_slices(ids, pair, new))


def merge_none(ids, pair, new):
    merge_by_slices(ids, pair, new)


def merge_only_distinct(ids, pair, new):
    return list(ids) if pair[0] == pair[1] else merge_by_slices(ids, pair, new)


def merge_turned_and_overlapping(ids, pair, new):
    return merge_overlapping(ids, pair[::-1], new)


# --- encode_word ----------------------------------------------------------------------------------


def encode_by_lowest(ids, merges):
    ids = list(ids)
    while len(ids) > 1:
        best = min(pairwise(ids), key=lambda pair: merges.get(pair, math.inf))
        if best not in merges:
            break
        ids = merge_by_slices(ids, best, merges[best])
    return ids


def encode_table_in_order(ids, merges):
    for pair in sorted(merges, key=merges.get):
        ids = merge_by_slices(ids, pair, merges[pair])
    return ids


def encode_by_new_id(ids, merges):
    made_of = {new: pair for pair, new in merges.items()}
    for new in range(256, 256 + len(merges)):
        ids = merge_by_iterator(ids, made_of[new], new)
    return list(ids)


def encode_one_place_at_a_time(ids, merges):
    ids = list(ids)
    while True:
        known = [(merges[pair], i) for i, pair in enumerate(pairwise(ids)) if pair in merges]
        if not known:
            return ids
        new, i = min(known)
        ids[i : i + 2] = [new]


def encode_by_recursion(ids, merges):
    known = merges.keys() & set(pairwise(ids))
    if not known:
        return ids
    best = min(known, key=merges.__getitem__)
    return encode_by_recursion(merge_by_slices(ids, best, merges[best]), merges)


def encode_first_hit(ids, merges):
    order = sorted(merges.items(), key=lambda item: item[1])
    changed = True
    while changed:
        changed = False
        for pair, new in order:
            if pair in pairwise(ids):
                ids, changed = merge_by_slices(ids, pair, new), True
                break
    return ids


def encode_as_letters(ids, merges):
    text = "".join(chr(1000 + i) for i in ids)
    for (left, right), new in sorted(merges.items(), key=lambda item: item[1]):
        text = text.replace(chr(1000 + left) + chr(1000 + right), chr(1000 + new))
    return [ord(letter) - 1000 for letter in text]


def encode_until_the_same(ids, merges):
    before = None
    while ids != before:
        before = ids
        news = [merges[pair] for pair in pairwise(ids) if pair in merges]
        if news:
            new = min(news)
            pair = next(pair for pair in merges if merges[pair] == new)
            ids = merge_skipping(ids, pair, new)
    return ids


def encode_longest(ids, merges):
    parts = {i: [i] for i in range(256)}
    for pair, new in sorted(merges.items(), key=lambda item: item[1]):
        parts[new] = parts[pair[0]] + parts[pair[1]]
    longest_first = sorted(parts, key=lambda i: (-len(parts[i]), i))
    encoded, i = [], 0
    while i < len(ids):
        best = next(t for t in longest_first if ids[i : i + len(parts[t])] == parts[t])
        encoded.append(best)
        i += len(parts[best])
    return encoded


def encode_leftmost(ids, merges):
    ids, i = list(ids), 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) in merges:
            pair = ids[i], ids[i + 1]
            ids, i = merge_by_slices(ids, pair, merges[pair]), 0
        else:
            i += 1
    return ids


def encode_for_in_dict(ids, merges):
    for pair, new in merges.items():
        ids = merge_by_slices(ids, pair, new)
    return ids


def encode_rank_in_dict(ids, merges):
    rank = {pair: n for n, pair in enumerate(merges)}
    while known := [pair for pair in pairwise(ids) if pair in merges]:
        best = min(known, key=rank.get)
        ids = merge_by_slices(ids, best, merges[best])
    return ids


def encode_highest(ids, merges):
    while known := [pair for pair in pairwise(ids) if pair in merges]:
        best = max(known, key=merges.get)
        ids = merge_by_slices(ids, best, merges[best])
    return ids


def encode_most_frequent(ids, merges):
    while known := Counter(pair for pair in pairwise(ids) if pair in merges):
        best = max(known, key=lambda pair: (known[pair], -merges[pair]))
        ids = merge_by_slices(ids, best, merges[best])
    return ids


def encode_one_merge(ids, merges):
    known = [pair for pair in pairwise(ids) if pair in merges]
    if known:
        best = min(known, key=merges.get)
        ids = merge_by_slices(ids, best, merges[best])
    return ids


def encode_pairs_listed_once(ids, merges):
    known = {pair for pair in pairwise(ids) if pair in merges}
    for pair in sorted(known, key=merges.get):
        ids = merge_by_slices(ids, pair, merges[pair])
    return ids


def encode_list_against_tuple(ids, merges):
    i = 0
    while i < len(ids) - 1:
        if ids[i : i + 2] in list(merges):
            ids = [*ids[:i], merges[ids[i], ids[i + 1]], *ids[i + 2 :]]
        i += 1
    return ids


def encode_lowest_pair(ids, merges):
    while known := [pair for pair in pairwise(ids) if pair in merges]:
        best = min(known)
        ids = merge_by_slices(ids, best, merges[best])
    return ids


def encode_overlapping(ids, merges):
    while known := [pair for pair in pairwise(ids) if pair in merges]:
        best = min(known, key=merges.get)
        ids = merge_overlapping(ids, best, merges[best])
    return ids


def encode_from_the_right(ids, merges):
    while known := [pair for pair in pairwise(ids) if pair in merges]:
        best = min(known, key=merges.get)
        ids = merge_backwards(ids, best, merges[best])
    return ids


def encode_first_occurrences(ids, merges):
    for pair in sorted(merges, key=merges.get):
        ids = merge_once(ids, pair, merges[pair])
    return ids


def encode_one_scan(ids, merges):
    encoded, i = [], 0
    while i < len(ids):
        pair = tuple(ids[i : i + 2])
        encoded.append(merges.get(pair, ids[i]))
        i += 2 if pair in merges else 1
    return encoded


def encode_using_up_the_table(ids, merges):
    while known := [pair for pair in pairwise(ids) if pair in merges]:
        best = min(known, key=merges.get)
        ids = merge_by_slices(ids, best, merges.pop(best))
    return ids


def encode_in_place(ids, merges):
    while known := [pair for pair in pairwise(ids) if pair in merges]:
        best = min(known, key=merges.get)
        ids[:] = merge_by_slices(ids, best, merges[best])
    return ids


def encode_expecting_a_pair(ids, merges):
    while True:
        best = min((pair for pair in pairwise(ids) if pair in merges), key=merges.get)
        ids = merge_by_slices(ids, best, merges[best])


def encode_ranks_for_ids(ids, merges):
    rank = {pair: n for n, pair in enumerate(sorted(merges, key=merges.get))}
    while known := [pair for pair in pairwise(ids) if pair in merges]:
        best = min(known, key=rank.get)
        ids = merge_by_slices(ids, best, 1000 + rank[best])
    return ids


def encode_fewest_tokens(ids, merges):
    """The shortest sequence of tokens, by dynamic programming."""
    parts = {(i,): i for i in range(256)}
    of = {i: (i,) for i in range(256)}
    for (left, right), new in sorted(merges.items(), key=lambda item: item[1]):
        of[new] = of[left] + of[right]
        parts[of[new]] = new
    best = [[]]
    for end in range(1, len(ids) + 1):
        ways = [
            [*best[start], parts[tuple(ids[start:end])]]
            for start in range(end)
            if tuple(ids[start:end]) in parts
        ]
        best.append(min(ways, key=len))
    return best[-1]


def encode_longest_from_the_right(ids, merges):
    turned = {pair[::-1]: new for pair, new in merges.items()}
    return encode_longest(ids[::-1], turned)[::-1]


def encode_last_of_a_pair(ids, merges):
    """Stops one merge too early: when one known pair is left."""
    ids = list(ids)
    while len(known := [pair for pair in pairwise(ids) if pair in merges]) > 1:
        best = min(known, key=merges.get)
        ids = merge_by_slices(ids, best, merges[best])
    return ids


def encode_two_rounds(ids, merges):
    return encode_pairs_listed_once(encode_pairs_listed_once(ids, merges), merges)


def encode_as_pairs(ids, merges):
    """Returns the merges that it did."""
    done = []
    while known := [pair for pair in pairwise(ids) if pair in merges]:
        done.append(min(known, key=merges.get))
        ids = merge_by_slices(ids, done[-1], merges[done[-1]])
    return done


def encode_tuple(ids, merges):
    return tuple(encode_by_lowest(ids, merges))


def encode_smallest_sum(ids, merges):
    while known := [pair for pair in pairwise(ids) if pair in merges]:
        best = min(known, key=sum)
        ids = merge_by_slices(ids, best, merges[best])
    return ids


def encode_kept_by_size():
    kept = {}

    def answer(ids, merges):
        size = len(ids), len(merges)
        return kept.setdefault(size, encode_by_lowest(ids, merges))

    return answer


# --- from_right -----------------------------------------------------------------------------------


def groups_by_remainder(digits, n):
    first = len(digits) % n
    groups = [digits[:first]] if first else []
    return groups + [digits[i : i + n] for i in range(first, len(digits), n)]


def groups_cut_off_the_end(digits, n):
    groups = []
    while digits:
        groups.insert(0, digits[-n:])
        digits = digits[:-n]
    return groups


def groups_turned_twice(digits, n):
    turned = digits[::-1]
    return [turned[i : i + n][::-1] for i in range(0, len(turned), n)][::-1]


def groups_by_ends(digits, n):
    ends = range(len(digits), 0, -n)
    return [digits[max(0, end - n) : end] for end in reversed(ends)]


def groups_by_regex(digits, n):
    return re.findall(rf"\d{{1,{n}}}(?=(?:\d{{{n}}})*$)", digits)


def groups_by_recursion(digits, n):
    return [*groups_by_recursion(digits[:-n], n), digits[-n:]] if digits else []


def groups_by_place(digits, n):
    """A digit's group is the number of digits from it to the end, divided by n, rounded up."""
    places = enumerate(digits)
    by_group = groupby(places, key=lambda place: -(-(len(digits) - place[0]) // n))
    return ["".join(digit for _, digit in group) for _, group in by_group]


def groups_padded_and_stripped(digits, n):
    filled = digits.rjust(-(-len(digits) // n) * n)
    return [filled[i : i + n].strip() for i in range(0, len(filled), n)]


def groups_zipped(digits, n):
    columns = zip_longest(*[iter(reversed(digits))] * n, fillvalue="")
    return ["".join(reversed(column)) for column in columns][::-1]


def groups_from_left(digits, n):
    return [digits[i : i + n] for i in range(0, len(digits), n)]


def groups_as_cut(digits, n):
    groups = []
    while digits:
        groups.append(digits[-n:])
        digits = digits[:-n]
    return groups


def groups_turned_once(digits, n):
    turned = digits[::-1]
    return [turned[i : i + n] for i in range(0, len(turned), n)]


def groups_digits_left_turned(digits, n):
    return groups_turned_once(digits, n)[::-1]


def groups_first_always(digits, n):
    first = len(digits) % n
    return [digits[:first]] + [digits[i : i + n] for i in range(first, len(digits), n)]


def groups_full_only(digits, n):
    return [digits[i : i + n] for i in range(len(digits) % n, len(digits), n)]


def groups_rest_last(digits, n):
    first = len(digits) % n
    groups = [digits[i : i + n] for i in range(first, len(digits), n)]
    return [*groups, digits[:first]] if first else groups


def groups_of_numbers(digits, n):
    return [str(int(group)) for group in groups_by_remainder(digits, n)]


def groups_of_one_number(digits, n):
    return groups_by_remainder(str(int(digits)), n) if digits else []


def groups_zero_filled(digits, n):
    return [group.rjust(n, "0") for group in groups_by_remainder(digits, n)]


def groups_read_backwards(digits, n):
    return groups_by_remainder(digits[::-1], n)


def groups_with_commas(digits, n):
    return f"{int(digits or 0):,}".split(",")


def groups_joined(digits, n):
    return ",".join(groups_by_remainder(digits, n))


def groups_negative_start(digits, n):
    return [digits[i - n : i] for i in range(len(digits), 0, -n)][::-1]


def groups_as_numbers(digits, n):
    return [int(group) for group in groups_by_remainder(digits, n)]


def groups_as_lists(digits, n):
    return [list(group) for group in groups_by_remainder(digits, n)]


def groups_of_three(digits, n):
    return groups_by_remainder(digits, 3)


def groups_n_of_them(digits, n):
    size = max(1, -(-len(digits) // n))
    return groups_by_remainder(digits, size)


def groups_at_least_one(digits, n):
    return groups_by_remainder(digits, n) or [""]


def groups_short_left_alone(digits, n):
    return groups_by_remainder(digits, n) if len(digits) > n else []


def groups_too_short_for_one(digits, n):
    return [digits] if len(digits) <= n else groups_by_remainder(digits, n)


def groups_minus_zero(digits, n):
    """digits[:-k] with k = 0 is empty."""
    first = len(digits) % n
    tail = digits[-(len(digits) - first) :]
    return [digits[:first]] * (first > 0) + [tail[i : i + n] for i in range(0, len(tail), n)]


def groups_first_n(digits, n):
    """A first group of n where nothing is left over, but counted with % (n - 1)."""
    first = len(digits) % n or n
    return [digits[:first], *(digits[i : i + n] for i in range(first, len(digits), n))]


def groups_stripped(digits, n):
    return [group.lstrip("0") or "0" for group in groups_by_remainder(digits, n)]


def groups_space_filled(digits, n):
    return [group.rjust(n) for group in groups_by_remainder(digits, n)]


def groups_tuple(digits, n):
    return tuple(groups_by_remainder(digits, n))


def groups_one_off(digits, n):
    return groups_by_remainder(digits, n + 1)


def groups_left_and_zero_filled(digits, n):
    return [group.zfill(n) for group in groups_from_left(digits, n)]


# --- whole_text -----------------------------------------------------------------------------------


def wanted_bytes(first):
    """How many bytes a character has that this byte opens; 1 if it opens none."""
    return (
        2
        if 0xC2 <= first < 0xE0
        else 3
        if 0xE0 <= first < 0xF0
        else 4
        if 0xF0 <= first < 0xF5
        else 1
    )


def text_from_the_end(data):
    for length in (1, 2, 3):
        if length <= len(data) and wanted_bytes(data[-length]) > length:
            return data[:-length].decode(errors="replace"), data[-length:]
        if length <= len(data) and not 0x80 <= data[-length] <= 0xBF:
            break
    return data.decode(errors="replace"), b""


def text_by_codecs(data):
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    return decoder.decode(data, final=False), decoder.getstate()[0]


def text_by_reason(data):
    """Python says itself whether data end unexpectedly; from each of the last three bytes on."""
    for start in range(max(0, len(data) - 3), len(data)):
        try:
            data[start:].decode()
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data" and error.start == 0:
                return data[:start].decode(errors="replace"), data[start:]
    return data.decode(errors="replace"), b""


def text_byte_by_byte(data):
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = "".join(decoder.decode(bytes([byte])) for byte in data)
    return text, decoder.getstate()[0]


def text_by_regex(data):
    beginning = rb"(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})\Z"
    found = re.search(beginning, data)
    end = found.start() if found else len(data)
    return data[:end].decode("utf-8", "replace"), data[end:]


def text_by_bits(data):
    """Counts the leading ones of a byte."""
    end = len(data)
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            break
        if byte >> 6 == 0b11:
            ones = 8 - (byte ^ 0xFF).bit_length()
            if 0xC2 <= byte <= 0xF4 and ones > back:
                end = len(data) - back
            break
    return str(data[:end], "utf-8", "replace"), data[end:]


def text_in_a_loop(data):
    """Walks over all characters, from the beginning."""
    text, i = [], 0
    while i < len(data):
        n = wanted_bytes(data[i])
        tail = data[i + 1 : i + n]
        if i + n > len(data) and all(0x80 <= byte <= 0xBF for byte in tail):
            return "".join(text), data[i:]
        try:
            text.append(data[i : i + n].decode())
            i += n
        except UnicodeDecodeError as error:
            text.append("\ufffd")
            i += error.end - error.start
    return "".join(text), b""


def text_by_a_handler(data):
    """codecs.utf_8_decode says how many bytes it has used."""
    text, used = codecs.utf_8_decode(data, "replace", False)
    return text, data[used:]


def text_in_a_list(data):
    return list(text_from_the_end(data))


def text_decoded_only(data):
    return data.decode(errors="replace"), b""


def text_rest_dropped(data):
    return codecs.utf_8_decode(data, "replace", False)[0], b""


def text_ignoring(data):
    text, used = codecs.utf_8_decode(data, "ignore", False)
    return text, data[used:]


def text_ignoring_all(data):
    return data.decode("utf-8", "ignore"), b""


def text_to_the_first_error(data):
    try:
        return data.decode(), b""
    except UnicodeDecodeError as error:
        return data[: error.start].decode(), data[error.start :]


def text_sign_for_each_byte(data):
    whole, rest = data[: len(data) - len(text_from_the_end(data)[1])], text_from_the_end(data)[1]
    text = whole.decode(errors="surrogateescape")
    return re.sub("[\udc80-\udcff]", "\ufffd", text), rest


def text_twice(data):
    return data.decode(errors="replace"), text_from_the_end(data)[1]


def text_latin(data):
    return "".join(map(chr, data)), b""


def text_last_character_kept(data):
    start = len(data)
    while start > 0 and data[start - 1] & 0b1100_0000 == 0b1000_0000:
        start -= 1
    if start > 0 and data[start - 1] >= 0b1100_0000:
        start -= 1
    return data[:start].decode(errors="replace"), data[start:]


def text_strict(data):
    return data.decode(), b""


def text_cut_until_it_decodes(data):
    for end in range(len(data), -1, -1):
        try:
            return data[:end].decode(), data[end:]
        except UnicodeDecodeError:
            continue


def text_last_byte_only(data):
    if data and data[-1] >= 0xC2:
        return data[:-1].decode(errors="replace"), data[-1:]
    return data.decode(errors="replace"), b""


def text_two_back(data):
    for length in (1, 2):
        if length <= len(data) and wanted_bytes(data[-length]) > length:
            return data[:-length].decode(errors="replace"), data[-length:]
    return data.decode(errors="replace"), b""


def text_all_openers(data):
    """Takes 0xC0, 0xC1 and all from 0xF5 on for openers."""
    for length in (1, 2, 3):
        if length <= len(data) and data[-length] >= 0xC0:
            wanted = 2 if data[-length] < 0xE0 else 3 if data[-length] < 0xF0 else 4
            if wanted > length:
                return data[:-length].decode(errors="replace"), data[-length:]
            break
    return data.decode(errors="replace"), b""


def text_three_for_four(data):
    for length in (1, 2):
        if length <= len(data) and data[-length] >= 0xC2:
            if (2 if data[-length] < 0xE0 else 3) > length:
                return data[:-length].decode(errors="replace"), data[-length:]
            break
    return data.decode(errors="replace"), b""


def text_over_letters(data):
    """Does not stop where something else than a continuing byte stands."""
    for length in (3, 2, 1):
        if length <= len(data) and wanted_bytes(data[-length]) > length:
            return data[:-length].decode(errors="replace"), data[-length:]
    return data.decode(errors="replace"), b""


def text_trailing_high_bytes(data):
    end = len(data)
    while end and data[end - 1] >= 0x80:
        end -= 1
    return data[:end].decode(errors="replace"), data[end:]


def text_if_it_ends_with_the_sign(data):
    """Takes a � at the end for a character that is not finished."""
    text = data.decode(errors="replace")
    if not text.endswith("\ufffd"):
        return text, b""
    start = max(i for i, byte in enumerate(data) if byte >= 0xC2)
    return data[:start].decode(errors="replace"), data[start:]


def text_swapped(data):
    return text_from_the_end(data)[::-1]


def text_rest_as_text(data):
    text, rest = text_from_the_end(data)
    return text, rest.decode("latin-1")


def text_rest_as_numbers(data):
    text, rest = text_from_the_end(data)
    return text, list(rest)


def text_alone(data):
    return text_from_the_end(data)[0]


def text_with_question_marks(data):
    text, rest = text_from_the_end(data)
    return text.replace("\ufffd", "?"), rest


def text_without_mark(data):
    whole, rest = data[: len(data) - len(text_from_the_end(data)[1])], text_from_the_end(data)[1]
    return whole.decode("utf-8-sig", errors="replace"), rest


def text_new_lines(data):
    rest = text_from_the_end(data)[1]
    whole = io.BytesIO(data[: len(data) - len(rest)])
    return io.TextIOWrapper(whole, encoding="utf-8", errors="replace").read(), rest


def text_backslashes(data):
    whole, rest = data[: len(data) - len(text_from_the_end(data)[1])], text_from_the_end(data)[1]
    return whole.decode(errors="backslashreplace"), rest


def text_one_for_a_run(data):
    text, rest = text_from_the_end(data)
    return re.sub("\ufffd+", "\ufffd", text), rest


def text_finished_at_the_limit(data):
    """> where >= belongs: a finished character waits, too."""
    for length in (1, 2, 3, 4):
        if length <= len(data) and wanted_bytes(data[-length]) > 1:
            if wanted_bytes(data[-length]) >= length:
                return data[:-length].decode(errors="replace"), data[-length:]
            break
    return data.decode(errors="replace"), b""


def text_keeping_the_decoder(data, decoder=codecs.getincrementaldecoder("utf-8")("replace")):  # noqa: B008
    """One decoder for all calls: it remembers the rest of the call before."""
    return decoder.decode(data), decoder.getstate()[0]


def text_bytearray(data):
    text, rest = text_from_the_end(data)
    return text, bytearray(rest)


def text_stripped(data):
    text, rest = text_from_the_end(data)
    return text.strip(), rest


# --- bits_per_character ---------------------------------------------------------------------------


def bits_divided(nll, n_tokens, text):
    return nll * n_tokens / len(text) / math.log(2)


def bits_by_log2_e(nll, n_tokens, text):
    return nll * math.log2(math.e) * n_tokens / len(text)


def bits_from_p(nll, n_tokens, text):
    """−log2 of a token's probability, for all tokens."""
    return -math.log2(math.exp(-nll)) * n_tokens / len(text)


def bits_numpy(nll, n_tokens, text):
    return np.float64(nll) / np.log(2) * (n_tokens / len(list(text)))


def bits_torch(nll, n_tokens, text):
    return (torch.tensor(nll, dtype=torch.float64) * n_tokens / len(text)).item() / math.log(2)


def bits_tokens_a_character(nll, n_tokens, text):
    tokens_a_character = n_tokens / len(text)
    bits_a_token = nll / math.log(2)
    return tokens_a_character * bits_a_token


def bits_by_characters_a_token(nll, n_tokens, text):
    return nll / (math.log(2) * (len(text) / n_tokens))


def bits_counted(nll, n_tokens, text):
    n = 0
    for _ in text:
        n += 1
    return nll * n_tokens / n / 0.6931471805599453


def bits_in_utf_32(nll, n_tokens, text):
    return nll * n_tokens / math.log(2) / (len(text.encode("utf-32-le")) / 4)


def bits_in_nats(nll, n_tokens, text):
    return nll * n_tokens / len(text)


def bits_times(nll, n_tokens, text):
    return nll * math.log(2) * n_tokens / len(text)


def bits_a_token(nll, n_tokens, text):
    return nll / math.log(2)


def bits_in_all(nll, n_tokens, text):
    return nll * n_tokens / math.log(2)


def bits_a_byte(nll, n_tokens, text):
    return nll * n_tokens / math.log(2) / len(text.encode("utf-8"))


def bits_without_tokens(nll, n_tokens, text):
    return nll / math.log(2) / len(text)


def bits_turned(nll, n_tokens, text):
    return nll / math.log(2) * len(text) / n_tokens


def bits_log10(nll, n_tokens, text):
    return nll * n_tokens / math.log(10) / len(text)


def bits_log_of_nll(nll, n_tokens, text):
    return math.log2(nll) * n_tokens / len(text)


def bits_perplexity(nll, n_tokens, text):
    return 2 ** (nll * n_tokens / math.log(2) / len(text))


def bits_a_word(nll, n_tokens, text):
    return nll * n_tokens / math.log(2) / max(1, len(text.split()))


def bits_of_letters(nll, n_tokens, text):
    return nll * n_tokens / math.log(2) / sum(sign.isalpha() for sign in text)


def bits_stripped(nll, n_tokens, text):
    return nll * n_tokens / math.log(2) / max(1, len(text.strip()))


def bits_without_spaces(nll, n_tokens, text):
    return nll * n_tokens / math.log(2) / max(1, len(text.replace(" ", "")))


def bits_of_different_characters(nll, n_tokens, text):
    return nll * n_tokens / math.log(2) / len(set(text))


def bits_whole_division(nll, n_tokens, text):
    return nll * n_tokens / math.log(2) // len(text)


def bits_rounded(nll, n_tokens, text):
    return round(nll * n_tokens / math.log(2) / len(text), 2)


def bits_as_tensor(nll, n_tokens, text):
    return torch.tensor(nll * n_tokens / math.log(2) / len(text))


def bits_in_utf_16(nll, n_tokens, text):
    return nll * n_tokens / math.log(2) / (len(text.encode("utf-16-le")) / 2)


def bits_negative(nll, n_tokens, text):
    return -nll * n_tokens / math.log(2) / len(text)


def bits_as_text(nll, n_tokens, text):
    return f"{nll * n_tokens / math.log(2) / len(text):.4f}"


def bits_e_to_the_nll(nll, n_tokens, text):
    return math.log2(1 + math.exp(nll)) * n_tokens / len(text)


def bits_composed_accents(nll, n_tokens, text):
    import unicodedata

    return nll * n_tokens / math.log(2) / len(unicodedata.normalize("NFC", text))


def bits_a_byte_in_nats(nll, n_tokens, text):
    return nll * n_tokens / len(text.encode())


def bits_with_one_more(nll, n_tokens, text):
    return nll * n_tokens / math.log(2) / (len(text) + 1)


RIGHT = {
    "count_pairs": [
        pairs_by_counter,
        pairs_by_default,
        pairs_by_zip,
        pairs_by_update,
        pairs_sorted_and_grouped,
        pairs_remembering_the_last,
        pairs_by_recursion,
        pairs_by_reduce,
        pairs_with_a_wall,
        pairs_numpy,
        pairs_of_numpy_ids,
    ],
    "merge_pair": [
        merge_by_slices,
        merge_appending,
        merge_by_recursion,
        merge_skipping,
        merge_in_a_copy,
        merge_by_iterator,
        merge_in_brackets,
        merge_from_marks,
        merge_generated,
    ],
    "encode_word": [
        encode_by_lowest,
        encode_table_in_order,
        encode_by_new_id,
        encode_one_place_at_a_time,
        encode_by_recursion,
        encode_first_hit,
        encode_as_letters,
        encode_until_the_same,
    ],
    "from_right": [
        groups_by_remainder,
        groups_cut_off_the_end,
        groups_turned_twice,
        groups_by_ends,
        groups_by_regex,
        groups_by_recursion,
        groups_by_place,
        groups_padded_and_stripped,
        groups_zipped,
    ],
    "whole_text": [
        text_from_the_end,
        text_by_codecs,
        text_by_reason,
        text_byte_by_byte,
        text_by_regex,
        text_by_bits,
        text_in_a_loop,
        text_by_a_handler,
        text_in_a_list,
    ],
    "bits_per_character": [
        bits_divided,
        bits_by_log2_e,
        bits_from_p,
        bits_numpy,
        bits_torch,
        bits_tokens_a_character,
        bits_by_characters_a_token,
        bits_counted,
        bits_in_utf_32,
    ],
}

NAMED = {
    "count_pairs": {
        "across_words": [pairs_of_a_flat_text, pairs_last_kept_across_words],
        "overlap_left_out": [pairs_skipping_equal_ones],
        "unordered": [pairs_sorted],
        "turned": [pairs_right_first],
        "once_a_word": [pairs_as_set],
        "equal_words_once": [pairs_of_distinct_words],
        "presence": [pairs_set_to_one],
        "last_pair_left_out": [pairs_one_short],
        "every_other": [pairs_step_two],
        "no_neighbours": [pairs_of_all_places],
    },
    "merge_pair": {
        "overlapping": [merge_overlapping],
        "first_only": [merge_once],
        "from_the_right": [merge_turned_lists],
        "second_kept": [merge_keeping_the_second],
        "last_lost": [merge_to_the_last_but_one],
        "either_order": [merge_sets],
        "merged_again": [merge_while_any, merge_staying, merge_looking_back],
        "nothing_merged": [merge_list_against_tuple],
    },
    "encode_word": {
        "longest_match": [encode_longest],
        "from_the_left": [encode_leftmost],
        "as_listed": [encode_for_in_dict, encode_rank_in_dict],
        "latest_first": [encode_highest],
        "most_frequent_first": [encode_most_frequent],
        "one_merge_only": [encode_one_merge],
        "no_merge_of_merges": [encode_pairs_listed_once],
        "nothing_merged": [encode_list_against_tuple],
    },
    "from_right": {
        "from_the_left": [groups_from_left],
        "last_group_first": [groups_as_cut],
        "digits_turned": [groups_turned_once, groups_digits_left_turned],
        "empty_group": [groups_first_always],
        "rest_lost": [groups_full_only],
        "rest_at_the_end": [groups_rest_last],
        "zeros_lost": [groups_of_numbers, groups_of_one_number, groups_stripped],
        "filled_with_zeros": [groups_zero_filled],
        "whole_turned": [groups_read_backwards],
    },
    "whole_text": {
        "replaced_at_the_end": [text_decoded_only],
        "rest_lost": [text_rest_dropped],
        "left_out": [text_ignoring, text_ignoring_all],
        "stops_at_invalid": [text_to_the_first_error, text_cut_until_it_decodes],
        "one_for_each_byte": [text_sign_for_each_byte],
        "finished_held_back": [text_last_character_kept],
        "both": [text_twice],
        "one_byte_a_character": [text_latin],
    },
    "bits_per_character": {
        "nats": [bits_in_nats],
        "times_ln_2": [bits_times],
        "per_token": [bits_a_token],
        "of_the_whole_text": [bits_in_all],
        "per_byte": [bits_a_byte],
        "tokens_left_out": [bits_without_tokens],
        "turned": [bits_turned],
        "other_base": [bits_log10],
    },
}

UNNAMED = {
    "count_pairs": [
        pairs_wrapped,
        pairs_from_zero,
        pairs_as_text,
        pairs_in_a_table,
        pairs_as_one_number,
        pairs_truthy,
        pairs_by_index,
        pairs_in_floats,
        pairs_with_zeros,
        pairs_as_shares,
        pairs_of_the_first_word,
        pairs_as_list,
        pairs_above_one,
        pairs_emptying_words,
        pairs_kept_in_a_default,
        pairs_kept_by_size(),
        pairs_cleared(),
        pairs_sorted_across_words,
    ],
    "merge_pair": [
        merge_backwards,
        merge_into_a_tuple,
        merge_in_place,
        merge_digits,
        merge_bytes,
        merge_zero_as_mark,
        merge_past_the_end,
        merge_first_id_alone,
        merge_keeping_both,
        merge_with_256,
        merge_by_identity,
        merge_generator,
        merge_without_the_pair,
        merge_tensor,
        merge_none,
        merge_only_distinct,
        merge_turned_and_overlapping,
    ],
    "encode_word": [
        encode_lowest_pair,
        encode_overlapping,
        encode_from_the_right,
        encode_first_occurrences,
        encode_one_scan,
        encode_using_up_the_table,
        encode_in_place,
        encode_expecting_a_pair,
        encode_ranks_for_ids,
        encode_fewest_tokens,
        encode_longest_from_the_right,
        encode_last_of_a_pair,
        encode_two_rounds,
        encode_as_pairs,
        encode_tuple,
        encode_smallest_sum,
        encode_kept_by_size(),
    ],
    "from_right": [
        groups_with_commas,
        groups_joined,
        groups_negative_start,
        groups_as_numbers,
        groups_as_lists,
        groups_of_three,
        groups_n_of_them,
        groups_at_least_one,
        groups_short_left_alone,
        groups_too_short_for_one,
        groups_minus_zero,
        groups_first_n,
        groups_space_filled,
        groups_tuple,
        groups_one_off,
        groups_left_and_zero_filled,
    ],
    "whole_text": [
        text_strict,
        text_last_byte_only,
        text_two_back,
        text_all_openers,
        text_three_for_four,
        text_over_letters,
        text_trailing_high_bytes,
        text_if_it_ends_with_the_sign,
        text_swapped,
        text_rest_as_text,
        text_rest_as_numbers,
        text_alone,
        text_with_question_marks,
        text_without_mark,
        text_new_lines,
        text_backslashes,
        text_one_for_a_run,
        text_finished_at_the_limit,
        text_keeping_the_decoder,
        text_bytearray,
        text_stripped,
    ],
    "bits_per_character": [
        bits_log_of_nll,
        bits_perplexity,
        bits_a_word,
        bits_of_letters,
        bits_stripped,
        bits_without_spaces,
        bits_of_different_characters,
        bits_whole_division,
        bits_rounded,
        bits_as_tensor,
        bits_in_utf_16,
        bits_negative,
        bits_as_text,
        bits_e_to_the_nll,
        bits_composed_accents,
        bits_a_byte_in_nats,
        bits_with_one_more,
    ],
}
