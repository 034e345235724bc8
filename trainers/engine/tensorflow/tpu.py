"""Connecting to a TPU: one host's own, or a pod of several hosts by name."""

import os
import socket
import textwrap

import tensorflow as tf

from keras_vit.errors import UserError

# For a TPU's host to accept a connection. TensorFlow itself waits without end for one that is down.
CONNECT_SECONDS = 10.0


def connect_tpu(name: str) -> tuple[tf.distribute.TPUStrategy, str]:
    """The strategy for a TPU, and a line that says how large it is.

    Args:
        name: `local` for this machine's own, or a Cloud TPU's name or addresses (grpc://HOST:8470,HOST:8470).

    Raises:
        UserError: if there is none, or TensorFlow is installed without TPU support; with advice.
    """
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        _check_reachable(resolver.cluster_spec())
        tf.config.experimental_connect_to_cluster(resolver)
        topology = tf.tpu.experimental.initialize_tpu_system(resolver)
        strategy = tf.distribute.TPUStrategy(resolver)
    except Exception as error:  # TensorFlow's, urllib's, and those of Google's clients, which need not be installed
        raise UserError(_advice(name, error)) from error
    cores = topology.num_tasks * topology.num_tpus_per_task
    # The mesh is x, y, z, core: up to v3, each chip is two devices, later one.
    chips = cores // int(topology.mesh_shape[3])
    return strategy, f"TPU {name}, hosts: {topology.num_tasks}, chips: {chips}, cores: {cores}"


def is_tpu_host() -> bool:
    """Whether this machine is certainly the only host of a TPU.

    Colab, Kaggle and Kubernetes name a TPU's hosts in this variable. Elsewhere nothing on the machine tells whether the
    TPU has other hosts too, and starting it from one of them would wait for the rest.
    """
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "")
    return bool(hosts) and "," not in hosts


def _check_reachable(spec: tf.train.ClusterSpec) -> None:
    """Raises OSError unless something listens at every address. A local TPU has none."""
    for address in (each for job in spec.jobs for each in spec.job_tasks(job)):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        except OSError as error:
            raise OSError(f"{address} does not answer: {error}") from error


def _advice(name: str, error: Exception) -> str:
    said = textwrap.shorten(str(error), 200)
    without = "--distribution=one_device" if is_tpu_host() else "--distribution=auto"
    if name != "local":
        return (
            f"--tpu={name} is not to be had ({said}); give the name of a running Cloud TPU in this machine's project "
            f"and zone, or its addresses as grpc://HOST:8470, or do without: {without}."
        )
    if "No OpKernel" in str(error):  # plain TensorFlow says so with and without a TPU
        said = f"TensorFlow {tf.__version__} is installed without TPU support: no ConfigureDistributedTPU"
    return (
        f"--distribution=tpu found no TPU that it can use ({said}); on a TPU machine: pip uninstall tensorflow, then "
        "pip install -e .[tpu] -c constraints/tpu.txt, and restart the runtime; on Colab, choose a TPU runtime first; "
        f"elsewhere do without: {without}."
    )
