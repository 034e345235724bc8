"""The command that makes data ready: what it writes is a source, what it says is true, mistakes are named."""

import dataclasses
import io
import json
import tarfile

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_vit.errors import UserError
from trainers import prepare
from trainers.data import arrays, sources
from trainers.data.records import shard_writer
from trainers.data.records.tfrecord_source import tfrecord
from trainers.files import Unwritable
from trainers.settings import command_line


def run(*arguments):
    return command_line.main(prepare.Settings, prepare.run, "prepare", arguments)


@pytest.fixture
def npz(tmp_path):
    """40 training and 10 test images of 3 classes."""
    generator = np.random.default_rng(0)
    held = {
        f"{prefix}{key}": value
        for prefix, count in {"": 40, "test_": 10}.items()
        for key, value in {
            "images": generator.integers(0, 256, (count, 4, 5, 3), "uint8"),
            "labels": np.arange(count) % 3,
        }.items()
    }
    np.savez(tmp_path / "data.npz", **held)
    return f"npz:{tmp_path}/data.npz"


def test_a_source_becomes_records_and_the_line_to_use_them(npz, tmp_path, capsys):
    assert run(f"--source={npz}", f"--output={tmp_path}/set") == 0
    said = capsys.readouterr().out
    assert f"--source=tfrecord:{tmp_path}/set" in said
    rows = {line.split()[0]: line.split()[1:3] for line in said.splitlines()[:-1]}
    assert rows == {"split": ["examples", "shards"], "train": ["40", "1"], "test": ["10", "1"]}
    source = tfrecord(f"{tmp_path}/set", prepare.Settings(source=npz, output="o"))
    assert {name: split.size for name, split in source.splits.items()} == {"train": 40, "test": 10}
    label = source.splits["train"].read(np.int64(38))[1]
    assert int(label) == 2 and source.num_classes == 3


def test_imagenet_21k_is_converted_from_its_archives(tmp_path):
    image = tf.io.encode_jpeg(np.zeros((4, 4, 3), "uint8")).numpy()
    for synset in ("n00004475", "n01440764", "n15102894"):
        with tarfile.open(tmp_path / f"{synset}.tar", "w") as archive:
            for number in range(2):
                member = tarfile.TarInfo(f"{synset}_{number}.JPEG")
                member.size = len(image)
                archive.addfile(member, io.BytesIO(image))
    source = f"--source=synset_archives:{tmp_path}"
    assert run(source, f"--output={tmp_path}/set", "--splits=train=full[2:],validation=full[:2]", "--noverify") == 0
    converted = tfrecord(f"{tmp_path}/set", prepare.Settings(output="o"))
    archives = sources.open_source(prepare.Settings(source=source.partition("=")[2], output="o"))
    assert converted.num_classes == 21_843 and converted.class_names == archives.class_names
    for name, expression in {"train": "full[2:]", "validation": "full[:2]"}.items():
        assert converted.splits[name].positives()[1].tolist() == archives.split(expression).positives()[1].tolist()
        assert converted.splits[name].read(tf.constant(0, tf.int64))[0] == image


def test_splits_are_chosen_and_named(npz, tmp_path):
    splits = "--splits=train=train[:75%],held_out=train[75%:],test"
    assert run(f"--source={npz}", f"--output={tmp_path}/set", splits) == 0
    written = json.loads((tmp_path / "set" / "dataset.json").read_text())["splits"]
    assert {name: split["examples"] for name, split in written.items()} == {"train": 30, "held_out": 10, "test": 10}
    assert written["held_out"]["of"] == "train[75%:]"


def test_a_dry_run_writes_nothing(npz, tmp_path, capsys):
    assert run(f"--source={npz}", f"--output={tmp_path}/set", "--dry_run") == 0
    assert "40" in capsys.readouterr().out and not (tmp_path / "set").exists()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "thesis.txt").touch()
    assert run(f"--source={npz}", f"--output={tmp_path}/set", "--dry_run") == 2


def test_bad_images_are_told_of(npz, tmp_path, capsys, monkeypatch):
    def with_one_bad(value, settings):
        source = arrays.npz(value, settings)
        whole = source.splits["train"]

        def read(index):
            image, label = whole.read(index)
            return tf.where(index == 7, b"no image", tf.io.encode_png(image)), label

        return dataclasses.replace(source, splits={"train": dataclasses.replace(whole, read=read)})

    monkeypatch.setitem(sources.SOURCES, "npz", with_one_bad)
    assert run(f"--source={npz}", f"--output={tmp_path}/set") == 2
    assert "error: train[7] cannot be read" in capsys.readouterr().err
    skip = ("--on_bad_image=skip", "--max_bad_share=0.1")
    assert run(f"--source={npz}", f"--output={tmp_path}/set", *skip) == 0
    assert "bad_images.csv lists what could not be read" in capsys.readouterr().out
    assert (tmp_path / "set" / "bad_images.csv").read_text().startswith("file,reason\ntrain[7],")
    assert run(f"--source={npz}", f"--output={tmp_path}/unseen", "--noverify") == 0


def test_a_full_disk_is_a_failed_run(npz, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shard_writer, "write_arrays", full)
    with pytest.raises(Unwritable, match=r"--output=.*set cannot be written: No space left"):
        prepare.run(prepare.Settings(source=npz, output=f"{tmp_path}/set"))
    assert run(f"--source={npz}", f"--output={tmp_path}/set") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": ""}, "--output is needed"),
        ({"source": "folder:data", "output": "./data/"}, "is where the source is"),
        ({"source": "tfrecord:data/train-*", "output": "data"}, "is where the source is"),
        ({"shard_megabytes": 0}, "shard_megabytes"),
        ({"splits": "train,train"}, "'train' twice"),
        ({"splits": "train[:5]"}, r"write NAME=train\[:5\]"),
        ({"splits": "train=train[5"}, "Unknown split"),
        ({"on_bad_image": "cry"}, "on_bad_image"),
        ({"source": "tfds:mnist", "output": "", "splits": "train"}, "--splits=train needs --output"),
    ],
)
def test_flags_are_checked(changes, message):
    with pytest.raises(UserError, match=message):
        prepare.Settings(**{"source": "digits", "output": "set"} | changes)


class PreparedByTest(tfds.core.GeneratorBasedBuilder):
    """Three numbers."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"number": np.int64}))

    def _split_generators(self, manager):
        return {"train": ((number, {"number": number}) for number in range(3))}

    def _generate_examples(self):
        raise NotImplementedError


def test_a_tensorflow_dataset_is_built(tmp_path, capsys):
    arguments = ("--source=tfds:prepared_by_test", f"--data_dir={tmp_path}")
    assert run(*arguments, "--dry_run") == 0
    assert "would be downloaded" in capsys.readouterr().out and not list(tmp_path.rglob("*.tfrecord*"))
    assert run(*arguments) == 0
    said = capsys.readouterr().out
    assert "train" in said and f"prepared_by_test/1.0.0 is in {tmp_path}/prepared_by_test/1.0.0" in said
    assert tfds.builder("prepared_by_test", data_dir=str(tmp_path)).info.splits["train"].num_examples == 3


def test_an_unknown_tensorflow_dataset_is_a_mistake(tmp_path, capsys):
    assert run("--source=tfds:no_such_data_set", f"--data_dir={tmp_path}") == 2
    assert (
        "error: --source=tfds:no_such_data_set: TensorFlow Datasets cannot build a data set of that name"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ConnectionError("no route"), 1, "cannot be fetched: no route"),
        (AssertionError("Manual directory\nis empty"), 2, "cannot be built: Manual directory is empty"),
    ],
)
def test_what_cannot_be_fetched_is_said(monkeypatch, tmp_path, capsys, error, code, words):
    def fail(self):
        raise error

    monkeypatch.setattr(PreparedByTest, "download_and_prepare", fail)
    assert run("--source=tfds:prepared_by_test", f"--data_dir={tmp_path}") == code
    assert words in capsys.readouterr().err


def test_splits_that_share_examples_are_refused(tmp_path, capsys):
    arguments = ["--source=digits", f"--output={tmp_path}/set", "--splits=train=train[:60%],validation=train[50%:]"]
    assert run(*arguments) == 2
    assert "share examples" in capsys.readouterr().err and not (tmp_path / "set").exists()


def test_overwrite_replaces_sets_of_records_only(tmp_path, capsys):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "train-00000-of-00001.tfrecord").write_text("years of work")
    assert run("--source=digits", f"--output={tmp_path}/thesis", "--overwrite") == 2
    assert "which are no set of records" in capsys.readouterr().err
    assert (tmp_path / "thesis" / "train-00000-of-00001.tfrecord").read_text() == "years of work"
