"""All pairs among millions of hashes that differ in few bits, without comparing each with each.

A hash is 8 chunks of 16 bits. If two differ in at most 6 bits, at least 2 chunks are equal, whichever they are. So for
each of the 28 choices of 2 chunks, hashes are sorted by these, and only equal ones are compared.
"""

import itertools

import numpy as np
from tqdm import tqdm

LIMIT = 6  # bits
CHUNKS = 8  # two more than the limit

# Of the hashes that are equal in two chunks, each is compared with so many of the following. Among photographs hardly
# ever are there more; where there are, as among drawings on empty paper, time stays bounded and some pairs are missed.
NEIGHBOURS = 32


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Bits in which hashes differ, uint64 (..., 2) and (..., 2) to integers (...)."""
    bits = np.bitwise_count(one ^ other)
    return bits[..., 0] + bits[..., 1]  # at most 128, which uint8 holds; many times as fast as sum()


def close_pairs(hashes: np.ndarray) -> np.ndarray:
    """int64 (P, 2): pairs of rows that differ in at most `LIMIT` bits, the smaller first; with a bar.

    Args:
        hashes: uint64 (N, 2), N below 2^32.
    """
    chunks = np.ascontiguousarray(hashes).view("uint16")
    codes = np.zeros(0, "uint64")
    choices = [*itertools.combinations(range(CHUNKS), 2)]
    for one, other in tqdm(choices, desc="Comparing", unit="sorting", delay=2, leave=False):
        keys = chunks[:, one].astype("uint64") << 48 | chunks[:, other].astype("uint64") << 32
        keys |= np.arange(len(keys), dtype="uint64")
        keys.sort()
        codes = np.union1d(codes, _among_sorted(keys, hashes))
    return np.stack([codes >> 32, codes & 0xFFFFFFFF], axis=1).astype("int64")


def _among_sorted(keys: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Close pairs of rows as numbers, first row * 2^32 + second, of sorted keys: 32 bits of the hash, then the row."""
    tops, rows = (keys >> 32).astype("uint32"), (keys & 0xFFFFFFFF).astype("int64")
    pairs = []
    at = np.arange(len(keys))
    for step in range(1, NEIGHBOURS + 1):
        at = at[: np.searchsorted(at, len(keys) - step)]
        at = at[tops[at] == tops[at + step]]
        if not len(at):
            break
        first, second = rows[at], rows[at + step]
        close = distances(hashes[first], hashes[second]) <= LIMIT
        pairs.append((first[close] << 32 | second[close]).astype("uint64"))
    return np.concatenate(pairs) if pairs else np.zeros(0, "uint64")
