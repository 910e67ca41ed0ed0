"""A symbol names exactly one element, and an element knows its own size."""

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elements import activations, element, network

elements = st.builds(
    element.Element,
    st.sampled_from(activations.NAMES),
    st.lists(st.integers(1, 300), min_size=1, max_size=12).map(tuple),
    st.booleans(),
)


@given(elements)
def test_a_symbol_names_its_element(e):
    assert element.parse(e.symbol) == e


@given(elements, elements)
def test_no_two_elements_share_a_symbol(e, other):
    assert (e.symbol == other.symbol) == (e == other)


@pytest.mark.parametrize(
    ("symbol", "activation", "widths", "skip"),
    [
        ("sin-3x8", "sine", (8, 8, 8), False),
        ("lea-1x32", "leaky_relu", (32,), False),
        ("rel-32_8_32", "relu", (32, 8, 32), False),
        ("tan-4x8-skip", "tanh", (8, 8, 8, 8), True),
        ("sof-2_3-skip", "softplus", (2, 3), True),
    ],
)
def test_the_grammar(symbol, activation, widths, skip):
    parsed = element.parse(symbol)
    assert parsed == element.Element(activation, widths, skip)
    assert parsed.symbol == symbol
    assert (parsed.depth, parsed.width) == (len(widths), max(widths))


def test_equal_widths_have_one_spelling():
    assert element.parse("rel-8_8").symbol == "rel-2x8"
    assert element.parse("rel-2x8") == element.square("relu", depth=2, width=8)


def test_the_letters_of_the_activations_are_unique():
    letters = {name[:3] for name in activations.NAMES}
    assert len(letters) == len(activations.NAMES)


NO_LETTERS = ("", "-", "sin", "sin_", "sin--", "sine-", "SIN-", " sin-")
NO_SHAPES = ("", "8", "3x", "x8", "3x8x2", "3x8-ski", "3x8 ", "3x8\n", "8_", "8_x3", "-3x8")


@pytest.mark.parametrize(
    "symbol", [*(f"{letters}3x8" for letters in NO_LETTERS), *(f"sin-{s}" for s in NO_SHAPES)]
)
def test_other_symbols_are_refused_with_an_example(symbol):
    with pytest.raises(ValueError, match=r"not the symbol of an element .*sin-3x8"):
        element.parse(symbol)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: element.Element("sgimoid", (8,)), "'sgimoid'.*did you mean 'sigmoid'"),
        (lambda: activations.find("rleu"), "'rleu'.*did you mean 'relu'"),
        (lambda: activations.index("xyzzy"), r"'xyzzy' \(allowed: relu, leaky_relu"),
        (lambda: element.parse("tah-3x8"), "'tah'.*did you mean 'tan'"),
        (lambda: element.parse("sin-3x0"), "width must be at least 1, got 0"),
        (lambda: element.parse("sin-8_0_8"), "width must be at least 1, got 0"),
        (lambda: element.parse("sin-0x8"), "depth must be at least 1, got 0"),
        (lambda: element.Element("sine", ()), "at least one hidden layer"),
        (lambda: element.Element("sine", (8, -1)), "width must be at least 1, got -1"),
    ],
)
def test_nonsense_is_refused_in_words(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("widths", [(1,), (8,), (2, 2), (32, 8, 32), (8,) * 10])
@pytest.mark.parametrize("skip", [False, True])
def test_the_parameters_are_those_of_the_network(widths, skip):
    model = network.Network(widths, skip)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, 1)), 0)
    counted = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert element.Element("relu", widths, skip).parameters == counted
    biases = sum(widths) + 1
    assert network.kernel_count(widths) == counted - biases
