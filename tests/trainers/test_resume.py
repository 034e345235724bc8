"""A run that was cut off ends like one that never was: same weights bit for bit, same metrics, same results."""

import contextlib
import dataclasses
import io
import pathlib
import shutil
import signal

import keras
import pytest
import tensorflow as tf
from runs import At, assert_same, assert_same_values, crash, results, values

from trainers import evaluate, pretrain
from trainers.engine import checkpoint
from trainers.engine.endings import Preempted
from trainers.settings import command_line, flags
from trainers.training import resume

FLAGS = {
    "source": "synthetic",
    "variant": "mu/16",
    "image_size": 32,
    "depth": 1,
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
    "test_split": "none",
}


def terminate():
    signal.raise_signal(signal.SIGTERM)


def settings(run_dir, **changes):
    return pretrain.Settings(**{**FLAGS, "run_dir": str(run_dir), **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing happened to."""
    return pretrain.run(settings(tmp_path_factory.mktemp("whole") / "run"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "event", "resumes_from"),
    [
        (2, "on_train_batch_end", 0),
        (4, "on_train_batch_end", 3),
        (8, "on_test_batch_end", 6),
        (8, "on_epoch_end", 6),
        (12, "on_epoch_begin", 15),
        (17, "on_train_batch_end", 15),
        (20, "on_train_end", 20),
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


def test_after_a_full_disk_and_two_interrupts_it_ends_the_same(tmp_path, whole, monkeypatch, capsys):
    """What cannot be written is said and training goes on; a second interrupt stops at once.

    A damaged newest checkpoint then costs only time.
    """
    write = tf.io.gfile.GFile.write

    def full(self, data):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    def begins():
        monkeypatch.setattr(tf.io.gfile.GFile, "write", full)

    def ends():
        monkeypatch.setattr(tf.io.gfile.GFile, "write", write)

    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        pretrain.run(settings(tmp_path / "run"), callbacks=[At(5, begins), At(13, ends), At(17, twice)])
    said = capsys.readouterr().err
    assert "no checkpoint of step 9" in said and "the last is of step 3" in said and "metrics.csv cannot" in said
    assert not (tmp_path / "run" / "results.json").exists()
    newest = max((tmp_path / "run" / "checkpoint").glob("step_*"))
    assert newest.name == "step_00000015"
    (newest / checkpoint.ARRAYS).write_bytes(b"rubbish")
    assert_same(pretrain.run(settings(tmp_path / "run")), whole)
    captured = capsys.readouterr()
    assert f"{newest.name} is damaged" in captured.err and "resumes from step 3 of 20" in captured.out


def stop(run_dir, step, event="on_train_batch_end"):
    """Trains as a command that is asked to stop; exit code and what it said."""

    def run(settings):
        return pretrain.run(settings, callbacks=[At(step, terminate, event)])

    arguments = flags.to_flagfile(settings(run_dir)).split()
    with contextlib.redirect_stderr(io.StringIO()) as said:
        return command_line.main(pretrain.Settings, run, "pretrain", arguments), said.getvalue()


def assert_stopped(code, said, step):
    assert code == 75
    assert "SIGTERM: finishing the step" in said and f"preempted: stopped after step {step};" in said
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.slow
@pytest.mark.parametrize("event", ["on_test_batch_end", "on_epoch_end"])
def test_asked_to_stop_around_an_evaluation(event, tmp_path, whole):
    assert_stopped(*stop(tmp_path / "run", 8, event), 8)
    assert_same(pretrain.run(settings(tmp_path / "run")), whole)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was asked to stop after step 10; tests copy it."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    assert_stopped(*stop(folder, 10), 10)
    return folder


@pytest.fixture
def run_dir(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path / "run")


def test_stopped_and_resumed_it_ends_the_same_and_alone_in_its_folder(run_dir, whole, capsys):
    def second():
        with pytest.raises(ValueError, match="another process is training"):
            pretrain.run(settings(run_dir))

    assert_same(pretrain.run(settings(run_dir), callbacks=[At(20, second, "on_train_end")]), whole)
    assert "resumes from step 10 of 20" in capsys.readouterr().out


class Ruin(keras.callbacks.Callback):
    """Forgets everything at the beginning of the last epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.model.set_weights([0 * weight for weight in self.model.get_weights()])


def test_the_best_weights_are_kept_as_a_model(tmp_path):
    changes = {"early_stopping": 0, "ema": 0, "steps": 4, "evaluate_every": 2, "warmup_steps": 0}
    result = pretrain.run(settings(tmp_path / "run", **changes), callbacks=[Ruin()])
    best = str(tmp_path / "run" / "checkpoint" / "best.keras")
    again = evaluate.run(evaluate.Settings(model=best, source="synthetic", split="validation"))
    assert again["vision transformer"] == pytest.approx(result.metrics["best_val_accuracy"], abs=1e-6)
    assert result.metrics["best_step"] < 4 and result.metrics["val_accuracy"] < result.metrics["best_val_accuracy"]


@pytest.mark.slow
def test_metrics_are_cut_back_whatever_became_of_the_file(run_dir, whole):
    with (run_dir / "metrics.csv").open("a") as file:
        file.write("12,192,9.9\n14,torn")
    assert_same(pretrain.run(settings(run_dir)), whole)


@pytest.mark.slow
def test_what_does_not_affect_the_result_may_change(run_dir, whole):
    changed = {"checkpoint_every": 7, "keep": 1, "steps_per_call": 1, "worker_timeout": 5, "accumulate": 1}
    result = pretrain.run(settings(run_dir, **changed))
    assert_same_values(values(result.model), values(whole.model))
    assert len(list((run_dir / "checkpoint").glob("step_*"))) == 1


def test_what_affects_the_result_may_not(run_dir):
    before = contents(run_dir)
    with pytest.raises(ValueError) as error:
        pretrain.run(settings(run_dir, learning_rate=0.5, seed=3))
    for words in ("--learning_rate was 0.001, is 0.5", "--seed was 0, is 3", "--resume=never"):
        assert words in str(error.value)
    assert contents(run_dir) == before


@pytest.mark.slow
def test_never_begins_anew(run_dir, capsys):
    pretrain.run(settings(run_dir, resume="never", steps=2, evaluate_every=2, warmup_steps=0))
    assert "resumes" not in capsys.readouterr().out


def test_require_wants_something(tmp_path):
    with pytest.raises(ValueError, match="holds no unfinished run"):
        pretrain.run(settings(tmp_path / "empty", resume="require"))
    assert not (tmp_path / "empty").exists()


def test_a_dry_run_says_where_it_would_go_on_and_changes_nothing(run_dir, capsys):
    before = contents(run_dir)
    for choice, goes_on in {"auto": True, "never": False}.items():
        pretrain.run(settings(run_dir, dry_run=True, resume=choice))
        assert ("goes on from step 10" in capsys.readouterr().out) == goes_on
    assert contents(run_dir) == before


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


def test_every_field_says_whether_it_affects_the_result():
    fields = dataclasses.fields(pretrain.Settings)
    assert all(isinstance(field.metadata["affects_result"], bool) for field in fields)
    harmless = {field.name for field in fields if not field.metadata["affects_result"]}
    assert harmless == {
        *("run_dir", "overwrite", "dry_run", "resume", "checkpoint_every", "keep", "log_every", "steps_per_call"),
        *("distribution", "logical_cpus", "tpu", "worker_timeout", "accumulate", "remat", "data_dir", "on_nonfinite"),
        *("on_bad_image", "max_bad_share", "cache", "license"),
    }


def test_a_changed_field_counts_if_it_says_so():
    for field in dataclasses.fields(pretrain.Settings):
        other = settings("run")
        value = getattr(other, field.name)
        object.__setattr__(other, field.name, "other" if value is None or isinstance(value, str) else not value)
        texts = resume.changes(settings("run"), other)
        assert len(texts) == field.metadata["affects_result"], field.name
        assert all(f"--{field.name} was {value}" in text for text in texts), field.name


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
