"""Contact sheets: images of a split as a model will see them, on one picture."""

import importlib.util
import math
import warnings
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf

from keras_vit.preprocessing import Preprocessing
from trainers.data import pipeline
from trainers.data.source import Split, selected
from trainers.inspection.subject import Part
from trainers.settings.augmentation import AugmentationSettings

COLUMNS = 8
DRAWS = 3  # of an image's augmentation, beside how it looks at test time
LEAST = 96  # pixels of a tile; smaller images are enlarged by whole factors
GAP = 2
# Of the words under a row, in pixels: their height, and about what a letter takes.
WORDS, _LETTER = 16, 6
_DPI, _FONT_SIZE = 100, 7


def training(part: Part, preprocessing: Preprocessing, augmentation: AugmentationSettings, seed: int) -> np.ndarray:
    """uint8 (H, W, 3): 16 images, each as it is at test time, and below as it comes in three training steps.

    Args:
        part: The training split; with no image that can be read the sheet is white.
        preprocessing: The test-time transform.
        augmentation: Augmentation in training. What is mixed with what is not as there, for only these images are.
        seed: Seed of the augmentation.
    """

    def augmented(split: Split):
        data = pipeline.TrainingData(split, split.size, preprocessing, augmentation, seed=seed, shuffle=False)
        return data.batches().take(DRAWS)

    return _sheet(part, 2 * COLUMNS, preprocessing, augmented)


def evaluation(part: Part, preprocessing: Preprocessing) -> np.ndarray:
    """uint8 (H, W, 3): 32 images of a split as they are at test time; white with none that can be read."""
    return _sheet(part, 4 * COLUMNS, preprocessing, lambda split: ())


def _sheet(part: Part, most: int, preprocessing: Preprocessing, further: Callable[[Split], Iterable]) -> np.ndarray:
    """Images as they are at test time, and below each as in further batches, made of a split."""
    good = np.flatnonzero(part.scan.readable)
    if not len(good):
        return np.full((LEAST, LEAST, 3), 255, "uint8")
    count = min(most, len(good))
    chosen = good[np.arange(count) * len(good) // count]  # evenly spaced
    split, names = selected(part.split, chosen), [part.words(index) for index in chosen.tolist()]
    plain = pipeline.EvaluationData(split, count, preprocessing).batches()
    tiles = [_tiles(batch, preprocessing) for batch in (*plain, *further(split))]
    rows: list[np.ndarray] = []
    for begin in range(0, count, COLUMNS):
        some = slice(begin, begin + COLUMNS)
        rows += [_row(version[some]) for version in tiles]
        rows += _words(names[some], tiles[0].shape[2])
    return np.concatenate(rows)


def _tiles(batch: dict[str, tf.Tensor], preprocessing: Preprocessing) -> np.ndarray:
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
    return [strip([*names, *[""] * (COLUMNS - len(names))], width + GAP)] if captioned() else []


def captioned() -> bool:
    """Whether words can be drawn: where Matplotlib is installed (the extra `plot`)."""
    return importlib.util.find_spec("matplotlib") is not None


def strip(texts: Sequence[str], width: int) -> np.ndarray:
    """uint8 (WORDS, len(texts) * width, 3): words side by side, each in the middle of its place, cut if need be."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Half a pixel more, because what comes of the quotient is rounded down.
    figure = Figure(figsize=((len(texts) * width + 0.5) / _DPI, (WORDS + 0.5) / _DPI), dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    for place, text in enumerate(texts):
        most = max(width // _LETTER - 1, 3)
        shown = text if len(text) <= most else f"{text[: most - 1]}…"
        centre = (place + 0.5) / len(texts)
        figure.text(centre, 0.5, shown, ha="center", va="center", fontsize=_FONT_SIZE, parse_math=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # letters that the font lacks become boxes
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
