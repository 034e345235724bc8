"""What to say when the backend that Keras is set to use is not installed."""

EXTRAS = {"tensorflow": "keras_vit[cpu], keras_vit[gpu] or keras_vit[tpu]", "jax": "keras_vit[jax]"}


def advice(error: ModuleNotFoundError) -> ModuleNotFoundError:
    """A missing backend's error with the extra that installs it; any other missing module's error as it is."""
    if error.name not in EXTRAS:
        return error
    return ModuleNotFoundError(
        f"{error.name} is not installed; install one of its extras, e.g. from a clone: pip install -e '.[cpu]' "
        f"({EXTRAS[error.name]}). Another backend is chosen by the environment variable KERAS_BACKEND.",
        name=error.name,
    )
