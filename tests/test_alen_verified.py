"""Answer and verdict come from one program, and the verifier sees what the model did."""

import jax
import jax.numpy as jnp
import numpy as np

from alen import answer as answering
from alen import blocks, presets, stability, verified, verifier, verify
from alen import model as organism

SYMBOLS, LENGTH = 8, 2
MODEL = organism.Alen(presets.Architecture(8, 2, 8, 2, 1, 8, 8, SYMBOLS, 3, LENGTH))
CHECKER = verifier.Verifier(
    SYMBOLS, 3, LENGTH, blocks.Shape(8, 1, 8, 8, 1), perturbations=3, radius=3.0
)
QUESTIONS = jnp.array([[5, 6, 7], [7, 7, 0]], jnp.int32)
PARTS = jnp.zeros((2, 1, 3), bool).at[:, 0, 0].set(True)


def test_one_program_answers_and_judges():
    key = jax.random.key(0)
    others = QUESTIONS[:, None, jnp.array([1, 0, 2])]

    @jax.jit
    def whole(key):
        params = jax.tree.map(lambda x: 4 * x, organism.initial(key, MODEL))
        found = answering.answer(MODEL, params, QUESTIONS, length=LENGTH)
        checks = verifier.init(key, CHECKER, verified.asked(QUESTIONS, found, PARTS))
        common = (key, MODEL, params, CHECKER, checks, QUESTIONS, PARTS)
        result = verified.ask(*common, verify.Thresholds(-9.0, -9.0, 0.5), others)
        asked = verified.asked(QUESTIONS, found, PARTS)
        apart = verifier.margins(key, CHECKER, checks, asked, checks=("forward", "backward"))
        moved = stability.shake(key, found.thought, CHECKER.perturbations, CHECKER.radius)
        each = [
            answering.from_thought(MODEL, params, moved[:, i], found.memory, length=LENGTH).tokens
            for i in range(CHECKER.perturbations)
        ]
        again = answering.answer(MODEL, params, others[:, 0], length=LENGTH).tokens
        return result, found, apart, jnp.stack([*each, again], axis=1)

    result, found, apart, tokens = whole(key)
    margins = result.verdict.margins
    np.testing.assert_array_equal(result.answer.tokens, found.tokens)
    np.testing.assert_allclose(margins.forward, apart.forward, atol=1e-4)
    np.testing.assert_allclose(margins.backward, apart.backward, atol=1e-4)
    same = stability.same(found.tokens[:, None], tokens).mean(axis=1)
    np.testing.assert_allclose(margins.stability, same, atol=1e-6)
    assert 0 < same.min() < 1
    np.testing.assert_array_equal(result.verdict.verified, same > 0.5)
