"""BiT's `.npz` files: the published names, big_vision's, and what they tell about the architecture."""

import functools
import json

import keras
import numpy as np
import oracle
import pytest

from keras_vit import BitArchitecture, build, weights
from keras_vit.weights import InvalidWeights, bit

FIXTURE = oracle.FIXTURES / "bit_resnet.npz"


def read(path):
    with np.load(path) as archive:
        return dict(archive)


@functools.cache
def load(path=FIXTURE, **overrides):
    return weights.load(path, **{"image_size": 64, **overrides})


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The fixture's arrays in a file with the published names and shapes, spelt out a second time."""
    arrays = {}
    for name, array in read(FIXTURE).items():
        *place, module, leaf = name.split("/")
        if module in ("conv_root", "conv_proj"):
            parts = [*place, *(["a", "proj"] if module == "conv_proj" else []), "standardized_conv2d", leaf]
        elif module.startswith("conv"):
            parts = [*place, "abc"[int(module[-1]) - 1], "standardized_conv2d_7", leaf]
        elif module == "head":
            parts, array = ["head", "conv2d", leaf], array[None, None] if leaf == "kernel" else array
        else:
            letter = [] if module == "norm-pre-head" else ["abc"[int(module[-1]) - 1]]
            parts, array = [*place, *letter, "group_norm", {"scale": "gamma", "bias": "beta"}[leaf]], array.ravel()
        arrays["/".join(["resnet", *parts])] = array
    path = tmp_path_factory.mktemp("bit") / "published.npz"
    np.savez(path, **arrays)
    return path


def test_architecture_is_told_by_the_arrays():
    config = json.loads((oracle.FIXTURES / "bit_resnet.json").read_text())
    a = load().architecture
    fields = {"image_size": [*a.image_shape[:2]], "num_classes": a.num_classes, "width": a.root_width / 64}
    assert fields | {"depth": [*a.units]} == config


def test_names_decide_what_lies_beyond_the_border(published):
    # Zeros in the published code, minus infinity in big_vision's.
    assert load(FIXTURE).architecture.root_pool_padding == "lowest"
    assert load(published).architecture.root_pool_padding == "zeros"


@pytest.mark.parametrize("part", ["logits", "features"])
def test_published_names_are_read_whatever_their_numbers(part, published):
    expected = np.load(oracle.FIXTURES / "bit_resnet.expected.npz")
    model, report = weights.load(published, return_report=True, image_size=64, root_pool_padding="lowest")
    features = features_of(model)(expected["images"])
    actual = {"logits": model(expected["images"]), "features": features}[part]
    np.testing.assert_allclose(actual, expected[part], rtol=0, atol=1e-5)
    assert len(report.matched) == len(read(published)) and report[1:] == ([], [], [], [])


def features_of(model):
    return keras.Model(model.input, model.get_layer("pre_logits").output)


def test_the_two_paddings_differ():
    images = np.load(oracle.FIXTURES / "bit_resnet.expected.npz")["images"]
    difference = np.abs(load()(images) - load(root_pool_padding="zeros")(images))
    assert 1e-4 < difference.max() < 1e-2


@pytest.mark.parametrize("image_size", [64, (33, 50)])
def test_file_to_keras_and_back_is_byte_equal(published, tmp_path, image_size):
    weights.save(load(published, image_size=image_size), tmp_path / "model.keras", format="keras")
    model = weights.load(tmp_path / "model.keras")
    weights.save(model, tmp_path / "again.npz", format="bit")
    before, after = read(published), read(tmp_path / "again.npz")
    before = {name.replace("conv2d_7/", "conv2d/"): array for name, array in before.items()}
    assert sorted(before) == sorted(after)
    for name, array in before.items():
        assert array.tobytes() == after[name].tobytes() and array.shape == after[name].shape, name
    weights.save(weights.load(tmp_path / "again.npz"), tmp_path / "third.npz", format="bit")
    assert (tmp_path / "third.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()


def test_written_file_remembers_what_arrays_do_not_tell(tmp_path):
    weights.save(load(), tmp_path / "w.npz", format="bit")
    assert weights.load(tmp_path / "w.npz").architecture == load().architecture


def test_another_head_and_resolution_leave_the_rest():
    model, report = load(num_classes=3, image_size=(40, 72), return_report=True)
    assert model.architecture == load().architecture.replace(num_classes=3, image_size=(40, 72))
    assert report.reinitialised == ["head/bias", "head/kernel"] and report.resized == []
    images = oracle.images(model.architecture)
    assert not np.any(model(images))
    same = load(image_size=(40, 72))
    np.testing.assert_array_equal(features_of(model)(images), features_of(same)(images))


def test_model_without_a_head(tmp_path):
    model = build(BitArchitecture(units=(1, 1), root_width=32, num_classes=0, image_size=32))
    oracle.randomise(model)
    weights.save(model, tmp_path / "w.npz", format="bit")
    assert not [name for name in read(tmp_path / "w.npz") if "head" in name]
    images = oracle.images(model.architecture)
    np.testing.assert_array_equal(weights.load(tmp_path / "w.npz")(images), model(images))


@pytest.mark.parametrize(
    "overrides, said",
    [
        ({"units": (2, 2)}, r"units=\(2, 1\).*units=\(2, 2\).*padding of the root"),
        ({"root_width": 64}, "root_width=32.*root_width=64"),
        ({"heads": 4}, "BiT architecture has no field heads"),
        ({"root_pool_padding": "ones"}, "zeros, lowest"),
    ],
    ids=str,
)
def test_override_that_does_not_fit_the_file_is_refused(overrides, said):
    with pytest.raises(InvalidWeights, match=said):
        load(**overrides)


@pytest.mark.parametrize("name", ["block1/unit02/conv1/kernel", "norm-pre-head/scale", "head/kernel"])
def test_missing_array_is_named(name, tmp_path):
    arrays = {own: array for own, array in read(FIXTURE).items() if own != name}
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(InvalidWeights, match="Missing for"):
        load(tmp_path / "w.npz")


def test_missing_unit_is_told(tmp_path):
    np.savez(tmp_path / "w.npz", **{own: array for own, array in read(FIXTURE).items() if "unit01" not in own})
    with pytest.raises(InvalidWeights, match="do not count from 1 without gaps"):
        load(tmp_path / "w.npz")


def test_a_vector_of_two_axes_is_refused(tmp_path):
    arrays = read(FIXTURE)
    name = "norm-pre-head/scale"
    np.savez(tmp_path / "w.npz", **{**arrays, name: arrays[name].reshape(2, -1)})
    with pytest.raises(InvalidWeights, match=rf"{name} \(2, 128\): expected a vector"):
        load(tmp_path / "w.npz")


@pytest.mark.parametrize("format", [name for name in weights.FORMATS if name != "bit"])
def test_other_formats_refuse_a_bit_and_name_its_own(format, tmp_path):
    with pytest.raises(ValueError, match=f"The {format} format cannot hold this model: .*Use bit or keras"):
        weights.save(load(), tmp_path / "w.npz", format=format)


def test_bit_refuses_a_vision_transformer_and_others_a_stem(tmp_path):
    hybrid = weights.load(oracle.FIXTURES / "vit_hybrid.npz")
    for format in weights.FORMATS:
        if format != "google":
            with pytest.raises(ValueError, match=f"The {format} format cannot hold this model: .*Use google or keras"):
                weights.save(hybrid, tmp_path / "w.npz", format=format)
    assert bit.cannot_hold(load().architecture) is None
