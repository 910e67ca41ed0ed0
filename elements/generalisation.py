"""How far what was learnt reaches: noise on the inputs, and labels learnt by heart."""

import jax
import jax.numpy as jnp
from jax import lax

from elements import datasets, learner, network


def judged(
    base: learner.Learner, skip: bool, activation: str | None, sigmas: tuple[float, ...]
) -> learner.Learner:
    """`base`, made with `skip` and `activation`, that is also judged at the end.

    `noise_σ_accuracy`: accuracy on the test points with Gaussian noise of σ added, the mean over
    the trial's draws of noise (which all σ share). `memorised`: the share of mislabelled training
    points whose wrong label the network gives; NaN where none is mislabelled.
    """

    def finish(trial, state, hyper):
        which = hyper.activation if activation is None else activation
        predict = lambda x: network.logits(state.params, x, which, skip, hyper.used)
        found = base.finish(trial, state, hyper)
        if sigmas:
            accuracies = robustness(predict, trial.test, trial.noise, jnp.asarray(sigmas))
            names = [f"noise_{sigma:g}_accuracy" for sigma in sigmas]
            found |= dict(zip(names, accuracies, strict=True))
        if trial.flipped is not None:
            wrong = learner.accuracy(predict(trial.x), trial.flipped)
            found["memorised"] = jnp.where(jnp.any(trial.flipped.weight > 0), wrong, jnp.nan)
        return found

    return base._replace(finish=finish)


def robustness(predict, test: datasets.Points, noise: jax.Array, sigmas: jax.Array) -> jax.Array:
    """Mean accuracies `[S]` of `predict(x [2, M]) -> logits [M]` on noisy test points.

    `noise [D, 2, M]` are standard normal draws, scaled by each of the `sigmas [S]`.
    """
    share = learner.all_of(test)

    def one(draw):
        x = test.x[:, None] + sigmas[:, None] * draw[:, None]  # [2, S, M]
        logits = predict(x.reshape(2, -1)).reshape(sigmas.size, -1)
        return jax.vmap(learner.accuracy, in_axes=(0, None))(logits, share)

    return lax.map(one, noise).mean(0)
