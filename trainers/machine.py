"""What this machine is: processors, memory, free space, and the versions of what decides a result."""

import importlib.metadata
import os
import platform
import shutil
import sys


def cpus() -> int:
    """Processors that this process may use. os.cpu_count() counts what a container may not use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> float | None:
    """GiB of this machine, or of the container where that has less; None where nobody says."""
    try:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on every system
        return None
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            whole = min(whole, int(file.read()))
    except (OSError, ValueError):  # no such limit, or `max`
        pass
    return round(whole / 2**30, 1)


def peak_memory() -> float:
    """GiB that this process has held at most; NaN where the system does not tell."""
    if sys.platform == "win32":  # which has no module `resource`
        return float("nan")
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def free_space(path: str) -> float | str:
    """GiB free where a folder is, or would be made."""
    if "://" in path:
        return "not known: not on this machine"
    existing = os.path.abspath(os.path.expanduser(path))
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    return round(shutil.disk_usage(existing).free / 2**30, 1)


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, of the packages that decide a result, and of others; only of those that are installed."""
    versions = {"python": platform.python_version()}
    for package in (*DECIDING, *packages):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


DECIDING = ("keras_vit", "keras", "tensorflow", "numpy", "tensorflow-datasets")
