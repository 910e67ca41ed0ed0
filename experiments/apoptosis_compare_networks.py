"""One device's networks, arms × seeds: their start, a training step, an update, a measurement.

Arms of a seed share initial parameters, batches and dropout masks, which are therefore made once a
seed and not once a network. A *tick* is the greatest common divisor of all intervals at which
transforms act; those that act at every step do so within it, the others between two ticks.

Shapes: `A` arms, `M` arms of a family, `S` seeds, `L` steps of a tick, `N` neurons of all groups,
`W` windows.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from apoptosis import evidence, presets, text, transformer, unborn
from experiments import apoptosis_compare_events as events
from experiments.apoptosis_compare_experiment import Experiment
from experiments.lab import keys

WINDOWS = 8  # of the validation text, on whose logits an event's change is measured
TOKENS = 8192  # a network's in a block of the validation pass


class State(NamedTuple):
    """All that the next step needs: of each species a tree of leaves `[A, S, …]`, and of
    each family of arms its transform's, `[M, S, …]`."""

    params: tuple
    optimiser: tuple
    evidence: tuple[evidence.Evidence, ...]
    transforms: tuple
    step: jax.Array


class Networks:
    """The networks of an experiment; `attention` is that of their model, by default the one that
    suits the devices."""

    def __init__(self, experiment: Experiment, attention: str | None = None):
        subject = experiment.subject
        self.experiment, self.groups = experiment, experiment.groups
        self.training = subject.preset.training
        self.names = [group.name for group in self.groups]
        self.model = subject.model.clone(attention=attention or subject.model.attention)
        self.species = events.species(experiment, self.model)
        self.families = events.families(experiment, self.species)
        self.restless = [i for i, f in enumerate(self.families) if f.restless]
        self.calm = [i for i, f in enumerate(self.families) if not f.restless]
        self.order = np.argsort(np.concatenate([own.arms for own in self.species]))
        self.optimiser = presets.optimiser(self.training)
        self.part = jnp.asarray(subject.parts.train)
        context = self.model.architecture.context
        self.windows = [text.windows(part, context) for part in subject.parts[1:]]

    def pace(self, i: int) -> int | None:
        """Steps between two updates of family `i`; None if it acts at every step."""
        return self.experiment.arms[self.families[i].arms[0]].pace(self.experiment.interval)

    def make(self, i: int):
        """`value` -> transform of an arm of family `i`."""
        family = self.families[i]
        model = self.species[family.species].model
        return lambda value: events.build(self.experiment, family, model, self.pace(i) or 1, value)

    def sizes(self, family: events.Family) -> list[int]:
        """Neurons of each group, unborn ones included."""
        shape = self.species[family.species].model.architecture
        return [shape.ffn if g.name.endswith("/mlp") else shape.width for g in self.groups]

    def initial(self, seeds):
        experiment = self.experiment

        def one(seed, room):
            params = transformer.initial(keys.stream(jax.random.key(seed), "initial"), self.model)
            if room:
                growing = [group for group in self.groups if group.name.endswith("/mlp")]
                params = unborn.widened(params, room, growing)
            known = evidence.init(
                params, self.groups, record=experiment.record, inputs=experiment.inputs
            )
            return params, self.optimiser.init(params), known

        single = [
            jax.vmap(lambda seed, own=own: one(seed, own.room))(seeds) for own in self.species
        ]
        spread = lambda own, tree: jax.tree.map(
            lambda x: jnp.broadcast_to(x, (len(own.arms), *x.shape)), tree
        )
        trees = [spread(*pair) for pair in zip(self.species, single, strict=True)]
        transforms = tuple(
            jax.vmap(
                lambda value, i=i, f=f: jax.vmap(self.make(i)(value).init)(single[f.species][0])
            )(jnp.asarray(f.values))
            for i, f in enumerate(self.families)
        )
        return State(*map(tuple, zip(*trees, strict=True)), transforms, jnp.int32(0))

    def tick(self, state, seeds):
        def step(carry, _):
            state, seen, changes = carry
            state, losses = self._step(state, seeds)
            seen = list(seen)
            for place, i in enumerate(self.restless):
                before, family = self._arms(state, i), self.families[i]
                trees, own, new = self.updated(i, *self.own(i, state), state.step, seeds)
                state = self.placed(i, state, trees, own)
                seen[place] = events.joined(seen[place], new)
                happened = jnp.any(new.when == state.step)
                compare = lambda b, a, f=family: self.change(f.species, b, a)
                still = lambda b, a, f=family: jnp.zeros((len(f.arms), len(seeds)))
                change = lax.cond(happened, compare, still, before, self._arms(state, i))
                own = np.array(family.arms)
                changes = changes.at[own].set(jnp.maximum(changes[own], change))
            return (state, tuple(seen), changes), losses

        seen = tuple(self.nothing(i, len(seeds)) for i in self.restless)
        carry = (state, seen, jnp.zeros((len(self.order), len(seeds))))
        (state, seen, changes), losses = lax.scan(step, carry, length=self.experiment.tick)
        return state, (losses, changes, seen)

    def nothing(self, i, seeds):
        return events.none(len(self.families[i].arms), seeds, sum(self.sizes(self.families[i])))

    def _arms(self, state, i):
        family = self.families[i]
        return jax.tree.map(lambda x: x[family.places], state.params[family.species])

    def change(self, species, before, after):
        """Root mean square change `[A, S]` of the networks' outputs on some windows, relative to
        their own deviation."""
        sample = jnp.asarray(self.windows[0].inputs[:WINDOWS])
        one = lambda params: self.species[species].model.apply({"params": params}, sample)
        old, new = (jax.vmap(jax.vmap(one))(params) for params in (before, after))
        axes = tuple(range(2, old.ndim))
        return jnp.sqrt(jnp.mean((new - old) ** 2, axes)) / jnp.maximum(jnp.std(old, axes), 1e-12)

    def larger(self, before, after, changes):
        both = enumerate(zip(before, after, strict=True))
        found = jnp.concatenate([self.change(s, *pair) for s, pair in both])[self.order]
        return jnp.maximum(changes, found)

    def _step(self, state, seeds):
        """One training step of all networks."""
        training, watch = self.training, self.experiment.watch

        def drawn(seed):
            key = keys.stream(jax.random.key(seed), "step", state.step)
            context = self.model.architecture.context
            batch = text.batch(keys.stream(key, "batch"), self.part, training.batch, context)
            return keys.stream(key, "dropout"), *batch

        def one(model, params, optimiser, known, dropout, tokens, targets):
            loss, gradient, seen = transformer.observed(model, dropout, params, tokens, targets)
            part = lambda own: {g.name: own[g.name][:watch] for g in self.groups}
            known = evidence.gather(
                known,
                params,
                part(seen.activations),
                gradient,
                part(seen.inputs),
                groups=self.groups,
            )
            updates, optimiser = self.optimiser.update(gradient, optimiser, params)
            return optax.apply_updates(params, updates), optimiser, known, loss

        common, after = jax.vmap(drawn)(seeds), []
        for own, *trees in zip(self.species, *state[:3], strict=True):
            seeds_of_an_arm = jax.vmap(functools.partial(one, own.model))
            arms = jax.vmap(seeds_of_an_arm, (0, 0, 0, None, None, None))
            after.append(arms(*trees, *common))
        *trees, losses = zip(*after, strict=True)
        losses = jnp.concatenate(losses)[self.order]
        return State(*trees, state.transforms, state.step + 1), losses

    def own(self, i, state):
        """What an update of family `i` reads: its species' trees, its transform's state."""
        return tuple(tree[self.families[i].species] for tree in state[:3]), state.transforms[i]

    def placed(self, i, state, trees, own):
        """The state with what an update of family `i` made."""
        put = lambda every, place, new: (*every[:place], new, *every[place + 1 :])
        species = self.families[i].species
        after = [put(every, species, new) for every, new in zip(state[:3], trees, strict=True)]
        return State(*after, put(state.transforms, i, own), state.step)

    def updated(self, i, trees, own, step, seeds):
        family = self.families[i]
        trees, own, report = events.update(self.make(i), family, trees, own, step, seeds)
        nothing = self.nothing(i, len(seeds))
        return trees, own, events.added(self.names, nothing, report, step)

    def sums(self, params):
        arrays = [np.concatenate(part) for part in zip(*self.windows, strict=True)]
        width = arrays[0].shape[1]
        size = max(1, TOKENS // width)
        count = -(-len(arrays[0]) // size)
        padding = ((0, count * size - len(arrays[0])), (0, 0))
        blocks = [np.pad(a, padding).reshape(count, size, width) for a in arrays]

        def block(inputs, targets, valid):
            def one(model, params):
                logits = model.apply({"params": params}, inputs)
                return jnp.where(valid, transformer.losses(logits, targets), 0).sum(1)

            sums = [
                jax.vmap(jax.vmap(functools.partial(one, own.model)))(tree)
                for own, tree in zip(self.species, params, strict=True)
            ]
            return jnp.moveaxis(jnp.concatenate(sums)[self.order], -1, 0)

        sums = lax.map(lambda one: block(*one), tuple(map(jnp.asarray, blocks)))
        return sums.reshape(-1, *sums.shape[2:])
