"""Elements of your own, by symbol, on data of your choice: --symbols=sin-3x8,rel-32_8_32-skip."""

import dataclasses

from elements import element
from experiments import elements_findings, elements_study
from experiments.elements_findings import Finding, points
from experiments.elements_grid import Conditions
from experiments.elements_population import Population
from experiments.lab import figures, statistics
from experiments.shell import cli


@dataclasses.dataclass(frozen=True)
class Lab(Conditions):
    symbols: tuple[str, ...] = cli.field(("rel-3x8", "sin-3x8"), "elements, by symbol")
    datasets: tuple[str, ...] = cli.field(("spirals",), "datasets, by name")
    snapshots: bool = cli.field(False, "keep the parameters at every recorded epoch")
    record_gradients: bool = cli.field(False, "record the gradients of every layer")
    record_weight_stats: bool = cli.field(False, "record weights, units and features of layers")

    def __post_init__(self):
        _ = self.population  # refuses what cannot be trained

    @property
    def population(self) -> Population:
        return Population(tuple(map(element.parse, self.symbols)), **self.settings())


def analyse(outcome):
    population, accuracy = outcome.population, outcome.cube("test_accuracy")
    symbols, overall = [e.symbol for e in population.elements], accuracy.mean(1)
    means = statistics.mean(overall)
    told = "; ".join(
        f"{symbol} {points(statistics.entry(means, i))}" for i, symbol in enumerate(symbols)
    )
    findings = [Finding("Held-out accuracy", f"In %, over the datasets: {told}.")]
    if len(symbols) > 1:
        pairs = statistics.compare(overall, symbols, margin=elements_findings.MARGIN)
        for c in pairs:
            findings += elements_findings.pair([c], c.first, c.second)
    findings += elements_findings.failures(population, int(outcome.rows["diverged"].sum()))
    curves = statistics.mean(outcome.curves("test_accuracy").mean(1).swapaxes(1, 2))
    labels = {"xlabel": "epochs", "chance": elements_findings.chance(population)}
    made = {
        "table": (
            figures.table(
                statistics.mean(accuracy),
                symbols,
                population.datasets,
                title="Held-out accuracy",
                label="held-out accuracy, %",
            ),
            f"Mean over {population.trials} trials, with the half-width of its 95 % interval.",
        ),
        "curves": (
            figures.bands(
                population.epochs_recorded,
                curves,
                symbols,
                title="Held-out accuracy while learning",
                ylabel="held-out accuracy, %",
                **labels,
            ),
            "Mean over datasets and trials with its 95 % interval; dotted: chance.",
        ),
    }
    return {"findings": findings, "figures": made, "tables": {}}


STUDY = elements_study.Study(
    "elements_lab",
    "The laboratory: elements of your own",
    "How do these elements compare on data that they have not seen?",
    analyse,
)


def main(study: Lab, options: cli.Options):
    return elements_study.execute(STUDY, study.population, options)


if __name__ == "__main__":
    cli.main(Lab, main, __doc__)
