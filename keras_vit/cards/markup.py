"""Markdown and its YAML front matter, in which no name can break out of its place."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

# What Markdown or the HTML in it would take as its own, wherever in a line it stands.
_SPECIAL = re.compile(r"([\\`*\[\]<>#|~$&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_PLAIN_YAML = re.compile(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*")
_YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def line(text: str) -> str:
    """The text in one line, of characters that can be seen."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def escaped(text: str) -> str:
    """The text as Markdown that shows it, inside a paragraph or a cell of a table."""
    return _SPECIAL.sub(r"\\\1", line(text))


def heading(text: str, level: int) -> str:
    return f"{'#' * level} {escaped(text)}"


def items(texts: Iterable[str]) -> str:
    """A list with an item for each text."""
    return "\n".join(f"- {escaped(text)}" for text in texts)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; every row has a cell for each head."""
    lines = [heads, *rows]
    cells = ["| " + " | ".join(escaped(cell) for cell in row) + " |" for row in lines]
    return "\n".join([cells[0], "|---" * len(heads) + "|", *cells[1:]])


def fenced(text: str, language: str = "") -> str:
    """A block of code, whatever backticks the text has."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.strip()}\n{fence}"


def front_matter(fields: Mapping[str, str | Sequence[str]]) -> str:
    """YAML between two lines of hyphens: a text or a list of texts by name; empty ones are left out."""
    lines = []
    for name, value in fields.items():
        if isinstance(value, str):
            lines += [f"{name}: {_yaml(value)}"] if value else []
        elif value:
            lines += [f"{name}:", *(f"- {_yaml(text)}" for text in value)]
    return "\n".join(["---", *lines, "---"])


def _yaml(text: str) -> str:
    """A word as it is; anything else between quotes, which in YAML read as in JSON."""
    text = line(text)
    plain = _PLAIN_YAML.fullmatch(text) and text not in _YAML_WORDS
    return text if plain else json.dumps(text, ensure_ascii=False)
