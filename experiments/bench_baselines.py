"""The arms of the bench: NumPy and PyTorch one network at a time, a plain `vmap`, and ours.

All train the same problem: full batch, mean binary cross-entropy, an optimiser of
`learner.PROTOCOLS`, from the initial parameters of `network.initial`. An arm is started with an
element, a protocol and a trial, and then trains on for a fixed number of epochs at every call.
"""

import concurrent.futures
import dataclasses
import importlib.util
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from elements import learner, network
from elements.element import Element
from experiments.elements_population import Population
from experiments.elements_training import Trainer

MATMUL = """
import time
import numpy as np
n, times = 1024, 16
a = np.ones((n, n), np.float32)
a @ a
start = time.process_time()
for _ in range(times):
    a @ a
print(2e-9 * n**3 * times / (time.process_time() - start))
"""
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


def _initial(element: Element, trial: learner.Trial) -> list[np.ndarray]:
    return flat(network.initial(element.widths, element.activation, trial.normals))


def _tree(leaves) -> dict:
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


def numpy_gradient(activation: str, leaves: list, x: np.ndarray, y: np.ndarray) -> list:
    """Gradient, in the order of `flat`, of the mean cross-entropy of `x [2, N]`, labels `y [N]`."""
    act, h, seen, slopes = NUMPY[activation], x, [], []
    for kernel, bias in zip(leaves[:-2:2], leaves[1:-2:2], strict=True):
        seen.append(h)
        h, slope = act(kernel @ h + bias[:, None])
        slopes.append(slope)
    logits = leaves[-2] @ h + leaves[-1][:, None]
    g = (_logistic(logits) - y) / y.size
    gradient = [g.sum(1), g @ h.T]  # from the last to the first, so bias before kernel
    for kernel, h, slope in zip(leaves[-2:0:-2], reversed(seen), reversed(slopes), strict=True):
        g = (kernel.T @ g) * slope
        gradient += [g.sum(1), g @ h.T]
    return gradient[::-1]


def numpy_loop(element: Element, recipe: learner.Protocol, trial, epochs: int) -> Arm:
    """Ordinary NumPy in float64, vectorised over the points, with a backward pass by hand."""
    leaves = [leaf.astype(np.float64) for leaf in _initial(element, trial)]
    x, y = (np.asarray(a, np.float64) for a in trial.train)
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
            update(numpy_gradient(element.activation, leaves, x, y))
        return epochs

    return Arm(advance, lambda: _tree(leaves))


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
        for p, value in zip(model.parameters(), _initial(element, trial), strict=True):
            p.copy_(torch.from_numpy(value))
    x, y = (torch.from_numpy(np.array(a)) for a in (trial.train.x.T, trial.train.y))
    loss = nn.BCEWithLogitsLoss()
    kind = {"gd": torch.optim.SGD, "adam": torch.optim.Adam}[recipe.name]
    optimiser = kind(model.parameters(), lr=recipe.learning_rate)

    def advance():
        for _ in range(epochs):
            optimiser.zero_grad()
            loss(model(x)[:, 0], y).backward()
            optimiser.step()
        return epochs

    return Arm(advance, lambda: _tree([p.detach().numpy() for p in model.parameters()]))


def plain_vmap(element: Element, recipe: learner.Protocol, trials, epochs: int) -> Arm:
    """`vmap` of the Flax module with `jax.grad` and optax in a scan, for trials of `[B, …]`.

    Compiles when it is started.
    """
    module = network.Network(element.widths)
    optimiser = recipe.optimiser(recipe.learning_rate)

    def loss(params, x, y):
        logits = module.apply(params, x, element.activation)
        return optax.sigmoid_binary_cross_entropy(logits, y).mean()

    def train(params, state, x, y):
        def epoch(carry, _):
            params, state = carry
            updates, state = optimiser.update(jax.grad(loss)(params, x, y), state, params)
            return (optax.apply_updates(params, updates), state), None

        return lax.scan(epoch, (params, state), length=epochs)[0]

    initial = lambda normals: network.initial(element.widths, element.activation, normals)
    params = jax.vmap(initial)(trials.normals)
    state = jax.vmap(optimiser.init)(params)
    compiled = jax.jit(jax.vmap(train)).lower(params, state, *trials.train).compile()

    def advance():
        nonlocal params, state
        params, state = jax.block_until_ready(compiled(params, state, *trials.train))
        return epochs * len(trials.train.y)

    return Arm(advance, lambda: params)


class Together(NamedTuple):
    """Arms that train in turn, each equally many epochs."""

    arms: Sequence[Arm]

    def advance(self) -> int:
        return sum(arm.advance() for arm in self.arms)


def one_by_one(loop: Callable, elements: Sequence[Element], recipe, draws, epochs) -> Together:
    """`loop` for one network of every element, each on a row of `draws`."""
    flat = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), draws)
    dealt = np.random.default_rng(0).permutation(len(flat.normals))
    rows = [jax.tree.map(lambda a, i=i: a[i], flat) for i in np.resize(dealt, len(elements))]
    return Together([loop(e, recipe, row, epochs) for e, row in zip(elements, rows, strict=True)])


def all_at_once(networks: int, elements: Sequence[Element], recipe, draws, epochs) -> Together:
    """A plain `vmap` over so many networks for every element; they compile side by side."""
    trials = -(-networks // len(draws.normals))
    flat = jax.tree.map(lambda a: a[:, :trials].reshape(-1, *a.shape[2:]), draws)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return Together(list(pool.map(lambda e: plain_vmap(e, recipe, flat, epochs), elements)))


class Ours(Trainer):
    """The trainer of the studies, on given draws; it keeps its programs so as to train again.

    What is timed is all from the cut into chunks to the columns of the tables; no disk.
    """

    def __init__(self, config: Population, draws: learner.Trial):
        super().__init__(config)
        self.rows = draws
        self.todo = self.tasks(self.layout())
        self.programs = super()._programs(list(self.parts(self.layout()).values()))
        concurrent.futures.wait(self.programs.values())

    def _draw(self, trials):
        numbers = np.minimum(trials.start + np.arange(self.trials_at_once), trials.stop - 1)
        return jax.tree.map(lambda a: a[:, numbers].reshape(-1, *a.shape[2:]), self.rows)

    def _programs(self, parts):
        return self.programs

    def advance(self) -> int:
        for _ in self.train(self.layout(), self.todo):
            pass
        return self.config.size * self.config.epochs


def draw(config: Population, trials: int) -> learner.Trial:
    """The first `trials` (or a few more) of a population by dataset, `[datasets, trials, …]`."""
    trainer = Trainer(dataclasses.replace(config, trials=trials))
    step = trainer.trials_at_once
    parts = [trainer._draw(range(first, first + step)) for first in range(0, trials, step)]
    by_dataset = lambda a: a.reshape(len(config.datasets), -1, *a.shape[1:])
    return jax.tree.map(lambda *rows: jnp.concatenate(list(map(by_dataset, rows)), 1), *parts)


def matmul_rate() -> float:
    """GFLOP a second of NumPy's float32 matrix product on one thread: what a core gives now."""
    one = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, "-c", MATMUL]
    done = subprocess.run(command, env=os.environ | one, stdout=subprocess.PIPE, check=True)
    return float(done.stdout)
