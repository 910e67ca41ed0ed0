"""How one element learns: one trial, one network, one epoch.

A trial is what chance decides (the data and the stream of initial weights) and is shared by all
elements, so that arms are paired. An epoch is one full-batch step.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from elements import datasets, names, network


class Hyper(NamedTuple):
    """Traced parameters of a network: what may differ inside one compiled program."""

    learning_rate: jax.Array
    gain: jax.Array | float = 1.0  # factor of all initial weights
    adaptive: jax.Array | bool = False  # Adam, or gradient descent; read by `tuned` alone
    used: network.Used = network.WHOLE  # of the slots that the learner was made with
    activation: jax.Array | None = None  # index, where the learner's activation is not static
    graft: tuple | None = None  # `composition.Graft`, for its learner


@dataclasses.dataclass(frozen=True)
class Protocol:
    """An optimiser of (traced) hyper-parameters, and the rate it is used with by default."""

    name: str
    optimiser: Callable[[Hyper], optax.GradientTransformation]
    learning_rate: float


def _either(hyper: Hyper) -> optax.GradientTransformation:
    """Adam or gradient descent, as `hyper.adaptive` says; the state is Adam's."""
    adam = optax.adam(hyper.learning_rate)

    def update(gradient, state, params=None):
        moved, state = adam.update(gradient, state, params)
        choose = lambda u, g: jnp.where(hyper.adaptive, u, -hyper.learning_rate * g)
        return jax.tree.map(choose, moved, gradient), state

    return optax.GradientTransformation(adam.init, update)


TUNED = "tuned"  # optimiser, learning rate and gain are each network's own
PROTOCOLS = (
    Protocol("gd", lambda hyper: optax.sgd(hyper.learning_rate), 0.1),
    Protocol("adam", lambda hyper: optax.adam(hyper.learning_rate), 0.01),
    Protocol(TUNED, _either, 0.1),
)


def protocol(name: str) -> Protocol:
    """The protocol called `name`; raises ValueError naming the near miss."""
    return PROTOCOLS[names.find(name, [p.name for p in PROTOCOLS], "protocol")]


class Setting(NamedTuple):
    """Traced parameters of a trial's data: index of the dataset, its noise and its form; how many
    points it has, and how many per cent of them are held back and (of the rest) mislabelled."""

    dataset: jax.Array
    noise: jax.Array
    form: datasets.Form
    samples: jax.Array | int
    held_back: jax.Array | int = 0
    flipped: jax.Array | int = 0


class Share(NamedTuple):
    """Some of a trial's points: labels `y [N]`, and `weight [N]`, equal within the share, 0
    outside it, of sum 1 (or 0 where the share is empty)."""

    y: jax.Array
    weight: jax.Array


class Trial(NamedTuple):
    """Points `x [2, N]`, of which `train` is learnt from, `validation` is held back and `flipped`
    is what has a wrong label in `train`; `test [M]`, further points of the same distribution;
    `[P]` normal draws of the initial weights and `[D, 2, M]` of noise on the test points. None
    stands for what is never asked for."""

    x: jax.Array
    train: Share
    validation: Share | None
    flipped: Share | None
    test: datasets.Points
    normals: jax.Array
    noise: jax.Array | None = None


class State(NamedTuple):
    params: dict
    optimiser: optax.OptState


class Learner(NamedTuple):
    """Functions of one network.

    `init(trial, hyper) -> state`, `step(trial, state, hyper) -> state`;
    `measure(trial, state, hyper) -> dict` of what is recorded while it learns, arrays of any shape;
    `finish(trial, state, hyper) -> dict` of what is kept at the end, `params` among it.
    """

    init: Callable
    step: Callable
    measure: Callable
    finish: Callable


def roles(place, held_back, flipped) -> tuple:
    """Which of the points at `place` are held back, and which of the others get a wrong label.

    Both points of a pair (labels 0 and 1) go the same way, so every share is balanced. Points are
    independent draws, so which pairs go is of no matter; an even spread of `held_back` per cent,
    and `flipped` per cent of the rest, makes the shares of a small sample parts of a larger one's.
    """
    among = lambda rank, percent: (rank + 1) * percent // 100 > rank * percent // 100
    pair = place // 2
    held = among(pair, held_back)
    learnt = pair - pair * held_back // 100  # rank among the pairs that are learnt from
    return held, ~held & among(learnt, flipped)


def split(setting: Setting, capacity: int, *, validation: bool, flips: bool) -> tuple:
    """Of `capacity` points, the shares trained on, held back and mislabelled (None if not asked
    for)."""
    place = jnp.arange(capacity)
    exists, y = place < setting.samples, datasets.labels(capacity).astype(jnp.float32)
    held, wrong = roles(place, setting.held_back, setting.flipped)
    shown = jnp.where(wrong, 1 - y, y)

    def share(labels, chosen):
        chosen = chosen & exists
        return Share(labels, chosen / jnp.maximum(chosen.sum(), 1))

    return (
        share(shown, ~held),
        share(y, held) if validation else None,
        share(shown, wrong) if flips else None,
    )


def draw(
    data_key,
    init_key,
    setting: Setting,
    *,
    capacity: int,
    tests: int,
    normals: int,
    validation: bool = False,
    flips: bool = False,
    noises: int = 0,
) -> Trial:
    """The trial of one pair of keys, in room for `capacity` points, with `noises` draws D.

    The initial weights do not depend on the dataset, nor a point on the capacity.
    """
    train_key, test_key = jax.random.split(data_key)
    which, noise, form = setting[:3]
    x = datasets.sample(train_key, which, capacity, noise, form).x
    noise_key = jax.random.fold_in(test_key, 1)
    return Trial(
        x,
        *split(setting, capacity, validation=validation, flips=flips),
        datasets.sample(test_key, which, tests, noise, form),
        jax.random.normal(init_key, (normals,)),
        jax.random.normal(noise_key, (noises, 2, tests)) if noises else None,
    )


def cross_entropy(logits: jax.Array, share: Share) -> jax.Array:
    """Mean binary cross-entropy in nats of `logits [N]` over a share of the points."""
    return jnp.sum(share.weight * optax.sigmoid_binary_cross_entropy(logits, share.y))


def slope(logits: jax.Array, share: Share) -> jax.Array:
    """Gradient `[N]` of `cross_entropy` with respect to the logits: (σ(logit) − y)·weight."""
    return (jax.nn.sigmoid(logits) - share.y) * share.weight


def accuracy(logits: jax.Array, share: Share) -> jax.Array:
    """Share of its points on the right side of 0. A logit of 0 predicts label 0; NaN is wrong."""
    right = jnp.where(share.y > 0, logits > 0, logits <= 0)
    return jnp.sum(right * share.weight)


def all_of(points: datasets.Points) -> Share:
    """The share that is all points."""
    return Share(points.y, jnp.full_like(points.y, 1 / points.y.size))


def scores(logits: jax.Array, trial: Trial) -> dict[str, jax.Array]:
    """Accuracy in [0, 1] and cross-entropy in nats of `logits [N + M]` at the trial's points and,
    behind them, its held-out ones; on all its shares."""
    own, held_out = jnp.split(logits, [trial.x.shape[1]])
    shares = {"train": (own, trial.train), "test": (held_out, all_of(trial.test))}
    if trial.validation is not None:
        shares["validation"] = own, trial.validation
    found = {f"{name}_accuracy": accuracy(*pair) for name, pair in shares.items()}
    return found | {f"{name}_loss": cross_entropy(*pair) for name, pair in shares.items()}


def learner(
    slots: tuple[int, ...], skip: bool, recipe: Protocol, activation: str | None = None
) -> Learner:
    """The learner of networks that use `hyper.used` of `slots`.

    With `activation` None the activation is traced (`hyper.activation`) and one program serves
    all of them; with a name it is compiled in, which runs faster where blocks are homogeneous.
    """

    def which(hyper):
        return hyper.activation if activation is None else activation

    def init(trial, hyper):
        params = network.initial(slots, which(hyper), trial.normals, hyper.used, hyper.gain)
        return State(params, recipe.optimiser(hyper).init(params))

    def step(trial, state, hyper):
        gradient = network.gradient(
            state.params,
            trial.x,
            which(hyper),
            skip,
            lambda logits: slope(logits, trial.train),
            hyper.used,
        )
        updates, optimiser = recipe.optimiser(hyper).update(gradient, state.optimiser, state.params)
        return State(optax.apply_updates(state.params, updates), optimiser)

    def measure(trial, state, hyper):
        # All points in one pass: half as much to compile.
        x = jnp.concatenate([trial.x, trial.test.x], axis=1)
        return scores(network.logits(state.params, x, which(hyper), skip, hyper.used), trial)

    def finish(trial, state, hyper):
        return {"params": state.params}

    return Learner(init, step, measure, finish)


def photographed(base: Learner) -> Learner:
    """`base` that also records its parameters."""
    measure = lambda *of: base.measure(*of) | {"params": of[1].params}
    return base._replace(measure=measure)
