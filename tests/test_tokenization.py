"""Byte pairs equal those of `tokenizers`, merge by merge and id by id; wrong input is named."""

import json
import subprocess
import sys
import unicodedata
from collections import Counter
from functools import cache
from itertools import pairwise

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from lessons_lib.kit.numbers import spell
from lessons_lib.kit.three_languages import SENTENCES
from lessons_lib.tokenization import (
    BYTES,
    BytePairs,
    byte_ids,
    count_pairs,
    learn_merges,
    merge,
    split_text,
)
from tests.laws.project import ROOT

ODD = (
    "",
    " ",
    "a",
    "aaa aaaa aaaaa",
    "  two  spaces,\n\n\ttab \r\n end  ",
    "I'm, you'll, IT'S, don't; 'sand' 's",
    "x² + ½ = 3Ⅷ ٣ 一二三 2nd_try __init__",
    "für 万 🙂👩‍👩‍👧 é é \x00 \xad \xa0 नमस्ते",
    "na" * 60,
)


@cache
def texts():
    """The project's own text: {name: (what is learnt from, what is held out)}."""
    notebooks = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "notebooks").glob("0[0-8]_*.ipynb"))
    ]
    lessons = "\n\n".join("".join(cell["source"]) for book in notebooks for cell in book["cells"])
    code = "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "lessons_lib").rglob("*.py"))
    )
    numbers = " ".join("".join(spell(n, "de")) for n in range(0, 10**6, 499))
    found = {"lessons": lessons, "code": code, "German numbers": numbers}
    found |= {name: "\n".join(sentences) for name, sentences in SENTENCES.items()}
    found["three languages"] = "\n".join(map("\n".join, SENTENCES.values()))
    return {
        name: (text[: len(text) * 3 // 4], text[len(text) * 3 // 4 :])
        for name, text in found.items()
    }


@cache
def theirs(name, n_merges):
    """What `tokenizers` learns from a text: the tokenizer, and its merges as pairs of ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=256 + n_merges,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([texts()[name][0]], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    pairs = [(model["vocab"][left], model["vocab"][right]) for left, right in model["merges"]]
    return tokenizer, pairs


@cache
def ours(name, n_merges):
    return BytePairs.train(texts()[name][0], n_merges)


SIZES = [
    *(("lessons", n) for n in (1, 200, 2000)),
    *(("code", n) for n in (37, 1000)),
    *(("German numbers", n) for n in (100, 400)),
    *(
        (name, n)
        for name in ("English", "German", "Chinese", "three languages")
        for n in (50, 5000)
    ),
]


@pytest.mark.parametrize(("name", "n_merges"), SIZES)
def test_merges_equal_those_of_tokenizers_in_order(name, n_merges):
    _, pairs = theirs(name, n_merges)
    assert list(ours(name, n_merges).merges) == pairs
    assert [*ours(name, n_merges).merges.values()] == [*range(256, 256 + len(pairs))]
    assert len(pairs) == n_merges or n_merges == 5000  # where the text has no more pairs


@pytest.mark.parametrize(("name", "n_merges"), SIZES)
def test_ids_equal_those_of_tokenizers(name, n_merges):
    tokenizer, _ = theirs(name, n_merges)
    for text in (texts()[name][1], texts()["three languages"][1], *ODD):
        ids = ours(name, n_merges).encode(text)
        assert ids == tokenizer.encode(text).ids
        assert ours(name, n_merges).decode(ids) == text


def test_words_are_cut_as_tokenizers_cuts_them_for_every_character():
    """In words, numbers and signs. Four control characters are white space to `re` alone."""
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    wrong = []
    for code in range(sys.maxunicode + 1):
        sign = chr(code)
        if unicodedata.category(sign) in ("Cs", "Cn", "Co") or 0x1C <= code <= 0x1F:
            continue
        if 0x3500 < code < 0x4D00 or 0x5000 < code < 0x9F00 or 0xAD00 < code < 0xD700:
            continue  # more of the same: Chinese and Korean
        if 0x13000 < code < 0x18D00 or code > 0x20000:
            continue
        text = f"a{sign}b 1{sign}2 ?{sign}! {sign}"
        spans = [span for _, span in cut.pre_tokenize_str(text)]
        if [text[start:end] for start, end in spans] != split_text(text):
            wrong.append(hex(code))
    assert wrong == []


# --- the parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ODD)
def test_pieces_joined_are_the_text(text):
    assert "".join(split_text(text)) == text
    assert all(split_text(text))


def test_pieces_are_words_numbers_and_signs():
    assert split_text("I'm 42, ja") == ["I", "'m", " 42", ",", " ja"]
    assert split_text("two  spaces\n\nx") == ["two", " ", " spaces", "\n", "\n", "x"]
    assert split_text("a_b!? ² ½x") == ["a", "_", "b", "!?", " ²", " ½", "x"]


def test_bytes_stand_in_gpt2s_order():
    assert sorted(BYTES) == [*range(256)]
    assert BYTES[:188] == [*range(33, 127), *range(161, 173), *range(174, 256)]
    assert BYTES[188:] == [*range(33), *range(127, 161), 173]
    assert byte_ids(" ü") == (220, BYTES.index(0xC3), BYTES.index(0xBC))


def test_pairs_are_weighted_by_their_words():
    assert count_pairs({(1, 2, 1, 2): 3, (2, 1): 5, (7,): 9}) == {(1, 2): 6, (2, 1): 8}
    assert count_pairs({(4, 4, 4): 1}) == {(4, 4): 2}


@pytest.mark.parametrize(
    ("ids", "pair", "expected"),
    [
        ((1, 1, 1), (1, 1), (9, 1)),
        ((1, 1, 1, 1), (1, 1), (9, 9)),
        ((2, 1, 2, 1), (1, 2), (2, 9, 1)),
        ((1, 2), (1, 2), (9,)),
        ((2, 1), (1, 2), (2, 1)),
        ((), (1, 2), ()),
    ],
)
def test_merging_goes_from_left_to_right(ids, pair, expected):
    assert merge(ids, pair, 9) == expected


def slowly(text, n_merges):
    """Count everything again for each merge."""
    words, merges = Counter(map(byte_ids, split_text(text))), {}
    while len(merges) < n_merges:
        counts = count_pairs(words)
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges[best] = 256 + len(merges)
        words = {merge(word, best, merges[best]): n for word, n in words.items()}
    return merges


@pytest.mark.parametrize("name", ["English", "Chinese", "German numbers"])
def test_counting_anew_learns_the_same(name):
    text = texts()[name][0][:3000]
    assert list(learn_merges(text, 150).items()) == list(slowly(text, 150).items())


def test_of_equally_frequent_pairs_the_lowest_ids_are_merged_first():
    pairs = BytePairs.train("cd ba ab", 5)
    assert [pairs.token(i) for i in range(256, 261)] == ["ab", "ba", "cd", "␣ab", "␣ba"]


def test_the_earliest_merge_is_done_first_and_not_the_longest():
    a, b, c, d = byte_ids("abcd")
    pairs = BytePairs({(b, c): 256, (a, b): 257, (257, c): 258, (258, d): 259})
    assert pairs.encode("abcd") == [a, 256, d]  # "abcd" is a token, and out of reach
    assert pairs.tokens[259] == b"abcd"


def test_nothing_left_to_merge_ends_the_learning():
    assert len(learn_merges("abc", 10)) == 2
    assert learn_merges("abc", 0) == {} and BytePairs({}).encode("é") == [*byte_ids("é")]
    assert len(BytePairs({})) == 256


def test_half_a_character_becomes_a_sign():
    pairs = BytePairs({})
    assert pairs.decode(pairs.encode("a七")[:-1]) == "a�"
    assert pairs.decode([]) == ""


def test_tokens_can_be_read():
    pairs = BytePairs.train(" a a\n七七", 10)
    shown = [pairs.token(i) for i in range(256, len(pairs))]
    assert "␣a" in shown and "七" in shown
    assert pairs.token(*byte_ids("\n")) == "↵"
    assert pairs.token(byte_ids("七")[0]) == r"\xe4"


def test_a_table_of_merges_belongs_to_its_tokenizer():
    merges = learn_merges("abab", 1)
    pairs = BytePairs(merges)
    merges.clear()
    assert pairs.encode("ab") == [256]


def test_words_hold_no_more_pairs_than_are_merged():
    pairs = ours("code", 1000)
    for word in split_text(texts()["code"][1][:5000]):
        assert not any(pair in pairs.merges for pair in pairwise(pairs.encode(word)))


# --- wrong input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: learn_merges("ab", -1), ValueError, "n_merges must be .* at least 0, got -1"),
        (lambda: learn_merges("ab", 2.0), ValueError, "n_merges must be a whole number .* 2.0"),
        (lambda: learn_merges("ab", True), ValueError, "n_merges must be a whole number .* True"),
        (lambda: learn_merges("", 3), ValueError, "text must hold a word of .* two bytes, got ''"),
        (lambda: BytePairs.train("\n", 1), ValueError, "text must hold a word .* got '.n'"),
        (lambda: learn_merges(b"ab", 1), TypeError, "text must be a string, got bytes"),
        (lambda: split_text(None), TypeError, "text must be a string, got NoneType"),
        (lambda: BytePairs({}).encode(["a"]), TypeError, "text must be a string, got list"),
        (lambda: split_text("ab\ud800"), ValueError, "whole characters, got '.ud800' at place 2"),
        (lambda: BytePairs({}).decode([65, 256]), ValueError, "ids must lie in 0 … 255, got 256"),
        (lambda: BytePairs({}).decode([-1]), ValueError, "ids must lie in 0 … 255, got -1"),
        (lambda: BytePairs({}).decode(["a"]), TypeError, "ids must hold whole numbers, got str"),
        (lambda: BytePairs({}).decode([1.0]), TypeError, "ids must hold whole numbers, got float"),
        (lambda: BytePairs({}).token(256), ValueError, "i must lie in 0 … 255, got 256"),
        (lambda: BytePairs([(1, 2)]), TypeError, r"merges must be a dict .* got list"),
        (
            lambda: BytePairs({(1, 2, 3): 256}),
            TypeError,
            r"pairs of ids, \(id, id\), got \(1, 2, 3",
        ),
        (lambda: BytePairs({("a", "b"): 256}), TypeError, r"pairs of ids, .* got \('a', 'b'\)"),
        (lambda: BytePairs({(1, 2): 257}), ValueError, r"expected \(1, 2\) → 256, got 257"),
        (lambda: BytePairs({(1, 256): 256}), ValueError, r"makes 256 from \(1, 256\): .* 0 … 255"),
        (lambda: BytePairs({(-1, 2): 256}), ValueError, r"makes 256 from \(-1, 2\)"),
    ],
)
def test_wrong_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_ids_may_come_as_a_tensor_of_numbers():
    torch = pytest.importorskip("torch")
    pairs = BytePairs.train("ten teen", 3)
    assert pairs.decode(torch.tensor(pairs.encode("ten")).tolist()) == "ten"


def test_no_lesson_needs_tokenizers():
    code = "import sys, lessons_lib.tokenization; print('tokenizers' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout.strip() == "False"


# --- the sentences --------------------------------------------------------------------------------


def test_the_three_languages_have_the_same_sentences():
    assert list(SENTENCES) == ["English", "German", "Chinese"]
    assert {len(sentences) for sentences in SENTENCES.values()} == {40}
    for name, sentences in SENTENCES.items():
        assert len(set(sentences)) == 40
        assert all(sentence[-1] in ".?。？" for sentence in sentences)
        assert all(("一" <= sentence[0] <= "鿿") == (name == "Chinese") for sentence in sentences)
    questions = [[s[-1] in "?？" for s in sentences] for sentences in SENTENCES.values()]
    assert questions[0] == questions[1] == questions[2]
