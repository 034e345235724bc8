"""The same models built by KerasHub, where it is installed: pip install 'keras_vit[cpu,keras-hub]'."""

import numpy as np
import pytest

from keras_vit import weights

keras_hub = pytest.importorskip("keras_hub", reason="needs KerasHub: pip install 'keras_vit[cpu,keras-hub]'")

IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 24, 32, 3)).astype("float32")


def classifier(pooling="token", intermediate_dim=None, activation=None, **fields):
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(24, 32, 3), patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=24, **fields
    )
    converter = keras_hub.layers.ViTImageConverter(
        image_size=(24, 32), scale=[1 / (255 * 0.3)] * 3, offset=[-0.4 / 0.3] * 3, crop_to_aspect_ratio=False
    )
    preprocessor = keras_hub.models.ViTImageClassifierPreprocessor(image_converter=converter)
    model = keras_hub.models.ViTImageClassifier(
        backbone,
        5,
        preprocessor=preprocessor,
        pooling=pooling,
        intermediate_dim=intermediate_dim,
        activation=activation,
    )
    random = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(random.normal(size=variable.shape))
    return model


MODELS = {
    "class token": {"intermediate_dim": 7, "layer_norm_epsilon": 1e-3, "dropout_rate": 0.1},
    "mean": {"pooling": "gap", "use_class_token": False},
    "no biases": {"use_mha_bias": False, "use_mlp_bias": False, "use_patch_bias": False},
}


@pytest.mark.parametrize("kind", ["model", "preset"])
@pytest.mark.parametrize("fields", MODELS.values(), ids=MODELS.keys())
def test_logits_are_kerashubs(fields, kind, tmp_path):
    reference = classifier(**fields)
    reference.save_to_preset(str(tmp_path))
    model, report = weights.load(reference if kind == "model" else tmp_path, return_report=True)
    np.testing.assert_allclose(model(IMAGES), reference(IMAGES), rtol=1e-5, atol=1e-5)
    assert report[1:] == ([], [], [], [])
    p = model.preprocessing
    assert (p.mean, p.std, p.crop, p.resize) == ((0.4,) * 3, (0.3,) * 3, None, "bilinear")
    pixels = np.random.default_rng(2).integers(0, 256, (1, 24, 32, 3)).astype("float32")
    ours = (pixels / 255 - np.array(p.mean)) / np.array(p.std)
    np.testing.assert_allclose(ours, reference.preprocessor.image_converter(pixels), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["model", "preset"])
def test_backbones_give_features(kind, tmp_path):
    reference = classifier().backbone
    reference.save_to_preset(str(tmp_path))
    model = weights.load(reference if kind == "model" else tmp_path)
    np.testing.assert_allclose(model(IMAGES), reference(IMAGES)[:, 0], rtol=1e-5, atol=1e-5)


def test_logits_come_before_a_softmax():
    reference = classifier(activation="softmax")
    logits = np.asarray(weights.load(reference)(IMAGES))
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(exponentials / exponentials.sum(axis=1, keepdims=True), reference(IMAGES), atol=1e-5)


def test_a_mean_that_counts_the_class_token_is_refused():
    with pytest.raises(weights.InvalidWeights, match="its mean counts the class token"):
        weights.load(classifier(pooling="gap"))
