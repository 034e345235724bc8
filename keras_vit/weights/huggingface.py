"""Hugging Face transformers: a folder with `model.safetensors` and `config.json`, PyTorch's layouts.

`ViTForImageClassification` has a head and no tanh layer; `ViTModel` (the files trained on ImageNet-21k) has no head,
names without `vit.`, and a tanh layer called pooler.
"""

from typing import Any

from keras_vit.errors import UserError
from keras_vit.preprocessing import Preprocessing
from keras_vit.variants import Architecture
from keras_vit.weights.rows import (
    Row,
    heads_in,
    heads_out,
    linear,
    norm,
    patch_kernel_channels_first,
    same,
)
from keras_vit.weights.stored import Stored

PATCHES = "embeddings.patch_embeddings.projection"
PREFIX = "vit."

NEEDED = ("image_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
GELUS = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
# Numbers of PIL's resampling kernels.
RESAMPLES = {2: "bilinear", 3: "bicubic"}


def recognises(stored: Stored) -> bool:
    """True where the patch projection has Hugging Face's name, with or without the prefix."""
    return any(name.removeprefix(PREFIX) == f"{PATCHES}.weight" for name in stored.shapes)


def named(stored: Stored) -> Stored:
    """The arrays under the names of the table, which are those without the prefix."""
    return stored.renamed({name.removeprefix(PREFIX): name for name in stored.shapes})


def architecture(stored: Stored) -> dict[str, Any]:
    """Architecture fields that the configuration and the arrays tell.

    Raises:
        KeyError: if the configuration lacks a field.
        UserError: if it names another activation.
    """
    shapes, config = stored.shapes, stored.config
    if not config:
        raise UserError("config.json is needed beside it: the arrays do not tell heads and epsilon.")
    activation = config.get("hidden_act", "gelu")
    if activation not in GELUS:
        raise UserError(f"config.json names hidden_act={activation!r}; expected one of {', '.join(GELUS)}.")
    lacking = [name for name in NEEDED if name not in config]
    if lacking:
        raise UserError(f"its config.json has no {', '.join(lacking)}.")
    size = config["image_size"]
    return {
        "image_size": tuple(size) if isinstance(size, list) else size,
        "patch_size": config["patch_size"],
        "channels": config.get("num_channels", 3),
        "width": config["hidden_size"],
        "depth": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "mlp_width": config["intermediate_size"],
        "gelu": GELUS[activation],
        "epsilon": config.get("layer_norm_eps", 1e-12),
        "dropout": config.get("hidden_dropout_prob", 0.0),
        "attention_dropout": config.get("attention_probs_dropout_prob", 0.0),
        "representation": shapes["pooler.dense.bias"][0] if "pooler.dense.bias" in shapes else None,
        "num_classes": shapes["classifier.bias"][0] if "classifier.bias" in shapes else 0,
        "position": "learned_1d",
    }


def positions(stored: Stored) -> int | None:
    """Patches behind the table of positions."""
    return stored.shapes["embeddings.position_embeddings"][1] - 1


def preprocessing(stored: Stored) -> dict[str, Any]:
    """Fields of `Preprocessing`, the size left out: its processor resizes by PIL, which widens the kernel."""
    processor = stored.config.get("preprocessor", {})
    return {
        "resize": RESAMPLES.get(processor.get("resample", 2), "bilinear"),
        "antialias": True,
        "mean": tuple(processor.get("image_mean", (0.5, 0.5, 0.5))),
        "std": tuple(processor.get("image_std", (0.5, 0.5, 0.5))),
    }


def class_names(stored: Stored) -> list[str] | None:
    """The names in the configuration, unless they are mere numbers."""
    labels = stored.config.get("id2label") or {}
    names = [labels[key] for key in sorted(labels, key=int)]
    return None if not names or all(name == f"LABEL_{i}" for i, name in enumerate(names)) else names


def table(a: Architecture) -> list[Row]:
    """The rows of the name table that an architecture has."""
    rows = [
        same("embeddings.cls_token", "patch_encoder/class_token"),
        same("embeddings.position_embeddings", "patch_encoder/position/table"),
        patch_kernel_channels_first(
            f"{PATCHES}.weight", "patch_encoder/projection/kernel", a.patch_size, a.channels, a.width
        ),
        same(f"{PATCHES}.bias", "patch_encoder/projection/bias"),
    ]
    for i in range(a.depth):
        rows += _block(f"encoder.layer.{i}", f"block_{i}", a)
    rows += norm("layernorm", "norm")
    rows += linear("pooler.dense", "pre_logits") if a.representation else ()
    rows += linear("classifier", "head") if a.num_classes else ()
    return rows


def cannot_hold(a: Architecture) -> str | None:
    """Why the format has no place for an architecture; None where it has."""
    if a.position != "learned_1d" or a.position_site != "stem":
        return f"it has learned positions at the stem only, not position={a.position!r} at {a.position_site!r}"
    if a.distillation_token:
        return "it has no second token and head (distillation_token)"
    if a.pool != "token":
        return f"it pools by the class token, not by {a.pool!r}"
    if a.representation and a.num_classes:
        return "it has a tanh layer (representation) or a head, not both"
    return None if a.attention_bias else "its output projections always have biases"


def written_config(a: Architecture, names: list[str] | None) -> dict[str, Any]:
    """The contents of config.json."""
    size = a.image_size
    config: dict[str, Any] = {
        "architectures": ["ViTForImageClassification" if a.num_classes else "ViTModel"],
        "model_type": "vit",
        "image_size": size if isinstance(size, int) else list(size),
        "patch_size": a.patch_size,
        "num_channels": a.channels,
        "hidden_size": a.width,
        "num_hidden_layers": a.depth,
        "num_attention_heads": a.heads,
        "intermediate_size": a.mlp_width,
        "hidden_act": {"erf": "gelu", "tanh": "gelu_pytorch_tanh"}[a.gelu],
        "layer_norm_eps": a.epsilon,
        "hidden_dropout_prob": a.dropout,
        "attention_probs_dropout_prob": a.attention_dropout,
        "qkv_bias": True,
    }
    if a.representation:
        config |= {"pooler_output_size": a.representation, "pooler_act": "tanh"}
    if a.num_classes:
        labels = names or [f"LABEL_{i}" for i in range(a.num_classes)]
        config["id2label"] = {str(i): label for i, label in enumerate(labels)}
        config["label2id"] = {label: i for i, label in enumerate(labels)}
    return config


def written_preprocessor(p: Preprocessing) -> dict[str, Any]:
    """The contents of preprocessor_config.json."""
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": p.size[0], "width": p.size[1]},
        "resample": next((number for number, kernel in RESAMPLES.items() if kernel == p.resize), 2),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(p.mean) * (3 // len(p.mean)),
        "image_std": list(p.std) * (3 // len(p.std)),
    }


def _block(name: str, path: str, a: Architecture) -> list[Row]:
    rows = [*norm(f"{name}.layernorm_before", f"{path}/norm_0"), *norm(f"{name}.layernorm_after", f"{path}/norm_1")]
    for part in ("query", "key", "value"):
        rows += heads_in(f"{name}.attention.attention.{part}", f"{path}/attention/{part}", a.width, a.heads)
    rows += heads_out(f"{name}.attention.output.dense", f"{path}/attention/out", a.width, a.heads)
    rows += linear(f"{name}.intermediate.dense", f"{path}/mlp/dense_0")
    rows += linear(f"{name}.output.dense", f"{path}/mlp/dense_1")
    return rows
