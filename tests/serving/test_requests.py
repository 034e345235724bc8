"""Requests as clients of TF Serving make them, answered by the exported graph behind a stub of its two APIs."""

import base64
import concurrent.futures
import importlib.util
import json
import pathlib
import re
import struct
import subprocess
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import stub_server
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc

from keras_vit.export import serving, warmup

NAME = "ants-and-others"
MERGING = "max_batch_size { value: %d } batch_timeout_micros { value: 60000000 }"


def bmp(image):
    height, width, _ = image.shape
    rows = np.zeros((height, (width * 3 + 3) // 4 * 4), "uint8")
    rows[:, : width * 3] = image[::-1, :, ::-1].reshape(height, -1)
    header = struct.pack("<IHHI", 54 + rows.size, 0, 0, 54)
    return (
        b"BM"
        + header
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, rows.size, 0, 0, 0, 0)
        + rows.tobytes()
    )


# One orange pixel; three by four of noise.
GIF = base64.b64decode("R0lGODlhAQABAIAAAP+AAAAAACwAAAAAAQABAAACAkQBADs=")
WEBP = base64.b64decode(
    "UklGRlIAAABXRUJQVlA4TEYAAAAvA4AAAF9AkG1ThOEe+zgG2UYqwqEd4iE82iMQBJCME85Y44wxwjjzH+h/Us81OXOXGigUEiAIIKHIILMF9phk44j+R90D"
)
BAD = {
    "empty": (b"", "empty"),
    "no image": (b"no image at all", "neither of JPEG, PNG, GIF, BMP, WebP"),
    "broken JPEG": (b"\xff\xd8\xff and no more", "JPEG"),
    "broken PNG": (b"\x89PNG\r\n\x1a\n", "0 x 0 pixels"),
}


@pytest.fixture(scope="session")
def good(picture):
    """Encoded images by format."""
    found = {
        "JPEG": tf.io.encode_jpeg(picture).numpy(),
        "PNG": tf.io.encode_png(picture).numpy(),
        "BMP": bmp(picture),
        "GIF": GIF,
    }
    return found | ({"WebP": WEBP} if hasattr(tf.io, "decode_webp") else {})


@pytest.fixture(scope="module")
def version(exported):
    return stub_server.loaded(exported)


@pytest.fixture(scope="module")
def server(version):
    """Addresses of the two APIs, under the batching.config that is written."""
    with stub_server.running(stub_server.Servable(version, NAME, serving.batching_config())) as addresses:
        yield addresses


def request_of(value, signature="serving_default", key="bytes", name=NAME):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def asked(address, request):
    """Outputs by name, or the status and words of a refusal."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=120)
        except grpc.RpcError as error:
            return error.code().name, error.details()
    return {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}


def asked_at_once(address, requests):
    with concurrent.futures.ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(lambda request: asked(address, request), requests))


def posted(url, body, name=NAME):
    """Status and JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(f"{url}/v1/models/{name}:predict", data, timeout=120) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


def test_grpc_answers_every_format(server, good, probabilities_of):
    for data in good.values():
        found = asked(server[0], request_of([data]))
        image = tf.io.decode_image(data, 3, expand_animations=False).numpy()
        np.testing.assert_allclose(found["probabilities"][0], probabilities_of(image), atol=1e-6)


def test_grpc_answers_the_other_signatures(server, picture, probabilities_of, model):
    found = asked(server[0], request_of(np.stack([picture, picture]), "images", "images"))
    np.testing.assert_allclose(found["probabilities"], [probabilities_of(picture)] * 2, atol=1e-6)
    assert found["top_labels"].shape == (2, 2) and found["top_labels"][0, 0].decode() in model.class_names
    found = asked(server[0], request_of(np.zeros((3, 32, 32, 3), "float32"), "pixels", "pixels"))
    assert found["top_indices"].shape == (3, 2)
    found = asked(server[0], request_of([tf.io.encode_png(picture).numpy()], "features"))
    assert found["features"].shape == (1, 32) and found["patch_grid"].shape == (1, 2, 2, 32)


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_image_is_refused_with_the_reason(server, name):
    data, reason = BAD[name]
    status, words = asked(server[0], request_of([data]))
    assert status == "INVALID_ARGUMENT"
    code, answer = posted(server[1], {"instances": [b64(data)]})
    assert code == 400 and set(answer) == {"error"}
    for text in (words, answer["error"]):
        assert re.search(reason, text.splitlines()[0]), text


def test_good_and_bad_at_once_each_get_their_own(server, good):
    payloads = [*good.values(), *(data for data, _ in BAD.values())] * 3
    alone = {data: asked(server[0], request_of([data])) for data in set(payloads)}
    together = asked_at_once(server[0], [request_of([data]) for data in payloads])
    for data, found in zip(payloads, together, strict=True):
        if isinstance(found, dict):
            np.testing.assert_array_equal(found["probabilities"], alone[data]["probabilities"])
        else:
            assert found[0] == "INVALID_ARGUMENT" and data not in good.values()
    assert sum(isinstance(found, dict) for found in together) == 3 * len(good)


def test_one_bad_image_fails_its_own_request_only(server, good):
    jpeg, png = good["JPEG"], good["PNG"]
    first, second = asked_at_once(server[0], [request_of([jpeg, b"no image", png]), request_of([png, jpeg])])
    assert first[0] == "INVALID_ARGUMENT"
    assert second["probabilities"].shape == (2, 4)


def test_images_of_two_sizes_at_once(server, picture):
    requests = [request_of(image[None], "images", "images") for image in (picture, picture[:20])]
    assert all(isinstance(found, dict) for found in asked_at_once(server[0], requests))


def test_with_merging_the_bad_would_fail_the_good(version, good, picture):
    """Why batching.config is as it is; and that the stub merges."""
    with stub_server.running(stub_server.Servable(version, NAME, MERGING % 2)) as (address, _):
        found = asked_at_once(address, [request_of([good["PNG"]]), request_of([b"no image"])])
        assert [answer[0] for answer in found] == ["INVALID_ARGUMENT"] * 2
        requests = [request_of(image[None], "images", "images") for image in (picture, picture[:20])]
        assert [answer[0] for answer in asked_at_once(address, requests)] == ["FAILED_PRECONDITION"] * 2
        good_twice = asked_at_once(address, [request_of([good["PNG"]]), request_of([good["JPEG"]])])
        assert all(isinstance(answer, dict) for answer in good_twice)


def test_more_images_than_a_request_may_have(version, good):
    with stub_server.running(stub_server.Servable(version, NAME, serving.batching_config(2))) as (address, _):
        assert isinstance(asked(address, request_of([good["GIF"]] * 2)), dict)
        status, words = asked(address, request_of([good["GIF"]] * 3))
        assert status == "INVALID_ARGUMENT" and "3" in words


def test_rest_by_rows(server, good, probabilities_of, picture):
    rows = [b64(good["PNG"]), b64(good["JPEG"])]
    code, answer = posted(server[1], {"signature_name": "serving_default", "instances": rows})
    assert code == 200 and len(answer["predictions"]) == 2
    np.testing.assert_allclose(answer["predictions"][0]["probabilities"], probabilities_of(picture), atol=1e-6)
    assert answer["predictions"][0]["top_labels"][0] in ["ant", "bée", "cat", "emu"]
    named = posted(server[1], {"instances": [{"bytes": row} for row in rows]})
    assert named == (code, answer)


def test_rest_by_columns(server, good, picture):
    code, answer = posted(server[1], {"inputs": {"bytes": [b64(good["PNG"])]}})
    assert code == 200 and np.shape(answer["outputs"]["probabilities"]) == (1, 4)
    assert posted(server[1], {"inputs": [b64(good["PNG"])]}) == (code, answer)
    code, other = posted(server[1], {"signature_name": "images", "inputs": [picture.tolist()]})
    np.testing.assert_allclose(other["outputs"]["probabilities"], answer["outputs"]["probabilities"], atol=1e-6)


def test_rest_refuses(server, good):
    url = server[1]
    for body in (b"no json", {"neither": 1}, {"instances": [7]}, {"instances": [b64(good["PNG"]), b64(b"")]}):
        code, answer = posted(url, body)
        assert code == 400 and answer["error"]
    assert posted(url, {"signature_name": "none", "instances": [b64(good["PNG"])]})[0] == 412
    assert posted(url, {"instances": [b64(good["PNG"])]}, name="another")[0] == 404


def test_warm_up_requests_are_answered(version, model, tmp_path):
    warmup.write(tmp_path, NAME, model.architecture.image_shape)
    path = tmp_path / "assets.extra" / "tf_serving_warmup_requests"
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    requests = [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]
    with stub_server.running(stub_server.Servable(version, NAME)) as (address, _):
        answers = [asked(address, request) for request in requests]
    assert all(isinstance(answer, dict) for answer in answers), answers
    sizes = {}
    for request, answer in zip(requests, answers, strict=True):
        assert request.model_spec.name == NAME
        sizes.setdefault(request.model_spec.signature_name, []).append(len(next(iter(answer.values()))))
    assert sizes == {name: [1, 4] for name in ("serving_default", "images", "pixels", "features")}


@pytest.fixture
def files(tmp_path, good):
    paths = [tmp_path / name.lower() for name in ("PNG", "JPEG")]
    for path in paths:
        path.write_bytes(good[path.name.upper()])
    return [*paths, pathlib.Path(tmp_path / "bad")]


def test_the_client_of_the_docs(server, files, capsys):
    files[2].write_bytes(b"no image")
    spec = importlib.util.spec_from_file_location(
        "serving_client", pathlib.Path(__file__).parents[2] / "examples" / "serving_client.py"
    )
    client = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(client)
    assert client.main([server[0], NAME, *map(str, files)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all("%" in line for line in lines[:2])
    assert str(files[2]) in lines[2] and "INVALID_ARGUMENT" in lines[2]


def test_the_curl_of_the_docs(server, files):
    command = (
        f"""printf '{{"instances": [{{"b64": "%s"}}]}}' "$(base64 < {files[0]} | tr -d '\\n')" """
        f"| curl -s --data @- {server[1]}/v1/models/{NAME}:predict"
    )
    try:
        out = subprocess.run(["bash", "-c", command], capture_output=True, timeout=120, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("needs bash, base64 and curl: apt-get install curl")
    assert np.shape(json.loads(out)["predictions"][0]["probabilities"]) == (4,)
