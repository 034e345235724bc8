"""Which processes train together, and which of them this one is: what TF_CONFIG or SLURM says."""

import dataclasses
import json
import os
import re

import tensorflow as tf

from keras_vit.errors import UserError

# What `srun` sets in each task of a job step.
SLURM_VARIABLES = (
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "SLURM_STEP_NODELIST",
    "SLURM_STEP_TASKS_PER_NODE",
    "SLURM_PROCID",
    "SLURM_LOCALID",
    "SLURMD_NODENAME",
)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The processes of a run, of which this is one.

    Args:
        jobs: Addresses (host:port) of the processes: those of `worker`, and perhaps one of `chief`.
        job: Name of the job that this process belongs to.
        index: Its place there.
        source: Source of this, in words.
    """

    jobs: dict[str, list[str]]
    job: str
    index: int
    source: str

    @property
    def size(self) -> int:
        """Number of processes."""
        return sum(len(addresses) for addresses in self.jobs.values())

    def resolver(self) -> tf.distribute.cluster_resolver.ClusterResolver:
        """For MultiWorkerMirroredStrategy, which takes as many GPUs as the resolver claims: all this process sees."""
        return tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec(self.jobs),
            task_type=self.job,
            task_id=self.index,
            rpc_layer="grpc",
            num_accelerators={"GPU": len(tf.config.get_visible_devices("GPU"))},
        )


def find() -> Cluster | None:
    """The cluster that TF_CONFIG names, or else SLURM's job step if it has several tasks; None without either.

    Raises:
        UserError: if what they say is malformed, or names processes that do not train.
    """
    return from_tf_config(os.environ.get("TF_CONFIG") or "{}") or from_slurm()


def from_tf_config(text: str) -> Cluster | None:
    """The cluster in a value of TF_CONFIG, or None if it has none, as services set it for a lone process.

    Raises:
        UserError: if it is malformed, or has jobs other than chief and worker.
    """
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise _bad_tf_config(f"is not JSON: {error}") from error
    jobs = config.get("cluster", {}) if isinstance(config, dict) else None
    if not isinstance(jobs, dict) or not all(_are_addresses(addresses) for addresses in jobs.values()):
        raise _bad_tf_config("does not give each job of its cluster a list of host:port")
    if not jobs:
        return None
    if unknown := sorted(set(jobs) - {"chief", "worker"}):
        raise _bad_tf_config(f"has the job {unknown[0]!r}, but only chief and worker train here")
    if len(jobs.get("chief", ())) > 1:
        raise _bad_tf_config(f"has {len(jobs['chief'])} chiefs; one process is enough to write files")
    task = config.get("task")
    if not isinstance(task, dict) or task.get("type") not in jobs or not str(task.get("index")).isdecimal():
        raise _bad_tf_config(
            f"does not say which process of its jobs ({', '.join(jobs)}) this is: its task is {task!r}"
        )
    job, index = task["type"], int(task["index"])
    if index >= len(jobs[job]):
        raise _bad_tf_config(f"says that this is {job} {index}, but the {job}s are 0 to {len(jobs[job]) - 1}")
    return Cluster(jobs, job, index, "TF_CONFIG")


def from_slurm() -> Cluster | None:
    """The tasks of a SLURM job step, i.e. of one `srun`; None outside a step, or in one of a single task.

    SLURM hands out GPUs, not we: with `srun --gpus-per-task=N` each task sees N of its own.

    Raises:
        UserError: if variables are missing, or name hosts in a form that TensorFlow does not read.
    """
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    if tasks < 2:
        return None
    if missing := [name for name in SLURM_VARIABLES if name not in os.environ]:
        raise _bad_slurm(tasks, f"{missing[0]} is not set")
    first_port = slurm_port(int(os.environ["SLURM_JOB_ID"]), int(os.environ["SLURM_STEP_ID"]))
    try:
        # Used to read the list of hosts only. The counts of GPUs merely let it number the tasks of a node: left out, it
        # runs nvidia-smi, and with none it fails.
        spec = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=first_port, gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False
        ).cluster_spec()
    except (RuntimeError, ValueError) as error:
        raise _bad_slurm(tasks, str(error)) from error
    workers = spec.job_tasks("worker")
    # It sorts hosts as strings, n10 before n9, and then gives SLURM's numbers of the tasks to the wrong hosts. So which
    # task this is follows from where it runs.
    own = f"{os.environ['SLURMD_NODENAME']}:{first_port + int(os.environ['SLURM_LOCALID'])}"
    if own not in workers:
        raise _bad_slurm(tasks, f"this one, {own}, is not among {', '.join(workers)}")
    return Cluster({"worker": workers}, "worker", workers.index(own), f"SLURM job {os.environ['SLURM_JOB_ID']}")


def slurm_port(job: int, step: int) -> int:
    """The port of a node's first task: the others take the next.

    64 ports to each step of each job, so that those that share a node do not collide: jobs of neighbouring numbers lie
    next to each other, their steps 97 blocks apart. All are below 32768, where Linux begins to choose ports itself.
    """
    return 10_000 + 64 * ((job + 97 * step) % 350)


def _are_addresses(addresses) -> bool:
    """Whether it is a list of host:port, and not an empty one."""
    if not isinstance(addresses, list) or not addresses:
        return False
    return all(isinstance(address, str) and re.fullmatch(r"\S+:\d+", address) for address in addresses)


def _bad_tf_config(problem: str) -> UserError:
    example = {"cluster": {"worker": ["host:port", "host:port"]}, "task": {"type": "worker", "index": 0}}
    return UserError(f"TF_CONFIG must be JSON such as {json.dumps(example)}; it {problem}.")


def _bad_slurm(tasks: int, problem: str) -> UserError:
    return UserError(
        f"SLURM says that {tasks} tasks run together, but {problem}; start them with srun, or set TF_CONFIG, or train "
        "on this machine alone with --distribution=mirrored."
    )
