"""Recurrent networks, and the encoder–decoder whose memory is one vector.

RNN (Elman 1990), GRU (Cho et al. 2014, arXiv 1406.1078), LSTM (Hochreiter and Schmidhuber 1997),
and the encoder–decoder with a fixed context (Cho et al. 2014, section 2.2).
"""

import torch
from torch import nn

from lessons_lib.kit.arguments import check_ids, check_shape
from lessons_lib.kit.vocabulary import PAD


class RNN(nn.Module):
    """h_t = tanh(x_t W_x + h_{t−1} W_h + b): one memory, rewritten at every word.

    Equal to `torch.nn.RNN(d_in, d_hidden, batch_first=True)` with the same weights.
    """

    def __init__(self, d_in: int, d_hidden: int):
        super().__init__()
        self.x_to_h = nn.Linear(d_in, d_hidden)
        self.h_to_h = nn.Linear(d_hidden, d_hidden)

    def forward(self, x, state=None):
        """Read x (B, T, d_in); return all states (B, T, d_hidden) and the last (B, d_hidden)."""
        check_shape("x", x, ("B", "T", self.x_to_h.in_features))
        if state is None:
            state = x.new_zeros(len(x), self.h_to_h.in_features)  # (B, d_hidden)
        from_x = self.x_to_h(x)  # (B, T, d_hidden): all words at once
        states = []
        for from_word in from_x.unbind(dim=1):  # the memory: one word after the other
            state = torch.tanh(from_word + self.h_to_h(state))  # (B, d_hidden)
            states.append(state)
        return torch.stack(states, dim=1), state  # (B, T, d_hidden), (B, d_hidden)


class GRU(nn.Module):
    """A gated RNN (Cho et al. 2014, equations 5–8): it can keep its memory as it is.

    Follows torch's reading, where the update gate z says how much is *kept*, and the reset gate r
    acts after the matrix. Equal to `torch.nn.GRU(d_in, d_hidden, batch_first=True)` with the same
    weights, gates in the order r, z, n.
    """

    def __init__(self, d_in: int, d_hidden: int):
        super().__init__()
        self.x_to_gates = nn.Linear(d_in, 3 * d_hidden)
        self.h_to_gates = nn.Linear(d_hidden, 3 * d_hidden)

    def forward(self, x, state=None):
        """Read x (B, T, d_in); return all states (B, T, d_hidden) and the last (B, d_hidden)."""
        check_shape("x", x, ("B", "T", self.x_to_gates.in_features))
        if state is None:
            state = x.new_zeros(len(x), self.h_to_gates.in_features)  # (B, d_hidden)
        from_x = self.x_to_gates(x)  # (B, T, 3·d_hidden): all words at once
        states = []
        for from_word in from_x.unbind(dim=1):  # the memory: one word after the other
            state = self.step(from_word, state)  # (B, d_hidden)
            states.append(state)
        return torch.stack(states, dim=1), state  # (B, T, d_hidden), (B, d_hidden)

    def step(self, from_x, state):
        """One word: from_x (B, 3·d_hidden) and the old state (B, d_hidden) give the new state."""
        x_r, x_z, x_n = from_x.chunk(3, dim=-1)  # (B, d_hidden) each
        h_r, h_z, h_n = self.h_to_gates(state).chunk(3, dim=-1)  # (B, d_hidden) each
        r = torch.sigmoid(x_r + h_r)  # reset: how much of the past shapes the proposal
        z = torch.sigmoid(x_z + h_z)  # update: how much of the past is kept
        n = torch.tanh(x_n + r * h_n)  # the proposed new memory
        return (1 - z) * n + z * state  # (B, d_hidden)


class LSTM(nn.Module):
    """A gated RNN with a second memory, the cell c: some of it fades, some is added.

    Equal to `torch.nn.LSTM(d_in, d_hidden, batch_first=True)` with the same weights, gates in the
    order i, f, g, o.
    """

    def __init__(self, d_in: int, d_hidden: int):
        super().__init__()
        self.x_to_gates = nn.Linear(d_in, 4 * d_hidden)
        self.h_to_gates = nn.Linear(d_hidden, 4 * d_hidden)

    def forward(self, x, state=None):
        """Read x (B, T, d_in); return all h (B, T, d_hidden) and the last (h, c)."""
        check_shape("x", x, ("B", "T", self.x_to_gates.in_features))
        if state is None:
            state = (x.new_zeros(len(x), self.h_to_gates.in_features),) * 2  # 2 × (B, d_hidden)
        h, c = state
        from_x = self.x_to_gates(x)  # (B, T, 4·d_hidden)
        states = []
        for from_word in from_x.unbind(dim=1):
            i, f, g, o = (from_word + self.h_to_gates(h)).chunk(4, dim=-1)  # (B, d_hidden) each
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)  # forget some, add some
            h = torch.sigmoid(o) * torch.tanh(c)  # (B, d_hidden): show some
            states.append(h)
        return torch.stack(states, dim=1), (h, c)  # (B, T, d_hidden), 2 × (B, d_hidden)


class Encoder(nn.Module):
    """Reads a sentence word by word; its last state is all that the decoder will ever see."""

    def __init__(self, n_words: int, d_embed: int, d_hidden: int):
        super().__init__()
        self.embed = nn.Embedding(n_words, d_embed)
        self.rnn = GRU(d_embed, d_hidden)

    def forward(self, src):
        """src (B, T_src) → states (B, T_src, d_hidden), and the state after the last real word."""
        check_ids("src", src, ("B", "T_src"), self.embed.num_embeddings)
        states, _ = self.rnn(self.embed(src))  # (B, T_src, d_hidden)
        last = (src != PAD).sum(dim=1) - 1  # (B,): padding stands on the right
        rows = torch.arange(len(src), device=src.device)  # (B,)
        context = states[rows, last]  # (B, d_hidden): from row i, state last[i]
        return states, context


class Decoder(nn.Module):
    """Writes a sentence word by word; the same context goes in at every step."""

    def __init__(self, n_words: int, d_embed: int, d_hidden: int):
        super().__init__()
        self.embed = nn.Embedding(n_words, d_embed)
        self.rnn = GRU(d_embed + d_hidden, d_hidden)
        self.to_logits = nn.Linear(d_hidden, n_words)

    def forward(self, tgt_in, context, state):
        """tgt_in (B, T), context and state (B, d_hidden) → logits (B, T, V), last state."""
        check_ids("tgt_in", tgt_in, ("B", "T"), self.embed.num_embeddings)
        fixed = context[:, None].expand(-1, tgt_in.shape[1], -1)  # (B, T, d_hidden): T times
        x = torch.cat([self.embed(tgt_in), fixed], dim=-1)  # (B, T, d_embed + d_hidden)
        states, state = self.rnn(x, state)  # (B, T, d_hidden), (B, d_hidden)
        return self.to_logits(states), state  # (B, T, V), (B, d_hidden)


class EncoderDecoder(nn.Module):
    """Translation through one vector (Cho et al. 2014, section 2.2; Sutskever et al. 2014)."""

    def __init__(self, n_src: int, n_tgt: int, d_embed: int = 64, d_hidden: int = 128):
        super().__init__()
        self.encoder = Encoder(n_src, d_embed, d_hidden)
        self.decoder = Decoder(n_tgt, d_embed, d_hidden)

    def forward(self, src, tgt_in):
        """src (B, T_src), tgt_in (B, T) → logits (B, T, V), with the true words read in."""
        _, context = self.encoder(src)  # (B, d_hidden)
        logits, _ = self.decoder(tgt_in, context, context)  # (B, T, V)
        return logits

    def start(self, src):
        """src (B, T_src) → the state before the first word: (decoder state, context)."""
        _, context = self.encoder(src)  # (B, d_hidden)
        return context, context

    def step(self, state, token):
        """One word in, token (B,); logits (B, V) for the next word and the new state out."""
        hidden, context = state
        logits, hidden = self.decoder(token[:, None], context, hidden)  # (B, 1, V)
        return logits[:, 0], (hidden, context)  # (B, V)
