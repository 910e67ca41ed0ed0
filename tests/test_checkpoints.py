"""Of a chain of checkpoints the last is whole; what has none is made again from an earlier one."""

import shutil

import numpy as np
import pytest

from experiments.shell import checkpoints, storage

CHAIN = {"a": 2, "b": 4, "c": 6}


@pytest.fixture
def folder(tmp_path):
    """A run whose checkpoints are all whole, as those of older versions are."""
    (tmp_path / "checkpoints").mkdir()
    for name, step in CHAIN.items():
        tree = {"state": {"seen": np.arange(step)}}
        storage.save_tree(tmp_path / "checkpoints" / name, tree)
    return tmp_path


def reached(folder, names="abc"):
    """What was restored or begun, and the chunks that were made again."""
    restore = lambda stored: f"{len(stored['state']['seen'])} "
    return checkpoints.reached(folder, names, lambda: "begun ", restore, lambda s, n: s + n)


def test_the_latest_whole_checkpoint_is_gone_on_from(folder):
    assert reached(folder) == "6 "
    assert reached(folder, "ab") == "4 "
    assert reached(folder, "") == "begun "
    checkpoints.mark(folder, "c", 6)
    assert reached(folder) == "4 c"
    file = next(p for p in (folder / "checkpoints" / "b").rglob("*") if p.is_file())
    file.write_bytes(b"damaged")
    assert reached(folder) == "2 bc"
    shutil.rmtree(folder / "checkpoints" / "a")
    assert reached(folder) == "begun abc"


def test_a_mark_is_a_checkpoint_that_is_in_order_but_not_whole(folder):
    checkpoints.mark(folder, "b", 4)
    assert storage.load_tree(folder / "checkpoints" / "b") == {"step": 4}
    assert checkpoints.whole(folder, "b") is None
    assert checkpoints.whole(folder, "absent") is None
    assert checkpoints.whole(folder, "a").keys() == {"state"}


@pytest.mark.parametrize(("pending", "left"), [("", "c"), ("c", "bc"), ("b", "abc"), ("a", "ac")])
def test_what_is_stored_and_gone_on_from_is_thinned(folder, pending, left):
    checkpoints.thin(folder, CHAIN, pending)
    assert [name for name in CHAIN if checkpoints.whole(folder, name)] == list(left)
