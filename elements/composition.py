"""Networks made of networks: a bottom learnt elsewhere under a new top, and ensembles."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from elements import learner, network


class Graft(NamedTuple):
    """Traced: where a network's first layers come from.

    The first `bottom` hidden layers (0: none) are those of a donor: a network of `bottom` hidden
    layers that was trained by itself for `epochs` (0: a random one). The first `frozen` hidden
    layers then stay as they are; all others, the output among them, start anew and learn.
    """

    bottom: jax.Array
    epochs: jax.Array
    frozen: jax.Array


class Pair(NamedTuple):
    """The trial that a donor learns from, and that of the network itself."""

    source: learner.Trial
    target: learner.Trial


def grafted(base: learner.Learner) -> learner.Learner:
    """The learner of networks with `hyper.graft`, over a `Pair` of trials, from that of plain ones.

    A life in two stages: `init` trains the donor, so a network depends on nothing but its own
    trial and hyper, and equal donors are equal wherever they are used.
    """

    def init(trial, hyper):
        graft = hyper.graft
        # A donor of no layers is not used; it must have one all the same.
        small = hyper._replace(used=hyper.used._replace(depth=jnp.maximum(graft.bottom, 1)))
        learn = lambda _, donor: base.step(trial.source, donor, small)
        donor = lax.fori_loop(0, graft.epochs, learn, base.init(trial.source, small))
        fresh = base.init(trial.target, hyper)
        params = _below(graft.bottom, donor.params, fresh.params)
        return fresh._replace(params=params)

    def step(trial, state, hyper):
        moved = base.step(trial.target, state, hyper)
        return moved._replace(params=_below(hyper.graft.frozen, state.params, moved.params))

    def measure(trial, state, hyper):
        return base.measure(trial.target, state, hyper)

    def finish(trial, state, hyper):
        return base.finish(trial.target, state, hyper)

    return learner.Learner(init, step, measure, finish)


def _below(count, first, second):
    """Parameters whose first `count` hidden layers are of `first`, all else of `second`."""
    output, *hidden = zip(network.in_order(first), network.in_order(second), strict=True)
    mixed = [
        jax.tree.map(lambda a, b, k=k: jnp.where(k < count, a, b), *pair)
        for k, pair in enumerate(hidden)
    ]
    return network.named([output[1], *mixed])


def mean(logits: jax.Array) -> jax.Array:
    """The ensemble's logits `[N]` as those of the mean probability of its members `[M, N]`.

    Here and below a member that has diverged (NaN) abstains: it would else speak for label 0, or
    spoil the whole. If all abstain, the answer is NaN.
    """
    total = lambda z: jax.nn.logsumexp(
        jnp.where(jnp.isnan(z), -jnp.inf, jax.nn.log_sigmoid(z)), axis=0
    )
    return total(logits) - total(-logits)


def vote(logits: jax.Array) -> jax.Array:
    """The majority's margin `[N]` over members `[M, N]` (M odd); its sign is the prediction."""
    return jnp.nanmean(_votes(logits), axis=0)


def weighted(logits: jax.Array, accuracies: jax.Array, n: int) -> jax.Array:
    """The margin `[N]` of a vote with weights log(p/(1 − p)) of the members' accuracies p `[M]`.

    Of independent voters this is the best rule there is (Nitzan & Paroush 1982). `accuracies` were
    measured on `n` validation points; half a point on either side keeps the weights finite.
    """
    p = (accuracies * n + 0.5) / (n + 1)
    weights = jnp.log(p / (1 - p))
    return jnp.nanmean(weights[:, None] * _votes(logits), axis=0)


def disagreement(logits: jax.Array) -> jax.Array:
    """How diverse members `[M, N]` (M > 1) are: the share of points on which two of them differ,
    the mean over all pairs."""
    members, ones = logits.shape[0], jnp.sum(logits > 0, axis=0)
    return jnp.mean(ones * (members - ones)) / (members * (members - 1) / 2)


def _votes(logits):
    return jnp.where(jnp.isnan(logits), jnp.nan, jnp.where(logits > 0, 1.0, -1.0))
