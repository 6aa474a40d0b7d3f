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
    stream = stream + cross(norms[1](stream), projected, memory_mask)
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


RIGHT = {
    "layer_norm": [
        transformer.layer_norm,
        norm_by_var_mean,
        norm_in_a_loop,
        norm_mended_std,
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
    ],
    "warmup_lr": [rate_by_where, rate_in_a_list, rate_by_stack, rate_by_top],
    "smooth_loss": [loss_by_target, loss_of_real_rows, loss_of_two_parts, loss_by_kl],
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
        "mean_of_squares": [norm_with_squares_about_zero],
        "mean_distance": [norm_with_absolute_distance],
        "wrong_gradient": [norm_detached],
    },
    "pre_norm_residual": {"wrong_gradient": [residual_detached]},
    "cross_attention": {
        "values_not_projected": [cross_values_as_they_are],
        "scaled_by_d_v": [cross_scaled_by_values],
        "no_softmax": [cross_without_softmax],
        "underflow": [cross_by_exp, cross_divided_anew],
        "not_low_enough": [
            *(cross_blocked_by(value) for value in (-10.0, -20.0, -100.0, -1e3)),
            cross_minus(1e3),
        ],
    },
    "warmup_lr": {"exponents_swapped": [rate_with_exponents_swapped]},
    "smooth_loss": {
        "every_word_shares": [loss_of_torch],
        "right_word_shares": [loss_of_added_one_hot],
        "padding_counted": [loss_with_padding_in_the_mean],
    },
    "decoder_layer": {
        "skip_normed": [layer_normed_where_it_should_not],
        "looks_at_itself": [layer_of_self_attentions],
        "answer_lost": [layer_that_loses_self_attention],
        "old_input": [layer_with_stale_h],
        "normed_twice": [layer_of_piled_norms],
        "masks_inverted": [layer_with_mask_inverted],
        "memory_asks": [layer_with_memory_asking],
    },
}

UNNAMED = {
    "layer_norm": [norm_to_zero_and_one, norm_to_length_one],
    "pre_norm_residual": [residual_in_place, residual_twice],
    "cross_attention": [cross_unscaled_and_unmasked, cross_with_queries_and_keys_swapped],
    "warmup_lr": [rate_of_training, rate_constant],
    "smooth_loss": [loss_of_torch_with_padding, loss_of_zero],
    "decoder_layer": [layer_without_memory_or_masks, layer_twice, layer_in_place],
}
