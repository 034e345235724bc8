"""From the encoder's tokens to one vector per image (paper, equation 4 and appendix D.3; attention pooling:
arXiv 2106.04560).

A pooling is a layer that takes tokens (B, T, D) and returns (B, D).
"""

import keras
from keras import ops

from keras_vit.layers.attention import Attention
from keras_vit.layers.mlp import MLP
from keras_vit.layers.position import counted


@keras.saving.register_keras_serializable(package="keras_vit")
class ClassTokenPooling(keras.layers.Layer):
    """The class token: token 0. Token 1 is the distillation token, where there is one."""

    def __init__(self, index=0, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.index = index

    def call(self, tokens):
        return tokens[:, self.index]

    def compute_mask(self, tokens, mask=None):
        return None


@keras.saving.register_keras_serializable(package="keras_vit")
class GlobalAveragePooling(keras.layers.Layer):
    """The mean of the patch tokens.

    Args:
        prefix_tokens: Number of tokens before the patches, which are left out.

    Call arguments:
        tokens: (B, T, D).
        mask: Optional (B, T) boolean; masked tokens do not count.
    """

    def __init__(self, prefix_tokens=0, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.prefix_tokens = prefix_tokens

    @classmethod
    def from_config(cls, config):
        return cls(**counted(config))

    def call(self, tokens, mask=None):
        first = self.prefix_tokens
        patches = tokens[:, first:]
        if mask is None:
            return ops.mean(patches, axis=1)
        # In float32: bfloat16 cannot count past 256.
        weights_BN1 = ops.cast(mask[:, first:], "float32")[..., None]
        sums_BD = ops.sum(ops.cast(patches, "float32") * weights_BN1, axis=1)
        return ops.cast(sums_BD / ops.maximum(ops.sum(weights_BN1, axis=1), 1.0), tokens.dtype)

    def compute_mask(self, tokens, mask=None):
        return None


@keras.saving.register_keras_serializable(package="keras_vit")
class AttentionPooling(keras.layers.Layer):
    """A learned probe attends to all tokens; its answer z becomes z + MLP(LN(z)). Known as the MAP head.

    Call arguments:
        tokens: (B, T, D).
        mask: Optional (B, T) boolean; masked tokens are not attended to.
    """

    def __init__(self, heads, mlp_width, gelu="tanh", epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.heads = heads
        self.mlp_width = mlp_width
        self.gelu = gelu
        self.epsilon = epsilon
        self.attention = Attention(heads, dtype=self.dtype_policy, name="attention")
        self.norm = keras.layers.LayerNormalization(epsilon=epsilon, dtype=self.dtype_policy, name="norm")
        self.mlp = MLP(mlp_width, gelu=gelu, dtype=self.dtype_policy, name="mlp")

    def build(self, tokens_shape):
        probe_shape = (tokens_shape[0], 1, tokens_shape[2])
        # Glorot limits of a (1, D) matrix, as in big_vision.
        self.probe = self.add_weight(shape=(1, 1, tokens_shape[2]), initializer=_probe_initializer, name="probe")
        self.attention.build(probe_shape, tokens_shape)
        self.norm.build(probe_shape)
        self.mlp.build(probe_shape)

    def call(self, tokens, mask=None):
        batch, _, width = ops.shape(tokens)
        probe_B1D = ops.broadcast_to(ops.cast(self.probe, tokens.dtype), (batch, 1, width))
        answer_B1D = self.attention(probe_B1D, tokens, mask=mask)
        answer_B1D = answer_B1D + self.mlp(self.norm(answer_B1D))
        return answer_B1D[:, 0]

    def compute_mask(self, tokens, mask=None):
        return None

    def compute_output_shape(self, tokens_shape):
        return tokens_shape[0], tokens_shape[2]


def _probe_initializer(shape, dtype=None):
    limit = (6.0 / (1 + shape[-1])) ** 0.5
    return keras.random.uniform(shape, -limit, limit, dtype=dtype)


def pooling(architecture, **kwargs):
    """The pooling layer that an architecture names."""
    return POOLINGS[architecture.pool](architecture, **kwargs)


POOLINGS = {
    "token": lambda a, **kwargs: ClassTokenPooling(**kwargs),
    "gap": lambda a, **kwargs: GlobalAveragePooling(a.prefix_tokens, **kwargs),
    "map": lambda a, **kwargs: AttentionPooling(a.heads, a.mlp_width, a.gelu, a.epsilon, **kwargs),
}
