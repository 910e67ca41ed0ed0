"""Times to an event (convergence, say) of which some are censored: shares, quantiles, means.

Shapes: `T` trials (always last), `S` strata that share a trial (data sets, say), `X` points in
time, `A` arms, `J` different times in a sample.

`times` `[..., T]` are times from 0 on, finite, in any unit; `reached` `[..., T]`, bool, says where
the event was seen. Where it was not, the time is that of the last look (the last epoch), and all
that is known is that the event comes later: the mean over those that got there would be the mean
of the fast ones. With `stratified=True` both are `[..., S, T]`, the strata are pooled, and a trial
with all its strata remains the only independent unit, as in `statistics`, whose intervals these
are: t below 20 trials, BCa from 20 on. A NaN time is unknown and turns its whole entry into NaN.

The log-rank test is absent on purpose: it takes all times for independent, but arms are paired by
trial and strata share theirs. `compare_restricted` is the paired comparison.
"""

from typing import NamedTuple

import numpy as np
import scipy.stats

from experiments.lab import statistics

DIGITS = 12  # to which shares are equal: what lies beyond is rounding error


class _Curve(NamedTuple):
    """A Kaplan-Meier curve: a share that holds from a moment up to the next one."""

    moments: np.ndarray  # [J + 1], ascending; the first is -inf, with a share of 1
    shares: np.ndarray  # [J + 1]
    units: np.ndarray  # [J + 1, T], what each trial says of the share; NaN where unknown


def kaplan_meier(
    times, reached, at, *, stratified=False, level=0.95, resamples=4999, seed=0
) -> statistics.Estimate:
    """The share `[..., X]` without the event after each of the moments `at` `[X]`.

    The estimator of Kaplan and Meier (1958) over all trials (and strata), an event at a moment
    counting as past. The interval is that of the mean of the trials' pseudo-values (Andersen,
    Klein and Rosthøj 2003), cut to [0, 1]; before the first censoring they are each trial's own
    share, and the interval is the bootstrap over trials itself. Beyond the last look, a curve that
    has not come down to 0 is unknown: NaN. As in `statistics.mean`, a share of 0 or 1 has
    `low == high == value`, which is not certainty.
    """
    times, reached, leading = _watched(times, reached, stratified)
    at = np.asarray(at, dtype=np.float64)
    if at.ndim != 1 or not at.size or not np.isfinite(at).all() or (at < 0).any():
        raise ValueError(f"at must be one axis of finite times >= 0, got {at.tolist()}")
    steps, places, known = [], [], []
    for curve in map(_curve, times, reached):  # an interval once for each step that is asked for
        step, place = np.unique(curve.moments.searchsorted(at, "right") - 1, return_inverse=True)
        steps.append(_Curve(*(field[step] for field in curve)))
        places.append(place)
        known.append((at <= curve.moments[-1]) | (curve.shares[-1] == 0))
    limits = _limits(steps, level, resamples, seed)
    estimates = [
        np.where(beyond, np.nan, np.stack([step.shares, *limit])[:, place])
        for step, limit, place, beyond in zip(steps, limits, places, ~np.array(known), strict=True)
    ]
    return _estimate(np.stack(estimates, axis=1), leading, times.shape[-1])


def quantile(
    times, reached, q=0.5, *, stratified=False, level=0.95, resamples=4999, seed=0
) -> statistics.Estimate:
    """The first time `[...]` at which a share `q` has had the event: 0.5 is the median time.

    `inf` where the curve never gets there: the time is longer than was watched. The interval
    inverts that of `kaplan_meier` (Brookmeyer and Crowley 1982): from the first moment at which the
    lower limit of the share without the event is at most 1 - q, to the moment from which on the
    upper one is. Its upper limit is `inf` where that is not seen, also of a finite value.
    """
    if not 0 < q < 1:
        raise ValueError(f"q must lie strictly between 0 and 1, got {q}")
    times, reached, leading = _watched(times, reached, stratified)
    curves = [_curve(*sample) for sample in zip(times, reached, strict=True)]
    estimates = np.full((3, len(times)), np.nan)
    limits = _limits(curves, level, resamples, seed)
    for entry, (curve, (low, high)) in enumerate(zip(curves, limits, strict=True)):
        moments = np.append(curve.moments, np.inf)
        rest = np.round(1 - q, DIGITS)
        if not np.isnan(curve.shares).any():
            estimates[0, entry] = moments[_first(curve.shares <= rest)]
        if not np.isnan(low).any():
            estimates[1, entry] = moments[_first(low <= rest)]
            estimates[2, entry] = moments[len(high) - _first(high[::-1] > rest)]
    return _estimate(estimates, leading, times.shape[-1])


def restricted_times(times, reached, horizon, *, stratified=False) -> np.ndarray:
    """min(time, horizon) `[..., T]`, the mean over strata of each trial.

    Where everything was watched up to the horizon (a fixed number of epochs) this is known of every
    network, the censored ones included, and needs no model of censoring. So a horizon beyond a
    censored time is refused.
    """
    times, reached, leading = _watched(times, reached, stratified)
    if not 0 < horizon < np.inf:
        raise ValueError(f"horizon must be positive and finite, got {horizon}")
    earliest = np.min(times, where=~reached & ~np.isnan(times), initial=np.inf)
    if earliest < horizon:
        raise ValueError(
            f"horizon must not lie beyond the earliest censored time, {earliest:g}, got {horizon:g}"
        )
    return np.minimum(times, horizon).mean(axis=-2).reshape(*leading, times.shape[-1])


def restricted_mean(
    times, reached, horizon, *, stratified=False, level=0.95, resamples=4999, seed=0
) -> statistics.Estimate:
    """Mean `[...]` of the times cut at the horizon: the area under the Kaplan-Meier curve up to it.

    Royston and Parmar (2013). What never got there counts with the whole horizon.
    """
    units = restricted_times(times, reached, horizon, stratified=stratified)
    return statistics.mean(units, level=level, resamples=resamples, seed=seed)


def compare_restricted(
    times, reached, names, *, horizon, margin, stratified=False, **options
) -> list[statistics.Comparison]:
    """All pairs of arms, `times` `[A, T]` or `[A, S, T]`, paired by trial, in restricted mean time.

    By `statistics.compare`, which explains the verdicts and takes the `margin` (in units of time)
    and the `options`. 'first higher' means that the first arm takes longer.
    """
    units = restricted_times(times, reached, horizon, stratified=stratified)
    return statistics.compare(units, names, margin=margin, **options)


def _watched(times, reached, stratified):
    """Times and where the event was seen, `[E, S, T]` with E all leading axes in one, and these."""
    legend, axes = ("[..., S, T]", 2) if stratified else ("[..., T]", 1)
    times, reached = np.asarray(times, dtype=np.float64), np.asarray(reached)
    if times.ndim < axes or 0 in times.shape:
        raise ValueError(f"times must have shape {legend}, none of it 0, got {times.shape}")
    if reached.shape != times.shape or reached.dtype != bool:
        raise ValueError(
            f"reached must be bool of the times' shape {times.shape}, "
            f"got {reached.dtype} of {reached.shape}"
        )
    if np.isinf(times).any() or (times < 0).any():
        raise ValueError(
            "times must be >= 0 and finite, or NaN where unknown (the last look where the event "
            f"was not seen), got {np.nanmin(times):g} to {np.nanmax(times):g}"
        )
    shape = (-1, times.shape[-2] if stratified else 1, times.shape[-1])
    return times.reshape(shape), reached.reshape(shape), times.shape[:-axes]


def _curve(times, reached):
    """The Kaplan-Meier curve of times `[S, T]`; J is 0 and all of it unknown where one is."""
    trials = times.shape[-1]
    if np.isnan(times).any():
        return _Curve(np.array([-np.inf]), np.array([np.nan]), np.full((1, trials), np.nan))
    sample = scipy.stats.CensoredData.right_censored(times.ravel(), ~reached.ravel())
    pooled = scipy.stats.ecdf(sample).sf
    moments = pooled.quantiles[:, None, None]
    events = ((times == moments) & reached).sum(axis=1)  # [J, T]
    at_risk = (times >= moments).sum(axis=1)
    events, at_risk = (each.sum(axis=-1, keepdims=True) - each for each in (events, at_risk))
    without = np.cumprod(1 - events / np.maximum(at_risk, 1), axis=0)  # the curve without a trial
    units = trials * pooled.probabilities[:, None] - (trials - 1) * without
    return _Curve(
        np.insert(pooled.quantiles, 0, -np.inf),
        np.insert(pooled.probabilities, 0, 1.0).round(DIGITS),
        np.insert(units, 0, 1.0, axis=0).round(DIGITS),
    )


def _limits(curves, level, resamples, seed):
    """Limits `[2, J + 1]` of the shares of each curve, resampled all at once."""
    units = np.concatenate([curve.units for curve in curves])
    value, low, high, _ = statistics.mean(units, level=level, resamples=resamples, seed=seed)
    shares = np.concatenate([curve.shares for curve in curves])
    limits = np.clip(shares + np.stack([low - value, high - value]), 0, 1).round(DIGITS)
    return np.split(limits, np.cumsum([len(curve.shares) for curve in curves])[:-1], axis=-1)


def _first(condition):
    """Where a condition `[J]` holds first; J where it never does."""
    return int(np.argmax(condition)) if condition.any() else len(condition)


def _estimate(estimates, leading, trials):
    """The estimate of numbers `[3, E, ...]`, with the leading axes as they were."""
    return statistics.Estimate(*estimates.reshape(3, *leading, *estimates.shape[2:]), trials)
