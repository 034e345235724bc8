"""Files that are what they should be, and files that are not."""

import io
import pathlib
import pickle
import zipfile
from typing import NamedTuple

import keras
import numpy as np
import oracle
import pytest

from keras_vit import VisionTransformer, weights
from keras_vit.weights import InvalidWeights, loading


class Loaded(NamedTuple):
    model: VisionTransformer
    report: weights.LoadReport
    expected: dict
    names: list


@pytest.fixture(scope="module", params=oracle.LOADED)
def loaded(request):
    path = oracle.FIXTURES / f"{request.param}.npz"
    model, report = weights.load(str(path), return_report=True, **oracle.LOADED[request.param])
    with np.load(path) as arrays, np.load(path.with_suffix(".expected.npz")) as expected:
        return Loaded(model, report, dict(expected), arrays.files)


def test_logits_are_those_of_the_other_implementation(loaded):
    np.testing.assert_allclose(loaded.model(loaded.expected["images"]), loaded.expected["logits"], rtol=0, atol=1e-5)


def test_features_are_those_of_the_other_implementation(loaded):
    features = keras.Model(loaded.model.input, loaded.model.get_layer("pre_logits").output)
    np.testing.assert_allclose(features(loaded.expected["images"]), loaded.expected["features"], rtol=0, atol=1e-5)


def test_report_lists_every_array_of_the_file_as_matched(loaded):
    assert sorted(loaded.report.matched) == sorted(loaded.names)


def test_report_lists_nothing_else_of_a_complete_file(loaded):
    assert loaded.report[1:] == ([], [], [], [])


TOKEN = oracle.FIXTURES / "vit_token.npz"


@pytest.fixture
def arrays():
    with np.load(TOKEN) as archive:
        return dict(archive)


def saved(path, arrays):
    np.savez(path, **arrays)
    return path


def test_model_alone_is_returned_unless_asked():
    assert isinstance(weights.load(str(TOKEN)), VisionTransformer)


def test_path_may_be_an_object():
    assert isinstance(weights.load(TOKEN), VisionTransformer)


def test_rates_may_be_overridden():
    model = weights.load(str(TOKEN), dropout=0.5, attention_dropout=0.1, stochastic_depth=0.1)
    expected = np.load(TOKEN.with_suffix(".expected.npz"))
    assert model.architecture.dropout == 0.5
    np.testing.assert_allclose(model(expected["images"]), expected["logits"], rtol=0, atol=1e-5)
    assert not np.allclose(model(expected["images"], training=True), expected["logits"], atol=1e-2)


def test_compressed_files_are_read(arrays, tmp_path):
    np.savez_compressed(tmp_path / "w.npz", **arrays)
    expected = np.load(TOKEN.with_suffix(".expected.npz"))
    logits = weights.load(tmp_path / "w.npz")(expected["images"])
    np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=1e-5)


def test_more_than_ten_blocks_keep_their_order(arrays, tmp_path):
    blocks = {name: array for name, array in arrays.items() if "encoderblock_0/" in name}
    for i in range(3, 12):
        for name, array in blocks.items():
            arrays[name.replace("_0/", f"_{i}/", 1)] = array + i
    model = weights.load(saved(tmp_path / "w.npz", arrays))
    assert model.architecture.depth == 12
    bias = arrays["Transformer/encoderblock_0/MlpBlock_3/Dense_0/bias"]
    for i in (3, 9, 10, 11):
        np.testing.assert_array_equal(oracle.values(model)[f"block_{i}/mlp/dense_0/bias"], bias + i)


# Files that hold no model. Each takes the path to write to, the arrays of a good file, and its bytes.

HEAD = "head/kernel"
QUERY = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1/query/kernel"
KEY = QUERY.replace("query", "key")


def pickled_object(path, arrays, whole):
    np.savez(path, **arrays | {HEAD: np.array([{}, None], object)})


def plain_pickle(path, arrays, whole):
    path.write_bytes(pickle.dumps(arrays))


def single_array(path, arrays, whole):
    with open(path, "wb") as file:
        np.save(file, arrays[HEAD])


def damaged_compression(path, arrays, whole):
    np.savez_compressed(path, **arrays)
    damaged = bytearray(path.read_bytes())
    for place in range(len(damaged) // 4, len(damaged) // 2, 97):
        damaged[place] ^= 0xFF
    path.write_bytes(damaged)


def damaged_values(path, arrays, whole):
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)


def rewritten(path, arrays, name, content):
    """A good archive, but for the raw bytes of one member."""
    np.savez(path, **{other: array for other, array in arrays.items() if other != name})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{name}.npy", content)


def impossible_size(path, arrays, whole):
    header = io.BytesIO()
    description = {"descr": "<f4", "fortran_order": False, "shape": (10**7, 10**7)}
    np.lib.format.write_array_header_1_0(header, description)
    rewritten(path, arrays, HEAD, header.getvalue())


def encrypted(path, arrays, whole):
    """Marks every member as encrypted, in the local headers and in the directory."""
    damaged = bytearray(whole)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = damaged.find(signature)
        while place >= 0:
            damaged[place + offset] |= 1
            place = damaged.find(signature, place + 4)
    path.write_bytes(damaged)


def shaped(name, change):
    def write(path, arrays, whole):
        np.savez(path, **arrays | {name: change(arrays[name])})

    return write


def without(*names):
    return lambda path, arrays, whole: np.savez(path, **{n: a for n, a in arrays.items() if n not in names})


HOSTILE = {
    "missing file": lambda path, arrays, whole: None,
    "folder": lambda path, arrays, whole: path.mkdir(),
    "empty file": lambda path, arrays, whole: path.write_bytes(b""),
    "text file": lambda path, arrays, whole: path.write_text("not\na\nweight file\n"),
    "first half of a file": lambda path, arrays, whole: path.write_bytes(whole[: len(whole) // 2]),
    "file without its last bytes": lambda path, arrays, whole: path.write_bytes(whole[:-10]),
    "second half of a file": lambda path, arrays, whole: path.write_bytes(whole[len(whole) // 2 :]),
    "damaged values": damaged_values,
    "damaged compression": damaged_compression,
    "encrypted members": encrypted,
    "pickled object array": pickled_object,
    "plain pickle": plain_pickle,
    "single array": single_array,
    "member that is no array": lambda path, arrays, whole: rewritten(path, arrays, HEAD, b"hello\nworld"),
    "member with a damaged header": lambda path, arrays, whole: rewritten(path, arrays, HEAD, b"\x93NUMPY\x01\x00v"),
    "member of impossible size": impossible_size,
    "no arrays": lambda path, arrays, whole: np.savez(path),
    "arrays of something else": lambda path, arrays, whole: np.savez(path, weight=np.zeros(3), bias=np.zeros(3)),
    "text instead of numbers": shaped(HEAD, lambda array: np.full(array.shape, "a")),
    "dates instead of numbers": shaped(HEAD, lambda array: np.zeros(array.shape, "datetime64[s]")),
    "complex numbers": shaped(HEAD, lambda array: array + 1j),
    "patch kernel missing": without("embedding/kernel"),
    "patch bias missing": without("embedding/bias"),
    "head bias missing": without("head/bias"),
    "head kernel missing": without(HEAD),
    "class token missing": without("cls"),
    "positions missing": without("Transformer/posembed_input/pos_embedding"),
    "a query missing": without(QUERY),
    "every query missing": without(*(QUERY.replace("block_1", f"block_{i}") for i in range(3))),
    "last norm missing": without("Transformer/encoder_norm/scale"),
    "extra array": lambda path, arrays, whole: np.savez(path, **arrays, extra=np.zeros(3)),
    "extra array with line breaks": lambda path, arrays, whole: np.savez(path, **arrays, **{"a\nb": np.zeros(3)}),
    "extra array in a block": lambda path, arrays, whole: np.savez(path, **arrays, **{f"{QUERY}/extra": np.zeros(3)}),
    "head of another width": shaped(HEAD, lambda array: array[:-1]),
    "head without axes": shaped(HEAD, lambda array: array[0, 0]),
    "head bias without axes": shaped("head/bias", lambda array: array[0]),
    "transposed head": shaped(HEAD, lambda array: array.T),
    "head kernel without its first axis": shaped(HEAD, lambda array: array[0]),
    "patch kernel already flat": shaped("embedding/kernel", lambda array: array.reshape(-1, array.shape[-1])),
    "patch kernel not square": shaped("embedding/kernel", lambda array: array.reshape(4, 16, 3, -1)),
    "channels before patches": shaped("embedding/kernel", lambda array: array.transpose(2, 0, 1, 3)),
    "query already flat": shaped(QUERY, lambda array: array.reshape(array.shape[0], -1)),
    "query as one row": shaped(QUERY.replace("block_1", "block_0"), lambda array: array.ravel()),
    "MLP as one row": shaped("Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel", lambda array: array.ravel()),
    "key with heads first": shaped(KEY, lambda array: array.transpose(1, 0, 2)),
    "key of another head count": shaped(KEY, lambda array: array.reshape(48, 2, 24)),
    "no positions": shaped("Transformer/posembed_input/pos_embedding", lambda array: array[:, :0]),
    "one position too few": shaped("Transformer/posembed_input/pos_embedding", lambda array: array[:, 1:]),
    "positions without axes": shaped("Transformer/posembed_input/pos_embedding", lambda array: array[0, 0, 0]),
    "class token of another width": shaped("cls", lambda array: array[..., 1:]),
}


@pytest.fixture
def snapshots(monkeypatch):
    """Every model built in the test, with its weights as they were right after."""
    built = []
    original = VisionTransformer.__init__

    def recording(self, *args, **kwargs):
        original(self, *args, **kwargs)
        built.append((self, [weight.numpy() for weight in self.weights]))

    monkeypatch.setattr(VisionTransformer, "__init__", recording)
    return built


@pytest.mark.parametrize("write", HOSTILE.values(), ids=HOSTILE.keys())
def test_file_without_the_model_is_refused_in_one_line_and_nothing_is_assigned(write, arrays, tmp_path, snapshots):
    path = tmp_path / "weights.npz"
    write(path, arrays, TOKEN.read_bytes())
    with pytest.raises(InvalidWeights) as error:
        weights.load(str(path))
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    if write is damaged_values:  # found while arrays are assigned one by one; nobody gets that model
        return
    for model, before in snapshots:
        for weight, value in zip(model.weights, before, strict=True):
            np.testing.assert_array_equal(weight, value, err_msg=weight.path)


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return pathlib.Path.touch, (self.marker,)


def payload_in_an_array(path, payload):
    np.savez(path, **{HEAD: np.array([payload], object)})


def payload_in_place_of_the_file(path, payload):
    path.write_bytes(pickle.dumps(payload))


@pytest.mark.parametrize("write", [payload_in_an_array, payload_in_place_of_the_file])
def test_no_pickle_is_ever_run(write, tmp_path):
    write(tmp_path / "weights.npz", Payload(tmp_path / "touched"))
    with pytest.raises(InvalidWeights):
        weights.load(str(tmp_path / "weights.npz"))
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    "overrides, fragments",
    [
        ({"heads": 5}, ["48", "5 heads"]),
        ({"image_size": 36}, ["36x36", "8"]),
        ({"depth": 2}, ["depth=3", "depth=2"]),
        ({"width": 64}, ["width=48", "width=64"]),
        ({"position": "none"}, ["position=learned_1d", "position=none"]),
        ({"position": "4d"}, ["'4d'", "learned_1d"]),
        ({"dropout": 2}, ["dropout", "2"]),
        ({"hidden": 3}, ["hidden", "width"]),
    ],
    ids=str,
)
def test_override_that_does_not_fit_the_file_is_refused(overrides, fragments):
    with pytest.raises(ValueError) as error:
        weights.load(str(TOKEN), **overrides)
    assert [fragment for fragment in fragments if fragment not in str(error.value)] == []


def test_message_names_arrays_as_the_file_does(arrays, tmp_path):
    extra = QUERY.replace("block_1", "block_2").replace("query/kernel", "query/scale")
    with pytest.raises(InvalidWeights, match=extra):
        weights.load(saved(tmp_path / "w.npz", arrays | {extra: np.zeros(3)}))


def test_grid_that_is_not_square_asks_for_the_image_size():
    with pytest.raises(InvalidWeights, match="image_size"):
        weights.load(str(oracle.FIXTURES / "vit_gap.npz"))


def test_invalid_weights_is_a_value_error():
    assert issubclass(InvalidWeights, ValueError)


@pytest.mark.parametrize("fault", [TypeError("ours"), IndexError("ours"), ValueError("ours")])
def test_a_fault_of_ours_is_not_called_one_of_the_file(fault, monkeypatch):
    def build(*_, **__):
        raise fault

    monkeypatch.setattr(loading, "build", build)
    with pytest.raises(type(fault), match=r"^ours$") as error:
        weights.load(oracle.FIXTURES / "vit_token.npz")
    assert not isinstance(error.value, InvalidWeights)
