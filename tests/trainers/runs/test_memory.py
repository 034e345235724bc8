"""The plan of memory: what it adds up to, that it agrees with built models, and what is advised."""

import dataclasses
import types

import keras
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import keras_vit
from keras_vit import optimization, variants
from trainers.benchmarks import memory as benchmark
from trainers.engine import runtime
from trainers.runs import activations, environment, memory

B16 = variants.parse("B/16")
GB = 10**9


def demand(architecture=B16, rows=32, **changes):
    return memory.Demand(architecture=architecture, rows=rows, **changes)


def planned(*arguments, **changes):
    plan = memory.plan(demand(*arguments, **changes))
    assert plan is not None
    return plan


def kept(architecture, **changes):
    """Bytes per image by the difference of two batch sizes, what does not depend on the batch left out."""
    one, two = (planned(architecture, rows=rows, **changes).activations for rows in (1, 2))
    return two - one


def test_weights_gradients_and_slots_of_b16():
    plan = planned(ema=True)
    assert plan.weights == plan.gradients == plan.averages == 4 * 86_567_656
    assert plan.optimizer == 2 * plan.weights
    assert plan.total == 4 * plan.weights + plan.activations
    assert planned(optimizer="sgd").optimizer == plan.weights


@pytest.mark.parametrize("name", optimization.OPTIMIZERS)
def test_slots_are_those_that_the_optimizer_makes(name):
    weight = keras.Variable([1.0, 2.0])
    shapes = [variable.shape for variable in optimization.optimizer(name, [weight], learning_rate=1.0).variables]
    assert shapes.count((2,)) == memory.SLOTS[name]


@pytest.mark.parametrize("changes", [{}, {"pool": "gap"}, {"representation": 24}, {"position": "relative"}])
@pytest.mark.parametrize("train", ["all", "head", "last:0", "last:1", "last:3", "last:9"])
def test_trained_weights_are_those_of_a_model_frozen_so(changes, train):
    architecture = variants.parse("mu/16", image_size=32, num_classes=7, depth=3, **changes)
    model = keras_vit.build(architecture)
    benchmark._freeze(model, train)
    count = sum(weight.size for weight in tf.nest.flatten([v.numpy() for v in model.trainable_variables]))
    expected = count if train not in ("last:3", "last:9") else count + stem_params(model)
    assert planned(architecture, train=train).gradients == 4 * expected


def stem_params(model):
    """With every block trained the plan counts the whole model."""
    return model.get_layer("patch_encoder").count_params()


def graph_keeps(architecture, precision="float32"):
    """Bytes per image of the forward pass's tensors that the backward pass reads, off the graph itself."""
    model = keras_vit.build(architecture, dtype=precision)
    weights = [variable.value for variable in model.trainable_variables]
    forward = set()

    @tf.function
    def gradients(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.nn.log_softmax(model(images, training=True)))
        forward.update(operation.name for operation in tf.compat.v1.get_default_graph().get_operations())
        return tape.gradient(loss, weights)

    def whole(rows):
        forward.clear()
        specification = tf.TensorSpec((rows, *architecture.image_shape))
        graph = gradients.get_concrete_function(specification).graph
        read = {
            tensor.name: tensor
            for operation in graph.get_operations()
            if operation.name not in forward and operation.type != "Shape"
            for tensor in operation.inputs
            if tensor.op.name in forward and tensor.op.type not in ("Const", "Placeholder", "ReadVariableOp")
        }
        known = [tensor for tensor in read.values() if tensor.shape.is_fully_defined()]
        return sum(tensor.shape.num_elements() * tensor.dtype.size for tensor in known)

    return (whole(3) - whole(1)) / 2


@pytest.mark.parametrize(
    ("changes", "precision"),
    [
        ({}, "float32"),
        ({}, "mixed_bfloat16"),
        ({"gelu": "erf"}, "float32"),
        ({"dropout": 0.1, "attention_dropout": 0.1}, "float32"),
    ],
)
def test_a_block_keeps_what_its_graph_says(changes, precision):
    """Two depths, so that what comes before and after the blocks cancels."""
    shallow = variants.parse("mu/16", image_size=96, **changes)
    found = graph_keeps(shallow.replace(depth=2), precision) - graph_keeps(shallow, precision)
    width = 4 if precision == "float32" else 2
    assert activations.kept_by_block(shallow, width, False) == pytest.approx(found, rel=0.02)


def test_what_lessens_activations():
    whole = kept(B16)
    assert kept(B16, remat=True) < whole / 4
    assert kept(B16, train="last:4") < whole / 2.5
    assert kept(B16, train="head") < whole / 10
    assert kept(B16, xla=True) < kept(B16, precision="mixed_bfloat16") < whole
    assert kept(B16.replace(dropout=0.1)) > whole
    images = 4 * 224 * 224 * 3
    assert (planned(rows=32, accumulate=4).activations - 32 * images) * 4 == planned(rows=32).activations - 32 * images


def test_micro_batches_need_a_buffer_for_their_sum():
    assert planned(rows=32, accumulate=4).gradients == 2 * planned(rows=32).gradients


def test_gradients_take_the_place_of_activations_except_under_xla():
    small = planned(rows=1)
    assert small.gradients > small.activations and small.total == 4 * small.weights
    compiled = planned(rows=1, xla=True)
    assert compiled.total == 4 * compiled.weights + compiled.activations


@given(
    rows=st.integers(1, 64),
    train=st.sampled_from(["all", "head", "last:2", "block_1/.*"]),
    flags=st.fixed_dictionaries({name: st.booleans() for name in ("remat", "xla", "ema")}),
    precision=st.sampled_from(["float32", "mixed_bfloat16", "mixed_float16"]),
    optimizer=st.sampled_from(sorted(memory.SLOTS)),
)
def test_more_images_never_need_less_and_parts_never_exceed_their_sum(rows, train, flags, precision, optimizer):
    asked = demand(rows=rows, train=train, precision=precision, optimizer=optimizer, **flags)
    plan, more = memory.plan(asked), memory.plan(dataclasses.replace(asked, rows=rows + 1))
    parts = [getattr(plan, name) for name in ("weights", "gradients", "optimizer", "averages", "activations")]
    assert min(parts) >= 0 and max(parts) <= plan.total <= sum(parts)
    assert more.total >= plan.total


def test_words_name_the_parts_that_are_something():
    words = memory.Plan(343 * 10**6, 343 * 10**6, 686 * 10**6, 0, 870 * 10**6, 1_899 * 10**6).words()
    assert words == "1.9 GB: weights 343 MB, optimizer 686 MB, gradients and activations 870 MB"


@pytest.mark.parametrize("name", ["R50+B/16", "BiT-R50x1"])
def test_families_without_a_formula_have_no_plan_and_no_advice(name):
    asked = demand(variants.parse(name))
    assert memory.plan(asked) is None and memory.advice(asked, 1) is None


def test_no_advice_where_it_fits_or_nobody_knows():
    assert memory.advice(demand(), 100 * GB) is None
    assert memory.advice(demand(), None) is None


@pytest.mark.parametrize(
    ("limit", "changes", "expected"),
    [
        (6 * GB, {}, "--accumulate=2 would need"),
        (3 * GB, {}, "--accumulate=8 would need"),
        (3 * GB, {"accumulate": 4}, "--accumulate=8 would need"),
        (6 * GB, {"rows": 31, "device": "GPU"}, "--precision=mixed_bfloat16 would need"),
        (3 * GB, {"rows": 31}, "--remat would need"),
        (2_200_000_000, {"rows": 1009}, "--remat --accumulate=1009 would need"),
        (1_450_000_000, {"rows": 4, "replicas": 2}, "--batch_size=2 would need"),
        (1_390_000_000, {"rows": 4, "finetunes": True}, "--train=last:6 would need"),
        (10**8, {}, "take a smaller --variant or --image_size"),
    ],
)
def test_the_least_change_that_fits_is_advised(limit, changes, expected):
    line = memory.advice(demand(**changes), limit)
    assert expected in line and "\n" not in line


@given(rows=st.integers(1, 96), limit=st.integers(10**8, 10**10))
def test_advice_fits_and_divides_the_batch(rows, limit):
    asked = demand(rows=rows, device="GPU", finetunes=True)
    for words, changed in memory._changes(asked):
        plan = memory.plan(changed)
        assert changed.rows % changed.accumulate == 0
        if plan.total <= limit < memory.plan(asked).total:
            assert f"; {words} would need" in memory.advice(asked, limit)
            break


def where(devices, precision="float32"):
    extended = types.SimpleNamespace(worker_devices=devices)
    strategy = types.SimpleNamespace(extended=extended, num_replicas_in_sync=len(devices))
    return runtime.Runtime(strategy, "", precision, "")


def test_replicas_that_are_parts_of_a_cpu_share_its_memory(monkeypatch):
    monkeypatch.setattr(environment, "memory", lambda: 8.0)
    available = 8 * 2**30 - memory.PROGRAM_BYTES
    assert memory.limit(where(["/device:CPU:0"])) == available
    assert memory.limit(where([f"/device:CPU:{number}" for number in range(4)])) == available // 4
    monkeypatch.setattr(environment, "memory", lambda: None)
    assert memory.limit(where(["/device:CPU:0"])) is None


def test_a_gpu_has_what_tensorflow_may_take_of_it_and_a_tpu_is_unknown(monkeypatch):
    device = types.SimpleNamespace
    found = [device(device_type="CPU", memory_limit=1), *(device(device_type="GPU", memory_limit=n) for n in (9, 7))]
    monkeypatch.setattr(memory.device_lib, "list_local_devices", lambda: found)
    assert memory.limit(where(["/device:GPU:0", "/device:GPU:1"])) == 7
    assert memory.limit(where(["/job:worker/device:TPU:0"])) is None


def test_settings_become_a_demand():
    settings = types.SimpleNamespace(
        batch_size=64, accumulate=2, optimizer="sgd", remat=True, xla=False, ema=0.99, train="last:2"
    )
    found = memory.demand_of(settings, B16, where(["/device:CPU:0", "/device:CPU:1"], "mixed_bfloat16"))
    assert found == demand(
        rows=32,
        accumulate=2,
        optimizer="sgd",
        precision="mixed_bfloat16",
        remat=True,
        ema=True,
        train="last:2",
        replicas=2,
        finetunes=True,
    )
    del settings.train
    pretraining = memory.demand_of(settings, B16, where(["/device:CPU:0"]))
    assert pretraining.train == "all" and not pretraining.finetunes


@pytest.mark.slow
def test_the_plan_of_a_small_model_agrees_with_its_peak():
    configuration = benchmark.Configuration(variant="mu/16", rows=64)
    plan = memory.plan(configuration.demand())
    planned = plan.total - plan.weights - plan.optimizer
    assert 0.75 < planned / benchmark._in_process(configuration)["peak"] < 1.25
