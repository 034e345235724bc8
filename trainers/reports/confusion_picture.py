"""confusion.png: which classes are taken for which."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_vit.evaluation.classification import Confusion
from trainers.reports import pictures

MATRIX = 100  # classes up to which a matrix can be read
NUMBERS = 20  # classes up to which its cells hold numbers
PAIRS = 40  # most confused pairs that are shown instead of a larger matrix
LETTERS = 28  # of a name; the rest is cut off


def write(confusions: Sequence[Confusion], names: Sequence[str], path: str) -> bool:
    """Draws the confusion matrix; for more than 100 classes, bars for the pairs that were most often confused.

    Args:
        confusions: Entries of the matrix that are not 0, largest first.
        names: Names of the classes.
        path: Path of the PNG file.

    Returns:
        Whether it was drawn; see `pictures.write`.
    """
    shown = [name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…" for name in names]
    if len(names) <= MATRIX:
        matrix = np.zeros((len(names), len(names)), "int64")
        for label, prediction, count in confusions:
            matrix[label, prediction] = count
        side = 3.5 + max(0.2 * len(names), 0.45 * min(len(names), NUMBERS))
        return pictures.write(path, functools.partial(_draw_matrix, matrix=matrix, names=shown), side + 0.7, side)
    mistakes = [entry for entry in confusions if entry.label != entry.prediction][:PAIRS]
    pairs = [(f"{shown[i]} taken for {shown[j]}", count) for i, j, count in mistakes]
    return pictures.write(path, functools.partial(_draw_pairs, pairs=pairs), 9, 1.2 + 0.22 * len(pairs))


def _draw_matrix(figure: Any, matrix: np.ndarray, names: Sequence[str]) -> None:
    """Colours are shares of each class's examples, so that rare classes show as well."""
    count = len(names)
    axis = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axis, label="share of the class's examples", shrink=0.8)
    size = 9 if count <= NUMBERS else 7
    axis.set_xticks(range(count), names, rotation=90, fontsize=size, parse_math=False)
    axis.set_yticks(range(count), names, fontsize=size, parse_math=False)
    axis.set_xlabel("predicted class")
    axis.set_ylabel("class")
    if count <= NUMBERS:
        for i, j in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if shares[i, j] > 0.5 else "black"
            axis.text(j, i, f"{matrix[i, j]}", ha="center", va="center", fontsize=7, color=colour)


def _draw_pairs(figure: Any, pairs: Sequence[tuple[str, int]]) -> None:
    axis = figure.subplots()
    axis.barh(range(len(pairs)), [count for _, count in pairs], color="tab:blue")
    axis.set_yticks(range(len(pairs)), [words for words, _ in pairs], fontsize=8, parse_math=False)
    axis.invert_yaxis()
    axis.set_xlabel("examples")
    axis.set_title(f"the {len(pairs)} pairs of classes that were most often confused", fontsize=10)
