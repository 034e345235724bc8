"""What goes into a LiteRT file beside the computation: Google's TFLite Metadata, and files in a zip at its end.

The metadata is a flatbuffer of its own, in the buffer TFLITE_METADATA of the model's. Its tables are those of
tensorflow_lite_support/metadata/metadata_schema.fbs (tflite-support 0.4.4), of which a field is known by its position.
"""

import dataclasses
import io
import os
import zipfile

import flatbuffers
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from keras_vit.classifier import ImageClassifier
from keras_vit.errors import UserError
from keras_vit.export.description import DESCRIPTION, LABELS

BUFFER, IDENTIFIER = "TFLITE_METADATA", b"M001"
PARSER_VERSION = "1.0.0"  # the oldest that knows all fields written here

# Of the schema's enumerations and unions.
FILE_DESCRIPTIONS, FILE_AXIS_LABELS = 1, 2
COLOR_SPACES = {3: 1, 1: 2}  # channels -> RGB, GRAYSCALE
CONTENT_FEATURE, CONTENT_IMAGE = 1, 2


def with_metadata(model_file: bytes, metadata: bytes, files: dict[str, bytes]) -> bytes:
    """A LiteRT file that says what it is.

    Args:
        model_file: The flatbuffer of a model.
        metadata: `metadata_of` it.
        files: Contents by name.

    Returns:
        The flatbuffer, followed by a zip archive. Runtimes see the former, `unzip` the latter.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(model_file))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(metadata)
    entry.name, entry.buffer = BUFFER, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    whole = io.BytesIO(flatbuffer_utils.convert_object_to_bytearray(model))
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:  # after what is there
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return whole.getvalue()


def read_files(path: str | os.PathLike) -> dict[str, bytes]:
    """The files that a LiteRT file carries: contents by name.

    Raises:
        UserError: if it carries none.
        OSError: if it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} carries no files: expected a .tflite file that ends in a zip archive.") from error


def metadata_of(model: ImageClassifier, output: str) -> bytes:
    """The flatbuffer of the metadata.

    Args:
        model: Whose computation the file holds.
        output: Name of its output, `probabilities` or `features`.
    """
    labels = _file(LABELS, "A label per line, in the order of the classes.", FILE_AXIS_LABELS)
    classes = output == "probabilities"
    answer = _tensor(
        output,
        "Probability of each class." if classes else "What the model's head would have been given.",
        _content(CONTENT_FEATURE, Table()),
        [labels] if classes else None,
    )
    name = f"{model.name}, a model of keras_vit"
    root = Table(
        name=(0, name),
        description=(1, f"{DESCRIPTION} in this file, a zip archive too, says what it is and where it comes from."),
        subgraph_metadata=(3, [Table(inputs=(2, [_images(model)]), outputs=(3, [answer]))]),
        associated_files=(6, [_file(DESCRIPTION, "Architecture, preprocessing, provenance.", FILE_DESCRIPTIONS)]),
        min_parser_version=(7, PARSER_VERSION),
    )
    builder = flatbuffers.Builder()
    builder.Finish(_written(builder, root), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _images(model):
    height, width, channels = model.architecture.image_shape
    size = Table(width=(0, Unsigned(width)), height=(1, Unsigned(height)))
    image = (
        Table(color_space=(0, Byte(COLOR_SPACES[channels])), default_size=(1, size))
        if channels in COLOR_SPACES
        else None
    )
    return _tensor(
        "images",
        "Pixels from 0 to 255 of an image of any height and width; resizing, cropping and scaling are inside.",
        _content(CONTENT_IMAGE, image) if image else _content(CONTENT_FEATURE, Table()),
    )


def _tensor(name, description, content, files=None):
    return Table(name=(0, name), description=(1, description), content=(3, content), associated_files=(6, files))


def _content(kind, properties):
    return Table(content_properties_type=(0, Byte(kind)), content_properties=(1, properties))


def _file(name, description, kind):
    return Table(name=(0, name), description=(1, description), type=(2, Byte(kind)))


class Byte(int):
    """A number of 8 bits."""


class Unsigned(int):
    """A number of 32 bits."""


@dataclasses.dataclass(init=False)
class Table:
    """A table of a flatbuffer: name of a field -> its position and value; None is left out.

    Values are strings, tables, lists of these, `Byte` and `Unsigned`.
    """

    fields: dict

    def __init__(self, **fields):
        self.fields = dict(sorted((slot, value) for slot, value in fields.values() if value is not None))


def _written(builder, value) -> int:
    """Writes a string, table or list, what it refers to first; its place in the buffer."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, list):
        items = [_written(builder, item) for item in value]
        builder.StartVector(4, len(items), 4)
        for place in reversed(items):
            builder.PrependUOffsetTRelative(place)
        return builder.EndVector()
    numbers = {Byte: builder.PrependInt8Slot, Unsigned: builder.PrependUint32Slot}
    places = {slot: _written(builder, item) for slot, item in value.fields.items() if type(item) not in numbers}
    builder.StartObject(max(value.fields, default=-1) + 1)
    for slot, item in value.fields.items():
        if slot in places:
            builder.PrependUOffsetTRelativeSlot(slot, places[slot], 0)
        else:
            numbers[type(item)](slot, item, 0)
    return builder.EndObject()
