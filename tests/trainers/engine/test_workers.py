"""What processes agree on, over a stand-in for what a backend does among them; real ones: test_matrix.py."""

import concurrent.futures
import threading

import numpy as np
import pytest
import tensorflow as tf

from keras_vit.errors import UserError
from trainers.engine.endings import WorkerLost
from trainers.engine.tensorflow.collectives import Collectives
from trainers.engine.workers import Workers


class Together:
    """Collectives of threads: each puts in its part, and all see all parts."""

    def __init__(self, index, parts, barrier):
        self.index, self.parts, self.barrier = index, parts, barrier
        self.count, self.is_chief = len(parts), index == 0

    def _all(self, part):
        self.parts[self.index] = part
        self.barrier.wait(20)
        parts = list(self.parts)
        self.barrier.wait(20)
        return parts

    def any(self, flags):
        return tuple(map(any, zip(*self._all(flags), strict=True)))

    def broadcast(self, worker, array):
        parts = self._all(array)
        assert {(part.dtype, part.shape) for part in parts} == {(array.dtype, array.shape)}
        return parts[worker]

    def gone(self, error):
        return str(error) if isinstance(error, ConnectionError) else None


def on_both(work):
    """What `work(workers)` returns, or the error that it raises, on each of two workers."""
    parts, barrier = [None, None], threading.Barrier(2)

    def one(index):
        try:
            return work(Workers(Together(index, parts, barrier)))
        except Exception as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, range(2)))


def test_alone_nobody_is_asked():
    alone = Workers()
    assert (alone.count, alone.is_chief, alone.any(True, False)) == (1, True, (True, False))
    assert alone.on_chief(lambda: 3) == alone.from_chief(3) == 3 and alone.gather({"a": 1}) == [{"a": 1}]
    with alone.waiting("nothing"):
        alone.answered()


def test_flags_and_trees_reach_all():
    tree = {"a": np.arange(3), "b": [None, "x"]}
    results = on_both(
        lambda workers: (
            workers.any(workers.is_chief, False),
            workers.on_chief(lambda: {"kernel": np.ones((2, 2), "float32")})["kernel"].tolist(),
            workers.from_chief(tree if workers.is_chief else {})["a"].tolist(),
            workers.gather("chief" if workers.is_chief else "the other, whose text is longer"),
        )
    )
    all_of = ["chief", "the other, whose text is longer"]
    assert results == [((True, False), [[1, 1], [1, 1]], [0, 1, 2], all_of)] * 2


def test_what_the_chief_cannot_do_is_said_everywhere():
    def refuse():
        raise UserError("no such folder")

    assert [str(error) for error in on_both(lambda workers: workers.on_chief(refuse))] == ["no such folder"] * 2
    errors = on_both(lambda workers: workers.agree("flags", "--a" if workers.is_chief else "--b"))
    assert [str(error) for error in errors] == [
        f"Workers were started with different flags; here: {here}; on the chief: --a." for here in ("--a", "--b")
    ]


def test_only_what_says_so_is_a_lost_worker():
    def lost(workers, error):
        with workers.waiting("training"):
            raise error

    for error in on_both(lambda workers: lost(workers, ConnectionError("closed"))):
        assert isinstance(error, WorkerLost) and "A worker was lost during training (closed)" in str(error)
    assert all(isinstance(error, KeyError) for error in on_both(lambda workers: lost(workers, KeyError("own"))))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (tf.errors.UnavailableError(None, None, "refused\nat"), "refused"),
        (tf.errors.InternalError(None, None, "Collective ops is aborted"), "Collective ops is aborted"),
        (tf.errors.InternalError(None, None, "cuBLAS failed"), None),
        (ValueError("connection"), None),
    ],
)
def test_what_tensorflow_says_of_a_lost_worker(error, said):
    assert Collectives(None, 2, True).gone(error) == said
