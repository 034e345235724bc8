"""Exports a model with its preprocessing and labels inside, and holds every file against the model it came from.

DIR/1/ (the next free number) appears when all is written and checked: a SavedModel for TF Serving (docs/serving.md),
.tflite files (docs/tflite.md), .onnx, report.json and a model card. Each file is run by another runtime than Keras on
the same encoded images: those of --source, or generated ones. A file that differs by more than its format may is not
published, and the command says by how much and ends with exit code 1.
From Python: `export.run(export.Settings(...))`.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.exporting.exporting import Exported

from trainers.exporting import publishing
from trainers.settings import command_line
from trainers.settings.export import ExportSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ExportSettings):
    """Settings of an export; every field is a flag of the same name."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.output:
            object.__setattr__(self, "output", publishing.usual_folder(self.model))


def run(settings: Settings, callbacks: Sequence[Any] = ()) -> "Exported":
    """Exports; returns what was written and how it compares. There is no training for callbacks to watch.

    Raises:
        UserError: for a model, source or folder that cannot be used, or a missing package; nothing is written then.
        NotPublished: if anything did not pass; what did is published before, unless it was the SavedModel that failed.
    """
    from trainers.exporting import exporting

    return exporting.export(settings)


if __name__ == "__main__":
    sys.exit(command_line.main(Settings, run, "export"))
