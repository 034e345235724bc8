"""An export from beginning to end: write, hold against the model, publish."""

import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from keras_vit import weights
from keras_vit.cards import card
from keras_vit.classifier import ImageClassifier
from keras_vit.errors import UserError
from keras_vit.export import serving
from trainers import files
from trainers.data import sources
from trainers.data.source import Source
from trainers.engine.runtime import start as start_runtime
from trainers.exporting import comparing, examples, formats, publishing, report, temperature
from trainers.exporting.examples import Examples
from trainers.exporting.report import Row
from trainers.inference import compatibility, source_model
from trainers.settings.export import ExportSettings
from trainers.training import model_card

REPORT = "report.json"
ADVICE = "fine-tune it by trainers.finetune, or export its features: trainers.convert --change=num_classes=0."


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
        rows: Rows of how each format compares in each runtime, the model itself first.
    """

    path: str | None
    rows: list[Row]


def export(settings: ExportSettings) -> Exported:
    """Exports what the settings of `trainers.export` ask for.

    Raises:
        UserError: for a model, source or folder that cannot be used; nothing is written then.
        MissingPackage: for a missing package, likewise.
        NotPublished: if anything did not pass; what did is published before, unless it was the SavedModel that failed.
    """
    formats.check_packages(settings.format_names)
    runtime = start_runtime("one_device", "float32", 0)
    output = publishing.check(settings.output)
    loaded = source_model.load(settings.model)
    source = sources.open_source(settings) if settings.source else None
    check(f"--model={settings.model}", loaded.model, source)
    answering = temperature.answering_for(settings, loaded, source, runtime)
    for note in loaded.notes:
        print(note)
    known = model_card.read(settings.model) or card.card_of_model(loaded.model, settings.model)
    size = settings.tflite_image_size
    job = formats.Job(
        model=loaded.model,
        name=publishing.name_of(settings.model),
        answering=answering,
        provenance=card.provenance(known),
        tflite_batch=settings.tflite_batch if settings.tflite_batch == "dynamic" else int(settings.tflite_batch),
        tflite_size=size if isinstance(size, tuple) or size is None else (size, size),
        calibration=None if source is None else lambda: calibration(settings, loaded.model, source),
    )
    shown = examples_for(settings, loaded.model, source, job.tflite_size)
    with publishing.staged(output) as staging:
        rows = comparing.written(job, settings.format_names, staging, shown)
        print(report.table(rows, f"{settings.model} on {shown.words}"))
        faulty = [name for name in settings.format_names if any(row.faults for row in rows if row.format == name)]
        path = None
        if set(settings.format_names) - set(faulty) and "saved_model" not in faulty:
            for name in faulty:
                (staging / formats.FORMATS[name].file).unlink()
            summary = report.summary(settings.model, shown.words, answering, rows)
            files.write_json(os.path.join(staging, REPORT), summary)
            model_card.put(os.fspath(staging), card.with_export(known, summary))
            if "saved_model" in settings.format_names:
                configure(output, job.name)
            path = os.fspath(publishing.publish(staging, output))
            print(f"published in {path}/: {', '.join(sorted(os.listdir(path)))}")
    if faulty:
        faults = "; ".join(f"{row.format} ({row.runtime or 'opened'}) {fault}" for row in rows for fault in row.faults)
        what = "nothing was published" if path is None else f"{', '.join(faulty)} not published"
        raise NotPublished(f"{what}: {faults}.", Exported(path, rows))
    return Exported(path, rows)


def check(name: str, model: ImageClassifier, source: Source | None) -> None:
    """Raises UserError for a model whose answers would tell nothing, or a source that is not one for it."""
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


def examples_for(
    settings: ExportSettings, model: ImageClassifier, source: Source | None, size: tuple[int, int] | None
) -> Examples:
    """The images to compare on: of the source, or generated where there is none; of one size where a file wants one."""
    shape = model.architecture.image_shape
    if source is None:
        shown = examples.generated(shape, settings.check_images)
    else:
        shown = examples.from_source(source, settings.split, settings.check_images)
    return shown if size is None else examples.resized(shown, size, shape[-1])


def calibration(settings: ExportSettings, model: ImageClassifier, source: Source) -> Iterator[np.ndarray]:
    """Decoded images of the calibration split, one after the other."""
    chosen = examples.from_source(source, settings.calibration_split, settings.calibration_images)
    return (examples.decoded(encoded, model.architecture.channels) for encoded in chosen.encoded)


def configure(output: pathlib.Path, name: str) -> None:
    """The files that tell a server of the model, where there are none: somebody may have changed them."""
    contents = {
        serving.MODELS_CONFIG: serving.models_config(name, f"/models/{name}"),
        serving.BATCHING_CONFIG: serving.batching_config(),
    }
    for file, content in contents.items():
        if not (output / file).exists():
            files.write_text(os.fspath(output / file), content)
