"""Studies started from the page: processes of their own, one at a time, the others in a queue."""

import collections
import datetime
import itertools
import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

from experiments.shell.web import backend, runs

MOST_WAITING = 20
MOST_REMEMBERED = 100
LINES = 200  # of a log
LONGEST_LINE = 500
GRACE = 15.0  # seconds between an interrupt and a kill
ENDED = ("done", "failed", "cancelled")


class Job:
    """A command, and how far it is: queued, running, then done, failed or cancelled."""

    def __init__(self, number: int, study: str, command: Sequence[str]):
        self.number, self.study, self.command = number, study, list(command)
        self.state, self.code = "queued", None
        self.created, self.started, self.ended = now(), None, None
        self.log: collections.deque[str] = collections.deque(maxlen=LINES)
        self.runs: list[str] = []
        self.process: subprocess.Popen | None = None
        self.cancelled = threading.Event()

    def describe(self) -> dict:
        return {
            "job": self.number,
            "study": self.study,
            "command": " ".join(["python", *self.command[1:]]),
            "state": self.state,
            "code": self.code,
            "created": self.created,
            "started": self.started,
            "ended": self.ended,
            "runs": list(self.runs),
            "log": list(self.log),
        }


class Queue:
    """Runs jobs one after the other, in folder `root`; each is the leader of a process group."""

    def __init__(self, root: pathlib.Path, catalogue: runs.Catalogue, workers: int = 1):
        self.root, self.catalogue = root, catalogue
        self._change = threading.Condition()
        self._numbers, self._closed = itertools.count(1), False
        self._jobs: dict[int, Job] = {}
        self._waiting: collections.deque[Job] = collections.deque()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def start(self, study: backend.Study, flags: Mapping[str, str]) -> Job:
        """Queues `python -m <module> --flag=value …`; the flags must have been checked."""
        given = [f"--{name}={value}" for name, value in flags.items()]
        out = f"--out={self.catalogue.out}"
        command = [sys.executable, "-m", study.module, *given, out]
        with self._change:
            if self._closed or len(self._waiting) >= MOST_WAITING:
                raise backend.Invalid(
                    f"{MOST_WAITING} jobs are waiting already: cancel one or wait for one to end"
                )
            job = Job(next(self._numbers), study.name, command)
            self._jobs[job.number] = job
            self._waiting.append(job)
            self._forget()
            self._change.notify()
        return job

    def known(self) -> list[Job]:
        """All jobs that are remembered, the newest first."""
        with self._change:
            return sorted(self._jobs.values(), key=lambda job: -job.number)

    def find(self, number: int) -> Job:
        with self._change:
            if number not in self._jobs:
                raise backend.Absent(f"there is no job {number}: jobs are forgotten on a restart")
            return self._jobs[number]

    def writing(self) -> dict[str, int]:
        """Run folder -> number of the job that writes to it now."""
        return {name: j.number for j in self.known() if j.state == "running" for name in j.runs}

    def progress(self, job: Job) -> list[dict]:
        """State of the job's runs, from their folders."""
        self._note_runs(job)
        known = set(self.catalogue.names())
        return [self.catalogue.state(name) for name in job.runs if name in known]

    def cancel(self, number: int) -> Job:
        """Takes a job out of the queue, or interrupts its whole process group as Ctrl-C would.

        What it has stored stays: the same study goes on from there.
        """
        job = self.find(number)
        with self._change:
            if job.state in ENDED:
                raise backend.Invalid(f"job {number} has ended already: it is {job.state}")
            job.cancelled.set()
            if job.state == "queued":
                self._waiting.remove(job)
                self._end(job, "cancelled")
                return job
            process = job.process
        if process is not None:
            _signal(process, signal.SIGINT)
            threading.Thread(target=_insist, args=(process,), daemon=True).start()
        return job

    def close(self) -> None:
        """Cancels everything and waits until it has ended."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        for job in self.known():
            if job.state not in ENDED:
                try:
                    self.cancel(job.number)
                except backend.Invalid:
                    continue  # it ended meanwhile
        for thread in self._threads:
            thread.join(GRACE + 5)

    def _work(self):
        while True:
            with self._change:
                while not self._waiting and not self._closed:
                    self._change.wait()
                if self._closed:
                    return
                job = self._waiting.popleft()
                job.state, job.started = "running", now()
            self._run(job)

    def _run(self, job):
        try:
            process = subprocess.Popen(
                job.command,
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        except OSError as error:
            job.log.append(f"cannot be started: {error.strerror}")
            with self._change:
                self._end(job, "failed")
            return
        with self._change:
            job.process = process
        if job.cancelled.is_set():  # between the queue and the process
            _signal(process, signal.SIGINT)
            threading.Thread(target=_insist, args=(process,), daemon=True).start()
        _follow(process.stdout, job.log, lambda: self._note_runs(job))
        code = process.wait()
        last = job.log[-1] if job.log else ""
        named = pathlib.PurePath(last).name if code == 0 else ""
        if named and named not in job.runs and named in self.catalogue.names():
            job.runs.append(named)
        with self._change:
            job.code = code
            state = "done" if code == 0 else "cancelled" if job.cancelled.is_set() else "failed"
            self._end(job, state)

    def _note_runs(self, job):
        """Folders whose lock the job's own process holds are its runs."""
        if job.state != "running" or job.process is None:
            return
        held = runs.locks()
        for name in self.catalogue.names():
            writer = runs.writer_of(self.catalogue.out / name, held)
            if writer is not None and writer == job.process.pid and name not in job.runs:
                job.runs.append(name)

    def _end(self, job, state):
        job.state, job.ended = state, now()

    def _forget(self):
        ended = [n for n, job in self._jobs.items() if job.state in ENDED]
        for number in ended[: max(0, len(self._jobs) - MOST_REMEMBERED)]:
            del self._jobs[number]


def _follow(stream, log, seen) -> None:
    """Keeps the last lines of a process, and calls `seen` whenever it says something.

    A progress bar overwrites its own line.
    """
    line, over = b"", False
    while data := stream.read1(65536):
        seen()
        for piece in data.replace(b"\r\n", b"\n").splitlines(keepends=True):
            line = (line + piece)[: LONGEST_LINE + 1]
            if piece.endswith((b"\n", b"\r")):
                text = line.strip(b"\r\n").decode("utf-8", "replace")
                if over and log:
                    log.pop()
                if text or not piece.endswith(b"\r"):
                    log.append(text)
                over, line = piece.endswith(b"\r") and bool(text), b""
    if line:
        log.append(line.decode("utf-8", "replace"))


def _insist(process) -> None:
    """Kills the process group of what does not heed the interrupt."""
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGKILL)


def _signal(process, what) -> None:
    if process.poll() is None:
        try:
            os.killpg(process.pid, what)
        except ProcessLookupError:
            return


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
