"""What all studies of elements train: arms × datasets × trials, and how."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from elements import datasets, element, learner
from elements.element import Element
from experiments.lab import keys, population


@dataclasses.dataclass(frozen=True)
class Recipe:
    """An arm's own optimiser, learning rate and initial gain, for the protocol `tuned`."""

    optimiser: str
    learning_rate: float
    gain: float = 1.0


@dataclasses.dataclass(frozen=True)
class Arm:
    """An element, and what sets it apart from the same element in another arm.

    Attributes:
        samples: points per trial; None for the population's own number.
        flipped: per cent of the training points with a wrong label.
        member: which of several initialisations on the same data.
        bottom: hidden layers taken from a donor network of so many layers (0: none) ...
        source: ... trained on this dataset ('' for the arm's own) ...
        trained: ... as long as the arm itself; or, if false, left random.
        frozen: hidden layers that do not learn.
        recipe: how it is trained, where the protocol is `tuned`.
    """

    element: Element
    samples: int | None = None
    flipped: int = 0
    member: int = 0
    bottom: int = 0
    source: str = ""
    trained: bool = True
    frozen: int = 0
    recipe: Recipe | None = None

    def __post_init__(self):
        for name in ("bottom", "frozen"):
            if not 0 <= getattr(self, name) <= self.element.depth:
                layers = f"the {self.element.depth} hidden layers of {self.element.symbol}"
                raise ValueError(f"{name} must lie within {layers}, got {getattr(self, name)}")
        if not 0 <= self.flipped <= 100:
            raise ValueError(f"flipped is a percentage in [0, 100], got {self.flipped}")
        if self.source:
            datasets.find(self.source)

    def factors(self) -> dict:
        """What differs from a plain arm, as plain values by name."""
        found = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("element", "recipe")
            and getattr(self, field.name) != field.default
        }
        return found | (dataclasses.asdict(self.recipe) if self.recipe else {})

    def said(self) -> str | dict:
        """The arm as JSON values: its symbol, or the symbol with its factors."""
        symbol, factors = self.element.symbol, self.factors()
        return {"symbol": symbol, **factors} if factors else symbol

    @staticmethod
    def read(said: str | Mapping) -> "Arm":
        """The arm that `said()` gave."""
        if isinstance(said, str):
            return Arm(element.parse(said))
        rest = {name: value for name, value in said.items() if name != "symbol"}
        names = [field.name for field in dataclasses.fields(Recipe)]
        recipe = {name: rest.pop(name) for name in names if name in rest}
        own = Recipe(**recipe) if recipe else None
        return Arm(element.parse(said["symbol"]), recipe=own, **rest)


@dataclasses.dataclass(frozen=True)
class Population:
    """`arms` × `datasets` × `trials` networks and how they are trained.

    Arms are paired: trial t of every arm sees the same data and the same initial draws. An
    `Element` among the arms stands for a plain arm. None stands for the protocol's learning rate
    and each dataset's own noise.

    Attributes:
        held_back: per cent of a trial's points that are kept for validation.
        record_gradients, record_weight_stats: record what `elements.dynamics` measures.
        sigmas: noise on the test points at which accuracy is measured at the end ...
        noises: ... as the mean over so many draws.
        snapshots: keep the parameters at every recorded epoch.
        stream: name of the random streams: populations of another name share no draw.
    """

    arms: tuple[Arm | Element, ...]
    datasets: tuple[str, ...]
    trials: int = 20
    epochs: int = 500
    record_every: int = 50
    protocol: str = "gd"
    learning_rate: float | None = None
    samples: int = 200
    tests: int = 1000
    noise: float | None = None
    grid: int = 4
    margin: float = 1.0
    seed: int = 0
    held_back: int = 0
    record_gradients: bool = False
    record_weight_stats: bool = False
    sigmas: tuple[float, ...] = ()
    noises: int = 10
    snapshots: bool = False
    stream: str = "elements"

    def __post_init__(self):
        arms = tuple(a if isinstance(a, Arm) else Arm(a) for a in self.arms)
        object.__setattr__(self, "arms", arms)
        for name in ("arms", "datasets"):
            values = getattr(self, name)
            if not values:
                raise ValueError(f"the grid is empty: no {name}")
            if len(set(values)) < len(values):
                twice = next(v for v in values if values.count(v) > 1)
                twice = twice.said() if name == "arms" else twice
                raise ValueError(f"{name} names {twice!r} twice")
        for name in ("trials", "epochs", "record_every", "grid", "noises"):
            _at_least(name, getattr(self, name), 1)
        _at_least("tests", self.tests, 2)
        for arm in arms:
            _at_least("samples", self.samples_of(arm), 2)
        for name in ("noise", "learning_rate", *(f"sigmas {s}" for s in self.sigmas)):
            value = float(name.split()[1]) if " " in name else getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name.split()[0]} must not be negative, got {value}")
        if not 0 <= self.held_back < 100:
            raise ValueError(f"held_back is a percentage in [0, 100), got {self.held_back}")
        for name in self.datasets:
            datasets.find(name)
        learner.protocol(self.protocol)
        keys.check(self.seed)

    @property
    def elements(self) -> list[Element]:
        """The element of every arm."""
        return [arm.element for arm in self.arms]

    @property
    def size(self) -> int:
        return len(self.arms) * len(self.datasets) * self.trials

    @property
    def rate(self) -> float:
        """The learning rate in force where an arm has no recipe."""
        given = self.learning_rate
        return learner.protocol(self.protocol).learning_rate if given is None else given

    @property
    def grafted(self) -> bool:
        """Whether any arm has layers that come from elsewhere or do not learn."""
        return any(arm.bottom or arm.frozen for arm in self.arms)

    @property
    def epochs_recorded(self) -> np.ndarray:
        return np.cumsum(population.schedule(self.epochs, self.record_every))

    @property
    def factors(self) -> list[str]:
        """Names of the factors that any arm sets, in order."""
        return list(dict.fromkeys(name for arm in self.arms for name in arm.factors()))

    def samples_of(self, arm: Arm) -> int:
        return self.samples if arm.samples is None else arm.samples

    def counts(self, arm: Arm) -> dict[str, int]:
        """How many points there are in each share of an arm's trial."""
        n = self.samples_of(arm)
        held, wrong = map(np.sum, learner.roles(np.arange(n), self.held_back, arm.flipped))
        parts = {"train": n - held, "validation": held, "flipped": wrong, "test": self.tests}
        return {name: int(count) for name, count in parts.items()}

    def settings(self) -> dict:
        """The resolved population as JSON values; `Population.read` gives it back."""
        content = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        content["arms"] = [arm.said() for arm in self.arms]
        content |= {name: list(content[name]) for name in ("datasets", "sigmas")}
        content["learning_rate"] = self.rate
        return content

    @staticmethod
    def read(settings: Mapping) -> "Population":
        arms = tuple(map(Arm.read, settings["arms"]))
        tuples = {name: tuple(settings[name]) for name in ("datasets", "sigmas")}
        return Population(**{**settings, **tuples, "arms": arms})


def _at_least(name, value, least):
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


class Group(NamedTuple):
    """Arms that share one program: `slots` for their hidden layers, room for `capacity` points.

    `ragged` says whether some arm leaves units of its slots unused.
    """

    slots: tuple[int, ...]
    capacity: int
    ragged: bool
    arms: tuple[int, ...]  # positions in the population


def groups(config: Population) -> list[Group]:
    """Programs are few: widths between two powers of two share one, and sample sizes within 4 ×.

    Each is as deep, wide and roomy as its largest arm; up to a width of 8 all are together.
    """
    rooms, room = {}, 0
    for n in sorted({config.samples_of(arm) for arm in config.arms}, reverse=True):
        room = rooms[n] = room if room <= 4 * n and room else n
    together: dict[tuple, list[int]] = {}
    for i, arm in enumerate(config.arms):
        bucket = max(8, 1 << (arm.element.width - 1).bit_length())
        together.setdefault((rooms[config.samples_of(arm)], bucket), []).append(i)
    return [
        _group(config.arms, capacity, tuple(members)) for (capacity, _), members in together.items()
    ]


def _group(arms: Sequence[Arm], capacity: int, members: tuple[int, ...]) -> Group:
    elements = [arms[i].element for i in members]
    width, depth = max(e.width for e in elements), max(e.depth for e in elements)
    ragged = any(set(e.widths) != {width} for e in elements)
    return Group((width,) * depth, capacity, ragged, members)
