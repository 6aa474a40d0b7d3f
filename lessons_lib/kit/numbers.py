"""Numbers written out in words, one token per word or morpheme.

Every number is composed from groups of three digits (Japanese: four). The words of a group come
from the library `num2words`; joining the groups here is about a hundred times faster than asking
the library for every number.
"""

import re
from collections.abc import Sequence
from functools import cache

from num2words import num2words

# What follows a group of digits: nothing, thousand, million, … A pair is (after one, after more).
SCALES = {
    "en": [(), ("thousand",), ("million",), ("billion",)],
    "de": [(), ("tausend",), ("million", "millionen"), ("milliarde", "milliarden")],
    "ja": [(), ("万",), ("億",)],
}
GROUP_DIGITS = {"en": 3, "de": 3, "ja": 4}
MAX_DIGITS = 12

# German writes a number below a million as one word. The longest morpheme wins: dreizehn, not drei.
GERMAN_MORPHEMES = re.compile(
    "dreizehn|vierzehn|fünfzehn|sechzehn|siebzehn|achtzehn|neunzehn|zwanzig|dreißig|vierzig"
    "|fünfzig|sechzig|siebzig|achtzig|neunzig|zehn|elf|zwölf|hundert|null|eins|ein|zwei|drei|vier"
    "|fünf|sechs|sieben|acht|neun|und"
)


def spell(number: int, language: str = "en") -> list[str]:
    """Write `number` (0 up to twelve digits) out in words.

    `language` is "en", "de" or "ja". English "and", commas and hyphens are dropped, German
    compounds are split into morphemes and lower-cased, Japanese is split into characters:

    >>> spell(342_000, "de")
    ['drei', 'hundert', 'zwei', 'und', 'vierzig', 'tausend']

    Raises:
        ValueError: if the number is negative or too long, or the language is unknown.
    """
    if language not in SCALES:
        raise ValueError(f"language must be one of {sorted(SCALES)}, got {language!r}")
    if not 0 <= number < 10**MAX_DIGITS:
        raise ValueError(f"number must have at most {MAX_DIGITS} digits and no sign, got {number}")
    if number == 0:
        return list(_group_words(0, language))
    words: list[str] = []
    base = 10 ** GROUP_DIGITS[language]
    for place in reversed(range(len(SCALES[language]))):
        group = number // base**place % base
        if group:
            words += _agree(_group_words(group, language), place, language)
            scale = SCALES[language][place]
            words += scale[:1] if group == 1 else scale[-1:]
    return words


def read_number(words: Sequence[str], language: str = "en") -> int | None:
    """Tell which number `words` spell, or None if they spell none: the way back from `spell`.

    >>> read_number(["zwei", "und", "vierzig"], "de"), read_number(["vierzig", "zwei"], "de")
    (42, None)
    """
    number, rest = 0, list(words)
    for place in reversed(range(len(SCALES[language]))):
        ends = [i for i, word in enumerate(rest) if word in SCALES[language][place]]
        if ends or place == 0:
            end = ends[0] if ends else len(rest)
            group, rest = tuple(rest[:end]), rest[end + 1 :]
            base = 10 ** GROUP_DIGITS[language]
            number += _groups(place, language).get(group, 0) * base**place
    return number if spell(number, language) == list(words) else None


def number_vocabulary(language: str, max_digits: int) -> list[str]:
    """List every word that a number of up to `max_digits` digits can contain."""
    words = dict.fromkeys(
        word for n in range(10 ** min(max_digits, 3)) for word in spell(n, language)
    )
    for n_digits in range(4, max_digits + 1):
        for number in (10 ** (n_digits - 1), 2 * 10 ** (n_digits - 1)):
            words |= dict.fromkeys(spell(number, language))
    return list(words)


def _agree(words: tuple[str, ...], place: int, language: str) -> tuple[str, ...]:
    """Let a German group that ends in "eins" agree with its scale: ein tausend, eine million."""
    if language == "de" and place > 0 and words[-1] == "eins":
        return (*words[:-1], "ein" if place == 1 else "eine")
    return words


@cache
def _groups(place: int, language: str) -> dict[tuple[str, ...], int]:
    """Every group of digits as it is written before its scale."""
    groups = range(1, 10 ** GROUP_DIGITS[language])
    return {tuple(_agree(_group_words(n, language), place, language)): n for n in groups}


@cache
def _group_words(group: int, language: str) -> tuple[str, ...]:
    text = num2words(group, lang=language)
    if language == "en":
        return tuple(word for word in re.findall("[a-z]+", text) if word != "and")
    if language == "de":
        return tuple(GERMAN_MORPHEMES.findall(text))
    return tuple(text)
