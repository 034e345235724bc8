"""Models that Keras runs: those of runs and `.keras` files, and anybody's weights."""

from typing import Any

import numpy as np
import tensorflow as tf

from keras_vit.classifier import in_float32
from keras_vit.export import description
from keras_vit.export.answering import Answering
from keras_vit.images import decoding, transform
from trainers.inference import pixels, source_model
from trainers.inference.predictor import Artefact


def opened(path: str, flag: str) -> Artefact:
    """Raises UserError if nothing is there, or it holds no model of ours."""
    source = source_model.load(path, flag)
    return of_model(source.model, source.answering, source.notes)


def of_model(model: Any, answering: Answering, notes: tuple[str, ...] = ()) -> Artefact:
    """A model of this library as an artefact. It computes in float32, as what is exported does.

    Args:
        model: As `keras_vit.build` returns it.
        answering: How its logits become an answer.
        notes: Of the artefact.
    """
    model = in_float32(model)
    shape = model.architecture.image_shape

    def prepared(encoded):
        return transform.transform(decoding.decode(encoded, shape[-1]), model.preprocessing)

    @tf.function(input_signature=[tf.TensorSpec((None, *shape), tf.float32)])
    def compute(pixels_BHWC):
        outputs = model(pixels_BHWC, training=False)
        return answering.probabilities_of(outputs) if model.architecture.num_classes else tf.cast(outputs, tf.float32)

    read = pixels.reader(prepared)
    return Artefact(
        "keras",
        tuple(description.labels_of(model)),
        lambda encoded: pixels.answered(read(encoded), lambda images: compute(np.stack(images)).numpy()),
        notes=notes,
    )
