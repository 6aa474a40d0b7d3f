"""Attention as it began: Bahdanau, Cho and Bengio 2014 (arXiv 1409.0473).

The encoder keeps one annotation for each word, and the decoder attends to all of them before it
writes a word. Equations and letters are the paper's (section 3, appendix A.1): annotations h_j,
state s_i, scores e_ij, weights α_ij, context c_i. The other two scores are Luong, Pham and
Manning's (2015, arXiv 1508.04025, section 3.1).
"""

import torch
from torch import nn

from lessons_lib.kit.arguments import check_divisible, check_ids, check_projected, check_shape
from lessons_lib.kit.vocabulary import PAD
from lessons_lib.masking import masked_softmax
from lessons_lib.rnn_bottleneck import GRU


def reverse_tokens(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Reverse the real tokens of each row, (B, T, …), and leave the padding where it is.

    `lengths` (B,) counts the real tokens. Applied twice, it gives back `x`.

    Raises:
        ValueError: if `lengths` is not one number for each row.
    """
    check_shape("lengths", lengths, (len(x),))
    position = torch.arange(x.shape[1], device=x.device)  # (T,)
    mirrored = lengths[:, None] - 1 - position  # (B, T), negative on padding
    source = torch.where(mirrored >= 0, mirrored, position)  # (B, T): what moves to each position
    return x[torch.arange(len(x), device=x.device)[:, None], source]  # (B, T, …)


class BidirectionalEncoder(nn.Module):
    """One annotation for each word: two GRUs, one of them reading backwards (section 3.2).

    Each GRU has half of `d_hidden`. Equal to `torch.nn.GRU(…, bidirectional=True)` on packed
    sequences with the same weights, at the real tokens.
    """

    def __init__(self, n_words: int, d_embed: int, d_hidden: int):
        super().__init__()
        self.embed = nn.Embedding(n_words, d_embed)
        self.forwards = GRU(d_embed, d_hidden // 2)
        self.backwards = GRU(d_embed, d_hidden // 2)

    def forward(self, src):
        """src (B, T_src) → annotations (B, T_src, d_hidden)."""
        check_ids("src", src, ("B", "T_src"), self.embed.num_embeddings)
        lengths = (src != PAD).sum(dim=1)  # (B,)
        x = self.embed(src)  # (B, T_src, d_embed)
        ahead, _ = self.forwards(x)  # (B, T_src, d_hidden/2)
        back, _ = self.backwards(reverse_tokens(x, lengths))  # (B, T_src, d_hidden/2)
        return torch.cat([ahead, reverse_tokens(back, lengths)], dim=-1)  # (B, T_src, d_hidden)


class Attention(nn.Module):
    """Score, softmax, weighted sum. A subclass says how to `project` and how to take `scores`.

    Use: `projected = attend.project(annotations)` once for each sentence, then
    `attend(query, projected, mask)` for each word.
    """

    def weights(self, query, projected, mask=None):
        """The paper's α: how much of each annotation goes into the context, (B, T_q, T_k)."""
        check_projected(query, query.shape[-1], projected, mask)
        key, _ = projected
        return masked_softmax(self.scores(query, key), mask)  # (B, T_q, T_k)

    def forward(self, query, projected, mask=None):
        """query (B, T_q, d_query) → context (B, T_q, d_key), the weighted sum of annotations."""
        _, annotations = projected
        return self.weights(query, projected, mask) @ annotations  # (B, T_q, d_key)


class AdditiveAttention(Attention):
    """The paper's alignment model, e_ij = v_aᵀ tanh(W_a s_{i−1} + U_a h_j) (appendix A.1.2).

    U_a h_j does not depend on the decoder: `project` computes it once for each sentence.
    """

    def __init__(self, d_query: int, d_key: int, d_a: int):
        super().__init__()
        self.w_a = nn.Linear(d_query, d_a, bias=False)
        self.u_a = nn.Linear(d_key, d_a, bias=False)
        self.v_a = nn.Linear(d_a, 1, bias=False)

    def project(self, annotations):
        """Once for each sentence: (B, T_k, d_key) → key U_a h_j (B, T_k, d_a), annotations."""
        check_shape("annotations", annotations, ("B", "T_k", self.u_a.in_features))
        return self.u_a(annotations), annotations  # (B, T_k, d_a), (B, T_k, d_key)

    def scores(self, query, key):
        """query, before W_a (B, T_q, d_query), key (B, T_k, d_a) → scores (B, T_q, T_k)."""
        check_shape("query", query, (len(key), "T_q", self.w_a.in_features))
        pairs = self.w_a(query)[:, :, None] + key[:, None]  # (B, T_q, T_k, d_a)
        return self.v_a(torch.tanh(pairs)).squeeze(-1)  # (B, T_q, T_k)


class DotAttention(Attention):
    """Luong's dot score, e_ij = sᵀ h_j: nothing to learn, state and annotation of one width."""

    def project(self, annotations):
        """Nothing to compute: the annotations (B, T_k, d_key) are the keys."""
        check_shape("annotations", annotations, ("B", "T_k", "d_key"))
        return annotations, annotations  # (B, T_k, d_key) each

    def scores(self, query, key):
        """query (B, T_q, d_key), key (B, T_k, d_key) → scores (B, T_q, T_k)."""
        check_shape("query", query, (len(key), "T_q", key.shape[-1]))
        return query @ key.transpose(1, 2)  # (B, T_q, T_k)


class GeneralAttention(DotAttention):
    """Luong's general score, e_ij = sᵀ W_a h_j: W_a makes a key of each annotation."""

    def __init__(self, d_query: int, d_key: int):
        super().__init__()
        self.w_a = nn.Linear(d_key, d_query, bias=False)

    def project(self, annotations):
        """Once for each sentence: (B, T_k, d_key) → key W_a h_j (B, T_k, d_query), annotations."""
        check_shape("annotations", annotations, ("B", "T_k", self.w_a.in_features))
        return self.w_a(annotations), annotations  # (B, T_k, d_query), (B, T_k, d_key)


class AttentionDecoder(nn.Module):
    """Lesson 1's decoder with a fresh context for every word (section 3.1, appendix A.2.2).

    `attend` is any module with `project` and `forward` as `Attention` has them; it makes contexts
    of width `d_key`.
    """

    def __init__(self, n_words: int, d_embed: int, d_hidden: int, attend: nn.Module, d_key: int):
        super().__init__()
        self.embed = nn.Embedding(n_words, d_embed)
        self.attend = attend
        self.rnn = GRU(d_embed, d_hidden)
        self.context_to_gates = nn.Linear(d_key, 3 * d_hidden, bias=False)
        self.to_logits = nn.Linear(d_hidden + d_key, n_words)

    def forward(self, tgt_in, projected, mask, state):
        """tgt_in (B, T), mask (B, 1, T_src), state (B, d_hidden) → logits (B, T, V), last state."""
        check_ids("tgt_in", tgt_in, ("B", "T"), self.embed.num_embeddings)
        from_words = self.rnn.x_to_gates(self.embed(tgt_in))  # (B, T, 3·d_hidden): all at once
        read = []
        for from_word in from_words.unbind(dim=1):  # (B, 3·d_hidden)
            context = self.attend(state[:, None], projected, mask)[:, 0]  # (B, d_key)
            from_x = from_word + self.context_to_gates(context)  # (B, 3·d_hidden)
            state = self.rnn.step(from_x, state)  # (B, d_hidden)
            read.append(torch.cat([state, context], dim=-1))  # (B, d_hidden + d_key)
        return self.to_logits(torch.stack(read, dim=1)), state  # (B, T, V), (B, d_hidden)


class AttentionEncoderDecoder(nn.Module):
    """Translation that attends to the source at every word (Bahdanau et al. 2014, section 3).

    `attend` takes queries of width `d_hidden` and annotations of width `d_hidden`, and gives
    contexts of width `d_hidden`; without it, additive attention. The first state is the paper's,
    tanh(W_s h_1), from what the backward GRU says at the first word (appendix A.2.2).
    """

    def __init__(self, n_src, n_tgt, d_embed: int = 64, d_hidden: int = 128, attend=None):
        super().__init__()
        check_divisible("d_hidden", d_hidden, by=2)  # half for each reading direction
        if attend is None:
            attend = AdditiveAttention(d_hidden, d_hidden, d_a=d_hidden // 2)
        self.encoder = BidirectionalEncoder(n_src, d_embed, d_hidden)
        self.to_state = nn.Linear(d_hidden // 2, d_hidden)
        self.decoder = AttentionDecoder(n_tgt, d_embed, d_hidden, attend, d_key=d_hidden)

    def forward(self, src, tgt_in):
        """src (B, T_src), tgt_in (B, T) → logits (B, T, V), with the true words read in."""
        start = self.start(src)
        (state, mask), projected = start[:2], start[2:]
        logits, _ = self.decoder(tgt_in, projected, mask, state)  # (B, T, V)
        return logits

    def start(self, src):
        """src (B, T_src) → decoder state, mask (B, 1, T_src), and what the attention projects."""
        annotations = self.encoder(src)  # (B, T_src, d_hidden)
        _, back = annotations[:, 0].chunk(2, dim=-1)  # (B, d_hidden/2): it has read all words
        mask = (src != PAD)[:, None, :]  # (B, 1, T_src): padding stays out
        return torch.tanh(self.to_state(back)), mask, *self.decoder.attend.project(annotations)

    def step(self, state, token):
        """One word in, token (B,); logits (B, V) for the next word and the new state out."""
        (hidden, mask), projected = state[:2], state[2:]
        logits, hidden = self.decoder(token[:, None], projected, mask, hidden)  # (B, 1, V)
        return logits[:, 0], (hidden, mask, *projected)  # (B, V)


@torch.no_grad()
def alignment(model: AttentionEncoderDecoder, src: torch.Tensor, tgt_in: torch.Tensor):
    """The weights behind every word: src (B, T_src), tgt_in (B, T) → α (B, T, T_src).

    Row t holds the weights for the word that is written after reading tgt_in[:, t].
    """
    state = model.start(src)
    rows = []
    for token in tgt_in.unbind(dim=1):  # (B,)
        (hidden, mask), projected = state[:2], state[2:]
        rows.append(model.decoder.attend.weights(hidden[:, None], projected, mask))
        _, state = model.step(state, token)
    return torch.cat(rows, dim=-2)  # (B, T, T_src)
