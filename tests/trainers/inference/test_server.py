"""A model behind TF Serving's REST interface, played by a stub over the real SavedModel."""

import contextlib
import http.server
import json
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vit.export import serving as export_serving
from keras_vit.images import decoding, transform
from trainers.inference import opening, server
from trainers.inference.predictor import Unreadable


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@contextlib.contextmanager
def serving(handler):
    """A server on loopback; gives its URL."""
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/v1/models/pets"
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


class Scripted(http.server.BaseHTTPRequestHandler):
    """Answers metadata by one function and requests by another: from the body to status and JSON, or raw bytes."""

    def do_GET(self):
        self.respond(self.metadata, None)

    def do_POST(self):
        self.respond(self.predict, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def respond(self, function, body):
        status, content = function(body)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *_):
        pass


def signature(inputs=("bytes",), output="probabilities", size="3"):
    """Metadata as TF Serving tells it."""
    outputs = {output: {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}, {"size": size}]}}}
    definition = {"inputs": {name: {"dtype": "DT_STRING"} for name in inputs}, "outputs": outputs}
    return {"metadata": {"signature_def": {"signature_def": {"serving_default": definition}}}}


def scripted(predict, metadata=lambda body: (200, signature())):
    return type("Handler", (Scripted,), {"metadata": staticmethod(metadata), "predict": staticmethod(predict)})


def row(seed):
    numbers = {"probabilities": [0.1, 0.2, 0.7], "top_indices": [2], "top_labels": ["cat"], "top_probabilities": [0.7]}
    return numbers | {"probabilities": [seed, 0.2, 0.7]}


def images(request):
    return [instance["bytes"]["b64"] for instance in request["instances"]]


@pytest.fixture(scope="module")
def tf_serving(places):
    """The stub's REST side over the exported SavedModel, and its metadata."""
    pytest.importorskip("tensorflow_serving", reason="pip install -e '.[export]'")
    import stub_server
    from google.protobuf import json_format

    version = stub_server.loaded(places / "export" / "10")
    signatures = {
        name: json_format.MessageToDict(one, preserving_proto_field_name=True) for name, one in version[1].items()
    }

    class Handler(stub_server.RestHandler):
        def do_GET(self):
            data = json.dumps({"metadata": {"signature_def": {"signature_def": signatures}}}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)

    # At most two images per request: more are refused as bad ones are.
    Handler.servable = stub_server.Servable(version, "pets", export_serving.batching_config(2))
    with serving(Handler) as url:
        yield url


def test_a_server_answers_as_its_model_does(tf_serving, model, encoded):
    for url in (tf_serving, f"{tf_serving}:predict"):
        predictor = opening.open_predictor(url)
        assert (predictor.runtime, list(predictor.labels)) == ("TF Serving", ["0", "1", "2"])
        answers = predictor.answer(encoded)
        assert [isinstance(one, Unreadable) for one in answers] == [False, True, False, True, True, False]
        assert answers[1].reason == "neither of JPEG, PNG, GIF, BMP, WebP: it looks like text"
        assert answers[3].reason == "Invalid JPEG data, size 100"
        pixels = transform.apply(decoding.decode(tf.constant(encoded[2]), 3), model.preprocessing)
        np.testing.assert_allclose(answers[2], keras.ops.softmax(model(pixels[None])[0]), atol=1e-5)
        assert list(predictor.labels) == ["ant", "bée", "crested cat"]


def test_halves_are_asked_until_the_bad_one_is_alone():
    sizes = []

    def predict(request):
        sizes.append(len(images(request)))
        if "YmFk" in images(request):
            return 400, {"error": "assertion failed: [a bad one]\n\t [[{{node map/while/Assert}}]]"}
        return 200, {"predictions": [row(0.1) for _ in images(request)]}

    with serving(scripted(predict)) as url:
        answers = server.opened(url, "server").answer([b"good"] * 5 + [b"bad"] + [b"good"] * 2)
    assert [one == Unreadable("a bad one") if isinstance(one, Unreadable) else None for one in answers] == (
        [None] * 5 + [True] + [None] * 2
    )
    assert sizes == [8, 4, 4, 2, 1, 1, 2]


def test_features_of_a_model_without_a_head():
    def predict(request):
        return 200, {"predictions": [{"features": [1.0, 2.0], "patch_grid": [[[0.0]]]} for _ in images(request)]}

    with serving(scripted(predict, lambda body: (200, signature(output="features")))) as url:
        predictor = server.opened(url, "server")
        assert not predictor.labels
        np.testing.assert_array_equal(predictor.answer([b"1", b"2"]), [[1, 2], [1, 2]])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, {"error": "out of memory"}), "answered 500 Internal Server Error: out of memory"),
        ((503, b""), "answered 503 Service Unavailable: Service Unavailable"),
        ((200, b"<html>"), "not JSON"),
        ((200, {"predictions": []}), "gave an answer that is none for 1 images"),
        ((200, {"predictions": [{"probabilities": 3}]}), "gave an answer that is none for 1 images"),
        ((200, ["?"]), "gave an answer that is none for 1 images"),
    ],
)
def test_a_server_that_fails_later_ends_the_run(answer, said):
    with serving(scripted(lambda request: answer)) as url:
        predictor = server.opened(url, "server")
        with pytest.raises(server.ServerFailed, match=said) as error:
            predictor.answer([b"image"])
    assert "\n" not in str(error.value) and error.value.exit_code == 1


def test_a_slow_server_is_not_waited_for():
    released = threading.Event()

    def predict(request):
        released.wait(30)
        return 200, {}

    with serving(scripted(predict)) as url:
        predictor = server.opened(url, "server", timeout=0.2)
        with pytest.raises(server.ServerFailed, match=r"did not answer within 0\.2 s"):
            predictor.answer([b"image"])
        released.set()


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ((404, {"error": "Could not find any versions of model pets"}), "404 Not Found: Could not find any versions"),
        ((200, signature(inputs=("pixels",))), "no signature serving_default from `bytes`"),
        ((200, signature(output="logits")), "no signature serving_default from `bytes`"),
        ((200, {}), "no signature serving_default from `bytes`"),
        ((200, b"SSH-2.0"), "is it TF Serving's REST port"),
        ((400, {"error": "two\nlines"}), "two"),
    ],
)
def test_what_is_wrong_with_a_server_is_told_at_once(metadata, said):
    handler = scripted(lambda request: (200, {}), lambda body: metadata)
    with serving(handler) as url, pytest.raises(ValueError, match=said) as error:
        server.opened(url, "server")
    assert str(error.value).startswith(f"--server={url}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1/v1/models/pets", "cannot be reached: Connection refused"),
        ("http://127.0.0.1:8501", "expected the form http://host:8501/v1/models/NAME"),
        ("127.0.0.1:8501/v1/models/pets", "expected the form"),
        ("http://127.0.0.1:8501/v1/models/pets:classify", "expected the form"),
        ("http://127.0.0.1:many/v1/models/pets", "cannot be reached|expected the form"),
    ],
)
def test_wrong_urls_are_one_line(url, said):
    with pytest.raises(ValueError, match=said) as error:
        server.opened(url, "server", 2.0)
    assert str(error.value).startswith(f"--server={url}: ")


@pytest.mark.parametrize("ending", ["", "/", ":predict", "/versions/3", "/labels/stable", "/versions/3:predict"])
def test_forms_of_urls(ending):
    requested = []

    class Noting(Scripted):
        def do_GET(self):
            requested.append(self.path)
            self.respond(lambda body: (200, signature()), None)

    with serving(Noting) as url:
        server.opened(url + ending, "server")
    assert requested == [f"/v1/models/pets{ending.removesuffix(':predict').rstrip('/')}/metadata"]
