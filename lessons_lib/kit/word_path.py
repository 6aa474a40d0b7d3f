"""The one picture of lesson 0: the way of a word through a model, from its id to the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from lessons_lib.kit.figures import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    RED,
    SKY,
    Picture,
    _arrow,
    _axes,
    house_style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The columns of the picture: where each stands, and its shape in a batch.
COLUMNS = {
    "word": (0.0, ""),
    "id": (2.5, "(B, T)"),
    "vector": (4.9, "(B, T, d_embed)"),
    "logits": (7.9, "(B, T, V)"),
    "probabilities": (10.4, "(B, T, V)"),
    "loss": (13.1, "one number"),
}
# What happens between them, and where its arrow starts and ends.
STEPS = {
    "vocabulary": (0.75, 1.95),
    "embedding": (3.05, 4.35),
    "model": (5.45, 6.3),
    "softmax": (8.45, 9.75),
    "−log p": (11.6, 12.55),
}
ROW = 0.62  # height of a cell


@house_style()
def word_path(
    word: str,
    words: Sequence[str],
    vector: torch.Tensor,
    logits: torch.Tensor,
    right: str,
    title: str,
) -> Picture:
    """Draw one word's way: word → id → vector → logits → probabilities → loss.

    `words` is the vocabulary, `vector` (d_embed,) what the table holds for `word`, `logits` (V,)
    what the model makes of it, `right` the word that should come next; its row is green. The
    shapes below are those of a whole batch. The alt text tells the same numbers.
    """
    p = logits.double().softmax(dim=0)  # (V,)
    loss = -p[words.index(right)].log().item()
    axes = _axes(title, "", "", width=12, height=3.1)
    axes.set(xlim=(-0.8, 13.8), ylim=(-1.75, 1.8))
    axes.axis("off")
    height = _height(words.index(right), len(words))  # of the right word's row
    _names_and_steps(axes, height)

    x = {name: place for name, (place, _) in COLUMNS.items()}
    _cell(axes, x["word"], 0, word, FAINT, width=1.4)
    _cell(axes, x["id"], 0, str(words.index(word)), SKY)
    for row, value in enumerate(vector.tolist()):
        _cell(axes, x["vector"], _height(row, len(vector)), f"{value:.1f}", ORANGE)
    for row, name in enumerate(words):
        y, colour = _height(row, len(words)), GREEN if name == right else BLUE
        axes.text(x["logits"] - 0.5, y, name, ha="right", va="center", fontsize=12)
        _cell(axes, x["logits"], y, f"{logits[row].item():.1f}", colour)
        start, share = x["probabilities"] - 0.5, p[row].item()
        axes.barh(y, 1.1 * share, left=start, height=0.75 * ROW, color=colour)
        axes.text(start + 1.1 * share + 0.1, y, f"{share:.3f}", va="center", fontsize=12)
    _cell(axes, x["loss"], height, f"{loss:.2f}", RED)

    scores = ", ".join(
        f"{name} {z:.1f} → p {share:.3f}"
        for name, z, share in zip(words, logits.tolist(), p.tolist(), strict=True)
    )
    numbers = ", ".join(f"{value:.1f}" for value in vector.tolist())
    alt = (
        f"The word {word} has id {words.index(word)} and the vector ({numbers}). The model gives "
        f"logits, softmax probabilities: {scores}. Right is {right}, so the loss is {loss:.2f}."
    )
    return Picture(axes.figure, alt)


def _names_and_steps(axes: Axes, last: float) -> None:
    """What each column is, its shape, and the steps between; the last one at its height."""
    for name, (place, shape) in COLUMNS.items():
        axes.text(place, 1.6, name, ha="center", va="center", fontsize=13, weight="bold")
        axes.text(place, -1.55, shape, ha="center", va="center", fontsize=12)
    for step, (start, end) in STEPS.items():
        y = last if step == "−log p" else 0.0
        _arrow(axes, (start, y), (end, y))
        axes.text((start + end) / 2, y + 0.16, step, ha="center", va="bottom", fontsize=11.5)


def _height(row: int, n_rows: int) -> float:
    """Where a row's middle stands when the rows of a column are centred."""
    return ((n_rows - 1) / 2 - row) * (ROW + 0.1)


def _cell(axes: Axes, x: float, y: float, text: str, colour: str, width: float = 0.8) -> None:
    from matplotlib.patches import FancyBboxPatch

    shape = FancyBboxPatch(
        (x - width / 2, y - ROW / 2),
        width,
        ROW,
        boxstyle="round,pad=0,rounding_size=0.08",
        facecolor=colour,
        edgecolor="none",
    )
    axes.add_patch(shape)
    ink = INK if colour in (SKY, ORANGE) else "white"
    axes.text(x, y, text, ha="center", va="center", color=ink, fontsize=13, weight="bold")
