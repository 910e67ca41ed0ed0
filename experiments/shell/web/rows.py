"""Rows of results: filtered, searched, sorted, a page at a time, or whole."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from experiments.shell.web import backend

MOST_ON_A_PAGE = 500
CONDITION = re.compile(r"\s*(?P<column>\w+)\s*(?P<sign><=|>=|!=|=|<|>)\s*(?P<value>.*?)\s*")
SIGNS = {
    "=": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    ">": np.greater,
    "<=": np.less_equal,
    ">=": np.greater_equal,
}
BLOCK = 2000  # rows of a download at once


def choose(
    columns: Mapping[str, np.ndarray],
    conditions: Sequence[str] = (),
    search: str = "",
    sort: str | None = None,
    descending: bool = False,
) -> np.ndarray:
    """Positions of the rows that meet all conditions (`depth>=3`, `dataset=moons`) and hold all
    words of `search` in their text, in the order asked for (NaN last)."""
    length = len(next(iter(columns.values())))
    keep = np.ones(length, bool)
    for condition in conditions:
        keep &= _met(columns, condition)
    texts = [c for c in columns.values() if c.dtype.kind == "O"]
    for word in search.lower().split():
        keep &= np.any([_contains(column, word) for column in texts] or [~keep], axis=0)
    order = np.flatnonzero(keep)
    if sort is not None:
        values = _column(columns, sort)[order]
        if values.dtype.kind == "O":
            values = np.unique(values.astype(str), return_inverse=True)[1].ravel()
        values = values.astype(np.float64)
        order = order[np.argsort(-values if descending else values, kind="stable")]
    return order


def _met(columns, condition):
    match = CONDITION.fullmatch(condition)
    if match is None:
        raise backend.Invalid(
            f"{condition[:80]!r} is no condition (for example depth>=3 or dataset=moons)"
        )
    column, sign = _column(columns, match["column"]), match["sign"]
    if column.dtype.kind == "O":
        if sign not in ("=", "!="):
            raise backend.Invalid(f"{match['column']} is text, which takes = and !=, got {sign}")
        return SIGNS[sign](column.astype(str), match["value"])
    text = {"true": "1", "false": "0"}.get(match["value"].lower(), match["value"])
    try:
        value = float(text)
    except ValueError:
        raise backend.Invalid(
            f"{match['column']} is compared with a number, got {match['value'][:40]!r}"
        ) from None
    with np.errstate(invalid="ignore"):
        if column.dtype == np.float32:
            value = np.float32(value)  # 0.57 means the 0.57 that is shown
        return SIGNS[sign](column, value)


def _column(columns, name):
    if name not in columns:
        raise backend.Invalid(f"unknown column {name[:40]!r} (allowed: {', '.join(columns)})")
    return columns[name]


def _contains(column, word):
    values, code = np.unique(column.astype(str), return_inverse=True)
    return np.char.find(np.char.lower(values), word)[code.ravel()] >= 0


def plain(value):
    """A value for JSON: None for what is not finite; a float32 as the number it was shown as."""
    if isinstance(value, np.float32):
        value = float(str(value))
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value


def records(columns: Mapping[str, np.ndarray], order: np.ndarray) -> list[dict]:
    """The rows at `order`, in that order, as JSON values."""
    names = list(columns)
    picked = [[plain(v) for v in columns[name][order]] for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*picked, strict=True)]


def as_csv(columns: Mapping[str, np.ndarray], order: np.ndarray) -> Iterator[str]:
    """The rows as CSV with a header, block by block; what is not finite is an empty cell."""
    yield _lines([list(columns)])
    for start in range(0, len(order), BLOCK):
        block = records(columns, order[start : start + BLOCK])
        yield _lines([["" if v is None else v for v in row.values()] for row in block])


def as_json(columns: Mapping[str, np.ndarray], order: np.ndarray) -> Iterator[str]:
    """The rows as a JSON list of objects, block by block."""
    yield "["
    for start in range(0, len(order), BLOCK):
        block = records(columns, order[start : start + BLOCK])
        text = json.dumps(block, allow_nan=False)[1:-1]
        yield (",\n" if start else "\n") + text
    yield "\n]\n"


def _lines(lines) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
