"""The smallest organism that has everything, compiled once for all tests of a session."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from alen import losses, presets, tokeniser
from alen import model as organism

SHAPE = presets.Architecture(
    dimension=8,
    operators=3,
    hidden=6,
    layers=2,
    heads=2,
    channels=3,
    ffn=8,
    vocabulary=12,
    question=5,
    answer=4,
    slots=2,
    steps=2,
    memory=True,
)
MODEL = organism.Alen(SHAPE)


@functools.cache
def params():
    """Of `MODEL`, away from the start, where some are zero and answers are all alike."""
    shapes = jax.eval_shape(lambda key: organism.initial(key, MODEL), jax.random.key(0))
    draw = np.random.default_rng(6).normal  # some answers end early

    def leaf(path, shape):
        centre = float(path[-1].key == "scale")
        return (centre + 0.6 * draw(size=shape.shape)).astype(np.float32)

    return jax.tree.map_with_path(leaf, shapes)


def questions(count):
    """`[count, 5]`, of one to five symbols."""
    source = np.random.default_rng(2)
    tokens = source.integers(tokeniser.SEP + 1, SHAPE.vocabulary, (count, SHAPE.question))
    lengths = source.integers(1, SHAPE.question + 1, (count, 1))
    return jnp.asarray(np.where(np.arange(SHAPE.question) < lengths, tokens, tokeniser.PAD))


def sums():
    """A batch of a + b mod 3 as symbols of `MODEL`: all nine."""
    a, b = (x.ravel() for x in np.meshgrid(np.arange(3), np.arange(3)))
    first, pad = tokeniser.SEP + 1, np.full((9, 2), tokeniser.PAD)
    asked = np.stack([a + first, np.full(9, first + 5), b + first], 1)
    told = np.stack([(a + b) % 3 + first, np.full(9, tokeniser.EOS)], 1)
    both = (np.concatenate([part, pad], 1) for part in (asked, told))
    return losses.Batch(*(jnp.asarray(part, jnp.int32) for part in both))
