"""`assets.extra/tf_serving_warmup_requests`: what TF Serving asks a model before it announces it.

A new version is slow on its first requests, which set up memory and choose kernels; these are they. TF Serving refuses
a version that fails one of them (tensorflow/serving, servables/tensorflow/saved_model_warmup_util.cc).
"""

import os
import pathlib

import tensorflow as tf

from keras_vit.errors import MissingPackage
from keras_vit.export.answering import SIGNATURE
from keras_vit.export.saved_model import EXTRA

FILE = "tf_serving_warmup_requests"
BATCHES = (1, 4)
IMAGE_SIZE = (375, 500)  # ImageNet's median height and width


def write(folder: str | os.PathLike, name: str, image_shape: tuple[int, int, int]) -> None:
    """Writes the requests into a SavedModel's folder, beside the files that are there.

    Args:
        folder: Folder as `saved_model.write` made it.
        name: Name that TF Serving calls the model by.
        image_shape: (h, w, C) of what the model is fed.

    Raises:
        MissingPackage: naming the extra to install, if tensorflow-serving-api is missing.
    """
    logs = prediction_logs(name, image_shape)
    path = pathlib.Path(folder) / EXTRA / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(os.fspath(path)) as records:
        for log in logs:
            records.write(log.SerializeToString())


def prediction_logs(name: str, image_shape: tuple[int, int, int]) -> list:
    """A PredictionLog for each signature and each of `BATCHES`.

    Args:
        name: Name that TF Serving calls the model by.
        image_shape: (h, w, C) of what the model is fed.

    Raises:
        MissingPackage: naming the extra to install, if tensorflow-serving-api is missing.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ModuleNotFoundError as error:
        raise MissingPackage(
            "Warm-up requests are written by tensorflow-serving-api, which is not installed; from a clone, install it "
            "with pip install -e '.[export]'.",
            name=error.name,
        ) from None
    logs = []
    for signature, (input_name, inputs_of) in _inputs(image_shape).items():
        for batch in BATCHES:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            request.inputs[input_name].CopyFrom(inputs_of(batch))
            predict = prediction_log_pb2.PredictLog(request=request)
            logs.append(prediction_log_pb2.PredictionLog(predict_log=predict))
    return logs


def _inputs(image_shape):
    """Signature -> the name of its input, and batch size -> TensorProto."""
    files = _encoded(image_shape[-1])

    def encoded(batch):
        return tf.make_tensor_proto([files[number % len(files)] for number in range(batch)], tf.string)

    def grey(dtype, shape, value):
        # One value stands for all: the file stays small, and time does not depend on what is in a picture.
        return lambda batch: tf.make_tensor_proto(value, dtype, (batch, *shape))

    return {
        SIGNATURE: ("bytes", encoded),
        "images": ("images", grey(tf.uint8, (*IMAGE_SIZE, image_shape[-1]), 128)),
        "pixels": ("pixels", grey(tf.float32, image_shape, 0.0)),
        "features": ("bytes", encoded),
    }


def _encoded(channels):
    """A JPEG and a PNG."""
    rows, columns = (tf.linspace(0.0, 255.0, side) for side in IMAGE_SIZE)
    image = tf.cast((rows[:, None, None] + columns[None, :, None]) / 2 * tf.ones(channels), tf.uint8)
    return [tf.io.encode_jpeg(image).numpy(), tf.io.encode_png(image).numpy()]
