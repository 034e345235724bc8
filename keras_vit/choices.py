"""The names that architectures, recipes and files are chosen by.

The classes and functions behind them stand in tables with the same keys, whose modules need Keras or TensorFlow; what
only has to know the names, such as flags and `--help`, reads them here. Standard library only.
"""

from keras_vit import positions

POSITIONS = tuple(positions.POSITIONS)
POSITION_SITES = ("stem", "blocks", "shared")
POOLINGS = ("token", "gap", "map")
NORM_SITES = ("tokens", "pooled")
GELUS = ("tanh", "erf")

OBJECTIVES = ("softmax", "sigmoid")
MASKED_TARGETS = ("mean_color", "downsized_colors", "pixels")
DISTILLATIONS = ("hard", "soft")
OPTIMIZERS = ("adam", "adamw", "sgd", "lamb", "lion")
MOMENTUM_DTYPES = ("float32", "bfloat16")
SCHEDULES = ("constant", "linear", "cosine", "staircase")

RESIZES = ("bilinear", "bicubic", "area")
PROBABILITIES = ("softmax", "sigmoid")
WEIGHT_FORMATS = ("google", "bigvision", "huggingface", "timm", "bit", "keras")
