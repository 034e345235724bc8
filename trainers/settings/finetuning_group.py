"""The group of settings that only fine-tuning has."""

import dataclasses
import re
from typing import Any

from keras_vit.errors import UserError
from trainers.settings.distillation_group import check_other_run
from trainers.settings.fields import setting

SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuningSettings:
    """Fine-tuning."""

    weights: str = setting(
        "",
        "What to start from: the folder of a run, a weight file of any format, or a published name such as "
        "augreg:B/16. Its head is replaced.",
        affects_result=True,
    )
    image_size: int | tuple[int, int] | None = setting(
        None,
        "Input size in pixels, 384 or 384x288 for height x width; that of the weights if left out. Positions are "
        "resampled.",
        affects_result=True,
    )
    dropout: float = setting(
        0.0, "Dropout rate after positions, attention outputs and MLP layers.", affects_result=True
    )
    stochastic_depth: float = setting(
        0.0, "Rate at which the last block's branches drop; grows linearly to it.", affects_result=True
    )
    head_bias: float = setting(0.0, "Initial bias of the new head.", affects_result=True)
    train: str = setting(
        "all",
        "What is trained: all; head; last:N, the last N blocks and what follows them; or the head and the weights "
        "whose path matches a regular expression (block_1[01]/attention/.*).",
        affects_result=True,
    )
    layer_decay: float = setting(
        1.0,
        "Learning rate of each block in shares of the next one's; the stem has the smallest. 1 for the same rate "
        "everywhere.",
        affects_result=True,
    )
    lora_rank: int | None = setting(
        None,
        "Train low-rank adapters (LoRA) of this rank on the kernels of all blocks, and the head; saved models have "
        "them added in.",
        affects_result=True,
    )
    learning_rates: str = setting(
        "",
        "Peak learning rates to choose from, as 0.003,0.01,0.03: each trains on --train_split less what --held_out "
        "takes of it, the one best on that trains on all, and only that one is tested.",
        affects_result=True,
    )
    held_out: float = setting(
        0.1, "With --learning_rates, share of --train_split that chooses between them.", affects_result=True
    )
    seeds: str = setting(
        "",
        "Seeds of several runs, as 0,1,2, of which mean and spread are reported; --seed if left out.",
        affects_result=True,
    )
    budget: str = setting(
        "",
        "Time for everything, such as 90s, 20m or 2h, instead of a number of steps: a few are timed, and the number of "
        "steps and of trained blocks follows.",
        affects_result=False,
    )
    baseline: bool = setting(
        True,
        "Whether a linear classifier on the frozen features, solved in closed form, is told first, and every later "
        "accuracy beside it.",
        affects_result=False,
    )
    probe_images: int | None = setting(
        None,
        "Training images whose frozen features are computed, for --baseline and --warm_head; as many as 40 seconds "
        "allow, up to 50,000, if left out.",
        affects_result=True,
    )
    warm_head: bool = setting(
        False,
        "Whether the new head is first trained alone, on features computed once, before everything else is.",
        affects_result=True,
    )


def check_finetuning(settings: Any) -> None:
    """Raises UserError for fine-tuning settings that cannot be, or contradict each other."""
    check_other_run(settings, "weights")
    if not settings.weights:
        raise UserError(
            "--weights is needed: the folder of a run, a weight file, or a published name such as augreg:B/16; "
            "trainers.pretrain trains from scratch."
        )
    for name in ("dropout", "stochastic_depth", "held_out"):
        if not 0 <= getattr(settings, name) < 1:
            raise UserError(f"--{name} must lie in [0, 1); got {getattr(settings, name)}.")
    if not 0 < settings.layer_decay <= 1:
        raise UserError(f"--layer_decay must lie in (0, 1]; got {settings.layer_decay}.")
    if settings.lora_rank is not None and settings.lora_rank < 1:
        raise UserError(f"--lora_rank must be positive; got {settings.lora_rank}.")
    check_trained_part(settings.train)
    numbers("learning_rates", settings.learning_rates, float)
    numbers("seeds", settings.seeds, int)
    if settings.budget:
        seconds(settings.budget)
    if settings.probe_images is not None and settings.probe_images < 1:
        raise UserError(f"--probe_images must be positive; got {settings.probe_images}.")
    if settings.learning_rates and not settings.held_out:
        raise UserError("--learning_rates needs examples to choose by, but --held_out is 0.")
    if settings.learning_rates and settings.subset:
        raise UserError(
            f"--learning_rates would choose by examples outside --subset={settings.subset}; name a part of the split "
            "instead, e.g. --train_split=train[:1000]."
        )
    _check_one_way_of_choosing(settings)


def _check_one_way_of_choosing(settings) -> None:
    """Raises UserError where several flags say what is trained, or how fast."""
    ways = {
        f"--train={settings.train}": settings.train != "all",
        f"--lora_rank={settings.lora_rank}": settings.lora_rank is not None,
        f"--multipliers={settings.multipliers}": bool(settings.multipliers),
        f"--layer_decay={settings.layer_decay}": settings.layer_decay != 1,
    }
    given = [flag for flag, is_given in ways.items() if is_given]
    decayed_part = settings.layer_decay != 1 and re.fullmatch(r"last:\d+", settings.train) and len(given) == 2
    if len(given) > 1 and not decayed_part:
        raise UserError(f"{' and '.join(given)} both say what is trained how fast; give one of them.")
    if settings.budget and (settings.learning_rates or settings.seeds):
        raise UserError("--budget is for a single run; leave out --learning_rates and --seeds, or give --steps.")


def check_trained_part(value: str) -> None:
    """Raises UserError if `--train` is none of its forms."""
    if value in ("all", "head") or re.fullmatch(r"last:\d+", value):
        return
    try:
        re.compile(value)
    except re.error as error:
        raise UserError(
            f"--train must be all, head, last:N or a regular expression; {value!r} is none: {error}."
        ) from error
    if not value or ";" in value or value.startswith("last"):
        raise UserError(f"--train must be all, head, last:N or a regular expression without semicolon; got {value!r}.")


def numbers(name: str, text: str, kind: type) -> list:
    """The numbers of a list joined by commas, empty for none.

    Raises:
        UserError: if there is something else, or one comes twice.
    """
    try:
        found = [kind(part) for part in text.split(",")] if text else []
    except ValueError:
        found = [-1]
    allowed = (lambda value: 0 < value < float("inf")) if kind is float else (lambda value: 0 <= value < 2**31)
    if not all(map(allowed, found)) or len(set(found)) < len(found):
        example = "0.003,0.01,0.03" if kind is float else "0,1,2"
        raise UserError(f"--{name} is a list such as {example}, no number twice; got {text!r}.")
    return found


def seconds(text: str) -> float:
    """A time such as 90s, 20m or 1.5h.

    Raises:
        UserError: if it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None or not float(match[1]):
        raise UserError(f"--budget is a time such as 90s, 20m or 2h; got {text!r}.")
    return float(match[1]) * SECONDS[match[2]]
