"""What goes on inside a network while it learns: gradients, weights, features, layer by layer.

Shapes: `L` hidden slots, `L + 1` layers (hidden ones in order, the output last), `W` units of a
slot, `N` training points. What lies beyond the depth in use means nothing.
"""

import jax
import jax.numpy as jnp

from elements import activations, learner, network

SATURATED = 0.05  # of the activation's steepest slope
ROUNDING = 1e-6  # relative to their size, features that vary by less than this do not vary


def observed(
    base: learner.Learner,
    skip: bool,
    activation: str | None,
    *,
    gradients: bool,
    weights: bool,
) -> learner.Learner:
    """`base`, made with `skip` and `activation`, that also records what its layers do.

    `gradients` records, per layer, the norm of the loss's gradient with respect to kernel and
    bias; `weights` the mean, standard deviation and norm of the kernel and, per hidden layer, the
    shares of saturated activations and of dead units and the rank of the features.
    """

    def measure(trial, state, hyper):
        which = hyper.activation if activation is None else activation
        found = base.measure(trial, state, hyper)
        if gradients:
            slope = lambda logits: learner.slope(logits, trial.train)
            found["gradient_norm"] = norms(
                network.gradient(state.params, trial.x, which, skip, slope, hyper.used)
            )
        if weights:
            found |= weight_statistics(state.params, hyper.used)
            layers = network.features(state.params, trial.x, which, skip, hyper.used)
            found |= activity(layers, which, trial.train.weight, hyper.used)
        return found

    return base._replace(measure=measure)


def _layers(params) -> list[dict]:
    """Hidden layers in order, then the output."""
    output, *hidden = network.in_order(params)
    return [*hidden, output]


def norms(gradient) -> jax.Array:
    """Euclidean norm of each layer's kernel and bias together, `[L + 1]`."""
    return jnp.stack(
        [jnp.sqrt(sum(jnp.sum(part**2) for part in layer.values())) for layer in _layers(gradient)]
    )


def weight_statistics(params, used: network.Used = network.WHOLE) -> dict[str, jax.Array]:
    """Mean, standard deviation and Euclidean norm of each layer's kernel in use, `[L + 1]`."""
    layers = _layers(params)
    sizes = [layer["kernel"].size for layer in layers]
    if used.widths is not None:
        fan_in = jnp.array([network.INPUTS, *used.widths])
        last = used.widths[used.last(len(layers) - 1)]
        sizes = jnp.append(fan_in[:-1] * used.widths, last)
    count = jnp.maximum(jnp.asarray(sizes), 1)
    total = jnp.stack([jnp.sum(layer["kernel"]) for layer in layers])
    squares = jnp.stack([jnp.sum(layer["kernel"] ** 2) for layer in layers])
    mean = total / count
    spread = jnp.sqrt(jnp.maximum(squares / count - mean**2, 0))
    return {"weight_mean": mean, "weight_std": spread, "weight_norm": jnp.sqrt(squares)}


def activity(layers, activation, weight: jax.Array, used: network.Used) -> dict[str, jax.Array]:
    """What the units of each hidden layer do over the points of `weight [N]`, each `[L]`.

    `layers` as `network.features` gives them. `saturated` is the share of (unit, point) where the
    activation is flat: its slope less than 5 % of its steepest. `dead` is the share of units that
    are so at every point: they pass hardly any gradient on (a rectifier's none at all).
    `feature_rank` is the participation ratio (Σλ)²/Σλ² of the eigenvalues of the features'
    covariance, between 1 and W: in how many directions the points are spread out. It is 0 where
    they all have the same features, to rounding.
    """
    flat = SATURATED * activations.steepest(activation)
    found = {"saturated": [], "dead": [], "feature_rank": []}
    for k, (h, slope) in enumerate(layers):
        width = h.shape[0] if used.widths is None else used.widths[k]
        exists = jnp.arange(h.shape[0]) < width
        low = jnp.where(jnp.abs(slope) < flat, 1.0, 0)
        # Both are summed, so that none is exactly 0.
        still, steep = jnp.split(_total(jnp.concatenate([low, 1 - low]), weight), 2)
        found["saturated"].append(jnp.sum(exists * still) / jnp.maximum(width, 1))
        found["dead"].append(jnp.sum(exists & (steep == 0)) / jnp.maximum(width, 1))
        found["feature_rank"].append(_rank(jnp.where(exists[:, None], h, 0), weight))
    return {name: jnp.stack(values) for name, values in found.items()}


def _rank(h, weight):
    mean = _total(h, weight)
    centred = h - mean[:, None]
    covariance = network.product(centred * weight, centred.T)
    spread = jnp.trace(covariance)
    alike = spread <= ROUNDING**2 * (spread + jnp.sum(mean**2))  # NaN is not
    # Divided first: the square of a small spread would be 0 in single precision.
    shares = covariance / jnp.where(alike, 1, spread)
    return jnp.where(alike, 0, 1 / jnp.sum(shares**2))


def _total(values, weight):
    """Weighted sums `[W]` over the points of `[W, N]`; on the CPU XLA's own sums are far slower."""
    return network.product(values, weight[:, None])[:, 0]
