"""Transformers with their training: the presets of all studies, and the optimiser they mean."""

import dataclasses

import jax
import optax

from apoptosis.transformer import Architecture


@dataclasses.dataclass(frozen=True)
class Training:
    """AdamW (Loshchilov & Hutter 2019) on clipped gradients.

    The rate climbs linearly over `warmup` steps and then falls as a cosine to `final_rate` at the
    last step; where that is None it is constant. Vectors (biases, norms) do not decay.
    """

    steps: int
    batch: int
    learning_rate: float
    final_rate: float | None = None
    warmup: int = 0
    beta2: float = 0.999
    weight_decay: float = 0.01
    clip: float = 1.0

    def __post_init__(self):
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.learning_rate < 0:
            raise ValueError(f"learning_rate must not be negative, got {self.learning_rate}")


@dataclasses.dataclass(frozen=True)
class Preset:
    """A named transformer and how it is trained."""

    name: str
    architecture: Architecture
    training: Training


PROTOTYPE = Preset(
    "prototype",
    Architecture(128, 4, 6, 512, 128, norm="post", activation="gelu", dropout=0.1),
    Training(5000, 64, 3e-4),
)
# karpathy/nanoGPT, config/train_shakespeare_char.py; there attention weights drop out as well.
NANOGPT = Preset(
    "nanogpt",
    Architecture(384, 6, 6, 1536, 256, norm="pre", activation="gelu", dropout=0.2, tied=True),
    Training(5000, 64, 1e-3, final_rate=1e-4, warmup=100, beta2=0.99, weight_decay=0.1),
)
BIG = Preset(
    "big",
    Architecture(256, 8, 12, 1024, 256, norm="pre", activation="gelu", dropout=0.2, tied=True),
    Training(5000, 64, 1e-3, final_rate=1e-4, warmup=100, beta2=0.99, weight_decay=0.1),
)
TINY = Preset(
    "tiny",
    Architecture(32, 2, 2, 64, 32, norm="pre", activation="gelu", dropout=0.0),
    Training(500, 16, 3e-3, final_rate=3e-4, warmup=20, beta2=0.99),
)
PRESETS = (PROTOTYPE, NANOGPT, BIG, TINY)


def find(name: str) -> Preset:
    """The preset called `name`; raises ValueError that lists all."""
    for preset in PRESETS:
        if preset.name == name:
            return preset
    known = ", ".join(preset.name for preset in PRESETS)
    raise ValueError(f"preset must be one of {known}, got {name!r}")


def rate(training: Training) -> optax.Schedule:
    """The learning rate of each step, from step 0 on."""
    if training.final_rate is None:
        main = optax.constant_schedule(training.learning_rate)
    else:
        share = training.final_rate / training.learning_rate if training.learning_rate else 0.0
        length = max(training.steps - training.warmup, 1)
        main = optax.cosine_decay_schedule(training.learning_rate, length, alpha=share)
    if not training.warmup:
        return main
    # Not from zero: the first step would be lost.
    first = training.learning_rate / training.warmup
    climb = optax.linear_schedule(first, training.learning_rate, training.warmup - 1)
    return optax.join_schedules([climb, main], [training.warmup])


def optimiser(training: Training) -> optax.GradientTransformation:
    """Clipping by the global norm, then AdamW along `rate`."""
    matrices = lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)
    return optax.chain(
        optax.clip_by_global_norm(training.clip),
        optax.adamw(
            rate(training),
            b2=training.beta2,
            weight_decay=training.weight_decay,
            mask=matrices,
        ),
    )
