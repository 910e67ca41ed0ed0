"""Attention, dropout and a product in forms that are quick on CPUs: that they are what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apoptosis import layers
from apoptosis.transformer import Architecture, Transformer

KEY = jax.random.key(0)


def dropped(rate, key, shape=(300, 65)):
    h = layers.Dropout(rate).apply({}, jnp.ones(shape), True, rngs={"dropout": key})
    return np.asarray(h)


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
@pytest.mark.parametrize("length", [5, 64, 150])  # less than a portion, one, more than two
def test_causal_attention_is_that_of_the_library(length, compute):
    shape = 2, length, 3, 8
    three = [jax.random.normal(key, shape).astype(compute) for key in jax.random.split(KEY, 3)]
    slope = jax.random.normal(jax.random.key(1), shape).astype(compute)

    def both(attention):
        value, back = jax.vjp(attention, *three)
        return [np.asarray(own, np.float32) for own in (value, *back(slope))]

    library = lambda *own: jax.nn.dot_product_attention(*own, is_causal=True, implementation="xla")
    error = {"float32": 2e-5, "bfloat16": 0.06}[compute]
    for own, other in zip(*map(both, (layers.causal, library)), strict=True):
        np.testing.assert_allclose(own, other, atol=error)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(rate):
    h = dropped(rate, KEY)
    error = 4 * (rate * (1 - rate) / h.size) ** 0.5
    assert np.mean(h == 0) == pytest.approx(rate, abs=error)
    np.testing.assert_allclose(h[h != 0], 1 / (1 - rate), rtol=1e-3)
    # Both halves of a word, down to each column.
    error = 5 * (rate * (1 - rate) / len(h)) ** 0.5
    np.testing.assert_allclose(np.mean(h == 0, 0), rate, atol=error)


def test_the_draws_of_a_word_and_of_keys_are_independent():
    h = dropped(0.5, KEY, (400, 64)) == 0
    halves = np.mean(h[:, :32] == h[:, 32:])
    assert halves == pytest.approx(0.5, abs=4 * 0.5 / (400 * 32) ** 0.5)
    keys = jax.random.split(KEY, 3)
    members = jax.vmap(
        lambda key: layers.Dropout(0.5).apply({}, jnp.ones((400, 64)), True, rngs={"dropout": key})
    )(keys)
    for i, key in enumerate(keys):
        np.testing.assert_array_equal(members[i], dropped(0.5, key, (400, 64)))
        same = np.mean((members[i] == 0) == (members[i - 1] == 0))
        assert same == pytest.approx(0.5, abs=4 * 0.5 / (400 * 64) ** 0.5)


def test_each_dropout_of_the_transformer_has_a_mask_of_its_own():
    shape = Architecture(width=32, heads=2, layers=2, ffn=32, context=16, dropout=0.5)
    model = Transformer(5, shape)
    tokens = jnp.zeros((4, 16), jnp.int32)
    caught = lambda module, _: isinstance(module, layers.Dropout)

    def masks(key):
        variables = model.init({"params": KEY}, tokens)
        _, seen = model.apply(
            variables,
            tokens,
            True,
            rngs={"dropout": key},
            capture_intermediates=caught,
            mutable=["intermediates"],
        )
        return [leaf == 0 for leaf in jax.tree.leaves(seen) if leaf.shape == (64, 32)]

    found = np.asarray(
        jax.jit(jax.vmap(lambda key: jnp.stack(masks(key))))(jax.random.split(KEY, 2))
    )
    found = found.reshape(-1, 64 * 32)
    assert len(np.unique(found, axis=0)) == len(found)


def test_rates_at_the_ends_of_their_range():
    h = jnp.arange(6.0).reshape(2, 3)
    for rate, training in ((0.0, True), (0.7, False)):
        np.testing.assert_array_equal(layers.Dropout(rate).apply({}, h, training), h)
    assert np.isfinite(dropped(1 - 1e-9, KEY)).all()


def test_the_narrowing_product_and_its_gradients_are_those_of_the_plain_one():
    rows, kernel = (jax.random.normal(KEY, shape) for shape in ((7, 6), (6, 2)))
    plain = lambda rows, kernel: rows @ kernel
    narrow = lambda rows, kernel: layers.narrowing(rows, kernel, None, precision=None)
    for own, other in zip(
        *(
            [*jax.vjp(f, rows, kernel)[1](jnp.ones((7, 2))), f(rows, kernel)]
            for f in (narrow, plain)
        ),
        strict=True,
    ):
        np.testing.assert_allclose(own, other, rtol=1e-5)
