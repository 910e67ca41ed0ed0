"""Both verifying networks as one: margins of a batch of answers, and one step of training.

The answering model is a stranger here. Its answers come in as arrays (`Asked`), and the stability
check gets two functions of it: `decode(thoughts) -> tokens` and `answer(questions) -> tokens`.

Shapes: `B` answers, `S` and `A` tokens of a question and an answer, `P` parts, `n` perturbations,
`D` width of the memory, `d` of a thought.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from alen import backward, blocks, correctness, stability, verify


class Asked(NamedTuple):
    """Questions, and what the model made of them."""

    questions: jax.Array  # [B, S] tokens
    answers: jax.Array  # [B, A] tokens
    memory: jax.Array  # [B, S, D]
    memory_mask: jax.Array  # [B, S] bool
    initial: jax.Array  # [B, d] the thought before reasoning
    thought: jax.Array  # [B, d] the one that was chosen
    parts: jax.Array  # [B, P, S] bool, see `backward`


class Params(NamedTuple):
    """Parameters of both networks."""

    correctness: dict
    backward: dict


class State(NamedTuple):
    """A verifier in training."""

    params: Params
    optimiser: optax.OptState


class Info(NamedTuple):
    """Losses of a step, in nats."""

    correctness: jax.Array  # per answer
    backward: jax.Array  # per hidden token


@dataclasses.dataclass(frozen=True)
class Verifier:
    """The networks' shapes and what the checks do.

    `perturbations` of a thought at the relative `radius`; `pool` as of `backward.told`; `exact`:
    the backward margin is minus infinity unless every hidden token is also the likeliest.
    """

    symbols: int
    question: int  # tokens
    answer: int  # tokens, with EOS
    shape: blocks.Shape
    compute: str = "float32"
    perturbations: int = 8
    radius: float = 0.1
    pool: str = "mean"
    exact: bool = False

    def __post_init__(self):
        if self.perturbations < 0:
            raise ValueError(f"perturbations must be at least 0, got {self.perturbations}")
        if not 0 <= self.radius < float("inf"):
            raise ValueError(f"radius must be finite and at least 0, got {self.radius}")
        if self.pool not in backward.POOLS:
            raise ValueError(f"pool must be one of {', '.join(backward.POOLS)}, got {self.pool!r}")

    @property
    def correctness(self) -> correctness.Correctness:
        return correctness.Correctness(self.symbols, self.answer, self.shape, self.compute)

    @property
    def backward(self) -> backward.Backward:
        sizes = (self.symbols, self.question, self.answer)
        return backward.Backward(*sizes, self.shape, self.compute)


def init(key, verifier: Verifier, asked: Asked) -> Params:
    """Random parameters, for inputs like `asked`."""
    forward_key, backward_key = jax.random.split(key)
    seen = (asked.memory, asked.memory_mask, asked.initial, asked.thought, asked.answers)
    hidden = (asked.questions, jnp.zeros(asked.questions.shape, bool), asked.answers)
    return Params(
        verifier.correctness.init(forward_key, *seen), verifier.backward.init(backward_key, *hidden)
    )


def logits(verifier: Verifier, params: Params, asked: Asked) -> jax.Array:
    """Log odds `[B]` of the correctness network that the answers are right."""
    seen = (asked.memory, asked.memory_mask, asked.initial, asked.thought, asked.answers)
    return verifier.correctness.apply(params.correctness, *seen)


def margins(
    key,
    verifier: Verifier,
    params: Params,
    asked: Asked,
    *,
    decode: Callable | None = None,
    answer: Callable | None = None,
    perturbed: jax.Array | None = None,
    checks: Sequence[str] = verify.CHECKS,
) -> verify.Margins:
    """All margins `[B]` of `checks`, NaN of the others.

    `decode` takes thoughts `[B n, d]`, n in a row of each question (see `stability.spread`);
    `answer` takes `perturbed [B, n, S]`, other surfaces of the questions, as `[B n, S]`. Without
    any of both the stability margin is NaN. Raises ValueError for surfaces without `answer`.
    """
    verify.known(checks)
    if (answer is None) != (perturbed is None):
        raise ValueError("other surfaces need both `answer` and `perturbed`, got one of them")
    nothing = jnp.full(len(asked.answers), jnp.nan, jnp.float32)
    forward = logits(verifier, params, asked) if "forward" in checks else nothing
    back, stable = nothing, nothing
    if "backward" in checks:
        told = backward.told(
            verifier.backward,
            params.backward,
            asked.questions,
            asked.parts,
            asked.answers,
            verifier.pool,
        )
        back = jnp.where(told.exact | (not verifier.exact), told.margin, -jnp.inf)
    if "stability" in checks:
        kinds = []
        if decode is not None and verifier.perturbations:
            settings = (asked.thought, asked.answers, verifier.perturbations, verifier.radius)
            kinds.append(stability.of_thought(key, decode, *settings))
        if answer is not None and perturbed.shape[1]:
            kinds.append(stability.of_surface(answer, perturbed, asked.answers))
        stable = jnp.concatenate(kinds, axis=1).mean(axis=1) if kinds else nothing
    return verify.Margins(forward, back, stable)


def mixture(key, truth, near, sampled, sampled_right, answerable, shares=(0.25, 0.25)):
    """Answers to learn from, `(answers [B, A], right [B])`.

    A row is the `truth [B, A]` with the first of the shares, the `near [B, A]` miss with the
    second, else what the model `sampled [B, A]`, right where `sampled_right [B]`. Where a question
    is not `answerable [B]` the truth is not used either, and all answers are wrong.
    """
    true_share, near_share = shares
    if min(shares) < 0 or sum(shares) > 1:
        raise ValueError(f"shares must be at least 0 and at most 1 in all, got {shares}")
    u = jax.random.uniform(key, answerable.shape)
    is_true = (u < true_share) & answerable
    is_near = (u >= true_share) & (u < true_share + near_share)
    pick = lambda when, a, b: jnp.where(when[:, None], a, b)
    answers = pick(is_true, truth, pick(is_near, near, sampled))
    return answers, answerable & (is_true | (~is_near & sampled_right))


def losses(key, verifier: Verifier, params: Params, asked: Asked, right, truth, answerable) -> Info:
    """Both losses: of answers that are `right [B]` or not, and of one hidden part of each question
    beside the `truth [B, A]`, where it is `answerable [B]`."""
    part = backward.draw_part(key, asked.parts)
    given = (params.backward, asked.questions, part, truth, answerable)
    return Info(
        correctness.loss(logits(verifier, params, asked), right),
        backward.loss(verifier.backward, *given),
    )


def start(key, verifier: Verifier, optimiser: optax.GradientTransformation, asked: Asked) -> State:
    """A verifier before its first step."""
    params = init(key, verifier, asked)
    return State(params, optimiser.init(params))


def taught(state: State, words: jax.Array) -> State:
    """A verifier before its first step that knows the symbols as the model does: both networks'
    embeddings are copies of `words [..., V, D]`. What the model has found out about its symbols,
    such as the circle on which numbers modulo a prime lie, need not be found again."""
    known = lambda own: {"params": own["params"] | {"embedding": {"embedding": jnp.copy(words)}}}
    return state._replace(params=Params(*map(known, state.params)))


def step(
    key,
    verifier: Verifier,
    optimiser: optax.GradientTransformation,
    state: State,
    asked: Asked,
    right,
    truth,
    answerable,
) -> tuple[State, Info]:
    """One step of both networks, see `losses`. The networks share nothing, so that the sum of
    their losses trains each as if it were alone (but for an optimiser that clips or scales all
    gradients together). The model's own arrays get no gradient."""

    def total(params):
        seen = jax.lax.stop_gradient(asked)
        info = losses(key, verifier, params, seen, right, truth, answerable)
        return info.correctness + info.backward, info

    gradient, info = jax.grad(total, has_aux=True)(state.params)
    moved, inner = optimiser.update(gradient, state.optimiser, state.params)
    return State(optax.apply_updates(state.params, moved), inner), info
