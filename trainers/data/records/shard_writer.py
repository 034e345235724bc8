"""Writes the record files of one split, going on at the first that is missing."""

import itertools
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from keras_vit.errors import UserError
from trainers.data import images
from trainers.data.attempt import attempt
from trainers.data.bad_images import BadImage, why
from trainers.data.records import record_set
from trainers.data.records.cached_index import UNREADABLE, read_arrays, write_arrays
from trainers.data.records.indexing import FRAME
from trainers.data.records.shard_plan import ShardPlan, encoded


class Rules(NamedTuple):
    """What is to be done about images that cannot be read.

    Args:
        on_bad_image: `fail`, or `skip` to leave them out.
        max_bad_share: Share of a split, with `skip`, beyond which writing stops all the same.
        verify: Whether every image is decoded; otherwise only reading can fail.
    """

    on_bad_image: str = "fail"
    max_bad_share: float = 0.01
    verify: bool = True


class Part(NamedTuple):
    """What is known of a shard's N records, and of the examples that it should have had as well.

    Args:
        lengths: int64 (N,): bytes of each.
        counts: int64 (N,): number of classes of each.
        classes: int64 (M,): those of all records, one after the other.
        bad: Places of the examples that could not be read.
        reasons: Reasons why each could not.
    """

    lengths: np.ndarray
    counts: np.ndarray
    classes: np.ndarray
    bad: np.ndarray
    reasons: np.ndarray

    @property
    def bytes(self) -> int:
        return int((self.lengths + FRAME).sum())

    def left_out(self) -> list[tuple[str, str]]:
        """Where each example is that could not be read, with the reason."""
        return list(zip(self.bad.tolist(), self.reasons.tolist(), strict=True))


_TYPES = {"lengths": "int64", "counts": "int64", "classes": "int64", "bad": "str", "reasons": "str"}


def write_shards(plan: ShardPlan, folder: str, rules: Rules) -> list[Part]:
    """Writes what is missing of a split, with a bar.

    Returns:
        Part of each shard: what is known of it.

    Raises:
        BadImage: naming the image that cannot be read, or some where they are too many.
        UserError: if labels are shares of classes.
    """
    parts: list[Part] = []
    while len(parts) < plan.shards and (part := _present(folder, plan, len(parts))):
        parts.append(part)
    bad = [pair for part in parts for pair in part.left_out()]
    _check_bad(bad, plan, rules)
    start = plan.begin(len(parts))
    rows = enumerate(_rows(plan, start, rules.verify), start)
    with tqdm(total=plan.split.size, initial=start, desc=f"Writing {plan.name}", unit="image", delay=1) as bar:
        for shard in range(len(parts), plan.shards):
            count = plan.begin(shard + 1) - plan.begin(shard)
            part = _write_shard(folder, plan, shard, _watched(itertools.islice(rows, count), bar))
            parts.append(part)
            bad += part.left_out()
            _check_bad(bad, plan, rules)
            # Last, so that a shard of which it says something is whole.
            write_arrays(_part_path(folder, plan, shard), part._asdict())
    return parts


def _part_path(folder: str, plan: ShardPlan, shard: int) -> str:
    """Where it is kept what is known of a shard, until all are there."""
    return os.path.join(folder, f".{record_set.shard_name(plan.name, shard, plan.shards)}.part.npz")


def _present(folder: str, plan: ShardPlan, shard: int) -> Part | None:
    """What is known of a shard that was written, or None."""
    try:
        part = Part(**read_arrays(_part_path(folder, plan, shard)))
        written = tf.io.gfile.stat(os.path.join(folder, record_set.shard_name(plan.name, shard, plan.shards)))
        return part if written.length == part.bytes else None
    except (TypeError, *UNREADABLE):
        return None


def _rows(plan: ShardPlan, start: int, verify: bool) -> Iterator[tuple]:
    """(whether it could be read, encoded image, label) of the examples from `start` on, in order."""
    _, label_spec = tf.data.Dataset.range(1).map(plan.split.read).element_spec

    def row(index: tf.Tensor):
        image, label = plan.split.read(index)
        # The pixels' number is asked for, or they would not be decoded.
        pixels = tf.size(images.decode(image, plan.split.channels)) if verify else 1
        return pixels > 0, encoded(image), label

    def bad_row(index: tf.Tensor):
        return False, tf.constant(b""), tf.zeros(label_spec.shape, label_spec.dtype)

    numbers = tf.data.Dataset.range(start, plan.split.size)
    rows = numbers.map(lambda index: attempt(row, bad_row, index), tf.data.AUTOTUNE, deterministic=True)
    return rows.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()


def _watched(rows: Iterator, bar: tqdm) -> Iterator:
    for row in rows:
        yield row
        bar.update()


def _write_shard(folder: str, plan: ShardPlan, shard: int, rows: Iterator) -> Part:
    """Writes a file of records, whole or not at all."""
    path = os.path.join(folder, record_set.shard_name(plan.name, shard, plan.shards))
    temporary = os.path.join(folder, f".{os.path.basename(path)}.partial")
    columns: dict[str, list] = {name: [] for name in Part._fields}
    with tf.io.TFRecordWriter(temporary) as file:
        for number, (good, image, label) in rows:
            place = plan.split.locate(number)
            if not good:
                columns["bad"].append(place)
                columns["reasons"].append(why(plan.split, number))
                continue
            labels = _classes(label, place)
            record = _record(image, labels, number, place)
            file.write(record)
            columns["lengths"].append(len(record))
            columns["counts"].append(len(labels))
            columns["classes"] += labels
    tf.io.gfile.rename(temporary, path, overwrite=True)
    return Part(**{name: np.array(column, _TYPES[name]) for name, column in columns.items()})


def _classes(label: np.ndarray, place: str) -> list[int]:
    """The classes of an example, from its class or from 0 and 1 for each."""
    if label.ndim == 0:
        return [int(label)]
    if not ((label == 0) | (label == 1)).all():
        raise UserError(f"{place} belongs to classes in shares; records hold whole classes only.")
    return np.flatnonzero(label).tolist()


def _record(image: bytes, labels: list[int], number: int, name: str) -> bytes:
    features = {
        record_set.IMAGE: tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        record_set.LABEL: tf.train.Feature(int64_list=tf.train.Int64List(value=labels)),
        record_set.NUMBER: tf.train.Feature(int64_list=tf.train.Int64List(value=[number])),
        record_set.NAME: tf.train.Feature(bytes_list=tf.train.BytesList(value=[name.encode()])),
    }
    # By default the order of features would change from run to run.
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def _check_bad(bad: Sequence[tuple[str, str]], plan: ShardPlan, rules: Rules) -> None:
    """Raises BadImage if one may not be left out, or there are too many."""
    if not bad:
        return
    place, reason = bad[0]
    if rules.on_bad_image == "fail":
        raise BadImage(
            f"{place} cannot be read: {reason}. Mend or remove it, or give --on_bad_image=skip to leave such images "
            "out."
        )
    if len(bad) > rules.max_bad_share * plan.split.size:
        raise BadImage(
            f"{len(bad):,} of the {plan.split.size:,} images of {plan.name} cannot be read, more than "
            f"--max_bad_share={rules.max_bad_share:g}. The first: {place}, {reason}."
        )
