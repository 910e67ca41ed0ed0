"""Settings rise from the preset to the flags, and what is unknown or impossible is refused."""

import json
import re
import tomllib

import pytest

from alen import presets
from experiments import alen_configuration as configuration
from experiments.shell import run

LANGUAGE = configuration.Language(vocabulary=20, question=7, answer=3)
FILE = {
    "model": {"dimension": 32, "hidden_dim": 33, "num_operators": 5},
    "transformer": {"layers": 3, "attention_heads": 2, "feed_forward_dim": 34, "vocab_size": 35},
    "training": {"learning_rate": 1, "batch_size": 36},
}


def resolve(size="tiny", **given):
    return configuration.resolve(size, **given)


def refused(**given):
    with pytest.raises(run.Refused) as error:
        resolve(**given)
    return str(error.value)


def test_a_preset_alone_is_itself():
    preset = presets.find("small")
    found = resolve("small")
    assert (found.architecture, found.batch) == (preset.architecture, preset.batch)
    assert found.learning_rate == preset.learning_rate
    assert set(found.sources.values()) == {"size small"}


def test_every_name_of_a_file_lands_where_it_belongs():
    found = resolve(file=("config.toml", FILE))
    a = found.architecture
    assert (a.dimension, a.hidden, a.operators, a.layers, a.heads) == (32, 33, 5, 3, 2)
    assert (a.ffn, a.vocabulary, a.channels) == (34, 35, 16)
    assert (found.learning_rate, found.batch) == (1.0, 36)
    assert found.sources["dimension"] == "config.toml"
    assert found.sources["head_dim"] == "dimension / attention_heads"


def test_precedence_rises_from_preset_to_file_to_environment_to_flags():
    given = {"file": ("config.toml", FILE)}
    assert resolve(**given).architecture.hidden == 33
    given["environment"] = {"ALEN_HIDDEN_DIM": "40", "ALEN_LEARNING_RATE": "3e-4", "HOME": "x"}
    assert resolve(**given).architecture.hidden == 40
    given["flags"] = {"hidden_dim": 41}
    found = resolve(**given)
    assert found.architecture.hidden == 41
    assert (found.learning_rate, found.batch) == (3e-4, 36)
    sources = [found.sources[n] for n in ("hidden_dim", "learning_rate", "layers", "thought_slots")]
    assert sources == ["--hidden_dim", "ALEN_LEARNING_RATE", "config.toml", "size tiny"]


def test_flags_read_the_file_and_the_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = configuration.Sized(layers=5)
    assert flags.configuration(environment={}).architecture.dimension == 64
    (tmp_path / "config.toml").write_text("[model]\ndimension = 96\n[transformer]\nlayers = 4\n")
    found = flags.configuration(environment={"ALEN_ATTEND_QUESTION": "true"})
    a = found.architecture
    assert (a.dimension, a.layers, a.channels, a.memory) == (96, 5, 24, True)
    (tmp_path / "config.toml").write_text("[model\n")
    with pytest.raises(run.Refused, match=r"--config=config.toml cannot be read: "):
        flags.configuration(environment={})
    missing = configuration.Sized(config="other.toml")
    with pytest.raises(run.Refused, match=r"--config=other.toml cannot be read: No such file"):
        missing.configuration(environment={})


def test_what_is_printed_can_be_read_back_and_what_is_stored_is_json():
    found = resolve(file=("f", FILE), environment={"ALEN_ATTEND_QUESTION": "1"}, language=LANGUAGE)
    again = resolve(file=("again", tomllib.loads("\n".join(found.lines()))), language=LANGUAGE)
    assert again == found
    assert set(again.sources.values()) == {"again"}
    settings = found.settings()
    assert json.loads(json.dumps(settings)) == settings
    assert settings["hidden_dim"] == 33
    assert settings["attend_question"] is True
    assert settings["question_length"] == 7


def test_a_task_brings_its_lengths_and_with_task_vocab_its_vocabulary():
    a = resolve(language=LANGUAGE).architecture
    assert (a.vocabulary, a.question, a.answer) == (512, 7, 3)
    lean = resolve(language=LANGUAGE, task_vocab=True)
    assert lean.architecture.vocabulary == 20
    assert lean.sources["vocab_size"] == "--task_vocab"


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"size": "tinny"}, "--size must be one of tiny, small, medium, large, xl, got 'tinny'"),
        (
            {"file": ("c.toml", {"model": {"dimensoin": 3}})},
            "dimensoin in [model] of c.toml is unknown: did you mean dimension?",
        ),
        (
            {"file": ("c.toml", {"model": {"layers": 3}})},
            "layers in [model] of c.toml is unknown: known are dimension, hidden_dim, .*",
        ),
        (
            {"file": ("c.toml", {"modell": {}})},
            "[modell] in c.toml is unknown: did you mean model?",
        ),
        ({"file": ("c.toml", {"model": 3})}, "model in c.toml must be a section, [model], got 3"),
        (
            {"environment": {"ALEN_DIMENSIONS": "3"}},
            "the environment variable ALEN_DIMENSIONS is unknown: did you mean ALEN_DIMENSION?",
        ),
        (
            {"environment": {"ALEN_DIMENSION": "wide"}},
            "dimension must be a whole number of at least 1, got 'wide' from ALEN_DIMENSION",
        ),
        (
            {"file": ("c.toml", {"transformer": {"layers": 1}})},
            "layers must be a whole number of at least 2, got 1 from c.toml",
        ),
        (
            {"file": ("c.toml", {"model": {"dimension": True}})},
            "dimension must be a whole number of at least 1, got True from c.toml",
        ),
        (
            {"environment": {"ALEN_LEARNING_RATE": "nan"}},
            "learning_rate must be a number above 0, got nan from ALEN_LEARNING_RATE",
        ),
        (
            {"environment": {"ALEN_ATTEND_QUESTION": "perhaps"}},
            "attend_question must be true or false, got 'perhaps' from ALEN_ATTEND_QUESTION",
        ),
        ({"flags": {"batch_size": 0}}, "batch_size must be .* at least 1, got 0 from --batch_size"),
        (
            {"flags": {"attention_heads": 5}},
            "attention_heads must divide dimension, or head_dim be given, got 5 heads and a "
            "dimension of 64 (--attention_heads)",
        ),
        (
            {"flags": {"vocab_size": 12}, "language": LANGUAGE},
            "vocab_size must be at least 20, the task's symbols (or give --task_vocab), got 12 "
            "from --vocab_size",
        ),
        ({"task_vocab": True}, "--task_vocab needs a task"),
        (
            {"task_vocab": True, "language": LANGUAGE, "environment": {"ALEN_VOCAB_SIZE": "30"}},
            "--task_vocab and ALEN_VOCAB_SIZE exclude each other",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(given, complaint):
    pattern = re.escape(complaint).replace(r"\.\*", ".*")
    assert re.fullmatch(pattern, refused(**given))


def test_the_table_of_sizes_stands_beside_the_guide():
    header, *lines = configuration.describe(30)
    assert header.split()[:3] == ["size", "vocabulary", "embeddings"]
    assert [line.split()[0] for line in lines] == [n for n in presets.NAMES for _ in range(2)]
    large = next(line for line in lines if "50,000" in line)
    assert large.split()[-4:] == ["115,667,459", "100–150", "M", "yes"]
