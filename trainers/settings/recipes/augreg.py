"""Steiner et al. 2021, "How to train your ViT?", and big_vision's recipes, among them Beyer et al. 2022, "Better plain
ViT baselines for ImageNet-1k".

big_vision's decay of 1e-4 is times the share of the schedule alone; here decay is times the learning rate, 1e-3 at its
peak, so that 0.1 is the same. What differs: Adam's first moment is float32 here (theirs was bfloat16), and images are
resized for evaluation by the kernel of training, bilinear, in float32 (theirs by area, to bytes).
"""

from typing import Any

from trainers.settings.recipes.paper import FINETUNING_1K
from trainers.settings.recipes.recipe import AT_224, BIG_VISION_21K, IMAGENET, SIGMOID, Recipe, name_of

# RandAugment's layers and magnitude, mixup (Steiner et al. 2021, Figure 4). Magnitude 0 is not nothing: it inverts,
# posterizes and nearly greys images; docs/augmentation.md shows why.
PRESETS = {
    "none": (0, 0, 0.0),
    "light1": (2, 0, 0.0),
    "light2": (2, 10, 0.2),
    "medium1": (2, 15, 0.2),
    "medium2": (2, 15, 0.5),
    "strong1": (2, 20, 0.5),
    "strong2": (2, 20, 0.8),
}

COMMON = AT_224 | {
    "test_crop": 0.875,
    "batch_size": 4096,
    "epochs": 300,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "warmup_steps": 10_000,
    "weight_decay": 0.1,
    "clip_norm": 1.0,
}
ON_21K = COMMON | BIG_VISION_21K | SIGMOID
# The width of the hidden layer is the model's.
ON_1K = COMMON | IMAGENET | {"objective": "sigmoid", "head_bias": -6.9}
WIDTHS = {"Ti/16": 192, "S/32": 384, "S/16": 384, "B/32": 768, "B/16": 768, "L/16": 1024}

# Variant -> preset of the released model, ImageNet top-1 after fine-tuning at 384 px (Table 3; B/8 at 224 px, as timm
# measures it), and what else its name tells.
RELEASED: dict[str, tuple[str, float, dict[str, Any]]] = {
    "Ti/16": ("none", 78.22, {"weight_decay": 0.03}),
    "S/32": ("none", 79.58, {}),
    "S/16": ("light1", 83.73, {"weight_decay": 0.03}),
    "B/32": ("light1", 83.59, {}),
    "B/16": ("medium1", 85.49, {}),
    "B/8": ("medium2", 85.84, {}),
    "L/16": ("strong1", 85.59, {}),
    "R+Ti/16": ("none", 75.40, {"weight_decay": 0.03}),
    "R26+S/32": ("light1", 83.85, {}),
    "R50+L/32": ("medium1", 85.99, {"dropout": 0.1, "stochastic_depth": 0.1}),
}
# big_vision's augmentation for each model, and ImageNet top-1 of the best of 28 settings (Table 3, at 224 px).
ON_1K_ROWS = {
    "Ti/16": ("light1", 72.59),
    "S/32": ("medium1", 72.07),
    "S/16": ("medium2", 79.00),
    "B/32": ("medium2", 74.42),
    "B/16": ("medium2", 79.84),
    "L/16": ("medium2", 75.72),
}
ON_21K_ROWS = {"Ti/16": "none", "S/32": "none", "S/16": "light1", "B/32": "light2", "B/16": "light2", "L/16": "medium2"}
# Epochs -> top-1, on ReaL labels, on ImageNet-V2 (Beyer et al. 2022, Table 1).
BETTER_BASELINE = {90: (76.5, 83.1, 64.2), 150: (78.5, 84.5, 66.4), 300: (80.0, 85.4, 68.3)}


def augmentation(preset: str) -> dict[str, Any]:
    """The flags of a preset."""
    return dict(zip(("randaugment_layers", "randaugment_magnitude", "mixup"), PRESETS[preset], strict=True))


def _grid() -> dict[str, Recipe]:
    """Every model with every augmentation, as the paper's study has them; of each model one is released."""
    recipes = {}
    for variant, (released, accuracy, others) in RELEASED.items():
        for preset in PRESETS:
            at = 224 if variant == "B/8" else 384
            figure = f"{accuracy:.2f} % on ImageNet after fine-tuning at {at} px: the released model (Table 3)"
            recipes[f"augreg/{name_of(variant)}_{preset}"] = Recipe(
                "pretrain",
                f"{variant} on ImageNet-21k in 300 epochs, augmentation {preset}",
                figure if preset == released else "",
                ON_21K | {"variant": variant} | augmentation(preset) | others,
            )
    return recipes


def _in1k(variant: str, preset: str, accuracy: float) -> Recipe:
    return Recipe(
        "pretrain",
        f"{variant} on ImageNet-1k in 300 epochs, augmentation {preset} (vit_i1k)",
        f"no number by itself; the best of 28 settings has {accuracy:.2f} % (AugReg, Table 3, at 224 px)",
        ON_1K | {"variant": variant, "representation": WIDTHS[variant]} | augmentation(preset),
    )


def _in21k(variant: str, preset: str) -> Recipe:
    return Recipe(
        "pretrain",
        f"{variant} on ImageNet-21k in 300 epochs, augmentation {preset}, averaging patches (vit_i21k)",
        "no number is published; the released models have a class token",
        ON_21K | {"variant": variant, "pool": "gap"} | augmentation(preset),
    )


def _better_baseline(epochs: int) -> Recipe:
    top1, real, v2 = BETTER_BASELINE[epochs]
    model = {"variant": "S/16", "pool": "gap", "position": "sincos2d", "representation": 384}
    return Recipe(
        "pretrain",
        f"S/16 on ImageNet-1k in {epochs} epochs (Better plain ViT baselines)",
        f"{top1} % top-1, {real} % on ReaL labels, {v2} % on ImageNet-V2",
        COMMON | IMAGENET | model | augmentation("light2") | {"batch_size": 1024, "epochs": epochs},
    )


RECIPES = {
    **_grid(),
    # The crop is that of the authors' fine-tuning code, which tests on whole images.
    "augreg/finetune_imagenet": Recipe(
        "finetune",
        "ImageNet-1k at 384 px, two learning rates, one run (Table 4)",
        "85.49 % B/16, 85.59 % L/16, 83.73 % S/16, 83.59 % B/32, 78.22 % Ti/16 (Table 3)",
        FINETUNING_1K | {"augment": "inception", "test_crop": 0.0, "learning_rates": "0.01,0.03", "seeds": "0"},
    ),
    **{f"bigvision/in1k_{name_of(variant)}": _in1k(variant, *row) for variant, row in ON_1K_ROWS.items()},
    **{f"bigvision/in21k_{name_of(variant)}": _in21k(variant, preset) for variant, preset in ON_21K_ROWS.items()},
    **{f"bigvision/s16_{epochs}ep": _better_baseline(epochs) for epochs in BETTER_BASELINE},
    # bit_i1k. Its decay of 1.6e-3 is times the share of the schedule alone; 1e-3 here, where it is times the learning
    # rate of 1.6. Its network activates after each convolution, ours before, as the published BiT networks.
    "bigvision/bit_r50x1": Recipe(
        "pretrain",
        "R50x1 on ImageNet-1k in 90 epochs (bit_i1k)",
        "no number is published",
        AT_224
        | IMAGENET
        | {
            "variant": "BiT-R50x1",
            "test_crop": 0.875,
            "batch_size": 4096,
            "epochs": 90,
            "optimizer": "sgd",
            "momentum_dtype": "bfloat16",
            "learning_rate": 1.6,
            "schedule": "cosine",
            "warmup_steps": 1000,
            "weight_decay": 1e-3,
            "clip_norm": 1.0,
        },
    ),
}
