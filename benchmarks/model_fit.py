"""Compares Keras's own `model.fit` on several replicas with itself on one device: `python benchmarks/model_fit.py`.

Every cell of the matrix is a run of its own in fresh processes, as many as the distribution has workers, so that no
failure spoils another. Prints versions, two Markdown tables and the errors; docs/model_fit.md explains them.
"""

import concurrent.futures
import functools
import itertools
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf

import keras_vit

FIXTURES = pathlib.Path(__file__).parents[1] / "tests" / "fixtures"
BATCH, UPDATES, EVALUATED = 16, 12, 37
DECAY = 0.1
# Gradients of the reference model have a global norm of 1 to 3, and half or a quarter of that per replica.
CLIP = 0.5
TIMEOUT_SECONDS = 300
PARALLEL_RUNS = 2

# Processes and replicas of each.
DISTRIBUTIONS = {"one_device": (1, 1), "mirrored x2": (1, 2), "mirrored x4": (1, 4), "multi_worker x2": (2, 1)}

# The learning rates are constant, because fit counts a schedule in micro-batches.
RULES = {
    "AdamW": functools.partial(keras.optimizers.AdamW, 1e-3, global_clipnorm=CLIP),
    "SGD momentum": functools.partial(keras.optimizers.SGD, 0.1, momentum=0.9, global_clipnorm=CLIP),
    "SGD, no clipping": functools.partial(keras.optimizers.SGD, 0.1, momentum=0.9),
}

# Distribution, optimizer, XLA, micro-batches per update. The runs without clipping show what the clipping does.
MATRIX = [
    *itertools.product(DISTRIBUTIONS, ["AdamW", "SGD momentum"], ["off", "on"], ["1", "4"]),
    *itertools.product(["one_device", "mirrored x2", "mirrored x4"], ["SGD, no clipping"], ["off"], ["1"]),
]


def make_strategy(distribution):
    processes, replicas = DISTRIBUTIONS[distribution]
    if processes > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    return tf.distribute.MirroredStrategy(devices) if replicas > 1 else tf.distribute.OneDeviceStrategy(devices[0])


def reference_model(strategy, optimizer_of, **settings):
    """The fixtures' model, compiled with the optimizer that `optimizer_of` makes; decay on kernels only."""
    with strategy.scope():
        model = keras_vit.weights.load(FIXTURES / "train_init.npz")
        optimizer = optimizer_of()
        exempt = [variable for variable in model.trainable_variables if not variable.path.endswith("kernel")]
        optimizer.exclude_from_weight_decay(var_list=exempt)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, **settings)
    return model


def examples(stop):
    """The first `stop` images and labels of the fixtures."""
    with np.load(FIXTURES / "train_batches.npz") as batches:
        return tuple(batches[name].reshape(-1, *batches[name].shape[2:])[:stop] for name in ("images", "labels"))


def batches_of(arrays, size):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(size)


def weights_of(model):
    return {variable.path: variable.numpy() for variable in model.trainable_variables}


class Observer(keras.callbacks.Callback):
    """Keeps the weights before `fit` replaces them by their averages, and how far its evaluation is from an exact one.

    Args:
        images: Of the evaluation.
        labels: Of the evaluation.
    """

    def __init__(self, images, labels):
        super().__init__()
        self.images, self.labels = images, labels

    def on_epoch_end(self, epoch, logs=None):
        self.weights = weights_of(self.model)
        log_shares = np.array(tf.nn.log_softmax(self.model(self.images)))
        exact = -log_shares[np.arange(len(self.labels)), self.labels].mean()
        self.evaluation_error = abs(logs["val_loss"] - exact) / exact


def train(strategy, rule, xla, accumulate):
    """One cell: twelve updates of 16 examples and an evaluation of 37.

    Returns:
        Arrays by name: `weights/` and `averages/` with paths, and `evaluation`, the relative error of the evaluation.
    """
    parts = int(accumulate)
    settings = {"weight_decay": DECAY, "use_ema": True, "ema_momentum": 0.9}
    if parts > 1:
        settings["gradient_accumulation_steps"] = parts
    model = reference_model(strategy, functools.partial(RULES[rule], **settings), jit_compile=xla == "on")
    evaluated = examples(EVALUATED)
    observer = Observer(*evaluated)
    model.fit(
        batches_of(examples(UPDATES * BATCH), BATCH // parts),
        validation_data=batches_of(evaluated, BATCH),
        callbacks=[observer],
        verbose=0,
    )
    # Where averages are kept, fit leaves them in the model.
    averages = weights_of(model)
    return {
        **{f"weights/{path}": value for path, value in observer.weights.items()},
        **{f"averages/{path}": value for path, value in averages.items()},
        "evaluation": observer.evaluation_error,
    }


def clipped_update(strategy):
    """Norm of one update with learning rate 1 whose gradient is clipped."""
    model = reference_model(strategy, functools.partial(keras.optimizers.SGD, 1.0, global_clipnorm=CLIP))
    before = weights_of(model)
    model.fit(batches_of(examples(BATCH), BATCH), verbose=0)
    change = [value - before[path] for path, value in weights_of(model).items()]
    return f"{np.sqrt(sum(np.square(part).sum() for part in change)):.4f}"


def dropout_masks(strategy):
    """In how many of 1,000 units two examples, one per replica if there are two, differ in being dropped.

    The kernel starts at 0 and its gradient is the mean of the inputs after dropout, each 0 or 2.
    """
    with strategy.scope():
        head = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        model = keras.Sequential([keras.Input((1000,)), keras.layers.Dropout(0.5, seed=0), head])
        model.compile(keras.optimizers.SGD(1.0), lambda targets, outputs: outputs)
    model.fit(batches_of((np.ones((2, 1000), "float32"), np.zeros((2, 1), "float32")), 2), verbose=0)
    return f"{np.sum(head.kernel.numpy() == -1)} of 1000"


def swapped_averages(strategy):
    """How many weights one evaluation with SwapEMAWeights changes."""
    model = reference_model(strategy, functools.partial(RULES["AdamW"], use_ema=True))
    data, snapshots = batches_of(examples(UPDATES * BATCH), BATCH), []

    def keep(logs):
        snapshots.append(weights_of(model))

    # Callbacks run in the order of this list at the beginning of an evaluation and at its end.
    callbacks = [
        keras.callbacks.LambdaCallback(on_test_begin=keep),
        keras.callbacks.SwapEMAWeights(),
        keras.callbacks.LambdaCallback(on_test_end=keep),
    ]
    model.fit(data, validation_data=data.take(1), callbacks=callbacks, verbose=0)
    before, after = snapshots
    changes = np.concatenate([np.abs(after[path] - value).ravel() for path, value in before.items()])
    return f"{np.count_nonzero(changes)} of {changes.size}, by up to {changes.max():.0e}"


def steps_per_execution(strategy):
    """Whether two updates per call run."""
    model = reference_model(strategy, RULES["AdamW"], steps_per_execution=2)
    model.fit(batches_of(examples(UPDATES * BATCH), BATCH), verbose=0)
    return "runs"


def overwriting_averages(strategy):
    """Whether weights can be replaced by their averages every second update."""
    model = reference_model(strategy, functools.partial(RULES["AdamW"], use_ema=True, ema_overwrite_frequency=2))
    model.fit(batches_of(examples(UPDATES * BATCH), BATCH), verbose=0)
    return "runs"


def loss_scaling(strategy):
    """What an infinite gradient in the second half of a batch does to the weights under dynamic loss scaling."""
    with strategy.scope():
        head = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        model = keras.Sequential([keras.Input((1,)), head])
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1.0), initial_scale=1.0)
        model.compile(optimizer, lambda targets, outputs: outputs)
    inputs = np.array([[1.0], [np.inf]], "float32")
    model.fit(batches_of((inputs, np.zeros((2, 1), "float32")), 2), verbose=0)
    return f"weight 1 becomes {head.kernel.numpy().item():g}"


# Measured under each of FACT_DISTRIBUTIONS.
FACTS = {
    "norm of an update clipped to 0.5": clipped_update,
    "units dropped for one of two examples only": dropout_masks,
    "weights changed by an evaluation with SwapEMAWeights": swapped_averages,
    "steps_per_execution=2": steps_per_execution,
    "ema_overwrite_frequency=2": overwriting_averages,
    "LossScaleOptimizer, infinite gradient in the second example": loss_scaling,
}
FACT_DISTRIBUTIONS = ("one_device", "mirrored x2")


def first_line(error):
    """What an exception says, without Keras's opening, call stacks, terminal colours and paths of this machine."""
    opening = re.compile(
        r"Exception encountered when|Graph execution error|Detected at node|\d+ root error| +File |\s*$"
    )
    text = re.sub(r"\x1b\[\d*m| \(defined @ [^)]*\)", "", str(error))
    line = next((line for line in text.splitlines() if not opening.match(line)), "")
    return f"{type(error).__name__}: {line.split('. ')[0].strip()}"


def measure(output, distribution, *what):
    """A process of one run: saves what a cell or a fact gives, or the error.

    Args:
        output: File to write.
        distribution: Key of `DISTRIBUTIONS`.
        *what: Key of `FACTS`, or the rest of a row of `MATRIX`.
    """
    try:
        strategy = make_strategy(distribution)
        result = train(strategy, *what) if len(what) > 1 else {"text": FACTS[what[0]](strategy)}
    except Exception as error:  # whatever fit raises is the result
        result = {"error": first_line(error)}
    np.savez(output, **result)


def environments(count):
    """Of `count` processes that work together."""
    sys.path.append(str(FIXTURES.parent))
    import processes

    return [{**os.environ, **each} for each in (processes.cluster(count) if count > 1 else [{}])]


def run(distribution, *what):
    """Starts the processes of one run.

    Returns:
        What the first of them saved, or `error` alone.
    """
    with tempfile.TemporaryDirectory() as folder:
        outputs = [pathlib.Path(folder) / f"{index}.npz" for index in range(DISTRIBUTIONS[distribution][0])]
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, str(output), distribution, *what],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for output, environment in zip(outputs, environments(len(outputs)), strict=True)
        ]
        try:
            for process in processes:
                process.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            return {"error": f"no answer in {TIMEOUT_SECONDS} s"}
        finally:
            for process in processes:
                process.kill()
        if not outputs[0].exists():
            return {"error": f"the process ended with exit code {processes[0].returncode}"}
        with np.load(outputs[0]) as saved:
            return dict(saved)


def distance(ours, reference, prefix):
    """Largest max|a-b| / max|b| over the arrays under a prefix.

    Attention key biases are left out: their true gradient is zero, so that Adam steps on rounding noise.
    """
    names = [name for name in reference if name.startswith(prefix) and not name.endswith("key/bias")]
    ratios = (np.abs(ours[name] - reference[name]).max() / np.abs(reference[name]).max() for name in names)
    # Without a reference there is nothing to compare with.
    return max(ratios, default=np.nan)


def number_errors(results):
    """Numbers from 1 for the different errors, in the order of the runs."""
    errors = dict.fromkeys(str(result["error"]) for result in results.values() if "error" in result)
    return {error: number for number, error in enumerate(errors, 1)}


def cell(result, reference, errors):
    if "error" in result:
        return f"error {errors[str(result['error'])]} | - | -"
    distances = (distance(result, reference, prefix) for prefix in ("weights/", "averages/"))
    return " | ".join(f"{value:.0e}" for value in (*distances, result["evaluation"].item()))


def matrix_table(results, errors):
    """Markdown lines; each optimizer is compared with one device, XLA off, one micro-batch."""
    yield "| distribution | optimizer | XLA | micro-batches | weights | averages | evaluation |"
    yield "|---|---|---|---|---|---|---|"
    for row in MATRIX:
        yield f"| {' | '.join(row)} | {cell(results[row], results['one_device', row[1], 'off', '1'], errors)} |"


def facts_table(results, errors):
    yield f"| | {' | '.join(FACT_DISTRIBUTIONS)} |"
    yield "|---|---|---|"
    for fact in FACTS:
        answers = [results[distribution, fact] for distribution in FACT_DISTRIBUTIONS]
        texts = [f"error {errors[str(answer['error'])]}" if "error" in answer else answer["text"] for answer in answers]
        yield f"| {fact} | {' | '.join(map(str, texts))} |"


def main():
    """Runs everything and prints the tables."""
    runs = [*MATRIX, *itertools.product(FACT_DISTRIBUTIONS, FACTS)]
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}, Python {platform.python_version()}", flush=True)
    with concurrent.futures.ThreadPoolExecutor(PARALLEL_RUNS) as pool:
        results = dict(zip(runs, pool.map(lambda row: run(*row), runs), strict=True))
    errors = number_errors(results)
    print("", *matrix_table(results, errors), "", *facts_table(results, errors), "", sep="\n")
    print(*(f"{number}. {error}" for error, number in errors.items()), sep="\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(*sys.argv[1:])
    else:
        main()
