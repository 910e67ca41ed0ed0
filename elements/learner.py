"""How one element learns: one trial, one network, one epoch.

A trial is what chance decides (the data and the stream of initial weights) and is shared by all
elements, so that arms are paired. An epoch is one full-batch step.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from elements import datasets, names, network


@dataclasses.dataclass(frozen=True)
class Protocol:
    """An optimiser of a (traced) learning rate, and the rate it is used with by default."""

    name: str
    optimiser: Callable[[jax.Array], optax.GradientTransformation]
    learning_rate: float


PROTOCOLS = (
    Protocol("gd", optax.sgd, 0.1),
    Protocol("adam", optax.adam, 0.01),
)


def protocol(name: str) -> Protocol:
    """The protocol called `name`; raises ValueError naming the near miss."""
    return PROTOCOLS[names.find(name, [p.name for p in PROTOCOLS], "protocol")]


class Setting(NamedTuple):
    """Traced parameters of a trial: index of the dataset, its noise and its form."""

    dataset: jax.Array
    noise: jax.Array
    form: datasets.Form


class Trial(NamedTuple):
    """Training points, held-out points of the same distribution, `[P]` normal draws."""

    train: datasets.Points
    test: datasets.Points
    normals: jax.Array


class Hyper(NamedTuple):
    """Traced parameters of a network: what may differ inside one compiled program."""

    learning_rate: jax.Array
    depth: jax.Array  # hidden layers in use, where all that the learner was made with are equal
    activation: jax.Array  # index; read only by a learner whose activation is not static


class State(NamedTuple):
    params: dict
    optimiser: optax.OptState


class Measure(NamedTuple):
    """Mean cross-entropy in nats and accuracy in [0, 1], on training and held-out points."""

    train_accuracy: jax.Array
    test_accuracy: jax.Array
    train_loss: jax.Array
    test_loss: jax.Array


class Learner(NamedTuple):
    """`init(trial, hyper) -> state`, `step(trial, state, hyper) -> state`, and
    `measure(trial, state, hyper) -> Measure`; all of one network."""

    init: Callable
    step: Callable
    measure: Callable


def draw(data_key, init_key, setting: Setting, *, samples: int, tests: int, normals: int) -> Trial:
    """The trial of one pair of keys. The initial weights do not depend on the dataset."""
    train_key, test_key = jax.random.split(data_key)
    which, noise, form = setting
    return Trial(
        datasets.sample(train_key, which, samples, noise, form),
        datasets.sample(test_key, which, tests, noise, form),
        jax.random.normal(init_key, (normals,)),
    )


@jax.custom_vjp
def cross_entropy(logits: jax.Array, y: jax.Array) -> jax.Array:
    """Mean binary cross-entropy in nats of `logits [N]` against labels `y [N]`.

    The gradient is (σ(logit) − y)/N in closed form; the labels get none.
    """
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, y))


cross_entropy.defvjp(
    lambda logits, y: (cross_entropy(logits, y), (logits, y)),
    lambda r, g: (g * (jax.nn.sigmoid(r[0]) - r[1]) / r[0].size, None),
)


def accuracy(logits: jax.Array, y: jax.Array) -> jax.Array:
    """Share of points on the right side of 0. A logit of 0 predicts label 0; NaN is wrong."""
    right = jnp.where(y > 0, logits > 0, logits <= 0)
    return jnp.mean(right, dtype=logits.dtype)


def learner(
    widths: tuple[int, ...], skip: bool, recipe: Protocol, activation: str | None = None
) -> Learner:
    """The learner of `Network(widths, skip)`.

    With `activation` None the activation is traced (`hyper.activation`) and one program serves
    all of them; with a name it is compiled in, which runs faster where blocks are homogeneous.
    """

    def which(hyper):
        return hyper.activation if activation is None else activation

    def cut(hyper):
        return hyper.depth if len(set(widths)) == 1 else None  # others are used whole

    def init(trial, hyper):
        params = network.initial(widths, which(hyper), trial.normals)
        return State(params, recipe.optimiser(hyper.learning_rate).init(params))

    def step(trial, state, hyper):
        x, y = trial.train
        slope = lambda logits: (jax.nn.sigmoid(logits) - y) / y.size
        gradient = network.gradient(state.params, x, which(hyper), skip, slope, cut(hyper))
        updates, optimiser = recipe.optimiser(hyper.learning_rate).update(
            gradient, state.optimiser, state.params
        )
        return State(optax.apply_updates(state.params, updates), optimiser)

    def measure(trial, state, hyper):
        # Both sets in one pass: half as much to compile.
        split = trial.train.y.shape[0]
        x = jnp.concatenate([trial.train.x, trial.test.x], axis=1)
        logits = network.logits(state.params, x, which(hyper), skip, cut(hyper))
        train, test = logits[:split], logits[split:]
        return Measure(
            accuracy(train, trial.train.y),
            accuracy(test, trial.test.y),
            cross_entropy(train, trial.train.y),
            cross_entropy(test, trial.test.y),
        )

    return Learner(init, step, measure)


def chance(n: int) -> float:
    """Accuracy of the constant prediction of the larger class among `n` balanced labels."""
    return math.ceil(n / 2) / n
