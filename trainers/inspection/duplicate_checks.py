"""Checks of images that are there twice: in one split, in two, under two labels, or in another source too."""

import collections
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from trainers.inspection.duplicates import EXACT, Group, Link, Member
from trainers.inspection.findings import Finding, Row, counted
from trainers.inspection.subject import Subject

# Share of a split above which images that are there twice change what is learned.
MANY = 0.01

# How two images are related, from the closest on, in words.
RELATIONS = {
    "exact": "with the same pixels",
    "near": "nearly the same",
    "mirrored": "nearly mirror images",
}


class Pair(NamedTuple):
    """An image, one before it, and how they are related."""

    member: Member
    other: Member
    link: Link


def leakage(subject: Subject) -> Iterator[Finding]:
    """Images of one split that are in another too."""
    for later, part in enumerate(subject.parts):
        for earlier, other in enumerate(subject.parts[:later]):
            pairs = _pairs(subject.groups, earlier, later)
            if pairs:
                yield Finding(
                    "error" if earlier == 0 else "warning",
                    "leakage",
                    f"{counted(len(pairs), 'image')} of the {part.split.size:,} of {part.name} that {other.name} has "
                    f"too: {_relations(pairs)}.",
                    f"Remove them from {other.name}, or {part.name} tells how well the model remembers.",
                    len(pairs),
                    functools.partial(_shown, subject, pairs),
                )


def overlap(subject: Subject) -> Iterator[Finding]:
    """Images of another source that are in this one too."""
    for number, part in enumerate(subject.against, len(subject.parts)):
        for earlier, other in enumerate(subject.parts):
            pairs = _pairs(subject.groups, earlier, number)
            if pairs:
                yield Finding(
                    "error" if earlier == 0 else "warning",
                    "overlap with another source",
                    f"{counted(len(pairs), 'image')} of the {part.split.size:,} of {part.title} that "
                    f"{other.name} of {other.source.name} has too: {_relations(pairs)}.",
                    "Before training on one to be evaluated on the other, remove them; the paper removes them from its "
                    "pre-training data (section 4.1).",
                    len(pairs),
                    functools.partial(_shown, subject, pairs),
                )


def within(subject: Subject) -> Iterator[Finding]:
    """Images that are in one split several times."""
    for number, part in enumerate(subject.parts):
        pairs = _pairs(subject.groups, number, number)
        if pairs:
            yield Finding(
                "warning" if number or len(pairs) > MANY * part.split.size else "note",
                "duplicates",
                f"{counted(len(pairs), 'image')} of the {part.split.size:,} of {part.name} beyond the first of "
                f"their kind: {_relations(pairs)}.",
                "Remove them: each counts for more than the others, in training as in evaluation.",
                len(pairs),
                functools.partial(_shown, subject, pairs),
            )


def two_labels(subject: Subject) -> Iterator[Finding]:
    """Images that are there under different labels."""
    every = [*_under_other_labels(subject)]
    for kind, level in {"exact": "warning", "near": "note"}.items():
        pairs = [pair for pair in every if pair.link.kind == kind]
        if pairs:
            yield Finding(
                level,
                "two labels",
                f"{counted(len(pairs), 'image')} {RELATIONS[kind]} as another, under another label.",
                "Decide which is right; or if both are, let the task have several labels per image.",
                len(pairs),
                functools.partial(_shown, subject, pairs),
            )


def _under_other_labels(subject: Subject) -> Iterator[Pair]:
    """Each image with the closest before it that has other labels."""
    for group in subject.groups:
        own = [member for member in group.members if member.part < len(subject.parts)]
        firsts = _firsts(own)
        for member in own:
            labels = subject.labels(member)
            yield from [pair for pair in _linked(group, member, firsts) if subject.labels(pair.other) != labels][:1]


def _pairs(groups: Sequence[Group], earlier: int, later: int) -> list[Pair]:
    """Each image of the later part that is linked to some of the earlier (if that is the same, to some before it)."""
    pairs: list[Pair] = []
    for group in groups:
        firsts = _firsts([member for member in group.members if member.part == earlier])
        if firsts:
            for member in group.members:
                if member.part == later:
                    pairs += _linked(group, member, firsts)[:1]
    return pairs


def _firsts(members: Sequence[Member]) -> dict[int, Member]:
    """By their pixels, the first of some members."""
    return {member.pixels: member for member in reversed(members)}


def _linked(group: Group, member: Member, firsts: Mapping[int, Member]) -> list[Pair]:
    """A member with each of `firsts` that lies before it and is directly linked to it, the closest first."""
    links = {member.pixels: EXACT, **group.links.get(member.pixels, {})}
    pairs = [Pair(member, firsts[pixels], link) for pixels, link in links.items() if pixels in firsts]
    kinds = [*RELATIONS]
    return sorted(
        (pair for pair in pairs if pair.other < member),
        key=lambda pair: (kinds.index(pair.link.kind), pair.link.distance, pair.other),
    )


def _relations(pairs: Sequence[Pair]) -> str:
    kinds = collections.Counter(pair.link.kind for pair in pairs)
    return ", ".join(f"{kinds[kind]:,} {words}" for kind, words in RELATIONS.items() if kinds[kind])


def _shown(subject: Subject, pairs: Sequence[Pair]) -> Iterator[Row]:
    for member, other, link in pairs:
        part, of = subject.part(member.part), subject.part(other.part)
        how = link.kind if link == EXACT else f"{link.kind}, {counted(link.distance, 'bit')}"
        labels = part.words(member.example), of.words(other.example)
        differing = f"; labels {labels[0]} and {labels[1]}" if labels[0] != labels[1] else ""
        name = part.name if member.part < len(subject.parts) else part.title
        yield name, part.split.locate(member.example), f"{how}: {of.split.locate(other.example)}{differing}"
