"""The network is the one on paper: checked in float64 against NumPy, for every activation.

`[P]` are the parameters of one network as a vector, to be moved one by one; `[N]` its points."""

import functools
import itertools
import math

import jax
import numpy as np
import pytest

from elements import activations, network
from tests import tolerance

X = np.random.default_rng(0).normal(size=(2, 7))
WEIGHTS = np.linspace(-1, 2, 7)  # of the loss Σ w·sin(logit): its slope depends on the logit
CAPACITY = (3,) * 5
DEPTHS = (1, 2, 3, 5)
MIXED = (2, 2, 3)  # with skips around the first two layers: a layer sees 2 inputs like any 2
WIDE = (64, 32)
both_ways = pytest.mark.parametrize("skip", [False, True], ids=["plain", "skip"])
every_activation = pytest.mark.parametrize("name", activations.NAMES)
every_depth = pytest.mark.parametrize("depth", DEPTHS)
ON_PAPER = {
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.maximum(z, 0.01 * z),
    "tanh": np.tanh,
    "gelu": lambda z: z / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "sine": np.sin,
    "swish": lambda z: z / (1 + np.exp(-z)),
    "linear": lambda z: z,
    "softplus": lambda z: np.log(1 + np.exp(z)),
    "elu": lambda z: np.where(z > 0, z, np.exp(np.minimum(z, 0)) - 1),
}


def shapes(widths):
    """{layer: (fan in, fan out)} from the input on."""
    fans = {f"hidden_{k}": fan for k, fan in enumerate(itertools.pairwise((2, *widths)))}
    return {**fans, "output": (widths[-1], 1)}


def drawn(widths):
    size = sum((into + 1) * out for into, out in shapes(widths).values())
    return np.random.default_rng(1).normal(size=size)


def tree(vector, widths):
    """The network's parameters from `vector [..., P]`."""
    layers = {}
    for name, (into, out) in shapes(widths).items():
        kernel, bias, vector = np.split(vector, [into * out, (into + 1) * out], axis=-1)
        layers[name] = {"kernel": kernel.reshape(*kernel.shape[:-1], out, into), "bias": bias}
    return {"params": layers}


def vector(params, widths):
    """`[P]` of the layers that a network of these widths has."""
    layers = [params["params"][name] for name in shapes(widths)]
    return np.concatenate([np.ravel(layer[k]) for layer in layers for k in ("kernel", "bias")])


def on_paper(vector, widths, name, skip):
    """Logits `[..., N]` of the parameters `vector [..., P]`, in NumPy."""
    h = X
    for layer in tree(vector, widths)["params"].values():
        before, h = h, layer["kernel"] @ h + layer["bias"][..., None]
        if layer["kernel"].shape[-2] > 1:  # all but the output
            h = ON_PAPER[name](h) + (before if skip and before.shape[-2] == h.shape[-2] else 0)
    return h[..., 0, :]


def slopes_on_paper(vector, *network):
    """Central differences `[P]` of the loss."""
    steps = 1e-6 * np.eye(vector.size)
    up, down = (np.sin(on_paper(vector + s, *network)) @ WEIGHTS for s in (steps, -steps))
    return (up - down) / 2e-6


def loss_slope(logits):
    return WEIGHTS * jax.numpy.cos(logits)


def computed(function, widths):
    """`function(params, x)` in float64 by one program."""
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, jax.jit(function)(tree(drawn(widths), widths), X))


def every(function):
    """`function(activation)` for all traced activations at once."""
    return jax.vmap(function)(jax.numpy.arange(len(activations.TABLE)))


def own(params, x, activation, skip, depth=None, widths=None):
    used = network.Used(depth, widths)
    gradient = network.gradient(params, x, activation, skip, loss_slope, used)
    return network.logits(params, x, activation, skip, used), gradient


def shallow(params, x, activation, skip, depth):
    model = network.Network(CAPACITY[:depth], skip)
    layers = {"params": {name: params["params"][name] for name in shapes(model.widths)}}
    logits, pull = jax.vjp(lambda layers: model.apply(layers, x, activation), layers)
    return logits, *pull(loss_slope(logits))


@functools.cache
def cut(skip):
    """(logits, gradient), activations × depths; the depth is traced and not batched away."""
    depths = np.array(DEPTHS, np.int32)
    one = lambda p, x: every(lambda w: jax.lax.map(lambda d: own(p, x, w, skip, d), depths))
    return computed(one, CAPACITY)


@functools.cache
def plain(skip):
    """(logits, gradient) of activations by depth, by JAX from Flax modules of just that depth."""
    run = lambda p, x: [every(lambda w, d=d: shallow(p, x, w, skip, d)) for d in DEPTHS]
    return computed(run, CAPACITY)


def taken(results, *place):
    return jax.tree.map(lambda a: a[place], results)


@both_ways
@every_depth
@every_activation
def test_a_network_cut_at_a_traced_depth_is_the_shallower_one(name, depth, skip):
    widths, which, place = CAPACITY[:depth], activations.index(name), DEPTHS.index(depth)
    theta = vector(tree(drawn(CAPACITY), CAPACITY), widths)
    logits, gradient = taken(cut(skip), which, place)
    for seen, slopes in ((logits, gradient), taken(plain(skip)[place], which)):
        np.testing.assert_allclose(seen, on_paper(theta, widths, name, skip), rtol=1e-10)
        expected = slopes_on_paper(theta, widths, name, skip)
        np.testing.assert_allclose(vector(slopes, widths), expected, rtol=1e-5, atol=1e-6)
    both = (vector(g, widths) for g in (gradient, slopes))
    np.testing.assert_allclose(*both, rtol=1e-9, atol=1e-12)
    for k in range(depth, len(CAPACITY)):
        assert not any(leaf.any() for leaf in gradient["params"][f"hidden_{k}"].values())


@both_ways
def test_widths_may_differ_and_skips_stand_where_they_match(skip):
    by_name = lambda params, x: {a: own(params, x, a, skip) for a in activations.NAMES}
    for name, (logits, gradient) in computed(by_name, MIXED).items():
        case = (drawn(MIXED), MIXED, name, skip)
        np.testing.assert_allclose(logits, on_paper(*case), rtol=1e-10, err_msg=name)
        close = np.isclose(vector(gradient, MIXED), slopes_on_paper(*case), rtol=1e-5, atol=1e-6)
        assert close.all(), name


def padded(params, slots):
    """The parameters of a network in larger slots, zeros around them."""
    layers = {}
    for name, into, out in network.layers(slots):
        own = params["params"].get(name, {"kernel": np.zeros((0, 0)), "bias": np.zeros(0)})
        room = {"kernel": np.zeros((out, into)), "bias": np.zeros(out)}
        for part, whole in room.items():
            whole[tuple(slice(n) for n in own[part].shape)] = own[part]
        layers[name] = room
    return {"params": layers}


@functools.cache
def in_slots(widths, skip):
    """(logits, gradient) by activation of a network in slots of which it fills a part."""
    depth, slots = len(widths), (5,) * (len(widths) + 1)
    sizes = np.array([*widths, *[0] * (len(slots) - depth)])
    place = padded(tree(drawn(widths), widths), slots)
    run = lambda p, x: every(lambda w: own(p, x, w, skip, np.int32(depth), jax.numpy.array(sizes)))
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, jax.jit(run)(place, X))


@both_ways
@pytest.mark.parametrize("widths", [(2, 4, 4), (5, 2, 3)], ids=str)
@every_activation
def test_a_network_that_fills_a_part_of_its_slots_is_the_network_itself(name, widths, skip):
    logits, gradient = taken(in_slots(widths, skip), activations.index(name))
    case = (drawn(widths), widths, name, skip)
    np.testing.assert_allclose(logits, on_paper(*case), rtol=1e-10)
    flat = network.flatten(widths, gradient)
    expected = network.flatten(widths, tree(slopes_on_paper(*case), widths))
    np.testing.assert_allclose(flat, expected, rtol=1e-5, atol=1e-6)
    for part, whole in zip(
        *map(jax.tree.leaves, (padded(network.unflatten(widths, flat), (5,) * 4), gradient)),
        strict=True,
    ):
        np.testing.assert_array_equal(part, whole)  # nothing outside ever moves


@pytest.mark.parametrize(("width", "added"), [(2, True), (3, False)])
def test_a_skip_adds_the_input_itself_even_to_the_first_layer(width, added):
    x, zero = np.float32(X), np.zeros((width, 7), np.float32)
    silent = {"kernel": zero[:, :2], "bias": zero[:, 0]}
    for skip in (False, True):
        out = network.layer(silent, x, "tanh", skip)
        np.testing.assert_array_equal(out, x if skip and added else zero)


# Initial weights


@jax.jit
def started(key, which):
    normals = jax.random.normal(key, (network.kernel_count(WIDE),))
    x = np.zeros((2, 1), np.float32)
    return network.initial(WIDE, which, normals), network.Network(WIDE).init(key, x, which)


@every_activation
def test_initial_weights_have_the_deviation_of_he_or_glorot(name):
    for params in started(jax.random.key(0), activations.index(name)):
        assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, tree(drawn(WIDE), WIDE))
        for layer in params["params"].values():
            out, into = layer["kernel"].shape
            deviation = math.sqrt(2 / (into if name in ("relu", "leaky_relu") else into + out))
            error = deviation / math.sqrt(2 * out * into)
            size = np.linalg.norm(layer["kernel"]) / math.sqrt(out * into)
            assert tolerance.within_sampling_error(size, deviation, error)
            assert not layer["bias"].any()


@every_depth
def test_initial_weights_do_not_depend_on_layers_beyond_a_cut(depth):
    normals = np.arange(1, 1 + network.kernel_count(CAPACITY), dtype=np.float32)
    deep = network.initial(CAPACITY, "tanh", normals)["params"]
    shallow = network.initial(CAPACITY[:depth], "tanh", normals)["params"]
    assert set(shallow) == set(shapes(CAPACITY[:depth]))
    jax.tree.map(np.testing.assert_array_equal, shallow, {name: deep[name] for name in shallow})
    used = {float(weight) for layer in deep.values() for weight in layer["kernel"].ravel()}
    assert len(used) == len(normals)


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_a_network_starts_alike_in_slots_of_any_size(name):
    widths, slots = (3, 1, 2), (4,) * 5
    normals = np.random.default_rng(2).normal(size=60).astype(np.float32)
    used = network.Used(np.int32(3), np.array([3, 1, 2, 0, 0], np.int32))
    start = jax.jit(lambda n: network.initial(slots, name, n, used, 2.0))(normals)
    alone = network.initial(widths, name, normals)
    doubled = jax.tree.map(lambda a: np.asarray(2 * a), alone)
    expected = padded(doubled, slots)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), start, expected)


def test_flattening_goes_back_and_forth():
    params = tree(drawn(MIXED), MIXED)
    flat = network.flatten(MIXED, params)
    assert sorted(flat) == sorted(drawn(MIXED))
    back = network.unflatten(MIXED, np.append(flat, [7, 7]))
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_too_few_normal_draws_are_refused():
    with pytest.raises(ValueError, match=r"widths \(8, 8\) need 88 normal draws, got 87"):
        network.initial((8, 8), "tanh", np.zeros(87, np.float32))
