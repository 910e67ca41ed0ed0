"""The record of births and deaths, and that it and all other state survives an interruption."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from apoptosis import combine, lineage, moments, packing, recipes
from apoptosis import transform as types
from experiments.shell import storage
from tests import apoptosis_case as case

GROUP = "Dense_0"
WHO = (GROUP,)


@functools.cache
def known():
    """Evidence of one group, of different ages."""
    own = case.known()[GROUP]
    return {GROUP: own._replace(age=jnp.arange(10, 18, dtype=jnp.int32))}


def report(died=(), born=(), parents=None, mates=None):
    flags = lambda who: {GROUP: jnp.isin(jnp.arange(8), jnp.array(who, jnp.int32))}
    nobody = {GROUP: jnp.full(8, -1, jnp.int32)}
    places = lambda who: nobody if who is None else {GROUP: jnp.full(8, who, jnp.int32)}
    fitness = {GROUP: jnp.where(flags(died)[GROUP], 0.5, 0)}
    blank = types.still(known())
    return blank._replace(
        died=flags(died),
        born=flags(born),
        parents=places(parents),
        mates=places(mates),
        fitness=fitness,
    )


EVENTS = (
    report(),
    report(died=(2, 5), born=(2, 5), parents=7),  # 8 and 9, of 7
    report(died=(7,), born=(7,), parents=2, mates=0),  # 10, of 8 and 0
    report(died=(1,)),  # nobody in its place
    report(born=(1,), parents=7),  # 11, of 10
    report(died=(2,), born=(2,)),  # 12, of nobody
)


RECORD = jax.jit(lineage.record)


@functools.cache
def family(room=6):
    own = lineage.init(known(), room)
    for event in EVENTS:
        own = RECORD(own, event, known())
    return own


def test_rows_say_who_died_and_who_was_born_of_whom():
    columns = lineage.rows(family())
    table = list(
        zip(*(columns[name].tolist() for name in columns if name != "fitness"), strict=True)
    )
    assert list(columns) == ["group", *lineage.COLUMNS]
    assert table == [  # group, step, place, died, age, born, parent, mate
        (GROUP, 2, 2, 2, 12, 8, 7, -1),
        (GROUP, 2, 5, 5, 15, 9, 7, -1),
        (GROUP, 3, 7, 7, 17, 10, 8, 0),
        (GROUP, 4, 1, 1, 11, -1, -1, -1),
        (GROUP, 5, 1, -1, -1, 11, 10, -1),
        (GROUP, 6, 2, 8, 12, 12, -1, -1),
    ]
    np.testing.assert_array_equal(columns["fitness"], [0.5, 0.5, 0.5, 0.5, np.nan, 0.5])
    assert family().families[GROUP].identity.tolist() == [0, 11, 12, 3, 4, 9, 6, 10]
    assert lineage.ages(family())[GROUP].tolist() == [6, 1, 0, 6, 6, 4, 6, 3]


def test_ancestry_goes_back_to_the_start():
    columns = lineage.rows(family())
    assert lineage.ancestry(columns, GROUP, 11) == [11, 10, 8, 7]
    assert lineage.ancestry(columns, GROUP, 12) == [12]
    assert lineage.ancestry(columns, GROUP, 3) == [3]
    for nobody in (13, -1):
        with pytest.raises(ValueError, match=f"ever had the identity {nobody}"):
            lineage.ancestry(columns, GROUP, nobody)


def test_what_does_not_fit_is_not_hidden():
    with pytest.raises(ValueError, match="room must be at least 6 for group 'Dense_0', got 5"):
        lineage.rows(family(room=5))
    with pytest.raises(ValueError, match="room must be at least 1, got 0"):
        lineage.init(known(), 0)
    many = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), family())
    with pytest.raises(ValueError, match="take a member of the population first"):
        lineage.rows(many)


def test_the_unborn_have_no_identity_until_they_are_born():
    gone = {GROUP: jnp.arange(8) >= 6}
    own = lineage.init(known(), 6, gone)
    assert own.families[GROUP].identity.tolist() == [0, 1, 2, 3, 4, 5, -1, -1]
    own = RECORD(own, report(born=(6,), parents=3), known())
    assert own.families[GROUP].identity.tolist() == [0, 1, 2, 3, 4, 5, 8, -1]
    assert lineage.ages(own)[GROUP].tolist() == [1] * 6 + [0, -1]
    assert lineage.ancestry(lineage.rows(own), GROUP, 8) == [8, 3]


# Interruption

TRANSFORM = combine.chain(
    recipes.crossover(rate=0.25, interval=4),
    recipes.gradual_fade(rate=0.2, interval=4, fade_steps=3),
)
OPTIMISER = optax.MultiSteps(optax.adamw(0.02), 2).gradient_transformation()
STEPS = 5  # the second five start in mid-interval, with neurons half faded


def test_training_resumed_in_mid_interval_is_bit_identical(tmp_path):
    begin = lambda: case.start(TRANSFORM, OPTIMISER, groups=case.GROUPS[:1])
    run = jax.jit(lambda life: case.train(TRANSFORM, OPTIMISER, life, STEPS, case.GROUPS[:1])[0])
    half = run(begin())
    assert half.state[1].fading[GROUP].any()
    storage.save_tree(tmp_path / "life", jax.tree.map(np.asarray, packing.packed(half)))
    stored = storage.load_tree(tmp_path / "life")
    resumed, whole = run(packing.unpacked(stored, begin())), run(half)
    assert jax.tree.structure(resumed) == jax.tree.structure(whole)
    again = packing.packed(resumed)
    for name, value in packing.packed(whole).items():
        np.testing.assert_array_equal(again[name], value)
    columns = lineage.rows(resumed.family)
    assert set(columns["step"]) == {4, 6, 8, 10}
    assert ((columns["mate"] >= 0) == (columns["parent"] >= 0)).all()
    assert (columns["parent"] >= 0).sum() == 4  # of two crossovers of two; the faded are orphans


def test_a_checkpoint_of_another_configuration_is_refused():
    tree = {"key": jax.random.key(1), "a": jnp.ones(3), "none": jnp.zeros((0, 4))}
    back = packing.unpacked(packing.packed(tree), tree)
    assert jax.random.key_data(back["key"]).tolist() == [0, 1]
    assert back["none"].shape == (0, 4)
    with pytest.raises(ValueError, match=r"array 0 .* must be float32\[4\] .*, got float32\[3\]"):
        packing.unpacked(packing.packed(tree), tree | {"a": jnp.ones(4)})
    with pytest.raises(ValueError, match="must hold 3 arrays for this configuration, got 2"):
        packing.unpacked(packing.packed(tree), tree | {"b": jnp.ones(4)})


def test_sharded_over_neurons_it_is_as_on_one_device():
    mesh = jax.make_mesh(
        (2,), ("neurons",), (jax.sharding.AxisType.Auto,), devices=jax.local_devices()[:2]
    )
    axes = {
        ("Dense_0", "kernel"): (None, "neurons"),
        ("Dense_0", "bias"): ("neurons",),
        ("Dense_1", "kernel"): ("neurons", None),
    }

    def placed(path, leaf):
        layer = tuple(str(getattr(key, "key", "")) for key in path[-2:])
        return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes.get(layer, ())))

    optimiser = moments.per_neuron_adam(0.02)
    transform = recipes.functional(
        rate=0.25, interval=1, noise=0.1, moments="restart", groups=case.GROUPS[:1]
    )
    params, seen = case.initial(), {GROUP: case.known()[GROUP]}
    memory = jax.tree.map(lambda leaf: leaf + 1, optimiser.init(params))
    carry = (params, memory, transform.init(params))
    where = jax.tree_util.tree_map_with_path(placed, carry)
    update = lambda *carry: transform.update(jax.random.key(0), *carry, seen)
    *alone, report = jax.jit(update)(*carry)
    shared = jax.jit(update, out_shardings=(*where, None))(*jax.device_put(carry, where))
    kernel = shared[0]["params"]["Dense_0"]["kernel"]
    assert kernel.sharding.shard_shape(kernel.shape) == (4, 4)
    assert report.born[GROUP].sum() == 2
    for one, other in zip(jax.tree.leaves(tuple(alone)), jax.tree.leaves(shared[:3]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(shared[3].died[GROUP], report.died[GROUP])
