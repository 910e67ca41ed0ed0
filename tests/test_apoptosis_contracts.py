"""Every recipe × every promise, inside a real training loop, a population of three at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from apoptosis import evidence, lineage, recipes, unborn
from tests import apoptosis_case as case

UPDATES, INTERVAL, RATE, SAMPLES = 5, 2, 0.25, 24
ONE, BOTH = case.NAMES[:1], case.NAMES
EVENTS = {2: (2, 1), 4: (2, 2)}  # 2 of 8 and 1.5 of 6: 1, then 2
NOTHING = {}

# By recipe: what makes it act in this case, what turns it off, the groups it acts on (one says as
# much as two where groups do not meet), and by update how many of the 8 and 6 die and are born.
EVERY = {"rate": RATE, "interval": INTERVAL}
OFF = {"rate": 0.0}
RECIPES = {
    "none": ({}, {}, BOTH, NOTHING, NOTHING),
    "random": (EVERY, OFF, BOTH, EVENTS, EVENTS),
    "standard": (EVERY, OFF, ONE, EVENTS, EVENTS),
    "functional": (EVERY | {"preservation_steps": 2}, OFF, ONE, EVENTS, EVENTS),
    "functional_similar": (EVERY | {"noise": 0.1}, OFF, ONE, EVENTS, EVENTS),
    "crossover": (EVERY, OFF, ONE, EVENTS, EVENTS),
    "continuous": (EVERY, OFF, ONE, EVENTS, EVENTS),
    "distillation": (EVERY | {"preservation_steps": 2}, OFF, ONE, EVENTS, EVENTS),
    "gradual_fade": (EVERY | {"fade_steps": 1}, OFF, ONE, EVENTS, EVENTS),
    "layer_level": (EVERY | {"weak": 0.0, "vital": 99.0}, OFF, BOTH, EVENTS, EVENTS),
    # 5 and 4 live at the start
    "growth": (EVERY | {"limit": 1.4}, OFF, BOTH, NOTHING, {2: (1, 1), 4: (1, 0)}),
    # the first cycle's deaths make the room of the second one's births
    "hybrid": (EVERY | {"overlap": 1}, OFF, BOTH, {3: (2, 1), 5: (2, 2)}, {4: (2, 1)}),
    "redo": (EVERY | {"threshold": 9.0}, OFF, ONE, EVENTS, EVENTS),
    "continual_backprop": (EVERY | {"maturity": 1}, OFF, ONE, EVENTS, EVENTS),
    "self_normalized_resets": (EVERY | {"rejection": 1.0, "maturity": 1}, OFF, ONE, EVENTS, EVENTS),
    "shrink_and_perturb": (EVERY, {"rate": 0.0, "noise": 0.0}, BOTH, NOTHING, NOTHING),
    "l2_init": (EVERY, OFF, BOTH, NOTHING, NOTHING),
}
OPTIMISERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "adam": optax.adam(0.1),
    "adamw": optax.adamw(0.1),
    "chain": optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1), optax.scale(0.5)),
    "inject": optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
    "multi_steps": optax.MultiSteps(optax.adam(0.1), 2).gradient_transformation(),
}
WITHOUT_CHANCE = {"none", "l2_init"}
BY_CHANCE = {"random"}  # who dies
DEAD = {"Dense_0": (1, 4, 6), "Dense_1": (0, 3, 5)}  # units that never fire: ties of fitness


def made(name, **changed):
    return recipes.named(name)(**(RECIPES[name][0] | changed))


def initial(name):
    """Parameters with ties in both layers, and for `growth` with room."""
    own = case.initial()["params"]
    if name == "growth":
        return unborn.silenced({"params": own}, {"Dense_0": 5, "Dense_1": 4})
    dead = {
        layer: own[layer] | {"bias": own[layer]["bias"].at[jnp.array(units)].set(-100.0)}
        for layer, units in DEAD.items()
    }
    return {"params": own | dead}


@functools.cache
def resting():
    """States of all optimisers with moments other than 0. They rest, while one other trains."""
    return {name: case.moved(tx) for name, tx in OPTIMISERS.items()}


def training(name, key, hyper):
    """What is left after some updates of training, and what each of them was."""
    params, (x, y), optimiser = initial(name), case.data(SAMPLES), case.optimiser()
    groups = [group for group in case.GROUPS if group.name in RECIPES[name][2]]
    transform = made(name, **hyper)
    known = evidence.init(params, groups, record=SAMPLES, inputs=True)
    states = {"training": optimiser.init(params), **resting()}
    family = lineage.init(known, room=12, unborn=unborn.find(params, groups))
    start = (params, states, transform.init(params), known, family)

    def step(carry, key):
        params, states, state, known, family = carry
        known, slopes = case.watch(params, known, x, y, groups)
        updates, memory = optimiser.update(slopes, states["training"], params)
        params = optax.apply_updates(params, updates)
        states = states | {"training": memory}
        after, renewed, state, report = transform.update(key, params, states, state, known)
        family = lineage.record(family, report, known)
        known = evidence.renewed(known, report)
        pairs = zip(*map(jax.tree.leaves, ((params, states), (after, renewed))), strict=True)
        untouched = jnp.all(jnp.stack([jnp.all(old == new) for old, new in pairs]))
        kernels = [tree["params"]["Dense_0"]["kernel"] for tree in (params, after)]
        return (after, renewed, state, known, family), (report, untouched, kernels)

    return jax.lax.scan(step, start, jax.random.split(key, UPDATES))


@functools.cache
def population(name):
    """Members: (key a, on), (key b, on), (key a, off); hyper-parameters traced, all in one
    program. What is left, what each update was, and the number of compilations."""
    _, off, *_ = RECIPES[name]
    on = {flag: RECIPES[name][0].get(flag, 0.01) for flag in off}
    a, b = jax.random.split(jax.random.key(7))
    keys, _ = jnp.stack([a, b, a]), (case.initial(), resting())  # both kept, and not traced
    hyper = {flag: jnp.array([on[flag], on[flag], value]) for flag, value in off.items()}
    program = jax.jit(jax.vmap(functools.partial(training, name)))
    end, seen = jax.tree.map(np.asarray, program(keys, hyper))
    program(keys[::-1], jax.tree.map(lambda h: h / 2, hyper))
    return end, seen, program._cache_size()


def member(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def counted(flags, index):
    """By group and update, of how many neurons of a member the flag is set."""
    return {name: own[index].sum(-1).tolist() for name, own in flags.items()}


def expected(name, by_update):
    many = lambda place: [by_update.get(i, (0, 0))[place] for i in range(1, UPDATES + 1)]
    return {group: many(case.NAMES.index(group)) for group in RECIPES[name][2]}


def test_all_recipes_are_under_contract():
    assert set(RECIPES) == set(recipes.RECIPES)
    with pytest.raises(ValueError, match=r"recipe must be one of none, random, .*, got 'radnom'"):
        recipes.named("radnom")


@pytest.mark.parametrize("name", RECIPES)
def test_structure_shapes_and_dtypes_stay_also_in_half_precision(name):
    params, known = case.initial(jnp.bfloat16), case.known()
    optimiser, transform = case.optimiser(), made(name)
    state = (params, optimiser.init(params), jax.eval_shape(transform.init, params))
    after = jax.eval_shape(lambda *s: transform.update(jax.random.key(0), *s, known), *state)
    like = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert like(after[:3]) == like(state)
    *_, report = after
    for flags in (report.died, report.born, report.parents, report.mates, report.fitness):
        assert like(flags).keys() == known.keys()
        assert all(flags[group].shape == own.age.shape for group, own in known.items())


@pytest.mark.parametrize("name", RECIPES)
def test_hyper_parameters_are_traced_and_nothing_compiles_twice(name):
    *_, compilations = population(name)
    assert compilations == 1


@pytest.mark.parametrize("name", RECIPES)
def test_turned_off_it_is_bit_identical_to_none(name):
    _, (report, untouched, _), _ = population(name)
    assert untouched[2].all()
    assert not any(leaf[2].any() for leaf in jax.tree.leaves((report.died, report.born)))
    assert untouched[:2].all() == (name == "none")


@pytest.mark.parametrize("name", RECIPES)
def test_exactly_the_promised_number_dies_and_is_born(name):
    _, (report, *_), _ = population(name)
    *_, deaths, births = RECIPES[name]
    for index in (0, 1):
        assert counted(report.died, index) == expected(name, deaths)
        assert counted(report.born, index) == expected(name, births)


@pytest.mark.parametrize("name", [name for name in RECIPES if RECIPES[name][3]])
def test_of_ties_the_first_die(name):
    _, (report, *_), _ = population(name)
    for group, flags in report.died.items():
        first = np.flatnonzero(flags[0].any(-1))[0]
        places = np.flatnonzero(flags[0, first]).tolist()
        assert (places == list(DEAD[group][: len(places)])) == (name not in BY_CHANCE)


@pytest.mark.parametrize("name", sorted(set(RECIPES) - WITHOUT_CHANCE))
def test_two_members_never_share_a_draw(name):
    _, (_, _, (before, after)), _ = population(name)
    drawn = (before != after)[:2].all(0)  # [update, ...], by both members
    assert drawn.sum() >= 4
    if name == "crossover":  # of the same two parents: other weights from either
        assert (after[0] != after[1])[drawn].any()
    else:
        silenced = (after[0] == 0) & (after[1] == 0)  # by a death without a birth
        assert not ((after[0] == after[1]) & drawn & ~silenced).any()


@pytest.mark.parametrize("name", RECIPES)
def test_of_the_newborn_no_optimiser_remembers_anything_of_others_everything(name):
    (_, states, *_), (report, *_), _ = population(name)
    ever = {
        group: (report.died[group] | report.born[group])[0].any(0)
        if group in report.died
        else np.zeros(size, bool)
        for group, size in zip(case.NAMES, case.WIDTHS, strict=True)
    }
    for optimiser, before in resting().items():
        after, cleared = member(states[optimiser], 0), 0
        pairs = zip(*map(jax.tree_util.tree_leaves_with_path, (before, after)), strict=True)
        for (path, old), (_, new) in pairs:
            flags = case.belonging(ever, old.shape, jax.tree_util.keystr(path))
            if np.issubdtype(old.dtype, np.integer):
                flags = np.zeros_like(flags)
            np.testing.assert_array_equal(new, np.where(flags, 0, old))
            cleared += flags.sum()
        dies = any(flags.any() for flags in ever.values())
        assert (cleared > 10) == (dies and optimiser != "sgd")


@pytest.mark.parametrize("name", RECIPES)
def test_the_lineage_tells_what_happened(name):
    (*_, known, family), (report, *_), _ = population(name)
    columns = lineage.rows(member(family, 0))
    born, died = member((report.born, report.died), 0)
    for group in RECIPES[name][2]:
        own = columns["group"] == group
        happened = np.argwhere(born[group] | died[group])  # update, place
        np.testing.assert_array_equal(columns["step"][own], happened[:, 0] + 1)
        np.testing.assert_array_equal(columns["place"][own], happened[:, 1])
        deaths = own & (columns["died"] >= 0)
        assert deaths.sum() == died[group].sum()
        assert np.isfinite(columns["fitness"][deaths]).all()
        living = np.asarray(family.families[group].identity[0]) >= 0
        ages = lineage.ages(member(family, 0))[group]
        np.testing.assert_array_equal(ages[living], known[group].age[0][living])


@pytest.mark.parametrize("name", ["functional", "growth"])
def test_a_member_equals_its_solo_run(name):
    whole, *_ = population(name)
    key = jax.random.split(jax.random.key(7))[1]
    solo, _ = jax.jit(functools.partial(training, name))(key, {"rate": jnp.float32(RATE)})
    for one, own in zip(*map(jax.tree.leaves, (solo[:2], member(whole[:2], 1))), strict=True):
        np.testing.assert_allclose(one, own, rtol=1e-3, atol=1e-5)
