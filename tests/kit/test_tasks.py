"""Tasks: held-out numbers, encoding, decoding, and the learner's own pairs."""

import pytest
import torch

from lessons_lib.kit.numbers import spell
from lessons_lib.kit.tasks import number_digits, number_words, read_pairs, split_text
from lessons_lib.kit.vocabulary import BOS, EOS, PAD, SPECIALS, UNK, lengths


@pytest.fixture(scope="module")
def task():
    return number_words(max_digits=4, n_train=700, n_test=120)


def sentences(rows):
    return {tuple(row) for row in rows.tolist()}


def test_sizes_and_dtypes(task):
    for (src, tgt), n in ((task.train, 700), (task.test, 120)):
        assert len(src) == len(tgt) == n
        assert src.dtype == tgt.dtype == torch.int64


def test_test_numbers_are_held_out(task):
    width = max(task.train[0].shape[1], task.test[0].shape[1])
    pad = torch.nn.functional.pad
    train, test = (
        sentences(pad(src, (0, width - src.shape[1]))) for src, _ in (task.train, task.test)
    )
    assert len(train) == 700 and len(test) == 120
    assert not train & test


def test_rows_have_their_frame(task):
    src, tgt = task.train
    n_src, n_tgt = lengths(src), lengths(tgt)
    assert (tgt[:, 0] == BOS).all() and not (src == BOS).any()
    for ids, n in ((src, n_src), (tgt, n_tgt)):
        assert (ids[torch.arange(len(ids)), n - 1] == EOS).all()
        assert ((ids == EOS).sum(dim=1) == 1).all()
        assert ((ids != PAD).cumsum(dim=1).max(dim=1).values == n).all()
        assert not (ids == UNK).any()


def test_every_pair_is_the_same_number_in_two_languages(task):
    numbers = {" ".join(spell(n, "en")): " ".join(spell(n, "de")) for n in range(10**4)}
    for src, tgt in zip(*task.test, strict=True):
        english = " ".join(task.words(src)[:-1])
        assert task.decode(tgt) == numbers[english]


def test_the_same_seed_gives_the_same_task_and_another_gives_another():
    first, again, other = (number_words(n_train=50, n_test=10, seed=s) for s in (3, 3, 4))
    assert torch.equal(first.train[0], again.train[0])
    assert not (
        first.train[0].shape == other.train[0].shape and torch.equal(first.train[0], other.train[0])
    )


def test_vocabularies_begin_with_the_special_ids(task):
    assert task.src_vocab[:4] == task.tgt_vocab[:4] == SPECIALS
    assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3)
    assert len(set(task.tgt_vocab)) == len(task.tgt_vocab)


def test_japanese_is_the_second_target():
    task = number_words(target="ja", max_digits=5, n_train=60, n_test=10)
    assert "万" in task.tgt_vocab
    assert set(task.decode(task.test[1][0])) <= set("".join(task.tgt_vocab[4:]) + " ")


@pytest.mark.parametrize(
    "sentence",
    ["three hundred forty two", "Three hundred and forty-two", "342", " three, hundred forty two "],
)
def test_encode_reads_numbers_as_people_write_them(task, sentence):
    ids = task.encode(sentence)
    assert [task.src_vocab[i] for i in ids] == ["three", "hundred", "forty", "two", "<eos>"]


def test_encode_names_an_unknown_word_and_a_likely_one(task):
    with pytest.raises(ValueError, match=r"unknown word 'fourty'; did you mean 'forty'\?"):
        task.encode("fourty two")
    with pytest.raises(ValueError, match="unknown word 'billion'"):
        task.encode("one billion")  # this task ends at four digits
    with pytest.raises(ValueError, match="unknown word '<pad>'"):
        task.encode("<pad>")


@pytest.mark.parametrize("sentence", ["", "   ", " and "])
def test_encode_refuses_an_empty_sentence(task, sentence):
    with pytest.raises(ValueError, match="sentence must have at least one word"):
        task.encode(sentence)


def test_decode_stops_at_eos_and_skips_the_frame(task):
    zwei = task.tgt_vocab.index("zwei")
    assert task.decode([BOS, zwei, EOS, zwei, PAD]) == "zwei"
    assert task.decode(torch.tensor([zwei, zwei])) == "zwei zwei"
    with pytest.raises(ValueError, match=r"ids must lie in 0 … .*, got 99"):
        task.decode([99])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "xx"}, "target must be one of"),
        ({"max_digits": 13}, "max_digits must be at most 12, got 13"),
        ({"max_digits": 0}, "max_digits must be a whole number of at least 1, got 0"),
        ({"n_test": 2.5}, "n_test must be a whole number of at least 1, got 2.5"),
        ({"max_digits": 2}, "n_train \\+ n_test must be at most 100, .* got 9000"),
    ],
)
def test_number_words_names_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        number_words(**arguments)


def test_digits_are_the_same_numbers_cut_into_tokens():
    sizes = {"max_digits": 5, "n_train": 300, "n_test": 40}
    words, digits = number_words(**sizes), number_digits(lambda d: [d[:2], *d[2:]], **sizes)
    for (src, tgt), (cut, same) in ((words.train, digits.train), (words.test, digits.test)):
        assert torch.equal(tgt, same)
        for one, other in zip(src, cut, strict=True):
            number = "".join(digits.words(other)[:-1])
            assert "<unk>" in number or spell(int(number)) == words.words(one)[:-1]
    assert digits.decode(digits.test[1][0]) == words.decode(words.test[1][0])
    assert [digits.src_vocab[i] for i in digits.encode("1205")] == ["12", "0", "5", "<eos>"]


def test_number_digits_names_what_is_wrong():
    with pytest.raises(ValueError, match="n_test must be"):
        number_digits(list, n_test=0)
    with pytest.raises(ValueError, match=r"n_train . n_test must be at most 10"):
        number_digits(list, max_digits=1)


def test_all_numbers_of_a_size_can_be_used():
    task = number_words(max_digits=2, n_train=80, n_test=20)
    assert len(task.train[0]) + len(task.test[0]) == 100


# --- the learner's own pairs -----------------------------------------------------------------


def write(tmp_path, data):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(data)
    return path


def many_pairs(n=40):
    return "".join(f"line {i} here\tZeile {i} hier\n" for i in range(n))


def test_read_pairs_reads_windows_files_with_a_mark_and_blank_lines(tmp_path):
    text = "\ufeff" + many_pairs().replace("\n", "\r\n") + "\r\n  \r\n"
    task = read_pairs(write(tmp_path, text.encode()))
    assert len(task.train[0]) == 36 and len(task.test[0]) == 4
    assert "line" in task.src_vocab and "\ufeffline" not in task.src_vocab
    assert {"zeile", "hier"} <= set(task.tgt_vocab)


def test_read_pairs_maps_unknown_words_to_unk(tmp_path):
    task = read_pairs(write(tmp_path, many_pairs().encode()))
    ids = task.encode("line zebra here")
    assert [task.src_vocab[i] for i in ids] == ["line", "<unk>", "here", "<eos>"]


def test_read_pairs_bounds_the_vocabulary(tmp_path):
    task = read_pairs(write(tmp_path, many_pairs().encode()), max_words=2)
    assert set(task.src_vocab[4:]) == {"line", "here"}
    assert (task.train[0] == UNK).any()


def test_a_source_sentence_is_never_in_both_parts(tmp_path):
    text = "".join(f"question {i % 20}\tAntwort {i}\n" for i in range(60))
    task = read_pairs(write(tmp_path, text.encode()))
    train, test = sentences(task.train[0]), sentences(task.test[0])
    assert len(task.train[0]) + len(task.test[0]) == 60
    assert test and not train & test


def test_one_pair_is_enough_to_load(tmp_path):
    task = read_pairs(write(tmp_path, b"hello\thallo"))
    assert task.train[0].shape == (1, 2) and len(task.test[0]) == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"a\tb\nonly one column\n",
            r"pairs.tsv:2: expected two filled columns.*got 1 filled of 1",
        ),
        (b"a\tb\tc\td\n", r"pairs.tsv:1: expected two filled columns.*got 4 filled of 4"),
        (b"a\t\n", r"pairs.tsv:1: expected two filled columns.*got 1 filled of 2"),
        (b"a\tb\n\xff\tb\n", r"pairs.tsv:2: not UTF-8 text, byte 0xff"),
        (
            b"a\tb\n" + b"word " * 201 + b"\tb\n",
            r"pairs.tsv:2: expected at most 200 words in a sentence \(max_length\), got 201",
        ),
        (b"", r"pairs.tsv: expected at least one sentence pair, got none"),
        (b"\r\n\n", r"pairs.tsv: expected at least one sentence pair, got none"),
    ],
)
def test_read_pairs_names_the_file_and_the_line(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        read_pairs(write(tmp_path, data))


def test_a_hundred_thousand_lines_are_read_and_a_fault_in_the_last_is_found(tmp_path):
    lines = [
        f"the word w{n % 7000} stands here\tdas wort v{n % 7000} steht hier" for n in range(10**5)
    ]
    path = write(tmp_path, "\n".join(lines).encode())
    task = read_pairs(path, max_words=5000)
    assert len(task.train[0]) + len(task.test[0]) == 10**5
    assert len(task.src_vocab) == len(task.tgt_vocab) == 5000 + len(SPECIALS)
    path.write_bytes(path.read_bytes() + b"\nno second column")
    with pytest.raises(ValueError, match=r"pairs.tsv:100001: expected two filled columns"):
        read_pairs(path)


def test_text_is_split_into_words_marks_and_characters():
    assert split_text("It's 苹果, okay?") == ["it", "'", "s", "苹", "果", ",", "okay", "?"]
