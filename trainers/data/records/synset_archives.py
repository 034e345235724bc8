"""The source `synset_archives:DIR`: ImageNet-21k as it is distributed, a tar archive of images for each synset.

Members are read by number, out of the archives as they are, through an index of where each one's bytes begin.
"""

import concurrent.futures
import hashlib
import os
import pathlib
import tarfile
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from keras_vit.errors import UserError
from keras_vit.labels import imagenet
from trainers.data.files.paths import places, shown
from trainers.data.records.cached_index import cached
from trainers.data.source import Source, Split
from trainers.settings.data import SourceSettings

_BLOCK = tarfile.BLOCKSIZE


def synset_archives(value: str, settings: SourceSettings) -> Source:
    """Images of ImageNet-21k: one split, `full`, in an order of its own that is as good as random.

    Args:
        value: A folder of archives such as n01440764.tar; they may lie in folders below it.
        settings: Settings of the command; not used.

    Returns:
        Source of 21,843 classes, those of the published head, whichever archives there are; or of the 1,000 of
        ImageNet-1k, where they are those and not all are among the 21,843.

    Raises:
        UserError: if there are none, one is damaged, compressed, or of an unknown synset.
    """
    try:
        archives = _archives(value)
        classes = _table(archives)
        arrays = cached([str(path) for path in archives], "members 1", lambda sizes: _scan(archives, sizes))
        if not len(arrays["offsets"]):
            raise UserError("the archives hold no images.")
    except (UserError, OSError) as error:
        raise UserError(f"--source=synset_archives:{value}: {error}") from error
    numbers = {synset: number for number, synset in enumerate(classes)}
    split = _split(archives, np.array([numbers[path.stem] for path in archives]), **arrays)
    return Source(
        f"synset_archives:{value}",
        3,
        len(classes),
        imagenet.readable(classes),
        {"full": split},
        fingerprint=_fingerprint(archives, arrays),
    )


def _archives(value: str) -> list[pathlib.Path]:
    """The archives in a folder and below, by their names."""
    if "://" in value:
        raise UserError("archives are read in place, which needs local files; copy them to a disk first.")
    if not value or not os.path.isdir(value):
        raise UserError("a folder of archives such as n01440764.tar is needed.")
    archives = sorted(pathlib.Path(value).rglob("*.tar"), key=lambda path: (path.name, path))
    strange = next((path for path in archives if not imagenet.SYNSET.fullmatch(path.stem)), None)
    if not archives or strange:
        what = f"{strange} is not" if strange else "there is nothing"
        raise UserError(
            f"{what} named as a synset's archive, n01440764.tar; an archive of archives must be unpacked, once."
        )
    twice = next((path for path, other in zip(archives[1:], archives, strict=False) if path.name == other.name), None)
    if twice:
        raise UserError(f"{twice.name} is there twice, last as {twice}; leave one.")
    return archives


def _table(archives: Sequence[pathlib.Path]) -> list[str]:
    """All synsets of the data set that archives are of, in class order."""
    present = {path.stem for path in archives}
    for table in (imagenet.imagenet_21k(), imagenet.imagenet_1k()):
        if present <= table.keys():
            return list(table)
    unknown = sorted(present - imagenet.imagenet_21k().keys())
    raise UserError(
        f"{len(unknown):,} of the archives are of synsets that are not among the 21,843: {', '.join(unknown[:3])}; "
        "leave them out."
    )


def _scan(archives: Sequence[pathlib.Path], sizes: Sequence[int]) -> dict[str, np.ndarray]:
    """Where the members of all archives are, in the split's order; reads their headers only."""
    columns: list[tuple[np.ndarray, ...]] = []
    with (
        concurrent.futures.ThreadPoolExecutor(16) as pool,
        tqdm(total=sum(sizes), desc="Indexing archives", unit="B", unit_scale=True, delay=1) as bar,
    ):
        for number, (size, members) in enumerate(zip(sizes, pool.map(_members, archives, sizes), strict=True)):
            columns.append((np.full(len(members[0]), number, "int32"), *members))
            bar.update(size)
    archive_of, offsets, lengths, keys = (np.concatenate(column) for column in zip(*columns, strict=True))
    order = np.argsort(keys, kind="stable")
    return {"archive_of": archive_of[order], "offsets": offsets[order], "lengths": lengths[order]}


def _members(path: pathlib.Path, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the files in an archive, where each begins, its length, and its place in the split's order.

    Raises:
        UserError: if it is damaged, cut short or compressed.
    """
    try:
        with tarfile.open(path, "r:", errors="surrogateescape") as archive:
            members = [one for one in archive if one.isfile() and not os.path.basename(one.name).startswith(".")]
            end = archive.offset
    except tarfile.TarError as error:
        raise UserError(f"{path} is damaged, compressed or no tar archive ({error}); fetch it again.") from error
    # tarfile takes an archive to be over where it is cut between members; the last block of a whole one is empty.
    if _bytes(path, end, _BLOCK) != bytes(_BLOCK):
        raise UserError(f"{path} is damaged or cut short at byte {end:,} of {size:,}; fetch it again.")
    offsets, lengths = (np.array([getattr(one, key) for one in members], "int64") for key in ("offset_data", "size"))
    # By name, not by place in the archive, so that another copy of the same images has the same order.
    return offsets, lengths, places([os.fsencode(f"{path.stem}/{one.name}") for one in members])


def _split(
    archives: Sequence[pathlib.Path],
    class_of: np.ndarray,
    archive_of: np.ndarray,
    offsets: np.ndarray,
    lengths: np.ndarray,
) -> Split:
    """The members of archives; those of archive a are of class `class_of[a]`."""
    labels = class_of[archive_of]
    with tf.device("CPU"):  # as a tensor that graphs refer to; an array would become part of them
        held_labels = tf.constant(labels)

    def member(index: int):
        # Opened each time: there are more archives than a process may have open files.
        try:
            data = _bytes(archives[archive_of[index]], int(offsets[index]), int(lengths[index]))
        except OSError as error:
            raise tf.errors.UnavailableError(None, None, str(error)) from error
        if len(data) < lengths[index]:
            raise tf.errors.DataLossError(None, None, f"{archives[archive_of[index]]} is shorter than it was")
        return data

    def read(index: int):
        return tf.ensure_shape(tf.numpy_function(member, [index], tf.string), ()), held_labels[index]

    def locate(index: int):
        path, offset = archives[archive_of[index]], int(offsets[index])
        try:
            name = shown(_bytes(path, offset - _BLOCK, 100).partition(b"\0")[0])  # a header begins with the name
        except OSError:
            name = f"at byte {offset}"
        return f"{path}, member {name}"

    return Split(len(offsets), read, lambda: (np.arange(len(labels)), labels), locate, int(lengths.sum()))


def _bytes(path: pathlib.Path, offset: int, length: int) -> bytes:
    with open(path, "rb", buffering=0) as file:
        file.seek(offset)
        return file.read(length)


def _fingerprint(archives: Sequence[pathlib.Path], arrays: dict[str, np.ndarray]) -> str:
    """The same for members of the same lengths and order in archives of the same names."""
    digest = hashlib.sha256("\n".join(path.name for path in archives).encode())
    for key in ("archive_of", "lengths"):
        digest.update(arrays[key].data)
    return digest.hexdigest()[:16]
