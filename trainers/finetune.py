"""Fine-tunes a model on a source of one's own: other classes, and another resolution if wanted.

Training begins from --weights, whose head is replaced. By default that is the paper's protocol (SGD with momentum,
global clipping, no weight decay); configs/finetune_*.cfg hold it for each data set of the paper, and
configs/finetune_folder.cfg the short way for a folder of pictures: an instant baseline, then the head, then everything
that fits into --budget. The run folder is that of trainers.pretrain, with per_class.csv, confusion.csv, confusion.png
and curves.png besides; interrupted, the same command goes on.
From Python: `finetune.run(finetune.Settings(...), callbacks=[...])`.
"""

import dataclasses
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from trainers.data.source import Source
    from trainers.engine.protocols import Runtime
    from trainers.engine.workers import Workers
    from trainers.training.plan import Plan
    from trainers.training.train import Result

from keras_vit.errors import UserError
from trainers.settings import command_line
from trainers.settings.finetuning import FinetuningSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(FinetuningSettings):
    """Settings of fine-tuning; every field is a flag of the same name."""

    recipes_of: ClassVar[str] = "finetune"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.run_dir:
            parts = re.split(r"[/:]", self.weights.rstrip("/").removesuffix("/model.keras"))[-3:]
            source = re.sub(r"[/:]", "_", self.source)
            object.__setattr__(self, "run_dir", f"saved_models/finetune_{source}_{'_'.join(filter(None, parts))}")


def run(settings: Settings, callbacks: Sequence[Any] = ()) -> "Result":
    """Fine-tunes, or goes on where an earlier call was cut off.

    Args:
        settings: Settings that the flags give.
        callbacks: Further Keras callbacks, for each training if there are several.

    Raises:
        UserError: for settings that do not fit the source, the weights or the folder; nothing is written then.
        Preempted: after a checkpoint, when a signal asked to stop.
        NotFinite: before an update whose gradients are not finite.
        WorkerLost: when another process of the run is gone.
        BadImage: for the first image that cannot be read, or too many of them.
    """
    from trainers.data import sources
    from trainers.engine.runtime import start as start_runtime
    from trainers.finetuning import budget, protocol
    from trainers.training.plan import workers_of
    from trainers.training.teacher import open_teacher

    begun = time.monotonic()
    # First of all, because TensorFlow's devices and workers cannot be set up once a tensor has been made.
    runtime = start_runtime(
        settings.distribution, settings.precision, settings.seed, settings.logical_cpus, settings.tpu
    )
    source = sources.open_source(settings)
    workers = workers_of(settings, source, runtime)
    start, summary = starting_point(settings, source)
    teacher = open_teacher(settings, source)
    if runtime.is_chief:
        print(f"{settings.weights}: {summary}", flush=True)

    def plan_for(part: FinetuningSettings) -> "Plan":
        return plan_of(part, source, runtime, workers, start, teacher)

    def trained(part: FinetuningSettings) -> "Result":
        settled = workers.on_chief(lambda: budget.as_before(part))
        return train(dataclasses.replace(part, **settled), plan_for, start, begun, callbacks)

    if protocol.has_parts(settings):
        return protocol.run(settings, source, workers, protocol.Means(plan_for, trained))
    return trained(settings)


def starting_point(settings: FinetuningSettings, source: "Source") -> tuple[Any, Any]:
    """The model of --weights, made one for the source's classes and the flags' resolution, its head zero.

    Returns:
        The model, in the memory of the CPU, and a report of what became of each array.

    Raises:
        UserError: if there are no such weights, or they do not fit the source.
    """
    import tensorflow as tf

    from keras_vit import weights
    from trainers.inference import models

    with tf.device("CPU"):
        loaded = models.load(settings.weights, "weights")
    changes: dict[str, Any] = {
        "num_classes": source.num_classes,
        "representation": None,  # the paper replaces the whole head, hidden layer included (section 3.2)
        "dropout": settings.dropout,
        "attention_dropout": 0.0,
        "stochastic_depth": settings.stochastic_depth,
        "head_bias": settings.head_bias,
        **({"image_size": settings.image_size} if settings.image_size else {}),
    }
    known = {field.name for field in dataclasses.fields(loaded.architecture)}
    for name in ("dropout", "stochastic_depth"):
        if getattr(settings, name) and name not in known:
            raise UserError(f"--{name}={getattr(settings, name)} means nothing to {settings.weights}.")
    if loaded.architecture.channels != source.channels:
        raise UserError(
            f"--weights={settings.weights} take images of {loaded.architecture.channels} channels; {source.name} has "
            f"{source.channels}."
        )
    with tf.device("CPU"):
        model, summary = weights.load(
            loaded, return_report=True, **{name: value for name, value in changes.items() if name in known}
        )
    for head in (layer for layer in model.layers if layer.name in ("head", "head_distillation")):
        head.set_weights([0.0 * head.get_weights()[0], 0.0 * head.get_weights()[1] + settings.head_bias])
    return model, summary


def train(
    settings: FinetuningSettings,
    plan_for: "Callable[[FinetuningSettings], Plan]",
    start: Any,
    begun: float,
    callbacks: Sequence[Any],
) -> "Result":
    """One training from the starting point.

    Args:
        settings: Settings that ask for a single one.
        plan_for: Function from settings to the plan of a training.
        start: The model to begin from.
        begun: Time when the command began, by the monotonic clock.
        callbacks: The user's.
    """
    from trainers.finetuning import beginning, budget
    from trainers.training import summary
    from trainers.training.train import Result, run_training

    plan = plan_for(settings)
    speaks = plan.runtime.is_chief
    if speaks and (settings.dry_run or not settings.budget):
        print(summary.plan(plan), flush=True)
    if settings.dry_run:
        if speaks and settings.budget:
            print(f"--budget={settings.budget}: the number of steps is settled once a few have been timed.")
        return Result(None, None, {}, None)
    plan.source.ready()
    preparation = beginning.prepare(settings, plan, start)

    def make_model():
        return beginning.model(settings, plan, start, preparation.head)

    settings = dataclasses.replace(settings, probe_images=preparation.probe_images)
    if settings.budget:
        settings = budget.settled(settings, plan, make_model, time.monotonic() - begun)
        if speaks:
            print(summary.plan(plan_for(settings)), flush=True)
    plan = plan_for(settings)
    return run_training(
        plan,
        make_model,
        [preparation.baseline, *callbacks],
        lambda model: preparation.baseline.results() | last_words(plan, model),
    )


def plan_of(
    settings: FinetuningSettings,
    source: "Source",
    runtime: "Runtime",
    workers: "Workers",
    start: Any,
    teacher: Any = None,
) -> "Plan":
    """The plan of a training. While a budget is not settled its length means nothing.

    Raises:
        UserError: for settings that do not fit the source, the weights or the folder.
    """
    from keras_vit import multipliers
    from trainers.finetuning import beginning
    from trainers.training.plan import make_plan

    rules = settings.multipliers
    if not rules and not settings.lora_rank:
        rules = beginning.multipliers(start.architecture, settings.trained_part, settings.layer_decay)
        try:
            multipliers.parse(rules, start.trainable_variables)
        except UserError as error:
            raise UserError(f"--trainable={settings.trainable}: {error}") from error
    preprocessing = dataclasses.replace(
        start.preprocessing, resize=settings.resize, antialias=settings.antialias, crop=settings.test_crop
    )
    return make_plan(
        dataclasses.replace(settings, budget="", steps=1, warmup_steps=0) if settings.budget else settings,
        source,
        runtime,
        name=settings.weights,
        architecture=start.architecture,
        preprocessing=preprocessing,
        multipliers=rules,
        trained=trained_words(settings),
        workers=workers,
        teacher=teacher,
    )


def trained_words(settings: FinetuningSettings) -> str:
    """What is trained, for the plan."""
    if settings.lora_rank:
        return f"adapters of rank {settings.lora_rank} on all blocks, and the head"
    if settings.multipliers:
        return f"as --multipliers={settings.multipliers}"
    part = {"all": "everything", "head": "the head"}.get(settings.trainable, f"{settings.trainable} and what follows")
    decay = f", each block at {settings.layer_decay:g} of the next one's rate" if settings.layer_decay != 1 else ""
    return part + decay


def plain(name: str) -> str:
    """A row's name as one of results.json."""
    return re.sub(r"\W+", "_", name).lower()


def last_words(plan: "Plan", model: Any) -> dict[str, Any]:
    """Writes how each class fares and the run's curves; returns more results. What goes wrong here loses no run."""
    from trainers.data.pipeline import EvaluationData
    from trainers.evaluations import accuracy
    from trainers.reports import class_report, curves

    run_dir, batch_size = plan.settings.run_dir, plan.settings.batch_size
    split, kind = (plan.test, "test") if plan.test else (plan.validation, "val")
    metrics: dict[str, Any] = {}
    try:
        if split is not None:
            feed = EvaluationData(split, batch_size, plan.preprocessing).batches
            answered = plan.workers.answered
            measured = accuracy.measured(model, feed, plan.runtime, batch_size, split, answered=answered)
            rows, summary = measured or ({}, None)
            metrics = {f"{kind}_{plain(name)}": value for name, value in rows.items() if name != accuracy.OWN}
            if plan.runtime.is_chief and summary is not None:
                class_report.write(summary, run_dir)
        if plan.runtime.is_chief:
            curves.curves(run_dir)
    except (UserError, OSError) as error:
        print(f"warning: no report of {split.name if split else 'the run'}: {error}", file=sys.stderr, flush=True)
    return metrics


if __name__ == "__main__":
    sys.exit(command_line.main(Settings, run, "finetune"))
