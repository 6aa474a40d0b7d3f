"""Checks of arguments: each names the argument, what was given and what was expected."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import torch


def check_shape(name: str, tensor: torch.Tensor, shape: Sequence[int | str]) -> None:
    """Raise unless `tensor` has the given shape, such as `("B", "T", 64)`.

    A word stands for any size of at least one; a number must match.

    Raises:
        TypeError: if `tensor` is not a tensor.
        ValueError: if its number of axes or one of its sizes differs, or if an axis is empty.
    """
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
    fits = len(tensor.shape) == len(shape)
    for size, wanted in zip(tensor.shape, shape, strict=False):
        if size == 0 or (size != wanted and not isinstance(wanted, str)):
            fits = False
    if not fits:
        wanted = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise ValueError(
            f"{name} must have shape ({wanted}) with no empty axis, got {tuple(tensor.shape)}"
        )


def check_vectors(name: str, tensor: torch.Tensor) -> None:
    """Raise unless `tensor` holds floating-point vectors in rows: (…, T, d), no axis empty.

    Raises:
        TypeError: if `tensor` is not a tensor of floating-point numbers.
        ValueError: if it has fewer than two axes, or an empty one.
    """
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
        given = tensor.dtype if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise TypeError(f"{name} must hold floating-point numbers, got {given}")
    if tensor.dim() < 2 or 0 in tensor.shape:
        shape = tuple(tensor.shape)
        raise ValueError(f"{name} must have shape (…, T, d) with no empty axis, got {shape}")


def check_ids(name: str, ids: torch.Tensor, shape: Sequence[int | str], n_words: int) -> None:
    """Raise unless `ids` are whole numbers of the given shape, each in 0 … n_words − 1.

    Whether they lie in the vocabulary is looked at on the CPU only: a GPU would have to be waited
    for.

    Raises:
        TypeError: if `ids` is not a tensor of integers.
        ValueError: if the shape differs or an id lies outside the vocabulary.
    """
    check_shape(name, ids, shape)
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{name} must hold word ids (torch.int64), got {ids.dtype}")
    if not ids.is_cpu:
        return
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= n_words:
        wrong = low if low < 0 else high
        raise ValueError(f"{name} must hold ids from 0 to {n_words - 1}, got {wrong}")


def check_positive(name: str, value: int) -> None:
    """Raise ValueError unless `value` is a whole number of at least one."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")


def check_divisible(name: str, value: int, by: int) -> None:
    """Raise ValueError unless `value` is a positive multiple of `by`."""
    check_positive(name, value)
    if value % by:
        raise ValueError(f"{name} must be divisible by {by}, got {value}")


def check_at_most(name: str, value: int, most: int) -> None:
    """Raise ValueError if `value` is more than `most`."""
    if value > most:
        raise ValueError(f"{name} must be at most {most}, got {value}")


def check_lengths(name: str, lengths: torch.Tensor, longest: int) -> None:
    """Raise unless `lengths` are whole numbers (B,), each in 0 … `longest`.

    How large they are is looked at on the CPU only: a GPU would have to be waited for.

    Raises:
        TypeError: if `lengths` is not a tensor of integers.
        ValueError: if it has another shape, or a length lies outside.
    """
    check_shape(name, lengths, ("B",))
    if lengths.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{name} must be whole numbers (torch.int64), got {lengths.dtype}")
    if not lengths.is_cpu:
        return
    low, high = int(lengths.min()), int(lengths.max())
    if low < 0 or high > longest:
        wrong = low if low < 0 else high
        raise ValueError(f"{name} must lie in 0 … {longest}, got {wrong}")


def check_mask(name: str, mask: torch.Tensor, shape: Sequence[int]) -> None:
    """Raise unless `mask` is boolean and broadcasts to `shape`, the shape of the scores.

    Raises:
        TypeError: if `mask` is not a tensor of booleans (True = may attend).
        ValueError: if it does not broadcast.
    """
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
        given = mask.dtype if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise TypeError(f"{name} must be boolean (True = may attend), got {given}")
    sizes = zip(reversed(mask.shape), reversed(shape), strict=False)
    if mask.dim() > len(shape) or any(size not in (1, wanted) for size, wanted in sizes):
        raise ValueError(
            f"{name} must broadcast to the scores {tuple(shape)}, got {tuple(mask.shape)}"
        )


def check_broadcast(name: str, first: torch.Tensor, second: torch.Tensor) -> None:
    """Raise unless both are boolean and broadcast to one shape.

    Raises:
        TypeError: if one is not a tensor of booleans.
        ValueError: if their shapes don't fit together.
    """
    for mask in (first, second):
        check_mask(name, mask, getattr(mask, "shape", ()))
    try:
        torch.broadcast_shapes(first.shape, second.shape)
    except RuntimeError:
        raise ValueError(
            f"{name} must broadcast to one shape, got {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        ) from None


def check_projected(
    query: torch.Tensor,
    d_query: int,
    projected: Sequence[torch.Tensor],
    mask: torch.Tensor | None = None,
    n_heads: int | None = None,
) -> None:
    """Raise unless query (B, T_q, d_query), projected (key, value) and mask fit together.

    `projected` is what `project` returns: key (B, T_k, d_k) and value (B, T_k, d_v), with an axis
    of `n_heads` after B where there are heads. The mask broadcasts to (B, T_q, T_k).

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: naming the argument, its shape and the shape expected.
    """
    check_shape("query", query, ("B", "T_q", d_query))
    if not isinstance(projected, (tuple, list)) or len(projected) != 2:
        raise TypeError(
            f"projected must be the pair that `project` returns, got {type(projected).__name__}"
        )
    key, value = projected
    batch = (len(query),) if n_heads is None else (len(query), n_heads)
    check_shape("key", key, (*batch, "T_k", "d_k"))
    check_shape("value", value, (*batch, key.shape[-2], "d_v"))
    check_layer_mask("mask", mask, query, key)


def check_layer_mask(name: str, mask, query: torch.Tensor, key: torch.Tensor) -> None:
    """Raise unless the mask of a layer, or None, fits query (B, …, T_q, d) and key (B, …, T_k, d).

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if it is none of (T_q, T_k), (B, 1, T_k) and (B, T_q, T_k).
    """
    if mask is None:
        return
    check_mask(name, mask, (len(query), query.shape[-2], key.shape[-2]))
    if mask.dim() < 2:
        raise ValueError(
            f"{name} must be (T_q, T_k), (B, 1, T_k) or (B, T_q, T_k), got {tuple(mask.shape)}"
        )


def check_not_negative(name: str, value: int) -> None:
    """Raise ValueError unless `value` is a whole number of at least zero."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} must be a whole number of at least 0, got {value!r}")


def check_text(name: str, text: str) -> None:
    """Raise unless `text` is a string that can be written in UTF-8.

    Raises:
        TypeError: if it is no string.
        ValueError: if it holds half a character (a lone surrogate).
    """
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise ValueError(
            f"{name} must hold whole characters, got {half!r} at place {error.start}"
        ) from None


def check_some_pair(name: str, text: str, pairs: Collection) -> None:
    """Raise ValueError unless some pair of neighbours was found in `text`."""
    if not pairs:
        raise ValueError(f"{name} must hold a word of at least two bytes, got {text[:20]!r}")


def check_merges(name: str, merges: Mapping[tuple[int, int], int], first: int = 256) -> None:
    """Raise unless `merges` maps pairs of ids to new ones: first, first + 1, … in their order.

    Raises:
        TypeError: if it is no mapping from pairs of whole numbers.
        ValueError: if a new id is out of order, or a pair holds an id that is made later.
    """
    if not isinstance(merges, Mapping):
        raise TypeError(f"{name} must be a dict {{(id, id): new id}}, got {type(merges).__name__}")
    for new, (pair, given) in enumerate(merges.items(), start=first):
        is_pair = isinstance(pair, tuple) and len(pair) == 2
        if not is_pair or not all(type(i) is int for i in pair):
            raise TypeError(f"{name} must map pairs of ids, (id, id), got {pair!r}")
        if given != new:
            raise ValueError(
                f"{name} must number its new ids {first}, {first + 1}, … in order: "
                f"expected {pair} → {new}, got {given!r}"
            )
        if not all(0 <= i < new for i in pair):
            raise ValueError(f"{name} makes {new} from {pair}: ids must lie in 0 … {new - 1}")


def check_token_ids(name: str, ids: Iterable[int], n_tokens: int) -> None:
    """Raise unless all `ids` are whole numbers in 0 … n_tokens − 1.

    Raises:
        TypeError: if one is no whole number.
        ValueError: if one lies outside the vocabulary.
    """
    for i in ids:
        if not isinstance(i, int) or isinstance(i, bool):
            raise TypeError(f"{name} must hold whole numbers, got {type(i).__name__}")
        if not 0 <= i < n_tokens:
            raise ValueError(f"{name} must lie in 0 … {n_tokens - 1}, got {i}")
