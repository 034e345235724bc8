"""What a replica has, and what is advised where that is not enough."""

import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_vit import variants
from trainers import machine
from trainers.engine.tensorflow import runtime
from trainers.memory import demand as memory
from trainers.memory import limit as memory_limit

B16 = variants.parse("B/16")
GB = 10**9


def demand(rows=32, **changes):
    return memory.Demand(architecture=B16, rows=rows, **changes)


def test_no_advice_where_it_fits_or_nobody_knows():
    assert memory_limit.advice(demand(), 100 * GB) is None
    assert memory_limit.advice(demand(), None) is None


@pytest.mark.parametrize(
    ("limit", "changes", "expected"),
    [
        (6 * GB, {}, "--accumulate=2 would need"),
        (3 * GB, {}, "--accumulate=8 would need"),
        (3 * GB, {"accumulate": 4}, "--accumulate=8 would need"),
        (7 * GB, {"rows": 31, "device": "GPU"}, "--precision=mixed_bfloat16 would need"),
        (3 * GB, {"rows": 31}, "--remat would need"),
        (2_200_000_000, {"rows": 1009}, "--remat --accumulate=1009 would need"),
        (1_600_000_000, {"remat": True, "replicas": 2}, "; --batch_size=16 would need"),
        (1_600_000_000, {"remat": True, "accumulate": 2}, "; --batch_size=8 --accumulate=1 would need"),
        (1_300_000_000, {"rows": 4, "finetunes": True}, "--trainable=last:6 would need"),
        (10**8, {}, "take a smaller --variant or --image_size"),
    ],
)
def test_the_least_change_that_fits_is_advised(limit, changes, expected):
    line = memory_limit.advice(demand(**changes), limit)
    assert expected in line and "\n" not in line


@given(rows=st.integers(1, 96), limit=st.integers(10**8, 10**10))
def test_advice_fits_and_divides_the_batch(rows, limit):
    base = demand(rows=rows, device="GPU", finetunes=True)
    for words, changed in memory_limit._changes(base):
        plan = memory.plan_of(changed)
        assert changed.rows % changed.accumulate == 0
        if plan.total <= limit < memory.plan_of(base).total:
            assert f"; {words} would need" in memory_limit.advice(base, limit)
            break


def runtime_of(devices, precision="float32"):
    extended = types.SimpleNamespace(worker_devices=devices)
    strategy = types.SimpleNamespace(extended=extended, num_replicas_in_sync=len(devices))
    return runtime.Runtime(strategy, "", precision, "")


def test_replicas_that_are_parts_of_a_cpu_share_its_memory(monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: 8.0)
    available = 8 * 2**30 - memory_limit.PROGRAM_BYTES
    assert memory_limit.limit(runtime_of(["/device:CPU:0"])) == available
    assert memory_limit.limit(runtime_of([f"/device:CPU:{number}" for number in range(4)])) == available // 4
    monkeypatch.setattr(machine, "memory", lambda: None)
    assert memory_limit.limit(runtime_of(["/device:CPU:0"])) is None


def test_a_gpu_has_what_tensorflow_may_take_of_it_and_a_tpu_is_unknown(monkeypatch):
    device = types.SimpleNamespace
    devices = [device(device_type="CPU", memory_limit=1), *(device(device_type="GPU", memory_limit=n) for n in (9, 7))]
    monkeypatch.setattr(runtime.device_lib, "list_local_devices", lambda: devices)
    assert memory_limit.limit(runtime_of(["/device:GPU:0", "/device:GPU:1"])) == 7
    assert memory_limit.limit(runtime_of(["/job:worker/device:TPU:0"])) is None
