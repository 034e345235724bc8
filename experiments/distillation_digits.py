"""Distillation on the digits of scikit-learn: a BiT that has seen all of them teaches a ViT that is given 100.

    python experiments/distillation_digits.py

The student is configs/distill_digits.cfg: without a teacher, with each kind of distillation, and with a distillation
token, three seeds each, the same images and updates. Prints the table of docs/distillation.md; everything else goes to
saved_models/distillation_digits. Started again, it goes on.
"""

import json
import pathlib
import statistics

from trainers import pretrain
from trainers.settings import flags

CONFIG = pathlib.Path(__file__).parents[1] / "configs/distill_digits.cfg"
FOLDER = pathlib.Path("saved_models/distillation_digits")
SEEDS = (0, 1, 2)
# Takes images of twice the student's size.
TEACHER = {
    **{"source": "digits", "variant": "BiT-R26x1", "units": "1,1", "root_width": 32, "image_size": 32},
    **{"augment": "affine", "batch_size": 64, "steps": 600, "warmup_steps": 50, "evaluate_every": 600, "xla": True},
}
TAUGHT = f"--teacher={FOLDER}/teacher"
STUDENTS = {
    "labels alone": [],
    "soft": [TAUGHT, "--distillation=soft"],
    "hard": [TAUGHT, "--distillation=hard"],
    "hard, distillation token": [TAUGHT, "--distillation=hard", "--distillation_token"],
}


def metrics_of(settings: pretrain.Settings) -> dict:
    """Results of a run, from its folder if it has finished."""
    path = pathlib.Path(settings.run_dir) / "results.json"
    return json.loads(path.read_text()) if path.exists() else pretrain.run(settings).metrics


def student(name: str, arguments: list[str], seed: int) -> dict:
    """Results of one student."""
    run_dir = f"{FOLDER}/{name.replace(', ', '_').replace(' ', '_')}_{seed}"
    asked = [f"--flagfile={CONFIG}", *arguments, f"--seed={seed}", f"--run_dir={run_dir}"]
    return metrics_of(flags.read(asked, pretrain.Settings))


def main() -> None:
    teacher = metrics_of(pretrain.Settings(**TEACHER, run_dir=f"{FOLDER}/teacher"))
    rows = {name: [student(name, arguments, seed) for seed in SEEDS] for name, arguments in STUDENTS.items()}
    print(f"teacher: test accuracy {100 * teacher['test_accuracy']:.2f} %, {teacher['seconds']:.0f} s")
    print("| learns from | test accuracy | seeds | s |\n|---|---|---|---|")
    for name, results in rows.items():
        found = [100 * each["test_accuracy"] for each in results]
        shown, seconds = ", ".join(f"{value:.2f}" for value in found), statistics.mean(x["seconds"] for x in results)
        print(f"| {name} | {statistics.mean(found):.2f} ± {statistics.stdev(found):.2f} % | {shown} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
