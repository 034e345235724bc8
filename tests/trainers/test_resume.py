"""A run that was cut off ends like one that never was: same weights bit for bit, same metrics, same results."""

import csv
import dataclasses
import io
import json
import os
import pathlib
import shutil
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers import evaluate, pretrain
from trainers.engine import checkpoint
from trainers.engine.preemption import Preempted
from trainers.settings import command_line, flags
from trainers.training import resume

FLAGS = {
    "source": "synthetic",
    "variant": "mu/16",
    "image_size": 32,
    "batch_size": 16,
    "steps": 20,
    "evaluate_every": 8,
    "checkpoint_every": 3,
    "log_every": 2,
    "steps_per_call": 2,
    "dropout": 0.1,
    "ema": 0.9,
    "warmup_steps": 4,
    "weight_decay": 0.1,
    "early_stopping": 5,
}
OF_TIME = {"seconds", "images_per_second", "input_wait", "memory_gib"}


class At(keras.callbacks.Callback):
    """Does something once, after a given step or during the evaluation that follows it."""

    def __init__(self, step, action, event="on_train_batch_end"):
        super().__init__()
        self.step, self.action = step, action
        setattr(self, event, self._act)

    def _act(self, *arguments, **keywords):
        if self.model.optimizer.iterations.numpy() >= self.step:
            self.action()


def crash():
    raise SystemError("killed")


def terminate():
    signal.raise_signal(signal.SIGTERM)


def settings(run_dir, **changes):
    return pretrain.Settings(**{**FLAGS, "run_dir": str(run_dir), **changes})


def rows(run_dir):
    """metrics.csv but for what a clock measured."""
    with tf.io.gfile.GFile(os.path.join(run_dir, "metrics.csv")) as file:
        found = list(csv.DictReader(io.StringIO(file.read())))
    return [{name: value for name, value in row.items() if name not in OF_TIME} for row in found]


def results(run_dir):
    with tf.io.gfile.GFile(os.path.join(run_dir, "results.json")) as file:
        found = json.loads(file.read())
    return {name: value for name, value in found.items() if name not in OF_TIME}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing happened to."""
    return pretrain.run(settings(tmp_path_factory.mktemp("whole") / "run"))


def assert_same(result, whole):
    for one, other in zip(result.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert rows(result.run_dir) == rows(whole.run_dir)
    assert results(result.run_dir) == results(whole.run_dir)
    for name, values in whole.history.history.items():
        if name not in OF_TIME:
            assert result.history.history[name] == values, name
    assert result.history.epoch == whole.history.epoch


@pytest.mark.parametrize(
    ("step", "event", "resumes_from"),
    [
        pytest.param(2, "on_train_batch_end", 0, marks=pytest.mark.slow),
        pytest.param(4, "on_train_batch_end", 3, marks=pytest.mark.slow),
        pytest.param(8, "on_test_batch_end", 6, marks=pytest.mark.slow),
        pytest.param(8, "on_epoch_end", 6, marks=pytest.mark.slow),
        pytest.param(12, "on_epoch_begin", 15, marks=pytest.mark.slow),
        (17, "on_train_batch_end", 15),
        pytest.param(20, "on_train_end", 20, marks=pytest.mark.slow),
    ],
)
def test_killed_anywhere_it_ends_the_same(step, event, resumes_from, tmp_path, whole, capsys):
    with pytest.raises(SystemError):
        pretrain.run(settings(tmp_path / "run"), callbacks=[At(step, crash, event)])
    assert not (tmp_path / "run" / "results.json").exists()
    capsys.readouterr()
    result = pretrain.run(settings(tmp_path / "run"))
    assert_same(result, whole)
    said = capsys.readouterr().out
    assert (f"resumes from step {resumes_from} of 20" in said) == bool(resumes_from), said


@pytest.mark.parametrize(
    ("step", "event"),
    [
        (6, "on_train_batch_end"),
        pytest.param(8, "on_test_batch_end", marks=pytest.mark.slow),
        pytest.param(8, "on_epoch_end", marks=pytest.mark.slow),
    ],
)
def test_asked_to_stop_it_saves_and_leaves_with_75(step, event, tmp_path, whole, capsys):
    arguments = flags.to_flagfile(settings(tmp_path / "run")).split()

    def run(settings):
        return pretrain.run(settings, callbacks=[At(step, terminate, event)])

    assert command_line.main(pretrain.Settings, run, "pretrain", arguments) == 75
    said = capsys.readouterr().err
    assert "SIGTERM: finishing the step" in said and f"preempted: stopped after step {step};" in said
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert_same(pretrain.run(settings(tmp_path / "run")), whole)


class Ruin(keras.callbacks.Callback):
    """Forgets everything at the beginning of the last epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            self.model.set_weights([0 * weight for weight in self.model.get_weights()])


def test_the_best_weights_are_kept_as_a_model(tmp_path):
    result = pretrain.run(settings(tmp_path / "run", early_stopping=0, ema=0), callbacks=[Ruin()])
    best = str(tmp_path / "run" / "checkpoint" / "best.keras")
    again = evaluate.run(evaluate.Settings(model=best, source="synthetic", split="validation"))
    assert again["vision transformer"] == pytest.approx(result.metrics["best_val_accuracy"], abs=1e-6)
    assert result.metrics["best_step"] < 20 and result.metrics["val_accuracy"] < result.metrics["best_val_accuracy"]


def test_a_second_interrupt_stops_at_once(tmp_path):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        pretrain.run(settings(tmp_path / "run"), callbacks=[At(5, twice)])


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A run that was stopped after step 10; tests copy it."""
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.raises(Preempted):
        pretrain.run(settings(folder), callbacks=[At(10, terminate)])
    return folder


@pytest.fixture
def run_dir(interrupted, tmp_path):
    return shutil.copytree(interrupted, tmp_path / "run")


def test_a_damaged_newest_checkpoint_costs_only_time(run_dir, whole, capsys):
    newest = max((run_dir / "checkpoint").glob("step_*"))
    (newest / checkpoint.ARRAYS).write_bytes(b"rubbish")
    assert_same(pretrain.run(settings(run_dir)), whole)
    captured = capsys.readouterr()
    assert f"{newest.name} is damaged" in captured.err and "resumes from step 9 of 20" in captured.out


@pytest.mark.slow
def test_metrics_are_cut_back_whatever_became_of_the_file(run_dir, whole):
    with (run_dir / "metrics.csv").open("a") as file:
        file.write("12,192,9.9\n14,torn")
    assert_same(pretrain.run(settings(run_dir)), whole)


@pytest.mark.slow
def test_what_does_not_affect_the_result_may_change(run_dir, whole):
    changed = {"checkpoint_every": 7, "keep": 1, "steps_per_call": 1, "worker_timeout": 5, "accumulate": 1}
    result = pretrain.run(settings(run_dir, **changed))
    for one, other in zip(result.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(list((run_dir / "checkpoint").glob("step_*"))) == 1


def test_what_affects_the_result_may_not(run_dir):
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    with pytest.raises(ValueError) as error:
        pretrain.run(settings(run_dir, learning_rate=0.5, seed=3))
    for words in ("--learning_rate was 0.001, is 0.5", "--seed was 0, is 3", "--resume=never"):
        assert words in str(error.value)
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_never_begins_anew_and_require_wants_something(run_dir, tmp_path, capsys):
    pretrain.run(settings(run_dir, resume="never", steps=2, evaluate_every=2, warmup_steps=0))
    assert "resumes" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="holds no unfinished run"):
        pretrain.run(settings(tmp_path / "empty", resume="require"))
    assert not (tmp_path / "empty").exists()


def test_a_dry_run_says_where_it_would_go_on_and_changes_nothing(run_dir, capsys):
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    pretrain.run(settings(run_dir, dry_run=True))
    assert "goes on from step 10" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_only_one_process_trains_in_a_folder(run_dir):
    def second():
        with pytest.raises(ValueError, match="another process is training"):
            pretrain.run(settings(run_dir))

    pretrain.run(settings(run_dir), callbacks=[At(20, second, "on_train_end")])


def test_a_full_disk_is_said_and_training_goes_on(tmp_path, whole, monkeypatch, capsys):
    write = tf.io.gfile.GFile.write

    def full(self, data):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    def begins():
        monkeypatch.setattr(tf.io.gfile.GFile, "write", full)

    def ends():
        monkeypatch.setattr(tf.io.gfile.GFile, "write", write)

    result = pretrain.run(settings(tmp_path / "run"), callbacks=[At(5, begins), At(13, ends)])
    said = capsys.readouterr().err
    assert "no checkpoint of step 9" in said and "the last is of step 3" in said and "metrics.csv cannot" in said
    assert_same(result, whole)


@pytest.mark.slow
def test_the_run_folder_may_be_any_file_system(whole):
    """TensorFlow's in-memory one stands for object stores."""
    folder = "ram://resume/run"
    with pytest.raises(Preempted):
        pretrain.run(settings(folder), callbacks=[At(10, terminate)])
    result = pretrain.run(settings(folder))
    assert_same(result, whole)
    names = {name.rstrip("/") for name in tf.io.gfile.listdir(folder)}
    files = {"flags.cfg", "model.keras", "metrics.csv", "results.json", "card.md", "card.json"}
    assert names == files | {"logs", "checkpoint"}
    with pytest.raises(ValueError, match="finished run"):
        pretrain.run(settings(folder))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("[!.]*") if path.is_file()}


@pytest.mark.slow
def test_a_replacement_that_fails_leaves_the_finished_run_beside_it(tmp_path, capsys):
    short = {"steps": 2, "evaluate_every": 2, "warmup_steps": 0}
    first = pretrain.run(settings(tmp_path / "run", **short))
    before = contents(pathlib.Path(first.run_dir))
    with pytest.raises(SystemError):
        pretrain.run(settings(tmp_path / "run", overwrite=True, seed=1, **short), callbacks=[At(2, crash)])
    aside = tmp_path / "run.previous"
    assert contents(aside) == before
    assert f"is in {aside}" in capsys.readouterr().err
    aside.joinpath(".set_aside").unlink()
    with pytest.raises(ValueError, match="is in the way"):  # somebody's own folder of that name
        settings_again = settings(first.run_dir, overwrite=True, **short)
        finished = pathlib.Path(first.run_dir, "results.json")
        finished.write_text("{}")
        pretrain.run(settings_again)
    finished.unlink()
    aside.joinpath(".set_aside").write_text("")
    pretrain.run(settings(tmp_path / "run", overwrite=True, seed=1, **short))
    assert not aside.exists()


@pytest.mark.parametrize("command", [pretrain])
def test_every_field_says_whether_it_affects_the_result(command):
    for field in dataclasses.fields(command.Settings):
        assert isinstance(field.metadata["affects_result"], bool), field.name
    harmless = {field.name for field in dataclasses.fields(command.Settings) if not field.metadata["affects_result"]}
    assert harmless == {
        *("run_dir", "overwrite", "dry_run", "resume", "checkpoint_every", "keep", "log_every", "steps_per_call"),
        *("distribution", "logical_cpus", "tpu", "worker_timeout", "accumulate", "remat", "data_dir", "on_nonfinite"),
        *("on_bad_image", "max_bad_share", "cache", "licence"),
    }


@pytest.mark.parametrize("field", dataclasses.fields(pretrain.Settings), ids=lambda field: field.name)
def test_a_changed_field_counts_if_it_says_so(field):
    other = settings("run")
    value = getattr(other, field.name)
    object.__setattr__(other, field.name, "other" if value is None or isinstance(value, str) else not value)
    found = resume.changes(settings("run"), other)
    assert len(found) == field.metadata["affects_result"] and all(
        f"--{field.name} was {value}" in text for text in found
    )


@pytest.mark.slow
def test_a_callbacks_wish_to_stop_survives(tmp_path):
    """It comes in the middle of an interval, whose evaluation is then cut off."""

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations.numpy() == 6:
                self.model.stop_training = True

    whole = pretrain.run(settings(tmp_path / "whole"), callbacks=[Stop()])
    with pytest.raises(SystemError):
        pretrain.run(settings(tmp_path / "run"), callbacks=[Stop(), At(6, crash, "on_test_batch_end")])
    result = pretrain.run(settings(tmp_path / "run"), callbacks=[Stop()])
    assert result.metrics["step"] == 6
    assert_same(result, whole)


@pytest.mark.slow
def test_keras_own_callbacks_are_remembered_even_two_of_a_kind(tmp_path):
    def two():
        return [
            keras.callbacks.EarlyStopping("loss", mode="min", patience=2, min_delta=9.0),
            keras.callbacks.EarlyStopping("val_loss", mode="min", patience=3, min_delta=9.0),
        ]

    often = {"evaluate_every": 3, "early_stopping": 9}
    whole = pretrain.run(settings(tmp_path / "whole", **often), callbacks=two())
    with pytest.raises(SystemError):
        pretrain.run(settings(tmp_path / "run", **often), callbacks=[*two(), At(6, crash, "on_epoch_begin")])
    result = pretrain.run(settings(tmp_path / "run", **often), callbacks=two())
    assert result.metrics["step"] == whole.metrics["step"] < 20
    assert_same(result, whole)


def test_going_on_in_another_precision_is_refused(run_dir):
    """`auto` may mean something else on another machine."""
    flagfile = run_dir / "flags.cfg"
    flagfile.write_text(flagfile.read_text() + "--precision=mixed_bfloat16\n")
    with pytest.raises(ValueError, match=r"begun in float32 .* --precision=float32"):
        pretrain.run(settings(run_dir, precision="mixed_bfloat16"))


@pytest.mark.slow
def test_a_finished_run_is_replaced_on_any_file_system():
    short = {"steps": 2, "evaluate_every": 2, "warmup_steps": 0}
    first = pretrain.run(settings("ram://replace/run", **short))
    second = pretrain.run(settings("ram://replace/run", overwrite=True, seed=1, **short))
    assert results("ram://replace/run")["seed"] == 1 and first.metrics["seed"] == 0
    assert not tf.io.gfile.exists("ram://replace/run.previous/results.json")
    assert second.run_dir == "ram://replace/run"
