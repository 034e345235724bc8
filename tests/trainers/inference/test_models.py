"""What --model may be."""

import numpy as np
import pytest
import tensorflow as tf

import keras_vit
from trainers.inference import models


@pytest.fixture(scope="module")
def model():
    return keras_vit.build("mu/8", image_size=16, num_classes=3, class_names=["a", "b", "c"])


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


def test_a_run_a_file_of_ours_and_anybody_elses(model, tmp_path):
    (tmp_path / "run").mkdir()
    model.save(tmp_path / "run" / "model.keras")
    (tmp_path / "run" / "flags.cfg").write_text("")
    keras_vit.weights.save(model, tmp_path / "theirs", format="huggingface")
    keras_vit.weights.save(model, tmp_path / "theirs.npz", format="google")
    for name in ("run", "run/model.keras", "theirs", "theirs.npz"):
        loaded = models.load(str(tmp_path / name))
        assert same(loaded, model) and loaded.class_names == ["a", "b", "c"], name


def test_a_run_in_an_object_store(model, tmp_path):
    model.save(tmp_path / "model.keras")
    tf.io.gfile.makedirs("ram://models_test/run")
    tf.io.gfile.copy(str(tmp_path / "model.keras"), "ram://models_test/run/model.keras", overwrite=True)
    assert same(models.load("ram://models_test/run"), model)
    with pytest.raises(ValueError, match=r"--model=ram://models_test/none.keras: .*none.keras cannot be read"):
        models.load("ram://models_test/none.keras")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", r"--model=.*nothing: no such weight file"),
        ("unfinished", r"a run without model\.keras: it has not finished"),
        ("text.keras", r"--model=.*text\.keras: Keras cannot read it"),
        ("empty", r"--model=.*empty: a folder without any \.safetensors file"),
    ],
)
def test_mistakes_are_one_line(name, said, tmp_path):
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "flags.cfg").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.keras").write_text("text")
    with pytest.raises(ValueError, match=said) as error:
        models.load(str(tmp_path / name))
    assert "\n" not in str(error.value) and str(error.value).count(f"{name}: ") <= 1
