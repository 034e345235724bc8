"""From a weight file to a model."""

import os
import pathlib
import re
from typing import Any

from keras_vit.preprocessing import Preprocessing
from keras_vit.variants import Architecture
from keras_vit.vit import VisionTransformer, build
from keras_vit.weights import adapt, google, keras_file, published
from keras_vit.weights.filling import LoadReport, fill, shown
from keras_vit.weights.formats import FORMATS
from keras_vit.weights.stored import InvalidWeights, Stored, one_line, opened


def load(path: str | os.PathLike, *, return_report: bool = False, ignore: str = "", **overrides: Any) -> Any:
    """Builds the model that a weight file holds, or one for another resolution, patch size, head or pooling.

    Positions are resampled as the paper does it, patch projections by the pseudo-inverse of resizing; a head for
    another number of classes is a new one, all zeros.

    Args:
        path: Of an `.npz`, `.safetensors` or `.keras` file, or a folder as Hugging Face has it; or the name of
            published weights, such as `augreg:B/16` (see `published.PUBLISHED`).
        return_report: Whether to return `(model, LoadReport)` instead of the model alone.
        ignore: Regular expression over names in the file and paths in the model that may be left over, or be missing.
        **overrides: Fields of `Architecture` that differ from the file's, or that arrays cannot tell: `image_size` of a
            grid that is not square, `heads` where queries, keys and values are one array.

    Returns:
        A `VisionTransformer`, or the pair.

    Raises:
        InvalidWeights: if the file is missing, damaged, of an unknown format, or its arrays do not fit the model.
        ValueError: if `ignore` is no regular expression.
    """
    try:
        re.compile(ignore)
    except re.error as error:
        raise ValueError(f"ignore must be a regular expression; {ignore!r} is none: {error}.") from error
    path = published.located(path)
    if pathlib.Path(path).suffix == ".keras":
        model = keras_file.read_model(path)
        stored = keras_file.stored_of(model, path)
        if not overrides:
            report = LoadReport(sorted(stored.shapes), [], [], [], [])
        else:
            model, report = _built(keras_file.KerasFile(stored), stored, ignore, overrides)
    else:
        with opened(path) as held:
            stored = google.of_model(held)
            model, report = _built(_format_of(stored), stored, ignore, overrides)
    return (model, report) if return_report else model


def _format_of(stored: Stored) -> Any:
    """Raises InvalidWeights if nobody recognises the file."""
    for form in FORMATS.values():
        if form.recognises(stored):
            return form
    raise InvalidWeights(
        f"{stored.path}: no known format. Expected the array names of one of {', '.join(FORMATS)}; got "
        f"{shown(stored.shapes)}."
    )


def _built(form: Any, stored: Stored, ignore: str, overrides: dict[str, Any]) -> tuple[VisionTransformer, LoadReport]:
    stored = form.named(stored)
    try:
        source = architecture_of(form, stored, overrides)
        target = source.replace(**overrides)
        changes = adapt.changes(source, target)
        model = build(
            target, class_names=_class_names(form, stored, target), preprocessing=_input(form, stored, target)
        )
    except KeyError as error:
        raise InvalidWeights(f"{stored.path}: the array {error.args[0]} is missing.") from error
    except (ValueError, IndexError, TypeError) as error:
        raise InvalidWeights(f"{stored.path}: {one_line(error)}") from error
    return model, fill(model, stored, form.table(source), changes, ignore)


def architecture_of(form: Any, stored: Stored, overrides: dict[str, Any]) -> Architecture:
    """The architecture whose weights a file holds.

    Raises:
        KeyError, ValueError, IndexError: if the arrays tell too little, or what cannot be.
    """
    noted = stored.config.get(NOTED, {})
    if "architecture" in noted:
        return Architecture.from_dict(noted["architecture"])
    fields = form.architecture(stored)
    if "heads" not in fields:
        if "heads" not in overrides:
            raise ValueError(f"the arrays do not tell the number of heads of width {fields['width']}; pass heads=.")
        fields["heads"] = overrides["heads"]
    if "image_size" not in fields:
        fields["image_size"] = _image_size(form.positions(stored), fields["patch_size"], overrides.get("image_size"))
    return Architecture.from_dict(fields)


def _image_size(patches: int | None, side: int, given: Any) -> Any:
    """The image size behind a table of positions. A square number of patches is taken for a square."""
    if patches is None:
        return given or 224
    try:
        return google.square(patches) * side
    except ValueError:
        height, width = given if isinstance(given, (tuple, list)) else (given or 0, given or 0)
        if (height // side) * (width // side) != patches:
            raise
        return tuple(given)


def _class_names(form: Any, stored: Stored, target: Architecture) -> list[str] | None:
    """The file's names of classes, if the model has that many."""
    noted = stored.config.get(NOTED)
    names = noted.get("class_names") if noted else form.class_names(stored)
    return names if names is not None and len(names) == target.num_classes else None


def _input(form: Any, stored: Stored, target: Architecture) -> Preprocessing:
    """The file's test-time transform, for the model's resolution."""
    noted = stored.config.get(NOTED)
    fields = noted.get("preprocessing", {}) if noted else form.preprocessing(stored)
    return Preprocessing(**{**fields, "size": target.image_shape[:2]})


NOTED = "keras_vit"
