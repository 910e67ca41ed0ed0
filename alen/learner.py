"""One organism that learns: `init` and `step`, to be vmapped over seeds by whoever wants many."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from alen import losses
from alen import model as organism
from alen.losses import Batch, Hyper, Measured


class State(NamedTuple):
    """All that the next step needs; `step` counts those taken."""

    params: dict
    optimiser: optax.OptState
    step: jax.Array


class Info(NamedTuple):
    """What a step showed: what was `measured` before it, the gradient's norm, the rate taken."""

    measured: Measured
    gradient: jax.Array
    rate: jax.Array


class Learner(NamedTuple):
    """A pair of pure functions of one organism.

    `init(key) -> state` and `step(key, state, batch, hyper) -> (state, info)`.
    """

    init: Callable[[jax.Array], State]
    step: Callable[[jax.Array, State, Batch, Hyper], tuple[State, Info]]


def rate(hyper: Hyper, step: jax.Array) -> jax.Array:
    """The learning rate of step number `step`, from 0 on: never zero at the first."""
    climb = jnp.minimum((step + 1) / jnp.maximum(hyper.warmup, 1), 1.0)
    begin = jnp.maximum(hyper.hold * hyper.decay_steps, hyper.warmup)
    gone = jnp.clip((step - begin) / jnp.maximum(hyper.decay_steps - begin, 1), 0, 1)
    fall = hyper.final_share + (1 - hyper.final_share) * 0.5 * (1 + jnp.cos(jnp.pi * gone))
    return hyper.learning_rate * climb * jnp.where(hyper.decay_steps > 0, fall, 1.0)


def optimiser(hyper: Hyper) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019) at rate 1 on clipped gradients, biases and norms undecayed.

    The energy is clipped by itself, so that its surprises do not slow down all else. The state has
    the same structure for all `hyper`.
    """
    clip = optax.clip_by_global_norm(hyper.clip)
    return optax.chain(
        optax.partition({True: clip, False: clip}, _of_energy),
        optax.scale_by_adam(b1=hyper.beta1, b2=hyper.beta2),
        optax.add_decayed_weights(hyper.weight_decay, decayed),
        optax.scale(-1.0),
    )


def decayed(params) -> dict:
    """Which parameters decay: all but biases and the scales of norms."""
    return jax.tree.map_with_path(lambda path, _: path[-1].key not in ("bias", "scale"), params)


def _of_energy(params):
    return jax.tree.map_with_path(lambda path, _: path[0].key == "energy", params)


def learner(model: organism.Alen, decoded_share: float = 0.0) -> Learner:
    """The learner of `model`.

    Of a share of each batch, `decoded_share`, the K candidates of a step are decoded to train the
    energy; 0 stands for 1/K, which costs one more pass of the decoder, without a gradient.
    Raises ValueError for what is no share.
    """
    if not 0 <= decoded_share <= 1:
        raise ValueError(f"decoded_share must lie in [0, 1], got {decoded_share}")
    share = decoded_share or 1 / model.architecture.operators

    def init(key):
        params = organism.initial(key, model)
        return State(params, optimiser(Hyper(0.0)).init(params), jnp.int32(0))

    def step(key, state, batch, hyper):
        decoded = max(1, round(share * len(batch.questions)))
        differ = jax.value_and_grad(
            lambda params: losses.loss(model, decoded, key, params, batch, hyper), has_aux=True
        )
        (_, measured), gradient = differ(state.params)
        update, moments = optimiser(hyper).update(gradient, state.optimiser, state.params)
        pace = rate(hyper, state.step)
        params = optax.apply_updates(state.params, jax.tree.map(lambda u: pace * u, update))
        info = Info(measured, optax.tree.norm(gradient), pace)
        return State(params, moments, state.step + 1), info

    return Learner(init, step)
