"""big_vision's `.npz` files, brought into the paper's form.

They differ in one thing of substance: positions have no entry for the class token, which is prepended after they are
added. That equals the paper's order with a zero position for it.
"""

import numpy as np

from keras_vit.weights import google


def recognises(arrays: dict[str, np.ndarray]) -> bool:
    """True where positions stand at the top level, or are fixed and so absent."""
    return "embedding/kernel" in arrays and google.POSITION not in arrays


def canonical(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same model under the paper's names."""
    arrays = dict(arrays)
    if "pos_embedding" in arrays:
        position_1ND = arrays.pop("pos_embedding")
        if "cls" in arrays:
            position_1ND = np.concatenate([np.zeros_like(position_1ND[:, :1]), position_1ND], axis=1)
        arrays[google.POSITION] = position_1ND
    return google.canonical(arrays)
