"""Files that are whole or not there: tables, trees of arrays, and noticing when one is damaged.

Everything is written under a temporary name, synced and renamed, so a reader never sees half a
file and a kill leaves at most a stray temporary one.
"""

import csv
import hashlib
import io
import json
import os
import pathlib
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence

import jax
import numpy as np

Columns = Mapping[str, np.ndarray]


class Damaged(Exception):
    """A file that is not what was written: the message names it."""


def write_bytes(path: pathlib.Path, data: bytes) -> None:
    """Writes `data` to `path` atomically and durably."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        pathlib.Path(temporary).chmod(0o644)
        pathlib.Path(temporary).replace(path)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: pathlib.Path, content) -> None:
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def write_csv(path: pathlib.Path, columns: Columns) -> None:
    """Writes the columns as CSV with a header; NaN is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True):
        writer.writerow("" if value != value else value for value in row)
    write_bytes(path, text.getvalue().encode())


def write_table(path: pathlib.Path, columns: Columns, about: Mapping[str, str]) -> None:
    """Writes the columns as a Parquet file with page checksums; `about` goes into its metadata."""
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({name: pyarrow.array(column) for name, column in columns.items()})
    buffer = io.BytesIO()
    parquet.write_table(
        table.replace_schema_metadata(dict(about)),
        buffer,
        compression="zstd",
        write_page_checksum=True,
    )
    write_bytes(path, buffer.getvalue())


def read_table(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The columns of a Parquet file. Raises Damaged if it is absent or not as it was written."""
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path, page_checksum_verification=True).read()
    except (OSError, pyarrow.ArrowException) as error:
        raise Damaged(f"{path} is damaged: {_first_line(error)}") from error
    return {
        name: column.to_numpy(zero_copy_only=False)
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def concatenate(tables: Sequence[Columns]) -> dict[str, np.ndarray]:
    """The rows of all tables one below the other; all have the same columns."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def _orbax():
    """Orbax's v1 interface; its functions lost the suffix `_pytree` in 0.12.8."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from orbax.checkpoint import v1
    new = hasattr(v1, "save")
    return (
        v1.save if new else v1.save_pytree,
        v1.load if new else v1.load_pytree,
        v1.metadata if new else v1.pytree_metadata,
    )


def save_tree(path: pathlib.Path, tree) -> None:
    """Saves a pytree of NumPy arrays as an Orbax checkpoint with the SHA-256 of its content."""
    save, _, _ = _orbax()
    discard(path)  # what a kill may have left
    save(path.absolute(), tree, custom_metadata={"sha256": digest(tree)})


def load_tree(path: pathlib.Path):
    """The pytree saved at `path` as NumPy arrays. Raises Damaged unless every bit is as saved."""
    _, load, metadata = _orbax()
    try:
        tree = load(path.absolute())
        expected = (metadata(path.absolute()).custom_metadata or {}).get("sha256")
    except Exception as error:  # Orbax and TensorStore raise whatever their layers raise
        raise Damaged(f"{path} is damaged: {_first_line(error)}") from error
    if digest(tree) != expected:
        raise Damaged(
            f"{path} is damaged: its content does not have the checksum it was saved with"
        )
    return tree


def digest(tree) -> str:
    """SHA-256 over the paths, types, shapes and bytes of a pytree's leaves."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array = np.ascontiguousarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def discard(path: pathlib.Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
