"""Masked patch prediction (paper, appendix B.1.2): a second model composed of a supervised model's own layers."""

import keras

from keras_vit.errors import UserError
from keras_vit.layers.corruption import Corruption
from keras_vit.objectives.masked_patches import TARGETS, patch_side


def masked_model(supervised: keras.Model, target: str = "mean_color") -> keras.Model:
    """A model that predicts what the corrupted patches of an image look like.

    Patch embeddings are corrupted between projection and positions, then go through the encoder, and a linear layer
    answers for each patch token. All layers but that one and the corruption are those of the supervised model, with
    the same variables: training this model trains that one, which knows nothing of it and is what is worth saving.
    In a hybrid, what is predicted are patches of the image; the neighbours of one that is masked know a little of it,
    because the stem looks beyond borders.

    Args:
        supervised: Model as `keras_vit.build` returns it; its pooling and head have no part in the new model.
        target: Key of `TARGETS`.

    Returns:
        A functional model from {"images": (B, H, W, C), "ids": (B,) integers} to {"predictions": (B, N, U) float32,
        with U by the target, "corrupted": (B, N) boolean}. See `Corruption` for what the ids decide.

    Raises:
        UserError: for an unknown target, one that does not fit the images, or a model without patches.
    """
    if target not in TARGETS:
        raise UserError(f"Unknown target {target!r}; choose one of {', '.join(TARGETS)}.")
    encoder = _layer(supervised, "patch_encoder")
    patches, policy = encoder.input, encoder.dtype_policy
    side, channels = patch_side(supervised.input.shape, patches.shape[1]), supervised.input.shape[-1]

    ids = keras.Input((), dtype="int32", name="ids")
    embeddings, corrupted = Corruption(dtype=policy, name="corruption")(encoder.projection(patches), ids)
    tokens = _Assembly(encoder, dtype=policy, name="assembly")(embeddings)
    tokens = _encoded(supervised, tokens)[:, encoder.prefix_tokens :]
    # Zeros, so that training starts from log 512; in float32, so that losses are too.
    head = keras.layers.Dense(
        TARGETS[target].units(side, channels), kernel_initializer="zeros", dtype="float32", name="masked_head"
    )
    outputs = {"predictions": head(tokens), "corrupted": corrupted}
    model = keras.Model({"images": supervised.input, "ids": ids}, outputs, name="masked_patches")
    model.dtype_policy = supervised.dtype_policy
    return model


class _Assembly(keras.layers.Layer):
    """What a `PatchEncoder` does after its projection, as a layer of its own."""

    def __init__(self, encoder, **kwargs):
        super().__init__(**kwargs)
        self.encoder = encoder

    def call(self, embeddings, training=False):
        return self.encoder.assembled(embeddings, training=training)


def _encoded(supervised, tokens):
    """Tokens after blocks and norm: equations 2 to 4, whatever positions are added between."""
    pooled = _layer(supervised, "pool")
    tokens = keras.Model(_layer(supervised, "patch_encoder").output, pooled.input, name="encoder")(tokens)
    # Where the norm comes after pooling, it has not been yet.
    return _layer(supervised, "norm")(tokens) if supervised.architecture.norm_site == "pooled" else tokens


def _layer(supervised, name):
    if name not in {layer.name for layer in supervised.layers}:
        raise UserError(f"Masked patch prediction needs a Vision Transformer; {supervised.name!r} has no {name}.")
    return supervised.get_layer(name)
