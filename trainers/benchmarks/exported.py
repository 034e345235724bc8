"""What exported files take: size and time of each format, beside KerasHub's own exports of a model of the same size."""

import contextlib
import functools
import importlib.util
import pathlib
import tempfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

import keras_vit
from keras_vit.export.answering import Answering
from trainers.benchmarks.timing import in_turns, seconds_of
from trainers.data import batching
from trainers.exporting import examples, exporting, formats, runtimes, session

REQUESTS = 5  # of one image each, in a measurement
IMAGE = (375, 500)  # ImageNet's median height and width


class Row(NamedTuple):
    """What makes a request of one image, and the bytes of the file that answers."""

    request: Callable[[], object]
    size: int


Rows = dict[str, Row]


def measure(settings, where) -> dict[str, float]:
    """Milliseconds of a request of one image, and megabytes of the file.

    Ours begin with an encoded JPEG of 375x500; KerasHub's exports know no preprocessing, and begin with pixels that
    have been resized and scaled.

    Args:
        settings: Of the command.
        where: Runtime, which is not asked: exports run on the CPU.
    """
    model = keras_vit.build(settings.variant, image_size=settings.image_size, gelu=settings.gelu or "tanh")
    random = np.random.default_rng(settings.seed)
    model.get_layer("head").kernel.assign(random.normal(0, 0.02, model.get_layer("head").kernel.shape))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as opened:
        place = pathlib.Path(folder)
        rows = ours(model, place, opened) | keras_hubs(model, place, opened)
        work = {name: functools.partial(_requests, row.request) for name, row in rows.items()}
        seconds = in_turns(work, settings.rounds)
    print(f"\nOne image of {settings.variant}, {settings.image_size} px: milliseconds, megabytes")
    values: dict[str, float] = {}
    for name, took in seconds.items():
        milliseconds, megabytes = 1000 * took / REQUESTS, rows[name].size / 1e6
        print(f"  {milliseconds:8.1f} ms  {megabytes:8.1f} MB  {name}")
        values |= {f"ms {name}": milliseconds, f"MB {name}": megabytes}
    return values


def _requests(request: Callable[[], object]) -> float:
    return seconds_of(lambda: [request() for _ in range(REQUESTS)])


def ours(model, place: pathlib.Path, opened: contextlib.ExitStack) -> Rows:
    """The model in Keras, and in every format whose packages are installed."""
    request = [tf.io.encode_jpeg(examples.picture(0, *IMAGE, 3)).numpy()]
    job = formats.Job(
        model=model,
        name="benchmark",
        answering=Answering(),
        provenance={},
        calibration=lambda: [examples.picture(number, *IMAGE, 3) for number in range(16)],
    )
    rows = {"keras": Row(functools.partial(runtimes.of_keras(model, job.answering), request), 4 * model.count_params())}
    for name, format in formats.FORMATS.items():
        missing = formats.missing(name)
        if missing:
            print(f"{name} is left out: {', '.join(missing)} is not installed")
            continue
        path = place / name / (format.file or "1")
        path.parent.mkdir()
        format.write(job, path)
        answer = opened.enter_context(format.opened(path, model))[0].answer
        rows[name] = Row(functools.partial(answer, request), exporting.size_of(path))
    return rows


def keras_hubs(model, place: pathlib.Path, opened: contextlib.ExitStack) -> Rows:
    """KerasHub's classifier of the same size, exported by its own method; nothing where KerasHub is not installed."""
    if not importlib.util.find_spec("keras_hub"):
        print("KerasHub is left out: keras-hub is not installed")
        return {}
    import keras_hub

    a = model.architecture
    backbone = keras_hub.models.ViTBackbone(
        image_shape=a.image_shape,
        patch_size=a.patch_size,
        num_layers=a.depth,
        num_heads=a.heads,
        hidden_dim=a.width,
        mlp_dim=a.mlp_width,
    )
    theirs = keras_hub.models.ViTImageClassifier(backbone=backbone, num_classes=a.num_classes, preprocessor=None)
    pixels = np.zeros((1, *a.image_shape), "float32")
    rows = {
        "KerasHub, in Keras": Row(
            functools.partial(tf.function(theirs), tf.constant(pixels)), 4 * theirs.count_params()
        )
    }
    path = place / "KerasHub"
    theirs.export(path, format="tf_saved_model", verbose=False)
    run = opened.enter_context(session.opened(path))
    rows["KerasHub, saved_model"] = Row(functools.partial(run, "serving_default", pixels), exporting.size_of(path))
    if importlib.util.find_spec("ai_edge_litert"):
        file = place / "kerashub.tflite"
        theirs.export(file, format="litert", verbose=False)
        rows["KerasHub, litert"] = Row(functools.partial(_litert(file), pixels), file.stat().st_size)
    return rows


def _litert(file: pathlib.Path) -> Callable[[np.ndarray], object]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=batching.CPUS)
    ((name, _),) = (runner := interpreter.get_signature_runner()).get_input_details().items()
    return lambda pixels: runner(**{name: pixels})
