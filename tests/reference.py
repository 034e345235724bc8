"""The Vision Transformer in plain numpy and float64, written from the paper's equations: an oracle for tests.

Paper: Dosovitskiy et al., "An Image is Worth 16x16 Words" (arXiv 2010.11929), section 3.1, equations 1 to 4.
Nothing here is fast; it only has to be right and readable.

Shape letters: B batch, H W C image, P patch side, h w grid, N patches, T query tokens (N, or N + 1 with the class
token, which is token 0), S key tokens, D width, M MLP width, A heads, K head size, Y classes, L blocks.
Weights are flat dicts under the official `.npz` names; every function takes the part of the dict below its own name.
"""

import math
import re

import numpy as np

# --- elementary operations ---------------------------------------------------------------------------------------


def patches(images, patch_size):
    """Images (B,H,W,C) -> patches (B,N,P*P*C), the x_p of section 3.1.

    Patches come row of the grid by row, their values in (row, column, channel) order. Pixels at the bottom and the
    right that fill no whole patch are dropped.
    """
    images_BHWC = np.asarray(images, np.float64)
    batch, height, width, channels = images_BHWC.shape
    grid_h, grid_w = height // patch_size, width // patch_size
    patches_BNV = np.zeros((batch, grid_h * grid_w, patch_size * patch_size * channels))
    for i in range(grid_h):
        for j in range(grid_w):
            for row in range(patch_size):
                for column in range(patch_size):
                    for channel in range(channels):
                        value = (row * patch_size + column) * channels + channel
                        pixel_B = images_BHWC[:, i * patch_size + row, j * patch_size + column, channel]
                        patches_BNV[:, i * grid_w + j, value] = pixel_B
    return patches_BNV


def layer_norm(x, scale, bias, epsilon=1e-6):
    """Inputs (...,D), scale (D,), bias (D,) -> (...,D): LN of equations 2 to 4, with the biased variance."""
    x = np.asarray(x, np.float64)
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + epsilon) * np.asarray(scale, np.float64) + np.asarray(bias, np.float64)


def gelu(x, form):
    """Inputs (...) -> (...): x times the normal distribution function, exact ("erf") or approximated ("tanh")."""
    x = np.asarray(x, np.float64)
    if form == "erf":
        return 0.5 * x * (1.0 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2.0)))
    if form == "tanh":
        return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    raise ValueError(f"gelu form must be 'tanh' or 'erf', got {form!r}")


def softmax(x):
    """Logits (...,Y) -> probabilities (...,Y) over the last axis; a logit of -inf gives probability 0."""
    x = np.asarray(x, np.float64)
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def log_softmax(x):
    """Logits (...,Y) -> log-probabilities (...,Y) over the last axis."""
    x = np.asarray(x, np.float64)
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def dense(x, kernel, bias=None):
    """Inputs (...,D), kernel (D,M), bias (M,) or None -> (...,M)."""
    outputs = np.asarray(x, np.float64) @ np.asarray(kernel, np.float64)
    return outputs if bias is None else outputs + np.asarray(bias, np.float64)


# --- attention and blocks ----------------------------------------------------------------------------------------


def relative_logits(queries_BTAK, table_RK, class_token=False):
    """Scaled queries (B,T,A,K), table (R,K) -> logits (B,A,T,T): appendix D.4, "relative positional embeddings".

    Row of the table for query patch p_q and key patch p_k (raster indices): p_q - p_k + N - 1. With a class token
    (token 0), R = 2N + 1 and the row is 2N - 1 for query patch -> class key, 2N for class query -> patch key, and
    N - 1 (offset 0) for class -> class. Without one, R = 2N - 1. The table serves all heads.
    """
    table_RK = np.asarray(table_RK, np.float64)
    batch, tokens, heads, head_size = queries_BTAK.shape
    count = tokens - 1 if class_token else tokens
    rows = 2 * count - 1 + (2 if class_token else 0)
    if table_RK.shape != (rows, head_size):
        raise ValueError(f"relative table must have shape {(rows, head_size)}, got {table_RK.shape}")
    logits_BATT = np.zeros((batch, heads, tokens, tokens))
    for query in range(tokens):
        for key in range(tokens):
            if not class_token:
                row = query - key + count - 1
            elif query == 0 and key == 0:
                row = count - 1
            elif key == 0:
                row = 2 * count - 1
            elif query == 0:
                row = 2 * count
            else:
                row = (query - 1) - (key - 1) + count - 1
            logits_BATT[:, :, query, key] = queries_BTAK[:, query] @ table_RK[row]
    return logits_BATT


def attention(queries, keys, weights, mask=None, relative=None, class_token=False):
    """Queries (B,T,D), keys (B,S,D) -> outputs (B,T,D), probabilities (B,A,T,S): appendix A, equations 5 to 8.

    The keys' tokens are also the values' tokens. Weights: query/kernel, key/kernel, value/kernel (D,A,K), their
    bias (A,K), out/kernel (A,K,D), out/bias (D,); biases may be absent. Mask (B,S): True = may be attended, at
    least one per image. Relative: table of `relative_logits`, for T == S only.
    """

    def project(tokens_BXD, name):
        kernel_DAK = np.asarray(weights[f"{name}/kernel"], np.float64)
        projected_BXAK = np.einsum("bxd,dak->bxak", np.asarray(tokens_BXD, np.float64), kernel_DAK)
        bias_AK = weights.get(f"{name}/bias")
        return projected_BXAK if bias_AK is None else projected_BXAK + np.asarray(bias_AK, np.float64)

    q_BTAK, k_BSAK, v_BSAK = project(queries, "query"), project(keys, "key"), project(keys, "value")
    q_BTAK = q_BTAK / math.sqrt(q_BTAK.shape[-1])
    logits_BATS = np.einsum("btak,bsak->bats", q_BTAK, k_BSAK)
    if relative is not None:
        if q_BTAK.shape[1] != k_BSAK.shape[1]:
            raise ValueError("relative positions need as many queries as keys")
        logits_BATS = logits_BATS + relative_logits(q_BTAK, relative, class_token)
    if mask is not None:
        mask_BS = np.asarray(mask, bool)
        if not mask_BS.any(axis=-1).all():
            raise ValueError("every image needs at least one key that may be attended")
        logits_BATS = np.where(mask_BS[:, None, None, :], logits_BATS, -np.inf)
    probabilities_BATS = softmax(logits_BATS)
    heads_BTAK = np.einsum("bats,bsak->btak", probabilities_BATS, v_BSAK)
    outputs_BTD = np.einsum("btak,akd->btd", heads_BTAK, np.asarray(weights["out/kernel"], np.float64))
    if weights.get("out/bias") is not None:
        outputs_BTD = outputs_BTD + np.asarray(weights["out/bias"], np.float64)
    return outputs_BTD, probabilities_BATS


def mlp(x, weights, form="tanh"):
    """Tokens (B,T,D) -> (B,T,D): two layers with a GELU between (section 3.1).

    Weights: Dense_0/kernel (D,M), Dense_0/bias (M,), Dense_1/kernel (M,D), Dense_1/bias (D,); biases may be absent.
    """
    hidden_BTM = gelu(dense(x, weights["Dense_0/kernel"], weights.get("Dense_0/bias")), form)
    return dense(hidden_BTM, weights["Dense_1/kernel"], weights.get("Dense_1/bias"))


def block(tokens, weights, form="tanh", epsilon=1e-6, mask=None, relative=None, class_token=False):
    """Tokens z_{l-1} (B,T,D) -> z_l (B,T,D), probabilities (B,A,T,T): equations 2 and 3.

    Weights: one encoderblock, its modules numbered the pre-Linen way (LayerNorm_0, MultiHeadDotProductAttention_1,
    LayerNorm_2, MlpBlock_3) or per type (LayerNorm_0, MultiHeadDotProductAttention_0, LayerNorm_1, MlpBlock_0).
    """
    tokens_BTD = np.asarray(tokens, np.float64)
    norm_1, norm_2 = modules(weights, "LayerNorm")
    (attention_weights,) = modules(weights, "MultiHeadDotProductAttention")
    (mlp_weights,) = modules(weights, "MlpBlock")
    normed_BTD = layer_norm(tokens_BTD, norm_1["scale"], norm_1["bias"], epsilon)
    attended_BTD, probabilities_BATT = attention(normed_BTD, normed_BTD, attention_weights, mask, relative, class_token)
    tokens_BTD = attended_BTD + tokens_BTD  # equation 2
    normed_BTD = layer_norm(tokens_BTD, norm_2["scale"], norm_2["bias"], epsilon)
    return mlp(normed_BTD, mlp_weights, form) + tokens_BTD, probabilities_BATT  # equation 3


# --- pooling -----------------------------------------------------------------------------------------------------


def token(tokens):
    """Tokens (B,T,D) -> (B,D): the class token z_L^0 of equation 4."""
    return np.asarray(tokens, np.float64)[:, 0]


def gap(tokens, class_token=False):
    """Tokens (B,T,D) -> (B,D): mean over the patch tokens, leaving out the class token when there is one (D.3)."""
    tokens_BTD = np.asarray(tokens, np.float64)
    return (tokens_BTD[:, 1:] if class_token else tokens_BTD).mean(axis=1)


def map_pool(tokens, weights, form="tanh", epsilon=1e-6):
    """Tokens (B,T,D) -> (B,D): big_vision's attention pooling; y = attention of the probe, then y + MLP(LN(y)).

    Weights: one MAPHead: probe (1,1,D), MultiHeadDotProductAttention_0, LayerNorm_0, MlpBlock_0.
    """
    tokens_BTD = np.asarray(tokens, np.float64)
    (norm,) = modules(weights, "LayerNorm")
    (attention_weights,) = modules(weights, "MultiHeadDotProductAttention")
    (mlp_weights,) = modules(weights, "MlpBlock")
    probe_B1D = np.repeat(np.asarray(weights["probe"], np.float64), len(tokens_BTD), axis=0)
    pooled_B1D, _ = attention(probe_B1D, tokens_BTD, attention_weights)
    normed_B1D = layer_norm(pooled_B1D, norm["scale"], norm["bias"], epsilon)
    return (pooled_B1D + mlp(normed_B1D, mlp_weights, form))[:, 0]


# --- positions ---------------------------------------------------------------------------------------------------


def frequencies(count):
    """-> (count,): omega_i = 10000^(-i / (count - 1))."""
    if count < 2:
        raise ValueError("sine-cosine positions need at least two frequencies")
    return np.array([10000.0 ** (-i / (count - 1)) for i in range(count)])


def sincos1d(count, width):
    """-> (N,D): position n is [sin(n omega), cos(n omega)] with D / 2 frequencies."""
    if width % 2:
        raise ValueError("width must be even")
    omega = frequencies(width // 2)
    return np.array([np.concatenate([np.sin(n * omega), np.cos(n * omega)]) for n in range(count)])


def sincos2d(height, width, dimension):
    """Grid h, w -> (h*w,D), raster order: big_vision's "sincos2d".

    Position (y, x) is [sin(x omega), cos(x omega), sin(y omega), cos(y omega)] with D / 4 frequencies.
    """
    if dimension % 4:
        raise ValueError("dimension must be a multiple of 4")
    omega = frequencies(dimension // 4)
    positions = []
    for y in range(height):
        for x in range(width):
            parts = [np.sin(x * omega), np.cos(x * omega), np.sin(y * omega), np.cos(y * omega)]
            positions.append(np.concatenate(parts))
    return np.array(positions)


def learned_2d(rows, columns):
    """Rows (h,D/2), columns (w,D/2) -> (h*w,D), raster order: position (i, j) is [columns[j], rows[i]] (D.4)."""
    rows, columns = np.asarray(rows, np.float64), np.asarray(columns, np.float64)
    return np.array([np.concatenate([column, row]) for row in rows for column in columns])


# --- the whole model ---------------------------------------------------------------------------------------------


def subtree(arrays, name):
    """The arrays below `name/`, under their names without it."""
    return {key[len(name) + 1 :]: array for key, array in arrays.items() if key.startswith(f"{name}/")}


def modules(weights, kind):
    """The weights of the modules `{kind}_{number}` at the top of a dict, in the order of their numbers."""
    numbers = {int(found[1]) for key in weights if (found := re.match(rf"{kind}_(\d+)/", key))}
    return [subtree(weights, f"{kind}_{number}") for number in sorted(numbers)]


def position_table(arrays, grid, width, position=None):
    """Grid (h, w) -> positions (N or T,D), whether they are for the patches alone; `position` as in `vit`."""
    count = grid[0] * grid[1]
    if position is None and "Transformer/posembed_input/pos_embedding" in arrays:
        return np.asarray(arrays["Transformer/posembed_input/pos_embedding"], np.float64).reshape(-1, width), False
    if position is None:
        return np.asarray(arrays["pos_embedding"], np.float64).reshape(-1, width), True
    if isinstance(position, str):
        if position == "none":
            return np.zeros((count, width)), True
        if position == "sincos1d":
            return sincos1d(count, width), True
        if position == "sincos2d":
            return sincos2d(*grid, width), True
        raise ValueError(f"position must be 'none', 'sincos1d', 'sincos2d' or an array, got {position!r}")
    table = np.asarray(position, np.float64).reshape(-1, width)
    return table, len(table) == count


def embed(arrays, images, patch_size, position=None):
    """Images (B,H,W,C) -> tokens z_0 (B,T,D): equation 1; `position` as in `vit`."""
    kernel_PPCD = np.asarray(arrays["embedding/kernel"], np.float64)
    if kernel_PPCD.shape[:2] != (patch_size, patch_size):
        raise ValueError(f"patch size {patch_size}, but the kernel has shape {kernel_PPCD.shape}")
    width = kernel_PPCD.shape[-1]
    tokens_BTD = dense(patches(images, patch_size), kernel_PPCD.reshape(-1, width), arrays.get("embedding/bias"))
    batch, count, _ = tokens_BTD.shape

    grid = (np.shape(images)[1] // patch_size, np.shape(images)[2] // patch_size)
    table, for_patches = position_table(arrays, grid, width, position)
    if len(table) != count + ("cls" in arrays and not for_patches):
        raise ValueError(f"{len(table)} positions do not fit {count} patches")
    if for_patches:
        tokens_BTD = tokens_BTD + table
    if "cls" in arrays:
        class_B1D = np.repeat(np.asarray(arrays["cls"], np.float64).reshape(1, 1, width), batch, axis=0)
        tokens_BTD = np.concatenate([class_B1D, tokens_BTD], axis=1)
    return tokens_BTD if for_patches else tokens_BTD + table


def vit(arrays, images, patch_size, heads, pool, gelu="tanh", epsilon=1e-6, position=None, relative=None):
    """Images (B,H,W,C) -> dict of everything on the way to the logits: equations 1 to 4.

    Arrays: flat dict under the official names, either numbering; class token when `cls` is there, tanh layer when
    `pre_logits/kernel` is there. Pool: "token", "gap", "map" or "none" (every token goes to the head).
    Position: None = the learned table in the dict, `Transformer/posembed_input/pos_embedding` added after the
    class token is put in front (paper) or `pos_embedding` added to the patches before (big_vision); or "none",
    "sincos1d", "sincos2d", or an array (N,D) for the patches or (N+1,D) for the class token and the patches.
    Relative: one table of `relative_logits` per block.

    Returns embedded (B,T,D) = z_0, tokens = list of z_1 ... z_L (B,T,D), encoded (B,T,D) = LN(z_L), attention =
    list of L (B,A,T,T), pooled (B,D), features (B,D or width of pre_logits), the head's input, and logits (B,Y),
    None without a head.
    """
    class_token = "cls" in arrays
    tokens_BTD = embed(arrays, images, patch_size, position)
    outputs = {"embedded": tokens_BTD, "tokens": [], "attention": []}
    blocks = modules(subtree(arrays, "Transformer"), "encoderblock")
    for weights, table in zip(blocks, relative or [None] * len(blocks), strict=True):
        tokens_BTD, probabilities_BATT = block(
            tokens_BTD, weights, gelu, epsilon, relative=table, class_token=class_token
        )
        if probabilities_BATT.shape[1] != heads:
            raise ValueError(f"{heads} heads, but the kernels have {probabilities_BATT.shape[1]}")
        outputs["tokens"].append(tokens_BTD)
        outputs["attention"].append(probabilities_BATT)

    norm = subtree(arrays, "Transformer/encoder_norm")
    encoded_BTD = outputs["encoded"] = layer_norm(tokens_BTD, norm["scale"], norm["bias"], epsilon)
    if pool == "token":
        pooled = token(encoded_BTD)
    elif pool == "gap":
        pooled = gap(encoded_BTD, class_token)
    elif pool == "map":
        pooled = map_pool(encoded_BTD, subtree(arrays, "MAPHead_0"), gelu, epsilon)
    elif pool == "none":
        pooled = encoded_BTD
    else:
        raise ValueError(f"pool must be 'token', 'gap', 'map' or 'none', got {pool!r}")

    features = pooled
    if "pre_logits/kernel" in arrays:
        features = np.tanh(dense(pooled, arrays["pre_logits/kernel"], arrays.get("pre_logits/bias")))
    logits = None
    if "head/kernel" in arrays:
        logits = dense(features, arrays["head/kernel"], arrays.get("head/bias"))
    return outputs | {"pooled": pooled, "features": features, "logits": logits}


def count_parameters(arrays):
    """Dict of arrays -> number of values in all of them."""
    return sum(math.prod(np.shape(array)) for array in arrays.values())


# --- losses ------------------------------------------------------------------------------------------------------


def label_smoothing_cross_entropy(logits, labels, num_classes, smoothing=0.0):
    """Logits (B,Y), labels (B,) integers -> losses (B,): softmax cross-entropy in nats.

    The target is 1 - smoothing on the label plus smoothing / Y on every class, the label included.
    """
    targets_BY = np.full((len(labels), num_classes), smoothing / num_classes)
    for example, label in enumerate(labels):
        targets_BY[example, label] += 1.0 - smoothing
    return -(targets_BY * log_softmax(logits)).sum(axis=-1)


def sigmoid_cross_entropy(logits, targets):
    """Logits (B,Y), targets (B,Y) in [0, 1] -> losses (B,), summed over the classes.

    -[y log sigmoid(z) + (1 - y) log sigmoid(-z)], with log sigmoid(z) = -log(1 + exp(-z)).
    """
    logits_BY, targets_BY = np.asarray(logits, np.float64), np.asarray(targets, np.float64)
    losses_BY = targets_BY * np.logaddexp(0.0, -logits_BY) + (1.0 - targets_BY) * np.logaddexp(0.0, logits_BY)
    return losses_BY.sum(axis=-1)


# --- optimisers (optax's conventions; none changes its arguments) ------------------------------------------------


def clip_by_global_norm(arrays, limit):
    """Dict of gradients -> (dict of clipped gradients, norm before clipping).

    The norm is over all arrays together; above the limit every array is multiplied by limit / norm.
    """
    arrays = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    norm = math.sqrt(sum((array * array).sum() for array in arrays.values()))
    factor = limit / norm if norm > limit else 1.0
    return {name: array * factor for name, array in arrays.items()}, norm


def sgd_trace_step(arrays, gradients, trace, learning_rate, momentum=0.9):
    """Dicts of weights, gradients and trace (None before the first step) -> (weights, trace) after one step.

    t <- momentum t + g; w <- w - learning_rate t.
    """
    trace = trace or dict.fromkeys(arrays, 0.0)
    trace = {name: momentum * trace[name] + np.asarray(gradients[name], np.float64) for name in arrays}
    return {name: np.asarray(arrays[name], np.float64) - learning_rate * trace[name] for name in arrays}, trace


def adamw_step(
    arrays, gradients, state, learning_rate, weight_decay=0.0, beta_1=0.9, beta_2=0.999, epsilon=1e-8, decayed=None
):
    """Dicts of weights and gradients, state (None before the first step) -> (weights, state) after one step.

    State: {"step": steps taken, "mean": dict, "square": dict}. w <- w - learning_rate (m' / (sqrt(v') + epsilon)
    + weight_decay w), with m' and v' corrected for bias; the decay applies where decayed(name) is true, by default
    to the arrays named kernel.
    """
    if decayed is None:

        def decayed(name):
            return name.split("/")[-1] == "kernel"

    state = state or {"step": 0, "mean": dict.fromkeys(arrays, 0.0), "square": dict.fromkeys(arrays, 0.0)}
    step, new_arrays, means, squares = state["step"] + 1, {}, {}, {}
    for name, weight in arrays.items():
        weight, gradient = np.asarray(weight, np.float64), np.asarray(gradients[name], np.float64)
        means[name] = beta_1 * state["mean"][name] + (1.0 - beta_1) * gradient
        squares[name] = beta_2 * state["square"][name] + (1.0 - beta_2) * gradient**2
        mean, square = means[name] / (1.0 - beta_1**step), squares[name] / (1.0 - beta_2**step)
        decay = weight_decay * weight if decayed(name) else 0.0
        new_arrays[name] = weight - learning_rate * (mean / (np.sqrt(square) + epsilon) + decay)
    return new_arrays, {"step": step, "mean": means, "square": squares}
