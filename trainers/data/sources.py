"""The sources there are."""

import dataclasses

from keras_vit.errors import UserError
from trainers.data import arrays
from trainers.data.bad_images import BadImages
from trainers.data.files import folder, tables
from trainers.data.records import synset_archives, tfrecord_source
from trainers.data.source import Source
from trainers.data.tfds import tfds_source
from trainers.settings.data import SourceSettings


def open_source(settings: SourceSettings) -> Source:
    """The source that `--source` names.

    Raises:
        UserError: if its kind is unknown, or it cannot be opened.
    """
    if not settings.source:
        raise UserError("--source is needed: the data is yours to name, e.g. --source=folder:PICTURES (docs/data.md).")
    kind, _, value = settings.source.partition(":")
    if kind not in SOURCES:
        raise UserError(f"Unknown source {settings.source!r}; its kind must be one of {', '.join(SOURCES)}.")
    bad = BadImages(settings.on_bad_image, settings.max_bad_share)
    return dataclasses.replace(SOURCES[kind](value, settings), bad=bad)


# Each is called with what follows the kind and its colon, and the settings.
SOURCES = {
    "folder": folder.folder,
    "csv": tables.csv_table,
    "jsonl": tables.jsonl_table,
    "tfrecord": tfrecord_source.tfrecord,
    "tfds": tfds_source.tensorflow_datasets,
    "vtab": tfds_source.vtab,
    "synset_archives": synset_archives.synset_archives,
    "npz": arrays.npz,
    "digits": arrays.digits,
    "synthetic": arrays.synthetic,
}
