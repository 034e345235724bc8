"""Which weights are trained, and how fast: from `--train` and `--layer_decay` to learning-rate multipliers."""

from keras_vit.errors import UserError
from trainers.settings.finetuning import EVERYTHING, HEAD, TrainedPart

HEADS = "head(_distillation)?/.*"
TAIL = "(norm|pool|pre_logits|head(_distillation)?)/.*"  # what comes after the blocks


def multipliers(architecture, part: TrainedPart = EVERYTHING, layer_decay: float = 1.0) -> str:
    """Learning-rate multipliers in the form of `keras_vit.multipliers`; "" where every weight is trained alike.

    Args:
        architecture: Of the model.
        part: Of the model, what is trained.
        layer_decay: Multiplier of block i is layer_decay ** (L - i), with i from 0, that of the stem
            layer_decay ** (L + 1).

    Raises:
        UserError: if the model has no blocks, or fewer, to choose from.
    """
    if part == HEAD:
        return f"{HEADS}=1;.*=0"
    if part == EVERYTHING and layer_decay == 1:
        return ""
    if part.pattern:
        return f"{HEADS}=1;{part.pattern}=1;.*=0"
    depth = getattr(architecture, "depth", 0)
    trained = depth if part.blocks is None else part.blocks
    if not depth or trained > depth:
        flag = f"--train={part}" if part.blocks is not None else f"--layer_decay={layer_decay}"
        raise UserError(f"{flag} is about Transformer blocks, of which this model has {depth}.")
    rules = [f"{TAIL}=1"]
    for i in range(depth):
        factor = layer_decay ** (depth - i) if i >= depth - trained else 0.0
        rules.append(f"(block|position)_{i}/.*={factor:.9g}")
    return ";".join([*rules, f".*={layer_decay ** (depth + 1) if part == EVERYTHING else 0.0:.9g}"])
