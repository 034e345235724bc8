"""The trained model that lies in the repository: files written by earlier code must keep answering as they did.

predictions.json is what `python -m trainers.predict --top=10 --format=json` said of docs/images/digits when they were
made.
"""

import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vit  # noqa: F401  (makes the layers known to Keras)
from keras_vit.images import decoding, transform
from trainers.inference.opening import open_predictor

ROOT = pathlib.Path(__file__).parents[1]
DIGITS = ROOT / "saved_models" / "digits"
EXPORT = DIGITS / "export" / "1"


@pytest.fixture(scope="module")
def recorded():
    """Bytes of each picture, and the probabilities (10,) that were recorded for it."""
    pictures, answers = [], []
    for told in json.loads((DIGITS / "predictions.json").read_text()):
        pictures.append((ROOT / told["file"]).read_bytes())
        by_class = {guess["index"]: guess["probability"] for guess in told["top"]}
        answers.append([by_class[number] for number in range(10)])
    return pictures, np.array(answers)


def test_most_pictures_were_told_right(recorded):
    names = [pathlib.Path(told["file"]).stem for told in json.loads((DIGITS / "predictions.json").read_text())]
    digits = {"zero": 0, "three": 3, "five": 5, "seven": 7, "eight": 8}
    assert recorded[1].argmax(axis=1).tolist() == [digits[name] for name in names]


def test_keras_file(recorded):
    model = keras.models.load_model(DIGITS / "model.keras")
    assert model.class_names == [str(number) for number in range(10)]
    fed = [transform.apply(decoding.decode(picture, 1), model.preprocessing) for picture in recorded[0]]
    np.testing.assert_allclose(tf.nn.softmax(model(tf.stack(fed))), recorded[1], atol=1e-4)


def test_saved_model(recorded):
    signature = tf.saved_model.load(str(EXPORT)).signatures["serving_default"]
    found = signature(bytes=tf.constant(recorded[0]))
    np.testing.assert_allclose(found["probabilities"], recorded[1], atol=1e-4)
    best = recorded[1].argmax(axis=1)
    assert [labels[0].decode() for labels in found["top_labels"].numpy()] == [str(number) for number in best]


def test_tflite(recorded):
    pytest.importorskip("ai_edge_litert.interpreter", reason="pip install -e '.[export]'")
    predictor = open_predictor(str(EXPORT / "model.tflite"))
    np.testing.assert_allclose(np.stack(predictor.answer(recorded[0])), recorded[1], atol=0.05)
    assert predictor.labels == tuple(str(number) for number in range(10))


def test_they_stay_small():
    """Clones carry every version that was ever kept."""
    assert sum(file.stat().st_size for file in DIGITS.rglob("*") if file.is_file()) < 1.8e6
