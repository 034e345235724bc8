"""What a run computes on: distribution strategy, precision, seed."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.client import device_lib

from keras_vit.errors import UserError
from trainers import machine
from trainers.engine.protocols import Feed, Objective, UpdateRule
from trainers.engine.tensorflow import cluster
from trainers.engine.tensorflow.collectives import Collectives
from trainers.engine.tensorflow.evaluation import Evaluation
from trainers.engine.tensorflow.feeding import distribute
from trainers.engine.tensorflow.steps import Steps
from trainers.engine.tensorflow.tpu import connect_tpu, is_tpu_host
from trainers.engine.workers import Workers

# From compute capability 8.0, Ampere, on GPUs have bfloat16; before, back to P100 (6.0), they are fast in float16 only.
BFLOAT16_SINCE = (8, 0)


@dataclasses.dataclass(frozen=True)
class Runtime:
    """Where a run takes place; `trainers.engine.protocols.Runtime` says what each verb means.

    Args:
        strategy: Strategy by which variables are placed and replicas reduce.
        reason: Reason for that strategy, in words.
        precision: Name of the dtype policy for models.
        precision_reason: Reason for that precision, in words.
    """

    strategy: tf.distribute.Strategy
    reason: str
    precision: str
    precision_reason: str

    @property
    def replicas(self) -> int:
        return self.strategy.num_replicas_in_sync

    @property
    def processes(self) -> int:
        """That train together. On TPUs it is one, that drives all hosts."""
        if not isinstance(self.strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return 1
        spec = self.strategy.cluster_resolver.cluster_spec()
        return sum(spec.num_tasks(job) for job in spec.jobs)

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes files and speaks to people."""
        return self.processes == 1 or is_chief(self.strategy.cluster_resolver)

    @property
    def device_kind(self) -> str:
        return _kind(self.strategy.extended.worker_devices[0])

    @property
    def device_name(self) -> str:
        if self.device_kind != "GPU":
            return self.device_kind
        details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
        return details.get("device_name", "GPU")

    @property
    def local_devices(self) -> int:
        return len(self.strategy.extended.worker_devices)

    def device_memory(self) -> int | None:
        if self.device_kind != "GPU":
            return None
        limits = [each.memory_limit for each in device_lib.list_local_devices() if each.device_type == "GPU"]
        return min(limits, default=None)

    def peak_memory(self) -> float:
        gpus = [gpu.name.removeprefix("/device:") for gpu in tf.config.list_logical_devices("GPU")]
        if gpus:
            return max(tf.config.experimental.get_memory_info(gpu)["peak"] for gpu in gpus) / 2**30
        return machine.peak_memory()

    def placed(self) -> AbstractContextManager[Any]:
        return self.strategy.scope()

    def weight_norm(self, model: keras.Model) -> float:
        return float(tf.linalg.global_norm([variable.value for variable in model.trainable_variables]).numpy())

    def workers(self, timeout: float) -> Workers:
        if self.processes == 1:
            return Workers()
        return Workers(Collectives(self.strategy, self.processes, self.is_chief), timeout)

    def steps(
        self,
        model: keras.Model,
        objective: Objective,
        optimizer: Any,
        element_spec: Mapping[str, Any],
        rule: UpdateRule,
    ) -> Steps:
        return Steps(self.strategy, model, objective, optimizer, element_spec, rule)

    def evaluation(self, model: keras.Model, objective: Objective, feed: Feed, batch_size: int) -> Evaluation:
        return Evaluation(self.strategy, model, objective, feed, batch_size)

    def distribute(self, feed: Feed, batch_size: int) -> Iterable[Any]:
        return distribute(feed, self.strategy, batch_size, autotune=False)

    def gathered(self, function: Callable[[Any], Mapping[str, Any]]) -> Callable[[Any], dict[str, np.ndarray]]:
        @tf.function(reduce_retracing=True)
        def graph(batch):
            parts = self.strategy.run(function, args=(batch,))
            return {name: self.strategy.gather(value, axis=0) for name, value in parts.items()}

        return lambda batch: {name: value.numpy() for name, value in graph(batch).items()}


def start(distribution: str, precision: str, seed: int, logical_cpus: int | None, tpu: str) -> Runtime:
    """See `trainers.engine.runtime.start`. `distribution` is a key of `DISTRIBUTIONS`, `precision` of `PRECISIONS`."""
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"The training engine runs on TensorFlow, but KERAS_BACKEND is {keras.backend.backend()!r}; unset it."
        )
    if logical_cpus:
        _split_cpu(logical_cpus)
    strategy, reason = DISTRIBUTIONS[distribution](tpu)
    policy, policy_reason = _policy(precision, _kind(strategy.extended.worker_devices[0]))
    keras.utils.set_random_seed(seed)
    return Runtime(strategy, reason, policy, policy_reason)


def is_chief(resolver) -> bool:
    """Whether a cluster resolver's process is the chief: the job of that name, or else the first worker."""
    if resolver is None or not resolver.task_type or resolver.task_type == "chief":
        return True
    return not resolver.task_id and "chief" not in resolver.cluster_spec().jobs


def _split_cpu(count: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError:
        if len(tf.config.list_logical_devices("CPU")) != count:
            raise UserError(
                f"--logical_cpus={count} must come before TensorFlow's first use in this process, which has "
                f"{len(tf.config.list_logical_devices('CPU'))}."
            ) from None


def _devices() -> list[str]:
    gpus = tf.config.list_logical_devices("GPU")
    return [device.name for device in gpus or tf.config.list_logical_devices("CPU")]


def _kind(device: str) -> str:
    return tf.DeviceSpec.from_string(device).device_type


def _policy(precision: str, kind: str) -> tuple[str, str]:
    """The dtype policy for a kind of device, and why."""
    if kind not in PRECISIONS[precision]:
        raise UserError(
            f"--precision={precision} does not exist on a {kind}, which has bfloat16 instead; use "
            "--precision=mixed_bfloat16, or auto."
        )
    return FASTEST[kind]() if precision == "auto" else (precision, "as asked")


def _fastest_on_gpus() -> tuple[str, str]:
    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.get_visible_devices("GPU")]
    capabilities = [each.get("compute_capability") for each in details]
    if None in capabilities:  # not NVIDIA's
        return "float32", "auto: TensorFlow does not tell what these GPUs are fast in"
    least = min(capabilities)
    gpu = f"{details[capabilities.index(least)]['device_name']}, compute capability {least[0]}.{least[1]}"
    if least >= BFLOAT16_SINCE:
        return "mixed_bfloat16", f"auto: {gpu}, is fast in bfloat16"
    return "mixed_float16", f"auto: {gpu}, is fast in float16 but not in bfloat16"


def _one_device(_: str) -> tuple[tf.distribute.Strategy, str]:
    device = _devices()[0]
    return tf.distribute.OneDeviceStrategy(device), f"one device, {device}"


def _mirrored(_: str) -> tuple[tf.distribute.Strategy, str]:
    devices = _devices()
    return tf.distribute.MirroredStrategy(devices), f"mirrored on {', '.join(devices)}"


def _multi_worker(_: str) -> tuple[tf.distribute.Strategy, str]:
    workers = cluster.find()
    if not workers:
        raise UserError(
            "--distribution=multi_worker needs several processes that know of each other: start them with srun, or "
            "give each a TF_CONFIG, as in https://www.tensorflow.org/guide/distributed_training."
        )
    strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=workers.resolver())
    return strategy, f"{workers.source} names {workers.size} workers, this is {workers.job} {workers.index}"


def _auto(tpu: str) -> tuple[tf.distribute.Strategy, str]:
    if tpu != "local" or is_tpu_host():
        strategy, reason = connect_tpu(tpu)
        return strategy, f"{reason}; auto: " + ("this is its host" if tpu == "local" else "--tpu names it")
    workers = cluster.find()
    if workers and workers.size > 1:
        strategy, reason = _multi_worker(tpu)
        return strategy, f"{reason}; auto: several processes"
    strategy, reason = _mirrored(tpu) if len(_devices()) > 1 else _one_device(tpu)
    gpus = tf.config.list_logical_devices("GPU")
    return strategy, f"{reason}; auto: " + ("all GPUs there are" if gpus else "TensorFlow sees no GPU")


# Each is called with the name of the TPU, and gives the strategy and its reason.
DISTRIBUTIONS = {
    "auto": _auto,
    "one_device": _one_device,
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
    "tpu": connect_tpu,
}

# The kinds of device that have each.
PRECISIONS = {
    "auto": ("CPU", "GPU", "TPU"),
    "float32": ("CPU", "GPU", "TPU"),
    "mixed_bfloat16": ("CPU", "GPU", "TPU"),
    "mixed_float16": ("CPU", "GPU"),
}

# What auto means on each kind of device, and why.
FASTEST = {
    "CPU": lambda: ("float32", "auto: CPUs are slower in less"),
    "GPU": _fastest_on_gpus,
    "TPU": lambda: ("mixed_bfloat16", "auto: TPUs multiply in bfloat16"),
}
