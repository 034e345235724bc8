"""What the data doctor finds, the order in which it reports that, and the words for numbers and names."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable
from typing import Any

LEVELS = ("error", "warning", "note")
KEPT = 100  # images of a finding that doctor.json names

Row = tuple[str, str, str]


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something to know about a source.

    Args:
        level: `error` where a run would stop or its results be wrong, `warning` where it may go worse than it could,
            `note` for what is good to know.
        check: Name of the check that found it.
        text: Description of the matter, with numbers.
        advice: Advice on what to do.
        count: Number of images that it names.
        images: Gives split, place and detail of each of them. Made when asked for: there may be millions.
    """

    level: str
    check: str
    text: str
    advice: str
    count: int = 0
    images: Callable[[], Iterable[Row]] = tuple

    def first(self, most: int) -> list[Row]:
        """The first few images."""
        return [*itertools.islice(self.images(), most)]

    def plain(self) -> dict[str, Any]:
        """For doctor.json: of the images, how many there are and the first."""
        words = {name: getattr(self, name) for name in ("level", "check", "text", "advice", "count")}
        return words | {"images": self.first(KEPT)}


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
