"""A run's watch over its data: bad images, and whether it is still the data that the run began with."""

import csv
import io

import keras

from trainers.data.source import Source
from trainers.engine.workers import Workers
from trainers.runs import folder


class DataWatch(keras.callbacks.Callback):
    """Stops a run over bad images, or lists them, and refuses to resume on other data. Belongs on every worker.

    Args:
        source: Opened source.
        path: Of bad_images.csv; None where this process writes nothing.
        workers: The processes of the run.

    Raises:
        BadImage: at the end of a call into the graph, for the first bad image or too many of them.
        ValueError: when resumed, if the data is not that of the run's beginning.
    """

    def __init__(self, source: Source, path: str | None, workers: Workers):
        super().__init__()
        self.source = source
        self.path = path
        self.workers = workers
        self._listed = 0

    def on_train_batch_end(self, batch, logs=None):
        self._check()

    def on_test_batch_end(self, batch, logs=None):
        self._check()

    def on_epoch_end(self, epoch, logs=None):
        self.exchange()

    def exchange(self) -> None:
        """Brings all workers to what any of them has found; all must ask."""
        for found in self.workers.gather(self.source.bad.found):
            self.source.bad.merge(found)
        self._list()
        self._check()

    def _check(self) -> None:
        try:
            self.source.bad.check()
        except ValueError:
            self._list()
            raise

    def _list(self) -> None:
        rows = [
            (name, *item) for name, places in sorted(self.source.bad.found.items()) for item in sorted(places.items())
        ]
        if self.path is not None and len(rows) > self._listed:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([("split", "image", "reason"), *rows])
            folder.write_text(self.path, text.getvalue())
            self._listed = len(rows)

    def get_state(self):
        return {"fingerprint": self.source.fingerprint, "bad": self.source.bad.found}

    def set_state(self, state):
        if state["fingerprint"] != self.source.fingerprint:
            raise ValueError(
                f"--source={self.source.name} has changed since the run began, so that it cannot go on as if nothing "
                "had happened: bring the old examples back, or begin anew with --resume=never."
            )
        self.source.bad.merge(state["bad"])
