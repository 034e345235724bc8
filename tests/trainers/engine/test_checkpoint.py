"""Checkpoints: whole or absent, on local disk and in TensorFlow's in-memory file system."""

import os
import uuid

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trainers import files
from trainers.engine import checkpoint, trees
from trainers.engine.checkpoint import Checkpoints, Damaged
from trainers.files import Unwritable

FILES = (checkpoint.ARRAYS, checkpoint.STATE, checkpoint.MARKER)
TREE = {
    "weights": {"a/kernel": np.arange(6, dtype="float32").reshape(2, 3), "step": np.array(7, "int64")},
    "progress": {"epoch": 2, "sums": {"loss": (0.1, 3)}, "best": None, "lines": ["x,y\n"], "stopped": False},
    "best_weights": [np.zeros((0, 2)), np.ones(1, "float16")],
}


@pytest.fixture(params=["disk", "ram"])
def folder(request, tmp_path):
    """A folder of its own on each file system."""
    return str(tmp_path / "checkpoint") if request.param == "disk" else f"ram://{uuid.uuid4()}/checkpoint"


def write(folder, tree):
    checkpoint.write(folder, *trees.flatten(tree))


def assert_same(one, other):
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other or (one != one and other != other)


def test_what_is_written_is_read(folder):
    write(folder, {"before": np.ones(3)})
    write(folder, TREE)
    assert_same(TREE, checkpoint.read(folder))


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    hnp.arrays(st.sampled_from(["float32", "int64", "uint32"]), hnp.array_shapes(min_dims=0, min_side=0, max_side=3)),
)


@given(st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(min_size=6), inner), max_leaves=8))
def test_every_tree_survives(tree):
    state, arrays = trees.flatten(tree)
    assert len(trees.array_specs(state)) == len(arrays)
    assert_same(tree, trees.unflatten(state, arrays))


def change(path, how):
    with tf.io.gfile.GFile(path, "rb") as file:
        data = file.read()
    tf.io.gfile.remove(path)  # first, because ram:// appends where others begin a file anew
    if how == "remove":
        return
    middle = len(data) // 2
    changed = data[:middle] if how == "cut" else data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(b"" if how == "empty" else changed)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["cut", "flip", "empty", "remove"])
def test_damage_is_noticed(folder, name, how):
    write(folder, TREE)
    change(os.path.join(folder, name), how)
    with pytest.raises(Damaged, match="damaged"):
        checkpoint.read(folder)


def test_every_single_bit_counts(tmp_path):
    write(str(tmp_path), {"a": np.zeros(2, "float32"), "b": 1})
    for name in (checkpoint.ARRAYS, checkpoint.STATE):
        whole = (tmp_path / name).read_bytes()
        for position in range(8 * len(whole)):
            damaged = bytearray(whole)
            damaged[position // 8] ^= 1 << position % 8
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises(Damaged):
                checkpoint.read(str(tmp_path))
        (tmp_path / name).write_bytes(whole)
    assert checkpoint.read(str(tmp_path))["b"] == 1


def test_what_cannot_be_read_now_is_not_called_damaged(tmp_path, monkeypatch):
    write(str(tmp_path), TREE)

    def refuse(self, *arguments):
        raise tf.errors.UnavailableError(None, None, "the network is down")

    monkeypatch.setattr(tf.io.gfile.GFile, "read", refuse)
    with pytest.raises(files.Unreadable, match="cannot be read now: the network is down"):
        checkpoint.read(str(tmp_path))


def test_a_step_is_written_once(folder, monkeypatch):
    """Otherwise the newest would be gone while it is written again, in the very seconds before a preemption."""
    checkpoints = Checkpoints(folder, keep=1)
    checkpoints.save(20, {"step": 20})
    checkpoints.save(20, {"again": 20})
    checkpoints.wait()
    monkeypatch.setattr(checkpoint, "write", None)
    checkpoints.save(20, {"again": 20})
    checkpoints.wait()
    resumed = Checkpoints(folder)
    assert resumed.newest() == {"step": 20}
    resumed.save(20, {"again": 20})
    resumed.wait()


def test_damaged_ones_do_not_count_as_kept_and_unfinished_ones_go(folder):
    checkpoints = Checkpoints(folder, keep=1)
    for step in (10, 20):
        write(os.path.join(folder, f"step_{step:08d}"), {"step": step})
    write(os.path.join(folder, "step_00000012"), {})
    tf.io.gfile.remove(os.path.join(folder, "step_00000012", checkpoint.MARKER))
    change(os.path.join(folder, "step_00000020", checkpoint.STATE), "cut")
    assert checkpoints.newest() == {"step": 10}
    checkpoints.save(15, {"step": 15})
    checkpoints.wait()
    assert checkpoints.steps() == [15, 20]
    assert not tf.io.gfile.exists(os.path.join(folder, "step_00000012"))
    assert Checkpoints(folder).newest() == {"step": 15}


def test_old_ones_that_cannot_be_removed_are_no_failure(folder, monkeypatch, capsys):
    checkpoints = Checkpoints(folder, keep=1)
    checkpoints.save(1, {})
    checkpoints.wait()

    def refuse(path):
        raise tf.errors.PermissionDeniedError(None, None, "no")

    monkeypatch.setattr(tf.io.gfile, "rmtree", refuse)
    checkpoints.save(2, {})
    checkpoints.wait()
    assert checkpoints.newest_step == 2 and "cannot be removed" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["cut", "flip", "empty"])
def test_a_damaged_newest_one_falls_back(folder, how, capsys):
    checkpoints = Checkpoints(folder)
    for step in (10, 20):
        checkpoints.save(step, {"step": step})
    checkpoints.wait()
    change(os.path.join(folder, "step_00000020", checkpoint.STATE), how)
    assert checkpoints.newest() == {"step": 10} and checkpoints.newest_step == 10
    assert "step_00000020 is damaged" in capsys.readouterr().err


def test_nothing_is_none_and_all_damaged_is_an_error(folder):
    checkpoints = Checkpoints(folder)
    assert checkpoints.newest() is None
    checkpoints.save(1, {})
    checkpoints.wait()
    change(os.path.join(folder, "step_00000001", checkpoint.STATE), "cut")
    with pytest.raises(Damaged, match="--resume=never"):
        checkpoints.newest()


class Quota(Exception):
    """Stands for the moment at which a process is killed."""


@pytest.mark.parametrize("stop_after", range(40))
def test_cut_off_at_any_write_it_is_absent_or_whole(tmp_path, monkeypatch, stop_after):
    """Written over a checkpoint of the same step, as after a resumption, there is the old one, none, or the new one."""
    folder = str(tmp_path)
    write(folder, {"old": np.zeros(3)})
    left = [stop_after]

    def counted(function):
        def call(*arguments, **keywords):
            if not left[0]:
                raise Quota
            left[0] -= 1
            return function(*arguments, **keywords)

        return call

    monkeypatch.setattr(tf.io.gfile.GFile, "write", counted(tf.io.gfile.GFile.write))
    monkeypatch.setattr(tf.io.gfile, "remove", counted(tf.io.gfile.remove))
    new = {"new": [np.full(3, i) for i in range(5)]}
    cut = False
    try:
        write(folder, new)
    except Quota:
        cut = True
    monkeypatch.undo()
    if tf.io.gfile.exists(os.path.join(folder, checkpoint.MARKER)):
        assert_same({"old": np.zeros(3)} if cut and not stop_after else new, checkpoint.read(folder))
    else:
        assert cut
        assert Checkpoints(str(tmp_path.parent)).steps() == []


def test_the_newest_and_the_best_they_need_are_kept(folder):
    checkpoints = Checkpoints(folder, keep=2)
    for step in range(1, 7):
        if step in (2, 3, 5):
            checkpoints.save_best(step, {"step": step})
        checkpoints.save(step, {"step": step})
    checkpoints.wait()
    # From step 5 the best is 5. From an older one that is gone nobody resumes.
    assert (checkpoints.steps(), checkpoints.steps("best")) == ([5, 6], [5])
    checkpoints.save_best(7, {})
    checkpoints.save(7, {})
    checkpoints.wait()
    assert (checkpoints.steps(), checkpoints.steps("best")) == ([6, 7], [5, 7])  # 6 would go on with the best of 5
    assert Checkpoints(folder).newest() == {}


def test_a_failing_writer_leaves_the_previous_one_and_says_so(folder, monkeypatch, capsys):
    checkpoints = Checkpoints(folder)
    checkpoints.save(1, {"step": 1})
    checkpoints.wait()
    assert checkpoints.newest_step == 1

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tf.io.gfile.GFile, "write", full)
    checkpoints.save(2, {"step": 2})
    checkpoints.wait()
    said = capsys.readouterr().err
    assert "no checkpoint of step 2" in said and "No space left" in said and "the last is of step 1" in said
    monkeypatch.undo()
    assert Checkpoints(folder).newest() == {"step": 1}
    checkpoints.save(3, {"step": 3})
    checkpoints.wait()
    assert checkpoints.newest() == {"step": 3}


def test_an_unwritable_folder_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unwritable, match="file"):
        write(str(tmp_path / "file" / "step_00000001"), TREE)
