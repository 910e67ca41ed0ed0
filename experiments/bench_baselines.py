"""The bench's arms that train many networks at once: plain `vmap`s, and ours.

All arms, those of `bench_loops` too, train the same problem: full batch, mean binary
cross-entropy, an optimiser of `learner.PROTOCOLS`, from the parameters of `network.initial`. An arm
is started with an element, a protocol and a trial, and then trains on for a fixed number of epochs
at every call.
"""

import concurrent.futures
import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from elements import learner, network
from elements.element import Element
from experiments.bench_loops import Arm, points
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


class Dense(nn.Module):
    """The same network as anyone would write it: `nn.Dense` on points `[N, 2]`, JAX's functions."""

    widths: tuple[int, ...]
    activation: str

    @nn.compact
    def __call__(self, x):
        for k, width in enumerate(self.widths):
            x = FLAX[self.activation](nn.Dense(width, name=f"hidden_{k}")(x))
        return nn.Dense(1, name="output")(x)[:, 0]


FLAX = {
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,
    "tanh": nn.tanh,
    "gelu": nn.gelu,
    "sigmoid": nn.sigmoid,
    "sine": jnp.sin,
}


def dense_vmap(element: Element, recipe: learner.Protocol, trials, epochs: int) -> Arm:
    """A plain `vmap` of `Dense`."""
    module = Dense(element.widths, element.activation)
    apply = lambda params, x: module.apply(params, x.T)
    turn = lambda params: jax.tree_util.tree_map_with_path(
        lambda path, a: jnp.swapaxes(a, -1, -2) if path[-1].key == "kernel" else a, params
    )
    arm = _vmap(apply, turn, element, recipe, trials, epochs)
    return arm._replace(params=lambda: turn(arm.params()))


def module_vmap(element: Element, recipe: learner.Protocol, trials, epochs: int) -> Arm:
    """A plain `vmap` of `network.Network`: our layout, products and activations."""
    module = network.Network(element.widths)
    apply = lambda params, x: module.apply(params, x, element.activation)
    return _vmap(apply, lambda params: params, element, recipe, trials, epochs)


def _vmap(apply, turn, element, recipe, trials, epochs) -> Arm:
    """`vmap` of one network with `jax.grad` and optax in a scan, for trials of `[B, …]`.

    Compiles when it is started.
    """
    optimiser = recipe.optimiser(learner.Hyper(recipe.learning_rate))

    def loss(params, x, y):
        return optax.sigmoid_binary_cross_entropy(apply(params, x), y).mean()

    def train(params, state, x, y):
        def epoch(carry, _):
            params, state = carry
            updates, state = optimiser.update(jax.grad(loss)(params, x, y), state, params)
            return (optax.apply_updates(params, updates), state), None

        return lax.scan(epoch, (params, state), length=epochs)[0]

    initial = lambda normals: network.initial(element.widths, element.activation, normals)
    params = turn(jax.vmap(initial)(trials.normals))
    state = jax.vmap(optimiser.init)(params)
    data = points(trials)
    compiled = jax.jit(jax.vmap(train)).lower(params, state, *data).compile()

    def advance():
        nonlocal params, state
        params, state = jax.block_until_ready(compiled(params, state, *data))
        return epochs * len(data[1])

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


def all_at_once(
    form: Callable, networks: int, elements: Sequence[Element], recipe, draws, epochs
) -> Together:
    """A `vmap` over so many networks for every element; they compile side by side."""
    trials = -(-networks // len(draws.normals))
    flat = jax.tree.map(lambda a: a[:, :trials].reshape(-1, *a.shape[2:]), draws)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return Together(list(pool.map(lambda e: form(e, recipe, flat, epochs), elements)))


class Kept(Trainer):
    """The trainer of the studies, compiled and ready to train any number of times.

    What is timed is all from the cut into chunks to the columns of the tables; no disk.
    """

    def __init__(self, config: Population):
        super().__init__(config)
        self.todo = self.tasks(self.layout())
        concurrent.futures.wait(self.programs(list(self.parts(self.layout()).values())).values())

    def advance(self) -> int:
        for _ in self.train(self.layout(), self.todo):
            pass
        return self.config.size * self.config.epochs


class Ours(Kept):
    """`Kept`, on given draws."""

    def __init__(self, config: Population, draws: learner.Trial):
        self.rows = draws
        super().__init__(config)

    def _draw(self, trials, g):
        numbers = np.minimum(trials.start + np.arange(self.trials_at_once), trials.stop - 1)
        return jax.tree.map(lambda a: a[:, numbers].reshape(-1, *a.shape[2:]), self.rows)


def draw(config: Population, trials: int) -> learner.Trial:
    """The first `trials` (or a few more) of a population by dataset, `[datasets, trials, …]`."""
    trainer = Trainer(dataclasses.replace(config, trials=trials))
    step = trainer.trials_at_once
    parts = [trainer._draw(range(first, first + step), 0) for first in range(0, trials, step)]
    by_dataset = lambda a: a.reshape(len(config.datasets), -1, *a.shape[1:])
    return jax.tree.map(lambda *rows: jnp.concatenate(list(map(by_dataset, rows)), 1), *parts)


def matmul_rate() -> float:
    """GFLOP a second of NumPy's float32 matrix product on one thread: what a core gives now."""
    one = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, "-c", MATMUL]
    done = subprocess.run(command, env=os.environ | one, stdout=subprocess.PIPE, check=True)
    return float(done.stdout)
