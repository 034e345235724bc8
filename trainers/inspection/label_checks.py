"""Checks of labels: how many examples there are of each class, and what classes are called."""

import collections
import functools
import unicodedata
from collections.abc import Iterator

import numpy as np

from trainers.inspection.findings import Finding, Row, counted, listed
from trainers.inspection.subject import Part, Subject, class_name

FEW = 10  # training examples, below which a class is hardly learned
SKEWED = 10.0  # times as many examples of one class as of another


def never_used(subject: Subject) -> Iterator[Finding]:
    """Classes without any example."""
    empty = np.flatnonzero(sum(part.counts for part in subject.parts) == 0)
    if len(empty):
        yield Finding(
            "warning",
            "empty classes",
            f"{counted(len(empty), 'class')} of {subject.source.num_classes:,} without an example in any split: "
            f"{_named(subject, empty)}.",
            "Correct the labels, or drop the classes: each costs an output that is never right.",
        )


def missing(subject: Subject) -> Iterator[Finding]:
    """Classes that some splits have and others do not."""
    training, *others = subject.parts
    for part in others:
        unlearned = np.flatnonzero((part.counts > 0) & (training.counts == 0))
        if len(unlearned):
            yield Finding(
                "error",
                "classes missing in training",
                f"{counted(len(unlearned), 'class')} of {part.name} without an example in {training.name}: "
                f"{_named(subject, unlearned)}. They cannot be learned.",
                "Divide the examples anew, or correct the labels.",
            )
        unseen = np.flatnonzero((part.counts == 0) & (training.counts > 0))
        if len(unseen):
            yield Finding(
                "warning",
                "classes missing in evaluation",
                f"{counted(len(unseen), 'class')} of {training.name} without an example in {part.name}: "
                f"{_named(subject, unseen)}. Its figures say nothing about them.",
                f"Move some examples of each into {part.name}.",
            )


def few(subject: Subject) -> Iterator[Finding]:
    """Classes that can hardly be learned."""
    training = subject.parts[0]
    rare = np.flatnonzero((training.counts > 0) & (training.counts < FEW))
    if len(rare):
        yield Finding(
            "warning",
            "few examples",
            f"{counted(len(rare), 'class')} of {training.name} with fewer than {FEW} examples: "
            f"{listed(f'{class_name(subject.source, label)} ({training.counts[label]})' for label in rare.tolist())}.",
            "Find more, or merge classes; with --sampling=balanced they are seen more often.",
        )


def skewed(subject: Subject) -> Iterator[Finding]:
    """Splits in which some classes have many times the examples of others."""
    for part in subject.parts:
        present = np.flatnonzero(part.counts)
        if not len(present):
            continue
        rarest, commonest = int(present[np.argmin(part.counts[present])]), int(np.argmax(part.counts))
        ratio = part.counts[commonest] / part.counts[rarest]
        if ratio >= SKEWED:
            names = {label: class_name(part.source, label) for label in (rarest, commonest)}
            yield Finding(
                "warning",
                "skewed classes",
                f"{part.name} has {part.counts[commonest]:,} examples of {names[commonest]}, {ratio:,.0f} times as "
                f"many as of {names[rarest]}, {part.counts[rarest]:,}.{_guessing(part, commonest)}",
                "In training, --sampling=balanced or --class_weights=balanced; in evaluation, see classes one by one.",
            )


def unlabelled(subject: Subject) -> Iterator[Finding]:
    """Examples without a class."""
    for part in subject.parts:
        indices = np.setdiff1d(np.arange(part.split.size), part.examples)
        if len(indices):
            yield Finding(
                "warning",
                "no label",
                f"{counted(len(indices), 'example')} of {part.name} without a class.",
                "Right if they show none of the classes; label them if somebody forgot.",
                len(indices),
                functools.partial(_without, part, indices),
            )


def hidden(subject: Subject) -> Iterator[Finding]:
    """Splits that were not looked at, for want of labels."""
    for split in subject.unlabelled:
        yield Finding(
            "error" if split.own else "warning",
            "has no labels",
            f"{split.title} was not looked at: {split.reason.rstrip('.')}.",
            "Evaluate on a split whose labels are known." if split.own else "What it shares with others is not known.",
        )


def alike(subject: Subject) -> Iterator[Finding]:
    """Classes whose names are nearly the same."""
    by_spelling = collections.defaultdict(list)
    for label, name in enumerate(subject.source.class_names or ()):
        by_spelling[_spelling(name)].append(f"{name!r} ({sum(int(part.counts[label]) for part in subject.parts):,})")
    for names in by_spelling.values():
        if len(names) > 1:
            yield Finding(
                "warning",
                "class names alike",
                f"{' and '.join(names)} differ only in case, accents, punctuation or a last s; in brackets, examples.",
                "Merge them if they mean the same.",
            )


def _guessing(part: Part, label: int) -> str:
    """What somebody would reach who knows nothing; with several labels per image there is no such share."""
    if part.source.several_labels:
        return ""
    right = part.counts[label] / part.split.size
    return f" Whoever always says {class_name(part.source, label)} has {right:.0%} right."


def _without(part: Part, indices: np.ndarray) -> Iterator[Row]:
    for index in indices.tolist():
        yield part.name, part.split.locate(index), "no label"


def _spelling(name: str) -> str:
    """A name without what people write now so, now so."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    words = "".join(character if character.isalnum() or character == "/" else "" for character in plain)
    return "/".join(word.removesuffix("s") or word for word in words.split("/"))


def _named(subject: Subject, labels: np.ndarray) -> str:
    return listed(class_name(subject.source, label) for label in labels.tolist())
