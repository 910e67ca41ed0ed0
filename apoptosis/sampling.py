"""Text out of a transformer, a symbol at a time."""

import jax
import jax.numpy as jnp

from apoptosis import transformer


def sample(
    key: jax.Array,
    model: transformer.Transformer,
    params,
    prompt: jax.Array,
    length: int,
    temperature: jax.Array | float,
) -> jax.Array:
    """`length` tokens that go on from the tokens `prompt [P]`, 1 ≤ P.

    Each is drawn from the softmax of the logits divided by `temperature` (traced; at 0 it is the
    likeliest), given at most the last `context` tokens. Positions count from the first token in
    view, so once the view is full it moves by one token a step and is computed anew.
    """
    context = model.architecture.context
    if not prompt.shape[0]:
        raise ValueError("prompt must have at least 1 token, got 0")
    seen = prompt[-context:]
    view = jnp.zeros(context, jnp.int32).at[: seen.shape[0]].set(seen)

    def step(carry, key):
        view, filled = carry
        logits = model.apply({"params": params}, view[None])[0, filled - 1]
        scaled = logits / jnp.where(temperature > 0, temperature, 1.0)
        drawn = jax.random.categorical(key, scaled)
        token = jnp.where(temperature > 0, drawn, logits.argmax()).astype(jnp.int32)
        full = filled == context
        moved = jnp.where(full, jnp.roll(view, -1), view)
        last = jnp.where(full, context - 1, filled)
        return (moved.at[last].set(token), last + 1), token

    start = (view, jnp.int32(seen.shape[0]))
    return jax.lax.scan(step, start, jax.random.split(key, length))[1]
