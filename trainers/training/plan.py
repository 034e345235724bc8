"""What a training run will do, found out before it does anything."""

import dataclasses
import fractions
import math
import os
from typing import Any

from keras_vit.errors import UserError
from keras_vit.preprocessing import Preprocessing
from keras_vit.variants import AnyArchitecture
from trainers import run_dir
from trainers.data import class_weights, pipeline
from trainers.data.augmentation import recipe
from trainers.data.source import Source, Split
from trainers.engine import loop
from trainers.engine.checkpoint import Checkpoints
from trainers.engine.protocols import Runtime
from trainers.engine.runtime import check_batch_size
from trainers.engine.workers import Workers
from trainers.settings import flags, splits
from trainers.settings.optimization import OptimizationSettings
from trainers.settings.run import RunSettings
from trainers.settings.training import TrainingSettings
from trainers.training import resume


@dataclasses.dataclass(frozen=True)
class Plan:
    """A training run that has not begun.

    Args:
        settings: Settings of the command.
        source: Opened source.
        runtime: Runtime it will train on.
        name: Name of the model, for people.
        architecture: Architecture of the model.
        preprocessing: The model's test-time transform.
        multipliers: Learning-rate multipliers by weight path, as `keras_vit.multipliers` has them.
        trained: Part of the model that is trained, for people.
        workers: The processes of the run.
        loop_plan: Length and rhythm.
        training: Split that one epoch goes through.
        validation: Split that chooses between checkpoints, or None.
        test: Split that the finished model is reported on, or None.
        start: Step from which an earlier run goes on, or 0.
        teacher: Model to learn from beside the labels, or None.
    """

    settings: TrainingSettings
    source: Source
    runtime: Runtime
    name: str
    architecture: AnyArchitecture
    preprocessing: Preprocessing
    multipliers: str
    trained: str
    workers: Workers
    loop_plan: loop.Plan
    training: Split
    validation: Split | None
    test: Split | None
    start: int
    teacher: Any = None


def make_plan(
    settings: TrainingSettings,
    source: Source,
    runtime: Runtime,
    *,
    name: str,
    architecture: AnyArchitecture,
    preprocessing: Preprocessing,
    multipliers: str,
    trained: str,
    workers: Workers,
    teacher: Any = None,
) -> Plan:
    """The run that the settings ask for; the arguments are fields of `Plan`.

    Raises:
        UserError: for settings that do not fit the source, the runtime or the folder.
    """
    check_labels(settings, source)
    recipe.check(preprocessing, source.channels, settings)
    training = source.split(settings.train_split, settings.subset)
    loop_plan = loop_plan_for(settings, training.size)
    validation, test = splits_of(settings, source)
    check_batch_size(settings.batch_size, runtime.replicas, settings.accumulate)
    start = workers.on_chief(lambda: start_of(settings))
    return Plan(
        settings=settings,
        source=source,
        runtime=runtime,
        name=name,
        architecture=architecture,
        preprocessing=preprocessing,
        multipliers=multipliers,
        trained=trained,
        workers=workers,
        loop_plan=loop_plan,
        training=training,
        validation=validation,
        test=test,
        start=start,
        teacher=teacher,
    )


def splits_of(settings: TrainingSettings, source: Source) -> tuple[Split | None, Split | None]:
    """The splits to choose by and to report on; those left out default to the source's own, where it has them.

    There is none to report on where the source's own test split chooses.

    Raises:
        UserError: if a split that was named does not exist, or early stopping has nothing to go by.
    """
    names: dict[str, str] = {}
    for expression, usual in ((settings.validation_split, "validation"), (settings.test_split, "test")):
        name = expression or (usual if usual in source.names else "none")
        if name == "none":
            continue
        if splits.overlap(source.intervals(name), source.intervals(settings.train_split)):
            raise UserError(
                f"--{usual}_split={name} holds examples of --train_split={settings.train_split}, so it would not "
                "tell how well the model does on new ones."
            )
        names[usual] = name
    if len(names) == 2 and splits.overlap(*map(source.intervals, names.values())):
        if settings.test_split:
            raise UserError(
                f"--test_split={names['test']} holds examples of --validation_split={names['validation']}, which "
                "choose: name splits apart, or --test_split=none."
            )
        del names["test"]  # what chooses cannot report as well
    if settings.early_stopping and "validation" not in names:
        raise UserError(
            f"--early_stopping={settings.early_stopping} needs evaluations, but {source.name} has no validation split; "
            "name a part of another, e.g. --train_split=train[:99%] --validation_split=train[99%:]."
        )
    parts = {usual: source.split(name) for usual, name in names.items()}
    return parts.get("validation"), parts.get("test")


def training_data(plan: Plan) -> pipeline.TrainingData:
    """The batches of the run."""
    settings = plan.settings
    return pipeline.TrainingData(
        plan.training,
        settings.batch_size,
        plan.preprocessing,
        settings,
        seed=settings.seed,
        shuffle=settings.shuffle,
        sampling=settings.sampling,
        weights=settings.class_factors or settings.class_weights,
        keep=settings.cache,
    )


def check_labels(settings: TrainingSettings, source: Source) -> None:
    """Raises UserError where objective or class weights do not fit the source's labels."""
    class_weights.named(settings.class_factors, source)
    if source.several_labels and settings.objective == "softmax":
        raise UserError(
            f"The examples of {source.name} may belong to several classes, but --objective=softmax means exactly one; "
            "use --objective=sigmoid, with --head_bias=-10 where classes are many."
        )


def loop_plan_for(settings: TrainingSettings, examples: int) -> loop.Plan:
    """Length and rhythm of training in updates.

    Raises:
        UserError: if warm-up is not shorter than training.
    """
    per_epoch = examples / settings.batch_size
    if settings.steps is not None:
        total = settings.steps
    elif settings.epochs is not None:
        # Exact, because 15.0 * (1293 / 5) is a little more than 3,879.
        total = math.ceil(fractions.Fraction(str(settings.epochs)) * examples / settings.batch_size)
    else:
        total = math.ceil((settings.examples or 0) / settings.batch_size)
    if settings.warmup_steps >= total:
        raise UserError(f"--warmup_steps={settings.warmup_steps} must be less than the {total} steps of training.")
    evaluate_every = min(settings.evaluate_every or math.ceil(per_epoch), total)
    return loop.Plan(total, evaluate_every, settings.log_every, settings.steps_per_call, settings.checkpoint_every)


def decay_updates(settings: OptimizationSettings, total: int) -> list[int]:
    """The updates after which a staircase's learning rate falls, of so many in all; none for other schedules."""
    return [round(share * total) for share in settings.decay_shares]


def workers_of(settings: TrainingSettings, source: Source, runtime: Runtime) -> Workers:
    """The processes of the run.

    Raises:
        UserError: if they were started with different flags or data, or chose different precisions.
    """
    workers = runtime.workers(settings.worker_timeout)
    here = ("--run_dir", "--data_dir")  # may differ between machines
    workers.agree("flags", " ".join(line for line in flags.to_flagfile(settings).split() if not line.startswith(here)))
    workers.agree("precisions; name one by --precision", runtime.precision)
    workers.agree(f"examples in --source={settings.source}", source.fingerprint)
    return workers


def start_of(settings: TrainingSettings) -> int:
    """The step from which a run will go on, 0 for a new one.

    Raises:
        UserError: if the folder holds something that may not be replaced or resumed.
    """
    run_dir.check(settings.run_dir, settings.overwrite)
    steps = checkpoints_of(settings).steps()
    return steps[-1] if resume.resumes(settings, bool(steps)) else 0


def checkpoints_of(settings: RunSettings) -> Checkpoints:
    return Checkpoints(os.path.join(settings.run_dir, run_dir.CHECKPOINTS), settings.keep)
