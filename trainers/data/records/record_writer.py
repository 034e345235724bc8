"""Writes any source as a set of sharded record files, which are read by number without an index to build first.

Written in the source's order; training shuffles truly, whatever the order is. Shards are put in place one after the
other, whole or not at all, so that a run that was killed goes on at the first missing one.
"""

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from keras_vit.errors import UserError
from trainers import files
from trainers.data.records import indexing, record_set
from trainers.data.records.cached_index import UNREADABLE, write_arrays
from trainers.data.records.shard_plan import ShardPlan
from trainers.data.records.shard_writer import Part, Rules, write_shards
from trainers.data.source import Source

_FINAL = re.compile(r".+-\d{5}-of-\d{5}\.tfrecord|.+\.index\.npz|bad_images\.csv")
# While a set is being written.
_PASSING = re.compile(
    r"\..+\.tfrecord\.part\.npz|\..+\.(tfrecord|npz|csv|json)(-[0-9a-f]{8})?\.partial|\..+-[a-z0-9_]{8}\.(npz|csv|json)"
)


class Written(NamedTuple):
    """A split as it was written: its examples, files and bytes, and how many examples could not be read."""

    examples: int
    shards: int
    bytes: int
    bad: int


def write(
    source: Source, plans: Sequence[ShardPlan], folder: str, rules: Rules, overwrite: bool = False
) -> dict[str, Written]:
    """Writes a set, or what is missing of it.

    Args:
        source: Opened source.
        plans: Plans of the splits, with names of their own.
        folder: Folder for the set; anything that tf.io.gfile understands.
        rules: Rules about images that cannot be read; those that are left out are listed in bad_images.csv.
        overwrite: Whether a set that is there, or the beginning of another, is removed first.

    Returns:
        By name of the split.

    Raises:
        UserError: if the folder holds something else, or labels are shares of classes.
        BadImage: naming the image that cannot be read, or some where they are too many.
    """
    check(source, plans, folder, rules, overwrite)
    if not _goes_on(folder, _marker(source, plans, rules)):
        _clear(folder)
    files.make_folder(folder)
    files.write_json(os.path.join(folder, record_set.UNFINISHED), _marker(source, plans, rules))
    parts = {plan.name: write_shards(plan, folder, rules) for plan in plans}
    _complete(source, plans, folder, parts)
    _remove(folder, _PASSING)
    files.remove(os.path.join(folder, record_set.UNFINISHED))
    return {
        name: Written(
            sum(len(part.lengths) for part in of_split),
            len(of_split),
            sum(part.bytes for part in of_split),
            sum(len(part.bad) for part in of_split),
        )
        for name, of_split in parts.items()
    }


def check(source: Source, plans: Sequence[ShardPlan], folder: str, rules: Rules, overwrite: bool) -> None:
    """Raises UserError if the set may not be written into a folder, for what the folder holds."""
    if files.exists(folder) and not files.is_folder(folder):
        raise UserError(f"--output={folder} is a file; name a folder.")
    names = [name for name in files.names(folder) if not name.startswith(".")]
    ours = record_set.exists(folder) or record_set.begun(folder)
    if not names or (overwrite and ours) or _goes_on(folder, _marker(source, plans, rules)):
        return
    if record_set.exists(folder):
        what = "a finished set of records; use it, or add --overwrite to replace it"
    elif record_set.begun(folder):
        what = (
            "the beginning of another set, of other data, or with other --splits, --shard_megabytes or --verify; add "
            "--overwrite to replace it, or name another folder"
        )
    else:
        what = f"{', '.join(names[:3])}, which are no set of records; name another folder"
    raise UserError(f"--output={folder} holds {what}.")


def _marker(source: Source, plans: Sequence[ShardPlan], rules: Rules) -> dict[str, Any]:
    """What must be the same for shards to be the same."""
    return {
        "format": record_set.FORMAT,
        "of": source.fingerprint or source.name,
        "splits": {plan.name: [plan.expression, plan.split.size, plan.shards] for plan in plans},
        "verify": rules.verify,
    }


def _goes_on(folder: str, marker: dict[str, Any]) -> bool:
    """Whether a folder holds the beginning of this very set."""
    if record_set.exists(folder) or not record_set.begun(folder):
        return False
    try:
        return record_set.read_json(os.path.join(folder, record_set.UNFINISHED)) == marker
    except UNREADABLE:
        return False


def _clear(folder: str) -> None:
    """Removes a set, or the beginning of one; what says that it is whole first. Other files stay."""
    if record_set.exists(folder):
        files.remove(os.path.join(folder, record_set.DESCRIPTION))
    elif not record_set.begun(folder):
        return
    _remove(folder, _FINAL)
    _remove(folder, _PASSING)


def _remove(folder: str, names: re.Pattern) -> None:
    for name in files.names(folder):
        if names.fullmatch(name):
            files.remove(os.path.join(folder, name))


def _complete(source: Source, plans: Sequence[ShardPlan], folder: str, parts: Mapping[str, Sequence[Part]]) -> None:
    """Writes all that is not records: indices, the list of bad images, and last what the set says of itself."""
    splits = {}
    for plan in plans:
        of_split = parts[plan.name]
        columns = ([getattr(part, key) for part in of_split] for key in ("lengths", "counts", "classes"))
        arrays = indexing.arranged(*columns)
        write_arrays(os.path.join(folder, record_set.index_name(plan.name)), arrays)
        sizes = [part.bytes for part in of_split]
        splits[plan.name] = {"of": plan.expression, "examples": len(arrays["lengths"]), "bytes": sizes}
    _list_bad(folder, [part for of_split in parts.values() for part in of_split])
    description = record_set.Description(
        name=source.name,
        channels=source.channels,
        num_classes=source.num_classes,
        class_names=source.class_names,
        several_labels=source.several_labels,
        splits=splits,
        features={"image": record_set.IMAGE, "label": record_set.LABEL},
    )
    files.write_json(os.path.join(folder, record_set.DESCRIPTION), description._asdict())


def _list_bad(folder: str, parts: Sequence[Part]) -> None:
    """Lists the images that were left out, if there are any."""
    rows = [pair for part in parts for pair in part.left_out()]
    if rows:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("file", "reason"), *rows])
        files.write_text(os.path.join(folder, record_set.BAD_IMAGES), text.getvalue())
