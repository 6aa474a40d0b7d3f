"""The exercises of lesson 8, as data: reference, cases, known mistakes, hints."""

import torch

from lessons_lib.checks.exercise import Case, Exercise, Misconception, several
from lessons_lib.checks.inputs import normal, truths
from lessons_lib.checks.properties import same_gradient
from lessons_lib.kit.vocabulary import EOS, PAD, UNK

INF = torch.inf


# --- beam_step ------------------------------------------------------------------------------------


def try_all_continuations(log_p, logits, ended):
    """List every continuation of every sentence, sort, and keep the best."""
    B, width = log_p.shape
    beams, words, scores = [], [], []
    for b in range(B):
        totals = [log_p[b, k] + logits[b, k].log_softmax(dim=0) for k in range(width)]  # (V,) each
        ways = []
        for k in range(width):
            if ended[b, k]:
                ways.append((log_p[b, k].item(), k, PAD))
            else:
                ways += [(total, k, v) for v, total in enumerate(totals[k].tolist())]
        best = sorted(ways, reverse=True)[:width]
        beams.append([k for _, k, _ in best])
        words.append([v for _, _, v in best])
        new = [log_p[b, k] if ended[b, k] else totals[k][v] for _, k, v in best]
        scores.append(torch.stack(new))
    return torch.tensor(beams), torch.tensor(words), torch.stack(scores)


def beam_by(
    step_of=lambda logits: logits.log_softmax(dim=-1),
    join=lambda log_p, step: log_p[..., None] + step,
    closed=-INF,
    free=lambda ended: ended,
    shown=None,
    take=lambda total, step: total.flatten(1).topk(total.shape[1]).indices,
):
    """One step of a beam, with the places at which learners go astray as arguments.

    Ended beams get `closed` for every word; then PAD costs nothing where `free` says so.
    """

    def answer(log_p, logits, ended):
        V = logits.shape[2]
        step = step_of(logits).clone()  # (B, width, V)
        if closed is not None:
            step = step.masked_fill(ended[..., None], closed)
        if free is not None:
            step[..., PAD] = torch.where(free(ended), 0.0, step[..., PAD])
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


def one_race_for_the_batch(beam_of_row):
    """`beam_of_row`(row, width) is the beam shown for a row of the batch's beams."""

    def shown(beam, word, new, log_p, step):
        width, V = step.shape[1:]
        best = (log_p[..., None] + step).flatten().topk(log_p.numel())
        row, word = best.indices // V, best.indices % V
        return tuple(x.view_as(log_p) for x in (beam_of_row(row, width), word, best.values))

    return beam_by(shown=shown)


def padding_pays(log_p, logits, ended):
    """Ended beams continue by PAD alone, but at the price the model gives it."""
    width, V = logits.shape[1:]
    not_pad = torch.arange(V) != PAD  # (V,)
    step = logits.log_softmax(dim=-1).masked_fill(ended[..., None] & not_pad, -INF)
    best = (log_p[..., None] + step).flatten(1).topk(width)
    return best.indices // V, best.indices % V, best.values


def price_of_the_last_word(log_p, logits, ended):
    """The right race, but what is returned is the winner's last step."""
    beam, word, new = beam_by()(log_p, logits, ended)
    return beam, word, new - log_p.gather(1, beam)


SOME_ENDED = (-normal(13, 3, 4).abs(), normal(14, 3, 4, 6), truths("0110", "1000", "0001"))

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
            (
                torch.tensor([[-0.5, -0.7]]),
                torch.tensor([[[1.0, 2, 0], [0, 3, 1]]]),
                truths("00"),
            ),
        ),
        Case(
            "one beam is far behind: the other one gives both",
            (
                torch.tensor([[-9.0, -0.1]]),
                torch.tensor([[[0.0, 1, 2], [3, 1, 2]]]),
                truths("00"),
            ),
        ),
        Case(
            "the example: a beam has ended, and stays the best",
            (
                torch.tensor([[-1.0, -1.1]]),
                torch.tensor([[[0.0, 0, 1, 5], [9, 9, 9, 9]]]),
                truths("01"),
            ),
        ),
        Case(
            "an ended beam is behind, and is dropped",
            (
                torch.tensor([[-0.2, -30.0]]),
                torch.tensor([[[0.0, 3, 1], [2, 1, 0]]]),
                truths("01"),
            ),
        ),
        Case(
            "the first step of a search: one beam has begun",
            (
                torch.tensor([[0.0, -INF]]),
                torch.tensor([[[0.0, 3, 1], [0, 3, 1]]]),
                truths("00"),
            ),
        ),
        Case(
            "the first step: an unlikely word comes before a beam that has not begun",
            (
                torch.tensor([[0.0, -INF]]),
                torch.tensor([[[0.0, -150, -200], [0, 0, 0]]]),
                truths("00"),
            ),
        ),
        Case(
            "a beam that has not begun stands before one that has",
            (
                torch.tensor([[-INF, -1.0]]),
                torch.tensor([[[0.0, 0, 0], [-3, -1, -INF]]]),
                truths("00"),
            ),
        ),
        Case(
            "three beams: one of them gives all three",
            (torch.tensor([[-9.0, -0.1, -8.0]]), normal(7, 1, 3, 6), truths("000")),
        ),
        Case(
            "logits that are far from log-probabilities",
            (-normal(3, 2, 3).abs(), normal(4, 2, 3, 7, scale=4.0), truths("000", "000")),
        ),
        Case("three sentences, some beams have ended", SOME_ENDED),
        Case(
            "all beams have ended",
            (-normal(15, 2, 3).abs(), normal(16, 2, 3, 5), truths("111", "111")),
        ),
        Case(
            "two words that the model forbids: logits of -inf",
            (
                torch.tensor([[-0.5, -0.7]]),
                torch.tensor([[[0.0, -INF, 1], [-INF, 1, 0]]]),
                truths("00"),
            ),
        ),
        Case(
            "an ended beam whose logits hold -inf",
            (
                torch.tensor([[-1.0, -1.2]]),
                torch.tensor([[[0.0, 2, 1], [-INF, 0, 1]]]),
                truths("01"),
            ),
        ),
        Case(
            "an ended beam whose logits are all -inf",
            (
                torch.tensor([[-1.0, -1.2]]),
                torch.tensor([[[0.0, 2, 1], [-INF, -INF, -INF]]]),
                truths("01"),
            ),
        ),
        Case(
            "a word that the model forbids, beside logits of -200",
            (
                torch.tensor([[-0.5, -9.0]]),
                torch.tensor([[[-200.0, -INF, -201], [0, 1, 2]]]),
                truths("00"),
            ),
        ),
        Case(
            "logits of 100",
            (
                torch.tensor([[-1.0, -1.5]]),
                torch.tensor([[[100.0, 98, 99], [-100, -99, -97]]]),
                truths("00"),
            ),
        ),
        Case(
            "logits of 10,000 and -10,000: log p is finite",
            (
                torch.tensor([[-1.0, -6e4, -7e4]]),
                torch.tensor([[[1e4, 0, -1e4], [1e4, 0, -1e4], [-1e4, 0, 1e4]]]),
                truths("000"),
            ),
        ),
        Case(
            "a living beam at -100,000 comes before what is impossible",
            (
                torch.tensor([[-0.001, -1e5]]),
                torch.tensor([[[1.0, 2, 0], [0, 0.1, 0.3]]]),
                truths("10"),
            ),
        ),
        Case(
            "a beam at -100,000 comes before a word that the model forbids",
            (
                torch.tensor([[0.0, -1e5]]),
                torch.tensor([[[-1e4, -INF, -INF], [0, 0.1, 0.3]]]),
                truths("00"),
            ),
        ),
        Case(
            "a beam at -100,000 comes before one that has not begun",
            (
                torch.tensor([[-1e5, -INF]]),
                torch.tensor([[[0.0, -150, -200], [0, 0, 0]]]),
                truths("00"),
            ),
        ),
        Case("one beam", (-normal(17, 2, 1).abs(), normal(18, 2, 1, 5), truths("0", "1"))),
        Case(
            "more beams than words",
            (-normal(19, 2, 5).abs(), normal(20, 2, 5, 3), truths("01000", "00101")),
        ),
        Case(
            "1,000 words",
            (-normal(21, 1, 2).abs(), normal(22, 1, 2, 1000, scale=3.0), truths("00")),
        ),
        Case(
            "three sentences, three beams, three words",
            (-normal(23, 3, 3).abs(), normal(24, 3, 3, 3), truths("010", "000", "001")),
        ),
        Case(
            "four sentences of 18 beams",
            (-normal(25, 4, 18).abs(), normal(26, 4, 18, 5), normal(27, 4, 18) > 1),
        ),
    ),
    properties=(same_gradient(try_all_continuations, ("log_p", "logits", "ended"), SOME_ENDED),),
    misconceptions=(
        *several(
            "best_of_each_beam",
            "Your output is what you get with exactly one word for each beam.",
            beam_by(take=best_of_each_beam),
            beam_by(take=best_of_each_beam_sorted),
        ),
        Misconception(
            "logits_added",
            "Your log p is the old log p plus a logit, not plus a log-probability.",
            beam_by(step_of=lambda logits: logits),
        ),
        *several(
            "probabilities_added",
            "Your log p is the old log p plus a probability, not plus its logarithm.",
            beam_by(step_of=lambda logits: logits.softmax(dim=-1)),
            beam_by(step_of=lambda logits: logits.softmax(dim=-1), closed=None, free=None),
        ),
        *several(
            "past_forgotten",
            "Your log p is that of the last word alone, without log p so far.",
            beam_by(join=lambda log_p, step: step),
            price_of_the_last_word,
        ),
        Misconception(
            "swapped",
            "Your `beam` and your `word` have changed places.",
            beam_by(shown=lambda beam, word, new, log_p, step: (word, beam, new)),
        ),
        Misconception(
            "divided_by_width",
            "You divide by `width`; one beam has V continuations.",
            beam_by(
                shown=lambda beam, word, new, log_p, step: (
                    (beam * step.shape[2] + word) // step.shape[1],
                    (beam * step.shape[2] + word) % step.shape[1],
                    new,
                )
            ),
        ),
        *several(
            "one_race_for_the_batch",
            "Your output is the best of the whole batch; each sentence has its own.",
            one_race_for_the_batch(lambda row, width: row),
            one_race_for_the_batch(lambda row, width: row % width),
        ),
        Misconception(
            "rows_of_the_state",
            "Your `beam` counts through the whole batch; it starts at 0 in each sentence.",
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
            "Your ended beams go on like living ones; their one continuation is PAD.",
            beam_by(closed=None, free=None),
        ),
        Misconception(
            "ended_is_dropped",
            "Your ended beams have no continuation at all; theirs is PAD, at no cost.",
            beam_by(free=None),
        ),
        Misconception(
            "ended_keeps_other_words",
            "Your ended beams may write PAD for free, and every other word at its price.",
            beam_by(closed=None),
        ),
        Misconception(
            "ended_all_free",
            "Your ended beams may write every word for free; they may write PAD only.",
            beam_by(closed=0.0),
        ),
        Misconception(
            "padding_costs",
            "Your ended beams pay for PAD: their log p must stay as it was.",
            padding_pays,
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
    for scores, beams in zip(log_p, words, strict=True):
        T = [sum(word != PAD for word in beam) for beam in beams.tolist()]
        ranks = [score / ((5 + t) / 6) ** alpha for score, t in zip(scores, T, strict=True)]
        winner = max(range(len(T)), key=lambda k: ranks[k].item())
        chosen.append(beams[winner])
        best.append(ranks[winner])
    return torch.stack(chosen), torch.stack(best)


def real_words(words):
    return (words != PAD).sum(dim=-1)  # (B, width)


def pick_by(rank):
    """The beam with the best rank and its rank, where rank(log_p, words, alpha) is (B, width)."""

    def answer(log_p, words, alpha):
        ranks, row = rank(log_p, words, alpha), torch.arange(len(words))
        best = ranks.argmax(dim=1)  # (B,)
        return words[row, best], ranks[row, best].float()

    return answer


def penalised(count=real_words, penalty=lambda T, alpha: ((5 + T) / 6) ** alpha):
    return lambda log_p, words, alpha: log_p / penalty(count(words), alpha)


def winner_by_log_p(log_p, words, alpha):
    best, row = log_p.argmax(dim=1), torch.arange(len(words))  # (B,) each
    return words[row, best], penalised()(log_p, words, alpha)[row, best]


def log_p_of_the_winner(log_p, words, alpha):
    best, row = penalised()(log_p, words, alpha).argmax(dim=1), torch.arange(len(words))  # (B,)
    return words[row, best], log_p[row, best]


def of_lengths(T, *lengths):
    """Beams of so many words, EOS included: (1, width, T)."""
    beams = [[4 + i % 7 for i in range(n - 1)] + [EOS] + [PAD] * (T - n) for n in lengths]
    return torch.tensor([beams])


SHORT_OR_LONG = torch.tensor([[[7, EOS, 0, 0, 0, 0, 0, 0], [4, 5, 6, 7, 8, 9, 8, EOS]]])
THREE = torch.tensor(
    [
        [[5, EOS, 0, 0, 0, 0], [5, 6, 7, EOS, 0, 0], [4, 5, 6, 7, 8, EOS]],
        [[9, 4, 5, EOS, 0, 0], [8, EOS, 0, 0, 0, 0], [4, 4, EOS, 0, 0, 0]],
    ]
)
TWO_OF_TWO = torch.tensor([[[7, 8, 2], [7, EOS, 0]], [[9, EOS, 0], [5, 6, EOS]]])
SQUARE = torch.tensor(
    [
        [[5, 6, EOS], [EOS, 0, 0], [7, EOS, 0]],
        [[8, EOS, 0], [9, 4, EOS], [EOS, 0, 0]],
        [[4, EOS, 0], [6, EOS, 0], [6, 7, EOS]],
    ]
)
CLOSE = of_lengths(10, 2, 10, 4)

pick_ending = Exercise(
    id="pick_ending",
    lesson=8,
    signature="pick_ending(log_p (B, width), words (B, width, T), alpha) → best (B, T), score (B,)",
    returns=("best", "score"),
    oracle=count_and_compare,
    cases=(
        Case(
            "alpha 0: nothing is divided",
            (torch.tensor([[-3.0, -2.0, -2.5]]), of_lengths(4, 2, 3, 4), 0.0),
        ),
        Case(
            "the example: three words beat one",
            (torch.tensor([[-3.0, -3.3]]), torch.tensor([[[EOS, 0, 0], [7, 8, EOS]]]), 1.0),
        ),
        Case("the long ending wins", (torch.tensor([[-2.0, -2.3]]), SHORT_OR_LONG, 0.6)),
        Case("the short ending wins", (torch.tensor([[-2.0, -3.3]]), SHORT_OR_LONG, 0.6)),
        Case("two sentences", (torch.tensor([[-1.0, -1.3], [-2.6, -1.9]]), TWO_OF_TWO, 0.8)),
        Case(
            "unknown words are words",
            (
                torch.tensor([[-2.0, -1.6]]),
                torch.tensor([[[UNK, UNK, UNK, EOS], [5, EOS, 0, 0]]]),
                1.0,
            ),
        ),
        Case(
            "log p below -10, and far below",
            (torch.tensor([[-12.0, -14.0], [-1e4, -9e3]]), TWO_OF_TWO, 0.6),
        ),
        Case(
            "a beam that never began: its log p is -inf",
            (torch.tensor([[-INF, -2.0], [-3.0, -INF]]), TWO_OF_TWO, 0.6),
        ),
        Case(
            "a certain ending: its log p is 0",
            (torch.tensor([[-0.5, 0.0]]), TWO_OF_TWO[:1], 0.6),
        ),
        Case(
            "two sentences of three beams",
            (torch.tensor([[-1.0, -1.3, -1.9], [-2.6, -1.9, -2.9]]), THREE, 0.8),
        ),
        Case(
            "the same sizes, other words",
            (torch.tensor([[-1.2, -1.1, -3.0], [-1.0, -2.0, -1.5]]), THREE.flip(1), 0.8),
        ),
        Case(
            "a very close race: -3.0002 and -3.0001",
            (
                torch.tensor([[-3.0002, -3.0001]]),
                torch.tensor([[[4, 5, EOS], [6, 7, EOS]]]),
                1.0,
            ),
        ),
        Case("alpha 1, a close race", (torch.tensor([[-1.4, -2.85, -1.9]]), CLOSE, 1.0)),
        Case("alpha 2", (torch.tensor([[-1.0, -4.0, -1.8]]), CLOSE, 2.0)),
        Case("alpha 0.3", (torch.tensor([[-1.0, -1.19, -1.12]]), CLOSE, 0.3)),
        Case(
            "300 words against 40",
            (torch.tensor([[-9.0, -31.0]]), of_lengths(301, 40, 300), 0.7),
        ),
        Case(
            "-10,000 against a long beam that never began",
            (torch.tensor([[-INF, -1e4]]), of_lengths(25, 25, 1), 2.0),
        ),
        Case("one beam", (torch.tensor([[-4.0]]), of_lengths(5, 3), 0.6)),
        Case(
            "three sentences of three beams of three words",
            (-1 - normal(30, 3, 3).abs(), SQUARE, 0.6),
        ),
        Case(
            "ids beyond 2^24, 2^53, and 2^60 itself",
            (
                torch.tensor([[-1.0, -1.1]]),
                torch.tensor([[[2**24 + 1, EOS, 0, 0], [2**60, 2**40 + 5, 2**53 + 1, EOS]]]),
                1.5,
            ),
        ),
        Case(
            "17 sentences of 18 beams",
            (
                -1 - normal(33, 17, 18).abs(),
                torch.cat([of_lengths(35, *range(b + 1, b - 17, -1)) for b in range(17, 34)]),
                0.6,
            ),
        ),
    ),
    properties=(
        same_gradient(
            count_and_compare,
            ("log_p", "words", "alpha"),
            (torch.tensor([[-1.0, -1.3, -1.9], [-2.6, -1.9, -2.9]]), THREE, 0.8),
        ),
    ),
    misconceptions=(
        Misconception(
            "no_penalty",
            "Your score is the largest log p: nothing is divided.",
            pick_by(lambda log_p, words, alpha: log_p),
        ),
        Misconception(
            "multiplied",
            "Your score is log p times the length penalty, not divided by it.",
            pick_by(lambda log_p, words, alpha: log_p * ((5 + real_words(words)) / 6) ** alpha),
        ),
        Misconception(
            "divided_by_length",
            "Your score is log p / T, whatever alpha is.",
            pick_by(penalised(penalty=lambda T, alpha: T)),
        ),
        Misconception(
            "length_to_alpha",
            "Your penalty is T to the power of alpha: the 5 and the 6 are missing.",
            pick_by(penalised(penalty=lambda T, alpha: T**alpha)),
        ),
        Misconception(
            "six_under_T_only",
            "Your penalty is (5 + T/6) to the power of alpha: 5 + T needs brackets.",
            pick_by(penalised(penalty=lambda T, alpha: (5 + T / 6) ** alpha)),
        ),
        Misconception(
            "six_without_alpha",
            "Your penalty is (5 + T) to the power of alpha, over 6: the 6 has no power.",
            pick_by(penalised(penalty=lambda T, alpha: (5 + T) ** alpha / 6)),
        ),
        Misconception(
            "winner_by_log_p",
            "Your winner is the beam with the largest log p, not the largest quotient.",
            winner_by_log_p,
        ),
        Misconception(
            "log_p_returned",
            "Your winner is right; your score is its log p, not its quotient.",
            log_p_of_the_winner,
        ),
        Misconception(
            "padding_counted",
            "Your T is the number of columns: it counts PAD, too.",
            pick_by(penalised(count=lambda words: torch.tensor(words.shape[-1]))),
        ),
        Misconception(
            "end_not_counted",
            "Your score is one with a T that is one too small: EOS counts as a word.",
            pick_by(penalised(count=lambda words: real_words(words) - 1)),
        ),
        Misconception(
            "first_pad",
            "Your T is the position of the first PAD: 0 for a beam without PAD.",
            pick_by(penalised(count=lambda words: (words == PAD).int().argmax(dim=-1))),
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


def remembered(B, width, T=3, d_k=2, first=5):
    kept = normal(B * 10 + width + first, B * width, T, d_k)  # (B·width, T, d_k)
    return kept, first + torch.arange(B * width)


def some_beams(B, width):
    return torch.randint(width, (B, width), generator=torch.Generator().manual_seed(31))


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
        Case(
            "one sentence: two beams are swapped",
            (*remembered(1, 2, T=1), torch.tensor([[1, 0]])),
        ),
        Case(
            "the example: two sentences of two beams",
            (torch.arange(4.0).view(4, 1, 1), torch.arange(4), torch.tensor([[1, 0], [0, 0]])),
        ),
        Case(
            "one beam gives two, another none",
            (*remembered(1, 3, T=2, d_k=1), torch.tensor([[2, 2, 0]])),
        ),
        Case("three beams move round", (*remembered(1, 3), torch.tensor([[1, 2, 0]]))),
        Case("two sentences", (*remembered(2, 3), torch.tensor([[1, 1, 2], [2, 0, 1]]))),
        Case(
            "the same sizes, other numbers",
            (*remembered(2, 3, first=9), torch.tensor([[2, 0, 0], [0, 2, 2]])),
        ),
        Case(
            "nobody continues the last beams",
            (*remembered(2, 3, T=2), torch.tensor([[0, 1, 0], [1, 0, 1]])),
        ),
        Case(
            "three sentences of two beams",
            (*remembered(3, 2), torch.tensor([[1, 0], [0, 0], [1, 1]])),
        ),
        Case(
            "more sentences than beams",
            (*remembered(4, 2), torch.tensor([[1, 0], [0, 0], [1, 1], [0, 1]])),
        ),
        Case("nothing is kept yet", (*remembered(2, 2, T=0), torch.tensor([[1, 0], [1, 1]]))),
        Case("one beam for each sentence", (*remembered(3, 1), torch.zeros(3, 1).long())),
        Case(
            "positions beyond 2^24 and 2^53",
            (
                normal(32, 2, 1, 2),
                torch.tensor([2**24 + 1, 2**53 + 1]),
                torch.tensor([[1, 0]]),
            ),
        ),
        Case("60 sentences of five beams", (*remembered(60, 5, T=2, d_k=3), some_beams(60, 5))),
        Case("18 beams, 30 words", (*remembered(2, 18, T=30), some_beams(2, 18))),
        Case(
            "three sentences, beams, words and columns",
            (*remembered(3, 3, T=3, d_k=3), torch.tensor([[1, 1, 2], [2, 0, 1], [0, 2, 0]])),
        ),
    ),
    properties=(
        same_gradient(
            copy_row_by_row,
            ("kept", "place", "beam"),
            (*remembered(2, 3), torch.tensor([[1, 1, 2], [2, 0, 1]])),
        ),
    ),
    misconceptions=(
        Misconception(
            "first_sentence",
            "All your rows come from the first sentence.",
            reordered(lambda beam: beam.flatten()),
        ),
        Misconception(
            "offset_by_batch",
            "You take row b·B + beam; sentence b begins at row b·width.",
            reordered(lambda beam: stepping_by(len(beam), beam)),
        ),
        Misconception(
            "offset_by_one",
            "You take row b + beam; sentence b begins at row b·width.",
            reordered(lambda beam: stepping_by(1, beam)),
        ),
        Misconception(
            "interleaved",
            "You take row beam·B + b; beam k of sentence b is in row b·width + k.",
            reordered(lambda beam: (beam * len(beam) + torch.arange(len(beam))[:, None]).flatten()),
        ),
        *several(
            "sent_instead_of_fetched",
            "You move old beam k to row `beam[b, k]`; new beam k continues `beam[b, k]`.",
            reordered(inverse),
            sent_to_zeros,
        ),
        Misconception(
            "overwritten_while_reading",
            "Your output is what you get when rows are overwritten before they are read.",
            overwritten,
        ),
        Misconception(
            "place_left",
            "Your `place` is in its old order: both tensors are reordered.",
            lambda kept, place, beam: (kept[true_rows(beam)], place),
        ),
        Misconception(
            "kept_left",
            "Your `kept` is in its old order: both tensors are reordered.",
            lambda kept, place, beam: (kept, place[true_rows(beam)]),
        ),
        Misconception(
            "place_of_the_first_sentence",
            "Your `kept` is right; your `place` comes from the first sentence alone.",
            lambda kept, place, beam: (kept[true_rows(beam)], place[beam.flatten()]),
        ),
        Misconception(
            "beams_argsorted",
            "Your output is what you get with `beam.argsort(1)` in place of `beam`.",
            reordered(lambda beam: true_rows(beam.argsort(1))),
        ),
        Misconception(
            "nothing_moves",
            "Your output is the old state: no beam has moved.",
            lambda kept, place, beam: (kept, place),
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


SPEECH = a_cache(100, 2, 2, 3, 2, 3)
PAUSE = torch.tensor([1.0, 1, 0])[:, None]  # (T, 1): the last word becomes zeros

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
        Case("one head, one word is kept", a_cache(10, 1, 1, 1, 3, 2)),
        Case(
            "two heads",
            (
                torch.tensor([[[[1.0, 2]], [[3, 4]]]]),
                torch.tensor([[[[5.0]], [[6]]]]),
                torch.tensor([[10.0, 20, 30, 40]]),
                torch.tensor([[50.0, 60]]),
            ),
        ),
        Case("the same sizes, other numbers", a_cache(15, 1, 2, 1, 2, 1)),
        Case("two sentences", a_cache(20, 2, 1, 1, 1, 2)),
        Case("sentences, heads and widths all differ", a_cache(30, 2, 3, 4, 5, 6)),
        Case("nothing is kept yet", a_cache(40, 3, 2, 0, 4, 3)),
        Case("as many heads as words", a_cache(50, 2, 4, 4, 3, 2)),
        Case("300 words are kept", a_cache(60, 1, 2, 300, 3, 4)),
        Case("1,030 words are kept", a_cache(64, 2, 1, 1030, 2, 2)),
        Case("three of everything", a_cache(70, 3, 3, 3, 3, 3)),
        Case("17 sentences, 16 heads of width 1", a_cache(80, 17, 16, 2, 1, 1)),
        Case(
            "the last word that is kept is all zeros",
            (SPEECH[0] * PAUSE, SPEECH[1] * PAUSE, *SPEECH[2:]),
        ),
        Case(
            "the new word equals the last one",
            (*SPEECH[:2], *(kept[:, :, -1].flatten(1) for kept in SPEECH[:2])),
        ),
    ),
    properties=(
        same_gradient(
            copy_head_by_head,
            ("keys", "values", "new_key", "new_value"),
            a_cache(90, 2, 3, 4, 5, 6),
        ),
    ),
    misconceptions=(
        Misconception(
            "in_front",
            "Your new word stands before the old ones; it came last.",
            cached_by(join=lambda kept, new: torch.cat([new, kept], dim=2)),
        ),
        Misconception(
            "interleaved",
            "Your head h has columns h, h + H, …; it owns d columns side by side.",
            cached_by(cut=in_interleaved_heads),
        ),
        Misconception(
            "sentences_mixed",
            "Your output is what you get by viewing `new_key` as (H, B, d), not (B, H, d).",
            cached_by(
                cut=lambda new, kept: new.view(kept.shape[1], len(new), 1, -1).transpose(
                    0, 1
                )  # (B, H, 1, d)
            ),
        ),
        Misconception(
            "first_piece_for_all",
            "All your heads get the columns of head 0.",
            cached_by(
                cut=lambda new, kept: in_heads(new, kept)[:, :1].expand(-1, kept.shape[1], -1, -1)
            ),
        ),
        Misconception(
            "last_overwritten",
            "Your new word replaces the last old one; the cache grows by one word.",
            cached_by(join=lambda kept, new: behind(kept[:, :, :-1], new)),
        ),
        Misconception(
            "swapped",
            "You return values and keys; keys come first.",
            lambda keys, values, key, value: cached_by()(keys, values, key, value)[::-1],
        ),
        Misconception(
            "value_is_key",
            "Your values grow by the new key, not by the new value.",
            lambda keys, values, key, value: cached_by()(keys, values, key, key),
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
    """New word by new word, key by key: no key may stand after the query."""
    rows = [[key <= n_past + new for key in range(n_past + n_new)] for new in range(n_new)]
    return torch.tensor(rows)  # (n_new, n_past + n_new)


def lower(diagonal_of):
    """A lower triangle as wide as all words."""
    return lambda n_past, n_new: torch.ones(n_new, n_past + n_new, dtype=torch.bool).tril(
        diagonal_of(n_past, n_new)
    )


chunk_mask = Exercise(
    id="chunk_mask",
    lesson=8,
    signature="chunk_mask(n_past, n_new) → mask (n_new, n_past + n_new) bool",
    returns=("mask",),
    oracle=compare_places,
    cases=(
        Case("the example: two kept, two new", (2, 2)),
        Case("two kept, three new", (2, 3)),
        Case("nothing is kept: the causal mask", (0, 4)),
        Case("nothing is kept, one new word", (0, 1)),
        Case("one new word attends to all", (5, 1)),
        Case("four kept, two new", (4, 2)),
        Case("as many kept as new", (3, 3)),
        Case("one kept, twelve new", (1, 12)),
        Case("seven kept, eight new", (7, 8)),
        Case("eight kept, seven new", (8, 7)),
        Case("a long text is kept", (3000, 4)),
        Case("a long question", (3, 150)),
        Case("a short one again", (1, 2)),
        Case("the example again", (2, 2)),
    ),
    misconceptions=(
        Misconception(
            "counted_from_zero",
            "Your new words attend as if they stood at positions 0, 1, …",
            lower(lambda n_past, n_new: 0),
        ),
        Misconception(
            "future_open",
            "Your mask is True everywhere: new words attend to the future.",
            lambda n_past, n_new: torch.ones(n_new, n_past + n_new, dtype=torch.bool),
        ),
        Misconception(
            "one_ahead",
            "Your new words attend to one word of their future.",
            lower(lambda n_past, n_new: n_past + 1),
        ),
        Misconception(
            "moved_by_n_new",
            "Your diagonal is moved by n_new.",
            lower(lambda n_past, n_new: n_new),
        ),
        Misconception(
            "self_blocked",
            "Your new words do not attend to themselves.",
            lower(lambda n_past, n_new: n_past - 1),
        ),
        Misconception(
            "past_closed",
            "Your mask is False at all kept words.",
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
            "blocked",
            "Your mask is True where attention is blocked; True = may attend.",
            lambda n_past, n_new: ~compare_places(n_past, n_new),
        ),
        Misconception(
            "past_for_future",
            "Your new words attend to themselves and what follows, not to their past.",
            lambda n_past, n_new: torch.ones(n_new, n_past + n_new).triu(n_past).bool(),
        ),
        Misconception(
            "rows_of_the_past",
            "Your mask has a row for each kept word, too; its rows are the new words.",
            lambda n_past, n_new: compare_places(0, n_past + n_new),
        ),
        Misconception(
            "transposed",
            "Your rows are keys and your columns queries; rows are the new words.",
            lambda n_past, n_new: compare_places(n_past, n_new).T,
        ),
    ),
    hints=(
        "At which position is the first new word, if n_past words are kept before it?",
        "New word i is at position n_past + i, and may attend to every key up to there. Its row has"
        " n_past + n_new columns.",
        "A lower triangle whose diagonal is moved: torch.ones(n_new, n_past + n_new,"
        " dtype=torch.bool).tril(diagonal=n_past). Or compare two rows of positions.",
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


def drawn_from(probabilities=heated, behind=torch.le, end=last_takes_the_rest):
    """Count the words whose sum lies behind u, with the steps at which learners go astray.

    `probabilities`(logits, temperature) are (B, V); `end`(count, V) is the word.
    """

    def answer(logits, temperature, u):
        total = probabilities(logits, temperature).cumsum(dim=-1)  # (B, V)
        return end(behind(total, u[:, None]).sum(dim=-1), logits.shape[1])  # (B,)

    return answer


def with_every_end(probabilities):
    """The same mistake, made by learners who let the last word take the rest, and by others."""
    return [
        drawn_from(probabilities, end=e)
        for e in (last_takes_the_rest, past_the_last, again_at_zero)
    ]


def most_likely_first(logits, temperature, u):
    order = logits.argsort(dim=-1, descending=True, stable=True)  # (B, V)
    rank = drawn_from()(logits.gather(1, order), temperature, u)  # (B,)
    return order.gather(1, rank[:, None])[:, 0]  # (B,)


def each_alone(logits, temperature, u):
    """Counts the words whose own probability is at most u."""
    count = (heated(logits, temperature) <= u[:, None]).sum(dim=-1)  # (B,)
    return count.clamp(max=logits.shape[1] - 1)


def first_above(logits, temperature, u):
    """The first word whose own probability is larger than u."""
    return (heated(logits, temperature) > u[:, None]).int().argmax(dim=-1)


def from_the_other_end(answer):
    return lambda logits, temperature, u: answer(logits, temperature, 1 - u)


def inside(logits, temperature, *words):
    """Numbers u that fall into the middle of these words' pieces, one word for each row."""
    p = (logits.double() / temperature).softmax(dim=-1)  # (B, V)
    middle = p.cumsum(dim=-1) - p / 2  # (B, V)
    return middle.gather(1, torch.tensor(words)[:, None])[:, 0].float()  # (B,)


FIVE = normal(60, 5, 6)
EVENLY = torch.tensor([0.05, 0.3, 0.55, 0.7, 0.97])
SIX, THOUSAND = normal(62, 6, 6), normal(63, 4, 1000)

draw_word = Exercise(
    id="draw_word",
    lesson=8,
    signature="draw_word(logits (B, V), temperature, u (B,)) → word (B,)",
    returns=("word",),
    oracle=walk_until_u,
    cases=(
        Case(
            "four equal words, u in the third quarter",
            (torch.zeros(1, 4), 1.0, torch.tensor([0.6])),
        ),
        Case("four equal words, u near 0", (torch.zeros(1, 4), 1.0, torch.tensor([0.01]))),
        Case(
            "u on the border of two words: it belongs to the second",
            (torch.zeros(1, 2), 1.0, torch.tensor([0.5])),
        ),
        Case(
            "four equal words, u on every left end",
            (torch.zeros(4, 4), 1.0, torch.tensor([0.0, 0.25, 0.5, 0.75])),
        ),
        Case(
            "u is 0, and word 0 is impossible: it owns nothing",
            (torch.tensor([[-INF, 0.0, 0.0]]), 1.0, torch.tensor([0.0])),
        ),
        Case(
            "an impossible word in the middle owns nothing",
            (torch.tensor([[0.0, -INF, 0.0]]), 1.0, torch.tensor([0.5])),
        ),
        Case(
            "the example",
            (
                torch.tensor([[0.2, 0.3, 0.5]]).log().repeat(3, 1),
                1.0,
                torch.tensor([0.1, 0.4, 0.9]),
            ),
        ),
        Case("five sentences", (FIVE, 1.0, EVENLY)),
        Case("the same sizes, other numbers", (normal(65, 5, 6), 1.0, EVENLY.flip(0))),
        Case("cold: the likely words gain", (FIVE, 0.4, EVENLY)),
        Case("hot: the unlikely words gain", (FIVE, 3.0, EVENLY)),
        Case("u is 1: the last word takes the rest", (torch.zeros(1, 2), 1.0, torch.tensor([1.0]))),
        Case("four words, u is 1", (torch.zeros(4, 4), 1.0, torch.ones(4))),
        Case(
            "u is 1: the last word is drawn, however unlikely",
            (torch.tensor([[0.0, -20], [0, -1000]]), 1.0, torch.ones(2)),
        ),
        Case(
            "very cold: 8, 9 and 10 at temperature 0.1",
            (torch.tensor([[8.0, 9, 10], [8, 9, 10]]), 0.1, torch.tensor([2e-5, 0.5])),
        ),
        Case(
            "very hot: 0, 100 and 300 at temperature 100",
            (torch.tensor([[0.0, 100, 300], [0, 100, 300]]), 100.0, torch.tensor([0.03, 0.1])),
        ),
        Case(
            "logits of 10,000 and -10,000",
            (torch.tensor([[1e4, -1e4, 9999], [-1e4, -9999, -1e4]]), 1.0, torch.tensor([0.9, 0.5])),
        ),
        Case(
            "an impossible word beside logits of -2,000 and -10,000",
            (
                torch.tensor([[-2000, -INF, -2001], [-1e4, -INF, -1e4]]),
                1.0,
                torch.tensor([0.5, 0.45]),
            ),
        ),
        Case(
            "an impossible word beside logits of -10,000, very cold",
            (torch.tensor([[-INF, -1e4, -9999]]), 0.1, torch.tensor([0.5])),
        ),
        Case("many draws", (normal(61, 40, 9, scale=2.0), 1.7, torch.arange(40) / 40 + 0.0123)),
        Case("as many sentences as words", (SIX, 2.0, inside(SIX, 2.0, 5, 0, 3, 3, 1, 4))),
        Case("1,000 words", (THOUSAND, 0.8, inside(THOUSAND, 0.8, 998, 0, 501, 1))),
        Case(
            "1,000 words, u is the last float32 before 1: the sum of all may lie below it",
            (normal(64, 60, 1000), 1.0, torch.full((60,), 1 - 2**-24)),
        ),
        Case("one word alone", (torch.zeros(3, 1), 0.5, torch.tensor([0.0, 0.5, 1.0]))),
    ),
    misconceptions=(
        Misconception(
            "past_the_last",
            "Your word is V where u is 1 or the sum is below it; take the last word.",
            drawn_from(end=past_the_last),
        ),
        Misconception(
            "again_at_zero",
            "Your word is 0 where u is 1 or the sum is below it; take the last word.",
            drawn_from(end=again_at_zero),
        ),
        *several(
            "multiplied",
            "Your output is what you get when the logits are multiplied by temperature.",
            *with_every_end(
                lambda logits, temperature: (logits * temperature).softmax(dim=-1),
            ),
        ),
        *several(
            "temperature_forgotten",
            "Your output is the same at every temperature.",
            *with_every_end(lambda logits, temperature: logits.softmax(dim=-1)),
        ),
        *several(
            "after_the_softmax",
            "Your output is what you get when probabilities are divided, not logits.",
            *with_every_end(lambda logits, temperature: logits.softmax(dim=-1) / temperature),
        ),
        *several(
            "right_end_owned",
            "Your pieces own their right end; u on a border belongs to the next word.",
            drawn_from(behind=torch.lt),
            drawn_from(behind=torch.lt, end=past_the_last),
        ),
        Misconception(
            "greedy",
            "Your output is the most probable word, whatever u is.",
            lambda logits, temperature, u: logits.argmax(dim=-1),
        ),
        Misconception(
            "most_likely_first",
            "Your pieces are sorted, the most probable word first; word 0 comes first.",
            most_likely_first,
        ),
        *several(
            "not_added_up",
            "You compare u with each probability, not with the sum up to each word.",
            each_alone,
            first_above,
        ),
        *several(
            "one_minus_u",
            "Your output is what you get with 1 - u in place of u.",
            *(from_the_other_end(answer) for answer in with_every_end(heated)),
        ),
        *several(
            "softmax_over_the_batch",
            "Your output is what you get when the softmax runs over the sentences.",
            *with_every_end(lambda logits, temperature: (logits / temperature).softmax(dim=0)),
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
