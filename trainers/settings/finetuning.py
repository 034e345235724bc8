"""The settings of fine-tuning: the group that only it has, and that together with those of every training."""

import dataclasses
import functools
import re
from typing import TypeVar

from keras_vit.errors import UserError
from trainers.settings.data import BatchSettings
from trainers.settings.fields import Group, setting, with_default
from trainers.settings.optimization import OptimizationSettings
from trainers.settings.training import TrainingSettings

SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclasses.dataclass(frozen=True)
class TrainedPart:
    """What of a model `--trainable` names; written out, it is the flag's value again.

    Args:
        blocks: Number of the last blocks, with all that follows them, for `last:N`; None for other parts.
        pattern: Regular expression over weight paths, which are trained beside the head; None for other parts.
        head: Whether it is the head alone. Without any of these, it is everything.
    """

    blocks: int | None = None
    pattern: str | None = None
    head: bool = False

    def __str__(self) -> str:
        if self.blocks is not None:
            return f"last:{self.blocks}"
        return "head" if self.head else self.pattern or "all"


EVERYTHING, HEAD = TrainedPart(), TrainedPart(head=True)


def part_of(text: str) -> TrainedPart:
    """The part that a value of `--trainable` names.

    Raises:
        UserError: if it is none of the flag's forms.
    """
    if text in ("all", "head"):
        return {"all": EVERYTHING, "head": HEAD}[text]
    if last := re.fullmatch(r"last:(\d+)", text):
        return TrainedPart(blocks=int(last[1]))
    try:
        re.compile(text)
    except re.error as error:
        raise UserError(
            f"--trainable must be all, head, last:N or a regular expression; {text!r} is none: {error}."
        ) from error
    if not text or ";" in text or text.startswith("last"):
        raise UserError(
            f"--trainable must be all, head, last:N or a regular expression without semicolon; got {text!r}."
        )
    return TrainedPart(pattern=text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferSettings(Group):
    """Fine-tuning."""

    weights: str = setting(
        "",
        "What to start from: the folder of a run, a weight file of any format, or a published name such as "
        "augreg:B/16. Its head is replaced.",
    )
    image_size: int | tuple[int, int] | None = setting(
        None,
        "Input size in pixels, 384 or 384x288 for height x width; that of the weights if left out. Positions are "
        "resampled.",
    )
    dropout: float = setting(0.0, "Dropout rate after positions, attention outputs and MLP layers.")
    stochastic_depth: float = setting(0.0, "Rate at which the last block's branches drop; grows linearly to it.")
    head_bias: float = setting(0.0, "Initial bias of the new head.")
    trainable: str = setting(
        "all",
        "What is trained: all; head; last:N, the last N blocks and what follows them; or the head and the weights "
        "whose path matches a regular expression (block_1[01]/attention/.*).",
    )
    layer_decay: float = setting(
        1.0,
        "Learning rate of each block in shares of the next one's; the stem has the smallest. 1 for the same rate "
        "everywhere.",
    )
    lora_rank: int | None = setting(
        None,
        "Train low-rank adapters (LoRA) of this rank on the kernels of all blocks, and the head; saved models have "
        "them added in.",
    )
    learning_rates: str = setting(
        "",
        "Peak learning rates to choose from, as 0.003,0.01,0.03: each trains on --train_split less what --held_out "
        "takes of it, the one best on that trains on all, and only that one is tested.",
    )
    held_out: float = setting(0.1, "With --learning_rates, share of --train_split that chooses between them.")
    seeds: str = setting(
        "", "Seeds of several runs, as 0,1,2, of which mean and spread are reported; --seed if left out."
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
    )
    warm_head: bool = setting(
        False, "Whether the new head is first trained alone, on features computed once, before everything else is."
    )

    @functools.cached_property
    def trained_part(self) -> TrainedPart:
        """What `train` names."""
        return part_of(self.trainable)

    @functools.cached_property
    def rates(self) -> tuple[float, ...]:
        """The learning rates to choose from; none if there is no choice."""
        return numbers("learning_rates", self.learning_rates, float)

    @functools.cached_property
    def several_seeds(self) -> tuple[int, ...]:
        """The seeds of several runs; none if there is one run, with `seed`."""
        return numbers("seeds", self.seeds, int)

    @functools.cached_property
    def budget_seconds(self) -> float | None:
        """The budget; None if there is none."""
        if not self.budget:
            return None
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", self.budget)
        if match is None or not float(match[1]):
            raise UserError(f"--budget is a time such as 90s, 20m or 2h; got {self.budget!r}.")
        return float(match[1]) * SECONDS[match[2]]

    def check(self) -> None:
        if not self.weights:
            raise UserError(
                "--weights is needed: the folder of a run, a weight file, or a published name such as augreg:B/16; "
                "trainers.pretrain trains from scratch."
            )
        self.check_within("[0, 1)", "dropout", "stochastic_depth", "held_out")
        self.check_within("(0, 1]", "layer_decay")
        self.check_positive("lora_rank", "probe_images")
        if self.rates and not self.held_out:
            raise UserError("--learning_rates needs examples to choose by, but --held_out is 0.")
        if self.budget and (self.rates or self.several_seeds):
            raise UserError("--budget is for a single run; leave out --learning_rates and --seeds, or give --steps.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuningSettings(TrainingSettings, TransferSettings):
    """All of fine-tuning."""

    batch_size: int = with_default(BatchSettings, "batch_size", 512)
    optimizer: str = with_default(OptimizationSettings, "optimizer", "sgd")
    learning_rate: float = with_default(OptimizationSettings, "learning_rate", 0.01)

    def check(self) -> None:
        self.check_other_run("weights")
        if self.rates and self.subset:
            raise UserError(
                f"--learning_rates would choose by examples outside --subset={self.subset}; name a part of the split "
                "instead, e.g. --train_split=train[:1000]."
            )
        self._check_one_way_of_choosing()
        lengths = [f"--{name}={getattr(self, name)}" for name in ("steps", "epochs", "examples") if getattr(self, name)]
        if not self.budget:
            self.check_duration()
        elif lengths:
            raise UserError(
                f"--budget={self.budget} chooses the length that {lengths[0]} gives. A flag file's value is cleared by "
                f"--budget= or {lengths[0].partition('=')[0]}=0."
            )

    def _check_one_way_of_choosing(self) -> None:
        """Raises UserError where several flags say what is trained, or how fast."""
        ways = {
            f"--trainable={self.trainable}": self.trained_part != EVERYTHING,
            f"--lora_rank={self.lora_rank}": self.lora_rank is not None,
            f"--multipliers={self.multipliers}": bool(self.multipliers),
            f"--layer_decay={self.layer_decay}": self.layer_decay != 1,
        }
        chosen = [flag for flag, is_given in ways.items() if is_given]
        decayed_part = self.layer_decay != 1 and self.trained_part.blocks is not None and len(chosen) == 2
        if len(chosen) > 1 and not decayed_part:
            raise UserError(f"{' and '.join(chosen)} both say what is trained how fast; give one of them.")


N = TypeVar("N", int, float)


def numbers(name: str, text: str, kind: type[N]) -> tuple[N, ...]:
    """The numbers of a list joined by commas, empty for none.

    Raises:
        UserError: if there is something else, or one comes twice.
    """
    try:
        values = [kind(part) for part in text.split(",")] if text else []
    except ValueError:
        values = [kind(-1)]
    allowed = (lambda value: 0 < value < float("inf")) if kind is float else (lambda value: 0 <= value < 2**31)
    if not all(map(allowed, values)) or len(set(values)) < len(values):
        example = "0.003,0.01,0.03" if kind is float else "0,1,2"
        raise UserError(f"--{name} is a list such as {example}, no number twice; got {text!r}.")
    return tuple(values)
