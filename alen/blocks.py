"""Pre-LN transformer blocks (Xiong et al. 2020): what encoder, decoder and verifiers are made of.

Self-attention is causal or sees all, cross-attention is an option, and a stack that is causal can
be extended token by token from a cache. Projections of attention have no bias.

Shapes: `B` sequences, `T` tokens, `S` tokens attended to, `D` width, `H` heads, `C` channels a head
(H · C need not be D), `F` units of the feed-forward network, `L` blocks, `V` symbols. Masks are
True where there is a token. Parameters of a stack, by path:

    block_{i}/norm_1, norm_2, norm_cross    scale, bias [D] (norm_cross where there is a context)
    block_{i}/attention, cross              query, key, value: kernel [D, H, C]; out: [H, C, D]
    block_{i}/mlp_up, mlp_down              kernel [D, F], [F, D]; bias [F], [D]
    norm_final                              scale, bias [D]
"""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

COMPUTE = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
DEVIATION = 0.02  # of initial embeddings (Radford et al. 2019)
FAN_IN = nn.initializers.lecun_normal()  # keeps the variance of what is taken in
SMALL_VOCABULARY = 1024  # up to here a product with one-hot rows, beyond a gather


def dtype_of(compute: str) -> jnp.dtype:
    """The dtype of products; raises ValueError for what is none."""
    if compute not in COMPUTE:
        raise ValueError(f"compute must be one of {', '.join(COMPUTE)}, got {compute!r}")
    return COMPUTE[compute]


def precision(compute: str):
    """The context in which products are taken: GPUs would round factors in float32 to TF32."""
    return jax.default_matmul_precision("highest" if compute == "float32" else "default")


@dataclasses.dataclass(frozen=True)
class Shape:
    """The shape of a stack. Raises ValueError for what is none."""

    width: int
    heads: int
    channels: int
    ffn: int
    layers: int

    def __post_init__(self):
        for name in ("width", "heads", "channels", "ffn", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def count(self, cross: bool) -> int:
        """The number of parameters of a stack, with cross-attention or without."""
        attention = 4 * self.width * self.heads * self.channels
        ffn = 2 * self.width * self.ffn + self.ffn + self.width
        norm = 2 * self.width
        return self.layers * ((1 + cross) * (attention + norm) + ffn + norm) + norm


class Table(nn.Module):
    """Embeddings `[rows, D]` by number. Parameter: `embedding`, in float32.

    They start with a deviation of 0.02, or if `scaled` with 1/√D and are read times √D, so that
    they enter at the size of what blocks add, and serve a tied head as they are. Small ones that
    are tied are soon all alike, moved together by the head's first gradients: then tasks whose
    symbols tell nothing one by one are not learnt.
    """

    rows: int
    width: int
    dtype: jnp.dtype
    scaled: bool = False

    def setup(self):
        draw = nn.initializers.normal(self.width**-0.5 if self.scaled else DEVIATION)
        self.embedding = self.param("embedding", draw, (self.rows, self.width))

    def __call__(self, numbers: jax.Array) -> jax.Array:
        """The rows `[..., D]` of `numbers [...]`."""
        if self.rows > SMALL_VOCABULARY:
            rows = jnp.take(self.embedding, numbers, axis=0).astype(self.dtype)
        else:  # the gradient of a product is no scatter, which GPUs add up in an order of chance
            chosen = jax.nn.one_hot(numbers, self.rows, dtype=self.dtype)
            rows = chosen @ self.embedding.astype(self.dtype)
        return rows * self._size

    def first(self, length: int) -> jax.Array:
        """The rows `[length, D]` before `length`: embeddings of positions."""
        return self.embedding[:length].astype(self.dtype) * self._size

    def scores(self, h: jax.Array) -> jax.Array:
        """Logits `[..., rows]` in float32 of `h [..., D]`: a head tied to the embeddings."""
        return (h @ self.embedding.T.astype(self.dtype)).astype(jnp.float32)

    @property
    def _size(self):
        return self.width**0.5 if self.scaled else 1.0


class Keys(NamedTuple):
    """What is attended to: `key` and `value [B, S, H, C]`."""

    key: jax.Array
    value: jax.Array


class Cache(NamedTuple):
    """What a causal stack needs for its next token, of which `index` have been.

    `past` are the keys of the tokens up to now, zeros behind them; `context` those of the context,
    of which `context_mask [B, S]` says what is there. Both have one entry a block.
    """

    index: jax.Array
    past: tuple[Keys, ...]
    context: tuple[Keys, ...]
    context_mask: jax.Array | None


class Attention(nn.Module):
    """Attention of `h [B, T, D]` to keys `[B, S, H, C]`, see the module."""

    shape: Shape
    dtype: jnp.dtype

    def setup(self):
        shape = self.shape
        dense = lambda: nn.DenseGeneral(
            (shape.heads, shape.channels), use_bias=False, dtype=self.dtype, kernel_init=FAN_IN
        )
        self.query, self.key, self.value = dense(), dense(), dense()
        self.out = nn.DenseGeneral(
            shape.width,
            axis=(-2, -1),
            use_bias=False,
            dtype=self.dtype,
            kernel_init=_residual(shape),
        )

    def keys(self, h: jax.Array) -> Keys:
        """The keys that tokens `h [B, S, D]` offer."""
        return Keys(self.key(h), self.value(h))

    def __call__(self, h, keys: Keys, mask=None, causal: bool = False) -> jax.Array:
        """What `h` gathers, `[B, T, D]`; `mask [B, S]` says which keys are there."""
        if mask is not None:
            mask = mask[:, None, None, :]
        mixed = jax.nn.dot_product_attention(
            self.query(h), keys.key, keys.value, mask=mask, is_causal=causal
        )
        return self.out(mixed)


class Block(nn.Module):
    """One block: self-attention, cross-attention where `cross`, feed-forward network."""

    shape: Shape
    dtype: jnp.dtype
    cross_attention: bool = False

    def setup(self):
        shape, dtype = self.shape, self.dtype
        self.norm_1, self.norm_2 = nn.LayerNorm(dtype=dtype), nn.LayerNorm(dtype=dtype)
        self.attention = Attention(shape, dtype)
        if self.cross_attention:
            self.norm_cross, self.cross = nn.LayerNorm(dtype=dtype), Attention(shape, dtype)
        self.mlp_up = nn.Dense(shape.ffn, dtype=dtype, kernel_init=FAN_IN)
        self.mlp_down = nn.Dense(shape.width, dtype=dtype, kernel_init=_residual(shape))

    def __call__(self, h, mask, causal, context: Keys | None, context_mask):
        """`h [B, T, D]` after the block; `mask [B, T]`, `context_mask [B, S]`."""
        inner = self.norm_1(h)
        h = h + self.attention(inner, self.attention.keys(inner), mask, causal)
        return self._rest(h, context, context_mask)

    def extend(self, h, index, past: Keys, context: Keys | None, context_mask):
        """`h [B, 1, D]` of token number `index` after the block, and the keys with its own."""
        inner = self.norm_1(h)
        place = lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, index, axis=1)
        past = jax.tree.map(place, past, self.attention.keys(inner))
        batch, length = past.key.shape[:2]
        seen = jnp.broadcast_to(jnp.arange(length) <= index, (batch, length))
        h = h + self.attention(inner, past, seen)
        return self._rest(h, context, context_mask), past

    def _rest(self, h, context, context_mask):
        if self.cross_attention:
            h = h + self.cross(self.norm_cross(h), context, context_mask)
        return h + self.mlp_down(nn.gelu(self.mlp_up(self.norm_2(h))))


class Stack(nn.Module):
    """Blocks and a last norm. `cross` attends to a context too; `causal` only to the past.

    All blocks are applied `rounds` times (Dehghani et al. 2019, "Universal Transformers"); a stack
    with more than one cannot be extended token by token.
    """

    shape: Shape
    compute: str = "float32"
    causal: bool = False
    cross: bool = False
    rounds: int = 1

    def setup(self):
        dtype = dtype_of(self.compute)
        self.blocks = [
            Block(self.shape, dtype, self.cross, name=f"block_{i}")
            for i in range(self.shape.layers)
        ]
        self.norm_final = nn.LayerNorm(dtype=dtype)

    def __call__(
        self,
        h: jax.Array,
        mask: jax.Array | None = None,
        context: jax.Array | None = None,
        context_mask: jax.Array | None = None,
    ) -> jax.Array:
        """`h [B, T, D]` after all blocks and the norm; `context [B, S, D]` if there is `cross`.

        `mask [B, T]` and `context_mask [B, S]` say where tokens are (None: everywhere).
        """
        with precision(self.compute):
            both = list(zip(self.blocks, self._context(context), strict=True))
            for block, keys in both * self.rounds:
                h = block(h, mask, self.causal, keys, context_mask)
            return self.norm_final(h)

    def start(self, batch: int, length: int, context=None, context_mask=None) -> Cache:
        """The cache before the first of at most `length` tokens; arguments as of a call."""
        shape = (batch, length, self.shape.heads, self.shape.channels)
        nothing = jnp.zeros(shape, dtype_of(self.compute))
        past = (Keys(nothing, nothing),) * self.shape.layers
        with precision(self.compute):
            context = tuple(self._context(context))
        return Cache(jnp.int32(0), past, context, context_mask)

    def extend(self, h: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        """One token on: what a call gives for `h [B, 1, D]` after those before, and the cache."""
        if not self.causal or self.rounds > 1:
            raise ValueError("only a causal stack of one round can be extended token by token")
        past = []
        with precision(self.compute):
            for block, own, keys in zip(self.blocks, cache.past, cache.context, strict=True):
                h, own = block.extend(h, cache.index, own, keys, cache.context_mask)
                past.append(own)
            return self.norm_final(h), cache._replace(index=cache.index + 1, past=tuple(past))

    def _context(self, context):
        if self.cross and context is None:
            raise ValueError("a stack with cross-attention needs a context, got none")
        if not self.cross and context is not None:
            raise ValueError("a stack without cross-attention takes no context")
        if not self.cross:
            return [None] * self.shape.layers
        return [block.cross.keys(context) for block in self.blocks]


def _residual(shape: Shape):
    """What is added to the residual stream so many times starts that much smaller (GPT-2)."""
    return nn.initializers.variance_scaling(0.5 / shape.layers, "fan_in", "normal")
