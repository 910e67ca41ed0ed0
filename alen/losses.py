"""What an organism is trained on: right answers, and a true opinion of its own candidates.

Shapes: `B` questions, `T` tokens of a question, `A` of an answer, `K` operators, `R` steps, `N`
questions whose candidates are decoded, `V` symbols. An answer of PAD alone stands for a question
that has none: it teaches the energy that nothing is right, and the decoder nothing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from alen import energy, operators, tokeniser
from alen import model as organism


class Batch(NamedTuple):
    """`questions [B, T]`, `answers [B, A]` (EOS included), int32, padded behind with PAD."""

    questions: jax.Array
    answers: jax.Array


class Hyper(NamedTuple):
    """All that training depends on besides shapes; traced, so a change does not recompile.

    AdamW: `learning_rate` climbs over `warmup` steps, is held for the share `hold` of `decay_steps`
    (0: for ever) and falls as a cosine to `final_share` of it at their end; `clip` bounds the norm
    of the energy's gradient and that of all others. Reasoning: `weights` of the energy,
    `temperature` of soft selection; a share `hard` of the questions takes the argmin, as at
    inference, the others the soft mixture, through which the energy and all operators have
    gradients; `noise` on proposals; `fewer_steps` is the share of questions that take a number of
    steps drawn from 1 to R. `forget` is the share of questions whose memory the decoder does not
    see (where it sees any). Weights of losses: `critic` (the three terms' own), `ranking`,
    `balance` of operators.
    """

    learning_rate: jax.Array | float
    warmup: jax.Array | float = 50.0
    decay_steps: jax.Array | float = 0.0
    hold: jax.Array | float = 0.0
    final_share: jax.Array | float = 0.0
    beta1: jax.Array | float = 0.9
    beta2: jax.Array | float = 0.98
    weight_decay: jax.Array | float = 0.01
    clip: jax.Array | float = 1.0
    weights: energy.Weights = energy.Weights()
    temperature: jax.Array | float = 1.0
    hard: jax.Array | float = 0.5
    noise: jax.Array | float = 0.0
    fewer_steps: jax.Array | float = 0.0
    forget: jax.Array | float = 0.5
    critic: jax.Array | float = 1.0
    ranking: jax.Array | float = 1.0
    balance: jax.Array | float = 0.01


class Measured(NamedTuple):
    """What a batch showed; NaN where there was nothing to measure.

    `loss` is what was minimised; `answer` the loss of answers in nats per token; `right_hard` and
    `right_soft` the shares of questions answered exactly under argmin and under soft selection;
    `constraint`, `risk`, `uncertainty`, `ranking`, `balance` the further losses. Of the decoded
    candidates, `selected`, `oracle` and `random` are right where the energy's choice, any, and an
    average one is. `usage` is that of the operators over all steps taken.
    """

    loss: jax.Array
    answer: jax.Array
    right_hard: jax.Array
    right_soft: jax.Array
    constraint: jax.Array
    risk: jax.Array
    uncertainty: jax.Array
    ranking: jax.Array
    balance: jax.Array
    selected: jax.Array
    oracle: jax.Array
    random: jax.Array
    usage: operators.Usage


class Judged(NamedTuple):
    """How answers fare under teacher forcing: `loss [B]` in nats per token, `right [B]`.

    Right is what greedy decoding would answer exactly; both are 0 where there is no answer.
    """

    loss: jax.Array
    right: jax.Array


def judge(logits: jax.Array, answers: jax.Array) -> Judged:
    """`logits [..., A, V]` against `answers [..., A]`."""
    there = answers != tokeniser.PAD
    # Not by indices: their gradient would be a scatter, which GPUs add up in an order of chance.
    its = jnp.where(jnp.arange(logits.shape[-1]) == answers[..., None], logits, 0).sum(-1)
    each = jax.nn.logsumexp(logits, -1) - its
    loss = jnp.where(there, each, 0).sum(-1) / jnp.maximum(there.sum(-1), 1)
    same = (jnp.argmax(logits, -1) == answers) | ~there
    return Judged(loss, jnp.all(same, -1) & jnp.any(there, -1))


def critic(terms: energy.Terms, judged: Judged, answered: jax.Array) -> tuple[jax.Array, ...]:
    """The losses of the three terms `[N, K]`, each a mean, against what was `judged [N, K]`.

    Binary cross-entropy of being right (all questions); Huber's loss of the risk and the Gaussian
    likelihood of the uncertainty, times its own variance to keep its gradient bounded (where
    `answered [N]`).
    """
    right = judged.right.astype(jnp.float32)
    constraint = optax.sigmoid_binary_cross_entropy(terms.log_odds, right).mean()
    there = jnp.broadcast_to(answered[:, None], right.shape)
    risk = optax.huber_loss(terms.risk, judged.loss)
    error = jax.lax.stop_gradient(jnp.minimum(jnp.abs(judged.loss - terms.risk), 1.0))
    spread = terms.uncertainty
    variance = jax.lax.stop_gradient(spread) ** 2
    likelihood = variance * (jnp.log(spread) + 0.5 * (error / spread) ** 2)
    return constraint, _mean(risk, there, 0.0), _mean(likelihood, there, 0.0)


def ranking(energies: jax.Array, right: jax.Array) -> jax.Array:
    """Mean of log(1 + exp(E_right − E_wrong)) over all such pairs of a question's candidates.

    `energies [N, K]`, `right [N, K]` (RankNet, Burges et al. 2005); 0 where there is no pair.
    """
    apart = energies[:, :, None] - energies[:, None, :]
    pairs = right[:, :, None] & ~right[:, None, :]
    return _mean(jax.nn.softplus(apart), pairs, 0.0)


def loss(
    model: organism.Alen, decoded: int, key: jax.Array, params, batch: Batch, hyper: Hyper
) -> tuple[jax.Array, Measured]:
    """The loss of a batch. The candidates of its first `decoded` questions are decoded.

    Of each of these a step is drawn among those taken. Their judgement trains the energy alone.
    """
    apply = lambda *args, method: model.apply({"params": params}, *args, method=method)
    hard_key, steps_key, noise_key, forget_key, step_key = jax.random.split(key, 5)
    size, answers = len(batch.questions), batch.answers
    answered = jnp.any(answers != tokeniser.PAD, -1)
    hard = jax.random.bernoulli(hard_key, hyper.hard, (size,))
    steps = _steps(steps_key, hyper.fewer_steps, size, model.architecture.steps)
    how = organism.Reasoning(hyper.weights, hyper.temperature, hard, steps, hyper.noise)

    memory, first = apply(batch.questions, method="encode")
    seen = ~jax.random.bernoulli(forget_key, hyper.forget, (size, 1))
    memory = memory._replace(mask=memory.mask & seen)
    course = apply(first, how, noise_key, method="reason")
    logits = apply(course.thought, memory, answers, method="decode")
    judged = judge(logits, answers)
    tokens = jnp.sum(answers != tokeniser.PAD, -1)
    of_answers = jnp.sum(judged.loss * tokens) / jnp.maximum(tokens.sum(), 1)

    # The critic sees candidates, but does not move them.
    sample = jax.tree.map(lambda leaf: leaf[:decoded], (memory, first, course.proposals, answers))
    memory, first, proposals, answers = jax.lax.stop_gradient(sample)
    drawn = jnp.floor(jax.random.uniform(step_key, (decoded,)) * steps[:decoded]).astype(jnp.int32)
    candidates = proposals[jnp.arange(decoded), drawn]
    theirs = jax.lax.stop_gradient(judge_all(model, params, candidates, memory, answers))
    terms = apply(candidates, first, method="terms")
    energies = energy.total(terms, hyper.weights)
    there = answered[:decoded]
    constraint, risk, uncertainty = critic(terms, theirs, there)
    pairs = ranking(energies, theirs.right)

    even = operators.imbalance(course.weights, course.chosen, course.active)
    value = (
        of_answers
        + hyper.critic * (constraint + risk + uncertainty)
        + hyper.ranking * pairs
        + hyper.balance * even
    )
    lowest = jnp.take_along_axis(theirs.right, jnp.argmin(energies, -1)[:, None], -1)[:, 0]
    return value, Measured(
        loss=value,
        answer=of_answers,
        right_hard=_mean(judged.right, answered & hard),
        right_soft=_mean(judged.right, answered & ~hard),
        constraint=constraint,
        risk=risk,
        uncertainty=uncertainty,
        ranking=pairs,
        balance=even,
        selected=_mean(lowest, there),
        oracle=_mean(theirs.right.any(-1), there),
        random=_mean(theirs.right.mean(-1), there),
        usage=operators.usage(course.chosen, model.architecture.operators, course.active),
    )


def judge_all(model: organism.Alen, params, candidates, memory, answers) -> Judged:
    """How each of `candidates [N, K, d]` would answer, `[N, K]`, with the same memory."""
    count, each = candidates.shape[:2]
    spread = lambda leaf: jnp.repeat(leaf, each, 0)
    answers = spread(answers)
    logits = model.apply(
        {"params": params},
        candidates.reshape(count * each, -1),
        jax.tree.map(spread, memory),
        answers,
        method="decode",
    )
    return jax.tree.map(lambda leaf: leaf.reshape(count, each), judge(logits, answers))


def _steps(key, share, size, most):
    """How many steps each question takes: all, or a share of them a number drawn from 1 to all."""
    which, number = jax.random.split(key)
    fewer = jax.random.randint(number, (size,), 1, most + 1)
    return jnp.where(jax.random.bernoulli(which, share, (size,)), fewer, most)


def _mean(values, where, otherwise=jnp.nan):
    """The mean of `values` where `where` holds, and `otherwise` if it holds nowhere."""
    count = where.sum()
    total = jnp.where(where, values, 0).sum()
    return jnp.where(count > 0, total / jnp.maximum(count, 1), otherwise)
