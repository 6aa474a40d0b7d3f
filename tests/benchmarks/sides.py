"""The sides of the races: this course's Transformer, and what a learner would pick instead.

All have the same sizes and no dropout. Each is called as `side(src, tgt_in)` → logits, and writes
with `side.write(src, steps)` → ids (B, steps), greedily, in the fastest way that it has.
"""

import warnings

import torch
from torch import nn

from lessons_lib.decoding import greedy_decode
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.vocabulary import BOS, PAD
from lessons_lib.transformer import CachedTransformer, Embedding, PostNorm, PreNorm, Transformer

MAX_LEN = 512
HEADS, LAYERS = 2, 2


class Cached(CachedTransformer):
    """The course's Transformer, which writes with its cache."""

    def write(self, src, steps: int):
        return greedy_decode(self, src, steps)  # (B, T)


class Plain(Transformer):
    """The same, without the cache."""

    def write(self, src, steps: int):
        return greedy_decode(self, src, steps)  # (B, T)


class Torch(nn.Module):
    """`torch.nn.Transformer` between the course's embeddings and a linear layer.

    It has no cache: the memory is computed once, the words so far at every step. `bias=False` takes
    the biases out of all its linear maps and norms.
    """

    def __init__(self, n_src: int, n_tgt: int, d_model: int, norm_first: bool, bias: bool = True):
        super().__init__()
        self.embed_src = Embedding(n_src, d_model, MAX_LEN)
        self.embed_tgt = Embedding(n_tgt, d_model, MAX_LEN)
        with warnings.catch_warnings(action="ignore"):  # pre-norm has no nested tensors, it says
            self.transformer = nn.Transformer(
                d_model, HEADS, LAYERS, LAYERS, 4 * d_model, 0.0,
                batch_first=True, norm_first=norm_first, bias=bias,
            )  # fmt: skip
        self.to_logits = nn.Linear(d_model, n_tgt)

    def forward(self, src, tgt_in):
        """src (B, T_src), tgt_in (B, T) → logits (B, T, V)."""
        return self.read(tgt_in, self.encode(src), src == PAD)  # (B, T, V)

    def encode(self, src):
        """src (B, T_src) → memory (B, T_src, d_model)."""
        with warnings.catch_warnings(action="ignore"):  # nested tensors are a prototype, it says
            return self.transformer.encoder(self.embed_src(src), src_key_padding_mask=src == PAD)

    def read(self, tgt_in, memory, blocked):
        """tgt_in (B, T), memory (B, T_src, d_model), blocked (B, T_src) → logits (B, T, V)."""
        T = tgt_in.shape[1]
        future = torch.ones(T, T, dtype=torch.bool, device=tgt_in.device).triu(1)  # (T, T)
        x = self.transformer.decoder(
            self.embed_tgt(tgt_in), memory, tgt_mask=future,
            memory_key_padding_mask=blocked, tgt_is_causal=True,
        )  # fmt: skip
        return self.to_logits(x)  # (B, T, V)

    @torch.no_grad()
    def write(self, src, steps: int):
        memory, blocked = self.encode(src), src == PAD
        words = src.new_full((len(src), 1), BOS)  # (B, 1)
        for _ in range(steps):
            token = self.read(words, memory, blocked)[:, -1:].argmax(dim=-1)  # (B, 1)
            words = torch.cat([words, token], dim=1)  # (B, T + 1)
        return words[:, 1:]  # (B, steps)


class X(nn.Module):
    """x-transformers' encoder and decoder with its cache and defaults; `flash`: attention by SDPA.

    Positions are its sinusoids: a learned table would be trained at every step, for all 512 places.
    """

    def __init__(self, n_src: int, n_tgt: int, d_model: int, flash: bool):
        super().__init__()
        with warnings.catch_warnings(action="ignore"):  # it uses what torch has deprecated
            from x_transformers import XTransformer

        d_head = d_model // HEADS
        self.model = XTransformer(
            dim=d_model,
            enc_num_tokens=n_src, enc_depth=LAYERS, enc_heads=HEADS, enc_max_seq_len=MAX_LEN,
            enc_attn_dim_head=d_head, enc_attn_flash=flash, enc_scaled_sinu_pos_emb=True,
            dec_num_tokens=n_tgt, dec_depth=LAYERS, dec_heads=HEADS, dec_max_seq_len=MAX_LEN,
            dec_attn_dim_head=d_head, dec_attn_flash=flash, dec_scaled_sinu_pos_emb=True,
            dec_cross_attn_dim_head=d_head,
        )  # fmt: skip

    def forward(self, src, tgt_in):
        """src (B, T_src), tgt_in (B, T) → logits (B, T, V)."""
        real = src != PAD  # (B, T_src)
        memory = self.model.encoder(src, mask=real, return_embeddings=True)
        return self.model.decoder.net(tgt_in, context=memory, context_mask=real)  # (B, T, V)

    def write(self, src, steps: int):
        first = src.new_full((len(src), 1), BOS)  # (B, 1)
        return self.model.generate(src, first, steps, mask=src != PAD, temperature=0.0)


def transformers(n_src: int, n_tgt: int, d_model: int, seed: int = 0) -> dict[str, nn.Module]:
    """All sides that are trained, each built from the same seed. The first is the course's."""
    sizes = n_src, n_tgt, d_model
    builds = {
        "course, pre-norm": lambda: Cached(*sizes, HEADS, 4 * d_model, LAYERS, PreNorm),
        "course, post-norm": lambda: Cached(*sizes, HEADS, 4 * d_model, LAYERS, PostNorm),
        "torch.nn.Transformer, pre-norm": lambda: Torch(*sizes, norm_first=True),
        "torch.nn.Transformer, post-norm": lambda: Torch(*sizes, norm_first=False),
        "x-transformers": lambda: X(*sizes, flash=False),
        "x-transformers, flash": lambda: X(*sizes, flash=True),
    }
    sides = {}
    for name, build in builds.items():
        seed_everything(seed)
        sides[name] = build()
    return sides
