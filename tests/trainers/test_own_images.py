"""Commands on people's own images: files that are broken, several labels, data that changes under a run."""

import csv
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from trainers import evaluate, pretrain
from trainers.settings import command_line

TINY = ["--variant=mu/8", "--depth=1", "--image_size=16", "--batch_size=8", "--log_every=2", "--steps_per_call=2"]


@pytest.fixture
def photos(tmp_path):
    """A folder of 3 classes with 60 pictures to train on and 12 to test, one of each broken."""
    generator = np.random.default_rng(0)
    for split, size in (("train", 60), ("test", 12)):
        for number in range(size):
            path = tmp_path / "photos" / split / f"class {number % 3}" / f"{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tf.io.encode_png(generator.integers(0, 256, (20, 18, 3)).astype("uint8")).numpy())
    for name in ("train/class 1/04.png", "test/class 2/05.png"):
        (tmp_path / "photos" / name).write_bytes(b"<html>")
    return tmp_path / "photos"


def train(*arguments):
    return command_line.main(pretrain.Settings, pretrain.run, "pretrain", [*TINY, *arguments])


def test_a_broken_image_ends_the_run_by_name(photos, tmp_path, capsys):
    assert train(f"--source=folder:{photos}", "--epochs=2", f"--run_dir={tmp_path}/run") == 2
    said = capsys.readouterr().err
    assert "error: " in said and "class 1/04.png cannot be read" in said and "it looks like HTML" in said
    assert not (tmp_path / "run" / "model.keras").exists()


def test_broken_images_can_be_left_out(photos, tmp_path, capsys):
    arguments = [f"--source=folder:{photos}", "--epochs=2", f"--run_dir={tmp_path}/run", "--on_bad_image=skip"]
    assert train(*arguments, "--max_bad_share=0.1", "--sampling=balanced", "--class_weights=balanced") == 0
    with (tmp_path / "run" / "bad_images.csv").open() as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows] == ["split", "test", "train"]
    assert rows[1][1].endswith("test/class 2/05.png") and rows[2][1].endswith("train/class 1/04.png")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["test_accuracy"] * 11 == pytest.approx(round(results["test_accuracy"] * 11), abs=1e-4)

    settings = {"model": f"{tmp_path}/run", "source": f"folder:{photos}", "batch_size": 8}
    evaluated = evaluate.run(evaluate.Settings(**settings, on_bad_image="skip", max_bad_share=0.1))
    assert evaluated["vision transformer"] == pytest.approx(results["test_accuracy"], abs=1e-6)
    assert "test/class 2/05.png: neither of" in capsys.readouterr().out

    (photos / "test" / "class 0").rename(photos / "test" / "zebra")
    (photos / "train" / "class 0").rename(photos / "train" / "zebra")
    with pytest.raises(ValueError, match=r"calls class 0 'class 0'.*calls it 'class 1'"):
        evaluate.run(evaluate.Settings(**settings))


class Leave(Exception):
    pass


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_data(photos, tmp_path):
    import keras

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations.numpy() >= 4:
                raise Leave

    settings = pretrain.Settings(
        source=f"folder:{photos}", variant="mu/8", image_size=16, batch_size=8, steps=6, checkpoint_every=2,
        steps_per_call=2, log_every=2, run_dir=f"{tmp_path}/run", on_bad_image="skip", max_bad_share=0.1,
        test_split="none",
    )  # fmt: skip
    with pytest.raises(Leave):
        pretrain.run(settings, callbacks=[Stop()])
    extra = photos / "train" / "class 0" / "new.png"
    extra.write_bytes((photos / "train" / "class 0" / "00.png").read_bytes())
    with pytest.raises(ValueError, match="has changed since the run began"):
        pretrain.run(settings)
    extra.unlink()
    assert pretrain.run(settings).metrics["step"] == 6


def test_several_labels_with_the_flag_file_for_them(photos, tmp_path, capsys):
    lines = [
        {
            "path": str(path),
            "labels": [["dog"], ["dog", "beach"], []][number % 3],
            "split": "val" if number == 2 else "train",
        }
        for number, path in enumerate(sorted(photos.rglob("0*.png")))
        if path.stat().st_size > 10
    ]
    table = tmp_path / "photos.jsonl"
    table.write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = [f"--source=jsonl:{table}", f"--run_dir={tmp_path}/run"]
    assert train(*arguments, "--steps=1") == 2
    assert "may belong to several classes, but --objective=softmax" in capsys.readouterr().err
    flag_file = ["--flagfile=configs/pretrain_multilabel.cfg", *TINY, "--representation=0", "--precision=float32"]
    flag_file += ["--epochs=1", "--warmup_steps=1", *arguments]
    assert command_line.main(pretrain.Settings, pretrain.run, "pretrain", flag_file) == 0
    assert pathlib.Path(tmp_path, "run", "model.keras").exists()
    assert "2 classes" in capsys.readouterr().out
