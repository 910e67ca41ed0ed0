"""What an organism and its verifier are trained on, and for how long: everything static."""

import dataclasses
import functools
import math

import optax

from alen import blocks, learner, losses, tasks, verifier
from alen import model as organism
from experiments import alen_configuration, alen_train_questions
from experiments.lab import keys


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is trained on what, and for how long. Raises ValueError for what cannot be.

    `steps` of the organism and `check_steps` of the verifier, in which the rate is held for a share
    `hold` and then falls to a `final_share` of it as a cosine; weights decay by `weight_decay` and
    `check_decay`, and the verifier's rate is `check_rate` (0: the organism's). Every
    `evaluate_every` steps something is measured. Of the training split, `pool` questions a seed are
    held at a time; where there are more, others are drawn after every `renew` measurements. Of a
    batch, a share `unanswerable` has no answer and a share `perturbed` stands in one of `surfaces`
    other wordings.
    `perturbations` of a thought at the relative `radius` and `surfaces` wordings make up the
    stability check. At most `held_out` questions of a kind are asked in the end, and thresholds are
    certified for the level `alpha` with confidence 1 - `delta`.
    """

    task: tasks.Task
    configuration: alen_configuration.Configuration
    seeds: tuple[int, ...] = (0,)
    steps: int = 3000
    check_steps: int = 1500
    evaluate_every: int = 500
    pool: int = 2**14
    renew: int = 4
    weight_decay: float = 0.1
    check_rate: float = 0.0
    check_decay: float = 0.1
    warmup: int = 50
    hold: float = 0.7
    final_share: float = 0.1
    decoded_share: float = 0.0
    noise: float = 0.0
    unanswerable: float = 0.1
    perturbed: float = 0.3
    surfaces: int = 2
    perturbations: int = 8
    radius: float = 0.1
    held_out: int = 4096
    alpha: float = 0.05
    delta: float = 0.05
    compute: str = "float32"

    def __post_init__(self):
        for name in ("steps", "check_steps", "evaluate_every", "pool", "renew", "held_out"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("unanswerable", "perturbed"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        for name in ("hold", "final_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        for name in ("alpha", "delta"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must lie strictly between 0 and 1, got {getattr(self, name)}"
                )
        for name in ("weight_decay", "check_rate", "check_decay", "warmup", "noise", "surfaces"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and at least 0, got {getattr(self, name)}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be different and at least one, got {self.seeds}")
        for seed in self.seeds:
            keys.check(seed)
        blocks.dtype_of(self.compute)
        _ = self.checker, self.learner

    @property
    def model(self) -> organism.Alen:
        return organism.Alen(self.configuration.architecture, self.compute)

    @property
    def checker(self) -> verifier.Verifier:
        """Two networks of the shape of the organism's encoder, and never of a single block."""
        a = self.configuration.architecture
        shape = dataclasses.replace(a.encoder, layers=max(2, a.encoder.layers))
        sizes = (a.vocabulary, a.question, a.answer, shape, self.compute)
        return verifier.Verifier(*sizes, self.perturbations, self.radius, pool="least")

    @property
    def learner(self) -> learner.Learner:
        return learner.learner(self.model, self.decoded_share)

    @property
    def hyper(self) -> losses.Hyper:
        return losses.Hyper(
            self.configuration.learning_rate,
            warmup=self.warmup,
            decay_steps=self.steps,
            hold=self.hold,
            final_share=self.final_share,
            weight_decay=self.weight_decay,
            noise=self.noise,
        )

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Of the verifier: AdamW."""
        top = self.check_rate or self.configuration.learning_rate
        hyper = self.hyper._replace(learning_rate=top, decay_steps=self.check_steps)
        rate = functools.partial(learner.rate, hyper)
        return optax.adamw(rate, b2=0.98, weight_decay=self.check_decay, mask=learner.decayed)

    def stops(self, steps: int) -> list[int]:
        """The steps after which something is measured: every so many, and the last."""
        return [*range(self.evaluate_every, steps, self.evaluate_every), steps]

    def settings(self) -> dict:
        """The resolved study as JSON values."""
        own = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("task", "configuration", "seeds")
        }
        task = alen_train_questions.settings(self.task)
        return {"task": task, **self.configuration.settings(), "seeds": list(self.seeds), **own}
