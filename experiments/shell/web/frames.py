"""Columns of run folders, kept in memory and read again only where a file has changed."""

import pathlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

from experiments.shell import storage
from experiments.shell.web import backend

MOST_KEPT = 256  # answers; the largest are a few hundred kilobytes
MOST_SHARDS = 20_000  # of results: about 100 bytes a network and column


class Kept:
    """The last answers, by key; computed once even where two requests ask at the same time."""

    def __init__(self, most: int = MOST_KEPT):
        self._most, self._lock = most, threading.Lock()
        self._values: OrderedDict[Hashable, object] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, make: Callable):
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    return self._values[key]
            try:
                value = make()
                with self._lock:
                    self._values[key] = value
                    while len(self._values) > self._most:
                        self._values.popitem(last=False)
                return value
            finally:
                with self._lock:
                    self._making.pop(key, None)


class Frame:
    """The rows of one state of a table: columns by name, and each row's shard by its stem."""

    def __init__(self, columns: dict[str, np.ndarray], shards: Sequence[str], shard: np.ndarray):
        self.columns, self.shards, self.shard = columns, shards, shard

    def __len__(self) -> int:
        return len(self.shard)


class Frames:
    """Reads results whole, and of other tables the rows asked for; safe beside a writer."""

    def __init__(self):
        self._shards, self._frames, self._counts = Kept(MOST_SHARDS), Kept(8), Kept(MOST_SHARDS)
        self._kinds = Kept(MOST_SHARDS)

    def stamp(self, folder: pathlib.Path, table: str = "results") -> tuple:
        """What changes when a table does: names, times and sizes of its files."""
        found = []
        for path in sorted((folder / table).glob("*.parquet")):
            try:
                about = path.stat()
            except FileNotFoundError:
                continue  # cleared by a run that makes it again
            found.append((path.stem, about.st_mtime_ns, about.st_size))
        return tuple(found)

    def count(self, folder: pathlib.Path, table: str = "results") -> int:
        """Rows stored, from the footers of the files alone."""
        total = 0
        for name, *when in self.stamp(folder, table):
            path = folder / table / f"{name}.parquet"
            total += self._counts.get((str(path), *when), lambda path=path: _rows(path))
        return total

    def of_networks(self, folder: pathlib.Path) -> bool:
        """Whether a row of the results is a network; so it is taken to be while there are none."""
        for name, *when in self.stamp(folder):
            path = folder / "results" / f"{name}.parquet"
            return self._kinds.get((str(path), *when), lambda path=path: _of_networks(path))
        return True

    def results(self, folder: pathlib.Path) -> Frame:
        """All stored results, in the order of the networks."""
        stamp = self.stamp(folder)
        if not stamp:
            raise backend.Absent(
                f"{folder.name} holds no results yet: the first appear when its first chunk is done"
            )
        return self._frames.get((str(folder), stamp), lambda: self._read(folder, stamp))

    def _read(self, folder, stamp):
        tables = []
        for name, *when in stamp:
            path = folder / "results" / f"{name}.parquet"
            read = lambda path=path: storage.read_table(path)
            tables.append(self._shards.get((str(path), *when), read))
        names = [name for name in tables[0] if all(name in table for table in tables)]
        columns = {name: np.concatenate([table[name] for table in tables]) for name in names}
        sizes = [len(next(iter(table.values()))) for table in tables]
        shard = np.repeat(np.arange(len(tables)), sizes)
        if "network" in columns:
            order = np.argsort(columns["network"], kind="stable")
            columns = {name: column[order] for name, column in columns.items()}
            shard = shard[order]
        return Frame(columns, [name for name, *_ in stamp], shard)

    def rows(
        self, folder: pathlib.Path, table: str, frame: Frame, rows: np.ndarray, leave: Iterable[str]
    ) -> dict[str, np.ndarray] | None:
        """The rows of `table` that belong to those rows of the results, without columns `leave`.

        Only the shards that hold them are opened, and in them only the row groups; a whole table
        may be a hundred times as large. None if the run has no such table.
        """
        from pyarrow import parquet

        if not (folder / table).is_dir():
            return None
        parts = []
        for number in np.unique(frame.shard[rows]):
            path = folder / table / f"{frame.shards[number]}.parquet"
            networks = frame.columns["network"][rows[frame.shard[rows] == number]]
            try:
                names = [n for n in parquet.read_schema(path).names if n not in leave]
                part = parquet.read_table(
                    path,
                    columns=names,
                    filters=[("network", "in", networks.tolist())],
                    page_checksum_verification=True,
                    partitioning=None,
                )
            except Exception as error:  # PyArrow raises whatever the bytes mislead it to
                raise storage.Damaged(f"{table}/{path.name} of {folder.name} is damaged") from error
            parts.append({n: part[n].to_numpy() for n in names})
        names = [name for name in parts[0] if all(name in part for part in parts)]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _rows(path) -> int:
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path).metadata.num_rows
    except Exception:  # damaged: the run that resumes makes it again
        return 0


def _of_networks(path) -> bool:
    from pyarrow import parquet

    try:
        return "network" in parquet.read_schema(path).names
    except Exception:  # damaged: the run that resumes makes it again
        return True
