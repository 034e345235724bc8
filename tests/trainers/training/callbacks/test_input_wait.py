"""A run that waits for its input says so, once, and what to change: only what would help this run."""

import dataclasses
import io
import threading
import time
import types

import pytest
import tensorflow as tf

from trainers import pretrain
from trainers.data import sources
from trainers.data.source import Split
from trainers.training.callbacks import input_wait

GIB = 2**30


def settings(**changes):
    return pretrain.Settings(steps=1, **changes)


def split(encoded_bytes=None):
    return Split(1000, lambda index: None, lambda: None, str, encoded_bytes)


def said(monkeypatch, calls):
    """What is said of calls into the graph, given as (updates, seconds, share spent waiting)."""
    now = [0.0]
    monkeypatch.setattr(input_wait, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))
    watch = input_wait.InputWait(settings(), split(), io.StringIO())
    watch.on_train_begin()
    step = 0
    for updates, seconds, waited in calls:
        watch.on_train_batch_begin(step)
        now[0] += seconds
        step += updates
        watch.on_train_batch_end(step - 1, {"input_wait": waited})
        now[0] += 100.0  # between calls, as in an evaluation, nobody waits for input
    return watch.stream.getvalue()


@pytest.mark.parametrize(
    ("calls", "share"),
    [
        ([(50, 10, 0.0)] + [(50, 10, 0.2)] * 3, "20%"),
        ([(50, 10, 0.0), (50, 30, 0.05), (50, 10, 0.45)], "15%"),  # 1.5 s and 4.5 s of 40 s
        ([(50, 10, 0.0), (100, 30, 0.0), (100, 30, 0.5)], "50%"),  # not diluted by a good beginning
        ([(50, 10, 0.0)] + [(50, 10, 0.1)] * 9, None),
        ([(50, 1000, 1.0)] + [(50, 10, 0.01)] * 9, None),  # the pipeline fills
        ([(50, 10, 0.0), (98, 1000, 0.9)], None),  # few updates
        ([(50, 10, 0.0), (5000, 29, 0.9)], None),  # a short time
        ([(50, 10, 0.0), (99, 20, 0.9), (100, 300, 0.0)], None),  # little in all
    ],
)
def test_it_speaks_of_more_than_a_tenth_of_a_while(monkeypatch, calls, share):
    text = said(monkeypatch, calls)
    assert (share in text and text.startswith("advice: ") and "CPU cores" in text) if share else not text


def test_it_speaks_once(monkeypatch):
    assert said(monkeypatch, [(100, 30, 0.5)] * 9).count("advice") == 1


@pytest.mark.parametrize(
    ("changes", "encoded_bytes", "words"),
    [
        ({"source": "digits"}, None, {"cores"}),
        ({"source": "tfrecord:DIR"}, None, {"cores"}),
        ({"source": "folder:DIR"}, GIB // 2, {"cores"}),  # in memory already, by auto
        ({"source": "folder:DIR"}, 2 * GIB, {"cores", "--cache=memory", "trainers.prepare"}),
        ({"source": "folder:DIR", "cache": "none"}, GIB // 2, {"cores", "--cache=memory", "trainers.prepare"}),
        ({"source": "folder:DIR", "cache": "memory"}, 2 * GIB, {"cores"}),
        ({"source": "jsonl:gs://b/a.jsonl"}, None, {"cores", "trainers.prepare"}),
        ({"source": "tfrecord:DIR"}, 9 * GIB, {"cores"}),  # more than half of this machine
        ({"source": "digits", "randaugment_layers": 2}, None, {"cores", "randaugment_layers=2"}),
        ({"source": "digits", "antialias": True}, None, {"cores", "--antialias"}),
    ],
)
def test_it_names_only_what_would_help(monkeypatch, changes, encoded_bytes, words):
    monkeypatch.setattr(input_wait.machine, "memory", lambda: 16.0)
    text = input_wait.words(0.5, 30.0, settings(**changes), split(encoded_bytes))
    known = {"cores", "--cache=memory", "trainers.prepare", "randaugment_layers=2", "--antialias"}
    assert {word for word in known if word in text} == words
    assert len(text.splitlines()) == 1 + len(words)


@pytest.mark.parametrize(("share", "wanted"), [(0.11, 3), (0.5, 4), (0.75, 8), (1.0, 200)])
def test_so_many_cores_would_keep_up(monkeypatch, share, wanted):
    monkeypatch.setattr(input_wait.machine, "cpus", lambda: 2)
    assert f"may use 2; about {wanted} " in input_wait.cores(share)


def test_a_run_on_a_slow_source_says_so(monkeypatch, tmp_path, capfd):
    real, one_at_a_time = sources.SOURCES["synthetic"], threading.Lock()

    def slowly(index):
        with one_at_a_time:
            time.sleep(0.02)
        return index

    def slow(part):
        def read(index):
            return part.read(tf.ensure_shape(tf.numpy_function(slowly, [index], tf.int64), ()))

        return dataclasses.replace(part, read=read)

    def opened(value, settings):
        source = real(value, settings)
        return dataclasses.replace(source, splits={name: slow(part) for name, part in source.splits.items()})

    monkeypatch.setitem(sources.SOURCES, "synthetic", opened)
    monkeypatch.setattr(input_wait.InputWait, "UPDATES", 4)
    monkeypatch.setattr(input_wait.InputWait, "SECONDS", 0.01)
    small = {"variant": "mu/16", "image_size": 32, "batch_size": 8, "steps_per_call": 2, "log_every": 2}
    pretrain.run(
        pretrain.Settings(
            source="synthetic",
            **small,
            steps=10,
            evaluate_every=10,
            validation_split="none",
            test_split="none",
            run_dir=str(tmp_path / "run"),
        )
    )
    stderr = capfd.readouterr().err
    assert stderr.count("advice: of the last") == 1 and "more CPU cores" in stderr
    assert "input wait " in stderr.splitlines()[-1]
