"""The arms of the study of strategies: which recipe, at which settings, called how often.

All share the study's rate and interval I; what a recipe does at another pace keeps its own relation
to them: with I = 400, `continuous` renews 2 % every 100 steps, ReDo looks every 1,000, and fading
takes 100.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from apoptosis import neurons, recipes, renewal, transformer
from apoptosis.transform import ApoptosisTransform

BASELINE, CONTROL = "baseline", "random"
LIMIT = 1.5  # times as many neurons as at the start, where nothing else is said of growth


class Dose(NamedTuple):
    """What an arm is built with: `rate` at every `interval`, both of the study; `calls` steps
    between two updates; the groups, and the model's initialiser `initial(key)`."""

    rate: float
    interval: int
    calls: int
    groups: Sequence[neurons.NeuronGroup]
    initial: Callable

    def steps(self, number: int) -> int:
        """So many steps, in updates."""
        return max(number // self.calls, 1)

    def of(self, recipe: Callable, *, fresh: bool = False, **settings) -> ApoptosisTransform:
        """A recipe at the study's rate and interval; `fresh` if it takes the initialiser."""
        settings |= {"initial": self.initial} if fresh else {}
        return recipe(self.rate, self.steps(self.interval), groups=self.groups, **settings)


class Kind(NamedTuple):
    """A recipe of which arms differ in one number, its noise or its limit, so that they share a
    program: `build(dose, number)`, where the number may be traced. `pace(interval)` steps lie
    between two of its actions, None if it acts at every step; `told` is what the report says."""

    build: Callable[[Dose, float], ApoptosisTransform]
    told: str
    pace: Callable[[int], int] | None = lambda interval: interval


def _part(interval: int, parts: int) -> int:
    return max(interval // parts, 1)


def _long(interval: int) -> int:
    return max(5 * interval // 2, 1)


KINDS: dict[str, Kind] = {
    "baseline": Kind(lambda d, _: recipes.none(), "nothing dies"),
    "random": Kind(
        lambda d, _: d.of(recipes.random, fresh=True),
        "control: random neurons start afresh, with outgoing weights 0",
    ),
    "mutation": Kind(
        lambda d, x: d.of(recipes.standard, noise=x),
        "the least fit die, survivors' mutants take their places, noise {:g}",
    ),
    "absolute": Kind(
        lambda d, x: d.of(recipes.standard, born=renewal.mutation(x, absolute=True)),
        "the same, with noise of deviation {:g}, whatever the weights",
    ),
    "functional": Kind(
        lambda d, _: d.of(recipes.functional, fresh=True),
        "survivors absorb what the dying gave, newborns start afresh with outgoing weights 0",
    ),
    "mutants": Kind(
        lambda d, x: d.of(recipes.functional, noise=x),
        "the same, newborns are survivors' mutants, noise {:g}, with outgoing weights 0",
    ),
    "similar": Kind(
        lambda d, x: d.of(recipes.functional_similar, noise=x),
        "the prototype's: a copy of the most similar survivor, outgoing weights kept, noise {:g}",
    ),
    "gradual_fade": Kind(
        lambda d, _: d.of(recipes.gradual_fade, fresh=True, fade_steps=_part(d.interval, 4)),
        "outgoing weights fade over I/4 steps before the rebirth",
        None,
    ),
    "continuous": Kind(
        lambda d, _: recipes.continuous(d.rate / 5, d.steps(_part(d.interval, 4)), groups=d.groups),
        "standard, a fifth of the rate every I/4 steps",
        lambda interval: _part(interval, 4),
    ),
    "distillation": Kind(
        lambda d, _: d.of(recipes.distillation, fresh=True),
        "newborns and survivors are fitted to what the layer gave before",
    ),
    "crossover": Kind(
        lambda d, x: d.of(recipes.crossover, noise=x), "children of two survivors, noise {:g}"
    ),
    "growth": Kind(
        lambda d, x: d.of(recipes.growth, fresh=True, limit=x),
        "births only, with outgoing weights 0, up to {:g} times as many neurons",
    ),
    "hybrid": Kind(
        lambda d, _: d.of(recipes.hybrid, fresh=True, overlap=d.steps(_part(d.interval, 2))),
        "births, then I/2 steps later as many deaths",
        lambda interval: math.gcd(interval, _part(interval, 2)),
    ),
    "layer_level": Kind(
        lambda d, _: d.of(recipes.layer_level), "standard, at rates by the layers' vitality"
    ),
    "redo": Kind(
        lambda d, _: recipes.redo(
            interval=d.steps(_long(d.interval)), groups=d.groups, initial=d.initial
        ),
        "ReDo (Sokar et al. 2023): dormant neurons start afresh every 5I/2 steps",
        _long,
    ),
    "continual_backprop": Kind(
        lambda d, _: recipes.continual_backprop(groups=d.groups, initial=d.initial),
        "Dohare et al. 2024: 0.01 % of the mature neurons a step",
        None,
    ),
}
# Arms by name that are no kind's own, and the numbers of those that are.
NAMED = {
    "standard": ("mutation", 0.1),
    "functional_similar": ("similar", 0.0),
    "crossover": ("crossover", 0.0),
    "growth": ("growth", LIMIT),
}
# `prefix_number` is an arm at a number of one's own: noise relative to the newborn's weights, or
# for `absolute` the deviation itself, as the prototype had it.
NUMBERED = {
    "mutation": "mutation",
    "absolute": "absolute",
    "crossover": "crossover",
    "functional": "mutants",
    "similar": "similar",
    "growth": "growth",
}
STRATEGIES = (
    BASELINE,
    CONTROL,
    "standard",
    "functional",
    "functional_similar",
    "gradual_fade",
    "continuous",
    "distillation",
    "crossover",
    "growth",
    "hybrid",
    "layer_level",
    "redo",
    "continual_backprop",
)
# The prototype's noise of 0.3 was 5.4 times its weights' scale, so its 0.1 was 1.8 times.
MATCHED = (
    "mutation_5.4",
    "crossover_0.1",
    "crossover_5.4",
    "functional_0.1",
    "functional_5.4",
    "similar_0.1",
    "similar_1.8",
    "similar_5.4",
)
DEFAULT = (*STRATEGIES, *MATCHED)
_NUMBER = re.compile(rf"({'|'.join(NUMBERED)})_(\d+(?:\.\d+)?)")


@dataclasses.dataclass(frozen=True)
class Arm:
    """A strategy: its name, its kind, and its number (0 where the kind has none)."""

    name: str
    kind: str
    number: float

    @property
    def told(self) -> str:
        return KINDS[self.kind].told.format(self.number)

    @property
    def grows(self) -> bool:
        return self.kind == "growth"

    def pace(self, interval: int) -> int | None:
        """Steps between two of its actions; None if it acts at every step."""
        pace = KINDS[self.kind].pace
        return pace and pace(interval)


def find(names: Sequence[str]) -> tuple[Arm, ...]:
    """The arms of these names, the baseline first: all others are held against it.

    Raises ValueError for names that are not known or come twice, and without the baseline.
    """
    arms = [_find(name) for name in sorted(names, key=lambda name: name != BASELINE)]
    if len(set(names)) < len(names):
        raise ValueError(f"arms must differ from each other, got {', '.join(names)}")
    if BASELINE not in names:
        raise ValueError(f"arms must include {BASELINE!r}, got {', '.join(names) or 'none'}")
    return tuple(arms)


def _find(name) -> Arm:
    if name in STRATEGIES:
        return Arm(name, *NAMED.get(name, (name, 0.0)))
    numbered = _NUMBER.fullmatch(name)
    if not numbered:
        known = ", ".join([*STRATEGIES, *(f"{prefix}_NUMBER" for prefix in NUMBERED)])
        raise ValueError(f"arms must be of {known}, got {name!r}")
    arm = Arm(name, NUMBERED[numbered[1]], float(numbered[2]))
    if arm.grows and not 1 <= arm.number <= 4:
        raise ValueError(f"growth_NUMBER takes a limit in [1, 4], got {name!r}")
    return arm


GROUPS = ("mlp", "attention", "all")


def groups(architecture: transformer.Architecture, which: str) -> tuple[neurons.NeuronGroup, ...]:
    """The groups in which neurons die: `mlp`, `attention` or `all`."""
    activation = transformer.ACTIVATIONS[architecture.activation]
    every = neurons.transformer(architecture.layers, activation)
    return tuple(group for group in every if which in ("all", group.name.split("/")[1]))
