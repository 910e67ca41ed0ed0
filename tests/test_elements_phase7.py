"""Phase 7: its arms, and what is found in tables whose truth is known."""

import dataclasses

import numpy as np
import pytest

from experiments import elements_findings, elements_generalisation, elements_phase7, elements_study
from experiments import elements_generalisation_findings as words
from experiments import elements_generalisation_measures as measures
from experiments.elements_phase7 import Phase7
from experiments.elements_population import Arm
from experiments.shell import storage
from tests.tolerance import within_sampling_error

SIZES = (50, 100, 200, 500, 1000)
THREE = Phase7(activations=("relu", "tanh", "sigmoid"), datasets=("xor", "moons"), trials=8)


class Made:
    """An outcome whose columns are functions of the arm and of normal draws `[S, T]`, which are
    exactly 0 in the mean over trials: a mean is what was put in."""

    def __init__(self, population, *, seed=0, **columns):
        self.population = population
        generator = np.random.default_rng(seed)
        shape = len(population.datasets), population.trials

        def draw():
            normal = generator.normal(size=shape)
            return normal - normal.mean(-1, keepdims=True)

        self.columns = {
            name: np.stack([of(arm, draw()) for arm in population.arms])
            for name, of in columns.items()
        }
        self.rows = {"diverged": np.zeros(population.size, bool)}

    def cube(self, column):
        return self.columns[column]


def truth(arm, normal):
    """Accuracy of unseen points: relu and tanh learn, sigmoid does not get far."""
    learnt = {"relu": 0.1, "tanh": 0.08}.get(arm.element.activation, 0)
    share = np.log(arm.samples / 50) / np.log(20) - arm.flipped / 100
    return (0.5 + learnt * 3.5 if learnt else 0.6) + learnt * share + 0.004 * normal


def gap(arm):
    return 0.16 * (50 / arm.samples) * (arm.element.activation != "sigmoid")


def memorised(arm, normal):
    if not arm.flipped:
        return np.full(normal.shape, np.nan)
    return 1 - truth(arm, normal) + 0.2 * (arm.element.activation == "relu")


def noisy(sigma):
    return lambda arm, normal: truth(arm, normal) - 0.1 * sigma * (arm.element.activation == "relu")


EXACT = {
    "train_accuracy": lambda arm, normal: truth(arm, normal) + gap(arm),
    "validation_accuracy": truth,
    "test_accuracy": truth,
    "memorised": memorised,
    **{f"noise_{sigma:g}_accuracy": noisy(sigma) for sigma in (0.1, 0.2, 0.3)},
}


def found(population=THREE.population, **columns):
    parts = elements_generalisation.analyse(Made(population, **(EXACT | columns)))
    return {one.headline: one for one in parts["findings"]}, parts


@pytest.fixture(scope="module")
def told():
    return found()


# What is trained


def test_the_study_is_five_sizes_and_three_shares_of_wrong_labels():
    population = Phase7().population
    assert population.size == 6 * (5 + 3) * 4 * 20 == 3840
    kinds = {(arm.samples, arm.flipped) for arm in population.arms}
    assert kinds == {(n, 0) for n in SIZES} | {(200, f) for f in (10, 20, 40)}
    assert {arm.element.symbol[3:] for arm in population.arms} == {"-3x8"}
    assert (population.held_back, population.tests, population.noises) == (20, 1000, 10)
    assert population.sigmas == (0.1, 0.2, 0.3)
    counts = population.counts(Arm(population.elements[0], samples=50))
    assert counts == {"train": 40, "validation": 10, "flipped": 0, "test": 1000}


def test_all_sizes_learn_at_one_rate_and_are_tuned_at_one_size():
    population = Phase7(flip_size=100).population
    assert population.samples == 100
    assert population.rate == 0.1


def test_other_sizes_and_flips_make_other_arms():
    population = Phase7(sizes=(40, 80), flips=(0, 50), flip_size=80).population
    kinds = {(arm.samples, arm.flipped) for arm in population.arms}
    assert kinds == {(40, 0), (80, 0), (80, 50)}
    apart = Phase7(sizes=(40,), flips=(0, 50), flip_size=80).population
    assert {(a.samples, a.flipped) for a in apart.arms} == kinds
    without = Phase7(sizes=(40,), flips=(0,)).population
    assert {(a.samples, a.flipped) for a in without.arms} == {(40, 0)}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"sizes": ()}, "--sizes names nothing"),
        ({"sizes": (50, 50)}, "twice"),
        ({"sizes": (1,)}, "samples must be at least 2, got 1"),
        ({"sizes": (8,)}, "held_back must be enough for a pair of points, got 20 % of the 8"),
        ({"flips": (10, 20)}, r"flips must contain 0, the control, got \(10, 20\)"),
        ({"flips": (0, 1)}, "flips must be enough for a pair of points, got 1 % of the 160"),
        ({"flips": (0, 101)}, r"flipped is a percentage in \[0, 100\], got 101"),
        ({"sigmas": (0.0, -0.1)}, "sigmas must not be negative, got -0.1"),
        ({"noises": 0}, "noises must be at least 1, got 0"),
        ({"held_back": 100}, r"held_back is a percentage in \[0, 100\), got 100"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_words(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        Phase7(**values)


def test_the_number_of_points_has_but_one_flag():
    names = [field.name for field in dataclasses.fields(Phase7)]
    assert "samples" not in names
    assert {"sizes", "flips", "flip_size", "sigmas", "noises", "held_back"} <= set(names)


# Measures


def test_a_slope_is_per_doubling_and_an_area_a_mean_over_doublings():
    curve = np.array([0.5, 0.6, 0.7])[:, None] + np.array([0.0, 0.1])
    np.testing.assert_allclose(measures.slopes(curve, (50, 100, 200)), [0.1, 0.1])
    np.testing.assert_allclose(measures.area(curve, (50, 100, 200)), [0.6, 0.7])
    constant = np.full((3, 2), 0.8)
    np.testing.assert_allclose(measures.area(constant, (50, 100, 900)), 0.8)
    bent = np.array([0.5, 0.9, 0.9])[:, None]
    np.testing.assert_allclose(measures.area(bent, (50, 100, 400)), (0.7 + 2 * 0.9) / 3)


def test_the_points_needed_lie_between_the_sizes_on_either_side():
    steps = np.array([-0.01, 0.0, 0.01])  # trials
    curve = np.array([0.6, 0.8, 0.9])[:, None] + steps
    one = measures.needed(curve, (50, 100, 400), 0.85)
    assert one.value == pytest.approx(200)
    assert 100 < one.low < 200 < one.high < 400
    half = 4.302653 * 0.01 / np.sqrt(3)  # Student's t of 2 degrees of freedom
    assert one.low == pytest.approx(100 * 4 ** ((0.05 - half) / 0.1), rel=1e-3)
    assert one.high == pytest.approx(100 * 4 ** ((0.05 + half) / 0.1), rel=1e-3)
    assert one.n == 3


def test_what_is_never_reached_or_at_once_is_bounded_and_not_extrapolated():
    curve = np.array([0.6, 0.8, 0.9])[:, None] + np.array([-0.01, 0.0, 0.01])
    told = {
        level: measures.said(measures.needed(curve, (50, 100, 400), level), (50, 100, 400))
        for level in (0.5, 0.6, 0.9, 0.99)
    }
    assert told[0.5] == "≤ 50"
    assert told[0.6].startswith("≤ 50 [≤ 50, 5")
    assert told[0.9].startswith("400 [2")
    assert told[0.9].endswith(", > 400]")
    assert told[0.99] == "> 400"


def test_the_points_needed_of_an_unknown_curve_are_unknown():
    curve = np.array([[0.6, np.nan], [0.9, 0.9]])
    assert np.isnan(measures.needed(curve, (50, 100), 0.7)[:3]).all()
    single = measures.needed(curve[:, :1], (50, 100), 0.75)
    assert single.value == pytest.approx(np.sqrt(50 * 100))
    assert np.isnan(single[1:3]).all()


@pytest.mark.parametrize("trials", [6, 20])
def test_the_interval_of_the_points_needed_contains_them_as_often_as_it_says(trials):
    """The trials of a curve go up and down together and each size by itself as well."""
    generator = np.random.default_rng(3)
    shape = (300, len(SIZES), trials)
    common, own = generator.normal(size=(300, 1, trials)), generator.normal(size=shape)
    rise = 0.6 + 0.1 * np.log2(np.array(SIZES) / 50)
    samples = rise[:, None] + 0.03 * common + 0.02 * own
    estimate = measures.needed(samples, SIZES, 0.85)
    exact = 50 * 2**2.5
    inside = np.mean((estimate.low <= exact) & (estimate.high >= exact))
    assert 0.92 <= inside <= 0.99


def counted(validation_extra=0.0, spread=0.0, trials=20):
    """Cells in which validation and test are counts of points that are right at one rate."""
    study = dataclasses.replace(THREE, trials=trials, flips=(0,), sigmas=(0.0,))
    generator = np.random.default_rng(1)

    def count(n, rate, shape):
        return generator.binomial(n, np.clip(rate, 0, 1), shape) / n

    def validation(arm, normal):
        return count(arm.samples // 5, 0.8 + validation_extra + spread * normal, normal.shape)

    columns = {
        "train_accuracy": lambda arm, normal: 0.8 + 0 * normal,
        "validation_accuracy": validation,
        "test_accuracy": lambda arm, normal: count(1000, 0.8, normal.shape),
    }
    return Made(study.population, **columns)


def test_the_error_of_validation_is_that_of_two_counts():
    cells = measures.Cells(counted())
    v = measures.Validation(cells)
    np.testing.assert_array_equal(v.held_back, [10, 20, 40, 100, 200])
    exact = np.sqrt(0.8 * 0.2 * (1 / v.held_back + 1 / 1000))
    np.testing.assert_allclose(v.expected, exact, rtol=0.02)
    error = exact / np.sqrt(2 * 3 * 2 * 20)  # of a root mean square over so many networks
    assert within_sampling_error(v.error.value, exact, error)
    assert np.all((v.error.low <= v.error.value) & (v.error.value <= v.error.high))
    unbiased, noise = words._validation(cells)
    assert unbiased.verdict.startswith("no bias found")
    assert noise.verdict == "as counting has it"


def test_validation_that_varies_more_than_a_count_is_told():
    noise = words._validation(measures.Cells(counted(spread=0.15)))[1]
    assert noise.verdict.startswith("noisier than counting at")
    assert "1000" in noise.verdict


def test_biased_validation_is_told_with_its_sizes():
    unbiased = words._validation(measures.Cells(counted(validation_extra=0.06)))[0]
    assert "biased at" in unbiased.verdict
    assert "1000" in unbiased.verdict
    assert unbiased.verdict.endswith("within 1 point at none")


# Findings


def test_every_question_of_the_phase_is_answered(told):
    verdicts = {headline: one.verdict for headline, one in told[0].items()}
    assert verdicts == {
        "Does held-out accuracy grow with the number of points?": "relu +, tanh +, sigmoid 0",
        "Which activation needs the fewest points?": "leading: relu",
        "Who reaches 90 %, and with how many points?": (
            "xor 1, moons 1, the mean over them 1 of 3"
        ),
        "Is a gap left with the most points?": "relu +, tanh +, sigmoid 0",
        "Does the gap shrink with the number of points?": "relu −, tanh −, sigmoid 0",
        "Is the validation estimate unbiased for test accuracy?": (
            "no bias found; within 1 point at 50, 100, 200, 500, 1000"
        ),
        "How noisy is the validation estimate?": "as counting has it",
        "What does noise on the inputs cost?": "at σ 0.3 accuracy is lost by relu",
        "How many of the wrong labels does a network repeat?": "",
        "Are wrong labels learnt by heart?": "beyond the control by relu",
        "What do wrong labels cost on held-out points?": "at 40 % accuracy is lost by relu, tanh",
        "Which activation is the most accurate under noise on the inputs?": "leading: relu",
        "Which activation loses least to noise on the inputs?": "leading: tanh",
        "Which activation is the most accurate under wrong labels?": "leading: relu",
        "Which activation loses least to wrong labels?": "leading: tanh",
        "Failed networks": "",
    }


def test_findings_say_the_numbers_that_were_put_in(told):
    sentences = {headline: one.sentence for headline, one in told[0].items()}

    def number(headline, before):
        return float(sentences[headline].split(before)[1].split(" [")[0])

    doubling = 100 * 0.1 / np.log2(20)
    growth = "Does held-out accuracy grow with the number of points?"
    assert number(growth, ": relu ") == pytest.approx(doubling, abs=0.2)
    assert number("Is a gap left with the most points?", "tanh ") == pytest.approx(0.8, abs=0.06)
    noise = "What does noise on the inputs cost?"
    assert number(noise, "at σ 0.2 (p < 0.001), ") == pytest.approx(-3, abs=0.06)
    heart = "Are wrong labels learnt by heart?"
    assert number(heart, ": relu ") == pytest.approx(20, abs=0.06)
    assert number(heart, "tanh ") == pytest.approx(0, abs=0.06)


def test_who_has_hardly_learnt_has_nothing_to_lose(told):
    """Sigmoid loses nothing to noise, and for that is no winner."""
    findings, parts = told
    for one in ("noise on the inputs", "wrong labels"):
        assert "sigmoid" not in findings[f"Which activation loses least to {one}?"].sentence
        assert "sigmoid" in findings[f"Which activation is the most accurate under {one}?"].sentence
    _, rows, _ = parts["tables"]["Pairs of activations"]
    lost = [row for row in rows if row[0].startswith("change")]
    assert [row[1] for row in lost] == ["relu − tanh"] * 2


def test_the_questions_are_the_same_whatever_the_numbers(told):
    """The verdicts of two protocols are compared question by question."""
    nothing = {name: lambda arm, normal: 0.5 + 0 * normal for name in EXACT if name != "memorised"}
    findings, _ = found(**nothing)
    assert list(findings) == list(told[0])
    for one in ("noise on the inputs", "wrong labels"):
        verdict = findings[f"Which activation loses least to {one}?"].verdict
        assert verdict == "too few have learnt"


def test_networks_that_only_err_have_not_learnt_by_heart():
    innocent = lambda arm, normal: (
        np.full(normal.shape, np.nan) if not arm.flipped else 1 - truth(arm, normal)
    )
    findings, _ = found(memorised=innocent)
    assert findings["Are wrong labels learnt by heart?"].verdict == "beyond the control by none"


def test_figures_and_tables_are_there(told):
    _, parts = told
    assert set(parts["figures"]) == {"size", "datasets", "gap", "noise", "memorised"} | {
        "wrong_labels"
    }
    assert all(caption.endswith(".") for _, caption in parts["figures"].values())
    tables = parts["tables"]
    header, rows, _ = tables["By arm"]
    assert len(rows) == 3 * 8
    assert all(len(row) == len(header) for row in rows)
    clean, wrong = rows[0], rows[5]
    assert (clean[:3], clean[-1]) == (["rel-3x8", "50", "0"], "–")
    assert wrong[:3] == ["rel-3x8", "200", "10"]
    assert wrong[-1] != "–"
    header, rows, _ = tables["Points needed"]
    assert [row[:2] for row in rows[:3]] == [["relu", "xor"], ["relu", "moons"], ["relu", "all"]]
    assert all(row[2:] == ["> 1000"] * 3 for row in rows[6:])
    header, rows, _ = tables["The validation estimate"]
    assert [row[:2] for row in rows] == [
        ["50", "10"],
        ["100", "20"],
        ["200", "40"],
        ["500", "100"],
        ["1000", "200"],
    ]


@pytest.mark.parametrize(
    ("values", "headlines"),
    [
        ({"activations": ("relu",)}, 11),
        ({"datasets": ("xor",)}, 16),
        ({"trials": 1}, 16),
        ({"sigmas": (0.0,)}, 13),
        ({"flips": (0,)}, 11),
        ({"held_back": 0}, 14),
        ({"sizes": (200,)}, 12),
        ({"sizes": (100,), "flips": (0,), "sigmas": (), "held_back": 0, "trials": 1}, 2),
        ({"depths": (1, 3), "trials": 3}, 16),
    ],
    ids=str,
)
def test_what_is_not_there_is_not_spoken_of(values, headlines):
    population = dataclasses.replace(THREE, **values).population
    columns = EXACT if population.held_back else {**EXACT, "validation_accuracy": None}
    columns = {name: of for name, of in columns.items() if of}
    parts = elements_generalisation.analyse(Made(population, **columns))
    assert len(parts["findings"]) == headlines
    assert all(isinstance(one, elements_findings.Finding) for one in parts["findings"])
    for header, rows, _ in parts["tables"].values():
        assert all(len(row) == len(header) for row in rows)


def test_depths_of_an_activation_are_averaged_within_the_trial():
    population = dataclasses.replace(THREE, depths=(1, 3)).population
    columns = {"test_accuracy": lambda arm, normal: arm.element.depth + 0 * normal}
    cells = measures.Cells(Made(population, **columns))
    assert cells.at("test_accuracy", 200).shape == (3, 2, 8)
    assert (cells.at("test_accuracy", 200) == 2).all()


def test_the_error_of_validation_is_that_of_one_network_not_of_a_mean():
    population = dataclasses.replace(THREE, depths=(1, 3)).population
    off = lambda arm, normal: 0.8 + 0.1 * (arm.element.depth - 2) + 0 * normal
    columns = {"test_accuracy": lambda arm, normal: 0.8 + 0 * normal, "validation_accuracy": off}
    v = measures.Validation(measures.Cells(Made(population, **columns)))
    np.testing.assert_allclose(v.error.value, 0.1)
    np.testing.assert_allclose([test.difference.value for test in v.bias], 0, atol=1e-12)


# End to end


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    study = Phase7(
        activations=("relu", "tanh"),
        depths=(1,),
        widths=(4,),
        datasets=("xor", "moons"),
        sizes=(20, 40),
        flip_size=40,
        flips=(0, 50),
        sigmas=(0.0, 0.5),
        noises=3,
        trials=3,
        tests=50,
        epochs=20,
        record_every=20,
    )
    out = tmp_path_factory.mktemp("phase7")
    return elements_study.report(elements_phase7.STUDY, study.population, out)


def test_a_run_ends_in_a_report(outcome):
    content = storage.read_json(outcome.folder / "findings.json")
    assert "Are wrong labels learnt by heart?" in content["verdicts"]
    assert len(content["findings"]) == 16
    for name in ("report.html", "summary.csv", "size.png", "noise.png", "memorised.png"):
        assert (outcome.folder / name).stat().st_size > 0


def test_accuracies_are_shares_of_the_points_that_there_are(outcome):
    arms = outcome.population.arms
    tests = outcome.cube("test_accuracy") * 50
    np.testing.assert_allclose(tests, np.rint(tests), atol=1e-9)
    for i, arm in enumerate(arms):
        counts = outcome.population.counts(arm)
        assert counts["validation"] == arm.samples // 5
        for part in ("train", "validation"):
            right = outcome.cube(f"{part}_accuracy")[i] * counts[part]
            np.testing.assert_allclose(right, np.rint(right), atol=1e-9)
        repeated = outcome.cube("memorised")[i] * counts["flipped"]
        if arm.flipped:
            assert counts["flipped"] == 16
            np.testing.assert_allclose(repeated, np.rint(repeated), atol=1e-9)
        else:
            assert np.isnan(repeated).all()


def test_noise_is_averaged_over_its_draws_at_every_sigma(outcome):
    columns = [name for name in outcome.rows if name.startswith("noise_")]
    assert columns == ["noise_0.5_accuracy"]
    draws = outcome.cube("noise_0.5_accuracy") * 50 * 3
    np.testing.assert_allclose(draws, np.rint(draws), atol=1e-3)
    assert np.any(outcome.cube("noise_0.5_accuracy") != outcome.cube("test_accuracy"))


def test_the_summary_tells_arms_apart_by_their_factors(outcome):
    lines = (outcome.folder / "summary.csv").read_text().splitlines()
    header = lines[0].split(",")
    kinds = {
        (line.split(",")[header.index("samples")], line.split(",")[header.index("flipped")])
        for line in lines[1:]
    }
    assert kinds == {("20", "0"), ("40", "0"), ("40", "50")}
    assert "noise_0.5_accuracy_low" in header
