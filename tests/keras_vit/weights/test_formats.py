"""Every format both ways: the answers of independent implementations, and files that come back byte for byte."""

import functools
import itertools
import json
import pathlib
import warnings

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import keras_vit
from keras_vit import weights
from keras_vit.weights import InvalidWeights
from keras_vit.weights.opening import opened

# File -> what it does not tell, the formats that can hold its model.
FILES = {
    "vit_token.npz": ({}, ("google", "bigvision", "huggingface", "timm")),
    "vit_representation.npz": ({}, ("google", "bigvision")),
    "vit_gap.npz": ({"image_size": (24, 40)}, ("google", "bigvision", "timm")),
    "bigvision_gap_learned.npz": ({"image_size": (24, 40)}, ("google", "bigvision", "timm")),
    "bigvision_tok_rep.npz": ({}, ("google", "bigvision")),
    "bigvision_map_sincos.npz": ({"image_size": 32}, ("bigvision",)),
    "hf_vit": ({}, ("google", "bigvision", "huggingface", "timm")),
    "timm_token.safetensors": ({"heads": 4}, ("google", "bigvision", "huggingface", "timm")),
    "timm_gap.safetensors": ({"heads": 4}, ("timm",)),
    "kerashub_vit": ({}, ("google", "bigvision")),
}
SUFFIXES = {"google": ".npz", "bigvision": ".npz", "timm": ".safetensors", "keras": ".keras", "huggingface": ""}
# Keras's two kinds of file, which hold any model.
KERAS = ("keras", "weights_h5")
OWN = {"vit": "google", "bigvision": "bigvision", "hf": "huggingface", "timm": "timm"}


def load(name, **more):
    return weights.load(oracle.FIXTURES / name, **FILES[name][0], **more)


loaded = functools.cache(load)


def save(model, folder, format):
    path = folder / f"{format}{SUFFIXES[format]}" if format != "weights_h5" else folder / "keras.weights.h5"
    with warnings.catch_warnings():  # of what the format has no place for; tested below
        warnings.simplefilter("ignore")
        weights.save(model, path, format=format if format != "weights_h5" else "keras")
    return path


def arrays_of(path):
    with opened(path) as stored:
        return {name: stored.read(name) for name in stored.shapes}


def images_for(model, seed=0):
    shape = (2, *model.architecture.image_shape)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


@pytest.mark.parametrize("name", ["hf_vit", "timm_token.safetensors", "timm_gap.safetensors", "kerashub_vit"])
def test_logits_are_those_of_the_other_implementation(name):
    expected = np.load(oracle.FIXTURES / f"{pathlib.Path(name).stem}.expected.npz")
    model, report = load(name, return_report=True)
    np.testing.assert_allclose(model(expected["images"]), expected["logits"], rtol=0, atol=1e-5)
    assert len(report.matched) == len(arrays_of(oracle.FIXTURES / name)) and report[1:] == ([], [], [], [])


@pytest.mark.parametrize("name", [name for name in FILES if name != "kerashub_vit"])
def test_file_to_keras_and_back_is_byte_equal(name, tmp_path):
    own = OWN[name.split("_")[0]]
    model = loaded(name)
    for kind in KERAS if name in ("hf_vit", "bigvision_map_sincos.npz") else KERAS[:1]:
        model, report = weights.load(save(model, tmp_path, kind), return_report=True)
        assert_same_model(model, loaded(name), report)
    before, after = arrays_of(oracle.FIXTURES / name), arrays_of(save(model, tmp_path, own))
    assert sorted(before) == sorted(after)
    for array_name, array in before.items():
        assert array.tobytes() == after[array_name].tobytes() and array.shape == after[array_name].shape, array_name


@pytest.mark.parametrize("name", FILES)
def test_every_other_format_that_can_hold_a_model_answers_alike(name, tmp_path):
    for format in set(FILES[name][1]) - {OWN.get(name.split("_")[0])}:
        other, report = weights.load(save(loaded(name), tmp_path, format), return_report=True)
        assert_same_model(other, loaded(name), report)


def assert_same_model(other, model, report):
    images = images_for(model)
    np.testing.assert_allclose(other(images), model(images), rtol=0, atol=1e-5)
    assert other.architecture == model.architecture and other.preprocessing == model.preprocessing
    assert report[1:] == ([], [], [], [])


@pytest.mark.parametrize("name", FILES)
def test_formats_that_cannot_hold_a_model_say_why_and_which_can(name, tmp_path):
    model = loaded(name)
    for format in set(weights.FORMATS) - {*FILES[name][1]}:
        with pytest.raises(ValueError, match=rf"The {format} format cannot hold this model: .*{FILES[name][1][0]}"):
            weights.save(model, tmp_path / "file", format=format)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("pairs", ["ring", pytest.param("all", marks=pytest.mark.slow)])
def test_pairs_of_formats_lead_to_the_same_model(pairs, tmp_path):
    """There and on. Arrays may differ: big_vision's class token has its position added to it."""
    small = {"image_size": 8, "patch_size": 4, "width": 8, "depth": 1, "heads": 2, "mlp_width": 5, "num_classes": 3}
    model = keras_vit.build(keras_vit.Architecture(**small))
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=value.shape).astype("float32") for value in model.get_weights()])
    images = images_for(model)
    formats = (*FILES["vit_token.npz"][1], *KERAS)
    through = {first: weights.load(save(model, tmp_path / "first", first)) for first in formats}
    ring = zip(formats, [*formats[1:], formats[0]], strict=True)
    for first, second in ring if pairs == "ring" else itertools.permutations(formats, 2):
        other = weights.load(save(through[first], tmp_path / "second", second))
        np.testing.assert_allclose(other(images), model(images), rtol=0, atol=1e-5)


ARCHITECTURES = st.fixed_dictionaries(
    {
        "image_size": st.sampled_from([(8, 8), (8, 16), (16, 8)]),
        "patch_size": st.sampled_from([4, 8]),
        "channels": st.sampled_from([1, 3]),
        "width": st.sampled_from([8, 12]),
        "depth": st.integers(1, 3),
        "heads": st.sampled_from([1, 2, 4]),
        "mlp_width": st.integers(1, 9),
        "position": st.sampled_from(["learned_1d", "sincos2d"]),
        "pool": st.sampled_from(["token", "gap", "map"]),
        "norm_site": st.sampled_from(["tokens", "pooled"]),
        "representation": st.none() | st.integers(1, 5),
        "gelu": st.sampled_from(["tanh", "erf"]),
        "epsilon": st.sampled_from([1e-6, 1e-12]),
        "num_classes": st.integers(0, 4),
    }
)


def survives_every_format_that_can_hold_it(fields, seed, tmp_path):
    model = keras_vit.build(keras_vit.Architecture(**fields))
    random = np.random.default_rng(seed)
    model.set_weights([random.normal(size=value.shape).astype("float32") for value in model.get_weights()])
    images = images_for(model)
    for format, form in weights.FORMATS.items():
        if form.cannot_hold(model.architecture) is None:
            other = weights.load(save(model, tmp_path, format))
            assert other.architecture == model.architecture
            np.testing.assert_allclose(other(images), model(images), rtol=1e-4, atol=1e-5)
    for kind in KERAS:
        other = weights.load(save(model, tmp_path, kind))
        assert other.architecture == model.architecture
        np.testing.assert_array_equal(other(images), model(images))


@pytest.mark.parametrize("examples", [2, pytest.param(40, marks=pytest.mark.slow)])
def test_any_architecture(examples, tmp_path):
    @settings(max_examples=examples)
    @given(fields=ARCHITECTURES, seed=st.integers(0, 100))
    def check(fields, seed):
        survives_every_format_that_can_hold_it(fields, seed, tmp_path)

    check()


@pytest.mark.parametrize("prefix", ["opt/target/", "params/"])
def test_training_states_are_read_and_their_slots_left(prefix, tmp_path):
    with np.load(oracle.FIXTURES / "vit_token.npz") as archive:
        arrays = {prefix + name: array for name, array in archive.items()}
    slots = {f"opt/state/{i}/{name}": array for i, (name, array) in enumerate(arrays.items())}
    np.savez(tmp_path / "w.npz", **arrays, **slots)
    expected = np.load(oracle.FIXTURES / "vit_token.expected.npz")
    model, report = weights.load(tmp_path / "w.npz", return_report=True)
    np.testing.assert_allclose(model(expected["images"]), expected["logits"], rtol=0, atol=1e-5)
    assert sorted(report.matched) == sorted(arrays)


def test_blocks_stacked_for_a_scan_are_read(tmp_path):
    with np.load(oracle.FIXTURES / "bigvision_map_sincos.npz") as archive:
        arrays = dict(archive)
    stacked = {name: array for name, array in arrays.items() if "encoderblock_" not in name}
    for name in [name for name in arrays if "encoderblock_0/" in name]:
        both = [arrays[name.replace("block_0/", f"block_{i}/")] for i in range(2)]
        stacked[name.replace("encoderblock_0/", "encoderblock/")] = np.stack(both)
    np.savez(tmp_path / "w.npz", **stacked)
    expected = np.load(oracle.FIXTURES / "bigvision_map_sincos.expected.npz")
    model = weights.load(tmp_path / "w.npz", image_size=32)
    np.testing.assert_allclose(model(expected["images"]), expected["logits"], rtol=0, atol=1e-5)


def test_bfloat16_is_read_from_both_kinds_of_file(tmp_path):
    import ml_dtypes

    def rounded(arrays):
        return {name: array.astype(ml_dtypes.bfloat16) for name, array in arrays.items()}

    arrays = rounded(arrays_of(oracle.FIXTURES / "timm_token.safetensors"))
    save_file(arrays, tmp_path / "w.safetensors")
    np.savez(tmp_path / "w.npz", **arrays)
    for path in (tmp_path / "w.safetensors", tmp_path / "w.npz"):
        for name, array in arrays_of(path).items():
            assert array.dtype == "float32"
            np.testing.assert_array_equal(array, arrays[name].astype("float32"))


def test_hugging_faces_bare_model_has_a_pooler_and_no_head(tmp_path):
    bare = {name.removeprefix("vit."): array for name, array in load_file(HF / "model.safetensors").items()}
    bare = {name: array for name, array in bare.items() if not name.startswith("classifier")}
    bare |= {"pooler.dense.weight": np.eye(48, dtype="float32")[:20], "pooler.dense.bias": np.zeros(20, "float32")}
    save_file(bare, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((HF / "config.json").read_text())
    model = weights.load(tmp_path)
    assert (model.architecture.representation, model.architecture.num_classes) == (20, 0)
    features = load("hf_vit", num_classes=0)
    images = images_for(model)
    np.testing.assert_allclose(model(images), np.tanh(features(images)[:, :20]), rtol=0, atol=1e-5)
    assert sorted(arrays_of(save(model, tmp_path / "again", "huggingface"))) == sorted(bare)


HF = oracle.FIXTURES / "hf_vit"


def hf_with(tmp_path, **changes):
    (tmp_path / "config.json").write_text(json.dumps({**json.loads((HF / "config.json").read_text()), **changes}))
    (tmp_path / "model.safetensors").write_bytes((HF / "model.safetensors").read_bytes())
    return tmp_path


def test_what_stands_in_the_configuration_reaches_the_model(tmp_path):
    preprocessor = {"resample": 3, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.1, 0.2, 0.3]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    names = {str(i): name for i, name in enumerate("abcdefg")}
    model = weights.load(hf_with(tmp_path, hidden_act="gelu_new", layer_norm_eps=1e-5, id2label=names))
    assert (model.architecture.gelu, model.architecture.epsilon) == ("tanh", 1e-5)
    assert model.class_names == [*"abcdefg"]
    p = model.preprocessing
    assert (p.resize, p.antialias, p.mean, p.std) == ("bicubic", True, (0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    other = weights.load(save(model, tmp_path, "huggingface"))
    assert other.class_names == model.class_names and other.preprocessing == p


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_act": "relu"}, "relu.*gelu"),
        ({"num_attention_heads": 5}, "48.*5 heads"),
        ({"hidden_size": 64}, r"\(1, 1, 48\).*\(1, 1, 64\)"),
        ({"num_hidden_layers": 4}, "block_3"),
        ({"num_hidden_layers": 2}, "encoder.layer.2"),
        ({"image_size": 64}, "position"),
    ],
    ids=str,
)
def test_a_configuration_of_another_model_is_refused(changes, said, tmp_path):
    with pytest.raises(InvalidWeights, match=said):
        weights.load(hf_with(tmp_path, **changes))


def test_files_that_tell_too_little_say_what_to_pass():
    with pytest.raises(InvalidWeights, match="heads of width 48; pass heads="):
        weights.load(oracle.FIXTURES / "timm_token.safetensors")


def test_truncated_safetensors_are_refused(tmp_path):
    whole = (HF / "model.safetensors").read_bytes()
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "w.safetensors").write_bytes(whole[:length])
        with pytest.raises(InvalidWeights, match=r"not a readable \.safetensors"):
            weights.load(tmp_path / "w.safetensors")


def test_a_folder_of_pickles_is_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(InvalidWeights, match="never read"):
        weights.load(tmp_path)


def test_ignore_lets_named_arrays_be_left_over_and_be_missing(tmp_path):
    with np.load(oracle.FIXTURES / "vit_token.npz") as archive:
        arrays = {name: array for name, array in archive.items() if name != "Transformer/encoder_norm/bias"}
    np.savez(tmp_path / "w.npz", **arrays, extra=np.zeros(3))
    with pytest.raises(InvalidWeights, match=r"norm/beta.*extra"):
        weights.load(tmp_path / "w.npz")
    report = weights.load(tmp_path / "w.npz", return_report=True, ignore=r"^extra$|^norm/beta$")[1]
    assert (report.unused, report.missing) == (["extra"], ["norm/beta"])


def test_an_expression_that_is_none_is_named():
    with pytest.raises(ValueError, match=r"ignore must be a regular expression; '\(' is none"):
        load("vit_token.npz", ignore="(")


def test_written_files_may_be_read_by_whom_the_user_lets(tmp_path):
    (tmp_path / "other").write_text("")
    assert save(loaded("vit_token.npz"), tmp_path, "google").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_what_a_format_has_no_place_for_is_told_and_still_read_back(tmp_path):
    model = loaded("hf_vit")
    with pytest.warns(UserWarning, match="gelu=erf, epsilon=1e-12.*other readers.*gelu=tanh"):
        weights.save(model, tmp_path / "w.npz", format="google")
    assert weights.load(tmp_path / "w.npz").architecture == model.architecture


@pytest.mark.parametrize(("format", "path"), [("google", "w.bin"), ("timm", "w.npz"), ("keras", "w.h5")])
def test_a_path_that_ends_otherwise_is_refused(format, path, tmp_path):
    with pytest.raises(ValueError, match="ends in"):
        save_plainly(tmp_path / path, format)


def save_plainly(path, format):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights.save(loaded("vit_token.npz"), path, format=format)


def test_an_unknown_format_lists_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="'torch'; choose one of google, bigvision, huggingface, timm, bit, keras"):
        save_plainly(tmp_path / "w", "torch")


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(np.lib.format, "write_array", lambda *args, **kwargs: 1 / 0)
    (tmp_path / "w.npz").write_text("old")
    with pytest.raises(ZeroDivisionError):
        save_plainly(tmp_path / "w.npz", "google")
    assert [path.name for path in tmp_path.iterdir()] == ["w.npz"] and (tmp_path / "w.npz").read_text() == "old"


def test_a_folder_with_something_else_is_not_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(ValueError, match="holds no model"):
        save_plainly(tmp_path / "photos", "huggingface")


def test_names_that_have_no_room_in_an_archive_are_left_out_with_a_warning(tmp_path):
    names = [f"a rather long name of class number {number:,}" for number in range(2000)]
    model = keras_vit.build("mu/8", image_size=16, num_classes=2000, class_names=names, gelu="erf")
    with pytest.warns(UserWarning, match="names of 2,000 classes have no room"):
        weights.save(model, tmp_path / "many.npz", "google")
    read = weights.load(tmp_path / "many.npz")
    assert read.class_names is None and read.architecture.gelu == "erf"
