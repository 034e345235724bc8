"""The two training recipes of the reference runs (the paper's model under optax), through the command line."""

import csv
import json
import pathlib

import keras
import numpy as np
import pytest

import keras_vit
from trainers import pretrain
from trainers.settings import command_line

FIXTURES = pathlib.Path(__file__).parents[2] / "tests" / "fixtures"

# The model and the recipes that train.json describes in words.
COMMON = {
    "source": f"npz:{FIXTURES}/train_batches.npz",
    "weights": FIXTURES / "train_init.npz",
    "variant": "mu/8",
    "image_size": 32,
    "width": 48,
    "depth": 2,
    "heads": 4,
    "mlp_width": 96,
    "batch_size": 16,
    "steps": 20,
    "warmup_steps": 5,
    "augment": "none",
    "log_every": 1,
    "distribution": "one_device",
}
RECIPES = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.1, "schedule": "cosine", "clip_norm": 0.5},
    "adamw": {
        "optimizer": "adamw",
        "learning_rate": 3e-3,
        "end_learning_rate": 1e-5,
        "schedule": "linear",
        "clip_norm": 1.0,
        "label_smoothing": 0.1,
        "weight_decay": 0.1,
    },
}


@pytest.fixture(scope="module", params=RECIPES)
def run(request, tmp_path_factory):
    """Name of a recipe, what the reference implementation says of it, and the folder of our run."""
    folder = tmp_path_factory.mktemp("runs") / request.param
    arguments = [f"--{name}={value}" for name, value in (COMMON | RECIPES[request.param]).items()]
    arguments += ["--noshuffle", f"--run_dir={folder}"]
    assert command_line.main(pretrain.Settings, pretrain.run, "pretrain", arguments) == 0
    expected = json.loads((FIXTURES / "train.json").read_text())["results"][request.param]
    return request.param, expected, folder


def test_losses_rates_and_norms_of_every_step(run):
    _, expected, folder = run
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 21))
    logged = {name: [float(row[name]) for row in rows] for name in ("loss", "learning_rate", "gradient_norm")}
    np.testing.assert_allclose(logged["loss"], expected["losses"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(logged["learning_rate"], expected["learning_rates"], rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(logged["gradient_norm"], expected["gradient_norms"], rtol=0, atol=1e-4)


def test_final_weights_and_logits(run):
    name, expected, folder = run
    trained = keras.models.load_model(folder / "model.keras")
    reference = keras_vit.weights.load(FIXTURES / f"train_{name}.final.npz")
    assert [one.path for one in trained.variables] == [other.path for other in reference.variables]
    for one, other in zip(trained.variables, reference.variables, strict=True):
        difference = np.abs(one.numpy() - other.numpy()).max()
        if one.path.endswith("key/bias"):  # no true gradient: Adam steps on rounding noise
            assert difference <= sum(expected["learning_rates"]), one.path
        else:
            assert difference <= 1e-3 * np.abs(other.numpy()).max(), one.path
    images = np.load(FIXTURES / "train_batches.npz")["images"][0]
    np.testing.assert_allclose(trained(images), reference(images), rtol=0, atol=1e-3)
