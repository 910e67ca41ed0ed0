"""What an organism of ALEN is made of: a preset, changed by a file, the environment, and flags.

In rising precedence: the preset (`--size`); what is usual for the task; `config.toml`, with
`[model]`, `[transformer]` and `[training]`; environment variables such as ALEN_DIMENSION; flags
such as --dimension. Unknown names and impossible values are refused.

    [model]
    dimension = 96
    [transformer]
    layers = 4
    [training]
    learning_rate = 1e-3
"""

import dataclasses
import difflib
import math
import os
import pathlib
import tomllib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from alen import presets
from experiments.shell import cli, run

FILE, PREFIX = "config.toml", "ALEN_"


class Setting(NamedTuple):
    """A number or a switch by name: where it stands in a file, and what it is in the code."""

    name: str
    section: str
    kind: type
    field: str  # of the architecture, or of the preset
    least: float = 1


SETTINGS = (
    Setting("dimension", "model", int, "dimension"),
    Setting("hidden_dim", "model", int, "hidden"),
    Setting("num_operators", "model", int, "operators"),
    Setting("reasoning_steps", "model", int, "steps"),
    Setting("thought_slots", "model", int, "slots"),
    Setting("attend_question", "model", bool, "memory"),
    Setting("layers", "transformer", int, "layers", 2),
    Setting("encoder_rounds", "transformer", int, "rounds"),
    Setting("attention_heads", "transformer", int, "heads"),
    Setting("head_dim", "transformer", int, "channels"),
    Setting("feed_forward_dim", "transformer", int, "ffn"),
    Setting("vocab_size", "transformer", int, "vocabulary", 6),
    Setting("learning_rate", "training", float, "learning_rate", 0),
    Setting("batch_size", "training", int, "batch"),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}
SECTIONS = tuple(dict.fromkeys(setting.section for setting in SETTINGS))


class Language(NamedTuple):
    """What a task asks of an organism: its vocabulary, and its longest question and answer."""

    vocabulary: int
    question: int
    answer: int


class Given(NamedTuple):
    """A value and where it was given, in words."""

    value: object
    source: str


@dataclasses.dataclass(frozen=True)
class Configuration:
    """What is left when all sources have spoken; `sources` says by name which one decided."""

    size: str
    architecture: presets.Architecture
    learning_rate: float
    batch: int
    sources: Mapping[str, str] = dataclasses.field(compare=False)

    def settings(self) -> dict:
        """The values alone, as JSON values: equal organisms, equal settings."""
        a = self.architecture
        lengths = {"question_length": a.question, "answer_length": a.answer}
        return {"size": self.size} | {s.name: self._value(s) for s in SETTINGS} | lengths

    def lines(self) -> list[str]:
        """As a file, with where each value comes from."""
        lines = [f"# size {self.size}"]
        for section in SECTIONS:
            lines.append(f"[{section}]")
            for setting in (s for s in SETTINGS if s.section == section):
                value = _toml(self._value(setting))
                lines.append(f"{setting.name} = {value}  # {self.sources[setting.name]}")
        return lines

    def _value(self, setting):
        return getattr(self if setting.section == "training" else self.architecture, setting.field)


@dataclasses.dataclass(frozen=True)
class Sized:
    """The flags of a study that builds an organism; to inherit from."""

    size: str = cli.field("tiny", f"preset: {', '.join(presets.NAMES)}")
    config: str | None = cli.field(None, f"file of settings; by default {FILE}, if there is one")
    task_vocab: bool = cli.field(False, "the task's own vocabulary: no dead embeddings")
    dimension: int | None = cli.field(None, "of the thought, and width of the transformers")
    hidden_dim: int | None = cli.field(None, "hidden units of an operator")
    num_operators: int | None = cli.field(None, "operators that propose at each step")
    reasoning_steps: int | None = cli.field(None, "steps of reasoning")
    thought_slots: int | None = cli.field(None, "tokens as which the decoder sees the thought")
    attend_question: bool | None = cli.field(None, "whether the decoder sees the question too")
    layers: int | None = cli.field(None, "blocks of encoder and decoder together")
    encoder_rounds: int | None = cli.field(None, "times that the encoder's blocks are applied")
    attention_heads: int | None = cli.field(None, "heads of attention")
    head_dim: int | None = cli.field(None, "channels of a head; by default dimension / heads")
    feed_forward_dim: int | None = cli.field(None, "units of the feed-forward networks")
    vocab_size: int | None = cli.field(None, "symbols, special ones included")
    learning_rate: float | None = cli.field(None, "highest rate of AdamW")
    batch_size: int | None = cli.field(None, "questions a step")

    def configuration(
        self, language: Language | None = None, environment: Mapping | None = None, usual=None
    ) -> Configuration:
        """What these flags resolve to; raises run.Refused, so not for where flags are built."""
        given = {s.name: getattr(self, s.name) for s in SETTINGS}
        return resolve(
            self.size,
            _read(self.config),
            os.environ if environment is None else environment,
            {name: value for name, value in given.items() if value is not None},
            language,
            self.task_vocab,
            usual,
        )


def resolve(
    size: str,
    file: tuple[str, Mapping] | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    language: Language | None = None,
    task_vocab: bool = False,
    usual: Mapping[str, object] | None = None,
) -> Configuration:
    """The configuration; `file` is its name and content. Raises run.Refused in one sentence.

    Of the task's `language` the lengths are taken over, and with `task_vocab` the vocabulary;
    `usual` are values by name that the task asks for.
    """
    try:
        preset = presets.find(size)
    except ValueError as error:
        raise run.Refused(f"--{error}") from error
    given = (_of_file(*file) if file else {}) | _of_environment(environment or {})
    for name, value in (flags or {}).items():
        setting = _known(name, BY_NAME, f"--{name}")
        given[name] = Given(_checked(setting, value, f"--{name}"), f"--{name}")
    if task_vocab:
        if language is None:
            raise run.Refused("--task_vocab needs a task")
        if "vocab_size" in given:
            raise run.Refused(f"--task_vocab and {given['vocab_size'].source} exclude each other")
        given["vocab_size"] = Given(language.vocabulary, "--task_vocab")
    given = {name: Given(value, "the task") for name, value in (usual or {}).items()} | given
    _derive(preset, given)
    return _built(preset, given, language)


def describe(task_vocabulary: int | None = None) -> list[str]:
    """The table of all sizes: parameters by part, in all, and the guide's range."""
    header = ("size", "vocabulary", *presets.Parameters._fields, "total", "guide", "within")
    lines = [header]
    for row in presets.describe(task_vocabulary):
        guide = "–".join(f"{bound / presets.M:g}" for bound in row.guide or ())
        within = {True: "yes", False: "no", None: "–"}[row.within]
        counts = (f"{count:,}" for count in (*row.parameters, row.parameters.total))
        lines.append(
            (row.name, f"{row.vocabulary:,}", *counts, f"{guide} M" if guide else "–", within)
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.rjust, line, widths)) for line in lines]


def _built(preset, given, language):
    changed = {BY_NAME[name].field: one.value for name, one in given.items()}
    training = {s.field: changed.pop(s.field, None) for s in SETTINGS if s.section == "training"}
    if language is not None:
        changed |= {"question": language.question, "answer": language.answer}
    architecture = dataclasses.replace(preset.architecture, **changed)
    if language and architecture.vocabulary < language.vocabulary:
        source = given["vocab_size"].source if "vocab_size" in given else f"size {preset.name}"
        raise run.Refused(
            f"vocab_size must be at least {language.vocabulary}, the task's symbols (or give "
            f"--task_vocab), got {architecture.vocabulary} from {source}"
        )
    sources = {s.name: f"size {preset.name}" for s in SETTINGS}
    return Configuration(
        preset.name,
        architecture,
        training["learning_rate"] or preset.learning_rate,
        training["batch"] or preset.batch,
        sources | {name: one.source for name, one in given.items()},
    )


def _derive(preset, given):
    """The channels of a head, where the width or the heads are changed and they are not."""
    moved = [given[name] for name in ("dimension", "attention_heads") if name in given]
    if not moved or "head_dim" in given:
        return
    width = given["dimension"].value if "dimension" in given else preset.architecture.dimension
    heads = (
        given["attention_heads"].value if "attention_heads" in given else preset.architecture.heads
    )
    if width % heads:
        raise run.Refused(
            f"attention_heads must divide dimension, or head_dim be given, got {heads} heads and "
            f"a dimension of {width} ({', '.join(one.source for one in moved)})"
        )
    given["head_dim"] = Given(width // heads, "dimension / attention_heads")


def _read(path):
    """The name and the content of the file of settings, None where there is none."""
    place = pathlib.Path(FILE if path is None else path)
    if path is None and not place.exists():
        return None
    try:
        return str(place), tomllib.loads(place.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise run.Refused(f"--config={place} cannot be read: {reason}") from error


def _of_file(path, content):
    given = {}
    for section, values in content.items():
        _known(section, SECTIONS, f"[{section}] in {path}")
        if not isinstance(values, dict):
            raise run.Refused(f"{section} in {path} must be a section, [{section}], got {values!r}")
        names = {s.name: s for s in SETTINGS if s.section == section}
        for name, value in values.items():
            setting = _known(name, names, f"{name} in [{section}] of {path}")
            given[name] = Given(_checked(setting, value, path), path)
    return given


def _of_environment(environment):
    names, given = {PREFIX + s.name.upper(): s for s in SETTINGS}, {}
    for name, text in environment.items():
        if name.startswith(PREFIX):
            setting = _known(name, names, f"the environment variable {name}")
            given[setting.name] = Given(_checked(setting, _parsed(setting, text), name), name)
    return given


def _known(name, known: Iterable[str], what):
    if name in known:
        return known[name] if isinstance(known, Mapping) else name
    near = difflib.get_close_matches(name, list(known), 1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    raise run.Refused(f"{what} is unknown: {hint}")


def _parsed(setting, text):
    if setting.kind is bool:
        return {"true": True, "false": False, "1": True, "0": False}.get(text.lower(), text)
    try:
        return setting.kind(text)
    except ValueError:
        return text


def _checked(setting, value, source):
    """`value`, of the setting's kind and not impossible; else refused by name and source."""
    if setting.kind is float and type(value) is int:
        value = float(value)
    wanted = {int: "a whole number", float: "a number", bool: "true or false"}[setting.kind]
    if setting.kind is float:
        fine = type(value) is float and setting.least < value < math.inf
        wanted += f" above {setting.least:g}"
    else:
        fine = type(value) is setting.kind and (setting.kind is bool or value >= setting.least)
    if setting.kind is int:
        wanted += f" of at least {setting.least}"
    if not fine:
        raise run.Refused(f"{setting.name} must be {wanted}, got {value!r} from {source}")
    return value


def _toml(value):
    return str(value).lower() if isinstance(value, bool) else repr(value)
