"""What happens when Keras is imported: our layers become known to it, and a missing backend is worded."""

import importlib
import importlib.abc
import importlib.util
import sys
from types import ModuleType

from keras_vit.errors import MissingPackage

EXTRAS = {"tensorflow": ("cpu", "gpu", "tpu"), "jax": ("jax",)}
# What registers itself, and what that imports of this package.
NEED_KERAS = {"bit", "classifier", "layers", "vit", "weights"}


def register_with_keras(*modules: str) -> None:
    """Imports modules, whose layers register themselves, as soon as Keras is there: now, or right after its import.

    Where one of their package is imported before Keras, Keras goes first: in the midst of that import it would find
    them half made.
    """
    if "keras" in sys.modules:
        for module in modules:
            importlib.import_module(module)
    else:
        sys.meta_path.insert(0, _AfterKeras(modules))


class _AfterKeras(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds Keras once, where everybody finds it, and imports the modules when it has been executed."""

    def __init__(self, modules: tuple[str, ...]):
        self._modules = modules

    def find_spec(self, name, path=None, target=None):
        if name.startswith("keras_vit.") and name.split(".")[1] in NEED_KERAS:
            importlib.import_module("keras")
            module = sys.modules.get(name)
            return module and importlib.util.spec_from_loader(name, _Imported(module))
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        spec.loader = module.__loader__ = self._loader
        try:
            self._loader.exec_module(module)
        except ModuleNotFoundError as error:
            raise advice(error) from None
        for name in self._modules:
            importlib.import_module(name)


class _Imported(importlib.abc.Loader):
    """Gives an import a module that is there already."""

    def __init__(self, module: ModuleType):
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec):
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


def advice(error: ModuleNotFoundError) -> ModuleNotFoundError:
    """A missing backend's error with the extra that installs it; any other missing module's error as it is."""
    if error.name not in EXTRAS:
        return error
    return MissingPackage(
        f"{error.name} is not installed; from a clone, install it with "
        + " or ".join(f"pip install -e '.[{extra}]'" for extra in EXTRAS[error.name])
        + ". Another backend is chosen by the environment variable KERAS_BACKEND.",
        name=error.name,
    )
