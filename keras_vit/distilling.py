"""Teacher and student of distillation (DeiT, arXiv 2012.12877, section 3), which need not take the same images."""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_vit.preprocessing import Preprocessing


def student(model: keras.Model) -> keras.Model:
    """The model that learns from a teacher: a classifier itself, or, with a distillation token, one composed of its
    layers that returns the logits of both heads, {"labels": (B, Y), "teacher": (B, Y)}.

    Args:
        model: Model as `keras_vit.build` returns it; training the student trains it, and it is what is worth saving.
    """
    if not getattr(model.architecture, "distillation_token", False):
        return model
    heads = {"labels": "head", "teacher": "head_distillation"}
    outputs = {name: model.get_layer(layer).output for name, layer in heads.items()}
    composed = keras.Model(model.input, outputs, name="student")
    composed.dtype_policy = model.dtype_policy
    return composed


@dataclasses.dataclass(frozen=True)
class Teacher:
    """What a trained classifier answers to images that were made for another model.

    It sees just what the student sees, augmented, cropped and mixed, brought to its own size and scale. Resizing is
    bilinear, over all pixels where images shrink, whatever kernel and crop the teacher's own preprocessing has.

    Args:
        model: Model as `keras_vit.build` or `keras_vit.weights.load` returns it; dropout is off, and nothing of it is
            trained.
        seen: How the images were made: the student's preprocessing.

    Call arguments:
        images: (B, H, W, C) as the student takes them.

    Returns:
        float32 logits (B, Y).
    """

    model: keras.Model
    seen: Preprocessing

    def __call__(self, images):
        return ops.cast(self.model(self.images(images), training=False), "float32")

    def images(self, images):
        """Images (B, H, W, C) as the student takes them -> (B, h, w, C) as the teacher does."""
        wanted, images = self.model.preprocessing, ops.cast(images, "float32")
        if wanted.size != tuple(images.shape[1:3]):
            rows, columns = (bilinear(old, new) for old, new in zip(images.shape[1:3], wanted.size, strict=True))
            images = ops.einsum("ph,qw,bhwc->bpqc", rows, columns, images)
        if (wanted.mean, wanted.std) == (self.seen.mean, self.seen.std):
            return images
        mean, std, new_mean, new_std = (
            np.asarray(values, "float32") for values in (self.seen.mean, self.seen.std, wanted.mean, wanted.std)
        )
        return images * (std / new_std) + (mean - new_mean) / new_std


def bilinear(old: int, new: int) -> np.ndarray:
    """(new, old) float32 matrix of linear interpolation between pixel centres, over a window that widens as images
    shrink; as `keras_vit.images.transform` does it with antialiasing."""
    step = old / new
    offsets = np.arange(old) + 0.5 - (np.arange(new)[:, None] + 0.5) * step
    weights = np.maximum(0.0, 1.0 - np.abs(offsets) / max(step, 1.0))
    return (weights / weights.sum(axis=1, keepdims=True)).astype("float32")
