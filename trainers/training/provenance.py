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
        root: Root of the checkout. A folder within one is none: an installed package is not what surrounds it.
    """
    if not (root / ".git").exists():
        return None
    command = ["git", "--no-optional-locks", "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty=-modified"]
    try:
        said = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return said.strip() or None


def hardware(runtime: Runtime) -> str:
    """Devices of a run, in words."""
    machines = f" on {runtime.processes} machines" if runtime.processes > 1 else ""
    replicas = f", {runtime.replicas} replicas" if runtime.replicas > 1 else ""
    if runtime.device_kind == "TPU":
        return f"{runtime.replicas} TPU cores"
    if runtime.device_kind == "GPU":
        return f"{runtime.replicas} x {runtime.device_name}{machines}"
    return f"{machine.cpus()} CPU cores ({platform.machine()}){replicas}{machines}"
