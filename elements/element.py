"""An element of the table, and the grammar of its symbol.

symbol  = activation "-" shape ["-skip"]
activation = the first three letters of its name        sin, lea, rel …
shape   = depth "x" width | width "_" width …           3x8, 32_8_32
"""

import dataclasses
import itertools
import re

from elements import activations, names

_N = "(?:0|[1-9][0-9]*)"
_SYMBOL = re.compile(
    rf"(?P<activation>[a-z]{{3}})-(?P<shape>{_N}x{_N}|{_N}(?:_{_N})+)(?P<skip>-skip)?"
)
_GRAMMAR = "for example sin-3x8, lea-1x32, rel-32_8_32 or tan-4x8-skip"


@dataclasses.dataclass(frozen=True)
class Element:
    """`activation` by name, `widths` of the hidden layers from input to output, `skip` or not."""

    activation: str
    widths: tuple[int, ...]
    skip: bool = False

    def __post_init__(self):
        activations.find(self.activation)
        if not self.widths:
            raise ValueError("an element needs at least one hidden layer, got widths ()")
        for width in self.widths:
            if width < 1:
                raise ValueError(f"width must be at least 1, got {width}")

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.widths)

    @property
    def width(self) -> int:
        """Width of the widest hidden layer (all are equal in a `depth x width` element)."""
        return max(self.widths)

    @property
    def shape(self) -> str:
        """The part of the symbol that says which layers: `3x8` or `32_8_32`."""
        if len(set(self.widths)) == 1:
            return f"{self.depth}x{self.width}"
        return "_".join(map(str, self.widths))

    @property
    def symbol(self) -> str:
        return f"{self.activation[:3]}-{self.shape}{'-skip' if self.skip else ''}"

    @property
    def parameters(self) -> int:
        """Number of weights and biases, 2 inputs and 1 logit included."""
        sizes = (2, *self.widths, 1)
        return sum((i + 1) * o for i, o in itertools.pairwise(sizes))


def square(activation: str, depth: int, width: int, skip: bool = False) -> Element:
    """The element of `depth` hidden layers that are all `width` wide."""
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    return Element(activation, (width,) * depth, skip)


def parse(symbol: str) -> Element:
    """The element that `symbol` names; `parse(e.symbol) == e`. Raises ValueError otherwise."""
    match = _SYMBOL.fullmatch(symbol)
    if match is None:
        raise ValueError(f"{symbol!r} is not the symbol of an element ({_GRAMMAR})")
    letters = [name[:3] for name in activations.NAMES]
    which = names.find(match["activation"], letters, "activation letters")
    shape = match["shape"]
    if "x" in shape:
        depth, width = map(int, shape.split("x"))
        return square(activations.NAMES[which], depth, width, bool(match["skip"]))
    widths = tuple(map(int, shape.split("_")))
    return Element(activations.NAMES[which], widths, bool(match["skip"]))
