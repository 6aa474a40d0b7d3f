"""Diagrams: computed numbers, tokens beside them, and no text that hides another."""

import subprocess
import sys
from functools import cache
from itertools import combinations

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text

from lessons_lib.bahdanau_attention import AdditiveAttention
from lessons_lib.kit import diagrams, figures

LINE = "the animal did not cross the street because it was too tired"
WORDS = LINE.split()
IT = WORDS.index("it")
TIRED = torch.tensor([0.02, 0.41, 0.01, 0.01, 0.05, 0.02, 0.09, 0.03, 0.12, 0.04, 0.03, 0.17])
WIDE = TIRED[[0, 6, 2, 3, 4, 5, 1, 7, 8, 9, 10, 11]]  # animal and street have changed places
# The hand calculation of lesson 3: the row of "it" gives weights .665 .090 .245.
BY_HAND = (
    torch.eye(3),
    torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0], [2.0, 0.0, 1.0, 1.0]]),
    torch.tensor([[1.0, 5.0, 1.0, 1.0], [0.0, 3.0, 1.0, -1.0], [1.0, 1.0, 0.0, 0.0]]),
    torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
)
LOGITS = torch.tensor([2.0, 3.1, 2.4, 1.1, -1.0, 0.2])
NUMBERS = ["zwei", "vierzig", "fünfzig", "und", "tausend", "hundert"]
LARGE = [torch.linspace(-3.123, 4.321, 16).reshape(4, 4) for _ in range(4)]
LONG = ["three", "hundred", "thousand", "<eos>"]

NOTES = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
# The hand calculation of lesson 2: scores .2383 1.7566 .2335, weights .1524 .6958 .1517.
STEP = (torch.tensor([3.0, -1.0]), NOTES, torch.eye(2), torch.eye(2), torch.ones(2))
ONE = [torch.ones(size) for size in ((1,), (1, 1), (1, 1), (1, 1), (1,))]

PICTURES = {
    "decoder_step": lambda: diagrams.decoder_step(
        *STEP, ["forty", "two", "<eos>"], ["<bos>", "zwei"], "Title", "alt"
    ),
    "step of one": lambda: diagrams.decoder_step(*ONE, ["it"], ["<bos>", "es"], "Title", "alt"),
    "step of four": lambda: diagrams.decoder_step(
        LARGE[0][0], *LARGE[:3], LARGE[0][1], LONG, ["hundert", "tausend"], "Title", "alt"
    ),
    "qkv": lambda: diagrams.qkv(*BY_HAND, ["cat", "mat", "it"], "Title", "alt", follow=2),
    "qkv of one": lambda: diagrams.qkv(*[torch.ones(1, 1)] * 4, ["it"], "Title", "alt"),
    "qkv of four": lambda: diagrams.qkv(*LARGE, LONG, "Title", "alt"),
    "arcs": lambda: diagrams.arcs(TIRED, WORDS, IT, "What “it” attends to", "alt"),
    "arcs from the first": lambda: diagrams.arcs(torch.ones(2) / 2, ["a", "b"], 0, "T", "alt"),
    "arcs in panels": lambda: diagrams.arcs(
        torch.stack([TIRED, WIDE]),
        [WORDS, [*WORDS[:-1], "wide"]],
        IT,
        "Two layers",
        "alt",
        ["two layers of self-attention, tired", "wide"],
    ),
    "mask_card": lambda: diagrams.mask_card(6, "alt", "Six masks"),
    "mask_card of 4": lambda: diagrams.mask_card(4, "alt", "Six masks"),
    "mask_card of 10": lambda: diagrams.mask_card(10, "alt", "Six masks"),
    "alignment": lambda: diagrams.alignment(
        torch.eye(3), ["zwei", "und", "vierzig"], ["a", "two", "d"], "Title", "alt", [(0, 1)]
    ),
    "bars_of_temperature": lambda: diagrams.bars_of_temperature(
        LOGITS, [0.5, 1.0, 2.0], NUMBERS, "Title", "alt", top_p=0.9
    ),
    "bars of two words": lambda: diagrams.bars_of_temperature(
        torch.zeros(2), [1.0, 2.0], ["a", "b"], "Title", "alt", top_p=0.5
    ),
}


@cache
def drawn(name):
    """The picture of that name, drawn once, so that every text has its place."""
    picture = PICTURES[name]()
    FigureCanvasAgg(picture.figure).draw()
    return picture


def written(picture):
    """All texts that can be seen."""
    texts = picture.figure.findobj(Text)
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def words(picture):
    return [text.get_text() for text in written(picture)]


def numbers(matrix, digits):
    return [f"{value:.{digits}f}".replace("-", "−") for value in matrix.flatten().tolist()]


@pytest.mark.parametrize("name", PICTURES)
def test_no_text_hides_another_or_leaves_the_picture(name):
    picture = drawn(name)
    texts = written(picture)
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    whole = picture.figure.bbox
    for word, box in boxes:
        assert box.x0 >= whole.x0 and box.x1 <= whole.x1, word
        assert box.y0 >= whole.y0 and box.y1 <= whole.y1, word
    for (word, box), (other, other_box) in combinations(boxes, 2):
        apart_x = box.x1 <= other_box.x0 + 1 or other_box.x1 <= box.x0 + 1
        apart_y = box.y1 <= other_box.y0 + 1 or other_box.y1 <= box.y0 + 1
        assert apart_x or apart_y, f"{word!r} and {other!r} overlap"


@pytest.mark.parametrize("name", PICTURES)
def test_letters_are_large_enough(name):
    assert min(text.get_fontsize() for text in written(drawn(name))) >= 10.5


@pytest.mark.parametrize("name", [name for name in PICTURES if " " not in name])
def test_a_picture_is_the_same_bytes_each_time(name):
    assert PICTURES[name]().png() == PICTURES[name]().png()


@pytest.mark.parametrize("alt", ["", "  ", None])
def test_every_picture_needs_its_alt_text(alt):
    with pytest.raises(ValueError, match="alt must say in words what the picture shows, got"):
        diagrams.mask_card(6, alt, "Title")
    with pytest.raises(ValueError, match="alt must say in words"):
        figures.bars({"a": 1.0}, "Title", "y", alt)


def test_qkv_writes_the_numbers_of_the_computation():
    x, w_q, w_k, w_v = BY_HAND
    picture = drawn("qkv")
    texts = words(picture)
    scores = w_q @ w_k.T / 2  # (3, 3): x is the identity, and √d_k is 2
    weights = scores.softmax(dim=-1)  # (3, 3)
    expected = [number for m in (x, w_q, w_q, w_k, w_k, w_v, w_v) for number in numbers(m, 0)]
    expected += numbers(scores, 1) + numbers(weights, 2) + numbers(weights @ w_v, 2)
    assert [text for text in texts if text.lstrip("−")[0].isdigit()] == expected
    assert expected[-6:] == ["0.88", "0.45", "0.89", "0.18", "0.91", "0.33"]
    assert expected[-9:-6] == ["0.67", "0.09", "0.24"]


def test_qkv_names_rows_keys_and_shapes():
    texts = words(drawn("qkv"))
    assert texts.count("cat") == texts.count("it") == 7 + 2  # rows of seven matrices, two of keys
    assert [text for text in texts if text.startswith("(")].count("(3, 4)") == 4
    assert [text for text in texts if text.startswith("(")].count("(3, 2)") == 3
    assert [text for text in texts if text.startswith("(")].count("(3, 3)") == 3
    for name in ("$X$", "$W_q$", "$Q = XW_q$", "$K = XW_k$", "$V = XW_v$", "weights", "context"):
        assert texts.count(name) == 1
    followed = [text for text in written(drawn("qkv")) if text.get_weight() == "bold"]
    assert [text.get_text() for text in followed].count("it") == 5  # X, Q, scores, weights, context


def test_no_number_is_written_as_minus_zero():
    texts = words(diagrams.qkv(*[torch.full((1, 1), -0.001)] * 4, ["it"], "Title", "alt"))
    assert "0.00" in texts and not [text for text in texts if text.startswith(("−0", "-0"))]


@pytest.mark.parametrize(
    "sizes, message",
    [
        ([(2, 3), (3, 4), (3, 4), (3, 2)], r"x must have shape \(3, d\).*got \(2, 3\)"),
        ([(3, 3), (4, 4), (3, 4), (3, 2)], r"w_q must have shape \(3, d_k\).*got \(4, 4\)"),
        ([(3, 3), (3, 4), (3, 2), (3, 2)], r"w_k must have shape \(3, 4\).*got \(3, 2\)"),
        ([(3, 3), (3, 4), (3, 4), (2, 2)], r"w_v must have shape \(3, d_v\).*got \(2, 2\)"),
        ([(3, 3), (3, 5), (3, 5), (3, 2)], "each size of w_q must be at most 4, got 5"),
        ([(3, 3), (3, 4), (3, 4), (3, 9)], "each size of w_v must be at most 4, got 9"),
    ],
)
def test_qkv_names_shapes_that_do_not_fit(sizes, message):
    with pytest.raises(ValueError, match=message):
        diagrams.qkv(*[torch.zeros(size) for size in sizes], ["a", "b", "c"], "Title", "alt")


def test_qkv_follows_only_rows_that_there_are():
    with pytest.raises(ValueError, match="follow must be a whole number from 0 to 2, got 3"):
        diagrams.qkv(*BY_HAND, ["cat", "mat", "it"], "Title", "alt", follow=3)
    with pytest.raises(TypeError, match="w_q must be a tensor, got list"):
        diagrams.qkv(torch.eye(1), [[1.0]], torch.eye(1), torch.eye(1), ["it"], "Title", "alt")


def test_a_decoder_step_writes_the_numbers_of_the_attention():
    attend = AdditiveAttention(d_query=2, d_key=2, d_a=2)
    state, notes, w_a, u_a, v_a = STEP
    for linear, weight in ((attend.w_a, w_a.T), (attend.u_a, u_a.T), (attend.v_a, v_a[None])):
        linear.weight = torch.nn.Parameter(weight)
    query, projected = state[None, None], attend.project(notes[None])
    scores = attend.scores(query, projected[0])  # (1, 1, 3)
    weights = attend.weights(query, projected)  # (1, 1, 3)
    context = attend(query, projected)  # (1, 1, 2)
    inside = (state + notes).tanh()  # (3, 2)
    columns = [
        numbers(notes[j], 0) * 2
        + numbers(inside[j], 2)
        + numbers(scores[..., j], 2)
        + numbers(weights[..., j], 2)
        for j in range(3)
    ]
    expected = [number for column in columns for number in column]
    expected += numbers(context, 2) + numbers(state, 0) * 2
    texts = words(drawn("decoder_step"))
    assert [text for text in texts if text.lstrip("−")[0].isdigit()] == expected
    assert columns[1][-2:] == ["1.76", "0.70"]


def test_a_decoder_step_applies_its_weights_and_names_what_it_draws():
    state, notes, w_a, u_a, v_a = STEP
    tokens, written_words = ["forty", "two", "<eos>"], ["<bos>", "zwei"]
    picture = diagrams.decoder_step(
        state, notes, 2 * w_a, 3 * u_a, -v_a, tokens, written_words, "Title", "alt"
    )
    scores = -(2 * state + 3 * notes).tanh().sum(dim=1)  # (3,)
    texts = words(picture)
    for number in ["6", "−2", *numbers(scores, 2), *numbers(scores.softmax(dim=0), 2)]:
        assert number in texts
    for name in (*tokens, "word before: <bos>", "zwei", "GRU", "logits", "softmax"):
        assert texts.count(name) == 1


def test_a_decoder_step_draws_heavier_weights_thicker():
    lines = drawn("decoder_step").figure.axes[0].get_lines()
    widths = [line.get_linewidth() for line in lines if line.get_color() == figures.PURPLE]
    weights = (STEP[0] + NOTES).tanh().sum(dim=1).softmax(dim=0)  # (3,)
    assert widths == pytest.approx((1 + 9 * weights).tolist())


@pytest.mark.parametrize(
    "place, size, message",
    [
        (0, (2, 1), r"state must have shape \(d_query,\).*got \(2, 1\)"),
        (1, (2, 2), r"annotations must have shape \(3, d_key\).*got \(2, 2\)"),
        (2, (3, 2), r"w_a must have shape \(2, d_a\).*got \(3, 2\)"),
        (3, (2, 3), r"u_a must have shape \(2, 2\).*got \(2, 3\)"),
        (4, (3,), r"v_a must have shape \(2,\).*got \(3,\)"),
        (1, (3, 5), r"u_a must have shape \(5, 2\)"),
    ],
)
def test_a_decoder_step_names_shapes_that_do_not_fit(place, size, message):
    given = [*STEP[:place], torch.zeros(size), *STEP[place + 1 :]]
    with pytest.raises(ValueError, match=message):
        diagrams.decoder_step(*given, ["a", "b", "c"], ["d", "e"], "Title", "alt")


def test_a_decoder_step_names_what_else_it_cannot_draw():
    five = [torch.zeros(size) for size in ((5,), (5, 5), (5, 5), (5, 5), (5,))]
    with pytest.raises(ValueError, match="each size of annotations must be at most 4, got 5"):
        diagrams.decoder_step(*five, list("abcde"), ["d", "e"], "Title", "alt")
    for not_two in ["zwei"], "ab":
        with pytest.raises(ValueError, match="written must be two words, before and now, got"):
            diagrams.decoder_step(*STEP, ["a", "b", "c"], not_two, "Title", "alt")
    with pytest.raises(TypeError, match="state must be a tensor, got list"):
        diagrams.decoder_step([3, -1], *STEP[1:], ["a", "b", "c"], ["d", "e"], "Title", "alt")


def test_arcs_are_as_wide_as_their_weights_and_write_those_that_count():
    picture = drawn("arcs")
    lines = picture.figure.axes[0].get_lines()
    assert len(lines) == len(WORDS)
    widths = torch.tensor([line.get_linewidth() for line in lines])
    assert torch.equal(widths.argsort(stable=True), TIRED.argsort(stable=True))
    alphas = torch.tensor([line.get_alpha() for line in lines])
    assert torch.equal(alphas.argsort(stable=True), TIRED.argsort(stable=True))
    texts = words(picture)
    assert [text for text in texts if text in WORDS] == WORDS
    assert [text for text in texts if text[0] == "0"] == ["0.41", "0.05", "0.09", "0.12", "0.17"]
    start = picture.figure.axes[0].get_lines()[1].get_xdata()  # from "it" to "animal"
    places = {text.get_text(): text.get_position()[0] for text in written(picture)}
    assert sorted([start[0], start[-1]]) == pytest.approx([places["animal"], places["it"]])


def test_arcs_of_panels_stand_side_by_side_under_their_names():
    picture = drawn("arcs in panels")
    texts = words(picture)
    assert texts.count("animal") == 2 and texts.count("tired") == 1 and texts.count("wide") == 2
    columns = [t.get_position()[0] for t in written(picture) if t.get_text() == "animal"]
    assert columns[0] < columns[1]
    assert texts.count("0.41") == texts.count("0.09") == 2
    same = diagrams.arcs(torch.stack([TIRED, WIDE]), WORDS, IT, "Title", "alt")
    assert words(same).count("tired") == 2


def test_no_arc_is_drawn_for_no_weight():
    picture = diagrams.arcs(torch.tensor([0.0, 1.0]), ["a", "b"], 1, "Title", "alt")
    assert len(picture.figure.axes[0].get_lines()) == 1
    nothing = diagrams.arcs(torch.zeros(2), ["a", "b"], 1, "Title", "alt")  # a fully masked row
    assert len(nothing.figure.axes[0].get_lines()) == 0


@pytest.mark.parametrize(
    "weights, tokens, query, names, message",
    [
        (torch.ones(3) / 3, ["a", "b"], 0, None, r"weights must have shape \(2,\).*got \(3,\)"),
        (torch.zeros(1, 1, 2), ["a", "b"], 0, None, r"weights must have shape \(2,\).*\(1, 1, 2\)"),
        (torch.zeros(2, 3), ["a", "b"], 0, None, r"weights must have shape \(2, 2\).*\(2, 3\)"),
        (torch.zeros(2, 2), [["a", "b"]] * 3, 0, None, r"weights must have shape \(3, 2\)"),
        (torch.zeros(2, 2), [["a", "b"], ["a"]], 0, None, "tokens must be 2 in each panel, got 1"),
        (torch.ones(2) / 2, ["a", "b"], 2, None, "query must be a whole number from 0 to 1, got 2"),
        (torch.ones(2), ["a", "b"], 0, None, "sum to 1 in each panel, got .* a largest sum of 2"),
        (torch.tensor([1.5, -0.5]), ["a", "b"], 0, None, "at least 0 .* least weight of -0.5"),
        (torch.zeros(2, 2), ["a", "b"], 0, ["one"], "one for each of 2 panels, got 1"),
        (torch.zeros(0), [], 0, None, "tokens must hold at least one token, got none"),
    ],
)
def test_arcs_name_what_does_not_fit(weights, tokens, query, names, message):
    with pytest.raises(ValueError, match=message):
        diagrams.arcs(weights, tokens, query, "Title", "alt", names)


def test_the_masks_of_the_card_are_the_masks():
    picture = drawn("mask_card")
    grids = {axes.get_title(loc="left"): axes for axes in picture.figure.axes if axes.images}
    T = 6
    expected = {
        "causal": lambda i, j: j <= i,
        "padding": lambda i, j: j < 4,
        "causal and padding": lambda i, j: 2 <= j <= i,
        "prefix": lambda i, j: j <= i or j < 3,
        "sliding window": lambda i, j: i - 2 <= j <= i,
        "packed documents": lambda i, j: j <= i and (i < 4) == (j < 4),
    }
    assert list(grids) == list(expected)
    for name, allowed in expected.items():
        cells = grids[name].images[0].get_array().tolist()
        assert cells == [[int(allowed(i, j)) for j in range(T)] for i in range(T)], name
        assert grids[name].images[0].get_cmap().name == "Blues"
        rows = [tick.get_text() for tick in grids[name].get_yticklabels()]
        columns = [tick.get_text() for tick in grids[name].get_xticklabels()]
        assert rows == columns and len(rows) == T
    assert rows == ["a1", "a2", "a3", "a4", "b1", "b2"]
    texts = words(picture)
    assert sum(text.startswith("attends to ") for text in texts) == 6
    assert sum(text.startswith("used ") for text in texts) == 6


@pytest.mark.parametrize("T", [3, 11, 0, 6.0, True])
def test_the_card_names_sizes_that_it_cannot_draw(T):
    with pytest.raises(ValueError, match=r"T must be a whole number .*, got"):
        diagrams.mask_card(T, "alt", "Title")


def test_crossings_are_outlined_and_keys_stand_on_top():
    axes = drawn("alignment").figure.axes[0]
    (frame,) = axes.patches
    assert frame.get_xy() == (0.5, -0.5)  # around column 1 of row 0
    assert not frame.get_fill() and to_hex(frame.get_edgecolor()) == figures.RED.lower()
    assert axes.xaxis.get_ticks_position() == axes.xaxis.get_label_position() == "top"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a", "two", "d"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["zwei", "und", "vierzig"]


@pytest.mark.parametrize("cell", [(3, 0), (0, 3), (-1, 0)])
def test_a_crossing_outside_is_named(cell):
    with pytest.raises(ValueError, match="outlined must hold cells of 2 rows and 3 columns, got"):
        diagrams.alignment(torch.zeros(2, 3), "ab", "cde", "Title", "alt", [cell])


def test_temperatures_show_their_softmax_from_the_likeliest_down():
    picture = drawn("bars_of_temperature")
    order = ["vierzig", "fünfzig", "zwei", "und", "hundert", "tausend"]
    ordered = torch.tensor([3.1, 2.4, 2.0, 1.1, 0.2, -1.0])
    assert [tick.get_text() for tick in picture.figure.axes[0].get_yticklabels()] == order
    for axes, temperature, kept in zip(
        picture.figure.axes, (0.5, 1.0, 2.0), (2, 4, 5), strict=True
    ):
        assert axes.get_title(loc="left") == f"temperature {temperature:g}"
        shares = (ordered / temperature).softmax(dim=0)  # (V,)
        cut, *values = [text.get_text() for text in axes.texts][::-1]
        assert values[::-1] == [f"{share:.2f}" for share in shares]
        assert cut == f"top-p 0.9: {kept} kept, sum {shares[:kept].sum():.2f}"
        assert shares[: kept - 1].sum() < 0.9 <= shares[:kept].sum()
        colours = [to_hex(bar.get_facecolor()) for bar in axes.patches]
        assert colours[:kept] == [figures.BLUE.lower()] * kept
        assert len({*colours[kept:]}) == 1 and figures.BLUE.lower() not in colours[kept:]
        assert list(axes.get_lines()[0].get_ydata()) == [kept - 0.5] * 2


def test_top_p_is_reached_by_shares_that_sum_to_it():
    picture = diagrams.bars_of_temperature(
        torch.tensor([0.5, 0.4, 0.1]).log(), [1.0, 9.0], ["rain", "it", "snow"], "T", "alt", 0.9
    )
    exact, hot = picture.figure.axes
    assert exact.texts[-1].get_text() == "top-p 0.9: 2 kept, sum 0.90"
    assert hot.texts[-1].get_text() == "top-p 0.9: 3 kept, sum 1.00" and not hot.get_lines()


def test_without_top_p_nothing_is_cut():
    picture = diagrams.bars_of_temperature(LOGITS, [1.0], NUMBERS, "Title", "alt")
    assert not picture.figure.axes[0].get_lines()
    assert {to_hex(bar.get_facecolor()) for bar in picture.figure.axes[0].patches} == {
        figures.BLUE.lower()
    }


@pytest.mark.parametrize(
    "logits, temperatures, top_p, message",
    [
        (torch.zeros(3), [1.0], None, r"logits must have shape \(2,\).*got \(3,\)"),
        (torch.zeros(2), [1.0, 0.0], None, r"temperatures must be .*above 0, got \[1.0, 0.0\]"),
        (torch.zeros(2), [], None, r"temperatures must be one or more, all above 0, got \[\]"),
        (torch.zeros(2), [1.0], 0.0, "top_p must be above 0 and at most 1, got 0.0"),
        (torch.zeros(2), [1.0], 1.5, "top_p must be above 0 and at most 1, got 1.5"),
    ],
)
def test_temperatures_name_what_does_not_fit(logits, temperatures, top_p, message):
    with pytest.raises(ValueError, match=message):
        diagrams.bars_of_temperature(logits, temperatures, ["a", "b"], "Title", "alt", top_p)


def test_matplotlib_is_imported_only_when_something_is_drawn():
    code = "import sys, lessons_lib.kit.diagrams; print('matplotlib' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "False", result.stderr
