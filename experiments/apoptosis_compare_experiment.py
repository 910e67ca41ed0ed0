"""What is compared: arms × seeds on one transformer and one text, and how often neurons die."""

import dataclasses
import math

from apoptosis import neurons
from experiments import apoptosis_compare_arms as arms_of
from experiments.apoptosis_training import Subject
from experiments.lab import keys


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Arms × seeds on a subject; the seeds are `subject.seed` and those that follow it.

    At every `interval` the share `rate` of the neurons of `which` groups dies. Evidence is gathered
    on the first `watch` sequences of each batch. Raises ValueError for numbers out of range.
    """

    subject: Subject
    arms: tuple[arms_of.Arm, ...]
    seeds: int
    interval: int
    rate: float
    which: str = "mlp"
    watch: int = 16

    def __post_init__(self):
        steps, batch = self.subject.preset.training.steps, self.subject.preset.training.batch
        for name, most in (("seeds", 2**16), ("interval", steps), ("watch", batch)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must lie in [1, {most}], got {getattr(self, name)}")
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate must lie in [0, 1], got {self.rate}")
        if self.which not in arms_of.GROUPS:
            raise ValueError(f"which must be of {', '.join(arms_of.GROUPS)}, got {self.which!r}")
        if self.which == "attention" and any(arm.grows for arm in self.arms):
            raise ValueError("growth has no room in attention: which must be mlp or all")
        keys.check(self.subject.seed + self.seeds - 1)

    @property
    def groups(self) -> tuple[neurons.NeuronGroup, ...]:
        return arms_of.groups(self.subject.preset.architecture, self.which)

    @property
    def tick(self) -> int:
        """Steps between two calls of the transforms that act at intervals."""
        paces = [arm.pace(self.interval) for arm in self.arms]
        return math.gcd(*(pace for pace in paces if pace), *self.subject.stops())

    @property
    def room(self) -> float:
        """How many times as many neurons as at the start there is room for where they grow."""
        return max((arm.number for arm in self.arms if arm.grows), default=1.0)

    @property
    def inputs(self) -> bool:
        """Whether what the layers take in has to be recorded."""
        return any(arm.kind == "distillation" for arm in self.arms)

    @property
    def record(self) -> int:
        """Samples of the neurons' outputs that are kept: twice their number, if there are so
        many."""
        shape = self.subject.preset.architecture
        return min(2 * max(shape.ffn, shape.width), self.watch * shape.context)

    def settings(self) -> dict:
        """All that the numbers depend on, as JSON values."""
        return {
            **self.subject.settings(),
            "arms": [arm.name for arm in self.arms],
            "seeds": self.seeds,
            "interval": self.interval,
            "rate": self.rate,
            "which": self.which,
            "watch": self.watch,
        }


@dataclasses.dataclass(frozen=True)
class Defaults:
    """What a preset means here, where no flag says otherwise."""

    steps: int
    seeds: int
    interval: int
    evaluate_every: int
    characters: int  # of the corpus; 0: all


# More than ten events in each, and fifty steps after the last.
DEFAULTS = {
    "prototype": Defaults(5000, 10, 400, 500, 0),
    "nanogpt": Defaults(5000, 10, 400, 500, 0),
    "big": Defaults(5000, 10, 400, 500, 0),
    "tiny": Defaults(240, 2, 20, 80, 40_000),
}
