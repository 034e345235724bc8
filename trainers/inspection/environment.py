"""What a run would find on this machine: versions, devices, XLA, precision, disk, and what to do about it."""

import os
import subprocess
import time
from typing import Any

import keras
import tensorflow as tf

from keras_vit.errors import reason
from trainers import machine
from trainers.engine.tensorflow import runtime
from trainers.engine.tensorflow.tpu import is_tpu_host

Section = dict[str, Any]

PACKAGES = ("tensorflow-tpu", "jax", "jaxlib", "matplotlib", "keras-cv", "scikit-learn", "safetensors")
LEAST_FREE = 10.0  # GiB; a checkpoint of B/16 with its optimizer takes 1

_NVIDIA = ("nvidia-smi", "--query-gpu=name,memory.total,memory.free,driver_version", "--format=csv,noheader,nounits")


def report(data_dir: str | None) -> dict[str, Section]:
    """All of it, by section.

    Args:
        data_dir: Folder of TensorFlow Datasets; their own default if None.
    """
    sections = {
        "versions": versions(),
        "devices": devices(),
        "XLA": xla(),
        "precision": precision(),
        "disk": disk(data_dir),
    }
    return sections | {"hints": hints(sections)}


def text(sections: dict[str, Section]) -> str:
    """The sections, to be read."""
    parts = []
    for title, rows in sections.items():
        width = max(map(len, rows), default=0)
        lines = [f"  {name:<{width}}  {value}" for name, value in rows.items()]
        parts.append("\n".join([title[0].upper() + title[1:], *(lines or ["  none"])]))
    return "\n\n".join(parts)


def versions() -> Section:
    """Of Python, what decides a result, and what else matters where it is installed."""
    rows: Section = machine.versions() | {"backend": keras.backend.backend()} | machine.versions(*PACKAGES)
    cuda = tf.sysconfig.get_build_info().get("cuda_version")
    return rows | ({"CUDA of this TensorFlow": cuda} if cuda else {})


def devices() -> Section:
    """Processors this process may use, memory, and accelerators."""
    rows: Section = {
        "CPUs allowed": machine.cpus(),
        "CPUs in all": os.cpu_count(),
        "memory (GiB)": machine.memory(),
    }
    for number, gpu in enumerate(tf.config.list_physical_devices("GPU")):
        details = tf.config.experimental.get_device_details(gpu)
        capability = ".".join(map(str, details.get("compute_capability", ("unknown",))))
        rows[f"GPU {number}"] = f"{details.get('device_name', gpu.name)}, compute capability {capability}"
    rows["GPUs that TensorFlow sees"] = len(tf.config.list_physical_devices("GPU"))
    rows |= {f"driver's GPU {number}": words for number, words in enumerate(drivers_gpus())}
    rows["TPU"] = "this is the host of one" if is_tpu_host() else "none that this machine is certainly the host of"
    return rows


def drivers_gpus() -> list[str]:
    """What NVIDIA's driver says of each GPU, whether TensorFlow sees it or not."""
    try:
        said = subprocess.run(_NVIDIA, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in said.splitlines()]
    return [
        f"{name}, {int(total) / 1024:.1f} GiB of which {int(free) / 1024:.1f} are free, driver {driver}"
        for name, total, free, driver in (
            row for row in rows if len(row) == 4 and row[1].isdigit() and row[2].isdigit()
        )
    ]


def kind() -> str:
    """Of the devices that --distribution=auto would take."""
    if is_tpu_host():
        return "TPU"
    return "GPU" if tf.config.list_physical_devices("GPU") else "CPU"


def xla() -> Section:
    """Whether a small function can be compiled and run, by kind of device; TPUs are not started for it."""
    kinds = dict.fromkeys(device.device_type for device in tf.config.list_physical_devices())
    return {name: _xla_on(name) for name in kinds if name in ("CPU", "GPU")}


def _xla_on(name: str) -> str:
    @tf.function(jit_compile=True, autograph=False)
    def compiled(value: tf.Tensor):
        return tf.reduce_sum(tf.nn.gelu(value @ value))

    begin = time.perf_counter()
    try:
        with tf.device(f"{name}:0"):
            compiled(tf.eye(8)).numpy()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        return f"does not work: {reason(error)}"
    return f"works; a small function was compiled and run in {time.perf_counter() - begin:.2f} s"


def precision() -> Section:
    """What each choice of --precision is here: whether a layer computes in it, and which one auto takes."""
    rows: Section = {}
    here = kind()
    for name, kinds in runtime.PRECISIONS.items():
        if name == "auto":
            policy, reason = runtime.FASTEST[here]()
            rows[name] = f"{policy} ({reason.removeprefix('auto: ')})"
        elif here not in kinds:
            rows[name] = f"does not exist on a {here}"
        else:
            rows[name] = "not tried: a TPU would have to be started" if here == "TPU" else _computes_in(name)
    return rows


def _computes_in(policy: str) -> str:
    try:
        layer = keras.layers.Dense(8, dtype=policy)
        value = layer(tf.ones((8, 8)))
        return "works" if bool(tf.reduce_all(tf.math.is_finite(tf.cast(value, "float32")))) else "gives no numbers"
    except (tf.errors.OpError, ValueError, TypeError) as error:
        return f"does not work: {reason(error)}"


def disk(data_dir: str | None) -> Section:
    """Free space where runs, data sets and indices would be written."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    places = {
        "runs": "saved_models",
        "data sets": data_dir or os.environ.get("TFDS_DATA_DIR") or os.path.join("~", "tensorflow_datasets"),
        "cache": os.path.join(cache, "keras_vit"),
    }
    return {f"{use}, {place} (GiB free)": machine.free_space(place) for use, place in places.items()}


def hints(sections: dict[str, Section]) -> Section:
    """What to do about what was found, a line each."""
    versions, devices, disk = sections["versions"], sections["devices"], sections["disk"]
    low = [place for place, free in disk.items() if isinstance(free, float) and free < LEAST_FREE]
    unseen = "driver's GPU 0" in devices and not devices["GPUs that TensorFlow sees"]
    off_tpu = "tensorflow-tpu" in versions and not is_tpu_host()
    said = {
        "GPU": "the driver has a GPU that TensorFlow does not see: pip install -e '.[gpu]'" * unseen,
        "TPU": "tensorflow-tpu off a TPU waits minutes for one: set TPU_SKIP_MDS_QUERY=1" * off_tpu,
        "XLA": "leave --xla out where it does not work"
        * any("not work" in words for words in sections["XLA"].values()),
        "disk": f"less than {LEAST_FREE:g} GiB for {', '.join(low)}" * bool(low),
        "notices": "TensorFlow's are hidden by TF_CPP_MIN_LOG_LEVEL=3, which commands set where it is unset; at 0 it "
        "says why it sees no GPU" * ("GPU 0" not in devices),
    }
    return {name: words for name, words in said.items() if words}
