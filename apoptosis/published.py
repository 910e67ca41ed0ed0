"""The field's own methods for lasting plasticity, each with its paper and its defaults.

They are recipes as those of `recipes`, which lists them too.
"""

from apoptosis import combine, drift, engine, fitness, renewal
from apoptosis.transform import ApoptosisTransform


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
