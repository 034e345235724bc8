"""Checks of images that are there twice: in one split, in two, under two labels, or in another source too."""

import collections
from collections.abc import Iterator, Sequence

from trainers.data.inspection.duplicates import Group, Member
from trainers.data.inspection.findings import Finding, counted
from trainers.data.inspection.subject import Part, Subject

# Share of a split above which images that are there twice change what is learned.
MANY = 0.01

# How two images are related, from the closest on, in words.
RELATIONS = {
    "exact": "with the same pixels",
    "near": "nearly the same",
    "mirrored": "nearly mirror images",
}


def leakage(subject: Subject, settings) -> Iterator[Finding]:
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
                    _shown(subject, pairs),
                )


def overlap(subject: Subject, settings) -> Iterator[Finding]:
    """Images of another source that are in this one too."""
    for number, part in enumerate(subject.against, len(subject.parts)):
        for earlier, other in enumerate(subject.parts):
            pairs = _pairs(subject.groups, earlier, number)
            if pairs:
                yield Finding(
                    "error" if earlier == 0 else "warning",
                    "overlap with another source",
                    f"{counted(len(pairs), 'image')} of the {part.split.size:,} of {title(part)} that "
                    f"{other.name} of {other.source.name} has too: {_relations(pairs)}.",
                    "Before training on one to be evaluated on the other, remove them; the paper removes them from its "
                    "pre-training data (section 4.1).",
                    _shown(subject, pairs),
                )


def within(subject: Subject, settings) -> Iterator[Finding]:
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
                _shown(subject, pairs),
            )


def two_labels(subject: Subject, settings) -> Iterator[Finding]:
    """Images that are there under different labels."""
    for kind, level in {"exact": "warning", "near": "note"}.items():
        pairs = []
        for group in subject.groups:
            own = [member for member in group if member.part < len(subject.parts)]
            for member, first, found in _related(own, own):
                labels = [subject.part(each.part).labels(each.example) for each in (first, member)]
                if found == kind and labels[0] != labels[1]:
                    pairs.append((member, first, found))
        if pairs:
            yield Finding(
                level,
                "two labels",
                f"{counted(len(pairs), 'image')} {RELATIONS[kind]} as another, under another label.",
                "Decide which is right; or if both are, let the task have several labels per image.",
                _shown(subject, pairs),
            )


def title(part: Part) -> str:
    """A split of another source."""
    return f"{part.source.name} {part.name}"


Pair = tuple[Member, Member, str]


def _pairs(groups: Sequence[Group], earlier: int, later: int) -> list[Pair]:
    """Each image of the later part with the closest of the earlier, in the same group, and how they are related."""
    found: list[Pair] = []
    for group in groups:
        first = [member for member in group if member.part == earlier]
        if first:
            found += _related([member for member in group if member.part == later], first)
    return found


def _related(members: Sequence[Member], others: Sequence[Member]) -> Iterator[Pair]:
    """Each member with one of the others, of those before it where it is among them, and how they are related."""
    first_with: dict[int, Member] = {}
    for other in others:
        first_with.setdefault(other.pixels, other)
    for member in members:
        same = first_with.get(member.pixels)
        if same is not None and same != member:
            yield member, same, "exact"
        elif others[0] != member:
            kinds = {member.kind, others[0].kind}
            yield member, others[0], "mirrored" if len(kinds) > 1 and "mirrored" in kinds else "near"


def _relations(pairs: Sequence[Pair]) -> str:
    kinds = collections.Counter(kind for *_, kind in pairs)
    return ", ".join(f"{kinds[kind]:,} {words}" for kind, words in RELATIONS.items() if kinds[kind])


def _shown(subject: Subject, pairs: Sequence[Pair]) -> tuple[tuple[str, str, str], ...]:
    rows = []
    for member, other, kind in pairs:
        part, of = subject.part(member.part), subject.part(other.part)
        detail = f"{kind}: {of.split.locate(other.example)}"
        labels = part.words(member.example), of.words(other.example)
        detail += f"; labels {labels[0]} and {labels[1]}" if labels[0] != labels[1] else ""
        rows.append(
            (part.name if member.part < len(subject.parts) else title(part), part.split.locate(member.example), detail)
        )
    return tuple(rows)
