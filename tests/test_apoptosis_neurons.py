"""Declarations of groups: what is found, what is refused."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apoptosis import neurons
from tests import apoptosis_case as case


def transformer_tree(layers=2, d=8, heads=2, head_dim=4, ffn=12):
    block = {
        "attention": {
            **{k: {"kernel": jnp.ones((d, heads, head_dim))} for k in ("query", "key", "value")},
            "out": {"kernel": jnp.ones((heads, head_dim, d))},
        },
        "mlp": {
            "up": {"kernel": jnp.ones((d, ffn)), "bias": jnp.ones(ffn)},
            "down": {"kernel": jnp.ones((ffn, d)), "bias": jnp.ones(d)},
        },
        "norm_1": {"scale": jnp.ones(d)},
    }
    return {"params": {f"block_{i}": block for i in range(layers)} | {"head": jnp.ones((d, 5))}}


def test_our_transformer_is_recognised():
    found = neurons.find(None, transformer_tree())
    assert [(g.name, g.size) for g in found] == [
        ("block_0/mlp", 12),
        ("block_0/attention", 8),
        ("block_1/mlp", 12),
        ("block_1/attention", 8),
    ]


def test_a_plain_mlp_is_recognised_in_the_order_of_its_layers():
    class Deep(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(11):
                x = nn.relu(nn.Dense(3)(x))
            return x

    params = Deep().init(jax.random.key(0), jnp.ones((1, 3)))
    names = [group.name for group in neurons.find(None, params)]
    assert names == [f"Dense_{i}" for i in range(10)]
    assert [g.name for g in neurons.find(None, params["params"])] == names


def test_rows_go_out_and_in_again():
    tree = transformer_tree(1)
    leaf = jnp.arange(64.0).reshape(8, 2, 4)
    part = neurons.Part("incoming", 0, "", (1, 2))
    rows = part.rows(leaf)
    assert rows.shape == (8, 8)
    np.testing.assert_array_equal(rows[5], leaf[:, 1, 1])
    np.testing.assert_array_equal(part.put(leaf, rows), leaf)
    (group, *_) = neurons.find(neurons.transformer(1), tree)
    leaves = jax.tree.leaves(tree)
    for a, b in zip(group.put(leaves, group.rows(leaves)), leaves, strict=True):
        np.testing.assert_array_equal(a, b)


def test_gated_units_and_norms_can_be_declared():
    tree = {
        "gate": jnp.ones((3, 5)),
        "value": jnp.ones((3, 5)),
        "norm": jnp.ones(5),
        "down": jnp.ones((5, 2)),
    }
    group = neurons.NeuronGroup("glu", ("gate", "value"), "down", scale="norm")
    (found,) = neurons.find([group], tree)
    assert [part.kind for part in found.parts] == ["incoming", "incoming", "scale", "outgoing"]


GROUP = neurons.NeuronGroup
BAD = [
    ([GROUP("a", "Dense_7/kernel", "Dense_1/kernel")], "'Dense_7/kernel' must match one leaf, but"),
    (
        [GROUP("a", "Dense_*/kernel", "Dense_1/kernel")],
        r"must match one leaf, but matches .*Dense_2",
    ),
    ([GROUP("a", "Dense_0/kernel", "Dense_2/kernel")], "must have one number of neurons, got"),
    ([GROUP("a", ("Dense_0/kernel", 2), "Dense_1/kernel")], r"has no axes \(2,\)"),
    ([GROUP("a", "Dense_0/kernel", ())], "must have incoming and outgoing kernels"),
    ([], "at least one"),
    (
        [
            GROUP(
                "a", "Dense_0/kernel", "Dense_1/kernel", next_bias=("Dense_1/bias", "Dense_2/bias")
            )
        ],
        "next_bias must be none or 1",
    ),
    ([case.GROUPS[0], case.GROUPS[0]], "each of its own name"),
]


@pytest.mark.parametrize(("groups", "sentence"), BAD)
def test_bad_declarations_are_refused(groups, sentence):
    with pytest.raises(ValueError, match=sentence):
        neurons.find(groups, case.initial())


def test_an_unknown_model_needs_a_declaration():
    with pytest.raises(ValueError, match="groups must be declared"):
        neurons.find(None, {"Conv_0": {"kernel": jnp.ones((3, 3, 1, 4)), "bias": jnp.ones(4)}})
