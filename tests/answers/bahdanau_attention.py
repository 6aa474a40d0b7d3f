"""Answers to the exercises of lesson 2.

RIGHT: the same function in other styles; all must pass. NAMED: wrong answers as learners
wrote them, with the name that each must get. UNNAMED: wrong answers that make no known mistake, or
two at once; they must fail, and none may be given a name.
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


def scores_from_a_column(query, key, w_a, u_a, v_a):
    sums = (query @ w_a)[:, :, None] + (key @ u_a)[:, None]
    return (torch.tanh(sums) @ v_a[:, None]).squeeze(3)


def scores_from_exp_of_minus(query, key, w_a, u_a, v_a):
    sums = (query @ w_a)[:, :, None] + (key @ u_a)[:, None]
    small = (-2 * sums.abs()).exp()  # at most 1
    return ((1 - small) / (1 + small) * sums.sign()) @ v_a


# --- context --------------------------------------------------------------------------------------


def context_minus_inf(scores, annotations, mask):
    return scores.masked_fill(mask.logical_not(), float("-inf")).softmax(-1) @ annotations


def context_where_large_negative(scores, annotations, mask):
    weights = torch.softmax(torch.where(mask, scores, torch.tensor(-1e9)), dim=-1)
    return torch.einsum("bqk,bkd->bqd", weights, annotations)


def context_by_masked_softmax(scores, annotations, mask):
    return torch.bmm(masked_softmax(scores, mask), annotations)


def context_renormalised(scores, annotations, mask):
    real = scores.where(mask, -torch.inf)
    powers = (real - real.amax(-1, keepdim=True)).double().exp()
    return (powers / powers.sum(-1, keepdim=True)).float() @ annotations


def context_low_score_added(scores, annotations, mask):
    return (scores + (~mask) * torch.finfo(torch.float32).min / 2).softmax(-1) @ annotations


def context_by_fused_attention(scores, annotations, mask):
    """The scores as queries and unit vectors as keys: their dot products are the scores."""
    units = torch.eye(scores.shape[2]).expand(len(scores), -1, -1)
    return F.scaled_dot_product_attention(scores, units, annotations, attn_mask=mask, scale=1.0)


def context_word_by_word(scores, annotations, mask):
    rows = []
    for e, notes, real in zip(scores, annotations, mask[:, 0], strict=True):
        rows.append(torch.softmax(e[:, real], dim=1) @ notes[real])
    return torch.stack(rows)


def context_additive_mask(scores, annotations, mask):
    blocked = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
    return torch.matmul((scores + blocked).log_softmax(2).exp(), annotations)


# --- bidirectional --------------------------------------------------------------------------------


def real_positions(x, lengths):
    return (torch.arange(x.shape[1]) < lengths[:, None])[..., None]  # (B, T, 1)


def both_ways_with_the_lesson(x, lengths, ahead, back):
    behind = reverse_tokens(back(reverse_tokens(x, lengths)), lengths)
    return torch.cat([ahead(x), behind], dim=2) * real_positions(x, lengths)


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
    return torch.where(real_positions(x, lengths), both, 0.0)


def both_ways_gathered(x, lengths, ahead, back):
    place = torch.arange(x.shape[1]).expand(len(x), -1)
    source = torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)
    index = source[..., None].expand_as(x)
    behind = back(x.gather(1, index)).gather(1, index)
    return torch.cat((ahead(x), behind), -1).masked_fill(~real_positions(x, lengths), 0)


def both_ways_padding_cleared_first(x, lengths, ahead, back):
    """Needless, but right: each row is turned within its own length."""
    return both_ways_with_the_lesson(x * real_positions(x, lengths), lengths, ahead, back)


# --- crossings ------------------------------------------------------------------------------------


def crossings_triu(weights):
    attended = weights.argmax(1)
    return (attended[:, None] > attended[None]).triu(1).sum()


def crossings_loops(weights):
    attended = torch.argmax(weights, dim=-1).tolist()
    count = torch.tensor(0)
    for i in range(len(attended)):
        for j in range(i):
            if attended[j] > attended[i]:
                count += 1
    return count


def crossings_combinations(weights):
    attended = weights.max(dim=1).indices
    pairs = torch.combinations(attended)
    return torch.sum(pairs[:, 0] > pairs[:, 1])


def crossings_python_int(weights):
    attended = weights.argmax(1).tolist()
    return torch.tensor(sum(b < a for i, a in enumerate(attended) for b in attended[i + 1 :]))


def crossings_one_hot(weights):
    T_k = weights.shape[1]
    one_hot = F.one_hot(weights.argmax(1), T_k)  # (T_q, T_k)
    seen_before = one_hot.cumsum(0) - one_hot  # earlier words at each position
    further_right = seen_before.flip(1).cumsum(1).flip(1) - seen_before
    return (further_right * one_hot).sum()


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


def looked_by_categorical(weights):
    return torch.distributions.Categorical(probs=weights).entropy().exp()


def looked_as_product(weights):
    return (weights**-weights).prod(dim=-1)


RIGHT = {
    "additive_scores": [
        scores_broadcast,
        scores_einsum,
        scores_key_by_key,
        scores_of_concatenation,
        scores_by_the_module,
        scores_from_a_column,
        scores_from_exp_of_minus,
    ],
    "context": [
        context_minus_inf,
        context_where_large_negative,
        context_by_masked_softmax,
        context_renormalised,
        context_additive_mask,
        context_low_score_added,
        context_by_fused_attention,
        context_word_by_word,
    ],
    "bidirectional": [
        both_ways_with_the_lesson,
        both_ways_row_by_row,
        both_ways_rolled,
        both_ways_gathered,
        both_ways_padding_cleared_first,
    ],
    "crossings": [
        crossings_triu,
        crossings_loops,
        crossings_combinations,
        crossings_python_int,
        crossings_one_hot,
    ],
    "words_looked_at": [
        looked_entr,
        looked_clamped,
        looked_xlogy,
        looked_in_bits,
        looked_as_product,
        looked_by_categorical,
    ],
}


# --- wrong, with a name ---------------------------------------------------------------------------


def sums_of(query, key, w_a, u_a):
    return (query @ w_a).unsqueeze(2) + (key @ u_a).unsqueeze(1)


def scores_without_any_axis(query, key, w_a, u_a, v_a):
    return (torch.tanh(query @ w_a + key @ u_a) * v_a).sum(-1)


def scores_room_for_keys_only(query, key, w_a, u_a, v_a):
    return torch.tanh((query @ w_a).unsqueeze(2) + key @ u_a) @ v_a


def scores_room_for_queries_only(query, key, w_a, u_a, v_a):
    return torch.tanh(query @ w_a + (key @ u_a).unsqueeze(1)) @ v_a


def scores_u_twice(query, key, w_a, u_a, v_a):
    return torch.tanh((query @ u_a)[:, :, None] + (key @ u_a)[:, None]) @ v_a


def scores_by_linear(query, key, w_a, u_a, v_a):
    return torch.tanh(F.linear(query, w_a)[:, :, None] + F.linear(key, u_a)[:, None]) @ v_a


def scores_squeezed(query, key, w_a, u_a, v_a):
    return (torch.tanh(sums_of(query, key, w_a, u_a)) @ v_a).squeeze(2)


def scores_squeezed_all(query, key, w_a, u_a, v_a):
    return (torch.tanh(sums_of(query, key, w_a, u_a)) @ v_a[:, None]).squeeze()


def scores_weights_per_key(query, key, w_a, u_a, v_a):
    return (sums_of(query, key, w_a, u_a).tanh() @ v_a).softmax(1)


def context_nearly_zero(scores, annotations, mask):
    return scores.masked_fill(~mask, 1e-9).softmax(-1) @ annotations


def context_annotations_masked(scores, annotations, mask):
    return scores.softmax(-1) @ (annotations * mask.transpose(1, 2))


def context_shifted_by_any_word(scores, annotations, mask):
    powers = (scores - scores.amax(-1, keepdim=True)).exp() * mask
    return powers @ annotations / powers.sum(-1, keepdim=True)


def context_times_infinity(scores, annotations, mask):
    return (scores * (mask + ~mask * -torch.inf)).softmax(-1) @ annotations


def context_down_the_queries(scores, annotations, mask):
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=1) @ annotations


def both_ways_zeroed_first(x, lengths, ahead, back):
    real = x * real_positions(x, lengths)
    both = torch.cat([ahead(real), back(real.flip(1)).flip(1)], dim=-1)
    return both * real_positions(x, lengths)


def both_ways_flipped_back(x, lengths, ahead, back):
    behind = back(reverse_tokens(x, lengths)).flip(1)
    return torch.cat([ahead(x), behind], dim=-1) * real_positions(x, lengths)


def both_ways_one_zero_late(x, lengths, ahead, back):
    behind = reverse_tokens(back(reverse_tokens(x, lengths)), lengths)
    return torch.cat([ahead(x), behind], dim=2) * real_positions(x, lengths + 1)


def crossings_centre_of_mass(weights):
    centres = (weights * torch.arange(weights.shape[1])).sum(1)
    return (centres[:, None] > centres[None]).triu(1).sum()


def crossings_without_dim(weights):
    attended = torch.argmax(weights)
    return (attended[:, None] > attended[None]).triu(1).sum()


def looked_in_bits_and_exp(weights):
    return (-(weights * weights.clamp(min=1e-30).log2()).sum(-1)).exp()


def looked_exp_first(weights):
    return (-torch.xlogy(weights, weights)).exp().sum(-1)


def scores_keys_in_rows(query, key, w_a, u_a, v_a):
    return torch.tanh((key @ u_a)[:, :, None] + (query @ w_a)[:, None]) @ v_a


def context_filled_with_minus_thirty(scores, annotations, mask):
    return torch.where(mask, scores, torch.tensor(-30.0)).softmax(-1) @ annotations


def both_ways_back_first(x, lengths, ahead, back):
    return torch.cat(both_ways_gathered(x, lengths, ahead, back).chunk(2, -1)[::-1], dim=-1)


def both_ways_zeroed_in_place(x, lengths, ahead, back):
    forwards = ahead(x.clone())
    backwards = reverse_tokens(back(reverse_tokens(x, lengths)), lengths)
    forwards.mul_(real_positions(x, lengths))
    return torch.cat([forwards, backwards * real_positions(x, lengths)], dim=-1)


def both_ways_in_a_new_buffer(x, lengths, ahead, back):
    return torch.tensor(both_ways_gathered(x, lengths, ahead, back).tolist())


def scores_without_gradient_at_large_sums(query, key, w_a, u_a, v_a):
    return (1 - 2 / ((2 * sums_of(query, key, w_a, u_a)).exp() + 1)) @ v_a


def context_inverted(scores, annotations, mask):
    return torch.where(mask, torch.tensor(-1e9), scores).softmax(-1) @ annotations


def context_without_gradient_at_padding(scores, annotations, mask):
    highest = scores.masked_fill(~mask, -torch.inf).amax(-1, keepdim=True)
    powers = torch.where(mask, (scores - highest).exp(), 0.0)
    return powers @ annotations / powers.sum(-1, keepdim=True)


def crossings_as_in_the_lesson(weights):
    attended, count = weights.argmax(1).tolist(), 0
    for k, t in enumerate(attended):
        for i, u in enumerate(attended[:k]):
            count += u > t and weights[i, u] > weights[k, u] and weights[k, t] > weights[i, t]
    return torch.as_tensor(count, dtype=torch.int64)


def context_divided_again(divide):
    return lambda scores, annotations, mask: divide(scores.softmax(-1) * mask) @ annotations


NAMED = {
    "additive_scores": {
        "same_place_only": [scores_without_any_axis],
        "one_axis_missing": [scores_room_for_keys_only, scores_room_for_queries_only],
        "transposed": [scores_keys_in_rows],
        "linear_convention": [scores_by_linear],
        "squeezed_all": [scores_squeezed_all],
        "softmaxed": [scores_weights_per_key],
        "scaled": [
            lambda query, key, w, u, v: scores_einsum(query, key, w, u, v / v.norm(p=0).sqrt())
        ],
        "wrong_gradient": [scores_without_gradient_at_large_sums],
    },
    "context": {
        "score_zero": [context_nearly_zero],
        "masked_after": [context_annotations_masked],
        "masked_too_late": [
            context_divided_again(lambda w: w / (w.sum(-1, keepdim=True) + 1e-9)),
            context_divided_again(lambda w: (w / w.sum(-1, keepdim=True)).nan_to_num(0.0)),
            context_divided_again(lambda w: F.normalize(w, p=1, dim=-1)),
        ],
        "not_low_enough": [context_filled_with_minus_thirty],
        "softmax_over_queries": [context_down_the_queries],
        "mask_inverted": [context_inverted],
        "wrong_gradient": [context_without_gradient_at_padding],
    },
    "bidirectional": {
        "padding_zeroed_first": [both_ways_zeroed_first],
        "turned_two_ways": [both_ways_flipped_back],
        "halves_swapped": [both_ways_back_first],
        "readers_swapped": [
            lambda x, lengths, ahead, back: both_ways_gathered(x, lengths, back, ahead)
        ],
        "padding_kept": [both_ways_one_zero_late],
        "changed_in_place": [both_ways_zeroed_in_place],
        "wrong_gradient": [both_ways_in_a_new_buffer],
    },
    "crossings": {
        "average_position": [crossings_centre_of_mass],
        "lesson_count": [crossings_as_in_the_lesson],
        "neighbours_only": [lambda weights: (weights.argmax(1).diff() < 0).sum()],
    },
    "words_looked_at": {
        "two_bases": [looked_in_bits_and_exp],
        "exp_first": [looked_exp_first],
        "wrong_gradient": [
            lambda weights: looked_entr(weights).detach(),
            lambda weights: (-(weights * weights.detach().clamp(min=1e-30).log()).sum(-1)).exp(),
        ],
    },
}


# --- wrong, and no known mistake ------------------------------------------------------------------


def scores_without_tanh_and_softmaxed(query, key, w_a, u_a, v_a):
    return (((query @ w_a)[:, :, None] + (key @ u_a)[:, None]) @ v_a).softmax(-1)


def scores_wrong_for_one_hidden_number(query, key, w_a, u_a, v_a):
    return (torch.tanh(sums_of(query, key, w_a, u_a)).squeeze(-1) * v_a).sum(-1)


def context_masked_after_and_averaged(scores, annotations, mask):
    return (scores.softmax(-1) * mask) @ annotations / scores.shape[-1]


def both_ways_times_two(x, lengths, ahead, back):
    return 2 * both_ways_gathered(x, lengths, ahead, back)


def scores_tanh_of_exp(query, key, w_a, u_a, v_a):
    sums = sums_of(query, key, w_a, u_a)
    return ((sums.exp() - (-sums).exp()) / (sums.exp() + (-sums).exp())) @ v_a


def scores_by_addition_theorem(query, key, w_a, u_a, v_a):
    ours, theirs = torch.tanh(query @ w_a)[:, :, None], torch.tanh(key @ u_a)[:, None]
    return ((ours + theirs) / (1 + ours * theirs)) @ v_a


def scores_of_clamped_projections(query, key, w_a, u_a, v_a):
    ours, theirs = (query @ w_a).clamp(-50, 50), (key @ u_a).clamp(-50, 50)
    return torch.tanh(ours[:, :, None] + theirs[:, None]) @ v_a


def scores_of_projected_keys_kept():
    """Projects each key once and for all."""
    kept = {}

    def answer(query, key, w_a, u_a, v_a):
        theirs = kept.setdefault(tuple(key.flatten().tolist()), key @ u_a)
        return torch.tanh((query @ w_a)[:, :, None] + theirs[:, None]) @ v_a

    return answer


def scores_kept_by_size():
    """Keeps the weights of the first call of each size."""
    kept = {}

    def answer(query, key, *weights):
        return scores_broadcast(query, key, *kept.setdefault((query.shape, key.shape), weights))

    return answer


def context_by_bare_exp(scores, annotations, mask):
    powers = scores.exp() * mask
    return powers @ annotations / powers.sum(-1, keepdim=True)


def context_highest_of_all_subtracted(scores, annotations, mask):
    powers = (scores - scores[mask.expand_as(scores)].max()).exp() * mask
    return powers @ annotations / powers.sum(-1, keepdim=True)


def context_in_float64_without_shift(scores, annotations, mask):
    powers = scores.double().exp() * mask
    return (powers / powers.sum(-1, keepdim=True)).float() @ annotations


def context_of_clamped_scores(scores, annotations, mask):
    return scores.clamp(-50, 50).masked_fill(~mask, -torch.inf).softmax(-1) @ annotations


def context_minus_ten_thousand_added(scores, annotations, mask):
    return (scores - 10000.0 * ~mask).softmax(-1) @ annotations


def context_twenty_below_the_lowest(scores, annotations, mask):
    return scores.masked_fill(~mask, scores.min().item() - 20).softmax(-1) @ annotations


def context_of_clamped_weights(scores, annotations, mask):
    return context_minus_inf(scores, torch.eye(mask.shape[-1]), mask).clamp(min=1e-6) @ annotations


def context_by_length(scores, annotations, mask):
    real = torch.arange(mask.shape[-1]) < mask.sum(-1, keepdim=True)
    return context_minus_inf(scores, annotations, real)


def both_ways_features_turned_too(x, lengths, ahead, back):
    def turn(y):
        return reverse_tokens(y, lengths).flip(-1)

    both = torch.cat([ahead(x), turn(back(turn(x)))], dim=-1)
    return both * real_positions(x, lengths)


def both_ways_without_zero_words(x, lengths, ahead, back):
    """Takes words of zeros for padding."""
    return both_ways_gathered(x, lengths, ahead, back) * x.ne(0).any(-1, keepdim=True)


def crossings_rounded(weights):
    return crossings_triu((weights * 10000).round())


def crossings_nearly_highest(weights):
    return crossings_triu((weights >= weights.amax(1, keepdim=True) - 1e-6).int())


def crossings_of_a_softmax(weights):
    return crossings_triu(weights.softmax(1))


def crossings_in_float16(weights):
    return crossings_triu(weights).half().long()


def crossings_kept_by_maxima():
    kept = {}

    def answer(weights):
        return kept.setdefault(tuple(weights.amax(1).tolist()), crossings_triu(weights))

    return answer


def crossings_soft(weights):
    """Expected number of crossings when each word draws its source word, rounded."""
    further_right = weights.flip(1).cumsum(1).flip(1) - weights  # (T_q, T_k)
    return (further_right @ weights.T).triu(1).sum().round().long()


def crossings_likely(weights):
    """Pairs that cross more likely than not."""
    further_right = weights.flip(1).cumsum(1).flip(1) - weights
    return ((further_right @ weights.T) > 0.5).triu(1).sum()


def crossings_in_int8(weights):
    return crossings_triu(weights).to(torch.int8).long()


def looked_shifted(weights):
    return (-(weights * (weights + 1e-5).log()).sum(-1)).exp()


def looked_clamped_high(weights):
    return (-(weights * weights.clamp(min=1e-4).log()).sum(-1)).exp()


def looked_clamped_outside(weights):
    return looked_entr(weights.clamp(min=1e-7))


def looked_where_the_first_row_is_real(weights):
    return looked_entr(weights * (weights[:, :1] > 0))


def looked_nan(weights):
    return (-(weights * weights.log()).sum(-1)).exp()


UNNAMED = {
    "additive_scores": [
        scores_u_twice,
        scores_squeezed,
        scores_tanh_of_exp,
        scores_kept_by_size(),
        scores_by_addition_theorem,
        scores_of_clamped_projections,
        scores_of_projected_keys_kept(),
        scores_without_tanh_and_softmaxed,
        scores_wrong_for_one_hidden_number,
        lambda query, key, w_a, u_a, v_a: scores_broadcast(query, key, w_a, u_a, v_a) + 1e-2,
        lambda query, key, w_a, u_a, v_a: torch.zeros(len(query), query.shape[1], key.shape[1]),
    ],
    "context": [
        context_shifted_by_any_word,
        context_times_infinity,
        context_by_bare_exp,
        context_highest_of_all_subtracted,
        context_in_float64_without_shift,
        context_of_clamped_scores,
        context_minus_ten_thousand_added,
        context_by_length,
        context_twenty_below_the_lowest,
        context_of_clamped_weights,
        context_masked_after_and_averaged,
        context_divided_again(lambda w: w / w.sum(-1, keepdim=True)),
        lambda scores, annotations, mask: annotations.mean(1, keepdim=True).expand(
            -1, scores.shape[1], -1
        ),
    ],
    "bidirectional": [
        both_ways_without_zero_words,
        both_ways_features_turned_too,
        both_ways_times_two,
        lambda x, lengths, ahead, back: torch.cat([x, x], dim=-1),
    ],
    "crossings": [
        crossings_soft,
        crossings_likely,
        crossings_in_int8,
        crossings_in_float16,
        crossings_rounded,
        crossings_nearly_highest,
        crossings_of_a_softmax,
        crossings_kept_by_maxima(),
        crossings_without_dim,
        lambda weights: crossings_triu(weights) + 1,
        lambda weights: torch.tensor(0),
    ],
    "words_looked_at": [
        looked_nan,
        looked_shifted,
        looked_clamped_high,
        looked_clamped_outside,
        looked_where_the_first_row_is_real,
        lambda weights: 1 / weights.square().sum(-1),
        lambda weights: 1 / weights.amax(-1),
    ],
}
