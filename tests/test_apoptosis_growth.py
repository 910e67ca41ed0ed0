"""Growth under the mask is a smaller network until its neurons are born, and births are silent."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from apoptosis import combine, evidence, growth, neurons, recipes, renewal, transformer, unborn
from tests import apoptosis_case as case

LIMIT, GROUP = 1.7, case.GROUPS[:1]
WIDE = tuple(unborn.capacity(width, LIMIT) for width in case.WIDTHS)
X, Y = case.data(32)
KEY = jax.random.key(3)


class Odd(nn.Module):
    """An MLP whose activation is far from 0 at 0: unborn neurons would speak up, unmasked."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        for width in self.widths:
            x = nn.softplus(nn.Dense(width)(x))
        return nn.Dense(case.OUTPUTS)(x)


OPTIMISER = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(0.02, weight_decay=0.1))


def trained(params, widths, optimiser, steps=6):
    """Losses, the first step's gradient, and what is left after some steps of training."""

    def error(params):
        return jnp.mean((Odd(widths).apply(params, X) - Y) ** 2)

    def step(carry, _):
        params, memory = carry
        loss, slopes = jax.value_and_grad(error)(params)
        updates, memory = optimiser.update(slopes, memory, params)
        return (optax.apply_updates(params, updates), memory), (loss, slopes)

    end, (losses, slopes) = jax.lax.scan(step, (params, optimiser.init(params)), length=steps)
    return losses, jax.tree.map(lambda leaf: leaf[0], slopes), end


def test_before_its_neurons_are_born_it_is_the_smaller_network():
    small = Odd(case.WIDTHS).init(jax.random.key(0), X)
    wide = unborn.widened(small, LIMIT)
    drawn = jax.eval_shape(Odd(WIDE).init, jax.random.key(0), X)
    assert jax.tree.map(jnp.shape, wide) == jax.tree.map(lambda leaf: leaf.shape, drawn)

    @jax.jit
    def both():
        masked = unborn.masked(OPTIMISER)
        return trained(small, case.WIDTHS, OPTIMISER), trained(wide, WIDE, masked)

    (losses, slopes, end), (wide_losses, wide_slopes, wide_end) = both()
    np.testing.assert_allclose(losses, wide_losses, rtol=1e-5)
    assert losses[-1] < 0.9 * losses[0]
    pairs = zip(*map(jax.tree.leaves, ((slopes, end), (wide_slopes, wide_end))), strict=True)
    for one, other in pairs:
        own = other[tuple(slice(size) for size in one.shape)]
        np.testing.assert_allclose(one, own, rtol=1e-4, atol=1e-6)
    for one, other in zip(jax.tree.leaves(end), jax.tree.leaves(wide_end), strict=True):
        if np.ndim(one):  # parameters and moments: nothing has moved among the unborn
            assert np.count_nonzero(other) == np.count_nonzero(one)
    for name, flags in unborn.find(wide_end[0]).items():
        size = dict(zip(case.NAMES, case.WIDTHS, strict=True))[name]
        np.testing.assert_array_equal(flags, np.arange(len(flags)) >= size)


def life(transform, params, optimiser, widths=WIDE):
    """Of each of some updates the parameters before and after it, and its report."""
    start = case.start(transform, optimiser, params)
    return case.train(transform, optimiser, start, 8, widths=widths)[1]


@functools.cache
def grown():
    """Three networks that grow to 1.3, 1.5 and 1.7 times their size in one program."""
    params = unborn.widened(case.initial(), LIMIT)
    optimiser = optax.adamw(0.02)  # relu needs no mask
    run = lambda limit: life(recipes.growth(rate=0.2, interval=2, limit=limit), params, optimiser)
    return jax.jit(jax.vmap(run))(jnp.array([1.3, 1.5, 1.7]))


def test_it_grows_to_its_limit_and_nobody_dies():
    *_, report = grown()
    for group, size in zip(case.NAMES, case.WIDTHS, strict=True):
        born = np.asarray(report.born[group])
        assert not report.died[group].any()
        assert born.sum((1, 2)).tolist() == [
            int(size * limit + 1e-3) - size for limit in (1.3, 1.5, 1.7)
        ]
        assert not born[:, ::2].any()
        assert (np.diff(np.argwhere(born[2])[:, 1]) == 1).all()  # the lowest places first
        assert np.argwhere(born[2])[0, 1] == size
    gone = jax.vmap(lambda params: unborn.find(params))(
        jax.tree.map(lambda p: p[:, -1], grown()[1])
    )
    for group, size in zip(case.NAMES, case.WIDTHS, strict=True):
        living = (~np.asarray(gone[group])).sum(1)
        assert living.tolist() == [int(size * limit + 1e-3) for limit in (1.3, 1.5, 1.7)]


def test_births_change_nothing_of_the_function():
    before, after, report = jax.tree.map(lambda leaf: leaf[2], grown())
    out = jax.jit(jax.vmap(lambda params: case.outputs(params, X, WIDE)))
    np.testing.assert_array_equal(out(before), out(after))
    kernels = [tree["params"]["Dense_0"]["kernel"] for tree in (before, after)]
    assert (kernels[0] != kernels[1]).any((1, 2)).tolist() == report.born["Dense_0"].any(1).tolist()
    moved = [tree["params"]["Dense_1"]["kernel"][-1] for tree in (before, after)]
    first = np.argwhere(report.born["Dense_0"])[0, 1]
    assert (np.asarray(moved[1])[first, : case.WIDTHS[1]] != 0).all()  # newborns learn to speak


@functools.partial(jax.jit, static_argnums=1)
def watched(params, widths):
    known = evidence.init(params, GROUP, record=32)
    return case.watch(params, known, X, Y, GROUP, widths=widths)[0]


@pytest.mark.parametrize("born", [renewal.split(), renewal.mutation(0.1, outgoing="zero")])
def test_children_of_survivors_preserve_the_function_too(born):
    params, widths = unborn.widened(case.initial(), 1.5, GROUP), (12, 6)
    known = watched(params, widths)
    transform = recipes.growth(
        rate=0.5, interval=1, limit=1.5, born=born, moments="inherit", groups=GROUP
    )
    update = jax.jit(transform.update)
    memory = optax.adam(0.1).init(params)
    after, _, _, report = update(KEY, params, memory, transform.init(params), known)
    outputs = [case.outputs(tree, X, widths) for tree in (params, after)]
    assert float(jnp.max(jnp.abs(outputs[0] - outputs[1]))) <= 1e-5
    newborn = np.asarray(report.born["Dense_0"])
    assert newborn.tolist() == [False] * 8 + [True] * 4
    assert (report.parents["Dense_0"][newborn] < 8).all()
    assert report.change["Dense_0"] <= 1e-5


def test_births_before_deaths_keep_the_number_constant():
    """With room a cycle's births come first; the living are as many after each cycle."""
    params = unborn.widened(case.initial(), 1.25)
    widths = (10, 7)
    transform = recipes.hybrid(rate=0.25, interval=4, overlap=2, groups=GROUP)
    before, after, report = jax.jit(
        lambda: life(combine.only("Dense_0", transform), params, optax.adam(0.01), widths)
    )()
    living = jax.vmap(lambda p: jnp.sum(~unborn.find(p)["Dense_0"]))(after)
    assert living.tolist() == [8, 8, 8, 10, 10, 8, 8, 10]
    died = np.asarray(report.died["Dense_0"]).sum(1)
    assert died.tolist() == [0, 0, 0, 0, 0, 2, 0, 0]
    born = np.asarray(report.born["Dense_0"]).sum(1)
    assert born.tolist() == [0, 0, 0, 2, 0, 0, 0, 2]
    lost = np.flatnonzero(report.died["Dense_0"][5])
    kernel = np.asarray(after["params"]["Dense_1"]["kernel"])
    assert (kernel[5:7, lost] == 0).all()  # they stay silent until a place is filled again
    out = jax.vmap(lambda params: case.outputs(params, X, widths))
    np.testing.assert_array_equal(out(before)[3], out(after)[3])


def test_other_recipes_in_the_wide_network_see_the_living_alone():
    params, widths = unborn.widened(case.initial(), 2.0, GROUP), (16, 6)
    known = watched(params, widths)
    inner = recipes.standard(rate=0.5, interval=1, groups=GROUP)
    transform = unborn.spared(inner, GROUP)
    after, _, _, report = jax.jit(transform.update)(KEY, params, (), transform.init(params), known)
    died = np.asarray(report.died["Dense_0"])
    assert died.sum() == 4
    assert not died[8:].any()
    assert (report.parents["Dense_0"][died] < 8).all()
    np.testing.assert_array_equal(unborn.find(after, GROUP)["Dense_0"], np.arange(16) >= 8)
    *_, report = jax.jit(inner.update)(KEY, params, (), inner.init(params), known)
    assert report.died["Dense_0"][8:].all()  # without it, they would go first


def test_what_cannot_grow_is_refused():
    params = case.initial()
    transform = recipes.growth(limit=1.5)
    with pytest.raises(ValueError, match=r"'Dense_0' must have room for 12 neurons .* got 8"):
        transform.init(params)
    transform.init(unborn.silenced(params, {"Dense_0": 5, "Dense_1": 4}))
    for settings, sentence in (
        ({"limit": 0.9}, "limit must be at least 1, got 0.9"),
        ({"born": renewal.clone()}, "births must preserve the function"),
        ({"moments": "inherit"}, "needs a renewal from parents"),
    ):
        with pytest.raises(ValueError, match=sentence):
            recipes.growth(**settings)
    with pytest.raises(ValueError, match=r"overlap must lie in \[1, 9\], got 10"):
        recipes.hybrid(interval=10, overlap=10)
    for living, sentence in (
        (9, r"living must lie in \[1, 8\] for 'Dense_0', got 9"),
        ({"Dense_7": 1}, "'Dense_7' is none of"),
    ):
        with pytest.raises(ValueError, match=sentence):
            unborn.silenced(params, living)
    scaled = neurons.NeuronGroup("g", "up", "down", scale="norm")
    tree = {"up": jnp.ones((3, 5)), "norm": jnp.ones(5), "down": jnp.ones((5, 2))}
    with pytest.raises(ValueError, match="'g' has a norm's scale"):
        growth.grow(0.1, 1.5, renewal.random(), groups=[scaled]).init(tree)
    heads = neurons.NeuronGroup("g", ("up", (1, 2)), ("down", (0, 1)))
    tree = {"up": jnp.ones((3, 2, 4)), "down": jnp.ones((2, 4, 3))}
    with pytest.raises(ValueError, match="'g' cannot be widened: its neurons lie along axes"):
        unborn.widened(tree, 1.5, [heads])
    masked = unborn.masked(optax.adam(0.1))
    with pytest.raises(ValueError, match="needs the parameters"):
        masked.update(params, masked.init(params))


def test_our_transformer_grows_in_its_feed_forward_layers():
    small = transformer.Architecture(width=8, heads=2, layers=1, ffn=10, context=6)
    wide = dataclasses.replace(small, ffn=unborn.capacity(small.ffn, 1.3))
    groups = [g for g in neurons.transformer(small.layers) if g.name.endswith("/mlp")]
    models = [transformer.Transformer(5, shape) for shape in (small, wide)]
    params = jax.jit(lambda key: transformer.initial(key, models[0]))(jax.random.key(0))
    widened = unborn.widened(params, 1.3, groups)
    tokens = jnp.arange(6)[None] % 5
    apply = lambda model, params: jax.jit(model.apply)({"params": params}, tokens)
    out = [apply(*pair) for pair in zip(models, (params, widened), strict=True)]
    np.testing.assert_allclose(*out, atol=1e-6)
    known = evidence.init(widened, groups)
    transform = recipes.growth(rate=0.3, interval=1, limit=1.3, groups=groups)
    memory = optax.adam(0.1).init(widened)
    grown, *_, report = jax.jit(transform.update)(
        KEY, widened, memory, transform.init(widened), known
    )
    assert [int(flags.sum()) for flags in report.born.values()] == [3]
    np.testing.assert_array_equal(apply(models[1], grown), out[1])
