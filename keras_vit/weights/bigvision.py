"""big_vision's `.npz` files, brought into the paper's form.

They differ in one thing of substance: positions have no entry for the class token, which is prepended after they are
added. That equals the paper's order with a zero position for it.
"""

import numpy as np

from keras_vit.weights import google

POSITION = "pos_embedding"
ORIGIN = {google.POSITION: POSITION}


def recognises(arrays: dict[str, np.ndarray]) -> bool:
    """True where positions stand at the top level, or are fixed and so absent."""
    return google.PATCH_KERNEL in arrays and not google.recognises(arrays)


def canonical(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same model under the paper's names."""
    arrays = dict(arrays)
    if POSITION in arrays:
        position_1ND = arrays.pop(POSITION)
        if "cls" in arrays and position_1ND.ndim == 3:
            position_1ND = np.concatenate([np.zeros_like(position_1ND[:, :1]), position_1ND], axis=1)
        arrays[google.POSITION] = position_1ND
    return arrays


def architecture(arrays: dict[str, np.ndarray]) -> dict:
    """As `google.architecture`; without a table, positions are big_vision's fixed ones."""
    fields = google.architecture(arrays)
    return fields if google.POSITION in arrays else {**fields, "position": "sincos2d"}
