"""What recipes promise beyond their contract: fading, layers, noise, distillation, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from apoptosis import combine, engine, fitness, recipes, renewal
from tests import apoptosis_case as case


def start():
    return case.initial(), case.moved(case.optimiser()), case.known()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rate": 1.5}, r"rate must lie in \[0, 1\], got 1.5"),
        ({"rate": -0.1}, r"rate must lie in \[0, 1\], got -0.1"),
        ({"rate": float("nan")}, r"rate must lie in \[0, 1\], got nan"),
        ({"interval": 0}, "interval must be at least 1, got 0"),
        ({"moments": "keep"}, "moments must be of .*, got 'keep'"),
        ({"moments": "inherit"}, "needs a renewal from parents"),
        ({"maturity": -1}, "maturity must be at least 0, got -1"),
    ],
)
def test_bad_settings_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        recipes.random(**settings)


def test_outgoing_weights_fade_along_a_line_before_the_neuron_is_reborn():
    params, _, known = start()
    transform = recipes.gradual_fade(rate=0.125, interval=4, fade_steps=4)
    step = lambda carry, key: (lambda *out: (out[:3], (out[3], out[0])))(
        *transform.update(key, *carry, known)
    )
    carry = (params, (), transform.init(params))
    _, (report, seen) = jax.lax.scan(step, carry, jax.random.split(jax.random.key(0), 7))
    (born,) = np.flatnonzero(report.born["Dense_0"][6])
    assert not report.born["Dense_0"][:6].any()
    kernel = np.asarray(params["params"]["Dense_1"]["kernel"])[born]
    own = np.asarray(seen["params"]["Dense_1"]["kernel"])[:, born]
    for update, share in enumerate((1, 1, 1, 0.75, 0.5, 0.25)):
        np.testing.assert_allclose(own[update], share * kernel, rtol=1e-5)
    later = report.born["Dense_1"][6]
    assert (own[6][~later] == 0).all()
    incoming = np.asarray(seen["params"]["Dense_0"]["kernel"])[:, :, born]
    np.testing.assert_array_equal(incoming[5], incoming[0])
    assert (incoming[6] != incoming[0]).all()
    with pytest.raises(ValueError, match=r"fade_steps must lie in \[1, 10\], got 11"):
        recipes.gradual_fade(interval=10, fade_steps=11)


def test_layers_die_by_their_vitality():
    params, _, known = start()
    sums = known["Dense_1"].sums
    strong = {name: 100 * own for name, own in sums.items()}
    known = known | {"Dense_1": known["Dense_1"]._replace(sums=strong)}
    transform = recipes.layer_level(rate=0.25, interval=1)
    *_, report = transform.update(jax.random.key(0), params, (), transform.init(params), known)
    assert [int(report.died[name].sum()) for name in case.NAMES] == [4, 0]


@pytest.mark.parametrize("name", ["standard", "crossover", "functional", "functional_similar"])
def test_noise_is_relative_to_the_parent_in_every_recipe_that_has_some(name):
    """Newborns differ from what the same births give without noise by its share of their norm."""
    _, _, known = start()
    params = jax.tree.map(lambda leaf: 20 * leaf, case.initial())  # far from 1, as absolute noise

    def newborns(noise):
        transform = recipes.named(name)(rate=0.25, interval=1, noise=noise, groups=case.GROUPS[:1])
        own = {"Dense_0": known["Dense_0"]}
        after, *_, report = transform.update(
            jax.random.key(0), params, (), transform.init(params), own
        )
        return after["params"]["Dense_0"]["kernel"], report.born["Dense_0"]

    rows, born = jax.jit(jax.vmap(newborns))(jnp.array([0.0, 0.01, 0.3]))
    without, little, much = np.asarray(rows).transpose(0, 2, 1)[:, np.asarray(born)[0]]
    size = np.sqrt(np.mean(without**2, 1, keepdims=True))
    np.testing.assert_allclose((much - without) / 0.3, (little - without) / 0.01, rtol=1e-2)
    share = (much - without) / (0.3 * size)
    assert 0.3 < np.sqrt(np.mean(share**2)) < 2  # eight standard normal draws


def test_distillation_brings_the_function_back():
    params, _, known = start()
    own = {"Dense_0": known["Dense_0"]}
    blind = own["Dense_0"]._replace(inputs=jnp.zeros((0, 0)))

    def changes(**settings):
        plain = engine.replace(0.25, fitness.taylor(), renewal.random(), groups=case.GROUPS[:1])
        transforms = (plain, *(distilling(steps) for steps in (5, 40)))
        return [change(transform, own) for transform in transforms]

    def distilling(steps):
        return recipes.distillation(0.25, 1, preservation_steps=steps, groups=case.GROUPS[:1])

    def change(transform, own):
        *_, report = transform.update(jax.random.key(0), params, (), transform.init(params), own)
        return report.change["Dense_0"]

    plain, few, many = jax.jit(changes)()
    assert few < 0.8 * plain
    assert many < 0.3 * plain
    alone = jax.jit(lambda: change(distilling(40), {"Dense_0": blind}))()  # survivors learn alone
    assert many < alone < few
    mutants = recipes.distillation(0.25, 1, born=renewal.mutation(), groups=case.GROUPS[:1])
    with pytest.raises(ValueError, match="'Dense_0' needs births with outgoing weights 0"):
        change(mutants, {"Dense_0": blind})
    with pytest.raises(ValueError, match="distillation needs recorded outputs"):
        change(distilling(5), {"Dense_0": blind._replace(outputs=jnp.zeros((0, 8)))})


def test_combinators_hold_in_training():
    """All of them at once, in a loop that trains; who dies when is as they say."""
    renew = lambda rate: engine.replace(
        rate, fitness.taylor(), renewal.random(), groups=case.GROUPS
    )
    transform = combine.chain(
        combine.every(3, combine.only("Dense_0", renew(0.25))),
        combine.before(2, combine.per_layer({"Dense_1": renew(1 / 6)})),
        combine.after(4, combine.only("Dense_1", combine.anneal(renew, lambda step: step / 6))),
    )
    optimiser = optax.adam(0.01)
    run = lambda: case.train(transform, optimiser, case.start(transform, optimiser), 6)
    life, (_, after, report) = jax.jit(run)()
    died = {name: np.asarray(flags).sum(1).tolist() for name, flags in report.died.items()}
    assert died == {"Dense_0": [0, 0, 2, 0, 0, 2], "Dense_1": [1, 1, 0, 0, 1, 2]}
    assert life.known["Dense_0"].age.max() == 6
    assert (life.known["Dense_0"].age == 0).sum() == 2
    silent = np.asarray(after["params"]["Dense_1"]["kernel"])[2][
        np.asarray(report.born["Dense_0"])[2]
    ]
    assert (silent == 0).all()


def test_functional_takes_born_or_noise():
    with pytest.raises(ValueError, match="born or noise, not both"):
        recipes.functional(born=renewal.random(), noise=0.1)
    keep = engine.Preservation("none", 1, fitted="all")
    with pytest.raises(ValueError, match=r"fitted must be of .*, got 'all'"):
        engine.replace(0.1, fitness.taylor(), renewal.random(), keep=keep)
