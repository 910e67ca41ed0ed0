"""The studies that the page may start, their flags and the bounds it puts on them."""

import dataclasses
import functools
import importlib
import importlib.util
import logging
import types
import typing
from collections.abc import Mapping

from experiments import web_limits
from experiments.shell.web import backend

LAB = "elements_lab"
TITLES = {
    LAB: "Training lab",
    "elements_phase2": "Phase 2: the full factorial",
    "elements_phase3": "Phase 3: robustness",
    "elements_phase4": "Phase 4: depth limits",
    "elements_phase5": "Phase 5: architectures",
    "elements_phase6": "Phase 6: learning dynamics",
    "elements_phase7": "Phase 7: generalisation",
    "elements_phase8": "Phase 8: composition and transfer",
    "elements_evolve": "Phase 9: evolution of elements",
    "elements_plan": "The whole plan",
    "apoptosis_slowly_changing": "Death and birth: Slowly-Changing Regression",
    "apoptosis_plasticity": "Death and birth: plasticity over tasks",
    "apoptosis_fitness": "Death and birth: what a neuron is worth",
    "apoptosis_train": "Death and birth: a transformer",
    "apoptosis_compare": "Death and birth: the strategies",
    "alen_train": "Verified reasoning: an organism",
    "alen_verification": "Verified reasoning: does verification help?",
    "alen_operators": "Verified reasoning: operators and steps",
}
MOST_LAYERS, MOST_WIDTH, MOST_PARAMETERS = 10, 64, 40_000
MOST_NETWORKS = 50_000
MOST_WORK = 50_000_000  # networks × epochs
BOUNDS = {  # of each value; what is not listed is bounded by the study itself
    "depths": (1, MOST_LAYERS),
    "widths": (1, MOST_WIDTH),
    "skips": (0, 1),
    "trials": (1, 200),
    "epochs": (1, 5000),
    "record_every": (1, 5000),
    "samples": (2, 2000),
    "tests": (2, 5000),
    "noise": (0, 2),
    "learning_rate": (0, 10),
    "grid": (1, 16),
    "margin": (0, 10),
    "seed": (0, 2**32 - 1),
    "family_depths": (1, MOST_LAYERS),
    "bottoms": (1, MOST_LAYERS),
    "tops": (1, MOST_LAYERS),
    "members": (1, 15),
    "sizes": (2, 2000),
    "flip_size": (2, 2000),
    "flips": (0, 100),
    "held_back": (0, 90),
    "sigmas": (0, 2),
    "noises": (1, 50),
    "phases": (1, 9),
    "max_depth": (1, MOST_LAYERS),
    "max_width": (2, MOST_WIDTH),
    "searches": (1, 10),
    "population": (4, 256),
    "generations": (1, 200),
    "search_trials": (1, 20),
    "selection_trials": (1, 50),
    "playoff_trials": (1, 50),
    "validations": (2, 5000),
}
MOST_OTHERWISE = 10_000
MOST_VALUES = 64  # of a flag that takes several


@functools.cache
def studies() -> list[backend.Study]:
    """Those of the list that are there and can be imported."""
    found = []
    for name in TITLES:
        if importlib.util.find_spec(f"experiments.{name}"):
            try:
                found.append(_study(name))
            except Exception:  # whatever is wrong in a study: the page works without it
                logging.exception("%s is left out: it cannot be imported", name)
    return found


def _study(name: str) -> backend.Study:
    module = importlib.import_module(f"experiments.{name}")
    asked = getattr(getattr(module, "STUDY", None), "question", None)
    question = asked or (module.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
    kind = _declared(module)
    hints = typing.get_type_hints(kind)
    asked = [f for f in dataclasses.fields(kind) if f.name not in web_limits.LEFT_OUT]
    flags = [_flag(name, field, hints[field.name]) for field in asked]
    return backend.Study(name, f"experiments.{name}", TITLES[name], question, flags)


def _declared(module) -> type:
    """The dataclass that a study's flags come from."""
    for value in vars(module).values():
        own = isinstance(value, type) and value.__module__ == module.__name__
        if own and dataclasses.is_dataclass(value):
            fields = dataclasses.fields(value)
            if fields and all("help" in field.metadata for field in fields):
                return value
    raise LookupError(f"{module.__name__} declares no flags")


def _flag(study: str, field: dataclasses.Field, hint) -> backend.Flag:
    from elements import activations, datasets, learner

    optional = isinstance(hint, types.UnionType)
    if optional:
        (hint,) = (t for t in typing.get_args(hint) if t is not type(None))
    many = typing.get_origin(hint) is tuple
    item = typing.get_args(hint)[0] if many else hint
    kind = {int: "integer", float: "number", bool: "boolean"}.get(item, "text")
    default = field.default
    if many:
        said = ",".join(map(str, default))
    elif default is None:
        said = ""
    else:
        said = str(default).lower() if item is bool else str(default)
    choices = {
        "activations": activations.NAMES,
        "datasets": datasets.NAMES,
        "protocol": tuple(p.name for p in learner.PROTOCOLS),
    }.get(field.name, ())
    choices = choices or web_limits.choices(study, field.name)
    if optional and item is bool:  # a box is ticked or not; this may also be left open
        choices = ("true", "false")
    least, most = None, None
    if kind in ("integer", "number"):
        bounds = {**BOUNDS, **web_limits.bounds(study)}
        least, most = bounds.get(field.name, (0, MOST_OTHERWISE))
    text = field.metadata["help"]
    if choices:
        text = web_limits.HELP.get(field.name, text)
    return backend.Flag(field.name, kind, said, text, many, optional, least, most, choices)


def check(name: str, flags: Mapping[str, str]) -> int | None:
    """Builds the study as its command would; refuses what that refuses and what is too large.

    Returns how many networks it has, None where the study does not say.
    """
    kind = _declared(importlib.import_module(f"experiments.{name}"))
    hints = typing.get_type_hints(kind)
    try:
        built = kind(**{flag: _value(hints[flag], text) for flag, text in flags.items()})
        size, epochs = _size(built), getattr(built, "epochs", 1) or 1
    except ValueError as error:
        raise backend.Invalid(str(error)) from error
    _check_elements(name, built)
    if name in web_limits.LIMITS:
        return _check_steps(name, built)
    if size is not None and size > MOST_NETWORKS:
        raise backend.Invalid(
            f"{size:,} networks are too many for the page (at most {MOST_NETWORKS:,}): run "
            f"python -m experiments.{name} in a terminal"
        )
    if size is not None and size * epochs > MOST_WORK:
        raise backend.Invalid(
            f"{size:,} networks × {epochs:,} epochs are too much for the page (at most "
            f"{MOST_WORK:,} together): run python -m experiments.{name} in a terminal"
        )
    return size


def _check_steps(name: str, built) -> int:
    """Bounds training steps over all networks; returns how many networks there are."""
    limits = web_limits.LIMITS[name]
    networks, steps = limits.networks(built), limits.steps(built)
    if networks * steps > limits.most:
        raise backend.Invalid(
            f"{networks:,} networks × {steps:,} steps are too much for the page (at most "
            f"{limits.most:,} together): run python -m experiments.{name} in a terminal"
        )
    return networks


def _size(built) -> int | None:
    if hasattr(built, "generations"):  # a search, and a random one of as many evaluations
        genomes = 2 * built.searches * built.population * built.generations
        return genomes * built.search_trials * len(built.datasets)
    if hasattr(built, "studies"):
        return sum(population.size for *_, population in built.studies())
    for owner in (built, getattr(built, "population", None)):
        size = getattr(owner, "size", None)
        if isinstance(size, int):
            return size
    return None


def _check_elements(name: str, built) -> None:
    """Bounds the networks themselves; more closely in the lab, which trains while one waits."""
    for one in getattr(getattr(built, "population", None), "elements", ()):
        wide = one.width > MOST_WIDTH if name == LAB else one.parameters > MOST_PARAMETERS
        if one.depth > MOST_LAYERS or wide:
            raise backend.Invalid(
                f"{one.symbol} is too large for the page: at most {MOST_LAYERS} hidden layers "
                f"of at most {MOST_WIDTH}, or {MOST_PARAMETERS:,} parameters"
            )


def _value(hint, text: str):
    """The value of a flag, whose text `api_jobs.check` has found to be of its kind."""
    if isinstance(hint, types.UnionType):
        (hint,) = (t for t in typing.get_args(hint) if t is not type(None))
    if typing.get_origin(hint) is tuple:
        items = [item.strip() for item in text.split(",") if item.strip()]
        if len(items) > MOST_VALUES:
            raise backend.Invalid(f"at most {MOST_VALUES} values a flag, got {len(items)}")
        return tuple(typing.get_args(hint)[0](item) for item in items)
    return text == "true" if hint is bool else hint(text.strip())
