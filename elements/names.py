"""Looking a name up in a table, and saying what was meant when it is not there."""

import difflib
from collections.abc import Iterable


def find(name: str, allowed: Iterable[str], what: str) -> int:
    """Position of `name` in `allowed`; raises ValueError naming the near miss if it is absent."""
    allowed = tuple(allowed)
    if name in allowed:
        return allowed.index(name)
    near = difflib.get_close_matches(str(name), allowed, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown {what} {name!r}{meant} (allowed: {', '.join(allowed)})")
