"""Sketches: what is written in them is computed, no words overlap, every arrow meets its box."""

import base64
import subprocess
import sys
from itertools import combinations, pairwise
from math import degrees, hypot, radians

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle, Wedge
from matplotlib.text import Annotation

from lessons_lib.kit import figures, sketches
from lessons_lib.multi_head_attention import merge_heads, split_heads
from lessons_lib.positional_encoding import alibi_bias, rotate

WORDS = ["drei", "hundert", "zwei", "und", "vierzig", "tausend"]
PICTURES = {
    "slabs 3": lambda: sketches.slabs(5, 12, 3, "Title", "alt"),
    "slabs 4": lambda: sketches.slabs(5, 12, 4, "Title", "alt"),
    "slabs, small": lambda: sketches.slabs(1, 2, 2, "Title", "alt"),
    "slabs, large": lambda: sketches.slabs(9, 60, 6, "Title", "alt"),
    "rope": lambda: sketches.rope_arrows(0.5, [(1, 3), (5, 7)], "Title", "alt"),
    "rope, looking back": lambda: sketches.rope_arrows(radians(30), [(3, 1), (7, 5)], "T", "alt"),
    "rope, three": lambda: sketches.rope_arrows(0.1, [(0, 0), (9, 9), (70, 70)], "T", "alt"),
    "alibi": lambda: sketches.alibi_triangle(6, [0.5, 0.0625], WORDS, "Title", "alt"),
    "alibi, one": lambda: sketches.alibi_triangle(4, [0.25], list("abcd"), "A longer title", "alt"),
    "cache": lambda: sketches.cache_grid(4, "Title", "alt"),
    "cache, one step": lambda: sketches.cache_grid(1, "Title", "alt"),
    "cache, six steps": lambda: sketches.cache_grid(6, "Title", "alt"),
    "merges": lambda: sketches.merge_tree(
        "seventeen", [("e", "n"), ("e", "v"), ("s", "ev"), ("en", "t")], "Title", "alt"
    ),
    "merges, long": lambda: sketches.merge_tree(
        ["␣", *"abc" * 7], [("a", "b"), ("ab", "c"), ("abc", "abc")], "Title", "alt"
    ),
    "merges, none": lambda: sketches.merge_tree(["a"], [], "Title", "alt"),
    "a long title": lambda: sketches.alibi_triangle(3, [0], list("abc"), "Title " * 15, "alt"),
    "transformer": lambda: figures.transformer("alt"),
    "transformer of 2": lambda: figures.transformer("alt", n_layers=2),
}


def texts(picture):
    """All words of a picture, with the box around each, in inches."""
    canvas = FigureCanvasAgg(picture.figure)
    canvas.draw()
    drawn = picture.figure.axes[0].texts
    inches = picture.figure.dpi_scale_trans.inverted()
    return [
        (text.get_text(), text.get_window_extent().transformed(inches))
        for text in drawn
        if text.get_text()
    ]


def written(picture):
    return [text.get_text() for text in picture.figure.axes[0].texts if text.get_text()]


@pytest.mark.parametrize("name", PICTURES)
def test_a_sketch_shows_itself_and_is_the_same_bytes_each_time(name):
    bundle = PICTURES[name]()._repr_mimebundle_()
    png = base64.b64decode(bundle["image/png"])
    assert png.startswith(b"\x89PNG") and png == PICTURES[name]().png()
    assert bundle["text/plain"] == "alt"


@pytest.mark.parametrize("name", PICTURES)
def test_no_words_overlap_or_leave_the_picture(name):
    picture = PICTURES[name]()
    boxes = texts(picture)
    width, height = picture.figure.get_size_inches()
    for text, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"{text!r} leaves the picture"
    for (text, box), (other, beside) in combinations(boxes, 2):
        assert not box.overlaps(beside), f"{text!r} lies on {other!r}"


def test_the_overlap_test_finds_words_on_words():
    picture = sketches.cache_grid(2, "Title", "alt")
    picture.figure.axes[0].text(0.2, 0.35, "something planted over the legend")
    found = [box for _, box in texts(picture)]
    assert any(box.overlaps(beside) for box, beside in combinations(found, 2))


# Heads as slabs


def test_slabs_are_coloured_as_the_heads_are_projected_split_and_merged():
    T, d_model, H = 5, 12, 3
    meshes = sketches.slabs(T, d_model, H, "t", "alt").figure.axes[0].collections
    colours = [mesh.get_array() for mesh in meshes]
    words, whole, merged, mixed = (torch.tensor(c.data) for c in colours[:4])
    split = split_heads(whole[None], H)[0]  # (H, T, d_k)
    for h in range(H):
        for mesh in colours[4 + 2 * h : 6 + 2 * h]:  # before and after its attention
            assert torch.equal(torch.tensor(mesh.data), split[h])
            assert (split[h] == h).all()
    assert torch.equal(merge_heads(split[None])[0], merged)
    assert len(mixed.unique()) == 1 and mixed.shape == (T, d_model)
    assert mixed.unique() not in whole.unique()
    assert torch.equal(words, mixed)  # grey: no head's own, before the projection as after W_o
    assert len(meshes) == 4 + 2 * H


def test_the_shapes_stand_below_the_slabs():
    says = written(sketches.slabs(5, 12, 4, "t", "alt"))
    for shape in "(B, T, d_model)", "(B, H, T, d_k)", "(B, T, H · d_k)", "T = 5", "d_k = 3":
        assert shape in says
    x = split_heads(torch.zeros(1, 5, 12), 4)
    assert says.count(f"(B, {', '.join(map(str, x.shape[1:]))})") == 2
    assert says.count("(B, 5, 12)") == 4
    assert says.count("attention") == 4
    assert says.count("· W_q") == says.count("· W_o") == 1


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 12, 3), "T must be a whole number of at least 1, got 0"),
        ((5, 12, 5), "d_model must be divisible by 5, got 12"),
        ((5, 12, 0), "n_heads must be a whole number of at least 1, got 0"),
        ((5, 64, 8), "n_heads must be at most 6, got 8"),
    ],
)
def test_slabs_name_sizes_that_do_not_fit(sizes, message):
    with pytest.raises(ValueError, match=message):
        sketches.slabs(*sizes, "t", "alt")


# RoPE's arrows


def directions(picture):
    """Where the arrows point, in degrees: query and key of each panel, one after the other."""
    arrows = [t for t in picture.figure.axes[0].texts if isinstance(t, Annotation)]
    ends = [complex(*a.xy) - complex(*a.xyann) for a in arrows]
    return torch.tensor([[e.real, e.imag] for e in ends])


def test_arrows_are_turned_as_rope_turns_them():
    pairs = [(1, 3), (5, 7)]
    drawn = directions(sketches.rope_arrows(1.0, pairs, "t", "alt"))  # (4, 2)
    at_zero = directions(sketches.rope_arrows(1.0, [(0, 0), (0, 0)], "t", "alt"))[:2]
    turned = rotate(at_zero[:, None].expand(2, 8, 2))  # (2, T, 2): 1 radian a position
    expected = [turned[which, t] for pair in pairs for which, t in enumerate(pair)]
    assert torch.allclose(drawn, torch.stack(expected), atol=1e-5)
    assert torch.allclose(drawn[0] @ drawn[1], drawn[2] @ drawn[3])  # the dot product stays


def test_the_angles_written_are_those_of_the_arrows():
    picture = sketches.rope_arrows(radians(30), [(3, 1), (7, 5)], "t", "alt")
    says = written(picture)
    for turned in "query: turned by 90°", "key: turned by 30°", "query: turned by 210°":
        assert turned in says
    drawn = directions(picture)
    for query, key in (drawn[:2], drawn[2:]):
        cosine = torch.cosine_similarity(query, key, dim=0)
        assert degrees(cosine.acos()) == pytest.approx(35, abs=1e-3)
    assert says.count("angle between them: 35°") == 2 and says.count("35°") == 2
    wedges = [p for p in picture.figure.axes[0].patches if isinstance(p, Wedge)]
    assert [w.theta2 - w.theta1 for w in wedges] == [pytest.approx(35)] * 2


@pytest.mark.parametrize("pairs", [[(1, 3)], [(1, 3), (5, 8)], [(0, 1)] * 4])
def test_arrows_name_positions_that_do_not_fit(pairs):
    with pytest.raises(ValueError, match=r"two or three pairs .* equally far apart, got \[\("):
        sketches.rope_arrows(0.5, pairs, "t", "alt")


def test_arrows_take_no_degrees():
    with pytest.raises(ValueError, match="must be in radians, at most 2π, got 30"):
        sketches.rope_arrows(30, [(1, 3), (5, 7)], "t", "alt")


# ALiBi's triangle


def test_the_triangle_holds_the_biases_and_nothing_ahead():
    T, H = 6, 4
    biases = alibi_bias(T, H)  # (H, T, T)
    slopes = (-biases[:2, 1, 0]).tolist()
    axes = sketches.alibi_triangle(T, slopes, WORDS, "t", "alt").figure.axes[0]
    numbers = [t.get_text() for t in axes.texts if t.get_text().strip("−.0123456789") == ""]
    below = torch.ones(T, T).tril().bool()
    expected = torch.cat([bias[below] for bias in biases[:2]])  # row after row, without the future
    read = torch.tensor([float(n.replace("−", "-")) for n in numbers])
    assert torch.equal(read, expected)
    for mesh, bias in zip(axes.collections, biases[:2], strict=True):
        cells = mesh.get_array()
        assert torch.equal(torch.tensor(cells.mask), ~below)  # blank
        assert torch.equal(torch.tensor(cells.data)[below], bias[below])


def test_numbers_fit_into_their_cells():
    picture = sketches.alibi_triangle(6, [0.5, 0.0625], WORDS, "t", "alt")
    corners = picture.figure.axes[0].collections[0].get_coordinates()
    cell = corners[0, 1, 0] - corners[0, 0, 0]
    assert all(box.width < cell for text, box in texts(picture) if text.startswith("−"))


@pytest.mark.parametrize(
    ("T", "slopes", "message"),
    [
        (5, [0.5], "tokens must be T = 5 words, got 6"),
        (6, [], "slopes must be one to three numbers, none below 0"),
        (6, [-0.5], r"none below 0, got \[-0.5\]"),
    ],
)
def test_the_triangle_names_what_does_not_fit(T, slopes, message):
    with pytest.raises(ValueError, match=message):
        sketches.alibi_triangle(T, slopes, WORDS, "t", "alt")


# The cache as a grid


@pytest.mark.parametrize("steps", [1, 4, 6])
def test_the_counts_are_the_orange_rows(steps):
    picture = sketches.cache_grid(steps, "t", "alt")
    cells = [p for p in picture.figure.axes[0].patches if isinstance(p, Rectangle)]
    cells = cells[:-3]  # the last three are the legend
    looks = [figures.ORANGE, sketches.GREY, "white"]  # computed, kept, not yet
    kinds = [to_rgba(look) for look in looks]
    grid = torch.tensor([kinds.index(cell.get_facecolor()) for cell in cells])
    grid = grid.view(2, steps, 2, steps)  # without or with, step, key or value, word
    assert torch.equal(grid[:, :, 0], grid[:, :, 1])
    without, with_cache = grid[:, :, 0]
    word, step = torch.arange(steps), torch.arange(steps)[:, None]
    later = (word > step) * 2  # not yet
    assert torch.equal(with_cache, later + (word < step).int())
    assert torch.equal(without, later)
    says = written(picture)
    for side in with_cache, without:
        rows = (side == 0).sum(dim=1)
        assert f"{' + '.join(map(str, rows.tolist()))} = {rows.sum()} rows computed" in says


@pytest.mark.parametrize("steps", [0, 7])
def test_the_grid_names_steps_that_do_not_fit(steps):
    with pytest.raises(ValueError, match=f"steps must be .* got {steps}"):
        sketches.cache_grid(steps, "t", "alt")


# The Transformer


def edges(patch, point):
    """How far a point is from the edge of a box or a ring, in inches."""
    x, y = point
    if isinstance(patch, Circle):
        return abs(hypot(x - patch.center[0], y - patch.center[1]) - patch.radius)
    x0, y0 = patch.get_x(), patch.get_y()
    x1, y1 = x0 + patch.get_width(), y0 + patch.get_height()
    outside = hypot(max(x0 - x, 0, x - x1), max(y0 - y, 0, y - y1))
    return outside or min(x - x0, x1 - x, y - y0, y1 - y)


def arrows_and_boxes(picture):
    axes = picture.figure.axes[0]
    boxes = [p for p in axes.patches if isinstance(p, FancyBboxPatch | Circle)]
    boxes = [p for p in boxes if p.get_zorder() >= 3]  # without the frames of the layers
    return [t for t in axes.texts if isinstance(t, Annotation)], boxes


def free_words(picture):
    """Words that stand in no box."""
    boxes = [box for box in arrows_and_boxes(picture)[1] if isinstance(box, FancyBboxPatch)]
    return [
        (text, around)
        for text, around in texts(picture)
        if not any(around.contains(*middle(box)) for box in boxes)
    ]


def middle(box):
    return box.get_x() + box.get_width() / 2, box.get_y() + box.get_height() / 2


def loose_ends(picture):
    """Arrows that end at no box's edge, and not just before words that stand in no box."""
    arrows, boxes = arrows_and_boxes(picture)
    words = [around.padded(0.15) for _, around in free_words(picture)]
    return [
        arrow.xy
        for arrow in arrows
        if min(edges(box, arrow.xy) for box in boxes) > 0.01
        and not any(around.contains(*arrow.xy) for around in words)
    ]


def test_every_arrow_of_the_transformer_ends_at_a_box():
    picture = figures.transformer("alt")
    assert loose_ends(picture) == []
    arrows, _ = arrows_and_boxes(picture)
    arrows[-3].xy = (arrows[-3].xy[0], arrows[-3].xy[1] - 0.05)
    assert len(loose_ends(picture)) == 1


def test_no_line_of_the_transformer_crosses_words_outside_boxes():
    picture = figures.transformer("alt")
    axes = picture.figure.axes[0]
    arrows, _ = arrows_and_boxes(picture)
    pieces = [(arrow.xyann, arrow.xy) for arrow in arrows]
    for line in axes.lines:
        points = line.get_xydata().tolist()
        pieces += pairwise(points)
    free = free_words(picture)
    assert len(free) == 15
    for text, box in free:
        for (x0, y0), (x1, y1) in pieces:
            steps = [i / 50 for i in range(51)]
            on_the_way = [(x0 + s * (x1 - x0), y0 + s * (y1 - y0)) for s in steps]
            assert not any(box.contains(*point) for point in on_the_way), text


def box_named(picture, name):
    """The boxes with these words in their middle, from left to right and from bottom to top."""
    _, boxes = arrows_and_boxes(picture)
    boxes = [box for box in boxes if isinstance(box, FancyBboxPatch)]
    places = [t.get_position() for t in picture.figure.axes[0].texts if t.get_text() == name]
    return [
        box
        for place in places
        for box in boxes
        if hypot(middle(box)[0] - place[0], middle(box)[1] - place[1]) < 0.01
    ]


def test_the_transformer_has_the_parts_of_the_model_and_pre_norm():
    picture = figures.transformer("alt", n_layers=2)
    says = written(picture)
    assert says.count("2 ×") == 2 and written(figures.transformer("alt")).count("N ×") == 2
    counts = {"norm": 2 + 1 + 3 + 1, "feed-forward": 2, "positions": 2, "embedding": 2}
    counts |= {"linear": 1, "softmax": 1, "masked multi-head\nself-attention": 1}
    counts |= {"multi-head\nself-attention": 1, "multi-head\ncross-attention": 1}
    for name, count in counts.items():
        assert len(box_named(picture, name)) == count, name
    assert (says.count("Q, K, V"), says.count("Q")) == (2, 1)
    norms = [box.get_y() for box in box_named(picture, "norm")]
    for part in "multi-head\nself-attention", "multi-head\ncross-attention", "feed-forward":
        for box in box_named(picture, part):  # a norm right below each sub-layer
            assert any(0 < box.get_y() - (y + 0.24) < 0.3 for y in norms)


def test_key_and_value_come_from_the_encoder_query_from_below():
    picture = figures.transformer("alt")
    (cross,) = box_named(picture, "multi-head\ncross-attention")
    arrows, _ = arrows_and_boxes(picture)
    into = [a for a in arrows if edges(cross, a.xy) < 0.01]
    from_left = [a for a in into if a.xyann[0] < cross.get_x()]
    from_below = [a for a in into if a.xyann[1] < cross.get_y()]
    assert (len(from_left), len(from_below)) == (2, 1)
    words = dict(texts(picture))
    for name, arrow in ("K", from_left[0]), ("V", from_left[1]), ("Q", from_below[0]):
        x = sorted((arrow.xyann[0], arrow.xy[0]))
        y = sorted((arrow.xyann[1], arrow.xy[1]))
        near = words[name].padded(0.15)
        assert near.x0 < x[1] and near.x1 > x[0] and near.y0 < y[1] and near.y1 > y[0]


def test_the_transformer_names_layers_that_do_not_fit():
    with pytest.raises(ValueError, match="n_layers must be a whole number of at least 1, got 0"):
        figures.transformer("alt", n_layers=0)


def test_matplotlib_is_imported_only_when_something_is_drawn():
    code = "import sys, lessons_lib.kit.sketches; print('matplotlib' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "False", result.stderr


# Merges as a tree


def test_merges_are_done_in_their_order_and_numbered():
    merges = [("b", "c"), ("a", "b"), ("x", "y"), ("a", "bc")]
    picture = sketches.merge_tree("abcab", merges, "Title", "alt")
    assert written(picture) == ["Title", *"abcab", "bc", "1.", "ab", "2.", "abc", "4."]


def test_left_over_tokens_are_orange():
    picture = sketches.merge_tree("abc", [("a", "b")], "Title", "alt")
    boxes = [p for p in picture.figure.axes[0].patches if isinstance(p, FancyBboxPatch)]
    orange = [box.get_facecolor() == to_rgba(sketches.LIGHT_ORANGE) for box in boxes]
    assert orange == [False, False, True, True]  # a, b, c, ab


@pytest.mark.parametrize("letters", ["", "a" * 25])
def test_a_tree_has_one_to_24_letters(letters):
    with pytest.raises(ValueError, match="the number of letters must be"):
        sketches.merge_tree(letters, [], "Title", "alt")
