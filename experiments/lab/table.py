"""Long-form tables (columns by name, one row per network) and the dense arrays within them."""

from collections.abc import Mapping, Sequence

import numpy as np

Table = Mapping[str, np.ndarray]


def cube(table: Table, value: str, **axes: Sequence) -> np.ndarray:
    """Column `value` as a dense float array with one axis per keyword, in the order given.

    `cube(t, "test_accuracy", symbol=[…], dataset=[…], trial=range(20))` is `[E, S, T]`. Rows whose
    labels are not among those asked for are left out. Raises ValueError if a cell is missing or
    there twice: nothing is averaged or filled silently.
    """
    keep = np.ones(len(table[value]), bool)
    places = []
    for name, labels in axes.items():
        labels = np.asarray(labels)
        order = np.argsort(labels, kind="stable")
        found = np.searchsorted(labels, table[name], sorter=order).clip(max=len(labels) - 1)
        place = order[found]
        keep &= labels[place] == table[name]
        places.append(place)
    shape = tuple(len(labels) for labels in axes.values())
    flat = np.ravel_multi_index([place[keep] for place in places], shape)
    counts = np.bincount(flat, minlength=int(np.prod(shape)))
    if (counts != 1).any():
        cell = np.unravel_index(int(np.argmax(counts != 1)), shape)
        labels = [f"{name} {list(axes[name])[i]}" for name, i in zip(axes, cell, strict=True)]
        times = counts.reshape(shape)[cell]
        raise ValueError(f"{value} is there {times} times, not once, at {', '.join(labels)}")
    dense = np.empty(len(counts))
    dense[flat] = np.asarray(table[value], np.float64)[keep]
    return dense.reshape(shape)


def ordered(table: Table, by: str) -> dict[str, np.ndarray]:
    """The rows of `table` in ascending order of column `by`."""
    order = np.argsort(table[by], kind="stable")
    return {name: column[order] for name, column in table.items()}
