"""Names for the classes of published heads, and how a run's logits become probabilities."""

import numpy as np
import pytest
import tensorflow as tf

import keras_vit
from keras_vit.labels import imagenet
from trainers.inference import opening, source_model


@pytest.fixture(scope="module", params=[1000, 21_843])
def nameless(request):
    return keras_vit.build("mu/16", image_size=32, depth=1, num_classes=request.param)


def test_somebodys_weights_get_imagenets_names(nameless, tmp_path):
    classes = nameless.architecture.num_classes
    name, synsets = {1000: ("ImageNet-1k", imagenet.imagenet_1k), 21_843: ("ImageNet-21k", imagenet.imagenet_21k)}[
        classes
    ]
    keras_vit.weights.save(nameless, tmp_path / "w.npz", format="google")
    loaded = source_model.load(str(tmp_path / "w.npz"))
    assert loaded.model.class_names == list(imagenet.readable(synsets()))
    assert loaded.notes == (f"class names: {name}'s, because the file has none and its head has {classes:,} classes",)
    predictor = opening.open_predictor(str(tmp_path / "w.npz"))
    assert predictor.notes == loaded.notes and predictor.labels == imagenet.readable(synsets())


def test_runs_and_keras_files_know_what_they_know(tmp_path):
    nameless = keras_vit.build("mu/16", image_size=32, depth=1, num_classes=1000)
    (tmp_path / "run").mkdir()
    nameless.save(tmp_path / "run" / "model.keras")
    for path in ("run", "run/model.keras"):
        loaded = source_model.load(str(tmp_path / path))
        assert loaded.model.class_names is None and loaded.notes == ()
    assert opening.open_predictor(str(tmp_path / "run")).labels[:2] == ("0", "1")


@pytest.mark.parametrize("changes", [{"num_classes": 10}, {"class_names": [f"class {n}" for n in range(1000)]}])
def test_other_heads_and_names_of_their_own_stay(changes, tmp_path):
    model = keras_vit.build("mu/16", image_size=32, depth=1, **{"num_classes": 1000, **changes})
    keras_vit.weights.save(model, tmp_path / "w.npz", format="google")
    loaded = source_model.load(str(tmp_path / "w.npz"))
    assert loaded.model.class_names == changes.get("class_names") and not loaded.notes


@pytest.mark.parametrize(
    ("flags", "kind"), [("--objective=sigmoid\n", "sigmoid"), ("--steps=3\n", "softmax"), (None, "softmax")]
)
def test_a_run_of_several_labels_answers_by_sigmoid(flags, kind, model, encoded, tmp_path):
    model.save(tmp_path / "model.keras")
    if flags is not None:
        (tmp_path / "flags.cfg").write_text("--seed=1\n" + flags)
    function = {"sigmoid": tf.math.sigmoid, "softmax": tf.nn.softmax}[kind]
    for path in (tmp_path, tmp_path / "model.keras"):
        assert source_model.load(str(path)).answering.probabilities == kind
        answer = opening.open_predictor(str(path)).answer(encoded[:1])[0]
        assert (abs(answer.sum() - 1) > 1e-3) == (kind == "sigmoid")
        logits = np.log(answer / (1 - answer)) if kind == "sigmoid" else np.log(answer)
        np.testing.assert_allclose(function(logits), answer, atol=1e-5)
