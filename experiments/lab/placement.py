"""Which network is trained in which block, chunk and device.

Members (networks) of one species (one static organism) fill *blocks* of equal size; a block is
small enough to stay in a core's cache for the whole training. Blocks fill *chunks*, the unit of
progress and of loss; the blocks of a chunk are dealt to the devices in turn.
"""

from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

AXIS = "population"


class Layout(NamedTuple):
    """`members` networks a block, `blocks` blocks a chunk."""

    members: int
    blocks: int


class Chunk(NamedTuple):
    """K blocks of B members over D devices, each device's share padded to K/D blocks.

    `member [K, B]` indexes the population (padding repeats a block's first member), `species [K]`,
    `valid [K, B]`; `count [D]` is the number of blocks that each device really trains.
    """

    member: np.ndarray
    species: np.ndarray
    valid: np.ndarray
    count: np.ndarray


def mesh(devices=None) -> Mesh:
    """A mesh of all local devices along the population."""
    devices = jax.local_devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def layout(platform: str, devices: int, largest: int) -> Layout:
    """How a population of at most `largest` members a program is best cut on these devices.

    CPU: 16 networks keep parameters and activations in a core's L2 cache, and 16 blocks take
    about half a second a core. Accelerators want one large block each.
    """
    if platform == "cpu":
        return Layout(16, 16)
    share = -(-largest // devices)
    return Layout(min(8192, 256 * -(-share // 256)), devices)


def blocks(species: np.ndarray, size: int) -> list[np.ndarray]:
    """Member indices `[≤ size]` of every block, homogeneous in `species [M]`, in order."""
    cut = []
    for kind in np.unique(species):
        members = np.flatnonzero(species == kind)
        cut += [members[i : i + size] for i in range(0, len(members), size)]
    return cut


def chunks(species: np.ndarray, plan: Layout, devices: int) -> list[Chunk]:
    """The chunks that train the members with `species [M]`, each exactly once.

    Which members share a chunk depends on `plan` alone, never on the number of devices.
    """
    species = np.asarray(species)
    whole = blocks(species, plan.members)
    per_device = -(-plan.blocks // devices)
    result = []
    for start in range(0, len(whole), plan.blocks):
        part = whole[start : start + plan.blocks]
        member = np.zeros((devices, per_device, plan.members), np.int32)
        valid = np.zeros(member.shape, bool)
        for k, indices in enumerate(part):
            place = k % devices, k // devices
            member[place] = indices[0]
            member[place][: len(indices)] = indices
            valid[place][: len(indices)] = True
        count = np.array([len(part[d::devices]) for d in range(devices)], np.int32)
        member, valid = (a.reshape(-1, plan.members) for a in (member, valid))
        result.append(Chunk(member, species[member[:, 0]].astype(np.int32), valid, count))
    return result
