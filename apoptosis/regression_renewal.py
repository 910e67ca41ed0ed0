"""The learner of Slowly-Changing Regression whose neurons die and are born meanwhile.

Shapes: `I` inputs, `H` hidden units, `E` steps between two events, `R` recorded samples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from apoptosis import evidence, neurons, regression
from apoptosis.transform import ApoptosisTransform

GROUP = "hidden"


class State(NamedTuple):
    """Weights, and the states of optimiser, transform and evidence."""

    params: dict
    optimiser: optax.OptState
    transform: object
    evidence: evidence.Evidence


def groups(network: regression.Network) -> tuple[neurons.NeuronGroup, ...]:
    """The one group of a network: its hidden units."""
    activation = regression.ACTIVATIONS[network.activation].function
    return neurons.mlp(GROUP, "output", activation=activation)


def renewing(
    network: regression.Network,
    optimiser: optax.GradientTransformation,
    transform: ApoptosisTransform,
    every: int,
    *,
    keep: Sequence[str] = evidence.MEASURES,
    record: int = 0,
    decay=0.99,
) -> regression.Learner:
    """Online gradient descent with an event of `transform` after every `every` steps.

    `keep` are the measures of evidence that the transform reads; averages forget by `decay` a step.
    With `record` it also sees what the hidden units, as they are at the event, make of the last
    `record` inputs (at most `every`); in between nothing is recorded.
    """
    own, record = groups(network), min(record, every)

    def init(key):
        params = regression.weights(key, network)
        known = evidence.init(params, own, keep)
        return State(params, optimiser.init(params), transform.init(params), known)

    def step(state, x, y):
        def error(params):
            prediction, hidden = regression.predict(network, params, x)
            return jnp.square(prediction - y), hidden

        params = state.params
        (loss, hidden), gradient = jax.value_and_grad(error, has_aux=True)(params)
        known = evidence.gather(
            state.evidence, params, {GROUP: hidden[None]}, gradient, groups=own, decay=decay
        )
        updates, optimiser_state = optimiser.update(gradient, state.optimiser, params)
        params = optax.apply_updates(params, updates)
        return state._replace(params=params, optimiser=optimiser_state, evidence=known), loss

    def event(key, state, inputs):
        known = _recorded(state.evidence, network, state.params, inputs[-record:] if record else ())
        params, optimiser_state, own_state, report = transform.update(
            key, state.params, state.optimiser, state.transform, known
        )
        after = evidence.renewed(state.evidence, report)
        return State(params, optimiser_state, own_state, after)

    return regression.Learner(init, step, event, every, lambda state: state.params)


def _recorded(known, network, params, inputs):
    """Evidence with the outputs `[R, H]` of the hidden units for inputs `[R, I]`, and these."""
    if not len(inputs):
        return known
    _, outputs = jax.vmap(lambda x: regression.predict(network, params, x))(inputs)
    return {GROUP: known[GROUP]._replace(outputs=outputs, inputs=inputs)}
