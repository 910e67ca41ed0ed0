"""What the routes share: runs, their tables and designs, jobs, and answers kept as bytes."""

import contextlib
import json
import logging
import pathlib
import queue
from collections.abc import Callable

from starlette.responses import Response

from experiments.shell import storage
from experiments.shell.web import backend, design, frames, jobs, runs

MOST_AVERAGED = 50  # trials in a mean picture


class Service:
    """One server's state; everything in it is safe to use from several threads."""

    def __init__(self, science: backend.Backend, out: pathlib.Path, root: pathlib.Path):
        self.science = science
        self.tables = frames.Frames()
        self.catalogue = runs.Catalogue(out, self.tables)
        self.jobs = jobs.Queue(root, self.catalogue)
        self._answers = frames.Kept()
        self._designs = frames.Kept(8)
        self._looked_at: queue.SimpleQueue = queue.SimpleQueue()
        self._ready: set[tuple] = set()

    def results(self, name: str) -> tuple[pathlib.Path, frames.Frame, design.Design]:
        """A run's folder, its results as stored now, and what their columns mean."""
        folder, frame = self.frame(name)
        key = (name, self.tables.stamp(folder))
        return folder, frame, self._designs.get(key, lambda: self._design(frame))

    def frame(self, name: str) -> tuple[pathlib.Path, frames.Frame]:
        """A run's folder, and its results as stored now."""
        folder = self.catalogue.folder(name)
        return folder, self.tables.results(folder)

    def _design(self, frame: frames.Frame) -> design.Design:
        return design.read(frame, self.science.element, self.science.metrics)

    def look_at(self, name: str) -> None:
        """Has pictures of a run got ready, beside the requests; at once if they are already."""
        self._looked_at.put(name)

    def get_ready(self) -> None:
        """Works off what is looked at, in a thread of its own; first what a page needs first."""
        try:
            for name in self.catalogue.names()[:2]:
                self.look_at(name)
                with contextlib.suppress(backend.Absent, storage.Damaged):
                    self.results(name)
            self.science.warm()
        except Exception:  # the request that needs it fails, and says so
            logging.exception("the page's science cannot be got ready")
        while True:
            name = self._looked_at.get()
            try:
                folder, frame, own = self.results(name)
                key = (name, self.catalogue.manifest(name)["started"], len(own.arms))
                if key in self._ready:
                    continue
                self._ready.add(key)
                rows = [own.rows([arm], own.datasets[0]) for arm in range(len(own.arms))]
                networks = [frame.columns["network"][r][:MOST_AVERAGED].tolist() for r in rows]
                self.science.get_ready(folder, [n for n in networks if n])
            except Exception:  # whoever asks for such a picture is told
                logging.info("no pictures of %s are got ready", name, exc_info=True)

    def answer(self, name: str, what: tuple, make: Callable[[], object]) -> Response:
        """`make()` as JSON; made once for each state of the run's results."""
        stamp = self.tables.stamp(self.catalogue.folder(name))
        return Response(
            self._answers.get((name, stamp, what), lambda: encode(make())),
            media_type="application/json",
        )

    def metric(self, own: design.Design, given: str | None) -> str:
        """A metric of these results; by default the first that the science ranks."""
        if given is None:
            return next((m for m in self.science.metrics if m in own.metrics), own.metrics[0])
        return one_of("metric", given, own.metrics)

    def arm(self, own: design.Design, given: str) -> int:
        """The arm of this label, or the first of the element of this symbol."""
        if given in own.arms:
            return own.arms.index(given)
        arms = own.arms_of(given) if given in own.elements else []
        if not arms:
            raise backend.Absent(f"{given[:60]!r} is no element of this run")
        return arms[0]


def dataset(own: design.Design, given: str, all_too: str | None = None) -> str | None:
    """A dataset of these results by name; `all_too` stands for all of them."""
    allowed = [*own.datasets, *([all_too] if all_too else [])]
    return one_of("dataset", given, allowed)


def one_of(what: str, given: str, allowed) -> str:
    if given not in allowed:
        raise backend.Invalid(f"unknown {what} {given[:60]!r} (allowed: {', '.join(allowed)})")
    return given


def encode(content) -> bytes:
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def reply(content, code: int = 200) -> Response:
    return Response(encode(content), code, media_type="application/json")
