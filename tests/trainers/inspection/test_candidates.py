"""Close hashes are found as by comparing each with each."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.inspection import candidates


def brute_force(hashes):
    return [
        [one, other]
        for one, other in itertools.combinations(range(len(hashes)), 2)
        if sum(int(each).bit_count() for each in hashes[one] ^ hashes[other]) <= candidates.LIMIT
    ]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    families=st.integers(1, 6),
    size=st.integers(0, candidates.NEIGHBOURS + 1),
    flips=st.integers(0, 12),
)
def test_all_close_pairs_are_found(seed, families, size, flips):
    """Hashes that are a few, with some bits changed wherever they lie."""
    generator = np.random.default_rng(seed)
    bits = generator.integers(0, 2, (families, 128))[generator.integers(0, families, size)]
    for row in bits:
        places = generator.choice(128, generator.integers(0, flips + 1), replace=False)
        row[places] ^= 1
    hashes = np.packbits(bits.astype(bool), axis=1).view("uint64").reshape(size, 2)
    assert candidates.close_pairs(hashes).tolist() == brute_force(hashes)


@given(places=st.sets(st.integers(0, 127), min_size=6, max_size=7))
def test_up_to_the_limit_wherever_the_bits_lie(places):
    bits = np.zeros((2, 128), bool)
    bits[1, list(places)] = True
    hashes = np.packbits(bits, axis=1).view("uint64")
    assert len(candidates.close_pairs(hashes)) == (len(places) <= candidates.LIMIT)


def test_many_equal_hashes_stay_connected_in_bounded_time():
    hashes = np.zeros((1000, 2), "uint64")
    pairs = candidates.close_pairs(hashes)
    assert len(pairs) <= 1000 * candidates.NEIGHBOURS
    assert {tuple(pair) for pair in pairs.tolist()} >= {(row, row + 1) for row in range(999)}
