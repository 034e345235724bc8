"""The source `tfrecord:GLOB`: record files that we wrote (`python -m trainers.prepare`), or that anybody else did."""

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from keras_vit.errors import UserError, reason
from trainers import files
from trainers.data.files.paths import SPLIT_WORDS
from trainers.data.records import indexing, record_set
from trainers.data.source import Source, Split, multi_hot
from trainers.settings.data import SourceSettings

_WORD = re.compile(rf"(?<![a-z])({'|'.join(SPLIT_WORDS)})(?![a-z])", re.IGNORECASE)
_SHARD = re.compile(r"(.*)-(\d+)-of-(\d+)(.*)", re.DOTALL)
_RECORDS = re.compile(r".*(\.(tf)?rec(ord)?s?|-\d+-of-\d+)(\.gz)?", re.IGNORECASE | re.DOTALL)
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
    except files.ERRORS as error:
        raise UserError(f"--source=tfrecord:{value} cannot be read: {reason(error)}.") from error


def _written(folder: str, settings: SourceSettings) -> Source:
    """A set of ours, which says what it is."""
    description = record_set.read(folder)
    features = {"image": settings.image_feature, "label": settings.label_feature}
    if features != description.features:
        shown = " ".join(f"--{key}_feature={name}" for key, name in description.features.items())
        raise UserError(f"features of other names were asked for; its are {shown}.")
    labels_of = _labels_of(description.features["label"])
    indices = {name: record_set.index(folder, name, description, labels_of) for name in description.splits}
    for name, index in indices.items():
        if index.size != description.splits[name]["examples"]:
            raise UserError(
                f"{name} has {index.size:,} records, not {description.splits[name]['examples']:,} as written."
            )
    return Source(
        f"tfrecord:{folder}",
        description.channels,
        description.num_classes,
        None if description.class_names is None else tuple(description.class_names),
        _splits(indices, settings, description.num_classes, description.several_labels),
        several_labels=description.several_labels,
        fingerprint=_fingerprint(indices),
    )


def _foreign(value: str, settings: SourceSettings) -> Source:
    """Files of which nothing is known but their features' names."""
    files = record_files(value)
    by_split = divided(files)
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


def record_files(value: str) -> list[str]:
    """The files that are meant, by name; of a folder, those whose names look like records, and no shard missing."""
    if tf.io.gfile.isdir(value):
        names = [name for name in tf.io.gfile.listdir(value) if _RECORDS.fullmatch(name) and name[0] != "."]
        _check_shards(names)
        files = [os.path.join(value, name) for name in names]
    else:
        files = [file for file in tf.io.gfile.glob(value) if not tf.io.gfile.isdir(file)]
    if not files:
        raise UserError("no record files there; name a file, a pattern, or a folder of *.tfrecord or *-00000-of-00010.")
    return sorted(files)


def _check_shards(names: Sequence[str]) -> None:
    """Raises UserError if, of shards such as train-00000-of-00010, some are not there."""
    matches = [match for name in names if (match := _SHARD.fullmatch(name))]
    for stem, count, end in sorted({(match[1], match[3], match[4]) for match in matches}):
        present = {int(match[2]) for match in matches if (match[1], match[3], match[4]) == (stem, count, end)}
        missing = [number for number in range(int(count)) if number not in present]
        if missing:
            first = f"{stem}-{missing[0]:0{len(count)}d}-of-{count}{end}"
            raise UserError(
                f"{len(missing):,} of {int(count):,} shards are missing, {first} first; fetch them, or name the files "
                "by a pattern to do without."
            )


def divided(files: Sequence[str]) -> dict[str, list[str]]:
    """The files of each split, by the last word for one in their names; all are `train` if no name has any."""
    words = {file: [SPLIT_WORDS[word.lower()] for word in _WORD.findall(os.path.basename(file))] for file in files}
    if not any(words.values()):
        return {"train": list(files)}
    unnamed = next((file for file in files if not words[file]), None)
    if unnamed is not None:
        raise UserError(f"the name of {unnamed} says no split, as those of others do; leave it out or rename it.")
    order = dict.fromkeys(SPLIT_WORDS.values())
    by_split = {name: [file for file in files if words[file][-1] == name] for name in order}
    return {name: members for name, members in by_split.items() if members}


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
        place = index.locate(int(index.examples[negative[0]]))
        raise UserError(f"{place}, has label {index.classes[negative[0]]} in {feature}; classes are counted from 0.")


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

    def read(number: tf.Tensor):
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
