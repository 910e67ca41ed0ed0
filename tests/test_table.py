"""A table becomes dense only where every cell is there, and there once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.lab import table

SYMBOLS, TRIALS = ["rel-1x8", "tan-2x8"], range(3)


def rows():
    """Six rows: symbol × trial; the value says which."""
    symbol, trial = np.meshgrid(np.arange(2), np.arange(3), indexing="ij")
    return {
        "symbol": np.array(SYMBOLS)[symbol.ravel()],
        "trial": trial.ravel(),
        "loss": (10.0 * symbol + trial).ravel(),
    }


def without(columns, keep):
    return {name: column[keep] for name, column in columns.items()}


def test_axes_lie_in_the_order_asked_for():
    dense = table.cube(rows(), "loss", trial=[2, 0, 1], symbol=SYMBOLS)
    np.testing.assert_array_equal(dense, [[2, 12], [0, 10], [1, 11]])


@given(st.permutations(range(6)))
def test_the_order_of_rows_does_not_matter(order):
    dense = table.cube(without(rows(), np.array(order)), "loss", symbol=SYMBOLS, trial=TRIALS)
    np.testing.assert_array_equal(dense, [[0, 1, 2], [10, 11, 12]])


def test_rows_of_other_labels_are_left_out():
    dense = table.cube(rows(), "loss", symbol=["tan-2x8"], trial=[1])
    np.testing.assert_array_equal(dense, [[11]])


def test_strings_read_back_as_objects_are_found():
    columns = rows()
    columns["symbol"] = columns["symbol"].astype(object)
    dense = table.cube(columns, "loss", symbol=SYMBOLS, trial=TRIALS)
    np.testing.assert_array_equal(dense, [[0, 1, 2], [10, 11, 12]])


def test_an_unknown_value_stays_unknown():
    columns = rows()
    columns["loss"][1] = np.nan
    dense = table.cube(columns, "loss", symbol=SYMBOLS, trial=TRIALS)
    np.testing.assert_array_equal(dense, [[0, np.nan, 2], [10, 11, 12]])


@pytest.mark.parametrize(
    ("kept", "times", "where"),
    [
        ([0, 1, 2, 3, 5], 0, ["symbol tan-2x8", "trial 1"]),
        ([0, 1, 2, 2, 3, 4, 5], 2, ["symbol rel-1x8", "trial 2"]),
        ([], 0, ["symbol rel-1x8", "trial 0"]),
    ],
    ids=["a missing cell", "a double cell", "no rows"],
)
def test_a_cell_that_is_not_there_once_is_refused(kept, times, where):
    columns = without(rows(), np.array(kept, int))
    with pytest.raises(ValueError, match=f"loss is there {times} times") as refusal:
        table.cube(columns, "loss", symbol=SYMBOLS, trial=TRIALS)
    assert all(place in str(refusal.value) for place in where)


def test_a_label_that_no_row_has_is_refused():
    with pytest.raises(ValueError, match=r"0 times.* at symbol sin-1x8"):
        table.cube(rows(), "loss", symbol=[*SYMBOLS, "sin-1x8"], trial=TRIALS)


def test_ordered_keeps_rows_together_and_ties_in_place():
    columns = {"network": np.array([2, 0, 2, 1]), "epoch": np.array([1, 5, 2, 9])}
    found = table.ordered(columns, "network")
    np.testing.assert_array_equal(found["network"], [0, 1, 2, 2])
    np.testing.assert_array_equal(found["epoch"], [5, 9, 1, 2])
