"""Which weights are trained, and how fast: from `--train` and `--layer_decay` to learning-rate multipliers."""

import re

from keras_vit.errors import UserError

HEADS = "head(_distillation)?/.*"
TAIL = "(norm|pool|pre_logits|head(_distillation)?)/.*"  # what comes after the blocks


def multipliers(architecture, train: str = "all", layer_decay: float = 1.0) -> str:
    """Learning-rate multipliers in the form of `keras_vit.multipliers`; "" where every weight is trained alike.

    Args:
        architecture: Of the model.
        train: `all`, `head`, `last:N` or a regular expression over weight paths.
        layer_decay: Multiplier of block i is layer_decay ** (L - i), with i from 0, that of the stem
            layer_decay ** (L + 1).

    Raises:
        UserError: if the model has no blocks, or fewer, to choose from.
    """
    if train == "head":
        return f"{HEADS}=1;.*=0"
    if train == "all" and layer_decay == 1:
        return ""
    last = re.fullmatch(r"last:(\d+)", train)
    if train != "all" and last is None:
        return f"{HEADS}=1;{train}=1;.*=0"
    depth = getattr(architecture, "depth", 0)
    trained = int(last[1]) if last else depth
    if not depth or trained > depth:
        flag = f"--train={train}" if last else f"--layer_decay={layer_decay}"
        raise UserError(f"{flag} is about Transformer blocks, of which this model has {depth}.")
    rules = [f"{TAIL}=1"]
    for i in range(depth):
        factor = layer_decay ** (depth - i) if i >= depth - trained else 0.0
        rules.append(f"(block|position)_{i}/.*={factor:.9g}")
    return ";".join([*rules, f".*={layer_decay ** (depth + 1) if train == 'all' else 0.0:.9g}"])
