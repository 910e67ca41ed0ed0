"""A decoder-only transformer over characters: the organism whose neurons die and are born.

Attention is causal, positions are learned (Radford et al. 2019). Layer norms stand after each
sublayer's sum (post-LN, Vaswani et al. 2017) or before each sublayer (pre-LN, Xiong et al. 2020).
Projections have no bias but those of the feed-forward network.

Shapes: `B` sequences, `T` tokens, `V` symbols, `D` width, `H` heads, `C` channels a head, `F` units
of the feed-forward network, `L` blocks. Parameters, by path:

    embedding/embedding [V, D]    position/embedding [T, D]
    block_{i}/norm_1, norm_2      scale, bias [D]
    block_{i}/attention           query, key, value: kernel [D, H, C]; out: kernel [H, C, D]
    block_{i}/mlp                 up: kernel [D, F], bias [F]; down: kernel [F, D], bias [D]
    norm_final                    scale, bias [D] (pre-LN only)
    head                          kernel [D, V] (untied only: else it is the embedding)

What neurons take in and give out is there for whoever asks (`observed`): `mlp/hidden [B, T, F]`
after the activation, `attention/channels [B, T, H, C]` before `out`, and the `inputs [B, T, D]` of
both are sown into `intermediates`, which costs nothing unless that collection is passed.
"""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from apoptosis import layers

NORMS = ("pre", "post")
ACTIVATIONS = {"relu": nn.relu, "gelu": nn.gelu}  # gelu by its tanh approximation, as GPT-2
COMPUTE = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
ATTENTIONS = ("xla", "cudnn")
DEVIATION = 0.02  # of initial weights (Radford et al. 2019)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The shape of a transformer, whatever its symbols. Raises ValueError for what is none."""

    width: int
    heads: int
    layers: int
    ffn: int
    context: int
    norm: str = "pre"
    activation: str = "gelu"
    dropout: float = 0.0
    tied: bool = False

    def __post_init__(self):
        for name in ("width", "heads", "layers", "ffn", "context"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads ({self.heads}), got {self.width}")
        for name, known in (("norm", NORMS), ("activation", ACTIVATIONS)):
            if getattr(self, name) not in known:
                given = getattr(self, name)
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {given!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")

    @property
    def channels(self) -> int:
        """Channels of a head."""
        return self.width // self.heads


def attention(platform: str, compute: str, channels: int) -> str:
    """The attention to be had: cuDNN's on GPUs in bfloat16, for heads that it takes, else XLA's.

    cuDNN's flash attention takes at most 128 channels a head, in multiples of 8.
    """
    fits = channels % 8 == 0 and channels <= 128
    return "cudnn" if platform == "gpu" and compute == "bfloat16" and fits else "xla"


class Transformer(nn.Module):
    """One organism. Parameters are float32; products are taken in `compute`, the loss in float32.

    `attention` is 'xla' or 'cudnn' (see the function of that name).
    """

    symbols: int
    architecture: Architecture
    compute: str = "float32"
    attention: str = "xla"

    @nn.compact
    def __call__(self, tokens: jax.Array, training: bool = False) -> jax.Array:
        """Logits `[B, T, V]` in float32 of the symbol after each of `tokens [B, T]`.

        `training` drops out, with the key `dropout`. T is at most the context.
        """
        _require("compute", self.compute, COMPUTE)
        _require("attention", self.attention, ATTENTIONS)
        shape, dtype = self.architecture, COMPUTE[self.compute]
        length = tokens.shape[1]
        if length > shape.context:
            raise ValueError(f"the context is {shape.context} tokens, got {length}")
        # GPUs would round the factors of float32 products to TF32.
        with jax.default_matmul_precision("highest" if self.compute == "float32" else "default"):
            normal = nn.initializers.normal(DEVIATION)
            table = _Table(self.symbols, shape.width, dtype, name="embedding")()
            place = _Table(shape.context, shape.width, dtype, name="position")()
            # A product where others gather: its gradient is no scatter, which GPUs add up in
            # an order of chance.
            h = jax.nn.one_hot(tokens.ravel(), self.symbols, dtype=dtype) @ table
            # In rows from here on: CPUs take twice as long over a kernel's gradient in blocks.
            h = (h.reshape(*tokens.shape, -1) + place[:length]).reshape(h.shape)
            h = layers.Dropout(shape.dropout)(h, training)
            for i in range(shape.layers):
                block = _Block(shape, dtype, self.attention, name=f"block_{i}")
                h = block(h, length, training)
            if shape.norm == "pre":
                h = nn.LayerNorm(dtype=dtype, name="norm_final")(h)
            if shape.tied:
                logits = h @ table.T
            else:
                head = nn.Dense(self.symbols, False, dtype, kernel_init=normal, name="head")
                logits = head(h)
            return logits.reshape(*tokens.shape, -1).astype(jnp.float32)


class _Table(nn.Module):
    rows: int
    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self):
        draw = nn.initializers.normal(DEVIATION)
        return self.param("embedding", draw, (self.rows, self.width)).astype(self.dtype)


class _Block(nn.Module):
    """Of rows `[B · T, D]`, those of `length` tokens one after the other."""

    shape: Architecture
    dtype: jnp.dtype
    attention: str

    @nn.compact
    def __call__(self, h, length, training):
        shape = self.shape
        sublayers = (
            (_Attention(shape, self.dtype, self.attention, name="attention"), "norm_1"),
            (_FeedForward(shape, self.dtype, name="mlp"), "norm_2"),
        )
        for sublayer, name in sublayers:
            norm = nn.LayerNorm(dtype=self.dtype, name=name)
            before = shape.norm == "pre"
            change = sublayer(norm(h) if before else h, length)
            h = h + layers.Dropout(shape.dropout)(change, training)
            h = h if before else norm(h)
        return h


class _Attention(nn.Module):
    shape: Architecture
    dtype: jnp.dtype
    implementation: str

    @nn.compact
    def __call__(self, h, length):
        shape = self.shape
        heads = shape.heads, shape.channels
        self.sow("intermediates", "inputs", _apart(h, length))
        three = (
            nn.DenseGeneral(
                heads,
                use_bias=False,
                dtype=self.dtype,
                kernel_init=nn.initializers.normal(DEVIATION),
                name=name,
            )(h).reshape(-1, length, *heads)
            for name in ("query", "key", "value")
        )
        if self.implementation == "xla":
            mixed = layers.causal(*three)
        else:
            mixed = jax.nn.dot_product_attention(
                *three, is_causal=True, implementation=self.implementation
            )
        self.sow("intermediates", "channels", mixed)
        return nn.DenseGeneral(
            shape.width,
            axis=(-2, -1),
            use_bias=False,
            dtype=self.dtype,
            kernel_init=_residual(shape),
            name="out",
        )(mixed.reshape(-1, *heads))


class _FeedForward(nn.Module):
    shape: Architecture
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, h, length):
        shape = self.shape
        self.sow("intermediates", "inputs", _apart(h, length))
        normal = nn.initializers.normal(DEVIATION)
        hidden = nn.Dense(shape.ffn, dtype=self.dtype, kernel_init=normal, name="up")(h)
        # Memory for what its gradient reads would cost more than taking it again.
        hidden = jax.checkpoint(ACTIVATIONS[shape.activation])(hidden)
        self.sow("intermediates", "hidden", _apart(hidden, length))
        return nn.Dense(
            shape.width,
            dtype=self.dtype,
            kernel_init=_residual(shape),
            dot_general=layers.narrowing if shape.ffn > shape.width else None,
            name="down",
        )(hidden)


def _apart(rows, length):
    """`[B, T, …]` of rows."""
    return rows.reshape(-1, length, *rows.shape[1:])


def _residual(shape: Architecture):
    """What is added to the residual stream 2L times starts that much smaller (GPT-2)."""
    return nn.initializers.normal(DEVIATION / (2 * shape.layers) ** 0.5)


def _require(name, given, known):
    if given not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {given!r}")


def initial(key: jax.Array, model: Transformer) -> dict:
    """The parameters that `model` starts from."""
    tokens = jnp.zeros((1, model.architecture.context), jnp.int32)
    return model.init(key, tokens)["params"]


def losses(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Cross-entropy `[B, T]` in nats of `logits [B, T, V]` for the symbols that came."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets)


def loss(model: Transformer, key: jax.Array, params, tokens, targets) -> jax.Array:
    """Mean training loss of a batch `[B, T]`; `key` is that of dropout."""
    logits = model.apply({"params": params}, tokens, training=True, rngs={"dropout": key})
    return losses(logits, targets).mean()


class Observation(NamedTuple):
    """What evidence is made of, by group of neurons: `block_{i}/mlp` and `block_{i}/attention`.

    `activations` are `[B, T, F]` and `[B, T, H, C]`, `inputs` what the groups' layers take in,
    `[B, T, D]`.
    """

    activations: dict[str, jax.Array]
    inputs: dict[str, jax.Array]


def observed(
    model: Transformer, key: jax.Array, params, tokens, targets
) -> tuple[jax.Array, dict, Observation]:
    """The `loss` of a batch, its gradient, and what was observed on the way."""

    def observe(params):
        logits, seen = model.apply(
            {"params": params},
            tokens,
            training=True,
            rngs={"dropout": key},
            mutable=["intermediates"],
        )
        return losses(logits, targets).mean(), seen["intermediates"]

    (value, sown), gradient = jax.value_and_grad(observe, has_aux=True)(params)
    seen = Observation({}, {})
    for block, part in ((block, part) for block in sown for part in ("attention", "mlp")):
        name, own = f"{block}/{part}", sown[block][part]
        output = "channels" if part == "attention" else "hidden"
        seen.activations[name], seen.inputs[name] = own[output][0], own["inputs"][0]
    return value, gradient, seen


def flops(architecture: Architecture, symbols: int) -> int:
    """Floating-point operations of a training step per token: 6 · N + 12 · L · T · D.

    N counts the weights that take part in products: 4D² + 2DF a block and D·V of the head. The
    second term is attention's, counted in full although half is masked (Chowdhery et al. 2022,
    appendix B); norms, activations and the optimiser are left out.
    """
    a = architecture
    weights = a.layers * (4 * a.width**2 + 2 * a.width * a.ffn) + a.width * symbols
    return 6 * weights + 12 * a.layers * a.context * a.width
