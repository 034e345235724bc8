"""TFRecord files read by number, through an index of where each record begins.

A record is 8 bytes of length, 4 of the length's CRC, the data, and 4 of the data's CRC.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from keras_vit.errors import UserError, reason
from trainers.data.records.cached_index import cached

# In a graph, from a record's data (scalar string) to its classes, int64 (k,).
LabelsOf = Callable[[tf.Tensor], tf.Tensor]

FRAME = 16  # bytes that a record takes beside its data
_FORMAT = 1  # of what is cached; another number has every index built again
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gzip -dc"),
    **dict.fromkeys((b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"), ("zlib", "pigz -dc")),
}  # magic bytes, name, command that unpacks


class Index(NamedTuple):
    """Where each of N records begins, and the classes that they belong to.

    Args:
        files: Paths.
        file_of: int32 (N,), ascending: number of the file that a record is in.
        offsets: int64 (N,): where it begins there.
        lengths: int64 (N,): bytes of its data.
        examples: int64 (M,), ascending, and
        classes: int64 (M,): all pairs of a record and a class it belongs to.
    """

    files: tuple[str, ...]
    file_of: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    examples: np.ndarray
    classes: np.ndarray

    @property
    def size(self) -> int:
        return len(self.offsets)

    def locate(self, number: int) -> str:
        """Where a record is to be found, for people: the file, and the record's number in it."""
        file = self.file_of[number]
        return f"{self.files[file]}, record {number - np.searchsorted(self.file_of, file)}"

    def fingerprint(self) -> str:
        """The same for records of the same lengths and classes in files of the same names."""
        digest = hashlib.sha256("\n".join(map(os.path.basename, self.files)).encode())
        for array in self[1:]:
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]


def reader(index: Index) -> Callable[[tf.Tensor], tf.Tensor]:
    """Reads a record by its number.

    Returns:
        A function from an int64 scalar to the record's data, for use inside a tf.data graph. Records do not wait for
        each other there. Damaged ones raise DataLossError.
    """
    with tf.device("CPU"):  # as tensors that graphs refer to; arrays would become part of them, up to 2 GB
        files, file_of = tf.constant(index.files, tf.string), tf.constant(index.file_of)
        offsets, lengths = tf.constant(index.offsets), tf.constant(index.lengths)

    def read(number: tf.Tensor):
        dataset = tf.raw_ops.TFRecordDatasetV2(
            filenames=files[file_of[number]][None],
            compression_type="",
            buffer_size=lengths[number] + FRAME,  # so that a record costs one request to a bucket
            byte_offsets=offsets[number][None],
        )
        kind = {"output_types": [tf.string], "output_shapes": [()]}
        first = tf.raw_ops.TakeDataset(input_dataset=dataset, count=tf.constant(1, tf.int64), **kind)
        return tf.raw_ops.DatasetToSingleElement(dataset=first, **kind)[0]

    return read


def index_of(files: Sequence[str], labels_of: LabelsOf, key: str) -> Index:
    """Where each record of TFRecord files begins, and its classes; found out once, with a bar, and cached in a file.

    Args:
        files: Paths, of anything that tf.io.gfile understands.
        labels_of: Function, in a graph, from a record's data (scalar string) to its classes, int64 (k,).
        key: Name of what `labels_of` does, so that what was cached for another meaning of labels is not used.

    Raises:
        UserError: naming file and record, if one is damaged, cut short or compressed, or `labels_of` fails.
    """
    arrays = cached(files, f"records {_FORMAT} {key}", lambda sizes: _scan(files, sizes, labels_of))
    return Index(tuple(files), **arrays)


def _scan(files: Sequence[str], sizes: Sequence[int], labels_of: LabelsOf) -> dict[str, np.ndarray]:
    """Reads whole files, several at a time."""
    lengths: list[list[np.ndarray]] = [[] for _ in files]
    counts: list[list[np.ndarray]] = [[] for _ in files]
    classes: list[list[np.ndarray]] = [[] for _ in files]
    with tqdm(total=sum(sizes), desc="Indexing records", unit="B", unit_scale=True, delay=1) as bar:
        try:
            for number, batch, labels in _batches(files, labels_of):
                lengths[number].append(batch.numpy())
                counts[number].append(labels.row_lengths().numpy())
                classes[number].append(labels.flat_values.numpy())
                bar.update(int(batch.numpy().sum()) + FRAME * len(batch))
        except tf.errors.InvalidArgumentError as error:
            raise _without_labels(files, labels_of, error) from error
    by_file = [_joined(parts) for parts in lengths]
    for file, size, of_file in zip(files, sizes, by_file, strict=True):
        _check_whole(file, size, of_file)
    return arranged(by_file, [_joined(parts) for parts in counts], [_joined(parts) for parts in classes])


def arranged(
    lengths: Sequence[np.ndarray], counts: Sequence[np.ndarray], classes: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """The arrays of an `Index`.

    Args:
        lengths: Lengths of the records of each file, int64.
        counts: Number of classes of each record of each file, int64.
        classes: Classes of the records of each file, one after the other, int64.
    """
    per_record = _joined(counts)
    return {
        "file_of": np.repeat(np.arange(len(lengths), dtype="int32"), [len(of_file) for of_file in lengths]),
        "offsets": _joined([np.cumsum(of_file + FRAME) - of_file - FRAME for of_file in lengths]),
        "lengths": _joined(lengths),
        "examples": np.repeat(np.arange(len(per_record)), per_record),
        "classes": _joined(classes),
    }


def _batches(files: Sequence[str], labels_of: LabelsOf) -> tf.data.Dataset:
    """(number of the file, lengths (B,), ragged classes (B, None)) of records that follow each other in a file."""

    def of_file(number: tf.Tensor, file: tf.Tensor):
        # A damaged record ends its file; how far the records that were read reach says so, and says where.
        records = tf.data.TFRecordDataset(file, buffer_size=4 << 20).ignore_errors()
        records = records.map(lambda data: (_length(data), _of_any_count(labels_of(data))))
        return records.ragged_batch(256).map(lambda length, labels: (number, length, labels))

    numbered = tf.data.Dataset.from_tensor_slices((list(range(len(files))), list(files)))
    return numbered.interleave(of_file, cycle_length=min(len(files), 16), num_parallel_calls=tf.data.AUTOTUNE)


def _length(data: tf.Tensor):
    return tf.cast(tf.strings.length(data), tf.int64)


def _of_any_count(labels: tf.Tensor):
    """As they are; a graph that knew there to be one label in each record would batch them as (B, 1), not as ragged."""
    return tf.raw_ops.PlaceholderWithDefault(input=labels, shape=(None,))


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, "int64")


def _check_whole(file: str, size: int, lengths: np.ndarray) -> None:
    """Raises UserError unless a file's records reach to its end."""
    reached = int((lengths + FRAME).sum())
    if reached == size:
        return
    with tf.io.gfile.GFile(file, "rb") as content:
        kind, command = _COMPRESSED.get(content.read(2), ("", ""))
    if kind and not len(lengths):
        raise UserError(
            f"{file} is compressed with {kind}, and compressed records cannot be read by number; unpack it, as by "
            f"`{command} FILE > NEW_FILE`, and name what was unpacked."
        )
    raise UserError(
        f"{file} is damaged, cut short, or no TFRecord file: record {len(lengths):,}, at byte {reached:,} of {size:,}, "
        "cannot be read. Fetch or write the file again, or leave it out."
    )


def _without_labels(files: Sequence[str], labels_of: LabelsOf, error: tf.errors.OpError) -> UserError:
    """The error that names the first record whose labels cannot be read: looked for only now, one by one."""
    for file in files:
        done = 0
        try:
            for data in tf.data.TFRecordDataset(file).ignore_errors():
                labels_of(data)
                done += 1
        except tf.errors.InvalidArgumentError as failure:
            return UserError(f"The labels of {file}, record {done:,}, cannot be read: {reason(failure)}.")
    return UserError(f"The labels of {files[0]} or a file beside it cannot be read: {reason(error)}.")
