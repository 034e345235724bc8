"""Models of every kind: the same answers, and bad images beside good ones."""

import dataclasses
import functools
import io
import json
import sys
import tempfile
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vit.images import decoding, transform
from keras_vit.preprocessing import Preprocessing
from trainers.inference import opening
from trainers.inference.predictor import Unreadable

GOOD, BAD = (0, 2, 5), (1, 3, 4)
WEIGHTS = np.array([[3, -1, 0], [0, 2, -3], [-2, 0, 2]], "float32") / 32
LABELS = "ant\nbée\ncrested cat\n"


def check_bad(answers):
    assert all(isinstance(answers[number], Unreadable) for number in BAD)
    assert [answers[number].reason for number in BAD] == [
        "neither of JPEG, PNG, GIF, BMP, WebP: it looks like text",
        "Invalid JPEG data, size 100",
        "neither of JPEG, PNG, GIF, BMP, WebP: it looks like an empty file",
    ]


def by_the_model(model, image):
    return model(transform.apply(decoding.decode(tf.constant(image), 3), model.preprocessing)[None])[0]


@pytest.mark.parametrize(("name", "runtime"), [("m.keras", "Keras"), ("export", "TensorFlow session")])
def test_models_answer_with_probabilities(name, runtime, places, model, encoded):
    predictor = opening.open_predictor(str(places / name))
    assert (predictor.runtime, predictor.labels, predictor.notes) == (runtime, ("ant", "bée", "crested cat"), ())
    answers = predictor.answer(encoded)
    check_bad(answers)
    for number in GOOD:
        wanted = keras.ops.softmax(by_the_model(model, encoded[number]))
        np.testing.assert_allclose(answers[number], wanted, atol=1e-5)
        assert answers[number].dtype == np.float32
    assert abs(answers[GOOD[0]] - answers[GOOD[1]]).max() > 1e-3, "images that the model tells apart"
    assert predictor.answer([]) == []
    assert all(isinstance(one, Unreadable) for one in predictor.answer([b"none"]))


@pytest.mark.parametrize("name", ["features.keras", "features"])
def test_models_without_a_head_answer_with_features(name, places, headless, encoded):
    predictor = opening.open_predictor(str(places / name))
    assert predictor.labels == ()
    answers = predictor.answer(encoded)
    check_bad(answers)
    np.testing.assert_allclose(answers[0], by_the_model(headless, encoded[0]), atol=1e-5)


def test_a_saved_model_without_our_labels_has_numbers(tmp_path):
    def answer(bytes):
        return {"probabilities": tf.zeros((tf.size(bytes), 2))}

    write_toy(tmp_path / "toy", answer, tf.string, "bytes", (None,))
    assert opening.open_predictor(str(tmp_path / "toy")).labels == ("0", "1")


def write_toy(path, function, dtype, name, shape):
    """A SavedModel without variables."""
    module = tf.Module()
    module.answer = tf.function(function, input_signature=[tf.TensorSpec(shape, dtype, name)])
    tf.saved_model.save(module, str(path), signatures=module.answer)


INPUTS = {
    "any size": ((1, None, None, 3), "uint8"),
    "one size": ((1, 8, 12, 3), "uint8"),
    "scaled": ((1, 8, 12, 3), "float32"),
}
# Of pixels halfway between two bytes a graph and numpy may choose different ones.
TOLERANCES = {"any size": 1e-5, "one size": 2e-3, "scaled": 1e-5}
PREPROCESSING = Preprocessing(size=(8, 12), crop=0.9, mean=(0.4,), std=(0.2,))


def expected(image, form):
    """The toy's answer, by numpy."""
    pixels = decoding.decode(tf.constant(image), 3)
    if form == "one size":
        # The file crops by itself, so it is given what covers its size, the aspect kept.
        pixels = np.round(transform.resize(pixels, dataclasses.replace(PREPROCESSING, crop=1.0)))
    if form == "scaled":
        pixels = transform.apply(pixels, PREPROCESSING)
    return keras.ops.softmax(np.mean(np.asarray(pixels, "float32"), (0, 1)) @ WEIGHTS)


@functools.cache
def tflite_toy(form):
    """A .tflite that answers by the mean colour, with the files it carries."""
    shape, dtype = INPUTS[form]

    def answer(images):
        return {"probabilities": tf.nn.softmax(tf.reduce_mean(tf.cast(images, tf.float32), (1, 2)) @ WEIGHTS)}

    with tempfile.TemporaryDirectory() as folder:
        write_toy(folder, answer, tf.as_dtype(dtype), "images", shape)
        return tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"]).convert()


def files():
    return {"labels.txt": LABELS, "keras_vit.json": json.dumps({"preprocessing": PREPROCESSING.to_dict()})}


def zipped(contents):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in contents.items():
            archive.writestr(name, text)
    return data.getvalue()


@pytest.mark.parametrize("form", INPUTS)
def test_tflite_files_of_any_input(form, tmp_path, encoded):
    pytest.importorskip("ai_edge_litert", reason="pip install -e '.[export]'")
    (tmp_path / "m.tflite").write_bytes(tflite_toy(form) + zipped(files()))
    predictor = opening.open_predictor(str(tmp_path / "m.tflite"))
    assert (predictor.runtime, predictor.labels) == ("LiteRT", ("ant", "bée", "crested cat"))
    answers = predictor.answer(encoded)
    check_bad(answers)
    for number in GOOD:
        np.testing.assert_allclose(answers[number], expected(encoded[number], form), atol=TOLERANCES[form])


@pytest.mark.parametrize("form", INPUTS)
def test_onnx_files_of_any_input(form, tmp_path, encoded):
    onnx = pytest.importorskip("onnx", reason="pip install -e '.[onnx]'")
    pytest.importorskip("onnxruntime", reason="pip install -e '.[onnx]'")
    (tmp_path / "m.onnx").write_bytes(onnx_toy(onnx, form).SerializeToString())
    predictor = opening.open_predictor(str(tmp_path / "m.onnx"))
    assert (predictor.runtime, predictor.labels) == ("ONNX Runtime", ("ant", "bée", "crested cat"))
    answers = predictor.answer(encoded)
    check_bad(answers)
    for number in GOOD:
        np.testing.assert_allclose(answers[number], expected(encoded[number], form), atol=TOLERANCES[form])


def onnx_toy(onnx, form):
    (_, height, width, _), dtype = INPUTS[form]
    helper, kinds = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["floats"], to=kinds.FLOAT),
            helper.make_node("ReduceMean", ["floats", "axes"], ["means"], keepdims=0),
            helper.make_node("MatMul", ["means", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
        ],
        "toy",
        [
            helper.make_tensor_value_info(
                "images", getattr(kinds, dtype.upper().replace("32", "")), ("N", height or "H", width or "W", 3)
            )
        ],
        [helper.make_tensor_value_info("probabilities", kinds.FLOAT, ("N", 3))],
        [onnx.numpy_helper.from_array(np.array([1, 2]), "axes"), onnx.numpy_helper.from_array(WEIGHTS, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    metadata = files()
    helper.set_model_props(model, {"labels": metadata["labels.txt"], "keras_vit": metadata["keras_vit.json"]})
    return model


def test_mistakes_are_one_line(places, tmp_path):
    (tmp_path / "text.tflite").write_text("text")
    (tmp_path / "text.onnx").write_text("text")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "saved_model.pb").write_bytes(b"broken")
    (tmp_path / "versions" / "1").mkdir(parents=True)
    write_toy(tmp_path / "foreign", lambda x: {"y": x}, tf.float32, "x", (None, 2))
    for name, said in {
        "text.tflite": "LiteRT cannot load it",
        "none.tflite": "LiteRT cannot load it",
        "text.onnx": "onnxruntime cannot load it",
        "none.onnx": "onnxruntime cannot load it",
        "broken": "TensorFlow cannot load",
        "versions": "versions/1/model.tflite",
        "foreign": "no signature serving_default from `bytes`",
        "nothing": "no such weight file",
    }.items():
        with pytest.raises(ValueError, match=said) as error:
            opening.open_predictor(str(tmp_path / name), "weights")
        text = str(error.value)
        assert text.startswith(f"--weights={tmp_path / name}") and "\n" not in text, text


def test_a_foreign_tflite_is_told(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="pip install -e '.[export]'")
    toy = tflite_toy("any size")
    for carried in (b"", zipped({"labels.txt": LABELS}), zipped(files() | {"keras_vit.json": '{"preprocessing": 1}'})):
        (tmp_path / "m.tflite").write_bytes(toy + carried)
        with pytest.raises(ValueError, match=r"not a file of python -m trainers\.export"):
            opening.open_predictor(str(tmp_path / "m.tflite"))


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("m.tflite", "ai_edge_litert", "export"), ("m.onnx", "onnxruntime", "onnx")]
)
def test_a_missing_runtime_names_its_extra(name, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.interpreter", None)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install -e '\.\[{extra}\]'"):
        opening.open_predictor(name)
