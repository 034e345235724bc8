"""The input pipeline beside plain decoding, the most that any could do, and beside what a tutorial would write."""

import collections
import contextlib
import dataclasses
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Iterator

import keras
import tensorflow as tf

from keras_vit.preprocessing import Preprocessing
from trainers import machine
from trainers.benchmarks import photographs, timing
from trainers.data import sources
from trainers.data.pipeline import EvaluationData, TrainingData
from trainers.data.source import Source
from trainers.engine.protocols import Runtime
from trainers.settings.augmentation import AugmentationSettings
from trainers.settings.benchmark import BenchmarkSettings

# Of a new iterator, so that as much work is under way when time begins to count as when it ends.
BATCHES_BEFORE = 4


def measure(settings: BenchmarkSettings, runtime: Runtime) -> dict[str, float]:
    """Images per second of each row, and MiB of this process while the train recipe goes on and on.

    Args:
        settings: Settings of the command.
        runtime: Runtime, not used.
    """
    with _opened(settings) as source:
        split = source.split("train")
        count = -(-min(settings.images, split.size) // settings.batch_size)
        size = f" of {split.encoded_bytes / split.size / 1000:,.0f} KB" if split.encoded_bytes else ""
        cores = f"{machine.cpus()} CPU cores"
        print(f"\nImages per second to {settings.image_size} px, batches of {settings.batch_size}, {cores}")
        print(f"  from {split.size:,} images{size}: {source.name}", flush=True)
        memory = _memory(ROWS["train recipe"](source, settings), count, settings.batch_size)
        rows = {name: _Row(make(source, settings), count) for name, make in ROWS.items()}
        seconds = timing.in_turns({name: row.measured for name, row in rows.items()}, settings.rounds)
        source.bad.check()
    images = count * settings.batch_size
    speeds = {name: images / taken for name, taken in seconds.items()}
    for name, speed in speeds.items():
        spent = 1000 * statistics.median(rows[name].cpu_seconds[1:]) / images
        print(f"  {name:<36}{speed:8,.0f}  {speed / speeds[BOUND]:6.2f} x {BOUND}; {spent:.2f} ms of CPU time each")
    for name, mebibytes in memory.items():
        print(f"  {name:<36}{mebibytes:8,.0f}  MiB of this process, train recipe")
    return speeds | memory


@contextlib.contextmanager
def _opened(settings: BenchmarkSettings) -> Iterator[Source]:
    """The source; where it holds pixels, and nothing is to be decoded, JPEGs made for the occasion."""
    source = sources.open_source(settings)
    source.ready()
    image, _ = tf.data.Dataset.range(1).map(source.split("train").read).element_spec
    if image.dtype == tf.string:
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        photographs.write(folder, settings.images)
        height, width = photographs.SIZE
        made = sources.open_source(dataclasses.replace(settings, source=f"folder:{folder}"))
        yield dataclasses.replace(made, name=f"JPEGs of photographs, {width}x{height}, quality {photographs.QUALITY}")


class _Row:
    """What makes batches, and the CPU time that it took: on a busy machine the surer number."""

    def __init__(self, batches: tf.data.Dataset, count: int):
        # The thread that tunes may take up to a minute to end, for which the next row would wait.
        options = tf.data.Options()
        options.autotune.enabled = False
        self._batches = batches.with_options(options)
        self._count = count
        self.cpu_seconds: list[float] = []

    def measured(self) -> float:
        """Takes `count` batches and returns the seconds."""
        iterator = iter(self._batches)
        _take(iterator, BATCHES_BEFORE)
        begin = time.process_time()
        seconds = timing.seconds_of(lambda: _take(iterator, self._count))
        self.cpu_seconds.append(time.process_time() - begin)
        return seconds


def _take(iterator, count: int) -> None:
    collections.deque(itertools.islice(iterator, count), maxlen=0)


def _memory(batches: tf.data.Dataset, count: int, batch_size: int) -> dict[str, float]:
    """MiB at first, after `count` batches, and after ten times as many."""
    gibibytes = {"memory at first": _resident()}
    iterator = iter(batches)
    for seen, more in ((count, count), (10 * count, 9 * count)):
        _take(iterator, more)
        gibibytes[f"memory after {seen * batch_size:,} images"] = _resident()
    return gibibytes


def _resident() -> float:
    """MiB of memory that this process has now; NaN where the system does not tell by /proc."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except FileNotFoundError:
        return float("nan")


def _decoding(source: Source, settings: BenchmarkSettings) -> tf.data.Dataset:
    """Every image read and decoded whole, and nothing made of it."""
    split = source.split("train")

    def pixel(number):
        image, _ = split.read(number % split.size)
        return tf.io.decode_jpeg(image)[0, 0, 0]

    return tf.data.Dataset.range(tf.int64.max).map(pixel, machine.cpus()).batch(settings.batch_size)


def _tutorial(source: Source, settings: BenchmarkSettings) -> tf.data.Dataset:
    """Whole images through Keras layers: resized to 256 for 224, a random window, half of them mirrored, scaled."""
    split, (height, width) = source.split("train"), _size(settings)
    layers = [
        keras.layers.Resizing(round(height / 0.875), round(width / 0.875)),
        keras.layers.RandomCrop(height, width),
        keras.layers.RandomFlip("horizontal"),
        keras.layers.Rescaling(1 / 127.5, -1),
    ]

    def row(number):
        image, label = split.read(number % split.size)
        pixels = tf.io.decode_jpeg(image, channels=source.channels)
        for layer in layers:
            pixels = layer(pixels, training=True) if "Random" in type(layer).__name__ else layer(pixels)
        return pixels, label

    rows = tf.data.Dataset.range(tf.int64.max).map(row, tf.data.AUTOTUNE)
    return rows.batch(settings.batch_size).prefetch(tf.data.AUTOTUNE)


def _training(**changes):
    def batches(source: Source, settings: BenchmarkSettings) -> tf.data.Dataset:
        augmentation = AugmentationSettings(augment="inception", flip=True, **changes)
        preprocessing = Preprocessing(size=_size(settings))
        split = source.split("train")
        return TrainingData(split, settings.batch_size, preprocessing, augmentation, seed=settings.seed).batches()

    return batches


def _testing(**changes):
    def batches(source: Source, settings: BenchmarkSettings) -> tf.data.Dataset:
        preprocessing = Preprocessing(size=_size(settings), **changes)
        return EvaluationData(source.split("train"), settings.batch_size, preprocessing).batches().repeat()

    return batches


def _size(settings: BenchmarkSettings) -> tuple[int, int]:
    """Height and width of the images."""
    return (settings.image_size,) * 2 if isinstance(settings.image_size, int) else settings.image_size


BOUND = "full decode alone"
# What makes endless batches: f(source, settings).
ROWS = {
    BOUND: _decoding,
    "train recipe": _training(),
    "train recipe, RandAugment(2, 15)": _training(randaugment_layers=2, randaugment_magnitude=15),
    "train recipe, mixup 0.2": _training(mixup=0.2),
    "test recipe": _testing(),
    "test recipe, central 0.875": _testing(crop=0.875),
    "Keras layers": _tutorial,
}
