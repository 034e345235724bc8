"""Says what is in image files: the best classes of each, by a model in any form.

The model is a run, a .keras file, anybody's weights, a SavedModel, a .tflite or an .onnx file, or a served one. Files
that cannot be read are told on stderr, the rest is done, and the exit code is 1. See docs/predict.md.
"""

import dataclasses
import os
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.inference.predictions import Prediction

from keras_vit.errors import UserError
from trainers.settings import command_line
from trainers.settings.choices import PREDICTION_FORMATS
from trainers.settings.fields import Group, positional, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Group):
    """Prediction."""

    paths: tuple[str, ...] = positional(
        "FILE_OR_FOLDER_OR_PATTERN",
        "Image files; folders, of which all images below are taken; patterns such as 'photos/**/*.jpg'. Without any, "
        "or for -, paths are read from stdin, one per line.",
    )
    model: str = setting(
        "",
        "Folder of a run, a .keras file, anybody's weight file or folder, the name of published weights such as "
        "augreg:B/16, a SavedModel or an export's folder, a .tflite or .onnx file.",
    )
    server: str = setting(
        "", "Instead of --model, a served model's URL, as http://host:8501/v1/models/NAME (TF Serving's REST)."
    )
    top: int = setting(5, "How many of the best classes are told.")
    format: str = setting(
        "table", "What is printed: a table, one JSON array, or CSV with a line per class.", choices=PREDICTION_FORMATS
    )
    output: str | None = setting(
        None, "File to write instead of printing; there when it is whole.", affects_result=False
    )
    batch_size: int = setting(32, "Most images at a time.", affects_result=False)
    server_timeout: float = setting(60.0, "Seconds to wait for an answer of --server.", affects_result=False)

    def check(self) -> None:
        self.check_positive("top", "batch_size", "server_timeout")
        if bool(self.model) == bool(self.server):
            raise UserError(
                "Exactly one of --model and --server is needed: a run, a file or published weights, or a served "
                "model's URL."
            )
        if "://" in self.model and self.model.startswith("http"):
            raise UserError(f"--model={self.model} is a URL; a served model is named by --server.")
        if self.output and os.path.exists(self.output) and not os.path.isfile(self.output):
            raise UserError(f"--output={self.output} is no file; name one, or leave it out to print.")
        if self.output and not os.path.isdir(os.path.dirname(self.output) or "."):
            raise UserError(f"--output={self.output}: there is no folder {os.path.dirname(self.output)}.")


def run(settings: Settings, callbacks: Sequence[Any] = ()) -> "list[Prediction]":
    """Predicts; prints or writes what it found.

    Args:
        settings: Settings of the command.
        callbacks: Callbacks, not used: there is no training to watch.

    Returns:
        A `trainers.inference.predictions.Prediction` for each file, in order.
    """
    from trainers.inference import formats, image_files, opening, predictions, server

    named = image_files.named(settings.paths)
    if settings.server:
        predictor = server.opened(settings.server, "server", settings.server_timeout)
    else:
        predictor = opening.open_predictor(settings.model)
    if not predictor.labels and settings.format == "table":
        raise UserError(
            f"{settings.model or settings.server} has no head, so there are no classes to name; --format=json and "
            "--format=csv write its features."
        )
    for note in predictor.notes:
        print(note, file=sys.stderr)
    answers = list(predictions.of_files(predictor, named, settings.top, settings.batch_size))
    text = formats.FORMATS[settings.format](answers, None if settings.output else terminal_width())
    write(text, settings.output)
    report_failures(answers)
    return answers


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def write(text: str, output: str | None) -> None:
    """Prints a text, or writes it to a file whole or not at all."""
    if output:
        from trainers import files

        files.write_text(output, text)
        return
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), end="", flush=True)
    except BrokenPipeError:  # whoever read it, e.g. `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def report_failures(predictions: "Sequence[Prediction]") -> None:
    """Says on stderr which files have no answer."""
    from trainers.inference.formats import printable

    failed = [one for one in predictions if one.error is not None]
    if failed:
        print(f"{len(failed):,} of {len(predictions):,} files without an answer:", file=sys.stderr)
    for one in failed:
        print(f"  {printable(one.file)}: {one.error}", file=sys.stderr)


def exit_code(predictions: "Sequence[Prediction]") -> int:
    """1 if a file has no answer."""
    return command_line.FAILED if any(one.error is not None for one in predictions) else command_line.DONE


if __name__ == "__main__":
    sys.exit(command_line.main(Settings, run, "predict", code=exit_code))
