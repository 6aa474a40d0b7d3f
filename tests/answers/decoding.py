"""Answers to the exercises of lesson 8.

RIGHT: the same function in other styles; all must pass. NAMED: wrong answers as learners wrote
them, with the name that each must get. UNNAMED: wrong answers that make no known mistake, or two at
once; they must fail, and none may be given a name.
"""

import numpy as np
import torch

from lessons_lib import decoding

# --- beam_step ------------------------------------------------------------------------------------


def beam_by_library(log_p, logits, ended):
    return decoding.best_continuations(logits, log_p, torch.ones_like(log_p), ended, alpha=0.0)


def beam_with_a_row_for_ended(log_p, logits, ended):
    B, width, V = logits.shape
    only_pad = torch.full((V,), -torch.inf)
    only_pad[0] = 0.0
    step = torch.where(ended[..., None], only_pad, torch.log_softmax(logits, dim=2))
    best = (step + log_p.unsqueeze(-1)).reshape(B, width * V).sort(dim=1, descending=True)
    places = best.indices[:, :width]
    return torch.div(places, V, rounding_mode="floor"), places.remainder(V), best.values[:, :width]


def beam_row_by_row(log_p, logits, ended):
    results = []
    for scores, rows, done in zip(log_p, logits, ended, strict=True):
        step = rows - rows.logsumexp(dim=-1, keepdim=True)
        step[done] = -1e9
        step[done, 0] = 0.0
        total = scores[:, None] + step
        values, places = total.view(-1).topk(len(scores))
        beam, word = np.unravel_index(places.numpy(), total.shape)
        results.append((torch.from_numpy(beam), torch.from_numpy(word), values))
    return tuple(torch.stack(column) for column in zip(*results, strict=True))


def beam_two_rounds(log_p, logits, ended, n_words=None):
    """The best words of each beam first; more than `width` of one beam can never be kept."""
    width, V = logits.shape[1:]
    step = logits.softmax(-1).log().masked_fill(ended[..., None], -torch.inf)
    step[..., 0].masked_fill_(ended, 0.0)
    values, words = (log_p[..., None] + step).topk(n_words or min(width, V), dim=-1)
    best, places = values.flatten(1).topk(width)
    return places // values.shape[-1], words.flatten(1).gather(1, places), best


def beam_in_logits_space(log_p, logits, ended):
    """Ended beams get logits whose log-softmax is 0 at PAD."""
    sure = torch.full_like(logits, -1e9)
    sure[..., 0] = 0.0
    step = torch.where(ended[..., None], sure, logits).log_softmax(-1)
    best = (log_p[..., None] + step).flatten(1).topk(log_p.shape[1])
    return best.indices // logits.shape[2], best.indices % logits.shape[2], best.values


def beam_greedy_row(log_p, logits, ended):
    beam, word, new = beam_by_library(log_p, logits, ended)
    return beam[:, :1].expand_as(beam), word, new


def beam_all_zero(log_p, logits, ended):
    none = torch.zeros(log_p.shape, dtype=torch.long)
    return none, none, log_p.clone()


def beam_from_max(log_p, logits, ended):
    step = logits.log_softmax(-1).masked_fill(ended[..., None], -torch.inf)
    step[..., 0] = torch.where(ended, 0.0, step[..., 0])
    new, word = (log_p[..., None] + step).max(dim=-1)
    return torch.arange(log_p.shape[1]).expand_as(word), word, new


def beam_chained_index(log_p, logits, ended):
    """The second assignment goes into a copy."""
    step = logits.log_softmax(-1)
    step[ended] = 0
    step[ended][..., 1:] = -torch.inf
    best = (log_p[..., None] + step).flatten(1).topk(log_p.shape[1])
    return best.indices // logits.shape[2], best.indices % logits.shape[2], best.values


def beam_totals(log_p, logits, ended, closed=-torch.inf):
    step = logits.log_softmax(-1).masked_fill(ended[..., None], closed)
    step[..., 0] = step[..., 0].masked_fill(ended, 0.0)
    return step + log_p[..., None]


def beam_closed_by(closed, log_p, logits, ended):
    V = logits.shape[2]
    new, i = beam_totals(log_p, logits, ended, closed).flatten(1).topk(log_p.shape[1])
    return i // V, i % V, new


def beam_from_places(beam_and_word, *args):
    new, i = beam_totals(*args).flatten(1).topk(args[0].shape[1])
    return *beam_and_word(i, args[0].shape[1]), new


def beam_one_race(log_p, logits, ended):
    (B, width), V = log_p.shape, logits.shape[2]
    new, i = beam_totals(log_p, logits, ended).flatten().topk(width * B)
    beam, word = i // V % width, i % V
    return beam.reshape(B, width), word.reshape(B, width), new.reshape(B, width)


def beam_as_rows(log_p, logits, ended):
    beam, word, new = beam_by_library(log_p, logits, ended)
    offsets = torch.arange(0, beam.numel(), beam.shape[1])
    return beam + offsets.view(-1, 1), word, new


def beam_living_without_pad(log_p, logits, ended):
    step = logits.log_softmax(-1)
    step[ended] = -torch.inf
    step[..., 0] = torch.where(ended, 0.0, -torch.inf)
    best = (log_p[..., None] + step).flatten(1).topk(log_p.shape[1])
    return best.indices // logits.shape[2], best.indices % logits.shape[2], best.values


def beam_ranked_by_last_word(log_p, logits, ended):
    step = logits.log_softmax(-1).masked_fill(ended[..., None], -torch.inf)
    step[ended, 0] = 0
    value, place = step.flatten(1).topk(log_p.shape[1])
    beam = place // logits.shape[2]
    return beam, place % logits.shape[2], value + log_p.gather(1, beam)


# --- pick_ending ----------------------------------------------------------------------------------


def pick_gather(log_p, words, alpha):
    T = words.ne(0).sum(-1)
    score = log_p * ((T + 5) / 6) ** -alpha
    best = score.argmax(-1)
    index = best[:, None, None].expand(-1, 1, words.shape[-1])
    return words.gather(1, index).squeeze(1), score.gather(1, best[:, None])[:, 0]


def pick_up_to_eos(log_p, words, alpha):
    T = (words == 2).long().argmax(dim=-1) + 1
    score = log_p / decoding.length_penalty(T, alpha)
    best = score.argmax(dim=1)
    return torch.stack([w[b] for w, b in zip(words, best, strict=True)]), score.amax(dim=1)


def pick_by_sorting(log_p, words, alpha):
    score = log_p / (5 + (words != 0).sum(2)).pow(alpha) * 6**alpha
    order = score.sort(dim=1, descending=True)
    return words[torch.arange(len(words)), order.indices[:, 0]], order.values[:, 0]


def pick_in_a_loop(log_p, words, alpha):
    rows, scores = [], []
    for b in range(len(words)):
        best = None
        for k in range(words.shape[1]):
            score = log_p[b, k] / ((5 + words[b, k].count_nonzero()) / 6) ** alpha
            if best is None or score > best[0]:
                best = (score, words[b, k])
        scores.append(best[0])
        rows.append(best[1])
    return torch.stack(rows), torch.stack(scores)


def pick_one_for_all(log_p, words, alpha):
    score = (log_p / ((5 + (words != 0).sum(-1)) / 6) ** alpha).flatten()
    best = score.argmax()
    return words.flatten(0, 1)[best].repeat(len(words), 1), score[best].repeat(len(words))


def pick_first(log_p, words, alpha):
    return words[:, 0], log_p[:, 0]


def pick_seven(log_p, words, alpha):
    score, best = (log_p / ((7 + (words != 0).sum(-1)) / 8) ** alpha).max(dim=1)
    return words[torch.arange(len(words)), best], score


# --- reorder_state --------------------------------------------------------------------------------


def reorder_unflattened(kept, place, beam):
    row = torch.arange(len(beam))[:, None]
    return tuple(x.unflatten(0, beam.shape)[row, beam].flatten(0, 1) for x in (kept, place))


def reorder_index_select(kept, place, beam):
    B, width = beam.shape
    rows = (beam + width * torch.arange(B).unsqueeze(1)).view(-1)
    return kept.index_select(0, rows), place.index_select(0, rows)


def reorder_gathered(kept, place, beam):
    B, width = beam.shape
    wide = kept.view(B, width, *kept.shape[1:])
    index = beam[..., None, None].expand(-1, -1, *kept.shape[1:])
    return wide.gather(1, index).flatten(0, 1), place.view(B, width).gather(1, beam).flatten()


def reorder_in_pieces(kept, place, beam):
    def moved(x):
        pieces = x.split(beam.shape[1])
        return torch.cat([piece[order] for piece, order in zip(pieces, beam, strict=True)])

    return moved(kept), moved(place)


def reorder_sent_to_zeros(kept, place, beam):
    rows = (torch.arange(len(beam))[:, None] * beam.shape[1] + beam).flatten()
    new_kept, new_place = torch.zeros_like(kept), torch.zeros_like(place)
    new_kept[rows], new_place[rows] = kept, place
    return new_kept, new_place


def reorder_backwards(kept, place, beam):
    return kept.flip(0), place.flip(0)


def reorder_shifted(kept, place, beam):
    return reorder_index_select(kept, place, (beam + 1) % beam.shape[1])


# --- append_cache ---------------------------------------------------------------------------------


def append_viewed(keys, values, key, value):
    B, H, _, d_k = keys.shape
    new_key, new_value = key.view(B, H, 1, d_k), value.view(B, H, 1, -1)
    return torch.cat((keys, new_key), -2), torch.cat((values, new_value), -2)


def append_in_a_list(keys, values, key, value):
    grown = []
    for kept, new in ((keys, key), (values, value)):
        B, H, T, d = kept.shape
        wider = kept.new_empty(B, H, T + 1, d)
        wider[:, :, :T] = kept
        wider[:, :, T] = new.reshape(B, H, d)
        grown.append(wider)
    return grown


def append_by_chunks(keys, values, key, value):
    def grown(kept, new):
        heads = torch.stack(new.chunk(kept.shape[1], dim=-1), dim=1)  # (B, H, d)
        return torch.cat([kept, heads.unsqueeze(2)], dim=2)

    return grown(keys, key), grown(values, value)


def append_merged(keys, values, key, value):
    def grown(kept, new):
        merged = kept.transpose(1, 2).flatten(2)  # (B, T, H·d)
        longer = torch.cat([merged, new[:, None]], dim=1)
        return longer.unflatten(-1, (kept.shape[1], -1)).transpose(1, 2)

    return grown(keys, key), grown(values, value)


def append_doubled(keys, values, key, value):
    return append_viewed(keys, values, 2 * key, 2 * value)


def append_heads_reversed(keys, values, key, value):
    grown = append_viewed(keys, values, key, value)
    return tuple(torch.cat([x[:, :, :-1], x[:, :, -1:].flip(1)], dim=2) for x in grown)


# --- chunk_mask -----------------------------------------------------------------------------------


def chunk_compared(n_past, n_new):
    asks = torch.arange(n_past, n_past + n_new)
    return torch.arange(n_past + n_new) <= asks[:, None]


def chunk_cut_out(n_past, n_new):
    T = n_past + n_new
    return torch.ones(T, T).tril().bool()[n_past:]


def chunk_joined(n_past, n_new):
    past = torch.ones(n_new, n_past, dtype=torch.bool)
    return torch.cat([past, torch.ones(n_new, n_new, dtype=torch.bool).tril()], dim=1)


def chunk_not_triu(n_past, n_new):
    return ~torch.ones(n_new, n_past + n_new).triu(n_past + 1).bool()


def chunk_numpy(n_past, n_new):
    return torch.from_numpy(np.tri(n_new, n_past + n_new, n_past, dtype=bool))


def chunk_two_ahead(n_past, n_new):
    return torch.ones(n_new, n_past + n_new, dtype=torch.bool).tril(n_past + 2)


def chunk_from_the_right(n_past, n_new):
    return chunk_compared(n_past, n_new).flip(1)


# --- draw_word ------------------------------------------------------------------------------------


def draw_searched(logits, temperature, u):
    total = torch.softmax(logits / temperature, dim=1).cumsum(1)
    return torch.searchsorted(total[:, :-1].contiguous(), u[:, None], right=True)[:, 0]


def draw_first_larger(logits, temperature, u):
    total = (logits / temperature).softmax(-1).cumsum(-1)
    larger = total > u.view(-1, 1)
    larger[:, -1] = True
    return larger.int().argmax(dim=-1)


def draw_numpy(logits, temperature, u):
    p = np.exp(logits.double().numpy() / temperature)
    total = (p / p.sum(1, keepdims=True)).cumsum(1)
    total[:, -1] = np.inf
    return torch.tensor(
        [int(np.searchsorted(t, x, side="right")) for t, x in zip(total, u.numpy(), strict=True)]
    )


def draw_by_powers(logits, temperature, u):
    p = logits.softmax(-1) ** (1 / temperature)
    total = p.cumsum(-1) / p.sum(-1, keepdim=True)
    return (total <= u[:, None]).sum(-1).clamp(max=logits.shape[1] - 1)


def draw_unnormalised(logits, temperature, u):
    total = (logits / temperature).exp().cumsum(-1)
    word = (total <= u[:, None] * total[:, -1:]).sum(-1)
    return torch.minimum(word, torch.tensor(logits.shape[1] - 1))


def sums(logits, temperature):
    return (logits / temperature).softmax(-1).cumsum(-1)


def draw_by_gumbel(logits, temperature, u):
    """The lesson's trick, with one noise for all words."""
    return (logits / temperature + -torch.log(-torch.log(u)).unsqueeze(1)).max(dim=1).indices


def draw_from_sorted(logits, temperature, u):
    p, order = (logits / temperature).softmax(-1).sort(descending=True)
    rank = (p.cumsum(-1) <= u[:, None]).sum(-1).clamp(max=logits.shape[1] - 1)
    return order[torch.arange(len(u)), rank]


def draw_least_likely(logits, temperature, u):
    return logits.argmin(dim=-1)


def draw_root(logits, temperature, u):
    return draw_searched(logits, temperature**0.5, u)


RIGHT = {
    "beam_step": [
        beam_by_library,
        beam_with_a_row_for_ended,
        beam_row_by_row,
        beam_two_rounds,
        beam_in_logits_space,
    ],
    "pick_ending": [pick_gather, pick_up_to_eos, pick_by_sorting, pick_in_a_loop],
    "reorder_state": [
        reorder_unflattened,
        reorder_index_select,
        reorder_gathered,
        reorder_in_pieces,
    ],
    "append_cache": [append_viewed, append_in_a_list, append_by_chunks, append_merged],
    "chunk_mask": [chunk_compared, chunk_cut_out, chunk_joined, chunk_not_triu, chunk_numpy],
    "draw_word": [
        draw_searched,
        draw_first_larger,
        draw_numpy,
        draw_by_powers,
        draw_unnormalised,
    ],
}

NAMED = {
    "beam_step": {
        "best_of_each_beam": [beam_from_max],
        "too_few_of_each_beam": [lambda *args: beam_two_rounds(*args, n_words=2)],
        "ended_all_free": [beam_chained_index],
        "history_ignored": [beam_ranked_by_last_word],
        "swapped": [lambda *args: tuple(beam_by_library(*args)[i] for i in (1, 0, 2))],
        "large_cost": [
            lambda *args: beam_closed_by(-20.0, *args),
            lambda *args: beam_closed_by(-100.0, *args),
        ],
        "divided_by_width": [
            lambda *args: beam_from_places(lambda i, width: (i % width, i // width), *args),
            lambda *args: beam_from_places(lambda i, width: (i // width, i % width), *args),
        ],
        "one_race_for_the_batch": [beam_one_race],
        "rows_of_the_state": [beam_as_rows],
        "pad_forbidden": [beam_living_without_pad],
    },
    "pick_ending": {
        "divided_by_length": [
            lambda log_p, words, alpha: pick_gather(log_p / (words != 0).sum(-1), words, 0.0)
        ],
        "alpha_multiplied": [
            lambda log_p, words, alpha: pick_gather(
                log_p / ((5 + (words != 0).sum(-1)) / 6 * alpha), words, 0.0
            )
        ],
        "six_under_T_only": [
            lambda log_p, words, alpha: pick_gather(
                log_p / (5 + words.count_nonzero(-1) / 6) ** alpha, words, 0.0
            )
        ],
        "rounded_down": [
            lambda log_p, words, alpha: pick_gather(
                log_p / ((words.count_nonzero(-1) + 5) // 6).pow(alpha), words, 0.0
            )
        ],
        "one_winner_for_the_batch": [pick_one_for_all],
    },
    "reorder_state": {
        "first_sentence": [
            lambda kept, place, beam: (kept[beam.view(-1)], place[beam.view(-1)]),
        ],
        "sent_instead_of_fetched": [reorder_sent_to_zeros],
    },
    "append_cache": {
        "value_is_key": [
            lambda keys, values, key, value: (
                append_viewed(keys, values, key, value)[0],
                torch.cat([values, key.view(len(key), values.shape[1], 1, -1)], dim=2),
            )
        ],
        "in_front": [
            lambda keys, values, key, value: tuple(
                x.roll(1, dims=2) for x in append_viewed(keys, values, key, value)
            )
        ],
        "sentences_mixed": [
            lambda keys, values, key, value: tuple(
                torch.cat([x, n.view(x.shape[1], x.shape[0], 1, -1).transpose(0, 1)], dim=2)
                for x, n in ((keys, key), (values, value))
            )
        ],
        "first_piece_for_all": [
            lambda keys, values, key, value: tuple(
                torch.cat([x, n[:, None, None, : x.shape[3]].repeat(1, x.shape[1], 1, 1)], dim=2)
                for x, n in ((keys, key), (values, value))
            )
        ],
        "interleaved": [
            lambda keys, values, key, value: tuple(
                torch.cat([kept, new.view(len(new), -1, kept.shape[1]).mT[:, :, None]], dim=2)
                for kept, new in ((keys, key), (values, value))
            )
        ],
    },
    "chunk_mask": {
        "counted_from_zero": [lambda p, n: torch.ones(n, p + n, dtype=torch.bool).tril()],
        "moved_by_n_new": [lambda p, n: torch.ones(n, p + n).tril(n).bool()],
        "ones_and_zeros": [
            lambda p, n: chunk_compared(p, n).int(),
            lambda p, n: chunk_compared(p, n).to(torch.uint8),
        ],
        "minus_inf": [
            lambda p, n: torch.zeros(n, p + n).masked_fill(~chunk_compared(p, n), -torch.inf)
        ],
        "new_see_only_themselves": [
            lambda p, n: torch.cat([torch.ones(n, p), torch.eye(n)], 1).bool()
        ],
        "only_new_keys": [lambda p, n: torch.ones(n, n, dtype=torch.bool).tril()],
    },
    "draw_word": {
        "right_end_owned": [
            lambda logits, temperature, u: torch.searchsorted(
                (logits / temperature).softmax(-1).cumsum(-1), u[:, None]
            )[:, 0]
        ],
        "after_the_softmax": [
            lambda logits, temperature, u: torch.searchsorted(
                (logits.softmax(-1) / temperature).cumsum(-1), u[:, None], right=True
            )[:, 0]
        ],
        "past_the_last": [
            lambda logits, t, u: (sums(logits, t) <= u[:, None]).sum(-1),
            lambda logits, t, u: torch.searchsorted(sums(logits, t), u[:, None], right=True)[:, 0],
        ],
        "again_at_zero": [
            lambda logits, t, u: (sums(logits, t) > u[:, None]).int().argmax(-1),
            lambda logits, t, u: (sums(logits, t) <= u[:, None]).sum(-1) % logits.shape[1],
        ],
        "one_noise_for_all": [draw_by_gumbel],
        "most_likely_first": [draw_from_sorted],
        "softmax_forgotten": [
            lambda logits, temperature, u: ((logits / temperature).cumsum(-1) <= u[:, None]).sum(-1)
        ],
        "multiplied": [
            lambda logits, temperature, u: draw_searched(logits, 1 / temperature, u),
            lambda logits, t, u: (sums(logits, 1 / t) <= u[:, None]).sum(-1),
            lambda logits, t, u: (sums(logits, 1 / t) > u[:, None]).int().argmax(-1),
        ],
        "greedy": [lambda logits, temperature, u: logits.softmax(-1).argmax(-1)],
    },
}


UNNAMED = {
    "beam_step": [beam_greedy_row, beam_all_zero],
    "pick_ending": [pick_first, pick_seven],
    "reorder_state": [reorder_backwards, reorder_shifted],
    "append_cache": [append_doubled, append_heads_reversed],
    "chunk_mask": [chunk_two_ahead, chunk_from_the_right],
    "draw_word": [draw_least_likely, draw_root],
}
