"""Transfer: what was learnt on one dataset, taken to another."""

import itertools

import numpy as np

from experiments import elements_paired
from experiments.elements_composition import Arms, answer, by, counted
from experiments.elements_findings import ALPHA, Finding, points
from experiments.lab import statistics

MODES = {"frozen": "all but the output frozen", "fine-tuned": "fine-tuned"}
SIGNS = {"higher": "+", "lower": "−", "equivalent": "=", "undecided": ""}


class Transfers:
    """Held-out accuracy by source X, activation A, target Y and trial T.

    Attributes:
        after: by mode, `[X, A, Y, T]`.
        scratch, random: `[A, Y, T]`; from scratch, and on a random frozen bottom.
        elsewhere, home: pairs of positions (source, target), of two datasets and of one.
    """

    def __init__(self, arms: Arms, elements, sources):
        def read(e, mode, source):
            frozen = e.depth if mode == "frozen" else 0
            return arms.of(e, bottom=e.depth, source=source, frozen=frozen)

        over = lambda function: arms.by_activation(elements, function)
        bottomless = lambda e: {"bottom": e.depth, "frozen": e.depth, "trained": False}
        self.after = {
            mode: np.stack([over(lambda e, m=mode, s=source: read(e, m, s)) for source in sources])
            for mode in MODES
        }
        self.scratch = over(arms.of)
        self.random = over(lambda e: arms.of(e, **bottomless(e)))
        self.activations, self.sources = arms.activations, list(sources)
        self.targets, self.trials = list(arms.population.datasets), arms.population.trials
        pairs = list(itertools.product(range(len(self.sources)), range(len(self.targets))))
        same = lambda pair: self.sources[pair[0]] == self.targets[pair[1]]
        self.elsewhere = [pair for pair in pairs if not same(pair)]
        self.home = [pair for pair in pairs if same(pair)]

    def gain(self, mode: str) -> np.ndarray:
        """`[X, A, Y, T]`: over training from scratch."""
        return self.after[mode] - self.scratch

    def name(self, pair) -> str:
        return f"{self.sources[pair[0]]} → {self.targets[pair[1]]}"


def at(values: np.ndarray, pairs) -> np.ndarray:
    """`[P, A, T]`: the pairs (source, target) out of `[X, A, Y, T]`."""
    return np.stack([values[x, :, y] for x, y in pairs])


def transfer(arms: Arms) -> dict:
    """Findings, figures and tables of transfer; nothing where no arm has a donor's bottom alone."""
    donors = [a for a in arms.all if a.trained and a.source and a.bottom == a.element.depth]
    if not donors:
        return {}
    elements = list(dict.fromkeys(arm.element for arm in donors))
    found = Transfers(arms, elements, dict.fromkeys(arm.source for arm in donors))
    told = []
    if found.elsewhere:
        told += [_helps(found, mode) for mode in MODES]
        told += [_signs(found, mode) for mode in MODES]
        told += [_asymmetry(found, mode) for mode in MODES if len(found.elsewhere) > 1]
        told += [_against_random(found), _freezing(found)]
    if found.home:
        told += [_control(found)]
        told += [_longer(found)] if found.elsewhere else []
    drawn = MODES if found.elsewhere else ()
    figures = {f"transfer_{mode.replace('-', '_')}": _matrix(found, mode) for mode in drawn}
    return {"findings": told, "figures": figures, "tables": _table(found)}


def _helps(found, mode):
    gains = at(found.gain(mode), found.elsewhere)
    overall = elements_paired.family(gains.mean((0, 1))[None])
    by_activation = elements_paired.family(gains.mean(0))
    sentence = (
        f"Against training from scratch for as many epochs, in points of held-out accuracy over "
        f"all {len(gains)} ordered pairs of two datasets: {elements_paired.told(overall[0])}."
        f"{by('activation', found.activations, by_activation)}"
    )
    return Finding(f"Does transfer help, {MODES[mode]}?", sentence, answer(overall))


def _signs(found, mode):
    tests = elements_paired.family(at(found.gain(mode), found.elsewhere).mean(1))
    names = [found.name(pair) for pair in found.elsewhere]
    sides = {}
    for word in ("higher", "lower"):
        chosen = [i for i, test in enumerate(tests) if test.verdict == word]
        chosen.sort(key=lambda i: -abs(tests[i].difference.value))
        sides[word] = [f"{names[i]} {points(tests[i].difference, signed=True)}" for i in chosen]
    side = lambda word: f" ({'; '.join(sides[word])})" if sides[word] else ""
    sentence = (
        f"Against scratch, of {len(tests)} ordered pairs (each over the activations, Holm over the "
        f"pairs): {counted(tests)}. Positive transfer: "
        f"{len(sides['higher'])}{side('higher')}. Negative transfer: "
        f"{len(sides['lower'])}{side('lower')}."
    )
    kinds = [name for name, word in (("positive", "higher"), ("negative", "lower")) if sides[word]]
    headline = f"Which pairs gain and which lose, {MODES[mode]}?"
    return Finding(headline, sentence, " and ".join(kinds) or "none shown")


def _asymmetry(found, mode):
    gain = found.gain(mode).mean(1)  # [X, Y, T]
    place = {(found.sources[x], found.targets[y]): (x, y) for x, y in found.elsewhere}
    both = [(x, y) for x, y in place if x < y and (y, x) in place]
    tests = elements_paired.family(
        np.stack([gain[place[x, y]] - gain[place[y, x]] for x, y in both])
    )
    apart = [
        f"{x} → {y} over {y} → {x} by {points(t.difference, signed=True)}"
        if t.difference.value > 0
        else f"{y} → {x} over {x} → {y} by {points(_turned(t.difference), signed=True)}"
        for (x, y), t in zip(both, tests, strict=True)
        if t.verdict in ("higher", "lower")
    ]
    sentence = (
        f"The gain over scratch differs with the direction in {len(apart)} of {len(both)} pairs "
        f"(Holm over the pairs){': ' if apart else ''}{'; '.join(apart)}. A target that is learnt "
        "perfectly from scratch leaves nothing to gain, which is part of the asymmetry."
    )
    alike = all(test.verdict == "equivalent" for test in tests)
    verdict = "no" if apart else "symmetric" if alike else "undecided"
    headline = f"Is transfer the same in both directions, {MODES[mode]}?"
    return Finding(headline, sentence, verdict)


def _turned(d):
    return statistics.Estimate(-d.value, -d.high, -d.low, d.n)


def _against_random(found):
    difference = at(found.after["frozen"] - found.random, found.elsewhere)
    overall = elements_paired.family(difference.mean((0, 1))[None])
    by_activation = elements_paired.family(difference.mean(0))
    each = elements_paired.family(difference.mean(1))
    sentence = (
        f"All but the output frozen, against a random frozen bottom of the same depth: "
        f"{elements_paired.told(overall[0])} points."
        f"{by('activation', found.activations, by_activation)} Of {len(each)} ordered pairs: "
        f"{counted(each)}."
    )
    headline = "Is a bottom from another dataset better than a random one?"
    return Finding(headline, sentence, answer(overall))


def _freezing(found):
    difference = at(found.after["fine-tuned"] - found.after["frozen"], found.elsewhere)
    overall = elements_paired.family(difference.mean((0, 1))[None])
    each = elements_paired.family(difference.mean(1))
    sentence = (
        f"{elements_paired.told(overall[0])} points over all ordered pairs of two datasets, of "
        f"which {counted(each)}."
    )
    return Finding("Is fine-tuning better than freezing?", sentence, answer(overall))


def _control(found):
    home = lambda values: at(values, found.home).mean((0, 1))
    tests = elements_paired.family(
        np.stack(
            [home(found.after["frozen"] - found.random), *(home(found.gain(m)) for m in MODES)]
        )
    )
    told = [elements_paired.told(test) for test in tests]
    sentence = (
        "Donor and target of the same data, in points: all but the output frozen, against a "
        f"random frozen bottom {told[0]}, against scratch {told[1]}; fine-tuned, against scratch "
        f"{told[2]}."
    )
    works = tests[0].p < ALPHA and tests[0].difference.value > 0
    verdict = "holds" if works else "not shown"
    return Finding("Does the positive control of transfer hold?", sentence, verdict)


def _longer(found):
    """Whether fine-tuning gains by the other data, or only by the epochs that the donor had."""
    gain = found.gain("fine-tuned")
    at_home = {y: gain[x, :, y] for x, y in found.home}
    pairs = [pair for pair in found.elsewhere if pair[1] in at_home]
    beyond = at(gain, pairs) - np.stack([at_home[y] for _, y in pairs])
    overall = elements_paired.family(beyond.mean((0, 1))[None])
    by_activation = elements_paired.family(beyond.mean(0))
    sentence = (
        "Fine-tuned from a donor of other data, against a donor of the target's own, which is "
        "nothing but longer training: "
        f"{elements_paired.told(overall[0])} points over all ordered pairs of two datasets."
        f"{by('activation', found.activations, by_activation)}"
    )
    headline = "Does other data help more than as many further epochs on the target's own?"
    return Finding(headline, sentence, answer(overall))


def _matrix(found, mode):
    from experiments.lab import charts

    gain = found.gain(mode).mean(1)  # [X, Y, T]
    rows = list(found.sources)
    symbols = np.full((len(found.sources), len(found.targets)), "", dtype=object)
    for pairs in filter(None, (found.elsewhere, found.home)):
        tests = elements_paired.family(at(found.gain(mode), pairs).mean(1))
        for pair, test in zip(pairs, tests, strict=True):
            symbols[pair] = SIGNS[test.verdict]
    control = ""
    if mode == "frozen":
        random = (found.random - found.scratch).mean(0)
        signs = [SIGNS[test.verdict] for test in elements_paired.family(random)]
        gain, symbols = np.concatenate([gain, random[None]]), np.vstack([symbols, signs])
        rows.append("random bottom")
        control = " and in the last row"
    figure = charts.matrix(
        statistics.mean(gain),
        rows,
        found.targets,
        title=f"Transfer: {MODES[mode]}",
        label="difference to scratch, points",
        xlabel="target",
        ylabel="source",
        diverging=True,
        symbols=symbols,
    )
    caption = (
        "Held-out accuracy after transfer, less that from scratch for as many epochs on the "
        f"target; over the activations, {found.trials} trials, with the half-width of the 95 % "
        "interval. "
        "In the corner: + higher, − lower, = equivalent within the margin, nothing where undecided "
        f"(Holm). Controls stand on the diagonal{control}."
    )
    return figure, caption


def _table(found):
    header = ["activation", "transfer", "source → target", "after transfer", "from scratch"]
    header += elements_paired.HEADER
    who = {"all": slice(None)}
    if len(found.activations) > 1:
        who |= {name: [i] for i, name in enumerate(found.activations)}
    rows = []
    for (name, which), mode in itertools.product(who.items(), MODES):
        for pairs in filter(None, (found.elsewhere, found.home)):
            after = at(found.after[mode], pairs)[:, which].mean(1)
            scratch = np.stack([found.scratch[which, y].mean(0) for _, y in pairs])
            levels = [statistics.mean(samples) for samples in (after, scratch)]
            tests = elements_paired.family(after - scratch)
            for i, (pair, test) in enumerate(zip(pairs, tests, strict=True)):
                shown = [points(statistics.entry(level, i)) for level in levels]
                rows.append([name, mode, found.name(pair), *shown, *elements_paired.cells(test)])
    caption = (
        "Held-out accuracy in %; frozen: all but the output. Paired t tests over trials; "
        "equivalence by two one-sided tests; Holm within each activation and mode, over the pairs "
        "of two datasets and, apart, over those of one, the positive control."
    )
    return {"Transfer: all pairs": (header, rows, caption)}
