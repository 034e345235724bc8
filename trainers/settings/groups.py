"""The groups of settings that commands share. A command's `Settings` inherits the groups it needs, and only fields."""

import dataclasses
import fractions

from keras_vit.errors import UserError
from trainers.settings.fields import setting, table_keys

POSITIONS = table_keys("keras_vit/layers/position.py", "POSITIONS")
POSITION_SITES = table_keys("keras_vit/variants.py", "CHOICES.position_site")
POOLINGS = table_keys("keras_vit/layers/pooling.py", "POOLINGS")
GELUS = table_keys("keras_vit/layers/mlp.py", "GELUS")
OBJECTIVES = table_keys("keras_vit/objectives/classification.py", "OBJECTIVES")
OPTIMIZERS = table_keys("keras_vit/optimization.py", "OPTIMIZERS")
MOMENTUM_DTYPES = ("float32", "bfloat16")
SCHEDULES = table_keys("keras_vit/optimization.py", "SCHEDULES")
DISTRIBUTIONS = table_keys("trainers/engine/tensorflow/runtime.py", "DISTRIBUTIONS")
PRECISIONS = table_keys("trainers/engine/tensorflow/runtime.py", "PRECISIONS")
ON_NONFINITE = ("stop", "skip")
RESUME = ("auto", "never", "require")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Model."""

    variant: str = setting(
        "B/16",
        "Size and patch size, such as B/16; any patch size may follow the slash. Hybrids are R50+B/16 and the like, "
        "ResNets BiT-R50x1.",
        affects_result=True,
    )
    image_size: int | tuple[int, int] = setting(
        224, "Input size in pixels: 224, or 224x160 for height x width.", affects_result=True
    )
    width: int | None = setting(None, "Model dimension, instead of the variant's.", affects_result=True)
    depth: int | None = setting(None, "Number of blocks, instead of the variant's.", affects_result=True)
    heads: int | None = setting(None, "Attention heads, instead of the variant's.", affects_result=True)
    mlp_width: int | None = setting(None, "Hidden width of the MLPs, instead of the variant's.", affects_result=True)
    stem: str = setting(
        "",
        "Residual units of each stage of a hybrid's stem, such as 3,4,9, instead of the variant's; root for a ResNet's "
        "root alone, none for patches of the image itself.",
        affects_result=True,
    )
    units: str = setting(
        "",
        "Residual units of each stage of a BiT ResNet, such as 3,4,6,3, instead of the variant's.",
        affects_result=True,
    )
    root_width: int | None = setting(
        None,
        "Channels of the root convolution of a hybrid's stem or a BiT ResNet, instead of the variant's; a multiple of "
        "32.",
        affects_result=True,
    )
    position: str | None = setting(
        None, "Position embedding, instead of learned_1d.", choices=POSITIONS, affects_result=True
    )
    position_site: str | None = setting(
        None,
        "Where positions are added: once at the stem, as usual; before every block; or there from one shared table.",
        choices=POSITION_SITES,
        affects_result=True,
    )
    pool: str | None = setting(
        None, "How tokens become one vector, instead of token.", choices=POOLINGS, affects_result=True
    )
    representation: int | None = setting(
        None, "Width of the tanh layer before the head; none if left out.", affects_result=True
    )
    gelu: str | None = setting(
        None, "Form of the GELU activation, instead of tanh.", choices=GELUS, affects_result=True
    )
    dropout: float | None = setting(
        None, "Dropout rate after positions, attention outputs and MLP layers.", affects_result=True
    )
    attention_dropout: float | None = setting(None, "Dropout rate on attention probabilities.", affects_result=True)
    stochastic_depth: float | None = setting(
        None, "Rate at which the last block's branches drop; grows linearly to it.", affects_result=True
    )
    head_bias: float | None = setting(
        None, "Initial bias of the head; -10 suits sigmoid training on ImageNet-21k.", affects_result=True
    )
    distillation_token: bool | None = setting(
        None,
        "Whether a second token with a head of its own, which learns from a --teacher, stands beside the class token; "
        "the answer is the mean of both.",
        affects_result=True,
    )
    weights: str | None = setting(
        None, "Weights to start from, head included: a file of any format, or a published name.", affects_result=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizationSettings:
    """Optimization."""

    steps: int | None = setting(
        None, "Length of training in updates. Give exactly one of steps, epochs, examples.", affects_result=True
    )
    epochs: float | None = setting(None, "Length of training in passes over the training split.", affects_result=True)
    examples: int | None = setting(None, "Length of training in examples.", affects_result=True)
    objective: str = setting("softmax", "Loss.", choices=OBJECTIVES, affects_result=True)
    label_smoothing: float = setting(0.0, "Share of each target spread evenly over all classes.", affects_result=True)
    optimizer: str = setting("adamw", "Update rule.", choices=OPTIMIZERS, affects_result=True)
    momentum_dtype: str = setting(
        "float32",
        "Number format that --optimizer=sgd keeps its momentum in; bfloat16 takes half the memory.",
        choices=MOMENTUM_DTYPES,
        affects_result=True,
    )
    learning_rate: float = setting(1e-3, "Peak learning rate, reached after warm-up.", affects_result=True)
    end_learning_rate: float = setting(
        0.0, "Learning rate at the end of a linear or cosine schedule.", affects_result=True
    )
    schedule: str = setting(
        "cosine", "Decay of the learning rate after warm-up.", choices=SCHEDULES, affects_result=True
    )
    decay_at: str = setting(
        "",
        "Where --schedule=staircase divides the learning rate by ten: shares of all updates, warm-up included, such as "
        "0.3,0.6,0.9 or, by epochs, 30/90,60/90,80/90.",
        affects_result=True,
    )
    warmup_steps: int = setting(0, "Updates over which the learning rate rises linearly from 0.", affects_result=True)
    weight_decay: float = setting(0.0, "Decoupled decay of kernels, times the learning rate.", affects_result=True)
    clip_norm: float = setting(
        1.0, "Gradients are scaled down to this global norm; 0 for no clipping.", affects_result=True
    )
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
        affects_result=True,
    )
    ema: float | None = setting(
        None, "Decay of the running average of weights that is evaluated and saved.", affects_result=True
    )
    early_stopping: int | None = setting(
        None,
        "Stop after this many evaluations without better validation accuracy, and keep the best weights.",
        affects_result=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Run."""

    run_dir: str = setting(
        "", "Folder for what the run writes; saved_models/SOURCE_VARIANT if left out.", affects_result=False
    )
    overwrite: bool = setting(
        False, "Whether a finished run in that folder may be replaced.", recorded=False, affects_result=False
    )
    seed: int = setting(0, "Initial weights, order, augmentation and dropout all follow from it.", affects_result=True)
    evaluate_every: int | None = setting(
        None, "Updates between evaluations; once per epoch if left out.", affects_result=True
    )
    log_every: int = setting(50, "Updates between rows of metrics.csv.", affects_result=False)
    steps_per_call: int = setting(
        50, "Updates per call into the graph; callbacks run between calls.", affects_result=False
    )
    distribution: str = setting(
        "auto", "How training is spread over devices.", choices=DISTRIBUTIONS, affects_result=False
    )
    tpu: str = setting(
        "local",
        "With --distribution=tpu or auto: local, the name of a Cloud TPU, or grpc://HOST:8470.",
        affects_result=False,
    )
    worker_timeout: int = setting(
        600, "Seconds without an answer after which another worker counts as lost.", affects_result=False
    )
    logical_cpus: int | None = setting(
        None, "Split the CPU into this many devices, to try replicas without accelerators.", affects_result=False
    )
    precision: str = setting(
        "auto",
        "Compute precision; variables stay in float32. auto takes what the device is fast in.",
        choices=PRECISIONS,
        affects_result=True,
    )
    xla: bool = setting(False, "Whether forward and backward pass are compiled with XLA.", affects_result=True)
    on_nonfinite: str = setting(
        "stop",
        "What to do about gradients that are not finite: stop before the update, or skip the update and count it.",
        choices=ON_NONFINITE,
        affects_result=False,
    )
    checkpoint_every: int | None = setting(
        None, "Updates between checkpoints; one at every evaluation if left out.", affects_result=False
    )
    keep: int = setting(2, "How many checkpoints to keep, beside the best.", affects_result=False)
    resume: str = setting(
        "auto",
        "Whether an unfinished run in the folder goes on: auto if there is one, never (it is begun anew), or require.",
        choices=RESUME,
        affects_result=False,
        recorded=False,
    )
    licence: str = setting(
        "", "Licence of the model, for its card: an identifier such as apache-2.0, or words.", affects_result=False
    )
    dry_run: bool = setting(False, "Print the plan and stop.", recorded=False, affects_result=False)


def stages(name: str, text: str) -> tuple[int, ...]:
    """Units of each stage of a ResNet, from a flag's value such as 3,4,6,3.

    Raises:
        UserError: for anything but positive numbers with commas between them.
    """
    counts = [count.strip() for count in text.split(",")]
    if not all(count.isdecimal() and int(count) for count in counts):
        raise UserError(f"--{name} has the residual units of each stage, such as 3,4,6,3; got {text!r}.")
    return tuple(map(int, counts))


def overrides(settings: ModelSettings) -> dict[str, object]:
    """The fields of an architecture that the flags give another value than the variant's.

    Raises:
        UserError: for units of stages that are no numbers.
    """
    given: dict[str, object] = {
        name: getattr(settings, name)
        for name in (field.name for field in dataclasses.fields(ModelSettings))
        if name not in ("variant", "weights") and getattr(settings, name) not in (None, "")
    }
    if settings.stem:
        special = {"none": None, "root": ()}
        given["stem"] = special[settings.stem] if settings.stem in special else stages("stem", settings.stem)
    if settings.units:
        given["units"] = stages("units", settings.units)
    return given


def check_positive(settings: object, *names: str) -> None:
    """Raises UserError if one of the fields is set and not above zero."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and value <= 0:
            raise UserError(f"--{name} must be positive; got {value}.")


def check_duration(settings: OptimizationSettings) -> None:
    """Raises UserError unless exactly one of steps, epochs and examples is given."""
    given = {name: getattr(settings, name) for name in ("steps", "epochs", "examples")}
    given = {name: value for name, value in given.items() if value is not None}
    if len(given) != 1:
        shown = ", ".join(f"--{name}={value}" for name, value in given.items()) or "none of them"
        raise UserError(
            f"Give exactly one of --steps, --epochs, --examples; got {shown}. A flag file's value is cleared by 0."
        )
    check_positive(settings, *given)


def check_optimization(settings: OptimizationSettings) -> None:
    """Raises UserError for optimization settings that contradict each other."""
    check_positive(settings, "early_stopping", "accumulate")
    for name in ("label_smoothing", "ema"):
        value = getattr(settings, name)
        if value is not None and not 0 <= value < 1:
            raise UserError(f"--{name} must lie in [0, 1); got {value}.")
    for name in ("learning_rate", "end_learning_rate", "warmup_steps", "weight_decay", "clip_norm"):
        if getattr(settings, name) < 0:
            raise UserError(f"--{name} must not be negative; got {getattr(settings, name)}.")
    if settings.end_learning_rate > settings.learning_rate:
        raise UserError(
            f"--end_learning_rate={settings.end_learning_rate} lies above --learning_rate={settings.learning_rate}."
        )
    check_staircase(settings)
    if settings.momentum_dtype != "float32" and settings.optimizer != "sgd":
        raise UserError(f"--momentum_dtype={settings.momentum_dtype} is for --optimizer=sgd, not {settings.optimizer}.")
    if settings.weight_decay and settings.optimizer == "adam":
        raise UserError(
            f"--optimizer=adam does not decay weights, but --weight_decay={settings.weight_decay}; use "
            "--optimizer=adamw."
        )


def check_staircase(settings: OptimizationSettings) -> None:
    """Raises UserError unless a staircase, and only a staircase, has places to fall at."""
    if settings.schedule != "staircase":
        if settings.decay_at:
            raise UserError(f"--decay_at={settings.decay_at} is for --schedule=staircase, not {settings.schedule}.")
        return
    if not settings.decay_at:
        raise UserError("--schedule=staircase needs --decay_at, shares of training such as 0.3,0.6,0.9.")
    if settings.end_learning_rate:
        raise UserError(
            f"--end_learning_rate={settings.end_learning_rate} is for --schedule=linear or cosine, not staircase."
        )
    decay_shares(settings.decay_at)


def decay_shares(text: str) -> list[fractions.Fraction]:
    """Shares of training from a flag's value such as 0.3,0.6,0.9 or 30/90,60/90.

    Raises:
        UserError: unless they are numbers between 0 and 1 that rise.
    """
    try:
        shares = [fractions.Fraction(share.strip()) for share in text.split(",")]
    except (ValueError, ZeroDivisionError):
        shares = []
    if not shares or sorted({*shares}) != shares or not 0 < shares[0] <= shares[-1] < 1:
        raise UserError(
            f"--decay_at has rising shares of training between 0 and 1, such as 0.3,0.6,0.9 or 30/90,60/90; got "
            f"{text!r}."
        )
    return shares


def check_run(settings: RunSettings) -> None:
    """Raises UserError for run settings out of range."""
    counts = ("evaluate_every", "log_every", "steps_per_call", "logical_cpus", "checkpoint_every", "keep")
    check_positive(settings, *counts, "worker_timeout")
    if settings.seed < 0 or settings.seed >= 2**31:
        raise UserError(f"--seed must lie in [0, 2^31); got {settings.seed}.")
