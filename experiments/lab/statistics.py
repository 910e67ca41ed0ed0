"""Numbers into estimates and verdicts: means with intervals, ranks, paired comparisons.

Shapes: `T` trials (always last), `A` arms, `S` strata, `X` points, `M` tests of one family,
`E` entries (all leading axes in one), `R` resamples.

The trial is the only independent unit; arms are paired by trial. A trial that is not finite (NaN,
or infinite after a divergence) is unknown: it turns all that rests on it into NaN and is never
dropped. Resamples follow from `seed`, `T` and `R` alone, so an entry's interval does not depend,
to the last bit, on the entries beside it. Shapes, levels and the like outside the stated range
raise ValueError.
"""

import itertools
from typing import NamedTuple

import numpy as np
import scipy.special

FEWEST_FOR_BOOTSTRAP = 20  # trials; below, BCa covers too seldom (0.81-0.84 instead of 0.95 at 5)
ROUNDING = 4 * np.finfo(np.float64).eps  # relative; smaller spreads and shifts are rounding errors
_BLOCK = 256  # entries resampled at once: bounds the memory to _BLOCK x R numbers


class Estimate(NamedTuple):
    """A number with its interval: floats or arrays of one shape, limits NaN where unknown."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: int  # trials


def entry(estimate: Estimate, index) -> Estimate:
    """The estimate of the entries at `index` of an estimate of arrays."""
    value, low, high = (np.asarray(field)[index] for field in estimate[:3])
    return Estimate(value, low, high, estimate.n)


class Comparison(NamedTuple):
    """One pair of arms; positive `difference` and `effect` mean that `first` is higher."""

    first: str
    second: str
    difference: Estimate  # mean over trials of first - second
    p: float  # paired t test, two-sided, uncorrected
    p_holm: float  # the same, Holm-corrected over all pairs
    effect: float  # Cohen's d_z: mean / standard deviation of the paired differences
    p_equivalence: float  # TOST at the declared margin, Holm-corrected over all pairs
    verdict: str  # 'first higher', 'second higher', 'equivalent' or 'undecided'


def mean(samples: np.ndarray, *, level=0.95, resamples=4999, seed=0) -> Estimate:
    """Mean over the trials of `samples` `[..., T]` with its interval of confidence `level`.

    The interval is Student's t below 20 trials, from 20 on the BCa bootstrap (Efron 1987, "Better
    bootstrap confidence intervals"); NaN of a single trial. A t interval may leave a bounded
    metric's range. Equal trials give `low == high == value`: no variation was seen. That is not
    certainty: five successes in five runs still happen one time in twenty at a rate of 0.55.
    """
    samples = known(samples, "[..., T]", 1)
    check_interval(level, resamples, seed)
    trials = samples.shape[-1]
    rows = samples.reshape(-1, trials)
    finite = np.isfinite(rows).all(axis=-1)
    centre, deviations = _centre(np.ascontiguousarray(rows[finite]))
    few = trials < FEWEST_FOR_BOOTSTRAP
    below, above = _student(deviations, level) if few else _bca(deviations, level, resamples, seed)
    estimates = np.full((3, len(rows)), np.nan)
    estimates[:, finite] = centre, centre + below, centre + above
    value, low, high = estimates.reshape(3, *samples.shape[:-1])
    return Estimate(value, low, high, trials)


def stratified(samples: np.ndarray, *, level=0.95, resamples=4999, seed=0) -> Estimate:
    """Mean over strata and trials of `samples` `[..., S, T]`, strata of equal, fixed weight.

    A trial shares its initialisation over the strata (data sets, say), so its mean over them is the
    unit that is resampled. The interval speaks of new trials on these strata, not of new strata.
    """
    units = known(samples, "[..., S, T]", 2).mean(axis=-2)
    return mean(units, level=level, resamples=resamples, seed=seed)


def slope(samples: np.ndarray, x: np.ndarray, *, level=0.95, resamples=4999, seed=0) -> Estimate:
    """Least-squares slope of `samples` `[..., X, T]` over `x` `[X]` per trial, then `mean`."""
    samples, x = known(samples, "[..., X, T]", 2), np.asarray(x, dtype=np.float64)
    count = samples.shape[-2]
    if x.shape != (count,) or not np.isfinite(x).all() or np.ptp(x) == 0:
        raise ValueError(f"x must be {count} finite points, two of them different, got {x}")
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    slopes = (weights[:, None] * samples).sum(axis=-2)
    return mean(slopes, level=level, resamples=resamples, seed=seed)


def ranks(samples: np.ndarray, *, level=0.95, resamples=4999, seed=0) -> Estimate:
    """Ranks `[A]` of the arms' means over `samples` `[A, T]`; 1 is the highest, ties share theirs.

    The percentile interval over joint resamples of the trials says how firmly the order stands. It
    is too narrow for a handful of trials and inexact between nearly equal arms (Hall and Miller
    2009, "Using the bootstrap to quantify the authority of an empirical ranking"). An unknown arm
    could stand anywhere: one NaN makes all ranks NaN.
    """
    samples = known(samples, "[A, T]", 2, exactly=True)
    check_interval(level, resamples, seed)
    arms, trials = samples.shape
    value, low, high = np.full((3, arms), np.nan)
    if np.isfinite(samples).all():
        value = _rank(samples.mean(axis=-1, keepdims=True))[:, 0]
        if trials > 1:
            resampled = np.sort(_rank(resampled_means(samples, resamples, seed)), axis=-1)
            tail = np.full(arms, (1 - level) / 2)
            low, high = quantiles(resampled, tail, 1 - tail)
    return Estimate(value, low, high, trials)


def compare(
    samples: np.ndarray, names, *, margin, alpha=0.05, level=0.95, resamples=4999, seed=0
) -> list[Comparison]:
    """All pairs of the arms of `samples` `[A, T]`, in the order of `names`, paired by trial.

    Differences are tested by the paired t test, equivalence by two one-sided t tests (TOST:
    Schuirmann 1987) against -margin and +margin; each is one Holm family over all pairs. The
    interval of the difference is that of `mean`, uncorrected. The verdict is

    - 'equivalent' where p_equivalence < alpha: the difference is proven smaller than the margin,
      whether or not it is also proven to exist;
    - else 'first higher' or 'second higher' where p_holm < alpha;
    - else 'undecided', which is no evidence of equality. So is NaN, or a single trial.

    Differences equal in all trials leave no spread to test against, and the t test's limit is
    reported: all zero give p 1 and effect 0; all the same other number gives p 0 and an infinite
    effect; p_equivalence is 0 inside the margin. As in `mean`: no variation was seen.
    """
    samples, names = known(samples, "[A, T]", 2, exactly=True), list(names)
    if len(names) != len(samples) or len(set(names)) != len(names):
        raise ValueError(f"names must be {len(samples)} different names, one an arm, got {names}")
    if not 0 < margin < np.inf:
        raise ValueError(f"margin must be positive and finite, got {margin}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, got {alpha}")
    first, second = np.triu_indices(len(names), k=1)
    differences = samples[first] - samples[second]
    size = np.abs(samples).max(axis=-1, keepdims=True)
    noise = ROUNDING * np.maximum(size[first], size[second])
    differences = np.where(np.abs(differences) <= noise, 0.0, differences)
    constant = np.ptp(differences, axis=-1, keepdims=True) <= noise
    differences = np.where(constant, differences[:, :1], differences)
    value, low, high, n = mean(differences, level=level, resamples=resamples, seed=seed)
    p = _t_test(differences, 0.0, "two-sided")
    below, above = _t_test(differences, margin, "less"), _t_test(differences, -margin, "greater")
    p_holm, p_same = holm(p), holm(np.maximum(below, above))
    higher = np.where(value > 0, "first higher", "second higher")
    verdict = np.select([p_same < alpha, p_holm < alpha], ["equivalent", higher], "undecided")
    estimates = map(Estimate, value.tolist(), low.tolist(), high.tolist(), itertools.repeat(n))
    columns = [c.tolist() for c in (p, p_holm, _effect(differences, 0.0), p_same, verdict)]
    rows = zip(itertools.combinations(names, 2), estimates, *columns, strict=True)
    return [Comparison._make((*pair, *rest)) for pair, *rest in rows]


def against(samples: np.ndarray, value: float, *, alternative: str) -> tuple:
    """`(p, p_holm)`, each `[A]`: t test of each arm's mean in `samples` `[A, T]` against `value`.

    A small p speaks for `alternative`: a mean 'greater' or 'less' than the value (chance, say), or
    either ('two-sided'). Equal trials give the limits: p 0 or 1 off the value, t = 0 on it.
    """
    samples = known(samples, "[A, T]", 2, exactly=True)
    if not np.isfinite(value):
        raise ValueError(f"value must be finite, got {value}")
    if alternative not in ("greater", "less", "two-sided"):
        raise ValueError(f"alternative must be greater, less or two-sided, got {alternative!r}")
    p = _t_test(samples, value, alternative)
    return p, holm(p)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction (1979) of one family of p values `[M]`; NaN stays, uncounted.

    The tests hold it to statsmodels' `multipletests`, which collects all garbage at every call and
    would take longer than the rest of a report.
    """
    p = np.asarray(p, dtype=np.float64)
    if p.ndim != 1 or (p < 0).any() or (p > 1).any():
        raise ValueError(f"p must be one axis of numbers in [0, 1] or NaN, got {p.tolist()}")
    family = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # ascending, NaN would come last
    steps = p[family] * np.arange(len(family), 0, -1)
    corrected = np.full(p.shape, np.nan)
    corrected[family] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def known(samples, legend, axes, exactly=False):
    """Samples as float64 with NaN for all that is not finite; refuses a shape unlike `legend`."""
    samples = np.asarray(samples, dtype=np.float64)
    if samples.ndim < axes or (exactly and samples.ndim > axes) or 0 in samples.shape[-axes:]:
        raise ValueError(f"samples must have shape {legend}, none of it 0, got {samples.shape}")
    return np.where(np.isfinite(samples), samples, np.nan)


def check_interval(level, resamples, seed):
    """Raises ValueError unless an interval can be made of these."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}")
    if not isinstance(resamples, int | np.integer) or (resamples + 1) * (1 - level) < 2 - 1e-9:
        raise ValueError(f"resamples must be whole, >= 2 / (1 - level) - 1, got {resamples}")
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be a whole number in [0, 2**32), got {seed}")


def _centre(rows):
    """Means `[E]` of rows `[E, T]` and deviations from them, exactly 0 in a constant row."""
    constant = np.ptp(rows, axis=-1) <= ROUNDING * np.abs(rows).max(axis=-1)
    centre = np.where(constant, rows[:, 0], rows.mean(axis=-1))
    return centre, np.where(constant[:, None], 0.0, rows - centre[:, None])


def _student(deviations, level):
    """Limits `[2, E]` of Student's t interval minus the mean, from deviations `[E, T]`."""
    trials = deviations.shape[-1]
    error = np.sqrt((deviations**2).sum(axis=-1) / max(trials - 1, 1) / trials)
    half = scipy.special.stdtrit(trials - 1, (1 + level) / 2) * error  # NaN of one trial
    return -half, half


def _bca(deviations, level, resamples, seed):
    """Limits `[2, E]` of the BCa interval minus the mean, from deviations `[E, T]`.

    A mean's acceleration (Efron 1987) has a closed form. Resampled means tied with the observed
    one count by half, ties up to rounding. scipy.stats.bootstrap, which the tests hold this to,
    leaves such ties to rounding: a limit then moves with the entries beside it.
    """
    tails = scipy.special.ndtri(np.array([[(1 - level) / 2], [(1 + level) / 2]]))
    limits = np.empty((2, len(deviations)))
    for start in range(0, len(deviations), _BLOCK):
        block = deviations[start : start + _BLOCK]
        means = np.sort(resampled_means(block, resamples, seed), axis=-1)
        norm = np.sqrt((block**2).sum(axis=-1, keepdims=True))
        noise = 1e-9 * norm
        share = (np.mean(means < -noise, axis=-1) + np.mean(means <= noise, axis=-1)) / 2
        bias = scipy.special.ndtri(np.clip(share, 0.5 / resamples, 1 - 0.5 / resamples))
        units = block / np.where(norm > 0, norm, 1.0)
        acceleration = (units**2 * units).sum(axis=-1) / 6
        shifted = bias + tails
        levels = scipy.special.ndtr(bias + shifted / (1 - acceleration * shifted))
        limits[:, start : start + _BLOCK] = quantiles(means, *levels)
    return limits


def resampled_means(rows, resamples, seed):
    """Means `[E, R]` of rows `[E, T]` over trials drawn with replacement, the same for all rows."""
    trials = rows.shape[-1]
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(trials, np.full(trials, 1 / trials), size=resamples)  # [R, T]
    means = np.zeros((len(rows), resamples))
    for values, count in zip(rows.T, counts.T, strict=True):  # a matrix product would round by E
        means += values[:, None] * (count / trials)
    return means


def quantiles(ordered, lower, upper):
    """Quantiles `[2, E]` of ascending rows `[E, R]` at levels `[E]`, rounded outwards."""
    count = ordered.shape[-1]
    places = np.stack([np.floor((count + 1) * lower), np.ceil((count + 1) * upper)], axis=-1)
    places = np.clip(places, 1, count).astype(np.int64) - 1
    return np.take_along_axis(ordered, places, axis=-1).T


def _rank(means):
    """Ranks of means `[A, R]` along A, 1 the highest; equal to 12 digits is tied."""
    size = np.sqrt(np.mean(means**2)) or 1.0
    means = np.round(means / size, 12)
    return np.stack([(means > m).sum(0) + ((means == m).sum(0) + 1) / 2 for m in means])


def _effect(rows, value):
    """(mean - value) / standard deviation `[E]` of rows `[E, T]`; 0 / 0 is 0, T = 1 is NaN."""
    entries, trials = rows.shape
    if trials == 1:
        return np.full(entries, np.nan)
    centre, deviations = _centre(rows)
    shift = centre - value
    shift = np.where(np.abs(shift) <= ROUNDING * np.maximum(np.abs(centre), abs(value)), 0.0, shift)
    spread = np.sqrt((deviations**2).sum(axis=-1) / (trials - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(shift == 0, 0.0, shift / spread)


def _t_test(rows, value, alternative):
    """p values `[E]` of one-sample t tests of the means of rows `[E, T]` against `value`."""
    t = _effect(rows, value) * np.sqrt(rows.shape[-1])
    tail = {"less": t, "greater": -t, "two-sided": -np.abs(t)}[alternative]
    return scipy.special.stdtr(rows.shape[-1] - 1, tail) * (1 + (alternative == "two-sided"))
