"""An export from beginning to end: write, hold against the model, publish."""

import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from keras_vit import errors, weights
from keras_vit.cards import card
from keras_vit.errors import MissingPackage, UserError
from keras_vit.export import serving
from keras_vit.export.answering import Answering
from trainers import files, machine
from trainers.data import sources
from trainers.engine import runtime
from trainers.exporting import examples, formats, gate, publishing, report, runtimes, temperature
from trainers.exporting.examples import Examples
from trainers.exporting.report import Row
from trainers.inference import compatibility, source_model
from trainers.training import model_card

REPORT = "report.json"
ADVICE = "fine-tune it by trainers.finetune, or export its features: trainers.convert --change=num_classes=0."
Outputs = dict[str, np.ndarray]  # what the model answers, by output
TIMED = 20  # requests of one image, of which the median is told


class NotPublished(RuntimeError):
    """A file that says something else than its model."""

    exit_code = 1

    def __init__(self, message: str, exported: "Exported"):
        super().__init__(message)
        self.exported = exported


class Exported(NamedTuple):
    """What an export did.

    Args:
        path: Folder of the version; None where nothing was published, which only `NotPublished` tells of.
        rows: How each format compares in each runtime, the model itself first.
    """

    path: str | None
    rows: list[Row]


def export(settings: Any) -> Exported:
    """Exports what the settings of `trainers.export` ask for.

    Raises:
        UserError: for a model, source or folder that cannot be used; nothing is written then.
        MissingPackage: for a missing package, likewise.
        NotPublished: if anything did not pass; what did is published before, unless it was the SavedModel that failed.
    """
    check_packages(settings.asked)
    where = runtime.start("one_device", "float32", 0)
    output = publishing.check(settings.output)
    asked = source_model.load(settings.model)
    source = sources.open_source(settings) if settings.source else None
    check(settings, asked.model, source)
    answering = answering_for(settings, asked, source, where)
    for note in asked.notes:
        print(note)
    size = settings.tflite_image_size
    known = model_card.read(settings.model) or card.card_of_model(asked.model, settings.model)
    job = formats.Job(
        model=asked.model,
        name=publishing.name_of(settings.model),
        answering=answering,
        provenance=card.provenance(known),
        tflite_batch=settings.tflite_batch if settings.tflite_batch == "dynamic" else int(settings.tflite_batch),
        tflite_size=size if isinstance(size, tuple) else (size, size) if size else None,
        calibration=None if source is None else lambda: calibration(settings, asked.model, source),
    )
    shown = examples_for(settings, asked.model, source, job.tflite_size)
    with publishing.staged(output) as staging:
        rows = written(job, settings.asked, staging, shown)
        print(report.table(rows, f"{settings.model} on {shown.words}"))
        faulty = [name for name in settings.asked if any(row.faults for row in rows if row.format == name)]
        path = None
        if set(settings.asked) - set(faulty) and "saved_model" not in faulty:
            discard(faulty, staging)
            told = summary(settings, job, shown, rows)
            files.write_json(os.path.join(staging, REPORT), told)
            model_card.put(os.fspath(staging), card.with_export(known, told))
            if "saved_model" in settings.asked:
                configure(output, job.name)
            path = os.fspath(publishing.publish(staging, output))
            print(f"published in {path}/: {', '.join(sorted(os.listdir(path)))}")
    if faulty:
        faults = "; ".join(f"{row.format} ({row.runtime or 'opened'}) {fault}" for row in rows for fault in row.faults)
        what = "nothing was published" if path is None else f"{', '.join(faulty)} not published"
        raise NotPublished(f"{what}: {faults}.", Exported(path, rows))
    return Exported(path, rows)


def check_packages(asked: list[str]) -> None:
    """Raises ModuleNotFoundError if what writes or runs a format is not installed."""
    for name in asked:
        missing = formats.missing(name)
        if missing:
            raise MissingPackage(
                f"--formats={name} needs {', '.join(missing)}, not installed here; from a clone, "
                f"pip install -e '.[{formats.PACKAGES[missing[0]]}]'.",
                name=missing[0],
            )


def check(settings, model, source) -> None:
    """Raises UserError for a model whose answers would tell nothing, or a source that is not one for it."""
    name = f"--model={settings.model}"
    if model.architecture.channels not in (1, 3):
        raise UserError(f"{name} takes images of {model.architecture.channels} channels; pictures have 1 or 3.")
    if model.architecture.num_classes and weights.head_is_zero(model):
        raise UserError(f"{name} has a head of zeros, as published for fine-tuning, so answers tell nothing; {ADVICE}")
    if source is None:
        return
    if model.architecture.num_classes:
        compatibility.check_classes(model, source, name, ADVICE)
    else:
        compatibility.check_images(model, source, name)
    source.ready()


def examples_for(settings, model, source, size: tuple[int, int] | None) -> Examples:
    """The images to compare on: of the source, or generated where there is none; of one size where a file wants one."""
    shape = model.architecture.image_shape
    if source is None:
        shown = examples.generated(shape, settings.check_images)
    else:
        shown = examples.from_source(source, settings.split, settings.check_images)
    return shown if size is None else examples.resized(shown, size, shape[-1])


def answering_for(settings, asked: source_model.SourceModel, source, where) -> Answering:
    """How logits become an answer: what the flags say, the run where they say nothing, and the labels if asked."""
    kind = asked.answering.probabilities if settings.probabilities == "auto" else settings.probabilities
    degree = settings.temperature
    if settings.fit_temperature:
        degree = temperature.fitted(settings, asked.model, source, where, kind)
    return Answering(probabilities=kind, temperature=degree, top=settings.top)


def calibration(settings, model, source):
    """Decoded images of the calibration split, one after the other."""
    found = examples.from_source(source, settings.calibration_split, settings.calibration_images)
    return (examples.decoded(encoded, model.architecture.channels) for encoded in found.encoded)


def written(job: formats.Job, asked: list[str], staging: pathlib.Path, shown: Examples) -> list[Row]:
    """Writes every format into a folder, and compares it there; the model's own row comes first."""
    own = runtimes.of_keras(job.model, job.answering)
    with tqdm(total=len(asked) + 1, unit="file", leave=False, delay=2) as bar:
        bar.set_description("answers of the model", refresh=False)
        ours = runtimes.all_outputs(own, shown.encoded)
        rows = [model_row(job, ours, shown, own)]
        for name in asked:
            bar.update()
            bar.set_description(name, refresh=False)
            formats.FORMATS[name].write(job, staging / formats.FORMATS[name].file)
            rows += compared(job, name, staging / formats.FORMATS[name].file, ours, shown)
        bar.update()
    return rows


def model_row(job: formats.Job, ours: Outputs, shown: Examples, own: Callable) -> Row:
    """The model itself beside what is made of it."""
    answers = ours[runtimes.main_output(job.model)]
    found = gate.compare(answers, answers, shown.labels, job.answering if job.model.architecture.num_classes else None)
    size = 4 * sum(int(np.prod(variable.shape)) for variable in job.model.weights)
    return Row("model", "Keras", "", size, milliseconds(own, shown), found)


def compared(job: formats.Job, name: str, path: pathlib.Path, ours: Outputs, shown: Examples) -> list[Row]:
    """A format in each of its runtimes, of which the first is timed."""
    file, limit, size = formats.FORMATS[name].file, formats.FORMATS[name].limit, size_of(path)
    rows: list[Row] = []
    try:
        with formats.FORMATS[name].opened(path, job.model) as opened:
            for each in opened:
                answering = job.answering if each.output == runtimes.PROBABILITIES else None
                theirs = runtimes.all_answers(each.answer, shown.encoded)
                found = gate.compare(ours[each.output], theirs, shown.labels, answering)
                took = None if rows else milliseconds(each.answer, shown)
                faults = tuple(found.faults(limit))
                rows.append(Row(name, each.name, file, None if rows else size, took, found, faults))
    except Exception as error:  # runtimes raise whatever they like, and any of it is a fault of the file
        rows.append(Row(name, "", file, size, None, None, (f"cannot be used: {errors.reason(error)}",)))
    return rows


def milliseconds(answer: Callable, shown: Examples) -> float:
    """Median time of requests of one image each, after one of each that does not count."""
    requests = [[shown.encoded[number % len(shown.encoded)]] for number in range(TIMED)]
    for request in requests:
        answer(request)
    times = []
    for request in requests:
        begin = time.perf_counter()
        answer(request)
        times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times)


def size_of(path: pathlib.Path) -> int:
    """Bytes of a file; of a SavedModel's folder those that a server reads."""
    if path.is_file():
        return path.stat().st_size
    parts = [path / "saved_model.pb", *(path / "variables").rglob("*"), *(path / "assets").rglob("*")]
    return sum(file.stat().st_size for file in parts if file.is_file())


def discard(faulty: list[str], staging: pathlib.Path) -> None:
    """Removes files that did not pass."""
    for name in faulty:
        (staging / formats.FORMATS[name].file).unlink()


def summary(settings, job: formats.Job, shown: Examples, rows: list[Row]) -> dict[str, Any]:
    """Contents of report.json, and of the card's part about the export."""
    return {
        "model": settings.model,
        "images": shown.words,
        "probabilities": job.answering.probabilities,
        "temperature": job.answering.temperature,
        "formats": {
            f"{row.format} ({row.runtime})": value
            for row, value in zip(rows, report.plain(rows), strict=True)
            if not row.faults
        },
        "refused": {row.format: list(row.faults) for row in rows if row.faults},
        "versions": machine.versions(),
    }


def configure(output: pathlib.Path, name: str) -> None:
    """The files that tell a server of the model, where there are none: somebody may have changed them."""
    contents = {
        serving.MODELS_CONFIG: serving.models_config(name, f"/models/{name}"),
        serving.BATCHING_CONFIG: serving.batching_config(),
    }
    for file, content in contents.items():
        if not (output / file).exists():
            files.write_text(os.fspath(output / file), content)
