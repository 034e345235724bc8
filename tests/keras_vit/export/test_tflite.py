"""LiteRT files, run by LiteRT, against Keras and the test-time transform."""

import dataclasses
import json
import zipfile

import flatbuffers
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vit
from keras_vit.export import conversion, tflite
from keras_vit.export.answering import Answering
from keras_vit.images import transform

interpreters = pytest.importorskip("ai_edge_litert.interpreter", reason="pip install -e '.[export]'")

SIZES = [(32, 32), (57, 40), (20, 31), (7, 90)]
LOOSE = {"float32": 1e-5, "float16": 5e-3, "dynamic": 0.1, "full_int8": 0.25}  # of probabilities


def model_of(variant="mu/16", **overrides):
    """With weights that make probabilities differ."""
    model = keras_vit.build(variant, **{"image_size": 32, "num_classes": 5, **overrides})
    random = np.random.default_rng(0)
    if model.architecture.num_classes:
        head = model.get_layer("head")
        head.set_weights([random.normal(0, 0.2, weight.shape) for weight in head.get_weights()])
    return model


def images_of(size, channels=3, count=1):
    return np.random.default_rng(sum(size)).integers(0, 256, (count, *size, channels)).astype("uint8")


def photographs(count, channels=3):
    return [images_of((40 + number, 50), channels)[0] for number in range(count)]


def expected(model, images, answering):
    logits = model(transform.apply(tf.constant(images), model.preprocessing), training=False)
    return answering.probabilities_of(logits) if model.architecture.num_classes else tf.cast(logits, tf.float32)


def runner(path):
    return interpreters.Interpreter(str(path)).get_signature_runner("serving_default")


def operators(path):
    from tensorflow.lite.python import schema_py_generated as schema

    codes = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0).operatorCodes
    return {max(code.builtinCode, code.deprecatedBuiltinCode) for code in codes}, schema.BuiltinOperator.CUSTOM


def check(model, path, *, answering=None, quantization="float32", batch=1, sizes=SIZES):
    answering = answering or Answering()
    channels = model.architecture.channels
    calibration = photographs(8, channels) if quantization == "full_int8" else None
    tflite.convert(
        model,
        path,
        answering=answering,
        provenance={},
        quantization=quantization,
        batch=batch,
        calibration=calibration,
    )
    run, (name,) = runner(path), runner(path).get_output_details()
    for size in sizes:
        images = images_of(size, channels, 1 if batch == 1 else 3)
        answer = run(images=images)[name]
        assert answer.dtype == np.float32
        assert np.abs(answer - expected(model, images, answering)).max() < LOOSE[quantization], size
    return name


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A file of a model with names of classes whose images are cropped, and the model."""
    path = tmp_path_factory.mktemp("tflite") / "model.tflite"
    model = model_of(gelu="erf")
    model.preprocessing = dataclasses.replace(model.preprocessing, crop=0.875)
    model.class_names = ["ant", "bee", "mantis religiosa", "élytre", "蝶"]
    tflite.convert(
        model, path, answering=Answering(temperature=2.0), provenance={"source": "insects"}, quantization="float32"
    )
    return path, model


@pytest.mark.parametrize("size", SIZES)
def test_images_of_any_size_are_answered_as_by_keras(written, size):
    path, model = written
    images = images_of(size)
    answer = runner(path)(images=images)["probabilities"]
    assert np.abs(answer - expected(model, images, Answering(temperature=2.0))).max() < 1e-5


@pytest.mark.slow
def test_a_size_may_be_fixed_for_runtimes_that_want_it(tmp_path):
    model, path = model_of(), tmp_path / "fixed.tflite"
    tflite.convert(model, path, answering=Answering(), provenance={}, quantization="float32", size=(40, 57))
    run = runner(path)
    images = images_of((40, 57))
    assert run.get_input_details()["images"]["shape_signature"].tolist() == [1, 40, 57, 3]
    assert np.abs(run(images=images)["probabilities"] - expected(model, images, Answering())).max() < 1e-5


def test_only_operations_that_every_runtime_has(written):
    codes, custom = operators(written[0])
    assert custom not in codes


def test_no_two_tensors_share_a_name(written):
    from tensorflow.lite.python import schema_py_generated as schema

    (graph,) = schema.ModelT.InitFromPackedBuf(written[0].read_bytes(), 0).subgraphs
    names = [tensor.name for tensor in graph.tensors]
    assert len(names) > 50 and len(set(names)) == len(names)


def test_labels_and_description_lie_in_a_zip_at_its_end(written):
    files = tflite.read_files(written[0])
    assert files["labels.txt"].decode().splitlines() == ["ant", "bee", "mantis religiosa", "élytre", "蝶"]
    description = json.loads(files["keras_vit.json"])
    assert description["provenance"] == {"source": "insects"} and description["answering"]["temperature"] == 2.0
    with zipfile.ZipFile(written[0]) as archive:
        assert all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())
        assert archive.testzip() is None


def field(table, slot):
    """Position of a field of a flatbuffer's table."""
    offset = table.Offset(4 + 2 * slot)
    assert offset, f"no field {slot}"
    return offset + table.Pos


def tables(table, slot):
    start = table.Vector(field(table, slot) - table.Pos)
    length = table.VectorLen(field(table, slot) - table.Pos)
    return [flatbuffers.table.Table(table.Bytes, table.Indirect(start + 4 * index)) for index in range(length)]


def string(table, slot):
    return table.String(field(table, slot)).decode()


def test_metadata_are_of_googles_schema(written):
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(written[0].read_bytes(), 0)
    (entry,) = model.metadata
    assert entry.name == b"TFLITE_METADATA"
    data = bytes(model.buffers[entry.buffer].data)
    assert data[4:8] == b"M001"
    root = flatbuffers.table.Table(data, flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0))
    (graph,) = tables(root, 3)
    ((images,), (output,)) = tables(graph, 2), tables(graph, 3)
    assert (string(images, 0), string(output, 0)) == ("images", "probabilities")
    content = flatbuffers.table.Table(data, images.Indirect(field(images, 3)))
    assert content.Get(flatbuffers.number_types.Uint8Flags, field(content, 0)) == 2  # ImageProperties
    properties = flatbuffers.table.Table(data, content.Indirect(field(content, 1)))
    assert properties.Get(flatbuffers.number_types.Int8Flags, field(properties, 0)) == 1  # RGB
    (labels,) = tables(output, 6)
    assert string(labels, 0) == "labels.txt"
    assert labels.Get(flatbuffers.number_types.Int8Flags, field(labels, 2)) == 2  # TENSOR_AXIS_LABELS


@pytest.mark.slow
def test_8_bits_keep_preprocessing_exact(tmp_path):
    """Images of very different sizes: in 8 bits, no position in them could be told."""
    check(model_of(), tmp_path / "model.tflite", quantization="full_int8", sizes=[(32, 32), (300, 200)])


@pytest.mark.slow
def test_mixed_precision_any_batch_and_independent_classes(tmp_path, policy):
    policy("mixed_bfloat16")
    model = model_of(pool="gap")
    whole = conversion.in_float32(model)
    path = tmp_path / "model.tflite"
    answering = Answering(probabilities="sigmoid")
    tflite.convert(model, path, answering=answering, provenance={}, quantization="float16", batch="dynamic")
    for count in (1, 4):
        images = images_of((40, 30), count=count)
        answer = runner(path)(images=images)["probabilities"]
        assert np.abs(answer - expected(whole, images, answering)).max() < LOOSE["float16"]


TINY_STEM = {"stem": (1,), "root_width": 32, "patch_size": 16}
KINDS = {
    "map": {"pool": "map", "gelu": "erf"},
    "relative": {"position": "relative"},
    "grey": {"channels": 1},
    "representation": {"representation": 16},
    "hybrid": TINY_STEM,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_converts(kind, tmp_path):
    path = tmp_path / "model.tflite"
    check(model_of(**KINDS[kind]), path)
    codes, custom = operators(path)
    assert custom not in codes


@pytest.mark.slow
def test_a_resnet_converts(tmp_path):
    check(model_of("BiT-R50x1", units=(1, 1)), tmp_path / "model.tflite")


@pytest.mark.slow
def test_a_model_without_a_head_answers_features(tmp_path):
    assert check(model_of(num_classes=0), tmp_path / "model.tflite", sizes=[(40, 30)]) == "features"


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, "dynamic"])
@pytest.mark.parametrize("quantization", tflite.QUANTIZATIONS)
def test_every_quantization_converts(quantization, batch, tmp_path):
    check(model_of(), tmp_path / "model.tflite", quantization=quantization, batch=batch)


@pytest.mark.slow
@pytest.mark.parametrize("crop", [None, 0.875])
@pytest.mark.parametrize(("resize", "antialias"), [("bilinear", True), ("bicubic", True), ("area", False)])
def test_every_preprocessing_converts(resize, antialias, crop, tmp_path):
    model = model_of()
    model.preprocessing = dataclasses.replace(model.preprocessing, resize=resize, antialias=antialias, crop=crop)
    check(model, tmp_path / "model.tflite")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantization": "int4"}, "float32, float16, dynamic, full_int8"),
        ({"batch": 8}, "batch of 1 or 'dynamic'"),
        ({"quantization": "full_int8"}, "without any"),
        ({"calibration": photographs(1)}, "with any"),
        ({"quantization": "full_int8", "calibration": []}, "got none"),
        ({"quantization": "full_int8", "calibration": [np.zeros((4, 4, 3))]}, r"image 0 is float64 \(4, 4, 3\)"),
        ({"quantization": "full_int8", "calibration": photographs(1, 1)}, r"uint8 \(height, width, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused_at_once(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        tflite.convert(model_of(), tmp_path / "model.tflite", answering=Answering(), provenance={}, **options)
    assert not list(tmp_path.iterdir())


def test_a_converter_that_fails_is_one_error_with_its_last_lines():
    with pytest.raises(ValueError, match=r"^Conversion failed \(exit code 1\): .*RuntimeError: no such operation$"):
        conversion.run("Conversion", "timeit", ["-n1", "raise RuntimeError('no such operation')"])
    two_lines = "raise RuntimeError('error: no such operation\\nfunc.return')"  # the last being of a graph
    with pytest.raises(ValueError, match=r"error: no such operation$"):
        conversion.run("Conversion", "timeit", ["-n1", two_lines])
    with pytest.raises(ValueError, match="ended by SIGKILL"):
        conversion.run("Conversion", "timeit", ["-n1", "import os; os.kill(os.getpid(), 9)"])


def test_a_file_that_carries_none_is_refused(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"TFL3")
    with pytest.raises(ValueError, match="carries no files"):
        tflite.read_files(tmp_path / "model.tflite")


def test_the_copy_that_is_converted_computes_in_float32(policy):
    policy("mixed_bfloat16")
    assert conversion.in_float32(model_of()).dtype_policy == keras.DTypePolicy("float32")
