"""What fits into a time."""

from hypothesis import given
from hypothesis import strategies as some

from trainers.finetuning import budget
from trainers.settings.finetuning import EVERYTHING


def test_plenty_of_time_trains_everything_but_not_for_ever():
    choice = budget.choose(seconds=1e6, per_update=0.1, depth=12, per_epoch=10)
    assert (choice.part, choice.steps) == (EVERYTHING, 300)


def test_less_time_trains_less_of_the_model():
    everything = budget.choose(seconds=600, per_update=1.0, depth=12, per_epoch=1000)
    half = budget.choose(seconds=450, per_update=1.0, depth=12, per_epoch=1000)
    quarter = budget.choose(seconds=300, per_update=1.0, depth=12, per_epoch=1000)
    assert [str(choice.part) for choice in (everything, half, quarter)] == ["all", "last:6", "last:3"]
    # With half of the blocks frozen an update takes two thirds of the time, with three quarters a half.
    assert (half.steps, quarter.steps) == (675, 600)


def test_without_blocks_there_is_nothing_to_freeze():
    assert budget.choose(seconds=1, per_update=1.0, depth=0, per_epoch=1000).part == EVERYTHING


@given(some.floats(0.0, 1e5), some.floats(1e-4, 100), some.integers(0, 48), some.floats(0.01, 1e5))
def test_there_is_always_something_and_it_fits(seconds, per_update, depth, per_epoch):
    choice = budget.choose(seconds, per_update, depth, per_epoch)
    blocks = depth if choice.part == EVERYTHING else choice.part.blocks
    share = (1 + 2 * blocks / depth) / 3 if depth else 1.0
    assert choice.steps == 1 or choice.steps * per_update * share <= seconds * (1 + 1e-9)
