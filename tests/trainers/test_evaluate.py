"""`trainers.evaluate`: what it reports, what it writes, and what it refuses."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

import keras_vit
from keras_vit.errors import UserError
from trainers import evaluate
from trainers.data import arrays, sources
from trainers.data.source import Source
from trainers.engine.tensorflow.runtime import Runtime
from trainers.evaluations import accuracy
from trainers.inference import compatibility
from trainers.settings import evaluation

HERE = Runtime(tf.distribute.OneDeviceStrategy("CPU:0"), "", "float32", "")
NAMES = [f"colour {number}" for number in range(10)]


def made(num_classes=10, head=True, **fields):
    keras.utils.set_random_seed(0)
    model = keras_vit.build("mu/16", image_size=32, num_classes=num_classes, **fields)
    if head:
        kernel = np.random.default_rng(0).normal(size=(32, num_classes))
        model.get_layer("head").set_weights([kernel, np.zeros(num_classes)])
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of models: one like others, and some that do not fit the source `synthetic`."""
    folder = tmp_path_factory.mktemp("models")
    made(class_names=NAMES).save(folder / "good.keras")
    made(head=False).save(folder / "zeros.keras")
    made(4).save(folder / "four.keras")
    made(class_names=[*NAMES[:9], "mauve"]).save(folder / "mauve.keras")
    keras_vit.weights.save(made(), folder / "theirs.npz", format="google")
    return folder


def logits_and_labels():
    settings = evaluate.Settings(model="any", source="synthetic")
    split = sources.open_source(settings).split("test")
    images, labels = split.read(tf.range(split.size, dtype=tf.int64))
    return made()(tf.cast(images, tf.float32) / 127.5 - 1).numpy(), labels.numpy()


class Recorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_test_begin(self, logs=None):
        self.seen.append("begin")

    def on_test_batch_end(self, batch, logs=None):
        self.seen.append(batch)

    def on_test_end(self, logs=None):
        self.seen.append(logs["vision transformer"])


@pytest.mark.filterwarnings("ignore::UserWarning:sklearn")
def test_rows_and_files(folder, tmp_path, capsys):
    output, recorder = tmp_path / "report", Recorder()
    settings = evaluate.Settings(
        model=str(folder / "good.keras"), source="synthetic", batch_size=48, per_class=True, output=str(output)
    )
    rows = evaluate.run(settings, callbacks=[recorder])

    logits, labels = logits_and_labels()
    predicted = logits.argmax(axis=1)
    assert rows == pytest.approx(
        {
            "vision transformer": metrics.accuracy_score(labels, predicted),
            "top-5 accuracy": metrics.top_k_accuracy_score(labels, logits, k=5),
            "balanced accuracy": metrics.balanced_accuracy_score(labels, predicted),
            "macro F1": metrics.f1_score(labels, predicted, average="macro"),
        }
    )
    assert recorder.seen == ["begin", 0, 1, 2, rows["vision transformer"]]
    assert {path.name for path in output.iterdir()} == {
        *("evaluation.json", "per_class.csv", "confusion.csv", "confusion.png")
    }
    written = json.loads((output / "evaluation.json").read_text())
    assert written["rows"] == rows and (written["examples"], written["left_out"]) == (100, {})
    said = capsys.readouterr().out
    assert "Accuracy on synthetic, test, 100 examples" in said and "colour 7" in said and "macro F1" in said


def test_anybodys_file_is_evaluated(folder):
    foreign, own = (
        evaluate.run(evaluate.Settings(model=str(folder / name), source="synthetic"))
        for name in ("theirs.npz", "good.keras")
    )
    assert foreign == pytest.approx(own)


def test_few_shots_need_no_head(folder, capsys):
    results = [
        evaluate.run(
            evaluate.Settings(
                model=str(folder / name),
                source="synthetic",
                evaluations="fewshot",
                fewshot_shots="2,5",
                split="test[:50]",
            )
        )
        for name in ("zeros.keras", "four.keras")
    ]
    assert results[0] == results[1]
    assert list(results[0])[::2] == ["fewshot 2-shot", "fewshot 5-shot"]
    rows = results[0]
    line = f"fewshot 2-shot  {100 * rows['fewshot 2-shot']:6.2f} % ± {100 * rows['fewshot 2-shot spread']:.2f}\n"
    assert line in capsys.readouterr().out


def test_several_classes_per_example():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (30, 32, 32, 3)).astype("uint8")
    positives = random.integers(0, 2, (30, 10)).astype("float32")
    positives[:, 3] = positives[5] = 0
    source = Source("many", 3, 10, None, {"test": arrays.from_arrays("test", images, positives)}, several_labels=True)
    settings = evaluate.Settings(model="any", source="many", batch_size=7)
    rows = accuracy.measure(settings, made(), source, HERE)
    logits = made()(images / 127.5 - 1).numpy()
    some = [y for y in range(10) if y != 3]
    assert rows["mAP"] == pytest.approx(metrics.average_precision_score(positives[:, some], logits[:, some]))
    labelled = positives.any(axis=1)
    hits = positives[np.arange(30), logits.argmax(axis=1)][labelled]
    assert rows["vision transformer"] == pytest.approx(hits.mean())
    empty = dataclasses.replace(source, splits={"test": arrays.from_arrays("test", images, 0 * positives)})
    with pytest.raises(ValueError, match="no example with a label"):
        accuracy.measure(settings, made(), empty, HERE)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("zeros.keras", r"has a head of zeros.*trainers\.finetune.*--evaluations=fewshot"),
        ("four.keras", "knows 4 classes; --source=synthetic has 10"),
        ("mauve.keras", "calls class 9 'mauve', --source=synthetic calls it 'colour 9'"),
        ("none.keras", "no such weight file|Keras cannot read it"),
    ],
)
def test_models_that_do_not_fit(folder, name, said):
    with pytest.raises(ValueError, match=rf"--model=.*{name}.*{said}") as error:
        evaluate.run(evaluate.Settings(model=str(folder / name), source="synthetic"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("tench", "tench, Tinca tinca", True),
        ("crane, bird", "crane (n02012849)", True),
        ("dog, small", "dog, large", False),
        ("tinca", "tench, tinca", False),
    ],
)
def test_names_of_published_heads_and_of_sources(one, other, same):
    assert compatibility.same_class(one, other) == compatibility.same_class(other, one) == same


def test_output_that_is_a_file_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"--output=.*file is a file; name a folder"):
        evaluate.run(evaluate.Settings(model="nothing", output=f"{tmp_path}/file"))
    with pytest.raises(ValueError, match=r"--output=.*below cannot be made"):
        evaluate.run(evaluate.Settings(model="nothing", output=f"{tmp_path}/file/below"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": ""}, "--model is needed"),
        ({"evaluations": "accuracy,luck"}, "'luck'; choose among accuracy, fewshot, baselines"),
        ({"evaluations": "fewshot", "per_class": True}, "--per_class is about accuracy"),
        ({"fewshot_shots": "1,0"}, "each number must be at least 1"),
        ({"fewshot_seeds": ""}, "--fewshot_seeds=: expected whole numbers"),
        ({"train_split": "train[:"}, "Unknown split"),
    ],
)
def test_flags_are_checked_before_anything_is_loaded(changes, said):
    with pytest.raises(UserError, match=said):
        evaluate.Settings(**{"model": "any", **changes})


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=5), st.sampled_from([",", ", ", " ,"]))
def test_numbers_are_read_in_order_and_once(values, comma):
    assert evaluation.numbers("fewshot_shots", comma.join(map(str, values))) == sorted(set(values))


@given(
    st.text("0123456789,.-x ", max_size=8).filter(lambda text: not all(p.strip().isdecimal() for p in text.split(",")))
)
def test_anything_else_is_no_list_of_numbers(text):
    with pytest.raises(UserError, match="expected whole numbers"):
        evaluation.numbers("fewshot_shots", text)
