"""Imports go down only, and the two wings of floor 0 are pure: read from the source text alone."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCIENCES = ("elements", "apoptosis", "alen")
WINGS = (*SCIENCES, "experiments.lab")
PACKAGES = (*SCIENCES, "experiments")
TOP_LEVEL = {*PACKAGES, "tests"}
IMPURE_MODULES = re.compile(
    "absl|builtins|ctypes|datetime|glob|importlib|io|logging|multiprocessing|os|pathlib|pdb|pickle|"
    "random|secrets|shutil|socket|subprocess|sys|tempfile|threading|time|urllib|uuid"
)
IMPURE_CALLS = {"__import__", "breakpoint", "eval", "exec", "input", "open", "print"}
SEEDED = {"default_rng", "Generator"}  # what of numpy.random has no hidden state
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc"}
MOST_LINES = 300


def _inside(module, package):
    return module == package or module.startswith(f"{package}.")


def _room(path):
    """Where the file at `path` lives: a wing, 'experiments.shell', 'study', 'tests' or None."""
    *folders, _ = pathlib.PurePosixPath(path).parts
    if not folders:
        return None
    if folders[0] in (*SCIENCES, "tests"):
        return folders[0]
    if folders[0] == "experiments":
        if len(folders) == 1:
            return "study"
        return {"lab": "experiments.lab", "shell": "experiments.shell"}.get(folders[1])
    return None


def _modules(path, tree):
    """(line, module) of everything imported, `from a import b` as a.b, relative ones resolved."""
    here = list(pathlib.PurePosixPath(path).parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + 1] if node.level else []
            base = [*above, node.module] if node.module else above
            yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)


def _may_import(room, module):
    if _inside(module, "tests"):
        return room == "tests"
    if room in ("study", "tests") or not any(_inside(module, package) for package in PACKAGES):
        return True
    if room == "experiments.shell":
        return any(_inside(module, floor) for floor in ("experiments.lab", "experiments.shell"))
    return _inside(module, room)


def _dotted(node):
    """`a.b.c` of an attribute or a name, None of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value)):
        return f"{base}.{node.attr}"
    return None


def _impurities(tree):
    """(line, complaint) of everything that touches the world or hidden random state."""
    spelled = {}  # what the file calls a module or a function → its whole name
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            spelled |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom):
            spelled |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}

    def real(node):
        first, *rest = (_dotted(node) or "").split(".")
        return ".".join([spelled.get(first, first), *rest])

    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in IMPURE_CALLS:
            yield node.lineno, f"uses {node.id}"
        if isinstance(node, ast.Attribute) and node.attr == "print":
            yield node.lineno, "prints"
        if isinstance(node, ast.Attribute | ast.Name):
            match = re.fullmatch(r"numpy\.random\.(\w+)", real(node))
            if match and match[1] not in SEEDED:
                yield node.lineno, f"draws from the hidden state of numpy.random.{match[1]}"
        if isinstance(node, ast.Call) and real(node.func) == "numpy.random.default_rng":
            seeds = [*node.args, *(keyword.value for keyword in node.keywords)]
            if not seeds or getattr(seeds[0], "value", seeds[0]) is None:
                yield node.lineno, "calls default_rng without a seed"


def violations(path: str, source: str) -> list[str]:
    """What the file at `path` (relative, with '/') breaks of the floor plan, one line each."""
    room, name = _room(path), pathlib.PurePosixPath(path)
    if room is None:
        return [f"{path}: lies on no floor"]
    tree, found = ast.parse(source), []
    found += [
        (line, f"{room} may not import {module}")
        for line, module in _modules(path, tree)
        if not _may_import(room, module)
    ]
    if room in WINGS:
        found += [
            (line, f"impure import of {module}")
            for line, module in _modules(path, tree)
            if IMPURE_MODULES.fullmatch(module.split(".")[0])
        ]
        found += _impurities(tree)
    if {name.stem, *name.parts[:-1]} & VAGUE:
        found.append((1, "a name that says nothing"))
    if room != "tests" and len(source.splitlines()) > MOST_LINES:
        found.append((MOST_LINES, f"more than {MOST_LINES} lines"))
    return [f"{path}:{line}: {complaint}" for line, complaint in found]


FORBIDDEN = [
    ("elements/a.py", "from apoptosis import neurons", "elements may not import"),
    ("alen/a.py", "import elements.network as n", "alen may not import"),
    ("apoptosis/a.py", "from experiments.lab import keys", "apoptosis may not import"),
    ("elements/a.py", "def f():\n    from ..alen import task", "elements may not import alen.task"),
    ("experiments/lab/a.py", "from elements import network", "experiments.lab may not import"),
    ("experiments/lab/a.py", "from experiments.shell import run", "experiments.lab may not"),
    ("experiments/lab/a.py", "from .. import shell", "may not import experiments.shell"),
    ("experiments/lab/a.py", "import experiments", "experiments.lab may not"),
    ("experiments/shell/a.py", "import alen", "experiments.shell may not"),
    ("experiments/shell/web/a.py", "from experiments import elements_phase3", "may not import"),
    ("experiments/study.py", "from tests import tolerance", "study may not import"),
    ("elements/a.py", "import os.path", "impure import of os"),
    ("alen/a.py", "from time import perf_counter", "impure import of time"),
    ("experiments/lab/a.py", "import random", "impure import of random"),
    ("experiments/lab/a.py", "from absl import flags", "impure import of absl"),
    ("elements/a.py", "print('x')", "uses print"),
    ("elements/a.py", "import jax\njax.debug.print('x')", "prints"),
    ("experiments/lab/a.py", "show = open", "uses open"),
    ("experiments/lab/a.py", "import numpy as np\nnp.random.seed(0)", "hidden state"),
    ("experiments/lab/a.py", "import numpy\nx = numpy.random.normal", "hidden state"),
    ("alen/a.py", "from numpy import random as r\nr.normal()", "hidden state"),
    ("alen/a.py", "from numpy.random import rand\nrand(3)", "hidden state"),
    ("alen/a.py", "import numpy.random as r\nr.shuffle(x)", "hidden state"),
    ("alen/a.py", "import numpy.random\nnumpy.random.shuffle(x)", "hidden state"),
    ("alen/a.py", "import numpy as np\nnp.random.default_rng()", "without a seed"),
    ("alen/a.py", "from numpy.random import default_rng\ndefault_rng(seed=None)", "without a seed"),
    ("elements/utils.py", "", "says nothing"),
    ("experiments/shell/common/page.py", "", "says nothing"),
    ("experiments/lab/a.py", "\n" * 301, "more than 300 lines"),
    ("chemistry/a.py", "", "no floor"),
    ("experiments/attic/a.py", "", "no floor"),
    ("a.py", "", "no floor"),
]
ALLOWED = [
    ("elements/a.py", "from elements import names\nfrom . import network\nimport jax.random"),
    ("apoptosis/a.py", "from jax import random\nrandom.normal(key)"),
    ("experiments/lab/a.py", "from experiments.lab import keys\nfrom . import grid"),
    ("experiments/lab/a.py", "import numpy as np\ndef f(g: np.random.Generator): pass"),
    ("experiments/lab/a.py", "import numpy as np\nnp.random.default_rng(seed).normal(3)"),
    ("experiments/shell/a.py", "import os\nfrom experiments.lab import table\nprint(open('x'))"),
    ("experiments/a.py", "from elements import network\nfrom experiments.shell import run"),
    ("tests/test_a.py", "from tests import tolerance\nimport elements\n" + "\n" * 301),
    ("experiments/lab/a.py", "\n" * 300),
]


@pytest.mark.parametrize(("path", "source", "complaint"), FORBIDDEN)
def test_the_checker_catches(path, source, complaint):
    (found,) = violations(path, source)
    assert complaint in found


@pytest.mark.parametrize(("path", "source"), ALLOWED)
def test_the_checker_lets_pass(path, source):
    assert violations(path, source) == []


def test_every_file_keeps_to_the_floor_plan():
    files = [file for package in sorted(TOP_LEVEL) for file in (ROOT / package).rglob("*.py")]
    assert len(files) > 10
    assert [
        complaint
        for file in files
        for complaint in violations(file.relative_to(ROOT).as_posix(), file.read_text("utf-8"))
    ] == []


def test_there_are_no_other_top_level_packages():
    homes = {file.parent.name for file in ROOT.glob("[!.]*/*.py")}
    assert homes == TOP_LEVEL
    assert list(ROOT.glob("*.py")) == []
