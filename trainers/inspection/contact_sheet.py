"""Contact sheets: images of a split as a model will see them, on one picture."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf

from trainers.data import pipeline
from trainers.data.bad_images import BadImages
from trainers.data.source import Source, rearranged
from trainers.inspection import captions
from trainers.inspection.subject import Part

COLUMNS = 8
DRAWS = 3  # of an image's augmentation, beside how it looks at test time
LEAST = 96  # pixels of a tile; smaller images are enlarged by whole factors
GAP = 2


def training(part: Part, settings) -> np.ndarray:
    """uint8 (H, W, 3): 16 images, each as it is at test time, and below as it comes in three training steps.

    Args:
        part: The training split; with no image that can be read the sheet is white.
        settings: As of `pipeline.TrainingData`. What is mixed with what is not as in training, for only these images
            are there.
    """
    fixed = {"train_split": "some", "subset": None, "shuffle": False, "sampling": "natural", "class_weights": "none"}

    def augmented(source: Source, count: int):
        changed = dataclasses.replace(settings, **fixed, batch_size=count, cache="none")
        return pipeline.TrainingData(source, changed).batches().take(DRAWS)

    return _sheet(part, 2 * COLUMNS, settings, augmented)


def evaluation(part: Part, settings) -> np.ndarray:
    """uint8 (H, W, 3): 32 images as they are at test time.

    Args:
        part: The split; with no image that can be read the sheet is white.
        settings: Needs image_size, resize, antialias and test_crop.
    """
    return _sheet(part, 4 * COLUMNS, settings, lambda source, count: ())


def _sheet(part: Part, most: int, settings, further: Callable[[Source, int], Iterable]) -> np.ndarray:
    """Images as they are at test time, and below each as in further batches, made of a source and their number."""
    source, names = _some(part, most)
    if not names:
        return np.full((LEAST, LEAST, 3), 255, "uint8")
    preprocessing = pipeline.preprocessing_for(settings)
    plain = pipeline.EvaluationData(source, "some", len(names), preprocessing).batches()
    tiles = [_tiles(batch, preprocessing) for batch in (*plain, *further(source, len(names)))]
    rows: list[np.ndarray] = []
    for begin in range(0, len(names), COLUMNS):
        some = slice(begin, begin + COLUMNS)
        rows += [_row(version[some]) for version in tiles]
        rows += _words(names[some], tiles[0].shape[2])
    return np.concatenate(rows)


def _some(part: Part, most: int) -> tuple[Source, list[str]]:
    """A source whose split `some` is evenly spaced images of a split, all readable; and the names of their classes."""
    good = np.flatnonzero(part.scan.readable)
    chosen = good[np.arange(min(most, len(good))) * len(good) // max(min(most, len(good)), 1)]
    with tf.device("CPU"):
        held = tf.constant(chosen, tf.int64)
    split = rearranged(part.split, len(chosen), lambda index: tf.gather(held, index))
    source = dataclasses.replace(part.source, splits={"some": split}, views={}, bad=BadImages())
    return source, [part.words(index) for index in chosen.tolist()]


def _tiles(batch, preprocessing) -> np.ndarray:
    """uint8 (B, h, w, 3) of what a model is fed, in the colours that we see, large enough to be seen."""
    pixels = (batch["images"].numpy() * preprocessing.std + preprocessing.mean) * 255
    pixels = pixels if pixels.shape[-1] == 3 else np.repeat(pixels[..., :1], 3, axis=-1)
    factor = max(math.ceil(LEAST / max(pixels.shape[1:3])), 1)
    return pixels.round().clip(0, 255).astype("uint8").repeat(factor, axis=1).repeat(factor, axis=2)


def _row(tiles: np.ndarray) -> np.ndarray:
    """Tiles side by side, each with a white gap, filled up to `COLUMNS`."""
    height, width = tiles.shape[1:3]
    row = np.full((height + GAP, COLUMNS * (width + GAP), 3), 255, "uint8")
    for place, tile in enumerate(tiles):
        left = place * (width + GAP)
        row[:height, left : left + width] = tile
    return row


def _words(names: Sequence[str], width: int) -> list[np.ndarray]:
    """The names below a row, where they can be drawn."""
    if not captions.available():
        return []
    return [captions.strip([*names, *[""] * (COLUMNS - len(names))], width + GAP)]
