"""What is written is what was there: bytes, labels, order; whole, also after having been stopped anywhere."""

import contextlib
import csv
import dataclasses
import json
import os
import types

import numpy as np
import pytest
import tensorflow as tf

from trainers.data.arrays import from_arrays
from trainers.data.bad_images import BadImage
from trainers.data.records import indexing, record_writer, shard_plan
from trainers.data.records.shard_writer import Rules
from trainers.data.records.tfrecord_source import tfrecord
from trainers.data.source import Source, Split

NAMES = types.SimpleNamespace(image_feature="image", label_feature="label")
# Most of this is about bytes, whatever they are: each graph that decodes takes a second to get ready.
PLAIN = Rules(verify=False)
SKIP = Rules("skip", 0.5)


def image_files(folder, count, classes=3):
    """A source of image files on disk."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    paths, labels = [], np.arange(count) % classes
    for number in range(count):
        path = folder / f"{number}.png"
        path.write_bytes(tf.io.encode_png(generator.integers(0, 256, (8, 9, 3), "uint8")).numpy())
        paths.append(str(path))
    held = tf.constant(paths)
    split = Split(
        count,
        lambda index: (tf.io.read_file(held[index]), tf.constant(labels, tf.int64)[index]),
        lambda: (np.arange(count), labels),
        lambda index: paths[index],
        sum(map(len, (tf.io.gfile.GFile(path, "rb").read() for path in paths))),
    )
    names = tuple(f"class {number}" for number in range(classes))
    return Source(f"folder:{folder}", 3, classes, names, {"all": split}, fingerprint="files")


def write(source, folder, expressions=None, shard_bytes=700, rules=PLAIN, overwrite=False):
    expressions = expressions or {name: name for name in source.names}
    plans = [shard_plan.plan(source, name, expression, shard_bytes) for name, expression in expressions.items()]
    return record_writer.write(source, plans, str(folder), rules, overwrite)


def read(split):
    rows = tf.data.Dataset.range(split.size).map(split.read, num_parallel_calls=2)
    return [(image, label.tolist()) for image, label in rows.as_numpy_iterator()]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_comes_back_is_what_was_there(tmp_path, monkeypatch):
    source = image_files(tmp_path / "images", 10)
    written = write(source, tmp_path / "set", {"train": "all[:7]", "rest": "all[7:]"})
    monkeypatch.setattr(indexing, "index_of", None)  # nothing is to be scanned
    again = tfrecord(f"{tmp_path}/set", NAMES)
    assert (again.channels, again.num_classes, again.class_names) == (3, 3, source.class_names)
    assert again.names == ("train", "rest") and not again.several_labels
    assert read(again.splits["train"]) == read(source.split("all[:7]"))
    assert read(again.splits["rest"]) == read(source.split("all[7:]"))
    assert [array.tolist() for array in again.splits["rest"].positives()] == [[0, 1, 2], [1, 2, 0]]
    assert written["train"].shards > 2 and written["train"].examples == 7 and written["rest"].bad == 0
    assert written["train"].bytes == sum(
        len(data) for name, data in contents(tmp_path / "set").items() if "train-" in name
    )
    assert {name for name in contents(tmp_path / "set") if not name.endswith(".tfrecord")} == {
        "dataset.json",
        "train.index.npz",
        "rest.index.npz",
    }


def test_a_record_says_where_it_is_from(tmp_path):
    source = image_files(tmp_path / "images", 5)
    write(source, tmp_path / "set", {"train": "all[2:]"}, shard_bytes=10**6)
    (data, *_) = tf.data.TFRecordDataset(f"{tmp_path}/set/train-00000-of-00001.tfrecord").as_numpy_iterator()
    feature = tf.train.Example.FromString(data).features.feature
    assert feature["id"].int64_list.value == [0]
    assert feature["name"].bytes_list.value == [f"{tmp_path}/images/2.png".encode()]


def in_memory(images, labels, **changes):
    return Source("made", images.shape[-1], 4, None, {"train": from_arrays("train", images, labels)}, **changes)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_become_pngs_and_lose_nothing(tmp_path, channels):
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 7, channels), "uint8")
    write(in_memory(images, np.array([3, 1, 2, 0, 3])), tmp_path / "set")
    again = tfrecord(f"{tmp_path}/set", NAMES)
    rows = read(again.splits["train"])
    assert np.array_equal([tf.io.decode_png(data).numpy() for data, _ in rows], images)
    assert [label for _, label in rows] == [3, 1, 2, 0, 3] and again.class_names is None


def test_several_labels_come_back_as_they_were(tmp_path):
    labels = np.array([[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]], "float32")
    write(in_memory(np.zeros((3, 2, 2, 3), "uint8"), labels, several_labels=True), tmp_path / "set")
    again = tfrecord(f"{tmp_path}/set", NAMES)
    assert again.several_labels and [label for _, label in read(again.splits["train"])] == labels.tolist()
    assert [array.tolist() for array in again.splits["train"].positives()] == [[0, 0, 2], [0, 3, 1]]


def test_shares_of_classes_are_refused(tmp_path):
    labels = np.array([[0.5, 0.5, 0, 0]], "float32")
    with pytest.raises(ValueError, match=r"^train\[0\] belongs to classes in shares"):
        write(in_memory(np.zeros((1, 2, 2, 3), "uint8"), labels), tmp_path / "set")


class Stopped(BaseException):
    """As by a kill."""


@contextlib.contextmanager
def stopped_before(step):
    """Stops before the `step`-th file is put in place, if one is given; yields what has been put in place."""
    done = []

    def counted(move):
        def moved(temporary, path, **more):
            if len(done) == step:
                raise Stopped
            move(temporary, path, **more)
            done.append(path)

        return moved

    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((tf.io.gfile, "rename"), (os, "replace")):
            patch.setattr(module, name, counted(getattr(module, name)))
        yield done


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.tfrecord")}


def test_stopped_anywhere_it_goes_on_to_the_same_files(tmp_path):
    source = image_files(tmp_path / "images", 6)
    with stopped_before(None) as steps:
        write(source, tmp_path / "whole")
    shards = len(times(tmp_path / "whole"))
    assert shards > 2 and len(steps) == 1 + 2 * shards + 2  # marker, each shard and what is known of it, index, set
    for step in (*range(4), len(steps) - 2, len(steps) - 1):
        folder = tmp_path / f"stopped {step}"
        with pytest.raises(Stopped), stopped_before(step):
            write(source, folder)
        for name in (".left-00000-of-00001.tfrecord.partial", ".dataset-0123abcd.json", ".all.index-abcd_123.npz"):
            (folder / name).touch()
        before = times(folder)
        write(source, folder)
        assert contents(folder) == contents(tmp_path / "whole")
        known = max(0, min(step - 1, 2 * shards) // 2)
        names = [f"all-{number:05d}-of-{shards:05d}.tfrecord" for number in range(known)]
        assert {name: times(folder)[name] for name in names} == {name: before[name] for name in names}


def test_what_is_not_whole_is_no_source(tmp_path):
    source = image_files(tmp_path / "images", 6)
    with pytest.raises(Stopped), stopped_before(4):
        write(source, tmp_path / "set")
    with pytest.raises(ValueError, match="the set is unfinished"):
        tfrecord(f"{tmp_path}/set", NAMES)


def test_a_shard_that_was_cut_or_lost_is_written_again(tmp_path):
    source = image_files(tmp_path / "images", 6)
    write(source, tmp_path / "whole")
    for number, harm in enumerate((lambda path: path.unlink(), lambda path: path.write_bytes(b"half"))):
        folder = tmp_path / f"harmed {number}"
        with pytest.raises(Stopped), stopped_before(7):
            write(source, folder)
        harm(sorted(folder.glob("*.tfrecord"))[1])
        write(source, folder)
        assert contents(folder) == contents(tmp_path / "whole")


def with_bad_files(folder):
    """Ten files; one is missing, one is cut, one is text."""
    source = image_files(folder, 10)
    (folder / "2.png").unlink()
    (folder / "5.png").write_bytes((folder / "5.png").read_bytes()[:40])
    (folder / "6.png").write_text("<html>")
    return source


def test_a_bad_image_is_named_and_too_many_are_an_error(tmp_path):
    source = with_bad_files(tmp_path / "images")
    with pytest.raises(BadImage, match=r"images/2.png cannot be read: .*--on_bad_image=skip"):
        write(source, tmp_path / "set")
    few = PLAIN._replace(on_bad_image="skip", max_bad_share=0.05)
    with pytest.raises(BadImage, match=r"1 of the 10 images of all cannot be read, more than --max_bad_share=0.05"):
        write(source, tmp_path / "set", rules=few)
    # Without verification only reading fails.
    assert write(source, tmp_path / "set", rules=few._replace(max_bad_share=0.1))["all"].bad == 1


def test_bad_images_are_left_out_and_listed(tmp_path):
    source = with_bad_files(tmp_path / "images")
    written = write(source, tmp_path / "set", rules=SKIP)
    rows = list(csv.DictReader((tmp_path / "set" / "bad_images.csv").read_text().splitlines()))
    assert [row["file"] for row in rows] == [f"{tmp_path}/images/{number}.png" for number in (2, 5, 6)]
    assert all(row["reason"] for row in rows) and "No such file" in rows[0]["reason"]
    assert (written["all"].examples, written["all"].bad) == (7, 3)
    again = tfrecord(f"{tmp_path}/set", NAMES)
    readable = [number for number in range(10) if number not in (2, 5, 6)]
    assert read(again.splits["all"]) == [
        ((tmp_path / "images" / f"{number}.png").read_bytes(), number % 3) for number in readable
    ]


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    source = image_files(tmp_path / "images", 3)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "thesis.txt").write_text("my own")
    (tmp_path / "set" / ".download.partial").touch()
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"^--output=.*set holds thesis.txt"):
            write(source, tmp_path / "set", overwrite=overwrite)
    write(source, tmp_path / "ours")
    (tmp_path / "ours" / "thesis.txt").write_text("my own")
    write(source, tmp_path / "ours", overwrite=True)
    for folder in ("set", "ours"):
        assert (tmp_path / folder / "thesis.txt").read_text() == "my own"
    assert (tmp_path / "set" / ".download.partial").exists()
    with pytest.raises(ValueError, match="is a file"):
        write(source, tmp_path / "set" / "thesis.txt")


def test_a_finished_set_is_replaced_only_if_asked(tmp_path):
    source = image_files(tmp_path / "images", 6)
    write(source, tmp_path / "set")
    with pytest.raises(ValueError, match="finished set"):
        write(source, tmp_path / "set")
    write(source, tmp_path / "set", {"some": "all[:3]"}, overwrite=True)
    assert tfrecord(f"{tmp_path}/set", NAMES).names == ("some",)
    assert not [name for name in contents(tmp_path / "set") if name.startswith("all")]


@pytest.mark.parametrize("change", ["fingerprint", "splits", "shards"])
def test_the_beginning_of_another_set_is_not_gone_on_with(tmp_path, change):
    source = image_files(tmp_path / "images", 6)
    with pytest.raises(Stopped), stopped_before(4):
        write(source, tmp_path / "set")
    other = dataclasses.replace(source, fingerprint="other") if change == "fingerprint" else source
    expressions = {"all": "all[:5]"} if change == "splits" else None
    shard_bytes = 300 if change == "shards" else 700
    with pytest.raises(ValueError, match="beginning of another set"):
        write(other, tmp_path / "set", expressions, shard_bytes)
    write(other, tmp_path / "set", expressions, shard_bytes, overwrite=True)
    write(other, tmp_path / "fresh", expressions, shard_bytes)
    assert contents(tmp_path / "set") == contents(tmp_path / "fresh")


@pytest.fixture
def finished(tmp_path):
    write(image_files(tmp_path / "images", 6), tmp_path / "set")
    return tmp_path / "set"


def test_a_lost_or_damaged_index_is_found_out_again(finished):
    whole = tfrecord(str(finished), NAMES)
    for harm in (lambda path: path.write_bytes(b"zip?"), lambda path: path.unlink()):
        harm(finished / "all.index.npz")
        again = tfrecord(str(finished), NAMES)
        assert again.fingerprint == whole.fingerprint and read(again.splits["all"]) == read(whole.splits["all"])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda path: path.unlink(), "all-00001-of-.*tfrecord is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "all-00001-of-.* bytes, but .* were written"),
    ],
)
def test_a_missing_or_cut_shard_is_named(finished, harm, message):
    harm(sorted(finished.glob("*.tfrecord"))[1])
    with pytest.raises(ValueError, match=f"^--source=tfrecord:{finished}: .*{message}"):
        tfrecord(str(finished), NAMES)


def test_a_description_of_another_version_or_damaged_is_named(finished):
    path = finished / "dataset.json"
    description = json.loads(path.read_text())
    for text, message in {
        json.dumps(description | {"format": 99}): "format 99",
        path.read_text()[:-10]: "dataset.json is damaged",
        "{}": "dataset.json is damaged",
    }.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            tfrecord(str(finished), NAMES)


def test_part_of_a_set_is_named_by_its_splits(finished):
    with pytest.raises(ValueError, match=f"name the folder, tfrecord:{finished}"):
        tfrecord(f"{finished}/all-*", NAMES)


def test_other_features_than_were_written_are_a_mistake(finished):
    with pytest.raises(ValueError, match="--image_feature=image --label_feature=label"):
        tfrecord(str(finished), types.SimpleNamespace(image_feature="image", label_feature="class"))
