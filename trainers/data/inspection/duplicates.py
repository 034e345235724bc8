"""Groups of images that are the same, or nearly, wherever they lie: in one split, in two, or in two sources."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trainers.data.inspection import candidates
from trainers.data.inspection.scan import Scan

# How far two images may lie apart, brightness and contrast made equal: root mean square of the difference in 16 x 16
# grey values and in 4 x 4 colours, and largest difference in grey. JPEG at quality 15 stays below, a third of the size
# too, and nearly always 10 % more brightness; of 1,797 handwritten digits no two do.
DETAIL_LIMIT, COLOUR_LIMIT, VALUE_LIMIT = 0.07, 0.1, 0.5


class Member(NamedTuple):
    """An image in a group.

    Args:
        part: Number of the scan it is in.
        example: In that split.
        kind: What it is to the group's first member: `exact`, `near` or `mirrored`.
        distance: Bits in which its hash, or its mirrored hash, differs from the first's.
        pixels: The same for the members with the same pixels.
    """

    part: int
    example: int
    kind: str
    distance: int
    pixels: int


Group = tuple[Member, ...]


class _Images(NamedTuple):
    """N images of all scans that can be compared, in order.

    Args:
        scans: What was seen of each split.
        begins: int64: the number of each scan's first image, among all images.
        numbers: int64 (N,): theirs, among all images.
        hashes: uint64 (N, 2).
        mirrored: uint64 (N, 2).
        first_of: int64 (N,): the first of them with the same pixels.
    """

    scans: Sequence[Scan]
    begins: np.ndarray
    numbers: np.ndarray
    hashes: np.ndarray
    mirrored: np.ndarray
    first_of: np.ndarray

    def places(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of some images, the scan that each is in, and where in that."""
        parts = np.searchsorted(self.begins[1:], self.numbers[rows], side="right")
        return parts, self.numbers[rows] - self.begins[parts]

    def column(self, name: str, rows: np.ndarray) -> np.ndarray:
        """A field of some images' fingerprints; that of all is not brought together, for it may take most memory."""
        parts, indices = self.places(rows)
        columns = [getattr(scan.prints, name) for scan in self.scans]
        found = np.zeros((len(rows), *columns[0].shape[1:]), columns[0].dtype)
        for part in np.unique(parts):
            found[parts == part] = columns[part][indices[parts == part]]
        return found


def groups(scans: Sequence[Scan], own: int) -> list[Group]:
    """Groups of two or more images, each of which is in reach of another of its group.

    Images that cannot be read, and blank ones, are in none.

    Args:
        scans: What was seen of each split.
        own: The first so many are what is inspected; groups with no member there are left out.
    """
    begins = np.cumsum([0, *(len(scan.readable) for scan in scans)])
    numbers = np.flatnonzero(np.concatenate([scan.readable & ~scan.blank for scan in scans]))
    hashes, mirrored, digests = (
        np.concatenate(column)[numbers]
        for column in zip(*((scan.prints.hashes, scan.prints.mirrored, scan.digests) for scan in scans), strict=True)
    )
    _, firsts, pixels = np.unique(digests, return_index=True, return_inverse=True)
    images = _Images(scans, begins, numbers, hashes, mirrored, firsts[pixels])
    sets = components(images.first_of, _links(images, firsts))
    return [_group(images, rows) for rows in sets if numbers[rows[0]] < begins[own]]


def _links(images: _Images, rows: np.ndarray) -> np.ndarray:
    """int64 (P, 2): which of some images are nearly the same, or nearly each other's mirror image."""
    pairs = candidates.close_pairs(np.concatenate([images.hashes[rows], images.mirrored[rows]]))
    one, other = pairs.T
    near = rows[pairs[other < len(rows)]]
    mirrored = rows[pairs[(one < len(rows)) & (other >= len(rows)) & (other - len(rows) != one)] % len(rows)]
    return np.concatenate([near[_alike(images, near, False)], mirrored[_alike(images, mirrored, True)]])


def _alike(images: _Images, pairs: np.ndarray, mirrored: bool) -> np.ndarray:
    """bool (P,): whether the small pictures confirm what the hashes of pairs say."""
    alike = np.zeros(len(pairs), bool)
    for begin in range(0, len(pairs), 2**14):
        some = pairs[begin : begin + 2**14]
        detail, colour = (_difference(images, name, some, mirrored) for name in ("details", "colours"))
        rms = [np.sqrt(np.mean(difference**2, axis=1)) for difference in (detail, colour)]
        close = np.abs(detail).max(axis=1) <= VALUE_LIMIT
        alike[begin : begin + len(some)] = close & (rms[0] <= DETAIL_LIMIT) & (rms[1] <= COLOUR_LIMIT)
    return alike


def _difference(images: _Images, name: str, pairs: np.ndarray, mirrored: bool) -> np.ndarray:
    """float32 (P, K) of small pictures, each brought to mean 0 and standard deviation 1."""
    one, other = (images.column(name, rows) for rows in pairs.T)
    return _normalized(one) - _normalized(other[:, :, ::-1] if mirrored else other)


def _normalized(pictures: np.ndarray) -> np.ndarray:
    flat = pictures.reshape(len(pictures), -1).astype("float32")
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(flat.std(axis=1, keepdims=True), 1e-3)  # one may be of one value, with colours or without


def components(first_of: np.ndarray, links: np.ndarray) -> list[np.ndarray]:
    """Each connected set of two rows or more, ascending.

    Args:
        first_of: int64 (N,): a row, not behind its own, that each belongs together with.
        links: int64 (P, 2): further pairs of rows that belong together.
    """
    least = first_of
    while True:
        before, least = least, least.copy()
        low = before[links].min(axis=1)
        for column in links.T:
            np.minimum.at(least, before[column], low)
        least = least[least][first_of]
        if np.array_equal(least, before):
            break
    several = np.flatnonzero(np.bincount(least)[least] > 1)
    rows = several[np.argsort(least[several], kind="stable")]
    return np.split(rows, np.flatnonzero(np.diff(least[rows])) + 1) if len(rows) else []


def _group(images: _Images, rows: np.ndarray) -> Group:
    first = images.hashes[rows[0]]
    straight = candidates.distances(images.hashes[rows], first)
    mirrored = candidates.distances(images.mirrored[rows], first)
    pixels = images.first_of[rows]
    kinds = np.where(pixels == pixels[0], "exact", np.where(straight <= mirrored, "near", "mirrored"))
    columns = (*images.places(rows), kinds, np.minimum(straight, mirrored), pixels)
    return tuple(Member(*row) for row in zip(*(column.tolist() for column in columns), strict=True))
