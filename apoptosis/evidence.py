"""What is known of each neuron, gathered in the training step from activations and the gradient.

Shapes: `N` neurons of a group, `R` recorded samples, `D` inputs of a group's layer.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from apoptosis import neurons, transform

MEASURES = ("activation", "mean", "square", "taylor", "gradient", "contribution")
NEED_GRADIENT = ("taylor", "gradient")


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
    gradient=None,
    inputs: dict[str, jax.Array] | None = None,
    *,
    groups: Sequence[neurons.NeuronGroup] | None = None,
    decay: float = 0.99,
) -> Evidence:
    """The evidence after one more step.

    `activations` are each group's outputs, `[..., N]` over batch and positions (or the group's own
    axes in place of N); a part of the batch will do. `gradient` is that of the loss (its mean over
    the batch) with respect to `params`, of their structure; `inputs [..., D]` what a group's layer
    takes in. Averages forget by `decay` a step. What a step adds, with h an output:

    - `activation`: mean |h|; `mean`: mean h; `square`: mean h²
    - `taylor`: |Σ h·∂L/∂h|, summed over batch and positions first (Molchanov et al. 2019)
    - `gradient`: norm of ∂L/∂w over its incoming weights and bias w
    - `contribution`: mean |h| · Σ |outgoing weights| (Dohare et al. 2024, eq. 1)

    As h reaches the loss through its outgoing weights v alone, and linearly, Σ h·∂L/∂h is
    Σ v·∂L/∂v, over the whole batch and for nothing. So the loss must not read v elsewhere (in a
    penalty, say).
    """
    leaves, after = jax.tree.leaves(params), {}
    if gradient is not None and jax.tree.structure(gradient) != jax.tree.structure(params):
        shapes = " and ".join(str(jax.tree.structure(tree)) for tree in (params, gradient))
        raise ValueError(f"the gradient must have the structure of the parameters, got {shapes}")
    slopes = None if gradient is None else jax.tree.leaves(gradient)
    for group in neurons.find(groups, params):
        if group.name not in evidence:
            continue
        if group.name not in activations:
            raise ValueError(f"activations lack group {group.name!r}, got {sorted(activations)}")
        old = evidence[group.name]
        h = _flat(activations[group.name], group)
        if slopes is None and set(old.sums) & set(NEED_GRADIENT):
            raise ValueError(f"{NEED_GRADIENT} need the gradient, got None; kept {list(old.sums)}")
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
                    both = (_rows(group, tree, neurons.OUTGOING) for tree in (leaves, slopes))
                    pairs = zip(*both, strict=True)
                    seen[measure] = jnp.abs(sum(jnp.sum(v * g, 1) for v, g in pairs))
                case "gradient":
                    own = _rows(group, slopes, neurons.INCOMING, neurons.BIAS)
                    seen[measure] = jnp.sqrt(sum(jnp.sum(g**2, 1) for g in own))
                case "contribution":
                    seen[measure] = jnp.mean(jnp.abs(h), 0) * outgoing_sum(group, leaves)
        active = jnp.max(h, 0) > 0  # CPUs take longer over whether any is
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
    return sum(jnp.sum(jnp.abs(own), 1) for own in _rows(group, leaves, neurons.OUTGOING))


def _rows(group: neurons.Found, leaves, *kinds: str) -> list[jax.Array]:
    """The group's rows `[N, K]` of these kinds of parts, in float32."""
    parts = [part for part in group.parts if part.kind in kinds]
    return [part.rows(leaves[part.leaf]).astype(jnp.float32) for part in parts]


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
