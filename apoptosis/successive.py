"""Classification tasks one after the other: each can be learned as well as the first, or could.

Permuted images (Goodfellow et al. 2013; Kirkpatrick et al. 2017): each task has the pixels in an
order of its own. Random labels (Zhang et al. 2017; as a sequence: Lyle et al. 2023, Kumar et al.
2023): each task has the same images under labels drawn anew, to be learned by heart. All tasks of a
kind are equally hard for a network that has learned nothing, so what later ones cost more is lost
plasticity.

All of one learner, without a population axis: `vmap` over keys gives seeds.

Shapes: `I` inputs (pixels), `C` classes, `E` examples, `H` held out, `B` of a batch, `S` steps of a
task, `T` tasks, `N` units of a hidden layer, `R` recorded samples.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from apoptosis import plasticity

KINDS = ("permuted", "random_labels")
OUTPUT = "output"
RECORD = 256  # examples for which a life keeps the last hidden layer's outputs


@dataclasses.dataclass(frozen=True)
class World:
    """The length and size of all tasks. Raises ValueError for what is below 1."""

    tasks: int = 60  # T
    steps: int = 200  # of a task, S
    batch: int = 16  # B
    examples: int = 256  # to learn, E
    held_out: int = 512  # to judge by, H

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(
                    f"{field.name} must be at least 1, got {getattr(self, field.name)}"
                )


class Images(NamedTuple):
    """`pixels [E, I]` in float32 and `labels [E]` in [0, C)."""

    pixels: jax.Array
    labels: jax.Array


class Task(NamedTuple):
    """What is to be learned, `[E]`, and what it is judged by, `[H]`."""

    train: Images
    held_out: Images


def deal(key: jax.Array, world: World, images: Images) -> Task:
    """The examples and the held-out images of one learner's life, drawn without replacement."""
    order = jax.random.permutation(key, len(images.labels))[: world.examples + world.held_out]
    cut = lambda rows: Images(images.pixels[rows], images.labels[rows])
    return Task(cut(order[: world.examples]), cut(order[world.examples :]))


def draw(key: jax.Array, dealt: Task, permuted: jax.Array, classes: int) -> Task:
    """A task: the pixels in a random order if `permuted`, else the examples' labels drawn anew.

    `permuted []` may be traced. Held-out images keep their labels.
    """
    of_order, of_labels = jax.random.split(key)
    pixels = dealt.train.pixels.shape[1]
    order = jnp.where(permuted, jax.random.permutation(of_order, pixels), jnp.arange(pixels))
    drawn = jax.random.randint(of_labels, dealt.train.labels.shape, 0, classes)
    labels = jnp.where(permuted, dealt.train.labels, drawn)
    held_out = dealt.held_out._replace(pixels=dealt.held_out.pixels[:, order])
    return Task(Images(dealt.train.pixels[:, order], labels), held_out)


@dataclasses.dataclass(frozen=True)
class Network:
    """The learner: a relu MLP. Raises ValueError for sizes below 1, and without a hidden layer."""

    inputs: int = 64  # I
    widths: tuple[int, ...] = (64, 64)
    classes: int = 10  # C

    def __post_init__(self):
        if not self.widths or min(self.inputs, self.classes, *self.widths) < 1:
            raise ValueError(f"widths must be at least one number of at least 1, got {self.widths}")

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers, the output's the last."""
        return (*(f"hidden_{i}" for i in range(len(self.widths))), OUTPUT)


def weights(key: jax.Array, network: Network) -> dict:
    """Initial parameters by layer: kernels `[fan-in, N]` normal of variance 2 / fan-in (He et al.
    2015), below the output 1 / fan-in, and biases 0."""
    sizes, params = (network.inputs, *network.widths, network.classes), {}
    for i, name in enumerate(network.layers):
        gain = 1.0 if name == OUTPUT else math.sqrt(2)
        kernel = jax.random.normal(jax.random.fold_in(key, i), sizes[i : i + 2])
        scaled = gain / math.sqrt(sizes[i]) * kernel
        params[name] = {"kernel": scaled, "bias": jnp.zeros(sizes[i + 1])}
    return params


def predict(network: Network, params: dict, x: jax.Array) -> tuple:
    """Logits `[B, C]` of inputs `[B, I]`, and by layer the outputs `[B, N]` of the hidden units."""
    hidden = {}
    for name in network.layers[:-1]:
        x = jax.nn.relu(x @ params[name]["kernel"] + params[name]["bias"])
        hidden[name] = x
    return x @ params[OUTPUT]["kernel"] + params[OUTPUT]["bias"], hidden


class Seen(NamedTuple):
    """Cross-entropy in nats and accuracy of a batch, before the update made with it."""

    loss: jax.Array
    accuracy: jax.Array


def judged(logits: jax.Array, labels: jax.Array) -> Seen:
    """Means over the batch, of logits `[B, C]` and labels `[B]`."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return Seen(jnp.mean(losses), jnp.mean(jnp.argmax(logits, -1) == labels))


class Learner(NamedTuple):
    """One learner: `init(key) -> state`; `step(state, x [B, I], y [B]) -> (state, Seen)`.

    `event(key, state, x [E, I]) -> state` comes after every `every` steps, if there is one, with
    the inputs of the present task. `parameters(state)` are its weights. One that is `fresh` starts
    again at each task: the network that has nothing to lose.
    """

    init: Callable
    step: Callable
    event: Callable | None = None
    every: int = 1
    parameters: Callable = lambda state: state[0]
    fresh: bool = False


def plain(
    network: Network, optimiser: optax.GradientTransformation, fresh: bool = False
) -> Learner:
    """Backpropagation; its state is the parameters and the optimiser's state."""

    def init(key):
        params = weights(key, network)
        return params, optimiser.init(params)

    def step(state, x, y):
        params, memory = state

        def error(params):
            seen = judged(predict(network, params, x)[0], y)
            return seen.loss, seen

        (_, seen), gradient = jax.value_and_grad(error, has_aux=True)(params)
        updates, memory = optimiser.update(gradient, memory, params)
        return (optax.apply_updates(params, updates), memory), seen

    return Learner(init, step, fresh=fresh)


class Life(NamedTuple):
    """What became of a learner, by task `[T]`, and its last weights.

    `loss` and `accuracy` are online: means over the task's batches, each before its update;
    `final` is the accuracy on the task's examples after its last step, `held_out` that on images
    not seen, NaN where labels are random. `dormant` is the share over all hidden units on the
    task's examples, `norm` that of all weights, both at the task's end; there the last hidden layer
    gives `outputs [T, R, N]` for the first R = `RECORD` of the examples.
    """

    loss: jax.Array
    accuracy: jax.Array
    final: jax.Array
    held_out: jax.Array
    dormant: jax.Array
    norm: jax.Array
    outputs: jax.Array
    parameters: dict


MEASURES = Life._fields[:-2]


def live(
    key: jax.Array,
    world: World,
    network: Network,
    learner: Learner,
    images: Images,
    permuted: jax.Array,
) -> Life:
    """A learner's life of `world.tasks` tasks with images drawn from `images`.

    Images, tasks with their batches, initial weights and events have keys of their own under `key`:
    learners with equal keys see the same data and begin with the same weights. Raises ValueError
    unless there are enough images and the learner's `every` divides the steps of a task.
    """
    count = len(images.labels)
    if world.examples + world.held_out > count:
        raise ValueError(
            f"examples and held_out must be at most the {count} images together, got "
            f"{world.examples} and {world.held_out}"
        )
    if learner.every < 1 or world.steps % learner.every:
        raise ValueError(f"every must divide the steps, {world.steps}, got {learner.every}")
    of_images, of_tasks, of_start, of_events = (jax.random.fold_in(key, i) for i in range(4))
    dealt = deal(of_images, world, images)

    def lived(state, number):
        of_task, of_batches = jax.random.split(jax.random.fold_in(of_tasks, number))
        if learner.fresh:
            state = learner.init(jax.random.fold_in(of_start, number))
        task = draw(of_task, dealt, permuted, network.classes)
        shape = (world.steps // learner.every, learner.every, world.batch)
        rows = jax.random.randint(of_batches, shape, 0, world.examples)
        events = jax.random.fold_in(of_events, number)
        state, seen = _run(learner, events, state, task.train, rows)
        params = learner.parameters(state)
        return state, _measured(network, params, task, seen, permuted)

    state = learner.init(jax.random.fold_in(of_start, 0))
    state, measured = jax.lax.scan(lived, state, jnp.arange(world.tasks, dtype=jnp.int32))
    return Life(*measured, learner.parameters(state))


def _run(learner, key, state, train, rows):
    """The steps of a task and, where the learner has events, an event after every few of them."""

    def step(state, chosen):
        return learner.step(state, train.pixels[chosen], train.labels[chosen])

    def stretch(state, some):
        number, chosen = some
        state, seen = jax.lax.scan(step, state, chosen)
        if learner.event is not None:
            state = learner.event(jax.random.fold_in(key, number), state, train.pixels)
        return state, seen

    numbers = jnp.arange(len(rows), dtype=jnp.int32)
    return jax.lax.scan(stretch, state, (numbers, rows))


def _measured(network, params, task, seen, permuted):
    """The fields of `Life` but the last, for one task."""
    logits, hidden = predict(network, params, task.train.pixels)
    unseen = judged(predict(network, params, task.held_out.pixels)[0], task.held_out.labels)
    silent = [h.shape[1] * plasticity.dormant(h) for h in hidden.values()]
    return (
        jnp.mean(seen.loss),
        jnp.mean(seen.accuracy),
        judged(logits, task.train.labels).accuracy,
        jnp.where(permuted, unseen.accuracy, jnp.nan),
        sum(silent) / sum(network.widths),
        plasticity.weight_norm(params),
        hidden[network.layers[-2]][:RECORD],
    )
