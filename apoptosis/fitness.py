"""How much a neuron is worth: scores of a group's neurons, the higher the fitter.

Shapes: `N` neurons of a group, `K` weights of a neuron.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from apoptosis import evidence, neurons, selection


class Fitness(NamedTuple):
    """`score(key, group, leaves, watched) -> [N]`, and the measures that it needs gathered."""

    name: str
    needs: tuple[str, ...]
    score: Callable[..., jax.Array]


class Objectives(NamedTuple):
    """Weights of the four objectives of `multi_objective`; they may be traced."""

    importance: float | jax.Array = 0.4
    diversity: float | jax.Array = 0.3
    stability: float | jax.Array = 0.2
    energy: float | jax.Array = 0.1


class Parts(NamedTuple):
    """Weights of the three ranks of `composite`; they may be traced."""

    activation: float | jax.Array = 1 / 3
    gradient: float | jax.Array = 1 / 3
    weight: float | jax.Array = 1 / 3


def _averaged(measure: str) -> Fitness:
    score = lambda key, group, leaves, watched: watched.average(measure)
    return Fitness(measure, (measure,), score)


def taylor() -> Fitness:
    """|Σ h·∂L/∂h|: the first-order change of the loss without it (Molchanov et al. 2019)."""
    return _averaged("taylor")


def gradient() -> Fitness:
    """Norm of the loss's gradient with respect to its incoming weights and bias."""
    return _averaged("gradient")


def activation() -> Fitness:
    """Mean absolute output."""
    return _averaged("activation")


def contribution() -> Fitness:
    """Mean |h| · Σ |outgoing weights|: the contribution utility of Dohare et al. (2024, eq. 1)."""
    return _averaged("contribution")


def grad_activation() -> Fitness:
    """Root mean square output times `gradient`, the prototype's product of norms."""

    def score(key, group, leaves, watched):
        return jnp.sqrt(watched.average("square")) * watched.average("gradient")

    return Fitness("grad_activation", ("square", "gradient"), score)


def weight() -> Fitness:
    """Norm of the incoming weights times norm of the outgoing ones."""

    def score(key, group, leaves, watched):
        return norm(group, leaves, neurons.INCOMING) * norm(group, leaves, neurons.OUTGOING)

    return Fitness("weight", (), score)


def redo() -> Fitness:
    """Mean |h| over its mean in the layer: dormant at or below τ (Sokar et al. 2023, eq. 1)."""

    def score(key, group, leaves, watched):
        size = watched.average("activation")
        return size / jnp.maximum(jnp.mean(size), 1e-9)

    return Fitness("redo", ("activation",), score)


def firing() -> Fitness:
    """P(A ≥ a): how unremarkable it is that the neuron was last active a steps ago, as its gaps A
    go (Farias & Jozefiak 2025). The gaps are taken as geometric, of the mean that the neuron
    itself showed."""

    def score(key, group, leaves, watched):
        gap = (watched.age - watched.idle) / jnp.maximum(watched.fired, 1)
        rest = jnp.clip(1 - 1 / jnp.maximum(gap, 1.0), 1e-6, 1.0)
        return jnp.where(watched.idle > 0, rest**watched.idle, 1.0)

    return Fitness("firing", (), score)


def random() -> Fitness:
    """A draw from U(0, 1), the control."""
    score = lambda key, group, leaves, watched: jax.random.uniform(key, (group.size,))
    return Fitness("random", (), score)


def composite(weights: Parts | None = None) -> Fitness:
    """Weighted sum of the ranks, in [0, 1], by mean |h|, by gradient norm and by `weight`."""
    shares = Parts() if weights is None else weights

    def score(key, group, leaves, watched):
        parts = (activation(), gradient(), weight())
        ranked = [_rank(part.score(key, group, leaves, watched)) for part in parts]
        return sum(share * own for share, own in zip(shares, ranked, strict=True))

    return Fitness("composite", ("activation", "gradient"), score)


def multi_objective(weights: Objectives | None = None) -> Fitness:
    """Weighted sum of the ranks, in [0, 1], by four objectives.

    Importance is `taylor`; diversity 1 − the largest |cosine| of the incoming weights with those
    of another neuron; stability mean |h| over the deviation of h; energy the negative mean h².
    """
    shares = Objectives() if weights is None else weights

    def score(key, group, leaves, watched):
        square, mean = watched.average("square"), watched.average("mean")
        deviation = jnp.sqrt(jnp.maximum(square - mean**2, 0))
        steady = watched.average("activation") / (deviation + 1e-9)
        parts = (watched.average("taylor"), diversity(group, leaves), steady, -square)
        return sum(share * _rank(own) for share, own in zip(shares, parts, strict=True))

    return Fitness("multi_objective", ("taylor", "activation", "mean", "square"), score)


MEASURES: dict[str, Callable[[], Fitness]] = {
    make.__name__: make
    for make in (
        taylor,
        grad_activation,
        gradient,
        weight,
        activation,
        redo,
        contribution,
        composite,
        multi_objective,
        random,
    )
}


def norm(group: neurons.Found, leaves, kind: str) -> jax.Array:
    """Euclidean norm of each neuron's weights of this kind, `[N]`."""
    rows = [group.parts[i].rows(leaves[group.parts[i].leaf]) for i in group.of(kind)]
    return jnp.sqrt(sum(jnp.sum(own.astype(jnp.float32) ** 2, 1) for own in rows))


def diversity(group: neurons.Found, leaves) -> jax.Array:
    """1 − the largest |cosine| of a neuron's incoming weights with those of another, `[N]`."""
    index = group.of(neurons.INCOMING)
    rows = [group.parts[i].rows(leaves[group.parts[i].leaf]).astype(jnp.float32) for i in index]
    own = jnp.concatenate(rows, 1)
    own = own / jnp.maximum(jnp.linalg.norm(own, axis=1, keepdims=True), 1e-12)
    alike = jnp.abs(own @ own.T) * (1 - jnp.eye(group.size))
    return 1 - jnp.max(alike, 1)


def _rank(scores: jax.Array) -> jax.Array:
    everyone = jnp.ones_like(scores, bool)
    return selection.ranks(scores, everyone) / max(len(scores) - 1, 1)


def ablated(
    loss: Callable, params, groups: Sequence[neurons.NeuronGroup] | None = None
) -> dict[str, jax.Array]:
    """The true change of `loss(params)` when a neuron is silenced (its outgoing weights set to 0),
    per group `[N]`, one neuron after the other: the oracle for every other measure."""
    leaves, tree = jax.tree.flatten(params)
    before, changes = loss(params), {}
    for group in neurons.find(groups, params):
        rows = group.rows(leaves)

        def without(neuron, group=group, rows=rows):
            silenced = list(rows)
            for index in group.of(neurons.OUTGOING):
                silenced[index] = rows[index].at[neuron].set(0)
            return loss(jax.tree.unflatten(tree, group.put(leaves, silenced)))

        changes[group.name] = jax.lax.map(without, jnp.arange(group.size)) - before
    return changes


def against_ablation(
    key: jax.Array,
    loss: Callable,
    params,
    known: evidence.Evidence,
    measures: Sequence[Fitness],
    groups: Sequence[neurons.NeuronGroup] | None = None,
) -> dict[str, dict[str, jax.Array]]:
    """How well fitness tells what a neuron is worth: by measure and group, Spearman's rank
    correlation of the scores with the absolute true change of `loss(params)`.

    NaN where either is the same for all neurons. Ties share their mean rank.
    """
    truth, leaves, found = ablated(loss, params, groups), jax.tree.leaves(params), {}
    for number, measure in enumerate(measures):
        own = jax.random.fold_in(key, number)
        found[measure.name] = {
            group.name: spearman(
                measure.score(jax.random.fold_in(own, place), group, leaves, known[group.name]),
                jnp.abs(truth[group.name]),
            )
            for place, group in enumerate(neurons.find(groups, params))
        }
    return found


def spearman(a: jax.Array, b: jax.Array) -> jax.Array:
    """Rank correlation of two `[N]`; NaN where either is constant."""
    place = lambda x: jnp.sum(x[:, None] > x, 1) + (jnp.sum(x[:, None] == x, 1) - 1) / 2
    a, b = (place(x) - (len(x) - 1) / 2 for x in (a, b))
    size = jnp.sqrt(jnp.sum(a**2) * jnp.sum(b**2))
    return jnp.where(size > 0, jnp.sum(a * b) / jnp.where(size > 0, size, 1), jnp.nan)
