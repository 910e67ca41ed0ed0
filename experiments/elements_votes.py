"""What networks that differ in their initialisation alone say together."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from elements import activations, composition, learner, network
from experiments.elements_composition import Arms

RULES = ("vote", "mean probability", "weighted vote")


class Ensembles(NamedTuple):
    """Test accuracy by activation A, dataset S and trial T, of K `sizes` and R rules.

    An ensemble of k members has the first k of them. The chosen member is that of highest
    validation accuracy, of equals that of lowest validation loss.
    """

    activations: list[str]
    datasets: list[str]
    sizes: list[int]
    together: np.ndarray  # [R, K, A, S, T]
    member: np.ndarray  # [K, A, S, T], the mean over members
    chosen: np.ndarray  # [K, A, S, T]
    disagreement: np.ndarray  # [K, A, S, T], share of test points


def judge(outcome) -> Ensembles | None:
    """Asks the trained members of every ensemble for their answers; None if there is none."""
    config = outcome.population
    arms = Arms(config, outcome.cube("test_accuracy"))
    plain = lambda arm: not arm.bottom
    count = {e: sum(plain(a) and a.element == e for a in arms.all) for e in config.elements}
    most = max(count.values())
    elements = [e for e, members in count.items() if members == most]
    sizes = list(range(3, most + 1, 2))
    if not sizes:
        return None
    validation = [outcome.cube(f"validation_{name}") for name in ("accuracy", "loss")]
    # The points do not depend on the element, nor on the member.
    test = outcome.trained.trials(arms.place(elements[0])).test
    found = [_judged(outcome, arms, e, most, sizes, validation, test) for e in elements]
    places = {e: i for i, e in enumerate(elements)}
    together, *rest = (
        arms.by_activation(elements, lambda e, k=k: found[places[e]][k]) for k in range(4)
    )
    return Ensembles(
        arms.activations,
        list(config.datasets),
        sizes,
        np.moveaxis(together, 0, 2),
        *(np.moveaxis(a, 0, 1) for a in rest),
    )


def _judged(outcome, arms, element, members, sizes, validation, test):
    """Of one element: together `[R, K, S, T]`, member, chosen and disagreement `[K, S, T]`."""
    config = outcome.population
    places = np.array([arms.place(element, member=m) for m in range(members)])
    accuracy, loss = (cube[places] for cube in validation)  # [M, S, T]
    tested = arms.accuracy[places]
    numbers = np.arange(config.size).reshape(len(config.arms), *tested.shape[1:])[places]
    flat = outcome.trained.params(numbers.ravel())
    cells = lambda a: np.moveaxis(a.reshape(members, tested[0].size, -1), 0, 1)  # [S T, M, …]
    together, differ = _program(element.widths, element.skip, tuple(sizes))(
        cells(flat),
        jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), test),
        cells(accuracy)[..., 0].astype(np.float32),
        config.counts(config.arms[places[0]])["validation"],
        activations.index(element.activation),
    )
    together, differ = (
        np.asarray(a, np.float64).reshape(*a.shape[:-1], *tested.shape[1:])
        for a in (together, differ)
    )
    best = [chosen(accuracy[:k], loss[:k]) for k in sizes]
    return (
        np.rint(together * config.tests) / config.tests,
        np.stack([tested[:k].mean(0) for k in sizes]),
        np.stack([np.take_along_axis(tested, b[None], axis=0)[0] for b in best]),
        differ,
    )


def chosen(accuracy: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Index `[…]` of the best of members `[M, …]`: highest accuracy; of equals, lowest loss."""
    loss = np.where(np.isnan(loss), np.inf, loss)
    tied = accuracy == accuracy.max(axis=0)
    lowest = np.where(tied, loss, np.inf).min(axis=0)
    return np.argmax(tied & (loss == lowest), axis=0)


@functools.cache
def _program(widths, skip, sizes):
    """`(flat [C, M, P], test points [C, …], accuracies [C, M], n, activation)` ->
    accuracies `[R, K, C]` of the ensembles and disagreement `[K, C]`, of C cells."""

    def cell(flat, test, accuracies, n, activation):
        predict = lambda one: network.logits(
            network.unflatten(widths, one), test.x, activation, skip
        )
        logits = jax.vmap(predict)(flat)
        share = learner.all_of(test)
        judged = [
            [
                learner.accuracy(margin, share)
                for margin in (
                    composition.vote(logits[:k]),
                    composition.mean(logits[:k]),
                    composition.weighted(logits[:k], accuracies[:k], n),
                )
            ]
            for k in sizes
        ]
        differ = [composition.disagreement(logits[:k]) for k in sizes]
        return jnp.stack([jnp.stack(j) for j in judged], axis=1), jnp.stack(differ)

    def all_cells(flat, test, accuracies, n, activation):
        one = lambda rest: cell(*rest, n, activation)
        # A cell at a time: memory does not grow with their number.
        together, differ = jax.lax.map(one, (flat, test, accuracies))
        return jnp.moveaxis(together, 0, -1), jnp.moveaxis(differ, 0, -1)

    return jax.jit(all_cells)
