"""Who enters the contests after a search: its best genomes, and the elements they must beat."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from elements import activations, evolution
from elements.element import Element

RIVALS = "phase 5"
APART = "_"  # between the layers of a name
IDENTITY = ("method", "search", "activation", "hidden_layers", "skip")  # of a table's columns


class Entrant(NamedTuple):
    """A network of the space with an activation for every layer, and where it comes from: a
    method and the number of the search (−1 for a rival)."""

    method: str
    search: int
    kinds: tuple[str, ...]
    widths: tuple[int, ...]
    skip: bool

    @property
    def symbol(self) -> str:
        """The element's symbol, or letters and width of layer after layer: `sin12_rel8-skip`."""
        if len(set(self.kinds)) == 1:
            return Element(self.kinds[0], self.widths, self.skip).symbol
        layers = [f"{kind[:3]}{width}" for kind, width in zip(self.kinds, self.widths, strict=True)]
        return APART.join(layers) + "-skip" * self.skip

    @property
    def parameters(self) -> int:
        return Element(self.kinds[0], self.widths, self.skip).parameters

    @property
    def camp(self) -> tuple[str, int]:
        return self.method, self.search

    def columns(self) -> dict:
        """What a table says of it, by name."""
        return {
            "symbol": self.symbol,
            "activation": APART.join(map(lambda kind: kind.replace(APART, "-"), self.kinds)),
            "hidden_layers": APART.join(map(str, self.widths)),
            "depth": len(self.widths),
            "width": max(self.widths),
            "skip": self.skip,
            "parameters": self.parameters,
            "method": self.method,
            "search": self.search,
        }

    @staticmethod
    def read(row: Mapping) -> "Entrant":
        """The entrant whose `columns()` are in `row`."""
        kinds = tuple(kind.replace("-", APART) for kind in row["activation"].split(APART))
        widths = tuple(map(int, row["hidden_layers"].split(APART)))
        return Entrant(str(row["method"]), int(row["search"]), kinds, widths, bool(row["skip"]))


def rival(e: Element) -> Entrant:
    return Entrant(RIVALS, -1, (e.activation,) * e.depth, e.widths, e.skip)


def decoded(method: str, search: int, body: evolution.Body) -> Entrant:
    """The entrant of a body of NumPy arrays."""
    depth = int(body.depth)
    kinds = tuple(activations.NAMES[i] for i in body.activations[:depth])
    return Entrant(method, search, kinds, tuple(map(int, body.widths[:depth])), bool(body.skip))


def bodies(entrants: Sequence[Entrant], slots: int) -> evolution.Body:
    """The bodies `[E]` of entrants, in so many slots."""
    made = [evolution.body(e.kinds, e.widths, e.skip, slots) for e in entrants]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *made)


def finalists(rows: Mapping, count: int) -> list[Entrant]:
    """Of every search the networks of highest fitness, so many different ones, best first."""
    found: dict[tuple, dict[Entrant, None]] = {}
    for i in np.lexsort((rows["network"], -rows["fitness"])):
        camp = found.setdefault((rows["method"][i], rows["search"][i]), {})
        if len(camp) < count:
            camp[Entrant.read({name: rows[name][i] for name in IDENTITY})] = None
    return [entrant for camp in sorted(found) for entrant in found[camp]]


def standings(rows: Mapping) -> dict[Entrant, tuple[float, float]]:
    """Mean accuracy and loss of every entrant over its rows of a contest, the best first."""
    labels = list(zip(*(rows[name].tolist() for name in IDENTITY), strict=True))
    kinds = {each: Entrant.read(dict(zip(IDENTITY, each, strict=True))) for each in set(labels)}
    together: dict[Entrant, list[int]] = {}
    for i, label in enumerate(labels):
        together.setdefault(kinds[label], []).append(i)
    means = {
        entrant: (float(np.mean(rows["accuracy"][own])), float(np.mean(rows["loss"][own])))
        for entrant, own in together.items()
    }
    key = lambda entrant: (-means[entrant][0], np.nan_to_num(means[entrant][1], nan=np.inf))
    return {entrant: means[entrant] for entrant in sorted(means, key=key)}


def leading(ranked: Sequence[Entrant], count: int) -> list[Entrant]:
    """The first `count` of every camp."""
    kept: dict[tuple, list[Entrant]] = {}
    for entrant in ranked:
        kept.setdefault(entrant.camp, []).append(entrant)
    return [entrant for camp in sorted(kept) for entrant in kept[camp][:count]]
