"""The rows of a report's CSV files, made one by one: there may be millions."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

from trainers.inspection.findings import Finding
from trainers.inspection.subject import Subject


def tables(subject: Subject, findings: Sequence[Finding]) -> dict[str, Iterable[tuple]]:
    """The rows of each CSV file, its head first."""
    return {
        "findings.csv": itertools.chain([("level", "check", "split", "image", "detail")], images_of(findings)),
        "duplicates.csv": itertools.chain(
            [("group", "kind", "distance", "source", "split", "image", "label")], duplicates_of(subject)
        ),
        "bad_images.csv": itertools.chain([("split", "image", "reason")], bad_images_of(subject)),
    }


def images_of(findings: Sequence[Finding]) -> Iterator[tuple]:
    """A row for each image that a finding names."""
    for finding in findings:
        for image in finding.images():
            yield finding.level, finding.check, *image


def duplicates_of(subject: Subject) -> Iterator[tuple]:
    """A row for each image of each group; kind and distance are to the group's first, where the two are linked."""
    for number, group in enumerate(subject.groups, 1):
        first = group.members[0]
        for member in group.members:
            part = subject.part(member.part)
            kind, distance = group.link(first, member) or ("connected", "")
            where = part.source.name, part.name, part.split.locate(member.example), part.words(member.example)
            yield number, "first" if member is first else kind, distance, *where


def bad_images_of(subject: Subject) -> Iterator[tuple]:
    """A row for each image of the source that cannot be read."""
    for part in subject.parts:
        for index in part.scan.unreadable.tolist():
            yield part.name, part.split.locate(index), part.scan.reason(index)
