"""Whole recipes: the published presets, and what a training image goes through."""

import pytest

from trainers import pretrain
from trainers.settings import flags

# Layers and magnitude of RandAugment, and mixup: "How to train your ViT?" (Steiner et al. 2021), section 3.
AUGREG = {
    "none": (0, 0, 0.0),
    "light1": (2, 0, 0.0),
    "light2": (2, 10, 0.2),
    "medium1": (2, 15, 0.2),
    "medium2": (2, 15, 0.5),
    "strong1": (2, 20, 0.5),
    "strong2": (2, 20, 0.8),
}


@pytest.mark.parametrize("name", AUGREG)
def test_augreg_presets_are_the_published_ones(name, request):
    part = request.config.rootpath / "configs" / "parts" / f"augreg_{name}.cfg"
    settings = flags.read([f"--flagfile={part}", "--steps=1"], pretrain.Settings)
    found = settings.randaugment_layers, settings.randaugment_magnitude, settings.mixup
    assert found == AUGREG[name] and settings.randaugment_quirks


def test_there_is_no_other_preset(request):
    parts = (request.config.rootpath / "configs" / "parts").glob("augreg_*.cfg")
    assert {part.stem.removeprefix("augreg_") for part in parts} == {*AUGREG}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--randaugment_layers=17", "[0, 16]; got 17"),
        ("--randaugment_magnitude=-1", "[0, 30]; got -1"),
        ("--color_jitter=1.5", "[0, 1]; got 1.5"),
        ("--hue_jitter=0.6", "[0, 0.5]; got 0.6"),
        ("--erasing=-0.1", "[0, 1]; got -0.1"),
        ("--mixup=0.001", "be 0 or lie in [0.01, 100]; got 0.001"),
        ("--cutmix=-1", "be 0 or lie in [0.01, 100]; got -1"),
        ("--crop_area=0", "(0, 1]; got 0"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, said):
    with pytest.raises(flags.UsageError) as caught:
        flags.read([arguments, "--steps=1"], pretrain.Settings)
    assert arguments.partition("=")[0] in str(caught.value) and said in str(caught.value)
