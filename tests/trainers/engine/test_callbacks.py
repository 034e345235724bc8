"""What progress says."""

import io

import keras
import pytest

from trainers.engine import callbacks


@pytest.mark.parametrize(("share", "shown"), [(0.0, None), (0.009, None), (0.01, "1%"), (0.237, "24%")])
@pytest.mark.parametrize("is_terminal", [False, True])
def test_progress_shows_the_wait_for_input_from_one_percent_on(share, shown, is_terminal):
    stream = io.StringIO()
    stream.isatty = lambda: is_terminal
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd")
    progress = callbacks.Progress(10, 8, stream)
    progress.set_model(model)
    progress.on_train_begin()
    logs = {"loss": 1.0, "input_wait": share}
    progress.on_train_batch_end(0, logs)
    if not is_terminal:
        progress.on_epoch_end(0, logs)
    progress.on_train_end()
    text = stream.getvalue()
    assert ("input wait" in text) == (shown is not None) and (shown is None or f"input wait {shown}" in text)
