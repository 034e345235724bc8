"""Where a run takes place: the one door to a backend of the engine."""

from keras_vit.errors import UserError
from trainers.engine.protocols import Runtime


def start(distribution: str, precision: str, seed: int, logical_cpus: int | None = None, tpu: str = "local") -> Runtime:
    """Chooses devices, and seeds Keras's initialisers; with them Python's, NumPy's and TensorFlow's global generators.

    Args:
        distribution: `auto`, `one_device`, `mirrored`, `multi_worker` or `tpu`.
        precision: Name of a dtype policy, or `auto`.
        seed: Seed of the initialisers.
        logical_cpus: Splits the CPU into this many devices, so that replicas can be tried without accelerators.
        tpu: `local` for that of this machine, or the name or grpc:// addresses of a Cloud TPU.

    Raises:
        UserError: if Keras runs on another backend, the devices are not to be had, or they lack the precision.
    """
    from trainers.engine.tensorflow import runtime

    return runtime.start(distribution, precision, seed, logical_cpus, tpu)


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
