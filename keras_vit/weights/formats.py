"""The formats. Each has the functions that `Format` names; they are told apart in the order of `READABLE`."""

from typing import Any, Protocol

from keras_vit.variants import Architecture
from keras_vit.weights import bigvision, bit, google, huggingface, kerashub, timm, weights_h5
from keras_vit.weights.rows import Row
from keras_vit.weights.stored import Stored


class Format(Protocol):
    """What a file of this room has for a format."""

    def recognises(self, stored: Stored) -> bool:
        """Whether a file is of this format."""

    def named(self, stored: Stored) -> Stored:
        """The arrays under the names of the table."""

    def architecture(self, stored: Stored) -> dict[str, Any]:
        """Fields that the file tells."""

    def positions(self, stored: Stored) -> int | None:
        """Patches behind the table of positions; None without one."""

    def preprocessing(self, stored: Stored) -> dict[str, Any]:
        """Fields of `Preprocessing` but for the size."""

    def class_names(self, stored: Stored) -> list[str] | None:
        """Names of the classes, where the file has any."""

    def table(self, a: Architecture) -> list[Row]:
        """The rows of the name table that an architecture has."""

    def cannot_hold(self, a: Architecture) -> str | None:
        """Why the format has no place for an architecture; None where it has. Only those in `FORMATS` have it."""


# Those that `save` writes by their tables.
FORMATS: dict[str, Any] = {
    "google": google,
    "bigvision": bigvision,
    "huggingface": huggingface,
    "timm": timm,
    "bit": bit,
}

# Keras itself writes `keras`; nobody here writes `kerashub`.
READABLE: dict[str, Any] = {**FORMATS, "kerashub": kerashub, "keras": weights_h5}
