"""A member of a population is trained as if it were alone: once, by its own draws, anywhere."""

import collections
import functools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elements import datasets, learner, network
from experiments.lab import keys, placement, population

GD = learner.protocol("gd")
LEARNERS = [learner.learner((4, 4), False, GD, name) for name in ("tanh", "relu")]
ALONE = [[jax.jit(function) for function in one] for one in LEARNERS]
AXES = learner.Hyper(0, 0, 0, None, None)  # depth and activation are those of the block
SCHEDULE = population.schedule(steps=4, every=2)
PLAN, SMALL = placement.Layout(members=3, blocks=8), placement.Layout(members=3, blocks=4)
Member = collections.namedtuple("Member", "activation depth learning_rate trial")
# Blocks of 3, 2, 3, 3, 1 and 1: padding within blocks, and devices with one block less than others.
MEMBERS = [
    Member(activation, depth, rate, trial)
    for activation, depth, count in ((0, 1, 5), (0, 2, 3), (1, 1, 4), (1, 2, 1))
    for trial, rate in zip(range(count), (0.1, 0.5, 1.0, 2.0, 0.3), strict=False)
]


@functools.cache
def trials():
    def draw(number):
        key = keys.trial(keys.root(0), "test", number)
        setting = learner.Setting(datasets.index("xor"), 0.1, datasets.Form(), 16)
        streams = (keys.stream(key, name) for name in ("data", "weights"))
        return learner.draw(*streams, setting, capacity=16, tests=8, normals=40)

    return jax.jit(jax.vmap(draw))(np.arange(5))


@functools.cache
def program(devices, plan):
    work = work_of(MEMBERS, chunks_of(MEMBERS, plan, devices)[0])
    mesh = placement.mesh(jax.local_devices()[:devices])
    return population.compile_program(LEARNERS, mesh, AXES, trials(), work, SCHEDULE)


def chunks_of(members, plan, devices):
    kinds = np.array([member.activation * 10 + member.depth for member in members])
    return placement.chunks(kinds, plan, devices)


def work_of(members, chunk):
    activation, depth, rate, trial = map(np.array, zip(*members, strict=True))
    depth, activation = (a.astype(np.int32)[chunk.member[:, 0]] for a in (depth, activation))
    used = network.Used(depth)
    rate = rate.astype(np.float32)[chunk.member]
    hyper = learner.Hyper(rate, np.ones_like(rate), rate < 0, used, activation)
    trial = trial.astype(np.int32)[chunk.member]
    return population.Work(hyper, trial, hyper.activation, chunk.count)


def train(members, devices=4, plan=PLAN):
    """`Trained` of `[M, …]` in the order of `members`."""
    parts = []
    for chunk in chunks_of(members, plan, devices):
        trained = program(devices, plan)(trials(), work_of(members, chunk), SCHEDULE)
        parts.append(population.members(chunk, trained))
    index, trained = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    assert len(index) == len(members)
    return taken(trained, np.argsort(index))


whole = functools.cache(lambda: train(MEMBERS))


def taken(trained, places):
    return jax.tree.map(lambda a: a[np.asarray(places)], trained)


def assert_same(trained, expected, **tolerance):
    jax.tree.map(functools.partial(np.testing.assert_allclose, **tolerance), trained, expected)


@pytest.mark.parametrize("place", range(len(MEMBERS)))
def test_a_member_equals_its_solo_run_by_a_plain_loop(place):
    member = MEMBERS[place]
    init, step, measure, finish = ALONE[member.activation]
    trial = taken(trials(), member.trial)
    used = network.Used(np.int32(member.depth))
    hyper = learner.Hyper(np.float32(member.learning_rate), used=used)
    state = init(trial, hyper)
    records = [measure(trial, state, hyper)]
    for _ in range(2):
        state = step(trial, step(trial, state, hyper), hyper)
        records.append(measure(trial, state, hyper))
    records = jax.tree.map(lambda *values: np.stack(values), *records)
    final = finish(trial, state, hyper)
    assert_same(taken(whole(), place), population.Trained(records, final), atol=1e-5)


@pytest.mark.parametrize(
    "order",
    [range(12, -1, -1), [0, 4, 7, 12], [12], [3, 1, 8, 2, 9, 5, 0], [*range(13), *range(13)]],
    ids=["reversed", "dropped", "single", "shuffled", "added"],
)
def test_the_other_members_do_not_matter(order):
    again = train([MEMBERS[place] for place in order])
    assert_same(again, taken(whole(), order), atol=1e-6)


def test_chunked_equals_whole():
    assert [len(chunks_of(MEMBERS, plan, 4)) for plan in (PLAN, SMALL)] == [1, 2]
    assert_same(train(MEMBERS, plan=SMALL), whole(), atol=1e-6)


def test_one_device_equals_four():
    assert len(jax.local_devices()) == 4
    assert_same(train(MEMBERS, devices=1), whole(), rtol=0)


def test_a_diverging_member_leaves_its_neighbours_bit_identical():
    sick, others = 10, np.delete(np.arange(len(MEMBERS)), 10)
    members = [m._replace(learning_rate=1e30) if i == sick else m for i, m in enumerate(MEMBERS)]
    trained = train(members)
    assert not np.isfinite(trained.records["train_loss"][sick, -1])
    assert_same(taken(trained, others), taken(whole(), others), rtol=0)


def test_blocks_that_only_fill_up_are_not_trained():
    (chunk,) = chunks_of(MEMBERS, PLAN, 4)
    records, _ = program(4, PLAN)(trials(), work_of(MEMBERS, chunk), SCHEDULE)
    moved = np.not_equal(records["train_loss"][..., 0], records["train_loss"][..., -1])
    np.testing.assert_array_equal(moved.all(axis=1), chunk.valid.any(axis=1))


def test_two_members_never_share_a_draw():
    draws = [np.ravel(a) for a in (trials().x, trials().test.x, trials().normals)]
    assert len(np.unique(np.concatenate(draws))) == sum(map(len, draws))
    assert len(np.unique(whole().records["train_loss"][:, -1])) == len(MEMBERS)


@given(st.integers(1, 60), st.integers(1, 70))
def test_a_schedule_records_before_the_first_step_every_so_many_and_at_the_end(steps, every):
    marks = np.cumsum(population.schedule(steps, every)).tolist()
    assert marks == sorted({*range(0, steps, every), steps})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: population.schedule(0, 1), "number of steps must be at least 1, got 0"),
        (lambda: population.schedule(1, 0), "steps between records must be at least 1, got 0"),
        (lambda: keys.root(-1), "seed must lie in .* got -1"),
        (lambda: keys.root(2**32), "seed must lie in .* got 4294967296"),
    ],
)
def test_nonsense_is_refused_in_words(build, message):
    with pytest.raises(ValueError, match=message):
        build()


populations = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array)
plans = st.builds(placement.Layout, st.integers(1, 5), st.integers(1, 6))


@given(populations, plans, st.integers(1, 5))
def test_each_member_is_trained_exactly_once_among_its_kind(species, plan, devices):
    trained = []
    for chunk in placement.chunks(species, plan, devices):
        assert chunk.member.shape == (devices * -(-plan.blocks // devices), plan.members)
        assert (species[chunk.member] == chunk.species[:, None]).all()
        used = chunk.valid.any(axis=1).reshape(devices, -1)
        assert (used == (np.arange(used.shape[1]) < chunk.count[:, None])).all()
        # What padding computed is marked −1 and must be gone.
        numbers = np.where(chunk.valid, chunk.member, -1)
        index, (records, _) = population.members(chunk, population.Trained(numbers, numbers))
        np.testing.assert_array_equal(records, index)
        trained += index.tolist()
    assert sorted(trained) == list(range(len(species)))


@given(populations, plans, st.integers(1, 5))
def test_the_devices_do_not_decide_who_shares_a_chunk(species, plan, devices):
    one, many = (placement.chunks(species, plan, count) for count in (1, devices))
    assert [sorted(c.member[c.valid]) for c in one] == [sorted(c.member[c.valid]) for c in many]


def test_keys_are_those_of_earlier_runs():
    """If these numbers change, so does every figure that was ever published from a seed."""
    key = keys.trial(keys.root(0), "elements", 3)
    assert jax.random.key_data(key).tolist() == [3160892806, 1852158515]


def test_no_two_paths_share_a_key():
    def data(number):
        trials = [keys.trial(keys.root(0), study, number) for study in ("elements", "alen")]
        paths = [keys.stream(key, name) for key in trials for name in ("data", "weights")]
        return [jax.random.key_data(key) for key in [*trials, *paths]]

    found = np.concatenate(jax.jit(jax.vmap(data))(np.arange(2000)))
    assert len(np.unique(found, axis=0)) == 6 * 2000
