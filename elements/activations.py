"""The activations of the periodic table. Adding one is one line at the end of `TABLE`."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from elements import names


@dataclasses.dataclass(frozen=True)
class Activation:
    """One activation: `function` is elementwise and differentiable almost everywhere.

    `slope` is its derivative at 0 (for kinks, the value JAX's gradient takes there).
    `rectifier` chooses the initialisation: √(2/fan_in) (He et al. 2015) where it is true,
    √(2/(fan_in + fan_out)) (Glorot & Bengio 2010) otherwise.
    """

    name: str
    function: Callable[[jax.Array], jax.Array]
    family: str
    range: tuple[float, float]
    slope: float
    reference: str
    rectifier: bool = False


def _shifted_sine(x: jax.Array, quarter: float) -> jax.Array:
    """sin(x + quarter·π) in float32, quarter 0 or ½, by an odd polynomial on [−π/2, π/2].

    The multiple of π is taken off in three exact steps (Cody & Waite 1980). XLA's own sine on the
    CPU takes 6.6 times as long. Error ≤ 3e-7 for |x| ≤ 30, ≤ 6e-7 for |x| ≤ 10,000; beyond, only
    |result| ≤ 1 is promised.
    """
    k = jnp.round(x * (1 / math.pi) + quarter)  # half to even; a magic constant is folded away
    m = k - quarter
    r = ((x - m * 3.140625) - m * 9.670257568359375e-4) - m * 6.2771141529083252e-7
    r = jnp.clip(r, -math.pi / 2, math.pi / 2)
    s = r * r
    p = jnp.full_like(s, -2.3889859e-8)
    for coefficient in (2.7525562e-6, -1.9840874e-4, 8.3333310e-3, -1.6666667e-1):
        p = p * s + coefficient
    odd = jnp.abs(k - 2 * jnp.round(k * 0.5))  # 1 where k is odd
    return (r + r * s * p) * (1 - 2 * odd)


@jax.custom_jvp
def sine(x: jax.Array) -> jax.Array:
    """Plain sin(x); in float32 a fast polynomial, in other precisions XLA's own."""
    return _shifted_sine(x, 0.0) if x.dtype == jnp.float32 else jnp.sin(x)


@sine.defjvp
def _sine_jvp(primals, tangents):
    (x,), (t,) = primals, tangents
    slope = _shifted_sine(x, 0.5) if x.dtype == jnp.float32 else jnp.cos(x)
    return sine(x), slope * t


def _leaky_relu(z):
    return jnp.where(z >= 0, z, 0.01 * z)


@jax.custom_jvp
def _softplus(z):
    return jnp.maximum(z, 0) + jnp.log1p(jnp.exp(-jnp.abs(z)))


_softplus.defjvps(lambda t, value, z: t * jax.nn.sigmoid(z))


TABLE = (
    Activation(
        "relu", jax.nn.relu, "rectifier", (0, math.inf), 0.0, "Nair & Hinton 2010", rectifier=True
    ),
    Activation(
        "leaky_relu",
        _leaky_relu,
        "rectifier",
        (-math.inf, math.inf),
        1.0,
        "Maas et al. 2013, slope 0.01",
        rectifier=True,
    ),
    Activation("tanh", jnp.tanh, "sigmoidal", (-1, 1), 1.0, "LeCun et al. 1998"),
    Activation(
        "gelu",
        jax.nn.gelu,
        "smooth rectifier",
        (-0.1701, math.inf),
        0.5,
        "Hendrycks & Gimpel 2016, tanh form",
    ),
    Activation(
        "sigmoid", jax.nn.sigmoid, "sigmoidal", (0, 1), 0.25, "Rumelhart, Hinton & Williams 1986"
    ),
    Activation("sine", sine, "periodic", (-1, 1), 1.0, "Sitzmann et al. 2020, frequency 1"),
    Activation(
        "swish",
        jax.nn.silu,
        "smooth rectifier",
        (-0.2785, math.inf),
        0.5,
        "Ramachandran et al. 2017",
    ),
    Activation("linear", lambda z: z, "identity", (-math.inf, math.inf), 1.0, "Saxe et al. 2014"),
    Activation("softplus", _softplus, "smooth rectifier", (0, math.inf), 0.5, "Dugas et al. 2001"),
    Activation("elu", jax.nn.elu, "smooth rectifier", (-1, math.inf), 1.0, "Clevert et al. 2016"),
)

NAMES = tuple(activation.name for activation in TABLE)


def find(name: str) -> Activation:
    """The activation called `name`; raises ValueError naming the near miss."""
    return TABLE[names.find(name, NAMES, "activation")]


def index(name: str) -> int:
    """Position of `name` in `TABLE`: what a traced activation is."""
    return names.find(name, NAMES, "activation")


@jax.custom_vjp
def select(which: jax.Array, z: jax.Array) -> jax.Array:
    """`TABLE[which].function(z)` for a traced scalar `which` (int32).

    The forward pass keeps the derivative itself, so the backward pass is one product whatever
    the number of activations; differentiating `lax.switch` would keep every branch's residuals.
    """
    return lax.switch(which, [a.function for a in TABLE], z)


def _value_and_slope(function):
    return lambda z: jax.jvp(function, (z,), (jnp.ones_like(z),))


def _select_forward(which, z):
    return lax.switch(which, [_value_and_slope(a.function) for a in TABLE], z)


select.defvjp(_select_forward, lambda slope, g: (None, g * slope))
