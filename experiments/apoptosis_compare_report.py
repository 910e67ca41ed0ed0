"""The report of the study of strategies: summary.csv, report.html, findings.json."""

import pathlib

import numpy as np

from experiments import apoptosis_compare_figures, apoptosis_compare_findings
from experiments.apoptosis_compare_experiment import Experiment
from experiments.apoptosis_compare_findings import Tests, nats
from experiments.apoptosis_compare_measures import Found
from experiments.elements_findings import probability
from experiments.lab import figures, statistics
from experiments.shell import report, run, storage

TITLE = "Death and birth of neurons: strategies compared"
QUESTION = (
    "Does a character transformer learn better when neurons die and are born meanwhile, by which "
    "strategy, and what do its events cost?"
)
# The success criteria and the red flags of the plan.
LOSS, STRETCH, VARIANCE, EVENTS = 1.6, 1.5, 0.1, 10
RED_LOSS, RED_VARIANCE = 2.0, 0.2


def publish(folder: pathlib.Path, experiment: Experiment, margin: float) -> None:
    """Writes the report of a finished run into its folder, and prints the criteria."""
    found = Found.read(folder, experiment)
    storage.write_csv(folder / "summary.csv", summary(found, margin))
    findings = apoptosis_compare_findings.analyse(found, margin)
    tables = {
        "Strategies": _strategies(found, margin),
        "The plan's criteria": criteria(found),
        "Events": _events(found),
        "Arms": _arms(found),
    }
    settings = run.manifest(folder)["settings"]
    facts = {n: v for n, v in settings.items() if n != "arms"}
    facts |= {"margin": margin, "arms": len(found.names)}
    facts["symbols"] = repr(experiment.subject.vocabulary.symbols)
    facts |= run.facts(folder)
    page = report.Report(
        TITLE,
        QUESTION,
        [(f.headline, f.sentence) for f in findings],
        apoptosis_compare_figures.draw(found, margin),
        tables,
        facts,
    )
    report.write(folder, page, {f.headline: f.verdict for f in findings if f.verdict})
    for name in ("Strategies", "The plan's criteria"):
        print(text(name, *tables[name]))
    for finding in findings:
        print(f"{finding.headline}\n    {finding.sentence}")


def summary(found: Found, margin: float) -> dict[str, np.ndarray]:
    """A row per arm."""
    names = found.names
    columns = {
        "arm": np.array(names),
        "n": np.full(len(names), found.experiment.seeds),
        "steps": np.full(len(names), found.steps[-1]),
    }
    for name, values in (
        ("validation_loss", found.final),
        ("test_loss", found.final_test),
        ("area", found.area),
        ("spike", found.spikes),
        ("variance", found.variance),
        ("events", found.count),
        ("died", found.total("died")),
        ("born", found.total("born")),
        ("output_change", found.change),
        ("effective_ages", found.ages),
        ("young", found.young),
    ):
        estimate = statistics.mean(values)
        columns |= {name: estimate.value, f"{name}_low": estimate.low}
        columns[f"{name}_high"] = estimate.high
    columns["variance_over_seeds"] = _over_seeds(found)
    tests = Tests(found, margin).against(found.final)
    fields = {"difference": "value", "difference_low": "low", "difference_high": "high"}
    for column, field in fields.items():
        pick = lambda name, f=field: getattr(tests[name].difference, f) if name in tests else np.nan
        columns[column] = np.array([float(pick(name)) for name in names])
    for column in ("p", "p_margin"):
        pick = lambda name, c=column: getattr(tests[name], c) if name in tests else np.nan
        columns[column] = np.array([float(pick(name)) for name in names])
    columns["verdict"] = np.array([tests[n].verdict if n in tests else "" for n in names])
    costs = np.array([found.overhead(a) for a in range(len(names))])
    columns |= {"update_in_steps": costs[:, 0], "overhead": costs[:, 1]}
    return columns


def _over_seeds(found) -> np.ndarray:
    """Variance of the final validation loss over seeds; NaN of one."""
    if found.experiment.seeds < 2:
        return np.full(len(found.names), np.nan)
    return found.final.var(-1, ddof=1)


def criteria(found: Found):
    """The plan's success criteria and red flags, with what was measured: a table."""
    rows = []
    loss, variance = (statistics.mean(v) for v in (found.final, found.variance))
    for a, name in enumerate(found.names):
        count, ages = found.count[a].min(), found.ages[a].min()
        level, spread = float(loss.value[a]), float(variance.value[a])
        dies = a != found.baseline
        flags = [
            word
            for word, raised in (
                ("NaN", not np.isfinite(found.losses[a]).all()),
                (f"loss > {RED_LOSS:g}", level > RED_LOSS),
                (f"variance > {RED_VARIANCE:g}", spread > RED_VARIANCE),
                ("0 events", dies and count == 0),
            )
            if raised
        ]
        met = "stretch" if level < STRETCH else "yes" if level < LOSS else "no"
        none = figures.UNKNOWN
        rows.append(
            [
                name,
                f"{nats(statistics.entry(loss, a))}: {met}",
                f"{spread:.2g}: {'yes' if spread < VARIANCE else 'no'}",
                f"{count}: {'yes' if count > EVENTS else 'no'}" if dies else none,
                f"{ages:.1f}: {'yes' if ages > 1 else 'no'}" if dies else none,
                ", ".join(flags) or "none",
            ]
        )
    header = [
        "arm",
        f"loss < {LOSS:g} (stretch < {STRETCH:g})",
        f"variance < {VARIANCE:g}",
        f"more than {EVENTS} events",
        "ages differ",
        "red flags",
    ]
    caption = (
        "Validation loss at the end, in nats per character, mean over seeds with its 95 % "
        "interval; variance of the training loss over the last tenth of the steps, mean over "
        "seeds; events and the effective number of ages at the end of the seed that has fewest."
    )
    return header, rows, caption


def _strategies(found, margin):
    final, test, area = (statistics.mean(v) for v in (found.final, found.final_test, found.area))
    tests = Tests(found, margin).against(found.final)
    rows = []
    for a in np.argsort(np.nan_to_num(final.value, nan=np.inf), kind="stable"):
        name = found.names[a]
        own = tests.get(name)
        rows.append(
            [
                name,
                *(nats(statistics.entry(e, a)) for e in (final, test, area)),
                nats(own.difference, signed=True) if own else figures.UNKNOWN,
                probability(own.p) if own else figures.UNKNOWN,
                probability(own.p_margin) if own else figures.UNKNOWN,
                own.verdict if own else figures.UNKNOWN,
            ]
        )
    header = [
        "arm",
        "validation loss",
        "test loss",
        "over the steps",
        "minus the baseline",
        "difference",
        "non-inferiority",
        "loss is",
    ]
    caption = (
        f"Nats per character after {found.steps[-1]:,} steps, full passes over held-out text, "
        f"means over {found.experiment.seeds} seeds with 95 % intervals; differences by seed, "
        f"exact sign-flip tests, corrected by Holm over the arms; margin {margin:g}."
    )
    return header, rows, caption


def _events(found):
    spikes, change, young = (statistics.mean(v) for v in (found.spikes, found.change, found.young))
    died, born = found.total("died"), found.total("born")
    rows = []
    for a, name in enumerate(found.names):
        update, share = found.overhead(a)
        known = lambda value, form: figures.UNKNOWN if np.isnan(value) else form.format(value)
        rows.append(
            [
                name,
                f"{found.count[a].mean():.1f}",
                f"{died[a].mean():,.0f}",
                f"{born[a].mean():,.0f}",
                nats(statistics.entry(spikes, a), signed=True)
                if np.isfinite(spikes.value[a])
                else figures.UNKNOWN,
                known(change.value[a], "{:.3g}"),
                f"{found.ages[a].mean():.1f}",
                f"{young.value[a]:.0%}",
                known(update, "{:.2g}"),
                known(100 * share, "{:.1f} %"),
            ]
        )
    header = [
        "arm",
        "events",
        "died",
        "born",
        "spike",
        "change of output",
        "effective ages",
        "born in the run",
        "an update, in steps",
        "overhead",
    ]
    caption = (
        "Means over seeds. The change of the network's output at an event is relative to the "
        "deviation of the output; ages are those at the end. Updates were timed apart."
    )
    return header, rows, caption


def _arms(found):
    interval = found.experiment.interval
    rows = [
        [arm.name, arm.told, str(arm.pace(interval) or "every step")]
        for arm in found.experiment.arms
    ]
    caption = (
        f"I = {interval} steps, rate {found.experiment.rate:g} an event; noise is relative to the "
        "newborn's own weights."
    )
    return ["arm", "what happens", "steps between its actions"], rows, caption


def text(title: str, header, rows, caption) -> str:
    """A table for a terminal."""
    table = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in table]
    return "\n".join([f"{title}. {caption}", *(line.rstrip() for line in lines), ""])
