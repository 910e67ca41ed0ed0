"""How a size is trained on a task, where nothing else is asked for.

Recipes of a task were chosen on its tuning questions; those of a size alone were not, nor were the
verifier's numbers of small, which has yet to be measured. Numbers of the architecture and the rate
stand behind every file, variable and flag (`alen_configuration`); steps, decay and pool have flags
of their own.
"""

from collections.abc import Mapping
from typing import NamedTuple

from alen import tasks
from experiments import alen_configuration


class Recipe(NamedTuple):
    """Steps of the organism and the verifier, steps between measurements, AdamW's weight decay,
    questions held at a time, `usual` settings by the names of `alen_configuration`, and the
    verifier's rate (0: the organism's) and weight decay."""

    steps: int
    check_steps: int
    evaluate_every: int
    weight_decay: float
    pool: int = 2**14
    usual: Mapping = {}
    check_rate: float = 0.0
    check_decay: float = 0.1

    def taken(self, given: Mapping) -> dict:
        """The numbers that are no settings, with those `given` in place of ours (None: ours)."""
        ours = {name: value for name, value in self._asdict().items() if name != "usual"}
        known = {name: value for name, value in given.items() if value is not None}
        return ours | {name: known[name] for name in ours if name in known}


SIZES = {
    "tiny": Recipe(1500, 1000, 500, 0.3),
    "small": Recipe(20_000, 5000, 1000, 0.1),
}
# Strong decay is what makes sums modulo a prime grok soon (Power et al. 2022).
TASKS = {
    ("tiny", "modular"): Recipe(
        2500,
        800,
        500,
        1.0,
        usual={"learning_rate": 2e-3, "batch_size": 256},
        check_rate=3e-3,
        check_decay=0.3,
    ),
    ("small", "modular"): Recipe(
        6000,
        1500,
        500,
        1.0,
        usual={"learning_rate": 2e-3, "batch_size": 512},
        check_decay=0.3,
    ),
    # Of few questions all is learnt by heart, of many the rule; what is applied again and again
    # is learnt by an encoder that is.
    ("small", "addition"): Recipe(
        5000,
        2000,
        500,
        0.1,
        2**16,
        {"learning_rate": 2e-3, "batch_size": 1024, "attend_question": True},
    ),
    ("small", "lookup"): Recipe(
        5000,
        3000,
        1000,
        0.1,
        2**17,
        {"batch_size": 1024, "attend_question": True, "encoder_rounds": 4},
    ),
}
# Which questions a task asks, where nothing is said of it.
SETTINGS = {"modular": {"operations": ("+",)}}


def task(name: str, **given) -> tasks.Task:
    """The task by name, its settings `given` or usual; raises ValueError as `tasks.find`."""
    return tasks.find(name, **(SETTINGS.get(name, {}) | given))


def find(size: str, task: str) -> Recipe:
    """The recipe of a size (above small: that of small) on a task by name."""
    size = size if size in SIZES else "small"
    return TASKS.get((size, task), SIZES[size])


def configured(
    sized: alen_configuration.Sized, recipe: Recipe, language: alen_configuration.Language
) -> alen_configuration.Configuration:
    """What the flags of a study resolve to. Tiny is for one task: it has that one's vocabulary."""
    usual = dict(recipe.usual)
    if sized.size == "tiny":
        usual["vocab_size"] = language.vocabulary
    return sized.configuration(language, usual=usual)
