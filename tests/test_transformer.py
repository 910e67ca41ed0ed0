"""The organism: its size, its start, what it may look at, and how text becomes arrays."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from apoptosis import neurons, presets, sampling, text, transformer
from apoptosis.transformer import Architecture, Transformer

SYMBOLS = 13
SMALL = Architecture(width=8, heads=2, layers=2, ffn=12, context=10)
KEY = jax.random.key(0)


@functools.cache
def made(symbols=SYMBOLS, compute="float32", **changes):
    """A small transformer and parameters like its first ones, for which nothing is compiled."""
    model = Transformer(symbols, dataclasses.replace(SMALL, **changes), compute)
    shapes = jax.eval_shape(lambda key: transformer.initial(key, model), KEY)
    draw, constants = np.random.default_rng(0), {"scale": 1.0, "bias": 0.0}

    def filled(path, leaf):
        value = constants.get(path[-1].key)
        drawn = draw.normal(0, 0.02, leaf.shape) if value is None else np.full(leaf.shape, value)
        return jnp.asarray(drawn, leaf.dtype)

    return model, jax.tree_util.tree_map_with_path(filled, shapes)


@functools.cache
def compiled(model):
    """The forward pass."""
    return jax.jit(lambda params, inputs: model.apply({"params": params}, inputs))


def scaled(params, factor):
    """All kernels and embeddings larger: far from the small start, nothing is lost in rounding."""
    return jax.tree.map(lambda leaf: leaf * factor if leaf.ndim > 1 else leaf, params)


def batch(size=3, length=SMALL.context):
    tokens = jax.random.randint(jax.random.key(1), (size, length + 1), 0, SYMBOLS)
    return tokens[:, :-1], tokens[:, 1:]


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# Size and start


@pytest.mark.parametrize(
    ("name", "parameters"),
    # Shakespeare's 65 symbols. nanoGPT's own count, 10.65 million, leaves out 98,304 positions and
    # has no biases.
    [("prototype", 1_219_584), ("nanogpt", 10_761_600), ("big", 9_547_520), ("tiny", 22_080)],
)
def test_presets_have_their_number_of_parameters(name, parameters):
    model = Transformer(65, presets.find(name).architecture)
    shapes = jax.eval_shape(lambda key: transformer.initial(key, model), KEY)
    assert count(shapes) == parameters


def test_the_parameters_are_where_the_groups_of_neurons_look_for_them():
    _, params = made()
    found = neurons.find(neurons.transformer(SMALL.layers), params)
    assert {group.name: group.size for group in found} == {
        f"block_{i}/{part}": size
        for i in range(2)
        for part, size in (("mlp", 12), ("attention", 8))
    }
    assert params["embedding"]["embedding"].shape == (SYMBOLS, 8)
    assert params["position"]["embedding"].shape == (10, 8)
    assert params["head"]["kernel"].shape == (8, SYMBOLS)
    assert "norm_final" in params
    assert "norm_final" not in made(norm="post")[1]


def test_the_tied_head_is_the_embedding():
    model, params = made(tied=True)
    _, untied = made()
    assert "head" not in params
    assert count(untied) - count(params) == 8 * SYMBOLS
    inputs, _ = batch()
    # A symbol that no input has still gets its logits from its row of the embedding.
    absent = jnp.where(inputs == 4, 5, inputs)
    row = params["embedding"]["embedding"].at[4].set(0.0)
    moved = {**params, "embedding": {"embedding": row}}
    before, after = (compiled(model)(p, absent) for p in (params, moved))
    assert jnp.abs(before[..., 4]).min() > 0
    np.testing.assert_array_equal(after[..., 4], 0)
    others = jnp.arange(SYMBOLS) != 4
    np.testing.assert_allclose(after[..., others], before[..., others], atol=1e-6)


@pytest.mark.parametrize(("norm", "tied"), [("pre", True), ("post", False)])
def test_the_initial_loss_is_that_of_a_guess(norm, tied):
    model, _ = made(norm=norm, tied=tied, width=32, activation="relu")
    params = jax.jit(lambda key: transformer.initial(key, model))(KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    inputs, targets = batch(8)
    logits = compiled(model)(params, inputs)
    assert transformer.losses(logits, targets).mean() == pytest.approx(np.log(SYMBOLS), abs=0.05)
    block = params["block_1"]
    assert jnp.std(block["mlp"]["up"]["kernel"]) == pytest.approx(0.02, rel=0.2)
    for kernel in (block["mlp"]["down"]["kernel"], block["attention"]["out"]["kernel"]):
        assert jnp.std(kernel) == pytest.approx(0.01, rel=0.2)  # 0.02 / sqrt(2 · 2 blocks)


def test_bfloat16_is_close_to_float32_but_not_it():
    (exact, params), (rough, _) = made(), made(compute="bfloat16")
    first, second = (compiled(m)(scaled(params, 5), batch()[0]) for m in (exact, rough))
    assert first.dtype == second.dtype == jnp.float32
    assert 0 < jnp.abs(first - second).max() < 0.05 * jnp.abs(first).max()


# What it may look at


@pytest.mark.parametrize(("norm", "activation"), [("pre", "gelu"), ("post", "relu")])
def test_no_output_depends_on_later_inputs_and_each_on_all_before(norm, activation):
    model, params = made(norm=norm, activation=activation)
    params = scaled(params, 8)
    inputs = jnp.arange(SMALL.context)[None]  # each position has a symbol of its own

    def logits(table):
        moved = {**params, "embedding": {"embedding": table}}
        return model.apply({"params": moved}, inputs)[0]

    slopes = jax.jit(jax.jacrev(logits))(params["embedding"]["embedding"])  # [T, V, V, D]
    reach = np.abs(slopes).sum((1, 3))[:, : SMALL.context]  # [output, input]
    assert (reach[np.triu_indices(SMALL.context, 1)] == 0).all()
    assert (reach[np.tril_indices(SMALL.context)] > 1e-6).all()


def test_equal_symbols_at_other_places_are_told_apart():
    model, params = made()
    logits = compiled(model)(params, jnp.zeros((1, 5), jnp.int32))[0]
    assert jnp.abs(logits[1:] - logits[0]).max() > 1e-4


def test_dropout_drops_in_training_alone_and_by_its_key():
    model, params = made(dropout=0.5)
    inputs, targets = batch()
    loss = jax.jit(lambda key: transformer.loss(model, key, params, inputs, targets))
    plain = transformer.losses(compiled(model)(params, inputs), targets).mean()
    first, again, other = (loss(jax.random.key(k)) for k in (1, 1, 2))
    assert first == again
    assert len({float(plain), float(first), float(other)}) == 3
    model, params = made()
    plain = transformer.losses(compiled(model)(params, inputs), targets).mean()
    loss = jax.jit(lambda key: transformer.loss(model, key, params, inputs, targets))
    assert loss(KEY) == pytest.approx(float(plain), rel=1e-6)


def test_what_is_observed_is_true_and_costs_no_second_pass():
    model, params = made(dropout=0.1)
    inputs, targets = batch()
    plain = lambda params: transformer.loss(model, KEY, params, inputs, targets)
    observed = jax.jit(lambda params: transformer.observed(model, KEY, params, inputs, targets))
    loss, gradient, seen = observed(params)
    expected, slopes = jax.jit(jax.value_and_grad(plain))(params)
    assert loss == pytest.approx(float(expected), rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), gradient, slopes)
    for i in range(SMALL.layers):
        for name, size in ((f"block_{i}/mlp", (12,)), (f"block_{i}/attention", (2, 4))):
            assert seen.activations[name].shape == (3, 10, *size)
            assert seen.inputs[name].shape == (3, 10, 8)
            assert jnp.abs(seen.activations[name]).max() > 1e-6


@pytest.mark.parametrize(
    ("platform", "compute", "channels", "expected"),
    [
        ("gpu", "bfloat16", 64, "cudnn"),
        ("gpu", "bfloat16", 12, "xla"),
        ("gpu", "float32", 64, "xla"),
        ("cpu", "bfloat16", 64, "xla"),
    ],
)
def test_cudnn_is_taken_where_it_can_be(platform, compute, channels, expected):
    assert transformer.attention(platform, compute, channels) == expected


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: dataclasses.replace(SMALL, width=9), r"multiple of heads \(2\), got 9"),
        (lambda: dataclasses.replace(SMALL, layers=0), "layers must be at least 1, got 0"),
        (lambda: dataclasses.replace(SMALL, norm="middle"), "pre, post, got 'middle'"),
        (lambda: dataclasses.replace(SMALL, activation="tanh"), "relu, gelu, got 'tanh'"),
        (lambda: dataclasses.replace(SMALL, dropout=1.0), r"dropout must lie in \[0, 1\), got 1.0"),
        (lambda: presets.find("nano"), "prototype, nanogpt, big, tiny, got 'nano'"),
        (lambda: made(compute="float16"), "float32, bfloat16, got 'float16'"),
        (lambda: made()[0].apply({"params": made()[1]}, batch(1, 11)[0]), "10 tokens, got 11"),
    ],
)
def test_what_cannot_be_built_is_refused(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()


# The optimiser of a preset


def test_the_rate_climbs_and_falls_as_nanogpt_has_it():
    training = presets.NANOGPT.training
    rate = presets.rate(training)
    assert rate(0) == pytest.approx(1e-5, rel=1e-5)
    assert rate(99) == rate(100) == pytest.approx(1e-3)
    assert rate(2550) == pytest.approx((1e-3 + 1e-4) / 2, rel=1e-3)
    assert rate(training.steps) == pytest.approx(1e-4)
    assert presets.rate(presets.PROTOTYPE.training)(4999) == pytest.approx(3e-4)


def test_matrices_decay_and_vectors_do_not():
    training = dataclasses.replace(presets.PROTOTYPE.training, learning_rate=0.5, weight_decay=0.5)
    optimiser = presets.optimiser(training)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    none = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimiser.update(none, optimiser.init(params), params)
    after = optax.apply_updates(params, updates)
    np.testing.assert_allclose(after["kernel"], 1 - 0.5 * 0.5)
    np.testing.assert_array_equal(after["bias"], 1)


# Text


def test_text_is_read_back_from_its_tokens():
    vocabulary = text.Vocabulary.of("abracadabra!")
    assert vocabulary.symbols == "!abcdr"
    np.testing.assert_array_equal(vocabulary.encode("cab"), [3, 1, 2])
    assert vocabulary.decode(vocabulary.encode("a bar!".replace(" ", ""))) == "abar!"
    with pytest.raises(ValueError, match="vocabulary of 6 symbols has no 'x', 'z'"):
        vocabulary.encode("zax")
    with pytest.raises(ValueError, match="at least 2 different characters, got 1"):
        text.Vocabulary.of("aaaa")


def test_the_three_parts_are_contiguous_and_all():
    parts = text.split(np.arange(105), 5)
    assert [len(part) for part in parts] == [84, 10, 11]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(105))
    with pytest.raises(ValueError, match=r"validation part .* context of 10, got 10: the corpus"):
        text.split(np.arange(105), 10)


@pytest.mark.parametrize(("length", "count"), [(11, 2), (12, 3), (4, 1)])
def test_every_character_but_the_first_is_a_target_once(length, count):
    windows = text.windows(np.arange(1, length + 1), 5)
    assert windows.inputs.shape == (count, 5)
    np.testing.assert_array_equal(windows.targets[windows.valid], np.arange(2, length + 1))
    np.testing.assert_array_equal((windows.targets - windows.inputs)[windows.valid], 1)


def test_batches_come_from_everywhere_in_the_part():
    inputs, targets = text.batch(KEY, jnp.arange(12), 400, 5)
    assert inputs.shape == targets.shape == (400, 5)
    np.testing.assert_array_equal(targets, inputs + 1)
    assert set(np.asarray(inputs[:, 0]).tolist()) == set(range(7))
    assert targets.max() == 11


# Sampling


def cycle():
    """A transformer whose likeliest next symbol is the one after the last."""
    model, params = made(symbols=4, tied=False)
    table = jnp.eye(4, 8)
    params = jax.tree.map(jnp.zeros_like, params)
    params["norm_final"]["scale"] = jnp.ones(8)
    params["embedding"]["embedding"] = table
    params["head"]["kernel"] = jnp.roll(table, 1, axis=0).T
    return model, params


def test_the_likeliest_text_goes_on_from_the_prompt_beyond_the_context():
    model, params = cycle()
    prompt = jnp.arange(3) % 4
    drawn = sampling.sample(KEY, model, params, prompt, 25, 0.0)
    np.testing.assert_array_equal(drawn, (3 + np.arange(25)) % 4)
    long = jnp.arange(17) % 4  # longer than the context
    drawn = sampling.sample(KEY, model, params, long, 3, 0.0)
    np.testing.assert_array_equal(drawn, (17 + np.arange(3)) % 4)


def test_each_symbol_is_drawn_given_the_last_of_the_context():
    model, params = made(norm="post")
    params = scaled(params, 20)
    text_so_far = [3, 1, 4]
    drawn = sampling.sample(KEY, model, params, jnp.array(text_so_far), 25, 0.0)
    for token in np.asarray(drawn):
        view = text_so_far[-SMALL.context :]
        padded = jnp.array([view + [0] * (SMALL.context - len(view))])
        assert token == compiled(model)(params, padded)[0, len(view) - 1].argmax()
        text_so_far.append(int(token))
    assert len(set(text_so_far)) > 3


def test_draws_follow_the_softmax_at_their_temperature():
    model, params = cycle()
    draws = jax.vmap(lambda key: sampling.sample(key, model, params, jnp.zeros(1, int), 1, 2.0)[0])
    drawn = np.asarray(draws(jax.random.split(KEY, 2000)))
    logits = compiled(model)(params, jnp.zeros((1, 1), int))[0, 0]
    chances = np.asarray(jax.nn.softmax(logits / 2))
    shares = np.bincount(drawn, minlength=4) / 2000
    assert np.ptp(chances) > 0.2
    assert (np.abs(shares - chances) < 5 * np.sqrt(chances * (1 - chances) / 2000)).all()


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="prompt must have at least 1 token, got 0"):
        sampling.sample(KEY, *made(), jnp.zeros(0, int), 1, 1.0)
