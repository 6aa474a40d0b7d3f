"""Composed number words equal the library's, but for its known slip in German."""

import random
import re

import pytest
from num2words import num2words

from lessons_lib.kit.numbers import GERMAN_MORPHEMES, number_vocabulary, read_number, spell

RNG = random.Random(7)
NUMBERS = [*range(1200), *(10**k for k in range(3, 12)), *(10**k - 1 for k in range(4, 13))]
NUMBERS += [RNG.randrange(10 ** RNG.randint(4, 12)) for _ in range(3000)]


def english(number):
    return re.sub("[,-]", " ", num2words(number)).replace(" and ", " ").split()


def german(number):
    scales = "millionen|million|milliarden|milliarde|tausend|eine(?= )|"
    return re.findall(scales + GERMAN_MORPHEMES.pattern, num2words(number, lang="de").lower())


def test_english_equals_the_library():
    for number in NUMBERS:
        assert spell(number, "en") == english(number), number


def test_german_equals_the_library_where_it_does_not_slip():
    compared = 0
    for number in NUMBERS:
        groups = [number // 1000**place % 1000 for place in range(1, 4)]
        if any(group % 100 == 1 and group > 1 for group in groups):
            continue  # the library writes "einhunderteinsmillionen"
        assert spell(number, "de") == german(number), number
        compared += 1
    assert compared > 4000


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (101_000, "ein hundert ein tausend"),
        (1_000, "ein tausend"),
        (201_000_000, "zwei hundert eine millionen"),
        (1_001_000_001, "eine milliarde eine million eins"),
        (21_000_000, "ein und zwanzig millionen"),
        (342_000, "drei hundert zwei und vierzig tausend"),
    ],
)
def test_german_groups_that_end_in_one_agree_with_their_scale(number, words):
    assert " ".join(spell(number, "de")) == words


def test_japanese_equals_the_library_and_regroups_by_four_digits():
    for number in NUMBERS:
        assert spell(number, "ja") == list(num2words(number, lang="ja")), number
    assert "".join(spell(342_000, "ja")) == "三十四万二千"


@pytest.mark.parametrize("language", ["en", "de", "ja"])
def test_the_vocabulary_is_exactly_what_numbers_use(language):
    words = number_vocabulary(language, 12)
    assert len(words) == len(set(words)) < 40
    used = {word for number in NUMBERS for word in spell(number, language)}
    assert used == set(words)


@pytest.mark.parametrize("max_digits", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("language", ["en", "de", "ja"])
def test_a_short_vocabulary_covers_every_number_of_that_size(language, max_digits):
    words = set(number_vocabulary(language, max_digits))
    top = 10**max_digits
    for number in [*range(min(top, 2000)), *(RNG.randrange(top) for _ in range(500)), top - 1]:
        assert set(spell(number, language)) <= words, number


def test_lengths_are_what_the_lessons_say():
    longest_source = max(len(spell(number, "en")) for number in NUMBERS)
    longest_target = max(len(spell(number, "de")) for number in NUMBERS)
    assert longest_source == 19  # with EOS at most 20 source tokens
    assert longest_target == 23  # with BOS and EOS at most 25 target tokens


@pytest.mark.parametrize("number", [-1, 10**12])
def test_numbers_out_of_range_are_named(number):
    with pytest.raises(ValueError, match=rf"number must have at most 12 digits.*{number}"):
        spell(number)


def test_an_unknown_language_is_named():
    with pytest.raises(ValueError, match=r"language must be one of .*'de'.*got 'fr'"):
        spell(1, "fr")


@pytest.mark.parametrize("language", ["en", "de", "ja"])
def test_what_is_spelled_can_be_read(language):
    for number in NUMBERS:
        assert read_number(spell(number, language), language) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "und",
        "tausend",
        "eins tausend",
        "eine tausend",
        "ein million",
        "eine millionen",
        "null tausend",
        "zwei vierzig",
        "drei hundert null",
        "drei tausend vier millionen",
        "zwei tausend drei tausend",
        "vier und zwanzig und",
        "<unk>",
    ],
)
def test_what_is_no_number_is_none(text):
    assert read_number(text.split(), "de") is None
