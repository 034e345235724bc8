"""What a source is: splits whose examples are read by number, and what is known of them before anything is decoded."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_vit.errors import UserError
from trainers.data.bad_images import BadImages
from trainers.settings import splits
from trainers.settings.splits import Interval


@dataclasses.dataclass(frozen=True)
class Split:
    """Examples of a source, in the source's own order.

    Args:
        size: Number of examples.
        read: Function from an int64 index tensor in [0, size) to (image, label) inside a tf.data graph. The image is a
            string (encoded), or (H, W, C) of uint8, or of float32 from 0 to 255; the label an int32 or int64 scalar, or
            float32 (Y,): shares of classes that sum to 1, or 0 and 1 where an example may have several.
        positives: Function that gives all pairs of an example and a class it belongs to, as two int64 arrays (M,),
            examples in ascending order. May take a while: not asked for where nothing depends on it.
        locate: Function from an index to the place of the example, in words that a person can use: a path, or a file
            and a number.
        encoded_bytes: Size of all encoded images together; None where nobody knows.
        name: Name, e.g. `train[:90%]`. This and what follows are its source's to say; see `Source`.
    """

    size: int
    read: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
    positives: Callable[[], tuple[np.ndarray, np.ndarray]]
    locate: Callable[[int], str]
    encoded_bytes: int | None = None
    name: str = ""
    channels: int = 3
    num_classes: int = 0
    class_names: tuple[str, ...] | None = None
    several_labels: bool = False
    bad: BadImages = dataclasses.field(default_factory=BadImages)


@dataclasses.dataclass(frozen=True)
class Source:
    """A named dataset.

    Args:
        name: Name that the user gave it.
        channels: Channels of its images.
        num_classes: Y.
        class_names: One name per class, in label order; None where nobody knows them yet.
        splits: Name of each of its own splits -> `Split`, to which is added what the source says of all of them.
        views: Further names, each for an expression over the own splits; where there are any, only they are shown.
        several_labels: Whether an example may belong to several classes, its label being 0 and 1 for each.
        fingerprint: Text that is the same for the same examples in the same order, so that a change is noticed.
        ready: Function that raises UserError if the data itself is not there. Plans are made from sizes alone, without
            it.
        bad: Examples that could not be read so far.
    """

    name: str
    channels: int
    num_classes: int
    class_names: tuple[str, ...] | None
    splits: dict[str, Split]
    views: dict[str, str] = dataclasses.field(default_factory=dict)
    several_labels: bool = False
    fingerprint: str = ""
    ready: Callable[[], None] = lambda: None
    bad: BadImages = dataclasses.field(default_factory=BadImages)

    def __post_init__(self):
        common = {name: getattr(self, name) for name in COMMON}
        own = {name: dataclasses.replace(split, name=name, **common) for name, split in self.splits.items()}
        object.__setattr__(self, "splits", own)

    @property
    def names(self) -> tuple[str, ...]:
        """The splits that a user may name."""
        return tuple(self.views or self.splits)

    def intervals(self, expression: str) -> tuple[Interval, ...]:
        """What an expression such as `train[:99%]+validation` means.

        Raises:
            UserError: if there is no such split, or the part is empty.
        """
        sizes = {name: split.size for name, split in self.splits.items()}
        return splits.resolve(expression, sizes, self.views, self.name)

    def split(self, expression: str, subset: int | None = None) -> Split:
        """A split, part of one, or several one after the other; of that, so many examples where a number is given.

        Raises:
            UserError: if there is no such split, the part is empty, or the subset is larger.
        """
        parts = [_part(self.splits[base], first, last) for base, first, last in self.intervals(expression)]
        whole = dataclasses.replace(parts[0] if len(parts) == 1 else _joined(parts), name=expression)
        return _subset(whole, subset) if subset else whole


COMMON = ("channels", "num_classes", "class_names", "several_labels", "bad")  # of a source, to each of its splits


def multi_hot(classes: tf.Tensor, num_classes: int) -> tf.Tensor:
    """float32 (Y,), 1 for each of the classes (k,), which may be there twice."""
    return tf.minimum(tf.scatter_nd(classes[:, None], tf.ones_like(classes, tf.float32), (num_classes,)), 1.0)


def selected(split: Split, indices: np.ndarray) -> Split:
    """Those examples of a split, int64 (k,), in that order."""
    with tf.device("CPU"):
        held = tf.constant(indices, tf.int64)
    return rearranged(split, len(indices), lambda index: tf.gather(held, index))


def rearranged(split: Split, size: int, index_of: Callable[[tf.Tensor], tf.Tensor]) -> Split:
    """Some of a split's examples in another order.

    Args:
        split: The examples.
        size: Number of them.
        index_of: Function from int64 indices in [0, size), of any shape, to the examples' indices in `split`, no two
            the same.
    """

    def positives():
        examples, classes = split.positives()
        new = np.full(split.size, -1, "int64")
        new[index_of(tf.range(size, dtype=tf.int64)).numpy()] = np.arange(size)
        inside = new[examples] >= 0
        order = np.argsort(new[examples][inside], kind="stable")
        return new[examples][inside][order], classes[inside][order]

    return dataclasses.replace(
        split,
        size=size,
        read=lambda index: split.read(index_of(index)),
        positives=positives,
        locate=lambda index: split.locate(int(index_of(tf.constant(index, tf.int64)))),
        encoded_bytes=_share(split, size),
    )


def _subset(split: Split, size: int) -> Split:
    """`size` examples chosen at random; a smaller choice is part of every larger one."""
    if size > split.size:
        raise UserError(f"--subset={size:,} is more than the {split.size:,} examples there are to choose from.")
    # Not the run's seed: what a run on 9 million examples sees must be part of what one on 30 million sees.
    seed = tf.constant([9, 30], tf.uint32)
    return rearranged(split, size, lambda index: tf.random.experimental.index_shuffle(index, seed, split.size - 1))


def _part(split: Split, first: int, last: int) -> Split:
    if (first, last) == (0, split.size):
        return split

    def positives():
        examples, classes = split.positives()
        inside = slice(*np.searchsorted(examples, [first, last]))
        return examples[inside] - first, classes[inside]

    return dataclasses.replace(
        split,
        size=last - first,
        read=lambda index: split.read(index + first),
        positives=positives,
        locate=lambda index: split.locate(index + first),
        encoded_bytes=_share(split, last - first),
    )


def _share(split: Split, size: int) -> int | None:
    """Bytes of so many of a split's encoded images, about."""
    return None if split.encoded_bytes is None else round(split.encoded_bytes * size / max(split.size, 1))


def _joined(parts: list[Split]) -> Split:
    """Splits one after the other."""
    begins = np.cumsum([0, *(part.size for part in parts)])

    def read(index: tf.Tensor):
        number = tf.searchsorted(tf.constant(begins[1:]), index[None], side="right")[0]
        branches = [
            lambda part=part, begin=int(begin): part.read(index - begin)
            for part, begin in zip(parts, begins[:-1], strict=True)
        ]
        return tf.switch_case(number, branches)

    def positives():
        pairs = [part.positives() for part in parts]
        examples = [pair[0] + begin for pair, begin in zip(pairs, begins[:-1], strict=True)]
        return np.concatenate(examples), np.concatenate([pair[1] for pair in pairs])

    def locate(index: int):
        number = int(np.searchsorted(begins[1:], index, side="right"))
        return parts[number].locate(index - int(begins[number]))

    sizes = [part.encoded_bytes for part in parts]
    total = None if None in sizes else sum(size for size in sizes if size is not None)
    return dataclasses.replace(
        parts[0], size=int(begins[-1]), read=read, positives=positives, locate=locate, encoded_bytes=total
    )
