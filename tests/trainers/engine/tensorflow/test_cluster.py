"""Who this process is among whom, as TF_CONFIG and SLURM say it."""

import json
import os
import re
import socket
import subprocess
import sys

import pytest
import tensorflow as tf

from trainers.engine.tensorflow import cluster

WORKERS = ["10.0.0.1:2222", "10.0.0.2:2222"]


def tf_config(jobs, task):
    return json.dumps({"cluster": jobs, "task": task})


@pytest.fixture
def step(monkeypatch):
    """Sets the environment that `srun` gives to one task, and nothing else that names a cluster."""

    def enter(nodes, tasks_per_node, node, local, rank, tasks, job=7, step=0):
        values = {
            "JOB_ID": job,
            "STEP_ID": step,
            "STEP_NUM_TASKS": tasks,
            "STEP_NODELIST": nodes,
            "STEP_TASKS_PER_NODE": tasks_per_node,
            "PROCID": rank,
            "LOCALID": local,
        }
        for name, value in values.items():
            monkeypatch.setenv(f"SLURM_{name}", str(value))
        monkeypatch.setenv("SLURMD_NODENAME", node)

    for name in ("TF_CONFIG", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    return enter


@pytest.mark.parametrize(
    ("jobs", "task", "size"),
    [
        ({"worker": WORKERS}, {"type": "worker", "index": 1}, 2),
        ({"worker": WORKERS}, {"type": "worker", "index": "1"}, 2),
        ({"chief": ["10.0.0.9:2222"], "worker": WORKERS}, {"type": "chief", "index": 0}, 3),
        ({"chief": ["10.0.0.9:2222"]}, {"type": "chief", "index": 0}, 1),
    ],
)
def test_tf_config_names_the_cluster(jobs, task, size):
    workers = cluster.from_tf_config(tf_config(jobs, task))
    assert (workers.jobs, workers.job, workers.index, workers.size) == (jobs, task["type"], int(task["index"]), size)
    resolver = workers.resolver()
    assert resolver.cluster_spec().as_dict() == jobs
    assert (resolver.task_type, resolver.task_id) == (workers.job, workers.index)


@pytest.mark.parametrize("text", ["{}", '{"environment": "cloud"}', '{"cluster": {}, "task": {"type": "worker"}}'])
def test_a_tf_config_without_a_cluster_is_a_lone_process(text):
    assert cluster.from_tf_config(text) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "list of host:port"),
        ('{"cluster": ["a:1", "b:1"]}', "list of host:port"),
        (tf_config({"worker": "a:1"}, {"type": "worker", "index": 0}), "list of host:port"),
        (tf_config({"worker": ["a"]}, {"type": "worker", "index": 0}), "list of host:port"),
        (tf_config({"worker": []}, {"type": "worker", "index": 0}), "list of host:port"),
        (tf_config({"worker": WORKERS, "ps": ["a:1"]}, {"type": "worker", "index": 0}), "job 'ps'"),
        (tf_config({"worker": WORKERS, "evaluator": ["a:1"]}, {"type": "evaluator", "index": 0}), "job 'evaluator'"),
        (tf_config({"chief": WORKERS}, {"type": "chief", "index": 0}), "2 chiefs"),
        (json.dumps({"cluster": {"worker": WORKERS}}), "its task is None"),
        (tf_config({"worker": WORKERS}, {"type": "chief", "index": 0}), "which process of its jobs (worker)"),
        (tf_config({"worker": WORKERS}, {"type": "worker"}), "which process"),
        (tf_config({"worker": WORKERS}, {"type": "worker", "index": -1}), "which process"),
        (tf_config({"worker": WORKERS}, {"type": "worker", "index": 2}), "worker 2, but the workers are 0 to 1"),
    ],
)
def test_a_malformed_tf_config_is_one_line_that_says_what_is_wrong(text, said):
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        cluster.from_tf_config(text)
    assert str(error.value).startswith('TF_CONFIG must be JSON such as {"cluster": {"worker": ["host:port",')
    assert "\n" not in str(error.value)


def test_every_task_of_a_slurm_step_finds_its_own_address(step):
    """Also where the order of the hosts' names is not that of their numbers, and whichever way ranks are dealt out."""
    tasks = {0: ("n9", 0), 1: ("n9", 1), 2: ("n10", 0)}
    clusters = []
    for rank, (node, local) in tasks.items():
        step("n[9-10]", "2,1", node, local, rank, tasks=3)
        clusters.append(cluster.find())
        host, port = clusters[-1].jobs["worker"][clusters[-1].index].split(":")
        assert (host, int(port)) == (node, cluster.slurm_port(7, 0) + local)
    assert sorted(each.index for each in clusters) == [0, 1, 2]
    assert all(each.jobs == clusters[0].jobs and each.size == 3 and each.job == "worker" for each in clusters)
    assert clusters[0].source == "SLURM job 7"


def test_slurm_hands_out_gpus_and_a_worker_takes_all_it_sees(step, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [kind] * 2)
    step("n[1-2]", "2(x2)", "n2", 1, 3, tasks=4)
    workers = cluster.find()
    assert workers.size == 4 and workers.resolver().num_accelerators() == {"GPU": 2}
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,4"


def test_a_single_task_is_no_cluster_and_tf_config_comes_before_slurm(step, monkeypatch):
    step("n1", "1", "n1", 0, 0, tasks=1)
    assert cluster.find() is None
    step("n1", "2", "n1", 0, 0, tasks=2)
    monkeypatch.setenv("TF_CONFIG", tf_config({"worker": WORKERS}, {"type": "worker", "index": 1}))
    assert cluster.find().source == "TF_CONFIG"
    monkeypatch.setenv("TF_CONFIG", "")
    assert cluster.find().source == "SLURM job 7"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"SLURM_STEP_NODELIST": None}, "SLURM_STEP_NODELIST is not set"),
        ({"SLURM_STEP_NODELIST": "rack[0-1]n[0-3]"}, "Invalid hostlist"),
        ({"SLURM_STEP_TASKS_PER_NODE": "1"}, "only 1 were assigned"),
        ({"SLURMD_NODENAME": "elsewhere"}, "this one, elsewhere:"),
    ],
)
def test_what_slurm_leaves_unclear_is_one_line(step, monkeypatch, changes, said):
    step("n1", "2", "n1", 1, 1, tasks=2)
    for name, value in changes.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        cluster.find()
    assert str(error.value).startswith("SLURM says that 2 tasks run together") and "\n" not in str(error.value)


def test_steps_and_jobs_that_share_a_node_get_ports_of_their_own():
    starts = [cluster.slurm_port(job, step) for job in range(123456, 123456 + 40) for step in range(3)]
    assert min(b - a for a, b in zip(sorted(starts), sorted(starts)[1:], strict=False)) >= 64
    assert min(starts) > 1024 and max(starts) + 64 <= 32768


REDUCE = """
import json, os
import tensorflow as tf
from trainers.engine import runtime
chosen = runtime.start("auto", "auto", 0)
@tf.function
def total():
    def replica():
        own = tf.constant(10.0 ** int(os.environ["SLURM_PROCID"]))
        return tf.distribute.get_replica_context().all_reduce("SUM", own)
    return chosen.strategy.run(replica)
total = float(chosen.strategy.experimental_local_results(total())[0])
print(json.dumps([total, chosen.processes, chosen.replicas, chosen.is_chief, chosen.reason, chosen.precision]))
"""


def free_job():
    """A SLURM job whose first two ports are free."""
    for job in range(os.getpid(), os.getpid() + 350):
        try:
            for port in (cluster.slurm_port(job, 0), cluster.slurm_port(job, 0) + 1):
                with socket.socket() as each:
                    each.bind(("", port))
        except OSError:
            continue
        return job
    raise RuntimeError("no free ports")


@pytest.mark.slow
def test_two_slurm_tasks_reduce_together(step, request):
    job, processes = free_job(), []
    for rank in range(2):
        step("localhost", "2", "localhost", rank, rank, tasks=2, job=job)
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", REDUCE],
                cwd=request.config.rootpath,
                env=dict(os.environ),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs[0][1][-1500:] + outputs[1][1][-1500:]
    for rank, (out, _) in enumerate(outputs):
        reason = f"SLURM job {job} names 2 workers, this is worker {rank}; auto: several processes"
        assert json.loads(out) == [11.0, 2, 2, rank == 0, reason, "float32"]
