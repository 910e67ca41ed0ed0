"""Sizes by name, the exact number of parameters of each, and the ranges that the guide gives.

`layers` counts encoder and decoder together, and the head is tied to the embeddings: so read, the
stated sizes of medium, large and xl fall into the guide's ranges. Small does not: its 10,000
embeddings (1.28 M), 8 operators (0.52 M) and 4 blocks of 0.33 M each alone exceed 3 M. With the
vocabulary of a task all are smaller.
"""

import dataclasses
from typing import NamedTuple

from alen import blocks


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The shape of an organism. Raises ValueError for what is none.

    `dimension` is both the thought's d and the transformers' width D; `layers` blocks are shared
    out between encoder and decoder (the encoder has the odd one); `channels` are those of a head;
    `question` and `answer` the longest in tokens (answers with their EOS); `slots` the number of
    tokens as which the decoder sees the thought; `memory` whether it sees the question's tokens
    too; `steps` the steps of reasoning; `rounds` how often the encoder's blocks are applied.
    """

    dimension: int
    operators: int
    hidden: int
    layers: int
    heads: int
    channels: int
    ffn: int
    vocabulary: int
    question: int = 64
    answer: int = 32
    slots: int = 4
    steps: int = 1
    memory: bool = False
    rounds: int = 1

    def __post_init__(self):
        least = {"layers": 2, "vocabulary": 6}  # one block each; five special tokens, a symbol
        for field in dataclasses.fields(self):
            value, low = getattr(self, field.name), least.get(field.name, 1)
            if field.type is not bool and value < low:
                raise ValueError(f"{field.name} must be at least {low}, got {value}")

    @property
    def encoder(self) -> blocks.Shape:
        return self._stack(self.layers - self.layers // 2)

    @property
    def decoder(self) -> blocks.Shape:
        return self._stack(self.layers // 2)

    def _stack(self, layers):
        return blocks.Shape(self.dimension, self.heads, self.channels, self.ffn, layers)


class Parameters(NamedTuple):
    """The number of parameters, by part."""

    embeddings: int
    encoder: int
    operators: int
    energy: int
    decoder: int

    @property
    def total(self) -> int:
        return sum(self)


def parameters(architecture: Architecture) -> Parameters:
    """The exact number of parameters of an organism of this shape."""
    a = architecture
    d, hidden = a.dimension, a.hidden
    return Parameters(
        embeddings=(a.vocabulary + a.question + a.answer) * d,
        encoder=a.encoder.count(cross=False) + d * d + d,
        operators=a.operators * (2 * d * hidden + 2 * d),
        energy=3 * d * hidden + hidden + 3 * hidden + 3,
        decoder=a.decoder.count(cross=True) + a.slots * (d * d + d),
    )


@dataclasses.dataclass(frozen=True)
class Preset:
    """A named size and how it is trained; `guide` is the guide's range of parameters, if any."""

    name: str
    architecture: Architecture
    learning_rate: float
    batch: int
    guide: tuple[int, int] | None = None


M = 1_000_000
PRESETS = (
    Preset("tiny", Architecture(64, 4, 128, 2, 4, 16, 256, 512, 32, 16), 2e-3, 128),
    Preset("small", Architecture(128, 8, 256, 4, 4, 32, 1024, 10_000), 1e-3, 128, (2 * M, 3 * M)),
    Preset(
        "medium", Architecture(256, 8, 512, 6, 8, 32, 2048, 32_000), 5e-4, 256, (15 * M, 20 * M)
    ),
    Preset(
        "large",
        Architecture(512, 8, 1024, 12, 12, 64, 4096, 50_000),
        3e-4,
        512,
        (100 * M, 150 * M),
    ),
    Preset(
        "xl",
        Architecture(768, 12, 2048, 24, 16, 48, 8192, 100_000),
        2e-4,
        512,
        (500 * M, 1000 * M),
    ),
)
NAMES = tuple(preset.name for preset in PRESETS)


def find(name: str) -> Preset:
    """The preset called `name`; raises ValueError that lists all."""
    for preset in PRESETS:
        if preset.name == name:
            return preset
    raise ValueError(f"size must be one of {', '.join(NAMES)}, got {name!r}")


class Row(NamedTuple):
    """A line of the description: a size with one vocabulary, its parameters, the guide's range.

    `within` says whether the total lies in the guide's range, None where the guide has none or
    speaks of another vocabulary.
    """

    name: str
    vocabulary: int
    parameters: Parameters
    guide: tuple[int, int] | None
    within: bool | None


def row(preset: Preset, architecture: Architecture | None = None) -> Row:
    """The line of a preset, or of what became of its architecture."""
    shape = architecture or preset.architecture
    counted, within = parameters(shape), None
    if preset.guide and shape.vocabulary == preset.architecture.vocabulary:
        within = preset.guide[0] <= counted.total <= preset.guide[1]
    return Row(preset.name, shape.vocabulary, counted, preset.guide, within)


def describe(task_vocabulary: int | None = None) -> list[Row]:
    """Of every preset a line; with the vocabulary of a task a second one each."""
    rows = []
    for preset in PRESETS:
        rows.append(row(preset))
        if task_vocabulary is not None:
            shape = dataclasses.replace(preset.architecture, vocabulary=task_vocabulary)
            rows.append(row(preset, shape))
    return rows
