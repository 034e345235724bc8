"""The prediction command: from files to tables, JSON and CSV, whatever form the model has."""

import csv
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vit
from keras_vit.images import decoding, transform
from trainers import predict
from trainers.inference import predictions, server
from trainers.inference.predictor import Predictor
from trainers.settings import command_line, flags

NAMES = ["ant", "bée", "cat", "dog"]
DIGITS = pathlib.Path(__file__).parents[2] / "saved_models" / "digits"


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = keras_vit.build("mu/16", image_size=32, depth=1, num_classes=4, class_names=NAMES)
    for weight in model.trainable_variables:  # a new head answers zero
        weight.assign_add(keras.random.normal(weight.shape, stddev=0.2))
    return model


@pytest.fixture(scope="module")
def place(model, tmp_path_factory):
    """A folder with m.keras, features.keras, and photos: three good ones, one bad."""
    folder = tmp_path_factory.mktemp("predict")
    model.save(folder / "m.keras")
    keras_vit.build("mu/16", image_size=32, depth=1, num_classes=0).save(folder / "features.keras")
    (folder / "photos" / "más").mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, size in {"a.png": (20, 30), "b c.png": (64, 40), "más/d.png": (32, 32)}.items():
        pixels = random.integers(0, 255, (*size, 3), "uint8")
        (folder / "photos" / name).write_bytes(tf.io.encode_png(pixels).numpy())
    (folder / "photos" / "bad.jpg").write_text("text")
    return folder


def settings(place, *paths, **changes):
    return predict.Settings(paths=paths or (f"{place}/photos",), **{"model": f"{place}/m.keras", **changes})


def command(place, *arguments):
    flags = [argument.format(place=place) for argument in arguments]
    return command_line.main(predict.Settings, predict.run, "predict", flags, code=predict.exit_code)


def test_the_best_classes_of_each_file(place, model, capsys):
    answers = predict.run(settings(place, top=2, batch_size=2))
    names = [os.path.relpath(one.file, place / "photos") for one in answers]
    assert names == ["a.png", "b c.png", "bad.jpg", "más/d.png"]
    for one in (answers[0], answers[1], answers[3]):
        image = decoding.decode(tf.io.read_file(one.file), 3)
        wanted = keras.ops.softmax(model(transform.apply(image, model.preprocessing)[None])[0]).numpy()
        best = np.argsort(-wanted)[:2]
        assert [(guess.label, guess.index) for guess in one.top] == [(NAMES[i], i) for i in best]
        np.testing.assert_allclose([guess.probability for guess in one.top], wanted[best], atol=1e-5)
    assert answers[2].error == "neither of JPEG, PNG, GIF, BMP, WebP: it looks like text" and not answers[2].top
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1 + 3 * 2 and f"{100 * answers[0].top[0].probability:.2f}" in out
    assert "1 of 4 files without an answer:" in err and "photos/bad.jpg: neither of JPEG" in err


def test_exported_forms_say_the_same(place):
    pytest.importorskip("ai_edge_litert", reason="pip install -e '.[export]'")
    ours = predict.run(settings(place, model=str(DIGITS), top=10))
    for form, tolerance in {"export": 1e-4, "export/1/model.tflite": 0.05}.items():  # weights of 8 bits differ
        exported = predict.run(settings(place, model=f"{DIGITS}/{form}", top=10))
        for one, other in zip(ours, exported, strict=True):
            assert (one.file, one.error, len(one.top)) == (other.file, other.error, len(other.top))
            wanted = {guess.label: guess.probability for guess in one.top}
            for guess in other.top:
                assert guess.label == str(guess.index) and abs(guess.probability - wanted[guess.label]) < tolerance


@pytest.mark.parametrize("format", ["json", "csv", "table"])
def test_an_output_file_is_there_when_whole(format, place, tmp_path, capsys):
    output = tmp_path / "out"
    predict.run(settings(place, f"{place}/photos/*.png", format=format, output=str(output)))
    assert capsys.readouterr() == ("", "") and [path.name for path in tmp_path.iterdir()] == ["out"]
    text = output.read_text(encoding="utf-8")
    if format == "json":
        assert [len(one["top"]) for one in json.loads(text)] == [4, 4]
    elif format == "csv":
        assert len(list(csv.DictReader(text.splitlines()))) == 8
    else:
        assert f"{place}/photos/b c.png" in text


def test_an_output_that_cannot_be_written_leaves_the_old(place, tmp_path, monkeypatch):
    (tmp_path / "out").write_text("old")
    monkeypatch.setattr(os, "replace", lambda *names: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert command(place, "--model={place}/m.keras", "{place}/photos/a.png", f"--output={tmp_path}/out") == 1
    assert (tmp_path / "out").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_features_where_there_is_no_head(place, capsys):
    assert command(place, "--model={place}/features.keras", "{place}/photos/a.png", "--format=json") == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert len(one["features"]) == 32
    assert command(place, "--model={place}/features.keras", "{place}/photos/a.png") == 2
    assert "has no head, so there are no classes" in capsys.readouterr().err


def test_an_answer_that_is_not_finite_is_none(place, model, tmp_path, capsys):
    broken = keras_vit.build(model.architecture)
    broken.get_layer("head").bias.assign([np.nan] * 4)
    broken.save(tmp_path / "m.keras")
    (one,) = predict.run(settings(place, f"{place}/photos/a.png", model=f"{tmp_path}/m.keras"))
    assert one.error == "the model's answer is not finite" and not capsys.readouterr().out


def test_answers_before_a_server_failed_are_kept(place):
    calls = []

    def answer(encoded):
        calls.append(len(encoded))
        if len(calls) == 2:
            raise server.ServerFailed("it answered 503")
        return [np.array([0.25, 0.75], "float32")] * len(encoded)

    photos = [f"{place}/photos/{name}" for name in ("a.png", "b c.png", "más/d.png")]
    served = Predictor("TF Serving", "probabilities", ["x", "y"], answer)
    answers = list(predictions.of_files(served, dict.fromkeys(photos), 1, batch_size=1))
    assert [one.error for one in answers] == [None, "it answered 503", "it answered 503"] and calls == [1, 1]
    assert answers[0].top[0].label == "y"


def test_names_of_published_classes_are_told(place, tmp_path, capsys):
    model = keras_vit.build("mu/16", image_size=32, depth=1, num_classes=1000)
    keras_vit.weights.save(model, tmp_path / "w.npz", format="google")
    predict.run(settings(place, f"{place}/photos/a.png", model=f"{tmp_path}/w.npz", top=1))
    out, err = capsys.readouterr()
    assert "tench" in out, "of equal classes the first"
    assert err == "class names: ImageNet-1k's, because the file has none and its head has 1,000 classes\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--model={place}/m.keras", "{place}/photos/a.png", "--top=1"], 0, ""),
        (["{place}/photos/a.png", "--", "--model=none"], 2, "Exactly one of --model and --server"),
        (["--model={place}/m.keras", "{place}/photos/bad.jpg"], 1, "1 of 1 files without an answer"),
        (["--model={place}/m.keras", "{place}/none.jpg", "{place}/photos/a.png"], 1, "none.jpg: there is no such file"),
        (["--model=a", "--server=b", "x"], 2, "Exactly one of --model and --server"),
        (["--model={place}/none.keras", "x"], 2, "--model={place}/none.keras"),
        (["--server=http://127.0.0.1:1/v1/models/m", "x"], 2, "--server=http://127.0.0.1:1/v1/models/m: http"),
        (["--model=a", "--top=0", "x"], 2, "--top must be positive"),
        (["--model=a", "--format=xml", "x"], 2, "xml"),
        (["--model=a", "--output={place}/none/out", "x"], 2, "there is no folder {place}/none"),
        (["--model=a", "--output={place}/photos", "x"], 2, "{place}/photos is no file"),
        (["--model=http://127.0.0.1:1/v1/models/m", "x"], 2, "named by --server"),
    ],
)
def test_exit_codes(arguments, code, said, place, capsys, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    assert command(place, *arguments) == code
    error = capsys.readouterr().err
    assert said.format(place=place) in error
    assert (code == 2) == error.startswith("error: ") and (code != 2 or error.count("\n") == 1)


def test_flags_may_come_behind_files():
    settings = flags.read(["a.jpg", "--model=m", "-", "--top=3", "--", "--odd.jpg"], predict.Settings)
    assert (settings.paths, settings.model, settings.top) == (("a.jpg", "-", "--odd.jpg"), "m", 3)
    assert "a.jpg" not in flags.to_flagfile(settings)


def test_help_shows_what_stands_beside_the_flags(capsys):
    assert command_line.main(predict.Settings, predict.run, "predict", ["--help"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].endswith("FILE_OR_FOLDER_OR_PATTERN ...") and "stdin" in out and "--paths" not in out


def test_as_a_process_with_paths_from_stdin(place):
    """Exit code, streams, and nothing of TensorFlow's in them."""
    done = subprocess.run(
        [sys.executable, "-m", "trainers.predict", f"--model={place}/m.keras", "--format=json", "-"],
        cwd=os.path.dirname(os.path.dirname(predict.__file__)),
        input=f"{place}/photos/más\n{place}/photos/bad.jpg\n".encode(),
        env={name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"},  # which JAX sets
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 1
    answers = json.loads(done.stdout)
    assert [list(one) for one in answers] == [["file", "top"], ["file", "error"]]
    assert done.stderr.decode().splitlines() == [
        "1 of 2 files without an answer:",
        f"  {place}/photos/bad.jpg: neither of JPEG, PNG, GIF, BMP, WebP: it looks like text",
    ]
