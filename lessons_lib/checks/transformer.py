"""The exercises of lesson 7, as data: reference, cases, known mistakes, hints."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from lessons_lib.checks.exercise import Case, Exercise, Misconception, several
from lessons_lib.checks.inputs import normal
from lessons_lib.checks.properties import same_gradient

# --- layer_norm -----------------------------------------------------------------------------------


def torch_layer_norm(x, gamma, beta, eps=1e-5):
    """torch's own."""
    return F.layer_norm(x, x.shape[-1:], gamma, beta, eps)


def norm_with(
    axes=-1,
    centre=True,
    unbiased=False,
    spread=None,
    root=lambda variance, eps: (variance + eps).sqrt(),
    affine=lambda x, gamma, beta: x * gamma + beta,
):
    """A norm over `axes`: what is divided by, and how gamma and beta are applied.

    `spread(x, mean)` stands in for the variance.
    """

    def answer(x, gamma, beta, eps=1e-5):
        dim = axes(x) if callable(axes) else axes
        mean = x.mean(dim=dim, keepdim=True)
        moved = x - mean if centre else x
        if spread:
            variance = spread(x, mean)
        else:
            variance = x.var(dim=dim, keepdim=True, correction=int(unbiased))
        return affine(moved / root(variance, eps), gamma, beta)

    return answer


def all_axes(x):
    return tuple(range(x.dim()))


def all_but_first(x):
    return tuple(range(1, x.dim()))


def all_but_last(x):
    return tuple(range(x.dim() - 1))


def eps_outside(variance, eps):
    return variance.sqrt() + eps


def eps_left_out(variance, eps):
    return variance.sqrt()


def difference_of_squares(x, mean):
    return x.square().mean(dim=-1, keepdim=True) - mean.square()


def mean_of_squares(x, mean):
    return x.square().mean(dim=-1, keepdim=True)


def mean_distance(x, mean):
    return (x - mean).abs().mean(dim=-1, keepdim=True)


def squares_summed(x, gamma, beta, eps=1e-5):
    moved = x - x.mean(dim=-1, keepdim=True)
    return moved / (moved.square().sum(dim=-1, keepdim=True) + eps).sqrt() * gamma + beta


def brackets_missing(x, gamma, beta, eps=1e-5):
    root = (x.var(dim=-1, keepdim=True, correction=0) + eps).sqrt()
    return x - x.mean(dim=-1, keepdim=True) / root * gamma + beta


def without_keepdim(x, gamma, beta, eps=1e-5):
    return (x - x.mean(dim=-1)) / (x.var(dim=-1, correction=0) + eps).sqrt() * gamma + beta


scaled_and_shifted = (
    normal(1, 2, 4),
    torch.tensor([1.0, 2.0, 0.5, -1.0]),
    torch.tensor([0.0, 1.0, -2.0, 3.0]),
)
norm_batch = (normal(2, 2, 3, 5), normal(3, 5), normal(4, 5))

layer_norm = Exercise(
    id="layer_norm",
    lesson=7,
    signature="layer_norm(x (…, d), gamma (d,), beta (d,), eps=1e-5) → normed (…, d)",
    returns=("normed",),
    oracle=torch_layer_norm,
    cases=(
        Case("one vector", (torch.tensor([[1.0, 2.0, 6.0]]), torch.ones(3), torch.zeros(3))),
        Case("two vectors, scaled and shifted", scaled_and_shifted),
        Case("sentences of vectors", norm_batch),
        Case(
            "vectors so small that eps counts",
            (normal(5, 3, 2, 4, scale=3e-3), normal(6, 4), normal(7, 4)),
        ),
        Case("another eps", (normal(8, 2, 3, 6), normal(9, 6), normal(10, 6), 0.5)),
        Case(
            "a vector whose numbers are all 2",
            (torch.full((1, 3), 2.0), torch.ones(3), torch.tensor([1.0, 2.0, 3.0])),
        ),
        Case(
            "one vector, far from 0",
            (torch.tensor([[10001.0, 10002.0, 10006.0]]), torch.ones(3), torch.zeros(3)),
        ),
    ),
    misconceptions=(
        Misconception(
            "unbiased",
            "Your variance is divided by d − 1; here it is divided by d.",
            norm_with(unbiased=True),
        ),
        Misconception(
            "eps_outside",
            "You add eps to the standard deviation; it stands under the root.",
            norm_with(root=eps_outside),
        ),
        Misconception(
            "unbiased_eps_outside",
            "You divide by x.std() + eps: d − 1 for d, and eps outside the root.",
            norm_with(unbiased=True, root=eps_outside),
        ),
        *several(
            "eps_left_out",
            "Your eps is missing: equal numbers have the variance 0, and 0/0 is NaN.",
            norm_with(root=eps_left_out),
            norm_with(unbiased=True, root=eps_left_out),
            norm_with(spread=difference_of_squares, root=eps_left_out),
        ),
        Misconception(
            "difference_of_squares",
            "Your variance is the difference of two large numbers: the small one is lost.",
            norm_with(spread=difference_of_squares),
        ),
        Misconception(
            "mean_of_squares",
            "Your variance is the mean of x²; it is the mean of (x − mean)².",
            norm_with(spread=mean_of_squares),
        ),
        *several(
            "mean_distance",
            "You divide by the mean distance; square the distances, then take the root.",
            norm_with(spread=mean_distance, root=lambda distance, eps: distance + eps),
            norm_with(spread=mean_distance, root=lambda distance, eps: distance),
        ),
        Misconception(
            "no_root",
            "You divide by the variance, not by its root.",
            norm_with(root=lambda variance, eps: variance + eps),
        ),
        Misconception(
            "squares_summed",
            "Your variance is a sum of squares; it is their mean.",
            squares_summed,
        ),
        Misconception(
            "brackets_missing",
            "You divide only the mean: x − mean needs brackets.",
            brackets_missing,
        ),
        Misconception(
            "eps_fixed",
            "Your eps is always 1e-5, whatever is handed over.",
            norm_with(root=lambda variance, eps: (variance + 1e-5).sqrt()),
        ),
        *several(
            "over_batch",
            "Your mean runs over the batch: each vector is normed by itself.",
            norm_with(axes=0),
            norm_with(axes=all_but_last),
        ),
        *several(
            "over_time",
            "Your mean runs over the positions: each vector is normed by itself.",
            norm_with(axes=1),
            norm_with(axes=-2),
        ),
        *several(
            "over_all",
            "Your mean runs over several vectors at once: each has its own.",
            norm_with(axes=all_axes),
            norm_with(axes=all_but_first),
        ),
        Misconception(
            "gamma_and_beta_missing",
            "Your result is neither scaled by gamma nor shifted by beta.",
            norm_with(affine=lambda x, gamma, beta: x),
        ),
        Misconception(
            "gamma_missing",
            "Your result is not scaled by gamma.",
            norm_with(affine=lambda x, gamma, beta: x + beta),
        ),
        Misconception(
            "beta_missing",
            "Your result is not shifted by beta.",
            norm_with(affine=lambda x, gamma, beta: x * gamma),
        ),
        Misconception(
            "swapped",
            "You scale by beta and shift by gamma: they have changed places.",
            norm_with(affine=lambda x, gamma, beta: x * beta + gamma),
        ),
        Misconception(
            "shifted_first",
            "You shift before you scale: gamma must not reach beta.",
            norm_with(affine=lambda x, gamma, beta: (x + beta) * gamma),
        ),
        Misconception(
            "rms_norm",
            "Your mean is not taken off, nor in the variance: that is RMSNorm.",
            norm_with(centre=False, spread=mean_of_squares),
        ),
        Misconception(
            "mean_left_in",
            "You divide x itself: its mean is never taken off.",
            norm_with(centre=False),
        ),
        Misconception(
            "only_centred",
            "You take off the mean, but the variance is not brought to 1.",
            norm_with(root=lambda variance, eps: 1.0),
        ),
        Misconception(
            "without_keepdim",
            "Your mean lost its axis and meets the wrong one: see keepdim.",
            without_keepdim,
        ),
    ),
    hints=(
        "Over which numbers does one mean run: a feature, a sentence, or one vector?",
        "Over dim=-1, with keepdim=True. The variance is the mean of the squared distances.",
        "Take off the mean, divide by torch.sqrt(variance + eps), multiply by gamma, add beta. Mind"
        " that x.var and x.std divide by d − 1 unless you ask for correction=0.",
    ),
    properties=(same_gradient(torch_layer_norm, ("x", "gamma", "beta"), norm_batch),),
)


# --- pre_norm_residual ----------------------------------------------------------------------------


@dataclass(eq=False, repr=False, slots=True)
class Part:
    """A norm or a sub-layer, x → x, that shows itself as a formula.

    With `keeps` it adds what it was called with before, as a layer with a memory would: whoever
    calls it twice gets something else the second time.
    """

    formula: str
    run: Callable
    keeps: bool = False
    kept: torch.Tensor | float = 0.0

    def __eq__(self, other):  # whatever it has kept
        return isinstance(other, Part) and self.formula == other.formula

    def __repr__(self):
        return f"[{self.formula}]"

    def __call__(self, x):
        out = self.run(x) + self.kept
        if self.keeps:
            self.kept = self.kept + x.detach()
        return out


def plain_norm(d: int) -> Part:
    """A layer norm without scale and shift."""
    return Part("layer norm", lambda x: F.layer_norm(x, (d,)))


def linear(seed: int, d: int, keeps: bool = False) -> Part:
    """A linear sub-layer (d, d)."""
    weight = normal(seed, d, d)
    return Part("linear, keeps a sum" if keeps else "linear", lambda x: x @ weight, keeps)


def feature_by_feature(x, norm, f):
    """Add up the two summands, feature by feature."""
    step = f(norm(x))
    return torch.stack([x[..., n] + step[..., n] for n in range(x.shape[-1])], dim=-1)


def called_before(x, norm, f):
    f(norm(x))
    return x + f(norm(x))


def skip_normed(x, norm, f):
    normed = norm(x)
    return normed + f(normed)


halves = Part("x / 2", lambda x: x / 2)
adds_ten = Part("x + 10", lambda x: x + 10)
hands_back = Part("x", lambda x: x)
residual_batch = (normal(12, 2, 3, 4), plain_norm(4), linear(13, 4))

pre_norm_residual = Exercise(
    id="pre_norm_residual",
    lesson=7,
    signature="pre_norm_residual(x (…, d), norm, f) → x (…, d)",
    returns=("x",),
    oracle=feature_by_feature,
    cases=(
        Case("two numbers", (torch.tensor([2.0, 4.0]), halves, adds_ten)),
        Case("sentences of vectors", residual_batch),
        Case("norm and f hand x itself back", (normal(14, 2, 5), hands_back, hands_back)),
        Case("f keeps what it sees", (normal(15, 3, 2, 5), plain_norm(5), linear(16, 5, True))),
    ),
    misconceptions=(
        Misconception(
            "post_norm",
            "You norm the sum: that is post-norm, as published in 2017.",
            lambda x, norm, f: norm(x + f(x)),
        ),
        Misconception(
            "both_norms",
            "You norm before f and then the sum too: the stream stays as it is.",
            lambda x, norm, f: norm(x + f(norm(x))),
        ),
        Misconception(
            "no_skip",
            "Your x itself is lost: f adds to the stream, it does not replace it.",
            lambda x, norm, f: f(norm(x)),
        ),
        Misconception(
            "norm_after_f",
            "You norm what f gives; pre-norm norms what f gets.",
            lambda x, norm, f: x + norm(f(x)),
        ),
        Misconception(
            "normed_on_both_sides",
            "You norm what f gets and also what it gives; only the first is wanted.",
            lambda x, norm, f: x + norm(f(norm(x))),
        ),
        Misconception(
            "skip_normed",
            "You add the normed x; add x as it was.",
            skip_normed,
        ),
        Misconception(
            "no_norm",
            "Your f gets x as it is: the norm is missing.",
            lambda x, norm, f: x + f(x),
        ),
        Misconception(
            "only_f",
            "Your result is f of x: norm and skip are missing.",
            lambda x, norm, f: f(x),
        ),
        Misconception(
            "norm_of_f",
            "Your result is the norm of f of x: x itself is lost, the order wrong.",
            lambda x, norm, f: norm(f(x)),
        ),
        Misconception(
            "normed_twice",
            "You norm x twice before f gets it.",
            lambda x, norm, f: x + f(norm(norm(x))),
        ),
        Misconception(
            "f_of_the_sum",
            "Your f gets the sum of x and its norm; it gets the norm alone.",
            lambda x, norm, f: f(x + norm(x)),
        ),
        Misconception(
            "sum_of_both",
            "You add the norm of x to f of x; f gets the norm of x.",
            lambda x, norm, f: norm(x) + f(x),
        ),
        Misconception(
            "multiplied",
            "You multiply x by what f gives; the two are added.",
            lambda x, norm, f: x * f(norm(x)),
        ),
        Misconception(
            "subtracted",
            "You take x off what f gives; the two are added.",
            lambda x, norm, f: f(norm(x)) - x,
        ),
        Misconception(
            "x_minus_f",
            "You take off what f gives; it is added.",
            lambda x, norm, f: x - f(norm(x)),
        ),
        Misconception(
            "averaged",
            "You halve the sum: both count in full.",
            lambda x, norm, f: (x + f(norm(x))) / 2,
        ),
        Misconception(
            "called_twice",
            "You call f twice; it may be costly, or keep what it saw.",
            called_before,
        ),
    ),
    hints=(
        "What does f read, and what is its answer added to?",
        "f reads the normed x. Its answer is added to the x that nobody has normed.",
        "The word says it: norm first, the sub-layer f then, the residual sum last. One line will"
        " do: call norm on x, f on that, once, and add x. Make a new tensor: `+=` changes x.",
    ),
    properties=(same_gradient(feature_by_feature, ("x", "norm", "f"), residual_batch),),
)


# --- cross_attention ------------------------------------------------------------------------------


def torch_attention(x, memory, w_q, w_k, w_v, memory_mask=None):
    """torch's own, on projected inputs."""
    query, key, value = x @ w_q, memory @ w_k, memory @ w_v
    return F.scaled_dot_product_attention(query, key, value, attn_mask=memory_mask)


def attention_with(
    query_of="x",
    key_of="memory",
    value_of="memory",
    divisor=lambda d_k, d, d_v: d_k**0.5,
    dim=-1,
    mask=lambda scores, mask: scores.masked_fill(~mask, -torch.inf),
    weights_of=None,
    after=lambda weights, mask: weights,
    matrices=lambda w_q, w_k, w_v: (w_q, w_k, w_v),
):
    """Cross-attention with one thing changed."""

    def answer(x, memory, w_q, w_k, w_v, memory_mask=None):
        sources = {"x": x, "memory": memory}
        w_q, w_k, w_v = matrices(w_q, w_k, w_v)
        query, key = sources[query_of] @ w_q, sources[key_of] @ w_k
        value = sources[value_of] @ w_v
        scores = query @ key.mT / divisor(*w_q.T.shape, w_v.shape[-1])
        if memory_mask is not None:
            scores = mask(scores, memory_mask)
        weights = weights_of(scores) if weights_of else scores.softmax(dim=dim)
        if memory_mask is not None:
            weights = after(weights, memory_mask)
        return weights @ value

    return answer


def ignore(scores, mask):
    return scores


def filled(value):
    return lambda scores, mask: scores.masked_fill(~mask, value)


def as_they_are(scores):
    return scores


def exp_by_hand(scores):
    return scores.exp() / scores.exp().sum(dim=-1, keepdim=True)


def cross_inputs(seed, B, T_q, T_k, d, d_k, d_v):
    """x, memory, w_q, w_k, w_v."""
    shapes = ((B, T_q, d), (B, T_k, d), (d, d_k), (d, d_k), (d, d_v))
    return tuple(normal(seed + n, *shape) for n, shape in enumerate(shapes))


square = cross_inputs(20, 1, 2, 3, 4, 4, 4)
oblong = cross_inputs(30, 2, 3, 4, 6, 5, 2)
padded = cross_inputs(40, 3, 2, 5, 4, 3, 6)
keys_allowed = torch.tensor([[[1, 1, 1, 0, 0]], [[1, 1, 1, 1, 0]], [[1, 0, 0, 0, 0]]]).bool()
one_each = cross_inputs(50, 2, 3, 4, 5, 2, 3)
pairs_allowed = torch.tensor(
    [[[1, 0, 0, 0], [1, 1, 0, 1], [0, 1, 1, 0]], [[0, 0, 0, 1], [1, 0, 1, 0], [1, 1, 1, 1]]]
).bool()
words = torch.tensor([[[1.0, -1.0, 2.0, -2.0], [0.0, 1.0, 3.0, 0.0], [-3.0, 0.0, 1.0, 2.0]]])
far_below = (torch.full((1, 1, 4), -1000.0), words, *[torch.eye(4)] * 3)  # scores 0, −2000, 0

cross_attention = Exercise(
    id="cross_attention",
    lesson=7,
    signature=(
        "cross_attention(x (B, T_q, d), memory (B, T_k, d), w_q (d, d_k), w_k (d, d_k), "
        "w_v (d, d_v), memory_mask=None) → context (B, T_q, d_v)"
    ),
    returns=("context",),
    oracle=torch_attention,
    cases=(
        Case("one sentence, square weights", square),
        Case("two sentences, d, d_k and d_v differ", oblong),
        Case("padding in the memory", (*padded, keys_allowed)),
        Case("a mask with a row for every query", (*one_each, pairs_allowed)),
        Case(
            "an allowed score 2000 below the blocked ones",
            (*far_below, torch.tensor([[[False, True, False]]])),
        ),
    ),
    misconceptions=(
        Misconception(
            "roles_swapped",
            "Your memory asks and x answers: the queries come from x.",
            attention_with("memory", "x", "x"),
        ),
        Misconception(
            "self_attention",
            "Your keys and values come from x: that is self-attention.",
            attention_with("x", "x", "x"),
        ),
        Misconception(
            "memory_alone",
            "Your queries come from the memory too: x is never read.",
            attention_with("memory", "memory", "memory"),
        ),
        Misconception(
            "keys_from_x",
            "Your keys come from x; keys and values both come from the memory.",
            attention_with("x", "x", "memory"),
        ),
        Misconception(
            "values_from_x",
            "Your values come from x; keys and values both come from the memory.",
            attention_with("x", "memory", "x"),
        ),
        Misconception(
            "unscaled",
            "Your scores are not divided by √d_k.",
            attention_with(divisor=lambda d_k, d, d_v: 1.0),
        ),
        Misconception(
            "scaled_by_d_model",
            "You divide by √d, the width of x; queries and keys are d_k wide.",
            attention_with(divisor=lambda d_k, d, d_v: d**0.5),
        ),
        Misconception(
            "scaled_by_d_v",
            "You divide by √d_v, the width of the values; queries and keys are d_k wide.",
            attention_with(divisor=lambda d_k, d, d_v: d_v**0.5),
        ),
        Misconception(
            "no_root",
            "You divide by d_k, not by its root.",
            attention_with(divisor=lambda d_k, d, d_v: d_k),
        ),
        Misconception(
            "multiplied_by_root",
            "You multiply by √d_k where you should divide.",
            attention_with(divisor=lambda d_k, d, d_v: d_k**-0.5),
        ),
        *several(
            "over_queries",
            "Your softmax runs over the queries; the weights of one query sum to 1.",
            attention_with(dim=-2),
            attention_with(dim=-2, mask=filled(-1e9)),
        ),
        *several(
            "over_batch",
            "Your softmax runs over the batch; the keys are dim=-1.",
            attention_with(dim=0),
            attention_with(dim=0, mask=filled(-1e9)),
        ),
        *several(
            "no_softmax",
            "Your scores are used as weights: the softmax is missing.",
            attention_with(mask=ignore, weights_of=as_they_are),
            attention_with(weights_of=as_they_are),
            attention_with(mask=filled(-1e9), weights_of=as_they_are),
        ),
        Misconception(  # the exponentials by hand, or a softmax that is masked and divided anew
            "underflow",
            "0/0: e to an allowed score became 0; mask first, then call torch's softmax.",
            attention_with(weights_of=exp_by_hand),
        ),
        *several(
            "not_low_enough",
            "Your blocked score is not low enough: an allowed one is lower.",
            *(attention_with(mask=filled(value)) for value in (-10.0, -50.0)),
        ),
        *several(
            "mask_inverted",
            "Your weights go to the blocked keys: True = may attend.",
            attention_with(mask=lambda scores, mask: scores.masked_fill(mask, -torch.inf)),
            attention_with(mask=lambda scores, mask: scores.masked_fill(mask, -1e9)),
        ),
        Misconception(
            "mask_ignored",
            "Your mask has no effect: padding is attended to.",
            attention_with(mask=ignore),
        ),
        Misconception(
            "mask_after_softmax",
            "You mask after the softmax: what is left does not sum to 1.",
            attention_with(mask=ignore, after=lambda weights, mask: weights * mask),
        ),
        Misconception(
            "score_zero",
            "Your blocked scores are 0, which is not no: e to the 0 is 1.",
            attention_with(mask=lambda scores, mask: scores * mask),
        ),
        Misconception(
            "axis_added",
            "You give the mask one more axis; it fits the scores as it is.",
            attention_with(
                mask=lambda scores, mask: scores.masked_fill(~mask[:, None], -torch.inf)
            ),
        ),
        Misconception(
            "keys_and_values_swapped",
            "Your keys use w_v and your values w_k: they have changed places.",
            attention_with(matrices=lambda w_q, w_k, w_v: (w_q, w_v, w_k)),
        ),
        Misconception(
            "values_not_projected",
            "Your values are the memory itself: w_v is missing.",
            attention_with(matrices=lambda w_q, w_k, w_v: (w_q, w_k, torch.eye(len(w_v)))),
        ),
        Misconception(
            "weights_transposed",
            "You turn the weights round, as nn.Linear does; here it is x @ w.",
            attention_with(matrices=lambda w_q, w_k, w_v: (w_q.T, w_k.T, w_v.T)),
        ),
    ),
    hints=(
        "Who asks, who is asked? How many rows has the result?",
        "The queries come from x; keys and values come from the memory. The rest is lesson 3.",
        "x @ w_q, memory @ w_k, memory @ w_v. Scores are query @ key.mT / √d_k, and -inf where the"
        " mask is False; then softmax over the last axis, times the values.",
    ),
    properties=(same_gradient(torch_attention, ("x", "memory", "w_q", "w_k", "w_v"), oblong),),
)


# --- warmup_lr ------------------------------------------------------------------------------------


def step_by_step(step, d_model, warmup):
    """Two branches: the line before the end of the warm-up, and the root behind it."""
    rates = [n / warmup**1.5 if n < warmup else 1 / n**0.5 for n in step.tolist()]
    return torch.tensor(rates) / d_model**0.5


def schedule(rate, width=lambda d_model: d_model**-0.5, shift=0):
    """A schedule from its rate without the factor of the width."""
    return lambda step, d_model, warmup: width(d_model) * rate(step.float() + shift, warmup)


def paper(step, warmup):
    return torch.minimum(step**-0.5, step * warmup**-1.5)


def width_on_the_root(step, d_model, warmup):
    return torch.minimum(d_model**-0.5 * step**-0.5, step * warmup**-1.5)


warmup_lr = Exercise(
    id="warmup_lr",
    lesson=7,
    signature="warmup_lr(step (N,), d_model, warmup) → rate (N,)",
    returns=("rate",),
    oracle=step_by_step,
    cases=(
        Case("before, at and after the end of the warm-up", (torch.tensor([1, 4, 16]), 4, 4)),
        Case("another width", (torch.tensor([1, 5, 9, 30, 200]), 16, 9)),
        Case("no warm-up to speak of", (torch.tensor([1, 2, 4, 9]), 2, 1)),
        Case("far behind the warm-up", (torch.tensor([3, 8, 27, 1000]), 9, 3)),
    ),
    misconceptions=(
        *several(
            "from_zero",
            "Your schedule is one step off: the first step is 1.",
            schedule(paper, shift=1),
            schedule(paper, shift=-1),
        ),
        Misconception(
            "maximum",
            "You take the larger of the two; the smaller is wanted.",
            schedule(lambda step, warmup: torch.maximum(step**-0.5, step * warmup**-1.5)),
        ),
        Misconception(
            "no_width",
            "The factor of the width is missing: d_model to the −0.5.",
            schedule(paper, width=lambda d_model: 1.0),
        ),
        Misconception(
            "width_upside_down",
            "You multiply by √d_model: a wider model gets a smaller rate.",
            schedule(paper, width=lambda d_model: d_model**0.5),
        ),
        Misconception(
            "width_without_root",
            "You divide by d_model, not by its root.",
            schedule(paper, width=lambda d_model: 1 / d_model),
        ),
        Misconception(
            "warmup_to_the_half",
            "You climb by warmup to the −0.5 a step; the paper says −1.5.",
            schedule(lambda step, warmup: torch.minimum(step**-0.5, step * warmup**-0.5)),
        ),
        Misconception(
            "exponents_swapped",
            "You have swapped the exponents: step gets −0.5, warmup gets −1.5.",
            schedule(lambda step, warmup: torch.minimum(step**-1.5, step * warmup**-0.5)),
        ),
        Misconception(
            "width_on_one",
            "Your factor of the width reaches only one of the two: it stands outside.",
            width_on_the_root,
        ),
        Misconception(
            "climbs_to_one",
            "You climb by 1/warmup a step: the line does not meet the root at the top.",
            schedule(lambda step, warmup: torch.minimum(step**-0.5, step / warmup)),
        ),
        Misconception(
            "top_is_one",
            "Your factor is 1 at the top; the paper's is warmup to the −0.5 there.",
            schedule(lambda step, warmup: torch.minimum((warmup / step) ** 0.5, step / warmup)),
        ),
        Misconception(
            "no_fall",
            "Your rate stays at the top: after the warm-up it falls.",
            schedule(lambda step, warmup: step.clamp(max=warmup) * warmup**-1.5),
        ),
        Misconception(
            "no_climb",
            "Your rate falls from the first step on: the climb is missing.",
            schedule(lambda step, warmup: step**-0.5),
        ),
        Misconception(
            "climbs_for_ever",
            "Your rate climbs for ever: behind the warm-up it falls.",
            schedule(lambda step, warmup: step * warmup**-1.5),
        ),
        Misconception(
            "root_grows",
            "Your root of the step grows: the exponent is −0.5.",
            schedule(lambda step, warmup: torch.minimum(step**0.5, step * warmup**-1.5)),
        ),
        Misconception(
            "falls_too_fast",
            "Your rate falls with 1/step; it falls with 1/√step.",
            schedule(lambda step, warmup: torch.minimum(1 / step, step * warmup**-1.5)),
        ),
        Misconception(
            "added",
            "You add the two; the smaller of them is wanted.",
            schedule(lambda step, warmup: step**-0.5 + step * warmup**-1.5),
        ),
    ),
    hints=(
        "Which of the two curves is the smaller one at the first step, and which much later?",
        "The curves are step to the −0.5 and step times warmup to the −1.5; they meet at warmup.",
        "torch.minimum takes the smaller of two tensors, element by element. Multiply the result by"
        " d_model ** -0.5. Nothing else is needed, no `if` and no loop.",
    ),
)


# --- smooth_loss ----------------------------------------------------------------------------------


def word_by_word(logits, labels, smoothing, pad=0):
    """Each real label in turn, each word of the vocabulary in turn."""
    losses = []
    for row, label in zip(logits.flatten(0, 1), labels.flatten().tolist(), strict=True):
        if label == pad:
            continue
        log_p = F.log_softmax(row, dim=0)  # (V,)
        others = [word for word in range(len(row)) if word not in (label, pad)]
        loss = -(1 - smoothing) * log_p[label]
        losses.append(loss - sum(log_p[word] for word in others) * smoothing / len(others))
    return torch.stack(losses).mean()


def loss_with(
    right=lambda smoothing, V: 1 - smoothing,
    other=lambda smoothing, V: smoothing / (V - 2),
    on_pad=lambda smoothing, V: 0.0,
    log_p=lambda logits: logits.log_softmax(dim=-1),
    mean=lambda losses, real: (losses * real).sum() / real.sum(),
    joined=lambda target, log_p: -(target * log_p).sum(dim=-1),
    fixed=None,
    pad_last=False,
):
    """A loss from what the right word, another word and PAD get, and how it is averaged."""

    def answer(logits, labels, smoothing, pad=0):
        pad, V = pad if fixed is None else fixed, logits.shape[-1]
        target = torch.full_like(logits, other(smoothing, V))  # (B, T, V)
        target[..., pad] = on_pad(smoothing, V)
        target = target.scatter(-1, labels[..., None], right(smoothing, V))
        if pad_last:
            target[..., pad] = 0.0
        return mean(joined(target, log_p(logits)), labels != pad)

    return answer


def share(left_out):
    """The mass shared by all words but `left_out` of them."""
    return lambda smoothing, V: smoothing / (V - left_out)


def mean_of_means(losses, real):
    return ((losses * real).sum(dim=1) / real.sum(dim=1)).mean()


def p_of_target(target, log_p):
    """−log of the probability that the smoothed target gives."""
    return -(target * log_p.exp()).sum(dim=-1).log()


def divergence(target, log_p):
    return (torch.xlogy(target, target) - target * log_p).sum(dim=-1)


two_lengths = (normal(62, 2, 4, 6), torch.tensor([[2, 5, 1, 0], [4, 3, 0, 0]]), 0.3)
far_logits = torch.tensor([[[0.0, 1.0, 200.0, 3.0, 0.0], [0.0, -2.0, 1.0, 4.0, 0.5]]])

smooth_loss = Exercise(
    id="smooth_loss",
    lesson=7,
    signature="smooth_loss(logits (B, T, V), labels (B, T), smoothing, pad=0) → loss ()",
    returns=("loss",),
    oracle=word_by_word,
    cases=(
        Case("one sentence of two words", (normal(60, 1, 2, 5), torch.tensor([[3, 1]]), 0.2)),
        Case("no smoothing", (normal(61, 1, 3, 4), torch.tensor([[1, 2, 3]]), 0.0)),
        Case("two lengths", two_lengths),
        Case(
            "another word for padding",
            (normal(63, 2, 3, 7), torch.tensor([[0, 5, 4], [2, 4, 4]]), 0.1, 4),
        ),
        Case("a word that is sure by far", (far_logits, torch.tensor([[3, 2]]), 0.1)),
    ),
    misconceptions=(
        *several(
            "mass_on_pad",
            "You give PAD a share: ε is shared by the V − 2 words that are left.",
            loss_with(on_pad=share(2)),
            loss_with(other=share(1), on_pad=share(1)),
        ),
        *several(
            "right_word_shares",
            "You give the right word a share of ε beside its 1 − ε.",
            loss_with(right=lambda s, V: 1 - s + s / (V - 2)),
            loss_with(right=lambda s, V: 1 - s + s / (V - 1), other=share(1)),
        ),
        Misconception(
            "every_word_shares",
            "You give every word ε / V, PAD and the right one too, as torch does.",
            loss_with(right=lambda s, V: 1 - s + s / V, other=share(0), on_pad=share(0)),
        ),
        Misconception(
            "not_smoothed",
            "You give the right word everything: nothing is smoothed.",
            loss_with(right=lambda s, V: 1.0, other=lambda s, V: 0.0),
        ),
        Misconception(
            "nothing_for_others",
            "You take ε from the right word, but nobody gets it.",
            loss_with(other=lambda s, V: 0.0),
        ),
        *several(
            "mass_lost",
            "Your shares do not sum to ε: V − 2 words get one.",
            loss_with(other=share(0)),
            loss_with(other=share(1)),
        ),
        Misconception(
            "right_word_keeps_all",
            "Your right word keeps 1 beside the shares of the others: 1 − ε is left.",
            loss_with(right=lambda s, V: 1.0),
        ),
        Misconception(
            "epsilon_each",
            "You give each other word the whole ε; they share it.",
            loss_with(other=lambda s, V: s),
        ),
        Misconception(
            "inverted",
            "You give ε to the right word and the rest to the others.",
            loss_with(right=lambda s, V: s, other=lambda s, V: (1 - s) / (V - 2)),
        ),
        *several(
            "padding_counted",
            "Positions whose label is PAD count in your mean.",
            loss_with(mean=lambda losses, real: losses.mean()),
            loss_with(mean=lambda losses, real: losses.mean(), pad_last=True),
        ),
        Misconception(
            "divided_by_all",
            "You leave padding out of the sum, but divide by all positions.",
            loss_with(mean=lambda losses, real: (losses * real).mean()),
        ),
        Misconception(
            "summed",
            "You sum the losses; the mean over the real words is wanted.",
            loss_with(mean=lambda losses, real: (losses * real).sum()),
        ),
        Misconception(
            "mean_of_means",
            "You average sentence by sentence: a short one then counts as a long one.",
            loss_with(mean=mean_of_means),
        ),
        Misconception(
            "pad_fixed",
            "Your PAD is always 0, whatever is handed over.",
            loss_with(fixed=0),
        ),
        Misconception(
            "log_of_softmax",
            "You take the log of a softmax that became 0: log_softmax does not.",
            loss_with(
                log_p=lambda logits: logits.softmax(dim=-1).log(),
                joined=lambda target, log_p: -torch.where(target > 0, target * log_p, 0.0).sum(-1),
            ),
        ),
        Misconception(
            "zero_times_infinity",
            "The log of a softmax that became 0 is −inf, and 0 times that is NaN.",
            loss_with(log_p=lambda logits: logits.softmax(dim=-1).log()),
        ),
        Misconception(
            "raw_logits",
            "You use the logits as they are: log_softmax is missing.",
            loss_with(log_p=lambda logits: logits),
        ),
        Misconception(
            "probabilities",
            "You use probabilities; the loss uses their logarithms.",
            loss_with(log_p=lambda logits: logits.softmax(dim=-1)),
        ),
        Misconception(
            "sign_lost",
            "Your loss has the wrong sign: it is −log p.",
            loss_with(joined=lambda target, log_p: (target * log_p).sum(dim=-1)),
        ),
        Misconception(
            "over_time",
            "Your softmax runs over the positions; the words are dim=-1.",
            loss_with(log_p=lambda logits: logits.log_softmax(dim=1)),
        ),
        Misconception(
            "divergence",
            "You give the KL divergence: it lacks the entropy of the target.",
            loss_with(joined=divergence),
        ),
        Misconception(
            "averaged_over_words",
            "Your mean runs over the vocabulary too: one position's terms are summed.",
            loss_with(joined=lambda target, log_p: -(target * log_p).mean(dim=-1)),
        ),
        Misconception(
            "log_of_the_mean",
            "You average first and take the log then: average the logs.",
            loss_with(joined=p_of_target),
        ),
    ),
    hints=(
        "Which words share ε, and how many are they? Which positions count?",
        "The right word gets 1 − ε, PAD gets 0, each of the V − 2 others gets ε / (V − 2).",
        "With log_p = logits.log_softmax(dim=-1): the right word's is log_p.gather(-1,"
        " labels[..., None]); the others' sum is the sum of all, less the right word's, less"
        " log_p[..., pad]. Average over labels != pad only.",
    ),
    properties=(same_gradient(word_by_word, ("logits", "labels", "smoothing"), two_lengths),),
)


# --- decoder_layer --------------------------------------------------------------------------------


@dataclass(eq=False, repr=False, slots=True)
class Attention:
    """One head under the course's contract: `project(x)` once, then `attend(x, projected, mask)`.

    `weights` holds w_q, w_k and w_v, each (d, d), applied as x @ w.
    """

    weights: tuple[torch.Tensor, ...]

    def __eq__(self, other):
        same = isinstance(other, Attention)
        return same and all(map(torch.equal, self.weights, other.weights))

    def __repr__(self):
        return "[one head]"

    def project(self, x):
        """Keys and values (B, T_k, d) of what is attended to."""
        return x @ self.weights[1], x @ self.weights[2]  # (B, T_k, d) each

    def __call__(self, query, projected, mask=None):
        key, value = projected
        scores = query @ self.weights[0] @ key.mT / query.shape[-1] ** 0.5  # (B, T, T_k)
        if mask is not None:
            scores = scores.masked_fill(~mask, -1e9)
        return scores.softmax(dim=-1) @ value  # (B, T, d)


def sum_of_three(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    """The output is x and what each of three sub-layers adds, sentence by sentence."""
    rows = []
    for n in range(len(x)):
        stream, remembered = x[n : n + 1], memory[n : n + 1]
        allowed = memory_mask[n : n + 1]
        normed = norms[0](stream)
        heard = attend(normed, attend.project(normed), mask)
        looked_up = cross(norms[1](stream + heard), cross.project(remembered), allowed)
        thought = feed_forward(norms[2](stream + heard + looked_up))
        rows.append(stream + heard + looked_up + thought)
    return torch.cat(rows)


def assembled(
    order=(0, 1, 2),
    norm_of=lambda n: n,
    around=lambda n, x, norm, f, first: x + f(norm(x)),
    mask_of=lambda mask, memory_mask: (mask, memory_mask),
    self_query=lambda normed, x: normed,
    self_source=lambda normed, x: normed,
    cross_source=lambda memory, normed, norm: memory,
    cross_query=lambda normed, memory: normed,
    used=lambda attend, cross: (attend, cross),
    projects=lambda attend, cross: cross,
    end=lambda x, norms: x,
):
    """A decoder layer with one thing changed; sub-layers 0, 1, 2 in the order given."""

    def answer(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
        attend, cross = used(attend, cross)
        self_mask, cross_mask = mask_of(mask, memory_mask)
        first, stream = x, x
        for n in order:
            norm = norms[norm_of(n)]

            def sub_layer(normed, n=n, stream=stream, norm=norm):
                if n == 0:
                    projected = attend.project(self_source(normed, stream))
                    return attend(self_query(normed, stream), projected, self_mask)
                if n == 1:
                    source = cross_source(memory, normed, norm)
                    projected = projects(attend, cross).project(source)
                    return cross(cross_query(normed, memory), projected, cross_mask)
                return feed_forward(normed)

            stream = around(n, stream, norm, sub_layer, first)
        return end(stream, norms)

    return answer


def lacking_residual(*places):
    return lambda n, x, norm, f, first: f(norm(x)) if n in places else x + f(norm(x))


def lacking_norm(*places):
    return lambda n, x, norm, f, first: x + (f(x) if n in places else f(norm(x)))


def normed_skip(n, x, norm, f, first):
    return norm(x) + f(norm(x))


def flowing(
    added=(1, 2),
    cross_reads=lambda streams, normed, norms: norms[1](streams[1]),
    feed_forward_reads=lambda streams, normed, norms: norms[2](streams[2]),
):
    """A decoder layer where a sub-layer reads, or is added to, the wrong stream.

    `streams` holds x and what each sub-layer made of it, `normed` what each of them has read. The
    last two are added to streams[added[0]] and streams[added[1]].
    """

    def answer(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
        streams, normed = [x], [norms[0](x)]
        streams.append(x + attend(normed[0], attend.project(normed[0]), mask))
        normed.append(cross_reads(streams, normed, norms))
        streams.append(streams[added[0]] + cross(normed[1], cross.project(memory), memory_mask))
        normed.append(feed_forward_reads(streams, normed, norms))
        return streams[added[1]] + feed_forward(normed[2])

    return answer


def layer_parts(seed, d):
    """attend, cross, feed_forward and three norms, all different."""
    heads = [Attention(tuple(normal(seed + 10 * n + k, d, d) for k in range(3))) for n in range(2)]
    wide, narrow = normal(seed + 31, d, 2 * d), normal(seed + 32, 2 * d, d)
    feed_forward = Part("feed-forward", lambda x: torch.relu(x @ wide) @ narrow)
    return *heads, feed_forward, tuple(own_norm(seed + 40 + n, d) for n in range(3))


def own_norm(seed, d):
    """A layer norm with a scale and a shift of its own."""
    gamma, beta = 1 + 0.5 * normal(seed, d), normal(seed + 3, d)
    return Part("layer norm", lambda x: F.layer_norm(x, (d,), gamma, beta))


def layer_inputs(seed, B, T, T_src, d, lengths):
    """x, memory, a causal mask and a padding mask."""
    allowed = torch.arange(T_src) < torch.tensor(lengths)[:, None, None]  # (B, 1, T_src)
    causal = torch.ones(T, T).tril().bool()  # (T, T)
    return normal(seed, B, T, d), normal(seed + 1, B, T_src, d), causal, allowed


layer_batch = (*layer_inputs(82, 2, 3, 5, 4, [5, 2]), *layer_parts(200, 4))

decoder_layer = Exercise(
    id="decoder_layer",
    lesson=7,
    signature=(
        "decoder_layer(x (B, T, d), memory (B, T_src, d), mask (T, T), memory_mask (B, 1, T_src), "
        "attend, cross, feed_forward, norms) → x (B, T, d)"
    ),
    returns=("x",),
    oracle=sum_of_three,
    cases=(
        Case(
            "one word, one source word", (*layer_inputs(80, 1, 1, 1, 3, [1]), *layer_parts(100, 3))
        ),
        Case("two sentences, one with padding", layer_batch),
        Case(
            "as many words as source words",
            (*layer_inputs(84, 3, 4, 4, 5, [3, 4, 1]), *layer_parts(300, 5)),
        ),
    ),
    misconceptions=(
        Misconception(
            "post_norm",
            "You norm each sum: that is post-norm; here each sub-layer's input is normed.",
            assembled(around=lambda n, x, norm, f, first: norm(x + f(x))),
        ),
        *several(
            "cross_first",
            "You look at the memory before the words look at one another.",
            assembled(order=(1, 0, 2)),
            assembled(order=(1, 0, 2), norm_of=lambda n: (1, 0, 2)[n]),
        ),
        *several(
            "feed_forward_early",
            "Your feed-forward comes before the cross-attention; it is the last one.",
            assembled(order=(0, 2, 1)),
            assembled(order=(0, 2, 1), norm_of=lambda n: (0, 2, 1)[n]),
        ),
        Misconception(
            "no_residuals",
            "Your sub-layers replace x: nothing is added to the stream.",
            assembled(around=lacking_residual(0, 1, 2)),
        ),
        Misconception(
            "attend_replaces",
            "Your self-attention replaces x; its answer is added to x.",
            assembled(around=lacking_residual(0)),
        ),
        Misconception(
            "cross_replaces",
            "Your cross-attention replaces x; its answer is added to x.",
            assembled(around=lacking_residual(1)),
        ),
        Misconception(
            "feed_forward_replaces",
            "Your feed-forward replaces x; its answer is added to x.",
            assembled(around=lacking_residual(2)),
        ),
        Misconception(
            "masks_swapped",
            "Your masks have changed places: memory_mask belongs to the memory.",
            assembled(mask_of=lambda mask, memory_mask: (memory_mask, mask)),
        ),
        Misconception(
            "mask_on_cross",
            "Your cross-attention has the causal mask; memory_mask belongs there.",
            assembled(mask_of=lambda mask, memory_mask: (mask, mask)),
        ),
        Misconception(
            "no_causal_mask",
            "Your self-attention has no mask: it sees the future.",
            assembled(mask_of=lambda mask, memory_mask: (None, memory_mask)),
        ),
        Misconception(
            "no_memory_mask",
            "Your cross-attention has no mask: it sees padding.",
            assembled(mask_of=lambda mask, memory_mask: (mask, None)),
        ),
        Misconception(
            "no_masks",
            "You hand over neither mask.",
            assembled(mask_of=lambda mask, memory_mask: (None, None)),
        ),
        Misconception(
            "no_norms",
            "Your sub-layers get x as it is: the norms are missing.",
            assembled(around=lacking_norm(0, 1, 2)),
        ),
        Misconception(
            "keys_not_normed",
            "Your self-attention's keys and values come from x before its norm.",
            assembled(self_source=lambda normed, x: x),
        ),
        Misconception(
            "query_not_normed",
            "Your self-attention's queries come from x before its norm.",
            assembled(self_query=lambda normed, x: x),
        ),
        Misconception(
            "cross_not_normed",
            "Your cross-attention's queries come from x before its norm.",
            assembled(around=lacking_norm(1)),
        ),
        Misconception(
            "feed_forward_not_normed",
            "Your feed-forward gets x before its norm.",
            assembled(around=lacking_norm(2)),
        ),
        Misconception(
            "attend_not_normed",
            "Your self-attention gets x before its norm.",
            assembled(around=lacking_norm(0)),
        ),
        Misconception(
            "memory_normed",
            "You norm the memory once more: the encoder has done that.",
            assembled(cross_source=lambda memory, normed, norm: norm(memory)),
        ),
        Misconception(
            "skip_normed",
            "You add to the normed x; add to x as it was.",
            assembled(around=normed_skip),
        ),
        Misconception(
            "output_normed",
            "You norm the output too: that is left to the next layer.",
            assembled(end=lambda x, norms: norms[2](x)),
        ),
        Misconception(
            "one_norm",
            "You use one norm three times: each sub-layer has its own.",
            assembled(norm_of=lambda n: 0),
        ),
        Misconception(
            "first_x_added",
            "You add each answer to the layer's input; the stream has moved on since.",
            assembled(around=lambda n, x, norm, f, first: first + f(norm(x))),
        ),
        Misconception(
            "all_at_once",
            "Your three sub-layers all read the layer's input, not the stream so far.",
            flowing(
                cross_reads=lambda streams, normed, norms: norms[1](streams[0]),
                feed_forward_reads=lambda streams, normed, norms: norms[2](streams[0]),
            ),
        ),
        *several(
            "answer_lost",
            "You add to an older x: what the sub-layer before has added is lost.",
            *(flowing(added) for added in ((0, 2), (1, 1), (0, 1))),
        ),
        *several(
            "old_input",
            "One sub-layer reads x as it was before the last answer was added.",
            flowing(cross_reads=lambda streams, normed, norms: norms[1](streams[0])),
            flowing(cross_reads=lambda streams, normed, norms: norms[1](normed[0])),
            flowing(cross_reads=lambda streams, normed, norms: normed[0]),
            flowing(feed_forward_reads=lambda streams, normed, norms: norms[2](streams[1])),
            flowing(feed_forward_reads=lambda streams, normed, norms: norms[2](normed[1])),
            flowing(feed_forward_reads=lambda streams, normed, norms: normed[1]),
        ),
        *several(
            "normed_twice",
            "You norm one sub-layer's input twice: each has one norm, its own.",
            flowing(cross_reads=lambda streams, normed, norms: norms[1](norms[0](streams[1]))),
            flowing(
                feed_forward_reads=lambda streams, normed, norms: norms[2](norms[1](streams[2]))
            ),
        ),
        Misconception(
            "no_cross",
            "You leave the memory out: this layer cannot see the source.",
            assembled(order=(0, 2)),
        ),
        Misconception(
            "no_feed_forward",
            "You leave out the feed-forward.",
            assembled(order=(0, 1)),
        ),
        *several(
            "looks_at_itself",
            "Your cross-attention reads x where it should read the memory.",
            assembled(cross_source=lambda memory, normed, norm: normed),
            assembled(
                cross_source=lambda memory, normed, norm: normed,
                mask_of=lambda mask, memory_mask: (mask, mask),
            ),
        ),
        *several(
            "memory_asks",
            "Your cross-attention asks from the memory about x: the other way round.",
            *(
                assembled(
                    cross_query=lambda normed, memory: memory,
                    cross_source=lambda memory, normed, norm: normed,
                    mask_of=mask_of,
                )
                for mask_of in (
                    lambda mask, memory_mask: (mask, memory_mask),
                    lambda mask, memory_mask: (mask, None),
                )
            ),
        ),
        Misconception(
            "attentions_swapped",
            "You have mixed up `attend` and `cross`: each has weights of its own.",
            assembled(used=lambda attend, cross: (cross, attend)),
        ),
        Misconception(
            "attend_used_twice",
            "You use `attend` for the memory too: `cross` has weights of its own.",
            assembled(used=lambda attend, cross: (attend, attend)),
        ),
        *several(
            "masks_inverted",
            "You turn a mask round, as torch's modules want it; here True = may attend.",
            assembled(mask_of=lambda mask, memory_mask: (~mask, ~memory_mask)),
            assembled(mask_of=lambda mask, memory_mask: (~mask, memory_mask)),
            assembled(mask_of=lambda mask, memory_mask: (mask, ~memory_mask)),
        ),
        Misconception(
            "projected_by_attend",
            "You project the memory with `attend`; cross-attention has its own weights.",
            assembled(projects=lambda attend, cross: attend),
        ),
    ),
    hints=(
        "Three sub-layers, one after the other. What does each of them read?",
        "Each is a pre_norm_residual with a norm of its own. The memory is read as it comes.",
        "First normed = norms[0](x), and x + attend(normed, attend.project(normed), mask). Then the"
        " same with norms[1], cross.project(memory) and memory_mask. Then feed_forward with"
        " norms[2]. Each line starts from the x that the line before it made.",
    ),
    properties=(
        same_gradient(
            sum_of_three,
            ("x", "memory", "mask", "memory_mask", "attend", "cross", "feed_forward", "norms"),
            layer_batch,
        ),
    ),
)


EXERCISES = (
    layer_norm,
    pre_norm_residual,
    cross_attention,
    warmup_lr,
    smooth_loss,
    decoder_layer,
)
