"""Command lines of a study: as a user starts one, or many in forks of one warm process."""

import errno
import importlib
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import traceback
from typing import NamedTuple

from experiments.shell import cli


class Ended(NamedTuple):
    """Exit code, standard output and standard error of a process."""

    code: int
    out: str
    err: str


def start(study: str, *flags: str, **options) -> subprocess.Popen:
    """`python -m experiments.<study>` as a process of its own; `options` are Popen's."""
    command = [sys.executable, "-m", f"experiments.{study}", *flags]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, **options)


def end(process: subprocess.Popen) -> Ended:
    """Waits for a process."""
    out, err = process.communicate(timeout=300)
    return Ended(process.returncode, out, err)


class Line(NamedTuple):
    """Flags; a function of this file in place of the study's own main; the user's XLA_FLAGS."""

    flags: list[str]
    body: str | None = None
    xla: str = ""


def forked(study: str, lines: list[Line]) -> list[Ended]:
    """What `cli.main` makes of each line; JAX has not started when the process forks."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.commands"],
        input=json.dumps([study, lines]),
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [Ended(*one) for one in json.loads(done.stdout)]


def echo(study, options) -> pathlib.Path:
    """Says what the flags were understood to be, and tells of two lines before its folder."""
    print(repr(study))
    print(repr(options))
    return pathlib.Path("the/folder")


def devices(study, options) -> pathlib.Path:
    """Says on how many devices it would run, and what is compiled how."""
    import jax

    print(json.dumps([jax.device_count(), jax.config.jax_compilation_cache_dir]))
    print(os.environ["XLA_FLAGS"])
    return pathlib.Path("the/folder")


def interrupted(study, options):
    raise KeyboardInterrupt


def full(study, options):
    raise OSError(errno.ENOSPC, "No space left on device", "a/file")


def bug(study, options):
    raise ValueError("a bug")


def noisy(study, options) -> pathlib.Path:
    """What libraries log and let fall: Orbax and asyncio with errors, JAX with a warning."""
    for name in ("absl", "asyncio", "jax._src.xla_bridge"):
        logging.getLogger(name).log(30 if "jax" in name else 40, "told by %s", name)

    class Dropped:
        def __init__(self, error):
            self.error = error

        def __del__(self):
            raise RuntimeError(self.error)

    for error in ("Event loop is closed", "another error"):
        Dropped(error)
    return pathlib.Path("the/folder")


def _serve() -> None:
    name, lines = json.load(sys.stdin)
    module = importlib.import_module(f"experiments.{name}")
    (kind,) = (value for value in vars(module).values() if _declared_in(value, module))
    ended = []
    for flags, body, xla in lines:
        main = globals()[body] if body else module.main
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            child = os.fork()
            if not child:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                sys.argv = [f"experiments/{name}.py", *flags]
                os.environ["XLA_FLAGS"] = xla
                _leave(kind, main, module.__doc__)
            _, status = os.waitpid(child, 0)
            out.seek(0)
            err.seek(0)
            ended.append((os.waitstatus_to_exitcode(status), out.read(), err.read()))
    json.dump(ended, sys.stdout)


def _declared_in(value, module) -> bool:
    return isinstance(value, type) and value.__module__ == module.__name__


def _leave(kind, main, doc) -> None:
    """Runs the command line and ends the process as Python would, but for the handlers at exit."""
    code = 0
    try:
        cli.main(kind, main, doc)
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    _serve()
