"""The group of settings about a run: its folder, devices, rhythm and end."""

import dataclasses

from keras_vit.errors import UserError
from trainers.settings.choices import DISTRIBUTIONS, ON_NONFINITE, PRECISIONS, RESUME
from trainers.settings.fields import Group, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings(Group):
    """Run."""

    run_dir: str = setting(
        "", "Folder for what the run writes; saved_models/SOURCE_VARIANT if left out.", affects_result=False
    )
    overwrite: bool = setting(
        False, "Whether a finished run in that folder may be replaced.", recorded=False, affects_result=False
    )
    seed: int = setting(0, "Initial weights, order, augmentation and dropout all follow from it.")
    evaluate_every: int | None = setting(None, "Updates between evaluations; once per epoch if left out.")
    log_every: int = setting(50, "Updates between rows of metrics.csv.", affects_result=False)
    steps_per_call: int = setting(
        50, "Updates per call into the graph; callbacks run between calls.", affects_result=False
    )
    distribution: str = setting(
        "auto", "How training is spread over devices.", choices=DISTRIBUTIONS, affects_result=False
    )
    tpu: str = setting(
        "local",
        "With --distribution=tpu or auto: local, the name of a Cloud TPU, or grpc://HOST:8470.",
        affects_result=False,
    )
    worker_timeout: int = setting(
        600, "Seconds without an answer after which another worker counts as lost.", affects_result=False
    )
    logical_cpus: int | None = setting(
        None, "Split the CPU into this many devices, to try replicas without accelerators.", affects_result=False
    )
    precision: str = setting(
        "auto",
        "Compute precision; variables stay in float32. auto takes what the device is fast in.",
        choices=PRECISIONS,
    )
    xla: bool = setting(False, "Whether forward and backward pass are compiled with XLA.")
    on_nonfinite: str = setting(
        "stop",
        "What to do about gradients that are not finite: stop before the update, or skip the update and count it.",
        choices=ON_NONFINITE,
        affects_result=False,
    )
    checkpoint_every: int | None = setting(
        None, "Updates between checkpoints; one at every evaluation if left out.", affects_result=False
    )
    keep: int = setting(2, "How many checkpoints to keep, beside the best.", affects_result=False)
    resume: str = setting(
        "auto",
        "Whether an unfinished run in the folder goes on: auto if there is one, never (it is begun anew), or require.",
        choices=RESUME,
        affects_result=False,
        recorded=False,
    )
    license: str = setting(
        "", "Licence of the model, for its card: an identifier such as apache-2.0, or words.", affects_result=False
    )
    dry_run: bool = setting(False, "Print the plan and stop.", recorded=False, affects_result=False)

    def check(self) -> None:
        counts = ("evaluate_every", "log_every", "steps_per_call", "logical_cpus", "checkpoint_every", "keep")
        self.check_positive(*counts, "worker_timeout")
        check_seed(self.seed)


def check_seed(seed: int) -> None:
    """Raises UserError for a number that cannot be a seed."""
    if not 0 <= seed < 2**31:
        raise UserError(f"--seed must lie in [0, 2^31); got {seed}.")
