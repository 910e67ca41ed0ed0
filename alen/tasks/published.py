"""Figures of others, to stand beside ours. Shares of right answers."""

from typing import NamedTuple

_NDR = "Csordás et al. 2022, The Neural Data Router"
_SCAN = "Lake & Baroni 2018, Generalization without Systematicity"


class Figure(NamedTuple):
    """`accuracy` in [0, 1] on `stratum` of `task` in `condition` ("" where there is only one)."""

    task: str
    stratum: str
    condition: str
    model: str
    accuracy: float
    source: str


FIGURES = (
    Figure("lookup", "longer", "forward", "LSTM", 1.00, _NDR),
    Figure("lookup", "longer", "backward", "LSTM", 0.22, _NDR),
    Figure("lookup", "longer", "forward", "transformer", 0.13, _NDR),
    Figure("lookup", "longer", "backward", "transformer", 0.12, _NDR),
    Figure("lookup", "longer", "forward", "NDR", 1.00, _NDR),
    Figure("lookup", "longer", "backward", "NDR", 1.00, _NDR),
    Figure("arithmetic", "deeper", "", "LSTM", 0.74, _NDR),
    Figure("arithmetic", "deeper", "", "transformer", 0.47, _NDR),
    Figure("arithmetic", "deeper", "", "universal transformer", 0.77, _NDR),
    Figure("arithmetic", "deeper", "", "NDR", 0.98, _NDR),
    Figure("scan", "longer", "length", "RNN", 0.208, _SCAN),
)


def of(task: str, stratum: str, condition: str = "") -> tuple[Figure, ...]:
    """What was published on this, perhaps nothing. The condition is lookup's notation or scan's
    split."""
    return tuple(figure for figure in FIGURES if figure[:3] == (task, stratum, condition))
