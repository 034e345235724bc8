"""Has TensorFlow Datasets download and build a data set."""

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from keras_vit.errors import UserError


class Unavailable(OSError):
    """A data set that could not be fetched."""

    exit_code = 1


def builder_of(name: str, data_dir: str | None) -> Any:
    """What builds a data set.

    Args:
        name: NAME[/CONFIG][:VERSION].
        data_dir: Folder of prepared data sets; TFDS's own default if None.

    Raises:
        UserError: if there is no such data set.
    """
    with _worded(name):
        return tfds.builder(name, data_dir=data_dir)


def build(builder: Any) -> None:
    """Downloads and builds what is not there yet, with TFDS's own bars.

    Raises:
        UserError: if it cannot be built, as where files are to be fetched by hand first; the message says which.
        Unavailable: if something cannot be fetched at the moment.
    """
    with _worded(builder.info.full_name):
        builder.download_and_prepare()


@contextlib.contextmanager
def _worded(name: str) -> Iterator[None]:
    try:
        yield
    except tfds.core.DatasetNotFoundError as error:  # whose message lists all there are
        raise UserError(
            f"--source=tfds:{name}: TensorFlow Datasets cannot build a data set of that name; "
            "https://www.tensorflow.org/datasets/catalog lists them."
        ) from error
    except OSError as error:  # of the network above all
        raise Unavailable(f"--source=tfds:{name} cannot be fetched: {error}.") from error
    except (ValueError, AssertionError, RuntimeError) as error:
        raise UserError(f"--source=tfds:{name} cannot be built: {error}") from error
