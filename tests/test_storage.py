"""Files are whole or not there, and no damage to one goes unnoticed."""

import csv
import errno
import os
import pathlib

import numpy as np
import pytest
from pyarrow import parquet

from experiments.shell import storage

COLUMNS = {
    "symbol": np.array(["rel-1x8", "tan-2x8", "sin-3x8"]),
    "network": np.arange(3),
    "epoch": np.array([0, 3, 6], np.int32),
    "loss": np.array([0.5, np.nan, np.inf], np.float32),
    "diverged": np.array([False, True, True]),
}


def tree():
    draw = np.random.default_rng(0).normal
    return {
        "network": np.arange(6),
        "params": {
            "output": {"kernel": draw(size=(6, 1, 4)), "bias": np.zeros((6, 1), np.float32)},
            "hidden_0": {"kernel": draw(size=(6, 400, 2)).astype(np.float32)},
        },
    }


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "results.parquet"
    storage.write_table(path, COLUMNS, {"study": "elements-0123", "commit": "abc"})
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints") / "chunk"
    storage.save_tree(path, tree())
    return path


def assert_columns(found, expected):
    assert list(found) == list(expected)
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name], column)
        assert found[name].dtype == (object if column.dtype.kind == "U" else column.dtype)


def assert_tree(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, branch in expected.items():
            assert_tree(found[name], branch)
    else:
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


def test_bytes_replace_what_was_there_and_leave_nothing_beside(tmp_path):
    path = tmp_path / "file"
    for data in (b"first", b"second, longer", b""):
        storage.write_bytes(path, data)
        assert path.read_bytes() == data
    assert os.listdir(tmp_path) == ["file"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    storage.write_bytes(path, b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(pathlib.Path, "replace", full)
        with pytest.raises(OSError, match="no space"):
            storage.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_data_are_synced_before_they_take_their_name(tmp_path, monkeypatch):
    happened = []
    sync, replace = os.fsync, pathlib.Path.replace
    monkeypatch.setattr(os, "fsync", lambda f: (happened.append("sync"), sync(f))[1])
    monkeypatch.setattr(
        pathlib.Path, "replace", lambda a, b: (happened.append("name"), replace(a, b))[1]
    )
    storage.write_bytes(tmp_path / "file", b"data")
    assert happened == ["sync", "name"]


def test_json_refuses_what_other_readers_cannot_read(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json(tmp_path / "file", {"noise": float("nan")})
    assert os.listdir(tmp_path) == []


def test_csv_keeps_every_digit_and_leaves_nan_empty(tmp_path):
    columns = {"symbol": np.array(["a,b", "c"]), "mean": np.array([1 / 3, np.nan])}
    storage.write_csv(tmp_path / "file", columns)
    with (tmp_path / "file").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["symbol", "mean"]
    assert rows == [["a,b", repr(1 / 3)], ["c", ""]]


def test_a_table_comes_back_as_it_was(table):
    assert_columns(storage.read_table(table), COLUMNS)


def test_a_table_says_where_it_is_from(table):
    about = parquet.read_schema(table).metadata
    assert about[b"study"] == b"elements-0123"
    assert about[b"commit"] == b"abc"


def test_a_table_without_rows_comes_back(tmp_path):
    empty = {name: column[:0] for name, column in COLUMNS.items()}
    storage.write_table(tmp_path / "file", empty, {})
    assert_columns(storage.read_table(tmp_path / "file"), empty)


def test_no_flipped_byte_of_a_table_goes_unnoticed(table, tmp_path):
    """Every byte in turn: either it is noticed, or the table that is read is the one written."""
    whole, path, noticed, complaints = table.read_bytes(), tmp_path / "file", 0, set()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = storage.read_table(path)
        except storage.Damaged as error:
            complaints.add(str(error))
            noticed += 1
        else:
            assert_columns(found, COLUMNS)
    assert noticed > len(whole) / 2
    assert all(text.startswith(f"{path} is damaged: ") for text in complaints)
    assert not any("\n" in text for text in complaints)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_truncated_table_is_noticed(table, tmp_path, share):
    path, whole = tmp_path / "file", table.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(storage.Damaged, match="is damaged"):
        storage.read_table(path)


def test_an_absent_table_is_damage(tmp_path):
    with pytest.raises(storage.Damaged, match=r"gone\.parquet is damaged: .*No such file"):
        storage.read_table(tmp_path / "gone.parquet")


def test_a_table_of_another_writer_is_damage(tmp_path, table):
    parquet.write_table(parquet.read_table(table).replace_schema_metadata(), tmp_path / "file")
    with pytest.raises(storage.Damaged):
        storage.read_table(tmp_path / "file")


def test_concatenate_stacks_rows_in_order():
    found = storage.concatenate([COLUMNS, {name: c[:1] for name, c in COLUMNS.items()}])
    np.testing.assert_array_equal(found["network"], [0, 1, 2, 0])
    np.testing.assert_array_equal(found["symbol"], ["rel-1x8", "tan-2x8", "sin-3x8", "rel-1x8"])


def test_a_tree_comes_back_as_it_was(checkpoint):
    assert_tree(storage.load_tree(checkpoint), tree())


def test_a_tree_is_saved_over_what_a_kill_has_left(tmp_path):
    for left in (tmp_path / "chunk", tmp_path / "chunk.orbax-checkpoint-tmp"):
        left.mkdir()
        (left / "half").write_text("written")
    storage.save_tree(tmp_path / "chunk", tree())
    assert_tree(storage.load_tree(tmp_path / "chunk"), tree())
    assert not list(tmp_path.rglob("half"))


def test_another_tree_has_another_checksum(tmp_path, checkpoint):
    changed = tree()
    changed["params"]["output"]["bias"][3] = 1e-6
    storage.save_tree(tmp_path / "chunk", changed)
    first, second = ((p.parent / "chunk.sha256").read_text() for p in (checkpoint, tmp_path / "c"))
    assert first != second


@pytest.mark.parametrize("kind", ["flipped", "truncated", "absent", "added"])
def test_damage_to_any_file_of_a_checkpoint_is_noticed(checkpoint, kind, capfd):
    files = [p for p in checkpoint.rglob("*") if p.is_file() and p.stat().st_size]
    files.append(checkpoint.with_name("chunk.sha256"))
    assert len(files) > 5
    for path in files:
        whole, added = path.read_bytes(), path.with_name("added")
        try:
            if kind == "flipped":
                middle = len(whole) // 2
                path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :])
            elif kind == "truncated":
                path.write_bytes(whole[:-1])
            elif kind == "absent":
                path.unlink()
            elif checkpoint in path.parents:
                added.write_bytes(b"")
            else:
                continue
            for look in (storage.check_tree, storage.load_tree):
                with pytest.raises(storage.Damaged, match=r"chunk is damaged: ") as error:
                    look(checkpoint)
                assert "\n" not in str(error.value)
        finally:
            path.write_bytes(whole)
            added.unlink(missing_ok=True)
    storage.check_tree(checkpoint)
    assert capfd.readouterr() == ("", "")  # Orbax would print tracebacks from its threads


def test_what_the_system_answers_to_a_save_is_told_apart(tmp_path, monkeypatch):
    """TensorStore wraps a full disk in a ValueError; ours is the OSError it was."""

    def refuse(message):
        def save(*_, **__):
            raise ValueError(message)

        monkeypatch.setattr(storage, "_orbax", lambda: (save, None))

    refuse("RESOURCE_EXHAUSTED: Failed to write 9 bytes: no space [os_error_code='28']")
    with pytest.raises(OSError, match="chunk") as error:
        storage.save_tree(tmp_path / "chunk", tree())
    assert error.value.errno == errno.ENOSPC
    refuse("a leaf of a kind that cannot be saved")
    with pytest.raises(ValueError, match="a leaf"):
        storage.save_tree(tmp_path / "chunk", tree())


def test_discard_takes_files_and_folders_and_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("")
    (tmp_path / "file").write_text("")
    for name in ("folder", "file", "nothing"):
        storage.discard(tmp_path / name)
    assert os.listdir(tmp_path) == []
