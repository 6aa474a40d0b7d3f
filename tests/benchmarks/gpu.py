"""The same ratios on a GPU: device events for a clock, bfloat16 for the arithmetic."""

import torch

from tests.benchmarks import attention, training, writing
from tests.benchmarks.measuring import alternate, ratios, table

NONE = "No GPU here: this section was not run.\n"


def section(lengths=(128, 1024, 4096, 16384), rounds: int = 20) -> str:
    """Training, decoding and attention, where there is a CUDA device."""
    if not torch.cuda.is_available():
        return NONE
    with torch.autocast("cuda", torch.bfloat16):
        parts = [training.per_token(d_model, device="cuda") for d_model in (64, 512)]
        parts.append(writing.whole(device="cuda"))
        parts.append(attention_ratios("cuda", lengths, rounds))
    return "\n".join(parts)


def attention_ratios(device: str, lengths, rounds: int, d_model: int = 512) -> str:
    """The layer and the explicit form against SDPA, forwards and with the gradient."""
    ways = attention.forms(d_model, 8, device)
    rows = []
    for n in lengths:
        works = {
            name: lambda f=form, n=n: attention.run(f, n, d_model, True, device)
            for name, form in ways.items()
            if name != "explicit" or n <= 4096  # it would need n² of memory
        }
        compared = ratios(alternate(works, rounds, device), attention.BASE)
        rows.append((n, compared["course"], compared.get("explicit", "–")))
    return table(("n", "course / SDPA", "explicit / SDPA"), rows)
