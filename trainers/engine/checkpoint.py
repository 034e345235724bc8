"""Checkpoints: our resumable training state, whole or absent, anywhere that tf.io.gfile can write.

A checkpoint is a folder:
- `arrays.bin`: arrays in NumPy's format, one after the other;
- `state.json`: the tree of plain values, in which {"array": i} stands for the i-th array, and dtypes and shapes;
- `complete.json`: size and SHA-256 of the two. It is written last, because object stores cannot rename a folder: where
  it is absent, there is no checkpoint.
"""

import concurrent.futures
import itertools
import json
import os
import re
import sys

import numpy as np

from keras_vit.errors import UserError, reason
from trainers import files
from trainers.engine.trees import Tree, array_specs, flatten, unflatten

ARRAYS, STATE, MARKER = "arrays.bin", "state.json", "complete.json"


class Damaged(UserError):
    """A checkpoint that does not hold what was once written."""


def write(folder: str, state: bytes, arrays: list[np.ndarray]) -> None:
    """Writes what `flatten` returned. Until the last byte is there, there is no checkpoint in the folder.

    Raises:
        Unwritable: with the reason.
    """
    try:
        _remove(folder)  # also because ram:// appends where others begin a file anew
        files.make_folder(folder)
        with files.Hashed(os.path.join(folder, ARRAYS)) as arrays_file:
            for array in arrays:
                np.lib.format.write_array(arrays_file, array, allow_pickle=False)
        with files.Hashed(os.path.join(folder, STATE)) as state_file:
            state_file.write(state)
        marker = {ARRAYS: arrays_file.fingerprint(), STATE: state_file.fingerprint()}
        with files.opened(os.path.join(folder, MARKER), "w") as file:
            file.write(json.dumps(marker, indent=1))
    except files.ERRORS as error:
        raise files.Unwritable(f"{folder}: {reason(error)}") from error


def read(folder: str) -> Tree:
    """Reads a checkpoint. Nothing of it is looked at before its checksums agree.

    Raises:
        Damaged: if it is not what was written.
        Unreadable: if the file system refuses.
    """
    try:
        marker = json.loads(files.read_text(os.path.join(folder, MARKER)))
        for name in (ARRAYS, STATE):
            if files.fingerprint(os.path.join(folder, name)) != marker[name]:
                raise Damaged(f"{folder} is damaged (the checksum of {name} does not agree).")
        state = files.read_bytes(os.path.join(folder, STATE))
        with files.opened(os.path.join(folder, ARRAYS)) as file:
            arrays = [np.lib.format.read_array(file, allow_pickle=False) for _ in array_specs(state)]
        return unflatten(state, arrays)
    except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError, *files.BROKEN) as error:
        raise Damaged(f"{folder} is damaged ({reason(error)}).") from error
    except files.ERRORS as error:
        raise files.Unreadable(f"{folder} cannot be read now: {reason(error)}.") from error


class Checkpoints:
    """The checkpoints of one run: `step_00000100`, ... and, kept apart, `best_00000080`.

    They are written by a thread while training goes on, one at a time. One that cannot be written is reported, and
    training goes on: those before it stay valid.

    Args:
        folder: Folder of all of them.
        keep: Number of the newest to keep.
    """

    def __init__(self, folder: str, keep: int = 2):
        self.folder = folder
        self.keep = keep
        self.newest_step: int | None = None  # of those that this process has read or written
        self._passed_over: set[int] = set()
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._pending: list[tuple[int, concurrent.futures.Future[None]]] = []

    def save(self, step: int, tree: Tree) -> None:
        """Begins to write the state after `step` updates; one that is there already is left alone."""
        if step != self.newest_step and step not in [pending for pending, _ in self._pending]:
            self._pending.append((step, self._submit("step", step, tree)))
            while len(self._pending) > 2:  # no more than that wait in memory
                self._pending.pop(0)[1].result()

    def save_best(self, step: int, tree: Tree) -> None:
        """Begins to write what was best so far."""
        self._submit("best", step, tree)

    def wait(self) -> None:
        """Until everything is written that can be."""
        self._writer.submit(lambda: None).result()
        self._pending.clear()

    def steps(self, kind: str = "step") -> list[int]:
        """Steps of the published checkpoints of a kind, oldest first."""
        steps = [
            int(name.removeprefix(f"{kind}_"))
            for name in files.names(self.folder)
            if re.fullmatch(rf"{kind}_\d+", name)
        ]
        return sorted(step for step in steps if files.exists(os.path.join(self._path(kind, step), MARKER)))

    def newest(self) -> Tree | None:
        """The newest whole checkpoint, or None if there never was one. Damaged ones are reported and passed over.

        Raises:
            Damaged: if there are checkpoints, but not one is whole.
            Unreadable: if the file system refuses.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                tree = read(self._path("step", step))
            except Damaged as error:
                print(f"warning: {error} The one before it is tried.", file=sys.stderr, flush=True)
                self._passed_over.add(step)
                continue
            self.newest_step = step
            return tree
        if steps:
            raise Damaged(f"Not one of {len(steps)} checkpoints in {self.folder} is whole; --resume=never begins anew.")
        return None

    def best(self) -> Tree | None:
        """What `save_best` wrote last, or None if there is nothing whole."""
        for step in reversed(self.steps("best")):
            try:
                return read(self._path("best", step))
            except Damaged as error:
                print(f"warning: {error} The one before it is tried.", file=sys.stderr, flush=True)
        return None

    def _path(self, kind: str, step: int) -> str:
        return os.path.join(self.folder, f"{kind}_{step:08d}")

    def _submit(self, kind: str, step: int, tree: Tree) -> concurrent.futures.Future[None]:
        return self._writer.submit(self._write, kind, step, *flatten(tree))

    def _write(self, kind: str, step: int, state: bytes, arrays: list[np.ndarray]) -> None:
        try:
            write(self._path(kind, step), state, arrays)
        except files.Unwritable as error:
            valid = "there is none yet" if self.newest_step is None else f"the last is of step {self.newest_step}"
            print(f"warning: no checkpoint of step {step}: {error} ({valid}).", file=sys.stderr, flush=True)
            return
        if kind == "step":
            self.newest_step = step
            self._passed_over.discard(step)
            self._prune()

    def _prune(self) -> None:
        """Removes what is superseded, and what was never finished. A best one stays while a kept one may need it."""
        try:
            steps, best = [step for step in self.steps() if step not in self._passed_over], self.steps("best")
            newest = steps[-self.keep :]
            superseded = [step for step, later in itertools.pairwise(best) if later <= newest[0]]
            needed = {self._path("step", step) for step in {*newest, *self._passed_over}}
            needed |= {self._path("best", step) for step in best if step not in superseded}
            for name in files.names(self.folder):
                path = os.path.join(self.folder, name)
                if re.fullmatch(r"(step|best)_\d+", name) and path not in needed:
                    _remove(path)
        except files.ERRORS as error:
            print(f"warning: old checkpoints cannot be removed now ({reason(error)}).", file=sys.stderr, flush=True)


def _remove(folder: str) -> None:
    """Removes a checkpoint, the marker first."""
    files.remove(os.path.join(folder, MARKER))
    files.remove(folder)
