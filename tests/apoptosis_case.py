"""A plain Flax MLP, with what the tests of apoptosis need of it."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from apoptosis import evidence, neurons

INPUTS, WIDTHS, OUTPUTS, SAMPLES = 4, (8, 6), 3, 64
GROUPS = neurons.mlp("Dense_0", "Dense_1", "Dense_2")
NAMES = tuple(group.name for group in GROUPS)


class MLP(nn.Module):
    """Hidden activations are sown, and zero perturbations added: their gradients are dL/dh."""

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


def outputs(params, x, widths=WIDTHS):
    return MLP(widths).apply(params, x)


def watch(params, known, x, y, groups=None, decay=0.99, widths=WIDTHS):
    """One more step of evidence, and the gradients of the parameters."""
    zeros = {f"hidden_{i}": jnp.zeros((len(x), w)) for i, w in enumerate(widths)}
    slopes = jax.value_and_grad(loss, argnums=(0, 3), has_aux=True)
    (_, (hidden, inputs)), (slope, of_hidden) = slopes(params, x, y, zeros, widths)
    of_hidden = {name: of_hidden[f"hidden_{i}"] for i, name in enumerate(NAMES)}
    known = evidence.gather(known, params, hidden, of_hidden, inputs, groups=groups, decay=decay)
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


def optimiser():
    return optax.adam(0.01)


def moved(tx, params=None, steps=3):
    """The state of an optimiser after some steps: all its moments are other than 0."""
    params = initial() if params is None else params
    state = tx.init(params)
    for i in range(steps):
        slopes = jax.tree.map(lambda p, i=i: jnp.full_like(p, 0.1 * (i + 1)), params)
        _, state = tx.update(slopes, state, params)
    return state
