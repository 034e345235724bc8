"""The table of docs/models.md is what the formulas say."""

import pathlib

from keras_vit import VARIANTS, count_params, flops

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "models.md"


def gigaflops(architecture, image_size):
    """As printed; a dash where the image is not divisible into patches."""
    try:
        return f"{flops(architecture.replace(image_size=image_size)) / 1e9:,.2f}"
    except ValueError:
        return "-"


def test_parameters_and_operations_of_every_variant():
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines()]
    documented = {row[0]: row[1:] for row in rows if row[0] in VARIANTS}
    expected = {
        name: [
            *(f"{count_params(a.replace(num_classes=classes)):,}" for classes in (0, 1000, 21843)),
            *(gigaflops(a, size) for size in (224, 384)),
        ]
        for name, a in VARIANTS.items()
    }
    assert documented == expected
