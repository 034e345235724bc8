"""What every training command does once it has a model: train in a run folder, resumably, and report."""

import contextlib
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras

from keras_vit import adapters, multipliers, optimization
from trainers import files
from trainers.data.pipeline import EvaluationData, TrainingData
from trainers.data.source import Split
from trainers.engine import callbacks, loop
from trainers.engine.checkpoint import Checkpoints
from trainers.engine.metrics_file import MetricsFile
from trainers.engine.preemption import Preemption
from trainers.engine.protocols import Evaluation, Steps, UpdateRule
from trainers.run_dir import BAD_IMAGES, BEST, CHECKPOINTS, LOGS, METRICS, MODEL, RESULTS, claimed
from trainers.settings import flags
from trainers.settings.run import RunSettings
from trainers.settings.training import TrainingSettings
from trainers.training import model_card, provenance, summary
from trainers.training.callbacks.data_watch import DataWatch
from trainers.training.callbacks.input_wait import InputWait
from trainers.training.plan import Plan, checkpoints_of, decay_updates, start_of, training_data
from trainers.training.task import Learner, learner_of


class Result(NamedTuple):
    """What a run returns: the trained model, Keras's history, the contents of results.json, and its folder."""

    model: Any
    history: Any
    metrics: dict[str, Any]
    run_dir: str | None


def run_training(
    plan: Plan,
    make_model: Callable[[], keras.Model],
    further_callbacks: Sequence[keras.callbacks.Callback] = (),
    last: Callable[[keras.Model], dict[str, Any]] = lambda model: {},
) -> Result:
    """Trains, or goes on training, in the run folder; only the chief writes there and speaks.

    Args:
        plan: The run.
        make_model: Makes the model that the run leaves behind; called where its variables are placed.
        further_callbacks: The user's.
        last: Function of that model, trained, before results are written, on all workers; returns more of those.

    Raises:
        UserError: if the multipliers do not fit the model, the folder may not be used, or its checkpoints belong to
            another model.
        Preempted: after a checkpoint, when a signal asked to stop.
        NotFinite: before an update whose gradients are not finite.
        WorkerLost: when another process of the run is gone.
        Unwritable: if a file of the run cannot be written.
        BadImage: for the first image that cannot be read, or too many of them.
    """
    data = training_data(plan)
    with plan.workers.waiting("the set-up of the model"):
        learner = learner_of(plan, make_model)
        steps = steps_for(plan, data.element_spec, learner)
    return _trained(plan, data, learner, steps, further_callbacks, last)


def steps_for(plan: Plan, element_spec: Any, learner: Learner) -> Steps:
    """The updates of what is trained, with an optimizer of its own.

    Args:
        plan: The run.
        element_spec: Element specification of its batches.
        learner: Learner that is trained.

    Raises:
        UserError: if the learning-rate multipliers do not fit the model.
    """
    settings = plan.settings
    with plan.runtime.placed():
        model = learner.trained
        factors = multipliers.freeze(model, plan.multipliers)
        schedule = optimization.WarmupSchedule(
            settings.schedule,
            settings.learning_rate,
            plan.loop_plan.total_steps,
            settings.warmup_steps,
            settings.end_learning_rate,
            decay_updates(settings, plan.loop_plan.total_steps),
        )
        optimizer = optimization.optimizer(
            settings.optimizer,
            model.trainable_variables,
            learning_rate=schedule,
            weight_decay=settings.weight_decay,
            multipliers=factors,
            **({"trace_dtype": settings.momentum_dtype} if settings.optimizer == "sgd" else {}),
        )
        model.compile(optimizer=optimizer)  # standard callbacks look for it on the model
    rule = UpdateRule(
        batch_size=settings.batch_size,
        clip_norm=settings.clip_norm,
        accumulate=settings.accumulate,
        ema=settings.ema,
        xla=settings.xla,
        seed=settings.seed,
        skip_nonfinite=settings.on_nonfinite == "skip",
    )
    return plan.runtime.steps(model, learner.objective, optimizer, element_spec, rule)


def evaluation_of(plan: Plan, learner: Learner, split: Split | None, keep: str = "none") -> Evaluation | None:
    """Evaluation on a split; None without a split."""
    if split is None:
        return None
    batch_size = plan.settings.batch_size
    data = EvaluationData(split, batch_size, plan.preprocessing, keep)
    return plan.runtime.evaluation(learner.measured, learner.evaluated_by, data.batches, batch_size)


def _trained(
    plan: Plan,
    data: TrainingData,
    learner: Learner,
    steps: Steps,
    further_callbacks: Sequence[keras.callbacks.Callback],
    last: Callable[[keras.Model], dict[str, Any]],
) -> Result:
    """The part of `run_training` that comes after the set-up of data and model, whose errors these are too."""
    settings, loop_plan, workers = plan.settings, plan.loop_plan, plan.workers
    with Preemption() as preemption, contextlib.ExitStack() as claims:
        with workers.waiting("the others' set-up"):  # who built the model in less time waits for the others here
            own = checkpoints_of(settings)
            state = workers.on_chief(lambda: claim(settings, own, claims))
        revision = provenance.revision() if workers.is_chief else None  # now: files may change while training lasts
        checkpoints = own if workers.is_chief else None
        listing = os.path.join(settings.run_dir, BAD_IMAGES) if workers.is_chief else None
        watch = DataWatch(plan.source, listing, workers)
        history, ours = make_callbacks(plan, learner, steps, checkpoints)
        with workers.waiting("the set-up of evaluation"):
            evaluation = evaluation_of(plan, learner, plan.validation, settings.cache)
        everybody = [watch, *ours, *further_callbacks]
        trainer = loop.Trainer(steps, loop_plan, everybody, evaluation, checkpoints, workers, preemption)
        if state is not None:
            trainer.restore(state)
        if state is not None and workers.is_chief:
            print(f"resumes from step {steps.step:,} of {loop_plan.total_steps:,} in {settings.run_dir}/", flush=True)
        trainer.fit(functools.partial(data.batches, steps.step))
        if checkpoints is not None:
            checkpoints.wait()
            save_best(settings, learner.saved, checkpoints)
        metrics = summary.results(settings, loop_plan, steps, trainer.progress.seconds, history, learner.monitor)
        model = finish(plan, learner, watch, metrics, last, revision)
    return Result(model, history, metrics, settings.run_dir if workers.is_chief else None)


def claim(settings: TrainingSettings, checkpoints: Checkpoints, claims: contextlib.ExitStack) -> dict[str, Any] | None:
    """Takes the run folder for this process; returns the state to go on from, or None for a new run."""
    resumed = start_of(settings) > 0
    flagfile = flags.to_flagfile(settings)
    claims.enter_context(claimed(settings.run_dir, flagfile, settings.overwrite, resumed))
    return checkpoints.newest() if resumed else None


def save_best(settings: RunSettings, model: keras.Model, checkpoints: Checkpoints) -> None:
    """Writes the weights that did best on the validation split as a model, beside the checkpoints."""
    best = checkpoints.best()
    if best is not None:
        # What is saved may have layers that had no part in training.
        own = {variable.path: keras.ops.convert_to_numpy(variable.value) for variable in model.weights}
        copy = adapters.plain_copy(model, own | best["weights"])
        files.replace_with(os.path.join(settings.run_dir, CHECKPOINTS, BEST), copy.save)


def finish(
    plan: Plan,
    learner: Learner,
    watch: DataWatch,
    metrics: dict[str, Any],
    last: Callable[[keras.Model], dict[str, Any]],
    revision: str | None,
) -> keras.Model:
    """Saves the trained model, adds what it does on the test split to the metrics, and writes card and results."""
    settings, workers = plan.settings, plan.workers
    model = adapters.plain_copy(learner.saved)
    if workers.is_chief:
        files.replace_with(os.path.join(settings.run_dir, MODEL), model.save)
    with workers.waiting("the set-up of the test"):
        evaluation = evaluation_of(plan, learner, plan.test)
    if evaluation is not None:
        with workers.waiting("the test"):
            means = evaluation.run(after_batch=workers.answered)
        watch.exchange()
        metrics |= {f"test_{name}": value for name, value in means.items()}
    with workers.waiting("the report"):
        metrics |= last(learner.saved)
    if workers.is_chief:
        model_card.write(plan, model, metrics, revision)
        files.write_json(os.path.join(settings.run_dir, RESULTS), metrics)
        print(summary.closing(metrics, settings.run_dir, learner.monitor))
    workers.any(False)  # nobody leaves while another still needs it
    return model


def make_callbacks(plan: Plan, learner: Learner, steps: Steps, checkpoints: Checkpoints | None):
    """Keras's history, and the callbacks of every run; those that write and speak only on the chief."""
    settings, monitor = plan.settings, learner.monitor
    history = keras.callbacks.History()
    ours: list[keras.callbacks.Callback] = [history]
    if checkpoints is not None:
        logs = os.path.join(settings.run_dir, LOGS)
        ours += [
            MetricsFile(
                os.path.join(settings.run_dir, METRICS),
                plan.runtime,
                batch_size=settings.batch_size,
                log_every=settings.log_every,
                metrics=steps.metrics,
                summaries=os.path.join(logs, "rows"),
            ),
            callbacks.Progress(plan.loop_plan.total_steps, settings.batch_size, metrics=steps.metrics),
            InputWait(settings, plan.training),
            keras.callbacks.TensorBoard(logs, write_graph=False),
            callbacks.Best(checkpoints, monitor.logged, monitor.mode),
        ]
    if settings.early_stopping:
        ours.append(
            keras.callbacks.EarlyStopping(
                monitor.logged, mode=monitor.mode, patience=settings.early_stopping, restore_best_weights=True
            )
        )
    return history, ours
