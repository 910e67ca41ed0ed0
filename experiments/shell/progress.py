"""Progress on standard error: done/total, rate and time left."""

import sys

import tqdm


def bar(total: int, done: int, unit: str) -> tqdm.tqdm:
    """A bar over `total` units of which `done` are there already; a line every 5 s in a log."""
    terminal = sys.stderr.isatty()
    return tqdm.tqdm(
        total=total,
        initial=done,
        unit=f" {unit}",
        file=sys.stderr,
        mininterval=0.2 if terminal else 5.0,
        dynamic_ncols=terminal,
        smoothing=0.1,
    )
