"""Who may import whom: the architecture, read off the syntax trees."""

import ast
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# Longest matching prefix wins. Each file may import these roots, beside the standard library.
ALLOWED = {
    "keras_vit/__init__.py": {"keras", "keras_vit"},
    "keras_vit/installation.py": set(),
    "keras_vit/fields.py": set(),
    "keras_vit/bit_architecture.py": {"keras_vit.fields"},
    "keras_vit/costs.py": {"keras_vit.bit_architecture", "keras_vit.variants"},
    "keras_vit/variants.py": {"keras_vit.bit_architecture", "keras_vit.costs", "keras_vit.fields"},
    "keras_vit/preprocessing.py": set(),
    "keras_vit/layers": {"keras", "numpy", "keras_vit.layers"},
    "keras_vit/classifier.py": {"keras", "keras_vit.preprocessing"},
    "keras_vit/bit.py": {"keras", "keras_vit.classifier", "keras_vit.layers", "keras_vit.variants"},
    "keras_vit/vit.py": {
        *("keras", "keras_vit.bit", "keras_vit.classifier", "keras_vit.layers", "keras_vit.preprocessing"),
        "keras_vit.variants",
    },
    "keras_vit/optimization.py": {"keras", "numpy"},
    "keras_vit/multipliers.py": set(),
    "keras_vit/adapters.py": {"keras", "numpy"},
    "keras_vit/objectives": {"keras", "numpy"},
    "keras_vit/objectives/masked_patches.py": {"keras", "keras_vit.layers.patches"},
    "keras_vit/objectives/distillation.py": {"keras", "keras_vit.objectives.classification"},
    "keras_vit/distilling.py": {"keras", "numpy", "keras_vit.preprocessing"},
    "keras_vit/masking.py": {"keras", "keras_vit.layers", "keras_vit.objectives"},
    "keras_vit/analysis": {"keras", "numpy", "keras_vit.objectives"},
    "keras_vit/evaluation": {"keras", "numpy"},
    "keras_vit/weights": {
        *("h5py", "keras", "numpy", "safetensors"),
        *("keras_vit.classifier", "keras_vit.preprocessing", "keras_vit.variants", "keras_vit.vit"),
        "keras_vit.weights",
    },
    "keras_vit/labels": {"keras_vit.labels"},
    "keras_vit/export": {"tensorflow", "keras", "keras_vit.classifier", "keras_vit.export", "keras_vit.preprocessing"},
    "keras_vit/export/card.py": {"keras_vit.export.card_words", "keras_vit.variants"},
    "keras_vit/export/card_text.py": {"keras_vit.export.markup"},
    "keras_vit/export/card_words.py": set(),
    "keras_vit/export/markup.py": set(),
    "keras_vit/export/serving.py": set(),
    "keras_vit/export/onnx.py": {"onnx", "keras_vit.classifier", "keras_vit.export"},
    "keras_vit/export/tflite.py": {"numpy", "keras_vit.classifier", "keras_vit.export"},
    "keras_vit/export/tflite_conversion.py": {"numpy", "tensorflow", "keras_vit.export"},
    "keras_vit/export/tflite_metadata.py": {"flatbuffers", "tensorflow", "keras_vit.classifier", "keras_vit.export"},
    "keras_vit/export/warmup.py": {"tensorflow", "tensorflow_serving", "keras_vit.export"},
    "trainers/__main__.py": {"trainers"},
    "trainers/settings": {"absl", "trainers.settings", "tensorflow", "keras_vit.installation"},
    "trainers/data": {
        "numpy",
        "sklearn",
        "tensorflow",
        "tensorflow_datasets",
        "tqdm",
        "keras_vit.export",
        "keras_vit.labels",
        "keras_vit.preprocessing",
        "trainers.data",
        "trainers.settings",
    },
    "trainers/data/inspection": {
        *("matplotlib", "numpy", "tensorflow", "tqdm", "keras_vit.export", "keras_vit.preprocessing"),
        *("trainers.data", "trainers.settings"),
    },
    "trainers/data/augmentation/keras_layers.py": {
        "keras",
        "numpy",
        "tensorflow",
        "trainers.data",
        "trainers.settings",
    },
    "trainers/data/augmentation/layer_randomness.py": {"keras", "tensorflow"},
    "trainers/engine": {"keras", "numpy", "tensorflow", "tqdm", "trainers.engine"},
    "trainers/evaluations": {
        *("keras", "numpy", "sklearn", "tensorflow", "tqdm"),
        *("keras_vit.evaluation", "keras_vit.preprocessing", "keras_vit.weights"),
        *("trainers.data", "trainers.engine", "trainers.evaluations", "trainers.runs", "trainers.settings"),
    },
    "trainers/runs": {
        *("keras", "matplotlib", "numpy", "tensorflow", "tqdm"),
        *("keras_vit", "trainers.data", "trainers.engine", "trainers.runs", "trainers.settings"),
    },
    "trainers/exporting/openvino_session.py": {"numpy", "openvino", "tensorflow", "keras_vit.export"},
    "trainers/exporting": {
        *(
            "keras",
            "numpy",
            "tensorflow",
            "tqdm",
            "keras_vit.classifier",
            "keras_vit.evaluation",
            "keras_vit.export",
            "keras_vit.weights",
        ),
        *("trainers.artefacts", "trainers.data", "trainers.engine", "trainers.evaluations", "trainers.exporting"),
        "trainers.runs",
    },
    "trainers/finetuning": {
        *("keras", "numpy", "tensorflow", "keras_vit", "trainers.data", "trainers.engine", "trainers.evaluations"),
        *("trainers.finetuning", "trainers.runs", "trainers.settings"),
    },
    "trainers/artefacts": {
        *("numpy", "tensorflow", "ai_edge_litert", "onnxruntime", "keras_vit.classifier", "keras_vit.export"),
        *("keras_vit.labels", "keras_vit.preprocessing", "trainers.artefacts", "trainers.data.bad_images"),
        *("trainers.data.batching", "trainers.engine.checkpoint", "trainers.runs"),
    },
    "trainers/predicting": {
        *("numpy", "tensorflow", "tqdm", "trainers.artefacts", "trainers.data.files", "trainers.engine.checkpoint"),
        *("trainers.predicting", "trainers.settings"),
    },
    "trainers/benchmarks": {
        *("ai_edge_litert", "keras", "keras_hub", "numpy", "skimage", "tensorflow", "tqdm"),
        *(
            "keras_vit",
            "trainers.benchmarks",
            "trainers.data",
            "trainers.engine",
            "trainers.exporting",
            "trainers.pretrain",
            "trainers.runs.memory",
            "trainers.settings",
        ),
    },
    "trainers": {"numpy", "sklearn", "keras", "tensorflow", "keras_vit", "trainers"},
}

FILES = sorted(
    path.relative_to(ROOT).as_posix() for room in ("keras_vit", "trainers") for path in (ROOT / room).rglob("*.py")
)
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "misc"}


def imported(tree):
    """Dotted names of all imports, `from a import b` as a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def allowed_for(file):
    return ALLOWED[max((prefix for prefix in ALLOWED if file.startswith(prefix)), key=len)]


@pytest.mark.parametrize("file", FILES)
def test_imports_only_what_its_room_may(file):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    allowed = allowed_for(file)
    wrong = [
        name
        for name in imported(tree)
        if name.split(".")[0] not in sys.stdlib_module_names
        and not any(name == root or name.startswith(root + ".") for root in allowed)
    ]
    assert not wrong, f"{file} may import {sorted(allowed)}, not {wrong}"


@pytest.mark.parametrize("file", FILES)
def test_no_drawer_and_no_name_of_the_standard_library(file):
    stem = pathlib.Path(file).stem
    assert stem not in FORBIDDEN_NAMES
    assert stem.startswith("__") or stem not in sys.stdlib_module_names


def test_layers_do_not_import_the_model_or_the_weights():
    for file in FILES:
        if file.startswith("keras_vit/layers"):
            names = set(imported(ast.parse((ROOT / file).read_text(encoding="utf-8"))))
            assert not any(name.startswith(("keras_vit.vit", "keras_vit.weights")) for name in names)
