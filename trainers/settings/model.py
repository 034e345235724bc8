"""The group of settings about the model."""

import dataclasses
import functools
from typing import Any

from keras_vit.choices import GELUS, POOLINGS, POSITION_SITES, POSITIONS
from keras_vit.errors import UserError
from trainers.settings.fields import Group, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings(Group):
    """Model."""

    variant: str = setting(
        "B/16",
        "Size and patch size, such as B/16; any patch size may follow the slash. Hybrids are R50+B/16 and the like, "
        "ResNets BiT-R50x1.",
    )
    image_size: int | tuple[int, int] = setting(224, "Input size in pixels: 224, or 224x160 for height x width.")
    width: int | None = setting(None, "Model dimension, instead of the variant's.")
    depth: int | None = setting(None, "Number of blocks, instead of the variant's.")
    heads: int | None = setting(None, "Attention heads, instead of the variant's.")
    mlp_width: int | None = setting(None, "Hidden width of the MLPs, instead of the variant's.")
    stem: str = setting(
        "",
        "Residual units of each stage of a hybrid's stem, such as 3,4,9, instead of the variant's; root for a ResNet's "
        "root alone, none for patches of the image itself.",
    )
    units: str = setting("", "Residual units of each stage of a BiT ResNet, such as 3,4,6,3, instead of the variant's.")
    root_width: int | None = setting(
        None,
        "Channels of the root convolution of a hybrid's stem or a BiT ResNet, instead of the variant's; a multiple of "
        "32.",
    )
    position: str | None = setting(None, "Position embedding, instead of learned_1d.", choices=POSITIONS)
    position_site: str | None = setting(
        None,
        "Where positions are added: once at the stem, as usual; before every block; or there from one shared table.",
        choices=POSITION_SITES,
    )
    pool: str | None = setting(None, "How tokens become one vector, instead of token.", choices=POOLINGS)
    representation: int | None = setting(None, "Width of the tanh layer before the head; none if left out.")
    gelu: str | None = setting(None, "Form of the GELU activation, instead of tanh.", choices=GELUS)
    dropout: float | None = setting(None, "Dropout rate after positions, attention outputs and MLP layers.")
    attention_dropout: float | None = setting(None, "Dropout rate on attention probabilities.")
    stochastic_depth: float | None = setting(
        None, "Rate at which the last block's branches drop; grows linearly to it."
    )
    head_bias: float | None = setting(None, "Initial bias of the head; -10 suits sigmoid training on ImageNet-21k.")
    distillation_token: bool | None = setting(
        None,
        "Whether a second token with a head of its own, which learns from a --teacher, stands beside the class token; "
        "the answer is the mean of both.",
    )
    weights: str | None = setting(
        None, "Weights to start from, head included: a file of any format, or a published name."
    )

    @functools.cached_property
    def overrides(self) -> dict[str, Any]:
        """The fields of an architecture that the flags give another value than the variant's."""
        overrides: dict[str, Any] = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(ModelSettings)
            if field.name not in ("variant", "weights") and getattr(self, field.name) not in (None, "")
        }
        special = {"none": None, "root": ()}
        if self.stem:
            overrides["stem"] = special[self.stem] if self.stem in special else stages("stem", self.stem)
        if self.units:
            overrides["units"] = stages("units", self.units)
        return overrides


def stages(name: str, text: str) -> tuple[int, ...]:
    """Units of each stage of a ResNet, from a flag's value such as 3,4,6,3.

    Raises:
        UserError: for anything but positive numbers with commas between them.
    """
    counts = [count.strip() for count in text.split(",")]
    if not all(count.isdecimal() and int(count) for count in counts):
        raise UserError(f"--{name} has the residual units of each stage, such as 3,4,6,3; got {text!r}.")
    return tuple(map(int, counts))
