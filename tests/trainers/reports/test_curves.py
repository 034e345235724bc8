"""curves.png from metrics.csv."""

import pytest
import tensorflow as tf

from trainers.reports import curves

HEAD = "step,examples,loss,learning_rate,gradient_norm,accuracy,val_loss,val_accuracy\n"


def test_cells_that_are_empty_are_left_out(tmp_path):
    (tmp_path / "metrics.csv").write_text(HEAD + "5,80,2.5,0.1,1.0,0.2,,\n10,160,1.5,0.05,1.0,0.4,1.75,0.5\n")
    series = curves._series(str(tmp_path / "metrics.csv"))
    assert series["loss"] == ([5, 10], [2.5, 1.5]) and series["val_accuracy"] == ([10], [0.5])
    assert curves.curves(str(tmp_path))
    whole = tf.io.decode_png((tmp_path / "curves.png").read_bytes())
    (tmp_path / "metrics.csv").write_text("step,loss\n1,2.5\n2,nan\n3,1.0\n")
    assert curves.curves(str(tmp_path))
    assert tf.io.decode_png((tmp_path / "curves.png").read_bytes()).shape[0] < whole.shape[0]  # one panel instead of 3


def test_nothing_measured_is_no_picture(tmp_path, capsys):
    (tmp_path / "metrics.csv").write_text(HEAD)
    assert not curves.curves(str(tmp_path))
    assert "metrics.csv has no rows yet" in capsys.readouterr().err
    assert not (tmp_path / "curves.png").exists()


def test_a_folder_without_metrics(tmp_path):
    with pytest.raises(ValueError, match=r"metrics.csv cannot be read"):
        curves.curves(str(tmp_path))
