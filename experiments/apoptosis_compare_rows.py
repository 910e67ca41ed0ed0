"""The tables of the study of strategies, and how what the programs give becomes their rows.

Arms are numbered as in the experiment's `arms`, groups as in its `groups`; losses are in nats per
character.

    results   arm × seed × measurement: losses, and standard errors over windows of the text
    curves    arm × seed × step: the training loss
    events    arm × seed × step in which neurons died or were born: how many, and the change of the
              network's output relative to its own deviation
    lineage   each place at which someone died or was born: parents, and the fitness of the dead
    neurons   arm × seed × neuron living at the end: age in steps, and what it is worth
    times     seconds of training, and of the updates of one arm
"""

import numpy as np

from experiments.shell import storage

NOBODY = -1  # is the parent of who starts afresh
WORTH = ("taylor", "activation", "contribution")
COLUMNS = {
    "results": dict.fromkeys(("arm", "seed", "step"), np.int32)
    | dict.fromkeys(
        ("train_loss", "validation_loss", "validation_error", "test_loss", "test_error"),
        np.float64,
    ),
    "curves": dict.fromkeys(("arm", "seed", "step"), np.int32) | {"loss": np.float32},
    "events": dict.fromkeys(("arm", "seed", "step", "died", "born"), np.int32)
    | {"change": np.float32},
    "lineage": dict.fromkeys(
        ("arm", "seed", "step", "group", "neuron", "died", "born", "parent", "mate"), np.int32
    )
    | {"fitness": np.float32},
    "neurons": dict.fromkeys(("arm", "seed", "group", "neuron", "age"), np.int32)
    | dict.fromkeys(WORTH, np.float32),
    "times": {
        "kind": np.str_,
        "arm": np.int32,
        "steps": np.int32,
        "updates": np.int32,
        "networks": np.int32,
        "seconds": np.float64,
        "device": np.str_,
        "devices": np.int32,
    },
}


def grid(arms, seeds):
    """Columns of arm and seed, for every arm every seed."""
    return {"arm": np.repeat(np.arange(arms), len(seeds)), "seed": np.tile(seeds, arms)}


def joined(name, rows) -> dict[str, np.ndarray]:
    """Rows one below the other, in the types of the table; an empty table where there are none."""
    joined = storage.concatenate([_empty(name), *rows])
    return {column: joined[column].astype(kind) for column, kind in COLUMNS[name].items()}


def _empty(name):
    return {column: np.zeros(0, kind) for column, kind in COLUMNS[name].items()}


def time(population, kind, arm, steps, seconds, networks, updates=0) -> dict[str, np.ndarray]:
    """A row of the table `times`."""
    row = {"kind": kind, "arm": arm, "steps": steps, "updates": updates, "networks": networks}
    row |= {"seconds": seconds, "device": population.kind, "devices": population.mesh.size}
    return {name: np.array([value]) for name, value in row.items()}


def happened(population, seen, changes, seeds) -> tuple[dict, dict]:
    """The tables `events` and `lineage`, of each family's `Events [K, M, S, …]` and the changes
    `[K, A, S]`."""
    arms = [(a, f, i) for f, own in enumerate(population.families) for i, a in enumerate(own.arms)]
    tables = [_empty("events")], [_empty("lineage")]
    for arm, family, index in sorted(arms):
        own = seen[family]
        own = type(own)(*(np.asarray(x)[:, index, : len(seeds)] for x in own))
        tick, place, neuron = np.nonzero(own.when)
        order = np.lexsort((neuron, own.when[tick, place, neuron], place))
        cell = tick, place, neuron = tick[order], place[order], neuron[order]
        step, seed = own.when[cell], seeds[place]
        of = lambda x, cell=cell: x[cell].astype(np.int64)
        first = np.diff(place, prepend=-1).astype(bool) | np.diff(step, prepend=-1).astype(bool)
        starts = np.flatnonzero(first)
        total = lambda x, starts=starts, of=of: (
            np.add.reduceat(of(x), starts) if len(starts) else np.zeros(0, np.int64)
        )
        tables[0].append(
            {
                "arm": np.full(len(starts), arm),
                "seed": seed[starts],
                "step": step[starts],
                "died": total(own.died),
                "born": total(own.born),
                "change": np.asarray(changes)[tick[starts], arm, place[starts]],
            }
        )
        ends = np.cumsum(population.sizes(population.families[family]))
        group = np.searchsorted(ends, neuron, side="right")
        died, born = of(own.died), of(own.born)
        tables[1].append(
            {
                "arm": np.full(len(step), arm),
                "seed": seed,
                "step": step,
                "group": group,
                "neuron": neuron - np.append(0, ends)[group],
                "died": died,
                "born": born,
                "parent": np.where(born > 0, of(own.parent), NOBODY),
                "mate": np.where(born > 0, of(own.mate), NOBODY),
                "fitness": np.where(died > 0, own.fitness[cell], np.nan),
            }
        )
    return tuple(storage.concatenate(rows) for rows in tables)
