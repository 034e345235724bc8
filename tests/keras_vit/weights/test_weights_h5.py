"""Keras's `.weights.h5` files: ours, those of a model's own `save_weights`, and files that are neither."""

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import keras_vit
from keras_vit import weights
from keras_vit.weights import InvalidWeights

FIELDS = {
    **{"image_size": 16, "patch_size": 8, "width": 8, "depth": 2, "heads": 2, "mlp_width": 5, "num_classes": 3},
    "dropout": 0.1,
}
QUERY = "layers/transformer_block/attention/query"


def built(dtype=None, class_names=None, **fields):
    model = keras_vit.build(keras_vit.Architecture(**{**FIELDS, **fields}), dtype=dtype, class_names=class_names)
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=value.shape).astype("float32") for value in model.get_weights()])
    return model


def assert_same(one, other):
    assert [variable.path for variable in one.weights] == [variable.path for variable in other.weights]
    for value, expected in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(value.astype("float32"), expected.astype("float32"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A model and the bytes of the file its own `save_weights` writes."""
    model = built()
    path = tmp_path_factory.mktemp("plain") / "m.weights.h5"
    model.save_weights(path)
    return model, path.read_bytes()


@pytest.fixture
def path(plain, tmp_path):
    """Such a file, to change."""
    (tmp_path / "m.weights.h5").write_bytes(plain[1])
    return tmp_path / "m.weights.h5"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_saved_carries_everything_and_is_keras_own_file(dtype, tmp_path):
    names = ["a" * 50_000, "b" * 50_000, "ü"]  # more than an attribute holds in its header
    model = built(dtype, names, gelu="erf", epsilon=1e-12, position="sincos2d", channels=2)
    weights.save(model, tmp_path / "m.weights.h5", format="keras")
    other, report = weights.load(tmp_path / "m.weights.h5", return_report=True)
    assert (other.architecture, other.class_names) == (model.architecture, names)
    assert other.preprocessing == model.preprocessing
    assert len(report.matched) == len(model.weights) and report[1:] == ([], [], [], [])
    assert_same(other, model)
    expected = model.get_weights()
    model.set_weights([0 * value for value in expected])
    model.load_weights(tmp_path / "m.weights.h5")
    assert all((value == other).all() for value, other in zip(model.get_weights(), expected, strict=True))


ARCHITECTURES = {
    "class token": {},
    "mean": {"pool": "gap", "position": "none"},
    "attention pooling": {"pool": "map", "representation": 4, "position": "learned_2d", "image_size": (8, 24)},
    "tables in blocks": {"position_site": "blocks", "position": "learned_2d"},
    "one table before every block": {"position_site": "shared", "pool": "gap", "num_classes": 0},
    "relative": {"position": "relative", "channels": 1},
    "no biases in attention": {"attention_bias": False, "patch_size": 4},
}


@pytest.mark.parametrize("fields", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_what_save_weights_wrote_tells_the_architecture(fields, tmp_path):
    model = built(**fields)
    model.save_weights(tmp_path / "m.weights.h5")
    other = weights.load(
        tmp_path / "m.weights.h5", dropout=0.1, **({"image_size": 16} if fields.get("position") == "none" else {})
    )
    assert other.architecture == model.architecture
    assert_same(other, model)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"position": "sincos2d"}, "which fixed positions are added, sincos1d or sincos2d; pass position="),
        ({"image_size": (8, 24)}, "3 positions do not form a square grid; pass image_size="),
        ({"channels": 2}, "neither 3 nor 1 channels; write the file by weights.save"),
    ],
)
def test_what_arrays_do_not_tell_is_asked_for(fields, said, tmp_path):
    model = built(**fields)
    model.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(InvalidWeights, match=said):
        weights.load(tmp_path / "m.weights.h5")
    if "channels" not in fields:
        assert_same(weights.load(tmp_path / "m.weights.h5", **fields), model)


def test_resolution_and_head_may_become_others(path):
    model, report = weights.load(path, return_report=True, image_size=32, num_classes=5)
    assert model.architecture.grid == (4, 4) and weights.head_is_zero(model)
    assert len(report.resized) == 1 and len(report.reinitialised) == 2


# Damage: what is done to the open file, what is said.


def put(file, **options):
    del file[f"{QUERY}/vars/0"]
    file.create_dataset(f"{QUERY}/vars/0", **options)


def linked(kind):
    def damage(file):
        del file[f"{QUERY}/vars/0"]
        file[f"{QUERY}/vars/0"] = kind

    return damage


def virtual(file):
    layout = h5py.VirtualLayout((8, 2, 4), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (8, 2, 4))
    del file[f"{QUERY}/vars/0"]
    file.create_virtual_dataset(f"{QUERY}/vars/0", layout)


def renamed(name):
    def damage(file):
        file[f"{QUERY}/vars"].attrs["name"] = name

    return damage


DAMAGE = {
    "missing array": (lambda file: file.pop(f"{QUERY}/vars/0"), "array block_0/attention/query/0 is missing"),
    "missing bias": (lambda file: file.pop("layers/dense/vars/0"), "Missing for head/kernel"),
    "extra array": (
        lambda file: file.create_dataset("layers/x/vars/0", data=np.zeros(3, "f4")),
        "unused in the file layers/x/0",
    ),
    "soft link": (linked(h5py.SoftLink(f"/{QUERY}/vars/1")), "array block_0/attention/query/0 is missing"),
    "other file": (linked(h5py.ExternalLink("other.h5", "x")), "array block_0/attention/query/0 is missing"),
    "other kernel": (lambda file: put(file, data=np.zeros((8, 4, 2), "f4")), r"query/1 \(2, 4\) does not fit"),
    "whole numbers": (lambda file: put(file, data=np.zeros((8, 2, 4), "i4")), "floating-point arrays, but .*int32"),
    "texts": (lambda file: put(file, shape=(1,), dtype=h5py.string_dtype()), "floating-point arrays, but .*object"),
    "chunks": (lambda file: put(file, shape=(10**6, 10**6), dtype="f4", chunks=(10, 10)), "in one piece"),
    "no values": (lambda file: put(file, shape=(10**6, 10**6), dtype="f4"), "4,000,000,000,000 bytes, but has 0"),
    "values elsewhere": (
        lambda file: put(file, shape=(8, 2, 4), dtype="f4", external=[("other.bin", 0, 256)]),
        "has its values in another file",
    ),
    "virtual values": (virtual, "has its values in another file"),
    "one name twice": (renamed("key"), "some names are there twice"),
    "other names": (renamed("q"), r"array block_0/attention/query/0 is missing"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "said"), DAMAGE.values(), ids=DAMAGE.keys())
def test_files_without_the_model_are_refused(damage, said, path):
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(InvalidWeights, match=said) as error:
        weights.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated_files_are_refused(share, plain, path):
    path.write_bytes(plain[1][: int(share * len(plain[1]))])
    with pytest.raises(InvalidWeights, match=r"not a readable \.h5 file"):
        weights.load(path)


def test_files_of_other_models_are_of_no_known_format(tmp_path):
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.zeros(3, "f4")
    with pytest.raises(InvalidWeights, match=r"no known format.*kerashub, keras; got layers/dense/0"):
        weights.load(tmp_path / "m.weights.h5")


def test_a_note_that_is_none_is_passed_over(path):
    with h5py.File(path, "r+") as file:
        file.attrs["keras_vit"] = "{"
    assert weights.load(path).architecture.width == 8
