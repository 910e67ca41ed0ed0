"""Who died, who was born of whom, when, how old and how fit: a record for later analysis.

The record is a pytree of fixed shapes, which goes through `jit`, `vmap` and `scan` and into a
checkpoint as all other states do:

    family = lineage.init(known, room=1000)
    params, opt_state, state, report = transform.update(key, params, opt_state, state, known)
    family = lineage.record(family, report, known)       # before evidence.renewed
    known = evidence.renewed(known, report)
    ...
    columns = lineage.rows(family)                       # pandas.DataFrame(columns)

Every neuron that ever lived has a number in its group, its identity: those of the start are 0 to
N - 1, newborns get the next ones. Shapes: `N` neurons of a group, `E` rows of a group's record.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from apoptosis import evidence
from apoptosis import transform as types

NOBODY = -1


class Family(NamedTuple):
    """A group's `identity [N]` by place (-1 where nobody lives), the step at which each was born
    (`since [N]`), how many ever lived (`named`), and of `number` rows so far the first E."""

    identity: jax.Array
    since: jax.Array
    named: jax.Array
    number: jax.Array
    rows: dict[str, jax.Array]


class Lineage(NamedTuple):
    """`step` updates so far, and the families by group."""

    step: jax.Array
    families: dict[str, Family]


# A row is what happened at one place in one update; -1 (fitness: NaN) is said of nobody.
COLUMNS = {
    "step": jnp.int32,  # number of the update, from 1 on
    "place": jnp.int32,  # index in the group
    "died": jnp.int32,  # identity of who died there
    "age": jnp.int32,  # its age, in steps
    "fitness": jnp.float32,  # and its fitness, by the recipe's own measure
    "born": jnp.int32,  # identity of who was born there
    "parent": jnp.int32,  # of whom it was born
    "mate": jnp.int32,  # and the second parent
}


def init(
    known: evidence.Evidence, room: int, unborn: Mapping[str, jax.Array] | None = None
) -> Lineage:
    """Nothing has happened yet; there is `room` for so many rows a group.

    `unborn [N]` by group (`unborn.find`) are those that do not live yet.
    """
    if room < 1:
        raise ValueError(f"room must be at least 1, got {room}")
    families = {}
    for name, own in known.items():
        size = own.age.shape[0]
        identity = jnp.arange(size, dtype=jnp.int32)
        if unborn is not None and name in unborn:
            identity = jnp.where(unborn[name], NOBODY, identity)
        zero = lambda shape=(): jnp.zeros(shape, jnp.int32)
        rows = {column: jnp.zeros(room, dtype) for column, dtype in COLUMNS.items()}
        families[name] = Family(identity, zero(size), zero() + size, zero(), rows)
    return Lineage(zero(), families)


def record(lineage: Lineage, report: types.Report, known: evidence.Evidence) -> Lineage:
    """The record after an update, of its report and the evidence that was given to it.

    Rows beyond the room are lost, and `rows` says so. Updates without an event cost next to
    nothing, also under `vmap`.
    """
    step = lineage.step + 1
    some = [report.died[name] | report.born[name] for name in lineage.families]
    write = lambda families: {
        name: _after(family, name, step, report, known) for name, family in families.items()
    }
    happened = jnp.any(jnp.concatenate(some))
    return Lineage(step, types.lazily(happened, write, lineage.families))


def _after(family: Family, name, step, report: types.Report, known) -> Family:
    died, born = report.died[name], report.born[name]
    number = lambda flags: jnp.cumsum(flags, dtype=jnp.int32)
    identity, size = family.identity, len(family.identity)
    of = lambda places: jnp.where(
        born & (places >= 0), identity[jnp.clip(places, 0, size - 1)], NOBODY
    )
    newborn = jnp.where(born, family.named + number(born) - 1, NOBODY)
    values = {
        "step": jnp.broadcast_to(step, died.shape),
        "place": jnp.arange(size),
        "died": jnp.where(died, identity, NOBODY),
        "age": jnp.where(died, known[name].age, NOBODY),
        "fitness": jnp.where(died, report.fitness[name], jnp.nan),
        "born": newborn,
        "parent": of(report.parents[name]),
        "mate": of(report.mates[name]),
    }
    room = len(family.rows["step"])
    slots = jnp.where(died | born, family.number + number(died | born) - 1, room)
    rows = {
        column: own.at[slots].set(values[column].astype(own.dtype), mode="drop")
        for column, own in family.rows.items()
    }
    return Family(
        jnp.where(born, newborn, jnp.where(died, NOBODY, identity)),
        jnp.where(born, step, family.since),
        family.named + jnp.sum(born, dtype=jnp.int32),
        family.number + jnp.sum(died | born, dtype=jnp.int32),
        rows,
    )


def ages(lineage: Lineage) -> dict[str, jax.Array]:
    """Updates since each neuron was born or the record began, by group `[N]`; -1 of nobody."""
    return {
        name: jnp.where(family.identity >= 0, lineage.step - family.since, NOBODY)
        for name, family in lineage.families.items()
    }


def rows(lineage: Lineage) -> dict[str, np.ndarray]:
    """The record of one network as columns, `group` and those of `COLUMNS`; by group, then in time.

    Of a population take a member first: `jax.tree.map(lambda leaf: leaf[i], lineage)`. Raises
    ValueError where more happened than there was room for.
    """
    parts = []
    for name, family in lineage.families.items():
        number, room = np.asarray(family.number), len(family.rows["step"])
        if number.ndim:
            raise ValueError("rows are of one network: take a member of the population first")
        if number > room:
            raise ValueError(f"room must be at least {number} for group {name!r}, got {room}")
        own = {column: np.asarray(family.rows[column])[:number] for column in COLUMNS}
        parts.append({"group": np.full(number, name), **own})
    return {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}


def ancestry(columns: Mapping[str, np.ndarray], group: str, identity: int) -> list[int]:
    """The identities from a neuron back along first parents, itself first.

    The last is one of the start, or one that was born of nobody. `columns` are those of `rows`.
    Raises ValueError for an identity that never lived, as far as the record tells.
    """
    own = columns["group"] == group
    births = own & (columns["born"] >= 0)
    parents = dict(zip(columns["born"][births], columns["parent"][births], strict=True))
    first = min(parents, default=identity + 1)  # those before it lived at the start
    if identity < 0 or (identity >= first and identity not in parents):
        raise ValueError(f"nobody in group {group!r} ever had the identity {identity}")
    line = [int(identity)]
    while parents.get(line[-1], NOBODY) >= 0:
        line.append(int(parents[line[-1]]))
    return line
