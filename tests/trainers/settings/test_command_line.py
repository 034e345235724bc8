"""What surrounds every command: exit codes, one-line errors, help without heavy imports."""

import os
import pathlib
import subprocess
import sys

import pytest

from trainers import pretrain
from trainers.__main__ import commands
from trainers.settings import command_line

ROOT = pathlib.Path(pretrain.__file__).parents[1]


def in_a_process(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_help_lists_every_flag_without_loading_keras():
    done = in_a_process(
        "import importlib, sys\n"
        "from trainers.__main__ import commands\n"
        "from trainers.settings import command_line\n"
        "for name in commands():\n"
        "    module = importlib.import_module(f'trainers.{name}')\n"
        "    assert command_line.main(module.Settings, module.run, name, ['--help']) == 0\n"
        "assert not {'keras', 'numpy', 'tensorflow'} & set(sys.modules)\n"
    )
    assert done.returncode == 0, done.stderr
    for name in commands():
        recipes = " [--recipe=NAME]" if name in ("pretrain", "finetune") else ""
        assert f"python -m trainers.{name}{recipes} [--flagfile" in done.stdout
    assert "--source" in done.stdout and "--[no]per_class" in done.stdout


def test_the_commands_behind_one_name(tmp_path):
    """As the entry point calls it, from a folder that has nothing to do with the project."""
    code = "import sys; sys.argv[0] = 'keras-vit'; from trainers.__main__ import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(*arguments):
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    assert "paper/in1k_b32" in run().stdout
    assert "usage: python -m trainers.evaluate" in run("evaluate", "--help").stdout
    wrong = run("pretrian")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1) and "pretrain" in wrong.stderr
    refused = run("pretrain", "--steps=0")
    assert (refused.returncode, refused.stderr.splitlines()[0][:6]) == (2, "error:")


def test_the_list_of_commands():
    listed = commands()
    assert listed["pretrain"].startswith("Pre-trains") and "evaluate" in listed


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
    flags = [argument.format(tmp=tmp_path) for argument in arguments]
    base = ["--source=synthetic", "--variant=mu/16", "--image_size=32", "--steps=2", f"--run_dir={tmp_path}/new"]
    code = command_line.main(pretrain.Settings, pretrain.run, "pretrain", [*base, *flags])
    stderr = capsys.readouterr().err
    assert code == 2
    assert stderr.startswith("error: ") and stderr.count("\n") == 1, stderr
    assert all(fragment.format(tmp=tmp_path) in stderr for fragment in fragments), stderr
    assert (tmp_path / "foreign" / "precious.txt").read_text() == "keep me"
    assert (tmp_path / "finished" / "model.keras").read_text() == "kept"
    assert not (tmp_path / "new").exists()


BROKEN = """
import sys
from keras_vit.errors import UserError
from trainers import convert
from trainers.settings import command_line

def bug(settings):
    return dict(zip([1], [], strict=True))

def mistake(settings):
    raise UserError("--input=x is not there;\\n  name another.")

command_line.load_tensorflow = lambda: None
sys.exit(command_line.main(convert.Settings, RUN, "convert", ["--list"]))
"""


def test_a_bug_keeps_its_traceback_and_a_mistake_is_one_line():
    # Both are ValueErrors, but only one is for people.
    ours = in_a_process(BROKEN.replace("RUN", "bug"))
    assert ours.returncode == 1 and ours.stderr.startswith("Traceback"), ours.stderr
    assert "in bug" in ours.stderr and "ValueError: zip() argument 2 is shorter" in ours.stderr
    mistake = in_a_process(BROKEN.replace("RUN", "mistake"))
    assert (mistake.returncode, mistake.stderr) == (2, "error: --input=x is not there; name another.\n")


def test_a_missing_backend_names_the_extra(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert command_line.main(pretrain.Settings, pretrain.run, "pretrain", ["--steps=1"]) == 2
    said = capfd.readouterr().err
    assert said.startswith("error: tensorflow is not installed") and "[cpu]" in said


def test_another_backend_is_a_mistake_of_one_line(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert command_line.main(pretrain.Settings, pretrain.run, "pretrain", ["--steps=1"]) == 2
    said = capsys.readouterr().err
    assert "KERAS_BACKEND is 'torch'" in said and said.count("\n") == 1


@pytest.mark.parametrize("value", ["[]", '{"cluster": 3}'])
def test_a_broken_cluster_description_is_a_mistake_of_one_line(value, monkeypatch, capsys):
    monkeypatch.setenv("TF_CONFIG", value)
    assert command_line.main(pretrain.Settings, pretrain.run, "pretrain", ["--steps=1", "--dry_run"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: TF_CONFIG must be JSON") and said.count("\n") == 1
