"""ImageNet-21k's archives as a source: every member by number, in the classes of the published head."""

import io
import os
import tarfile

import pytest
import tensorflow as tf

from keras_vit.labels import imagenet
from trainers.data.bad_images import why
from trainers.data.records import synset_archives

IMAGENET = "n01440764"  # tench: class 0 of ImageNet-1k
OTHER = "n00004475"  # organism: class 0 of ImageNet-21k
ONLY_1K = "n04399382"  # teddy: the one class of the 1,000 that is not among the 21,843


def archive(folder, synset, contents, **options):
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / f"{synset}.tar", "w", **options) as file:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return folder / f"{synset}.tar"


def images(synset, count, size=700):
    """As they are named; each content is its own, and ends in zeros."""
    return {f"{synset}_{number}.JPEG": os.urandom(size + number) + b"\0\0" for number in range(count)}


def opened(folder):
    return synset_archives.synset_archives(str(folder), None)


def read(split):
    rows = tf.data.Dataset.range(split.size).map(split.read, num_parallel_calls=4)
    return [(data, int(label)) for data, label in rows.as_numpy_iterator()]


def test_members_come_back_in_their_published_classes(tmp_path):
    third = "n15102894"
    contents = {synset: images(synset, count) for synset, count in {IMAGENET: 5, OTHER: 3, third: 1}.items()}
    archive(tmp_path / "deeper", third, contents[third])
    for synset in (IMAGENET, OTHER):
        archive(tmp_path, synset, contents[synset])
    source = opened(tmp_path)
    numbers = list(imagenet.imagenet_21k())
    assert (source.num_classes, len(source.class_names), source.names) == (21_843, 21_843, ("full",))
    assert numbers.index(OTHER) == 0 and numbers.index(third) == 21_842
    expected = {data: numbers.index(synset) for synset, members in contents.items() for data in members.values()}
    split = source.splits["full"]
    assert dict(read(split)) == expected and split.size == 9
    examples, classes = split.positives()
    assert examples.tolist() == list(range(9)) and classes.tolist() == [label for _, label in read(split)]
    assert split.encoded_bytes == sum(map(len, expected))
    by_data = {data: name for members in contents.values() for name, data in members.items()}
    for number, (data, _) in enumerate(read(split)):
        name = by_data[data]
        path = next(tmp_path.rglob(f"{name.partition('_')[0]}.tar"))
        assert split.locate(number) == f"{path}, member {name}"


def test_the_order_is_random_and_the_members_own(tmp_path):
    members = {synset: images(synset, 40) for synset in (IMAGENET, OTHER)}
    for synset, contents in members.items():
        archive(tmp_path / "one", synset, contents)
        archive(tmp_path / "two", synset, dict(reversed(contents.items())))
    one, two = (opened(tmp_path / name) for name in ("one", "two"))
    rows = read(one.splits["full"])
    assert rows == read(two.splits["full"]) and one.fingerprint == two.fingerprint
    assert 8 < [label for _, label in rows[:40]].count(0) < 32, "a half has a half of each class, about"
    archive(tmp_path / "one", OTHER, images(OTHER, 41))
    assert opened(tmp_path / "one").fingerprint != one.fingerprint


def test_an_index_is_kept_until_an_archive_changes(tmp_path, monkeypatch):
    archive(tmp_path, OTHER, images(OTHER, 2))
    first = read(opened(tmp_path).splits["full"])
    with monkeypatch.context() as patch:
        patch.setattr(synset_archives, "_members", None)
        assert read(opened(tmp_path).splits["full"]) == first
    archive(tmp_path, OTHER, images(OTHER, 4))
    assert opened(tmp_path).splits["full"].size == 4


def test_long_names_folders_and_hidden_files(tmp_path):
    path = archive(tmp_path, OTHER, {f"{'x' * 150}.JPEG": b"long", "._n.JPEG": b"of a Mac", "in/b.JPEG": b"short"})
    with tarfile.open(path, "a") as file:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        file.addfile(folder)
    split = opened(tmp_path).splits["full"]
    assert sorted(read(split)) == [(b"long", 0), (b"short", 0)]
    assert sorted(split.locate(number).rpartition(" ")[2][:9] for number in range(2)) == ["in/b.JPEG", "xxxxxxxxx"]


def test_the_thousand_of_imagenet_1k(tmp_path):
    for synset in (IMAGENET, ONLY_1K):
        archive(tmp_path, synset, images(synset, 1))
    source = opened(tmp_path)
    assert source.num_classes == 1000
    assert sorted(label for _, label in read(source.splits["full"])) == [0, list(imagenet.imagenet_1k()).index(ONLY_1K)]


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ((ONLY_1K,), "1 of the archives .* not among the 21,843: n04399382; leave them out"),
        (("n99999999",), "n99999999"),
        (("ILSVRC2012_img_train",), "ILSVRC2012_img_train.tar is not named .* must be unpacked"),
    ],
)
def test_archives_of_no_class_are_named(tmp_path, others, message):
    for name in (OTHER, *others):
        archive(tmp_path, name, images(name, 1))
    with pytest.raises(ValueError, match=f"^--source=synset_archives:{tmp_path}: .*{message}"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:600], r"damaged, compressed or no tar"),
        (lambda data: data[:1536], r"cut short at byte 1,536 of 1,536"),  # between two members
        (lambda data: data[:1700], r"cut short at byte 1,536 of 1,700"),
        (lambda data: data[:1536] + b"?" * 512 + data[2048:], r"damaged or cut short at byte 1,536"),
        (lambda data: b"", r"damaged, compressed or no tar"),
    ],
)
def test_damaged_archives_are_named(tmp_path, damage, message):
    archive(tmp_path, IMAGENET, images(IMAGENET, 3))
    path = archive(tmp_path, OTHER, images(OTHER, 3))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"{path} is .*{message}"):
        opened(tmp_path)


def test_a_compressed_archive_is_named(tmp_path):
    archive(tmp_path, OTHER, images(OTHER, 1))
    with tarfile.open(tmp_path / f"{IMAGENET}.tar", "w:gz") as file:
        file.addfile(tarfile.TarInfo("a.JPEG"))
    with pytest.raises(ValueError, match=rf"{IMAGENET}.tar is damaged, compressed"):
        opened(tmp_path)


def test_an_archive_twice_is_named(tmp_path):
    for folder in ("a", "b"):
        archive(tmp_path / folder, OTHER, images(OTHER, 1))
    with pytest.raises(ValueError, match=rf"{OTHER}.tar is there twice"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("gs://bucket/archives", "needs local files"),
        ("", "a folder of archives such as"),
        ("/nowhere", "a folder of archives such as"),
        (".", "there is nothing named as"),
    ],
)
def test_no_archives(tmp_path, monkeypatch, value, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"^--source=synset_archives:{value}: .*{message}"):
        opened(value)


def test_archives_without_images(tmp_path):
    archive(tmp_path, OTHER, {})
    with pytest.raises(ValueError, match="hold no images"):
        opened(tmp_path)


def test_a_member_that_is_gone_is_an_error_of_its_own(tmp_path):
    for synset in (IMAGENET, OTHER):
        archive(tmp_path, synset, images(synset, 1))
    split = opened(tmp_path).splits["full"]
    (tmp_path / f"{OTHER}.tar").unlink()
    rows = list(tf.data.Dataset.range(2).map(split.read).ignore_errors())
    assert len(rows) == 1 and int(rows[0][1]) != 0
    gone = split.positives()[1].tolist().index(0)
    assert "No such file" in why(split, gone)
    (tmp_path / f"{OTHER}.tar").write_bytes(b"short")
    assert "shorter than it was" in why(split, gone)
