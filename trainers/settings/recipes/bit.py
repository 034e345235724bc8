"""Kolesnikov et al. 2020, "Big Transfer": the ResNets that the Vision Transformer is measured against.

Losses and head biases of many classes are those of ViT; the sources at hand do not tell theirs.
"""

from trainers.settings.recipes.recipe import AT_224, BIG_VISION_21K, IMAGENET, JFT, NOT_PUBLIC, SIGMOID, Recipe

# SGD with momentum 0.9, 0.03 for each 256 images of a batch, divided by ten at three or four epochs. Their decay is an
# L2 penalty of 1e-4, which momentum sums tenfold; ours does not pass through it, so 1e-3.
PRETRAINING = AT_224 | {
    "batch_size": 4096,
    "optimizer": "sgd",
    "learning_rate": 0.48,
    "schedule": "staircase",
    "warmup_steps": 5000,
    "weight_decay": 1e-3,
    "clip_norm": 0.0,
}
R50 = {"variant": "BiT-R50x1", "epochs": 90, "decay_at": "30/90,60/90,80/90"}

# The BiT-HyperRule: no decay, no clipping. 448 px, of which 384 at random, are the ViT paper's. For images of less than
# 96x96 pixels add --image_size=128 --train_crop=0.8: 160 px, of which 128.
HYPER_RULE = {
    "source": "",
    "image_size": 384,
    "batch_size": 512,
    "optimizer": "sgd",
    "learning_rate": 0.003,
    "schedule": "staircase",
    "weight_decay": 0.0,
    "clip_norm": 0.0,
    "augment": "resize_crop",
    "train_crop": 0.857142857,
    "flip": True,
    "baseline": False,
}
LONGER = HYPER_RULE | {"decay_at": "0.3,0.6,0.9", "warmup_steps": 500, "mixup": 0.1}

RECIPES = {
    "bit/in1k": Recipe(
        "pretrain",
        "BiT-S: R50x1, or another --variant, on ImageNet-1k in 90 epochs",
        "no number at hand",
        PRETRAINING | IMAGENET | R50,
    ),
    "bit/in21k": Recipe(
        "pretrain",
        "BiT-M: R50x1, or another --variant, on ImageNet-21k in 90 epochs",
        "fine-tuned at 448 px, as timm measures the released ones: 80.39 % R50x1, 83.98 % R50x3, 82.33 % R101x1, "
        "84.43 % R101x3, 84.47 % R152x2; 84.94 % at 480 px R152x4",
        PRETRAINING | BIG_VISION_21K | SIGMOID | R50,
    ),
    "bit/jft": Recipe(
        "pretrain",
        "BiT-L: R152x4, or another --variant, on JFT-300M in 40 epochs, 9.9k TPUv3-core-days",
        "87.54 % on ImageNet after fine-tuning (ViT paper, Table 2)",
        PRETRAINING
        | NOT_PUBLIC
        | SIGMOID
        | {"variant": "BiT-R152x4", "examples": 40 * JFT, "decay_at": "10/40,23/40,30/40,37/40"},
    ),
    "bit/finetune_small": Recipe(
        "finetune",
        "fewer than 20,000 images (HyperRule); needs --source",
        "BiT-L has 96.62 % on Pets, 99.63 % on Flowers (ViT paper, Table 2)",
        HYPER_RULE | {"steps": 500, "decay_at": "0.4,0.6,0.8", "warmup_steps": 100},
    ),
    "bit/finetune_medium": Recipe(
        "finetune",
        "20,000 to 500,000 images (HyperRule); needs --source",
        "BiT-L has 99.37 % on CIFAR-10, 93.51 % on CIFAR-100 (ViT paper, Table 2)",
        LONGER | {"steps": 10_000},
    ),
    "bit/finetune_large": Recipe(
        "finetune",
        "500,000 images and more (HyperRule); needs --source",
        "BiT-L has 87.54 % on ImageNet-1k (ViT paper, Table 2)",
        LONGER | {"steps": 20_000},
    ),
}
