"""Speed of keras_vit on JAX beside torch.compile and the card's matrix products.

    python benchmarks/accelerator_speed.py

Needs one NVIDIA GPU, JAX and PyTorch; no TensorFlow. Each framework has a process of its own, so that a failure of one
leaves the other's rows. A row is printed when it is measured, a table at the end; docs/performance.md explains them.
`--smoke` runs all rows with a tiny model on whatever device there is.
"""

import argparse
import functools
import itertools
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time
from typing import NamedTuple
from unittest import mock

CLASSES, LEARNING_RATE, WEIGHT_DECAY = 1000, 1e-4, 0.03
# After its seconds a framework starts no further row, and this much later it is stopped.
GRACE_SECONDS = 40


class Scale(NamedTuple):
    """How much is measured: images per step of each variant, and of how many windows the median is taken."""

    batches: dict[str, int]
    image_size: int
    product_side: int
    windows: int
    window_seconds: float


FULL = Scale({"B/16": 256, "S/16": 512}, 224, 8192, 11, 0.25)
SMOKE = Scale({"mu/16": 2}, 32, 128, 3, 0.01)

FORWARD, STEP = "forward pass", "gradient step"
# The first way of each framework is measured for all variants, the others for the first variant alone.
# keras_vit's dtype policy, and Keras's flash_attention: None takes cuDNN's fused kernel where it can be had.
JAX_WAYS = {
    "mixed_bfloat16": ("mixed_bfloat16", None),
    "mixed_bfloat16, attention by XLA": ("mixed_bfloat16", False),
    "bfloat16": ("bfloat16", None),
}
TORCH_WAYS = ("autocast", "bfloat16")


def combinations(ways, scale):
    """Way, variant and work of each row, the most important first: what a slow machine leaves out comes last."""
    first, *others = ways
    yield from itertools.product([first], scale.batches, (STEP, FORWARD))
    for row in itertools.product(others, list(scale.batches)[:1], (STEP, FORWARD)):
        # 0.999 is 1 in bfloat16, and keras_vit's AdamW, all in the dtype of the weights, would divide by zero.
        if row[0] != "bfloat16" or row[2] != STEP:
            yield row


def measured(run, scale):
    """Seconds per step: median, least and most over windows of many steps each.

    Args:
        run: Function of a count that takes so many steps and waits for the last.
        scale: Of the measurement.
    """
    run(3)
    start = time.perf_counter()
    run(3)
    count = max(1, math.ceil(scale.window_seconds * 3 / (time.perf_counter() - start)))
    run(count)
    windows = []
    for _ in range(scale.windows):
        start = time.perf_counter()
        run(count)
        windows.append((time.perf_counter() - start) / count)
    return {"seconds": statistics.median(windows), "least": min(windows), "most": max(windows), "steps": count}


def model_row(name, variant, work, scale, run):
    """What is known of a row of a model."""
    import keras_vit

    images = scale.batches[variant]
    flops = images * keras_vit.flops(_architecture(variant, scale)) * (3 if work == STEP else 1)
    return {"row": f"{variant} {work}, {name}", "images": images, "flops": flops, **measured(run, scale)}


def product_row(name, scale, run):
    return {"row": f"matrix product, {name}", "flops": 2 * scale.product_side**3, **measured(run, scale)}


def _architecture(variant, scale):
    import keras_vit

    return keras_vit.parse(variant, image_size=scale.image_size, num_classes=CLASSES)


# keras_vit on JAX


def jax_rows(scale):
    """Functions of no arguments, each of which measures one row."""
    import jax

    device = jax.devices()[0]
    _say(f"JAX {jax.__version__}, Keras {_keras_version()}, {device.device_kind}")
    _refuse_cpu(device.platform == "cpu", scale)
    yield functools.partial(jax_product, scale)
    for way, variant, work in combinations(JAX_WAYS, scale):
        yield functools.partial(jax_model, way, variant, work, scale)


def jax_product(scale):
    import jax

    left, right = (jax.random.normal(jax.random.key(i), (scale.product_side,) * 2, "bfloat16") for i in range(2))
    multiply = jax.jit(lambda left, right: left @ right)
    return product_row("JAX", scale, _repeat(lambda: multiply(left, right), jax.block_until_ready))


def jax_model(way, variant, work, scale):
    import jax
    import keras

    policy, flash_attention = JAX_WAYS[way]
    model = _jax_network(_architecture(variant, scale), policy)
    side, batch = scale.image_size, scale.batches[variant]
    images = jax.random.uniform(jax.random.key(0), (batch, side, side, 3), "float32", -1, 1)
    labels = jax.random.randint(jax.random.key(1), (batch,), 0, CLASSES)
    attend = functools.partial(keras.ops.dot_product_attention, flash_attention=flash_attention)
    begin = jax_step if work == STEP else jax_forward
    start = time.perf_counter()
    with mock.patch.object(keras.ops, "dot_product_attention", attend):
        lowered, run = begin(model, images, labels)
    compiled = time.perf_counter() - start
    attention = "cuDNN" if "__cudnn$fmha" in lowered.as_text() else "XLA"
    return {
        **model_row(f"keras_vit on JAX, {way}", variant, work, scale, run),
        "attention": attention,
        "compile_seconds": compiled,
    }


@functools.cache
def _jax_network(architecture, policy):
    import keras_vit

    return keras_vit.build(architecture, dtype=policy)


def jax_forward(model, images, labels):
    """The compiled forward pass to float32 logits.

    Returns:
        What was lowered, and a function of a count that runs it so often.
    """
    import jax

    weights = [variable.value for variable in model.trainable_variables]
    rest = [variable.value for variable in model.non_trainable_variables]
    lowered = jax.jit(lambda *given: model.stateless_call(*given, training=False)[0]).lower(weights, rest, images)
    forward = lowered.compile()
    return lowered, _repeat(lambda: forward(weights, rest, images), jax.block_until_ready)


def jax_step(model, images, labels):
    """The same for a gradient step: cross-entropy, gradients of all weights, keras_vit's AdamW. State is donated."""
    import jax
    import jax.numpy as jnp

    from keras_vit.optimization import optimizer

    rule = optimizer("adamw", model.trainable_variables, learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    rest = [variable.value for variable in model.non_trainable_variables]

    def loss_of(weights, images, labels):
        logits_BY, _ = model.stateless_call(weights, rest, images, training=True)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits_BY), labels[:, None], axis=1).mean()

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state, images, labels):
        weights, slots = state
        loss, gradients = jax.value_and_grad(loss_of)(weights, images, labels)
        return rule.stateless_apply(slots, gradients, weights), loss

    # Copies, because donated buffers are gone and the model serves other rows.
    state = tuple([jnp.copy(v.value) for v in variables] for variables in (model.trainable_variables, rule.variables))
    lowered = update.lower(state, images, labels)
    compiled = lowered.compile()

    def step():
        nonlocal state
        state, loss = compiled(state, images, labels)
        return loss, state

    def wait(result):
        _check_finite(float(jax.block_until_ready(result)[0]))

    return lowered, _repeat(step, wait)


# PyTorch


def torch_rows(scale):
    import torch

    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    _say(f"PyTorch {torch.__version__}, {card}")
    _refuse_cpu(card == "cpu", scale)
    # Products in float32, the head's alone, may use TF32, as in JAX.
    torch.set_float32_matmul_precision("high")
    yield functools.partial(torch_product, scale)
    for way, variant, work in combinations(TORCH_WAYS, scale):
        yield functools.partial(torch_model, way, variant, work, scale)


def torch_product(scale):
    import torch

    shape = (scale.product_side,) * 2
    left, right = (torch.randn(shape, device=_torch_device(), dtype=torch.bfloat16) for _ in range(2))
    return product_row("PyTorch", scale, _repeat(lambda: left @ right, _torch_wait))


def torch_model(way, variant, work, scale):
    import torch

    import keras_vit

    architecture, batch = _architecture(variant, scale), scale.batches[variant]
    torch._dynamo.reset()
    network = torch_network(architecture).to(_torch_device())
    parameters = sum(each.numel() for each in network.parameters())
    if parameters != keras_vit.count_params(architecture):
        raise ValueError(f"{parameters} parameters, but keras_vit's {variant} has another number.")
    if way == "bfloat16":
        network.body.to(torch.bfloat16)
    images = torch.rand((batch, *architecture.image_shape), device=_torch_device()) * 2 - 1
    labels = torch.randint(CLASSES, (batch,), device=_torch_device())
    begin = torch_step if work == STEP else torch_forward
    run = begin(network, way == "autocast", images, labels)
    start = time.perf_counter()
    run(1)
    compiled = time.perf_counter() - start
    return {**model_row(f"torch.compile, {way}", variant, work, scale, run), "compile_seconds": compiled}


def torch_forward(network, autocast, images, labels):
    """As `jax_forward`; what is compiled is compiled by the first call."""
    import torch

    @functools.partial(torch.compile, dynamic=False)
    def forward(images):
        with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
            return network(images)

    def without_gradients():
        with torch.no_grad():
            return forward(images)

    return _repeat(without_gradients, _torch_wait)


def torch_step(network, autocast, images, labels):
    """As `jax_step`, with PyTorch's fused AdamW."""
    import torch

    @functools.partial(torch.compile, dynamic=False)
    def loss_of(images, labels):
        with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
            logits_BY = network(images)
        return torch.nn.functional.cross_entropy(logits_BY, labels)

    # Kernels alone have two axes, and decay.
    kernels = [each for each in network.parameters() if each.ndim == 2]
    others = [each for each in network.parameters() if each.ndim != 2]
    groups = [{"params": kernels, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    rule = torch.optim.AdamW(groups, lr=LEARNING_RATE, fused=True)

    def step():
        loss = loss_of(images, labels)
        loss.backward()
        rule.step()
        rule.zero_grad(set_to_none=True)
        return loss.detach()

    def wait(loss):
        _torch_wait(loss)
        _check_finite(loss.item())

    return _repeat(step, wait)


def torch_network(architecture):
    """The plain Vision Transformer of an architecture, in torch.nn: `body` to features, `head` to float32 logits.

    The arithmetic is keras_vit's: patches by reshaping, pre-norm blocks, GELU by tanh, tokens in bfloat16 between
    blocks, norms and the head in float32. Query, key and value are one product here.
    """
    import torch
    from torch import nn

    a = architecture

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm_0, self.norm_1 = (nn.LayerNorm(a.width, eps=a.epsilon) for _ in range(2))
            self.qkv, self.out = nn.Linear(a.width, 3 * a.width), nn.Linear(a.width, a.width)
            dense_0, dense_1 = nn.Linear(a.width, a.mlp_width), nn.Linear(a.mlp_width, a.width)
            self.mlp = nn.Sequential(dense_0, nn.GELU(approximate="tanh"), dense_1)

        def forward(self, tokens):
            qkv = self.qkv(self.norm_0(tokens)).unflatten(-1, (3, a.heads, a.head_size))
            query, key, value = qkv.permute(2, 0, 3, 1, 4)
            context = nn.functional.scaled_dot_product_attention(query, key, value)
            tokens = tokens + self.out(context.transpose(1, 2).flatten(2))
            return tokens + self.mlp(self.norm_1(tokens))

    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.projection = nn.Linear(a.patch_size**2 * a.channels, a.width)
            self.class_token = nn.Parameter(torch.zeros(1, 1, a.width))
            self.position = nn.Parameter(torch.randn(1, a.tokens, a.width) * 0.02)
            self.blocks = nn.Sequential(*(Block() for _ in range(a.depth)))
            self.norm = nn.LayerNorm(a.width, eps=a.epsilon)

        def forward(self, images):
            (rows, columns), side = a.grid, a.patch_size
            patches = images.reshape(-1, rows, side, columns, side, a.channels).transpose(2, 3)
            patches = patches.reshape(-1, rows * columns, side**2 * a.channels)
            tokens = self.projection(patches.to(self.projection.weight.dtype))
            class_token = self.class_token.to(tokens.dtype).expand(len(images), -1, -1)
            tokens = torch.cat([class_token, tokens], 1) + self.position.to(tokens.dtype)
            return self.norm(self.blocks(tokens))[:, 0]

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = Body(), nn.Linear(a.width, a.num_classes)

        def forward(self, images):
            features = self.body(images)
            with torch.autocast(images.device.type, enabled=False):
                return self.head(features.float())

    return Network()


def _torch_device():
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _torch_wait(result):
    import torch

    if result.is_cuda:
        torch.cuda.synchronize()


# Both


def _repeat(step, wait):
    """A function of a count that takes so many steps and waits for the last."""

    def run(count):
        for _ in range(count):
            result = step()
        wait(result)

    return run


def _check_finite(loss):
    if not math.isfinite(loss):
        raise ValueError(f"The loss became {loss}.")


def _refuse_cpu(on_cpu, scale):
    if on_cpu and scale is FULL:
        raise SystemExit("Found no GPU; --smoke tries the script without one.")


def _keras_version():
    import keras

    return keras.__version__


def _say(text):
    print(text, flush=True)


FRAMEWORKS = {"jax": jax_rows, "torch": torch_rows}


def measure(framework, scale, seconds):
    """The process of one framework: prints each row as a line of JSON, or its error."""
    deadline = time.monotonic() + seconds
    for row in FRAMEWORKS[framework](scale):
        if time.monotonic() > deadline:
            _say(f"{framework}: {seconds} s are over; the remaining rows are left out (--seconds)")
            return
        try:
            _say(json.dumps(row()))
        except Exception as error:  # one row that does not run leaves the others
            text = " ".join(str(error).split())[:600]
            _say(f"{framework}: {' '.join(map(str, row.args[:-1]))} failed: {type(error).__name__}: {text}")


def rows_of(framework, flags, seconds):
    """Starts that process and yields its rows; whatever else it prints is passed on."""
    command = [sys.executable, __file__, f"--framework={framework}", *flags]
    environment = {**os.environ, "KERAS_BACKEND": framework, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    stop = threading.Timer(seconds + GRACE_SECONDS, process.kill)
    stop.start()
    for line in process.stdout:
        if line.startswith("{"):
            yield json.loads(line)
        else:
            _say(line.rstrip())
    stop.cancel()
    if process.wait():
        _say(f"{framework}: the process ended with exit code {process.returncode}")


def described(row):
    """The cells of a row."""
    rate = f"{row['images'] / row['seconds']:,.0f}" if "images" in row else "-"
    spread = (row["most"] - row["least"]) / row["seconds"]
    return [row["row"], str(row.get("images", "-")), rate, f"{row['seconds'] * 1e3:.2f}", f"{spread:.1%}"]


def teraflops(row):
    return row["flops"] / row["seconds"] / 1e12


def table(rows):
    """Markdown lines; shares are of the fastest matrix product, whichever framework made it."""
    peak = max((teraflops(row) for row in rows if "images" not in row), default=math.nan)
    yield "| row | batch | images/s | ms/step | spread | TFLOP/s | of the product |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        yield f"| {' | '.join([*described(row), f'{teraflops(row):.1f}', f'{teraflops(row) / peak:.2f}'])} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a tiny model and few steps, also without a GPU")
    parser.add_argument("--seconds", type=int, default=140, help="after which a framework starts no further row")
    parser.add_argument("--output", type=pathlib.Path, help="JSON file for the rows")
    parser.add_argument("--framework", choices=FRAMEWORKS, help="lines of JSON of this one alone")
    flags = parser.parse_args()
    if flags.framework:
        measure(flags.framework, SMOKE if flags.smoke else FULL, flags.seconds)
        return
    rows = []
    passed = [*(["--smoke"] if flags.smoke else []), f"--seconds={flags.seconds}"]
    for framework in FRAMEWORKS:
        for row in rows_of(framework, passed, flags.seconds):
            rows.append(row)
            notes = [f"{key} {row[key]}" for key in ("attention",) if key in row]
            notes += [f"compiled in {row['compile_seconds']:.0f} s"] if "compile_seconds" in row else []
            name, _, rate, milliseconds, spread = described(row)
            _say(
                f"{name}: {rate} images/s, {milliseconds} ms/step (spread {spread}), {teraflops(row):.1f} TFLOP/s"
                + "".join(f", {note}" for note in notes)
            )
            if flags.output:
                flags.output.write_text(json.dumps(rows, indent=1))
    print("", *table(rows), sep="\n", flush=True)


if __name__ == "__main__":
    main()
