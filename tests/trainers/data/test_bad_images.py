"""Images that cannot be read: weight 0 and a reason each, and everybody else as if nothing had happened."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_vit.preprocessing import Preprocessing
from trainers.data import cache, pipeline
from trainers.data.bad_images import BadImage, BadImages, why
from trainers.data.source import Source, Split
from trainers.settings.augmentation import AugmentationSettings

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 256, (40, 12, 12, 3)).astype("uint8")
FILES = [tf.io.encode_png(pixels).numpy() for pixels in PIXELS]
BAD = {3: b"", 17: b"<html>404</html>", 30: FILES[30][:60]}
SIZE = Preprocessing(size=(12, 12))


def split_of(files, fails=()):
    """A split that holds encoded images; reading those numbered in `fails` fails."""
    held, size = tf.constant(files), len(files)

    def read(index):
        is_there = tf.reduce_all(index != tf.constant([*fails, -1], tf.int64))
        with tf.control_dependencies([tf.debugging.Assert(is_there, ["gone"])]):
            return tf.gather(held, index), index % 5

    pairs = np.arange(size), np.arange(size) % 5
    return Split(size, read, lambda: pairs, lambda index: f"dir/{index}.png", sum(map(len, files)))


def source_of(files, policy="skip", max_share=0.5, fails=()):
    return Source("pictures", 3, 5, None, {"train": split_of(files, fails)}, bad=BadImages(policy, max_share))


def rows(dataset, count):
    batches = [{name: value.numpy() for name, value in batch.items()} for batch in dataset.take(count)]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def trained_on(source, **arguments):
    return rows(
        pipeline.TrainingData(source.split("train"), 8, SIZE, AugmentationSettings(), seed=1, **arguments).batches(), 10
    )


def evaluated_on(source, **arguments):
    return rows(pipeline.EvaluationData(source.split("train"), 16, SIZE, **arguments).batches(), 3)


def with_bad(files):
    return [BAD.get(number, file) for number, file in enumerate(files)]


def check(rows, clean, numbers):
    """That rows with bad images have no weight, and all else is as without them."""
    bad = np.isin(rows["ids"], numbers)
    np.testing.assert_array_equal(rows["ids"], clean["ids"])
    np.testing.assert_array_equal(rows["weights"], np.where(bad, 0, clean["weights"]))
    assert not rows["images"][bad].any() and bad.sum() >= 3
    for name in ("images", "labels"):
        np.testing.assert_allclose(rows[name][~bad], clean[name][~bad], atol=1e-6)


def test_bad_rows_have_no_weight_and_no_other_row_moves():
    source = source_of(with_bad(FILES), fails=[5])
    check(trained_on(source), trained_on(source_of(FILES)), [*BAD, 5])
    assert set(source.bad.snapshot()["train"]) == {f"dir/{number}.png" for number in (*BAD, 5)}
    assert "gone" in source.bad.snapshot()["train"]["dir/5.png"]


@pytest.fixture(scope="module")
def evaluated():
    source = source_of(with_bad(FILES))
    return evaluated_on(source, keep="memory"), source.bad.snapshot()


@pytest.fixture(scope="module")
def reasons(evaluated):
    return evaluated[1]


def test_so_it_is_in_evaluation(evaluated):
    ids = np.minimum(np.arange(48), 39)
    whole = {"ids": ids, "weights": np.arange(48) < 40, "images": PIXELS[ids] / 127.5 - 1, "labels": ids % 5}
    check(evaluated[0], whole, [*BAD])
    assert set(evaluated[1]["train"]) == {f"dir/{number}.png" for number in BAD}


def judged(reasons, policy="skip", max_share=0.5):
    """What is made of findings."""
    source = source_of(with_bad(FILES), policy, max_share)
    pipeline.EvaluationData(source.split("train"), 16, SIZE)
    source.bad.merge(reasons)
    source.bad.check()


def test_fail_names_the_image_the_reason_and_the_way_on(reasons):
    with pytest.raises(BadImage, match=r"dir/\d+\.png cannot be read: .+--on_bad_image=skip") as error:
        judged(reasons, "fail")
    assert "\n" not in str(error.value) and "{{" not in str(error.value) and "assertion" not in str(error.value)
    assert error.value.exit_code == 2


def test_skip_stops_past_a_share(reasons):
    judged(reasons, max_share=0.075)
    judged({"train": {**reasons["train"]}}, max_share=0.075)  # each counts once, however often it is seen
    with pytest.raises(BadImage, match=r"3 of the 40 images of train .*--max_bad_share=0\.05.*dir/"):
        judged(reasons, max_share=0.05)
    with pytest.raises(BadImage, match="4 of the 40"):
        judged({"train": {**reasons["train"], "dir/38.png": "whatever"}}, max_share=0.075)


def test_reasons_can_be_read(reasons):
    assert reasons["train"]["dir/17.png"].endswith("it looks like HTML")
    assert "PNG" in reasons["train"]["dir/30.png"] and "empty" in reasons["train"]["dir/3.png"]


def test_memory_holds_what_was_read():
    split = split_of(with_bad(FILES), fails=[7])
    held = cache.cached(split, "memory")
    for index in (0, 3, 7, 39):
        image, label = held.read(tf.constant(index, tf.int64))
        assert image.numpy() == (b"" if index == 7 else with_bad(FILES)[index])
        assert label.numpy() == (0 if index == 7 else index % 5)


def test_auto_keeps_what_fits(monkeypatch):
    split = split_of(FILES)
    assert cache.cached(split, "auto") is not split and "in memory" in cache.words(split, "auto")
    assert cache.cached(split, "none") is split
    unknown = dataclasses.replace(split, encoded_bytes=None)
    assert cache.cached(unknown, "auto") is unknown and "unknown" in cache.words(unknown, "auto")
    monkeypatch.setattr(cache, "LIMIT", 1000)
    assert cache.cached(split, "auto") is split and "anew" in cache.words(split, "auto")


def test_every_kind_of_damage_has_a_reason_of_its_own():
    encoded = {
        b"GIF89a" + bytes(40): "the GIF holds no image",
        FILES[0][:-6]: "Invalid PNG data",
        tf.io.encode_jpeg(PIXELS[0]).numpy()[:-30]: "Invalid JPEG data",
    }
    split = split_of([*encoded])
    for index, reason in enumerate(encoded.values()):
        assert reason in why(split, index)
