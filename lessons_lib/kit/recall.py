"""Side tasks that show one idea of attention in seconds: recall a value, name the neighbours.

A batch is a pair (tokens, labels). `tokens` (B, T, n) holds n symbols for each token; a model adds
up their embeddings. `labels` (B, T) holds the answer wanted at each position, or NOTHING.
"""

from collections.abc import Callable

import torch
from torch import nn

from lessons_lib.kit.arguments import check_at_most, check_positive
from lessons_lib.kit.device import on_device_of
from lessons_lib.kit.training import learning_rate, token_loss

NOTHING = -1
Batch = tuple[torch.Tensor, torch.Tensor]
BATCH_SIZE, TEST_SIZE = 128, 2000


def recall(n_rows: int, draw: torch.Generator, n_pairs: int, n_symbols: int, joined: bool) -> Batch:
    """Associative recall: `n_pairs` pairs of key and value, then every key again, as a question.

    Keys are 0 … n_symbols − 1, all different within a row; the answer is the key's value, also
    0 … n_symbols − 1. As symbols, values stand behind the keys: n_symbols … 2·n_symbols − 1. With
    `joined` a pair is one token, and T = 2·n_pairs, with the symbol 2·n_symbols for the missing
    value of a question. Otherwise key and value alternate, and T = 3·n_pairs.

    Raises:
        ValueError: if there are more pairs than symbols.
    """
    for name, value in (("n_rows", n_rows), ("n_pairs", n_pairs), ("n_symbols", n_symbols)):
        check_positive(name, value)
    check_at_most("n_pairs", n_pairs, n_symbols)
    keys = torch.rand(n_rows, n_symbols, generator=draw).argsort(dim=1)[:, :n_pairs]
    values = torch.randint(n_symbols, (n_rows, n_pairs), generator=draw)  # (B, n_pairs)
    order = torch.rand(n_rows, n_pairs, generator=draw).argsort(dim=1)  # (B, n_pairs)
    asked, answers = keys.gather(1, order), values.gather(1, order)  # (B, n_pairs) each
    pairs = torch.stack([keys, values + n_symbols], dim=2)  # (B, n_pairs, 2)
    if joined:
        questions = torch.stack([asked, torch.full_like(asked, 2 * n_symbols)], dim=2)
    else:
        pairs, questions = pairs.reshape(n_rows, 2 * n_pairs, 1), asked[:, :, None]
    tokens = torch.cat([pairs, questions], dim=1)  # (B, T, 2 or 1)
    nothing = torch.full((n_rows, pairs.shape[1]), NOTHING)  # (B, T - n_pairs)
    return tokens, torch.cat([nothing, answers], dim=1)  # (B, T, 2 or 1), (B, T)


def predecessors(n_rows: int, draw: torch.Generator, n_tokens: int, n_symbols: int) -> Batch:
    """Who precedes me? Random tokens (B, T, 1); at each position the answer is the token before it.

    The first token has nothing before it and is not asked.
    """
    for name, value in (("n_rows", n_rows), ("n_tokens", n_tokens), ("n_symbols", n_symbols)):
        check_positive(name, value)
    symbols = torch.randint(n_symbols, (n_rows, n_tokens), generator=draw)  # (B, T)
    nothing = torch.full((n_rows, 1), NOTHING)  # (B, 1)
    return symbols[:, :, None], torch.cat([nothing, symbols[:, :-1]], dim=1)  # (B, T, 1), (B, T)


def neighbours(n_rows: int, draw: torch.Generator, n_tokens: int, n_symbols: int) -> Batch:
    """Who stands left and right of me? Random tokens (B, T, 1); the answer is a pair of symbols.

    A pair is one number, n_symbols · left + right, so there are n_symbols² answers. The first and
    the last token have one neighbour only and are not asked.
    """
    for name, value in (("n_rows", n_rows), ("n_tokens", n_tokens), ("n_symbols", n_symbols)):
        check_positive(name, value)
    symbols = torch.randint(n_symbols, (n_rows, n_tokens), generator=draw)  # (B, T)
    labels = torch.full_like(symbols, NOTHING)  # (B, T)
    labels[:, 1:-1] = n_symbols * symbols[:, :-2] + symbols[:, 2:]
    return symbols[:, :, None], labels  # (B, T, 1), (B, T)


def learn(
    model: nn.Module,
    batches: Callable[[int, torch.Generator], Batch],
    steps: int = 400,
    lr: float = 1e-2,
    seed: int = 0,
) -> float:
    """Train `model(tokens) → logits (B, T, V)` on fresh batches; return the share of right answers.

    `batches(n_rows, draw)` draws a batch. The share is measured on rows that were not trained on,
    and is between 0 and 1. AdamW, linear warm-up and decay, gradients clipped to length 1.
    """
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), fused=True)
    for step in range(steps):
        tokens, labels = (on_device_of(model, ids) for ids in batches(BATCH_SIZE, draw))
        optimizer.param_groups[0]["lr"] = learning_rate(step, steps, lr)
        loss = token_loss(model(tokens), labels, pad=NOTHING)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
    return share_right(model, batches(TEST_SIZE, draw))


@torch.no_grad()
def share_right(model: nn.Module, batch: Batch) -> float:
    """Of all answers that are wanted, the share that the model gives right, between 0 and 1."""
    tokens, labels = (on_device_of(model, ids) for ids in batch)
    wanted = labels != NOTHING  # (B, T)
    right = model(tokens).argmax(dim=-1) == labels  # (B, T)
    return right[wanted].float().mean().item()
