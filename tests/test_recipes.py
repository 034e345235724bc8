"""Published recipes: each is described, plans without building a model, and has the published numbers.

The numbers are typed here from the papers, not read from the tables.
"""

import pathlib
import re
from typing import NamedTuple

import keras
import pytest

import keras_vit
from keras_vit.bit_architecture import BitArchitecture
from trainers import finetune, pretrain
from trainers.__main__ import overview
from trainers.settings import flags
from trainers.settings.recipes import RECIPES
from trainers.settings.recipes.augreg import PRESETS, augmentation

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
JFT = 303_000_000  # images of an epoch (Dosovitskiy et al. 2021, section 4.1)

NONE, LIGHT1, LIGHT2 = (0, 0, 0.0), (2, 0, 0.0), (2, 10, 0.2)
MEDIUM1, MEDIUM2, STRONG1 = (2, 15, 0.2), (2, 15, 0.5), (2, 20, 0.5)


class Pretraining(NamedTuple):
    """What tells a pre-training from the others of its family; the length is in epochs."""

    variant: str
    epochs: int
    learning_rate: float
    weight_decay: float
    dropout: float | None = None
    stochastic_depth: float | None = None
    augmentation: tuple[int, int, float] = (0, 10, 0.0)  # RandAugment's layers and magnitude, mixup


PRETRAINING = {
    # Dosovitskiy et al. 2021, Table 3
    "paper/jft_b16": Pretraining("B/16", 7, 8e-4, 0.1),
    "paper/jft_b32": Pretraining("B/32", 7, 8e-4, 0.1),
    "paper/jft_l32": Pretraining("L/32", 7, 6e-4, 0.1),
    "paper/jft_l16": Pretraining("L/16", 7, 4e-4, 0.1),
    "paper/jft_l16_14ep": Pretraining("L/16", 14, 4e-4, 0.1),
    "paper/jft_h14": Pretraining("H/14", 14, 3e-4, 0.1),
    "paper/jft_r50x1": Pretraining("BiT-R50x1", 7, 1e-3, 0.1),
    "paper/jft_r50x2": Pretraining("BiT-R50x2", 7, 1e-3, 0.1),
    "paper/jft_r101x1": Pretraining("BiT-R101x1", 7, 8e-4, 0.1),
    "paper/jft_r152x1": Pretraining("BiT-R152x1", 7, 6e-4, 0.1),
    "paper/jft_r152x2": Pretraining("BiT-R152x2", 7, 6e-4, 0.1),
    "paper/jft_r50_b16": Pretraining("R50+B/16", 7, 8e-4, 0.1),
    "paper/jft_r50_b32": Pretraining("R50+B/32", 7, 8e-4, 0.1),
    "paper/jft_r50_l32": Pretraining("R50+L/32", 7, 2e-4, 0.1),
    "paper/jft_r50_l16": Pretraining("R50+L/16", 7, 4e-4, 0.1),
    "paper/jft_r50_l16_14ep": Pretraining("R50+L/16", 14, 4e-4, 0.1),
    "paper/in21k_b16": Pretraining("B/16", 90, 1e-3, 0.03, dropout=0.1),
    "paper/in21k_b32": Pretraining("B/32", 90, 1e-3, 0.03, dropout=0.1),
    "paper/in21k_l16": Pretraining("L/16", 90, 1e-3, 0.03, dropout=0.1),
    "paper/in21k_l32": Pretraining("L/32", 90, 1e-3, 0.03, dropout=0.1),
    "paper/in1k_b16": Pretraining("B/16", 300, 3e-3, 0.3, dropout=0.1),
    "paper/in1k_b32": Pretraining("B/32", 300, 3e-3, 0.3, dropout=0.1),
    "paper/in1k_l16": Pretraining("L/16", 300, 3e-3, 0.3, dropout=0.1),
    "paper/in1k_l32": Pretraining("L/32", 300, 3e-3, 0.3, dropout=0.1),
    # Steiner et al. 2021: names of the models that their README recommends, and of the later B/8
    "augreg/ti16_none": Pretraining("Ti/16", 300, 1e-3, 0.03, augmentation=NONE),
    "augreg/s32_none": Pretraining("S/32", 300, 1e-3, 0.1, augmentation=NONE),
    "augreg/s16_light1": Pretraining("S/16", 300, 1e-3, 0.03, augmentation=LIGHT1),
    "augreg/b32_light1": Pretraining("B/32", 300, 1e-3, 0.1, augmentation=LIGHT1),
    "augreg/b16_medium1": Pretraining("B/16", 300, 1e-3, 0.1, augmentation=MEDIUM1),
    "augreg/b8_medium2": Pretraining("B/8", 300, 1e-3, 0.1, augmentation=MEDIUM2),
    "augreg/l16_strong1": Pretraining("L/16", 300, 1e-3, 0.1, augmentation=STRONG1),
    "augreg/r_ti16_none": Pretraining("R+Ti/16", 300, 1e-3, 0.03, augmentation=NONE),
    "augreg/r26_s32_light1": Pretraining("R26+S/32", 300, 1e-3, 0.1, augmentation=LIGHT1),
    "augreg/r50_l32_medium1": Pretraining("R50+L/32", 300, 1e-3, 0.1, 0.1, 0.1, MEDIUM1),
    # big_vision's vit_i1k and vit_i21k; its decay of 1e-4 is 0.1 times the learning rate of 1e-3
    "bigvision/in1k_ti16": Pretraining("Ti/16", 300, 1e-3, 0.1, augmentation=LIGHT1),
    "bigvision/in1k_s32": Pretraining("S/32", 300, 1e-3, 0.1, augmentation=MEDIUM1),
    "bigvision/in1k_s16": Pretraining("S/16", 300, 1e-3, 0.1, augmentation=MEDIUM2),
    "bigvision/in1k_b32": Pretraining("B/32", 300, 1e-3, 0.1, augmentation=MEDIUM2),
    "bigvision/in1k_b16": Pretraining("B/16", 300, 1e-3, 0.1, augmentation=MEDIUM2),
    "bigvision/in1k_l16": Pretraining("L/16", 300, 1e-3, 0.1, augmentation=MEDIUM2),
    "bigvision/in21k_ti16": Pretraining("Ti/16", 300, 1e-3, 0.1, augmentation=NONE),
    "bigvision/in21k_s32": Pretraining("S/32", 300, 1e-3, 0.1, augmentation=NONE),
    "bigvision/in21k_s16": Pretraining("S/16", 300, 1e-3, 0.1, augmentation=LIGHT1),
    "bigvision/in21k_b32": Pretraining("B/32", 300, 1e-3, 0.1, augmentation=LIGHT2),
    "bigvision/in21k_b16": Pretraining("B/16", 300, 1e-3, 0.1, augmentation=LIGHT2),
    "bigvision/in21k_l16": Pretraining("L/16", 300, 1e-3, 0.1, augmentation=MEDIUM2),
    # Beyer et al. 2022, and big_vision's bit_i1k, whose decay of 1.6e-3 is 1e-3 times the learning rate of 1.6
    "bigvision/s16_90ep": Pretraining("S/16", 90, 1e-3, 0.1, augmentation=LIGHT2),
    "bigvision/s16_150ep": Pretraining("S/16", 150, 1e-3, 0.1, augmentation=LIGHT2),
    "bigvision/s16_300ep": Pretraining("S/16", 300, 1e-3, 0.1, augmentation=LIGHT2),
    "bigvision/bit_r50x1": Pretraining("BiT-R50x1", 90, 1.6, 1e-3),
    # Kolesnikov et al. 2020: 0.03 * 4096 / 256; an L2 penalty of 1e-4 under momentum 0.9 is a decay of 1e-4 / (1 - 0.9)
    "bit/in1k": Pretraining("BiT-R50x1", 90, 0.48, 1e-3),
    "bit/in21k": Pretraining("BiT-R50x1", 90, 0.48, 1e-3),
    "bit/jft": Pretraining("BiT-R152x4", 40, 0.48, 1e-3),
}

SIGMOID = {"objective": "sigmoid", "head_bias": -10.0}
BIG_VISIONS_21K = SIGMOID | {
    "source": "tfds:imagenet21k",
    "train_split": "full[51200:]",
    "validation_split": "full[25600:51200]",
    "test_split": "full[:25600]",
}
USUAL = {
    "batch_size": 4096,
    "image_size": 224,
    "end_learning_rate": 0.0,
    "augment": "inception",
    "flip": True,
    "precision": "mixed_bfloat16",
}
ADAM = USUAL | {"optimizer": "adamw", "warmup_steps": 10_000}
SGD = USUAL | {"optimizer": "sgd", "schedule": "cosine"}
BIT = SGD | {"schedule": "staircase", "warmup_steps": 5000, "clip_norm": 0.0}
AUGREG = ADAM | {"schedule": "cosine", "clip_norm": 1.0, "position": None, "test_crop": 0.875}
LINEAR = ADAM | SIGMOID | {"schedule": "linear", "end_learning_rate": 1e-5, "clip_norm": 0.0, "pool": None}

# What a family has in common, by how its files' names begin.
FAMILIES = {
    "paper/jft": LINEAR,
    "paper/in21k": LINEAR,
    "paper/in1k": ADAM | {"schedule": "cosine", "clip_norm": 1.0, "objective": "softmax", "pool": None},
    "augreg/": AUGREG | BIG_VISIONS_21K | {"pool": None, "representation": None},
    "bigvision/in1k": AUGREG | {"objective": "sigmoid", "head_bias": -6.9, "pool": None},
    "bigvision/in21k": AUGREG | BIG_VISIONS_21K | {"pool": "gap", "representation": None},
    "bigvision/s16": AUGREG
    | {"batch_size": 1024, "objective": "softmax", "pool": "gap", "position": "sincos2d", "head_bias": None},
    "bigvision/bit": SGD
    | {
        "warmup_steps": 1000,
        "clip_norm": 1.0,
        "objective": "softmax",
        "momentum_dtype": "bfloat16",
        "test_crop": 0.875,
    },
    "bit/in1k": BIT | {"objective": "softmax"},
    "bit/in21k": BIT | BIG_VISIONS_21K,
    "bit/jft": BIT | SIGMOID,
}

# Families whose head has a hidden layer as wide as the model, where the model is a ViT.
HIDDEN = ("paper/", "bigvision/in1k", "bigvision/s16")

# Updates of those whose number is known: printed in Beyer et al. 2022, the others by hand.
STEPS = {
    "paper/jft_b16": 517_822,
    "paper/jft_l16_14ep": 1_035_645,
    "paper/jft_h14": 1_035_645,
    "paper/jft_r50_l16_14ep": 1_035_645,
    "paper/in1k_b32": 92_897,
    "bigvision/s16_150ep": 185_794,
    "bigvision/s16_300ep": 371_588,
}

# Updates after which BiT's rate falls: epochs 30, 60 and 80 of 90 (1,268,355 and 14,145,922 images / 4096 to each), or
# 10, 23, 30 and 37 of 40 (303,000,000 / 4096); the HyperRule's are printed in its authors' code.
FALLS = {
    "bit/in1k": (9_290, 18_579, 24_773),
    "bit/in21k": (103_608, 207_216, 276_287),
    "bit/jft": (739_746, 1_701_416, 2_219_238, 2_737_061),
    "bit/finetune_small": (200, 300, 400),
    "bit/finetune_medium": (3_000, 6_000, 9_000),
    "bit/finetune_large": (6_000, 12_000, 18_000),
}

PAPER_FINETUNING = {
    "batch_size": 512,
    "optimizer": "sgd",
    "schedule": "cosine",
    "weight_decay": 0.0,
    "clip_norm": 1.0,
    "warmup_steps": 500,
    "image_size": 384,
    "seeds": "0,1,2",
    "ema": None,
    "mixup": 0.0,
    "validation_split": "none",
    "baseline": False,
}
IMAGENET = PAPER_FINETUNING | {"source": "tfds:imagenet2012", "steps": 20_000, "held_out": 0.01}
FEW_RATES = "0.003,0.01,0.03"
HYPER_RULE = PAPER_FINETUNING | {
    "schedule": "staircase",
    "learning_rate": 0.003,
    "learning_rates": "",
    "clip_norm": 0.0,
    "seeds": "",
    "validation_split": None,
    "augment": "resize_crop",
    "train_crop": 0.857142857,  # 384 of 448
    "flip": True,
    "test_crop": None,
}

FINETUNING = {
    # Dosovitskiy et al. 2021, Tables 2 and 4
    "paper/finetune_imagenet": IMAGENET | {"learning_rates": FEW_RATES},
    "paper/finetune_imagenet_l16_512": IMAGENET | {"image_size": 512, "ema": 0.9999, "learning_rates": FEW_RATES},
    "paper/finetune_imagenet_h14_518": IMAGENET | {"image_size": 518, "ema": 0.9999, "learning_rates": FEW_RATES},
    "paper/finetune_imagenet_resnet": IMAGENET | {"learning_rates": FEW_RATES + ",0.06"},
    "paper/finetune_vtab": PAPER_FINETUNING
    | {
        "steps": 2500,
        "learning_rate": 0.01,
        "learning_rates": "",
        "train_split": "train800val200",
        "augment": "none",
        "flip": False,
        "test_crop": None,
    },
    # Steiner et al. 2021, Table 4
    "augreg/finetune_imagenet": IMAGENET
    | {"learning_rates": "0.01,0.03", "seeds": "0", "augment": "inception", "test_crop": None},
    # Kolesnikov et al. 2020, and the warm-up of their code
    "bit/finetune_small": HYPER_RULE | {"steps": 500, "warmup_steps": 100},
    "bit/finetune_medium": HYPER_RULE | {"steps": 10_000, "mixup": 0.1},
    "bit/finetune_large": HYPER_RULE | {"steps": 20_000, "mixup": 0.1},
}

# Where a file names no source, or one whose splits it does not know, this one stands in.
STAND_INS = {"paper/finetune_vtab": "vtab:caltech101"}


def read(name, command, *arguments):
    """Settings of a recipe, with a source if it names none."""
    given = [] if RECIPES[name].flags.get("source") else [f"--source={STAND_INS.get(name, 'synthetic')}"]
    return flags.read([f"--recipe={name}", *given, *arguments], command.Settings)


@pytest.fixture
def no_weights_are_made(monkeypatch):
    def refuse(*arguments, **named):
        raise AssertionError("a dry run builds a model")

    monkeypatch.setattr(keras.Variable, "__init__", refuse)


def test_every_recipe_is_tested():
    """But for those that only a flag file adds to, and AugReg's grid, of which one model each is released."""
    published = {name for name, row in RECIPES.items() if row.expected}
    assert published - {"paper/finetune"} == {*PRETRAINING, *FINETUNING}
    presets = {name.rpartition("_")[2]: augmentation(name.rpartition("_")[2]) for name in RECIPES.keys() - published}
    assert presets.keys() <= PRESETS.keys()
    for name in RECIPES.keys() - published:
        flags_of, preset = RECIPES[name].flags, presets[name.rpartition("_")[2]]
        released = next(row.flags for other, row in RECIPES.items() if row.expected and other.startswith(name[:9]))
        assert {**flags_of, **preset} == flags_of and flags_of.keys() == released.keys()


def test_recipes_are_listed_with_their_published_figures():
    text = " ".join(overview().split())
    for name in (*PRETRAINING, *FINETUNING):
        assert f" {name} {RECIPES[name].about}. Published: {RECIPES[name].expected}." in text


@pytest.mark.parametrize("name", PRETRAINING)
def test_a_pretraining_plans_and_has_the_published_numbers(name, no_weights_are_made, tmp_path, capsys):
    settings = read(name, pretrain, "--dry_run", f"--run_dir={tmp_path}/run")
    recipe = PRETRAINING[name]
    family = next(values for start, values in FAMILIES.items() if name.startswith(start))
    length = {"examples": recipe.epochs * JFT} if "jft" in name else {"epochs": recipe.epochs}
    rates = {
        field: getattr(recipe, field) for field in ("learning_rate", "weight_decay", "dropout", "stochastic_depth")
    }
    expected = {"variant": recipe.variant, **length, **rates, **family}
    assert {field: getattr(settings, field) for field in expected} == expected
    drawn = settings.randaugment_layers, settings.randaugment_magnitude, settings.mixup
    assert drawn == recipe.augmentation
    if name.startswith(HIDDEN):
        assert settings.representation == getattr(keras_vit.parse(recipe.variant), "width", None)
    assert pretrain.run(settings).model is None
    plan = capsys.readouterr().out
    if name in STEPS:
        assert int(re.search(r"([\d,]+) steps =", plan)[1].replace(",", "")) == pytest.approx(STEPS[name], abs=1)
    assert_falls(name, plan)
    assert f"{recipe.variant}, " in plan and not list(tmp_path.iterdir())


def assert_falls(name, plan):
    """The plan names the updates after which the learning rate falls, where it does."""
    told = re.search(r"a tenth after each of steps (.*?), decay", plan)
    places = [int(place.replace(",", "")) for place in told[1].split(", ")] if told else []
    assert places == pytest.approx([*FALLS.get(name, ())], abs=1)  # the number of updates is rounded up


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Tiny models to begin from: of patches of 16 pixels, of 14, and a ResNet."""
    folder = tmp_path_factory.mktemp("weights")
    models = {
        "p16": keras_vit.build("mu/16", image_size=32, num_classes=5),
        "p14": keras_vit.build("mu/14", image_size=28, num_classes=5),
        "bit": keras_vit.build(BitArchitecture(units=(1,), root_width=32, image_size=32, num_classes=5)),
    }
    for name, model in models.items():
        model.save(folder / f"{name}.keras")
    return {name: str(folder / f"{name}.keras") for name in models}


@pytest.mark.parametrize("name", FINETUNING)
def test_a_finetuning_plans_and_has_the_published_numbers(name, weights, tmp_path, capsys):
    kind = "p14" if name.endswith("h14_518") else "bit" if name.startswith("bit/") or "resnet" in name else "p16"
    settings = read(name, finetune, f"--weights={weights[kind]}", "--dry_run", f"--run_dir={tmp_path}/run")
    expected = FINETUNING[name]
    assert {field: getattr(settings, field) for field in expected} == expected
    finetune.run(settings)
    plan = capsys.readouterr().out
    assert_falls(name, plan)
    assert f"{expected['steps']:,} steps" in plan and not list(tmp_path.iterdir())


def test_no_two_pretrainings_share_a_folder():
    folders = [read(name, pretrain).run_dir for name in PRETRAINING]
    folders += [flags.read([f"--flagfile={path}"], pretrain.Settings).run_dir for path in CONFIGS.glob("vit_*.cfg")]
    assert len(set(folders)) == len(folders)
    assert not [folder for folder in folders if "synthetic" in folder], "named after a source that only stands in"


def test_every_recipe_is_documented():
    page = (CONFIGS.parent / "docs" / "results.md").read_text()
    missing = [name for name in (*PRETRAINING, *FINETUNING) if f"`{name}`" not in page]
    assert not missing


def test_recipes_of_data_that_nobody_can_name_ask_for_it():
    settings = flags.read(["--recipe=paper/jft_b16", "--dry_run"], pretrain.Settings)
    with pytest.raises(ValueError, match="--source is needed"):
        pretrain.run(settings)
