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
) -> Picture:
    """Draw one line per series, each with its name in its own colour.

    A series is a list of values, drawn at `x` (default 0, 1, 2, …), or a mapping whose keys become
    the places on the x axis, such as the result of `mean_by_length`.
    """
    axes = _axes(title, x_label, y_label)
    for i, (name, values) in enumerate(series.items()):
        if isinstance(values, Mapping):
            places, heights = list(values), list(values.values())
        else:
            heights = list(values)
            places = list(range(len(heights))) if x is None else list(x)
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
    if len(series) > 1:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=3)
    return Picture(axes.figure, alt)


@house_style()
def timings(
    series: Mapping[str, Sequence[float]],
    lengths: Sequence[int],
    title: str,
    alt: str,
    y_label: str = "CPU milliseconds",
) -> Picture:
    """Draw one line per series against the length, both axes in powers of two and of ten.

    A straight line is a power: one that climbs twice as steeply grows with the square.
    """
    picture = curves(series, title, "tokens", y_label, alt, x=lengths)
    axes = picture.figure.axes[0]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(list(lengths), [str(n) for n in lengths])
    axes.minorticks_off()
    return picture


def by_length(series: Mapping[str, Mapping[str, float]], title: str, alt: str) -> Picture:
    """Draw shares between 0 and 1 by sentence length, as `metrics.mean_by_length` gives them."""
    x_label, y_label = "English words in the number", "share right"
    return curves(series, title, x_label, y_label, alt, y_range=(0, 1))


def influence(series: Mapping[str, Sequence[float]], title: str, alt: str) -> Picture:
    """Draw how far a memory moves when a word is swapped, as `metrics.influence` measures it."""
    x_label, y_label = "words between the swapped word and the end", "how far the memory moves"
    return curves(series, title, x_label, y_label, alt, y_range=(0, 1))


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
    values: Mapping[str, float], title: str, y_label: str, alt: str, highlight: str | None = None
) -> Picture:
    """Draw one bar per name, its value on top; `highlight` names the bar to look at."""
    axes = _axes(title, "", y_label, height=4.2)
    colours = [RED if name == highlight else BLUE for name in values]
    drawn = axes.bar(list(values), list(values.values()), color=colours, width=0.6)
    axes.bar_label(drawn, fmt="%.2f", padding=3)
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
) -> Picture:
    """Draw a matrix (len(rows), len(columns)) with its tokens on both axes.

    Positive values only are drawn from white to blue; with negative values zero is white, red is
    below and blue above. `numbers` writes each value into its cell.
    """
    matrix = torch.as_tensor(matrix).detach()
    digits = 2 if matrix.is_floating_point() else 0
    values = matrix.float()
    if values.shape != (len(rows), len(columns)):
        raise ValueError(
            f"matrix must have shape ({len(rows)}, {len(columns)}) to fit its rows and columns, "
            f"got {tuple(values.shape)}"
        )
    width = min(10.0, 3.2 + 0.62 * len(columns))
    axes = _axes(title, x_label, y_label, width=width, height=2.4 + 0.42 * len(rows))
    top = float(values.abs().max()) or 1.0
    signed = bool((values < 0).any())
    image = axes.imshow(
        values.numpy(),
        cmap="RdBu" if signed else "Blues",
        vmin=-top if signed else 0,
        vmax=top,
        aspect="auto",
    )
    axes.set_xticks(range(len(columns)), columns)
    if max(map(len, columns)) > 3:
        axes.tick_params("x", rotation=45, rotation_mode="xtick")
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if numbers:
        for i, row in enumerate(values.tolist()):
            for j, value in enumerate(row):
                colour = "white" if abs(value) > 0.6 * top else INK
                axes.text(
                    j, i, f"{value:.{digits}f}", ha="center", va="center", color=colour, fontsize=11
                )
    else:
        axes.figure.colorbar(image, ax=axes, shrink=0.8)
    return Picture(axes.figure, alt)


@house_style()
def bottleneck(
    src: Sequence[str],
    tgt: Sequence[str],
    alt: str,
    title: str = "The writer never sees the English words",
) -> Picture:
    """Draw an encoder–decoder: source words flow into one box, and it alone feeds the writers."""
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
    axes.text(middle, 1.0, "context c", ha="center", color=RED, fontsize=12, weight="bold")
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
    title: str = "Before each word the writer looks at all notes",
) -> Picture:
    """Draw a writer that looks at every source word; a line is as thick as its weight.

    `weights` has one share for each source word, for the target word number `at` (from 0).
    """
    axes = _axes(title, "", "", height=4.2)
    start = (len(src) - len(tgt)) / 2  # the target stands centred above the source
    axes.set(xlim=(min(0, start) - 0.6, max(len(src), start + len(tgt)) - 0.4), ylim=(-0.55, 2.75))
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
        _box(axes, start + i, "write", GREEN if i == at else FAINT, y=2.04)
        axes.text(start + i, 2.6, word, ha="center", va="center", fontsize=12)
    return Picture(axes.figure, alt)


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
