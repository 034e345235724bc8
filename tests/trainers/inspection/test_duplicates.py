"""Groups of duplicates, from scans made by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.inspection import duplicates, fingerprints
from trainers.inspection.scan import Scan


def scan(means, digests=None, readable=None):
    """What would be seen of images with these block means, float32 (N, 25, 25, 3)."""
    count = len(means)
    return Scan(
        np.ones(count, bool) if readable is None else np.array(readable),
        np.arange(count, dtype="uint64") + 1000 * count if digests is None else np.array(digests, "uint64"),
        fingerprints.fingerprints(np.asarray(means, "float32")),
        np.full((count, 2), 64, "int32"),
        np.zeros((count, 2), "uint8"),
        np.zeros(count, bool),
        {},
        0.0,
    )


def pictures(count, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (count, 25, 25, 3)).astype("float32")


def shown(groups):
    """Part, example, and how it is related to the group's first."""
    return [
        [
            (member.part, member.example, link and link.kind)
            for member in group.members
            for link in [group.link(group.members[0], member)]
        ]
        for group in groups
    ]


def mirror(means):
    return np.concatenate([means[:, :, 15::-1], means[:, :, :15:-1]], axis=2)


def test_groups_reach_over_splits_and_say_how():
    means = pictures(10)
    train = scan(means[[0, 1, 2, 3, 4, 0]], [10, 11, 12, 13, 14, 10])
    other = np.concatenate([means[[1]] * 0.98 + 2, mirror(means[[2]]), means[[9]]])
    test = scan(other, [20, 21, 22])
    assert shown(duplicates.groups([train, test], 2)) == [
        [(0, 0, "exact"), (0, 5, "exact")],
        [(0, 1, "exact"), (1, 0, "near")],
        [(0, 2, "exact"), (1, 1, "mirrored")],
    ]


def test_what_only_other_sources_have_twice_is_left_out():
    means = pictures(3)
    assert shown(duplicates.groups([scan(means[[0]], [1]), scan(means[[1, 1]], [2, 2])], 1)) == []
    [group] = duplicates.groups([scan(means[[0]], [1]), scan(means[[1, 0, 0]], [2, 1, 1])], 1)
    assert shown([group]) == [[(0, 0, "exact"), (1, 1, "exact"), (1, 2, "exact")]]


def test_blank_and_unreadable_images_are_in_no_group():
    means = np.concatenate([np.full((3, 25, 25, 3), 200.0), np.repeat(pictures(1), 3, axis=0)])
    groups = duplicates.groups([scan(means, [5, 5, 6, 7, 7, 7], [True, True, True, True, False, True])], 1)
    assert shown(groups) == [[(0, 3, "exact"), (0, 5, "exact")]]
    assert duplicates.groups([scan(means, readable=[False] * 6)], 1) == []


def test_plain_colours_are_blank_and_not_near_each_other():
    colours = np.array([[255, 0, 0], [250, 5, 0], [0, 0, 255], [30, 160, 90]], "float32")
    plain = scan(np.broadcast_to(colours[:, None, None], (4, 25, 25, 3)))
    assert plain.blank.all() and duplicates.groups([plain], 1) == []


def test_a_small_picture_overrules_the_hash():
    """The same brightness everywhere, but other colours, or one part that is another."""
    means = pictures(1)
    recoloured = means + np.array([60.0, 0.0, -60.0 * 0.299 / 0.114])
    assert len(duplicates.groups([scan(np.concatenate([means, means * 0.9 + 5]))], 1)) == 1
    pair = scan(np.concatenate([means, recoloured]))
    assert np.bitwise_count(pair.prints.hashes[0] ^ pair.prints.hashes[1]).sum() <= 6
    assert duplicates.groups([pair], 1) == []


def test_images_that_only_others_connect_have_no_link():
    """A film: each image near the next, the first and the last far apart."""
    one, other = pictures(2) / 2 + 60
    steps = np.linspace(0, 1, 60)[:, None, None, None]
    film = scan((1 - steps) * one + steps * other)
    [group] = duplicates.groups([film], 1)
    assert len(group.members) == 60
    first, last = group.members[0], group.members[-1]
    assert group.link(first, last) is None and group.link(last, first) is None
    for before, after in itertools.pairwise(group.members):
        kind, distance = group.link(before, after)
        assert (
            kind == "near"
            and distance
            == np.bitwise_count(film.prints.hashes[before.example] ^ film.prints.hashes[after.example]).sum()
        )
    assert group.link(first, first) == ("exact", 0)


def test_of_many_images_alike_all_pairs_are_linked():
    """Equal hashes of more images than are compared with their neighbours, the last far from the first."""
    one = pictures(1)
    many = scan(np.concatenate([one * (1 - number / 500) for number in range(80)]))
    assert (many.prints.hashes == many.prints.hashes[0]).all()
    [group] = duplicates.groups([many], 1)
    assert all(group.link(*pair) == ("near", 0) for pair in itertools.combinations(group.members, 2))


@given(st.data())
def test_components(data):
    """As by joining sets one pair at a time."""
    size = data.draw(st.integers(1, 30))
    row = st.integers(0, size - 1)
    firsts = sorted(data.draw(st.sets(row)) | {0})
    first_of = np.array(
        [
            number if number in firsts else data.draw(st.sampled_from([f for f in firsts if f <= number]))
            for number in range(size)
        ]
    )
    links = np.array(
        data.draw(st.lists(st.tuples(st.sampled_from(firsts), st.sampled_from(firsts)), max_size=30)), "int64"
    )
    sets = {number: {number} for number in range(size)}
    for one, other in itertools.chain(enumerate(first_of.tolist()), links.reshape(-1, 2).tolist()):
        joined = sets[one] | sets[other]
        for member in joined:
            sets[member] = joined
    expected = {frozenset(each) for each in sets.values() if len(each) > 1}
    components = duplicates.components(first_of, links.reshape(-1, 2))
    assert {frozenset(rows.tolist()) for rows in components} == expected
    assert all((np.diff(rows) > 0).all() for rows in components)
    assert [rows[0] for rows in components] == sorted(rows[0] for rows in components)


@pytest.mark.parametrize(("apart", "alike"), [(0.06, True), (0.08, False)])
def test_how_far_two_pictures_may_lie_apart(apart, alike):
    """A checkerboard over one of them, which neither hash nor colours see; brightness and contrast do not count."""
    means = pictures(1) / 2 + 60
    spread = fingerprints.fingerprints(means).details.std()
    board = np.zeros_like(means)
    board[:, :16, :16] = (np.indices((16, 16)).sum(axis=0) % 2 * 2 - 1)[..., None] * apart * spread
    pair = scan(np.concatenate([means, (means + board) * 1.1 - 20]))
    assert np.bitwise_count(pair.prints.hashes[0] ^ pair.prints.hashes[1]).sum() <= 2
    assert len(duplicates.groups([pair], 1)) == alike
