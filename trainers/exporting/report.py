"""What was exported, as a table for people and as plain values for report.json and the model card."""

import dataclasses
from collections.abc import Callable
from typing import Any

from keras_vit.export.answering import Answering
from trainers import machine
from trainers.exporting import gate
from trainers.exporting.gate import Finding


@dataclasses.dataclass(frozen=True)
class Row:
    """One format in one runtime.

    Args:
        format: Key of `FORMATS`; `model` for the model itself.
        runtime: Runtime that ran it.
        file: Name in the folder of the version.
        size: Bytes; None where another row of the format tells them.
        milliseconds: Median time of one encoded image, decoding included; None where it was not measured.
        finding: Finding of how it compares; None where it could not be run.
        faults: Faults beyond the format's limits, in words.
    """

    format: str
    runtime: str
    file: str
    size: int | None
    milliseconds: float | None
    finding: Finding | None
    faults: tuple[str, ...] = ()


def table(rows: list[Row], title: str) -> str:
    """The rows under a heading; columns without any value are left out."""
    columns = {heading: [cell(row) for row in rows] for heading, cell in COLUMNS.items()}
    columns = {heading: cells for heading, cells in columns.items() if any(cells)}
    padded = []
    for heading, cells in columns.items():
        width, side = max(map(len, [heading, *cells])), "<" if heading in TEXT else ">"
        padded.append([f"{cell:{side}{width}}" for cell in [heading, *cells]])
    lines = ["  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]
    return "\n".join([title, *(f"  {line}" for line in lines)])


def plain(rows: list[Row]) -> list[dict[str, Any]]:
    """JSON values."""
    return [
        dataclasses.asdict(row) | {"finding": row.finding and gate.plain(row.finding), "faults": list(row.faults)}
        for row in rows
    ]


def summary(model: str, images: str, answering: Answering, rows: list[Row]) -> dict[str, Any]:
    """Contents of report.json, and of the card's part about the export."""
    return {
        "model": model,
        "images": images,
        "probabilities": answering.probabilities,
        "temperature": answering.temperature,
        "formats": {
            f"{row.format} ({row.runtime})": value
            for row, value in zip(rows, plain(rows), strict=True)
            if not row.faults
        },
        "refused": {row.format: list(row.faults) for row in rows if row.faults},
        "versions": machine.versions(),
    }


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f} %"


def _of(name: str) -> Callable[[Row], float | None]:
    return lambda row: getattr(row.finding, name) if row.finding else None


# Heading -> what stands below it in a row.
COLUMNS = {
    "format": lambda row: row.format,
    "runtime": lambda row: row.runtime,
    "size": lambda row: "" if row.size is None else f"{row.size / 1e6:,.2f} MB",
    "ms per image": lambda row: "" if row.milliseconds is None else f"{row.milliseconds:.1f}",
    "difference": lambda row: "" if row.finding is None else f"{row.finding.difference:.1e}",
    "same best class": lambda row: _percent(_of("agreement")(row)),
    "accuracy": lambda row: _percent(_of("accuracy")(row)),
    "": lambda row: "REFUSED" if row.faults else "",
}
TEXT = ("format", "runtime", "")  # columns that begin at the left
