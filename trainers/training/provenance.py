"""What a run was made with: the project's revision, the hardware."""

import pathlib
import platform
import subprocess

from trainers import machine
from trainers.engine.protocols import Runtime

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
    machines = f" on {where.processes} machines" if where.processes > 1 else ""
    replicas = f", {where.replicas} replicas" if where.replicas > 1 else ""
    if where.device_kind == "TPU":
        return f"{where.replicas} TPU cores"
    if where.device_kind == "GPU":
        return f"{where.replicas} x {where.device_name}{machines}"
    return f"{machine.cpus()} CPU cores ({platform.machine()}){replicas}{machines}"
