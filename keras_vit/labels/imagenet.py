"""WordNet's names for the classes of ImageNet-1k and ImageNet-21k, in the order of published heads.

The `.tsv` files hold a synset and its lemmas (WordNet 3.0) per line, in class order. ImageNet-21k is the 21,843 classes
of the original Vision Transformer's pre-training (Dosovitskiy et al. 2021, section 4.1).
"""

import collections
import functools
import importlib.resources
import re
from collections.abc import Iterable, Sequence

SYNSET = re.compile(r"n\d{8}")


@functools.cache
def imagenet_1k() -> dict[str, str]:
    """The 1,000 synsets of ImageNet-1k in class order, each with its lemmas, e.g. `tench, Tinca tinca`."""
    return _table("imagenet_1k")


@functools.cache
def imagenet_21k() -> dict[str, str]:
    """The 21,843 synsets of ImageNet-21k in class order, each with its lemmas."""
    return _table("imagenet_21k")


def readable(synsets: Iterable[str]) -> tuple[str, ...]:
    """One name for each of some synsets, no two the same.

    Args:
        synsets: No two the same.

    Returns:
        The first lemma of each; with the synset behind it, as in `crane (n02012849)`, where others among them have
        the same; the synset alone where it is unknown.
    """
    synsets = list(synsets)
    # One of the 1,000 is not among the 21,843: n04399382, teddy.
    lemmas = imagenet_21k() | imagenet_1k()
    first = [lemmas.get(synset, synset).split(", ")[0] for synset in synsets]
    count = collections.Counter(first)
    return tuple(
        name if count[name] == 1 else f"{name} ({synset})" for name, synset in zip(first, synsets, strict=True)
    )


def shown(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of classes as people should see them: readable ones where all are synsets."""
    return readable(classes) if all(map(SYNSET.fullmatch, classes)) else tuple(classes)


def _table(name: str) -> dict[str, str]:
    file = importlib.resources.files("keras_vit.labels") / f"{name}.tsv"
    return dict(line.split("\t") for line in file.read_text(encoding="utf-8").splitlines())
