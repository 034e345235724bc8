"""Checkpoints: our resumable training state, whole or absent, anywhere that tf.io.gfile can write.

A checkpoint is a folder:
- `arrays.bin`: arrays in NumPy's format, one after the other;
- `state.json`: the tree of plain values, in which {"array": i} stands for the i-th array, and dtypes and shapes;
- `complete.json`: size and SHA-256 of the two. It is written last, because object stores cannot rename a folder: where
  it is absent, there is no checkpoint.
"""

import concurrent.futures
import hashlib
import itertools
import json
import os
import re
import sys
from typing import Any

import numpy as np
import tensorflow as tf

ARRAYS, STATE, MARKER = "arrays.bin", "state.json", "complete.json"

Tree = Any  # dicts with string keys, lists, numbers, strings, None and NumPy arrays


class Damaged(ValueError):
    """A checkpoint that does not hold what was once written."""


class Unwritable(OSError):
    """A folder in which a checkpoint could not be written."""


def write(folder: str, tree: Tree) -> None:
    """Writes a checkpoint. Before the last byte there is none in the folder, not even one that was there.

    Raises:
        Unwritable: with the reason.
    """
    try:
        if tf.io.gfile.exists(os.path.join(folder, MARKER)):
            tf.io.gfile.remove(os.path.join(folder, MARKER))
        if tf.io.gfile.isdir(folder):  # removed, because ram:// appends where others begin a file anew
            tf.io.gfile.rmtree(folder)
        tf.io.gfile.makedirs(folder)
        state, arrays = take_apart(tree)
        with _Hashed(os.path.join(folder, ARRAYS)) as arrays_file:
            for array in arrays:
                np.lib.format.write_array(arrays_file, array, allow_pickle=False)
        with _Hashed(os.path.join(folder, STATE)) as state_file:
            state_file.write(state)
        marker = {ARRAYS: arrays_file.fingerprint(), STATE: state_file.fingerprint()}
        with tf.io.gfile.GFile(os.path.join(folder, MARKER), "w") as file:
            file.write(json.dumps(marker, indent=1))
    except (OSError, tf.errors.OpError) as error:
        raise Unwritable(f"{folder}: {_reason(error)}") from error


def read(folder: str) -> Tree:
    """Reads a checkpoint, comparing it with its checksums.

    Raises:
        Damaged: if it is not whole.
    """
    try:
        with tf.io.gfile.GFile(os.path.join(folder, MARKER), "r") as file:
            marker = json.loads(file.read())
        with _Hashed(os.path.join(folder, STATE), "rb") as state_file:
            state = state_file.read()
        arrays = []
        with _Hashed(os.path.join(folder, ARRAYS), "rb") as arrays_file:
            for _ in array_specs(state):
                arrays.append(np.lib.format.read_array(arrays_file, allow_pickle=False))
            arrays_file.read()
        found = {ARRAYS: arrays_file.fingerprint(), STATE: state_file.fingerprint()}
        tree = put_together(state, arrays)
    except (OSError, tf.errors.OpError, ValueError, KeyError, IndexError, TypeError, EOFError) as error:
        raise Damaged(f"{folder} is damaged ({_reason(error)}).") from error
    if found != marker:
        raise Damaged(f"{folder} is damaged (its checksums do not agree).")
    return tree


class Checkpoints:
    """The checkpoints of one run: `step_00000100`, ... and, kept apart, `best_00000080`.

    They are written by a thread while training goes on, one at a time. One that cannot be written is reported, and
    training goes on: those before it stay valid.

    Args:
        folder: Of all of them.
        keep: How many of the newest to keep.
    """

    def __init__(self, folder: str, keep: int = 2):
        self.folder = folder
        self.keep = keep
        self.newest_step: int | None = None
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._pending: list[concurrent.futures.Future[bool]] = []

    def save(self, step: int, tree: Tree) -> None:
        """Begins to write the state after `step` updates, which nobody may change any more."""
        self._submit("step", step, tree)

    def save_best(self, step: int, tree: Tree) -> None:
        """Begins to write what was best so far."""
        self._submit("best", step, tree)

    def wait(self) -> bool:
        """Until everything is written; returns whether all since the last call could be."""
        done = [pending.result() for pending in self._pending]
        self._pending.clear()
        return all(done)

    def steps(self, kind: str = "step") -> list[int]:
        """Steps of the published checkpoints of a kind, oldest first."""
        if not tf.io.gfile.isdir(self.folder):
            return []
        names = [name.rstrip("/") for name in tf.io.gfile.listdir(self.folder)]
        found = [int(name.removeprefix(f"{kind}_")) for name in names if re.fullmatch(rf"{kind}_\d+", name)]
        return sorted(step for step in found if tf.io.gfile.exists(os.path.join(self._path(kind, step), MARKER)))

    def newest(self) -> Tree | None:
        """The newest whole checkpoint, or None if there never was one. Damaged ones are reported and passed over.

        Raises:
            Damaged: if there are checkpoints, but not one is whole.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                tree = read(self._path("step", step))
            except Damaged as error:
                print(f"warning: {error} The one before it is tried.", file=sys.stderr, flush=True)
                continue
            self.newest_step = step
            return tree
        if steps:
            raise Damaged(f"Not one of {len(steps)} checkpoints in {self.folder} is whole; --resume=never begins anew.")
        return None

    def _path(self, kind: str, step: int) -> str:
        return os.path.join(self.folder, f"{kind}_{step:08d}")

    def _submit(self, kind: str, step: int, tree: Tree) -> None:
        if len(self._pending) > 1:  # the best and the newest may wait in memory, no more
            self._pending[-2].result()
        self._pending.append(self._writer.submit(self._write, kind, step, tree))

    def _write(self, kind: str, step: int, tree: Tree) -> bool:
        try:
            write(self._path(kind, step), tree)
            if kind == "step":
                self.newest_step = step
                self._prune()
        except (Unwritable, tf.errors.OpError) as error:
            valid = "there is none yet" if self.newest_step is None else f"the last is of step {self.newest_step}"
            print(f"warning: no checkpoint of step {step}: {error} ({valid}).", file=sys.stderr, flush=True)
            return False
        return True

    def _prune(self) -> None:
        """Removes what is superseded, the marker first; a best one if that holds for every kept checkpoint."""
        steps, best = self.steps(), self.steps("best")
        kept = steps[-self.keep :]
        superseded = [step for step, later in itertools.pairwise(best) if later <= kept[0]]
        for kind, step in [("step", step) for step in steps[: -self.keep]] + [("best", step) for step in superseded]:
            tf.io.gfile.remove(os.path.join(self._path(kind, step), MARKER))
            tf.io.gfile.rmtree(self._path(kind, step))


class _Hashed:
    """A file that keeps the size and the checksum of what goes through it."""

    def __init__(self, path: str, mode: str = "wb"):
        self._file = tf.io.gfile.GFile(path, mode)
        if mode == "wb":
            self._file.write(b"")  # without a first write there would be no file
        self._hash = hashlib.sha256()
        self._size = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def write(self, data: bytes) -> None:
        self._count(data)
        self._file.write(data)

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._count(data)
        return data

    def fingerprint(self) -> dict[str, Any]:
        return {"bytes": self._size, "sha256": self._hash.hexdigest()}

    def _count(self, data: bytes) -> None:
        self._hash.update(data)
        self._size += len(data)


def take_apart(tree: Tree) -> tuple[bytes, list[np.ndarray]]:
    """A tree's plain values as JSON, and its arrays; the JSON also tells their dtypes and shapes."""
    arrays: list[np.ndarray] = []

    def walk(node):
        if isinstance(node, np.ndarray):
            arrays.append(node)
            return {"array": len(arrays) - 1}
        if isinstance(node, dict):
            return {name: walk(value) for name, value in node.items()}
        if isinstance(node, (list, tuple)):
            return [walk(value) for value in node]
        return node.item() if isinstance(node, np.generic) else node

    plain = walk(tree)
    return json.dumps({"tree": plain, "arrays": [[str(a.dtype), a.shape] for a in arrays]}).encode(), arrays


def array_specs(state: bytes) -> list[tuple[str, list[int]]]:
    """Dtypes and shapes of the arrays that belong to a state."""
    return [(dtype, shape) for dtype, shape in json.loads(state)["arrays"]]


def put_together(state: bytes, arrays: list[np.ndarray]) -> Tree:
    """The tree that `take_apart` took apart."""
    return _with_arrays(json.loads(state)["tree"], arrays)


def _with_arrays(node: Any, arrays: list[np.ndarray]) -> Tree:
    if isinstance(node, dict):
        if node.keys() == {"array"}:
            return arrays[node["array"]]
        return {name: _with_arrays(value, arrays) for name, value in node.items()}
    return [_with_arrays(value, arrays) for value in node] if isinstance(node, list) else node


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
    return str(text).partition("\n")[0]
