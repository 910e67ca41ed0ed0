"""Kills a study again and again, damages what it stored, and compares what it ends with.

python -m tests.soak --kills=50

Every kill is kill -9 or Ctrl-C at a random moment; between kills files of the run are flipped,
truncated or removed. Whatever happened, the study must end with the tables of an undisturbed run.
"""

import argparse
import os
import pathlib
import random
import signal
import sys
import tempfile
import time

import numpy as np
from pyarrow import parquet

from experiments.lab import table
from experiments.shell import run, storage
from tests import commands

STUDY = "elements_phase3"
# Eight chunks of 256 networks that train in no time: most of a run is writing. At this learning
# rate many diverge, which must come out the same as well.
FLAGS = ["--activations=relu", "--depths=1,2", "--datasets=xor,moons,rings,linear"]
FLAGS += ["--trials=256", "--epochs=40", "--record_every=40", "--samples=16", "--tests=16"]
FLAGS += ["--learning_rate=1e6"]
CHUNKS = 8
WAYS = ("flip", "truncate", "remove")


def start(home: pathlib.Path, *flags: str, out="runs", **options):
    """Starts the study; run folders are made in `home/out`, compiled programs kept in `home`."""
    places = [f"--out={home / out}", f"--cache={home / 'cache'}"]
    return commands.start(STUDY, *FLAGS, *places, *flags, **options)


def stored(out: pathlib.Path) -> list[pathlib.Path]:
    """The results of chunks that are stored whole in the one run folder within `out`."""
    return sorted(out.glob("*/results/*.parquet"))


def await_chunk(process, out: pathlib.Path, before: int = 0) -> None:
    """Waits until more than `before` chunks are stored in `out`, or the process has ended."""
    while len(stored(out)) <= before and process.poll() is None:
        time.sleep(0.002)


def numbers(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """All that a run has measured, in the order of networks; and its summary."""
    found = {"summary": np.array((folder / "summary.csv").read_text())}
    for name in ("results", "curves"):
        rows = table.ordered(run.read(folder, name), "network")
        found |= {f"{name}.{column}": values for column, values in rows.items()}
    for path in stored(folder.parent):
        tree = storage.load_tree(folder / "checkpoints" / path.stem)
        found |= {f"{path.stem}.{name}": leaf for name, leaf in _leaves(tree)}
    return found


def _leaves(tree, prefix=""):
    for name, branch in tree.items():
        if isinstance(branch, dict):
            yield from _leaves(branch, f"{prefix}{name}.")
        else:
            yield prefix + name, np.asarray(branch)


def differences(found: dict, expected: dict) -> list[str]:
    """The names of what is not the same to the last bit."""
    names = {*found, *expected}
    same = lambda a, b: a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return sorted(
        name
        for name in names
        if name not in found or name not in expected or not same(found[name], expected[name])
    )


def watch(folder: pathlib.Path, reference: pathlib.Path, signs: pathlib.Path) -> list[int]:
    """Reads a run until the file `ended` is in `signs`; the numbers of rows that were seen.

    Leaves a file named by its process in `signs` when it has begun. Raises if a file was not
    whole, or a row not that of the run in `reference`.
    """
    expected = table.ordered(run.read(reference, "results"), "network")
    seen, last = [], False
    while not last:
        last = (signs / "ended").exists()
        rows = run.read(folder, "results")
        for name, column in rows.items():
            np.testing.assert_array_equal(column, expected[name][rows["network"]])
        if not set(rows["network"]) <= set(run.read(folder, "curves")["network"]):
            raise AssertionError("there are results without their curves")
        seen.append(len(rows["network"]))
        (signs / str(os.getpid())).touch()
        time.sleep(0.01)
    return seen


def damage(results: pathlib.Path, what: str, way: str, chance: random.Random) -> str:
    """Damages a file of the chunk whose results are at `results`; returns how it will be called.

    `what` is results, curves, checkpoint (one of its files) or checksum.
    """
    folder, stem = results.parents[1], results.stem
    checkpoint = folder / "checkpoints" / stem
    if what == "checkpoint":
        files = sorted(p for p in checkpoint.rglob("*") if p.is_file() and p.stat().st_size)
        path = chance.choice(files)
    elif what == "checksum":
        path = checkpoint.with_name(f"{stem}.sha256")
    else:
        path = folder / what / f"{stem}.parquet"
    data = bytearray(path.read_bytes())
    if way == "remove":
        path.unlink()
    elif way == "truncate":
        path.write_bytes(data[: chance.randrange(len(data))])
    else:
        data[_place(path, data, chance)] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
    return str(checkpoint if what in ("checkpoint", "checksum") else path)


def _place(path, data, chance) -> int:
    if path.suffix != ".parquet":
        return chance.randrange(len(data))
    group = parquet.read_metadata(path).row_group(0)  # inside a page: the rest may not matter
    page = group.column(chance.randrange(group.num_columns))
    first = page.dictionary_page_offset or page.data_page_offset
    return first + page.total_compressed_size - 1 - chance.randrange(4)


class Soak:
    """One run folder through all its misfortunes."""

    def __init__(self, home: pathlib.Path, seed: int):
        self.home, self.chance = home, random.Random(seed)
        self.damaged: set[str] = set()  # chunks that are damaged and have not been named yet
        self._ended(start(home, out="cold"), {0})  # compiles
        began = time.monotonic()
        self._ended(start(home, out="undisturbed"), {0})
        self.seconds = time.monotonic() - began
        (folder,) = (home / "undisturbed").iterdir()
        self.expected = numbers(folder)
        self._say(f"undisturbed it takes {self.seconds:.1f} s")

    def kill(self, number: int) -> bool:
        """Runs until a random moment and damages something then, as often as not.

        Whether it was killed: it may have ended before.
        """
        chance, out = self.chance, self.home / "runs"
        kind = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT])
        before, process = len(stored(out)), start(self.home)
        if kind == signal.SIGINT or chance.random() < 0.7:  # where files are being written
            await_chunk(process, out, before)
            time.sleep(chance.uniform(0, 0.15 * self.seconds))
        else:
            time.sleep(chance.uniform(0, self.seconds))
        process.send_signal(kind)
        code = self._ended(process, {0, -9} if kind == signal.SIGKILL else {0, 130})
        told = f"{len(stored(out))} of {CHUNKS} chunks"
        self._say(f"{number}: {'ended' if code == 0 else kind.name}, {told}{self._mishap()}")
        if code == 0:
            self.compare()
        return code != 0

    def compare(self) -> None:
        """Ends the run; checks that all damage was named, and the numbers; begins anew."""
        self._ended(start(self.home), {0})
        (folder,) = (self.home / "runs").iterdir()
        wrong = differences(numbers(folder), self.expected)
        left = sorted({p.name for p in (folder / "checkpoints").iterdir()} - self._names(folder))
        if wrong or left or self.damaged:
            sys.exit(f"FAILED in {folder}: differ {wrong}, not named {self.damaged}, left {left}")
        self._say("   the same tables and parameters as undisturbed")
        if self.chance.random() < 0.5:
            storage.discard(folder)
        else:
            for path in stored(self.home / "runs")[:: self.chance.randrange(1, 4)]:
                path.unlink()

    def _mishap(self) -> str:
        """Damages a stored chunk or the manifest, sometimes."""
        chance, chunks = self.chance, stored(self.home / "runs")
        chunks = [path for path in chunks if path.stem not in self.damaged]
        if not chunks or chance.random() < 0.4:
            return ""
        if chance.random() < 0.2:
            return self._refusal(chunks[0].parents[1] / "manifest.json")
        results = chance.choice(chunks)
        what = chance.choice(["results", "curves", "checkpoint", "checksum"])
        way = chance.choice(WAYS[:2] if what == "results" else WAYS)
        damage(results, what, way, chance)
        self.damaged.add(results.stem)
        return f"; then {way} {what} of {results.stem}"

    def _refusal(self, manifest) -> str:
        whole = manifest.read_bytes()
        manifest.write_bytes(whole[: self.chance.randrange(len(whole) - 2)])
        process = start(self.home)
        _, err = process.communicate(timeout=300)
        manifest.write_bytes(whole)
        if process.returncode != 2 or len(err.splitlines()) != 1 or str(manifest) not in err:
            sys.exit(f"FAILED: a truncated manifest gave {process.returncode} and said: {err}")
        return "; then a truncated manifest, refused and restored"

    def _ended(self, process, allowed) -> int:
        _, err = process.communicate(timeout=300)
        if process.returncode not in allowed or "Traceback" in err:
            sys.exit(f"FAILED: exit code {process.returncode}, and said: {err}")
        self.damaged -= {stem for stem in self.damaged if f"{stem}" in err}
        return process.returncode

    def _names(self, folder) -> set[str]:
        stems = {path.stem for path in (folder / "results").glob("*.parquet")}
        return stems | {f"{stem}.sha256" for stem in stems}

    def _say(self, line: str) -> None:
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="how often to kill the study")
    parser.add_argument("--seed", type=int, default=0, help="seed of moments and damage")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        soak = Soak(pathlib.Path(home), given.seed)
        kills = 0
        while kills < given.kills:
            kills += soak.kill(kills + 1)
        soak.compare()
    print(f"{given.kills} kills survived")


if __name__ == "__main__":
    main()
