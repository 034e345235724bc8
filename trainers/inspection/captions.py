"""Words under pictures, drawn where Matplotlib is installed (the extra `plot`)."""

import importlib.util
import warnings
from collections.abc import Sequence

import numpy as np

HEIGHT = 16  # pixels
_DPI = 100
_FONT_SIZE = 7
_LETTER = 6  # pixels that one takes, about


def available() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def strip(texts: Sequence[str], width: int) -> np.ndarray:
    """uint8 (HEIGHT, len(texts) * width, 3): words side by side, each in the middle of its place, cut if need be."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Half a pixel more, because what comes of the quotient is rounded down.
    figure = Figure(figsize=((len(texts) * width + 0.5) / _DPI, (HEIGHT + 0.5) / _DPI), dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    for place, text in enumerate(texts):
        most = max(width // _LETTER - 1, 3)
        shown = text if len(text) <= most else f"{text[: most - 1]}…"
        centre = (place + 0.5) / len(texts)
        figure.text(centre, 0.5, shown, ha="center", va="center", fontsize=_FONT_SIZE, parse_math=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # letters that the font lacks become boxes
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
