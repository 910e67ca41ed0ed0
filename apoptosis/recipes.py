"""Ready-made transforms: ours, the controls, and the field's own methods.

Every recipe takes `groups` (those of a plain MLP or of our transformer if None), and every one
that renews neurons `moments`, the policy for the optimiser's memory, and `initial`, the model's
initialiser (see `engine.replace`). Rates, intervals and strengths may be traced.
"""

import jax.numpy as jnp

from apoptosis import combine, drift, engine, fade, fitness, renewal
from apoptosis.transform import ApoptosisTransform


def none() -> ApoptosisTransform:
    """Nothing ever dies: the baseline."""
    return combine.identity()


def random(
    rate=0.1, interval=500, *, groups=None, moments="zero", initial=None, maturity=0
) -> ApoptosisTransform:
    """The control: neurons chosen at random start afresh, with outgoing weights 0."""
    inner = engine.replace(
        rate,
        fitness.random(),
        renewal.random(),
        groups=groups,
        policy=moments,
        initial=initial,
        maturity=maturity,
    )
    return combine.every(interval, inner)


def standard(
    rate=0.1,
    interval=500,
    *,
    groups=None,
    moments="zero",
    maturity=0,
    scoring=None,
    born=None,
    scope="group",
) -> ApoptosisTransform:
    """The least fit die, and mutated survivors take their place.

    Fitness is `fitness.grad_activation` and renewal `renewal.mutation(0.1)` unless given.
    """
    inner = engine.replace(
        rate,
        scoring or fitness.grad_activation(),
        born or renewal.mutation(0.1),
        groups=groups,
        policy=moments,
        maturity=maturity,
        scope=scope,
    )
    return combine.every(interval, inner)


def redo(
    rate=1.0, interval=1000, *, threshold=0.025, groups=None, moments="zero", initial=None
) -> ApoptosisTransform:
    """ReDo (Sokar et al. 2023): neurons whose mean |h| is at most `threshold` of their layer's
    start afresh, with outgoing weights 0. `rate` caps the share of a layer at one event.

    The paper: τ = 0.025 for DQN's default replay ratio (0.1 elsewhere), every 1,000 steps.
    """
    inner = engine.replace(
        rate,
        fitness.redo(),
        renewal.random(),
        groups=groups,
        policy=moments,
        initial=initial,
        threshold=threshold,
    )
    return combine.every(interval, inner)


def continual_backprop(
    rate=1e-4, interval=1, *, maturity=100, groups=None, moments="zero", initial=None
) -> ApoptosisTransform:
    """Continual backpropagation (Dohare et al. 2024, algorithm 1): of the mature neurons, the share
    `rate` a step of the lowest contribution utility starts afresh, with outgoing weights 0; its
    mean output goes into the next bias.

    The paper: utilities averaged with decay 0.99 (see `evidence.gather`), maturity 100, rates of
    1e-6 to 1e-3.
    """
    inner = engine.replace(
        rate,
        fitness.contribution(),
        renewal.random(),
        groups=groups,
        policy=moments,
        initial=initial,
        maturity=maturity,
        share_of="mature",
        keep=engine.Preservation("mean"),
    )
    return inner if isinstance(interval, int) and interval == 1 else combine.every(interval, inner)


def self_normalized_resets(
    rate=1.0, interval=1, *, rejection=0.02, maturity=100, groups=None, moments="zero", initial=None
) -> ApoptosisTransform:
    """Self-Normalized Resets (Farias & Jozefiak 2025, algorithm 1): a neuron that has been inactive
    for longer than all but the share `rejection` of its own gaps between firings starts afresh.

    `rate` caps the share of a layer at one event. The gaps are taken as geometric (see
    `fitness.firing`), and judged from `maturity` steps on; `rejection` is the paper's η.
    """
    inner = engine.replace(
        rate,
        fitness.firing(),
        renewal.random(),
        groups=groups,
        policy=moments,
        initial=initial,
        maturity=maturity,
        threshold=rejection,
    )
    return inner if isinstance(interval, int) and interval == 1 else combine.every(interval, inner)


def shrink_and_perturb(
    rate=0.2, interval=500, *, noise=0.01, groups=None, initial=None
) -> ApoptosisTransform:
    """Shrink and perturb (Ash & Adams 2020): all weights times 1 − `rate`, plus `noise` times a
    draw of the initialiser `initial(key)`, or a standard normal one.

    The paper: at each new batch of data, shrinkage 0.4 to 0.6 and noise of deviation 0.01.
    """
    return combine.every(interval, drift.shrink(rate, noise, groups=groups, initial=initial))


def l2_init(rate=1e-5, interval=1, *, groups=None) -> ApoptosisTransform:
    """L2 Init (Kumar et al. 2023): all weights are drawn to where they started, see
    `drift.towards_start`; the paper's λ of 1e-2 to 1e-5 goes with rate = 2 λ · learning rate."""
    inner = drift.towards_start(rate, groups=groups)
    return inner if isinstance(interval, int) and interval == 1 else combine.every(interval, inner)


def functional(
    rate=0.1,
    interval=500,
    *,
    groups=None,
    moments="zero",
    initial=None,
    maturity=0,
    scoring=None,
    born=None,
    absorb="least_squares",
    preservation_steps=0,
) -> ApoptosisTransform:
    """The least fit die after the survivors have absorbed what they gave (`preservation.absorb`),
    and newborns start with outgoing weights 0, or, with `preservation_steps` of local regression,
    doing what the survivors left undone.

    It needs recorded outputs, `evidence.init(..., record=R)`, R well above the number of neurons,
    and for the regression also inputs. Fitness is `fitness.taylor` unless given.
    """
    inner = engine.replace(
        rate,
        scoring or fitness.taylor(),
        born or renewal.random(),
        groups=groups,
        policy=moments,
        initial=initial,
        maturity=maturity,
        keep=engine.Preservation(absorb, preservation_steps),
    )
    return combine.every(interval, inner)


def functional_similar(
    rate=0.1, interval=500, *, noise=0.0, groups=None, moments="zero", maturity=0, scoring=None
) -> ApoptosisTransform:
    """The prototype's functional variant: the newborn copies the incoming row of the survivor whose
    recorded outputs are most like (cosine) those of the dead, and keeps the dead's outgoing
    weights. The prototype's noise was 0.1, absolute; here it is relative."""
    return standard(
        rate,
        interval,
        groups=groups,
        moments=moments,
        maturity=maturity,
        scoring=scoring,
        born=renewal.most_similar(noise),
    )


def crossover(
    rate=0.1, interval=500, *, how="uniform", groups=None, moments="zero", maturity=0, scoring=None
) -> ApoptosisTransform:
    """As `standard`, with children of two distinct survivors (`renewal.crossover`)."""
    return standard(
        rate,
        interval,
        groups=groups,
        moments=moments,
        maturity=maturity,
        scoring=scoring,
        born=renewal.crossover(how),
    )


def continuous(rate=0.02, interval=100, **settings) -> ApoptosisTransform:
    """`standard` in small steps: 2 % every 100 updates."""
    return standard(rate, interval, **settings)


def gradual_fade(
    rate=0.1,
    interval=500,
    *,
    fade_steps=100,
    groups=None,
    moments="zero",
    initial=None,
    maturity=0,
    scoring=None,
) -> ApoptosisTransform:
    """The least fit fade over `fade_steps` updates, and start afresh at the end (`fade.fade`).

    Fitness is `fitness.taylor` unless given.
    """
    return fade.fade(
        rate,
        interval,
        fade_steps,
        scoring or fitness.taylor(),
        groups=groups,
        policy=moments,
        initial=initial,
        maturity=maturity,
    )


def layer_level(
    rate=0.1,
    interval=500,
    *,
    weak=0.5,
    vital=1.5,
    groups=None,
    moments="zero",
    maturity=0,
    scoring=None,
    born=None,
) -> ApoptosisTransform:
    """As `standard`, at rates that go by the vitality of the layers, in three zones.

    A layer's vitality is the mean fitness of its neurons over the mean of that over all layers.
    Below `weak` the rate doubles, above `vital` nobody dies; in between it is `rate`.
    """

    def weigh(scores):
        vitality = scores / jnp.maximum(jnp.mean(scores), 1e-30)
        return jnp.where(vitality < weak, 2.0, jnp.where(vitality > vital, 0.0, 1.0))

    inner = engine.replace(
        rate,
        scoring or fitness.grad_activation(),
        born or renewal.mutation(0.1),
        groups=groups,
        policy=moments,
        maturity=maturity,
        weigh=weigh,
    )
    return combine.every(interval, inner)
