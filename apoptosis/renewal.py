"""Who is born in the place of the dead: new rows of weights for a group's neurons.

A renewal is a function `(key, group, scene) -> (rows, parents, mates)`; rows of neurons that do not
die are as before, but for what a renewal says it takes from survivors.
Shapes: `N` neurons of a group, `K` weights of a neuron in one part.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from apoptosis import evidence, neurons, selection, transform

NOBODY = -1
OUTGOING = ("zero", "parent", "keep")


class Scene(NamedTuple):
    """What a renewal may look at: the parts' `rows [N, K]`, `fresh` ones from the initialiser,
    fitness `scores [N]`, whose places are free or become so (`dying [N]`), and what was `watched`.
    A neuron whose age there is below 0 is unborn (see `unborn`), and nobody's parent."""

    rows: list[jax.Array]
    fresh: list[jax.Array]
    scores: jax.Array
    dying: jax.Array
    watched: evidence.Watched


class Renewal(NamedTuple):
    """`make` as above; `silent`: newborns have zero outgoing weights; `known`: their outputs are
    those of their parents; `exact`: a birth in a free place changes nothing of the function."""

    make: Callable
    silent: bool
    known: bool
    parental: bool
    exact: bool


def fresh(key: jax.Array, group: neurons.Found, rows: list[jax.Array]) -> list[jax.Array]:
    """Rows as of flax's defaults: incoming LeCun normal (truncated), biases 0, scales 1."""
    drawn = []
    for index, (part, own) in enumerate(zip(group.parts, rows, strict=True)):
        if part.kind == neurons.INCOMING:
            draw = jax.nn.initializers.lecun_normal(in_axis=1, out_axis=0)
            new = draw(jax.random.fold_in(key, index), own.shape).astype(own.dtype)
        else:
            new = (jnp.ones_like if part.kind == neurons.SCALE else jnp.zeros_like)(own)
        drawn.append(new)
    return drawn


def random() -> Renewal:
    """Incoming weights, bias and scale from the initialiser, outgoing weights 0."""

    def make(key, group, scene):
        del key
        rows = _born(scene, group, scene.fresh, "zero")
        return rows, _nobody(group), _nobody(group)

    return Renewal(make, silent=True, known=False, parental=False, exact=True)


def none() -> Renewal:
    """Nobody: the place stays free, all its weights 0 (see `unborn`)."""

    def make(key, group, scene):
        del key
        rows = [jnp.where(scene.dying[:, None], 0, own) for own in scene.rows]
        return rows, _nobody(group), _nobody(group)

    return Renewal(make, silent=True, known=False, parental=False, exact=True)


def clone(outgoing: str = "parent") -> Renewal:
    """A copy of a survivor, drawn by `parents`.

    `outgoing` weights are those of the parent, 0, or kept from the neuron that dies.
    """
    _checked(outgoing)

    def make(key, group, scene):
        (mother,) = _drawn(key, scene, 1)
        rows = _born(scene, group, [own[mother] for own in scene.rows], outgoing)
        return rows, mother, _nobody(group)

    return Renewal(make, outgoing == "zero", True, True, outgoing == "zero")


def mutation(noise=0.1, *, absolute: bool = False, outgoing: str = "parent") -> Renewal:
    """A copy of a survivor with Gaussian noise on its incoming weights, and on no others.

    The deviation is `noise` times the root mean square of the parent's own row, or `noise` itself
    if `absolute`.
    """
    _checked(outgoing)
    transform.checked("noise", noise, 0)

    def make(key, group, scene):
        of_parent, of_noise = jax.random.split(key)
        (mother,) = _drawn(of_parent, scene, 1)
        rows = [own[mother] for own in scene.rows]
        rows = noisy(of_noise, group, rows, noise, absolute)
        return _born(scene, group, rows, outgoing), mother, _nobody(group)

    return Renewal(make, outgoing == "zero", False, True, outgoing == "zero")


def noisy(key, group, rows, noise, absolute=False) -> list[jax.Array]:
    """The rows with Gaussian noise on the incoming weights."""
    changed = list(rows)
    for index in group.of(neurons.INCOMING):
        own = rows[index]
        size = 1.0 if absolute else jnp.sqrt(jnp.mean(own**2, 1, keepdims=True))
        drawn = jax.random.normal(jax.random.fold_in(key, index), own.shape, own.dtype)
        changed[index] = own + (noise * size * drawn).astype(own.dtype)
    return changed


def split() -> Renewal:
    """Net2Net's widening (Chen et al. 2016): a survivor and its copies share its outgoing weights.

    What the birth does to the function is nothing, exactly; what the death does to it is another
    matter (see `preservation`).
    """

    def make(key, group, scene):
        (mother,) = _drawn(key, scene, 1)
        children = jnp.zeros(group.size).at[mother].add(scene.dying)
        rows = _born(scene, group, [own[mother] for own in scene.rows], "parent")
        share = 1 / (1 + children)
        share = jnp.where(scene.dying, share[mother], share)[:, None]
        for index in group.of(neurons.OUTGOING):
            shared = (rows[index] * share).astype(rows[index].dtype)
            rows[index] = jnp.where(share < 1, shared, rows[index])
        return rows, mother, _nobody(group)

    return Renewal(make, silent=False, known=True, parental=True, exact=True)


CROSSINGS = ("uniform", "fitness", "blend")


def crossover(how: str = "uniform", outgoing: str = "parent", noise=0.0) -> Renewal:
    """A child of two distinct survivors, with `noise` as in `mutation`.

    `uniform`: each weight from either with probability 1/2; `fitness`: their mean, weighted by
    their ranks of fitness; `blend`: α of one and 1 − α of the other, α ~ U(0.3, 0.7). Outgoing
    weights are crossed likewise, or 0, or kept. Both are reported, the mother as the parent.
    """
    _checked(outgoing)
    transform.checked("noise", noise, 0)
    if how not in CROSSINGS:
        raise ValueError(f"how must be of {CROSSINGS}, got {how!r}")

    def make(key, group, scene):
        of_parents, of_share = jax.random.split(key)
        mother, father = _drawn(of_parents, scene, 2)
        place = 1.0 + selection.ranks(scene.scores, ~scene.dying)
        rows = []
        for index, own in enumerate(scene.rows):
            if how == "uniform":
                drawn = jax.random.bernoulli(jax.random.fold_in(of_share, index), 0.5, own.shape)
                share = drawn.astype(jnp.float32)
            elif how == "fitness":
                share = (place[mother] / (place[mother] + place[father]))[:, None]
            else:
                share = jax.random.uniform(of_share, (group.size, 1), minval=0.3, maxval=0.7)
            rows.append((share * own[mother] + (1 - share) * own[father]).astype(own.dtype))
        if isinstance(noise, jax.core.Tracer) or noise:
            rows = noisy(jax.random.fold_in(of_share, len(rows)), group, rows, noise)
        return _born(scene, group, rows, outgoing), mother, father

    return Renewal(make, outgoing == "zero", False, True, outgoing == "zero")


def most_similar(noise=0.0, outgoing: str = "keep") -> Renewal:
    """A copy of the survivor whose recorded outputs are most like those of the neuron that dies.

    Likeness is the cosine; the outgoing weights are kept, so that the newborn speaks for the dead.
    `noise` as in `mutation`. It needs recorded outputs.
    """
    _checked(outgoing)
    transform.checked("noise", noise, 0)

    def make(key, group, scene):
        h = scene.watched.outputs
        if not h.shape[0]:
            raise ValueError("most_similar needs recorded outputs: evidence.init(..., record=R)")
        h = h / jnp.maximum(jnp.linalg.norm(h, axis=0), 1e-12)
        alike = jnp.where(_candidates(scene.dying, scene.watched.age), h.T @ h, -jnp.inf)
        alike = jnp.where(jnp.eye(group.size, dtype=bool), -jnp.inf, alike)
        mother = jnp.argmax(alike, 1)
        rows = noisy(key, group, [own[mother] for own in scene.rows], noise)
        return _born(scene, group, rows, outgoing), mother, _nobody(group)

    known = not isinstance(noise, jax.core.Tracer) and noise == 0
    return Renewal(make, outgoing == "zero", known, True, outgoing == "zero")


def parents(key, scores: jax.Array, dying: jax.Array, many: int, age=0) -> list[jax.Array]:
    """`many` distinct survivors for each place, `[N]` each, drawn without replacement with
    probabilities in proportion to their rank (the least fit 1, the next 2, …).

    If fewer survive than that, the rest is drawn among the dying, never among those whose `age` is
    below 0 as long as there are others.
    """
    fit = _candidates(dying, age)
    weight = jnp.log1p(selection.ranks(scores, fit)) - jnp.where(fit, 0.0, 1e6)
    weight -= jnp.where(jnp.asarray(age) >= 0, 0.0, 1e6)
    drawn = weight + jax.random.gumbel(key, (len(scores), len(scores)))
    _, chosen = jax.lax.top_k(drawn, min(many, len(scores)))
    return [chosen[:, min(i, chosen.shape[1] - 1)] for i in range(many)]


def _candidates(dying: jax.Array, age) -> jax.Array:
    """The survivors, or all that live if there are none, `[N]`."""
    alive = jnp.broadcast_to(jnp.asarray(age) >= 0, dying.shape)
    return alive & (~dying | ~jnp.any(alive & ~dying))


def _drawn(key, scene: Scene, many: int) -> list[jax.Array]:
    return parents(key, scene.scores, scene.dying, many, scene.watched.age)


def _nobody(group) -> jax.Array:
    return jnp.full(group.size, NOBODY)


def _born(scene: Scene, group, newborn: list[jax.Array], outgoing: str) -> list[jax.Array]:
    """The rows with newborns in the place of the dying."""
    rows = []
    for part, old, new in zip(group.parts, scene.rows, newborn, strict=True):
        if part.kind == neurons.OUTGOING and outgoing != "parent":
            new = jnp.zeros_like(old) if outgoing == "zero" else old
        rows.append(jnp.where(scene.dying[:, None], new, old))
    return rows


def _checked(outgoing: str) -> None:
    if outgoing not in OUTGOING:
        raise ValueError(f"outgoing must be of {OUTGOING}, got {outgoing!r}")
