"""Images that cannot be read: they get weight 0, so that no other example moves, and are remembered with the reason."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from keras_vit.errors import reason
from trainers.data import images

if TYPE_CHECKING:
    from trainers.data.source import Split

Note = Callable[[np.ndarray], np.ndarray]


class BadImage(ValueError):
    """An image that cannot be read, or too many of them."""

    exit_code = 2


class BadImages:
    """What could not be read of a source so far, by this process.

    Args:
        policy: Policy of `check` about any: `fail` or `skip`.
        max_share: Share of a split, with `skip`, beyond which `check` fails all the same.
    """

    def __init__(self, policy: str = "fail", max_share: float = 0.0):
        self.policy = policy
        self.max_share = max_share
        self._reasons: dict[str, dict[str, str]] = {}
        self._sizes: dict[str, int] = {}
        self._lock = threading.Lock()

    def watch(self, split: "Split") -> Note | None:
        """What to call with the indices of examples that failed, int64 (k,); None where none can fail."""
        self._sizes[split.name] = split.size
        if tf.data.Dataset.range(1).map(split.read).element_spec[0].dtype != tf.string:  # pixels in memory
            return None

        def note(indices: np.ndarray):
            for index in indices:
                place = split.locate(int(index))
                if place not in self._reasons.get(split.name, {}):
                    self.merge({split.name: {place: why(split, int(index))}})
            return indices

        return note

    def snapshot(self) -> dict[str, dict[str, str]]:
        """What was found so far: by split, the place of each image and the reason."""
        with self._lock:
            return {name: dict(places) for name, places in self._reasons.items()}

    def merge(self, reasons: dict[str, dict[str, str]]) -> None:
        """Adds what another process, or an earlier one, has found."""
        with self._lock:
            for name, places in reasons.items():
                self._reasons.setdefault(name, {}).update(places)

    def check(self) -> None:
        """Raises BadImage for the first bad image, or where they are to be skipped, if they are too many."""
        for name, places in self.snapshot().items():
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


def why(split: "Split", index: int) -> str:
    """Why an example cannot be read, in a few words."""
    try:
        image, _ = split.read(tf.constant(index, tf.int64))
        images.decode(image, split.channels)
    except (tf.errors.OpError, ValueError) as error:
        return reason(error)
    return "it could not be read at first, but was when tried again"
