"""An answer together with its verdict, in one program: ALEN and its verifier joined.

Shapes: `B` questions, `S` tokens of a question, `P` parts, `n` other surfaces.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax

from alen import answer as answering
from alen import model as organism
from alen import stability, verifier, verify

INFERENCE = organism.Reasoning()


class Verified(NamedTuple):
    """What was answered and what came of the checks."""

    answer: answering.Answer
    verdict: verify.Verdict


def asked(questions, answer: answering.Answer, parts, tokens=None) -> verifier.Asked:
    """What the verifier sees of `questions [B, S]` with `parts [B, P, S]`; `tokens [B, A]` put
    another answer (a near miss, the truth) in the place of the model's own."""
    tokens = answer.tokens if tokens is None else tokens
    memory = answer.memory
    return verifier.Asked(
        questions, tokens, memory.tokens, memory.mask, answer.initial, answer.thought, parts
    )


def margins(
    key,
    model: organism.Alen,
    params,
    checker: verifier.Verifier,
    checker_params: verifier.Params,
    questions: jax.Array,
    answer: answering.Answer,
    parts: jax.Array,
    perturbed: jax.Array | None = None,
    how: organism.Reasoning = INFERENCE,
    checks: Sequence[str] = verify.CHECKS,
) -> verify.Margins:
    """The margins of the model's `answer` to `questions [B, S]`.

    Shaken thoughts are decoded greedily; other surfaces `perturbed [B, n, S]` are answered from
    the start, by one greedy course of reasoning `how`, without noise.
    """
    length = answer.tokens.shape[1]
    memory = stability.spread(answer.memory, checker.perturbations)
    decode = lambda thoughts: (
        answering.from_thought(model, params, thoughts, memory, length=length).tokens
    )
    again = lambda others: answering.answer(model, params, others, how, length=length).tokens
    return verifier.margins(
        key,
        checker,
        checker_params,
        asked(questions, answer, parts),
        decode=decode,
        answer=None if perturbed is None else again,
        perturbed=perturbed,
        checks=checks,
    )


def ask(
    key,
    model: organism.Alen,
    params,
    checker: verifier.Verifier,
    checker_params: verifier.Params,
    questions: jax.Array,
    parts: jax.Array,
    thresholds: verify.Thresholds,
    perturbed: jax.Array | None = None,
    how: organism.Reasoning = INFERENCE,
    checks: Sequence[str] = verify.CHECKS,
) -> Verified:
    """Greedy answers to `questions [B, S]` with the verdict by `checks`; see `margins`."""
    found = answering.answer(model, params, questions, how, length=checker.answer)
    arguments = (model, params, checker, checker_params, questions, found, parts, perturbed, how)
    return Verified(found, verify.judge(margins(key, *arguments, checks), thresholds, checks))
