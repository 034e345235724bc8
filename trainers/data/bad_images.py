"""Images that cannot be read: they get weight 0, so that no other example moves, and are remembered with the reason."""

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from trainers.data import images
from trainers.data.attempt import attempt

if TYPE_CHECKING:
    from trainers.data.source import Split

Row = Callable[[Any], dict[str, Any]]


class BadImage(ValueError):
    """An image that cannot be read, or too many of them."""

    exit_code = 2


class BadImages:
    """What could not be read of a source so far, by this process.

    Args:
        policy: What `check` does about any: `fail` or `skip`.
        max_share: With `skip`, share of a split beyond which `check` fails all the same.
    """

    def __init__(self, policy: str = "fail", max_share: float = 0.0):
        self.policy = policy
        self.max_share = max_share
        self.found: dict[str, dict[str, str]] = {}  # split -> place -> reason
        self._sizes: dict[str, int] = {}
        self._lock = threading.Lock()

    def guarded(self, name: str, split: "Split", channels: int, row: Row, index_of: Callable) -> Row | None:
        """A row function that cannot fail: rows whose image is bad are zeros, of weight 0. None where none can be.

        Args:
            name: Of the split, for messages.
            split: What the rows are read from.
            channels: Channels of its images.
            row: From a position, an int64 scalar, to a row with `weights` and `ids`.
            index_of: From a position to the example's index in the split.
        """
        self._sizes[name] = split.size
        if tf.data.Dataset.range(1).map(split.read).element_spec[0].dtype != tf.string:  # pixels in memory
            return None
        specs = tf.data.Dataset.range(1).map(row).element_spec

        def blank(position):
            index = index_of(position)
            noted = tf.numpy_function(lambda index: self._note(name, split, channels, index), [index], tf.int64)
            zeros = {key: tf.zeros(spec.shape, spec.dtype) for key, spec in specs.items()}
            return zeros | {"ids": tf.ensure_shape(noted, ())}

        return lambda position: attempt(row, blank, position)

    def merge(self, found: dict[str, dict[str, str]]) -> None:
        """Adds what another process, or an earlier one, has found."""
        with self._lock:
            for name, places in found.items():
                self.found.setdefault(name, {}).update(places)

    def check(self) -> None:
        """Raises BadImage for the first bad image, or where they are to be skipped, if they are too many."""
        for name, places in self.found.items():
            if self.policy == "fail":
                place, reason = next(iter(places.items()))
                raise BadImage(
                    f"{place} cannot be read: {reason}. Mend or remove it, or give --on_bad_image=skip to leave such "
                    "images out."
                )
            size = self._sizes.get(name)
            if size and len(places) > self.max_share * size:
                raise BadImage(
                    f"{len(places):,} of the {size:,} images of {name} cannot be read, more than "
                    f"--max_bad_share={self.max_share:g}. The first: {'; '.join(list(places)[:3])}."
                )

    def _note(self, name: str, split: "Split", channels: int, index: np.int64) -> np.int64:
        place = split.locate(int(index))
        if place not in self.found.get(name, {}):
            reason = why(split, channels, int(index))
            self.merge({name: {place: reason}})
        return index


def why(split: "Split", channels: int, index: int) -> str:
    """Why an example cannot be read, in a few words."""
    try:
        image, _ = split.read(tf.constant(index, tf.int64))
        images.decode(image, channels)
    except (tf.errors.OpError, ValueError) as error:
        return _plain(getattr(error, "message", None) or str(error))
    return "it could not be read at first, but was when tried again"


def _plain(message: str) -> str:
    """What matters of TensorFlow's message, without where in the graph it was and what called that."""
    text = re.sub(r"\{\{.*?\}\} ?|\[\[.*?\]\]|\[Op:\w+\].*", "", message)
    lines = [line.strip() for line in text.splitlines() if not line.startswith(("Graph exec", "Detected at", "  File"))]
    line = next(filter(None, lines), "no reason given")
    return re.sub(r"^assertion failed: \[(.*)\]$", r"\1", line).rstrip(".")[:200]
