"""TF Serving's two APIs over a SavedModel, on loopback: its rules for requests, errors and batching, in little.

The graph is run in a session by the tensors that its SignatureDefs name, as TF Serving does. The rules are those of
tensorflow/serving: batching/batching_session.cc, servables/tensorflow/predict_util.cc and util/json_tensor.cc.
"""

import base64
import concurrent.futures
import contextlib
import http.server
import json
import threading

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

# BatchingParameters of servables/tensorflow/session_bundle_config.proto, which tensorflow-serving-api lacks.
WRAPPED = {
    "max_batch_size": "Int64Value",
    "batch_timeout_micros": "Int64Value",
    "max_enqueued_batches": "Int64Value",
    "num_batch_threads": "Int64Value",
    "thread_pool_name": "StringValue",
    "enable_large_batch_splitting": "BoolValue",
    "max_execution_batch_size": "Int64Value",
}


class Refused(Exception):
    """What a client is told, with the name of a gRPC status."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def batching_parameters(text):
    """The proto that a batching.config is."""
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", package="stub", syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    message = file.message_type.add(name="BatchingParameters")
    for number, (name, wrapper) in enumerate(WRAPPED.items(), 1):
        message.field.add(name=name, number=number, type=11, label=1, type_name=f".google.protobuf.{wrapper}")
    message.field.add(name="allowed_batch_sizes", number=20, type=3, label=3)
    message.field.add(name="pad_variable_length_inputs", number=21, type=8, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return text_format.Parse(
        text, message_factory.GetMessageClass(pool.FindMessageTypeByName("stub.BatchingParameters"))()
    )


def loaded(folder):
    """A session and the SignatureDefs of a SavedModel."""
    with tf.Graph().as_default() as graph:
        session = tf.compat.v1.Session(graph=graph)
        return session, tf.compat.v1.saved_model.load(session, ["serve"], str(folder)).signature_def


class Servable:
    """A version that is served.

    Args:
        version: As `loaded` returns it.
        name: What requests call it.
        batching: Text of a batching.config, or None for a server without --enable_batching.
    """

    def __init__(self, version, name, batching=None):
        self.name = name
        self._session, self._signatures = version
        parameters = None if batching is None else batching_parameters(batching)
        self._queues = {
            key: self._runner(signature) if parameters is None else Queue(self._runner(signature), parameters)
            for key, signature in self._signatures.items()
            if signature.inputs
        }

    def input_of(self, signature):
        """The name and dtype of a signature's one input."""
        if signature not in self._queues:
            raise Refused("FAILED_PRECONDITION", f'Serving signature key "{signature}" not found.')
        ((name, info),) = self._signatures[signature].inputs.items()
        return name, tf.as_dtype(info.dtype)

    def predict(self, signature, inputs):
        """Outputs by name."""
        name, _ = self.input_of(signature)
        if set(inputs) != {name}:
            message = f"input size does not match signature: given {sorted(inputs)}, expected {[name]}"
            raise Refused("INVALID_ARGUMENT", message)
        return self._queues[signature](inputs[name])

    def _runner(self, signature):
        ((_, given),) = signature.inputs.items()
        wanted = {name: info.name for name, info in signature.outputs.items()}

        def run(array):
            try:
                return self._session.run(wanted, {given.name: array})
            except tf.errors.InvalidArgumentError as error:
                reason = error.message.removeprefix("Graph execution error:").lstrip()  # which Python puts before
                raise Refused("INVALID_ARGUMENT", reason) from None
            except ValueError as error:
                raise Refused("INVALID_ARGUMENT", str(error)) from None

        return run


class Queue:
    """Joins the requests for one signature that wait at the same time.

    Args:
        run: array -> outputs by name.
        parameters: BatchingParameters.
    """

    def __init__(self, run, parameters):
        self._run = run
        self._most = parameters.max_batch_size.value or 1000
        self._splits = parameters.enable_large_batch_splitting.value
        self._room = self._most
        if self._splits and parameters.HasField("max_execution_batch_size"):
            self._room = parameters.max_execution_batch_size.value
        self._seconds = parameters.batch_timeout_micros.value / 1e6
        self._lock = threading.Lock()
        self._open = None
        self.run_sizes = []

    def __call__(self, array):
        if array.ndim < 1:
            raise Refused("INVALID_ARGUMENT", "Batching Run() input tensors must have at least one dimension")
        if len(array) > self._most:
            message = f"Task size {len(array)} is larger than maximum input batch size {self._most}"
            raise Refused("INVALID_ARGUMENT", message)
        pieces = [array[first : first + self._room] for first in range(0, len(array), self._room)]
        answers = [self._answer(piece) for piece in pieces]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def _answer(self, array):
        with self._lock:
            if self._open is not None and self._open.size + len(array) > self._room:
                self._open.full.set()
                self._open = None
            first = self._open is None
            batch = self._open = self._open or Batch()
            place = batch.add(array)
            if batch.size == self._room:
                batch.full.set()
                self._open = None
        if first:
            batch.full.wait(self._seconds)
            with self._lock:
                if self._open is batch:
                    self._open = None
            self.run_sizes.append(batch.size)
            batch.settle(self._run)
        return batch.answer_at(place)


class Batch:
    """Requests that share a run, and its fate."""

    def __init__(self):
        self.size = 0
        self.full = threading.Event()
        self._arrays = []
        self._outcome = concurrent.futures.Future()

    def add(self, array):
        place = slice(self.size, self.size + len(array))
        self._arrays.append(array)
        self.size += len(array)
        return place

    def settle(self, run):
        try:
            if len({array.shape[1:] for array in self._arrays}) > 1:
                message = "Tensors from different tasks have different shapes and padding is turned off."
                raise Refused("FAILED_PRECONDITION", message)
            self._outcome.set_result(run(np.concatenate(self._arrays)))
        except Exception as error:
            self._outcome.set_exception(error)

    def answer_at(self, place):
        return {name: value[place] for name, value in self._outcome.result().items()}


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, servable):
        self._servable = servable

    def Predict(self, request, context):
        spec = request.model_spec
        try:
            if spec.name != self._servable.name:
                raise Refused("NOT_FOUND", f"Servable not found for request: Latest({spec.name})")
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            outputs = self._servable.predict(spec.signature_name or "serving_default", inputs)
        except Refused as error:
            context.abort(grpc.StatusCode[error.status], str(error))
        response = predict_pb2.PredictResponse(model_spec=spec)
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


def rest_answer(servable, path, body):
    """The JSON that answers a POST."""
    if path != f"/v1/models/{servable.name}:predict":
        raise Refused("NOT_FOUND", f"Malformed request: POST {path}")
    try:
        request = json.loads(body)
    except ValueError as error:
        raise Refused("INVALID_ARGUMENT", f"JSON Parse error: {error}") from None
    if ("instances" in request) == ("inputs" in request):
        raise Refused("INVALID_ARGUMENT", "Missing 'inputs' or 'instances' key")
    signature = request.get("signature_name", "serving_default")
    name, dtype = servable.input_of(signature)
    if "instances" in request:
        rows = [row[name] if isinstance(row, dict) and name in row else row for row in request["instances"]]
        outputs = servable.predict(signature, {name: _array(rows, dtype)})
        columns = {key: _plain(value) for key, value in outputs.items()}
        return {"predictions": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]}
    given = request["inputs"]
    values = given[name] if isinstance(given, dict) and name in given else given
    outputs = servable.predict(signature, {name: _array(values, dtype)})
    return {"outputs": {key: _plain(value) for key, value in outputs.items()}}


def _array(values, dtype):
    try:
        if dtype == tf.string:
            decoded = [
                base64.b64decode(value["b64"]) if isinstance(value, dict) else value.encode() for value in values
            ]
            return np.array(decoded, object)
        return np.array(values, dtype.as_numpy_dtype)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Refused("INVALID_ARGUMENT", f"JSON Value cannot be converted to {dtype.name}: {error}") from None


def _plain(value):
    if value.dtype == object:
        return [_plain(row) if isinstance(row, np.ndarray) else row.decode() for row in value]
    return value.tolist()


HTTP = {"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 412, "NOT_FOUND": 404}


class RestHandler(http.server.BaseHTTPRequestHandler):
    servable: Servable

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            status, answer = 200, rest_answer(self.servable, self.path, body)
        except Refused as error:
            status, answer = HTTP[error.status], {"error": str(error)}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def running(servable):
    """Serves; gives (host:port of gRPC, URL of REST)."""
    grpc_server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(servable), grpc_server)
    port = grpc_server.add_insecure_port("127.0.0.1:0")
    grpc_server.start()
    handler = type("Handler", (RestHandler,), {"servable": servable})
    rest = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=rest.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{port}", f"http://127.0.0.1:{rest.server_port}"
    finally:
        rest.shutdown()
        rest.server_close()
        thread.join()
        grpc_server.stop(None).wait()
