"""Files of sentence pairs as people have them: two columns or three, packed or not, and mistaken.

A line is a sentence, a tab and its translation. Collections of such pairs often have a third column
that says who wrote them; it is left out.
"""

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

GZIP = b"\x1f\x8b"  # how a gzip file begins, whatever its name

# How files begin that are no text, or text of another encoding, and what to do about it.
OTHER_FILES = {
    b"PK\x03\x04": "a zip archive or a spreadsheet: unpack it, or save it as tab-separated text",
    b"BZh91AY&SY": "a bzip2 archive: unpack it, or pack it with gzip",
    b"\xfd7zXZ\x00": "an xz archive: unpack it, or pack it with gzip",
    b"\xff\xfe": "UTF-16: save it as UTF-8",
    b"\xfe\xff": "UTF-16: save it as UTF-8",
}

# What the columns of such files are called. Two spellings of one thing are no header: "German" and
# "Deutsch" may well be a pair of a dictionary.
_COLUMNS = """
    source src original input ; target tgt trg translation output
    english englisch en eng ; german deutsch de deu ger ; french français francais fr fra fre
    spanish español espanol es spa ; italian italiano it ita ; portuguese português pt por
    dutch nederlands nl nld ; polish polski pl pol ; russian русский ru rus ; swedish svenska sv swe
    turkish türkçe tr tur ; arabic العربية ar ara ; hindi हिन्दी hi hin ; ukrainian українська uk ukr
    chinese mandarin 中文 zh cmn zho ; japanese 日本語 ja jpn ; korean 한국어 ko kor
    czech čeština cs ces ; greek ελληνικά ell ; finnish suomi fi fin ; danish dansk dan
"""
_MEANING = {
    name: n for n, names in enumerate(re.split("[;\n]", _COLUMNS)) for name in names.split()
}
_BESIDE = {"sentence", "sentences", "text", "texts", "language", "lang", "phrase", "column"}


def read_columns(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield for each pair where it stands, "path:line", and its two columns.

    The first line decides whether all lines have two columns or three. If there is a third, one
    printed line says that it is left out.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: "path:line: …" or "path: …", as `lessons_lib.kit.tasks.read_pairs` says.
    """
    first, n_columns, third = "", 0, ""
    for number, line in enumerate(_lines(path), start=1):
        where = f"{path}:{number}"
        text = _decode(line, where, first=number == 1)
        if not text.strip():
            continue
        columns = [column.strip() for column in text.split("\t")]
        if not n_columns:
            _check_first(path, where, text, columns)
            first, n_columns, third = f"line {number}", len(columns), "".join(columns[2:])
        if len(columns) != n_columns and {len(columns), n_columns} <= {2, 3}:
            raise ValueError(
                f"{where}: expected {n_columns} columns, as in {first}, got {len(columns)}: "
                f"{text[:60]!r}"
            )
        if len(columns) != n_columns or not all(columns[:2]):
            raise ValueError(f"{where}: {_expected(n_columns, columns)}: {text[:60]!r}")
        yield where, columns[:2]
    if not n_columns:
        raise ValueError(f"{path}: expected at least one sentence pair, got none")
    if n_columns == 3:
        shown = f", such as {third[:40]!r}" if third else ""
        print(f"{path}: of three columns the third is left out{shown}")


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, unpacked, without their ends: LF, CR LF, or the lone CR of old Macs."""
    with path.open("rb") as plain:
        packed = plain.peek(len(GZIP))[: len(GZIP)] == GZIP
        file = gzip.GzipFile(fileobj=plain) if packed else plain
        try:
            _check_is_text(path, file.peek(16))
            for line in file:
                yield from line.rstrip(b"\r\n").split(b"\r")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"{path}: expected a whole gzip file, got a broken one: {error}"
            ) from None


def _check_is_text(path: Path, start: bytes) -> None:
    for magic, what in OTHER_FILES.items():
        if start.startswith(magic):
            raise ValueError(f"{path}: expected UTF-8 text, or gzip of it, got {what}")


def _decode(line: bytes, where: str, first: bool) -> str:
    """The text of a line; the mark that some editors put before the first is dropped."""
    try:
        text = line.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where}: not UTF-8 text, byte {line[error.start]:#04x}; save the file as UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError(f"{where}: not UTF-8 text, byte 0x00; is it UTF-16, or no text at all?")
    return text


def _check_first(path: Path, where: str, text: str, columns: list[str]) -> None:
    """Raise if the first line has not two columns or three, or if it is a header."""
    if len(columns) == 1 and (mark := _csv_mark(path, text)):
        raise ValueError(
            f"{where}: expected a tab between two columns, got a .csv with {mark!r} between: save "
            f"it as tab-separated text: {text[:60]!r}"
        )
    if is_header(columns):
        raise ValueError(
            f"{where}: expected a sentence and its translation, got what looks like a header: "
            f"delete this line: {text[:60]!r}"
        )
    if len(columns) not in (2, 3):
        raise ValueError(f"{where}: {_expected(2, columns)}: {text[:60]!r}")


def _csv_mark(path: Path, text: str) -> str:
    """What stands between the columns if this is a .csv; empty if it does not look like one."""
    called_csv = ".csv" in (suffix.lower() for suffix in path.suffixes[-2:])  # pairs.csv.gz, too
    for mark in ";,":  # a comma may well stand in a sentence between semicolons
        quoted = re.fullmatch(rf'"[^"]*"(\s*{mark}\s*"[^"]*")+', text.strip())
        cells = [cell.strip() for cell in text.split(mark)]
        if quoted or is_header(cells) or (called_csv and len(cells) > 1):
            return mark
    return ""


def is_header(columns: Iterable[str]) -> bool:
    """Do the first two columns name two languages, or source and target, and nothing else?

    "English sentence" and "text_en" count, too. Not a header is "it" and "es": both are codes of
    languages, but the German word for "it" is "es".
    """
    names = []
    for column in list(columns)[:2]:
        words = re.findall(r"[^\W_]+", column.lower())
        names.append(" ".join(w for w in words if w not in _BESIDE) or "source" * bool(words))
    meanings = {_MEANING.get(name) for name in names}
    return len(meanings) == 2 and None not in meanings and set(names) != {"it", "es"}


def _expected(n_columns: int, columns: list[str]) -> str:
    """The sentence for a line with the wrong number of columns, or with an empty one."""
    filled = sum(map(bool, columns))
    wanted = "two filled columns with a tab between"
    if n_columns == 3:
        wanted = "three columns with tabs between, the first two filled"
    return f"expected {wanted}, got {filled} filled of {len(columns)}"
