"""An answer is verified when every check's margin exceeds its threshold; else ALEN abstains.

The verdict is a value. Margins have no dimension: log odds (forward), nats per hidden token
(backward), a fraction (stability), whatever the sizes of the model. Thresholds come from
`guarantees`; until then they are infinite, and nothing is verified.

Shapes: `B` answers, `C` checks. Everything here runs inside `jit` and `vmap`; only `words`, `row`
and `stacked` are for readers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

CHECKS = ("forward", "backward", "stability")
UNITS = {"forward": "log odds", "backward": "nats a token", "stability": "of the perturbations"}


class Margins(NamedTuple):
    """One margin a check, `[B]` each, NaN of a check that was not made (and then never passes)."""

    forward: jax.Array
    backward: jax.Array
    stability: jax.Array


class Thresholds(NamedTuple):
    """What each margin must exceed. Infinity verifies nothing, minus infinity all but NaN."""

    forward: jax.Array | float = np.inf
    backward: jax.Array | float = np.inf
    stability: jax.Array | float = np.inf


class Verdict(NamedTuple):
    """What came of a batch of answers."""

    margins: Margins
    thresholds: Thresholds
    passed: Margins  # bool [B]: which margins exceed their thresholds
    used: Margins  # bool: which checks the verdict rests on
    verified: jax.Array  # bool [B]: every check used was passed


def judge(margins: Margins, thresholds: Thresholds, checks: Sequence[str] = CHECKS) -> Verdict:
    """The verdict by `checks`, any subset of CHECKS; of no check at all, everything is verified.

    Raises ValueError for an unknown check.
    """
    known(checks)
    passed = Margins(*(m > t for m, t in zip(margins, thresholds, strict=True)))
    used = Margins(*(name in checks for name in CHECKS))
    verified = jnp.ones(jnp.shape(margins.forward), bool)
    for name in checks:
        verified &= getattr(passed, name)
    return Verdict(margins, thresholds, passed, used, verified)


def known(checks: Sequence[str]) -> tuple[str, ...]:
    """`checks` in the order of CHECKS; raises ValueError for others."""
    for name in checks:
        if name not in CHECKS:
            raise ValueError(f"checks must be some of {', '.join(CHECKS)}, got {name!r}")
    return tuple(name for name in CHECKS if name in checks)


def thresholds(values, checks: Sequence[str] = CHECKS) -> Thresholds:
    """Thresholds `[C]` of a `Guarantee` for `checks`, in the order of CHECKS; the others' are
    minus infinity."""
    checks, values = known(checks), np.asarray(values, np.float64)
    if values.shape != (len(checks),):
        raise ValueError(f"thresholds must be {len(checks)}, one a check, got {values.shape}")
    given = dict(zip(checks, values.tolist(), strict=True))
    return Thresholds(*(given.get(name, -np.inf) for name in CHECKS))


def stacked(margins: Margins, checks: Sequence[str] = CHECKS) -> np.ndarray:
    """Margins `[B, C]` of `checks` in the order of CHECKS, as `guarantees` takes them."""
    columns = [np.asarray(getattr(margins, name), np.float64) for name in known(checks)]
    return np.stack(columns, axis=-1)


def row(verdict: Verdict, index: int) -> Verdict:
    """The verdict on one answer, its leaves Python's own numbers."""
    pick = lambda x: np.asarray(x)[index].item() if np.ndim(x) else np.asarray(x).item()
    return jax.tree.map(pick, verdict)


def words(verdict: Verdict, index: int) -> str:
    """One sentence on answer `index`: verified, or which check failed and by how much."""
    one = row(verdict, index)
    by = [name for name in CHECKS if getattr(one.used, name)]
    if one.verified:
        return f"verified ({', '.join(_margin(one, name) for name in by) or 'no check asked'})"
    failed = [_failure(one, name) for name in by if not getattr(one.passed, name)]
    return f"abstained: {'; '.join(failed)}"


def _margin(one, name):
    return f"{name} {getattr(one.margins, name):.3g} {UNITS[name]}"


def _failure(one, name):
    margin, threshold = getattr(one.margins, name), getattr(one.thresholds, name)
    if np.isnan(margin):
        return f"the {name} check gave no margin"
    if threshold == np.inf:
        return f"no threshold of the {name} check is certified (its margin is {margin:.3g})"
    return (
        f"the {name} check failed ({margin:.3g} {UNITS[name]}, more than {threshold:.3g} is needed)"
    )
