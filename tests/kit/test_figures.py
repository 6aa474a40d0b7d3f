"""Figures: one picture with alt text, tokens on the axes, colours that can be told apart."""

import base64
import html
import subprocess
import sys

import pytest
import torch

from lessons_lib.kit import figures

LENGTHS = {"1–4": 1.0, "5–8": 0.9, "9–12": 0.5}
PICTURES = {
    "curves": lambda: figures.curves({"a": [1, 2, 3]}, "Title", "x", "y", 'an "alt" text'),
    "by_length": lambda: figures.by_length({"a": LENGTHS, "b": LENGTHS}, "Title", "alt"),
    "influence": lambda: figures.influence({"a": [0.5, 0.1]}, "Title", "alt", {0: "end"}),
    "losses": lambda: figures.losses({"a": [3.0] * 40}, "Title", "alt"),
    "bars": lambda: figures.bars({"zwei": 0.7, "drei": 0.3}, "Title", "share", "alt", "zwei"),
    "heatmap": lambda: figures.heatmap(
        torch.arange(6.0).reshape(2, 3), ["a", "b"], ["c", "d", "e"], "Title", "x", "y", "alt"
    ),
    "id_cells": lambda: figures.id_cells(
        torch.tensor([[5, 2], [2, 0]]), ["a", "b"], "Title", "alt"
    ),
    "bottleneck": lambda: figures.bottleneck(["one", "two"], ["zwei"], "alt"),
    "beam_tree": lambda: figures.beam_tree(
        {("a",): (0.6, True), ("b",): (0.4, False), ("a", "c"): (0.5, True)}, ("a", "c"), "T", "alt"
    ),
    "sentences": lambda: figures.sentences(
        {"one": [("a b", True), ("", False)], "two": [("c " * 100, True)]}, "T", "alt"
    ),
    "heads": lambda: figures.heads(
        torch.eye(2).expand(3, 2, 2), ["a", "b"], ["c", "d"], "T", "x", "y", "alt"
    ),
    "on_a_line": lambda: figures.on_a_line(
        {"one": [0.5, 0.5], "two": [0.0, 1.0]}, "Title", "alt", [3, 7]
    ),
    "looking_back": lambda: figures.looking_back(["a", "b"], ["c"], 0, [0.7, 0.3], "alt"),
    "transformer": lambda: figures.transformer("alt"),
    "clocks": lambda: figures.clocks(
        torch.tensor([[0.0, 0.0], [1.0, 0.1]]), ["a", "b"], "T", "alt"
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_shows_itself_with_its_alt_text(name):
    picture = PICTURES[name]()
    bundle = picture._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert bundle["text/plain"] == picture.alt
    assert f'alt="{html.escape(picture.alt)}"' in bundle["text/html"]
    assert bundle["image/png"] in bundle["text/html"]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_the_same_bytes_each_time(name):
    assert PICTURES[name]().png() == PICTURES[name]().png()


def test_every_series_has_its_own_colour_mark_and_name():
    axes = figures.curves({"a": LENGTHS, "b": LENGTHS}, "t", "x", "y", "alt").figure.axes[0]
    first, second = axes.get_lines()
    assert first.get_color() != second.get_color()
    assert first.get_marker() != second.get_marker()
    assert first.get_linestyle() != second.get_linestyle()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(LENGTHS)


def test_a_level_is_a_thin_line_with_its_name():
    level = {"all alike": 0.6}
    axes = figures.curves({"a": LENGTHS}, "t", "x", "y", "alt", level=level).figure.axes[0]
    line = axes.get_lines()[0]
    assert list(line.get_ydata()) == [0.6, 0.6] and line.get_linewidth() == 1
    assert [text.get_text() for text in axes.texts] == ["all alike"]


def test_a_limit_is_a_line_with_its_name_in_the_legend():
    picture = figures.curves({"a": [1, 2, 3]}, "t", "x", "y", "alt", limit=(1.5, "up to here"))
    axes = picture.figure.axes[0]
    assert list(axes.get_lines()[-1].get_xdata()) == [1.5, 1.5]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "up to here"]


def test_losses_are_smoothed_over_the_window():
    values = [float(i) for i in range(30)]
    axes = figures.losses({"a": values}, "t", "alt", window=10).figure.axes[0]
    raw, smooth = axes.get_lines()
    assert list(raw.get_ydata()) == values
    assert smooth.get_xdata()[0] == 9 and smooth.get_ydata()[0] == pytest.approx(4.5)


def test_a_heatmap_puts_tokens_on_both_axes_and_numbers_in_cells():
    matrix = torch.tensor([[0.25, -1.0], [0.5, 1.0], [0.0, 0.75]])
    picture = figures.heatmap(
        matrix, ["r1", "r2", "r3"], ["c1", "c2"], "t", "x", "y", "alt", numbers=True
    )
    axes = picture.figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["r1", "r2", "r3"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["c1", "c2"]
    assert [text.get_text() for text in axes.texts] == [f"{v:.2f}" for v in matrix.flatten()]


def test_a_heatmap_leaves_small_numbers_out():
    look = {"numbers": True, "least": 0.05}
    axes = figures.heatmap(
        torch.tensor([[0.04, 0.05], [-0.5, 0.0]]),
        ["r", "s"],
        ["c", "d"],
        "t",
        "x",
        "y",
        "a",
        **look,
    ).figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.05", "-0.50"]


def test_a_heatmap_names_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"matrix must have shape \(1, 2\).*got \(2, 2\)"):
        figures.heatmap(torch.zeros(2, 2), ["a"], ["b", "c"], "t", "x", "y", "alt")


def test_a_heatmap_of_lower_rows_is_lower():
    def height(**kwargs):
        picture = figures.heatmap(torch.eye(2), "ab", "cd", "t", "x", "y", "alt", **kwargs)
        return picture.figure.get_figheight()

    assert height(row_height=0.2) == pytest.approx(height() - 2 * (0.42 - 0.2))


def test_cells_of_ids_are_coloured_by_kind_and_not_by_size():
    axes = figures.id_cells(torch.tensor([[5, 33, 2, 0]]), ["a"], "t", "alt").figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["5", "33", "2", "0"]
    assert axes.collections[0].get_array().flatten().tolist() == [0, 0, 1, 2]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["a word", "<eos>", "<pad>"]


def test_cells_of_ids_hold_their_words_too():
    vocab = ["<pad>", "<bos>", "<eos>", "<unk>", "zero", "one"]
    axes = figures.id_cells(torch.tensor([[5, 4, 2, 0]]), ["a"], "t", "alt", vocab).figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["5", "one", "4", "zero", "2", "0"]


def test_groups_of_bars_are_named_once_in_their_middle():
    values = {("g", "a"): 0.1, ("g", "b"): 0.2, ("h", "a"): 0.3}
    axes = figures.bars(values, "t", "y", "alt", highlight=[("h", "a")]).figure.axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a", "b", "a"]
    below = axes.child_axes[0]
    assert list(below.get_xticks()) == [0.5, 2.0]
    assert [tick.get_text() for tick in below.get_xticklabels()] == ["g", "h"]
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert colours[0] == colours[1] != colours[2]


def test_hands_of_clocks_start_at_twelve_and_go_clockwise():
    quarter = torch.tensor([[0.0], [torch.pi / 2]])
    axes = figures.clocks(quarter, ["a"], "t", "alt").figure.axes[0]
    hands = [line.get_xydata().tolist() for line in axes.get_lines()[::2]]
    assert hands[0] == [[0, 0], [0, pytest.approx(-0.36)]]  # up: the axis of clocks points down
    assert hands[1] == [[1, 0], [pytest.approx(1.36), pytest.approx(0, abs=1e-6)]]


def test_house_style_stays_in_the_house():
    import matplotlib

    before = dict(matplotlib.rcParams)
    PICTURES["curves"]().png()
    assert dict(matplotlib.rcParams) == before


def test_matplotlib_is_imported_only_when_something_is_drawn():
    code = "import sys, lessons_lib.kit.figures; print('matplotlib' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "False", result.stderr
