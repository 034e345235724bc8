"""Checks of the images of each split, one by one."""

import functools
import math
from collections.abc import Callable, Iterator

import numpy as np

from trainers.inspection import image_kinds
from trainers.inspection.findings import Finding, Row, counted
from trainers.inspection.subject import Part, Subject

# Times as long as wide. A square crop of more leaves out most, and a resize to a square distorts beyond recognition.
LONG = 4.0


def bad_images(subject: Subject) -> Iterator[Finding]:
    """Those that cannot be read."""
    for part in subject.parts:
        bad, size, policy = part.scan.unreadable, part.split.size, part.split.bad
        if not len(bad):
            continue
        too_many = len(bad) > policy.max_share * size
        stops = policy.policy == "fail" or too_many
        least = math.ceil(len(bad) / size * 1e4) / 1e4  # not rounded to what would be too little
        skip = "--on_bad_image=skip leaves them out" + f", with --max_bad_share={least:g} or more" * too_many
        yield Finding(
            "error" if stops else "warning",
            "bad images",
            f"{counted(len(bad), 'image')} of the {size:,} of {part.name} cannot be read"
            + ("; a run with these flags would stop." if stops else "; they are left out."),
            f"Mend or remove them; or {skip}.",
            *_images(part, part.name, bad, part.scan.reason),
        )
    for part in subject.against:
        bad = part.scan.unreadable
        if len(bad):
            yield Finding(
                "warning",
                "bad images",
                f"{counted(len(bad), 'image')} of the {part.split.size:,} of {part.title} cannot be read, and could "
                "not be compared.",
                "Mend them, to be sure that they are not among the others.",
                *_images(part, part.title, bad, part.scan.reason),
            )


def blank(subject: Subject) -> Iterator[Finding]:
    """Those that show nothing."""
    for part in subject.parts:
        indices = np.flatnonzero(part.scan.blank)
        if len(indices):
            yield Finding(
                "warning",
                "blank images",
                f"{counted(len(indices), 'image')} of {part.name} with one colour and next to nothing else; not "
                "compared with others.",
                "See whether they are placeholders for images that were not to be had, and remove them.",
                *_images(part, part.name, indices, part.words),
            )


def misnamed(subject: Subject) -> Iterator[Finding]:
    """Those whose names promise another format."""
    for part in subject.parts:
        indices = np.flatnonzero(part.scan.misnamed)
        if len(indices):
            yield Finding(
                "note",
                "wrong extension",
                f"{counted(len(indices), 'image')} of {part.name} whose format is not what the name says.",
                "Nothing: formats are told by the first bytes, in exported models too. Other programs may stumble.",
                *_images(part, part.name, indices, functools.partial(_format, part)),
            )


def small(subject: Subject) -> Iterator[Finding]:
    """Those that have to be enlarged."""
    for part in subject.parts:
        smaller = part.scan.readable & (part.scan.sizes < subject.size).any(axis=1)
        if smaller.any():
            yield Finding(
                "note",
                "small images",
                f"{counted(int(smaller.sum()), 'image')} of the {part.split.size:,} of {part.name} smaller than "
                f"--image_size={'x'.join(map(str, dict.fromkeys(subject.size)))} on a side, to be enlarged.",
                "If they are most, a smaller --image_size costs less and loses nothing.",
            )


def long(subject: Subject) -> Iterator[Finding]:
    """Those that are many times as long as wide."""
    for part in subject.parts:
        indices = np.flatnonzero(aspects(part) > LONG)
        if len(indices):
            yield Finding(
                "note",
                "long images",
                f"{counted(len(indices), 'image')} of {part.name}, more than {LONG:g} times as long as wide.",
                "Look at the contact sheet: resized to the model's shape, or cropped, they may not show their class.",
                *_images(part, part.name, indices, functools.partial(_shape, part)),
            )


def modes(subject: Subject) -> Iterator[Finding]:
    """Those that are not simply colours or grey."""
    for part in subject.parts:
        for mode, remark in _REMARKS.items():
            indices = np.flatnonzero(part.scan.readable & (part.scan.kinds[:, 1] == image_kinds.MODES.index(mode)))
            if len(indices):
                yield Finding(
                    "note",
                    f"{mode} images",
                    f"{counted(len(indices), 'image')} of {part.name} with {mode}: {remark}.",
                    "Look at some of them; convert them yourself if that is not what you want.",
                    *_images(part, part.name, indices, lambda index: ""),
                )


def aspects(part: Part) -> np.ndarray:
    """float64 (N,): longer side by shorter, 0 where nothing can be read."""
    return part.scan.sizes.max(axis=1) / np.maximum(part.scan.sizes.min(axis=1), 1)


def _images(
    part: Part, name: str, indices: np.ndarray, detail: Callable[[int], str]
) -> tuple[int, Callable[[], Iterator[Row]]]:
    """How many images a finding names, and what gives them."""

    def rows():
        for index in indices.tolist():
            yield name, part.split.locate(index), detail(index)

    return len(indices), rows


def _format(part: Part, index: int) -> str:
    return f"is {image_kinds.FORMATS[part.scan.kinds[index, 0]]}"


def _shape(part: Part, index: int) -> str:
    return " x ".join(map(str, part.scan.sizes[index].tolist()))


_REMARKS = {
    "CMYK": "they become RGB without regard to colour profiles",
    "alpha": "what is transparent becomes white",
}
