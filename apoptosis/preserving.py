"""Our recipes that keep what the network does: the dead are replaced without a jolt.

They are recipes as those of `recipes`, which lists them too.
"""

from apoptosis import combine, engine, fade, fitness, renewal
from apoptosis.transform import ApoptosisTransform


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
    noise=None,
    absorb="least_squares",
    preservation_steps=0,
) -> ApoptosisTransform:
    """The least fit die after the survivors have absorbed what they gave (`preservation.absorb`),
    and newborns start with outgoing weights 0, or, with `preservation_steps` of local regression,
    doing what the survivors left undone.

    Newborns start afresh unless `born` is given, or with `noise` as survivors' mutants (`noise`
    relative to the parent, outgoing weights 0). Fitness is `fitness.taylor` unless given. It needs
    recorded outputs, `evidence.init(..., record=R)`, R well above the number of neurons, and for
    the regression also inputs. The idea is the prototype's; reconstruction by least squares is the
    pruning literature's (He et al. 2017, for channels).
    """
    if born and noise is not None:
        raise ValueError("functional takes born or noise, not both")
    mutants = None if noise is None else renewal.mutation(noise, outgoing="zero")
    inner = engine.replace(
        rate,
        scoring or fitness.taylor(),
        born or mutants or renewal.random(),
        groups=groups,
        policy=moments,
        initial=initial,
        maturity=maturity,
        keep=engine.Preservation(absorb, preservation_steps),
    )
    return combine.every(interval, inner)


def distillation(
    rate=0.1,
    interval=500,
    *,
    preservation_steps=10,
    groups=None,
    moments="zero",
    initial=None,
    maturity=0,
    scoring=None,
    born=None,
) -> ApoptosisTransform:
    """The least fit die, and the network before the event teaches the one after it: newborns and
    survivors together are fitted, for `preservation_steps` of gradient descent, to what their layer
    gave before, at the recorded inputs (`distillation.fit`).

    Distillation is Hinton et al.'s (2015), its targets are the hidden ones of FitNets (Romero et
    al. 2015). Unlike `functional` it solves nothing: survivors learn along with the newborns, which
    start afresh (`renewal.random`) unless `born` is given. Fitness is `fitness.taylor` unless
    given. It needs recorded outputs and inputs, `evidence.init(..., record=R, inputs=True)`; in
    groups without a declared activation (attention) survivors learn alone, and need outputs only.
    """
    inner = engine.replace(
        rate,
        scoring or fitness.taylor(),
        born or renewal.random(),
        groups=groups,
        policy=moments,
        initial=initial,
        maturity=maturity,
        keep=engine.Preservation("none", preservation_steps, fitted="group"),
    )
    return combine.every(interval, inner)


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

    Fitness is `fitness.taylor` unless given. The idea is the prototype's.
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
