"""That the requests are answered, tests/serving shows."""

import sys

import pytest
import tensorflow as tf

from keras_vit.export import warmup


def test_the_bytes_are_a_jpeg_and_a_png():
    logs = warmup.prediction_logs("m", (32, 32, 1))
    requests = [log.predict_log.request for log in logs]
    (request,) = [
        r for r in requests if r.model_spec.signature_name == "features" and len(r.inputs["bytes"].string_val) > 1
    ]
    files = tf.make_ndarray(request.inputs["bytes"])
    assert [data[:4] for data in files] == [b"\xff\xd8\xff\xe0", b"\x89PNG"] * 2
    assert {tf.io.decode_image(data).shape[-1] for data in files} == {1}


def test_large_images_make_no_large_file(tmp_path):
    warmup.write(tmp_path, "m", (384, 384, 3))
    assert (tmp_path / "assets.extra" / "tf_serving_warmup_requests").stat().st_size < 1e6


def test_without_the_package_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e '\.\[export\]'"):
        warmup.write(tmp_path, "m", (32, 32, 3))
    assert not list(tmp_path.iterdir())
