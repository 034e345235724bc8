"""One look at every image."""

import numpy as np
import tensorflow as tf

from trainers.data import images
from trainers.data.source import Split
from trainers.inspection import fingerprints, image_kinds
from trainers.inspection.scan import BATCH, scan


def split_of(encoded, names, channels=3):
    held = tf.constant(encoded)
    return Split(
        len(encoded), lambda index: (held[index], tf.constant(0)), None, lambda index: names[index], channels=channels
    )


def test_order_is_kept_and_bad_images_are_passed_over(monkeypatch):
    """More than a batch, with bad ones at its borders, and a whole batch of them; all but the last are explained."""
    size = 4 * BATCH + 5
    images = [tf.io.encode_png(np.full((index % 7 + 1, 4, 3), index % 251, "uint8")).numpy() for index in range(size)]
    bad = {0, BATCH - 1, BATCH, size - 1, *range(2 * BATCH, 3 * BATCH)}
    for index in bad:
        images[index] = b"<html>" if index % 2 else b""
    monkeypatch.setattr("trainers.inspection.scan.EXPLAINED", len(bad) - 1)
    scanned = scan(split_of(images, [f"{index}.png" for index in range(size)]), "these")
    assert set(scanned.unreadable.tolist()) == bad and scanned.bad.keys() == bad - {size - 1}
    assert scanned.reason(size - 1) == "not looked at again" and scanned.reason(0) == scanned.bad[0]
    assert "HTML" in scanned.bad[BATCH - 1] and "empty" in scanned.bad[0]
    good = np.setdiff1d(np.arange(size), [*bad])
    assert np.flatnonzero(scanned.readable).tolist() == good.tolist()
    assert scanned.sizes[good].tolist() == [[index % 7 + 1, 4] for index in good]
    assert (scanned.prints.colours[good, 0, 0, 0] == good % 251).all()
    assert (scanned.sizes[[*bad]] == 0).all() and not scanned.misnamed.any() and scanned.seconds > 0
    assert scanned.blank.sum() == len(good)


def test_names_that_promise_another_format():
    png, jpeg = (encode(np.zeros((4, 4, 3), "uint8")).numpy() for encode in (tf.io.encode_png, tf.io.encode_jpeg))
    names = ["archive.tar, member e", "a.png", "b.JPG", "c.jpeg", "d.png", "f.webp"]
    scanned = scan(split_of([png, png, png, jpeg, jpeg, png], names), "these")
    assert scanned.misnamed.tolist() == [False, False, True, False, True, True]
    assert [image_kinds.FORMATS[kind] for kind in scanned.kinds[:, 0]] == ["PNG", "PNG", "PNG", "JPEG", "JPEG", "PNG"]


def test_grey_is_compared_with_colour():
    """The same pixels, decoded to one channel and to three, are nearly the same."""
    generator = np.random.default_rng(0)
    image = tf.io.encode_png(np.kron(generator.integers(0, 256, (8, 8, 1)), np.ones((9, 9, 1))).astype("uint8"))
    means = (fingerprints.reduced(images.decode(image, channels)) for channels in (1, 3))
    grey, colour = (fingerprints.fingerprints(each.numpy()[None]) for each in means)
    assert (grey.hashes == colour.hashes).all()
    assert np.abs(grey.details.astype(int) - colour.details).max() <= 1
