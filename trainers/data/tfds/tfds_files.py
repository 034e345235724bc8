"""Examples that TensorFlow Datasets has prepared, read by number from its files."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from keras_vit.errors import UserError
from trainers.data.records import indexing
from trainers.data.records.cached_index import cached
from trainers.data.records.indexing import LabelsOf

Positives = tuple[np.ndarray, np.ndarray]


class Examples(NamedTuple):
    """Serialized examples of a split.

    Args:
        read: Function from an int64 scalar to the example, inside a tf.data graph.
        positives: Function that gives all pairs of an example and a class that it belongs to.
    """

    read: Callable[[tf.Tensor], tf.Tensor]
    positives: Callable[[], Positives]


def tfrecord(builder: Any, split: str, labels_of: LabelsOf, key: str) -> Examples:
    """A split prepared as TFRecord files, which are indexed first.

    Args:
        builder: TFDS's builder of the prepared data set.
        split: Name of the split.
        labels_of: Function, in a graph, from a serialized example to its classes, int64 (k,).
        key: Name of what `labels_of` does, so that what was cached for other labels is not used.

    Raises:
        UserError: if a file is damaged, or holds another number of records than TFDS says.
    """
    info = builder.info.splits[split]
    index = indexing.index_of(_paths(info), labels_of, key)
    counts = np.bincount(index.file_of, minlength=len(info.shard_lengths)).tolist()
    for path, count, expected in zip(index.files, counts, info.shard_lengths, strict=True):
        if count != expected:
            raise UserError(
                f"{path} has {count:,} records where TensorFlow Datasets wrote {expected:,}; prepare again."
            )
    return Examples(indexing.reader(index), lambda: (index.examples, index.classes))


def array_record(builder: Any, split: str, labels_of: LabelsOf, key: str) -> Examples:
    """A split prepared as ArrayRecord files, which have an index of their own. The arguments are `tfrecord`'s."""
    import tensorflow_datasets as tfds

    raw = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)

    def read(number: tf.Tensor):
        data = tf.numpy_function(lambda number: raw[int(number)], [number], tf.string, stateful=False)
        return tf.ensure_shape(data, ())

    def positives():
        pairs = cached(_paths(builder.info.splits[split]), f"classes {key}", lambda _: _scan(len(raw), read, labels_of))
        return pairs["examples"], pairs["classes"]

    return Examples(read, positives)


def parser(builder: Any, wanted: Mapping[str, Any]) -> Callable[[tf.Tensor], dict[str, Any]]:
    """From a serialized example to some of its features.

    Args:
        builder: TFDS's builder of the data set.
        wanted: The features, in the form of `tfds.decode.PartialDecoding`. The image stays encoded.
    """
    import tensorflow_datasets as tfds

    decoders = {"image": tfds.decode.SkipDecoding()} if "image" in wanted else None
    features = tfds.decode.PartialDecoding(wanted).extract_features(builder.info.features)
    return lambda data: features.deserialize_example(data, decoders=decoders)


def places(info: Any) -> Callable[[int], str]:
    """Where an example of a split, given by TFDS's info of it, is for people: the file, and its number in that."""
    paths, begins = _paths(info), np.cumsum([0, *info.shard_lengths])  # TFDS makes them anew each time, slowly

    def place(number: int) -> str:
        file = int(np.searchsorted(begins, number, side="right")) - 1
        return f"{paths[file]}, record {number - begins[file]}"

    return place


def format_of(builder: Any) -> str:
    """What TFDS calls the format of a prepared data set's files."""
    return builder.info.file_format.value if builder.info.file_format else "tfrecord"


def missing(builder: Any, splits: Mapping[str, int]) -> list[str]:
    """Names of files of some splits that are not there."""
    there = set(tf.io.gfile.listdir(str(builder.data_dir)))
    return [name for split in splits for name in builder.info.splits[split].filenames if name not in there]


def _paths(info: Any) -> list[str]:
    return [str(path) for path in info.filepaths]


def _scan(size: int, read: Callable[[tf.Tensor], tf.Tensor], labels_of: LabelsOf) -> dict[str, np.ndarray]:
    """Reads the labels of a whole split."""
    labels = tf.data.Dataset.range(size).map(lambda number: labels_of(read(number)), tf.data.AUTOTUNE)
    per_example = [classes.numpy() for classes in tqdm(labels, "Reading labels", size, unit="example", delay=1)]
    counts = [len(classes) for classes in per_example]
    return {"examples": np.repeat(np.arange(size), counts), "classes": np.concatenate(per_example)}


# By what TFDS calls the format.
FORMATS = {"tfrecord": tfrecord, "array_record": array_record}
