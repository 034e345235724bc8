"""Checks of the images of each split, one by one."""

from collections.abc import Iterator

import numpy as np

from trainers.data.inspection import image_kinds
from trainers.data.inspection.findings import Finding, counted
from trainers.data.inspection.subject import Part, Subject

# Times as long as wide. A square crop of more leaves out most, and a resize to a square distorts beyond recognition.
LONG = 4.0


def bad_images(subject: Subject, settings) -> Iterator[Finding]:
    """Those that cannot be read."""
    for part in subject.parts:
        bad, size = part.scan.bad, part.split.size
        if not bad:
            continue
        too_many = len(bad) > settings.max_bad_share * size
        stops = settings.on_bad_image == "fail" or too_many
        skip = "--on_bad_image=skip leaves them out" + f", with --max_bad_share above {len(bad) / size:.3g}" * too_many
        yield Finding(
            "error" if stops else "warning",
            "bad images",
            f"{counted(len(bad), 'image')} of the {size:,} of {part.name} cannot be read"
            + ("; a run with these flags would stop." if stops else "; they are left out."),
            f"Mend or remove them; or {skip}.",
            tuple((part.name, part.split.locate(index), reason) for index, reason in bad.items()),
        )


def blank(subject: Subject, settings) -> Iterator[Finding]:
    """Those that show nothing."""
    for part in subject.parts:
        found = np.flatnonzero(part.scan.blank)
        if len(found):
            yield Finding(
                "warning",
                "blank images",
                f"{counted(len(found), 'image')} of {part.name} with one colour and next to nothing else; not "
                "compared with others.",
                "See whether they are placeholders for images that were not to be had, and remove them.",
                tuple(_images(part, found, [part.words(index) for index in found.tolist()])),
            )


def misnamed(subject: Subject, settings) -> Iterator[Finding]:
    """Those whose names promise another format."""
    for part in subject.parts:
        found = np.flatnonzero(part.scan.misnamed)
        if len(found):
            formats = [f"is {image_kinds.FORMATS[kind]}" for kind in part.scan.kinds[found, 0]]
            yield Finding(
                "note",
                "wrong extension",
                f"{counted(len(found), 'image')} of {part.name} whose format is not what the name says.",
                "Nothing: formats are told by the first bytes, in exported models too. Other programs may stumble.",
                tuple(_images(part, found, formats)),
            )


def small(subject: Subject, settings) -> Iterator[Finding]:
    """Those that have to be enlarged."""
    for part in subject.parts:
        wanted = sides(settings.image_size)
        found = part.scan.readable & (part.scan.sizes < wanted).any(axis=1)
        if found.any():
            yield Finding(
                "note",
                "small images",
                f"{counted(int(found.sum()), 'image')} of the {part.split.size:,} of {part.name} smaller than "
                f"--image_size={'x'.join(map(str, dict.fromkeys(wanted)))} on a side, to be enlarged.",
                "If they are most, a smaller --image_size costs less and loses nothing.",
            )


def long(subject: Subject, settings) -> Iterator[Finding]:
    """Those that are many times as long as wide."""
    for part in subject.parts:
        found = np.flatnonzero(aspects(part) > LONG)
        if len(found):
            shapes = [f"{height} x {width}" for height, width in part.scan.sizes[found]]
            yield Finding(
                "note",
                "long images",
                f"{counted(len(found), 'image')} of {part.name}, more than {LONG:g} times as long as wide.",
                "Look at the contact sheet: resized to the model's shape, or cropped, they may not show their class.",
                tuple(_images(part, found, shapes)),
            )


def modes(subject: Subject, settings) -> Iterator[Finding]:
    """Those that are not simply colours or grey."""
    for part in subject.parts:
        for mode, remark in _REMARKS.items():
            found = np.flatnonzero(part.scan.readable & (part.scan.kinds[:, 1] == image_kinds.MODES.index(mode)))
            if len(found):
                yield Finding(
                    "note",
                    f"{mode} images",
                    f"{counted(len(found), 'image')} of {part.name} with {mode}: {remark}.",
                    "Look at some of them; convert them yourself if that is not what you want.",
                    tuple(_images(part, found, [""] * len(found))),
                )


def sides(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width that --image_size means."""
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def aspects(part: Part) -> np.ndarray:
    """float64 (N,): longer side by shorter, 0 where nothing can be read."""
    return part.scan.sizes.max(axis=1) / np.maximum(part.scan.sizes.min(axis=1), 1)


def _images(part: Part, indices: np.ndarray, details: list[str]) -> Iterator[tuple[str, str, str]]:
    for index, detail in zip(indices.tolist(), details, strict=True):
        yield part.name, part.split.locate(index), detail


_REMARKS = {
    "CMYK": "they become RGB without regard to colour profiles",
    "alpha": "what is transparent becomes white",
}
