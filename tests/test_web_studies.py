"""The studies of neurons and of reasoning on the page: no path of the machine, and bounds."""

import dataclasses
import re

import pytest

from experiments import web_limits, web_studies
from experiments.shell.web import api_jobs, backend


@pytest.fixture(scope="module")
def studies():
    """By name, those that are no elements'."""
    found = {study.name: study for study in web_studies.studies()}
    return {name: found[name] for name in web_limits.LIMITS if name in found}


def flag(studies, study, name) -> backend.Flag:
    return next(flag for flag in studies[study].flags if flag.name == name)


def test_all_that_have_limits_are_offered(studies):
    assert set(web_limits.LIMITS) <= set(web_studies.TITLES)
    assert {name for name in studies if name.startswith("apoptosis")} == {
        name for name in web_limits.LIMITS if name.startswith("apoptosis")
    }


def test_no_flag_takes_a_path(studies):
    for study in studies.values():
        for one in study.flags:
            assert one.name not in web_limits.LEFT_OUT
            assert not re.search(r"\b(paths?|folders?|files?)\b", one.help), (study.name, one)


def test_a_corpus_is_one_of_those_known_by_name(studies):
    for name in ("apoptosis_train", "apoptosis_fitness", "apoptosis_compare"):
        corpus = flag(studies, name, "corpus")
        assert corpus.choices == ("documentation", "source", "shakespeare", "wiki")
        api_jobs.check(corpus, "wiki")
        for path in ("/etc/passwd", "../secret.txt", "README.md", ""):
            with pytest.raises(backend.Invalid, match="unknown corpus"):
                api_jobs.check(corpus, path)


def test_defaults_are_among_the_choices_and_within_the_bounds(studies):
    for study in studies.values():
        for one in study.flags:
            if one.default:
                api_jobs.check(one, one.default)
    assert flag(studies, "apoptosis_compare", "preset").choices[0] == "prototype"
    assert "redo" in flag(studies, "apoptosis_plasticity", "recipes").choices
    assert flag(studies, "apoptosis_slowly_changing", "variant").choices == ("A", "B")
    assert flag(studies, "apoptosis_fitness", "compute").choices == ("float32", "bfloat16")


def test_bounds_name_flags_that_there_are(studies):
    for name, study in studies.items():
        assert set(web_limits.LIMITS[name].bounds) <= {one.name for one in study.flags}, name


def test_what_may_be_left_open_can_be_said_either_way():
    field = dataclasses.field(default=None, metadata={"help": "either"})
    field.name = "either"
    made = web_studies._flag("elements_lab", field, bool | None)
    assert (made.kind, made.optional, made.default) == ("boolean", True, "")
    assert made.choices == ("true", "false")


@pytest.mark.parametrize(
    ("study", "flags", "networks"),
    [
        ("apoptosis_slowly_changing", {"recipes": "redo,random", "seeds": "30"}, 60),
        ("apoptosis_slowly_changing", {"recipes": "redo", "tune": "2", "tune_seeds": "5"}, 110),
        ("apoptosis_plasticity", {"recipes": "redo", "seeds": "3"}, 6),
        ("apoptosis_fitness", {}, 10),
        ("apoptosis_train", {"steps": "10"}, 1),
        ("apoptosis_compare", {"arms": "baseline,random", "seeds": "3"}, 6),
    ],
)
def test_a_study_says_how_many_networks_it_trains(study, flags, networks):
    assert web_studies.check(study, flags) == networks


@pytest.mark.parametrize(
    ("study", "flags", "sentence"),
    [
        ("apoptosis_compare", {"preset": "prototype", "seeds": "50"}, "too much for the page"),
        ("apoptosis_slowly_changing", {"learning_rate": "0.1,0.2,0.3,0.4"}, "5,000,000,000"),
        ("apoptosis_plasticity", {"tasks": "500", "steps": "10000"}, "too much for the page"),
        ("apoptosis_compare", {"arms": "prayer"}, "prayer"),
        ("apoptosis_fitness", {"moments": "5,2"}, "moments must rise"),
    ],
)
def test_what_is_too_large_or_makes_no_sense_is_refused(study, flags, sentence):
    with pytest.raises(backend.Invalid, match=sentence):
        web_studies.check(study, flags)
