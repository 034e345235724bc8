"""Lets test modules import what they share, wherever pytest was started: `import reference`, `import oracle`."""

import importlib.util
import os
import pathlib
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

TESTS = pathlib.Path(__file__).parent
SHARED = {"reference": TESTS / "reference.py", "oracle": TESTS / "keras_vit" / "oracle.py"}

# By file, not by putting tests/ on sys.path: there the folder tests/keras_vit would pass for the package keras_vit.
for name, path in SHARED.items():
    if name not in sys.modules and path.is_file():
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
