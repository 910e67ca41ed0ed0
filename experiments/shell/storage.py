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
import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence

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


def read_json(path: pathlib.Path):
    """The content of a JSON file. Raises Damaged if it is absent or is none."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Damaged(f"{path} is damaged: {_first_line(error)}") from error


def write_csv(path: pathlib.Path, columns: Columns) -> None:
    """Writes the columns as CSV with a header; NaN is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True):
        writer.writerow("" if value != value else value for value in row)
    write_bytes(path, text.getvalue().encode())


def write_table(path: pathlib.Path, columns: Columns, about: Mapping[str, str]) -> None:
    """Writes the columns as a Parquet file; `about` and their SHA-256 go into its metadata."""
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({name: pyarrow.array(column) for name, column in columns.items()})
    buffer = io.BytesIO()
    parquet.write_table(
        table.replace_schema_metadata({**about, "sha256": _sum_of_columns(columns)}),
        buffer,
        compression="zstd",
        write_page_checksum=True,
    )
    write_bytes(path, buffer.getvalue())


def read_table(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The columns of a Parquet file. Raises Damaged if it is absent or not as it was written."""
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path, page_checksum_verification=True).read()
        columns = {
            name: column.to_numpy(zero_copy_only=False)
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
        expected = table.schema.metadata[b"sha256"].decode()
    except Exception as error:  # PyArrow raises whatever the bytes mislead it to
        raise Damaged(f"{path} is damaged: {_first_line(error)}") from error
    if _sum_of_columns(columns) != expected:  # page checksums do not cover names and types
        raise Damaged(f"{path} is damaged: its content is not what was saved")
    return columns


def concatenate(tables: Sequence[Columns]) -> dict[str, np.ndarray]:
    """The rows of all tables one below the other; all have the same columns."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def _orbax():
    """Orbax's v1 interface; its functions lost the suffix `_pytree` in 0.12.8."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from orbax.checkpoint import v1
    new = hasattr(v1, "save")
    return (v1.save, v1.load) if new else (v1.save_pytree, v1.load_pytree)


def save_tree(path: pathlib.Path, tree) -> None:
    """Saves a pytree of NumPy arrays as an Orbax checkpoint, the SHA-256 of its files beside it."""
    save, _ = _orbax()
    discard(path)  # what a kill may have left
    try:
        save(path.absolute(), tree)
    except ValueError as error:  # TensorStore's form of what the system answered
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error
    write_bytes(_sum_path(path), _sum_of_files(path).encode())


def check_tree(path: pathlib.Path) -> None:
    """Raises Damaged unless every file of the checkpoint at `path` is as it was saved."""
    try:
        expected, found = _sum_path(path).read_bytes(), _sum_of_files(path).encode()
    except OSError as error:
        raise Damaged(f"{path} is damaged: {_first_line(error)}") from error
    if found != expected:
        raise Damaged(f"{path} is damaged: its content is not what was saved")


def load_tree(path: pathlib.Path):
    """The pytree saved at `path` as NumPy arrays. Raises Damaged unless every bit is as saved."""
    check_tree(path)  # first: from bad bytes Orbax's threads print pages of tracebacks
    _, load = _orbax()
    return load(path.absolute())


def _sum_path(path):
    return path.with_name(f"{path.name}.sha256")


def _sum_of_files(folder) -> str:
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        total.update(f"{path.relative_to(folder).as_posix()} {len(data)} ".encode() + data)
    return total.hexdigest()


def _sum_of_columns(columns) -> str:
    total = hashlib.sha256()
    for name, column in columns.items():
        array = np.ascontiguousarray(column)
        if array.dtype.kind in "OU":  # Parquet gives strings back as objects
            array = np.array(array.tolist())
        total.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
    return total.hexdigest()


def discard(path: pathlib.Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
