"""What the data doctor finds: the table of its checks, and the order in which it reports them."""

import dataclasses
from collections.abc import Iterable

LEVELS = ("error", "warning", "note")


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something to know about a source.

    Args:
        level: `error` where a run would stop or its results be wrong, `warning` where it may go worse than it could,
            `note` for what is good to know.
        check: Which check found it.
        text: What is the matter, with numbers.
        advice: What to do.
        images: Split, place and detail of each image that it is about; few of them are printed.
    """

    level: str
    check: str
    text: str
    advice: str
    images: tuple[tuple[str, str, str], ...] = ()


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """The most severe first, otherwise in the order they were found."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def counted(number: int, noun: str) -> str:
    """`1 image`, `2 images`, `3 classes`."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def listed(names: Iterable[str], shown: int = 5) -> str:
    """The first few of some names, and how many more there are."""
    every = list(names)
    more = len(every) - shown
    return ", ".join(every[:shown]) + (f" and {more:,} more" if more > 0 else "")
