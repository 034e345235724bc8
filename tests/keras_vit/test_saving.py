"""A `.keras` file alone is enough: a fresh process with nothing but keras and keras_vit reads everything again."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import oracle
import pytest

from keras_vit import Architecture, BitArchitecture, Preprocessing, build, layers

ROOT = pathlib.Path(__file__).parents[2]

READ_AGAIN = """
import json, pathlib, sys
import keras_vit.layers.position  # before Keras, and the whole model must be known to that all the same
import keras, numpy as np

folder = pathlib.Path(sys.argv[1])
facts = {}
for path in sorted(folder.glob("*.keras")):
    model = keras.models.load_model(path)
    inputs = np.load(path.with_suffix(".inputs.npy"))
    outputs = model.predict(inputs, verbose=0) if path.stem == "predicted" else model(inputs)
    np.save(path.with_suffix(".outputs.npy"), keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float32")))
    facts[path.stem] = {"class": f"{type(model).__module__}.{type(model).__name__}"}
    if isinstance(model, keras_vit.ImageClassifier):
        facts[path.stem] |= {
            "architecture": model.architecture.to_dict(),
            "class_names": model.class_names,
            "preprocessing": model.preprocessing.to_dict(),
            "dtype": model.dtype_policy.name,
            "compiled": model.compiled,
        }
(folder / "facts.json").write_text(json.dumps(facts))
"""


def small(**fields):
    sizes = {"image_size": (8, 12), "patch_size": 4, "width": 8, "depth": 1, "heads": 2, "mlp_width": 12}
    return Architecture(**{**sizes, "num_classes": 3, **fields})


ARCHITECTURES = {
    "token": small(),
    "everything": small(
        image_size=8,
        depth=2,
        channels=1,
        position="learned_2d",
        position_site="blocks",
        pool="map",
        class_token=True,
        representation=5,
        dropout=0.1,
        attention_dropout=0.2,
        stochastic_depth=0.3,
        gelu="erf",
        epsilon=1e-5,
        attention_bias=False,
        head_bias=-10.0,
    ),
    "mixed": small(position="relative", pool="gap"),
    "features": small(num_classes=0, position="sincos2d", position_site="shared"),
    "hybrid": small(image_size=(16, 8), patch_size=8, stem=(1, 1), root_width=32),
    "bit": BitArchitecture(image_size=(16, 8), units=(1, 1), root_width=32, root_pool_padding="lowest", num_classes=3),
}


def preprocessing(a):
    return Preprocessing(size=a.image_shape[:2], resize="bicubic", antialias=True, crop=0.875, mean=(0.1,), std=(0.2,))


NAMES = ["ant", "bee", "caf\u00e9"]


def made(name):
    a = ARCHITECTURES[name]
    dtype = "mixed_bfloat16" if name == "mixed" else None
    model = build(a, class_names=NAMES if a.num_classes else None, preprocessing=preprocessing(a), dtype=dtype)
    oracle.randomise(model)
    return model, oracle.images(a)


def compiled_model():
    """Trained, and saved with its optimizer."""
    model, images = made("token")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=False)
    model.train_on_batch(images, np.zeros(2))
    return model, images


def model_of_every_layer():
    """A plain functional model, as a user may compose one, with every public layer in it."""
    grid = {"prefix_tokens": 1, "grid": (2, 3)}
    images = keras.Input((8, 12, 3))
    tokens = layers.PatchEncoder(8, position="learned_2d", grid=(2, 3))(layers.Patches(4)(images))
    for position in (layers.Learned1D, layers.Learned2D, layers.Sincos1D, layers.Sincos2D):
        tokens = position(**grid)(tokens)
    tokens = layers.TransformerBlock(2, 12, position="relative")(tokens)
    tokens = layers.MLP(12)(layers.Attention(2, position="relative")(tokens))
    in_heads = keras.layers.Reshape((7, 2, 4))(tokens)
    *_, bias = layers.RelativePosition()(in_heads, in_heads)
    feature_map = layers.GroupNorm(2)(layers.StandardisedConv2D(4, 3)(images))
    units = [layers.PostActivationUnit(32)(layers.PostActivationRoot(32)(feature_map))]
    units += [layers.PreActivationUnit(32)(layers.PreActivationRoot(32)(feature_map))]
    pools = [layers.ClassTokenPooling(), layers.GlobalAveragePooling(1), layers.AttentionPooling(2, 12)]
    outputs = [*(pool(tokens) for pool in pools), *(keras.layers.Flatten()(part) for part in (bias, *units))]
    model = keras.Model(images, keras.layers.Concatenate()(outputs))
    oracle.randomise(model)
    return model, oracle.normal(2, 8, 12, 3)


def saved(folder, name, model, inputs, answer):
    model.save(folder / f"{name}.keras")
    np.save(folder / f"{name}.inputs.npy", inputs)
    np.save(folder / f"{name}.expected.npy", keras.ops.cast(answer, "float32"))


@pytest.fixture(scope="module")
def read_again(tmp_path_factory):
    """The folder of every model saved here, and what a fresh process says of it."""
    folder = tmp_path_factory.mktemp("saved")
    for name in ARCHITECTURES:
        model, images = made(name)
        saved(folder, name, model, images, model(images))
    model, images = compiled_model()
    saved(folder, "predicted", model, images, model.predict(images, verbose=0))
    np.savez(folder / "optimizer.npz", *[variable.numpy() for variable in model.optimizer.variables])
    model, images = model_of_every_layer()
    saved(folder, "every_layer", model, images, model(images))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", READ_AGAIN, str(folder)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, json.loads((folder / "facts.json").read_text())


@pytest.mark.parametrize("name", [*ARCHITECTURES, "predicted", "every_layer"])
def test_answers_are_bit_equal(name, read_again):
    folder, _ = read_again
    outputs = [np.load(folder / f"{name}.{kind}.npy") for kind in ("outputs", "expected")]
    np.testing.assert_array_equal(*outputs)
    assert np.any(outputs[0] != outputs[0].ravel()[0])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_model_carries_what_prediction_needs(name, read_again):
    _, facts = read_again
    assert facts[name] == {
        "class": "keras_vit.bit.BitResNet" if name == "bit" else "keras_vit.vit.VisionTransformer",
        "architecture": ARCHITECTURES[name].to_dict(),
        "class_names": NAMES if ARCHITECTURES[name].num_classes else None,
        "preprocessing": preprocessing(ARCHITECTURES[name]).to_dict(),
        "dtype": "mixed_bfloat16" if name == "mixed" else "float32",
        "compiled": False,
    }


def test_compiled_model_comes_back_compiled(read_again):
    assert read_again[1]["predicted"]["compiled"]


def test_plain_model_stays_plain(read_again):
    assert read_again[1]["every_layer"]["class"].endswith(".Functional")


def test_every_public_layer_is_in_the_plain_model():
    model, _ = model_of_every_layer()
    assert set(layers.__all__) <= {type(layer).__name__ for layer in model.layers}


def test_optimizer_state_comes_back(read_again):
    folder, _ = read_again
    model = keras.models.load_model(folder / "predicted.keras")
    state = [variable.numpy() for variable in model.optimizer.variables]
    with np.load(folder / "optimizer.npz") as expected:
        assert len(state) == len(expected.files) > 2
        for one, other in zip(state, expected.values(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_frozen_block_stays_frozen_and_keeps_the_optimizer_state(tmp_path, recwarn):
    model = build(small(depth=2))
    model.get_layer("block_0").trainable = False
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    model.train_on_batch(oracle.images(small()), np.zeros(2))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert [weight.path for weight in again.trainable_weights] == [weight.path for weight in model.trainable_weights]
    assert [str(warning.message) for warning in recwarn if "optimizer" in str(warning.message)] == []


def test_weights_file_is_read_by_a_model_of_the_same_architecture(tmp_path):
    model, images = made("everything")
    model.save_weights(tmp_path / "model.weights.h5")
    again = build(ARCHITECTURES["everything"])
    again.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(again(images), model(images))


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", None])
def test_saved_dtype_beats_the_global_policy_of_the_reader(dtype, tmp_path, policy):
    model = build(small(), dtype=dtype)
    model.save(tmp_path / "model.keras")
    policy("float32" if dtype else "mixed_bfloat16")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_layer("block_0").compute_dtype == model.get_layer("block_0").compute_dtype
