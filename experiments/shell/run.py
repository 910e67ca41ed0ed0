"""A run folder: named by its study's hash, filled chunk by chunk, resumed by the same command.

<out>/<study>-<hash>/
    manifest.json            what was asked, on what it ran, how it is cut, when
    results/<chunk>.parquet  one row per network          (written last: the chunk is whole)
    curves/<chunk>.parquet   one row per recorded epoch; likewise any further table
    checkpoints/<chunk>/     the trained parameters (Orbax), their checksum in <chunk>.sha256
"""

import datetime
import fcntl
import hashlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import NamedTuple

import numpy as np

from experiments.shell import progress, storage

FORMAT = 2
USED = ("name", "settings", "layout", "size", "commit", "finished", "seconds")  # of a manifest
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pyarrow", "scipy")


class Refused(Exception):
    """Something the user must change; the message is one sentence and nothing stored is lost."""


class Task(NamedTuple):
    """A chunk by name, and the number of units (networks) in it."""

    name: str
    size: int


class Output(NamedTuple):
    """What a chunk leaves: tables by name (`results` among them) and a tree of parameters."""

    tables: Mapping[str, storage.Columns]
    tree: object


class Plan(NamedTuple):
    """What the shell needs to know of a study.

    `settings` is the resolved study as JSON values: its hash names the folder. `layout` is how
    the work would be cut here; an existing run keeps the cut it began with. `tasks(layout)` are
    the chunks, `train(layout, pending)` yields (task, output) for those named `pending`, each
    with these `tables`.
    """

    name: str
    settings: Mapping[str, object]
    layout: Sequence[int]
    tasks: Callable[[Sequence[int]], Sequence[Task]]
    train: Callable[[Sequence[int], Sequence[Task]], Iterator[tuple[Task, Output]]]
    unit: str
    tables: Sequence[str] = ("results", "curves")


def identity(name: str, settings: Mapping) -> str:
    """The name of the folder of this study: equal settings, equal folder."""
    canonical = json.dumps([FORMAT, name, settings], sort_keys=True, allow_nan=False)
    return f"{name}-{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"


def execute(plan: Plan, out: pathlib.Path) -> pathlib.Path:
    """Trains what is not yet stored under `out` and returns the run folder."""
    folder = out / identity(plan.name, plan.settings)
    require_writable(folder, f"--out={out}")
    with _alone(folder):
        manifest = _open(folder, plan)
        layout = manifest["layout"]
        tasks = plan.tasks(layout)
        pending = [task for task in tasks if not _intact(folder, task, plan.tables)]
        done = sum(task.size for task in tasks) - sum(task.size for task in pending)
        if done:
            print(f"resuming: {done} {plan.unit}s are already stored", file=sys.stderr)
        if pending or not manifest["finished"]:
            _fill(folder, plan, manifest, pending, done)
    return folder


def require_writable(folder: pathlib.Path, flag: str) -> None:
    """Makes `folder` if need be; refuses in the name of `flag` where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        storage.write_bytes(folder / ".writable", b"")
        storage.discard(folder / ".writable")
    except OSError as error:
        raise Refused(f"{flag} cannot be written to: {error.strerror}") from error


def _fill(folder, plan, manifest, pending, done):
    start = time.monotonic()
    about = {"study": folder.name, "commit": str(manifest["commit"])}
    total = done + sum(task.size for task in pending)
    try:
        with progress.bar(total, done, plan.unit) as bar:
            for task, output in plan.train(manifest["layout"], pending):
                _store(folder, task, output, about)
                bar.update(task.size)
    except OSError as error:
        if error.errno is None:
            raise
        kept = f"{bar.n} of {bar.total} {plan.unit}s are kept in {folder}"
        raise Refused(
            f"{folder} cannot be written to: {error.strerror}; {kept}, the same command resumes"
        ) from error
    manifest["finished"] = _now()
    manifest["seconds"] = round(manifest["seconds"] + time.monotonic() - start, 3)
    storage.write_json(folder / "manifest.json", manifest)


def read(folder: pathlib.Path, table: str) -> dict:
    """All stored rows of `table` (`results`, `curves`); a reader needs no lock."""
    paths = sorted((folder / table).glob("*.parquet"))
    if not paths:
        raise Refused(f"{folder} holds no {table}")
    return storage.concatenate([storage.read_table(path) for path in paths])


def manifest(folder: pathlib.Path) -> dict:
    """The manifest of a run folder; refuses what is not one, or is from a newer version."""
    path = folder / "manifest.json"
    try:
        content = json.loads(path.read_text())
        version, *_ = int(content["format"]), *(content[name] for name in USED)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{path} is not the manifest of a run: {error}") from error
    if version > FORMAT:
        raise Refused(f"{folder} is of a newer version (format {version}, known is {FORMAT})")
    return content


def facts(folder: pathlib.Path) -> dict[str, str]:
    """What a report says of how its run was made, but for the settings."""
    known = manifest(folder)
    names = ("device", "python", "commit", "started", "finished")
    versions = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    told = {name: str(known[name]) for name in names}
    return told | {"seconds": f"{known['seconds']:.1f}", "versions": versions}


def _open(folder, plan):
    path = folder / "manifest.json"
    if not path.exists():
        if any(folder.glob("results/*")):
            raise Refused(f"{folder} has results but no manifest.json: restore it or remove it")
        storage.write_json(path, _describe(plan))
    content = manifest(folder)
    if (content["name"], content["settings"]) != (plan.name, _plain(plan.settings)):
        raise Refused(f"{folder} belongs to another study ({content['name']}): remove or rename it")
    return content


def _describe(plan) -> dict:
    import jax

    devices = jax.devices()
    return {
        "format": FORMAT,
        "name": plan.name,
        "settings": _plain(plan.settings),
        "layout": list(plan.layout),
        "size": sum(task.size for task in plan.tasks(plan.layout)),
        "unit": plan.unit,
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "device": f"{len(devices)} × {devices[0].device_kind} ({devices[0].platform})",
        "commit": _commit(),
        "started": _now(),
        "finished": None,
        "seconds": 0.0,
    }


def _plain(settings):
    return json.loads(json.dumps(settings))


def _commit() -> str | None:
    root = pathlib.Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@contextmanager
def _alone(folder: pathlib.Path):
    """Holds the folder's lock; the system drops it when the process ends, however it ends."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(f"another process is writing to {folder}") from error
        yield


def _paths(folder, name, tables):
    """Where the tables of a chunk are, the results last."""
    return {
        table: folder / table / f"{name}.parquet" for table in sorted(tables, key="results".__eq__)
    }


def _store(folder, task, output, about):
    (folder / "checkpoints").mkdir(exist_ok=True)
    storage.save_tree(folder / "checkpoints" / task.name, output.tree)
    for table, path in _paths(folder, task.name, output.tables).items():
        path.parent.mkdir(exist_ok=True)
        storage.write_table(path, output.tables[table], about)


def _intact(folder, task, tables) -> bool:
    """Whether a chunk is stored whole; names what is damaged, and clears it to be made again."""
    paths = _paths(folder, task.name, tables)
    if not paths["results"].exists():
        return False
    try:
        for path in paths.values():
            storage.read_table(path)
        storage.check_tree(folder / "checkpoints" / task.name)
    except storage.Damaged as error:
        print(f"{error}; its {task.size} rows will be made again", file=sys.stderr)
        storage.discard(paths["results"])
        return False
    return True


def export_json(folder: pathlib.Path, target: pathlib.Path, key: str, labels: Sequence[str]) -> int:
    """Writes one JSON per experiment into `target`: its row and its curve; returns how many.

    `key` joins results and curves; `labels` are the columns that make up a file's name.
    """
    results, curves = read(folder, "results"), read(folder, "curves")
    target.mkdir(parents=True, exist_ok=True)
    order = curves[key].argsort(kind="stable")
    names, keys = list(curves), curves[key][order]
    for i, number in enumerate(results[key]):
        row = {name: _json_value(column[i]) for name, column in results.items()}
        low, high = keys.searchsorted(number), keys.searchsorted(number, side="right")
        row["curve"] = {
            name: [_json_value(v) for v in curves[name][order[low:high]]]
            for name in names
            if name not in row or name.endswith(("loss", "accuracy"))
        }
        stem = "_".join(str(row[label]) for label in labels)
        (target / f"{stem}.json").write_text(json.dumps(row, allow_nan=False))
    return len(results[key])


def _json_value(value):
    if isinstance(value, np.float32):
        value = float(str(value))  # 0.57 stays 0.57
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value


def default_cache() -> pathlib.Path:
    """Where compiled programs are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "organisms" / "jax"
