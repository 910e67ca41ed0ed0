"""The transformer's bench in ordinary PyTorch: the same network, optimiser and batches.

PyTorch is no dependency: it is imported when the loop is made, and `available` says whether it is
there.
"""

import importlib.util
from collections.abc import Mapping

import jax
import numpy as np

from apoptosis import presets
from experiments.apoptosis_training import Subject
from experiments.bench_apoptosis_arms import batches
from experiments.shell import devices


def available(platform: str) -> str:
    """Why PyTorch cannot be measured on `platform` (cpu, gpu, …), or nothing."""
    if importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed"
    import torch

    if platform == "gpu" and not torch.cuda.is_available():
        return "PyTorch sees no GPU"
    return "" if platform in ("cpu", "gpu") else f"PyTorch is not measured on {platform}"


class TorchLoop:
    """A loop of `torch.nn` modules, scaled dot-product attention and AdamW, on all cores or a GPU.

    `params` are those of our transformer to start from. bfloat16 is autocast's.
    """

    def __init__(self, subject: Subject, params: Mapping, steps: int):
        import torch

        self.steps, self.losses = steps, []
        self.subject, self.batches = subject, batches(subject)
        self.device = "cuda" if jax.default_backend() == "gpu" else "cpu"
        torch.set_num_threads(devices.cores())
        torch.manual_seed(subject.seed)
        self.module = _transformer(subject)
        with torch.no_grad():
            for own, value in zip(self.module.parameters(), flat(params), strict=True):
                own.copy_(torch.from_numpy(value).reshape(own.shape))
        self.module.to(self.device).train()
        training = subject.preset.training
        weights = list(self.module.parameters())
        split = [
            {"params": [p for p in weights if p.ndim > 1], "weight_decay": training.weight_decay},
            {"params": [p for p in weights if p.ndim == 1], "weight_decay": 0.0},
        ]
        betas = 0.9, training.beta2
        self.optimiser = torch.optim.AdamW(split, lr=training.learning_rate, betas=betas)
        self.rate, self.taken = presets.rate(training), 0

    def loss(self, tokens, targets):
        """Mean cross-entropy of a batch `[B, T]`, as a tensor."""
        import torch

        tokens, targets = (
            torch.from_numpy(np.asarray(a)).long().to(self.device) for a in (tokens, targets)
        )
        half = self.subject.compute == "bfloat16"
        with torch.autocast(self.device, torch.bfloat16, enabled=half):
            logits = self.module(tokens)
        return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    def advance(self) -> int:
        import torch

        for _ in range(self.steps):
            for group in self.optimiser.param_groups:
                group["lr"] = float(self.rate(self.taken))
            loss = self.loss(*next(self.batches))
            self.optimiser.zero_grad()
            loss.backward()
            clip = self.subject.preset.training.clip
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), clip)
            self.optimiser.step()
            self.losses.append(float(loss.detach()))
            self.taken += 1
        return self.steps


def _transformer(subject: Subject):
    """The module; its parameters come in the order of `flat`."""
    import torch
    from torch import nn
    from torch.nn import functional

    shape, symbols = subject.preset.architecture, len(subject.vocabulary)
    activation = {"gelu": nn.GELU(approximate="tanh"), "relu": nn.ReLU()}[shape.activation]

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            parts = ("query", "key", "value", "out")
            self.parts = nn.ModuleList(nn.Linear(shape.width, shape.width, False) for _ in parts)

        def forward(self, h):
            *three, out = self.parts
            heads = (*h.shape[:2], shape.heads, shape.channels)
            q, k, v = (part(h).view(heads).transpose(1, 2) for part in three)
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return out(mixed.transpose(1, 2).flatten(2))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            up, down = nn.Linear(shape.width, shape.ffn), nn.Linear(shape.ffn, shape.width)
            feed = nn.Sequential(up, activation, down)
            self.sublayers = nn.ModuleList((Attention(), feed))
            self.norms = nn.ModuleList(nn.LayerNorm(shape.width, eps=1e-6) for _ in range(2))
            self.drop = nn.Dropout(shape.dropout)

        def forward(self, h):
            for sublayer, norm in zip(self.sublayers, self.norms, strict=True):
                pre = shape.norm == "pre"
                h = h + self.drop(sublayer(norm(h) if pre else h))
                h = h if pre else norm(h)
            return h

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(symbols, shape.width)
            self.position = nn.Embedding(shape.context, shape.width)
            self.drop = nn.Dropout(shape.dropout)
            self.blocks = nn.ModuleList(Block() for _ in range(shape.layers))
            pre = shape.norm == "pre"
            self.final = nn.LayerNorm(shape.width, eps=1e-6) if pre else nn.Identity()
            self.head = None if shape.tied else nn.Linear(shape.width, symbols, False)

        def forward(self, tokens):
            place = torch.arange(tokens.shape[1], device=tokens.device)
            h = self.drop(self.embedding(tokens) + self.position(place))
            for block in self.blocks:
                h = block(h)
            h = self.final(h)
            return h @ self.embedding.weight.T if self.head is None else self.head(h)

    return Transformer()


def flat(params: Mapping) -> list[np.ndarray]:
    """The leaves of our transformer in the order of the module's, kernels turned `[out, in]`."""
    width = params["embedding"]["embedding"].shape[1]
    found = [params[name]["embedding"] for name in ("embedding", "position")]
    for i in range(sum(name.startswith("block_") for name in params)):
        block = params[f"block_{i}"]
        attention, feed = block["attention"], block["mlp"]
        found += [attention[n]["kernel"].reshape(width, -1).T for n in ("query", "key", "value")]
        found += [attention["out"]["kernel"].reshape(-1, width).T]
        for name in ("up", "down"):
            found += [feed[name]["kernel"].T, feed[name]["bias"]]
        found += [block[n][part] for n in ("norm_1", "norm_2") for part in ("scale", "bias")]
    if "norm_final" in params:
        found += [params["norm_final"][part] for part in ("scale", "bias")]
    found += [params["head"]["kernel"].T] if "head" in params else []
    return [np.array(a, np.float32) for a in found]
