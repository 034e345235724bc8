"""Corruption of patch embeddings, for masked patch prediction (paper, appendix B.1.2)."""

import keras
import numpy as np
from keras import ops

from keras_vit.errors import UserError

# Of the corrupted patches, how many become [mask] and how many another patch; the rest stay as they are.
MASKED, REPLACED = 0.8, 0.1
# Distinct corruptions outside training. As many as make no odds for a mean over a validation split.
PATTERNS = 64


class Corruption(keras.layers.Layer):
    """Corrupts half of each image's patch embeddings, and says which half.

    Per image exactly `round(N / 2)` patches (half a patch is rounded to even, as Python does) are corrupted: each of
    them, independently, becomes the learned [mask] embedding with probability 0.8, the embedding of another patch with
    0.1, and stays as it is with 0.1. The paper leaves open whose "random other patch embedding" that is; here it is
    one of the same image, never the patch's own. Positions are added afterwards, so each patch still knows its place.

    In training the corruption follows from the state of the layer's seed generator, like a dropout mask. Outside of it
    from `ids` alone: an example is corrupted the same way in every evaluation, whatever batch it comes in.

    Call arguments:
        embeddings: (B, N, D), projected patches without positions, N at least 2.
        ids: (B,) integers, the examples' identities; not looked at in training.

    Returns:
        The embeddings (B, N, D), and (B, N) boolean, True where a patch counts as corrupted, changed or not.

    Raises:
        UserError: if the embeddings are fewer than 2, or how many is not known.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, embeddings_shape):
        _, patches, width = embeddings_shape
        if patches is None or patches < 2:
            raise UserError(f"Masked patch prediction needs 2 patches or more per image; got {patches}.")
        self.mask_embedding = self.add_weight(shape=(width,), initializer="zeros", name="mask_embedding")
        # Not of Keras's random numbers, which differ between backends.
        self.noise_K3N = np.random.default_rng(0).random((PATTERNS, 3, patches), dtype="float32")

    def call(self, embeddings, ids, training=False):
        corrupted_BN, masked_BN, source_BN = corruption(self._noise(embeddings, ids, training))
        embeddings_BND = ops.take_along_axis(embeddings, source_BN[..., None], axis=1)
        mask_D = ops.cast(self.mask_embedding, embeddings.dtype)
        return ops.where(masked_BN[..., None], mask_D, embeddings_BND), corrupted_BN

    def _noise(self, embeddings, ids, training):
        """(B, 3, N) in [0, 1)."""
        if training:
            batch, patches, _ = ops.shape(embeddings)
            return keras.random.uniform((batch, 3, patches), dtype="float32", seed=self.seed_generator)
        return ops.take(ops.convert_to_tensor(self.noise_K3N), ops.mod(ids, PATTERNS), axis=0)


def corruption(noise):
    """What happens to each patch, as a pure function of uniform noise.

    Args:
        noise: (B, 3, N) in [0, 1): per patch one number each that decides whether it is corrupted, how, and which
            other patch may replace it.

    Returns:
        corrupted: (B, N) boolean, exactly `round(N / 2)` of them True per image.
        masked: (B, N) boolean, which of those become [mask].
        source: (B, N) integers, the patch whose embedding stands at each place: another one where it is replaced.
    """
    order_BN, manner_BN, other_BN = noise[:, 0], noise[:, 1], noise[:, 2]
    patches = noise.shape[-1]
    ranks_BN = ops.argsort(ops.argsort(order_BN, axis=-1), axis=-1)  # a permutation, so that ties do no harm
    corrupted_BN = ranks_BN < round(patches / 2)
    masked_BN = ops.logical_and(corrupted_BN, manner_BN < MASKED)
    replaced_BN = ops.logical_and(manner_BN >= MASKED, manner_BN < MASKED + REPLACED)
    replaced_BN = ops.logical_and(corrupted_BN, replaced_BN)
    distance_BN = 1 + ops.cast(other_BN * (patches - 1), "int32")  # 1 ... N - 1, even of the largest number below 1
    place_N = ops.arange(patches, dtype="int32")
    source_BN = ops.where(replaced_BN, ops.mod(place_N + distance_BN, patches), place_N)
    return corrupted_BN, masked_BN, source_BN
