"""The test-time transform against TensorFlow's own resizing."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_vit import Preprocessing
from keras_vit.images import transform

SIZES = [((8, 8), (16, 16)), ((37, 53), (16, 24)), ((20, 9), (41, 5)), ((1, 1), (4, 4)), ((64, 64), (64, 64))]
KERNELS = [(kernel, antialias) for kernel in ("bilinear", "bicubic", "area") for antialias in (False, True)]
# Of 255. TensorFlow looks the plain bicubic kernel up in a table of 1024 entries; elsewhere positions are rounded.
TOLERANCES = {("bilinear", False): 1e-4, ("bicubic", False): 0.3}


def image_of(size, channels=3):
    return np.random.default_rng(0).integers(0, 256, (*size, channels)).astype("uint8")


def difference(source, target, kernel, antialias):
    image = image_of(source)
    ours = transform.resize_to(image, target, kernel, antialias)
    return np.abs(ours - tf.image.resize(image, target, kernel, antialias=antialias)).max()


@pytest.mark.parametrize(("kernel", "antialias"), KERNELS)
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_two_matrix_products_equal_tensorflows_resize(kernel, antialias, source, target):
    assert difference(source, target, kernel, antialias) < TOLERANCES.get((kernel, antialias), 2e-3)


@pytest.mark.parametrize(("kernel", "antialias"), KERNELS)
@settings(max_examples=25)
@given(st.data())
def test_so_they_do_at_any_sizes(kernel, antialias, data):
    source, target = (data.draw(st.tuples(st.integers(1, 150), st.integers(1, 150))) for _ in range(2))
    assert difference(source, target, kernel, antialias) < TOLERANCES.get((kernel, antialias), 2e-2)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_plain_bicubic_equals_tensorflows_other_resize_which_has_no_table(source, target):
    image = image_of(source).astype("float32")
    scale = np.array(target, "float32") / source
    reference = tf.raw_ops.ScaleAndTranslate(
        images=image[None], size=target, scale=scale, translation=[0.0, 0.0], kernel_type="keyscubic", antialias=False
    )
    assert np.abs(transform.resize_to(image, target, "bicubic") - reference[0]).max() < 2e-3


@pytest.mark.parametrize(("kernel", "antialias"), KERNELS)
def test_a_window_is_cut_out_of_the_resized_image(kernel, antialias):
    image = image_of((37, 53))
    whole = transform.resize_to(image, (20, 80), kernel, antialias)
    window = transform.resize_to(image, (20, 80), kernel, antialias, (3, 50, 10, 20))
    assert np.allclose(window, whole[3:13, 50:70], atol=1e-3)


def resize_small(source, side):
    """big_vision's rule for the size: the shorter side as given, the other by the ratio, rounded."""
    ratio = np.float32(side) / np.float32(min(source))
    return tuple(int(np.round(np.float32(length) * ratio)) for length in source)


@settings(max_examples=200)
@given(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), st.sampled_from([(224, 0.875, 256), (384, 0.857, 448)]))
def test_the_image_just_covers_the_larger_frame(source, crop):
    size, share, side = crop
    assert tuple(transform.covering(source, (size, size), share).numpy()) == resize_small(source, side)


@pytest.mark.parametrize("source", [(375, 500), (500, 333), (240, 240), (101, 1000)])
@pytest.mark.parametrize(("size", "share", "side"), [(224, 0.875, 256), (384, 384 / 448, 448)])
def test_a_crop_is_the_centre_of_the_image_resized_by_its_shorter_side(source, size, share, side):
    image = image_of(source)
    height, width = resize_small(source, side)
    top, left = (height - size) // 2, (width - size) // 2
    expected = tf.image.resize(image, (height, width))[top : top + size, left : left + size]
    result = transform.resize(tf.constant(image), Preprocessing(size=(size, size), crop=share))
    assert np.abs(result - expected).max() < 2e-2


def test_frames_that_are_not_square():
    assert transform.enlarged((224, 160), 0.875) == (256, 183)
    assert transform.covering((100, 100), (224, 160), 0.875).numpy().tolist() == [256, 256]
    assert transform.covering((200, 100), (224, 160), 0.875).numpy().tolist() == [366, 183]


def test_the_longest_images_need_no_more_memory_than_others():
    """To cover 256 pixels, 30,000 x 20 would be resized to 384,000 x 256."""
    result = transform.resize(tf.constant(image_of((30_000, 20))), Preprocessing(size=(224, 224), crop=0.875))
    assert result.shape == (224, 224, 3) and np.isfinite(result).all()


def test_inside_a_graph_of_unknown_size():
    @tf.function(input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)])
    def graph(image):
        return transform.apply(image, Preprocessing(size=(16, 16), crop=0.875))

    image = image_of((50, 31))
    eager = transform.apply(tf.constant(image), Preprocessing(size=(16, 16), crop=0.875))
    assert graph(image).shape == (16, 16, 3)
    assert np.allclose(graph(image), eager, atol=1e-5)


@pytest.mark.parametrize("crop", [None, 0.875])
def test_a_batch_is_its_images_one_by_one(crop):
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 50, 31, 3)).astype("uint8")
    preprocessing = Preprocessing(size=(16, 24), crop=crop, antialias=True)
    batch = transform.apply(tf.constant(images), preprocessing)
    assert batch.shape == (2, 3, 16, 24, 3)
    for place in np.ndindex(2, 3):
        assert np.allclose(batch[place], transform.apply(tf.constant(images[place]), preprocessing), atol=1e-5)


def test_values_are_scaled_by_mean_and_std():
    grey = np.full((4, 4, 3), 255, "uint8")
    assert np.allclose(transform.apply(tf.constant(grey), Preprocessing(size=(4, 4))), 1.0)
    other = Preprocessing(size=(4, 4), mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 2.0))
    assert np.allclose(transform.apply(tf.constant(grey), other)[0, 0], [1.0, 1.0, 0.0])


@pytest.mark.parametrize("shape", [(40, 80), (80, 40), (64, 64), (10, 200)])
def test_a_crop_keeps_the_aspect_and_the_centre(shape):
    """A wide ramp, cropped at its centre, stays symmetric about its middle."""
    ramp = np.broadcast_to(np.linspace(0, 255, shape[1])[None, :, None], (*shape, 3)).astype("float32")
    cropped = transform.resize(tf.constant(ramp), Preprocessing(size=(32, 32), crop=1.0, antialias=True)).numpy()
    assert np.allclose(cropped + cropped[:, ::-1], 255, atol=255 / 16)
    slope = np.diff(cropped[16, :, 0]).mean()
    assert slope == pytest.approx(255 / shape[1] * min(shape) / 32, rel=0.1)


def test_an_unknown_kernel_lists_the_choices():
    with pytest.raises(ValueError, match="bilinear, bicubic, area"):
        transform.resize_to(image_of((4, 4)), (2, 2), "lanczos")


def test_the_description_names_the_same_kernels():
    from keras_vit.preprocessing import RESIZES

    assert tuple(transform.KERNELS) == RESIZES
