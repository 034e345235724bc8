"""Whole recipes: the published presets, and what a training image goes through."""

import numpy as np
import pytest
import tensorflow as tf

from keras_vit import Preprocessing
from keras_vit.errors import UserError
from keras_vit.objectives.classification import Sigmoid, Softmax
from trainers import pretrain
from trainers.data import pipeline, sources
from trainers.data.augmentation import recipe
from trainers.settings import flags
from trainers.settings.augmentation import AugmentationSettings
from trainers.settings.data import SourceSettings
from trainers.settings.recipes.augreg import PRESETS

# Layers and magnitude of RandAugment, and mixup: "How to train your ViT?" (Steiner et al. 2021), section 3.
AUGREG = {
    "none": (0, 0, 0.0),
    "light1": (2, 0, 0.0),
    "light2": (2, 10, 0.2),
    "medium1": (2, 15, 0.2),
    "medium2": (2, 15, 0.5),
    "strong1": (2, 20, 0.5),
    "strong2": (2, 20, 0.8),
}


@pytest.mark.parametrize("name", AUGREG)
def test_augreg_presets_are_the_published_ones(name):
    settings = flags.read([f"--recipe=augreg/s16_{name}"], pretrain.Settings)
    values = settings.randaugment_layers, settings.randaugment_magnitude, settings.mixup
    assert values == AUGREG[name] and settings.randaugment_quirks


def test_there_is_no_other_preset():
    assert PRESETS.keys() == AUGREG.keys()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--randaugment_layers=17", "[0, 16]; got 17"),
        ("--randaugment_magnitude=-1", "[0, 30]; got -1"),
        ("--color_jitter=1.5", "[0, 1]; got 1.5"),
        ("--hue_jitter=0.6", "[0, 0.5]; got 0.6"),
        ("--erasing=-0.1", "[0, 1]; got -0.1"),
        ("--mixup=0.001", "be 0 or lie in [0.01, 100]; got 0.001"),
        ("--cutmix=-1", "be 0 or lie in [0.01, 100]; got -1"),
        ("--crop_area=0", "(0, 1]; got 0"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, said):
    with pytest.raises(UserError) as caught:
        flags.read([arguments, "--steps=1"], pretrain.Settings)
    assert arguments.partition("=")[0] in str(caught.value) and said in str(caught.value)


SIZE = (12, 16)


def recorded(monkeypatch):
    """Every step of a recipe, replaced by one that notes its turn, the values it got, and its seed."""
    seen = []

    def step(name):
        def noted(image, seed, settings):
            seen.append((name, float(tf.reduce_min(image)), float(tf.reduce_max(image)), tuple(seed.numpy().tolist())))
            return image

        return noted

    monkeypatch.setattr(recipe, "DISTORTIONS", {name: step(name) for name in recipe.DISTORTIONS})
    monkeypatch.setattr(recipe, "erase", step("erasing"))
    return seen


def test_an_image_goes_through_the_steps_in_order_each_with_a_seed_of_its_own(monkeypatch):
    seen = recorded(monkeypatch)
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype("uint8")
    settings = AugmentationSettings(augment="inception", flip=True)
    result = recipe.augment(tf.constant(image), tf.constant([3, 5], tf.int64), 3, Preprocessing(size=SIZE), settings)
    names, least, most, seeds = zip(*seen, strict=True)
    assert names == ("randaugment", "color_jitter", "augment_layers", "erasing")
    assert all(most[i] > 200 for i in range(3)) and -1 <= least[3] < most[3] <= 1
    assert len({*seeds, (3, 5)}) == 5
    assert result.shape == (*SIZE, 3)


EVERYTHING = {
    "augment": "inception",
    "flip": True,
    "randaugment_layers": 2,
    "randaugment_quirks": False,
    "color_jitter": 0.4,
    "hue_jitter": 0.1,
    "augment_layers": "keras.layers.RandomGrayscale(0.5)",
    "erasing": 0.5,
    "mixup": 0.5,
    "cutmix": 1.0,
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of small colour images."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for number in range(16):
        place = folder / "train" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (14 + number, 20, 3)).astype("uint8")
        (place / f"{number}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    return folder


def first_batches(folder, threads):
    split = sources.open_source(SourceSettings(source=f"folder:{folder}")).split("train")
    augmentation = AugmentationSettings(**EVERYTHING)
    batches = pipeline.TrainingData(split, 4, Preprocessing(size=SIZE), augmentation, seed=0).batches()
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = threads
    return [{name: value.numpy() for name, value in batch.items()} for batch in batches.with_options(options).take(3)]


@pytest.mark.slow
def test_a_whole_recipe_is_the_same_at_any_parallelism(photographs):
    once, again = (first_batches(photographs, threads) for threads in (1, 8))
    for one, other in zip(once, again, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert np.isfinite(once[0]["images"]).all() and once[0]["labels"].shape == (4, 2)


@pytest.mark.parametrize("several", [Softmax, Sigmoid])
def test_mixed_labels_go_through_label_smoothing_and_both_losses(several):
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    labels = np.random.default_rng(1).dirichlet(np.ones(3), 5).astype("float32")
    batch = {"images": logits, "labels": tf.constant(labels), "weights": tf.ones(5)}
    losses, _ = several(3, label_smoothing=0.1)(lambda images, training: tf.constant(images), batch)
    smoothed = 0.9 * labels + 0.1 / 3
    if several is Softmax:
        expected = -(smoothed * (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))).sum(axis=1)
    else:
        chances = 1 / (1 + np.exp(-logits))
        expected = -(smoothed * np.log(chances) + (1 - smoothed) * np.log(1 - chances)).sum(axis=1)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_operations_on_colours_want_one_or_three_channels():
    with pytest.raises(UserError, match=r"--randaugment_layers.*4 channels"):
        recipe.check(Preprocessing(size=(8, 8)), 4, AugmentationSettings(randaugment_layers=2))
