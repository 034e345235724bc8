"""Masked patch prediction on Fashion-MNIST without labels, then fine-tuning with 20 labels per class.

    python -m trainers.prepare --source=tfds:fashion_mnist
    python experiments/masked_patches_transfer.py [DATA_DIR]

Against the same training from new weights: the same images, updates and choice of the learning rate. Pre-training is
configs/masked_patches_fashion_mnist.cfg, once for each seed. Prints the table of docs/results.md; everything else, the
pictures of predicted patches too, goes to saved_models/masked_patches_transfer. Started again, it goes on.
"""

import json
import pathlib
import statistics
import sys
import time

import keras
import numpy as np
import tensorflow_datasets as tfds

import keras_vit
from trainers import finetune, pretrain
from trainers.settings import flags

CONFIG = pathlib.Path(__file__).parents[1] / "configs/masked_patches_fashion_mnist.cfg"
FOLDER = pathlib.Path("saved_models/masked_patches_transfer")
SEEDS = (0, 1, 2)
CLASSES, LABELS_PER_CLASS = 10, 20
FINETUNING = {
    **{"batch_size": 64, "steps": 300, "optimizer": "adamw", "weight_decay": 0.05, "flip": True, "baseline": False},
    **{"learning_rates": "0.0003,0.001,0.003", "held_out": 0.2, "warmup_steps": 30, "ema": 0.99, "xla": True},
}


def prepare(data_dir: str | None) -> None:
    """Writes 20 labelled examples of each class, of those that pre-training sees too, and all test images."""
    train, test = (
        tfds.as_numpy(tfds.load("fashion_mnist", split=split, batch_size=-1, data_dir=data_dir, download=False))
        for split in ("train[:55000]", "test")
    )
    few = np.concatenate([np.flatnonzero(train["label"] == label)[:LABELS_PER_CLASS] for label in range(CLASSES)])
    few = few[np.random.default_rng(0).permutation(len(few))]
    FOLDER.mkdir(parents=True, exist_ok=True)
    np.savez(
        FOLDER / "few.npz",
        images=train["image"][few],
        labels=train["label"][few],
        test_images=test["image"],
        test_labels=test["label"],
    )


def pretraining(data_dir: str | None, seed: int) -> pretrain.Settings:
    """Settings of the masked pre-training."""
    asked = [f"--flagfile={CONFIG}", f"--seed={seed}", f"--run_dir={FOLDER}/masked_{seed}"]
    return flags.read([*asked, *([f"--data_dir={data_dir}"] if data_dir else [])], pretrain.Settings)


def finetuned(weights: str, name: str, seed: int) -> float:
    """Test accuracy of training that begins from those weights."""
    run_dir = f"{FOLDER}/{name}_{seed}"
    settings = finetune.Settings(
        **FINETUNING, source=f"npz:{FOLDER}/few.npz", weights=weights, run_dir=run_dir, seed=seed
    )
    return metrics_of(finetune, settings)["test_accuracy"]


def metrics_of(command, settings) -> dict:
    """Results of a run, from its folder if it has finished."""
    path = pathlib.Path(settings.run_dir) / "results.json"
    return json.loads(path.read_text()) if path.exists() else command.run(settings).metrics


def new_weights(like: pretrain.Settings, seed: int) -> str:
    """Path of a model of the same size that nobody has trained."""
    size = {name: getattr(like, name) for name in ("image_size", "width", "depth", "heads", "mlp_width")}
    path = f"{FOLDER}/new_{seed}.keras"
    if not pathlib.Path(path).exists():
        keras.utils.set_random_seed(seed)
        keras_vit.build(like.variant, **size, channels=1, num_classes=CLASSES).save(path)
    return path


def main(data_dir: str | None) -> None:
    prepare(data_dir)
    found: dict[str, list[float]] = {"masked patches": [], "new weights": []}
    for seed in SEEDS:
        begin = time.monotonic()
        settings = pretraining(data_dir, seed)
        masked = metrics_of(pretrain, settings)["test_masked_accuracy"]
        middle = time.monotonic()
        found["masked patches"].append(finetuned(settings.run_dir, "finetuned", seed))
        found["new weights"].append(finetuned(new_weights(settings, seed), "scratch", seed))
        seconds = f"{middle - begin:.0f} s of pre-training, {time.monotonic() - middle:.0f} s of the others"
        print(f"seed {seed}: {100 * masked:.2f} % of masked patches predicted; {seconds}")
    for name, accuracies in found.items():
        mean, spread = statistics.fmean(accuracies), statistics.stdev(accuracies)
        shown = ", ".join(f"{100 * accuracy:.2f}" for accuracy in accuracies)
        print(f"from {name}: {100 * mean:.2f} % +- {100 * spread:.2f} ({shown})")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
