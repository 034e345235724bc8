"""One encoder block (paper, section 3.1, equations 2 and 3)."""

import keras

from keras_vit.layers.attention import Attention
from keras_vit.layers.mlp import MLP
from keras_vit.layers.position import counted
from keras_vit.layers.recomputation import recomputed


@keras.saving.register_keras_serializable(package="keras_vit")
class TransformerBlock(keras.layers.Layer):
    """Pre-norm attention and MLP, each with a residual: x + MSA(LN(x)), then x + MLP(LN(x)).

    Args:
        heads: Attention heads A.
        mlp_width: Hidden width M of the MLP.
        dropout: Rate after the attention's output projection and inside the MLP.
        attention_dropout: Rate on the attention probabilities.
        stochastic_depth: Rate at which a whole branch is dropped, drawn per example and per branch; survivors are
            scaled by 1 / (1 - rate) (arXiv 1603.09382, as used by AugReg).
        gelu: `tanh` or `erf`.
        epsilon: Added to the variance in layer normalisation.
        attention_bias: Whether the attention's projections have biases.
        position: Key of `keras_vit.layers.position.POSITIONS`; only kinds that act inside attention matter here.
        prefix_tokens: Number of tokens that come before the patches; only such a position kind asks.
        grid: (h, w) of the patches; may be left out when they form a square.

    Call arguments:
        tokens: (B, T, D).
        mask: Optional (B, T) boolean, True where a token may be attended to.
        return_weights: Whether the attention probabilities are returned too.

    Returns:
        (B, T, D), and with `return_weights` also the probabilities (B, A, T, T).

    Attributes:
        recompute: Whether in training the block's activations are computed again for the gradient instead of kept. A
            matter of one run, not of the model, so the config does not carry it; see `keras_vit.vit.recompute`.
    """

    def __init__(
        self,
        heads,
        mlp_width,
        dropout=0.0,
        attention_dropout=0.0,
        stochastic_depth=0.0,
        gelu="tanh",
        epsilon=1e-6,
        attention_bias=True,
        position="none",
        prefix_tokens=1,
        grid=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.heads = heads
        self.mlp_width = mlp_width
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.stochastic_depth = stochastic_depth
        self.gelu = gelu
        self.epsilon = epsilon
        self.attention_bias = attention_bias
        self.position = position
        self.prefix_tokens = prefix_tokens
        self.grid = grid

        policy = self.dtype_policy
        self.norm_0 = keras.layers.LayerNormalization(epsilon=epsilon, dtype=policy, name="norm_0")
        self.attention = Attention(
            heads, attention_dropout, attention_bias, position, prefix_tokens, grid, dtype=policy, name="attention"
        )
        self.drop = keras.layers.Dropout(dropout, dtype=policy, name="dropout")
        self.norm_1 = keras.layers.LayerNormalization(epsilon=epsilon, dtype=policy, name="norm_1")
        self.mlp = MLP(mlp_width, dropout, gelu, dtype=policy, name="mlp")
        # Dropout of one value per example drops a whole branch: stochastic depth.
        whole = {"noise_shape": (None, 1, 1), "dtype": policy}
        self.drop_attention = keras.layers.Dropout(stochastic_depth, name="stochastic_depth_0", **whole)
        self.drop_mlp = keras.layers.Dropout(stochastic_depth, name="stochastic_depth_1", **whole)
        self.recompute = False

    @classmethod
    def from_config(cls, config):
        return cls(**counted(config))

    def build(self, tokens_shape):
        for layer in (self.norm_0, self.attention, self.norm_1, self.mlp):
            layer.build(tokens_shape)

    def call(self, tokens, mask=None, return_weights=False, training=False):
        def forward(tokens):
            return self._forward(tokens, mask, return_weights, training)

        if self.recompute and training:
            return recomputed(forward, self._seed_generators_drawn())(tokens)
        return forward(tokens)

    def _forward(self, tokens, mask, return_weights, training):
        branch = self.attention(self.norm_0(tokens), mask=mask, return_weights=return_weights, training=training)
        branch, weights = branch if return_weights else (branch, None)
        branch = self.drop(branch, training=training)
        tokens = tokens + self.drop_attention(branch, training=training)
        branch = self.mlp(self.norm_1(tokens), training=training)
        tokens = tokens + self.drop_mlp(branch, training=training)
        return (tokens, weights) if return_weights else tokens

    def _seed_generators_drawn(self):
        """Of all that is random in the block, in training."""
        drops = (self.attention.drop, self.drop, self.mlp.drop_0, self.mlp.drop_1, self.drop_attention, self.drop_mlp)
        return [drop.seed_generator for drop in drops if drop.rate > 0]

    def compute_output_spec(self, tokens, mask=None, return_weights=False, training=False):
        outputs = keras.KerasTensor(tokens.shape, dtype=self.compute_dtype)
        if not return_weights:
            return outputs
        batch, length, _ = tokens.shape
        return outputs, keras.KerasTensor((batch, self.heads, length, length), dtype=self.compute_dtype)
