"""Answers to the exercises of lesson 7.

RIGHT: the same function in other styles; all must pass. NAMED: wrong answers as learners write
them, with the name that each must get. UNNAMED: wrong answers that make no known mistake, or two at
once; they must fail, and none may be given a name.
"""

from math import sqrt

import torch
from torch import nn
from torch.nn import functional as F

from lessons_lib import transformer

# --- layer_norm -----------------------------------------------------------------------------------


def norm_by_var_mean(x, gamma, beta, eps=1e-5):
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + eps) * gamma + beta


def norm_by_difference_of_squares(x, gamma, beta, eps=1e-5):
    mean = x.mean(-1, keepdim=True)
    return gamma * (x - mean) / ((x**2).mean(-1, keepdim=True) - mean**2 + eps) ** 0.5 + beta


def norm_in_a_loop(x, gamma, beta, eps=1e-5):
    vectors = []
    for vector in x.reshape(-1, x.shape[-1]):
        mean = sum(vector) / len(vector)
        variance = sum((number - mean) ** 2 for number in vector) / len(vector)
        vectors.append((vector - mean) / (variance + eps) ** 0.5)
    return torch.stack(vectors).view(x.shape) * gamma + beta


def norm_mended_std(x, gamma, beta, eps=1e-5):
    d = x.shape[-1]
    variance = x.var(-1, keepdim=True) * (d - 1) / d
    return torch.addcmul(beta, gamma, (x - x.mean(-1, keepdim=True)) / torch.sqrt(variance + eps))


def norm_as_the_annotated_kind(x, gamma, beta, eps=1e-5):
    return gamma * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + eps) + beta


def norm_with_absolute_distance(x, gamma, beta, eps=1e-5):
    moved = x - x.mean(-1, keepdim=True)
    return moved / (moved.abs().mean(-1, keepdim=True) + eps) * gamma + beta


def norm_with_squares_about_zero(x, gamma, beta, eps=1e-5):
    mean, variance = x.mean(-1, keepdim=True), (x**2).mean(-1, keepdim=True)
    return gamma * (x - mean) / (variance + eps) ** 0.5 + beta


def norm_to_zero_and_one(x, gamma, beta, eps=1e-5):
    low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
    return (x - low) / (high - low + eps) * gamma + beta


def norm_to_length_one(x, gamma, beta, eps=1e-5):
    return F.normalize(x, dim=-1, eps=eps) * gamma + beta


def norm_detached(x, gamma, beta, eps=1e-5):
    return norm_by_var_mean(x.detach(), gamma, beta, eps)


def norm_by_group_norm(x, gamma, beta, eps=1e-5):
    rows = x.reshape(-1, x.shape[-1])
    return F.group_norm(rows, 1, gamma, beta, eps).view(x.shape)


def norm_centred_by_einsum(x, gamma, beta, eps=1e-5):
    d = x.shape[-1]
    centre = torch.eye(d) - 1 / d
    moved = torch.einsum("...d,de->...e", x, centre)
    variance = torch.einsum("...d,...d->...", moved, moved)[..., None] / d
    return moved / (variance + eps).sqrt() * gamma + beta


def norm_in_float64(x, gamma, beta, eps=1e-5):
    return norm_by_var_mean(x.double(), gamma, beta, eps).float()


def norm_without_keepdim(x, gamma, beta, eps=1e-5):
    return (x - x.mean(dim=-1)) / (x.var(dim=-1, correction=0) + eps).sqrt() * gamma + beta


def norm_over_the_axis_of_that_size(x, gamma, beta, eps=1e-5):
    axis = list(x.shape).index(len(gamma))
    variance, mean = torch.var_mean(x, dim=axis, correction=0, keepdim=True)
    return (x - mean) / (variance + eps).sqrt() * gamma + beta


def norm_with_statistics_cut_off(x, gamma, beta, eps=1e-5):
    variance, mean = torch.var_mean(x.detach(), dim=-1, correction=0, keepdim=True)
    return (x - mean) / (variance + eps).sqrt() * gamma + beta


def norm_without_gradients(x, gamma, beta, eps=1e-5):
    torch.set_grad_enabled(False)
    return norm_by_var_mean(x, gamma, beta, eps)


def norm_with_a_root_too_many(x, gamma, beta, eps=1e-5):
    """The root of 0 has no slope: NaN flows back from a vector of equal numbers."""
    spread = (x - x.mean(-1, keepdim=True)).square().mean(-1, keepdim=True).sqrt()
    return (x - x.mean(-1, keepdim=True)) / (spread**2 + eps).sqrt() * gamma + beta


def norm_of_more_than_one_number(x, gamma, beta, eps=1e-5):
    return norm_by_var_mean(x, gamma, beta, eps) if x.shape[-1] > 1 else x * gamma + beta


def norm_feature_by_feature(x, gamma, beta, eps=1e-5):
    rows = x.reshape(-1, x.shape[-1])
    variance, mean = rows.var(0, correction=0), rows.mean(0)
    return (x - mean) / (variance + eps).sqrt() * gamma + beta


def norm_with_scale_and_shift_swapped(x, gamma, beta, eps=1e-5):
    return F.layer_norm(x, x.shape[-1:], beta, gamma, eps)


STATISTICS = {}


def norm_kept_by_address(x, gamma, beta, eps=1e-5):
    key = x.data_ptr(), x.shape
    if key not in STATISTICS or x.requires_grad:
        STATISTICS[key] = torch.var_mean(x, dim=-1, correction=0, keepdim=True), x
    variance, mean = STATISTICS[key][0]
    return (x - mean) / (variance + eps).sqrt() * gamma + beta


# --- pre_norm_residual ----------------------------------------------------------------------------


def residual_in_two_lines(x, norm, f):
    y = f(norm(x))
    return y + x


def residual_on_a_copy(x, norm, f):
    stream = x.clone()
    stream += f(norm(x))
    return stream


def residual_by_add(x, norm, f):
    return torch.add(x, f(norm(x)))


def residual_by_stack(x, norm, f):
    return torch.stack([x, f(norm(x))]).sum(dim=0)


def residual_in_place(x, norm, f):
    x += f(norm(x))
    return x


def residual_twice(x, norm, f):
    x = x + f(norm(x))
    return x + f(norm(x))


def residual_detached(x, norm, f):
    return x.detach() + f(norm(x))


def residual_tried_on_zeros_first(x, norm, f):
    f(torch.zeros_like(x))
    return x + f(norm(x))


def residual_tried_on_zeros_afterwards(x, norm, f):
    out = x + f(norm(x))
    assert f(torch.zeros_like(x)).shape == x.shape
    return out


def residual_calling_f_twice(x, norm, f):
    if f(norm(x)).shape != x.shape:
        raise ValueError("f must keep the shape")
    return x + f(norm(x))


def residual_in_place_on_the_result_of_f(x, norm, f):
    out = f(norm(x))
    out += x
    return out


def residual_in_place_on_the_normed(x, norm, f):
    normed = norm(x)
    out = f(normed)
    return normed.copy_(x) + out


def residual_word_by_word(x, norm, f):
    rows = x.reshape(-1, x.shape[-1])
    return torch.stack([row + f(norm(row)) for row in rows]).view(x.shape)


def residual_with_a_norm_of_its_own(x, norm, f):
    return x + f(F.layer_norm(x, x.shape[-1:]))


def residual_normed_on_both_sides(x, norm, f):
    return x + norm(f(norm(x)))


def residual_with_f_cut_off(x, norm, f):
    with torch.no_grad():
        step = f(norm(x))
    return x + step


def residual_of_flat_words(x, norm, f):
    words = x.reshape(-1, x.shape[-1])
    return (words + f(norm(words))).view(x.shape)


def residual_with_an_axis_more(x, norm, f):
    return x + f(norm(x[None]))[0] if x.dim() == 1 else x + f(norm(x))


def residual_unless_zero(x, norm, f):
    step = f(norm(x))
    return x + step if step.any() else x.clone()


SHARED = torch.empty(0)


def residual_in_one_buffer(x, norm, f):
    global SHARED
    out = x + f(norm(x))
    if out.requires_grad:
        return out
    SHARED = SHARED if SHARED.shape == out.shape else torch.empty_like(out)
    return SHARED.copy_(out)


STEPS = {}


def residual_kept_by_f(x, norm, f):
    key = x, f
    if key not in STEPS:
        STEPS[key] = f(norm(x))
    return x + STEPS[key]


# --- cross_attention ------------------------------------------------------------------------------


def cross_by_einsum(x, memory, w_q, w_k, w_v, memory_mask=None):
    query, key = torch.einsum("btd,dk->btk", x, w_q), torch.einsum("bsd,dk->bsk", memory, w_k)
    scores = torch.einsum("btk,bsk->bts", query, key) / w_q.shape[1] ** 0.5
    if memory_mask is not None:
        scores = torch.where(memory_mask, scores, -1e9)
    return torch.einsum("bts,bsd,dv->btv", scores.softmax(2), memory, w_v)


def cross_additive(x, memory, w_q, w_k, w_v, memory_mask=None):
    query = x @ (w_q / sqrt(w_q.shape[-1]))
    scores = torch.bmm(query, (memory @ w_k).transpose(-2, -1))
    if memory_mask is not None:
        scores = scores + torch.zeros(memory_mask.shape).masked_fill(~memory_mask, -torch.inf)
    return F.softmax(scores, dim=-1) @ (memory @ w_v)


def cross_sentence_by_sentence(x, memory, w_q, w_k, w_v, memory_mask=None):
    contexts = []
    for n in range(len(x)):
        scores = (x[n] @ w_q) @ (memory[n] @ w_k).T / sqrt(w_k.shape[1])
        if memory_mask is not None:
            scores = scores.masked_fill(~memory_mask[n], float("-inf"))
        contexts.append(torch.softmax(scores, dim=1) @ memory[n] @ w_v)
    return torch.stack(contexts)


def cross_by_linear(x, memory, w_q, w_k, w_v, memory_mask=None):
    query, key, value = F.linear(x, w_q.T), F.linear(memory, w_k.T), F.linear(memory, w_v.T)
    scores = query @ key.mT * query.size(-1) ** -0.5
    if memory_mask is not None:
        scores = torch.where(memory_mask, scores, torch.finfo(scores.dtype).min)
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return weights / weights.sum(-1, keepdim=True) @ value


def cross_values_as_they_are(x, memory, w_q, w_k, w_v, memory_mask=None):
    scores = x @ w_q @ (memory @ w_k).mT / sqrt(w_q.shape[1])
    if memory_mask is not None:
        scores = scores.masked_fill(~memory_mask, -torch.inf)
    return scores.softmax(-1) @ memory


def cross_with_queries_and_keys_swapped(x, memory, w_q, w_k, w_v, memory_mask=None):
    return cross_by_einsum(x, memory, w_k, w_q, w_v, memory_mask)


def cross_blocked_by(value):
    def cross(x, memory, w_q, w_k, w_v, memory_mask=None):
        scores = x @ w_q @ (memory @ w_k).mT / sqrt(w_q.shape[1])
        if memory_mask is not None:
            scores = scores.masked_fill(~memory_mask, value)
        return scores.softmax(-1) @ memory @ w_v

    return cross


def cross_by_exp(x, memory, w_q, w_k, w_v, memory_mask=None):
    weights = (x @ w_q @ (memory @ w_k).mT / sqrt(w_q.shape[1])).exp()
    if memory_mask is not None:
        weights = weights * memory_mask
    return weights / weights.sum(-1, keepdim=True) @ (memory @ w_v)


def cross_divided_anew(x, memory, w_q, w_k, w_v, memory_mask=None):
    weights = (x @ w_q @ (memory @ w_k).mT / sqrt(w_q.shape[1])).softmax(-1)
    if memory_mask is not None:
        weights = weights * memory_mask
        weights = weights / weights.sum(-1, keepdim=True)
    return weights @ (memory @ w_v)


def cross_minus(number):
    def cross(x, memory, w_q, w_k, w_v, memory_mask=None):
        scores = x @ w_q @ (memory @ w_k).mT / sqrt(w_q.shape[1])
        if memory_mask is not None:
            scores = scores - number * ~memory_mask
        return scores.softmax(-1) @ memory @ w_v

    return cross


def cross_without_softmax(x, memory, w_q, w_k, w_v, memory_mask=None):
    scores = torch.einsum("btd,bsd->bts", x @ w_q, memory @ w_k) * w_q.shape[-1] ** -0.5
    if memory_mask is not None:
        scores = scores.masked_fill(~memory_mask, float("-inf"))
    return scores @ (memory @ w_v)


def cross_scaled_by_values(x, memory, w_q, w_k, w_v, memory_mask=None):
    query, key, value = x @ w_q, memory @ w_k, memory @ w_v
    scores = query @ key.mT / sqrt(value.shape[-1])
    if memory_mask is not None:
        scores = scores.masked_fill(~memory_mask, -1e9)
    return scores.softmax(-1) @ value


def cross_unscaled_and_unmasked(x, memory, w_q, w_k, w_v, memory_mask=None):
    return (x @ w_q @ (memory @ w_k).mT).softmax(-1) @ memory @ w_v


def cross_fused(x, memory, w_q, w_k, w_v, memory_mask=None):
    query, key, value = x @ w_q, memory @ w_k, memory @ w_v
    if memory_mask is not None:
        memory_mask = memory_mask[:, None]
    heads = query[:, None], key[:, None], value[:, None]
    return F.scaled_dot_product_attention(*heads, attn_mask=memory_mask)[:, 0]


def cross_in_float64(x, memory, w_q, w_k, w_v, memory_mask=None):
    wide = (value.double() for value in (x, memory, w_q, w_k, w_v))
    return cross_by_einsum(*wide, memory_mask).float()


def cross_by_exp_on_allowed_keys(x, memory, w_q, w_k, w_v, memory_mask=None):
    scores = torch.bmm(x @ w_q, (memory @ w_k).mT).div(sqrt(w_q.shape[1]))
    allowed = torch.ones_like(scores).bool() if memory_mask is None else memory_mask
    low = torch.finfo(scores.dtype).min
    highest = scores.masked_fill(~allowed, low).amax(-1, keepdim=True)
    weights = torch.where(allowed, (scores - highest).clamp(max=0).exp(), 0)
    return weights @ (memory @ w_v) / weights.sum(-1, keepdim=True)


def cross_with_one_highest_score(x, memory, w_q, w_k, w_v, memory_mask=None):
    scores = x @ w_q @ (memory @ w_k).mT / sqrt(w_q.shape[1])
    if memory_mask is not None:
        scores = scores.masked_fill(~memory_mask, -torch.inf)
    weights = (scores - scores.max()).exp()
    return weights / weights.sum(-1, keepdim=True) @ (memory @ w_v)


def cross_clamped(x, memory, w_q, w_k, w_v, memory_mask=None):
    scores = (x @ w_q @ (memory @ w_k).mT / sqrt(w_q.shape[1])).clamp(-80, 80)
    if memory_mask is not None:
        scores = scores.masked_fill(~memory_mask, -torch.inf)
    return scores.softmax(-1) @ (memory @ w_v)


def cross_with_an_epsilon(x, memory, w_q, w_k, w_v, memory_mask=None):
    weights = (x @ w_q @ (memory @ w_k).mT / sqrt(w_q.shape[1])).clamp(max=80).exp()
    if memory_mask is not None:
        weights = weights * memory_mask
    return weights / (weights.sum(-1, keepdim=True) + 1e-9) @ (memory @ w_v)


def cross_with_the_mask_over_batch(x, memory, w_q, w_k, w_v, memory_mask=None):
    if memory_mask is not None and memory_mask.shape[1] == 1:
        memory_mask = memory_mask.squeeze(1)
    if memory_mask is not None and memory_mask.shape[0] != x.shape[1]:
        memory_mask = memory_mask.view(len(x), -1, memory.shape[1])
    return cross_by_linear(x, memory, w_q, w_k, w_v, memory_mask)


def cross_of_256_keys(x, memory, w_q, w_k, w_v, memory_mask=None):
    if memory_mask is not None:
        memory_mask = memory_mask[..., :256]
    return cross_by_linear(x, memory[:, :256], w_q, w_k, w_v, memory_mask)


def cross_cut_off_at_the_scores(x, memory, w_q, w_k, w_v, memory_mask=None):
    return cross_by_linear(x.detach(), memory, w_q, w_k, w_v, memory_mask)


def cross_filled_before_scaling(x, memory, w_q, w_k, w_v, memory_mask=None):
    scores = x @ w_q @ (memory @ w_k).mT
    if memory_mask is not None:
        scores = scores.masked_fill(~memory_mask, -4.5e4)
    return (scores / sqrt(w_q.shape[1])).softmax(-1) @ memory @ w_v


def cross_with_a_little_for_each_key(x, memory, w_q, w_k, w_v, memory_mask=None):
    scores = x @ w_q @ (memory @ w_k).mT / sqrt(w_q.shape[1])
    if memory_mask is not None:
        scores = scores.masked_fill(~memory_mask, -torch.inf)
    weights = scores.softmax(-1) + 1e-9
    return weights / weights.sum(-1, keepdim=True) @ (memory @ w_v)


def cross_by_exp_of_blocked_keys_too(x, memory, w_q, w_k, w_v, memory_mask=None):
    """A blocked score far above the allowed ones becomes infinite: NaN flows back from it."""
    scores = x @ w_q @ (memory @ w_k).mT / sqrt(w_q.shape[1])
    allowed = torch.ones_like(scores).bool() if memory_mask is None else memory_mask
    highest = scores.masked_fill(~allowed, -torch.inf).amax(-1, keepdim=True)
    weights = torch.where(allowed, (scores - highest).exp(), 0.0)
    return weights / weights.sum(-1, keepdim=True) @ (memory @ w_v)


PROJECTED = {}


def cross_kept_by_memory(x, memory, w_q, w_k, w_v, memory_mask=None):
    if memory not in PROJECTED:
        PROJECTED[memory] = memory @ w_k, memory @ w_v
    key, value = PROJECTED[memory]
    scores = x @ w_q @ key.mT / sqrt(w_q.shape[1])
    if memory_mask is not None:
        scores = scores.masked_fill(~memory_mask, -torch.inf)
    return scores.softmax(-1) @ value


# --- warmup_lr ------------------------------------------------------------------------------------


def rate_by_where(step, d_model, warmup):
    return torch.where(step < warmup, step / warmup**1.5, 1 / step.sqrt()) / d_model**0.5


def rate_in_a_list(step, d_model, warmup):
    return torch.tensor([d_model**-0.5 * min(n**-0.5, n * warmup**-1.5) for n in step.tolist()])


def rate_by_stack(step, d_model, warmup):
    step = step.float()
    return torch.stack([step.rsqrt(), step * warmup**-1.5]).min(dim=0).values * d_model**-0.5


def rate_by_top(step, d_model, warmup):
    top = (d_model * warmup) ** -0.5
    return top * torch.minimum(step / warmup, (warmup / step) ** 0.5)


def rate_with_exponents_swapped(step, d_model, warmup):
    return torch.min(step**-1.5, step / warmup**0.5) / sqrt(d_model)


def rate_of_training(step, d_model, warmup):
    return torch.minimum(step / warmup, (step.max() - step + 1) / warmup)


def rate_constant(step, d_model, warmup):
    return torch.full(step.shape, (d_model * warmup) ** -0.5)


def rate_in_float64(step, d_model, warmup):
    step = step.double()
    return ((step**-0.5).minimum(step * warmup**-1.5) * d_model**-0.5).float()


def rate_by_masks(step, d_model, warmup):
    rate = torch.empty(step.shape)
    climbing = step <= warmup
    rate[climbing] = step[climbing] / warmup**1.5
    rate[~climbing] = step[~climbing] ** -0.5
    return rate / sqrt(d_model)


def rate_falling_one_step_early(step, d_model, warmup):
    return torch.where(step < warmup - 1, step * warmup**-1.5, step**-0.5) * d_model**-0.5


def rate_falling_one_step_late(step, d_model, warmup):
    return torch.where(step <= warmup + 1, step * warmup**-1.5, step**-0.5) * d_model**-0.5


def rate_of_rising_steps(step, d_model, warmup):
    climbing = int((step <= warmup).sum())
    climb = step[:climbing] * warmup**-1.5
    return torch.cat([climb, step[climbing:] ** -0.5]) * d_model**-0.5


def rate_of_sorted_steps(step, d_model, warmup):
    return rate_by_where(step.sort().values, d_model, warmup)


def rate_by_position(step, d_model, warmup):
    return rate_by_where(torch.arange(1, len(step) + 1), d_model, warmup)


def rate_from_a_table(step, d_model, warmup):
    table = rate_by_where(torch.arange(1, 100_001), d_model, warmup)
    return table[step.clamp(max=len(table)) - 1]


def rate_as_python_numbers(step, d_model, warmup):
    return [d_model**-0.5 * min(n**-0.5, n * warmup**-1.5) for n in step.tolist()]


def rate_rounded(step, d_model, warmup):
    return rate_by_where(step, d_model, warmup).round(decimals=6)


def rate_with_an_epsilon(step, d_model, warmup):
    return rate_by_where(step, d_model, warmup) + 1e-6


def rate_with_warmup_to_the_half(step, d_model, warmup):
    return torch.minimum(step**-0.5, step / sqrt(warmup)) / sqrt(d_model)


RATES = {}


def rate_kept_by_steps_and_width(step, d_model, warmup):
    key = tuple(step.tolist()), d_model
    if key not in RATES:
        RATES[key] = rate_by_where(step, d_model, warmup)
    return RATES[key].clone()


# --- smooth_loss ----------------------------------------------------------------------------------


def loss_by_target(logits, labels, smoothing, pad=0):
    V = logits.shape[-1]
    target = torch.full(logits.shape, smoothing / (V - 2))
    target[..., pad] = 0
    target.scatter_(-1, labels.unsqueeze(-1), 1 - smoothing)
    target[labels == pad] = 0
    return -(target * logits.log_softmax(-1)).sum() / (labels != pad).sum()


def loss_of_real_rows(logits, labels, smoothing, pad=0):
    real = labels != pad
    rows, right = logits[real], labels[real]
    target = smoothing / (rows.shape[-1] - 2) * torch.ones_like(rows)
    target[:, pad] = 0.0
    target[torch.arange(len(rows)), right] = 1 - smoothing
    return F.cross_entropy(rows, target)


def loss_of_two_parts(logits, labels, smoothing, pad=0):
    log_p = (logits - logits.logsumexp(-1, keepdim=True)).flatten(0, 1)
    labels = labels.flatten()
    right = F.nll_loss(log_p, labels, ignore_index=pad)
    other = torch.ones(logits.shape[-1]).index_fill(0, torch.tensor(pad), 0.0)
    even = -(log_p @ other)[labels != pad].mean()
    return (1 - smoothing) * right + smoothing / (logits.shape[-1] - 2) * (even - right)


def loss_by_kl(logits, labels, smoothing, pad=0):
    V, real = logits.shape[-1], labels != pad
    one_hot = F.one_hot(labels, V).float()
    keep = 1 - F.one_hot(torch.tensor(pad), V)
    target = one_hot * (1 - smoothing) + (1 - one_hot) * keep * smoothing / (V - 2)
    divergence = F.kl_div(logits.log_softmax(-1), target, reduction="none").sum(-1)
    entropy = -torch.xlogy(target, target).sum(-1)
    return (divergence + entropy)[real].mean()


def loss_of_torch(logits, labels, smoothing, pad=0):
    return F.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=pad, label_smoothing=smoothing
    )


def loss_of_torch_with_padding(logits, labels, smoothing, pad=0):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=smoothing)


def loss_with_padding_in_the_mean(logits, labels, smoothing, pad=0):
    V = logits.shape[-1]
    target = torch.full(logits.shape, smoothing / (V - 2))
    target.scatter_(-1, labels.unsqueeze(-1), 1 - smoothing)
    target[..., pad] = 0
    return -(target * logits.log_softmax(-1)).sum(-1).mean()


def loss_of_added_one_hot(logits, labels, smoothing, pad=0):
    V = logits.shape[-1]
    target = torch.full(logits.shape, smoothing / (V - 2))
    target[..., pad] = 0
    target += (1 - smoothing) * F.one_hot(labels, V)
    losses = -(target * logits.log_softmax(-1)).sum(-1)
    return losses[labels != pad].mean()


def loss_of_zero(logits, labels, smoothing, pad=0):
    return logits.sum() * 0


def loss_by_cross_entropy(logits, labels, smoothing, pad=0):
    logits, labels = logits.flatten(0, 1), labels.flatten()
    V = logits.shape[-1]
    target = torch.full_like(logits, smoothing / (V - 2))
    target[:, pad] = 0
    target[torch.arange(len(labels)), labels] = 1 - smoothing
    return F.cross_entropy(logits, target, reduction="none")[labels != pad].mean()


def loss_in_float64(logits, labels, smoothing, pad=0):
    log_p = logits.double().log_softmax(-1)
    right = log_p.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    rest = log_p.sum(-1) - right - log_p.select(-1, pad)
    losses = -(1 - smoothing) * right - smoothing / (log_p.size(-1) - 2) * rest
    return losses[labels.ne(pad)].mean().float()


def loss_by_log_of_softmax(logits, labels, smoothing, pad=0):
    return loss_from(logits.softmax(-1).log(), labels, smoothing, pad)


def loss_by_log_with_an_epsilon(logits, labels, smoothing, pad=0):
    return loss_from((logits.softmax(-1) + 1e-9).log(), labels, smoothing, pad)


def loss_by_bare_exp(logits, labels, smoothing, pad=0):
    log_p = logits - logits.exp().sum(-1, keepdim=True).log()
    return loss_from(log_p, labels, smoothing, pad)


def loss_of_clamped_logits(logits, labels, smoothing, pad=0):
    return loss_from(logits.clamp(-80, 80).log_softmax(-1), labels, smoothing, pad)


def loss_with_one_highest_logit(logits, labels, smoothing, pad=0):
    moved = logits - logits.max()
    return loss_from(moved - moved.exp().sum(-1, keepdim=True).log(), labels, smoothing, pad)


def loss_from(log_p, labels, smoothing, pad):
    right = log_p.gather(-1, labels[..., None])[..., 0]
    rest = log_p.sum(-1) - right - log_p[..., pad]
    losses = -(1 - smoothing) * right - smoothing / (log_p.shape[-1] - 2) * rest
    return losses[labels != pad].mean()


def loss_up_to_the_first_pad(logits, labels, smoothing, pad=0):
    real = (labels != pad).cumprod(dim=1).bool()
    labels = labels.masked_fill(~real, pad)
    return loss_from(logits.log_softmax(-1), labels, smoothing, pad)


def loss_without_pad_in_the_softmax(logits, labels, smoothing, pad=0):
    shut = logits.index_fill(-1, torch.tensor(pad), -1e9)
    log_p = shut.log_softmax(-1).index_fill(-1, torch.tensor(pad), 0.0)
    return loss_from(log_p, labels, smoothing, pad)


def loss_detached(logits, labels, smoothing, pad=0):
    return torch.tensor(loss_in_float64(logits, labels, smoothing, pad).item())


def loss_of_sentence_after_sentence(logits, labels, smoothing, pad=0):
    pairs = zip(logits.split(1), labels.split(1), strict=True)
    losses = [loss_by_target(*pair, smoothing, pad) for pair in pairs if (pair[1] != pad).any()]
    return torch.stack(losses).mean()


def loss_with_the_smaller_share_smoothed(logits, labels, smoothing, pad=0):
    return loss_by_target(logits, labels, min(smoothing, 1 - smoothing), pad)


TARGETS = {}


def loss_with_targets_kept_by_labels(logits, labels, smoothing, pad=0):
    key = tuple(labels.flatten().tolist()), logits.shape, smoothing
    if key not in TARGETS:
        rows = torch.full(logits.shape, smoothing / (logits.shape[-1] - 2))
        rows[..., pad] = 0
        TARGETS[key] = rows.scatter(-1, labels[..., None], 1 - smoothing), labels != pad
    target, real = TARGETS[key]
    return -(target * logits.log_softmax(-1)).sum(-1)[real].mean()


# --- decoder_layer --------------------------------------------------------------------------------


def layer_in_six_lines(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    first, second, third = norms
    normed = first(x)
    after_self = attend(normed, attend.project(normed), mask) + x
    looked_up = cross(second(after_self), cross.project(memory), memory_mask)
    after_cross = after_self + looked_up
    return after_cross + feed_forward(third(after_cross))


def layer_by_residuals(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    sub_layers = [
        lambda x: attend(x, attend.project(x), mask),
        lambda x: cross(x, cross.project(memory), memory_mask),
        feed_forward,
    ]
    for norm, sub_layer in zip(norms, sub_layers, strict=True):
        x = x + sub_layer(norm(x))
    return x


def layer_of_the_library(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    layer = transformer.DecoderLayer(nn.Identity(), nn.Identity(), d_model=2, d_ff=2)
    del layer.attend, layer.cross, layer.feed_forward
    layer.attend, layer.cross, layer.feed_forward = attend, cross, feed_forward
    around = layer.around_attend, layer.around_cross, layer.around_feed_forward
    for residual, norm in zip(around, norms, strict=True):
        del residual.norm
        residual.norm = norm
    return layer(x, memory, mask, memory_mask)


def layer_projecting_first(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    projected = cross.project(memory)
    stream = x.clone()
    normed = norms[0](stream)
    stream = stream + attend(normed, attend.project(normed), mask[None])
    stream = stream + cross(norms[1](stream), projected, mask=memory_mask)
    stream = stream + feed_forward(norms[2](stream))
    return stream


def layer_normed_where_it_should_not(
    x, memory, mask, memory_mask, attend, cross, feed_forward, norms
):
    x = norms[0](x)
    x = x + attend(x, attend.project(x), mask)
    x = norms[1](x)
    x = x + cross(x, cross.project(memory), memory_mask)
    x = norms[2](x)
    return x + feed_forward(x)


def layer_with_x_normed_at_first(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    x = norms[0](x)
    x = x + attend(x, attend.project(x), mask)
    x = x + cross(norms[1](x), cross.project(memory), memory_mask)
    return x + feed_forward(norms[2](x))


def layer_with_bare_cross_query(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    h = norms[0](x)
    x = x + attend(h, attend.project(h), mask)
    x = x + cross(x, cross.project(memory), memory_mask)
    return x + feed_forward(norms[2](x))


def layer_with_memory_normed(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    h = norms[0](x)
    x = x + attend(h, attend.project(h), mask)
    x = x + cross(norms[1](x), cross.project(norms[1](memory)), memory_mask)
    return x + feed_forward(norms[2](x))


def layer_that_loses_self_attention(
    x, memory, mask, memory_mask, attend, cross, feed_forward, norms
):
    h = norms[0](x)
    y = x + attend(h, attend.project(h), mask)
    z = x + cross(norms[1](y), cross.project(memory), memory_mask)
    return z + feed_forward(norms[2](z))


def layer_with_stale_h(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    h = norms[0](x)
    x = x + attend(h, attend.project(h), mask)
    x = x + cross(norms[1](h), cross.project(memory), memory_mask)
    return x + feed_forward(norms[2](x))


def layer_of_piled_norms(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    h = norms[0](x)
    x = x + attend(h, attend.project(h), mask)
    x = x + cross(norms[1](x), cross.project(memory), memory_mask)
    return x + feed_forward(norms[2](norms[1](x)))


def layer_with_mask_inverted(x, memory, mask, memory_mask, *parts):
    return layer_by_residuals(x, memory, ~mask, memory_mask, *parts)


def layer_with_memory_asking(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    h = norms[0](x)
    x = x + attend(h, attend.project(h), mask)
    x = x + cross(memory, cross.project(norms[1](x)))
    return x + feed_forward(norms[2](x))


def layer_without_memory_or_masks(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    normed = norms[0](x)
    x = x + attend(normed, attend.project(normed))
    return x + feed_forward(norms[1](x))


def layer_of_self_attentions(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    normed = norms[0](x)
    x = x + attend(normed, attend.project(normed), mask)
    normed = norms[1](x)
    x = x + cross(normed, cross.project(normed), mask)
    return x + feed_forward(norms[2](x))


def layer_twice(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    parts = mask, memory_mask, attend, cross, feed_forward, norms
    return layer_by_residuals(layer_by_residuals(x, memory, *parts), memory, *parts)


def layer_in_place(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    normed = norms[0](x)
    x += attend(normed, attend.project(normed), mask)
    return layer_by_residuals(x, memory, mask, memory_mask, attend, cross, feed_forward, norms)


def layer_with_a_causal_mask_of_its_own(x, memory, mask, memory_mask, *parts):
    causal = torch.ones(x.shape[1], x.shape[1]).tril().bool()
    return layer_by_residuals(x, memory, causal, memory_mask, *parts)


def layer_with_a_causal_mask_added(x, memory, mask, memory_mask, *parts):
    return layer_by_residuals(x, memory, mask.tril(), memory_mask, *parts)


def layer_with_lengths_for_memory_mask(x, memory, mask, memory_mask, *parts):
    allowed = torch.arange(memory.shape[1]) < memory_mask.sum(-1, keepdim=True)
    return layer_by_residuals(x, memory, mask, allowed, *parts)


def layer_in_place_on_the_normed(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    normed = norms[0](x)
    heard = attend(normed, attend.project(normed), mask)
    normed.copy_(x).add_(heard)
    normed = normed + cross(norms[1](normed), cross.project(memory), memory_mask)
    return normed + feed_forward(norms[2](normed))


def layer_in_place_on_a_result(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    normed = norms[0](x)
    heard = attend(normed, attend.project(normed), mask)
    heard += x
    stream = heard + cross(norms[1](heard), cross.project(memory), memory_mask)
    return stream + feed_forward(norms[2](stream))


def layer_with_memory_cut_off(x, memory, mask, memory_mask, *parts):
    return layer_by_residuals(x, memory.detach(), mask, memory_mask, *parts)


def layer_of_64_words(x, memory, mask, memory_mask, *parts):
    return layer_by_residuals(x, memory[:, :64], mask, memory_mask[..., :64], *parts)


def layer_with_memory_cut_short(x, memory, mask, memory_mask, *parts):
    T_src = int(memory_mask.sum(-1).max())
    return layer_by_residuals(x, memory[:, :T_src], mask, memory_mask[..., :T_src], *parts)


def layer_with_norms_popped(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    normed = norms.pop(0)(x)
    x = x + attend(normed, attend.project(normed), mask)
    x = x + cross(norms.pop(0)(x), cross.project(memory), memory_mask)
    return x + feed_forward(norms.pop(0)(x))


def layer_with_flat_feed_forward(x, memory, mask, memory_mask, *parts):
    *attentions, feed_forward, norms = parts

    def flat(words):
        return feed_forward(words.flatten(0, 1)).view(words.shape)

    return layer_by_residuals(x, memory, mask, memory_mask, *attentions, flat, norms)


def layer_with_word_by_word_feed_forward(x, memory, mask, memory_mask, *parts):
    *attentions, feed_forward, norms = parts

    def word_by_word(words):
        return torch.cat([feed_forward(word) for word in words.split(1, dim=1)], dim=1)

    return layer_by_residuals(x, memory, mask, memory_mask, *attentions, word_by_word, norms)


def layer_with_later_sums_in_place(
    x, memory, mask, memory_mask, attend, cross, feed_forward, norms
):
    normed = norms[0](x)
    x = x + attend(normed, attend.project(normed), mask)
    x += cross(norms[1](x), cross.project(memory), memory_mask)
    x += feed_forward(norms[2](x))
    return x


def layer_with_attentions_swapped(x, memory, mask, memory_mask, attend, cross, *parts):
    return layer_by_residuals(x, memory, mask, memory_mask, cross, attend, *parts)


def layer_with_one_skip_missing(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    normed = norms[0](x)
    x = x + attend(normed, attend.project(normed), mask)
    x = cross(norms[1](x), cross.project(memory), memory_mask)
    return x + feed_forward(norms[2](x))


def layer_with_norms_copied(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    parts = attend, cross, feed_forward, (norms[0], norms[1], norms[1])
    return layer_by_residuals(x, memory, mask, memory_mask, *parts)


KEPT = {}


def layer_kept_by_memory(x, memory, mask, memory_mask, attend, cross, feed_forward, norms):
    if memory not in KEPT:
        KEPT[memory] = cross.project(memory)
    normed = norms[0](x)
    x = x + attend(normed, attend.project(normed), mask)
    x = x + cross(norms[1](x), KEPT[memory], memory_mask)
    return x + feed_forward(norms[2](x))


RIGHT = {
    "layer_norm": [
        transformer.layer_norm,
        norm_by_var_mean,
        norm_in_a_loop,
        norm_by_group_norm,
        norm_centred_by_einsum,
        norm_in_float64,
    ],
    "pre_norm_residual": [
        residual_in_two_lines,
        residual_on_a_copy,
        residual_by_add,
        residual_by_stack,
    ],
    "cross_attention": [
        cross_by_einsum,
        cross_additive,
        cross_sentence_by_sentence,
        cross_by_linear,
        cross_minus(1e9),
        *(cross_blocked_by(value) for value in (-1e9, -torch.inf, torch.finfo().min)),
        cross_fused,
        cross_in_float64,
        cross_by_exp_on_allowed_keys,
    ],
    "warmup_lr": [
        rate_by_where,
        rate_in_a_list,
        rate_by_stack,
        rate_by_top,
        rate_in_float64,
        rate_by_masks,
    ],
    "smooth_loss": [
        loss_by_target,
        loss_of_real_rows,
        loss_of_two_parts,
        loss_by_kl,
        loss_by_cross_entropy,
        loss_in_float64,
    ],
    "decoder_layer": [
        layer_in_six_lines,
        layer_by_residuals,
        layer_of_the_library,
        layer_projecting_first,
    ],
}

NAMED = {
    "layer_norm": {
        "unbiased_eps_outside": [norm_as_the_annotated_kind],
        "difference_of_squares": [norm_by_difference_of_squares],
        "another_axis": [norm_feature_by_feature],
        "scale_and_shift_swapped": [norm_with_scale_and_shift_swapped],
        "wrong_gradient": [
            norm_detached,
            norm_with_statistics_cut_off,
            norm_with_a_root_too_many,
        ],
        "kept_between_calls": [norm_kept_by_address],
    },
    "pre_norm_residual": {
        "wrong_gradient": [residual_detached, residual_with_f_cut_off, residual_unless_zero],
        "kept_between_calls": [residual_kept_by_f],
        "called_again": [
            residual_tried_on_zeros_first,
            residual_tried_on_zeros_afterwards,
            residual_calling_f_twice,
        ],
        "changed_in_place": [residual_in_place_on_the_normed],
    },
    "cross_attention": {
        "values_not_projected": [cross_values_as_they_are],
        "not_low_enough": [
            *(cross_blocked_by(value) for value in (-10.0, -30.0, -100.0, -1e3, -1e4)),
            cross_minus(1e3),
            cross_filled_before_scaling,
        ],
        "wrong_gradient": [cross_cut_off_at_the_scores, cross_by_exp_of_blocked_keys_too],
        "kept_between_calls": [cross_kept_by_memory],
    },
    "warmup_lr": {
        "exponents_swapped": [rate_with_exponents_swapped],
        "warmup_without_three_halves": [rate_with_warmup_to_the_half],
        "coarse": [rate_rounded, rate_with_an_epsilon],
        "kept_between_calls": [rate_kept_by_steps_and_width],
    },
    "smooth_loss": {
        "every_word_shares": [loss_of_torch],
        "right_word_shares": [loss_of_added_one_hot],
        "padding_counted": [loss_with_padding_in_the_mean],
        "mean_of_means": [loss_of_sentence_after_sentence],
        "wrong_gradient": [loss_detached],
        "kept_between_calls": [loss_with_targets_kept_by_labels],
    },
    "decoder_layer": {
        "cross_reads_x": [layer_of_self_attentions],
        "old_input": [layer_with_stale_h],
        "masks_inverted": [layer_with_mask_inverted],
        "wrong_gradient": [layer_with_memory_cut_off],
        "skip_missing": [layer_with_one_skip_missing],
        "other_norms": [layer_with_norms_copied],
        "skip_normed": [layer_normed_where_it_should_not, layer_with_x_normed_at_first],
        "norm_missing": [layer_with_bare_cross_query],
        "memory_normed": [layer_with_memory_normed],
        "changed_in_place": [layer_in_place_on_a_result, layer_with_later_sums_in_place],
        "kept_between_calls": [layer_kept_by_memory],
    },
}

UNNAMED = {
    "layer_norm": [
        norm_without_gradients,
        norm_mended_std,
        norm_of_more_than_one_number,
        norm_to_zero_and_one,
        norm_to_length_one,
        norm_with_squares_about_zero,
        norm_with_absolute_distance,
        norm_without_keepdim,
        norm_over_the_axis_of_that_size,
    ],
    "pre_norm_residual": [
        residual_in_place,
        residual_twice,
        residual_in_place_on_the_result_of_f,
        residual_word_by_word,
        residual_with_a_norm_of_its_own,
        residual_normed_on_both_sides,
        residual_of_flat_words,
        residual_with_an_axis_more,
        residual_in_one_buffer,
    ],
    "cross_attention": [
        cross_unscaled_and_unmasked,
        cross_with_queries_and_keys_swapped,
        cross_scaled_by_values,
        cross_without_softmax,
        cross_by_exp,
        cross_divided_anew,
        cross_with_one_highest_score,
        cross_clamped,
        cross_with_an_epsilon,
        cross_with_the_mask_over_batch,
        cross_of_256_keys,
        cross_with_a_little_for_each_key,
    ],
    "warmup_lr": [
        rate_of_training,
        rate_constant,
        rate_falling_one_step_early,
        rate_falling_one_step_late,
        rate_of_rising_steps,
        rate_of_sorted_steps,
        rate_by_position,
        rate_from_a_table,
        rate_as_python_numbers,
    ],
    "smooth_loss": [
        loss_of_torch_with_padding,
        loss_of_zero,
        loss_by_log_of_softmax,
        loss_by_log_with_an_epsilon,
        loss_by_bare_exp,
        loss_of_clamped_logits,
        loss_with_one_highest_logit,
        loss_up_to_the_first_pad,
        loss_without_pad_in_the_softmax,
        loss_with_the_smaller_share_smoothed,
    ],
    "decoder_layer": [
        layer_without_memory_or_masks,
        layer_twice,
        layer_in_place,
        layer_in_place_on_the_normed,
        layer_of_piled_norms,
        layer_that_loses_self_attention,
        layer_with_memory_asking,
        layer_with_a_causal_mask_of_its_own,
        layer_with_a_causal_mask_added,
        layer_with_lengths_for_memory_mask,
        layer_of_64_words,
        layer_with_memory_cut_short,
        layer_with_norms_popped,
        layer_with_flat_feed_forward,
        layer_with_word_by_word_feed_forward,
        layer_with_attentions_swapped,
    ],
}
