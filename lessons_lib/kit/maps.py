"""Live maps: attention weights as HTML that answers to a pointer, the Tab key and a tap.

There is no script in them. Each weight is a cell with its own colour and a tooltip, which is all
that a notebook shows before it is trusted; after Run, and on a website, the style sheet below adds
that a query lights up what it attends to. Like every picture, a map is the last expression of a
cell; it lies on white in every theme. What the stored outputs are compared without is in
tests/nbval_sanitize.cfg: colours and numbers of the weights, not the words.
"""

import base64
import html
import io
import re
from collections.abc import Mapping, Sequence
from math import isqrt

import torch

from lessons_lib.kit.arguments import check_positive, check_shape

WORDS = ((255, 255, 255), (107, 174, 214), (8, 48, 107))  # white, sky, dark blue: weight 0, ½, 1
PATCHES = ((0, 34, 78), (125, 124, 120), (254, 232, 56))  # dark blue, grey, yellow
CHIPS = ((198, 224, 244), (250, 222, 164), (190, 232, 214), (246, 208, 226))  # light colours
SIDE = 240  # pixels: the width at which a picture is shown
CARD = "position:relative;background:#fff;color:#000;padding:8px 12px;border-radius:4px"
HIDDEN = "position:absolute;width:1px;height:1px;overflow:hidden;opacity:0"  # but read aloud
STYLE = """<style>
.live-map table{border-collapse:collapse;margin:0;font-size:13px}
.live-map th,.live-map td{padding:5px 7px;min-width:23px;white-space:nowrap;
 text-align:center!important}
.live-map tbody th{text-align:right!important}
.live-map summary{cursor:pointer;margin:6px 0}
.live-map p{display:block!important;margin:0 0 8px!important;font-size:14px;
 font-weight:400;line-height:24px;text-align:left;white-space:normal}
.live-map p i{font-style:normal;padding:2px 5px;border-radius:3px;white-space:nowrap}
.live-map p span{display:inline!important}
.live-map tr p{display:none!important;position:absolute;top:0;left:0;right:0;background:#fff}
.live-map tr:hover p,.live-map tr:focus p{display:block!important}
.live-map tr:hover p,.live-map section:hover img{z-index:1}
.live-map tbody tr:hover,.live-map tr:focus,.live-map section:hover,.live-map section:focus{
 outline:2px solid #d55e00;outline-offset:-1px}
.live-map img{image-rendering:pixelated}
.live-map section img{position:absolute;top:0;left:0}
.live-map section:hover img,.live-map section:focus img{display:block!important}
</style>"""


class LiveMap:
    """A finished map that shows itself in a notebook; `alt` says the same in words."""

    def __init__(self, title: str, alt: str, hint: str, heads: Sequence[tuple[str, str]]):
        self.alt = alt
        folds = "".join(
            f'<details open style="max-width:100%"><summary>{name}</summary>'
            f'<div style="position:relative">{body}</div></details>\n'
            for name, body in heads
        )
        self.html = (
            f'{STYLE}\n<div class="live-map" style="{CARD}"><b>{html.escape(title)}</b>'
            f'<span style="{HIDDEN}">{html.escape(alt)}</span>{hint}\n'
            f'<div style="display:flex;flex-wrap:wrap;grid-gap:4px 32px">{folds}</div></div>'
        )

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.alt}


def attention_map(
    weights: torch.Tensor,
    queries: Sequence[str],
    keys: Sequence[str],
    title: str,
    alt: str,
    names: Sequence[str] | None = None,
) -> LiveMap:
    """Show who attends to whom: weights (T_q, T_k) or (H, T_q, T_k), a row for each query.

    A row that is pointed at, tapped or reached with Tab shows the keys as a sentence above the
    map, each in the colour of its weight. `names` are the heads', by default "head 0", "head 1", …

    Raises:
        TypeError: if `weights` is not a tensor.
        ValueError: if sizes differ, a weight lies outside 0 … 1, or words are not strings.
    """
    rows, columns = _words("queries", queries), _words("keys", keys)
    head = "".join(f"<th>{key}</th>" for key in columns)
    head = f'<thead><tr style="background:#fff"><td>attends to →</td>{head}</tr></thead>\n'
    plain = " ".join(f"<i>{key}</i>" for key in columns)
    strip = f'<p style="display:none">… attends to<br>{plain}</p>'  # each row's fits on top of it
    hint = '<p style="display:none">Point at a row, tap it, or press Tab.</p>'
    heads = []
    for name, matrix in _heads(weights, len(rows), len(columns), names):
        body = ""
        for query, row in zip(rows, matrix, strict=True):
            lit = " ".join(
                f"<i{_paint(_mix(w, WORDS))}{key}</i>" for key, w in zip(columns, row, strict=True)
            )
            cells = "".join(
                f'<td title="{query} attends to {key}: {w:.2f}"'
                f"{_paint(_mix(w, WORDS))}{_digits(w)}</td>"
                for key, w in zip(columns, row, strict=True)
            )
            body += (
                f'<tr tabindex="0" style="background:#fff"><th>{query}'
                f'<p style="display:none">{query} attends to<br>{lit}</p></th>{cells}</tr>\n'
            )
        table = f'<table style="color:#000">{head}<tbody>{body}</tbody></table>'
        heads.append((name, f'{strip}<div style="overflow-x:auto">{table}</div>'))
    return LiveMap(title, alt, hint, heads)


def patch_map(
    weights: torch.Tensor,
    queries: Sequence[str],
    picture: torch.Tensor,
    title: str,
    alt: str,
    names: Sequence[str] | None = None,
) -> LiveMap:
    """Show which patches of a picture each query attends to: (T_q, rows·columns) or with H before.

    `picture` is (H_px, W_px), grey, or (H_px, W_px, 3), from 0 to 1; its patches are squares, row
    by row. Each query has a small map, from dark blue (0) to yellow (its heaviest weight, whose
    number stands beside it); one that is pointed at, tapped or reached with Tab is laid over the
    picture. Tooltips name a patch as (row, column), from 0.

    Raises:
        TypeError: if `weights` or the picture is neither tensor nor array.
        ValueError: if sizes differ, or weights or picture lie outside 0 … 1.
    """
    words = _words("queries", queries)
    n_patches = weights.shape[-1] if isinstance(weights, torch.Tensor) and weights.dim() else 1
    maps = _heads(weights, len(words), n_patches, names)
    picture = _in_range("picture", torch.as_tensor(picture))
    columns = _columns(picture, n_patches)
    height = SIDE * len(picture) // picture.shape[1]
    size = f'width="{SIDE}" height="{height}"'
    large = max(1, SIDE // picture.shape[1])  # a notebook that is not trusted blurs small ones
    pixels = picture.repeat_interleave(large, 0).repeat_interleave(large, 1)
    shown = f'<img alt="" {size} src="{_png(pixels)}">'
    small = max(72, 9 * columns)
    grid = f"display:grid;grid-template-columns:repeat({columns},1fr);"
    grid += f"width:{small}px;height:{small * height // SIDE}px"
    flex = "display:flex;flex-wrap:wrap;align-items:flex-start"
    heads = []
    for name, matrix in maps:
        tiles = ""
        for query, row in zip(words, matrix, strict=True):
            top = max(row)
            colours = [_mix(w / top if top else 0.0, PATCHES) for w in row]
            cells = "".join(
                f'<i title="{query} attends to patch ({i // columns}, {i % columns}): {w:.2f}"'
                f"{_paint(colour, text=False)}</i>"
                for i, (w, colour) in enumerate(zip(row, colours, strict=True))
            )
            light = [[*colour, 160 - colour[0] / 4] for colour in colours]  # bright is clear
            light = (torch.tensor(light) / 255).view(-1, columns, 4)
            veil = f'<img alt="" style="display:none" {size} src="{_png(light)}">'
            tiles += (
                f'<section tabindex="0" style="margin:2px;padding:4px">{query} '
                f"<b{_paint(PATCHES[2])}{top:.2f}</b>"
                f'<div style="{grid}">{cells}</div>{veil}</section>\n'
            )
        body = f'{shown}<div style="{flex};flex:1;max-height:480px;overflow-y:auto">{tiles}</div>'
        heads.append((name, f'<div style="{flex}">{body}</div>'))
    hint = "<p>Yellow: the heaviest weight of a query, its number beside it. <span "
    hint += 'style="display:none">Point at a query, tap it, or press Tab.</span></p>'
    return LiveMap(title, alt, hint, heads)


def token_chips(rows: Mapping[str, Sequence[str]], title: str, alt: str) -> LiveMap:
    """Show texts cut into tokens, each token a chip: {name of the row: its tokens}.

    The number of its tokens stands beside a row's name. A space at a chip's end is ␣, a new line ↵.
    Neighbours differ in colour, which means nothing else.

    Raises:
        ValueError: if there are no rows, or tokens are not strings.
    """
    check_positive("the number of rows", len(rows))
    heads = []
    for name, tokens in zip(_words("names", list(rows)), rows.values(), strict=True):
        chips = "<wbr>".join(
            f"<i{_paint(CHIPS[n % len(CHIPS)])}{token}</i>"
            for n, token in enumerate(_words("tokens", tokens))
        )
        heads.append((f"{name}: {len(tokens)} tokens", f"<p>{chips}</p>"))
    return LiveMap(title, alt, "", heads)


def _heads(weights, T_q: int, T_k: int, names) -> list[tuple[str, list[list[float]]]]:
    """The escaped name and the weights of each head."""
    one = isinstance(weights, torch.Tensor) and weights.dim() == 2
    check_shape("weights", weights, (T_q, T_k) if one else ("H", T_q, T_k))
    weights = _in_range("weights", weights).reshape(-1, T_q, T_k)
    if names is None:
        names = ["attention weights"] if one else [f"head {h}" for h in range(len(weights))]
    names = _words("names", names)
    if len(names) != len(weights):
        raise ValueError(f"names must name the heads, {len(weights)} of them, got {len(names)}")
    return list(zip(names, weights.tolist(), strict=True))


def _words(name: str, words: Sequence[str]) -> list[str]:
    """Words as they are shown: escaped; spaces at their ends and line breaks become signs."""
    if isinstance(words, str) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{name} must be a list of strings, got {words!r}")
    ends = [re.sub("^ | $", "␣", word).replace("\n", "↵") for word in words]
    return [html.escape(word) or "(empty)" for word in ends]


def _in_range(name: str, values: torch.Tensor) -> torch.Tensor:
    """The same numbers, exact; a unit in the last place of 16 bits may lie outside 0 … 1."""
    values = values.detach().cpu().double()
    if not ((values > -0.005) & (values < 1.005)).all():  # NaN is outside, too
        low, high = values.min().item(), values.max().item()
        raise ValueError(f"{name} must lie in 0 … 1, got {low:.3g} to {high:.3g}")
    return values.clamp(0, 1).abs()  # no −0


def _columns(picture: torch.Tensor, n_patches: int) -> int:
    """How many patches lie side by side, each a square of equally many pixels."""
    if picture.dim() not in (2, 3) or picture.shape[2:] not in ((), (3,)):
        shape = tuple(picture.shape)
        raise ValueError(f"picture must have shape (H_px, W_px) or (H_px, W_px, 3), got {shape}")
    height, width = picture.shape[:2]
    side = isqrt(height * width // n_patches)
    if side == 0 or height % side or width % side or height * width != n_patches * side**2:
        raise ValueError(
            f"picture must divide into {n_patches} square patches, one for each weight, "
            f"got {height} × {width} pixels"
        )
    return width // side


def _png(pixels: torch.Tensor) -> str:
    from matplotlib.image import imsave  # a third of a second: only when a picture is drawn

    file = io.BytesIO()
    imsave(file, pixels.numpy(), format="png", cmap="gray", vmin=0, vmax=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _mix(share: float, stops: Sequence[tuple[int, int, int]]) -> list[int]:
    """The colour of a share between 0 and 1: red, green and blue between three stops."""
    part = 2 * share
    low, high = stops[:2] if part <= 1 else stops[1:]
    part -= part > 1
    return [round(a + (b - a) * part) for a, b in zip(low, high, strict=True)]


def _paint(colour: Sequence[int], text: bool = True) -> str:
    """The end of a cell's tag: its colour, and white ink where black has too little contrast."""
    ink = ";color:#fff" if text and _luminance(colour) < 0.179 else ""  # there both are equal
    return f' style="background:#{bytes(colour).hex()}{ink}">'


def _luminance(colour: Sequence[int]) -> float:
    """How bright a colour is seen, from 0 to 1 (relative luminance, WCAG 2.2)."""
    shares = [c / 255 for c in colour]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _digits(weight: float) -> str:
    """A weight in its cell: ".71", and nothing below .05."""
    return f"{weight:.2f}".removeprefix("0") if round(weight, 2) >= 0.05 else ""
