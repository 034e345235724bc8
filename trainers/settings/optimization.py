"""The group of settings about optimization, which both training commands have."""

import dataclasses
import fractions
import functools

from keras_vit.choices import MOMENTUM_DTYPES, OBJECTIVES, OPTIMIZERS, SCHEDULES
from keras_vit.errors import UserError
from trainers.settings.fields import Group, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizationSettings(Group):
    """Optimization."""

    steps: int | None = setting(None, "Length of training in updates. Give exactly one of steps, epochs, examples.")
    epochs: float | None = setting(None, "Length of training in passes over the training split.")
    examples: int | None = setting(None, "Length of training in examples.")
    objective: str = setting("softmax", "Loss.", choices=OBJECTIVES)
    label_smoothing: float = setting(0.0, "Share of each target spread evenly over all classes.")
    optimizer: str = setting("adamw", "Update rule.", choices=OPTIMIZERS)
    momentum_dtype: str = setting(
        "float32",
        "Number format that --optimizer=sgd keeps its momentum in; bfloat16 takes half the memory.",
        choices=MOMENTUM_DTYPES,
    )
    learning_rate: float = setting(1e-3, "Peak learning rate, reached after warm-up.")
    end_learning_rate: float = setting(0.0, "Learning rate at the end of a linear or cosine schedule.")
    schedule: str = setting("cosine", "Decay of the learning rate after warm-up.", choices=SCHEDULES)
    decay_at: str = setting(
        "",
        "Where --schedule=staircase divides the learning rate by ten: shares of all updates, warm-up included, such as "
        "0.3,0.6,0.9 or, by epochs, 30/90,60/90,80/90.",
    )
    warmup_steps: int = setting(0, "Updates over which the learning rate rises linearly from 0.")
    weight_decay: float = setting(0.0, "Decoupled decay of kernels, times the learning rate.")
    clip_norm: float = setting(1.0, "Gradients are scaled down to this global norm; 0 for no clipping.")
    accumulate: int = setting(
        1,
        "Micro-batches per update on each replica: less memory; with dropout and masked patches off, the same result.",
        affects_result=False,
    )
    remat: bool = setting(
        False, "Whether blocks are computed again in the backward pass: less memory, more time.", affects_result=False
    )
    multipliers: str = setting(
        "",
        "Learning-rate multipliers by weight path, as REGEX=NUMBER;REGEX=NUMBER. The first that fits the whole path "
        "counts, every weight needs one, and 0 freezes: patch_encoder/.*=0;.*=1.",
    )
    ema: float | None = setting(None, "Decay of the running average of weights that is evaluated and saved.")
    early_stopping: int | None = setting(
        None, "Stop after this many evaluations without better validation accuracy, and keep the best weights."
    )

    @functools.cached_property
    def decay_shares(self) -> tuple[fractions.Fraction, ...]:
        """The shares of training at which a staircase falls; none for other schedules."""
        if not self.decay_at:
            return ()
        try:
            shares = [fractions.Fraction(share.strip()) for share in self.decay_at.split(",")]
        except (ValueError, ZeroDivisionError):
            shares = []
        if not shares or sorted({*shares}) != shares or not 0 < shares[0] <= shares[-1] < 1:
            raise UserError(
                f"--decay_at has rising shares of training between 0 and 1, such as 0.3,0.6,0.9 or 30/90,60/90; got "
                f"{self.decay_at!r}."
            )
        return tuple(shares)

    @property
    def masked(self) -> str | None:
        """What is predicted of masked patches, where that is the objective; None where labels are learned."""
        return None

    def check(self) -> None:
        self.check_positive("early_stopping", "accumulate")
        self.check_within("[0, 1)", "label_smoothing", "ema")
        for name in ("learning_rate", "end_learning_rate", "warmup_steps", "weight_decay", "clip_norm"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name} must not be negative; got {getattr(self, name)}.")
        if self.end_learning_rate > self.learning_rate:
            raise UserError(
                f"--end_learning_rate={self.end_learning_rate} lies above --learning_rate={self.learning_rate}."
            )
        self._check_staircase()
        if self.momentum_dtype != "float32" and self.optimizer != "sgd":
            raise UserError(f"--momentum_dtype={self.momentum_dtype} is for --optimizer=sgd, not {self.optimizer}.")
        if self.weight_decay and self.optimizer == "adam":
            raise UserError(
                f"--optimizer=adam does not decay weights, but --weight_decay={self.weight_decay}; use "
                "--optimizer=adamw."
            )

    def _check_staircase(self) -> None:
        """Raises UserError unless a staircase, and only a staircase, has places to fall at."""
        if self.schedule != "staircase":
            if self.decay_at:
                raise UserError(f"--decay_at={self.decay_at} is for --schedule=staircase, not {self.schedule}.")
        elif not self.decay_at:
            raise UserError("--schedule=staircase needs --decay_at, shares of training such as 0.3,0.6,0.9.")
        elif self.end_learning_rate:
            raise UserError(
                f"--end_learning_rate={self.end_learning_rate} is for --schedule=linear or cosine, not staircase."
            )

    def check_duration(self) -> None:
        """Raises UserError unless exactly one of steps, epochs and examples is given."""
        lengths = {name: getattr(self, name) for name in ("steps", "epochs", "examples")}
        lengths = {name: value for name, value in lengths.items() if value is not None}
        if len(lengths) != 1:
            shown = ", ".join(f"--{name}={value}" for name, value in lengths.items()) or "none of them"
            raise UserError(
                f"Give exactly one of --steps, --epochs, --examples; got {shown}. A flag file's value is cleared by 0."
            )
        self.check_positive(*lengths)
