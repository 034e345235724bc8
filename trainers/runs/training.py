"""What every training command does once it has a model: train in a run folder, resumably, and report."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras

from keras_vit import multipliers, optimization
from keras_vit.objectives.classification import OBJECTIVES
from trainers.data.pipeline import EvaluationData, TrainingData, preprocessing_for, training_split
from trainers.engine import callbacks, loop
from trainers.engine.checkpoint import Checkpoints
from trainers.engine.evaluation import Evaluation
from trainers.engine.metrics_file import MetricsFile
from trainers.engine.preemption import Preemption
from trainers.engine.steps import Steps
from trainers.engine.workers import Workers
from trainers.runs import folder, report, resumption
from trainers.runs.data_watch import DataWatch
from trainers.runs.input_wait import InputWait
from trainers.settings import flags


class Result(NamedTuple):
    """What a run returns: the trained model, Keras's history, the contents of results.json, and its folder."""

    model: Any
    history: Any
    metrics: dict[str, Any]
    run_dir: str | None


def workers_of(settings, source, where) -> Workers:
    """The processes of the run.

    Raises:
        ValueError: if they were started with different flags or data, or chose different precisions.
    """
    workers = Workers(where.strategy, where.workers, where.is_chief, settings.worker_timeout)
    here = ("--run_dir", "--data_dir")  # may differ between machines
    workers.agree("flags", " ".join(line for line in flags.to_flagfile(settings).split() if not line.startswith(here)))
    workers.agree("precisions; name one by --precision", where.precision)
    workers.agree(f"examples in --source={settings.source}", source.fingerprint)
    return workers


def start_of(settings) -> int:
    """The step from which a run will go on, 0 for a new one.

    Raises:
        ValueError: if the folder holds something that may not be replaced or resumed.
    """
    folder.check(settings.run_dir, settings.overwrite)
    steps = checkpoints_of(settings).steps()
    return steps[-1] if resumption.resumes(settings, bool(steps)) else 0


def steps_for(
    settings, source, data: TrainingData, plan: loop.Plan, where, make_model: Callable[[], keras.Model]
) -> Steps:
    """Model, objective and optimizer, under the run's strategy.

    Args:
        settings: Of the command.
        source: Opened source of the training data.
        data: What is trained on.
        plan: Length and rhythm of training.
        where: Runtime.
        make_model: Called under the strategy.

    Raises:
        ValueError: if the learning-rate multipliers do not fit the model.
    """
    with where.strategy.scope():
        model = make_model()
        factors = multipliers.freeze(model, settings.multipliers)
        schedule = optimization.WarmupSchedule(
            settings.schedule,
            settings.learning_rate,
            plan.total_steps,
            settings.warmup_steps,
            settings.end_learning_rate,
        )
        optimizer = optimization.optimizer(
            settings.optimizer,
            model.trainable_variables,
            learning_rate=schedule,
            weight_decay=settings.weight_decay,
            multipliers=factors,
        )
        model.compile(optimizer=optimizer)  # standard callbacks look for it on the model
    return Steps(
        model,
        OBJECTIVES[settings.objective](source.num_classes, settings.label_smoothing),
        optimizer,
        where.strategy,
        data.element_spec,
        batch_size=settings.batch_size,
        clip_norm=settings.clip_norm,
        accumulate=settings.accumulate,
        ema=settings.ema,
        xla=settings.xla,
        seed=settings.seed,
        skip_nonfinite=settings.on_nonfinite == "skip",
    )


def evaluation_of(steps: Steps, source, split: str | None, settings, keep: str = "none") -> Evaluation | None:
    """Evaluation of a split by the run's objective, its labels not smoothed; None without a split."""
    if split is None:
        return None
    objective = dataclasses.replace(steps.objective, label_smoothing=0.0)
    data = EvaluationData(source, split, settings.batch_size, preprocessing_for(settings), keep)
    return Evaluation(steps.model, objective, data.batches, steps.strategy, settings.batch_size)


def train(
    settings,
    source,
    data: TrainingData,
    plan: loop.Plan,
    steps: Steps,
    validation: str | None,
    test: str | None,
    workers: Workers,
    further_callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Result:
    """Trains, or goes on training, in the run folder; only the chief writes there and speaks.

    Args:
        settings: Of the command.
        source: Opened source.
        data: What is trained on.
        plan: Length and rhythm.
        steps: Graph functions.
        validation: Split that chooses between checkpoints, or None.
        test: Split that the finished model is reported on, or None.
        workers: The processes of the run.
        further_callbacks: The user's.

    Raises:
        ValueError: if the folder may not be used, or its checkpoints belong to another model.
        Preempted: after a checkpoint, when a signal asked to stop.
        NotFinite: before an update whose gradients are not finite.
        WorkerLost: when another process of the run is gone.
        Unwritable: if a file of the run cannot be written.
        BadImage: for the first image that cannot be read, or too many of them.
    """
    with Preemption() as preemption, contextlib.ExitStack() as claims:
        with workers.waiting("the others' set-up"):  # who built the model in less time waits for the others here
            state = workers.on_chief(lambda: claim(settings, claims))
        checkpoints = checkpoints_of(settings) if workers.is_chief else None
        listing = os.path.join(settings.run_dir, folder.BAD_IMAGES) if workers.is_chief else None
        watch = DataWatch(source, listing, workers)
        history, ours = make_callbacks(settings, source, plan, steps, checkpoints)
        with workers.waiting("the set-up of evaluation"):
            evaluation = evaluation_of(steps, source, validation, settings, settings.cache)
        everybody = [watch, *ours, *further_callbacks]
        trainer = loop.Trainer(steps, plan, everybody, evaluation, checkpoints, workers, preemption)
        if state is not None:
            trainer.restore(state)
        if state is not None and workers.is_chief:
            print(f"resumes from step {steps.step:,} of {plan.total_steps:,} in {settings.run_dir}/", flush=True)
        trainer.fit(functools.partial(data.batches, steps.step))
        if checkpoints is not None:
            checkpoints.wait()
            save_best(settings, steps.model, checkpoints)
        metrics = report.results(settings, plan, steps, trainer.progress.seconds, history)
        model = finish(settings, steps, test, watch, metrics)
    return Result(model, history, metrics, settings.run_dir if workers.is_chief else None)


def claim(settings, claims: contextlib.ExitStack):
    """Takes the run folder for this process; returns the state to go on from, or None for a new run."""
    resumed = start_of(settings) > 0
    flagfile = flags.to_flagfile(settings)
    claims.enter_context(folder.claimed(settings.run_dir, flagfile, settings.overwrite, resumed))
    return checkpoints_of(settings).newest() if resumed else None


def save_best(settings, model, checkpoints: Checkpoints) -> None:
    """Writes the weights that did best on the validation split as a model, beside the checkpoints."""
    best = checkpoints.best()
    if best is not None:
        copy = uncompiled(model)
        for variable, trained in zip(copy.weights, model.weights, strict=True):
            variable.assign(best["weights"][trained.path])
        folder.replace_with(os.path.join(settings.run_dir, folder.CHECKPOINTS, folder.BEST), copy.save)


def finish(settings, steps: Steps, test: str | None, watch: DataWatch, metrics: dict[str, Any]):
    """Saves the trained model, adds what it does on the test split to the metrics, and writes those."""
    source, workers = watch.source, watch.workers
    model = uncompiled(steps.model)
    if workers.is_chief:
        folder.replace_with(os.path.join(settings.run_dir, folder.MODEL), model.save)
    with workers.waiting("the set-up of the test"):
        evaluation = evaluation_of(steps, source, test, settings)
    if evaluation is not None:
        with workers.waiting("the test"):
            means = evaluation.run(after_batch=workers.answered)
        watch.exchange()
        metrics |= {f"test_{name}": value for name, value in means.items()}
    if workers.is_chief:
        folder.write_json(os.path.join(settings.run_dir, folder.RESULTS), metrics)
        print(report.closing(metrics, settings.run_dir))
    workers.any(False)  # nobody leaves while another still needs it
    return model


def checkpoints_of(settings) -> Checkpoints:
    return Checkpoints(os.path.join(settings.run_dir, folder.CHECKPOINTS), settings.keep)


def make_callbacks(settings, source, plan: loop.Plan, steps: Steps, checkpoints: Checkpoints | None):
    """Keras's history, and the callbacks of every run; those that write and speak only on the chief."""
    history = keras.callbacks.History()
    ours: list[keras.callbacks.Callback] = [history]
    if checkpoints is not None:
        logs = os.path.join(settings.run_dir, folder.LOGS)
        ours += [
            MetricsFile(
                os.path.join(settings.run_dir, folder.METRICS),
                batch_size=settings.batch_size,
                log_every=settings.log_every,
                metrics=steps.metrics,
                summaries=os.path.join(logs, "rows"),
            ),
            callbacks.Progress(plan.total_steps, settings.batch_size),
            InputWait(settings, training_split(source, settings)),
            keras.callbacks.TensorBoard(logs, write_graph=False),
            callbacks.Best(checkpoints),
        ]
    if settings.early_stopping:
        ours.append(
            keras.callbacks.EarlyStopping(
                "val_accuracy", mode="max", patience=settings.early_stopping, restore_best_weights=True
            )
        )
    return history, ours


def uncompiled(model):
    """The model without its optimizer: what is worth saving."""
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy
