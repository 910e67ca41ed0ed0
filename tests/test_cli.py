"""Flags are a study's fields, refusals are one sentence, and every end has its exit code."""

import dataclasses
import json
import os
import re

import pytest

from experiments.elements_phase2 import Phase2
from experiments.elements_phase3 import Phase3
from experiments.shell import cli
from tests import commands
from tests.commands import Line

# A value for every field, none of them a default.
STUDY = {
    "activations": ("sine", "elu"),
    "depths": (2, 7),
    "widths": (3, 5),
    "skips": (0, 1),
    "datasets": ("rings", "linear"),
    "trials": 7,
    "epochs": 11,
    "record_every": 2,
    "protocol": "adam",
    "learning_rate": 0.25,
    "samples": 33,
    "tests": 44,
    "noise": 0.125,
    "grid": 6,
    "margin": 2.5,
    "seed": 4294967295,
}
OPTIONS = {"out": "some/where", "dry_run": True, "export_json": "else/where", "cache": ""}

# Flags, and what the one sentence must say: the name, the value and what is allowed.
REFUSED = {
    "activation": (["--activations=relu,tahn"], ["activation 'tahn'", "mean 'tanh'?", "gelu"]),
    "dataset": (["--datasets=moon"], ["dataset 'moon'", "mean 'moons'?", "swiss_roll_2d"]),
    "far from any": (["--datasets=qqqq"], ["unknown dataset 'qqqq' (allowed: xor, "]),
    "protocol": (["--protocol=adams"], ["protocol 'adams'", "mean 'adam'?", "gd"]),
    "flag": (["--trails=3"], ["flag 'trails'", "mean: trials"]),
    "no value": (["--trials"], ["--trials"]),
    "an argument": (["trials=3"], ["argument 'trials=3'", "--trials=20"]),
    "width 0": (["--widths=8,0"], ["width", "at least 1", "got 0"]),
    "depth 0": (["--depths=0"], ["depth", "at least 1", "got 0"]),
    "depth -1": (["--depths=-1"], ["depth", "at least 1", "got -1"]),
    "trials 0": (["--trials=0"], ["trials must be at least 1, got 0"]),
    "epochs 0": (["--epochs=0"], ["epochs must be at least 1, got 0"]),
    "record_every 0": (["--record_every=0"], ["record_every must be at least 1, got 0"]),
    "samples 1": (["--samples=1"], ["samples must be at least 2, got 1"]),
    "tests 1": (["--tests=1"], ["tests must be at least 2, got 1"]),
    "grid 0": (["--grid=0"], ["grid must be at least 1, got 0"]),
    "skips 2": (["--skips=2"], ["skips takes 0 and 1, got 2"]),
    "negative noise": (["--noise=-0.1"], ["noise must not be negative, got -0.1"]),
    "infinite noise": (["--noise=inf"], ["--noise", "finite number", "'inf'"]),
    "unknown noise": (["--noise=nan"], ["--noise", "finite number", "'nan'"]),
    "unknown margin": (["--margin=nan"], ["--margin", "finite number", "'nan'"]),
    "negative rate": (["--learning_rate=-1"], ["learning_rate must not be negative, got -1.0"]),
    "infinite rate": (["--learning_rate=1e999"], ["--learning_rate", "finite", "'1e999'"]),
    "a word": (["--trials=many"], ["--trials", "whole number", "'many'"]),
    "a fraction": (["--epochs=1.5"], ["--epochs", "whole number", "'1.5'"]),
    "a fraction in a list": (["--depths=1,2.5"], ["--depths", "whole number", "'2.5'"]),
    "nothing in a list": (["--depths=1,,2"], ["--depths", "whole number", "''"]),
    "a word for a number": (["--margin=wide"], ["--margin", "finite number", "'wide'"]),
    "neither true nor false": (["--dry_run=maybe"], ["--dry_run", "maybe"]),
    "negative seed": (["--seed=-1"], ["seed must lie in [0, 2**32), got -1"]),
    "large seed": (["--seed=4294967296"], ["seed must lie in [0, 2**32), got 4294967296"]),
    "no activations": (["--activations="], ["grid is empty", "--activations"]),
    "no depths": (["--depths="], ["grid is empty", "--depths"]),
    "no datasets": (["--datasets="], ["grid is empty", "--datasets"]),
    "one twice": (["--activations=relu,relu"], ["elements", "twice", "'rel-1x8'"]),
    "out below a file": (
        ["--nodry_run", "--out=FILE/runs"],
        ["--out=FILE/runs", "Not a directory"],
    ),
    "out is a file": (["--nodry_run", "--out=FILE"], ["--out=FILE", "Not a directory"]),
    "export below a file": (
        ["--nodry_run", "--export_json=FILE/x"],
        ["--export_json=FILE/x", "Not"],
    ),
    "cache below a file": (["--cache=FILE/x"], ["--cache=FILE/x", "Not a directory"]),
}


def as_flags(values):
    def one(name, value):
        if isinstance(value, bool):
            return f"--{name}" if value else f"--no{name}"
        if isinstance(value, tuple):
            return f"--{name}={','.join(map(str, value))}"
        return f"--{name}={value}"

    return [one(name, value) for name, value in values.items()]


FLAGS = {
    "none": [],
    "every": as_flags(STUDY | OPTIONS),
    "help": ["--help"],
    "spaces": ["--datasets= xor, moons "],
}
XLA_FLAGS = "--xla_force_host_platform_device_count=3 --xla_backend_optimization_level=0"


def lines(folder):
    """All command lines of phase 3 that are tried here, by name; they share one process."""
    dry = ["--dry_run", f"--out={folder}/dry", "--activations=relu,tanh", "--depths=1,2,3"]
    dry += ["--trials=100", "--epochs=9"]
    bodies = ("interrupted", "full", "bug", "noisy")
    return {
        **{
            name: Line(["--dry_run", f"--out={folder}", *_placed(flags, folder)])
            for name, (flags, _) in REFUSED.items()
        },
        **{body: Line(["--cache="], body) for body in bodies},
        **{f"flags {name}": Line(flags, "echo") for name, flags in FLAGS.items()},
        "dry": Line(dry),
        "dry, resolved": Line([*dry, "--learning_rate=0.1"]),
        "every core": Line(["--cache="], "devices"),
        "my choice": Line([f"--cache={folder}/cache"], "devices", XLA_FLAGS),
    }


def _placed(flags, folder):
    return [flag.replace("=FILE", f"={folder}/FILE") for flag in flags]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lines")
    (folder / "FILE").write_text("")
    return folder


@pytest.fixture(scope="module")
def ended(folder):
    """How the command lines ended, by name."""
    named = lines(folder)
    return dict(zip(named, commands.forked("elements_phase3", [*named.values()]), strict=True))


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_in_one_sentence(ended, folder, name):
    code, out, err = ended[name]
    assert code == 2
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("elements_phase3: ")
    words = _placed(REFUSED[name][1], folder)
    assert [word for word in words if word not in line] == [], line


def test_nothing_is_left_of_what_was_refused_or_only_announced(ended, folder):
    assert set(os.listdir(folder)) == {"FILE", "cache"}


def test_the_examples_cover_every_field():
    for kind, values in ((Phase2, STUDY), (Phase3, STUDY), (cli.Options, OPTIONS)):
        defaults = {f.name: f.default for f in dataclasses.fields(kind)}
        assert defaults.keys() == values.keys()
        assert [name for name, default in defaults.items() if default == values[name]] == []


@pytest.mark.parametrize("kind", [Phase2, Phase3])
def test_every_field_is_a_flag_of_its_name_type_and_default(ended, kind):
    if kind is Phase3:
        answers = {name: ended[f"flags {name}"] for name in FLAGS}
    else:
        asked = [Line(flags, "echo") for flags in FLAGS.values()]
        answers = dict(zip(FLAGS, commands.forked("elements_phase2", asked), strict=True))
    bare, every, helped = (answers[name] for name in ("none", "every", "help"))
    assert bare.code == every.code == 0
    assert bare.out.splitlines() == [repr(kind()), repr(cli.Options()), "the/folder"]
    own = [repr(kind(**STUDY)), repr(cli.Options(**OPTIONS)), "the/folder"]
    assert every.out.splitlines() == own
    assert "Traceback" not in helped.err
    for f in (*dataclasses.fields(kind), *dataclasses.fields(cli.Options)):
        assert re.search(rf"--(\[no\])?{f.name}: ", helped.out), f.name
        assert f.metadata["help"] in " ".join(helped.out.split())


def test_spaces_in_a_list_do_not_matter(ended):
    first, *_ = ended["flags spaces"].out.splitlines()
    assert first == repr(Phase3(datasets=("xor", "moons")))


def test_ctrl_c_is_one_sentence_and_exit_code_130(ended):
    assert ended["interrupted"] == (130, "", "interrupted; the same command resumes\n")


def test_a_disk_that_fills_up_after_training_is_one_sentence(ended):
    sentence = "elements_phase3: a/file: No space left on device; the same command resumes\n"
    assert ended["full"] == (2, "", sentence)


def test_threads_of_libraries_are_quiet_but_warnings_of_jax_stay(ended):
    code, _, err = ended["noisy"]
    assert code == 0
    assert "told by jax" in err
    assert "RuntimeError: another error" in err
    hidden = ("told by absl", "told by asyncio", "Event loop is closed")
    assert [text for text in hidden if text in err] == []


def test_a_bug_is_not_dressed_up_as_a_refusal(ended):
    code, _, err = ended["bug"]
    assert code == 1
    assert "Traceback" in err
    assert "ValueError: a bug" in err


def test_every_core_is_a_device_and_the_users_choice_wins(ended, folder):
    ours, chosen = (ended[name].out.splitlines() for name in ("every core", "my choice"))
    assert json.loads(ours[0]) == [len(os.sched_getaffinity(0)), None]
    assert json.loads(chosen[0]) == [3, f"{folder}/cache"]
    assert "--xla_backend_optimization_level=1" in ours[1].split()
    flags = chosen[1].split()
    assert flags[:2] == XLA_FLAGS.split()
    assert "--xla_backend_optimization_level=1" not in flags
    assert "--xla_cpu_multi_thread_eigen=false" in flags


def test_a_dry_run_says_what_and_how_much(ended, folder):
    bare = ended["dry"]
    assert bare.code == 0
    assert bare.err == ""
    head, *_, last = bare.out.splitlines()
    assert head == (
        "6 elements × 4 datasets × 100 trials = 2,400 networks, "
        "9 epochs of gd at learning rate 0.1, in 10 chunks"
    )
    assert "arms: rel-1x8, rel-2x8, rel-3x8, tan-1x8, tan-2x8, tan-3x8" in bare.out
    assert re.fullmatch(rf"{folder}/dry/elements_phase3-[0-9a-f]{{12}}", last)
    assert ended["dry, resolved"] == bare  # the protocol's own rate, said or not, is one study


def test_the_module_is_a_command(tmp_path):
    """The one test here that starts Python as a user does."""
    ended = commands.end(commands.start("elements_phase2", "--widths=0", f"--out={tmp_path}"))
    assert ended == (2, "", "elements_phase2: width must be at least 1, got 0\n")
