"""Who may import whom: the architecture, read off the syntax trees."""

import ast
import functools
import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[1]

# Longest matching prefix wins. Each file may import these roots, beside the standard library.
ALLOWED = {
    "keras_vit/__init__.py": {"keras_vit"},
    "keras_vit/positions.py": set(),
    "keras_vit/choices.py": {"keras_vit.positions"},
    "keras_vit/errors.py": set(),
    "keras_vit/writing.py": {"keras_vit.errors"},
    "keras_vit/installation.py": {"keras_vit.errors"},
    "keras_vit/fields.py": {"keras_vit.errors"},
    "keras_vit/bit_architecture.py": {"keras_vit.errors", "keras_vit.fields"},
    "keras_vit/costs.py": {"keras_vit.bit_architecture", "keras_vit.positions", "keras_vit.variants"},
    "keras_vit/variants.py": {
        *("keras_vit.bit_architecture", "keras_vit.choices", "keras_vit.costs", "keras_vit.errors", "keras_vit.fields"),
        "keras_vit.positions",
    },
    "keras_vit/preprocessing.py": {"keras_vit.errors"},
    "keras_vit/layers": {"keras", "numpy", "keras_vit.errors", "keras_vit.layers", "keras_vit.positions"},
    "keras_vit/classifier.py": {"keras", "keras_vit.errors", "keras_vit.preprocessing"},
    "keras_vit/bit.py": {"keras", "keras_vit.classifier", "keras_vit.errors", "keras_vit.layers", "keras_vit.variants"},
    "keras_vit/vit.py": {
        *("keras", "keras_vit.bit", "keras_vit.classifier", "keras_vit.errors", "keras_vit.layers"),
        *("keras_vit.preprocessing", "keras_vit.variants"),
    },
    "keras_vit/optimization.py": {"keras", "numpy", "keras_vit.errors"},
    "keras_vit/multipliers.py": {"keras_vit.errors"},
    "keras_vit/adapters.py": {"keras", "numpy", "keras_vit.errors"},
    "keras_vit/objectives": {"keras", "numpy", "keras_vit.errors"},
    "keras_vit/objectives/masked_patches.py": {"keras", "keras_vit.errors", "keras_vit.layers.patches"},
    "keras_vit/objectives/distillation.py": {"keras", "keras_vit.errors", "keras_vit.objectives.classification"},
    "keras_vit/distilling.py": {"keras", "numpy", "keras_vit.errors", "keras_vit.preprocessing"},
    "keras_vit/masking.py": {"keras", "keras_vit.errors", "keras_vit.layers", "keras_vit.objectives"},
    "keras_vit/analysis": {"keras", "numpy", "keras_vit.errors", "keras_vit.objectives"},
    "keras_vit/evaluation": {"keras", "numpy", "scipy", "sklearn", "keras_vit.errors"},
    "keras_vit/weights": {
        *("h5py", "huggingface_hub", "keras", "numpy", "safetensors"),
        *("keras_vit.classifier", "keras_vit.errors", "keras_vit.preprocessing", "keras_vit.variants", "keras_vit.vit"),
        *("keras_vit.positions", "keras_vit.weights", "keras_vit.writing"),
    },
    "keras_vit/labels": {"keras_vit.errors", "keras_vit.labels"},
    "keras_vit/images": {"tensorflow", "keras_vit.errors", "keras_vit.images", "keras_vit.preprocessing"},
    "keras_vit/cards": {"keras_vit.cards", "keras_vit.errors", "keras_vit.variants"},
    "keras_vit/export": {
        *("flatbuffers", "keras", "numpy", "onnx", "tensorflow", "tensorflow_serving"),
        *("keras_vit.classifier", "keras_vit.errors", "keras_vit.export", "keras_vit.images"),
        *("keras_vit.preprocessing", "keras_vit.writing"),
    },
    "trainers/__main__.py": {"trainers"},
    "trainers/files.py": {"tensorflow", "keras_vit.errors"},
    "trainers/machine.py": set(),
    "trainers/run_dir.py": {"keras_vit.errors", "trainers.files"},
    "trainers/settings": {
        *("absl", "keras_vit.choices", "keras_vit.errors", "trainers.settings"),
    },
    "trainers/settings/command_line.py": {
        *("tensorflow", "keras_vit.errors", "keras_vit.installation", "trainers.settings"),
    },
    "trainers/data": {
        *("keras", "numpy", "sklearn", "tensorflow", "tensorflow_datasets", "tqdm"),
        *("keras_vit.errors", "keras_vit.images", "keras_vit.labels", "keras_vit.preprocessing"),
        *("trainers.data", "trainers.files", "trainers.machine", "trainers.settings"),
    },
    "trainers/engine": {"keras", "numpy", "tqdm", "keras_vit.errors", "trainers.engine", "trainers.files"},
    "trainers/engine/tensorflow": {
        *("keras", "numpy", "tensorflow", "keras_vit.errors", "trainers.engine", "trainers.machine"),
    },
    "trainers/evaluations": {
        *("keras", "numpy", "sklearn", "tensorflow", "tqdm"),
        *("keras_vit.errors", "keras_vit.evaluation", "keras_vit.preprocessing", "keras_vit.weights"),
        *("trainers.data", "trainers.engine", "trainers.evaluations", "trainers.inference", "trainers.reports"),
        *("trainers.run_dir", "trainers.settings"),
    },
    "trainers/training": {
        *("keras", "matplotlib", "numpy", "tensorflow", "tqdm", "keras_vit"),
        *("trainers.data", "trainers.engine", "trainers.files", "trainers.inference", "trainers.machine"),
        *("trainers.memory", "trainers.run_dir", "trainers.settings", "trainers.training"),
    },
    "trainers/memory": {
        *("keras_vit.errors", "keras_vit.positions", "keras_vit.variants"),
        *("trainers.engine", "trainers.machine", "trainers.memory", "trainers.settings"),
    },
    "trainers/reports": {
        *("matplotlib", "numpy", "tensorflow", "keras_vit.errors", "keras_vit.evaluation"),
        *("trainers.files", "trainers.reports", "trainers.run_dir"),
    },
    "trainers/inspection": {
        *("keras", "matplotlib", "numpy", "scipy", "tensorflow", "tqdm"),
        *("keras_vit.errors", "keras_vit.images", "keras_vit.preprocessing"),
        *("trainers.data", "trainers.engine", "trainers.files", "trainers.inspection", "trainers.machine"),
        *("trainers.run_dir", "trainers.settings"),
    },
    "trainers/inference": {
        *("ai_edge_litert", "keras", "numpy", "onnxruntime", "openvino", "tensorflow", "tqdm", "keras_vit"),
        *("trainers.data", "trainers.files", "trainers.inference", "trainers.machine", "trainers.run_dir"),
    },
    "trainers/exporting": {
        *("numpy", "tensorflow", "tqdm", "keras_vit"),
        *("trainers.data", "trainers.engine", "trainers.evaluations", "trainers.exporting", "trainers.files"),
        *("trainers.inference", "trainers.machine", "trainers.run_dir", "trainers.settings", "trainers.training"),
    },
    "trainers/finetuning": {
        *("keras", "numpy", "tensorflow", "keras_vit", "trainers.data", "trainers.engine", "trainers.evaluations"),
        *("trainers.files", "trainers.finetuning", "trainers.inference", "trainers.machine", "trainers.run_dir"),
        *("trainers.settings", "trainers.training"),
    },
    "trainers/benchmarks": {
        *("ai_edge_litert", "keras", "keras_hub", "numpy", "skimage", "tensorflow", "tqdm", "keras_vit"),
        *("trainers.benchmarks", "trainers.data", "trainers.engine", "trainers.exporting", "trainers.files"),
        *("trainers.inference", "trainers.machine", "trainers.memory", "trainers.pretrain", "trainers.settings"),
    },
    "trainers": {"numpy", "sklearn", "keras", "tensorflow", "keras_vit", "trainers"},
}

FILES = sorted(
    path.relative_to(ROOT).as_posix() for room in ("keras_vit", "trainers") for path in (ROOT / room).rglob("*.py")
)
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "misc"}


@functools.cache
def nodes_of(file):
    return list(ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))))


def imported(file):
    """Dotted names of all imports, `from a import b` as a.b."""
    for node in nodes_of(file):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def allowed_for(file):
    return ALLOWED[max((prefix for prefix in ALLOWED if file.startswith(prefix)), key=len)]


def test_every_file_imports_only_what_its_room_may():
    wrong = {}
    for file in FILES:
        allowed = allowed_for(file)
        for name in imported(file):
            known = any(name == root or name.startswith(root + ".") for root in allowed)
            if not known and name.split(".")[0] not in sys.stdlib_module_names:
                wrong.setdefault(file, []).append(name)
    assert not wrong, "\n".join(f"{file} may not import {', '.join(names)}" for file, names in wrong.items())


def test_no_drawer_and_no_name_of_the_standard_library():
    stems = {file: pathlib.Path(file).stem for file in FILES}
    taken = FORBIDDEN_NAMES | {name for name in sys.stdlib_module_names if not name.startswith("__")}
    assert not [file for file, stem in stems.items() if stem in taken]


def names_of(file):
    """Everything that a file names: variables, arguments, attributes, functions and classes."""
    for node in nodes_of(file):
        for field in ("id", "attr", "arg", "name"):
            if isinstance(named := getattr(node, field, None), str):
                yield named


BACKEND = "trainers/engine/tensorflow/"


def test_nothing_outside_the_backend_speaks_of_its_strategy():
    outside = [file for file in FILES if not file.startswith(BACKEND)]
    assert not [file for file in outside if "strategy" in names_of(file)]


def test_the_backend_has_one_door():
    """And the doctor looks behind it: what it examines is TensorFlow."""
    found = {
        file
        for file in FILES
        if not file.startswith(BACKEND)
        for name in imported(file)
        if name.startswith("trainers.engine.tensorflow")
    }
    assert found == {"trainers/engine/runtime.py", "trainers/inspection/environment.py"}


def test_layers_do_not_import_the_model_or_the_weights():
    for file in FILES:
        if file.startswith("keras_vit/layers"):
            names = set(imported(file))
            assert not any(name.startswith(("keras_vit.vit", "keras_vit.weights")) for name in names)
