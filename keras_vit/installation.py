"""What to say when the backend that Keras is set to use is not installed."""

EXTRAS = {"tensorflow": ("cpu", "gpu", "tpu"), "jax": ("jax",)}


def advice(error: ModuleNotFoundError) -> ModuleNotFoundError:
    """A missing backend's error with the extra that installs it; any other missing module's error as it is."""
    if error.name not in EXTRAS:
        return error
    return ModuleNotFoundError(
        f"{error.name} is not installed; from a clone, install it with "
        + " or ".join(f"pip install -e '.[{extra}]'" for extra in EXTRAS[error.name])
        + ". Another backend is chosen by the environment variable KERAS_BACKEND.",
        name=error.name,
    )
