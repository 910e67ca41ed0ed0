"""The learner of successive tasks whose neurons die and are born meanwhile.

Shapes: `B` of a batch, `I` inputs, `R` recorded samples, `N` units of a hidden layer.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import optax

from apoptosis import evidence, neurons, successive
from apoptosis.transform import ApoptosisTransform


class State(NamedTuple):
    """Weights, and the states of optimiser, transform and evidence."""

    params: dict
    optimiser: optax.OptState
    transform: object
    evidence: evidence.Evidence


def groups(network: successive.Network) -> tuple[neurons.NeuronGroup, ...]:
    """The hidden layers of a network, one group each."""
    return neurons.mlp(*network.layers)


def renewing(
    network: successive.Network,
    optimiser: optax.GradientTransformation,
    transform: ApoptosisTransform,
    every: int,
    *,
    keep: Sequence[str] = evidence.MEASURES,
    record: int = 0,
    decay=0.99,
) -> successive.Learner:
    """Backpropagation with an update of `transform` after every `every` steps.

    `keep` are the measures of evidence that the transform reads; averages forget by `decay` a step.
    With `record` it also sees what the hidden units, as they are at the event, make of `record`
    examples of the task (at most all), and of each layer the inputs.
    """
    own = groups(network)

    def init(key):
        params = successive.weights(key, network)
        known = evidence.init(params, own, keep)
        return State(params, optimiser.init(params), transform.init(params), known)

    def step(state, x, y):
        def error(params):
            logits, hidden = successive.predict(network, params, x)
            seen = successive.judged(logits, y)
            return seen.loss, (seen, hidden)

        params = state.params
        (_, (seen, hidden)), gradient = jax.value_and_grad(error, has_aux=True)(params)
        known = evidence.gather(state.evidence, params, hidden, gradient, groups=own, decay=decay)
        updates, memory = optimiser.update(gradient, state.optimiser, params)
        params = optax.apply_updates(params, updates)
        return state._replace(params=params, optimiser=memory, evidence=known), seen

    def event(key, state, x):
        known = _recorded(state.evidence, network, state.params, x[:record])
        params, memory, inner, report = transform.update(
            key, state.params, state.optimiser, state.transform, known
        )
        return State(params, memory, inner, evidence.renewed(state.evidence, report))

    return successive.Learner(init, step, event, every, lambda state: state.params)


def _recorded(known, network, params, x):
    """Evidence with the outputs `[R, N]` and the inputs of each layer, for inputs `[R, I]`."""
    if not len(x):
        return known
    _, hidden = successive.predict(network, params, x)
    names, into = network.layers[:-1], [x, *hidden.values()]
    return {
        name: known[name]._replace(outputs=hidden[name], inputs=before)
        for name, before in zip(names, into, strict=False)
    }
