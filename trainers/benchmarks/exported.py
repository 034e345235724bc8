"""What exported files take: size and time of each format, beside KerasHub's own exports of a model of the same size."""

import functools
import importlib.util
import pathlib
import tempfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

import keras_vit
from keras_vit import errors
from keras_vit.classifier import ImageClassifier
from keras_vit.export.answering import SIGNATURE, Answering
from trainers import machine
from trainers.benchmarks.timing import in_turns, seconds_of
from trainers.engine.protocols import Runtime
from trainers.exporting import examples, formats
from trainers.inference import keras_model, opening, saved_model
from trainers.settings.benchmark import BenchmarkSettings

REQUESTS = 5  # of one image each, in a measurement
IMAGE = (375, 500)  # ImageNet's median height and width


class Row(NamedTuple):
    """What makes a request of one image, and the bytes of the file that answers."""

    request: Callable[[], object]
    size: int


Rows = dict[str, Row]


def measure(settings: BenchmarkSettings, runtime: Runtime) -> dict[str, float]:
    """Milliseconds of a request of one image, and megabytes of the file.

    Ours begin with an encoded JPEG of 375x500; KerasHub's exports know no preprocessing, and begin with pixels that
    have been resized and scaled. So does one row of ours, for comparison.

    Args:
        settings: Settings of the command.
        runtime: Runtime, not used: everything runs where TensorFlow and LiteRT run it, on a CPU if that is all.
    """
    model = keras_vit.build(settings.variant, **settings.overrides)
    random = np.random.default_rng(settings.seed)
    model.get_layer("head").kernel.assign(random.normal(0, 0.02, model.get_layer("head").kernel.shape))
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        rows = ours(model, place) | keras_hubs(model, place)
        work = {name: functools.partial(_requests, row.request) for name, row in rows.items()}
        seconds = in_turns(work, settings.rounds)
    print(f"\nOne image of {settings.variant}, {settings.image_size} px: milliseconds, megabytes")
    print("(from a JPEG of 375x500 on; KerasHub's, and what says so, from pixels that are resized and scaled)")
    values: dict[str, float] = {}
    for name, took in seconds.items():
        milliseconds, megabytes = 1000 * took / REQUESTS, rows[name].size / 1e6
        print(f"  {milliseconds:8.1f} ms  {megabytes:8.1f} MB  {name}")
        values |= {f"ms {name}": milliseconds, f"MB {name}": megabytes}
    return values


def _requests(request: Callable[[], object]) -> float:
    return seconds_of(lambda: [request() for _ in range(REQUESTS)])


def ours(model: ImageClassifier, place: pathlib.Path) -> Rows:
    """The model in Keras, and in every format whose packages are installed."""
    request = [tf.io.encode_jpeg(examples.picture(0, *IMAGE, 3)).numpy()]
    job = formats.Job(
        model=model,
        name="benchmark",
        answering=Answering(),
        provenance={},
        calibration=lambda: [examples.picture(number, *IMAGE, 3) for number in range(16)],
    )
    own = keras_model.of_model(model, job.answering)
    rows = {"keras": Row(functools.partial(own.answer, request), 4 * model.count_params())}
    for name, format in formats.FORMATS.items():
        missing = formats.missing(name)
        if missing:
            print(f"{name} is left out: {', '.join(missing)} is not installed")
            continue
        path = place / name / (format.file or "1")
        path.parent.mkdir()
        format.write(job, path)
        answer = opening.open_predictor(str(path)).answer
        rows[name] = Row(functools.partial(answer, request), formats.size_of(path))
        if name == "saved_model":
            run = saved_model.Session(path).run
            pixels = functools.partial(run, "pixels", pixels_for(model))
            rows["saved_model, from pixels"] = rows[name]._replace(request=pixels)
    return rows


def pixels_for(model: ImageClassifier) -> np.ndarray:
    """An image as a model wants it."""
    return np.zeros((1, *model.architecture.image_shape), "float32")


def keras_hubs(model: ImageClassifier, place: pathlib.Path) -> Rows:
    """KerasHub's classifier of the same size, exported by its own method; nothing where KerasHub is not installed.

    What it cannot export or run is left out.
    """
    a = model.architecture
    if not importlib.util.find_spec("keras_hub"):
        print("KerasHub is left out: keras-hub is not installed")
        return {}
    if a.family != "vit" or a.stem is not None:
        print("KerasHub is left out: it has Vision Transformers without a stem alone")
        return {}
    import keras_hub

    backbone = keras_hub.models.ViTBackbone(
        image_shape=a.image_shape,
        patch_size=a.patch_size,
        num_layers=a.depth,
        num_heads=a.heads,
        hidden_dim=a.width,
        mlp_dim=a.mlp_width,
    )
    classifier = keras_hub.models.ViTImageClassifier(backbone=backbone, num_classes=a.num_classes, preprocessor=None)
    pixels = pixels_for(model)
    compiled = functools.partial(tf.function(classifier), tf.constant(pixels))
    rows = {"KerasHub, keras": Row(compiled, 4 * classifier.count_params())}
    for name, format, file, runner in KERASHUBS:
        path = place / file
        try:
            classifier.export(path, format=format, verbose=False)
            row = Row(functools.partial(runner(path), pixels), formats.size_of(path))
            row.request()
        except Exception as error:  # whatever a converter or a runtime of others raises costs no other row
            print(f"KerasHub's {name} is left out: {errors.reason(error)}")
            continue
        rows[f"KerasHub, {name}"] = row
    return rows


def _session(path: pathlib.Path) -> Callable[[np.ndarray], object]:
    return functools.partial(saved_model.Session(path).run, SIGNATURE)


def _litert(path: pathlib.Path) -> Callable[[np.ndarray], object]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=machine.cpus())
    ((name, _),) = (runner := interpreter.get_signature_runner()).get_input_details().items()
    return lambda pixels: runner(**{name: pixels})


# Of each of KerasHub's exports: name, its format there, file, and what opens it.
KERASHUBS = (
    ("saved_model", "tf_saved_model", "kerashub", _session),
    ("litert", "litert", "kerashub.tflite", _litert),
)
