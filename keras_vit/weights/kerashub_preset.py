"""KerasHub's presets and models as arrays under the names of the models' variables.

A preset has the backbone in `config.json` and `model.weights.h5`, and perhaps a head in `task.json` and
`task.weights.h5`. Groups in these files go by classes and attributes, whence the table of names here.
"""

import contextlib
import pathlib
import re
from typing import Any

from keras import ops

from keras_vit.weights import hdf5
from keras_vit.weights.stored import Stored, as_float32, json_object

WEIGHTS = "model.weights.h5"
HEAD_WEIGHTS = "task.weights.h5"

STEM = "vit_patching_and_embedding"
ENCODER = "vit_encoder"


def is_preset(folder: pathlib.Path) -> bool:
    """Whether a folder has what a preset has."""
    return (folder / WEIGHTS).is_file()


def open_preset(folder: pathlib.Path, files: contextlib.ExitStack) -> Stored:
    """A preset, open for reading: arrays, and the configurations of `backbone`, `task` (the head) and `converter`.

    Raises:
        InvalidWeights: if a file is damaged.
    """
    config = {
        "backbone": json_object(folder / "config.json").get("config"),
        "converter": json_object(folder / "image_converter.json").get("config"),
    }
    backbone = hdf5.open_file(folder / WEIGHTS, files)
    backbone = backbone.renamed({_of_backbone(name): name for name in backbone.shapes})
    if not (folder / HEAD_WEIGHTS).is_file():
        return Stored(str(folder), backbone.shapes, backbone.read, config, backbone.origins)
    config["task"] = json_object(folder / "task.json").get("config")
    head = hdf5.open_file(folder / HEAD_WEIGHTS, files)
    layers = (
        ["predictions"] if (config["task"] or {}).get("intermediate_dim") is None else ["pre_logits", "predictions"]
    )
    head = head.renamed({_of_head(name, layers): name for name in head.shapes})
    return Stored(
        str(folder),
        backbone.shapes | head.shapes,
        lambda name: (head if name in head.shapes else backbone).read(name),
        config,
        backbone.origins | head.origins,
    )


def is_model(value: Any) -> bool:
    """Whether a value is one of KerasHub's models that are read, or derives from one. KerasHub is not imported."""
    return any(kind.__name__ in CLASSES and kind.__module__.startswith("keras_hub.") for kind in type(value).__mro__)


def of_model(model: Any) -> Stored:
    """A model of KerasHub's seen as a preset."""
    backbone = getattr(model, "backbone", model)
    config = {"backbone": backbone.get_config()}
    if backbone is not model:
        config["task"] = model.get_config()
        converter = getattr(model.preprocessor, "image_converter", None)
        config["converter"] = converter and converter.get_config()
    variables = {variable.path: variable for variable in model.weights}
    return Stored(
        f"KerasHub's {type(model).__name__}",
        {path: tuple(variable.shape) for path, variable in variables.items()},
        lambda path: as_float32(ops.convert_to_numpy(variables[path].value)),
        config,
    )


def _of_backbone(name: str) -> str:
    """`layers/vi_t_encoder/layer_norm/0` -> `vit_encoder/ln/gamma`."""
    *groups, number = name.split("/")[1:]
    layers = [GROUPS.get(group) or _block(group) for group in groups if group != "encoder_layers"]
    return "/".join([*layers, _leaf(layers[-1], number)])


def _block(group: str) -> str:
    """Keras counts layers of a class from none, KerasHub its blocks from 1."""
    match = re.fullmatch(r"vi_t_encoder_block(?:_(\d+))?", group)
    return f"transformer_block_{int(match[1] or 0) + 1}" if match else group


def _of_head(name: str, layers: list[str]) -> str:
    """`layers/dense_1/0` -> `predictions/kernel`: Keras counts the head's layers, which are given in order."""
    match = re.fullmatch(r"layers/dense(?:_(\d+))?/(\d+)", name)
    if not match or int(match[1] or 0) >= len(layers):
        return f"task/{name}"
    layer = layers[int(match[1] or 0)]
    return f"{layer}/{_leaf(layer, match[2])}"


def _leaf(layer: str, number: str) -> str:
    leaves = dict(enumerate(LEAVES.get(layer, ("kernel", "bias"))))
    return leaves.get(int(number), number) if number.isdecimal() else number


CLASSES = ("ViTBackbone", "ViTImageClassifier")

GROUPS = {
    "vi_t_patching_and_embedding": STEM,
    "vi_t_encoder": ENCODER,
    "layer_norm": "ln",
    "layer_norm_1": "ln_1",
    "layer_norm_2": "ln_2",
    "query_dense": "query",
    "key_dense": "key",
    "value_dense": "value",
    "output_dense": "attention_output",
}

# Variables in a layer, in the order of their numbers; those of others are kernel and bias.
LEAVES = {
    STEM: ("class_token",),
    "position_embedding": ("embeddings",),
    **dict.fromkeys(("ln", "ln_1", "ln_2"), ("gamma", "beta")),
}
