"""Checks that need no images: labels, and what follows from a scan."""

import dataclasses
import re
import types

import numpy as np
import pytest

from keras_vit.errors import UserError
from trainers.data import arrays
from trainers.data.bad_images import BadImages
from trainers.data.source import Source, Split
from trainers.inspection import image_checks, label_checks
from trainers.inspection.findings import Finding, by_severity, counted, listed
from trainers.inspection.subject import Part, Subject, Unlabelled, distinct, look_at, positives

SIZE = (32, 48)


def subject(*counts, names=None, unlabelled=0, bad=0, several=False, size=SIZE, policy=("fail", 0.1)):
    """Splits with so many examples of each class, read in order of their classes."""
    parts = []
    source = Source("made up", 3, len(counts[0]), names, {}, several_labels=several, bad=BadImages(*policy))
    for number, of_classes in enumerate(counts):
        classes = np.repeat(np.arange(len(of_classes)), of_classes)
        count, name = len(classes) + unlabelled, ("train", "test", "other")[number]
        split = Split(count, None, None, lambda index: f"place {index}", name=name, bad=source.bad)
        readable = np.arange(count) >= bad
        scan = types.SimpleNamespace(
            unreadable=np.arange(bad),
            reason=lambda index: "broken",
            readable=readable,
            sizes=np.tile([[40, 40]], (count, 1)) * readable[:, None],
        )
        parts.append(Part(source, split, scan, np.arange(len(classes)), classes))
    return Subject(parts, [], [], size)


def findings(check, *arguments, **keywords):
    return [(finding.level, finding.check) for finding in check(subject(*arguments, **keywords))]


def test_classes_that_a_split_lacks():
    assert findings(label_checks.missing, [20, 20, 20], [5, 5, 5]) == []
    assert findings(label_checks.missing, [20, 20, 0], [5, 5, 5]) == [("error", "classes missing in training")]
    assert findings(label_checks.missing, [20, 20, 20], [5, 0, 5]) == [("warning", "classes missing in evaluation")]
    assert findings(label_checks.missing, [20, 20, 0], [5, 5, 0]) == []
    assert findings(label_checks.never_used, [20, 20, 0], [5, 5, 0]) == [("warning", "empty classes")]
    assert findings(label_checks.never_used, [20, 20, 0], [5, 5, 1]) == []


def test_few_and_skewed():
    assert findings(label_checks.few, [10, 10, 0]) == []
    assert findings(label_checks.few, [10, 9]) == [("warning", "few examples")]
    assert findings(label_checks.skewed, [99, 10, 0]) == []
    [finding] = label_checks.skewed(subject([100, 10], names=("ant", "bee")))
    assert "100 examples of ant, 10 times as many as of bee, 10" in finding.text and "91%" in finding.text
    assert findings(label_checks.skewed, [0, 0], unlabelled=3) == []
    [finding] = label_checks.skewed(subject([100, 10], several=True))
    assert "Whoever" not in finding.text


def test_examples_without_a_label():
    [finding] = label_checks.unlabelled(subject([2, 1], unlabelled=2))
    assert [*finding.images()] == [("train", "place 3", "no label"), ("train", "place 4", "no label")]
    assert finding.count == 2
    assert findings(label_checks.unlabelled, [2, 1]) == []


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
    assert bool(findings(label_checks.alike, [1, 1], names=names)) == alike


@pytest.mark.parametrize(
    ("policy", "share", "level"),
    [("fail", 0.5, "error"), ("skip", 0.01, "error"), ("skip", 0.5, "warning")],
)
def test_bad_images_are_judged_by_the_flags(policy, share, level):
    [finding] = image_checks.bad_images(subject([10, 10], bad=4, policy=(policy, share)))
    assert finding.level == level and finding.count == len([*finding.images()]) == 4
    assert ("--max_bad_share=0.2 or more" in finding.advice) == (share == 0.01)
    assert not [*image_checks.bad_images(subject([10, 10], policy=(policy, share)))]


def test_the_share_of_bad_images_is_rounded_up():
    [finding] = image_checks.bad_images(subject([57], bad=3, policy=("skip", 0.01)))
    assert 3 / 57 <= float(re.search(r"max_bad_share=(\S+)", finding.advice)[1]) < 3 / 57 + 1e-4


def test_bad_images_of_other_sources_were_not_compared():
    seen = Subject(subject([10]).parts, subject([10], bad=2).parts, [], SIZE)
    [finding] = image_checks.bad_images(seen)
    assert finding.level == "warning" and "2 images of the 10 of made up train cannot be read" in finding.text
    assert next(iter(finding.images())) == ("made up train", "place 0", "broken")


def test_small_images_by_side():
    [finding] = image_checks.small(subject([10], bad=1))
    assert "9 images of the 10 of train smaller than --image_size=32x48" in finding.text
    assert not [*image_checks.small(subject([10], size=(40, 40)))]


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


def test_reports_hold_a_few_images_of_each_finding():
    finding = Finding("note", "long", "text", "advice", 1000, lambda: (("train", str(row), "") for row in range(1000)))
    assert finding.plain() == {
        "level": "note",
        "check": "long",
        "text": "text",
        "advice": "advice",
        "count": 1000,
        "images": [("train", str(row), "") for row in range(100)],
    }


def test_splits_without_labels():
    seen = dataclasses.replace(
        subject([20]),
        unlabelled=[Unlabelled("test", True, "test[0] has no label."), Unlabelled("other test", False, "it is secret")],
    )
    assert [(finding.level, finding.check, finding.text) for finding in label_checks.hidden(seen)] == [
        ("error", "has no labels", "test was not looked at: test[0] has no label."),
        ("warning", "has no labels", "other test was not looked at: it is secret."),
    ]


def test_splits_that_share_no_example():
    split = Split(10, None, None, None)
    source = Source(
        "vtab", 3, 2, None, {"a": split, "b": split}, views={"some": "a[:5]", "rest": "a[5:]", "all": "a", "test": "b"}
    )
    assert distinct(source, [], source.names) == ["some", "rest", "test"]
    assert distinct(source, ["all"], source.names) == ["all", "test"]


def test_shares_of_classes_count_by_the_largest():
    images = np.zeros((4, 8, 8, 3), "uint8")
    shares = np.array([[0.9, 0.1, 0], [0.1, 0.1, 0.8], [0, 0, 0], [0.4, 0.6, 0]], "float32")
    split = arrays.from_arrays("train", images, shares)
    source = Source("made up", 3, 3, None, {"train": split})
    assert [each.tolist() for each in positives(source.split("train"))] == [[0, 1, 3], [0, 2, 1]]
    several = dataclasses.replace(source, several_labels=True)
    assert len(positives(several.split("train"))[0]) == 7


def test_a_split_without_labels_is_not_read():
    def nothing():
        raise UserError("test[0] has no label; name another.")

    def unread(index):
        raise AssertionError

    train = arrays.from_arrays("train", np.zeros((3, 8, 8, 3), "uint8"), np.arange(3))
    test = Split(3, unread, nothing, str)
    source = Source("made up", 3, 3, None, {"train": train, "test": test})
    other = dataclasses.replace(source, name="other")
    seen = look_at(source, ["train", "test"], {"other": other}, SIZE)
    assert [part.title for part in (*seen.parts, *seen.against)] == ["made up train", "other train"]
    assert [(split.title, split.own) for split in seen.unlabelled] == [("test", True), ("other test", False)]
    with pytest.raises(ValueError, match="has no label"):
        look_at(source, ["test", "train"], {}, SIZE)
