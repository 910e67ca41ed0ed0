"""Floating-point operations by formula: those of products, two for each multiply and add.

Looked-up embeddings, norms, softmax and the like count nothing, so that small and large sizes are
held against a device's peak alike. Tokens that are padding are computed, and count.

Shapes: `T` tokens of a question, `A` of an answer, `D` width, `d` = D components of a thought, `K`
operators, `R` steps, `M` hidden units, `V` symbols.
"""

from typing import NamedTuple

from alen import blocks, presets


class Flops(NamedTuple):
    """Of one question, once forward, by part; `reasoning` is operators and energy of all steps."""

    encoder: int
    reasoning: int
    decoder: int  # with the head

    @property
    def total(self) -> int:
        return sum(self)


def stack(shape: blocks.Shape, tokens: int, seen: int | None = None) -> int:
    """Of a stack over `tokens` that attends to `seen` tokens of a context (None: to none).

    Causal attention computes all pairs, and they count.
    """
    inner = shape.heads * shape.channels
    a_block = 2 * tokens * shape.width * (4 * inner + 2 * shape.ffn) + 4 * tokens**2 * inner
    if seen is not None:
        a_block += 4 * shape.width * inner * (tokens + seen) + 4 * tokens * seen * inner
    return shape.layers * a_block


def step(architecture: presets.Architecture) -> int:
    """Of one step of reasoning: K operators propose, the energy judges, a mixture is taken."""
    d, hidden = architecture.dimension, architecture.hidden
    return architecture.operators * (4 * d * hidden + _energy(architecture) + 2 * d)


def decode(architecture: presets.Architecture) -> int:
    """Of the longest answer from one thought, as in training: all tokens at once."""
    a, d = architecture, architecture.dimension
    seen = a.slots + (a.question if a.memory else 0)
    head = 2 * a.answer * d * a.vocabulary
    return 2 * d * d * a.slots + stack(a.decoder, a.answer, seen) + head


def forward(architecture: presets.Architecture) -> Flops:
    """Of one question of the longest length with an answer of the longest."""
    a = architecture
    encoder = a.rounds * stack(a.encoder, a.question) + 2 * a.dimension**2
    return Flops(encoder, a.steps * step(a), decode(a))


def training(architecture: presets.Architecture, decoded_share: float = 0.0) -> float:
    """Of a training step, per example.

    Backward costs twice what forward does. Beside it, the K candidates of one step of a share of
    the examples (0: of 1/K) are decoded, forward alone, and their energies learnt.
    """
    a = architecture
    candidates = (decoded_share or 1 / a.operators) * a.operators
    return 3 * forward(a).total + candidates * (decode(a) + 3 * _energy(a))


def _energy(architecture):
    """Of the energy of one candidate."""
    return 2 * architecture.hidden * (3 * architecture.dimension + 3)
