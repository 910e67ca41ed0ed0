"""The activations of the periodic table. Adding one is one line at the end of `TABLE`."""

import dataclasses
import functools
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
    `both`, where given, computes value and derivative together; `function` is then `_value(both)`.
    """

    name: str
    function: Callable[[jax.Array], jax.Array]
    family: str
    range: tuple[float, float]
    slope: float
    reference: str
    rectifier: bool = False
    both: Callable[[jax.Array], tuple[jax.Array, jax.Array]] | None = None

    def value_and_slope(self, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`function(z)` and its derivative, elementwise."""
        if self.both is None:
            return jax.jvp(self.function, (z,), (jnp.ones_like(z),))
        return self.both(z)


def _value(both: Callable) -> Callable:
    """The differentiable function whose value and slope `both` gives."""
    function = jax.custom_jvp(lambda z: both(z)[0])

    @function.defjvp
    def _jvp(primals, tangents):
        value, slope = both(*primals)
        return value, slope * tangents[0]

    return function


def _polynomial(x: jax.Array, *coefficients: float) -> jax.Array:
    """By Horner's rule, the highest power first."""
    value = jnp.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


def _sine_and_cosine(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """In float32 from one reduction to [−π/2, π/2] and two minimax polynomials.

    The multiple of π is taken off in two steps (Cody & Waite 1980). XLA's own sine on the CPU
    takes several times as long. Error ≤ 3e-7 for |x| ≤ 30, ≤ 6e-7 for |x| ≤ 10,000; beyond, only
    |result| ≤ 1 is promised. In other precisions XLA's own.
    """
    if x.dtype != jnp.float32:
        return jnp.sin(x), jnp.cos(x)
    k = jnp.round(x * (1 / math.pi))  # half to even; rounding by a magic constant is folded away
    r = (x - k * 3.140625) - k * 9.67653589793e-4
    r = jnp.where(jnp.abs(r) > 1.575, 0, r)  # far out k is too coarse; NaN remains
    # Added to 1.5·2²³, an integer's parity is the last bit: shifted up, the sign of ±1.
    parity = lax.bitcast_convert_type(k + 12582912.0, jnp.int32)
    one = lax.shift_left(parity, 31) | 0x3F800000
    sign = lax.bitcast_convert_type(one, jnp.float32)
    s = r * r
    odd = _polynomial(s, 2.7757184e-6, -1.9910344e-4, 8.3349221e-3, -1.6666763e-1)
    even = _polynomial(s, 2.3184048e-5, -1.3855498e-3, 4.1663937e-2, -4.9999931e-1)
    return sign * (r + r * s * odd), sign * (1 + s * even)


sine = _value(_sine_and_cosine)


def _leaky_relu(z):
    return jnp.where(z >= 0, z, 0.01 * z)


def _tanh(z):
    # The limits change no value: XLA's tanh is slow on the CPU unless fused with what comes before.
    t = jnp.tanh(jnp.clip(z, -20, 20))
    return t, 1 - t * t


def _gated(z, u, du):
    """z·sigmoid(u) and its derivative, given that of u."""
    # Twice the sigmoid: z·sigmoid alone would be a loop of its own, which XLA makes a slow one.
    twice = 2 / (1 + jnp.exp(-u))
    a = z * (0.5 * twice)
    return a, 0.5 * twice + a * (1 - 0.5 * twice) * du


def _gelu(z):
    scale, cubic = 2 * math.sqrt(2 / math.pi), 0.044715  # (1 + tanh(u/2))/2 is sigmoid(u)
    square = z * z
    return _gated(z, z * (scale + scale * cubic * square), scale + 3 * scale * cubic * square)


def _swish(z):
    return _gated(z, z, 1)


def _softplus_and_sigmoid(z):
    e = jnp.exp(jnp.minimum(z, -z))
    share = 1 / (1 + e)
    return jnp.maximum(z, 0) + jnp.log1p(e), jnp.where(z >= 0, share, e * share)


_softplus = _value(_softplus_and_sigmoid)


def _elu(z):
    e = jnp.exp(jnp.minimum(z, 0))
    return jnp.where(z > 0, z, e - 1), jnp.where(z > 0, 1, e)


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
    Activation("tanh", _value(_tanh), "sigmoidal", (-1, 1), 1.0, "LeCun et al. 1998", both=_tanh),
    Activation(
        "gelu",
        _value(_gelu),
        "smooth rectifier",
        (-0.1701, math.inf),
        0.5,
        "Hendrycks & Gimpel 2016, tanh form",
        both=_gelu,
    ),
    Activation(
        "sigmoid", jax.nn.sigmoid, "sigmoidal", (0, 1), 0.25, "Rumelhart, Hinton & Williams 1986"
    ),
    Activation(
        "sine",
        sine,
        "periodic",
        (-1, 1),
        1.0,
        "Sitzmann et al. 2020, frequency 1",
        both=_sine_and_cosine,
    ),
    Activation(
        "swish",
        _value(_swish),
        "smooth rectifier",
        (-0.2785, math.inf),
        0.5,
        "Ramachandran et al. 2017",
        both=_swish,
    ),
    Activation("linear", lambda z: z, "identity", (-math.inf, math.inf), 1.0, "Saxe et al. 2014"),
    Activation(
        "softplus",
        _softplus,
        "smooth rectifier",
        (0, math.inf),
        0.5,
        "Dugas et al. 2001",
        both=_softplus_and_sigmoid,
    ),
    Activation(
        "elu",
        _value(_elu),
        "smooth rectifier",
        (-1, math.inf),
        1.0,
        "Clevert et al. 2016",
        both=_elu,
    ),
)

NAMES = tuple(activation.name for activation in TABLE)


def find(name: str) -> Activation:
    """The activation called `name`; raises ValueError naming the near miss."""
    return TABLE[names.find(name, NAMES, "activation")]


def index(name: str) -> int:
    """Position of `name` in `TABLE`: what a traced activation is."""
    return names.find(name, NAMES, "activation")


def value_and_slope(which: str | jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """An activation of `z` (any shape) and its derivative there, each of the shape of `z`.

    `which` is a name, or a traced scalar index into `TABLE` (int32). What both have in common is
    computed once; with the slope kept from the forward pass, the backward pass is one product.
    Raises ValueError for an unknown name.
    """
    if isinstance(which, str):
        return find(which).value_and_slope(z)
    return lax.switch(which, [a.value_and_slope for a in TABLE], z)


@functools.cache
def _steepest() -> tuple[float, ...]:
    """Of every activation, the largest |slope| on a fine grid of [−10, 10]."""
    with jax.ensure_compile_time_eval():
        z = jnp.linspace(-10, 10, 4001)
        return tuple(float(jnp.abs(a.value_and_slope(z)[1]).max()) for a in TABLE)


def steepest(which: str | jax.Array) -> float | jax.Array:
    """The largest |slope| that an activation has anywhere, for a name or a traced index."""
    if isinstance(which, str):
        return _steepest()[index(which)]
    return jnp.asarray(_steepest())[which]


@jax.custom_vjp
def select(which: jax.Array, z: jax.Array) -> jax.Array:
    """`TABLE[which].function(z)` for a traced scalar `which` (int32).

    Differentiating `lax.switch` would keep every branch's residuals; here only the slope is kept.
    """
    return lax.switch(which, [a.function for a in TABLE], z)


select.defvjp(value_and_slope, lambda slope, g: (None, g * slope))
