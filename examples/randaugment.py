"""Draws what RandAugment's operations do to a photograph: `python examples/randaugment.py`.

Writes docs/images/randaugment.jpg: each operation under the published rules (--randaugment_quirks) at three magnitudes.
"""

import pathlib

import tensorflow as tf
from matplotlib import pyplot
from sklearn.datasets import load_sample_image

from trainers.data.augmentation.randaugment import OPERATIONS

PICTURE = pathlib.Path(__file__).parents[1] / "docs" / "images" / "randaugment.jpg"
SIDE = 224
MAGNITUDES = (10, 15, 20)
# Operations beside each other, each with the photograph itself before its results.
COLUMNS = 2
# So chosen that Cutout's square lies inside the photograph; it also says which way the others go.
SEED = (1, 6)


def photograph():
    """uint8 (SIDE, SIDE, 3): the middle of the photograph of a temple in scikit-learn."""
    image = load_sample_image("china.jpg")
    side = min(image.shape[:2])
    middle = tf.image.resize_with_crop_or_pad(image, side, side)
    return tf.cast(tf.image.resize(middle, (SIDE, SIDE), "area"), tf.uint8)


def draw(axes, image, title):
    axes.imshow(image)
    axes.set_title(title, fontsize=9, pad=3)
    axes.set_axis_off()


def main():
    """Draws and writes the picture."""
    original, seed = photograph(), tf.constant(SEED, tf.int64)
    across = 1 + len(MAGNITUDES)
    rows = -(-len(OPERATIONS) // COLUMNS)
    figure, tiles = pyplot.subplots(
        rows, COLUMNS * across, figsize=(COLUMNS * across * 1.4, rows * 1.6), layout="constrained"
    )
    for number, (name, operation) in enumerate(OPERATIONS.items()):
        column, row = divmod(number, rows)
        original_tile, *others = tiles[row, column * across : (column + 1) * across]
        draw(original_tile, original, name)
        for tile, magnitude in zip(others, MAGNITUDES, strict=True):
            draw(tile, operation(original, seed, magnitude, True), str(magnitude))
    PICTURE.parent.mkdir(exist_ok=True)
    unfinished = PICTURE.with_name("unfinished.jpg")
    figure.savefig(unfinished, dpi=100)
    unfinished.replace(PICTURE)
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
