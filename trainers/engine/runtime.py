"""What a run computes on: distribution strategy, precision, seed."""

import dataclasses
import json
import os

import keras
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Runtime:
    """Where a run takes place.

    Args:
        strategy: Where variables live and how replicas reduce.
        reason: Why that strategy, in words.
        precision: Name of the dtype policy for models.
    """

    strategy: tf.distribute.Strategy
    reason: str
    precision: str

    @property
    def replicas(self) -> int:
        return self.strategy.num_replicas_in_sync

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes files and speaks to people."""
        return is_chief(self.strategy.cluster_resolver)


def start(distribution: str, precision: str, seed: int, logical_cpus: int | None = None) -> Runtime:
    """Chooses devices, and seeds Keras's initialisers; with them Python's, NumPy's and TensorFlow's global generators.

    Args:
        distribution: Key of `DISTRIBUTIONS`.
        precision: Key of `PRECISIONS`.
        seed: Of the initialisers.
        logical_cpus: Splits the CPU into this many devices, so that replicas can be tried without accelerators.

    Raises:
        ValueError: if the backend is not TensorFlow, or the devices are not to be had.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"The training engine runs on TensorFlow, but KERAS_BACKEND is {keras.backend.backend()!r}; unset it."
        )
    if logical_cpus:
        _split_cpu(logical_cpus)
    strategy, reason = DISTRIBUTIONS[distribution]()
    keras.utils.set_random_seed(seed)
    return Runtime(strategy, reason, PRECISIONS[precision])


def check_batch_size(batch_size: int, replicas: int, accumulate: int) -> None:
    """Raises ValueError, with the nearest sizes that would do, unless every replica gets equal micro-batches."""
    unit = replicas * accumulate
    if batch_size % unit:
        below, above = batch_size // unit * unit, (batch_size // unit + 1) * unit
        nearest = f"{below} or {above}" if below else str(above)
        raise ValueError(
            f"--batch_size={batch_size} does not divide into {replicas} replicas x {accumulate} micro-batches; "
            f"the nearest that do: {nearest}."
        )


def is_chief(resolver) -> bool:
    """Whether a cluster resolver's process is the chief: the job of that name, or else the first worker."""
    if resolver is None or not resolver.task_type or resolver.task_type == "chief":
        return True
    return not _task(resolver) and "chief" not in resolver.cluster_spec().jobs


def _task(resolver) -> int:
    return resolver.task_id or 0


def _split_cpu(count: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError:
        if len(tf.config.list_logical_devices("CPU")) != count:
            raise ValueError(
                f"--logical_cpus={count} must come before TensorFlow's first use in this process, which has "
                f"{len(tf.config.list_logical_devices('CPU'))}."
            ) from None


def _devices() -> list[str]:
    gpus = tf.config.list_logical_devices("GPU")
    return [device.name for device in gpus or tf.config.list_logical_devices("CPU")]


def _workers() -> int:
    """Processes that TF_CONFIG names."""
    try:
        cluster = json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster", {})
        jobs = dict(cluster)
    except (json.JSONDecodeError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f'TF_CONFIG must be JSON such as {{"cluster": {{"worker": ["host:port"]}}, "task": ...}}: {error}.'
        ) from error
    return sum(len(jobs.get(job, ())) for job in ("chief", "worker"))


def _one_device():
    device = _devices()[0]
    return tf.distribute.OneDeviceStrategy(device), f"one device, {device}"


def _mirrored():
    devices = _devices()
    return tf.distribute.MirroredStrategy(devices), f"mirrored on {', '.join(devices)}"


def _multi_worker():
    workers = _workers()
    if not workers:
        raise ValueError(
            "--distribution=multi_worker needs TF_CONFIG in the environment, with the addresses of all workers and "
            "this one's number, as in https://www.tensorflow.org/guide/distributed_training."
        )
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    return strategy, f"{workers} workers, this is number {_task(strategy.cluster_resolver)}"


def _auto():
    if _workers() > 1:
        return _multi_worker()
    strategy, reason = _mirrored() if len(_devices()) > 1 else _one_device()
    return strategy, f"{reason}; all there is"


DISTRIBUTIONS = {"auto": _auto, "one_device": _one_device, "mirrored": _mirrored, "multi_worker": _multi_worker}

PRECISIONS = {"float32": "float32", "mixed_bfloat16": "mixed_bfloat16"}
