"""The network of one element: 2 inputs → hidden layers → 1 logit, feature-major.

Activations are `[width, N]` and kernels `[out, in]`, so a layer is `kernel @ h`. Vmapped over a
population this is the one batched product that XLA's CPU libraries run fast.
"""

import math
from collections.abc import Callable
from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from elements import activations

INPUTS = 2


# Accelerators would round float32 factors to TF32 or bfloat16.
_matmul = partial(jnp.matmul, precision=lax.Precision.HIGHEST)


@jax.custom_vjp
def product(kernel: jax.Array, h: jax.Array) -> jax.Array:
    """`kernel [out, in] @ h [in, N]` in full precision.

    Its backward pass is plain row-major products. The small transposed kernel is materialised
    behind a barrier; otherwise XLA folds it into the product and takes a path several times
    slower on the CPU.
    """
    return _matmul(kernel, h)


def _product_backward(residuals, g):
    kernel, h = residuals
    return _matmul(g, h.T), _matmul(lax.optimization_barrier(kernel.T), g)


product.defvjp(lambda kernel, h: (_matmul(kernel, h), (kernel, h)), _product_backward)


def layer(params, h: jax.Array, activation=None, skip: bool = False) -> jax.Array:
    """`act(kernel @ h + bias)`, plus `h` where `skip` and the widths match.

    `params` has `kernel [out, in]` and `bias [out]`; `activation` is a name, a traced index into
    `activations.TABLE`, or None for a bare affine layer.
    """
    z = product(params["kernel"], h) + params["bias"][:, None]
    if activation is None:
        return z
    if isinstance(activation, str):
        a = activations.find(activation).function(z)
    else:
        a = activations.select(activation, z)
    return a + h if skip and a.shape == h.shape else a


def deviation(activation, fan_in: int, fan_out: int) -> jax.Array:
    """Standard deviation of the initial weights, for an activation by name or traced index.

    √(2/fan_in) for rectifiers (He et al. 2015), √(2/(fan_in + fan_out)) for the rest
    (Glorot & Bengio 2010).
    """
    which = activations.index(activation) if isinstance(activation, str) else activation
    rectifier = jnp.asarray([a.rectifier for a in activations.TABLE])[which]
    return jnp.where(rectifier, math.sqrt(2 / fan_in), math.sqrt(2 / (fan_in + fan_out)))


class Network(nn.Module):
    """One organism: `widths` of the hidden layers, with or without `skip`."""

    widths: tuple[int, ...]
    skip: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, activation) -> jax.Array:
        """Logits `[N]` of the points `x [2, N]`, for an activation by name or traced index."""
        chex.assert_shape(x, (INPUTS, None))

        def parameters(name, fan_in, fan_out):
            def draw(key):
                kernel = jax.random.normal(key, (fan_out, fan_in))
                kernel = kernel * deviation(activation, fan_in, fan_out)
                return {"kernel": kernel, "bias": jnp.zeros(fan_out)}

            return self.param(name, draw)

        output, *hidden = (parameters(*shape) for shape in layers(self.widths))
        h = x
        for params in hidden:
            h = layer(params, h, activation, self.skip)
        return layer(output, h)[0]


def logits(params, x: jax.Array, activation, skip: bool, depth=None) -> jax.Array:
    """Logits `[N]` of a network that uses its first `depth` hidden layers (traced; None: all).

    Equals `Network(widths[:depth], skip).apply`. Cutting needs hidden layers of one width, and
    1 ≤ depth ≤ their number: a traced depth is not checked but acts as the nearest of these.
    """
    chex.assert_shape(x, (INPUTS, None))
    output, *hidden = _in_order(params)

    def run(k, h):
        if k == len(hidden):
            return layer(output, h)[0]
        deeper = lambda h: run(k + 1, layer(hidden[k], h, activation, skip))
        if depth is None or k == 0:
            return deeper(h)
        return lax.cond(k < depth, deeper, lambda h: layer(output, h)[0], h)

    return run(0, x)


def gradient(params, x: jax.Array, activation, skip: bool, slope: Callable, depth=None) -> dict:
    """Gradient with respect to `params` of a loss of `logits(…)`, whose own gradient is `slope`.

    `slope(logits [N]) -> [N]`. This is what `jax.grad` gives, but a layer's way down and way back
    stand in one branch of a nested `lax.cond`: nothing beyond a traced `depth` is computed or
    stored, so networks of any depth share one program at the price of their own.
    """
    chex.assert_shape(x, (INPUTS, None))
    output, *hidden = _in_order(params)

    def stop(k, h):
        y, pull = jax.vjp(layer, output, h)
        own, dh = pull(slope(y[0])[None])
        return [own, *jax.tree.map(jnp.zeros_like, hidden[k:])], dh

    def deeper(k, h):
        a, pull = jax.vjp(lambda p, h: layer(p, h, activation, skip), hidden[k], h)
        (d_output, *rest), da = run(k + 1, a)
        own, dh = pull(da)
        return [d_output, own, *rest], dh

    def run(k, h):
        if k == len(hidden):
            return stop(k, h)
        if depth is None or k == 0:
            return deeper(k, h)
        return lax.cond(k < depth, partial(deeper, k), partial(stop, k), h)

    gradients, _ = run(0, x)
    return {"params": dict(zip(_names(len(hidden)), gradients, strict=True))}


def _names(depth: int) -> list[str]:
    return ["output", *(f"hidden_{k}" for k in range(depth))]


def _in_order(params) -> list[dict]:
    return [params["params"][name] for name in _names(len(params["params"]) - 1)]


def layers(widths: tuple[int, ...]) -> list[tuple[str, int, int]]:
    """(name, fan_in, fan_out) of every layer, the output first."""
    fans = [(widths[-1], 1), *zip((INPUTS, *widths), widths, strict=False)]
    return [(name, *fan) for name, fan in zip(_names(len(widths)), fans, strict=True)]


def kernel_count(widths: tuple[int, ...]) -> int:
    """Number of weights without biases: how many normal draws `initial` takes."""
    return sum(i * o for _, i, o in layers(widths))


def initial(widths: tuple[int, ...], activation, normals: jax.Array) -> dict:
    """Parameters of `Network(widths)` from standard normal draws, taken layer by layer.

    What `Network.init` draws itself, but with the random numbers handed in, so that all elements
    of a trial start from the same stream and a program of many shapes compiles no generator.
    The output layer takes the first draws: layers beyond a cut change nothing.
    `normals` is `[P]` with P at least `kernel_count(widths)`.
    """
    if normals.shape[0] < kernel_count(widths):
        raise ValueError(
            f"widths {widths} need {kernel_count(widths)} normal draws, got {normals.shape[0]}"
        )
    params, used = {}, 0
    for name, fan_in, fan_out in layers(widths):
        size = fan_in * fan_out
        draws = normals[used : used + size].reshape(fan_out, fan_in)
        kernel = deviation(activation, fan_in, fan_out).astype(draws.dtype) * draws
        params[name] = {"kernel": kernel, "bias": jnp.zeros(fan_out, draws.dtype)}
        used += size
    return {"params": params}
