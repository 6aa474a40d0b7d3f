"""The Transformer: Vaswani et al. 2017 (arXiv 1706.03762), section 3.

Layers take their attention from outside, under one contract: `projected = attend.project(x)` once,
then `attend(query, projected, mask)`. So another attention fits without a change here.
"""

from itertools import chain
from math import sqrt

import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib.kit.arguments import check_at_most, check_ids, check_positive
from lessons_lib.kit.vocabulary import PAD
from lessons_lib.masking import causal_mask
from lessons_lib.multi_head_attention import MultiHeadAttention
from lessons_lib.positional_encoding import positional_encoding


def layer_norm(x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor, eps: float = 1e-5):
    """Give every vector mean 0 and variance 1, then scale and shift: (…, d_model), same shape.

    Ba, Kiros and Hinton 2016 (arXiv 1607.06450), section 3. The variance divides by d_model, and
    eps stands under the root, as in `torch.nn.LayerNorm`, which the layers below use.
    """
    mean = x.mean(dim=-1, keepdim=True)  # (…, 1)
    variance = (x - mean).square().mean(dim=-1, keepdim=True)  # (…, 1)
    return (x - mean) / torch.sqrt(variance + eps) * gamma + beta  # (…, d_model)


class FeedForward(nn.Module):
    """The same two-layer network at every position, max(0, x W_1 + b_1) W_2 + b_2 (section 3.3)."""

    def __init__(self, d_model: int, d_ff: int):
        super().__init__()
        check_positive("d_ff", d_ff)
        self.w_1 = nn.Linear(d_model, d_ff)
        self.w_2 = nn.Linear(d_ff, d_model)

    def forward(self, x):
        """(…, T, d_model) → (…, T, d_model)."""
        rows = x.flatten(0, -2)  # (B·T, d_model): a row for each position, and none sees another
        return self.w_2(self.w_1(rows).relu_()).view(x.shape)  # (B·T, d_ff) → (B, T, d_model)


class PreNorm(nn.Module):
    """x + f(norm(x)): the residual stream itself is never normalised.

    Xiong et al. 2020 (arXiv 2002.04745), section 3.3. Dropout falls on what is added.
    """

    new_norm = nn.LayerNorm
    last = nn.LayerNorm  # what a stack of layers ends with: its sum was never normalised

    def __init__(self, d_model: int, dropout: float = 0.0):
        super().__init__()
        self.norm = self.new_norm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, f):
        """x (B, T, d_model) and a sub-layer f → (B, T, d_model)."""
        return x + self.dropout(f(self.norm(x)))  # (B, T, d_model)


class PostNorm(nn.Module):
    """norm(x + f(x)): the norm stands on the residual stream, as published (section 3.1).

    Dropout falls on what is added (section 5.4).
    """

    new_norm = nn.LayerNorm
    last = nn.Identity  # what a stack of layers ends with: nothing, the last norm was its layer's

    def __init__(self, d_model: int, dropout: float = 0.0):
        super().__init__()
        self.norm = self.new_norm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, f):
        """x (B, T, d_model) and a sub-layer f → (B, T, d_model)."""
        return self.norm(x + self.dropout(f(x)))  # (B, T, d_model)


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward, each added to the residual stream (section 3.1).

    `attend` is any module with `project` and `forward` as `MultiHeadAttention` has them. `residual`
    is `PreNorm` or `PostNorm`. Equal to `torch.nn.TransformerEncoderLayer` with the same weights.
    """

    def __init__(
        self, attend, d_model: int, d_ff: int,
        residual=PreNorm, dropout=0.0, feed_forward=FeedForward,
    ):  # fmt: skip
        super().__init__()
        self.attend = attend
        self.feed_forward = feed_forward(d_model, d_ff)
        self.around_attend = residual(d_model, dropout)
        self.around_feed_forward = residual(d_model, dropout)

    def forward(self, x, mask=None):
        """x (B, T, d_model) → (B, T, d_model)."""
        x = self.around_attend(x, lambda x: self.attend(x, self.attend.project(x), mask))
        return self.around_feed_forward(x, self.feed_forward)  # (B, T, d_model)


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention to the memory, feed-forward (section 3.1).

    `attend` and `cross` are any modules with `project` and `forward` as `MultiHeadAttention` has
    them. Equal to `torch.nn.TransformerDecoderLayer` with the same weights.
    """

    def __init__(
        self, attend, cross, d_model: int, d_ff: int,
        residual=PreNorm, dropout=0.0, feed_forward=FeedForward,
    ):  # fmt: skip
        super().__init__()
        self.attend = attend
        self.cross = cross
        self.feed_forward = feed_forward(d_model, d_ff)
        self.around_attend = residual(d_model, dropout)
        self.around_cross = residual(d_model, dropout)
        self.around_feed_forward = residual(d_model, dropout)

    def forward(self, x, memory, mask=None, memory_mask=None):
        """x (B, T, d_model), memory (B, T_src, d_model) → (B, T, d_model)."""
        x = self.around_attend(x, lambda x: self.attend(x, self.attend.project(x), mask))
        projected = self.cross.project(memory)
        x = self.around_cross(x, lambda x: self.cross(x, projected, memory_mask))
        return self.around_feed_forward(x, self.feed_forward)  # (B, T, d_model)


class Embedding(nn.Module):
    """Words times √d_model, plus sinusoids for their positions (sections 3.4, 3.5).

    Raises:
        ValueError: if d_model is odd, if an id lies outside the vocabulary, or if a sentence is
            empty or longer than max_len.
    """

    def __init__(self, n_words: int, d_model: int, max_len: int, dropout: float = 0.0):
        super().__init__()
        self.words = nn.Embedding(n_words, d_model)
        nn.init.normal_(self.words.weight, std=0.5 * d_model**-0.5)  # times √d_model: 0.5
        self.register_buffer("positions", positional_encoding(max_len, d_model), persistent=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids, first: int = 0):
        """ids (B, T), which stand at positions first, first + 1, … → (B, T, d_model)."""
        check_ids("ids", ids, ("B", "T"), self.words.num_embeddings)
        end = first + ids.shape[1]
        check_at_most("the length of a sentence", end, len(self.positions))
        x = self.words(ids) * sqrt(self.words.embedding_dim)  # (B, T, d_model)
        return self.dropout(x + self.positions[first:end])  # (B, T, d_model)


class Encoder(nn.Module):
    """Words → memory: what the source sentence offers to the decoder (section 3.1).

    `norm` closes the stack: `residual.last` of its layers.
    """

    def __init__(self, embed: nn.Module, layers: list[nn.Module], norm: nn.Module):
        super().__init__()
        self.embed = embed
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(self, src, mask=None):
        """src (B, T_src) → memory (B, T_src, d_model)."""
        x = self.embed(src)  # (B, T_src, d_model)
        for layer in self.layers:
            x = layer(x, mask)  # (B, T_src, d_model)
        return self.norm(x)


class Decoder(nn.Module):
    """Words so far and memory → logits for the next word, at every position (section 3.1).

    `norm` closes the stack: `residual.last` of its layers.
    """

    def __init__(self, embed: nn.Module, layers: list[nn.Module], norm: nn.Module, to_logits):
        super().__init__()
        self.embed = embed
        self.layers = nn.ModuleList(layers)
        self.norm = norm
        self.to_logits = to_logits

    def forward(self, tgt_in, memory, memory_mask=None):
        """tgt_in (B, T), memory (B, T_src, d_model) → logits (B, T, V)."""
        x = self.embed(tgt_in)  # (B, T, d_model)
        # Padding stands at the end of a row: the causal mask keeps it from all real words.
        mask = causal_mask(tgt_in.shape[1], x.device)  # (T, T)
        for layer in self.layers:
            x = layer(x, memory, mask, memory_mask)  # (B, T, d_model)
        return self.to_logits(self.norm(x))  # (B, T, V)


class EncoderDecoderTransformer(nn.Module):
    """An encoder and a decoder: `model(src, tgt_in)` to train, `start` and `step` to decode."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, src, tgt_in):
        """src (B, T_src), tgt_in (B, T) → logits (B, T, V), with the true words read in."""
        memory, memory_mask = self.encode(src)
        return self.decoder(tgt_in, memory, memory_mask)  # (B, T, V)

    def encode(self, src):
        """src (B, T_src) → memory (B, T_src, d_model), and its mask (B, 1, T_src)."""
        mask = (src != PAD)[:, None, :]  # (B, 1, T_src): padding stays out
        return self.encoder(src, mask), mask

    def start(self, src):
        """src (B, T_src) → decoder state: memory, its mask, and the words so far, (B, 0)."""
        return *self.encode(src), src[:, :0]

    def step(self, state, token):
        """One word in, token (B,); logits (B, V) for the next word and the new state out.

        Computes all words so far once more. `CachedTransformer` does not.
        """
        memory, memory_mask, words = state
        words = torch.cat([words, token[:, None]], dim=1)  # (B, T + 1)
        logits = self.decoder(words, memory, memory_mask)  # (B, T + 1, V)
        return logits[:, -1], (memory, memory_mask, words)  # (B, V)


class Transformer(EncoderDecoderTransformer):
    """The Transformer with the paper's attention, feed-forward and sinusoids (section 3).

    `residual` is PreNorm or PostNorm. The defaults are the sizes of the course's number words.
    With PreNorm it equals `torch.nn.Transformer` between embeddings and logits; with PostNorm too,
    but for the norm that torch puts behind its last layer, which the paper does not have.

    Raises:
        ValueError: if d_model is odd or not divisible by n_heads, if a size is below 1, if a word
            id lies outside the vocabulary, or if a sentence is empty or longer than max_len.
    """

    def __init__(
        self, n_src, n_tgt, d_model=64, n_heads=2, d_ff=256, n_layers=2,
        residual=PreNorm, dropout=0.0, max_len=1024,
    ):  # fmt: skip
        check_positive("n_layers", n_layers)
        sizes = d_model, d_ff, residual, dropout

        def heads():
            return MultiHeadAttention(d_model, n_heads, bias=False)  # as in the paper

        encoder = Encoder(
            Embedding(n_src, d_model, max_len, dropout),
            [EncoderLayer(heads(), *sizes) for _ in range(n_layers)],
            residual.last(d_model),
        )
        decoder = Decoder(
            Embedding(n_tgt, d_model, max_len, dropout),
            [DecoderLayer(heads(), heads(), *sizes) for _ in range(n_layers)],
            residual.last(d_model),
            nn.Linear(d_model, n_tgt),
        )
        super().__init__(encoder, decoder)


@torch.no_grad()
def cross_attention_maps(model: Transformer, src: torch.Tensor, tgt_in: torch.Tensor):
    """What each written word attends to in the source: (n_layers, B, H, T, T_src).

    Row t belongs to the word that is written after reading tgt_in[:, t]. The attention runs as
    ever; beside it, its weights are computed once more, to be seen.
    """
    maps = []

    def keep(attend, arguments, _):
        maps.append(attend.weights(*arguments))  # (B, H, T, T_src)

    hooks = [layer.cross.register_forward_hook(keep) for layer in model.decoder.layers]
    try:
        model(src, tgt_in)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(maps)  # (n_layers, B, H, T, T_src)


class Cache:
    """What the layers keep of the words read, such as keys and values, with room for more.

    Use, in each step: `cache = Cache(past, T)`, where T words have been read and n are new; then
    `extend` once for each layer, in their order; `cache.kept` is the next step's `past`. The first
    step's is [taken] with booleans (B, 0, 1), which mark the places in use.

    Most steps copy nothing: they write into free places. Where none is left, or where another
    sentence goes on from the same words and was here first, the step moves to a copy with room. On
    a GPU it does so always: to look whether a place is taken would be to wait.
    """

    def __init__(self, past, T: int, n: int = 1):
        self.T, self.end = T, T + n  # the new words stand at the places T … end − 1
        taken = past[0]  # (B, room, 1)
        if taken.shape[1] < self.end or not taken.is_cpu or taken[:, T : self.end].any():
            more = (0, 0, 0, n + 15)  # that many rows of zeros at the end
            past = [F.pad(x[..., :T, :], more) for x in past]  # (B, …, T + n + 15, d) each
        past[0][:, T : self.end] = True
        self.kept, self.rooms = [past[0]], iter(past[1:])

    def extend(self, new):
        """Put `new`, tensors (B, …, n, d), behind the T kept ones: (B, …, T + n, d) each."""
        for x in new:
            if self.T == 0:  # nothing is kept yet
                room = x.new_zeros(*x.shape[:-2], self.kept[0].shape[1], x.shape[-1])
            else:
                room = next(self.rooms)  # (B, …, room, d)
            room[..., self.T : self.end, :] = x
            self.kept.append(room)
        return [room[..., : self.end, :] for room in self.kept[-len(new) :]]


def read_next(layer: DecoderLayer, x, cache: Cache, projected, memory_mask):
    """Run a decoder layer on the next position alone: x (B, 1, d_model), same shape.

    The `cache` keeps the positions before; `projected` is what it attends to in the memory.
    """
    attend = layer.attend
    x = layer.around_attend(x, lambda x: attend(x, cache.extend(attend.project(x))))
    x = layer.around_cross(x, lambda x: layer.cross(x, projected, memory_mask))
    return layer.around_feed_forward(x, layer.feed_forward)  # (B, 1, d_model)


class Cached(EncoderDecoderTransformer):
    """The same output, but `step` computes the new position only; without gradients.

    The state: the words so far, the mask of the memory, for each layer the memory's key and value,
    and what `Cache` keeps.
    """

    def start(self, src):
        """src (B, T_src) → decoder state, nothing read yet."""
        memory, memory_mask = self.encode(src)
        projected = [layer.cross.project(memory) for layer in self.decoder.layers]
        taken = src.new_zeros(len(src), 0, 1, dtype=torch.bool)  # (B, 0, 1)
        return src[:, :0], memory_mask, *chain(*projected), taken

    def step(self, state, token):
        """One word in, token (B,); logits (B, V) for the next word and the new state out."""
        words, memory_mask, *tensors = state  # (B, T), (B, 1, T_src)
        n, T = 2 * len(self.decoder.layers), words.shape[1]
        keys, values, cache = tensors[0:n:2], tensors[1:n:2], Cache(tensors[n:], T)
        x = self.decoder.embed(token[:, None], first=T)  # (B, 1, d_model)
        for layer, *projected in zip(self.decoder.layers, keys, values, strict=True):
            x = read_next(layer, x, cache, projected, memory_mask)  # (B, 1, d_model)
        words = torch.cat([words, token[:, None]], dim=1)  # (B, T + 1)
        logits = self.decoder.to_logits(self.decoder.norm(x))[:, 0]  # (B, V)
        return logits, (words, memory_mask, *tensors[:n], *cache.kept)


class CachedTransformer(Cached, Transformer):
    """Use: `cached.load_state_dict(model.state_dict())` takes the weights of a `Transformer`."""
