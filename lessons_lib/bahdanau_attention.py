"""Attention as it began: Bahdanau, Cho and Bengio 2014 (arXiv 1409.0473).

The encoder keeps one annotation for each word, the decoder looks at all of them before it writes
a word. Names and equations are the paper's (section 3, appendix A.1); Luong et al. 2015
(arXiv 1508.04025, section 3.1) for the other two scores.
"""

import torch
from torch import nn

from lessons_lib.kit.arguments import check_ids
from lessons_lib.kit.vocabulary import PAD
from lessons_lib.masking import masked_softmax
from lessons_lib.rnn_bottleneck import GRU


def reverse_tokens(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Reverse the real tokens of each row and leave the padding where it is: (B, T, …).

    `lengths` (B,) counts the real tokens. Applied twice, it gives back `x`.
    """
    place = torch.arange(x.shape[1], device=x.device)  # (T,)
    mirrored = lengths[:, None] - 1 - place  # (B, T), negative on padding
    source = torch.where(mirrored >= 0, mirrored, place)  # (B, T)
    return x[torch.arange(len(x), device=x.device)[:, None], source]  # (B, T, …)


class BidirectionalEncoder(nn.Module):
    """Annotations: for each word, what a forward and a backward GRU say (section 3.2)."""

    def __init__(self, n_words: int, d_embed: int, d_hidden: int):
        super().__init__()
        self.embed = nn.Embedding(n_words, d_embed)
        self.forwards = GRU(d_embed, d_hidden)
        self.backwards = GRU(d_embed, d_hidden)

    def forward(self, src):
        """src (B, T_src) → annotations (B, T_src, 2·d_hidden)."""
        check_ids("src", src, ("B", "T_src"), self.embed.num_embeddings)
        lengths = (src != PAD).sum(dim=1)  # (B,)
        x = self.embed(src)  # (B, T_src, d_embed)
        ahead, _ = self.forwards(x)  # (B, T_src, d_hidden)
        back, _ = self.backwards(reverse_tokens(x, lengths))  # (B, T_src, d_hidden)
        return torch.cat([ahead, reverse_tokens(back, lengths)], dim=-1)  # (B, T_src, 2·d_hidden)


class AdditiveAttention(nn.Module):
    """The alignment model a(s, h) = v_aᵀ tanh(W_a s + U_a h) (appendix A.1.2).

    U_a h does not depend on the decoder: `project` computes it once for each sentence.
    """

    def __init__(self, d_query: int, d_key: int, d_a: int):
        super().__init__()
        self.w_a = nn.Linear(d_query, d_a, bias=False)
        self.u_a = nn.Linear(d_key, d_a, bias=False)
        self.v_a = nn.Linear(d_a, 1, bias=False)

    def project(self, annotations):
        """What is attended to, computed once: (B, T_k, d_key) → key (B, T_k, d_a), value."""
        return self.u_a(annotations), annotations

    def scores(self, query, key):
        """query (B, T_q, d_query), key (B, T_k, d_a) → (B, T_q, T_k)."""
        pairs = self.w_a(query)[:, :, None] + key[:, None]  # (B, T_q, T_k, d_a)
        return self.v_a(torch.tanh(pairs)).squeeze(-1)  # (B, T_q, T_k)

    def weights(self, query, projected, mask=None):
        """The paper's α: how much of each annotation goes into the context, (B, T_q, T_k)."""
        key, _ = projected
        return masked_softmax(self.scores(query, key), mask)  # (B, T_q, T_k)

    def forward(self, query, projected, mask=None):
        """query (B, T_q, d_query) → context (B, T_q, d_key), the weighted sum of annotations."""
        _, value = projected
        return self.weights(query, projected, mask) @ value  # (B, T_q, d_key)


class AttentionDecoder(nn.Module):
    """Before each word it looks at all annotations, and reads a fresh context (section 3.1)."""

    def __init__(self, n_words: int, d_embed: int, d_hidden: int, attend: nn.Module, d_key: int):
        super().__init__()
        self.embed = nn.Embedding(n_words, d_embed)
        self.attend = attend
        self.rnn = GRU(d_embed + d_key, d_hidden)
        self.to_logits = nn.Linear(d_hidden + d_key, n_words)

    def forward(self, tgt_in, projected, mask, state):
        """tgt_in (B, T), mask (B, 1, T_src), state (B, d_hidden) → logits (B, T, V), last state."""
        check_ids("tgt_in", tgt_in, ("B", "T"), self.embed.num_embeddings)
        words = self.embed(tgt_in)  # (B, T, d_embed)
        read = []
        for t in range(tgt_in.shape[1]):
            context = self.attend(state[:, None], projected, mask)  # (B, 1, d_key)
            x = torch.cat([words[:, t : t + 1], context], dim=-1)  # (B, 1, d_embed + d_key)
            _, state = self.rnn(x, state)  # (B, d_hidden)
            read.append(torch.cat([state[:, None], context], dim=-1))
        return self.to_logits(torch.cat(read, dim=1)), state  # (B, T, V), (B, d_hidden)
