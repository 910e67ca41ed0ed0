"""Ready-made transforms: ours (some from `preserving`), the control, and the field's own methods
(from `published`).

Every recipe takes `groups` (those of a plain MLP or of our transformer if None), and every one
that renews neurons `moments`, the policy for the optimiser's memory, and `initial`, the model's
initialiser (see `engine.replace`). Rates, intervals, noise and strengths may be traced. `RECIPES`
lists them all by name.

The defaults, 10 % of each layer every 500 updates, are those of the prototype of this project, as
are the ideas whose docstrings name it.
"""

from collections.abc import Callable

import jax.numpy as jnp

from apoptosis import combine, engine, fitness, preserving, published, renewal
from apoptosis import growth as growing
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
    noise=0.1,
    scope="group",
) -> ApoptosisTransform:
    """The least fit die, and mutated survivors take their place, outgoing weights and all.

    Fitness is `fitness.grad_activation` and renewal `renewal.mutation(noise)`, relative to the
    parent's norm, unless given. The prototype's noise was 0.3, absolute.
    """
    inner = engine.replace(
        rate,
        scoring or fitness.grad_activation(),
        born or renewal.mutation(noise),
        groups=groups,
        policy=moments,
        maturity=maturity,
        scope=scope,
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
    rate=0.1,
    interval=500,
    *,
    how="uniform",
    noise=0.0,
    groups=None,
    moments="zero",
    maturity=0,
    scoring=None,
) -> ApoptosisTransform:
    """As `standard`, with children of two distinct survivors (`renewal.crossover`): `how` is
    `uniform`, `fitness` or `blend`, `noise` relative to the child's own norm. The prototype's."""
    return standard(
        rate,
        interval,
        groups=groups,
        moments=moments,
        maturity=maturity,
        scoring=scoring,
        born=renewal.crossover(how, noise=noise),
    )


def continuous(rate=0.02, interval=100, **settings) -> ApoptosisTransform:
    """`standard` in small steps: 2 % every 100 updates, the prototype's; so is the idea."""
    return standard(rate, interval, **settings)


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
    noise=0.1,
) -> ApoptosisTransform:
    """As `standard`, at rates that go by the vitality of the layers, in three zones.

    A layer's vitality is the mean fitness of its neurons over the mean of that over all layers.
    Below `weak` the rate doubles (to 1 at most), above `vital` nobody dies; in between it is
    `rate`. The idea is the prototype's; here it runs under the same optimiser as every other arm.
    """

    def weigh(scores):
        vitality = scores / jnp.maximum(jnp.mean(scores), 1e-30)
        return jnp.where(vitality < weak, 2.0, jnp.where(vitality > vital, 0.0, 1.0))

    inner = engine.replace(
        rate,
        scoring or fitness.grad_activation(),
        born or renewal.mutation(noise),
        groups=groups,
        policy=moments,
        maturity=maturity,
        weigh=weigh,
    )
    return combine.every(interval, inner)


def growth(
    rate=0.1,
    interval=500,
    *,
    limit=1.5,
    groups=None,
    moments="zero",
    initial=None,
    born=None,
    scoring=None,
) -> ApoptosisTransform:
    """Nobody dies; the share `rate` of the neurons that there were at the start is born at each
    event, until there are `limit` times as many (the prototype's 1.3, 1.5 and 1.7).

    Shapes are static: the model is declared with the capacity, `unborn.capacity(width, limit)`, and
    whoever is not born yet has weights that are all 0. In a study, on networks of the width that
    all other arms have, so that the arms start from the same function and stay paired:

        wide = Model(width=unborn.capacity(width, 1.7))       # room for every limit up to 1.7
        params = unborn.widened(small_params, 1.7, groups)    # or silenced(wide_params, width)
        optimiser = unborn.masked(optimiser, groups)          # relu, gelu, tanh do without
        transform = recipes.growth(limit=limit, groups=groups)    # limit may be traced

    Of our transformer only the feed-forward groups can be widened: name them, as
    `[g for g in neurons.transformer(layers) if g.name.endswith("/mlp")]`. Other recipes run in the
    same wide program by `unborn.spared(recipe, groups)`, as if the network were as small as it was.

    Births preserve the function: newborns start afresh with outgoing weights 0 unless `born` is
    given (`renewal.split()` is Net2Net's, Chen et al. 2016; `renewal.mutation(outgoing="zero")`).
    Parents go by `scoring`, `fitness.grad_activation` unless given.
    """
    inner = growing.grow(
        rate,
        limit,
        born or renewal.random(),
        groups=groups,
        policy=moments,
        initial=initial,
        scoring=scoring or fitness.grad_activation(),
    )
    return combine.every(interval, inner)


def hybrid(
    rate=0.1,
    interval=500,
    *,
    overlap=250,
    noise=0.1,
    groups=None,
    moments="zero",
    initial=None,
    maturity=0,
    scoring=None,
    born=None,
    absorb="none",
) -> ApoptosisTransform:
    """Births, then deaths: at each event the share `rate` is born, lives alongside the others for
    `overlap` updates, and then as many of all, newborns included, die, the least fit first.

    Where `standard` puts a newborn in the place of one that died, here it has to prove itself
    before anyone dies for it, and may be the one to go. The number of neurons after a cycle is
    constant (`growth.turn_over`). The room is what `unborn.widened(params, 1 + rate)` leaves free;
    in a network without any the first cycle's deaths make it, so that never more neurons live than
    in any other arm. Newborns are mutants (`noise` relative to the parent) that start with outgoing
    weights 0, and so without effect, unless `born` is given; `absorb` (see `preservation.absorb`)
    is what survivors take over from the dead. `maturity` above `overlap` spares newborns in their
    first cycle. Fitness is `fitness.grad_activation` unless given. The idea is the prototype's, of
    births and deaths in turn; prune-and-regrow at constant size is Mocanu et al.'s (2018), of
    weights.
    """
    return growing.turn_over(
        rate,
        interval,
        overlap,
        scoring or fitness.grad_activation(),
        born or renewal.mutation(noise, outgoing="zero"),
        groups=groups,
        policy=moments,
        initial=initial,
        maturity=maturity,
        keep=engine.Preservation(absorb) if absorb != "none" else None,
    )


functional = preserving.functional
distillation = preserving.distillation
gradual_fade = preserving.gradual_fade
redo = published.redo
continual_backprop = published.continual_backprop
self_normalized_resets = published.self_normalized_resets
shrink_and_perturb = published.shrink_and_perturb
l2_init = published.l2_init

RECIPES: dict[str, Callable[..., ApoptosisTransform]] = {
    make.__name__: make
    for make in (
        none,
        random,
        standard,
        functional,
        functional_similar,
        gradual_fade,
        continuous,
        distillation,
        crossover,
        growth,
        hybrid,
        layer_level,
        continual_backprop,
        redo,
        self_normalized_resets,
        shrink_and_perturb,
        l2_init,
    )
}


def named(name: str) -> Callable[..., ApoptosisTransform]:
    """The recipe of this name; raises ValueError for one that there is not."""
    if name not in RECIPES:
        raise ValueError(f"recipe must be one of {', '.join(RECIPES)}, got {name!r}")
    return RECIPES[name]
