"""Keras layers named by the user: pure functions of image and seed, or an error that says what to do."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vit.errors import UserError
from trainers.data.augmentation import keras_layers
from trainers.settings.augmentation import AugmentationSettings

SHAPE = (12, 16, 3)
IMAGE = np.random.default_rng(0).integers(0, 256, SHAPE).astype("float32")

# Every random image layer of Keras -> how many of 12 images differ from each other, at least.
RANDOM = {
    "RandAugment()": 10,
    "RandomBrightness(0.3)": 12,
    "RandomColorDegeneration(0.5)": 12,
    "RandomColorJitter((0, 255), 0.3, 0.3, 0.3, 0.1)": 12,
    "RandomContrast(0.5)": 12,
    "RandomCrop(12, 16)": 1,
    "RandomElasticTransform(1.0)": 6,
    "RandomErasing()": 4,
    "RandomFlip()": 2,
    "RandomGaussianBlur(1.0)": 6,
    "RandomGrayscale(0.5)": 2,
    "RandomHue(0.5)": 12,
    "RandomInvert(0.5)": 2,
    "RandomPerspective(1.0)": 6,
    "RandomPosterization(4)": 2,
    "RandomRotation(0.1)": 12,
    "RandomSaturation(0.5)": 6,
    "RandomSharpness(0.5)": 12,
    "RandomShear(0.2, 0.2)": 12,
    "RandomTranslation(0.2, 0.2)": 12,
    "RandomZoom(0.2)": 12,
    "Solarization(0.5, 0.5)": 6,
}
# Chosen once for all images, so refused.
NOT_RANDOM_PER_IMAGE = {"AugMix"}

OWN_LAYERS = """
import random
import keras
import tensorflow as tf

class Own(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.draws = tf.random.Generator.from_seed(1)
        self.inner = [keras.layers.RandomBrightness(0.5)]

    def call(self, images):
        images = self.inner[0](images, training=True)
        return images + tf.cast(self.draws.uniform((), 0, 50, tf.int32), tf.float32)

class Stateful(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.draws = keras.random.SeedGenerator(3)

    def call(self, images):
        return images + tf.random.uniform(()) + keras.random.uniform((), seed=self.draws)

class StatefulRounds(Stateful):
    def call(self, images):
        rounds = tf.map_fn(lambda _: keras.random.uniform((), seed=self.draws), tf.zeros(8))
        return images * 0 + 100 * tf.math.reduce_std(rounds) + tf.random.uniform(())

class OtherDraws(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.draws = tf.random.Generator.from_seed(1)

    def call(self, images):
        return images + tf.cast(self.draws.binomial((1,), 5.0, 0.5), tf.float32)

class Python(keras.layers.Layer):
    def call(self, images):
        return images * random.random()

class Weighted(keras.layers.Layer):
    def build(self, shape):
        self.shift = self.add_weight(shape=())

    def call(self, images):
        return images + self.shift

class Far(keras.layers.Layer):
    def call(self, images, training):
        return tf.cast(images * 2 - 200 if training else images, tf.float16)

class Several(keras.layers.Layer):
    def call(self, images):
        return {"images": images}

class Broken(keras.layers.Layer):
    def call(self, images):
        raise RuntimeError("never mind")

def function():
    pass
"""


def many(layers, count=12, threads=None, image=IMAGE):
    """(count, h, w, C): an image after the layers, with different seeds."""
    settings, image = AugmentationSettings(augment_layers=layers), tf.constant(image)
    seeds = tf.data.Dataset.range(count).map(lambda number: tf.stack([tf.constant(7, tf.int64), number]))
    rows = seeds.map(lambda seed: keras_layers.distort(image, seed, settings), num_parallel_calls=threads)
    assert rows.element_spec == tf.TensorSpec(image.shape, tf.float32)
    return np.stack(list(rows.as_numpy_iterator()))


def check(layers):
    keras_layers.check(AugmentationSettings(augment_layers=layers), SHAPE)


@pytest.fixture
def own_layers(tmp_path, monkeypatch):
    """A module `own_layers` that can be imported, and is forgotten again."""
    (tmp_path / "own_layers.py").write_text(OWN_LAYERS)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_layers", None)
    keras_layers._made.cache_clear()


@pytest.mark.parametrize("layer", RANDOM)
def test_a_layer_of_keras_is_a_function_of_image_and_seed(layer):
    once, again = (many(f"keras.layers.{layer}", threads=threads) for threads in (1, 8))
    assert np.array_equal(once, again)
    assert len(np.unique(once.reshape(len(once), -1), axis=0)) >= RANDOM[layer]
    assert once.min() >= 0 and once.max() <= 255


def test_no_random_layer_of_keras_is_forgotten():
    names = {name for name in dir(keras.layers) if name.startswith("Rand") or name in ("AugMix", "Solarization")}
    names -= {"RandomHeight", "RandomWidth"}
    assert names == {layer.split("(")[0] for layer in RANDOM} | NOT_RANDOM_PER_IMAGE


def test_another_object_of_the_layer_and_another_seed_of_its_own_change_nothing():
    first = many("keras.layers.RandomHue(0.5, seed=1)")
    keras_layers._made.cache_clear()
    assert np.array_equal(first, many("keras.layers.RandomHue(0.5, seed=2)"))


def test_each_layer_of_a_chain_draws_for_itself():
    """Each inverts a quarter of the images: neither, one or both, as often as if they did not know of each other."""
    black = np.zeros((1, 1, 3), "float32")
    levels = many(
        "keras.layers.RandomInvert(0.5, value_range=(0, 100));keras.layers.RandomInvert(0.5)", 400, image=black
    )
    values, counts = np.unique(levels[:, 0, 0, 0], return_counts=True)
    assert values.tolist() == [0, 100, 155, 255]
    # The probability is itself drawn, from 0 to 0.5.
    assert np.abs(counts / 400 - [9 / 16, 3 / 16, 1 / 16, 3 / 16]).max() < 0.07


def test_layers_come_in_the_order_written():
    image = np.full(SHAPE, 100, "float32")
    chains = {"Rescaling(0.5);Rescaling(1, offset=30)": 80, "Rescaling(1, offset=30);Rescaling(0.5)": 65}
    for chain, expected in chains.items():
        layers = ";".join(f"keras.layers.{layer}" for layer in chain.split(";"))
        assert np.allclose(many(layers, 1, image=image), expected)


def test_without_layers_the_image_itself_comes_back():
    image = tf.zeros(SHAPE)
    assert keras_layers.distort(image, tf.constant([1, 2]), AugmentationSettings()) is image


def test_one_channel():
    assert many("keras.layers.RandomInvert(0.5)", image=IMAGE[..., :1]).shape == (12, 12, 16, 1)


def test_a_layer_of_the_users_own_draws_from_the_seed_too(own_layers):
    once, again = (many("own_layers.Own()", threads=threads) for threads in (1, 8))
    assert np.array_equal(once, again) and len(np.unique(once.reshape(12, -1), axis=0)) == 12


def test_results_become_float32_and_are_clipped(own_layers):
    assert np.array_equal(many("own_layers.Far()", 1)[0], np.clip(IMAGE * 2 - 200, 0, 255))


@pytest.mark.parametrize(
    ("layer", "operation"), [("Stateful", "RandomUniform"), ("OtherDraws", "StatefulRandomBinomial")]
)
def test_a_layer_that_draws_from_elsewhere_is_said_not_to_be_repeatable_once(own_layers, capfd, layer, operation):
    first, other = (many(f"own_layers.{layer}()") for _ in range(2))
    assert len(np.unique(first.reshape(12, -1), axis=0)) > 1 and not np.array_equal(first, other)
    warnings = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1 and "is not repeatable" in warnings[0] and operation in warnings[0]


def test_such_a_layer_keeps_its_own_draws(own_layers):
    """With ours, which are numbered while the graph is built, the rounds of a loop would all draw the same."""
    assert many("own_layers.StatefulRounds()").min() > 5


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("keras.layers.AugMix()", "draws from Python's random numbers"),
        ("keras.layers.CenterCrop(8, 8)", r"must keep an image's shape \(12, 16, 3\); got \(8, 8, 3\)"),
        ("keras.layers.Dense(3)", "has weights"),
        ("keras.layers.RandomGrayscale(2)", "cannot be made: `factor` should be between 0 and 1. Received: factor=2$"),
        ("keras.layers.RandomGrayscale(0.2, strength=1)", "cannot be made: .*strength"),
        ("keras.layers.RandomGrayscal(0.2)", "'keras.layers' has no attribute 'RandomGrayscal'$"),
        ("keras.layrs.RandomGrayscale(0.2)", "No module named 'keras.layrs'$"),
        ("no_such_package.Layer()", "No module named 'no_such_package'; install the package that has it$"),
        ("os.path.join('a', 'b')", "must name a subclass of keras.layers.Layer"),
        ("keras.layers.__class__('a')", "must name a subclass of keras.layers.Layer"),
        ("own_layers.function()", "must name a subclass of keras.layers.Layer"),
        ("own_layers.Python()", "draws from Python's random numbers"),
        ("own_layers.Weighted()", "has weights"),
        ("own_layers.Several()", "must keep an image's shape .*; got dict"),
        ("own_layers.Broken()", r"cannot be applied to an image of shape \(12, 16, 3\): .*never mind$"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(own_layers, layer, message):
    with pytest.raises(UserError, match=rf"^--augment_layers=.*{message}") as raised:
        check(layer)
    assert "\n" not in str(raised.value) and str(raised.value).startswith(f"--augment_layers={layer}")


def test_the_extra_that_installs_kerascv_is_named(monkeypatch):
    for name in ("keras_cv", "keras_cv.layers"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"pip install 'keras_vit\[cpu,keras-cv\]'"):
        check("keras_cv.layers.GridMask()")


def test_checked_layers_are_ready():
    check("keras.layers.RandomFlip('vertical');keras.layers.RandomFlip('horizontal')")
    made = keras_layers._made.cache_info().misses
    many("keras.layers.RandomFlip('vertical');keras.layers.RandomFlip('horizontal')")
    assert keras_layers._made.cache_info().misses == made
