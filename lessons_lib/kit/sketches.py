"""Sketches of famous ideas: heads as slabs, RoPE's arrows, the cache as a grid, merges as a tree.

They are drawn in the house style of `figures`, and return a `Picture` as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, degrees, pi, radians, sin
from typing import TYPE_CHECKING

import torch

from lessons_lib.kit.arguments import check_at_most, check_divisible, check_positive
from lessons_lib.kit.figures import (
    BLUE,
    COLOURS,
    INK,
    ORANGE,
    RED,
    Picture,
    _block,
    _sheet,
    _way,
    house_style,
)

if TYPE_CHECKING:  # matplotlib is imported when something is drawn
    from matplotlib.axes import Axes

GREY, QUIET = "#D9D9D9", "#595959"  # for areas, and for words beside the matter
LIGHT_ORANGE = "#F7D9A0"


@house_style()
def slabs(T: int, d_model: int, n_heads: int, title: str, alt: str) -> Picture:
    """Draw how words are projected, split into heads, attend, are merged and mixed by W_o.

    A slab has T rows. Its columns have the colour of their head, or are grey: of no head. Sizes
    stand below each stage.

    Raises:
        ValueError: if a size is below 1, d_model not divisible by n_heads, or n_heads above 6.
    """
    check_positive("T", T)
    check_positive("n_heads", n_heads)
    check_divisible("d_model", d_model, by=n_heads)
    check_at_most("n_heads", n_heads, len(COLOURS))
    d_k = d_model // n_heads
    wide, high = 5.6 / (4 * d_model + 2 * d_k), min(0.2, 3.6 / (n_heads * T))
    full, part, tall = wide * d_model, wide * d_k, high * T
    apart = tall + 0.22  # from head to head
    bottom, height = 1.0, n_heads * apart - 0.22
    middle = bottom + height / 2
    heads = [bottom + height - tall / 2 - h * apart for h in range(n_heads)]  # their middles

    places = [0.5]  # the left edges of the six stages
    for gap in (full + 0.85, full + 0.75, part + 1.75, part + 0.75, full + 0.85):
        places.append(places[-1] + gap)
    axes = _sheet(title, width=places[-1] + full + 0.25, height=bottom + height + 1.45)
    whole = torch.arange(d_model) // d_k  # (d_model,): the head that owns each column
    grey = torch.full((d_model,), len(COLOURS))  # no head's own
    words, query, *split, merged, mixed = places
    for place, owners in (words, grey), (query, whole), (merged, whole), (mixed, grey):
        _slab(axes, place, middle, owners, T, wide, high)
    for h, y in enumerate(heads):
        colour = COLOURS[h]
        for place in split:
            _slab(axes, place, y, torch.full((d_k,), h), T, wide, high)
        port = middle + 0.8 * tall * ((n_heads - 1) / 2 - h) / n_heads  # where it leaves the slab
        box = (split[0] + part + split[1]) / 2  # the middle of its attention
        _block(axes, box, y, "attention", "white", height=0.34, width=1.0)
        for start, end in (
            ((query + full + 0.06, port), (split[0] - 0.06, y)),
            ((split[0] + part + 0.06, y), (box - 0.5, y)),
            ((box + 0.5, y), (split[1] - 0.06, y)),
            ((split[1] + part + 0.06, y), (merged - 0.06, port)),
        ):
            _way(axes, start, end, head=True, colour=colour)

    look = {"rotation": 90, "ha": "right", "va": "center", "fontsize": 12}
    axes.text(words - 0.1, middle, f"T = {T}", **look)
    top = {"ha": "center", "va": "bottom", "fontsize": 12}
    axes.text(words + full / 2, middle + tall / 2 + 0.06, f"d_model = {d_model}", **top)
    axes.text(split[0] + part / 2, bottom + height + 0.06, f"d_k = {d_k}", **top)
    for left, right, matrix in (words, query, "W_q"), (merged, mixed, "W_o"):
        _way(axes, (left + full + 0.06, middle), (right - 0.06, middle), head=True)
        axes.text(left + full + 0.41, middle + 0.08, f"· {matrix}", weight="bold", **top)
    stages = {
        "words X": (full, "(B, T, d_model)", (T, d_model)),
        "query (key and\nvalue alike)": (full, "(B, T, d_model)", (T, d_model)),
        "split": (part, "(B, H, T, d_k)", (n_heads, T, d_k)),
        "a context\nfrom each head": (part, "(B, H, T, d_k)", (n_heads, T, d_k)),
        "merged,\nside by side": (full, "(B, T, H · d_k)", (T, d_model)),
        "every column\nfrom all heads": (full, "(B, T, d_model)", (T, d_model)),
    }
    for place, (name, (width, shape, sizes)) in zip(places, stages.items(), strict=True):
        x = place + width / 2
        y = bottom + height + 0.34
        axes.text(x, y, name, ha="center", va="bottom", fontsize=13, weight="bold")
        sizes = f"(B, {', '.join(map(str, sizes))})"
        axes.text(x, 0.72, shape, ha="center", va="center", fontsize=12)
        axes.text(x, 0.42, sizes, ha="center", va="center", fontsize=12, color=QUIET)
    return Picture(axes.figure, alt)


def _slab(
    axes: Axes, left: float, y: float, owners: torch.Tensor, T: int, wide: float, high: float
) -> None:
    """Draw T rows of cells, each column in the colour of its owner, around the height y."""
    from matplotlib.colors import ListedColormap

    axes.pcolormesh(
        (left + wide * torch.arange(len(owners) + 1)).numpy(),
        (y + high * (torch.arange(T + 1) - T / 2)).numpy(),
        owners.expand(T, -1).numpy(),
        cmap=ListedColormap([*COLOURS, "#B5B5B5"]),
        vmin=0,
        vmax=len(COLOURS),
        edgecolors="white",
        linewidth=1.0 if min(wide, high) > 0.06 else 0.0,  # narrow cells would be all edge
    )


@house_style()
def rope_arrows(
    angle_per_position: float, positions: Sequence[tuple[int, int]], title: str, alt: str
) -> Picture:
    """Draw a query and a key that RoPE has turned, one panel for each pair of positions.

    A pair is (query's position, key's position), and all pairs lie equally far apart: so the angle
    between the arrows stays. `angle_per_position` is in radians; what is
    written is in degrees.

    Raises:
        ValueError: if the angle is more than a full turn, or if there are not two or three pairs
            that lie equally far apart.
    """
    if abs(angle_per_position) > 2 * pi:
        raise ValueError(
            f"angle_per_position must be in radians, at most 2π, got {angle_per_position}"
        )
    apart = {key - query for query, key in positions}
    if not 2 <= len(positions) <= 3 or len(apart) > 1:
        raise ValueError(
            "positions must be two or three pairs (query, key), all equally far apart, "
            f"got {list(positions)}"
        )
    axes = _sheet(title, width=4.8 * len(positions), height=6.2)
    for panel, pair in enumerate(positions):
        centre = (2.4 + 4.8 * panel, 3.4)
        heading = f"query at position {pair[0]}, key at position {pair[1]}"
        axes.text(centre[0], 5.45, heading, ha="center", va="center", fontsize=13, weight="bold")
        ends = {}  # where the arrows point, in degrees
        for name, start, colour, length, y, t in (
            ("query", 10.0, BLUE, 1.6, 1.3, pair[0]),
            ("key", 35.0, RED, 1.1, 1.0, pair[1]),
        ):
            turned = degrees(angle_per_position * t)
            ends[name] = start + turned
            _turn(axes, centre, start, turned, length, colour)
            far = length + 0.16 + 0.14 * abs(cos(radians(ends[name])))
            look = {"color": colour, "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1}}
            axes.text(*_at(centre, ends[name], far), name, ha="center", va="center", **look)
            says = f"{name}: turned by {_degrees(turned)}"
            axes.text(centre[0], y, says, ha="center", va="center", color=colour, fontsize=13)
        between = (ends["key"] - ends["query"] + 180) % 360 - 180  # from −180 to 180
        _wedge(axes, centre, ends["query"], between)
        says = f"angle between them: {_degrees(abs(between))}"
        axes.text(centre[0], 0.67, says, ha="center", va="center", fontsize=14, weight="bold")
    note = "dotted: where both point at position 0, and the way that they have turned"
    middle = 2.4 * len(positions)
    axes.text(middle, 0.25, note, ha="center", va="center", color=QUIET, fontsize=12)
    return Picture(axes.figure, alt)


def _degrees(angle: float) -> str:
    """An angle in words, to a tenth of a degree."""
    return f"{round(angle, 1):g}°"


def _at(centre: tuple[float, float], angle: float, length: float) -> tuple[float, float]:
    """The point that lies so far from the centre in the direction of the angle, in degrees."""
    return (
        centre[0] + length * cos(radians(angle)),
        centre[1] + length * sin(radians(angle)),
    )


def _turn(
    axes: Axes,
    centre: tuple[float, float],
    start: float,
    turned: float,
    length: float,
    colour: str,
) -> None:
    """Draw an arrow, dotted where it pointed before it was turned, and the way of its tip."""
    from matplotlib.patches import Arc, Circle

    axes.add_patch(Circle(centre, length, fill=False, edgecolor="#E6E6E6", linewidth=1.2))
    tip = _at(centre, start, length)
    axes.plot(*zip(centre, tip, strict=True), color=colour, linewidth=1.6, linestyle=":")
    _way(axes, centre, _at(centre, start + turned, length), colour=colour, width=3, head=True)
    low, high = sorted((start, start + turned % (360 if turned > 0 else -360)))
    look = {"color": colour, "linewidth": 1.6, "linestyle": ":"}
    axes.add_patch(Arc(centre, 2 * length, 2 * length, theta1=low, theta2=high, **look))


def _wedge(axes: Axes, centre: tuple[float, float], start: float, between: float) -> None:
    """Mark the angle between two arrows, and write its size into it."""
    from matplotlib.patches import Wedge

    low, high = sorted((start, start + between))
    axes.add_patch(Wedge(centre, 0.42, low, high, facecolor=GREY, edgecolor=INK, zorder=0.5))
    direction = start + between / 2
    room = 0.24 / max(0.3, abs(sin(radians(between / 2))))  # a narrow angle is wide further out
    place = _at(centre, direction, max(room, 0.62 + 0.14 * abs(cos(radians(direction)))))
    axes.text(*place, _degrees(abs(between)), ha="center", va="center", weight="bold")


@house_style()
def alibi_triangle(
    T: int, slopes: Sequence[float], tokens: Sequence[str], title: str, alt: str
) -> Picture:
    """Draw what ALiBi adds to the scores of a head, −slope · distance, one triangle for each slope.

    Rows are queries, columns are keys. Keys ahead of the query are masked: their cells are blank.

    Raises:
        ValueError: if there are not T tokens, not one to three slopes, or if a slope is below 0.
    """
    check_positive("T", T)
    if len(tokens) != T:
        raise ValueError(f"tokens must be T = {T} words, got {len(tokens)}")
    if not 1 <= len(slopes) <= 3 or min(slopes) < 0:
        raise ValueError(f"slopes must be one to three numbers, none below 0, got {slopes}")
    words = 0.11 * max(map(len, tokens)) + 0.15  # room for the longest token
    numbers = max(len(_number(-slope * t)) for slope in slopes for t in range(T))
    cell = max(0.62, 0.092 * numbers + 0.12)  # room for the longest number
    left, below = words + 0.4, 0.4 + (0.7 * words + 0.1 if words > cell else 0.25)
    wide, high = left + T * cell + 0.25, below + 0.46 * T
    axes = _sheet(title, width=len(slopes) * wide, height=high + 1.05)
    for panel, slope in enumerate(slopes):
        x = panel * wide + left
        middle = x + T * cell / 2
        axes.text(middle, high + 0.2, f"slope {slope:g}", ha="center", fontsize=13, weight="bold")
        axes.text(middle, 0.2, "key", ha="center", va="center")
        axes.text(x - left + 0.2, below + 0.23 * T, "query", va="center", ha="center", rotation=90)
        place = torch.arange(T)
        biases = slope * (place - place[:, None]).float()  # (T, T): above 0 ahead of the query
        _triangle(axes, biases, (x, high), (cell, 0.46), darkest=max(slopes) * (T - 1))
        for t, token in enumerate(tokens):
            axes.text(x - 0.1, high - 0.46 * (t + 0.5), token, ha="right", va="center")
            at = (x + cell * (t + 0.5), below - 0.1)
            slant = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
            axes.text(*at, token, va="top", **(slant if words > cell else {"ha": "center"}))
    return Picture(axes.figure, alt)


def _number(value: float) -> str:
    """A number of up to four digits, with the minus sign that is as wide as a plus."""
    return f"{value:.4g}".replace("-", "−") if value else "0"


def _triangle(
    axes: Axes,
    biases: torch.Tensor,
    corner: tuple[float, float],
    size: tuple[float, float],
    darkest: float,
) -> None:
    """Draw the lower triangle of biases (T, T) as cells with numbers, from its top left corner."""
    T = len(biases)
    seen = biases.tril().masked_fill(torch.ones(T, T).triu(1).bool(), torch.nan)  # (T, T)
    axes.pcolormesh(
        (corner[0] + size[0] * torch.arange(T + 1)).numpy(),
        (corner[1] - size[1] * torch.arange(T + 1)).numpy(),
        seen.numpy(),
        cmap="RdBu",
        vmin=-darkest or -1.0,
        vmax=darkest or 1.0,
        edgecolors="white",
        linewidth=2,
    )
    for i in range(T):
        for j in range(i + 1):
            bias = biases[i, j].item()
            colour = "white" if -bias > 0.6 * darkest else INK
            at = (corner[0] + size[0] * (j + 0.5), corner[1] - size[1] * (i + 0.5))
            axes.text(*at, _number(bias), ha="center", va="center", color=colour, fontsize=11)
    if T > 2:
        at = (corner[0] + size[0] * (0.67 * T + 0.33), corner[1] - size[1] * (0.33 * T - 0.33))
        axes.text(*at, "masked", ha="center", va="center", color=QUIET, fontsize=13)


@house_style()
def cache_grid(steps: int, title: str, alt: str) -> Picture:
    """Draw the keys and values of each word at steps 1 … `steps`, without and with a cache.

    Grey rows are kept, orange rows are computed now, blank rows are not there yet. Below each step
    stands how many rows it computes.

    Raises:
        ValueError: if `steps` is no whole number from 1 to 6.
    """
    check_positive("steps", steps)
    check_at_most("steps", steps, 6)
    pitch, row = max(1.05, 4.2 / steps), 0.36
    bottom = 1.75
    top, half = bottom + row * steps, 0.35 + pitch * steps  # half: the width of one side
    axes = _sheet(title, width=0.85 + 2 * half, height=top + 1.75)
    for t in range(steps):
        y = top - row * (t + 0.5)
        axes.text(0.85, y, f"word {t + 1}", ha="right", va="center")
    for side, name in enumerate(("without a cache", "with a cache")):
        left = 1.0 + side * half
        middle = left + (half - 0.35) / 2
        axes.text(middle, top + 0.9, name, ha="center", fontsize=14, weight="bold")
        counts = []
        for step in range(1, steps + 1):
            computed = range(step) if side == 0 else range(step - 1, step)
            counts.append(len(computed))
            x = left + pitch * (step - 0.5)  # the middle of this step
            axes.text(x, top + 0.5, f"step {step}", ha="center")
            for column, letter in ((x - 0.21, "K"), (x + 0.21, "V")):
                axes.text(column, top + 0.1, letter, ha="center", weight="bold")
                for t in range(steps):
                    state = "computed" if t in computed else "kept" if t < step else "not yet"
                    _cell(axes, column, top - row * (t + 0.5), state)
            axes.text(x, bottom - 0.25, f"{counts[-1]}", ha="center", va="center", fontsize=14)
        says = f"{' + '.join(map(str, counts))} = {sum(counts)} rows computed"
        axes.text(middle, bottom - 0.65, says, ha="center", va="center", weight="bold")
    for x, state, says in (
        (1.1, "kept", "kept"),
        (2.9, "computed", "computed in this step"),
        (6.3, "not yet", "not there yet"),
    ):
        _cell(axes, x, 0.35, state)
        axes.text(x + 0.3, 0.35, says, va="center")
    return Picture(axes.figure, alt)


def _cell(axes: Axes, x: float, y: float, state: str) -> None:
    """Draw one key or value. What is computed now has a dark edge too, for eyes without colour."""
    from matplotlib.patches import Rectangle

    looks = {
        "kept": {"facecolor": GREY, "edgecolor": "white"},
        "computed": {"facecolor": ORANGE, "edgecolor": INK, "zorder": 1.5},
        "not yet": {"facecolor": "white", "edgecolor": GREY, "linestyle": ":"},
    }
    axes.add_patch(Rectangle((x - 0.19, y - 0.15), 0.38, 0.3, linewidth=1.4, **looks[state]))


@house_style()
def merge_tree(
    letters: Sequence[str], merges: Sequence[tuple[str, str]], title: str, alt: str
) -> Picture:
    """Draw how merges, the first learnt first, make tokens of a word, from its letters up.

    Each merge that the word needs is a box above the two that it joins, with its place in `merges`,
    from 1. The tokens that are left in the end are orange.

    Raises:
        ValueError: if there are no letters, or more than 24.
    """
    check_positive("the number of letters", len(letters))
    check_at_most("the number of letters", len(letters), 24)
    row = [(letter, n, 0) for n, letter in enumerate(letters)]  # (text, place, level)
    boxes, lines = [(*box, None) for box in row], []
    for number, pair in enumerate(merges, start=1):
        n = 0
        while n + 1 < len(row):
            (left, x_left, low), (right, x_right, high) = row[n : n + 2]
            if (left, right) == tuple(pair):
                row[n : n + 2] = [(left + right, (x_left + x_right) / 2, max(low, high) + 1)]
                boxes.append((*row[n], number))
                lines += [(row[n][1:], row_below) for row_below in ((x_left, low), (x_right, high))]
            n += 1
    top = max(level for _, _, level in row)
    axes = _sheet(title, width=0.5 + 0.95 * len(letters), height=1.35 + 0.85 * top)

    def at(place, level):
        return 0.72 + 0.95 * place, 0.5 + 0.85 * level

    for upper, lower in lines:
        _way(axes, at(*upper), at(*lower), colour=QUIET)
    for text, place, level, number in boxes:
        is_token = (text, place, level) in row
        colour = LIGHT_ORANGE if is_token else "white" if number is None else GREY
        _block(axes, *at(place, level), text, colour, height=0.4, width=0.5 + 0.1 * len(text))
        if number is not None:
            x, y = at(place, level)
            beside = x + 0.29 + 0.05 * len(text)
            axes.text(beside, y, f"{number}.", va="center", fontsize=11, color=QUIET)
    return Picture(axes.figure, alt)
