"""Transfer within Fashion-MNIST: pre-trained on five classes, fine-tuned on the five others with few labels.

    python -m trainers.prepare --source=tfds:fashion_mnist
    python experiments/fashion_transfer.py [DATA_DIR]

Against the same training from new weights: the same images, updates and choice of the learning rate. Prints the table
of docs/results.md; everything else goes to saved_models/fashion_transfer.
"""

import pathlib
import statistics
import sys
import time

import numpy as np
import tensorflow_datasets as tfds

import keras_vit
from trainers import finetune, pretrain

FOLDER = pathlib.Path("saved_models/fashion_transfer")
SEEDS = (0, 1, 2)
LABELS_PER_CLASS = 100
SHAPE = {"variant": "Ti/7", "width": 64, "depth": 4, "heads": 4, "mlp_width": 128}
PRETRAINING = {
    **SHAPE,
    **{"image_size": 28, "batch_size": 128, "epochs": 8.0, "learning_rate": 2e-3, "warmup_steps": 100},
    **{"weight_decay": 0.05, "flip": True, "ema": 0.99, "xla": True},
}
FINETUNING = {
    **{"image_size": 42, "batch_size": 64, "steps": 200, "optimizer": "adamw", "weight_decay": 0.05, "flip": True},
    **{"learning_rates": "0.0003,0.001,0.003", "held_out": 0.2, "warmup_steps": 20, "ema": 0.99, "xla": True},
}


def prepare(data_dir: str | None) -> None:
    """Writes both halves as `.npz` files: 30,000 examples of classes 0 to 4; a few of 5 to 9, with all test images."""
    parts = {
        split: tfds.as_numpy(tfds.load("fashion_mnist", split=split, batch_size=-1, data_dir=data_dir, download=False))
        for split in ("train", "test")
    }
    images, labels = ({split: part[name] for split, part in parts.items()} for name in ("image", "label"))
    upper = [np.flatnonzero(labels["train"] == label)[:LABELS_PER_CLASS] for label in range(5, 10)]
    few, many, test = np.concatenate(upper), labels["train"] < 5, labels["test"] >= 5
    few = few[np.random.default_rng(0).permutation(len(few))]
    FOLDER.mkdir(parents=True, exist_ok=True)
    np.savez(FOLDER / "lower.npz", images=images["train"][many], labels=labels["train"][many])
    np.savez(
        FOLDER / "upper.npz",
        images=images["train"][few],
        labels=labels["train"][few] - 5,
        test_images=images["test"][test],
        test_labels=labels["test"][test] - 5,
    )


def finetuned(weights: str, name: str, seed: int) -> float:
    """Test accuracy on the upper classes of training that begins from those weights."""
    run_dir = str(FOLDER / f"{name}_{seed}")
    settings = finetune.Settings(
        **FINETUNING, source=f"npz:{FOLDER}/upper.npz", weights=weights, run_dir=run_dir, seed=seed, overwrite=True
    )
    return finetune.run(settings).metrics["test_accuracy"]


def main(data_dir: str | None) -> None:
    prepare(data_dir)
    found: dict[str, list[float]] = {"fine-tuned": [], "from new weights": []}
    for seed in SEEDS:
        begin = time.monotonic()
        run_dir = str(FOLDER / f"lower_{seed}")
        pretrain.run(
            pretrain.Settings(
                **PRETRAINING, source=f"npz:{FOLDER}/lower.npz", run_dir=run_dir, seed=seed, overwrite=True
            )
        )
        middle = time.monotonic()
        found["fine-tuned"].append(finetuned(run_dir, "finetuned", seed))
        path = str(FOLDER / f"new_{seed}.keras")
        size = {name: value for name, value in SHAPE.items() if name != "variant"}
        new = keras_vit.build(SHAPE["variant"], **size, image_size=42, channels=1, num_classes=5)
        new.save(path)
        found["from new weights"].append(finetuned(path, "new", seed))
        print(f"seed {seed}: {middle - begin:.0f} s of pre-training, {time.monotonic() - middle:.0f} s of the others")
    for name, accuracies in found.items():
        mean, spread = statistics.fmean(accuracies), statistics.stdev(accuracies)
        shown = ", ".join(f"{100 * accuracy:.2f}" for accuracy in accuracies)
        print(f"{name}: {100 * mean:.2f} % +- {100 * spread:.2f} ({shown})")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
