"""A set of record files as we write it: what its files are called, and what it says of itself."""

import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from keras_vit.errors import UserError
from trainers import files as whole_files
from trainers.data.records import indexing
from trainers.data.records.cached_index import UNREADABLE, read_arrays, sizes_and_times

FORMAT = 1
DESCRIPTION = "dataset.json"  # written last: a set that has it is whole
UNFINISHED = "unfinished.json"  # while it is being written: of which examples
BAD_IMAGES = "bad_images.csv"
IMAGE, LABEL, NUMBER, NAME = "image", "label", "id", "name"  # features of a record


class Description(NamedTuple):
    """What a set says of itself.

    Args:
        name: Name of the source that it was written from.
        channels: Channels of its images.
        num_classes: Y.
        class_names: One per class, in label order; None where nobody knows them.
        several_labels: Whether an example may belong to several classes.
        splits: Number of `examples` of each split, the size of each shard in `bytes`, and what it is `of` the source.
        features: Names of the features that hold the encoded image and the classes.
        format: Version of all this.
    """

    name: str
    channels: int
    num_classes: int
    class_names: Sequence[str] | None
    several_labels: bool
    splits: dict[str, dict[str, Any]]
    features: dict[str, str]
    format: int = FORMAT


def shard_name(split: str, shard: int, shards: int) -> str:
    return f"{split}-{shard:05d}-of-{shards:05d}.tfrecord"


def index_name(split: str) -> str:
    return f"{split}.index.npz"


def exists(folder: str) -> bool:
    """Whether a folder holds a set of ours that is whole."""
    return whole_files.exists(os.path.join(folder, DESCRIPTION))


def begun(folder: str) -> bool:
    """Whether a folder holds the beginning of one."""
    return whole_files.exists(os.path.join(folder, UNFINISHED))


def read(folder: str) -> Description:
    """What a set says of itself.

    Raises:
        UserError: if that cannot be read, or is of another version.
    """
    path = os.path.join(folder, DESCRIPTION)
    try:
        description = Description(**read_json(path))
    except (TypeError, *UNREADABLE) as error:
        raise UserError(f"{path} is damaged ({error}); write the set again, or fetch that file.") from error
    if description.format != FORMAT:
        raise UserError(
            f"{path} is of format {description.format}, not {FORMAT}; write the set again with this version."
        )
    return description


def read_json(path: str) -> Any:
    return json.loads(whole_files.read_text(path))


def index(folder: str, split: str, description: Description, labels_of: indexing.LabelsOf) -> indexing.Index:
    """Where the records of a split begin: as kept when they were written, or found out again if that has been lost.

    Args:
        folder: Folder of the set.
        split: Name of the split.
        description: Description of the set.
        labels_of: Function as for `indexing.index_of`.

    Raises:
        UserError: if a shard is missing, or not as it was written.
    """
    written = description.splits[split]["bytes"]
    files = [os.path.join(folder, shard_name(split, shard, len(written))) for shard in range(len(written))]
    for file, size, expected in zip(files, sizes_and_times(files)[0], written, strict=True):
        if size != expected:
            raise UserError(f"{file} has {size:,} bytes, but {expected:,} were written; fetch or write it again.")
    try:
        return indexing.Index(tuple(files), **read_arrays(os.path.join(folder, index_name(split))))
    except (TypeError, *UNREADABLE):
        return indexing.index_of(files, labels_of, "written")
