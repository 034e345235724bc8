"""Folders of image files as a source, `folder:DIR`: a subfolder for each class, below one for each split or none."""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from keras_vit.errors import UserError
from keras_vit.labels import imagenet
from trainers.data.files import paths
from trainers.data.files.scan import IMAGE_SUFFIXES, Listing, scan
from trainers.data.source import Source
from trainers.settings.data import SourceSettings


def folder(value: str, settings: SourceSettings) -> Source:
    """Image files below a folder. Their class is the subfolder that they lie in, at any depth: `animals/cat`.

    Where the immediate subfolders are called train, val, test or the like, they are the splits. Otherwise each file's
    split follows from its relative path alone, so that none changes side when others are added. The order within a
    split is as good as random, and as stable: a part such as train[:10%] has its share of each class. Classes that are
    synsets (`n01440764`) get readable names.

    Args:
        value: The folder.
        settings: Settings of the command; not used.

    Raises:
        UserError: if there is no such folder, no image in it, or one outside any class folder.
    """
    flag = f"--source=folder:{value}"
    if not value:
        raise UserError("--source=folder needs a folder, as in folder:data/flowers.")
    listing = scan(value, flag)
    if not listing.paths:
        raise UserError(f"{flag} holds no image ({', '.join(IMAGE_SUFFIXES)}); it holds {_counted(listing.others)}.")
    tops = _split_folders(set(listing.folders), flag)
    parts = [_split_and_class(folder, tops) for folder in listing.folders]
    _check_classes([part for _, part in parts], listing, flag)
    classes = {part: label for label, part in enumerate(sorted({part for _, part in parts}))}
    labels = np.array([classes[part] for _, part in parts], "int32")[listing.folder_of]
    if tops:
        names = [name for name in dict.fromkeys(paths.SPLIT_WORDS.values()) if name in tops.values()]
        rows = paths.chosen(np.array([names.index(split) for split, _ in parts])[listing.folder_of], names)
    else:
        rows = paths.divided(listing.places)
    files = paths.ImageFiles(value, listing.paths, paths.one_each(labels), len(classes), sizes=listing.sizes)
    return Source(
        f"folder:{value}",
        3,
        len(classes),
        _class_names([paths.shown(part) for part in classes]),
        {split: files.split(members) for split, members in rows.items()},
        fingerprint=files.fingerprint(rows),
    )


def _split_folders(folders: set[bytes], flag: str) -> dict[bytes, str]:
    """The immediate subfolders that are splits, each with the split's name: all of those with images, or none."""
    tops = {folder.split(b"/")[0] for folder in folders} - {b""}
    named = {top: paths.SPLIT_WORDS.get(paths.shown(top).lower()) for top in sorted(tops)}
    splits = {top: name for top, name in named.items() if name}
    others = tops - splits.keys()
    if others:
        # A class may be called train, and then holds images. With classes in train and in test they are splits.
        above_classes = {name for top, name in splits.items() if top not in folders}
        if len(above_classes) > 1:
            raise UserError(
                f"{flag} has the splits {_listed(splits)}, but images in {_listed(others)} too; move those elsewhere."
            )
        return {}
    for name in dict.fromkeys(splits.values()):
        same = [top for top in splits if splits[top] == name]
        if len(same) > 1:
            raise UserError(f"{flag}: {_listed(same)} would both be the split {name}; keep one.")
    return splits


def _split_and_class(folder: bytes, tops: Mapping[bytes, str]) -> tuple[str, bytes]:
    """The split (where folders tell) and the class of a folder's files, empty where they have none."""
    top, _, rest = folder.partition(b"/")
    return (tops.get(top, ""), rest) if tops else ("", folder)


def _check_classes(classes: list[bytes], listing: Listing, flag: str) -> None:
    """Raises UserError, naming a file, if there is one without a class."""
    without = np.flatnonzero(np.array([not part for part in classes])[listing.folder_of])
    if len(without):
        path = paths.shown(listing.paths[without[0]])
        raise UserError(
            f"{flag}: class folders expected, but {path} lies outside any ({len(without):,} such files); move them "
            "into folders named by class, or list them in a table (--source=csv:FILE)."
        )


def _class_names(classes: list[str]) -> tuple[str, ...]:
    """Readable names in the same order, for sorted synsets are in ImageNet-1k's and ImageNet-21k's own."""
    return imagenet.shown(classes)


def _listed(folders: Iterable[bytes]) -> str:
    return ", ".join(map(paths.shown, sorted(folders)))


def _counted(others: Counter[str]) -> str:
    """What there is other than images, in words."""
    kinds = [f"{count:,} {f'.{suffix}' if suffix else 'without suffix'}" for suffix, count in others.most_common(3)]
    return (", ".join(kinds) + " and others" * (len(others) > 3)) if kinds else "no files at all"
