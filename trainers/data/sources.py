"""The sources there are."""

from trainers.data import arrays
from trainers.data.source import Source
from trainers.settings.groups import SourceSettings


def open_source(settings: SourceSettings) -> Source:
    """The source that `--source` names.

    Raises:
        ValueError: if its kind is unknown, or it cannot be opened.
    """
    kind, _, value = settings.source.partition(":")
    if kind not in SOURCES:
        raise ValueError(f"Unknown source {settings.source!r}; its kind must be one of {', '.join(SOURCES)}.")
    return SOURCES[kind](value, settings)


# Each is called with what follows the kind and its colon, and the settings.
SOURCES = {
    "digits": arrays.digits,
    "synthetic": arrays.synthetic,
    "npz": arrays.npz,
}
