"""What a neuron is made of: which leaves of a parameter tree, along which of their axes.

Shapes: `N` neurons of a group, `K` weights that a neuron has in one leaf.
"""

import dataclasses
import fnmatch
import itertools
import math
import re
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

Pattern = str | tuple[str, int | tuple[int, ...]]  # a path pattern, or one with the neurons' axes
INCOMING, BIAS, SCALE, OUTGOING, NEXT_BIAS = "incoming", "bias", "scale", "outgoing", "next_bias"
_AXES = {INCOMING: -1, BIAS: -1, SCALE: -1, OUTGOING: 0}


@dataclasses.dataclass(frozen=True)
class NeuronGroup:
    """A population of interchangeable neurons, declared by path patterns.

    Paths are joined by '/', without a leading `params/`; patterns are those of `fnmatch`, and each
    must match exactly one leaf. A pattern stands alone, or in a pair with the axis (or axes) along
    which the neurons lie; otherwise these are the last axis of `incoming` kernels (of a gated unit
    there are two), of the `bias` and of a norm's `scale`, and the first axis of `outgoing` kernels.
    `next_bias` are the biases that are added to what the outgoing kernels give, one for each, or
    none. `activation` makes the neurons' outputs `[R, N]` of the pre-activations `[R, N]` of each
    incoming kernel; only the local regression of newborns needs it.
    """

    name: str
    incoming: Sequence[Pattern] | str
    outgoing: Sequence[Pattern] | str
    bias: Sequence[Pattern] | str = ()
    scale: Sequence[Pattern] | str = ()
    next_bias: Sequence[str] | str = ()
    activation: Callable[..., jax.Array] | None = None


@dataclasses.dataclass(frozen=True)
class Part:
    """One leaf that a group lives in: its kind, its place among the leaves, the neurons' axes."""

    kind: str
    leaf: int
    path: str
    axes: tuple[int, ...]

    def rows(self, leaf: jax.Array) -> jax.Array:
        """The leaf as `[N, K]`, a row of each neuron."""
        moved = jnp.moveaxis(leaf, self.axes, range(len(self.axes)))
        size = math.prod(moved.shape[: len(self.axes)])
        return moved.reshape(size, -1)

    def put(self, leaf: jax.Array, rows: jax.Array) -> jax.Array:
        """The leaf with these rows `[N, K]`, in its own dtype."""
        front = range(len(self.axes))
        shape = jnp.moveaxis(leaf, self.axes, front).shape
        return jnp.moveaxis(rows.reshape(shape), front, self.axes).astype(leaf.dtype)


@dataclasses.dataclass(frozen=True)
class Found:
    """A group resolved in a parameter tree: `size` neurons in `parts`.

    `next_bias` are the places of the leaves that follow the outgoing parts, in their order.
    """

    name: str
    size: int
    parts: tuple[Part, ...]
    next_bias: tuple[int, ...]
    activation: Callable[..., jax.Array] | None = None

    def of(self, kind: str) -> list[int]:
        """Indices of the parts of this kind."""
        return [index for index, part in enumerate(self.parts) if part.kind == kind]

    def rows(self, leaves: Sequence[jax.Array]) -> list[jax.Array]:
        """Of each part, the rows `[N, K]` in the leaves of the parameter tree."""
        return [part.rows(leaves[part.leaf]) for part in self.parts]

    def put(self, leaves: Sequence[jax.Array], rows: Sequence[jax.Array]) -> list[jax.Array]:
        """The leaves with these rows in place of the group's."""
        changed = list(leaves)
        for part, own in zip(self.parts, rows, strict=True):
            changed[part.leaf] = part.put(changed[part.leaf], own)
        return changed


def path_of(keys) -> str:
    """A leaf's key path as text, joined by '/', without a leading `params/`."""
    path = "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in keys)
    return path.removeprefix("params/")


def paths(params) -> list[str]:
    """The paths of all leaves, in the order of `jax.tree.leaves`."""
    return [path_of(keys) for keys, _ in jax.tree_util.tree_leaves_with_path(params)]


def find(groups: Sequence[NeuronGroup] | None, params) -> tuple[Found, ...]:
    """The groups resolved in `params`; those of a plain MLP or of our transformer if None.

    Raises ValueError where a pattern matches nothing or twice, where an axis does not exist, where
    the parts of a group disagree on the number of neurons, or where a name comes twice.
    """
    groups = discover(params) if groups is None else groups
    names, every = [group.name for group in groups], paths(params)
    if not groups or len(set(names)) < len(names):
        raise ValueError(f"groups must be at least one, each of its own name, got {names}")
    return tuple(_resolve(group, every, jax.tree.leaves(params)) for group in groups)


def _resolve(group, every, leaves) -> Found:
    parts, sizes = [], {}
    for kind, axis in _AXES.items():
        for pattern in _many(getattr(group, kind), kind):
            text, axes = (pattern, axis) if isinstance(pattern, str) else pattern
            place = _match(group.name, text, every)
            shape, axes = leaves[place].shape, (axes,) if isinstance(axes, int) else tuple(axes)
            if not all(-len(shape) <= a < len(shape) for a in axes):
                raise ValueError(
                    f"group {group.name!r}: {every[place]} of shape {shape} has no axes {axes}"
                )
            axes = tuple(a % len(shape) for a in axes)
            sizes[every[place]] = math.prod(shape[a] for a in axes)
            parts.append(Part(kind, place, every[place], axes))
    if len(set(sizes.values())) != 1:
        raise ValueError(f"group {group.name!r} must have one number of neurons, got {sizes}")
    if {INCOMING, OUTGOING} - {part.kind for part in parts}:
        raise ValueError(f"group {group.name!r} must have incoming and outgoing kernels")
    following = [_match(group.name, p, every) for p in _many(group.next_bias, NEXT_BIAS)]
    many = sum(part.kind == OUTGOING for part in parts)
    if len(following) not in (0, many):
        raise ValueError(
            f"group {group.name!r}: next_bias must be none or {many}, one for each outgoing "
            f"kernel, got {len(following)}"
        )
    size = next(iter(sizes.values()))
    return Found(group.name, size, tuple(parts), tuple(following), group.activation)


def _many(patterns, kind):
    """A lone pattern, with or without axes, as a sequence of one."""
    if isinstance(patterns, str):
        return (patterns,)
    if len(patterns) == 2 and isinstance(patterns[0], str) and not isinstance(patterns[1], str):
        return (patterns,)
    return tuple(patterns)


def _match(name: str, pattern: str, every: list[str]) -> int:
    hits = [i for i, path in enumerate(every) if fnmatch.fnmatchcase(path, pattern)]
    if len(hits) != 1:
        found = f"{[every[i] for i in hits]}" if hits else f"nothing among {every}"
        raise ValueError(f"group {name!r}: {pattern!r} must match one leaf, but matches {found}")
    return hits[0]


def mlp(*layers: str, activation: Callable | None = jax.nn.relu) -> tuple[NeuronGroup, ...]:
    """Groups of a plain MLP whose layers, by path and in order, have a `kernel` and a `bias`.

    `mlp("Dense_0", "Dense_1", "Dense_2")` declares two groups: the units of the hidden layers,
    named after these.
    """
    if len(layers) < 2:
        raise ValueError(f"an MLP needs a hidden and an output layer, got {list(layers)}")
    return tuple(
        NeuronGroup(
            here,
            incoming=f"{here}/kernel",
            bias=f"{here}/bias",
            outgoing=f"{after}/kernel",
            next_bias=f"{after}/bias",
            activation=activation,
        )
        for here, after in itertools.pairwise(layers)
    )


def transformer(layers: int, activation: Callable | None = jax.nn.gelu) -> tuple[NeuronGroup, ...]:
    """Groups of our transformer: `block_i/mlp`, the units of the feed-forward layers, and
    `block_i/attention`, the value and output channels of all heads (N = heads × head_dim)."""
    if layers < 1:
        raise ValueError(f"layers must be at least 1, got {layers}")
    groups = []
    for i in range(layers):
        block, up, down = f"block_{i}", f"block_{i}/mlp/up", f"block_{i}/mlp/down"
        (units,) = mlp(up, down, activation=activation)
        value, out = (f"{block}/attention/{side}/kernel" for side in ("value", "out"))
        groups += [
            dataclasses.replace(units, name=f"{block}/mlp"),
            NeuronGroup(f"{block}/attention", incoming=(value, (1, 2)), outgoing=(out, (0, 1))),
        ]
    return tuple(groups)


def discover(params) -> tuple[NeuronGroup, ...]:
    """The groups of our transformer or of a chain of dense layers, read from the tree.

    Raises ValueError where the tree is neither: such a model needs a declaration.
    """
    every = paths(params)
    blocks = [path for path in every if re.fullmatch(r"block_\d+/mlp/up/kernel", path)]
    if blocks:
        return transformer(len(blocks))
    number = lambda text: [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", text)]
    shapes = dict(zip(every, (leaf.shape for leaf in jax.tree.leaves(params)), strict=True))
    kernels = sorted((p for p in every if p.endswith("/kernel")), key=number)
    layers = [path.removesuffix("/kernel") for path in kernels]
    chain = all(len(shapes[path]) == 2 for path in kernels) and all(
        shapes[a][1] == shapes[b][0] for a, b in itertools.pairwise(kernels)
    )
    if len(layers) < 2 or not chain or len(every) != 2 * len(layers):
        raise ValueError(
            "groups must be declared: the parameters are neither a chain of dense layers with "
            f"biases nor our transformer, but {every}"
        )
    return mlp(*layers)
