"""Multi-head attention (paper, appendix A)."""

import math

import keras
from keras import ops

from keras_vit.errors import UserError
from keras_vit.layers.position import attention_position, counted


@keras.saving.register_keras_serializable(package="keras_vit")
class Attention(keras.layers.Layer):
    """Multi-head scaled dot-product attention.

    Kernels have the layout of the paper's checkpoints: query, key, value (D, A, K), out (A, K, D). The softmax is
    computed in float32 whatever the compute dtype.

    Args:
        heads: Number A of heads; must divide the width D, and K = D / A.
        dropout: Rate on the attention probabilities.
        use_bias: Whether the four projections have biases.
        position: Key of `keras_vit.layers.position.POSITIONS`; only kinds that act inside attention matter here.
        prefix_tokens: Number of tokens that come before the patches; only such a position kind asks.
        grid: (h, w) of the patches; may be left out when they form a square.

    Call arguments:
        queries: (B, T, D).
        keys: (B, S, D), also the values; the queries themselves if left out.
        mask: Optional (B, S) boolean, True where a key may be attended to.
        return_weights: Whether the attention probabilities are returned too.

    Returns:
        (B, T, D), and with `return_weights` also the probabilities (B, A, T, S).

    Raises:
        UserError: if the width is not divisible by the heads.
    """

    def __init__(self, heads, dropout=0.0, use_bias=True, position="none", prefix_tokens=1, grid=None, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.heads = heads
        self.dropout = dropout
        self.use_bias = use_bias
        self.position = position
        self.prefix_tokens = prefix_tokens
        self.grid = grid
        # Files of weights know the layer by both names.
        self.relative = attention_position(
            position, prefix_tokens=prefix_tokens, grid=grid, dtype=self.dtype_policy, name="relative_position"
        )
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout")
        shared = {"use_bias": use_bias, "dtype": self.dtype_policy}
        self.query = Projection(heads, name="query", **shared)
        self.key = Projection(heads, name="key", **shared)
        self.value = Projection(heads, name="value", **shared)
        self.out = Projection(None, name="out", **shared)

    @classmethod
    def from_config(cls, config):
        return cls(**counted(config))

    def build(self, queries_shape, keys_shape=None):
        width = queries_shape[-1]
        if self.heads < 1 or width % self.heads:
            raise UserError(f"Attention over width {width} cannot be split into {self.heads} heads.")
        heads_shape = (*queries_shape[:2], self.heads, width // self.heads)
        self.query.build(queries_shape)
        self.key.build(keys_shape or queries_shape)
        self.value.build(keys_shape or queries_shape)
        self.out.build(heads_shape)
        if self.relative is not None:
            self.relative.build(heads_shape, heads_shape)

    def call(self, queries, keys=None, mask=None, return_weights=False, training=False):
        keys = queries if keys is None else keys
        query_BTAK, key_BSAK, value_BSAK = self.query(queries), self.key(keys), self.value(keys)
        query_BTAK = query_BTAK * (query_BTAK.shape[-1] ** -0.5)
        bias_BATS = None
        if self.relative is not None:
            query_BTAK, key_BSAK, bias_BATS = self.relative(query_BTAK, key_BSAK)
        mask_B11S = None if mask is None else ops.cast(mask, "bool")[:, None, None, :]
        if not return_weights and not (training and self.dropout):
            # Backends with a fused kernel use it here; it gives no access to the probabilities.
            context = ops.dot_product_attention(
                query_BTAK, key_BSAK, value_BSAK, bias=bias_BATS, mask=mask_B11S, scale=1.0
            )
            return self.out(context)
        logits_BATS = ops.cast(ops.einsum("btak,bsak->bats", query_BTAK, key_BSAK), "float32")
        if bias_BATS is not None:
            logits_BATS += ops.cast(bias_BATS, "float32")
        if mask_B11S is not None:
            logits_BATS = ops.where(mask_B11S, logits_BATS, -1e9)
        weights_BATS = ops.cast(ops.softmax(logits_BATS, axis=-1), value_BSAK.dtype)
        dropped_BATS = self.drop(weights_BATS, training=training)
        outputs = self.out(ops.einsum("bats,bsak->btak", dropped_BATS, value_BSAK))
        return (outputs, weights_BATS) if return_weights else outputs

    def compute_output_spec(self, queries, keys=None, mask=None, return_weights=False, training=False):
        outputs = keras.KerasTensor(queries.shape, dtype=self.compute_dtype)
        if not return_weights:
            return outputs
        length = (queries if keys is None else keys).shape[1]
        weights_shape = (queries.shape[0], self.heads, queries.shape[1], length)
        return outputs, keras.KerasTensor(weights_shape, dtype=self.compute_dtype)


@keras.saving.register_keras_serializable(package="keras_vit")
class Projection(keras.layers.EinsumDense):
    """A linear map that splits the last axis into heads, or joins heads again.

    Kernels keep the three axes of the paper's checkpoints, and are Glorot-initialised as the matrices they stand for.
    The product itself is one of two matrices: an einsum over three axes costs twice as much on a CPU.

    Args:
        heads: Number A of heads to split into, (B, T, D) to (B, T, A, K); None joins (B, T, A, K) to (B, T, A*K).
        use_bias: Whether a bias is added.
    """

    def __init__(self, heads, use_bias=True, **kwargs):
        equation, bias_axes = ("btak,akd->btd", "d") if heads is None else ("btd,dak->btak", "ak")
        kwargs.setdefault("kernel_initializer", _glorot)
        # The output's shape follows from the input's, in `build`.
        super().__init__(equation, (None,), bias_axes=bias_axes if use_bias else None, **kwargs)
        self.supports_masking = True
        self.heads = heads
        self.use_bias = use_bias

    def build(self, inputs_shape):
        _, *self.partial_output_shape = self.compute_output_shape(inputs_shape)
        super().build(inputs_shape)

    def call(self, inputs, training=None):
        outer = self.compute_output_shape(inputs.shape)[2:]
        width = math.prod(outer)
        outputs = ops.matmul(ops.reshape(inputs, (-1, width)), ops.reshape(self.kernel, (width, width)))
        if self.use_bias:
            outputs = ops.add(outputs, ops.reshape(self.bias, (width,)))
        return ops.reshape(outputs, (-1, ops.shape(inputs)[1], *outer))

    def compute_output_shape(self, inputs_shape):
        width = math.prod(inputs_shape[2:])
        return (*inputs_shape[:2], *((width,) if self.heads is None else (self.heads, width // self.heads)))

    def get_config(self):
        return keras.layers.Layer.get_config(self) | {"heads": self.heads, "use_bias": self.use_bias}


def _glorot(shape, dtype=None):
    """Glorot-uniform of the square matrix that a three-axis kernel stands for."""
    limit = (3.0 / math.sqrt(math.prod(shape))) ** 0.5
    return keras.random.uniform(shape, -limit, limit, dtype=dtype)
