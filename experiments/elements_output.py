"""From what a chunk's networks left to the rows of a run's tables."""

import jax
import numpy as np

from elements import network
from experiments.elements_population import Population
from experiments.shell.run import Output

FIRST = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")


def output(config: Population, arm, dataset, trial, records, final) -> Output:
    """The tables and the tree of networks in cells `[M]` (positions of arm, dataset and trial).

    `records` are arrays `[M, R, …]` by name (per layer where there is a further axis), `final`
    `[M]`, and the parameters of both in their slots.
    """
    records, final = dict(records), dict(final)
    columns = _known(config, arm, dataset, trial)
    tree = {"network": columns["network"], "params": _flat(config, arm, final.pop("params"), 1)}
    if "params" in records:
        tree["snapshots"] = _flat(config, arm, records.pop("params"), 2)
    _exact(config, arm, records), _exact(config, arm, final)
    order = [n for n in FIRST if n in records] + [n for n in records if n not in FIRST]
    scalars = {name: records[name] for name in order if records[name].ndim == 2}
    last = {name: a[:, -1] for name, a in scalars.items()}
    losses = [a for name, a in last.items() if name.endswith("_loss")]
    finite = np.isfinite(tree["params"]).all(1) & np.isfinite(losses).all(0)
    labels = {name: columns[name] for name in ("network", "symbol", "dataset", "trial")}
    epochs = config.epochs_recorded.astype(np.int32)
    tables = {
        "results": {**columns, **last, **final, "diverged": ~finite},
        "curves": {
            **{name: np.repeat(column, len(epochs)) for name, column in labels.items()},
            "epoch": np.tile(epochs, len(arm)),
            **{name: a.ravel() for name, a in scalars.items()},
        },
    }
    layered = {name: a for name, a in records.items() if a.ndim == 3}
    if layered:
        tables["layers"] = _layers(config, arm, columns["network"], epochs, layered)
    return Output(tables, tree)


def tables(config: Population) -> tuple[str, ...]:
    """Names of the tables that `output` fills."""
    layered = config.record_gradients or config.record_weight_stats
    return ("results", "curves", *(["layers"] if layered else []))


def _flat(config, arm, params, axes: int) -> np.ndarray:
    """`[M, …, P]` of `network.flatten`, P of the largest arm; what an arm does not use is 0.

    The networks' own axes come after the first `axes`.
    """
    most = max(e.parameters for e in config.elements)
    leading = jax.tree.leaves(params)[0].shape[:axes]
    flat = np.zeros((*leading, most), np.float32)
    for a in np.unique(arm):
        here, element = np.flatnonzero(arm == a), config.elements[a]
        used = jax.tree.map(lambda leaf, here=here: leaf[here], params)
        flat[here, ..., : element.parameters] = network.flatten(element.widths, used)
    return flat


def _exact(config, arm, found) -> None:
    """Makes the accuracies the exact shares that float32 has rounded, in place."""
    counts = [config.counts(a) for a in config.arms]
    parts = {"memorised": "flipped"} | {f"{p}_accuracy": p for p in ("train", "validation", "test")}
    for name, part in parts.items():
        if name in found:
            n = np.maximum(np.array([count[part] for count in counts])[arm], 1)
            n = n.reshape(-1, *[1] * (found[name].ndim - 1))
            found[name] = np.rint(found[name].astype(np.float64) * n) / n


def _layers(config, arm, networks, epochs, layered) -> dict[str, np.ndarray]:
    """A row per network, epoch and layer in use: hidden layers count from 1, the output last.

    What only hidden layers have is NaN for the output.
    """
    layers = max(a.shape[-1] for a in layered.values())  # the hidden slots and the output
    depth, slot = np.array([e.depth for e in config.elements])[arm][:, None], np.arange(layers)
    output = slot == layers - 1
    keep = ((slot < depth) | output)[:, None] & np.ones((1, len(epochs), 1), bool)
    spread = lambda a: np.broadcast_to(a, keep.shape)[keep]
    rows = {
        "network": spread(networks[:, None, None]),
        "epoch": spread(epochs[:, None]),
        "layer": spread(np.where(output, depth, slot)[:, None] + 1).astype(np.int32),
    }
    for name, a in layered.items():
        missing = ((0, 0), (0, 0), (0, layers - a.shape[-1]))
        rows[name] = np.pad(a, missing, constant_values=np.nan)[keep]
    return rows


def _known(config, arm, dataset, trial) -> dict[str, np.ndarray]:
    """The columns of results that are known before training, for cells `[M]`."""
    elements = config.elements
    of = lambda values: np.array(values)[arm]
    names = ("symbol", "activation", "depth", "width", "skip", "parameters")
    columns = {name: of([getattr(e, name) for e in elements]) for name in names}
    hidden = of(["_".join(map(str, e.widths)) for e in elements])
    shape = (len(config.arms), len(config.datasets), config.trials)
    constant = {"seed": config.seed, "protocol": config.protocol, "epochs": config.epochs}
    return {
        "network": np.ravel_multi_index((arm, dataset, trial), shape),
        "arm": arm,
        "symbol": columns.pop("symbol"),
        "activation": columns.pop("activation"),
        "hidden_layers": hidden,
        **columns,
        **{name: of(values) for name, values in factors(config).items()},
        "dataset": np.array(config.datasets)[dataset],
        "trial": trial,
        **{name: np.full(len(arm), value) for name, value in constant.items()},
    }


def factors(config: Population) -> dict[str, list]:
    """The factors that any arm sets: their value in every arm, by name."""
    plain = {"samples": config.samples, "flipped": 0, "member": 0, "bottom": 0, "source": ""}
    plain |= {"trained": True, "frozen": 0}
    return {
        name: [arm.factors().get(name, plain.get(name)) for arm in config.arms]
        for name in config.factors
    }
