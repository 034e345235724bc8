"""Evaluates a model on a source.

Rows of the table come from --evaluations: `accuracy` is that of the model's own head, exact to the last example;
`fewshot` is the paper's linear probe on the model's features, for which its head may be any or none; `baselines` are
classical methods trained on the pixels of the other splits, for small data. See docs/evaluation.md.
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_vit.classifier import ImageClassifier
    from trainers.data.source import Source
    from trainers.engine.protocols import Runtime

from keras_vit.errors import UserError
from trainers import machine
from trainers.settings import command_line, splits
from trainers.settings.evaluation import EvaluationSettings

RESULTS = "evaluation.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(EvaluationSettings):
    """Settings of evaluation; every field is a flag of the same name."""

    def check(self) -> None:
        if not self.model:
            raise UserError("--model is needed: the folder of a run, a weight file, or the name of published weights.")
        unknown = sorted(set(self.evaluation_names) - set(EVALUATIONS))
        if unknown:
            raise UserError(f"Unknown --evaluations {unknown[0]!r}; choose among {', '.join(EVALUATIONS)}.")
        if self.per_class and "accuracy" not in self.evaluation_names:
            raise UserError(f"--per_class is about accuracy, which is not among --evaluations={self.evaluations}.")
        splits.parse(self.split)
        splits.parse(self.train_split)
        if min(self.shots) < 1:
            raise UserError(f"--fewshot_shots={self.fewshot_shots}: each number must be at least 1.")


def run(settings: Settings, callbacks: Sequence[Any] = ()) -> dict[str, float]:
    """Evaluates; prints a table and returns {row: value}. Keras callbacks are told of the model's own evaluation."""
    from trainers.data import sources
    from trainers.engine.runtime import start as start_runtime
    from trainers.inference import models

    if settings.output:
        claim(settings.output)
    runtime = start_runtime("one_device", "float32", 0)
    model = models.load(settings.model)
    source = sources.open_source(settings)
    source.ready()
    size = source.split(settings.split).size  # also to refuse a split that is not there
    rows: dict[str, float] = {}
    for name in settings.evaluation_names:
        rows |= EVALUATIONS[name](settings, model, source, runtime, callbacks)
    report_bad(source)
    if settings.output:
        write_results(settings, source, rows)
    print(table(rows, f"{source.name}, {settings.split}, {size:,} examples"))
    return rows


def report_bad(source: "Source") -> None:
    """Says which images were left out."""
    for split, places in source.bad.snapshot().items():
        print(f"left out of {split}, because they cannot be read: {len(places):,} images")
        for place, reason in sorted(places.items()):
            print(f"  {place}: {reason}")


def claim(output: str) -> None:
    """Makes the folder of `--output`, before any work is done for what would go there.

    Raises:
        UserError: if it cannot be made.
    """
    from keras_vit.errors import reason
    from trainers import files, run_dir

    run_dir.names_in(output, "output")
    try:
        files.make_folder(output)
    except files.ERRORS as error:
        raise UserError(f"--output={output} cannot be made: {reason(error)}.") from error


def write_results(settings: Settings, source: "Source", rows: dict[str, float]) -> None:
    """Writes what was measured, and of what, to a file in `--output`."""
    from trainers import files

    left_out = {split: len(places) for split, places in source.bad.snapshot().items()}
    fields = ("model", "source", "split", "train_split", "fewshot_shots", "fewshot_seeds")
    flags = {
        name: getattr(settings, name) for name in (fields if "fewshot" in settings.evaluation_names else fields[:3])
    }
    results = {"examples": source.split(settings.split).size, "left_out": left_out, "rows": rows}
    files.write_json(os.path.join(settings.output or "", RESULTS), {**flags, **results, "versions": machine.versions()})
    print(f"{RESULTS}: in {os.path.join(settings.output or '', '')}")


def table(rows: dict[str, float], title: str) -> str:
    """Rows in per cent; a row's spread stands beside it."""
    shown = {name: value for name, value in rows.items() if not name.endswith(SPREAD)}
    width = max(map(len, shown))
    lines = [f"Accuracy on {title}"]
    for name, value in shown.items():
        spread = f" ± {100 * rows[name + SPREAD]:.2f}" if name + SPREAD in rows else ""
        lines.append(f"  {name:<{width}}  {100 * value:6.2f} %{spread}")
    return "\n".join(lines)


SPREAD = " spread"  # after the name of a row, of which it is the standard deviation


# Imported only when run, because --help is not to wait for TensorFlow.


def accuracy(
    settings: Settings, model: "ImageClassifier", source: "Source", runtime: "Runtime", callbacks: Sequence[Any] = ()
) -> dict[str, float]:
    from trainers.evaluations import accuracy

    return accuracy.measure(settings, model, source, runtime, callbacks)


def fewshot(
    settings: Settings, model: "ImageClassifier", source: "Source", runtime: "Runtime", callbacks: Sequence[Any] = ()
) -> dict[str, float]:
    from trainers.evaluations import fewshot

    return fewshot.measure(settings, model, source, runtime, callbacks)


def baselines(
    settings: Settings, model: "ImageClassifier", source: "Source", runtime: "Runtime", callbacks: Sequence[Any] = ()
) -> dict[str, float]:
    from trainers.evaluations import baselines

    return baselines.measure(settings, model, source, runtime, callbacks)


EVALUATIONS = {"accuracy": accuracy, "fewshot": fewshot, "baselines": baselines}


if __name__ == "__main__":
    sys.exit(command_line.main(Settings, run, "evaluate"))
