"""Pre-trains a Vision Transformer, from scratch or from given weights.

Training runs on the source's training split, its validation split chooses between checkpoints, and the finished model
is reported on the test split. Everything goes to the run folder: flags.cfg (repeats the run), model.keras, metrics.csv,
results.json, checkpoints and TensorBoard logs. Interrupted, the same command goes on from the last checkpoint.
--objective=masked_patches learns without labels, and leaves a model for trainers.finetune (docs/masked_patches.md).
From Python: `pretrain.run(pretrain.Settings(...), callbacks=[...])`.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from keras_vit.variants import AnyArchitecture
    from trainers.data.source import Source
    from trainers.training.plan import Plan
    from trainers.training.train import Result

from keras_vit.errors import UserError
from trainers.settings import command_line
from trainers.settings.fields import with_default
from trainers.settings.model import ModelSettings
from trainers.settings.pretraining import MASKED_PATCHES, WITHOUT_MEANING, PretrainingSettings
from trainers.settings.training import TrainingSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings, PretrainingSettings, ModelSettings):
    """Settings of pre-training; every field is a flag of the same name."""

    recipes_of: ClassVar[str] = "pretrain"
    objective: str = with_default(PretrainingSettings, "objective", "softmax")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.run_dir:
            name = f"{self.source}_{self.variant}".replace("/", "_").replace(":", "_")
            object.__setattr__(self, "run_dir", f"saved_models/{name}")

    def check(self) -> None:
        self.check_duration()
        if self.distillation_token and not self.teacher:
            raise UserError("--distillation_token learns from a --teacher; name one, or leave it out.")
        usual = {field.name: field.default for field in dataclasses.fields(self)}
        for name, reason in WITHOUT_MEANING.items():
            value = getattr(self, name)
            if self.objective == MASKED_PATCHES and value != usual[name]:
                raise UserError(f"--{name}={value}: --objective={MASKED_PATCHES} {reason}; leave it out.")


def run(settings: Settings, callbacks: Sequence[Any] = ()) -> "Result":
    """Trains a model, or goes on training where an earlier call was cut off.

    Args:
        settings: Settings that the flags give.
        callbacks: Further Keras callbacks.

    Raises:
        UserError: for settings that do not fit the source, the weights or the folder; nothing is written then.
        Preempted: after a checkpoint, when a signal asked to stop.
        NotFinite: before an update whose gradients are not finite.
        WorkerLost: when another process of the run is gone.
        BadImage: for the first image that cannot be read, or too many of them.
    """
    from trainers.data import pipeline, sources
    from trainers.engine.runtime import start as start_runtime
    from trainers.training import summary
    from trainers.training.plan import make_plan, workers_of
    from trainers.training.teacher import open_teacher
    from trainers.training.train import Result, run_training

    # First of all, because TensorFlow's devices and workers cannot be set up once a tensor has been made.
    runtime = start_runtime(
        settings.distribution, settings.precision, settings.seed, settings.logical_cpus, settings.tpu
    )
    source = sources.open_source(settings)
    architecture = architecture_for(settings, source)
    if settings.masked:
        architecture = headless(settings, architecture)
    plan = make_plan(
        settings,
        source,
        runtime,
        name=settings.variant,
        architecture=architecture,
        preprocessing=pipeline.preprocessing_for(settings.image_size, settings),
        multipliers=settings.multipliers,
        trained=trained_words(settings),
        workers=workers_of(settings, source, runtime),
        teacher=open_teacher(settings, source),
    )
    if runtime.is_chief:
        print(summary.plan(plan), flush=True)
    if settings.dry_run:
        return Result(None, None, {}, None)
    source.ready()
    return run_training(plan, lambda: new_model(settings, plan), [*pictures(plan), *callbacks])


def architecture_for(settings: ModelSettings, source: "Source") -> "AnyArchitecture":
    """The architecture that the flags and the source make together.

    Raises:
        UserError: if the variant is unknown, has no such field, or does not fit its value.
    """
    from keras_vit import variants

    known = {field.name for field in dataclasses.fields(variants.parse(settings.variant))}
    for name in sorted(settings.overrides.keys() - known):
        value = getattr(settings, name)
        raise UserError(f"--{name}={value} means nothing to --variant={settings.variant}; leave it out.")
    return variants.parse(
        settings.variant, channels=source.channels, num_classes=source.num_classes, **settings.overrides
    )


def headless(settings: Settings, architecture: "AnyArchitecture") -> "AnyArchitecture":
    """The architecture without a head, which masked patch prediction would not train.

    Raises:
        UserError: if it has no patches either.
    """
    from keras_vit.objectives import masked_patches

    if architecture.family == "bit":
        raise UserError(
            f"--variant={settings.variant} has no patches, but --objective={MASKED_PATCHES} is about them; take a "
            "Vision Transformer or a hybrid."
        )
    rows, columns = architecture.grid
    if rows * columns < 2:
        raise UserError(
            f"--objective={MASKED_PATCHES} needs at least 2 patches; --variant={settings.variant} has 1 at "
            f"--image_size={settings.image_size}."
        )
    if settings.masked_target != "pixels":
        masked_patches.color_classes(architecture.channels)
    return architecture.replace(num_classes=0)


def trained_words(settings: Settings) -> str:
    """What is trained, for the plan."""
    part = f"as --multipliers={settings.multipliers}" if settings.multipliers else "everything"
    return part + (", and a head for masked patches, which is not saved" * (settings.masked is not None))


def pictures(plan: "Plan") -> list[Any]:
    """The callback that draws masked patches, where that is the objective and somebody is to see them."""
    target = plan.settings.masked
    if target is None or plan.validation is None or not plan.runtime.is_chief:
        return []
    from trainers.training.callbacks.masked_pictures import MaskedPictures

    return [MaskedPictures(plan, target, plan.validation)]


def new_model(settings: Settings, plan: "Plan") -> Any:
    """The model to train."""
    import keras_vit
    from keras_vit import vit

    names = plan.source.class_names
    model = keras_vit.build(
        plan.architecture,
        class_names=list(names) if names and plan.architecture.num_classes else None,
        preprocessing=plan.preprocessing,
        dtype=plan.runtime.precision,
    )
    if settings.weights:
        start_from(model, settings.weights)
    if settings.remat:
        vit.recompute(model)
    return model


def start_from(model: Any, path: str) -> None:
    """Copies weights, head included, from a file into a model of the same architecture; no head where it has none."""
    from trainers.inference import models

    overrides: dict[str, Any] = {"image_size": model.architecture.image_size}
    if not model.architecture.num_classes:
        overrides |= {"num_classes": 0, "representation": None}
    loaded = models.load(path, "weights", **overrides)
    if loaded.architecture.family != model.architecture.family:
        raise UserError(f"--weights={path} holds a {type(loaded).__name__}, --variant is a {type(model).__name__}.")
    # Rates and the head's initial bias matter to training only.
    free = {"dropout", "attention_dropout", "stochastic_depth", "head_bias"}
    loaded_fields, model_fields = loaded.architecture.to_dict(), model.architecture.to_dict()
    for name in model_fields.keys() - free:
        if loaded_fields[name] != model_fields[name]:
            raise UserError(
                f"--weights={path} holds a model with {name}={loaded_fields[name]}, but the flags ask for "
                f"{model_fields[name]}."
            )
    model.set_weights(loaded.get_weights())


if __name__ == "__main__":
    sys.exit(command_line.main(Settings, run, "pretrain"))
