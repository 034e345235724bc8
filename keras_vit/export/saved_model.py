"""A model as a TensorFlow SavedModel, for TF Serving and whatever else reads one: preprocessing and labels inside.

Signatures, B being free:

- `serving_default`: `bytes`, encoded images, strings (B,). What cannot be decoded is an InvalidArgumentError with the
  reason, for the whole tensor.
- `images`: `images`, uint8 (B, H, W, C), any H and W.
- `pixels`: `pixels`, float32 (B, h, w, C), resized and scaled as the model wants them.
- `features`: `bytes`; answers `features` (B, D), the head's input, and `patch_grid` (B, h, w, D), the patch tokens, or
  a ResNet's last map, in the image's order.

The first three answer `probabilities`, `top_indices`, `top_labels` and `top_probabilities` (see `Answering.answers`);
those of a model without a head answer as `features`.
"""

import os
import pathlib
from typing import Any

import keras
import tensorflow as tf

from keras_vit.classifier import ImageClassifier, in_float32
from keras_vit.export import description
from keras_vit.export.answering import SIGNATURE, Answering
from keras_vit.images import decoding, transform

# Where TensorFlow's loaders do not look; TF Serving finds its warm-up requests there.
EXTRA = "assets.extra"


def write(
    model: ImageClassifier,
    path: str | os.PathLike,
    *,
    answering: Answering,
    provenance: dict[str, Any],
) -> None:
    """Writes the folder of a SavedModel. It computes in float32, in whatever precision the model was trained.

    Args:
        model: Model as `keras_vit.build` returns it.
        path: The folder, made here; local.
        answering: How logits become an answer.
        provenance: Origin of the model, as plain JSON values.
    """
    whole = with_features(in_float32(model))
    signatures = Signatures(model, whole, answering)
    # What tf.saved_model.save writes of a Keras 3 model, the C loader refuses. The archive finds the variables that its
    # functions use; a model that it is told to track would be stored a second time.
    archive = keras.export.ExportArchive()
    for name, (method, spec) in signatures.all().items():
        archive.add_endpoint(name, method, input_signature=[spec])
    archive.write_out(os.fspath(path), verbose=False)
    extra = pathlib.Path(path) / EXTRA
    extra.mkdir()
    for name, content in description.files_of(model, answering, provenance).items():
        (extra / name).write_bytes(content)


def with_features(model: ImageClassifier) -> keras.Model:
    """The same layers with two more outputs: {`logits`, where there is a head, `features`, `patch_grid`}."""
    features, tokens = model.get_layer("pre_logits").output, model.get_layer("pool").input
    rows, columns = model.architecture.grid
    if len(tokens.shape) == 3:  # the patches come last, after a class token and the like
        patches = tokens[:, tokens.shape[1] - rows * columns :]
        tokens = keras.layers.Reshape((rows, columns, tokens.shape[-1]), name="patch_grid")(patches)
    outputs = {"features": features, "patch_grid": tokens}
    if model.architecture.num_classes:
        outputs["logits"] = model.output
    return keras.Model(model.input, outputs, name=model.name)


class Signatures:
    """The functions behind the signatures.

    Args:
        model: Model that is exported.
        whole: `with_features` of it.
        answering: How logits become an answer.
    """

    def __init__(self, model: ImageClassifier, whole: keras.Model, answering: Answering):
        self._preprocessing = model.preprocessing
        self._shape = model.architecture.image_shape
        self._labels = description.labels_of(model)
        self._answering = answering
        # As functions of their own, model and decoders stand in the graph once, not once for each signature.
        pixels = tf.TensorSpec((None, *self._shape), tf.float32)
        self._outputs = tf.function(lambda pixels: whole(pixels, training=False), input_signature=[pixels])
        self._decoded = tf.function(self._decode, input_signature=[tf.TensorSpec((None,), tf.string)])

    def all(self):
        """Name -> function and the specification of its input."""
        channels = self._shape[-1]
        encoded = tf.TensorSpec((None,), tf.string, name="bytes")
        return {
            SIGNATURE: (self.of_bytes, encoded),
            "images": (self.of_images, tf.TensorSpec((None, None, None, channels), tf.uint8, name="images")),
            "pixels": (self.of_pixels, tf.TensorSpec((None, *self._shape), tf.float32, name="pixels")),
            "features": (self.features_of, encoded),
        }

    def of_bytes(self, bytes):
        return self.of_pixels(self._decoded(bytes))

    def of_images(self, images):
        return self.of_pixels(transform.apply(images, self._preprocessing))

    def of_pixels(self, pixels):
        outputs = self._outputs(pixels)
        return self._answering.answers(outputs["logits"], self._labels) if self._labels else _features(outputs)

    def features_of(self, bytes):
        return _features(self._outputs(self._decoded(bytes)))

    def _decode(self, bytes):
        """(B, h, w, C) as the model wants them."""

        def one(encoded):
            return transform.apply(decoding.decode(encoded, self._shape[-1]), self._preprocessing)

        return tf.map_fn(one, bytes, fn_output_signature=tf.TensorSpec(self._shape, tf.float32))


def _features(outputs):
    return {name: tf.cast(outputs[name], tf.float32) for name in ("features", "patch_grid")}
