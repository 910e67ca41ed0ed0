"""Every recipe × every promise: structure, dtype, jit, vmap, scan, one compilation, counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apoptosis import recipes
from tests import apoptosis_case as case

UPDATES, INTERVAL, RATE = 4, 2, 0.25

# By recipe: what makes it act in this case, what turns it off, and how many neurons of the 8 and 6
# die at its two events (None: no neuron dies; 1.5 are due of 6, so 1 and then 2).
PAIRS = ((2, 2), (1, 2))
EVERY = {"rate": RATE, "interval": INTERVAL}
RECIPES = {
    "none": ({}, {}, None),
    "random": (EVERY, {"rate": 0.0}, PAIRS),
    "standard": (EVERY, {"rate": 0.0}, PAIRS),
    "functional": (EVERY | {"preservation_steps": 3}, {"rate": 0.0}, PAIRS),
    "functional_similar": (EVERY | {"noise": 0.1}, {"rate": 0.0}, PAIRS),
    "crossover": (EVERY, {"rate": 0.0}, PAIRS),
    "continuous": (EVERY, {"rate": 0.0}, PAIRS),
    "gradual_fade": (EVERY | {"fade_steps": 1}, {"rate": 0.0}, PAIRS),
    "layer_level": (EVERY | {"weak": 0.0, "vital": 99.0}, {"rate": 0.0}, PAIRS),
    "redo": (EVERY | {"threshold": 9.0}, {"rate": 0.0}, PAIRS),
    "continual_backprop": (EVERY | {"maturity": 3}, {"rate": 0.0}, PAIRS),
    "self_normalized_resets": (
        EVERY | {"rejection": 1.0, "maturity": 3},
        {"rate": 0.0},
        PAIRS,
    ),
    "shrink_and_perturb": (EVERY, {"rate": 0.0, "noise": 0.0}, None),
    "l2_init": (EVERY, {"rate": 0.0}, None),
}
DETERMINISTIC = {"none", "l2_init"}


def made(name, **changed):
    settings, _, _ = RECIPES[name]
    return getattr(recipes, name)(**(settings | changed))


def start():
    return case.initial(), case.moved(case.optimiser()), case.known()


@functools.cache
def population(name):
    """Members: (key a, on), (key b, on), (key a, off); hyper-parameters traced, all in one
    program. What it gives, with the reports of all updates, and the number of compilations."""
    params, opt_state, known = start()
    _, off, _ = RECIPES[name]
    on = {flag: RECIPES[name][0].get(flag, 0.01) for flag in off}

    def run(key, hyper):
        transform = made(name, **hyper)
        moved = jax.tree.map(lambda p: 1.5 * p, params)  # l2_init has somewhere to go

        def step(carry, key):
            *carry, report = transform.update(key, *carry, known)
            return tuple(carry), report

        keys = jax.random.split(key, UPDATES)
        return jax.lax.scan(step, (moved, opt_state, transform.init(params)), keys)

    a, b = jax.random.split(jax.random.key(7))
    keys = jnp.stack([a, b, a])
    hyper = {flag: jnp.array([on[flag], on[flag], value]) for flag, value in off.items()}
    program = jax.jit(jax.vmap(run))
    result = jax.tree.map(np.asarray, program(keys, hyper))
    program(keys[::-1], jax.tree.map(lambda h: h / 2, hyper))
    return result, program._cache_size()


def member(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def same(a, b):
    a, b = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(a) == len(b) and all(
        x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", RECIPES)
def test_structure_shapes_and_dtypes_stay(name, dtype):
    params, known = case.initial(dtype), case.known()
    optimiser, transform = case.optimiser(), made(name)
    state = (params, optimiser.init(params), transform.init(params))
    after = jax.eval_shape(lambda *s: transform.update(jax.random.key(0), *s, known), *state)
    like = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert like(after[:3]) == like(state)
    *_, report = after
    assert {name: flags.shape for name, flags in report.died.items()} == {
        name: own.age.shape for name, own in known.items()
    }


@pytest.mark.parametrize("name", RECIPES)
def test_hyper_parameters_are_traced_and_nothing_compiles_twice(name):
    _, compilations = population(name)
    assert compilations == 1


@pytest.mark.parametrize("name", RECIPES)
def test_turned_off_it_is_bit_identical_to_none(name):
    ((params, opt_state, _), report), _ = population(name)
    ((base, base_state, _), base_report), _ = population("none")
    assert same(member((params, opt_state), 2), member((base, base_state), 2))
    assert same(member(report, 2), member(base_report, 2))
    assert same(member(params, 0), member(base, 0)) == (name == "none")


@pytest.mark.parametrize("name", RECIPES)
def test_exactly_the_promised_number_dies_and_is_born(name):
    (_, report), _ = population(name)
    counts = RECIPES[name][2] or ((0, 0), (0, 0))
    for group, expected in zip(case.NAMES, counts, strict=True):
        for flags in (report.died[group], report.born[group]):
            per_update = flags.sum(-1)  # [member, update]
            assert per_update[0].tolist() == [0, expected[0], 0, expected[1]]
            assert per_update[1].tolist() == [0, expected[0], 0, expected[1]]
            assert per_update[2].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("name", sorted(set(RECIPES) - DETERMINISTIC))
def test_two_members_never_share_a_draw(name):
    ((params, *_), _), _ = population(name)
    old = 1.5 * np.asarray(case.initial()["params"]["Dense_0"]["kernel"])
    a, b, _ = params["params"]["Dense_0"]["kernel"]
    drawn = (a != old) & (b != old)
    assert drawn.sum() >= 4
    if name == "crossover":  # of the same two parents: other weights from either
        assert (drawn & (a != b)).any()
    else:
        assert not (drawn & (a == b)).any()


@pytest.mark.parametrize("name", ["random", "functional", "shrink_and_perturb"])
def test_a_member_equals_its_solo_run(name):
    ((params, opt_state, _), _), _ = population(name)
    start_params, start_state, known = start()
    transform = made(name, **{flag: RECIPES[name][0].get(flag, 0.01) for flag in RECIPES[name][1]})
    carry = jax.tree.map(lambda p: 1.5 * p, start_params), start_state, transform.init(start_params)
    key = jax.random.split(jax.random.key(7))[1]
    update = jax.jit(transform.update)
    for own in jax.random.split(key, UPDATES):
        *carry, _ = update(own, *carry, known)
    for solo, own in zip(
        jax.tree.leaves(carry[:2]), jax.tree.leaves(member((params, opt_state), 1)), strict=True
    ):
        np.testing.assert_allclose(solo, own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["random", "redo", "continual_backprop", "gradual_fade"])
def test_newborns_of_the_controls_start_silent_and_without_moments(name):
    ((params, opt_state, _), report), _ = population(name)
    born = member(report.born, 0)
    down = {"Dense_0": "Dense_1", "Dense_1": "Dense_2"}
    for group, after in down.items():
        newborn = born[group].any(0)
        assert newborn.any()
        assert not newborn.all()
        kernel = params["params"][after]["kernel"][0]
        later = born[after].any(0) if after in born else np.zeros(case.OUTPUTS, bool)
        assert (kernel[newborn][:, ~later] == 0).all()  # newborns there have new weights
        assert (kernel[~newborn][:, ~later] != 0).all()
        for moment in (opt_state[0].mu, opt_state[0].nu):
            into = moment["params"][group]["kernel"][0]
            assert (into[:, newborn] == 0).all()
            assert (moment["params"][group]["bias"][0][newborn] == 0).all()
            assert (moment["params"][after]["kernel"][0][newborn] == 0).all()


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
