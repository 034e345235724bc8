"""BiT architectures: the table of ResNets, what a name parses to, and what is refused."""

import dataclasses
import json

import hypothesis
import hypothesis.strategies as st
import pytest

from keras_vit import BitArchitecture, parse
from keras_vit.bit_architecture import BIT_CHOICES, RESNETS

# Big Transfer (arXiv 1912.11370).
UNITS = {
    "R26": (2, 2, 2, 2),
    "R50": (3, 4, 6, 3),
    "R101": (3, 4, 23, 3),
    "R152": (3, 8, 36, 3),
    "R200": (3, 24, 36, 3),
}


def small(**fields):
    return BitArchitecture(**{"units": (1, 2), "root_width": 32, **fields})


@pytest.mark.parametrize("net", UNITS)
def test_resnet_has_its_published_units(net):
    assert list(RESNETS) == list(UNITS)
    assert RESNETS[net].units == UNITS[net] == parse(f"BiT-{net}x1").units


@pytest.mark.parametrize("factor", [1, 3, 4])
def test_width_factor_widens_every_layer(factor):
    a = parse(f"BiT-R152x{factor}", num_classes=7)
    assert (a.root_width, a.features, a.num_classes, a.family) == (64 * factor, 2048 * factor, 7, "bit")


@pytest.mark.parametrize(
    "image_size, grid", [(224, (7, 7)), (225, (8, 8)), ((28, 30), (1, 1)), ((33, 65), (2, 3)), (1, (1, 1))]
)
def test_grid_is_that_of_the_last_feature_map(image_size, grid):
    a = parse("BiT-R50x1", image_size=image_size)
    assert (a.stride, a.grid, a.tokens) == (32, grid, grid[0] * grid[1])
    assert a.replace(units=(1,)).stride == 4


def test_published_networks_pool_over_zeros():
    assert parse("BiT-R50x1").root_pool_padding == "zeros"


def test_replace_keeps_everything_else():
    before = small(root_pool_padding="lowest", head_bias=-10.0)
    assert before.replace(num_classes=3) == small(root_pool_padding="lowest", head_bias=-10.0, num_classes=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.num_classes = 3


@hypothesis.given(
    st.fixed_dictionaries(
        {
            "image_size": st.integers(1, 500) | st.tuples(st.integers(1, 500), st.integers(1, 500)),
            "channels": st.integers(1, 4),
            "units": st.lists(st.integers(1, 50), min_size=1, max_size=5),
            "root_width": st.sampled_from([32, 64, 256]),
            "root_pool_padding": st.sampled_from(BIT_CHOICES["root_pool_padding"]),
            "num_classes": st.integers(0, 30000),
            "head_bias": st.floats(-20, 20),
        }
    )
)
@hypothesis.settings(max_examples=100, database=None)
def test_any_architecture_survives_json(fields):
    architecture = BitArchitecture(**fields)
    again = BitArchitecture.from_dict(json.loads(json.dumps(architecture.to_dict())))
    assert again == architecture == architecture.replace()
    assert hash(again) == hash(architecture)
    assert list(architecture.to_dict()) == [field.name for field in dataclasses.fields(BitArchitecture)]


BAD = [
    (lambda: small(units=()), ["units", "none"]),
    (lambda: small(units=(1, 0)), ["units", "(1, 0)"]),
    (lambda: small(units=5), ["units", "5"]),
    (lambda: small(root_width=40), ["root_width", "32", "40"]),
    (lambda: small(root_width=0), ["root_width", "0"]),
    (lambda: small(root_pool_padding="ones"), ["root_pool_padding", "'ones'", "zeros, lowest"]),
    (lambda: small(channels=0), ["channels", "0"]),
    (lambda: small(image_size=0), ["image_size", "0"]),
    (lambda: small(num_classes=-1), ["num_classes", "-1"]),
    (lambda: small(head_bias="x"), ["head_bias", "'x'"]),
    (lambda: small().replace(heads=3), ["BiT", "heads", "units"]),
    (lambda: BitArchitecture.from_dict({"depth": 3}), ["BiT", "depth", "units"]),
]


@pytest.mark.parametrize("make, fragments", BAD, ids=[" ".join(fragments) for _, fragments in BAD])
def test_bad_value_is_one_value_error_that_names_value_and_choices(make, fragments):
    with pytest.raises(ValueError) as error:
        make()
    assert [fragment for fragment in fragments if fragment not in str(error.value)] == []
    assert "\n" not in str(error.value)
