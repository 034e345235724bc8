"""What the families of models have in common: what they carry beside their weights, and the head."""

from collections.abc import Callable
from typing import Any

import keras

from keras_vit.errors import UserError
from keras_vit.preprocessing import Preprocessing


class ImageClassifier(keras.Model):
    """A functional model that carries its architecture, class names and preprocessing.

    Each family is a subclass with two class attributes: `architecture_type`, the dataclass of its architectures, and
    `compose`, a function of architecture, symbolic images (B, H, W, C) and name of the dtype policy to the logits
    (B, Y). Layers `pre_logits`, whose output is the head's input, the features, and `head` are in every family. Copy a
    model with `type(model).from_config(model.get_config())`: `keras.models.clone_model` would return a plain functional
    model that carries nothing.
    """

    architecture_type: type[Any]
    compose: Callable[..., Any]

    def __init__(
        self, architecture, *, class_names=None, preprocessing=None, dtype=None, name=None, frozen=(), **kwargs
    ):
        preprocessing = preprocessing or Preprocessing(size=architecture.image_shape[:2])
        _check_fit(architecture, class_names, preprocessing)
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        images = keras.Input(architecture.image_shape, name="images")
        outputs = type(self).compose(architecture, images, policy.name)
        super().__init__(inputs=images, outputs=outputs, name=name, **kwargs)
        self.dtype_policy = policy
        self.architecture = architecture
        self.class_names = None if class_names is None else list(class_names)
        self.preprocessing = preprocessing
        for layer in frozen:
            self.get_layer(layer).trainable = False

    def get_config(self):
        return {
            "architecture": self.architecture.to_dict(),
            "class_names": self.class_names,
            "preprocessing": self.preprocessing.to_dict(),
            "dtype": self.dtype_policy.name,
            "name": self.name,
            "trainable": self.trainable,
            "frozen": [layer.name for layer in self.layers if not layer.trainable] if self.trainable else [],
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        architecture = cls.architecture_type.from_dict(config.pop("architecture"))
        preprocessing = Preprocessing(**config.pop("preprocessing"))
        return cls(architecture, preprocessing=preprocessing, **config)


def description(model: ImageClassifier) -> dict[str, Any]:
    """What a model carries beside its weights, as plain values."""
    return {
        "family": model.architecture.family,
        "architecture": model.architecture.to_dict(),
        "preprocessing": model.preprocessing.to_dict(),
        "class_names": model.class_names,
    }


def in_float32(model: ImageClassifier) -> ImageClassifier:
    """The model if it computes in float32, else a copy that does: what leaves as a file is to run anywhere."""
    if model.dtype_policy.name == "float32":
        return model
    copy = type(model).from_config(model.get_config() | {"dtype": "float32"})
    copy.set_weights(model.get_weights())
    return copy


def head(architecture, features, name="head"):
    """Logits of features, where the architecture has classes; the features themselves where it has none.

    Zero-initialised, so that training starts from log Y; in float32, so that losses are too.
    """
    if not architecture.num_classes:
        return features
    return keras.layers.Dense(
        architecture.num_classes,
        kernel_initializer="zeros",
        bias_initializer=keras.initializers.Constant(architecture.head_bias),
        dtype="float32",
        name=name,
    )(features)


def _check_fit(architecture, class_names, preprocessing):
    """Raises UserError if class names or preprocessing belong to another model."""
    height, width, channels = architecture.image_shape
    if class_names is not None and len(class_names) != architecture.num_classes:
        raise UserError(f"{len(class_names)} class names for a head of {architecture.num_classes} classes.")
    if preprocessing.size != (height, width):
        raise UserError(f"preprocessing makes images of {preprocessing.size}, but the model takes {(height, width)}.")
    if len(preprocessing.mean) not in (1, channels):
        raise UserError(f"preprocessing has a mean for {len(preprocessing.mean)} channels; the model has {channels}.")
