"""Arms of the study of operators: shapes matched to one another, trained over seeds, and measured.

Shapes: `Z` seeds, `N` questions, `K` operators, `R` steps, `L` steps that are looked at.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alen import answer as answering
from alen import flops, losses, operators, presets, tasks
from alen import model as organism
from experiments import alen_train_questions
from experiments.alen_train_subject import Subject
from experiments.alen_training import Trainer
from experiments.lab import keys
from experiments.shell import run

MATCHES = ("flops", "parameters")
MOST_STEPS = 10
FURTHEST = 0.05  # of what is matched, that a shape may be off


class Arm(NamedTuple):
    """A shape: what is `match`ed by its `hidden` width, how many `operators` and `steps`, and its
    `parameters` and `flops` of an example of training."""

    match: str
    operators: int
    steps: int
    hidden: int
    parameters: int
    flops: float


def cost(match: str, architecture: presets.Architecture) -> float:
    """What is held equal: floating-point operations of training an example, or parameters."""
    if match == "flops":
        return flops.training(architecture)
    return presets.parameters(architecture).total


def matched(match: str, base: presets.Architecture, operators: int, steps: int) -> Arm:
    """The arm whose hidden width brings it closest to what `base` costs.

    Raises ValueError if no width brings it within a twentieth.
    """
    of = lambda hidden: dataclasses.replace(base, operators=operators, steps=steps, hidden=hidden)
    wanted, low, high = cost(match, base), 1, 2
    while cost(match, of(high)) < wanted:
        high *= 2
    while high - low > 1:  # the cost grows with the width
        middle = (low + high) // 2
        low, high = (middle, high) if cost(match, of(middle)) < wanted else (low, middle)
    width = min((low, high), key=lambda hidden: abs(cost(match, of(hidden)) / wanted - 1))
    off = cost(match, of(width)) / wanted - 1
    if abs(off) > FURTHEST:
        raise ValueError(
            f"{operators} operators in {steps} steps cannot be given the {match} of "
            f"{base.operators} in {base.steps}: with hidden_dim {width} they are off by {off:.0%}"
        )
    shape = of(width)
    counted = presets.parameters(shape).total
    return Arm(match, operators, steps, width, counted, float(flops.training(shape)))


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What is run: `subject` stands for all arms but for their shapes; its own is the reference.

    Up to `questions` of each stratum's test split are asked, the same of every arm.
    """

    subject: Subject
    arms: tuple[Arm, ...]
    questions: int

    def of(self, arm: Arm) -> Subject:
        """What is trained in an arm."""
        own = self.subject.configuration
        shape = dataclasses.replace(
            own.architecture, operators=arm.operators, steps=arm.steps, hidden=arm.hidden
        )
        return dataclasses.replace(
            self.subject, configuration=dataclasses.replace(own, architecture=shape)
        )

    @property
    def strata(self) -> tuple[str, ...]:
        """Strata whose questions have an answer; of them, those that have test questions."""
        return tuple(sets(self))

    def settings(self) -> dict:
        """The resolved study as JSON values."""
        arms = [list(arm) for arm in self.arms]
        return {"subject": self.subject.settings(), "arms": arms, "questions": self.questions}


@functools.lru_cache(maxsize=1)
def sets(experiment: Experiment) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By stratum, questions and answers of the test split."""
    task, found = experiment.subject.task, {}
    for stratum in task.strata:
        if stratum == tasks.UNANSWERABLE:
            continue
        key = keys.stream(keys.root(0), "operators", stratum)
        chosen = alen_train_questions.examples(key, task, stratum, "test", experiment.questions)
        if chosen:
            found[stratum] = tasks.arrays(task, chosen)
    return found


class Seen(NamedTuple):
    """Shares of questions that are answered right, in the mean over all.

    `argmin` and `softmax` selection; of the candidates of the last step (argmin before it), the
    one `selected` by the energy, any (`oracle`), the mean one (`random`); `after [L]` each number
    of steps under argmin. `entropy` of the operators' usage over log K, and how many `collapsed`.
    """

    argmin: jax.Array
    softmax: jax.Array
    selected: jax.Array
    oracle: jax.Array
    random: jax.Array
    after: jax.Array
    entropy: jax.Array
    collapsed: jax.Array


METHODS = ("argmin", "softmax", "selected", "oracle", "random")


def look(model: organism.Alen, hyper: losses.Hyper, params, questions, answers) -> Seen:
    """What one organism makes of `questions [N, S]` that have `answers [N, A]`."""
    apply = lambda *args, **more: model.apply({"params": params}, *args, **more)
    steps, count = model.architecture.steps, model.architecture.operators
    memory, first = apply(questions, method="encode")
    longest = max(steps, MOST_STEPS)
    how = organism.Reasoning(hyper.weights)
    course = apply(first, how, length=longest, method="reason")
    soft = organism.Reasoning(hyper.weights, hyper.temperature, hard=False)
    blend = apply(first, soft, method="reason").thought
    rows = jnp.arange(len(questions))
    after = jnp.take_along_axis(course.proposals, course.chosen[..., None, None], 2)[:, :, 0]
    last = course.proposals[:, steps - 1]
    candidates = jnp.concatenate([after, last, blend[:, None]], 1)
    right = losses.judge_all(model, params, candidates, memory, answers).right
    after, last, blend = right[:, :longest], right[:, longest:-1], right[:, -1]
    length = model.architecture.answer
    greedy = answering.answer(model, params, questions, how, length=length).tokens
    used = operators.usage(course.chosen[:, :steps], count)
    return Seen(
        argmin=answering.exact(greedy, answers).mean(),
        softmax=blend.mean(),
        selected=last[rows, course.chosen[:, steps - 1]].mean(),
        oracle=last.any(-1).mean(),
        random=last.mean(),
        after=after.mean(0)[:MOST_STEPS],
        entropy=used.entropy,
        collapsed=used.collapsed,
    )


def plan(experiment: Experiment, name: str) -> run.Plan:
    """One chunk an arm, with all its seeds."""
    arms, seeds = experiment.arms, experiment.subject.seeds
    call = lambda arm: f"{arm.match}-{arm.operators}x{arm.steps}"
    return run.Plan(
        name,
        experiment.settings(),
        [len(arms)],
        lambda _: [run.Task(call(arm), len(seeds)) for arm in arms],
        lambda _, pending: _train(experiment, {call(arm): arm for arm in arms}, pending),
        "organism",
        tables=("results",),
    )


def _train(experiment, arms, pending) -> Iterator[tuple[run.Task, run.Output]]:
    for task in pending:
        subject = experiment.of(arms[task.name])
        trainer = Trainer(subject)
        state = trainer.start()
        for steps in np.diff([0, *subject.stops(subject.steps)]).tolist():
            state = trainer.advance(state, steps)[0]
        params = state.organism.params
        see = jax.jit(
            jax.vmap(functools.partial(look, subject.model, subject.hyper), (0, None, None))
        )
        rows = []
        for number, (questions, answers) in enumerate(sets(experiment).values()):
            found = jax.tree.map(np.asarray, _blocks(see, params, questions, answers))
            rows += _rows(arms[task.name], subject.seeds, number, len(questions), found)
        table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        yield task, run.Output({"results": table}, {"organism": jax.device_get(params)})


def _blocks(see: Callable, params, questions, answers) -> Seen:
    """Means over blocks of one shape and a last one that is shorter, weighted by their sizes."""
    size, found, weights = 512, [], []
    for begin in range(0, len(questions), size):
        part = slice(begin, begin + size)
        found.append(see(params, questions[part], answers[part]))
        weights.append(len(questions[part]) / len(questions))
    mean = lambda *leaves: sum(w * np.asarray(x) for w, x in zip(weights, leaves, strict=True))
    return jax.tree.map(mean, *found)


def _rows(arm, seeds, stratum, count, found: Seen) -> Iterator[dict]:
    """A row per seed and method; the methods after so many steps are 'argmin@steps'."""
    labels = [getattr(found, name) for name in METHODS]
    values = dict(zip(METHODS, labels, strict=True))
    values |= {f"argmin@{step + 1}": found.after[:, step] for step in range(found.after.shape[1])}
    for place, seed in enumerate(seeds):
        for method, accuracy in values.items():
            yield {
                **arm._asdict(),
                "seed": seed,
                "stratum": stratum,
                "method": method,
                "n": count,
                "accuracy": float(accuracy[place]),
                "entropy": float(found.entropy[place]),
                "collapsed": float(found.collapsed[place]),
            }


def execute(experiment: Experiment, name: str, out: pathlib.Path) -> pathlib.Path:
    """The folder of the finished run of an experiment under `out`."""
    return run.execute(plan(experiment, name), out)
