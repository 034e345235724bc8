"""One look at every image of a split: each is read and decoded once, and a few bytes are kept of it."""

import time
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from trainers.data import bad_images, images
from trainers.data.source import Split
from trainers.inspection import fingerprints, image_kinds
from trainers.inspection.fingerprints import Fingerprints

BATCH = 64
ASKED = 64  # places of a split that say whether names tell formats there
EXPLAINED = 1000  # bad images of a split that are read again, one by one, to say why


class Scan(NamedTuple):
    """What is known of a split's N images, 360 bytes each.

    Args:
        readable: bool (N,); of the others everything is 0.
        digests: uint64 (N,), the same for the same pixels.
        prints: Their fingerprints.
        sizes: int32 (N, 2): height and width.
        kinds: uint8 (N, 2): places in `image_kinds.FORMATS` and `MODES`.
        misnamed: bool (N,): whether the place ends in the suffix of another format.
        bad: Reasons by index why an image cannot be read; of many, only for the first.
        seconds: Seconds that it took.
    """

    readable: np.ndarray
    digests: np.ndarray
    prints: Fingerprints
    sizes: np.ndarray
    kinds: np.ndarray
    misnamed: np.ndarray
    bad: dict[int, str]
    seconds: float

    @property
    def unreadable(self) -> np.ndarray:
        """int64: the images that cannot be read."""
        return np.flatnonzero(~self.readable)

    def reason(self, index: int) -> str:
        """Why an image cannot be read."""
        return self.bad.get(index, "not looked at again")

    @property
    def blank(self) -> np.ndarray:
        """bool (N,): whether an image shows next to nothing."""
        return self.readable & (self.prints.spread < fingerprints.BLANK)


def scan(split: Split, title: str) -> Scan:
    """Looks at all images of a split, with a bar, and goes on past those that cannot be read.

    Args:
        split: The examples.
        title: Title of the bar.
    """
    begin = time.perf_counter()
    result, named = _empty(split.size), _named(split)
    with tqdm(total=split.size, desc=f"Looking at {title}", unit="image", delay=2, leave=False) as bar:
        for batch in _rows(split).as_numpy_iterator():
            index = batch["index"]
            _fill(result, batch)
            if named:
                kinds = zip(index.tolist(), batch["kind"][:, 0], strict=True)
                result.misnamed[index] = [_misnamed(split.locate(row), kind) for row, kind in kinds]
            bar.update(int(index[-1]) + 1 - bar.n)
    bad = result.unreadable[:EXPLAINED].tolist()
    for index in tqdm(bad, desc="Looking again at bad images", unit="image", delay=2, leave=False):
        result.bad[index] = bad_images.why(split, index)
    return result._replace(seconds=time.perf_counter() - begin)


def _rows(split: Split) -> tf.data.Dataset:
    """Batches of what there is to know, in order; what cannot be read is left out."""

    def row(index: tf.Tensor):
        image, _ = split.read(index)
        pixels = images.decode(image, split.channels)
        encoded = image.dtype == tf.string
        return {
            "index": index,
            "digest": fingerprints.digest(pixels),
            "means": fingerprints.reduced(pixels),
            "size": tf.shape(pixels)[:2],
            "kind": image_kinds.kind(image) if encoded else tf.constant([image_kinds.FORMATS.index("not encoded"), 0]),
        }

    rows = tf.data.Dataset.range(split.size).map(row, tf.data.AUTOTUNE, deterministic=True)
    return rows.ignore_errors().batch(BATCH).prefetch(tf.data.AUTOTUNE)


def _empty(size: int) -> Scan:
    return Scan(
        np.zeros(size, bool),
        np.zeros(size, "uint64"),
        fingerprints.empty(size),
        np.zeros((size, 2), "int32"),
        np.zeros((size, 2), "uint8"),
        np.zeros(size, bool),
        {},
        0.0,
    )


def _fill(result: Scan, batch: dict[str, np.ndarray]) -> None:
    """Writes a batch into its places."""
    index = batch["index"]
    result.readable[index] = True
    result.digests[index] = batch["digest"].view("uint64")[:, 0]
    result.sizes[index] = batch["size"]
    result.kinds[index] = batch["kind"]
    for column, values in zip(result.prints, fingerprints.fingerprints(batch["means"]), strict=True):
        column[index] = values


def _named(split: Split) -> bool:
    """Whether any of some examples, evenly spaced, lies where the name tells a format.

    Not asked of every example: of some sources' records that takes longer than to decode the image.
    """
    rows = {step * split.size // ASKED for step in range(ASKED)}
    return any(_suffix(split.locate(row)) in image_kinds.SUFFIXES for row in rows)


def _suffix(place: str) -> str:
    return place.rpartition(".")[2].lower()


def _misnamed(place: str, kind: int) -> bool:
    return image_kinds.SUFFIXES.get(_suffix(place), image_kinds.FORMATS[kind]) != image_kinds.FORMATS[kind]
