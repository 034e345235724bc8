"""The two-layer perceptron of a block (paper, section 3.1)."""

import math

import keras
from keras import ops

from keras_vit.errors import UserError


@keras.saving.register_keras_serializable(package="keras_vit")
class MLP(keras.layers.Layer):
    """Dense, GELU, dropout, Dense, dropout.

    Args:
        mlp_width: Hidden width M.
        dropout: Rate after the activation and after the second layer.
        gelu: Form of the activation, a key of `GELUS`.

    Call arguments:
        inputs: (B, T, D).

    Returns:
        (B, T, D).

    Raises:
        UserError: if `gelu` is unknown.
    """

    def __init__(self, mlp_width, dropout=0.0, gelu="tanh", **kwargs):
        super().__init__(**kwargs)
        if gelu not in GELUS:
            raise UserError(f"Unknown gelu {gelu!r}; choose one of {', '.join(GELUS)}.")
        self.supports_masking = True
        self.mlp_width = mlp_width
        self.dropout = dropout
        self.gelu = gelu
        self.drop_0 = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout_0")
        self.drop_1 = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout_1")

    def build(self, inputs_shape):
        self.dense_0 = self._dense(self.mlp_width, "dense_0")
        self.dense_1 = self._dense(inputs_shape[-1], "dense_1")
        self.dense_0.build(inputs_shape)
        self.dense_1.build((*inputs_shape[:-1], self.mlp_width))

    def call(self, inputs, training=False):
        hidden_BTM = GELUS[self.gelu](self.dense_0(inputs))
        hidden_BTM = self.drop_0(hidden_BTM, training=training)
        return self.drop_1(self.dense_1(hidden_BTM), training=training)

    def _dense(self, units, name):
        return keras.layers.Dense(
            units,
            kernel_initializer="glorot_uniform",
            # The paper's code draws these biases from N(0, 1e-6) instead of setting them to zero.
            bias_initializer=keras.initializers.RandomNormal(stddev=1e-6),
            dtype=self.dtype_policy,
            name=name,
        )


def gelu_tanh(x):
    """The tanh approximation of GELU, as in the paper's code.

    Spelt out, because the cube that Keras would take with `pow` costs more on a CPU than the matrix products around it.
    """
    return 0.5 * x * (1.0 + ops.tanh(x * (_ROOT + _ROOT * 0.044715 * ops.square(x))))


def gelu_erf(x):
    """Exact GELU. Spelt with erf, because the erfc that Keras would use is refused by ONNX and TF.js converters."""
    return 0.5 * x * (1.0 + ops.erf(x * 0.5**0.5))


_ROOT = math.sqrt(2.0 / math.pi)

GELUS = {"tanh": gelu_tanh, "erf": gelu_erf}
