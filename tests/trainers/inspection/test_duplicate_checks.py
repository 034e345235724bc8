"""Checks of images that are there twice: only what is directly linked is the same."""

import numpy as np

from trainers.data.source import Source, Split
from trainers.inspection import candidates, duplicate_checks, duplicates, fingerprints
from trainers.inspection.scan import Scan
from trainers.inspection.subject import Part, Subject

FRAMES = 60


def part(name, source, means, classes, digests):
    count = len(means)
    seen = Scan(
        np.ones(count, bool),
        np.array(digests, "uint64"),
        fingerprints.fingerprints(means.astype("float32")),
        np.full((count, 2), 64, "int32"),
        np.zeros((count, 2), "uint8"),
        np.zeros(count, bool),
        {},
        0.0,
    )
    split = Split(count, None, None, lambda index: f"{name} {digests[index]}", name=name)
    return Part(Source(source, 3, 2, ("ant", "bee"), {}), split, seen, np.arange(count), np.array(classes))


def film():
    """Images each near the next, the first and the last far apart."""
    first, last = np.random.default_rng(0).uniform(60, 190, (2, 25, 25, 3))
    steps = np.linspace(0, 1, FRAMES)[:, None, None, None]
    return (1 - steps) * first + steps * last


def subject(*parts, own):
    return Subject([*parts[:own]], [*parts[own:]], duplicates.groups([each.scan for each in parts], own), (64, 64))


def assert_linked(finding, frames):
    """What is reported are two images whose hashes are close, and how close they are is said."""
    hashes = fingerprints.fingerprints(frames.astype("float32")).hashes
    for _, place, detail in finding.images():
        kind, _, other = detail.partition(";")[0].partition(": ")
        apart = candidates.distances(*hashes[[int(each.split()[-1]) for each in (place, other)]])
        assert apart <= candidates.LIMIT and kind in (f"near, {apart} bits", f"near, {apart} bit")


def test_the_two_ends_of_a_chain_are_not_the_same():
    frames, half = film(), FRAMES // 2
    train = part("train", "mine", frames[:half], [0] * half, range(half))
    test = part("test", "mine", frames[half:], [1] * half, range(half, FRAMES))
    seen = subject(train, test, own=2)
    assert [len(group.members) for group in seen.groups] == [FRAMES]
    for check, level in (duplicate_checks.leakage, "error"), (duplicate_checks.two_labels, "note"):
        [finding] = check(seen)
        assert finding.level == level and 0 < finding.count < half // 2
        places = [place for _, place, _ in finding.images()]
        assert f"test {half}" in places and f"test {FRAMES - 1}" not in places
        assert_linked(finding, frames)
    against = subject(train, part("test", "theirs", frames[half:], [1] * half, range(half, FRAMES)), own=1)
    [finding] = duplicate_checks.overlap(against)
    assert 0 < finding.count < half // 2
    assert_linked(finding, frames)


def test_what_only_another_split_connects_is_no_duplicate_within_one():
    frames = film()
    far = next(number for number in range(FRAMES) if not linked(frames[[0, number]]))
    ends = part("train", "mine", frames[[0, far]], [0, 0], [0, far])
    middle = part("test", "mine", frames[1:far], [0] * (far - 1), range(1, far))
    seen = subject(ends, middle, own=2)
    assert [len(group.members) for group in seen.groups] == [far + 1]
    assert [finding for finding in duplicate_checks.within(seen) if "of train" in finding.text] == []


def linked(frames):
    return bool(subject(part("train", "mine", frames, [0, 0], [1, 2]), own=1).groups)


def test_the_closest_is_named_and_equal_pixels_before_all():
    """Test has an image of train again, and one near to two of them."""
    frames = film()
    train = part("train", "mine", frames[[0, 2, 3]], [0, 0, 1], [0, 2, 3])
    test = part("test", "mine", frames[[2, 1]], [0, 0], [2, 1])
    [finding] = duplicate_checks.leakage(subject(train, test, own=2))
    details = {place: detail for _, place, detail in finding.images()}
    assert details["test 2"] == "exact: train 2"
    hashes = fingerprints.fingerprints(frames.astype("float32")).hashes
    apart = {number: int(candidates.distances(hashes[1], hashes[number])) for number in (0, 2, 3)}
    nearest = min(apart, key=apart.get)
    assert details["test 1"].endswith(f"train {nearest}") and f"near, {apart[nearest]} bit" in details["test 1"]
    assert "1 with the same pixels, 1 nearly the same" in finding.text
