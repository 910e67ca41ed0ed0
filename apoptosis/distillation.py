"""The network before an event teaches the one after it, layer by layer.

Shapes: `N` neurons of a group, `R` recorded samples, `M` what the group gives to the next layer.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from apoptosis import evidence, neurons, preservation

RATE = 0.05  # of the first step, relative to the weights' own root mean square


def fit(
    group: neurons.Found,
    rows: Sequence[jax.Array],
    biases: Sequence[jax.Array],
    old: Sequence[jax.Array],
    old_biases: Sequence[jax.Array],
    watched: evidence.Watched,
    born: jax.Array,
    steps: int,
    rate: float = RATE,
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Rows and next biases after `steps` of distillation from the network before the event.

    The teacher is what the group gave to the next layer before (`old` rows and biases), the student
    what it gives now, both at the recorded samples: Hinton et al. (2015) with the hidden targets of
    FitNets (Romero et al. 2015, eq. 3). The squared difference is descended by Adam, whose rate
    falls along a line from `rate` times the weights' root mean square, in the outgoing weights of
    all neurons that were ever born and in the newborns' incoming weights and biases; the next bias,
    if there is one, makes up for the difference of the means. The step with the least difference
    is kept, the one before the first included, so that it never ends with more than it began with.

    A newborn's outputs can be computed only in a group with an activation, without a norm's scale,
    and with recorded inputs; elsewhere newborns are silent to begin with, and remain so.
    Raises ValueError without recorded outputs.
    """
    h = watched.outputs
    if not h.shape[0]:
        raise ValueError("distillation needs recorded outputs: evidence.init(..., record=R)")
    outgoing, living = group.of(neurons.OUTGOING), (watched.age >= 0) | born
    centre = (lambda a: a - jnp.mean(a, 0)) if group.next_bias else (lambda a: a)
    target = preservation.given(group, h, old, old_biases)
    if preservation.computable(group, watched):
        incoming, moving = group.of(neurons.INCOMING) + group.of(neurons.BIAS), living
    else:
        incoming, moving = [], living & ~born
    trained = outgoing + incoming
    whole = lambda own: [own.get(i, row) for i, row in enumerate(rows)]

    def gives(own):
        full = whole(own)
        now = preservation.outputs(group, full, watched.inputs) if incoming else 0.0
        now = jnp.where(born, now, h)
        return preservation.given(group, now, full, ())

    def error(own):
        return jnp.mean(centre(gives(own) - target) ** 2)

    def step(carry, n):
        own, m, v, best, least = carry
        now, slopes = jax.value_and_grad(error)(own)
        best = jax.tree.map(lambda new, kept: jnp.where(now < least, new, kept), own, best)
        least = jnp.minimum(now, least)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, slopes)
        v = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g**2, v, slopes)
        fade = rate * (1 - (n - 1) / steps)
        falls = lambda m, v: (m / (1 - 0.9**n)) / (jnp.sqrt(v / (1 - 0.99**n)) + 1e-12)
        own = {
            i: own[i] - jnp.where(free[i], fade * sizes[i] * falls(m[i], v[i]), 0) for i in trained
        }
        return (own, m, v, best, least), None

    start = {i: rows[i].astype(jnp.float32) for i in trained}
    free = {i: (moving if i in outgoing else born)[:, None] for i in trained}
    size = lambda places: jnp.sqrt(sum(jnp.mean(old[i].astype(jnp.float32) ** 2) for i in places))
    sizes = {i: size(outgoing) if i in outgoing else size(incoming) for i in trained}
    zero = jax.tree.map(jnp.zeros_like, start)
    carry = (start, zero, zero, start, jnp.inf)
    (own, _, _, best, least), _ = jax.lax.scan(step, carry, 1.0 + jnp.arange(steps))
    best = jax.tree.map(lambda new, kept: jnp.where(error(own) < least, new, kept), own, best)

    fitted, some = list(rows), jnp.any(born)
    for i in trained:
        fitted[i] = jnp.where(free[i] & some, best[i].astype(rows[i].dtype), rows[i])
    if not group.next_bias:
        return fitted, list(biases)
    mean, place, moved = jnp.mean(target - gives(dict(enumerate(fitted))), 0), 0, []
    for bias in biases:
        new = mean[place : place + bias.size].reshape(bias.shape).astype(bias.dtype)
        moved.append(jnp.where(some, new, bias))
        place += bias.size
    return fitted, moved
