"""A run in words and numbers: the plan before it, the results after."""

from typing import Any

import keras

from keras_vit import variants
from keras_vit.objectives.distillation import DISTILLATIONS
from trainers import machine
from trainers.data import cache
from trainers.engine import loop
from trainers.engine.protocols import Steps
from trainers.memory import limit
from trainers.memory.demand import demand_of, plan_of, size
from trainers.run_dir import BAD_IMAGES, CARD, CHECKPOINTS, FLAGS, LOGS, METRICS, MODEL, PICTURES, RESULTS
from trainers.settings.optimization import OptimizationSettings
from trainers.settings.training import TrainingSettings
from trainers.training.plan import Plan, decay_updates
from trainers.training.task import Monitor, monitor_of


def plan(plan: Plan) -> str:
    """The plan of a training run."""
    settings, source, architecture = plan.settings, plan.source, plan.architecture
    loop_plan, runtime, train = plan.loop_plan, plan.runtime, plan.training.size
    validation, test = (split and split.name for split in (plan.validation, plan.test))
    examples = loop_plan.total_steps * settings.batch_size
    written = ", ".join(
        (
            *(FLAGS, MODEL, METRICS, RESULTS, CARD),
            *(f"{CHECKPOINTS}/", f"{LOGS}/"),
        )
    )
    written += f", {BAD_IMAGES} where any" if settings.on_bad_image == "skip" else ""
    written += f", {PICTURES}/" if settings.masked and validation else ""
    rhythm = f"every {settings.checkpoint_every:,} steps" if settings.checkpoint_every else "at every evaluation"
    monitored = monitor_of(settings).metric.replace("_", " ")
    patience = f"after {settings.early_stopping} evaluations without better validation {monitored}"
    return table(
        {
            "model": f"{plan.name}, {variants.count_params(architecture):,} parameters, "
            f"{variants.flops(architecture) / 1e9:,.2f} GFLOPs per image",
            **_map_row(architecture),
            **_teacher_row(plan),
            "source": f"{source.name}, {train:,} training examples, {source.num_classes} classes",
            "splits": f"trains on {settings.train_split}, chooses on {validation or 'nothing'}, reports on "
            f"{test or 'nothing'}",
            "images": f"{settings.augment} in training{', half of them mirrored' * settings.flip}; "
            f"{settings.resize} resize{', antialiased' * settings.antialias}, "
            f"{f'central {settings.test_crop:g}' if settings.test_crop else 'whole'} at test time",
            "order": f"{f'{settings.sampling}, shuffled' if settings.shuffle else 'as it comes'}; class weights "
            f"{settings.class_weights}; images that cannot be read: {settings.on_bad_image}",
            "cache": cache.words(plan.training, settings.cache),
            "batch": f"{settings.batch_size} in all, {settings.batch_size // runtime.replicas} on each of "
            f"{runtime.replicas} replicas ({runtime.reason})",
            "training": f"{loop_plan.total_steps:,} steps = {examples:,} examples = {examples / train:,.1f} epochs; "
            f"evaluation every {loop_plan.evaluate_every:,} steps",
            "loss": f"{_objective(settings)}, in {runtime.precision} ({runtime.precision_reason})",
            "trains": plan.trained,
            "update": f"{settings.optimizer}, {_rates(settings, loop_plan.total_steps)}, decay "
            f"{settings.weight_decay:g}, clip {settings.clip_norm or 'off'}, averages {settings.ema or 'off'}",
            **_memory_row(plan),
            "start": f"goes on from step {plan.start:,}" if plan.start else "from step 0",
            "checkpoints": f"{rhythm}, the last {settings.keep} and the best are kept",
            "stopping": patience if settings.early_stopping else "at the end",
            "files": f"{settings.run_dir}/: {written}",
        }
    )


def _rates(settings: OptimizationSettings, total: int) -> str:
    """How the learning rate goes, and where it falls."""
    places = ", ".join(f"{place:,}" for place in decay_updates(settings, total))
    end = "" if places else f" to {settings.end_learning_rate:g}"
    falls = f", a tenth after each of steps {places}" if places else ""
    return f"{settings.schedule} {settings.learning_rate:g}{end} after {settings.warmup_steps:,} warm-up steps{falls}"


def _objective(settings: TrainingSettings) -> str:
    if settings.masked:
        return f"{settings.objective}, target {settings.masked}"
    loss = f"{settings.objective}, label smoothing {settings.label_smoothing:g}"
    if not settings.teacher:
        return loss
    usual = DISTILLATIONS[settings.distillation]
    share = settings.distillation_share or usual.share
    temperature = settings.distillation_temperature or usual.temperature
    softened = f" at temperature {temperature:g}" if temperature else ""
    return f"{1 - share:g} of {loss}; {share:g} of {settings.distillation} distillation{softened}"


def _teacher_row(plan: Plan) -> dict[str, str]:
    """Whom the model learns from, beside the labels."""
    if plan.teacher is None:
        return {}
    a = plan.teacher.architecture
    height, width = plan.teacher.preprocessing.size
    return {
        "teacher": f"{plan.settings.teacher}, {variants.count_params(a):,} parameters, "
        f"{variants.flops(a) / 1e9:,.2f} GFLOPs per image of {height}x{width}; neither trained nor saved"
    }


def _memory_row(plan: Plan) -> dict[str, str]:
    """What memory an update will take, where there is a formula, and what to change where that is too much."""
    taught = None if plan.teacher is None else plan.teacher.architecture
    demand = demand_of(plan.settings, plan.architecture, plan.runtime, taught)
    memory_plan, available = plan_of(demand), limit.limit(plan.runtime)
    if memory_plan is None:
        return {}
    of = f", of {size(available)}" if available else ""
    advice = limit.advice(demand, available)
    return {"memory": f"{memory_plan.words()}{of} on each replica{f'. TOO MUCH: {advice}' if advice else ''}"}


def _map_row(architecture: variants.AnyArchitecture) -> dict[str, str]:
    """What the model makes of an image's area."""
    rows, columns = architecture.grid
    if isinstance(architecture, variants.BitArchitecture):
        return {"feature map": f"{rows}x{columns} positions of {architecture.features:,} channels"}
    stem = f", cut from the map of a ResNet {architecture.stem}" if architecture.stem is not None else ""
    class_token = " and a class token" * bool(architecture.class_token)
    distillation_token = " and a distillation token" * architecture.distillation_token
    return {"tokens": f"{architecture.tokens}: {rows}x{columns} patches{class_token}{distillation_token}{stem}"}


def results(
    settings: TrainingSettings,
    loop_plan: loop.Plan,
    steps: Steps,
    seconds: float,
    history: keras.callbacks.History,
    monitor: Monitor,
) -> dict[str, Any]:
    """What results.json says of training.

    `val_` numbers are those of the last evaluation, `best_` those of the best. With early stopping the saved model is
    the one of `best_step`, otherwise that of `step`.

    Args:
        settings: Settings of the command.
        loop_plan: Length and rhythm of training.
        steps: Graph functions of the run.
        seconds: Spent training, without interruptions.
        history: Keras's History of the run.
        monitor: Monitor that chose between evaluations.
    """
    metrics: dict[str, Any] = {name: values[-1] for name, values in history.history.items() if name.startswith("val_")}
    if monitor.logged in history.history:
        values = history.history[monitor.logged]
        best = monitor.best(values)
        metrics |= {
            f"best_{monitor.logged}": values[best],
            "best_step": min(loop_plan.epoch_end(history.epoch[best]), steps.step),
        }
    examples = steps.step * settings.batch_size
    return metrics | {
        "step": steps.step,
        "examples": examples,
        "seconds": round(seconds, 2),
        "images_per_second": round(examples / seconds, 1),
        "skipped": steps.skipped,
        "precision": steps.model.dtype_policy.name,
        "seed": settings.seed,
        "versions": machine.versions(),
    }


def closing(metrics: dict[str, Any], run_dir: str, monitor: Monitor) -> str:
    """The last line of a training run."""
    names = (f"best_{monitor.logged}", f"test_{monitor.metric}")
    shown = {name.replace("_", " "): metrics[name] for name in names if name in metrics}
    percent = monitor.metric.endswith("accuracy")
    values = "".join(
        f", {name} {100 * value:.2f} %" if percent else f", {name} {value:.4f}" for name, value in shown.items()
    )
    if "baseline_test_accuracy" in metrics:
        values += f" (instant baseline {100 * metrics['baseline_test_accuracy']:.2f} %)"
    return (
        f"done: {metrics['step']:,} steps in {metrics['seconds']:.0f} s "
        f"({metrics['images_per_second']:,.0f} img/s){values}; see {run_dir.rstrip('/')}/"
    )


def table(rows: dict[str, str]) -> str:
    """Names and what is to be said of them, in two columns."""
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows.items())
