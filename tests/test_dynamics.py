"""What is recorded of the layers is what is there: against jax.grad and NumPy, and by hand."""

import functools

import jax
import numpy as np
import pytest

from elements import activations, datasets, dynamics, learner, network

SLOTS = (4, 4, 4)
SHAPES = ((3,), (4, 2), (2, 2), (4, 4, 4))  # (2, 2) has skips around both of its layers
COUNT = 9
WEIGHT = np.array([1, 1, 0, 1, 1, 1, 1, 0, 0], np.float32) / 6  # some points are not learnt from
every_shape = pytest.mark.parametrize("widths", SHAPES, ids=str)


def trial():
    draw = np.random.default_rng(0)
    x, normals = draw.normal(size=(2, COUNT)), draw.normal(size=network.kernel_count(SLOTS))
    y = np.arange(COUNT) % 2
    train = learner.Share(y.astype(np.float32), WEIGHT)
    test = datasets.Points(x.astype(np.float32), y.astype(np.float32))
    return learner.Trial(x.astype(np.float32), train, None, None, test, normals.astype(np.float32))


def hyper(widths):
    padded = np.array([*widths, *[0] * (len(SLOTS) - len(widths))], np.int32)
    used = network.Used(np.int32(len(widths)), padded)
    return learner.Hyper(0.1, used=used)


@functools.cache
def recorder(skip, name):
    base = learner.learner(SLOTS, skip, learner.protocol("gd"), name)
    watching = dynamics.observed(base, skip, name, gradients=True, weights=True)

    @jax.jit
    def record(trial, hyper):
        return watching.measure(trial, watching.init(trial, hyper), hyper)

    return record


@functools.cache
def recorded(widths, skip=False, name="tanh"):
    """What is recorded of a fresh network in wider and deeper slots: its layers, the output last.

    Hidden slots beyond its depth are left out."""
    found = recorder(skip, name)(trial(), hyper(widths))
    hidden, slots = list(range(len(widths))), len(SLOTS)
    layered = {k: np.asarray(v) for k, v in found.items() if np.ndim(v)}
    return {k: v[hidden + [slots] * (len(v) > slots)] for k, v in layered.items()}


@functools.cache
def on_paper():
    """Of every shape its initial parameters by activation, and jax.grad's slopes of tanh plain and
    with skips; compiled together."""

    @jax.jit
    def all_of(trial):
        own = lambda widths, name: network.initial(widths, name, trial.normals)

        def slopes(widths, skip):
            def loss(params):
                logits = network.Network(widths, skip).apply(params, trial.x, "tanh")
                return learner.cross_entropy(logits, trial.train)

            return jax.grad(loss)(own(widths, "tanh"))

        params = {(w, name): own(w, name) for w in SHAPES for name in ("tanh", "relu")}
        return params, {(w, skip): slopes(w, skip) for w in SHAPES for skip in (False, True)}

    return jax.tree.map(np.asarray, all_of(trial()))


def layers(tree):
    names = [*(f"hidden_{k}" for k in range(len(tree["params"]) - 1)), "output"]
    return [tree["params"][name] for name in names]


def kernels(widths, name="tanh"):
    return [layer["kernel"].astype(np.float64) for layer in layers(on_paper()[0][widths, name])]


@pytest.mark.parametrize("skip", [False, True], ids=["plain", "skip"])
@every_shape
def test_gradient_norms_are_those_of_the_loss_by_jax_grad(widths, skip):
    slopes = layers(on_paper()[1][widths, skip])
    expected = [np.linalg.norm([*s["kernel"].ravel(), *s["bias"]]) for s in slopes]
    np.testing.assert_allclose(recorded(widths, skip)["gradient_norm"], expected, rtol=1e-5)


@every_shape
def test_weight_statistics_are_of_the_weights_in_use(widths):
    found = recorded(widths)
    for name, statistic in (
        ("weight_mean", np.mean),
        ("weight_std", np.std),
        ("weight_norm", np.linalg.norm),
    ):
        expected = [statistic(kernel) for kernel in kernels(widths)]
        np.testing.assert_allclose(found[name], expected, rtol=2e-5, atol=1e-6, err_msg=name)


def test_weight_statistics_of_a_network_that_fills_its_slots():
    found = dynamics.weight_statistics(on_paper()[0][(4, 2), "tanh"])
    expected = [kernel.std() for kernel in kernels((4, 2))]
    np.testing.assert_allclose(found["weight_std"], expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["tanh", "relu"])
@every_shape
def test_activity_is_that_of_the_units_and_points_in_use(widths, name):
    found, h, learnt = recorded(widths, name=name), trial().x.astype(np.float64), WEIGHT > 0
    act, steepest = activations.find(name), activations.steepest(name)
    for k, kernel in enumerate(kernels(widths, name)[:-1]):
        h, slope = map(np.asarray, act.value_and_slope((kernel @ h).astype(np.float32)))
        flat = np.abs(slope[:, learnt]) < dynamics.SATURATED * steepest
        spectrum = np.linalg.eigvalsh(np.cov(h[:, learnt]).reshape(len(h), -1))
        rank = spectrum.sum() ** 2 / (spectrum**2).sum() if h[:, learnt].std() else 0
        assert found["saturated"][k] == pytest.approx(flat.mean(), abs=1e-6)
        assert found["dead"][k] == pytest.approx(flat.all(1).mean(), abs=1e-6)
        assert found["feature_rank"][k] == pytest.approx(rank, rel=1e-4)


@jax.jit
def of_layer(h, slope, which, width):
    """What is said of one layer of features and slopes `[W, 4]`, over its first 3 points."""
    weight = np.array([1, 1, 1, 0], np.float32) / 3
    used = network.Used(widths=width[None])
    return dynamics.activity([(h, slope)], which, weight, used)


def activity(h, slope, name="relu", width=None):
    """The same of up to three units, of which `width` (all) are there, in a layer of three."""
    width = np.int32(len(h) if width is None else width)
    h, slope = (np.resize(np.asarray(a, np.float32), (3, 4)) for a in (h, slope))
    return {k: float(v[0]) for k, v in of_layer(h, slope, activations.index(name), width).items()}


def test_a_rectifier_that_is_never_on_is_dead_and_has_no_directions():
    assert activity(np.zeros((2, 4)), np.zeros((2, 4))) == {
        "saturated": 1,
        "dead": 1,
        "feature_rank": 0,
    }


def test_a_unit_is_dead_only_if_flat_at_every_point_that_counts():
    slope = [[0, 0, 0, 1], [0, 0, 1, 0], [1, 1, 1, 1]]  # the fourth point does not count
    found = activity(np.eye(3, 4), slope)
    assert found["dead"] == pytest.approx(1 / 3)
    assert found["saturated"] == pytest.approx(5 / 9)


def test_flat_is_relative_to_the_activations_steepest_slope():
    slope = np.full((1, 4), 0.04)  # under 5 % of tanh's 1, not of the sigmoid's ¼
    assert activity(np.eye(1, 4), slope, "tanh")["dead"] == 1
    assert activity(np.eye(1, 4), slope, "sigmoid")["dead"] == 0
    assert activity(np.eye(1, 4), -slope, "tanh")["dead"] == 1
    assert activity(np.eye(1, 4), -np.ones((1, 4)), "sine")["dead"] == 0  # steep, downwards


def test_units_that_are_not_there_do_not_count():
    h, slope = np.array([[1, 2, 3, 0], [9, 0, 1, 0]]), np.array([[1, 1, 1, 1], [0, 0, 0, 0]])
    assert activity(h, slope, width=1) == {
        "saturated": 0,
        "dead": 0,
        "feature_rank": pytest.approx(1, rel=1e-5),
    }


@pytest.mark.parametrize(
    ("h", "rank"),
    [
        ([[1, 2, 4, 9], [2, 4, 8, 0], [-1, -2, -4, 5]], 1),  # on a line, save the last point
        ([[1, -1, 0, 0], [1, 1, -2, 0]], 1.6),  # variances 2 and 6: 8²/(2² + 6²)
        ([[3**0.5, -(3**0.5), 0, 0], [1, 1, -2, 0]], 2),  # equal variances, at right angles
        ([[1e-12, 2e-12, 4e-12, 0], [0, 0, 0, 0]], 1),  # however small: its square is 0 in float32
        ([[0.7, 0.7, 0.7, 0], [0.3, 0.3, 0.3, 9]], 0),  # all alike
        ([[0.7, 0.7 + 6e-8, 0.7, 0], [0.3, 0.3, 0.3 + 3e-8, 9]], 0),  # to rounding
        ([[np.nan, 1, 2, 0], [0, 0, 0, 0]], np.nan),
    ],
    ids=["line", "ellipse", "circle", "small", "constant", "rounding", "nan"],
)
def test_the_rank_is_the_number_of_directions(h, rank):
    found = activity(h, np.ones((len(h), 4)))["feature_rank"]
    assert found == pytest.approx(rank, rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("weights", [False, True])
def test_only_what_is_asked_for_is_recorded(gradients, weights):
    base = learner.learner(SLOTS, False, learner.protocol("gd"), "relu")
    base = base._replace(measure=lambda trial, state, hyper: {"train_loss": 0.0})
    watching = dynamics.observed(base, False, "relu", gradients=gradients, weights=weights)
    state = learner.State(on_paper()[0][SLOTS, "relu"], None)
    found = jax.eval_shape(watching.measure, trial(), state, learner.Hyper(0.1))
    names = {"train_loss"} | ({"gradient_norm"} if gradients else set())
    if weights:
        names |= {"weight_mean", "weight_std", "weight_norm", "saturated", "dead", "feature_rank"}
    assert set(found) == names
    lengths = {len(v.shape) and v.shape[0] for v in found.values()}
    assert lengths <= {0, len(SLOTS), len(SLOTS) + 1}
