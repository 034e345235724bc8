"""The way to a TPU, over stand-ins for the four things that need one; and what is said where there is none."""

import re
import socket
import types
import urllib.error

import numpy as np
import pytest
import tensorflow as tf

from trainers.engine.tensorflow import tpu

# As TensorFlow 2.21 and tensorflow-tpu 2.19.1 say them on a machine without a TPU.
NO_KERNEL = (
    "TPUs not found in the cluster. Failed in initialization: No OpKernel was registered to support Op "
    "'ConfigureDistributedTPU' used by {{node ConfigureDistributedTPU}} with these attrs: [tpu_embedding_config=\"\"]\n"
    "Registered devices: [CPU]\nRegistered kernels:\n  <no registered kernels>\n"
)
NO_PLATFORM = "Graph execution error:\n\nDetected at node disconnect_tpu_host/_1\nRET_CHECK failure *platform"


def topology(mesh, hosts):
    """All cores of a mesh x, y, z, core, in equal parts on the hosts."""
    coordinates = np.stack(np.unravel_index(np.arange(np.prod(mesh)), mesh), axis=-1)
    return tf.tpu.experimental.Topology(mesh_shape=mesh, device_coordinates=coordinates.reshape(hosts, -1, 4))


@pytest.fixture
def machine(monkeypatch):
    """Replaces what needs a TPU; `calls` are the calls made, in order."""
    calls = []

    def build(mesh=(2, 2, 1, 2), hosts=1, addresses=(), fails_at=None, error=None):
        def stand_in(name, result):
            def call(*arguments, **named):
                calls.append((name, *arguments, *named.values()))
                if name == fails_at:
                    raise error
                return result

            return call

        spec = tf.train.ClusterSpec({"worker": list(addresses)} if addresses else {})
        resolver = types.SimpleNamespace(task_type="worker", task_id=0, cluster_spec=lambda: spec)
        strategy = types.SimpleNamespace(cluster_resolver=resolver)
        for module, name, result in (
            (tf.distribute.cluster_resolver, "TPUClusterResolver", resolver),
            (tf.config, "experimental_connect_to_cluster", None),
            (tf.tpu.experimental, "initialize_tpu_system", topology(mesh, hosts)),
            (tf.distribute, "TPUStrategy", strategy),
        ):
            monkeypatch.setattr(module, name, stand_in(name, result))
        return resolver, strategy

    monkeypatch.delenv("TPU_WORKER_HOSTNAMES", raising=False)
    return types.SimpleNamespace(build=build, calls=calls)


@pytest.fixture
def addresses():
    """Two that accept connections."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    yield [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()


@pytest.mark.parametrize(("mesh", "size"), [((2, 2, 1, 2), "chips: 4, cores: 8"), ((2, 4, 1, 1), "chips: 8, cores: 8")])
def test_a_local_tpu_of_one_host(machine, mesh, size):
    resolver, strategy = machine.build(mesh)
    assert tpu.connect_tpu("local") == (strategy, f"TPU local, hosts: 1, {size}")
    assert machine.calls == [
        ("TPUClusterResolver", "local"),
        ("experimental_connect_to_cluster", resolver),
        ("initialize_tpu_system", resolver),
        ("TPUStrategy", resolver),
    ]


def test_a_pod_of_several_hosts(machine, addresses):
    _, strategy = machine.build((4, 2, 1, 2), hosts=2, addresses=addresses)
    assert tpu.connect_tpu("my-pod") == (strategy, "TPU my-pod, hosts: 2, chips: 8, cores: 16")
    assert machine.calls[0] == ("TPUClusterResolver", "my-pod")


def test_a_host_that_is_down_is_noticed_before_tensorflow_waits_for_it(machine, addresses):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    machine.build(hosts=2, addresses=[addresses[0], address])
    with pytest.raises(
        ValueError, match=re.escape(f"--tpu=my-pod is not to be had ({address} does not answer")
    ) as error:
        tpu.connect_tpu("my-pod")
    assert "grpc://HOST:8470" in str(error.value) and "--distribution=auto" in str(error.value)
    assert [name for name, *_ in machine.calls] == ["TPUClusterResolver"]


@pytest.mark.parametrize(
    ("name", "fails_at", "error", "said"),
    [
        ("local", "initialize_tpu_system", tf.errors.NotFoundError(None, None, NO_KERNEL), "without TPU support"),
        ("local", "initialize_tpu_system", tf.errors.InternalError(None, None, NO_PLATFORM), "RET_CHECK failure"),
        ("local", "TPUStrategy", RuntimeError("Mesh shape is odd"), "Mesh shape is odd"),
        ("my-tpu", "TPUClusterResolver", urllib.error.URLError("Name or service not known"), "Name or service"),
        ("my-tpu", "experimental_connect_to_cluster", RuntimeError("Missing the Google API client"), "Google API"),
        ("my-tpu", "initialize_tpu_system", tf.errors.UnimplementedError(None, None, "http2 404"), "http2 404"),
    ],
)
def test_no_tpu_is_one_line_with_advice(machine, name, fails_at, error, said):
    machine.build(fails_at=fails_at, error=error)
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        tpu.connect_tpu(name)
    message = str(raised.value)
    assert "\n" not in message and len(message) < 600
    assert message.endswith("--distribution=auto.")
    if name == "local":
        assert "pip uninstall tensorflow" in message and "-e .[tpu] -c constraints/tpu.txt" in message
        assert "restart the runtime" in message and "on Colab, choose a TPU runtime" in message
    else:
        assert "--tpu=my-tpu" in message and "running Cloud TPU" in message


def test_tensorflow_itself_without_a_tpu():
    """Plain TensorFlow and tensorflow-tpu fail differently; the stand-ins above repeat both."""
    with pytest.raises(ValueError, match="found no TPU that it can use") as error:
        tpu.connect_tpu("local")
    plain = "ConfigureDistributedTPU" in str(error.value.__cause__)
    assert (f"TensorFlow {tf.__version__} is installed without TPU support" in str(error.value)) is plain


def test_plain_tensorflow_on_a_tpus_host_is_not_sent_back_to_auto(machine, monkeypatch):
    """auto would choose the TPU again."""
    machine.build(fails_at="initialize_tpu_system", error=tf.errors.NotFoundError(None, None, NO_KERNEL))
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "localhost")
    with pytest.raises(ValueError, match="--distribution=one_device") as error:
        tpu.connect_tpu("local")
    assert "--distribution=auto" not in str(error.value)


@pytest.mark.parametrize(
    ("hosts", "alone"), [(None, False), ("", False), ("localhost", True), ("t-0.tpu,t-1.tpu", False)]
)
def test_only_a_lone_host_counts_as_a_tpus_host(monkeypatch, hosts, alone):
    monkeypatch.delenv("TPU_WORKER_HOSTNAMES", raising=False)
    if hosts is not None:
        monkeypatch.setenv("TPU_WORKER_HOSTNAMES", hosts)
    assert tpu.is_tpu_host() is alone
