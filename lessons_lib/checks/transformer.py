"""The exercises of lesson 7, as data: reference, cases, known mistakes, hints."""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from lessons_lib.checks.diagnosis import close, first_difference
from lessons_lib.checks.exercise import Case, Exercise, Facts, Misconception, Property, several
from lessons_lib.checks.inputs import normal, truths
from lessons_lib.checks.properties import same_gradient


def nothing_kept(oracle: Callable, one: tuple, other: tuple) -> Property:
    """After one argument of `one` has become that of `other`, a call gives what it should.

    A tensor changes in place, as an optimizer changes weights. Whoever keeps results by some of the
    arguments, or by the tensors' addresses, returns an old one.
    """

    def counterexample(answer: Callable) -> Facts | None:
        for n, name in enumerate(inspect.signature(oracle).parameters):
            args = list(copy.deepcopy(one))
            answer(*args)
            if isinstance(args[n], torch.Tensor):
                args[n].copy_(other[n])
            else:
                args[n] = other[n]
            got, expected = answer(*args), oracle(*args)
            wrong = ~close(got, expected)
            if wrong.any():
                rows = first_difference("the second result", wrong, got, expected)
                between = ("changed", f"between the two calls only `{name}`")
                return (*rows, between, ("look for", "something kept from the first call"))
        return None

    return Property(
        "kept_between_calls",
        "two calls that differ in one argument",
        "Your second result is wrong, after one argument has changed.",
        counterexample,
    )


# --- layer_norm -----------------------------------------------------------------------------------


def torch_layer_norm(x, gamma, beta, eps=1e-5):
    """torch's own, in float64: far from 0, float32 leaves an error of its own."""
    normed = F.layer_norm(x.double(), x.shape[-1:], gamma.double(), beta.double(), eps)
    return normed.float()


def norm_with(
    axes=-1,
    centre=True,
    unbiased=False,
    spread=None,
    root=lambda variance, eps: (variance + eps).sqrt(),
):
    """A norm over `axes`, and what is divided by. `spread(x, mean)` stands in for the variance."""

    def answer(x, gamma, beta, eps=1e-5):
        dim = axes(x) if callable(axes) else axes
        mean = x.mean(dim=dim, keepdim=True)
        moved = x - mean if centre else x
        if spread:
            variance = spread(x, mean)
        else:
            variance = x.var(dim=dim, keepdim=True, correction=int(unbiased))
        return moved / root(variance, eps) * gamma + beta

    return answer


def all_axes(x):
    return tuple(range(x.dim()))


def all_but_first(x):
    return tuple(range(1, x.dim()))


def eps_outside(variance, eps):
    return variance.sqrt() + eps


def eps_left_out(variance, eps):
    return variance.sqrt()


def difference_of_squares(x, mean):
    return x.square().mean(dim=-1, keepdim=True) - mean.square()


def mean_of_squares(x, mean):
    return x.square().mean(dim=-1, keepdim=True)


def over_all_vectors(x, gamma, beta, eps=1e-5):
    """Feature by feature, as in a batch norm."""
    rows = x.reshape(-1, x.shape[-1])
    variance, mean = torch.var_mean(rows, dim=0, correction=0)
    return (x - mean) / (variance + eps).sqrt() * gamma + beta


def brackets_missing(x, gamma, beta, eps=1e-5):
    root = (x.var(dim=-1, keepdim=True, correction=0) + eps).sqrt()
    return x - x.mean(dim=-1, keepdim=True) / root * gamma + beta


one_vector = (torch.tensor([[1.0, 2.0, 6.0]]), torch.ones(3), torch.zeros(3))
scaled_and_shifted = (
    torch.tensor([[5.0, -1.0, 2.0]]),
    torch.tensor([2.0, 0.5, -1.0]),
    torch.tensor([1.0, -2.0, 3.0]),
)
norm_batch = (normal(2, 2, 3, 5), normal(3, 5), normal(4, 5))
equal_numbers = (torch.full((1, 3), 2.0), torch.ones(3), torch.tensor([1.0, 2.0, 3.0]))
norm_names = ("x", "gamma", "beta", "eps")

layer_norm = Exercise(
    id="layer_norm",
    lesson=7,
    signature="layer_norm(x (…, d), gamma (d,), beta (d,), eps=1e-5) → normed (…, d)",
    returns=("normed",),
    oracle=torch_layer_norm,
    cases=(
        Case("one vector", one_vector),
        Case("another vector, scaled and shifted", scaled_and_shifted),
        Case("two vectors", (torch.tensor([[1.0, 2.0, 6.0], [3.0, -7.0, 1.0]]), *one_vector[1:])),
        Case(
            "numbers so small that eps counts",
            (torch.tensor([[0.001, 0.002, 0.006]]), *one_vector[1:]),
        ),
        Case("sentences of vectors", norm_batch),
        Case("another eps", (*scaled_and_shifted, 0.5)),
        Case("a vector whose numbers are all 2", equal_numbers),
        Case(
            "vectors of one number",
            (torch.tensor([[7.0], [-4.0]]), torch.tensor([2.0]), torch.tensor([3.0])),
        ),
        Case(
            "one vector, far from 0, its numbers close together",
            (
                torch.tensor([[500.0625, 501.9375, 503.6875, 499.3125]]),
                torch.ones(4),
                torch.zeros(4),
            ),
        ),
        Case("a vector that stands alone", (normal(250, 4), normal(251, 4), normal(252, 4))),
        Case(
            "as many sentences as words and features",
            (normal(253, 3, 3, 3), normal(254, 3), normal(255, 3)),
        ),
        Case(
            "four axes, 17 sentences, 300 features, numbers around 10,000",
            (normal(256, 17, 2, 1, 300, scale=1e4), normal(257, 300), normal(258, 300)),
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
        Misconception(
            "eps_left_out",
            "Your output is what you get without eps.",
            norm_with(root=eps_left_out),
        ),
        Misconception(
            "difference_of_squares",
            "Your variance is the mean of x² less the mean squared: rounding spoils it.",
            norm_with(spread=difference_of_squares),
        ),
        Misconception(
            "no_root",
            "You divide by the variance, not by its root.",
            norm_with(root=lambda variance, eps: variance + eps),
        ),
        Misconception(
            "brackets_missing",
            "You divide only the mean: x − mean needs brackets.",
            brackets_missing,
        ),
        *several(
            "another_axis",
            "Your mean and variance run over other axes than the last one alone.",
            *(norm_with(axes=axes) for axes in (0, 1, -2, all_axes, all_but_first)),
            over_all_vectors,
        ),
        Misconception(
            "scale_and_shift_swapped",
            "You multiply by beta and add gamma: swap the two.",
            lambda x, gamma, beta, eps=1e-5: norm_with()(x, beta, gamma, eps),
        ),
        Misconception(
            "rms_norm",
            "You divide x by the root of the mean of x²: that is RMSNorm.",
            norm_with(centre=False, spread=mean_of_squares),
        ),
    ),
    hints=(
        "Over which numbers does one mean run: a feature, a sentence, or one vector?",
        "Over dim=-1, with keepdim=True. The variance is the mean of the squared distances.",
        "Take off the mean, divide by torch.sqrt(variance + eps), multiply by gamma, add beta. Mind"
        " that x.var and x.std divide by d − 1 unless you ask for correction=0.",
    ),
    properties=(
        same_gradient(torch_layer_norm, norm_names, (*norm_batch, 1e-5)),
        # an eps whose root is exact: the large numbers that 1e-5 leads to would not cancel
        same_gradient(
            torch_layer_norm,
            norm_names,
            (*equal_numbers, 0.25),
            "the gradient at a vector whose numbers are all 2",
        ),
        nothing_kept(torch_layer_norm, (*one_vector, 1e-5), (*scaled_and_shifted, 0.5)),
    ),
)


# --- pre_norm_residual ----------------------------------------------------------------------------


@dataclass(eq=False, repr=False, slots=True)
class Part:
    """A norm or a sub-layer, x → x, that shows itself as a formula."""

    formula: str
    run: Callable

    def __eq__(self, other):
        return isinstance(other, Part) and self.formula == other.formula

    def __hash__(self):
        return hash(self.formula)

    def __repr__(self):
        return f"[{self.formula}]"

    def __call__(self, x):
        return self.run(x)


def plain_norm(d: int) -> Part:
    """A layer norm without scale and shift."""
    return Part("layer norm", lambda x: F.layer_norm(x, (d,)))


def linear(seed: int, d: int) -> Part:
    """A linear sub-layer (d, d)."""
    weight = normal(seed, d, d)
    return Part("linear", lambda x: x @ weight)


def feature_by_feature(x, norm, f):
    """Add up the two summands, feature by feature."""
    step = f(norm(x))
    return torch.stack([x[..., n] + step[..., n] for n in range(x.shape[-1])], dim=-1)


def skip_normed(x, norm, f):
    normed = norm(x)
    return normed + f(normed)


halves = Part("x / 2", lambda x: x / 2)
adds_ten = Part("x + 10", lambda x: x + 10)
returns_x = Part("x itself", lambda x: x)
less_five = Part("x − 5", lambda x: x - 5)
less_the_mean = Part("x less the mean of all numbers", lambda x: x - x.mean())
less_the_word_mean = Part(
    "x less the mean over the words", lambda x: x - x.mean(dim=-2, keepdim=True)
)
less_the_first_mean = Part("x less the mean over the first axis", lambda x: x - x.mean(dim=0))
residual_names = ("x", "norm", "f")
residual_batch = (normal(12, 2, 3, 4), plain_norm(4), linear(13, 4))


class Noting:
    """A part that notes each call, and the tensors that it was given and returned, with copies."""

    def __init__(self, name: str, part: Callable):
        self.name, self.part = name, part
        self.calls, self.notes = 0, []

    def note(self, what: str, *values):
        for value in values:
            if isinstance(value, tuple):
                self.note(what, *value)
            elif isinstance(value, torch.Tensor):
                self.notes.append((f"what {self.name} {what}", value, value.clone()))

    def __call__(self, query, projected=None, mask=None):
        """An attention is called with all three; a norm or a feed-forward with one tensor."""
        self.calls += 1
        args = (query,) if projected is None else (query, projected, mask)
        self.note("was given", *args)
        out = self.part(*args)
        self.note("returned", out)
        return out

    def project(self, x):
        """Keys and values, of a part that is an attention."""
        self.note("was given", x)
        projected = self.part.project(x)
        self.note("returned", projected)
        return projected

    def changed(self) -> Facts | None:
        """The first tensor that no longer holds what it held, or None."""
        for name, tensor, kept in self.notes:
            wrong = ~close(tensor, kept)
            if wrong.any():
                return first_difference(name, wrong, tensor, kept)
        return None


def called_again(answer: Callable) -> Facts | None:
    """The number of calls of norm and f, if either is not called once."""
    norm, f = Noting("norm", halves), Noting("f", adds_ten)
    answer(torch.tensor([[2.0, 4.0], [6.0, 8.0]]), norm, f)
    if (norm.calls, f.calls) == (1, 1):
        return None
    return ("expected", "1 call of norm, 1 of f"), ("got", f"{norm.calls} of norm, {f.calls} of f")


def changed_by_residual(answer: Callable) -> Facts | None:
    """A tensor that norm or f was given or returned, if the answer changes it in place."""
    norm, f = Noting("norm", halves), Noting("f", adds_ten)
    answer(torch.tensor([2.0, 4.0]), norm, f)
    return norm.changed() or f.changed()


called_once = Property(
    "called_again",
    "x / 2 as norm, x + 10 as f, and how often each is called",
    "The values are right, but you do not call `norm` and `f` once each.",
    called_again,
)
residual_keeps = Property(
    "changed_in_place",
    "x / 2 as norm, x + 10 as f, and what they were given and returned",
    "You change in place a tensor that `norm` or `f` was given or returned.",
    changed_by_residual,
)

pre_norm_residual = Exercise(
    id="pre_norm_residual",
    lesson=7,
    signature="pre_norm_residual(x (…, d), norm, f) → out (…, d)",
    returns=("out",),
    oracle=feature_by_feature,
    cases=(
        Case("two numbers", (torch.tensor([2.0, 4.0]), halves, adds_ten)),
        Case("two other numbers", (torch.tensor([-6.0, 1.0]), halves, adds_ten)),
        Case("sentences of vectors", residual_batch),
        Case("norm and f return the very x they are given", (normal(14, 5), returns_x, returns_x)),
        Case(
            "f reads all positions and sentences",
            (normal(15, 3, 2, 5), halves, less_the_mean),
        ),
        Case("f reads all words of a sentence", (normal(16, 2, 3, 4), halves, less_the_word_mean)),
        Case(
            "one vector, and a norm along the first axis",
            (torch.tensor([1.0, 2.0, 6.0]), less_the_first_mean, adds_ten),
        ),
        Case("four axes", (normal(11, 2, 3, 4, 5), plain_norm(5), linear(10, 5))),
        Case(
            "as many sentences as words and features",
            (normal(17, 3, 3, 3), plain_norm(3), linear(18, 3)),
        ),
        Case(
            "300 vectors, numbers around 10,000",
            (normal(19, 300, 2, scale=1e4), halves, linear(259, 2)),
        ),
    ),
    misconceptions=(
        Misconception(
            "post_norm",
            "Your output is norm(x + f(x)): that is post-norm, as published in 2017.",
            lambda x, norm, f: norm(x + f(x)),
        ),
        Misconception(
            "both_norms",
            "Your output is norm(x + f(norm(x))); nothing is normed after the sum.",
            lambda x, norm, f: norm(x + f(norm(x))),
        ),
        Misconception(
            "no_skip",
            "Your output is f(norm(x)); it is added to x, it does not replace x.",
            lambda x, norm, f: f(norm(x)),
        ),
        Misconception(
            "norm_after_f",
            "Your output is x + norm(f(x)); in pre-norm, f gets the normed x.",
            lambda x, norm, f: x + norm(f(x)),
        ),
        Misconception(
            "skip_normed",
            "Your output is norm(x) + f(norm(x)); the first summand is x as it was.",
            skip_normed,
        ),
        Misconception(
            "no_norm",
            "Your output is x + f(x): the norm is missing.",
            lambda x, norm, f: x + f(x),
        ),
        Misconception(
            "only_f",
            "Your output is f(x): the norm and the skip connection are missing.",
            lambda x, norm, f: f(x),
        ),
    ),
    hints=(
        "What is given to f, and what is its result added to?",
        "f is given the normed x. Its result is added to x as it was, not normed.",
        "The word says it: norm first, the sub-layer f then, the residual sum last. One line will"
        " do: call norm on x, f on that, once, and add x. Make a new tensor: `+=` changes x.",
    ),
    properties=(
        residual_keeps,
        same_gradient(feature_by_feature, residual_names, residual_batch),
        same_gradient(
            feature_by_feature,
            residual_names,
            (torch.tensor([5.0]), returns_x, less_five),
            "the gradient at x = 5, with x itself as norm, and x − 5 as f",
        ),
        called_once,
        nothing_kept(
            feature_by_feature,
            (torch.tensor([2.0, 4.0]), halves, adds_ten),
            (torch.tensor([3.0, 8.0]), returns_x, less_five),
        ),
    ),
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
        weights = scores.softmax(dim=dim)
        if memory_mask is not None:
            weights = after(weights, memory_mask)
        return weights @ value

    return answer


def ignore(scores, mask):
    return scores


def filled(value):
    return lambda scores, mask: scores.masked_fill(~mask, value)


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
equal_sizes = cross_inputs(260, 3, 3, 3, 3, 3, 3)
long_memory = cross_inputs(270, 17, 2, 300, 3, 2, 4)
attention_names = ("x", "memory", "w_q", "w_k", "w_v", "memory_mask")


def scores_at_hand(x, memory):
    """Inputs with d_k = 256 whose score is the dot product of a row of x and one of memory."""
    identity = torch.eye(2, 256)
    return torch.tensor(x), torch.tensor(memory), 16 * identity, identity, torch.eye(2)


# scores 10,000, 9,920, 9,840 for the first query, their negatives for the second
# (far enough apart that a last digit of 10,000, a thousandth, decides nothing)
high_and_low = scores_at_hand(
    [[[1e4, -1.0], [-1e4, 1.0]]], [[[1.0, 0.0], [1.0, 80.0], [1.0, 160.0]]]
)
# scores 10,000, −10,000, −10,080
blocked_above = scores_at_hand([[[1e4, 1.0]]], [[[1.0, 0.0], [-1.0, 0.0], [-1.0, -80.0]]])
# scores 0, 1, 2
blocked_value = scores_at_hand([[[1.0, 0.0]]], [[[0.0, 1e9], [1.0, 0.0], [2.0, 3.0]]])
two_keys = (
    torch.tensor([[[1.0, 0.0]]]),
    torch.eye(2)[None],
    torch.eye(2) * 2**0.5,
    torch.eye(2),
    torch.eye(2),
)
other_two_keys = (
    torch.tensor([[[0.0, 2.0]]]),
    torch.tensor([[[1.0, -1.0], [3.0, 0.5]]]),
    *two_keys[2:],
)

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
        Case("one query, two keys", two_keys),
        Case("another query, other keys", other_two_keys),
        Case("one sentence, square weights", square),
        Case("two sentences, d, d_k and d_v differ", oblong),
        Case("padding in the memory", (*padded, keys_allowed)),
        Case("a mask with a row for every query", (*one_each, pairs_allowed)),
        Case("one query's scores near 10,000, the other's near −10,000", high_and_low),
        Case(
            "a blocked key whose score is 10,000, allowed ones near −10,000",
            (*blocked_above, truths("011")[None]),
        ),
        Case("a blocked key whose value is 1,000,000,000", (*blocked_value, truths("011")[None])),
        Case("every size is 3", (*equal_sizes, truths("101", "011", "110")[:, None])),
        Case(
            "17 sentences, 257 to 273 of 300 words of the memory allowed",
            (*long_memory, torch.arange(300) < torch.arange(257, 274)[:, None, None]),
        ),
    ),
    misconceptions=(
        Misconception(
            "roles_swapped",
            "Your queries come from the memory, keys and values from x: swap the two.",
            attention_with("memory", "x", "x"),
        ),
        Misconception(
            "self_attention",
            "Your keys and values come from x: that is self-attention.",
            attention_with("x", "x", "x"),
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
            "no_root",
            "You divide by d_k, not by its root.",
            attention_with(divisor=lambda d_k, d, d_v: d_k),
        ),
        *several(
            "over_queries",
            "Your softmax runs over the queries; the weights of one query sum to 1.",
            attention_with(dim=-2),
            attention_with(dim=-2, mask=filled(-1e9)),
        ),
        *several(
            "not_low_enough",
            "Your blocked keys get weight where the allowed scores are very low.",
            *(attention_with(mask=filled(value)) for value in (-10.0, -50.0, -1e4)),
        ),
        *several(
            "mask_inverted",
            "Your weights go to the blocked keys: True = may attend.",
            attention_with(mask=lambda scores, mask: scores.masked_fill(mask, -torch.inf)),
            attention_with(mask=lambda scores, mask: scores.masked_fill(mask, -1e9)),
        ),
        Misconception(
            "mask_ignored",
            "Your output is what you get without the mask.",
            attention_with(mask=ignore),
        ),
        Misconception(
            "mask_after_softmax",
            "Your weights are masked after the softmax: what is left does not sum to 1.",
            attention_with(mask=ignore, after=lambda weights, mask: weights * mask),
        ),
        Misconception(
            "score_zero",
            "Your blocked scores are 0, and so get weight: e to the 0 is 1.",
            attention_with(mask=lambda scores, mask: scores * mask),
        ),
        Misconception(
            "values_not_projected",
            "Your values are the memory itself: w_v is missing.",
            attention_with(matrices=lambda w_q, w_k, w_v: (w_q, w_k, torch.eye(len(w_v)))),
        ),
    ),
    hints=(
        "From which input come the queries, from which the keys and values?",
        "The queries come from x; keys and values come from the memory. The rest is lesson 3.",
        "x @ w_q, memory @ w_k, memory @ w_v. Scores are query @ key.mT / √d_k, and -inf where the"
        " mask is False; then softmax over the last axis, times the values.",
    ),
    properties=(
        same_gradient(torch_attention, attention_names, (*padded, keys_allowed)),
        # one allowed key: its weight is exactly 1, in whatever way it is computed
        same_gradient(
            torch_attention,
            attention_names,
            (*blocked_above, truths("010")[None]),
            "the gradient where a blocked score is 10,000, the allowed one −10,000",
        ),
        nothing_kept(
            torch_attention,
            (*padded, keys_allowed),
            (*cross_inputs(280, 3, 2, 5, 4, 3, 6), truths("01111", "00100", "11011")[:, None]),
        ),
    ),
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


def coarse_rates(answer: Callable) -> Facts | None:
    """A rate of the paper's own training that is not right to four digits."""
    step, d_model, warmup = torch.tensor([1, 2, 4000, 1_000_000]), 512, 4000
    got, expected = answer(step, d_model, warmup), step_by_step(step, d_model, warmup)
    wrong = ~torch.isclose(got, expected, rtol=1e-4, atol=0.0)
    if not wrong.any():
        return None
    given = f"step {step.tolist()}, d_model {d_model}, warmup {warmup}"
    return (*first_difference("rate", wrong, got, expected), ("given", given))


right_to_four_digits = Property(
    "coarse",
    "the sizes of the paper, whose first rates are very small",
    "Your very small rates are not right to four digits.",
    coarse_rates,
)

warmup_lr = Exercise(
    id="warmup_lr",
    lesson=7,
    signature="warmup_lr(step (N,), d_model, warmup) → rate (N,)",
    returns=("rate",),
    oracle=step_by_step,
    cases=(
        Case("before, at and after the end of the warm-up", (torch.tensor([1, 4, 16]), 4, 4)),
        Case("other steps", (torch.tensor([2, 9, 100]), 4, 4)),
        Case("another width", (torch.tensor([1, 5, 9, 30, 200]), 16, 9)),
        Case("no warm-up to speak of", (torch.tensor([1, 2, 4, 9]), 2, 1)),
        Case("the steps around the end of the warm-up", (torch.tensor([7, 8, 9, 10, 11]), 3, 9)),
        Case("steps in any order, one of them twice", (torch.tensor([30, 4, 4, 1, 12, 6]), 5, 6)),
        Case("one step alone", (torch.tensor([3]), 2, 5)),
        Case("every step from 1 to 300", (torch.arange(1, 301), 8, 100)),
        Case("a million steps", (torch.tensor([1000, 20_000, 1_000_000]), 1, 3)),
    ),
    misconceptions=(
        *several(
            "from_zero",
            "Your rates are those of one step later or earlier: the first step is 1.",
            schedule(paper, shift=1),
            schedule(paper, shift=-1),
        ),
        Misconception(
            "maximum",
            "Your rate is the larger of the two; the smaller is wanted.",
            schedule(lambda step, warmup: torch.maximum(step**-0.5, step * warmup**-1.5)),
        ),
        Misconception(
            "no_width",
            "Your rate lacks the factor d_model^−0.5.",
            schedule(paper, width=lambda d_model: 1.0),
        ),
        Misconception(
            "width_upside_down",
            "You multiply by √d_model; a wider model should get a smaller rate.",
            schedule(paper, width=lambda d_model: d_model**0.5),
        ),
        Misconception(
            "width_without_root",
            "You divide by d_model, not by its root.",
            schedule(paper, width=lambda d_model: 1 / d_model),
        ),
        Misconception(
            "exponents_swapped",
            "You raise step to −1.5 and warmup to −0.5: swap the two exponents.",
            schedule(lambda step, warmup: torch.minimum(step**-1.5, step * warmup**-0.5)),
        ),
        Misconception(
            "warmup_without_three_halves",
            "Your line is step · warmup^−0.5; the formula's is step · warmup^−1.5.",
            schedule(lambda step, warmup: torch.minimum(step**-0.5, step * warmup**-0.5)),
        ),
        Misconception(
            "width_on_one",
            "Your d_model^−0.5 multiplies only the root; it multiplies both curves.",
            width_on_the_root,
        ),
        Misconception(
            "no_fall",
            "Your rate stays the same after the warm-up; it falls there.",
            schedule(lambda step, warmup: step.clamp(max=warmup) * warmup**-1.5),
        ),
    ),
    hints=(
        "Which of the two curves is the smaller one at the first step, and which much later?",
        "The curves are step to the −0.5 and step times warmup to the −1.5; they meet at warmup.",
        "torch.minimum takes the smaller of two tensors, element by element. Multiply the result by"
        " d_model ** -0.5. Nothing else is needed, no `if` and no loop.",
    ),
    properties=(
        right_to_four_digits,
        nothing_kept(
            step_by_step, (torch.tensor([1, 4, 16]), 4, 4), (torch.tensor([2, 9, 100]), 9, 25)
        ),
    ),
)


# --- smooth_loss ----------------------------------------------------------------------------------


def word_by_word(logits, labels, smoothing, pad=0):
    """Each real label in turn."""
    losses = []
    for row, label in zip(logits.flatten(0, 1), labels.flatten().tolist(), strict=True):
        if label == pad:
            continue
        log_p = F.log_softmax(row, dim=0)  # (V,)
        others = [word for word in range(len(row)) if word not in (label, pad)]
        loss = -(1 - smoothing) * log_p[label]
        losses.append(loss - log_p[others].sum() * smoothing / len(others))
    return torch.stack(losses).mean()


def loss_with(
    right=lambda smoothing, V: 1 - smoothing,
    other=lambda smoothing, V: smoothing / (V - 2),
    on_pad=lambda smoothing, V: 0.0,
    mean=lambda losses, real: (losses * real).sum() / real.sum(),
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
        losses = -(target * logits.log_softmax(dim=-1)).sum(dim=-1)  # (B, T)
        return mean(losses, labels != pad)

    return answer


def share(left_out):
    """The mass shared by all words but `left_out` of them."""
    return lambda smoothing, V: smoothing / (V - left_out)


def mean_of_means(losses, real):
    return ((losses * real).sum(dim=1) / real.sum(dim=1)).mean()


def mean_of_real_means(losses, real):
    """Sentences of PAD alone are left out."""
    rows = real.any(dim=1)
    return mean_of_means(losses[rows], real[rows])


two_lengths = (normal(62, 2, 4, 6), torch.tensor([[2, 5, 1, 0], [4, 3, 0, 0]]), 0.3)
far_logits = torch.tensor([[[0.0, 1.0, 200.0, 3.0, 0.0], [0.0, -2.0, 1.0, 4.0, 0.5]]])
extreme = torch.tensor([[[9999.0, -1e4, 1e4], [-1e4, -9998.0, -9999.0]]])
pad_inside = torch.tensor([[0, 5, 0, 3], [0, 0, 0, 0], [1, 2, 0, 0]])
equal_labels = torch.tensor([[1, 2, 3, 0], [3, 3, 0, 0], [2, 0, 0, 0], [1, 3, 2, 1]])

smooth_loss = Exercise(
    id="smooth_loss",
    lesson=7,
    signature="smooth_loss(logits (B, T, V), labels (B, T), smoothing, pad=0) → loss ()",
    returns=("loss",),
    oracle=word_by_word,
    cases=(
        Case("one word", (torch.tensor([[[0.5, -1.0, 2.0, 0.0, 1.0]]]), torch.tensor([[2]]), 0.2)),
        Case(
            "another word", (torch.tensor([[[1.0, 0.0, -2.0, 3.0, 0.5]]]), torch.tensor([[4]]), 0.2)
        ),
        Case(
            "two words, three to choose from",
            (torch.tensor([[[0.0, 1.0, 2.5], [1.0, -1.0, 3.0]]]), torch.tensor([[1, 2]]), 0.2),
        ),
        Case("no smoothing", (normal(61, 1, 3, 4), torch.tensor([[1, 2, 3]]), 0.0)),
        Case("two lengths", two_lengths),
        Case(
            "another word for padding",
            (normal(63, 2, 3, 7), torch.tensor([[0, 5, 4], [2, 4, 4]]), 0.1, 4),
        ),
        Case("a word that is sure by far", (far_logits, torch.tensor([[3, 2]]), 0.1)),
        Case(
            "logits of 10,000 and −10,000, three words in all",
            (extreme, torch.tensor([[1, 2]]), 0.4),
        ),
        Case(
            "PAD inside a sentence, a sentence of PAD alone", (normal(64, 3, 4, 6), pad_inside, 0.2)
        ),
        Case("as many sentences as positions and words", (normal(65, 4, 4, 4), equal_labels, 0.2)),
        Case(
            "100 positions, the last word for padding",
            (normal(66, 1, 100, 7), torch.arange(100)[None] % 7, 0.1, 6),
        ),
        Case(
            "20 sentences, a smoothing of 0.9",
            (normal(68, 20, 3, 8), torch.arange(1, 61).view(20, 3) % 8, 0.9),
        ),
        Case("a thousand words", (normal(67, 1, 2, 1000), torch.tensor([[999, 500]]), 0.5)),
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
        *several(
            "mass_lost",
            "Your shares do not sum to ε: each of V − 2 words gets ε / (V − 2).",
            loss_with(other=share(0)),
            loss_with(other=share(1)),
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
        *several(
            "mean_of_means",
            "You average sentence by sentence: a word of a short one then counts more.",
            loss_with(mean=mean_of_means),
            loss_with(mean=mean_of_real_means),
        ),
        Misconception(
            "pad_fixed",
            "Your PAD is always 0, whatever `pad` is given.",
            loss_with(fixed=0),
        ),
    ),
    hints=(
        "Which words share ε, and how many are they? Which positions count?",
        "The right word gets 1 − ε, PAD gets 0, each of the V − 2 others gets ε / (V − 2).",
        "With log_p = logits.log_softmax(dim=-1): the right word's is log_p.gather(-1,"
        " labels[..., None]); the others' sum is the sum of all, less the right word's, less"
        " log_p[..., pad]. Average over labels != pad only.",
    ),
    properties=(
        same_gradient(word_by_word, ("logits", "labels", "smoothing"), two_lengths),
        nothing_kept(
            word_by_word,
            (*two_lengths, 0),
            (normal(69, 2, 4, 6), torch.tensor([[1, 0, 5, 4], [2, 2, 0, 3]]), 0.1, 5),
        ),
    ),
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
    around=lambda x, norm, f: x + f(norm(x)),
    only=(0, 1, 2),
    mask_of=lambda mask, memory_mask: (mask, memory_mask),
    self_source=lambda normed, x: normed,
    cross_source=lambda memory, normed: memory,
):
    """A decoder layer with one thing changed; sub-layers 0, 1, 2 in the order given.

    `around` puts norm and skip around the sub-layers in `only`; the others are as they should be.
    """

    def answer(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
        self_mask, cross_mask = mask_of(mask, memory_mask)
        stream = x
        for n in order:
            norm = norms[norm_of(n)]

            def sub_layer(normed, n=n, stream=stream):
                if n == 0:
                    return attend(normed, attend.project(self_source(normed, stream)), self_mask)
                if n == 1:
                    return cross(normed, cross.project(cross_source(memory, normed)), cross_mask)
                return feed_forward(normed)

            placed = around if n in only else feature_by_feature
            stream = placed(stream, norm, sub_layer)
        return stream

    return answer


def flowing(
    cross_reads=lambda streams, normed, norms: norms[1](streams[1]),
    feed_forward_reads=lambda streams, normed, norms: norms[2](streams[2]),
):
    """A decoder layer where a sub-layer reads the wrong stream.

    `streams` holds x and what each sub-layer made of it, `normed` what each of them has read.
    """

    def answer(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
        streams, normed = [x], [norms[0](x)]
        streams.append(x + attend(normed[0], attend.project(normed[0]), mask))
        normed.append(cross_reads(streams, normed, norms))
        streams.append(streams[1] + cross(normed[1], cross.project(memory), memory_mask))
        return streams[2] + feed_forward(feed_forward_reads(streams, normed, norms))

    return answer


PLACES = ((0, 1, 2), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2))  # of one, two or all sub-layers


def normed_memory(n):
    """A decoder layer that puts norms[n] on the memory."""

    def answer(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
        parts = attend, cross, feed_forward, norms
        return sum_of_three(x, norms[n](memory), mask, memory_mask, *parts)

    return answer


def layer_parts(seed, d):
    """attend, cross, feed_forward and three norms, all different."""
    heads = [
        Attention(tuple(normal(seed + 10 * n + k, d, d, scale=0.5) for k in range(3)))
        for n in range(2)
    ]
    wide, narrow = normal(seed + 31, d, 2 * d), normal(seed + 32, 2 * d, d)
    feed_forward = Part("feed-forward", lambda x: torch.relu(x @ wide) @ narrow)
    return *heads, feed_forward, [own_norm(seed, n, d) for n in range(3)]


def own_norm(seed, n, d):
    """A layer norm with a scale and a shift of its own."""
    gamma, beta = 1 + 0.5 * normal(seed + 40 + n, d), normal(seed + 43 + n, d)
    return Part(f"layer norm {n}", lambda x: F.layer_norm(x, (d,), gamma, beta))


def layer_inputs(seed, B, T, T_src, d, lengths):
    """x, memory, a causal mask and a padding mask."""
    allowed = torch.arange(T_src) < torch.tensor(lengths)[:, None, None]  # (B, 1, T_src)
    causal = torch.ones(T, T).tril().bool()  # (T, T)
    return normal(seed, B, T, d), normal(seed + 1, B, T_src, d), causal, allowed


one_word_parts = layer_parts(100, 3)
layer_batch = (*layer_inputs(82, 2, 3, 5, 4, [5, 2]), *layer_parts(200, 4))


def changed_by_layer(answer: Callable) -> Facts | None:
    """A tensor that a part was given or returned, if the answer changes it in place."""
    inputs, (attend, cross, feed_forward, norms) = layer_batch[:4], layer_batch[4:]
    parts = [
        Noting(name, part)
        for name, part in (("attend", attend), ("cross", cross), ("feed_forward", feed_forward))
    ]
    noted_norms = [Noting(f"norms[{n}]", norm) for n, norm in enumerate(norms)]
    answer(*(tensor.clone() for tensor in inputs), *parts, noted_norms)
    return next(filter(None, (part.changed() for part in (*parts, *noted_norms))), None)


layer_keeps = Property(
    "changed_in_place",
    "what the parts were given and returned",
    "You change in place a tensor that a part was given or returned.",
    changed_by_layer,
)

decoder_layer = Exercise(
    id="decoder_layer",
    lesson=7,
    signature=(
        "decoder_layer(x (B, T, d), memory (B, T_src, d), mask (T, T), memory_mask (B, 1, T_src), "
        "attend, cross, feed_forward, norms) → out (B, T, d)"
    ),
    returns=("out",),
    oracle=sum_of_three,
    cases=(
        Case("one word, one source word", (*layer_inputs(80, 1, 1, 1, 3, [1]), *one_word_parts)),
        Case(
            "another word, another source word",
            (*layer_inputs(94, 1, 1, 1, 3, [1]), *one_word_parts),
        ),
        Case("two sentences, one with padding", layer_batch),
        Case(
            "as many words as source words",
            (*layer_inputs(84, 3, 4, 4, 5, [3, 4, 1]), *layer_parts(300, 5)),
        ),
        Case(
            "masks of another kind: later words allowed, a gap in the memory",
            (
                *layer_inputs(86, 2, 3, 4, 5, [4, 4])[:2],
                *(truths("011", "101", "010"), truths("1011", "0110")[:, None]),
                *layer_parts(1300, 5),
            ),
        ),
        Case(
            "norms and feed-forward return the very tensor they are given",
            (
                *layer_inputs(88, 1, 2, 3, 4, [2]),
                *layer_parts(500, 4)[:2],
                returns_x,
                [returns_x] * 3,
            ),
        ),
        Case(
            "norms and feed-forward that read all words of a sentence",
            (
                *layer_inputs(96, 2, 3, 2, 4, [2, 1]),
                *layer_parts(800, 4)[:2],
                less_the_word_mean,
                [halves, less_the_word_mean, adds_ten],
            ),
        ),
        Case("every size is 3", (*layer_inputs(90, 3, 3, 3, 3, [3, 2, 1]), *layer_parts(600, 3))),
        Case(
            "17 sentences, 70 words, 90 source words",
            (*layer_inputs(92, 17, 70, 90, 2, range(74, 91)), *layer_parts(700, 2)),
        ),
    ),
    misconceptions=(
        Misconception(
            "post_norm",
            "You norm each sum: that is post-norm; here each sub-layer's input is normed.",
            assembled(around=lambda x, norm, f: norm(x + f(x))),
        ),
        *several(
            "cross_first",
            "Your cross-attention comes before the self-attention.",
            assembled(order=(1, 0, 2)),
            assembled(order=(1, 0, 2), norm_of=lambda n: (1, 0, 2)[n]),
        ),
        Misconception(
            "no_residuals",
            "Your sub-layers replace x: their results are added to it.",
            assembled(around=lambda x, norm, f: f(norm(x))),
        ),
        *several(
            "skip_missing",
            "The result of one sub-layer replaces x; it is added to x.",
            *(assembled(around=lambda x, norm, f: f(norm(x)), only=(n,)) for n in range(3)),
        ),
        *several(
            "skip_normed",
            "A result is added to the normed x; it is added to x as it was.",
            *(assembled(around=skip_normed, only=places) for places in PLACES),
        ),
        *several(
            "norm_missing",
            "A sub-layer reads x as it is; each reads x after a norm of its own.",
            *(assembled(around=lambda x, norm, f: x + f(x), only=places) for places in PLACES),
        ),
        *several(
            "memory_normed",
            "You norm the memory once more; it comes normed from the encoder.",
            *(normed_memory(n) for n in range(3)),
        ),
        *several(
            "other_norms",
            "Your norms are not norms[0], norms[1] and norms[2], in this order.",
            *(
                assembled(norm_of=lambda n, used=used: used[n])
                for used in ((0, 0, 0), (0, 1, 1), (0, 0, 1), (0, 0, 2), (0, 2, 1), (2, 1, 0))
            ),
        ),
        Misconception(
            "masks_swapped",
            "Your self-attention gets memory_mask, and your cross-attention mask: swap them.",
            assembled(mask_of=lambda mask, memory_mask: (memory_mask, mask)),
        ),
        Misconception(
            "no_mask",
            "Your output is what you get without a mask in the self-attention.",
            assembled(mask_of=lambda mask, memory_mask: (None, memory_mask)),
        ),
        Misconception(
            "no_memory_mask",
            "Your output is what you get without a mask in the cross-attention.",
            assembled(mask_of=lambda mask, memory_mask: (mask, None)),
        ),
        Misconception(
            "keys_not_normed",
            "Your self-attention's keys and values come from x before its norm.",
            assembled(self_source=lambda normed, x: x),
        ),
        *several(
            "old_input",
            "One sub-layer reads x as it was before the last result was added.",
            flowing(cross_reads=lambda streams, normed, norms: norms[1](streams[0])),
            flowing(cross_reads=lambda streams, normed, norms: norms[1](normed[0])),
            flowing(cross_reads=lambda streams, normed, norms: normed[0]),
            flowing(feed_forward_reads=lambda streams, normed, norms: norms[2](streams[1])),
            flowing(feed_forward_reads=lambda streams, normed, norms: norms[2](normed[1])),
            flowing(feed_forward_reads=lambda streams, normed, norms: normed[1]),
        ),
        *several(
            "cross_reads_x",
            "Your cross-attention reads x where it should read the memory.",
            assembled(cross_source=lambda memory, normed: normed),
            assembled(
                cross_source=lambda memory, normed: normed,
                mask_of=lambda mask, memory_mask: (mask, mask),
            ),
        ),
        Misconception(
            "masks_inverted",
            "Your output is what you get with both masks inverted; here True = may attend.",
            assembled(mask_of=lambda mask, memory_mask: (~mask, ~memory_mask)),
        ),
        Misconception(
            "masks_inverted",
            "Your output is what you get with `mask` inverted; here True = may attend.",
            assembled(mask_of=lambda mask, memory_mask: (~mask, memory_mask)),
        ),
        Misconception(
            "masks_inverted",
            "Your output is what you get with `memory_mask` inverted; True = may attend.",
            assembled(mask_of=lambda mask, memory_mask: (mask, ~memory_mask)),
        ),
    ),
    hints=(
        "Three sub-layers, one after the other. What is each of them given?",
        "Each is a pre_norm_residual with a norm of its own. The memory is read as it comes.",
        "First normed = norms[0](x), and x + attend(normed, attend.project(normed), mask). Then the"
        " same with norms[1], cross.project(memory) and memory_mask. Then feed_forward with"
        " norms[2]. Each line starts from the x that the line before it made.",
    ),
    properties=(
        layer_keeps,
        same_gradient(
            sum_of_three,
            ("x", "memory", "mask", "memory_mask", "attend", "cross", "feed_forward", "norms"),
            layer_batch,
        ),
        nothing_kept(
            sum_of_three,
            layer_batch,
            (
                *layer_inputs(98, 2, 3, 5, 4, [5, 2])[:2],
                *(truths("110", "010", "011"), truths("10110", "01111")[:, None]),
                *layer_parts(900, 4),
            ),
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
