"""The paper's protocol (section 4.1, appendix B.1.1): choose the learning rate on held-out training examples, train on
all with it, test once; several seeds give mean and spread.

Every training is a run in a folder of its own below the run's, resumed or left alone when the same command is given
again.
"""

import contextlib
import dataclasses
import json
import math
import os
import re
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from keras_vit.errors import UserError
from trainers import files, machine, run_dir
from trainers.data.source import Source
from trainers.engine.endings import NotFinite
from trainers.engine.workers import Workers
from trainers.inference import models
from trainers.settings import flags, splits
from trainers.settings.finetuning import FinetuningSettings
from trainers.training import model_card, resume
from trainers.training.plan import Plan
from trainers.training.train import Result


class Means(NamedTuple):
    """How a single training is done.

    Args:
        plan: Function from its settings to its plan, without any effect.
        run: Function from its settings to its result.
    """

    plan: Callable[[FinetuningSettings], Plan]
    run: Callable[[FinetuningSettings], Result]


def has_parts(settings: FinetuningSettings) -> bool:
    """Whether the settings ask for more than one training."""
    return bool(settings.rates or settings.several_seeds)


def run(settings: FinetuningSettings, source: Source, workers: Workers, means: Means) -> Result:
    """Everything that the settings ask for; the result's model is the first seed's.

    Args:
        settings: Settings of `trainers.finetune`.
        source: Opened source.
        workers: The processes of the run.
        means: Functions by which a single training is done.

    Raises:
        UserError: if anything does not fit together, the last of the trainings included; nothing is written then.
    """
    tried = searches(settings, source) if settings.learning_rates else []
    if tried and not settings.dry_run:
        source.ready()
        check_order(*held_out(settings.train_split, source, settings.held_out), source)
    trials = finals(settings, settings.learning_rate)
    for part in [*tried[:1], trials[0]]:
        means.plan(dataclasses.replace(part, resume="never", overwrite=True))
    if settings.dry_run:
        if workers.is_chief:
            names = ", ".join(os.path.basename(part.run_dir) for part in [*tried, *trials])
            print(f"{len(tried) + len(trials)} runs in {settings.run_dir}/: {names}")
        return means.run((tried or trials)[0])
    with contextlib.ExitStack() as claims:
        resumed = workers.on_chief(lambda: _claim(settings, claims))
        begun = dataclasses.replace(settings, overwrite=True, resume="auto" if resumed else "never")
        search: dict[str, Any] = {}
        rate = settings.learning_rate
        if settings.learning_rates:
            search = _searched(begun, source, workers, means)
            rate = search["learning_rate"]
        trials = finals(begun, rate)
        runs = {str(trial.seed): _metrics(trial, workers, means) for trial in trials}
        metrics = search | {"runs": runs} | spread(list(runs.values())) | {"versions": machine.versions()}
        if workers.is_chief:
            _publish(settings, trials[0], metrics)
        workers.any(False)
    model = models.load(settings.run_dir, "run_dir") if workers.is_chief else None
    return Result(model, None, metrics, settings.run_dir if workers.is_chief else None)


def searches(settings: FinetuningSettings, source: Source) -> list[FinetuningSettings]:
    """A run for each learning rate, on the training split less what is held out."""
    train, held = held_out(settings.train_split, source, settings.held_out)
    return [
        _part(settings, f"rate_{rate}", learning_rate=rate, train_split=train, validation_split=held, test_split="none")
        for rate in settings.rates
    ]


def finals(settings: FinetuningSettings, rate: float) -> list[FinetuningSettings]:
    """A run for each seed, on the whole training split."""
    seeds = settings.several_seeds or (settings.seed,)
    return [
        _part(settings, f"seed_{seed}", learning_rate=rate, seed=seed, baseline=settings.baseline and seed == seeds[0])
        for seed in seeds
    ]


def _part(settings: FinetuningSettings, name: str, **changes: Any) -> FinetuningSettings:
    fields = {"baseline": False} | changes
    folder = os.path.join(settings.run_dir, name)
    return dataclasses.replace(settings, learning_rates="", seeds="", run_dir=folder, **fields)


def _searched(settings: FinetuningSettings, source: Source, workers: Workers, means: Means) -> dict[str, Any]:
    """The best learning rate, and the accuracy of each on held-out examples; None where training diverged.

    Of equal accuracies, which are common on few examples, the one with the lower loss is better.

    Raises:
        NotFinite: if it did with all of them.
    """
    accuracies: dict[float, float | None] = {}
    losses: dict[float, float] = {}
    for trial in searches(settings, source):
        metrics = _metrics(trial, workers, means, may_diverge=True)
        name = "best_val_accuracy" if settings.early_stopping else "val_accuracy"
        if name not in metrics and DIVERGED not in metrics:
            raise UserError(f"--held_out={settings.held_out}: no held-out example has a label that can be read.")
        accuracies[trial.learning_rate] = metrics.get(name)
        losses[trial.learning_rate] = metrics.get("val_loss", math.inf)
    finished = {rate: value for rate, value in accuracies.items() if value is not None}
    if not finished:
        raise NotFinite(f"Training diverged with each of --learning_rates={settings.learning_rates}; try smaller ones.")
    best = max(finished, key=lambda rate: (finished[rate], -losses[rate]))
    return {"learning_rate": best, "val_accuracy_of_rates": {str(rate): value for rate, value in accuracies.items()}}


DIVERGED = "diverged"  # in the results of a search whose gradients were not finite


def held_out(expression: str, source: Source, share: float) -> tuple[str, str]:
    """A split without its end, and that end.

    Args:
        expression: Such as train, train[:1000] or train+validation; the end of each term is held out.
        source: Opened source.
        share: Share that is held out.

    Raises:
        UserError: if nothing would be left on either side, or the end has classes of its own.
    """
    trained, held = [], []
    source.intervals(expression)  # for its errors
    for term in splits.parse(expression):
        first, last = splits.bounds(term, sum(part.size for part in source.intervals(term.name)))
        cut = last - round(share * (last - first))
        if not first < cut < last:
            raise UserError(f"--held_out={share} of {last - first:,} examples of {term.name} leaves one side empty.")
        trained.append(f"{term.name}[{first}:{cut}]")
        held.append(f"{term.name}[{cut}:{last}]")
    return "+".join(trained), "+".join(held)


def check_order(train: str, held: str, source: Source) -> None:
    """Raises UserError if held-out examples have classes that are not trained: then the split is sorted by class."""
    learned, tested = (np.unique(source.split(split).positives()[1]) for split in (train, held))
    alone = np.setdiff1d(tested, learned)
    if len(alone):
        name = source.class_names[alone[0]] if source.class_names else alone[0]
        raise UserError(
            f"--held_out would take all examples of {len(alone)} classes, such as {name}: those of {source.name} are "
            "sorted by class. Write them in another order, or choose the learning rate by --validation_split."
        )


def spread(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Mean of every measure over runs, and with `_spread` its standard deviation (of the sample, n - 1).

    The baseline is the first run's.
    """
    means: dict[str, float] = {}
    names = [name for name in runs[0] if re.fullmatch(r"(val|test)_(loss|.*accuracy|macro_f1|map)", name)]
    for name in names:
        values = [run[name] for run in runs]
        means[name] = statistics.fmean(values)
        means[f"{name}_spread"] = statistics.stdev(values) if len(values) > 1 else 0.0
    return means | {name: value for name, value in runs[0].items() if name.startswith("baseline_")}


def table(metrics: dict[str, Any]) -> str:
    """What came out, in words."""
    lines = []
    for rate, value in metrics.get("val_accuracy_of_rates", {}).items():
        accuracy = "diverged" if value is None else f"{100 * value:.2f} % on held-out examples"
        lines.append(f"learning rate {rate}: {accuracy}{' (chosen)' * (float(rate) == metrics['learning_rate'])}")
    for kind in ("val", "test"):
        if f"{kind}_accuracy" in metrics:
            values = ", ".join(f"{100 * run[f'{kind}_accuracy']:.2f}" for run in metrics["runs"].values())
            mean, deviation = (100 * metrics[f"{kind}_accuracy{suffix}"] for suffix in ("", "_spread"))
            several = f" +- {deviation:.2f} % over {len(metrics['runs'])} seeds ({values})"
            lines.append(f"{kind} accuracy {mean:.2f}" + (several if len(metrics["runs"]) > 1 else " %"))
    return "\n".join(lines)


def _claim(settings: FinetuningSettings, claims: contextlib.ExitStack) -> bool:
    """Takes the folder for this process; returns whether the runs below it go on."""
    run_dir.check(settings.run_dir, settings.overwrite)
    begun = any(name.startswith(run_dir.PARTS) for name in run_dir.names_in(settings.run_dir, "run_dir"))
    resumed = resume.resumes(settings, begun)
    claims.enter_context(run_dir.claimed(settings.run_dir, flags.to_flagfile(settings), settings.overwrite, resumed))
    return resumed


def _metrics(trial: FinetuningSettings, workers: Workers, means: Means, may_diverge: bool = False) -> dict[str, Any]:
    """Results of a part, from its folder where it has finished. Where training diverged, they say so."""
    done = workers.on_chief(lambda: _finished(trial))
    if done is not None:
        return done
    if workers.is_chief:
        print(f"\n{trial.run_dir}", flush=True)
    try:
        return workers.from_chief(means.run(trial).metrics)
    except NotFinite as error:
        if not may_diverge:
            raise
        metrics = {DIVERGED: str(error)}
        if workers.is_chief:
            print(f"{trial.run_dir}: {error}", flush=True)
            files.write_json(os.path.join(trial.run_dir, run_dir.RESULTS), metrics)
        return metrics


def _finished(trial: FinetuningSettings) -> dict[str, Any] | None:
    """Results of a part that an earlier start of the same command finished."""
    path = os.path.join(trial.run_dir, run_dir.RESULTS)
    if trial.resume == "never" or not files.exists(path):
        return None
    return json.loads(files.read_text(path))


def _publish(settings: FinetuningSettings, first: FinetuningSettings, metrics: dict[str, Any]) -> None:
    """Puts the first seed's model, and everybody's results, into the run's folder."""
    source = os.path.join(first.run_dir, run_dir.MODEL)
    files.replace_with(os.path.join(settings.run_dir, run_dir.MODEL), lambda path: files.copy(source, path))
    model_card.write_of_parts(settings, first.run_dir, metrics)
    files.write_json(os.path.join(settings.run_dir, run_dir.RESULTS), metrics)
    print(f"\n{table(metrics)}\nsee {settings.run_dir.rstrip('/')}/")
