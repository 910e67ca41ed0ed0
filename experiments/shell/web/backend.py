"""What the page must be told by a science: names, studies that may be started, and pictures."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

RESOLUTION = 64  # of a picture, where none is asked for


class Invalid(Exception):
    """A request that cannot be answered as it stands; one sentence with what is allowed."""


class Absent(Exception):
    """Something asked for by name that is not there; one sentence."""


class Flag(NamedTuple):
    """A flag of a study: `kind` is text, integer, number or boolean; `least` and `most` bound each
    value; `choices` are all that it takes; `many` is whether it takes several, by commas."""

    name: str
    kind: str
    default: str
    help: str
    many: bool = False
    optional: bool = False
    least: float | None = None
    most: float | None = None
    choices: Sequence[str] = ()


class Study(NamedTuple):
    """A study that the page may start as `python -m <module> --flag=value …`."""

    name: str
    module: str
    title: str
    question: str
    flags: Sequence[Flag]


class Place(NamedTuple):
    """Where an element stands in the periodic table: labels of its row and column, and what sorts
    either of them."""

    row: str
    column: str
    row_order: tuple
    column_order: tuple


class Picture(NamedTuple):
    """What networks say over a plane.

    `x [X]` and `y [Y]` are the coordinates, `frames [F, Y, X]` the probability of label 1 at each
    of `epochs [F]` (one frame: after training); `points [N, 2]` and their `labels [N]`.
    """

    x: np.ndarray
    y: np.ndarray
    frames: np.ndarray
    epochs: Sequence[int]
    points: np.ndarray
    labels: np.ndarray


class Backend(Protocol):
    """A science as the page sees it. Methods raise Invalid or Absent with one sentence."""

    title: str
    element: str  # the column of results that names an element
    metrics: Mapping[str, Mapping]  # name -> {label, percent, higher: which is better or None}

    def warm(self) -> None:
        """Gets ready what is slow at first; called once, beside the first requests."""

    def elements(self) -> list[dict]:
        """Kinds of elements and their properties."""

    def describe(self, symbol: str) -> dict:
        """Properties of an element, and its neighbours: label -> symbol."""

    def datasets(self) -> list[dict]: ...

    def activations(self) -> list[dict]: ...

    def places(self, elements: Sequence[Mapping]) -> tuple[str, str, list[Place]]:
        """Titles of the rows and the columns, and the place of each of `elements`, which come as
        the values of those columns of results that belong to an element."""

    def studies(self) -> list[Study]: ...

    def title_of(self, study: str) -> str:
        """A study's title; quick, and its name where it is none of the list."""

    def check(self, study: str, flags: Mapping[str, str]) -> int | None:
        """Refuses what the study would refuse, or is too large; returns how many networks."""

    def get_ready(self, folder: pathlib.Path, networks: Sequence[Sequence[int]]) -> None:
        """Gets ready for pictures of a run that somebody looks at; `networks` of each arm."""

    def picture(
        self,
        folder: pathlib.Path,
        networks: Sequence[int],
        which: int | None,
        resolution: int,
        animated: bool,
    ) -> Picture:
        """What the networks of an arm say: the one at position `which`, or the mean over them."""
