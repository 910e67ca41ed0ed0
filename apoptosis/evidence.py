"""What is known of each neuron, gathered in the training step from activations and gradients.

Shapes: `N` neurons of a group, `R` recorded samples, `D` inputs of a group's layer.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from apoptosis import neurons, transform

MEASURES = ("activation", "mean", "square", "taylor", "gradient", "contribution")
NEED_GRADIENTS = ("taylor", "gradient")


class Watched(NamedTuple):
    """What is known of a group since each of its neurons was born.

    `age [N]` steps since birth, `idle [N]` steps since last active (an output above 0 somewhere in
    the batch), `fired [N]` steps in which active; `weight [N]` of the exponential averages in
    `sums`, by measure `[N]`: read them by `average`. `outputs [R, N]` and `inputs [R, D]` are
    samples of the last step (R, D may be 0).
    """

    age: jax.Array
    idle: jax.Array
    fired: jax.Array
    weight: jax.Array
    sums: dict[str, jax.Array]
    outputs: jax.Array
    inputs: jax.Array

    def average(self, measure: str) -> jax.Array:
        """The average `[N]` of a measure since birth, free of the bias towards 0 at its start.

        Raises ValueError if it was not gathered.
        """
        if measure not in self.sums:
            raise ValueError(
                f"the evidence lacks {measure!r}: keep it in evidence.init, which keeps "
                f"{tuple(self.sums)}"
            )
        return self.sums[measure] / jnp.maximum(self.weight, jnp.finfo(jnp.float32).tiny)


Evidence = dict[str, Watched]


def init(
    params,
    groups: Sequence[neurons.NeuronGroup] | None = None,
    keep: Sequence[str] = ("activation", "mean", "square", "taylor", "gradient", "contribution"),
    record: int = 0,
    inputs: bool = False,
) -> Evidence:
    """Nothing known yet of any group.

    `keep` are the measures to average, of `MEASURES`; `record` samples of outputs are kept for
    functional preservation (twice the number of neurons is a good start), and with `inputs` those
    of the inputs as well, for the local regression of newborns.
    """
    transform.checked("record", record, 0)
    for measure in keep:
        if measure not in MEASURES:
            raise ValueError(f"keep must be of {MEASURES}, got {measure!r}")
    known = {}
    leaves = jax.tree.leaves(params)
    for group in neurons.find(groups, params):
        size, part = group.size, group.parts[group.of(neurons.INCOMING)[0]]
        width = part.rows(leaves[part.leaf]).shape[1] if inputs else 0
        none = lambda dtype, size=size: jnp.zeros(size, dtype)
        known[group.name] = Watched(
            none(jnp.int32),
            none(jnp.int32),
            none(jnp.int32),
            none(jnp.float32),
            {measure: none(jnp.float32) for measure in keep},
            jnp.zeros((record, size)),
            jnp.zeros((record if inputs else 0, width)),
        )
    return known


def gather(
    evidence: Evidence,
    params,
    activations: dict[str, jax.Array],
    gradients: dict[str, jax.Array] | None = None,
    inputs: dict[str, jax.Array] | None = None,
    *,
    groups: Sequence[neurons.NeuronGroup] | None = None,
    decay: float = 0.99,
) -> Evidence:
    """The evidence after one more step.

    `activations` are each group's outputs, `[..., N]` over batch and positions (or the group's own
    axes in place of N), `gradients` those of the loss (its mean over the batch) with respect to
    them, of the same shape, `inputs [..., D]` what its layer takes in. Averages forget by `decay`
    a step. What a step adds, with h an output and g its gradient:

    - `activation`: mean |h|; `mean`: mean h; `square`: mean h²
    - `taylor`: |Σ h·g|, the sum over batch and positions taken first (Molchanov et al. 2019)
    - `gradient`: sqrt(Σ g²)
    - `contribution`: mean |h| · Σ |outgoing weights| (Dohare et al. 2024, eq. 1)
    """
    leaves, after = jax.tree.leaves(params), {}
    for group in neurons.find(groups, params):
        if group.name not in evidence:
            continue
        if group.name not in activations:
            raise ValueError(f"activations lack group {group.name!r}, got {sorted(activations)}")
        old = evidence[group.name]
        h = _flat(activations[group.name], group)
        if set(old.sums) & set(NEED_GRADIENTS):
            if gradients is None or group.name not in gradients:
                raise ValueError(f"{tuple(old.sums)} need the gradients of group {group.name!r}")
            g = _flat(gradients[group.name], group)
        seen = {}
        for measure in old.sums:
            match measure:
                case "activation":
                    seen[measure] = jnp.mean(jnp.abs(h), 0)
                case "mean":
                    seen[measure] = jnp.mean(h, 0)
                case "square":
                    seen[measure] = jnp.mean(h**2, 0)
                case "taylor":
                    seen[measure] = jnp.abs(jnp.sum(h * g, 0))
                case "gradient":
                    seen[measure] = jnp.sqrt(jnp.sum(g**2, 0))
                case "contribution":
                    seen[measure] = jnp.mean(jnp.abs(h), 0) * outgoing_sum(group, leaves)
        active = jnp.any(h > 0, 0)
        record, taken = old.outputs.shape[0], old.inputs
        if taken.size:
            if inputs is None or group.name not in inputs:
                raise ValueError(f"inputs lack group {group.name!r}, and are to be recorded")
            x = inputs[group.name]
            taken = _sample(x.reshape(-1, taken.shape[1]).astype(jnp.float32), record)
        after[group.name] = Watched(
            old.age + 1,
            jnp.where(active, 0, old.idle + 1),
            old.fired + active,
            decay * old.weight + (1 - decay),
            {name: decay * old.sums[name] + (1 - decay) * new for name, new in seen.items()},
            _sample(h, record),
            taken,
        )
    return after


def renewed(evidence: Evidence, report: transform.Report) -> Evidence:
    """The evidence after an event: of newborns nothing is known. To be called after `update`."""
    after = {}
    for name, old in evidence.items():
        born = report.born[name]
        clear = lambda value, born=born: jnp.where(born, jnp.zeros_like(value), value)
        fields = {field: clear(getattr(old, field)) for field in ("age", "idle", "fired", "weight")}
        after[name] = old._replace(**fields, sums=jax.tree.map(clear, old.sums))
    return after


def outgoing_sum(group: neurons.Found, leaves) -> jax.Array:
    """Σ |outgoing weights| of each neuron, `[N]`."""
    parts = [group.parts[index] for index in group.of(neurons.OUTGOING)]
    rows = [part.rows(leaves[part.leaf]).astype(jnp.float32) for part in parts]
    return sum(jnp.sum(jnp.abs(own), 1) for own in rows)


def _flat(values: jax.Array, group: neurons.Found) -> jax.Array:
    """`[samples, N]` in float32; raises ValueError where N does not fit."""
    if values.size % group.size or values.shape[-1] > group.size:
        raise ValueError(
            f"group {group.name!r} has {group.size} neurons, got activations of {values.shape}"
        )
    return values.reshape(-1, group.size).astype(jnp.float32)


def _sample(rows: jax.Array, record: int) -> jax.Array:
    """`record` rows, evenly spread over the batch; raises ValueError where there are fewer."""
    if record > rows.shape[0]:
        raise ValueError(f"record must be at most the {rows.shape[0]} samples, got {record}")
    return rows[:: rows.shape[0] // record][:record] if record else rows[:0]
