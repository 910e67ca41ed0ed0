"""The network of one element: 2 inputs → hidden layers → 1 logit, feature-major.

Activations are `[width, N]` and kernels `[out, in]`, so a layer is `kernel @ h`. Vmapped over a
population this is the one batched product that XLA's CPU libraries run fast.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
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


def layer(params, h: jax.Array, activation=None, skip: bool = False, match=None) -> jax.Array:
    """`act(kernel @ h + bias)`, plus `h` where `skip` and the widths match.

    `params` has `kernel [out, in]` and `bias [out]`; `activation` is a name, a traced index into
    `activations.TABLE`, or None for a bare affine layer. In padded slots shapes say nothing:
    `match` (traced) is then whether the widths do.
    """
    z = product(params["kernel"], h) + params["bias"][:, None]
    if activation is None:
        return z
    if isinstance(activation, str):
        a = activations.find(activation).function(z)
    else:
        a = activations.select(activation, z)
    return _joined(a, h, match) if skip else a


def _joined(a, h, match):
    if match is not None:
        padded = jnp.pad(h, ((0, a.shape[0] - h.shape[0]), (0, 0)))
        return a + jnp.where(match, padded, 0)
    return a + h if a.shape == h.shape else a


def deviation(activation, fan_in, fan_out) -> jax.Array:
    """Standard deviation of the initial weights, for an activation by name or traced index.

    √(2/fan_in) for rectifiers (He et al. 2015), √(2/(fan_in + fan_out)) for the rest
    (Glorot & Bengio 2010). The fans may be traced; a fan of 0 counts as 1.
    """
    which = activations.index(activation) if isinstance(activation, str) else activation
    rectifier = jnp.asarray([a.rectifier for a in activations.TABLE])[which]
    fan = jnp.maximum(jnp.where(rectifier, fan_in, fan_in + fan_out), 1)
    return jnp.sqrt(2 / fan)


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


class Used(NamedTuple):
    """The part of a program's slots that a network uses, traced.

    A program is compiled for `slots`, the widths of its L hidden layers. `depth` says how many of
    them are used (None: all), `widths [L]` how many units of each (None: all; 0 beyond the depth).
    What is not used has weights of zero, and `gradient` keeps them there.
    """

    depth: jax.Array | None = None
    widths: jax.Array | None = None

    def last(self, slots: int) -> jax.Array | int:
        """Index of the last hidden layer in use."""
        return slots - 1 if self.depth is None else self.depth - 1

    def match(self, k: int) -> jax.Array | None:
        """Whether hidden layer `k` is as wide as what it takes in; None where shapes tell."""
        if self.widths is None:
            return None
        return self.widths[k] == (self.widths[k - 1] if k else INPUTS)


WHOLE = Used()


def _of(activation, k: int):
    """The activation of hidden layer `k`: that of all, or the kth of traced indices `[L]`."""
    return activation if isinstance(activation, str) or jnp.ndim(activation) < 1 else activation[k]


def logits(params, x: jax.Array, activation, skip: bool, used: Used = WHOLE) -> jax.Array:
    """Logits `[N]` of the points `x [2, N]`.

    Equals `Network(widths, skip).apply` of the widths in use; `activation` may also be traced
    indices `[L]`, one for each hidden layer. Where only a depth is given, the
    slots must be of one width. 1 ≤ depth ≤ L: a traced depth is not checked but acts as the
    nearest of these.
    """
    chex.assert_shape(x, (INPUTS, None))
    output, *hidden = in_order(params)

    def run(k, h):
        if k == len(hidden):
            return layer(output, h)[0]
        deeper = lambda h: run(k + 1, layer(hidden[k], h, _of(activation, k), skip, used.match(k)))
        if used.depth is None or k == 0:
            return deeper(h)
        return lax.cond(k < used.depth, deeper, lambda h: layer(output, h)[0], h)

    return run(0, x)


def features(params, x: jax.Array, activation, skip: bool, used: Used = WHOLE) -> list:
    """Of every hidden slot, what it gives out on `x [2, N]` and the activation's slope there.

    L pairs of `[width, N]`. Slots beyond the depth in use are computed all the same: what they
    hold means nothing.
    """
    found, h = [], x
    for k, own in enumerate(in_order(params)[1:]):
        z = product(own["kernel"], h) + own["bias"][:, None]
        a, slope = activations.value_and_slope(_of(activation, k), z)
        h = _joined(a, h, used.match(k)) if skip else a
        found.append((h, slope))
    return found


def gradient(
    params, x: jax.Array, activation, skip: bool, slope: Callable, used: Used = WHOLE
) -> dict:
    """Gradient with respect to `params` of a loss of `logits(…)`, whose own gradient is `slope`.

    `slope(logits [N]) -> [N]`. This is what `jax.grad` gives, but a layer's way down and way back
    stand in one branch of a nested `lax.cond`: nothing beyond a traced depth is computed or
    stored, so networks of any depth share one program at the price of their own.
    """
    chex.assert_shape(x, (INPUTS, None))
    output, *hidden = in_order(params)

    def stop(k, h):
        y, pull = jax.vjp(layer, output, h)
        own, dh = pull(slope(y[0])[None])
        return [own, *jax.tree.map(jnp.zeros_like, hidden[k:])], dh

    def deeper(k, h):
        down = lambda p, h: layer(p, h, _of(activation, k), skip, used.match(k))
        a, pull = jax.vjp(down, hidden[k], h)
        (d_output, *rest), da = run(k + 1, a)
        own, dh = pull(da)
        return [d_output, own, *rest], dh

    def run(k, h):
        if k == len(hidden):
            return stop(k, h)
        if used.depth is None or k == 0:
            return deeper(k, h)
        return lax.cond(k < used.depth, partial(deeper, k), partial(stop, k), h)

    gradients, _ = run(0, x)
    if used.widths is not None:
        # Unused units may well be active (a sigmoid of 0 is ½): their way out must stay shut.
        sizes = [used.widths[used.last(len(hidden))], INPUTS, *used.widths[:-1]]
        gradients = [
            g | {"kernel": jnp.where(jnp.arange(g["kernel"].shape[1]) < n, g["kernel"], 0)}
            for g, n in zip(gradients, sizes, strict=True)
        ]
    return named(gradients)


def named(layers: list[dict]) -> dict:
    """The parameters of a network from those of its layers, as `in_order` gives them."""
    return {"params": dict(zip(_names(len(layers) - 1), layers, strict=True))}


def _names(depth: int) -> list[str]:
    return ["output", *(f"hidden_{k}" for k in range(depth))]


def in_order(params) -> list[dict]:
    """The layers' parameters: the output's first, then the hidden layers'."""
    return [params["params"][name] for name in _names(len(params["params"]) - 1)]


def layers(widths, last=None) -> list[tuple]:
    """(name, fan_in, fan_out) of every layer, the output first; widths may be traced.

    `last` is the width below the output, where that is not the last of the widths.
    """
    below = widths[-1] if last is None else last
    fans = [(below, 1), *zip((INPUTS, *widths), widths, strict=False)]
    return [(name, *fan) for name, fan in zip(_names(len(widths)), fans, strict=True)]


def kernel_count(widths: tuple[int, ...]) -> int:
    """Number of weights without biases: how many normal draws `initial` takes."""
    return sum(i * o for _, i, o in layers(widths))


def initial(
    slots: tuple[int, ...], activation, normals: jax.Array, used: Used = WHOLE, gain=1.0
) -> dict:
    """Parameters of `Network(slots)` from standard normal draws, taken layer by layer.

    What `Network.init` draws itself, but with the random numbers handed in, so that all elements
    of a trial start from the same stream and a program of many shapes compiles no generator.
    The output layer takes the first draws: layers beyond a cut change nothing. A network that
    uses a part of its slots starts as it would in slots of its own. `gain` scales all weights.
    `normals` is `[P]` with P at least the `kernel_count` of the widths in use.
    """
    if used.widths is None and normals.shape[0] < kernel_count(slots):
        raise ValueError(
            f"widths {slots} need {kernel_count(slots)} normal draws, got {normals.shape[0]}"
        )
    params, start, widths, fans = {}, 0, used.widths, layers(slots)
    if widths is not None:
        fans = layers([*widths], widths[used.last(len(slots))])
    for (name, wide, high), (_, fan_in, fan_out) in zip(layers(slots), fans, strict=True):
        if widths is None:
            draws = normals[start : start + wide * high].reshape(high, wide)
        else:
            row, column = jnp.arange(high)[:, None], jnp.arange(wide)
            place = jnp.clip(start + row * fan_in + column, 0, normals.shape[0] - 1)
            draws = jnp.where((row < fan_out) & (column < fan_in), normals[place], 0)
        scale = gain * deviation(activation, fan_in, fan_out)
        kernel = jnp.asarray(scale).astype(draws.dtype) * draws
        params[name] = {"kernel": kernel, "bias": jnp.zeros(high, draws.dtype)}
        start = start + fan_in * fan_out
    return {"params": params}


def flatten(widths: tuple[int, ...], params) -> np.ndarray:
    """The parameters in use `[..., P]` of networks `[...]` of these widths, out of their slots.

    Layer by layer, the output first, of each the kernel `[out, in]` row by row, then the bias.
    """
    parts = []
    for name, fan_in, fan_out in layers(widths):
        kernel, bias = (np.asarray(params["params"][name][part]) for part in ("kernel", "bias"))
        parts.append(kernel[..., :fan_out, :fan_in].reshape(*kernel.shape[:-2], -1))
        parts.append(bias[..., :fan_out])
    return np.concatenate(parts, axis=-1)


def unflatten(widths: tuple[int, ...], flat) -> dict:
    """The parameters of `Network(widths)` from what `flatten` gave; beyond P all is ignored."""
    params, start = {}, 0
    for name, fan_in, fan_out in layers(widths):
        size = fan_in * fan_out
        kernel = flat[..., start : start + size].reshape(*flat.shape[:-1], fan_out, fan_in)
        bias = flat[..., start + size : start + size + fan_out]
        params[name] = {"kernel": kernel, "bias": bias}
        start += size + fan_out
    return {"params": params}
