"""Where examples come from: each source knows its sizes and class names, and reads one example by its index."""

import dataclasses
import functools
import pathlib
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from trainers.settings.groups import SourceSettings, split_percent


@dataclasses.dataclass(frozen=True)
class Split:
    """Part of a source.

    Args:
        size: Number of examples.
        read: From an int64 index tensor in [0, size) to (image, label) inside a tf.data graph. The image is a string
            (encoded), or (H, W, C) of uint8, or of float32 from 0 to 255; the label an int scalar, or float32 shares
            (Y,).
    """

    size: int
    read: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Source:
    """A named dataset.

    Args:
        name: What the user called it.
        channels: Channels of its images.
        num_classes: Y.
        class_names: One name per class, in label order; None where nobody knows them yet.
        splits: Name of each split -> `Split`.
        ready: Raises ValueError if the data itself is not there. Plans are made from sizes alone, without it.
    """

    name: str
    channels: int
    num_classes: int
    class_names: tuple[str, ...] | None
    splits: dict[str, Split]
    ready: Callable[[], None] = lambda: None

    def split(self, name: str) -> Split:
        """A split, or part of one as in `train[:99%]`.

        Raises:
            ValueError: if there is no such split.
        """
        base, start, stop = split_percent(name)
        if base not in self.splits:
            raise ValueError(f"Source {self.name!r} has no split {base!r}; it has {', '.join(self.splits)}.")
        whole = self.splits[base]
        first, last = round(start * whole.size), round(stop * whole.size)
        if (first, last) == (0, whole.size):
            return whole
        if first == last:
            raise ValueError(f"Split {name!r} of {self.name!r} is empty: {base!r} has {whole.size} examples.")
        return Split(last - first, lambda index: whole.read(index + first))


def open_source(settings: SourceSettings) -> Source:
    """The source that `--source` names.

    Raises:
        ValueError: if its kind is unknown, or it cannot be opened.
    """
    kind, _, value = settings.source.partition(":")
    if kind not in SOURCES:
        raise ValueError(f"Unknown source {settings.source!r}; its kind must be one of {', '.join(SOURCES)}.")
    return SOURCES[kind](value, settings)


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
    splits = {name: from_arrays(images[index], labels[index]) for name, index in indices.items()}
    return Source("digits", 1, 10, tuple("0123456789"), splits)


def synthetic(value: str, settings: SourceSettings) -> Source:
    """Noise images of 10 classes, each class with its own mean colour: learnable, and made in no time."""
    _refuse_value("synthetic", value)
    generator = np.random.default_rng(0)
    colours = generator.integers(64, 192, (10, 3))

    def split(size):
        labels = np.arange(size, dtype="int32") % 10
        noise = generator.integers(-64, 64, (size, 32, 32, 3))
        return from_arrays((colours[labels][:, None, None] + noise).clip(0, 255).astype("uint8"), labels)

    splits = {"train": split(1000), "validation": split(100), "test": split(100)}
    return Source("synthetic", 3, 10, tuple(f"colour {i}" for i in range(10)), splits)


def from_arrays(images: np.ndarray, labels: np.ndarray) -> Split:
    """A split over arrays held in memory: uint8 or float32 (N, H, W, C), and labels (N,) or (N, Y)."""

    def read(index):
        return tf.gather(images, index), tf.gather(labels, index)

    return Split(len(images), read)


def npz(value: str, settings: SourceSettings) -> Source:
    """Arrays of a `.npz` file: `images` and `labels`, and where there are such `validation_` and `test_` ones.

    Images are (N, H, W, C) of uint8, or of float32 that is already scaled to [-1, 1] and reaches the model as it is.
    Labels are integers (N,), or shares (N, Y) as floats. In the place of N there may be two axes, (batches, B), which
    are read one batch after the other.
    """
    if not value:
        raise ValueError("--source=npz needs a file, as in npz:data/train.npz.")
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
        raise ValueError(f"--source=npz:{value} has splits that differ in their number of channels or of classes.")
    splits = {split: from_arrays(*pair) for split, pair in pairs.items()}
    return Source(f"npz:{value}", channels.pop(), num_classes, None, splits)


def _load_npz(path: str) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file; nothing in it is unpickled, for that could run code."""
    if not pathlib.Path(path).is_file():
        raise ValueError(f"--source=npz:{path}: no such file.")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"--source=npz:{path} is not a readable .npz file; numpy.savez writes such files.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"--source=npz:{path} must hold plain, undamaged arrays: {error}.") from error
    return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}


def _npz_pair(path: str, arrays: dict[str, np.ndarray], images_name: str, labels_name: str):
    """Images (N, H, W, C) from 0 to 255 and labels (N,) or (N, Y) of one split, checked."""
    for name in (images_name, labels_name):
        if name not in arrays:
            first = ", ".join([*arrays][:6]) or "none"
            raise ValueError(f"--source=npz:{path} has no array {name}; it has {first}{', ...' * (len(arrays) > 6)}.")
    images, labels = arrays[images_name], arrays[labels_name]
    leading = images.ndim - 3
    if images.dtype not in (np.uint8, np.float32) or leading not in (1, 2) or not images.size:
        raise ValueError(
            f"--source=npz:{path}: {images_name} must be uint8 or float32 of (N, H, W, C) or (batches, B, H, W, C), "
            f"none of them 0; got {images.dtype} of {images.shape}."
        )
    shares = labels.dtype.kind == "f"
    shape = images.shape[:leading] + labels.shape[-1:] * shares
    if labels.dtype.kind not in "iuf" or labels.shape != shape or not labels.size:
        raise ValueError(
            f"--source=npz:{path}: {labels_name} must be integers of {images.shape[:leading]}, for so many images, or "
            f"floats with one more axis, the shares of classes; got {labels.dtype} of {labels.shape}."
        )
    _check_range(path, labels_name, labels, 0, 1 if shares else np.iinfo(np.int32).max - 1)
    if images.dtype == np.float32:
        _check_range(path, images_name, images, -1, 1)
        images = (images + 1) * np.float32(127.5)  # as of every source; the test-time transform takes it back
    if images.nbytes >= 2**31:  # the batches' graph holds them
        raise ValueError(
            f"--source=npz:{path}: {images_name} is of {images.nbytes / 1e9:.1f} GB; npz takes up to 2.1 GB."
        )
    images, labels = (array.reshape(-1, *array.shape[leading:]) for array in (images, labels))
    return images, labels.astype("float32" if shares else "int32")


def _check_range(path: str, name: str, array: np.ndarray, low: int, high: int) -> None:
    least, most = array.min(), array.max()
    if not (low <= least and most <= high):  # also where one is NaN
        raise ValueError(f"--source=npz:{path}: {name} must lie in [{low}, {high}]; got {least} to {most}.")


def tensorflow_datasets(value: str, settings: SourceSettings) -> Source:
    """A dataset of TensorFlow Datasets, `NAME[/CONFIG][:VERSION]`, prepared in the ArrayRecord format.

    TensorFlow Datasets tells no sizes before a dataset is prepared, so the ones of `TFDS_SIZES` serve plans.
    """
    if not value:
        raise ValueError("--source=tfds needs a name, as in tfds:imagenet2012.")
    known = TFDS_SIZES.get(value.split(":")[0])
    if known is None:
        raise ValueError(f"The sizes of tfds:{value} are not known; known are {', '.join(TFDS_SIZES)}.")
    num_classes, sizes = known
    opened = functools.cache(lambda split: _open_tfds(value, split, settings.data_dir))
    splits = {name: Split(size, _tfds_reader(opened, name)) for name, size in sizes.items()}

    def ready():
        for name, size in sizes.items():
            if len(opened(name)) != size:
                raise ValueError(
                    f"tfds:{value} has {len(opened(name)):,} examples in split {name!r} where {size:,} are expected; "
                    "prepare it again, or correct TFDS_SIZES in trainers/data/sources.py."
                )

    return Source(f"tfds:{value}", 3, num_classes, None, splits, ready)


def _tfds_reader(opened, split: str):
    """Reads examples by number."""

    def record(index):
        example = opened(split)[int(index)]
        return example["image"], np.int64(example["label"])

    def read(index):
        image, label = tf.numpy_function(record, [index], (tf.string, tf.int64), stateful=False)
        return tf.ensure_shape(image, ()), tf.ensure_shape(label, ())

    return read


def _open_tfds(name: str, split: str, data_dir: str | None):
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise ValueError(f"--source=tfds:{name} cannot be opened: {str(error).splitlines()[0]}") from error
    if split not in builder.info.splits:
        raise ValueError(
            f"tfds:{name} has no prepared split {split!r} in {builder.data_dir}. Prepare it once with "
            f"tfds.builder({name!r}, file_format='array_record').download_and_prepare(), or point --data_dir at it."
        )
    return builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})


def _refuse_value(kind: str, value: str) -> None:
    if value:
        raise ValueError(f"--source={kind} takes nothing after a colon; got {value!r}.")


# Number of classes, and examples per split, of the datasets that the configs name.
TFDS_SIZES = {
    "imagenet2012": (1000, {"train": 1281167, "validation": 50000}),
    # TFDS has no builder for it; this serves plans, and whoever prepares one under this name.
    "imagenet21k": (21843, {"full": 14197122}),
}

SOURCES = {"digits": digits, "synthetic": synthetic, "npz": npz, "tfds": tensorflow_datasets}
