"""Published weights by name: where they are, how large, and how good.

`google:`, `augreg:`, `sam:`, `bigvision:` and `bit:` names stand in the table; Keras's downloader and its cache serve
them. `hf:OWNER/NAME` and `timm:NAME` are repositories of the Hugging Face hub, which huggingface_hub serves, with its
cache, tokens and HF_ENDPOINT. Sizes and accuracies (ImageNet top-1 in %, the authors' own; BiT's by timm at the
resolution that is listed) are those of their publications.
"""

import os
import pathlib
import re
from typing import Any, NamedTuple

import keras

from keras_vit.errors import InvalidWeights, MissingPackage, UserError, reason


class Published(NamedTuple):
    """One row of `PUBLISHED`.

    Args:
        url: URL of the file.
        size: Size in MiB, as listed there.
        resolution: Side of the images, in pixels.
        classes: Number of classes of its head.
        accuracy: ImageNet top-1 in %; None where nobody measured, or there is no such head.
    """

    url: str
    size: float
    resolution: int
    classes: int
    accuracy: float | None = None


def located(name: str | os.PathLike) -> str:
    """The path behind a name or a path; downloads what is not in the cache.

    Raises:
        InvalidWeights: if there is no such name, or it cannot be downloaded; says where to put the file by hand.
        MissingPackage: for a repository of the hub without huggingface_hub.
        UserError: if it is neither a name nor a path.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise UserError(f"Expected a path, a name or a Vision Transformer of KerasHub's; got {type(name).__name__}.")
    text = os.fspath(name)
    scheme, _, rest = text.partition(":")
    if pathlib.Path(text).exists() or scheme not in SCHEMES:
        return text
    if scheme == "hf":
        return _from_hub(text, rest)
    if scheme == "timm":
        return _from_hub(text, f"timm/{rest}")
    if text not in PUBLISHED:
        known = [row for row in PUBLISHED if row.startswith(f"{scheme}:")]
        raise InvalidWeights(f"{text}: no such weights. Published ones are {', '.join(known)}.")
    row = PUBLISHED[text]
    path = _fetched(text, row.url, row.url.rsplit("/", 2)[-2])
    size = os.path.getsize(path) / 2**20
    if size < 0.99 * row.size:
        raise InvalidWeights(f"{path}: {size:,.1f} MiB, but {text} has {row.size:,.1f}; remove it to load it again.")
    return path


def fields_of(name: Any) -> dict[str, int]:
    """Architecture fields behind a name that the arrays do not tell: the image size of a BiT."""
    is_bit = isinstance(name, str) and name.startswith("bit:") and name in PUBLISHED
    return {"image_size": PUBLISHED[name].resolution} if is_bit else {}


def listing() -> str:
    """The table, for people."""
    lines = [f"{'name':<40}{'MiB':>8}{'px':>6}{'classes':>9}{'top-1 %':>9}"]
    for name, row in PUBLISHED.items():
        accuracy = "" if row.accuracy is None else f"{row.accuracy:.2f}"
        lines.append(f"{name:<40}{row.size:>8,.0f}{row.resolution:>6}{row.classes:>9,}{accuracy:>9}")
    return "\n".join([*lines, "hf:OWNER/NAME and timm:NAME name any repository of the Hugging Face hub."])


def _from_hub(name: str, repository: str) -> str:
    """A folder with the repository's weights and configuration."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise InvalidWeights(f"{name}: expected hf:OWNER/NAME or timm:NAME.")
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"{name} needs huggingface_hub; install it with pip install 'keras_vit[hub]'.", name=error.name
        ) from None
    try:
        folder = huggingface_hub.snapshot_download(
            repository, allow_patterns=HUB_FILES, endpoint=os.environ.get("HF_ENDPOINT")
        )
    except Exception as error:  # of HTTP, sockets, the cache and the hub's own
        raise InvalidWeights(
            f"{name} could not be downloaded: {type(error).__name__}, {reason(error)}. Download "
            f"{', '.join(HUB_FILES)} of https://huggingface.co/{repository} by other means, and name the folder that "
            "they are in."
        ) from error
    if not os.path.isfile(os.path.join(folder, HUB_FILES[0])):
        raise InvalidWeights(f"{name}: the repository has no {HUB_FILES[0]}, the only kind of file that is read.")
    return folder


def _fetched(name: str, url: str, folder: str) -> str:
    """The file in the cache."""
    file = url.rsplit("/", 1)[-1]
    # As Keras itself does; passed on, so that the message below is sure to be right.
    home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
    place = os.path.join(home, CACHE, folder, file)
    if os.path.isfile(place):
        return place
    try:
        return str(keras.utils.get_file(file, url, cache_dir=home, cache_subdir=f"{CACHE}/{folder}"))
    except Exception as error:  # whatever urllib, sockets and Keras raise
        pathlib.Path(place).unlink(missing_ok=True)
        raise InvalidWeights(
            f"{name} could not be downloaded ({type(error).__name__}). Download {url} by other means and put it at "
            f"{place}."
        ) from error


CACHE = "keras_vit"
# What is read of a repository of the hub; the first it must have.
HUB_FILES = ["model.safetensors", "config.json", "preprocessor_config.json"]
SCHEMES = ("google", "augreg", "sam", "bigvision", "bit", "hf", "timm")

_VIT = "https://storage.googleapis.com/vit_models"
_BIG_VISION = "https://storage.googleapis.com/big_vision"
_BIT = "https://storage.googleapis.com/bit_models"


def _augreg(stem: str, size: float) -> Published:
    return Published(f"{_VIT}/augreg/{stem}.npz", size, 224, 21843)


def _tuned(stem: str, size: float, accuracy: float) -> Published:
    return Published(f"{_VIT}/augreg/{stem}-res_384.npz", size, 384, 1000, accuracy)


_L = "L_16-i21k-300ep-lr_0.001-aug_strong1-wd_0.1-do_0.0-sd_0.0"
_B = "B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0"
_S = "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0"
_TI = "Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0"
_B32 = "B_32-i21k-300ep-lr_0.001-aug_light1-wd_0.1-do_0.0-sd_0.0"
_R50_L32 = "R50_L_32-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1"
_R26_S32 = "R26_S_32-i21k-300ep-lr_0.001-aug_light1-wd_0.1-do_0.0-sd_0.0"
_R_TI = "R_Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0"
_S32 = "S_32-i21k-300ep-lr_0.001-aug_none-wd_0.1-do_0.0-sd_0.0"

# Where nobody lists a size (fine-tuned AugReg, R+Ti/16, big_vision, BiT), it is four bytes for each parameter.
PUBLISHED = {
    "google:ViT-B_16": Published(f"{_VIT}/imagenet21k/ViT-B_16.npz", 393.69, 224, 21843),
    "google:ViT-B_32": Published(f"{_VIT}/imagenet21k/ViT-B_32.npz", 400.01, 224, 21843),
    "google:ViT-B_8": Published(f"{_VIT}/imagenet21k/ViT-B_8.npz", 393.72, 224, 21843),
    "google:ViT-L_16": Published(f"{_VIT}/imagenet21k/ViT-L_16.npz", 1.22 * 1024, 224, 21843),
    "google:ViT-L_32": Published(f"{_VIT}/imagenet21k/ViT-L_32.npz", 1.23 * 1024, 224, 21843),
    "google:ViT-H_14": Published(f"{_VIT}/imagenet21k/ViT-H_14.npz", 2.46 * 1024, 224, 21843),
    "google:R50+ViT-B_16": Published(f"{_VIT}/imagenet21k/R50+ViT-B_16.npz", 439.85, 224, 21843),
    "google:R26+ViT-B_32": Published(f"{_VIT}/imagenet21k/R26+ViT-B_32.npz", 450.23, 224, 21843),
    "google:R50+ViT-L_32": Published(f"{_VIT}/imagenet21k/R50+ViT-L_32.npz", 1.31 * 1024, 224, 21843),
    "google:ViT-B_16-224+imagenet2012": Published(
        f"{_VIT}/imagenet21k+imagenet2012/ViT-B_16-224.npz", 330.29, 224, 1000, 81.2
    ),
    "google:ViT-B_16+imagenet2012": Published(f"{_VIT}/imagenet21k+imagenet2012/ViT-B_16.npz", 331.4, 384, 1000),
    "google:ViT-B_32+imagenet2012": Published(f"{_VIT}/imagenet21k+imagenet2012/ViT-B_32.npz", 336.89, 384, 1000),
    "google:ViT-B_8+imagenet2012": Published(f"{_VIT}/imagenet21k+imagenet2012/ViT-B_8.npz", 334.78, 384, 1000),
    "google:ViT-L_16-224+imagenet2012": Published(
        f"{_VIT}/imagenet21k+imagenet2012/ViT-L_16-224.npz", 1.13 * 1024, 224, 1000, 82.7
    ),
    "google:ViT-L_16+imagenet2012": Published(f"{_VIT}/imagenet21k+imagenet2012/ViT-L_16.npz", 1.14 * 1024, 384, 1000),
    "google:ViT-L_32+imagenet2012": Published(f"{_VIT}/imagenet21k+imagenet2012/ViT-L_32.npz", 1.14 * 1024, 384, 1000),
    "google:R50+ViT-B_16+imagenet2012": Published(
        f"{_VIT}/imagenet21k+imagenet2012/R50+ViT-B_16.npz", 377.57, 384, 1000, 85.08
    ),
    "sam:ViT-B_16": Published(f"{_VIT}/sam/ViT-B_16.npz", 330.3, 224, 1000),
    "sam:ViT-B_32": Published(f"{_VIT}/sam/ViT-B_32.npz", 336.61, 224, 1000),
    "sam:ViT-L_16": Published(f"{_VIT}/sam/ViT-L_16.npz", 1.13 * 1024, 224, 1000),
    "sam:ViT-L_32": Published(f"{_VIT}/sam/ViT-L_32.npz", 1.14 * 1024, 224, 1000),
    "sam:ViT-S_16": Published(f"{_VIT}/sam/ViT-S_16.npz", 252.57, 224, 1000),
    "augreg:L/16": _augreg(_L, 1243),
    "augreg:B/16": _augreg(_B, 391),
    "augreg:S/16": _augreg(_S, 115),
    "augreg:Ti/16": _augreg(_TI, 37),
    "augreg:B/32": _augreg(_B32, 398),
    "augreg:S/32": _augreg(_S32, 118),
    "augreg:R50+L/32": _augreg(_R50_L32, 1337),
    "augreg:R26+S/32": _augreg(_R26_S32, 170),
    "augreg:R+Ti/16": _augreg(_R_TI, 39.5),
    "augreg:L/16+imagenet2012": _tuned(f"{_L}--imagenet2012-steps_20k-lr_0.01", 1162.4, 85.59),
    "augreg:B/16+imagenet2012": _tuned(f"{_B}--imagenet2012-steps_20k-lr_0.03", 331.4, 85.49),
    "augreg:S/16+imagenet2012": _tuned(f"{_S}--imagenet2012-steps_20k-lr_0.03", 84.7, 83.73),
    "augreg:Ti/16+imagenet2012": _tuned(f"{_TI}--imagenet2012-steps_20k-lr_0.03", 22.1, 78.22),
    "augreg:B/32+imagenet2012": _tuned(f"{_B32}--imagenet2012-steps_20k-lr_0.01", 336.9, 83.59),
    "augreg:S/32+imagenet2012": _tuned(f"{_S32}--imagenet2012-steps_20k-lr_0.01", 87.5, 79.58),
    "augreg:R50+L/32+imagenet2012": _tuned(f"{_R50_L32}--imagenet2012-steps_20k-lr_0.01", 1255.4, 85.99),
    "augreg:R26+S/32+imagenet2012": _tuned(f"{_R26_S32}--imagenet2012-steps_20k-lr_0.01", 139.1, 83.85),
    "augreg:R+Ti/16+imagenet2012": _tuned(f"{_R_TI}--imagenet2012-steps_20k-lr_0.03", 24.2, 75.40),
    "bigvision:vit_s16_i1k_90ep": Published(f"{_BIG_VISION}/vit_s16_i1k_90ep.npz", 84.4, 224, 1000, 76.5),
    "bigvision:vit_s16_i1k_150ep": Published(f"{_BIG_VISION}/vit_s16_i1k_150ep.npz", 84.4, 224, 1000, 78.5),
    "bigvision:vit_s16_i1k_300ep": Published(f"{_BIG_VISION}/vit_s16_i1k_300ep.npz", 84.4, 224, 1000, 80.0),
    "bit:S-R50x1": Published(f"{_BIT}/BiT-S-R50x1.npz", 97.5, 224, 1000),
    "bit:S-R50x3": Published(f"{_BIT}/BiT-S-R50x3.npz", 829.0, 224, 1000),
    "bit:S-R101x1": Published(f"{_BIT}/BiT-S-R101x1.npz", 169.9, 224, 1000),
    "bit:S-R101x3": Published(f"{_BIT}/BiT-S-R101x3.npz", 1479.9, 224, 1000),
    "bit:S-R152x2": Published(f"{_BIT}/BiT-S-R152x2.npz", 901.5, 224, 1000),
    "bit:S-R152x4": Published(f"{_BIT}/BiT-S-R152x4.npz", 3572.6, 224, 1000),
    "bit:M-R50x1": Published(f"{_BIT}/BiT-M-R50x1.npz", 260.4, 224, 21843),
    "bit:M-R50x3": Published(f"{_BIT}/BiT-M-R50x3.npz", 1317.6, 224, 21843),
    "bit:M-R101x1": Published(f"{_BIT}/BiT-M-R101x1.npz", 332.8, 224, 21843),
    "bit:M-R101x3": Published(f"{_BIT}/BiT-M-R101x3.npz", 1968.4, 224, 21843),
    "bit:M-R152x2": Published(f"{_BIT}/BiT-M-R152x2.npz", 1227.3, 224, 21843),
    "bit:M-R152x4": Published(f"{_BIT}/BiT-M-R152x4.npz", 4224.0, 224, 21843),
    "bit:M-R50x1+imagenet2012": Published(f"{_BIT}/BiT-M-R50x1-ILSVRC2012.npz", 97.5, 448, 1000, 80.39),
    "bit:M-R50x3+imagenet2012": Published(f"{_BIT}/BiT-M-R50x3-ILSVRC2012.npz", 829.0, 448, 1000, 83.98),
    "bit:M-R101x1+imagenet2012": Published(f"{_BIT}/BiT-M-R101x1-ILSVRC2012.npz", 169.9, 448, 1000, 82.33),
    "bit:M-R101x3+imagenet2012": Published(f"{_BIT}/BiT-M-R101x3-ILSVRC2012.npz", 1479.9, 448, 1000, 84.43),
    "bit:M-R152x2+imagenet2012": Published(f"{_BIT}/BiT-M-R152x2-ILSVRC2012.npz", 901.5, 448, 1000, 84.47),
    "bit:M-R152x4+imagenet2012": Published(f"{_BIT}/BiT-M-R152x4-ILSVRC2012.npz", 3572.6, 480, 1000, 84.94),
}
