"""ONNX files, run by onnxruntime, against Keras and the test-time transform."""

import json

import numpy as np
import pytest
import tensorflow as tf

import keras_vit
from keras_vit.export import onnx
from keras_vit.export.answering import Answering
from keras_vit.images import transform

onnxruntime = pytest.importorskip("onnxruntime", reason="pip install -e '.[onnx]'")
pytest.importorskip("tf2onnx", reason="pip install -e '.[onnx]'")


def compared(path, **overrides):
    """Writes a model, and compares what is answered for batches of several sizes; onnxruntime's session."""
    model = keras_vit.build("mu/16", **{"image_size": 32, "num_classes": 5, **overrides})
    random = np.random.default_rng(0)
    model.set_weights([random.normal(0, 0.2, weight.shape) for weight in model.get_weights()])
    answering = Answering(probabilities="sigmoid", temperature=2.0)
    onnx.convert(model, path, answering=answering, provenance={"source": "insects"})
    session = onnxruntime.InferenceSession(path)
    for size in ((1, 32, 32), (3, 57, 40), (2, 7, 90)):
        images = random.integers(0, 256, (*size, model.architecture.channels)).astype("uint8")
        logits = model(transform.apply(tf.constant(images), model.preprocessing), training=False)
        expected = answering.probabilities_of(logits) if model.architecture.num_classes else logits
        assert np.abs(session.run(None, {"images": images})[0] - expected).max() < 1e-5
    return session


@pytest.mark.slow
def test_probabilities_labels_and_description(tmp_path):
    session = compared(tmp_path / "model.onnx", gelu="erf")
    (images,), (output,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["batch", "height", "width", 3])
    assert (output.name, output.shape) == ("probabilities", ["batch", 5])
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["labels"].split() == list("01234")
    assert json.loads(metadata["keras_vit"])["provenance"] == {"source": "insects"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        {"gelu": "tanh"},
        {"pool": "map", "channels": 1},
        {"position": "relative"},
        {"stem": (1,), "root_width": 32},
    ],
)
def test_every_kind_of_model_converts(overrides, tmp_path):
    compared(tmp_path / "model.onnx", **overrides)


@pytest.mark.slow
def test_a_model_without_a_head_answers_features(tmp_path):
    assert compared(tmp_path / "model.onnx", num_classes=0).get_outputs()[0].name == "features"


def test_a_missing_converter_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(ModuleNotFoundError, match=r"\.\[onnx\]"):
        onnx.convert(keras_vit.build("mu/16", image_size=32), tmp_path / "x", answering=Answering(), provenance={})
