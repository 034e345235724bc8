"""SavedModels that `trainers.export` wrote, run as TF Serving runs them: no Keras and no Python of ours in it."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from keras_vit.errors import UserError, reason
from keras_vit.export import description
from keras_vit.export.answering import MAIN, SIGNATURE
from keras_vit.export.description import DESCRIPTION, LABELS, Told
from keras_vit.export.saved_model import EXTRA
from trainers import files
from trainers.inference import pixels
from trainers.inference.predictor import Answer, Answers, Predictor, apart

FILE = "saved_model.pb"
RUNTIME = "TensorFlow session"
Outputs = dict[str, np.ndarray]


def recognises(path: str) -> bool:
    """Whether a path is the folder of a SavedModel, or one of numbered versions as servers and exports have it."""
    return files.is_folder(path) and (files.exists(os.path.join(path, FILE)) or bool(_versions(path)))


def opened(path: str, flag: str) -> Predictor:
    """The SavedModel, or of numbered versions the newest, by its signature for encoded images.

    Raises:
        UserError: if it cannot be read, or has other signatures than ours.
    """
    place = _newest(path, flag)
    try:
        session, labels = Session(place), _labels(place)
    except (OSError, RuntimeError, ValueError, KeyError, tf.errors.OpError) as error:
        raise UserError(f"--{flag}={path}: TensorFlow cannot load {place}: {reason(error)}.") from error
    signature = session.signatures.get(SIGNATURE)
    output = main_output(signature) if signature else ""
    if not signature or not output or set(signature.inputs) != {"bytes"}:
        raise UserError(
            f"--{flag}={path}: the SavedModel has no signature {SIGNATURE} from `bytes` to `probabilities` or "
            "`features`; those that python -m trainers.export writes have it."
        )
    if output == MAIN[0] and labels is None:
        labels = tuple(str(number) for number in range(signature.outputs[output].tensor_shape.dim[-1].size))
    return Predictor(RUNTIME, output, labels or (), _of_bytes(session, SIGNATURE, output))


def by_signature(place: str, check: Callable[[Outputs], None]) -> list[Predictor]:
    """A predictor for each signature that `trainers.export` writes, the one that `opened` takes first.

    Args:
        place: Folder of the SavedModel.
        check: Function that is told all that the first one's signature answers, and raises what is wrong with it.

    Raises:
        UserError: if it does not say what it is.
    """
    session, model_description = Session(place), read_description(place)
    output, channels = main_output(session.signatures["pixels"]), channels_of(session.signatures["pixels"])

    def run(signature: str) -> pixels.Run:
        return lambda images: session.run(signature, images)[output]

    answers = {
        RUNTIME: _of_bytes(session, SIGNATURE, output, check),
        f"{RUNTIME}, images": pixels.one_by_one(pixels.decoded(channels), run("images")),
        f"{RUNTIME}, pixels": pixels.together(
            pixels.preprocessed(channels, model_description.preprocessing), run("pixels")
        ),
    }
    features = Predictor(f"{RUNTIME}, features", MAIN[1], (), _of_bytes(session, "features", MAIN[1]))
    return [*(Predictor(name, output, model_description.labels, answer) for name, answer in answers.items()), features]


def read_description(place: str) -> Told:
    """What a SavedModel says of itself; raises UserError if it does not."""
    paths = {name: os.path.join(place, EXTRA, name) for name in (LABELS, DESCRIPTION)}
    return description.read({name: files.read_bytes(path) for name, path in paths.items() if files.exists(path)})


def _of_bytes(
    session: "Session", signature: str, output: str, check: Callable[[Outputs], None] | None = None
) -> Answer:
    def all_of(encoded: Sequence[bytes]) -> Answers:
        outputs = session.run(signature, list(encoded))
        if check:
            check(outputs)
        return list(outputs[output])

    return lambda encoded: apart(all_of, encoded, tf.errors.InvalidArgumentError, reason)


class Session:
    """A SavedModel in a session, until nothing refers to it any more.

    A session restores variables by the file's own operations, as the C loader does, and stumbles over what that
    stumbles over; `tf.saved_model.load` would build Python objects instead.

    Args:
        path: Its folder.
    """

    def __init__(self, path: str | os.PathLike):
        graph = tf.Graph()
        with graph.as_default(), _quiet():
            self._session = tf.compat.v1.Session(graph=graph)
            loaded = tf.compat.v1.saved_model.loader.load(self._session, [tf.saved_model.SERVING], os.fspath(path))
        self.signatures: Mapping[str, SignatureDef] = loaded.signature_def

    def run(self, signature: str, values: Any) -> Outputs:
        """The outputs of a signature, by name, for its one input."""
        definition = self.signatures[signature]
        (fed,) = definition.inputs.values()
        return self._session.run({name: output.name for name, output in definition.outputs.items()}, {fed.name: values})


def main_output(signature: SignatureDef) -> str:
    """`probabilities` or `features`, whichever it answers first of all; nothing if neither."""
    return next((name for name in MAIN if name in signature.outputs), "")


def channels_of(signature: SignatureDef) -> int:
    """Of the images that it takes."""
    (images,) = signature.inputs.values()
    return images.tensor_shape.dim[-1].size


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without TensorFlow's advice to load by `tf.saved_model.load`."""
    logger = tf.get_logger()
    before = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(before)


def _versions(path: str) -> list[str]:
    """Names of numbered folders, the newest first."""
    try:
        names = files.names(path)
    except tf.errors.OpError:  # whoever reads it next says why
        return []
    numbers = [name for name in names if name.isdecimal() and files.is_folder(os.path.join(path, name))]
    return sorted(numbers, key=int, reverse=True)


def _newest(path: str, flag: str) -> str:
    if files.exists(os.path.join(path, FILE)):
        return path
    folders = [os.path.join(path, version) for version in _versions(path)]
    for folder in folders:
        if files.exists(os.path.join(folder, FILE)):
            return folder
    raise UserError(
        f"--{flag}={path} holds no SavedModel; name a file, such as {os.path.join(folders[0], 'model.tflite')}."
    )


def _labels(place: str) -> tuple[str, ...] | None:
    file = os.path.join(place, EXTRA, LABELS)
    return tuple(files.read_bytes(file).decode().splitlines()) if files.exists(file) else None
