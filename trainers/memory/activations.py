"""What the layers of a Vision Transformer keep for the backward pass on the TensorFlow backend, by formula.

Read off the graphs of `trainers.engine.tensorflow.steps`: the forward pass's tensors that the backward pass reads, and
for XLA the buffers that it assigns at the peak. Shape letters are those of the layers: T tokens, D width, M MLP width,
A heads.
"""

from keras_vit.positions import POSITIONS
from keras_vit.variants import Architecture

FLOAT32 = 4


def kept_by_block(a: Architecture, width: int, xla: bool) -> int:
    """Bytes per image that one block keeps.

    Args:
        a: The architecture.
        width: Bytes of a number in the compute dtype.
        xla: Whether the pass is compiled.
    """
    tokens, hidden, weights = _sizes(a)
    if xla:
        # Two residual streams, two norms' outputs, query, key, value and context; of the MLP its pre-activation, GELU's
        # inner function and output, the rest being computed again in the kernels that read it.
        bytes_kept = width * (8 * tokens + 3 * hidden) + FLOAT32 * weights
    else:
        # Norms work in float32 and keep their input, and their scale spread over it; in the compute dtype there are
        # the norms' outputs, query, key, value and context. The softmax's output in float32 is cast to less.
        bytes_kept = width * 6 * tokens + FLOAT32 * 4 * tokens + width * GELU_TENSORS[a.gelu] * hidden
        bytes_kept += weights * (FLOAT32 + (width if width < FLOAT32 else 0))
    # Masks of one byte for each number; XLA keeps the random bits that they are made of instead.
    mask = FLOAT32 if xla else 1
    bytes_kept += mask * (2 * tokens + hidden) if a.dropout else 0
    return bytes_kept + ((mask + width) * weights if a.attention_dropout else 0)  # with it, also what it leaves of them


def kept_by_ends(a: Architecture, width: int) -> int:
    """Bytes per image kept before the first block and after the last: patches, the last norm, attention pooling."""
    tokens, _, _ = _sizes(a)
    rows, columns = a.grid
    patches = rows * columns * a.patch_size**2 * a.channels * width
    return patches + 2 * FLOAT32 * tokens + (3 * width * tokens if a.pool == "map" else 0) + bool(a.dropout) * tokens


def input_of_block(a: Architecture, width: int) -> int:
    """Bytes per image of the tokens that a recomputed block keeps."""
    return width * _sizes(a)[0]


def working_set(a: Architecture, width: int, xla: bool) -> int:
    """Bytes per image that the last block's backward pass needs beside what is kept, before it frees any."""
    tokens, hidden, weights = _sizes(a)
    if xla:
        # Measured, not derived: 3 to 5 tensors of hidden size beyond those that XLA's buffer assignment keeps.
        return width * 4 * hidden
    # Random numbers are drawn in float32, and compared with the rate, just before they become a mask.
    random = 2 * FLOAT32 * hidden if a.dropout else 0
    # The attention's gradients come when the MLP's tensors are free again.
    free = width * GELU_TENSORS[a.gelu] * hidden
    return max(width * (2 * hidden + tokens), 3 * FLOAT32 * weights - free, random)


def forward_set(a: Architecture, width: int, xla: bool) -> int:
    """Bytes per image at the peak of a block's forward pass alone, as of frozen blocks, of which nothing is kept."""
    tokens, hidden, weights = _sizes(a)
    attention = 2 * FLOAT32 * weights + 5 * width * tokens
    return max(width * ((2 if xla else 3) * hidden + 2 * tokens), attention)


def shared_by_batch(a: Architecture, width: int, blocks: int, block_params: int) -> int:
    """Bytes that blocks keep whatever the batch size: kernels in the compute dtype, offsets of relative positions."""
    kernels = width * block_params if width < FLOAT32 else 0
    vectors = width * a.tokens**2 * a.head_size if POSITIONS[a.position].pair_vectors else 0
    return blocks * (kernels + vectors)


def _sizes(a: Architecture) -> tuple[int, int, int]:
    """Numbers per image in a tensor of tokens, of hidden activations, and of attention probabilities."""
    return a.tokens * a.width, a.tokens * a.mlp_width, a.heads * a.tokens**2


# Tensors of hidden size that the MLP keeps: the pre-activation, those inside GELU, and GELU's output.
GELU_TENSORS = {"tanh": 6, "erf": 4}
