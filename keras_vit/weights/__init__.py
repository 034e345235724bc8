"""Models from anybody's weight files, and weight files for anybody.

`load` recognises the file, infers the architecture, builds the model and fills it; `save` writes a model. Each format
is one file of this room, with one table of names for both directions.
"""

from keras_vit.errors import InvalidWeights
from keras_vit.weights.filling import LoadReport
from keras_vit.weights.formats import FORMATS
from keras_vit.weights.loading import load
from keras_vit.weights.saving import head_is_zero, save

__all__ = ["FORMATS", "InvalidWeights", "LoadReport", "head_is_zero", "load", "save"]
