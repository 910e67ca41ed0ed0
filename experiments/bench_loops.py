"""The bench's slow arms: ordinary NumPy and ordinary PyTorch, one network at a time."""

import importlib.util
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from elements import learner, network
from elements.element import Element

BETAS, EPSILON = (0.9, 0.999), 1e-8  # of adam, in optax and PyTorch alike


class Arm(NamedTuple):
    """`advance() -> network-epochs trained`, `params()` a tree as `network.initial` gives it."""

    advance: Callable[[], int]
    params: Callable[[], dict]


def _names(depth: int) -> list[str]:
    return [*(f"hidden_{k}" for k in range(depth)), "output"]


def flat(params: dict) -> list[np.ndarray]:
    """A network's parameters in the order of its layers: kernel, bias, kernel, bias, …"""
    layers = [params["params"][name] for name in _names(len(params["params"]) - 1)]
    return [np.array(layer[part]) for layer in layers for part in ("kernel", "bias")]


def points(trial: learner.Trial) -> tuple:
    return trial.x, trial.train.y


def initial(element: Element, trial: learner.Trial) -> list[np.ndarray]:
    return flat(network.initial(element.widths, element.activation, trial.normals))


def tree(leaves) -> dict:
    layers = [
        {"kernel": kernel, "bias": bias}
        for kernel, bias in zip(leaves[::2], leaves[1::2], strict=True)
    ]
    return {"params": dict(zip(_names(len(layers) - 1), layers, strict=True))}


def _logistic(z):
    return 1 / (1 + np.exp(-z))


def _gelu(z):
    c = math.sqrt(2 / math.pi)
    square = 0.044715 * z * z  # a power would take ten times as long
    t = np.tanh(c * z * (1 + square))
    return z / 2 * (1 + t), (1 + t) / 2 + z / 2 * (1 - t * t) * c * (1 + 3 * square)


def _leaky_relu(z):
    slope = np.where(z >= 0, 1.0, 0.01)
    return slope * z, slope


def _tanh(z):
    a = np.tanh(z)
    return a, 1 - a * a


def _sigmoid(z):
    a = _logistic(z)
    return a, a * (1 - a)


# name → z ↦ (activation, its derivative)
NUMPY = {
    "relu": lambda z: (np.maximum(z, 0), z > 0),
    "leaky_relu": _leaky_relu,
    "tanh": _tanh,
    "gelu": _gelu,
    "sigmoid": _sigmoid,
    "sine": lambda z: (np.sin(z), np.cos(z)),
}


def numpy_gradient(
    activation: str, leaves: list, x: np.ndarray, y: np.ndarray, skip: bool = False
) -> list:
    """Gradient, in the order of `flat`, of the mean cross-entropy of `x [2, N]`, labels `y [N]`."""
    act, h, seen, slopes = NUMPY[activation], x, [], []
    for kernel, bias in zip(leaves[:-2:2], leaves[1:-2:2], strict=True):
        seen.append(h)
        a, slope = act(kernel @ h + bias[:, None])
        h = a + h if skip and a.shape == h.shape else a
        slopes.append(slope)
    logits = leaves[-2] @ h + leaves[-1][:, None]
    g = (_logistic(logits) - y) / y.size
    gradient = [g.sum(1), g @ h.T]  # from the last to the first, so bias before kernel
    g = leaves[-2].T @ g
    for kernel, h, slope in zip(leaves[-4::-2], reversed(seen), reversed(slopes), strict=True):
        d = g * slope
        gradient += [d.sum(1), d @ h.T]
        below = kernel.T @ d
        g = below + g if skip and below.shape == g.shape else below
    return gradient[::-1]


def numpy_loop(element: Element, recipe: learner.Protocol, trial, epochs: int) -> Arm:
    """Ordinary NumPy in float64, vectorised over the points, with a backward pass by hand."""
    leaves = [leaf.astype(np.float64) for leaf in initial(element, trial)]
    x, y = (np.asarray(a, np.float64) for a in points(trial))
    first, second = ([np.zeros_like(p) for p in leaves] for _ in range(2))
    rate, steps = recipe.learning_rate, 0

    def gd(gradient):
        for p, g in zip(leaves, gradient, strict=True):
            p -= rate * g

    def adam(gradient):
        nonlocal steps
        steps += 1
        step, correction = rate / (1 - BETAS[0] ** steps), math.sqrt(1 - BETAS[1] ** steps)
        for p, g, m, v in zip(leaves, gradient, first, second, strict=True):
            m += (1 - BETAS[0]) * (g - m)
            v += (1 - BETAS[1]) * (g * g - v)
            p -= step * m / (np.sqrt(v) / correction + EPSILON)

    update = {"gd": gd, "adam": adam}[recipe.name]

    def advance():
        for _ in range(epochs):
            update(numpy_gradient(element.activation, leaves, x, y, element.skip))
        return epochs

    return Arm(advance, lambda: tree(leaves))


def has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def torch_loop(element: Element, recipe: learner.Protocol, trial, epochs: int) -> Arm:
    """Ordinary PyTorch: `nn.Sequential`, an optimiser of `torch.optim`, float32, one thread."""
    import torch
    from torch import nn

    class Sine(nn.Module):
        def forward(self, z):
            return torch.sin(z)

    modules = {
        "relu": nn.ReLU,
        "leaky_relu": lambda: nn.LeakyReLU(0.01),
        "tanh": nn.Tanh,
        "gelu": lambda: nn.GELU(approximate="tanh"),
        "sigmoid": nn.Sigmoid,
        "sine": Sine,
    }
    torch.set_num_threads(1)
    sizes, parts = (network.INPUTS, *element.widths), []
    for fan_in, fan_out in itertools.pairwise(sizes):
        parts += [nn.Linear(fan_in, fan_out), modules[element.activation]()]
    model = nn.Sequential(*parts, nn.Linear(sizes[-1], 1))
    with torch.no_grad():
        for p, value in zip(model.parameters(), initial(element, trial), strict=True):
            p.copy_(torch.from_numpy(value))
    x, y = (torch.from_numpy(np.array(a.T)) for a in points(trial))
    loss = nn.BCEWithLogitsLoss()
    kind = {"gd": torch.optim.SGD, "adam": torch.optim.Adam}[recipe.name]
    optimiser = kind(model.parameters(), lr=recipe.learning_rate)

    def advance():
        for _ in range(epochs):
            optimiser.zero_grad()
            loss(model(x)[:, 0], y).backward()
            optimiser.step()
        return epochs

    return Arm(advance, lambda: tree([p.detach().numpy() for p in model.parameters()]))
