"""Sources that lie in memory: `npz:FILE`, `digits`, `synthetic`."""

import hashlib
import os
import zipfile
import zlib

import numpy as np
import tensorflow as tf

from keras_vit.errors import UserError
from trainers.data.source import Source, Split
from trainers.settings.data import SourceSettings


def digits(value: str, settings: SourceSettings) -> Source:
    """1,797 scanned handwritten digits of 8x8 pixels, from the scikit-learn package.

    The split is fixed and stratified: 360 test examples, and a tenth of the others to choose by.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    _refuse_value("digits", value)
    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype("uint8")[..., None]
    labels = bunch.target.astype("int32")
    rest, test = train_test_split(np.arange(len(labels)), test_size=360, stratify=labels, random_state=0)
    train, validation = train_test_split(rest, test_size=144, stratify=labels[rest], random_state=0)
    indices = {"train": train, "validation": validation, "test": test}
    splits = {name: from_arrays(name, images[index], labels[index]) for name, index in indices.items()}
    return Source("digits", 1, 10, tuple("0123456789"), splits, fingerprint=fingerprint(images, labels))


def synthetic(value: str, settings: SourceSettings) -> Source:
    """Noise images of 10 classes, each class with its own mean colour: learnable, and made in no time."""
    _refuse_value("synthetic", value)
    generator = np.random.default_rng(0)
    colours = generator.integers(64, 192, (10, 3))

    def split(name: str, size: int):
        labels = np.arange(size, dtype="int32") % 10
        noise = generator.integers(-64, 64, (size, 32, 32, 3))
        return from_arrays(name, (colours[labels][:, None, None] + noise).clip(0, 255).astype("uint8"), labels)

    splits = {name: split(name, size) for name, size in {"train": 1000, "validation": 100, "test": 100}.items()}
    return Source("synthetic", 3, 10, tuple(f"colour {i}" for i in range(10)), splits)


def from_arrays(name: str, images: np.ndarray, labels: np.ndarray) -> Split:
    """A split over arrays held in memory: uint8 or float32 (N, H, W, C), and labels (N,) or (N, Y)."""
    with tf.device("CPU"):  # as tensors that graphs refer to; arrays would become part of them, up to 2 GB
        held_images, held_labels = tf.constant(images), tf.constant(labels)

    def read(index: tf.Tensor):
        return tf.gather(held_images, index), tf.gather(held_labels, index)

    def positives():
        return np.nonzero(labels) if labels.ndim == 2 else (np.arange(len(labels)), labels.astype("int64"))

    return Split(len(images), read, positives, lambda index: f"{name}[{index}]")


def fingerprint(*arrays: np.ndarray) -> str:
    """The same for the same arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def npz(value: str, settings: SourceSettings) -> Source:
    """Arrays of a `.npz` file: `images` and `labels`, and where there are such `validation_` and `test_` ones.

    Images are (N, H, W, C) of uint8, or of float32 that is already scaled to [-1, 1] and reaches the model as it is.
    Labels are integers (N,), or shares (N, Y) as floats. In the place of N there may be two axes, (batches, B), which
    are read one batch after the other.
    """
    if not value:
        raise UserError("--source=npz needs a file, as in npz:data/train.npz.")
    arrays = _load_npz(value)
    prefixes = {"train": "", "validation": "validation_", "test": "test_"}
    pairs = {
        split: _npz_pair(value, arrays, f"{prefix}images", f"{prefix}labels")
        for split, prefix in prefixes.items()
        if split == "train" or {f"{prefix}images", f"{prefix}labels"} & arrays.keys()
    }
    channels = {images.shape[-1] for images, _ in pairs.values()}
    widths = {labels.shape[1] for _, labels in pairs.values() if labels.ndim == 2}
    num_classes = max(labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1 for _, labels in pairs.values())
    if len(channels) > 1 or (widths and widths != {num_classes}):
        raise UserError(f"--source=npz:{value} has splits that differ in their number of channels or of classes.")
    return Source(
        f"npz:{value}",
        channels.pop(),
        num_classes,
        None,
        {split: from_arrays(split, *pair) for split, pair in pairs.items()},
        several_labels=any(_several(labels) for _, labels in pairs.values()),
        fingerprint=fingerprint(*(array for pair in pairs.values() for array in pair)),
    )


def _load_npz(path: str) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file; nothing in it is unpickled, for that could run code."""
    if not os.path.isfile(path):
        raise UserError(f"--source=npz:{path}: no such file.")
    if not zipfile.is_zipfile(path):
        raise UserError(f"--source=npz:{path} is not a readable .npz file; numpy.savez writes such files.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"--source=npz:{path} must hold plain, undamaged arrays: {error}.") from error
    return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}


def _npz_pair(path: str, arrays: dict[str, np.ndarray], images_name: str, labels_name: str):
    """Images (N, H, W, C) from 0 to 255 and labels (N,) or (N, Y) of one split, checked."""
    for name in (images_name, labels_name):
        if name not in arrays:
            first = ", ".join([*arrays][:6]) or "none"
            raise UserError(f"--source=npz:{path} has no array {name}; it has {first}{', ...' * (len(arrays) > 6)}.")
    images, labels = arrays[images_name], arrays[labels_name]
    leading = images.ndim - 3
    if images.dtype not in (np.uint8, np.float32) or leading not in (1, 2) or not images.size:
        raise UserError(
            f"--source=npz:{path}: {images_name} must be uint8 or float32 of (N, H, W, C) or (batches, B, H, W, C), "
            f"none of them 0; got {images.dtype} of {images.shape}."
        )
    shares = labels.dtype.kind == "f"
    shape = images.shape[:leading] + labels.shape[-1:] * shares
    if labels.dtype.kind not in "iuf" or labels.shape != shape or not labels.size:
        raise UserError(
            f"--source=npz:{path}: {labels_name} must be integers of {images.shape[:leading]}, for so many images, or "
            f"floats with one more axis, the shares of classes; got {labels.dtype} of {labels.shape}."
        )
    _check_range(path, labels_name, labels, 0, 1 if shares else np.iinfo(np.int32).max - 1)
    if images.dtype == np.float32:
        _check_range(path, images_name, images, -1, 1)
        images = (images + 1) * np.float32(127.5)  # as of every source; the test-time transform takes it back
    images, labels = (array.reshape(-1, *array.shape[leading:]) for array in (images, labels))
    return images, labels.astype("float32" if shares else "int32")


def _several(labels: np.ndarray) -> bool:
    """Whether labels (N, Y) are 0 and 1 for each class, not shares that sum to 1."""
    return labels.ndim == 2 and bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) != 1).any())


def _check_range(path: str, name: str, array: np.ndarray, low: int, high: int) -> None:
    least, most = array.min(), array.max()
    if not (low <= least and most <= high):  # also where one is NaN
        raise UserError(f"--source=npz:{path}: {name} must lie in [{low}, {high}]; got {least} to {most}.")


def _refuse_value(kind: str, value: str) -> None:
    if value:
        raise UserError(f"--source={kind} takes nothing after a colon; got {value!r}.")
