"""Figures of the lessons, in one house style.

Each function returns a `Picture`: as the last expression of a cell it shows itself. Every picture
has one message, a title that says it, and `alt`, the same in words for someone who can't see it.
Colours are Okabe and Ito's, which colour-blind readers can tell apart; line styles differ as well.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from lessons_lib.kit.arguments import check_positive
from lessons_lib.kit.vocabulary import EOS, PAD

if TYPE_CHECKING:  # matplotlib takes a third of a second: it is imported when something is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
)
DARK_RED = "#A84700"  # red for letters on white, in a contrast of 6
COLOURS = [BLUE, RED, GREEN, ORANGE, PURPLE, SKY]
MARKERS = ["o", "s", "^", "D", "v", "P"]
INK, FAINT = "#222222", "#8A8A8A"
STYLE = {
    "font.size": 13,
    "axes.titlesize": 15,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 14,
    "axes.labelsize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "lines.linewidth": 2.4,
    "lines.markersize": 7,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.w_pad": 0.12,
    "figure.constrained_layout.h_pad": 0.1,
}
DPI = 144


class Picture:
    """A finished figure that shows itself in a notebook, with alt text for screen readers."""

    def __init__(self, figure: Figure, alt: str):
        if not isinstance(alt, str) or not alt.strip():
            raise ValueError(f"alt must say in words what the picture shows, got {alt!r}")
        self.figure = figure
        self.alt = alt

    def png(self) -> bytes:
        """The picture as a PNG file."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=DPI, pil_kwargs={"optimize": True})
        return buffer.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        data = base64.b64encode(self.png()).decode()
        width = round(self.figure.get_figwidth() * DPI / 2)  # drawn at twice the size it is shown
        image = (
            f'<img alt="{html.escape(self.alt)}" src="data:image/png;base64,{data}" '
            f'width="{width}" style="max-width: 100%; border-radius: 4px">'
        )
        return {"text/html": image, "image/png": data, "text/plain": self.alt}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house style inside, and leave matplotlib's settings as they were."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        yield


def _axes(title: str, x_label: str, y_label: str, width: float = 10, height: float = 5) -> Axes:
    from matplotlib.figure import Figure

    axes = Figure(figsize=(width, height), layout="constrained").subplots()
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    return axes


@house_style()
def curves(
    series: Mapping[str, Sequence[float] | Mapping[str, float]],
    title: str,
    x_label: str,
    y_label: str,
    alt: str,
    x: Sequence[float] | None = None,
    y_range: tuple[float, float] | None = None,
    level: Mapping[str, float] | None = None,
    limit: tuple[float, str] | None = None,
) -> Picture:
    """Draw one line per series, each with its name in its own colour.

    A series is a list of values, drawn at `x` (default 0, 1, 2, …), or a mapping whose keys become
    the places on the x axis, such as the result of `mean_by_length`. `level` draws a thin line at
    each height that it names; `limit` a vertical line at a place on the x axis, with its name in
    the legend.
    """
    axes = _axes(title, x_label, y_label)
    for name, height in (level or {}).items():
        axes.axhline(height, color=FAINT, linewidth=1)
        axes.annotate(name, (0, height), (4, 4), ("axes fraction", "data"), "offset points")
    for i, (name, values) in enumerate(series.items()):
        if isinstance(values, Mapping):
            places, heights = list(values), list(values.values())
        else:
            heights = list(values)
            places = list(range(len(heights))) if x is None else list(x)
            if x is None:
                axes.xaxis.get_major_locator().set_params(integer=True)
        axes.plot(
            places,
            heights,
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)] if len(heights) <= 60 else None,
            linestyle="-" if i % 2 == 0 else "--",
            label=name,
            clip_on=False,
        )
    if y_range:
        axes.set_ylim(*y_range)
    if limit:
        place, name = limit
        axes.axvline(place, color=INK, linewidth=1.5, linestyle=":", label=name)
    if len(series) > 1 or limit:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=3)
    return Picture(axes.figure, alt)


def by_length(series: Mapping[str, Mapping[str, float]], title: str, alt: str) -> Picture:
    """Draw shares between 0 and 1 by sentence length, as `metrics.mean_by_length` gives them."""
    x_label, y_label = "English words in the number", "share right"
    return curves(series, title, x_label, y_label, alt, y_range=(0, 1))


def influence(
    series: Mapping[str, Sequence[float]],
    title: str,
    alt: str,
    landmarks: Mapping[int, str] | None = None,
) -> Picture:
    """Draw how far a memory moves when a word is swapped, as `metrics.influence` measures it.

    `landmarks` names positions below the axis, such as {0: "end", 8: "middle"}. The axis runs in
    reading order: 0, the last word, is on the right.
    """
    x_label, y_label = (
        "words after the swapped word",
        "how far the memory moves\n(1 = another sentence)",
    )
    picture = curves(series, title, x_label, y_label, alt, y_range=(0, 1))
    picture.figure.axes[0].invert_xaxis()  # in reading order: the last word on the right
    if landmarks:
        below = picture.figure.axes[0].secondary_xaxis(0)
        below.set_xticks(list(landmarks), list(landmarks.values()), weight="bold", fontsize=14)
        below.tick_params(length=0, pad=22)  # under the numbers
        picture.figure.axes[0].xaxis.labelpad = 24
    return picture


@house_style()
def losses(
    series: Mapping[str, Sequence[float]], title: str, alt: str, window: int = 20
) -> Picture:
    """Draw training losses: thin raw lines, thick averages over the last `window` steps."""
    axes = _axes(title, "training step", "loss per word")
    for i, (name, values) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        raw = torch.tensor(values)
        smooth = raw.unfold(0, window, 1).mean(dim=1)  # (steps - window + 1,)
        axes.plot(raw, color=colour, alpha=0.25, linewidth=1)
        axes.plot(range(window - 1, len(values)), smooth, color=colour, label=name)
    axes.set_ylim(bottom=0)
    if len(series) > 1:
        axes.legend(frameon=False)
    return Picture(axes.figure, alt)


@house_style()
def bars(
    values: Mapping[str | tuple[str, str], float],
    title: str,
    y_label: str,
    alt: str,
    highlight: str | Sequence[str | tuple[str, str]] | None = None,
) -> Picture:
    """Draw one bar per name, its value on top; `highlight` names the bar or bars to look at.

    Where the name is a pair, (group, name), each group is written once, below its bars.
    """
    axes = _axes(title, "", y_label, height=4.2)
    looked_at = [highlight] if isinstance(highlight, str) else highlight or []
    colours = [RED if name in looked_at else BLUE for name in values]
    drawn = axes.bar(range(len(values)), list(values.values()), color=colours, width=0.6)
    axes.bar_label(drawn, fmt="%.2f", padding=3)
    names = [name if isinstance(name, str) else name[1] for name in values]
    axes.set_xticks(range(len(values)), names, fontsize=13 if len(names) < 10 else 11.5)
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(values):
        if not isinstance(name, str):
            groups.setdefault(name[0], []).append(i)
    if groups:
        below = axes.secondary_xaxis(0)
        middles = [sum(places) / len(places) for places in groups.values()]
        below.set_xticks(middles, list(groups), weight="bold")
        below.tick_params(length=0, pad=28)  # under the names of the bars
    axes.grid(visible=False, axis="x")
    axes.margins(y=0.15)
    return Picture(axes.figure, alt)


@house_style()
def heatmap(
    matrix: torch.Tensor,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    x_label: str,
    y_label: str,
    alt: str,
    numbers: bool = False,
    colour_label: str = "",
    outlined: Sequence[tuple[int, int]] = (),
    columns_on_top: bool = False,
    least: float = 0.0,
    row_height: float = 0.42,
) -> Picture:
    """Draw a matrix (len(rows), len(columns)) with its tokens on both axes.

    Positive values only are drawn from white to blue; with negative values zero is white, red is
    below and blue above. `numbers` writes each value of size `least` or more into its cell; without
    them a colour bar stands beside the cells, and `colour_label` says what it shows. `outlined`
    frames cells, each (row, column) counted from 0; `columns_on_top` writes the columns above.
    `row_height` is in inches.
    """
    from matplotlib.patches import Rectangle

    matrix = torch.as_tensor(matrix).detach()
    digits = 2 if matrix.is_floating_point() else 0
    values = matrix.float()
    if values.shape != (len(rows), len(columns)):
        raise ValueError(
            f"matrix must have shape ({len(rows)}, {len(columns)}) to fit its rows and columns, "
            f"got {tuple(values.shape)}"
        )
    for i, j in outlined:
        if not (0 <= i < len(rows) and 0 <= j < len(columns)):
            raise ValueError(
                f"outlined must hold cells of {len(rows)} rows and {len(columns)} columns, "
                f"got ({i}, {j})"
            )
    width = min(10.0, 3.2 + 0.62 * len(columns))
    axes = _axes(title, x_label, y_label, width=width, height=2.4 + row_height * len(rows))
    top = float(values.abs().max()) or 1.0
    signed = bool((values < 0).any())
    image = axes.imshow(
        values.numpy(force=True),
        cmap="RdBu" if signed else "Blues",
        vmin=-top if signed else 0,
        vmax=top,
        aspect="auto",
    )
    axes.set_xticks(range(len(columns)), columns)
    if max(map(len, columns)) > 3:
        axes.tick_params("x", rotation=45, rotation_mode="xtick")
    if columns_on_top:
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    for i, j in outlined:
        frame = {"fill": False, "edgecolor": RED, "linewidth": 2.6, "clip_on": False}
        axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, **frame))
    if numbers:
        for i, row in enumerate(values.tolist()):
            for j, value in enumerate(row):
                if abs(value) < least:
                    continue
                colour = "white" if abs(value) > 0.6 * top else INK
                axes.text(
                    j, i, f"{value:.{digits}f}", ha="center", va="center", color=colour, fontsize=11
                )
    else:
        axes.figure.colorbar(image, ax=axes, shrink=0.8, label=colour_label)
    return Picture(axes.figure, alt)


@house_style()
def id_cells(
    ids: torch.Tensor, rows: Sequence[str], title: str, alt: str, vocab: Sequence[str] = ()
) -> Picture:
    """Draw a padded batch of ids, (len(rows), T), as cells.

    An id is a mere name. So no colour tells its size, only its kind: a word, <eos> or <pad>. With
    `vocab` each word stands below its id.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    kinds = {"a word": SKY, "<eos>": ORANGE, "<pad>": "#E6E6E6"}
    kind = (ids == EOS).int() + 2 * (ids == PAD).int()  # (B, T): the place in `kinds`
    T = ids.shape[1]
    axes = _axes(title, "position", "", width=4.8 + 0.62 * T, height=2.4 + 0.42 * len(rows))
    axes.pcolormesh(
        kind.numpy(force=True),
        cmap=ListedColormap(list(kinds.values())),
        vmin=0,
        vmax=2,
        edgecolors="white",
        linewidth=2,
    )
    for i, row in enumerate(ids.tolist()):
        for t, word in enumerate(row):
            below = vocab and word not in (EOS, PAD)
            axes.text(t + 0.5, i + (0.34 if below else 0.5), str(word), ha="center", va="center")
            if below:
                axes.text(t + 0.5, i + 0.7, vocab[word], ha="center", va="center", size="small")
    axes.set_xticks([t + 0.5 for t in range(T)], [str(t) for t in range(T)])
    axes.set_yticks([i + 0.5 for i in range(len(rows))], rows)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    patches = [Patch(color=colour, label=name) for name, colour in kinds.items()]
    axes.legend(handles=patches, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return Picture(axes.figure, alt)


@house_style()
def bottleneck(
    src: Sequence[str],
    tgt: Sequence[str],
    alt: str,
    title: str = "The decoder never sees the English words",
) -> Picture:
    """Draw an encoder–decoder: source words flow into one box, and it alone feeds the decoder."""
    middle, end = len(src), len(src) + len(tgt)
    axes = _axes(title, "", "", height=3.4)
    axes.set(xlim=(-0.5, end + 0.5), ylim=(-0.55, 1.6))
    axes.axis("off")
    for i, word in enumerate(src):
        _box(axes, i, "read", BLUE)
        axes.text(i, -0.35, word, ha="center", va="center", fontsize=12)
        _arrow(axes, (i, -0.2), (i, 0.3))
        _arrow(axes, (i + 0.38, 0.6), (i + 0.62, 0.6))
    _box(axes, middle, "c", RED)
    names = (middle - 1) / 2, (middle + 1 + end) / 2
    bold = {"ha": "center", "fontsize": 13, "weight": "bold"}
    axes.text(names[0], 1.02, "encoder", color=BLUE, **bold)
    axes.text(names[1], -0.48, "decoder", color=GREEN, **bold)
    axes.text(middle, 1.02, "context c", color=RED, **bold)
    axes.plot([middle, middle, end], [0.3, -0.2, -0.2], color=RED, linewidth=1.6)
    for i, word in enumerate(tgt, start=middle + 1):
        _box(axes, i, "write", GREEN)
        axes.text(i, 1.45, word, ha="center", va="center", fontsize=12)
        _arrow(axes, (i, -0.22), (i, 0.3), colour=RED)
        _arrow(axes, (i, 0.9), (i, 1.32))
        _arrow(axes, (i - 0.62, 0.6), (i - 0.38, 0.6))
        if i < end:
            _arrow(axes, (i + 0.1, 1.3), (i + 0.75, 0.92), style="--")
    return Picture(axes.figure, alt)


@house_style()
def looking_back(
    src: Sequence[str],
    tgt: Sequence[str],
    at: int,
    weights: Sequence[float],
    alt: str,
    title: str = "Before each word the decoder attends to all notes",
) -> Picture:
    """Draw a decoder that attends to every source word; a line is as thick as its weight.

    Between the boxes that write go the state and, dashed, the word just written.
    `weights` has one share for each source word, for the target word number `at` (from 0).
    """
    axes = _axes(title, "", "", height=4.6)
    start = (len(src) - len(tgt)) / 2  # the target stands centred above the source
    axes.set(xlim=(min(0, start) - 0.6, max(len(src), start + len(tgt)) - 0.4), ylim=(-0.55, 3.05))
    axes.axis("off")
    for j, (word, weight) in enumerate(zip(src, weights, strict=True)):
        ends = [start + at, j], [1.8, 0.88]
        alpha = 0.25 + 0.6 * weight
        axes.plot(*ends, color=RED, linewidth=1 + 11 * weight, alpha=alpha, zorder=0.5)
        _box(axes, j, "note", BLUE)
        axes.text(j, -0.05, word, ha="center", va="center", fontsize=12)
        axes.text(j, -0.4, f"{weight:.2f}", ha="center", va="center", fontsize=12, color=RED)
        if j:
            axes.annotate(
                "",
                (j - 0.37, 0.6),
                (j - 0.63, 0.6),
                arrowprops={"arrowstyle": "<|-|>", "color": FAINT},
            )
    for i, word in enumerate(tgt):
        x = start + i
        _box(axes, x, "write", GREEN if i == at else FAINT, y=2.04)
        axes.text(x, 2.9, word, ha="center", va="center", fontsize=12)
        _arrow(axes, (x, 2.34), (x, 2.77))
        if i:  # the state, and the word just written
            _arrow(axes, (x - 0.62, 2.04), (x - 0.38, 2.04))
            _arrow(axes, (x - 0.9, 2.75), (x - 0.25, 2.36), style="--")
    return Picture(axes.figure, alt)


@house_style()
def heads(
    weights: torch.Tensor,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    x_label: str,
    y_label: str,
    alt: str,
) -> Picture:
    """Draw the weights of every head, (H, len(rows), len(columns)), side by side, from 0 to 1."""
    from matplotlib.figure import Figure

    n_heads = len(weights)
    per_row = 2 if len(columns) > 8 else 4  # maps in one row of the figure
    n_rows = -(-n_heads // per_row)
    width = min(n_heads, per_row) * min(6.0, 1.6 + 0.4 * len(columns))
    height = 1.2 + n_rows * (1.1 + 0.32 * len(rows))
    figure = Figure(figsize=(max(width, 6.5), height), layout="constrained")
    panels = figure.subplots(n_rows, min(n_heads, per_row), sharey=True, squeeze=False)
    for head, (axes, matrix) in enumerate(zip(panels.flat, weights.detach().float(), strict=False)):
        image = axes.imshow(matrix.numpy(force=True), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_title(f"head {head}", loc="center", fontsize=13, pad=6)
        axes.set_xticks(range(len(columns)), columns, fontsize=11)
        if max(map(len, columns)) > 3:
            axes.tick_params("x", rotation=45, rotation_mode="xtick")
        axes.set_yticks(range(len(rows)), rows, fontsize=11)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=panels, shrink=0.6, aspect=30, label="weight")
    figure.suptitle(title, x=0.01, ha="left", fontsize=15, weight="bold")
    figure.supxlabel(x_label, fontsize=13)
    figure.supylabel(y_label, fontsize=13)
    return Picture(figure, alt)


@house_style()
def on_a_line(
    softmaxes: Mapping[str, Sequence[float]], title: str, alt: str, places: Sequence[float]
) -> Picture:
    """Draw each softmax as bars over `places`; a triangle stands where its weighted average lies.

    `softmaxes` gives the weights of each softmax, one for each place.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 0.9 + 1.35 * len(softmaxes)), layout="constrained")
    panels = figure.subplots(len(softmaxes), 1, sharex=True, squeeze=False)[:, 0]
    for i, (axes, (name, weights)) in enumerate(zip(panels, softmaxes.items(), strict=True)):
        axes.bar(places, weights, color=COLOURS[i % len(COLOURS)], width=0.5)
        answer = sum(w * place for w, place in zip(weights, places, strict=True))
        axes.plot(answer, -0.16, marker="^", color=INK, markersize=13, clip_on=False)
        axes.text(answer + 0.3, -0.2, f"returns {answer:.0f}", va="center", fontsize=12)
        axes.set(ylim=(-0.4, 1.1), yticks=(0, 1), xticks=list(places))
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        axes.grid(visible=False)
    panels[0].set_title(title)
    panels[-1].set_xlabel("position, which is also its value")
    return Picture(figure, alt)


@house_style()
def transformer(
    alt: str,
    title: str = "Two streams, and what is added to them",
    n_layers: int | None = None,
) -> Picture:
    """Draw encoder and decoder as in figure 1 of "Attention Is All You Need", but with pre-norm.

    Thick lines are the residual streams. Without `n_layers` a frame stands for N layers. In the
    paper a norm stands after each addition, on the stream itself, and none closes the stack.

    Raises:
        ValueError: if `n_layers` is no whole number of at least 1.
    """
    if n_layers is not None:
        check_positive("n_layers", n_layers)
    times = "N ×" if n_layers is None else f"{n_layers} ×"
    axes = _sheet(title, width=9.6, height=10.15)
    encoder = ["multi-head\nself-attention", "feed-forward"]
    decoder = ["masked multi-head\nself-attention", "multi-head\ncross-attention", "feed-forward"]
    left, right = 2.85, 6.75
    top = _stack(axes, left, BLUE, "source words", encoder, times, side=-1)
    way = (left, top), (left, top + 0.3), (4.75, top + 0.3), (4.75, 4.47)
    _way(axes, *way, colour=BLUE, width=2.4)  # behind the norm it is the stream no more
    axes.text(left, top + 0.48, "memory", ha="center", fontsize=13, weight="bold", color=BLUE)
    # Keys and values go into cross-attention from the left.
    for name, y, above in ("K", 4.73, 0.15), ("V", 4.47, -0.15):
        _way(axes, (4.75, y), (right - 0.95, y), colour=BLUE, width=2.4, head=True)
        axes.text(5.12, y + above, name, ha="center", va="center", fontsize=13, weight="bold")

    top = _stack(axes, right, GREEN, "words so far, shifted right", decoder, times, side=1)
    for part in "linear", "softmax":
        _way(axes, (right, top), (right, top + 0.2), head=True)
        top += 0.55
        _block(axes, right, top - 0.175, part, "#E6E6E6", height=0.35)
    _way(axes, (right, top), (right, top + 0.25), head=True)
    axes.text(right, top + 0.4, "probabilities of the next word", ha="center", fontsize=13)

    axes.plot([0.3, 0.8], [8.95, 8.95], color=INK, linewidth=5)
    axes.text(0.92, 8.95, "the residual stream: it is only added to", va="center", fontsize=12)
    _way(axes, (0.3, 8.6), (0.8, 8.6), head=True)
    axes.text(0.92, 8.6, "what a sub-layer reads, and what it adds", va="center", fontsize=12)
    note = (
        "Norms stand before each sub-layer (pre-norm),\n"
        "and one closes each stack. In the paper they\n"
        "stand after each addition, on the stream itself."
    )
    axes.text(0.3, 8.3, note, va="top", fontsize=12, linespacing=1.35)
    return Picture(axes.figure, alt)


def _stack(
    axes: Axes, x: float, colour: str, words: str, parts: Sequence[str], times: str, side: int
) -> float:
    """Draw words, positions, one layer in its frame, and the last norm; say how high they reach.

    The stream takes its way round each sub-layer on the given side: −1 is left, 1 is right.
    """
    from matplotlib.patches import FancyBboxPatch

    around = x + 1.22 * side  # where the stream passes a sub-layer
    axes.text(x, 0.12, words, ha="center", fontsize=13)
    _way(axes, (x, 0.36), (x, 0.55), head=True)
    _block(axes, x, 0.75, "embedding", "#E6E6E6", height=0.4)
    _block(axes, x + 1.9 * side, 1.34, "positions", "#E6E6E6", height=0.4, width=1.15)
    _way(axes, (x + 1.325 * side, 1.34), (x + 0.16 * side, 1.34), head=True)
    _way(axes, (x, 0.95), (x, 1.18), colour=colour, width=5, head=True)
    _plus(axes, x, 1.34)
    y = 1.5  # the top of the last plus
    frame = {"boxstyle": "round,pad=0,rounding_size=0.12", "linewidth": 1.6, "zorder": 0.4}
    corner, height = (min(x - 1.12, around - 0.25), y + 0.2), 1.94 * len(parts) + 0.02
    frame |= {"facecolor": "#F7F7F7", "edgecolor": FAINT}
    axes.add_patch(FancyBboxPatch(corner, 2.59, height, **frame))
    axes.text(x + 1.85 * side, y + height / 2, times, ha="center", fontsize=17, weight="bold")
    for part in parts:
        fill = ORANGE if "attention" in part else SKY
        from_below = "Q, K, V" if "self-" in part else "Q" if "cross-" in part else ""
        _way(axes, (x, y), (x, y + 0.31), colour=colour, width=5)
        way = (x, y + 0.31), (around, y + 0.31), (around, y + 1.78), (x + 0.16 * side, y + 1.78)
        _way(axes, *way, colour=colour, width=5, head=True)
        _way(axes, (x, y + 0.31), (x, y + 0.48), head=True)
        _block(axes, x, y + 0.6, "norm", "white", height=0.24)
        _way(axes, (x, y + 0.72), (x, y + 0.93), head=True)
        axes.text(x + 0.12, y + 0.82, from_below, va="center", fontsize=12, weight="bold")
        _block(axes, x, y + 1.17, part, fill, height=0.48)
        _way(axes, (x, y + 1.41), (x, y + 1.62), head=True)
        _plus(axes, x, y + 1.78)
        y += 1.94
    _way(axes, (x, y), (x, y + 0.4), colour=colour, width=5, head=True)
    _block(axes, x, y + 0.52, "norm", "white", height=0.24)
    return y + 0.64


@house_style()
def clocks(turned: torch.Tensor, names: Sequence[str], title: str, alt: str) -> Picture:
    """Draw clocks by position: `turned` (T, len(names)) in radians says how far hands went.

    All hands start at twelve and go clockwise, so that the tip stands at (sine, cosine).
    """
    from matplotlib.patches import Circle

    T, n = turned.shape
    axes = _axes(title, "position", "", width=10, height=1.3 + 0.95 * n)
    axes.set(xlim=(-0.6, T - 0.4), ylim=(n - 0.5, -0.5), aspect="equal")
    axes.set_xticks(range(T))
    axes.set_yticks(range(n), names)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    for clock in range(n):
        colour = COLOURS[clock % len(COLOURS)]
        for t, angle in enumerate(turned[:, clock]):
            tip = (t + 0.36 * angle.sin().item(), clock - 0.36 * angle.cos().item())
            axes.add_patch(Circle((t, clock), 0.36, fill=False, edgecolor=FAINT, linewidth=1.2))
            axes.plot([t, tip[0]], [clock, tip[1]], color=colour, linewidth=3)
            axes.plot(*tip, "o", color=colour, markersize=5)
    return Picture(axes.figure, alt)


@house_style()
def beam_tree(
    beginnings: Mapping[tuple[str, ...], tuple[float, bool]],
    best: tuple[str, ...],
    title: str,
    alt: str,
) -> Picture:
    """Draw a beam as a tree that grows to the right, one column for each word.

    `beginnings` maps the words so far to their probability and whether the beam kept them. What was
    dropped is grey, what was kept is blue, and the way to `best` is green.
    """
    axes = _axes(title, "", "", height=0.7 + 0.72 * len(beginnings))
    places = _tree_places(beginnings)
    for words, (x, y) in places.items():
        probability, kept = beginnings.get(words, (1.0, True))
        on_the_way = words == best[: len(words)]
        colour = GREEN if on_the_way else BLUE if kept else FAINT
        if words:
            x_before, y_before = places[words[:-1]]
            style = "-" if kept else "--"
            ends = [x_before + 0.37, x - 0.37], [y_before, y]
            axes.plot(*ends, color=colour, linewidth=1 + 8 * probability, linestyle=style)
            axes.text(x, y - 0.42, f"{probability:.2f}", ha="center", va="center", fontsize=12)
        _box(axes, x, words[-1] if words else "start", colour, y)
    columns, rows = zip(*places.values(), strict=True)
    axes.set(xlim=(-0.5, max(columns) + 0.5), ylim=(min(rows) - 0.6, max(rows) + 0.4))
    axes.axis("off")
    return Picture(axes.figure, alt)


@house_style()
def sentences(
    written: Mapping[str, Sequence[tuple[str, bool]]], title: str, alt: str, width: int = 90
) -> Picture:
    """Write sentences under headings, right ones blue behind a tick, wrong ones red behind a cross.

    `written` gives for each heading pairs of a sentence and whether it is right. A sentence that
    is longer than `width` letters goes on in the next line.
    """
    from textwrap import wrap

    lines = []
    for heading, pairs in written.items():
        lines += [("", heading, INK)]
        for text, right in pairs:
            mark, colour = ("✓", BLUE) if right else ("✗", DARK_RED)
            first, *more = wrap(text, width) or ["(nothing)"]
            lines += [(mark, first, colour), *(("", f"    {line}", colour) for line in more)]
    axes = _axes(title, "", "", height=0.7 + 0.34 * len(lines))
    axes.set(xlim=(0, 1), ylim=(len(lines) - 0.5, -0.6))
    axes.axis("off")
    for y, (mark, text, colour) in enumerate(lines):
        heading = colour == INK
        weight = "bold" if heading else "normal"
        axes.text(0.02, y, mark, color=colour, va="center", fontsize=14)
        axes.text(0 if heading else 0.05, y, text, color=colour, va="center", weight=weight)
    return Picture(axes.figure, alt)


def _tree_places(beginnings: Mapping[tuple[str, ...], object]) -> dict[tuple[str, ...], tuple]:
    """A place (x, y) for each beginning: ends below each other, those before them midway."""
    heights: dict[tuple[str, ...], float] = {}

    def place(words: tuple[str, ...]) -> float:
        after = [other for other in beginnings if other[:-1] == words]
        if after:
            below = [place(other) for other in after]
            heights[words] = (below[0] + below[-1]) / 2
        else:
            ends = [h for w, h in heights.items() if not any(o[:-1] == w for o in beginnings)]
            heights[words] = min(ends, default=1.0) - 1.0
        return heights[words]

    place(())
    return {words: (1.6 * len(words), height) for words, height in heights.items()}


def _box(axes: Axes, x: float, text: str, colour: str, y: float = 0.6) -> None:
    from matplotlib.patches import FancyBboxPatch

    shape = FancyBboxPatch(
        (x - 0.33, y - 0.24),
        0.66,
        0.48,
        boxstyle="round,pad=0.04",
        facecolor=colour,
        edgecolor="none",
    )
    axes.add_patch(shape)
    axes.text(x, y, text, ha="center", va="center", color="white", fontsize=11, weight="bold")


def _arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str = FAINT,
    style: str = "-",
) -> None:
    from matplotlib.patches import FancyArrowPatch

    arrow = FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, linewidth=1.6)
    arrow.set(color=colour, linestyle=style)
    axes.add_patch(arrow)


def _sheet(title: str, width: float, height: float) -> Axes:
    """An empty sheet for a drawing, measured in inches from its lower left corner.

    A long title makes it wider.
    """
    from matplotlib.figure import Figure

    width = max(width, 0.4 + 0.125 * len(title))
    axes = Figure(figsize=(width, height)).add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    axes.text(0.15, height - 0.15, title, va="top", fontsize=15, weight="bold")
    return axes


def _way(
    axes: Axes,
    *points: tuple[float, float],
    colour: str = INK,
    width: float = 1.6,
    head: bool = False,
) -> None:
    """Draw a line through the points; with `head` its last piece is an arrow that ends there."""
    line = points[:-1] if head else points
    if len(line) > 1:
        ends = {"solid_capstyle": "round", "solid_joinstyle": "round"}
        axes.plot(*zip(*line, strict=True), color=colour, linewidth=width, **ends)
    if head:
        arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": width, "shrinkA": 0}
        arrow |= {"shrinkB": 0, "mutation_scale": 10 + width, "joinstyle": "miter"}
        axes.annotate("", points[-1], points[-2], arrowprops=arrow)


def _block(
    axes: Axes, x: float, y: float, text: str, colour: str, height: float, width: float = 1.9
) -> None:
    """Draw a box around (x, y), dark text on a light colour."""
    from matplotlib.patches import FancyBboxPatch

    look = {"boxstyle": "round,pad=0,rounding_size=0.07", "facecolor": colour, "edgecolor": INK}
    corner = (x - width / 2, y - height / 2)
    axes.add_patch(FancyBboxPatch(corner, width, height, linewidth=1.2, zorder=3, **look))
    axes.text(x, y, text, ha="center", va="center", fontsize=12, zorder=4, linespacing=1.05)


def _plus(axes: Axes, x: float, y: float) -> None:
    """Draw an addition: a plus in a ring."""
    from matplotlib.patches import Circle

    axes.add_patch(Circle((x, y), 0.16, facecolor="white", edgecolor=INK, linewidth=1.6, zorder=3))
    for ends in ([x - 0.08, x + 0.08], [y, y]), ([x, x], [y - 0.08, y + 0.08]):
        axes.plot(*ends, color=INK, linewidth=1.8, zorder=4)
