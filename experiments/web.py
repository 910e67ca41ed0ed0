"""The page at http://localhost:5000: every run explored, compared, started and cancelled.

Reads the run folders live and changes none of them; studies that it starts are processes of their
own. Bound to this machine unless --host says otherwise.
"""

import contextlib
import os
import pathlib
import signal
import socket
import sys

import uvicorn
from absl import app, flags, logging

from experiments import web_elements
from experiments.shell import devices, run
from experiments.shell.web import app as web

ROOT = pathlib.Path(__file__).resolve().parents[1]

_PORT = flags.DEFINE_integer("port", 5000, "port of the page", lower_bound=0, upper_bound=65535)
_HOST = flags.DEFINE_string("host", "127.0.0.1", "address to listen at; 0.0.0.0 for every network")
_OUT = flags.DEFINE_string("out", "runs", "folder of the run folders")


def prepare() -> None:
    """JAX as the page needs it: on the CPU, so that accelerators stay with the studies."""
    devices.prepare(run.default_cache())
    import jax

    jax.config.update("jax_platforms", "cpu")


def main(argv) -> None:
    if len(argv) > 1:
        _refuse(f"unexpected argument {argv[1]!r}: everything is a flag, as in --port=5001")
    out = pathlib.Path(_OUT.value).absolute()
    if out.exists() and not out.is_dir():
        _refuse(f"--out={_OUT.value} is a file: give the folder that holds the run folders")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)  # Orbax's threads tell of every file they open
    listening = _listen(_HOST.value, _PORT.value)
    science = web_elements.Elements(prepare)
    application = web.create(science, out, ROOT, _HOST.value)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A job would inherit this from a background shell, and could not be interrupted.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.setswitchinterval(0.001)  # an answer waits less for what is got ready beside it
    server = uvicorn.Server(
        uvicorn.Config(
            application, log_level="warning", access_log=False, timeout_graceful_shutdown=2
        )
    )
    name = "localhost" if _HOST.value in ("127.0.0.1", "0.0.0.0", "::") else _HOST.value
    print(f"http://{name}:{listening.getsockname()[1]} shows the runs in {out}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    # Pictures may still be compiled in a thread: nothing of it is worth waiting for.
    sys.stdout.flush()
    os._exit(0)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        _refuse(f"cannot listen at {host} port {port}: {error.strerror}; try another --port")
    return listening


def _refuse(sentence: str):
    print(f"web: {sentence}", file=sys.stderr)
    sys.exit(2)


def _parse(argv):
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _refuse(" ".join(str(error).split()))


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
