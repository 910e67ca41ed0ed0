"""From the records of a population to numbers of each network: how it learnt, and how it ended.

Shapes: `A` arms, `S` datasets, `T` trials, `R` recorded epochs, `L` layers (of the deepest arm, its
output among them), `G` activations, `D` depths.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from experiments import elements_findings
from experiments.elements_population import Population

GOAL = 0.9  # held-out accuracy, an absolute goal
WAY = 0.9  # of the way from chance to its own final training accuracy, a relative goal
LEARNT = 0.05  # above chance at the end; what stays below has learnt nothing to converge to
FIFTH = 0.2  # of training, the first and the last
VANISHING, EXPLODING = 1e-3, 1e3  # see `Ratio`
DECADES = 9  # to which logarithms of ratios are cut: an exact 0 counts as 1e-9
LAYERED = ("gradient_norm", "weight_norm", "saturated", "dead", "feature_rank")


class Times(NamedTuple):
    """When a goal was first recorded as reached, in epochs `[A, S, T]`; where it never was
    (`reached [A, S, T]` false) the last epoch, up to which it was watched."""

    epochs: np.ndarray
    reached: np.ndarray


class Ratio(NamedTuple):
    """Decades (powers of ten) between two gradient norms, `[A, S, T]`.

    `vanishing` is less than 1e-3, `exploding` more than 1e3. With one learning rate for all
    layers, ratios of gradients are ratios of steps: at 1e-3 the first layer moves in a thousand
    epochs (phase 6) as far as the last one does in a single one, so in effect it does not learn.
    1e3 is the same the other way round: a rate that suits the last layer is a thousand times too
    large for the first.
    """

    decades: np.ndarray

    @property
    def vanishing(self) -> np.ndarray:
        return (self.decades < np.log10(VANISHING)).astype(float)

    @property
    def exploding(self) -> np.ndarray:
        return (self.decades > np.log10(EXPLODING)).astype(float)


def ratio(above, below) -> Ratio:
    """above/below in decades, cut to ±9.

    0/0 is no difference (0 decades); what is not finite has exploded.
    """
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    known = np.isfinite(above) & np.isfinite(below)
    with np.errstate(divide="ignore", invalid="ignore"):
        decades = np.log10(above) - np.log10(below)
    decades = np.where((above == 0) & (below == 0), 0, decades)
    return Ratio(np.clip(np.where(known, decades, DECADES), -DECADES, DECADES))


class Watched:
    """A population's records as dense arrays.

    `curves` has `train_loss`, `train_accuracy` and `test_accuracy` `[A, S, T, R]`; `layers` what
    was recorded of `LAYERED`, `[A, S, T, R, L]`, NaN where an arm has no such layer.
    """

    def __init__(self, outcome):
        self.population = config = outcome.population
        self.epochs = config.epochs_recorded
        names = ("train_loss", "train_accuracy", "test_accuracy")
        self.curves = {name: outcome.curves(name) for name in names}
        recorded = config.record_gradients or config.record_weight_stats
        self.layers = layered(config, outcome.table("layers")) if recorded else {}
        elements = config.elements
        self.activations = list(dict.fromkeys(e.activation for e in elements))
        self.depths = sorted({e.depth for e in elements})
        self.depth = np.array([e.depth for e in elements])
        self._activation = np.array([e.activation for e in elements])
        self.chance = elements_findings.chance(config)
        self.first_fifth = self.epochs <= FIFTH * config.epochs
        self.last_fifth = self.epochs >= (1 - FIFTH) * config.epochs

    def strata(self, values) -> np.ndarray:
        """`[G, strata, T]` from `[A, S, T]`: an activation's arms × datasets share a trial."""
        return np.stack([self._of(values, self._activation == a) for a in self.activations])

    def by_activation(self, values) -> np.ndarray:
        """`[G, T]` from `[A, S, T]`: the mean over an activation's arms and the datasets."""
        return self.strata(values).mean(1)

    def by_depth(self, values) -> np.ndarray:
        """`[G, D, T]` from `[A, S, T]`."""
        cell = lambda a, d: self._of(values, (self._activation == a) & (self.depth == d)).mean(0)
        return np.stack([[cell(a, d) for d in self.depths] for a in self.activations])

    def _of(self, values, arms):
        return np.asarray(values, np.float64)[arms].reshape(-1, np.shape(values)[2])

    def goal(self) -> Times:
        """When held-out accuracy first was 90 %."""
        return first(self.curves["test_accuracy"], GOAL, self.epochs)

    def settled(self) -> Times:
        """When training accuracy first had come 90 % of the way from chance to its final level.

        The final level is the mean over the last fifth of training. A network that ends less than
        5 points above chance has learnt nothing and never settles: by the letter, a constant one
        would be the fastest of all.
        """
        curve = self.curves["train_accuracy"]
        gain = curve[..., self.last_fifth].mean(-1) - self.chance
        level = np.where(gain >= LEARNT, self.chance + WAY * gain, np.inf)
        return first(curve, level, self.epochs)

    def unsteadiness(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Standard deviation of the training loss over the last fifth of training, in nats, as it
        is and about its straight line, `[A, S, T]` each; None of fewer than 3 records."""
        x, y = self.epochs[self.last_fifth], self.curves["train_loss"][..., self.last_fifth]
        if len(x) < 3:
            return None
        x = (x - x.mean()) / x.std()
        y = y - y.mean(-1, keepdims=True)
        line = (y * x).mean(-1, keepdims=True) * x
        return y.std(-1), (y - line).std(-1)

    def across(self, moment: int) -> Ratio:
        """First layer's gradient over the output's at the record `moment` (0 the first, −1)."""
        norms = self.layers["gradient_norm"][..., moment, :]
        return ratio(norms[..., 0], self.last(norms))

    def over_time(self) -> Ratio:
        """Whole gradient in the last fifth of training over that in the first, mean norms."""
        norms = self.whole("gradient_norm")
        return ratio(norms[..., self.last_fifth].mean(-1), norms[..., self.first_fifth].mean(-1))

    def growth(self) -> np.ndarray:
        """Norm of all weights at the end over that at the start, `[A, S, T]`."""
        norms = self.whole("weight_norm")
        return norms[..., -1] / norms[..., 0]

    def units(self, name: str) -> np.ndarray:
        """Mean over the hidden layers at the end of `saturated` or `dead`, `[A, S, T]`."""
        values = self.layers[name][..., -1, :]
        hidden = np.arange(values.shape[-1]) < self.depth[:, None]
        spread = np.where(hidden[:, None, None], values, 0).sum(-1)
        return spread / self.depth[:, None, None]

    def rank(self) -> np.ndarray:
        """Rank of the last hidden layer's features at the end, `[A, S, T]`."""
        return self.last(self.layers["feature_rank"][..., -1, :], before=1)

    def last(self, values, before: int = 0) -> np.ndarray:
        """Of `[A, S, T, L]` each arm's output, or the layer so many before it."""
        return np.stack([v[..., d - before] for v, d in zip(values, self.depth, strict=True)])

    def whole(self, name: str) -> np.ndarray:
        """The norm over all layers together, `[A, S, T, R]`, from that of each."""
        values = self.layers[name]
        exists = np.arange(values.shape[-1]) <= self.depth[:, None]
        squares = np.where(exists[:, None, None, None], values, 0).astype(np.float64) ** 2
        return np.sqrt(squares.sum(-1))


def first(curve, level, epochs) -> Times:
    """When `curve [..., R]` was first at `level [...]` (or one number) or above it."""
    at = np.asarray(level, np.float64)[..., None] - 1e-9  # shares of points, to rounding
    there = curve >= at
    reached = there.any(-1)
    return Times(np.where(reached, epochs[there.argmax(-1)], epochs[-1]), reached)


def layered(population: Population, rows: Mapping) -> dict[str, np.ndarray]:
    """What a table of layers has of `LAYERED`, as `[A, S, T, R, L]`.

    NaN where an arm has no such layer. Raises ValueError where a row is missing or there twice.
    """
    config = population
    depth = np.array([e.depth for e in config.elements])
    per_arm = len(config.datasets) * config.trials
    shape = config.size, len(config.epochs_recorded), int(depth.max()) + 1
    epoch = np.searchsorted(config.epochs_recorded, rows["epoch"])
    place = np.ravel_multi_index((rows["network"], epoch, rows["layer"] - 1), shape)
    exists = np.repeat(np.arange(shape[-1]) <= depth[:, None], per_arm, axis=0)
    expected = np.broadcast_to(exists[:, None], shape).ravel()
    counts = np.bincount(place, minlength=expected.size)
    if (counts != expected).any():
        network, epoch, layer = np.unravel_index(int(np.argmax(counts != expected)), shape)
        raise ValueError(
            f"layer {layer + 1} of network {network} at epoch {config.epochs_recorded[epoch]} is "
            f"there {counts.reshape(shape)[network, epoch, layer]} times"
        )
    found = {}
    for name in LAYERED:
        if name in rows:
            dense = np.full(expected.size, np.nan, np.float32)
            dense[place] = rows[name]
            axes = len(config.arms), len(config.datasets), config.trials, *shape[1:]
            found[name] = dense.reshape(axes)
    return found
