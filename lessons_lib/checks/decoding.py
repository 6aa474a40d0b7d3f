"""The exercises of lesson 8, as data: reference, cases, known mistakes, hints."""

import torch

from lessons_lib.checks.exercise import Case, Exercise, Misconception, several
from lessons_lib.checks.inputs import normal, truths
from lessons_lib.checks.masking import ADDITIVE, ONES_AND_ZEROS, in_numbers, to_be_added
from lessons_lib.kit.vocabulary import EOS, PAD

# --- beam_step ------------------------------------------------------------------------------------


def try_all_continuations(log_p, logits, ended):
    """List every continuation of every sentence, sort, and keep the best."""
    B, width, V = logits.shape
    kept = []
    for b in range(B):
        ways = []
        for k in range(width):
            step = logits[b, k].log_softmax(dim=0)  # (V,)
            for v in [PAD] if ended[b, k] else range(V):
                cost = torch.zeros(()) if ended[b, k] else step[v]
                ways.append((log_p[b, k] + cost, k, v))
        kept.append(sorted(ways, key=lambda way: -way[0].item())[:width])
    beam, word = (torch.tensor([[way[i] for way in ways] for ways in kept]) for i in (1, 2))
    return beam, word, torch.stack([torch.stack([way[0] for way in ways]) for ways in kept])


def beam_by(
    step_of=lambda logits: logits.log_softmax(dim=-1),
    join=lambda log_p, step: log_p[..., None] + step,
    closed=-torch.inf,
    free=lambda ended: ended,
    free_word=PAD,
    shown=None,
    take=lambda total, step: total.flatten(1).topk(total.shape[1]).indices,
):
    """One step of a beam, with the places at which learners go astray as arguments.

    Ended beams get `closed` for every word; then `free_word` costs nothing where `free` says so.
    """

    def answer(log_p, logits, ended):
        V = logits.shape[2]
        step = step_of(logits).clone()  # (B, width, V)
        if closed is not None:
            step = step.masked_fill(ended[..., None], closed)
        if free is not None:
            step[..., free_word] = torch.where(free(ended), 0.0, step[..., free_word])
        total = join(log_p, step)  # (B, width, V)
        best = take(total, step)  # (B, width): places in width·V
        new = total.flatten(1).gather(1, best)  # (B, width)
        beam, word = best // V, best % V
        return shown(beam, word, new, log_p, step) if shown else (beam, word, new)

    return answer


def best_of_each_beam(total, step):
    """The best word of each beam, in the order of the beams."""
    width, V = total.shape[1:]
    return total.argmax(dim=-1) + V * torch.arange(width)  # (B, width)


def best_of_each_beam_sorted(total, step):
    best = best_of_each_beam(total, step)
    order = total.flatten(1).gather(1, best).argsort(dim=1, descending=True)
    return best.gather(1, order)


def best_of_two_of_each_beam(total, step):
    """The race is run by the two best words of each beam."""
    width, V = total.shape[1:]
    values, words = total.topk(2, dim=-1)  # (B, width, 2) each
    places = words + V * torch.arange(width)[:, None]
    return places.flatten(1).gather(1, values.flatten(1).topk(width).indices)


def worst_of_the_best(total, step):
    return total.flatten(1).topk(total.shape[1], sorted=True).indices.flip(1)


def best_by_the_last_word(total, step):
    return step.flatten(1).topk(step.shape[1]).indices


def from_first_sentence(total, step):
    best = total.flatten(1).topk(total.shape[1]).indices
    return best[:1].expand_as(best)


def one_race_for_the_batch(beam_of_row):
    """`beam_of_row`(row, width) is the beam shown for a row of the batch's beams."""

    def shown(beam, word, new, log_p, step):
        width, V = step.shape[1:]
        best = (log_p[..., None] + step).flatten().topk(log_p.numel())
        row, word = best.indices // V, best.indices % V
        return tuple(x.view_as(log_p) for x in (beam_of_row(row, width), word, best.values))

    return beam_by(shown=shown)


def without_pad(x):
    """-inf at PAD, in every beam."""
    return x.index_fill(-1, torch.tensor(PAD), -torch.inf)


def padding_pays(log_p, logits, ended):
    """Ended beams continue by PAD alone, but at the price the model gives it."""
    width, V = logits.shape[1:]
    not_pad = torch.arange(V) != PAD  # (V,)
    step = logits.log_softmax(dim=-1).masked_fill(ended[..., None] & not_pad, -torch.inf)
    best = (log_p[..., None] + step).flatten(1).topk(width)
    return best.indices // V, best.indices % V, best.values


two_ended = (-normal(13, 3, 4).abs(), normal(14, 3, 4, 6), truths("0110", "1000", "0001"))
all_ended = (-normal(15, 2, 3).abs(), normal(16, 2, 3, 5), truths("111", "111"))

beam_step = Exercise(
    id="beam_step",
    lesson=8,
    signature=(
        "beam_step(log_p (B, width), logits (B, width, V), ended (B, width) bool)"
        " → beam, word, log_p, each (B, width)"
    ),
    returns=("beam", "word", "log_p"),
    oracle=try_all_continuations,
    cases=(
        Case(
            "one sentence, two beams, none has ended",
            (torch.tensor([[-0.5, -0.7]]), normal(1, 1, 2, 5), truths("00")),
        ),
        Case(
            "one beam is far behind: the other one gives both",
            (torch.tensor([[-9.0, -0.1]]), normal(2, 1, 2, 6), truths("00")),
        ),
        Case(
            "three beams: one of them gives all three",
            (torch.tensor([[-9.0, -0.1, -8.0]]), normal(7, 1, 3, 6), truths("000")),
        ),
        Case(
            "logits that are far from log-probabilities",
            (-normal(3, 2, 3).abs(), normal(4, 2, 3, 7, scale=4.0), truths("000", "000")),
        ),
        Case(
            "a beam has ended: it goes on with PAD, at no cost",
            (torch.tensor([[-1.0, -1.2, -0.9]]), normal(5, 1, 3, 5), truths("010")),
        ),
        Case(
            "an ended beam is behind, and is dropped",
            (torch.tensor([[-0.2, -30.0]]), normal(6, 1, 2, 6), truths("01")),
        ),
        Case("three sentences, some beams have ended", two_ended),
        Case("all beams have ended", all_ended),
        Case(
            "a living beam is far behind: it still comes before what is impossible",
            (
                torch.tensor([[-1.0, -300.0]]),
                torch.tensor([[[1.0, 2, 0, 3], [0, 0, 9, 0]]]),
                truths("10"),
            ),
        ),
    ),
    misconceptions=(
        *several(
            "best_of_each_beam",
            "You take one word for each beam; all continuations compete in one race.",
            beam_by(take=best_of_each_beam),
            beam_by(take=best_of_each_beam_sorted),
        ),
        Misconception(
            "too_few_of_each_beam",
            "You take two words of each beam; one beam may supply all the winners.",
            beam_by(take=best_of_two_of_each_beam),
        ),
        Misconception(
            "logits_added",
            "You add logits to log p: they are no log-probabilities yet.",
            beam_by(step_of=lambda logits: logits),
        ),
        *several(
            "probabilities_added",
            "You add probabilities to log p: log-probabilities are what adds up.",
            beam_by(step_of=lambda logits: logits.softmax(dim=-1)),
            beam_by(step_of=lambda logits: logits.softmax(dim=-1), closed=None, free=None),
        ),
        Misconception(
            "multiplied",
            "You multiply the log-probabilities: they add up.",
            beam_by(join=lambda log_p, step: log_p[..., None] * step),
        ),
        Misconception(
            "past_forgotten",
            "Your scores are those of the last word alone: log p so far is missing.",
            beam_by(join=lambda log_p, step: step + 0 * log_p[..., None]),
        ),
        Misconception(
            "swapped",
            "Your beam and your word have changed places: // gives the beam, % the word.",
            beam_by(shown=lambda beam, word, new, log_p, step: (word, beam, new)),
        ),
        *several(
            "divided_by_width",
            "You divide places by the width; a beam has V continuations.",
            beam_by(
                shown=lambda beam, word, new, log_p, step: (
                    (beam * step.shape[2] + word) // step.shape[1],
                    (beam * step.shape[2] + word) % step.shape[1],
                    new,
                )
            ),
            beam_by(
                shown=lambda beam, word, new, log_p, step: (
                    (beam * step.shape[2] + word) % step.shape[1],
                    (beam * step.shape[2] + word) // step.shape[1],
                    new,
                )
            ),
        ),
        *several(
            "one_race_for_the_batch",
            "You run one race for the whole batch: each sentence has its own.",
            one_race_for_the_batch(lambda row, width: row),
            one_race_for_the_batch(lambda row, width: row % width),
        ),
        Misconception(
            "rows_of_the_state",
            "Your beams are rows of the state; beams count anew in each sentence.",
            beam_by(
                shown=lambda beam, word, new, log_p, step: (
                    beam + beam.shape[1] * torch.arange(len(beam))[:, None],
                    word,
                    new,
                )
            ),
        ),
        Misconception(
            "ended_goes_on",
            "Your ended beams go on writing; their one continuation is PAD.",
            beam_by(closed=None, free=None),
        ),
        Misconception(
            "ended_is_dropped",
            "Your ended beams drop out: they have no continuation, PAD is missing.",
            beam_by(free=None),
        ),
        Misconception(
            "ended_keeps_other_words",
            "Your ended beams may still write words; PAD is all that is left to them.",
            beam_by(closed=None),
        ),
        Misconception(
            "ended_all_free",
            "Your ended beams may write any word for free; only PAD is left to them.",
            beam_by(closed=0.0),
        ),
        *several(
            "large_cost",
            "A large cost is not out of the race: an ended beam writes PAD, nothing else.",
            *(beam_by(closed=cost) for cost in (-20.0, -50.0, -100.0)),
        ),
        *several(
            "pad_forbidden",
            "You forbid PAD to living beams: to them it is a word like any other.",
            beam_by(step_of=lambda logits: without_pad(logits.log_softmax(dim=-1))),
            beam_by(step_of=lambda logits: without_pad(logits).log_softmax(dim=-1)),
        ),
        Misconception(
            "pad_free_for_all",
            "PAD costs nothing in all your beams; it is free for ended ones only.",
            beam_by(free=torch.ones_like),
        ),
        Misconception(
            "eos_for_pad",
            "Your ended beams go on with EOS; they have written it, PAD follows.",
            beam_by(free_word=EOS),
        ),
        Misconception(
            "padding_costs",
            "Your ended beams pay for PAD: their log p must stay as it was.",
            padding_pays,
        ),
        Misconception(
            "softmax_over_beams",
            "Your softmax runs over the beams; it runs over the words of each.",
            beam_by(step_of=lambda logits: logits.log_softmax(dim=1)),
        ),
        Misconception(
            "one_softmax_for_all",
            "One softmax for all beams together; each beam has its own.",
            beam_by(step_of=lambda logits: logits.flatten(1).log_softmax(dim=1).view_as(logits)),
        ),
        Misconception(
            "worst_first",
            "Your beams stand the wrong way round: the best one comes first.",
            beam_by(take=worst_of_the_best),
        ),
        Misconception(
            "step_returned",
            "You return the log-probability of the new word, not of the whole beam.",
            beam_by(
                shown=lambda beam, word, new, log_p, step: (
                    beam,
                    word,
                    new - log_p.gather(1, beam),
                )
            ),
        ),
        Misconception(
            "old_log_p_unmoved",
            "Your old log p is that of another beam: it must follow the beam that grows.",
            beam_by(
                shown=lambda beam, word, new, log_p, step: (
                    beam,
                    word,
                    new - log_p.gather(1, beam) + log_p,
                )
            ),
        ),
        Misconception(
            "history_ignored",
            "You choose by the last word alone, and add log p so far too late.",
            beam_by(take=best_by_the_last_word),
        ),
        Misconception(
            "old_log_p_returned",
            "Your log p is that of the old beam: the new word has not been added.",
            beam_by(
                shown=lambda beam, word, new, log_p, step: (beam, word, log_p.gather(1, beam)),
            ),
        ),
        Misconception(
            "probability_returned",
            "You return probabilities; log-probabilities are wanted.",
            beam_by(shown=lambda beam, word, new, log_p, step: (beam, word, new.exp())),
        ),
        Misconception(
            "first_sentence_for_all",
            "All sentences get the choice of the first one.",
            beam_by(take=from_first_sentence),
        ),
    ),
    hints=(
        "How many continuations does one sentence have, counted over all its beams?",
        "Add each beam's log p to the log-softmax of its logits. An ended beam has -inf everywhere"
        " but 0 at PAD. Then one topk over width·V numbers.",
        "step = logits.log_softmax(-1).masked_fill(ended[..., None], -torch.inf); where ended,"
        " step[..., 0] becomes 0. total = log_p[..., None] + step, (B, width, V)."
        " best = total.flatten(1).topk(width): its indices // V are the beams, % V the words, its"
        " values the new log p.",
    ),
)


# --- pick_ending ----------------------------------------------------------------------------------


def count_and_compare(log_p, words, alpha):
    """Sentence by sentence, beam by beam."""
    chosen, best = [], []
    for scores, beams in zip(log_p.tolist(), words, strict=True):
        T = [sum(word != PAD for word in beam.tolist()) for beam in beams]
        ranks = [score / ((5 + t) / 6) ** alpha for score, t in zip(scores, T, strict=True)]
        chosen.append(beams[ranks.index(max(ranks))])
        best.append(max(ranks))
    return torch.stack(chosen), torch.tensor(best)


def real_words(words):
    return (words != PAD).sum(dim=-1)  # (B, width)


def pick_by(rank, pick=lambda rank: rank.argmax(dim=1)):
    """The beam with the best rank and its rank, where rank(log_p, words, alpha) is (B, width)."""

    def answer(log_p, words, alpha):
        ranks, row = rank(log_p, words, alpha), torch.arange(len(words))
        best = pick(ranks)  # (B,)
        return words[row, best], ranks[row, best].float()

    return answer


def penalised(count=real_words, penalty=lambda T, alpha: ((5 + T) / 6) ** alpha):
    return lambda log_p, words, alpha: log_p / penalty(count(words), alpha)


def winner_by_log_p(log_p, words, alpha):
    best, row = log_p.argmax(dim=1), torch.arange(len(words))  # (B,) each
    return words[row, best], penalised()(log_p, words, alpha)[row, best]


def one_winner(log_p, words, alpha):
    """The best of all beams of all sentences: (T,) and a number."""
    ranks = penalised()(log_p, words, alpha)  # (B, width)
    return words.flatten(0, 1)[ranks.argmax()], ranks.max()


SHORT_OR_LONG = torch.tensor([[[7, EOS, 0, 0, 0, 0, 0, 0], [4, 5, 6, 7, 8, 9, 8, EOS]]])
THREE = torch.tensor(
    [
        [[5, EOS, 0, 0, 0, 0], [5, 6, 7, EOS, 0, 0], [4, 5, 6, 7, 8, EOS]],
        [[9, 4, 5, EOS, 0, 0], [8, EOS, 0, 0, 0, 0], [4, 4, EOS, 0, 0, 0]],
    ]
)
CLOSE = torch.tensor(
    [[[5, EOS, 0, 0, 0, 0, 0, 0, 0, 0], [5, 6, 7, 8, 9, 5, 6, 7, 8, EOS], [5, 6, 7, EOS] + [0] * 6]]
)

pick_ending = Exercise(
    id="pick_ending",
    lesson=8,
    signature="pick_ending(log_p (B, width), words (B, width, T), alpha) → best (B, T), score (B,)",
    returns=("best", "score"),
    oracle=count_and_compare,
    cases=(
        Case("alpha 0: nothing is divided", (torch.tensor([[-3.0, -2.0, -2.5]]), THREE[:1], 0.0)),
        Case("the long ending wins", (torch.tensor([[-2.0, -2.3]]), SHORT_OR_LONG, 0.6)),
        Case("the short ending wins", (torch.tensor([[-2.0, -3.3]]), SHORT_OR_LONG, 0.6)),
        Case(
            "two sentences",
            (torch.tensor([[-1.0, -1.3, -1.9], [-2.6, -1.9, -2.9]]), THREE, 0.8),
        ),
        Case("alpha 1, a close race", (torch.tensor([[-1.4, -2.85, -1.9]]), CLOSE, 1.0)),
        Case("alpha 2", (torch.tensor([[-1.0, -4.0, -1.8]]), CLOSE, 2.0)),
        Case("alpha 0.3", (torch.tensor([[-1.0, -1.19, -1.12]]), CLOSE, 0.3)),
    ),
    misconceptions=(
        Misconception(
            "no_penalty",
            "You compare log p as it is: nothing is divided.",
            pick_by(lambda log_p, words, alpha: log_p),
        ),
        Misconception(
            "multiplied",
            "You multiply by the penalty: a long ending is then punished twice.",
            pick_by(
                lambda log_p, words, alpha: log_p * ((5 + real_words(words)) / 6) ** alpha,
            ),
        ),
        Misconception(
            "divided_by_length",
            "You divide by the number of words, not by the length penalty.",
            pick_by(penalised(penalty=lambda T, alpha: T)),
        ),
        Misconception(
            "length_to_alpha",
            "You divide by the length to the alpha: the 5 and the 6 are missing.",
            pick_by(penalised(penalty=lambda T, alpha: T**alpha)),
        ),
        Misconception(
            "divided_twice",
            "You divide by the length as well as by the length penalty.",
            pick_by(penalised(penalty=lambda T, alpha: T * ((5 + T) / 6) ** alpha)),
        ),
        *several(
            "alpha_multiplied",
            "Your alpha is a factor; it is the exponent of the penalty.",
            pick_by(penalised(penalty=lambda T, alpha: alpha * (5 + T) / 6)),
            pick_by(penalised(penalty=lambda T, alpha: alpha * (5 + T) / 6 if alpha else 1.0)),
        ),
        Misconception(
            "power_on_the_six_only",
            "Your power falls on the 6 alone: put (5 + T) / 6 into brackets.",
            pick_by(penalised(penalty=lambda T, alpha: (5 + T) / 6**alpha)),
        ),
        Misconception(
            "six_under_T_only",
            "Your 6 divides T alone: put 5 + T into brackets.",
            pick_by(penalised(penalty=lambda T, alpha: (5 + T / 6) ** alpha)),
        ),
        *several(
            "rounded_down",
            "You divide with //, which rounds down; / is wanted.",
            pick_by(penalised(penalty=lambda T, alpha: ((5 + T) // 6) ** alpha)),
            pick_by(
                lambda log_p, words, alpha: log_p // ((5 + real_words(words)) / 6) ** alpha,
            ),
        ),
        Misconception(
            "five_missing",
            "You divide by (T / 6) to the alpha: the 5 is missing.",
            pick_by(penalised(penalty=lambda T, alpha: (T / 6) ** alpha)),
        ),
        Misconception(
            "winner_by_log_p",
            "Your winner is the one with the best log p; the largest quotient wins.",
            winner_by_log_p,
        ),
        Misconception(
            "alpha_forgotten",
            "Your penalty is (5 + T) / 6 whatever alpha is: the exponent is missing.",
            pick_by(penalised(penalty=lambda T, alpha: (5 + T) / 6)),
        ),
        Misconception(
            "padding_counted",
            "You count padding as words: then all beams are equally long.",
            pick_by(penalised(count=lambda words: torch.tensor(words.shape[-1]))),
        ),
        Misconception(
            "worst_ending",
            "You take the worst ending: the largest quotient wins, it is negative.",
            pick_by(penalised(), pick=lambda rank: rank.argmin(dim=1)),
        ),
        Misconception(
            "longest",
            "You take the longest ending, whatever its log p.",
            pick_by(lambda log_p, words, alpha: real_words(words)),
        ),
        Misconception(
            "one_choice_for_all",
            "All sentences get the beam that the first one chose.",
            pick_by(penalised(), pick=lambda rank: rank.argmax(dim=1)[:1].expand(len(rank))),
        ),
        *several(
            "one_winner_for_the_batch",
            "You pick one winner for the whole batch: each sentence has its own.",
            one_winner,
            lambda log_p, words, alpha: tuple(
                x.expand(len(words), *x.shape) for x in one_winner(log_p, words, alpha)
            ),
        ),
        Misconception(
            "log_p_returned",
            "Your score is log p itself; it should be divided by the length penalty.",
            lambda log_p, words, alpha: (
                count_and_compare(log_p, words, alpha)[0],
                log_p[torch.arange(len(words)), penalised()(log_p, words, alpha).argmax(dim=1)],
            ),
        ),
        Misconception(
            "number_returned",
            "You return the number of the best beam; its words are wanted.",
            lambda log_p, words, alpha: (
                penalised()(log_p, words, alpha).argmax(dim=1),
                count_and_compare(log_p, words, alpha)[1],
            ),
        ),
        Misconception(
            "end_not_counted",
            "You leave EOS out of the count: it is a word that the model wrote.",
            pick_by(penalised(count=lambda words: real_words(words) - 1)),
        ),
    ),
    hints=(
        "How long is each ending? Padding is no word, EOS is one.",
        "Divide each log p by ((5 + T) / 6) to the power of alpha. The largest quotient wins.",
        "T = (words != 0).sum(-1) is (B, width). best = (log_p / ((5 + T) / 6) ** alpha).argmax(1)"
        " is (B,), and words[torch.arange(len(words)), best] gives one row for each"
        " sentence; index the quotients in the same way.",
    ),
)


# --- reorder_state --------------------------------------------------------------------------------


def copy_row_by_row(kept, place, beam):
    """For each sentence and new beam, copy the row of the old beam."""
    B, width = beam.shape
    rows = [b * width + beam[b, k].item() for b in range(B) for k in range(width)]
    return torch.stack([kept[row] for row in rows]), torch.stack([place[row] for row in rows])


def reordered(rows_of):
    return lambda kept, place, beam: (kept[rows_of(beam)], place[rows_of(beam)])


def stepping_by(n_rows, beam):
    """The row of each new beam, if a sentence has `n_rows` rows."""
    return (torch.arange(len(beam))[:, None] * n_rows + beam).flatten()  # (B·width,)


def true_rows(beam):
    return stepping_by(beam.shape[1], beam)


def inverse(beam):
    """The old beam's row is sent to the new place: a scatter instead of a gather."""
    rows = true_rows(beam)
    return torch.arange(len(rows)).scatter(0, rows, torch.arange(len(rows)))


def sent_to_zeros(kept, place, beam):
    """The same scatter, into zeros: a row that nothing is sent to stays 0."""
    return tuple(torch.zeros_like(x).index_put((true_rows(beam),), x) for x in (kept, place))


def overwritten(kept, place, beam):
    """Row by row in the same tensor: a later row may find its source overwritten."""
    kept, place = kept.clone(), place.clone()
    for new, old in enumerate(true_rows(beam).tolist()):
        kept[new], place[new] = kept[old], place[old]
    return kept, place


def remembered(B, width):
    kept = normal(B * 10 + width, B * width, 3, 2)  # (B·width, T, d_k)
    return kept, 5 + torch.arange(B * width)


reorder_state = Exercise(
    id="reorder_state",
    lesson=8,
    signature=(
        "reorder_state(kept (B·width, T, d_k), place (B·width,), beam (B, width))"
        " → kept, place, in the new order"
    ),
    returns=("kept", "place"),
    oracle=copy_row_by_row,
    cases=(
        Case("one sentence: two beams change places", (*remembered(1, 2), torch.tensor([[1, 0]]))),
        Case("a beam gives two, another none", (*remembered(1, 3), torch.tensor([[2, 2, 0]]))),
        Case("one turns round three beams", (*remembered(1, 3), torch.tensor([[1, 2, 0]]))),
        Case("two sentences", (*remembered(2, 3), torch.tensor([[1, 1, 2], [2, 0, 1]]))),
        Case(
            "more sentences than beams",
            (*remembered(4, 2), torch.tensor([[1, 0], [0, 0], [1, 1], [0, 1]])),
        ),
    ),
    misconceptions=(
        Misconception(
            "first_sentence",
            "All your rows come from the first sentence: beams count anew in each.",
            reordered(lambda beam: beam.flatten()),
        ),
        *several(
            "offset_by_batch",
            "You step on by B for each sentence; a sentence has `width` rows.",
            reordered(lambda beam: stepping_by(len(beam), beam)),
            reordered(lambda beam: stepping_by(len(beam), beam).clamp(max=beam.numel() - 1)),
        ),
        Misconception(
            "offset_by_one",
            "You step on by 1 for each sentence; a sentence has `width` rows.",
            reordered(lambda beam: stepping_by(1, beam)),
        ),
        Misconception(
            "beams_outside",
            "Your rows stand beam by beam; all beams of a sentence stand together.",
            reordered(
                lambda beam: (torch.arange(len(beam))[:, None] * beam.shape[1] + beam).T.flatten()
            ),
        ),
        Misconception(
            "interleaved",
            "You read the rows as beam by beam: row b·width + k is beam k of sentence b.",
            reordered(lambda beam: (beam * len(beam) + torch.arange(len(beam))[:, None]).flatten()),
        ),
        *several(
            "sent_instead_of_fetched",
            "You send old rows to new places; new beam k must fetch old beam `beam[k]`.",
            reordered(inverse),
            sent_to_zeros,
        ),
        Misconception(
            "overwritten_while_reading",
            "You overwrite rows that are still to be read: fetch from the old state.",
            overwritten,
        ),
        Misconception(
            "place_left",
            "Your second tensor keeps its old order: all of the state moves.",
            lambda kept, place, beam: (kept[true_rows(beam)], place),
        ),
        Misconception(
            "kept_left",
            "Your first tensor keeps its old order: all of the state moves.",
            lambda kept, place, beam: (kept, place[true_rows(beam)]),
        ),
        Misconception(
            "nothing_moves",
            "Your state is as it was: no beam has moved.",
            lambda kept, place, beam: (kept, place),
        ),
        Misconception(
            "sorted_first",
            "You sort the beams: their order is the order of the new beams.",
            reordered(lambda beam: true_rows(beam.sort(dim=1).values)),
        ),
        Misconception(
            "all_from_the_best",
            "All your beams continue the first one: each has its own past.",
            reordered(lambda beam: true_rows(beam[:, :1].expand_as(beam))),
        ),
        Misconception(
            "folded",
            "Your answer has sentences and beams as two axes; the model knows one.",
            lambda kept, place, beam: tuple(
                x[true_rows(beam)].unflatten(0, beam.shape) for x in (kept, place)
            ),
        ),
    ),
    hints=(
        "In which row of the state does beam 1 of the third sentence stand?",
        "Sentence b begins at row b·width. Add that to each beam number, flatten, and index.",
        "row = torch.arange(B)[:, None] * width + beam is (B, width). row.flatten() says for each"
        " new row which old one it continues; index both tensors with it.",
    ),
)


# --- append_cache ---------------------------------------------------------------------------------


def copy_head_by_head(keys, values, new_key, new_value):
    """For each sentence and head, the kept vectors and behind them the new one's slice."""

    def grown(kept, new):
        B, H, _, d = kept.shape
        slices = [[new[b, h * d : (h + 1) * d] for h in range(H)] for b in range(B)]
        rows = [[torch.cat([kept[b, h], slices[b][h][None]]) for h in range(H)] for b in range(B)]
        return torch.stack([torch.stack(row) for row in rows])

    return grown(keys, new_key), grown(values, new_value)


def in_heads(new, kept):
    """new (B, H·d) → (B, H, 1, d)."""
    return new.unflatten(-1, (kept.shape[1], -1))[:, :, None]


def in_interleaved_heads(new, kept):
    """Head h gets columns h, h + H, …"""
    return new.unflatten(-1, (-1, kept.shape[1])).mT[:, :, None]


def behind(kept, new):
    return torch.cat([kept, new], dim=2)


def cached_by(join=behind, cut=in_heads):
    def answer(keys, values, key, value):
        return join(keys, cut(key, keys)), join(values, cut(value, values))

    return answer


def a_cache(seed, B, H, T, d_k, d_v):
    return (
        normal(seed, B, H, T, d_k),
        normal(seed + 1, B, H, T, d_v),
        normal(seed + 2, B, H * d_k),
        normal(seed + 3, B, H * d_v),
    )


append_cache = Exercise(
    id="append_cache",
    lesson=8,
    signature=(
        "append_cache(keys (B, H, T, d_k), values (B, H, T, d_v), new_key (B, H·d_k),"
        " new_value (B, H·d_v))"
        " → keys (B, H, T + 1, d_k), values (B, H, T + 1, d_v)"
    ),
    returns=("keys", "values"),
    oracle=copy_head_by_head,
    cases=(
        Case("one head", a_cache(10, 1, 1, 2, 3, 3)),
        Case("two heads", a_cache(20, 1, 2, 3, 2, 2)),
        Case("sentences, heads and widths all differ", a_cache(30, 2, 3, 4, 5, 6)),
        Case("nothing is kept yet", a_cache(40, 3, 2, 0, 4, 3)),
        Case("as many heads as words", a_cache(50, 2, 4, 4, 3, 2)),
    ),
    misconceptions=(
        Misconception(
            "in_front",
            "Your new word stands in front of the old ones; it came last.",
            cached_by(join=lambda kept, new: torch.cat([new, kept], dim=2)),
        ),
        Misconception(
            "interleaved",
            "Your heads get every H-th column; head h owns d columns in a row.",
            cached_by(cut=in_interleaved_heads),
        ),
        Misconception(
            "sentences_mixed",
            "You cut the batch into heads first; every sentence is cut by itself.",
            cached_by(
                cut=lambda new, kept: new.view(kept.shape[1], len(new), 1, -1).transpose(
                    0, 1
                )  # (B, H, 1, d)
            ),
        ),
        Misconception(
            "first_piece_for_all",
            "All your heads get the first piece; head h gets piece h.",
            cached_by(
                cut=lambda new, kept: in_heads(new, kept)[:, :1].expand(-1, kept.shape[1], -1, -1)
            ),
        ),
        Misconception(
            "oldest_dropped",
            "Your cache has dropped its oldest word: it should grow by one.",
            cached_by(join=lambda kept, new: behind(kept, new)[:, :, -max(1, kept.shape[2]) :]),
        ),
        Misconception(
            "last_overwritten",
            "Your new word has taken the place of the last one: it should stand behind.",
            cached_by(join=lambda kept, new: behind(kept[:, :, :-1], new)),
        ),
        Misconception(
            "values_only",
            "Your keys have not grown: who asks cannot find the new word.",
            lambda keys, values, key, value: (keys, behind(values, in_heads(value, values))),
        ),
        Misconception(
            "keys_only",
            "Your values have not grown: the new word is found, and has nothing to say.",
            lambda keys, values, key, value: (behind(keys, in_heads(key, keys)), values),
        ),
        Misconception(
            "nothing_appended",
            "Your cache is as it was: the new word is missing.",
            lambda keys, values, key, value: (keys, values),
        ),
        Misconception(
            "only_the_new",
            "You return the new word alone: the old ones are lost.",
            lambda keys, values, key, value: (in_heads(key, keys), in_heads(value, values)),
        ),
        Misconception(
            "swapped",
            "You return values and keys; keys come first.",
            lambda keys, values, key, value: cached_by()(keys, values, key, value)[::-1],
        ),
        Misconception(
            "value_is_key",
            "Your new value is the new key: the values get their own vector.",
            lambda keys, values, key, value: cached_by()(keys, values, key, key),
        ),
        Misconception(
            "keys_twice",
            "You return the keys twice; the values come second.",
            lambda keys, values, key, value: cached_by()(keys, keys, key, key),
        ),
        Misconception(
            "zeros_appended",
            "Your caches grow by zeros: the new word's key and value are missing.",
            cached_by(cut=lambda new, kept: in_heads(torch.zeros_like(new), kept)),
        ),
        Misconception(
            "heads_in_the_wrong_axis",
            "Your heads and your words have changed places: (B, H, T + 1, d) is wanted.",
            lambda *args: tuple(x.transpose(1, 2) for x in cached_by()(*args)),
        ),
        Misconception(
            "heads_merged",
            "Your heads are merged: the cache keeps them apart, (B, H, T + 1, d).",
            lambda *args: tuple(x.transpose(1, 2).flatten(2) for x in cached_by()(*args)),
        ),
        Misconception(
            "doubled",
            "Your new word is in the cache twice.",
            cached_by(join=lambda kept, new: behind(behind(kept, new), new)),
        ),
    ),
    hints=(
        "Which axis of the cache counts words? It is the one that grows, at its end.",
        "Cut the new key into H pieces of d columns, give it a word axis of size 1, and"
        " concatenate along the axis of words. The value likewise.",
        "new_key.unflatten(-1, (H, -1)) is (B, H, d_k), and [:, :, None] makes it (B, H, 1, d_k)."
        " torch.cat([keys, that], dim=2) is the new cache; H is keys.shape[1].",
    ),
)


# --- chunk_mask -----------------------------------------------------------------------------------


def compare_places(n_past, n_new):
    """New word by new word, key by key: no key may stand behind the word that asks."""
    rows = [[key <= n_past + new for key in range(n_past + n_new)] for new in range(n_new)]
    return torch.tensor(rows)  # (n_new, n_past + n_new)


def lower(diagonal_of, rows_of=lambda n_past, n_new: n_new):
    """A lower triangle as wide as all words."""
    return lambda n_past, n_new: torch.ones(
        rows_of(n_past, n_new), n_past + n_new, dtype=torch.bool
    ).tril(diagonal_of(n_past, n_new))


chunk_mask = Exercise(
    id="chunk_mask",
    lesson=8,
    signature="chunk_mask(n_past, n_new) → mask (n_new, n_past + n_new) bool",
    returns=("mask",),
    oracle=compare_places,
    cases=(
        Case("two kept, three new", (2, 3)),
        Case("nothing is kept: the causal mask", (0, 4)),
        Case("one new word sees all", (5, 1)),
        Case("four kept, two new", (4, 2)),
        Case("as many kept as new", (3, 3)),
    ),
    misconceptions=(
        Misconception(
            "counted_from_zero",
            "Your new words stand at 0, 1, …: they come behind the n_past kept ones.",
            lower(lambda n_past, n_new: 0),
        ),
        Misconception(
            "future_open",
            "Your new words see each other's future: all keys are open.",
            lambda n_past, n_new: torch.ones(n_new, n_past + n_new, dtype=torch.bool),
        ),
        Misconception(
            "one_ahead",
            "Your new words see one word ahead: the answer.",
            lower(lambda n_past, n_new: n_past + 1),
        ),
        Misconception(
            "moved_by_n_new",
            "You move the diagonal by n_new; the kept words move it, by n_past.",
            lower(lambda n_past, n_new: n_new),
        ),
        Misconception(
            "self_blocked",
            "Your new words cannot see themselves.",
            lower(lambda n_past, n_new: n_past - 1),
        ),
        Misconception(
            "past_closed",
            "Your mask closes what is kept: the new words may look at all of it.",
            lambda n_past, n_new: (
                compare_places(n_past, n_new) & (torch.arange(n_past + n_new) >= n_past)
            ),
        ),
        Misconception(
            "only_new_keys",
            "Your mask has no columns for the kept words.",
            lambda n_past, n_new: compare_places(0, n_new),
        ),
        Misconception(
            "all_queries",
            "Your mask has a row for every word; only the new ones ask.",
            lambda n_past, n_new: compare_places(0, n_past + n_new),
        ),
        Misconception(
            "new_first",
            "Your columns have the new words first; the kept ones stand in front.",
            lambda n_past, n_new: compare_places(n_past, n_new).roll(n_new, dims=1),
        ),
        Misconception(
            "only_past",
            "Your new words see what is kept, and nothing else.",
            lambda n_past, n_new: (torch.arange(n_past + n_new) < n_past).expand(n_new, -1),
        ),
        Misconception(
            "blocked",
            "Your mask is True where attention is blocked; True = may attend.",
            lambda n_past, n_new: ~compare_places(n_past, n_new),
        ),
        Misconception(
            "transposed",
            "Your rows are keys; rows are queries, columns are keys.",
            lambda n_past, n_new: compare_places(n_past, n_new).T,
        ),
        Misconception(
            "new_see_only_themselves",
            "Your new words see no new word but themselves: the earlier ones are past.",
            lambda n_past, n_new: (
                compare_places(n_past, n_new)
                & torch.ones(n_new, n_past + n_new)
                .triu(n_past)
                .logical_or(torch.arange(n_past + n_new) < n_past)
            ),
        ),
        Misconception(
            "past_forgotten",
            "Your later words no longer see the first kept ones: all of them stay open.",
            lambda n_past, n_new: compare_places(n_past, n_new).triu(),
        ),
        *several("ones_and_zeros", ONES_AND_ZEROS, *in_numbers(compare_places)),
        *several("minus_inf", ADDITIVE, *to_be_added(compare_places)),
    ),
    hints=(
        "At which place does the first new word stand, if n_past words are kept before it?",
        "New word i stands at place n_past + i, and may look at every key up to there. Its row has"
        " n_past + n_new columns.",
        "A lower triangle whose diagonal is moved: torch.ones(n_new, n_past + n_new,"
        " dtype=torch.bool).tril(diagonal=n_past). Or compare two rows of places.",
    ),
)


# --- draw_word ------------------------------------------------------------------------------------


def walk_until_u(logits, temperature, u):
    """Row by row, add up probabilities until u is passed."""
    drawn = []
    for row, target in zip(logits / temperature, u.tolist(), strict=True):
        probabilities = row.softmax(dim=0).tolist()
        word, total = 0, probabilities[0]
        while total <= target and word + 1 < len(probabilities):
            word += 1
            total += probabilities[word]
        drawn.append(word)
    return torch.tensor(drawn)


def heated(logits, temperature):
    return (logits / temperature).softmax(dim=-1)


def last_takes_the_rest(count, V):
    return count.clamp(max=V - 1)


def past_the_last(count, V):
    return count


def again_at_zero(count, V):
    return count % V


def drawn_from(
    probabilities=heated,
    add_up=lambda p: p.cumsum(dim=-1),
    behind=torch.le,
    end=last_takes_the_rest,
):
    """Count the words whose sum lies behind u, with the places at which learners go astray.

    `probabilities`(logits, temperature) are (B, V); `end`(count, V) is the word.
    """

    def answer(logits, temperature, u):
        total = add_up(probabilities(logits, temperature))  # (B, V)
        return end(behind(total, u[:, None]).sum(dim=-1), logits.shape[1])  # (B,)

    return answer


def with_every_end(mistake):
    """The same mistake, made by learners who let the last word take the rest, and by others."""
    return [mistake(end) for end in (last_takes_the_rest, past_the_last, again_at_zero)]


def from_the_other_end(end):
    draw = drawn_from(end=end)
    return lambda logits, temperature, u: (
        logits.shape[1] - 1 - draw(logits.flip(-1), temperature, u)
    )


def of_first_u(end):
    draw = drawn_from(end=end)
    return lambda logits, temperature, u: draw(logits, temperature, u[:1].expand_as(u))


def most_likely_first(logits, temperature, u):
    order = logits.argsort(dim=-1, descending=True, stable=True)  # (B, V)
    rank = right_draw(logits.gather(1, order), temperature, u)  # (B,)
    return order.gather(1, rank[:, None])[:, 0]  # (B,)


right_draw = drawn_from()
SPREAD = torch.tensor([[0.0, 0.0, 0.0, 0.0]])
FIVE = normal(60, 5, 6)
EVENLY = torch.tensor([0.05, 0.3, 0.55, 0.7, 0.97])

draw_word = Exercise(
    id="draw_word",
    lesson=8,
    signature="draw_word(logits (B, V), temperature, u (B,)) → word (B,)",
    returns=("word",),
    oracle=walk_until_u,
    cases=(
        Case("four equal words, u in the third quarter", (SPREAD, 1.0, torch.tensor([0.6]))),
        Case("four equal words, u near 0", (SPREAD, 1.0, torch.tensor([0.01]))),
        Case(
            "u on the border of two words: it belongs to the second",
            (torch.zeros(1, 2), 1.0, torch.tensor([0.5])),
        ),
        Case(
            "u is 0, and word 0 is impossible: it owns nothing",
            (torch.tensor([[-torch.inf, 0.0, 0.0]]), 1.0, torch.tensor([0.0])),
        ),
        Case("five sentences", (FIVE, 1.0, EVENLY)),
        Case("cold: the likely words gain", (FIVE, 0.4, EVENLY)),
        Case("hot: the unlikely words gain", (FIVE, 3.0, EVENLY)),
        Case("many draws", (normal(61, 40, 9, scale=2.0), 1.7, torch.arange(40) / 40 + 0.0123)),
        Case("u is 1: the last word takes the rest", (torch.zeros(1, 2), 1.0, torch.tensor([1.0]))),
    ),
    misconceptions=(
        Misconception(
            "past_the_last",
            "u = 1 leads you past the last word: the last word takes the rest.",
            drawn_from(end=past_the_last),
        ),
        Misconception(
            "again_at_zero",
            "u = 1 starts again at word 0 in your answer: the last word takes the rest.",
            drawn_from(end=again_at_zero),
        ),
        *several(
            "multiplied",
            "You multiply by the temperature: then hot is cold. Divide the logits.",
            *with_every_end(
                lambda end: drawn_from(
                    lambda logits, temperature: (logits * temperature).softmax(dim=-1), end=end
                )
            ),
        ),
        *several(
            "temperature_forgotten",
            "Your draw is the same at every temperature.",
            *with_every_end(
                lambda end: drawn_from(lambda logits, temperature: logits.softmax(dim=-1), end=end)
            ),
        ),
        *several(
            "after_the_softmax",
            "You divide probabilities by the temperature: divide the logits.",
            *with_every_end(
                lambda end: drawn_from(
                    lambda logits, temperature: logits.softmax(dim=-1) / temperature, end=end
                )
            ),
        ),
        *several(
            "softmax_forgotten",
            "You add up logits: a softmax makes them probabilities first.",
            *with_every_end(
                lambda end: drawn_from(lambda logits, temperature: logits / temperature, end=end)
            ),
        ),
        *several(
            "over_sentences",
            "Your sums run over the sentences; they run over the words of each.",
            *with_every_end(lambda end: drawn_from(add_up=lambda p: p.cumsum(dim=0), end=end)),
        ),
        Misconception(
            "right_end_owned",
            "Your pieces own their right end; u on a border belongs to the next word.",
            drawn_from(behind=torch.lt),
        ),
        Misconception(
            "counted_the_rest",
            "You count the words from u on; the ones that end before u are wanted.",
            drawn_from(behind=torch.gt, end=past_the_last),
        ),
        *several(
            "softmax_twice",
            "You take a softmax of probabilities: one softmax is enough.",
            *with_every_end(
                lambda end: drawn_from(
                    lambda logits, temperature: (logits.softmax(-1) / temperature).softmax(dim=-1),
                    end=end,
                )
            ),
        ),
        Misconception(
            "greedy",
            "You take the most probable word whatever u is.",
            lambda logits, temperature, u: logits.argmax(dim=-1),
        ),
        Misconception(
            "one_noise_for_all",
            "You add one noise to all words: that never changes which is largest.",
            lambda logits, temperature, u: (
                logits / temperature - torch.log(-torch.log(u))[:, None]
            ).argmax(dim=-1),
        ),
        *several(
            "one_too_low",
            "You stop one word too early: u lies inside the next one.",
            drawn_from(end=lambda count, V: (count - 1).clamp(min=0)),
            drawn_from(end=lambda count, V: count - 1),
            drawn_from(end=lambda count, V: count.clamp(max=V - 1) - 1),
            drawn_from(end=lambda count, V: count % V - 1),
        ),
        *several(
            "one_too_high",
            "You stop one word too late.",
            drawn_from(end=lambda count, V: (count + 1).clamp(max=V - 1)),
            drawn_from(end=lambda count, V: count + 1),
            drawn_from(end=lambda count, V: count.clamp(max=V - 1) + 1),
            drawn_from(end=lambda count, V: count % V + 1),
        ),
        *several(
            "not_added_up",
            "You compare u with single probabilities: add them up on the way.",
            lambda logits, temperature, u: (
                (heated(logits, temperature) > u[:, None]).long().argmax(dim=-1)
            ),
            *with_every_end(lambda end: drawn_from(add_up=lambda p: p, end=end)),
        ),
        *several(
            "from_the_other_end",
            "You add up from the last word; begin with word 0.",
            *with_every_end(from_the_other_end),
        ),
        *several(
            "softmax_over_the_batch",
            "Your softmax runs over the sentences, not over the words.",
            *with_every_end(
                lambda end: drawn_from(
                    lambda logits, temperature: (logits / temperature).softmax(dim=0), end=end
                )
            ),
        ),
        *several(
            "sorted_words",
            "You sort the words first and return ranks, not words.",
            *with_every_end(
                lambda end: drawn_from(
                    lambda logits, temperature: (
                        (logits / temperature).softmax(-1).sort(descending=True).values
                    ),
                    end=end,
                )
            ),
        ),
        Misconception(
            "most_likely_first",
            "You lay the most probable word down first; word 0 comes first.",
            most_likely_first,
        ),
        *several(
            "u_of_first",
            "All sentences are drawn with the u of the first one.",
            *with_every_end(of_first_u),
        ),
        *several(
            "u_is_the_logit",
            "You look up u among the words' numbers: u times V says nothing about p.",
            *with_every_end(
                lambda end: (
                    lambda logits, temperature, u: end(
                        (u * logits.shape[1]).long(), logits.shape[1]
                    )
                )
            ),
        ),
    ),
    hints=(
        "Lay the probabilities side by side on a line from 0 to 1. In whose piece does u fall?",
        "Divide the logits by the temperature, take the softmax, add up from word 0 on. The first"
        " word whose sum is larger than u is drawn.",
        "total = (logits / temperature).softmax(-1).cumsum(-1) is (B, V). The answer is the number"
        " of words whose sum is still at most u: (total <= u[:, None]).sum(-1). The last word takes"
        " the rest, u = 1 included: .clamp(max=V - 1).",
    ),
)


EXERCISES = (beam_step, pick_ending, reorder_state, append_cache, chunk_mask, draw_word)
