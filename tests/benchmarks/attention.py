"""Attention at length n, no weights asked for: the layer, torch's one call, the explicit form."""

import torch
from torch.nn import functional as F

from lessons_lib.kit.seeding import seed_everything
from lessons_lib.multi_head_attention import MultiHeadAttention, merge_heads
from tests.benchmarks.measuring import alternate, peak_memory, python, ratios, table

LENGTHS = (128, 256, 512, 1024, 2048, 4096)
FORMS = ("course", "SDPA written out", "explicit")
BASE = "SDPA written out"


def forms(d_model: int = 128, n_heads: int = 4, device: str = "cpu") -> dict:
    """Three ways to the same output (B, T, d_model), with the same weights."""
    seed_everything(0)
    attend = MultiHeadAttention(d_model, n_heads).to(device)
    w_q, w_k, w_v, w_o = attend.w_q, attend.w_k, attend.w_v, attend.w_o

    def course(x):
        return attend(x, attend.project(x))

    def written_out(x):
        B, T, D = x.shape
        q, k, v = (w(x).view(B, T, n_heads, -1).transpose(1, 2) for w in (w_q, w_k, w_v))
        context = F.scaled_dot_product_attention(q, k, v)  # (B, H, T, d_k)
        return w_o(context.transpose(1, 2).reshape(B, T, D))

    def explicit(x):
        projected = attend.project(x)
        return w_o(merge_heads(attend.weights(x, projected) @ projected[1]))

    return dict(zip(FORMS, (course, written_out, explicit), strict=True))


def run(form, n: int, d_model: int, backward: bool, device: str = "cpu") -> None:
    """One sentence of `n` vectors through a form, and back if asked."""
    x = torch.zeros(1, n, d_model, device=device, requires_grad=backward)
    with torch.set_grad_enabled(backward):
        out = form(x)
    if backward:
        out.sum().backward()


def time(lengths=LENGTHS, rounds: int = 9, d_model: int = 128) -> str:
    """Times of the three forms, forwards alone and with the gradient."""
    rows = []
    ways = forms(d_model)
    for backward in (False, True):
        for n in lengths:
            repeat = max(1, 2048 // n)  # short lengths: enough work for the clock
            works = {
                name: lambda f=form, n=n, r=repeat, b=backward: [
                    run(f, n, d_model, b) for _ in range(r)
                ]
                for name, form in ways.items()
            }
            times = alternate(works, rounds)
            compared = ratios(times, BASE)
            ms = 1000 * sorted(times[BASE])[rounds // 2] / repeat
            what = "and gradient" if backward else "forwards"
            rows.append((what, n, ms, compared["course"], compared["explicit"]))
    header = ("pass", "n", f"{BASE}, ms", "course / it", "explicit / it")
    return f"d_model {d_model}, 4 heads, batch 1, no mask, {rounds} rounds\n\n" + table(
        header, rows
    )


def memory_of(form: str, n: int, backward: bool) -> float:
    """MiB that one pass adds to the peak of this process; run in a process of its own."""
    way = forms()[form]
    run(way, 16, 128, backward)  # loads what a first call loads
    ballast = torch.ones(2**27)  # 512 MiB: from here on, what is held now is the peak so far
    before = peak_memory()
    run(way, n, 128, backward)
    after = peak_memory()
    del ballast
    return after - before


def memory(lengths=(2048, 4096)) -> str:
    """Peak memory of the three forms, each in a fresh process.

    Shorter lengths fit into memory that the process holds anyway: there is nothing to be seen.
    """
    program = (
        "import sys; from tests.benchmarks.attention import memory_of;"
        "print(memory_of(sys.argv[1], int(sys.argv[2]), sys.argv[3] == 'True'))"
    )
    rows = []
    for backward in (False, True):
        for n in lengths:
            mib = {form: float(python(program, form, n, backward)) for form in FORMS}
            ratio = [mib[form] / mib[BASE] for form in ("course", "explicit")]
            rows.append(("and gradient" if backward else "forwards", n, mib[BASE], *ratio))
    header = ("pass", "n", f"{BASE}, MiB", "course / it", "explicit / it")
    return "Peak memory over the state before the pass\n\n" + table(header, rows)
