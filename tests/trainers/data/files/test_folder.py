"""The `folder` source: splits, classes, order, and what it says of folders that it cannot use."""

import hashlib
import os
import pathlib
import tempfile

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies

from keras_vit.labels import imagenet
from trainers.data.files import folder, paths
from trainers.settings.data import SourceSettings


def write(root, *names):
    """Files that hold their own names."""
    for name in names:
        path = pathlib.Path(os.fsdecode(root)) / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))


def opened(root):
    return folder.folder(str(root), SourceSettings(source=f"folder:{root}"))


def examples(split):
    """(name, label) of all examples, read in a graph."""
    rows = tf.data.Dataset.range(split.size).map(split.read)
    return [(image.decode(), int(label)) for image, label in rows.as_numpy_iterator()]


def everything(source):
    return {name: examples(split) for name, split in source.splits.items()}


def listed(source):
    """Paths in each split, in order."""
    return {name: [split.locate(index) for index in range(split.size)] for name, split in source.splits.items()}


def share(name):
    """Where a file stands in [0, 1), written down a second time."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()) / 2**256


MANY = [f"{kind}/{number}.jpg" for kind in ("cat", "dog") for number in range(40)]


def test_folders_are_splits_and_their_subfolders_classes(tmp_path):
    write(tmp_path, "Train/b/1.jpg", "Train/a/2.jpg", "VAL/b/3.jpg", "testing/c/4.jpg", "notes/readme.txt")
    source = opened(tmp_path)
    assert everything(source) == {
        "train": sorted([("Train/b/1.jpg", 1), ("Train/a/2.jpg", 0)], key=lambda example: share(example[0])),
        "validation": [("VAL/b/3.jpg", 1)],
        "test": [("testing/c/4.jpg", 2)],
    }
    assert list(source.splits) == ["train", "validation", "test"]
    assert (source.num_classes, source.class_names, source.channels) == (3, ("a", "b", "c"), 3)
    assert not source.several_labels and source.ready() is None


@pytest.mark.parametrize("word", ["train", "Training", "val", "VALID", "validation", "test", "Testing"])
def test_every_split_word_counts_in_any_case(word, tmp_path):
    write(tmp_path, f"{word}/cat/1.png")
    assert list(opened(tmp_path).splits) == [paths.SPLIT_WORDS[word.lower()]]


def test_one_folder_is_divided_by_the_hash_of_each_path(tmp_path):
    write(tmp_path, *MANY)
    ends = {"train": (0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1)}
    expected = {
        split: sorted((name for name in MANY if low <= share(name) < high), key=share)
        for split, (low, high) in ends.items()
    }
    source = opened(tmp_path)
    assert {split: [name for name, _ in rows] for split, rows in everything(source).items()} == expected
    assert all(label == name.startswith("dog") for name, label in examples(source.splits["train"]))


def test_order_mixes_classes_so_that_parts_have_their_share(tmp_path):
    write(tmp_path, *(f"train/{name}" for name in MANY))
    labels = [label for _, label in examples(opened(tmp_path).split("train[:50%]"))]
    assert 10 <= sum(labels) <= 30  # of 40


NAMES = strategies.sets(
    strategies.text("abcÄß,' #%", min_size=1, max_size=6).map(lambda text: f"x{text}/{text}y.jpg"), min_size=1
)


@hypothesis.settings(max_examples=25)
@hypothesis.given(NAMES, NAMES)
def test_no_file_changes_side_or_order_when_others_are_added(first, others):
    with tempfile.TemporaryDirectory() as root:
        write(root, *first)
        before = listed(opened(root))
        write(root, *others)
        after = listed(opened(root))
        for name, members in before.items():
            assert [path for path in after[name] if path in members] == members
        assert sum(map(len, after.values())) == len(first | others)


def test_classes_may_be_nested(tmp_path):
    write(tmp_path, "train/animals/cat/1.jpg", "train/animals/2.jpg", "val/plants/oak/old/3.jpg")
    source = opened(tmp_path)
    assert source.class_names == ("animals", "animals/cat", "plants/oak/old")
    assert dict(examples(source.split("train+validation"))) == {
        "train/animals/cat/1.jpg": 1, "train/animals/2.jpg": 0, "val/plants/oak/old/3.jpg": 2,
    }  # fmt: skip


def test_images_are_known_by_suffix_and_hidden_things_left_out(tmp_path):
    images = ["a/1.JPG", "a/2.jpeg", "a/3.PNG", "a/4.Gif", "a/5.bmp", "b/6.webp", "b/7.x.jpg", "b/8 ö,\n.jpg"]
    write(tmp_path, *images, "a/.1.jpg", ".c/1.jpg", "a/.d/1.jpg", "__MACOSX/a/1.jpg", "a/1.txt", "a/jpg", "a/1.jpgx")
    source = opened(tmp_path)
    assert sorted(name for rows in everything(source).values() for name, _ in rows) == sorted(images)
    assert source.class_names == ("a", "b")


def test_names_that_are_no_text_are_read_and_shown(tmp_path):
    write(tmp_path, b"train/\xff/\xfe.jpg")
    source = opened(tmp_path)
    assert source.class_names == ("\\xff",)
    assert source.splits["train"].locate(0) == f"{tmp_path}/train/\\xff/\\xfe.jpg"
    assert source.splits["train"].read(tf.constant(0, tf.int64))[0].numpy() == b"train/\xff/\xfe.jpg"


def test_links_are_followed_and_broken_ones_kept(tmp_path):
    write(tmp_path / "elsewhere", "1.jpg")
    (tmp_path / "data/train").mkdir(parents=True)
    (tmp_path / "data/train/cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/2.jpg").symlink_to(tmp_path / "nowhere")
    split = opened(tmp_path / "data").splits["train"]
    assert {split.locate(0), split.locate(1)} == {f"{tmp_path}/data/train/cat/{i}.jpg" for i in (1, 2)}
    assert split.encoded_bytes == len("1.jpg")


def test_a_class_may_be_called_train(tmp_path):
    write(tmp_path, "train/1.jpg", "car/2.jpg")
    assert opened(tmp_path).class_names == ("car", "train")


def test_synsets_get_readable_names_in_imagenets_order(tmp_path):
    chosen = ["n03126707", "n01440764", "n02012849"]
    write(tmp_path, *(f"train/{synset}/{synset}_1.JPEG" for synset in chosen))
    source = opened(tmp_path)
    assert source.class_names == ("tench", "crane (n02012849)", "crane (n03126707)")
    assert dict(examples(source.splits["train"]))["train/n03126707/n03126707_1.JPEG"] == 2


def test_all_of_imagenet_1k_keeps_its_class_numbers(tmp_path):
    write(tmp_path, *(f"train/{synset}/1.JPEG" for synset in imagenet.imagenet_1k()))
    source = opened(tmp_path)
    assert source.class_names == imagenet.readable(imagenet.imagenet_1k())
    numbers = {synset: number for number, synset in enumerate(imagenet.imagenet_1k())}
    assert all(numbers[name.split("/")[1]] == label for name, label in examples(source.splits["train"]))


def test_one_class_that_is_no_synset_keeps_all_names(tmp_path):
    write(tmp_path, "train/n01440764/1.jpg", "train/other/1.jpg")
    assert opened(tmp_path).class_names == ("n01440764", "other")


def test_positives_sizes_and_places_are_known(tmp_path):
    write(tmp_path, *MANY)
    split = opened(tmp_path).splits["train"]
    rows = examples(split)
    numbers, classes = split.positives()
    np.testing.assert_array_equal(numbers, np.arange(split.size))
    np.testing.assert_array_equal(classes, [label for _, label in rows])
    assert (numbers.dtype, classes.dtype) == ("int64", "int64")
    assert split.encoded_bytes == sum(len(name) for name, _ in rows)
    assert split.locate(7) == f"{tmp_path}/{rows[7][0]}"


def test_the_fingerprint_follows_names_and_not_the_place(tmp_path):
    write(tmp_path / "one", *MANY)
    write(tmp_path / "two", *MANY)
    first = opened(tmp_path / "one").fingerprint
    assert len(first) == 16 and opened(tmp_path / "two").fingerprint == first
    (tmp_path / "two/cat/1.jpg").rename(tmp_path / "two/cat/one.jpg")
    assert opened(tmp_path / "two").fingerprint != first
    write(tmp_path / "one", "bat/1.jpg")  # moves all labels
    assert opened(tmp_path / "one").fingerprint != first


def test_folders_of_a_bucket_are_the_same(tmp_path):
    write(tmp_path, *MANY, ".git/x/1.jpg", "cat/notes.txt", "a/b/1.PNG")
    remote, local = opened(f"file://{tmp_path}/"), opened(tmp_path)
    assert everything(remote) == everything(local)
    assert (remote.fingerprint, remote.class_names) == (local.fingerprint, local.class_names)
    assert remote.splits["train"].encoded_bytes is None
    assert remote.splits["train"].locate(0).startswith(f"file://{tmp_path}/")


def test_a_bucket_is_not_asked_about_each_image(tmp_path, monkeypatch):
    write(tmp_path, *MANY)
    queried = []
    is_folder = tf.io.gfile.isdir
    monkeypatch.setattr(tf.io.gfile, "isdir", lambda path: queried.append(path) or is_folder(path))
    opened(f"file://{tmp_path}")
    assert sorted(queried) == [f"file://{tmp_path}/cat", f"file://{tmp_path}/dog"]


WRONG = {
    "no image": (["a/1.txt", "a/2.TXT", "a/3.tif", "b/4"], ["no image (jpg, ", "2 .txt, 1 .tif, 1 without suffix."]),
    "many kinds": (["1.a", "1.b", "1.c", "1.d"], ["holds no image", " and others."]),
    "nothing": ([".hidden/1.jpg"], ["holds no image", "it holds no files at all"]),
    "flat": (["1.jpg", "a/2.jpg"], ["class folders expected", "but 1.jpg lies", "(1 such files)", "csv:FILE"]),
    "flat split": (["train/a/1.jpg", "test/2.jpg"], ["class folders expected", "but test/2.jpg lies"]),
    "beside splits": (["train/a/1.jpg", "2.jpg"], ["class folders expected", "but 2.jpg lies"]),
    "two of one split": (["train/a/1.jpg", "val/a/1.jpg", "Valid/a/1.jpg"], ["Valid, val", "the split validation"]),
    "splits and others": (
        ["train/a/1.jpg", "test/a/1.jpg", "samples/1.jpg"],
        ["the splits test, train", "images in samples too"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_folders_are_named_in_one_line(case, tmp_path):
    names, fragments = WRONG[case]
    write(tmp_path, *names)
    with pytest.raises(ValueError) as error:
        opened(tmp_path)
    message = str(error.value)
    assert all(fragment in message for fragment in [f"--source=folder:{tmp_path}", *fragments]), message
    assert "\n" not in message


def test_what_cannot_be_listed_is_named(tmp_path):
    write(tmp_path, "file")
    for root, reason in {
        f"{tmp_path}/nowhere": "No such file",
        f"{tmp_path}/file": "Not a directory",
        f"file://{tmp_path}/nowhere": "nowhere",
        "http://example.org/images": "Could not find directory",
    }.items():
        with pytest.raises(ValueError, match=f"^--source=folder:{root}: .*cannot be listed: .*{reason}"):
            opened(root)
    with pytest.raises(ValueError, match="--source=folder needs a folder"):
        opened("")


def test_links_in_a_circle_are_an_error(tmp_path):
    write(tmp_path, "a/1.jpg", "b/1.jpg")
    (tmp_path / "a/x").symlink_to(tmp_path / "b")
    (tmp_path / "b/y").symlink_to(tmp_path / "a")
    with pytest.raises(ValueError, match="is a link to a folder that it lies in; remove the link"):
        opened(tmp_path)
