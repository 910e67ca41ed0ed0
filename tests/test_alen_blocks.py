"""Blocks: the cache is teacher forcing, the future and padding are not seen, counts are exact."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alen import blocks

SHAPE = blocks.Shape(width=8, heads=3, channels=2, ffn=12, layers=2)
DECODER = blocks.Stack(SHAPE, causal=True, cross=True)
ENCODER = blocks.Stack(SHAPE)
DRAW = np.random.default_rng(0).normal
H, CONTEXT = jnp.asarray(DRAW(size=(3, 5, 8))), jnp.asarray(DRAW(size=(3, 4, 8)))
THERE = jnp.asarray([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 1, 0]], bool)  # of the context


def drawn(stack, *args):
    shapes = jax.eval_shape(lambda: stack.init(jax.random.key(0), *args))
    draw = np.random.default_rng(1).normal
    return jax.tree.map(lambda leaf: jnp.asarray(0.5 * draw(size=leaf.shape)), shapes)


@pytest.fixture(scope="module")
def decode():
    weights = drawn(DECODER, H, None, CONTEXT)
    whole = jax.jit(lambda h, context: DECODER.apply(weights, h, None, context, THERE))
    return weights, whole


@pytest.fixture(scope="module")
def encode():
    weights = drawn(ENCODER, H)
    return jax.jit(lambda h, mask: ENCODER.apply(weights, h, mask))


def test_token_by_token_is_the_same_as_all_at_once(decode):
    weights, whole = decode
    apply = lambda *args, method: DECODER.apply(weights, *args, method=method)
    extend = jax.jit(lambda h, cache: apply(h, cache, method="extend"))
    cache = apply(3, 7, CONTEXT, THERE, method="start")  # longer than needed
    outputs = []
    for t in range(5):
        h, cache = extend(H[:, t : t + 1], cache)
        outputs.append(h)
    assert int(cache.index) == 5
    np.testing.assert_allclose(jnp.concatenate(outputs, 1), whole(H, CONTEXT), atol=1e-5)


def test_the_future_is_not_seen_and_all_of_the_past_is(decode):
    _, whole = decode
    slopes = jax.jit(jax.jacrev(lambda h: whole(h, CONTEXT)[0, :, 0]))(H)  # [T, B, S, D]
    reached = np.asarray(jnp.abs(slopes).sum(-1)) > 0
    np.testing.assert_array_equal(reached[:, 0], np.tri(5, dtype=bool))
    assert not reached[:, 1:].any()  # nor are neighbours in the batch


def test_a_context_is_seen_where_it_is_there(decode):
    _, whole = decode
    slopes = jax.jit(jax.grad(lambda context: whole(H, context)[..., 0].sum()))(CONTEXT)
    np.testing.assert_array_equal(jnp.abs(slopes).sum(-1) > 0, THERE)


def test_padding_does_not_matter_wherever_it_is(encode):
    mask = jnp.asarray([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 1]], bool)
    other = jnp.where(mask[..., None], H, 7.0)
    first, second = encode(H, mask), encode(other, mask)
    np.testing.assert_allclose(first[mask], second[mask], atol=1e-6)
    np.testing.assert_allclose(encode(H[1:2, :2], None)[0], first[1, :2], atol=1e-5)
    assert not np.allclose(encode(other, jnp.ones_like(mask))[1, :2], first[1, :2], atol=1e-3)


@pytest.mark.parametrize(("stack", "args"), [(ENCODER, (H,)), (DECODER, (H, None, CONTEXT))])
def test_parameters_are_counted(stack, args):
    leaves = jax.tree.leaves(drawn(stack, *args))
    assert sum(leaf.size for leaf in leaves) == SHAPE.count(stack.cross)


def test_rounds_apply_the_same_blocks_again():
    weights = drawn(ENCODER, H)
    twice = blocks.Stack(SHAPE, rounds=2).apply(weights, H)
    longer = blocks.Stack(dataclasses.replace(SHAPE, layers=4))
    params = dict(weights["params"])
    params |= {"block_2": params["block_0"], "block_3": params["block_1"]}
    np.testing.assert_allclose(twice, longer.apply({"params": params}, H), atol=1e-6)


def test_small_tables_have_no_scatter_in_their_gradient_and_large_ones_give_the_same():
    small = blocks.Table(blocks.SMALL_VOCABULARY, 4, jnp.float32)
    large = blocks.Table(blocks.SMALL_VOCABULARY + 1, 4, jnp.float32)
    rows = jnp.asarray(DRAW(size=(blocks.SMALL_VOCABULARY + 1, 4)), jnp.float32)
    numbers = jnp.asarray([[3, 1023, 3]])
    read = lambda table, rows: table.apply({"params": {"embedding": rows}}, numbers)
    np.testing.assert_array_equal(read(small, rows[:-1]), read(large, rows))
    program = lambda table, rows: str(
        jax.make_jaxpr(jax.grad(lambda r: read(table, r).sum()))(rows)
    )
    assert "scatter" not in program(small, rows[:-1])
    assert "scatter" in program(large, rows)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="heads must be at least 1, got 0"):
        blocks.Shape(8, 0, 2, 12, 2)
    with pytest.raises(ValueError, match="compute must be one of float32, bfloat16, got 'half'"):
        drawn(blocks.Stack(SHAPE, "half"), H)
    with pytest.raises(ValueError, match="needs a context"):
        drawn(DECODER, H)
    with pytest.raises(ValueError, match="takes no context"):
        drawn(ENCODER, H, None, CONTEXT)
    cache = blocks.Cache(jnp.int32(0), (), (), None)
    again = blocks.Stack(SHAPE, causal=True, rounds=2)
    with pytest.raises(ValueError, match="only a causal stack of one round"):
        again.apply(drawn(again, H), H[:, :1], None, method="extend")
    with pytest.raises(ValueError, match="only a causal stack"):
        ENCODER.apply(drawn(ENCODER, H), H[:, :1], cache, method="extend")
