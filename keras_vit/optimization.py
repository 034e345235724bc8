"""Learning-rate schedules, update rules, and what each weight makes of them: decay, multiplier, frozen or not."""

import keras
from keras import ops

from keras_vit.errors import UserError


@keras.saving.register_keras_serializable(package="keras_vit")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0, then a decay. The first update, step 0, has learning rate 0 if there is a warm-up.

    Args:
        kind: Key of `SCHEDULES`.
        learning_rate: Peak.
        total_steps: Updates in all, warm-up included.
        warmup_steps: Updates until the peak.
        end_learning_rate: Value at `total_steps` for a decaying kind.
        decay_at: Updates after which the rate of a `staircase` falls to a tenth: step s + 1 is the first to have it,
            as in BiT's code.

    Raises:
        UserError: if the kind is unknown, warm-up is not shorter than the whole, or a staircase has nowhere to fall.
    """

    def __init__(self, kind, learning_rate, total_steps, warmup_steps=0, end_learning_rate=0.0, decay_at=()):
        if kind not in SCHEDULES:
            raise UserError(f"Unknown schedule {kind!r}; choose one of {', '.join(SCHEDULES)}.")
        if warmup_steps >= total_steps:
            raise UserError(f"A warm-up of {warmup_steps} steps must be shorter than training, {total_steps} steps.")
        if (kind == "staircase") != bool(decay_at):
            raise UserError(
                f"decay_at has the updates after which a staircase falls; got {list(decay_at)} for {kind!r}."
            )
        self.kind = kind
        self.learning_rate = learning_rate
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.end_learning_rate = end_learning_rate
        self.decay_at = tuple(decay_at)

    def __call__(self, step):
        step = ops.cast(step, "float32")
        progress = ops.clip((step - self.warmup_steps) / (self.total_steps - self.warmup_steps), 0.0, 1.0)
        falls = sum((ops.cast(step > place, "float32") for place in self.decay_at), start=0.0)
        share = SCHEDULES[self.kind](progress, falls)
        rate = self.end_learning_rate + (self.learning_rate - self.end_learning_rate) * share
        return rate * ops.minimum(1.0, step / self.warmup_steps) if self.warmup_steps else rate

    def get_config(self):
        return {
            "kind": self.kind,
            "learning_rate": self.learning_rate,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "end_learning_rate": self.end_learning_rate,
            "decay_at": list(self.decay_at),
        }


class Rule(keras.optimizers.Optimizer):
    """An update rule, its `step`, with decoupled decay of kernels and a learning rate of its own for each weight.

    Keras's own decay knows one learning rate for all weights, so it stays off. Before each step of the rule
    w <- w - rate * weight_decay * w where `decays(w)`, rate being the learning rate times the weight's multiplier.

    Args:
        learning_rate: Float or schedule.
        weight_decay: Coefficient of the decay.
        multipliers: Path of a weight -> its multiplier; 1 for those left out.
        kwargs: Arguments of the rule, and of `keras.optimizers.Optimizer`.
    """

    def __init__(self, learning_rate=1e-3, *, weight_decay=0.0, multipliers=None, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.decoupled_decay = weight_decay
        self.multipliers = multipliers or {}

    def build(self, variables):
        super().build(variables)
        self._multiplier_of = tuple(self.multipliers.get(variable.path, 1.0) for variable in variables)
        self._decays = tuple(decays(variable) for variable in variables)

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        rate = ops.cast(learning_rate, variable.dtype) * self._multiplier_of[index]
        if self.decoupled_decay and self._decays[index]:
            self.assign_sub(variable, variable * self.decoupled_decay * rate)
        self.step(gradient, variable, rate)

    def step(self, gradient, variable, learning_rate):
        """Updates one weight, decay aside, in the form of Keras's `update_step`."""
        raise NotImplementedError

    def get_config(self):
        return super().get_config() | {"weight_decay": self.decoupled_decay, "multipliers": dict(self.multipliers)}


@keras.saving.register_keras_serializable(package="keras_vit")
class AdamW(Rule):
    """Adam as the paper's code has it: epsilon is added to the bias-corrected root, and is 1e-8."""

    def __init__(self, learning_rate=1e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-8, name="adamw", **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.first_moments, self.second_moments = self.add_optimizer_variables(
            variables, ["first_moment", "second_moment"]
        )

    def step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        first, second = self.first_moments[index], self.second_moments[index]
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        self.assign_add(first, (gradient - first) * (1 - self.beta_1))
        self.assign_add(second, (ops.square(gradient) - second) * (1 - self.beta_2))
        mean = first / (1 - ops.power(ops.cast(self.beta_1, variable.dtype), step))
        root = ops.sqrt(second / (1 - ops.power(ops.cast(self.beta_2, variable.dtype), step)))
        self.assign_sub(variable, rate * mean / (root + self.epsilon))

    def get_config(self):
        own = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        return super().get_config() | own


@keras.saving.register_keras_serializable(package="keras_vit")
class Momentum(Rule):
    """SGD with momentum in the trace form of the paper's code: t <- m t + g, then w <- w - lr t.

    Keras's own SGD keeps v <- m v - lr g, which differs as soon as the learning rate changes.

    Args:
        learning_rate: Float or schedule.
        momentum: The m above.
        trace_dtype: Data type that t is stored in; the paper's code has bfloat16. Each step is computed from the
            unrounded t.
    """

    def __init__(self, learning_rate=1e-2, momentum=0.9, trace_dtype="float32", name="momentum", **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = momentum
        self.trace_dtype = trace_dtype

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.traces = [
            self.add_variable(v.shape, dtype=self.trace_dtype, name=f"{v.path.replace('/', '_')}_trace")
            for v in variables
        ]

    def step(self, gradient, variable, learning_rate):
        stored = self.traces[self._get_variable_index(variable)]
        trace = ops.cast(stored, variable.dtype) * self.momentum + ops.cast(gradient, variable.dtype)
        self.assign(stored, ops.cast(trace, stored.dtype))
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * trace)

    def get_config(self):
        return super().get_config() | {"momentum": self.momentum, "trace_dtype": self.trace_dtype}


@keras.saving.register_keras_serializable(package="keras_vit")
class Lamb(Rule, keras.optimizers.Lamb):
    """LAMB (arXiv 1904.00962, Algorithm 2) in Keras's form, its epsilon 1e-7.

    Adam's step r of each weight w is scaled to the length of w: w <- w - rate * |w| / |r| * r, and by 1 where either
    length is 0. The paper has r + weight_decay * w in the place of r; here as for all rules decay comes before, on
    its own and without that scaling, so |w| is that of the decayed weight. Without decay the two are the same.
    """

    step = keras.optimizers.Lamb.update_step


@keras.saving.register_keras_serializable(package="keras_vit")
class Lion(Rule, keras.optimizers.Lion):
    """Lion (arXiv 2302.06675, Algorithm 2): w <- w - rate * (sign(0.9 m + 0.1 g) + weight_decay * w).

    Then m <- 0.99 m + 0.01 g. Its steps are longer than Adam's: the paper (section 5) takes a learning rate 3 to 10
    times smaller, and a decay as many times larger.
    """

    step = keras.optimizers.Lion.update_step


def decays(variable):
    """Whether weight decay applies: kernels only, as in big_vision; not biases, norms, positions or tokens."""
    return variable.path.endswith("kernel")


def optimizer(name, variables, *, learning_rate, weight_decay=0.0, multipliers=None, **rule):
    """The optimizer of that name over the trainable variables, built.

    Args:
        name: Key of `OPTIMIZERS`.
        variables: Trainable variables of the model.
        learning_rate: Float or schedule.
        weight_decay: Coefficient; decay per update is weight_decay * learning rate * multiplier * kernel.
        multipliers: Multiplier of the learning rate for each variable; 1 for all if left out.
        **rule: Further arguments of that optimizer.

    Raises:
        UserError: if the name is unknown, or there is not one multiplier for each variable.
    """
    if name not in OPTIMIZERS:
        raise UserError(f"Unknown optimizer {name!r}; choose one of {', '.join(OPTIMIZERS)}.")
    if multipliers is not None and len(multipliers) != len(variables):
        raise UserError(f"Expected a multiplier for each of {len(variables)} variables; got {len(multipliers)}.")
    paths = [variable.path for variable in variables]
    made = OPTIMIZERS[name](
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        multipliers=dict(zip(paths, multipliers, strict=True)) if multipliers else None,
        **rule,
    )
    made.build(variables)
    return made


# Shares of the peak's height above the end, from a progress of 0 to 1 after warm-up (paper, Table 3) or from the number
# of falls so far (BiT, arXiv 1912.11370, section 3.3).
SCHEDULES = {
    "constant": lambda progress, falls: ops.ones_like(progress),
    "linear": lambda progress, falls: 1.0 - progress,
    "cosine": lambda progress, falls: 0.5 * (1.0 + ops.cos(progress * 3.141592653589793)),
    "staircase": lambda progress, falls: ops.power(0.1, falls),
}

OPTIMIZERS = {"adam": AdamW, "adamw": AdamW, "sgd": Momentum, "lamb": Lamb, "lion": Lion}
