"""What the columns of a run's results mean: elements, further factors, trials and measurements.

Studies differ in what they vary. Read from the rows alone: a column that each element has one
value of is a property of the element; where an element is there several times with one trial of
one dataset, the columns that tell these rows apart are factors, and an arm is an element at one
level of each factor.
"""

from collections.abc import Container, Mapping
from typing import NamedTuple

import numpy as np

from experiments.shell.web import backend, frames

NEVER_FACTORS = {"network", "trial", "dataset", "seed", "epochs", "arm"}
MOST_LEVELS = 64  # of a factor; what has more is measured


class Design(NamedTuple):
    """Codes `[N]` of rows, and what they are codes of.

    `arms` are labels, `arm_element` positions in `elements` and `arm_levels` the arm's factors;
    `properties` are columns of results that belong to an element, with their values in the order
    of `elements`; `metrics` are names of columns.
    """

    arm: np.ndarray
    dataset: np.ndarray
    trial: np.ndarray
    arms: list[str]
    arm_element: list[int]
    arm_levels: list[dict[str, str]]
    elements: list[str]
    properties: dict[str, list]
    datasets: list[str]
    trials: list[int]
    factors: dict[str, list[str]]
    metrics: list[str]

    def rows(self, arms=None, dataset: str | None = None, trial: int | None = None) -> np.ndarray:
        """Positions of the rows of any of `arms` (positions), of a dataset and of a trial."""
        keep = np.ones(len(self.arm), bool) if arms is None else np.isin(self.arm, arms)
        if dataset is not None:
            keep &= self.dataset == self.datasets.index(dataset)
        if trial is not None:
            keep &= self.trial == self.trials.index(trial)
        return np.flatnonzero(keep)

    def arms_of(self, element: str) -> list[int]:
        return [i for i, e in enumerate(self.arm_element) if self.elements[e] == element]


def read(frame: frames.Frame, element: str, measured: Container[str] = ()) -> Design:
    """The design of the results in `frame`, whose column `element` names an element; columns
    known to be `measured` are metrics whatever they look like."""
    columns = frame.columns
    for name in (element, "dataset", "trial"):
        if name not in columns:
            raise backend.Absent(f"these are no trials of elements: they have no column {name!r}")
    elements, code = _codes(columns[element])
    datasets, dataset = _codes(columns["dataset"])
    trials, trial = _codes(columns["trial"])
    cell = (code * len(datasets) + dataset) * len(trials) + trial
    fixed = {element, *NEVER_FACTORS}
    varies = [name for name in columns if name not in fixed and name not in measured]
    properties = {
        name: columns[name][_first(code)].tolist()
        for name in varies
        if _is_label(columns[name], code) and _determined(code, columns[name])
    }
    others = [n for n in varies if n not in properties]
    others += ["arm"] if "arm" in columns else []  # only what nothing else tells apart
    factors = _factors(columns, others, cell)
    group, levels = code, []
    for name in factors:
        names, number = _codes(columns[name])
        levels.append((name, [_said(v) for v in names], number))
        group = group * len(names) + number
    _, first, arm = np.unique(group, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # in the order in which they are there
    arm, first = np.argsort(order)[arm.ravel()], first[order]
    arm_levels = [{name: texts[number[i]] for name, texts, number in levels} for i in first]
    metrics = [
        name
        for name, column in columns.items()
        if name not in {*properties, *factors, *fixed}
        and column.ndim == 1
        and column.dtype.kind in "fbiu"
    ]
    return Design(
        arm,
        dataset,
        trial,
        [_arm(elements[code[i]], own) for i, own in zip(first, arm_levels, strict=True)],
        [int(code[i]) for i in first],
        arm_levels,
        elements,
        properties,
        datasets,
        trials,
        {name: texts for name, texts, _ in levels},
        metrics,
    )


def _arm(element, levels: Mapping) -> str:
    return " ".join([element, *(f"{name}={value}" for name, value in levels.items())])


def _codes(column: np.ndarray) -> tuple[list, np.ndarray]:
    """Different values and each row's position among them; text in the order of appearance,
    numbers ascending."""
    if column.dtype.kind != "O":
        values, code = np.unique(column, return_inverse=True)
        return values.tolist(), code.ravel()
    place: dict = {}
    code = np.fromiter((place.setdefault(v, len(place)) for v in column), np.int64, len(column))
    return list(place), code


def _first(code: np.ndarray) -> np.ndarray:
    return np.unique(code, return_index=True)[1]


def _is_label(column: np.ndarray, code: np.ndarray) -> bool:
    """Text, whole numbers and truths; a float only where it could have differed within each."""
    repeated = np.bincount(code).min() > 1
    return column.ndim == 1 and (column.dtype.kind in "Oiub" or repeated)


def _determined(code: np.ndarray, column: np.ndarray) -> bool:
    """Whether all rows of one code have one value."""
    return bool((column == column[_first(code)][code]).all())


def _factors(columns: Mapping, names: list[str], cell: np.ndarray) -> list[str]:
    """The columns that tell rows of the same cell apart, each crossed evenly with the cells."""
    chosen: list[str] = []
    for name in names:
        if len(np.unique(cell)) == len(cell):
            break
        column = columns[name]
        if column.ndim != 1 or column.dtype.kind not in "Oiubf":
            continue
        values, code = _codes(column)
        if not 1 < len(values) <= min(MOST_LEVELS, len(cell) - 1):
            continue
        finer = cell * len(values) + code
        counts = np.bincount(code)
        if column.dtype.kind == "f" and counts.min() * 4 < counts.max():
            continue  # measured: the levels of a design are about as frequent as each other
        if len(np.unique(finer)) > len(np.unique(cell)):
            chosen.append(name)
            cell = finer
    return chosen


def _said(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
