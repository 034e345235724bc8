"""Checks that need no images: labels, and what follows from a scan."""

import types

import numpy as np
import pytest

from trainers.data.inspection import checks, image_checks, label_checks
from trainers.data.inspection.findings import Finding, by_severity, counted, listed
from trainers.data.inspection.subject import Part, Subject, distinct
from trainers.data.source import Source, Split

SETTINGS = types.SimpleNamespace(image_size=(32, 48), on_bad_image="fail", max_bad_share=0.1)


def subject(*counts, names=None, unlabelled=0, bad=0):
    """Splits with so many examples of each class, read in order of their classes."""
    parts = []
    source = Source("made up", 3, len(counts[0]), names, {})
    for number, of_classes in enumerate(counts):
        classes = np.repeat(np.arange(len(of_classes)), of_classes)
        size = len(classes) + unlabelled
        split = Split(size, None, None, lambda index: f"place {index}")
        readable = np.arange(size) >= bad
        scan = types.SimpleNamespace(
            bad={index: "broken" for index in range(bad)},
            readable=readable,
            sizes=np.tile([[40, 40]], (size, 1)) * readable[:, None],
        )
        parts.append(Part(source, ("train", "test", "other")[number], split, scan, np.arange(len(classes)), classes))
    return Subject(parts, [], [])


def found(check, *arguments, **keywords):
    return [(finding.level, finding.check) for finding in check(subject(*arguments, **keywords), SETTINGS)]


def test_classes_that_a_split_lacks():
    assert found(label_checks.missing, [20, 20, 20], [5, 5, 5]) == []
    assert found(label_checks.missing, [20, 20, 0], [5, 5, 5]) == [("error", "classes missing in training")]
    assert found(label_checks.missing, [20, 20, 20], [5, 0, 5]) == [("warning", "classes missing in evaluation")]
    assert found(label_checks.missing, [20, 20, 0], [5, 5, 0]) == []
    assert found(label_checks.never_used, [20, 20, 0], [5, 5, 0]) == [("warning", "empty classes")]
    assert found(label_checks.never_used, [20, 20, 0], [5, 5, 1]) == []


def test_few_and_skewed():
    assert found(label_checks.few, [10, 10, 0]) == []
    assert found(label_checks.few, [10, 9]) == [("warning", "few examples")]
    assert found(label_checks.skewed, [99, 10, 0]) == []
    [finding] = label_checks.skewed(subject([100, 10], names=("ant", "bee")), SETTINGS)
    assert "100 examples of ant, 10 times as many as of bee, 10" in finding.text and "91%" in finding.text
    assert found(label_checks.skewed, [0, 0], unlabelled=3) == []


def test_examples_without_a_label():
    [finding] = label_checks.unlabelled(subject([2, 1], unlabelled=2), SETTINGS)
    assert [place for _, place, _ in finding.images] == ["place 3", "place 4"]
    assert found(label_checks.unlabelled, [2, 1]) == []


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        (("cat", "Cats"), True),
        (("new york", "New-York"), True),
        (("café", "cafe"), True),
        (("crane", "crane"), True),
        (("animal/cat", "animals/cats"), True),
        (("animal/cat", "animalcat"), False),
        (("cat", "cart"), False),
        (("s", "S"), True),
        (("1", "11"), False),
        (("bas", "bass"), False),
        (("鹤", "猫"), False),
        (None, False),
    ],
)
def test_names_that_are_alike(names, alike):
    assert bool(found(label_checks.alike, [1, 1], names=names)) == alike


@pytest.mark.parametrize(
    ("policy", "share", "level"),
    [("fail", 0.5, "error"), ("skip", 0.01, "error"), ("skip", 0.5, "warning")],
)
def test_bad_images_are_judged_by_the_flags(policy, share, level):
    settings = types.SimpleNamespace(on_bad_image=policy, max_bad_share=share)
    [finding] = image_checks.bad_images(subject([10, 10], bad=4), settings)
    assert finding.level == level and len(finding.images) == 4
    assert ("above 0.2" in finding.advice) == (share == 0.01)
    assert not [*image_checks.bad_images(subject([10, 10]), settings)]


def test_small_images_by_side():
    [finding] = image_checks.small(subject([10], bad=1), SETTINGS)
    assert "9 images of the 10 of train smaller than --image_size=32x48" in finding.text
    assert not [*image_checks.small(subject([10]), types.SimpleNamespace(image_size=40))]


def test_words():
    assert [counted(1, "image"), counted(2, "image"), counted(1000, "class")] == [
        "1 image",
        "2 images",
        "1,000 classes",
    ]
    assert listed("abcdefg", 5) == "a, b, c, d, e and 2 more" and listed("ab") == "a, b"
    levels = [
        finding.level for finding in by_severity(Finding(level, "", "", "") for level in ("note", "error", "warning"))
    ]
    assert levels == ["error", "warning", "note"]
    assert all(map(callable, checks.CHECKS.values()))


def test_splits_that_share_no_example():
    split = Split(10, None, None, None)
    source = Source(
        "vtab", 3, 2, None, {"a": split, "b": split}, views={"some": "a[:5]", "rest": "a[5:]", "all": "a", "test": "b"}
    )
    assert distinct(source, [], source.names) == ["some", "rest", "test"]
    assert distinct(source, ["all"], source.names) == ["all", "test"]
