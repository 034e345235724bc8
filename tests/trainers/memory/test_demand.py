"""The plan of memory: what it adds up to, and that it agrees with built models and their graphs."""

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
from trainers.engine.tensorflow import runtime
from trainers.memory import activations, limit
from trainers.memory import demand as memory
from trainers.settings.finetuning import EVERYTHING, FinetuningSettings, part_of
from trainers.settings.training import TrainingSettings

B16 = variants.parse("B/16")


def demand(architecture=B16, rows=32, train="all", **changes):
    return memory.Demand(architecture=architecture, rows=rows, part=part_of(train), **changes)


def plan_of(*arguments, **changes):
    plan = memory.plan_of(demand(*arguments, **changes))
    assert plan is not None
    return plan


def activations_of(architecture, **changes):
    """Bytes per image by the difference of two batch sizes, what does not depend on the batch left out."""
    one, two = (plan_of(architecture, rows=rows, **changes).activations for rows in (1, 2))
    return two - one


def test_weights_gradients_and_slots_of_b16():
    plan = plan_of(ema=True)
    assert plan.weights == plan.gradients == plan.averages == 4 * 86_567_656
    assert plan.optimizer == 2 * plan.weights
    assert plan.total == 4 * plan.weights + plan.activations  # gradients take the place of those
    assert plan_of(optimizer="sgd").optimizer == plan.weights


@pytest.mark.parametrize("name", optimization.OPTIMIZERS)
def test_slots_are_those_that_the_optimizer_makes(name):
    weight = keras.Variable([1.0, 2.0])
    shapes = [variable.shape for variable in optimization.optimizer(name, [weight], learning_rate=1.0).variables]
    assert shapes.count((2,)) == memory.SLOTS[name]


@pytest.mark.parametrize("changes", [{}, {"pool": "map", "representation": 24, "position": "relative"}])
@pytest.mark.parametrize("train", ["all", "head", "last:0", "last:1", "last:3", "last:9"])
def test_trained_weights_are_those_of_a_model_frozen_so(changes, train):
    architecture = variants.parse("mu/16", image_size=32, num_classes=7, depth=3, **changes)
    model = keras_vit.build(architecture)
    benchmark._freeze(model, train)
    count = sum(variable.numpy().size for variable in model.trainable_variables)
    assert plan_of(architecture, train=train).gradients == 4 * count


def source(tensor):
    """Reference to the tensor whose memory it is, reshaped or not; None for weights and constants."""
    while tensor.op.type in ("Reshape", "Identity"):
        tensor = tensor.op.inputs[0]
    fixed = tensor.op.type in ("Const", "Placeholder", "ReadVariableOp") or not tensor.shape.is_fully_defined()
    return None if fixed else tensor.ref()


def graph_keeps(architecture, rows, precision):
    """Bytes of the forward pass's tensors that the backward pass reads, off the graph itself."""
    model = keras_vit.build(architecture, dtype=precision)
    weights = [variable.value for variable in model.trainable_variables]
    forward = set()

    @tf.function
    def gradients(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.nn.log_softmax(model(images, training=True)))
        forward.update(operation.name for operation in tf.compat.v1.get_default_graph().get_operations())
        return tape.gradient(loss, weights)

    graph = gradients.get_concrete_function(tf.TensorSpec((rows, *architecture.image_shape))).graph
    backward = [each for each in graph.get_operations() if each.name not in forward and each.type != "Shape"]
    read = {source(tensor) for each in backward for tensor in each.inputs if tensor.op.name in forward}
    tensors = [tensor.deref() for tensor in read if tensor is not None]
    return sum(tensor.shape.num_elements() * tensor.dtype.size for tensor in tensors)


@pytest.mark.parametrize(
    ("changes", "precision"),
    [
        ({"gelu": "erf", "dropout": 0.1, "attention_dropout": 0.1}, "float32"),
        ({"position": "relative"}, "mixed_bfloat16"),
    ],
)
def test_a_block_keeps_what_its_graph_says(changes, precision):
    """Two depths, so that what comes before and after the blocks cancels."""
    shallow, rows = variants.parse("mu/16", image_size=96, **changes), 4
    deep = shallow.replace(depth=2)
    measured = graph_keeps(deep, rows, precision) - graph_keeps(shallow, rows, precision)
    width = 4 if precision == "float32" else 2
    params = variants.count_params(deep) - variants.count_params(shallow)
    formula = rows * activations.kept_by_block(shallow, width, False)
    formula += activations.shared_by_batch(shallow, width, 1, params)
    assert formula == pytest.approx(measured, rel=0.03)


def test_what_lessens_activations():
    whole = activations_of(B16)
    assert activations_of(B16, remat=True) < whole / 4
    assert activations_of(B16, train="last:4") < whole / 2.5
    assert activations_of(B16, train="head") < whole / 10
    assert activations_of(B16, xla=True) < whole / 1.4 and activations_of(B16, precision="mixed_bfloat16") < whole / 1.4
    assert activations_of(B16.replace(dropout=0.1)) > whole
    images = 4 * 224 * 224 * 3
    assert (plan_of(rows=32, accumulate=4).activations - 32 * images) * 4 == plan_of(rows=32).activations - 32 * images


def test_micro_batches_need_a_buffer_for_their_sum():
    assert plan_of(rows=32, accumulate=4).gradients == 2 * plan_of(rows=32).gradients


def test_gradients_take_the_place_of_activations():
    plan = plan_of(rows=32)
    assert plan.gradients < plan.activations and plan.total == 3 * plan.weights + plan.activations
    compiled = plan_of(rows=32, xla=True)
    assert compiled.total == 3 * compiled.weights + compiled.activations + compiled.gradients // 2


def test_an_update_of_few_images_needs_the_gradients_and_what_the_optimizer_takes_beside_them():
    assert plan_of(rows=1).total == 4 * plan_of().weights + memory.UPDATE_TENSORS * 4 * 768 * 3072


def test_xla_computes_in_float32_on_cpus():
    half = {"precision": "mixed_bfloat16", "xla": True}
    assert activations_of(B16, **half) == activations_of(B16, xla=True) > activations_of(B16, device="GPU", **half)


@given(
    rows=st.integers(1, 64),
    train=st.sampled_from(["all", "head", "last:2", "block_1/.*"]),
    flags=st.fixed_dictionaries({name: st.booleans() for name in ("remat", "xla", "ema")}),
    precision=st.sampled_from(["float32", "mixed_bfloat16", "mixed_float16"]),
    optimizer=st.sampled_from(sorted(memory.SLOTS)),
)
def test_more_images_never_need_less_and_parts_never_exceed_their_sum(rows, train, flags, precision, optimizer):
    base = demand(rows=rows, train=train, precision=precision, optimizer=optimizer, **flags)
    plan, more = memory.plan_of(base), memory.plan_of(dataclasses.replace(base, rows=rows + 1))
    parts = [getattr(plan, name) for name in ("weights", "gradients", "optimizer", "averages", "activations")]
    assert min(parts) >= 0 and max(parts) <= plan.total <= sum(parts) + plan.gradients
    assert more.total >= plan.total


def test_words_name_the_parts_that_are_something():
    words = memory.Plan(343 * 10**6, 343 * 10**6, 686 * 10**6, 0, 870 * 10**6, 1_899 * 10**6).words()
    assert words == "1.9 GB: weights 343 MB, optimizer 686 MB, gradients and activations 870 MB"


@pytest.mark.parametrize("name", ["R50+B/16", "BiT-R50x1"])
def test_families_without_a_formula_have_no_plan_and_no_advice(name):
    unknown = demand(variants.parse(name))
    assert memory.plan_of(unknown) is None and limit.advice(unknown, 1) is None


def runtime_of(devices, precision="float32"):
    extended = types.SimpleNamespace(worker_devices=devices)
    strategy = types.SimpleNamespace(extended=extended, num_replicas_in_sync=len(devices))
    return runtime.Runtime(strategy, "", precision, "")


def test_settings_become_a_demand():
    options = {"steps": 1, "batch_size": 64, "accumulate": 2, "optimizer": "sgd", "remat": True, "ema": 0.99}
    settings = FinetuningSettings(weights="B/16", trainable="last:2", **options)
    demanded = memory.demand_of(settings, B16, runtime_of(["/device:CPU:0", "/device:CPU:1"], "mixed_bfloat16"))
    assert demanded == demand(
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
    pretraining = memory.demand_of(TrainingSettings(**options), B16, runtime_of(["/device:CPU:0"]))
    assert pretraining.part == EVERYTHING and not pretraining.finetunes


@pytest.mark.slow
def test_the_plan_of_a_small_model_agrees_with_its_peak():
    configuration = benchmark.Configuration(variant="mu/16", rows=64)
    plan = memory.plan_of(configuration.demand())
    planned = plan.total - plan.weights - plan.optimizer
    assert 0.75 < planned / benchmark._in_process(configuration)["peak"] < 1.25


def test_a_teacher_s_weights_and_forward_pass_are_counted():
    small = variants.parse("Ti/16", image_size=64)
    alone, taught = (memory.plan_of(demand(small, 8, teacher=teacher)) for teacher in (None, B16))
    assert taught.weights - alone.weights == memory.WEIGHT_BYTES * variants.count_params(B16)
    images = 8 * 224 * 224 * 3 * memory.WEIGHT_BYTES
    assert taught.total - taught.weights > alone.total - alone.weights + images
    assert (taught.optimizer, taught.gradients) == (alone.optimizer, alone.gradients)
    assert memory.plan_of(demand(small, 8, teacher=variants.parse("BiT-R50x1"))) is None
