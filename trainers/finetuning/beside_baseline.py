"""A callback that says how far training has come from the instant baseline."""

import sys
from typing import Any

import keras


class BesideBaseline(keras.callbacks.Callback):
    """Shows every evaluation's accuracy beside the baseline's; checkpoints remember that.

    Args:
        accuracies: Of the baseline, by `val` and `test`; none where there is none, or a resumed run is to tell.
        speaks: Whether this process is the one that speaks to people.
    """

    def __init__(self, accuracies: dict[str, float], speaks: bool):
        super().__init__()
        self.accuracies = accuracies
        self.speaks = speaks

    def on_epoch_end(self, epoch, logs=None):
        value, baseline = (logs or {}).get("val_accuracy"), self.accuracies.get("val")
        if self.speaks and value is not None and baseline is not None:
            print(
                f"val_accuracy {100 * value:.2f} %, instant baseline {100 * baseline:.2f} % "
                f"({100 * (value - baseline):+.2f})",
                file=sys.stderr,
                flush=True,
            )

    def results(self) -> dict[str, float]:
        """For results.json."""
        return {f"baseline_{kind}_accuracy": value for kind, value in self.accuracies.items()}

    def get_state(self) -> dict[str, Any]:
        return {"accuracies": self.accuracies}

    def set_state(self, state: dict[str, Any]) -> None:
        self.accuracies = state["accuracies"]
