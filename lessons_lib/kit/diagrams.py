"""Diagrams of attention with real numbers in them, in the house style of `figures`.

Each function computes what it writes from its arguments, and returns a `Picture`. What is laid out
by hand counts in inches, so that a cell is as wide as its number needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin, sqrt
from typing import TYPE_CHECKING, NamedTuple

import torch

from lessons_lib.kit.arguments import check_at_most, check_positive, check_shape
from lessons_lib.kit.figures import (
    BLUE,
    DARK_RED,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    RED,
    Picture,
    _arrow,
    _block,
    _sheet,
    _way,
    heatmap,
    house_style,
)

if TYPE_CHECKING:  # matplotlib takes a third of a second: it is imported when something is drawn
    from matplotlib.axes import Axes

QUIET = "#6B6B6B"  # words that matter less, still dark enough to be read
CELL = 0.38  # the height of a cell, in inches


class _Place(NamedTuple):
    """Where a matrix stands, in inches: with its names from `outer` to `right`, up to `top`."""

    outer: float
    left: float
    right: float
    bottom: float
    top: float


@house_style()
def qkv(
    x: torch.Tensor,
    w_q: torch.Tensor,
    w_k: torch.Tensor,
    w_v: torch.Tensor,
    tokens: Sequence[str],
    title: str,
    alt: str,
    follow: int | None = None,
) -> Picture:
    """Draw self-attention as matrices with their numbers: X → Q, K, V → scores → weights → context.

    x is (T, d), w_q and w_k are (d, d_k), w_v is (d, d_v), no size above 4. `follow` outlines the
    row of one token, counted from 0, on its way from X to its context.

    Raises:
        TypeError: if a matrix is not a tensor.
        ValueError: if the shapes don't fit together, a size is above 4, or `follow` is no row.
    """
    T = len(tokens)
    check_shape("x", x, (T, "d"))
    check_shape("w_q", w_q, (x.shape[1], "d_k"))
    check_shape("w_k", w_k, (x.shape[1], w_q.shape[1]))
    check_shape("w_v", w_v, (x.shape[1], "d_v"))
    for name, matrix in {"x": x, "w_q": w_q, "w_v": w_v}.items():
        check_at_most(f"each size of {name}", max(matrix.shape), 4)
    if follow is not None:
        _check_place("follow", follow, T)
    x, w_q, w_k, w_v = (m.detach().cpu().double() for m in (x, w_q, w_k, w_v))
    q, k, v = x @ w_q, x @ w_k, x @ w_v  # (T, d_k), (T, d_k), (T, d_v)
    scores = q @ k.T / sqrt(q.shape[1])  # (T, T)
    weights = scores.softmax(dim=-1)  # (T, T)
    context = weights @ v  # (T, d_v)

    names = max(map(_width, tokens)) + 0.16  # room for the tokens beside their rows
    starts, left = [], 0.2
    for stack, room in (([x], names), ([w_q, w_k, w_v], 0.0), ([q, k, v], names)):
        starts.append(left + room)
        left += room + max(m.shape[1] * _cell_width(m) for m in stack) + 0.65
    starts.append(left + names)
    last = max(T * _cell_width(m, tokens) for m in (scores, weights))
    band = max(x.shape) * CELL + 1.3  # the height of a line: name, keys, matrix, shape
    axes = _sheet(title, width=starts[3] + max(last, 2.7) + 0.2, height=3 * band + 0.3)
    lines = [(2.5 - n) * band - 0.2 for n in range(3)]

    begin = _matrix(axes, starts[0], lines[1], x, "$X$", FAINT, tokens, follow=follow)
    made = []
    for line, letter, colour, w, product in zip(
        lines, "QKV", (BLUE, ORANGE, GREEN), (w_q, w_k, w_v), (q, k, v), strict=True
    ):
        name = f"$W_{letter.lower()}$"
        by = _matrix(axes, starts[1], line, w, name, colour, shade=0.12)
        name, row = f"${letter} = X{name[1:]}", follow if letter == "Q" else None
        made.append(_matrix(axes, starts[2], line, product, name, colour, tokens, follow=row))
        _arrow(axes, (begin.right + 0.08, lines[1]), (by.left - 0.06, line))
        _arrow(axes, (by.right + 0.08, line), (made[-1].outer, line))

    name, keys = r"scores = $QK^{\!\top} / \sqrt{d_k}$", {"columns": tokens, "follow": follow}
    top = _matrix(axes, starts[3], lines[0], scores, name, FAINT, tokens, shade=0.15, **keys)
    middle = _matrix(
        axes, starts[3], lines[1], weights, "weights", PURPLE, tokens, shade=None, **keys
    )
    end = _matrix(axes, starts[3], lines[2], context, "context", GREEN, tokens, follow=follow)
    _arrow(axes, (made[0].right + 0.08, lines[0]), (top.outer, lines[0]))
    _arrow(axes, (made[1].right + 0.08, lines[1]), (top.outer, lines[0] - 0.3))
    _arrow(axes, (made[2].right + 0.08, lines[2]), (end.outer, lines[2]))
    for above, below, what in (
        (top, middle, "softmax of each row"),
        (middle, end, "times $V$: mixes its rows"),
    ):
        x = above.left + 0.62
        _arrow(axes, (x, above.bottom - 0.06), (x, below.top + 0.06))
        axes.text(x + 0.14, (above.bottom + below.top) / 2, what, va="center", fontsize=11.5)
    return Picture(axes.figure, alt)


def _matrix(
    axes: Axes,
    left: float,
    middle: float,
    matrix: torch.Tensor,
    name: str,
    colour: str,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    follow: int | None = None,
    shade: float | None = 0.32,
) -> _Place:
    """Draw a matrix with its name above and its shape below; without `shade`, by its weights."""
    from matplotlib.patches import Rectangle

    n_rows, n_columns = matrix.shape
    width, top = _cell_width(matrix, columns), middle + n_rows * CELL / 2
    for i, row in enumerate(_written(matrix)):
        y = top - (i + 0.5) * CELL
        _cells(axes, left, y, matrix[i], row, width, colour, shade)
        if rows:
            weight = "bold" if i == follow else "normal"
            place = {"ha": "right", "va": "center_baseline", "fontsize": 12, "weight": weight}
            axes.text(left - 0.08, y, rows[i], **place)
    for j, column in enumerate(columns):
        x = left + (j + 0.5) * width
        axes.text(x, top + 0.05, column, ha="center", va="bottom", fontsize=12)
    size = (n_columns * width, n_rows * CELL)
    axes.add_patch(Rectangle((left, top - size[1]), *size, fill=False, edgecolor=colour))
    if follow is not None:
        corner = (left, top - (follow + 1) * CELL)
        look = {"fill": False, "edgecolor": INK, "linewidth": 2.4, "zorder": 3}
        axes.add_patch(Rectangle(corner, size[0], CELL, **look))
    above = top + (0.32 if columns else 0.09)
    axes.text(left, above, name, va="bottom", fontsize=13, weight="bold")
    shape = f"({n_rows}, {n_columns})"
    axes.text(left, top - size[1] - 0.07, shape, va="top", fontsize=11, color=QUIET)
    outer = left - 0.12 - max(map(_width, rows), default=0)
    return _Place(outer, left, left + size[0], top - size[1], above + 0.25)


def _cells(
    axes: Axes,
    left: float,
    y: float,
    values: torch.Tensor,
    written: Sequence[str],
    width: float,
    colour: str,
    shade: float | None,
) -> None:
    """Draw one row of a matrix around the height y; without `shade`, shaded by its weights."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle

    for j, number in enumerate(written):
        much = shade if shade is not None else 0.9 * values[j].item()
        face = [1 - much * (1 - part) for part in to_rgb(colour)]
        corner = (left + j * width, y - CELL / 2)
        axes.add_patch(Rectangle(corner, width, CELL, facecolor=face, edgecolor="white"))
        x = left + (j + 0.5) * width
        axes.text(x, y, number, ha="center", va="center_baseline", fontsize=12)


def _written(matrix: torch.Tensor) -> list[list[str]]:
    """The numbers as they are written: as few digits as all of them need, two at most."""
    needs = [n for n in range(3) if torch.allclose(matrix, matrix.round(decimals=n), atol=1e-6)]
    digits = needs[0] if needs else 2
    return [[_number(value, digits) for value in row] for row in matrix.tolist()]


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")  # no −0.00


def _cell_width(matrix: torch.Tensor, columns: Sequence[str] = ()) -> float:
    numbers = [number for row in _written(matrix) for number in row]
    return max(0.46, *(_width(text) + 0.16 for text in [*numbers, *columns]))


def _width(text: str, size: float = 12) -> float:
    """How wide a text is, in inches."""
    from matplotlib.textpath import TextPath

    return TextPath((0, 0), text, size=size).get_extents().x1 / 72 if text.strip() else 0.0


def _check_place(name: str, value: int, n: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < n:
        raise ValueError(f"{name} must be a whole number from 0 to {n - 1}, got {value!r}")


@house_style()
def decoder_step(
    state: torch.Tensor,
    annotations: torch.Tensor,
    w_a: torch.Tensor,
    u_a: torch.Tensor,
    v_a: torch.Tensor,
    tokens: Sequence[str],
    written: Sequence[str],
    title: str,
    alt: str,
) -> Picture:
    """Draw one step of a decoder with additive attention: state → query → context → next word.

    state is (d_query,), annotations (T, d_key), w_a (d_query, d_a), u_a (d_key, d_a), v_a (d_a,),
    no size above 4; the weights are applied as x @ w. `written` is the word before and the word
    that this step writes. GRU and logits are boxes without numbers.

    Raises:
        TypeError: if a vector or a matrix is not a tensor.
        ValueError: if the shapes don't fit together, a size is above 4, or `written` is not two
            words.
    """
    T = len(tokens)
    check_shape("state", state, ("d_query",))
    check_shape("annotations", annotations, (T, "d_key"))
    check_shape("w_a", w_a, (len(state), "d_a"))
    check_shape("u_a", u_a, (annotations.shape[1], w_a.shape[1]))
    check_shape("v_a", v_a, (w_a.shape[1],))
    for name, matrix in {"annotations": annotations, "w_a": w_a}.items():
        check_at_most(f"each size of {name}", max(matrix.shape), 4)
    if isinstance(written, str) or len(written) != 2:
        raise ValueError(f"written must be two words, before and now, got {written!r}")
    state, annotations, w_a, u_a, v_a = (
        m.detach().cpu().double() for m in (state, annotations, w_a, u_a, v_a)
    )
    query, key = state @ w_a, annotations @ u_a  # (d_a,), (T, d_a)
    inside = (query + key).tanh()  # (T, d_a)
    scores = inside @ v_a  # (T,)
    weights = scores.softmax(dim=0)  # (T,)
    context = weights @ annotations  # (d_key,)

    asks = max(1.5, *(m.numel() * _cell_width(m[None]) for m in (state, query)))
    pitch = 0.3 + max(
        *(m.shape[1] * _cell_width(m) for m in (annotations, key, inside)), *map(_width, tokens)
    )
    begin, left, right = 0.2 + asks / 2, asks + 0.75, asks + 0.75 + T * pitch
    columns = [left + (j + 0.5) * pitch for j in range(T)]
    middle = (left + right) / 2
    # Rows of the picture, from the annotations down to the decoder.
    values, keys, sums, scored, shares, mixed, lane = 6.45, 5.55, 4.7, 3.85, 2.9, 2.0, 1.05
    edge = CELL / 2 + 0.04
    words = (right + 0.6, middle + 4.1)  # the names of the rows, the logits
    axes = _sheet(title, width=max(words[0] + 3.3, words[1] + 1.75), height=7.5)

    for y in values, sums, scored, shares:
        _band(axes, left, right, y)
    for j, (x, token) in enumerate(zip(columns, tokens, strict=True)):
        axes.text(x, values + edge + 0.1, token, ha="center", va="bottom", weight="bold")
        _strip(axes, x, values, annotations, j, GREEN)
        _strip(axes, x, keys, key, j, ORANGE)
        _strip(axes, x, sums, inside, j, FAINT, shade=0.15)
        _strip(axes, x, scored, scores[:, None], j, FAINT, shade=0.15)
        _strip(axes, x, shares, weights[:, None], j, PURPLE, shade=None)
        for above, below in ((values, keys), (keys, sums), (sums, scored)):
            _arrow(axes, (x, above - edge), (x, below + edge))
        ends = [x, middle + 0.2 * (x - middle)], [shares - edge, mixed + edge]
        weight = weights[j].item()
        axes.plot(*ends, color=PURPLE, linewidth=1 + 9 * weight, zorder=0.5)
    _arrow(axes, (middle, scored - edge - 0.08), (middle, shares + edge + 0.08), colour=INK)
    look = {"va": "center_baseline", "fontsize": 12.5}
    axes.text(middle + 0.12, (scored + shares) / 2, "softmax", **look)
    _strip(axes, middle, mixed, context[None], 0, GREEN)
    side = right + 0.3  # the annotations' own way down to the context
    half = len(context) * _cell_width(context[None]) / 2
    way = (right, values), (side, values), (side, mixed), (middle + half + 0.06, mixed)
    _way(axes, *way, colour=GREEN, head=True)
    for y, name in (
        (values, "annotations $h_j$: the values"),
        (keys, "keys $U_a h_j$: once for each sentence"),
        (sums, "tanh(query + key)"),
        (scored, r"scores $e_{ij} = v_a^{\top}$ tanh(…)"),
        (shares, r"weights $\alpha_{ij}$: their sum is 1"),
        (mixed, "context $c_i$: sum of weight · value"),
    ):
        axes.text(words[0], y, name, **look)

    above, below = {"ha": "center", "va": "bottom"}, {"ha": "center", "va": "top"}
    _strip(axes, begin, lane, state[None], 0, FAINT)
    axes.text(begin, lane - edge - 0.04, "state $s_{i-1}$", fontsize=12.5, **below)
    _strip(axes, begin, sums, query[None], 0, BLUE)
    axes.text(begin, sums + edge + 0.04, "query $W_a s_{i-1}$", fontsize=12.5, **above)
    _way(axes, (begin, lane + edge), (begin, sums - edge), colour=BLUE, head=True)
    half = len(query) * _cell_width(query[None]) / 2
    _way(axes, (begin + half + 0.06, sums), (left - 0.02, sums), colour=BLUE, head=True)

    half = len(state) * _cell_width(state[None]) / 2
    new, last = middle + 2.1, words[1]
    turn = lane + 0.53  # here the way of the context parts: to the GRU, and to the logits
    _way(axes, (begin + half + 0.06, lane), (middle - 0.5, lane), head=True)
    _way(axes, (middle, mixed - edge), (middle, lane + 0.25), colour=GREEN, head=True)
    _way(axes, (middle, turn), (last, turn), (last, lane + 0.25), colour=GREEN, head=True)
    _way(axes, (middle, 0.47), (middle, lane - 0.25), head=True)
    _way(axes, (middle + 0.5, lane), (new - 0.75, lane), head=True)
    _way(axes, (new + 0.75, lane), (last - 0.5, lane), head=True)
    _way(axes, (new, lane - 0.25), (new, 0.47), head=True)
    _way(axes, (last + 0.5, lane), (last + 0.85, lane), head=True)
    _block(axes, middle, lane, "GRU", "white", height=0.5, width=1.0)
    _block(axes, new, lane, "new state $s_i$", "#E6E6E6", height=0.5, width=1.5)
    _block(axes, last, lane, "logits", "white", height=0.5, width=1.0)
    axes.text(middle, 0.4, f"word before: {written[0]}", fontsize=12.5, **below)
    axes.text(new, 0.4, "for the next step", fontsize=12.5, **below)
    axes.text(last + 0.92, lane, written[1], va="center_baseline", fontsize=14, weight="bold")
    return Picture(axes.figure, alt)


def _band(axes: Axes, left: float, right: float, y: float) -> None:
    """A light ground that holds the cells of a row together."""
    from matplotlib.patches import FancyBboxPatch

    look = {"boxstyle": "round,pad=0,rounding_size=0.1", "facecolor": "#F4F4F4", "zorder": 0.3}
    corner, height = (left, y - CELL / 2 - 0.08), CELL + 0.16
    axes.add_patch(FancyBboxPatch(corner, right - left, height, edgecolor="#D0D0D0", **look))


def _strip(
    axes: Axes,
    x: float,
    y: float,
    matrix: torch.Tensor,
    row: int,
    colour: str,
    shade: float | None = 0.32,
) -> None:
    """Draw one row of a matrix as a vector of its own around (x, y)."""
    from matplotlib.patches import Rectangle

    width = _cell_width(matrix)
    size = matrix.shape[1] * width
    written = _written(matrix)[row]
    _cells(axes, x - size / 2, y, matrix[row], written, width, colour, shade)
    corner = (x - size / 2, y - CELL / 2)
    axes.add_patch(Rectangle(corner, size, CELL, fill=False, edgecolor=colour))


@house_style()
def arcs(
    weights: torch.Tensor,
    tokens: Sequence[str] | Sequence[Sequence[str]],
    query: int,
    title: str,
    alt: str,
    names: Sequence[str] | None = None,
) -> Picture:
    """Draw what one token attends to: an arc to each token, as wide as its weight.

    `weights` is (T,), drawn over the sentence in a line, or (N, T), drawn as N columns side by side
    under their `names`. `tokens` is one sentence, or N of them. `query` is the index of the token
    that attends. A weight of at least .05 is written beside its token.

    Raises:
        TypeError: if `weights` is not a tensor.
        ValueError: if sizes don't fit, a weight is below 0, or those of a panel sum to more than 1.
    """
    if not len(tokens):
        raise ValueError("tokens must hold at least one token, got none")
    sentences = [list(tokens)] if isinstance(tokens[0], str) else [list(line) for line in tokens]
    T = len(sentences[0])
    if not isinstance(weights, torch.Tensor) or weights.dim() != 2:
        check_shape("weights", weights, (T,))
    n_panels = len(weights) if weights.dim() == 2 else 1
    if len(sentences) == 1:
        sentences *= n_panels
    check_shape("weights", weights, (len(sentences), T) if weights.dim() == 2 else (T,))
    for n, sentence in enumerate(sentences):
        if len(sentence) != T:
            raise ValueError(f"tokens must be {T} in each panel, got {len(sentence)} in panel {n}")
    if names is not None and len(names) != n_panels:
        raise ValueError(f"names must be one for each of {n_panels} panels, got {len(names)}")
    _check_place("query", query, T)
    shares = weights.detach().cpu().double().reshape(n_panels, T)
    if shares.min() < 0 or not (shares.sum(dim=1) < 1.01).all():
        least, most = shares.min().item(), shares.sum(dim=1).max().item()
        raise ValueError(
            "weights must be at least 0 and sum to 1 in each panel, "
            f"got a least weight of {least:.3g} and a largest sum of {most:.3g}"
        )
    if weights.dim() == 1:
        return _arcs_over_a_line(shares[0].tolist(), sentences[0], query, title, alt)
    return _arcs_beside_columns(shares.tolist(), sentences, query, title, alt, names or ())


def _arcs_over_a_line(weights, words, query: int, title: str, alt: str) -> Picture:
    slots = [max(_width(word, 13), 0.36) + 0.2 for word in words]
    middles = [0.3 + sum(slots[:i]) + slot / 2 for i, slot in enumerate(slots)]
    reach = max(abs(middle - middles[query]) for middle in middles)
    y = 0.95  # where the arcs begin
    axes = _sheet(title, width=sum(slots) + 0.6, height=y + 0.32 * reach + 0.9)
    for i, (word, weight, x) in enumerate(zip(words, weights, middles, strict=True)):
        _arc(axes, (middles[query], y), (x, y), weight, upwards=True)
        if weight >= 0.05:
            number = f"{weight:.2f}"
            axes.text(x, 0.4, number, ha="center", va="center", fontsize=12, color=BLUE)
        _word(axes, (x, 0.72), word, weight, i == query)
    return Picture(axes.figure, alt)


def _arcs_beside_columns(weights, sentences, query: int, title: str, alt: str, names) -> Picture:
    T, row = len(sentences[0]), 0.36
    reach = 0.32 * row * max(query, T - 1 - query) + 0.45
    lefts, rights, left = [], [], 0.2
    for n, words in enumerate(sentences):
        words_end = left + 0.82 + max(_width(word, 13) for word in words)
        name_end = left + (_width(names[n], 15) if names else 0)
        lefts.append(left)
        rights.append(words_end)
        left = max(words_end + reach, name_end) + 0.35
    height = row * T + (1.1 if names else 0.8)
    axes = _sheet(title, left, height)
    ys = [row * (T - i - 0.5) + 0.15 for i in range(T)]
    for n, (left, right) in enumerate(zip(lefts, rights, strict=True)):
        if names:
            axes.text(left, height - 0.6, names[n], va="top", fontsize=13, weight="bold")
        for i, (word, weight, y) in enumerate(zip(sentences[n], weights[n], ys, strict=True)):
            _arc(axes, (right, ys[query]), (right, y), weight, upwards=False)
            _word(axes, (right - 0.1, y), word, weight, i == query, ha="right")
            if weight >= 0.05:
                axes.text(left, y, f"{weight:.2f}", va="center", fontsize=12, color=BLUE)
    return Picture(axes.figure, alt)


def _arc(axes: Axes, start: tuple, end: tuple, weight: float, upwards: bool) -> None:
    """Half an ellipse over a line or to the right of a column; to itself, a small loop."""
    if weight < 0.005:
        return
    along = 0 if upwards else 1
    middle, half = (start[along] + end[along]) / 2, (start[along] - end[along]) / 2
    high = 0.24 + 0.64 * abs(half)
    if start == end:
        half, high = 0.09, 0.34
    turns = [pi * step / 60 for step in range(61)]
    path = [
        (middle + half * cos(turn), start[1 - along] + high * sin(turn))[:: 1 if upwards else -1]
        for turn in turns
    ]
    look = {"color": BLUE, "alpha": 0.15 + 0.85 * sqrt(weight), "linewidth": 0.8 + 11 * weight}
    axes.plot(*zip(*path, strict=True), solid_capstyle="butt", **look)


def _word(axes: Axes, place: tuple, word: str, weight: float, asks: bool, ha="center") -> None:
    """A token: the one that attends on red, those with weight dark, the others grey."""
    look = {"ha": ha, "va": "center", "fontsize": 13}
    if asks:
        box = {"boxstyle": "round,pad=0.2", "facecolor": DARK_RED, "edgecolor": "none"}
        axes.text(*place, word, color="white", weight="bold", bbox=box, **look)
    else:
        axes.text(*place, word, color=INK if weight >= 0.05 else QUIET, **look)


@house_style()
def mask_card(T: int, alt: str, title: str) -> Picture:
    """Draw the masks of today on one card: T tokens, dark where a query may attend to a key.

    Below each stand who may attend to what, and where it is used. T is 4 … 10.

    Raises:
        ValueError: if T is not a whole number from 4 to 10.
    """

    check_positive("T", T)
    if not 4 <= T <= 10:
        raise ValueError(f"T must be a whole number from 4 to 10, got {T}")
    size = 0.34 * T  # of a grid, in inches
    width, height = max(size + 1.0, 3.5), size + 1.7
    figure = _sheet(title, width=3 * width + 0.2, height=2 * height + 0.2).figure
    whole = figure.get_size_inches()
    for n, (name, (allowed, tokens, who, where)) in enumerate(_masks(T).items()):
        left, bottom = (n % 3) * width + 0.9, (1 - n // 3) * height + 1.1
        place = (left / whole[0], bottom / whole[1], size / whole[0], size / whole[1])
        axes = figure.add_axes(place)
        axes.imshow(allowed.int().numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_title(name, fontsize=14, pad=6)
        axes.set_xticks(range(T), tokens, fontsize=10.5)
        axes.set_yticks(range(T), tokens, fontsize=10.5)
        axes.tick_params(length=0, pad=3)
        axes.set_xlabel("key", labelpad=1, fontsize=12)
        axes.set_ylabel("query", fontsize=12)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        edges = [i - 0.5 for i in range(T + 1)]
        axes.hlines(edges, -0.5, T - 0.5, color="#D0D0D0", linewidth=0.8)
        axes.vlines(edges, -0.5, T - 0.5, color="#D0D0D0", linewidth=0.8)
        figure.axes[0].text(left - 0.7, bottom - 0.5, who, va="top", fontsize=11.5)
        look = {"va": "top", "fontsize": 11.5, "weight": "bold", "color": BLUE}
        figure.axes[0].text(left - 0.7, bottom - 0.74, where, **look)
    return Picture(figure, alt)


def _masks(T: int) -> dict[str, tuple[torch.Tensor, list[str], str, str]]:
    """Each mask (T, T), True = may attend, its tokens, who may attend to what, where it is used."""
    place = torch.arange(T)
    query, key = place[:, None], place  # (T, 1), (T,)
    real, given, near, first = T - T // 3, T // 2, 3 if T > 4 else 2, T // 2 + 1
    causal = key <= query  # (T, T)
    together = (query < first) == (key < first)  # (T, T): in the same document
    words, padded, prompted, packed = (
        [f"{letter}{i + 1}" for i in range(T)] for letter in ("w", "w", "p", "a")
    )
    padded[real:] = ["pad"] * (T - real)
    front = T - real  # the pads of a sentence that is padded in front
    fronted = ["pad"] * front + words[:real]
    prompted[given:] = [f"w{i + 1}" for i in range(T - given)]
    packed[first:] = [f"b{i + 1}" for i in range(T - first)]
    masks = {
        "causal": (causal, words, "itself and all before it", "in GPT and Llama"),
        "padding": (
            (key < real).expand(T, T),
            padded,
            "every real word, no pad",
            "where lengths differ",
        ),
        "causal and padding": (
            causal & (key >= front),
            fronted,
            "the real words up to itself",
            "to write in batches",
        ),
        "prefix": (
            causal | (key < given),
            prompted,
            "prompt p, and all up to itself",
            "in prefix LMs",
        ),
        "sliding window": (
            causal & (query - key < near),
            words,
            f"itself and the {near - 1} before it",
            "for long context",
        ),
        "packed documents": (
            causal & together,
            packed,
            "its own document, up to itself",
            "in packed pre-training",
        ),
    }
    return {
        name: (mask, tokens, f"attends to {who}", f"used {where}")
        for name, (mask, tokens, who, where) in masks.items()
    }


@house_style()
def alignment(
    weights: torch.Tensor,
    queries: Sequence[str],
    keys: Sequence[str],
    title: str,
    alt: str,
    crossings: Sequence[tuple[int, int]] = (),
) -> Picture:
    """Draw weights (len(queries), len(keys)): the source on top, what is written at the left.

    `crossings` are the cells to be outlined, each (row, column), counted from 0.
    """
    x, y = "attends to", "when it writes"
    look = {"colour_label": "weight", "outlined": crossings, "columns_on_top": True}
    return heatmap(weights, queries, keys, title, x, y, alt, **look)


@house_style()
def bars_of_temperature(
    logits: torch.Tensor,
    temperatures: Sequence[float],
    tokens: Sequence[str],
    title: str,
    alt: str,
    top_p: float | None = None,
) -> Picture:
    """Draw what softmax(logits / temperature) gives each word, at each temperature side by side.

    `logits` is (V,), one for each of `tokens`; the likeliest word stands on top. With `top_p` the
    words that it keeps are in colour, those that it drops are grey, and a line shows the cut.

    Raises:
        TypeError: if `logits` is not a tensor.
        ValueError: if it does not fit the tokens, a temperature is not above 0, or `top_p` does not
            lie in (0, 1].
    """
    from matplotlib.figure import Figure

    check_shape("logits", logits, (len(tokens),))
    if not temperatures or min(temperatures) <= 0:
        raise ValueError(f"temperatures must be one or more, all above 0, got {temperatures}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {top_p}")
    order = logits.argsort(descending=True, stable=True)
    ordered = logits.detach().cpu().double()[order.cpu()]  # (V,)
    V, n = len(tokens), len(temperatures)
    figure = Figure(figsize=(max(10.0, 1.2 + 3 * n), 1.9 + 0.38 * V), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=15, weight="bold")
    panels = figure.subplots(1, n, sharex=True, sharey=True, squeeze=False)[0]
    for axes, temperature in zip(panels, temperatures, strict=True):
        shares = (ordered / temperature).softmax(dim=0)  # (V,)
        kept = V if top_p is None else _kept(shares, top_p)
        colours = [BLUE] * kept + ["#C9C9C9"] * (V - kept)
        drawn = axes.barh(range(V), shares.tolist(), color=colours, height=0.72)
        axes.bar_label(drawn, fmt="%.2f", padding=4, fontsize=12)
        pad = 8 if top_p is None else 28
        axes.set_title(f"temperature {temperature:g}", fontsize=14, pad=pad)
        if top_p is not None:
            cut = f"top-p {top_p:g}: {kept} kept, sum {shares[:kept].sum():.2f}"
            above = {"xycoords": "axes fraction", "textcoords": "offset points"}
            axes.annotate(cut, (0, 1), (0, 6), color=DARK_RED, fontsize=12.5, **above)
            if kept < V:
                axes.axhline(kept - 0.5, color=RED, linewidth=1.8, linestyle="--")
        axes.set(xlim=(0, 1.2), xticks=(0, 0.5, 1), xlabel="probability")
        axes.set_yticks(range(V), [tokens[i] for i in order.tolist()])
        axes.grid(visible=False, axis="y")
        axes.tick_params("y", length=0)
    panels[0].invert_yaxis()
    return Picture(figure, alt)


def _kept(shares: torch.Tensor, top_p: float) -> int:
    """How many of the likeliest words top-p keeps: the fewest whose shares reach `top_p`."""
    before = shares.cumsum(dim=0) - shares  # (V,): what those above a word have together
    return int((before < top_p - 1e-6).sum())  # 0.5 + 0.4 reaches 0.9, however it is rounded
