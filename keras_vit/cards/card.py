"""The card of a model: what it is, where it comes from, how it did, what it is good for and what not.

Cards are plain JSON values, written by training and by export; `keras_vit.cards.text` makes Markdown of them.
Nothing here reads a file or asks the machine: whatever is not in the model is passed in.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from keras_vit.cards import words
from keras_vit.variants import count_params, flops

GEOMETRY = ("patch_size", "width", "depth", "heads", "mlp_width", "position", "pool", "stem", "units", "root_width")

VIT_PAPER = {
    "authors": "Alexey Dosovitskiy et al.",
    "title": "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
    "published": "ICLR 2021",
    "arxiv": "2010.11929",
}
BIT_PAPER = {
    "authors": "Alexander Kolesnikov et al.",
    "title": "Big Transfer (BiT): General Visual Representation Learning",
    "published": "ECCV 2020",
    "arxiv": "1912.11370",
}
CITATIONS = {"vit": [VIT_PAPER], "hybrid": [VIT_PAPER, BIT_PAPER], "bit": [BIT_PAPER]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a model beside itself, as plain values.

    Args:
        name: Name of the model, for people.
        origin: Place it comes from, where no run of ours is known to have made it.
        data: Data that it was trained on: `source` (name), `fingerprint` (of the examples and their order, or None) and
            `splits`: of each of `train`, `validation`, `test` that the run had, its `split` (expression) and
            `examples` (number).
        training: The run: `command`, `objective`, `weights` (None, or `name`, `source` and `licence` of those it began
            from; the latter two None where nobody knows), `teacher` (name of the model it learned from, or None),
            `steps`, `examples`, `seconds`, `precision`, `hardware`, `seed`, `git_revision` (or None), `versions` and
            `flags` (text of the flag file).
        metrics: Measures by their names in results.json.
        worst_classes: A few classes, worst first, each with `class`, `measure`, `value`, `support`.
        seeds: Number of runs that the measures are means of.
        licence: Licence as stated by who trained it.
    """

    name: str
    origin: str = ""
    data: Mapping[str, Any] | None = None
    training: Mapping[str, Any] | None = None
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    worst_classes: Sequence[Mapping[str, Any]] = ()
    seeds: int = 1
    licence: str = ""


def card(model, facts: Facts) -> dict[str, Any]:
    """The card of a model.

    Args:
        model: A `keras_vit.ImageClassifier`.
        facts: Facts known beside the model itself.

    Returns:
        Plain JSON values: the fields of `facts`, and `description`, `model`, `classes`, `preprocessing`,
        `intended_use`, `limits`, `citations`, and `export`, which is None until `with_export`.
    """
    architecture = model.architecture
    family = "hybrid" if getattr(architecture, "stem", None) is not None else architecture.family
    geometry = {name: getattr(architecture, name) for name in GEOMETRY if hasattr(architecture, name)}
    if family == "vit":
        del geometry["stem"], geometry["root_width"]  # of hybrids
    names = model.class_names if architecture.num_classes else None
    fields = {
        **dataclasses.asdict(facts),
        "model": {
            "family": family,
            "image_size": architecture.image_shape[:2],
            "channels": architecture.channels,
            **geometry,
            "parameters": count_params(architecture),
            "gflops": flops(architecture) / 1e9,
        },
        "classes": {
            "number": architecture.num_classes,
            "names": None if names is None else names[: words.SHOWN],
        },
        "preprocessing": model.preprocessing.to_dict(),
        "citations": CITATIONS[family],
        "export": None,
    }
    fields["description"] = words.description(fields)
    fields["preprocessing"]["words"] = words.preprocessing(fields["preprocessing"])
    return plain(_with_judgement(fields))


def card_of_model(model, origin: str) -> dict[str, Any]:
    """The card of a model that no run of ours is known to have made: it says that little is known.

    Args:
        model: A `keras_vit.ImageClassifier`.
        origin: Path that it was loaded from, or the name of published weights.
    """
    return card(model, Facts(name=origin.rstrip("/").rpartition("/")[2] or origin, origin=origin))


def revised(model_card: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy of a card in which some fields are others, and its judgements follow."""
    return plain(_with_judgement({**model_card, **changes}))


def with_export(model_card: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a card that tells of exported files as well.

    Args:
        model_card: Card of the model that was exported.
        report: Report of the export. `formats`: of each exported file, by a name for people, `file`, `size` (bytes),
            `milliseconds` (per image, or None) and `finding` (None, or `difference`, `agreement` and `accuracy`, which
            may be None), and what else there is. Further entries of the report are told in a list.
    """
    return plain({**model_card, "export": report})


def provenance(model_card: Mapping[str, Any]) -> dict[str, Any]:
    """What an exported file says of where its model comes from; unknown values are None.

    Returns:
        `source`, `source_fingerprint`, `git_revision`, `versions`, `weights_from` (what training began from; for a
        model without a run where it was loaded from) and `metrics`.
    """
    data, training = model_card["data"] or {}, model_card["training"] or {}
    weights = training.get("weights") or {}
    return {
        "source": data.get("source"),
        "source_fingerprint": data.get("fingerprint"),
        "git_revision": training.get("git_revision"),
        "versions": training.get("versions"),
        "weights_from": weights.get("name") or model_card["origin"] or None,
        "metrics": model_card["metrics"],
    }


def plain(value: Any) -> Any:
    """The value as JSON has it: tuples become lists, NumPy's numbers Python's, and what is not finite None."""
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)


def _with_judgement(model_card: dict[str, Any]) -> dict[str, Any]:
    return {**model_card, "intended_use": words.intended_use(model_card), "limits": words.limits(model_card)}
