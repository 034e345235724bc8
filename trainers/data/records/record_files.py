"""Record files by their names: which are meant, and which split each belongs to."""

import os
import re
from collections.abc import Sequence

import tensorflow as tf

from keras_vit.errors import UserError
from trainers.data.files.paths import SPLIT_WORDS

_WORD = re.compile(rf"(?<![a-z])({'|'.join(SPLIT_WORDS)})(?![a-z])", re.IGNORECASE)
_SHARD = re.compile(r"(.*)-(\d+)-of-(\d+)(.*)", re.DOTALL)
_RECORDS = re.compile(r".*(\.(tf)?rec(ord)?s?|-\d+-of-\d+)(\.gz)?", re.IGNORECASE | re.DOTALL)


def meant(value: str) -> list[str]:
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
