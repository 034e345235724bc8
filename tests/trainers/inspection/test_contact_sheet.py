"""Contact sheets: what the model sees, in place, with or without words."""

import dataclasses
import functools

import numpy as np
import pytest

from keras_vit.preprocessing import Preprocessing
from trainers.data import arrays, pipeline
from trainers.data.source import Source
from trainers.inspection import contact_sheet
from trainers.inspection.scan import scan
from trainers.inspection.subject import Part
from trainers.settings.augmentation import AugmentationSettings

SIZE = 100  # above contact_sheet.LEAST, so that pixels are not repeated
STEP = SIZE + contact_sheet.GAP


@functools.cache
def part(count, channels=3):
    images = np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, channels)).astype("uint8")
    labels = np.arange(count, dtype="int32") % 2
    source = Source("made up", channels, 2, ("ant", "bee"), {"train": arrays.from_arrays("train", images, labels)})
    split = source.split("train")
    return Part(source, split, scan(split, "images"), *split.positives()), images


PREPROCESSING = Preprocessing(size=(SIZE, SIZE))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("words", [True, False])
def test_evaluation(channels, words, monkeypatch):
    monkeypatch.setattr(contact_sheet, "captioned", lambda: words)
    seen, images = part(40, channels)
    sheet = contact_sheet.evaluation(seen, PREPROCESSING)
    band = STEP + contact_sheet.WORDS * words
    assert sheet.shape == (4 * band, contact_sheet.COLUMNS * STEP, 3) and sheet.dtype == np.uint8
    for place in (0, 9, 31):
        row, column = divmod(place, contact_sheet.COLUMNS)
        tile = sheet[row * band : row * band + SIZE, column * STEP : column * STEP + SIZE]
        np.testing.assert_array_equal(tile, np.broadcast_to(images[place * 40 // 32], (SIZE, SIZE, 3)))
    assert not words or (sheet[STEP:band] < 128).any()


def test_training_shows_what_the_pipeline_gives(monkeypatch):
    monkeypatch.setattr(contact_sheet, "captioned", lambda: False)
    seen, images = part(5)
    augmentation = AugmentationSettings(augment="pad_crop", flip=True)
    sheet = contact_sheet.training(seen, PREPROCESSING, augmentation, 3)
    assert sheet.shape == ((1 + contact_sheet.DRAWS) * STEP, contact_sheet.COLUMNS * STEP, 3)
    rows = sheet.reshape(1 + contact_sheet.DRAWS, STEP, contact_sheet.COLUMNS, STEP, 3)[:, :SIZE, :, :SIZE].swapaxes(
        1, 2
    )
    np.testing.assert_array_equal(rows[0, :5], images)
    assert (rows[:, 5:] == 255).all()
    expected = pipeline.TrainingData(seen.split, 5, PREPROCESSING, augmentation, seed=3, shuffle=False).batches()
    for row, batch in zip(rows[1:], expected, strict=False):
        np.testing.assert_allclose(row[:5], (batch["images"] * 0.5 + 0.5) * 255, atol=0.51)
    assert len({draw[0].tobytes() for draw in rows[1:]}) > 1


def test_small_images_are_enlarged_and_none_gives_a_patch():
    seen, _ = part(3)
    assert contact_sheet.evaluation(seen, Preprocessing(size=(10, 10))).shape[1] == 8 * 102
    nothing = dataclasses.replace(seen, scan=seen.scan._replace(readable=np.zeros(3, bool)))
    assert (contact_sheet.evaluation(nothing, PREPROCESSING) == 255).all()
    assert (contact_sheet.training(nothing, PREPROCESSING, AugmentationSettings(), 0) == 255).all()


def test_words_are_cut_and_strange_letters_do_not_matter():
    strip = contact_sheet.strip(["a", "x" * 500, "$x_1$ 鹤"], 100)
    assert strip.shape == (contact_sheet.WORDS, 300, 3)
    assert all((strip[:, left : left + 100] < 128).any() for left in (0, 100, 200))
    assert (strip[:, 198:202] > 200).all()
