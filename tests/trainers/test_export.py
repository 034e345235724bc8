"""The command that exports: what it writes, what it refuses, and what is left when it refuses."""

import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vit
from keras_vit.export.answering import Answering
from trainers import export
from trainers.exporting import formats, gate, publishing
from trainers.inference import keras_model, opening
from trainers.inference.predictor import Predictor
from trainers.settings import command_line

NAMES = [str(number) for number in range(10)]


def command(*arguments):
    return command_line.main(export.Settings, export.run, "export", [str(each) for each in arguments])


def test_everything_lies_in_the_folder_of_a_version(tiny_export):
    assert {path.name for path in tiny_export.iterdir()} == {"1", "models.config", "batching.config"}
    names = {path.name for path in (tiny_export / "1").iterdir()}
    assert names >= {"saved_model.pb", "variables", "model.tflite", "report.json", "card.md", "card.json"}
    extra = {path.name for path in (tiny_export / "1" / "assets.extra").iterdir()}
    assert extra == {"labels.txt", "keras_vit.json", "tf_serving_warmup_requests"}
    assert '"tiny_digits"' in (tiny_export / "models.config").read_text(), "a name that a server takes"


def test_the_report_tells_how_each_compares(tiny_export):
    report = json.loads((tiny_export / "1" / "report.json").read_text())
    assert report["images"] == "16 images of digits, test" and report["temperature"] != 1
    rows = report["formats"]
    signatures = [f"saved_model (TensorFlow session{part})" for part in ("", ", images", ", pixels", ", features")]
    files = ["tflite (LiteRT)", "onnx (ONNX Runtime)"]
    assert [name for name in rows if "OpenVINO" not in name] == ["model (Keras)", *signatures, *files]
    for name, row in rows.items():
        assert not row["faults"] and (row["finding"]["accuracy"] is None) == ("features" in name), name
    for name in (signatures[2], *files[1:]):
        assert rows[name]["finding"]["difference"] < 1e-4, name
    assert 0 < rows["tflite (LiteRT)"]["finding"]["difference"] < 1


def test_the_card_tells_of_the_files(tiny_export):
    card = json.loads((tiny_export / "1" / "card.json").read_text())
    for name in ("tflite (LiteRT)", "onnx (ONNX Runtime)"):
        assert name in card["export"]["formats"] and name in (tiny_export / "1" / "card.md").read_text()


def test_the_fitted_temperature_is_inside(tiny_export, tiny):
    description = json.loads((tiny_export / "1" / "assets.extra" / "keras_vit.json").read_text())
    degree = description["answering"]["temperature"]
    model = keras.models.load_model(tiny)
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 1)).astype("float32")
    signature = tf.saved_model.load(str(tiny_export / "1")).signatures["pixels"]
    expected = keras.ops.softmax(model(pixels) / degree)
    np.testing.assert_allclose(signature(pixels=tf.constant(pixels))["probabilities"], expected, atol=1e-5)


def write_text(job, path):
    pathlib.Path(path).write_text("whole")


def with_writer(monkeypatch, name, write, **changes):
    row = formats.FORMATS[name]._replace(write=write, **changes)
    monkeypatch.setitem(formats.FORMATS, name, row)


def test_a_broken_file_is_refused_and_nothing_is_published(tiny, tiny_export, tmp_path, monkeypatch, capsys):
    """The SavedModel of another model: its head's rows stand in reverse order."""
    model = keras.models.load_model(tiny)
    head = model.get_layer("head")
    head.kernel.assign(head.kernel[:, ::-1])
    model.save(tmp_path / "reversed.keras")
    with_writer(
        monkeypatch, "saved_model", lambda job, path: shutil.copytree(tiny_export / "1", path, dirs_exist_ok=True)
    )
    flags = (f"--model={tmp_path}/reversed.keras", "--formats=saved_model", "--check_images=8")
    code = command(*flags, f"--output={tmp_path}/export")
    output = capsys.readouterr()
    assert code == 1
    line = output.err.splitlines()[-1]
    assert line.startswith("error: nothing was published: saved_model (TensorFlow session) differs by ")
    assert "REFUSED" in output.out and not (tmp_path / "export").exists()


def test_what_passes_is_published_beside_what_does_not(tiny, tmp_path, monkeypatch, capsys):
    own = keras_model.of_model(keras.models.load_model(tiny), Answering())
    wrong = Predictor("runtime", "probabilities", NAMES, lambda encoded: [np.full(10, 0.1, "float32") for _ in encoded])

    def opened(path, check):
        assert pathlib.Path(path).read_text() == "whole"
        return [wrong if path.endswith(".onnx") else own]

    for name in ("onnx", "tflite"):
        with_writer(monkeypatch, name, write_text)
    monkeypatch.setattr(opening, "open_runtimes", opened)
    code = command(f"--model={tiny}", "--formats=tflite,onnx", f"--output={tmp_path}/export", "--check_images=8")
    assert code == 1 and "onnx not published" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "export" / "1").iterdir()} == {
        *("model.tflite", "report.json", "card.md", "card.json")
    }
    report = json.loads((tmp_path / "export" / "1" / "report.json").read_text())
    assert list(report["refused"]) == ["onnx"]


def test_a_file_that_nothing_can_open_is_refused(tiny, tmp_path, monkeypatch, capsys):
    with_writer(monkeypatch, "tflite", write_text)
    code = command(f"--model={tiny}", "--formats=tflite", f"--output={tmp_path}/export", "--check_images=4")
    line = capsys.readouterr().err.splitlines()[-1]
    assert code == 1 and line.startswith("error: nothing was published: tflite (opened) cannot be used: "), line


def test_other_labels_are_refused(tiny, tiny_export, tmp_path, monkeypatch, capsys):
    def write(job, path):
        shutil.copytree(tiny_export / "1", path, dirs_exist_ok=True)
        labels = path / "assets.extra" / "labels.txt"
        labels.write_text("0\n1\n3\n2\n4\n5\n6\n7\n8\n9\n")

    with_writer(monkeypatch, "saved_model", write)
    code = command(f"--model={tiny}", "--formats=saved_model", f"--output={tmp_path}/export", "--check_images=4")
    assert code == 1 and "its label of class 2 is '3', the model's '2'" in capsys.readouterr().err


def test_best_classes_are_those_of_the_probabilities():
    labels = np.array(["a", "b", "c"])
    good = {
        **{"probabilities": np.array([[0.2, 0.7, 0.1]]), "top_indices": np.array([[1, 0]])},
        **{"top_probabilities": np.array([[0.7, 0.2]]), "top_labels": np.array([[b"b", b"a"]])},
    }
    gate.check_best(good, labels)
    for name, wrong in {
        "top_indices": np.array([[0, 1]]),
        "top_probabilities": np.array([[0.7, 0.1]]),
        "top_labels": np.array([[b"a", b"b"]]),
    }.items():
        with pytest.raises(ValueError, match="best classes"):
            gate.check_best(good | {name: wrong}, labels)


@pytest.mark.slow
def test_files_for_a_server_that_somebody_changed_stay(tiny, tmp_path):
    (tmp_path / "models.config").write_text("mine")
    export.run(export.Settings(model=str(tiny), formats="saved_model", output=str(tmp_path), check_images=2))
    assert (tmp_path / "models.config").read_text() == "mine" and (tmp_path / "batching.config").exists()


def test_a_head_of_zeros_is_refused(tmp_path, capsys):
    path = tmp_path / "zeros.keras"
    keras_vit.build("mu/4", image_size=8, channels=1, num_classes=10).save(path)
    assert command(f"--model={path}", f"--output={tmp_path}/export") == 2
    assert "head of zeros" in capsys.readouterr().err and not (tmp_path / "export").exists()


def test_missing_packages_are_told_at_once(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(formats.PACKAGES, "no_such_package", "onnx")
    with_writer(monkeypatch, "onnx", None, needs=("no_such_package",))
    assert command(f"--model={tiny}", "--formats=tflite,onnx", f"--output={tmp_path}/export") == 2
    assert "--formats=onnx needs no_such_package" in capsys.readouterr().err


def test_an_export_that_breaks_off_leaves_earlier_versions_alone(tiny, tmp_path, monkeypatch):
    (tmp_path / "1").mkdir()
    with_writer(monkeypatch, "tflite", lambda job, path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        export.run(export.Settings(model=str(tiny), formats="tflite", output=str(tmp_path), check_images=4))
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--model is needed"]),
        (["--model=nowhere"], ["nowhere"]),
        (["--model={model}", "--formats=savedmodel"], ["savedmodel", "saved_model, tflite"]),
        (["--model={model}", "--formats=tflite_full_int8"], ["needs examples", "--source"]),
        (["--model={model}", "--fit_temperature"], ["needs examples", "--source"]),
        (["--model={model}", "--temperature=0"], ["--temperature", "positive"]),
        (["--model={model}", "--check_images=0"], ["--check_images", "positive"]),
        (["--model={model}", "--tflite_batch=4"], ["tflite_batch", "dynamic"]),
        (["--model={model}", "--tflite_image_size=0x224"], ["--tflite_image_size", "positive"]),
        (["--model={model}", "--output=gs://bucket/x"], ["local folder"]),
        (["--model={model}", "--source=synthetic"], ["1 channels"]),
        (["--model={model}", "--source=digits", "--split=tset"], ["tset", "test"]),
    ],
)
def test_mistakes_are_told_in_one_line(tiny, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    code = command(*(argument.format(model=tiny) for argument in arguments))
    message = capsys.readouterr().err
    assert code == 2 and message.startswith("error: ") and message.count("\n") == 1
    assert all(word in message for word in words), message
    assert not list(tmp_path.iterdir())


def test_usual_folder_and_names(tmp_path):
    assert publishing.usual_folder(str(tmp_path)) == str(tmp_path / "export")
    assert publishing.usual_folder("weights/b16.npz") == "saved_models/b16/export"
    assert publishing.usual_folder("augreg:B/16") == "saved_models/augreg_B_16/export"
    assert publishing.name_of("saved_models/vit digits/model.keras") == "vit_digits"
    assert publishing.name_of("saved_models/vit_digits/") == "vit_digits"
    assert publishing.name_of("saved_models/lr0.001/model.keras") == "lr0.001"
    (tmp_path / "rate_0.03").mkdir()
    assert publishing.name_of(f"{tmp_path}/rate_0.03") == "rate_0.03"
    assert publishing.usual_folder(f"{tmp_path}/rate_0.03/model.keras") == f"{tmp_path}/rate_0.03/export"
    assert publishing.name_of("hf:google/vit-base") == "hf_google_vit-base"
