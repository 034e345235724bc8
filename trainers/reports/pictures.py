"""Writing pictures, where Matplotlib is installed (the extra `plot`)."""

import importlib.util
import sys
import warnings
from collections.abc import Callable
from typing import Any

from trainers import files

DPI = 100


def write(path: str, draw: Callable[[Any], None], width: float, height: float) -> bool:
    """Draws a picture and writes it whole or not at all.

    Numbers are worth more than pictures, so that nothing fails for want of Matplotlib: one line says what is left out.

    Args:
        path: Path of the PNG file; any that tf.io.gfile writes.
        draw: Draws into a Matplotlib figure.
        width: Width in inches.
        height: Height in inches.

    Returns:
        Whether it was drawn.

    Raises:
        Unwritable: with the reason.
    """
    if importlib.util.find_spec("matplotlib") is None:
        print(f"note: {path} is left out; pip install -e '.[plot]' brings Matplotlib, which draws it.", file=sys.stderr)
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # letters that the font lacks become boxes
        files.replace_with(path, lambda temporary: figure.savefig(temporary, format="png"))
    return True
