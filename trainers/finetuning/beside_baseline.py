"""A callback that says how far training has come from the instant baseline."""

import sys
from typing import Any

import keras


class BesideBaseline(keras.callbacks.Callback):
    """Shows every evaluation's accuracy beside the baseline's; checkpoints remember that.

    Args:
        accuracy: Of the baseline; None if there is none, or a resumed run is to tell.
        speaks: Whether this process is the one that speaks to people.
    """

    def __init__(self, accuracy: float | None, speaks: bool):
        super().__init__()
        self.accuracy = accuracy
        self.speaks = speaks

    def on_epoch_end(self, epoch, logs=None):
        value = (logs or {}).get("val_accuracy")
        if self.speaks and self.accuracy is not None and value is not None:
            difference = 100 * (value - self.accuracy)
            print(
                f"val_accuracy {100 * value:.2f} %, instant baseline {100 * self.accuracy:.2f} % ({difference:+.2f})",
                file=sys.stderr,
                flush=True,
            )

    def get_state(self) -> dict[str, Any]:
        return {"accuracy": self.accuracy}

    def set_state(self, state: dict[str, Any]) -> None:
        self.accuracy = state["accuracy"]
