import keras
import pytest


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same weights, inputs and dropout masks, whichever tests ran before it."""
    keras.utils.set_random_seed(0)


@pytest.fixture
def policy():
    """Sets the global dtype policy, for the length of one test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)
