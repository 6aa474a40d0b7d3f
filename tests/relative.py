"""Lesson 6's two attention layers that know how far apart two words stand."""

from lessons_lib.multi_head_attention import MultiHeadAttention
from lessons_lib.positional_encoding import alibi_bias, rotate


class Rotary(MultiHeadAttention):
    def per_head(self, query, projected):
        query, key, value = super().per_head(query, projected)
        return rotate(query, first=key.shape[-2] - query.shape[-2]), rotate(key), value


class Biased(MultiHeadAttention):
    def scores(self, query, key):
        scores = super().scores(query, key)
        T_q, T_k = scores.shape[-2:]
        return scores + alibi_bias(T_k, self.n_heads)[:, T_k - T_q :].to(scores)
