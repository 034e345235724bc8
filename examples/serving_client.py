"""Asks a model behind TF Serving's gRPC port about image files.

    python examples/serving_client.py HOST:PORT NAME FILE...

Needs the extra `export`: pip install -e '.[export]'.
"""

import pathlib
import sys

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def main(arguments: list[str]) -> int:
    """Prints a line per file; 1 if one of them was refused."""
    if len(arguments) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    address, name, *files = arguments
    refused = 0
    with grpc.insecure_channel(address) as channel:
        service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for file in files:
            try:
                answer = service.Predict(request_for(name, [pathlib.Path(file).read_bytes()]), timeout=30.0)
                print(f"{file}: {best_of(answer)}")
            except OSError as error:
                refused = 1
                print(f"{file}: {error.strerror}")
            except grpc.RpcError as error:
                refused = 1
                reason = (error.details() or "").split("\n")[0]  # names of the graph's nodes follow
                print(f"{file}: {error.code().name}: {reason}")
    return refused


def request_for(name: str, encoded: list[bytes]) -> predict_pb2.PredictRequest:
    """Encoded images as one request. One that cannot be read fails the whole request: better send each by itself."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = "serving_default"
    request.inputs["bytes"].CopyFrom(tf.make_tensor_proto(encoded))
    return request


def best_of(answer: predict_pb2.PredictResponse) -> str:
    if "top_labels" not in answer.outputs:
        return "features, of a model without a head"
    labels, shares = (tf.make_ndarray(answer.outputs[name])[0] for name in ("top_labels", "top_probabilities"))
    return ", ".join(f"{label.decode()} {share:.1%}" for label, share in zip(labels, shares, strict=True))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
