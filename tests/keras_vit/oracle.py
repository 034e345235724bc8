"""Between the library and tests/reference.py: random weights, their official names, and the whole model.

The names here are spelt out a second time on purpose: `keras_vit.weights` is itself under test.
"""

import pathlib
import re

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"

# Weight files of other implementations -> what their arrays cannot tell.
LOADED = {
    "vit_token": {},
    "vit_representation": {},
    "vit_gap": {"image_size": (24, 40)},
    "bigvision_gap_learned": {"image_size": (24, 40)},
    "bigvision_tok_rep": {},
    "bigvision_map_sincos": {"image_size": 32},
    "vit_hybrid": {},
    "bit_resnet": {"image_size": 64},
}

# Path inside a layer or a model -> official name, applied in this order.
OFFICIAL = (
    (r"gamma$", "scale"),
    (r"beta$", "bias"),
    (r"\bdense_(\d)/", r"Dense_\1/"),
    (r"\bmlp/", "MlpBlock_0/"),
    (r"\battention/", "MultiHeadDotProductAttention_0/"),
    (r"\bnorm_(\d)/", r"LayerNorm_\1/"),
    (r"^pool/norm/", "MAPHead_0/LayerNorm_0/"),
    (r"^pool/", "MAPHead_0/"),
    (r"^norm/", "Transformer/encoder_norm/"),
    (r"^block_(\d+)/", r"Transformer/encoderblock_\1/"),
    (r"^patch_encoder/projection/", "embedding/"),
    (r"^patch_encoder/class_token$", "cls"),
)


def weights(layer):
    """The variables of a layer or a model by their paths inside it; random states of dropout are nobody's weights."""
    own = "" if isinstance(layer, keras.Model) else f"{layer.name}/"
    return {v.path.removeprefix(own): v for v in layer.weights if "seed_generator" not in v.path}


def values(layer):
    """The same, as arrays."""
    return {path: variable.numpy() for path, variable in weights(layer).items()}


def assign(layer, **arrays):
    """Sets some weights: `value_kernel=...` sets `value/kernel`."""
    for path, variable in weights(layer).items():
        if path.replace("/", "_") in arrays:
            variable.assign(arrays.pop(path.replace("/", "_")))
    assert not arrays, f"no such weights: {list(arrays)}"


def randomise(layer, seed=0):
    """Gives every weight a random value, so that no initial zero or one hides a mistake; returns them by path."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for path, variable in sorted(weights(layer).items()):
        scale, centre = (0.2, 1.0) if path.endswith("gamma") else (0.4, 0.0)
        arrays[path] = rng.normal(centre, scale, variable.shape).astype("float32")
        variable.assign(arrays[path])
    return arrays


def official(arrays):
    """Arrays by path -> arrays by official name, as tests/reference.py takes them."""
    renamed = {}
    for path, array in arrays.items():
        for pattern, replacement in OFFICIAL:
            path = re.sub(pattern, replacement, path)
        renamed[path] = array
    return renamed


def normal(*shape, seed=1):
    """Random inputs."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def images(architecture, batch=2, seed=2):
    """Random images in [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, (batch, *architecture.image_shape)).astype("float32")


def position_table(kind, arrays, grid, width, class_token):
    """(T, D) positions of an additive kind, a row for the class token included; `arrays` are the layer's own."""
    if kind == "learned_1d":
        return arrays["table"][0]
    if kind == "learned_2d":
        table, first = reference.learned_2d(arrays["rows"], arrays["columns"]), arrays.get("class_position")
    else:
        kinds = {"sincos1d": lambda: reference.sincos1d(grid[0] * grid[1], width)}
        kinds |= {"sincos2d": lambda: reference.sincos2d(*grid, width)}
        kinds |= dict.fromkeys(("none", "relative"), lambda: np.zeros((grid[0] * grid[1], width)))
        table, first = kinds[kind](), np.zeros((1, width))
    return np.concatenate([first, table]) if class_token else table


def forward(a, arrays, images):
    """What each layer of a model of architecture `a` should answer to `images`, by layer name (equations 1 to 4).

    `arrays` are the model's weights by path. Where positions are added only once this is `reference.vit`; the other
    columns of the paper's Table 8 add them before every block.
    """
    named = vit_arrays(a, arrays)
    tokens = reference.embed(named, images, a.patch_size, stem_position(a, arrays))
    outputs = {"patches": reference.patches(images, a.patch_size), "patch_encoder": tokens}
    for i in range(a.depth):
        if a.position_site != "stem":
            tokens = tokens + positions(a, arrays, "position" if a.position_site == "shared" else f"position_{i}")
        block = reference.subtree(named, f"Transformer/encoderblock_{i}")
        relative = arrays.get(f"block_{i}/attention/relative_position/table")
        tokens, _ = reference.block(tokens, block, a.gelu, a.epsilon, relative=relative, class_token=a.class_token)
        outputs[f"block_{i}"] = tokens
    norm = reference.subtree(named, "Transformer/encoder_norm")
    outputs["norm"] = encoded = reference.layer_norm(tokens, norm["scale"], norm["bias"], a.epsilon)
    outputs["pool"] = outputs["pre_logits"] = pooled = pool(a, named, encoded)
    if a.representation:
        hidden = reference.dense(pooled, named["pre_logits/kernel"], named["pre_logits/bias"])
        outputs["pre_logits"] = np.tanh(hidden)
    if a.num_classes:
        outputs["head"] = reference.dense(outputs["pre_logits"], named["head/kernel"], named["head/bias"])
    return outputs


def vit_arrays(a, arrays):
    """A model's weights by path -> under the official names and in the official shapes."""
    named = official(arrays)
    kernel_shape = (a.patch_size, a.patch_size, a.channels, a.width)
    return named | {"embedding/kernel": named["embedding/kernel"].reshape(kernel_shape)}


def stem_position(a, arrays):
    return positions(a, arrays, "patch_encoder/position") if a.position_site == "stem" else "none"


def positions(a, arrays, layer):
    return position_table(a.position, reference.subtree(arrays, layer), a.grid, a.width, a.class_token)


def pool(a, named, encoded):
    if a.pool == "map":
        return reference.map_pool(encoded, reference.subtree(named, "MAPHead_0"), a.gelu, a.epsilon)
    return reference.token(encoded) if a.pool == "token" else reference.gap(encoded, a.class_token)


def operations(layer, *input_shape):
    """The TensorFlow operations that calling `layer` on float32 inputs of this shape amounts to."""
    signature = tf.TensorSpec(input_shape, "float32")
    return tf.function(lambda inputs: layer(inputs)).get_concrete_function(signature).graph.get_operations()


def needs_exact_sums():
    """Skips a test where the processor's own batched product of bfloat16 adds up in bfloat16, whatever a layer does."""
    shares, ones = tf.fill((1, 1, 1025, 1025), tf.cast(1 / 1025, tf.bfloat16)), tf.ones((1, 1025, 1, 4), tf.bfloat16)
    sums = tf.cast(tf.einsum("bats,bsak->btak", shares, ones), tf.float32)
    if np.abs(sums - 1).max() > 2**-8:
        pytest.skip(f"this processor adds up bfloat16 in bfloat16: 1025 shares make {float(sums[0, 0, 0, 0])}")
