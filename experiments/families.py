"""A Vision Transformer, a hybrid and a BiT of about equal size, by one recipe, on Fashion-MNIST.

    python -m trainers.prepare --source=tfds:fashion_mnist
    python experiments/families.py [DATA_DIR]

All have about 450,000 parameters, see the same images in the same order and are trained by the same command. Prints
the table of docs/results.md; everything else goes to saved_models/families. Started again, it goes on.
"""

import json
import pathlib
import sys
import time

from keras_vit import count_params, flops, parse
from trainers import pretrain

FOLDER = pathlib.Path("saved_models/families")
SEEDS = (0,)
FAMILIES = {
    "ViT": {"variant": "Ti/4", "width": 96, "depth": 6, "heads": 4, "mlp_width": 192},
    "hybrid": {
        **{"variant": "Ti/4", "width": 96, "depth": 5, "heads": 4, "mlp_width": 192},
        **{"stem": "3", "root_width": 32},
    },
    "BiT": {"variant": "BiT-R26x1", "units": "4,5", "root_width": 32},
}
RECIPE = {
    **{"source": "tfds:fashion_mnist", "train_split": "train[:55000]", "validation_split": "train[55000:]"},
    **{"image_size": 28, "batch_size": 128, "epochs": 1, "evaluate_every": 1000, "augment": "none", "flip": True},
    **{"learning_rate": 2e-3, "warmup_steps": 100, "weight_decay": 0.05, "label_smoothing": 0.1, "ema": 0.99},
    "xla": True,
}


def trained(name: str, seed: int, data_dir: str | None) -> dict[str, float]:
    """Accuracies and times of a run, from its folder if it has finished."""
    kept = FOLDER / f"{name}_{seed}.json"
    if not kept.exists():
        data = {"data_dir": data_dir} if data_dir else {}
        run_dir = str(FOLDER / f"{name}_{seed}")
        settings = pretrain.Settings(**RECIPE, **FAMILIES[name], **data, run_dir=run_dir, seed=seed)
        begin = time.process_time()
        metrics = pretrain.run(settings).metrics
        wanted = ("val_accuracy", "test_accuracy", "seconds", "images_per_second")
        row = {key: metrics[key] for key in wanted} | {"processor_seconds": time.process_time() - begin}
        kept.write_text(json.dumps(row), encoding="utf-8")
    return json.loads(kept.read_text(encoding="utf-8"))


def cost(name: str) -> tuple[int, float]:
    """Parameters, and millions of operations for an image."""
    settings = pretrain.Settings(**RECIPE, **FAMILIES[name])
    architecture = parse(settings.variant, channels=1, num_classes=10, **settings.overrides)
    return count_params(architecture), flops(architecture) / 1e6


def main(data_dir: str | None) -> None:
    rows = [(name, seed, *cost(name), trained(name, seed, data_dir)) for seed in SEEDS for name in FAMILIES]
    print("| family | seed | parameters | MFLOPs | validation | test | seconds | of processors | images/s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, seed, params, operations, row in rows:
        accuracies = f"{100 * row['val_accuracy']:.2f} % | {100 * row['test_accuracy']:.2f} %"
        times = f"{row['seconds']:.0f} | {row['processor_seconds']:.0f} | {row['images_per_second']:.0f}"
        print(f"| {name} | {seed} | {params:,} | {operations:.1f} | {accuracies} | {times} |")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
