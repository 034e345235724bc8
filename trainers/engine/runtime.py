"""What a run computes on: distribution strategy, precision, seed."""

import dataclasses

import keras
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Runtime:
    """Args:
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


def start(distribution: str, precision: str, seed: int) -> Runtime:
    """Chooses devices and seeds the initialisers.

    Raises:
        ValueError: if the backend is not TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"The training engine runs on TensorFlow, but KERAS_BACKEND is {keras.backend.backend()!r}; unset it."
        )
    keras.utils.set_random_seed(seed)
    strategy, reason = DISTRIBUTIONS[distribution]()
    return Runtime(strategy, reason, PRECISIONS[precision])


def _one_device():
    gpus = tf.config.list_logical_devices("GPU")
    device = gpus[0].name if gpus else "/device:CPU:0"
    return tf.distribute.OneDeviceStrategy(device), f"one device, {device}"


def _auto():
    strategy, reason = _one_device()
    found = len(tf.config.list_logical_devices("GPU"))
    return strategy, reason + (f" of {found} GPUs" if found > 1 else "")


DISTRIBUTIONS = {"auto": _auto, "one_device": _one_device}

PRECISIONS = {"float32": "float32", "mixed_bfloat16": "mixed_bfloat16"}
