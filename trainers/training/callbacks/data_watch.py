"""A run's watch over its data: bad images, and whether it is still the data that the run began with."""

import csv
import io
from typing import Any

import keras

from keras_vit.errors import UserError
from trainers import files
from trainers.data.source import Source
from trainers.engine.workers import Workers


class DataWatch(keras.callbacks.Callback):
    """Stops a run over bad images, or lists them, and refuses to resume on other data. Belongs on every worker.

    Args:
        source: Opened source.
        path: Path of bad_images.csv; None where this process writes nothing.
        workers: The processes of the run.

    Raises:
        BadImage: on all workers, for the first bad image or too many of them.
        UserError: when resumed, if the data is not that of the run's beginning.
    """

    def __init__(self, source: Source, path: str | None, workers: Workers):
        super().__init__()
        self.source = source
        self.path = path
        self.workers = workers
        self._known = 0
        self._listed: dict[tuple[str, str], str] = {}  # split and place -> reason, since the run began

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.exchange()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        self.exchange()

    def exchange(self) -> None:
        """Brings all workers to what any of them has newly found, and checks it; all must ask."""
        (news,) = self.workers.any(sum(map(len, self.source.bad.snapshot().values())) > self._known)
        if news:
            for bad in self.workers.gather(self.source.bad.snapshot()):
                self.source.bad.merge(bad)
            bad = self.source.bad.snapshot()
            self._known = sum(map(len, bad.values()))
            self._listed |= {(name, place): why for name, places in bad.items() for place, why in places.items()}
            self._write()
            self.source.bad.check()

    def _write(self) -> None:
        if self.path is not None:
            text = io.StringIO()
            rows = [(*place, reason) for place, reason in sorted(self._listed.items())]
            csv.writer(text, lineterminator="\n").writerows([("split", "image", "reason"), *rows])
            files.write_text(self.path, text.getvalue())

    def get_state(self) -> dict[str, Any]:
        # What was found before is listed, but no longer counts: somebody may have mended it.
        listed = [[*place, reason] for place, reason in self._listed.items()]
        return {"fingerprint": self.source.fingerprint, "listed": listed}

    def set_state(self, state: dict[str, Any]) -> None:
        if state["fingerprint"] != self.source.fingerprint:
            raise UserError(
                f"--source={self.source.name} has changed since the run began, so that it cannot go on as if nothing "
                "had happened: bring the old examples back, or begin anew with --resume=never."
            )
        self._listed = {(name, place): reason for name, place, reason in state["listed"]}
