"""The analysis of verification finds what was planted in answers, and says only that."""

import alen_planted
import jax.numpy as jnp
import numpy as np
import pytest

from alen import tasks, tokeniser
from experiments import alen_verification as study
from experiments import alen_verification_analysis as analysis
from experiments import alen_verification_asking as asking
from experiments import alen_verification_findings as findings
from experiments import alen_verification_methods as methods
from experiments import alen_verification_tables as tables

SEEDS, RISK = 5, 0.05


def organisms(label, **planted):
    return [
        analysis.measure(label, "tiny", seed, alen_planted.sets(seed, **planted), RISK, 0.05)
        for seed in range(SEEDS)
    ]


@pytest.fixture(scope="module")
def found():
    return {
        "good": organisms("good", count=700),
        "shared": organisms("shared", count=700, apart=2.5, shared=0.9, listed=False),
        "blind": organisms("blind", count=700, apart=0.0, listed=False),
    }


def said(found, headline):
    (text,) = [text for name, text in findings.findings(found, RISK) if name == headline]
    return text


def test_summary_has_the_stated_columns_and_a_row_for_each_method_and_stratum(found):
    rows = [row for one in found["good"] for row in one.rows]
    columns = analysis.columns(rows)
    assert ",".join(columns) == (
        "task,size,stratum,method,seed,n,accuracy,coverage,verified_wrong,false_verify_rate,"
        "false_verify_high,aurc,augrc"
    )
    strata = {"trained", "unanswerable", "longer", "perturbed", "mixed", "domain"}
    names = {*methods.BY_NAME, methods.INDEPENDENT}
    places = list(zip(columns["stratum"], columns["method"], columns["seed"], strict=True))
    assert len(places) == len(set(places)) == len(strata) * len(names) * SEEDS
    assert {place[:2] for place in places} == {(s, m) for s in strata for m in names}


def test_each_subset_of_checks_is_there():
    subsets = [set(method.margins) for method in methods.METHODS if method.certified]
    checks = {"forward", "backward", "stability"}
    for subset in ({c} for c in checks):
        assert subset in subsets
        assert checks - subset in subsets
    assert checks in subsets


def test_domain_is_the_four_splits_and_only_where_all_are_listed(found):
    assert findings.values(found["good"], "domain", "always_accept", "n").tolist() == [2800] * SEEDS
    assert "domain" not in findings.strata(found["shared"])
    sets = alen_planted.sets(0, count=20)
    drawn = sets[tasks.TRAINED, "train"][0], False
    assert "domain" not in analysis.evaluated(sets | {(tasks.TRAINED, "train"): drawn})


def test_mixture_holds_equally_many_of_both_kinds():
    sets = alen_planted.sets(0, count=300)
    few = methods.at(sets[tasks.UNANSWERABLE, "test"][0], slice(0, 120))
    sets[tasks.UNANSWERABLE, "test"] = few, False
    mixed = analysis.mixture(sets, "test")
    assert len(mixed.right) == 240
    assert not mixed.right[120:].any()
    first = sets[tasks.TRAINED, "test"][0].forward
    assert np.isin(mixed.forward[:120], first).all()
    assert not np.isin(mixed.forward[120:], first).any()


def test_certified_thresholds_are_never_below_the_least_and_keep_the_risk(found):
    for one in found["good"]:
        promise = one.guarantees["all_three"]
        assert promise.certified
        assert (promise.thresholds >= [0.0, 0.0, 0.5]).all()
    rates = findings.values(found["good"], "mixed", "all_three", "false_verify_rate")
    assert (rates <= RISK).all()
    assert not any(one.guarantees["all_three"].certified for one in found["blind"])
    assert (findings.values(found["blind"], "mixed", "all_three", "coverage") == 0).all()


def test_a_threshold_that_most_tuning_margins_share_can_be_asked_for():
    reference = np.sort(np.array([0.0, 0.5, 1.0, 1.0, 1.0]))[:, None]
    tried = methods.candidates(reference, np.array([0.5]))
    assert tried.min() == 0.5
    assert ((tried < 1) & (tried > 0.99)).any()


def test_scores_rank_answers_as_joint_thresholds_accept_them():
    tuning, others = (alen_planted.answers(seed, 400, 0.7, 2.0) for seed in (1, 2))
    tuning, others = (a._replace(stability=np.round(a.stability)) for a in (tuning, others))
    rule = methods.fit(methods.ALL, tuning, tuning, 0.5, 0.5)
    scores = methods.score(rule, others)
    for level in (0, 100, 300):
        thresholds = np.nextafter(rule.reference[level], -np.inf)
        accepted = (methods.margins(methods.ALL, others) > thresholds).all(axis=1)
        assert scores[accepted].min() > scores[~accepted].max()


def test_an_unknown_margin_never_passes():
    answers = alen_planted.answers(0, 50, 1.0, 9.0)
    answers = answers._replace(backward=np.full(50, np.nan))
    rule = methods.fit(methods.PLAIN, answers, answers, 0.1, 0.1)
    assert not methods.passed(rule, answers).all(axis=1).any()
    assert np.isneginf(methods.score(rule, answers)).all()


def test_independence_is_told_from_errors_in_common(found):
    for one in found["shared"]:
        assert one.independent.passing_wrong_seen > 2 * one.independent.passing_wrong
    assert "come together" in said(found, "Are the checks independent? (shared)")
    assert "come together" not in said(found, "Are the checks independent? (blind)")


def test_product_under_independence_is_exact():
    right = np.array([True] * 4 + [False] * 4)
    margin = np.array([1.0, 1, 1, -1, 1, 1, -1, -1])
    answers = methods.Answers(right, *[margin] * 6, right)
    rule = methods.fit(methods.PLAIN, answers, answers, 0.1, 0.1)
    product = methods.independent(rule, answers)
    assert product.passing_wrong == 1 / 8
    assert product.passing_wrong_seen == 1 / 2
    assert product.coverage == pytest.approx((27 / 64 + 1 / 8) / 2)
    assert product.false_verify == pytest.approx((1 / 8) / (27 / 64 + 1 / 8))


def test_risk_at_a_coverage_is_the_share_of_wrong_answers_among_the_highest():
    generator = np.random.default_rng(0)
    right, scores = generator.random(100) < 0.7, generator.permutation(100).astype(float)
    best = right[np.argsort(-scores)]
    expected = [1 - best[: round(100 * c)].mean() for c in analysis.COVERAGES]
    np.testing.assert_allclose(analysis.risks(scores, right), expected, atol=1e-12)


def test_confusion_counts_every_answer_once(found):
    for one in found["shared"]:
        np.testing.assert_allclose(one.confusion.sum(axis=1), 1)
        passed = one.confusion[:, [0, 2]].sum(axis=1)
        assert passed[3] <= passed[:3].min()


def test_differences_are_paired_and_their_verdicts_are_those_of_the_tests(found):
    verdicts = {(d.task, d.stratum, d.reference): d for d in findings.differences(found)}
    assert verdicts["good", "mixed", "max_softmax"].verdict == "better"
    worse = verdicts["blind", "mixed", "max_softmax"]
    assert worse.verdict == "worse"
    assert worse.difference.low > 0
    by_hand = [
        findings.values(found["blind"], "mixed", name, "augrc")
        for name in ("all_three", "max_softmax")
    ]
    assert worse.difference.value == pytest.approx(np.mean(by_hand[0] - by_hand[1]))


def test_one_verified_wrong_answer_refutes_the_claim(found):
    text = said(found, "“100 %” (shared)")
    k = findings.values(found["shared"], "longer", "all_three", "verified_wrong_count").sum()
    n = findings.values(found["shared"], "longer", "all_three", "verified_count").sum()
    assert text.startswith("The claim that verification is right in 100 % is refuted")
    assert f"longer {int(k):,} of {int(n):,}" in text
    assert k > 0
    assert said(found, "“100 %” (blind)").startswith("Nothing was verified")
    clean = {"clean": organisms("clean", count=300, apart=12.0, listed=False)}
    assert "not refuted" in said(clean, "“100 %” (clean)")


def test_a_bar_kept_by_verifying_nothing_is_called_so(found):
    assert "only in that no answer" in said(found, "Unanswerable questions (blind)")
    assert "only in that" not in said(found, "Unanswerable questions (good)")


def test_tables_and_figures_can_be_drawn(found):
    places = np.indices((3, SEEDS, 6, 4)).reshape(4, -1)
    names = ("task", "seed", "question", "operator")
    stored = dict(zip(names, places, strict=True))
    right = places[3] == 0
    candidates = stored | {"energy": np.where(right, -1.0, 1.0), "right": right}
    operators = stored | {"stratum": 0 * right, "step": 0 * right, "count": 1 + places[3]}
    assert all((v == 1).all() for v in tables.energies(found, candidates).values())
    drawn = tables.drawn(found, candidates, operators, dict.fromkeys(found, ("trained",)))
    assert {"risk_coverage", "energy", "confusion_2", "operators_0"} <= set(drawn)
    for header, rows, _ in tables.tables(found, {key: {"answer": 1.0} for key in found}).values():
        assert all(len(row) == len(header) for row in rows)


def test_the_most_frequent_sample_wins_whatever_stands_behind_its_end():
    end = tokeniser.EOS
    drawn = jnp.array([[[7, end, 9]], [[8, end, 0]], [[8, end, 5]], [[6, 6, 6]]])
    tokens, share = asking.vote(drawn)
    assert tokens.tolist() == [[8, end, 0]]
    assert share.tolist() == [0.5]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"tasks": ("modula",)}, "did you mean 'modular'"),
        ({"tasks": ()}, "at least one"),
        ({"tasks": ("lookup:depth",)}, "name=value"),
        ({"tasks": ("lookup:depth=x",)}, "whole number"),
        ({"tasks": ("modular:share=x",)}, "share must be a number"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"risk": 1.0}, "risk must lie strictly"),
    ],
)
def test_what_cannot_be_is_refused_in_words(flags, said):
    with pytest.raises(ValueError, match=said):
        study.Verification(**flags)


def test_settings_of_a_task_stand_behind_its_name():
    task = study.task("modular:prime=11:operations=+|-:commute=true")
    assert (task.prime, task.operations, task.commute) == (11, ("+", "-"), True)
    assert study.task("modular").operations == ("+",)
    assert study.task("modular:share=0.5").share == 0.5
