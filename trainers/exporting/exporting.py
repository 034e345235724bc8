"""An export from beginning to end: write, hold against the model, publish."""

import os
import pathlib
import statistics
import time
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from keras_vit.export import card, serving
from keras_vit.export.answering import Answering
from trainers.artefacts import source_model
from trainers.data import sources
from trainers.engine import runtime
from trainers.exporting import examples, gate, publishing, report, runtimes, temperature
from trainers.exporting.examples import Examples
from trainers.exporting.formats import FORMATS, Job
from trainers.exporting.report import Row
from trainers.exporting.runtimes import Answer
from trainers.runs import cards, folder

REPORT = "report.json"
TIMED = 20  # requests of one image, of which the median is told


class NotPublished(RuntimeError):
    """A file that says something else than its model."""

    exit_code = 1


class Exported(NamedTuple):
    """What an export did.

    Args:
        path: Folder of the version; None where nothing was published.
        rows: How each format compares in each runtime, the model itself first.
    """

    path: str | None
    rows: list[Row]


def export(settings: Any) -> Exported:
    """Exports what the settings of `trainers.export` ask for.

    Raises:
        ValueError: for a model, source or folder that cannot be used; nothing is written then.
        ModuleNotFoundError: for a missing package, likewise.
        NotPublished: after what passed was published, if anything did not.
    """
    where = runtime.start("one_device", "float32", 0)
    output = publishing.check(settings.output)
    asked = source_model.load(settings.model)
    source = sources.open_source(settings) if settings.source else None
    if source is not None:
        check(settings, asked.model, source)
    answering = answering_for(settings, asked, source, where)
    for note in asked.notes:
        print(note)
    size = settings.tflite_image_size
    known = cards.read(settings.model) or card.card_of_model(asked.model, settings.model)
    job = Job(
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
            folder.write_json(os.path.join(staging, REPORT), told)
            cards.put(os.fspath(staging), card.with_export(known, told))
            path = os.fspath(publishing.publish(staging, output))
            if "saved_model" in settings.asked:
                configure(output, job.name)
            print(f"published in {path}/: {', '.join(sorted(os.listdir(path)))}")
    if faulty:
        faults = "; ".join(f"{row.format} ({row.runtime}) {fault}" for row in rows for fault in row.faults)
        what = "nothing was published" if path is None else f"{', '.join(faulty)} not published"
        raise NotPublished(f"{what}: {faults}.")
    return Exported(path, rows)


def check(settings, model, source) -> None:
    """Raises ValueError if the source is not one of images and classes that the model knows."""
    architecture = model.architecture
    if architecture.channels != source.channels:
        raise ValueError(
            f"--model={settings.model} takes images of {architecture.channels} channels; --source={settings.source} "
            f"has {source.channels}."
        )
    if architecture.num_classes and architecture.num_classes != source.num_classes:
        raise ValueError(
            f"--model={settings.model} has {architecture.num_classes} classes; --source={settings.source} has "
            f"{source.num_classes}."
        )
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


def written(job: Job, asked: list[str], staging: pathlib.Path, shown: Examples) -> list[Row]:
    """Writes every format into a folder, and compares it there; the model's own row comes first."""
    own = runtimes.of_keras(job.model, job.answering)
    with tqdm(total=len(asked) + 1, unit="file", leave=False, delay=2) as bar:
        bar.set_description("answers of the model", refresh=False)
        ours = runtimes.all_answers(own, shown.encoded)
        rows = [model_row(job, ours, shown, own)]
        for name in asked:
            bar.update()
            bar.set_description(name, refresh=False)
            row = FORMATS[name]
            path = staging / row.file
            row.write(job, path)
            with row.opened(path, job.model) as opened:
                rows += [
                    compared(job, name, path, runtime, answer, ours, shown, timed=number == 0)
                    for number, (runtime, answer) in enumerate(opened.items())
                ]
        bar.update()
    return rows


def model_row(job: Job, ours: np.ndarray, shown: Examples, own: Answer) -> Row:
    """The model itself beside what is made of it."""
    found = gate.compare(ours, ours, shown.labels, job.answering if job.model.architecture.num_classes else None)
    size = 4 * sum(int(np.prod(variable.shape)) for variable in job.model.weights)
    return Row("model", "Keras", "", size, milliseconds(own, shown), found)


def compared(
    job: Job,
    name: str,
    path: pathlib.Path,
    runtime: str,
    answer: Answer,
    ours: np.ndarray,
    shown: Examples,
    timed: bool,
) -> Row:
    """A format in one runtime; only a first one is timed."""
    theirs = runtimes.all_answers(answer, shown.encoded)
    found = gate.compare(ours, theirs, shown.labels, job.answering if job.model.architecture.num_classes else None)
    faults = found.faults(FORMATS[name].limit)
    took = milliseconds(answer, shown) if timed else None
    return Row(name, runtime, FORMATS[name].file, size_of(path) if timed else None, took, found, tuple(faults))


def milliseconds(answer: Answer, shown: Examples) -> float:
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
    files = [path / "saved_model.pb", *(path / "variables").rglob("*"), *(path / "assets").rglob("*")]
    return sum(file.stat().st_size for file in files if file.is_file())


def discard(faulty: list[str], staging: pathlib.Path) -> None:
    """Removes files that did not pass."""
    for name in faulty:
        (staging / FORMATS[name].file).unlink()


def summary(settings, job: Job, shown: Examples, rows: list[Row]) -> dict[str, Any]:
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
        "versions": folder.versions(),
    }


def configure(output: pathlib.Path, name: str) -> None:
    """The files that tell a server of the model; they are the same for all versions."""
    folder.write_text(os.fspath(output / serving.MODELS_CONFIG), serving.models_config(name, f"/models/{name}"))
    folder.write_text(os.fspath(output / serving.BATCHING_CONFIG), serving.batching_config())
