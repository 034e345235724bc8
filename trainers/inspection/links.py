"""Which images are the same, or nearly: pairs whose hashes are close, confirmed by small pictures."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trainers.inspection import candidates
from trainers.inspection.scan import Scan

# How far two images may lie apart, brightness and contrast made equal: root mean square of the difference in 16 x 16
# grey values and in 4 x 4 colours, and largest difference in grey. JPEG at quality 15 stays below, a third of the size
# too, and nearly always 10 % more brightness; of 1,797 handwritten digits no two do.
DETAIL_LIMIT, COLOUR_LIMIT, VALUE_LIMIT = 0.07, 0.1, 0.5


class Images(NamedTuple):
    """N images of all scans that can be compared, in order.

    Args:
        scans: Scans of each split.
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
        values = np.zeros((len(rows), *columns[0].shape[1:]), columns[0].dtype)
        for part in np.unique(parts):
            values[parts == part] = columns[part][indices[parts == part]]
        return values


class Links(NamedTuple):
    """P confirmed links.

    Args:
        pairs: int64 (P, 2): rows of images.
        mirrored: bool (P,).
        distances: uint8 (P,).
    """

    pairs: np.ndarray
    mirrored: np.ndarray
    distances: np.ndarray

    def take(self, rows: np.ndarray) -> "Links":
        return Links(*(column[rows] for column in self))


def links_among(images: Images, rows: np.ndarray) -> Links:
    """Which of some images are nearly the same, or nearly each other's mirror image."""
    pairs = candidates.close_pairs(np.concatenate([images.hashes[rows], images.mirrored[rows]]))
    one, other = pairs.T
    mirrored = pairs[(one < len(rows)) & (other >= len(rows)) & (other - len(rows) != one)] % len(rows)
    return _confirmed(images, rows[pairs[other < len(rows)]], rows[mirrored])


def all_links(images: Images, rows: np.ndarray) -> Links:
    """As `links_among`, with nothing left out: each is compared with each."""
    one, other = (rows[places] for places in np.triu_indices(len(rows), 1))
    pairs = np.stack([one, other], axis=1)
    near, mirrored = (
        pairs[candidates.distances(images.hashes[one], hashes[other]) <= candidates.LIMIT]
        for hashes in (images.hashes, images.mirrored)
    )
    return _confirmed(images, near, mirrored)


def _confirmed(images: Images, near: np.ndarray, mirrored: np.ndarray) -> Links:
    """Of pairs of rows (P, 2) that are close by their hashes, those that are close by their small pictures too."""
    near, mirrored = near[_alike(images, near, False)], mirrored[_alike(images, mirrored, True)]
    distances = [
        candidates.distances(images.hashes[pairs[:, 0]], hashes[pairs[:, 1]])
        for pairs, hashes in ((near, images.hashes), (mirrored, images.mirrored))
    ]
    flags = np.repeat([False, True], [len(near), len(mirrored)])
    return Links(np.concatenate([near, mirrored]), flags, np.concatenate(distances))


def _alike(images: Images, pairs: np.ndarray, mirrored: bool) -> np.ndarray:
    """bool (P,): whether the small pictures confirm what the hashes of pairs say."""
    alike = np.zeros(len(pairs), bool)
    for begin in range(0, len(pairs), 2**14):
        some = pairs[begin : begin + 2**14]
        detail, colour = (_difference(images, name, some, mirrored) for name in ("details", "colours"))
        rms = [np.sqrt(np.mean(difference**2, axis=1)) for difference in (detail, colour)]
        close = np.abs(detail).max(axis=1) <= VALUE_LIMIT
        alike[begin : begin + len(some)] = close & (rms[0] <= DETAIL_LIMIT) & (rms[1] <= COLOUR_LIMIT)
    return alike


def _difference(images: Images, name: str, pairs: np.ndarray, mirrored: bool) -> np.ndarray:
    """float32 (P, K) of small pictures, each brought to mean 0 and standard deviation 1."""
    one, other = (images.column(name, rows) for rows in pairs.T)
    return _normalized(one) - _normalized(other[:, :, ::-1] if mirrored else other)


def _normalized(pictures: np.ndarray) -> np.ndarray:
    flat = pictures.reshape(len(pictures), -1).astype("float32")
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(flat.std(axis=1, keepdims=True), 1e-3)  # one may be of one value, with colours or without
