"""What the page lets one ask of the studies beyond elements: bounds, choices, networks and steps.

Paths of this machine can never be given there: flags that take one are left out, and a corpus is
one of those known by name.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

# Flags that take a path, go only with one, or train nothing.
LEFT_OUT = frozenset(
    ("corpus_dir", "mnist", "checkpoint", "config", "file", "tokens", "vocabulary", "describe")
)
HELP = {"corpus": "text to learn from", "task": "what is learnt"}


class Limits(NamedTuple):
    """`networks(built)` and `steps(built)`, of each, of a study's dataclass; at most `most`
    network-steps; `bounds` of flags, where they are not those of all studies."""

    networks: Callable[[object], int]
    steps: Callable[[object], int]
    most: int
    bounds: Mapping[str, tuple[float, float]]


def _arms(*axes: str) -> Callable[[object], int]:
    """Seeds times the values of each of these flags; those of a search for settings too."""

    def count(built) -> int:
        arms = 1
        for axis in axes:
            arms *= len(getattr(built, axis))
        seeds = built.chosen("seeds") if hasattr(built, "chosen") else built.seeds
        return arms * (seeds + getattr(built, "tune", 0) * getattr(built, "tune_seeds", 0))

    return count


_OF_AN_ORGANISM = {
    "seeds": (1, 20),
    "steps": (1, 20_000),
    "check_steps": (1, 20_000),
    "batch_size": (1, 512),
}
LIMITS: Mapping[str, Limits] = {
    "apoptosis_slowly_changing": Limits(
        _arms("recipes", "activation", "learning_rate"),
        lambda built: max(built.steps, built.tune_steps if built.tune else 0),
        5_000_000_000,
        {
            "steps": (1, 1_000_000),
            "tune_steps": (1, 1_000_000),
            "period": (1, 1_000_000),
            "bin": (1, 1_000_000),
            "learning_rate": (0, 1),
            "seeds": (1, 200),
            "tune": (0, 20),
            "tune_seeds": (1, 50),
        },
    ),
    "apoptosis_plasticity": Limits(
        _arms("kinds", "recipes"),
        lambda built: built.tasks * built.steps,
        50_000_000,
        {
            "seeds": (1, 200),
            "tasks": (2, 500),
            "batch": (1, 512),
            "examples": (1, 1797),
            "held_out": (1, 1797),
            "widths": (1, 256),
            "learning_rate": (0, 1),
            "tune": (0, 20),
            "tune_seeds": (1, 50),
        },
    ),
    "apoptosis_fitness": Limits(
        lambda built: built.seeds,
        lambda built: built.moments[-1],
        100_000,
        {"seeds": (1, 50), "moments": (1, 5000), "windows": (1, 256), "share": (0, 1)},
    ),
    "apoptosis_train": Limits(
        lambda built: 1,
        lambda built: built.resolved.training.steps,
        10_000,
        {"steps": (1, 10_000), "batch": (1, 256), "learning_rate": (0, 1), "dropout": (0, 1)},
    ),
    "apoptosis_compare": Limits(
        _arms("arms"),
        lambda built: built.chosen("steps"),
        2_000_000,
        {
            "seeds": (1, 50),
            "characters": (0, 2_000_000),
            "rate": (0, 1),
            "batch": (1, 256),
            "watch": (1, 256),
            "dropout": (0, 1),
        },
    ),
    "alen_train": Limits(
        lambda built: built.seeds,
        lambda built: _alen_steps(built, built.steps),
        200_000,
        _OF_AN_ORGANISM,
    ),
    "alen_verification": Limits(
        _arms("tasks"),
        lambda built: _alen_steps(built, built.steps),
        200_000,
        _OF_AN_ORGANISM,
    ),
    "alen_operators": Limits(
        _arms("match", "operators", "steps"),
        lambda built: _alen_steps(built, built.training_steps),
        1_000_000,
        {
            "seeds": (5, 20),
            "operators": (1, 64),
            "steps": (1, 64),
            "training_steps": (1, 20_000),
        },
    ),
}
_ALEN = {
    "batch_size": (1, 512),
    "dimension": (1, 512),
    "hidden_dim": (1, 2048),
    "feed_forward_dim": (1, 2048),
}
_ALEN |= {"num_operators": (1, 64), "reasoning_steps": (0, 64), "layers": (1, 24)}
_ALEN |= {"pool": (1, 65_536), "held_out": (1, 20_000), "vocab_size": (1, 50_000)}
_ALEN |= {"attention_heads": (1, 32), "head_dim": (1, 128), "thought_slots": (1, 64)}


def bounds(study: str) -> Mapping[str, tuple[float, float]]:
    """Those of a study's own."""
    own = LIMITS[study].bounds if study in LIMITS else {}
    return {**_ALEN, **own} if study.startswith("alen_") else own


def _alen_steps(built, given: int | None) -> int:
    """The steps `given`, or else the most that are usual for the tasks of a study."""
    from experiments import alen_recipes

    labels = getattr(built, "tasks", None) or (built.task,)
    usual = (alen_recipes.find(built.size, label.split(":")[0]).steps for label in labels)
    return given or max(usual)


def choices(study: str, flag: str) -> tuple[str, ...]:
    """All values that a flag of a study takes; empty where they cannot be listed."""
    if study.startswith("apoptosis_"):
        return _of_apoptosis(study).get(flag, ())
    return _of_alen(study).get(flag, ()) if study.startswith("alen_") else ()


def _of_apoptosis(study) -> dict[str, tuple[str, ...]]:
    from apoptosis import fitness, presets, regression, successive, transformer
    from experiments import (
        apoptosis_compare_arms,
        apoptosis_plasticity_recipes,
        apoptosis_regression_recipes,
    )
    from experiments.shell import corpus

    recipes = {
        "apoptosis_slowly_changing": apoptosis_regression_recipes.RECIPES,
        "apoptosis_plasticity": apoptosis_plasticity_recipes.RECIPES,
    }
    return {
        "preset": tuple(preset.name for preset in presets.PRESETS),
        "corpus": (*corpus.EMBEDDED, *corpus.PUBLISHED),
        "compute": tuple(transformer.COMPUTE),
        "measures": tuple(fitness.MEASURES),
        "recipes": tuple(recipes.get(study, ())),
        "activation": tuple(regression.ACTIVATIONS),
        "variant": tuple(regression.VARIANTS),
        "kinds": tuple(successive.KINDS),
        "optimiser": tuple(apoptosis_plasticity_recipes.OPTIMISERS),
        "which": tuple(apoptosis_compare_arms.GROUPS),
    }


def _of_alen(study) -> dict[str, tuple[str, ...]]:
    from alen import blocks, presets, tasks

    found = {"size": tuple(presets.NAMES), "compute": tuple(blocks.COMPUTE)}
    if study == "alen_train":  # elsewhere a task comes with settings
        found["task"] = tuple(name for name in tasks.NAMES if name != "file")
    if study == "alen_operators":
        from experiments import alen_operators_arms

        found["match"] = tuple(alen_operators_arms.MATCHES)
    return found
