"""Fingerprints: equal for equal pixels, close for the same picture, far for others."""

import numpy as np
import pytest
import tensorflow as tf

from trainers.inspection import candidates
from trainers.inspection.fingerprints import BLANK, digest, fingerprints, reduced


def picture(number, height=61, width=83, channels=3):
    generator = np.random.default_rng(number)
    coarse = generator.uniform(30, 220, (7, 8, channels)).astype("float32")
    return tf.image.resize(coarse, (height, width), "bicubic").numpy().clip(0, 255).astype("uint8")


def prints(*images):
    return fingerprints(np.stack([reduced(tf.constant(image)).numpy() for image in images]))


def test_means_are_those_of_blocks():
    image = np.random.default_rng(0).integers(0, 256, (144, 288, 3)).astype("uint8")
    means = reduced(tf.constant(image)).numpy()
    sixteen = image.reshape(16, 9, 16, 18, 3).mean(axis=(1, 3))
    by_nine = image.reshape(16, 9, 9, 32, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(means[:16, :16], sixteen, atol=1e-3)
    np.testing.assert_allclose(means[:16, 16:], by_nine, atol=1e-3)
    printed = fingerprints(means[None])
    np.testing.assert_allclose(printed.details[0], sixteen @ [0.299, 0.587, 0.114], atol=0.51)
    np.testing.assert_allclose(printed.colours[0], image.reshape(4, 36, 4, 72, 3).mean(axis=(1, 3)), atol=0.51)


@pytest.mark.parametrize("shape", [(1, 1, 3), (8, 8, 1), (5, 3, 1), (3, 900, 3), (20, 20, 4), (20, 20, 2)])
def test_any_shape_has_them(shape):
    image = np.random.default_rng(0).integers(0, 256, shape).astype("uint8")
    printed = prints(image)
    assert printed.details.shape == (1, 16, 16) and digest(tf.constant(image)).shape == (8,)


def test_a_saved_picture_stays_close_and_others_are_far():
    images = [picture(number) for number in range(20)]
    again = {
        "quality 40": [tf.io.decode_jpeg(tf.io.encode_jpeg(image, quality=40)).numpy() for image in images],
        "half": [tf.image.resize(image, (30, 41), antialias=True).numpy() for image in images],
        "brighter": [np.clip(image * 1.1, 0, 255).astype("uint8") for image in images],
        "less contrast": [(image * 0.5 + 60).astype("uint8") for image in images],
    }
    hashes = prints(*images).hashes
    for name, versions in again.items():
        printed = prints(*versions)
        apart = candidates.distances(printed.hashes[:, None], hashes[None])
        assert apart.diagonal().max() <= candidates.LIMIT, name
        assert (apart + 99 * np.eye(20)).min() > 20, name


def test_mirrored_is_the_hash_of_the_mirror_image():
    images = [picture(number, 64, 72) for number in range(8)]
    printed, flipped = prints(*images), prints(*(image[:, ::-1] for image in images))
    assert candidates.distances(printed.mirrored, flipped.hashes).max() <= 1  # rounding
    assert candidates.distances(printed.hashes, flipped.hashes).min() > 20


def test_a_plain_background_gives_no_bits_but_an_image_of_one_colour_is_blank():
    generator = np.random.default_rng(0)
    noise = generator.integers(-3, 4, (2, 80, 80, 3))
    photos = np.full((80, 80, 3), 240) + noise
    photos[:, 30:50, 30:50] = 20
    printed = prints(*photos.astype("uint8"))
    assert candidates.distances(*printed.hashes) == 0
    blank = prints(*(np.full((80, 80, 3), 128) + noise).astype("uint8"))
    assert (blank.spread < BLANK).all() and (printed.spread > BLANK).all()


def test_images_of_one_colour_are_blank_whichever_it_is():
    colours = np.array([[255, 0, 0], [0, 0, 255], [30, 160, 90], [128, 128, 128], [254, 255, 1]])
    plain = np.broadcast_to(colours[:, None, None], (5, 40, 40, 3))
    noise = np.random.default_rng(0).integers(-3, 4, plain.shape)
    for images in (plain, (plain + noise).clip(0, 255)):
        assert (prints(*images.astype("uint8")).spread < BLANK).all()
    halves = plain[:1].copy()
    halves[0, :, 20:] = [0, 130, 0]  # as bright in grey
    assert (prints(*halves.astype("uint8")).spread > BLANK).all()


def test_hashes_do_not_depend_on_what_all_of_an_image_is_tinted_with():
    """Rises count from a share of the spread in grey; with that among channels, a strong tint would hide them."""
    generator = np.random.default_rng(0)
    grey = np.kron(generator.integers(0, 20, (8, 8)), np.ones((9, 9)))[..., None]
    tinted = [(grey + tint).astype("uint8") for tint in ([100, 100, 100], [230, 45, 80])]
    assert candidates.distances(*prints(*tinted).hashes) <= 1


def test_a_digest_is_of_pixels_and_shape():
    image = picture(0, 20, 30)
    same = [tf.io.decode_png(tf.io.encode_png(image, compression=level)) for level in (0, 9)]
    assert len({bytes(digest(tf.constant(each)).numpy()) for each in (*same, image)}) == 1
    other = image.copy()
    other[-1, -1, -1] ^= 1
    digests = {bytes(digest(tf.constant(each)).numpy()) for each in (image, other, image.reshape(30, 20, 3))}
    assert len(digests) == 3
    assert digest(tf.constant(image, tf.float32)).shape == (8,)
