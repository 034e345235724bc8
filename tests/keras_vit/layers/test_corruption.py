"""Which patches are corrupted, and how: properties of the choice, its statistics, and the layer that carries it out."""

import keras
import numpy as np
import oracle
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from keras_vit.layers import corruption as room
from keras_vit.layers.corruption import PATTERNS, Corruption, corruption

# The largest of the 2^24 numbers that float32 noise may be.
LAST = 1 - 2**-24


def chosen(noise):
    return [np.asarray(part) for part in corruption(noise)]


def noises(patches):
    """Ties, both ends and the borders between the manners included."""
    numbers = st.one_of(st.sampled_from([0.0, 0.5, 0.75, LAST]), st.floats(0, LAST, width=32))
    return arrays("float32", (2, 3, patches), elements=numbers)


@settings(max_examples=60)
@given(noise=st.integers(2, 30).flatmap(noises))
def test_choice_holds_for_any_noise(noise):
    corrupted, masked, source = chosen(noise)
    patches = noise.shape[-1]
    replaced = source != np.arange(patches)
    assert (corrupted.sum(axis=1) == round(patches / 2)).all()
    assert not (masked & ~corrupted).any()
    assert not (replaced & (masked | ~corrupted)).any()
    assert ((source >= 0) & (source < patches)).all()
    # Never its own: a patch is replaced if and only if its number says so.
    np.testing.assert_array_equal(replaced, corrupted & (noise[:, 1] >= 0.8) & (noise[:, 1] < 0.8 + 0.1))


@pytest.mark.parametrize("patches, half", [(2, 1), (3, 2), (5, 2), (7, 4), (9, 4), (49, 24), (196, 98)])
def test_half_a_patch_is_rounded_to_even(patches, half):
    corrupted, _, _ = chosen(np.random.default_rng(0).random((2, 3, patches), "float32"))
    assert corrupted.sum(axis=1).tolist() == [half, half]


@pytest.mark.parametrize("patches", [2, 3, 5, 49, 197, 1370])
def test_last_number_replaces_by_the_last_of_the_other_patches(patches):
    noise = np.full((1, 3, patches), LAST, "float32")
    noise[:, 1] = 0.85
    corrupted, _, source = chosen(noise)
    np.testing.assert_array_equal(source[corrupted], (np.arange(patches)[corrupted[0]] - 1) % patches)


@pytest.fixture(scope="module")
def many():
    """100,000 corrupted patches, drawn as in training."""
    noise = keras.random.uniform((10_000, 3, 20), seed=keras.random.SeedGenerator(1))
    return chosen(noise)


def test_of_the_half_a_tenth_is_replaced_and_a_tenth_stays(many):
    corrupted, masked, source = many
    replaced = source != np.arange(20)
    total = corrupted.sum()
    # Five standard deviations of a share of 100,000.
    assert masked.sum() / total == pytest.approx(0.8, abs=0.0065)
    assert replaced.sum() / total == pytest.approx(0.1, abs=0.005)
    assert (corrupted & ~masked & ~replaced).sum() / total == pytest.approx(0.1, abs=0.005)


def test_shares_are_drawn_patch_by_patch(many):
    _, masked, _ = many
    # Of a binomial of 10 draws, not 8 in every image.
    assert np.var(masked.sum(axis=1)) == pytest.approx(10 * 0.8 * 0.2, rel=0.1)


def test_every_patch_is_as_likely_and_every_other_one_replaces_it(many):
    corrupted, _, source = many
    np.testing.assert_allclose(corrupted.mean(axis=0), 0.5, atol=0.025)
    distances = (source - np.arange(20))[source != np.arange(20)] % 20
    counts = np.bincount(distances, minlength=20)
    assert counts[0] == 0
    np.testing.assert_allclose(counts[1:] / len(distances), 1 / 19, atol=0.012)


def made(patches=6, width=4, dtype=None):
    layer = Corruption(dtype=dtype)
    layer.build((None, patches, width))
    oracle.assign(layer, mask_embedding=oracle.normal(width, seed=9))
    return layer


def drawn(layer, place, embeddings, training=True):
    """What the layer answers when its random state is `place`."""
    layer.seed_generator.state.assign([3, place])
    answer, corrupted = layer(embeddings, np.zeros(len(embeddings), "int32"), training=training)
    return np.asarray(answer), np.asarray(corrupted)


def test_patches_are_masked_replaced_or_left():
    layer, embeddings = made(), oracle.normal(64, 6, 4)
    answer, corrupted = drawn(layer, 0, embeddings)
    seen = set()
    for image, (before, after) in enumerate(zip(embeddings, answer, strict=True)):
        for patch in range(6):
            whose = [other for other in range(6) if np.array_equal(after[patch], before[other])]
            masked = np.array_equal(after[patch], oracle.values(layer)["mask_embedding"])
            assert masked or len(whose) == 1
            assert corrupted[image, patch] or whose == [patch]
            seen.add("masked" if masked else "left" if whose == [patch] else "replaced")
    assert seen == {"masked", "left", "replaced"}


def test_in_training_the_random_state_decides():
    layer, embeddings = made(), oracle.normal(8, 6, 4)
    (first, corrupted), (again, _), (other, other_corrupted) = (drawn(layer, place, embeddings) for place in (5, 5, 6))
    np.testing.assert_array_equal(again, first)
    assert not np.array_equal(other, first)
    assert not np.array_equal(other_corrupted, corrupted)
    assert len({row.tobytes() for row in corrupted}) > 1  # images of a batch differ


def test_the_engine_finds_the_random_state():
    (state,) = Corruption().non_trainable_variables
    assert "seed_generator" in state.path


def test_outside_training_the_id_decides():
    layer, embeddings, ids = made(), oracle.normal(40, 6, 4), np.arange(100, 140)
    answer, corrupted = map(np.asarray, layer(embeddings, ids))
    order = np.random.default_rng(0).permutation(40)[:13]
    some, some_corrupted = layer(embeddings[order], ids[order])
    np.testing.assert_array_equal(some, answer[order])
    np.testing.assert_array_equal(some_corrupted, corrupted[order])
    np.testing.assert_array_equal(layer(embeddings, ids + PATTERNS)[1], corrupted)
    np.testing.assert_array_equal(made()(embeddings, ids)[1], corrupted)
    assert len({row.tobytes() for row in corrupted}) > 5
    assert (corrupted.sum(axis=1) == 3).all()


def test_outside_training_the_shares_are_the_same():
    corrupted, masked, source = chosen(made(patches=400).noise_K3N)
    assert masked.sum() / corrupted.sum() == pytest.approx(0.8, abs=0.02)
    assert (source != np.arange(400)).sum() / corrupted.sum() == pytest.approx(0.1, abs=0.015)


def test_gradients_reach_the_mask_and_what_is_still_to_be_seen(monkeypatch):
    monkeypatch.setattr(room, "REPLACED", 0.0)
    layer, embeddings = made(), tf.constant(oracle.normal(2, 6, 4))
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        answer, _ = layer(embeddings, np.array([1, 2]))
        loss = tf.reduce_sum(answer)
    to_embeddings, to_mask = tape.gradient(loss, [embeddings, layer.mask_embedding.value])
    masked = np.asarray(corruption(layer.noise_K3N[1:3])[1])
    np.testing.assert_array_equal(to_mask, np.full(4, masked.sum()))
    np.testing.assert_array_equal(to_embeddings, np.where(masked[..., None], 0.0, np.ones((2, 6, 4))))


def test_half_precision_goes_through():
    answer, corrupted = made(dtype="mixed_bfloat16")(oracle.normal(2, 6, 4), np.array([0, 1]))
    assert (answer.dtype, corrupted.dtype) == ("bfloat16", "bool")


def test_mask_starts_at_zero():
    layer = Corruption()
    layer.build((None, 6, 4))
    np.testing.assert_array_equal(oracle.values(layer)["mask_embedding"], np.zeros(4))


@pytest.mark.parametrize("patches", [1, None])
def test_one_patch_has_no_other(patches):
    with pytest.raises(ValueError, match=f"2 patches or more per image; got {patches}"):
        Corruption().build((None, patches, 4))
