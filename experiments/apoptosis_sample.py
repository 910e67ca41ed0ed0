"""Text from a trained transformer: what a run of apoptosis_train would write on.

Takes the parameters of the lowest validation loss out of the run's last checkpoint. Prints the
prompt and what comes after it.
"""

import dataclasses
import pathlib

import jax
import numpy as np

from apoptosis import sampling, text, transformer
from experiments import apoptosis_course, apoptosis_train, apoptosis_training
from experiments.lab import keys
from experiments.shell import cli, run, storage


@dataclasses.dataclass(frozen=True)
class Sample:
    """A run's folder, and what is asked of its transformer."""

    checkpoint: str = cli.field("", "run folder of apoptosis_train, as that prints it last")
    length: int = cli.field(500, "characters to draw")
    temperature: float = cli.field(0.8, "1: as the model believes; lower: likelier; 0: likeliest")
    prompt: str = cli.field("\n", "text to go on from")
    seed: int = cli.field(0, "seed of the draws")

    def __post_init__(self):
        if not self.checkpoint:
            raise ValueError("--checkpoint must name a run folder of apoptosis_train")
        if self.length < 1:
            raise ValueError(f"length must be at least 1, got {self.length}")
        if self.temperature < 0:
            raise ValueError(f"temperature must not be negative, got {self.temperature}")
        if not self.prompt:
            raise ValueError("prompt must have at least 1 character, got 0")
        keys.check(self.seed)


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
    """The characters that come after the prompt. Refuses what is no run to sample from."""
    folder = pathlib.Path(study.checkpoint)
    settings = _settings(folder)
    vocabulary = text.Vocabulary(settings["symbols"])
    fields = dataclasses.fields(transformer.Architecture)
    architecture = transformer.Architecture(**{f.name: settings[f.name] for f in fields})
    model = apoptosis_training.organism(len(vocabulary), architecture, settings["compute"])
    try:
        prompt = vocabulary.encode(study.prompt)
    except ValueError as error:
        raise run.Refused(f"--prompt: {error}") from error
    params = _parameters(folder, model)
    draw = jax.jit(
        lambda params, temperature: sampling.sample(
            keys.stream(keys.root(study.seed), "sample"),
            model,
            params,
            prompt,
            study.length,
            temperature,
        )
    )
    return vocabulary.decode(draw(params, np.float32(study.temperature)))


def _settings(folder) -> dict:
    manifest = run.manifest(folder)
    if manifest["name"] != apoptosis_train.NAME:
        raise run.Refused(
            f"--checkpoint={folder} is a run of {manifest['name']}, not of {apoptosis_train.NAME}"
        )
    return manifest["settings"]


def _parameters(folder, model):
    """Those of the lowest validation loss, as of the run's last chunk that is whole."""
    stored = sorted((folder / "results").glob("*.parquet"))
    if not stored:
        raise run.Refused(f"--checkpoint={folder} has no checkpoint yet")
    try:
        params = storage.load_tree(folder / "checkpoints" / stored[-1].stem)["best"]
    except storage.Damaged as error:
        raise run.Refused(f"{error}: the command that made the run mends it") from error
    expected = jax.eval_shape(lambda key: transformer.initial(key, model), jax.random.key(0))
    apoptosis_course.require_like(params, expected)
    return params


if __name__ == "__main__":
    cli.main(Sample, main, __doc__)
