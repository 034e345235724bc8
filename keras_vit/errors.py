"""Errors that people can put right, and the one way in which any error is worded."""

import re

LONGEST = 300  # characters of somebody else's message; some hold whole graphs


class UserError(ValueError):
    """A mistake in what a person gave: a flag, a file, an argument.

    Its message says what was expected, what came, and what to do. Commands print it as one line and end with exit code
    2; any other exception is a fault of the program and keeps its traceback.
    """


class InvalidWeights(UserError):
    """A weight file that cannot be read, or does not fit the model."""


class MissingPackage(ModuleNotFoundError, UserError):
    """A package that is not installed; the message names the extra to install."""


def reason(error: object) -> str:
    """What an exception, or the text of one, says: one line, without a full stop and without anybody's call stack.

    TensorFlow names places in the graph, Keras lists the arguments of a call, AutoGraph puts its account before the
    message: none of that tells a person what was wrong.
    """
    if isinstance(error, UserError):  # which is worded already
        return str(error).rstrip(".")
    text = str(getattr(error, "strerror", None) or getattr(error, "message", None) or error)
    text = re.sub(r"\x1b\[\d+m", "", text)
    if text.startswith(("in user code:", "Exception encountered")):
        text = re.split(r"\n\s*\n", re.split(r"\s+Arguments received by", text)[0].strip())[-1]
    text = re.sub(r"\{\{.*?\}\} ?|\[\[.*?\]\]|\[Op:\w+\].*", "", text)
    lines = [" ".join(line.split()) for line in text.splitlines() if not line.startswith(PLACES)]
    line = next(filter(None, lines), "no reason given")
    return re.sub(r"^assertion failed: \[(.*)\]$", r"\1", line).rstrip(".")[:LONGEST]


# Beginnings of TensorFlow's lines that tell where something happened.
PLACES = ("Graph exec", "Detected at", "  File", "<stack traces")
