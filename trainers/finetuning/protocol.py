"""The paper's protocol (section 4.1, appendix B.1.1): choose the learning rate on held-out training examples, train on
all with it, test once; several seeds give mean and spread.

Every training is a run in a folder of its own below the run's, resumed or left alone when the same command is given
again.
"""

import contextlib
import dataclasses
import json
import os
import re
import statistics
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trainers.engine.workers import Workers
from trainers.runs import folder, planning, resumption
from trainers.runs.training import Result
from trainers.settings import finetuning_group, flags, splits

RunOne = Callable[[Any], Result]


def has_parts(settings: Any) -> bool:
    """Whether the settings ask for more than one training."""
    return bool(settings.learning_rates or settings.seeds)


def run(settings: Any, source, where, run_one: RunOne) -> Result:
    """Everything that the settings ask for.

    Args:
        settings: Of `trainers.finetune`.
        source: Opened source.
        where: Runtime.
        run_one: Carries out settings that ask for a single training.

    Raises:
        ValueError: if the folder may not be used; and what `run_one` raises.
    """
    if settings.dry_run:
        return _dry(settings, source, where, run_one)
    workers = planning.workers_of(settings, source, where)
    with contextlib.ExitStack() as claims:
        resumed = workers.on_chief(lambda: _claim(settings, claims))
        begun = dataclasses.replace(settings, overwrite=True, resume="auto" if resumed else "never")
        found: dict[str, Any] = {}
        rate = settings.learning_rate
        if settings.learning_rates:
            accuracies = {
                trial.learning_rate: _metrics(trial, workers, run_one)["val_accuracy"]
                for trial in searches(begun, source)
            }
            rate = max(accuracies, key=lambda tried: accuracies[tried])
            found = {"learning_rate": rate, "val_accuracy_of_rates": {f"{k:g}": v for k, v in accuracies.items()}}
        trials = finals(begun, rate)
        runs = {str(trial.seed): _metrics(trial, workers, run_one) for trial in trials}
        metrics = found | {"runs": runs} | spread(list(runs.values())) | {"versions": folder.versions()}
        if workers.is_chief:
            _publish(settings, trials[0], metrics)
        workers.any(False)
    return Result(None, None, metrics, settings.run_dir if workers.is_chief else None)


def searches(settings: Any, source) -> list[Any]:
    """A run for each learning rate, on the training split less what is held out."""
    train, held = held_out(settings.train_split, source, settings.held_out)
    return [
        _part(
            settings, f"rate_{rate:g}", learning_rate=rate, train_split=train, validation_split=held, test_split="none"
        )
        for rate in finetuning_group.numbers("learning_rates", settings.learning_rates, float)
    ]


def finals(settings: Any, rate: float) -> list[Any]:
    """A run for each seed, on the whole training split."""
    seeds = finetuning_group.numbers("seeds", settings.seeds, int) or [settings.seed]
    return [
        _part(settings, f"seed_{seed}", learning_rate=rate, seed=seed, baseline=settings.baseline and seed == seeds[0])
        for seed in seeds
    ]


def _part(settings: Any, name: str, **changes: Any) -> Any:
    kept = {"baseline": False} | changes
    run_dir = os.path.join(settings.run_dir, name)
    return dataclasses.replace(settings, learning_rates="", seeds="", run_dir=run_dir, **kept)


def held_out(expression: str, source, share: float) -> tuple[str, str]:
    """A split without its end, and that end.

    Args:
        expression: Such as train, train[:1000] or train+validation; the end of each term is held out.
        source: Opened source.
        share: That is held out.

    Raises:
        UsageError: if nothing would be left on either side.
    """
    kept, held = [], []
    source.intervals(expression)  # for its errors
    for term in splits.parse(expression):
        first, last = splits.bounds(term, sum(part.size for part in source.intervals(term.name)))
        cut = last - round(share * (last - first))
        if not first < cut < last:
            raise flags.UsageError(
                f"--held_out={share} of {last - first:,} examples of {term.name} leaves one side empty."
            )
        kept.append(f"{term.name}[{first}:{cut}]")
        held.append(f"{term.name}[{cut}:{last}]")
    return "+".join(kept), "+".join(held)


def spread(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Mean of every accuracy and loss over runs, and with `_spread` its standard deviation (of the sample, n - 1)."""
    found: dict[str, float] = {}
    names = [name for name in runs[0] if re.fullmatch(r"(val|test)_(loss|.*accuracy|macro_f1|map)", name)]
    for name in names:
        values = [run[name] for run in runs]
        found[name] = statistics.fmean(values)
        found[f"{name}_spread"] = statistics.stdev(values) if len(values) > 1 else 0.0
    return found


def table(metrics: dict[str, Any]) -> str:
    """What came out, in words."""
    lines = [
        f"learning rate {rate}: {100 * value:.2f} % on held-out examples" + (" (chosen)" if chosen else "")
        for rate, value in metrics.get("val_accuracy_of_rates", {}).items()
        for chosen in [float(rate) == metrics["learning_rate"]]
    ]
    for kind in ("val", "test"):
        if f"{kind}_accuracy" in metrics:
            values = ", ".join(f"{100 * run[f'{kind}_accuracy']:.2f}" for run in metrics["runs"].values())
            mean, deviation = (100 * metrics[f"{kind}_accuracy{suffix}"] for suffix in ("", "_spread"))
            several = f" +- {deviation:.2f} % over {len(metrics['runs'])} seeds ({values})"
            lines.append(f"{kind} accuracy {mean:.2f}" + (several if len(metrics["runs"]) > 1 else " %"))
    return "\n".join(lines)


def _dry(settings: Any, source, where, run_one: RunOne) -> Result:
    """Tells which runs there would be, and the plan of the first."""
    parts = [
        *(searches(settings, source) if settings.learning_rates else []),
        *finals(settings, settings.learning_rate),
    ]
    if where.is_chief:
        print(
            f"{len(parts)} runs in {settings.run_dir}/: {', '.join(os.path.basename(part.run_dir) for part in parts)}"
        )
    return run_one(parts[0])


def _claim(settings: Any, claims: contextlib.ExitStack) -> bool:
    """Takes the folder for this process; returns whether the runs below it go on."""
    folder.check(settings.run_dir, settings.overwrite)
    begun = any(name.startswith(("rate_", "seed_")) for name in folder.names_in(settings.run_dir, "run_dir"))
    resumed = resumption.resumes(settings, begun)
    claims.enter_context(folder.claimed(settings.run_dir, flags.to_flagfile(settings), settings.overwrite, resumed))
    return resumed


def _metrics(trial: Any, workers: Workers, run_one: RunOne) -> dict[str, Any]:
    """Results of a part, from its folder where it has finished."""
    done = workers.on_chief(lambda: _finished(trial))
    if done is not None:
        return done
    if workers.is_chief:
        print(f"\n{trial.run_dir}", flush=True)
    return workers.from_chief(run_one(trial).metrics)


def _finished(trial: Any) -> dict[str, Any] | None:
    """Results of a part that an earlier start of the same command finished."""
    path = os.path.join(trial.run_dir, folder.RESULTS)
    if trial.resume == "never" or not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path, "r") as file:
        return json.loads(file.read())


def _publish(settings: Any, first: Any, metrics: dict[str, Any]) -> None:
    """Puts the first seed's model, and everybody's results, into the run's folder."""
    source = os.path.join(first.run_dir, folder.MODEL)
    folder.replace_with(
        os.path.join(settings.run_dir, folder.MODEL), lambda path: tf.io.gfile.copy(source, path, overwrite=True)
    )
    folder.write_json(os.path.join(settings.run_dir, folder.RESULTS), metrics)
    print(f"\n{table(metrics)}\nsee {settings.run_dir.rstrip('/')}/")
