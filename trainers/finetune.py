"""Fine-tunes a model on a source of one's own: other classes, and another resolution if wanted.

Training begins from --weights, whose head is replaced. By default that is the paper's protocol (SGD with momentum,
global clipping, no weight decay); configs/finetune_*.cfg hold it for each data set of the paper, and
configs/finetune_folder.cfg the short way for a folder of pictures: an instant baseline, then the head, then everything
that fits into --budget. The run folder is that of trainers.pretrain, with per_class.csv, confusion.csv, confusion.png
and curves.png besides; interrupted, the same command goes on.
From Python: `finetune.run(finetune.Settings(...), callbacks=[...])`.
"""

import dataclasses
import os
import re
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.runs.training import Result

from trainers.settings import augmentation_group, command_line, data_groups, finetuning_group, flags, groups
from trainers.settings.fields import with_default


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(
    groups.RunSettings,
    groups.OptimizationSettings,
    augmentation_group.AugmentationSettings,
    data_groups.DataSettings,
    data_groups.BatchSettings,
    data_groups.SourceSettings,
    finetuning_group.FinetuningSettings,
):
    """Settings of fine-tuning; every field is a flag of the same name."""

    batch_size: int = with_default(data_groups.BatchSettings, "batch_size", 512)
    optimizer: str = with_default(groups.OptimizationSettings, "optimizer", "sgd")
    learning_rate: float = with_default(groups.OptimizationSettings, "learning_rate", 0.01)

    def __post_init__(self):
        flags.check_values(self)
        groups.check_positive(self, "batch_size")
        data_groups.check_source(self)
        data_groups.check_data(self)
        augmentation_group.check_augmentation(self)
        finetuning_group.check_finetuning(self)
        if self.budget:
            if self.steps or self.epochs or self.examples:
                raise flags.UsageError(f"--budget={self.budget} chooses the steps; leave out --steps and the like.")
        else:
            groups.check_duration(self)
        groups.check_optimization(self)
        groups.check_run(self)
        if not self.run_dir:
            name = f"finetune_{self.source}_{os.path.basename(self.weights.rstrip('/'))}"
            object.__setattr__(self, "run_dir", f"saved_models/{name.replace('/', '_').replace(':', '_')}")


def run(settings: Settings, callbacks: Sequence[Any] = ()) -> "Result":
    """Fine-tunes, or goes on where an earlier call was cut off.

    Args:
        settings: What the flags say.
        callbacks: Further Keras callbacks, for each training if there are several.

    Raises:
        ValueError: for settings that do not fit the source, the weights or the folder; nothing is written then.
        Preempted: after a checkpoint, when a signal asked to stop.
        NotFinite: before an update whose gradients are not finite.
        WorkerLost: when another process of the run is gone.
        BadImage: for the first image that cannot be read, or too many of them.
    """
    from trainers.data import sources
    from trainers.engine import runtime
    from trainers.finetuning import protocol

    # First of all, because TensorFlow's devices and workers cannot be set up once a tensor has been made.
    where = runtime.start(settings.distribution, settings.precision, settings.seed, settings.logical_cpus, settings.tpu)
    source = sources.open_source(settings)
    start, report = starting_point(settings, source)
    if where.is_chief:
        print(f"{settings.weights}: {report}", flush=True)

    def run_one(part: Settings) -> "Result":
        return train(part, source, where, start, callbacks)

    return protocol.run(settings, source, where, run_one) if protocol.has_parts(settings) else run_one(settings)


def starting_point(settings: Settings, source) -> tuple[Any, Any]:
    """The model of --weights, made one for the source's classes and the flags' resolution, its head zero.

    Returns:
        The model, in the memory of the CPU, and a report of what became of each array.

    Raises:
        ValueError: if there are no such weights, or they do not fit the source.
    """
    import tensorflow as tf

    from keras_vit import weights
    from trainers.runs import models

    with tf.device("CPU"):
        loaded = models.load(settings.weights, "weights")
    changes = {
        "num_classes": source.num_classes,
        "representation": None,  # the paper replaces the whole head, hidden layer included (section 3.2)
        "dropout": settings.dropout,
        "attention_dropout": 0.0,
        "stochastic_depth": settings.stochastic_depth,
        "head_bias": settings.head_bias,
        **({"image_size": settings.image_size} if settings.image_size else {}),
    }
    known = {field.name for field in dataclasses.fields(loaded.architecture)}
    if loaded.architecture.channels != source.channels:
        raise ValueError(
            f"--weights={settings.weights} take images of {loaded.architecture.channels} channels; {source.name} has "
            f"{source.channels}."
        )
    with tf.device("CPU"):
        model, report = weights.load(
            loaded, return_report=True, **{name: value for name, value in changes.items() if name in known}
        )
    head = model.get_layer("head")
    head.set_weights([0.0 * head.get_weights()[0], 0.0 * head.get_weights()[1] + settings.head_bias])
    return model, report


def train(settings: Settings, source, where, start, callbacks: Sequence[Any]) -> "Result":
    """One training from the starting point.

    Args:
        settings: That ask for a single one.
        source: Opened source.
        where: Runtime.
        start: The model to begin from.
        callbacks: The user's.
    """
    from trainers.finetuning import beginning, budget
    from trainers.runs import report, training

    begun = time.monotonic()
    settings = budget.as_before(settings)
    planned = plan(settings, source, where, start)
    if where.is_chief and not settings.budget:
        print(report.plan(planned), flush=True)
    if settings.dry_run:
        return training.Result(None, None, {}, None)
    source.ready()
    found = beginning.found(planned, start)
    if settings.budget:
        spent = time.monotonic() - begun
        settings = budget.settled(settings, planned, lambda: beginning.model(planned, start, found.head), spent)
        planned = plan(settings, source, where, start)
        if where.is_chief:
            print(report.plan(planned), flush=True)
    return training.run(
        planned,
        lambda: beginning.model(planned, start, found.head),
        [found.baseline, *callbacks],
        lambda model: last_words(planned, model, found.baseline),
    )


def plan(settings: Settings, source, where, start):
    """The plan of a training. While a budget is not settled its length means nothing."""
    from trainers.finetuning import trained_part
    from trainers.runs import planning

    if settings.lora_rank:
        multipliers = ""
    else:
        multipliers = settings.multipliers or trained_part.multipliers(
            start.architecture, settings.train, settings.layer_decay
        )
    preprocessing = dataclasses.replace(
        start.preprocessing, resize=settings.resize, antialias=settings.antialias, crop=settings.test_crop
    )
    return planning.planned(
        dataclasses.replace(settings, budget="", steps=1, warmup_steps=0) if settings.budget else settings,
        source,
        where,
        name=settings.weights,
        architecture=start.architecture,
        preprocessing=preprocessing,
        multipliers=multipliers,
        trained=trained_words(settings),
    )


def trained_words(settings: Settings) -> str:
    """What is trained, for the plan."""
    if settings.lora_rank:
        return f"adapters of rank {settings.lora_rank} on all blocks, and the head"
    if settings.multipliers:
        return f"as --multipliers={settings.multipliers}"
    part = {"all": "everything", "head": "the head"}.get(settings.train, f"{settings.train} and what follows")
    decay = f", each block at {settings.layer_decay:g} of the next one's rate" if settings.layer_decay != 1 else ""
    return part + decay


def plain(name: str) -> str:
    """A row's name as one of results.json."""
    return re.sub(r"\W+", "_", name).lower()


def last_words(planned, model, baseline) -> dict[str, Any]:
    """Writes how each class fares and the run's curves; returns more results."""
    from trainers.data.pipeline import EvaluationData
    from trainers.evaluations import accuracy
    from trainers.runs import class_report, curves

    run_dir, batch_size = planned.settings.run_dir, planned.settings.batch_size
    split = planned.test or planned.validation
    metrics: dict[str, Any] = {} if baseline.accuracy is None else {"baseline_accuracy": baseline.accuracy}
    if split is not None:
        data = EvaluationData(planned.source, split, batch_size, planned.preprocessing)
        measured = accuracy.measured(model, data.batches, planned.where.strategy, batch_size, planned.source)
        if measured is not None:
            rows, report = measured
            kind = "test" if planned.test else "val"
            metrics |= {f"{kind}_{plain(name)}": value for name, value in rows.items() if name != accuracy.OWN}
            if planned.where.is_chief:
                class_report.write(report, run_dir)
    if planned.where.is_chief:
        curves.curves(run_dir)
    return metrics


if __name__ == "__main__":
    sys.exit(command_line.main(Settings, run, "finetune"))
