"""The settings of evaluation."""

import dataclasses
import functools

from keras_vit.errors import UserError
from trainers.settings.data import BatchSettings, SourceSettings
from trainers.settings.fields import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSettings(BatchSettings, SourceSettings):
    """Evaluation."""

    model: str = setting(
        "",
        "Folder of a run, a .keras file, anybody's weight file or folder, or the name of published weights such as "
        "augreg:B/16 (python -m trainers.convert --list shows them).",
    )
    split: str = setting("test", "What to evaluate on, e.g. test or validation.")
    evaluations: str = setting("accuracy", "What to report, separated by commas: accuracy, fewshot, baselines.")
    per_class: bool = setting(
        False, "Whether accuracy also prints a table of the classes, the worst first.", affects_result=False
    )
    output: str | None = setting(
        None,
        "Folder for evaluation.json and, from accuracy, per_class.csv, confusion.csv and confusion.png.",
        affects_result=False,
    )
    train_split: str = setting("train", "What the few examples of fewshot are chosen from.")
    fewshot_shots: str = setting("1,5,10,25", "Examples of each class, for fewshot.")
    fewshot_seeds: str = setting("0,1,2", "Seeds of their choice; the mean is reported.")

    @functools.cached_property
    def evaluation_names(self) -> list[str]:
        """The evaluations, in the order asked for."""
        return self.evaluations.split(",")

    @functools.cached_property
    def shots(self) -> list[int]:
        """Examples of each class."""
        return numbers("fewshot_shots", self.fewshot_shots)

    @functools.cached_property
    def seeds(self) -> list[int]:
        """Of their choice."""
        return numbers("fewshot_seeds", self.fewshot_seeds)


def numbers(flag: str, text: str) -> list[int]:
    """Whole numbers separated by commas, in ascending order, each once.

    Raises:
        UserError: if it is anything else.
    """
    items = [item.strip() for item in text.split(",")]
    if not all(item.isdecimal() for item in items):
        raise UserError(f"--{flag}={text}: expected whole numbers separated by commas, e.g. 1,5,10,25.")
    return sorted(set(map(int, items)))
