"""Models that Keras runs: those of runs and `.keras` files, and anybody's weights."""

import keras
import tensorflow as tf

from keras_vit.classifier import ImageClassifier, in_float32
from keras_vit.export import description
from keras_vit.export.answering import MAIN, Answering, main_output
from trainers.inference import pixels, source_model
from trainers.inference.predictor import Predictor


def opened(path: str, flag: str) -> Predictor:
    """Raises UserError if nothing is there, or it holds no model of ours."""
    source = source_model.load(path, flag)
    return of_model(source.model, source.answering, notes=source.notes)


def of_model(
    model: ImageClassifier, answering: Answering, output: str | None = None, notes: tuple[str, ...] = ()
) -> Predictor:
    """What a model of this library answers. It computes in float32, as what is exported does.

    Args:
        model: Model as `keras_vit.build` returns it.
        answering: Rule by which its logits become an answer.
        output: Output that it is to answer; probabilities if left out, or features where there is no head.
        notes: Notes of the predictor.
    """
    output = output or main_output(model)
    with_head = output == MAIN[0]
    copy = in_float32(model)
    part = copy if with_head else keras.Model(copy.input, copy.get_layer("pre_logits").output)
    shape = model.architecture.image_shape

    @tf.function(input_signature=[tf.TensorSpec((None, *shape), tf.float32)])
    def compute(pixels_BHWC):
        outputs = part(pixels_BHWC, training=False)
        return answering.probabilities_of(outputs) if with_head else tf.cast(outputs, tf.float32)

    return Predictor(
        "Keras",
        output,
        tuple(description.labels_of(model)) if with_head else (),
        pixels.together(pixels.preprocessed(shape[-1], model.preprocessing), lambda images: compute(images).numpy()),
        notes,
    )
