"""Files of pairs as people have them: a third column, gzip, other encodings, headers and .csv."""

import gzip
import random

import pytest
import torch

from lessons_lib.kit.pair_files import is_header
from lessons_lib.kit.tasks import read_pairs

PAIR = "Go on.\tGeh weiter.\n"


def write(tmp_path, data, name="pairs.tsv"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


# --- a collection in the layout that is commonest in this field -----------------------------------

N_PAIRS = 4000


def collection():
    """English, German, and who wrote the two: as the well-known collections have it."""
    draw = random.Random(0)
    who, what = ["Tom", "Mary", "He", "The boss"], ["ran", "smiled", "didn't answer", "won"]
    ends = [("!", "!"), (".", "."), ("?", "?")]
    german = {
        **{"Tom": "Tom", "Mary": "Maria", "He": "Er", "The boss": "Der Chef"},
        **{"ran": "rannte", "smiled": "lächelte", "won": "gewann"},
        "didn't answer": "antwortete nicht",
    }
    lines = []
    for n in range(N_PAIRS):
        a, b, (end, ende) = draw.choice(who), draw.choice(what), draw.choice(ends)
        source, target = f"{a} {b} {n}\u202ftimes{end}", f"{german[a]} {german[b]} {n}-mal{ende}"
        license = (
            f"CC-BY 2.0 (France) Attribution: example.org #{n + 2877272} (CM) & #{n + 380} (cost)"
        )
        lines.append(f"{source}\t{target}\t{license}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("packed", [False, True])
def test_a_collection_with_attributions_is_read(tmp_path, packed, capsys):
    data = gzip.compress(collection().encode()) if packed else collection()
    path = write(tmp_path, data, "deu.txt")  # gzip is known by its bytes, not by its name
    task = read_pairs(path)
    assert len(task.train[0]) == 3600 and len(task.test[0]) == 400
    assert {"tom", "didn", "'"} <= set(task.src_vocab) and "lächelte" in task.tgt_vocab
    assert not {"cc", "example", "attribution"} & {*task.src_vocab, *task.tgt_vocab}
    said = f"{path}: of three columns the third is left out, such as 'CC-BY 2.0 (France) "
    assert (out := capsys.readouterr().out).startswith(said) and out.count("\n") == 1


def test_a_packed_file_gives_the_same_task(tmp_path):
    plain = read_pairs(write(tmp_path, collection()))
    packed = read_pairs(write(tmp_path, gzip.compress(collection().encode()), "pairs.gz"))
    assert plain.src_vocab == packed.src_vocab and plain.tgt_vocab == packed.tgt_vocab
    parts = zip((*plain.train, *plain.test), (*packed.train, *packed.test), strict=True)
    assert all(torch.equal(a, b) for a, b in parts)


def test_swap_turns_the_direction_round(tmp_path):
    path = write(tmp_path, collection())
    there, back = read_pairs(path), read_pairs(path, swap=True)
    for task, one, other in ((there, "smiled", "lächelte"), (back, "lächelte", "smiled")):
        assert one in task.src_vocab and one not in task.tgt_vocab
        assert other in task.tgt_vocab and other not in task.src_vocab


def test_swap_holds_out_by_the_new_source(tmp_path):
    text = "".join(f"question {n}\tAntwort {n % 20}\n" for n in range(60))
    task = read_pairs(write(tmp_path, text), swap=True)
    train, test = ({tuple(row) for row in src.tolist()} for src, _ in (task.train, task.test))
    assert len(train) == 18 and len(task.test[0]) == 6 and not train & test
    whole = read_pairs(write(tmp_path, PAIR), swap=True)
    src, tgt = whole.train
    assert (whole.words(src[0])[:-1], whole.decode(tgt[0])) == (["geh", "weiter", "."], "go on .")


# --- two columns throughout, or three ------------------------------------------------------------


def test_two_columns_say_nothing(tmp_path, capsys):
    read_pairs(write(tmp_path, PAIR * 3))
    assert capsys.readouterr().out == ""


def test_an_attribution_may_be_missing_as_long_as_its_tab_is_there(tmp_path, capsys):
    path = write(tmp_path, "one\teins\t\ntwo\tzwei\tby me\n\t\t\nthree\tdrei\t\n")
    assert len(read_pairs(path).train[0]) == 3
    assert capsys.readouterr().out.endswith("of three columns the third is left out\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\na\tb\nc\td\te\n", r":3: expected 2 columns, as in line 2, got 3: 'c\\td\\te'"),
        ("a\tb\tc\nd\te\n", r":2: expected 3 columns, as in line 1, got 2: 'd\\te'"),
        ("a\tb\tc\nd\n", ":2: expected three columns with tabs.*got 1 filled of 1: 'd'"),
        (
            "a\tb\tc\nd\t\te\n",
            ":2: expected three columns.*the first two filled, got 2 filled of 3",
        ),
        ("a\tb\tc\n \te\tf\n", ":2: expected three columns.*got 2 filled of 3"),
        ("a\tb\tc\nd\te\tf\tg\n", ":2: expected three columns.*got 4 filled of 4"),
        ("a\tb\n\te\n", ":2: expected two filled columns.*got 1 filled of 2"),
        ("a\tb\tc\td\n", ":1: expected two filled columns.*got 4 filled of 4"),
    ],
)
def test_other_numbers_of_columns_are_named_with_path_and_line(tmp_path, text, message, capsys):
    with pytest.raises(ValueError, match=rf"pairs\.tsv{message}"):
        read_pairs(write(tmp_path, text))
    assert capsys.readouterr().out == ""


# --- a header ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "English\tGerman",
        "source\ttarget",
        "src\ttgt",
        "en\tde",
        "en\tes",
        "ENGLISH\tDEUTSCH\tattribution",
        '"English sentence"\t"German sentence"',
        "text_en\ttext_de",
        "sentence\ttranslation",
        "Input\tOutput",
        "日本語\t中文",
    ],
)
def test_a_header_gets_a_sentence_that_helps(tmp_path, line):
    says = "pairs.tsv:2: expected a sentence and its translation, got what looks like a header: "
    with pytest.raises(ValueError, match=f"{says}delete this line: '"):
        read_pairs(write(tmp_path, f"\n{line}\n{PAIR}"))


@pytest.mark.parametrize(
    "line",
    [
        "German\tDeutsch",  # both name one language: a pair of a dictionary
        "it\tes",
        "English\tsprache",
        "I speak English.\tIch spreche Deutsch.",
        "source\tQuelle",
        "text\tText",
        "…\t…",
        "hi\thallo",
    ],
)
def test_what_may_be_a_pair_is_no_header(tmp_path, line):
    assert not is_header(line.split("\t"))
    assert len(read_pairs(write(tmp_path, f"{line}\n{PAIR}")).train[0]) == 2


def test_only_the_first_line_can_be_a_header(tmp_path):
    assert len(read_pairs(write(tmp_path, f"{PAIR}English\tGerman\n")).train[0]) == 2


# --- files of another kind ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "line", "mark"),
    [
        ("pairs.csv", "Go on.,Geh weiter.", ","),
        ("pairs.csv", "Go on, Tom.;Geh weiter, Tom.", ";"),
        ("pairs.CSV", '"Go on, Tom.","Geh weiter, Tom."', ","),
        ("pairs.txt", '"Go on.";"Geh weiter."', ";"),
        ("pairs.txt", '"Go on, Tom.", "Geh weiter, Tom.", "me"', ","),
        ("pairs.txt", "English,German", ","),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_csv_gets_a_sentence_that_helps(tmp_path, name, line, mark, packed):
    data = f"{line}\n".encode()
    path = write(tmp_path, gzip.compress(data) if packed else data, name + ".gz" * packed)
    says = f":1: expected a tab between two columns, got a .csv with '{mark}' between: save it as"
    with pytest.raises(ValueError, match=says):
        read_pairs(path)


def test_a_csv_with_tabs_is_read(tmp_path):
    assert len(read_pairs(write(tmp_path, PAIR, "pairs.csv")).train[0]) == 1


def test_a_sentence_with_commas_is_no_csv(tmp_path):
    with pytest.raises(ValueError, match=":1: expected two filled columns"):
        read_pairs(write(tmp_path, "Go on, Tom; go on.\n"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_unicode_is_named(tmp_path, encoding):
    with pytest.raises(ValueError, match=r"pairs.tsv.* UTF-16"):
        read_pairs(write(tmp_path, (PAIR * 3).encode(encoding)))


def test_text_of_an_old_encoding_is_named_with_its_line(tmp_path):
    data = (PAIR + "a cat\teine Kätzin\n").encode("latin-1")
    with pytest.raises(
        ValueError, match="tsv:2: not UTF-8 text, byte 0xe4; save the file as UTF-8"
    ):
        read_pairs(write(tmp_path, data))


@pytest.mark.parametrize(
    ("start", "kind"),
    [(b"PK\x03\x04", "a zip archive"), (b"BZh91AY&SY", "a bzip2"), (b"\xfd7zXZ\x00", "an xz")],
)
@pytest.mark.parametrize("packed", [False, True])
def test_archives_are_named(tmp_path, start, kind, packed):
    data = start + bytes(40)
    with pytest.raises(ValueError, match=f"pairs.tsv: expected UTF-8 text, .*, got {kind}"):
        read_pairs(write(tmp_path, gzip.compress(data) if packed else data))


def test_a_broken_gzip_file_is_named(tmp_path):
    whole = gzip.compress(collection().encode())
    other_sum = whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:]
    for broken in (whole[:2], whole[:9], whole[: len(whole) // 2], whole[:-1], other_sum):
        with pytest.raises(ValueError, match=r"pairs.gz: expected a whole gzip file, got a broken"):
            read_pairs(write(tmp_path, broken, "pairs.gz"))
    flipped = bytearray(whole)
    flipped[300:320] = bytes(20)
    with pytest.raises(ValueError, match=r"pairs.gz"):
        read_pairs(write(tmp_path, bytes(flipped), "pairs.gz"))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("packed", [False, True])
def test_line_ends_of_all_systems_are_read_and_counted(tmp_path, end, mark, packed):
    def file(text):
        data = (mark + text.replace("\n", end)).encode()
        return write(tmp_path, gzip.compress(data) if packed else data)

    task = read_pairs(file(PAIR + "\n" + PAIR.replace("on", "up")))
    assert len(task.train[0]) == 2 and task.src_vocab[4:] == ["go", ".", "on", "up"]
    with pytest.raises(ValueError, match="tsv:4: expected two filled columns"):
        read_pairs(file(PAIR + "\n" + PAIR + "no tab\n"))


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_pairs(tmp_path / "nowhere.tsv")
    with pytest.raises(OSError, match=tmp_path.name):
        read_pairs(tmp_path)
