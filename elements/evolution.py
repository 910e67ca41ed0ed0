"""The space of elements as a cube: genomes, the networks they stand for, and how these learn.

A network of this space has an activation of its own in every hidden layer. Depth, widths,
activations and skip are all traced, so one program trains any of them in slots of one width, at
the price of the layers in use.

Shapes: `L` slots for hidden layers, `N` points, `G` genes.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from elements import activations, learner, network
from elements.element import Element

FIXED = 2  # genes that are not of a layer: depth and skip
HALVINGS = 24  # of the scale of the widths: it is then exact to float32


class Body(NamedTuple):
    """A network of the space, traced: a `network.Used` that also says what its layers do.

    `depth` of the L slots are used; `widths [L]` and `activations [L]` (indices into
    `activations.TABLE`) are those of the slots, widths 0 beyond the depth. With `skip` a layer
    adds what it takes in wherever the widths match.
    """

    depth: jax.Array
    widths: jax.Array
    activations: jax.Array
    skip: jax.Array

    def fans_in(self) -> jax.Array:
        """`[L]`: the widths of what the hidden layers take in."""
        return jnp.concatenate([jnp.full_like(self.widths, network.INPUTS)[:1], self.widths[:-1]])

    def last(self, slots: int) -> jax.Array:
        """Index of the last hidden layer in use."""
        return self.depth - 1

    def match(self, k: int) -> jax.Array:
        """Whether hidden layer `k` adds its input."""
        return self.skip & (self.widths == self.fans_in())[k]


@dataclasses.dataclass(frozen=True)
class Space:
    """All networks of 1 to `depth` hidden layers of `least` to `width` units and at most `budget`
    parameters, whose layers have any of the `activations`, by name, with or without skips.

    Raises ValueError where it is empty, or its deepest networks exceed the budget at any width.
    """

    depth: int = 10
    width: int = 64
    budget: int = 1000
    least: int = 2
    activations: tuple[str, ...] = activations.NAMES

    def __post_init__(self):
        if not self.activations:
            raise ValueError("the space is empty: no activations")
        for name in self.activations:
            activations.find(name)
        for name, low in (("depth", 1), ("least", 1), ("width", self.least)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        smallest = Element(self.activations[0], (self.least,) * self.depth).parameters
        if self.budget < smallest:
            raise ValueError(
                f"budget must be at least {smallest}, the parameters of {self.depth} layers of "
                f"{self.least}, got {self.budget}"
            )

    @property
    def genes(self) -> int:
        """G: depth, skip, a width and an activation for every slot."""
        return FIXED + 2 * self.depth


def decode(space: Space, genome: jax.Array) -> Body:
    """The network of a genome `[G]`, of any real numbers: beyond [0, 1] the cube is mirrored.

    Depth, skip and activations are uniform over the cube, widths uniform in their logarithm. A
    network over the budget has all its widths scaled down by the largest factor that fits: the
    whole cube is feasible, and no penalty has to be weighed against accuracy.
    """
    genome = 1 - jnp.abs(1 - jnp.mod(genome, 2))
    of = lambda gene, n: jnp.minimum((gene * n).astype(jnp.int32), n - 1)
    widths, kinds = jnp.split(genome[FIXED:], 2)
    depth = 1 + of(genome[0], space.depth)
    used = jnp.arange(space.depth) < depth
    table = jnp.asarray([activations.index(name) for name in space.activations], jnp.int32)
    wanted = space.least * ((space.width + 1) / space.least) ** widths

    def scaled(factor):
        fit = jnp.clip(jnp.floor(factor * wanted), space.least, space.width)
        return jnp.where(used, fit, 0).astype(jnp.int32)

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        fits = parameters(depth, scaled(middle)) <= space.budget
        return jnp.where(fits, middle, low), jnp.where(fits, high, middle)

    low, _ = lax.fori_loop(0, HALVINGS, halve, (jnp.float32(0), jnp.float32(1)))
    whole = parameters(depth, scaled(1.0)) <= space.budget
    kind = jnp.where(used, table[of(kinds, len(space.activations))], 0)
    return Body(depth, scaled(jnp.where(whole, 1.0, low)), kind, genome[1] > 0.5)


def parameters(depth: jax.Array, widths: jax.Array) -> jax.Array:
    """Number of weights and biases of a network of these `widths [L]`, 0 beyond the depth."""
    into = jnp.concatenate([jnp.full_like(widths, network.INPUTS)[:1], widths[:-1]])
    return jnp.sum((into + 1) * widths) + widths[depth - 1] + 1


def body(kinds: tuple[str, ...], widths: tuple[int, ...], skip: bool, slots: int) -> Body:
    """The network of these activations, by name, and widths, in so many slots."""
    if not 1 <= len(kinds) == len(widths) <= slots:
        raise ValueError(
            f"a network needs an activation and a width for each of 1 to {slots} layers, "
            f"got {len(kinds)} and {len(widths)}"
        )
    spare = (0,) * (slots - len(widths))
    which = [activations.index(name) for name in kinds]
    return Body(
        jnp.int32(len(widths)),
        jnp.asarray((*widths, *spare), jnp.int32),
        jnp.asarray((*which, *spare), jnp.int32),
        jnp.asarray(skip, bool),
    )


def initial(width: int, body: Body, normals: jax.Array, gain=1.0) -> dict:
    """Parameters in slots of `width`, from standard normal draws `[P]`, as of `network.initial`.

    Each layer's draws are scaled by the rule of its own activation; the output layer goes by the
    last hidden one.
    """
    slots, last = len(body.widths), body.depth - 1
    plain = activations.index("linear")
    used = network.Used(body.depth, body.widths)
    params = network.initial((width,) * slots, plain, normals, used, gain)
    into = jnp.concatenate([body.widths[last][None], body.fans_in()])
    out = jnp.concatenate([jnp.ones_like(into[:1]), body.widths])
    kinds = jnp.concatenate([body.activations[last][None], body.activations])
    factor = network.deviation(kinds, into, out) / network.deviation(plain, into, out)
    layers = network.in_order(params)
    scaled = [own | {"kernel": factor[i] * own["kernel"]} for i, own in enumerate(layers)]
    return network.named(scaled)


def logits(params, x: jax.Array, body: Body) -> jax.Array:
    """Logits `[N]` of the points `x [2, N]`."""
    return network.logits(params, x, body.activations, True, body)


def made(width: int, recipe: learner.Protocol) -> learner.Learner:
    """The learner of networks in slots of `width`; `hyper.used` is a `Body`.

    It measures nothing on the way; `finish` gives `accuracy` in [0, 1] and `loss` in nats on the
    trial's held-out points, and the `params`.
    """

    def init(trial, hyper):
        params = initial(width, hyper.used, trial.normals, hyper.gain)
        return learner.State(params, recipe.optimiser(hyper).init(params))

    def step(trial, state, hyper):
        body, slope = hyper.used, lambda y: learner.slope(y, trial.train)
        found = network.gradient(state.params, trial.x, body.activations, True, slope, body)
        updates, moved = recipe.optimiser(hyper).update(found, state.optimiser, state.params)
        return learner.State(optax.apply_updates(state.params, updates), moved)

    def finish(trial, state, hyper):
        y, share = logits(state.params, trial.test.x, hyper.used), learner.all_of(trial.test)
        scores = {"accuracy": learner.accuracy(y, share), "loss": learner.cross_entropy(y, share)}
        return scores | {"params": state.params}

    return learner.Learner(init, step, lambda *_: {}, finish)


def fitness(accuracy: jax.Array, loss: jax.Array, points: int) -> jax.Array:
    """Mean accuracy `[...]` over `points` points, ties broken by the mean loss: higher is better.

    The loss is squeezed below half of what one point more is worth, so it decides nothing else.
    What is not finite counts as an infinite loss.
    """
    loss = jnp.where(jnp.isfinite(loss), jnp.maximum(loss, 0), jnp.inf)
    return accuracy - (1 - 1 / (1 + loss)) / (2 * points)
