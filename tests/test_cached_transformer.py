"""The key–value cache: the same output as without it, in every respect."""

import pytest
import torch

from lessons_lib.decoding import beam_decode, greedy_decode
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.tasks import number_words
from lessons_lib.kit.vocabulary import BOS, EOS
from lessons_lib.transformer import (
    Cache,
    CachedTransformer,
    PostNorm,
    PreNorm,
    Transformer,
    read_next,
)

N_SRC, N_TGT = 13, 11
SIZES = {"d_model": 24, "n_heads": 3, "d_ff": 20, "n_layers": 3}
SRC = torch.tensor([[5, 6, 7, 8, EOS], [9, EOS, 0, 0, 0], [4, 12, EOS, 0, 0]])  # (B, T_src)


@pytest.fixture(params=[PreNorm, PostNorm])
def pair(request):
    """A Transformer, and one with a cache and the same weights."""
    seed_everything(0)
    plain = Transformer(N_SRC, N_TGT, **SIZES, residual=request.param).eval()
    cached = CachedTransformer(N_SRC, N_TGT, **SIZES, residual=request.param).eval()
    cached.load_state_dict(plain.state_dict())
    return plain, cached


def write(model, src, words):
    """The logits of every step while `words` (B, T) are read in: (B, T, V)."""
    state, logits = model.start(src), []
    for token in words.unbind(dim=1):
        step, state = model.step(state, token)
        logits.append(step)
    return torch.stack(logits, dim=1)


def test_step_by_step_equals_the_plain_steps_and_all_at_once(pair):
    plain, cached = pair
    words = torch.randint(1, N_TGT, (3, 9))
    with torch.no_grad():
        steps = write(cached, SRC, words)
        assert torch.allclose(steps, write(plain, SRC, words), atol=1e-5)
        assert torch.allclose(steps, plain(SRC, words), atol=1e-5)


def test_greedy_and_beam_write_the_same_words(pair):
    assert torch.equal(*(greedy_decode(model, SRC, max_steps=15) for model in pair))
    for width in (1, 2, 5, 20):  # 20: more beams than words in the vocabulary
        assert torch.equal(*(beam_decode(m, SRC, width=width, max_steps=15) for m in pair))


def test_the_same_words_on_a_thousand_sentences():
    task = number_words(n_train=10, n_test=1000)
    sizes = len(task.src_vocab), len(task.tgt_vocab)
    seed_everything(0)
    plain = Transformer(*sizes, d_model=16, d_ff=16).eval()
    cached = CachedTransformer(*sizes, d_model=16, d_ff=16).eval()
    cached.load_state_dict(plain.state_dict())
    src = task.test[0]
    greedy = greedy_decode(plain, src, max_steps=12)
    assert torch.equal(greedy, greedy_decode(cached, src, max_steps=12))
    one = beam_decode(cached, src, width=1, max_steps=12)
    assert torch.equal(one, greedy[:, : one.shape[1]])


def test_a_batch_of_one(pair):
    assert torch.equal(*(beam_decode(model, SRC[:1], width=3, max_steps=8) for model in pair))


def test_the_state_is_a_tuple_of_batch_first_tensors_that_can_be_reordered(pair):
    _, cached = pair
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        _, state = cached.step(cached.start(SRC), torch.tensor([BOS, 4, 5]))
        assert isinstance(state, tuple) and all(len(x) == 3 for x in state)
        assert state[0].tolist() == [[BOS], [4], [5]], "the words read"
        logits, _ = cached.step(state, torch.tensor([6, 7, 8]))
        mixed, _ = cached.step(tuple(x[order] for x in state), torch.tensor([6, 7, 8])[order])
    assert torch.allclose(mixed, logits[order], atol=1e-6)


@pytest.mark.parametrize("n_read", [0, 3, 16])  # 16: all room is taken
def test_several_sentences_may_go_on_from_one_state(pair, n_read):
    """Room is shared between states, and still no step changes what another state gives."""
    plain, cached = pair
    words = torch.randint(1, N_TGT, (3, n_read + 2))
    with torch.no_grad():
        state = cached.start(SRC)
        for token in words[:, :n_read].unbind(dim=1):
            _, state = cached.step(state, token)
        branches = []
        for first in (words[:, n_read], torch.tensor([4, 5, 6]), torch.tensor([7, 8, 9])):
            logits, branch = cached.step(state, first)
            branches.append((first, logits, branch))
        for first, logits, branch in branches:
            read = torch.cat([words[:, :n_read], first[:, None], words[:, -1:]], dim=1)
            expected = plain(SRC, read)  # (B, n_read + 2, V)
            assert torch.allclose(logits, expected[:, -2], atol=1e-5)
            again, _ = cached.step(branch, words[:, -1])
            assert torch.allclose(again, expected[:, -1], atol=1e-5)


def test_rows_of_a_state_go_on_by_themselves(pair):
    """A slice of a state shares its room, too."""
    plain, cached = pair
    words = torch.randint(1, N_TGT, (3, 5))
    with torch.no_grad():
        state = cached.start(SRC)
        for token in words[:, :3].unbind(dim=1):
            _, state = cached.step(state, token)
        row = tuple(x[1:2] for x in state)
        _, row = cached.step(row, torch.tensor([7]))
        for token in words[:, 3:].unbind(dim=1):
            logits, state = cached.step(state, token)
        assert torch.allclose(logits, plain(SRC, words)[:, -1], atol=1e-5)
        read = torch.cat([words[1:2, :3], torch.tensor([[7, 8]])], dim=1)
        logits, _ = cached.step(row, torch.tensor([8]))
        assert torch.allclose(logits, plain(SRC[1:2], read)[:, -1], atol=1e-5)


def test_most_steps_copy_nothing(pair):
    _, cached = pair
    with torch.no_grad():
        state, homes = cached.start(SRC), set()
        for _ in range(60):
            _, state = cached.step(state, torch.tensor([BOS, 4, 5]))
            homes.add(state[-1].data_ptr())
    assert state[-1].shape[2] == 64 and len(homes) <= 4  # room for 16, 32, 48 and 64


def empty(B=2):
    return [torch.zeros(B, 0, 1, dtype=torch.bool)]


@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_a_cache_is_a_cat(n):
    """Several words at once, several layers, kept tensors of several shapes."""
    keys, values, latents = (
        torch.randn(2, 3, 40, 5),
        torch.randn(2, 3, 40, 7),
        torch.randn(2, 40, 4),
    )
    past = empty()
    for T in range(0, 40, n):
        cache = Cache(past, T, n)
        here = slice(T, T + n)
        key, value = cache.extend([keys[:, :, here], values[:, :, here]])  # a first layer
        (latent,) = cache.extend([latents[:, here]])  # a second one
        past = cache.kept
        assert torch.equal(key, keys[:, :, : T + n])
        assert torch.equal(value, values[:, :, : T + n])
        assert torch.equal(latent, latents[:, : T + n])


def test_two_caches_may_go_on_from_one_past():
    first = Cache(empty(), 0, 3)
    first.extend([torch.ones(2, 3, 4)])
    one, two = (Cache(first.kept, 3) for _ in range(2))
    (a,), (b,) = (cache.extend([torch.full((2, 1, 4), x)]) for cache, x in ((one, 5.0), (two, 7.0)))
    assert a[:, 3].eq(5).all() and b[:, 3].eq(7).all()
    assert a[:, :3].eq(1).all() and b[:, :3].eq(1).all()
    (c,) = Cache(one.kept, 4).extend([torch.full((2, 1, 4), 6.0)])
    assert c[0, :, 0].tolist() == [1, 1, 1, 5, 6]


def test_the_kept_keys_are_those_of_all_positions_at_once(pair):
    plain, cached = pair
    words = torch.randint(1, N_TGT, (3, 6))
    layer = plain.decoder.layers[0]
    with torch.no_grad():
        state = cached.start(SRC)
        for token in words.unbind(dim=1):
            _, state = cached.step(state, token)
        x = plain.decoder.embed(words)
        if isinstance(layer.around_attend, PreNorm):
            x = layer.around_attend.norm(x)
        taken, *kept = state[2 + 2 * len(plain.decoder.layers) :]
        assert taken.sum(dim=1).tolist() == [[6]] * 3
        for room, whole in zip(kept[:2], layer.attend.project(x), strict=True):
            assert torch.allclose(room[:, :, :6], whole, atol=1e-6)


def test_read_next_computes_one_position_from_what_is_kept(pair):
    plain, _ = pair
    layer, memory_mask = plain.decoder.layers[1], (SRC != 0)[:, None]
    x, memory = torch.randn(3, 5, 24), torch.randn(3, 5, 24)
    projected = layer.cross.project(memory)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    with torch.no_grad():
        whole = layer(x, memory, mask, memory_mask)
        past = empty(3)
        for t in range(5):
            cache = Cache(past, t)
            out = read_next(layer, x[:, t : t + 1], cache, projected, memory_mask)
            past = cache.kept
            assert torch.allclose(out[:, 0], whole[:, t], atol=1e-5)


def test_positions_and_projections_are_computed_once(pair):
    _, cached = pair
    read, projected = [], []
    layer = cached.decoder.layers[0]
    cached.decoder.embed.register_forward_hook(lambda _, __, x: read.append(x.shape[1]))
    layer.cross.w_k.register_forward_hook(lambda *_: projected.append(1))
    with torch.no_grad():
        write(cached, SRC, torch.randint(1, N_TGT, (3, 7)))
    assert read == [1] * 7, "one position a step"
    assert projected == [1], "the memory is projected once a sentence"


def test_the_table_of_places_ends_at_max_len():
    seed_everything(0)
    model = CachedTransformer(N_SRC, N_TGT, max_len=5).eval()
    model.decoder.to_logits.bias.data[EOS] = -1e9  # it never stops by itself
    assert greedy_decode(model, SRC, max_steps=5).shape == (3, 5)
    with pytest.raises(ValueError, match="the length of a sentence must be at most 5, got 6"):
        greedy_decode(model, SRC, max_steps=6)


@pytest.mark.parametrize("decode", [greedy_decode, beam_decode])
def test_an_empty_source_is_named(pair, decode):
    for model in pair:
        with pytest.raises(ValueError, match="no empty axis"):
            decode(model, torch.zeros(2, 0, dtype=torch.long))


def test_a_word_outside_the_vocabulary_is_named(pair):
    _, cached = pair
    with torch.no_grad(), pytest.raises(ValueError, match=f"from 0 to {N_TGT - 1}, got {N_TGT}"):
        cached.step(cached.start(SRC), torch.tensor([1, N_TGT, 2]))
