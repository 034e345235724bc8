"""What auto chooses and why, over stand-ins for devices that are not here; precision by device."""

import json
import types

import pytest
import tensorflow as tf

from trainers.engine import runtime
from trainers.engine.tensorflow import runtime as backend

PLACES = ("TPU_WORKER_HOSTNAMES", "TF_CONFIG", "SLURM_STEP_NUM_TASKS")


class Strategy:
    """Stands in for a tf.distribute strategy on devices of one kind."""

    def __init__(self, devices, resolver=None):
        self.extended = types.SimpleNamespace(worker_devices=tuple(devices))
        self.num_replicas_in_sync = len(devices)
        self.cluster_resolver = resolver


class MultiWorkerStrategy(Strategy):
    def __init__(self, cluster_resolver):
        super().__init__(["/job:worker/task:0/device:CPU:0"], cluster_resolver)


@pytest.fixture
def machine(monkeypatch):
    """Sets the GPUs that TensorFlow sees, by compute capability; with none of them, one CPU."""

    def has(*capabilities):
        gpus = [types.SimpleNamespace(name=f"/device:GPU:{index}") for index in range(len(capabilities))]
        devices = {"GPU": gpus, "CPU": [types.SimpleNamespace(name="/device:CPU:0")]}
        details = [
            {"device_name": f"GPU of {each}"} | ({"compute_capability": each} if each else {}) for each in capabilities
        ]
        monkeypatch.setattr(tf.config, "list_logical_devices", devices.get)
        monkeypatch.setattr(tf.config, "get_visible_devices", devices.get)
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details[gpus.index(gpu)])

    for name in PLACES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tf.distribute, "OneDeviceStrategy", lambda device: Strategy([device]))
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", Strategy)
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", MultiWorkerStrategy)
    return has


@pytest.fixture
def tpu(monkeypatch):
    """A pod of two hosts, whose resolver asks a service each time for its addresses; the names it was asked for."""
    names = []

    def ask_cloud():
        raise AssertionError("who is chief should not depend on a service that may be down")

    def connect(name):
        names.append(name)
        resolver = types.SimpleNamespace(task_type="worker", task_id=0, cluster_spec=ask_cloud)
        devices = [f"/job:worker/replica:0/task:{task}/device:TPU:{core}" for task in (0, 1) for core in range(4)]
        return Strategy(devices, resolver), f"TPU {name}"

    monkeypatch.setattr(backend, "connect_tpu", connect)
    monkeypatch.setitem(backend.DISTRIBUTIONS, "tpu", connect)
    return names


@pytest.mark.parametrize(
    ("capabilities", "reason"),
    [
        ((), "one device, /device:CPU:0; auto: TensorFlow sees no GPU"),
        (((7, 5),), "one device, /device:GPU:0; auto: all GPUs there are"),
        (((7, 5), (7, 5)), "mirrored on /device:GPU:0, /device:GPU:1; auto: all GPUs there are"),
    ],
)
def test_auto_takes_all_devices_and_says_why(machine, capabilities, reason):
    machine(*capabilities)
    chosen = runtime.start("auto", "auto", 0)
    assert (chosen.reason, chosen.replicas, chosen.processes) == (reason, max(1, len(capabilities)), 1)
    assert chosen.is_chief


def test_auto_joins_the_workers_that_the_environment_names(machine, monkeypatch):
    machine()
    task = {"cluster": {"worker": ["a:1", "b:1", "c:1"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(task))
    chosen = runtime.start("auto", "auto", 0)
    assert chosen.reason == "TF_CONFIG names 3 workers, this is worker 1; auto: several processes"
    assert (chosen.processes, chosen.is_chief) == (3, False)
    assert runtime.start("one_device", "auto", 0).processes == 1
    monkeypatch.setenv("TF_CONFIG", json.dumps(task | {"task": {"type": "worker", "index": 0}}))
    chosen = runtime.start("multi_worker", "auto", 0)
    assert chosen.reason == "TF_CONFIG names 3 workers, this is worker 0" and chosen.is_chief


@pytest.mark.parametrize(("job", "index", "chief"), [("chief", 0, True), ("worker", 0, False), ("worker", 1, False)])
def test_the_job_named_chief_is_the_only_chief(machine, monkeypatch, job, index, chief):
    machine()
    jobs = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": jobs, "task": {"type": job, "index": index}}))
    chosen = runtime.start("multi_worker", "auto", 0)
    assert (chosen.processes, chosen.is_chief) == (3, chief)
    assert chosen.reason == f"TF_CONFIG names 3 workers, this is {job} {index}"


def test_a_lone_worker_of_a_cluster_needs_no_strategy_for_several(machine, monkeypatch):
    machine()
    lone = json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}})
    monkeypatch.setenv("TF_CONFIG", lone)
    assert runtime.start("auto", "auto", 0).reason.startswith("one device")


def test_multi_worker_without_a_cluster_says_how_to_get_one(machine):
    machine()
    with pytest.raises(ValueError, match="start them with srun, or give each a TF_CONFIG"):
        runtime.start("multi_worker", "auto", 0)


@pytest.mark.parametrize(
    ("hosts", "name", "reason"),
    [
        ("localhost", "local", "TPU local; auto: this is its host"),
        ("", "my-tpu", "TPU my-tpu; auto: --tpu names it"),
    ],
)
def test_auto_takes_a_tpu_that_is_certain(machine, tpu, monkeypatch, hosts, name, reason):
    machine((8, 0))
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", hosts)
    assert runtime.start("auto", "auto", 0, tpu=name).reason == reason
    assert tpu == [name]


def test_auto_does_not_start_a_tpu_of_several_hosts_from_one_of_them(machine, tpu, monkeypatch):
    machine()
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "t-0,t-1")
    assert runtime.start("auto", "auto", 0).reason.startswith("one device")
    assert not tpu


def test_one_process_drives_all_hosts_of_a_tpu(machine, tpu):
    chosen = runtime.start("tpu", "auto", 0, tpu="my-pod")
    assert (chosen.replicas, chosen.processes, chosen.is_chief) == (8, 1, True)
    assert (chosen.precision, chosen.precision_reason) == ("mixed_bfloat16", "auto: TPUs multiply in bfloat16")


def test_a_tpu_has_no_float16(machine, tpu):
    with pytest.raises(
        ValueError, match=r"--precision=mixed_float16 does not exist on a TPU.*--precision=mixed_bfloat16"
    ):
        runtime.start("tpu", "mixed_float16", 0)
    assert runtime.start("tpu", "float32", 0).precision_reason == "as asked"


@pytest.mark.parametrize(
    ("capabilities", "precision", "said"),
    [
        ((), "float32", "CPUs"),
        (((6, 0),), "mixed_float16", "compute capability 6.0, is fast in float16 but not in bfloat16"),  # P100
        (((7, 0),), "mixed_float16", "compute capability 7.0"),  # V100
        (((7, 5),), "mixed_float16", "compute capability 7.5"),  # T4
        (((8, 0),), "mixed_bfloat16", "GPU of (8, 0), compute capability 8.0, is fast in bfloat16"),  # A100
        (((12, 0),), "mixed_bfloat16", "compute capability 12.0"),
        (((9, 0), (7, 5)), "mixed_float16", "GPU of (7, 5)"),  # the weakest decides
        ((None,), "float32", "TensorFlow does not tell"),  # no NVIDIA GPU
    ],
)
def test_auto_precision_is_what_the_devices_are_fast_in(machine, capabilities, precision, said):
    machine(*capabilities)
    chosen = runtime.start("auto", "auto", 0)
    assert chosen.precision == precision
    assert chosen.precision_reason.startswith("auto: ") and said in chosen.precision_reason


@pytest.mark.parametrize("precision", [name for name in backend.PRECISIONS if name != "auto"])
def test_a_precision_that_was_asked_for_is_taken(machine, precision):
    machine((7, 5))
    chosen = runtime.start("one_device", precision, 0)
    assert (chosen.precision, chosen.precision_reason) == (precision, "as asked")


def test_every_kind_of_device_has_an_auto_precision_that_it_supports():
    assert set(backend.FASTEST) == set(backend.PRECISIONS["auto"])
    assert {kind for kinds in backend.PRECISIONS.values() for kind in kinds} == set(backend.FASTEST)
