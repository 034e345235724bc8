"""Looks at a source before money is spent on it; without one, at this machine.

Every image of --source is decoded once. Reported are images that cannot be read, images that are there twice (also in
two splits, under two labels, or in a source named with --against), how many examples each class has, sizes and
formats, and how fast the training pipeline is. With --output a folder is written: doctor.json, findings.csv,
duplicates.csv, bad_images.csv and a contact sheet of each split. Without, nothing is written.
"""

import dataclasses
import functools
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_vit.preprocessing import Preprocessing
    from trainers.data.source import Source
    from trainers.inspection.subject import Subject

from keras_vit.errors import UserError
from trainers import machine
from trainers.settings import command_line, flags, splits
from trainers.settings.inspection import InspectionSettings

SHOWN = 5  # images of a finding that are printed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(InspectionSettings):
    """Settings of the doctor; every field is a flag of the same name."""


def run(settings: Settings, callbacks: Sequence[Any] = ()) -> dict[str, Any]:
    """Reports, and returns what doctor.json says. Nothing for callbacks to watch."""
    from trainers.inspection import report_folder

    if settings.output:
        report_folder.check(settings.output)
    return inspect_source(settings) if settings.source else inspect_machine(settings)


def inspect_machine(settings: Settings) -> dict[str, Any]:
    """Prints what a run would find on this machine, writes it where asked, and returns it."""
    from trainers.inspection import environment

    make_output(settings)
    report = {"environment": environment.report(settings.data_dir)}
    print(environment.text(report["environment"]))
    written(settings, report, {}, ())
    return report


def inspect_source(settings: Settings) -> dict[str, Any]:
    """Prints what is found in a source, writes it where asked, and returns it."""
    from trainers.data import pipeline
    from trainers.inspection import report, report_folder, subject

    source, others = opened(settings), {}
    for name in settings.others:
        others[name] = other = opened(dataclasses.replace(settings, source=name, against="", output=""))
        if is_same(source, other):
            raise UserError(f"--against={name} is the --source itself, and has all of its images.")
    names = splits_of(settings, source)
    preprocessing = pipeline.preprocessing_for(settings.image_size, settings)
    batches = functools.partial(
        pipeline.TrainingData,
        source.split(names[0], settings.subset),
        settings.batch_size,
        preprocessing,
        settings,
        seed=settings.seed,
        shuffle=settings.shuffle,
        sampling=settings.sampling,
        weights=settings.class_factors or settings.class_weights,
    )
    batches()  # Flags that do not fit the source are told before hours of looking; nothing is read into memory for it.
    make_output(settings)
    seen = subject.look_at(source, names, others, preprocessing.size)
    findings = report.findings(seen)
    print(report.text(seen, findings, SHOWN), flush=True)
    images_per_second = report.images_per_second(batches(keep=settings.cache), settings.batch_size)
    print(f"\nTraining pipeline by itself: {images_per_second:,.0f} images/s of {names[0]} with these flags")
    summary = {
        "versions": machine.versions(),
        "flags": flags.to_flagfile(settings).splitlines(),
        "source": source.name,
        "splits": {part.name: report.of_part(part) for part in seen.parts},
        "against": {part.title: report.of_part(part) for part in seen.against},
        "findings": [finding.plain() for finding in findings],
        "images_per_second": round(images_per_second, 1),
    }
    written(settings, summary, report_folder.tables(seen, findings), sheets(seen, preprocessing, settings))
    return summary


def opened(settings: Settings) -> "Source":
    """A source that is there, its images' faults not yet fatal."""
    from trainers.data import sources

    source = sources.open_source(settings)
    source.ready()
    return source


def is_same(source: "Source", other: "Source") -> bool:
    """Whether two sources are one under two names: the same examples, not only by their names, in the same place."""
    if not source.fingerprint or source.fingerprint != other.fingerprint:
        return False
    places = [next(iter(each.splits.values())).locate(0) for each in (source, other)]
    return os.path.realpath(places[0]) == os.path.realpath(places[1])


def splits_of(settings: Settings, source: "Source") -> list[str]:
    """The splits to look at: those that the flags name, then the source's others that share no example with them.

    Raises:
        UserError: if a split that is named does not exist, or shares examples with the training split.
    """
    from trainers.inspection.subject import distinct

    # The default is no wish: a source without such a split can be looked at as well.
    usual = settings.train_split == Settings.train_split and settings.train_split not in source.names
    chosen = [] if usual else [settings.train_split]
    left_out = set()
    for name, expression in (("validation", settings.validation_split), ("test", settings.test_split)):
        if expression == "none":
            left_out.add(name)
        elif expression:
            if any(splits.overlap(source.intervals(expression), source.intervals(before)) for before in chosen):
                raise UserError(f"--{name}_split={expression} holds examples of {' or '.join(chosen)}.")
            chosen.append(expression)
    return distinct(source, chosen, tuple(name for name in source.names if name not in left_out))


def make_output(settings: Settings) -> None:
    """Makes the folder of the report where one is asked for."""
    from trainers.inspection import report_folder

    if settings.output:
        report_folder.make(settings.output)


def written(
    settings: Settings, report: dict[str, Any], tables: dict[str, Iterable[tuple]], sheets: Iterable[tuple[str, Any]]
) -> None:
    """Writes the folder of the report where one is asked for, and says so."""
    from trainers.inspection import report_folder

    if settings.output:
        names = report_folder.write(settings.output, report, tables, sheets)
        print(f"\nWritten to {settings.output}: {', '.join(names)}")
    else:
        more = ", with contact sheets" if settings.source else ""
        print(f"\nNothing was written; --output=DIR writes all of it there{more}.")


def sheets(seen: "Subject", preprocessing: "Preprocessing", settings: Settings) -> Iterator[tuple[str, Any]]:
    """The contact sheet of each split: a name that a file can have, and the pixels."""
    from trainers.inspection import contact_sheet

    for number, part in enumerate(seen.parts):
        plain = "".join(character if character.isalnum() else "_" for character in part.name)
        if number:
            yield plain, contact_sheet.evaluation(part, preprocessing)
        else:
            yield plain, contact_sheet.training(part, preprocessing, settings, settings.seed)


if __name__ == "__main__":
    sys.exit(command_line.main(Settings, run, "doctor"))
