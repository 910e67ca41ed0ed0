"""Functional preservation: survivors take over what a dying neuron did, newborns learn to.

Shapes: `N` neurons of a group, `R` recorded samples, `M` what the group gives to the next layer,
all its outgoing kernels side by side.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from apoptosis import cholesky, evidence, neurons

METHODS = ("none", "mean", "least_squares")
_REFINED = 3  # rounds of iterative refinement: they undo most of what the ridge shrinks


def absorb(
    method: str,
    group: neurons.Found,
    rows: Sequence[jax.Array],
    biases: Sequence[jax.Array],
    watched: evidence.Watched,
    dying: jax.Array,
    ridge: float = 1e-6,
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Rows and next biases after the survivors absorbed what the `dying [N]` gave.

    `mean` adds the mean output of the dying, times their outgoing weights, to the next bias (as
    Dohare et al. 2024 do); where there is no such bias nothing is absorbed. `least_squares` fits
    the outputs of the dying on the survivors' recorded outputs (about their means, if there is a
    next bias) and folds the coefficients into the survivors' outgoing weights; `ridge` is relative
    to the trace of their covariance. It is kept only where it leaves less on the records than the
    mean alone does. The rows of the dying themselves stay as they are.

    Raises ValueError where what it needs was not gathered.
    """
    if method == "none":
        return list(rows), list(biases)
    outgoing = group.of(neurons.OUTGOING)
    weights = [rows[index].astype(jnp.float32) for index in outgoing]
    h = watched.outputs
    recorded = h.shape[0] > 0
    if method == "least_squares" and not recorded:
        raise ValueError("least squares needs recorded outputs: evidence.init(..., record=R)")
    mean = jnp.mean(h, 0) if recorded else watched.average("mean")
    gone = dying[:, None]
    shift = jnp.zeros((group.size, sum(w.shape[1] for w in weights)))
    if method == "least_squares":
        centred = h - mean if biases else h
        shift = _folded(centred, jnp.concatenate(weights, 1), dying, ridge)
    rows, start, moved = list(rows), 0, []
    for place, (index, own) in enumerate(zip(outgoing, weights, strict=True)):
        fold = shift[:, start : start + own.shape[1]]
        start += own.shape[1]
        if method == "least_squares":
            taken = (own + fold).astype(rows[index].dtype)
            rows[index] = jnp.where(gone | ~jnp.any(dying), rows[index], taken)
        if biases:
            old = biases[place]
            lost = mean @ jnp.where(gone, own, -fold)
            new = (old.astype(jnp.float32) + lost.reshape(old.shape)).astype(old.dtype)
            moved.append(jnp.where(jnp.any(dying), new, old))
    return rows, moved


# GPUs would round factors to TF32, whose errors are a thousand times the ridge.
@jax.default_matmul_precision("highest")
def _folded(h, weights, dying, ridge) -> jax.Array:
    """What to add to the survivors' outgoing weights, `[N, M]`; 0 for the dying."""
    kept, target = jnp.where(dying, 0, h), jnp.where(dying, h, 0) @ weights
    gram = kept.T @ kept
    scale = jnp.trace(gram)
    ridged = gram + (ridge * scale + jnp.finfo(jnp.float32).tiny) * jnp.eye(len(dying))
    ridged = jnp.where(scale > 0, ridged, jnp.eye(len(dying)))
    factor = cholesky.factor(ridged)
    found = jnp.zeros_like(weights)
    for _ in range(_REFINED):
        found += cholesky.solve(factor, kept.T @ (target - kept @ found))
    found = jnp.where(dying[:, None], 0, found)
    better = jnp.sum((target - kept @ found) ** 2) < jnp.sum(target**2)  # NaN is not
    return jnp.where(better, found, 0)


def given(group: neurons.Found, h, rows, biases) -> jax.Array:
    """What the group gives to the next layer at the outputs `h [R, N]`: `[R, M]`."""
    parts = [h @ rows[index].astype(jnp.float32) for index in group.of(neurons.OUTGOING)]
    if biases:
        parts = [own + b.astype(jnp.float32).ravel() for own, b in zip(parts, biases, strict=True)]
    return jnp.concatenate(parts, 1)


def change(group, h, before, now, after) -> jax.Array:
    """Root mean square change of what is given to the next layer, relative to what was.

    `before` and `after` are pairs of rows and next biases; `h` and `now [R, N]` the outputs that
    go with them.
    """
    old = given(group, h, *before)
    new = given(group, now, *after)
    size = jnp.sqrt(jnp.mean(old**2))
    return jnp.sqrt(jnp.mean((new - old) ** 2)) / jnp.maximum(size, 1e-12)


def computable(group: neurons.Found, watched: evidence.Watched) -> bool:
    """Can the outputs of the group's neurons be had from its rows and the recorded inputs?"""
    plain = group.activation is not None and not group.of(neurons.SCALE)
    return plain and watched.inputs.shape[0] > 0


def outputs(group: neurons.Found, rows, inputs: jax.Array) -> jax.Array:
    """The neurons' outputs `[R, N]` at the recorded inputs `[R, D]`, of these rows.

    Raises ValueError for groups with a norm's scale, without an activation, or without inputs.
    """
    if group.activation is None or group.of(neurons.SCALE):
        raise ValueError(f"group {group.name!r} needs an activation, and no scale, to be computed")
    if not inputs.shape[0]:
        raise ValueError("local regression needs inputs: evidence.init(..., inputs=True)")
    kernels = [rows[index].astype(jnp.float32) for index in group.of(neurons.INCOMING)]
    into = [inputs @ kernel.T for kernel in kernels]
    biases = [rows[index].astype(jnp.float32)[:, 0] for index in group.of(neurons.BIAS)]
    for place, bias in enumerate(biases):  # in the order of the kernels
        into[place] = into[place] + bias
    return group.activation(*into)


def regress(
    group: neurons.Found,
    rows: Sequence[jax.Array],
    old: Sequence[jax.Array],
    absorbed: Sequence[jax.Array],
    biases: Sequence[jax.Array],
    watched: evidence.Watched,
    dying: jax.Array,
    steps: int,
    rate: float = 0.1,
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Rows and next biases with newborns fitted to what the survivors left undone.

    For `steps` steps of Adam (learning rate `rate` times the root mean square of the incoming
    weights) a newborn's incoming weights and bias descend the squared difference, at the recorded
    inputs, between its output and that of the neuron it replaces (`old` rows). It then takes over
    that neuron's outgoing weights times one gain common to all newborns, by least squares on what
    is missing after absorption; a gain below 0 counts as 0. The next bias, if there is one, makes
    up for the newborns' mean. It gives no more error on the records
    than zero outgoing weights.
    """
    h, x = watched.outputs, watched.inputs
    trained = group.of(neurons.INCOMING) + group.of(neurons.BIAS)
    target = outputs(group, old, x)
    scale = jnp.sqrt(sum(jnp.mean(rows[i].astype(jnp.float32) ** 2) for i in trained))
    full = lambda own: [
        own[trained.index(i)] if i in trained else row for i, row in enumerate(rows)
    ]

    def error(own):
        miss = outputs(group, full(own), x) - target
        return jnp.sum(jnp.mean(miss**2, 0) * dying)

    def step(carry, n):
        own, m, v = carry
        slopes = jax.grad(error)(own)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, slopes)
        v = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g**2, v, slopes)
        falls = lambda m, v: (m / (1 - 0.9**n)) / (jnp.sqrt(v / (1 - 0.99**n)) + 1e-12)
        fade = 1 - (n - 1) / steps
        own = jax.tree.map(lambda p, m, v: p - rate * fade * scale * falls(m, v), own, m, v)
        return (own, m, v), None

    start = [rows[i].astype(jnp.float32) for i in trained]
    zero = jax.tree.map(jnp.zeros_like, start)
    (own, _, _), _ = jax.lax.scan(step, (start, zero, zero), 1.0 + jnp.arange(steps))
    fitted = list(rows)
    for i, value in zip(trained, own, strict=True):
        fitted[i] = jnp.where(dying[:, None], value.astype(rows[i].dtype), rows[i])
    gone = dying[:, None]
    outgoing = group.of(neurons.OUTGOING)
    born = outputs(group, fitted, x)
    side = lambda values: jnp.concatenate([v.astype(jnp.float32) for v in values], 1)
    before, after = side([old[i] for i in outgoing]), side([absorbed[i] for i in outgoing])
    centre = (lambda a: a - jnp.mean(a, 0)) if group.next_bias else (lambda a: a)
    missing = centre(h @ before - h @ jnp.where(gone, 0, after))
    offered = centre(born @ jnp.where(gone, before, 0))
    gain = jnp.sum(missing * offered) / jnp.maximum(jnp.sum(offered**2), 1e-12)
    gain = jnp.maximum(jnp.nan_to_num(gain), 0)
    for i in outgoing:
        taken = (gain * old[i]).astype(rows[i].dtype)
        fitted[i] = jnp.where(gone, taken, rows[i])
    moved = []
    for i, bias in zip(outgoing, biases, strict=bool(biases)):
        extra = jnp.mean(born, 0) @ jnp.where(gone, fitted[i].astype(jnp.float32), 0)
        new = (bias.astype(jnp.float32) - extra.reshape(bias.shape)).astype(bias.dtype)
        moved.append(jnp.where(jnp.any(dying), new, bias))
    return fitted, moved
