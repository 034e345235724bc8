import keras
import numpy as np
import oracle
import pytest
import reference

from keras_vit.layers import PatchEncoder, Patches


@pytest.mark.parametrize(
    "image_shape, patch_size",
    [((8, 8, 3), 4), ((6, 12, 3), 2), ((12, 4, 1), 4), ((5, 7, 2), 1), ((3, 3, 4), 3)],
)
def test_patches_are_cut_as_the_paper_says(image_shape, patch_size):
    images = oracle.normal(2, *image_shape)
    np.testing.assert_array_equal(Patches(patch_size)(images), reference.patches(images, patch_size).astype("float32"))


def test_patch_values_are_in_row_column_channel_order():
    # Each pixel says where it is: 100 row + 10 column + channel.
    rows, columns, channels = np.ogrid[:4, :4, :2]
    images = (100 * rows + 10 * columns + channels)[None].astype("float32")
    second = np.asarray(Patches(2)(images))[0, 1]
    np.testing.assert_array_equal(second, [20, 21, 30, 31, 120, 121, 130, 131])


def test_projecting_patches_is_the_convolution_of_the_checkpoints():
    images, kernel = oracle.normal(2, 8, 12, 3), oracle.normal(4, 4, 3, 5, seed=2)
    convolved = keras.ops.conv(images, kernel, strides=4, padding="valid")
    projected = np.asarray(Patches(4)(images)) @ kernel.reshape(-1, 5)
    np.testing.assert_allclose(projected, np.reshape(convolved, (2, 6, 5)), **oracle.TOLERANCE)


@pytest.mark.parametrize("position", ["none", "learned_1d", "learned_2d", "relative", "sincos1d", "sincos2d"])
@pytest.mark.parametrize("class_token", [True, False])
def test_encoder_is_equation_1(position, class_token):
    encoder = PatchEncoder(8, position=position, class_token=class_token, grid=(2, 3))
    images = oracle.normal(2, 8, 12, 3)
    encoder(Patches(4)(images))
    arrays = oracle.randomise(encoder)
    named = {"embedding/kernel": arrays["projection/kernel"].reshape(4, 4, 3, 8)}
    named |= {"embedding/bias": arrays["projection/bias"]}
    named |= {"cls": arrays["class_token"]} if class_token else {}
    own = reference.subtree(arrays, "position")
    table = oracle.position_table(position, own, (2, 3), 8, class_token)
    expected = reference.embed(named, images, 4, position=table)
    np.testing.assert_allclose(encoder(Patches(4)(images)), expected, **oracle.TOLERANCE)


def test_encoder_finds_a_square_grid_by_itself():
    patches = oracle.normal(2, 9, 12)
    named, inferred = PatchEncoder(8, position="sincos2d", grid=(3, 3)), PatchEncoder(8, position="sincos2d")
    named(patches), inferred(patches)
    inferred.set_weights(named.get_weights())
    np.testing.assert_array_equal(inferred(patches), named(patches))


@pytest.mark.parametrize("class_token", [True, False])
def test_encoder_dropout_comes_after_positions_and_scales_survivors(class_token):
    encoder = PatchEncoder(8, class_token=class_token, dropout=0.25)
    patches = oracle.normal(50, 9, 12)
    encoder(patches)
    oracle.randomise(encoder)
    ratios = np.asarray(encoder(patches, training=True)) / np.asarray(encoder(patches))
    assert np.all(np.isclose(ratios, 0) | np.isclose(ratios, 1 / 0.75))
    assert np.mean(np.isclose(ratios, 0)) == pytest.approx(0.25, abs=0.03)
    if class_token:
        assert np.mean(np.isclose(ratios[:, 0], 0)) == pytest.approx(0.25, abs=0.09)


@pytest.mark.parametrize("class_token, expected", [(True, [[1, 1, 1, 0, 0]]), (False, [[1, 1, 0, 0]])])
def test_encoder_mask_gains_a_class_token(class_token, expected):
    encoder = PatchEncoder(8, class_token=class_token)
    mask = encoder.compute_mask(oracle.normal(1, 4, 12), np.array([[True, True, False, False]]))
    np.testing.assert_array_equal(mask, np.array(expected, bool))


def test_encoder_without_a_mask_has_none():
    assert PatchEncoder(8).compute_mask(oracle.normal(1, 4, 12)) is None


def test_patch_kernel_starts_as_lecun_normal():
    encoder = PatchEncoder(768)
    encoder.build((None, 196, 16 * 16 * 3))
    kernel, bias = (oracle.values(encoder)[f"projection/{name}"] for name in ("kernel", "bias"))
    assert np.std(kernel) == pytest.approx(0.0361, rel=0.01)
    # Truncated at two standard deviations of the uncorrected normal.
    assert np.abs(kernel).max() < 2 * 0.0361 / 0.87962566 + 1e-4
    np.testing.assert_array_equal(bias, np.zeros(768))


def test_class_token_starts_at_zero():
    encoder = PatchEncoder(8)
    encoder.build((None, 4, 12))
    np.testing.assert_array_equal(oracle.values(encoder)["class_token"], np.zeros((1, 1, 8)))


BAD = [
    (lambda: Patches(0), ["patch_size", "0"]),
    (lambda: Patches(2.0), ["patch_size", "2.0"]),
    (lambda: Patches(4)(oracle.normal(1, 8, 9, 3)), ["8x9", "4"]),
    (lambda: Patches(4)(oracle.normal(1, 7, 8, 3)), ["7x8", "4"]),
    (lambda: Patches(4)(oracle.normal(8, 8, 3)), ["(8, 8, 3)"]),
    (lambda: Patches(4)(keras.Input((None, 8, 3))), ["None"]),
    (lambda: PatchEncoder(8, position="2d"), ["'2d'", "learned_1d", "learned_2d", "sincos2d"]),
    (lambda: PatchEncoder(8, position="learned_2d")(oracle.normal(1, 6, 12)), ["6 patches", "grid"]),
    (lambda: PatchEncoder(8, position="sincos2d", grid=(2, 2))(oracle.normal(1, 6, 12)), ["6 patches", "2x2"]),
    (lambda: PatchEncoder(6, position="sincos2d")(oracle.normal(1, 4, 12)), ["sincos2d", "4", "6"]),
    (lambda: PatchEncoder(7, position="sincos1d")(oracle.normal(1, 4, 12)), ["sincos1d", "2", "7"]),
    (lambda: PatchEncoder(7, position="learned_2d")(oracle.normal(1, 4, 12)), ["learned_2d", "2", "7"]),
]


@pytest.mark.parametrize("make, fragments", BAD, ids=[" ".join(fragments) for _, fragments in BAD])
def test_bad_use_is_one_value_error_that_names_the_values(make, fragments):
    with pytest.raises(ValueError) as error:
        make()
    assert [fragment for fragment in fragments if fragment not in str(error.value)] == []
