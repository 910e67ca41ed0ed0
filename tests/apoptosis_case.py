"""A plain Flax MLP, with what the tests of apoptosis need of it."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from apoptosis import evidence, lineage, neurons, unborn

INPUTS, WIDTHS, OUTPUTS, SAMPLES = 4, (8, 6), 3, 64
GROUPS = neurons.mlp("Dense_0", "Dense_1", "Dense_2")
NAMES = tuple(group.name for group in GROUPS)


class MLP(nn.Module):
    """Hidden activations are sown; zero perturbations of them have dL/dh as their gradient."""

    widths: tuple[int, ...] = WIDTHS
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        for i, width in enumerate(self.widths):
            self.sow("intermediates", f"inputs_{i}", x)
            x = nn.relu(nn.Dense(width, param_dtype=self.dtype)(x))
            x = self.perturb(f"hidden_{i}", x)
            self.sow("intermediates", f"hidden_{i}", x)
        return nn.Dense(OUTPUTS, param_dtype=self.dtype)(x)


def data(samples=SAMPLES):
    x = jax.random.normal(jax.random.key(5), (samples, INPUTS))
    return x, jnp.stack([jnp.sin(x[:, 0]), x[:, 1] * x[:, 2], jnp.abs(x[:, 3])], 1)


@functools.cache
def initial(dtype=jnp.float32, widths=WIDTHS):
    variables = MLP(widths, dtype).init(jax.random.key(0), data()[0])
    params = jax.tree.map(lambda p: p, variables["params"])
    noisy = lambda i, p: p + 0.1 * jax.random.normal(jax.random.key(i), p.shape, p.dtype)
    leaves, tree = jax.tree.flatten(params)  # biases other than 0, else nothing shows there
    return {"params": jax.tree.unflatten(tree, [noisy(i, p) for i, p in enumerate(leaves)])}


def fresh(key):
    """The model's own initialiser."""
    return {"params": MLP().init(key, jnp.zeros((1, INPUTS)))["params"]}


def loss(params, x, y, perturbations=None, widths=WIDTHS):
    """Mean squared error, with hidden activations and layer inputs by group."""
    variables = params if perturbations is None else params | {"perturbations": perturbations}
    out, kept = MLP(widths).apply(variables, x, mutable=["intermediates"])
    kept = kept["intermediates"]
    hidden = {name: kept[f"hidden_{i}"][0] for i, name in enumerate(NAMES)}
    inputs = {name: kept[f"inputs_{i}"][0] for i, name in enumerate(NAMES)}
    return jnp.mean((out - y) ** 2), (hidden, inputs)


@functools.partial(jax.jit, static_argnums=2)
def outputs(params, x, widths=WIDTHS):
    return MLP(widths).apply(params, x)


def watch(params, known, x, y, groups=None, decay=0.99, widths=WIDTHS):
    """One more step of evidence, and the gradients of the parameters."""
    slopes = jax.value_and_grad(loss, has_aux=True)
    (_, (hidden, inputs)), slope = slopes(params, x, y, None, widths)
    known = evidence.gather(known, params, hidden, slope, inputs, groups=groups, decay=decay)
    return known, slope


@functools.cache
def known(steps=5, record=48):
    """Evidence after some steps at the same parameters, on the same data."""
    params, (x, y) = initial(), data()
    start = evidence.init(params, GROUPS, record=record, inputs=True)
    more = jax.jit(lambda known: watch(params, known, x, y, GROUPS)[0])
    for _ in range(steps):
        start = more(start)
    return start


class Life(NamedTuple):
    """All that goes from one step of training to the next."""

    key: jax.Array
    params: dict
    memory: object
    state: object
    known: dict
    family: lineage.Lineage


def start(transform, optimiser, params=None, seed=3, record=0, groups=GROUPS):
    """Training that begins."""
    params = initial() if params is None else params
    known = evidence.init(params, groups, record=record, inputs=record > 0)
    family = lineage.init(known, room=40, unborn=unborn.find(params, groups))
    key, state = jax.random.key(seed), transform.init(params)
    return Life(key, params, optimiser.init(params), state, known, family)


def train(transform, optimiser, life, steps, groups=GROUPS, widths=WIDTHS, samples=32):
    """Training with events: what is left, and of each update the parameters before and after it,
    and its report."""
    x, y = data(samples)

    def step(life, _):
        key, own = jax.random.split(life.key)
        known, slopes = watch(life.params, life.known, x, y, groups, widths=widths)
        updates, memory = optimiser.update(slopes, life.memory, life.params)
        before = optax.apply_updates(life.params, updates)
        params, memory, state, report = transform.update(own, before, memory, life.state, known)
        family = lineage.record(life.family, report, known)
        known = evidence.renewed(known, report)
        life = Life(key, params, memory, state, known, family)
        return life, (before, params, report)

    return jax.lax.scan(step, life, length=steps)


def optimiser():
    return optax.adam(0.01)


def moved(tx, params=None):
    """The state of an optimiser all of whose elements are other than 0, and no two are alike."""
    shapes = jax.eval_shape(tx.init, initial() if params is None else params)
    leaves, tree = jax.tree.flatten(shapes)
    ends = np.cumsum([leaf.size for leaf in leaves])
    numbered = lambda leaf, end: np.arange(end - leaf.size, end).reshape(leaf.shape) + 1
    filled = [
        jnp.asarray(numbered(leaf, end).astype(leaf.dtype))
        for leaf, end in zip(leaves, ends, strict=True)
    ]
    return jax.tree.unflatten(tree, filled)


def belonging(born, shape, path):
    """Which elements of a parameter belong to newborns, written down by hand."""
    flags = np.zeros(shape, bool)
    own, after = np.asarray(born["Dense_0"]), np.asarray(born["Dense_1"])
    if "Dense_0" in path:
        flags[..., own] = True
    if "Dense_1" in path:
        flags[..., after] = True
        if "kernel" in path:
            flags[own] = True
    if "Dense_2" in path and "kernel" in path:
        flags[after] = True
    return flags
