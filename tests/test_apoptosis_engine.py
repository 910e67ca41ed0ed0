"""Declarations, evidence, selection and births of the engine, one mechanism at a time."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apoptosis import combine, engine, evidence, fitness, neurons, recipes, renewal, selection
from apoptosis import transform as types
from tests import apoptosis_case as case

# Declarations


def transformer_tree(layers=2, d=8, heads=2, head_dim=4, ffn=12):
    block = {
        "attention": {
            **{k: {"kernel": jnp.ones((d, heads, head_dim))} for k in ("query", "key", "value")},
            "out": {"kernel": jnp.ones((heads, head_dim, d))},
        },
        "mlp": {
            "up": {"kernel": jnp.ones((d, ffn)), "bias": jnp.ones(ffn)},
            "down": {"kernel": jnp.ones((ffn, d)), "bias": jnp.ones(d)},
        },
        "norm_1": {"scale": jnp.ones(d)},
    }
    return {"params": {f"block_{i}": block for i in range(layers)} | {"head": jnp.ones((d, 5))}}


def test_our_transformer_is_recognised():
    found = neurons.find(None, transformer_tree())
    assert [(g.name, g.size) for g in found] == [
        ("block_0/mlp", 12),
        ("block_0/attention", 8),
        ("block_1/mlp", 12),
        ("block_1/attention", 8),
    ]


def test_a_plain_mlp_is_recognised_in_the_order_of_its_layers():
    class Deep(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(11):
                x = nn.relu(nn.Dense(3)(x))
            return x

    params = Deep().init(jax.random.key(0), jnp.ones((1, 3)))
    names = [group.name for group in neurons.find(None, params)]
    assert names == [f"Dense_{i}" for i in range(10)]
    assert [g.name for g in neurons.find(None, params["params"])] == names


def test_rows_go_out_and_in_again():
    tree = transformer_tree(1)
    leaf = jnp.arange(64.0).reshape(8, 2, 4)
    part = neurons.Part("incoming", 0, "", (1, 2))
    rows = part.rows(leaf)
    assert rows.shape == (8, 8)
    np.testing.assert_array_equal(rows[5], leaf[:, 1, 1])
    np.testing.assert_array_equal(part.put(leaf, rows), leaf)
    (group, *_) = neurons.find(neurons.transformer(1), tree)
    leaves = jax.tree.leaves(tree)
    for a, b in zip(group.put(leaves, group.rows(leaves)), leaves, strict=True):
        np.testing.assert_array_equal(a, b)


def test_gated_units_and_norms_can_be_declared():
    tree = {
        "gate": jnp.ones((3, 5)),
        "value": jnp.ones((3, 5)),
        "norm": jnp.ones(5),
        "down": jnp.ones((5, 2)),
    }
    group = neurons.NeuronGroup("glu", ("gate", "value"), "down", scale="norm")
    (found,) = neurons.find([group], tree)
    assert [part.kind for part in found.parts] == ["incoming", "incoming", "scale", "outgoing"]


GROUP = neurons.NeuronGroup
BAD = [
    ([GROUP("a", "Dense_7/kernel", "Dense_1/kernel")], "'Dense_7/kernel' must match one leaf, but"),
    (
        [GROUP("a", "Dense_*/kernel", "Dense_1/kernel")],
        r"must match one leaf, but matches .*Dense_2",
    ),
    ([GROUP("a", "Dense_0/kernel", "Dense_2/kernel")], "must have one number of neurons, got"),
    ([GROUP("a", ("Dense_0/kernel", 2), "Dense_1/kernel")], r"has no axes \(2,\)"),
    ([GROUP("a", "Dense_0/kernel", ())], "must have incoming and outgoing kernels"),
    ([], "at least one"),
    (
        [
            GROUP(
                "a", "Dense_0/kernel", "Dense_1/kernel", next_bias=("Dense_1/bias", "Dense_2/bias")
            )
        ],
        "next_bias must be none or 1",
    ),
    ([case.GROUPS[0], case.GROUPS[0]], "each of its own name"),
]


@pytest.mark.parametrize(("groups", "sentence"), BAD)
def test_bad_declarations_are_refused(groups, sentence):
    with pytest.raises(ValueError, match=sentence):
        neurons.find(groups, case.initial())


def test_an_unknown_model_needs_a_declaration():
    with pytest.raises(ValueError, match="groups must be declared"):
        neurons.find(None, {"Conv_0": {"kernel": jnp.ones((3, 3, 1, 4)), "bias": jnp.ones(4)}})


# Evidence


def test_evidence_is_what_it_says():
    params, (x, y) = case.initial(), case.data()
    known = case.known(steps=3)
    _, (hidden, inputs) = case.loss(params, x, y)
    for name in case.NAMES:
        h, own = np.asarray(hidden[name]), known[name]
        np.testing.assert_allclose(own.average("activation"), np.abs(h).mean(0), rtol=1e-5)
        np.testing.assert_allclose(own.average("square"), (h**2).mean(0), rtol=1e-5)
        assert (own.age == 3).all()
        active = (h > 0).any(0)
        np.testing.assert_array_equal(own.idle, np.where(active, 0, 3))
        np.testing.assert_array_equal(own.fired, np.where(active, 3, 0))
        np.testing.assert_allclose(own.outputs, h[:48], atol=1e-6)
        np.testing.assert_allclose(own.inputs, np.asarray(inputs[name])[:48], atol=1e-6)


def test_taylor_is_the_slope_of_the_loss_in_a_gate_on_the_neuron():
    """The sum comes before the absolute value: Σ h·∂L/∂h is the derivative by a common factor."""
    params, (x, y) = case.initial(), case.data()

    def gated(gate):
        own = params["params"]
        kernel = gate[:, None] * own["Dense_1"]["kernel"]
        changed = own | {"Dense_1": own["Dense_1"] | {"kernel": kernel}}
        return case.loss({"params": changed}, x, y)[0]

    slope = jax.grad(gated)(jnp.ones(8))
    np.testing.assert_allclose(
        case.known()["Dense_0"].average("taylor"), jnp.abs(slope), rtol=1e-4, atol=1e-7
    )


def test_of_newborns_nothing_is_known():
    known = case.known()
    born = {"Dense_0": jnp.arange(8) == 2, "Dense_1": jnp.zeros(6, bool)}
    after = evidence.renewed(known, types.still(known)._replace(born=born))
    own, old = after["Dense_0"], known["Dense_0"]
    assert own.age.tolist() == [5, 5, 0, 5, 5, 5, 5, 5]
    assert own.average("square")[2] == 0
    np.testing.assert_array_equal(own.average("square")[3:], old.average("square")[3:])
    x, y = case.data()
    again, _ = case.watch(case.initial(), after, x, y)
    again = again["Dense_0"]
    np.testing.assert_allclose(again.average("square"), old.average("square"), rtol=1e-5)
    assert again.age.tolist() == [6, 6, 1, 6, 6, 6, 6, 6]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda p: evidence.init(p, keep=("tailor",)), r"keep must be of .*, got 'tailor'"),
        (lambda p: evidence.init(p, record=-1), "record must be at least 0"),
        (lambda p: evidence.gather(evidence.init(p), p, {}), "activations lack group 'Dense_0'"),
        (
            lambda p: evidence.gather(evidence.init(p), p, {"Dense_0": jnp.ones((3, 7))}),
            "has 8 neurons, got",
        ),
        (
            lambda p: evidence.gather(evidence.init(p), p, {"Dense_0": jnp.ones((3, 8))}),
            "need the gradients of group 'Dense_0'",
        ),
        (
            lambda p: evidence.gather(
                evidence.init(p, keep=(), record=9), p, {"Dense_0": jnp.ones((3, 8))}
            ),
            "record must be at most the 3 samples, got 9",
        ),
    ],
)
def test_bad_evidence_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(case.initial())


def test_a_fitness_without_its_evidence_says_what_to_keep():
    known = evidence.init(case.initial(), keep=("activation",))
    params = case.initial()
    transform = recipes.standard()
    with pytest.raises(ValueError, match=r"lacks 'square': keep it in evidence\.init"):
        transform.update(jax.random.key(0), params, (), transform.init(params), known)


# Selection


@pytest.mark.parametrize("size", [6, 100])  # all pairs, and sorting
def test_exactly_so_many_of_the_lowest_die_ties_by_index(size):
    everyone = jnp.ones(size, bool)
    tied = selection.lowest(jnp.zeros(size), 3, everyone)
    assert np.flatnonzero(tied).tolist() == [0, 1, 2]
    scores = jnp.asarray(np.random.default_rng(0).integers(0, 4, size), jnp.float32)
    for count in (0, 1, size // 2, size, size + 5):
        expected = np.argsort(scores, kind="stable")[:count]
        chosen = selection.lowest(scores, count, everyone)
        assert np.flatnonzero(chosen).tolist() == sorted(expected.tolist())
    fit = jnp.arange(size) % 2 == 1
    assert np.flatnonzero(selection.lowest(jnp.zeros(size), 2, fit)).tolist() == [1, 3]
    assert selection.lowest(scores, size, fit).sum() == size // 2
    broken = scores.at[4].set(jnp.nan)
    assert np.flatnonzero(selection.lowest(broken, 1, everyone)).tolist() == [4]


def test_fractions_add_up_exactly():
    for rate, number in ((0.1, 5), (0.03, 10), (1e-3, 7), (0.7, 3)):
        events = 2000
        step = lambda carried, _, r=rate, n=number: selection.quota(carried, r, n)[::-1]
        _, counts = jax.lax.scan(step, jnp.zeros(()), length=events)
        assert counts.sum() == round(rate * number * events)
        assert set(counts.tolist()) <= {int(rate * number), int(rate * number) + 1}


def test_global_selection_and_maturity():
    params, known = case.initial(), case.known()
    known = known | {"Dense_1": known["Dense_1"]._replace(age=jnp.array([9, 0, 9, 0, 9, 0]))}
    flat = fitness.Fitness("flat", (), lambda key, group, leaves, own: jnp.zeros(group.size))

    def died(**settings):
        transform = engine.replace(0.5, flat, renewal.random(), **settings)
        report = transform.update(jax.random.key(0), params, (), transform.init(params), known)[3]
        return [np.flatnonzero(report.died[name]).tolist() for name in case.NAMES]

    assert died(scope="global") == [[0, 1, 2, 3, 4, 5, 6], []]
    assert died(scope="global", maturity=6) == [[], [0, 2, 4]]
    assert died(maturity=6) == [[], [0, 2, 4]]
    assert died(maturity=6, share_of="mature") == [[], [0]]
    assert died() == [[0, 1, 2, 3], [0, 1, 2]]


# Births


def scene(dying, scores=None):
    (group, _) = neurons.find(case.GROUPS, case.initial())
    rows = group.rows(jax.tree.leaves(case.initial()))
    drawn = renewal.fresh(jax.random.key(3), group, rows)
    scores = jnp.arange(8.0) if scores is None else scores
    return group, renewal.Scene(rows, drawn, scores, dying, case.known()["Dense_0"])


DYING = jnp.isin(jnp.arange(8), jnp.array([1, 4, 6]))


def test_random_draws_are_those_of_the_models_initialiser():
    params, known = case.initial(), case.known()
    transform = engine.replace(0.5, fitness.taylor(), renewal.random(), initial=case.fresh)
    key = jax.random.key(1)
    after, _, _, report = transform.update(key, params, (), transform.init(params), known)
    expected = case.fresh(jax.random.split(key, 3)[2])["params"]["Dense_0"]["kernel"]
    born = report.born["Dense_0"]
    kernel = after["params"]["Dense_0"]["kernel"]
    np.testing.assert_array_equal(kernel[:, born], expected[:, born])
    other = engine.replace(0.5, fitness.taylor(), renewal.random(), initial=lambda key: {})
    with pytest.raises(ValueError, match="must have the structure of the parameters"):
        other.update(key, params, (), other.init(params), known)


def test_default_draws_have_flaxs_deviation():
    tree = {"up": jnp.zeros((400, 50)), "down": jnp.zeros((50, 2))}
    (group,) = neurons.find([neurons.NeuronGroup("g", "up", "down")], tree)
    up, down = renewal.fresh(jax.random.key(0), group, group.rows([tree["down"], tree["up"]]))
    theirs = nn.Dense(50).init(jax.random.key(1), jnp.ones((1, 400)))["params"]["kernel"]
    assert float(up.std()) == pytest.approx(float(theirs.std()), rel=0.03)
    assert float(jnp.abs(up).max()) == pytest.approx(float(jnp.abs(theirs).max()), rel=0.03)
    assert not down.any()


@pytest.mark.parametrize("how", renewal.CROSSINGS)
def test_a_child_has_two_distinct_surviving_parents(how):
    group, seen = scene(DYING)
    rows, mother = renewal.crossover(how).make(jax.random.key(2), group, seen)
    a, b = renewal.parents(jax.random.split(jax.random.key(2))[0], seen.scores, DYING, 2)
    np.testing.assert_array_equal(a, mother)
    assert not np.any(a == b)
    assert not np.any(DYING[a] | DYING[b])
    for old, new in zip(seen.rows, rows, strict=True):
        low, high = jnp.minimum(old[a], old[b]), jnp.maximum(old[a], old[b])
        inside = (new >= low - 1e-6) & (new <= high + 1e-6)
        assert inside[DYING].all()
        np.testing.assert_array_equal(new[~DYING], old[~DYING])
        if how == "uniform":
            assert ((new == old[a]) | (new == old[b]))[DYING].all()
        elif how == "blend":
            share = ((new - old[b]) / (old[a] - old[b]))[DYING]
            assert ((share > 0.29) & (share < 0.71)).all()


def test_parents_are_drawn_by_rank():
    keys = jax.random.split(jax.random.key(0), 500)
    dying = jnp.arange(4) == 3
    (first,) = jax.vmap(
        lambda key: jnp.stack(renewal.parents(key, jnp.array([5.0, 1.0, 9.0, 0.0]), dying, 1))
    )(keys).transpose(1, 0, 2)
    share = np.bincount(np.ravel(first), minlength=4) / first.size
    np.testing.assert_allclose(share, np.array([2, 1, 3, 0]) / 6, atol=0.05)


def test_noise_is_relative_to_the_parent_unless_absolute():
    tree = {"up": jnp.ones((4000, 3)) * jnp.array([1.0, 10.0, 0.1]), "down": jnp.ones((3, 2))}
    (group,) = neurons.find([neurons.NeuronGroup("g", "up", "down")], tree)
    rows = group.rows(jax.tree.leaves(tree))
    for absolute, expected in ((False, [0.2, 2.0, 0.02]), (True, [0.2, 0.2, 0.2])):
        new = renewal.noisy(jax.random.key(0), group, rows, 0.2, absolute)
        np.testing.assert_allclose((new[0] - rows[0]).std(1), expected, rtol=0.1)
        np.testing.assert_array_equal(new[1], rows[1])


# Combinators


def dying(share):
    """A transform that adds to the parameters, and reports the death of this share of neurons."""

    def update(key, params, opt_state, state, known):
        died = {
            name: jnp.arange(len(own.age)) < share * len(own.age) for name, own in known.items()
        }
        params = jax.tree.map(lambda p: p + 1, params)
        return params, opt_state, state + 1, types.still(known)._replace(died=died)

    return types.ApoptosisTransform(lambda params: jnp.zeros((), jnp.int32), update)


def updates(transform, steps=6):
    params, known = jnp.zeros(()), evidence.init(case.initial(), keep=())
    step = lambda carry, key: (lambda *out: (out[:3], out[3]))(
        *transform.update(key, *carry, known)
    )
    keys = jax.random.split(jax.random.key(0), steps)
    (params, *_), report = jax.lax.scan(step, (params, (), transform.init(params)), keys)
    died = np.stack([report.died[name].sum(-1) for name in case.NAMES], 1).tolist()
    return int(params), died


def test_when_and_where_is_decided_by_combinators():
    half, quarter, still = dying(0.5), dying(0.25), [[0, 0]]
    assert updates(combine.every(3, half)) == (2, [[0, 0], [0, 0], [4, 3]] * 2)
    assert updates(combine.after(4, half)) == (2, still * 4 + [[4, 3]] * 2)
    assert updates(combine.before(2, half)) == (2, [[4, 3]] * 2 + still * 4)
    assert updates(combine.only("Dense_1", half), 2) == (2, [[0, 3]] * 2)
    layers = combine.per_layer({"Dense_0": quarter, "Dense_1": half})
    assert updates(layers, 2) == (4, [[2, 3]] * 2)
    assert updates(combine.chain(combine.every(2, half), quarter), 2) == (3, [[2, 2], [4, 3]])
    assert updates(combine.every(2, combine.after(1, half)), 4) == (1, still * 3 + [[4, 3]])
    with pytest.raises(ValueError, match="no group 'Dense_9': there is evidence of"):
        updates(combine.only("Dense_9", half), 1)
    for empty in (combine.chain, lambda: combine.only((), half)):
        with pytest.raises(ValueError, match="at least one"):
            empty()


def test_annealing_follows_its_schedule():
    schedule = lambda step: jnp.where(step <= 2, 0.5, 0.25)
    assert updates(combine.anneal(dying, schedule), 4)[1] == [[4, 3]] * 2 + [[2, 2]] * 2


def test_the_engine_leaves_groups_without_evidence_alone():
    params, known = case.initial(), case.known()
    transform = combine.only("Dense_1", engine.replace(0.5, fitness.taylor(), renewal.random()))
    after, *_, report = transform.update(
        jax.random.key(0), params, (), transform.init(params), known
    )
    assert [int(report.died[name].sum()) for name in case.NAMES] == [0, 3]
    old, new = params["params"]["Dense_0"], after["params"]["Dense_0"]
    np.testing.assert_array_equal(old["kernel"], new["kernel"])


def test_the_change_of_the_networks_output_can_be_measured():
    params, known, (x, _) = case.initial(), case.known(), case.data()
    inner = engine.replace(0.5, fitness.taylor(), renewal.random())
    transform = combine.measured(inner, lambda params: case.outputs(params, x))
    after, *_, report = transform.update(
        jax.random.key(0), params, (), transform.init(params), known
    )
    old, new = case.outputs(params, x), case.outputs(after, x)
    expected = jnp.sqrt(jnp.mean((new - old) ** 2)) / old.std()
    assert report.change["Dense_0"] == pytest.approx(float(expected), rel=1e-5)
    assert expected > 0.01


def test_an_event_runs_only_when_due_also_under_vmap():
    """A host callback counts: neither `cond` nor the population's `select` may run it in vain."""
    calls = []

    def event(carry):
        x, offset = carry
        jax.debug.callback(lambda: calls.append(1))
        return x + offset * scale, offset

    scale = jnp.float32(2.0)

    def run(start, period):
        step = lambda carry, i: (types.lazily(i % period == 0, event, carry), None)
        return jax.lax.scan(step, (start, jnp.float32(1.0)), jnp.arange(1, 13))[0][0]

    program = jax.jit(jax.vmap(jax.vmap(run, (0, None)), (None, 0)))
    found = program(jnp.arange(3.0), jnp.array([4, 6]))
    jax.effects_barrier()
    expected = np.array([[6, 7, 8], [4, 5, 6]])  # 3 and 2 events, each adding 2
    np.testing.assert_array_equal(found, expected)
    per_event = len(calls) / len({4, 8, 12, 6})
    assert per_event in (1, 6)  # a callback a member, or one for all: none on the other 8 steps
