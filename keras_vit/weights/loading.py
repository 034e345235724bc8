"""From a weight file to a model."""

import contextlib
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from keras_vit.classifier import ImageClassifier
from keras_vit.errors import InvalidWeights, UserError, reason
from keras_vit.preprocessing import Preprocessing
from keras_vit.variants import FAMILIES, AnyArchitecture
from keras_vit.vit import build
from keras_vit.weights import adapt, google, keras_file, kerashub, kerashub_preset, published
from keras_vit.weights.filling import LoadReport, fill, shown
from keras_vit.weights.formats import READABLE
from keras_vit.weights.opening import opened
from keras_vit.weights.stored import NOTED, Stored


def load(path: Any, *, return_report: bool = False, ignore: str = "", **overrides: Any) -> Any:
    """Builds the model that a weight file holds, or one for another resolution, patch size, head or pooling.

    Positions are resampled as the paper does it, patch projections by the pseudo-inverse of resizing; a head for
    another number of classes is a new one, all zeros.

    Args:
        path: Path of an `.npz`, `.safetensors`, `.keras` or `.weights.h5` file, or a folder as Hugging Face or KerasHub
            has it; or the name of published weights, such as `augreg:B/16` (see `published.PUBLISHED`); or a model
            itself, of this library or a Vision Transformer of KerasHub's.
        return_report: Whether to return `(model, LoadReport)` instead of the model alone.
        ignore: Regular expression over names in the file and paths in the model that may be left over, or be missing.
        **overrides: Fields of the architecture that differ from the file's, or that arrays cannot tell: `image_size` of
            a BiT or of a grid that is not square, `heads` where queries, keys and values are one array.

    Returns:
        An `ImageClassifier`, such as a `VisionTransformer`, or the pair.

    Raises:
        InvalidWeights: if the file is missing, damaged, of an unknown format, or its arrays do not fit the model.
        UserError: if `ignore` is no regular expression, or `path` is something else.
    """
    try:
        re.compile(ignore)
    except re.error as error:
        raise UserError(f"ignore must be a regular expression; {ignore!r} is none: {error}.") from error
    model, report = _loaded(path, ignore, overrides)
    return (model, report) if return_report else model


def _loaded(path: Any, ignore: str, overrides: dict[str, Any]) -> tuple[ImageClassifier, LoadReport]:
    if kerashub_preset.is_model(path):
        return _built(kerashub, kerashub_preset.of_model(path), ignore, overrides)
    if isinstance(path, ImageClassifier):
        model, path = path, path.name
    else:
        overrides = published.fields_of(path) | overrides
        path = published.located(path)
        if pathlib.Path(path).suffix != ".keras":
            with opened(path) as held:
                stored = google.of_model(held)
                return _built(_format_of(stored), stored, ignore, overrides)
        model = keras_file.read_model(path)
    stored = keras_file.stored_of(model, path)
    if not overrides:
        return model, LoadReport(sorted(stored.shapes), [], [], [], [])
    return _built(keras_file.KerasFile(stored), stored, ignore, overrides)


def _format_of(stored: Stored) -> Any:
    """Raises InvalidWeights if nobody recognises the file."""
    for form in READABLE.values():
        if form.recognises(stored):
            return form
    raise InvalidWeights(
        f"{stored.path}: no known format. Expected the array names of one of {', '.join(READABLE)}; got "
        f"{shown(stored.shapes)}."
    )


def _built(form: Any, stored: Stored, ignore: str, overrides: dict[str, Any]) -> tuple[ImageClassifier, LoadReport]:
    stored = form.named(stored)
    # Of what a file tells, nothing can be taken for granted; what is then made of it is ours.
    with _about(stored, KeyError, ValueError, IndexError, TypeError):
        source = architecture_of(form, stored, overrides)
        target = source.replace(**overrides)
        names, preprocessing = _class_names(form, stored, target), _input(form, stored, target)
    with _about(stored, UserError):
        changes = adapt.changes(source, target)
        model = build(target, class_names=names, preprocessing=preprocessing)
    return model, fill(model, stored, form.table(source), changes, ignore)


@contextlib.contextmanager
def _about(stored: Stored, *errors: type[Exception]) -> Iterator[None]:
    """Raises InvalidWeights, which names the file, in place of errors."""
    try:
        yield
    except errors as error:
        said = f"the array {error.args[0]} is missing" if isinstance(error, KeyError) else reason(error)
        raise InvalidWeights(f"{stored.path}: {said}.") from error


def architecture_of(form: Any, stored: Stored, overrides: dict[str, Any]) -> AnyArchitecture:
    """The architecture whose weights a file holds.

    Raises:
        KeyError, ValueError, IndexError: if the arrays tell too little, or what cannot be.
    """
    noted = stored.config.get(NOTED, {})
    if "architecture" in noted:
        return FAMILIES[noted.get("family", "vit")].from_dict(noted["architecture"])
    fields = form.architecture(stored)
    family = fields.pop("family", "vit")
    if family == "bit":  # no heads, and nothing that would tell the size of images
        return FAMILIES[family].from_dict({"image_size": overrides.get("image_size", 224), **fields})
    for name, meaning in LEFT_OPEN.items():
        if name not in fields and name not in overrides:
            raise UserError(f"the arrays do not tell {meaning.format(**fields)}; pass {name}=.")
        fields.setdefault(name, overrides.get(name))
    if "image_size" not in fields:
        fields["image_size"] = _image_size(form.positions(stored), fields["patch_size"], overrides.get("image_size"))
    return FAMILIES[family].from_dict(fields)


def _image_size(patches: int | None, side: int, image_size: Any) -> Any:
    """The image size behind a table of positions. A square number of patches is taken for a square."""
    if patches is None:
        return image_size or 224
    try:
        return google.square(patches) * side
    except UserError:
        height, width = image_size if isinstance(image_size, (tuple, list)) else (image_size or 0, image_size or 0)
        if (height // side) * (width // side) != patches:
            raise
        return tuple(image_size)


def _class_names(form: Any, stored: Stored, target: AnyArchitecture) -> list[str] | None:
    """The file's names of classes, if the model has that many."""
    noted = stored.config.get(NOTED)
    names = noted.get("class_names") if noted else form.class_names(stored)
    return names if names is not None and len(names) == target.num_classes else None


def _input(form: Any, stored: Stored, target: AnyArchitecture) -> Preprocessing:
    """The file's test-time transform, for the model's resolution."""
    noted = stored.config.get(NOTED)
    fields = noted.get("preprocessing", {}) if noted else form.preprocessing(stored)
    return Preprocessing(**{**fields, "size": target.image_shape[:2]})


# What some formats leave open.
LEFT_OPEN = {
    "heads": "the number of heads of width {width}",
    "position": "which fixed positions are added, sincos1d or sincos2d",
}
