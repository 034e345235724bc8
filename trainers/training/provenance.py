"""What a run was made with: the project's revision, the hardware."""

import pathlib
import platform
import subprocess

import tensorflow as tf

from trainers import machine
from trainers.engine.tensorflow.runtime import Runtime

ROOT = pathlib.Path(__file__).resolve().parents[2]


def revision(root: pathlib.Path = ROOT) -> str | None:
    """The commit of a git checkout, with `-modified` where files differ from it; None where there is no saying.

    Args:
        root: Of the checkout. A folder within one is none: an installed package is not what surrounds it.
    """
    if not (root / ".git").exists():
        return None
    command = ["git", "--no-optional-locks", "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty=-modified"]
    try:
        said = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return said.strip() or None


def hardware(where: Runtime) -> str:
    """Devices of a run, in words."""
    kinds = {tf.DeviceSpec.from_string(device).device_type for device in where.strategy.extended.worker_devices}
    machines = f" on {where.workers} machines" if where.workers > 1 else ""
    replicas = f", {where.replicas} replicas" if where.replicas > 1 else ""
    if "TPU" in kinds:
        return f"{where.replicas} TPU cores"
    if "GPU" in kinds:
        details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
        return f"{where.replicas} x {details.get('device_name', 'GPU')}{machines}"
    return f"{machine.cpus()} CPU cores ({platform.machine()}){replicas}{machines}"
