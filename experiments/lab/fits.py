"""Where a quantity falls along an axis, and which arms are worth their cost.

Shapes: `T` trials (always last), `X` positions along the axis (depths, say), `A` arms, `N` points,
`E` entries (all leading axes in one), `F` fits side by side, `R` resamples.

The trial is the only independent unit, as in `statistics`: fits are repeated on resampled trials,
the same for all entries, and a trial that is not finite makes its entry unknown.
"""

from typing import NamedTuple

import numpy as np
import scipy.special

from experiments.lab import statistics

STEEPEST = 0.1  # smallest scale, in smallest distances of positions: as good as a jump
_ROUNDS = 30  # of Levenberg and Marquardt
_TINY = 1e-200  # in place of a sum of squares that underflows
_BLOCK = 2**22  # numbers of the starting grid held at once


class Fit(NamedTuple):
    """A logistic fall for each entry `[...]`; NaN is what was not seen (see `logistic`)."""

    critical: statistics.Estimate  # the position of half height
    top: statistics.Estimate  # the level before the fall
    scale: statistics.Estimate  # positions over which the odds of the height fall by a factor e
    residual: np.ndarray  # root mean square over positions of mean - curve
    verdict: np.ndarray  # str: 'within', 'beyond', 'below' or 'unidentified'


def logistic(x, samples, floor, ceiling=None, *, level=0.95, resamples=999, seed=0) -> Fit:
    """Least-squares fit of a fall to `floor` to `samples` `[..., X, T]` over positions `x` `[X]`.

    The means over trials are fitted by `floor + (top - floor) / (1 + exp((x - critical) / scale))`,
    with `top` from `floor` to `ceiling` (None: the highest mean) and `scale` from a tenth of the
    smallest distance of positions to their range. Limits are jackknife t below 20 trials, from 20
    on BCa over refits to resampled trials. Where less than two positions lie on the slope (5 to 95
    % of the height) the positions between its neighbours cannot be told apart without trust in the
    logistic form: the interval of `critical` then contains both neighbours.

    Nothing is extrapolated: a critical position past the last x is `inf` and one before the first
    `-inf`, limits likewise, save the one that bounds it; `scale` is NaN in both cases, `top` in
    the second. The verdict is

    - 'within': the value and both limits lie within the range of x;
    - 'beyond': past the last x, half height was not reached; `low` is the lower bound;
    - 'below': before the first x, already fallen there; `high` is the upper bound;
    - 'unidentified': a limit that would be needed is infinite or unknown.

    What never leaves the floor (no mean told from it by one-sided t tests, Holm over x, at
    1 - `level`) may have fallen from any height, or from none. It is 'below' if a `ceiling` is
    given and the interval of the first mean stays under half its height, else 'unidentified' with
    NaN. The form is assumed, not tested: see `residual`.
    """
    samples, x = _along(x, samples, fewest=3)
    statistics.check_interval(level, resamples, seed)
    if not (np.isfinite(floor) and (ceiling is None or floor < ceiling < np.inf)):
        raise ValueError(f"floor must be finite and below the ceiling, got {floor} and {ceiling}")
    leading, trials = samples.shape[:-2], samples.shape[-1]
    rows = samples.reshape(-1, len(x), trials)
    known = np.isfinite(rows).all(axis=(1, 2))
    highest = np.inf if ceiling is None else ceiling - floor
    numbers, residual = np.full((3, 3, len(rows)), np.nan), np.full(len(rows), np.nan)
    heights = rows[known] - floor
    numbers[..., known], residual[known] = _estimates(x, heights, highest, level, resamples, seed)
    numbers[0] = _bound(x, numbers[0], np.exp(numbers[2, 0]))
    numbers[1] += floor
    numbers[2] = np.exp(np.clip(numbers[2], *_scales(x)))
    for index in np.flatnonzero(known & (trials > 1)):
        told = statistics.against(rows[index], floor, alternative="greater")[1] < 1 - level
        if not told.any():
            numbers[..., index] = np.nan
            first = statistics.mean(rows[index, 0], level=level, resamples=resamples, seed=seed)
            if first.high < floor + highest / 2 < np.inf:
                numbers[0, :, index] = -np.inf, -np.inf, x[0]
    value, low, high = numbers[0]
    numbers[1, :, value == -np.inf] = np.nan
    numbers[2, :, np.isinf(value)] = np.nan
    finite, lower, upper = (np.isfinite(n) for n in (value, low, high))
    verdict = np.select(
        [finite & lower & upper, (value == np.inf) & lower, (value == -np.inf) & upper],
        ["within", "beyond", "below"],
        "unidentified",
    )
    estimates = [statistics.Estimate(*n.reshape(3, *leading), trials) for n in numbers]
    return Fit(*estimates, residual.reshape(leading), verdict.reshape(leading))


def first_crossing(x, samples, level, *, alternative, alpha=0.05) -> np.ndarray:
    """The first x `[...]` at which the mean of `samples` `[..., X, T]` is not told from `level`.

    Told: `statistics.against` with `alternative` ('greater': above chance, say), Holm over x, is
    significant at `alpha`. `inf` where all are told, NaN where an unknown mean comes first. Not
    being told is no proof of equality, and comes the earlier the fewer trials there are.
    """
    samples, x = _along(x, samples, fewest=1)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, got {alpha}")
    crossings = np.full(samples.shape[:-2], np.inf)
    for index in np.ndindex(crossings.shape):
        p = statistics.against(samples[index], level, alternative=alternative)[1]
        untold = np.flatnonzero(~(p < alpha))
        if untold.size:
            crossings[index] = np.where(np.isnan(p), np.nan, x)[untold[0]]
    return crossings


def pareto(cost, value) -> np.ndarray:
    """Which points `[N]` are on the front: no other is better in one respect and as good in both.

    Low `cost` `[N]` and high `value` `[N]` are good; equal points are on the front together. An
    unknown point could stand anywhere, so NaN is refused.
    """
    value = np.asarray(value, dtype=np.float64)
    if value.ndim != 1 or np.isnan(value).any():
        raise ValueError(f"value must be one axis of numbers without NaN, got {value.tolist()}")
    return ~_dominated(_costs(cost, len(value)), value[:, None])[:, 0]


def front_probability(cost, samples, *, resamples=4999, seed=0) -> np.ndarray:
    """The share `[A]` of resamples in which an arm's mean over `samples` `[A, T]` is on the front.

    Trials are resampled jointly, arms stay paired; `cost` `[A]` is fixed. Equal to 12 digits is
    tied. As in `statistics.ranks`, one unknown arm makes all NaN; so does a single trial, which
    cannot be resampled.
    """
    samples = statistics.known(samples, "[A, T]", 2, exactly=True)
    cost = _costs(cost, len(samples))
    statistics.check_interval(0.5, resamples, seed)
    if samples.shape[-1] == 1 or not np.isfinite(samples).all():
        return np.full(len(samples), np.nan)
    means = statistics.resampled_means(samples, resamples, seed)
    return 1 - _dominated(cost, means, 1e-12 * np.abs(means).max()).mean(axis=-1)


def _along(x, samples, fewest):
    """Checked samples `[..., X, T]` with NaN for the unknown, and positions `[X]`."""
    samples, x = statistics.known(samples, "[..., X, T]", 2), np.asarray(x, dtype=np.float64)
    count = samples.shape[-2]
    if x.shape != (count,) or not np.isfinite(x).all() or (np.diff(x) <= 0).any():
        raise ValueError(f"x must be {count} finite, ascending positions, got {x.tolist()}")
    if count < fewest:
        raise ValueError(f"x must have at least {fewest} positions, got {x.tolist()}")
    return samples, x


def _costs(cost, count):
    cost = np.asarray(cost, dtype=np.float64)
    if cost.shape != (count,) or np.isnan(cost).any():
        raise ValueError(f"cost must be {count} numbers without NaN, got {cost.tolist()}")
    return cost


def _dominated(cost, value, noise=0.0):
    """Which of `value` `[A, R]` another arm beats in its resample, at no more cost `[A]`."""
    dominated = np.zeros(value.shape, dtype=bool)
    for price, worth in zip(cost, value, strict=True):
        cheaper = (price < cost)[:, None]
        better = np.where(cheaper, worth >= value - noise, worth > value + noise)
        dominated |= (price <= cost)[:, None] & better
    return dominated


def _estimates(x, heights, highest, level, resamples, seed):
    """Parameters `[3, 3 numbers, E]` with limits and residuals `[E]` of heights `[E, X, T]`.

    The parameters are the critical position, the top and the logarithm of the scale.
    """
    entries, count, trials = heights.shape
    means = heights.mean(axis=-1)
    value, residual = _fit(x, means, highest)
    numbers = np.stack([value, *np.full((2, *value.shape), np.nan)], axis=1)
    if trials > 1 and entries:
        jackknife = _refit(x, (trials * means[..., None] - heights) / (trials - 1), highest)
        jackknife[0] = np.clip(jackknife[0], x[0], x[-1])  # beyond, it is anywhere
        if trials < statistics.FEWEST_FOR_BOOTSTRAP:
            centre, low, high, _ = statistics.mean((1 - trials) * jackknife, level=level)
            value[0] = np.clip(value[0], x[0], x[-1])
            numbers[:, 1:] = np.stack([value + low - centre, value + high - centre], axis=1)
        else:
            cells = np.ascontiguousarray(heights.reshape(-1, trials))
            resampled = statistics.resampled_means(cells, resamples, seed)
            refits = _refit(x, resampled.reshape(entries, count, resamples), highest)
            for parameter, limits in enumerate(numbers[:, 1:]):
                limits[:] = _bca(value[parameter], refits[parameter], jackknife[parameter], level)
    return numbers, residual


def _bca(value, refits, jackknife, level):
    """BCa limits `[2, E]` of a value `[E]` from refits `[E, R]` and those without a trial `[E, T]`.

    Efron and Tibshirani (1993), section 14.3; ties with the value count by half.
    """
    tails = scipy.special.ndtri(np.array([[(1 - level) / 2], [(1 + level) / 2]]))
    refits, value = np.sort(refits, axis=-1), value[:, None]
    share = (np.mean(refits < value, axis=-1) + np.mean(refits <= value, axis=-1)) / 2
    edge = 0.5 / refits.shape[-1]
    bias = scipy.special.ndtri(np.clip(share, edge, 1 - edge))
    pulls = jackknife.mean(axis=-1, keepdims=True) - jackknife
    norm = np.sqrt((pulls**2).sum(axis=-1))
    acceleration = (pulls**3).sum(axis=-1) / 6 / np.where(norm > 0, norm, 1.0) ** 3
    shifted = bias + tails
    levels = scipy.special.ndtr(bias + shifted / np.maximum(1 - acceleration * shifted, _TINY))
    return statistics.quantiles(refits, *levels)


def _bound(x, critical, scale):
    """What critical positions with limits `[3, E]` may say, given positions and scales `[E]`."""
    value, low, high = critical
    slope = np.abs(x[:, None] - value) < np.log(19) * scale  # from 5 to 95 % of the height
    jump = (slope.sum(axis=0) < 2) & (value >= x[0]) & (value <= x[-1])
    before = np.clip(x.searchsorted(value, "right") - 1, 0, len(x) - 2)
    low = np.where(jump, np.minimum(low, x[before]), low)
    high = np.where(jump, np.maximum(high, x[before + 1]), high)
    value, low, high = (
        np.select([n > x[-1], n < x[0]], [np.inf, -np.inf], n) for n in (value, low, high)
    )
    past, fallen = value == np.inf, value == -np.inf
    low = np.select([past, fallen], [np.minimum(low, x[-1]), -np.inf], low)
    high = np.select([past, fallen], [np.inf, np.maximum(high, x[0])], high)
    return np.stack([value, low, high])


def _refit(x, means, highest):
    """Parameters `[3, E, K]` of fits to means `[E, X, K]`, one for each of K."""
    entries, count, fits = means.shape
    flat = np.ascontiguousarray(means.swapaxes(1, 2).reshape(-1, count))
    return _fit(x, flat, highest)[0].reshape(3, entries, fits)


def _fit(x, y, highest):
    """Least-squares parameters `[3, F]` and residuals `[F]` for heights `[F, X]`.

    Of critical position and logarithm of scale, from the best of a grid on by the method of
    Levenberg and Marquardt; the top, in which the curve is linear, is solved for (variable
    projection: Kaufman 1975). Fits are independent of each other to the last bit.
    """
    highest = y.max(axis=-1).clip(0) if highest == np.inf else np.full(len(y), highest)
    span, scales = x[-1] - x[0], _scales(x)
    lowest, most = np.array([x[0] - span, scales[0]]), np.array([x[-1] + span, scales[1]])
    theta = _start(x, y, highest, lowest, most)
    damping = np.full(len(y), 1e-2)
    curve, top, error = _curve(x, y, highest, theta)
    for _ in range(_ROUNDS):
        power = np.maximum((curve**2).sum(axis=-1), _TINY)
        steep = top[:, None] * curve * (1 - curve) / np.exp(theta[:, 1:])
        slopes = [steep, steep * (x - theta[:, :1])]
        free = (top > 0) & (top < highest)
        for slope in slopes:
            slope -= curve * (free * (curve * slope).sum(axis=-1) / power)[:, None]
        rest = y - top[:, None] * curve
        a, b, d = ((slopes[i] * slopes[j]).sum(axis=-1) for i, j in ((0, 0), (0, 1), (1, 1)))
        pulls = [(slope * rest).sum(axis=-1) for slope in slopes]
        a, d = a * (1 + damping) + _TINY, d * (1 + damping) + _TINY
        determinant = np.maximum(a * d - b * b, _TINY)
        step = np.stack([d * pulls[0] - b * pulls[1], a * pulls[1] - b * pulls[0]], axis=-1)
        proposed = np.clip(theta + step / determinant[:, None], lowest, most)
        found = _curve(x, y, highest, proposed)
        better = found[2] < error
        theta = np.where(better[:, None], proposed, theta)
        curve = np.where(better[:, None], found[0], curve)
        top, error = np.where(better, found[1:], (top, error))
        damping = np.where(better, damping / 5, damping * 4).clip(1e-9, 1e9)
    return np.stack([theta[:, 0], top, theta[:, 1]]), np.sqrt(error / len(x))


def _scales(x):
    """The logarithms of the smallest and the largest scale."""
    return np.log([STEEPEST * np.diff(x).min(), x[-1] - x[0]])


def _curve(x, y, highest, theta):
    """Falls from 1 to 0 `[F, X]`, the best tops and the sums of squared errors `[F]`."""
    curve = scipy.special.expit((theta[:, :1] - x) / np.exp(theta[:, 1:]))
    power = np.maximum((curve**2).sum(axis=-1), _TINY)
    top = np.clip((curve * y).sum(axis=-1) / power, 0, highest)
    return curve, top, ((y - top[:, None] * curve) ** 2).sum(axis=-1)


def _start(x, y, highest, lowest, most):
    """The best point `[F, 2]` of a grid that has five positions in every gap of x."""
    inner = np.interp(np.arange(0, len(x) - 0.9, 0.2), np.arange(len(x)), x)
    outer = np.geomspace(0.05, 1, 5) * (x[-1] - x[0])
    positions = np.concatenate([x[0] - outer, inner, x[-1] + outer])
    grid = np.stack(np.meshgrid(positions, np.linspace(lowest[1], most[1], 10)), axis=-1)
    grid = grid.reshape(-1, 2)
    curves = scipy.special.expit((grid[:, :1] - x) / np.exp(grid[:, 1:])).T  # [X, grid]
    power = np.maximum((curves**2).sum(axis=0), _TINY)
    best = np.empty(len(y), dtype=np.int64)
    size = max(_BLOCK // len(grid), 1)
    for start in range(0, len(y), size):
        block = y[start : start + size]
        shared = np.zeros((len(block), len(grid)))
        for heights, curve in zip(block.T, curves, strict=True):  # as in statistics: no rounding
            shared += heights[:, None] * curve
        top = np.clip(shared / power, 0, highest[start : start + size, None])
        best[start : start + size] = np.argmin(top * (top * power - 2 * shared), axis=-1)
    return grid[best]
