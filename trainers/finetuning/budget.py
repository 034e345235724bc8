"""A budget of time, made a number of steps and a part of the model to train."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from keras_vit.errors import UserError
from trainers import run_dir
from trainers.settings.finetuning import EVERYTHING, FinetuningSettings, TrainedPart
from trainers.training import resume
from trainers.training.plan import Plan, training_data
from trainers.training.task import learner_of
from trainers.training.train import steps_for

TIMED = 4  # updates
# Of what is left of the budget, the share for updates and evaluations; the rest is for files and pictures.
FOR_WORK = 0.9
# Evaluations in the course of training may take this share of that, and are no more than so many.
FOR_EVALUATIONS, MOST_EVALUATIONS = 0.25, 4
# The finished model goes through the reported split twice: for the loss, and for how each class fares.
TEST_PASSES = 2
MOST_EPOCHS = 30
# Fewer updates than for so many epochs, within these bounds, and training less of the model does better.
WANTED_EPOCHS, FEWEST, ENOUGH = 3, 60, 600
# What a budget settles, beside the flags that were given.
SETTLED = ("steps", "trainable", "warmup_steps", "evaluate_every")


class Choice(NamedTuple):
    """What fits into a budget.

    Args:
        part: Part of the model that is trained.
        steps: Updates.
        words: Name of what is trained, for people.
    """

    part: TrainedPart
    steps: int
    words: str


def as_before(settings: FinetuningSettings) -> dict[str, Any]:
    """What an unfinished run in the folder had settled, of what the settings leave open; asked on the chief.

    Raises:
        UserError: if its flags cannot be read, or it was begun with --epochs or --examples, not a budget.
    """
    flagfile = run_dir.unfinished(settings.run_dir) if settings.resume != "never" else None
    if flagfile is None:
        return {}
    before = resume.read(flagfile, settings)
    if settings.budget and before.steps is None:
        raise UserError(
            f"--run_dir={settings.run_dir} holds an unfinished run that was begun without --budget; give its own flags "
            "to go on, --resume=never to begin anew, or another folder."
        )
    fields: dict[str, Any] = {} if settings.probe_images else {"probe_images": before.probe_images}
    return fields | ({"budget": "", **{name: getattr(before, name) for name in SETTLED}} if settings.budget else {})


def settled(
    settings: FinetuningSettings, plan: Plan, make_model: Callable[[], Any], spent: float
) -> FinetuningSettings:
    """The settings with steps, trained part and rhythm of evaluation such that everything fits into the budget.

    Args:
        settings: Settings with a budget.
        plan: The run, of any length.
        make_model: Function as for `run_training`.
        spent: Seconds of the budget that are gone.
    """
    begin = time.monotonic()
    per_update = plan.workers.from_chief(seconds_per_update(plan, make_model))
    left = (settings.budget_seconds or 0.0) - spent - (time.monotonic() - begin)
    left = plan.workers.from_chief(left) * FOR_WORK
    # Forward is about a third of an update.
    validation, test = (
        per_update / 3 * split.size / settings.batch_size if split else 0.0 for split in (plan.validation, plan.test)
    )
    left -= TEST_PASSES * test
    evaluations = min(max(int(FOR_EVALUATIONS * left / validation), 1), MOST_EVALUATIONS) if validation else 1
    free = settings.trained_part == EVERYTHING and not settings.lora_rank and not settings.multipliers
    depth = getattr(plan.architecture, "depth", 0) if free else 0
    per_epoch = plan.training.size / settings.batch_size
    choice = choose(left - evaluations * validation, per_update, depth, per_epoch)
    if plan.runtime.is_chief:
        part = f"train {choice.words}" if depth else f"train {plan.trained}"
        print(
            f"--budget={settings.budget}: an update takes {per_update:.2g} s, so {choice.steps:,} of them "
            f"({choice.steps / per_epoch:.1f} epochs) {part}",
            flush=True,
        )
    return dataclasses.replace(
        settings,
        budget="",
        steps=choice.steps,
        trainable=str(choice.part) if depth else settings.trainable,
        warmup_steps=min(settings.warmup_steps, choice.steps // 10),
        evaluate_every=settings.evaluate_every or math.ceil(choice.steps / evaluations),
    )


def seconds_per_update(plan: Plan, make_model: Callable[[], Any]) -> float:
    """Of an update of what is to be trained, after the first, which compiles."""
    data = training_data(plan)
    with plan.workers.waiting("the timing of updates"):
        steps = steps_for(plan, data.element_spec, learner_of(plan, make_model))
        iterator = steps.batches(data.batches)
        steps.train(iterator, 1)
        begin = time.monotonic()
        steps.train(iterator, TIMED)
        return (time.monotonic() - begin) / TIMED


def choose(seconds: float, per_update: float, depth: int, per_epoch: float) -> Choice:
    """The largest part of a model that can be trained long enough.

    A frozen block is computed forward only, about a third of the work of a trained one.

    Args:
        seconds: Seconds for updates.
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
    if blocks == depth:
        return Choice(EVERYTHING, steps, "everything")
    return Choice(TrainedPart(blocks=blocks), steps, f"the last {blocks} of {depth} blocks")
