"""What a run computes on: distribution strategy, precision, seed."""

import dataclasses

import keras
import tensorflow as tf

from keras_vit.errors import UserError
from trainers.engine.tensorflow import cluster
from trainers.engine.tensorflow.tpu import connect_tpu, is_tpu_host

# From compute capability 8.0, Ampere, on GPUs have bfloat16; before, back to P100 (6.0), they are fast in float16 only.
BFLOAT16_SINCE = (8, 0)


@dataclasses.dataclass(frozen=True)
class Runtime:
    """Where a run takes place.

    Args:
        strategy: Where variables live and how replicas reduce.
        reason: Why that strategy, in words.
        precision: Name of the dtype policy for models.
        precision_reason: Why that precision, in words.
    """

    strategy: tf.distribute.Strategy
    reason: str
    precision: str
    precision_reason: str

    @property
    def replicas(self) -> int:
        return self.strategy.num_replicas_in_sync

    @property
    def workers(self) -> int:
        """Processes that train together. On TPUs it is one, that drives all hosts."""
        if not isinstance(self.strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return 1
        spec = self.strategy.cluster_resolver.cluster_spec()
        return sum(spec.num_tasks(job) for job in spec.jobs)

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes files and speaks to people."""
        return self.workers == 1 or is_chief(self.strategy.cluster_resolver)


def start(distribution: str, precision: str, seed: int, logical_cpus: int | None = None, tpu: str = "local") -> Runtime:
    """Chooses devices, and seeds Keras's initialisers; with them Python's, NumPy's and TensorFlow's global generators.

    Args:
        distribution: Key of `DISTRIBUTIONS`.
        precision: Key of `PRECISIONS`.
        seed: Of the initialisers.
        logical_cpus: Splits the CPU into this many devices, so that replicas can be tried without accelerators.
        tpu: `local` for that of this machine, or the name or grpc:// addresses of a Cloud TPU.

    Raises:
        UserError: if the backend is not TensorFlow, the devices are not to be had, or they lack the precision.
    """
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


def check_batch_size(batch_size: int, replicas: int, accumulate: int) -> None:
    """Raises UserError, with the nearest sizes that would do, unless every replica gets equal micro-batches."""
    unit = replicas * accumulate
    if batch_size % unit:
        below, above = batch_size // unit * unit, (batch_size // unit + 1) * unit
        nearest = f"{below} or {above}" if below else str(above)
        raise UserError(
            f"--batch_size={batch_size} does not divide into {replicas} replicas x {accumulate} micro-batches; "
            f"the nearest that do: {nearest}."
        )


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
    found = cluster.find()
    if not found:
        raise UserError(
            "--distribution=multi_worker needs several processes that know of each other: start them with srun, or "
            "give each a TF_CONFIG, as in https://www.tensorflow.org/guide/distributed_training."
        )
    strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=found.resolver())
    return strategy, f"{found.source} names {found.size} workers, this is {found.job} {found.index}"


def _auto(tpu: str) -> tuple[tf.distribute.Strategy, str]:
    if tpu != "local" or is_tpu_host():
        strategy, reason = connect_tpu(tpu)
        return strategy, f"{reason}; auto: " + ("this is its host" if tpu == "local" else "--tpu names it")
    found = cluster.find()
    if found and found.size > 1:
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
