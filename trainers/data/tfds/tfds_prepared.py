"""A source from what TensorFlow Datasets has prepared of a data set, if anything, and what is known of it."""

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vit.errors import UserError
from keras_vit.labels import imagenet
from trainers.data import images
from trainers.data.source import Source, Split, multi_hot
from trainers.data.tfds import tfds_files
from trainers.data.tfds.catalog import Dataset


class Prepared:
    """What is prepared of a data set, if anything.

    Args:
        name: Name that the user gave it.
        labels: Name of what its labels mean, so that what is cached for others is not used.
        dataset: Data set that it should be.
        builder: TFDS's builder of it, or None.
        command: Command that prepares it.
    """

    def __init__(self, name: str, labels: str, dataset: Dataset, builder: Any, command: str):
        self._name = name
        self._labels = labels
        self._dataset = dataset
        self._builder = builder
        self._command = command
        self._infos = dict(builder.info.splits) if builder else {}
        self._class_names = _class_names(dataset, builder)
        self._examples = functools.cache(self._open)
        self._places = functools.cache(lambda split: tfds_files.places(self._infos[split]))

    def source(self) -> Source:
        """What a command reads from; it can be planned with even where nothing is prepared."""
        dataset = self._dataset
        return Source(
            self._name,
            dataset.channels,
            dataset.num_classes,
            self._class_names,
            {split: self._split(split, size) for split, size in dataset.sizes.items()},
            views=dict(dataset.views),
            several_labels=dataset.several_labels,
            fingerprint=self._fingerprint(),
            ready=self._check,
        )

    def _check(self) -> None:
        """Raises UserError unless all of it is there, and can be read."""
        flag, dataset, builder = f"--source={self._name}", self._dataset, self._builder
        if builder is None:
            raise UserError(
                f"{flag} is not prepared, and TensorFlow Datasets cannot prepare it; read it from its own files, as "
                "by folder:DIR, synset_archives:DIR or tfrecord:GLOB."
            )
        if not self._infos:
            raise UserError(f"{flag} is not prepared in {builder.data_dir}; run {self._command}.")
        again = f"remove {builder.data_dir} and run {self._command}."
        sizes = {split: info.num_examples for split, info in self._infos.items() if split in dataset.sizes}
        if sizes != dataset.sizes:
            raise UserError(
                f"{flag} should have {_counted(dataset.sizes)} (trainers/data/tfds/catalog.py), but has "
                f"{_counted(sizes)}; {again}"
            )
        lacking = [name for name in ("image", dataset.label) if name not in builder.info.features]
        if lacking:
            there = ", ".join(sorted(builder.info.features))
            raise UserError(f"{flag} should have a feature {lacking[0]}, but has {there}; {again}")
        if self._class_names and len(self._class_names) != dataset.num_classes:
            raise UserError(
                f"{flag} should have {dataset.num_classes:,} classes, but has {len(self._class_names):,}; {again}"
            )
        if tfds_files.format_of(builder) not in tfds_files.FORMATS:
            raise UserError(
                f"{flag} is prepared in the format {tfds_files.format_of(builder)}, where "
                f"{' or '.join(tfds_files.FORMATS)} was expected; {again}"
            )
        missing = tfds_files.missing(builder, dataset.sizes)
        if missing:
            raise UserError(f"{flag}: {len(missing):,} files are missing, such as {missing[0]}; {again}")

    def _split(self, name: str, size: int) -> Split:
        info = self._infos.get(name)
        return Split(
            size,
            functools.partial(self._read, name),
            functools.partial(self._positives, name),
            functools.partial(self._locate, name),
            int(info.num_bytes) or None if info else None,
        )

    def _read(self, split: str, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        dataset = self._dataset
        with tf.init_scope():  # what is read from is opened outside the graph that reads
            examples = self._examples(split)
        features = tfds_files.parser(self._builder, {"image": True} | self._label_spec())(examples.read(number))
        image, classes = features["image"], dataset.classes(features[dataset.label])
        tf.debugging.assert_non_negative(classes, message="It has no label")  # as in test sets that are kept secret
        if dataset.scale != 1:
            image = images.decode(image, dataset.channels) * dataset.scale
        return image, multi_hot(classes, dataset.num_classes) if dataset.several_labels else classes

    def _positives(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        examples, classes = self._examples(split).positives()
        if (classes < 0).any():
            place = self._locate(split, int(examples[np.argmax(classes < 0)]))
            raise UserError(f"{place} has no label; name a split whose examples all have one.")
        return examples, classes

    def _locate(self, split: str, number: int) -> str:
        place = f"{self._name} {split}[{number}]"
        return f"{place} ({self._places(split)(number)})" if split in self._infos else place

    def _open(self, split: str) -> tfds_files.Examples:
        self._check()
        parse = tfds_files.parser(self._builder, self._label_spec())

        def labels_of(data: tf.Tensor):
            return tf.reshape(self._dataset.classes(parse(data)[self._dataset.label]), [-1])

        opened = tfds_files.FORMATS[tfds_files.format_of(self._builder)]
        return opened(self._builder, split, labels_of, f"tfds {self._labels}")

    def _label_spec(self) -> dict[str, Any]:
        return {self._dataset.label: set(self._dataset.parts) or True}

    def _fingerprint(self) -> str:
        """Another one for another version, other labels, sizes, or numbers of files."""
        version = self._builder.info.full_name if self._builder else f"{self._dataset.name}/{self._dataset.version}"
        files = {split: list(info.shard_lengths) for split, info in sorted(self._infos.items())}
        described = (version, self._labels, sorted(self._dataset.sizes.items()), files)
        return hashlib.sha256(repr(described).encode()).hexdigest()[:16]


def _class_names(dataset: Dataset, builder: Any) -> tuple[str, ...] | None:
    """As far as they are known: those of some data sets, CIFAR's among them, only once they are prepared."""
    if dataset.names or builder is None or dataset.label not in builder.info.features:
        return dataset.names
    feature = builder.info.features[dataset.label]
    names = getattr(feature, "feature", feature).names  # of a sequence, those of its elements
    if names == [str(number) for number in range(len(names))]:
        return None
    return imagenet.shown(names)


def _counted(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {size:,}" for split, size in sizes.items()) or "none of these"
