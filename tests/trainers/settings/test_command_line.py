"""Commands as processes: exit codes, one-line errors, help without heavy imports."""

import os
import pathlib
import subprocess
import sys

import pytest

from trainers import pretrain
from trainers.settings import command_line

ROOT = pathlib.Path(pretrain.__file__).parents[1]


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("name", ["pretrain", "evaluate"])
def test_help_lists_every_flag_without_loading_keras(name, tmp_path):
    (tmp_path / "keras.py").write_text("raise SystemExit('keras was imported')")
    done = command(f"trainers.{name}", "--help", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "--source" in done.stdout and f"python -m trainers.{name}" in done.stdout


def test_the_list_of_commands():
    done = command("trainers")
    assert done.returncode == 0
    assert "pretrain" in done.stdout and "evaluate" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--run_dir={tmp}/file"], ["{tmp}/file", "is a file"]),
        (["--run_dir={tmp}/foreign"], ["precious.txt", "no run wrote"]),
        (["--run_dir={tmp}/finished"], ["finished run", "--overwrite"]),
        (["--variant=Q/16"], ["Q/16", "B/16"]),
        (["--image_size=30"], ["30x30", "patches of 16", "32x32"]),
        (["--heads=5"], ["width 32", "5 heads"]),
        (["--source=imagenet"], ["imagenet", "digits"]),
        (["--source=tfds:nothing_like_it"], ["nothing_like_it", "no data set of that name"]),
        (["--train_split=training"], ["training", "validation"]),
        (["--warmup_steps=9"], ["--warmup_steps=9", "2 steps"]),
        (["--weights={tmp}/none.npz"], ["none.npz", "no such"]),
        (["--weights={tmp}/file"], ["file", "not a readable"]),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(arguments, fragments, tmp_path, capsys):
    (tmp_path / "file").write_text("text")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "precious.txt").write_text("keep me")
    (tmp_path / "finished").mkdir()
    for name in ("flags.cfg", "results.json", "model.keras"):
        (tmp_path / "finished" / name).write_text("kept")
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    base = ["--source=synthetic", "--variant=mu/16", "--image_size=32", "--steps=2", f"--run_dir={tmp_path}/new"]
    code = command_line.main(pretrain.Settings, pretrain.run, "pretrain", [*base, *given])
    stderr = capsys.readouterr().err
    assert code == 2
    assert stderr.startswith("error: ") and stderr.count("\n") == 1, stderr
    assert all(fragment.format(tmp=tmp_path) in stderr for fragment in fragments), stderr
    assert (tmp_path / "foreign" / "precious.txt").read_text() == "keep me"
    assert (tmp_path / "finished" / "model.keras").read_text() == "kept"
    assert not (tmp_path / "new").exists()


def test_an_error_of_the_program_keeps_its_traceback():
    def broken(settings):
        return int("not a user's mistake, but raised by a library")

    def library(settings):
        import json

        return json.loads("{")

    with pytest.raises(ValueError):
        command_line.main(pretrain.Settings, library, "pretrain", ["--steps=1"])


def test_a_missing_backend_names_the_extra(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ModuleNotFoundError('none', name='tensorflow')")
    done = command("trainers.pretrain", "--steps=1", PYTHONPATH=str(tmp_path), KERAS_BACKEND="tensorflow")
    assert done.returncode == 2
    assert done.stderr.startswith("error: tensorflow is not installed") and "[cpu]" in done.stderr


def test_another_backend_is_a_mistake_of_one_line():
    done = command("trainers.pretrain", "--steps=1", KERAS_BACKEND="torch")
    assert done.returncode == 2 and "KERAS_BACKEND is 'torch'" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("value", ["[]", '{"cluster": 3}'])
def test_a_broken_cluster_description_is_a_mistake_of_one_line(value):
    done = command("trainers.pretrain", "--steps=1", "--dry_run", TF_CONFIG=value)
    assert done.returncode == 2 and "error: TF_CONFIG must be JSON" in done.stderr
