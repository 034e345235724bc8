"""A model card in Markdown. Its front matter is what model repositories ask of a README.md."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from keras_vit.cards.markup import escaped, fenced, front_matter, heading, items, line, table

# Identifiers of licences that repositories know; any other is named under `other`.
LICENCES = {
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "mpl-2.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "unlicense"),
    *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "openrail"),
}


def markdown(card: Mapping[str, Any]) -> str:
    """The card as a page.

    Args:
        card: Card as `keras_vit.cards.card` makes it, or read from a card.json.
    """
    parts = [
        front_matter(metadata(card)),
        heading(card["name"], 1),
        escaped(card["description"]),
    ]
    for title, section in SECTIONS.items():
        blocks = list(section(card))
        parts += [heading(title, 2), *blocks] if blocks else []
    return "\n\n".join(parts) + "\n"


def metadata(card: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the front matter; empty ones are left out."""
    licence = "-".join(line(card["licence"]).lower().split())
    known = licence in LICENCES
    weights = ((card["training"] or {}).get("weights") or {}).get("name") or card["origin"]
    tags = ["keras-vit", TAGS[card["model"]["family"]], *(f"arxiv:{paper['arxiv']}" for paper in card["citations"])]
    return {
        "license": licence if known else "other" if licence else "unknown",
        "license_name": "" if known else re.sub(r"[^a-z0-9.]+", "-", licence).strip("-"),
        "library_name": "keras",
        "pipeline_tag": "image-classification" if card["classes"]["number"] else "image-feature-extraction",
        "tags": tags,
        "metrics": ["accuracy"] if {"test_accuracy", "val_accuracy"} & card["metrics"].keys() else [],
        "base_model": weights.removeprefix("hf:") if weights.startswith("hf:") else "",
    }


def _classes(card: Mapping[str, Any]) -> Iterator[str]:
    number, names = card["classes"]["number"], card["classes"]["names"]
    if not number:
        yield "None: the model has no head."
    elif names is None:
        yield f"{number:,}, which have no names."
    else:
        more = f" and {number - len(names):,} more" if number > len(names) else ""
        yield f"{number:,}: {', '.join(map(escaped, names))}{more}."


def _input(card: Mapping[str, Any]) -> Iterator[str]:
    yield escaped(card["preprocessing"]["words"])


def _data(card: Mapping[str, Any]) -> Iterator[str]:
    data = card["data"]
    if data is None:
        yield "Not known."
        return
    yield f"Source {escaped(data['source'])}, fingerprint {escaped(data['fingerprint'] or 'not known')}."
    rows = [(role, split["split"], f"{split['examples']:,}") for role, split in data["splits"].items()]
    yield table(("use", "split", "images"), rows)


def _results(card: Mapping[str, Any]) -> Iterator[str]:
    metrics = card["metrics"]
    if not metrics:
        yield "None are known."
        return
    if card["seeds"] > 1:
        yield f"Means over {card['seeds']} seeds; the model is the first one's."
    rows = []
    for name, value in metrics.items():
        if not name.endswith("_spread"):
            spread = metrics.get(f"{name}_spread")
            rows.append((_words(name), shown(name, value) + (f" ± {shown(name, spread)}" if spread else "")))
    yield table(("measure", "value"), rows)
    worst = card["worst_classes"]
    if worst:
        yield "The classes that it does worst on:"
        measure = worst[0]["measure"]
        classes = [(row["class"], shown(measure, row["value"]), f"{row['support']:,}") for row in worst]
        yield table(("class", _words(measure), "images"), classes)


def _training(card: Mapping[str, Any]) -> Iterator[str]:
    training = card["training"]
    if training is None:
        yield f"Not known. The weights come from {escaped(card['origin'] or 'elsewhere')}."
        return
    weights = training["weights"]
    began = "random weights" if weights is None else weights["name"]
    if weights is not None and weights["source"]:
        began += f", trained on {weights['source']}"
    if weights is not None and weights["licence"]:
        began += f", licence {weights['licence']}"
    rows = {
        "command": f"python -m trainers.{training['command']}",
        "objective": training["objective"],
        "began from": began,
        **({"learned from": training["teacher"]} if training["teacher"] else {}),
        "length": f"{training['steps']:,} steps, {training['examples']:,} examples, {training['seconds']:,.0f} s",
        "hardware": training["hardware"],
        "precision": training["precision"],
        "seed": str(training["seed"]),
        "project's revision": training["git_revision"] or "not known",
        "versions": ", ".join(f"{name} {version}" for name, version in training["versions"].items()),
    }
    yield table(("what", "value"), rows.items())
    yield "Its flag file:"
    yield fenced(training["flags"])


def _export(card: Mapping[str, Any]) -> Iterator[str]:
    report = card["export"]
    if report is None:
        return
    files = report.get("formats", {})
    table_rows = [[name, *_cells(row | (row["finding"] or {}))] for name, row in files.items()]
    if table_rows:
        columns = zip(["artefact", *COLUMNS.values()], *table_rows, strict=True)
        heads, *rows = zip(*(column for column in columns if set(column[1:]) != {"-"}), strict=True)
        yield table(heads, rows)
    others = {name: value for name, value in report.items() if name != "formats" and value}
    if others:
        yield items(f"{_words(name)}: {shown(name, value)}" for name, value in others.items())


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [shown(name, row.get(name)) for name in COLUMNS]


def _use(card: Mapping[str, Any]) -> Iterator[str]:
    yield items(card["intended_use"])
    yield fenced("python -m trainers.predict --model=PATH picture.jpg", "sh")


def _limits(card: Mapping[str, Any]) -> Iterator[str]:
    yield items(card["limits"])


def _licence(card: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"Of the model: {escaped(card['licence'] or 'not stated')}. The data, and weights that training began from, "
        "may have conditions of their own."
    )


def _citation(card: Mapping[str, Any]) -> Iterator[str]:
    yield "\n".join(
        f"- {escaped('{authors} {title}. {published}.'.format(**paper))} "
        f"[arXiv:{paper['arxiv']}](https://arxiv.org/abs/{paper['arxiv']})"
        for paper in card["citations"]
    )


def shown(name: str, value: Any) -> str:
    """A value that may be anything that JSON has, in the units that its name implies; a hyphen where there is none."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(key)} {shown(key, part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(shown(name, part) for part in value)
    for ending, as_text in UNITS.items():
        if re.search(f"({ending})(_spread)?$", name):
            return as_text(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _words(name: str) -> str:
    """A measure's name in words."""
    return name.replace("val_", "validation ").replace("_", " ")


# How measures are told, by how their names end.
UNITS: dict[str, Callable[[float], str]] = {
    "size": lambda value: f"{value / 1e6:,.2f} MB",
    "milliseconds": lambda value: f"{value:,.1f}",
    "accuracy|agreement|precision|recall|f1|map": lambda value: f"{100 * value:.2f} %",
}

# What is told of an exported file -> its heading.
COLUMNS = {
    "file": "file",
    "size": "size",
    "milliseconds": "ms per image",
    "difference": "largest difference",
    "agreement": "same best class",
    "accuracy": "accuracy",
}

TAGS = {"vit": "vision-transformer", "hybrid": "vision-transformer", "bit": "resnet"}

SECTIONS = {
    "Intended use": _use,
    "Limits": _limits,
    "Classes": _classes,
    "Input": _input,
    "Results": _results,
    "Exported files": _export,
    "Data": _data,
    "Training": _training,
    "Licence": _licence,
    "Citation": _citation,
}
