"""TensorFlow Datasets as a source. Prepared sets are written by its own writer, with the features it has for them."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st

from trainers.data import images
from trainers.data.tfds import catalog
from trainers.data.tfds.tfds_source import tensorflow_datasets, vtab
from trainers.settings.data import SourceSettings

LABELLED = {
    "image": tfds.features.Image(shape=(None, None, 3)),
    "label": tfds.features.ClassLabel(names=["cat", "dog"]),
}


def value_of(feature, number):
    """Something that a feature can hold, another one for another number."""
    if isinstance(feature, tfds.features.Image):
        shape = [side or 8 for side in feature.shape]
        return np.random.default_rng(number).integers(0, 2, shape).astype(feature.np_dtype)
    if isinstance(feature, tfds.features.ClassLabel):
        return (feature.num_classes - 1) * (number % 2)  # the first or the last
    if isinstance(feature, tfds.features.Sequence):
        return [value_of(feature.feature, number + i) for i in range(3 + number)]
    if isinstance(feature, tfds.features.FeaturesDict):
        return {name: value_of(feature[name], number) for name in feature}
    if isinstance(feature, tfds.features.BBoxFeature):
        return tfds.features.BBox(0.0, 0.0, 0.5, 1.0)
    if isinstance(feature, tfds.features.Text):
        return f"text {number}"
    return np.full(feature.shape, 7.0 + number, feature.np_dtype)


def prepared(data_dir, name="mine", version="1.0.0", sizes=None, features=None, examples=None, file_format="tfrecord"):
    """Writes a prepared data set, two examples to a file, and returns its folder."""
    features = tfds.features.FeaturesDict(features or LABELLED)
    sizes = sizes or {"train": 5, "test": 2}
    examples = examples or {split: [value_of(features, i) for i in range(size)] for split, size in sizes.items()}
    folder = data_dir / name / version
    folder.mkdir(parents=True)
    name, _, config = name.partition("/")
    identity = tfds.core.dataset_info.DatasetIdentity(
        name, tfds.core.Version(version), str(folder), "", config_name=config or None
    )
    info = tfds.core.DatasetInfo(builder=identity, features=features)
    writer = tfds.core.SequentialWriter(info, 2, file_format=file_format)
    writer.initialize_splits([*examples])
    writer.add_examples(examples)
    writer.close_all()
    return folder


def opened(kind, value, data_dir):
    return {"tfds": tensorflow_datasets, "vtab": vtab}[kind](value, SourceSettings(data_dir=str(data_dir)))


def epoch(split):
    """All examples, read as batches are: by one graph, and without AutoGraph."""
    read = tf.function(split.read, [tf.TensorSpec((), tf.int64)], autograph=False)
    return [*tf.data.Dataset.range(split.size).map(read).as_numpy_iterator()]


ROWS = [("tfds", key, row) for key, row in catalog.DATASETS.items() if key != "imagenet21k"]
# Most of VTAB's tasks differ in parts of splits alone; one with labels of its own making stands for them.
FAST_TASKS = {"caltech101", "clevr_count_all"}
ROWS += [
    pytest.param("vtab", key, row, marks=[] if key in FAST_TASKS else pytest.mark.slow)
    for key, row in catalog.VTAB.items()
]


@pytest.mark.parametrize("kind, key, row", ROWS, ids=lambda value: value if isinstance(value, str) else "")
def test_epoch(kind, key, row, tmp_path, monkeypatch):
    """Each row of the catalog, read once, with few examples in one of its splits."""
    sizes = {next(iter(row.sizes)): 4}
    table = {"tfds": catalog.DATASETS, "vtab": catalog.VTAB}[kind]
    monkeypatch.setitem(table, key, dataclasses.replace(row, sizes=sizes))
    code = tfds.builder(row.name, data_dir=str(tmp_path))
    prepared(tmp_path, row.name, str(code.version), sizes, dict(code.info.features.items()))
    source = opened(kind, key, tmp_path)
    source.ready()
    [split] = source.splits.values()
    examples, classes = split.positives()
    assert ((classes >= 0) & (classes < source.num_classes)).all()
    assert split.size == 4
    for number, (image, label) in enumerate(epoch(split)):
        assert images.decode(tf.constant(image), source.channels).shape[-1] == row.channels
        if source.several_labels:
            assert label.dtype == np.float32
            assert np.flatnonzero(label).tolist() == sorted({*classes[examples == number]})
        else:
            assert label.dtype == np.int64
            assert classes[examples == number].tolist() == [label]


def test_images_and_labels_are_the_ones_written(tmp_path):
    prepared(tmp_path)
    source = opened("tfds", "mine", tmp_path)
    assert (source.num_classes, source.class_names, source.channels) == (2, ("cat", "dog"), 3)
    for number, (image, label) in enumerate(epoch(source.splits["train"])):
        pixels = images.decode(tf.constant(image), 3)
        np.testing.assert_array_equal(pixels, value_of(LABELLED["image"], number))
        assert label == number % 2
    assert [len(epoch(source.split(part))) for part in ("train[1:4]", "train+test")] == [3, 7]


def test_formats_read_alike(tmp_path):
    """A record that ends in zero bytes too."""
    features = LABELLED | {"last": tfds.features.Scalar(np.float32)}
    for file_format in ("tfrecord", "array_record"):
        examples = {"train": [value_of(tfds.features.FeaturesDict(features), i) | {"last": 0.0} for i in range(5)]}
        prepared(tmp_path, file_format, features=features, examples=examples, file_format=file_format)
    one, other = (opened("tfds", name, tmp_path).splits["train"] for name in ("tfrecord", "array_record"))
    assert epoch(one) == epoch(other)
    np.testing.assert_array_equal(one.positives(), other.positives())
    assert one.locate(4).endswith("tfrecord-train.tfrecord-00002, record 0)")
    assert other.locate(3).endswith("array_record-train.array_record-00001, record 1)")
    assert one.encoded_bytes == other.encoded_bytes > 500


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_real_labels(tmp_path, monkeypatch, file_format):
    """An image without a ReaL label has none here either; one that has the same twice has it once."""
    row = dataclasses.replace(catalog.DATASETS["imagenet2012_real"], sizes={"validation": 3})
    monkeypatch.setitem(catalog.DATASETS, "imagenet2012_real", row)
    features = tfds.builder(row.name, data_dir=str(tmp_path)).info.features
    examples = [value_of(features, 0) | {"real_label": labels} for labels in ([], [7], [999, 0, 0])]
    features = dict(features.items())
    prepared(tmp_path, row.name, features=features, examples={"validation": examples}, file_format=file_format)
    source = opened("tfds", "imagenet2012_real", tmp_path)
    assert source.several_labels
    labels = np.stack([label for _, label in epoch(source.splits["validation"])])
    assert [[*np.flatnonzero(label)] for label in labels] == [[], [7], [0, 999]]
    assert labels.max() == 1
    assert source.class_names[0] == "tench"
    np.testing.assert_array_equal(source.splits["validation"].positives(), [[1, 2, 2, 2], [7, 999, 0, 0]])


def test_tasks_on_the_same_files(tmp_path, monkeypatch):
    """What is kept about the files for one task is not taken for another's."""
    features = tfds.builder("clevr", data_dir=str(tmp_path)).info.features
    prepared(tmp_path, "clevr", "3.1.0", {"train": 4}, dict(features.items()))
    classes = {}
    for task in ("clevr_count_all", "clevr_closest_object_distance"):
        monkeypatch.setitem(catalog.VTAB, task, dataclasses.replace(catalog.VTAB[task], sizes={"train": 4}))
        classes[task] = opened("vtab", task, tmp_path).splits["train"].positives()[1].tolist()
    assert classes == {"clevr_count_all": [0, 1, 2, 3], "clevr_closest_object_distance": [0, 0, 2, 4]}


def test_dsprites_are_white(tmp_path, monkeypatch):
    row = dataclasses.replace(catalog.VTAB["dsprites_label_orientation"], sizes={"train": 1})
    monkeypatch.setitem(catalog.VTAB, "dsprites_label_orientation", row)
    features = tfds.builder(row.name, data_dir=str(tmp_path)).info.features
    example = value_of(features, 0) | {"label_orientation": 39}
    prepared(tmp_path, row.name, "2.0.0", features=dict(features.items()), examples={"train": [example]})
    [(image, label)] = epoch(opened("vtab", "dsprites_label_orientation", tmp_path).splits["train"])
    np.testing.assert_array_equal(image, np.tile(example["image"], (1, 1, 3)) * 255)
    assert label == 15


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_secret_labels(tmp_path, file_format):
    examples = {"test": [{"image": np.zeros((8, 8, 3), "uint8"), "label": label} for label in (1, -1)]}
    prepared(tmp_path, examples=examples, file_format=file_format)
    split = opened("tfds", "mine", tmp_path).splits["test"]
    with pytest.raises(ValueError, match=r"tfds:mine test\[1\] \(.*record 1\) has no label"):
        split.positives()
    with pytest.raises(tf.errors.InvalidArgumentError, match="It has no label"):
        epoch(split)


class TestNotPrepared:
    def test_plans_work(self, tmp_path):
        source = opened("tfds", "cifar10", tmp_path)
        assert source.split("train[:98%]").size == 49_000
        assert (source.num_classes, source.class_names) == (10, None)  # TFDS learns them from the archive
        assert source.splits["test"].encoded_bytes is None
        assert source.splits["test"].locate(3) == "tfds:cifar10 test[3]"
        assert opened("vtab", "svhn", tmp_path).split("train800val200").size == 1_000

    @pytest.mark.parametrize("value, dataset", [
        ("cifar10", "cifar10"),
        ("cifar10:3.0.2", "cifar10:3.0.2"),
        ("eurosat", "eurosat/rgb"),
        ("eurosat/rgb", "eurosat/rgb"),
        ("imagenet_v2", "imagenet_v2/matched-frequency"),
    ])  # fmt: skip
    def test_ready_says_how(self, value, dataset, tmp_path):
        command = re.escape(f"`python -m trainers.prepare --source=tfds:{dataset} --data_dir={tmp_path}`")
        source = opened("tfds", value, tmp_path)
        assert source.name == f"tfds:{value}"
        with pytest.raises(ValueError, match=f"^--source=tfds:{value} is not prepared in .*; run {command}.$"):
            source.ready()
        with pytest.raises(ValueError, match="is not prepared"):
            epoch(source.split("test" if value != "eurosat" and "rgb" not in value else "train"))

    def test_tasks_name_their_data_set(self, tmp_path):
        with pytest.raises(ValueError, match=r"^--source=vtab:svhn is not prepared.*--source=tfds:svhn_cropped "):
            opened("vtab", "svhn", tmp_path).ready()

    def test_imagenet21k(self, tmp_path):
        source = opened("tfds", "imagenet21k", tmp_path)
        assert (source.num_classes, source.splits["full"].size) == (21_843, 14_197_122)
        with pytest.raises(ValueError, match="TensorFlow Datasets cannot prepare it"):
            source.ready()

    def test_names(self, tmp_path):
        assert opened("tfds", "imagenet2012", tmp_path).class_names[:2] == ("tench", "goldfish")
        assert opened("tfds", "mnist", tmp_path).class_names == tuple("0123456789")
        assert opened("tfds", "oxford_iiit_pet", tmp_path).class_names[0] == "Abyssinian"
        assert opened("vtab", "kitti_closest_vehicle_distance", tmp_path).class_names[3] == "no vehicle"


class TestVersions:
    def test_newest_that_suits(self, tmp_path):
        for version in ("1.0.0", "2.0.0", "2.1.0", "10.0.0"):
            prepared(tmp_path, version=version, sizes={"train": int(version.split(".")[0]) + 1})
        sizes = {value: opened("tfds", value, tmp_path).splits["train"].size
                 for value in ("mine", "mine:*.*.*", "mine:2.*.*", "mine:1.0.0")}  # fmt: skip
        assert sizes == {"mine": 11, "mine:*.*.*": 11, "mine:2.*.*": 3, "mine:1.0.0": 2}

    def test_fingerprints(self, tmp_path):
        def fingerprint(kind, value):
            return opened(kind, value, tmp_path).fingerprint

        hashes = [fingerprint("vtab", task) for task in ("clevr_count_all", "clevr_closest_object_distance", "eurosat")]
        prepared(tmp_path, version="1.0.0")
        prepared(tmp_path, version="1.1.0")
        hashes += [fingerprint("tfds", f"mine:1.{minor}.0") for minor in (0, 1)]
        assert len({*hashes}) == 5
        assert fingerprint("tfds", "mine:1.0.0") == hashes[3]

    def test_one_that_there_is_not(self, tmp_path):
        with pytest.raises(ValueError, match=r"^--source=tfds:cifar10:9.0.0 cannot be opened: .*only: 3.0.2"):
            opened("tfds", "cifar10:9.0.0", tmp_path)

    def test_one_that_does_not_suit(self, tmp_path):
        prepared(tmp_path, "cifar10", "2.0.0")
        with pytest.raises(ValueError, match="cifar10 is not prepared in"):
            opened("tfds", "cifar10", tmp_path).ready()


class TestWrong:
    def refused(self, value, data_dir, message):
        with pytest.raises(ValueError, match=message) as caught:
            opened("tfds", value, data_dir).ready()
        assert str(caught.value).startswith(f"--source=tfds:{value}")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("value, message", [
        ("", "expected NAME"),
        ("huggingface:mnist", "expected NAME"),
        ("cifar10:3", "expected NAME"),
        ("cifr10", "no data set of that name, nor is one of that name and version prepared.*did you mean cifar10 or"),
        ("qqqqqqqq", "check the name"),
        ("eurosat/red", "cannot be opened.*red not found"),
        ("rock_paper_scissors", "sizes are known only once it is prepared; run `python -m trainers.prepare "),
        ("clevr", r"expected the features image .*objects \(Sequence\).* Tasks on it are vtab:clevr_count_all, "),
    ])  # fmt: skip
    def test_name(self, value, message, tmp_path):
        self.refused(value, tmp_path, message)

    @given(st.text(st.characters(codec="ascii", exclude_categories=["C"])).filter(lambda text: not text.isidentifier()))
    def test_any_text(self, text):
        """What is no name is refused in one line, or is a known data set's."""
        try:
            opened("tfds", text, "/nowhere")
        except ValueError as error:
            assert str(error).startswith(f"--source=tfds:{text}")
            assert "\n" not in str(error)

    def test_task(self, tmp_path):
        with pytest.raises(ValueError, match=r"^--source=vtab:imagenet: no such task; expected one of caltech101, "):
            opened("vtab", "imagenet", tmp_path)

    @pytest.mark.parametrize("features, message", [
        ({"label": LABELLED["label"]}, r"there are label \(ClassLabel\)"),
        ({"image": LABELLED["image"], "n": tfds.features.Scalar(np.int64)}, r"there are image \(Image\), n \(Scalar\)"),
        (LABELLED | {"label": tfds.features.Scalar(np.int64)}, r"label \(Scalar\)"),
        (LABELLED | {"image": tfds.features.Image(shape=(8, 8, 1), dtype=np.float32)}, r"an Image of integers"),
    ])  # fmt: skip
    def test_features(self, features, message, tmp_path):
        prepared(tmp_path, features=features)
        self.refused("mine", tmp_path, message)

    def test_sizes(self, tmp_path):
        """Such as of a set that was only begun."""
        prepared(tmp_path, "cifar10", "3.0.2", sizes={"train": 3})
        self.refused("cifar10", tmp_path, "should have train 50,000, test 10,000 .*, but has train 3; remove .*prepare")

    def test_feature_of_a_known_one(self, tmp_path, monkeypatch):
        monkeypatch.setitem(catalog.DATASETS, "mine", catalog.Dataset("mine", "1.*.*", 2, {"train": 5, "test": 2}))
        prepared(tmp_path, features={"image": LABELLED["image"], "class": LABELLED["label"]})
        self.refused("mine", tmp_path, "should have a feature label, but has class, image")

    def test_classes_of_a_known_one(self, tmp_path, monkeypatch):
        monkeypatch.setitem(catalog.DATASETS, "mine", catalog.Dataset("mine", "1.*.*", 3, {"train": 5, "test": 2}))
        prepared(tmp_path)
        self.refused("mine", tmp_path, "should have 3 classes, but has 2")

    def test_format(self, tmp_path):
        info = prepared(tmp_path) / "dataset_info.json"
        info.write_text(info.read_text().replace('"tfrecord"', '"parquet"'))
        self.refused("mine", tmp_path, "prepared in the format parquet, where tfrecord or array_record was expected")

    def test_missing_file(self, tmp_path):
        (prepared(tmp_path) / "mine-train.tfrecord-00001").unlink()
        self.refused("mine", tmp_path, "1 files are missing, such as mine-train.tfrecord-00001")

    def test_damaged_description(self, tmp_path):
        (prepared(tmp_path) / "dataset_info.json").unlink()
        self.refused("mine", tmp_path, "cannot be opened")

    def test_exchanged_file(self, tmp_path):
        folder = prepared(tmp_path)
        (folder / "mine-train.tfrecord-00002").write_bytes((folder / "mine-train.tfrecord-00001").read_bytes())
        with pytest.raises(ValueError, match="00002 has 2 records where TensorFlow Datasets wrote 1"):
            epoch(opened("tfds", "mine", tmp_path).splits["train"])
