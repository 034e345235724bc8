"""A hybrid and a BiT through every command, each taking up what the one before left."""

import json
import pathlib

import numpy as np
import pytest

from keras_vit import weights
from trainers import convert, evaluate, export, finetune, predict, pretrain
from trainers.settings import command_line

PICTURES = pathlib.Path(__file__).parents[2] / "docs" / "images" / "digits"
SMALL = ["--batch_size=16", "--subset=64", "--steps=4", "--evaluate_every=2", "--warmup_steps=1", "--source=digits"]
FAMILIES = {
    "hybrid": ["--variant=mu/8", "--stem=1,1", "--root_width=32"],
    "BiT": ["--variant=BiT-R26x1", "--units=1,1", "--root_width=32"],
}
PUBLISHED_FORMAT = {"hybrid": "google", "BiT": "bit"}


def command(module, *arguments):
    """Runs `python -m trainers.NAME` in this process, and ends well."""
    name = module.__name__.rsplit(".", 1)[1]
    code = getattr(module, "exit_code", None)
    extra = {"code": code} if code else {}
    assert not command_line.main(module.Settings, module.run, name, [str(each) for each in arguments], **extra)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_commands_serve_every_family(family, tmp_path, capsys):
    start, tuned, published = tmp_path / "start", tmp_path / "tuned", tmp_path / "published.npz"
    command(pretrain, *SMALL, *FAMILIES[family], "--image_size=16", "--remat", f"--run_dir={start}")

    command(convert, f"--input={start}", f"--output={published}", f"--format={PUBLISHED_FORMAT[family]}")
    pretrained, foreign = weights.load(start / "model.keras"), weights.load(published, image_size=16)
    pixels = np.random.default_rng(0).normal(size=(2, 16, 16, 1)).astype("float32")
    np.testing.assert_allclose(foreign(pixels), pretrained(pixels), atol=1e-5)

    command(finetune, *SMALL, "--image_size=32", f"--weights={start}", f"--run_dir={tuned}", "--learning_rate=0.01")
    results = json.loads((tuned / "results.json").read_text())
    assert weights.load(tuned / "model.keras").architecture.image_size == 32
    assert 0 <= results["test_accuracy"] <= 1 and np.isfinite(results["test_loss"])

    command(evaluate, f"--model={tuned}", "--source=digits", f"--output={tmp_path}")
    rows = json.loads((tmp_path / "evaluation.json").read_text())["rows"]
    assert rows["vision transformer"] == pytest.approx(results["test_accuracy"])

    command(export, f"--model={tuned}", "--source=digits", "--check_images=20", f"--output={tmp_path}/export")
    answers = {}
    for form in (tuned, tmp_path / "export", tmp_path / "export" / "1" / "model.tflite"):
        capsys.readouterr()
        command(predict, f"--model={form}", "--format=json", "--top=10", PICTURES)
        answers[form.name] = [picture["top"][0]["probability"] for picture in json.loads(capsys.readouterr().out)]
    np.testing.assert_allclose(answers["export"], answers["tuned"], atol=1e-4)
    np.testing.assert_allclose(answers["model.tflite"], answers["tuned"], atol=0.05)
