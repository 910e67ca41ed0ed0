"""Text from a trained transformer: what a network of a run would write on.

    python -m experiments.apoptosis_sample --checkpoint=RUN_FOLDER --prompt="The "
    python -m experiments.apoptosis_sample --checkpoint=RUN_FOLDER --arm=functional --seed=3

Of a run of apoptosis_train the parameters of the lowest validation loss are taken, of a finished
run of apoptosis_compare those after the last step, of an arm and a seed. Prints the prompt and what
comes after it.
"""

import dataclasses
import pathlib

import jax
import numpy as np

from apoptosis import sampling
from experiments import apoptosis_sample_networks as networks
from experiments.lab import keys
from experiments.shell import cli, run


@dataclasses.dataclass(frozen=True)
class Sample:
    """A run's folder, which of its networks is asked, and what."""

    checkpoint: str = cli.field(
        "", "run folder of apoptosis_train or apoptosis_compare, as they print it last"
    )
    arm: str = cli.field("", "of apoptosis_compare: the arm whose network writes, by name")
    seed: int | None = cli.field(
        None, "of apoptosis_compare: the seed whose network writes; by default the first"
    )
    length: int = cli.field(500, "characters to draw")
    temperature: float = cli.field(0.8, "1: as the model believes; lower: likelier; 0: likeliest")
    prompt: str = cli.field("\n", "text to go on from")
    draw: int = cli.field(0, "seed of the draws")

    def __post_init__(self):
        if not self.checkpoint:
            raise ValueError(
                "--checkpoint must name a run folder of apoptosis_train or apoptosis_compare"
            )
        if self.length < 1:
            raise ValueError(f"length must be at least 1, got {self.length}")
        if self.temperature < 0:
            raise ValueError(f"temperature must not be negative, got {self.temperature}")
        if not self.prompt:
            raise ValueError("prompt must have at least 1 character, got 0")
        if not 0 <= self.draw < 2**32:
            raise ValueError(f"draw must lie in [0, 2**32), got {self.draw}")


def main(study: Sample, options: cli.Options) -> pathlib.Path:
    if options.export_json:
        raise run.Refused("--export_json has no meaning here: no experiment is made")
    folder = pathlib.Path(study.checkpoint)
    if options.dry_run:
        print(f"{study.length} characters after {study.prompt!r}")
        return folder
    print(study.prompt + write_on(study))
    return folder


def write_on(study: Sample) -> str:
    """The characters that come after the prompt. Refuses what is no network to sample from."""
    trained = networks.load(pathlib.Path(study.checkpoint), study.arm, study.seed)
    try:
        prompt = trained.vocabulary.encode(study.prompt)
    except ValueError as error:
        raise run.Refused(f"--prompt: {error}") from error
    draw = jax.jit(
        lambda params, temperature: sampling.sample(
            keys.stream(keys.root(study.draw), "sample"),
            trained.model,
            params,
            prompt,
            study.length,
            temperature,
        )
    )
    return trained.vocabulary.decode(draw(trained.params, np.float32(study.temperature)))


if __name__ == "__main__":
    cli.main(Sample, main, __doc__)
