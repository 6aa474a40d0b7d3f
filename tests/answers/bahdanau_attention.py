"""Answers to the exercises of lesson 2.

RIGHT: the same function in other styles; all must pass. UNNAMED: wrong answers that make no known
mistake, or two at once; they must fail, and none may be given a name.
"""

import torch
from torch.nn import functional as F

from lessons_lib.bahdanau_attention import AdditiveAttention, reverse_tokens
from lessons_lib.masking import masked_softmax

# --- additive_scores ------------------------------------------------------------------------------


def scores_broadcast(query, key, w_a, u_a, v_a):
    return torch.tanh((query @ w_a).unsqueeze(2) + (key @ u_a).unsqueeze(1)) @ v_a


def scores_einsum(query, key, w_a, u_a, v_a):
    ours = torch.einsum("bqd,da->bqa", query, w_a)
    theirs = torch.einsum("bkd,da->bka", key, u_a)
    sums = ours.unsqueeze(2) + theirs.unsqueeze(1)
    return torch.einsum("bqka,a->bqk", torch.tanh(sums), v_a)


def scores_key_by_key(query, key, w_a, u_a, v_a):
    columns = [torch.tanh(query @ w_a + (h @ u_a)[:, None]) @ v_a for h in key.unbind(1)]
    return torch.stack(columns, dim=-1)


def scores_of_concatenation(query, key, w_a, u_a, v_a):
    T_q, T_k = query.shape[1], key.shape[1]
    both = torch.cat(
        [query[:, :, None].expand(-1, -1, T_k, -1), key[:, None].expand(-1, T_q, -1, -1)], dim=-1
    )
    return (torch.tanh(both @ torch.cat([w_a, u_a])) * v_a).sum(-1)


def scores_by_the_module(query, key, w_a, u_a, v_a):
    attend = AdditiveAttention(*w_a.shape[:1], *u_a.shape)
    weights = {"w_a.weight": w_a.T, "u_a.weight": u_a.T, "v_a.weight": v_a[None]}
    keys = F.linear(key, u_a.T)

    class Scores(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = attend

        def forward(self):
            return self.attend.scores(query, keys)

    named = {f"attend.{name}": weight for name, weight in weights.items()}
    return torch.func.functional_call(Scores(), named)


# --- context --------------------------------------------------------------------------------------


def context_minus_inf(scores, annotations, mask):
    return scores.masked_fill(mask.logical_not(), float("-inf")).softmax(-1) @ annotations


def context_where_large_negative(scores, annotations, mask):
    weights = torch.softmax(torch.where(mask, scores, torch.tensor(-1e9)), dim=-1)
    return torch.einsum("bqk,bkd->bqd", weights, annotations)


def context_by_the_doorman(scores, annotations, mask):
    return torch.bmm(masked_softmax(scores, mask), annotations)


def context_renormalised(scores, annotations, mask):
    powers = (scores - scores.amax(-1, keepdim=True)).double().exp() * mask
    return (powers / powers.sum(-1, keepdim=True)).float() @ annotations


def context_additive_mask(scores, annotations, mask):
    blocked = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
    return torch.matmul((scores + blocked).log_softmax(2).exp(), annotations)


# --- bidirectional --------------------------------------------------------------------------------


def real_places(x, lengths):
    return (torch.arange(x.shape[1]) < lengths[:, None])[..., None]  # (B, T, 1)


def both_ways_with_the_lesson(x, lengths, ahead, back):
    behind = reverse_tokens(back(reverse_tokens(x, lengths)), lengths)
    return torch.cat([ahead(x), behind], dim=2) * real_places(x, lengths)


def both_ways_row_by_row(x, lengths, ahead, back):
    rows = []
    for row, n in zip(x, lengths.tolist(), strict=True):
        real = row[None, :n]
        both = torch.cat([ahead(real), back(real.flip(1)).flip(1)], dim=2)[0]
        rows.append(F.pad(both, (0, 0, 0, x.shape[1] - n)))
    return torch.stack(rows)


def both_ways_rolled(x, lengths, ahead, back):
    """Flip whole rows, roll the padding to the end, read, and undo both."""
    T = x.shape[1]

    def turn(y):
        flipped = y.flip(1)
        return torch.stack([row.roll(int(n) - T, 0) for row, n in zip(flipped, lengths)])  # noqa: B905

    both = torch.cat([ahead(x), turn(back(turn(x)))], dim=-1)
    return torch.where(real_places(x, lengths), both, 0.0)


def both_ways_gathered(x, lengths, ahead, back):
    place = torch.arange(x.shape[1]).expand(len(x), -1)
    source = torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)
    index = source[..., None].expand_as(x)
    behind = back(x.gather(1, index)).gather(1, index)
    return torch.cat((ahead(x), behind), -1).masked_fill(~real_places(x, lengths), 0)


# --- crossings ------------------------------------------------------------------------------------


def crossings_triu(weights):
    looks = weights.argmax(1)
    return (looks[:, None] > looks[None]).triu(1).sum()


def crossings_loops(weights):
    looks = torch.argmax(weights, dim=-1)
    count = torch.tensor(0)
    for i in range(len(looks)):
        for j in range(i):
            if looks[j] > looks[i]:
                count += 1
    return count


def crossings_combinations(weights):
    looks = weights.max(dim=1).indices
    pairs = torch.combinations(looks)
    return torch.sum(pairs[:, 0] > pairs[:, 1])


def crossings_python_int(weights):
    looks = weights.argmax(1).tolist()
    return torch.tensor(sum(b < a for i, a in enumerate(looks) for b in looks[i + 1 :]))


# --- words_looked_at ------------------------------------------------------------------------------


def looked_entr(weights):
    return torch.exp(torch.special.entr(weights).sum(-1))


def looked_clamped(weights):
    return (-(weights * weights.clamp(min=1e-30).log()).sum(dim=2)).exp()


def looked_xlogy(weights):
    return (-torch.xlogy(weights, weights).sum(-1)).exp()


def looked_in_bits(weights):
    bits = -torch.where(weights > 0, weights * weights.log2(), 0.0).sum(-1)
    return 2**bits


def looked_as_product(weights):
    return (weights**-weights).prod(dim=-1)


RIGHT = {
    "additive_scores": [
        scores_broadcast,
        scores_einsum,
        scores_key_by_key,
        scores_of_concatenation,
        scores_by_the_module,
    ],
    "context": [
        context_minus_inf,
        context_where_large_negative,
        context_by_the_doorman,
        context_renormalised,
        context_additive_mask,
    ],
    "bidirectional": [
        both_ways_with_the_lesson,
        both_ways_row_by_row,
        both_ways_rolled,
        both_ways_gathered,
    ],
    "crossings": [
        crossings_triu,
        crossings_loops,
        crossings_combinations,
        crossings_python_int,
    ],
    "words_looked_at": [
        looked_entr,
        looked_clamped,
        looked_xlogy,
        looked_in_bits,
        looked_as_product,
    ],
}


# --- wrong, and no known mistake ------------------------------------------------------------------


def scores_without_tanh_and_softmaxed(query, key, w_a, u_a, v_a):
    return (((query @ w_a)[:, :, None] + (key @ u_a)[:, None]) @ v_a).softmax(-1)


def context_masked_after_and_averaged(scores, annotations, mask):
    return (scores.softmax(-1) * mask) @ annotations / scores.shape[-1]


def both_ways_times_two(x, lengths, ahead, back):
    return 2 * both_ways_gathered(x, lengths, ahead, back)


UNNAMED = {
    "additive_scores": [
        scores_without_tanh_and_softmaxed,
        lambda query, key, w_a, u_a, v_a: scores_broadcast(query, key, w_a, u_a, v_a) + 1e-2,
        lambda query, key, w_a, u_a, v_a: torch.zeros(len(query), query.shape[1], key.shape[1]),
    ],
    "context": [
        context_masked_after_and_averaged,
        lambda scores, annotations, mask: annotations.mean(1, keepdim=True).expand(
            -1, scores.shape[1], -1
        ),
    ],
    "bidirectional": [
        both_ways_times_two,
        lambda x, lengths, ahead, back: torch.cat([x, x], dim=-1),
    ],
    "crossings": [
        lambda weights: crossings_triu(weights) + 1,
        lambda weights: torch.tensor(0),
    ],
    "words_looked_at": [
        lambda weights: 1 / weights.square().sum(-1),
        lambda weights: 1 / weights.amax(-1),
    ],
}
