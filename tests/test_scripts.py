"""The scripts of experiments/, benchmarks/ and examples/ run to their end on toys: two updates, not thousands."""

import importlib.util
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
SHORT = {"steps": 2, "warmup_steps": 1, "evaluate_every": 2, "xla": False}
TINY = {"width": 16, "depth": 1, "heads": 2, "mlp_width": 16}

pytestmark = pytest.mark.slow


@pytest.fixture
def script(request, tmp_path, monkeypatch):
    """The module of a script, whose files go to a folder of the test's."""
    spec = importlib.util.spec_from_file_location("script", ROOT / request.param)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if hasattr(module, "FOLDER"):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
        monkeypatch.setattr(module, "SEEDS", (0, 1))
    monkeypatch.chdir(tmp_path)
    return module


def fashion_mnist(*arguments, **named):
    """In place of TensorFlow Datasets' function: 20 images of each class."""
    random = np.random.default_rng(0)
    return {"image": random.integers(0, 256, (200, 28, 28, 1), "uint8"), "label": np.arange(200) % 10}


@pytest.mark.parametrize("script", ["experiments/families.py"], indirect=True)
def test_families(script, monkeypatch, capsys):
    splits = {"source": "synthetic", "train_split": "train", "validation_split": "validation"}
    monkeypatch.setattr(script, "SEEDS", (0,))
    monkeypatch.setattr(script, "FAMILIES", {"ViT": script.FAMILIES["ViT"]})
    monkeypatch.setattr(script, "RECIPE", script.RECIPE | SHORT | splits | {"batch_size": 8, "epochs": None})
    script.main(None)
    assert capsys.readouterr().out.count("\n| ViT | 0 |") == 1


@pytest.mark.parametrize("script", ["experiments/fashion_transfer.py"], indirect=True)
def test_fashion_transfer(script, monkeypatch, capsys):
    monkeypatch.setattr(script.tfds, "load", fashion_mnist)
    monkeypatch.setattr(script.tfds, "as_numpy", lambda data: data)
    monkeypatch.setattr(script, "SHAPE", script.SHAPE | TINY)
    short = {"batch_size": 8, **SHORT}
    monkeypatch.setattr(script, "PRETRAINING", script.PRETRAINING | TINY | short | {"epochs": None})
    monkeypatch.setattr(script, "FINETUNING", script.FINETUNING | short | {"learning_rates": "0.1"})
    script.main(None)
    assert "from new weights: " in capsys.readouterr().out


@pytest.mark.parametrize("script", ["experiments/masked_patches_transfer.py"], indirect=True)
def test_masked_patches_transfer(script, monkeypatch, capsys):
    monkeypatch.setattr(script.tfds, "load", fashion_mnist)
    monkeypatch.setattr(script.tfds, "as_numpy", lambda data: data)
    short = {"batch_size": 8, **SHORT}
    monkeypatch.setattr(script, "FINETUNING", script.FINETUNING | short | {"learning_rates": "0.1"})
    asked = script.pretraining

    def tiny(data_dir, seed):
        import dataclasses

        few = {"source": f"npz:{script.FOLDER}/few.npz", "train_split": "train", "validation_split": "none"}
        return dataclasses.replace(asked(data_dir, seed), **TINY, **short, **few, epochs=None, test_split="test")

    monkeypatch.setattr(script, "pretraining", tiny)
    script.main(None)
    assert "from masked patches: " in capsys.readouterr().out


@pytest.mark.parametrize("script", ["experiments/distillation_digits.py"], indirect=True)
def test_distillation_digits(script, monkeypatch, capsys, tmp_path):
    config = tmp_path / "student.cfg"
    lines = script.CONFIG.read_text().splitlines()
    kept = [line for line in lines if line.split("=")[0].lstrip("-") not in (*SHORT, *TINY)]
    short = [f"--{name}={str(value).lower()}" for name, value in (SHORT | TINY).items()]
    config.write_text("\n".join([*kept, *short]))
    monkeypatch.setattr(script, "CONFIG", config)
    monkeypatch.setattr(script, "TEACHER", script.TEACHER | SHORT)
    monkeypatch.setattr(script, "TAUGHT", f"--teacher={tmp_path}/teacher")
    monkeypatch.setattr(script, "STUDENTS", {"soft": [f"--teacher={tmp_path}/teacher", "--distillation=soft"]})
    script.main()
    assert "| soft | " in capsys.readouterr().out


@pytest.mark.parametrize("script", ["examples/randaugment.py"], indirect=True)
def test_randaugment(script, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "PICTURE", tmp_path / "picture.jpg")
    monkeypatch.setattr(script, "MAGNITUDES", (10,))
    script.main()
    assert script.PICTURE.stat().st_size > 10_000


def test_model_fit_measures_a_row(tmp_path):
    script, output = ROOT / "benchmarks" / "model_fit.py", tmp_path / "row.npz"
    command = [sys.executable, script, output, "one_device", "AdamW", "off", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(output) as saved:
        assert saved["evaluation"].size and any(name.startswith("weights/") for name in saved)
