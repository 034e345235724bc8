"""The source `tfrecord:GLOB`: record files that we wrote (`python -m trainers.prepare`), or that anybody else did."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from keras_vit.errors import UserError
from trainers.data.records import indexing, record_files, record_set
from trainers.data.source import Source, Split, multi_hot
from trainers.settings.data import SourceSettings

_KINDS = {"bytes_list": "bytes", "float_list": "floats", "int64_list": "integers"}


def tfrecord(value: str, settings: SourceSettings) -> Source:
    """Records of an encoded image and its class, or classes.

    Args:
        value: A folder, a file, or a pattern.
        settings: `image_feature` and `label_feature` name the features that hold them.

    Raises:
        UserError: if there are no such files, they cannot be read by number, or hold other features.
    """
    try:
        if not value:
            raise UserError("a folder, a file or a pattern is needed, as in tfrecord:data/train-*.")
        folder = value if tf.io.gfile.isdir(value) else os.path.dirname(value) or "."
        if not record_set.exists(folder):
            if folder == value and record_set.begun(folder):
                raise UserError("the set is unfinished; the command that began it goes on where it stopped.")
            return _foreign(value, settings)
        if folder != value:
            raise UserError(f"name the folder, tfrecord:{folder}: what is in it is a set, with splits to choose from.")
        return _written(folder, settings)
    except UserError as error:
        raise UserError(f"--source=tfrecord:{value}: {error}") from error


def _written(folder: str, settings: SourceSettings) -> Source:
    """A set of ours, which says what it is."""
    found = record_set.read(folder)
    asked = {"image": settings.image_feature, "label": settings.label_feature}
    if asked != found.features:
        shown = " ".join(f"--{key}_feature={name}" for key, name in found.features.items())
        raise UserError(f"features of other names were asked for; its are {shown}.")
    labels_of = _labels_of(found.features["label"])
    indices = {name: record_set.index(folder, name, found, labels_of) for name in found.splits}
    for name, index in indices.items():
        if index.size != found.splits[name]["examples"]:
            raise UserError(f"{name} has {index.size:,} records, not {found.splits[name]['examples']:,} as written.")
    return Source(
        f"tfrecord:{folder}",
        found.channels,
        found.num_classes,
        None if found.class_names is None else tuple(found.class_names),
        _splits(indices, settings, found.num_classes, found.several_labels),
        several_labels=found.several_labels,
        fingerprint=_fingerprint(indices),
    )


def _foreign(value: str, settings: SourceSettings) -> Source:
    """Files of which nothing is known but their features' names."""
    files = record_files.meant(value)
    by_split = record_files.divided(files)
    _check_features(files, settings)
    labels_of, key = _labels_of(settings.label_feature), f"integers {settings.label_feature}"
    indices = {name: indexing.index_of(members, labels_of, key) for name, members in by_split.items()}
    indices = {name: index for name, index in indices.items() if index.size}
    if not indices:
        raise UserError("the files hold no records.")
    for index in indices.values():
        _check_classes(index, settings.label_feature)
    classes = [index.classes for index in indices.values()]
    if not any(map(len, classes)):
        raise UserError(f"no record has a label; --label_feature={settings.label_feature} is empty in all of them.")
    num_classes = 1 + max(int(of_split.max()) for of_split in classes if len(of_split))
    # As many pairs as records are not enough: one record may have none, and another two.
    several = any(not np.array_equal(index.examples, np.arange(index.size)) for index in indices.values())
    return Source(
        f"tfrecord:{value}",
        3,
        num_classes,
        None,
        _splits(indices, settings, num_classes, several),
        several_labels=several,
        fingerprint=_fingerprint(indices),
    )


def _check_features(files: Sequence[str], settings: SourceSettings) -> None:
    """Raises UserError unless the first record has what is asked for; one that is damaged is found later."""
    try:
        data = next(iter(tf.data.TFRecordDataset(files).take(1)), None)
    except tf.errors.DataLossError:
        return
    if data is None:
        return
    try:
        features = tf.train.Example.FromString(data.numpy()).features.feature
    except Exception as error:  # protobuf's own, whose package is not ours to import
        raise UserError(f"the first record of {files[0]} is no tf.train.Example: {error}.") from error
    kinds = {name: _KINDS.get(feature.WhichOneof("kind"), "empty") for name, feature in features.items()}
    wanted = {"image": (settings.image_feature, "bytes"), "label": (settings.label_feature, "integers")}
    for flag, (name, kind) in wanted.items():
        if kinds.get(name) != kind:
            there = ", ".join(f"{other} ({kinds[other]})" for other in sorted(kinds)) or "none"
            raise UserError(f"--{flag}_feature={name} must be a feature of {kind}; the first record has {there}.")


def _check_classes(index: indexing.Index, feature: str) -> None:
    negative = np.flatnonzero(index.classes < 0)
    if len(negative):
        where = index.locate(int(index.examples[negative[0]]))
        raise UserError(f"{where}, has label {index.classes[negative[0]]} in {feature}; classes are counted from 0.")


def _labels_of(feature: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """From a record to its classes, int64 (k,)."""
    spec = {feature: tf.io.VarLenFeature(tf.int64)}
    return lambda data: tf.io.parse_single_example(data, spec)[feature].values


def _splits(
    indices: Mapping[str, indexing.Index], settings: SourceSettings, num_classes: int, several: bool
) -> dict[str, Split]:
    return {name: _split(index, settings, num_classes, several) for name, index in indices.items()}


def _split(index: indexing.Index, settings: SourceSettings, num_classes: int, several: bool) -> Split:
    data_of, labels_of = indexing.reader(index), _labels_of(settings.label_feature)
    image = {settings.image_feature: tf.io.FixedLenFeature((), tf.string)}

    def read(number):
        data = data_of(number)
        classes = labels_of(data)
        label = multi_hot(classes, num_classes) if several else classes[0]
        return tf.io.parse_single_example(data, image)[settings.image_feature], label

    total = int(index.lengths.sum())
    return Split(index.size, read, lambda: (index.examples, index.classes), index.locate, total)


def _fingerprint(indices: Mapping[str, indexing.Index]) -> str:
    digest = hashlib.sha256()
    for name, index in indices.items():
        digest.update(f"{name} {index.fingerprint()} ".encode())
    return digest.hexdigest()[:16]
