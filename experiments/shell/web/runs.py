"""The run folders under one folder: which there are, how far they are, and who writes to them."""

import datetime
import json
import os
import pathlib
import re
import time
from collections.abc import Mapping

from experiments.shell import run
from experiments.shell.web import backend, frames

FIGURE = re.compile(r"[A-Za-z0-9_-]+\.png")


class Catalogue:
    """Run folders are looked up by exact name in a listing: no path is ever made of a request."""

    def __init__(self, out: pathlib.Path, tables: frames.Frames):
        self.out, self.tables = out, tables

    def names(self) -> list[str]:
        """Names of all run folders, the latest change first; a plan has a report and no more."""
        try:
            entries = [e for e in os.scandir(self.out) if e.is_dir(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = []
        for entry in entries:
            for file in ("manifest.json", "report.html"):
                try:
                    changed = os.stat(pathlib.Path(entry.path, file)).st_mtime_ns
                except OSError:
                    continue
                found.append((-changed, entry.name))
                break
        return [name for _, name in sorted(found)]

    def folder(self, name: str) -> pathlib.Path:
        """The run folder called `name`; raises Absent."""
        for known in self.names():
            if known == name:
                return self.out / known
        raise backend.Absent(f"there is no run {name!r} among those stored")

    def file(self, name: str, wanted: str) -> pathlib.Path:
        """The report, the summary or a figure of a run; raises Absent."""
        folder = self.folder(name)
        for path in folder.iterdir():
            known = path.name in ("report.html", "summary.csv") or FIGURE.fullmatch(path.name)
            if known and path.name == wanted and path.is_file():
                return path
        raise backend.Absent(f"{name} has no {wanted!r}")

    def states(self) -> list[dict]:
        """All runs in short; a folder that cannot be read is told with what is wrong with it."""
        held, found = locks(), []
        for name in self.names():
            try:
                found.append(self.state(name, held))
            except run.Refused as error:
                found.append({"run": name, "status": "unreadable", "error": str(error)})
        return found

    def state(self, name: str, held: Mapping | None = None) -> dict:
        """How far a run is: `status` is finished, running or interrupted."""
        folder = self.out / name
        manifest = self.manifest(name)
        held = locks() if held is None else held
        writer = writer_of(folder, held)
        stored, size = self.tables.count(folder), size_of(manifest)
        networks = manifest.get("unit", "network") == "network" and self.tables.of_networks(folder)
        finished = manifest["finished"] is not None
        writing = writer is not None or (not finished and held is None and _lately(folder))
        status = "running" if writing else "finished" if finished else "interrupted"
        settings = manifest["settings"]
        return {
            "run": name,
            "study": manifest["name"],
            "status": status,
            "writer": writer,
            "stored": stored,
            "size": size if networks else None,  # told in a unit that rows are not
            "unit": "networks" if networks else "rows",
            "started": manifest.get("started"),
            "finished": manifest["finished"],
            "seconds": manifest["seconds"],
            "elapsed": _since(manifest.get("started")) if status == "running" else None,
            "trials": settings.get("trials"),
            "epochs": settings.get("epochs"),
            "protocol": settings.get("protocol"),
            "datasets": settings.get("datasets"),
        }

    def manifest(self, name: str) -> dict:
        """The manifest of a run; of a folder of a report alone, what can be said without one."""
        folder = self.out / name
        if (folder / "manifest.json").exists():
            return run.manifest(folder)
        study, _, _ = name.rpartition("-")
        written = (folder / "report.html").stat().st_mtime
        moment = datetime.datetime.fromtimestamp(written, datetime.UTC)
        ended = moment.isoformat(timespec="seconds")
        about = {"name": study, "settings": {}, "size": 0, "seconds": None, "started": ended}
        return about | {"finished": ended}

    def settings(self, name: str) -> dict:
        """The settings of a run; empty where its folder cannot be read."""
        try:
            return self.manifest(name)["settings"]
        except run.Refused:
            return {}

    def details(self, name: str) -> dict:
        """A run with its settings, findings and figures."""
        folder = self.folder(name)
        manifest = self.manifest(name)
        told = findings(folder)
        stems = [figure["stem"] for figure in told["figures"]]
        others = sorted(p.stem for p in folder.glob("*.png") if FIGURE.fullmatch(p.name))
        figures = [f for f in told["figures"] if f["stem"] in others]
        figures += [{"stem": stem, "caption": ""} for stem in others if stem not in stems]
        about = ("settings", "versions", "python", "device", "commit")
        return {
            **self.state(name),
            **{key: manifest.get(key) for key in about},
            **told,
            "figures": figures,
            "report": (folder / "report.html").is_file(),
            "summary": (folder / "summary.csv").is_file(),
            "command": f"python -m experiments.{manifest['name']}",
        }


def size_of(manifest: Mapping) -> int | None:
    """Networks of a run in all: what its manifest says, or the product of its axes."""
    if isinstance(manifest.get("size"), int):
        return manifest["size"]
    settings = manifest["settings"]
    try:
        return len(settings["arms"]) * len(settings["datasets"]) * int(settings["trials"])
    except (KeyError, TypeError):
        return None


def findings(folder: pathlib.Path) -> dict:
    """What stands in findings.json, if it is there and is what it should be."""
    empty = {"title": None, "question": None, "findings": [], "figures": []}
    try:
        content = json.loads((folder / "findings.json").read_text("utf-8"))
        return {
            "title": str(content["title"]),
            "question": str(content["question"]),
            "findings": [
                {"headline": str(h), "sentence": str(s)} for h, s in content.get("findings", [])
            ],
            "figures": [
                {"stem": str(f["stem"]), "caption": str(f.get("caption", ""))}
                for f in content.get("figures", [])
            ],
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return empty


def locks() -> dict[tuple[int, int], int] | None:
    """(device, inode) -> process of every lock held on this machine; None where it cannot be told.

    Read from the system's list. To try the lock would make a run that starts just then believe
    that another one writes to its folder.
    """
    try:
        lines = pathlib.Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    found = {}
    for line in lines:
        match = re.search(r"FLOCK\s+\w+\s+WRITE\s+(-?\d+)\s+(\w+):(\w+):(\d+)", line)
        if match:
            device = os.makedev(int(match[2], 16), int(match[3], 16))
            found[device, int(match[4])] = int(match[1])
    return found


def writer_of(folder: pathlib.Path, held: Mapping | None) -> int | None:
    """The process that writes to a run folder, None if there is none."""
    if not held:
        return None
    try:
        about = (folder / ".lock").stat()
    except OSError:
        return None
    return held.get((about.st_dev, about.st_ino))


def _lately(folder: pathlib.Path) -> bool:
    """Whether results came in the last minute: all that can be told where locks are not listed."""
    try:
        return time.time() - (folder / "results").stat().st_mtime < 60
    except OSError:
        return False


def _since(started: str | None) -> float | None:
    try:
        begun = datetime.datetime.fromisoformat(started)
    except (TypeError, ValueError):
        return None
    return (datetime.datetime.now(datetime.UTC) - begun).total_seconds()
