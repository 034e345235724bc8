"""A model card's sentences: what a model is, what it is good for and what not, by what is known of it and no more.

Every function takes a card as `keras_vit.cards.card` makes it, or a part of one.
"""

from collections.abc import Iterator, Mapping
from typing import Any

FAMILIES = {"vit": "Vision Transformer", "hybrid": "ResNet and Vision Transformer (hybrid)", "bit": "BiT ResNet"}
SHOWN = 20  # class names that a card lists

NOT_TESTED = (
    "Not tested: whether its probabilities mean what they say, pictures made to mislead it, blur, noise and strong "
    "compression, and whether it treats groups of people alike. It should not decide about people by itself."
)
EXIF = "EXIF orientation is ignored: a photograph that is stored lying on its side is seen lying on its side."


def description(card: Mapping[str, Any]) -> str:
    """One sentence: family, task and size."""
    model, number = card["model"], card["classes"]["number"]
    height, width = model["image_size"]
    colours = {1: "grey", 3: "RGB"}.get(model["channels"], f"{model['channels']}-channel")
    images = f"{colours} images ({height}x{width} pixels)"
    task = f"that tells {number:,} classes of {images} apart" if number else f"without a head, for features of {images}"
    geometry = {
        "patches of {} pixels": model.get("patch_size"),
        "width {}": model.get("width"),
        "depth {}": model.get("depth"),
        "{} heads": model.get("heads"),
        "units {}": "-".join(map(str, model.get("units") or model.get("stem") or ())) or None,
        "root width {}": model.get("root_width"),
    }
    parts = [words.format(value) for words, value in geometry.items() if value is not None]
    gflops = model["gflops"]
    return (
        f"{FAMILIES[model['family']]} {task}: {', '.join(parts)}; "
        f"{model['parameters']:,} parameters, {gflops:{',.2f' if gflops >= 1 else '.2g'}} GFLOPs per image."
    )


def preprocessing(fields: Mapping[str, Any]) -> str:
    """What is done to an encoded image.

    Args:
        fields: Fields of `keras_vit.Preprocessing`.
    """
    height, width = fields["size"]
    kernel = f"{fields['resize']}{', antialiased' * bool(fields['antialias'])}"
    if fields["crop"] is None:
        resized = f"The whole image is resized to {height}x{width} ({kernel}); its aspect is not kept."
    else:
        enlarged = f"{round(height / fields['crop'])}x{round(width / fields['crop'])}"
        resized = (
            f"The image is resized, its aspect kept, until it just covers {enlarged} ({kernel}); the central "
            f"{height}x{width} are cut out."
        )
    mean, std = (", ".join(f"{value:g}" for value in fields[name]) for name in ("mean", "std"))
    return f"{resized} Values are scaled to 0 to 1; {mean} is subtracted, and the rest divided by {std}."


def intended_use(card: Mapping[str, Any]) -> list[str]:
    """What the model is for."""
    number, data = card["classes"]["number"], card["data"]
    like = f" like those of {data['source']}" if data else ""
    objective = (card["training"] or {}).get("objective")
    start = "A start for fine-tuning on images and classes of one's own: python -m trainers.finetune --weights=..."
    if not number:
        return [f"Features of images{like}, for search, or for a classifier trained on them.", start]
    several = ", of which there may be several" * (objective == "sigmoid")
    return [f"Telling which of its {number:,} classes an image{like} shows{several}.", start]


def limits(card: Mapping[str, Any]) -> list[str]:
    """What the model is not good for, or not known to be good for."""
    return [*_of_data(card), *_of_measures(card), *_of_answers(card), *_of_input(card), NOT_TESTED]


def _of_data(card: Mapping[str, Any]) -> Iterator[str]:
    data, weights = card["data"], (card["training"] or {}).get("weights")
    if data is None:
        origin = f" ({card['origin']})" if card["origin"] else ""
        yield f"Others trained it{origin}, or a run of which no record was kept: on which images is not known here."
        return
    train = data["splits"]["train"]
    labels = ", whose labels it never saw" * (card["training"]["objective"] == "masked_patches")
    yield (
        f"Trained on {train['examples']:,} images of {data['source']} ({train['split']}){labels}. How it does on "
        "others (another camera, background or style) is not known."
    )
    if weights is not None:
        known = f", trained on {weights['source']}" if weights["source"] else "; what those were trained on it inherits"
        yield f"Training began from the weights {weights['name']}{known}."


def _of_measures(card: Mapping[str, Any]) -> Iterator[str]:
    splits, metrics = (card["data"] or {"splits": {}})["splits"], card["metrics"]
    several = f", the mean over {card['seeds']} seeds" if card["seeds"] > 1 else ""
    for role, measure in {"test": "test_accuracy", "validation": "val_accuracy"}.items():
        if role in splits and metrics.get(measure) is not None:
            yield (
                f"Accuracy: {100 * metrics[measure]:.2f} % of the {splits[role]['examples']:,} images of "
                f"{splits[role]['split']}{several}."
            )
            if role == "validation":
                yield "That split was looked at during training, and none was kept for the end: the figure may flatter."
            return
    if card["classes"]["number"]:
        yield "How often it is right has not been measured."


def _of_answers(card: Mapping[str, Any]) -> Iterator[str]:
    number = card["classes"]["number"]
    if not number:
        yield "It names no classes: features need a head that is trained on labelled images."
    elif (card["training"] or {}).get("objective") == "sigmoid":
        yield f"It knows its {number:,} classes only, and has a probability for each; what else is shown it cannot say."
    else:
        yield f"It knows its {number:,} classes only: shown anything else it names one of them, often with confidence."


def _of_input(card: Mapping[str, Any]) -> Iterator[str]:
    yield EXIF
    if card["preprocessing"]["crop"] is not None:
        yield "What lies outside the central part of an image is not seen."
