"""SavedModels against the model they were written from, opened without it."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vit
from keras_vit import Preprocessing
from keras_vit.bit_architecture import BitArchitecture
from keras_vit.export import saved_model
from keras_vit.export.answering import Answering
from keras_vit.images import transform

NAMES = ["ant", "bée", "cat\nor dog", "emu"]


def made(variant="mu/16", **fields):
    fields = {"image_size": 32, "num_classes": 4, "class_names": NAMES} | fields
    model = keras_vit.build(variant, **fields)
    for weight in model.trainable_variables:  # a new head answers zero
        weight.assign_add(keras.random.normal(weight.shape, stddev=0.2))
    return model


def written(folder, model, **answering):
    path = folder / "1"
    saved_model.write(model, path, answering=Answering(**answering), provenance={"source": "a test"})
    return path


def picture(height=45, width=70, channels=3):
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([(rows * (3 + c) + columns * 2) % 256 for c in range(channels)], axis=-1).astype("uint8")


def expected(model, image):
    """The model's logits and features for one picture (H, W, C)."""
    fed = transform.apply(tf.constant(image), model.preprocessing)[None]
    both = keras.Model(model.input, [model.output, model.get_layer("pre_logits").output])
    return [np.asarray(part[0]) for part in both(fed)]


def softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The model, where it was written, the signatures, and the model's weights from before."""
    model = made()
    before = [np.array(weight) for weight in model.get_weights()]
    path = written(tmp_path_factory.mktemp("export"), model, temperature=2.0, top=2)
    return model, path, tf.saved_model.load(str(path)).signatures, before


def test_every_signature_answers_as_the_model(exported):
    model, _, signatures, _ = exported
    image = picture()
    probabilities = softmax(expected(model, image)[0] / 2.0)
    best = np.argsort(-probabilities)[:2]
    inputs = {
        "serving_default": {"bytes": tf.io.encode_png(image)[None]},
        "images": {"images": image[None]},
        "pixels": {"pixels": transform.apply(tf.constant(image), model.preprocessing)[None]},
    }
    for name, fed in inputs.items():
        answer = signatures[name](**{key: tf.constant(value) for key, value in fed.items()})
        np.testing.assert_allclose(answer["probabilities"][0], probabilities, atol=1e-6)
        assert answer["top_indices"].numpy().tolist() == [best.tolist()]
        assert [label.decode() for label in answer["top_labels"].numpy()[0]] == [NAMES[i] for i in best]
        np.testing.assert_allclose(answer["top_probabilities"][0], probabilities[best], atol=1e-6)


def test_pictures_of_several_formats_and_sizes_in_one_request(exported):
    model, _, signatures, _ = exported
    pictures = [picture(45, 70), picture(20, 31), picture(32, 32)]
    encoders = [tf.io.encode_png, lambda image: tf.io.encode_jpeg(image, quality=100), tf.io.encode_png]
    encoded = [encode(image) for encode, image in zip(encoders, pictures, strict=True)]
    probabilities = signatures["serving_default"](bytes=tf.stack(encoded))["probabilities"].numpy()
    for row, data in zip(probabilities, encoded, strict=True):
        image = tf.io.decode_image(data).numpy()
        np.testing.assert_allclose(row, softmax(expected(model, image)[0] / 2.0), atol=1e-6)


def test_features_and_their_grid(exported):
    model, _, signatures, _ = exported
    image = picture()
    answer = signatures["features"](bytes=tf.io.encode_png(image)[None])
    np.testing.assert_allclose(answer["features"][0], expected(model, image)[1], atol=1e-5)
    fed = transform.apply(tf.constant(image), model.preprocessing)[None]
    tokens = keras.Model(model.input, model.get_layer("norm").output)(fed)
    np.testing.assert_allclose(tf.reshape(answer["patch_grid"], (4, -1)), tokens[0, 1:], atol=1e-5)
    assert answer["patch_grid"].shape == (1, 2, 2, 32)


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff broken", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_one_clear_error(exported, data):
    signatures = exported[2]
    with pytest.raises(tf.errors.InvalidArgumentError):
        signatures["serving_default"](bytes=tf.constant([data]))


def test_no_images_make_no_answers(exported):
    assert exported[2]["serving_default"](bytes=tf.zeros((0,), tf.string))["probabilities"].shape == (0, 4)


def test_it_says_what_it_is(exported):
    model, path = exported[:2]
    extra = path / "assets.extra"
    assert (extra / "labels.txt").read_text().splitlines() == ["ant", "bée", "cat or dog", "emu"]
    description = json.loads((extra / "keras_vit.json").read_text())
    assert description["class_names"] == NAMES
    assert keras_vit.Architecture.from_dict(description["architecture"]) == model.architecture
    assert Preprocessing(**description["preprocessing"]) == model.preprocessing
    assert description["answering"] == {"probabilities": "softmax", "temperature": 2.0, "top": 2}
    assert description["provenance"] == {"source": "a test"}


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(
            lambda: made("Ti/4", stem=(1,), root_width=32, depth=1, width=32, heads=2),
            id="hybrid",
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda: made(BitArchitecture(units=(1, 1), root_width=32)), id="bit", marks=pytest.mark.slow),
        pytest.param(
            lambda: made(pool="map", channels=1, position="sincos2d", image_size=(32, 48)),
            id="map, grey, oblong",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda: made(
                pool="gap",
                norm_site="pooled",
                preprocessing=Preprocessing(size=(32, 32), resize="bicubic", antialias=True, crop=0.875),
            ),
            id="gap, bicubic crop",
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda: made(dtype="mixed_bfloat16"), id="mixed precision", marks=pytest.mark.slow),
    ],
)
def test_other_models(model, tmp_path):
    model = model()
    path = written(tmp_path, model, probabilities="sigmoid")
    signatures = tf.saved_model.load(str(path)).signatures
    image = picture(channels=model.architecture.channels)
    plain = keras_vit.build(model.architecture, preprocessing=model.preprocessing, dtype="float32")
    plain.set_weights(model.get_weights())
    logits, features = expected(plain, image)
    encoded = tf.io.encode_png(image)[None]
    probabilities = signatures["serving_default"](bytes=encoded)["probabilities"]
    np.testing.assert_allclose(probabilities[0], 1 / (1 + np.exp(-logits)), atol=1e-5)
    answer = signatures["features"](bytes=encoded)
    np.testing.assert_allclose(answer["features"][0], features, atol=1e-4)
    assert tuple(answer["patch_grid"].shape[1:3]) == model.architecture.grid


def test_a_model_without_a_head_answers_features(tmp_path):
    oblong = {"pool": "map", "channels": 1, "position": "sincos2d", "image_size": (32, 48)}
    model = made(num_classes=0, class_names=None, **oblong)
    signatures = tf.saved_model.load(str(written(tmp_path, model))).signatures
    image = picture(channels=1)
    fed = transform.apply(tf.constant(image), model.preprocessing)[None]
    for name, key, value in (("serving_default", "bytes", tf.io.encode_png(image)[None]), ("pixels", "pixels", fed)):
        answer = signatures[name](**{key: value})
        assert set(answer) == {"features", "patch_grid"}
        assert tuple(answer["patch_grid"].shape[1:3]) == model.architecture.grid
        np.testing.assert_allclose(answer["features"], model(fed), atol=1e-5)


def test_the_written_model_leaves_the_given_one_as_it_was(exported):
    model, *_, before = exported
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert model.dtype_policy.name == "float32" and model.built


def test_weights_are_stored_once(exported):
    model, path = exported[:2]
    (data,) = (path / "variables").glob("variables.data*")
    assert data.stat().st_size < 1.1 * 4 * model.count_params()
