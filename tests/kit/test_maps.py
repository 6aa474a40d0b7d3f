"""Live maps: every weight can be read, in every place, and words can't break out of the markup."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import nbformat.v4
import pytest
import torch
from nbformat import NotebookNode
from nbval.plugin import get_sanitize_patterns

from lessons_lib.kit import maps
from lessons_lib.kit.maps import attention_map, patch_map, token_chips
from lessons_lib.multi_head_attention import MultiHeadAttention
from tests.laws.planted import code, plant_notebook
from tests.strictly import run_strictly
from tools.execute import SANITIZE, changed_cells

QUERIES, KEYS = ["ein", "zwei", "drei"], ["one", "two", "three", "four"]
ODD = ["<b>", "say \"x\" & 'y'", "万", "🙂", "", " the", "\n", "a: 0.71"]


def some_weights(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(*shape, generator=generator)).softmax(dim=-1)


def a_map(weights=None, queries=QUERIES, keys=KEYS, title="Title", alt="alt", names=None):
    weights = some_weights(2, len(queries), len(keys)) if weights is None else weights
    return attention_map(weights, queries, keys, title, alt, names)


class Reader(HTMLParser):
    """What a map says: tooltips, headers, names of heads, tags, and (background, ink, text)."""

    def __init__(self, markup: str):
        super().__init__()
        self.tags, self.tooltips, self.heads = [], [], []
        self.headers, self.coloured, self.paint, self.within = [], [], None, ""
        self.feed(markup)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.within = tag
        if "title" in attributes:
            self.tooltips.append(attributes["title"])
        found = re.search(r"background:(#\w+)(?:;color:(#\w+))?$", attributes.get("style", ""))
        self.paint = (found[1], found[2] or "#000") if found and tag in ("td", "i", "b") else None

    def handle_endtag(self, tag):
        self.within = ""

    def handle_data(self, data):
        if self.within == "th":
            self.headers.append(data)
        if self.within == "summary":
            self.heads.append(data)
        if self.paint:
            self.coloured.append((*self.paint, data))
            self.paint = None


def read(shown):
    return Reader(shown._repr_mimebundle_()["text/html"])


def test_a_map_shows_itself_with_its_alt_text():
    bundle = a_map(alt='an "alt" <text>')._repr_mimebundle_()
    assert bundle["text/plain"] == 'an "alt" <text>'
    assert "an &quot;alt&quot; &lt;text&gt;" in bundle["text/html"]
    assert not re.search(r"<script|<svg|\bon\w+=|https?:", bundle["text/html"])


def test_printed_weights_are_those_of_a_layer():
    """All of them, from the tooltips, each beside its own words."""
    torch.manual_seed(0)
    attend = MultiHeadAttention(d_model=12, n_heads=3)
    query, key_value = 4 * torch.randn(1, 3, 12), 4 * torch.randn(1, 4, 12)
    with torch.no_grad():
        weights = attend.weights(query, attend.project(key_value))[0]  # (3, 3, 4): H, T_q, T_k
    expected = [
        f"{query} attends to {key}: {weights[h, i, j]:.2f}"
        for h in range(3)
        for i, query in enumerate(QUERIES)
        for j, key in enumerate(KEYS)
    ]
    assert weights.max() > 0.5  # a map with something in it
    assert read(a_map(weights)).tooltips == expected


def test_rows_are_queries_and_columns_are_keys():
    weights = torch.zeros(3, 4)
    weights[2, 1] = 1.0
    shown = read(a_map(weights))
    assert shown.headers == [*KEYS, *QUERIES]
    assert [text for *_, text in shown.coloured if text.startswith((".", "1."))] == ["1.00"]
    assert "drei attends to two: 1.00" in shown.tooltips
    rows = a_map(weights).html.split("<tr ")[2:]  # without the words above the columns
    assert [row.count("<td ") for row in rows] == [4, 4, 4]
    assert rows[2].index("drei") < rows[2].index("1.00") < rows[2].index("drei attends to three")


def test_digits_stand_where_the_weight_is_at_least_a_twentieth():
    weights = torch.tensor([[0.044, 0.046, 0.05, 0.86]])
    shown = read(a_map(weights, ["ein"]))
    assert [text for *_, text in shown.coloured if text.startswith(".")] == [".05", ".05", ".86"]


def test_a_row_holds_the_sentence_in_the_colours_of_its_cells():
    row = a_map(some_weights(3, 4)).html.split("<tr ")[3]
    cells = re.findall(r'<td title=[^>]*? style="([^"]+)"', row)
    words = re.findall(r'<i style="([^"]+)">(\w+)</i>', row)
    assert [word for _, word in words] == KEYS
    assert [style for style, _ in words] == cells


def test_heads_count_from_zero_unless_they_are_named():
    assert read(a_map()).heads == ["head 0", "head 1"]
    assert read(a_map(some_weights(3, 4))).heads == ["attention weights"]
    assert read(a_map(names=["<first>", "second"])).heads == ["<first>", "second"]
    assert a_map().html.count("<details open") == 2


def test_every_row_can_be_reached_with_the_keyboard():
    assert a_map().html.count('<tr tabindex="0"') == 6
    assert "tr:focus p" in maps.STYLE and "tr:hover p" in maps.STYLE


@pytest.mark.parametrize("side", ["queries", "keys"])
def test_words_cannot_break_out(side):
    plain = read(a_map(**{side: ["x"] * len(ODD)}))
    shown = read(a_map(**{side: ODD}))
    assert shown.tags == plain.tags
    seen = ["<b>", "say \"x\" & 'y'", "万", "🙂", "(empty)", "␣the", "↵", "a: 0.71"]
    one_head = KEYS + seen if side == "queries" else seen + QUERIES
    assert shown.headers == 2 * one_head


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    shares = torch.tensor(list(bytes.fromhex(digits))) / 255
    linear = torch.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ torch.tensor([0.2126, 0.7152, 0.0722]))


def contrast(one: str, other: str) -> float:
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_every_text_stands_out_from_its_background():
    """Contrast 4.5 (WCAG AA), for every weight; and all else is black on white, in every theme."""
    assert contrast("#000", "#fff") == pytest.approx(21)
    weights = torch.linspace(0, 1, 1001)
    shown = read(a_map(weights[:, None], ["ein"] * 1001, ["one"]))
    assert {"#fff", "#000"} == {ink for _, ink, _ in shown.coloured}
    assert min(contrast(background, ink) for background, ink, _ in shown.coloured) >= 4.5
    assert "background:#fff;color:#000" in maps.CARD
    patches = read(patch_map(some_weights(2, 4), ["a", "b"], torch.rand(4, 4), "T", "alt"))
    assert min(contrast(background, ink) for background, ink, _ in patches.coloured) >= 4.5


def test_a_map_is_small():
    shown = a_map(some_weights(12, 10), ["dreißig"] * 12, ["hundred"] * 10)
    assert len(shown.html.encode()) < 20_000


# --- patches --------------------------------------------------------------------------------------


def test_patches_are_named_by_row_and_column():
    weights = some_weights(2, 6)  # two queries, a picture of 2 × 3 patches
    shown = read(patch_map(weights, ["a", "b"], torch.rand(8, 12, 3), "T", "alt"))
    assert shown.tooltips == [
        f"{query} attends to patch ({row}, {column}): {weights[i, 3 * row + column]:.2f}"
        for i, query in enumerate("ab")
        for row in range(2)
        for column in range(3)
    ]
    assert [text for *_, text in shown.coloured] == [f"{top:.2f}" for top in weights.amax(dim=1)]
    assert shown.heads == ["attention weights"]


def test_the_brightest_patch_is_the_heaviest_and_a_row_of_zeros_stays_dark():
    weights = torch.tensor([[[0.1, 0.4, 0.3, 0.2]], [[0.0, 0.0, 0.0, 0.0]]])
    shown = patch_map(weights, ["a"], torch.rand(4, 4).numpy(), "T", "alt")
    cells = re.findall(r'<i title="[^"]+" style="background:(#\w+)">', shown.html)
    assert sorted(range(4), key=lambda patch: luminance(cells[patch])) == [0, 3, 2, 1]
    assert cells[1] == "#fee838"
    assert cells[4:] == ["#00224e"] * 4


def test_a_patch_map_has_one_picture_a_head_and_a_light_for_each_query():
    shown = patch_map(some_weights(2, 3, 4), list("abc"), torch.rand(4, 4), "T", "alt")
    assert shown.html.count("<img ") == 2 * (1 + 3)
    assert shown.html.count('<section tabindex="0"') == 6
    assert re.findall(r'src="(?!data:image/png;base64,)', shown.html) == []


# --- wrong arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: a_map([[1.0]]), TypeError, "weights must be a tensor, got list"),
        (
            lambda: a_map(some_weights(4, 3)),
            ValueError,
            r"weights must have shape \(3, 4\) with no empty axis, got \(4, 3\)",
        ),
        (
            lambda: a_map(some_weights(2, 2, 3, 4)),
            ValueError,
            r"weights must have shape \(H, 3, 4\) .* got \(2, 2, 3, 4\)",
        ),
        (lambda: a_map(torch.zeros(1, 0), ["a"], []), ValueError, "no empty axis"),
        (lambda: a_map(2 * some_weights(3, 4)), ValueError, "weights must lie in 0 … 1, got"),
        (lambda: a_map(some_weights(3, 4) / 0), ValueError, "weights must lie in 0 … 1, got"),
        (
            lambda: a_map(queries="ein zwei"),
            ValueError,
            "queries must be a list of strings, got 'ein zwei'",
        ),
        (lambda: a_map(keys=[1, 2]), ValueError, r"keys must be a list of strings, got \[1, 2\]"),
        (lambda: a_map(names=["one"]), ValueError, "names must name the heads, 2 of them, got 1"),
        (
            lambda: patch_map(some_weights(2, 4), ["a"], torch.rand(4, 4), "T", "alt"),
            ValueError,
            r"weights must have shape \(1, 4\)",
        ),
        (
            lambda: patch_map(some_weights(1, 4), ["a"], torch.rand(4, 4, 2), "T", "alt"),
            ValueError,
            r"picture must have shape \(H_px, W_px\) or \(H_px, W_px, 3\), got \(4, 4, 2\)",
        ),
        (
            lambda: patch_map(some_weights(1, 5), ["a"], torch.rand(4, 4), "T", "alt"),
            ValueError,
            "picture must divide into 5 square patches, one for each weight, got 4 × 4 pixels",
        ),
        (
            lambda: patch_map(some_weights(1, 4), ["a"], 255 * torch.ones(4, 4), "T", "alt"),
            ValueError,
            "picture must lie in 0 … 1, got 255 to 255",
        ),
    ],
)
def test_what_is_wrong_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_weights_in_any_layout_and_type():
    weights = some_weights(4, 3).T
    expected = read(a_map(weights.contiguous())).tooltips
    assert read(a_map(weights)).tooltips == expected
    assert read(a_map(weights.clone().requires_grad_())).tooltips == expected
    assert read(a_map(torch.ones(3, 4, dtype=torch.bool))).tooltips[0].endswith("1.00")


# --- the stored comparison ------------------------------------------------------------------------


def sanitized(markup: str) -> str:
    """As nbval compares it."""
    for pattern, replacement in get_sanitize_patterns(SANITIZE.read_text(encoding="utf-8")):
        markup = re.sub(pattern, replacement, markup)
    return markup


def patches(weights=None, queries=("a", "b"), pixels=8, **named):
    weights = some_weights(2, 2, 4) if weights is None else weights
    return patch_map(weights, queries, torch.zeros(pixels, pixels), "Title", "alt", **named)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (a_map(some_weights(2, 3, 4)), a_map(some_weights(2, 3, 4, seed=1))),
        (a_map(torch.eye(3, 4)), a_map(torch.zeros(3, 4))),
        (patches(), patches(some_weights(2, 2, 4, seed=1))),
    ],
)
def test_weights_are_not_compared(here, there):
    assert here.html != there.html
    assert sanitized(here.html) == sanitized(there.html)
    left = re.sub("<style>.*?</style>", "", sanitized(here.html), flags=re.DOTALL)
    assert not re.search(r"#[0-9a-f]{6}|\d\.\d\d", left)


CHANGES = {
    "a query": a_map(queries=["ein", "zwei", "vier"]),
    "a key": a_map(keys=["one", "two", "three", "five"]),
    "a key that looks like a weight": a_map(keys=["one", "two", "three", ".71"]),
    "two keys in another order": a_map(keys=["two", "one", "three", "four"]),
    "a word less": a_map(keys=KEYS[:3]),
    "a head less": a_map(some_weights(1, 3, 4)),
    "a head's name": a_map(names=["head 0", "head 2"]),
    "the title": a_map(title="Titles"),
    "the alt text": a_map(alt="other"),
}


@pytest.mark.parametrize("there", CHANGES.values(), ids=CHANGES)
def test_all_else_is_compared(there):
    """By nbval's rule, and by `tools/execute.py --check`, which reads it."""
    assert sanitized(a_map().html) != sanitized(there.html)

    def notebook(shown):
        output = nbformat.v4.new_output("display_data", data=shown._repr_mimebundle_())
        return NotebookNode(cells=[code("a_map()", "a-map", outputs=[output])])

    stored = notebook(a_map(some_weights(2, 3, 4, seed=1)))
    assert changed_cells(stored, notebook(a_map())) == []
    assert len(changed_cells(stored, notebook(there))) == 1


def test_keys_that_look_like_weights_differ():
    one, other = (a_map(keys=["one", "two", "three", key]) for key in (".71", ".72"))
    assert sanitized(one.html) != sanitized(other.html)


@pytest.mark.parametrize("there", [patches(queries=["a", "c"]), patches(some_weights(2, 2, 16))])
def test_a_patch_map_compares_its_words_and_its_shape(there):
    assert sanitized(patches().html) != sanitized(there.html)


def test_other_tables_are_compared_with_their_numbers():
    table = '<table><tr><td title="a: 0.71">.71</td><td style="color:#fff">0.25</td></tr></table>'
    assert sanitized(table) == table


def test_strict_validation_of_a_stored_map(tmp_path):
    """By nbval itself: other weights pass, another word fails."""

    def cell(shown, id):
        bundle = shown._repr_mimebundle_()
        output = nbformat.v4.new_output("execute_result", data=bundle, execution_count=1)
        return code("attention_map(torch.eye(3, 4), *words)", id, outputs=[output])

    begin = "import torch\nfrom lessons_lib.kit.maps import attention_map\n\n"
    begin += f"words = {QUERIES}, {KEYS}, 'Title', 'alt'"
    same = cell(a_map(some_weights(3, 4)), "same")
    other = cell(a_map(some_weights(3, 4), keys=["one", "two", "three", "five"]), "other")
    plant_notebook(tmp_path, "maps.ipynb", code(begin, "begin"), same, other)
    result = run_strictly(tmp_path / "maps.ipynb")
    assert "1 failed, 2 passed" in result.stdout, result.stdout + result.stderr
    assert re.search(r"FAILED .*::Cell 2", result.stdout)


# Tokens as chips


def test_chips_are_the_tokens_in_their_order_with_their_number():
    chips = token_chips({"<one>": ["␣a", " b", "<i>"], "two": []}, "Title", "alt")
    read = Reader(chips.html)
    assert [text for _, _, text in read.coloured] == ["␣a", "␣b", "<i>"]
    assert read.heads == ["<one>: 3 tokens", "two: 0 tokens"]
    assert chips._repr_mimebundle_()["text/plain"] == "alt"


def test_neighbouring_chips_differ_and_can_be_read():
    read = Reader(token_chips({"one": list("abcdefgh")}, "Title", "alt").html)
    colours = [paint for paint, _, _ in read.coloured]
    assert all(one != other for one, other in pairwise(colours))
    assert {ink for _, ink, _ in read.coloured} == {"#000"}


def test_chips_name_what_is_wrong():
    with pytest.raises(ValueError, match="the number of rows must be"):
        token_chips({}, "Title", "alt")
    with pytest.raises(ValueError, match="tokens must be a list of strings"):
        token_chips({"one": [1]}, "Title", "alt")
