"""Weights for another resolution, patch size, head and pooling."""

import functools

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_vit
from keras_vit import positions, weights
from keras_vit.variants import CHOICES
from keras_vit.weights import adapt

RANDOM = np.random.default_rng(0)
TOKEN = oracle.FIXTURES / "vit_token.npz"


@functools.cache
def token():
    """The model as it is in the file."""
    return weights.load(TOKEN)


@pytest.mark.parametrize("sizes", ["4_6", "7_12", "6_4", "14_24"])
def test_grids_are_resampled_as_by_the_official_rule(sizes):
    with np.load(oracle.FIXTURES / "posemb_resample.npz") as arrays:
        grid, expected = arrays[f"in_{sizes}"], arrays[f"out_{sizes}"]
    np.testing.assert_allclose(adapt.resample_grid(grid, expected.shape[:2]), expected, rtol=0, atol=1e-6)


def test_corners_stay_and_lines_stay_lines():
    """The figures of a 2x2 and a 3x3 grid, worked out by hand."""
    two = adapt.resample_grid(np.arange(4.0).reshape(2, 2, 1), (4, 4))[..., 0]
    np.testing.assert_allclose(two, np.add.outer(np.arange(4) * 2 / 3, np.arange(4) / 3), atol=1e-6)
    three = adapt.resample_grid(np.arange(9.0).reshape(3, 3, 1), (5, 5))[..., 0]
    np.testing.assert_allclose(three[:2], [[0, 0.5, 1, 1.5, 2], [1.5, 2, 2.5, 3, 3.5]], atol=1e-6)


@given(
    old=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    new=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    method=st.sampled_from(tuple(adapt.METHODS)),
)
def test_grids_of_any_shape(old, new, method):
    grid = np.broadcast_to(np.float32([1.5, -2.0]), (*old, 2))
    np.testing.assert_allclose(
        adapt.resample_grid(grid, new, method), np.broadcast_to([1.5, -2.0], (*new, 2)), atol=1e-6
    )
    grid = RANDOM.normal(size=(*old, 3)).astype("float32")
    np.testing.assert_allclose(adapt.resample_grid(grid, old, method), grid, atol=1e-6)
    # Rows and columns do not mix.
    transposed = adapt.resample_grid(grid.transpose(1, 0, 2), new[::-1], method)
    np.testing.assert_allclose(transposed.transpose(1, 0, 2), adapt.resample_grid(grid, new, method), atol=1e-5)


def test_bicubic_is_cubic_convolution_between_pixel_centres():
    """Row by row against the definition: weights of Keys's kernel with a = -0.75, taps beyond the edge at the edge."""

    def kernel(x, a=-0.75):
        x = abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    values = RANDOM.normal(size=5)
    expected = []
    for i in range(8):
        place = (i + 0.5) * 5 / 8 - 0.5
        taps = range(int(np.floor(place)) - 1, int(np.floor(place)) + 3)
        expected.append(sum(kernel(place - tap) * values[min(max(tap, 0), 4)] for tap in taps))
    resampled = adapt.resample_grid(values.reshape(5, 1, 1), (8, 1), "bicubic")[:, 0, 0]
    np.testing.assert_allclose(resampled, expected, atol=1e-6)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"nearest.*official, bicubic"):
        adapt.resample_grid(np.zeros((2, 2, 1)), (3, 3), "nearest")
    with pytest.raises(ValueError, match=r"\(h, w, D\).*\(4, 1\)"):
        adapt.resample_grid(np.zeros((4, 1)), (3, 3))
    with pytest.raises(ValueError, match=r"\(P, P, C, D\).*\(2, 3, 1, 1\)"):
        adapt.resize_patch_kernel(np.zeros((2, 3, 1, 1)), 4)


@pytest.mark.parametrize(("old", "new"), [(8, 16), (8, 12), (4, 7)])
def test_enlarged_patches_get_the_projections_they_had(old, new):
    """The invariance that defines the pseudo-inverse resize (FlexiViT, equation 4)."""
    kernel = RANDOM.normal(size=(old, old, 3, 5))
    patch = RANDOM.normal(size=(old, old, 3))
    matrix = adapt.half_pixel_linear(old, new)
    enlarged = np.einsum("ap,bq,pqc->abc", matrix, matrix, patch)
    ours = np.einsum("abc,abcd->d", enlarged, adapt.resize_patch_kernel(kernel, new))
    np.testing.assert_allclose(ours, np.einsum("abc,abcd->d", patch, kernel), rtol=1e-4, atol=1e-4)


def test_the_old_patch_size_is_the_old_kernel():
    kernel = RANDOM.normal(size=(8, 8, 3, 5)).astype("float32")
    np.testing.assert_allclose(adapt.resize_patch_kernel(kernel, 8), kernel, atol=1e-5)


def table(model):
    return oracle.values(model)["patch_encoder/position/table"]


def test_another_resolution_resamples_the_grid_and_keeps_the_class_token():
    before, (model, report) = token(), weights.load(TOKEN, return_report=True, image_size=(48, 64))
    grid = table(before)[0, 1:].reshape(*before.architecture.grid, -1)
    assert model.architecture.grid == (6, 8) and model.preprocessing.size == (48, 64)
    np.testing.assert_array_equal(table(model)[0, 0], table(before)[0, 0])
    np.testing.assert_array_equal(table(model)[0, 1:].reshape(6, 8, -1), adapt.resample_grid(grid, (6, 8)))
    assert report.resized == ["Transformer/posembed_input/pos_embedding"] and len(report.matched) == 55
    assert (report.reinitialised, report.unused, report.missing) == ([], [], [])


def test_another_number_of_classes_gives_a_new_head_of_zeros():
    model, report = weights.load(TOKEN, return_report=True, num_classes=3)
    values = oracle.values(model)
    assert values["head/kernel"].shape[1] == 3 and not values["head/kernel"].any() and not values["head/bias"].any()
    assert report.reinitialised == ["head/bias", "head/kernel"] and not report.resized and not report.missing


def test_the_same_number_of_classes_keeps_the_head():
    classes = token().architecture.num_classes
    report = weights.load(TOKEN, return_report=True, num_classes=classes)[1]
    assert "head/kernel" in report.matched


def test_without_a_head_the_model_returns_features():
    model, report = weights.load(TOKEN, return_report=True, num_classes=0)
    assert report.unused == ["head/bias", "head/kernel"]
    expected = np.load(TOKEN.with_suffix(".expected.npz"))
    np.testing.assert_allclose(model(expected["images"]), expected["features"], rtol=0, atol=1e-5)


def test_the_tanh_layer_is_dropped_with_the_head_that_was_behind_it():
    path = oracle.FIXTURES / "vit_representation.npz"
    report = weights.load(path, return_report=True, representation=None)[1]
    assert report.unused == ["pre_logits/bias", "pre_logits/kernel"]
    assert report.reinitialised == ["head/bias", "head/kernel"]


def test_pooling_by_the_mean_drops_the_class_token_and_its_position():
    before, (model, report) = token(), weights.load(TOKEN, return_report=True, pool="gap")
    np.testing.assert_array_equal(table(model), table(before)[:, 1:])
    assert report.unused == ["cls"] and not model.architecture.class_token


def test_pooling_by_a_new_class_token_names_what_is_missing():
    model, report = weights.load(
        oracle.FIXTURES / "vit_gap.npz", return_report=True, image_size=(24, 40), pool="token", ignore="class_token"
    )
    assert report.missing == ["patch_encoder/class_token"]
    assert not table(model)[:, 0].any()


def test_another_patch_size_on_the_same_grid_answers_alike():
    """Images and patches twice as large: the projections are those of before where images are enlarged ones."""
    before, after = token(), weights.load(TOKEN, patch_size=16, image_size=64)
    channels = before.architecture.channels
    # Constant patches, so that enlarging the image enlarges each patch on its own.
    grid = RANDOM.normal(size=(2, *before.architecture.grid, channels)).astype("float32")
    small, large = (np.repeat(np.repeat(grid, side, axis=1), side, axis=2) for side in (8, 16))
    np.testing.assert_allclose(after(large), before(small), atol=1e-4)


@pytest.mark.parametrize("pool", CHOICES["pool"])
@pytest.mark.parametrize("position", CHOICES["position"])
def test_every_kind_may_change_resolution(position, pool):
    model = keras_vit.build("mu/16", image_size=64, position=position, pool=pool, num_classes=3)
    oracle.randomise(model)
    larger, report = weights.load(model, return_report=True, image_size=(96, 64))
    assert larger.architecture.grid == (6, 4) and (report.missing, report.unused, report.reinitialised) == ([], [], [])
    tables = positions.variables(model.architecture).values()
    assert len(report.resized) == sum(variable.of not in ("columns", "prefix") for variable in tables)
    assert np.all(np.isfinite(larger(oracle.images(larger.architecture))))


def on_grid(sequence):
    """Rows and columns that each raster offset spans, as shares of the image."""
    spans = []
    for offset in range(1 - sequence.patches, sequence.patches):
        rows, columns = divmod(abs(offset), sequence.grid[1])
        if 2 * columns > sequence.grid[1] and rows + 1 < sequence.grid[0]:
            rows, columns = rows + 1, columns - sequence.grid[1]
        spans.append([np.sign(offset) * n / (side - 1) for n, side in zip((rows, columns), sequence.grid, strict=True)])
    return np.array(spans, "float32")


@pytest.mark.parametrize(("old", "new"), [((3, 5), (5, 9)), ((3, 3), (7, 5)), ((5, 5), (5, 5))])
def test_offsets_keep_how_much_of_the_image_they_span(old, new):
    source, target = (positions.Sequence(grid, ("class_token",), 8, 2) for grid in (old, new))
    of_class = np.array([[7.0, 8.0], [9.0, 10.0]], "float32")
    resampled = adapt.RESAMPLED["offsets"](source, target, np.concatenate([on_grid(source), of_class]))
    np.testing.assert_allclose(resampled, np.concatenate([on_grid(target), of_class]), atol=1e-6)
