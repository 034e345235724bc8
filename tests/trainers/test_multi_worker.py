"""`--distribution=multi_worker` through the command line: two processes, one run folder."""

import json
import os
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

from trainers import pretrain

FLAGS = {
    "source": "synthetic",
    "variant": "mu/16",
    "image_size": 32,
    "batch_size": 16,
    "steps": 6,
    "evaluate_every": 3,
    "log_every": 3,
    "ema": 0.9,
    "clip_norm": 0.1,
}


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.mark.slow
def test_two_workers_write_one_folder_with_the_weights_of_one_process(tmp_path, request):
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    arguments = [f"--{name}={value}" for name, value in FLAGS.items()]
    processes = []
    for index in range(2):
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "trainers.pretrain", *arguments, f"--run_dir={tmp_path}/two"],
                cwd=request.config.rootpath,
                env={**os.environ, "TF_CONFIG": json.dumps(task)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs[0][1][-1500:] + outputs[1][1][-1500:]
    assert "8 on each of 2 replicas (2 workers, this is number 0)" in outputs[0][0]
    assert not outputs[1][0], "only the chief speaks"

    one = pretrain.run(pretrain.Settings(**FLAGS, run_dir=str(tmp_path / "one"), distribution="one_device"))
    two = keras.models.load_model(tmp_path / "two" / "model.keras")
    results = json.loads((tmp_path / "two" / "results.json").read_text())
    assert results["test_accuracy"] == pytest.approx(one.metrics["test_accuracy"], abs=1e-6)
    for ours, theirs in zip(two.weights, one.model.weights, strict=True):
        if not ours.path.endswith("key/bias"):
            assert np.abs(ours.numpy() - theirs.numpy()).max() <= 1e-5 * np.abs(theirs.numpy()).max(), ours.path
