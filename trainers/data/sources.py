"""Where examples come from: each source knows its sizes and class names, and reads one example by its index."""

import dataclasses
import functools
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
            (encoded) or uint8 (H, W, C); the label an int scalar, or float32 shares (Y,).
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
    """A split over arrays held in memory: uint8 (N, H, W, C) and labels (N,) or (N, Y)."""

    def read(index):
        return tf.gather(images, index), tf.gather(labels, index)

    return Split(len(images), read)


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

SOURCES = {"digits": digits, "synthetic": synthetic, "tfds": tensorflow_datasets}
