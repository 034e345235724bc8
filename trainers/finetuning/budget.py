"""A budget of time, made a number of steps and a part of the model to train."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from trainers.data.pipeline import TrainingData, training_split
from trainers.engine.feeding import distribute
from trainers.runs import folder, training
from trainers.runs.learner import learner_of
from trainers.runs.planning import Planned
from trainers.settings import finetuning_group, flags

TIMED = 4  # updates
# Of what is left of the budget, the share spent on updates; the rest is for evaluations, the test and files.
FOR_UPDATES = 0.8
EVALUATIONS = 4
MOST_EPOCHS = 30
# Fewer updates than for so many epochs, within these bounds, and training less of the model does better.
WANTED_EPOCHS, FEWEST, ENOUGH = 3, 60, 600


# What a budget settles, beside the flags that were given.
SETTLED = ("steps", "train", "warmup_steps", "evaluate_every")


class Choice(NamedTuple):
    """What fits into a budget.

    Args:
        train: As the flag.
        steps: Updates.
        reason: In words.
    """

    train: str
    steps: int
    reason: str


def as_before(settings: Any) -> Any:
    """The settings with what an unfinished run in the folder had settled for its budget, if there is one."""
    flagfile = folder.unfinished(settings.run_dir) if settings.budget and settings.resume != "never" else None
    if flagfile is None:
        return settings
    before = flags.read([line for line in flagfile.splitlines() if line], type(settings))
    return dataclasses.replace(settings, budget="", **{name: getattr(before, name) for name in SETTLED})


def settled(settings: Any, planned: Planned, make_model: Callable[[], Any], spent: float) -> Any:
    """The settings with steps, trained part and rhythm of evaluation such that everything fits into the budget.

    Args:
        settings: With a budget.
        planned: The run, of any length.
        make_model: As for `training.run`.
        spent: Seconds of the budget that are gone.
    """
    begin = time.monotonic()
    seconds = planned.workers.from_chief(seconds_per_update(planned, make_model))
    left = finetuning_group.seconds(settings.budget) - spent - (time.monotonic() - begin)
    depth = getattr(planned.architecture, "depth", 0) if settings.train == "all" and not settings.lora_rank else 0
    per_epoch = training_split(planned.source, settings).size / settings.batch_size
    choice = choose(planned.workers.from_chief(left) * FOR_UPDATES, seconds, depth, per_epoch)
    if planned.where.is_chief:
        print(f"--budget={settings.budget}: {choice.reason}", flush=True)
    return dataclasses.replace(
        settings,
        budget="",
        steps=choice.steps,
        train=choice.train if depth else settings.train,
        warmup_steps=min(settings.warmup_steps, choice.steps // 10),
        evaluate_every=settings.evaluate_every or math.ceil(choice.steps / EVALUATIONS),
    )


def seconds_per_update(planned: Planned, make_model: Callable[[], Any]) -> float:
    """Of an update of the whole model, after the first, which compiles."""
    data = TrainingData(planned.source, planned.settings, planned.preprocessing)
    steps = training.steps_for(planned, data.element_spec, learner_of(planned, make_model))
    iterator = iter(distribute(data.batches, steps.strategy, steps.batch_size))
    steps.train(iterator, 1)
    begin = time.monotonic()
    steps.train(iterator, TIMED)
    return (time.monotonic() - begin) / TIMED


def choose(seconds: float, per_update: float, depth: int, per_epoch: float) -> Choice:
    """The largest part of a model that can be trained long enough.

    A frozen block is computed forward only, about a third of the work of a trained one.

    Args:
        seconds: For updates.
        per_update: Seconds of one in which everything is trained.
        depth: Blocks; 0 if there is no choice.
        per_epoch: Updates in a pass over the data.
    """
    wanted = min(max(WANTED_EPOCHS * per_epoch, FEWEST), ENOUGH)
    most = max(math.ceil(MOST_EPOCHS * per_epoch), FEWEST)
    for blocks in dict.fromkeys((depth, math.ceil(depth / 2), math.ceil(depth / 4))):
        share = (1 + 2 * blocks / depth) / 3 if depth else 1.0
        steps = max(min(int(seconds / (per_update * share)), most), 1)
        if steps >= wanted:
            break
    part = "everything" if blocks == depth else f"the last {blocks} of {depth} blocks"
    return Choice(
        "all" if blocks == depth else f"last:{blocks}",
        steps,
        f"an update takes {per_update:.2g} s, so {steps:,} of them ({steps / per_epoch:.1f} epochs) train {part}",
    )
