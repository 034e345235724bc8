"""The words for parts of a source."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_vit.errors import UserError
from trainers.settings import splits
from trainers.settings.splits import Interval

SIZES = {"train": 1000, "validation": 50, "test": 7}
VIEWS = {"train800val200": "train[:800]+train[900:]+validation", "test": "train[50%:]"}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("train", [("train", 0, 1000)]),
        ("train[:98%]", [("train", 0, 980)]),
        ("train[98%:]", [("train", 980, 1000)]),
        ("test[50%:]", [("test", 4, 7)]),  # 3.5 rounds to the even number, as in TensorFlow Datasets
        ("train[33.3%:66.6%]", [("train", 333, 666)]),
        ("train[100:200]", [("train", 100, 200)]),
        ("train[-100:]", [("train", 900, 1000)]),
        ("train[:-10%]", [("train", 0, 900)]),
        ("train[800:900]+validation[:10]", [("train", 800, 900), ("validation", 0, 10)]),
        (" train [:5]".replace(" [", "["), [("train", 0, 5)]),
    ],
)
def test_expressions(expression, expected):
    assert splits.resolve(expression, SIZES, {}, "x") == tuple(Interval(*part) for part in expected)


def test_percentages_mean_what_they_mean_in_tensorflow_datasets():
    for size, percent, expected in ((1281167, "99%", 1268355), (3060, "90%", 2754), (73257, "90%", 65931)):
        assert splits.resolve(f"t[:{percent}]", {"t": size}, {}, "x")[0].last == expected


def test_views_come_first_and_may_be_cut():
    assert splits.resolve("test", SIZES, VIEWS, "x") == (Interval("train", 500, 1000),)
    whole = splits.resolve("train800val200", SIZES, VIEWS, "x")
    assert sum(part.size for part in whole) == 950
    assert splits.resolve("train800val200[790:910]", SIZES, VIEWS, "x") == (
        Interval("train", 790, 800),
        Interval("train", 900, 1000),
        Interval("validation", 0, 10),
    )


@pytest.mark.parametrize(
    ("expression", "fragment"),
    [
        ("", "expected a name"),
        ("train[", "expected a name"),
        ("train[9]", "expected a name"),
        ("train[:1.5]", "expected a name"),
        ("a b", "expected a name"),
        ("train+", "expected a name"),
        ("valid", "no split 'valid'; it has train, validation, test"),
        ("train[60%:50%]", "is empty"),
        ("train[:0]", "is empty"),
        ("train[:0.01%]", "is empty"),
        ("train[:101%]", "reaches beyond"),
        ("train[:1001]", "'train' has 1,000 examples"),
        ("train[-1001:]", "reaches beyond"),
        ("train[:10]+train[5:6]", "twice"),
    ],
)
def test_mistakes_are_one_clear_error(expression, fragment):
    with pytest.raises(UserError, match=r"source|expected") as error:
        splits.resolve(expression, SIZES, {}, "source")
    assert fragment in str(error.value) and "\n" not in str(error.value)


@given(st.integers(1, 10**7), st.integers(1, 99))
def test_two_sides_of_a_cut_make_the_whole(size, percent):
    expressions = (f"train[:{percent}%]", f"train[{percent}%:]")
    try:
        first, rest = (splits.resolve(expression, {"train": size}, {}, "x") for expression in expressions)
    except UserError:
        assert size < 100  # one side is empty
        return
    assert first[0].last == rest[0].first and first[0].size + rest[0].size == size
    assert not splits.overlap(first, rest)


@given(st.data())
def test_overlap_is_that_of_the_sets(data):
    parts = st.tuples(st.sampled_from("ab"), st.integers(0, 20), st.integers(1, 20)).map(
        lambda part: Interval(part[0], part[1], part[1] + part[2])
    )
    one, other = (tuple(data.draw(st.lists(parts, min_size=1, max_size=3))) for _ in range(2))
    sets = [{(part.base, i) for part in side for i in range(part.first, part.last)} for side in (one, other)]
    assert splits.overlap(one, other) == bool(sets[0] & sets[1])
