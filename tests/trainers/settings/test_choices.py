"""The names that flags choose by, and the tables of what stands behind them."""

import importlib

import pytest

from keras_vit import choices as library
from trainers.settings import choices

# Each tuple of names, and the table whose keys they are: module, name, and what names the table has not.
TABLES = {
    "library.POSITIONS": ("keras_vit.layers.position", "POSITIONS"),
    "library.POOLINGS": ("keras_vit.layers.pooling", "POOLINGS"),
    "library.GELUS": ("keras_vit.layers.mlp", "GELUS"),
    "library.OBJECTIVES": ("keras_vit.objectives.classification", "OBJECTIVES"),
    "library.MASKED_TARGETS": ("keras_vit.objectives.masked_patches", "TARGETS"),
    "library.DISTILLATIONS": ("keras_vit.objectives.distillation", "DISTILLATIONS"),
    "library.OPTIMIZERS": ("keras_vit.optimization", "OPTIMIZERS"),
    "library.SCHEDULES": ("keras_vit.optimization", "SCHEDULES"),
    "library.RESIZES": ("keras_vit.images.transform", "KERNELS"),
    "library.PROBABILITIES": ("keras_vit.export.answering", "PROBABILITIES"),
    "library.WEIGHT_FORMATS": ("keras_vit.weights.formats", "FORMATS"),
    "trainers.DISTRIBUTIONS": ("trainers.engine.tensorflow.runtime", "DISTRIBUTIONS"),
    "trainers.PRECISIONS": ("trainers.engine.tensorflow.runtime", "PRECISIONS"),
    "trainers.CACHES": ("trainers.data.cache", "CACHES"),
    "trainers.SAMPLINGS": ("trainers.data.batching", "SAMPLINGS"),
    "trainers.AUGMENTATIONS": ("trainers.data.augmentation.crops", "AUGMENTATIONS"),
    "trainers.EXPORT_FORMATS": ("trainers.exporting.formats", "FORMATS"),
    "trainers.PREDICTION_FORMATS": ("trainers.inference.formats", "FORMATS"),
}
BESIDE = {"library.WEIGHT_FORMATS": ("keras",)}  # Keras itself writes it


@pytest.mark.parametrize("names", TABLES)
def test_names_are_the_keys_of_their_table(names):
    room, _, name = names.partition(".")
    module, table = TABLES[names]
    keys = tuple(getattr(importlib.import_module(module), table))
    assert (*keys, *BESIDE.get(names, ())) == getattr({"library": library, "trainers": choices}[room], name)
