"""The command line of a study: flags derived from its dataclass, and how a run ends.

A field becomes a flag of its name, type and default, with the help in its metadata; the study
checks the values itself when it is built and refuses them with a ValueError of one sentence.
Exit codes: 0 done, 2 refused, 130 interrupted.
"""

import dataclasses
import math
import os
import pathlib
import sys
import types
import typing
from collections.abc import Callable

from absl import app, flags, logging

from experiments.shell import devices, run


def field(default, text: str):
    """A dataclass field with a default and the help of its flag."""
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True)
class Options:
    """How a study is run, whatever it studies: none of this changes its numbers."""

    out: str = field("runs", "folder in which run folders are made")
    dry_run: bool = field(False, "say what would be trained and where, and stop")
    export_json: str = field("", "also write one JSON file per experiment into this folder")
    cache: str = field(
        str(run.default_cache()), "folder of compiled programs, kept between runs ('' for none)"
    )


def main(study: type, body: Callable[[object, Options], pathlib.Path], doc: str) -> None:
    """Parses the flags of dataclass `study`, runs `body(study, options)`, prints its folder.

    The folder is the last line of standard output.
    """
    sys.modules["__main__"].__doc__ = doc
    kinds = {name: _define(kind) for name, kind in (("study", study), ("options", Options))}

    def start(argv):
        if not flags.FLAGS["verbosity"].present:
            _hush_threads()
        if len(argv) > 1:
            _refuse(f"unexpected argument {argv[1]!r}: everything is a flag, as in --trials=20")
        try:
            built = {name: _build(kind, fields) for name, (kind, fields) in kinds.items()}
        except ValueError as error:
            _refuse(error)
        options = built["options"]
        try:
            if options.cache:
                run.require_writable(pathlib.Path(options.cache), f"--cache={options.cache}")
            devices.prepare(pathlib.Path(options.cache) if options.cache else None)
            folder = body(built["study"], options)
        except run.Refused as error:
            _refuse(error)
        except OSError as error:  # the disk is full when the report is written, say
            if error.errno is None:
                raise
            _refuse(f"{error.filename or options.out}: {error.strerror}; the same command resumes")
        except KeyboardInterrupt:
            print("interrupted; the same command resumes", file=sys.stderr)
            # Compilation threads may still be at work: nothing of theirs is worth waiting for.
            sys.stdout.flush()
            os._exit(130)
        print(folder)

    app.run(start, flags_parser=_parse)


def _hush_threads():
    """Keeps Orbax's threads quiet, which tell of every step and print their errors many times.

    What fails there also comes to us as an exception. JAX's own warnings stay.
    """
    logging.set_verbosity(logging.FATAL)
    sys.unraisablehook = lambda raised: (
        None if str(raised.exc_value) == "Event loop is closed" else sys.__unraisablehook__(raised)
    )


def _parse(argv):
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _refuse(error)


def _refuse(error) -> typing.NoReturn:
    name = pathlib.Path(sys.argv[0]).stem
    print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(2)


def _define(kind: type):
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)
    for f in fields:
        text, hint, default = f.metadata["help"], hints[f.name], f.default
        if typing.get_origin(hint) is tuple:
            flags.DEFINE_list(f.name, [str(v) for v in default], text)
        elif hint in (bool, bool | None):
            flags.DEFINE_bool(f.name, default, text)
        else:
            flags.DEFINE_string(f.name, None if default is None else str(default), text)
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[f.name])  # for --help
    return kind, fields


def _build(kind: type, fields):
    hints = typing.get_type_hints(kind)
    return kind(
        **{f.name: _value(f.name, hints[f.name], flags.FLAGS[f.name].value) for f in fields}
    )


def _value(name, hint, given):
    if isinstance(hint, types.UnionType):  # X | None
        (hint,) = (t for t in typing.get_args(hint) if t is not type(None))
        if given is None:
            return None
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        return tuple(_value(name, item, text.strip()) for text in given)
    if hint in (bool, str):
        return given
    kinds = {int: "a whole number", float: "a finite number"}
    try:
        value = hint(given)
    except ValueError:
        value = math.nan
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"--{name} takes {kinds[hint]}, got {given!r}")
    return value
