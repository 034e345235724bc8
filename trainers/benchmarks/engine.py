"""This engine beside Keras's `fit`, on one device and on the same model and batches."""

import keras

import keras_vit
from keras_vit import optimization
from keras_vit.objectives.classification import Softmax
from keras_vit.preprocessing import Preprocessing
from trainers.benchmarks import timing
from trainers.data import pipeline, sources
from trainers.engine.protocols import Runtime, Steps, UpdateRule
from trainers.pretrain import architecture_for
from trainers.settings.benchmark import BenchmarkSettings


def measure(settings: BenchmarkSettings, runtime: Runtime) -> dict[str, float]:
    """Updates per second of this engine and of `fit`, each plain and under XLA.

    Args:
        settings: Settings of the command.
        runtime: Runtime of one device.
    """
    rows = {}
    for xla in (False, True):
        suffix = ", XLA" if xla else ""
        rows[f"engine{suffix}"] = _engine_row(settings, runtime, xla)
        rows[f"fit{suffix}"] = _fit_row(settings, xla, 1)
        rows[f"fit{suffix}, {settings.updates} steps per execution"] = _fit_row(settings, xla, settings.updates)
    seconds = timing.in_turns(rows, settings.rounds)
    speeds = {name: settings.updates / taken for name, taken in seconds.items()}
    fastest = max(speed for name, speed in speeds.items() if name.startswith("fit"))
    print(f"\nUpdates per second, {settings.variant} on {settings.image_size} px, batch {settings.batch_size}")
    for name, speed in speeds.items():
        print(f"  {name:<36}{speed:8.2f}  {speed / fastest:6.2f} x the fastest fit")
    return speeds


def trained(settings: BenchmarkSettings, runtime: Runtime, xla: bool):
    """The graph functions of a fresh model, and an iterator that feeds them."""
    batches = batches_of(settings)
    steps = new_steps(settings, runtime, xla, batches.element_spec)
    return steps, steps.batches(lambda share, shares, rows: batches)


def new_steps(settings: BenchmarkSettings, runtime: Runtime, xla: bool, element_spec) -> Steps:
    """Graph functions of a fresh model, with the clipping and decay of the paper's recipes."""
    with runtime.placed():
        model = new_model(settings)
        optimizer = optimization.optimizer("adamw", model.trainable_variables, learning_rate=1e-3, weight_decay=0.1)
    rule = UpdateRule(batch_size=settings.batch_size, clip_norm=1.0, xla=xla)
    return runtime.steps(model, Softmax(model.architecture.num_classes), optimizer, element_spec, rule)


def new_model(settings: BenchmarkSettings) -> keras.Model:
    """What the flags and the source make together."""
    return keras_vit.build(architecture_for(settings, opened(settings)))


def opened(settings: BenchmarkSettings):
    """The source, its data there."""
    source = sources.open_source(settings)
    source.ready()
    return source


def batches_of(settings: BenchmarkSettings):
    """A few batches again and again, from memory: what is measured is not the input."""
    source = opened(settings)
    size = architecture_for(settings, source).image_shape[:2]
    data = pipeline.EvaluationData(source.split("train"), settings.batch_size, Preprocessing(size=size))
    batches = data.batches().take(4).cache()
    for _ in batches:
        source.bad.check()
    return batches.repeat()


def _engine_row(settings: BenchmarkSettings, runtime: Runtime, xla: bool):
    steps, iterator = trained(settings, runtime, xla)
    return lambda: timing.seconds_of(lambda: steps.train(iterator, settings.updates))


def _fit_row(settings: BenchmarkSettings, xla: bool, per_execution: int):
    """The same with `keras.Model.fit`."""
    model = new_model(settings)
    model.compile(
        optimization.AdamW(1e-3, weight_decay=0.1, global_clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=xla,
        steps_per_execution=per_execution,
    )
    pairs = batches_of(settings).map(lambda batch: (batch["images"], batch["labels"]))
    return lambda: timing.seconds_of(
        lambda: model.fit(pairs, steps_per_epoch=settings.updates, epochs=1, shuffle=False, verbose=0)
    )
