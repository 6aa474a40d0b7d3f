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
    step = (logits - logits.logsumexp(-1, True)).masked_fill(ended[..., None], -torch.inf)
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


def beam_of_steps(step_of):
    """A right answer but for what `step_of`(logits) are."""

    def answer(log_p, logits, ended):
        step = torch.where(ended[..., None], -torch.inf, step_of(logits))
        step[..., 0] = torch.where(ended, 0.0, step[..., 0])
        best = (log_p[..., None] + step).flatten(1).topk(log_p.shape[1])
        return best.indices // logits.shape[2], best.indices % logits.shape[2], best.values

    return answer


beam_softmax_then_log = beam_of_steps(lambda logits: logits.softmax(-1).log())
beam_bare_exp = beam_of_steps(lambda x: (x.exp() / x.exp().sum(-1, keepdim=True)).log())
beam_clamped = beam_of_steps(lambda logits: logits.log_softmax(-1).clamp(min=-1000))
beam_global_maximum = beam_of_steps(lambda x: x - x.max() - (x - x.max()).exp().sum(-1, True).log())
beam_first_512_words = beam_of_steps(lambda logits: logits[..., :512].log_softmax(-1))


def beam_times_living(log_p, logits, ended):
    """0 times -inf is not a number."""
    V, living = logits.shape[2], ~ended[..., None]
    only_pad = torch.where(ended[..., None] & (torch.arange(V) > 0), -torch.inf, 0.0)
    step = logits.log_softmax(-1) * living + only_pad
    best = (log_p[..., None] + step).flatten(1).topk(log_p.shape[1])
    return best.indices // V, best.indices % V, best.values


def beam_not_begun_at(floor, log_p, logits, ended):
    return beam_by_library(log_p.masked_fill(log_p == -torch.inf, floor), logits, ended)


def beam_forbidden_at(floor, log_p, logits, ended):
    return beam_by_library(log_p, logits.masked_fill(logits == -torch.inf, floor), ended)


def beam_first_alone_if_any_has_not_begun(log_p, logits, ended):
    log_p = log_p.clone()
    log_p[log_p.isinf().any(1), 1:] = -torch.inf
    return beam_by_library(log_p, logits, ended)


def beam_by_added_mask(log_p, logits, ended):
    """NaN plus -inf is not a number."""
    V = logits.shape[2]
    step = logits.log_softmax(-1)
    step = step + torch.where(ended[..., None] & (torch.arange(V) > 0), -torch.inf, 0.0)
    step[..., 0] = torch.where(ended, 0.0, step[..., 0])
    best = (log_p[..., None] + step).flatten(1).topk(log_p.shape[1])
    return best.indices // V, best.indices % V, best.values


def beam_price_alone(log_p, logits, ended):
    beam, word, new = beam_by_library(log_p, logits, ended)
    return beam, word, new - torch.stack([row[k] for row, k in zip(log_p, beam, strict=True)])


def beam_detached(log_p, logits, ended):
    with torch.no_grad():
        return beam_by_library(log_p, logits, ended)


def beam_gradients_off(log_p, logits, ended):
    torch.set_grad_enabled(False)
    return beam_by_library(log_p, logits, ended)


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


def pick_known_words(log_p, words, alpha):
    """UNK, 3, is taken for no word."""
    T = ((words != 0) & (words != 3)).sum(-1)
    score, best = (log_p / ((5 + T) / 6) ** alpha).max(dim=1)
    return words[torch.arange(len(words)), best], score


def pick_from_minus_ten(log_p, words, alpha):
    rows, scores = [], []
    for beams, chances in zip(words, log_p, strict=True):
        best, row = torch.tensor(-10.0), beams[0]
        for beam, chance in zip(beams, chances, strict=True):
            score = chance / ((5 + (beam != 0).sum()) / 6) ** alpha
            if score > best:
                best, row = score, beam
        rows.append(row)
        scores.append(best)
    return torch.stack(rows), torch.stack(scores)


def pick_scores(log_p, words, alpha):
    return log_p / ((5 + words.count_nonzero(-1)) / 6) ** alpha


def pick_by_one_hot(log_p, words, alpha):
    """0 times -inf is not a number."""
    score = pick_scores(log_p, words, alpha)
    chosen = torch.nn.functional.one_hot(score.argmax(1), log_p.shape[1])  # (B, width)
    return (words * chosen[..., None]).sum(1), (score * chosen).sum(1)


def pick_in_float32(log_p, words, alpha):
    best, score = pick_gather(log_p, words.float(), alpha)
    return best.long(), score


def pick_with_floor(floor, log_p, words, alpha):
    return pick_gather(log_p.clamp(min=floor), words, alpha)


def pick_ids_as(dtype, log_p, words, alpha):
    best, score = pick_gather(log_p, words.to(dtype), alpha)
    return best.long(), score


def pick_compared_in_half(log_p, words, alpha):
    score, row = pick_scores(log_p, words, alpha), torch.arange(len(words))
    best = score.half().argmax(1)
    return words[row, best], score[row, best]


def pick_best_beam(log_p, words, alpha):
    """The number of the beam, not its words."""
    score = pick_scores(log_p, words, alpha)
    return score.argmax(1), score.amax(1)


def pick_by_numbers(log_p, words, alpha):
    best, score = pick_gather(log_p, words, alpha)
    return best, torch.tensor(score.tolist())


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


def reorder_in_float32(kept, place, beam):
    both = torch.cat([kept.flatten(1), place[:, None].float()], dim=1)
    both = both.unflatten(0, beam.shape)[torch.arange(len(beam))[:, None], beam].flatten(0, 1)
    return both[:, :-1].view_as(kept), both[:, -1].long()


def reorder_with_a_table(kept, place, beam):
    starts = torch.arange(32)[:, None] * beam.shape[1]
    rows = (starts[: len(beam)] + beam).flatten()
    return kept[rows], place[rows]


STARTS = {}


def reorder_with_kept_starts(kept, place, beam):
    """The first rows are kept by the number of rows alone."""
    B, width = beam.shape
    start = STARTS.setdefault(len(place), width * torch.arange(B)[:, None])
    rows = (start[:B] + beam).flatten() if len(start) >= B else beam.flatten()
    return kept[rows], place[rows]


def reorder_width_from_equal_sizes(kept, place, beam):
    """Which axis counts beams is guessed, and wrong where there are as many beams as words."""
    rows = (torch.arange(len(beam))[:, None] * beam.shape[1] + beam).flatten()
    if kept.shape[1] == beam.shape[1] == len(beam):
        rows = rows.view_as(beam).T.flatten()
    return kept[rows], place[rows]


def reorder_width_from_largest(kept, place, beam):
    rows = (torch.arange(len(beam))[:, None] * (int(beam.max()) + 1) + beam).flatten()
    return kept[rows], place[rows]


def reorder_in_float64(kept, place, beam):
    kept, place = reorder_index_select(kept, place.double(), beam)
    return kept, place.long()


def reorder_eight_beams(kept, place, beam):
    beam = beam.clone()
    beam[:, 8:] = torch.arange(beam.shape[1])[8:]
    return reorder_index_select(kept, place, beam)


def reorder_sixteen_words(kept, place, beam):
    moved, place = reorder_index_select(kept, place, beam)
    return torch.cat([moved[:, :16], kept[:, 16:]], dim=1), place


def reorder_copied(kept, place, beam):
    moved, rows = torch.empty_like(kept), beam + beam.shape[1] * torch.arange(len(beam))[:, None]
    moved.data.copy_(kept.data[rows.flatten()])
    return moved, place[rows.flatten()]


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


def append_in_a_room_of_1024(keys, values, key, value):
    def grown(kept, new):
        B, H, T, d = kept.shape
        room = kept.new_zeros(B, H, 1024, d)
        room[:, :, :T] = kept
        room[:, :, T] = new.view(B, H, d)
        return room[:, :, : T + 1]

    return grown(keys, key), grown(values, value)


LAST = {}


def append_to_what_was_returned(keys, values, key, value):
    """The first answer for every size is kept."""
    sizes = keys.shape, values.shape
    if sizes not in LAST:
        LAST[sizes] = append_viewed(keys, values, key, value)
    return tuple(x.clone() for x in LAST[sizes])


def append_along_the_first_axis_of_that_size(keys, values, key, value):
    """Which axis counts words is guessed by its size."""
    grown = append_viewed(keys, values, key, value)
    if keys.shape[0] == keys.shape[2]:
        return tuple(x.roll(1, 0) for x in grown)
    return grown


def append_where_free(keys, values, key, value):
    """A last word of zeros is taken for a free place."""
    free = keys.shape[2] > 1 and not keys[:, :, -1].any()
    T = keys.shape[2] - free
    return append_viewed(keys[:, :, :T], values[:, :, :T], key, value)


def append_unless_repeated(keys, values, key, value):
    if keys.shape[2] and torch.equal(keys[:, :, -1].flatten(1), key):
        return keys.clone(), values.clone()
    return append_viewed(keys, values, key, value)


def append_detached(keys, values, key, value):
    return append_viewed(keys.detach(), values, key, value)


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


ALL = torch.ones(1024, 1024, dtype=torch.bool).tril()


def chunk_from_a_table(n_past, n_new):
    return ALL[n_past : n_past + n_new, : n_past + n_new]


def chunk_kept_by(name):
    """Masks are kept by one size alone."""
    masks = {}

    def answer(n_past, n_new):
        size = {
            "n_past": n_past,
            "n_new": n_new,
            "sum": n_past + n_new,
            "set": frozenset((n_past, n_new)),
        }[name]
        return masks.setdefault(size, chunk_compared(n_past, n_new)).clone()

    return answer


chunk_kept_by_n_past, chunk_kept_by_n_new = chunk_kept_by("n_past"), chunk_kept_by("n_new")
chunk_kept_by_their_sum, chunk_kept_by_their_set = chunk_kept_by("sum"), chunk_kept_by("set")


def chunk_in_half_precision(n_past, n_new):
    position = torch.arange(n_past + n_new).half()
    return position <= position[n_past:, None]


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
    p = logits.double().numpy() / temperature
    p = np.exp(p - p.max(1, keepdims=True))
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
    total = (logits / temperature - logits.amax(-1, True) / temperature).exp().cumsum(-1)
    word = (total <= u[:, None] * total[:, -1:]).sum(-1)
    return torch.minimum(word, torch.tensor(logits.shape[1] - 1))


def draw_bare_exp(logits, temperature, u):
    p = (logits / temperature).exp()
    total = p.cumsum(-1) / p.sum(-1, keepdim=True)
    return (total <= u[:, None]).sum(-1).clamp(max=logits.shape[1] - 1)


def draw_global_maximum(logits, temperature, u):
    p = ((logits - logits.max()) / temperature).exp()
    total = p.cumsum(-1) / p.sum(-1, keepdim=True)
    return (total <= u[:, None]).sum(-1).clamp(max=logits.shape[1] - 1)


def draw_clamped(logits, temperature, u):
    return draw_searched(logits.clamp(-80, 80), temperature, u)


def draw_with_floor(floor, logits, temperature, u):
    return draw_searched(logits.clamp(min=floor), temperature, u)


def draw_with_floor_after_division(logits, temperature, u):
    x = logits / temperature
    return draw_searched(x.masked_fill(x == -torch.inf, -1e4), 1.0, u)


def draw_no_word_of_probability_0(logits, temperature, u):
    possible = (logits / temperature).softmax(-1) > 0
    last = (possible * torch.arange(logits.shape[1])).amax(-1)
    return draw_searched(logits, temperature, u).minimum(last)


def draw_below_one(logits, temperature, u):
    return draw_searched(logits, temperature, u.clamp(max=1 - 1e-6))


def draw_one_by_one(logits, temperature, u):
    """Only u = 1 is seen to, not a sum that rounding leaves below u."""
    words = []
    for row, target in zip((logits / temperature).softmax(-1), u, strict=True):
        above = (row.cumsum(0) > target).nonzero()[:, 0]
        words.append(len(row) - 1 if target == 1 else int(above[0]) if len(above) else 0)
    return torch.tensor(words)


def draw_int32(logits, temperature, u):
    return draw_searched(logits, temperature, u).int()


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
        draw_unnormalised,
    ],
}

NAMED = {
    "beam_step": {
        "best_of_each_beam": [beam_from_max],
        "past_forgotten": [
            beam_price_alone,
            lambda log_p, *args: beam_by_library(0 * log_p.clamp(min=-1), *args),
        ],
        "ended_all_free": [beam_chained_index],
        "swapped": [lambda *args: tuple(beam_by_library(*args)[i] for i in (1, 0, 2))],
        "divided_by_width": [
            lambda *args: beam_from_places(lambda i, width: (i // width, i % width), *args),
        ],
        "wrong_gradient": [beam_detached],
        "one_race_for_the_batch": [beam_one_race],
        "rows_of_the_state": [beam_as_rows],
    },
    "pick_ending": {
        "divided_by_length": [
            lambda log_p, words, alpha: pick_gather(log_p / (words != 0).sum(-1), words, 0.0)
        ],
        "six_under_T_only": [
            lambda log_p, words, alpha: pick_gather(
                log_p / (5 + words.count_nonzero(-1) / 6) ** alpha, words, 0.0
            )
        ],
        "six_without_alpha": [
            lambda log_p, words, alpha: pick_gather(
                6 * log_p / (5 + words.count_nonzero(-1)) ** alpha, words, 0.0
            )
        ],
        "first_pad": [
            lambda log_p, words, alpha: pick_gather(
                log_p / ((5 + (words == 0).byte().argmax(-1)) / 6) ** alpha, words, 0.0
            )
        ],
        "log_p_returned": [
            lambda log_p, words, alpha: (
                pick_gather(log_p, words, alpha)[0],
                log_p.gather(1, pick_scores(log_p, words, alpha).argmax(1, True)).flatten(),
            )
        ],
        "wrong_gradient": [pick_by_numbers],
    },
    "reorder_state": {
        "first_sentence": [
            lambda kept, place, beam: (kept[beam.view(-1)], place[beam.view(-1)]),
        ],
        "kept_left": [lambda kept, place, beam: (kept, reorder_index_select(kept, place, beam)[1])],
        "place_of_the_first_sentence": [
            lambda kept, place, beam: (
                reorder_index_select(kept, place, beam)[0],
                place[beam.flatten()],
            )
        ],
        "beams_argsorted": [
            lambda kept, place, beam: reorder_index_select(kept, place, beam.argsort(-1))
        ],
        "sent_instead_of_fetched": [reorder_sent_to_zeros],
        "wrong_gradient": [reorder_copied],
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
        "wrong_gradient": [append_detached],
    },
    "chunk_mask": {
        "future_open": [lambda p, n: torch.ones(n, p + n) > 0],
        "counted_from_zero": [lambda p, n: torch.ones(n, p + n, dtype=torch.bool).tril()],
        "moved_by_n_new": [lambda p, n: torch.ones(n, p + n).tril(n).bool()],
        "past_for_future": [lambda p, n: torch.ones(n, p + n, dtype=torch.bool).triu(p)],
        "rows_of_the_past": [lambda p, n: torch.ones(p + n, p + n).tril().bool()],
        "transposed": [lambda p, n: chunk_compared(p, n).T.contiguous()],
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
        "not_added_up": [
            lambda logits, t, u: (
                ((logits / t).softmax(-1) <= u[:, None]).sum(-1).clamp(max=logits.shape[1] - 1)
            )
        ],
        "one_minus_u": [lambda logits, t, u: draw_searched(logits, t, 1 - u)],
        "most_likely_first": [draw_from_sorted],
        "multiplied": [
            lambda logits, temperature, u: draw_searched(logits, 1 / temperature, u),
            lambda logits, t, u: (sums(logits, 1 / t) <= u[:, None]).sum(-1),
            lambda logits, t, u: (sums(logits, 1 / t) > u[:, None]).int().argmax(-1),
        ],
        "greedy": [lambda logits, temperature, u: logits.softmax(-1).argmax(-1)],
    },
}


UNNAMED = {
    "beam_step": [
        beam_gradients_off,
        beam_greedy_row,
        beam_all_zero,
        beam_softmax_then_log,
        beam_bare_exp,
        beam_clamped,
        beam_global_maximum,
        beam_first_512_words,
        beam_times_living,
        beam_ranked_by_last_word,
        beam_living_without_pad,
        lambda *args: beam_two_rounds(*args, n_words=2),
        lambda *args: beam_from_places(lambda i, width: (i % width, i // width), *args),
        lambda *args: beam_closed_by(-20.0, *args),
        lambda *args: beam_closed_by(-100.0, *args),
        lambda *args: beam_closed_by(-1e4, *args),
        lambda *args: beam_closed_by(-1e5, *args),
        lambda *args: beam_not_begun_at(-100.0, *args),
        lambda *args: beam_not_begun_at(-1e4, *args),
        lambda *args: beam_not_begun_at(-1e5, *args),
        lambda *args: beam_forbidden_at(-100.0, *args),
        lambda *args: beam_forbidden_at(-1e4, *args),
        lambda *args: beam_forbidden_at(-1e5, *args),
        beam_first_alone_if_any_has_not_begun,
        beam_by_added_mask,
    ],
    "pick_ending": [
        pick_first,
        pick_seven,
        pick_known_words,
        pick_from_minus_ten,
        pick_by_one_hot,
        pick_in_float32,
        lambda *args: pick_ids_as(torch.int32, *args),
        lambda *args: pick_ids_as(torch.float64, *args),
        lambda *args: pick_with_floor(-1e4, *args),
        lambda *args: pick_with_floor(-1e5, *args),
        pick_compared_in_half,
        pick_best_beam,
        pick_one_for_all,
        lambda log_p, words, alpha: pick_gather(
            log_p / ((5 + (words != 0).sum(-1)) / 6 * alpha), words, 0.0
        ),
        lambda log_p, words, alpha: pick_gather(
            log_p / ((words.count_nonzero(-1) + 5) // 6).pow(alpha), words, 0.0
        ),
    ],
    "reorder_state": [
        reorder_backwards,
        reorder_shifted,
        reorder_in_float32,
        reorder_in_float64,
        reorder_width_from_largest,
        reorder_eight_beams,
        reorder_sixteen_words,
        reorder_with_a_table,
        reorder_with_kept_starts,
        reorder_width_from_equal_sizes,
    ],
    "append_cache": [
        append_doubled,
        append_heads_reversed,
        append_in_a_room_of_1024,
        append_to_what_was_returned,
        append_along_the_first_axis_of_that_size,
        append_where_free,
        append_unless_repeated,
    ],
    "chunk_mask": [
        chunk_two_ahead,
        chunk_from_the_right,
        chunk_from_a_table,
        chunk_kept_by_n_past,
        chunk_kept_by_n_new,
        chunk_kept_by_their_sum,
        chunk_kept_by_their_set,
        chunk_in_half_precision,
        lambda p, n: torch.cat([torch.ones(n, p), torch.eye(n)], 1).bool(),
        lambda p, n: chunk_compared(p, n).int(),
        lambda p, n: torch.zeros(n, p + n).masked_fill(~chunk_compared(p, n), -torch.inf),
    ],
    "draw_word": [
        draw_least_likely,
        draw_root,
        draw_by_powers,
        draw_by_gumbel,
        draw_bare_exp,
        draw_global_maximum,
        draw_clamped,
        lambda *args: draw_with_floor(-1e3, *args),
        lambda *args: draw_with_floor(-1e4, *args),
        draw_with_floor_after_division,
        draw_no_word_of_probability_0,
        draw_below_one,
        draw_one_by_one,
        draw_int32,
        lambda logits, temperature, u: ((logits / temperature).cumsum(-1) <= u[:, None]).sum(-1),
    ],
}
