"""Groups of images that are the same, or nearly, wherever they lie: in one split, in two, or in two sources.

A group is what hangs together. As in a film, its ends may have little in common: who says that two images are the same
asks for the link between the two.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from tqdm import tqdm

from trainers.inspection import candidates
from trainers.inspection.links import Images, Links, all_links, links_among
from trainers.inspection.scan import Scan

# Of groups with more different images than are sure to have been compared, up to so many, all pairs are compared.
COMPLETE = 512


class Member(NamedTuple):
    """An image in a group.

    Args:
        part: Number of the scan it is in.
        example: Index in that split.
        pixels: The same for the members with the same pixels.
    """

    part: int
    example: int
    pixels: int


class Link(NamedTuple):
    """How two images are related.

    Args:
        kind: `exact`, `near` or `mirrored`.
        distance: Bits in which one's hash differs from the other's, or from that of the other's mirror image.
    """

    kind: str
    distance: int


EXACT = Link("exact", 0)


@dataclasses.dataclass(frozen=True)
class Group:
    """Two or more images, each with a link to another.

    Args:
        members: Members in order.
        links: Confirmed links by a member's `pixels`, and by the `pixels` of those that they lead to.
    """

    members: tuple[Member, ...]
    links: Mapping[int, Mapping[int, Link]]

    def link(self, one: Member, other: Member) -> Link | None:
        """What one member is to another; None where only further ones connect them."""
        return EXACT if one.pixels == other.pixels else self.links.get(one.pixels, {}).get(other.pixels)


def groups(scans: Sequence[Scan], own: int) -> list[Group]:
    """Groups of two or more images, each of which is in reach of another of its group; with bars.

    Images that cannot be read, and blank ones, are in none.

    Args:
        scans: Scans of each split.
        own: The first so many are what is inspected; groups with no member there are left out.
    """
    begins = np.cumsum([0, *(len(scan.readable) for scan in scans)])
    numbers = np.flatnonzero(np.concatenate([scan.readable & ~scan.blank for scan in scans]))
    hashes, mirrored, digests = (
        np.concatenate(column)[numbers]
        for column in zip(*((scan.prints.hashes, scan.prints.mirrored, scan.digests) for scan in scans), strict=True)
    )
    _, firsts, pixels = np.unique(digests, return_index=True, return_inverse=True)
    images = Images(scans, begins, numbers, hashes, mirrored, firsts[pixels])
    links = links_among(images, firsts)
    sets = components(images.first_of, links.pairs)
    each = zip(sets, _by_set(links, sets, len(numbers)), strict=True)
    bar = tqdm(each, total=len(sets), desc="Grouping", unit="group", delay=2, leave=False)
    return [_group(images, rows, some) for rows, some in bar if numbers[rows[0]] < begins[own]]


def _by_set(links: Links, sets: Sequence[np.ndarray], size: int) -> list[Links]:
    """The links within each of some sets of rows, of `size` rows in all."""
    set_of = np.zeros(size, "int64")
    for number, rows in enumerate(sets):
        set_of[rows] = number
    numbers = set_of[links.pairs[:, 0]]
    order = np.argsort(numbers, kind="stable")
    bounds = np.searchsorted(numbers[order], np.arange(len(sets) + 1))
    return [links.take(order[begin:end]) for begin, end in itertools.pairwise(bounds)]


def components(first_of: np.ndarray, links: np.ndarray) -> list[np.ndarray]:
    """Each connected set of two rows or more, ascending.

    Args:
        first_of: int64 (N,): a row, not behind its own, that each belongs together with.
        links: int64 (P, 2): further pairs of rows that belong together.
    """
    pairs = np.concatenate([np.stack([np.arange(len(first_of)), first_of], axis=1), links])
    graph = sparse.coo_array((np.ones(len(pairs), bool), tuple(pairs.T)), shape=(len(first_of),) * 2)
    _, set_of = csgraph.connected_components(graph, directed=False)
    several = np.flatnonzero(np.bincount(set_of)[set_of] > 1)
    rows = several[np.argsort(set_of[several], kind="stable")]
    return np.split(rows, np.flatnonzero(np.diff(set_of[rows])) + 1) if len(rows) else []


def _group(images: Images, rows: np.ndarray, links: Links) -> Group:
    different = np.unique(images.first_of[rows])
    if candidates.NEIGHBOURS < len(different) <= COMPLETE:
        links = all_links(images, different)
    links_of: dict[int, dict[int, Link]] = {}
    # Near before mirrored, and the closest first: what is there already stays.
    closest = links.take(np.lexsort([links.distances, links.mirrored]))
    for (one, other), mirrored, distance in zip(*(column.tolist() for column in closest), strict=True):
        for each, of in ((one, other), (other, one)):
            links_of.setdefault(each, {}).setdefault(of, Link("mirrored" if mirrored else "near", distance))
    columns = (*images.places(rows), images.first_of[rows])
    members = tuple(Member(*row) for row in zip(*(column.tolist() for column in columns), strict=True))
    return Group(members, links_of)
