import keras
import pytest
import tensorflow as tf


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same weights, inputs and dropout masks, whichever tests ran before it.

    TensorFlow's own seed stays, which Keras never draws by: once it is set, every graph has to get ready again.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.random, "set_seed", lambda seed: None)
        keras.utils.set_random_seed(0)


@pytest.fixture
def policy():
    """Sets the global dtype policy, for the length of one test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)
