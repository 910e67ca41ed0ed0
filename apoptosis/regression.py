"""Slowly-Changing Regression: a stream of tasks that a small network follows, or ceases to follow.

Dohare, Hernandez-Garcia, Lan, Rahman, Mahmood and Sutton, "Loss of plasticity in deep continual
learning" (Nature 2024, Extended Data), and Dohare, Sutton and Mahmood, "Continual Backprop" (2021).
The first bits of the input are held for a period of steps (a task), the others are drawn at every
step; the target is a random net of linear threshold units, which is too large for the learner: it
has to follow the held bits for ever. Its squared error, before each update, is what counts.

All of one learner, without a population axis: `vmap` over keys gives seeds. Where sums
round otherwise (on another device, or in so large a population that the compiler adds in another
order) lives part slowly, until a relu fires in one of them alone: over a million steps the losses
of some seeds change, but not what is expected of a seed.

Shapes: `I` inputs, `S` of them held, `F = I - S` fresh, `V = 2**F` values of the fresh bits, `U`
units of the target, `H` hidden units of the learner, `P` steps of a period, `T` tasks.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

VARIANTS = ("A", "B")


class Activation(NamedTuple):
    """A function and its gain: weights of variance gain² / fan-in keep the signal (He 2015).

    elu and swish have relu's, as in Dohare et al.'s own code: no gain of theirs is customary.
    """

    function: Callable[[jax.Array], jax.Array]
    gain: float


ACTIVATIONS: Mapping[str, Activation] = {
    "relu": Activation(jax.nn.relu, math.sqrt(2)),
    "tanh": Activation(jnp.tanh, 5 / 3),
    "sigmoid": Activation(jax.nn.sigmoid, 1.0),
    "leaky_relu": Activation(jax.nn.leaky_relu, math.sqrt(2 / (1 + 0.01**2))),
    "elu": Activation(jax.nn.elu, math.sqrt(2)),
    "swish": Activation(jax.nn.silu, math.sqrt(2)),
}


@dataclasses.dataclass(frozen=True)
class World:
    """The stream: variant A draws all held bits anew with each period, B flips one of them.

    Raises ValueError for a variant or sizes outside the stated range.
    """

    variant: str = "A"
    period: int = 10_000  # steps, P
    inputs: int = 20  # I
    held: int = 15  # S
    units: int = 100  # U
    beta: float = 0.7  # of a unit's inputs, how many must agree with its weights

    def __post_init__(self):
        if self.variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {self.variant!r}")
        for name in ("period", "inputs", "held", "units"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.inputs - self.held <= 16:
            raise ValueError(
                f"held must leave 0 to 16 of the {self.inputs} inputs fresh, got {self.held}"
            )


class Target(NamedTuple):
    """A net of linear threshold units: kernel `[I, U]`, the others `[U]`, shift `[]`."""

    kernel: jax.Array
    bias: jax.Array
    threshold: jax.Array
    value: jax.Array
    shift: jax.Array


def target(key: jax.Array, world: World) -> Target:
    """A target: weights, biases, values and shift are ±1 with equal chance.

    A unit fires above its threshold β (I + 1) - S_i, with S_i = (I - Σ w_i + b_i) / 2, about the
    number of its weights that are -1: with β = 0.7 it fires for few inputs.
    """
    kernel, bias, value, shift = (
        jax.random.rademacher(one, shape, jnp.float32)
        for one, shape in zip(
            jax.random.split(key, 4),
            ((world.inputs, world.units), (world.units,), (world.units,), ()),
            strict=True,
        )
    )
    negative = (world.inputs - kernel.sum(0) + bias) / 2
    return Target(kernel, bias, world.beta * (world.inputs + 1) - negative, value, shift)


def evaluate(target: Target, x: jax.Array) -> jax.Array:
    """What the target is `[...]` for inputs `[..., I]`."""
    fires = x @ target.kernel + target.bias > target.threshold
    return fires @ target.value + target.shift


def fresh_bits(world: World, number: jax.Array) -> jax.Array:
    """The fresh bits `[..., F]` of numbers `[...]` in [0, V), the lowest bit first."""
    places = jnp.arange(world.inputs - world.held, dtype=jnp.int32)
    return (number[..., None] >> places & 1).astype(jnp.float32)


def values(target: Target, world: World, held: jax.Array) -> jax.Array:
    """All the values `[V]` that the target takes in a task, whose held bits `[S]` are given."""
    count = 2 ** (world.inputs - world.held)
    fresh = fresh_bits(world, jnp.arange(count, dtype=jnp.int32))
    return evaluate(target, join(jnp.broadcast_to(held, (count, world.held)), fresh))


def join(held: jax.Array, fresh: jax.Array) -> jax.Array:
    """Inputs `[..., I]` of held `[..., S]` and fresh bits `[..., F]`."""
    return jnp.concatenate([held, fresh], axis=-1)


def first_held(key: jax.Array, world: World) -> jax.Array:
    """The held bits `[S]` of the first task."""
    return jax.random.bernoulli(key, shape=(world.held,)).astype(jnp.float32)


def next_held(key: jax.Array, world: World, held: jax.Array) -> jax.Array:
    """The held bits `[S]` of the task after the one with bits `held`."""
    if world.variant == "A":
        return first_held(key, world)
    flipped = jax.random.randint(key, (), 0, world.held)
    return jnp.where(jnp.arange(world.held) == flipped, 1 - held, held)


@dataclasses.dataclass(frozen=True)
class Network:
    """The learner: `I`-`H`-1 with one activation, or without hidden units a linear function."""

    activation: str = "relu"
    hidden: int = 5  # H
    inputs: int = 20  # I

    def __post_init__(self):
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"activation must be one of {known}, got {self.activation!r}")
        if self.hidden < 0:
            raise ValueError(f"hidden must be at least 0, got {self.hidden}")


def weights(key: jax.Array, network: Network) -> dict:
    """Initial parameters: layers `hidden` (kernel `[I, H]`, bias `[H]`) and `output` (`[H, 1]`).

    Kernels are U(±g √(3 / fan-in)), g the activation's gain below it and 1 below the output;
    biases are 0. Without hidden units there is `output` alone, of kernel `[I, 1]`.
    """
    below, above = jax.random.split(key)
    if not network.hidden:
        return {"output": _layer(above, network.inputs, 1, 1.0)}
    gain = ACTIVATIONS[network.activation].gain
    return {
        "hidden": _layer(below, network.inputs, network.hidden, gain),
        "output": _layer(above, network.hidden, 1, 1.0),
    }


def kernel(key: jax.Array, fan_in: int, width: int, gain: float) -> jax.Array:
    """A kernel `[fan_in, width]` as it is drawn initially: U(±gain √(3 / fan_in))."""
    bound = gain * math.sqrt(3 / fan_in)
    return jax.random.uniform(key, (fan_in, width), minval=-bound, maxval=bound)


def _layer(key, fan_in, width, gain):
    return {"kernel": kernel(key, fan_in, width, gain), "bias": jnp.zeros(width)}


def predict(network: Network, params: dict, x: jax.Array) -> tuple:
    """`(prediction [], hidden [H])` for one input `[I]`."""
    hidden = x
    if network.hidden:
        function = ACTIVATIONS[network.activation].function
        hidden = function(_dense(params["hidden"], x))
    return _dense(params["output"], hidden)[0], hidden


def _dense(layer, x):
    # A product and a sum, not `x @ kernel`: fused over a population of at most 40 it takes half the
    # time. On CPUs XLA leaves sums over 4,096 numbers or more to a library, which takes three times
    # as long and adds in another order.
    return (x[:, None] * layer["kernel"]).sum(0) + layer["bias"]


class Learner(NamedTuple):
    """One learner: `init(key) -> state`; `step(state, x [I], y []) -> (state, squared error [])`.

    `event(key, state, inputs [E, I]) -> state` comes after every E = `every` steps, if there is
    one, with the inputs of those: outside the steps themselves, so that what is rare costs nothing
    in between. `parameters(state)` are its weights.
    """

    init: Callable
    step: Callable
    event: Callable | None = None
    every: int = 1
    parameters: Callable = lambda state: state


def backpropagation(network: Network, learning_rate, decay=None) -> Learner:
    """Online gradient descent on the squared error of single examples; its state is the parameters.

    With a `decay` the loss is that plus `decay` / 2 · Σ θ² (L2 regularisation).
    """

    def step(params, x, y):
        error = lambda params: jnp.square(predict(network, params, x)[0] - y)
        loss, gradient = jax.value_and_grad(error)(params)
        if decay is not None:
            gradient = jax.tree.map(lambda g, p: g + decay * p, gradient, params)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, gradient), loss

    return Learner(lambda key: weights(key, network), step)


class Life(NamedTuple):
    """What became of a learner: the mean squared error of every task `[T]`, its last weights."""

    losses: jax.Array
    parameters: dict


def live(key: jax.Array, world: World, learner: Learner, steps: int) -> Life:
    """`steps` steps of a learner in a world; the last task may be cut short.

    Target, stream, initial weights and events have keys of their own under `key`: learners with
    equal keys see the same data and, where they have the same weights, begin with the same ones.
    Raises ValueError unless there is a step, and the learner's `every` divides the period.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if learner.every < 1 or world.period % learner.every:
        raise ValueError(f"every must divide the period, {world.period}, got {learner.every}")
    goal, stream, begin, events = (jax.random.fold_in(key, i) for i in range(4))
    net = target(goal, world)

    def task(carry, number, length):
        held, state = carry
        draw = jax.random.fold_in(stream, number + 1)
        change, fresh = jax.random.split(draw)
        count = 2 ** (world.inputs - world.held)
        numbers = jax.random.randint(fresh, (length,), 0, count, jnp.int32)
        data = fresh_bits(world, numbers), values(net, world, held)[numbers]
        event = jax.random.fold_in(events, number)
        state, losses = _run(learner, event, state, held, data)
        return (next_held(change, world, held), state), losses.mean()

    whole, rest = divmod(steps, world.period)
    carry = first_held(jax.random.fold_in(stream, 0), world), learner.init(begin)
    carry, losses = jax.lax.scan(
        lambda c, n: task(c, n, world.period), carry, jnp.arange(whole, dtype=jnp.int32)
    )
    if rest:
        carry, last = task(carry, jnp.int32(whole), rest)
        losses = jnp.append(losses, last)
    return Life(losses, learner.parameters(carry[1]))


def _run(learner, key, state, held, data):
    """The steps of a task and, where the learner has events, an event after every few of them."""

    def step(state, one):
        fresh, y = one
        return learner.step(state, join(held, fresh), y)

    if learner.event is None:
        return jax.lax.scan(step, state, data)

    def stretch(state, some):
        number, examples = some
        state, losses = jax.lax.scan(step, state, examples)
        inputs = join(jnp.broadcast_to(held, (learner.every, len(held))), examples[0])
        return learner.event(jax.random.fold_in(key, number), state, inputs), losses

    count, rest = divmod(len(data[1]), learner.every)
    part = lambda a: a[: len(a) - rest].reshape(count, learner.every, *a.shape[1:])
    numbers = jnp.arange(count, dtype=jnp.int32)
    state, losses = jax.lax.scan(stretch, state, (numbers, jax.tree.map(part, data)))
    if rest:  # the last task was cut short before an event
        state, last = jax.lax.scan(step, state, jax.tree.map(lambda a: a[-rest:], data))
        losses = jnp.append(losses, last)
    return state, losses
