"""Pools of training questions: of one shape for all seeds, and levels are asked evenly."""

import jax
import jax.numpy as jnp
import numpy as np

from alen import tasks
from experiments import alen_configuration, alen_train_pools, alen_train_questions
from experiments.alen_train_subject import Subject
from experiments.lab import keys


def test_levels_are_asked_evenly_and_seeds_alike():
    task = tasks.find("lookup", depth=2, longest=3)
    sized = alen_configuration.resolve("tiny", language=alen_train_questions.language(task))
    subject = Subject(task, sized, seeds=(0, 1), pool=2000, surfaces=1)
    roots = [keys.root(seed) for seed in subject.seeds]
    pool = alen_train_pools.draw(subject, roots, ("organism", 0))
    assert pool.questions.questions.shape[:2] == (2, pool.count * 3)
    assert (pool.ends[:, 0] == 88).all()
    batch = alen_train_pools.batch(
        keys.root(2),
        subject,
        jax.tree.map(lambda leaf: jnp.asarray(leaf[1]), pool.questions),
        jnp.asarray(pool.ends[1]),
        pool.count,
    )
    rows = zip(np.asarray(batch.questions), np.asarray(batch.answers), strict=True)
    texts = [task.tokeniser.decode(question) for question, answer in rows if answer.any()]
    easy = sum(task.level(task.bare(text)) == 1 for text in texts)
    assert 0.3 < easy / len(texts) < 0.7
