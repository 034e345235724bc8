"""The sources `tfds:NAME[/CONFIG][:VERSION]` and `vtab:TASK`, which TensorFlow Datasets prepares."""

import difflib
import re
from typing import Any

import numpy as np

from keras_vit.errors import UserError
from trainers.data.source import Source
from trainers.data.tfds import catalog
from trainers.data.tfds.catalog import Dataset
from trainers.data.tfds.tfds_prepared import Prepared
from trainers.settings.data import SourceSettings

_VALUE = re.compile(r"(\w+(?:/[\w.-]+)?)(?::((?:\d+|\*)\.(?:\d+|\*)\.(?:\d+|\*)))?")


def tensorflow_datasets(value: str, settings: SourceSettings) -> Source:
    """A data set of TensorFlow Datasets, by the name that it has there.

    The ones in `catalog.DATASETS` can be planned with before they are prepared. Others must be prepared, and need an
    image and a label.

    Args:
        value: NAME, NAME/CONFIG, or either with :VERSION. Without a version, any that the catalog allows will do.
        settings: Settings that name the folder of prepared data sets.

    Raises:
        UserError: if there is no such data set, or one that is not in the catalog is not prepared.
    """
    flag = f"--source=tfds:{value}"
    match = _VALUE.fullmatch(value)
    if not match:
        raise UserError(f"{flag}: expected NAME, NAME/CONFIG or either with :VERSION, as in tfds:cifar10:3.*.*.")
    name, version = match.groups()
    rows = catalog.DATASETS.values()
    dataset = catalog.DATASETS.get(name) or next((row for row in rows if row.name == name), None)
    full = dataset.name if dataset else name
    command = _command(f"{full}:{version}" if version else full, settings)
    builder = _builder(full, version or (dataset.version if dataset else "*.*.*"), settings, flag)
    dataset = dataset or _described(name, builder, command, settings, flag)
    return Prepared(f"tfds:{value}", dataset.label, dataset, builder, command).source()


def vtab(value: str, settings: SourceSettings) -> Source:
    """A task of VTAB-1k (Zhai et al. 2019), with the splits train800, val200, train800val200 and test.

    Args:
        value: The task, a key of `catalog.VTAB`.
        settings: Settings that name the folder of prepared data sets.

    Raises:
        UserError: if there is no such task.
    """
    flag = f"--source=vtab:{value}"
    task = catalog.VTAB.get(value)
    if task is None:
        raise UserError(f"{flag}: no such task; expected one of {', '.join(catalog.VTAB)}.")
    builder = _builder(task.name, task.version, settings, flag)
    labels = task.label if task.classes is catalog.unchanged else value
    return Prepared(f"vtab:{value}", labels, task, builder, _command(task.name, settings)).source()


def _builder(name: str, version: str, settings: SourceSettings, flag: str) -> Any:
    """TFDS's builder of a data set: of its files where it is prepared, else of its code; None where it has neither.

    Raises:
        UserError: if it knows the data set, but not that version or configuration.
    """
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, version=version, data_dir=settings.data_dir)
    except tfds.core.DatasetNotFoundError:
        return None
    except (AssertionError, ValueError, ImportError, OSError) as error:
        reason = " ".join(str(error).split('}": ')[-1].split())  # behind a repetition of what was asked for
        raise UserError(f"{flag} cannot be opened: {reason[:300]}") from error


def _described(name: str, builder: Any, command: str, settings: SourceSettings, flag: str) -> Dataset:
    """What a prepared data set says of itself.

    Raises:
        UserError: if it is not prepared, or not a set of labelled images.
    """
    import tensorflow_datasets as tfds

    if builder is None:
        names = {*catalog.DATASETS, *tfds.list_builders(with_community_datasets=False)}
        near = " or ".join(difflib.get_close_matches(name, names, 3))
        raise UserError(
            f"{flag}: TFDS has no data set of that name, nor is one of that name and version prepared in "
            f"{settings.data_dir or 'its usual place'}; {f'did you mean {near}?' if near else 'check the name.'}"
        )
    features = dict(builder.info.features)
    image, label = features.get("image"), features.get("label")
    # An image of floats is stored in a way that only TFDS undoes.
    integers = isinstance(image, tfds.features.Image) and np.issubdtype(image.np_dtype, np.integer)
    if image is None or not integers or not isinstance(label, tfds.features.ClassLabel):
        tasks = ", ".join(f"vtab:{task}" for task, row in catalog.VTAB.items() if row.name == name)
        there = ", ".join(f"{key} ({type(feature).__name__})" for key, feature in sorted(features.items()))
        raise UserError(
            f"{flag}: expected the features image (an Image of integers) and label (a ClassLabel); there are {there}."
            + f" Tasks on it are {tasks}." * bool(tasks)
        )
    if not builder.info.splits:
        raise UserError(f"{flag}: its sizes are known only once it is prepared; run {command}.")
    return Dataset(
        builder.info.full_name.removesuffix(f"/{builder.version}"),
        str(builder.version),
        label.num_classes,
        {split: info.num_examples for split, info in builder.info.splits.items()},
        channels=1 if image.shape[-1] == 1 else 3,
    )


def _command(name: str, settings: SourceSettings) -> str:
    """The command that prepares a data set."""
    data_dir = f" --data_dir={settings.data_dir}" if settings.data_dir else ""
    return f"`python -m trainers.prepare --source=tfds:{name}{data_dir}`"
