"""card.md and card.json of a run: gathers what is known of it for `keras_vit.cards.card`."""

import csv
import dataclasses
import io
import json
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

from keras_vit.cards import text
from keras_vit.cards.card import Facts, card, revised
from keras_vit.errors import UserError, reason
from trainers import files
from trainers.run_dir import CARD, CARD_JSON, MODEL, PARTS, PER_CLASS
from trainers.settings import flags
from trainers.settings.finetuning import FinetuningSettings
from trainers.settings.model import ModelSettings
from trainers.settings.run import RunSettings
from trainers.training import provenance
from trainers.training.plan import Plan

FIELDS = {field.name for field in dataclasses.fields(Facts)} | {
    *("description", "model", "classes", "limits", "export", "preprocessing", "citations", "intended_use")
}
WORST = 5  # classes that a card names
DECISIVE = ("f1", "average_precision")  # measures of per_class.csv by which the worst classes are found


def write(plan: Plan, model: Any, metrics: Mapping[str, Any], revision: str | None) -> None:
    """Writes the card of a run that has been trained. What goes wrong here is told, and loses no run.

    Args:
        plan: The run.
        model: Model that it leaves behind.
        metrics: Contents of results.json.
        revision: Revision of the project, when the run began.
    """
    run_dir = plan.settings.run_dir
    try:
        put(run_dir, card(model, facts(plan, metrics, revision)))
    except Exception as error:  # whatever it is: days of training are worth more than a page about them
        _warn(run_dir, error)


def write_of_parts(settings: RunSettings, first_dir: str, metrics: Mapping[str, Any]) -> None:
    """Writes the card of a run of several parts: that of its first seed, whose model it has, with everybody's measures.

    Args:
        settings: Settings of the command.
        first_dir: Folder of the first seed's run.
        metrics: Contents of results.json of the whole.
    """
    try:
        first = read(first_dir)
        if first is None:
            raise UserError(f"{os.path.join(first_dir, CARD_JSON)} is not there")
        changes = {"name": _name(settings.run_dir), "metrics": measures(metrics), "seeds": len(metrics["runs"])}
        training = first["training"] | {"flags": flags.to_flagfile(settings)}
        put(settings.run_dir, revised(first, **changes, training=training))
    except Exception as error:  # as above
        _warn(settings.run_dir, error)


def read(run_dir: str) -> dict[str, Any] | None:
    """The card that training left in a run's folder; None where there is none.

    Args:
        run_dir: The folder or the model in it, or what else `--model` and `--weights` may be.

    Raises:
        UserError: if it cannot be read, or is no card.
    """
    if os.path.basename(run_dir) == MODEL:
        run_dir = os.path.dirname(run_dir) or "."
    path = os.path.join(run_dir, CARD_JSON)
    if not files.is_folder(run_dir) or not files.exists(path):
        return None
    try:
        fields = json.loads(files.read_text(path))
    except (*files.ERRORS, ValueError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}; remove it to go on without.") from error
    if not isinstance(fields, dict) or not fields.keys() >= FIELDS:
        raise UserError(f"{path} is no model card; remove it to go on without.")
    return fields


def put(path: str, made: Mapping[str, Any]) -> None:
    """Writes a card into a folder, as Markdown and as JSON, each whole or not at all.

    Raises:
        Unwritable: with the reason.
    """
    files.write_text(os.path.join(path, CARD), text.markdown(made))
    files.write_json(os.path.join(path, CARD_JSON), dict(made))


def facts(plan: Plan, metrics: Mapping[str, Any], revision: str | None) -> Facts:
    """What is known of a run."""
    settings, source = plan.settings, plan.source
    begins = settings.weights if isinstance(settings, FinetuningSettings | ModelSettings) else None
    return Facts(
        name=_name(settings.run_dir),
        data={"source": source.name, "fingerprint": source.fingerprint or None, "splits": _splits(plan)},
        training={
            "command": "finetune" if isinstance(settings, FinetuningSettings) else "pretrain",
            "objective": settings.objective,
            "weights": _weights(begins),
            "teacher": settings.teacher or None,
            "steps": metrics["step"],
            **{name: metrics[name] for name in ("examples", "seconds", "precision", "seed", "versions")},
            "hardware": provenance.hardware(plan.runtime),
            "git_revision": revision,
            "flags": flags.to_flagfile(settings),
        },
        metrics=measures(metrics),
        worst_classes=worst_classes(settings.run_dir),
        licence=settings.license,
    )


def _name(run_dir: str) -> str:
    """The folder's; of a run within a run with that one's before it."""
    parent, name = os.path.split(run_dir.rstrip("/"))
    return f"{os.path.basename(parent)}/{name}" if name.startswith(PARTS) else name or "model"


def _splits(plan: Plan) -> dict[str, dict[str, Any]]:
    """Expression and number of examples of each split that the run has a use for."""
    settings = plan.settings
    part = f", {settings.subset:,} of them chosen at random" if settings.subset else ""
    splits = {"train": {"split": f"{plan.training.name}{part}", "examples": plan.training.size}}
    for role, split in {"validation": plan.validation, "test": plan.test}.items():
        if split is not None:
            splits[role] = {"split": split.name, "examples": split.size}
    return splits


def _weights(name: str | None) -> dict[str, Any] | None:
    """Those that training began from, with what their own card says; None for random ones."""
    if not name:
        return None
    fields = read(name) or {}
    source = (fields.get("data") or {}).get("source")
    return {"name": name, "source": source, "licence": fields.get("licence") or None}


def measures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of results.json that say how well a model does."""
    return {
        name: value
        for name, value in metrics.items()
        if re.match(r"(best_)?(baseline|val|test)_", name) and isinstance(value, (int, float))
    }


def worst_classes(run_dir: str) -> list[dict[str, Any]]:
    """Of per_class.csv, where there is one, the few classes that the model does worst on, the worst first."""
    path = os.path.join(run_dir, PER_CLASS)
    if not files.exists(path):
        return []
    rows = list(csv.DictReader(io.StringIO(files.read_text(path))))
    measure = next(name for name in DECISIVE if not rows or name in rows[0])
    known = sorted((row for row in rows if row[measure]), key=lambda row: float(row[measure]))
    return [
        {"class": row["class"], "measure": measure, "value": float(row[measure]), "support": int(row["support"])}
        for row in known[:WORST]
    ]


def _warn(run_dir: str, error: Exception) -> None:
    print(f"warning: no model card in {run_dir}: {reason(error)}", file=sys.stderr, flush=True)
