"""Lesson 6's two attention layers that know how far apart two words stand."""

from lessons_lib.multi_head_attention import MultiHeadAttention
from lessons_lib.positional_encoding import alibi_bias, rotate


class Rotary(MultiHeadAttention):
    def scores(self, query, key):
        return super().scores(rotate(query), rotate(key))


class Biased(MultiHeadAttention):
    def scores(self, query, key):
        scores = super().scores(query, key)
        return scores + alibi_bias(scores.shape[-1], self.n_heads).to(scores)
