"""The picture of lesson 0: its numbers are computed, and its alt text tells them all."""

import math

import pytest
import torch

from lessons_lib.kit.word_path import word_path

WORDS = ["two", "forty", "hundred"]


def picture(word="two", right="hundred"):
    vector, logits = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 2.0, 0.0])
    return word_path(word, WORDS, vector, logits, right, "Title")


def drawn():
    return [text.get_text() for text in picture().figure.axes[0].texts]


def test_it_shows_itself_and_is_the_same_bytes_each_time():
    assert picture().png() == picture().png()
    assert picture()._repr_mimebundle_()["text/plain"] == picture().alt


def test_its_numbers_are_those_of_the_arguments():
    p = torch.tensor([1.0, 2.0, 0.0]).softmax(dim=0).tolist()
    for number in ("0", "2.0", "1.0", *(f"{share:.3f}" for share in p), f"{-math.log(p[2]):.2f}"):
        assert number in drawn()


def test_it_names_every_column_and_its_shape():
    assert {"word", "id", "vector", "logits", "probabilities", "loss"} <= set(drawn())
    assert {"(B, T)", "(B, T, d_embed)", "(B, T, V)", "one number"} <= set(drawn())


def test_the_alt_text_tells_the_same():
    assert picture().alt == (
        "The word two has id 0 and the vector (2.0, 0.0). The model gives logits, softmax "
        "probabilities: two 1.0 → p 0.245, forty 2.0 → p 0.665, hundred 0.0 → p 0.090. "
        "Right is hundred, so the loss is 2.41."
    )


def test_an_unknown_word_is_an_error():
    with pytest.raises(ValueError):
        picture(word="zwei")
