"""The four disjoint splits: which inputs are in which, by a stable hash of their canonical form."""

import hashlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np

NAMES = ("train", "tuning", "calibration", "test")


def share_of(text: str) -> float:
    """A stable hash of `text`, uniform on [0, 1)."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big") / 2**48


def place(form: str, shares: Sequence[float]) -> str:
    """The split of an input out of infinitely many: each has its share but for sampling error."""
    u, bound = share_of(form), 0
    for name, share in zip(NAMES, shares, strict=True):
        bound += share
        if u < bound:
            return name
    return NAMES[-1]


def rank(
    inputs: Mapping[str, int], shares: Sequence[float], pins: Collection[str]
) -> dict[str, str]:
    """Canonical form → split, of all `inputs` (canonical form → number of inputs with it).

    Ranked by hash, those of `pins` first: train has exactly ⌊share·inputs⌋ of them, and so on,
    up to one form."""
    order = sorted(inputs, key=lambda form: (form not in pins, share_of(form), form))
    bounds = np.floor(np.cumsum(shares) * sum(inputs.values()) + 1e-6)
    bounds[-1] = np.inf
    starts = np.cumsum([0, *(inputs[form] for form in order)])[:-1]
    return {
        form: NAMES[i]
        for form, i in zip(order, np.searchsorted(bounds, starts, side="right"), strict=True)
    }
